//! The contract from outside: the program under a temporary root, as the service would run it.
#![expect(
    clippy::unwrap_used,
    reason = "tests; the lint knows only test functions, not their helpers"
)]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use expect_test::{Expect, expect};
use ipinsights::Model;
use ipinsights_container::Layout;
use tempfile::TempDir;

fn program(layout: &Layout, command: &str) -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_ipinsights-container"));
    program.arg(command).arg("--root").arg(layout.root());
    for variable in [
        "SAGEMAKER_BATCH",
        "SAGEMAKER_MAX_PAYLOAD_IN_MB",
        "SAGEMAKER_MAX_CONCURRENT_TRANSFORMS",
        "SAGEMAKER_BATCH_STRATEGY",
        "IPINSIGHTS_SEED",
        "IPINSIGHTS_EARLY_STOP",
    ] {
        program.env_remove(variable);
    }
    program.env("SAGEMAKER_BIND_TO_PORT", "0");
    program
}

fn put(path: &Path, content: impl AsRef<[u8]>) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

/// Ana comes from one network, Ben from another.
fn rows(n: u32) -> String {
    (0..n)
        .map(|i| match i % 2 {
            0 => format!("ana, 192.0.2.{}\n", i % 256),
            _ => format!("ben,198.51.100.{}\n", i % 256),
        })
        .collect()
}

/// What the service lays out for a job.
fn laid_out() -> (TempDir, Layout) {
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::new(folder.path().join("ml"));
    put(
        &layout.hyperparameters(),
        r#"{"num_entity_vectors": "100", "vector_dim": "8", "epochs": "20", "mini_batch_size": "50", "learning_rate": "0.01",
            "batch_metrics_publish_interval": "2", "epoch": "7", "_tuning_objective_metric": "validation:discriminator_auc"}"#,
    );
    put(
        &layout.input_data_config(),
        r#"{"train": {"ContentType": "text/csv", "TrainingInputMode": "File", "S3DistributionType": "FullyReplicated",
            "RecordWrapperType": "None"}, "validation": {"TrainingInputMode": "File"}}"#,
    );
    put(
        &layout.resource_config(),
        r#"{"current_host": "algo-1", "hosts": ["algo-1"], "network_interface_name": "eth0"}"#,
    );
    put(&layout.channel("train").join("part-0.csv"), rows(60));
    put(&layout.channel("train").join("more/part-1.csv"), rows(40));
    put(&layout.channel("validation").join("rows.csv"), rows(20));
    (folder, layout)
}

fn train(layout: &Layout) -> Output {
    program(layout, "train").output().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The log with what varies replaced: moments, durations, speeds, the temporary folder.
fn masked(log: &str, layout: &Layout) -> String {
    let mut lines = Vec::new();
    for line in log
        .replace(&layout.root().display().to_string(), "/opt/ml")
        .lines()
    {
        let line = match line.split_once("] ") {
            Some((stamp, rest)) if stamp.starts_with('[') && stamp.contains(" 1") => {
                let level = stamp.split(' ').nth(2).unwrap();
                format!("[{level}] {rest}")
            }
            _ => line.to_owned(),
        };
        lines.push(line);
    }
    lines.join("\n")
}

#[test]
fn train_then_serve_then_stop() {
    let (_folder, layout) = laid_out();
    let trained = train(&layout);
    let log = masked(&text(&trained), &layout);
    assert!(trained.status.success(), "{log}");
    assert!(!layout.failure().exists());
    for line in [
        "Docker entrypoint called with argument(s): train",
        "[WARNING] The hyperparameter `epoch` is not known; it has no effect.",
        "[INFO] Checkpoint loading and saving are disabled.",
        "[INFO] #progress_metric: host=algo-1, completed 100.0 % of epochs",
        "[INFO] Test data is not provided.",
    ] {
        assert!(log.lines().any(|l| l == line), "{line} is missing:\n{log}");
    }
    let auc = "#quality_metric: host=algo-1, epoch=19, validation discriminator_auc <score>=";
    let auc = log.lines().find_map(|l| l.split_once(auc)).unwrap().1;
    assert!(auc.parse::<f64>().unwrap() > 0.9, "{auc}");
    let model = Model::read_folder(&layout.model()).unwrap();
    assert_eq!(model.training_rows(), 100);

    let server = Server::start(&layout, &[]);
    let (status, _, body) = server.ask("GET /ping", &[], b"");
    assert_eq!((status, &body[..]), (200, &b""[..]));
    let (status, _, body) = server.ask("GET /execution-parameters", &[], b"");
    let parameters = String::from_utf8(body).unwrap();
    assert_eq!(status, 200);
    assert!(
        parameters.starts_with(r#"{"MaxConcurrentTransforms":"#)
            && parameters.ends_with(r#","BatchStrategy":"MULTI_RECORD","MaxPayloadInMB":6}"#),
        "{parameters}"
    );
    let score = |entity, ip: [u8; 4]| model.score(entity, ip.into()).dot_product();
    let (home, away) = (score("ana", [192, 0, 2, 9]), score("ana", [198, 51, 100, 9]));
    assert!(home > 0.0 && away < 0.0);
    let json = format!(r#"{{"predictions":[{{"dot_product":{home}}},{{"dot_product":{away}}}]}}"#);
    let lines = format!("{{\"dot_product\":{home}}}\n{{\"dot_product\":{away}}}\n");
    let csv = b"ana,192.0.2.9\nana, 198.51.100.9\n";
    let instances = br#"{"instances":[{"features":["ana","192.0.2.9"]},{"data":{"features":{"values":["ana","198.51.100.9"]}}}]}"#;
    let jsonl = b"{\"features\":[\"ana\",\"192.0.2.9\"]}\n{\"features\":[\"ana\",\"198.51.100.9\"]}\n";
    for (content_type, body) in [
        ("text/csv", &csv[..]),
        ("text/csv; charset=utf-8", &csv[..]),
        ("application/json", &instances[..]),
        ("application/jsonlines", &jsonl[..]),
    ] {
        for (accept, kind, want) in [
            (None, "application/json", &json),
            (Some("application/json"), "application/json", &json),
            (Some("application/jsonlines"), "application/jsonlines", &lines),
        ] {
            let mut headers = vec![("Content-Type", content_type)];
            headers.extend(accept.map(|accept| ("Accept", accept)));
            let (status, got_kind, got) = server.ask("POST /invocations", &headers, body);
            assert_eq!((status, got_kind.as_str()), (200, kind));
            assert_eq!(String::from_utf8(got).unwrap().trim_end(), want.trim_end());
        }
    }
    let verbose = [
        ("Content-Type", "text/csv"),
        ("Accept", "application/json; verbose=True"),
    ];
    let (status, _, body) = server.ask("POST /invocations", &verbose, csv);
    let body = String::from_utf8(body).unwrap();
    assert!(status == 200 && body.contains("ip_embedding") && body.contains("entity_embedding"));

    server.stop();
}

#[test]
fn refusals_of_the_server() {
    let (_folder, layout) = laid_out();
    assert!(train(&layout).status.success());
    let server = Server::start(&layout, &[("SAGEMAKER_MAX_PAYLOAD_IN_MB", "1")]);
    let csv = [("Content-Type", "text/csv")];
    let refused = |request: &str, headers: &[(&str, &str)], body: &[u8], want: Expect| {
        let (status, _, body) = server.ask(request, headers, body);
        want.assert_eq(&format!("{status} {}", String::from_utf8(body).unwrap()));
    };
    refused("GET /", &[], b"", expect![[r#"404 "#]]);
    refused("GET /invocations", &[], b"", expect![[r#"405 "#]]);
    refused(
        "POST /invocations",
        &csv,
        b"ana,192.0.2.9\nben\n",
        expect![
            "400 unable to evaluate payload provided: line 2: expected an entity and an IPv4 address, found 1 field in `ben`"
        ],
    );
    refused(
        "POST /invocations",
        &[],
        b"ana,192.0.2.9",
        expect![
            "415 content type `` is not supported; it must be `text/csv`, `application/json` or `application/jsonlines`"
        ],
    );
    refused(
        "POST /invocations",
        &[("Content-Type", "application/x-recordio-protobuf")],
        b"",
        expect![
            "415 content type `application/x-recordio-protobuf` is not supported; it must be `text/csv`, `application/json` or `application/jsonlines`"
        ],
    );
    refused(
        "POST /invocations",
        &[("Content-Type", "text/csv"), ("Accept", "image/png")],
        b"ana,192.0.2.9",
        expect![
            "406 accept `image/png` is not supported; it must be `application/json` or `application/jsonlines`, with or without `; verbose=True`"
        ],
    );
    let large = b"ana,192.0.2.9\n".repeat(80_000);
    refused(
        "POST /invocations",
        &csv,
        &large,
        expect!["413 the body is larger than 1 MiB; send fewer rows"],
    );
    // And goes on serving.
    assert_eq!(server.ask("GET /ping", &[], b"").0, 200);
    server.stop();
}

#[test]
fn a_batch_transform_job_gets_lines() {
    let (_folder, layout) = laid_out();
    assert!(train(&layout).status.success());
    let batch = [
        ("SAGEMAKER_BATCH", "true"),
        ("SAGEMAKER_BATCH_STRATEGY", "SINGLE_RECORD"),
        ("SAGEMAKER_MAX_CONCURRENT_TRANSFORMS", "2"),
    ];
    let server = Server::start(&layout, &batch);
    let csv = [("Content-Type", "text/csv")];
    let (status, kind, _) = server.ask("POST /invocations", &csv, b"ana,192.0.2.9\n");
    assert_eq!((status, kind.as_str()), (200, "application/jsonlines"));
    let (_, _, body) = server.ask("GET /execution-parameters", &[], b"");
    expect![[r#"{"MaxConcurrentTransforms":2,"BatchStrategy":"SINGLE_RECORD","MaxPayloadInMB":6}"#]]
        .assert_eq(&String::from_utf8(body).unwrap());
    server.stop();
}

/// With embeddings the answer is many times as long as the rows: an endpoint refuses to give more than it may, and a batch transform job
/// gets all of it.
#[test]
fn an_answer_that_is_longer_than_an_endpoint_may_give() {
    let (_folder, layout) = laid_out();
    assert!(train(&layout).status.success());
    let verbose = [
        ("Content-Type", "text/csv"),
        ("Accept", "application/jsonlines; verbose=True"),
    ];
    let rows = b"ana,192.0.2.9\n".repeat(70_000);
    let server = Server::start(&layout, &[]);
    let (status, _, body) = server.ask("POST /invocations", &verbose, &rows);
    expect!["413 the answer is larger than 6291456 bytes; send fewer rows"]
        .assert_eq(&format!("{status} {}", String::from_utf8(body).unwrap()));
    let (status, _, one) = server.ask("POST /invocations", &verbose, b"ana,192.0.2.9\n");
    assert_eq!(status, 200);
    server.stop();

    let server = Server::start(&layout, &[("SAGEMAKER_BATCH", "true")]);
    let (status, kind, body) = server.ask("POST /invocations", &verbose, &rows);
    assert_eq!((status, kind.as_str()), (200, "application/jsonlines"));
    assert!(body.len() > 2 * 6_291_456, "{} bytes", body.len());
    let lines: Vec<_> = body.split(|b| *b == b'\n').collect();
    assert_eq!(lines.len(), 70_000);
    assert!(lines.iter().all(|line| *line == one.trim_ascii_end()));
    server.stop();
}

#[test]
fn nothing_to_serve() {
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::new(folder.path());
    let output = program(&layout, "serve").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    expect![[r#"
        there is no model to serve in `/opt/ml/model`: the model archive has no `model.json`; maybe it is the archive of another algorithm"#]]
    .assert_eq(&masked(&text(&output), &layout));
}

/// What the file `failure` says after a change to what is laid out.
fn check_failure(change: impl Fn(&Layout), want: Expect) {
    let (_folder, layout) = laid_out();
    change(&layout);
    let output = train(&layout);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let failure = fs::read_to_string(layout.failure()).unwrap();
    let failure = failure.replace(&layout.root().display().to_string(), "/opt/ml");
    assert!(!layout.model().join("model.json").exists());
    want.assert_eq(&failure);
}

#[test]
fn failures() {
    check_failure(
        |l| {
            put(
                &l.channel("train").join("part-0.csv"),
                "ana,192.0.2.1\nana,192.0.2.1,10.0.0.1\n",
            )
        },
        expect![[r#"
            Customer Error: Training Job failed reading dataset. Unable to parse entity or IP address correctly. See AWS Documentation to ensure data follows formatting guidelines. (caused by CParserError)

            Caused by: part-0.csv: line 2: expected an entity and an IPv4 address, found 3 fields in `ana,192.0.2.1,10.0.0.1`; a value with a comma in it needs quotes"#]],
    );
    check_failure(
        |l| put(&l.channel("validation").join("rows.csv"), "ana,fe80::1\n"),
        expect![[r#"
            Customer Error: Training Job failed reading dataset. Unable to parse entity or IP address correctly. See AWS Documentation to ensure data follows formatting guidelines. (caused by CParserError)

            Caused by: rows.csv: line 1: `fe80::1` is an IPv6 address, and only IPv4 is known; leave the row out"#]],
    );
    check_failure(
        |l| put(&l.hyperparameters(), r#"{"vector_dim": "3", "epochs": "many"}"#),
        expect![
            "Customer Error: the hyperparameters are not valid under any of the given schemas: vector_dim must lie in 4..=4096, got 3; epochs must be a whole number, got `many` (caused by ValidationError)"
        ],
    );
    check_failure(
        |l| put(&l.hyperparameters(), r#"{"epochs": 5}"#),
        expect![
            "Customer Error: the configuration cannot be used (caused by ValidationError): `/opt/ml/input/config/hyperparameters.json` is not one flat object of strings: invalid type: integer `5`, expected a string at line 1 column 12"
        ],
    );
    check_failure(
        |l| fs::remove_dir_all(l.channel("train")).unwrap(),
        expect![
            "Customer Error: the channel `train` is missing; it holds the rows to learn from (caused by ValidationError)"
        ],
    );
    check_failure(
        |l| {
            fs::remove_dir_all(l.channel("train")).unwrap();
            fs::create_dir(l.channel("train")).unwrap();
        },
        expect!["there are no training rows"],
    );
    check_failure(
        |l| {
            put(
                &l.input_data_config(),
                r#"{"train": {"ContentType": "application/x-recordio-protobuf"}}"#,
            )
        },
        expect![
            "Customer Error: the content type `application/x-recordio-protobuf` of the channel `train` is not supported; it has to be text/csv (caused by ValidationError)"
        ],
    );
    check_failure(
        |l| {
            put(
                &l.input_data_config(),
                r#"{"train": {"TrainingInputMode": "Pipe"}}"#,
            )
        },
        expect![
            "Customer Error: the channel `train` is piped, which is not supported; set TrainingInputMode to File or FastFile (caused by ValidationError)"
        ],
    );
    check_failure(
        |l| {
            put(
                &l.input_data_config(),
                r#"{"train": {"RecordWrapperType": "RecordIO"}}"#,
            )
        },
        expect![
            "Customer Error: the records of the channel `train` are wrapped, which is not supported; set RecordWrapperType to None (caused by ValidationError)"
        ],
    );
    check_failure(
        |l| {
            put(
                &l.resource_config(),
                r#"{"current_host": "algo-1", "hosts": ["algo-1", "algo-2"]}"#,
            )
        },
        expect![
            "Customer Error: training runs on one machine, and the job has 2; set InstanceCount to 1 (caused by ValidationError)"
        ],
    );
    check_failure(
        |l| put(&l.channel("model").join("model.tar.gz"), "x"),
        expect![
            "Customer Error: the channel `model` holds no model to begin with: the model archive cannot be read: unexpected end of file (caused by ValidationError)"
        ],
    );
    check_failure(
        |l| {
            fs::create_dir(l.checkpoints()).unwrap();
            put(&l.checkpoints().join("checkpoint.safetensors"), "x");
        },
        expect![
            "`/opt/ml/checkpoints/checkpoint.safetensors` cannot be resumed from: it ends early; remove it to begin anew"
        ],
    );
}

#[test]
fn the_reason_is_no_longer_than_the_service_shows() {
    let (_folder, layout) = laid_out();
    let long = "é".repeat(3_000);
    put(&layout.hyperparameters(), format!(r#"{{"epochs": "{long}"}}"#));
    assert_eq!(train(&layout).status.code(), Some(1));
    let failure = fs::read_to_string(layout.failure()).unwrap();
    assert_eq!(failure.chars().count(), 1_024);
}

#[test]
fn a_job_that_is_stopped_goes_on_to_the_same_bytes() {
    let (_folder, whole) = laid_out();
    assert!(train(&whole).status.success());
    let want = fs::read(whole.model().join("model.safetensors")).unwrap();

    let (_folder, layout) = laid_out();
    fs::create_dir(layout.checkpoints()).unwrap();
    let mut child = program(&layout, "train").stdout(Stdio::piped()).spawn().unwrap();
    let mut log = BufReader::new(child.stdout.take().unwrap()).lines();
    // Training waits for nobody, so it may be done before the signal comes; then there is nothing to go on with.
    let begun = log.find(|line| line.as_ref().unwrap().contains("Epoch[0] Batch [2]"));
    assert!(begun.is_some());
    terminate(&child);
    let rest: Vec<String> = log.map(Result::unwrap).collect();
    assert!(child.wait().unwrap().success(), "{rest:?}");
    // The model so far can be served.
    Model::read_folder(&layout.model()).unwrap();
    let again = train(&layout);
    assert!(again.status.success());
    assert!(text(&again).contains("Going on from the checkpoint at batch"));
    assert_eq!(fs::read(layout.model().join("model.safetensors")).unwrap(), want);
}

#[test]
fn a_job_that_begins_with_a_model() {
    let (_folder, first) = laid_out();
    assert!(train(&first).status.success());
    let (_folder, second) = laid_out();
    for name in ["model.json", "model.safetensors"] {
        put(
            &second.channel("model").join(name),
            fs::read(first.model().join(name)).unwrap(),
        );
    }
    assert!(train(&second).status.success());
    assert_eq!(Model::read_folder(&second.model()).unwrap().training_rows(), 200);
}

fn terminate(child: &Child) {
    let killed = Command::new("kill")
        .args(["-TERM", &child.id().to_string()])
        .status();
    assert!(killed.unwrap().success());
}

/// A body that came in chunks, all of which have to be there.
fn unchunked(mut body: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    loop {
        let end = body.windows(2).position(|w| w == b"\r\n").unwrap();
        let length = std::str::from_utf8(&body[..end]).unwrap();
        let length = usize::from_str_radix(length, 16).unwrap();
        if length == 0 {
            return whole;
        }
        whole.extend_from_slice(&body[end + 2..end + 2 + length]);
        body = &body[end + 2 + length + 2..];
    }
}

/// `serve` in a process of its own.
struct Server {
    child: Child,
    log: BufReader<std::process::ChildStdout>,
    address: String,
}

impl Server {
    fn start(layout: &Layout, variables: &[(&str, &str)]) -> Self {
        let mut child = program(layout, "serve")
            .args(["--address", "127.0.0.1"])
            .envs(variables.iter().copied())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        log.read_line(&mut line).unwrap();
        let address = line.trim_end().rsplit_once(" on ").unwrap().1.to_owned();
        Self { child, log, address }
    }

    /// Status, content type and body of an answer.
    fn ask(&self, request: &str, headers: &[(&str, &str)], body: &[u8]) -> (u16, String, Vec<u8>) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let mut head = format!(
            "{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n",
            body.len()
        );
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(b"\r\n").unwrap();
        // A server that refuses a body need not read all of it.
        let _ = stream.write_all(body);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let end = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
        let head = String::from_utf8(answer[..end].to_vec()).unwrap().to_lowercase();
        let kind = head
            .lines()
            .find_map(|line| line.strip_prefix("content-type: "))
            .unwrap_or_default()
            .to_owned();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let body = match head.contains("transfer-encoding: chunked") {
            true => unchunked(&answer[end + 4..]),
            false => answer[end + 4..].to_vec(),
        };
        (status, kind, body)
    }

    /// SIGTERM, and the end that has to follow.
    fn stop(mut self) {
        terminate(&self.child);
        let mut rest = String::new();
        self.log.read_to_string(&mut rest).unwrap();
        assert!(self.child.wait().unwrap().success(), "{rest}");
        assert_eq!(rest, "Told to stop: no new connections\nStopped\n");
    }
}

impl Drop for Server {
    /// A test that fails leaves no process.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
