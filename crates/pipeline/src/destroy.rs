//! Takes down what runs left: endpoint, configurations, models, state machine, and their logs if that is wanted.

use std::time::Duration;

use aws_sdk_sagemaker::types::TrainingJobStatus;
use ipinsights_client::{Deadline, Error as ClientError, Resource};
use serde::Serialize;

use crate::names::PipelineName;
use crate::run::find_state_machine;
use crate::{Clients, Error};

/// What was deleted, and what there still is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Teardown {
    /// The version of this JSON form: 1.
    pub version: u32,
    /// Deleted now.
    pub deleted: Vec<Deleted>,
    /// Not deleted, each with the reason.
    pub left: Vec<Left>,
}

/// Something in the account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Deleted {
    /// What it is: `endpoint`, `model`, …
    pub kind: &'static str,
    /// Its name, ARN or URI.
    pub name: String,
}

/// Something that is still there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Left {
    /// What it is.
    pub kind: &'static str,
    /// Its name, ARN or URI.
    pub name: String,
    /// Why.
    pub reason: String,
}

impl Teardown {
    fn deleted(&mut self, kind: &'static str, name: impl Into<String>) {
        self.deleted.push(Deleted {
            kind,
            name: name.into(),
        });
    }

    fn left(&mut self, kind: &'static str, name: impl Into<String>, reason: impl ToString) {
        self.left.push(Left {
            kind,
            name: name.into(),
            reason: reason.to_string(),
        });
    }
}

/// What becomes of the logs in CloudWatch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Logs {
    /// They stay, and are named.
    Keep,
    /// They are deleted.
    Delete,
}

/// The group of all training jobs in the account, those of other pipelines among them.
const TRAINING_JOBS: &str = "/aws/sagemaker/TrainingJobs";

/// Deletes endpoint, endpoint configurations, models and state machine of the pipeline `name`, and its logs where that is said.
///
/// A training job that runs is stopped. Training jobs and the objects in S3 stay: they cost next to nothing and are the record of what
/// was done. They are named among what is left, and so are logs that stay: they cost something for as long as they are kept. What cannot be
/// deleted does not keep the rest from being deleted. An absent thing is no error.
pub async fn destroy(clients: &Clients, name: &PipelineName, logs: Logs) -> Result<Teardown, Error> {
    // Also the proof of credentials, before anything is touched.
    let account = clients.account().await?;
    let mut teardown = Teardown {
        version: 1,
        deleted: Vec::new(),
        left: Vec::new(),
    };
    machine(clients, name, &mut teardown).await?;
    serving(clients, name, &mut teardown).await?;
    remaining(clients, name, &account, &mut teardown).await?;
    endpoint_logs(clients, name, logs, &mut teardown).await;
    training_logs(clients, name, logs, &mut teardown).await;
    Ok(teardown)
}

async fn machine(clients: &Clients, name: &PipelineName, teardown: &mut Teardown) -> Result<(), Error> {
    let Some(arn) = find_state_machine(clients, &name.state_machine()).await? else {
        return Ok(());
    };
    match clients
        .sfn
        .delete_state_machine()
        .state_machine_arn(&arn)
        .send()
        .await
    {
        Ok(_) => teardown.deleted("state machine", arn),
        Err(error) => teardown.left(
            "state machine",
            arn,
            ClientError::from_sdk("DeleteStateMachine", error),
        ),
    }
    Ok(())
}

/// The endpoint, then every configuration and model that a run made, bound to it or forgotten.
async fn serving(clients: &Clients, name: &PipelineName, teardown: &mut Teardown) -> Result<(), Error> {
    let mut resources = vec![Resource::Endpoint(name.endpoint())];
    let mut pages = clients
        .sagemaker
        .list_endpoint_configs()
        .name_contains(name.as_str())
        .into_paginator()
        .send();
    while let Some(page) = pages.next().await {
        let page = page.map_err(|error| ClientError::from_sdk("ListEndpointConfigs", error))?;
        let names = page
            .endpoint_configs
            .into_iter()
            .flatten()
            .filter_map(|config| config.endpoint_config_name);
        for config in names.filter(|config| name.owns(config)) {
            resources.push(Resource::EndpointConfig(config.parse()?));
        }
    }
    let mut pages = clients
        .sagemaker
        .list_models()
        .name_contains(name.as_str())
        .into_paginator()
        .send();
    while let Some(page) = pages.next().await {
        let page = page.map_err(|error| ClientError::from_sdk("ListModels", error))?;
        let names = page
            .models
            .into_iter()
            .flatten()
            .filter_map(|model| model.model_name);
        for model in names.filter(|model| name.owns(model)) {
            resources.push(Resource::Model(model.parse()?));
        }
    }
    let deadline = Deadline {
        poll: Duration::from_millis(500),
        timeout: Duration::from_secs(10 * 60),
    };
    let done = clients
        .ip_insights
        .teardown_of(&resources, deadline, &mut |_| {})
        .await;
    for resource in done.deleted {
        let (kind, name) = parts(&resource);
        teardown.deleted(kind, name);
    }
    for (resource, error) in done.left {
        let (kind, name) = parts(&resource);
        teardown.left(kind, name, error);
    }
    Ok(())
}

fn parts(resource: &Resource) -> (&'static str, String) {
    match resource {
        Resource::Endpoint(name) => ("endpoint", name.to_string()),
        Resource::EndpointConfig(name) => ("endpoint configuration", name.to_string()),
        Resource::Model(name) => ("model", name.to_string()),
        other => ("resource", other.to_string()),
    }
}

const KEPT: &str = "kept as the record of what was trained; it costs nothing";

/// Stops a training job that runs; what there is to say of it then.
async fn stop(clients: &Clients, job: &str) -> Result<String, Error> {
    Ok(match clients.ip_insights.stop_training(&job.parse()?).await {
        Ok(()) => "it was running and is stopped; it costs money until it has ended".to_owned(),
        // It has ended meanwhile.
        Err(ClientError::Invalid(_)) => KEPT.to_owned(),
        Err(error) => format!("it runs and costs money until it ends: {error}"),
    })
}

async fn remaining(
    clients: &Clients,
    name: &PipelineName,
    account: &str,
    teardown: &mut Teardown,
) -> Result<(), Error> {
    let mut pages = clients
        .sagemaker
        .list_training_jobs()
        .name_contains(name.as_str())
        .into_paginator()
        .send();
    while let Some(page) = pages.next().await {
        let page = page.map_err(|error| ClientError::from_sdk("ListTrainingJobs", error))?;
        for summary in page.training_job_summaries.into_iter().flatten() {
            let Some(job) = summary.training_job_name.filter(|job| name.owns(job)) else {
                continue;
            };
            let runs = summary.training_job_status == Some(TrainingJobStatus::InProgress);
            let reason = if runs {
                stop(clients, &job).await?
            } else {
                KEPT.to_owned()
            };
            teardown.left("training job", job, reason);
        }
    }
    let bucket = name.bucket(clients.region(), account);
    match clients.s3.head_bucket().bucket(&bucket).send().await {
        Ok(_) => {
            let uri = format!("s3://{bucket}/{name}/");
            teardown.left(
                "objects",
                uri,
                "rows and models are kept; delete them by hand when nobody needs them",
            );
        }
        Err(error)
            if error
                .raw_response()
                .is_some_and(|response| response.status().as_u16() == 404) => {}
        Err(error) => {
            teardown.left(
                "objects",
                format!("s3://{bucket}/"),
                ClientError::from_sdk("HeadBucket", error),
            );
        }
    }
    Ok(())
}

const GROUP: &str = "log group";
const STREAM: &str = "log stream";

/// The group that SageMaker made for the endpoint, which is nobody else's.
async fn endpoint_logs(clients: &Clients, name: &PipelineName, logs: Logs, teardown: &mut Teardown) {
    let group = format!("/aws/sagemaker/Endpoints/{}", name.endpoint());
    let found = clients
        .logs
        .describe_log_groups()
        .log_group_name_prefix(&group)
        .send()
        .await;
    let found = match found {
        Ok(found) => found,
        Err(error) => {
            let error = ClientError::from_sdk("DescribeLogGroups", error);
            return teardown.left(GROUP, group, format!("it may be there: {error}"));
        }
    };
    // Names that go on are those of other endpoints, and come after it.
    let mut groups = found.log_groups.into_iter().flatten();
    let Some(there) = groups.find(|there| there.log_group_name.as_deref() == Some(&group)) else {
        return;
    };
    if logs == Logs::Keep {
        let days = there
            .retention_in_days
            .map_or("for ever".to_owned(), |days| format!("for {days} days"));
        let size = match there.stored_bytes {
            Some(bytes) if bytes > 0 => format!(", {bytes} bytes by now"),
            _ => String::new(),
        };
        let reason = format!("kept {days}{size}, which costs money in an account; --logs deletes it");
        return teardown.left(GROUP, group, reason);
    }
    match clients
        .logs
        .delete_log_group()
        .log_group_name(&group)
        .send()
        .await
    {
        Ok(_) => teardown.deleted(GROUP, group),
        Err(error) => teardown.left(GROUP, group, ClientError::from_sdk("DeleteLogGroup", error)),
    }
}

/// The streams of the pipeline's jobs, in a group that all jobs share.
async fn training_logs(clients: &Clients, name: &PipelineName, logs: Logs, teardown: &mut Teardown) {
    let mut streams = Vec::new();
    let mut pages = clients
        .logs
        .describe_log_streams()
        .log_group_name(TRAINING_JOBS)
        .log_stream_name_prefix(format!("{name}-"))
        .into_paginator()
        .send();
    while let Some(page) = pages.next().await {
        let page = match page {
            Ok(page) => page,
            Err(error) => match ClientError::from_sdk("DescribeLogStreams", error) {
                ClientError::NotFound(_) => break,
                error => {
                    let reason = format!("streams of its jobs may be there: {error}");
                    return teardown.left(GROUP, TRAINING_JOBS, reason);
                }
            },
        };
        let names = page
            .log_streams
            .into_iter()
            .flatten()
            .filter_map(|stream| stream.log_stream_name);
        // A stream is called JOB/algo-1-MOMENT.
        streams.extend(names.filter(|stream| stream.split('/').next().is_some_and(|job| name.owns(job))));
    }
    if streams.is_empty() {
        return;
    }
    if logs == Logs::Keep {
        let what = match streams.len() {
            1 => "the stream of one job is".to_owned(),
            jobs => format!("{jobs} streams of its jobs are"),
        };
        let reason = format!(
            "{what} kept for as long as the group keeps them, which costs money in an account; --logs deletes them"
        );
        return teardown.left(GROUP, TRAINING_JOBS, reason);
    }
    for stream in streams {
        let deletion = clients
            .logs
            .delete_log_stream()
            .log_group_name(TRAINING_JOBS)
            .log_stream_name(&stream);
        let place = format!("{TRAINING_JOBS}: {stream}");
        match deletion.send().await {
            Ok(_) => teardown.deleted(STREAM, place),
            Err(error) => teardown.left(STREAM, place, ClientError::from_sdk("DeleteLogStream", error)),
        }
    }
}
