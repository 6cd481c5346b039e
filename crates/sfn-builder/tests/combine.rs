//! Placeholders, the input's schema, and the states that belong together.

use expect_test::{Expect, expect};
use serde_json::{Value, json};
use sfn_builder::checked::QueryLanguage;
use sfn_builder::service::{lambda, sagemaker};
use sfn_builder::{
    Catch, Choice, Condition, EndpointDeployment, Fail, Fragment, Input, ItemBatcher, ItemReader, Kind,
    MapState, Member, MetricGate, Parallel, Pass, Placeholder, Retry, StateMachine, Succeed, Task, Wait,
};

/// The machine that the pipeline deploys, written by hand.
const PIPELINE: &str = include_str!("../../pipeline/tests/definition.asl.json");

#[test]
fn a_deployment_is_the_pipelines() {
    let pipeline: Value = serde_json::from_str(PIPELINE).unwrap();
    let wait = pipeline["States"]["Waiting for Endpoint"]["Seconds"]
        .as_u64()
        .unwrap();
    let mut input = Input::new();
    let endpoint = input.add(Member::text("EndpointName"));
    let config = input.add(Member::text("ModelName"));
    let machine = EndpointDeployment::new(endpoint, config)
        .wait_seconds(wait)
        .failed_state("Pipeline Failed")
        .done(Succeed::new().output_path("$.Endpoint"))
        .into_fragment()
        .into_machine()
        .input(&input)
        .build()
        .unwrap();
    let mut theirs = pipeline["States"].clone();
    for before in ["Training Model", "Saving model", "Creating Endpoint Config"] {
        theirs.as_object_mut().unwrap().shift_remove(before).unwrap();
    }
    // As text, because the order counts.
    assert_eq!(
        format!("{:#}", machine.to_json()["States"]),
        format!("{theirs:#}")
    );
}

#[test]
fn a_deployment_takes_names_and_paths() {
    let machine = EndpointDeployment::new("mine", "$.Config")
        .retry([])
        .into_fragment()
        .into_machine()
        .build()
        .unwrap();
    let states = &machine.to_json()["States"];
    assert_eq!(
        states["Updating Endpoint"]["Parameters"],
        json!({"EndpointName": "mine", "EndpointConfigName.$": "$.Config"})
    );
    assert_eq!(states["Updating Endpoint"].get("Retry"), None);
    assert_eq!(states["Endpoint InService"], json!({"Type": "Pass", "End": true}));
    assert_eq!(
        states["Is Endpoint InService?"]["Choices"][0]["And"][1],
        json!({"Variable": "$.Endpoint.EndpointConfigName", "StringEqualsPath": "$.Config"})
    );
    let fixed = EndpointDeployment::new("mine", "config")
        .into_fragment()
        .into_machine()
        .build()
        .unwrap();
    assert_eq!(
        fixed.to_json()["States"]["Is Endpoint InService?"]["Choices"][0]["And"][1]["StringEquals"],
        "config"
    );
}

#[test]
fn a_gate_compares_with_a_number_or_the_input() {
    let mut input = Input::new();
    let least = input.add(Member::number("LeastAuc").minimum(0).maximum(1));
    let gate = MetricGate::at_least("it's:auc", least).training("$.Training");
    let twice = gate.into_fragment().then(
        MetricGate::at_most("loss", 0.5)
            .into_fragment()
            .prefixed("Loss: "),
    );
    let machine = twice.into_machine().input(&input).build().unwrap();
    assert_eq!(machine.warnings(), []);
    let states = &machine.to_json()["States"];
    assert_eq!(
        states["Reading Final Metric"]["Parameters"]["Values.$"],
        r"$.Training.FinalMetricDataList[?(@.MetricName == 'it\'s:auc')].Value"
    );
    assert_eq!(
        states["Is Final Metric Good Enough?"]["Choices"][1],
        json!({
            "Variable": "$.FinalMetric.Values[0]",
            "NumericGreaterThanEqualsPath": "$$.Execution.Input['LeastAuc']",
            "Next": "Final Metric Is Good"
        })
    );
    assert_eq!(
        states["Loss: Is Final Metric Good Enough?"]["Choices"][1]["NumericLessThanEquals"],
        0.5
    );
    assert_eq!(
        states["Final Metric Is Good"]["Next"],
        "Loss: Are There Final Metrics?"
    );
}

#[test]
fn each_attempt_has_a_name_of_its_own() {
    let mut input = Input::new();
    let job = input.add(Member::text("Job"));
    let train = |task: Task| {
        let task = task.retry_with_unique_name("TrainingJobName", Retry::on(["States.TaskFailed"]));
        let machine = task.named("S").into_machine().input(&input).build().unwrap();
        machine.to_json()["States"]["S"].clone()
    };
    let call = || sagemaker::create_training_job().sync();
    for (task, parameters) in [
        (
            call().parameter("TrainingJobName", &job),
            json!({"TrainingJobName.$": "States.Format('{}-{}', $$.Execution.Input['Job'], $$.State.RetryCount)"}),
        ),
        (
            call().parameter("TrainingJobName", "it's"),
            json!({"TrainingJobName.$": r"States.Format('it\'s-{}', $$.State.RetryCount)"}),
        ),
        (
            call().parameter("TrainingJobName.$", "States.UUID()"),
            json!({"TrainingJobName.$": "States.Format('{}-{}', States.UUID(), $$.State.RetryCount)"}),
        ),
    ] {
        assert_eq!(train(task)["Parameters"], parameters);
    }
    let jsonata = call().query_language(QueryLanguage::Jsonata);
    assert_eq!(
        train(jsonata.clone().argument("TrainingJobName", &job))["Arguments"],
        json!({"TrainingJobName": "{% $states.context.Execution.Input.Job & \"-\" & $states.context.State.RetryCount %}"})
    );
    assert_eq!(
        train(jsonata.argument("TrainingJobName", "{% $states.input.j %}"))["Arguments"],
        json!({"TrainingJobName": "{% ($states.input.j) & \"-\" & $states.context.State.RetryCount %}"})
    );
    let none = call()
        .retry_with_unique_name("TrainingJobName", Retry::all())
        .named("S");
    check(
        none,
        &Input::new(),
        expect![[r#"
        MISSING_FIELD /States/S: there is no text `TrainingJobName` among the parameters, so no retry can change it
    "#]],
    );
}

#[track_caller]
fn check(fragment: Fragment, input: &Input, expected: Expect) {
    let text = match fragment.into_machine().input(input).build() {
        Ok(machine) => format!("{:#}\n", machine.to_json()["States"]),
        Err(error) => error
            .errors()
            .map(|finding| format!("{} {finding}\n", finding.code))
            .collect(),
    };
    expected.assert_eq(&text);
}

fn input() -> Input {
    let mut input = Input::new().description("what a run needs");
    input.add(Member::text("name").pattern("^[a-z]+$").description("a name"));
    input.add(Member::integer("seconds").minimum(1).maximum(10));
    input.add(Member::number("share").optional());
    input.add(Member::boolean("fast"));
    input.add(Member::new("odd name", Kind::Object).keyword("maxProperties", 3));
    input.add(Member::new("list", Kind::Array));
    input.add(Member::new("any", Kind::Any).one_of([json!(1), json!("a")]));
    input
}

/// A placeholder for a member, without declaring one.
fn of(name: &str) -> Placeholder {
    Input::new().add(Member::text(name))
}

#[test]
fn the_schema() {
    expect![[r#"
        {
          "$schema": "https://json-schema.org/draft/2020-12/schema",
          "description": "what a run needs",
          "type": "object",
          "properties": {
            "name": {
              "type": "string",
              "pattern": "^[a-z]+$",
              "description": "a name"
            },
            "seconds": {
              "type": "integer",
              "minimum": 1,
              "maximum": 10
            },
            "share": {
              "type": "number"
            },
            "fast": {
              "type": "boolean"
            },
            "odd name": {
              "type": "object",
              "maxProperties": 3
            },
            "list": {
              "type": "array"
            },
            "any": {
              "enum": [
                1,
                "a"
              ]
            }
          },
          "required": [
            "name",
            "seconds",
            "fast",
            "odd name",
            "list",
            "any"
          ]
        }"#]]
    .assert_eq(&format!("{:#}", input().json_schema()));
    let mut twice = Input::new();
    twice.add(Member::text("a"));
    twice.add(Member::integer("a"));
    assert_eq!(twice.members(), [Member::integer("a")]);
}

#[test]
fn placeholders_stand_in_any_field_of_json_path() {
    let (name, seconds, odd) = (of("name"), of("seconds"), of("odd name"));
    let machine = Task::lambda("arn:aws:lambda:us-east-1:123456789012:function:f")
        .parameters(json!({
            "whole": name, "part": format!("it's {{{name}}} \\ {seconds}"), "deep": [{"x": odd.member("in side")}],
            "array": [1, null, name, "it's", ["x", format!("{name}!")]], "by hand.$": format!("States.ArrayLength({})", of("list")),
            "run": Placeholder::execution_name(), "plain": "plain"
        }))
        .credentials(format!("arn:aws:iam::123456789012:role/{name}"))
        .timeout_seconds_path(&seconds)
        .field("HeartbeatSeconds", &seconds)
        .assign("n", &seconds)
        .catch(Catch::all("Failed").assign("who", &name).result_path("$.e"))
        .named("Task")
        .then(Wait::seconds_path(&seconds).named("Wait"))
        .then(
            MapState::distributed(Pass::new().parameter("name.$", "$$.Execution.Input.own").named("One"), sfn_builder::checked::ExecutionType::Express)
                .item_reader(ItemReader::get_object(json!({"Bucket": name, "Key": "k"})).json_lines())
                .item_batcher(ItemBatcher::new().max_items(2).batch_input(json!({"n": name})))
                .item_selector(json!({"item": Placeholder::map_item()}))
                .named("Map"),
        )
        .then(
            Choice::new()
                .when(Condition::all([Condition::string_equals("$.a", &name), Condition::not(Condition::numeric_less_than("$.a", &seconds))]), "Failed")
                .when(Condition::is_present(of("share"), true), "Failed")
                .when(Condition::string_equals_path(of("any"), &name), "Failed")
                .default("Failed")
                .named("Choice"),
        )
        .with(Fail::new().error(&name).cause(format!("for {name}")).named("Failed"));
    check(
        machine,
        &input(),
        expect![[r#"
            {
              "Task": {
                "Type": "Task",
                "Resource": "arn:aws:lambda:us-east-1:123456789012:function:f",
                "Credentials": {
                  "RoleArn.$": "States.Format('arn:aws:iam::123456789012:role/{}', $$.Execution.Input['name'])"
                },
                "Parameters": {
                  "whole.$": "$$.Execution.Input['name']",
                  "part.$": "States.Format('it\\'s \\{{}\\} \\\\ {}', $$.Execution.Input['name'], $$.Execution.Input['seconds'])",
                  "deep": [
                    {
                      "x.$": "$$.Execution.Input['odd name']['in side']"
                    }
                  ],
                  "array.$": "States.Array(1, null, $$.Execution.Input['name'], 'it\\'s', States.Array('x', States.Format('{}!', $$.Execution.Input['name'])))",
                  "by hand.$": "States.ArrayLength($$.Execution.Input['list'])",
                  "run.$": "$$.Execution.Name",
                  "plain": "plain"
                },
                "Assign": {
                  "n.$": "$$.Execution.Input['seconds']"
                },
                "TimeoutSecondsPath": "$$.Execution.Input['seconds']",
                "HeartbeatSecondsPath": "$$.Execution.Input['seconds']",
                "Catch": [
                  {
                    "ErrorEquals": [
                      "States.ALL"
                    ],
                    "Next": "Failed",
                    "Assign": {
                      "who.$": "$$.Execution.Input['name']"
                    },
                    "ResultPath": "$.e"
                  }
                ],
                "Next": "Wait"
              },
              "Wait": {
                "Type": "Wait",
                "SecondsPath": "$$.Execution.Input['seconds']",
                "Next": "Map"
              },
              "Map": {
                "Type": "Map",
                "ItemReader": {
                  "Resource": "arn:aws:states:::s3:getObject",
                  "Parameters": {
                    "Bucket.$": "$$.Execution.Input['name']",
                    "Key": "k"
                  },
                  "ReaderConfig": {
                    "InputType": "JSONL"
                  }
                },
                "ItemSelector": {
                  "item.$": "$$.Map.Item.Value"
                },
                "ItemBatcher": {
                  "MaxItemsPerBatch": 2,
                  "BatchInput": {
                    "n.$": "$$.Execution.Input['name']"
                  }
                },
                "ItemProcessor": {
                  "ProcessorConfig": {
                    "Mode": "DISTRIBUTED",
                    "ExecutionType": "EXPRESS"
                  },
                  "StartAt": "One",
                  "States": {
                    "One": {
                      "Type": "Pass",
                      "Parameters": {
                        "name.$": "$$.Execution.Input.own"
                      },
                      "End": true
                    }
                  }
                },
                "Next": "Choice"
              },
              "Choice": {
                "Type": "Choice",
                "Choices": [
                  {
                    "And": [
                      {
                        "Variable": "$.a",
                        "StringEqualsPath": "$$.Execution.Input['name']"
                      },
                      {
                        "Not": {
                          "Variable": "$.a",
                          "NumericLessThanPath": "$$.Execution.Input['seconds']"
                        }
                      }
                    ],
                    "Next": "Failed"
                  },
                  {
                    "Variable": "$$.Execution.Input['share']",
                    "IsPresent": true,
                    "Next": "Failed"
                  },
                  {
                    "Variable": "$$.Execution.Input['any']",
                    "StringEqualsPath": "$$.Execution.Input['name']",
                    "Next": "Failed"
                  }
                ],
                "Default": "Failed"
              },
              "Failed": {
                "Type": "Fail",
                "ErrorPath": "$$.Execution.Input['name']",
                "CausePath": "States.Format('for {}', $$.Execution.Input['name'])"
              }
            }
        "#]],
    );
}

#[test]
fn placeholders_stand_in_any_field_of_jsonata() {
    let (name, odd) = (of("name"), of("odd name"));
    let task = lambda::invoke()
        .wait_for_task_token()
        .arguments(json!({
            "token": Placeholder::task_token(), "part": format!("\"{name}\" and {odd}"), "list": [name, 1],
            "expression": format!("{{% $uppercase({name}) %}}")
        }))
        .timeout_seconds_expression(String::from(of("seconds")))
        .output(json!({"in": odd.member("x")}));
    let machine = task
        .named("Task")
        .then(
            Choice::new()
                .when(Condition::expression(format!("{} > 1", of("seconds"))), "End")
                .default("End")
                .named("Choice"),
        )
        .with(
            Pass::new()
                .query_language(QueryLanguage::Jsonata)
                .assign("n", &name)
                .named("End"),
        )
        .into_machine()
        .query_language(QueryLanguage::Jsonata)
        .input(&input())
        .build()
        .unwrap();
    expect![[r#"
        {
          "Task": {
            "Type": "Task",
            "Resource": "arn:aws:states:::lambda:invoke.waitForTaskToken",
            "Arguments": {
              "token": "{% $states.context.Task.Token %}",
              "part": "{% \"\\\"\" & $states.context.Execution.Input.name & \"\\\" and \" & $states.context.Execution.Input.`odd name` %}",
              "list": [
                "{% $states.context.Execution.Input.name %}",
                1
              ],
              "expression": "{% $uppercase($states.context.Execution.Input.name) %}"
            },
            "Output": {
              "in": "{% $states.context.Execution.Input.`odd name`.x %}"
            },
            "TimeoutSeconds": "{% $states.context.Execution.Input.seconds %}",
            "Next": "Choice"
          },
          "Choice": {
            "Type": "Choice",
            "Choices": [
              {
                "Condition": "{% $states.context.Execution.Input.seconds > 1 %}",
                "Next": "End"
              }
            ],
            "Default": "End"
          },
          "End": {
            "Type": "Pass",
            "QueryLanguage": "JSONata",
            "Assign": {
              "n": "{% $states.context.Execution.Input.name %}"
            },
            "End": true
          }
        }"#]].assert_eq(&format!("{:#}", machine.to_json()["States"]));
}

#[test]
fn what_a_placeholder_cannot_do_is_reported() {
    let name = of("name");
    let machine = Task::new(format!("arn:aws:lambda:us-east-1:123456789012:function:{name}"))
        .parameters(json!({"unknown": of("nam"), "object": format!("a {}", of("odd name")), "mixed": [{"a": 1}, name],
            "no member": name.member("x"), "by hand.$": "$$.Execution.Input.sekonds", "bracket.$": "$$.Execution.Input['list'][0]"}))
        .comment(&name)
        .field("TimeoutSeconds", &name)
        .field("HeartbeatSeconds", format!("{name}0"))
        .named("Task")
        .then(Pass::new().result(json!({"a": name})).named("Pass"))
        .then(
            MapState::inline(Pass::new().named("Each"))
                .field("MaxConcurrency", of("seconds"))
                .named("Map"),
        )
        .then(Parallel::new().branch(Pass::new().parameters(&name).named("In")).named("Both"))
        .then(
            Choice::new()
                .when(Condition::numeric_equals("$.a", &name), "End")
                .when(Condition::string_matches("$.a", &name), "End")
                .default("End")
                .named("Choice"),
        )
        .then(Succeed::new().named("End"));
    check(
        machine.with(Succeed::new().named("End2")),
        &input(),
        expect![[r#"
            MISPLACED_PLACEHOLDER /States/Task/Comment: a placeholder cannot stand here; the service takes only what is written in the definition
            MISPLACED_PLACEHOLDER /States/Task/Resource: a placeholder cannot stand here; the service takes only what is written in the definition
            WRONG_TYPE /States/Task/Parameters/object: an object cannot become part of a text
            MISPLACED_PLACEHOLDER /States/Task/Parameters/mixed: a placeholder cannot stand here; it stands beside an object, which no intrinsic function can make
            WRONG_TYPE /States/Task/Parameters/no member: `name` of the input is a text, which has no members
            WRONG_TYPE /States/Task/TimeoutSeconds: a whole number is wanted here, the placeholder stands for a text
            MISPLACED_PLACEHOLDER /States/Task/HeartbeatSeconds: a placeholder cannot stand here; it has to stand alone: the service formats no text here
            MISPLACED_PLACEHOLDER /States/Pass/Result/a: a placeholder cannot stand here; the service takes only what is written in the definition
            MISPLACED_PLACEHOLDER /States/Map/MaxConcurrency: a placeholder cannot stand here; a JSONata state takes it here, or `MaxConcurrencyPath` a path into the state's own input
            MISPLACED_PLACEHOLDER /States/Both/Branches/0/States/In/Parameters: a placeholder cannot stand here; put it into a member of an object
            WRONG_TYPE /States/Choice/Choices/0/NumericEquals: a number is wanted here, the placeholder stands for a text
            MISPLACED_PLACEHOLDER /States/Choice/Choices/1/StringMatches: a placeholder cannot stand here; the operator compares with what is written in the definition
            UNKNOWN_INPUT /States/Task/Parameters/unknown.$: the execution's input has no `nam` (did you mean `name`?)
            UNKNOWN_INPUT /States/Task/Parameters/by hand.$: the execution's input has no `sekonds` (did you mean `seconds`?)
            WRONG_TYPE /States/Task/HeartbeatSeconds: `HeartbeatSeconds` is a whole number from 1 to 99999999, not `"ExecutionInputname0"`
            WRONG_TYPE /States/Map/MaxConcurrency: `MaxConcurrency` is a whole number of at least 0, not `"ExecutionInputseconds"`
            UNREACHABLE_STATE /States/End2: no path leads from `Task` to the state `End2`
        "#]],
    );
    let child = MapState::distributed(
        Pass::new().parameter("a", &name).named("P"),
        sfn_builder::checked::ExecutionType::Standard,
    );
    check(
        child.named("M"),
        &input(),
        expect![[r#"
        MISPLACED_PLACEHOLDER /States/M/ItemProcessor/States/P/Parameters/a: `name` of the input is not there: a distributed Map state's items have executions of their own; the Map state's `ItemSelector` or `BatchInput` can hand the value on
    "#]],
    );
    // Without a schema nothing is known of the input.
    let error = StateMachine::builder("P")
        .state("P", Pass::new().parameter("a", &name).end())
        .build()
        .unwrap_err();
    expect!["the definition is not valid: /States/P/Parameters/a: the machine's input is not known to have `name`; `MachineBuilder::input` says what it has"].assert_eq(&error.to_string());
}
