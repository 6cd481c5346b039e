//! The conformance corpus of `sfn-local`, through the official client: what a caller of the service sees.

use std::{fmt::Write as _, path::Path, sync::Arc, time::Duration};

use aws_local::{Server, VirtualClock};
use serde_json::{Value, json};
use tempfile::TempDir;

use self::case::{Answers, definition};
use crate::common::World;

#[path = "../../../sfn-local/tests/corpus/case.rs"]
mod case;

/// What differs from what the case expects.
async fn differences(case: &Value) -> String {
    let clock = VirtualClock::new("2026-01-31T12:00:00Z".parse().unwrap());
    let handler = Arc::new(Answers::of(case, &clock));
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
