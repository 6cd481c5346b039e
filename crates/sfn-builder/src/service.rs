//! Typed calls of the services that Step Functions integrates itself, each with the patterns that AWS has for it.
//!
//! A function gives a value whose methods are those patterns, each of which makes a [`Task`]:
//!
//! | | [`Request`] | [`Job`] | [`Callback`] | [`JobOrCallback`] | [`Execution`] |
//! |---|---|---|---|---|---|
//! | `call()`, the answer to the request | yes | yes | yes | yes | yes |
//! | `sync()`, `.sync`: the end of the job | | yes | | yes | yes |
//! | `sync_json()`, `.sync:2` | | | | | yes |
//! | `wait_for_task_token()`, `.waitForTaskToken` | | | yes | yes | yes |
//!
//! ```
//! use serde_json::json;
//! use sfn_builder::service::{aws_sdk, lambda, sagemaker};
//!
//! let train = sagemaker::create_training_job().sync();
//! let ask = lambda::invoke().wait_for_task_token().parameters(json!({
//!     "FunctionName": "ask-somebody",
//!     "Payload": { "token.$": "$$.Task.Token" }
//! }));
//! let look = aws_sdk("sagemaker", "describeEndpoint").call();
//! ```
//!
//! What AWS does not have does not compile, as no job is behind an endpoint that could be waited for ([`EndpointDeployment`](crate::EndpointDeployment) polls):
//!
//! ```compile_fail,E0599
//! sfn_builder::service::sagemaker::create_endpoint().sync();
//! ```
//!
//! ```compile_fail,E0599
//! sfn_builder::service::sagemaker::create_training_job().wait_for_task_token();
//! ```
//!
//! Written as text, the same is a finding of the build (`UNSUPPORTED_PATTERN`): one table is behind both. What is not in it
//! is called by [`aws_sdk`], [`Task::service`] or [`Task::new`].

use std::borrow::Cow;

use crate::checked::Pattern;
use crate::draft::Task;

/// One action of an integrated service.
pub(crate) struct Action {
    pub(crate) service: &'static str,
    pub(crate) name: &'static str,
    pub(crate) patterns: &'static [Pattern],
}

/// The actions of this service that Step Functions integrates, none when the table does not know the service.
pub(crate) fn actions(service: &str) -> impl Iterator<Item = &'static Action> + Clone {
    ACTIONS.iter().filter(move |action| action.service == service)
}

/// The action of this name of a service that Step Functions integrates.
pub(crate) fn action(service: &str, name: &str) -> Option<&'static Action> {
    // Few services have actions of one name.
    let mut named = ACTIONS.iter().filter(|action| action.name == name);
    named.find(|action| action.service == service)
}

/// The services that Step Functions integrates itself, each once.
pub(crate) fn services() -> impl Iterator<Item = &'static str> {
    let before = std::iter::once("").chain(ACTIONS.iter().map(|action| action.service));
    let services = ACTIONS.iter().map(|action| action.service).zip(before);
    services
        .filter(|(service, before)| service != before)
        .map(|(service, _)| service)
}

macro_rules! kinds {
    ($($(#[$docs:meta])+ $kind:ident: $($pattern:ident $method:ident $suffix:literal $doc:literal),+;)+) => {
        $(
            $(#[$docs])+
            #[derive(Debug, Clone, PartialEq, Eq)]
            #[must_use]
            pub struct $kind {
                service: Cow<'static, str>,
                action: Cow<'static, str>,
            }

            impl $kind {
                const PATTERNS: &'static [Pattern] = &[$(Pattern::$pattern),+];

                fn new(service: impl Into<Cow<'static, str>>, action: impl Into<Cow<'static, str>>) -> Self {
                    Self { service: service.into(), action: action.into() }
                }

                $(
                    #[doc = $doc]
                    pub fn $method(self) -> Task {
                        Task::new(["arn:aws:states:::", &self.service, ":", &self.action, $suffix].concat())
                    }
                )+
            }
        )+
    };
}

kinds! {
    /// An action that answers at once.
    Request:
        RequestResponse call "" "Goes on with the answer to the request.";
    /// An action that starts a job, whose end can be waited for.
    Job:
        RequestResponse call "" "Goes on with the answer to the request.",
        Sync sync ".sync" "Waits until the job ends; the result is its description. A job that fails fails the state.";
    /// An action that can hand a task token on.
    Callback:
        RequestResponse call "" "Goes on with the answer to the request.",
        WaitForTaskToken wait_for_task_token ".waitForTaskToken"
            "Waits until somebody sends the token back, which is `$$.Task.Token` and has to be among the parameters.";
    /// An action that starts a job, whose end can be waited for, and that can hand a task token on.
    JobOrCallback:
        RequestResponse call "" "Goes on with the answer to the request.",
        Sync sync ".sync" "Waits until the job ends; the result is its description. A job that fails fails the state.",
        WaitForTaskToken wait_for_task_token ".waitForTaskToken"
            "Waits until somebody sends the token back, which is `$$.Task.Token` and has to be among the parameters.";
    /// The start of an execution of another state machine.
    Execution:
        RequestResponse call "" "Goes on once the execution has been started.",
        Sync sync ".sync" "Waits until the execution ends; its output is a text in the result.",
        Sync2 sync_json ".sync:2" "Waits until the execution ends; its output is JSON in the result.",
        WaitForTaskToken wait_for_task_token ".waitForTaskToken"
            "Waits until somebody sends the token back, which is `$$.Task.Token` and has to be in the execution's input.";
}

macro_rules! integrations {
    ($($(#[$docs:meta])+ $service:ident = $service_name:literal {
        $($function:ident = $action:literal: $kind:ident, $doc:literal;)+
    })+) => {
        /// Every action of the services whose integrations are fully known here.
        ///
        /// Developer guide, "Integrating optimized services with Step Functions".
        static ACTIONS: &[Action] = &[
            $($(Action { service: $service_name, name: $action, patterns: $kind::PATTERNS },)+)+
        ];

        $(
            $(#[$docs])+
            pub mod $service {
                $(
                    #[doc = $doc]
                    pub fn $function() -> super::$kind {
                        super::$kind::new($service_name, $action)
                    }
                )+
            }
        )+
    };
}

integrations! {
    /// Amazon SageMaker.
    sagemaker = "sagemaker" {
        create_training_job = "createTrainingJob": Job, "Trains a model.";
        create_transform_job = "createTransformJob": Job, "Transforms a data set with a model.";
        create_hyper_parameter_tuning_job = "createHyperParameterTuningJob": Job, "Looks for the best hyperparameters.";
        create_labeling_job = "createLabelingJob": Job, "Has people label data.";
        create_processing_job = "createProcessingJob": Job, "Runs a container over data.";
        create_model = "createModel": Request, "Creates a model.";
        create_endpoint_config = "createEndpointConfig": Request, "Creates an endpoint configuration.";
        create_endpoint = "createEndpoint": Request,
            "Creates an endpoint. It is still being made when the answer comes: [`EndpointDeployment`](crate::EndpointDeployment) waits.";
        update_endpoint = "updateEndpoint": Request,
            "Gives an endpoint another configuration. It is still being updated when the answer comes: [`EndpointDeployment`](crate::EndpointDeployment) waits.";
    }
    /// AWS Lambda.
    lambda = "lambda" {
        invoke = "invoke": Callback, "Calls a function: parameters `FunctionName` and `Payload`; the result has the `Payload`.";
    }
    /// Amazon SNS.
    sns = "sns" {
        publish = "publish": Callback, "Publishes to a topic: parameters `TopicArn` and `Message`.";
    }
    /// Amazon SQS.
    sqs = "sqs" {
        send_message = "sendMessage": Callback, "Sends a message: parameters `QueueUrl` and `MessageBody`.";
    }
    /// Amazon EventBridge.
    events = "events" {
        put_events = "putEvents": Callback, "Puts events on a bus: the parameter `Entries`.";
    }
    /// Amazon DynamoDB.
    dynamodb = "dynamodb" {
        get_item = "getItem": Request, "Reads an item: parameters `TableName` and `Key`.";
        put_item = "putItem": Request, "Writes an item: parameters `TableName` and `Item`.";
        update_item = "updateItem": Request, "Changes an item: parameters `TableName` and `Key`.";
        delete_item = "deleteItem": Request, "Deletes an item: parameters `TableName` and `Key`.";
    }
    /// AWS Batch.
    batch = "batch" {
        submit_job = "submitJob": Job, "Submits a job: parameters `JobName`, `JobDefinition` and `JobQueue`.";
    }
    /// AWS Glue.
    glue = "glue" {
        start_job_run = "startJobRun": Job, "Runs a job: the parameter `JobName`.";
    }
    /// Amazon ECS and Fargate.
    ecs = "ecs" {
        run_task = "runTask": JobOrCallback, "Runs a task: parameters `Cluster` and `TaskDefinition`.";
    }
    /// AWS CodeBuild.
    codebuild = "codebuild" {
        start_build = "startBuild": Job, "Starts a build: the parameter `ProjectName`.";
        start_build_batch = "startBuildBatch": Job, "Starts a batch of builds: the parameter `ProjectName`.";
        retry_build_batch = "retryBuildBatch": Job, "Runs a batch again: the parameter `Id`.";
        stop_build = "stopBuild": Request, "Stops a build: the parameter `Id`.";
        stop_build_batch = "stopBuildBatch": Request, "Stops a batch: the parameter `Id`.";
        batch_delete_builds = "batchDeleteBuilds": Request, "Deletes builds: the parameter `Ids`.";
        batch_get_reports = "batchGetReports": Request, "Reads reports: the parameter `ReportArns`.";
        delete_build_batch = "deleteBuildBatch": Request, "Deletes a batch: the parameter `Id`.";
    }
    /// Amazon API Gateway.
    apigateway = "apigateway" {
        invoke = "invoke": Callback, "Calls an API: parameters `ApiEndpoint` and `Method`.";
    }
    /// Amazon Athena.
    athena = "athena" {
        start_query_execution = "startQueryExecution": Job, "Runs a query: parameters `QueryString` and `WorkGroup`.";
        stop_query_execution = "stopQueryExecution": Request, "Stops a query: the parameter `QueryExecutionId`.";
        get_query_execution = "getQueryExecution": Request, "Describes a query: the parameter `QueryExecutionId`.";
        get_query_results = "getQueryResults": Request, "Reads a query's results: the parameter `QueryExecutionId`.";
    }
    /// Amazon Bedrock.
    bedrock = "bedrock" {
        invoke_model = "invokeModel": Callback, "Runs a model: parameters `ModelId` and `Body`.";
        create_model_customization_job = "createModelCustomizationJob": Job, "Fits a model to data of one's own.";
    }
    /// Amazon Bedrock AgentCore.
    bedrockagentcore = "bedrockagentcore" {
        invoke_harness = "invokeHarness": Request, "Runs an agent: parameters `HarnessArn`, `RuntimeSessionId` and `Messages`.";
    }
    /// Amazon EKS. The guide's table has task tokens for it, its page on the service has none; neither is refused.
    eks = "eks" {
        create_cluster = "createCluster": JobOrCallback, "Creates a cluster.";
        delete_cluster = "deleteCluster": JobOrCallback, "Deletes a cluster.";
        create_fargate_profile = "createFargateProfile": JobOrCallback, "Creates a Fargate profile.";
        delete_fargate_profile = "deleteFargateProfile": JobOrCallback, "Deletes a Fargate profile.";
        create_nodegroup = "createNodegroup": JobOrCallback, "Creates a node group.";
        delete_nodegroup = "deleteNodegroup": JobOrCallback, "Deletes a node group.";
        run_job = "runJob": JobOrCallback, "Runs a job of Kubernetes.";
        call = "call": Callback, "Calls the API of Kubernetes.";
    }
    /// Amazon EMR.
    elasticmapreduce = "elasticmapreduce" {
        create_cluster = "createCluster": Job, "Creates a cluster.";
        set_cluster_termination_protection = "setClusterTerminationProtection": Request, "Locks a cluster, or unlocks it.";
        terminate_cluster = "terminateCluster": Job, "Ends a cluster.";
        add_step = "addStep": Job, "Has a cluster do a step.";
        cancel_step = "cancelStep": Request, "Cancels a step.";
        modify_instance_fleet_by_name = "modifyInstanceFleetByName": Request, "Changes the capacity of an instance fleet.";
        modify_instance_group_by_name = "modifyInstanceGroupByName": Request, "Changes the size of an instance group.";
    }
    /// Amazon EMR on EKS.
    emr_containers = "emr-containers" {
        create_virtual_cluster = "createVirtualCluster": Request, "Creates a virtual cluster.";
        delete_virtual_cluster = "deleteVirtualCluster": Job, "Deletes a virtual cluster.";
        start_job_run = "startJobRun": Job, "Runs a job.";
    }
    /// Amazon EMR Serverless.
    emr_serverless = "emr-serverless" {
        create_application = "createApplication": Job, "Creates an application.";
        start_application = "startApplication": Job, "Starts an application.";
        stop_application = "stopApplication": Job, "Stops an application.";
        delete_application = "deleteApplication": Job, "Deletes an application.";
        start_job_run = "startJobRun": Job, "Runs a job.";
        cancel_job_run = "cancelJobRun": Job, "Cancels a job.";
    }
    /// AWS Glue DataBrew.
    databrew = "databrew" {
        start_job_run = "startJobRun": Job, "Runs a job: the parameter `Name`.";
    }
    /// AWS Elemental MediaConvert.
    mediaconvert = "mediaconvert" {
        create_job = "createJob": Job, "Runs a job: parameters `Role` and `Settings`.";
    }
    /// Any HTTPS endpoint, by a connection of EventBridge.
    http = "http" {
        invoke = "invoke": Request, "Calls an endpoint: parameters `ApiEndpoint`, `Method` and `Authentication`.";
    }
    /// Step Functions itself.
    states = "states" {
        start_execution = "startExecution": Execution, "Starts an execution: parameters `StateMachineArn` and `Input`.";
    }
}

/// Amazon S3, which has no integration of its own: these are actions of the AWS SDK.
pub mod s3 {
    use super::{Callback, aws_sdk};

    /// Any action of S3, in camel case.
    pub fn action(name: &str) -> Callback {
        aws_sdk("s3", name)
    }

    /// Reads an object: parameters `Bucket` and `Key`; the result's `Body` is text.
    pub fn get_object() -> Callback {
        action("getObject")
    }

    /// Writes an object: parameters `Bucket`, `Key` and `Body`.
    pub fn put_object() -> Callback {
        action("putObject")
    }

    /// Copies an object: parameters `Bucket`, `Key` and `CopySource`.
    pub fn copy_object() -> Callback {
        action("copyObject")
    }

    /// Deletes an object: parameters `Bucket` and `Key`.
    pub fn delete_object() -> Callback {
        action("deleteObject")
    }

    /// Describes an object: parameters `Bucket` and `Key`.
    pub fn head_object() -> Callback {
        action("headObject")
    }

    /// Lists objects: parameters `Bucket` and `Prefix`.
    pub fn list_objects_v2() -> Callback {
        action("listObjectsV2")
    }
}

/// Any action of any service by the AWS SDK, both names as Step Functions writes them: the service in lower case, such as
/// `sagemaker`, the action in camel case, such as `describeEndpoint`.
pub fn aws_sdk(service: &str, action: &str) -> Callback {
    Callback::new(format!("aws-sdk:{service}"), action.to_owned())
}
