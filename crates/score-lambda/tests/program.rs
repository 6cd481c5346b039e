//! The program itself, started.

use std::process::Command;

#[test]
fn a_missing_setting_is_told_in_one_line_and_stdout_stays_empty() {
    let output = Command::new(env!("CARGO_BIN_EXE_score-lambda"))
        .env_remove("THRESHOLD")
        .env_remove("THRESHOLD_FILE")
        .env("ENDPOINT_NAME", "e")
        .output()
        .unwrap();
    assert!(!output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "Error: the variable `THRESHOLD` is not set: a number, or set `THRESHOLD_FILE`\n"
    );
}

#[test]
fn a_port_in_use_is_told() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let output = Command::new(env!("CARGO_BIN_EXE_score-lambda"))
        .env_remove("THRESHOLD_FILE")
        .env_remove("AWS_LAMBDA_RUNTIME_API")
        .envs([
            ("ENDPOINT_NAME", "e"),
            ("THRESHOLD", "0"),
            ("PORT", &port),
            ("AWS_REGION", "us-east-1"),
        ])
        .output()
        .unwrap();
    assert!(!output.status.success());
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        errors.starts_with(&format!("Error: cannot listen on 127.0.0.1:{port}: ")),
        "{errors}"
    );
}
