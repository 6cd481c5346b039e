//! Step Functions beyond machines and executions: versions, aliases, activities, tokens, redrives, map runs, tests of states.

use std::{
    sync::{Arc, Barrier},
    time::Duration,
};

use aws_local::{MockConfig, OperationError, Server};
use rusqlite::Connection;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Handle;

use crate::common::{ROLE, World, eventually};

/// Calls an operation.
pub(crate) async fn call(server: &Server, operation: &str, input: Value) -> Result<Value, OperationError> {
    server
        .call(&format!("AWSStepFunctions.{operation}"), &input)
        .await
}

pub(crate) async fn ok(server: &Server, operation: &str, input: Value) -> Value {
    call(server, operation, input).await.unwrap()
}

pub(crate) async fn refused(server: &Server, operation: &str, input: Value) -> String {
    call(server, operation, input).await.unwrap_err().to_string()
}

pub(crate) async fn machine(server: &Server, name: &str, definition: &Value) -> String {
    let created = json!({"name": name, "roleArn": ROLE, "definition": definition.to_string()});
    text(&ok(server, "CreateStateMachine", created).await["stateMachineArn"])
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

pub(crate) fn of(machine: Value) -> Value {
    let start = machine.as_object().unwrap().keys().next().unwrap().clone();
    json!({"StartAt": start, "States": machine})
}

pub(crate) fn pass() -> Value {
    of(json!({"P": {"Type": "Pass", "End": true}}))
}

pub(crate) async fn start(server: &Server, machine: &str, input: Value) -> String {
    let started = json!({"stateMachineArn": machine, "input": input.to_string()});
    text(&ok(server, "StartExecution", started).await["executionArn"])
}

pub(crate) async fn ended(server: &Server, execution: &str) -> Value {
    eventually(|| async {
        let described = ok(server, "DescribeExecution", json!({"executionArn": execution})).await;
        (described["status"] != "RUNNING").then_some(described)
    })
    .await
}

pub(crate) async fn types(server: &Server, execution: &str) -> Vec<String> {
    let history = json!({"executionArn": execution, "maxResults": 1000});
    let history = ok(server, "GetExecutionHistory", history).await;
    let events = history["events"].as_array().unwrap();
    for (at, event) in events.iter().enumerate() {
        assert_eq!(event["id"], at + 1);
    }
    events.iter().map(|event| text(&event["type"])).collect()
}

async fn server() -> (Server, TempDir) {
    let folder = TempDir::new().unwrap();
    (Server::builder(folder.path()).start().await.unwrap(), folder)
}

#[tokio::test]
async fn versions_and_aliases() {
    let (server, _folder) = server().await;
    let arn = machine(&server, "m", &pass()).await;
    let published = json!({"stateMachineArn": arn, "description": "first"});
    let first = ok(&server, "PublishStateMachineVersion", published.clone()).await;
    assert_eq!(first["stateMachineVersionArn"], format!("{arn}:1"));
    // There is a version of this revision.
    assert_eq!(ok(&server, "PublishStateMachineVersion", published).await, first);
    let second = of(json!({"P": {"Type": "Pass", "Result": 2, "End": true}}));
    let update = json!({"stateMachineArn": arn, "definition": second.to_string(), "publish": true, "versionDescription": "second"});
    let updated = ok(&server, "UpdateStateMachine", update).await;
    assert_eq!(updated["stateMachineVersionArn"], format!("{arn}:2"));
    let stale = json!({"stateMachineArn": arn, "revisionId": "INITIAL"});
    assert_eq!(
        refused(&server, "PublishStateMachineVersion", stale).await,
        format!(
            "ConflictException: Failed to publish the State Machine version for revision INITIAL. The current State \
             Machine revision is {}.",
            text(&updated["revisionId"])
        )
    );
    let listed = ok(
        &server,
        "ListStateMachineVersions",
        json!({"stateMachineArn": arn}),
    )
    .await;
    let listed: Vec<_> = listed["stateMachineVersions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|version| text(&version["stateMachineVersionArn"]))
        .collect();
    assert_eq!(listed, [format!("{arn}:2"), format!("{arn}:1")]);
    let described = ok(
        &server,
        "DescribeStateMachine",
        json!({"stateMachineArn": format!("{arn}:1")}),
    )
    .await;
    assert_eq!(described["definition"], pass().to_string());
    assert_eq!(described["description"], "first");

    let routing = |weights: [(u64, u64); 2]| -> Value {
        weights
            .iter()
            .map(|(version, weight)| json!({"stateMachineVersionArn": format!("{arn}:{version}"), "weight": weight}))
            .collect()
    };
    let alias = |routing: Value| json!({"name": "PROD", "routingConfiguration": routing});
    assert_eq!(
        refused(
            &server,
            "CreateStateMachineAlias",
            alias(routing([(1, 60), (2, 50)]))
        )
        .await,
        "ValidationException: Sum of routing configuration weights must equal 100. Received: [60,50]"
    );
    assert_eq!(
        refused(
            &server,
            "CreateStateMachineAlias",
            alias(routing([(1, 60), (3, 40)]))
        )
        .await,
        "ResourceNotFound: Request references a resource that does not exist."
    );
    let created = ok(
        &server,
        "CreateStateMachineAlias",
        alias(routing([(1, 50), (2, 50)])),
    )
    .await;
    let alias_arn = text(&created["stateMachineAliasArn"]);
    assert_eq!(alias_arn, format!("{arn}:PROD"));
    assert_eq!(
        refused(
            &server,
            "DeleteStateMachineVersion",
            json!({"stateMachineVersionArn": format!("{arn}:1")})
        )
        .await,
        "ConflictException: Version to be deleted must not be referenced by an alias. Current list of aliases \
         referencing this version: [PROD]"
    );
    let mut outputs = std::collections::BTreeMap::new();
    for number in 0..40 {
        let named = json!({"stateMachineArn": alias_arn, "name": format!("e{number}")});
        let execution = text(&ok(&server, "StartExecution", named).await["executionArn"]);
        let described = ended(&server, &execution).await;
        assert_eq!(described["stateMachineAliasArn"], alias_arn);
        assert_eq!(described["stateMachineArn"], arn);
        let of = (
            text(&described["stateMachineVersionArn"]),
            text(&described["output"]),
        );
        *outputs.entry(of).or_insert(0) += 1;
        if number == 0 {
            let history = ok(&server, "GetExecutionHistory", json!({"executionArn": execution})).await;
            let details = &history["events"][0]["executionStartedEventDetails"];
            assert_eq!(details["stateMachineAliasArn"], alias_arn);
        }
    }
    let kinds: Vec<_> = outputs.keys().cloned().collect();
    assert_eq!(
        kinds,
        [
            (format!("{arn}:1"), "{}".to_owned()),
            (format!("{arn}:2"), "2".to_owned())
        ]
    );
    let only = json!({"stateMachineArn": format!("{arn}:2"), "maxResults": 1000});
    let listed = ok(&server, "ListExecutions", only).await;
    let second = outputs[&kinds[1]];
    assert_eq!(listed["executions"].as_array().unwrap().len(), second);

    let update = json!({"stateMachineAliasArn": alias_arn, "routingConfiguration": [routing([(2, 100), (2, 0)])[0].clone()]});
    ok(&server, "UpdateStateMachineAlias", update).await;
    let described = ok(
        &server,
        "DescribeStateMachineAlias",
        json!({"stateMachineAliasArn": alias_arn}),
    )
    .await;
    assert_eq!(described["routingConfiguration"].as_array().unwrap().len(), 1);
    ok(
        &server,
        "DeleteStateMachineVersion",
        json!({"stateMachineVersionArn": format!("{arn}:1")}),
    )
    .await;
    ok(
        &server,
        "DeleteStateMachineAlias",
        json!({"stateMachineAliasArn": alias_arn}),
    )
    .await;
    assert_eq!(
        refused(&server, "StartExecution", json!({"stateMachineArn": alias_arn})).await,
        format!("StateMachineDoesNotExist: State Machine Does Not Exist: '{alias_arn}'")
    );
    // Numbers of versions are not used again.
    let update = json!({"stateMachineArn": arn, "definition": pass().to_string(), "publish": true});
    let updated = ok(&server, "UpdateStateMachine", update).await;
    assert_eq!(updated["stateMachineVersionArn"], format!("{arn}:3"));
}

#[tokio::test]
async fn express_machines() {
    let (server, _folder) = server().await;
    let fail = of(
        json!({"C": {"Type": "Choice", "Choices": [{"Variable": "$.ok", "BooleanEquals": true, "Next": "S"}], "Default": "F"},
        "S": {"Type": "Pass", "Result": {"done": true}, "End": true}, "F": {"Type": "Fail", "Error": "E", "Cause": "c"}}),
    );
    let create = json!({"name": "x", "roleArn": ROLE, "definition": fail.to_string(), "type": "EXPRESS"});
    let arn = text(&ok(&server, "CreateStateMachine", create).await["stateMachineArn"]);
    let run = |input: &str| json!({"stateMachineArn": arn, "input": input, "name": "n"});
    let done = ok(&server, "StartSyncExecution", run(r#"{"ok":true}"#)).await;
    assert_eq!(done["status"], "SUCCEEDED");
    assert_eq!(done["output"], r#"{"done":true}"#);
    assert!(text(&done["executionArn"]).starts_with("arn:aws:states:us-east-1:000000000000:express:x:n:"));
    assert_eq!(done["billingDetails"]["billedMemoryUsedInMB"], 64);
    assert_eq!(done["billingDetails"]["billedDurationInMilliseconds"], 100);
    let failed = ok(&server, "StartSyncExecution", run(r#"{"ok":false}"#)).await;
    assert_eq!(
        (&failed["status"], &failed["error"], &failed["cause"]),
        (&json!("FAILED"), &json!("E"), &json!("c"))
    );
    assert_eq!(
        (failed.get("output"), &failed["outputDetails"]),
        (None, &json!({"included": true}))
    );
    // There are no redrives to count.
    let shows = of(json!({"P": {"Type": "Pass", "Parameters": {"e.$": "$$.Execution"}, "End": true}}));
    let create =
        json!({"name": "shows", "roleArn": ROLE, "definition": shows.to_string(), "type": "EXPRESS"});
    let shows = ok(&server, "CreateStateMachine", create).await["stateMachineArn"].clone();
    let shown = ok(&server, "StartSyncExecution", json!({"stateMachineArn": shows})).await;
    let output: Value = serde_json::from_str(shown["output"].as_str().unwrap()).unwrap();
    let mut members: Vec<_> = output["e"].as_object().unwrap().keys().cloned().collect();
    members.sort();
    assert_eq!(members, ["Id", "Input", "Name", "RoleArn", "StartTime"]);
    let execution = text(&ok(&server, "StartExecution", run("{}")).await["executionArn"]);
    for operation in ["DescribeExecution", "GetExecutionHistory", "StopExecution"] {
        assert_eq!(
            refused(&server, operation, json!({"executionArn": execution})).await,
            "InvalidArn: Invalid Arn: 'Resource type not valid in this context: express'"
        );
    }
    let unsupported =
        "StateMachineTypeNotSupported: This operation is not supported by this type of state machine";
    assert_eq!(
        refused(&server, "ListExecutions", json!({"stateMachineArn": arn})).await,
        unsupported
    );
    let standard = machine(&server, "s", &pass()).await;
    assert_eq!(
        refused(
            &server,
            "StartSyncExecution",
            json!({"stateMachineArn": standard})
        )
        .await,
        unsupported
    );
    let sync = of(
        json!({"T": {"Type": "Task", "Resource": "arn:aws:states:::states:startExecution.sync",
        "Parameters": {"StateMachineArn": standard}, "End": true}}),
    );
    let create = json!({"name": "y", "roleArn": ROLE, "definition": sync.to_string(), "type": "EXPRESS"});
    assert_eq!(
        refused(&server, "CreateStateMachine", create).await,
        "InvalidDefinition: Invalid State Machine Definition: 'SCHEMA_VALIDATION_FAILED: Express state machine does not \
         support '.sync' service integration at /States/T/Resource'"
    );
}

#[tokio::test]
async fn activities_and_tokens() {
    let (server, _folder) = server().await;
    let created = ok(&server, "CreateActivity", json!({"name": "a"})).await;
    let activity = text(&created["activityArn"]);
    assert_eq!(ok(&server, "CreateActivity", json!({"name": "a"})).await, created);
    let state = json!({"Type": "Task", "Resource": activity, "HeartbeatSeconds": 600, "TimeoutSeconds": 1200, "End": true});
    let arn = machine(&server, "m", &of(json!({"T": state}))).await;
    let execution = start(&server, &arn, json!({"x": 1})).await;
    let take = json!({"activityArn": activity, "workerName": "w"});
    let task = ok(&server, "GetActivityTask", take.clone()).await;
    assert_eq!(task["input"], r#"{"x":1}"#);
    let token = text(&task["taskToken"]);
    ok(&server, "SendTaskHeartbeat", json!({"taskToken": token})).await;
    let bad = json!({"taskToken": token, "output": "{"});
    assert!(
        refused(&server, "SendTaskSuccess", bad)
            .await
            .starts_with("InvalidOutput: ")
    );
    ok(
        &server,
        "SendTaskSuccess",
        json!({"taskToken": token, "output": "[1]"}),
    )
    .await;
    assert_eq!(ended(&server, &execution).await["output"], "[1]");
    assert_eq!(
        types(&server, &execution).await,
        [
            "ExecutionStarted",
            "TaskStateEntered",
            "ActivityScheduled",
            "ActivityStarted",
            "ActivitySucceeded",
            "TaskStateExited",
            "ExecutionSucceeded"
        ]
    );
    let again = json!({"taskToken": token, "output": "[1]"});
    assert_eq!(
        refused(&server, "SendTaskSuccess", again).await,
        "TaskTimedOut: Task Timed Out: 'Provided task does not exist anymore'"
    );
    assert_eq!(
        refused(&server, "SendTaskHeartbeat", json!({"taskToken": "x"})).await,
        "InvalidToken: Invalid Token: 'Invalid token'"
    );
    // A worker that waits gets the next task, and a failure is the task's.
    let execution = start(&server, &arn, json!({})).await;
    let task = ok(&server, "GetActivityTask", take).await;
    let failure = json!({"taskToken": task["taskToken"], "error": "Broken", "cause": "it is"});
    ok(&server, "SendTaskFailure", failure).await;
    let described = ended(&server, &execution).await;
    assert_eq!(
        (&described["error"], &described["cause"]),
        (&json!("Broken"), &json!("it is"))
    );
    let missing = format!("{activity}2");
    assert_eq!(
        refused(&server, "DescribeActivity", json!({"activityArn": missing})).await,
        format!("ActivityDoesNotExist: Activity Does Not Exist: '{missing}'")
    );
}

#[tokio::test]
async fn nested_executions() {
    let (server, _folder) = server().await;
    let inner = machine(
        &server,
        "inner",
        &of(json!({"P": {"Type": "Pass", "Result": {"r": 1}, "End": true}})),
    )
    .await;
    let task = |style: &str, parameters: Value| {
        let resource = format!("arn:aws:states:::states:startExecution{style}");
        of(json!({"T": {"Type": "Task", "Resource": resource, "Parameters": parameters, "End": true}}))
    };
    let parameters = json!({"StateMachineArn": inner, "Input": {"a.$": "$.a"}});
    let outer = machine(&server, "outer", &task(".sync:2", parameters.clone())).await;
    let described = ended(&server, &start(&server, &outer, json!({"a": 5})).await).await;
    let output: Value = serde_json::from_str(described["output"].as_str().unwrap()).unwrap();
    assert_eq!(output["Output"], json!({"r": 1}));
    assert_eq!(output["Input"], json!({"a": 5}));
    assert_eq!(output["Status"], "SUCCEEDED");
    let outer = machine(&server, "text", &task(".sync", parameters.clone())).await;
    let described = ended(&server, &start(&server, &outer, json!({"a": 5})).await).await;
    let output: Value = serde_json::from_str(described["output"].as_str().unwrap()).unwrap();
    assert_eq!(output["Output"], r#"{"r":1}"#);
    let outer = machine(&server, "plain", &task("", parameters)).await;
    let execution = start(&server, &outer, json!({"a": 5})).await;
    let described = ended(&server, &execution).await;
    assert!(text(&described["output"]).contains(":execution:inner:"));
    // The token is handed on, and whoever has it ends the task.
    let parameters = json!({"StateMachineArn": inner, "Input": {"token.$": "$$.Task.Token"}});
    let outer = machine(&server, "callback", &task(".waitForTaskToken", parameters)).await;
    let execution = start(&server, &outer, json!({})).await;
    let token = eventually(|| async {
        let listed = ok(&server, "ListExecutions", json!({"stateMachineArn": inner})).await;
        for listed in listed["executions"].as_array().unwrap() {
            let described = ok(
                &server,
                "DescribeExecution",
                json!({"executionArn": listed["executionArn"]}),
            )
            .await;
            let input: Value = serde_json::from_str(described["input"].as_str().unwrap()).unwrap();
            if let Some(token) = input["token"].as_str() {
                return Some(token.to_owned());
            }
        }
        None
    })
    .await;
    ok(
        &server,
        "SendTaskSuccess",
        json!({"taskToken": token, "output": "7"}),
    )
    .await;
    assert_eq!(ended(&server, &execution).await["output"], "7");
    assert!(
        types(&server, &execution)
            .await
            .contains(&"TaskSubmitted".to_owned())
    );
    // One that is waited for is stopped with what has started it.
    let waits = of(json!({"W": {"Type": "Wait", "Seconds": 600, "End": true}}));
    let waits = machine(&server, "waits", &waits).await;
    let outer = task(".sync:2", json!({"StateMachineArn": waits}));
    let outer = machine(&server, "stopped", &outer).await;
    let stopped = start(&server, &outer, json!({})).await;
    let nested = eventually(|| async {
        let listed = ok(&server, "ListExecutions", json!({"stateMachineArn": waits})).await;
        listed["executions"][0]["executionArn"]
            .as_str()
            .map(str::to_owned)
    })
    .await;
    ok(&server, "StopExecution", json!({"executionArn": stopped})).await;
    let described = ended(&server, &nested).await;
    let cause = format!(
        "The Task state in AWS Step Functions execution [{stopped}] which was managing this resource was aborted"
    );
    assert_eq!(
        (&described["status"], &described["cause"], &described["error"]),
        (&json!("ABORTED"), &json!(cause), &Value::Null)
    );
    // Through the generic integration.
    let generic = of(
        json!({"T": {"Type": "Task", "Resource": "arn:aws:states:::aws-sdk:sfn:describeExecution",
        "Parameters": {"ExecutionArn.$": "$.e"}, "End": true}}),
    );
    let outer = machine(&server, "generic", &generic).await;
    let described = ended(&server, &start(&server, &outer, json!({"e": execution})).await).await;
    let output: Value = serde_json::from_str(described["output"].as_str().unwrap()).unwrap();
    assert_eq!(output["Status"], "SUCCEEDED");
    assert!(text(&output["StartDate"]).ends_with('Z'));
    let missing = start(&server, &outer, json!({"e": format!("{execution}0")})).await;
    assert_eq!(
        ended(&server, &missing).await["error"],
        "Sfn.ExecutionDoesNotExistException"
    );
}

#[tokio::test]
async fn what_no_service_does_is_refused_when_it_is_called() {
    let (server, _folder) = server().await;
    let resource = "arn:aws:states:::lambda:invoke";
    let state = json!({"Type": "Task", "Resource": resource, "Parameters": {"FunctionName": "f"}, "End": true,
        "Catch": [{"ErrorEquals": ["States.ALL"], "Next": "Caught"}]});
    let arn = machine(
        &server,
        "m",
        &of(json!({"T": state, "Caught": {"Type": "Succeed"}})),
    )
    .await;
    let described = ended(&server, &start(&server, &arn, json!({})).await).await;
    assert_eq!(
        (&described["status"], &described["error"]),
        (&json!("FAILED"), &json!("States.Runtime"))
    );
    assert!(text(&described["cause"]).contains(resource));
}

#[tokio::test]
async fn mocked_test_cases() {
    let folder = TempDir::new().unwrap();
    let mocks = r#"{"StateMachines": {"m": {"TestCases": {"Good": {"T": "Answer"}, "Bad": {"T": "Error"}}}},
        "MockedResponses": {"Answer": {"0": {"Return": {"Payload": 1}}}, "Error": {"0-9": {"Throw": {"Error": "E", "Cause": "c"}}}}}"#;
    let builder = Server::builder(folder.path()).mock_config(MockConfig::parse(mocks).unwrap());
    let server = builder.start().await.unwrap();
    let state = json!({"Type": "Task", "Resource": "arn:aws:states:::lambda:invoke", "Parameters": {"FunctionName": "f"}, "End": true});
    let arn = machine(&server, "m", &of(json!({"T": state}))).await;
    let good = ended(&server, &start(&server, &format!("{arn}#Good"), json!({})).await).await;
    assert_eq!(good["output"], r#"{"Payload":1}"#);
    let bad = ended(&server, &start(&server, &format!("{arn}#Bad"), json!({})).await).await;
    assert_eq!(bad["error"], "E");
    assert_eq!(
        refused(
            &server,
            "StartExecution",
            json!({"stateMachineArn": format!("{arn}#None")})
        )
        .await,
        "ValidationException: The mock file has no test case `None` of `m`"
    );
}

#[tokio::test]
async fn redrives() {
    let (server, _folder) = server().await;
    // The first attempt finds no machine, the redrive does.
    let late = "arn:aws:states:us-east-1:000000000000:stateMachine:late";
    let definition = of(json!({
        "P": {"Type": "Pass", "Next": "T"},
        "T": {"Type": "Task", "Resource": "arn:aws:states:::states:startExecution.sync:2",
            "Parameters": {"StateMachineArn": late}, "ResultSelector": {"status.$": "$.Status"}, "End": true},
    }));
    let arn = machine(&server, "m", &definition).await;
    let execution = start(&server, &arn, json!({})).await;
    let failed = ended(&server, &execution).await;
    assert_eq!(failed["error"], "StepFunctions.StateMachineDoesNotExistException");
    assert_eq!(failed["redriveStatus"], "REDRIVABLE");
    assert_eq!(failed["redriveCount"], 0);
    machine(&server, "late", &pass()).await;
    let redrive = json!({"executionArn": execution, "clientToken": "t"});
    let redriven = ok(&server, "RedriveExecution", redrive.clone()).await;
    assert_eq!(ok(&server, "RedriveExecution", redrive).await, redriven);
    let described = ended(&server, &execution).await;
    assert_eq!(described["output"], r#"{"status":"SUCCEEDED"}"#);
    assert_eq!(described["redriveCount"], 1);
    assert_eq!(described["redriveDate"], redriven["redriveDate"]);
    assert_eq!(
        described["redriveStatusReason"],
        "Execution is SUCCEEDED and cannot be redriven"
    );
    let events = types(&server, &execution).await;
    assert_eq!(
        events.iter().filter(|event| *event == "PassStateEntered").count(),
        1
    );
    assert!(events.contains(&"ExecutionRedriven".to_owned()));
    assert_eq!(
        refused(&server, "RedriveExecution", json!({"executionArn": execution})).await,
        "ExecutionNotRedrivable: Execution is SUCCEEDED and cannot be redriven"
    );
    let filter = |filter: &str| json!({"stateMachineArn": arn, "redriveFilter": filter});
    let listed = ok(&server, "ListExecutions", filter("REDRIVEN")).await;
    assert_eq!(listed["executions"][0]["redriveCount"], 1);
    let listed = ok(&server, "ListExecutions", filter("NOT_REDRIVEN")).await;
    assert_eq!(listed["executions"], json!([]));
}

#[tokio::test]
async fn an_execution_that_was_stopped_is_redriven() {
    let (server, _folder) = server().await;
    let activity = text(&ok(&server, "CreateActivity", json!({"name": "a"})).await["activityArn"]);
    let definition = of(json!({
        "P": {"Type": "Pass", "Next": "T"},
        "T": {"Type": "Task", "Resource": activity, "End": true},
    }));
    let arn = machine(&server, "m", &definition).await;
    let execution = start(&server, &arn, json!({})).await;
    ok(&server, "GetActivityTask", json!({"activityArn": activity})).await;
    let stop = json!({"executionArn": execution, "error": "E", "cause": "c"});
    let stopped = ok(&server, "StopExecution", stop).await;
    // It has ended when the answer comes.
    let described = ok(&server, "DescribeExecution", json!({"executionArn": execution})).await;
    assert_eq!(described["status"], "ABORTED");
    assert_eq!(described["stopDate"], stopped["stopDate"]);
    assert_eq!(
        (&described["error"], &described["cause"]),
        (&json!("E"), &json!("c"))
    );
    let events = types(&server, &execution).await;
    assert_eq!(events.last().unwrap(), "ExecutionAborted", "{events:?}");
    ok(&server, "RedriveExecution", json!({"executionArn": execution})).await;
    let task = ok(&server, "GetActivityTask", json!({"activityArn": activity})).await;
    ok(
        &server,
        "SendTaskSuccess",
        json!({"taskToken": task["taskToken"], "output": "1"}),
    )
    .await;
    let described = ended(&server, &execution).await;
    assert_eq!(
        (&described["status"], &described["output"]),
        (&json!("SUCCEEDED"), &json!("1"))
    );
    assert!(described.get("error").is_none());
    assert_eq!(
        types(&server, &execution).await[events.len()..],
        [
            "ExecutionRedriven",
            "ActivityScheduled",
            "ActivityStarted",
            "ActivitySucceeded",
            "TaskStateExited",
            "ExecutionSucceeded"
        ]
    );
}

#[tokio::test]
async fn executions_go_on_after_a_restart() {
    let world = World::new().await;
    let activity = text(&ok(&world.server, "CreateActivity", json!({"name": "a"})).await["activityArn"]);
    let definition = of(json!({
        "P": {"Type": "Pass", "Assign": {"v": 3}, "Next": "T"},
        "T": {"Type": "Task", "Resource": activity, "Next": "W"},
        "W": {"Type": "Wait", "Seconds": 1, "Next": "E"},
        "E": {"Type": "Pass", "Parameters": {"v.$": "$v"}, "End": true},
    }));
    let arn = machine(&world.server, "m", &definition).await;
    let execution = start(&world.server, &arn, json!({})).await;
    let take = json!({"activityArn": activity});
    let task = ok(&world.server, "GetActivityTask", take.clone()).await;
    let before = eventually(|| async {
        let events = types(&world.server, &execution).await;
        events.contains(&"ActivityStarted".to_owned()).then_some(events)
    })
    .await;
    let world = world.restart().await;
    assert_eq!(
        ok(
            &world.server,
            "DescribeExecution",
            json!({"executionArn": execution})
        )
        .await["status"],
        "RUNNING"
    );
    // The task is there again under the token that it had.
    let again = ok(&world.server, "GetActivityTask", take).await;
    assert_eq!(again["taskToken"], task["taskToken"]);
    ok(
        &world.server,
        "SendTaskSuccess",
        json!({"taskToken": task["taskToken"], "output": "{}"}),
    )
    .await;
    eventually(|| async {
        types(&world.server, &execution)
            .await
            .contains(&"WaitStateEntered".to_owned())
            .then_some(())
    })
    .await;
    let world = world.restart().await;
    let described = ended(&world.server, &execution).await;
    assert_eq!(described["output"], r#"{"v":3}"#);
    let after = types(&world.server, &execution).await;
    assert_eq!(after[..before.len()], before);
    assert_eq!(
        after[before.len()..],
        [
            "ActivitySucceeded",
            "TaskStateExited",
            "WaitStateEntered",
            "WaitStateExited",
            "PassStateEntered",
            "PassStateExited",
            "ExecutionSucceeded"
        ]
    );
}

#[tokio::test]
async fn map_runs() {
    let world = World::new().await;
    let server = &world.server;
    world.s3.create_bucket().bucket("items").send().await.unwrap();
    let body = b"[{\"n\":1},{\"n\":2},{\"n\":3}]".to_vec();
    world
        .s3
        .put_object()
        .bucket("items")
        .key("items.json")
        .body(body.into())
        .send()
        .await
        .unwrap();
    let definition = of(json!({"M": {
        "Type": "Map",
        "Label": "each",
        "MaxConcurrency": 2,
        "ToleratedFailureCount": 1,
        "ItemReader": {"Resource": "arn:aws:states:::s3:getObject", "ReaderConfig": {"InputType": "JSON"},
            "Parameters": {"Bucket": "items", "Key": "items.json"}},
        "ItemProcessor": {"ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}, "StartAt": "C", "States": {
            "C": {"Type": "Choice", "Choices": [{"Variable": "$.n", "NumericEquals": 2, "Next": "F"}], "Default": "P"},
            "P": {"Type": "Pass", "OutputPath": "$.n", "End": true},
            "F": {"Type": "Fail", "Error": "Two"},
        }},
        "ResultWriter": {"Resource": "arn:aws:states:::s3:putObject", "Parameters": {"Bucket": "items", "Prefix": "out"}},
        "End": true,
    }}));
    let arn = machine(server, "m", &definition).await;
    let execution = start(server, &arn, json!({})).await;
    let described = ended(server, &execution).await;
    assert_eq!(described["status"], "SUCCEEDED", "{described}");
    let output: Value = serde_json::from_str(described["output"].as_str().unwrap()).unwrap();
    let key = text(&output["ResultWriterDetails"]["Key"]);
    world
        .s3
        .get_object()
        .bucket("items")
        .key(key)
        .send()
        .await
        .unwrap();
    let runs = ok(server, "ListMapRuns", json!({"executionArn": execution})).await;
    let run = text(&runs["mapRuns"][0]["mapRunArn"]);
    assert_eq!(output["MapRunArn"], run);
    let told = ok(server, "DescribeMapRun", json!({"mapRunArn": run})).await;
    assert_eq!(told["status"], "SUCCEEDED");
    assert_eq!(
        (&told["maxConcurrency"], &told["toleratedFailureCount"]),
        (&json!(2), &json!(1))
    );
    let counts = &told["executionCounts"];
    assert_eq!(
        (&counts["total"], &counts["succeeded"], &counts["failed"]),
        (&json!(3), &json!(2), &json!(1))
    );
    let listed = ok(
        server,
        "ListExecutions",
        json!({"mapRunArn": run, "statusFilter": "FAILED"}),
    )
    .await;
    let child = text(&listed["executions"][0]["executionArn"]);
    let described = ok(server, "DescribeExecution", json!({"executionArn": child})).await;
    assert_eq!(
        (&described["error"], &described["mapRunArn"]),
        (&json!("Two"), &json!(run))
    );
    assert_eq!(types(server, &child).await.last().unwrap(), "ExecutionFailed");
    assert_eq!(
        refused(
            server,
            "UpdateMapRun",
            json!({"mapRunArn": run, "maxConcurrency": 5})
        )
        .await,
        "ValidationException: Cannot update a Map Run that has completed."
    );
    // They do not show among the machine's own.
    let listed = ok(server, "ListExecutions", json!({"stateMachineArn": arn})).await;
    assert_eq!(listed["executions"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn lists_of_executions() {
    let (server, _folder) = server().await;
    let arn = machine(&server, "m", &pass()).await;
    let mut expected = Vec::new();
    for number in 0..7 {
        let started = json!({"stateMachineArn": arn, "name": format!("e{number}")});
        let execution = text(&ok(&server, "StartExecution", started).await["executionArn"]);
        ended(&server, &execution).await;
        expected.insert(0, execution);
    }
    let mut found = Vec::new();
    let mut request = json!({"stateMachineArn": arn, "maxResults": 3, "statusFilter": "SUCCEEDED"});
    loop {
        let page = ok(&server, "ListExecutions", request.clone()).await;
        let executions = page["executions"].as_array().unwrap();
        assert!(executions.len() <= 3);
        found.extend(
            executions
                .iter()
                .map(|execution| text(&execution["executionArn"])),
        );
        match page.get("nextToken") {
            Some(token) => request["nextToken"] = token.clone(),
            None => break,
        }
    }
    assert_eq!(found, expected);
    request["nextToken"] = "x".into();
    assert_eq!(
        refused(&server, "ListExecutions", request).await,
        "InvalidToken: Invalid Token: 'x'"
    );
    let history = json!({"executionArn": expected[0], "maxResults": 2, "reverseOrder": true});
    let first = ok(&server, "GetExecutionHistory", history.clone()).await;
    let ids = |page: &Value| -> Vec<u64> {
        page["events"]
            .as_array()
            .unwrap()
            .iter()
            .map(|event| event["id"].as_u64().unwrap())
            .collect()
    };
    assert_eq!(ids(&first), [4, 3]);
    let mut history = history;
    history["nextToken"] = first["nextToken"].clone();
    let second = ok(&server, "GetExecutionHistory", history).await;
    assert_eq!(ids(&second), [2, 1]);
    assert!(second.get("nextToken").is_none());
}

#[tokio::test]
async fn names_inputs_and_conflicts() {
    let (server, _folder) = server().await;
    let wait = of(json!({"W": {"Type": "Wait", "Seconds": 600, "End": true}}));
    let arn = machine(&server, "m", &wait).await;
    let started = |input: &str| json!({"stateMachineArn": arn, "name": "e", "input": input});
    let first = ok(&server, "StartExecution", started("{}")).await;
    assert_eq!(ok(&server, "StartExecution", started("{}")).await, first);
    let execution = text(&first["executionArn"]);
    let exists = format!("ExecutionAlreadyExists: Execution Already Exists: '{execution}'");
    assert_eq!(refused(&server, "StartExecution", started("[]")).await, exists);
    ok(&server, "StopExecution", json!({"executionArn": execution})).await;
    assert_eq!(refused(&server, "StartExecution", started("{}")).await, exists);
    for (operation, input, expected) in [
        (
            "StartExecution",
            json!({"stateMachineArn": arn, "name": "a b"}),
            "InvalidName: Invalid Name: 'a b'",
        ),
        (
            "StartExecution",
            json!({"stateMachineArn": arn, "input": "nope"}),
            "InvalidExecutionInput: Invalid State Machine Execution Input: 'Unrecognized token 'nope': was expecting \
             (JSON String, Number, Array, Object or token 'null', 'true' or 'false')'",
        ),
        (
            "StartExecution",
            json!({"stateMachineArn": "m"}),
            "InvalidArn: Invalid Arn: 'Invalid ARN prefix: m'",
        ),
        (
            "DescribeStateMachine",
            json!({"stateMachineArn": execution}),
            "InvalidArn: Invalid Arn: 'Resource type not valid in this context: execution'",
        ),
        (
            "CreateStateMachine",
            json!({"name": "n", "roleArn": "r", "definition": wait.to_string()}),
            "InvalidArn: Invalid Role Arn: 'r'",
        ),
        (
            "CreateStateMachine",
            json!({"name": "m", "roleArn": ROLE, "definition": pass().to_string()}),
            "StateMachineAlreadyExists: State Machine Already Exists: 'arn:aws:states:us-east-1:000000000000:stateMachine:m'",
        ),
        (
            "CreateStateMachine",
            json!({"name": "n", "roleArn": ROLE, "definition": pass().to_string(), "versionDescription": "d"}),
            "ValidationException: Version description can only be set when publish is true",
        ),
        (
            "CreateStateMachine",
            json!({"name": "n", "roleArn": ROLE, "definition": pass().to_string(), "loggingConfiguration": {"level": "ALL"}}),
            "InvalidLoggingConfiguration: Invalid Logging Configuration: Must specify exactly one Log Destination.",
        ),
        (
            "ListExecutions",
            json!({}),
            "ValidationException: Must specify either a stateMachineArn or a mapRunArn, but not both",
        ),
    ] {
        assert_eq!(refused(&server, operation, input).await, expected);
    }
    // What is only kept is told back.
    let tracing = json!({"name": "t", "roleArn": ROLE, "definition": pass().to_string(), "tracingConfiguration": {"enabled": true},
        "encryptionConfiguration": {"type": "AWS_OWNED_KEY"}});
    let created = ok(&server, "CreateStateMachine", tracing).await;
    let described = ok(
        &server,
        "DescribeStateMachine",
        json!({"stateMachineArn": created["stateMachineArn"]}),
    )
    .await;
    assert_eq!(described["tracingConfiguration"], json!({"enabled": true}));
    assert_eq!(
        described["encryptionConfiguration"],
        json!({"type": "AWS_OWNED_KEY"})
    );
    assert_eq!(
        described["loggingConfiguration"],
        json!({"level": "OFF", "includeExecutionData": false})
    );
    assert!(described.get("revisionId").is_none());
}

#[tokio::test]
async fn states_by_themselves() {
    let (server, _folder) = server().await;
    let test = async |request: Value| {
        let mut request = request;
        for member in ["definition", "input", "variables"] {
            if let Some(value) = request.get(member).cloned() {
                request[member] = value.to_string().into();
            }
        }
        call(&server, "TestState", request)
            .await
            .map_err(|error| error.to_string())
    };
    let choice = json!({"Type": "Choice", "Choices": [{"Variable": "$.n", "NumericGreaterThan": 3, "Next": "Big"}], "Default": "Small"});
    let tested = test(json!({"definition": choice, "input": {"n": 4}}))
        .await
        .unwrap();
    assert_eq!(
        tested,
        json!({"status": "SUCCEEDED", "output": "{\"n\":4}", "nextState": "Big"})
    );

    let pass = json!({"Type": "Pass", "InputPath": "$.a", "Parameters": {"b.$": "$.b", "v.$": "$v"}, "ResultPath": "$.r", "Next": "N"});
    let request = json!({"definition": pass, "input": {"a": {"b": 1}}, "variables": {"v": 2}, "inspectionLevel": "DEBUG"});
    let tested = test(request).await.unwrap();
    assert_eq!(
        tested["inspectionData"],
        json!({
            "input": "{\"a\":{\"b\":1}}",
            "afterInputPath": "{\"b\":1}",
            "afterParameters": "{\"b\":1,\"v\":2}",
            "result": "{\"b\":1,\"v\":2}",
            "afterResultPath": "{\"a\":{\"b\":1},\"r\":{\"b\":1,\"v\":2}}",
            "variables": "{\"v\":2}",
        })
    );
    assert_eq!(tested["nextState"], "N");

    let task = json!({"Type": "Task", "Resource": "arn:aws:states:::lambda:invoke", "Parameters": {"FunctionName": "f"},
        "ResultSelector": {"p.$": "$.Payload"}, "Next": "N",
        "Retry": [{"ErrorEquals": ["Slow"], "IntervalSeconds": 3, "BackoffRate": 2, "MaxAttempts": 2}],
        "Catch": [{"ErrorEquals": ["States.ALL"], "ResultPath": "$.e", "Next": "Caught"}]});
    let mocked = |mock: Value, retries: u64| {
        json!({"definition": task, "input": {}, "mock": mock, "inspectionLevel": "DEBUG",
            "stateConfiguration": {"retrierRetryCount": retries}})
    };
    let unchecked = json!({"result": "{\"Payload\":5}", "fieldValidationMode": "NONE"});
    let tested = test(mocked(unchecked, 0)).await.unwrap();
    assert_eq!(
        (&tested["status"], &tested["output"]),
        (&json!("SUCCEEDED"), &json!("{\"p\":5}"))
    );
    assert_eq!(tested["inspectionData"]["afterResultSelector"], "{\"p\":5}");
    let slow = json!({"errorOutput": {"error": "Slow", "cause": "c"}});
    let tested = test(mocked(slow.clone(), 1)).await.unwrap();
    assert_eq!(
        (&tested["status"], &tested["error"]),
        (&json!("RETRIABLE"), &json!("Slow"))
    );
    assert_eq!(
        tested["inspectionData"]["errorDetails"],
        json!({"retryIndex": 0, "retryBackoffIntervalSeconds": 6})
    );
    let tested = test(mocked(slow, 2)).await.unwrap();
    assert_eq!(
        (&tested["status"], &tested["nextState"]),
        (&json!("CAUGHT_ERROR"), &json!("Caught"))
    );
    assert_eq!(tested["output"], "{\"e\":{\"Error\":\"Slow\",\"Cause\":\"c\"}}");
    assert_eq!(tested["inspectionData"]["errorDetails"], json!({"catchIndex": 0}));

    let map = json!({"Type": "Map", "ItemsPath": "$.l", "ItemSelector": {"i.$": "$$.Map.Item.Value"}, "End": true,
        "ItemProcessor": {"StartAt": "P", "States": {"P": {"Type": "Pass", "End": true}}}});
    let request = json!({"definition": map, "input": {"l": [1, 2]}, "mock": {"result": "[3]"}, "inspectionLevel": "TRACE"});
    let tested = test(request).await.unwrap();
    assert_eq!(tested["output"], "[3]");
    assert_eq!(tested["inspectionData"]["afterItemsPath"], "[1,2]");
    assert_eq!(
        tested["inspectionData"]["afterItemSelector"],
        "[{\"i\":1},{\"i\":2}]"
    );

    let machine = json!({"QueryLanguage": "JSONata", "StartAt": "A", "States": {
        "A": {"Type": "Pass", "Next": "B"},
        "B": {"Type": "Pass", "Output": "{% $states.input.x + 1 %}", "End": true}}});
    let tested = test(json!({"definition": machine, "stateName": "B", "input": {"x": 1}}))
        .await
        .unwrap();
    assert_eq!(tested, json!({"status": "SUCCEEDED", "output": "2"}));
    // The context object is what is given.
    let shows = json!({"Type": "Task", "Resource": "arn:aws:states:::lambda:invoke", "Parameters": {"FunctionName": "f"},
        "ResultSelector": {"c.$": "$$"}, "End": true});
    for context in [
        json!({}),
        json!({"Execution": {}, "State": {}}),
        json!({"Execution": {"Id": "e", "Input": {"a": 1}, "StartTime": "2026-01-31T12:00:00.000Z"}, "State": {"Name": "S", "RetryCount": 0}}),
    ] {
        let request = json!({"definition": shows, "mock": {"result": "{}"}, "context": context.to_string()});
        let output = text(&test(request).await.unwrap()["output"]);
        assert_eq!(
            serde_json::from_str::<Value>(&output).unwrap(),
            json!({"c": context})
        );
    }
    let waits = json!({"Type": "Task", "Resource": "arn:aws:states:::sqs:sendMessage.waitForTaskToken",
        "Parameters": {"QueueUrl": "q", "MessageBody": {"t.$": "$$.Task.Token"}}, "End": true});
    let context = json!({"Task": {"Token": "abcd123"}}).to_string();
    let request = json!({"definition": waits, "mock": {"result": "{}"}, "context": context, "inspectionLevel": "DEBUG"});
    let tested = test(request).await.unwrap();
    assert_eq!(
        tested["inspectionData"]["afterParameters"],
        "{\"QueueUrl\":\"q\",\"MessageBody\":{\"t\":\"abcd123\"}}"
    );
    let branch = of(json!({"P": {"Type": "Pass", "End": true}}));
    let parallel = json!({"Type": "Parallel", "Branches": [branch, of(json!({"Q": {"Type": "Pass", "End": true}}))], "End": true});
    let in_context = |context: Value| json!({"definition": task, "mock": {"result": "{}"}, "context": context.to_string()});
    let fail = json!({"Type": "Fail", "Error": "E", "Cause": "c"});
    let tested = test(json!({"definition": fail})).await.unwrap();
    assert_eq!(tested, json!({"status": "FAILED", "error": "E", "cause": "c"}));
    // Of an error of the state's own the reason alone is told: there is no event of an execution.
    let nothing = "The JSONata expression '$states.input.none' specified for the field 'Output' returned nothing (undefined).";
    for kind in ["Pass", "Task"] {
        let mut state = json!({"Type": kind, "QueryLanguage": "JSONata", "Output": "{% $states.input.none %}", "End": true});
        let mut request = json!({});
        if kind == "Task" {
            state["Resource"] = json!("arn:aws:states:::lambda:invoke");
            state["Catch"] = json!([{"ErrorEquals": ["States.ALL"], "Output": 1, "Next": "P"}]);
            request["mock"] = json!({"result": "{}"});
        }
        request["definition"] = state;
        let tested = test(request).await.unwrap();
        assert_eq!(tested["error"], "States.QueryEvaluationError", "{tested}");
        assert_eq!(tested["cause"], nothing);
    }
    for (request, expected) in [
        (
            json!({"definition": {"Type": "Pass", "End": true}, "mock": {"result": "1"}}),
            "ValidationException: State type 'Pass' is not supported when a mock is specified",
        ),
        (
            json!({"definition": task, "mock": {"result": "1", "errorOutput": {"error": "E"}}}),
            "ValidationException: A test mock should have only one of the following fields: [result, errorOutput].",
        ),
        (
            json!({"definition": map}),
            "InvalidDefinition: TestState API does not support Map or Parallel states. Supported state types include: [Task, \
             Wait, Pass, Succeed, Fail, Choice]",
        ),
        (
            json!({"definition": task, "mock": {"result": "1"}, "revealSecrets": true}),
            "ValidationException: TestState does not support RevealSecrets when a mock is specified.",
        ),
        (
            json!({"definition": map, "mock": {"result": "1"}}),
            "ValidationException: Mocked result must be an array.",
        ),
        (
            json!({"definition": parallel, "mock": {"result": "{}"}}),
            "ValidationException: Mocked result must be an array.",
        ),
        (
            json!({"definition": parallel, "mock": {"result": "[1]"}}),
            "ValidationException: Mocked result must contain the same number of items as number of Parallel branches.",
        ),
        (
            in_context(json!({"Execution": {"Id": 1}})),
            "ValidationException: Invalid Context object provided: Execution.Id must be a string",
        ),
        (
            in_context(json!({"Map": {}})),
            "ValidationException: Invalid Context object provided: 'Map' field is not supported when mocking a Context object",
        ),
        (
            in_context(json!({"Execution": {"pokemon": 1}})),
            "ValidationException: Invalid Context object provided: Field 'pokemon' is not allowed",
        ),
        (
            in_context(json!({"Pokedex": {}})),
            "ValidationException: Invalid Context object provided: Field 'Pokedex' is not allowed",
        ),
        (
            in_context(json!({"Task": {"Token": "t"}})),
            "ValidationException: Invalid Context object provided: Context object contains 'Task' when state is not a Task \
             state with a '.sync' or '.waitForTaskToken' service integration pattern",
        ),
    ] {
        assert_eq!(test(request).await.unwrap_err(), expected);
    }
    assert!(
        test(json!({"definition": {"Type": "Pass"}}))
            .await
            .unwrap_err()
            .starts_with("InvalidDefinition: ")
    );
}

/// What recordings of the service show of failed iterations, and items that a reader has read.
#[tokio::test]
async fn iterations_of_mocked_maps_fail_and_items_are_read() {
    let (server, _folder) = server().await;
    let test = async |state: Value, mock: Value, configuration: Value| {
        let request = json!({
            "definition": state.to_string(), "input": r#"{"l": [1, 2, 3], "most": 1}"#, "mock": mock,
            "stateConfiguration": configuration, "inspectionLevel": "DEBUG",
        });
        call(&server, "TestState", request)
            .await
            .map_err(|error| error.to_string())
    };
    let map = |more: Value| {
        let mut map = json!({"Type": "Map", "ItemsPath": "$.l", "End": true,
            "ItemProcessor": {"StartAt": "P", "States": {"P": {"Type": "Pass", "End": true}}}});
        for (member, value) in more.as_object().unwrap() {
            map[member] = value.clone();
        }
        if map.get("ItemReader").is_some() || more.to_string().contains("Tolerated") {
            map["ItemProcessor"]["ProcessorConfig"] =
                json!({"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"});
        }
        map
    };
    let result = json!({"result": "[0,0,1]"});
    let threshold = json!("States.ExceedToleratedFailureThreshold");
    for (more, failures, status) in [
        // It does not say what it tolerates.
        (json!({}), 2, "SUCCEEDED"),
        (json!({"ToleratedFailureCount": 1}), 0, "SUCCEEDED"),
        (json!({"ToleratedFailureCount": 1}), 1, "SUCCEEDED"),
        (json!({"ToleratedFailureCount": 1}), 2, "FAILED"),
        (json!({"ToleratedFailureCountPath": "$.most"}), 1, "SUCCEEDED"),
        (json!({"ToleratedFailureCountPath": "$.most"}), 2, "FAILED"),
        (json!({"ToleratedFailurePercentage": 34}), 1, "SUCCEEDED"),
        (json!({"ToleratedFailurePercentage": 33}), 1, "FAILED"),
    ] {
        let tested = test(
            map(more.clone()),
            result.clone(),
            json!({"mapIterationFailureCount": failures}),
        );
        let tested = tested.await.unwrap();
        assert_eq!(tested["status"], status, "{more} {failures}: {tested}");
        if status == "FAILED" {
            assert_eq!(tested["error"], threshold);
            assert_eq!(
                tested["cause"],
                "The specified tolerated failure threshold was exceeded"
            );
        }
    }
    let computed = json!({"Type": "Map", "QueryLanguage": "JSONata", "Items": "{% $states.input.l %}", "End": true,
        "ToleratedFailureCount": "{% $states.input.most %}",
        "ItemProcessor": {"ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"},
            "StartAt": "P", "States": {"P": {"Type": "Pass", "End": true}}}});
    let failed = test(computed, result.clone(), json!({"mapIterationFailureCount": 2})).await;
    assert_eq!(failed.unwrap()["error"], threshold);
    let caught = map(json!({"ToleratedFailureCount": 1,
        "Catch": [{"ErrorEquals": ["E"], "Next": "A"}, {"ErrorEquals": [threshold], "Next": "B"}]}));
    let tested = test(caught, result.clone(), json!({"mapIterationFailureCount": 2}))
        .await
        .unwrap();
    assert_eq!(
        (&tested["status"], &tested["nextState"]),
        (&json!("CAUGHT_ERROR"), &json!("B"))
    );
    assert_eq!(tested["inspectionData"]["errorDetails"], json!({"catchIndex": 1}));
    assert_eq!(tested["inspectionData"]["toleratedFailureCount"], 1);
    // The mocked error comes first, wherever it comes from.
    let error = json!({"errorOutput": {"error": "E", "cause": "c"}});
    let both = json!({"mapIterationFailureCount": 2, "errorCausedByState": "P"});
    let tested = test(map(json!({"ToleratedFailureCount": 1})), error.clone(), both)
        .await
        .unwrap();
    assert_eq!((&tested["error"], &tested["cause"]), (&json!("E"), &json!("c")));

    let reader = |input_type: Value| {
        let mut reader = json!({"Resource": "arn:aws:states:::s3:getObject", "ReaderConfig": input_type,
            "Parameters": {"Bucket": "b", "Key": "k"}});
        if reader["ReaderConfig"]["InputType"] == "CSV" {
            reader["ReaderConfig"]["CSVHeaderLocation"] = "FIRST_ROW".into();
        }
        let mut map = map(json!({"ItemReader": reader, "ItemSelector": {"v.$": "$$.Map.Item.Value"}}));
        map.as_object_mut().unwrap().remove("ItemsPath");
        map
    };
    for (input_type, data, items) in [
        ("JSON", "[1, 2]", r#"[{"v":1},{"v":2}]"#),
        (
            "JSONL",
            "{\"a\": 1}\n{\"a\": 2}\n",
            r#"[{"v":{"a":1}},{"v":{"a":2}}]"#,
        ),
        ("CSV", "a,b\n1,2\n", r#"[{"v":{"a":"1","b":"2"}}]"#),
    ] {
        let configuration = json!({"mapItemReaderData": data});
        let map = reader(json!({"InputType": input_type}));
        let tested = test(map, result.clone(), configuration).await.unwrap();
        assert_eq!(tested["status"], "SUCCEEDED", "{tested}");
        assert_eq!(
            tested["inspectionData"]["afterItemSelector"], items,
            "{input_type}"
        );
    }
    let unread = test(reader(json!({"InputType": "JSON"})), result.clone(), json!({}))
        .await
        .unwrap();
    assert_eq!(unread["inspectionData"].get("afterItemSelector"), None);

    let pass =
        json!({"Type": "Task", "Resource": "arn:aws:lambda:us-east-1:000000000000:function:f", "End": true});
    for (state, mock, configuration, member) in [
        (
            pass,
            result.clone(),
            json!({"mapIterationFailureCount": 1}),
            "mapIterationFailureCount",
        ),
        (
            map(json!({})),
            result.clone(),
            json!({"mapItemReaderData": "[]"}),
            "mapItemReaderData",
        ),
        (
            map(json!({})),
            result.clone(),
            json!({"errorCausedByState": "P"}),
            "errorCausedByState",
        ),
    ] {
        let refused = test(state, mock, configuration).await.unwrap_err();
        let wanted = format!(
            "ValidationException: stateConfiguration.{member} is not supported for this state and mock: "
        );
        assert!(refused.starts_with(&wanted), "{refused}");
    }
}

#[tokio::test]
async fn mocked_results_are_held_against_their_api() {
    let (server, _folder) = server().await;
    let test = async |state: Value, mode: &str, mock: Value| {
        let mut request = json!({"definition": state.to_string(), "mock": mock});
        if !mode.is_empty() {
            request["mock"]["fieldValidationMode"] = mode.into();
        }
        match call(&server, "TestState", request).await {
            Ok(tested) => text(&tested["status"]),
            Err(error) => error.to_string(),
        }
    };
    let task = |call: &str| json!({"Type": "Task", "Resource": format!("arn:aws:states:::{call}"), "Parameters": {}, "End": true});
    let error = |what: &str| format!("ValidationException: Mock result schema validation error: {what}");
    let missing = |name: &str| error(&format!("Required field '{name}' is missing"));
    let kind = |name: &str, wanted: &str| error(&format!("Field '{name}' must be {wanted}"));
    let succeeded = || "SUCCEEDED".to_owned();
    for (call, mode, result, expected) in [
        (
            "states:startExecution",
            "STRICT",
            json!({"ExecutionArn": "a", "StartDate": "d"}),
            succeeded(),
        ),
        (
            "states:startExecution",
            "STRICT",
            json!({"ExecutionArn": "a"}),
            missing("StartDate"),
        ),
        (
            "states:startExecution",
            "PRESENT",
            json!({"ExecutionArn": "a"}),
            succeeded(),
        ),
        (
            "states:startExecution",
            "PRESENT",
            json!({"StartDate": true}),
            kind("StartDate", "a string"),
        ),
        (
            "states:startExecution",
            "NONE",
            json!({"StartDate": true}),
            succeeded(),
        ),
        (
            "aws-sdk:sfn:startExecution",
            "STRICT",
            json!({}),
            missing("ExecutionArn"),
        ),
        (
            "lambda:invoke",
            "STRICT",
            json!({"Payload": {"a": 1}}),
            kind("Payload", "a string"),
        ),
        (
            "lambda:invoke",
            "STRICT",
            json!({"StatusCode": "200"}),
            kind("StatusCode", "a number"),
        ),
        (
            "lambda:invoke",
            "STRICT",
            json!({"Payload": "{}", "StatusCode": 200, "Other": [1]}),
            succeeded(),
        ),
        (
            "events:putEvents",
            "PRESENT",
            json!({"Entries": {}}),
            kind("Entries", "an array"),
        ),
        (
            "events:putEvents",
            "PRESENT",
            json!({"Entries": [{"EventId": 1}]}),
            kind("EventId", "a string"),
        ),
        (
            "sagemaker:createModel",
            "STRICT",
            json!({"ModelArn": "a"}),
            succeeded(),
        ),
        ("sagemaker:createModel", "STRICT", json!({}), missing("ModelArn")),
        // STRICT is the default.
        ("sagemaker:createModel", "", json!({}), missing("ModelArn")),
        (
            "sagemaker:createModel",
            "",
            json!({"ModelArn": 1}),
            kind("ModelArn", "a string"),
        ),
        (
            "sagemaker:createTrainingJob.sync",
            "",
            json!({"Any": 1}),
            succeeded(),
        ),
        (
            "sagemaker:createModel",
            "STRICT",
            json!([]),
            "ValidationException: Mocked result must be a JSON object.".to_owned(),
        ),
    ] {
        let mock = json!({"result": result.to_string()});
        assert_eq!(
            test(task(call), mode, mock).await,
            expected,
            "{call} {mode} {result}"
        );
    }
    // There is nothing to hold them against.
    let failure = json!({"errorOutput": {"error": "E"}});
    assert_eq!(
        test(task("sagemaker:createModel"), "STRICT", failure).await,
        "FAILED"
    );
    let function = "arn:aws:lambda:us-east-1:000000000000:function:f";
    let function = json!({"Type": "Task", "Resource": function, "End": true});
    assert_eq!(
        test(function, "STRICT", json!({"result": "1"})).await,
        "SUCCEEDED"
    );
    let unknown = test(
        task("sagemaker:createTrainingJob.sync"),
        "STRICT",
        json!({"result": "{}"}),
    )
    .await;
    assert!(unknown.ends_with("by aws-local."), "{unknown}");
}

#[tokio::test]
async fn definitions_are_validated() {
    let (server, _folder) = server().await;
    let validate = async |definition: Value, more: Value| {
        let mut request = more;
        request["definition"] = definition.to_string().into();
        ok(&server, "ValidateStateMachineDefinition", request).await
    };
    assert_eq!(
        validate(pass(), json!({})).await,
        json!({"result": "OK", "diagnostics": [], "truncated": false})
    );
    let bad = of(
        json!({"A": {"Type": "Pass", "Next": "X"}, "B": {"Type": "Pass", "Next": "Y"}, "C": {"Type": "Nothing"}}),
    );
    let all = validate(bad.clone(), json!({})).await;
    assert_eq!(all["result"], "FAIL");
    let diagnostics = all["diagnostics"].as_array().unwrap();
    assert!(
        diagnostics.len() > 2
            && diagnostics
                .iter()
                .all(|diagnostic| diagnostic["severity"] == "ERROR")
    );
    let one = validate(bad, json!({"maxResults": 1})).await;
    assert_eq!(
        (one["diagnostics"].as_array().unwrap().len(), &one["truncated"]),
        (1, &json!(true))
    );
    let odd = of(json!({"A": {"Type": "Pass", "Parameters": {"a": "$.b"}, "End": true}}));
    assert_eq!(validate(odd.clone(), json!({})).await["diagnostics"], json!([]));
    let warned = validate(odd, json!({"severity": "WARNING"})).await;
    assert_eq!(
        (&warned["result"], &warned["diagnostics"][0]["severity"]),
        (&json!("OK"), &json!("WARNING"))
    );
}

/// The wait is as long as the clock says.
#[tokio::test]
async fn time_is_an_argument() {
    let folder = TempDir::new().unwrap();
    let clock = aws_local::VirtualClock::new("2026-01-31T12:00:00Z".parse().unwrap());
    let builder = Server::builder(folder.path()).clock(std::sync::Arc::new(clock.clone()));
    let server = builder.wait_time_scale(0.5).start().await.unwrap();
    let wait = of(json!({"W": {"Type": "Wait", "Seconds": 7200, "End": true}}));
    let arn = machine(&server, "m", &wait).await;
    let execution = start(&server, &arn, json!({})).await;
    let described = eventually(|| async {
        tokio::time::sleep(Duration::from_millis(1)).await;
        clock.advance_to_next();
        let described = ok(&server, "DescribeExecution", json!({"executionArn": execution})).await;
        (described["status"] != "RUNNING").then_some(described)
    })
    .await;
    let took = described["stopDate"].as_f64().unwrap() - described["startDate"].as_f64().unwrap();
    assert_eq!(took, 3600.0);
}

/// Folders of version 0.1.0 had a file for each machine and execution.
#[tokio::test]
async fn machines_and_executions_in_files_move_into_the_database() {
    let folder = TempDir::new().unwrap();
    let states = folder.path().join("states");
    for part in ["machines", "executions", "histories"] {
        std::fs::create_dir_all(states.join(part)).unwrap();
    }
    let arn = "arn:aws:states:us-east-1:000000000000:stateMachine:m";
    let wait = of(json!({"W": {"Type": "Wait", "Seconds": 600, "End": true}})).to_string();
    let record = json!({"name": "m", "arn": arn, "definition": wait, "role_arn": ROLE, "created": 1.5, "updated": 1.5, "revision": "r"});
    std::fs::write(states.join("machines/m.json"), record.to_string()).unwrap();
    let execution = "arn:aws:states:us-east-1:000000000000:execution:m:e";
    let record = json!({"arn": execution, "name": "e", "machine_arn": arn, "machine_name": "m", "definition": wait, "role_arn": ROLE,
        "status": "RUNNING", "input": "{}", "output": null, "error": null, "cause": null, "started": 2.5, "stopped": null});
    std::fs::write(states.join("executions/e.json"), record.to_string()).unwrap();
    let events = [
        json!({"timestamp": 2.5, "type": "ExecutionStarted", "id": 1, "previousEventId": 0,
            "executionStartedEventDetails": {"input": "{}", "inputDetails": {"truncated": false}, "roleArn": ROLE}}),
        json!({"timestamp": 2.5, "type": "WaitStateEntered", "id": 2, "previousEventId": 0,
            "stateEnteredEventDetails": {"name": "W", "input": "{}", "inputDetails": {"truncated": false}}}),
    ];
    // The last line was cut off.
    let lines = format!("{}\n{}\n{{\"times", events[0], events[1]);
    std::fs::write(states.join("histories/e%3Am.jsonl"), lines).unwrap();
    let server = Server::builder(folder.path()).start().await.unwrap();
    let described = ok(&server, "DescribeStateMachine", json!({"stateMachineArn": arn})).await;
    assert_eq!(
        (&described["definition"], &described["creationDate"]),
        (&json!(wait), &json!(1.5))
    );
    let described = ok(&server, "DescribeExecution", json!({"executionArn": execution})).await;
    assert_eq!(
        (&described["status"], &described["startDate"]),
        (&json!("ABORTED"), &json!(2.5))
    );
    assert_eq!(
        types(&server, execution).await,
        ["ExecutionStarted", "WaitStateEntered", "ExecutionAborted"]
    );
    assert!(!states.join("machines").exists() && !states.join("histories").exists());
}

/// What has ended well is not done again: neither by a redrive nor by a restart.
#[tokio::test]
async fn map_runs_go_on_with_their_children() {
    let world = World::new().await;
    let late = "arn:aws:states:us-east-1:000000000000:stateMachine:late";
    let activity = text(&ok(&world.server, "CreateActivity", json!({"name": "a"})).await["activityArn"]);
    let definition = of(json!({"M": {
        "Type": "Map",
        "MaxConcurrency": 1,
        "ItemProcessor": {"ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}, "StartAt": "C", "States": {
            "C": {"Type": "Choice", "Default": "P", "Choices": [
                {"Variable": "$", "NumericEquals": 2, "Next": "T"},
                {"Variable": "$", "NumericEquals": 3, "Next": "A"},
            ]},
            "P": {"Type": "Pass", "End": true},
            "T": {"Type": "Task", "Resource": "arn:aws:states:::states:startExecution.sync:2",
                "Parameters": {"StateMachineArn": late}, "ResultSelector": {"status.$": "$.Status"}, "End": true},
            "A": {"Type": "Task", "Resource": activity, "End": true},
        }},
        "End": true,
    }}));
    let arn = machine(&world.server, "m", &definition).await;
    let execution = start(&world.server, &arn, json!([1, 2, 3])).await;
    let failed = ended(&world.server, &execution).await;
    assert_eq!(failed["error"], "States.ExceedToleratedFailureThreshold");
    machine(&world.server, "late", &pass()).await;
    ok(
        &world.server,
        "RedriveExecution",
        json!({"executionArn": execution}),
    )
    .await;
    let take = json!({"activityArn": activity});
    let task = ok(&world.server, "GetActivityTask", take.clone()).await;
    // The third child is at work when the server stops.
    let world = world.restart().await;
    let again = ok(&world.server, "GetActivityTask", take).await;
    assert_eq!(again["taskToken"], task["taskToken"]);
    ok(
        &world.server,
        "SendTaskSuccess",
        json!({"taskToken": again["taskToken"], "output": "3"}),
    )
    .await;
    let described = ended(&world.server, &execution).await;
    assert_eq!(
        described["output"], r#"[1,{"status":"SUCCEEDED"},3]"#,
        "{described}"
    );
    assert_eq!(
        types(&world.server, &execution).await,
        [
            "ExecutionStarted",
            "MapStateEntered",
            "MapStateStarted",
            "MapRunStarted",
            "MapRunFailed",
            "MapStateFailed",
            "ExecutionFailed",
            "ExecutionRedriven",
            "MapRunRedriven",
            "MapRunSucceeded",
            "MapStateSucceeded",
            "MapStateExited",
            "ExecutionSucceeded"
        ]
    );
    let runs = ok(&world.server, "ListMapRuns", json!({"executionArn": execution})).await;
    assert_eq!(runs["mapRuns"].as_array().unwrap().len(), 1);
    let run = json!({"mapRunArn": runs["mapRuns"][0]["mapRunArn"]});
    let children = ok(&world.server, "ListExecutions", run).await;
    let mut histories = Vec::new();
    for child in children["executions"].as_array().unwrap() {
        assert_eq!(child["status"], "SUCCEEDED");
        let arn = text(&child["executionArn"]);
        let input =
            ok(&world.server, "DescribeExecution", json!({"executionArn": arn})).await["input"].clone();
        let events = types(&world.server, &arn).await;
        let count = |name: &str| events.iter().filter(|event| *event == name).count();
        histories.push((
            text(&input),
            count("ExecutionStarted"),
            count("ExecutionRedriven"),
            count("ActivityScheduled"),
        ));
    }
    histories.sort();
    assert_eq!(
        histories,
        [
            ("1".to_owned(), 1, 0, 0),
            ("2".to_owned(), 1, 1, 0),
            ("3".to_owned(), 1, 0, 1)
        ]
    );
}

#[tokio::test]
async fn a_transform_job_is_waited_for() {
    let world = World::new().await;
    world.bucket_with_data().await;
    let archive = world.trained("job").await;
    world.model("model", &archive).await;
    let source = json!({"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://data/train/"}});
    let parameters = json!({
        "TransformJobName": "scores",
        "ModelName.$": "$.model",
        "TransformInput": {"DataSource": source, "ContentType": "text/csv", "SplitType": "Line"},
        "TransformOutput": {"S3OutputPath": "s3://data/out"},
        "TransformResources": {"InstanceType": "ml.m5.large", "InstanceCount": 1},
    });
    let state = json!({"Type": "Task", "Resource": "arn:aws:states:::sagemaker:createTransformJob.sync",
        "Parameters": parameters, "End": true});
    let arn = machine(&world.server, "m", &of(json!({"T": state}))).await;
    let execution = start(&world.server, &arn, json!({"model": "model"})).await;
    let described = ended(&world.server, &execution).await;
    assert_eq!(described["status"], "SUCCEEDED", "{described}");
    let output: Value = serde_json::from_str(described["output"].as_str().unwrap()).unwrap();
    assert_eq!(output["TransformJobStatus"], "Completed");
    // Dates are milliseconds.
    assert!(output["CreationTime"].as_f64().unwrap() > 1e12);
    assert!(
        types(&world.server, &execution)
            .await
            .contains(&"TaskSubmitted".to_owned())
    );
    // The name is taken.
    let execution = start(&world.server, &arn, json!({"model": "model"})).await;
    assert_eq!(ended(&world.server, &execution).await["status"], "FAILED");
    assert!(
        types(&world.server, &execution)
            .await
            .contains(&"TaskSubmitFailed".to_owned())
    );
}

/// Opens the database of a server's folder.
fn database(folder: &TempDir) -> Connection {
    Connection::open(folder.path().join("records.sqlite3")).unwrap()
}

#[tokio::test]
async fn a_machine_goes_with_its_last_execution() {
    let (server, folder) = server().await;
    let activity = text(&ok(&server, "CreateActivity", json!({"name": "a"})).await["activityArn"]);
    let definition = of(json!({
        "T": {"Type": "Task", "Resource": activity, "Next": "P"},
        "P": {"Type": "Pass", "End": true},
    }));
    let create = json!({"name": "m", "roleArn": ROLE, "definition": definition.to_string(), "publish": true});
    let created = ok(&server, "CreateStateMachine", create.clone()).await;
    let arn = text(&created["stateMachineArn"]);
    let version = text(&created["stateMachineVersionArn"]);
    assert_eq!(
        refused(&server, "DeleteStateMachine", json!({"stateMachineArn": version})).await,
        format!("ValidationException: This operation does not support qualified ARNs: '{version}'")
    );
    let take = || ok(&server, "GetActivityTask", json!({"activityArn": activity}));
    let ended_first = start(&server, &arn, json!({})).await;
    let task = take().await;
    let running = start(&server, &arn, json!({})).await;
    take().await;
    for _ in 0..2 {
        ok(&server, "DeleteStateMachine", json!({"stateMachineArn": arn})).await;
    }
    let described = ok(&server, "DescribeStateMachine", json!({"stateMachineArn": arn})).await;
    assert_eq!(described["status"], "DELETING");
    let deleting = format!("StateMachineDeleting: State Machine is being deleted: '{arn}'");
    let update = json!({"stateMachineArn": arn, "definition": pass().to_string()});
    for (operation, input) in [
        ("StartExecution", json!({"stateMachineArn": arn})),
        ("CreateStateMachine", create),
        ("UpdateStateMachine", update),
        ("PublishStateMachineVersion", json!({"stateMachineArn": arn})),
    ] {
        assert_eq!(refused(&server, operation, input).await, deleting, "{operation}");
    }
    let versions = ok(
        &server,
        "ListStateMachineVersions",
        json!({"stateMachineArn": arn}),
    )
    .await;
    assert_eq!(versions["stateMachineVersions"], json!([]));
    // It comes to no other state.
    let answer = json!({"taskToken": task["taskToken"], "output": "{}"});
    ok(&server, "SendTaskSuccess", answer).await;
    let failed = ended(&server, &ended_first).await;
    assert_eq!(
        (text(&failed["error"]), text(&failed["cause"])),
        (
            "States.Runtime".to_owned(),
            "State machine m has been deleted.".to_owned()
        )
    );
    assert_eq!(
        types(&server, &ended_first).await[4..],
        ["ActivitySucceeded", "TaskStateExited", "ExecutionFailed"]
    );
    // Over a restart, too.
    server.shutdown().await;
    let server = Server::builder(folder.path()).start().await.unwrap();
    let described = ok(&server, "DescribeStateMachine", json!({"stateMachineArn": arn})).await;
    assert_eq!(described["status"], "DELETING");
    let task = ok(&server, "GetActivityTask", json!({"activityArn": activity})).await;
    let answer = json!({"taskToken": task["taskToken"], "output": "{}"});
    ok(&server, "SendTaskSuccess", answer).await;
    assert_eq!(ended(&server, &running).await["error"], "States.Runtime");
    let missing = format!("StateMachineDoesNotExist: State Machine Does Not Exist: '{arn}'");
    eventually(|| async {
        let described = call(&server, "DescribeStateMachine", json!({"stateMachineArn": arn})).await;
        (described.err()?.to_string() == missing).then_some(())
    })
    .await;
    assert!(
        refused(&server, "RedriveExecution", json!({"executionArn": running}))
            .await
            .starts_with("ExecutionNotRedrivable: ")
    );
    // Its executions are not those of another that gets its name.
    machine(&server, "m", &pass()).await;
    let listed = ok(&server, "ListExecutions", json!({"stateMachineArn": arn})).await;
    assert_eq!(listed["executions"], json!([]));
}

#[tokio::test]
async fn an_operation_happens_as_a_whole_or_not_at_all() {
    let (server, folder) = server().await;
    let refuse = |what: &str, collection: &str| {
        let row = if what == "DELETE" { "OLD" } else { "NEW" };
        database(&folder)
            .execute_batch(&format!(
                "CREATE TRIGGER refuse BEFORE {what} ON records WHEN {row}.collection LIKE '%/{collection}'
                 BEGIN SELECT RAISE(ABORT, 'refused'); END"
            ))
            .unwrap();
    };
    let allow = || database(&folder).execute_batch("DROP TRIGGER refuse").unwrap();
    let refused_by_disk = "InternalFailure: the data folder cannot be used: refused";
    // CreateStateMachine
    refuse("INSERT", "tags");
    let tags = json!([{"key": "k", "value": "v"}]);
    let mut create = json!({"name": "m", "roleArn": ROLE, "definition": pass().to_string(), "tags": tags});
    let error = refused(&server, "CreateStateMachine", create.clone()).await;
    assert_eq!(error, refused_by_disk);
    let activity = json!({"name": "a", "tags": tags});
    assert_eq!(
        refused(&server, "CreateActivity", activity).await,
        refused_by_disk
    );
    allow();
    refuse("INSERT", "versions");
    create["publish"] = json!(true);
    assert_eq!(
        refused(&server, "CreateStateMachine", create.clone()).await,
        refused_by_disk
    );
    let nothing = |server: &'static str| json!({ server: [] });
    assert_eq!(
        ok(&server, "ListStateMachines", json!({})).await,
        nothing("stateMachines")
    );
    assert_eq!(
        ok(&server, "ListActivities", json!({})).await,
        nothing("activities")
    );
    // UpdateStateMachine
    let arn = machine(&server, "m", &pass()).await;
    let other = of(json!({"Q": {"Type": "Pass", "End": true}}));
    let update = json!({"stateMachineArn": arn, "definition": other.to_string(), "publish": true});
    assert_eq!(
        refused(&server, "UpdateStateMachine", update.clone()).await,
        refused_by_disk
    );
    let described = ok(&server, "DescribeStateMachine", json!({"stateMachineArn": arn})).await;
    assert_eq!(described["definition"], pass().to_string());
    allow();
    // The number was not taken.
    let updated = ok(&server, "UpdateStateMachine", update).await;
    assert_eq!(updated["stateMachineVersionArn"], format!("{arn}:1"));
    // DeleteStateMachine
    refuse("DELETE", "state-machines");
    assert_eq!(
        refused(&server, "DeleteStateMachine", json!({"stateMachineArn": arn})).await,
        refused_by_disk
    );
    let versions = ok(
        &server,
        "ListStateMachineVersions",
        json!({"stateMachineArn": arn}),
    )
    .await;
    assert_eq!(versions["stateMachineVersions"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn revisions_that_nothing_has_are_gone() {
    let (server, folder) = server().await;
    let revisions = || {
        let count = "SELECT COUNT(*) FROM records WHERE collection LIKE '%/revisions'";
        database(&folder)
            .query_row(count, [], |row| row.get::<_, u64>(0))
            .unwrap()
    };
    let arn = machine(&server, "m", &pass()).await;
    let number = std::cell::Cell::new(0);
    let update = |publish: bool| {
        number.set(number.get() + 1);
        let other = of(json!({"P": {"Type": "Pass", "Result": number.get(), "End": true}}));
        json!({"stateMachineArn": arn, "definition": other.to_string(), "publish": publish})
    };
    for _ in 0..5 {
        ok(&server, "UpdateStateMachine", update(false)).await;
    }
    assert_eq!(revisions(), 1);
    let execution = start(&server, &arn, json!({})).await;
    ended(&server, &execution).await;
    let published = ok(&server, "UpdateStateMachine", update(true)).await;
    ok(&server, "UpdateStateMachine", update(false)).await;
    assert_eq!(revisions(), 3);
    let version = json!({"stateMachineVersionArn": published["stateMachineVersionArn"]});
    ok(&server, "DeleteStateMachineVersion", version).await;
    assert_eq!(revisions(), 2);
    ok(&server, "DeleteStateMachine", json!({"stateMachineArn": arn})).await;
    assert_eq!(revisions(), 1);
    let of_execution = json!({"executionArn": execution});
    let described = ok(&server, "DescribeStateMachineForExecution", of_execution).await;
    assert!(
        text(&described["definition"]).contains("\"Result\":5"),
        "{described}"
    );
}

/// A folder of the form before the executions' revisions had a column of their own.
#[tokio::test]
async fn revisions_of_earlier_executions_are_found() {
    let (server, folder) = server().await;
    let arn = machine(&server, "m", &pass()).await;
    let execution = start(&server, &arn, json!({})).await;
    ended(&server, &execution).await;
    server.shutdown().await;
    database(&folder)
        .execute_batch(
            "DROP INDEX executions_of_revision;
             ALTER TABLE executions DROP COLUMN revision;
             PRAGMA user_version = 1;",
        )
        .unwrap();
    let server = Server::builder(folder.path()).start().await.unwrap();
    let other = of(json!({"P": {"Type": "Pass", "Result": 1, "End": true}}));
    let update = json!({"stateMachineArn": arn, "definition": other.to_string()});
    ok(&server, "UpdateStateMachine", update).await;
    let of_execution = json!({"executionArn": execution});
    let described = ok(&server, "DescribeStateMachineForExecution", of_execution).await;
    assert_eq!(described["definition"], pass().to_string());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_machine_is_there_while_it_is_updated() {
    let (server, _folder) = server().await;
    let server = Arc::new(server);
    let arn = machine(&server, "m", &pass()).await;
    let updates = 300;
    let update = {
        let (server, arn) = (server.clone(), arn.clone());
        tokio::spawn(async move {
            for number in 0..updates {
                let other = of(json!({"P": {"Type": "Pass", "Result": number, "End": true}}));
                let update =
                    json!({"stateMachineArn": arn, "definition": other.to_string(), "publish": true});
                let published = ok(&server, "UpdateStateMachine", update).await;
                let version = json!({"stateMachineVersionArn": published["stateMachineVersionArn"]});
                ok(&server, "DeleteStateMachineVersion", version).await;
            }
        })
    };
    let others = ["StartExecution", "DescribeStateMachine", "StartExecution"].map(|operation| {
        let (server, arn) = (server.clone(), arn.clone());
        tokio::spawn(async move {
            let mut executions = Vec::new();
            for _ in 0..updates {
                let answer = ok(&server, operation, json!({"stateMachineArn": arn})).await;
                executions.extend(answer["executionArn"].as_str().map(str::to_owned));
            }
            executions
        })
    });
    update.await.unwrap();
    for other in others {
        for execution in other.await.unwrap() {
            let described = ended(&server, &execution).await;
            assert_eq!(described["status"], "SUCCEEDED", "{described}");
            let of_execution = json!({"executionArn": execution});
            ok(&server, "DescribeStateMachineForExecution", of_execution).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn requests_to_redrive_at_once_have_one_answer() {
    let (server, _folder) = server().await;
    let server = Arc::new(server);
    let activity = text(&ok(&server, "CreateActivity", json!({"name": "a"})).await["activityArn"]);
    let definition = of(json!({"T": {"Type": "Task", "Resource": activity, "End": true}}));
    let arn = machine(&server, "m", &definition).await;
    let execution = start(&server, &arn, json!({})).await;
    for round in 0..60 {
        ok(&server, "StopExecution", json!({"executionArn": execution})).await;
        let redrive = json!({"executionArn": execution, "clientToken": format!("t{round}")});
        let all_are_there = Arc::new(Barrier::new(8));
        let requests: Vec<_> = (0..8)
            .map(|_| {
                let (server, redrive) = (server.clone(), redrive.clone());
                let (all_are_there, runtime) = (all_are_there.clone(), Handle::current());
                tokio::task::spawn_blocking(move || {
                    all_are_there.wait();
                    runtime.block_on(ok(&server, "RedriveExecution", redrive))
                })
            })
            .collect();
        let mut dates = Vec::new();
        for request in requests {
            dates.push(request.await.unwrap()["redriveDate"].clone());
        }
        dates.dedup();
        assert_eq!(dates.len(), 1, "{dates:?}");
        let described = ok(&server, "DescribeExecution", json!({"executionArn": execution})).await;
        assert_eq!(described["redriveCount"], round + 1);
    }
}

#[tokio::test]
async fn pages_leave_nothing_out_when_something_goes() {
    let (server, _folder) = server().await;
    for number in 0..6 {
        machine(&server, &format!("m{number}"), &pass()).await;
        ok(&server, "CreateActivity", json!({"name": format!("a{number}")})).await;
    }
    let page = |operation: &'static str, token: Value| {
        ok(&server, operation, json!({"maxResults": 2, "nextToken": token}))
    };
    let names = |page: &Value, list: &str| -> Vec<String> {
        let entries = page[list].as_array().unwrap();
        entries.iter().map(|entry| text(&entry["name"])).collect()
    };
    let first = page("ListStateMachines", Value::Null).await;
    assert_eq!(names(&first, "stateMachines"), ["m0", "m1"]);
    let gone = first["stateMachines"][0]["stateMachineArn"].clone();
    ok(&server, "DeleteStateMachine", json!({"stateMachineArn": gone})).await;
    let second = page("ListStateMachines", first["nextToken"].clone()).await;
    assert_eq!(names(&second, "stateMachines"), ["m2", "m3"]);
    let third = page("ListStateMachines", second["nextToken"].clone()).await;
    assert_eq!(names(&third, "stateMachines"), ["m4", "m5"]);
    assert_eq!(third["nextToken"], Value::Null);
    let first = page("ListActivities", Value::Null).await;
    let gone = first["activities"][1]["activityArn"].clone();
    ok(&server, "DeleteActivity", json!({"activityArn": gone})).await;
    let second = page("ListActivities", first["nextToken"].clone()).await;
    assert_eq!(names(&second, "activities"), ["a2", "a3"]);
    assert_eq!(
        refused(&server, "ListActivities", json!({"nextToken": "?"})).await,
        "InvalidToken: Invalid Token: '?'"
    );
}

#[tokio::test]
async fn what_recordings_of_the_service_show() {
    let (server, _folder) = server().await;
    let arn = machine(&server, "m", &pass()).await;
    // Nothing but the publication of what is there.
    for _ in 0..2 {
        let publish = json!({"stateMachineArn": arn, "publish": true});
        let updated = ok(&server, "UpdateStateMachine", publish).await;
        assert_eq!(updated["stateMachineVersionArn"], format!("{arn}:1"));
        assert_eq!(updated.get("revisionId"), None);
    }
    assert!(
        refused(&server, "UpdateStateMachine", json!({"stateMachineArn": arn}))
            .await
            .starts_with("MissingRequiredParameter: ")
    );
    // The same again is no new revision.
    let other = of(json!({"Q": {"Type": "Pass", "End": true}}));
    let update = json!({"stateMachineArn": arn, "definition": other.to_string()});
    let first = ok(&server, "UpdateStateMachine", update.clone()).await;
    let second = ok(&server, "UpdateStateMachine", update).await;
    assert!(first["revisionId"].is_string());
    assert_eq!(first["revisionId"], second["revisionId"]);
    // In the order of names.
    machine(&server, "m_12", &pass()).await;
    machine(&server, "m_1_", &pass()).await;
    machine(&server, "a", &pass()).await;
    let listed = ok(&server, "ListStateMachines", json!({})).await;
    let names: Vec<String> = listed["stateMachines"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| text(&m["name"]))
        .collect();
    assert_eq!(names, ["a", "m", "m_12", "m_1_"]);
    assert_eq!(
        refused(
            &server,
            "ListExecutions",
            json!({"stateMachineArn": arn, "statusFilter": "succeeded"})
        )
        .await,
        "ValidationException: 1 validation error detected: Value 'succeeded' at 'statusFilter' failed to satisfy \
         constraint: Member must satisfy enum value set: [SUCCEEDED, TIMED_OUT, PENDING_REDRIVE, ABORTED, FAILED, RUNNING]"
    );
    for (operation, mut input, most) in [
        ("ListStateMachines", json!({}), 1024),
        ("ListExecutions", json!({"stateMachineArn": arn}), 3096),
    ] {
        input["nextToken"] = "x".repeat(most + 1).into();
        let said = refused(&server, operation, input).await;
        let length = format!("Member must have length less than or equal to {most}");
        assert!(
            said.starts_with("ValidationException: ") && said.ends_with(&length),
            "{said}"
        );
    }
    // An execution that is stopped.
    let waits = of(json!({"W": {"Type": "Wait", "Seconds": 60, "End": true}}));
    let waits = machine(&server, "waits", &waits).await;
    let execution = start(&server, &waits, json!({})).await;
    eventually(|| async { (types(&server, &execution).await.len() == 2).then_some(()) }).await;
    ok(&server, "StopExecution", json!({"executionArn": execution})).await;
    let history = ok(&server, "GetExecutionHistory", json!({"executionArn": execution})).await;
    let mut last = history["events"][2].clone();
    last.as_object_mut().unwrap().remove("timestamp");
    assert_eq!(
        last,
        json!({"id": 3, "previousEventId": 0, "type": "ExecutionAborted", "executionAbortedEventDetails": {}})
    );
    // Definitions that are none.
    let place = r#"[Source: (String)"not a definition"; line: 1, column: 4]"#;
    let unread = format!(
        "Unrecognized token 'not': was expecting (JSON String, Number, Array, Object or token 'null', 'true' or \
         'false')\n at {place}"
    );
    for (definition, diagnostic) in [
        (
            "",
            json!({"code": "SCHEMA_VALIDATION_FAILED", "message": "Definition must be a valid JSON object"}),
        ),
        (
            "not a definition",
            json!({"code": "INVALID_JSON_DESCRIPTION", "location": place, "message": unread}),
        ),
        (
            "{}",
            json!({"code": "SCHEMA_VALIDATION_FAILED", "location": "/", "message": "These fields are required: [States, StartAt]"}),
        ),
    ] {
        let mut expected = diagnostic;
        expected["severity"] = json!("ERROR");
        let told = ok(
            &server,
            "ValidateStateMachineDefinition",
            json!({"definition": definition}),
        )
        .await;
        assert_eq!(
            told,
            json!({"result": "FAIL", "diagnostics": [expected], "truncated": false}),
            "{definition}"
        );
    }
    let mut downgrade = of(json!({"Pass": {"Type": "Pass", "QueryLanguage": "JSONPath", "End": true}}));
    downgrade["QueryLanguage"] = json!("JSONata");
    let validate = json!({"definition": downgrade.to_string()});
    let told = ok(&server, "ValidateStateMachineDefinition", validate).await;
    assert_eq!(
        told["diagnostics"],
        json!([{"severity": "ERROR", "code": "SCHEMA_VALIDATION_FAILED", "location": "/States/Pass",
            "message": "'QueryLanguage' can not be 'JSONPath' if set to 'JSONata' for whole state machine"}])
    );
    let waits = json!({"Type": "Task", "Resource": "arn:aws:states:::sqs:sendMessage.waitForTaskToken",
        "Parameters": {"QueueUrl": "q", "MessageBody": {"Token.$": "$$.Task.Token"}}, "End": true});
    let express = json!({"name": "e", "type": "EXPRESS", "roleArn": ROLE, "definition": of(json!({"Publish": waits})).to_string()});
    assert_eq!(
        refused(&server, "CreateStateMachine", express).await,
        "InvalidDefinition: Invalid State Machine Definition: 'SCHEMA_VALIDATION_FAILED: Express state machine does not \
         support '.waitForTaskToken' service integration  at /States/Publish/Resource'"
    );
    let mut inside = of(json!({"P": {"Type": "Pass", "End": true}}));
    inside["ProcessorConfig"] = json!({"Mode": "DISTRIBUTED", "ExecutionType": "EXPRESS"});
    let fans = json!({"M": {"Type": "Map", "ItemProcessor": inside, "End": true}});
    let express =
        json!({"name": "e", "type": "EXPRESS", "roleArn": ROLE, "definition": of(fans).to_string()});
    assert_eq!(
        refused(&server, "CreateStateMachine", express).await,
        "InvalidDefinition: Invalid State Machine Definition: 'SCHEMA_VALIDATION_FAILED: The field 'Mode' with value \
         'DISTRIBUTED' is not supported inside 'EXPRESS' state machines at /States/M/ItemProcessor/ProcessorConfig/Mode'"
    );
    let alias = json!({"stateMachineAliasArn": format!("{arn}:PROD")});
    ok(&server, "DeleteStateMachineAlias", alias.clone()).await;
    assert_eq!(
        refused(&server, "DescribeStateMachineAlias", alias).await,
        "ResourceNotFound: Request references a resource that does not exist."
    );
    assert_eq!(
        refused(
            &server,
            "StartExecution",
            json!({"stateMachineArn": arn, "input": ""})
        )
        .await,
        "InvalidExecutionInput: Invalid State Machine Execution Input: 'Invalid execution input.'"
    );
}

#[tokio::test]
async fn what_has_no_effect_is_refused_by_name() {
    let (server, _folder) = server().await;
    let state =
        json!({"Type": "Task", "Resource": "arn:aws:states:::aws-sdk:sfn:listStateMachines", "End": true});
    let tested = |member: &str, value: Value| {
        let mut test = json!({"definition": state.to_string(), "roleArn": ROLE, "mock": {"result": "{}"}});
        match member.split_once('.') {
            Some((outer, inner)) => test[outer][inner] = value,
            None => test[member] = value,
        }
        test
    };
    for (member, value, named) in [(
        "mock.fieldValidationMode",
        json!("STRICT"),
        "The fieldValidationMode STRICT",
    )] {
        let said = refused(&server, "TestState", tested(member, value)).await;
        assert!(
            said.starts_with(&format!("ValidationException: {named}")) && said.ends_with("by aws-local."),
            "{said}"
        );
    }
    ok(
        &server,
        "TestState",
        tested("mock.fieldValidationMode", json!("NONE")),
    )
    .await;
    let put = json!({"Bucket": "b", "Key": "k", "Body": "", "Metadata": {"a": "b"}});
    let put = of(
        json!({"T": {"Type": "Task", "Resource": "arn:aws:states:::aws-sdk:s3:putObject", "Parameters": put, "End": true}}),
    );
    let arn = machine(&server, "put", &put).await;
    let described = ended(&server, &start(&server, &arn, json!({})).await).await;
    let cause = text(&described["cause"]);
    assert!(
        cause.starts_with("The parameter Metadata of s3:putObject is not implemented by aws-local."),
        "{cause}"
    );
    for (operation, input, said) in [
        (
            "GetExecutionHistory",
            json!({"executionArn": described["executionArn"], "reverseOrder": "yes"}),
            "SerializationException: STRING_VALUE at 'reverseOrder' can not be converted to a Boolean",
        ),
        (
            "UpdateStateMachine",
            json!({"stateMachineArn": arn, "publish": 1}),
            "SerializationException: NUMBER_VALUE at 'publish' can not be converted to a Boolean",
        ),
        (
            "UpdateMapRun",
            json!({"mapRunArn": "arn:aws:states:us-east-1:000000000000:mapRun:m/l:u", "toleratedFailurePercentage": "5"}),
            "SerializationException: STRING_VALUE at 'toleratedFailurePercentage' can not be converted to a Float",
        ),
    ] {
        assert_eq!(refused(&server, operation, input).await, said);
    }
}
