//! The mock file of the service's local version (`SFN_MOCK_CONFIG`), read as it is.
//!
//! Developer guide, "Testing with mocked service integrations".

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use futures::future::{BoxFuture, ready};
use serde::Deserialize;
use serde_json::Value;

use crate::handler::{TaskCall, TaskFailure, TaskHandler};
use crate::history::{Event, HistoryEvent, StateType};

/// What states answer, by machine and test case.
///
/// ```
/// use sfn_local::handlers::MockConfig;
///
/// let config = MockConfig::parse(
///     r#"{
///         "StateMachines": {"Train": {"TestCases": {"Retried": {"Train": "OnceThrottled"}}}},
///         "MockedResponses": {"OnceThrottled": {
///             "0": {"Throw": {"Error": "Throttling", "Cause": "too fast"}},
///             "1-2": {"Return": {"TrainingJobStatus": "Completed"}}
///         }}
///     }"#,
/// )?;
/// let tasks = config.test_case("Train", "Retried").unwrap();
/// assert!(config.test_case("Train", "retried").is_none());
/// # drop(tasks);
/// # Ok::<(), sfn_local::handlers::InvalidMockConfig>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct MockConfig {
    machines: BTreeMap<String, BTreeMap<String, BTreeMap<String, String>>>,
    // INVARIANT: has each response that a test case names.
    responses: BTreeMap<String, Vec<Response>>,
}

/// What a range of calls is answered with.
#[derive(Debug, Clone, PartialEq)]
struct Response {
    first: u64,
    last: u64,
    answer: Result<Value, TaskFailure>,
}

/// Why a text is no mock file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidMockConfig {
    /// It is not JSON of that form.
    #[error("the mock file cannot be read: {0}")]
    Form(String),
    /// A key of a response is neither a number nor a range.
    #[error(
        "in `MockedResponses`, `{response}`: `{key}` is neither a number such as `0` nor a range such as `1-3`"
    )]
    Key {
        /// The response.
        response: String,
        /// The key.
        key: String,
    },
    /// An answer has not exactly one of `Return` and `Throw`.
    #[error("in `MockedResponses`, `{response}`, `{key}`: there has to be either `Return` or `Throw`")]
    Answer {
        /// The response.
        response: String,
        /// The key.
        key: String,
    },
    /// A test case names a response that is not there.
    #[error(
        "the test case `{case}` of `{machine}` has `{response}` for `{state}`, which is not in `MockedResponses`"
    )]
    Missing {
        /// The machine.
        machine: String,
        /// The test case.
        case: String,
        /// The state.
        state: String,
        /// What is missing.
        response: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(rename = "StateMachines")]
    machines: BTreeMap<String, Machine>,
    #[serde(rename = "MockedResponses", default)]
    responses: BTreeMap<String, BTreeMap<String, Answer>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Machine {
    #[serde(rename = "TestCases")]
    cases: BTreeMap<String, BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    #[serde(rename = "Return", default, deserialize_with = "present")]
    result: Option<Value>,
    #[serde(rename = "Throw")]
    failure: Option<Throw>,
}

/// `null` is a result.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Throw {
    #[serde(rename = "Error")]
    error: String,
    #[serde(rename = "Cause", default)]
    cause: String,
}

impl MockConfig {
    /// Reads a mock file.
    ///
    /// # Errors
    ///
    /// Says what is wrong with it, and where.
    pub fn parse(text: &str) -> Result<Self, InvalidMockConfig> {
        let file: File =
            serde_json::from_str(text).map_err(|error| InvalidMockConfig::Form(error.to_string()))?;
        let mut responses = BTreeMap::new();
        for (name, answers) in file.responses {
            let mut list = Vec::new();
            for (key, answer) in answers {
                let (first, last) = range(&key).ok_or_else(|| InvalidMockConfig::Key {
                    response: name.clone(),
                    key: key.clone(),
                })?;
                let answer = match (answer.result, answer.failure) {
                    (Some(result), None) => Ok(result),
                    (None, Some(throw)) => Err(TaskFailure::new(throw.error, throw.cause)),
                    _ => return Err(InvalidMockConfig::Answer { response: name, key }),
                };
                list.push(Response { first, last, answer });
            }
            responses.insert(name, list);
        }
        let mut machines = BTreeMap::new();
        for (machine, Machine { cases }) in file.machines {
            for (case, states) in &cases {
                for (state, response) in states {
                    if !responses.contains_key(response) {
                        return Err(InvalidMockConfig::Missing {
                            machine,
                            case: case.clone(),
                            state: state.clone(),
                            response: response.clone(),
                        });
                    }
                }
            }
            machines.insert(machine, cases);
        }
        Ok(Self { machines, responses })
    }

    /// All test cases: the machine's name, and the case's.
    pub fn test_cases(&self) -> impl Iterator<Item = (&str, &str)> {
        self.machines
            .iter()
            .flat_map(|(machine, cases)| cases.keys().map(|case| (machine.as_str(), case.as_str())))
    }

    /// The tasks of a test case of a machine; an execution of the local version names it after its machine's ARN and a `#`.
    /// `None` when there is no such machine or test case.
    #[must_use]
    pub fn test_case(&self, machine: &str, case: &str) -> Option<MockedTasks> {
        let states = self.machines.get(machine)?.get(case)?;
        let of = |(state, response): (&String, &String)| {
            let responses = self.responses.get(response).cloned().unwrap_or_default();
            (state.clone(), responses)
        };
        Some(MockedTasks {
            responses: states.iter().map(of).collect(),
            calls: Mutex::default(),
        })
    }
}

/// `0`, or `1-3`.
fn range(key: &str) -> Option<(u64, u64)> {
    let (first, last) = key.split_once('-').unwrap_or((key, key));
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last).then_some((first, last))
}

/// The tasks of a test case: the calls of each state are counted from 0.
///
/// A state that the test case does not name, and a call that its response has no answer for, fail with `States.Runtime`.
#[derive(Debug)]
pub struct MockedTasks {
    responses: HashMap<String, Vec<Response>>,
    calls: Mutex<HashMap<String, u64>>,
}

impl MockedTasks {
    /// The tasks of an execution that goes on from this history: calls that have ended are counted. Those of its child
    /// executions are, too, after each of their histories.
    #[must_use]
    pub fn after(mut self, history: &[HistoryEvent]) -> Self {
        let mut states: HashMap<u64, &str> = HashMap::new();
        let calls = self.calls.get_mut().unwrap_or_else(PoisonError::into_inner);
        for event in history {
            let state = match &event.event {
                Event::StateEntered { name, .. } => Some(name.as_str()),
                _ => states.get(&event.previous_event_id).copied(),
            };
            let Some(state) = state else { continue };
            states.insert(event.id, state);
            let ended = match &event.event {
                Event::TaskSucceeded { .. }
                | Event::TaskFailed { .. }
                | Event::TaskTimedOut { .. }
                | Event::TaskSubmitFailed { .. }
                | Event::LambdaFunctionSucceeded { .. }
                | Event::LambdaFunctionFailed { .. }
                | Event::LambdaFunctionTimedOut { .. }
                | Event::ActivitySucceeded { .. }
                | Event::ActivityFailed { .. }
                | Event::ActivityTimedOut { .. } => true,
                Event::StateAborted { state_type } => *state_type == StateType::Task,
                _ => false,
            };
            if ended {
                *calls.entry(state.to_owned()).or_default() += 1;
            }
        }
        self
    }

    /// Whether the test case names the state.
    #[must_use]
    pub fn mocks(&self, state: &str) -> bool {
        self.responses.contains_key(state)
    }
}

impl TaskHandler for MockedTasks {
    fn call(&self, task: TaskCall) -> BoxFuture<'_, Result<Value, TaskFailure>> {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let count = calls.entry(task.state.clone()).or_default();
        let number = *count;
        *count += 1;
        let answer = match self.responses.get(&task.state) {
            None => Err(format!("the state '{}' is not mocked", task.state)),
            Some(responses) => responses
                .iter()
                .find(|response| (response.first..=response.last).contains(&number))
                .map(|response| response.answer.clone())
                .ok_or_else(|| {
                    format!(
                        "the state '{}' has no mocked response for call {number}",
                        task.state
                    )
                }),
        };
        let answer = answer.unwrap_or_else(|cause| Err(TaskFailure::new("States.Runtime", cause)));
        if let (Ok(result), true) = (&answer, task.is_sync() || task.is_wait_for_task_token()) {
            task.submitted.report(result.clone());
        }
        Box::pin(ready(answer))
    }
}
