//! The binary, as a person or a script starts it.

use std::io::Read;
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;

use crate::schema::faults;
use crate::support::{Running, failure, interrupt, ipinsights, json, output};

#[test]
fn run_prints_one_document_and_a_second_run_updates() {
    let folder = tempfile::tempdir().unwrap();
    let args = [
        "run",
        "--format",
        "json",
        "-p",
        "epochs=10",
        "-p",
        "vector_dim=16",
        "--report",
        "report",
    ];
    let first = output(folder.path(), &args);
    let stderr = String::from_utf8_lossy(&first.stderr).into_owned();
    let first = json(&first);
    assert_eq!(first["version"], 1);
    assert_eq!(first["target"], "local");
    assert_eq!(first["execution"]["status"], "SUCCEEDED");
    assert_eq!(first["endpoint"]["status"], "InService");
    // There is no endpoint yet: looking for it fails, and that is caught.
    let caught = |report: &Value| -> Vec<Value> {
        let states = report["execution"]["states"].as_array().unwrap();
        let caught = states.iter().filter(|state| state.get("caught").is_some());
        caught.map(|state| state["name"].clone()).collect()
    };
    assert_eq!(caught(&first), ["Looking for Endpoint"]);
    assert_eq!(first["rows"].as_array().unwrap().len(), 5);
    assert_eq!(first["outliers"], 5);
    assert_eq!(first["threshold"]["false_positive_rate"], 0.05);
    assert_eq!(first["held_out"]["rows"], 250);
    let auc = first["held_out"]["auc_vs_outliers"].as_f64().unwrap();
    assert!((0.0..=1.0).contains(&auc));
    assert!(first["manifest"].is_object());
    for said in ["Training Model", "epoch 10/10", "IPFire"] {
        assert!(stderr.contains(said), "{said} is not in {stderr}");
    }
    for file in [
        "report.html",
        "report.json",
        "definition.asl.json",
        "definition.svg",
        "manifest.json",
        "train.csv",
    ] {
        assert!(folder.path().join("report").join(file).is_file(), "{file}");
    }

    let report: Value =
        serde_json::from_slice(&std::fs::read(folder.path().join("report/report.json")).unwrap()).unwrap();
    assert_eq!(report, first);
    let curve = first["training"]["curve"].as_array().unwrap();
    assert_eq!(curve.len(), 10);
    assert!(
        curve
            .iter()
            .all(|epoch| epoch["loss"].is_f64() && epoch["discriminator_auc"].is_f64())
    );
    let reason = first["rows"][0]["reason"].as_str().unwrap();
    assert!(
        reason.starts_with("`United States` (50 rows) was never seen at"),
        "{reason}"
    );
    assert!(reason.contains("is in Singapore;"), "{reason}");
    let digest = first["record"]["model_sha256"].as_str().unwrap();
    assert_eq!(digest.len(), 64);
    assert_eq!(first["record"]["build"]["version"], env!("CARGO_PKG_VERSION"));
    let schema = json(&output(folder.path(), &["schema"]));
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert_eq!(faults(&schema, &first), [""; 0]);

    let second = json(&output(folder.path(), &args));
    assert_eq!(second["rows"], first["rows"]);
    assert_ne!(second["endpoint"]["config"], first["endpoint"]["config"]);
    assert!(caught(&second).is_empty());

    // What a run left answers other commands on the same folder.
    let row = &first["rows"][0];
    let pair = format!(
        "{},{}",
        row["entity"].as_str().unwrap(),
        row["ip"].as_str().unwrap()
    );
    let scored = json(&output(folder.path(), &["score", "--format", "json", &pair]));
    assert_eq!(scored["rows"][0]["score"], row["score"]);

    let gone = json(&output(folder.path(), &["destroy", "--format", "json"]));
    assert_eq!(gone["deleted"].as_array().unwrap().len(), 4, "{gone}");
}

#[test]
fn the_published_experiment_is_a_choice() {
    let folder = tempfile::tempdir().unwrap();
    let args = [
        "run",
        "--format",
        "json",
        "--quiet",
        "--published-settings",
        "--test-rows",
        "published",
    ];
    let report = json(&output(folder.path(), &args));
    let rows: Vec<(&str, &str)> = report["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row["entity"].as_str().unwrap(), row["ip"].as_str().unwrap()))
        .collect();
    assert_eq!(
        rows,
        [
            ("Canada", "206.190.159.0"),
            ("France", "188.42.252.0"),
            ("Germany", "119.81.246.136"),
            ("United Kingdom", "203.116.192.0"),
            ("United States", "103.14.224.0"),
        ]
    );
    assert_eq!(report["manifest"]["test_rows"], "published");
    assert_eq!(report["training"]["hyperparameters"]["num_entity_vectors"], "10");
    assert_eq!(report["training"]["hyperparameters"]["mini_batch_size"], "10000");
}

#[test]
fn a_table_for_people_tells_the_verdict() {
    let folder = tempfile::tempdir().unwrap();
    let output = output(
        folder.path(),
        &["run", "--quiet", "-p", "epochs=5", "-p", "vector_dim=16"],
    );
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.stderr.is_empty(),
        "quiet: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    for said in [
        "claims to be",
        "held out, in country",
        "Canada",
        "threshold",
        "held-out rows do",
        "InService",
    ] {
        assert!(text.contains(said), "{said} is not in {text}");
    }
}

#[test]
fn sample_train_score_without_any_service() {
    let folder = tempfile::tempdir().unwrap();
    let sampled = json(&output(
        folder.path(),
        &["sample", "--format", "json", "--seed", "3"],
    ));
    assert!(sampled.is_object());
    let again = output(folder.path(), &["sample", "--seed", "3", "--output", "again"]);
    assert!(again.status.success());
    for file in [
        "train.csv",
        "validation.csv",
        "test.csv",
        "evaluation.csv",
        "manifest.json",
    ] {
        let read = |at: &str| std::fs::read(folder.path().join(at).join(file)).unwrap();
        assert_eq!(read("sample"), read("again"), "{file}");
    }
    let train = [
        "train",
        "--data",
        "sample/train.csv",
        "--validation",
        "sample/validation.csv",
        "--format",
        "json",
        "-p",
        "epochs=5",
    ];
    let trained = json(&output(folder.path(), &train));
    assert_eq!(trained["rows"], 250);
    let model = std::fs::read(folder.path().join("model.tar.gz")).unwrap();
    let twice = ["--threads", "1", "--output", "twice.tar.gz"];
    json(&output(folder.path(), &[&train[..], &twice[..]].concat()));
    assert!(
        model == std::fs::read(folder.path().join("twice.tar.gz")).unwrap(),
        "the number of threads shows"
    );

    let scored = json(&output(
        folder.path(),
        &[
            "score",
            "--model",
            "model.tar.gz",
            "--input",
            "sample/test.csv",
            "--threshold",
            "-1",
            "--format",
            "json",
        ],
    ));
    assert_eq!(scored["rows"].as_array().unwrap().len(), 5);
    assert!(scored["rows"][0]["anomalous"].is_boolean());
}

#[test]
fn rows_may_come_through_a_pipe_and_models_go_through_a_link() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    assert!(output(path, &["sample"]).status.success());
    std::fs::write(path.join("there.tar.gz"), "an older model").unwrap();
    std::os::unix::fs::symlink("there.tar.gz", path.join("link.tar.gz")).unwrap();
    let args = [
        "train",
        "--data",
        "/dev/stdin",
        "--output",
        "link.tar.gz",
        "-p",
        "epochs=1",
        "--format",
        "json",
    ];
    let mut child = ipinsights(path, &args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut rows = std::fs::File::open(path.join("sample/train.csv")).unwrap();
    std::io::copy(&mut rows, &mut child.stdin.take().unwrap()).unwrap();
    assert_eq!(json(&child.wait_with_output().unwrap())["rows"], 250);
    assert!(path.join("link.tar.gz").is_symlink());
    assert!(std::fs::metadata(path.join("there.tar.gz")).unwrap().len() > 1_000);
    let mode = |file: &str| {
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(path.join(file)).unwrap().permissions())
            & 0o777
    };
    assert_eq!(mode("there.tar.gz"), mode("sample/train.csv"));
    let scored = output(path, &["score", "Canada,1.2.3.4"]);
    assert_eq!(scored.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&scored.stderr).contains("`ipinsights run` makes one"));
}

#[test]
fn what_goes_wrong_has_a_code_and_a_cure() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    std::fs::write(path.join("bad.csv"), "a,1.2.3.4\nb,nowhere\n").unwrap();
    std::fs::write(path.join("bad.mmdb"), "not a database").unwrap();
    let cases: [(&[&str], i32, &str); 31] = [
        (
            &["score", "-m", "bad.csv", "--target", "aws", "a,1.2.3.4"],
            2,
            "--target",
        ),
        (
            &["score", "-m", "bad.csv", "--data-dir", "d", "a,1.2.3.4"],
            2,
            "--data-dir",
        ),
        (&["score", "--ipv6", "reject", "a,1.2.3.4"], 2, "--model"),
        (
            &["score-server", "-m", "bad.csv", "--region", "eu-west-1"],
            2,
            "--region",
        ),
        (
            &["run", "--data-dir", "d", "--endpoint-url", "http://127.0.0.1:1"],
            2,
            "--data-dir",
        ),
        (&["verify", "--target", "aws"], 2, "go with a report.json"),
        (
            &[
                "evaluate",
                "--normal",
                "bad.csv",
                "--anomalous",
                "bad.csv",
                "--report",
                "bad.csv/r",
            ],
            7,
            "bad.csv/r",
        ),
        (&["run", "--countries", "Germny"], 3, "Germany"),
        (&["sample", "--per-country", "500000"], 3, "500050"),
        (&["sample", "--per-country", "100000000"], 2, "at most 1000000"),
        (&["sample", "--database", "bad.mmdb"], 3, "bad.mmdb"),
        (&["sample", "--database", "none.mmdb"], 7, "none.mmdb"),
        (&["train", "--data", "bad.csv"], 3, "line 2"),
        (&["train", "--data", "none.csv"], 7, "none.csv"),
        (&["run", "-p", "epoch=3"], 2, "no hyperparameter `epoch`"),
        (&["run", "-p", "epochs=0"], 2, "epochs"),
        (&["run", "--false-positive-rate", "1"], 2, "below 1"),
        (&["run", "--name", "a b"], 2, "a b"),
        (
            &["run", "--target", "aws", "--region", "eu-west-1"],
            2,
            "WORKFLOW_EXECUTION_ROLE",
        ),
        (
            &["destroy", "--target", "aws", "--region", "eu-west-1"],
            4,
            "no AWS credentials",
        ),
        (&["destroy", "--target", "aws"], 4, "no AWS region"),
        (&["score", "--model", "bad.csv", "a,1.2.3.4"], 3, "not a model"),
        (&["score", "--threshold", "nan", "a,1.2.3.4"], 2, "finite"),
        (
            &["score", "--endpoint-url", "http://127.0.0.1:1", "a,1.2.3.4"],
            8,
            "no answer",
        ),
        (&["run", "--report", "bad.csv"], 7, "bad.csv"),
        (&["run", "--held-out", "1"], 3, "held-out"),
        (&["run", "--data-location", "s3://x/y"], 2, "3 to 63"),
        (&["run", "--region", "mars-1"], 2, "mars-1"),
        (
            &["run", "--test-rows", "published", "--outliers", "7"],
            2,
            "--outliers",
        ),
        (
            &["run", "--test-rows", "published", "--countries", "US,JP"],
            3,
            "Canada",
        ),
        (
            &["train", "--data", "bad.csv", "--output", "none/model.tar.gz"],
            7,
            "none/model.tar.gz",
        ),
    ];
    for (args, code, said) in cases {
        let output = output(path, args);
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{args:?}: {text}");
        assert!(text.contains(said), "{args:?} does not say {said}: {text}");
        assert!(output.stdout.is_empty(), "{args:?}");
    }
    // Some cases get as far as opening the folder of the local services, which stays.
    std::fs::remove_dir_all(path.join(".ipinsights")).unwrap();
    let left: Vec<_> = std::fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left.len(), 2, "left behind: {left:?}");
}

#[test]
fn a_port_or_a_folder_in_use_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let number = port.local_addr().unwrap().port().to_string();
    let (code, text) = failure(folder.path(), &["serve", "--port", &number]);
    assert_eq!(code, 6, "{text}");
    assert!(text.contains(&number), "{text}");

    let (server, url) = serve(folder.path(), &[]);
    let (code, text) = failure(folder.path(), &["run"]);
    assert_eq!(code, 6, "{text}");
    // A running server can be used instead.
    let report = json(&output(
        folder.path(),
        &[
            "run",
            "--endpoint-url",
            &url,
            "--format",
            "json",
            "-p",
            "epochs=3",
            "-p",
            "vector_dim=8",
        ],
    ));
    assert_eq!(report["endpoint"]["status"], "InService");
    stopped(server);
}

/// A server and the line that it printed first.
fn serve(folder: &Path, args: &[&str]) -> (Running, String) {
    let mut server = Running::unheard(&mut ipinsights(folder, &[&["serve"], args].concat()));
    let url = server.line();
    (server, url)
}

/// Ends a server as Ctrl-C does, and gives what it had printed.
fn stopped(mut server: Running) -> String {
    interrupt(&server.child);
    let mut rest = String::new();
    server.stdout.read_to_string(&mut rest).unwrap();
    assert!(server.child.wait().unwrap().success());
    rest
}

#[test]
fn serve_says_where_it_is_and_how_to_come() {
    let folder = tempfile::tempdir().unwrap();
    let (server, url) = serve(folder.path(), &["--print-env"]);
    assert!(url.starts_with("http://127.0.0.1:"), "{url}");
    let rest = stopped(server);
    assert!(rest.contains(&format!("export AWS_ENDPOINT_URL={url}")), "{rest}");
    assert!(rest.contains("export AWS_SECRET_ACCESS_KEY="), "{rest}");
    // Who has to have a key has it: none that would be refused is printed, nor any secret.
    let keys = folder.path().join("keys");
    std::fs::write(&keys, "id a-secret\n").unwrap();
    let args = ["--print-env", "--credentials", keys.to_str().unwrap()];
    let rest = stopped(serve(folder.path(), &args).0);
    assert!(rest.contains("export AWS_ENDPOINT_URL="), "{rest}");
    for absent in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "a-secret"] {
        assert!(!rest.contains(absent), "{absent}: {rest}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = ipinsights(folder.path(), &["definition", "--as", "svg"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    assert!(child.wait().unwrap().success());
}

#[test]
fn the_machine_is_printed_and_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let definition = output(folder.path(), &["definition"]);
    let definition: Value = serde_json::from_slice(&definition.stdout).unwrap();
    assert_eq!(definition["StartAt"], "Training Model");
    for (form, said) in [("svg", "<svg"), ("dot", "digraph"), ("mermaid", "Training Model")] {
        let drawn = String::from_utf8(output(folder.path(), &["definition", "--as", form]).stdout).unwrap();
        assert!(drawn.contains(said), "{form}: {drawn}");
    }
}

#[test]
fn man_pages_and_completions_know_every_command() {
    let folder = tempfile::tempdir().unwrap();
    let pages = json(&output(
        folder.path(),
        &["man", "--to", "a/man1", "--format", "json"],
    ));
    assert_eq!(pages["version"], 1);
    let pages: Vec<&str> = pages["pages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|page| page.as_str().unwrap())
        .collect();
    let page = |name: &str| std::fs::read_to_string(folder.path().join("a/man1").join(name)).unwrap();
    let main = page("ipinsights.1");
    let help = String::from_utf8(output(folder.path(), &["--help"]).stdout).unwrap();
    let commands: Vec<&str> = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        // A line that goes on is indented further.
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next())
        .filter(|name| !["", "help"].contains(name))
        .collect();
    assert!(
        commands.contains(&"run") && commands.contains(&"man"),
        "{commands:?}"
    );
    for command in commands {
        let name = format!("ipinsights-{command}.1");
        assert!(pages.contains(&&*format!("a/man1/{name}")), "{name}: {pages:?}");
        assert!(page(&name).contains(".SH SYNOPSIS"), "{name}");
        // roff writes a hyphen that is to stay one with a backslash.
        let written = format!("ipinsights\\-{}(1)", command.replace('-', "\\-"));
        assert!(main.contains(&written), "{command}");
    }
    assert!(page("ipinsights-states-run.1").contains("virtual\\-time"));
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = output(folder.path(), &["completions", shell]);
        assert!(script.status.success(), "{shell}");
        let script = String::from_utf8(script.stdout).unwrap();
        assert!(script.contains("virtual-time"), "{shell}");
    }
    let (code, told) = failure(folder.path(), &["completions", "bash", "--format", "json"]);
    assert_eq!(code, 2, "{told}");
}

#[test]
fn a_run_is_repeated_and_compared() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let args = ["run", "-q", "-p", "epochs=3", "-p", "vector_dim=8", "--seed", "7"];
    assert!(output(folder, &args).status.success());
    let path = folder.join("ipinsights-report/report.json");
    let written = std::fs::read(&path).unwrap();
    let verify = ["verify", "ipinsights-report/report.json", "--format", "json"];
    let same = json(&output(folder, &verify));
    assert_eq!(
        (&same["version"], &same["same"]),
        (&1.into(), &true.into()),
        "{same}"
    );
    // Nothing of it stays: the endpoint is the run's.
    let mut there: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    there.sort();
    assert_eq!(there, [".ipinsights", "ipinsights-report"]);

    // A report from before there were reasons, curves and records says less, and what it says is the same.
    let mut older: Value = serde_json::from_slice(&written).unwrap();
    for member in ["record", "detection"] {
        older.as_object_mut().unwrap().remove(member).unwrap();
    }
    older["training"]
        .as_object_mut()
        .unwrap()
        .remove("curve")
        .unwrap();
    older["rows"][0]
        .as_object_mut()
        .unwrap()
        .remove("reason")
        .unwrap();
    // A name as long as a pipeline's may be.
    older["endpoint"]["name"] = "a".repeat(36).into();
    std::fs::write(&path, older.to_string()).unwrap();
    assert_eq!(json(&output(folder, &verify))["same"], true);

    let mut report: Value = serde_json::from_slice(&written).unwrap();
    report["rows"][2]["score"] = 5.0.into();
    report["record"]["model_sha256"] = "00".into();
    std::fs::write(&path, report.to_string()).unwrap();
    let other = output(folder, &verify);
    assert_eq!(other.status.code(), Some(14));
    let told: Value = serde_json::from_slice(&other.stdout).unwrap();
    let mut places: Vec<&str> = told["differences"]
        .as_array()
        .unwrap()
        .iter()
        .map(|difference| difference["place"].as_str().unwrap())
        .collect();
    places.sort_unstable();
    assert_eq!(places, ["/record/model_sha256", "/rows/2/score"]);

    // Rows that the database does not give.
    let mut report: Value = serde_json::from_slice(&written).unwrap();
    report["manifest"]["files"][0]["sha256"] = "00".into();
    std::fs::write(&path, report.to_string()).unwrap();
    let other = output(folder, &["verify", "ipinsights-report/report.json"]);
    assert_eq!(other.status.code(), Some(14));
    let told = String::from_utf8(other.stdout).unwrap();
    assert!(told.contains("/manifest: "), "{told}");

    let mut report: Value = serde_json::from_slice(&written).unwrap();
    report["target"] = "aws".into();
    std::fs::write(&path, report.to_string()).unwrap();
    let (code, told) = failure(folder, &["verify", "ipinsights-report/report.json"]);
    assert_eq!(code, 2);
    assert!(told.contains("--target aws"), "{told}");

    std::fs::write(&path, "{}").unwrap();
    let (code, told) = failure(folder, &["verify", "ipinsights-report/report.json"]);
    assert_eq!(code, 3);
    assert!(told.contains("is no report.json"), "{told}");
    let (code, _) = failure(folder, &["verify", "--region", "us-east-1"]);
    assert_eq!(code, 2);
}
