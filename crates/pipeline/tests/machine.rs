//! The state machine itself, run with a virtual clock against a SageMaker whose every answer is written down.
#![expect(clippy::unwrap_used, reason = "a helper of tests fails loudly")]

use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;

use expect_test::{Expect, expect};
use pipeline::SettingsDraft;
use pipeline::definition::definition;
use serde_json::{Value, json};
use sfn_local::{
    BoxFuture, Execution, HistoryEvent, Outcome, TaskCall, TaskFailure, TaskHandler, VirtualClock, run,
};

type Answer = Result<Value, TaskFailure>;

/// Answers by action; the last of each stays. What is not written down succeeds with nothing.
struct SageMaker {
    answers: Mutex<HashMap<&'static str, VecDeque<Answer>>>,
    calls: Mutex<Vec<String>>,
}

impl TaskHandler for SageMaker {
    fn call(&self, call: TaskCall) -> BoxFuture<'_, Answer> {
        let action = call
            .resource
            .rsplit(':')
            .next()
            .unwrap()
            .trim_end_matches(".sync")
            .to_owned();
        let mut answers = self.answers.lock().unwrap();
        let answer = match answers.get_mut(&*action) {
            Some(queue) if queue.len() > 1 => queue.pop_front().unwrap(),
            Some(queue) => queue[0].clone(),
            None => Ok(json!({})),
        };
        let mut calls = self.calls.lock().unwrap();
        if calls.last() != Some(&action) {
            calls.push(action);
        }
        Box::pin(async move { answer })
    }
}

fn missing() -> Answer {
    Err(TaskFailure::new(
        "SageMaker.SageMakerException",
        "Could not find endpoint \"arn:aws:sagemaker:us-east-1:123456789012:endpoint/e\". (Service: SageMaker, Status Code: 400)",
    ))
}

fn endpoint(status: &str, config: &str) -> Answer {
    Ok(json!({ "EndpointName": "e", "EndpointStatus": status, "EndpointConfigName": config }))
}

fn failed(reason: &str) -> Answer {
    Ok(json!({ "EndpointStatus": "Failed", "EndpointConfigName": "new", "FailureReason": reason }))
}

/// Runs the machine; the text is the calls in order (repeated ones once), then how it ended.
fn check(answers: Vec<(&'static str, Vec<Answer>)>, expected: Expect) {
    let role = Some("arn:aws:iam::123456789012:role/r".to_owned());
    let draft = SettingsDraft {
        workflow_execution_role: role.clone(),
        estimator_role: role,
        ..Default::default()
    };
    let settings = draft
        .check(ipinsights::Hyperparameters::draft(10).check().unwrap())
        .unwrap();
    let machine = definition(
        &settings,
        "382416733822.dkr.ecr.us-east-1.amazonaws.com/ipinsights:1",
    )
    .unwrap();

    let mut queues: HashMap<_, _> = answers
        .into_iter()
        .map(|(action, list)| (action, VecDeque::from(list)))
        .collect();
    queues.entry("createTrainingJob").or_insert_with(|| {
        VecDeque::from([Ok(
            json!({ "ModelArtifacts": { "S3ModelArtifacts": "s3://b/new/output/model.tar.gz" } }),
        )])
    });
    let sagemaker = SageMaker {
        answers: Mutex::new(queues),
        calls: Mutex::default(),
    };
    let input = json!({
        "JobName": "new", "ModelName": "new", "ArtifactLocation": "s3://b/models", "EndpointName": "e",
        "DataLocation": "s3://b/data",
    });
    let execution = Execution::new("arn:aws:states:us-east-1:123456789012:stateMachine:m", "x", input);
    let clock = VirtualClock::new("2026-11-20T12:00:00Z".parse().unwrap());
    let mut history = |_: &HistoryEvent| {};
    let outcome = clock.block_on(run(&machine, &execution, &sagemaker, &clock, &mut history));
    let end = match &outcome {
        Outcome::Failed { error, cause, .. } => {
            format!(
                "{}: {}",
                error.as_deref().unwrap_or("-"),
                cause.as_deref().unwrap_or("-")
            )
        }
        _ => String::new(),
    };
    let calls = sagemaker.calls.lock().unwrap().join("\n");
    expected.assert_eq(format!("{calls}\n{} {end}", outcome.status()).trim_end());
}

#[test]
fn a_missing_endpoint_is_created_and_waited_for() {
    let creating = || endpoint("Creating", "new");
    check(
        vec![(
            "describeEndpoint",
            vec![missing(), creating(), creating(), endpoint("InService", "new")],
        )],
        expect![[r#"
            createTrainingJob
            createModel
            createEndpointConfig
            describeEndpoint
            createEndpoint
            describeEndpoint
            SUCCEEDED"#]],
    );
}

#[test]
fn an_endpoint_in_service_is_updated() {
    check(
        vec![(
            "describeEndpoint",
            vec![
                endpoint("InService", "old"),
                endpoint("Updating", "old"),
                endpoint("InService", "new"),
            ],
        )],
        expect![[r#"
            createTrainingJob
            createModel
            createEndpointConfig
            describeEndpoint
            updateEndpoint
            describeEndpoint
            SUCCEEDED"#]],
    );
}

#[test]
fn an_endpoint_that_is_changing_is_left_to_settle() {
    check(
        vec![(
            "describeEndpoint",
            vec![
                endpoint("Updating", "older"),
                endpoint("SystemUpdating", "old"),
                endpoint("InService", "old"),
                endpoint("InService", "new"),
            ],
        )],
        expect![[r#"
            createTrainingJob
            createModel
            createEndpointConfig
            describeEndpoint
            updateEndpoint
            describeEndpoint
            SUCCEEDED"#]],
    );
}

#[test]
fn a_failed_endpoint_is_deleted_and_created_again() {
    check(
        vec![(
            "describeEndpoint",
            vec![
                failed("old trouble"),
                endpoint("Deleting", "old"),
                missing(),
                endpoint("InService", "new"),
            ],
        )],
        expect![[r#"
            createTrainingJob
            createModel
            createEndpointConfig
            describeEndpoint
            deleteEndpoint
            describeEndpoint
            createEndpoint
            describeEndpoint
            SUCCEEDED"#]],
    );
}

#[test]
fn an_endpoint_that_fails_ends_with_its_own_reason() {
    check(
        vec![(
            "describeEndpoint",
            vec![
                missing(),
                endpoint("Creating", "new"),
                failed("no memory for the model"),
            ],
        )],
        expect![[r#"
            createTrainingJob
            createModel
            createEndpointConfig
            describeEndpoint
            createEndpoint
            describeEndpoint
            FAILED EndpointFailed: no memory for the model"#]],
    );
    check(
        vec![("describeEndpoint", vec![missing(), endpoint("Failed", "new")])],
        expect![[r#"
            createTrainingJob
            createModel
            createEndpointConfig
            describeEndpoint
            createEndpoint
            describeEndpoint
            FAILED EndpointFailed: SageMaker gave no reason; the endpoint's log may"#]],
    );
}

#[test]
fn an_update_that_is_rolled_back_is_no_success() {
    check(
        vec![(
            "describeEndpoint",
            vec![
                endpoint("InService", "old"),
                endpoint("RollingBack", "old"),
                endpoint("InService", "old"),
            ],
        )],
        expect![[r#"
            createTrainingJob
            createModel
            createEndpointConfig
            describeEndpoint
            updateEndpoint
            describeEndpoint
            FAILED EndpointRolledBack: SageMaker could not bring up the new model and serves the old one again; the endpoint's log says why"#]],
    );
}

#[test]
fn an_endpoint_that_never_comes_up_times_out() {
    check(
        vec![("describeEndpoint", vec![missing(), endpoint("Creating", "new")])],
        expect![[r#"
            createTrainingJob
            createModel
            createEndpointConfig
            describeEndpoint
            createEndpoint
            describeEndpoint
            TIMED_OUT"#]],
    );
}

#[test]
fn a_failed_training_job_ends_the_machine_before_anything_is_made() {
    let job = json!({ "TrainingJobStatus": "Failed", "FailureReason": "AlgorithmError: no rows" });
    check(
        vec![(
            "createTrainingJob",
            vec![Err(TaskFailure::new("States.TaskFailed", job.to_string()))],
        )],
        expect![[r#"
            createTrainingJob
            FAILED States.TaskFailed: {"TrainingJobStatus":"Failed","FailureReason":"AlgorithmError: no rows"}"#]],
    );
}

#[test]
fn an_endpoint_that_may_not_be_looked_at_is_not_taken_for_a_missing_one() {
    let denied = Err(TaskFailure::new(
        "SageMaker.SageMakerException",
        "not authorized to perform: sagemaker:DescribeEndpoint",
    ));
    check(
        vec![("describeEndpoint", vec![denied])],
        expect![[r#"
        createTrainingJob
        createModel
        createEndpointConfig
        describeEndpoint
        FAILED SageMaker.SageMakerException: not authorized to perform: sagemaker:DescribeEndpoint"#]],
    );
}

#[test]
fn a_refused_request_is_tried_again() {
    let busy = || {
        Err(TaskFailure::new(
            "SageMaker.AmazonSageMakerException",
            "Rate exceeded",
        ))
    };
    check(
        vec![
            ("createModel", vec![busy(), busy(), Ok(json!({}))]),
            ("describeEndpoint", vec![missing(), endpoint("InService", "new")]),
        ],
        expect![[r#"
            createTrainingJob
            createModel
            createEndpointConfig
            describeEndpoint
            createEndpoint
            describeEndpoint
            SUCCEEDED"#]],
    );
}
