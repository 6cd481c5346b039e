//! The events of an execution, in the service's names and shape.
//!
//! API reference, "HistoryEvent".

mod abort;
mod json;

use jiff::Timestamp;
use serde::{Serialize, Serializer};

pub use self::abort::abort;
pub use self::json::InvalidRecord;

/// One event of an execution's history. It serializes to what GetExecutionHistory answers.
#[derive(Debug, Clone, PartialEq)]
pub struct HistoryEvent {
    /// Counts from 1, without gaps.
    pub id: u64,
    /// The event that led to this one; 0 for the first two.
    pub previous_event_id: u64,
    /// When.
    pub timestamp: Timestamp,
    /// What.
    pub event: Event,
}

impl HistoryEvent {
    /// Its type, such as `TaskStateEntered`.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        self.event.type_name()
    }
}

impl Serialize for HistoryEvent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_json().serialize(serializer)
    }
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// The execution began.
    ExecutionStarted {
        /// JSON text.
        input: String,
        /// The role it runs as.
        role_arn: String,
    },
    /// `…StateEntered`.
    StateEntered {
        /// The state's type.
        state_type: StateType,
        /// The state's name.
        name: String,
        /// JSON text.
        input: String,
    },
    /// `…StateExited`.
    StateExited {
        /// The state's type.
        state_type: StateType,
        /// The state's name.
        name: String,
        /// JSON text.
        output: String,
        /// The variables that the state assigned: names, and values as JSON text.
        assigned: Vec<(String, String)>,
    },
    /// `TaskStateAborted` and its kind: the state was stopped because one beside it failed, whose last event this follows. Only
    /// Task, Wait, Parallel and Map have it.
    StateAborted {
        /// The state's type.
        state_type: StateType,
    },
    /// `ParallelStateStarted`, `MapStateStarted`.
    StateStarted {
        /// The state's type.
        state_type: StateType,
        /// How many items there are; only of Map.
        length: Option<u64>,
    },
    /// `ParallelStateSucceeded`, `MapStateSucceeded`.
    StateSucceeded {
        /// The state's type.
        state_type: StateType,
    },
    /// `ParallelStateFailed`, `MapStateFailed`.
    StateFailed {
        /// The state's type.
        state_type: StateType,
    },
    /// `MapIterationStarted`, `…Succeeded`, `…Failed`, `…Aborted`.
    MapIteration {
        /// What became of it.
        phase: Phase,
        /// The Map state's name.
        name: String,
        /// Counts from 0.
        index: u64,
    },
    /// A distributed Map state began to run its items.
    MapRunStarted {
        /// The map run's ARN.
        map_run_arn: String,
    },
    /// The map run ended well.
    MapRunSucceeded {
        /// JSON text: the Map state's result. The service's events do not have it; [`HistoryEvent::to_record`] keeps it,
        /// so that an execution can go on from here.
        result: String,
    },
    /// The map run failed.
    MapRunFailed {
        /// The error's name.
        error: String,
        /// A text for people.
        cause: Option<String>,
    },
    /// The map run was stopped. Histories of the service may have it; it is read, and never written: no recording shows where in
    /// a history it would stand.
    MapRunAborted,
    /// The map run was started again, in a redriven execution.
    MapRunRedriven {
        /// The map run's ARN.
        map_run_arn: String,
        /// How often by now.
        redrive_count: u64,
    },
    /// A JSONata expression failed.
    EvaluationFailed {
        /// The state's name.
        state: String,
        /// The field that has the expression, such as `Output/result`.
        location: Option<String>,
        /// The error's name.
        error: String,
        /// A text for people.
        cause: Option<String>,
    },
    /// A task's call is about to be made.
    TaskScheduled {
        /// What is called.
        task: TaskDetails,
        /// Where.
        region: String,
        /// JSON text.
        parameters: String,
        /// How long the task may take, when the state says so.
        timeout_in_seconds: Option<u64>,
        /// How long the task may be silent, when the state says so.
        heartbeat_in_seconds: Option<u64>,
        /// The role that is taken for the call, when the state says so.
        role_arn: Option<String>,
    },
    /// A task's call was made.
    TaskStarted {
        /// What is called.
        task: TaskDetails,
    },
    /// A `.sync` task's job exists, or a task token was handed on.
    TaskSubmitted {
        /// What is called.
        task: TaskDetails,
        /// JSON text: the answer of the call that made the job.
        output: String,
    },
    /// A `.sync` task's job could not be made.
    TaskSubmitFailed {
        /// What is called.
        task: TaskDetails,
        /// The error's name.
        error: String,
        /// A text for people.
        cause: Option<String>,
    },
    /// A task ended well.
    TaskSucceeded {
        /// What is called.
        task: TaskDetails,
        /// JSON text.
        output: String,
    },
    /// A task failed.
    TaskFailed {
        /// What is called.
        task: TaskDetails,
        /// The error's name.
        error: String,
        /// A text for people.
        cause: Option<String>,
    },
    /// A task took too long.
    TaskTimedOut {
        /// What is called.
        task: TaskDetails,
        /// The error's name.
        error: String,
        /// A text for people.
        cause: Option<String>,
    },
    /// A Lambda function is about to be called.
    LambdaFunctionScheduled {
        /// The function's ARN.
        resource: String,
        /// JSON text.
        input: String,
        /// How long the task may take, when the state says so.
        timeout_in_seconds: Option<u64>,
        /// The role that is taken for the call, when the state says so.
        role_arn: Option<String>,
    },
    /// A Lambda function was called.
    LambdaFunctionStarted,
    /// A Lambda function ended well.
    LambdaFunctionSucceeded {
        /// JSON text.
        output: String,
    },
    /// A Lambda function failed.
    LambdaFunctionFailed {
        /// The error's name.
        error: String,
        /// A text for people.
        cause: Option<String>,
    },
    /// A Lambda function took too long.
    LambdaFunctionTimedOut {
        /// The error's name.
        error: String,
        /// A text for people.
        cause: Option<String>,
    },
    /// An activity's task waits for a worker.
    ActivityScheduled {
        /// The activity's ARN.
        resource: String,
        /// JSON text.
        input: String,
        /// How long the task may take, when the state says so.
        timeout_in_seconds: Option<u64>,
        /// How long the worker may be silent, when the state says so.
        heartbeat_in_seconds: Option<u64>,
    },
    /// A worker has taken the activity's task.
    ActivityStarted {
        /// The worker's name, if it gave one.
        worker_name: Option<String>,
    },
    /// An activity's task ended well.
    ActivitySucceeded {
        /// JSON text.
        output: String,
    },
    /// An activity's task failed.
    ActivityFailed {
        /// The error's name.
        error: String,
        /// A text for people.
        cause: Option<String>,
    },
    /// An activity's task took too long.
    ActivityTimedOut {
        /// The error's name.
        error: String,
        /// A text for people.
        cause: Option<String>,
    },
    /// The execution ended well.
    ExecutionSucceeded {
        /// JSON text.
        output: String,
    },
    /// The execution failed.
    ExecutionFailed {
        /// The error's name.
        error: Option<String>,
        /// A text for people.
        cause: Option<String>,
    },
    /// The execution took longer than its machine allows.
    ExecutionTimedOut {
        /// The error's name: `States.Timeout`.
        error: Option<String>,
        /// A text for people.
        cause: Option<String>,
    },
    /// The execution was stopped.
    ExecutionAborted {
        /// The error's name, as given by who stopped it.
        error: Option<String>,
        /// A text for people, as given by who stopped it.
        cause: Option<String>,
    },
    /// The execution, which had not ended well, goes on from where it failed.
    ExecutionRedriven {
        /// How often by now.
        redrive_count: u64,
    },
}

/// What becomes of an iteration of an inline Map state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the ends of the event types' names")]
pub enum Phase {
    Started,
    Succeeded,
    Failed,
    Aborted,
}

/// What a task calls, as the history says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskDetails {
    /// `sagemaker`, or `aws-sdk:sagemaker`.
    pub resource_type: String,
    /// `createTrainingJob.sync`.
    pub resource: String,
}

/// The type of a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the names of the language's state types")]
pub enum StateType {
    Task,
    Pass,
    Choice,
    Wait,
    Succeed,
    Fail,
    Parallel,
    Map,
}

impl StateType {
    pub(crate) const ALL: [Self; 8] = [
        Self::Task,
        Self::Pass,
        Self::Choice,
        Self::Wait,
        Self::Succeed,
        Self::Fail,
        Self::Parallel,
        Self::Map,
    ];

    /// The value of `Type`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Task => "Task",
            Self::Pass => "Pass",
            Self::Choice => "Choice",
            Self::Wait => "Wait",
            Self::Succeed => "Succeed",
            Self::Fail => "Fail",
            Self::Parallel => "Parallel",
            Self::Map => "Map",
        }
    }

    fn entered(self) -> &'static str {
        match self {
            Self::Task => "TaskStateEntered",
            Self::Pass => "PassStateEntered",
            Self::Choice => "ChoiceStateEntered",
            Self::Wait => "WaitStateEntered",
            Self::Succeed => "SucceedStateEntered",
            Self::Fail => "FailStateEntered",
            Self::Parallel => "ParallelStateEntered",
            Self::Map => "MapStateEntered",
        }
    }

    fn exited(self) -> &'static str {
        match self {
            Self::Task => "TaskStateExited",
            Self::Pass => "PassStateExited",
            Self::Choice => "ChoiceStateExited",
            Self::Wait => "WaitStateExited",
            Self::Succeed => "SucceedStateExited",
            Self::Fail => "FailStateExited",
            Self::Parallel => "ParallelStateExited",
            Self::Map => "MapStateExited",
        }
    }

    fn aborted(self) -> &'static str {
        match self {
            Self::Wait => "WaitStateAborted",
            Self::Parallel => "ParallelStateAborted",
            Self::Map => "MapStateAborted",
            _ => "TaskStateAborted",
        }
    }

    /// Of Parallel and Map: which of the two names applies.
    fn of_two(self, parallel: &'static str, map: &'static str) -> &'static str {
        if self == Self::Map { map } else { parallel }
    }
}

impl Event {
    /// Its type, such as `TaskStateEntered`.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::StateEntered { state_type, .. } => state_type.entered(),
            Self::StateExited { state_type, .. } => state_type.exited(),
            Self::StateAborted { state_type } => state_type.aborted(),
            Self::StateStarted { state_type, .. } => {
                state_type.of_two("ParallelStateStarted", "MapStateStarted")
            }
            Self::StateSucceeded { state_type } => {
                state_type.of_two("ParallelStateSucceeded", "MapStateSucceeded")
            }
            Self::StateFailed { state_type } => state_type.of_two("ParallelStateFailed", "MapStateFailed"),
            Self::MapIteration { phase, .. } => match phase {
                Phase::Started => "MapIterationStarted",
                Phase::Succeeded => "MapIterationSucceeded",
                Phase::Failed => "MapIterationFailed",
                Phase::Aborted => "MapIterationAborted",
            },
            Self::MapRunStarted { .. } => "MapRunStarted",
            Self::MapRunSucceeded { .. } => "MapRunSucceeded",
            Self::MapRunFailed { .. } => "MapRunFailed",
            Self::MapRunAborted => "MapRunAborted",
            Self::MapRunRedriven { .. } => "MapRunRedriven",
            Self::EvaluationFailed { .. } => "EvaluationFailed",
            Self::ExecutionStarted { .. } => "ExecutionStarted",
            Self::TaskScheduled { .. } => "TaskScheduled",
            Self::TaskStarted { .. } => "TaskStarted",
            Self::TaskSubmitted { .. } => "TaskSubmitted",
            Self::TaskSubmitFailed { .. } => "TaskSubmitFailed",
            Self::TaskSucceeded { .. } => "TaskSucceeded",
            Self::TaskFailed { .. } => "TaskFailed",
            Self::TaskTimedOut { .. } => "TaskTimedOut",
            Self::LambdaFunctionScheduled { .. } => "LambdaFunctionScheduled",
            Self::LambdaFunctionStarted => "LambdaFunctionStarted",
            Self::LambdaFunctionSucceeded { .. } => "LambdaFunctionSucceeded",
            Self::LambdaFunctionFailed { .. } => "LambdaFunctionFailed",
            Self::LambdaFunctionTimedOut { .. } => "LambdaFunctionTimedOut",
            Self::ActivityScheduled { .. } => "ActivityScheduled",
            Self::ActivityStarted { .. } => "ActivityStarted",
            Self::ActivitySucceeded { .. } => "ActivitySucceeded",
            Self::ActivityFailed { .. } => "ActivityFailed",
            Self::ActivityTimedOut { .. } => "ActivityTimedOut",
            Self::ExecutionSucceeded { .. } => "ExecutionSucceeded",
            Self::ExecutionFailed { .. } => "ExecutionFailed",
            Self::ExecutionTimedOut { .. } => "ExecutionTimedOut",
            Self::ExecutionAborted { .. } => "ExecutionAborted",
            Self::ExecutionRedriven { .. } => "ExecutionRedriven",
        }
    }

    /// Whether nothing can follow, a redrive aside.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(
            self,
            Self::ExecutionSucceeded { .. }
                | Self::ExecutionFailed { .. }
                | Self::ExecutionTimedOut { .. }
                | Self::ExecutionAborted { .. }
        )
    }
}
