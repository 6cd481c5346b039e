//! The conformance corpus of `sfn-local`, through the official client: what a caller of the service sees.

use std::{
    collections::{HashMap, VecDeque},
    fmt::Write as _,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use aws_local::{Server, VirtualClock};
use serde_json::{Value, json};
use sfn_local::{BoxFuture, Clock, TaskCall, TaskFailure, TaskHandler};
use tempfile::TempDir;

use crate::common::World;

/// Answers by state; without an answer a task returns its parameters.
struct Answers {
    clock: VirtualClock,
    by_state: Mutex<HashMap<String, VecDeque<Value>>>,
    written: Mutex<Vec<Value>>,
    calls: Mutex<Vec<Value>>,
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

/// The definition of a case; `tests/corpus/README.md` of `sfn-local` tells their form.
fn definition(case: &Value) -> Value {
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
    } else {
        let mut rule = case["condition"].clone();
        rule["Next"] = "Yes".into();
        return json!({"StartAt": "X", "States": {
            "X": {"Type": "Choice", "Choices": [rule], "Default": "No"},
            "Yes": {"Type": "Pass", "Result": {"is": true}, "End": true},
            "No": {"Type": "Pass", "Result": {"is": false}, "End": true},
        }});
    };
    json!({"StartAt": "X", "States": {"X": state}})
}

/// What differs from what the case expects.
async fn differences(case: &Value) -> String {
    let clock = VirtualClock::new("2026-01-31T12:00:00Z".parse().unwrap());
    let answers = case["answers"].as_object().into_iter().flatten();
    let handler = Arc::new(Answers {
        clock: clock.clone(),
        by_state: answers
            .map(|(state, answers)| {
                (
                    state.clone(),
                    answers.as_array().unwrap().iter().cloned().collect(),
                )
            })
            .collect::<HashMap<_, _>>()
            .into(),
        written: Mutex::default(),
        calls: Mutex::default(),
    });
    let folder = TempDir::new().unwrap();
    let builder = Server::builder(folder.path())
        .clock(Arc::new(clock.clone()))
        .task_handler(handler.clone());
    let world = World::with_server(builder.start().await.unwrap(), folder);
    let create = world
        .states
        .create_state_machine()
        .name("m")
        .role_arn("arn:aws:iam::000000000000:role/r")
        .definition(definition(case).to_string());
    let machine = create.send().await.unwrap().state_machine_arn;
    let input = case.get("input").cloned().unwrap_or_else(|| json!({}));
    let start = world
        .states
        .start_execution()
        .state_machine_arn(machine)
        .name("e");
    let arn = start.input(input.to_string()).send().await.unwrap().execution_arn;
    let described = loop {
        let describe = world.states.describe_execution().execution_arn(&arn);
        let described = describe.send().await.unwrap();
        if described.status.as_str() != "RUNNING" {
            break described;
        }
        // What is ready has had its turn: now something waits.
        tokio::time::sleep(Duration::from_millis(1)).await;
        clock.advance_to_next();
    };
    let mut text = String::new();
    let mut differ = |what: &str, expected: &Value, found: Value| {
        if *expected != found {
            writeln!(text, "  {what}\n    expected {expected}\n    found    {found}").unwrap();
        }
    };
    let failed = case.get("error").is_some();
    let status = case.get("status").cloned();
    let status = status.unwrap_or_else(|| if failed { "FAILED" } else { "SUCCEEDED" }.into());
    differ("status", &status, described.status.as_str().into());
    if let Some(output) = described.output() {
        if let Some(expected) = case.get("output") {
            differ("output", &expected.to_string().into(), output.into());
        }
        if let Some(expected) = case.get("is") {
            let output: Value = serde_json::from_str(output).unwrap();
            differ(
                "is",
                &expected.to_string().into(),
                output["is"].to_string().into(),
            );
        }
    }
    for (what, found) in [("error", described.error()), ("cause", described.cause())] {
        if let Some(expected) = case.get(what) {
            differ(what, expected, json!(found));
        }
    }
    if let Some(part) = case.get("cause_has").and_then(Value::as_str)
        && !described.cause().unwrap_or_default().contains(part)
    {
        differ("cause_has", &part.into(), json!(described.cause()));
    }
    if let Some(expected) = case.get("seconds") {
        let took = described.stop_date().unwrap().secs() - described.start_date.secs();
        differ("seconds", expected, took.into());
    }
    if let Some(expected) = case.get("calls") {
        differ("calls", expected, handler.calls.lock().unwrap().clone().into());
    }
    if let Some(expected) = case.get("written") {
        differ(
            "written",
            expected,
            handler.written.lock().unwrap().clone().into(),
        );
    }
    let mut pages = world
        .states
        .get_execution_history()
        .execution_arn(&arn)
        .max_results(1000)
        .into_paginator()
        .send();
    let mut events = Vec::new();
    while let Some(page) = pages.next().await {
        events.extend(page.unwrap().events);
    }
    if let Some(expected) = case.get("events") {
        let with_previous = expected[0].as_str().unwrap().contains('<');
        let found = events.iter().map(|event| match with_previous {
            true => format!("{}<{}", event.r#type().as_str(), event.previous_event_id()),
            false => event.r#type().as_str().to_owned(),
        });
        differ("events", expected, found.collect());
    }
    // The official client knows every type.
    let known = aws_sdk_sfn::types::HistoryEventType::values();
    for event in &events {
        let name = event.r#type().as_str();
        if !known.contains(&name) {
            differ("type", &"known".into(), name.into());
        }
    }
    if let Some(expected) = case.get("details").and_then(Value::as_object) {
        let history = json!({"executionArn": arn, "maxResults": 1000});
        let history = world
            .server
            .call("AWSStepFunctions.GetExecutionHistory", &history)
            .await
            .unwrap();
        for (id, expected) in expected {
            let event = &history["events"][id.parse::<usize>().unwrap() - 1];
            let details = event
                .as_object()
                .unwrap()
                .iter()
                .find(|(member, _)| member.ends_with("EventDetails"))
                .map(|(_, details)| details.clone())
                .unwrap_or_default();
            let mut details = details.as_object().cloned().unwrap_or_default();
            details.retain(|member, _| expected.get(member).is_some() || !member.ends_with("Details"));
            differ(&format!("details of event {id}"), expected, details.into());
        }
    }
    world.server.shutdown().await;
    text
}

/// Plays the cases of a file.
async fn play(name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../sfn-local/tests/corpus")
        .join(name);
    let text = std::fs::read_to_string(path).unwrap();
    let (mut cases, mut failures) = (0, String::new());
    for (number, line) in text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
    {
        let case: Value = serde_json::from_str(line).unwrap();
        cases += 1;
        let differences = differences(&case).await;
        if !differences.is_empty() {
            write!(failures, "{name}:{}: {}\n{differences}", number + 1, case["name"]).unwrap();
        }
    }
    assert!(failures.is_empty(), "of {cases} cases these differ:\n{failures}");
    assert!(cases > 0, "the file is empty");
}

macro_rules! files {
    ($($name:ident)*) => {
        const FILES: &[&str] = &[$(concat!(stringify!($name), ".jsonl")),*];

        $(#[tokio::test]
        async fn $name() {
            play(concat!(stringify!($name), ".jsonl")).await;
        })*
    };
}

files!(choice intrinsics jsonata map parallel paths states);

#[test]
fn every_file_is_played() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sfn-local/tests/corpus");
    let mut names: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".jsonl"))
        .collect();
    names.sort();
    assert_eq!(names, FILES);
}
