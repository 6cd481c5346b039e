//! Why states fail, and the quotas that make them fail.

use serde_json::Value;

use super::thread::Thread;
use crate::data::DataError;
use crate::handler::TaskFailure;

/// The service's quota of a state's input or output, in bytes of JSON text.
const MAX_PAYLOAD: usize = 256 * 1024;
/// How deep a value may nest: as deep as `serde_json` reads. A state that wraps its input and leads to itself would
/// otherwise make values that overflow the stack long before they reach the quota of bytes.
const MAX_DEPTH: usize = 127;

/// Why a state has failed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Failure {
    pub(crate) error: Option<String>,
    pub(crate) cause: Option<String>,
    /// The field whose expression failed: `EvaluationFailed` says so.
    pub(super) evaluation: Option<String>,
    /// Another name to which it answers.
    pub(super) alias: Option<&'static str>,
    /// A state inside has failed, and not the whole execution with it, or the map run; not the state's own fields.
    pub(super) inner: bool,
}

impl Failure {
    pub(crate) fn new(error: impl Into<String>, cause: Option<String>) -> Self {
        Self {
            error: Some(error.into()),
            cause,
            evaluation: None,
            alias: None,
            inner: false,
        }
    }

    /// "Will always cause the execution to fail", says the developer guide, even when it is named.
    pub(super) fn is_fatal(&self) -> bool {
        self.error.as_deref() == Some("States.Runtime")
    }
}

impl From<TaskFailure> for Failure {
    fn from(failure: TaskFailure) -> Self {
        // An error without a cause has none in the history either.
        let cause = (!failure.cause.is_empty()).then_some(failure.cause);
        Self::new(failure.error, cause)
    }
}

/// Sets up a failure of the state whose data could not be computed.
pub(super) fn data_failure(thread: &Thread<'_>, error: DataError) -> Failure {
    let name = thread.state.map_or("", |state| &state.name);
    match error {
        DataError::Path { path, field, input } => runtime(
            thread,
            &format!(
                "The JSONPath '{path}' specified for the field '{field}' could not be found in the input '{input}'"
            ),
        ),
        DataError::TooLarge => too_large(name),
        DataError::NullInput => runtime(
            thread,
            "Unable to apply Path transformation to null or empty input.",
        ),
        DataError::Function { call, reason } => Failure::new(
            "States.IntrinsicFailure",
            Some(cause(
                thread,
                &format!("The function '{call}' had the following error: {reason}"),
            )),
        ),
        DataError::Query { location, reason, .. } => query(thread, location, &reason),
    }
}

pub(super) fn runtime(thread: &Thread<'_>, reason: &str) -> Failure {
    Failure::new("States.Runtime", Some(cause(thread, reason)))
}

pub(super) fn query(thread: &Thread<'_>, location: String, reason: &str) -> Failure {
    Failure {
        evaluation: Some(location),
        ..Failure::new("States.QueryEvaluationError", Some(cause(thread, reason)))
    }
}

pub(super) fn cause(thread: &Thread<'_>, reason: &str) -> String {
    let name = thread.state.map_or("", |state| &state.name);
    let entered = thread.entered;
    format!(
        "An error occurred while executing the state '{name}' (entered at the event id #{entered}). {reason}"
    )
}

/// Whether a list of error names covers an error.
pub(super) fn matches(error_equals: &[String], failure: &Failure) -> bool {
    if failure.is_fatal() {
        return false;
    }
    let error = failure.error.as_deref().unwrap_or_default();
    error_equals.iter().any(|name| match name.as_str() {
        // The guide excepts `States.DataLimitExceeded`; recordings show that it is caught.
        "States.ALL" => true,
        "States.TaskFailed" => error != "States.Timeout",
        name => name == error || failure.alias == Some(name),
    })
}

/// A value's text, if it is not too long for the service, nor so deep that nobody could read it back.
pub(super) fn limited(value: &Value, what: &str) -> Result<String, Failure> {
    if deeper_than(value, MAX_DEPTH) {
        let cause =
            format!("The state/task '{what}' returned a result that nests deeper than {MAX_DEPTH} levels.");
        return Err(Failure::new("States.Runtime", Some(cause)));
    }
    let text = value.to_string();
    if text.len() <= MAX_PAYLOAD {
        return Ok(text);
    }
    Err(too_large(what))
}

pub(super) fn too_large(what: &str) -> Failure {
    let cause = format!(
        "The state/task '{what}' returned a result with a size exceeding the maximum number of bytes service limit."
    );
    Failure::new("States.DataLimitExceeded", Some(cause))
}

fn deeper_than(value: &Value, levels: usize) -> bool {
    match value {
        Value::Array(items) => levels == 0 || items.iter().any(|item| deeper_than(item, levels - 1)),
        Value::Object(map) => levels == 0 || map.values().any(|item| deeper_than(item, levels - 1)),
        _ => false,
    }
}
