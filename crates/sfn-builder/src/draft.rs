//! States as they are written down: setters that cannot fail, values that nobody has judged yet.

use serde_json::{Map, Number, Value, json};

/// The order in which the fields of a state are printed; others follow as they came.
const ORDER: [&str; 27] = [
    "Type",
    "Comment",
    "Resource",
    "InputPath",
    "Parameters",
    "Result",
    "ResultSelector",
    "ResultPath",
    "OutputPath",
    "TimeoutSeconds",
    "TimeoutSecondsPath",
    "HeartbeatSeconds",
    "HeartbeatSecondsPath",
    "Retry",
    "Catch",
    "Choices",
    "Default",
    "Seconds",
    "SecondsPath",
    "Timestamp",
    "TimestampPath",
    "Error",
    "ErrorPath",
    "Cause",
    "CausePath",
    "Next",
    "End",
];

/// A state of any type, unchecked.
#[derive(Debug, Clone, PartialEq)]
pub struct State(Map<String, Value>);

impl State {
    /// A state from its JSON, for what has no setter. What is not supported is refused when the machine is built.
    #[must_use]
    pub fn from_json(fields: Map<String, Value>) -> Self {
        Self(fields)
    }

    /// Its JSON.
    #[must_use]
    pub fn to_json(&self) -> Value {
        Value::Object(self.0.clone())
    }

    fn of_type(name: &str) -> Map<String, Value> {
        let mut map = Map::new();
        map.insert("Type".into(), name.into());
        map
    }

    fn ordered(mut map: Map<String, Value>) -> Self {
        let mut fields = Map::new();
        for name in ORDER {
            if let Some((key, value)) = map.shift_remove_entry(name) {
                fields.insert(key, value);
            }
        }
        fields.extend(map);
        Self(fields)
    }
}

/// Setters that several states share. `$map` is the field that holds the JSON.
macro_rules! shared {
    ($state:ident: $($which:ident),+) => {
        impl $state {
            $(shared!(@ $which);)+

            fn set(mut self, field: &str, value: impl Into<Value>) -> Self {
                self.0.insert(field.to_owned(), value.into());
                self
            }
        }

        impl From<$state> for State {
            fn from(state: $state) -> Self {
                State::ordered(state.0)
            }
        }
    };
    (@ comment) => {
        /// Sets `Comment`.
        pub fn comment(self, comment: impl Into<String>) -> Self {
            self.set("Comment", comment.into())
        }
    };
    (@ paths) => {
        /// Sets `InputPath`: what of the input the state sees; the default is `$`, all of it.
        pub fn input_path(self, path: impl Into<String>) -> Self {
            self.set("InputPath", path.into())
        }

        /// Sets `InputPath` to null: the state sees `{}`.
        pub fn no_input(self) -> Self {
            self.set("InputPath", Value::Null)
        }

        /// Sets `OutputPath`: what of the result the next state gets; the default is `$`, all of it.
        pub fn output_path(self, path: impl Into<String>) -> Self {
            self.set("OutputPath", path.into())
        }

        /// Sets `OutputPath` to null: the next state gets `{}`.
        pub fn no_output(self) -> Self {
            self.set("OutputPath", Value::Null)
        }
    };
    (@ result) => {
        /// Sets `Parameters`: a payload template, in which a key ending in `.$` is computed from the input.
        pub fn parameters(self, template: impl Into<Value>) -> Self {
            self.set("Parameters", template)
        }

        /// Sets `ResultPath`: where in the input the result goes; the default is `$`, in place of it.
        pub fn result_path(self, path: impl Into<String>) -> Self {
            self.set("ResultPath", path.into())
        }

        /// Sets `ResultPath` to null: the result is dropped, the input goes on.
        pub fn discard_result(self) -> Self {
            self.set("ResultPath", Value::Null)
        }
    };
    (@ transition) => {
        /// Goes on to another state.
        pub fn next(mut self, state: impl Into<String>) -> Self {
            self.0.shift_remove("End");
            self.set("Next", state.into())
        }

        /// Ends the machine.
        pub fn end(mut self) -> Self {
            self.0.shift_remove("Next");
            self.set("End", true)
        }
    };
}

/// A Task state: calls something.
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
pub struct Task(Map<String, Value>);

shared!(Task: comment, paths, result, transition);

impl Task {
    /// A task that calls the resource of this ARN.
    pub fn new(resource_arn: impl Into<String>) -> Self {
        Self(State::of_type("Task")).set("Resource", resource_arn.into())
    }

    /// Step Functions' own integration of a service: `arn:aws:states:::service:action`. The action may end in `.sync`.
    pub fn service(service: &str, action: &str) -> Self {
        Self::new(format!("arn:aws:states:::{service}:{action}"))
    }

    /// Any action of any service: `arn:aws:states:::aws-sdk:service:action`, both names in camel case.
    pub fn aws_sdk(service: &str, action: &str) -> Self {
        Self::new(format!("arn:aws:states:::aws-sdk:{service}:{action}"))
    }

    /// A Lambda function by its ARN.
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

    /// Sets `ResultSelector`: a payload template over the task's result.
    pub fn result_selector(self, template: impl Into<Value>) -> Self {
        self.set("ResultSelector", template)
    }

    /// Adds a retrier; the first whose errors match counts.
    pub fn retry(self, retry: Retry) -> Self {
        self.append("Retry", retry.0)
    }

    /// Adds a catcher; the first whose errors match counts.
    pub fn catch(self, catch: Catch) -> Self {
        self.append("Catch", catch.0)
    }

    /// Sets `TimeoutSeconds`, 1 to 99,999,999: how long one attempt may take.
    pub fn timeout_seconds(self, seconds: u64) -> Self {
        self.set("TimeoutSeconds", seconds)
    }

    /// Sets `TimeoutSecondsPath`: where in the input the timeout stands.
    pub fn timeout_seconds_path(self, path: impl Into<String>) -> Self {
        self.set("TimeoutSecondsPath", path.into())
    }

    /// Sets `HeartbeatSeconds`, less than `TimeoutSeconds`: how long the task may be silent.
    pub fn heartbeat_seconds(self, seconds: u64) -> Self {
        self.set("HeartbeatSeconds", seconds)
    }

    fn append(mut self, field: &str, entry: Map<String, Value>) -> Self {
        match self.0.get_mut(field) {
            Some(Value::Array(list)) => list.push(entry.into()),
            _ => {
                self.0.insert(field.to_owned(), Value::Array(vec![entry.into()]));
            }
        }
        self
    }
}

/// A Pass state: hands its input on, or a fixed result.
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub struct Pass(Map<String, Value>);

shared!(Pass: comment, paths, result, transition);

impl Pass {
    /// A state that hands its input on.
    pub fn new() -> Self {
        Self(State::of_type("Pass"))
    }

    /// Sets `Result`: what the state yields.
    pub fn result(self, result: impl Into<Value>) -> Self {
        self.set("Result", result)
    }
}

impl Default for Pass {
    fn default() -> Self {
        Self::new()
    }
}

/// A Choice state: goes where the first condition that holds leads.
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub struct Choice(Map<String, Value>);

shared!(Choice: comment, paths);

impl Choice {
    /// A state without any rule yet.
    pub fn new() -> Self {
        Self(State::of_type("Choice")).set("Choices", json!([]))
    }

    /// Adds a rule.
    pub fn when(mut self, condition: Condition, next: impl Into<String>) -> Self {
        let mut rule = condition.0;
        rule.insert("Next".into(), next.into().into());
        if let Some(Value::Array(rules)) = self.0.get_mut("Choices") {
            rules.push(rule.into());
        }
        self
    }

    /// Sets `Default`: where to go when no condition holds. Without it the execution fails then.
    pub fn default(self, next: impl Into<String>) -> Self {
        self.set("Default", next.into())
    }
}

impl Default for Choice {
    fn default() -> Self {
        Self::new()
    }
}

/// A condition of a [`Choice`].
///
/// ```
/// use sfn_builder::Condition;
///
/// let missing = Condition::string_matches("$.Error.Cause", "*Could not find*");
/// let both = Condition::all([Condition::is_present("$.Error", true), missing]);
/// ```
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub struct Condition(Map<String, Value>);

macro_rules! operators {
    ($($function:ident, $path_function:ident, $name:literal, $path_name:literal, $type:ty;)+) => {
        impl Condition {
            $(
                #[doc = concat!("`", $name, "`.")]
                pub fn $function(variable: impl Into<String>, value: impl Into<$type>) -> Self {
                    Self::test(variable, $name, value.into())
                }

                #[doc = concat!("`", $path_name, "`: the other value stands at a path.")]
                pub fn $path_function(variable: impl Into<String>, path: impl Into<String>) -> Self {
                    Self::test(variable, $path_name, path.into())
                }
            )+
        }
    };
}

operators! {
    string_equals, string_equals_path, "StringEquals", "StringEqualsPath", String;
    string_less_than, string_less_than_path, "StringLessThan", "StringLessThanPath", String;
    string_greater_than, string_greater_than_path, "StringGreaterThan", "StringGreaterThanPath", String;
    string_less_than_equals, string_less_than_equals_path, "StringLessThanEquals", "StringLessThanEqualsPath", String;
    string_greater_than_equals, string_greater_than_equals_path, "StringGreaterThanEquals", "StringGreaterThanEqualsPath", String;
    numeric_equals, numeric_equals_path, "NumericEquals", "NumericEqualsPath", Value;
    numeric_less_than, numeric_less_than_path, "NumericLessThan", "NumericLessThanPath", Value;
    numeric_greater_than, numeric_greater_than_path, "NumericGreaterThan", "NumericGreaterThanPath", Value;
    numeric_less_than_equals, numeric_less_than_equals_path, "NumericLessThanEquals", "NumericLessThanEqualsPath", Value;
    numeric_greater_than_equals, numeric_greater_than_equals_path, "NumericGreaterThanEquals", "NumericGreaterThanEqualsPath", Value;
    boolean_equals, boolean_equals_path, "BooleanEquals", "BooleanEqualsPath", bool;
    timestamp_equals, timestamp_equals_path, "TimestampEquals", "TimestampEqualsPath", String;
    timestamp_less_than, timestamp_less_than_path, "TimestampLessThan", "TimestampLessThanPath", String;
    timestamp_greater_than, timestamp_greater_than_path, "TimestampGreaterThan", "TimestampGreaterThanPath", String;
    timestamp_less_than_equals, timestamp_less_than_equals_path, "TimestampLessThanEquals", "TimestampLessThanEqualsPath", String;
    timestamp_greater_than_equals, timestamp_greater_than_equals_path, "TimestampGreaterThanEquals", "TimestampGreaterThanEqualsPath", String;
}

macro_rules! properties {
    ($($function:ident, $name:literal;)+) => {
        impl Condition {
            $(
                #[doc = concat!("`", $name, "`, with the answer that is wanted.")]
                pub fn $function(variable: impl Into<String>, wanted: bool) -> Self {
                    Self::test(variable, $name, wanted)
                }
            )+
        }
    };
}

properties! {
    is_present, "IsPresent";
    is_null, "IsNull";
    is_string, "IsString";
    is_numeric, "IsNumeric";
    is_boolean, "IsBoolean";
    is_timestamp, "IsTimestamp";
}

impl Condition {
    /// `StringMatches`: `*` stands for any text, `\\*` for itself.
    pub fn string_matches(variable: impl Into<String>, pattern: impl Into<String>) -> Self {
        Self::test(variable, "StringMatches", pattern.into())
    }

    /// `And`: all of them hold.
    pub fn all(conditions: impl IntoIterator<Item = Condition>) -> Self {
        Self::nest(
            "And",
            conditions
                .into_iter()
                .map(|condition| condition.0)
                .collect::<Vec<_>>(),
        )
    }

    /// `Or`: one of them holds.
    pub fn any(conditions: impl IntoIterator<Item = Condition>) -> Self {
        Self::nest(
            "Or",
            conditions
                .into_iter()
                .map(|condition| condition.0)
                .collect::<Vec<_>>(),
        )
    }

    /// `Not`: it does not hold.
    #[expect(
        clippy::should_implement_trait,
        reason = "it takes its operand as an argument, as `all` and `any` do"
    )]
    pub fn not(condition: Condition) -> Self {
        Self::nest("Not", condition.0)
    }

    fn test(variable: impl Into<String>, operator: &str, value: impl Into<Value>) -> Self {
        let mut map = Map::new();
        map.insert("Variable".into(), variable.into().into());
        map.insert(operator.to_owned(), value.into());
        Self(map)
    }

    fn nest(operator: &str, inner: impl Into<Value>) -> Self {
        Self(Map::from_iter([(operator.to_owned(), inner.into())]))
    }
}

/// A Wait state.
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub struct Wait(Map<String, Value>);

shared!(Wait: comment, paths, transition);

impl Wait {
    /// Waits so many seconds, 0 to 99,999,999.
    pub fn seconds(seconds: u64) -> Self {
        Self(State::of_type("Wait")).set("Seconds", seconds)
    }

    /// Waits as many seconds as stand at this path.
    pub fn seconds_path(path: impl Into<String>) -> Self {
        Self(State::of_type("Wait")).set("SecondsPath", path.into())
    }

    /// Waits until a time, such as `2026-01-31T12:00:00Z`.
    pub fn timestamp(timestamp: impl Into<String>) -> Self {
        Self(State::of_type("Wait")).set("Timestamp", timestamp.into())
    }

    /// Waits until the time that stands at this path.
    pub fn timestamp_path(path: impl Into<String>) -> Self {
        Self(State::of_type("Wait")).set("TimestampPath", path.into())
    }
}

/// A Succeed state: ends the machine well.
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub struct Succeed(Map<String, Value>);

shared!(Succeed: comment, paths);

impl Succeed {
    /// A state that ends the machine well.
    pub fn new() -> Self {
        Self(State::of_type("Succeed"))
    }
}

impl Default for Succeed {
    fn default() -> Self {
        Self::new()
    }
}

/// A Fail state: ends the machine badly.
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub struct Fail(Map<String, Value>);

shared!(Fail: comment);

impl Fail {
    /// A state that ends the machine badly.
    pub fn new() -> Self {
        Self(State::of_type("Fail"))
    }

    /// Sets `Error`: the error's name.
    pub fn error(self, error: impl Into<String>) -> Self {
        self.set("Error", error.into())
    }

    /// Sets `ErrorPath`: where in the input the error's name stands.
    pub fn error_path(self, path: impl Into<String>) -> Self {
        self.set("ErrorPath", path.into())
    }

    /// Sets `Cause`: a text for people.
    pub fn cause(self, cause: impl Into<String>) -> Self {
        self.set("Cause", cause.into())
    }

    /// Sets `CausePath`: where in the input the text for people stands.
    pub fn cause_path(self, path: impl Into<String>) -> Self {
        self.set("CausePath", path.into())
    }
}

impl Default for Fail {
    fn default() -> Self {
        Self::new()
    }
}

/// An entry of a Task's `Retry`.
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
    pub fn interval_seconds(self, seconds: u64) -> Self {
        self.set("IntervalSeconds", seconds)
    }

    /// Sets `MaxAttempts`, at most 99,999,999: how often to try again; the default is 3.
    pub fn max_attempts(self, attempts: u64) -> Self {
        self.set("MaxAttempts", attempts)
    }

    /// Sets `BackoffRate`, at least 1.0: by what each delay grows; the default is 2.0.
    pub fn backoff_rate(self, rate: f64) -> Self {
        self.set(
            "BackoffRate",
            Number::from_f64(rate).map_or(Value::Null, Value::Number),
        )
    }

    /// Sets `MaxDelaySeconds`, more than `IntervalSeconds` and less than 31,622,400: what no delay exceeds.
    pub fn max_delay_seconds(self, seconds: u64) -> Self {
        self.set("MaxDelaySeconds", seconds)
    }

    /// Sets `JitterStrategy` to `FULL`: each delay is drawn at random from zero to its full length.
    pub fn full_jitter(self) -> Self {
        self.set("JitterStrategy", "FULL")
    }

    fn set(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.0.insert(field.to_owned(), value.into());
        self
    }
}

/// An entry of a Task's `Catch`.
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
    pub fn result_path(self, path: impl Into<String>) -> Self {
        self.set("ResultPath", path.into())
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

fn error_equals<E: Into<String>>(errors: impl IntoIterator<Item = E>) -> Map<String, Value> {
    let errors: Vec<Value> = errors
        .into_iter()
        .map(|error| Value::String(error.into()))
        .collect();
    Map::from_iter([("ErrorEquals".to_owned(), Value::Array(errors))])
}
