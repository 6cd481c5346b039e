//! The conformance corpus: what the public documentation of the language and of the service says, case by case.
//!
//! Every line of `tests/corpus/*.jsonl` is a case; `tests/corpus/README.md` tells their form. The expectations are written
//! from the documentation and from recordings' facts, not from what the interpreter does.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Map, Value, json};
use sfn_builder::StateMachine;
use sfn_local::{Clock, Event, Execution, HistoryEvent, Outcome, VirtualClock, run};

use self::case::{Answers, definition};

#[path = "corpus/case.rs"]
mod case;

/// The fewest cases that the corpus has to have.
const LEAST: usize = 600;

struct Ran {
    outcome: Outcome,
    history: Vec<HistoryEvent>,
    seconds: i64,
    written: Vec<Value>,
    calls: Vec<Value>,
}

fn play(case: &Value) -> Ran {
    let definition = definition(case);
    let machine = StateMachine::from_json(&definition.to_string()).unwrap_or_else(|error| panic!("{error}"));
    let clock = VirtualClock::new("2026-01-31T12:00:00Z".parse().unwrap());
    let handler = Answers::of(case, &clock);
    let input = case.get("input").cloned().unwrap_or_else(|| json!({}));
    let execution = Execution::new("arn:aws:states:us-east-1:000000000000:stateMachine:m", "e", input)
        .with_role_arn("arn:aws:iam::000000000000:role/r")
        .with_seed(case.get("seed").and_then(Value::as_u64).unwrap_or(0));
    let started = clock.now();
    let mut history = Vec::new();
    let mut record = |event: &HistoryEvent| history.push(event.clone());
    let outcome = clock.block_on(run(&machine, &execution, &handler, &clock, &mut record));
    let seconds = clock.now().duration_since(started).as_secs();
    Ran {
        outcome,
        history,
        seconds,
        written: handler.written.into_inner().unwrap(),
        calls: handler.calls.into_inner().unwrap(),
    }
}

/// What differs from what the case expects.
fn differences(case: &Value) -> String {
    let ran = play(case);
    let mut text = String::new();
    let mut differ = |what: &str, expected: &Value, found: Value| {
        if *expected != found {
            writeln!(text, "  {what}\n    expected {expected}\n    found    {found}").unwrap();
        }
    };
    let status = case.get("status").cloned();
    let expected = status.unwrap_or_else(|| {
        let failed = case.get("error").is_some();
        if failed { "FAILED" } else { "SUCCEEDED" }.into()
    });
    let explained = match &ran.outcome {
        Outcome::Succeeded { output } => output.to_string(),
        Outcome::Failed { error, cause }
        | Outcome::TimedOut { error, cause }
        | Outcome::Aborted { error, cause } => {
            format!("{} {error:?} {cause:?}", ran.outcome.status())
        }
    };
    if expected != ran.outcome.status() {
        differ("status", &expected, explained.clone().into());
    }
    match &ran.outcome {
        Outcome::Succeeded { output } => {
            // As text: the order of keys and the form of numbers count.
            if let Some(expected) = case.get("output") {
                differ("output", &expected.to_string().into(), output.to_string().into());
            }
            if let Some(expected) = case.get("is") {
                differ(
                    "is",
                    &expected.to_string().into(),
                    output["is"].to_string().into(),
                );
            }
        }
        Outcome::Failed { error, cause }
        | Outcome::TimedOut { error, cause }
        | Outcome::Aborted { error, cause } => {
            for (what, found) in [("error", error), ("cause", cause)] {
                if let Some(expected) = case.get(what) {
                    differ(what, expected, json!(found));
                }
            }
            if let Some(part) = case.get("cause_has") {
                let part = part.as_str().unwrap();
                if !cause.as_deref().unwrap_or_default().contains(part) {
                    differ("cause_has", &part.into(), json!(cause));
                }
            }
        }
    }
    if let Some(expected) = case.get("events") {
        let with_previous = expected[0].as_str().unwrap().contains('<');
        let found: Vec<Value> = ran
            .history
            .iter()
            .map(|event| {
                if with_previous {
                    format!("{}<{}", event.type_name(), event.previous_event_id).into()
                } else {
                    event.type_name().into()
                }
            })
            .collect();
        differ("events", expected, found.into());
    }
    for (event, details) in case
        .get("details")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        let index = event.parse::<usize>().unwrap() - 1;
        let found = ran
            .history
            .get(index)
            .map(HistoryEvent::to_json)
            .unwrap_or_default();
        let found: Map<String, Value> = found
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(member, _)| member.ends_with("EventDetails"))
            .map(|(_, details)| details.clone())
            .flat_map(|details| details.as_object().cloned().unwrap_or_default())
            .filter(|(member, _)| details.get(member).is_some() || !member.ends_with("Details"))
            .collect();
        differ(&format!("details of event {event}"), details, found.into());
    }
    if let Some(expected) = case.get("seconds") {
        differ("seconds", expected, ran.seconds.into());
    }
    if let Some(expected) = case.get("written") {
        differ("written", expected, ran.written.into());
    }
    if let Some(expected) = case.get("calls") {
        differ("calls", expected, ran.calls.into());
    }
    let last = ran.history.last().map(|event| event.event.is_final());
    if last != Some(true) {
        differ("the last event is final", &true.into(), json!(last));
    }
    for (at, event) in ran.history.iter().enumerate() {
        let in_order = event.id == at as u64 + 1 && event.previous_event_id < event.id;
        if !in_order {
            differ(
                "ids in order",
                &(at + 1).into(),
                json!([event.id, event.previous_event_id]),
            );
        }
        // Whatever is written can be read back.
        let again = HistoryEvent::from_record(&event.to_record()).unwrap();
        if again != *event {
            differ("read back", &event.to_record(), again.to_record());
        }
        if let Event::ExecutionSucceeded { output } = &event.event
            && *output != explained
        {
            differ(
                "the last event's output",
                &explained.clone().into(),
                output.as_str().into(),
            );
        }
    }
    text
}

#[test]
fn every_case_is_as_documented() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"))
        .collect();
    files.sort();
    let (mut cases, mut failures) = (0, String::new());
    for file in files {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&file).unwrap();
        for (number, line) in text.lines().enumerate() {
            if line.trim().is_empty() {
                continue;
            }
            let case: Value =
                serde_json::from_str(line).unwrap_or_else(|error| panic!("{name}:{}: {error}", number + 1));
            cases += 1;
            let differences = std::panic::catch_unwind(|| differences(&case)).unwrap_or_else(|panic| {
                let text = panic.downcast_ref::<String>().cloned().unwrap_or_default();
                format!("  it panicked: {text}\n")
            });
            if !differences.is_empty() {
                let title = case.get("name").unwrap_or(&Value::Null);
                write!(failures, "{name}:{}: {title}\n{differences}", number + 1).unwrap();
            }
        }
    }
    assert!(failures.is_empty(), "of {cases} cases these differ:\n{failures}");
    assert!(cases >= LEAST, "the corpus has {cases} cases");
}
