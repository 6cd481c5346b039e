//! What tasks can call: SageMaker, through Step Functions' own integrations and through its generic one.

use std::sync::Arc;

use serde_json::{Value, json};
use sfn_local::{BoxFuture, TaskCall, TaskFailure, TaskHandler};
use uuid::Uuid;

use crate::{
    api::ApiError,
    sagemaker::{self, SageMaker},
    time::{iso, millis},
};

/// The tasks.
pub(super) struct Tasks {
    pub(super) sagemaker: Arc<SageMaker>,
}

/// How a resource is called.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Style {
    /// `arn:aws:states:::sagemaker:createModel`
    Optimised,
    /// `arn:aws:states:::sagemaker:createTrainingJob.sync`
    Sync,
    /// `arn:aws:states:::aws-sdk:sagemaker:describeEndpoint`
    Sdk,
}

/// The operations that have an integration of their own.
const OPTIMISED: [&str; 5] = [
    "createTrainingJob",
    "createModel",
    "createEndpointConfig",
    "createEndpoint",
    "updateEndpoint",
];

/// Whether a task of that resource can be run.
pub(super) fn is_known(resource: &str) -> bool {
    parse(resource).is_some()
}

fn parse(resource: &str) -> Option<(Style, String)> {
    // Partitions differ in their second field alone.
    let (_, rest) = resource.strip_prefix("arn:")?.split_once(":states:::")?;
    if let Some(action) = rest.strip_prefix("aws-sdk:sagemaker:") {
        let operation = operation(action);
        return sagemaker::OPERATIONS
            .contains(&operation.as_str())
            .then_some((Style::Sdk, operation));
    }
    let action = rest.strip_prefix("sagemaker:")?;
    match action.strip_suffix(".sync") {
        Some("createTrainingJob") => Some((Style::Sync, "CreateTrainingJob".to_owned())),
        Some(_) => None,
        None => OPTIMISED
            .contains(&action)
            .then(|| (Style::Optimised, operation(action))),
    }
}

/// `createModel` is the operation `CreateModel`.
fn operation(action: &str) -> String {
    let mut chars = action.chars();
    chars
        .next()
        .into_iter()
        .flat_map(char::to_uppercase)
        .chain(chars)
        .collect()
}

impl TaskHandler for Tasks {
    fn call(&self, task: TaskCall) -> BoxFuture<'_, Result<Value, TaskFailure>> {
        Box::pin(async move {
            let Some((style, operation)) = parse(&task.resource) else {
                let cause = format!("The resource {} cannot be called by aws-local.", task.resource);
                return Err(TaskFailure::new("States.Runtime", cause));
            };
            let mut parameters = task.parameters;
            if style == Style::Sdk {
                each_member(&mut parameters, &mut |member, value| {
                    if is_time(member)
                        && let Some(time) = value.as_str().and_then(|t| t.parse::<jiff::Timestamp>().ok())
                    {
                        *value = (time.as_millisecond() as f64 / 1000.0).into();
                    }
                });
            }
            let answer = self
                .sagemaker
                .call(&operation, &parameters)
                .map_err(|error| failure(style, &error))?;
            let mut answer = answer.unwrap_or_else(|| json!({}));
            match style {
                Style::Optimised => Ok(answer),
                Style::Sdk => {
                    // The generic integration prints times, which the service sends as numbers, as ISO 8601 texts.
                    each_member(&mut answer, &mut |member, value| {
                        if is_time(member)
                            && let Some(time) = value.as_f64()
                        {
                            *value = iso(time).into();
                        }
                    });
                    Ok(answer)
                }
                Style::Sync => {
                    let name = parameters["TrainingJobName"]
                        .as_str()
                        .unwrap_or_default()
                        .to_owned();
                    task.submitted.report(answer);
                    self.training(name).await
                }
            }
        })
    }
}

impl Tasks {
    /// Waits for a training job; dropped before it has ended, the job is stopped, as the service does.
    async fn training(&self, name: String) -> Result<Value, TaskFailure> {
        let mut guard = StopOnDrop {
            sagemaker: &self.sagemaker,
            name: Some(name.clone()),
        };
        let described = self.sagemaker.training_job_ended(&name).await;
        guard.name = None;
        let Some(mut described) = described else {
            return Err(TaskFailure::new(
                "States.TaskFailed",
                format!("The training job {name} is gone."),
            ));
        };
        // In these documents dates are numbers of milliseconds.
        each_member(&mut described, &mut |member, value| {
            if is_time(member)
                && let Some(time) = value.as_f64()
            {
                *value = millis(time).into();
            }
        });
        if described["TrainingJobStatus"] == "Completed" {
            return Ok(described);
        }
        Err(TaskFailure::new("States.TaskFailed", described.to_string()))
    }
}

struct StopOnDrop<'a> {
    sagemaker: &'a Arc<SageMaker>,
    name: Option<String>,
}

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            // An error means that it has ended.
            let _ = self
                .sagemaker
                .call("StopTrainingJob", &json!({"TrainingJobName": name}));
        }
    }
}

/// The error as the integration names it, and a cause that holds the service's message.
fn failure(style: Style, error: &ApiError) -> TaskFailure {
    let ApiError {
        status,
        code,
        message,
    } = error;
    let modelled = ["ResourceNotFound", "ResourceInUse", "ResourceLimitExceeded"].contains(&code.as_str());
    let (status, id) = (status.as_u16(), Uuid::new_v4());
    match style {
        Style::Sdk => {
            let name = if modelled {
                format!("SageMaker.{code}Exception")
            } else {
                "SageMaker.SageMakerException".to_owned()
            };
            let cause = format!("{message} (Service: SageMaker, Status Code: {status}, Request ID: {id})");
            TaskFailure::new(name, cause)
        }
        Style::Optimised | Style::Sync => {
            let name = if modelled {
                format!("SageMaker.{code}Exception")
            } else {
                "SageMaker.AmazonSageMakerException".to_owned()
            };
            let cause = format!(
                "{message} (Service: AmazonSageMaker; Status Code: {status}; Error Code: {code}; Request ID: {id}; \
                 Proxy: null)"
            );
            TaskFailure::new(name, cause)
        }
    }
}

/// Members that are moments, in requests and in answers.
fn is_time(member: &str) -> bool {
    ["Time", "Timestamp", "TimeAfter", "TimeBefore"]
        .iter()
        .any(|end| member.ends_with(end))
}

fn each_member(value: &mut Value, change: &mut dyn FnMut(&str, &mut Value)) {
    match value {
        Value::Array(list) => list.iter_mut().for_each(|item| each_member(item, change)),
        Value::Object(map) => {
            for (member, value) in map.iter_mut() {
                change(member, value);
                each_member(value, change);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources() {
        for (resource, known) in [
            (
                "arn:aws:states:::sagemaker:createTrainingJob.sync",
                Some((Style::Sync, "CreateTrainingJob")),
            ),
            (
                "arn:aws:states:::sagemaker:createTrainingJob",
                Some((Style::Optimised, "CreateTrainingJob")),
            ),
            (
                "arn:aws-cn:states:::sagemaker:updateEndpoint",
                Some((Style::Optimised, "UpdateEndpoint")),
            ),
            (
                "arn:aws:states:::aws-sdk:sagemaker:describeEndpoint",
                Some((Style::Sdk, "DescribeEndpoint")),
            ),
            ("arn:aws:states:::sagemaker:createEndpoint.sync", None),
            ("arn:aws:states:::sagemaker:createTransformJob", None),
            (
                "arn:aws:states:::aws-sdk:sagemaker:createTransformJob",
                Some((Style::Sdk, "CreateTransformJob")),
            ),
            ("arn:aws:states:::aws-sdk:sagemaker:createCluster", None),
            ("arn:aws:states:::lambda:invoke", None),
            ("arn:aws:lambda:us-east-1:000000000000:function:f", None),
        ] {
            let parsed = parse(resource);
            assert_eq!(
                parsed.as_ref().map(|(style, name)| (*style, name.as_str())),
                known,
                "{resource}"
            );
        }
    }
}
