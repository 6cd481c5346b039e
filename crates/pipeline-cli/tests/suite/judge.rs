//! `calibrate`, `evaluate` and `score --explain`, as a person or a script starts them.

use std::path::Path;

use serde_json::Value;

use crate::support::{CALIBRATE, ana_and_ben, failure, text};

fn json(folder: &Path, args: &[&str]) -> Value {
    serde_json::from_str(&text(folder, &[args, &["--format", "json"]].concat())).unwrap()
}

/// Ana and ben, and who pretends to be one of them.
fn folder() -> tempfile::TempDir {
    let folder = ana_and_ben();
    let swapped: String = (0..60)
        .map(|host| format!("ben,20.1.2.{host}\nana,90.7.7.{host}\n"))
        .collect();
    std::fs::write(folder.path().join("attack.csv"), swapped).unwrap();
    let held_out = folder.path().join("held-out.csv");
    let rows = std::fs::read_to_string(&held_out).unwrap();
    std::fs::write(held_out, rows + "mallory,9.9.9.9\n").unwrap();
    folder
}

#[test]
fn a_model_is_calibrated_explained_and_evaluated() {
    let folder = folder();
    let folder = folder.path();
    let (code, said) = failure(folder, &["calibrate"]);
    assert_eq!(code, 2);
    assert!(said.contains("give held-out rows with --data"), "{said}");

    let calibrated = json(folder, &CALIBRATE);
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
