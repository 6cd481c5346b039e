//! Events as JSON: what GetExecutionHistory answers, and back.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{Event, HistoryEvent, Phase, StateType, TaskDetails};

/// Why a JSON object is no event of a history.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the event {id} of the history cannot be read: {reason}")]
pub struct InvalidRecord {
    id: String,
    reason: String,
}

/// The member that only [`HistoryEvent::to_record`] writes.
const RESULT: &str = "mapRunResult";

impl HistoryEvent {
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

    /// The same without inputs, outputs, parameters and variables: the answer with `includeExecutionData` false.
    #[must_use]
    pub fn to_json_without_data(&self) -> Value {
        const DATA: [&str; 7] = [
            "input",
            "inputDetails",
            "output",
            "outputDetails",
            "parameters",
            "assignedVariables",
            "assignedVariablesDetails",
        ];
        let mut event = self.to_json();
        let details = event
            .as_object_mut()
            .into_iter()
            .flat_map(Map::values_mut)
            .filter_map(Value::as_object_mut);
        for members in details {
            members.retain(|member, _| !DATA.contains(&member.as_str()));
        }
        event
    }

    /// Its JSON for keeping: that of [`to_json`](Self::to_json), and what an execution needs besides to go on from its
    /// history. [`from_record`](Self::from_record) reads it.
    #[must_use]
    pub fn to_record(&self) -> Value {
        let mut record = self.to_json();
        if let (Event::MapRunSucceeded { result }, Value::Object(map)) = (&self.event, &mut record) {
            map.insert(RESULT.into(), result.as_str().into());
        }
        record
    }

    /// Reads what [`to_record`](Self::to_record) has made. Times are exact to the millisecond.
    ///
    /// # Errors
    ///
    /// The type is not known, or a member is missing.
    pub fn from_record(record: &Value) -> Result<Self, InvalidRecord> {
        read(record).map_err(|reason| InvalidRecord {
            id: record["id"].to_string(),
            reason,
        })
    }
}

fn read(record: &Value) -> Result<HistoryEvent, String> {
    let number = |member: &str| {
        record[member]
            .as_u64()
            .ok_or_else(|| format!("`{member}` is not a number"))
    };
    let seconds = record["timestamp"]
        .as_f64()
        .ok_or_else(|| "`timestamp` is not a number".to_owned())?;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the conversion saturates, and the timestamp is checked"
    )]
    let timestamp =
        Timestamp::from_millisecond((seconds * 1000.0).round() as i64).map_err(|error| error.to_string())?;
    Ok(HistoryEvent {
        id: number("id")?,
        previous_event_id: number("previousEventId")?,
        timestamp,
        event: event(record)?,
    })
}

/// The details of an event that is read.
struct Details<'a>(&'a Value);

impl Details<'_> {
    fn text(&self, member: &str) -> Result<String, String> {
        self.maybe(member).ok_or_else(|| format!("`{member}` is missing"))
    }

    fn maybe(&self, member: &str) -> Option<String> {
        self.0[member].as_str().map(str::to_owned)
    }

    fn number(&self, member: &str) -> Option<u64> {
        self.0[member].as_u64()
    }

    fn task(&self) -> Result<TaskDetails, String> {
        Ok(TaskDetails {
            resource_type: self.text("resourceType")?,
            resource: self.text("resource")?,
        })
    }

    fn role(&self) -> Option<String> {
        self.0["taskCredentials"]["roleArn"].as_str().map(str::to_owned)
    }
}

fn event(record: &Value) -> Result<Event, String> {
    let name = record["type"].as_str().ok_or("`type` is not a text")?;
    // The one member that ends so; events without details have none.
    let found = record
        .as_object()
        .and_then(|map| map.iter().find(|(member, _)| member.ends_with("EventDetails")));
    let details = Details(found.map_or(&Value::Null, |(_, details)| details));
    if let Some((state_type, what)) = state_event(name) {
        return of_state(state_type, what, &details);
    }
    let (error, cause) = (details.maybe("error"), details.maybe("cause"));
    let required = || error.clone().ok_or_else(|| "`error` is missing".to_owned());
    Ok(match name {
        "ExecutionStarted" => Event::ExecutionStarted {
            input: details.text("input")?,
            role_arn: details.text("roleArn")?,
        },
        "ExecutionSucceeded" => Event::ExecutionSucceeded {
            output: details.text("output")?,
        },
        "ExecutionFailed" => Event::ExecutionFailed { error, cause },
        "ExecutionTimedOut" => Event::ExecutionTimedOut { error, cause },
        "ExecutionAborted" => Event::ExecutionAborted { error, cause },
        "ExecutionRedriven" => Event::ExecutionRedriven {
            redrive_count: details
                .number("redriveCount")
                .ok_or("`redriveCount` is missing")?,
        },
        "MapIterationStarted" | "MapIterationSucceeded" | "MapIterationFailed" | "MapIterationAborted" => {
            Event::MapIteration {
                phase: match name {
                    "MapIterationStarted" => Phase::Started,
                    "MapIterationSucceeded" => Phase::Succeeded,
                    "MapIterationFailed" => Phase::Failed,
                    _ => Phase::Aborted,
                },
                name: details.text("name")?,
                index: details.number("index").ok_or("`index` is missing")?,
            }
        }
        "MapRunStarted" => Event::MapRunStarted {
            map_run_arn: details.text("mapRunArn")?,
        },
        "MapRunSucceeded" => Event::MapRunSucceeded {
            result: record[RESULT]
                .as_str()
                .ok_or("the map run's result is missing")?
                .to_owned(),
        },
        "MapRunFailed" => Event::MapRunFailed {
            error: required()?,
            cause,
        },
        "MapRunAborted" => Event::MapRunAborted,
        "MapRunRedriven" => Event::MapRunRedriven {
            map_run_arn: details.text("mapRunArn")?,
            redrive_count: details
                .number("redriveCount")
                .ok_or("`redriveCount` is missing")?,
        },
        "EvaluationFailed" => Event::EvaluationFailed {
            state: details.text("state")?,
            location: details.maybe("location"),
            error: required()?,
            cause,
        },
        "TaskScheduled" => Event::TaskScheduled {
            task: details.task()?,
            region: details.text("region")?,
            parameters: details.text("parameters")?,
            timeout_in_seconds: details.number("timeoutInSeconds"),
            heartbeat_in_seconds: details.number("heartbeatInSeconds"),
            role_arn: details.role(),
        },
        "TaskStarted" => Event::TaskStarted {
            task: details.task()?,
        },
        "TaskSubmitted" => Event::TaskSubmitted {
            task: details.task()?,
            output: details.text("output")?,
        },
        "TaskSucceeded" => Event::TaskSucceeded {
            task: details.task()?,
            output: details.text("output")?,
        },
        "TaskSubmitFailed" => Event::TaskSubmitFailed {
            task: details.task()?,
            error: required()?,
            cause,
        },
        "TaskFailed" => Event::TaskFailed {
            task: details.task()?,
            error: required()?,
            cause,
        },
        "TaskTimedOut" => Event::TaskTimedOut {
            task: details.task()?,
            error: required()?,
            cause,
        },
        "LambdaFunctionScheduled" => Event::LambdaFunctionScheduled {
            resource: details.text("resource")?,
            input: details.text("input")?,
            timeout_in_seconds: details.number("timeoutInSeconds"),
            role_arn: details.role(),
        },
        "LambdaFunctionStarted" => Event::LambdaFunctionStarted,
        "LambdaFunctionSucceeded" => Event::LambdaFunctionSucceeded {
            output: details.text("output")?,
        },
        "LambdaFunctionFailed" => Event::LambdaFunctionFailed {
            error: required()?,
            cause,
        },
        "LambdaFunctionTimedOut" => Event::LambdaFunctionTimedOut {
            error: required()?,
            cause,
        },
        "ActivityScheduled" => Event::ActivityScheduled {
            resource: details.text("resource")?,
            input: details.text("input")?,
            timeout_in_seconds: details.number("timeoutInSeconds"),
            heartbeat_in_seconds: details.number("heartbeatInSeconds"),
        },
        "ActivityStarted" => Event::ActivityStarted {
            worker_name: details.maybe("workerName"),
        },
        "ActivitySucceeded" => Event::ActivitySucceeded {
            output: details.text("output")?,
        },
        "ActivityFailed" => Event::ActivityFailed {
            error: required()?,
            cause,
        },
        "ActivityTimedOut" => Event::ActivityTimedOut {
            error: required()?,
            cause,
        },
        other => return Err(format!("there is no event type `{other}`")),
    })
}

/// `TaskStateEntered` is `Task` and `Entered`.
fn state_event(name: &str) -> Option<(StateType, &str)> {
    StateType::ALL.into_iter().find_map(|state_type| {
        let what = name.strip_prefix(state_type.as_str())?.strip_prefix("State")?;
        Some((state_type, what))
    })
}

fn of_state(state_type: StateType, what: &str, details: &Details<'_>) -> Result<Event, String> {
    Ok(match what {
        "Entered" => Event::StateEntered {
            state_type,
            name: details.text("name")?,
            input: details.text("input")?,
        },
        "Exited" => Event::StateExited {
            state_type,
            name: details.text("name")?,
            output: details.text("output")?,
            assigned: match &details.0["assignedVariables"] {
                Value::Object(map) => map
                    .iter()
                    .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
                    .collect(),
                _ => Vec::new(),
            },
        },
        "Aborted" => Event::StateAborted { state_type },
        "Started" => Event::StateStarted {
            state_type,
            length: details.number("length"),
        },
        "Succeeded" => Event::StateSucceeded { state_type },
        "Failed" => Event::StateFailed { state_type },
        other => return Err(format!("there is no event type `…State{other}`")),
    })
}

impl Event {
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
            Self::StateExited {
                name,
                output,
                assigned,
                ..
            } => {
                let mut details = json!({"name": name, "output": output, "outputDetails": whole()});
                if !assigned.is_empty() {
                    let assigned = assigned
                        .iter()
                        .map(|(name, value)| (name.clone(), value.clone().into()));
                    details["assignedVariables"] = Value::Object(assigned.collect());
                    details["assignedVariablesDetails"] = whole();
                }
                ("stateExitedEventDetails", details)
            }
            Self::StateStarted {
                length: Some(length), ..
            } => ("mapStateStartedEventDetails", json!({"length": length})),
            Self::StateAborted { .. }
            | Self::StateStarted { .. }
            | Self::StateSucceeded { .. }
            | Self::StateFailed { .. }
            | Self::MapRunSucceeded { .. }
            | Self::MapRunAborted
            | Self::LambdaFunctionStarted => return None,
            Self::MapIteration { phase, name, index } => (
                match phase {
                    Phase::Started => "mapIterationStartedEventDetails",
                    Phase::Succeeded => "mapIterationSucceededEventDetails",
                    Phase::Failed => "mapIterationFailedEventDetails",
                    Phase::Aborted => "mapIterationAbortedEventDetails",
                },
                json!({"name": name, "index": index}),
            ),
            Self::MapRunStarted { map_run_arn } => {
                ("mapRunStartedEventDetails", json!({"mapRunArn": map_run_arn}))
            }
            Self::MapRunFailed { error, cause } => {
                ("mapRunFailedEventDetails", errors(Some(error), cause.as_deref()))
            }
            Self::MapRunRedriven {
                map_run_arn,
                redrive_count,
            } => (
                "mapRunRedrivenEventDetails",
                json!({"mapRunArn": map_run_arn, "redriveCount": redrive_count}),
            ),
            Self::EvaluationFailed {
                state,
                location,
                error,
                cause,
            } => {
                let mut details = json!({"error": error});
                if let Value::Object(map) = &mut details {
                    optional(map, "cause", cause.as_deref());
                    optional(map, "location", location.as_deref());
                    optional(map, "state", Some(state.as_str()));
                }
                ("evaluationFailedEventDetails", details)
            }
            Self::TaskScheduled {
                task,
                region,
                parameters,
                timeout_in_seconds,
                heartbeat_in_seconds,
                role_arn,
            } => {
                let mut details = task.to_map();
                details.insert("region".into(), region.clone().into());
                details.insert("parameters".into(), parameters.clone().into());
                optional(&mut details, "timeoutInSeconds", *timeout_in_seconds);
                optional(&mut details, "heartbeatInSeconds", *heartbeat_in_seconds);
                credentials(&mut details, role_arn.as_deref());
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
                role_arn,
            } => {
                let mut details = scheduled(resource, input);
                optional(&mut details, "timeoutInSeconds", *timeout_in_seconds);
                credentials(&mut details, role_arn.as_deref());
                ("lambdaFunctionScheduledEventDetails", details.into())
            }
            Self::ActivityScheduled {
                resource,
                input,
                timeout_in_seconds,
                heartbeat_in_seconds,
            } => {
                let mut details = scheduled(resource, input);
                optional(&mut details, "timeoutInSeconds", *timeout_in_seconds);
                optional(&mut details, "heartbeatInSeconds", *heartbeat_in_seconds);
                ("activityScheduledEventDetails", details.into())
            }
            Self::ActivityStarted { worker_name } => {
                let mut details = Map::new();
                optional(&mut details, "workerName", worker_name.as_deref());
                ("activityStartedEventDetails", details.into())
            }
            Self::LambdaFunctionSucceeded { output } => {
                ("lambdaFunctionSucceededEventDetails", with_output(output))
            }
            Self::ActivitySucceeded { output } => ("activitySucceededEventDetails", with_output(output)),
            Self::ExecutionSucceeded { output } => ("executionSucceededEventDetails", with_output(output)),
            Self::LambdaFunctionFailed { error, cause } => (
                "lambdaFunctionFailedEventDetails",
                errors(Some(error), cause.as_deref()),
            ),
            Self::LambdaFunctionTimedOut { error, cause } => (
                "lambdaFunctionTimedOutEventDetails",
                errors(Some(error), cause.as_deref()),
            ),
            Self::ActivityFailed { error, cause } => (
                "activityFailedEventDetails",
                errors(Some(error), cause.as_deref()),
            ),
            Self::ActivityTimedOut { error, cause } => (
                "activityTimedOutEventDetails",
                errors(Some(error), cause.as_deref()),
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
            Self::ExecutionRedriven { redrive_count } => (
                "executionRedrivenEventDetails",
                json!({"redriveCount": redrive_count}),
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

fn scheduled(resource: &str, input: &str) -> Map<String, Value> {
    Map::from_iter([
        ("resource".to_owned(), resource.into()),
        ("input".to_owned(), input.into()),
        ("inputDetails".to_owned(), json!({"truncated": false})),
    ])
}

fn with_output(output: &str) -> Value {
    json!({"output": output, "outputDetails": {"truncated": false}})
}

fn credentials(details: &mut Map<String, Value>, role_arn: Option<&str>) {
    optional(
        details,
        "taskCredentials",
        role_arn.map(|role_arn| json!({"roleArn": role_arn})),
    );
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
