//! The machine that trains an IP Insights model and deploys it, against a small imitation of SageMaker.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use expect_test::{Expect, expect};
use serde_json::{Value, json};
use sfn_builder::StateMachine;
use sfn_local::{
    BoxFuture, Clock, Event, Execution, HistoryEvent, Outcome, TaskCall, TaskFailure, TaskHandler,
    VirtualClock, run,
};

const DEFINITION: &str = include_str!("ip_insights.asl.json");

/// Knows one endpoint, which is in service ten minutes after it was made or changed.
struct SageMaker {
    clock: VirtualClock,
    endpoint: Mutex<Option<Endpoint>>,
    job_fails: bool,
    endpoint_fails: bool,
}

struct Endpoint {
    config: String,
    ready: jiff::Timestamp,
}

impl SageMaker {
    fn answer(&self, action: &str, request: &Value) -> Result<Value, TaskFailure> {
        let text = |field: &str| request[field].as_str().unwrap().to_owned();
        let mut endpoint = self.endpoint.lock().unwrap();
        match action {
            "createModel" => Ok(json!({"ModelArn": format!("arn:model/{}", text("ModelName"))})),
            "createEndpointConfig" => Ok(json!({"EndpointConfigArn": "arn:config"})),
            "createEndpoint" | "updateEndpoint" => {
                assert_eq!(endpoint.is_some(), action == "updateEndpoint");
                let ready = self.clock.now() + jiff::SignedDuration::from_secs(600);
                *endpoint = Some(Endpoint {
                    config: text("EndpointConfigName"),
                    ready,
                });
                Ok(json!({"EndpointArn": "arn:endpoint"}))
            }
            "describeEndpoint" => match &*endpoint {
                None => Err(TaskFailure::new(
                    "SageMaker.SageMakerException",
                    "Could not find endpoint \"arn:aws:sagemaker:us-east-1:000000000000:endpoint/e\".",
                )),
                Some(endpoint) => {
                    let status = match (endpoint.ready <= self.clock.now(), self.endpoint_fails) {
                        (false, _) => "Creating",
                        (true, true) => "Failed",
                        (true, false) => "InService",
                    };
                    Ok(
                        json!({"EndpointStatus": status, "EndpointConfigName": endpoint.config, "FailureReason": "no capacity"}),
                    )
                }
            },
            other => Err(TaskFailure::new("Unknown", other)),
        }
    }
}

impl TaskHandler for SageMaker {
    fn call(&self, task: TaskCall) -> BoxFuture<'_, Result<Value, TaskFailure>> {
        Box::pin(async move {
            let action = task.resource.rsplit(':').next().unwrap();
            if action != "createTrainingJob.sync" {
                return self.answer(action, &task.parameters);
            }
            let name = &task.parameters["TrainingJobName"];
            assert!(task.parameters["InputDataConfig"][0]["DataSource"]["S3DataSource"]["S3Uri"].is_string());
            task.submitted
                .report(json!({"TrainingJobArn": format!("arn:job/{name}")}));
            self.clock.sleep(Duration::from_secs(120)).await;
            if self.job_fails {
                return Err(TaskFailure::new(
                    "States.TaskFailed",
                    "{\"TrainingJobStatus\":\"Failed\"}",
                ));
            }
            Ok(
                json!({"TrainingJobName": name, "ModelArtifacts": {"S3ModelArtifacts": "s3://b/model.tar.gz"}}),
            )
        })
    }
}

fn check(job_fails: bool, endpoint_fails: bool, existing: bool, expect: Expect) {
    let machine = StateMachine::from_json(DEFINITION).unwrap();
    let start: jiff::Timestamp = "2026-01-31T12:00:00Z".parse().unwrap();
    let clock = VirtualClock::new(start);
    let endpoint = existing.then(|| Endpoint {
        config: "model-0".into(),
        ready: start,
    });
    let service = SageMaker {
        clock: clock.clone(),
        endpoint: Mutex::new(endpoint),
        job_fails,
        endpoint_fails,
    };
    let input = json!({
        "JobName": "job-1", "ModelName": "model-1", "EndpointName": "e",
        "ArtifactLocation": "s3://b/models", "DataLocation": "s3://b/train.csv",
    });
    let execution = Execution::new("arn:aws:states:us-east-1:000000000000:stateMachine:m", "e", input);
    let way = Arc::new(Mutex::new(Vec::<String>::new()));
    let seen = Arc::clone(&way);
    let outcome = clock.block_on(run(
        &machine,
        &execution,
        &service,
        &clock,
        &mut move |event: &HistoryEvent| {
            if let Event::StateEntered { name, .. } = &event.event {
                let mut seen = seen.lock().unwrap();
                let waiting = ["Waiting", "Describing Endpoint", "Is it in service?"];
                if !(waiting.contains(&name.as_str()) && seen.contains(name)) {
                    seen.push(name.clone());
                }
            }
        },
    ));
    let ended = match outcome {
        Outcome::Succeeded { output } => format!("SUCCEEDED {output}"),
        other => format!("{other:?}"),
    };
    let seconds = clock.now().duration_since(start).as_secs();
    expect.assert_eq(&format!(
        "{}\n{ended} after {seconds} s\n",
        way.lock().unwrap().join(" > ")
    ));
}

#[test]
fn the_endpoint_is_new() {
    check(
        false,
        false,
        false,
        expect![[r#"
        Training Model > Saving model > Creating Endpoint Config > Looking for Endpoint > Is it missing? > Creating Endpoint > Waiting > Describing Endpoint > Is it in service? > In service
        SUCCEEDED {"EndpointStatus":"InService","EndpointConfigName":"model-1","FailureReason":"no capacity"} after 720 s
    "#]],
    );
}

#[test]
fn the_endpoint_exists() {
    check(
        false,
        false,
        true,
        expect![[r#"
        Training Model > Saving model > Creating Endpoint Config > Looking for Endpoint > Updating Endpoint > Waiting > Describing Endpoint > Is it in service? > In service
        SUCCEEDED {"EndpointStatus":"InService","EndpointConfigName":"model-1","FailureReason":"no capacity"} after 720 s
    "#]],
    );
}

#[test]
fn the_job_fails() {
    check(
        true,
        false,
        false,
        expect![[r#"
        Training Model > Failed
        Failed { error: Some("States.TaskFailed"), cause: Some("{\"TrainingJobStatus\":\"Failed\"}") } after 120 s
    "#]],
    );
}

#[test]
fn the_endpoint_fails() {
    check(
        false,
        true,
        false,
        expect![[r#"
        Training Model > Saving model > Creating Endpoint Config > Looking for Endpoint > Is it missing? > Creating Endpoint > Waiting > Describing Endpoint > Is it in service? > Endpoint failed > Failed
        Failed { error: Some("EndpointFailed"), cause: Some("no capacity") } after 720 s
    "#]],
    );
}
