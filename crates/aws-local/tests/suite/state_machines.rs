//! Step Functions.

use aws_sdk_sfn::{operation::describe_execution::DescribeExecutionOutput, types::ExecutionStatus};
use expect_test::expect;
use serde_json::{Value, json};

use crate::common::{IMAGE, ROLE, World, eventually, told};

/// The published pipeline's four states, followed by a loop until the endpoint is in service.
fn pipeline() -> Value {
    json!({
        "StartAt": "Training Model",
        "States": {
            "Training Model": {
                "Type": "Task",
                "Resource": "arn:aws:states:::sagemaker:createTrainingJob.sync",
                "Parameters": {
                    "TrainingJobName.$": "$$.Execution.Input['JobName']",
                    "RoleArn": ROLE,
                    "AlgorithmSpecification": {"TrainingImage": IMAGE, "TrainingInputMode": "File"},
                    "HyperParameters": {"num_entity_vectors": "20", "vector_dim": "8", "epochs": "2"},
                    "InputDataConfig": [{
                        "ChannelName": "train",
                        "DataSource": {"S3DataSource": {
                            "S3DataType": "S3Prefix",
                            "S3Uri.$": "$$.Execution.Input['DataLocation']",
                            "S3DataDistributionType": "FullyReplicated",
                        }},
                    }],
                    "OutputDataConfig": {"S3OutputPath": "s3://data/models"},
                    "ResourceConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 5},
                    "StoppingCondition": {"MaxRuntimeInSeconds": 300, "MaxWaitTimeInSeconds": 360},
                    "EnableManagedSpotTraining": true,
                    "DebugHookConfig": {"S3OutputPath": "s3://data/models"},
                },
                "Next": "Saving model",
            },
            "Saving model": {
                "Type": "Task",
                "Resource": "arn:aws:states:::sagemaker:createModel",
                "Parameters": {
                    "ModelName.$": "$$.Execution.Input['ModelName']",
                    "ExecutionRoleArn": ROLE,
                    "PrimaryContainer": {
                        "Image": IMAGE,
                        "Environment": {},
                        "ModelDataUrl.$": "$['ModelArtifacts']['S3ModelArtifacts']",
                    },
                },
                "Next": "Creating Endpoint Config",
            },
            "Creating Endpoint Config": {
                "Type": "Task",
                "Resource": "arn:aws:states:::sagemaker:createEndpointConfig",
                "Parameters": {
                    "EndpointConfigName.$": "$$.Execution.Input['ModelName']",
                    "ProductionVariants": [{
                        "VariantName": "AllTraffic",
                        "ModelName.$": "$$.Execution.Input['ModelName']",
                        "InitialInstanceCount": 1,
                        "InstanceType": "ml.t2.medium",
                    }],
                },
                "Next": "Creating Endpoint",
            },
            "Creating Endpoint": {
                "Type": "Task",
                "Resource": "arn:aws:states:::sagemaker:createEndpoint",
                "Parameters": {
                    "EndpointName.$": "$$.Execution.Input['EndpointName']",
                    "EndpointConfigName.$": "$$.Execution.Input['ModelName']",
                },
                "Next": "Describe",
            },
            "Describe": {
                "Type": "Task",
                "Resource": "arn:aws:states:::aws-sdk:sagemaker:describeEndpoint",
                "Parameters": {"EndpointName.$": "$$.Execution.Input['EndpointName']"},
                "Next": "Ready",
            },
            "Ready": {
                "Type": "Choice",
                "Choices": [{"Variable": "$.EndpointStatus", "StringEquals": "InService", "Next": "Done"}],
                "Default": "Describe",
            },
            "Done": {"Type": "Succeed"},
        },
    })
}

/// One state that calls a resource.
fn single(resource: &str, parameters: Value) -> String {
    json!({"StartAt": "Only", "States": {"Only": {
        "Type": "Task", "Resource": resource, "Parameters": parameters, "End": true,
    }}})
    .to_string()
}

async fn create(world: &World, name: &str, definition: impl Into<String>) -> String {
    let create = world
        .states
        .create_state_machine()
        .name(name)
        .role_arn(ROLE)
        .definition(definition);
    create.send().await.unwrap().state_machine_arn
}

/// Runs a machine to its end.
async fn run(world: &World, machine: &str, input: &Value) -> DescribeExecutionOutput {
    let start = world
        .states
        .start_execution()
        .state_machine_arn(machine)
        .input(input.to_string());
    let arn = start.send().await.unwrap().execution_arn;
    ended(world, &arn).await
}

async fn ended(world: &World, arn: &str) -> DescribeExecutionOutput {
    eventually(|| async {
        let described = world
            .states
            .describe_execution()
            .execution_arn(arn)
            .send()
            .await
            .unwrap();
        (described.status != ExecutionStatus::Running).then_some(described)
    })
    .await
}

async fn history(world: &World, arn: &str) -> Vec<aws_sdk_sfn::types::HistoryEvent> {
    let mut pages = world
        .states
        .get_execution_history()
        .execution_arn(arn)
        .max_results(7)
        .into_paginator()
        .send();
    let mut events = Vec::new();
    while let Some(page) = pages.next().await {
        events.extend(page.unwrap().events);
    }
    events
}

#[tokio::test]
async fn the_published_pipeline_runs() {
    let world = World::new().await;
    world.bucket_with_data().await;
    let machine = create(&world, "pipeline", pipeline().to_string()).await;
    let input = json!({
        "JobName": "job-1", "ModelName": "model-1", "EndpointName": "scores", "DataLocation": "s3://data/train/train.csv",
    });
    let execution = run(&world, &machine, &input).await;
    assert_eq!(
        execution.status,
        ExecutionStatus::Succeeded,
        "{:?} {:?}",
        execution.error,
        execution.cause
    );
    let output: Value = serde_json::from_str(execution.output().unwrap()).unwrap();
    assert_eq!(output["EndpointStatus"], "InService");
    assert!(
        output["CreationTime"].as_str().unwrap().ends_with('Z'),
        "{output}"
    );
    assert_eq!(execution.input(), Some(input.to_string().as_str()));

    let events = history(&world, &execution.execution_arn).await;
    let mut told: Vec<_> = events
        .iter()
        .map(|event| {
            let name = event
                .state_entered_event_details()
                .map(|d| format!(" {}", d.name()));
            let task = event
                .task_scheduled_event_details()
                .map(|d| format!(" {}:{}", d.resource_type(), d.resource()));
            format!(
                "{}{}{}",
                event.r#type(),
                name.unwrap_or_default(),
                task.unwrap_or_default()
            )
        })
        .collect();
    // The loop goes round as often as it takes.
    let last = told
        .iter()
        .rposition(|line| line == "TaskStateEntered Describe")
        .unwrap();
    let first = told
        .iter()
        .position(|line| line == "TaskStateEntered Describe")
        .unwrap();
    told.drain(first..last);
    expect![[r#"
        ExecutionStarted
        TaskStateEntered Training Model
        TaskScheduled sagemaker:createTrainingJob.sync
        TaskStarted
        TaskSubmitted
        TaskSucceeded
        TaskStateExited
        TaskStateEntered Saving model
        TaskScheduled sagemaker:createModel
        TaskStarted
        TaskSucceeded
        TaskStateExited
        TaskStateEntered Creating Endpoint Config
        TaskScheduled sagemaker:createEndpointConfig
        TaskStarted
        TaskSucceeded
        TaskStateExited
        TaskStateEntered Creating Endpoint
        TaskScheduled sagemaker:createEndpoint
        TaskStarted
        TaskSucceeded
        TaskStateExited
        TaskStateEntered Describe
        TaskScheduled aws-sdk:sagemaker:describeEndpoint
        TaskStarted
        TaskSucceeded
        TaskStateExited
        ChoiceStateEntered Ready
        ChoiceStateExited
        SucceedStateEntered Done
        SucceedStateExited
        ExecutionSucceeded"#]]
    .assert_eq(&told.join("\n"));
    let ids: Vec<_> = events.iter().map(|event| event.id).collect();
    assert_eq!(ids, (1..=events.len() as i64).collect::<Vec<_>>());
    // Dates in the training's document are numbers of milliseconds.
    let trained = events
        .iter()
        .find_map(|e| e.task_succeeded_event_details())
        .unwrap();
    let trained: Value = serde_json::from_str(trained.output().unwrap()).unwrap();
    assert!(
        trained["CreationTime"].as_u64().unwrap() > 1_600_000_000_000,
        "{trained}"
    );

    let reverse = world
        .states
        .get_execution_history()
        .execution_arn(&execution.execution_arn);
    let reverse = reverse
        .reverse_order(true)
        .max_results(1)
        .include_execution_data(false)
        .send()
        .await
        .unwrap();
    assert_eq!(reverse.events[0].id, events.len() as i64);
    assert_eq!(
        reverse.events[0]
            .execution_succeeded_event_details()
            .and_then(|d| d.output()),
        None
    );

    let world = world.restart().await;
    let again = world
        .states
        .describe_execution()
        .execution_arn(&execution.execution_arn)
        .send()
        .await
        .unwrap();
    assert_eq!(again.output, execution.output);
    assert_eq!(
        history(&world, &execution.execution_arn).await.len(),
        events.len()
    );
    let executions = world
        .states
        .list_executions()
        .state_machine_arn(&machine)
        .send()
        .await
        .unwrap();
    assert_eq!(executions.executions.len(), 1);
}

#[tokio::test]
async fn errors_are_named_as_the_integrations_name_them() {
    let world = World::new().await;
    world.bucket_with_data().await;
    world.training("taken").send().await.unwrap();
    world.job_ended("taken").await;
    let mut training = pipeline()["States"]["Training Model"]["Parameters"].clone();
    training.as_object_mut().unwrap().remove("TrainingJobName.$");
    training["InputDataConfig"][0]["DataSource"]["S3DataSource"] =
        json!({"S3DataType": "S3Prefix", "S3Uri": "s3://data/train/"});
    let with = |member: &str, value: Value| {
        let mut parameters = training.clone();
        parameters[member] = value;
        parameters
    };
    let mut failing = with("TrainingJobName", "failing".into());
    failing["HyperParameters"] = json!({"num_entity_vectors": "0", "vector_dim": "8"});
    let cases = [
        (
            "arn:aws:states:::sagemaker:createTrainingJob.sync",
            with("TrainingJobName", "taken".into()),
        ),
        (
            "arn:aws:states:::sagemaker:createTrainingJob",
            with("TrainingJobName", "bad_name".into()),
        ),
        (
            "arn:aws:states:::sagemaker:createEndpoint",
            json!({"EndpointName": "e", "EndpointConfigName": "none"}),
        ),
        (
            "arn:aws:states:::aws-sdk:sagemaker:describeEndpoint",
            json!({"EndpointName": "Missing"}),
        ),
        (
            "arn:aws:states:::aws-sdk:sagemaker:createTrainingJob",
            with("TrainingJobName", "taken".into()),
        ),
        ("arn:aws:states:::sagemaker:createTrainingJob.sync", failing),
    ];
    let mut answers = Vec::new();
    for (i, (resource, parameters)) in cases.into_iter().enumerate() {
        let machine = create(&world, &format!("m{i}"), single(resource, parameters)).await;
        let execution = run(&world, &machine, &json!({})).await;
        assert_eq!(execution.status, ExecutionStatus::Failed);
        let cause = execution.cause().unwrap();
        // A document, or a text with an id in it.
        let cause = match serde_json::from_str::<Value>(cause) {
            Ok(document) => format!("{} {}", document["TrainingJobStatus"], document["FailureReason"]),
            Err(_) => {
                let at = cause.find("Request ID: ").unwrap() + 12;
                format!("{}ID{}", &cause[..at], &cause[at + 36..])
            }
        };
        answers.push(format!("{}: {cause}", execution.error().unwrap()));
    }
    expect![[r#"
        SageMaker.ResourceInUseException: Training job names must be unique within an AWS account and region, and a training job with this name already exists (arn:aws:sagemaker:us-east-1:000000000000:training-job/taken) (Service: AmazonSageMaker; Status Code: 400; Error Code: ResourceInUse; Request ID: ID; Proxy: null)
        SageMaker.AmazonSageMakerException: 1 validation error detected: Value 'bad_name' at 'trainingJobName' failed to satisfy constraint: Member must satisfy regular expression pattern: ^[a-zA-Z0-9](-*[a-zA-Z0-9])* (Service: AmazonSageMaker; Status Code: 400; Error Code: ValidationException; Request ID: ID; Proxy: null)
        SageMaker.AmazonSageMakerException: Could not find endpoint configuration "arn:aws:sagemaker:us-east-1:000000000000:endpoint-config/none". (Service: AmazonSageMaker; Status Code: 400; Error Code: ValidationException; Request ID: ID; Proxy: null)
        SageMaker.SageMakerException: Could not find endpoint "arn:aws:sagemaker:us-east-1:000000000000:endpoint/missing". (Service: SageMaker, Status Code: 400, Request ID: ID)
        SageMaker.ResourceInUseException: Training job names must be unique within an AWS account and region, and a training job with this name already exists (arn:aws:sagemaker:us-east-1:000000000000:training-job/taken) (Service: SageMaker, Status Code: 400, Request ID: ID)
        States.TaskFailed: "Failed" "AlgorithmError: Customer Error: the hyperparameters are not valid under any of the given schemas: num_entity_vectors must lie in 1..=250000000, got 0 (caused by ValidationError)""#]].assert_eq(&answers.join("\n"));
}

#[tokio::test]
async fn machines_are_checked_kept_and_found_again() {
    let world = World::new().await;
    let pass = |comment: &str| {
        json!({"Comment": comment, "StartAt": "A", "States": {"A": {"Type": "Pass", "End": true}}})
            .to_string()
    };
    let make = |name: &str, definition: String| {
        world
            .states
            .create_state_machine()
            .name(name)
            .role_arn(ROLE)
            .definition(definition)
            .send()
    };
    let arn = make("m", pass("one")).await.unwrap().state_machine_arn;
    assert_eq!(arn, "arn:aws:states:us-east-1:000000000000:stateMachine:m");
    make("m", pass("one")).await.unwrap(); // just as it is
    let unknown = single("arn:aws:states:::lambda:fly", json!({}));
    let answers = [
        told(make("m", pass("two")).await),
        told(make("bad name", pass("one")).await),
        told(make("n", "{".to_owned()).await),
        told(
            make(
                "n",
                json!({"StartAt": "B", "States": {"A": {"Type": "Pass", "End": true}}}).to_string(),
            )
            .await,
        ),
        told(make("n", unknown.clone()).await),
        told(
            world
                .states
                .describe_state_machine()
                .state_machine_arn("arn:none")
                .send()
                .await,
        ),
        told(
            world
                .states
                .start_execution()
                .state_machine_arn("arn:none")
                .send()
                .await,
        ),
        told(
            world
                .states
                .start_execution()
                .state_machine_arn(&arn)
                .input("{")
                .send()
                .await,
        ),
        told(
            world
                .states
                .describe_execution()
                .execution_arn("arn:none")
                .send()
                .await,
        ),
    ];
    expect![[r#"
        StateMachineAlreadyExists: State Machine Already Exists: 'arn:aws:states:us-east-1:000000000000:stateMachine:m'
        InvalidName: Invalid Name: 'bad name'
        InvalidDefinition: Invalid State Machine Definition: 'INVALID_JSON_DESCRIPTION: Unexpected end-of-input
         at [Source: (String)"{"; line: 1, column: 2]'
        InvalidDefinition: Invalid State Machine Definition: 'MISSING_TRANSITION_TARGET: Missing 'Next' target: B at /StartAt'
        InvalidDefinition: Invalid State Machine Definition: 'SCHEMA_VALIDATION_FAILED: The resource provided arn:aws:states:::lambda:fly is not recognized. The value is not a valid resource ARN, or the resource is not available in this region. at /States/Only/Resource'
        InvalidArn: Invalid Arn: 'Invalid ARN prefix: arn:none'
        InvalidArn: Invalid Arn: 'Invalid ARN prefix: arn:none'
        InvalidExecutionInput: Invalid State Machine Execution Input: 'Unexpected end-of-input'
        InvalidArn: Invalid Arn: 'Invalid ARN prefix: arn:none'"#]].assert_eq(&answers.join("\n"));

    let updated = world
        .states
        .update_state_machine()
        .state_machine_arn(&arn)
        .definition(pass("three"));
    updated.send().await.unwrap();
    let described = world
        .states
        .describe_state_machine()
        .state_machine_arn(&arn)
        .send()
        .await
        .unwrap();
    assert_eq!(described.definition, pass("three"));
    let listed = world.states.list_state_machines().send().await.unwrap();
    assert_eq!(listed.state_machines[0].name, "m");
    let valid = world
        .states
        .validate_state_machine_definition()
        .definition(unknown)
        .send()
        .await
        .unwrap();
    assert_eq!((valid.result.as_str(), valid.diagnostics.len()), ("FAIL", 1));
    world
        .states
        .delete_state_machine()
        .state_machine_arn(&arn)
        .send()
        .await
        .unwrap();
    world
        .states
        .delete_state_machine()
        .state_machine_arn(&arn)
        .send()
        .await
        .unwrap();
    assert!(
        world
            .states
            .list_state_machines()
            .send()
            .await
            .unwrap()
            .state_machines
            .is_empty()
    );
}

#[tokio::test]
async fn an_execution_is_stopped_and_its_job_with_it() {
    let world = World::new().await;
    world.bucket_with_data().await;
    let mut parameters = pipeline()["States"]["Training Model"]["Parameters"].clone();
    parameters.as_object_mut().unwrap().remove("TrainingJobName.$");
    parameters["TrainingJobName"] = "long".into();
    parameters["InputDataConfig"][0]["DataSource"]["S3DataSource"] =
        json!({"S3DataType": "S3Prefix", "S3Uri": "s3://data/train/"});
    parameters["HyperParameters"]["epochs"] = "100000000".into();
    let machine = create(
        &world,
        "m",
        single("arn:aws:states:::sagemaker:createTrainingJob.sync", parameters),
    )
    .await;
    let start = |input: &str| {
        world
            .states
            .start_execution()
            .state_machine_arn(&machine)
            .name("e")
            .input(input)
            .send()
    };
    let arn = start("{}").await.unwrap().execution_arn;
    assert_eq!(
        start("{}").await.unwrap().execution_arn,
        arn,
        "asked for again, it is the same"
    );
    expect!["ExecutionAlreadyExists: Execution Already Exists: 'arn:aws:states:us-east-1:000000000000:execution:m:e'"]
        .assert_eq(&told(start("[]").await));
    eventually(|| async {
        let job = world
            .sagemaker
            .describe_training_job()
            .training_job_name("long")
            .send()
            .await
            .ok()?;
        (job.secondary_status().unwrap().as_str() == "Training").then_some(())
    })
    .await;
    world
        .states
        .stop_execution()
        .execution_arn(&arn)
        .error("Enough")
        .cause("of it")
        .send()
        .await
        .unwrap();
    let stopped = ended(&world, &arn).await;
    assert_eq!(stopped.status, ExecutionStatus::Aborted);
    assert_eq!(
        (stopped.error(), stopped.cause()),
        (Some("Enough"), Some("of it"))
    );
    assert_eq!(
        world
            .job_ended("long")
            .await
            .training_job_status()
            .unwrap()
            .as_str(),
        "Stopped"
    );
    let last = eventually(|| async {
        let events = history(&world, &arn).await;
        let types: Vec<_> = events
            .iter()
            .rev()
            .take(2)
            .map(|e| e.r#type().as_str().to_owned())
            .collect();
        (types[0] == "ExecutionAborted").then_some(types)
    })
    .await;
    assert_eq!(last, ["ExecutionAborted", "TaskSubmitted"]);
}
