//! Map runs, as their observer sees them.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::HashMap;
use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Waker};
use std::time::Duration;

use futures::FutureExt;
use futures::channel::oneshot;
use serde_json::{Value, json};
use sfn_builder::StateMachine;
use sfn_local::engine::{Command, Progress, Signal};
use sfn_local::{
    BoxFuture, Clock, Engine, Event, Execution, HistoryEvent, MapRunSettings, MapRunStatus, Observer,
    Outcome, Runner, TaskCall, TaskFailure, VirtualClock,
};

/// Keeps what it is told, and tells settings.
#[derive(Default)]
struct Watching {
    told: Mutex<Vec<MapRunStatus>>,
    settings: Mutex<Option<MapRunSettings>>,
    /// Who waits for other settings.
    waiting: Mutex<Vec<oneshot::Sender<()>>>,
    /// The children that have begun, in that order.
    begun: Mutex<Vec<String>>,
    to_redrive: Mutex<HashMap<String, String>>,
}

impl Watching {
    fn set_max_concurrency(&self, max_concurrency: u64) {
        self.set(MapRunSettings {
            max_concurrency,
            ..MapRunSettings::default()
        });
    }

    fn set(&self, settings: MapRunSettings) {
        *self.settings.lock().unwrap() = Some(settings);
        self.waiting.lock().unwrap().clear();
    }

    /// The status that was told last, with the children that are pending, run, and were stopped.
    fn last(&self) -> (String, u64, u64, u64) {
        let told = self.told.lock().unwrap();
        let last = told.last().unwrap();
        (last.status.clone(), last.pending, last.running, last.aborted)
    }
}

impl Observer for Watching {
    fn child_event(&self, _: &str, child: &Execution, event: &HistoryEvent) {
        if event.id == 1 {
            self.begun.lock().unwrap().push(child.arn.clone());
        }
    }

    fn children_to_redrive(
        &self,
        _: &str,
        redrives: u64,
    ) -> BoxFuture<'_, io::Result<HashMap<String, String>>> {
        assert_eq!(redrives, 1);
        let to_redrive = self.to_redrive.lock().unwrap().clone();
        async { Ok(to_redrive) }.boxed()
    }

    fn map_run(&self, _: &str, status: &MapRunStatus) {
        self.told.lock().unwrap().push(status.clone());
    }

    fn settings(&self, _: &str) -> Option<MapRunSettings> {
        *self.settings.lock().unwrap()
    }

    fn settings_changed(&self, _: &str) -> BoxFuture<'_, ()> {
        let (sender, receiver) = oneshot::channel();
        self.waiting.lock().unwrap().push(sender);
        receiver.map(|_| ()).boxed()
    }
}

/// A distributed Map state over five items, whose children wait for a task.
fn machine(max_concurrency: u64) -> StateMachine {
    let definition = json!({"StartAt": "M", "States": {"M": {
        "Type": "Map", "MaxConcurrency": max_concurrency, "End": true,
        "ItemProcessor": {
            "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"},
            "StartAt": "T", "States": {"T": {
                "Type": "Task", "Resource": "arn:aws:states:::lambda:invoke", "Parameters": {}, "End": true,
            }},
        },
    }}});
    StateMachine::from_json(&definition.to_string()).unwrap()
}

fn execution() -> Execution {
    let arn = "arn:aws:states:us-east-1:000000000000:stateMachine:m";
    Execution::new(arn, "e", json!([1, 2, 3, 4, 5]))
}

fn silent(_: TaskCall) -> BoxFuture<'static, Result<Value, TaskFailure>> {
    Box::pin(std::future::pending())
}

/// Polls until nothing changes any more.
fn poll(running: &mut BoxFuture<'_, Outcome>) {
    for _ in 0..4 {
        let polled = running.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(polled.is_pending());
    }
}

#[test]
fn of_an_aborted_run_only_those_that_ran_are_aborted() {
    let (machine, execution) = (machine(2), execution());
    let (watching, clock) = (
        Watching::default(),
        VirtualClock::new("2026-01-31T12:00:00Z".parse().unwrap()),
    );
    let mut record = |_: &HistoryEvent| {};
    let runner = Runner::new(&silent, &clock).with_observer(&watching);
    let mut running = runner.run(&machine, &execution, &mut record).boxed();
    poll(&mut running);
    assert_eq!(watching.last(), ("RUNNING".to_owned(), 3, 2, 0));
    drop(running);
    assert_eq!(watching.last(), ("ABORTED".to_owned(), 3, 0, 2));
}

#[test]
fn more_may_run_at_once_before_any_has_ended() {
    let (machine, execution) = (machine(1), execution());
    let (watching, clock) = (
        Watching::default(),
        VirtualClock::new("2026-01-31T12:00:00Z".parse().unwrap()),
    );
    let mut record = |_: &HistoryEvent| {};
    let runner = Runner::new(&silent, &clock).with_observer(&watching);
    let mut running = runner.run(&machine, &execution, &mut record).boxed();
    for (max_concurrency, pending, runs) in [(1, 4, 1), (3, 2, 3), (2, 2, 3), (0, 0, 5)] {
        watching.set_max_concurrency(max_concurrency);
        poll(&mut running);
        assert_eq!(watching.last(), ("RUNNING".to_owned(), pending, runs, 0));
    }
}

/// The first child has failed, which was tolerated, and the second says nothing.
#[test]
fn fewer_failures_may_be_tolerated_before_another_child_has_ended() {
    let (machine, execution) = (machine(2), execution());
    let (watching, clock) = (
        Watching::default(),
        VirtualClock::new("2026-01-31T12:00:00Z".parse().unwrap()),
    );
    let tolerating = |failures| MapRunSettings {
        max_concurrency: 2,
        tolerated_failure_count: Some(failures),
        ..MapRunSettings::default()
    };
    watching.set(tolerating(1));
    let calls = AtomicU32::new(0);
    let first_fails = |call: TaskCall| match calls.fetch_add(1, Ordering::Relaxed) {
        0 => async { Err(TaskFailure::new("E", "")) }.boxed(),
        _ => silent(call),
    };
    let mut record = |_: &HistoryEvent| {};
    let runner = Runner::new(&first_fails, &clock).with_observer(&watching);
    let mut running = runner.run(&machine, &execution, &mut record).boxed();
    poll(&mut running);
    assert_eq!(watching.last(), ("RUNNING".to_owned(), 2, 2, 0));
    watching.set(tolerating(0));
    let outcome = running.now_or_never().unwrap();
    assert!(
        matches!(&outcome, Outcome::Failed { error: Some(error), .. } if error == "States.ExceedToleratedFailureThreshold"),
        "{outcome:?}"
    );
}

#[test]
fn children_that_are_not_redriven_are_what_they_were() {
    let (machine, execution) = (machine(2), execution());
    let (watching, clock) = (
        Watching::default(),
        VirtualClock::new("2026-01-31T12:00:00Z".parse().unwrap()),
    );
    // Two are under way when the first fails.
    let sleeping = clock.clone();
    let failing = move |_: TaskCall| -> BoxFuture<'static, Result<Value, TaskFailure>> {
        let second = sleeping.sleep(Duration::from_secs(1));
        Box::pin(async move {
            second.await;
            Err(TaskFailure::new("E", ""))
        })
    };
    let mut history = Vec::new();
    let mut record = |event: &HistoryEvent| history.push(event.clone());
    let runner = Runner::new(&failing, &clock).with_observer(&watching);
    let outcome = clock.block_on(runner.run(&machine, &execution, &mut record));
    assert_eq!(outcome.status(), "FAILED");
    let begun = watching.begun.lock().unwrap().clone();
    let before = ["FAILED", "TIMED_OUT"].map(str::to_owned);
    *watching.to_redrive.lock().unwrap() = begun.into_iter().zip(before).collect();
    watching.set_max_concurrency(1);
    let runner = Runner::new(&silent, &clock).with_observer(&watching);
    let mut record = |_: &HistoryEvent| {};
    let redriven = runner.redrive(&machine, &execution, history, &mut record);
    let mut running = redriven.map(|outcome| outcome.unwrap().unwrap()).boxed();
    let last = || watching.told.lock().unwrap().last().unwrap().clone();
    poll(&mut running);
    let status = last();
    assert_eq!(
        (status.pending, status.pending_redrive, status.running),
        (3, 1, 1)
    );
    drop(running);
    let status = last();
    assert_eq!(
        (status.pending, status.pending_redrive, status.running),
        (3, 0, 0)
    );
    assert_eq!((status.failed, status.timed_out, status.aborted), (0, 1, 1));
}

/// Every time the map run fails.
#[test]
fn a_map_run_is_redriven_a_thousand_times() {
    let (machine, execution) = (machine(1), execution());
    let now = "2026-01-31T12:00:00Z".parse().unwrap();
    let mut engine = Engine::new(&machine, &execution);
    engine.start(now);
    for redrives in 0..=1000 {
        if redrives > 0 {
            assert!(engine.redrive(now));
        }
        while engine.advance(now, 64) == Progress::Ready {}
        let commands = engine.take_commands();
        let [Command::MapRun { task, .. }] = commands[..] else {
            panic!("{redrives}: {commands:?}");
        };
        let result = Err(TaskFailure::new("E", ""));
        engine.signal(now, Signal::MapRunEnded { task, result });
        while engine.advance(now, 64) == Progress::Ready {}
        let events = engine.take_events();
        let redriven = events.iter().find_map(|event| match &event.event {
            Event::MapRunRedriven { redrive_count, .. } => Some(*redrive_count),
            _ => None,
        });
        assert_eq!(redriven, Some(redrives).filter(|redrives| *redrives > 0));
        let failed = Outcome::Failed {
            error: Some("E".into()),
            cause: None,
        };
        assert_eq!(engine.outcome(), Some(&failed), "{redrives}");
    }
    // It stays at that.
    for _ in 0..2 {
        assert!(engine.redrive(now));
        while engine.advance(now, 64) == Progress::Ready {}
        assert!(engine.take_commands().is_empty());
        assert_eq!(
            engine.outcome(),
            Some(&Outcome::Failed {
                error: Some("States.Runtime".into()),
                cause: Some(
                    "An error occurred while executing the state 'M' (entered at the event id #2). The map run cannot be \
                     redriven more than 1000 times"
                        .into()
                ),
            })
        );
    }
}
