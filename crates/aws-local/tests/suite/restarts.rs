//! Executions that are left and taken up again, and what keeps them from going on.

use std::sync::Arc;

use aws_local::{MockConfig, Server, VirtualClock};
use rusqlite::Connection;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    common::{IMAGE, ROLE, World, eventually},
    step_functions::{call, ended, machine, of, ok, pass, refused, start, text, types},
};

async fn activity(server: &Server, name: &str) -> String {
    text(&ok(server, "CreateActivity", json!({"name": name})).await["activityArn"])
}

/// Takes a task of an activity.
async fn take(server: &Server, activity: &str) -> Value {
    ok(server, "GetActivityTask", json!({"activityArn": activity})).await
}

/// Ends a task well.
async fn succeed(server: &Server, task: &Value) {
    let answer = json!({"taskToken": task["taskToken"], "output": "{}"});
    ok(server, "SendTaskSuccess", answer).await;
}

async fn describe(server: &Server, execution: &str) -> Value {
    ok(server, "DescribeExecution", json!({"executionArn": execution})).await
}

/// The only map run of an execution.
async fn map_run(server: &Server, execution: &str) -> Value {
    let run = eventually(|| async {
        let runs = ok(server, "ListMapRuns", json!({"executionArn": execution})).await;
        runs["mapRuns"][0]["mapRunArn"].as_str().map(str::to_owned)
    })
    .await;
    ok(server, "DescribeMapRun", json!({"mapRunArn": run})).await
}

/// Inputs and statuses of the child executions of a map run, and their last events.
async fn children(server: &Server, run: &Value) -> Vec<(String, String, String)> {
    let listed = ok(server, "ListExecutions", json!({"mapRunArn": run["mapRunArn"]})).await;
    let mut children = Vec::new();
    for child in listed["executions"].as_array().unwrap() {
        let arn = text(&child["executionArn"]);
        let described = describe(server, &arn).await;
        let last = types(server, &arn).await.pop().unwrap();
        children.push((text(&described["input"]), text(&described["status"]), last));
    }
    children.sort();
    children
}

/// A distributed Map state whose processor is this machine.
fn distributed(processor: &Value, settings: &Value) -> Value {
    let mut processor = processor.clone();
    processor["ProcessorConfig"] = json!({"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"});
    let mut state = json!({"Type": "Map", "ItemProcessor": processor, "End": true});
    for (member, value) in settings.as_object().unwrap() {
        state[member] = value.clone();
    }
    state
}

/// Fails for the item 2, and waits for a task of the activity for any other.
fn waits_or_fails(activity: &str) -> Value {
    of(json!({
        "C": {"Type": "Choice", "Default": "T", "Choices": [{"Variable": "$", "NumericEquals": 2, "Next": "F"}]},
        "F": {"Type": "Fail", "Error": "Two"},
        "T": {"Type": "Task", "Resource": activity, "End": true},
    }))
}

fn task(resource: &str, parameters: Value) -> Value {
    json!({"Type": "Task", "Resource": resource, "Parameters": parameters, "End": true})
}

fn training(name: &str, epochs: &str) -> Value {
    let train = json!({"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://data/train/"}});
    json!({
        "TrainingJobName": name,
        "RoleArn": ROLE,
        "AlgorithmSpecification": {"TrainingImage": IMAGE, "TrainingInputMode": "File"},
        "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 5},
        "StoppingCondition": {"MaxRuntimeInSeconds": 300},
        "OutputDataConfig": {"S3OutputPath": "s3://data/models"},
        "InputDataConfig": [{"ChannelName": "train", "ContentType": "text/csv", "DataSource": train}],
        "HyperParameters": {"num_entity_vectors": "20", "vector_dim": "8", "mini_batch_size": "50", "epochs": epochs},
    })
}

const TRAIN: &str = "arn:aws:states:::sagemaker:createTrainingJob.sync";

#[tokio::test]
async fn a_job_that_is_waited_for_goes_on_over_a_restart() {
    let world = World::new().await;
    world.bucket_with_data().await;
    let state = task(TRAIN, training("waited-for", "1000"));
    let arn = machine(&world.server, "m", &of(json!({"T": state}))).await;
    let execution = start(&world.server, &arn, json!({})).await;
    eventually(|| async {
        let described = world.sagemaker.describe_training_job();
        let job = described.training_job_name("waited-for").send().await.ok()?;
        (job.secondary_status().unwrap().as_str() == "Training").then_some(())
    })
    .await;
    let world = world.restart().await;
    let described = ended(&world.server, &execution).await;
    assert_eq!(described["status"], "SUCCEEDED", "{described}");
    let output: Value = serde_json::from_str(described["output"].as_str().unwrap()).unwrap();
    assert_eq!(output["TrainingJobStatus"], "Completed");
}

#[tokio::test]
async fn virtual_time_stands_still_during_a_job() {
    let folder = TempDir::new().unwrap();
    let clock = VirtualClock::new("2026-01-31T12:00:00Z".parse().unwrap());
    let builder = Server::builder(folder.path()).clock(Arc::new(clock.clone()));
    let world = World::with_server(builder.start().await.unwrap(), folder);
    world.bucket_with_data().await;
    let mut state = task(TRAIN, training("timed", "200"));
    state["TimeoutSeconds"] = json!(60);
    let nested = of(json!({"T": state}));
    let nested = machine(&world.server, "nested", &nested).await;
    let sync = "arn:aws:states:::states:startExecution.sync:2";
    let mut outer = task(sync, json!({"StateMachineArn": nested}));
    outer["TimeoutSeconds"] = json!(90);
    outer.as_object_mut().unwrap().remove("End");
    outer["Next"] = json!("W");
    let definition = of(json!({"T": outer, "W": {"Type": "Wait", "Seconds": 3600, "End": true}}));
    let arn = machine(&world.server, "m", &definition).await;
    let execution = start(&world.server, &arn, json!({})).await;
    let described = loop {
        clock.idle().await;
        let described = describe(&world.server, &execution).await;
        if described["status"] != "RUNNING" {
            break described;
        }
        assert!(clock.advance_to_next());
    };
    assert_eq!(described["status"], "SUCCEEDED", "{described}");
    // Only the hour has passed.
    let took = described["stopDate"].as_f64().unwrap() - described["startDate"].as_f64().unwrap();
    assert_eq!(took, 3600.0);
}

#[tokio::test]
async fn a_call_after_a_restart_takes_no_job_of_others() {
    let world = World::new().await;
    world.bucket_with_data().await;
    world.trained("taken").await;
    let activity = activity(&world.server, "a").await;
    let definition = of(json!({
        "A": {"Type": "Task", "Resource": activity, "Next": "T"},
        "T": task(TRAIN, training("taken", "1")),
    }));
    let arn = machine(&world.server, "m", &definition).await;
    let execution = start(&world.server, &arn, json!({})).await;
    take(&world.server, &activity).await;
    let world = world.restart().await;
    let again = take(&world.server, &activity).await;
    succeed(&world.server, &again).await;
    let described = ended(&world.server, &execution).await;
    assert_eq!(
        described["error"], "SageMaker.ResourceInUseException",
        "{described}"
    );
}

#[tokio::test]
async fn nested_executions_go_on_over_a_restart() {
    let world = World::new().await;
    let activity = activity(&world.server, "a").await;
    let work = of(json!({"T": {"Type": "Task", "Resource": activity, "End": true}}));
    let inner = machine(&world.server, "inner", &work).await;
    let outer = |style: &str, machine: &str| {
        let resource = format!("arn:aws:states:::states:startExecution{style}");
        of(json!({"T": task(&resource, json!({"StateMachineArn": machine, "Input": {}}))}))
    };
    let middle = machine(&world.server, "middle", &outer(".sync", &inner)).await;
    let outer = machine(&world.server, "outer", &outer(".sync:2", &middle)).await;
    let mut executions = Vec::new();
    for _ in 0..8 {
        executions.push(start(&world.server, &outer, json!({})).await);
        take(&world.server, &activity).await;
    }
    let world = world.restart().await;
    for _ in 0..8 {
        let task = take(&world.server, &activity).await;
        succeed(&world.server, &task).await;
    }
    for execution in executions {
        let described = ended(&world.server, &execution).await;
        assert_eq!(described["status"], "SUCCEEDED", "{described}");
    }
    // None was started twice.
    for machine in [middle, inner] {
        let listed = ok(
            &world.server,
            "ListExecutions",
            json!({"stateMachineArn": machine}),
        )
        .await;
        assert_eq!(listed["executions"].as_array().unwrap().len(), 8);
    }
}

/// Opens the database of a folder whose server runs or has stopped.
fn database(folder: &TempDir) -> Connection {
    Connection::open(folder.path().join("records.sqlite3")).unwrap()
}

#[tokio::test]
async fn a_redrive_that_was_cut_off_goes_on() {
    let folder = TempDir::new().unwrap();
    let server = Server::builder(folder.path()).start().await.unwrap();
    let late = "arn:aws:states:us-east-1:000000000000:stateMachine:late";
    let state = task(
        "arn:aws:states:::states:startExecution.sync:2",
        json!({"StateMachineArn": late}),
    );
    let arn = machine(&server, "m", &of(json!({"T": state}))).await;
    let execution = start(&server, &arn, json!({})).await;
    assert_eq!(ended(&server, &execution).await["status"], "FAILED");
    machine(&server, "late", &pass()).await;
    server.shutdown().await;
    // As RedriveExecution leaves it before anything else happens.
    let changed = database(&folder).execute(
        "UPDATE executions SET status = 'RUNNING', redrives = 1,
             record = json_set(record, '$.status', 'RUNNING', '$.redrives', 1) WHERE arn = ?1",
        [&execution],
    );
    assert_eq!(changed.unwrap(), 1);
    let server = Server::builder(folder.path()).start().await.unwrap();
    let described = ended(&server, &execution).await;
    assert_eq!(described["status"], "SUCCEEDED", "{described}");
    let events = types(&server, &execution).await;
    assert_eq!(
        events
            .iter()
            .filter(|event| *event == "ExecutionRedriven")
            .count(),
        1
    );
}

#[tokio::test]
async fn executions_wait_for_a_folder_that_cannot_be_written() {
    let folder = TempDir::new().unwrap();
    let server = Server::builder(folder.path()).start().await.unwrap();
    let activity = activity(&server, "a").await;
    let definition = of(json!({
        "T": {"Type": "Task", "Resource": activity, "Next": "P"},
        "P": {"Type": "Pass", "Next": "Q"},
        "Q": task("arn:aws:states:::aws-sdk:sfn:listStateMachines", json!({})),
    }));
    let arn = machine(&server, "m", &definition).await;
    let going_on = start(&server, &arn, json!({})).await;
    let task = take(&server, &activity).await;
    let stopped = start(&server, &arn, json!({})).await;
    take(&server, &activity).await;
    let started = |execution: String| {
        let server = &server;
        async move {
            types(server, &execution)
                .await
                .contains(&"ActivityStarted".to_owned())
                .then_some(())
        }
    };
    for execution in [&going_on, &stopped] {
        eventually(|| started(execution.clone())).await;
    }
    let database = database(&folder);
    database.execute_batch(FULL).unwrap();
    let acknowledged = std::cell::Cell::new(false);
    let answered = async {
        succeed(&server, &task).await;
        acknowledged.set(true);
    };
    let meanwhile = async {
        let told = refused(&server, "StopExecution", json!({"executionArn": stopped})).await;
        assert_eq!(
            told,
            "InternalFailure: the execution runs still: the data folder cannot be used: the disk is full; ask again"
        );
        for execution in [&going_on, &stopped] {
            assert_eq!(describe(&server, execution).await["status"], "RUNNING");
        }
        let logged = logged(&server, &going_on).await;
        assert_eq!(
            (logged.len(), text(&logged[0]["message"])),
            (
                1,
                format!(
                    "{going_on} waits: the data folder cannot be used: the disk is full; it goes on when it can"
                )
            )
        );
        // What is not written is not acknowledged.
        assert!(!acknowledged.get());
        database.execute_batch("DROP TRIGGER full").unwrap();
    };
    tokio::join!(answered, meanwhile);
    let described = ended(&server, &going_on).await;
    assert_eq!(described["status"], "SUCCEEDED", "{described}");
    // It was asked for.
    assert_eq!(ended(&server, &stopped).await["status"], "ABORTED");
    assert_eq!(types(&server, &stopped).await.pop().unwrap(), "ExecutionAborted");
}

#[tokio::test]
async fn children_end_with_their_map_run() {
    let folder = TempDir::new().unwrap();
    let server = Server::builder(folder.path()).start().await.unwrap();
    let activity = activity(&server, "a").await;
    let aborted = |input: &str| {
        (
            input.to_owned(),
            "ABORTED".to_owned(),
            "ExecutionAborted".to_owned(),
        )
    };
    // More fail than may.
    let map = distributed(&waits_or_fails(&activity), &json!({}));
    let arn = machine(&server, "exceeded", &of(json!({"M": map}))).await;
    let execution = start(&server, &arn, json!([1, 2])).await;
    assert_eq!(
        ended(&server, &execution).await["error"],
        "States.ExceedToleratedFailureThreshold"
    );
    let run = map_run(&server, &execution).await;
    assert_eq!(run["status"], "FAILED");
    let failed = ("2".to_owned(), "FAILED".to_owned(), "ExecutionFailed".to_owned());
    assert_eq!(children(&server, &run).await, [aborted("1"), failed]);
    // A branch beside it fails, and the execution goes on.
    let other = self::activity(&server, "b").await;
    let fails = of(json!({
        "Wait for b": {"Type": "Task", "Resource": other, "Next": "Fails"},
        "Fails": {"Type": "Fail", "Error": "E"},
    }));
    let map = distributed(&waits_or_fails(&activity), &json!({}));
    let definition = of(json!({
        "P": {"Type": "Parallel", "Branches": [of(json!({"M": map})), fails], "Next": "W",
            "Catch": [{"ErrorEquals": ["E"], "Next": "W"}]},
        "W": {"Type": "Task", "Resource": other, "End": true},
    }));
    let arn = machine(&server, "beside", &definition).await;
    let execution = start(&server, &arn, json!([3])).await;
    take(&server, &activity).await;
    let task = take(&server, &other).await;
    succeed(&server, &task).await;
    take(&server, &other).await;
    assert_eq!(describe(&server, &execution).await["status"], "RUNNING");
    let run = map_run(&server, &execution).await;
    assert_eq!(
        (&run["status"], &run["executionCounts"]["aborted"]),
        (&json!("ABORTED"), &json!(1))
    );
    assert_eq!(children(&server, &run).await, [aborted("3")]);
    // The execution takes too long, over a restart.
    let map = distributed(&waits_or_fails(&activity), &json!({}));
    let mut definition = of(json!({"M": map}));
    definition["TimeoutSeconds"] = json!(1);
    let arn = machine(&server, "late", &definition).await;
    let execution = start(&server, &arn, json!([4])).await;
    take(&server, &activity).await;
    server.shutdown().await;
    let server = Server::builder(folder.path()).start().await.unwrap();
    let described = ended(&server, &execution).await;
    assert_eq!(described["status"], "TIMED_OUT");
    // Only the history names the error.
    assert!(described.get("error").is_none(), "{described}");
    let last = json!({"executionArn": execution, "reverseOrder": true, "maxResults": 1});
    let last = ok(&server, "GetExecutionHistory", last).await["events"][0].clone();
    assert_eq!(
        (
            &last["type"],
            &last["previousEventId"],
            &last["executionTimedOutEventDetails"]
        ),
        (
            &json!("ExecutionTimedOut"),
            &json!(0),
            &json!({"error": "States.Timeout"})
        )
    );
    let run = map_run(&server, &execution).await;
    assert_eq!(run["status"], "ABORTED");
    assert_eq!(children(&server, &run).await, [aborted("4")]);
}

#[tokio::test]
async fn children_that_have_not_begun_stay_pending() {
    let folder = TempDir::new().unwrap();
    let server = Server::builder(folder.path()).start().await.unwrap();
    let activity = activity(&server, "a").await;
    let map = distributed(&waits_or_fails(&activity), &json!({"MaxConcurrency": 1}));
    let arn = machine(&server, "m", &of(json!({"M": map}))).await;
    let execution = start(&server, &arn, json!([1, 3, 4])).await;
    take(&server, &activity).await;
    ok(&server, "StopExecution", json!({"executionArn": execution})).await;
    let run = map_run(&server, &execution).await;
    assert_eq!(run["status"], "ABORTED");
    for counts in ["executionCounts", "itemCounts"] {
        let counts = &run[counts];
        assert_eq!(
            (
                &counts["total"],
                &counts["pending"],
                &counts["running"],
                &counts["aborted"]
            ),
            (&json!(3), &json!(2), &json!(0), &json!(1))
        );
    }
}

#[tokio::test]
async fn more_children_run_as_soon_as_they_may() {
    let folder = TempDir::new().unwrap();
    let server = Server::builder(folder.path()).start().await.unwrap();
    let activity = activity(&server, "a").await;
    let map = distributed(&waits_or_fails(&activity), &json!({"MaxConcurrency": 1}));
    let arn = machine(&server, "m", &of(json!({"M": map}))).await;
    let execution = start(&server, &arn, json!([1, 3, 4])).await;
    let mut tasks = vec![take(&server, &activity).await];
    let run = map_run(&server, &execution).await["mapRunArn"].clone();
    ok(
        &server,
        "UpdateMapRun",
        json!({"mapRunArn": run, "maxConcurrency": 3}),
    )
    .await;
    tasks.push(take(&server, &activity).await);
    tasks.push(take(&server, &activity).await);
    let inputs: Vec<String> = tasks.iter().map(|task| text(&task["input"])).collect();
    assert_eq!(inputs, ["1", "3", "4"]);
    for task in &tasks {
        succeed(&server, task).await;
    }
    assert_eq!(ended(&server, &execution).await["status"], "SUCCEEDED");
}

/// What the log says of an execution that waits for the data folder, as soon as it does.
async fn logged(server: &Server, execution: &str) -> Vec<Value> {
    eventually(|| async {
        let name = execution.rsplit(':').next().unwrap();
        let asked = json!({"logGroupName": "/aws-local/states", "logStreamName": name});
        let found = server.call("Logs_20140328.GetLogEvents", &asked).await.ok()?;
        let events = found["events"].as_array()?.clone();
        (!events.is_empty()).then_some(events)
    })
    .await
}

const FULL: &str =
    "CREATE TRIGGER full BEFORE INSERT ON events BEGIN SELECT RAISE(ABORT, 'the disk is full'); END";

#[tokio::test]
async fn whoever_stops_a_child_is_told_of_a_folder_that_cannot_be_written() {
    let folder = TempDir::new().unwrap();
    let server = Server::builder(folder.path()).start().await.unwrap();
    let activity = activity(&server, "a").await;
    let map = distributed(&waits_or_fails(&activity), &json!({}));
    let arn = machine(&server, "m", &of(json!({"M": map}))).await;
    let execution = start(&server, &arn, json!([1])).await;
    take(&server, &activity).await;
    let run = map_run(&server, &execution).await;
    let listed = ok(&server, "ListExecutions", json!({"mapRunArn": run["mapRunArn"]})).await;
    let child = text(&listed["executions"][0]["executionArn"]);
    let database = database(&folder);
    database.execute_batch(FULL).unwrap();
    let told = refused(&server, "StopExecution", json!({"executionArn": child})).await;
    assert_eq!(
        told,
        "InternalFailure: the execution runs still: the data folder cannot be used: the disk is full; ask again"
    );
    database.execute_batch("DROP TRIGGER full").unwrap();
    assert_eq!(ended(&server, &child).await["status"], "ABORTED");
    ended(&server, &execution).await;
}

#[tokio::test]
async fn what_a_map_run_is_told_outlasts_what_was_to_be_written() {
    let world = World::new().await;
    let activity = activity(&world.server, "a").await;
    let map = distributed(&waits_or_fails(&activity), &json!({}));
    let arn = machine(&world.server, "m", &of(json!({"M": map}))).await;
    let execution = start(&world.server, &arn, json!([1, 3])).await;
    let task = take(&world.server, &activity).await;
    take(&world.server, &activity).await;
    let run = map_run(&world.server, &execution).await["mapRunArn"].clone();
    let database = database(&world.folder);
    database.execute_batch(FULL).unwrap();
    let meanwhile = async {
        // The counts of the child that has ended wait to be written.
        logged(&world.server, &execution).await;
        let update = json!({"mapRunArn": run, "toleratedFailureCount": 5});
        ok(&world.server, "UpdateMapRun", update).await;
        database.execute_batch("DROP TRIGGER full").unwrap();
    };
    tokio::join!(succeed(&world.server, &task), meanwhile);
    let told = map_run(&world.server, &execution).await;
    assert_eq!(
        (
            &told["toleratedFailureCount"],
            &told["executionCounts"]["succeeded"]
        ),
        (&json!(5), &json!(1))
    );
    let world = world.restart().await;
    take(&world.server, &activity).await;
    let told = map_run(&world.server, &execution).await;
    assert_eq!(told["toleratedFailureCount"], 5);
}

#[tokio::test]
async fn a_child_ends_when_the_folder_can_be_read_again() {
    let folder = TempDir::new().unwrap();
    let clock = VirtualClock::new("2026-01-31T12:00:00Z".parse().unwrap());
    let serve = || {
        Server::builder(folder.path())
            .clock(Arc::new(clock.clone()))
            .start()
    };
    let server = serve().await.unwrap();
    let processor = of(json!({"W": {"Type": "Wait", "Seconds": 60, "End": true}}));
    let map = distributed(&processor, &json!({}));
    let arn = machine(&server, "m", &of(json!({"M": map}))).await;
    let execution = start(&server, &arn, json!([1])).await;
    clock.idle().await;
    server.shutdown().await;
    let server = serve().await.unwrap();
    clock.idle().await;
    let database = database(&folder);
    database
        .execute_batch("ALTER TABLE executions RENAME TO hidden")
        .unwrap();
    // All that is left for the child to do is done in one turn.
    assert!(clock.advance_to_next());
    logged(&server, &execution).await;
    database
        .execute_batch("ALTER TABLE hidden RENAME TO executions")
        .unwrap();
    assert_eq!(ended(&server, &execution).await["status"], "SUCCEEDED");
    let run = map_run(&server, &execution).await;
    let succeeded = (
        "1".to_owned(),
        "SUCCEEDED".to_owned(),
        "ExecutionSucceeded".to_owned(),
    );
    assert_eq!(children(&server, &run).await, [succeeded]);
}

#[tokio::test]
async fn a_restart_redrives_no_child_and_keeps_what_a_map_run_was_told() {
    let world = World::new().await;
    let activity = activity(&world.server, "a").await;
    let settings = json!({"ToleratedFailureCount": 1, "MaxConcurrency": 1});
    let map = distributed(&waits_or_fails(&activity), &settings);
    let arn = machine(&world.server, "m", &of(json!({"M": map}))).await;
    let execution = start(&world.server, &arn, json!([2, 3, 2, 5])).await;
    let task = take(&world.server, &activity).await;
    assert_eq!(task["input"], "3");
    let before = map_run(&world.server, &execution).await;
    let run = before["mapRunArn"].clone();
    let update = json!({"mapRunArn": run, "maxConcurrency": 3, "toleratedFailureCount": 2});
    ok(&world.server, "UpdateMapRun", update).await;
    let world = world.restart().await;
    for _ in 0..2 {
        let task = take(&world.server, &activity).await;
        let told = map_run(&world.server, &execution).await;
        assert_eq!(
            (
                &told["maxConcurrency"],
                &told["toleratedFailureCount"],
                &told["startDate"]
            ),
            (&json!(3), &json!(2), &before["startDate"])
        );
        succeed(&world.server, &task).await;
    }
    let described = ended(&world.server, &execution).await;
    assert_eq!(described["status"], "SUCCEEDED", "{described}");
    let told = map_run(&world.server, &execution).await;
    assert_eq!(
        (
            &told["status"],
            &told["toleratedFailureCount"],
            &told["executionCounts"]["failed"]
        ),
        (&json!("SUCCEEDED"), &json!(2), &json!(2))
    );
    let listed = ok(&world.server, "ListExecutions", json!({"mapRunArn": run})).await;
    for child in listed["executions"].as_array().unwrap() {
        let events = types(&world.server, child["executionArn"].as_str().unwrap()).await;
        assert!(!events.contains(&"ExecutionRedriven".to_owned()), "{events:?}");
    }
    assert!(
        call(
            &world.server,
            "UpdateMapRun",
            json!({"mapRunArn": run, "maxConcurrency": 1})
        )
        .await
        .is_err()
    );
}

#[tokio::test]
async fn mocked_answers_go_on_where_they_were() {
    let folder = TempDir::new().unwrap();
    let mocks = r#"{"StateMachines": {"m": {"TestCases": {"Retried": {"Q": "Answers"}}}},
        "MockedResponses": {"Answers": {"0": {"Throw": {"Error": "Busy"}}, "1": {"Return": 1}}}}"#;
    let serve = || {
        let builder = Server::builder(folder.path()).mock_config(MockConfig::parse(mocks).unwrap());
        async move { builder.start().await.unwrap() }
    };
    let server = serve().await;
    let mut state = task("arn:aws:states:::aws-sdk:sfn:listStateMachines", json!({}));
    state["Retry"] = json!([{"ErrorEquals": ["Busy"], "IntervalSeconds": 1, "MaxAttempts": 1}]);
    let arn = machine(&server, "m", &of(json!({"Q": state}))).await;
    let execution = start(&server, &format!("{arn}#Retried"), json!({})).await;
    let failed = || async {
        let types = types(&server, &execution).await;
        types.contains(&"TaskFailed".to_owned()).then_some(())
    };
    eventually(failed).await;
    server.shutdown().await;
    let described = ended(&serve().await, &execution).await;
    assert_eq!(
        (&described["status"], &described["output"]),
        (&json!("SUCCEEDED"), &json!("1")),
        "{described}"
    );
}

#[tokio::test]
async fn mocked_answers_of_children_go_on_where_they_were() {
    let folder = TempDir::new().unwrap();
    let mocks = r#"{"StateMachines": {"m": {"TestCases": {"Counted": {"Q": "Answers"}}}},
        "MockedResponses": {"Answers": {"0": {"Return": "first"}, "1": {"Return": "second"}}}}"#;
    let serve = || {
        let builder = Server::builder(folder.path()).mock_config(MockConfig::parse(mocks).unwrap());
        async move { builder.start().await.unwrap() }
    };
    let server = serve().await;
    let activity = activity(&server, "a").await;
    let mut mocked = task("arn:aws:states:::aws-sdk:sfn:listStateMachines", json!({}));
    mocked.as_object_mut().unwrap().remove("End");
    mocked["Next"] = json!("A");
    let processor = json!({"StartAt": "Q", "States": {
        "Q": mocked,
        "A": {"Type": "Task", "Resource": activity, "ResultPath": null, "End": true},
    }});
    let map = distributed(&processor, &json!({"MaxConcurrency": 1}));
    let arn = machine(&server, "m", &of(json!({"M": map}))).await;
    let execution = start(&server, &format!("{arn}#Counted"), json!([1, 2])).await;
    take(&server, &activity).await;
    server.shutdown().await;
    let server = serve().await;
    for answer in ["\"first\"", "\"second\""] {
        let task = take(&server, &activity).await;
        assert_eq!(task["input"], answer);
        succeed(&server, &task).await;
    }
    let described = ended(&server, &execution).await;
    assert_eq!(described["output"], r#"["first","second"]"#, "{described}");
}

#[tokio::test]
async fn a_mocked_execution_needs_its_mock_file() {
    let folder = TempDir::new().unwrap();
    let mocks = r#"{"StateMachines": {"m": {"TestCases": {"Good": {"Q": "Answer"}}}},
        "MockedResponses": {"Answer": {"0": {"Return": 1}}}}"#;
    let builder = Server::builder(folder.path()).mock_config(MockConfig::parse(mocks).unwrap());
    let server = builder.start().await.unwrap();
    let definition = of(json!({
        "W": {"Type": "Wait", "Seconds": 1, "Next": "Q"},
        "Q": task("arn:aws:states:::aws-sdk:sfn:listStateMachines", json!({})),
    }));
    let arn = machine(&server, "m", &definition).await;
    let execution = start(&server, &format!("{arn}#Good"), json!({})).await;
    server.shutdown().await;
    let server = Server::builder(folder.path()).start().await.unwrap();
    let described = ended(&server, &execution).await;
    assert_eq!(
        (text(&described["error"]), text(&described["cause"])),
        (
            "States.Runtime".to_owned(),
            "The execution is one of the test case `Good` of `m`, which the server does not have: start it with the mock \
             file (SFN_MOCK_CONFIG) that the execution was started with"
                .to_owned()
        )
    );
}

#[tokio::test]
async fn a_child_execution_is_stopped_by_itself() {
    let world = World::new().await;
    let activity = activity(&world.server, "a").await;
    let settings =
        json!({"ResultWriter": {"WriterConfig": {"Transformation": "NONE", "OutputType": "JSON"}}});
    let map = distributed(&waits_or_fails(&activity), &settings);
    let arn = machine(&world.server, "m", &of(json!({"M": map}))).await;
    let execution = start(&world.server, &arn, json!([1, 3])).await;
    let mut tasks = vec![
        take(&world.server, &activity).await,
        take(&world.server, &activity).await,
    ];
    let run = map_run(&world.server, &execution).await;
    let child = |input: &'static str| {
        let (server, run) = (&world.server, run["mapRunArn"].clone());
        async move {
            let listed = ok(server, "ListExecutions", json!({"mapRunArn": run})).await;
            for child in listed["executions"].as_array().unwrap() {
                let arn = text(&child["executionArn"]);
                if describe(server, &arn).await["input"] == input {
                    return arn;
                }
            }
            panic!("no child has the input {input}");
        }
    };
    let stopped = child("3").await;
    let stop = json!({"executionArn": stopped, "error": "Enough", "cause": "of it"});
    ok(&world.server, "StopExecution", stop.clone()).await;
    let described = describe(&world.server, &stopped).await;
    assert_eq!(
        (
            text(&described["status"]),
            text(&described["error"]),
            text(&described["cause"])
        ),
        ("ABORTED".to_owned(), "Enough".to_owned(), "of it".to_owned())
    );
    assert_eq!(described["redriveStatus"], "REDRIVABLE_BY_MAP_RUN");
    let events = types(&world.server, &stopped).await;
    assert_eq!(
        events[events.len() - 2..],
        ["ActivityStarted", "ExecutionAborted"]
    );
    // Stopped already.
    ok(&world.server, "StopExecution", stop).await;
    assert_eq!(describe(&world.server, &execution).await["status"], "RUNNING");
    // It stays stopped over a restart, and the others go on.
    let world = world.restart().await;
    tasks.push(take(&world.server, &activity).await);
    assert_eq!(tasks[2]["input"], "1");
    succeed(&world.server, &tasks[2]).await;
    let described = ended(&world.server, &execution).await;
    assert_eq!(described["status"], "SUCCEEDED", "{described}");
    let output: Value = serde_json::from_str(described["output"].as_str().unwrap()).unwrap();
    let results: Vec<_> = output
        .as_array()
        .unwrap()
        .iter()
        .map(|child| text(&child["Status"]))
        .collect();
    assert_eq!(results, ["SUCCEEDED", "ABORTED"]);
    let told = map_run(&world.server, &execution).await;
    assert_eq!(
        (&told["status"], &told["executionCounts"]["aborted"]),
        (&json!("SUCCEEDED"), &json!(1))
    );
    assert_eq!(describe(&world.server, &stopped).await["status"], "ABORTED");
}

#[tokio::test]
async fn express_children_that_have_ended_are_not_run_again() {
    let world = World::new().await;
    let counted = machine(&world.server, "counted", &pass()).await;
    let call = "arn:aws:states:::aws-sdk:sfn:startExecution";
    let processor = of(json!({
        "C": {"Type": "Choice", "Default": "T", "Choices": [{"Variable": "$", "NumericEquals": 2, "Next": "W"}]},
        "W": {"Type": "Wait", "Seconds": 1, "Next": "T"},
        "T": task(call, json!({"StateMachineArn": counted})),
    }));
    let mut map = distributed(&processor, &json!({"MaxConcurrency": 1}));
    map["ItemProcessor"]["ProcessorConfig"]["ExecutionType"] = json!("EXPRESS");
    let arn = machine(&world.server, "m", &of(json!({"M": map}))).await;
    let execution = start(&world.server, &arn, json!([1, 2])).await;
    eventually(|| async { (executions(&world.server, &counted).await == 1).then_some(()) }).await;
    let world = world.restart().await;
    let described = ended(&world.server, &execution).await;
    assert_eq!(described["status"], "SUCCEEDED", "{described}");
    let output: Value = serde_json::from_str(described["output"].as_str().unwrap()).unwrap();
    assert_eq!(output.as_array().unwrap().len(), 2);
    assert_eq!(executions(&world.server, &counted).await, 2);
}

#[tokio::test]
async fn a_map_run_counts_its_own_redrives() {
    let folder = TempDir::new().unwrap();
    let server = Server::builder(folder.path()).start().await.unwrap();
    let activity = activity(&server, "a").await;
    let definition = of(json!({
        "A": {"Type": "Task", "Resource": activity, "Next": "M"},
        "M": distributed(&waits_or_fails(&activity), &json!({})),
    }));
    let arn = machine(&server, "m", &definition).await;
    let execution = start(&server, &arn, json!({})).await;
    let redrive = || ok(&server, "RedriveExecution", json!({"executionArn": execution}));
    let first = take(&server, &activity).await;
    let failure = json!({"taskToken": first["taskToken"], "error": "E"});
    ok(&server, "SendTaskFailure", failure).await;
    assert_eq!(ended(&server, &execution).await["status"], "FAILED");
    redrive().await;
    let second = take(&server, &activity).await;
    let answer = json!({"taskToken": second["taskToken"], "output": "[2]"});
    ok(&server, "SendTaskSuccess", answer).await;
    assert_eq!(ended(&server, &execution).await["status"], "FAILED");
    let told = map_run(&server, &execution).await;
    assert_eq!(
        (&told["redriveCount"], &told["redriveDate"]),
        (&json!(0), &Value::Null)
    );
    redrive().await;
    assert_eq!(ended(&server, &execution).await["status"], "FAILED");
    let again = map_run(&server, &execution).await;
    assert_eq!(again["redriveCount"], 1);
    assert!(again["redriveDate"].as_f64() > told["startDate"].as_f64());
}

#[tokio::test]
async fn children_wait_to_be_redriven() {
    let world = World::new().await;
    let activity = activity(&world.server, "a").await;
    let settings = json!({"MaxConcurrency": 1, "ToleratedFailureCount": 1});
    let map = distributed(&waits_or_fails(&activity), &settings);
    let arn = machine(&world.server, "m", &of(json!({"M": map}))).await;
    let execution = start(&world.server, &arn, json!([1, 3, 4])).await;
    for _ in 0..2 {
        let task = take(&world.server, &activity).await;
        let failure = json!({"taskToken": task["taskToken"], "error": "E"});
        ok(&world.server, "SendTaskFailure", failure).await;
    }
    assert_eq!(ended(&world.server, &execution).await["status"], "FAILED");
    async fn counts(server: &Server, execution: &str) -> [u64; 6] {
        let run = map_run(server, execution).await;
        assert_eq!(run["executionCounts"], run["itemCounts"]);
        let names = [
            "pending",
            "pendingRedrive",
            "running",
            "failed",
            "aborted",
            "succeeded",
        ];
        names.map(|name| run["executionCounts"][name].as_u64().unwrap())
    }
    assert_eq!(counts(&world.server, &execution).await, [1, 0, 0, 2, 0, 0]);
    let redrive = json!({"executionArn": execution});
    ok(&world.server, "RedriveExecution", redrive.clone()).await;
    assert_eq!(take(&world.server, &activity).await["input"], "1");
    let run = map_run(&world.server, &execution).await["mapRunArn"].clone();
    let waiting = json!({"mapRunArn": run, "statusFilter": "PENDING_REDRIVE"});
    let mut world = world;
    for restarts in 0..2 {
        if restarts > 0 {
            world = world.restart().await;
            assert_eq!(take(&world.server, &activity).await["input"], "1");
        }
        assert_eq!(counts(&world.server, &execution).await, [1, 1, 1, 0, 0, 0]);
        let listed = ok(&world.server, "ListExecutions", waiting.clone()).await;
        let listed = listed["executions"].as_array().unwrap();
        assert_eq!(listed.len(), 1, "{listed:?}");
        let child = describe(&world.server, listed[0]["executionArn"].as_str().unwrap()).await;
        assert_eq!(
            (&child["input"], &child["status"]),
            (&json!("3"), &json!("PENDING_REDRIVE"))
        );
    }
    // Stopped, the one that waits is what it was.
    ok(&world.server, "StopExecution", redrive.clone()).await;
    assert_eq!(counts(&world.server, &execution).await, [1, 0, 0, 1, 1, 0]);
    let told = map_run(&world.server, &execution).await;
    let children = children(&world.server, &told).await;
    let statuses: Vec<_> = children
        .iter()
        .map(|(_, status, last)| (status.as_str(), last.as_str()))
        .collect();
    assert_eq!(
        statuses,
        [("ABORTED", "ExecutionAborted"), ("FAILED", "ExecutionFailed")]
    );
    ok(&world.server, "RedriveExecution", redrive).await;
    for _ in 0..3 {
        let task = take(&world.server, &activity).await;
        succeed(&world.server, &task).await;
    }
    assert_eq!(ended(&world.server, &execution).await["status"], "SUCCEEDED");
    assert_eq!(counts(&world.server, &execution).await, [0, 0, 0, 0, 0, 3]);
}

/// Its history has no room for a redrive.
#[tokio::test]
async fn a_child_that_cannot_be_redriven_stays_failed_and_counts_as_such() {
    let folder = TempDir::new().unwrap();
    let server = Server::builder(folder.path()).start().await.unwrap();
    let activity = activity(&server, "a").await;
    let processor = of(json!({
        "C": {"Type": "Choice", "Default": "T", "Choices": [{"Variable": "$", "NumericEquals": 2, "Next": "P"}]},
        "P": {"Type": "Pass", "Next": "P"},
        "T": {"Type": "Task", "Resource": activity, "End": true},
    }));
    let settings = json!({"MaxConcurrency": 1, "ToleratedFailureCount": 1});
    let map = distributed(&processor, &settings);
    let arn = machine(&server, "m", &of(json!({"M": map}))).await;
    let execution = start(&server, &arn, json!([2, 1])).await;
    let task = take(&server, &activity).await;
    let failure = json!({"taskToken": task["taskToken"], "error": "E"});
    ok(&server, "SendTaskFailure", failure).await;
    assert_eq!(ended(&server, &execution).await["status"], "FAILED");
    let counts = async || {
        let run = map_run(&server, &execution).await;
        assert_eq!(run["executionCounts"], run["itemCounts"]);
        let names = ["failed", "failuresNotRedrivable", "succeeded"];
        names.map(|name| run["executionCounts"][name].as_u64().unwrap())
    };
    assert_eq!(counts().await, [2, 1, 0]);
    let run = map_run(&server, &execution).await;
    let listed = ok(&server, "ListExecutions", json!({"mapRunArn": run["mapRunArn"]})).await;
    let mut full = Value::Null;
    for child in listed["executions"].as_array().unwrap() {
        let described = describe(&server, child["executionArn"].as_str().unwrap()).await;
        if described["input"] == "2" {
            full = described;
        }
    }
    assert_eq!(
        (&full["redriveStatus"], &full["redriveStatusReason"]),
        (
            &json!("NOT_REDRIVABLE"),
            &json!("Execution history event limit exceeded")
        )
    );
    ok(&server, "RedriveExecution", json!({"executionArn": execution})).await;
    let task = take(&server, &activity).await;
    succeed(&server, &task).await;
    let described = ended(&server, &execution).await;
    assert_eq!(described["status"], "SUCCEEDED", "{described}");
    assert_eq!(counts().await, [1, 1, 1]);
    assert_eq!(
        describe(&server, full["executionArn"].as_str().unwrap()).await,
        full
    );
}

#[tokio::test]
async fn a_damaged_history_is_kept_and_closed() {
    let folder = TempDir::new().unwrap();
    let server = Server::builder(folder.path()).start().await.unwrap();
    let activity = activity(&server, "a").await;
    let map = distributed(&waits_or_fails(&activity), &json!({}));
    let arn = machine(&server, "m", &of(json!({"M": map}))).await;
    let execution = start(&server, &arn, json!([1])).await;
    take(&server, &activity).await;
    let run = map_run(&server, &execution).await;
    let listed = ok(&server, "ListExecutions", json!({"mapRunArn": run["mapRunArn"]})).await;
    let child = text(&listed["executions"][0]["executionArn"]);
    server.shutdown().await;
    let events = |execution: &str| {
        let database = database(&folder);
        let texts = "SELECT event FROM events WHERE execution = (SELECT id FROM executions WHERE arn = ?1) ORDER BY id";
        let mut statement = database.prepare(texts).unwrap();
        let rows = statement.query_map([execution], |row| row.get(0)).unwrap();
        rows.collect::<rusqlite::Result<Vec<String>>>().unwrap()
    };
    let damage = "UPDATE events SET event = '{' WHERE id = 2
         AND execution = (SELECT id FROM executions WHERE arn = ?1)";
    assert_eq!(database(&folder).execute(damage, [&child]).unwrap(), 1);
    let before = events(&child);
    let server = Server::builder(folder.path()).start().await.unwrap();
    let described = ended(&server, &execution).await;
    assert_eq!(
        (text(&described["status"]), text(&described["error"])),
        ("FAILED".to_owned(), "States.Runtime".to_owned())
    );
    let cause = text(&described["cause"]);
    let told = format!("The history of the child execution {child} cannot be read: ");
    assert!(cause.starts_with(&told), "{cause}");
    assert_eq!(describe(&server, &child).await["status"], "ABORTED");
    let is_closed = |before: Vec<String>, after: Vec<String>| {
        assert_eq!(after.len(), before.len() + 1);
        assert_eq!(after[..before.len()], before);
        assert!(after[before.len()].contains("\"ExecutionAborted\""), "{after:?}");
    };
    is_closed(before, events(&child));
    // The same of an execution that is stopped, whichever of its events is damaged.
    let alone = of(json!({"T": {"Type": "Task", "Resource": activity, "End": true}}));
    let arn = machine(&server, "alone", &alone).await;
    for event in [2, 4] {
        let execution = start(&server, &arn, json!({})).await;
        take(&server, &activity).await;
        let started = || async { (events(&execution).len() == 4).then_some(()) };
        eventually(started).await;
        let damage = "UPDATE events SET event = '{' WHERE id = ?2
             AND execution = (SELECT id FROM executions WHERE arn = ?1)";
        let damaged = database(&folder).execute(damage, rusqlite::params![execution, event]);
        assert_eq!(damaged.unwrap(), 1);
        let before = events(&execution);
        ok(&server, "StopExecution", json!({"executionArn": execution})).await;
        assert_eq!(describe(&server, &execution).await["status"], "ABORTED");
        is_closed(before, events(&execution));
    }
}

#[tokio::test]
async fn of_express_children_nothing_is_left_when_the_execution_has_succeeded() {
    let folder = TempDir::new().unwrap();
    let server = Server::builder(folder.path()).start().await.unwrap();
    // Fails for the item 2.
    let fails = |at: &str| {
        let name = |state: &str| format!("{state} {at}");
        let is_two = json!({"Variable": "$", "NumericEquals": 2, "Next": name("F")});
        let processor = json!({"StartAt": name("C"), "States": {
            name("C"): {"Type": "Choice", "Default": name("P"), "Choices": [is_two]},
            name("F"): {"Type": "Fail", "Error": "Two"},
            name("P"): {"Type": "Pass", "End": true},
        }});
        let mut map = distributed(&processor, &json!({"MaxConcurrency": 1}));
        map["ItemProcessor"]["ProcessorConfig"]["ExecutionType"] = json!("EXPRESS");
        map
    };
    let mut caught = fails("at the top");
    caught.as_object_mut().unwrap().remove("End");
    caught["Next"] = json!("P");
    caught["Catch"] = json!([{"ErrorEquals": ["States.ALL"], "Next": "P"}]);
    let in_a_child = of(json!({"I": fails("in a child")}));
    let mut definition = of(json!({
        "M": caught,
        "P": {"Type": "Pass", "Result": [[1, 2]], "Next": "O"},
        "O": distributed(&in_a_child, &json!({"ToleratedFailureCount": 1})),
    }));
    let rows = || {
        let count = "SELECT COUNT(*) FROM express_children";
        database(&folder)
            .query_row(count, [], |row| row.get::<_, u64>(0))
            .unwrap()
    };
    let arn = machine(&server, "m", &definition).await;
    let execution = start(&server, &arn, json!([1, 2])).await;
    let described = ended(&server, &execution).await;
    assert_eq!(described["status"], "SUCCEEDED", "{described}");
    assert_eq!(rows(), 0);
    // They are asked for when it is redriven.
    definition["States"]["O"]["ToleratedFailureCount"] = json!(0);
    let arn = machine(&server, "fails", &definition).await;
    let execution = start(&server, &arn, json!([1, 2])).await;
    assert_eq!(ended(&server, &execution).await["status"], "FAILED");
    assert!(rows() > 0);
}

/// How many executions a machine has.
async fn executions(server: &Server, machine: &str) -> usize {
    let listed = ok(server, "ListExecutions", json!({"stateMachineArn": machine})).await;
    listed["executions"].as_array().unwrap().len()
}
