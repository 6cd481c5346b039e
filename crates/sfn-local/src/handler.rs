//! What tasks call.

use std::fmt;
use std::time::Duration;

use futures::channel::mpsc::UnboundedSender;
use futures::future::BoxFuture;
use serde_json::Value;

use crate::engine::{Signal, TaskId};

/// Does what Task states ask for. The interpreter knows no service: this is where they are.
pub trait TaskHandler: Send + Sync {
    /// Calls the resource of a task and returns its result.
    ///
    /// A task that is waited for (`.sync`, `.waitForTaskToken`, an activity) ends when the job, or who holds the token, has
    /// ended. The `ItemReader` and the `ResultWriter` of a distributed Map state call `s3:getObject`, whose result has the
    /// object's text as `Body`, `s3:listObjectsV2` and `s3:putObject` in the same way.
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

/// One call of a task's resource, as data.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct TaskRequest {
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
    /// How long whoever holds the token may be silent.
    pub heartbeat: Option<Duration>,
    /// The task token, of `.waitForTaskToken` and of activities.
    pub token: Option<String>,
    /// The role that is taken for the call (`Credentials`).
    pub role_arn: Option<String>,
}

/// One call of a task's resource, with ways to tell how it goes.
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
    /// How long whoever holds the token may be silent.
    pub heartbeat: Option<Duration>,
    /// The task token, of `.waitForTaskToken` and of activities.
    pub token: Option<String>,
    /// The role that is taken for the call (`Credentials`).
    pub role_arn: Option<String>,
    /// No other call of the execution has this number; it is the same when the execution is resumed.
    pub number: u64,
    /// The call was under way when the execution was left, and is made again: it may have had its effect already.
    pub resumed: bool,
    /// For a resource that is waited for: reports the answer of the call that made the job or handed the token on.
    pub submitted: Submitted,
    /// Tells of heartbeats, and of workers.
    pub progress: TaskProgress,
}

impl TaskCall {
    pub(crate) fn new(request: TaskRequest, task: TaskId, reports: &UnboundedSender<Signal>) -> Self {
        Self {
            number: task.0,
            ..Self::with(
                request,
                Submitted::new(reports.clone(), task),
                TaskProgress::new(reports.clone(), task),
            )
        }
    }

    fn with(request: TaskRequest, submitted: Submitted, progress: TaskProgress) -> Self {
        Self {
            resource: request.resource,
            parameters: request.parameters,
            state: request.state,
            execution_arn: request.execution_arn,
            state_machine_arn: request.state_machine_arn,
            retry_count: request.retry_count,
            timeout: request.timeout,
            heartbeat: request.heartbeat,
            token: request.token,
            role_arn: request.role_arn,
            number: 0,
            resumed: false,
            submitted,
            progress,
        }
    }

    /// A call outside of an execution: nobody listens to what it reports.
    #[must_use]
    pub fn outside(request: TaskRequest) -> Self {
        Self::with(request, Submitted::ignored(), TaskProgress::ignored())
    }

    /// Whether the resource is to be waited for (`.sync`).
    #[must_use]
    pub fn is_sync(&self) -> bool {
        self.resource.ends_with(".sync") || self.resource.ends_with(".sync:2")
    }

    /// Whether the token is to be waited for (`.waitForTaskToken`).
    #[must_use]
    pub fn is_wait_for_task_token(&self) -> bool {
        self.resource.ends_with(".waitForTaskToken")
    }
}

/// Reports that a job was made, or a token handed on; the history gets a `TaskSubmitted` event.
pub struct Submitted {
    sender: Option<(UnboundedSender<Signal>, TaskId)>,
}

impl Submitted {
    pub(crate) fn new(sender: UnboundedSender<Signal>, task: TaskId) -> Self {
        Self {
            sender: Some((sender, task)),
        }
    }

    /// For handlers that are called outside of an execution: nobody listens.
    #[must_use]
    pub fn ignored() -> Self {
        Self { sender: None }
    }

    /// Reports the answer of the call. Nothing happens for a resource that is not waited for.
    pub fn report(self, output: Value) {
        if let Some((sender, task)) = self.sender {
            // The execution may be over: then nobody wants to know.
            let _ = sender.unbounded_send(Signal::Submitted { task, output });
        }
    }
}

impl fmt::Debug for Submitted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Submitted").finish_non_exhaustive()
    }
}

/// Tells how a task goes that is not over yet.
#[derive(Clone)]
pub struct TaskProgress {
    sender: Option<(UnboundedSender<Signal>, TaskId)>,
}

impl TaskProgress {
    pub(crate) fn new(sender: UnboundedSender<Signal>, task: TaskId) -> Self {
        Self {
            sender: Some((sender, task)),
        }
    }

    /// For handlers that are called outside of an execution: nobody listens.
    #[must_use]
    pub fn ignored() -> Self {
        Self { sender: None }
    }

    /// The task is still at work: the state's heartbeat begins anew.
    pub fn heartbeat(&self) {
        self.send(|task| Signal::Heartbeat { task });
    }

    /// A worker has taken the activity's task.
    pub fn started(&self, worker: Option<String>) {
        self.send(|task| Signal::Started { task, worker });
    }

    fn send(&self, signal: impl FnOnce(TaskId) -> Signal) {
        if let Some((sender, task)) = &self.sender {
            // The execution may be over: then nobody wants to know.
            let _ = sender.unbounded_send(signal(*task));
        }
    }
}

impl fmt::Debug for TaskProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskProgress").finish_non_exhaustive()
    }
}

/// Why a task failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskFailure {
    /// The error's name, such as `SageMaker.ResourceLimitExceededException`: what `Retry` and `Catch` match.
    pub error: String,
    /// A text for people; empty when there is none.
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
