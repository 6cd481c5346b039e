//! The Task state.

use serde_json::Value;

use super::{State, expression};
use crate::checked::QueryLanguage;

/// A Task state: calls something.
///
/// States Language, section "Task State".
///
/// ```
/// use serde_json::json;
/// use sfn_builder::{Catch, Retry, Task};
///
/// let train = Task::create_training_job_sync()
///     .parameters(json!({"TrainingJobName.$": "$$.Execution.Input['JobName']"}))
///     .retry(Retry::on(["SageMaker.AmazonSageMakerException"]).interval_seconds(5).max_attempts(2))
///     .catch(Catch::all("Failed").result_path("$.Error"))
///     .next("Saving model");
/// ```
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub struct Task(pub(super) State);

shared!(Task: data, assign, parameters, arguments, result_path, result_selector, errors, transition);

impl Task {
    /// A task that calls the resource of this ARN.
    pub fn new(resource_arn: impl Into<String>) -> Self {
        Self(State::of_type("Task")).set("Resource", resource_arn.into())
    }

    /// Step Functions' own integration of a service: `arn:aws:states:::service:action`. The action may end in `.sync`.
    ///
    /// Developer guide, "Integrating services with Step Functions".
    pub fn service(service: &str, action: &str) -> Self {
        Self::new(format!("arn:aws:states:::{service}:{action}"))
    }

    /// Any action of any service: `arn:aws:states:::aws-sdk:service:action`, both names in camel case.
    ///
    /// Developer guide, "Integrating services with Step Functions".
    pub fn aws_sdk(service: &str, action: &str) -> Self {
        Self::new(format!("arn:aws:states:::aws-sdk:{service}:{action}"))
    }

    /// A Lambda function by its ARN.
    ///
    /// Developer guide, "Integrating services with Step Functions".
    pub fn lambda(function_arn: impl Into<String>) -> Self {
        Self::new(function_arn)
    }

    /// Creates a SageMaker training job and waits until it ends; the result is its description.
    pub fn create_training_job_sync() -> Self {
        Self::service("sagemaker", "createTrainingJob.sync")
    }

    /// Creates a SageMaker training job; the result is its ARN.
    pub fn create_training_job() -> Self {
        Self::service("sagemaker", "createTrainingJob")
    }

    /// Creates a SageMaker transform job and waits until it ends; the result is its description.
    pub fn create_transform_job_sync() -> Self {
        Self::service("sagemaker", "createTransformJob.sync")
    }

    /// Creates a SageMaker model.
    pub fn create_model() -> Self {
        Self::service("sagemaker", "createModel")
    }

    /// Creates a SageMaker endpoint configuration.
    pub fn create_endpoint_config() -> Self {
        Self::service("sagemaker", "createEndpointConfig")
    }

    /// Creates a SageMaker endpoint. It returns while the endpoint is still being made: AWS has no `.sync` for it.
    pub fn create_endpoint() -> Self {
        Self::service("sagemaker", "createEndpoint")
    }

    /// Gives a SageMaker endpoint another configuration. It returns at once: AWS has no `.sync` for it.
    pub fn update_endpoint() -> Self {
        Self::service("sagemaker", "updateEndpoint")
    }

    /// Sets `TimeoutSeconds`, 1 to 99,999,999: how long one attempt may take.
    ///
    /// States Language, section "Task State".
    pub fn timeout_seconds(self, seconds: u64) -> Self {
        self.set("TimeoutSeconds", seconds)
    }

    /// Sets `TimeoutSecondsPath`: where in the input the timeout stands.
    ///
    /// States Language, section "Task State".
    pub fn timeout_seconds_path(self, path: impl Into<String>) -> Self {
        self.set("TimeoutSecondsPath", path.into())
    }

    /// Sets `TimeoutSeconds` of a JSONata state to an expression; `{% %}` may be left out.
    ///
    /// States Language, section "Task State".
    pub fn timeout_seconds_expression(self, text: impl Into<String>) -> Self {
        self.set("TimeoutSeconds", expression(text))
    }

    /// Sets `HeartbeatSeconds`, less than `TimeoutSeconds`: how long the task may be silent.
    ///
    /// States Language, section "Task State".
    pub fn heartbeat_seconds(self, seconds: u64) -> Self {
        self.set("HeartbeatSeconds", seconds)
    }

    /// Sets `HeartbeatSecondsPath`: where in the input the heartbeat stands.
    ///
    /// States Language, section "Task State".
    pub fn heartbeat_seconds_path(self, path: impl Into<String>) -> Self {
        self.set("HeartbeatSecondsPath", path.into())
    }

    /// Sets `HeartbeatSeconds` of a JSONata state to an expression; `{% %}` may be left out.
    ///
    /// States Language, section "Task State".
    pub fn heartbeat_seconds_expression(self, text: impl Into<String>) -> Self {
        self.set("HeartbeatSeconds", expression(text))
    }

    /// Sets `RoleArn` in `Credentials`: the role, of another account perhaps, that the task runs as. In a JSONata state it
    /// may be in `{% %}`.
    ///
    /// States Language, section "Task State".
    pub fn credentials(self, role_arn: impl Into<String>) -> Self {
        self.role("RoleArn", role_arn.into())
    }

    /// Sets `RoleArn.$` in `Credentials`: a path or an intrinsic function that yields the role.
    ///
    /// States Language, section "Task State".
    pub fn credentials_path(self, path: impl Into<String>) -> Self {
        self.role("RoleArn.$", path.into())
    }

    /// Adds a retrier, and has every attempt use another name: the parameter of this name gets `-` and the number of the
    /// retry at its end, `-0` for the first attempt. What SageMaker, for one, has given a name to never gives it up, so
    /// that a retried training job must not reuse its name.
    ///
    /// The parameter may be set before or after, as a text, a [`Placeholder`](crate::Placeholder), a path, an intrinsic
    /// function or an expression.
    ///
    /// ```
    /// use sfn_builder::service::sagemaker;
    /// use sfn_builder::{Retry, State};
    ///
    /// let train = sagemaker::create_training_job()
    ///     .sync()
    ///     .parameter("TrainingJobName.$", "$.JobName")
    ///     .retry_with_unique_name("TrainingJobName", Retry::on(["States.TaskFailed"]).max_attempts(1));
    /// assert_eq!(
    ///     State::from(train).to_json()["Parameters"]["TrainingJobName.$"],
    ///     "States.Format('{}-{}', $.JobName, $$.State.RetryCount)"
    /// );
    /// ```
    pub fn retry_with_unique_name(mut self, parameter: impl Into<String>, retry: crate::Retry) -> Self {
        self.0.unique = Some(parameter.into());
        self.retry(retry)
    }

    fn role(mut self, key: &str, role: String) -> Self {
        self.0.remove("Credentials");
        Self(self.0.insert("Credentials", key.to_owned(), role.into()))
    }

    /// Writes the ARN for another partition, such as `aws-cn` or `aws-us-gov`.
    pub fn partition(self, partition: &str) -> Self {
        let resource = self.0.fields.get("Resource").and_then(Value::as_str);
        match resource.and_then(|arn| arn.strip_prefix("arn:")?.split_once(':')) {
            Some((_, rest)) => {
                let arn = format!("arn:{partition}:{rest}");
                self.set("Resource", arn)
            }
            // What is no ARN is a finding of the build.
            None => self,
        }
    }
}
