//! A run against an account, whose services a script on loopback plays.
#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]

mod common;

use std::future::{Future, pending};
use std::time::Duration;

use common::{first_run, ok, refusal, settings};
use expect_test::expect;
use geodata::{Database, SampleSpec};
use pipeline::destroy::Logs;
use pipeline::names::PipelineName;
use pipeline::{Error, Event, Failed, Report, Rows};
use serde_json::{Value, json};
use wiremock::ResponseTemplate;

fn sample() -> Rows {
    let database = Database::from_bytes(geodata_sample::DATABASE).unwrap();
    let spec = SampleSpec::default()
        .training_rows(3)
        .held_out_rows(8)
        .evaluation_outliers(4)
        .check()
        .unwrap();
    let mut sample = geodata::sample(&database, &spec, 7).unwrap();
    // The script scores this network as odd.
    for (at, row) in sample.test.iter_mut().enumerate() {
        row.ip = [203, 0, 113, at as u8].into();
    }
    sample.into()
}

async fn run(
    service: &common::Service,
    settings: &pipeline::Settings,
) -> (Result<Report, Error>, Vec<Event>) {
    let (result, events) = run_reported(service, settings).await;
    (result.map_err(|failed| failed.error), events)
}

/// The same, with what is reported of a failure.
async fn run_reported(
    service: &common::Service,
    settings: &pipeline::Settings,
) -> (Result<Report, Failed>, Vec<Event>) {
    let (_server, clients) = service.start().await;
    let mut events = Vec::new();
    let started = common::STARTED.parse().unwrap();
    let result = pipeline::run(&clients, settings, &sample(), started, pending(), &mut |event| {
        events.push(event)
    })
    .await;
    (result, events)
}

/// Completes when an operation was asked for so many times.
fn asked(
    service: &common::Service,
    operation: &'static str,
    times: usize,
) -> impl Future<Output = ()> + Send {
    let service = service.clone();
    async move {
        while service.asked(operation).len() < times {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

#[tokio::test]
async fn a_first_run_sends_these_requests_in_this_order() {
    let service = first_run();
    let (report, _) = run(&service, &settings(|_| {})).await;
    let report = report.unwrap();
    expect![[r#"
        GetCallerIdentity
        HEAD bucket
        PUT bucket
        PUT object
        PUT object
        PUT object
        PUT object
        PUT object
        ListStateMachines
        CreateStateMachine
        DescribeEndpoint
        StartExecution
        DescribeExecution
        GetExecutionHistory
        DescribeExecution
        GetExecutionHistory
        InvokeEndpoint
        InvokeEndpoint
        InvokeEndpoint
        DescribeTrainingJob
        DescribeEndpoint
        FilterLogEvents
        FilterLogEvents
        GET object"#]]
    .assert_eq(&service.operations().join("\n"));

    assert_eq!((report.outliers, report.outliers_flagged), (5, 5));
    assert_eq!((report.held_out.rows, report.held_out.flagged), (40, 1));
    assert_eq!(report.held_out.auc_vs_outliers, Some(1.0));
    assert_eq!(report.training.metrics["validation:discriminator_auc"], 0.75);
    assert_eq!(report.execution.states[0].seconds, 2.5);
    assert_eq!(report.training.curve.len(), 1);
    let epoch = report.training.curve[0];
    assert_eq!((epoch.loss, epoch.discriminator_auc), (Some(0.5), Some(0.75)));
    // That of `abc`, from FIPS 180-2.
    let digest = report.record.unwrap().model_sha256;
    assert_eq!(
        digest.as_deref(),
        Some("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
    );
    let asked = &service.asked("FilterLogEvents")[0].body;
    assert_eq!(asked["logGroupName"], "/aws/sagemaker/TrainingJobs");
    assert_eq!(asked["logStreamNamePrefix"], format!("{}/", report.training.job));
}

#[tokio::test]
async fn a_report_without_log_and_model_is_a_report() {
    let service = first_run();
    let denied = json!({ "__type": "AccessDeniedException", "message": "no" });
    service.instead(
        "FilterLogEvents",
        ResponseTemplate::new(400).set_body_json(denied),
    );
    service.instead("GET object", ResponseTemplate::new(403));
    let (report, events) = run(&service, &settings(|_| {})).await;
    let report = report.unwrap();
    assert_eq!(report.training.curve, []);
    assert_eq!(report.record.unwrap().model_sha256, None);
    let warned: Vec<&str> = events
        .iter()
        .filter_map(|event| match event {
            Event::Warning { message } => Some(&**message),
            _ => None,
        })
        .collect();
    assert_eq!(warned.len(), 2, "{warned:?}");
    assert!(
        warned[0].starts_with("the report has no training curve: "),
        "{warned:?}"
    );
    assert!(
        warned[1].starts_with("the report has no checksum of the model: "),
        "{warned:?}"
    );
}

#[tokio::test]
async fn the_execution_gets_the_published_input() {
    let service = first_run();
    run(
        &service,
        &settings(|draft| draft.artifact_location = Some("s3://models/here/".into())),
    )
    .await
    .0
    .unwrap();
    let started = &service.asked("StartExecution")[0].body;
    let input: Value = serde_json::from_str(started["input"].as_str().unwrap()).unwrap();
    let members: Vec<&String> = input.as_object().unwrap().keys().collect();
    assert_eq!(
        members,
        [
            "JobName",
            "ModelName",
            "ArtifactLocation",
            "EndpointName",
            "DataLocation"
        ]
    );
    assert_eq!(input["ArtifactLocation"], "s3://models/here");
    assert_eq!(input["EndpointName"], "ipinsights");
    let job = input["JobName"].as_str().unwrap();
    assert!(job.starts_with("ipinsights-20261120-111405-678-"), "{job}");
    let data = input["DataLocation"].as_str().unwrap();
    assert!(
        data.starts_with("s3://ipinsights-eu-west-1-123456789012/ipinsights/data/"),
        "{data}"
    );
}

#[tokio::test]
async fn the_machine_trains_with_the_regions_image_and_the_given_roles() {
    let service = first_run();
    run(
        &service,
        &settings(|draft| draft.training_instance = Some("ml.c5.xlarge".into())),
    )
    .await
    .0
    .unwrap();
    let created = &service.asked("CreateStateMachine")[0].body;
    assert_eq!(created["roleArn"], common::FLOW_ROLE);
    let definition: Value = serde_json::from_str(created["definition"].as_str().unwrap()).unwrap();
    let parameters = &definition["States"]["Training Model"]["Parameters"];
    assert_eq!(
        parameters["AlgorithmSpecification"]["TrainingImage"],
        "438346466558.dkr.ecr.eu-west-1.amazonaws.com/ipinsights:1"
    );
    assert_eq!(parameters["RoleArn"], common::TRAIN_ROLE);
    assert_eq!(parameters["ResourceConfig"]["InstanceType"], "ml.c5.xlarge");
    assert_eq!(parameters["HyperParameters"]["epochs"], "3");
}

#[tokio::test]
async fn a_throttled_request_is_sent_again() {
    let service = first_run();
    let good = ok(json!({ "executionArn": "arn:e", "startDate": 1.0 }));
    service
        .instead("StartExecution", refusal("ThrottlingException", "Rate exceeded"))
        .answers("StartExecution", refusal("ThrottlingException", "Rate exceeded"))
        .answers("StartExecution", good);
    run(&service, &settings(|_| {})).await.0.unwrap();
    assert_eq!(service.asked("StartExecution").len(), 3);
}

#[tokio::test]
async fn throttling_without_end_is_told_after_five_tries() {
    let service = first_run();
    service.instead("StartExecution", refusal("ThrottlingException", "Rate exceeded"));
    let error = run(&service, &settings(|_| {})).await.0.unwrap_err();
    assert!(
        matches!(error, Error::Client(ipinsights_client::Error::Throttled(_))),
        "{error:?}"
    );
    assert!(
        error
            .to_string()
            .contains("`StartExecution` answered ThrottlingException: Rate exceeded"),
        "{error}"
    );
    assert_eq!(service.asked("StartExecution").len(), 5);
}

#[tokio::test]
async fn a_failed_training_job_is_told_with_its_own_reason_and_leaves_nothing() {
    let service = first_run();
    let job = json!({ "TrainingJobName": "j", "TrainingJobStatus": "Failed", "FailureReason": "AlgorithmError: no rows" });
    service
        .instead(
            "DescribeExecution",
            common::execution("FAILED", Some("States.TaskFailed"), Some(&job.to_string())),
        )
        .instead("DescribeEndpoint", common::missing_endpoint());
    let (result, events) = run(&service, &settings(|_| {})).await;
    let Err(Error::Execution {
        status,
        state,
        reason,
        ..
    }) = result
    else {
        panic!("{result:?}")
    };
    assert_eq!((&*status, &*state), ("FAILED", "Training Model"));
    assert_eq!(reason, "States.TaskFailed: AlgorithmError: no rows");
    let model = service.asked("DeleteModel")[0].body["ModelName"].clone();
    assert_eq!(
        service.asked("DeleteEndpointConfig")[0].body["EndpointConfigName"],
        model
    );
    assert!(
        events
            .iter()
            .any(|event| matches!(event, Event::Deleted { resource } if resource.starts_with("model")))
    );
    assert!(service.asked("InvokeEndpoint").is_empty());
}

#[tokio::test]
async fn a_failed_run_is_reported_as_far_as_it_came() {
    let service = first_run();
    let job = json!({ "TrainingJobName": "j", "TrainingJobStatus": "Failed", "FailureReason": "AlgorithmError: <no> rows" });
    service
        .instead(
            "DescribeExecution",
            common::execution("FAILED", Some("States.TaskFailed"), Some(&job.to_string())),
        )
        .instead("DescribeEndpoint", common::missing_endpoint())
        .instead(
            "GetExecutionHistory",
            ok(json!({ "events": [
                { "id": 6, "timestamp": 13.0, "type": "ExecutionFailed" },
                { "id": 5, "timestamp": 12.5, "type": "FailStateEntered", "stateEnteredEventDetails": { "name": "Pipeline Failed", "input": "{}" } },
                { "id": 4, "timestamp": 12.5, "type": "TaskStateExited", "stateExitedEventDetails": { "name": "Training Model", "output": "{}" } },
                { "id": 3, "timestamp": 12.5, "type": "TaskFailed",
                  "taskFailedEventDetails": { "resourceType": "sagemaker", "resource": "createTrainingJob.sync", "error": "States.TaskFailed", "cause": "{}" } },
                { "id": 2, "timestamp": 10.0, "type": "TaskStateEntered", "stateEnteredEventDetails": { "name": "Training Model", "input": "{}" } },
                { "id": 1, "timestamp": 10.0, "type": "ExecutionStarted" },
            ] })),
        );
    let (result, _) = run_reported(&service, &settings(|_| {})).await;
    let report = result.unwrap_err().report.unwrap();
    let failure = &report.failure;
    // The Fail state only tells what came before it.
    assert_eq!(failure.state.as_deref(), Some("Training Model"));
    assert_eq!(failure.error.as_deref(), Some("States.TaskFailed"));
    assert_eq!(failure.cause.as_deref(), Some("AlgorithmError: <no> rows"));
    let execution = report.execution.as_ref().unwrap();
    assert_eq!(execution.status, "FAILED");
    let states: Vec<_> = execution
        .states
        .iter()
        .map(|visit| {
            (
                &*visit.name,
                visit.seconds,
                visit.caught.as_deref(),
                visit.failed.as_deref(),
            )
        })
        .collect();
    let error = Some("States.TaskFailed");
    assert_eq!(
        states,
        [
            ("Training Model", 2.5, error, None),
            ("Pipeline Failed", 0.5, None, error)
        ]
    );
    assert_eq!(report.manifest["seed"], 7);
    assert_eq!(report.hyperparameters["epochs"], "3");

    let machine = pipeline::definition::definition(&settings(|_| {}), "image").unwrap();
    let page = report.to_html(&machine);
    assert!(page.contains("AlgorithmError: &lt;no&gt; rows"), "{page}");
    assert!(
        page.contains("went through Training Model, Pipeline Failed."),
        "{page}"
    );
    assert!(!page.contains("<no>") && !page.contains("<script"));
}

#[tokio::test]
async fn a_run_that_never_came_to_an_execution_is_reported_too() {
    let service = first_run();
    service.instead(
        "CreateStateMachine",
        refusal("AccessDeniedException", "not authorized"),
    );
    let (result, _) = run_reported(&service, &settings(|_| {})).await;
    let report = result.unwrap_err().report.unwrap();
    assert_eq!((&report.execution, &report.failure.state), (&None, &None));
    assert!(
        report.failure.message.contains("not authorized"),
        "{:?}",
        report.failure
    );
    let machine = pipeline::definition::definition(&settings(|_| {}), "image").unwrap();
    assert!(report.to_html(&machine).contains("did not come to an execution"));
    // What is known to fail before anything is sent is a matter of the settings.
    let (result, _) = run_reported(&first_run(), &settings(|draft| draft.false_positive_rate = 0.001)).await;
    assert_eq!(result.unwrap_err().report, None);
}

#[tokio::test]
async fn a_run_that_cannot_score_is_reported_with_its_execution() {
    let service = first_run();
    service.answers("InvokeEndpoint", refusal("ValidationError", "no"));
    let (result, _) = run_reported(&service, &settings(|_| {})).await;
    let report = result.unwrap_err().report.unwrap();
    let execution = report.execution.as_ref().unwrap();
    assert_eq!((&*execution.status, execution.states.len()), ("SUCCEEDED", 1));
    assert_eq!((&report.failure.state, &report.failure.error), (&None, &None));
}

#[tokio::test]
async fn a_run_that_is_given_up_before_its_history_was_read_tells_it_all_the_same() {
    let service = first_run();
    service
        .instead("DescribeExecution", common::execution("ABORTED", None, None))
        .instead(
            "GetExecutionHistory",
            ok(json!({ "events": [
                { "id": 3, "timestamp": 14.5, "type": "ExecutionAborted" },
                { "id": 2, "timestamp": 10.0, "type": "TaskStateEntered", "stateEnteredEventDetails": { "name": "Training Model", "input": "{}" } },
                { "id": 1, "timestamp": 10.0, "type": "ExecutionStarted" },
            ] })),
        );
    let (_server, clients) = service.start().await;
    let cancelled = std::sync::Arc::new(tokio::sync::Notify::new());
    let cancel = std::sync::Arc::clone(&cancelled);
    let started = common::STARTED.parse().unwrap();
    let (settings, sample) = (settings(|_| {}), sample());
    let mut observe = |event: Event| {
        if matches!(event, Event::ExecutionStarted { .. }) {
            cancelled.notify_one();
        }
    };
    let cancel = async move { cancel.notified().await };
    let result = pipeline::run(&clients, &settings, &sample, started, cancel, &mut observe).await;
    let failed = result.unwrap_err();
    assert!(matches!(failed.error, Error::Interrupted), "{failed}");
    assert_eq!(service.asked("StopExecution").len(), 1);
    let report = failed.report.unwrap();
    assert_eq!(report.failure.state.as_deref(), Some("Training Model"));
    let execution = report.execution.unwrap();
    assert_eq!(execution.status, "ABORTED");
    let visit = &execution.states[0];
    assert_eq!((visit.seconds, visit.failed.as_deref()), (4.5, Some("Aborted")));
}

/// An account in which a pipeline has nothing left but logs, some of them of a pipeline whose name goes on.
fn logs_only() -> common::Service {
    let service = first_run();
    let job = "ipinsights-20261119-101010-100-abcd";
    service
        .instead("DescribeEndpoint", common::missing_endpoint())
        .answers("ListEndpointConfigs", ok(json!({ "EndpointConfigs": [] })))
        .answers("ListModels", ok(json!({ "Models": [] })))
        .answers("ListTrainingJobs", ok(json!({ "TrainingJobSummaries": [] })))
        .answers(
            "DescribeLogGroups",
            ok(json!({ "logGroups": [
                { "logGroupName": "/aws/sagemaker/Endpoints/ipinsights", "storedBytes": 2048, "retentionInDays": 30 },
                { "logGroupName": "/aws/sagemaker/Endpoints/ipinsights-2" },
            ] })),
        )
        .answers(
            "DescribeLogStreams",
            ok(json!({ "logStreams": [
                { "logStreamName": format!("{job}/algo-1-1763500000") },
                { "logStreamName": "ipinsights-2-20261119-101010-100-abcd/algo-1-1763500000" },
            ] })),
        )
        .answers("DeleteLogGroup", ResponseTemplate::new(200))
        .answers("DeleteLogStream", ResponseTemplate::new(200));
    service
}

async fn destroyed(service: &common::Service, logs: Logs) -> pipeline::Teardown {
    let (_server, clients) = service.start().await;
    pipeline::destroy(&clients, &PipelineName::default(), logs)
        .await
        .unwrap()
}

#[tokio::test]
async fn logs_that_stay_are_named_with_what_they_cost() {
    let service = logs_only();
    let teardown = destroyed(&service, Logs::Keep).await;
    assert_eq!(teardown.deleted, []);
    let left: Vec<_> = teardown
        .left
        .iter()
        .map(|left| (&*left.name, &*left.reason))
        .collect();
    assert_eq!(
        left,
        [
            (
                "/aws/sagemaker/Endpoints/ipinsights",
                "kept for 30 days, 2048 bytes by now, which costs money in an account; --logs deletes it"
            ),
            (
                "/aws/sagemaker/TrainingJobs",
                "the stream of one job is kept for as long as the group keeps them, which costs money in an account; --logs deletes them"
            ),
        ]
    );
    assert!(service.asked("DeleteLogGroup").is_empty());
    // Who may not look is told that, and the rest is done.
    service.instead(
        "DescribeLogGroups",
        refusal("AccessDeniedException", "no logs for you"),
    );
    service.instead(
        "DescribeLogStreams",
        refusal("ResourceNotFoundException", "no such group"),
    );
    let teardown = destroyed(&service, Logs::Keep).await;
    assert_eq!(teardown.left.len(), 1);
    assert!(
        teardown.left[0].reason.contains("no logs for you"),
        "{teardown:?}"
    );
}

#[tokio::test]
async fn logs_that_nobody_wants_go_and_those_of_others_stay() {
    let service = logs_only();
    let teardown = destroyed(&service, Logs::Delete).await;
    let deleted: Vec<_> = teardown
        .deleted
        .iter()
        .map(|gone| (gone.kind, &*gone.name))
        .collect();
    let stream = "/aws/sagemaker/TrainingJobs: ipinsights-20261119-101010-100-abcd/algo-1-1763500000";
    assert_eq!(
        deleted,
        [
            ("log group", "/aws/sagemaker/Endpoints/ipinsights"),
            ("log stream", stream)
        ]
    );
    assert_eq!(service.asked("DeleteLogGroup").len(), 1);
    assert_eq!(service.asked("DeleteLogStream").len(), 1);
    service.instead("DeleteLogGroup", refusal("AccessDeniedException", "no"));
    let teardown = destroyed(&service, Logs::Delete).await;
    assert_eq!(teardown.left.len(), 1, "{teardown:?}");
}

#[tokio::test]
async fn an_endpoint_that_never_comes_up_ends_the_run() {
    let service = first_run();
    service.instead(
        "DescribeExecution",
        common::execution("TIMED_OUT", Some("States.Timeout"), None),
    );
    let error = run(&service, &settings(|_| {})).await.0.unwrap_err();
    assert!(error.to_string().contains("ended as TIMED_OUT"), "{error}");
}

#[tokio::test]
async fn an_execution_without_end_is_stopped() {
    let service = first_run();
    service.instead("DescribeExecution", common::execution("RUNNING", None, None));
    let (result, _) = run(&service, &settings(|draft| draft.pace.execution_timeout = 1)).await;
    assert!(matches!(result, Err(Error::Unfinished { .. })), "{result:?}");
    assert_eq!(service.asked("StopExecution").len(), 1);
    assert_eq!(service.asked("DeleteModel").len(), 1);
}

#[tokio::test]
async fn an_interrupted_run_stops_its_execution() {
    let service = first_run();
    service.instead("DescribeExecution", common::execution("RUNNING", None, None));
    let (_server, clients) = service.start().await;
    let started = common::STARTED.parse().unwrap();
    let cancel = asked(&service, "DescribeExecution", 2);
    let result = pipeline::run(
        &clients,
        &settings(|_| {}),
        &sample(),
        started,
        cancel,
        &mut |_| {},
    )
    .await;
    assert!(
        matches!(
            result,
            Err(Failed {
                error: Error::Interrupted,
                ..
            })
        ),
        "{result:?}"
    );
    assert_eq!(service.asked("StopExecution").len(), 1);
}

#[tokio::test]
async fn a_refusal_for_want_of_permission_is_told_as_one() {
    let service = first_run();
    service.instead(
        "CreateStateMachine",
        refusal("AccessDeniedException", "not authorized to perform: iam:PassRole"),
    );
    let error = run(&service, &settings(|_| {})).await.0.unwrap_err();
    assert!(
        matches!(error, Error::Client(ipinsights_client::Error::AccessDenied(_))),
        "{error:?}"
    );
    assert!(error.to_string().contains("iam:PassRole"), "{error}");
}

#[tokio::test]
async fn a_second_run_updates_and_deletes_what_it_replaced() {
    let service = first_run();
    let old = "ipinsights-20261119-101010-100-abcd";
    let described = |config: &str| {
        ok(
            json!({ "EndpointName": "ipinsights", "EndpointStatus": "InService", "EndpointConfigName": config }),
        )
    };
    service
        .instead("HEAD bucket", ResponseTemplate::new(200))
        .instead(
            "ListStateMachines",
            ok(json!({ "stateMachines": [
                { "name": "ipinsights", "stateMachineArn": common::MACHINE, "type": "STANDARD", "creationDate": 1.0 },
            ] })),
        )
        .answers("UpdateStateMachine", ok(json!({ "updateDate": 1.0 })))
        .instead("DescribeEndpoint", described(old))
        .answers("DescribeEndpoint", described("new"))
        .answers(
            "DescribeEndpointConfig",
            ok(json!({ "EndpointConfigName": old, "ProductionVariants": [
                { "VariantName": "AllTraffic", "ModelName": old },
                { "VariantName": "Other", "ModelName": "somebody-elses" },
            ] })),
        );
    let (result, events) = run(&service, &settings(|_| {})).await;
    result.unwrap();
    assert!(service.asked("CreateStateMachine").is_empty());
    assert!(service.asked("PUT bucket").is_empty());
    let deleted: Vec<&Event> = events
        .iter()
        .filter(|event| matches!(event, Event::Deleted { .. }))
        .collect();
    assert_eq!(
        deleted,
        [
            &Event::Deleted {
                resource: format!("endpoint configuration `{old}`")
            },
            &Event::Deleted {
                resource: format!("model `{old}`")
            },
        ]
    );
}

#[tokio::test]
async fn too_few_held_out_rows_are_told_before_anything_is_sent() {
    let service = first_run();
    let (result, _) = run(&service, &settings(|draft| draft.false_positive_rate = 0.001)).await;
    assert!(matches!(result, Err(Error::Calibration(_))), "{result:?}");
    assert_eq!(service.operations(), [""; 0]);
}

#[tokio::test]
async fn an_interruption_does_not_wait_for_an_answer() {
    let service = first_run();
    let never = common::execution("RUNNING", None, None).set_delay(Duration::from_secs(600));
    service.instead("DescribeExecution", never);
    let (_server, clients) = service.start().await;
    let started = common::STARTED.parse().unwrap();
    let cancel = asked(&service, "DescribeExecution", 1);
    let (settings, sample) = (settings(|_| {}), sample());
    let mut quiet = |_| {};
    let run = pipeline::run(&clients, &settings, &sample, started, cancel, &mut quiet);
    let result = tokio::time::timeout(Duration::from_secs(60), run).await.unwrap();
    assert!(
        matches!(
            result,
            Err(Failed {
                error: Error::Interrupted,
                ..
            })
        ),
        "{result:?}"
    );
    let stopped = &service.asked("StopExecution")[0].body["executionArn"];
    assert_eq!(
        stopped,
        "arn:aws:states:eu-west-1:123456789012:execution:ipinsights:x"
    );
    assert_eq!(service.asked("DeleteModel").len(), 1);
}

#[tokio::test]
async fn an_interruption_before_the_execution_leaves_nothing_to_undo() {
    let service = first_run();
    service.instead(
        "CreateStateMachine",
        ok(json!({})).set_delay(Duration::from_secs(600)),
    );
    let (_server, clients) = service.start().await;
    let started = common::STARTED.parse().unwrap();
    let cancel = asked(&service, "CreateStateMachine", 1);
    let result = pipeline::run(
        &clients,
        &settings(|_| {}),
        &sample(),
        started,
        cancel,
        &mut |_| {},
    )
    .await;
    assert!(
        matches!(
            result,
            Err(Failed {
                error: Error::Interrupted,
                ..
            })
        ),
        "{result:?}"
    );
    assert!(service.asked("StopExecution").is_empty());
    assert!(service.asked("DeleteModel").is_empty());
}

#[tokio::test]
async fn a_run_that_cannot_score_deletes_nothing_that_served_before() {
    let service = first_run();
    let old = "ipinsights-20261119-101010-100-abcd";
    let described =
        ok(json!({ "EndpointName": "ipinsights", "EndpointStatus": "InService", "EndpointConfigName": old }));
    service
        .instead("DescribeEndpoint", described)
        .answers(
            "DescribeEndpointConfig",
            ok(json!({ "EndpointConfigName": old, "ProductionVariants": [{ "VariantName": "AllTraffic", "ModelName": old }] })),
        )
        .answers("InvokeEndpoint", refusal("ValidationError", "Endpoint ipinsights of account 1 not found."));
    let (result, _) = run(&service, &settings(|_| {})).await;
    assert!(matches!(result, Err(Error::Client(_))), "{result:?}");
    for deleted in service
        .asked("DeleteModel")
        .iter()
        .chain(&service.asked("DeleteEndpointConfig"))
    {
        assert!(!deleted.text.contains(old), "{deleted:?}");
    }
    assert!(service.asked("DeleteEndpoint").is_empty());
}
