//! `ipinsights score-server`, as a person or a script starts it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::{Running, ana_and_ben, ipinsights, text};

struct Serving {
    server: Running,
    address: String,
}

impl Serving {
    fn start(folder: &Path, args: &[&str]) -> Self {
        let mut server = Running::start(&mut ipinsights(folder, &[&["score-server"], args].concat()));
        let line = server.line();
        let address = line.strip_prefix("http://").unwrap_or_default().to_owned();
        Self { server, address }
    }

    /// Status and body.
    fn answer(&self, head: &str, body: &str) -> (u16, Value) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        write!(
            stream,
            "{head} HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-type: text/csv\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap())
    }

    /// Ends it as Ctrl-C does, and gives its log.
    fn log(self) -> String {
        self.server.interrupted()
    }
}

#[test]
fn a_model_file_answers_with_its_own_threshold() {
    let folder = ana_and_ben();
    let folder = folder.path();
    let output = ipinsights(folder, &["score-server", "--model", "model.tar.gz"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains("`model.tar.gz` has no threshold: give --threshold, or"),
        "{said}"
    );

    text(
        folder,
        &[
            "calibrate",
            "--data",
            "held-out.csv",
            "--false-positive-rate",
            "0.05",
        ],
    );
    let server = Serving::start(folder, &["--model", "model.tar.gz"]);
    let (status, answer) = server.answer(
        "POST /score",
        "ana,20.1.2.3\nana,90.7.7.3\nben\nmallory,20.1.2.3\n",
    );
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["threshold"]["false_positive_rate"], 0.05);
    assert_eq!(
        answer["counts"],
        json!({"rows": 4, "scored": 2, "anomalous": 1, "failed": 2})
    );
    assert_eq!(answer["verdicts"][1]["anomalous"], true);
    // A stranger is neither normal nor not.
    assert_eq!(answer["verdicts"][3]["error"]["code"], "unknown_entity");
    assert_eq!(server.answer("GET /healthz", "").0, 200);
    let log = server.log();
    assert_eq!(log.lines().count(), 2, "{log}");
    assert!(!log.contains("ana") && !log.contains("20.1.2"), "{log}");

    let server = Serving::start(folder, &["--model", "model.tar.gz", "--log-identifiers"]);
    server.answer("POST /score", "ana,90.7.7.3\n");
    let log = server.log();
    assert!(
        log.contains(r#""flagged":[{"entity":"ana","ip":"90.7.7.3""#),
        "{log}"
    );
}

#[test]
fn an_endpoint_answers_through_the_client() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    text(folder, &["run"]);
    let server = Serving::start(folder, &["--threshold", "-0.5"]);
    let (status, answer) = server.answer("POST /score", "Canada,206.190.159.0\n");
    assert_eq!(
        (status, &answer["counts"]["scored"]),
        (200, &json!(1)),
        "{answer}"
    );
    drop(server);

    let server = Serving::start(folder, &["--threshold", "0", "--endpoint", "other"]);
    let (status, answer) = server.answer("POST /score", "Canada,206.190.159.0\n");
    assert_eq!(
        (status, &answer["type"]),
        (502, &json!("urn:ipinsights:scorer:endpoint_failed")),
        "{answer}"
    );
    let log = server.log();
    assert!(log.contains("\"cause\":\"the endpoint failed: "), "{log}");

    for (args, code, want) in [
        (
            &["score-server"][..],
            2,
            "an endpoint has no threshold of its own: give --threshold",
        ),
        (
            &["score-server", "--threshold", "0", "--endpoint", "no name"],
            2,
            "`no name`",
        ),
    ] {
        let output = ipinsights(folder, args).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains(want), "{said}");
    }
}
