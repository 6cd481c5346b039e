//! What must hold for any machine: it ends, the same way twice, and its history is in order.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};
use sfn_builder::{
    Catch, Choice, Condition, Fail, MachineBuilder, Pass, Retry, State, StateMachine, Succeed, Task, Wait,
};
use sfn_local::{
    BoxFuture, Clock, Event, Execution, HistoryEvent, Outcome, TaskCall, TaskFailure, TaskHandler,
    VirtualClock, run,
};

/// Answers by a random looking rule of the seed and the number of the call.
struct Dice {
    clock: VirtualClock,
    seed: u64,
    calls: AtomicU64,
}

impl TaskHandler for Dice {
    fn call(&self, task: TaskCall) -> BoxFuture<'_, Result<Value, TaskFailure>> {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        // splitmix64
        let mut dice = self.seed.wrapping_add(call.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        dice = (dice ^ (dice >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        dice ^= dice >> 31;
        let clock = self.clock.clone();
        Box::pin(async move {
            if dice & 8 == 0 {
                task.submitted.report(json!({"call": call}));
            }
            if dice & 3 == 0 {
                clock.sleep(Duration::from_secs(dice % 100)).await;
            }
            match (dice >> 8) % 8 {
                0 => Err(TaskFailure::new("A", "a")),
                1 => Err(TaskFailure::new("B", "b")),
                2 => Ok(json!({"n": call, "s": "x", "Error": {"Error": "E"}})),
                3 => Ok(Value::Null),
                4 => Ok(json!(["not an object"])),
                _ => Ok(task.parameters),
            }
        })
    }
}

const NAMES: [&str; 6] = ["s0", "s1", "s2", "s3", "good", "bad"];

fn state() -> impl Strategy<Value = State> {
    let name = || proptest::sample::select(&NAMES[..]);
    let path = || proptest::sample::select(vec!["$", "$.n", "$.a.b", "$['s']", "$$.State.Name", "$.list[0]"]);
    let own = || proptest::sample::select(vec!["$", "$.n", "$.a.b", "$.list[0]"]);
    let task = (
        name(),
        name(),
        path(),
        own(),
        0..4_u64,
        1..200_u64,
        any::<bool>(),
        any::<u8>(),
    )
        .prop_map(|(next, caught, path, own, attempts, timeout, jitter, bits)| {
            let retry = Retry::on(["A", "States.Timeout"])
                .max_attempts(attempts)
                .interval_seconds(timeout);
            let mut task = Task::create_training_job_sync()
                .timeout_seconds(timeout)
                .retry(if jitter { retry.full_jitter() } else { retry })
                .next(next);
            if bits & 1 != 0 {
                task = task.input_path(path);
            }
            if bits & 2 != 0 {
                task = task
                    .parameters(json!({"n.$": "States.MathAdd(1, 2)", "v.$": path, "id.$": "States.UUID()"}));
            }
            if bits & 4 != 0 {
                task = task.result_path(own);
            }
            if bits & 8 != 0 {
                task = task.catch(Catch::on(["B"], caught).result_path("$.Error"));
            }
            if bits & 16 != 0 {
                task = task.catch(Catch::all(caught));
            }
            State::from(task)
        });
    let pass = (name(), path(), own()).prop_map(|(next, path, own)| {
        Pass::new()
            .parameters(json!({"v.$": path}))
            .result_path(own)
            .next(next)
            .into()
    });
    let choice =
        (name(), name(), path(), any::<bool>(), any::<bool>()).prop_map(|(a, b, path, present, default)| {
            let choice = Choice::new().when(
                Condition::any([
                    Condition::all([
                        Condition::is_present(path, present),
                        Condition::is_numeric("$.n", true),
                    ]),
                    Condition::string_equals("$.s", "x"),
                ]),
                a,
            );
            if default {
                choice.default(b).into()
            } else {
                State::from(choice)
            }
        });
    let wait = (name(), 0..100_000_u64, any::<bool>()).prop_map(|(next, seconds, fixed)| {
        if fixed {
            Wait::seconds(seconds).next(next).into()
        } else {
            State::from(Wait::seconds_path("$.n").next(next))
        }
    });
    prop_oneof![4 => task, 2 => pass, 2 => choice, 1 => wait]
}

/// A machine in which every state can be reached, whatever the states themselves lead to.
fn machine(states: &[State], timeout: Option<u64>) -> StateMachine {
    let mut first = Choice::new();
    for name in &NAMES[1..] {
        first = first.when(Condition::string_equals("$.go", *name), *name);
    }
    let mut builder: MachineBuilder = StateMachine::builder("start").state("start", first.default("s0"));
    if let Some(seconds) = timeout {
        builder = builder.timeout_seconds(seconds);
    }
    for (name, state) in NAMES.iter().zip(states) {
        builder = builder.state(*name, state.clone());
    }
    builder
        .state("good", Succeed::new())
        .state("bad", Fail::new().error("Bad"))
        .build()
        .unwrap()
}

fn play(machine: &StateMachine, input: &Value, seed: u64) -> (Outcome, Vec<HistoryEvent>) {
    let clock = VirtualClock::new("2026-01-31T12:00:00Z".parse().unwrap());
    let dice = Dice {
        clock: clock.clone(),
        seed,
        calls: AtomicU64::new(0),
    };
    let execution = Execution::new(
        "arn:aws:states:us-east-1:000000000000:stateMachine:m",
        "e",
        input.clone(),
    )
    .with_seed(seed);
    let mut history = Vec::new();
    let outcome = clock.block_on(run(
        machine,
        &execution,
        &dice,
        &clock,
        &mut |event: &HistoryEvent| {
            history.push(event.clone());
        },
    ));
    (outcome, history)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn every_machine_ends_the_same_way_twice(
        states in proptest::collection::vec(state(), 4),
        timeout in proptest::option::of(1..1_000_000_u64),
        seed: u64,
        input in prop_oneof![Just(json!({"n": 3, "s": "x", "list": [1]})), Just(json!({"go": "s2"})), Just(json!(null)), Just(json!({}))],
    ) {
        let machine = machine(&states, timeout);
        let (outcome, history) = play(&machine, &input, seed);
        let again = play(&machine, &input, seed);
        prop_assert_eq!(&outcome, &again.0);
        prop_assert_eq!(&history, &again.1);

        // Ids have no gaps, time does not run back, and only the last event is final.
        prop_assert!(history.len() <= 25_000);
        for (at, event) in history.iter().enumerate() {
            prop_assert_eq!(event.id, at as u64 + 1);
            // The machine's timeout follows no other event.
            let follows_none = at < 2 || matches!(event.event, Event::ExecutionTimedOut { .. });
            prop_assert_eq!(event.previous_event_id, if follows_none { 0 } else { at as u64 });
            prop_assert_eq!(event.event.is_final(), at + 1 == history.len());
        }
        prop_assert!(history.windows(2).all(|pair| pair[0].timestamp <= pair[1].timestamp));
        let last = &history.last().unwrap().event;
        let agree = match (&outcome, last) {
            (Outcome::Succeeded { output }, Event::ExecutionSucceeded { output: text }) => &output.to_string() == text,
            (Outcome::Failed { error, cause }, Event::ExecutionFailed { error: e, cause: c }) => error == e && cause == c,
            (Outcome::TimedOut { .. }, Event::ExecutionTimedOut { .. }) => true,
            _ => false,
        };
        prop_assert!(agree, "{:?} and {:?}", outcome, last);

        // No state is tried more often than its retrier allows.
        let mut tries = 0;
        for event in &history {
            match &event.event {
                Event::StateEntered { .. } => tries = 0,
                Event::TaskScheduled { .. } => tries += 1,
                _ => {}
            }
            prop_assert!(tries <= 4);
        }
        if let Some(seconds) = timeout {
            let lasted = history.last().unwrap().timestamp.duration_since(history[0].timestamp).as_secs();
            prop_assert!(lasted <= i64::try_from(seconds).unwrap());
        }
    }
}
