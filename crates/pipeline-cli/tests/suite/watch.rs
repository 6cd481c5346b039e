//! `ipinsights watch`, as a person or a supervisor starts it.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Running, calibrated, ipinsights, output, text};

fn line(entity: &str, ip: &str, second: usize) -> String {
    format!("{{\"who\": \"{entity}\", \"from\": \"{ip}\", \"at\": \"2026-11-28T04:00:{second:02}Z\"}}\n")
}

fn append(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

/// What every watch of these tests is given.
const LOG: [&str; 12] = [
    "watch",
    "log",
    "--from",
    "jsonl",
    "--entity",
    "who",
    "--address",
    "from",
    "--time",
    "at",
    "--model",
    "model.tar.gz",
];

fn once(folder: &Path, more: &[&str]) -> Vec<Value> {
    let text = text(folder, &[&LOG[..], &["--once"], more].concat());
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn alerts_say_who_from_where_when_and_why() {
    let folder = calibrated();
    let folder = folder.path();
    let fits = line("ana", "20.1.2.7", 1);
    append(folder, "log", &fits);
    append(folder, "log", &line("ana", "90.7.7.7", 2));
    append(folder, "log", "half a li\n");
    append(folder, "log", &line("new", "90.7.7.7", 3));
    let alerts = once(folder, &["--state", "state.json"]);
    let [alert] = &alerts[..] else {
        panic!("{alerts:?}")
    };
    assert_eq!(
        (&alert["entity"], &alert["ip"]),
        (&"ana".into(), &"90.7.7.7".into())
    );
    assert_eq!(alert["time"], "2026-11-28T04:00:02Z");
    assert_eq!(alert["source"]["file"], "log");
    assert_eq!(alert["source"]["byte"], fits.len());
    assert!(alert["score"].as_f64() < alert["threshold"].as_f64(), "{alert}");
    assert!(
        alert["percentile"].is_f64() && alert["p_value"].is_f64(),
        "{alert}"
    );
    assert!(alert["reason"].as_str().unwrap().contains("ana"), "{alert}");

    // Nothing is told twice, and what is new is.
    assert_eq!(once(folder, &["--state", "state.json"]).len(), 0);
    append(folder, "log", &line("ben", "20.1.2.7", 4));
    let alerts = once(folder, &["--state", "state.json"]);
    assert_eq!(alerts.len(), 1);
    assert_eq!(alerts[0]["entity"], "ben");

    // The same event has the same id.
    let again = once(folder, &["--unknown-entity", "score", "--threshold", "1000"]);
    assert_eq!(again.len(), 4);
    assert_eq!(again[1]["id"], alert["id"]);

    let said = output(folder, &[&LOG[..], &["--once"]].concat());
    let said = String::from_utf8(said.stderr).unwrap();
    assert!(
        said.starts_with("5 records, 3 events scored, 2 anomalous, 2 alerts"),
        "{said}"
    );
    for part in [
        "1 events of entities that the model does not know",
        "1 records malformed",
        "the first malformed record: `log`: record 3",
    ] {
        assert!(said.contains(part), "{said}");
    }
}

#[test]
fn trusted_networks_and_limits_hold_alerts_back() {
    let folder = calibrated();
    let folder = folder.path();
    for second in 0..5 {
        append(folder, "log", &line("ana", "90.7.7.7", second));
    }
    append(folder, "log", &line("ben", "20.1.2.7", 9));
    let entities = |more: &[&str]| -> Vec<String> {
        let alerts = once(folder, more);
        alerts
            .iter()
            .map(|alert| alert["entity"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(entities(&["--limit", "2/1h"]), ["ana", "ana", "ben"]);
    assert_eq!(entities(&["--trust", "90.7.0.0/16"]), ["ben"]);
    assert_eq!(entities(&["--trust-entity", "ben"]).len(), 5);
    std::fs::write(folder.join("trusted"), "# offices\n90.7.7.7\n20.1.2.0/24\n").unwrap();
    assert!(entities(&["--trust", "@trusted"]).is_empty());

    let said = output(
        folder,
        &[&LOG[..], &["--once", "--limit", "1/1h", "--trust-entity", "ben"]].concat(),
    );
    let said = String::from_utf8(said.stderr).unwrap();
    assert!(
        said.contains("1 alerts, 4 held back by --limit, 1 of those you trust"),
        "{said}"
    );
    for (more, want) in [
        (&["--limit", "0/1h"][..], "N of at least 1"),
        (&["--trust", "90.7.7"], "`90.7.7` of --trust is no IPv4 network"),
    ] {
        let output = output(folder, &[&LOG[..], more].concat());
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(want), "{said}");
    }
}

#[test]
fn alerts_are_written_as_cef_and_ocsf_too() {
    let folder = calibrated();
    let folder = folder.path();
    append(folder, "log", &line("ana", "90.7.7.7", 2));
    let cef = text(
        folder,
        &[&LOG[..], &["--once", "--format", "cef", "--host", "h"]].concat(),
    );
    assert!(
        cef.starts_with("<132>") && cef.contains(" h CEF:0|ipinsights|watch|"),
        "{cef}"
    );
    assert!(cef.contains(" suser=ana src=90.7.7.7 "), "{cef}");
    let ocsf: Value = serde_json::from_str(&text(
        folder,
        &[&LOG[..], &["--once", "--format", "ocsf"]].concat(),
    ))
    .unwrap();
    assert_eq!(ocsf["class_uid"], 2004);
    assert_eq!(ocsf["evidences"][0]["src_endpoint"]["ip"], "90.7.7.7");
}

#[test]
fn a_state_is_of_one_source_and_a_wrong_one_is_told() {
    let folder = calibrated();
    let folder = folder.path();
    append(folder, "log", &line("ana", "20.1.2.7", 2));
    once(folder, &["--state", "state.json"]);
    let mut other = LOG;
    other[1] = "train.csv";
    let run = |args: &[&str]| {
        let output = output(folder, args);
        (
            output.status.code().unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let (code, said) = run(&[&other[..], &["--once", "--state", "state.json"]].concat());
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("give each source a --state of its own"), "{said}");
    let (code, said) = run(&[&LOG[..], &["--once", "--state", "train.csv"]].concat());
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("`train.csv` holds no positions"), "{said}");
    other[1] = ".";
    for own in [["--state", "new.json"], ["--output", "./alerts"]] {
        let (code, said) = run(&[&other[..], &["--once"], &own].concat());
        assert_eq!(code, 2, "{said}");
        assert!(
            said.contains("would be read as a log of `.`: put it elsewhere"),
            "{said}"
        );
    }
    other[1] = "missing";
    let (code, said) = run(&[&other[..], &["--once"]].concat());
    assert_eq!(code, 7, "{said}");
    let (code, said) = run(&["watch", "train.csv", "--once", "--model", "model.tar.gz"]);
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("give --from KIND"), "{said}");
    // Arguments that would have no effect.
    let (code, said) = run(&[&LOG[..], &["--host", "here"]].concat());
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("--format cef"), "{said}");
    let (code, said) = run(&["watch", "log", "--threshold", "0", "--unknown-entity", "score"]);
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("--model"), "{said}");
    // Files that alerts would destroy.
    for (output, why) in [
        ("model.tar.gz", "is the file of --model"),
        ("./model.tar.gz", "is the file of --model"),
        ("notes.txt", "in the middle of a line that is no alert"),
    ] {
        append(folder, "notes.txt", "buy milk");
        let before = std::fs::read(folder.join(output)).unwrap();
        let (code, said) = run(&[&LOG[..], &["--once", "--output", output]].concat());
        assert_eq!(code, 2, "{said}");
        assert!(said.contains(why), "{said}");
        assert!(before == std::fs::read(folder.join(output)).unwrap());
    }
    let (code, said) = run(&[&LOG[..], &["--once", "--output", "state", "--state", "state"]].concat());
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("is the file of --state"), "{said}");
}

#[test]
fn half_an_alert_is_cut_off_in_every_format() {
    let folder = calibrated();
    let folder = folder.path();
    append(folder, "log", &line("ana", "90.7.7.7", 2));
    for format in ["jsonl", "cef", "ocsf"] {
        let args = [&LOG[..], &["--once", "--format", format, "--output", format]].concat();
        text(folder, &args);
        let whole = std::fs::read_to_string(folder.join(format)).unwrap();
        for half in [1, 4, whole.len() / 2] {
            std::fs::write(folder.join(format), format!("{whole}{}", &whole[..half])).unwrap();
            text(folder, &args);
            let text = std::fs::read_to_string(folder.join(format)).unwrap();
            assert_eq!(text.lines().count(), 2, "{text}");
            assert!(text.starts_with(&whole), "{text}");
        }
    }
}

fn watching(folder: &Path, more: &[&str]) -> Running {
    Running::start(&mut ipinsights(
        folder,
        &[&LOG[..], &["--interval", "0.02"], more].concat(),
    ))
}

/// The address of the next alert.
fn alerted(watching: &mut Running) -> String {
    let alert: Value = serde_json::from_str(&watching.line()).unwrap();
    alert["ip"].as_str().unwrap().to_owned()
}

#[test]
fn a_log_is_followed_through_rotation_until_ctrl_c() {
    let folder = calibrated();
    let folder = folder.path();
    append(folder, "log", &line("ana", "90.7.7.1", 1));
    let mut running = watching(folder, &["--state", "state.json"]);
    assert_eq!(alerted(&mut running), "90.7.7.1");
    let late = line("ana", "90.7.7.2", 2);
    append(folder, "log", &late[..20]);
    std::fs::rename(folder.join("log"), folder.join("log.1")).unwrap();
    append(folder, "log.1", &late[20..]);
    assert_eq!(alerted(&mut running), "90.7.7.2");
    append(folder, "log", &line("ben", "20.1.2.1", 3));
    assert_eq!(alerted(&mut running), "20.1.2.1");
    let said = running.interrupted();
    assert!(
        said.contains("3 records, 3 events scored, 3 anomalous, 3 alerts"),
        "{said}"
    );
    assert!(
        said.contains("`state.json` has the positions to go on from"),
        "{said}"
    );

    append(folder, "log", &line("ben", "20.1.2.2", 4));
    let mut running = watching(folder, &["--state", "state.json"]);
    assert_eq!(alerted(&mut running), "20.1.2.2");
    running.interrupted();
}

/// Killed again and again while a log grows and is rotated: every alert is there, and every line of the output is whole.
#[test]
fn a_killed_watch_leaves_no_gap() {
    const ROUNDS: usize = 6;
    const EACH: usize = 400;
    let folder = calibrated();
    let folder = folder.path();
    let mut written = 0;
    append(folder, "log", "");
    for round in 0..ROUNDS {
        let mut running = watching(
            folder,
            &[
                "--state",
                "state.json",
                "--output",
                "alerts.jsonl",
                "--limit",
                "1000000/1h",
            ],
        );
        let begun = Instant::now();
        let mut pause = Duration::from_millis(2);
        for _ in 0..EACH {
            append(
                folder,
                "log",
                &line("ana", &format!("90.7.{}.{}", written / 250, written % 250), 0),
            );
            written += 1;
            if written % 50 == 0 {
                std::thread::sleep(pause);
                pause += Duration::from_millis(7);
            }
            if written % (EACH - 30) == 0 {
                std::fs::rename(folder.join("log"), folder.join(format!("log.{round}"))).unwrap();
            }
        }
        // Not before it has begun to write, so that some alerts are from each round.
        while std::fs::metadata(folder.join("alerts.jsonl")).map_or(0, |file| file.len()) == 0 {
            assert!(begun.elapsed() < Duration::from_secs(60), "it never began");
            std::thread::sleep(Duration::from_millis(5));
        }
        running.child.kill().unwrap();
        running.child.wait().unwrap();
    }
    // Half a line, as a kill in the middle of writing leaves it.
    append(folder, "alerts.jsonl", "{\"version\":1,\"id\":\"");
    let args = [
        "--once",
        "--state",
        "state.json",
        "--output",
        "alerts.jsonl",
        "--limit",
        "1000000/1h",
    ];
    text(folder, &[&LOG[..], &args].concat());
    let written_alerts = std::fs::read_to_string(folder.join("alerts.jsonl")).unwrap();
    let alerts: Vec<Value> = written_alerts
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let seen: BTreeSet<&str> = alerts.iter().map(|alert| alert["ip"].as_str().unwrap()).collect();
    let missing: Vec<String> = (0..written)
        .map(|i| format!("90.7.{}.{}", i / 250, i % 250))
        .filter(|ip| !seen.contains(&**ip))
        .collect();
    // Each of these networks is far from ana's, but a score is a score: what is no alert now was none before.
    let args = ["--once", "--limit", "1000000/1h"];
    let all: BTreeSet<String> = ["log", "log.0", "log.1", "log.2", "log.3", "log.4", "log.5"]
        .iter()
        .filter(|name| folder.join(name).exists())
        .flat_map(|name| {
            let mut log = LOG;
            log[1] = name;
            let alerts = text(folder, &[&log[..], &args].concat());
            let alerts: Vec<Value> = alerts
                .lines()
                .map(|line| serde_json::from_str(line).unwrap())
                .collect();
            alerts
                .into_iter()
                .map(|alert| alert["ip"].as_str().unwrap().to_owned())
        })
        .collect();
    assert!(all.len() > written / 2, "{} of {written} are alerts", all.len());
    let gaps: Vec<&String> = missing.iter().filter(|ip| all.contains(*ip)).collect();
    let some = &gaps[..gaps.len().min(10)];
    assert!(gaps.is_empty(), "{} alerts are missing: {some:?}", gaps.len());
}

#[test]
fn an_endpoint_scores_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    text(folder, &["run"]);
    std::fs::create_dir_all(folder.join("logs/2026")).unwrap();
    append(
        folder,
        "logs/2026/a.csv",
        "who,from\nCanada,206.190.159.0\nCanada,8.8.8.8\n",
    );
    let args = [
        "watch",
        "logs",
        "--once",
        "--from",
        "csv",
        "--entity",
        "who",
        "--address",
        "from",
        "--threshold",
        "1000",
    ];
    let alerts = text(folder, &args);
    assert_eq!(alerts.lines().count(), 2, "{alerts}");
    let first: Value = serde_json::from_str(alerts.lines().next().unwrap()).unwrap();
    assert_eq!(first["threshold"], 1000.0);
    assert!(
        first.get("percentile").is_none() && first.get("reason").is_none(),
        "{first}"
    );
}
