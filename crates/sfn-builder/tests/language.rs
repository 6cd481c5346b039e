//! The whole language: Parallel and Map, JSONata, variables, scopes; and where findings lie in the text.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use expect_test::{Expect, expect};
use serde_json::{Map, Value, json};
use sfn_builder::checked::{
    CsvHeader, Data, Dynamic, ExecutionType, InputType, Items, Mode, Pattern, QueryLanguage, StateKind,
};
use sfn_builder::jsonata::Jsonata;
use sfn_builder::path::{Path, Root, Segment};
use sfn_builder::template::{Expression, Function};
use sfn_builder::{Code, Document, Severity, StateMachine};

fn findings(definition: &Value) -> String {
    let document = Document::from(definition.clone());
    let findings = document.findings();
    match document.check() {
        Ok(machine) => {
            assert_eq!(machine.warnings(), findings);
            let again = StateMachine::from_json(&machine.to_json_string()).unwrap();
            assert_eq!(again.machine(), machine.machine());
        }
        Err(error) => assert_eq!(error.findings(), findings),
    }
    if findings.is_empty() {
        return "valid".to_owned();
    }
    findings
        .iter()
        .map(|finding| format!("{} {finding}\n", finding.code))
        .collect()
}

fn check(definition: Value, expect: Expect) {
    expect.assert_eq(&findings(&definition));
}

/// A machine of the one state `S`, in this query language.
fn one(language: &str, mut state: Value) -> Value {
    if !["Choice", "Succeed", "Fail"].contains(&state["Type"].as_str().unwrap_or_default()) {
        state["End"] = true.into();
    }
    let mut machine = json!({"QueryLanguage": language, "StartAt": "S", "States": {"S": state}});
    if machine.to_string().contains("\"Done\"") {
        machine["States"]["Done"] = json!({"Type": "Succeed"});
    }
    machine
}

fn inner() -> Value {
    json!({"StartAt": "I", "States": {"I": {"Type": "Pass", "End": true}}})
}

fn distributed() -> Value {
    let mut machine = inner();
    machine["ProcessorConfig"] = json!({"Mode": "DISTRIBUTED", "ExecutionType": "EXPRESS"});
    machine
}

fn everything() -> Value {
    json!({
        "StartAt": "Both",
        "States": {
            "Both": {
                "Type": "Parallel", "Comment": "c", "InputPath": "$.a", "Parameters": {"x.$": "$$.Execution.Id"},
                "ResultSelector": {"first.$": "$[0]"}, "ResultPath": "$.both", "OutputPath": "$",
                "Branches": [
                    {"Comment": "left", "StartAt": "Left", "States": {
                        "Left": {"Type": "Pass", "Assign": {"own": 1}, "Next": "Left end"},
                        "Left end": {"Type": "Pass", "Parameters": {"x.$": "$own"}, "End": true}
                    }},
                    {"StartAt": "Right", "States": {"Right": {
                        "Type": "Task", "QueryLanguage": "JSONata",
                        "Resource": "arn:aws:states:::lambda:invoke.waitForTaskToken",
                        "Arguments": {"FunctionName": "f", "Payload": {"token": "{% $states.context.Task.Token %}", "list": [1, "{% $states.input.x %}"]}},
                        "Credentials": {"RoleArn": "{% $states.input.role %}"},
                        "TimeoutSeconds": "{% $states.input.seconds * 60 %}", "HeartbeatSeconds": 5,
                        "Assign": {"answer": "{% $states.result.Payload %}"},
                        "Output": "{% $merge([$states.input, $states.result]) %}",
                        "Catch": [{"ErrorEquals": ["States.ALL"], "Next": "Right failed",
                                   "Assign": {"why": "{% $states.errorOutput.Cause %}"}, "Output": {"e": "{% $states.errorOutput %}"}}],
                        "End": true
                    }, "Right failed": {"Type": "Fail", "QueryLanguage": "JSONata", "Error": "{% $why %}", "Cause": "fixed"}}}
                ],
                "Retry": [{"ErrorEquals": ["States.BranchFailed"], "JitterStrategy": "FULL", "Comment": "c"}],
                "Catch": [{"ErrorEquals": ["States.ALL"], "ResultPath": "$.error", "Next": "Choose"}],
                "Assign": {"total.$": "$[0].n", "fixed": {"list.$": "States.ArrayRange(1, 9, 2)"}},
                "Next": "Inline"
            },
            "Inline": {
                "Type": "Map", "ItemsPath": "$.items", "MaxConcurrencyPath": "$.width",
                "ItemSelector": {"item.$": "$$.Map.Item.Value", "total.$": "$total"},
                "ItemProcessor": {"ProcessorConfig": {"Mode": "INLINE"}, "StartAt": "Each", "States": {
                    "Each": {"Type": "Pass", "Parameters": {"t.$": "$total"}, "End": true}}},
                "Next": "Distributed"
            },
            "Distributed": {
                "Type": "Map", "QueryLanguage": "JSONata", "Label": "lines",
                "ItemReader": {"Resource": "arn:aws:states:::s3:getObject", "Arguments": {"Bucket": "b", "Key": "{% $states.input.key %}"},
                    "ReaderConfig": {"InputType": "CSV", "CSVHeaderLocation": "GIVEN", "CSVHeaders": ["a", "b"],
                                     "CSVDelimiter": "TAB", "MaxItems": "{% $states.input.n %}"}},
                "ItemBatcher": {"MaxItemsPerBatch": 10, "MaxInputBytesPerBatch": 262_144, "BatchInput": {"k": "{% $total %}"}},
                "ItemSelector": "{% $states.context.Map.Item.Value %}",
                "ItemProcessor": {"ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"},
                    "StartAt": "Line", "States": {"Line": {"Type": "Succeed"}}},
                "ResultWriter": {"Resource": "arn:aws:states:::s3:putObject", "Arguments": {"Bucket": "b", "Prefix": "p"},
                    "WriterConfig": {"Transformation": "FLATTEN", "OutputType": "JSONL"}},
                "MaxConcurrency": "{% 10 %}", "ToleratedFailurePercentage": 12.5, "ToleratedFailureCount": "{% $total %}",
                "Next": "Choose"
            },
            "Choose": {
                "Type": "Choice", "QueryLanguage": "JSONata",
                "Choices": [
                    {"Condition": "{% $exists($total) and $states.input.x > 1 %}", "Assign": {"total": "{% $total + 1 %}"},
                     "Output": {"x": 1}, "Next": "Pause", "Comment": "c"},
                    {"Condition": true, "Next": "Old"}
                ],
                "Assign": {"none": true}, "Output": "{% $states.input %}", "Default": "Old"
            },
            "Pause": {"Type": "Wait", "QueryLanguage": "JSONata", "Timestamp": "{% $now() %}", "Output": "{% $total %}", "Next": "Old"},
            "Old": {"Type": "Choice", "Choices": [
                {"Variable": "$total", "NumericGreaterThanPath": "$fixed.list[0]", "Assign": {"total.$": "$.n"}, "Next": "Done"}],
                "Default": "Done"},
            "Done": {"Type": "Succeed", "QueryLanguage": "JSONata", "Output": {"a": ["{% $states.input %}", null, 1]}}
        }
    })
}

#[test]
fn everything_at_once_is_valid() {
    check(everything(), expect!["valid"]);
}

#[test]
fn the_checked_machine_says_what_was_written() {
    let machine = Document::from(everything()).check().unwrap();
    let names: Vec<&str> = machine
        .all_states()
        .iter()
        .map(|state| state.name.as_str())
        .collect();
    assert_eq!(
        names,
        [
            "Both",
            "Left",
            "Left end",
            "Right",
            "Right failed",
            "Inline",
            "Each",
            "Distributed",
            "Line",
            "Choose",
            "Pause",
            "Old",
            "Done"
        ]
    );
    let both = machine.start();
    assert_eq!(both.machines()[1].pointer, "/States/Both/Branches/1");
    assert_eq!(both.machines()[0].comment.as_deref(), Some("left"));
    assert_eq!(both.assign.names().collect::<Vec<_>>(), ["total", "fixed"]);
    assert!(both.retry()[0].full_jitter);
    assert_eq!(both.successors(), ["Inline", "Choose"]);

    let right = both.machines()[1].state("Right").unwrap();
    assert_eq!(right.pointer, "/States/Both/Branches/1/States/Right");
    assert_eq!(right.query_language(), QueryLanguage::Jsonata);
    let StateKind::Task(task) = &right.kind else {
        unreachable!()
    };
    assert!(matches!(
        &task.timeout,
        Some(Dynamic::Computed(Expression::Jsonata(_)))
    ));
    assert_eq!(task.heartbeat.as_ref().unwrap().fixed(), Some(&5));
    assert!(matches!(
        &task.resource.integration,
        sfn_builder::checked::Integration::Service { pattern: Pattern::WaitForTaskToken, action, .. } if action == "invoke"
    ));
    let Data::Jsonata(data) = &right.data else {
        unreachable!()
    };
    let fields: Vec<String> = data
        .arguments
        .as_ref()
        .unwrap()
        .expressions()
        .iter()
        .map(|expression| expression.as_str().to_owned())
        .collect();
    assert_eq!(
        fields,
        ["{% $states.context.Task.Token %}", "{% $states.input.x %}"]
    );

    let StateKind::Map(map) = &machine.state("Distributed").unwrap().kind else {
        unreachable!()
    };
    assert_eq!(map.mode, Mode::Distributed(ExecutionType::Standard));
    assert_eq!(map.items, Items::Input);
    let config = &map.item_reader.as_ref().unwrap().config;
    assert_eq!(config.input_type, Some(InputType::Csv));
    assert_eq!(
        config.csv_header,
        Some(CsvHeader::Given(vec!["a".into(), "b".into()]))
    );
    assert_eq!(map.tolerated_failure_percentage, Some(Dynamic::Fixed(12.5)));
    let StateKind::Map(map) = &machine.state("Inline").unwrap().kind else {
        unreachable!()
    };
    assert_eq!(map.mode, Mode::Inline);
    assert!(matches!(&map.items, Items::Path(path) if path.as_str() == "$.items"));
}

#[test]
fn parallel_and_map() {
    for (state, expect) in [
        (
            json!({"Type": "Parallel"}),
            expect![[r#"
            MISSING_FIELD /States/S: the field `Branches` is missing
        "#]],
        ),
        (
            json!({"Type": "Parallel", "Branches": []}),
            expect![[r#"
            INVALID_VALUE /States/S/Branches: there must be at least one branch
        "#]],
        ),
        (
            json!({"Type": "Parallel", "Branches": {}}),
            expect![[r#"
            WRONG_TYPE /States/S/Branches: `Branches` is an array, not an object
        "#]],
        ),
        (
            json!({"Type": "Parallel", "Branches": [[]]}),
            expect![[r#"
            WRONG_TYPE /States/S/Branches/0: a branch is an object, not an array
        "#]],
        ),
        (
            json!({"Type": "Parallel", "Branches": [{"StartAt": "J", "States": {"I": {"Type": "Pass", "End": true}}, "TimeoutSeconds": 1, "Versoin": "1.0"}]}),
            expect![[r#"
                MISPLACED_FIELD /States/S/Branches/0/TimeoutSeconds: the field `TimeoutSeconds` does not belong to a branch
                UNKNOWN_FIELD /States/S/Branches/0/Versoin: a branch has no field `Versoin`
                MISSING_TRANSITION_TARGET /States/S/Branches/0/StartAt: `StartAt` names the state `J`, which does not exist
            "#]],
        ),
        (
            json!({"Type": "Parallel", "Branches": [
                {"StartAt": "S", "States": {"S": {"Type": "Pass", "End": true}}},
                {"StartAt": "B", "States": {"B": {"Type": "Pass", "Next": "Done"}}}
            ], "ItemsPath": "$.x"}),
            expect![[r#"
                DUPLICATE_STATE_NAME /States/S/Branches/0/States/S: there is a state `S` already, at `/States/S`; names are unique over all branches and item processors
                TRANSITION_OUT_OF_SCOPE /States/S/Branches/1/States/B/Next: `Next` names the state `Done`, which belongs to another scope; it stands at `/States/Done`; branches and item processors are neither entered nor left by a transition
                ENDLESS_BRANCH /States/S/Branches/1/States: no state ends what is in here: one must have `"End": true` or be of type Succeed or Fail
                MISPLACED_FIELD /States/S/ItemsPath: the field `ItemsPath` does not belong to a Parallel state
                UNREACHABLE_STATE /States/Done: no path leads from `S` to the state `Done`
            "#]],
        ),
        (
            json!({"Type": "Parallel", "Branches": [{"StartAt": "A", "States": {"A": {"Type": "Pass", "Next": "A"}, "X": {"Type": "Fail"}}}]}),
            expect![[r#"
                UNREACHABLE_STATE /States/S/Branches/0/States/X: no path leads from `A` to the state `X`
            "#]],
        ),
        (
            json!({"Type": "Map"}),
            expect![[r#"
            MISSING_FIELD /States/S: the field `ItemProcessor` is missing
        "#]],
        ),
        (
            json!({"Type": "Map", "ItemProcessor": inner(), "Iterator": inner()}),
            expect![[r#"
                DUPLICATE_STATE_NAME /States/S/Iterator/States/I: there is a state `I` already, at `/States/S/ItemProcessor/States/I`; names are unique over all branches and item processors
                CONFLICTING_FIELDS /States/S/Iterator: `Iterator` does not stand beside `ItemProcessor`
                DEPRECATED_FIELD /States/S/Iterator: `Iterator` of a Map state is deprecated; `ItemProcessor` has taken its place
            "#]],
        ),
        (
            json!({"Type": "Map", "Iterator": inner(), "Parameters": {"a.$": "$"}}),
            expect![[r#"
                DEPRECATED_FIELD /States/S/Parameters: `Parameters` of a Map state is deprecated; `ItemSelector` has taken its place
                DEPRECATED_FIELD /States/S/Iterator: `Iterator` of a Map state is deprecated; `ItemProcessor` has taken its place
            "#]],
        ),
        (
            json!({"Type": "Map", "ItemProcessor": inner(), "ItemsPath": "$.x[*]", "MaxConcurrency": -1, "MaxConcurrencyPath": "$.n",
                   "Label": "a", "ToleratedFailureCount": 1, "ResultWriter": {}}),
            expect![[r#"
                NOT_A_REFERENCE_PATH /States/S/ItemsPath: `$.x[*]` is not a reference path; only fields and indices from the front may stand in it
                EMPTY_RESULT_WRITER /States/S/ResultWriter: the `ResultWriter` is empty: the execution fails there; `Resource` and `Parameters` say where the results go, `WriterConfig` in what form
                DISTRIBUTED_ONLY /States/S/ResultWriter: an inline Map state has no `ResultWriter`; set `Mode` in `ProcessorConfig` to `DISTRIBUTED`
                DISTRIBUTED_ONLY /States/S/ToleratedFailureCount: an inline Map state has no `ToleratedFailureCount`; set `Mode` in `ProcessorConfig` to `DISTRIBUTED`
                DISTRIBUTED_ONLY /States/S/Label: an inline Map state has no `Label`; set `Mode` in `ProcessorConfig` to `DISTRIBUTED`
                CONFLICTING_FIELDS /States/S/MaxConcurrencyPath: `MaxConcurrencyPath` does not stand beside `MaxConcurrency`
                OUT_OF_RANGE /States/S/MaxConcurrency: `MaxConcurrency` is a whole number of at least 0, not `-1`
            "#]],
        ),
        (
            json!({"Type": "Map", "ItemProcessor": {"ProcessorConfig": {"Mode": "DISTRIBUTD", "X": 1}, "StartAt": "I", "States": {"I": {"Type": "Succeed"}}}}),
            expect![[r#"
                INVALID_VALUE /States/S/ItemProcessor/ProcessorConfig/Mode: `Mode` is `INLINE` or `DISTRIBUTED`, not `DISTRIBUTD` (did you mean `DISTRIBUTED`?)
                UNKNOWN_FIELD /States/S/ItemProcessor/ProcessorConfig/X: `ProcessorConfig` has no field `X`
            "#]],
        ),
        (
            json!({"Type": "Map", "ItemProcessor": {"ProcessorConfig": {"Mode": "DISTRIBUTED"}, "StartAt": "I", "States": {"I": {"Type": "Succeed"}}}}),
            expect![[r#"
                MISSING_FIELD /States/S/ItemProcessor/ProcessorConfig: the field `ExecutionType` is missing
            "#]],
        ),
        (
            json!({"Type": "Map", "ItemProcessor": distributed(), "ItemReader": {}, "ItemBatcher": {}, "ResultWriter": {},
                   "ToleratedFailurePercentage": 101, "Label": "a b"}),
            expect![[r#"
                MISSING_FIELD /States/S/ItemReader: the field `Resource` is missing
                MISSING_FIELD /States/S/ItemBatcher: an `ItemBatcher` has `MaxItemsPerBatch`, `MaxInputBytesPerBatch` or both, not none
                EMPTY_RESULT_WRITER /States/S/ResultWriter: the `ResultWriter` is empty: the execution fails there; `Resource` and `Parameters` say where the results go, `WriterConfig` in what form
                OUT_OF_RANGE /States/S/ToleratedFailurePercentage: `ToleratedFailurePercentage` is a number from 0 to 100, not `101`
                INVALID_LABEL /States/S/Label: a label cannot have the character ` `
            "#]],
        ),
        (
            json!({"Type": "Map", "ItemProcessor": distributed(),
                   "ItemReader": {"Resource": "arn:aws:states:::s3:putObject", "ReaderConfig": {"InputType": "CVS", "CSVHeaderLocation": "GIVEN",
                       "MaxItems": 0, "CSVDelimiter": ",", "ItemsPointer": "a", "Transformation": "LOAD"}},
                   "ItemBatcher": {"MaxItemsPerBatch": 0, "MaxInputBytesPerBatch": 262_145, "BatchSize": 1},
                   "ResultWriter": {"Resource": "arn:aws:states:::s3:putObject"},
                   "Label": "x".repeat(41)}),
            expect![[r#"
                INVALID_RESOURCE /States/S/ItemReader/Resource: `arn:aws:states:::s3:putObject` cannot stand here: `s3:getObject` or `s3:listObjectsV2` can (did you mean `arn:aws:states:::s3:getObject`?)
                INVALID_VALUE /States/S/ItemReader/ReaderConfig/InputType: `InputType` is `CSV`, `JSON`, `JSONL`, `MANIFEST` or `PARQUET`, not `CVS`
                INVALID_VALUE /States/S/ItemReader/ReaderConfig/Transformation: `Transformation` is `NONE` or `LOAD_AND_FLATTEN`, not `LOAD` (did you mean `LOAD_AND_FLATTEN`?)
                INVALID_VALUE /States/S/ItemReader/ReaderConfig/CSVDelimiter: `CSVDelimiter` is `COMMA`, `PIPE`, `SEMICOLON`, `SPACE` or `TAB`, not `,`
                MISSING_FIELD /States/S/ItemReader/ReaderConfig: the field `CSVHeaders` is missing: the header's location is `GIVEN`
                INVALID_VALUE /States/S/ItemReader/ReaderConfig/ItemsPointer: `ItemsPointer` is a JSON pointer such as `/a/b`, not `a`
                OUT_OF_RANGE /States/S/ItemBatcher/MaxInputBytesPerBatch: `MaxInputBytesPerBatch` is a whole number from 0 to 262144, not `262145`
                UNKNOWN_FIELD /States/S/ItemBatcher/BatchSize: an `ItemBatcher` has no field `BatchSize` (did you mean `BatchInput`?)
                MISSING_FIELD /States/S/ResultWriter: the field `Parameters` is missing; a `ResultWriter` has `Resource` and `Parameters`, `WriterConfig`, or all three
                INVALID_LABEL /States/S/Label: a label has at most 40 characters, this has 41
            "#]],
        ),
        (
            json!({"Type": "Map", "ItemProcessor": distributed(),
                   "ItemReader": {"Resource": "arn:aws:states:::s3:listObjectsV2", "Parameters": {"Bucket": "b"}},
                   "ResultWriter": {"WriterConfig": {"OutputType": "XML"}}}),
            expect![[r#"
                INVALID_VALUE /States/S/ResultWriter/WriterConfig/OutputType: `OutputType` is `JSON` or `JSONL`, not `XML`
            "#]],
        ),
        (
            json!({"Type": "Map", "ItemProcessor": distributed(),
                   "ItemReader": {"Resource": "arn:aws:states:::s3:getObject", "Parameters": {"Bucket": "b"}}}),
            expect![[r#"
                MISSING_FIELD /States/S/ItemReader: the field `ReaderConfig` is missing: it says with `InputType` what is read
            "#]],
        ),
    ] {
        check(one("JSONPath", state), expect);
    }
}

#[test]
fn query_languages() {
    for (language, state, expect) in [
        (
            "JSONata",
            json!({"Type": "Pass", "QueryLanguage": "JSONPath"}),
            expect![[r#"
                WRONG_QUERY_LANGUAGE /States/S/QueryLanguage: a state of a JSONata machine cannot go back to JSONPath; a JSONPath machine can hold JSONata states, not the other way round
            "#]],
        ),
        (
            "JSONata",
            json!({"Type": "Pass", "QueryLanguage": "JSONata"}),
            expect!["valid"],
        ),
        (
            "JSONPath",
            json!({"Type": "Pass", "QueryLanguage": "jsonata"}),
            expect![[r#"
                INVALID_VALUE /States/S/QueryLanguage: there is no query language `jsonata` (did you mean `JSONata`?)
            "#]],
        ),
        (
            "JSONata",
            json!({"Type": "Pass", "InputPath": "$", "Parameters": {}, "Result": 1, "ResultPath": null, "OutputPath": "$"}),
            expect![[r#"
                WRONG_QUERY_LANGUAGE /States/S/InputPath: the field `InputPath` belongs to JSONPath states; the query language here is JSONata
                WRONG_QUERY_LANGUAGE /States/S/Parameters: the field `Parameters` belongs to JSONPath states; the query language here is JSONata
                WRONG_QUERY_LANGUAGE /States/S/Result: the field `Result` belongs to JSONPath states; the query language here is JSONata
                WRONG_QUERY_LANGUAGE /States/S/ResultPath: the field `ResultPath` belongs to JSONPath states; the query language here is JSONata
                WRONG_QUERY_LANGUAGE /States/S/OutputPath: the field `OutputPath` belongs to JSONPath states; the query language here is JSONata
            "#]],
        ),
        (
            "JSONPath",
            json!({"Type": "Task", "Resource": "arn:aws:states:::sqs:sendMessage", "Arguments": {}, "Output": 1}),
            expect![[r#"
                WRONG_QUERY_LANGUAGE /States/S/Arguments: the field `Arguments` belongs to JSONata states; the query language here is JSONPath
                WRONG_QUERY_LANGUAGE /States/S/Output: the field `Output` belongs to JSONata states; the query language here is JSONPath
            "#]],
        ),
        (
            "JSONata",
            json!({"Type": "Task", "Resource": "arn:aws:states:::sqs:sendMessage", "Arguments": 1, "Output": "{% 1 + %}",
                   "TimeoutSeconds": "60", "HeartbeatSecondsPath": "$.x", "Credentials": {}}),
            expect![[r#"
                WRONG_TYPE /States/S/Arguments: `Arguments` is an object or a text in `{% %}`, not `1`
                INVALID_JSONATA /States/S/Output: `1 +` does not parse: S0207: Unexpected end of expression
                MISSING_FIELD /States/S/Credentials: the field `RoleArn` is missing
                WRONG_TYPE /States/S/TimeoutSeconds: `TimeoutSeconds` is a whole number from 1 to 99999999, not `"60"`
                WRONG_QUERY_LANGUAGE /States/S/HeartbeatSecondsPath: the field `HeartbeatSecondsPath` belongs to JSONPath states; the query language here is JSONata
            "#]],
        ),
        (
            "JSONata",
            json!({"Type": "Pass", "Output": {"a": "{% 1", "b": [" {% 1 %}"], "c": "1 %}", "d": "%} 1 {%"}}),
            expect![[r#"
                INVALID_JSONATA /States/S/Output/a: a JSONata text begins with `{%` and ends with `%}`, without blanks outside
                INVALID_JSONATA /States/S/Output/b/0: a JSONata text begins with `{%` and ends with `%}`, without blanks outside
                INVALID_JSONATA /States/S/Output/c: a JSONata text begins with `{%` and ends with `%}`, without blanks outside
            "#]],
        ),
        (
            "JSONata",
            json!({"Type": "Pass", "Output": "{% $states.result %}", "Assign": {"x": "{% $states.errorOutput %}"}}),
            expect![[r#"
                STATES_NOT_AVAILABLE /States/S/Output: there is no `$states.result` here; it is there in `Output` and `Assign` of Task, Parallel and Map states
                STATES_NOT_AVAILABLE /States/S/Assign/x: there is no `$states.errorOutput` here; it is there in `Output` and `Assign` of a catcher
            "#]],
        ),
        (
            "JSONata",
            json!({"Type": "Task", "Resource": "arn:aws:states:::sqs:sendMessage", "Arguments": "{% $states.result %}"}),
            expect![[r#"
                STATES_NOT_AVAILABLE /States/S/Arguments: there is no `$states.result` here; it is there in `Output` and `Assign` of Task, Parallel and Map states
            "#]],
        ),
        (
            "JSONata",
            json!({"Type": "Choice", "Choices": [{"Variable": "$.x", "IsNull": true, "Next": "Done"}, {"Condition": "true", "Next": "Done"},
                                                 {"Condition": 1, "Next": "Done"}], "Default": "Done"}),
            expect![[r#"
                MISSING_FIELD /States/S/Choices/0: the field `Condition` is missing
                WRONG_QUERY_LANGUAGE /States/S/Choices/0/Variable: the field `Variable` belongs to JSONPath states; the query language here is JSONata
                UNKNOWN_FIELD /States/S/Choices/0/IsNull: a choice has no field `IsNull`
                INVALID_JSONATA /States/S/Choices/1/Condition: a JSONata text begins with `{%` and ends with `%}`, without blanks outside
                WRONG_TYPE /States/S/Choices/2/Condition: `Condition` is a text in `{% %}` or a boolean, not a number
            "#]],
        ),
        (
            "JSONata",
            json!({"Type": "Wait", "Seconds": "{% 1 %}"}),
            expect!["valid"],
        ),
        (
            "JSONata",
            json!({"Type": "Wait", "SecondsPath": "$.x"}),
            expect![[r#"
                MISSING_FIELD /States/S: a Wait state has exactly one of `Seconds`, `Timestamp`, not none
                WRONG_QUERY_LANGUAGE /States/S/SecondsPath: the field `SecondsPath` belongs to JSONPath states; the query language here is JSONata
            "#]],
        ),
        (
            "JSONata",
            json!({"Type": "Fail", "Error": 1, "Cause": "{% %}"}),
            expect![[r#"
                WRONG_TYPE /States/S/Error: `Error` is a text, not a number
                INVALID_JSONATA /States/S/Cause: `` does not parse: S0207: Unexpected end of expression
            "#]],
        ),
        (
            "JSONata",
            json!({"Type": "Map", "ItemProcessor": inner(), "Items": 3, "ItemsPath": "$"}),
            expect![[r#"
                WRONG_TYPE /States/S/Items: `Items` is an array, an object or a text in `{% %}`, not `3`
                WRONG_QUERY_LANGUAGE /States/S/ItemsPath: the field `ItemsPath` belongs to JSONPath states; the query language here is JSONata
            "#]],
        ),
        (
            "JSONata",
            json!({"Type": "Map", "ItemProcessor": inner(), "Items": [1, "{% 2 %}"]}),
            expect!["valid"],
        ),
    ] {
        check(one(language, state), expect);
    }
}

#[test]
fn variables() {
    let long = "v".repeat(81);
    for (language, state, expect) in [
        (
            "JSONPath",
            json!({"Type": "Pass", "Assign": {"a b": 1, "1a": 1, "states": 1, "$x": 1, "ünï_1": 1, "b.$": "$.x", &long: 1}}),
            expect![[r#"
                INVALID_VARIABLE_NAME /States/S/Assign/a b: `a b` is no name of a variable: a letter or `_` comes first, letters, digits and `_` follow
                INVALID_VARIABLE_NAME /States/S/Assign/1a: `1a` is no name of a variable: a letter or `_` comes first, letters, digits and `_` follow
                INVALID_VARIABLE_NAME /States/S/Assign/states: the name `states` is reserved
                INVALID_VARIABLE_NAME /States/S/Assign/$x: `$x` is no name of a variable: a letter or `_` comes first, letters, digits and `_` follow
                INVALID_VARIABLE_NAME /States/S/Assign/vvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvv: the name of a variable has at most 80 characters, this has 81
            "#]],
        ),
        (
            "JSONPath",
            json!({"Type": "Pass", "Assign": []}),
            expect![[r#"
                WRONG_TYPE /States/S/Assign: `Assign` is an object, not an array
            "#]],
        ),
        (
            "JSONPath",
            json!({"Type": "Succeed", "Assign": {"a": 1}}),
            expect![[r#"
                MISPLACED_FIELD /States/S/Assign: the field `Assign` does not belong to a Succeed state
            "#]],
        ),
        (
            "JSONPath",
            json!({"Type": "Pass", "Parameters": {"a.$": "States.Format('{}', $b.c)"}, "InputPath": "$a"}),
            expect![[r#"
                UNASSIGNED_VARIABLE /States/S/InputPath: no way to `S` assigns the variable `$a`
                UNASSIGNED_VARIABLE /States/S/Parameters: no way to `S` assigns the variable `$b`
            "#]],
        ),
        (
            "JSONPath",
            json!({"Type": "Pass", "ResultPath": "$a.b"}),
            expect![[r#"
                NOT_A_REFERENCE_PATH /States/S/ResultPath: `ResultPath` cannot write to a variable: `$a.b`
            "#]],
        ),
        (
            "JSONata",
            json!({"Type": "Pass", "Output": "{% $a + ($b := 1; $b) + $sum([1]) %}", "Assign": {"aa": 1}}),
            expect![[r#"
                UNASSIGNED_VARIABLE /States/S/Output: no way to `S` assigns the variable `$a`
            "#]],
        ),
    ] {
        check(one(language, state), expect);
    }
    check(
        json!({"QueryLanguage": "JSONata", "StartAt": "A", "States": {
            "A": {"Type": "Pass", "Assign": {"outer": 1}, "Next": "P"},
            "P": {"Type": "Parallel", "Next": "M", "Branches": [
                {"StartAt": "L", "States": {"L": {"Type": "Pass", "Assign": {"left": "{% $outer %}", "outer": 2}, "End": true}}},
                {"StartAt": "R", "States": {"R": {"Type": "Pass", "Output": "{% $left %}", "End": true}}}
            ]},
            "M": {"Type": "Map", "Next": "Z", "ItemProcessor": {"ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"},
                "StartAt": "D", "States": {"D": {"Type": "Pass", "Output": "{% $outer %}", "End": true}}}},
            "Z": {"Type": "Succeed", "Output": "{% [$outer, $left, $outr] %}"}
        }}),
        expect![[r#"
            SHADOWED_VARIABLE /States/P/Branches/0/States/L/Assign/outer: the variable `$outer` of an outer scope is assigned here; give it another name: what is assigned here does not get out
            UNASSIGNED_VARIABLE /States/P/Branches/1/States/R/Output: no way to `R` assigns the variable `$left`; it is assigned at `/States/P/Branches/0/States/L`
            UNASSIGNED_VARIABLE /States/M/ItemProcessor/States/D/Output: no way to `D` assigns the variable `$outer`; it is assigned at `/States/A`
            UNASSIGNED_VARIABLE /States/Z/Output: no way to `Z` assigns the variable `$left`; it is assigned at `/States/P/Branches/0/States/L`
            UNASSIGNED_VARIABLE /States/Z/Output: no way to `Z` assigns the variable `$outr` (did you mean `$outer`?)
        "#]],
    );
}

#[test]
fn paths_of_the_whole_dialect() {
    for (text, canonical) in [
        ("$..a", "$..['a']"),
        ("$.a..*", "$['a']..[*]"),
        ("$..[0]", "$..[0]"),
        ("$['a', \"b\"]", "$['a','b']"),
        ("$[0, -1]", "$[0,-1]"),
        ("$.a[?(@.b)]", "$['a'][?]"),
        ("$.a[?(@.b == 'x' && !(@.c > 1 || $.d))].e", "$['a'][?]['e']"),
        ("$.a[?(@.b in ['x', 1, null, true])]", "$['a'][?]"),
        ("$.a[?(@['b'][0] =~ /a\\/b.*/i)]", "$['a'][?]"),
        ("$.a[?(@.n contains 'x')]", "$['a'][?]"),
        ("$.a.length()", "$['a'].length()"),
        ("$.[0].a", "$[0]['a']"),
        ("$.a.['b', 'c']", "$['a']['b','c']"),
        ("$.a.[?(@.[0] == 1)]", "$['a'][?]"),
        ("$.a[?(@.b == some_word)]..c", "$['a'][?]..['c']"),
        ("$var", "$"),
        ("$var.a[0]", "$['a'][0]"),
    ] {
        let path: Path = text.parse().unwrap();
        assert_eq!(path.canonical(), canonical, "{text}");
        assert_eq!(path.as_str(), text);
    }
    let path: Path = "$var_1.a".parse().unwrap();
    assert_eq!(path.root(), &Root::Variable("var_1".into()));
    assert!(path.is_reference() && path.is_definite());
    let path: Path = "$..a".parse().unwrap();
    assert_eq!(
        path.segments(),
        [Segment::Descendants, Segment::Field("a".into())]
    );
    assert!(!path.is_definite());
    for (text, problem) in [
        ("$..", "a name is missing"),
        ("$.", "a name is missing"),
        ("$.a.[", "expected a number"),
        ("$.a[(@.length-1)]", "a script"),
        ("$.a[0:9:2]", "a slice has no step"),
        ("$.a[?(@.b ==)]", "expected `@`"),
        ("$.a[?(@.b == 1x)]", "expected `@`"),
        ("$.a[?(@.b == one two)]", "expected `)`"),
        ("$.a[?(@.b]", "expected `)`"),
        ("$.a[?@.b]", "expected `(`"),
        ("$.a.nope()", "no path function `nope`"),
        ("$.length().a", "expected `.` or `[`"),
        ("$.a[?(@.b =~ /x)]", "not closed"),
    ] {
        let error = text.parse::<Path>().unwrap_err().to_string();
        assert!(error.contains(problem), "{text}: {error}");
    }
    let deep = format!("$[?({}@.a{})]", "(".repeat(100_000), ")".repeat(100_000));
    assert!(
        deep.parse::<Path>()
            .unwrap_err()
            .to_string()
            .ends_with("nests deeper than 16")
    );
}

#[test]
fn every_intrinsic_function_has_its_count_of_arguments() {
    for (call, valid) in [
        ("States.Format('a')", true),
        ("States.Format('a')  ", true),
        (" States.Format('a')", false),
        ("States.Format('a') b", false),
        ("States.Format()", false),
        ("States.StringToJson($.a)", true),
        ("States.StringToJson()", false),
        ("States.JsonToString($.a, 1)", false),
        ("States.Array()", true),
        ("States.ArrayPartition($.a, 4)", true),
        ("States.ArrayPartition($.a)", false),
        ("States.ArrayContains($.a, 'x')", true),
        ("States.ArrayContains($.a)", false),
        ("States.ArrayRange(1, 9, 2)", true),
        ("States.ArrayRange(1, 9)", false),
        ("States.ArrayRange('1', 9, 2)", false),
        ("States.ArrayGetItem($.a, 0)", true),
        ("States.ArrayGetItem($.a)", false),
        ("States.ArrayLength($.a.length())", true),
        ("States.ArrayLength()", false),
        ("States.ArrayUnique($.a)", true),
        ("States.ArrayUnique($.a, $.b)", false),
        ("States.Base64Encode('x')", true),
        ("States.Base64Encode()", false),
        ("States.Base64Decode($.x)", true),
        ("States.Base64Decode()", false),
        ("States.Hash($.x, 'SHA-1')", true),
        ("States.Hash($.x)", false),
        ("States.JsonMerge($.a, $.b, false)", true),
        ("States.JsonMerge($.a, $.b)", false),
        ("States.MathRandom(1, 9)", true),
        ("States.MathRandom(1, 9, $.seed)", true),
        ("States.MathRandom(1)", false),
        ("States.MathAdd($.a, -1)", true),
        ("States.MathAdd(1)", false),
        ("States.StringSplit($.a, ',')", true),
        ("States.StringSplit($.a)", false),
        ("States.UUID()", true),
        ("States.UUID(1)", false),
        ("States.Nope()", false),
    ] {
        assert_eq!(Expression::parse(call).is_ok(), valid, "{call}");
    }
    assert_eq!(Function::Uuid.name(), "States.UUID");
}

#[test]
fn references_of_expressions() {
    for (text, expect) in [
        ("$states.input.a + $states.context.Execution.Id", "input context"),
        ("$states.result", "result"),
        ("$states.errorOutput.Cause & ''", "errorOutput"),
        ("$states", "states"),
        ("$lookup($states, 'input')", "states"),
        ("$a.b[c = $d].e", "$a $d"),
        ("($x := 1; $x + $y)", "$y"),
        ("$map($list, function($v, $i) { $v + $i + $k })", "$k $list"),
        ("$map([1], $uppercase)", ""),
        ("($f := function($n) { $n < 1 ? 1 : $f($n - 1) }; $f(3))", ""),
        ("$states.input.items@$i#$n[$i.x = $n and $q]", "input $q"),
        ("$now() & $uuid() & $string($parse('1'))", ""),
        ("$$.x + $.y", ""),
        ("{$a: [$b, $c ? $d : $e]}", "$a $b $c $d $e"),
        ("$a ~> $sum", "$a"),
        ("$a ~> |b|{'c': $d}|", "$a $d"),
        ("$a^(>$b)", "$a $b"),
    ] {
        let jsonata = Jsonata::parse(&format!("{{% {text} %}}")).unwrap();
        let references = jsonata.references();
        let mut found: Vec<String> = Vec::new();
        for (is, name) in [
            (references.input, "input"),
            (references.result, "result"),
            (references.error_output, "errorOutput"),
            (references.context, "context"),
            (references.states, "states"),
        ] {
            found.extend(is.then(|| name.to_owned()));
        }
        found.extend(references.variables.iter().map(|name| format!("${name}")));
        assert_eq!(found.join(" "), expect, "{text}");
    }
}

#[test]
fn findings_know_their_line_and_column() {
    let text = "{\n  \"StartAt\": \"Ä\",\r\n  \"States\": {\n    \"Ä\": {\"Type\": \"Wait\", \"Seconds\": 1, \"Seconds\": -1, \"Nxt\": \"B\"},\n\t\"B/~\": {\"Type\": \"Choice\",\n \"Choices\": [\n{\"Variable\": \"x\", \"IsNull\": true, \"Next\": \"Ä\"}]}\n  }\n}";
    let document = Document::parse(text).unwrap();
    let found: String = document
        .findings()
        .iter()
        .map(|finding| {
            let position = finding.position.unwrap();
            format!(
                "{position} {} {} {}\n",
                finding.severity(),
                finding.code,
                finding.pointer
            )
        })
        .collect();
    expect![[r#"
        4:41 error DUPLICATE_KEY /States/Ä/Seconds
        4:52 error OUT_OF_RANGE /States/Ä/Seconds
        4:5 error MISSING_FIELD /States/Ä
        4:56 error UNKNOWN_FIELD /States/Ä/Nxt
        7:14 error INVALID_PATH /States/B~1~0/Choices/0/Variable
        5:2 warning CHOICE_WITHOUT_DEFAULT /States/B~1~0
    "#]]
    .assert_eq(&found);
    for (text, line, column) in [
        ("{\n  \"ü\": tru }", 2, 11),
        ("", 1, 1),
        ("[1,\n2,]", 2, 3),
        ("{\"a\": \"x\n\"}", 2, 1),
    ] {
        let error = Document::parse(text).unwrap_err();
        let position = error.findings()[0].position.unwrap();
        assert_eq!((position.line, position.column), (line, column), "{text}");
    }
    let built = Document::from(json!({}));
    assert!(built.findings().iter().all(|finding| finding.position.is_none()));
}

#[test]
fn codes_are_stable_unique_and_explained() {
    let mut texts: Vec<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
    for (code, text) in Code::ALL.iter().zip(&texts) {
        assert!(code.explanation().ends_with('.'), "{text}");
        assert!(text.chars().all(|c| c.is_ascii_uppercase() || c == '_'), "{text}");
    }
    let count = texts.len();
    texts.sort_unstable();
    texts.dedup();
    assert_eq!(texts.len(), count);
    let warnings: Vec<&str> = Code::ALL
        .iter()
        .filter(|code| code.severity() == Severity::Warning)
        .map(|code| code.as_str())
        .collect();
    assert_eq!(
        warnings,
        [
            "ENDLESS_BRANCH",
            "CHOICE_WITHOUT_DEFAULT",
            "UNKNOWN_FUNCTION",
            "UNKNOWN_CONTEXT_FIELD",
            "NO_DOLLAR",
            "NO_PATH",
            "PASS_RESULT_IS_STATIC",
            "TEXT_RESULT",
            "UNKNOWN_RESULT",
            "UNASSIGNED_VARIABLE",
            "SHADOWED_VARIABLE",
            "UNKNOWN_ERROR_NAME",
            "EMPTY_RESULT_WRITER",
            "DEPRECATED_FIELD",
            "LARGE_PAYLOAD",
            "NO_DEFINITION",
            "MISSING_SUBSTITUTION",
            "UNUSED_SUBSTITUTION"
        ]
    );
}

#[test]
fn deep_values_are_a_finding() {
    let text = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(
        Document::parse(&text).unwrap_err().findings()[0].code,
        Code::TooDeeplyNested
    );
    let deepest = format!("{}1{}", "[".repeat(127), "]".repeat(127));
    assert_eq!(Document::parse(&deepest).unwrap().to_string(), deepest);
    let mut value = json!({});
    for _ in 0..1000 {
        // Not with `json!`, which copies what it is given by recursion.
        let state = Value::Object(Map::from_iter([("A".to_owned(), value)]));
        value = Value::Object(Map::from_iter([("States".to_owned(), state)]));
    }
    assert_eq!(
        Document::from(value).check().unwrap_err().findings()[0].code,
        Code::TooDeeplyNested
    );
    let nested = format!("{{% {}1{} %}}", "(".repeat(100_000), ")".repeat(100_000));
    assert!(Jsonata::parse(&nested).is_err());
    // Parallel states in Parallel states, as deep as JSON goes.
    let mut machine = inner();
    for depth in 0..24 {
        machine = json!({"StartAt": format!("P{depth}"), "States": {format!("P{depth}"): {"Type": "Parallel", "Branches": [machine], "End": true}}});
    }
    assert_eq!(Document::from(machine).check().unwrap().all_states().len(), 25);
}

#[test]
fn a_large_literal_is_a_warning() {
    let state = json!({"Type": "Pass", "Result": "x".repeat(300_000)});
    let machine = Document::from(one("JSONPath", state)).check().unwrap();
    assert_eq!(machine.warnings()[0].code, Code::LargePayload);
}
