//! Executions that are watched, stopped, or never end by themselves.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::time::Duration;

use expect_test::{Expect, expect};
use serde_json::{Value, json};
use sfn_builder::StateMachine;
use sfn_local::{
    BoxFuture, Clock, Event, Execution, HistoryEvent, TaskCall, TaskFailure, VirtualClock, abort, run,
};

fn machine(states: Value) -> StateMachine {
    let start = states.as_object().unwrap().keys().next().unwrap().clone();
    StateMachine::from_json(&json!({"StartAt": start, "States": states}).to_string()).unwrap()
}

fn clock() -> VirtualClock {
    VirtualClock::new("2026-01-31T12:00:00Z".parse().unwrap())
}

fn execution() -> Execution {
    Execution::new(
        "arn:aws:states:us-east-1:000000000000:stateMachine:m",
        "e",
        json!({}),
    )
}

/// A task that never answers.
fn silent(task: TaskCall) -> BoxFuture<'static, Result<Value, TaskFailure>> {
    task.submitted.report(json!({"Arn": "a"}));
    Box::pin(std::future::pending())
}

/// Runs for a few polls, drops, aborts, and shows the history.
fn check_abort(states: Value, expect: Expect) {
    let machine = machine(states);
    let (clock, execution) = (clock(), execution());
    let history = Arc::new(Mutex::new(Vec::<HistoryEvent>::new()));
    let seen = Arc::clone(&history);
    let mut record = move |event: &HistoryEvent| seen.lock().unwrap().push(event.clone());
    {
        let mut running = Box::pin(run(&machine, &execution, &silent, &clock, &mut record));
        for _ in 0..4 {
            assert!(
                running
                    .as_mut()
                    .poll(&mut Context::from_waker(Waker::noop()))
                    .is_pending()
            );
        }
    }
    let mut history = history.lock().unwrap().clone();
    clock.advance(Duration::from_secs(9));
    history.extend(abort(&history, clock.now(), Some("Stopped".into()), None));
    let lines: Vec<String> = history
        .iter()
        .map(|event| {
            format!(
                "{}<{} {} {}",
                event.id,
                event.previous_event_id,
                event.type_name(),
                event.timestamp
            )
        })
        .collect();
    expect.assert_eq(&lines.join("\n"));
    // What has ended cannot be stopped.
    assert_eq!(abort(&history, clock.now(), None, None), []);
}

#[test]
fn a_task_under_way_is_aborted() {
    check_abort(
        json!({"T": {"Type": "Task", "Resource": "arn:aws:states:::sagemaker:createTrainingJob.sync", "End": true}}),
        expect![[r#"
            1<0 ExecutionStarted 2026-01-31T12:00:00Z
            2<0 TaskStateEntered 2026-01-31T12:00:00Z
            3<2 TaskScheduled 2026-01-31T12:00:00Z
            4<3 TaskStarted 2026-01-31T12:00:00Z
            5<4 TaskSubmitted 2026-01-31T12:00:00Z
            6<0 ExecutionAborted 2026-01-31T12:00:09Z"#]],
    );
}

#[test]
fn a_wait_under_way_is_aborted() {
    check_abort(
        json!({"P": {"Type": "Pass", "Next": "W"}, "W": {"Type": "Wait", "Seconds": 60, "End": true}}),
        expect![[r#"
            1<0 ExecutionStarted 2026-01-31T12:00:00Z
            2<0 PassStateEntered 2026-01-31T12:00:00Z
            3<2 PassStateExited 2026-01-31T12:00:00Z
            4<3 WaitStateEntered 2026-01-31T12:00:00Z
            5<0 ExecutionAborted 2026-01-31T12:00:09Z"#]],
    );
}

/// Nothing is written about what was under way.
#[test]
fn states_in_states_are_aborted() {
    check_abort(
        json!({"P": {"Type": "Parallel", "End": true, "Branches": [
            {"StartAt": "W", "States": {"W": {"Type": "Wait", "Seconds": 60, "End": true}}},
            {"StartAt": "M", "States": {"M": {"Type": "Map", "QueryLanguage": "JSONata", "Items": [1], "End": true,
                "ItemProcessor": {"StartAt": "V", "States": {"V": {"Type": "Wait", "Seconds": 60, "End": true}}}}}},
        ]}}),
        expect![[r#"
            1<0 ExecutionStarted 2026-01-31T12:00:00Z
            2<0 ParallelStateEntered 2026-01-31T12:00:00Z
            3<2 ParallelStateStarted 2026-01-31T12:00:00Z
            4<3 WaitStateEntered 2026-01-31T12:00:00Z
            5<3 MapStateEntered 2026-01-31T12:00:00Z
            6<5 MapStateStarted 2026-01-31T12:00:00Z
            7<6 MapIterationStarted 2026-01-31T12:00:00Z
            8<7 WaitStateEntered 2026-01-31T12:00:00Z
            9<0 ExecutionAborted 2026-01-31T12:00:09Z"#]],
    );
}

#[test]
fn nothing_has_happened_yet() {
    let events = abort(&[], clock().now(), None, Some("why".into()));
    assert_eq!(events.len(), 1);
    assert_eq!((events[0].id, events[0].previous_event_id), (1, 0));
    assert_eq!(
        events[0].event,
        Event::ExecutionAborted {
            error: None,
            cause: Some("why".into())
        }
    );
}

/// A loop without waits gives way after some states, so that it can be stopped, and others can run.
#[test]
fn a_loop_gives_way() {
    let machine = machine(json!({
        "A": {"Type": "Pass", "Next": "B"},
        "B": {"Type": "Choice", "Choices": [{"Variable": "$.x", "IsPresent": true, "Next": "E"}], "Default": "A"},
        "E": {"Type": "Succeed"}
    }));
    let (clock, execution) = (clock(), execution());
    let mut events = 0;
    let mut record = |_: &HistoryEvent| events += 1;
    {
        let mut running = Box::pin(run(&machine, &execution, &silent, &clock, &mut record));
        for _ in 0..3 {
            assert!(
                running
                    .as_mut()
                    .poll(&mut Context::from_waker(Waker::noop()))
                    .is_pending()
            );
        }
    }
    // 64 states at a time, with two events each.
    assert_eq!(events, 1 + 3 * 64 * 2);
}

/// `TaskSubmitted` is there while the job still runs.
#[test]
fn a_submission_is_live() {
    let machine = machine(
        json!({"T": {"Type": "Task", "Resource": "arn:aws:states:::sagemaker:createTrainingJob.sync", "End": true}}),
    );
    let (clock, execution) = (clock(), execution());
    let ticking = clock.clone();
    let handler = move |task: TaskCall| -> BoxFuture<'static, Result<Value, TaskFailure>> {
        assert!(task.is_sync());
        let clock = ticking.clone();
        Box::pin(async move {
            clock.sleep(Duration::from_secs(2)).await;
            task.submitted.report(json!({}));
            clock.sleep(Duration::from_secs(60)).await;
            Ok(json!({}))
        })
    };
    let mut times = Vec::new();
    let start = clock.now();
    clock.block_on(run(
        &machine,
        &execution,
        &handler,
        &clock,
        &mut |event: &HistoryEvent| {
            times.push((event.type_name(), event.timestamp.duration_since(start).as_secs()));
        },
    ));
    let at = |name: &str| times.iter().find(|(event, _)| *event == name).unwrap().1;
    assert_eq!(
        (at("TaskStarted"), at("TaskSubmitted"), at("TaskSucceeded")),
        (0, 2, 62)
    );
}

/// A request-response task has nothing to submit.
#[test]
fn other_tasks_report_no_submission() {
    let machine = machine(
        json!({"T": {"Type": "Task", "Resource": "arn:aws:states:::sagemaker:createModel", "End": true}}),
    );
    let (clock, execution) = (clock(), execution());
    let handler = |task: TaskCall| -> BoxFuture<'static, Result<Value, TaskFailure>> {
        task.submitted.report(json!({}));
        Box::pin(async { Ok(json!({})) })
    };
    let mut names = Vec::new();
    clock.block_on(run(
        &machine,
        &execution,
        &handler,
        &clock,
        &mut |event: &HistoryEvent| names.push(event.type_name()),
    ));
    assert!(!names.contains(&"TaskSubmitted"));
}

/// The future can be spawned on a runtime of many threads, and runs by a real clock there.
#[tokio::test(flavor = "multi_thread")]
async fn it_runs_on_tokio() {
    struct Real;
    impl Clock for Real {
        fn now(&self) -> jiff::Timestamp {
            jiff::Timestamp::now()
        }
        fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
            Box::pin(tokio::time::sleep(duration))
        }
    }
    let machine = machine(json!({
        "W": {"Type": "Wait", "Seconds": 0, "Next": "T"},
        "T": {"Type": "Task", "Resource": "arn:aws:states:::sagemaker:createModel", "TimeoutSeconds": 1, "End": true}
    }));
    let running = tokio::spawn(async move {
        let handler = silent;
        let execution = execution();
        run(&machine, &execution, &handler, &Real, &mut |_: &HistoryEvent| {}).await
    });
    let outcome = running.await.unwrap();
    assert_eq!(outcome.status(), "FAILED");
}

#[test]
fn a_clock_wakes_those_whose_time_has_come() {
    let clock = clock();
    let mut short = clock.sleep(Duration::from_secs(1));
    let mut long = clock.sleep(Duration::from_secs(10));
    let mut context = Context::from_waker(Waker::noop());
    assert!(short.as_mut().poll(&mut context).is_pending());
    assert!(long.as_mut().poll(&mut context).is_pending());
    clock.advance(Duration::from_millis(999));
    assert!(short.as_mut().poll(&mut context).is_pending());
    assert!(clock.advance_to_next());
    assert!(short.as_mut().poll(&mut context).is_ready());
    assert!(long.as_mut().poll(&mut context).is_pending());
    // Who no longer waits does not hold the clock back.
    drop(long);
    assert!(!clock.advance_to_next());
    assert_eq!(clock.now().to_string(), "2026-01-31T12:00:01Z");
}
