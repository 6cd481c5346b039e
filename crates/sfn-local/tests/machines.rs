//! Small machines, their inputs, and how they end.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use expect_test::{Expect, expect};
use serde_json::{Value, json};
use sfn_builder::StateMachine;
use sfn_local::{
    BoxFuture, Clock, Event, Execution, HistoryEvent, Outcome, TaskCall, TaskFailure, TaskHandler,
    VirtualClock, run,
};

const START: &str = "2026-01-31T12:00:00Z";

/// Plays a list of answers, one for each call.
#[derive(Clone)]
struct Script {
    clock: VirtualClock,
    answers: Arc<Mutex<std::collections::VecDeque<Answer>>>,
    calls: Arc<Mutex<Vec<(String, Value)>>>,
}

enum Answer {
    Ok(Value),
    Err(&'static str, &'static str),
    /// Reports a submission, then takes so many seconds, then answers.
    Job(Value, u64, Result<Value, TaskFailure>),
    /// Takes so many seconds, then answers.
    Slow(u64, Value),
}

impl TaskHandler for Script {
    fn call(&self, task: TaskCall) -> BoxFuture<'_, Result<Value, TaskFailure>> {
        self.calls
            .lock()
            .unwrap()
            .push((task.resource.clone(), task.parameters.clone()));
        let answer = self.answers.lock().unwrap().pop_front();
        Box::pin(async move {
            match answer {
                // Without a script a task answers with what it was asked.
                None => Ok(task.parameters),
                Some(Answer::Ok(value)) => Ok(value),
                Some(Answer::Err(error, cause)) => Err(TaskFailure::new(error, cause)),
                Some(Answer::Job(submission, seconds, result)) => {
                    task.submitted.report(submission);
                    self.clock.sleep(Duration::from_secs(seconds)).await;
                    result
                }
                Some(Answer::Slow(seconds, value)) => {
                    self.clock.sleep(Duration::from_secs(seconds)).await;
                    Ok(value)
                }
            }
        })
    }
}

struct Ran {
    outcome: Outcome,
    history: Vec<HistoryEvent>,
    seconds: i64,
    calls: Vec<(String, Value)>,
}

fn play(definition: &Value, input: Value, answers: Vec<Answer>) -> Ran {
    let machine = StateMachine::from_json(&definition.to_string()).unwrap_or_else(|error| panic!("{error}"));
    let clock = VirtualClock::new(START.parse().unwrap());
    let script = Script {
        clock: clock.clone(),
        answers: Arc::new(Mutex::new(answers.into())),
        calls: Arc::default(),
    };
    let execution = Execution::new("arn:aws:states:us-east-1:000000000000:stateMachine:m", "e", input)
        .with_role_arn("arn:aws:iam::000000000000:role/r");
    let mut history = Vec::new();
    let outcome = clock.block_on(run(
        &machine,
        &execution,
        &script,
        &clock,
        &mut |event: &HistoryEvent| {
            history.push(event.clone());
        },
    ));
    let start: jiff::Timestamp = START.parse().unwrap();
    let seconds = clock.now().duration_since(start).as_secs();
    let calls = script.calls.lock().unwrap().clone();
    Ran {
        outcome,
        history,
        seconds,
        calls,
    }
}

/// The outcome in one line.
fn ending(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Succeeded { output } => format!("SUCCEEDED {output}"),
        Outcome::Failed { error, cause } => {
            format!(
                "FAILED {}: {}",
                error.as_deref().unwrap_or("-"),
                cause.as_deref().unwrap_or("-")
            )
        }
        other => other.status().to_owned(),
    }
}

fn check_ending(definition: Value, input: Value, answers: Vec<Answer>, expect: Expect) {
    expect.assert_eq(&ending(&play(&definition, input, answers).outcome));
}

/// The history as `id<previous type details` lines.
fn check_history(definition: Value, input: Value, answers: Vec<Answer>, expect: Expect) {
    let ran = play(&definition, input, answers);
    let mut text = String::new();
    for event in &ran.history {
        let json = event.to_json();
        let details = json
            .as_object()
            .unwrap()
            .iter()
            .find(|(key, _)| key.ends_with("EventDetails"));
        let details = details
            .map(|(key, value)| format!(" {key} {value}"))
            .unwrap_or_default();
        text.push_str(&format!(
            "{}<{} {}{details}\n",
            event.id,
            event.previous_event_id,
            event.type_name()
        ));
    }
    text.push_str(&format!("{} after {} s\n", ending(&ran.outcome), ran.seconds));
    expect.assert_eq(&text);
}

fn one(state: Value) -> Value {
    json!({"StartAt": "S", "States": {"S": state}})
}

#[test]
fn a_sync_task_in_full() {
    check_history(
        one(json!({
            "Type": "Task",
            "Resource": "arn:aws:states:::sagemaker:createTrainingJob.sync",
            "Parameters": {"TrainingJobName.$": "$$.Execution.Input['JobName']", "Channels": [{"Uri.$": "$.Data"}]},
            "TimeoutSeconds": 3600,
            "End": true
        })),
        json!({"JobName": "job-1", "Data": "s3://b/train.csv"}),
        vec![Answer::Job(
            json!({"TrainingJobArn": "arn"}),
            90,
            Ok(json!({"TrainingJobStatus": "Completed"})),
        )],
        expect![[r#"
            1<0 ExecutionStarted executionStartedEventDetails {"input":"{\"JobName\":\"job-1\",\"Data\":\"s3://b/train.csv\"}","inputDetails":{"truncated":false},"roleArn":"arn:aws:iam::000000000000:role/r"}
            2<0 TaskStateEntered stateEnteredEventDetails {"name":"S","input":"{\"JobName\":\"job-1\",\"Data\":\"s3://b/train.csv\"}","inputDetails":{"truncated":false}}
            3<2 TaskScheduled taskScheduledEventDetails {"resourceType":"sagemaker","resource":"createTrainingJob.sync","region":"us-east-1","parameters":"{\"TrainingJobName\":\"job-1\",\"Channels\":[{\"Uri\":\"s3://b/train.csv\"}]}","timeoutInSeconds":3600}
            4<3 TaskStarted taskStartedEventDetails {"resourceType":"sagemaker","resource":"createTrainingJob.sync"}
            5<4 TaskSubmitted taskSubmittedEventDetails {"resourceType":"sagemaker","resource":"createTrainingJob.sync","output":"{\"TrainingJobArn\":\"arn\"}","outputDetails":{"truncated":false}}
            6<5 TaskSucceeded taskSucceededEventDetails {"resourceType":"sagemaker","resource":"createTrainingJob.sync","output":"{\"TrainingJobStatus\":\"Completed\"}","outputDetails":{"truncated":false}}
            7<6 TaskStateExited stateExitedEventDetails {"name":"S","output":"{\"TrainingJobStatus\":\"Completed\"}","outputDetails":{"truncated":false}}
            8<7 ExecutionSucceeded executionSucceededEventDetails {"output":"{\"TrainingJobStatus\":\"Completed\"}","outputDetails":{"truncated":false}}
            SUCCEEDED {"TrainingJobStatus":"Completed"} after 90 s
        "#]],
    );
}

#[test]
fn the_last_event_and_the_outcome_agree() {
    let ran = play(
        &one(json!({"Type": "Fail", "Error": "E", "Cause": "C"})),
        json!({}),
        vec![],
    );
    let Event::ExecutionFailed { error, cause } = &ran.history.last().unwrap().event else {
        panic!()
    };
    assert_eq!(
        ran.outcome,
        Outcome::Failed {
            error: error.clone(),
            cause: cause.clone()
        }
    );
    assert!(ran.calls.is_empty());
}

#[test]
fn a_choice_without_a_match() {
    check_ending(
        json!({"StartAt": "C", "States": {
            "C": {"Type": "Choice", "Choices": [{"Variable": "$.x", "NumericEquals": 1, "Next": "D"}]},
            "D": {"Type": "Succeed"}
        }}),
        json!({"x": 2}),
        vec![],
        expect![
            "FAILED States.Runtime: An error occurred while executing the state 'C' (entered at the event id #2). Failed to transition out of the state. The state does not point to a next state."
        ],
    );
}
