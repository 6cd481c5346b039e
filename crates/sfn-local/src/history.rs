//! The events of an execution, in the service's names and shape.

use jiff::Timestamp;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};

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
    },
    /// `TaskStateAborted`, `WaitStateAborted`: the execution was stopped in this state.
    StateAborted {
        /// The state's type.
        state_type: StateType,
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
    },
    /// A task's call was made.
    TaskStarted {
        /// What is called.
        task: TaskDetails,
    },
    /// A `.sync` task's job exists.
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
        /// The error's name.
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
}

impl StateType {
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
        }
    }
}

impl HistoryEvent {
    /// Its type, such as `TaskStateEntered`.
    #[must_use]
    pub fn type_name(&self) -> String {
        self.event.type_name()
    }

    /// Its JSON in the service's shape: the timestamp is in seconds since 1970, with milliseconds as a fraction.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut map = Map::new();
        #[expect(
            clippy::cast_precision_loss,
            reason = "milliseconds since 1970 fit 53 bits until the year 287396"
        )]
        let seconds = self.timestamp.as_millisecond() as f64 / 1000.0;
        map.insert("timestamp".into(), seconds.into());
        map.insert("type".into(), self.type_name().into());
        map.insert("id".into(), self.id.into());
        map.insert("previousEventId".into(), self.previous_event_id.into());
        if let Some((key, details)) = self.event.details() {
            map.insert(key.to_owned(), details);
        }
        Value::Object(map)
    }
}

impl Serialize for HistoryEvent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_json().serialize(serializer)
    }
}

impl Event {
    /// Its type, such as `TaskStateEntered`.
    #[must_use]
    pub fn type_name(&self) -> String {
        let name = match self {
            Self::StateEntered { state_type, .. } => return format!("{}StateEntered", state_type.as_str()),
            Self::StateExited { state_type, .. } => return format!("{}StateExited", state_type.as_str()),
            Self::StateAborted { state_type } => return format!("{}StateAborted", state_type.as_str()),
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
            Self::ExecutionSucceeded { .. } => "ExecutionSucceeded",
            Self::ExecutionFailed { .. } => "ExecutionFailed",
            Self::ExecutionTimedOut { .. } => "ExecutionTimedOut",
            Self::ExecutionAborted { .. } => "ExecutionAborted",
        };
        name.to_owned()
    }

    /// Whether nothing can follow.
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

    fn details(&self) -> Option<(&'static str, Value)> {
        let whole = || json!({"truncated": false});
        Some(match self {
            Self::ExecutionStarted { input, role_arn } => (
                "executionStartedEventDetails",
                json!({"input": input, "inputDetails": whole(), "roleArn": role_arn}),
            ),
            Self::StateEntered { name, input, .. } => (
                "stateEnteredEventDetails",
                json!({"name": name, "input": input, "inputDetails": whole()}),
            ),
            Self::StateExited { name, output, .. } => (
                "stateExitedEventDetails",
                json!({"name": name, "output": output, "outputDetails": whole()}),
            ),
            Self::StateAborted { .. } | Self::LambdaFunctionStarted => return None,
            Self::TaskScheduled {
                task,
                region,
                parameters,
                timeout_in_seconds,
                heartbeat_in_seconds,
            } => {
                let mut details = task.to_map();
                details.insert("region".into(), region.clone().into());
                details.insert("parameters".into(), parameters.clone().into());
                optional(&mut details, "timeoutInSeconds", *timeout_in_seconds);
                optional(&mut details, "heartbeatInSeconds", *heartbeat_in_seconds);
                ("taskScheduledEventDetails", details.into())
            }
            Self::TaskStarted { task } => ("taskStartedEventDetails", task.to_map().into()),
            Self::TaskSubmitted { task, output } => ("taskSubmittedEventDetails", task.with_output(output)),
            Self::TaskSucceeded { task, output } => ("taskSucceededEventDetails", task.with_output(output)),
            Self::TaskSubmitFailed { task, error, cause } => (
                "taskSubmitFailedEventDetails",
                task.with_error(error, cause.as_deref()),
            ),
            Self::TaskFailed { task, error, cause } => {
                ("taskFailedEventDetails", task.with_error(error, cause.as_deref()))
            }
            Self::TaskTimedOut { task, error, cause } => (
                "taskTimedOutEventDetails",
                task.with_error(error, cause.as_deref()),
            ),
            Self::LambdaFunctionScheduled {
                resource,
                input,
                timeout_in_seconds,
            } => {
                let mut details = Map::new();
                details.insert("resource".into(), resource.clone().into());
                details.insert("input".into(), input.clone().into());
                details.insert("inputDetails".into(), whole());
                optional(&mut details, "timeoutInSeconds", *timeout_in_seconds);
                ("lambdaFunctionScheduledEventDetails", details.into())
            }
            Self::LambdaFunctionSucceeded { output } => (
                "lambdaFunctionSucceededEventDetails",
                json!({"output": output, "outputDetails": whole()}),
            ),
            Self::LambdaFunctionFailed { error, cause } => (
                "lambdaFunctionFailedEventDetails",
                errors(Some(error), cause.as_deref()),
            ),
            Self::LambdaFunctionTimedOut { error, cause } => (
                "lambdaFunctionTimedOutEventDetails",
                errors(Some(error), cause.as_deref()),
            ),
            Self::ExecutionSucceeded { output } => (
                "executionSucceededEventDetails",
                json!({"output": output, "outputDetails": whole()}),
            ),
            Self::ExecutionFailed { error, cause } => (
                "executionFailedEventDetails",
                errors(error.as_deref(), cause.as_deref()),
            ),
            Self::ExecutionTimedOut { error, cause } => (
                "executionTimedOutEventDetails",
                errors(error.as_deref(), cause.as_deref()),
            ),
            Self::ExecutionAborted { error, cause } => (
                "executionAbortedEventDetails",
                errors(error.as_deref(), cause.as_deref()),
            ),
        })
    }
}

impl TaskDetails {
    fn to_map(&self) -> Map<String, Value> {
        Map::from_iter([
            ("resourceType".to_owned(), self.resource_type.clone().into()),
            ("resource".to_owned(), self.resource.clone().into()),
        ])
    }

    fn with_output(&self, output: &str) -> Value {
        let mut details = self.to_map();
        details.insert("output".into(), output.into());
        details.insert("outputDetails".into(), json!({"truncated": false}));
        details.into()
    }

    fn with_error(&self, error: &str, cause: Option<&str>) -> Value {
        let mut details = self.to_map();
        details.insert("error".into(), error.into());
        optional(&mut details, "cause", cause);
        details.into()
    }
}

fn errors(error: Option<&str>, cause: Option<&str>) -> Value {
    let mut details = Map::new();
    optional(&mut details, "error", error);
    optional(&mut details, "cause", cause);
    details.into()
}

fn optional(map: &mut Map<String, Value>, key: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        map.insert(key.to_owned(), value.into());
    }
}

/// The events that end a history whose execution is stopped at `now`: the future of [`run`](crate::run) is dropped
/// first, then these are appended.
///
/// A Task or Wait state that was under way gets its `…StateAborted`; `ExecutionAborted` comes last. An execution that
/// has ended already gets nothing.
#[must_use]
pub fn abort(
    history: &[HistoryEvent],
    now: Timestamp,
    error: Option<String>,
    cause: Option<String>,
) -> Vec<HistoryEvent> {
    if history.last().is_some_and(|event| event.event.is_final()) {
        return Vec::new();
    }
    let mut id = history.last().map_or(0, |event| event.id);
    let mut appended = Vec::new();
    let mut append = |event: Event| {
        id += 1;
        let previous_event_id = if id <= 2 { 0 } else { id - 1 };
        appended.push(HistoryEvent {
            id,
            previous_event_id,
            timestamp: now,
            event,
        });
    };
    let open = history.iter().rev().find_map(|event| match &event.event {
        Event::StateExited { .. } => Some(None),
        Event::StateEntered { state_type, .. } => Some(Some(*state_type)),
        _ => None,
    });
    if let Some(Some(state_type @ (StateType::Task | StateType::Wait))) = open {
        append(Event::StateAborted { state_type });
    }
    append(Event::ExecutionAborted { error, cause });
    appended
}
