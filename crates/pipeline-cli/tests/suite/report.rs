//! Reports: of runs on own rows, of runs that fail, of evaluations; their schemas, and their repetition.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;

use crate::schema::faults;
use crate::support::{CALIBRATE, ana_and_ben, failure, interrupt, ipinsights, json, output, text};

const QUICK: [&str; 4] = ["-p", "epochs=20", "-p", "vector_dim=16"];

fn read(folder: &Path, file: &str) -> Value {
    serde_json::from_slice(&std::fs::read(folder.join(file)).unwrap()).unwrap()
}

fn write(folder: &Path, file: &str, document: &Value) {
    std::fs::write(folder.join(file), document.to_string()).unwrap();
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Places in which a repetition differs.
fn differences(folder: &Path, report: &str) -> Vec<String> {
    let repeated = output(folder, &["verify", report, "--format", "json"]);
    assert_eq!(repeated.status.code(), Some(14));
    let told: Value = serde_json::from_slice(&repeated.stdout).unwrap();
    let differences = told["differences"].as_array().unwrap().iter();
    let mut places: Vec<String> = differences
        .map(|difference| difference["place"].as_str().unwrap().to_owned())
        .collect();
    places.sort();
    places
}

/// Spoils a document in ways that its schema has to notice: what is wrong with it, and how that is told.
fn assert_noticed(schema: &Value, document: &Value, places: &[&str]) {
    assert_eq!(faults(schema, document), [""; 0]);
    for version in [Value::from(2), "1".into(), Value::Null] {
        let mut other = document.clone();
        other["version"] = version.clone();
        let found = faults(schema, &other);
        assert!(
            found.iter().any(|fault| fault.starts_with("/version is ")),
            "{version}: {found:?}"
        );
    }
    for place in places {
        let (parent, member) = place.rsplit_once('/').unwrap();
        let mut other = document.clone();
        *other.pointer_mut(place).unwrap() = true.into();
        let found = faults(schema, &other);
        assert!(
            found.iter().any(|fault| fault.contains(&format!("{place} is "))),
            "{place}: {found:?}"
        );
        let mut other = document.clone();
        let parent = other.pointer_mut(parent).unwrap().as_object_mut().unwrap();
        parent.remove(member).unwrap();
        assert_eq!(faults(schema, &other), [format!("{place} is missing")]);
    }
}

fn schema(folder: &Path, kind: &str) -> Value {
    let schema = json(&output(folder, &["schema", kind]));
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    schema
}

#[test]
fn own_rows_are_trained_on_served_and_judged() {
    let folder = ana_and_ben();
    let folder = folder.path();
    let judged = "ana,20.1.2.250\nben,20.1.2.251\nmallory,20.1.2.252\n";
    std::fs::write(folder.join("judged.csv"), judged).unwrap();
    let run = ["run", "--rows", "train.csv", "--format", "json"];
    let split = ["--test", "judged.csv", "--seed", "3"];
    let args = [&run[..], &split[..], &QUICK[..]].concat();
    let report = json(&output(folder, &args));
    let verdicts: Vec<(&Value, bool)> = report["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (&row["anomalous"], row.get("unknown_entity").is_some()))
        .collect();
    assert_eq!(
        verdicts,
        [
            (&false.into(), false),
            (&true.into(), false),
            (&false.into(), true)
        ],
        "{}",
        report["rows"]
    );
    assert_eq!(
        (&report["outliers"], &report["outliers_flagged"]),
        (&3.into(), &1.into())
    );
    assert_eq!(
        (&report["held_out"]["rows"], &report["evaluation"]["rows"]),
        (&40.into(), &40.into())
    );
    assert!(report["evaluation"]["auc"].as_f64().unwrap() > 0.95);
    assert!(report["held_out"]["auc_vs_outliers"].is_null());
    let said = report["verdict"].as_str().unwrap();
    for part in [
        "held-out addresses that were given to other entities",
        "1 of 2 rows to judge are flagged",
        "One row to judge is of an entity that has no training rows",
    ] {
        assert!(said.contains(part), "{part} is not in {said}");
    }
    let manifest = &report["manifest"];
    assert_eq!(
        (
            &manifest["kind"],
            &manifest["version"],
            &manifest["seed"],
            &manifest["held_out"]
        ),
        (&"rows".into(), &1.into(), &3.into(), &0.2.into())
    );
    assert_eq!(manifest["inputs"][0]["rows"], 200);
    for part in ["held_out", "evaluation"] {
        let lowest = report[part]["lowest"].as_array().unwrap();
        assert_eq!(lowest.len(), 40);
        assert!(lowest.iter().all(|row| row["reason"].is_string()));
        let scores: Vec<f64> = lowest.iter().map(|row| row["score"].as_f64().unwrap()).collect();
        assert!(scores.is_sorted(), "{scores:?}");
    }
    let schema = schema(folder, "run");
    let spoiled = [
        "/verdict",
        "/rows/0/score",
        "/manifest/files",
        "/manifest/seed",
        "/detection/auc",
        "/detection/roc/0/recall",
    ];
    assert_noticed(&schema, &report, &spoiled[..2]);
    for place in &spoiled[2..] {
        let mut other = report.clone();
        *other.pointer_mut(place).unwrap() = true.into();
        assert_ne!(faults(&schema, &other), [""; 0], "{place}");
    }
    let mut other = report.clone();
    other["manifest"]["version"] = 3.into();
    assert_ne!(faults(&schema, &other), [""; 0]);

    // The endpoint serves the model.
    let scored = json(&output(folder, &["score", "--format", "json", "ben,20.1.2.251"]));
    assert_eq!(scored["rows"][0]["score"], report["rows"][1]["score"]);
    let page = std::fs::read_to_string(folder.join("ipinsights-report/report.html")).unwrap();
    for shown in [
        "none: unknown entity",
        "held out, by lot with seed 3",
        "Held-out addresses that were given to other entities",
    ] {
        assert!(page.contains(shown), "{shown} is not in the page");
    }

    // Its rows are beside it, and that is all that a repetition needs.
    std::fs::remove_file(folder.join("train.csv")).unwrap();
    let verify = ["verify", "ipinsights-report/report.json"];
    assert_eq!(
        json(&output(folder, &[&verify[..], &["--format", "json"]].concat()))["same"],
        true
    );
    let (code, said) = failure(folder, &[&verify[..], &["--database", "x"]].concat());
    assert_eq!(code, 2, "{said}");
    let mut rows = std::fs::read_to_string(folder.join("ipinsights-report/train.csv")).unwrap();
    rows += "ana,9.9.9.9\n";
    std::fs::write(folder.join("ipinsights-report/train.csv"), rows).unwrap();
    assert_eq!(
        differences(folder, "ipinsights-report/report.json"),
        ["/manifest/files/0/sha256"]
    );
    let mut elsewhere = report.clone();
    elsewhere["manifest"]["files"][0]["name"] = "../judged.csv".into();
    write(folder, "ipinsights-report/report.json", &elsewhere);
    let (code, said) = failure(folder, &verify);
    assert_eq!(code, 3, "{said}");
}

#[test]
fn own_rows_may_come_in_parts() {
    let folder = ana_and_ben();
    let folder = folder.path();
    std::fs::write(
        folder.join("bad.csv"),
        "ben,20.1.2.3\nana,90.7.7.9\nmallory,1.2.3.4\n",
    )
    .unwrap();
    let parts = ["--validation", "held-out.csv", "--anomalous", "bad.csv", "-q"];
    let run = ["run", "--rows", "train.csv"];
    let said = text(folder, &[&run[..], &parts[..], &QUICK[..]].concat());
    for part in ["held out", "rows that are known not to be normal", "ana"] {
        assert!(said.contains(part), "{part} is not in {said}");
    }
    assert!(
        !said.contains("claims to be") && !said.contains("country"),
        "{said}"
    );
    let report = read(folder, "ipinsights-report/report.json");
    let manifest = &report["manifest"];
    assert_eq!(
        manifest["skipped"],
        serde_json::json!([{"part": "evaluation", "reason": "unknown-entity", "rows": 1}])
    );
    assert_eq!(
        (&manifest["held_out"], &manifest["evaluation"]),
        (&Value::Null, &"given".into())
    );
    assert_eq!(report["held_out"]["rows"], 200);
    // What an earlier report had beside it and this one has not is gone; other files are nobody's to delete.
    std::fs::write(folder.join("ipinsights-report/control.csv"), "mine\n").unwrap();
    assert!(names(&folder.join("ipinsights-report")).contains(&"evaluation.csv".to_owned()));
    std::fs::write(folder.join("one.csv"), "ana,20.1.2.3\n".repeat(50)).unwrap();
    let said = text(
        folder,
        &[
            &["run", "--rows", "one.csv", "-q", "--false-positive-rate", "0.1"],
            &QUICK[..],
        ]
        .concat(),
    );
    let said: Vec<&str> = said.split_whitespace().collect();
    let said = said.join(" ");
    assert!(
        said.contains("nothing here says what the model would find"),
        "{said}"
    );
    let there = names(&folder.join("ipinsights-report"));
    assert!(!there.contains(&"evaluation.csv".to_owned()), "{there:?}");
    assert!(there.contains(&"control.csv".to_owned()), "{there:?}");
}

#[test]
fn arguments_of_own_rows_that_do_not_go_together_are_refused() {
    let folder = ana_and_ben();
    let folder = folder.path();
    std::fs::write(folder.join("apart.csv"), "a,1.2.3.4\nb,1.2.3.5\n").unwrap();
    let cases: [(&[&str], i32, &str); 9] = [
        (&["--rows", "train.csv", "--countries", "US"], 2, "--countries"),
        (&["--rows", "train.csv", "--database", "x.mmdb"], 2, "--database"),
        (&["--test", "train.csv"], 2, "--rows"),
        (
            &[
                "--rows",
                "train.csv",
                "--validation",
                "held-out.csv",
                "--held-out-share",
                "0.3",
            ],
            2,
            "--held-out-share",
        ),
        (&["--rows", "train.csv", "--held-out-share", "1"], 2, "below 1"),
        (
            &["--rows", "train.csv", "--report", "."],
            2,
            "another folder with --report",
        ),
        (&["--rows", "none.csv"], 7, "none.csv"),
        (&["--rows", "model.tar.gz"], 3, "model.tar.gz"),
        (&["--rows", "apart.csv"], 3, "no row can be held out"),
    ];
    for (args, code, said) in cases {
        let (found, text) = failure(folder, &[&["run"], args].concat());
        assert_eq!(found, code, "{args:?}: {text}");
        assert!(text.contains(said), "{args:?} does not say {said}: {text}");
    }
    assert!(!folder.join("ipinsights-report").exists());
}

#[test]
fn control_rows_are_scored_and_explained() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let args = [
        "run",
        "-q",
        "--format",
        "json",
        "--control",
        "20",
        "-p",
        "epochs=3",
        "-p",
        "vector_dim=8",
    ];
    let report = json(&output(folder, &args));
    let control = &report["control"];
    assert_eq!(control["rows"], 100);
    let lowest = control["lowest"].as_array().unwrap();
    assert_eq!(lowest.len(), 100);
    let flagged = lowest.iter().filter(|row| row["anomalous"] == true).count();
    assert_eq!(control["flagged"], flagged);
    let rate = &control["false_positive_rate"];
    let share = flagged as f64 / 100.0;
    assert!(rate["low"].as_f64().unwrap() <= share && rate["high"].as_f64().unwrap() >= share);
    let reason = lowest[0]["reason"].as_str().unwrap();
    assert!(
        reason.contains(&format!("is in {};", lowest[0]["entity"].as_str().unwrap())),
        "{reason}"
    );
    assert!(
        report["verdict"]
            .as_str()
            .unwrap()
            .contains("Of 100 control rows")
    );
    assert_eq!(faults(&schema(folder, "run"), &report), [""; 0]);
    let page = std::fs::read_to_string(folder.join("ipinsights-report/report.html")).unwrap();
    assert!(page.contains("Control rows: all 100, lowest scores first"));
    assert!(page.contains("control rows flagged"));
    // Who does not see the page is told its pictures and tables apart.
    for attribute in [" alt=\"", " aria-label=\"", " id=\""] {
        let values: Vec<&str> = page
            .split(attribute)
            .skip(1)
            .map(|rest| rest.split('"').next().unwrap())
            .collect();
        let distinct: std::collections::HashSet<&&str> = values.iter().collect();
        assert!(values.len() >= 4, "{attribute}: {values:?}");
        assert_eq!(distinct.len(), values.len(), "{attribute}: {values:?}");
    }
}

#[test]
fn a_run_that_fails_has_a_report() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    // Before anything could be done.
    let (code, said) = failure(folder, &["run", "-q", "--endpoint-url", "http://127.0.0.1:1"]);
    assert_eq!(code, 8, "{said}");
    let report = read(folder, "ipinsights-report/report.json");
    assert_eq!(
        (&report["kind"], &report["version"]),
        (&"failed-run".into(), &1.into())
    );
    assert!(report.get("execution").is_none() && report["failure"].get("state").is_none());
    assert!(
        said.contains(report["failure"]["message"].as_str().unwrap()),
        "{said}"
    );
    let schema = schema(folder, "failed-run");
    assert_noticed(
        &schema,
        &report,
        &[
            "/failure/message",
            "/hyperparameters",
            "/record/build",
            "/seconds",
        ],
    );
    let (code, said) = failure(folder, &["verify", "ipinsights-report/report.json"]);
    assert_eq!(code, 3);
    assert!(said.contains("of a run that failed"), "{said}");
    let (code, _) = failure(
        folder,
        &[
            "run",
            "-q",
            "--endpoint-url",
            "http://127.0.0.1:1",
            "--report",
            "none",
            "--countries",
            "US",
        ],
    );
    assert_eq!(code, 8);
    let (code, _) = failure(
        folder,
        &[
            "run",
            "-q",
            "--endpoint-url",
            "http://127.0.0.1:1",
            "--no-report",
            "--name",
            "other",
        ],
    );
    assert_eq!(code, 8);
    assert_eq!(names(folder), ["ipinsights-report", "none"]);

    // While it trains.
    let args = ["run", "-p", "epochs=1000000", "-p", "vector_dim=8"];
    let mut child = ipinsights(folder, &args)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("epoch 1/") {
        line.clear();
        assert_ne!(said.read_line(&mut line).unwrap(), 0, "it ended");
    }
    interrupt(&child);
    std::io::copy(&mut said, &mut std::io::sink()).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let report = read(folder, "ipinsights-report/report.json");
    assert_eq!(faults(&schema, &report), [""; 0]);
    assert_eq!(report["execution"]["status"], "ABORTED");
    assert_eq!(report["failure"]["state"], "Training Model");
    let states = report["execution"]["states"].as_array().unwrap();
    assert_eq!(
        (states.len(), &states[0]["name"], &states[0]["failed"]),
        (1, &"Training Model".into(), &"Aborted".into())
    );
    let within = states[0]["seconds"].as_f64().unwrap();
    assert!(
        within > 0.0 && within <= report["seconds"].as_f64().unwrap(),
        "{within}"
    );
    assert_eq!(report["manifest"]["countries"][0]["code"], "US");
    let page = std::fs::read_to_string(folder.join("ipinsights-report/report.html")).unwrap();
    for shown in [
        "What went wrong",
        "data:image/svg+xml",
        "Training Model",
        "was given up",
        "IPFire",
    ] {
        assert!(page.contains(shown), "{shown} is not in the page");
    }
}

#[test]
fn an_evaluation_is_repeated_and_compared() {
    let folder = ana_and_ben();
    let folder = folder.path();
    text(folder, &CALIBRATE);
    let attack: String = (0..60)
        .map(|host| format!("ben,20.1.2.{host}\nana,90.7.7.{host}\n"))
        .collect();
    std::fs::write(folder.join("attack.csv"), attack + "mallory,1.2.3.4\n").unwrap();
    let args = [
        "evaluate",
        "--normal",
        "held-out.csv",
        "--anomalous",
        "attack.csv",
        "--history",
        "train.csv",
    ];
    let report = json(&output(folder, &[&args[..], &["--format", "json"]].concat()));
    let record = &report["record"];
    assert_eq!(record["build"]["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(record["build"]["lock_sha256"].as_str().unwrap().len(), 64);
    assert_eq!(record["hyperparameters"]["vector_dim"], "16");
    assert_eq!(
        (
            &record["anomalous"]["rows"],
            &record["anomalous"]["unknown_entities"]
        ),
        (&121.into(), &1.into())
    );
    for file in ["model", "normal", "anomalous", "history"] {
        assert_eq!(record[file]["sha256"].as_str().unwrap().len(), 64, "{file}");
    }
    assert_eq!(report["line"], report["at_threshold"]["operation"]["threshold"]);
    let anomalous = report["lowest"]["anomalous"].as_array().unwrap();
    assert_eq!(anomalous.len(), 121);
    let flagged = anomalous.iter().filter(|row| row["anomalous"] == true).count();
    let strangers: Vec<&Value> = anomalous
        .iter()
        .filter(|row| row["unknown_entity"] == true)
        .collect();
    assert!(flagged >= 115, "{flagged}");
    assert_eq!((strangers.len(), &strangers[0]["entity"]), (1, &"mallory".into()));
    assert!(
        anomalous
            .iter()
            .all(|row| row["reason"].is_string() && row["percentile"].is_number())
    );

    let schema = schema(folder, "evaluation");
    let places = [
        "/auc",
        "/record/model",
        "/record/normal/rows",
        "/lowest/normal",
        "/verdict",
        "/kind",
        "/reliability/bins",
    ];
    assert_noticed(&schema, &report, &places);

    let path = "evaluation-report/report.json";
    let verify = ["verify", path, "--format", "json"];
    assert_eq!(json(&output(folder, &verify))["same"], true);
    let (code, said) = failure(folder, &["verify", path, "--target", "local"]);
    assert_eq!(code, 2, "{said}");
    let mut other = report.clone();
    other["auc"] = 0.5.into();
    other["lowest"]["normal"][3]["percentile"] = 0.9.into();
    other["record"]["build"]["version"] = "0.0.0".into();
    write(folder, path, &other);
    assert_eq!(differences(folder, path), ["/auc", "/lowest/normal/3/percentile"]);
    write(folder, path, &report);
    let rows = std::fs::read_to_string(folder.join("held-out.csv")).unwrap();
    std::fs::write(folder.join("held-out.csv"), rows + "ana,9.9.9.9\n").unwrap();
    let places = differences(folder, path);
    for place in ["/record/normal/sha256", "/record/normal/rows", "/normal", "/auc"] {
        assert!(places.contains(&place.to_owned()), "{place} is not in {places:?}");
    }
    std::fs::remove_file(folder.join("held-out.csv")).unwrap();
    let (code, said) = failure(folder, &["verify", path]);
    assert_eq!(code, 7);
    assert!(
        said.contains("held-out.csv") && said.contains("current folder"),
        "{said}"
    );
    other.as_object_mut().unwrap().remove("record");
    write(folder, path, &other);
    let (code, said) = failure(folder, &["verify", path]);
    assert_eq!(code, 3);
    assert!(said.contains("does not say which files"), "{said}");
    other["version"] = 2.into();
    write(folder, path, &other);
    let (code, said) = failure(folder, &["verify", path]);
    assert_eq!(code, 3);
    assert!(said.contains("version 2"), "{said}");
}
