//! A service on loopback that plays a script and remembers what it was asked.
#![allow(dead_code, reason = "each test file uses a part")]

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pipeline::settings::Pace;
use pipeline::{Clients, Connection, Settings, SettingsDraft};
use serde_json::{Value, json};
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate};

pub(crate) const FLOW_ROLE: &str = "arn:aws:iam::123456789012:role/flow";
pub(crate) const TRAIN_ROLE: &str = "arn:aws:iam::123456789012:role/train";
pub(crate) const MACHINE: &str = "arn:aws:states:eu-west-1:123456789012:stateMachine:ipinsights";
pub(crate) const STARTED: &str = "2026-11-20T11:14:05.678Z";

/// One request, by service and operation.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) operation: String,
    pub(crate) body: Value,
    pub(crate) text: String,
}

/// The answers to come, by operation; the last one of each stays.
type Script = HashMap<String, VecDeque<ResponseTemplate>>;

#[derive(Clone, Default)]
pub(crate) struct Service {
    script: Arc<Mutex<Script>>,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Service {
    /// Adds an answer.
    pub(crate) fn answers(&self, operation: &str, response: ResponseTemplate) -> &Self {
        self.script
            .lock()
            .unwrap()
            .entry(operation.to_owned())
            .or_default()
            .push_back(response);
        self
    }

    /// Replaces the answers.
    pub(crate) fn instead(&self, operation: &str, response: ResponseTemplate) -> &Self {
        self.script
            .lock()
            .unwrap()
            .insert(operation.to_owned(), VecDeque::from([response]));
        self
    }

    pub(crate) fn asked(&self, operation: &str) -> Vec<Asked> {
        self.asked
            .lock()
            .unwrap()
            .iter()
            .filter(|asked| asked.operation == operation)
            .cloned()
            .collect()
    }

    pub(crate) fn operations(&self) -> Vec<String> {
        self.asked
            .lock()
            .unwrap()
            .iter()
            .map(|asked| asked.operation.clone())
            .collect()
    }

    /// Starts to answer, and connects clients to it as to an account.
    pub(crate) async fn start(&self) -> (MockServer, Clients) {
        let server = MockServer::start().await;
        Mock::given(any()).respond_with(self.clone()).mount(&server).await;
        let connection = Connection {
            initial_backoff: Some(Duration::from_millis(1)),
            ..Connection::to_url(server.uri(), "eu-west-1")
        };
        let clients = connection.clients().await.unwrap();
        (server, clients)
    }
}

impl Respond for Service {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        let operation = operation(request);
        let text = String::from_utf8_lossy(&request.body).into_owned();
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        self.asked.lock().unwrap().push(Asked {
            operation: operation.clone(),
            body,
            text: text.clone(),
        });
        let mut script = self.script.lock().unwrap();
        match script.get_mut(&operation) {
            None if operation == "InvokeEndpoint" => scores(&text),
            Some(answers) if answers.len() > 1 => answers.pop_front().unwrap(),
            Some(answers) => answers[0].clone(),
            None => ResponseTemplate::new(501).set_body_string(format!("not in the script: {operation}")),
        }
    }
}

/// Scores every row: rows of 203.0.113.0/24 are odd, the others normal and all different.
fn scores(body: &str) -> ResponseTemplate {
    let predictions: Vec<Value> = body
        .lines()
        .enumerate()
        .map(|(at, row)| {
            let odd = row.contains("203.0.113.");
            json!({ "dot_product": if odd { -5.0 } else { 1.0 + at as f64 / 100.0 } })
        })
        .collect();
    ok(json!({ "predictions": predictions }))
}

fn operation(request: &Request) -> String {
    if let Some(target) = request.headers.get("x-amz-target") {
        return target.to_str().unwrap().rsplit('.').next().unwrap().to_owned();
    }
    let path = request.url.path();
    if path.ends_with("/invocations") {
        return "InvokeEndpoint".to_owned();
    }
    if String::from_utf8_lossy(&request.body).contains("Action=GetCallerIdentity") {
        return "GetCallerIdentity".to_owned();
    }
    let keyed = path.trim_matches('/').contains('/');
    format!("{} {}", request.method, if keyed { "object" } else { "bucket" })
}

/// An answer with a JSON body.
pub(crate) fn ok(body: Value) -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_json(body)
}

/// A refusal as the JSON services word it.
pub(crate) fn refusal(code: &str, message: &str) -> ResponseTemplate {
    ResponseTemplate::new(400).set_body_json(json!({ "__type": code, "message": message }))
}

pub(crate) fn missing_endpoint() -> ResponseTemplate {
    refusal(
        "ValidationException",
        "Could not find endpoint \"arn:aws:sagemaker:eu-west-1:123456789012:endpoint/ipinsights\".",
    )
}

/// An execution as DescribeExecution tells it.
pub(crate) fn execution(status: &str, error: Option<&str>, cause: Option<&str>) -> ResponseTemplate {
    let mut body = json!({
        "executionArn": format!("{MACHINE}:x"), "stateMachineArn": MACHINE, "status": status, "startDate": 1.0,
    });
    if let Some(error) = error {
        body["error"] = error.into();
    }
    if let Some(cause) = cause {
        body["cause"] = cause.into();
    }
    ok(body)
}

/// A script in which everything goes well: a first run in a new account.
pub(crate) fn first_run() -> Service {
    let service = Service::default();
    service
        .answers(
            "GetCallerIdentity",
            ResponseTemplate::new(200).set_body_string(
                "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><GetCallerIdentityResult>\
                 <Arn>arn:aws:sts::123456789012:assumed-role/a/b</Arn><UserId>a:b</UserId><Account>123456789012</Account>\
                 </GetCallerIdentityResult><ResponseMetadata><RequestId>r</RequestId></ResponseMetadata>\
                 </GetCallerIdentityResponse>",
            ),
        )
        .answers("HEAD bucket", ResponseTemplate::new(404))
        .answers("PUT bucket", ResponseTemplate::new(200))
        .answers("PUT object", ResponseTemplate::new(200).insert_header("ETag", "\"e\""))
        .answers("ListStateMachines", ok(json!({ "stateMachines": [] })))
        .answers("CreateStateMachine", ok(json!({ "stateMachineArn": MACHINE, "creationDate": 1.0 })))
        .answers("StartExecution", ok(json!({ "executionArn": "arn:aws:states:eu-west-1:123456789012:execution:ipinsights:x", "startDate": 1.0 })))
        .answers("DescribeExecution", execution("RUNNING", None, None))
        .answers("DescribeExecution", execution("SUCCEEDED", None, None))
        .answers(
            "GetExecutionHistory",
            ok(json!({ "events": [
                { "id": 3, "timestamp": 12.5, "type": "TaskStateExited", "stateExitedEventDetails": { "name": "Training Model", "output": "{}" } },
                { "id": 2, "timestamp": 10.0, "type": "TaskStateEntered", "stateEnteredEventDetails": { "name": "Training Model", "input": "{}" } },
                { "id": 1, "timestamp": 10.0, "type": "ExecutionStarted" },
            ] })),
        )
        .answers("DescribeEndpoint", missing_endpoint())
        .answers(
            "DescribeEndpoint",
            ok(json!({ "EndpointName": "ipinsights", "EndpointStatus": "InService", "EndpointConfigName": "new" })),
        )
        .answers(
            "DescribeTrainingJob",
            ok(json!({
                "TrainingJobName": "j", "TrainingJobStatus": "Completed",
                "ModelArtifacts": { "S3ModelArtifacts": "s3://bucket/model.tar.gz" },
                "FinalMetricDataList": [{ "MetricName": "validation:discriminator_auc", "Value": 0.75, "Timestamp": 1.0 }],
            })),
        )
        .answers(
            "FilterLogEvents",
            ok(json!({
                "events": [{ "message": "#quality_metric: host=algo-1, epoch=0, train binary_classification_cross_entropy <loss>=0.5" }],
                "nextToken": "more",
            })),
        )
        .answers(
            "FilterLogEvents",
            ok(json!({ "events": [
                { "message": "[11/20/2026 11:15:00 INFO 140] #quality_metric: host=algo-1, epoch=0, validation discriminator_auc <score>=0.75" },
                { "message": "Epoch[0] Time cost=1.0" },
            ] })),
        )
        .answers("GET object", ResponseTemplate::new(200).set_body_string("abc"))
        .answers("StopExecution", ok(json!({ "stopDate": 1.0 })))
        .answers("DeleteModel", ResponseTemplate::new(200))
        .answers("DeleteEndpointConfig", ResponseTemplate::new(200))
        .answers("DeleteEndpoint", ResponseTemplate::new(200));
    service
}

/// Settings for an account, at a pace for tests.
pub(crate) fn settings(change: impl FnOnce(&mut SettingsDraft)) -> Settings {
    let mut draft = SettingsDraft {
        workflow_execution_role: Some(FLOW_ROLE.into()),
        estimator_role: Some(TRAIN_ROLE.into()),
        pace: Pace {
            endpoint_wait: 30,
            execution_timeout: 60,
            poll: Duration::from_millis(1),
            grace: Duration::ZERO,
        },
        ..Default::default()
    };
    change(&mut draft);
    draft
        .check(ipinsights::Hyperparameters::draft(10).epochs(3).check().unwrap())
        .unwrap()
}
