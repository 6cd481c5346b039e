//! How fast executions run, in time that does not pass.
//!
//! `cargo bench -p sfn-local`; the counters say executions or items per second of one core.

#![expect(clippy::unwrap_used, reason = "a benchmark fails loudly")]

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use serde_json::{Value, json};
use sfn_builder::StateMachine;
use sfn_local::{
    BoxFuture, Engine, Execution, HistoryEvent, Outcome, Runner, TaskCall, TaskFailure, VirtualClock,
};

fn main() {
    divan::main();
}

const ARN: &str = "arn:aws:states:us-east-1:000000000000:stateMachine:m";

fn machine(states: Value) -> StateMachine {
    let start = states.as_object().unwrap().keys().next().unwrap().clone();
    StateMachine::from_json(&json!({"StartAt": start, "States": states}).to_string()).unwrap()
}

fn clock() -> VirtualClock {
    VirtualClock::new("2026-01-31T12:00:00Z".parse().unwrap())
}

fn echo(task: TaskCall) -> BoxFuture<'static, Result<Value, TaskFailure>> {
    Box::pin(async move { Ok(task.parameters) })
}

fn three_passes() -> StateMachine {
    machine(json!({
        "A": {"Type": "Pass", "Next": "B"},
        "B": {"Type": "Pass", "Result": {"k": 1}, "ResultPath": "$.b", "Next": "C"},
        "C": {"Type": "Pass", "Parameters": {"v.$": "$.b.k"}, "End": true},
    }))
}

fn run(machine: &StateMachine, input: Value) -> (Outcome, usize) {
    let clock = clock();
    let execution = Execution::new(ARN, "e", input);
    let mut events = 0;
    let outcome =
        clock.block_on(
            Runner::new(&echo, &clock).run(machine, &execution, &mut |event: &HistoryEvent| {
                black_box(event);
                events += 1;
            }),
        );
    assert_eq!(outcome.status(), "SUCCEEDED");
    (outcome, events)
}

/// Executions of a machine of three Pass states, with their histories.
#[divan::bench]
fn three_pass_states(bencher: Bencher<'_, '_>) {
    let machine = three_passes();
    bencher
        .counter(ItemsCount::new(1_usize))
        .bench_local(|| run(&machine, black_box(json!({"a": 1}))));
}

/// The same in JSONata.
#[divan::bench]
fn three_pass_states_in_jsonata(bencher: Bencher<'_, '_>) {
    let machine = machine(json!({
        "A": {"Type": "Pass", "QueryLanguage": "JSONata", "Output": "{% $merge([$states.input, {'b': 1}]) %}", "Next": "B"},
        "B": {"Type": "Pass", "QueryLanguage": "JSONata", "Output": {"v": "{% $states.input.b + 1 %}"}, "Next": "C"},
        "C": {"Type": "Pass", "QueryLanguage": "JSONata", "End": true},
    }));
    bencher
        .counter(ItemsCount::new(1_usize))
        .bench_local(|| run(&machine, black_box(json!({"a": 1}))));
}

/// Executions of one Task state whose answer is there at once.
#[divan::bench]
fn one_task(bencher: Bencher<'_, '_>) {
    let machine = machine(json!({
        "T": {"Type": "Task", "Resource": "arn:aws:states:::lambda:invoke", "Parameters": {"p.$": "$"}, "End": true},
    }));
    bencher
        .counter(ItemsCount::new(1_usize))
        .bench_local(|| run(&machine, black_box(json!({"a": 1}))));
}

/// Items of a distributed Map state: each is an execution with a history of its own.
#[divan::bench(sample_count = 5, sample_size = 1)]
fn distributed_map_of_100000_items(bencher: Bencher<'_, '_>) {
    let machine = machine(json!({
        "M": {"Type": "Map", "ResultPath": null, "OutputPath": null, "End": true, "ItemProcessor": {
            "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "EXPRESS"},
            "StartAt": "P", "States": {"P": {"Type": "Pass", "End": true}},
        }},
    }));
    let items: Vec<u32> = (0..100_000).collect();
    bencher
        .counter(ItemsCount::new(items.len()))
        .bench_local(|| run(&machine, black_box(json!(items))));
}

/// Items of an inline Map state; 5,000 of them make 20,000 of the 25,000 events that a history may have.
#[divan::bench]
fn inline_map_of_5000_items(bencher: Bencher<'_, '_>) {
    let machine = machine(json!({
        "M": {"Type": "Map", "ResultPath": null, "End": true, "ItemProcessor": {
            "StartAt": "P", "States": {"P": {"Type": "Pass", "End": true}},
        }},
    }));
    let items: Vec<u32> = (0..5_000).collect();
    bencher
        .counter(ItemsCount::new(items.len()))
        .bench_local(|| run(&machine, black_box(json!(items))));
}

/// Events of a history that an engine is made of again.
#[divan::bench]
fn resume_after_10000_events(bencher: Bencher<'_, '_>) {
    let machine = machine(json!({
        "A": {"Type": "Pass", "Next": "B"},
        "B": {"Type": "Choice", "Choices": [{"Variable": "$.x", "IsPresent": true, "Next": "E"}], "Default": "A"},
        "E": {"Type": "Succeed"},
    }));
    let clock = clock();
    let execution = Execution::new(ARN, "e", json!({"a": 1}));
    let mut history: Vec<HistoryEvent> = Vec::new();
    clock.block_on(
        Runner::new(&echo, &clock).run(&machine, &execution, &mut |event: &HistoryEvent| {
            history.push(event.clone())
        }),
    );
    history.truncate(10_000);
    bencher
        .counter(ItemsCount::new(history.len()))
        .with_inputs(|| history.clone())
        .bench_local_values(|history| {
            let engine = Engine::resume(machine.machine(), &execution, history).unwrap();
            assert!(engine.outcome().is_none());
        });
}
