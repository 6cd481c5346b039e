//! `calibrate`, `evaluate` and `score --explain`, as a person or a script starts them.
#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn output(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ipinsights"))
        .env_clear()
        .current_dir(folder)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn text(folder: &Path, args: &[&str]) -> String {
    let output = output(folder, args);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

fn json(folder: &Path, args: &[&str]) -> Value {
    serde_json::from_str(&text(folder, &[args, &["--format", "json"]].concat())).unwrap()
}

/// The code and what was said.
fn failure(folder: &Path, args: &[&str]) -> (i32, String) {
    let output = output(folder, args);
    assert!(output.stdout.is_empty(), "a failed command has no result");
    (
        output.status.code().unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

/// Ana and ben, each in a network of their own, with a model trained on that.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let rows = |hosts: std::ops::Range<u8>| -> String {
        hosts
            .map(|host| format!("ana,20.1.2.{host}\nben,90.7.7.{host}\n"))
            .collect()
    };
    let swapped: String = (0..60)
        .map(|host| format!("ben,20.1.2.{host}\nana,90.7.7.{host}\n"))
        .collect();
    for (name, content) in [
        ("train.csv", rows(0..100)),
        ("held-out.csv", rows(100..200) + "mallory,9.9.9.9\n"),
        ("attack.csv", swapped),
    ] {
        std::fs::write(folder.path().join(name), content).unwrap();
    }
    text(
        folder.path(),
        &["train", "--data", "train.csv", "-p", "vector_dim=16"],
    );
    folder
}

#[test]
fn a_model_is_calibrated_explained_and_evaluated() {
    let folder = folder();
    let folder = folder.path();
    let (code, said) = failure(folder, &["calibrate"]);
    assert_eq!(code, 2);
    assert!(said.contains("give held-out rows with --data"), "{said}");

    let args = [
        "calibrate",
        "--data",
        "held-out.csv",
        "--false-positive-rate",
        "0.05",
        "--history",
        "train.csv",
    ];
    let calibrated = json(folder, &args);
    assert_eq!(calibrated["version"], 1);
    assert_eq!(calibrated["held_out_rows"], 200);
    assert_eq!(calibrated["unknown_entities"], 1);
    assert_eq!(
        calibrated["history"],
        serde_json::json!({"entities": 2, "uses": 2})
    );
    let interval = &calibrated["interval"]["false_positive_rate"];
    assert!(interval["low"].as_f64().unwrap() < 0.05 && interval["high"].as_f64().unwrap() > 0.05);

    // Once more on the same held-out rows, into another file.
    let stricter = json(
        folder,
        &[
            "calibrate",
            "--false-positive-rate",
            "0.01",
            "-o",
            "stricter.tar.gz",
        ],
    );
    assert_eq!(stricter["held_out_rows"], 200);
    assert!(stricter["threshold"]["value"].as_f64() <= calibrated["threshold"]["value"].as_f64());
    let (code, said) = failure(folder, &["calibrate", "--false-positive-rate", "0.001"]);
    assert_eq!(code, 3);
    assert!(said.contains("at least 999"), "{said}");

    let rows = [
        "ana,20.1.2.250",
        "ana,90.7.7.1",
        "mallory,20.1.2.3",
        "ben,10.0.0.1",
        "ana,2001:db8::1",
        "ana,nowhere",
    ];
    let score = [&["score", "--model", "model.tar.gz", "--explain"], &rows[..]].concat();
    let scored = json(folder, &score);
    assert_eq!(scored["threshold"], calibrated["threshold"]["value"]);
    assert_eq!(scored["false_positive_rate"], 0.05);
    let row = |i: usize| &scored["rows"][i];
    assert_eq!(
        (&row(0)["anomalous"], &row(1)["anomalous"]),
        (&Value::Bool(false), &Value::Bool(true))
    );
    assert_eq!(
        row(0)["outcomes"],
        serde_json::json!({"entity": "known", "address": "public"})
    );
    assert_eq!(
        (&row(2)["score"], &row(2)["outcomes"]["entity"]),
        (&Value::Null, &"unknown".into())
    );
    assert_eq!(row(3)["outcomes"]["address"], "private");
    assert!(row(3)["score"].is_number());
    assert_eq!(
        (&row(4)["score"], &row(4)["outcomes"]["address"]),
        (&Value::Null, &"ipv6".into())
    );
    assert_eq!(
        (&row(5)["ip"], &row(5)["outcomes"]["address"]),
        (&"nowhere".into(), &"not-an-address".into())
    );
    let said = row(1)["reasons"]["sentence"].as_str().unwrap();
    assert!(
        said.starts_with("`ana` (100 rows) was never seen at 90.7.7.0/24 nor anywhere else in 90.0.0.0/8;"),
        "{said}"
    );
    assert!(
        said.contains("90.7.7.0/24 is usual for `ben` (100 rows)") && said.ends_with("anomalous."),
        "{said}"
    );
    assert_eq!(
        row(1)["reasons"]["history"]["nearest"][0]["network"],
        "20.1.2.0/24"
    );
    let table = text(folder, &score);
    assert!(
        table.contains("unknown entity")
            && table.contains("not an address")
            && table.contains("was never seen"),
        "{table}"
    );

    let (code, said) = failure(
        folder,
        &[
            "score",
            "--model",
            "model.tar.gz",
            "--unknown-entity",
            "reject",
            rows[2],
        ],
    );
    assert_eq!(code, 3);
    assert!(
        said.contains("row 1 (`mallory`,`20.1.2.3`) is refused: unknown entity"),
        "{said}"
    );
    let given = json(
        folder,
        &[
            "score",
            "--model",
            "model.tar.gz",
            "--unknown-entity",
            "score",
            rows[2],
        ],
    );
    assert!(given["rows"][0]["score"].is_number());

    let args = [
        "evaluate",
        "--normal",
        "train.csv",
        "--anomalous",
        "attack.csv",
        "--pictures",
        "pictures",
    ];
    let report = json(folder, &args);
    assert_eq!(
        (&report["version"], &report["normal"], &report["anomalous"]),
        (&1.into(), &200.into(), &120.into())
    );
    assert!(report["auc"].as_f64().unwrap() > 0.95);
    let kept = std::fs::read(folder.join("evaluation-report/report.json")).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&kept).unwrap(), report);
    let page = std::fs::read_to_string(folder.join("evaluation-report/report.html")).unwrap();
    for shown in [
        "What it is worth",
        "train.csv",
        "data:image/svg+xml",
        "calibrated, 5",
    ] {
        assert!(page.contains(shown), "{shown} is not in the page");
    }
    assert_eq!(report["at_threshold"]["stated_false_positive_rate"], 0.05);
    assert_eq!(report["activity"][0]["from"], 100);
    for name in [
        "roc",
        "recall",
        "precision-recall",
        "scores",
        "reliability",
        "activity",
    ] {
        let svg = std::fs::read_to_string(folder.join("pictures").join(format!("{name}.svg"))).unwrap();
        assert!(svg.starts_with("<svg") && svg.contains("<title"), "{name}");
    }
    let figures = text(
        folder,
        &["evaluate", "--normal", "train.csv", "--anomalous", "attack.csv"],
    );
    for said in [
        "AUC",
        "calibrated, 5 %",
        "best at 1 %",
        "training rows of the entity",
    ] {
        assert!(figures.contains(said), "{said} is not in {figures}");
    }
}
