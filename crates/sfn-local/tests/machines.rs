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

/// A chain of two states.
fn two(first: Value, second: Value) -> Value {
    json!({"StartAt": "A", "States": {"A": first, "B": second}})
}

fn pass(mut fields: Value) -> Value {
    fields["Type"] = "Pass".into();
    fields["End"] = true.into();
    one(fields)
}

fn task(mut fields: Value) -> Value {
    fields["Type"] = "Task".into();
    fields["Resource"] = "arn:aws:states:::sagemaker:createModel".into();
    fields["End"] = true.into();
    one(fields)
}

#[test]
fn each_type_of_state_in_the_history() {
    check_history(
        json!({"StartAt": "P", "States": {
            "P": {"Type": "Pass", "Result": {"n": 2}, "ResultPath": "$.x", "Next": "C"},
            "C": {"Type": "Choice", "Choices": [{"Variable": "$.x.n", "NumericEquals": 2, "Next": "W"}]},
            "W": {"Type": "Wait", "SecondsPath": "$.x.n", "Next": "S"},
            "S": {"Type": "Succeed", "OutputPath": "$.x"}
        }}),
        json!({}),
        vec![],
        expect![[r#"
            1<0 ExecutionStarted executionStartedEventDetails {"input":"{}","inputDetails":{"truncated":false},"roleArn":"arn:aws:iam::000000000000:role/r"}
            2<0 PassStateEntered stateEnteredEventDetails {"name":"P","input":"{}","inputDetails":{"truncated":false}}
            3<2 PassStateExited stateExitedEventDetails {"name":"P","output":"{\"x\":{\"n\":2}}","outputDetails":{"truncated":false}}
            4<3 ChoiceStateEntered stateEnteredEventDetails {"name":"C","input":"{\"x\":{\"n\":2}}","inputDetails":{"truncated":false}}
            5<4 ChoiceStateExited stateExitedEventDetails {"name":"C","output":"{\"x\":{\"n\":2}}","outputDetails":{"truncated":false}}
            6<5 WaitStateEntered stateEnteredEventDetails {"name":"W","input":"{\"x\":{\"n\":2}}","inputDetails":{"truncated":false}}
            7<6 WaitStateExited stateExitedEventDetails {"name":"W","output":"{\"x\":{\"n\":2}}","outputDetails":{"truncated":false}}
            8<7 SucceedStateEntered stateEnteredEventDetails {"name":"S","input":"{\"x\":{\"n\":2}}","inputDetails":{"truncated":false}}
            9<8 SucceedStateExited stateExitedEventDetails {"name":"S","output":"{\"n\":2}","outputDetails":{"truncated":false}}
            10<9 ExecutionSucceeded executionSucceededEventDetails {"output":"{\"n\":2}","outputDetails":{"truncated":false}}
            SUCCEEDED {"n":2} after 2 s
        "#]],
    );
    check_history(
        one(json!({"Type": "Fail", "Error": "E", "Cause": "C"})),
        json!(1),
        vec![],
        expect![[r#"
            1<0 ExecutionStarted executionStartedEventDetails {"input":"1","inputDetails":{"truncated":false},"roleArn":"arn:aws:iam::000000000000:role/r"}
            2<0 FailStateEntered stateEnteredEventDetails {"name":"S","input":"1","inputDetails":{"truncated":false}}
            3<2 ExecutionFailed executionFailedEventDetails {"error":"E","cause":"C"}
            FAILED E: C after 0 s
        "#]],
    );
    check_history(
        one(json!({"Type": "Fail"})),
        json!(1),
        vec![],
        expect![[r#"
        1<0 ExecutionStarted executionStartedEventDetails {"input":"1","inputDetails":{"truncated":false},"roleArn":"arn:aws:iam::000000000000:role/r"}
        2<0 FailStateEntered stateEnteredEventDetails {"name":"S","input":"1","inputDetails":{"truncated":false}}
        3<2 ExecutionFailed executionFailedEventDetails {}
        FAILED -: - after 0 s
    "#]],
    );
}

#[test]
fn a_lambda_function_has_events_of_its_own() {
    let machine = one(json!({
        "Type": "Task", "Resource": "arn:aws:lambda:us-east-1:000000000000:function:f", "TimeoutSeconds": 5, "End": true,
        "Retry": [{"ErrorEquals": ["States.Timeout", "E"], "MaxAttempts": 2}]
    }));
    check_history(
        machine,
        json!({"a": 1}),
        vec![
            Answer::Slow(6, json!(0)),
            Answer::Err("E", "c"),
            Answer::Ok(json!("done")),
        ],
        expect![[r#"
            1<0 ExecutionStarted executionStartedEventDetails {"input":"{\"a\":1}","inputDetails":{"truncated":false},"roleArn":"arn:aws:iam::000000000000:role/r"}
            2<0 TaskStateEntered stateEnteredEventDetails {"name":"S","input":"{\"a\":1}","inputDetails":{"truncated":false}}
            3<2 LambdaFunctionScheduled lambdaFunctionScheduledEventDetails {"resource":"arn:aws:lambda:us-east-1:000000000000:function:f","input":"{\"a\":1}","inputDetails":{"truncated":false},"timeoutInSeconds":5}
            4<3 LambdaFunctionStarted
            5<4 LambdaFunctionTimedOut lambdaFunctionTimedOutEventDetails {"error":"States.Timeout"}
            6<5 LambdaFunctionScheduled lambdaFunctionScheduledEventDetails {"resource":"arn:aws:lambda:us-east-1:000000000000:function:f","input":"{\"a\":1}","inputDetails":{"truncated":false},"timeoutInSeconds":5}
            7<6 LambdaFunctionStarted
            8<7 LambdaFunctionFailed lambdaFunctionFailedEventDetails {"error":"E","cause":"c"}
            9<8 LambdaFunctionScheduled lambdaFunctionScheduledEventDetails {"resource":"arn:aws:lambda:us-east-1:000000000000:function:f","input":"{\"a\":1}","inputDetails":{"truncated":false},"timeoutInSeconds":5}
            10<9 LambdaFunctionStarted
            11<10 LambdaFunctionSucceeded lambdaFunctionSucceededEventDetails {"output":"\"done\"","outputDetails":{"truncated":false}}
            12<11 TaskStateExited stateExitedEventDetails {"name":"S","output":"\"done\"","outputDetails":{"truncated":false}}
            13<12 ExecutionSucceeded executionSucceededEventDetails {"output":"\"done\"","outputDetails":{"truncated":false}}
            SUCCEEDED "done" after 8 s
        "#]],
    );
}

#[test]
fn a_retried_and_then_caught_task() {
    check_history(
        json!({"StartAt": "T", "States": {
            "T": {
                "Type": "Task", "Resource": "arn:aws:states:::aws-sdk:sagemaker:describeEndpoint",
                "Parameters": {"Try.$": "$$.State.RetryCount"},
                "Retry": [{"ErrorEquals": ["Throttled"], "MaxAttempts": 2, "IntervalSeconds": 3}],
                "Catch": [
                    {"ErrorEquals": ["Other"], "Next": "F"},
                    {"ErrorEquals": ["States.ALL"], "ResultPath": "$.Error", "Next": "F"}
                ],
                "Next": "F"
            },
            "F": {"Type": "Fail", "ErrorPath": "$.Error.Error", "CausePath": "States.Format('why: {}', $.Error.Cause)"}
        }}),
        json!({"EndpointName": "e"}),
        vec![
            Answer::Err("Throttled", "1"),
            Answer::Err("Throttled", "2"),
            Answer::Err("Throttled", "3"),
        ],
        expect![[r#"
            1<0 ExecutionStarted executionStartedEventDetails {"input":"{\"EndpointName\":\"e\"}","inputDetails":{"truncated":false},"roleArn":"arn:aws:iam::000000000000:role/r"}
            2<0 TaskStateEntered stateEnteredEventDetails {"name":"T","input":"{\"EndpointName\":\"e\"}","inputDetails":{"truncated":false}}
            3<2 TaskScheduled taskScheduledEventDetails {"resourceType":"aws-sdk:sagemaker","resource":"describeEndpoint","region":"us-east-1","parameters":"{\"Try\":0}"}
            4<3 TaskStarted taskStartedEventDetails {"resourceType":"aws-sdk:sagemaker","resource":"describeEndpoint"}
            5<4 TaskFailed taskFailedEventDetails {"resourceType":"aws-sdk:sagemaker","resource":"describeEndpoint","error":"Throttled","cause":"1"}
            6<5 TaskScheduled taskScheduledEventDetails {"resourceType":"aws-sdk:sagemaker","resource":"describeEndpoint","region":"us-east-1","parameters":"{\"Try\":1}"}
            7<6 TaskStarted taskStartedEventDetails {"resourceType":"aws-sdk:sagemaker","resource":"describeEndpoint"}
            8<7 TaskFailed taskFailedEventDetails {"resourceType":"aws-sdk:sagemaker","resource":"describeEndpoint","error":"Throttled","cause":"2"}
            9<8 TaskScheduled taskScheduledEventDetails {"resourceType":"aws-sdk:sagemaker","resource":"describeEndpoint","region":"us-east-1","parameters":"{\"Try\":2}"}
            10<9 TaskStarted taskStartedEventDetails {"resourceType":"aws-sdk:sagemaker","resource":"describeEndpoint"}
            11<10 TaskFailed taskFailedEventDetails {"resourceType":"aws-sdk:sagemaker","resource":"describeEndpoint","error":"Throttled","cause":"3"}
            12<11 TaskStateExited stateExitedEventDetails {"name":"T","output":"{\"EndpointName\":\"e\",\"Error\":{\"Error\":\"Throttled\",\"Cause\":\"3\"}}","outputDetails":{"truncated":false}}
            13<12 FailStateEntered stateEnteredEventDetails {"name":"F","input":"{\"EndpointName\":\"e\",\"Error\":{\"Error\":\"Throttled\",\"Cause\":\"3\"}}","inputDetails":{"truncated":false}}
            14<13 ExecutionFailed executionFailedEventDetails {"error":"Throttled","cause":"why: 3"}
            FAILED Throttled: why: 3 after 9 s
        "#]],
    );
}

#[test]
fn a_job_that_fails_and_one_that_cannot_be_made() {
    let machine = one(
        json!({"Type": "Task", "Resource": "arn:aws:states:::sagemaker:createTrainingJob.sync", "End": true}),
    );
    check_history(
        machine.clone(),
        json!({}),
        vec![Answer::Job(
            json!({"Arn": "a"}),
            5,
            Err(TaskFailure::new("States.TaskFailed", "{}")),
        )],
        expect![[r#"
            1<0 ExecutionStarted executionStartedEventDetails {"input":"{}","inputDetails":{"truncated":false},"roleArn":"arn:aws:iam::000000000000:role/r"}
            2<0 TaskStateEntered stateEnteredEventDetails {"name":"S","input":"{}","inputDetails":{"truncated":false}}
            3<2 TaskScheduled taskScheduledEventDetails {"resourceType":"sagemaker","resource":"createTrainingJob.sync","region":"us-east-1","parameters":"{}"}
            4<3 TaskStarted taskStartedEventDetails {"resourceType":"sagemaker","resource":"createTrainingJob.sync"}
            5<4 TaskSubmitted taskSubmittedEventDetails {"resourceType":"sagemaker","resource":"createTrainingJob.sync","output":"{\"Arn\":\"a\"}","outputDetails":{"truncated":false}}
            6<5 TaskFailed taskFailedEventDetails {"resourceType":"sagemaker","resource":"createTrainingJob.sync","error":"States.TaskFailed","cause":"{}"}
            7<6 ExecutionFailed executionFailedEventDetails {"error":"States.TaskFailed","cause":"{}"}
            FAILED States.TaskFailed: {} after 5 s
        "#]],
    );
    check_history(
        machine,
        json!({}),
        vec![Answer::Err("SageMaker.ResourceInUse", "taken")],
        expect![[r#"
            1<0 ExecutionStarted executionStartedEventDetails {"input":"{}","inputDetails":{"truncated":false},"roleArn":"arn:aws:iam::000000000000:role/r"}
            2<0 TaskStateEntered stateEnteredEventDetails {"name":"S","input":"{}","inputDetails":{"truncated":false}}
            3<2 TaskScheduled taskScheduledEventDetails {"resourceType":"sagemaker","resource":"createTrainingJob.sync","region":"us-east-1","parameters":"{}"}
            4<3 TaskStarted taskStartedEventDetails {"resourceType":"sagemaker","resource":"createTrainingJob.sync"}
            5<4 TaskSubmitFailed taskSubmitFailedEventDetails {"resourceType":"sagemaker","resource":"createTrainingJob.sync","error":"SageMaker.ResourceInUse","cause":"taken"}
            6<5 ExecutionFailed executionFailedEventDetails {"error":"SageMaker.ResourceInUse","cause":"taken"}
            FAILED SageMaker.ResourceInUse: taken after 0 s
        "#]],
    );
}

#[test]
fn a_job_that_takes_too_long() {
    check_history(
        one(
            json!({"Type": "Task", "Resource": "arn:aws:states:::sagemaker:createTrainingJob.sync",
                   "TimeoutSecondsPath": "$.t", "HeartbeatSeconds": 3, "End": true}),
        ),
        json!({"t": 60}),
        vec![Answer::Job(json!({}), 61, Ok(json!({})))],
        expect![[r#"
            1<0 ExecutionStarted executionStartedEventDetails {"input":"{\"t\":60}","inputDetails":{"truncated":false},"roleArn":"arn:aws:iam::000000000000:role/r"}
            2<0 TaskStateEntered stateEnteredEventDetails {"name":"S","input":"{\"t\":60}","inputDetails":{"truncated":false}}
            3<2 TaskScheduled taskScheduledEventDetails {"resourceType":"sagemaker","resource":"createTrainingJob.sync","region":"us-east-1","parameters":"{\"t\":60}","timeoutInSeconds":60,"heartbeatInSeconds":3}
            4<3 TaskStarted taskStartedEventDetails {"resourceType":"sagemaker","resource":"createTrainingJob.sync"}
            5<4 TaskSubmitted taskSubmittedEventDetails {"resourceType":"sagemaker","resource":"createTrainingJob.sync","output":"{}","outputDetails":{"truncated":false}}
            6<5 TaskTimedOut taskTimedOutEventDetails {"resourceType":"sagemaker","resource":"createTrainingJob.sync","error":"States.Timeout"}
            7<6 ExecutionFailed executionFailedEventDetails {"error":"States.Timeout"}
            FAILED States.Timeout: - after 60 s
        "#]],
    );
    // At the very last moment it is still in time.
    check_ending(
        one(
            json!({"Type": "Task", "Resource": "arn:aws:states:::sagemaker:createTrainingJob.sync",
                   "TimeoutSeconds": 60, "End": true}),
        ),
        json!({}),
        vec![Answer::Job(json!({}), 60, Ok(json!("in time")))],
        expect![[r#"SUCCEEDED "in time""#]],
    );
}

#[test]
fn a_machine_that_takes_too_long() {
    check_history(
        json!({"TimeoutSeconds": 5, "StartAt": "W", "States": {
            "W": {"Type": "Wait", "Seconds": 3, "Next": "W2"}, "W2": {"Type": "Wait", "Seconds": 3, "End": true}
        }}),
        json!({}),
        vec![],
        expect![[r#"
            1<0 ExecutionStarted executionStartedEventDetails {"input":"{}","inputDetails":{"truncated":false},"roleArn":"arn:aws:iam::000000000000:role/r"}
            2<0 WaitStateEntered stateEnteredEventDetails {"name":"W","input":"{}","inputDetails":{"truncated":false}}
            3<2 WaitStateExited stateExitedEventDetails {"name":"W","output":"{}","outputDetails":{"truncated":false}}
            4<3 WaitStateEntered stateEnteredEventDetails {"name":"W2","input":"{}","inputDetails":{"truncated":false}}
            5<0 ExecutionTimedOut executionTimedOutEventDetails {"error":"States.Timeout"}
            TIMED_OUT after 5 s
        "#]],
    );
}

#[test]
fn the_order_of_input_and_output() {
    let input = json!({"keep": 1, "in": {"a": [10, 20, {"b c": "x"}]}});
    for (machine, expect) in [
        (
            task(json!({})),
            expect![[r#"SUCCEEDED {"keep":1,"in":{"a":[10,20,{"b c":"x"}]}}"#]],
        ),
        (
            task(json!({"InputPath": "$.in"})),
            expect![[r#"SUCCEEDED {"a":[10,20,{"b c":"x"}]}"#]],
        ),
        (task(json!({"InputPath": null})), expect!["SUCCEEDED {}"]),
        (
            task(json!({"InputPath": "$$.Execution.Name"})),
            expect![[r#"SUCCEEDED "e""#]],
        ),
        (task(json!({"OutputPath": null})), expect!["SUCCEEDED {}"]),
        (
            task(json!({"OutputPath": "$.in.a[2]['b c']"})),
            expect![[r#"SUCCEEDED "x""#]],
        ),
        (
            task(json!({"ResultPath": null, "Parameters": {}})),
            expect![[r#"SUCCEEDED {"keep":1,"in":{"a":[10,20,{"b c":"x"}]}}"#]],
        ),
        (
            task(json!({"ResultPath": "$.new.deep", "Parameters": {"p": 1}})),
            expect![[r#"SUCCEEDED {"keep":1,"in":{"a":[10,20,{"b c":"x"}]},"new":{"deep":{"p":1}}}"#]],
        ),
        (
            task(json!({"ResultPath": "$.in.a[1]", "Parameters": {}})),
            expect![[r#"SUCCEEDED {"keep":1,"in":{"a":[10,{},{"b c":"x"}]}}"#]],
        ),
        (
            task(
                json!({"InputPath": "$.in", "Parameters": {"v.$": "$.a[0]"}, "ResultSelector": {"r.$": "$.v", "n.$": "$$.State.Name"},
                     "ResultPath": "$.out", "OutputPath": "$.out"}),
            ),
            expect![[r#"SUCCEEDED {"r":10,"n":"S"}"#]],
        ),
        (
            pass(
                json!({"Parameters": {"v.$": "$.in.a[1:]", "w.$": "$.in.a[-1]", "x.$": "$.in.a[*]['b c']", "y.$": "$.in.*"}}),
            ),
            expect![[
                r#"SUCCEEDED {"v":[20,{"b c":"x"}],"w":{"b c":"x"},"x":["x"],"y":[[10,20,{"b c":"x"}]]}"#
            ]],
        ),
        (
            pass(json!({"Parameters": {"list": [1, {"x.$": "$.keep"}, [{"y.$": "$.keep"}]], "z": "$.keep"}})),
            expect![[r#"SUCCEEDED {"list":[1,{"x":1},[{"y":1}]],"z":"$.keep"}"#]],
        ),
        (
            pass(json!({"Result": {"x.$": "$.keep"}, "ResultPath": "$.r", "OutputPath": "$.r"})),
            expect![[r#"SUCCEEDED {"x.$":"$.keep"}"#]],
        ),
        (
            pass(json!({"Parameters": {"a": 1}, "Result": 2})),
            expect!["SUCCEEDED 2"],
        ),
        (
            pass(json!({"Result": 2, "ResultPath": null, "OutputPath": "$.keep"})),
            expect!["SUCCEEDED 1"],
        ),
    ] {
        check_ending(machine, input.clone(), vec![], expect);
    }
    // The next state gets what the last one gave.
    check_ending(
        two(
            json!({"Type": "Pass", "Parameters": {"x.$": "$$.State.Name"}, "ResultPath": "$.a", "Next": "B"}),
            json!({"Type": "Succeed", "InputPath": "$.a", "OutputPath": "$.x"}),
        ),
        json!({"k": 0}),
        vec![],
        expect![[r#"SUCCEEDED "A""#]],
    );
}

#[test]
fn the_context_object() {
    check_ending(
        pass(json!({"Parameters": {"all.$": "$$"}})),
        json!({"JobName": "j"}),
        vec![],
        expect![[
            r#"SUCCEEDED {"all":{"Execution":{"Id":"arn:aws:states:us-east-1:000000000000:execution:m:e","Input":{"JobName":"j"},"StartTime":"2026-01-31T12:00:00.000Z","Name":"e","RoleArn":"arn:aws:iam::000000000000:role/r","RedriveCount":0},"StateMachine":{"Id":"arn:aws:states:us-east-1:000000000000:stateMachine:m","Name":"m"},"State":{"Name":"S","EnteredTime":"2026-01-31T12:00:00.000Z"}}}"#
        ]],
    );
}

#[test]
fn what_goes_wrong_with_data() {
    for (machine, input, expect) in [
        (
            pass(json!({"Parameters": {"v.$": "$.x"}})),
            json!({"y": "\"q\""}),
            expect![[
                r#"FAILED States.Runtime: An error occurred while executing the state 'S' (entered at the event id #2). The JSONPath '$.x' specified for the field 'v.$' could not be found in the input '{"y":"\"q\""}'"#
            ]],
        ),
        (
            pass(json!({"Parameters": {"v.$": "$.y.z.w"}})),
            json!({"y": 1}),
            expect![[
                r#"FAILED States.Runtime: An error occurred while executing the state 'S' (entered at the event id #2). The JSONPath '$.y.z.w' specified for the field 'v.$' could not be found in the input '{"y":1}'"#
            ]],
        ),
        (
            pass(json!({"Parameters": {"v.$": "$$.Task.Token"}})),
            json!({}),
            expect![[
                r#"FAILED States.Runtime: An error occurred while executing the state 'S' (entered at the event id #2). The JSONPath '$$.Task.Token' specified for the field 'v.$' could not be found in the input '{"Execution":{"Id":"arn:aws:states:us-east-1:000000000000:execution:m:e","Input":{},"StartTime":"2026-01-31T12:00:00.000Z","Name":"e","RoleArn":"arn:aws:iam::000000000000:role/r","RedriveCount":0},"StateMachine":{"Id":"arn:aws:states:us-east-1:000000000000:stateMachine:m","Name":"m"},"State":{"Name":"S","EnteredTime":"2026-01-31T12:00:00.000Z"}}'"#
            ]],
        ),
        (
            pass(json!({"Parameters": {"v.$": "$"}})),
            json!(null),
            expect![
                "FAILED States.Runtime: An error occurred while executing the state 'S' (entered at the event id #2). Unable to apply Path transformation to null or empty input."
            ],
        ),
        (
            pass(json!({"InputPath": "$.X"})),
            json!({}),
            expect![
                "FAILED States.Runtime: An error occurred while executing the state 'S' (entered at the event id #2). Invalid path '$.X' : No results for path: $['X']"
            ],
        ),
        (
            pass(json!({"InputPath": "$.a[3].b"})),
            json!({"a": []}),
            expect![
                "FAILED States.Runtime: An error occurred while executing the state 'S' (entered at the event id #2). Invalid path '$.a[3].b' : Missing property in path $['a'][3]"
            ],
        ),
        (
            pass(json!({"OutputPath": "$['a b']"})),
            json!({}),
            expect![
                "FAILED States.Runtime: An error occurred while executing the state 'S' (entered at the event id #2). Invalid path '$['a b']' : No results for path: $['a b']"
            ],
        ),
        (
            pass(json!({"ResultPath": "$.a.b", "Result": 1})),
            json!({"a": "text"}),
            expect![[
                r#"FAILED States.ResultPathMatchFailure: An error occurred while executing the state 'S' (entered at the event id #2). Unable to apply ReferencePath $.a.b to input {"a":"text"}"#
            ]],
        ),
        (
            pass(json!({"ResultPath": "$.a[2]", "Result": 1})),
            json!({"a": [1]}),
            expect![[
                r#"FAILED States.ResultPathMatchFailure: An error occurred while executing the state 'S' (entered at the event id #2). Unable to apply ReferencePath $.a[2] to input {"a":[1]}"#
            ]],
        ),
        (
            pass(json!({"ResultPath": "$.a", "Result": 1})),
            json!([]),
            expect![
                "FAILED States.ResultPathMatchFailure: An error occurred while executing the state 'S' (entered at the event id #2). Unable to apply ReferencePath $.a to input []"
            ],
        ),
        (
            task(json!({"ResultSelector": {"r.$": "$.nope"}})),
            json!({"a": 1}),
            expect![[
                r#"FAILED States.Runtime: An error occurred while executing the state 'S' (entered at the event id #2). The JSONPath '$.nope' specified for the field 'r.$' could not be found in the input '{"a":1}'"#
            ]],
        ),
        (
            task(
                json!({"Parameters": {"r.$": "$.nope"}, "Catch": [{"ErrorEquals": ["States.ALL"], "Next": "S"}]}),
            ),
            json!({}),
            expect![
                "FAILED States.Runtime: An error occurred while executing the state 'S' (entered at the event id #2). The JSONPath '$.nope' specified for the field 'r.$' could not be found in the input '{}'"
            ],
        ),
        (
            task(json!({"TimeoutSecondsPath": "$.t"})),
            json!({"t": "1"}),
            expect![[
                r#"FAILED States.Runtime: An error occurred while executing the state 'S' (entered at the event id #2). The TimeoutSecondsPath parameter must be a positive integer: $.t == "1""#
            ]],
        ),
        (
            task(json!({"TimeoutSecondsPath": "$.t"})),
            json!({}),
            expect![
                "FAILED States.Runtime: An error occurred while executing the state 'S' (entered at the event id #2). The TimeoutSecondsPath parameter does not reference an input value: $.t"
            ],
        ),
        (
            one(json!({"Type": "Fail", "ErrorPath": "$.e"})),
            json!({}),
            expect![
                "FAILED States.Runtime: An error occurred while executing the state 'S' (entered at the event id #2). The JSONPath '$.e' specified for the field 'ErrorPath' could not be found in the input '{}'"
            ],
        ),
        (
            one(json!({"Type": "Fail", "ErrorPath": "$.e"})),
            json!({"e": 1}),
            expect![
                "FAILED States.Runtime: An error occurred while executing the state 'S' (entered at the event id #2). The ErrorPath parameter must reference a string: $.e"
            ],
        ),
        (
            one(json!({"Type": "Wait", "SecondsPath": "$.s", "End": true})),
            json!({}),
            expect![
                "FAILED States.Runtime: An error occurred while executing the state 'S' (entered at the event id #2). The SecondsPath parameter does not reference an input value: $.s"
            ],
        ),
        (
            one(json!({"Type": "Wait", "SecondsPath": "$.s", "End": true})),
            json!({"s": -1}),
            expect![
                "FAILED States.Runtime: An error occurred while executing the state 'S' (entered at the event id #2). The SecondsPath parameter cannot be negative: $.s == -1"
            ],
        ),
        (
            one(json!({"Type": "Wait", "SecondsPath": "$.s", "End": true})),
            json!({"s": "1"}),
            expect![[
                r#"FAILED States.Runtime: An error occurred while executing the state 'S' (entered at the event id #2). The SecondsPath parameter must be a positive integer: $.s == "1""#
            ]],
        ),
        (
            one(json!({"Type": "Wait", "SecondsPath": "$.s", "End": true})),
            json!({"s": 2_147_483_648_u64}),
            expect![
                "FAILED States.Runtime: An error occurred while executing the state 'S' (entered at the event id #2). Wait state delay is too long."
            ],
        ),
        (
            one(json!({"Type": "Wait", "TimestampPath": "$.s", "End": true})),
            json!({"s": "tomorrow"}),
            expect![
                "FAILED States.Runtime: An error occurred while executing the state 'S' (entered at the event id #2). The TimestampPath parameter does not reference a valid ISO-8601 extended offset date-time format string: $.s == tomorrow"
            ],
        ),
        (
            one(json!({"Type": "Wait", "TimestampPath": "$.s", "End": true})),
            json!({"s": "2200-01-01T00:00:00Z"}),
            expect![
                "FAILED States.Runtime: An error occurred while executing the state 'S' (entered at the event id #2). Wait state delay is too long."
            ],
        ),
    ] {
        check_ending(machine, input, vec![], expect);
    }
}

#[test]
fn waits() {
    for (fields, input, seconds) in [
        (json!({"Seconds": 0}), json!({}), 0),
        (json!({"Seconds": 99_999_999}), json!({}), 99_999_999),
        (json!({"SecondsPath": "$.s"}), json!({"s": 7}), 7),
        (json!({"SecondsPath": "$$.Execution.Input.s"}), json!({"s": 8}), 8),
        (json!({"Timestamp": "2026-01-31T12:01:00Z"}), json!({}), 60),
        (json!({"Timestamp": "2026-01-31T14:00:30+02:00"}), json!({}), 30),
        (json!({"Timestamp": "1999-01-01T00:00:00Z"}), json!({}), 0),
        (
            json!({"TimestampPath": "$.t"}),
            json!({"t": "2026-02-01T12:00:00Z"}),
            86_400,
        ),
    ] {
        let mut state = fields.clone();
        state["Type"] = "Wait".into();
        state["End"] = true.into();
        let ran = play(&one(state), input.clone(), vec![]);
        assert_eq!(ran.outcome, Outcome::Succeeded { output: input }, "{fields}");
        assert_eq!(ran.seconds, seconds, "{fields}");
    }
}

/// Which of `inputs` a condition on `$.x` lets through.
fn check_condition(condition: Value, inputs: &[Value], passing: &[Value]) {
    let mut rule = condition.clone();
    rule["Next"] = "Yes".into();
    let machine = json!({"StartAt": "C", "States": {
        "C": {"Type": "Choice", "Choices": [rule], "Default": "No"},
        "Yes": {"Type": "Pass", "Result": true, "End": true},
        "No": {"Type": "Pass", "Result": false, "End": true}
    }});
    for input in inputs {
        let ran = play(
            &machine,
            json!({"x": input, "one": 1, "b": "b", "t": true, "when": "2026-01-31T12:00:00Z"}),
            vec![],
        );
        let expected = Outcome::Succeeded {
            output: passing.contains(input).into(),
        };
        assert_eq!(ran.outcome, expected, "{condition} of {input}");
    }
}

#[test]
fn comparisons() {
    let numbers = [
        json!(0),
        json!(0.5),
        json!(1),
        json!(1.0),
        json!(2),
        json!("1"),
        json!(null),
        json!(true),
    ];
    let of = |name: &str, value: Value| json!({"Variable": "$.x", name: value});
    for (name, passing) in [
        ("NumericEquals", vec![json!(1), json!(1.0)]),
        ("NumericLessThan", vec![json!(0), json!(0.5)]),
        ("NumericGreaterThan", vec![json!(2)]),
        (
            "NumericLessThanEquals",
            vec![json!(0), json!(0.5), json!(1), json!(1.0)],
        ),
        ("NumericGreaterThanEquals", vec![json!(1), json!(1.0), json!(2)]),
    ] {
        check_condition(of(name, json!(1)), &numbers, &passing);
        check_condition(of(&format!("{name}Path"), json!("$.one")), &numbers, &passing);
        // A text beside a number is unequal, not an error.
        check_condition(of(&format!("{name}Path"), json!("$.b")), &numbers, &[]);
    }
    let texts = [
        json!("a"),
        json!("b"),
        json!("c"),
        json!("B"),
        json!(""),
        json!(1),
        json!(["b"]),
    ];
    for (name, passing) in [
        ("StringEquals", vec![json!("b")]),
        ("StringLessThan", vec![json!("a"), json!("B"), json!("")]),
        ("StringGreaterThan", vec![json!("c")]),
        (
            "StringLessThanEquals",
            vec![json!("a"), json!("b"), json!("B"), json!("")],
        ),
        ("StringGreaterThanEquals", vec![json!("b"), json!("c")]),
    ] {
        check_condition(of(name, json!("b")), &texts, &passing);
        check_condition(of(&format!("{name}Path"), json!("$.b")), &texts, &passing);
    }
    let times = [
        json!("2026-01-31T11:59:59Z"),
        json!("2026-01-31T12:00:00Z"),
        json!("2026-01-31T13:00:00+01:00"),
        json!("2026-01-31T12:00:00.001Z"),
        json!("2026-01-31 12:00:00Z"),
        json!("soon"),
        json!(1),
    ];
    for (name, passing) in [
        ("TimestampEquals", &times[1..3]),
        ("TimestampLessThan", &times[..1]),
        ("TimestampGreaterThan", &times[3..4]),
        ("TimestampLessThanEquals", &times[..3]),
        ("TimestampGreaterThanEquals", &times[1..4]),
    ] {
        check_condition(of(name, json!("2026-01-31T12:00:00Z")), &times, passing);
        check_condition(of(&format!("{name}Path"), json!("$.when")), &times, passing);
    }
    let booleans = [json!(true), json!(false), json!("true"), json!(null)];
    check_condition(of("BooleanEquals", json!(true)), &booleans, &booleans[..1]);
    check_condition(of("BooleanEquals", json!(false)), &booleans, &booleans[1..2]);
    check_condition(of("BooleanEqualsPath", json!("$.t")), &booleans, &booleans[..1]);
    check_condition(of("BooleanEqualsPath", json!("$.b")), &booleans, &[]);
}

#[test]
fn properties_and_patterns() {
    let of = |name: &str, value: Value| json!({"Variable": "$.x", name: value});
    let values = [
        json!(null),
        json!("t"),
        json!("2026-01-31T12:00:00Z"),
        json!(1.5),
        json!(false),
        json!([]),
        json!({}),
    ];
    let without = |at: &[usize]| -> Vec<Value> {
        values
            .iter()
            .enumerate()
            .filter(|(index, _)| !at.contains(index))
            .map(|(_, value)| value.clone())
            .collect()
    };
    for (name, at) in [
        ("IsNull", &[0][..]),
        ("IsString", &[1, 2]),
        ("IsTimestamp", &[2]),
        ("IsNumeric", &[3]),
        ("IsBoolean", &[4]),
        ("IsPresent", &[0, 1, 2, 3, 4, 5, 6]),
    ] {
        let passing: Vec<Value> = at.iter().map(|&index| values[index].clone()).collect();
        check_condition(of(name, json!(true)), &values, &passing);
        check_condition(of(name, json!(false)), &values, &without(at));
    }
    let absent = json!({"Variable": "$.nope.deep", "IsPresent": false});
    check_condition(absent, &values[..1], &values[..1]);

    for (pattern, yes, no) in [
        (
            "*Could not find*",
            vec!["Could not find endpoint", "x Could not find"],
            vec!["could not find", ""],
        ),
        (
            "log-*.txt",
            vec!["log-.txt", "log-a.txt.txt"],
            vec!["log.txt", "log-a.txt "],
        ),
        ("a*b*c", vec!["abc", "aXbXbXc"], vec!["acb", "abcX"]),
        ("a\\*b", vec!["a*b"], vec!["aXb"]),
        ("a\\\\*", vec!["a\\", "a\\x"], vec!["a", "ax"]),
        ("", vec![""], vec!["a"]),
        ("*", vec!["", "a"], vec![]),
    ] {
        let inputs: Vec<Value> = yes
            .iter()
            .chain(&no)
            .map(|text| json!(text))
            .chain([json!(1)])
            .collect();
        let passing: Vec<Value> = yes.iter().map(|text| json!(text)).collect();
        check_condition(of("StringMatches", json!(pattern)), &inputs, &passing);
    }
    let small = json!({"Variable": "$.x", "NumericLessThan": 3});
    let big = json!({"Variable": "$.x", "NumericGreaterThan": 1});
    let numbers = [json!(1), json!(2), json!(3)];
    check_condition(json!({"And": [small, big]}), &numbers, &numbers[1..2]);
    check_condition(
        json!({"Or": [{"Not": small}, {"Not": big}]}),
        &numbers,
        &[json!(1), json!(3)],
    );
}

#[test]
fn a_choice_that_cannot_be_made() {
    let choice = |rule: Value| json!({"StartAt": "C", "States": {"C": {"Type": "Choice", "Choices": [rule]}, "D": {"Type": "Succeed"}}});
    let rule = json!({"Variable": "$.x", "NumericEquals": 1, "Next": "D"});
    check_ending(
        choice(rule.clone()),
        json!({"x": 2}),
        vec![],
        expect![
            "FAILED States.Runtime: An error occurred while executing the state 'C' (entered at the event id #2). Failed to transition out of the state. The state does not point to a next state."
        ],
    );
    check_ending(
        choice(rule),
        json!({}),
        vec![],
        expect![
            "FAILED States.Runtime: An error occurred while executing the state 'C' (entered at the event id #2). Invalid path '$.x': The choice state's condition path references an invalid value."
        ],
    );
    let path = json!({"Variable": "$.x", "StringEqualsPath": "$.y", "Next": "D"});
    check_ending(
        choice(path),
        json!({"x": "a"}),
        vec![],
        expect![
            "FAILED States.Runtime: An error occurred while executing the state 'C' (entered at the event id #2). Invalid path '$.y': The choice state's condition path references an invalid value."
        ],
    );
}

#[test]
fn intrinsic_functions() {
    let input = json!({"s": "it's", "n": 1.5, "o": {"Arg1": 1, "Arg2": [], "Arg3": "x"}, "l": [1, "a", null, true], "j": "{\"a\": [1, 2.50]}", "e": ""});
    for (call, expect) in [
        (
            "States.Format('Hi {}, {} {}', $.s, $.n, States.Array(1, 'b'))",
            expect![[r#"SUCCEEDED "Hi it's, 1.5 [1, b]""#]],
        ),
        (
            "States.Format('{}', $.o)",
            expect![[r#"SUCCEEDED "{Arg1=1, Arg2=[], Arg3=x}""#]],
        ),
        (
            "States.Format('{} {}', $.l, null)",
            expect![[r#"SUCCEEDED "[1, a, null, true] null""#]],
        ),
        (
            "States.Format('\\{\\} {} \\'q\\' \\\\', true)",
            expect![[r#"SUCCEEDED "{} true 'q' \\""#]],
        ),
        (
            r"States.Format('C:\\{}', $.s)",
            expect![[r#"SUCCEEDED "C:\\it's""#]],
        ),
        (
            r"States.Format('\\\{\}{}', $.s)",
            expect![[r#"SUCCEEDED "\\{}it's""#]],
        ),
        (r"States.Format('{}', '\{x\}')", expect![[r#"SUCCEEDED "{x}""#]]),
        (
            r"States.Array('\\{', '{}')",
            expect![[r#"SUCCEEDED ["\\{","{}"]"#]],
        ),
        ("States.Format($.e)", expect![[r#"SUCCEEDED """#]]),
        (
            "States.StringToJson($.j)",
            expect![[r#"SUCCEEDED {"a":[1,2.5]}"#]],
        ),
        ("States.StringToJson($.e)", expect!["SUCCEEDED null"]),
        (
            "States.StringToJson($.s)",
            expect![
                "FAILED States.IntrinsicFailure: An error occurred while executing the state 'S' (entered at the event id #2). The function 'States.StringToJson($.s)' had the following error: the argument is not JSON: expected value at line 1 column 1"
            ],
        ),
        (
            "States.StringToJson($.n)",
            expect![
                "FAILED States.IntrinsicFailure: An error occurred while executing the state 'S' (entered at the event id #2). The function 'States.StringToJson($.n)' had the following error: an argument of States.StringToJson has the wrong type"
            ],
        ),
        (
            "States.JsonToString($.o)",
            expect![[r#"SUCCEEDED "{\"Arg1\":1,\"Arg2\":[],\"Arg3\":\"x\"}""#]],
        ),
        ("States.JsonToString($.s)", expect![[r#"SUCCEEDED "\"it's\"""#]]),
        ("States.Array()", expect!["SUCCEEDED []"]),
        (
            "States.Array($.s, 2, 'x{y\\}', States.Array(null, false))",
            expect![[r#"SUCCEEDED ["it's",2,"x{y}",[null,false]]"#]],
        ),
        ("States.MathAdd(1.5, 1.51)", expect!["SUCCEEDED 4"]),
        ("States.MathAdd(-1.5, 0)", expect!["SUCCEEDED -1"]),
        (
            "States.MathAdd(9223372036854775807, 1)",
            expect![
                "FAILED States.IntrinsicFailure: An error occurred while executing the state 'S' (entered at the event id #2). The function 'States.MathAdd(9223372036854775807, 1)' had the following error: the sum is out of range"
            ],
        ),
        (
            "States.MathAdd($.s, 1)",
            expect![
                "FAILED States.IntrinsicFailure: An error occurred while executing the state 'S' (entered at the event id #2). The function 'States.MathAdd($.s, 1)' had the following error: an argument of States.MathAdd has the wrong type"
            ],
        ),
        (
            "States.MathAdd($.nope, 1)",
            expect![[
                r#"FAILED States.Runtime: An error occurred while executing the state 'S' (entered at the event id #2). The JSONPath '$.nope' specified for the field 'v.$' could not be found in the input '{"s":"it's","n":1.5,"o":{"Arg1":1,"Arg2":[],"Arg3":"x"},"l":[1,"a",null,true],"j":"{\"a\": [1, 2.50]}","e":""}'"#
            ]],
        ),
        (
            "States.UUID()",
            expect![[r#"SUCCEEDED "6c3b9aa7-67f7-45b5-b7c0-d8ba5fa54677""#]],
        ),
        ("$$.Execution.Name", expect![[r#"SUCCEEDED "e""#]]),
    ] {
        let machine = pass(json!({"Parameters": {"v.$": call}, "OutputPath": "$.v"}));
        check_ending(machine, input.clone(), vec![], expect);
    }
}

#[test]
fn retries() {
    let retry = |retriers: Value| task(json!({"Retry": retriers}));
    let failing = |count: usize| (0..count).map(|_| Answer::Err("E", "c")).collect::<Vec<_>>();
    for (retriers, failures, calls, seconds) in [
        // The defaults: 1, 2, 4 seconds.
        (json!([{"ErrorEquals": ["E"]}]), 9, 4, 7),
        (json!([{"ErrorEquals": ["E"], "MaxAttempts": 0}]), 9, 1, 0),
        (
            json!([{"ErrorEquals": ["E"], "IntervalSeconds": 10, "BackoffRate": 1.0, "MaxAttempts": 2}]),
            9,
            3,
            20,
        ),
        (
            json!([{"ErrorEquals": ["E"], "IntervalSeconds": 2, "BackoffRate": 3, "MaxAttempts": 4, "MaxDelaySeconds": 10}]),
            9,
            5,
            28,
        ),
        (
            json!([{"ErrorEquals": ["X"]}, {"ErrorEquals": ["States.TaskFailed"], "MaxAttempts": 1}]),
            9,
            2,
            1,
        ),
        (
            json!([{"ErrorEquals": ["States.ALL"], "MaxAttempts": 5}]),
            2,
            3,
            3,
        ),
        (json!([{"ErrorEquals": ["States.Timeout"]}]), 9, 1, 0),
    ] {
        let ran = play(&retry(retriers.clone()), json!({}), failing(failures));
        assert_eq!(ran.calls.len(), calls, "{retriers}");
        assert_eq!(ran.seconds, seconds, "{retriers}");
        let ended_well = matches!(ran.outcome, Outcome::Succeeded { .. });
        assert_eq!(ended_well, failures < calls, "{retriers}");
    }
    // Each retrier counts for itself.
    let two = json!([{"ErrorEquals": ["A"], "MaxAttempts": 1}, {"ErrorEquals": ["B"], "MaxAttempts": 1}]);
    let answers = |names: &[&'static str]| names.iter().map(|name| Answer::Err(name, "")).collect::<Vec<_>>();
    let ran = play(&retry(two.clone()), json!({}), answers(&["A", "B"]));
    assert_eq!((ran.calls.len(), ran.outcome.status()), (3, "SUCCEEDED"));
    let ran = play(&retry(two), json!({}), answers(&["A", "B", "A"]));
    assert_eq!((ran.calls.len(), ran.outcome.status()), (3, "FAILED"));
}

#[test]
fn jitter_stays_below_the_delay_and_follows_the_seed() {
    let machine = task(
        json!({"Retry": [{"ErrorEquals": ["E"], "IntervalSeconds": 1000, "BackoffRate": 1.0, "MaxAttempts": 1, "JitterStrategy": "FULL"}]}),
    );
    let run = || play(&machine, json!({}), vec![Answer::Err("E", "c")]).seconds;
    assert!((1..1000).contains(&run()), "{}", run());
    assert_eq!(run(), run());
}

#[test]
fn which_errors_are_caught() {
    for (names, error, caught) in [
        (json!(["States.ALL"]), "Anything", true),
        (json!(["States.ALL"]), "States.Timeout", true),
        (json!(["States.ALL"]), "States.Runtime", false),
        (json!(["States.Runtime"]), "States.Runtime", false),
        // The guide says otherwise; a recording shows it.
        (json!(["States.ALL"]), "States.DataLimitExceeded", true),
        (
            json!(["States.DataLimitExceeded"]),
            "States.DataLimitExceeded",
            true,
        ),
        (json!(["States.TaskFailed"]), "Anything", true),
        (json!(["States.TaskFailed"]), "States.Timeout", false),
        (json!(["A", "B"]), "B", true),
        (json!(["A", "B"]), "b", false),
    ] {
        let machine = json!({"StartAt": "T", "States": {
            "T": {"Type": "Task", "Resource": "arn:aws:states:::sagemaker:createModel", "End": true,
                  "Catch": [{"ErrorEquals": names, "Next": "Caught"}]},
            "Caught": {"Type": "Succeed"}
        }});
        let ran = play(&machine, json!({"k": 1}), vec![Answer::Err(error, "c")]);
        let expected = if caught {
            Outcome::Succeeded {
                output: json!({"Error": error, "Cause": "c"}),
            }
        } else {
            Outcome::Failed {
                error: Some(error.to_owned()),
                cause: Some("c".to_owned()),
            }
        };
        assert_eq!(ran.outcome, expected, "{names} of {error}");
    }
}

#[test]
fn payloads_have_a_limit() {
    let text = |bytes: usize| json!("x".repeat(bytes - 2));
    let limit = 256 * 1024;
    assert_eq!(
        play(&task(json!({})), json!({}), vec![Answer::Ok(text(limit))])
            .outcome
            .status(),
        "SUCCEEDED"
    );
    check_ending(
        task(json!({})),
        json!({}),
        vec![Answer::Ok(text(limit + 1))],
        expect![
            "FAILED States.DataLimitExceeded: The state/task 'sagemaker' returned a result with a size exceeding the maximum number of bytes service limit."
        ],
    );
    // Result and input together are too long.
    check_ending(
        task(json!({"ResultPath": "$.r"})),
        json!({"i": "y".repeat(limit / 2)}),
        vec![Answer::Ok(text(limit / 2))],
        expect![
            "FAILED States.DataLimitExceeded: The state/task 'S' returned a result with a size exceeding the maximum number of bytes service limit."
        ],
    );
}

/// A state that wraps its input and leads to itself once overflowed the stack.
#[test]
fn a_loop_that_nests_ends() {
    let machine = json!({"StartAt": "P", "States": {
        "P": {"Type": "Pass", "Parameters": {"v.$": "$"}, "Next": "C"},
        "C": {"Type": "Choice", "Choices": [{"Variable": "$.x", "IsPresent": true, "Next": "End"}], "Default": "P"},
        "End": {"Type": "Succeed"}
    }});
    let ran = play(&machine, json!({}), vec![]);
    expect!["FAILED States.Runtime: The state/task 'P' returned a result that nests deeper than 127 levels."]
        .assert_eq(&ending(&ran.outcome));
    let Event::StateEntered { input, .. } = &ran.history[ran.history.len() - 2].event else {
        panic!()
    };
    assert!(serde_json::from_str::<Value>(input).is_ok());
}

#[test]
fn a_loop_without_waits_ends_at_the_quota_of_events() {
    let machine = json!({"StartAt": "A", "States": {
        "A": {"Type": "Choice", "Choices": [{"Variable": "$.x", "IsPresent": true, "Next": "End"}], "Default": "B"},
        "B": {"Type": "Pass", "Next": "A"},
        "End": {"Type": "Succeed"}
    }});
    let ran = play(&machine, json!({}), vec![]);
    expect!["FAILED States.Runtime: The execution reached the maximum number of history events (25000)."]
        .assert_eq(&ending(&ran.outcome));
    assert_eq!(ran.history.len(), 25_000);
    assert!(matches!(ran.history[24_999].event, Event::ExecutionFailed { .. }));
}

/// 25,000 events are allowed when the last is the good end.
#[test]
fn the_quota_of_events_leaves_room_for_the_end() {
    // `ExecutionStarted`, two events for each of 12,499 states, the end: 25,000.
    for (count, status) in [(12_499, "SUCCEEDED"), (12_500, "FAILED")] {
        let mut states = serde_json::Map::new();
        for at in 1..count {
            states.insert(
                format!("{at}"),
                json!({"Type": "Pass", "Next": format!("{}", at + 1)}),
            );
        }
        states.insert(format!("{count}"), json!({"Type": "Succeed"}));
        let ran = play(&json!({"StartAt": "1", "States": states}), json!({}), vec![]);
        assert_eq!((ran.outcome.status(), ran.history.len()), (status, 25_000));
    }
}

#[test]
fn ids_count_from_one_and_each_event_follows_the_last() {
    let ran = play(
        &task(json!({"Retry": [{"ErrorEquals": ["States.ALL"]}]})),
        json!({}),
        vec![Answer::Err("E", "c")],
    );
    for (at, event) in ran.history.iter().enumerate() {
        assert_eq!(event.id, at as u64 + 1);
        assert_eq!(event.previous_event_id, if at < 2 { 0 } else { event.id - 1 });
    }
}

#[test]
fn an_event_on_the_wire() {
    let ran = play(&task(json!({})), json!({}), vec![]);
    expect![[r#"
        {
          "timestamp": 1769860800.0,
          "type": "TaskScheduled",
          "id": 3,
          "previousEventId": 2,
          "taskScheduledEventDetails": {
            "resourceType": "sagemaker",
            "resource": "createModel",
            "region": "us-east-1",
            "parameters": "{}"
          }
        }"#]]
    .assert_eq(&serde_json::to_string_pretty(&ran.history[2]).unwrap());
}

#[test]
fn the_input_s_own_text_is_in_the_first_event() {
    let machine = StateMachine::from_json(&one(json!({"Type": "Succeed"})).to_string()).unwrap();
    let clock = VirtualClock::new(START.parse().unwrap());
    let handler =
        |_: TaskCall| -> BoxFuture<'static, Result<Value, TaskFailure>> { Box::pin(async { Ok(json!({})) }) };
    let execution = Execution::new("arn:aws:states:us-east-1:0:stateMachine:m", "e", json!({"a": 1}))
        .with_input_text("{\n  \"a\": 1\n}");
    let mut first = None;
    clock.block_on(run(
        &machine,
        &execution,
        &handler,
        &clock,
        &mut |event: &HistoryEvent| {
            first.get_or_insert_with(|| event.event.clone());
        },
    ));
    let Some(Event::ExecutionStarted { input, .. }) = first else {
        panic!()
    };
    assert_eq!(input, "{\n  \"a\": 1\n}");
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

/// A definition of a thousand characters must not ask for gigabytes on the way to a result that is refused anyway.
#[test]
fn values_in_between_are_bounded() {
    let mut array = "$,".repeat(200);
    array.pop();
    let many = format!("States.Array({array})");
    let doubling = format!("{}$.text{}", "States.JsonToString(".repeat(10), ")".repeat(10));
    for expression in [many, doubling] {
        let machine = json!({"StartAt": "P", "States": {
            "P": {"Type": "Pass", "Parameters": {"x.$": expression}, "End": true}
        }});
        let input = json!({"text": "\"".repeat(120_000)});
        check_ending(
            machine,
            input,
            vec![],
            expect![
                "FAILED States.DataLimitExceeded: The state/task 'P' returned a result with a size exceeding the maximum number of bytes service limit."
            ],
        );
    }
}
