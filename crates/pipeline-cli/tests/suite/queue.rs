//! `ipinsights watch` on a queue, against a server that has its messages and objects.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate};

use crate::support::{Running, calibrated, failure, ipinsights, output, succeeded};

/// What a server of SQS and S3 has.
#[derive(Default)]
struct Held {
    /// By their ids; what was received and not deleted stays.
    messages: BTreeMap<String, String>,
    /// By bucket and key.
    objects: BTreeMap<String, Vec<u8>>,
    /// Objects that cannot be had now.
    refused: Vec<String>,
    /// Operations of the queue, but for those that ask for messages.
    calls: Vec<String>,
}

#[derive(Clone, Default)]
struct Aws(Arc<Mutex<Held>>);

impl Aws {
    fn held(&self) -> std::sync::MutexGuard<'_, Held> {
        self.0.lock().unwrap()
    }

    fn put(&self, key: &str, content: &str) {
        self.held().objects.insert(format!("/logs/{key}"), content.into());
    }

    fn tell(&self, id: &str, message: &Value) {
        self.held().messages.insert(id.to_owned(), message.to_string());
    }

    /// As S3 tells of an object.
    fn arrived(&self, id: &str, key: &str) {
        let record = json!({"eventSource": "aws:s3", "eventName": "ObjectCreated:Put",
            "s3": {"bucket": {"name": "logs"}, "object": {"key": key, "size": 1}}});
        self.tell(id, &json!({"Records": [record]}));
    }
}

impl Respond for Aws {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        let mut held = self.held();
        let Some(target) = request.headers.get("x-amz-target") else {
            let path = request.url.path().replace("%20", " ");
            return match held.objects.get(&path) {
                _ if held.refused.contains(&path) => ResponseTemplate::new(403)
                    .set_body_string("<Error><Code>AccessDenied</Code><Message>no</Message></Error>"),
                Some(content) => ResponseTemplate::new(200).set_body_bytes(content.clone()),
                None => ResponseTemplate::new(404)
                    .set_body_string("<Error><Code>NoSuchKey</Code><Message>gone</Message></Error>"),
            };
        };
        let input: Value = request.body_json().unwrap();
        assert!(
            input["QueueUrl"]
                .as_str()
                .unwrap()
                .ends_with("/111122223333/logs")
        );
        let operation = target.to_str().unwrap().strip_prefix("AmazonSQS.").unwrap();
        if operation == "ReceiveMessage" {
            // Whoever looks again at once sees only what is new: the rest is hidden.
            let messages = held
                .messages
                .iter()
                .filter(|(id, _)| !held.calls.contains(&format!("seen {id}")));
            let messages: Vec<(String, String)> = messages.map(|(a, b)| (a.clone(), b.clone())).collect();
            held.calls
                .extend(messages.iter().map(|(id, _)| format!("seen {id}")));
            let messages: Vec<Value> = messages
                .into_iter()
                .map(|(id, body)| json!({"MessageId": id, "ReceiptHandle": format!("receipt-{id}"), "Body": body}))
                .collect();
            return ResponseTemplate::new(200).set_body_json(json!({ "Messages": messages }));
        }
        let receipt = input["ReceiptHandle"].as_str().unwrap();
        let id = receipt.strip_prefix("receipt-").unwrap().to_owned();
        held.calls.push(format!("{operation} {id}"));
        if operation == "DeleteMessage" {
            held.messages.remove(&id);
        }
        ResponseTemplate::new(200).set_body_json(json!({}))
    }
}

/// The server, and the threads that it runs on.
struct Served {
    aws: Aws,
    server: MockServer,
    _runtime: tokio::runtime::Runtime,
}

impl Served {
    fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let aws = Aws::default();
        let server = runtime.block_on(async {
            let server = MockServer::start().await;
            let all = Mock::given(wiremock::matchers::any()).respond_with(aws.clone());
            all.mount(&server).await;
            server
        });
        Self {
            aws,
            server,
            _runtime: runtime,
        }
    }

    fn url(&self) -> String {
        format!("{}/111122223333/logs", self.server.uri())
    }
}

fn arguments<'a>(url: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let fixed = ["watch", url, "--model", "model.tar.gz", "--from", "csv"];
    let columns = ["--entity", "who", "--address", "from"];
    [&fixed[..], &columns, more].concat()
}

fn once(folder: &Path, url: &str) -> (Vec<Value>, String) {
    let output = succeeded(output(folder, &arguments(url, &["--once"])));
    let alerts = String::from_utf8(output.stdout).unwrap();
    let alerts = alerts.lines().map(|line| serde_json::from_str(line).unwrap());
    (alerts.collect(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn objects_that_a_queue_tells_of_are_scored_and_their_messages_deleted_after_the_alerts() {
    let folder = calibrated();
    let served = Served::start();
    let aws = &served.aws;
    aws.put("a b.csv", "who,from\nana,20.1.2.7\nana,90.7.7.7\n");
    aws.arrived("1", "a+b.csv");
    aws.arrived("2", "gone.csv");
    aws.put("c.csv", "who,from\nben,20.1.2.9\n");
    let of_event_bridge = json!({"source": "aws.s3", "detail-type": "Object Created",
        "detail": {"bucket": {"name": "logs"}, "object": {"key": "c.csv"}}});
    aws.tell(
        "3",
        &json!({"Type": "Notification", "Message": of_event_bridge.to_string()}),
    );
    aws.tell("4", &json!({"Event": "s3:TestEvent"}));
    aws.tell("5", &json!({"hello": "world"}));
    aws.put("refused.csv", "who,from\n");
    aws.held().refused.push("/logs/refused.csv".to_owned());
    aws.arrived("6", "refused.csv");

    let (alerts, said) = once(folder.path(), &served.url());
    let seen: Vec<String> = alerts
        .iter()
        .map(|alert| {
            let source = &alert["source"];
            let (entity, file) = (
                alert["entity"].as_str().unwrap(),
                source["file"].as_str().unwrap(),
            );
            format!("{entity} {file} {}", source["record"])
        })
        .collect();
    assert_eq!(seen, ["ana s3://logs/a b.csv 2", "ben s3://logs/c.csv 1"]);
    for told in [
        "`s3://logs/gone.csv` is left out: it is gone",
        "`message 5` is left out: it tells of no objects of S3; it stays in the queue",
        "`s3://logs/refused.csv` cannot be read now: ",
        "3 records, 3 events scored, 2 anomalous, 2 alerts, 2 messages left in the queue",
    ] {
        assert!(said.contains(told), "{told} is not in {said}");
    }
    // What could not be dealt with is there for the next time.
    let left: Vec<String> = aws.held().messages.keys().cloned().collect();
    assert_eq!(left, ["5", "6"]);

    aws.held().refused.clear();
    aws.held().calls.clear();
    let (alerts, _) = once(folder.path(), &served.url());
    assert!(alerts.is_empty());
    let left: Vec<String> = aws.held().messages.keys().cloned().collect();
    assert_eq!(left, ["5"]);
}

#[test]
fn a_message_is_not_deleted_before_its_alerts_are_written() {
    let folder = calibrated();
    let served = Served::start();
    served.aws.put("a.csv", "who,from\nana,90.7.7.7\n");
    served.aws.arrived("1", "a.csv");
    // A file that cannot be written to.
    let output = output(
        folder.path(),
        &arguments(&served.url(), &["--once", "--output", "/dev/full"]),
    );
    assert!(!output.status.success());
    assert_eq!(served.aws.held().calls, ["seen 1"]);
    assert_eq!(served.aws.held().messages.len(), 1);
}

#[test]
fn a_queue_is_watched_until_ctrl_c() {
    let folder = calibrated();
    let served = Served::start();
    let url = served.url();
    let mut running = Running::start(&mut ipinsights(folder.path(), &arguments(&url, &[])));
    for (id, ip) in [("1", "90.7.7.7"), ("2", "90.7.7.8")] {
        served.aws.put(id, &format!("who,from\nana,{ip}\n"));
        served.aws.arrived(id, id);
        let alert: Value = serde_json::from_str(&running.line()).unwrap();
        assert_eq!(alert["ip"], ip);
    }
    running.interrupted();
}

#[test]
fn what_a_queue_does_not_have_is_told() {
    let folder = calibrated();
    let folder = folder.path();
    for (url, more, code, said) in [
        (
            "http://127.0.0.1:1/111122223333/logs",
            &["--state", "s"][..],
            2,
            "--state goes with files",
        ),
        (
            "http://127.0.0.1:1/111122223333/logs",
            &["--only-new"],
            2,
            "--only-new goes with files",
        ),
        ("https://example.org/1/logs", &[], 2, "sqs.REGION.amazonaws.com"),
        (
            "http://127.0.0.1:1/111122223333/logs",
            &["--once"],
            8,
            "did not do what it was asked for",
        ),
        (
            "https://sqs.eu-west-1.amazonaws.com/111122223333/logs",
            &[],
            4,
            "no AWS credentials",
        ),
    ] {
        let (exit, told) = failure(folder, &arguments(url, more));
        assert_eq!(exit, code, "{told}");
        assert!(told.contains(said), "{said} is not in {told}");
    }
}

/// Without `--from`, what no format is known of is not taken out of the queue.
#[test]
fn objects_of_unknown_formats_stay_in_the_queue() {
    let folder = calibrated();
    let served = Served::start();
    served.aws.put("a.csv", "who,from\nana,90.7.7.7\n");
    served.aws.arrived("1", "a.csv");
    let url = served.url();
    let args = ["watch", &url, "--model", "model.tar.gz", "--once"];
    let output = succeeded(output(folder.path(), &args));
    let said = String::from_utf8(output.stderr).unwrap();
    for told in [
        "`s3://logs/a.csv` is left out: it is not certain what kind of log it is",
        "1 messages left in the queue",
    ] {
        assert!(said.contains(told), "{told} is not in {said}");
    }
    assert_eq!(served.aws.held().calls, ["seen 1"]);
}
