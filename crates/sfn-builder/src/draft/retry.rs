//! Retriers and catchers.

use serde_json::{Map, Number, Value};

/// An entry of a state's `Retry`, of Task, Parallel and Map.
///
/// States Language, section "Errors", "Retrying after error".
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub struct Retry(Map<String, Value>);

impl Retry {
    /// Tries again when one of these errors comes.
    pub fn on<E: Into<String>>(errors: impl IntoIterator<Item = E>) -> Self {
        Self(error_equals(errors))
    }

    /// Tries again when any error comes that can be retried.
    pub fn all() -> Self {
        Self::on(["States.ALL"])
    }

    /// Sets `IntervalSeconds`, 1 to 99,999,999: the first delay; the default is 1.
    ///
    /// States Language, section "Retrying after error".
    pub fn interval_seconds(self, seconds: u64) -> Self {
        self.set("IntervalSeconds", seconds)
    }

    /// Sets `MaxAttempts`, at most 99,999,999: how often to try again; the default is 3.
    ///
    /// States Language, section "Retrying after error".
    pub fn max_attempts(self, attempts: u64) -> Self {
        self.set("MaxAttempts", attempts)
    }

    /// Sets `BackoffRate`, at least 1.0: by what each delay grows; the default is 2.0.
    ///
    /// States Language, section "Retrying after error".
    pub fn backoff_rate(self, rate: f64) -> Self {
        self.set(
            "BackoffRate",
            Number::from_f64(rate).map_or(Value::Null, Value::Number),
        )
    }

    /// Sets `MaxDelaySeconds`, more than `IntervalSeconds` and less than 31,622,400: what no delay exceeds.
    ///
    /// States Language, section "Retrying after error".
    pub fn max_delay_seconds(self, seconds: u64) -> Self {
        self.set("MaxDelaySeconds", seconds)
    }

    /// Sets `JitterStrategy` to `FULL`: each delay is drawn at random from zero to its full length.
    ///
    /// States Language, section "Retrying after error".
    pub fn full_jitter(self) -> Self {
        self.set("JitterStrategy", "FULL")
    }

    /// Sets `JitterStrategy` to `NONE`, the default: each delay has its full length.
    ///
    /// States Language, section "Retrying after error".
    pub fn no_jitter(self) -> Self {
        self.set("JitterStrategy", "NONE")
    }

    /// Sets `Comment`.
    pub fn comment(self, comment: impl Into<String>) -> Self {
        self.set("Comment", comment.into())
    }

    fn set(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.0.insert(field.to_owned(), value.into());
        self
    }
}

impl From<Retry> for Value {
    fn from(retry: Retry) -> Self {
        Self::Object(retry.0)
    }
}

/// An entry of a state's `Catch`.
///
/// States Language, section "Errors", "Fallback states".
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub struct Catch(Map<String, Value>);

impl Catch {
    /// Goes on to `next` when one of these errors comes.
    pub fn on<E: Into<String>>(errors: impl IntoIterator<Item = E>, next: impl Into<String>) -> Self {
        Self(error_equals(errors)).set("Next", next.into())
    }

    /// Goes on to `next` when any error comes that can be caught.
    pub fn all(next: impl Into<String>) -> Self {
        Self::on(["States.ALL"], next)
    }

    /// Sets `ResultPath`: where in the input `{"Error": …, "Cause": …}` goes; the default is `$`, in place of it.
    ///
    /// States Language, section "Input and Output Processing".
    pub fn result_path(self, path: impl Into<String>) -> Self {
        self.set("ResultPath", path.into())
    }

    /// Sets `ResultPath` to null: the error is dropped, the input goes on.
    ///
    /// States Language, section "Input and Output Processing".
    pub fn discard_result(self) -> Self {
        self.set("ResultPath", Value::Null)
    }

    /// Sets `Output` of a JSONata state's catcher: what the next state gets. `$states.errorOutput` is the error.
    ///
    /// States Language, section "Input and Output Processing using JSONata".
    pub fn output(self, output: impl Into<Value>) -> Self {
        self.set("Output", output)
    }

    /// Adds a variable to `Assign`, as the states' own `assign` does; what the state itself assigns does not count then.
    ///
    /// Developer guide, "Passing data between states with variables".
    pub fn assign(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        let entry = (name.into(), value.into());
        match self.0.get_mut("Assign") {
            Some(Value::Object(map)) => {
                map.insert(entry.0, entry.1);
                self
            }
            _ => self.set("Assign", Map::from_iter([entry])),
        }
    }

    /// Sets `Comment`.
    pub fn comment(self, comment: impl Into<String>) -> Self {
        self.set("Comment", comment.into())
    }

    fn set(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.0.insert(field.to_owned(), value.into());
        self
    }
}

impl From<Catch> for Value {
    fn from(catch: Catch) -> Self {
        Self::Object(catch.0)
    }
}

fn error_equals<E: Into<String>>(errors: impl IntoIterator<Item = E>) -> Map<String, Value> {
    let errors: Vec<Value> = errors
        .into_iter()
        .map(|error| Value::String(error.into()))
        .collect();
    // Most have some more fields.
    let mut map = Map::with_capacity(3);
    map.insert("ErrorEquals".to_owned(), Value::Array(errors));
    map
}
