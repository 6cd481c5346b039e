//! States as they are written down: setters that cannot fail, values that nobody has judged yet.

use serde_json::{Map, Value};

use crate::checked::QueryLanguage;
use crate::finding::{Code, Finding};

/// The order in which the fields of a state are printed; others follow as they came.
const ORDER: [&str; 47] = [
    "Type",
    "Comment",
    "QueryLanguage",
    "Resource",
    "Credentials",
    "InputPath",
    "ItemsPath",
    "Items",
    "ItemReader",
    "ItemSelector",
    "ItemBatcher",
    "Parameters",
    "Arguments",
    "Branches",
    "ItemProcessor",
    "Result",
    "ResultWriter",
    "ResultSelector",
    "ResultPath",
    "OutputPath",
    "Assign",
    "Output",
    "Label",
    "MaxConcurrency",
    "MaxConcurrencyPath",
    "ToleratedFailurePercentage",
    "ToleratedFailurePercentagePath",
    "ToleratedFailureCount",
    "ToleratedFailureCountPath",
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
///
/// States Language, section "State Types".
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    fields: Map<String, Value>,
    /// What JSON cannot hold, such as two states of a branch with one name; pointers begin below the state.
    found: Vec<Finding>,
    /// The parameter that gets another value for each attempt.
    unique: Option<String>,
}

impl State {
    /// A state from its JSON, for what has no setter. What is not supported is refused when the machine is built.
    #[must_use]
    pub fn from_json(fields: Map<String, Value>) -> Self {
        Self::new(fields)
    }

    fn new(fields: Map<String, Value>) -> Self {
        Self {
            fields,
            found: Vec::new(),
            unique: None,
        }
    }

    /// Its JSON.
    #[must_use]
    pub fn to_json(&self) -> Value {
        Value::Object(self.fields.clone())
    }

    /// A [`Fragment`] of this state alone.
    pub fn named(self, name: impl Into<String>) -> Fragment {
        Fragment::new(name, self)
    }

    fn of_type(name: &str) -> Self {
        // As many as most states have.
        let mut fields = Map::with_capacity(7);
        fields.insert("Type".to_owned(), name.into());
        Self::new(fields)
    }

    fn ordered(mut self) -> Self {
        if let Some(parameter) = self.unique.take()
            && !crate::combine::make_unique(&mut self.fields, &parameter)
        {
            let message =
                format!("there is no text `{parameter}` among the parameters, so no retry can change it");
            self.found.push(Finding::new(Code::MissingField, "", message));
        }
        let mut order = ORDER.iter();
        let is_in_order = self.fields.keys().all(|key| order.any(|known| known == key));
        if !is_in_order {
            let mut fields: Vec<(String, Value)> = self.fields.into_iter().collect();
            fields.sort_by_key(|(key, _)| {
                let place = ORDER.iter().position(|known| known == key);
                place.unwrap_or(ORDER.len())
            });
            self.fields = fields.into_iter().collect();
        }
        self
    }

    fn set(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.fields.insert(field.to_owned(), value.into());
        self
    }

    fn remove(&mut self, field: &str) {
        // Most often it is not there, and a search among so few beats hashing.
        if self.fields.keys().any(|key| key == field) {
            self.fields.shift_remove(field);
        }
    }

    /// Adds an entry to the object that a field holds.
    fn insert(mut self, field: &str, key: String, value: Value) -> Self {
        match self.fields.entry(field).or_insert(Value::Null) {
            Value::Object(map) => {
                map.insert(key, value);
            }
            other => *other = Map::from_iter([(key, value)]).into(),
        }
        self
    }

    /// Adds an entry to the array that a field holds.
    fn append(mut self, field: &str, entry: impl Into<Value>) -> Self {
        match self.fields.entry(field).or_insert(Value::Null) {
            Value::Array(list) => list.push(entry.into()),
            other => *other = Value::Array(vec![entry.into()]),
        }
        self
    }
}

/// Setters that several states share.
macro_rules! shared {
    ($state:ident: $($which:ident),*) => {
        impl $state {
            $(shared!(@ $which);)*

            /// Sets `Comment`.
            ///
            /// States Language, section "States".
            pub fn comment(self, comment: impl Into<String>) -> Self {
                self.set("Comment", comment.into())
            }

            /// Sets `QueryLanguage`: JSONata for one state of a JSONPath machine. Other states follow their machine.
            ///
            /// States Language, section "Query Language".
            pub fn query_language(self, language: QueryLanguage) -> Self {
                self.set("QueryLanguage", language.as_str())
            }

            /// Sets any field, for what has no setter. What is not supported is refused when the machine is built.
            pub fn field(self, name: &str, value: impl Into<Value>) -> Self {
                self.set(name, value)
            }

            /// A [`Fragment`](crate::Fragment) of this state alone, for chains.
            pub fn named(self, name: impl Into<String>) -> crate::Fragment {
                State::from(self).named(name)
            }

            fn set(self, field: &str, value: impl Into<Value>) -> Self {
                Self(self.0.set(field, value))
            }
        }

        impl From<$state> for State {
            fn from(state: $state) -> Self {
                state.0.ordered()
            }
        }
    };
    (@ data) => {
        /// Sets `InputPath`: what of the input the state sees; the default is `$`, all of it.
        ///
        /// States Language, section "Input and Output Processing".
        pub fn input_path(self, path: impl Into<String>) -> Self {
            self.set("InputPath", path.into())
        }

        /// Sets `InputPath` to null: the state sees `{}`.
        ///
        /// States Language, section "Input and Output Processing".
        pub fn no_input(self) -> Self {
            self.set("InputPath", Value::Null)
        }

        /// Sets `OutputPath`: what of the result the next state gets; the default is `$`, all of it.
        ///
        /// States Language, section "Input and Output Processing".
        pub fn output_path(self, path: impl Into<String>) -> Self {
            self.set("OutputPath", path.into())
        }

        /// Sets `OutputPath` to null: the next state gets `{}`.
        ///
        /// States Language, section "Input and Output Processing".
        pub fn no_output(self) -> Self {
            self.set("OutputPath", Value::Null)
        }

        /// Sets `Output` of a JSONata state: what the next state gets, with texts in `{% %}` anywhere in it.
        ///
        /// States Language, section "Input and Output Processing using JSONata".
        pub fn output(self, output: impl Into<Value>) -> Self {
            self.set("Output", output)
        }
    };
    (@ assign) => {
        /// Adds a variable to `Assign`, its name without `$`. In a JSONPath state it is computed when the name ends in
        /// `.$`, in a JSONata state when the value is in `{% %}`.
        ///
        /// Developer guide, "Passing data between states with variables".
        pub fn assign(self, name: impl Into<String>, value: impl Into<Value>) -> Self {
            Self(self.0.insert("Assign", name.into(), value.into()))
        }
    };
    (@ parameters) => {
        /// Sets `Parameters`: a payload template, in which a key ending in `.$` is computed from the input.
        ///
        /// States Language, section "Input and Output Processing".
        pub fn parameters(self, template: impl Into<Value>) -> Self {
            self.set("Parameters", template)
        }

        /// Adds one member to `Parameters`; it is computed when its name ends in `.$`.
        ///
        /// States Language, section "Input and Output Processing".
        pub fn parameter(self, name: impl Into<String>, value: impl Into<Value>) -> Self {
            Self(self.0.insert("Parameters", name.into(), value.into()))
        }
    };
    (@ arguments) => {
        /// Sets `Arguments` of a JSONata state, with texts in `{% %}` anywhere in it.
        ///
        /// States Language, section "Input and Output Processing using JSONata".
        pub fn arguments(self, arguments: impl Into<Value>) -> Self {
            self.set("Arguments", arguments)
        }

        /// Adds one member to `Arguments` of a JSONata state.
        ///
        /// States Language, section "Input and Output Processing using JSONata".
        pub fn argument(self, name: impl Into<String>, value: impl Into<Value>) -> Self {
            Self(self.0.insert("Arguments", name.into(), value.into()))
        }
    };
    (@ result_path) => {
        /// Sets `ResultPath`: where in the input the result goes; the default is `$`, in place of it.
        ///
        /// States Language, section "Input and Output Processing".
        pub fn result_path(self, path: impl Into<String>) -> Self {
            self.set("ResultPath", path.into())
        }

        /// Sets `ResultPath` to null: the result is dropped, the input goes on.
        ///
        /// States Language, section "Input and Output Processing".
        pub fn discard_result(self) -> Self {
            self.set("ResultPath", Value::Null)
        }
    };
    (@ result_selector) => {
        /// Sets `ResultSelector`: a payload template over the result.
        ///
        /// States Language, section "Input and Output Processing".
        pub fn result_selector(self, template: impl Into<Value>) -> Self {
            self.set("ResultSelector", template)
        }
    };
    (@ errors) => {
        /// Adds a retrier; the first whose errors match counts.
        ///
        /// States Language, section "Retrying after error".
        pub fn retry(self, retry: crate::Retry) -> Self {
            Self(self.0.append("Retry", Value::from(retry)))
        }

        /// Adds a catcher; the first whose errors match counts.
        ///
        /// States Language, section "Fallback states".
        pub fn catch(self, catch: crate::Catch) -> Self {
            Self(self.0.append("Catch", Value::from(catch)))
        }
    };
    (@ transition) => {
        /// Goes on to another state.
        ///
        /// States Language, section "Transitions".
        pub fn next(mut self, state: impl Into<String>) -> Self {
            self.0.remove("End");
            self.set("Next", state.into())
        }

        /// Ends the machine.
        ///
        /// States Language, section "Transitions".
        pub fn end(mut self) -> Self {
            self.0.remove("Next");
            self.set("End", true)
        }
    };
}

mod choice;
mod fragment;
mod map;
mod retry;
mod task;

pub use choice::{Choice, Condition, Rule};
pub use fragment::Fragment;
pub(crate) use fragment::states_to_json;
pub use map::{ItemBatcher, ItemReader, Map as MapState, Parallel, ResultWriter};
pub use retry::{Catch, Retry};
pub use task::Task;

/// A text in `{% %}`; what is in them already stays as it is.
fn expression(text: impl Into<String>) -> String {
    let text = text.into();
    if crate::jsonata::Jsonata::is_meant(&text) {
        text
    } else {
        format!("{{% {} %}}", text.trim())
    }
}

/// A Pass state: hands its input on, or a fixed result.
///
/// States Language, section "Pass State".
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub struct Pass(State);

shared!(Pass: data, assign, parameters, result_path, transition);

impl Pass {
    /// A state that hands its input on.
    pub fn new() -> Self {
        Self(State::of_type("Pass"))
    }

    /// Sets `Result`: what the state yields.
    ///
    /// States Language, section "Pass State".
    pub fn result(self, result: impl Into<Value>) -> Self {
        self.set("Result", result)
    }
}

impl Default for Pass {
    fn default() -> Self {
        Self::new()
    }
}

/// A Wait state.
///
/// States Language, section "Wait State".
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub struct Wait(State);

shared!(Wait: data, assign, transition);

impl Wait {
    /// Waits so many seconds, 0 to 99,999,999.
    ///
    /// States Language, section "Wait State".
    pub fn seconds(seconds: u64) -> Self {
        Self(State::of_type("Wait")).set("Seconds", seconds)
    }

    /// Waits as many seconds as stand at this path.
    ///
    /// States Language, section "Wait State".
    pub fn seconds_path(path: impl Into<String>) -> Self {
        Self(State::of_type("Wait")).set("SecondsPath", path.into())
    }

    /// Waits as many seconds as a JSONata expression yields; `{% %}` may be left out.
    ///
    /// States Language, section "Wait State".
    pub fn seconds_expression(text: impl Into<String>) -> Self {
        Self(State::of_type("Wait")).set("Seconds", expression(text))
    }

    /// Waits until a time, such as `2026-01-31T12:00:00Z`; in a JSONata state it may be in `{% %}`.
    ///
    /// States Language, section "Wait State".
    pub fn timestamp(timestamp: impl Into<String>) -> Self {
        Self(State::of_type("Wait")).set("Timestamp", timestamp.into())
    }

    /// Waits until the time that stands at this path.
    ///
    /// States Language, section "Wait State".
    pub fn timestamp_path(path: impl Into<String>) -> Self {
        Self(State::of_type("Wait")).set("TimestampPath", path.into())
    }
}

/// A Succeed state: ends the machine well.
///
/// States Language, section "Succeed State".
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub struct Succeed(State);

shared!(Succeed: data);

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
///
/// States Language, section "Fail State".
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub struct Fail(State);

shared!(Fail:);

impl Fail {
    /// A state that ends the machine badly.
    pub fn new() -> Self {
        Self(State::of_type("Fail"))
    }

    /// Sets `Error`: the error's name; in a JSONata state it may be in `{% %}`.
    ///
    /// States Language, section "Fail State".
    pub fn error(self, error: impl Into<String>) -> Self {
        self.set("Error", error.into())
    }

    /// Sets `ErrorPath`: where in the input the error's name stands.
    ///
    /// States Language, section "Fail State".
    pub fn error_path(self, path: impl Into<String>) -> Self {
        self.set("ErrorPath", path.into())
    }

    /// Sets `Cause`: a text for people; in a JSONata state it may be in `{% %}`.
    ///
    /// States Language, section "Fail State".
    pub fn cause(self, cause: impl Into<String>) -> Self {
        self.set("Cause", cause.into())
    }

    /// Sets `CausePath`: where in the input the text for people stands.
    ///
    /// States Language, section "Fail State".
    pub fn cause_path(self, path: impl Into<String>) -> Self {
        self.set("CausePath", path.into())
    }
}

impl Default for Fail {
    fn default() -> Self {
        Self::new()
    }
}
