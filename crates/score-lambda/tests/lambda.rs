//! The program as Lambda runs it: against a server that plays the Runtime API, one event of each shape after another.
#![expect(clippy::unwrap_used, reason = "a helper of tests fails loudly")]

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

/// Events that wait for the function, and whom its answers go to.
#[derive(Clone)]
struct Runtime {
    events: Arc<Mutex<VecDeque<Value>>>,
    answers: UnboundedSender<(String, Value)>,
}

/// The next event, under a number; where there is none, the function waits, as in the service.
async fn next(State(runtime): State<Runtime>) -> Response {
    let event = runtime.events.lock().unwrap().pop_front();
    let Some(event) = event else {
        return std::future::pending().await;
    };
    let left = runtime.events.lock().unwrap().len();
    let headers = [
        ("lambda-runtime-aws-request-id", format!("request-{left}")),
        ("lambda-runtime-deadline-ms", "9999999999999".to_owned()),
        (
            "lambda-runtime-invoked-function-arn",
            "arn:aws:lambda:us-east-1:111122223333:function:scorer".to_owned(),
        ),
    ];
    (headers, Json(event)).into_response()
}

async fn answered(
    State(runtime): State<Runtime>,
    Path((id, kind)): Path<(String, String)>,
    body: String,
) -> StatusCode {
    let answer = serde_json::from_str(&body).unwrap();
    runtime.answers.send((format!("{id} {kind}"), answer)).unwrap();
    StatusCode::ACCEPTED
}

/// An endpoint whose scores are the last octets of the addresses, minus one hundred.
async fn invocations(body: String) -> Json<Value> {
    let scores = body.lines().map(|line| {
        let octet: f32 = line.rsplit('.').next().unwrap().trim().parse().unwrap();
        json!({"dot_product": octet - 100.0})
    });
    Json(json!({"predictions": scores.collect::<Vec<_>>()}))
}

struct Stopped(Child);

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The answers to events, in their order; and the log.
async fn invoke(events: Vec<Value>, variables: &[(&str, &str)]) -> (Vec<Value>, Vec<Value>) {
    let count = events.len();
    let (answers, mut received) = unbounded_channel();
    let runtime = Runtime {
        events: Arc::new(Mutex::new(events.into())),
        answers,
    };
    let app = Router::new()
        .route("/2018-06-01/runtime/invocation/next", get(next))
        .route("/2018-06-01/runtime/invocation/{id}/{kind}", post(answered))
        .route("/endpoints/ipinsights/invocations", post(invocations))
        .with_state(runtime);
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move { axum::serve(listener, app).await });

    let log = tempfile::NamedTempFile::new().unwrap();
    let url = format!("http://{address}");
    let child = Command::new(env!("CARGO_BIN_EXE_score-lambda"))
        .env_clear()
        .envs([
            ("AWS_LAMBDA_RUNTIME_API", &*address),
            ("AWS_LAMBDA_FUNCTION_NAME", "scorer"),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256"),
            ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
            ("AWS_LAMBDA_LOG_GROUP_NAME", "scorer"),
            ("AWS_LAMBDA_LOG_STREAM_NAME", "stream"),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ACCESS_KEY_ID", "key"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
            ("AWS_ENDPOINT_URL", &*url),
            ("ENDPOINT_NAME", "ipinsights"),
            (
                "THRESHOLD",
                r#"{"value": -0.5, "false_positive_rate": 0.05, "rows": 250}"#,
            ),
        ])
        .envs(variables.iter().copied())
        .stdout(Stdio::from(log.reopen().unwrap()))
        .spawn()
        .unwrap();
    let stopped = Stopped(child);
    let mut answers = Vec::new();
    while answers.len() < count {
        let answer = tokio::time::timeout(Duration::from_secs(60), received.recv()).await;
        // It answers within a minute, and the server runs.
        let (what, answer) = answer.unwrap().unwrap();
        assert_eq!(
            what,
            format!("request-{} response", count - 1 - answers.len()),
            "{answer}"
        );
        answers.push(answer);
    }
    // The log of an answer is written before the answer is sent.
    drop(stopped);
    let log = std::fs::read_to_string(log.path()).unwrap();
    let lines = log.lines().map(|line| serde_json::from_str(line).unwrap());
    (answers, lines.collect())
}

fn http_api(stage: &str, path: &str, method: &str, body: &str) -> Value {
    json!({
        "version": "2.0", "routeKey": "$default", "rawPath": path, "rawQueryString": "",
        "headers": {"content-type": "application/json", "host": "d"},
        "requestContext": {
            "accountId": "1", "apiId": "a", "domainName": "d", "domainPrefix": "d",
            "http": {"method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "192.0.2.7", "userAgent": "t"},
            "requestId": "r", "routeKey": "$default", "stage": stage, "time": "t", "timeEpoch": 1
        },
        "body": body, "isBase64Encoded": false
    })
}

fn rest_api(stage: &str, path: &str, content_type: &str, body: &str, base64: bool) -> Value {
    json!({
        "resource": "/{proxy+}", "path": path, "httpMethod": "POST",
        "headers": {"Content-Type": content_type, "Host": "h"},
        "multiValueHeaders": {"Content-Type": [content_type], "Host": ["h"]},
        "queryStringParameters": null, "multiValueQueryStringParameters": null,
        "pathParameters": {"proxy": "score"}, "stageVariables": null,
        "requestContext": {
            "resourcePath": "/{proxy+}", "httpMethod": "POST", "path": format!("/{stage}{path}"), "accountId": "1",
            "protocol": "HTTP/1.1", "stage": stage, "requestId": "r", "identity": {"sourceIp": "192.0.2.7"},
            "resourceId": "x", "apiId": "a"
        },
        "body": body, "isBase64Encoded": base64
    })
}

/// As a load balancer sends it.
fn load_balancer(body: &str) -> Value {
    json!({
        "requestContext": {"elb": {"targetGroupArn": "arn:aws:elasticloadbalancing:us-east-1:111122223333:targetgroup/t/0"}},
        "httpMethod": "POST", "path": "/score", "queryStringParameters": {},
        "headers": {"content-type": "application/json", "host": "h"},
        "body": body, "isBase64Encoded": false
    })
}

#[tokio::test]
async fn events_of_every_shape_are_scored() {
    let body = r#"{"rows":[{"entity":"ana","ip":"192.0.2.1"},{"entity":"ben","ip":"192.0.2.150"}]}"#;
    let events = vec![
        // A function URL is an HTTP API without a stage of its own.
        http_api("$default", "/score", "POST", body),
        http_api("prod", "/prod/score", "POST", body),
        rest_api("prod", "/score", "application/json", body, false),
        rest_api("prod", "/scorer/score", "application/json", body, false),
        rest_api(
            "prod",
            "/score",
            "text/csv",
            "YW5hLDE5Mi4wLjIuMQpiZW4sMTkyLjAuMi4xNTAK",
            true,
        ),
        load_balancer(body),
    ];
    let (answers, log) = invoke(events, &[("BASE_PATH", "/scorer")]).await;
    for answer in &answers {
        assert_eq!(answer["statusCode"], 200, "{answer}");
        assert_eq!(answer["isBase64Encoded"], false);
        let answer: Value = serde_json::from_str(answer["body"].as_str().unwrap()).unwrap();
        assert_eq!(
            answer["counts"],
            json!({"rows": 2, "scored": 2, "anomalous": 1, "failed": 0})
        );
        let verdict = json!({"entity": "ana", "ip": "192.0.2.1", "score": -99.0, "anomalous": true});
        assert_eq!(answer["verdicts"][0], verdict);
    }
    assert_eq!(log.len(), answers.len());
    for (at, line) in log.iter().enumerate() {
        assert_eq!(line["requestId"], format!("request-{}", answers.len() - 1 - at));
        assert_eq!(
            (&line["level"], &line["path"]),
            (&json!("INFO"), &json!("/score"))
        );
        assert!(!line.to_string().contains("ana"), "{line}");
    }
}

#[tokio::test]
async fn what_is_not_there_is_refused_as_text() {
    let events = vec![
        http_api("prod", "/prod/healthz", "GET", ""),
        http_api("$default", "/prod/score", "POST", "{}"),
        rest_api("prod", "/score", "application/xml", "<a/>", false),
    ];
    let (answers, log) = invoke(events, &[("LOG_IDENTIFIERS", "true")]).await;
    let statuses: Vec<&Value> = answers.iter().map(|answer| &answer["statusCode"]).collect();
    assert_eq!(statuses, [200, 404, 415]);
    for answer in &answers {
        assert_eq!(answer["isBase64Encoded"], false, "{answer}");
    }
    assert_eq!(log[2]["problem"], "unsupported_media_type");
}
