//! What whoever starts the server brings along: services, and who does tasks.

use std::sync::Arc;

use aws_local::{BoxFuture, Server, ServiceRequest, ServiceResponse, TaskCall, TaskFailure};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::common::{ROLE, World, eventually};
use crate::refusals::raw_to;

/// Says what it was asked.
fn echo(request: ServiceRequest) -> BoxFuture<'static, ServiceResponse> {
    Box::pin(async move {
        let told = json!({
            "method": request.method, "uri": request.uri, "x-own": request.header("x-own"),
            "body": String::from_utf8(request.body).unwrap(),
        });
        let mut response = ServiceResponse::json(201, told.to_string());
        response.headers.push(("x-echo".to_owned(), "yes".to_owned()));
        response
    })
}

fn request(scope: &str) -> String {
    format!(
        "POST /2015-03-31/functions/f/invocations?a=b HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nX-Own: c\r\n\
         Authorization: AWS4-HMAC-SHA256 Credential=a/20260131/us-east-1/{scope}/aws4_request, SignedHeaders=host, \
         Signature=0\r\n\r\n{{}}"
    )
}

#[tokio::test]
async fn a_service_is_brought_along() {
    let world = World::built(|server| server.service("lambda", Arc::new(echo))).await;
    let answer = raw_to(world.server.address(), &request("lambda")).await;
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    assert!(answer.contains("x-echo: yes"), "{answer}");
    let body: Value = serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    assert_eq!(
        body,
        json!({"method": "POST", "uri": "/2015-03-31/functions/f/invocations?a=b", "x-own": "c", "body": "{}"})
    );
    // The others are as they were.
    let other = raw_to(world.server.address(), &request("dynamodb")).await;
    assert!(!other.contains("x-echo"), "{other}");
    assert!(world.s3.list_buckets().send().await.unwrap().buckets().is_empty());
    let health = "GET /_health HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let health = raw_to(world.server.address(), health).await;
    assert!(health.contains(r#""iam","lambda"]"#), "{health}");
}

/// It stands in place of one of the server's, for clients that go through the port and for those within the process, and is asked
/// nothing that is not signed.
#[tokio::test]
async fn a_service_is_replaced() {
    let machines = |request: ServiceRequest| -> BoxFuture<'static, ServiceResponse> {
        Box::pin(async move {
            assert_eq!(
                request.header("x-amz-target"),
                Some("AWSStepFunctions.ListStateMachines")
            );
            let arn = "arn:aws:states:us-east-1:1:stateMachine:own";
            let machine =
                json!({"stateMachineArn": arn, "name": "own", "type": "STANDARD", "creationDate": 1});
            ServiceResponse::json(200, json!({"stateMachines": [machine]}).to_string())
        })
    };
    let builder = Server::ephemeral().credentials("test", "test");
    let server = builder
        .service("states", Arc::new(machines))
        .start()
        .await
        .unwrap();
    for config in [server.sdk_config(), server.sdk_config_in_process()] {
        let states = aws_sdk_sfn::Client::new(&config);
        let listed = states.list_state_machines().send().await.unwrap();
        assert_eq!(listed.state_machines()[0].name(), "own");
        let sagemaker = aws_sdk_sagemaker::Client::new(&config);
        assert!(sagemaker.list_models().send().await.unwrap().models().is_empty());
    }
    let unsigned = raw_to(server.address(), &request("states")).await;
    assert!(unsigned.starts_with("HTTP/1.1 403"), "{unsigned}");
}

#[tokio::test]
async fn tasks_are_done_by_whom_their_resource_names() {
    let says = |who: &'static str| {
        let handler = move |task: TaskCall| -> BoxFuture<'static, Result<Value, TaskFailure>> {
            Box::pin(async move { Ok(json!([who, task.resource])) })
        };
        Arc::new(handler)
    };
    let folder = TempDir::new().unwrap();
    let server = Server::builder(folder.path())
        .task_handler_of("arn:aws:states:::lambda:", says("lambda"))
        .task_handler_of("arn:aws:states:::lambda:invoke.waitForTaskToken", says("waits"))
        .start()
        .await
        .unwrap();
    let world = World::with_server(server, folder);
    let task = |name: &str, call: &str, parameters: Value| {
        let resource = format!("arn:aws:states:::{call}");
        let mut state = json!({"Type": "Task", "Resource": resource, "Parameters": parameters, "End": true});
        if call.contains("list") {
            state["ResultSelector"] = json!({"own.$": "$.StateMachines[0].Name"});
        }
        json!({"StartAt": name, "States": {name: state}})
    };
    let token = json!({"FunctionName": "f", "Payload": {"t.$": "$$.Task.Token"}});
    let branches = [
        task("A", "lambda:invoke", json!({"FunctionName": "f"})),
        task("B", "lambda:invoke.waitForTaskToken", token),
        task("C", "aws-sdk:sfn:listStateMachines", json!({})),
    ];
    let definition =
        json!({"StartAt": "P", "States": {"P": {"Type": "Parallel", "Branches": branches, "End": true}}});
    let made = world
        .states
        .create_state_machine()
        .name("m")
        .role_arn(ROLE)
        .definition(definition.to_string());
    let arn = made.send().await.unwrap().state_machine_arn;
    let started = world.states.start_execution().state_machine_arn(arn);
    let execution = started.send().await.unwrap().execution_arn;
    let ended = eventually(|| async {
        let described = world.states.describe_execution().execution_arn(&execution);
        let described = described.send().await.unwrap();
        (described.status.as_str() != "RUNNING").then_some(described)
    })
    .await;
    let output = ended.output().unwrap_or_else(|| panic!("{ended:?}"));
    let output: Value = serde_json::from_str(output).unwrap();
    assert_eq!(
        output,
        json!([
            ["lambda", "arn:aws:states:::lambda:invoke"],
            ["waits", "arn:aws:states:::lambda:invoke.waitForTaskToken"],
            {"own": "m"},
        ])
    );
}
