//! `ipinsights states`: machines and states from files.
#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use expect_test::expect;
use serde_json::{Value, json};

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/examples/machines")
}

fn states(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ipinsights"))
        .env_clear()
        .current_dir(examples())
        .args(["--quiet", "states"])
        .args(args)
        .output()
        .unwrap()
}

fn printed(output: &Output) -> String {
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn failure(args: &[&str]) -> String {
    let output = states(args);
    format!(
        "{}\n{}",
        output.status.code().unwrap(),
        String::from_utf8(output.stderr).unwrap()
    )
}

#[test]
fn a_machine_runs_with_mocked_tasks_in_no_time() {
    let input = r#"{"EndpointName": "e"}"#;
    let run = [
        "run",
        "poll.asl.json",
        "--input",
        input,
        "--mock",
        "mocks.json",
        "--virtual-time",
    ];
    assert_eq!(
        serde_json::from_str::<Value>(&printed(&states(&run))).unwrap(),
        json!({"EndpointStatus": "InService"})
    );
    let mut with_history = run.to_vec();
    with_history.push("--history");
    let printed_history = printed(&states(&with_history));
    let events = printed_history.lines().filter(|line| line.contains('<'));
    let events: Vec<&str> = events.map(str::trim_start).collect();
    expect![[r#"
        1 <0     ExecutionStarted
        2 <0     TaskStateEntered Look
        3 <2     TaskScheduled describeEndpoint
        4 <3     TaskStarted describeEndpoint
        5 <4     TaskSucceeded describeEndpoint
        6 <5     TaskStateExited Look
        7 <6     ChoiceStateEntered In service?
        8 <7     ChoiceStateExited In service?
        9 <8     WaitStateEntered An hour
        10 <9     WaitStateExited An hour
        11 <10    TaskStateEntered Look
        12 <11    TaskScheduled describeEndpoint
        13 <12    TaskStarted describeEndpoint
        14 <13    TaskSucceeded describeEndpoint
        15 <14    TaskStateExited Look
        16 <15    ChoiceStateEntered In service?
        17 <16    ChoiceStateExited In service?
        18 <17    SucceedStateEntered Done
        19 <18    SucceedStateExited Done
        20 <19    ExecutionSucceeded"#]]
    .assert_eq(&events.join("\n"));
    let mut as_json = with_history;
    as_json.extend(["--format", "json"]);
    let told: Value = serde_json::from_str(&printed(&states(&as_json))).unwrap();
    assert_eq!(
        (&told["version"], &told["status"]),
        (&json!(1), &json!("SUCCEEDED"))
    );
    let events = told["events"].as_array().unwrap();
    assert_eq!(events.len(), 20);
    let seconds = |at: usize| events[at]["timestamp"].as_f64().unwrap();
    assert_eq!((seconds(9) - seconds(8)).round(), 3600.0);
}

#[test]
fn what_does_not_end_well_says_why() {
    // The program's own services know no such endpoint.
    let said = failure(&["run", "poll.asl.json", "--input", r#"{"EndpointName": "e"}"#]);
    assert!(
        said.starts_with("5\nerror: the execution has ended as FAILED: SageMaker.SageMakerException: Could not find endpoint"),
        "{said}"
    );
    let said = failure(&[
        "run",
        "poll.asl.json",
        "--mock",
        "mocks.json",
        "--test-case",
        "None",
    ]);
    assert_eq!(
        said,
        "1\nerror: `mocks.json` has no test case `None`; it has ServesAfterAnHour\n"
    );
    let said = failure(&["run", "poll.asl.json", "--input", "{"]);
    assert!(said.starts_with("1\nerror: --input is not JSON: "), "{said}");
    assert!(failure(&["run", "none.json"]).starts_with("2\n"));
}

#[test]
fn a_state_is_tested_by_itself() {
    let tested = |args: &[&str]| -> Value {
        let mut all = vec!["test", "poll.asl.json"];
        all.extend(args);
        serde_json::from_str(&printed(&states(&all))).unwrap()
    };
    let input = r#"{"Endpoint": {"EndpointStatus": "Creating"}}"#;
    let chosen = tested(&["--name", "In service?", "--input", input]);
    assert_eq!(
        (&chosen["status"], &chosen["nextState"]),
        (&json!("SUCCEEDED"), &json!("An hour"))
    );
    let look = ["--name", "Look", "--input", r#"{"EndpointName": "e"}"#];
    let mut mocked = look.to_vec();
    mocked.extend(["--result", r#"{"EndpointStatus": "X"}"#, "--level", "debug"]);
    let told = tested(&mocked);
    assert_eq!(
        told["output"],
        r#"{"EndpointName":"e","Endpoint":{"EndpointStatus":"X"}}"#
    );
    assert_eq!(
        told["inspectionData"]["afterParameters"],
        r#"{"EndpointName":"e"}"#
    );
    let mut failed = vec!["test", "poll.asl.json"];
    failed.extend(look);
    failed.extend(["--error", "E", "--cause", "c"]);
    assert_eq!(failure(&failed), "5\nerror: the state has failed\n");
}
