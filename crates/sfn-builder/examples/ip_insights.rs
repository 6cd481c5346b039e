//! Builds the machine that trains an IP Insights model, deploys it and waits until its endpoint is in service, and prints
//! it: `cargo run -p sfn-builder --example ip_insights -- [json|dot|mermaid|svg]`.

#![expect(clippy::print_stdout, reason = "it is what the example is for")]

use serde_json::json;
use sfn_builder::{
    Catch, Choice, Condition, Fail, InvalidDefinition, Pass, Retry, StateMachine, Succeed, Task, Wait,
};

fn main() -> Result<(), InvalidDefinition> {
    let machine = machine()?;
    let picture = match std::env::args().nth(1).as_deref() {
        Some("dot") => machine.to_dot(),
        Some("mermaid") => machine.to_mermaid(),
        Some("svg") => machine.to_svg(),
        _ => machine.to_json_string(),
    };
    println!("{picture}");
    Ok(())
}

fn machine() -> Result<StateMachine, InvalidDefinition> {
    let endpoint = json!({ "EndpointName.$": "$$.Execution.Input['EndpointName']" });
    let endpoint_and_config = json!({
        "EndpointName.$": "$$.Execution.Input['EndpointName']",
        "EndpointConfigName.$": "$$.Execution.Input['ModelName']",
    });
    StateMachine::builder("Training Model")
        .comment("Trains an IP Insights model and deploys it behind an endpoint")
        .state(
            "Training Model",
            Task::create_training_job_sync()
                .parameters(json!({
                    "TrainingJobName.$": "$$.Execution.Input['JobName']",
                    "AlgorithmSpecification": {
                        "TrainingImage": "382416733822.dkr.ecr.us-east-1.amazonaws.com/ipinsights:1",
                        "TrainingInputMode": "File",
                    },
                    "HyperParameters": { "num_entity_vectors": "10", "vector_dim": "128" },
                    "InputDataConfig": [{
                        "ChannelName": "train",
                        "ContentType": "text/csv",
                        "DataSource": {
                            "S3DataSource": {
                                "S3DataType": "S3Prefix",
                                "S3DataDistributionType": "FullyReplicated",
                                "S3Uri.$": "$$.Execution.Input['DataLocation']",
                            },
                        },
                    }],
                    "OutputDataConfig": { "S3OutputPath.$": "$$.Execution.Input['ArtifactLocation']" },
                    "ResourceConfig": { "InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 30 },
                    "RoleArn": "arn:aws:iam::000000000000:role/estimator",
                    "StoppingCondition": { "MaxRuntimeInSeconds": 3600 },
                }))
                .retry(Retry::on(["SageMaker.AmazonSageMakerException"]).interval_seconds(10).max_attempts(2))
                .catch(Catch::all("Failed").result_path("$.Error"))
                .next("Saving model"),
        )
        .state(
            "Saving model",
            Task::create_model()
                .parameters(json!({
                    "ModelName.$": "$$.Execution.Input['ModelName']",
                    "ExecutionRoleArn": "arn:aws:iam::000000000000:role/estimator",
                    "PrimaryContainer": {
                        "Image": "382416733822.dkr.ecr.us-east-1.amazonaws.com/ipinsights:1",
                        "ModelDataUrl.$": "$['ModelArtifacts']['S3ModelArtifacts']",
                        "Environment": {},
                    },
                }))
                .catch(Catch::all("Failed").result_path("$.Error"))
                .next("Creating Endpoint Config"),
        )
        .state(
            "Creating Endpoint Config",
            Task::create_endpoint_config()
                .parameters(json!({
                    "EndpointConfigName.$": "$$.Execution.Input['ModelName']",
                    "ProductionVariants": [{
                        "VariantName": "AllTraffic",
                        "ModelName.$": "$$.Execution.Input['ModelName']",
                        "InitialInstanceCount": 1,
                        "InstanceType": "ml.m5.large",
                    }],
                }))
                .catch(Catch::all("Failed").result_path("$.Error"))
                .next("Looking for Endpoint"),
        )
        .state(
            "Looking for Endpoint",
            Task::aws_sdk("sagemaker", "describeEndpoint")
                .parameters(endpoint.clone())
                .catch(Catch::all("Is it missing?").result_path("$.Error"))
                .next("Updating Endpoint"),
        )
        .state(
            "Is it missing?",
            Choice::new()
                .when(Condition::string_matches("$.Error.Cause", "*Could not find*"), "Creating Endpoint")
                .default("Failed"),
        )
        .state(
            "Creating Endpoint",
            Task::create_endpoint()
                .parameters(endpoint_and_config.clone())
                .catch(Catch::all("Failed").result_path("$.Error"))
                .next("Waiting"),
        )
        .state(
            "Updating Endpoint",
            Task::update_endpoint()
                .parameters(endpoint_and_config)
                .catch(Catch::all("Failed").result_path("$.Error"))
                .next("Waiting"),
        )
        .state("Waiting", Wait::seconds(30).next("Describing Endpoint"))
        .state(
            "Describing Endpoint",
            Task::aws_sdk("sagemaker", "describeEndpoint")
                .parameters(endpoint)
                .retry(Retry::all().interval_seconds(5).max_attempts(5).max_delay_seconds(60).full_jitter())
                .catch(Catch::all("Failed").result_path("$.Error"))
                .next("Is it in service?"),
        )
        .state(
            "Is it in service?",
            Choice::new()
                .when(
                    Condition::all([
                        Condition::string_equals("$.EndpointStatus", "InService"),
                        Condition::string_equals_path("$.EndpointConfigName", "$$.Execution.Input['ModelName']"),
                    ]),
                    "In service",
                )
                .when(Condition::string_equals("$.EndpointStatus", "Failed"), "Endpoint failed")
                .default("Waiting"),
        )
        .state(
            "Endpoint failed",
            Pass::new()
                .parameters(json!({ "Error": "EndpointFailed", "Cause.$": "$.FailureReason" }))
                .result_path("$.Error")
                .next("Failed"),
        )
        .state("In service", Succeed::new())
        .state("Failed", Fail::new().error_path("$.Error.Error").cause_path("$.Error.Cause"))
        .build()
}
