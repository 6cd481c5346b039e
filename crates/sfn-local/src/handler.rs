//! What tasks call.

use std::fmt;
use std::time::Duration;

use futures::channel::oneshot;
use futures::future::BoxFuture;
use serde_json::Value;

/// Does what Task states ask for. The interpreter knows no service: this is where they are.
pub trait TaskHandler: Send + Sync {
    /// Calls the resource of a task and returns its result.
    ///
    /// The future is dropped when the task times out or the execution is stopped.
    fn call(&self, task: TaskCall) -> BoxFuture<'_, Result<Value, TaskFailure>>;
}

/// A function is a handler.
impl<F> TaskHandler for F
where
    F: Fn(TaskCall) -> BoxFuture<'static, Result<Value, TaskFailure>> + Send + Sync,
{
    fn call(&self, task: TaskCall) -> BoxFuture<'_, Result<Value, TaskFailure>> {
        self(task)
    }
}

/// One call of a task's resource.
#[derive(Debug)]
#[non_exhaustive]
pub struct TaskCall {
    /// The full ARN, such as `arn:aws:states:::sagemaker:createTrainingJob.sync`.
    pub resource: String,
    /// The request.
    pub parameters: Value,
    /// The state's name.
    pub state: String,
    /// The execution's ARN.
    pub execution_arn: String,
    /// The ARN of the machine.
    pub state_machine_arn: String,
    /// How often the state has been retried before.
    pub retry_count: u64,
    /// How long the call may take.
    pub timeout: Option<Duration>,
    /// For a `.sync` resource: reports the answer of the call that made the job, while the job runs.
    pub submitted: Submitted,
}

impl TaskCall {
    /// Whether the resource is to be waited for (`.sync`).
    #[must_use]
    pub fn is_sync(&self) -> bool {
        self.resource.ends_with(".sync") || self.resource.ends_with(".sync:2")
    }
}

/// Reports that a job was made; the history gets a `TaskSubmitted` event.
pub struct Submitted {
    sender: Option<oneshot::Sender<Value>>,
}

impl Submitted {
    pub(crate) fn channel() -> (Self, oneshot::Receiver<Value>) {
        let (sender, receiver) = oneshot::channel();
        (Self { sender: Some(sender) }, receiver)
    }

    /// For handlers that are called outside of an execution: nobody listens.
    #[must_use]
    pub fn ignored() -> Self {
        Self { sender: None }
    }

    /// Reports the answer of the call that made the job. Nothing happens for a resource that is not `.sync`.
    pub fn report(self, output: Value) {
        if let Some(sender) = self.sender {
            // The execution may be over: then nobody wants to know.
            let _ = sender.send(output);
        }
    }
}

impl fmt::Debug for Submitted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Submitted").finish_non_exhaustive()
    }
}

/// Why a task failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskFailure {
    /// The error's name, such as `SageMaker.ResourceLimitExceededException`: what `Retry` and `Catch` match.
    pub error: String,
    /// A text for people.
    pub cause: String,
}

impl TaskFailure {
    /// A failure.
    #[must_use]
    pub fn new(error: impl Into<String>, cause: impl Into<String>) -> Self {
        Self {
            error: error.into(),
            cause: cause.into(),
        }
    }
}
