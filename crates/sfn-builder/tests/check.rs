//! What the check finds, and that it finds nothing in what is well.

use expect_test::{Expect, expect};
use serde_json::{Value, json};
use sfn_builder::{Choice, Code, Document, Finding, Pass, StateMachine, Succeed, Task, Wait};

fn findings(text: &str) -> String {
    let document = match Document::parse(text) {
        Ok(document) => document,
        Err(error) => return list(error.findings()),
    };
    let findings = document.findings();
    match document.check() {
        Ok(machine) => assert_eq!(machine.warnings(), findings),
        Err(error) => assert_eq!(error.findings(), findings),
    }
    if findings.is_empty() {
        "valid".to_owned()
    } else {
        list(&findings)
    }
}

fn list(findings: &[Finding]) -> String {
    findings
        .iter()
        .map(|finding| format!("{} {finding}\n", finding.code))
        .collect()
}

fn check(definition: Value, expect: Expect) {
    expect.assert_eq(&findings(&definition.to_string()));
}

/// A machine of the one state `S`, beside a `Done` that it may lead to.
fn one(state: Value) -> Value {
    let mut machine = json!({"StartAt": "S", "States": {"S": state}});
    if machine.to_string().contains("\"Done\"") {
        machine["States"]["Done"] = json!({"Type": "Succeed"});
    }
    machine
}

fn check_state(state: Value, expect: Expect) {
    check(one(state), expect);
}

fn check_rule(rule: Value, expect: Expect) {
    check_state(
        json!({"Type": "Choice", "Choices": [rule], "Default": "Done"}),
        expect,
    );
}

fn check_task(field: &str, value: Value, expect: Expect) {
    let mut task = json!({"Type": "Task", "Resource": "arn:aws:states:::sagemaker:createModel", "End": true});
    task[field] = value;
    check_state(task, expect);
}

#[test]
fn every_kind_of_state_is_valid() {
    let definition = json!({
        "Comment": "all of it",
        "Version": "1.0",
        "QueryLanguage": "JSONPath",
        "TimeoutSeconds": 99_999_999,
        "StartAt": "Task",
        "States": {
            "Task": {
                "Type": "Task", "Comment": "c", "QueryLanguage": "JSONPath",
                "Resource": "arn:aws:states:::sagemaker:createTrainingJob.sync",
                "InputPath": "$.a['b c'][0]", "OutputPath": null,
                "Parameters": {"a.$": "$.x", "b": [{"c.$": "States.Format('{} {}', $.y, $$.Execution.Name)"}], "d": null},
                "ResultSelector": {"x.$": "$.y[*].z", "last.$": "$.y[-2:]"},
                "ResultPath": "$.a.b[3]",
                "TimeoutSeconds": 60, "HeartbeatSeconds": 59,
                "Retry": [
                    {"ErrorEquals": ["A", "States.Timeout"], "IntervalSeconds": 1, "MaxAttempts": 0, "BackoffRate": 1.0,
                     "MaxDelaySeconds": 2, "JitterStrategy": "FULL"},
                    {"ErrorEquals": ["States.ALL"], "MaxAttempts": 99_999_999, "JitterStrategy": "NONE"}
                ],
                "Catch": [
                    {"ErrorEquals": ["States.TaskFailed"], "Next": "Pass", "ResultPath": null},
                    {"ErrorEquals": ["States.ALL"], "Next": "Fail", "ResultPath": "$.Error", "Comment": "c"}
                ],
                "Next": "Pass"
            },
            "Pass": {"Type": "Pass", "Result": {"x.$": "kept as it is"}, "ResultPath": null, "Next": "Choice"},
            "Choice": {
                "Type": "Choice", "InputPath": "$", "OutputPath": "$",
                "Choices": [
                    {"And": [
                        {"Variable": "$.a", "IsPresent": true},
                        {"Or": [{"Variable": "$.a", "NumericLessThan": 1.5}, {"Not": {"Variable": "$.a", "IsNull": true}}]}
                    ], "Next": "Wait", "Comment": "c"},
                    {"Variable": "$$.Execution.Name", "StringEqualsPath": "$.b", "Next": "Wait"},
                    {"Variable": "$.a", "StringMatches": "a*\\*b", "Next": "Wait"},
                    {"Variable": "$.a", "TimestampLessThanEquals": "2026-01-31T12:00:00.5+01:00", "Next": "Wait"},
                    {"Variable": "$.a", "TimestampGreaterThanPath": "$.b", "Next": "Wait"},
                    {"Variable": "$.a", "BooleanEqualsPath": "$.b", "Next": "Wait"}
                ],
                "Default": "Fail"
            },
            "Wait": {"Type": "Wait", "SecondsPath": "$.s", "Next": "Until"},
            "Until": {"Type": "Wait", "Timestamp": "2026-01-31T12:00:00Z", "Next": "End"},
            "End": {"Type": "Succeed", "InputPath": "$.x"},
            "Fail": {"Type": "Fail", "ErrorPath": "$.Error.Error", "CausePath": "States.JsonToString($.Error)"}
        }
    });
    check(definition, expect![["valid"]]);
}

#[test]
fn the_graph() {
    check(
        json!({"StartAt": "Trian", "States": {
            "Train": {"Type": "Pass", "Next": "Score"},
            "Score": {"Type": "Choice", "Choices": [{"Variable": "$.x", "IsNull": true, "Next": "Scored"}], "Default": "Nowhere"},
            "Scores": {"Type": "Task", "Resource": "arn:aws:states:::sagemaker:createModel", "End": true,
                       "Catch": [{"ErrorEquals": ["E"], "Next": "train"}]},
            "Alone": {"Type": "Succeed"}
        }}),
        expect![[r#"
            MISSING_TRANSITION_TARGET /StartAt: `StartAt` names the state `Trian`, which does not exist (did you mean `Train`?)
            MISSING_TRANSITION_TARGET /States/Score/Default: `Default` names the state `Nowhere`, which does not exist
            MISSING_TRANSITION_TARGET /States/Score/Choices/0/Next: `Next` names the state `Scored`, which does not exist (did you mean `Score`?)
            MISSING_TRANSITION_TARGET /States/Scores/Catch/0/Next: `Next` names the state `train`, which does not exist (did you mean `Train`?)
            UNREACHABLE_STATE /States/Scores: no path leads from `Train` to the state `Scores`
            UNREACHABLE_STATE /States/Alone: no path leads from `Train` to the state `Alone`
        "#]],
    );
    check(
        json!({"StartAt": "A", "States": {"A": {"Type": "Pass", "Next": "B"}, "B": {"Type": "Pass", "Next": "A"}}}),
        expect![[r#"
            NO_TERMINAL_STATE /States: no state ends the machine: one must have `"End": true` or be of type Succeed or Fail
        "#]],
    );
    check(
        json!({"StartAt": "zzz", "States": {"A/b~c": {"Type": "Pass", "Next": "qqq"}}}),
        expect![[r#"
            MISSING_TRANSITION_TARGET /StartAt: `StartAt` names the state `zzz`, which does not exist
            MISSING_TRANSITION_TARGET /States/A~1b~0c/Next: `Next` names the state `qqq`, which does not exist
            NO_TERMINAL_STATE /States: no state ends the machine: one must have `"End": true` or be of type Succeed or Fail
        "#]],
    );
}

#[test]
fn the_shape_of_a_document() {
    for (text, expect) in [
        (
            "",
            expect![[r#"
                INVALID_JSON /: not JSON: EOF while parsing a value at line 1 column 0
            "#]],
        ),
        (
            "{\"StartAt\": }",
            expect![[r#"
                INVALID_JSON /: not JSON: expected value at line 1 column 13
            "#]],
        ),
        (
            "{} {}",
            expect![[r#"
                INVALID_JSON /: not JSON: trailing characters at line 1 column 4
            "#]],
        ),
        (
            "[]",
            expect![[r#"
                WRONG_TYPE /: a definition is an object, not an array
            "#]],
        ),
        (
            "{}",
            expect![[r#"
                MISSING_FIELD /: the field `StartAt` is missing
                MISSING_FIELD /: the field `States` is missing
            "#]],
        ),
        (
            r#"{"StartAt":1,"States":[],"Comment":2,"TimeoutSeconds":0,"Version":"2.0","QueryLanguage":"JSONata","Sates":{}}"#,
            expect![[r#"
                WRONG_TYPE /Comment: `Comment` is a text, not a number
                INVALID_VALUE /Version: the version of the language is `1.0`, not `2.0`
                OUT_OF_RANGE /TimeoutSeconds: `TimeoutSeconds` is a whole number from 1 to 99999999, not `0`
                WRONG_TYPE /StartAt: `StartAt` is a text, not a number
                WRONG_TYPE /States: `States` is an object, not an array
                UNKNOWN_FIELD /Sates: a state machine has no field `Sates` (did you mean `States`?)
            "#]],
        ),
        (
            r#"{"StartAt":"A","States":{}}"#,
            expect![[r#"
                INVALID_VALUE /States: there must be at least one state
            "#]],
        ),
        (
            r#"{"StartAt":"A","States":{"A":[]}}"#,
            expect![[r#"
                WRONG_TYPE /States/A: a state is an object, not an array
            "#]],
        ),
        (
            r#"{"StartAt":"A","States":{"A":{"Type":"Pass","End":true,"End":true},"A":{"Type":"Succeed"}}}"#,
            expect![[r#"
            DUPLICATE_KEY /States/A/End: the key `End` comes twice in one object
            DUPLICATE_KEY /States/A: the key `A` comes twice in one object
        "#]],
        ),
        (
            r#"{"StartAt":"","States":{"":{"Type":"Succeed"}}}"#,
            expect![[r#"
                INVALID_STATE_NAME /States/: the name of a state must not be empty
            "#]],
        ),
    ] {
        expect.assert_eq(&findings(text));
    }
    let long = "n".repeat(81);
    let text = json!({"StartAt": long, "States": {&long: {"Type": "Succeed"}}}).to_string();
    assert!(
        findings(&text).ends_with("has at most 80 characters, this has 81\n"),
        "{}",
        findings(&text)
    );
    let ok = "ü".repeat(80);
    let text = json!({"StartAt": ok, "States": {&ok: {"Type": "Succeed"}}}).to_string();
    assert_eq!(findings(&text), "valid");

    let big = json!({"StartAt": "A", "States": {"A": {"Type": "Succeed"}}, "Comment": "c".repeat(1 << 20)})
        .to_string();
    assert_eq!(
        StateMachine::from_json(&big).unwrap_err().findings()[0].code,
        Code::TooLarge
    );
}

#[test]
fn resources() {
    for (resource, expect) in [
        (
            "arn:aws:states:::sagemaker:createEndpoint.sync",
            expect![[r#"
                UNSUPPORTED_PATTERN /States/S/Resource: AWS has no `sagemaker:createEndpoint.sync`: it can only be called as `sagemaker:createEndpoint`, and what it makes be polled; `EndpointDeployment` of the builder makes the states that create or update an endpoint and wait until it is in service
            "#]],
        ),
        (
            "arn:aws:states:::sagemaker:createEndpointConfig.sync",
            expect![[r#"
                UNSUPPORTED_PATTERN /States/S/Resource: AWS has no `sagemaker:createEndpointConfig.sync`: it can only be called as `sagemaker:createEndpointConfig`, and what it makes be polled
            "#]],
        ),
        (
            "arn:aws:states:::sagemaker:createModel.sync",
            expect![[r#"
                UNSUPPORTED_PATTERN /States/S/Resource: AWS has no `sagemaker:createModel.sync`: it can only be called as `sagemaker:createModel`, and what it makes be polled
            "#]],
        ),
        (
            "arn:aws:states:::sagemaker:updateEndpoint.sync",
            expect![[r#"
                UNSUPPORTED_PATTERN /States/S/Resource: AWS has no `sagemaker:updateEndpoint.sync`: it can only be called as `sagemaker:updateEndpoint`, and what it makes be polled; `EndpointDeployment` of the builder makes the states that create or update an endpoint and wait until it is in service
            "#]],
        ),
        (
            "arn:aws:states:::sagemaker:createTrainingJob.sync:2",
            expect![[r#"
                UNSUPPORTED_PATTERN /States/S/Resource: AWS has no `sagemaker:createTrainingJob.sync:2`
            "#]],
        ),
        (
            "arn:aws:states:::sagemaker:createTraningJob.sync",
            expect![[r#"
                INVALID_RESOURCE /States/S/Resource: Step Functions' own integration `sagemaker` has no action `createTraningJob`; any other is `arn:aws:states:::aws-sdk:sagemaker:createTraningJob` (did you mean `createTrainingJob`?)
            "#]],
        ),
        (
            "arn:aws:states:::sagemaker:describeEndpoint",
            expect![[r#"
                INVALID_RESOURCE /States/S/Resource: Step Functions' own integration `sagemaker` has no action `describeEndpoint`; any other is `arn:aws:states:::aws-sdk:sagemaker:describeEndpoint`
            "#]],
        ),
        (
            "arn:aws:states:::sagemaker:createTrainingJob.snyc",
            expect![[r#"
                UNSUPPORTED_PATTERN /States/S/Resource: there is no integration pattern `.snyc` (did you mean `sync`?)
            "#]],
        ),
        (
            "arn:aws:states:::aws-sdk:sagemaker:describeEndpoint.sync",
            expect![[r#"
                UNSUPPORTED_PATTERN /States/S/Resource: AWS SDK integrations have no `.sync`: `sagemaker:describeEndpoint` returns at once (did you mean `arn:aws:states:::aws-sdk:sagemaker:describeEndpoint`?)
            "#]],
        ),
        (
            "arn:aws:states:::aws-sdk:sagemaker:DescribeEndpoint",
            expect![[r#"
            INVALID_RESOURCE /States/S/Resource: the action `DescribeEndpoint` of an AWS SDK integration is written in camel case (did you mean `describeEndpoint`?)
        "#]],
        ),
        (
            "arn:aws:states:::lambda:invoke.waitForTaskToken",
            expect!["valid"],
        ),
        ("arn:aws:states:::states:startExecution.sync:2", expect!["valid"]),
        (
            "arn:aws:states:us-east-1:123456789012:activity:a",
            expect!["valid"],
        ),
        (
            "arn:aws:lambda:us-east-1:123456789012:function:f:$LATEST",
            expect!["valid"],
        ),
        (
            "arn:awz:states:::sagemaker:createModel",
            expect![[r#"
            INVALID_RESOURCE /States/S/Resource: `arn:awz:states:::sagemaker:createModel` names the partition `awz`, which does not exist (did you mean `aws`?)
        "#]],
        ),
        (
            "arn:aws:s3:::bucket",
            expect![[r#"
            INVALID_RESOURCE /States/S/Resource: `arn:aws:s3:::bucket` names nothing that a Task can call
        "#]],
        ),
        (
            "arn:aws:states:::sagemaker",
            expect![[r#"
            INVALID_RESOURCE /States/S/Resource: `arn:aws:states:::sagemaker` has no action: `arn:aws:states:::service:action` is wanted
        "#]],
        ),
        (
            "arn:aws:states:::sagemaker:",
            expect![[r#"
            INVALID_RESOURCE /States/S/Resource: `arn:aws:states:::sagemaker:` has no action: `arn:aws:states:::service:action` is wanted
        "#]],
        ),
        (
            "sagemaker:createModel",
            expect![[r#"
            INVALID_RESOURCE /States/S/Resource: `sagemaker:createModel` is not an ARN
        "#]],
        ),
        (
            "",
            expect![[r#"
            INVALID_RESOURCE /States/S/Resource: `` is not an ARN
        "#]],
        ),
    ] {
        check_task("Resource", resource.into(), expect);
    }
}

#[test]
fn numbers() {
    for (field, value, expect) in [
        (
            "TimeoutSeconds",
            json!(0),
            expect![[r#"
                OUT_OF_RANGE /States/S/TimeoutSeconds: `TimeoutSeconds` is a whole number from 1 to 99999999, not `0`
            "#]],
        ),
        (
            "TimeoutSeconds",
            json!(100_000_000),
            expect![[r#"
                OUT_OF_RANGE /States/S/TimeoutSeconds: `TimeoutSeconds` is a whole number from 1 to 99999999, not `100000000`
            "#]],
        ),
        (
            "TimeoutSeconds",
            json!("60"),
            expect![[r#"
                WRONG_TYPE /States/S/TimeoutSeconds: `TimeoutSeconds` is a whole number from 1 to 99999999, not `"60"`
            "#]],
        ),
        ("TimeoutSeconds", json!(60.0), expect!["valid"]),
        (
            "HeartbeatSeconds",
            json!(1.5),
            expect![[r#"
                OUT_OF_RANGE /States/S/HeartbeatSeconds: `HeartbeatSeconds` is a whole number from 1 to 99999999, not `1.5`
            "#]],
        ),
        (
            "TimeoutSecondsPath",
            json!("$.a[*]"),
            expect![[r#"
                NOT_A_REFERENCE_PATH /States/S/TimeoutSecondsPath: `$.a[*]` is not a reference path; only fields and indices from the front may stand in it
            "#]],
        ),
    ] {
        check_task(field, value, expect);
    }
    check_state(
        json!({"Type": "Task", "Resource": "arn:aws:states:::sagemaker:createModel", "End": true,
               "TimeoutSeconds": 5, "HeartbeatSeconds": 5, "TimeoutSecondsPath": "$.t"}),
        expect![[r#"
            CONFLICTING_FIELDS /States/S/TimeoutSecondsPath: `TimeoutSecondsPath` does not stand beside `TimeoutSeconds`
            OUT_OF_RANGE /States/S/HeartbeatSeconds: `HeartbeatSeconds` (5) must be less than `TimeoutSeconds` (5)
        "#]],
    );
}

#[test]
fn retries_and_catches() {
    for (list, expect) in [
        (
            json!({}),
            expect![[r#"
                WRONG_TYPE /States/S/Retry: `Retry` is an array, not an object
            "#]],
        ),
        (
            json!(["x"]),
            expect![[r#"
                WRONG_TYPE /States/S/Retry/0: an entry of `Retry` is an object, not a text
            "#]],
        ),
        (
            json!([{}]),
            expect![[r#"
                MISSING_FIELD /States/S/Retry/0: the field `ErrorEquals` is missing
            "#]],
        ),
        (
            json!([{"ErrorEquals": []}]),
            expect![[r#"
                INVALID_VALUE /States/S/Retry/0/ErrorEquals: `ErrorEquals` is a non-empty array of error names, not an empty array
            "#]],
        ),
        (
            json!([{"ErrorEquals": ["States.ALL", "E"]}]),
            expect![[r#"
                MISPLACED_STATES_ALL /States/S/Retry/0/ErrorEquals: `States.ALL` must stand alone
            "#]],
        ),
        (
            json!([{"ErrorEquals": ["States.ALL"]}, {"ErrorEquals": ["E"]}]),
            expect![[r#"
                MISPLACED_STATES_ALL /States/S/Retry/0/ErrorEquals: `States.ALL` must stand in the last entry of `Retry`
            "#]],
        ),
        (
            json!([{"ErrorEquals": ["States.Timout", 3]}]),
            expect![[r#"
                UNKNOWN_ERROR_NAME /States/S/Retry/0/ErrorEquals/0: `States.Timout` is not one of the reserved error names, so it never matches (did you mean `States.Timeout`?)
                WRONG_TYPE /States/S/Retry/0/ErrorEquals/1: an error name is a text, not a number
            "#]],
        ),
        (
            json!([{"ErrorEquals": ["E"], "IntervalSeconds": 0, "MaxAttempts": 100_000_000, "BackoffRate": 0.99, "MaxDelaySeconds": 0}]),
            expect![[r#"
                OUT_OF_RANGE /States/S/Retry/0/MaxAttempts: `MaxAttempts` is a whole number from 0 to 99999999, not `100000000`
                OUT_OF_RANGE /States/S/Retry/0/BackoffRate: `BackoffRate` is a number of at least 1.0, not `0.99`
                OUT_OF_RANGE /States/S/Retry/0/MaxDelaySeconds: `MaxDelaySeconds` is a whole number from 1 to 31622399, not `0`
            "#]],
        ),
        (
            json!([{"ErrorEquals": ["E"], "IntervalSeconds": 5, "MaxDelaySeconds": 5, "JitterStrategy": "full", "Backoff": 2}]),
            expect![[r#"
                OUT_OF_RANGE /States/S/Retry/0/MaxDelaySeconds: `MaxDelaySeconds` (5) must be more than `IntervalSeconds` (5)
                INVALID_VALUE /States/S/Retry/0/JitterStrategy: `JitterStrategy` is `NONE` or `FULL`, not `full` (did you mean `FULL`?)
                UNKNOWN_FIELD /States/S/Retry/0/Backoff: a retrier has no field `Backoff` (did you mean `BackoffRate`?)
            "#]],
        ),
    ] {
        check_task("Retry", list, expect);
    }
    for (list, expect) in [
        (
            json!([{"ErrorEquals": ["E"]}]),
            expect![[r#"
                MISSING_FIELD /States/S/Catch/0: the field `Next` is missing
            "#]],
        ),
        (
            json!([{"ErrorEquals": ["States.ALL"], "Next": "Done", "ResultPath": "$$.x"}]),
            expect![[r#"
                NOT_A_REFERENCE_PATH /States/S/Catch/0/ResultPath: `ResultPath` cannot write to the context object: `$$.x`
            "#]],
        ),
        (
            json!([{"ErrorEquals": ["States.ALL"], "Next": "Done", "ResultPath": "$.x[*]", "MaxAttempts": 1}]),
            expect![[r#"
                NOT_A_REFERENCE_PATH /States/S/Catch/0/ResultPath: `$.x[*]` is not a reference path; only fields and indices from the front may stand in it
                UNKNOWN_FIELD /States/S/Catch/0/MaxAttempts: a catcher has no field `MaxAttempts`
            "#]],
        ),
    ] {
        check_task("Catch", list, expect);
    }
}

#[test]
fn paths_and_templates() {
    for (parameters, expect) in [
        (
            json!({"a.$": 1, "b.$": null}),
            expect![[r#"
                WRONG_TYPE /States/S/Parameters/a.$: the value of `a.$` must be a path or an intrinsic function, not a number
                WRONG_TYPE /States/S/Parameters/b.$: the value of `b.$` must be a path or an intrinsic function, not null
            "#]],
        ),
        (
            json!({"a": 1, "a.$": "$.x"}),
            expect![[r#"
            DUPLICATE_KEY /States/S/Parameters/a.$: `a` and `a.$` name the same field
        "#]],
        ),
        (
            json!({"a.$": "x"}),
            expect![[r#"
                INVALID_INTRINSIC /States/S/Parameters/a.$: `x`, character 1: expected a path (`$…`) or an intrinsic function (`States.…(…)`)
            "#]],
        ),
        (
            json!({"a.$": "$x"}),
            expect![[r#"
                UNASSIGNED_VARIABLE /States/S/Parameters: no way to `S` assigns the variable `$x`
            "#]],
        ),
        (
            json!({"a.$": "$."}),
            expect![[r#"
                INVALID_PATH /States/S/Parameters/a.$: `$.`, character 3: a name is missing
            "#]],
        ),
        (
            json!({"a.$": "$.a b"}),
            expect![[r#"
                INVALID_PATH /States/S/Parameters/a.$: `$.a b`, character 4: a blank in a name; write the name as `['…']`
            "#]],
        ),
        (
            json!({"a.$": "$['a"}),
            expect![[r#"
                INVALID_PATH /States/S/Parameters/a.$: `$['a`, character 5: the quote is not closed
            "#]],
        ),
        (
            json!({"a.$": "$[99999999999]"}),
            expect![[r#"
                INVALID_PATH /States/S/Parameters/a.$: `$[99999999999]`, character 14: not an index
            "#]],
        ),
        (
            json!({"a.$": "$[:]"}),
            expect![[r#"
                INVALID_PATH /States/S/Parameters/a.$: `$[:]`, character 4: a slice needs a bound
            "#]],
        ),
        (
            json!({"a.$": "$.a]"}),
            expect![[r#"
                INVALID_PATH /States/S/Parameters/a.$: `$.a]`, character 4: a character that a plain name cannot have; write the name as `['…']`
            "#]],
        ),
        (
            json!({"a.$": "States.Format('{}')"}),
            expect![[r#"
                INVALID_INTRINSIC /States/S/Parameters/a.$: the template of `States.Format` has 1 times `{}`, but 0 values follow
            "#]],
        ),
        (json!({"a.$": "States.Format('\\{} {}', 1)"}), expect!["valid"]),
        (
            json!({"a.$": "States.Formt('{}', 1)"}),
            expect![[r#"
                INVALID_INTRINSIC /States/S/Parameters/a.$: there is no intrinsic function `States.Formt` (did you mean `States.Format`?)
            "#]],
        ),
        (
            json!({"a.$": "States.MathAdd(1)"}),
            expect![[r#"
                INVALID_INTRINSIC /States/S/Parameters/a.$: `States.MathAdd` takes 2 argument(s), not 1
            "#]],
        ),
        (
            json!({"a.$": "States.MathAdd('1', 2)"}),
            expect![[r#"
                INVALID_INTRINSIC /States/S/Parameters/a.$: an argument of `States.MathAdd` has the wrong type
            "#]],
        ),
        (
            json!({"a.$": "States.Array(1, 'a,)', $.x['b,)'], States.Array(true, null)"}),
            expect![[r#"
                INVALID_INTRINSIC /States/S/Parameters/a.$: `States.Array(1, 'a,)', $.x['b,)'], States.Array(true, null)`, character 60: expected `,` or `)`
            "#]],
        ),
        (
            json!({"a.$": "States.Array(1, 'a,)', $.x['b,)'], States.Array(true, null), -1.5e3)"}),
            expect!["valid"],
        ),
        (json!({"a.$": "States.UUID() "}), expect!["valid"]),
        (
            json!([{"deep": [{"a.$": "$$"}, {"b.$": "$$.Execution.Input['JobName']"}, {"c.$": "?"}]}]),
            expect![[r#"
                INVALID_INTRINSIC /States/S/Parameters/0/deep/2/c.$: `?`, character 1: expected a path (`$…`) or an intrinsic function (`States.…(…)`)
            "#]],
        ),
    ] {
        check_task("Parameters", parameters, expect);
    }
    for (field, path, expect) in [
        ("InputPath", json!("$.a[*]"), expect!["valid"]),
        (
            "InputPath",
            json!(""),
            expect![[r#"
                INVALID_PATH /States/S/InputPath: ``, character 1: a path starts with `$`
            "#]],
        ),
        (
            "OutputPath",
            json!(7),
            expect![[r#"
                WRONG_TYPE /States/S/OutputPath: `OutputPath` is a path or null, not a number
            "#]],
        ),
        (
            "ResultPath",
            json!("$.a[-1]"),
            expect![[r#"
                NOT_A_REFERENCE_PATH /States/S/ResultPath: `$.a[-1]` is not a reference path; only fields and indices from the front may stand in it
            "#]],
        ),
        (
            "ResultPath",
            json!("$$.Execution"),
            expect![[r#"
                NOT_A_REFERENCE_PATH /States/S/ResultPath: `ResultPath` cannot write to the context object: `$$.Execution`
            "#]],
        ),
        (
            "ResultPath",
            json!({}),
            expect![[r#"
                WRONG_TYPE /States/S/ResultPath: `ResultPath` is a reference path or null, not an object
            "#]],
        ),
    ] {
        check_task(field, path, expect);
    }
}

#[test]
fn choices() {
    check_state(
        json!({"Type": "Choice", "Default": "Done"}),
        expect![[r#"
            MISSING_FIELD /States/S: the field `Choices` is missing
        "#]],
    );
    check_state(
        json!({"Type": "Choice", "Choices": [], "Default": "Done"}),
        expect![[r#"
            INVALID_VALUE /States/S/Choices: `Choices` must not be empty
        "#]],
    );
    check_state(
        json!({"Type": "Choice", "Choices": [{"Variable": "$.x", "IsNull": true, "Next": "Done"}], "Next": "Done", "End": true}),
        expect![[r#"
            MISPLACED_FIELD /States/S/Next: the field `Next` does not belong to a Choice state; its `Choices` and `Default` say what follows
            MISPLACED_FIELD /States/S/End: the field `End` does not belong to a Choice state; its `Choices` and `Default` say what follows
            CHOICE_WITHOUT_DEFAULT /States/S: the Choice state has no `Default`; when no rule matches, the execution fails
        "#]],
    );
    for (rule, expect) in [
        (
            json!({"Next": "Done"}),
            expect![[r#"
                INVALID_CONDITION /States/S/Choices/0: a condition needs an operator, such as `StringEquals`, or `And`, `Or`, `Not`
            "#]],
        ),
        (
            json!({"Variable": "$.x", "Next": "Done"}),
            expect![[r#"
                INVALID_CONDITION /States/S/Choices/0: a condition needs an operator, such as `StringEquals`, or `And`, `Or`, `Not`
            "#]],
        ),
        (
            json!({"Variable": "$.x", "IsNull": true}),
            expect![[r#"
                MISSING_FIELD /States/S/Choices/0: the field `Next` is missing
            "#]],
        ),
        (
            json!({"IsNull": true, "Next": "Done"}),
            expect![[r#"
                MISSING_FIELD /States/S/Choices/0: the field `Variable` is missing
            "#]],
        ),
        (
            json!({"Variable": "$.x", "StringEqual": "a", "Next": "Done"}),
            expect![[r#"
                UNKNOWN_FIELD /States/S/Choices/0/StringEqual: there is no operator `StringEqual` (did you mean `StringEquals`?)
            "#]],
        ),
        (
            json!({"Variable": "$.x", "StringMatchesPath": "$.a", "Next": "Done"}),
            expect![[r#"
                UNKNOWN_FIELD /States/S/Choices/0/StringMatchesPath: there is no operator `StringMatchesPath` (did you mean `StringMatches`?)
            "#]],
        ),
        (
            json!({"Variable": "$.x", "StringEquals": "a", "IsNull": true, "Next": "Done"}),
            expect![[r#"
                INVALID_CONDITION /States/S/Choices/0: a condition has one operator, not 2: `StringEquals`, `IsNull`
            "#]],
        ),
        (
            json!({"Variable": "$.x", "StringEquals": 1, "Next": "Done"}),
            expect![[r#"
                WRONG_TYPE /States/S/Choices/0/StringEquals: `StringEquals` is a text, not `1`
            "#]],
        ),
        (
            json!({"Variable": "$.x", "NumericEquals": "1", "Next": "Done"}),
            expect![[r#"
                WRONG_TYPE /States/S/Choices/0/NumericEquals: `NumericEquals` is a number, not `"1"`
            "#]],
        ),
        (
            json!({"Variable": "$.x", "BooleanEquals": "true", "Next": "Done"}),
            expect![[r#"
                WRONG_TYPE /States/S/Choices/0/BooleanEquals: `BooleanEquals` is a boolean, not `"true"`
            "#]],
        ),
        (
            json!({"Variable": "$.x", "IsPresent": "true", "Next": "Done"}),
            expect![[r#"
                WRONG_TYPE /States/S/Choices/0/IsPresent: `IsPresent` is a boolean, not `"true"`
            "#]],
        ),
        (
            json!({"Variable": "$.x", "TimestampEquals": "2026-01-31", "Next": "Done"}),
            expect![[r#"
                INVALID_TIMESTAMP /States/S/Choices/0/TimestampEquals: `TimestampEquals` is a time such as `2026-01-31T12:00:00Z`, not `"2026-01-31"`
            "#]],
        ),
        (
            json!({"Variable": "$.x", "TimestampEquals": "2026-02-30T00:00:00Z", "Next": "Done"}),
            expect![[r#"
                INVALID_TIMESTAMP /States/S/Choices/0/TimestampEquals: `TimestampEquals` is a time such as `2026-01-31T12:00:00Z`, not `"2026-02-30T00:00:00Z"`
            "#]],
        ),
        (
            json!({"Variable": "$.x", "NumericEqualsPath": 1, "Next": "Done"}),
            expect![[r#"
                WRONG_TYPE /States/S/Choices/0/NumericEqualsPath: `NumericEqualsPath` is a path, not a number
            "#]],
        ),
        (
            json!({"Variable": "$.x", "StringMatches": "a\\b", "Next": "Done"}),
            expect![[r#"
                INVALID_PATTERN /States/S/Choices/0/StringMatches: in a pattern a backslash stands before `*` or a backslash
            "#]],
        ),
        (
            json!({"Variable": "x", "StringEquals": "a", "Next": "Done"}),
            expect![[r#"
                INVALID_PATH /States/S/Choices/0/Variable: `x`, character 1: a path starts with `$`
            "#]],
        ),
        (
            json!({"And": [], "Next": "Done"}),
            expect![[r#"
                INVALID_VALUE /States/S/Choices/0/And: `And` is a non-empty array of conditions, not an empty array
            "#]],
        ),
        (
            json!({"Not": [], "Next": "Done"}),
            expect![[r#"
                WRONG_TYPE /States/S/Choices/0/Not: a condition is an object, not an array
            "#]],
        ),
        (
            json!({"And": [{"Variable": "$.x", "IsNull": true, "Next": "Done"}], "Variable": "$.y", "Next": "Done"}),
            expect![[r#"
                CONFLICTING_FIELDS /States/S/Choices/0/Variable: `Variable` does not stand beside `And`
                MISPLACED_FIELD /States/S/Choices/0/And/0/Next: only the outermost condition has `Next`
            "#]],
        ),
        (
            json!({"Condition": "{% true %}", "Next": "Done"}),
            expect![[r#"
                WRONG_QUERY_LANGUAGE /States/S/Choices/0/Condition: the field `Condition` belongs to JSONata states; the query language here is JSONPath
            "#]],
        ),
    ] {
        check_rule(rule, expect);
    }
    let mut deep = json!({"Variable": "$.x", "IsNull": true});
    for _ in 0..100 {
        deep = json!({"Not": deep});
    }
    deep["Next"] = "Done".into();
    let text = one(json!({"Type": "Choice", "Choices": [deep]})).to_string();
    assert!(findings(&text).contains("conditions nest at most 64 deep"));
}

#[test]
fn the_other_states() {
    for (state, expect) in [
        (
            json!({}),
            expect![[r#"
                MISSING_FIELD /States/S: the field `Type` is missing
            "#]],
        ),
        (
            json!({"Type": "Taks"}),
            expect![[r#"
                UNKNOWN_STATE_TYPE /States/S/Type: there is no type of state `Taks` (did you mean `Task`?)
            "#]],
        ),
        (
            json!({"Type": "Task"}),
            expect![[r#"
                MISSING_FIELD /States/S: the field `Resource` is missing
                MISSING_FIELD /States/S: exactly one of `Next` and `End` is wanted, not none
            "#]],
        ),
        (
            json!({"Type": "Pass"}),
            expect![[r#"
                MISSING_FIELD /States/S: exactly one of `Next` and `End` is wanted, not none
            "#]],
        ),
        (
            json!({"Type": "Pass", "Next": "Done", "End": true}),
            expect![[r#"
                CONFLICTING_FIELDS /States/S: exactly one of `Next` and `End` is wanted, not both
            "#]],
        ),
        (
            json!({"Type": "Pass", "End": false}),
            expect![[r#"
                INVALID_VALUE /States/S/End: `End` is `true` or left out, not `false`
            "#]],
        ),
        (
            json!({"Type": "Pass", "Next": 1}),
            expect![[r#"
                WRONG_TYPE /States/S/Next: `Next` is a text, not a number
                NO_TERMINAL_STATE /States: no state ends the machine: one must have `"End": true` or be of type Succeed or Fail
            "#]],
        ),
        (
            json!({"Type": "Pass", "Resource": "x", "Retry": [], "reslt": 1, "End": true}),
            expect![[r#"
                MISPLACED_FIELD /States/S/Resource: the field `Resource` does not belong to a Pass state
                MISPLACED_FIELD /States/S/Retry: the field `Retry` does not belong to a Pass state
                UNKNOWN_FIELD /States/S/reslt: a Pass state has no field `reslt` (did you mean `Result`?)
            "#]],
        ),
        (
            json!({"Type": "Wait", "End": true}),
            expect![[r#"
                MISSING_FIELD /States/S: a Wait state has exactly one of `Seconds`, `SecondsPath`, `Timestamp`, `TimestampPath`, not none
            "#]],
        ),
        (
            json!({"Type": "Wait", "Seconds": 1, "Timestamp": "2026-01-31T12:00:00Z", "End": true}),
            expect![[r#"
                CONFLICTING_FIELDS /States/S: a Wait state has exactly one of `Seconds`, `SecondsPath`, `Timestamp`, `TimestampPath`, not `Seconds`, `Timestamp`
            "#]],
        ),
        (
            json!({"Type": "Wait", "Seconds": -1, "End": true}),
            expect![[r#"
                OUT_OF_RANGE /States/S/Seconds: `Seconds` is a whole number from 0 to 99999999, not `-1`
            "#]],
        ),
        (
            json!({"Type": "Wait", "Timestamp": "soon", "End": true}),
            expect![[r#"
                INVALID_TIMESTAMP /States/S/Timestamp: `Timestamp` is a time such as `2026-01-31T12:00:00Z`, not `"soon"`
            "#]],
        ),
        (
            json!({"Type": "Wait", "TimestampPath": "$..t", "End": true}),
            expect![[r#"
                NOT_A_REFERENCE_PATH /States/S/TimestampPath: `$..t` is not a reference path; only fields and indices from the front may stand in it
            "#]],
        ),
        (
            json!({"Type": "Succeed", "Next": "Done", "ResultPath": "$"}),
            expect![[r#"
                MISPLACED_FIELD /States/S/Next: the field `Next` does not belong to a Succeed state
                MISPLACED_FIELD /States/S/ResultPath: the field `ResultPath` does not belong to a Succeed state
            "#]],
        ),
        (
            json!({"Type": "Fail", "ErrorPath": "States.Array($.a)", "CausePath": "States.JsonToString($)"}),
            expect![[r#"
                INVALID_INTRINSIC /States/S/ErrorPath: `ErrorPath` must yield a text, which `States.Array` does not
            "#]],
        ),
        (
            json!({"Type": "Fail", "Error": "E", "ErrorPath": "$.e", "CausePath": "nope", "InputPath": "$", "End": true}),
            expect![[r#"
                CONFLICTING_FIELDS /States/S/ErrorPath: `ErrorPath` does not stand beside `Error`
                INVALID_INTRINSIC /States/S/CausePath: `nope`, character 1: expected a path (`$…`) or an intrinsic function (`States.…(…)`)
                MISPLACED_FIELD /States/S/InputPath: the field `InputPath` does not belong to a Fail state
                MISPLACED_FIELD /States/S/End: the field `End` does not belong to a Fail state
            "#]],
        ),
    ] {
        check_state(state, expect);
    }
}

#[test]
fn the_builder_is_judged_by_the_same_rules() {
    let error = StateMachine::builder("A")
        .timeout_seconds(0)
        .state("A", Pass::new().result_path("$..x").next("B"))
        .state(
            "A",
            Task::service("sagemaker", "createEndpoint.sync")
                .heartbeat_seconds(0)
                .end(),
        )
        .state("C", Choice::new())
        .state("W", Wait::timestamp("tomorrow").end())
        .build()
        .unwrap_err();
    expect![[r#"
        the definition is not valid, 8 problems:
          /States/A: two states have the name `A`
          /TimeoutSeconds: `TimeoutSeconds` is a whole number from 1 to 99999999, not `0`
          /States/A/Resource: AWS has no `sagemaker:createEndpoint.sync`: it can only be called as `sagemaker:createEndpoint`, and what it makes be polled; `EndpointDeployment` of the builder makes the states that create or update an endpoint and wait until it is in service
          /States/A/HeartbeatSeconds: `HeartbeatSeconds` is a whole number from 1 to 99999999, not `0`
          /States/C/Choices: `Choices` must not be empty
          /States/W/Timestamp: `Timestamp` is a time such as `2026-01-31T12:00:00Z`, not `"tomorrow"`
          /States/C: no path leads from `A` to the state `C`
          /States/W: no path leads from `A` to the state `W`"#]].assert_eq(&error.to_string());
    expect![[r#"Invalid State Machine Definition: 'DUPLICATE_STATE_NAME: Duplicate State name: A at /States/A, SCHEMA_VALIDATION_FAILED: Minimum value is 1 at /TimeoutSeconds, SCHEMA_VALIDATION_FAILED: The resource provided arn:aws:states:::sagemaker:createEndpoint.sync is not recognized. The value is not a valid resource ARN, or the resource is not available in this region. at /States/A/Resource, SCHEMA_VALIDATION_FAILED: Minimum value is 1 at /States/A/HeartbeatSeconds, SCHEMA_VALIDATION_FAILED: Value cannot be empty at /States/C/Choices, SCHEMA_VALIDATION_FAILED: String does not match RFC3339 timestamp at /States/W/Timestamp, MISSING_TRANSITION_TARGET: State "C" is not reachable. at /States/C, MISSING_TRANSITION_TARGET: State "W" is not reachable. at /States/W'"#]].assert_eq(&error.service_message());
}

#[test]
fn the_message_of_the_service_carries_what_json_says() {
    let error = StateMachine::from_json("{\"StartAt\"").unwrap_err();
    expect!["Invalid State Machine Definition: 'INVALID_JSON_DESCRIPTION: not JSON: EOF while parsing an object at line 1 column 10'"].assert_eq(&error.service_message());
}

#[test]
fn end_and_next_exclude_each_other_in_the_builder() {
    let machine = StateMachine::builder("A")
        .state("A", Pass::new().end().next("B"))
        .state("B", Pass::new().next("A").end())
        .build()
        .unwrap();
    assert_eq!(
        machine.to_json()["States"]["A"],
        json!({"Type": "Pass", "Next": "B"})
    );
    assert_eq!(
        machine.to_json()["States"]["B"],
        json!({"Type": "Pass", "End": true})
    );
}

#[test]
fn a_document_keeps_what_it_does_not_know() {
    let text = r#"{"z":1,"StartAt":"A","a":[1.0,2,-3,1e3,true,null,"\u00e9"],"States":{"A":{"Type":"Nope","b":{"c":{}}}}}"#;
    let document = Document::parse(text).unwrap();
    assert_eq!(document.as_value(), &serde_json::from_str::<Value>(text).unwrap());
    let keys: Vec<&String> = document.as_value().as_object().unwrap().keys().collect();
    assert_eq!(keys, ["z", "StartAt", "a", "States"]);
    assert!(document.check().is_err());
}

#[test]
fn the_checked_machine_can_be_read() {
    let machine = StateMachine::builder("A")
        .comment("c")
        .timeout_seconds(9)
        .state("A", Wait::seconds(3).next("B"))
        .state("B", Succeed::new())
        .build()
        .unwrap();
    assert_eq!(machine.comment(), Some("c"));
    assert_eq!(machine.timeout_seconds(), Some(9));
    assert_eq!(machine.start().name, "A");
    assert_eq!(machine.start().type_name(), "Wait");
    assert_eq!(machine.state("A").unwrap().successors(), ["B"]);
    assert!(machine.state("C").is_none());
}

/// Deep nesting is a finding, not the end of the stack.
#[test]
fn calls_in_calls_have_a_limit() {
    use sfn_builder::template::Expression;
    let nested = |depth: usize| format!("{}1{}", "States.Array(".repeat(depth), ")".repeat(depth));
    assert!(Expression::parse(&nested(10)).is_ok());
    for depth in [11, 60_000] {
        let error = Expression::parse(&nested(depth)).unwrap_err().to_string();
        assert!(
            error.ends_with("intrinsic functions nest deeper than 10"),
            "{}",
            &error[error.len().saturating_sub(100)..]
        );
    }
}
