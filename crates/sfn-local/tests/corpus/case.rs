//! A case of the conformance corpus: its definition, and the answers of its tasks. Shared by all who play the corpus.

use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;
use std::time::Duration;

use serde_json::{Value, json};
use sfn_local::{BoxFuture, Clock, TaskCall, TaskFailure, TaskHandler, VirtualClock};

/// Answers by state; without an answer a task returns its parameters.
pub(crate) struct Answers {
    clock: VirtualClock,
    by_state: Mutex<HashMap<String, VecDeque<Value>>>,
    /// What was put into S3.
    pub(crate) written: Mutex<Vec<Value>>,
    /// The parameters of every call.
    pub(crate) calls: Mutex<Vec<Value>>,
}

impl Answers {
    /// The answers that a case names.
    pub(crate) fn of(case: &Value, clock: &VirtualClock) -> Self {
        let answers = case["answers"].as_object().into_iter().flatten();
        let by_state = answers.map(|(state, answers)| {
            let answers = answers.as_array().unwrap().iter().cloned().collect();
            (state.clone(), answers)
        });
        Self {
            clock: clock.clone(),
            by_state: Mutex::new(by_state.collect()),
            written: Mutex::default(),
            calls: Mutex::default(),
        }
    }
}

impl TaskHandler for Answers {
    fn call(&self, task: TaskCall) -> BoxFuture<'_, Result<Value, TaskFailure>> {
        if task.resource.ends_with(":putObject") {
            self.written.lock().unwrap().push(task.parameters.clone());
        }
        self.calls.lock().unwrap().push(task.parameters.clone());
        let answer = {
            let mut by_state = self.by_state.lock().unwrap();
            by_state
                .get_mut(&task.state)
                .and_then(|answers| match answers.len() {
                    0 | 1 => answers.front().cloned(),
                    _ => answers.pop_front(),
                })
        };
        Box::pin(async move {
            let Some(answer) = answer else {
                return Ok(task.parameters);
            };
            if let Some(worker) = answer.get("worker") {
                task.progress.started(worker.as_str().map(str::to_owned));
            }
            if let Some(output) = answer.get("submitted") {
                task.submitted.report(output.clone());
            }
            let seconds = |value: &Value| Duration::from_secs(value.as_u64().unwrap());
            for beat in answer["heartbeats"].as_array().into_iter().flatten() {
                self.clock.sleep(seconds(beat)).await;
                task.progress.heartbeat();
            }
            if let Some(after) = answer.get("after") {
                self.clock.sleep(seconds(after)).await;
            }
            if answer.get("silent").is_some() {
                std::future::pending::<()>().await;
            }
            match answer.get("error") {
                Some(error) => Err(TaskFailure::new(
                    error[0].as_str().unwrap(),
                    error[1].as_str().unwrap_or_default(),
                )),
                None => Ok(answer.get("ok").cloned().unwrap_or(task.parameters)),
            }
        })
    }
}

/// The definition of a case: whole, by its states, or of one expression.
pub(crate) fn definition(case: &Value) -> Value {
    if let Some(definition) = case.get("definition") {
        return definition.clone();
    }
    if let Some(states) = case.get("states") {
        let start = states.as_object().unwrap().keys().next().unwrap();
        let mut definition = json!({"StartAt": start, "States": states});
        for (member, field) in [("language", "QueryLanguage"), ("timeout", "TimeoutSeconds")] {
            if let Some(value) = case.get(member) {
                definition[field] = value.clone();
            }
        }
        return definition;
    }
    let state = if let Some(expression) = case.get("jsonpath") {
        json!({"Type": "Pass", "Parameters": {"is.$": expression}, "End": true})
    } else if let Some(expression) = case.get("jsonata") {
        let text = format!("{{% {} %}}", expression.as_str().unwrap());
        json!({"Type": "Pass", "QueryLanguage": "JSONata", "Output": {"is": text}, "End": true})
    } else if let Some(condition) = case.get("condition") {
        let mut rule = condition.clone();
        rule["Next"] = "Yes".into();
        return json!({"StartAt": "X", "States": {
            "X": {"Type": "Choice", "Choices": [rule], "Default": "No"},
            "Yes": {"Type": "Pass", "Result": {"is": true}, "End": true},
            "No": {"Type": "Pass", "Result": {"is": false}, "End": true},
        }});
    } else {
        panic!("the case has no definition")
    };
    json!({"StartAt": "X", "States": {"X": state}})
}
