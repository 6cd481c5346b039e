//! Histories, read for pictures.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use expect_test::{Expect, expect};
use serde_json::{Value, json};
use sfn_builder::{Execution, InvalidHistory};

/// Events as `(type, previous event, state's name)`, a second apart, numbered from 1.
fn history(events: &[(&str, u64, &str)]) -> Value {
    let events: Vec<Value> = events
        .iter()
        .enumerate()
        .map(|(at, (kind, previous, name))| {
            let mut event = json!({"id": at + 1, "type": kind, "previousEventId": previous, "timestamp": at});
            if !name.is_empty() {
                let details = if kind.ends_with("StateEntered") {
                    "stateEnteredEventDetails"
                } else if kind.ends_with("StateExited") {
                    "stateExitedEventDetails"
                } else {
                    "mapIterationStartedEventDetails"
                };
                event[details] = json!({"name": name});
            }
            event
        })
        .collect();
    json!({"events": events})
}

fn check(names: &[&str], events: &[(&str, u64, &str)], want: &Expect) {
    let mut history = history(events);
    let execution = Execution::from_history(&history).unwrap();
    let mut got = String::new();
    for name in names {
        let line = match execution.state(name) {
            None => "-".to_owned(),
            Some(run) => {
                let took = run
                    .duration
                    .map_or("-".to_owned(), |took| format!("{} s", took.as_secs()));
                format!(
                    "{:?} {took}, entered {}, retries {}",
                    run.status, run.entered, run.retries
                )
            }
        };
        got.push_str(&format!("{name}: {line}\n"));
    }
    want.assert_eq(&got);
    // The newest first, as the AWS CLI's `--reverse-order` gives them.
    history["events"].as_array_mut().unwrap().reverse();
    assert_eq!(Execution::from_history(&history["events"]).unwrap(), execution);
}

#[test]
fn a_task_that_is_tried_again_and_then_caught() {
    check(
        &["Train", "Clean up", "Done"],
        &[
            ("ExecutionStarted", 0, ""),
            ("TaskStateEntered", 0, "Train"),
            ("TaskScheduled", 2, ""),
            ("TaskStarted", 3, ""),
            ("TaskFailed", 4, ""),
            ("TaskScheduled", 5, ""),
            ("TaskStarted", 6, ""),
            ("TaskTimedOut", 7, ""),
            ("TaskStateExited", 8, "Train"),
            ("FailStateEntered", 9, "Clean up"),
            ("ExecutionFailed", 10, ""),
        ],
        &expect![[r#"
            Train: Caught 7 s, entered 1, retries 1
            Clean up: Failed 0 s, entered 1, retries 0
            Done: -
        "#]],
    );
}

#[test]
fn what_runs_is_in_progress_and_what_was_stopped_is_aborted() {
    let events = [
        ("ExecutionStarted", 0, ""),
        ("PassStateEntered", 0, "First"),
        ("PassStateExited", 2, "First"),
        ("WaitStateEntered", 3, "Pause"),
        ("ExecutionAborted", 4, ""),
    ];
    check(
        &["First", "Pause"],
        &events[..4],
        &expect![[r#"
        First: Succeeded 1 s, entered 1, retries 0
        Pause: InProgress -, entered 1, retries 0
    "#]],
    );
    check(
        &["First", "Pause"],
        &events,
        &expect![[r#"
        First: Succeeded 1 s, entered 1, retries 0
        Pause: Aborted 1 s, entered 1, retries 0
    "#]],
    );
}

#[test]
fn a_branch_that_fails_stops_the_others_and_is_caught_outside() {
    check(
        &["Both", "Left", "Right", "After"],
        &[
            ("ExecutionStarted", 0, ""),
            ("ParallelStateEntered", 0, "Both"),
            ("ParallelStateStarted", 2, ""),
            ("TaskStateEntered", 3, "Left"),
            ("WaitStateEntered", 3, "Right"),
            ("TaskScheduled", 4, ""),
            ("TaskFailed", 6, ""),
            ("ParallelStateFailed", 7, ""),
            ("ParallelStateExited", 8, "Both"),
            ("SucceedStateEntered", 9, "After"),
            ("SucceedStateExited", 10, "After"),
            ("ExecutionSucceeded", 11, ""),
        ],
        &expect![[r#"
            Both: Caught 7 s, entered 1, retries 0
            Left: Failed 3 s, entered 1, retries 0
            Right: Aborted 4 s, entered 1, retries 0
            After: Succeeded 1 s, entered 1, retries 0
        "#]],
    );
}

/// What is cut off follows the event that has failed, not its own state.
#[test]
fn branches_that_are_cut_off_are_told_apart_from_the_one_that_fails() {
    check(
        &["Both", "Fails", "Waits", "Works", "Inner"],
        &[
            ("ExecutionStarted", 0, ""),
            ("ParallelStateEntered", 0, "Both"),
            ("ParallelStateStarted", 2, ""),
            ("TaskStateEntered", 3, "Works"),
            ("WaitStateEntered", 3, "Waits"),
            ("ParallelStateEntered", 3, "Inner"),
            ("TaskScheduled", 4, ""),
            ("FailStateEntered", 3, "Fails"),
            ("TaskStateAborted", 8, ""),
            ("WaitStateAborted", 8, ""),
            ("ParallelStateAborted", 8, ""),
            ("ParallelStateFailed", 8, ""),
            ("ExecutionFailed", 12, ""),
        ],
        &expect![[r#"
            Both: Failed 10 s, entered 1, retries 0
            Fails: Failed 0 s, entered 1, retries 0
            Waits: Aborted 5 s, entered 1, retries 0
            Works: Aborted 5 s, entered 1, retries 0
            Inner: Aborted 5 s, entered 1, retries 0
        "#]],
    );
}

#[test]
fn iterations_of_a_map_count_together() {
    check(
        &["Each", "One", "Two"],
        &[
            ("ExecutionStarted", 0, ""),
            ("MapStateEntered", 0, "Each"),
            ("MapStateStarted", 2, ""),
            ("MapIterationStarted", 3, "Each"),
            ("MapIterationStarted", 3, "Each"),
            ("TaskStateEntered", 4, "One"),
            ("TaskStateEntered", 5, "One"),
            ("TaskStateExited", 6, "One"),
            ("PassStateEntered", 8, "Two"),
            ("PassStateExited", 9, "Two"),
            ("MapIterationSucceeded", 10, "Each"),
            ("TaskFailed", 7, ""),
            ("MapIterationFailed", 12, "Each"),
            ("MapStateFailed", 12, ""),
            ("ExecutionFailed", 14, ""),
        ],
        &expect![[r#"
            Each: Failed 11 s, entered 1, retries 0
            One: Failed 7 s, entered 2, retries 0
            Two: Succeeded 1 s, entered 1, retries 0
        "#]],
    );
}

#[test]
fn times_may_be_texts_and_what_is_no_history_is_refused() {
    let history = json!([
        {"id": 1, "previousEventId": 0, "type": "PassStateEntered", "timestamp": "2026-01-01T10:00:00.250000+01:00",
         "stateEnteredEventDetails": {"name": "A"}},
        {"id": 2, "previousEventId": 1, "type": "PassStateExited", "timestamp": "2026-01-01T09:00:01Z",
         "stateExitedEventDetails": {"name": "A"}},
    ]);
    let run = Execution::from_history(&history).unwrap();
    assert_eq!(run.state("A").unwrap().duration.unwrap().as_millis(), 750);
    assert_eq!(
        Execution::from_history(&json!({"executions": []})),
        Err(InvalidHistory::NotAList)
    );
    for (event, field) in [
        (json!(7), "type"),
        (json!({"type": "X", "timestamp": 1}), "id"),
        (json!({"id": 1, "timestamp": 1}), "type"),
        (json!({"id": 1, "type": "X", "timestamp": "noon"}), "timestamp"),
        (json!({"id": 1, "type": "X", "timestamp": 1e300}), "timestamp"),
    ] {
        let error = Execution::from_history(&json!([event])).unwrap_err();
        assert_eq!(error, InvalidHistory::Event { index: 0, field });
    }
}
