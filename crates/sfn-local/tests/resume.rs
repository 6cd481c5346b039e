//! An execution is its history: killed after any event and resumed, it goes on as if nothing had happened.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::HashMap;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use serde_json::{Map, Value, json};
use sfn_builder::StateMachine;
use sfn_local::{
    BoxFuture, Clock, Event, Execution, HistoryEvent, Outcome, ResumeError, Runner, TaskCall, TaskFailure,
    TaskHandler, VirtualClock,
};

/// splitmix64
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Answers by what it is asked, at moments that do not depend on when it is asked: called again, it answers the same.
struct Oracle {
    clock: VirtualClock,
    seed: u64,
}

impl TaskHandler for Oracle {
    fn call(&self, task: TaskCall) -> BoxFuture<'_, Result<Value, TaskFailure>> {
        let asked = format!("{}{}{}", task.state, task.parameters, task.retry_count);
        let mut dice = Dice(self.seed ^ hash(&asked));
        let clock = self.clock.clone();
        Box::pin(async move {
            let every = 3 + i64::try_from(dice.below(40)).unwrap();
            if dice.below(2) == 0 {
                task.progress.started(Some("worker".into()));
                task.submitted.report(json!({"job": every}));
            }
            let rest = every * 1000 - clock.now().as_millisecond() % (every * 1000);
            clock
                .sleep(Duration::from_millis(u64::try_from(rest).unwrap()))
                .await;
            match dice.below(6) {
                0 => Err(TaskFailure::new("A", "a")),
                1 => Err(TaskFailure::new("B", "")),
                _ => Ok(json!({"n": every, "list": [1, 2]})),
            }
        })
    }
}

/// Makes machines that the checker takes.
struct Machines {
    dice: Dice,
    named: u64,
}

impl Machines {
    fn machine(&mut self, depth: u64) -> Value {
        let count = 1 + self.dice.below(3);
        let names: Vec<String> = (0..count)
            .map(|_| {
                self.named += 1;
                format!("s{}", self.named)
            })
            .collect();
        let mut states = Map::new();
        for (index, name) in names.iter().enumerate() {
            let mut state = self.state(depth);
            match names.get(index + 1) {
                Some(next) => state["Next"] = next.as_str().into(),
                None => state["End"] = true.into(),
            }
            if state["Type"] != "Wait" && state["Type"] != "Pass" {
                if self.dice.below(2) == 0 {
                    let jitter = if self.dice.below(2) == 0 { "FULL" } else { "NONE" };
                    state["Retry"] = json!([{"ErrorEquals": ["A"], "IntervalSeconds": 2,
                        "MaxAttempts": self.dice.below(3), "JitterStrategy": jitter}]);
                }
                if let (Some(next), true) = (names.get(index + 1), self.dice.below(2) == 0) {
                    state["Catch"] = json!([{"ErrorEquals": ["B", "States.Timeout"], "Next": next,
                        "Assign": {"caught.$": "$.Error"}, "ResultPath": "$.e"}]);
                }
            }
            states.insert(name.clone(), state);
        }
        json!({"StartAt": names[0], "States": states})
    }

    fn state(&mut self, depth: u64) -> Value {
        let kinds = if depth == 0 { 5 } else { 8 };
        match self.dice.below(kinds) {
            0 => {
                json!({"Type": "Pass", "Parameters": {"id.$": "States.UUID()", "n": 1}, "ResultPath": "$.p"})
            }
            1 => json!({"Type": "Pass", "QueryLanguage": "JSONata", "Assign": {"r": "{% $random() %}"},
                        "Output": "{% $merge([$states.input, {'now': $now()}]) %}"}),
            2 => json!({"Type": "Wait", "Seconds": self.dice.below(30)}),
            3 | 4 => {
                let resource = match self.dice.below(4) {
                    0 => "arn:aws:lambda:us-east-1:000000000000:function:f",
                    1 => "arn:aws:states:us-east-1:000000000000:activity:a",
                    2 => "arn:aws:states:::batch:submitJob.sync",
                    _ => "arn:aws:states:::sqs:sendMessage.waitForTaskToken",
                };
                let mut state = json!({"Type": "Task", "Resource": resource, "ResultPath": "$.t",
                    "Parameters": {"n.$": "$$.State.Name", "t": 1}});
                if resource.ends_with("Token") {
                    state["Parameters"]["token.$"] = "$$.Task.Token".into();
                }
                if self.dice.below(3) == 0 {
                    state["TimeoutSeconds"] = (1 + self.dice.below(40)).into();
                }
                state
            }
            5 => {
                let branches: Vec<Value> = (0..1 + self.dice.below(3))
                    .map(|_| self.machine(depth - 1))
                    .collect();
                json!({"Type": "Parallel", "Branches": branches, "ResultPath": "$.b"})
            }
            6 => {
                json!({"Type": "Map", "ItemProcessor": self.machine(depth - 1), "MaxConcurrency": self.dice.below(3),
                        "ItemSelector": {"i.$": "$$.Map.Item.Index"}, "ItemsPath": "$.items", "ResultPath": "$.m"})
            }
            _ => {
                // The children of a map run begin anew: here they take no time.
                self.named += 1;
                let name = format!("s{}", self.named);
                let mut states = Map::new();
                states.insert(name.clone(), json!({"Type": "Pass", "End": true}));
                let mut processor = json!({"StartAt": name, "States": states});
                processor["ProcessorConfig"] = json!({"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"});
                json!({"Type": "Map", "ItemProcessor": processor, "ItemsPath": "$.items",
                       "ItemSelector": {"i.$": "$$.Map.Item.Index", "items": []},
                       "ToleratedFailurePercentage": 100, "ResultPath": "$.d"})
            }
        }
    }
}

fn machine(seed: u64) -> StateMachine {
    let mut machines = Machines {
        dice: Dice(seed),
        named: 0,
    };
    let mut definition = machines.machine(2);
    if machines.dice.below(4) == 0 {
        definition["TimeoutSeconds"] = (1 + machines.dice.below(100)).into();
    }
    StateMachine::from_json(&definition.to_string()).unwrap()
}

fn execution(seed: u64) -> Execution {
    let arn = "arn:aws:states:us-east-1:000000000000:stateMachine:m";
    Execution::new(arn, "e", json!({"items": [10, 20, 30]})).with_seed(seed)
}

/// From the beginning, or from where a history ends, at that moment.
fn play(machine: &StateMachine, seed: u64, before: &[HistoryEvent]) -> (Outcome, Vec<HistoryEvent>) {
    let start = before
        .last()
        .map_or("2026-01-31T12:00:00Z".parse().unwrap(), |event| event.timestamp);
    let clock = VirtualClock::new(start);
    let oracle = Oracle {
        clock: clock.clone(),
        seed,
    };
    let execution = execution(seed);
    let mut history = before.to_vec();
    let mut record = |event: &HistoryEvent| history.push(event.clone());
    let runner = Runner::new(&oracle, &clock);
    let outcome = clock
        .block_on(runner.resume(machine, &execution, before.to_vec(), &mut record))
        .unwrap();
    (outcome, history)
}

/// Whether a task has said something.
fn is_answer(event: &Event) -> bool {
    let name = event.type_name();
    ["Task", "LambdaFunction", "Activity"].iter().any(|kind| {
        let what = name.strip_prefix(kind).unwrap_or_default();
        ["Succeeded", "Failed", "SubmitFailed"].contains(&what)
    })
}

/// Whether a task has been heard of.
fn is_progress(event: &Event) -> bool {
    ["TaskStarted", "TaskSubmitted"].contains(&event.type_name())
}

proptest! {
    // The seeds of failures stand in `resume.proptest-regressions`.
    #![proptest_config(ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct("tests/resume.proptest-regressions"))),
        ..ProptestConfig::with_cases(64)
    })]

    #[test]
    fn killed_after_any_event_it_goes_on_the_same(seed: u64) {
        let machine = machine(seed);
        let (outcome, whole) = play(&machine, seed, &[]);
        let again = play(&machine, seed, &[]);
        prop_assert_eq!(&outcome, &again.0);
        prop_assert_eq!(&whole, &again.1);

        prop_assert!(whole.last().unwrap().event.is_final());
        for (at, event) in whole.iter().enumerate() {
            prop_assert_eq!(event.id, at as u64 + 1);
            prop_assert!(event.previous_event_id < event.id);
        }
        prop_assert!(whole.windows(2).all(|pair| pair[0].timestamp <= pair[1].timestamp));

        // Every event would take long; the step is no multiple of anything in particular.
        let step = 1 + whole.len() / 24;
        for end in (1..whole.len()).step_by(step) {
            // Of two tasks that end at the same moment, a kill in between leaves one to be called again at that moment: the
            // oracle cannot know that it is to answer at once.
            let now = whole[end - 1].timestamp;
            let soon = || whole[end..].iter().filter(|event| event.timestamp == now);
            if soon().any(|event| is_answer(&event.event)) {
                continue;
            }
            // Likewise of a task that is only just heard of, and a map run that ends, which both begin anew.
            let of_map_run = |event: &&HistoryEvent| event.event.type_name().starts_with("MapRun");
            if soon().any(|event| is_progress(&event.event)) && soon().any(|event| of_map_run(&event)) {
                continue;
            }
            // As it was kept.
            let kept: Vec<HistoryEvent> = whole[..end]
                .iter()
                .map(|event| HistoryEvent::from_record(&event.to_record()).unwrap())
                .collect();
            let (ended, history) = play(&machine, seed, &kept);
            let differs = history.iter().zip(&whole).find(|(found, expected)| found != expected);
            prop_assert!(differs.is_none(), "killed after {}: {:#?}", end, differs);
            prop_assert_eq!(history.len(), whole.len(), "killed after {}", end);
            prop_assert_eq!(&ended, &outcome);
        }
    }

    #[test]
    fn no_task_is_tried_more_often_than_its_retriers_allow(seed: u64) {
        let machine = machine(seed);
        let (_, history) = play(&machine, seed, &[]);
        let mut allowed = HashMap::new();
        for state in machine.all_states() {
            let most: u64 = state.retry().iter().map(|retrier| retrier.max_attempts).sum();
            allowed.insert(state.name.clone(), most + 1);
        }
        // By the entry of the state: its own chain of events leads back to it.
        let mut entry_of = HashMap::new();
        let mut tries: HashMap<u64, (String, u64)> = HashMap::new();
        for event in &history {
            if let Event::StateEntered { name, .. } = &event.event {
                entry_of.insert(event.id, event.id);
                tries.insert(event.id, (name.clone(), 0));
                continue;
            }
            let Some(entry) = entry_of.get(&event.previous_event_id).copied() else { continue };
            entry_of.insert(event.id, entry);
            let scheduled = matches!(
                event.event,
                Event::TaskScheduled { .. } | Event::LambdaFunctionScheduled { .. } | Event::ActivityScheduled { .. }
            );
            if let (true, Some((name, count))) = (scheduled, tries.get_mut(&entry)) {
                *count += 1;
                prop_assert!(*count <= allowed[name], "{}", name);
            }
        }
    }
}

#[test]
fn another_machine_s_history_is_refused() {
    let pass =
        json!({"StartAt": "A", "States": {"A": {"Type": "Pass", "Next": "B"}, "B": {"Type": "Succeed"}}});
    let wait = json!({"StartAt": "A", "States": {"A": {"Type": "Wait", "Seconds": 1, "End": true}}});
    let [pass, wait] =
        [pass, wait].map(|definition| StateMachine::from_json(&definition.to_string()).unwrap());
    let (_, history) = play(&pass, 0, &[]);
    let clock = VirtualClock::new("2026-01-31T12:00:00Z".parse().unwrap());
    let oracle = Oracle {
        clock: clock.clone(),
        seed: 0,
    };
    let execution = execution(0);
    let runner = Runner::new(&oracle, &clock);
    let refused = clock.block_on(runner.resume(&wait, &execution, history[..3].to_vec(), &mut |_| {}));
    assert_eq!(refused, Err(ResumeError::Mismatch { id: 2 }));
}

/// Fails until it is told to be well.
struct Moody {
    well: bool,
}

impl TaskHandler for Moody {
    fn call(&self, task: TaskCall) -> BoxFuture<'_, Result<Value, TaskFailure>> {
        let fails = !self.well && task.state == "Bad";
        Box::pin(async move {
            if fails {
                Err(TaskFailure::new("E", "why"))
            } else {
                Ok(task.parameters)
            }
        })
    }
}

#[test]
fn a_failed_execution_is_redriven_from_where_it_failed() {
    let task = "arn:aws:states:::lambda:invoke";
    let definition = json!({"StartAt": "First", "States": {
        "First": {"Type": "Pass", "Result": {"n": 1}, "Next": "P"},
        "P": {"Type": "Parallel", "End": true, "Branches": [
            {"StartAt": "Good", "States": {"Good": {"Type": "Task", "Resource": task, "End": true}}},
            {"StartAt": "Bad", "States": {"Bad": {"Type": "Task", "Resource": task, "End": true}}},
        ]},
    }});
    let machine = StateMachine::from_json(&definition.to_string()).unwrap();
    let clock = VirtualClock::new("2026-01-31T12:00:00Z".parse().unwrap());
    let execution = execution(0);
    let mut history: Vec<HistoryEvent> = Vec::new();
    let outcome = clock.block_on(Runner::new(&Moody { well: false }, &clock).run(
        &machine,
        &execution,
        &mut |event: &HistoryEvent| history.push(event.clone()),
    ));
    assert_eq!(outcome.status(), "FAILED");
    let before = history.len();
    let mut more = Vec::new();
    let outcome = clock.block_on(Runner::new(&Moody { well: true }, &clock).redrive(
        &machine,
        &execution,
        history.clone(),
        &mut |event: &HistoryEvent| more.push(event.clone()),
    ));
    let output = json!([{"n": 1}, {"n": 1}]);
    assert_eq!(outcome, Ok(Some(Outcome::Succeeded { output })));
    let names: Vec<_> = more.iter().map(HistoryEvent::type_name).collect();
    // What has ended well is not done again.
    assert_eq!(
        names,
        [
            "ExecutionRedriven",
            "TaskScheduled",
            "TaskStarted",
            "TaskSucceeded",
            "TaskStateExited",
            "ParallelStateSucceeded",
            "ParallelStateExited",
            "ExecutionSucceeded",
        ]
    );
    assert_eq!(more[0].id, before as u64 + 1);
    // A redriven history is a history: it can be gone on from, and what has succeeded cannot be redriven.
    history.extend(more);
    let end = history.len() - 2;
    let mut rest = Vec::new();
    let resumed = clock.block_on(Runner::new(&Moody { well: true }, &clock).resume(
        &machine,
        &execution,
        history[..end].to_vec(),
        &mut |event: &HistoryEvent| rest.push(event.event.clone()),
    ));
    assert_eq!(resumed.unwrap().status(), "SUCCEEDED");
    assert_eq!(rest.len(), 2);
    let nothing = clock.block_on(Runner::new(&Moody { well: true }, &clock).redrive(
        &machine,
        &execution,
        history,
        &mut |_: &HistoryEvent| {},
    ));
    assert_eq!(nothing, Ok(None));
}

#[test]
fn waits_are_scaled() {
    let definition = json!({"StartAt": "W", "States": {"W": {"Type": "Wait", "Seconds": 1000, "End": true}}});
    let machine = StateMachine::from_json(&definition.to_string()).unwrap();
    let start = "2026-01-31T12:00:00Z".parse().unwrap();
    let clock = VirtualClock::new(start);
    let runner = Runner::new(&Moody { well: true }, &clock).with_wait_scale(0.01);
    clock.block_on(runner.run(&machine, &execution(0), &mut |_: &HistoryEvent| {}));
    assert_eq!(clock.now().duration_since(start).as_secs(), 10);
}
