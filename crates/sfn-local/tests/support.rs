//! What cannot be run is refused by name, before the first state.

use expect_test::expect;
use serde_json::json;
use sfn_builder::StateMachine;
use sfn_local::{
    BoxFuture, Event, Execution, Outcome, TaskCall, TaskFailure, TaskHandler, VirtualClock, check_supported,
    run,
};

struct Never;

impl TaskHandler for Never {
    fn call(&self, _: TaskCall) -> BoxFuture<'_, Result<serde_json::Value, TaskFailure>> {
        unreachable!("nothing is called")
    }
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    let inner = json!({"StartAt": "I", "States": {"I": {"Type": "Succeed"}}});
    let mut item = inner.clone();
    item["StartAt"] = "J".into();
    item["States"] = json!({"J": {"Type": "Succeed"}});
    let definition = json!({"StartAt": "Pass", "States": {
        "Pass": {"Type": "Pass", "Parameters": {"a.$": "States.Hash($..x, 'MD5')"}, "InputPath": "$.a[?(@.b)]",
                 "Assign": {"v.$": "$.x"}, "Next": "Task"},
        "Task": {"Type": "Task", "Resource": "arn:aws:states:::sqs:sendMessage.waitForTaskToken", "TimeoutSecondsPath": "$v",
                 "Credentials": {"RoleArn": "arn:aws:iam::000000000000:role/r"}, "Next": "Activity"},
        "Activity": {"Type": "Task", "Resource": "arn:aws:states:us-east-1:000000000000:activity:a", "Next": "Choice"},
        "Choice": {"Type": "Choice", "Choices": [{"Variable": "$['a','b']", "IsNull": true, "Assign": {"w": 1}, "Next": "Jsonata"}],
                   "Default": "Jsonata"},
        "Jsonata": {"Type": "Pass", "QueryLanguage": "JSONata", "Output": "{% 1 %}", "Next": "Parallel"},
        "Parallel": {"Type": "Parallel", "Branches": [inner], "Next": "Map"},
        "Map": {"Type": "Map", "ItemProcessor": item, "End": true}
    }});
    let machine = StateMachine::from_json(&definition.to_string()).unwrap();
    let unsupported = check_supported(&machine).unwrap_err();
    let list: String = unsupported
        .parts()
        .iter()
        .map(|part| format!("{} {}\n", part.pointer, part.what))
        .collect();
    expect![[r#"
        /States/Pass/InputPath a filter (`[?…]`) in the path `$.a[?(@.b)]` is
        /States/Pass/Parameters the intrinsic function `States.Hash` is
        /States/Pass/Parameters recursive descent (`..`) in the path `$..x` is
        /States/Pass/Assign `Assign` is
        /States/Task/Credentials `Credentials` is
        /States/Task/Resource the pattern `.waitForTaskToken` is
        /States/Task/TimeoutSecondsPath the variable `$v` is
        /States/Activity/Resource an activity is
        /States/Choice/Choices/0 a union (`[a,b]`) in the path `$['a','b']` is
        /States/Choice/Choices/0/Assign `Assign` is
        /States/Jsonata JSONata is
        /States/Parallel states of type Parallel are
        /States/Map states of type Map are
    "#]]
    .assert_eq(&list);

    let clock = VirtualClock::new("2026-01-31T12:00:00Z".parse().unwrap());
    let arn = "arn:aws:states:us-east-1:000000000000:stateMachine:m";
    let mut events = Vec::new();
    let outcome = clock.block_on(run(
        &machine,
        &Execution::new(arn, "e", json!({})),
        &Never,
        &clock,
        &mut |event| events.push(event.event.clone()),
    ));
    let Outcome::Failed { error, cause } = outcome else {
        unreachable!("it cannot succeed")
    };
    assert_eq!(error.as_deref(), Some("States.Runtime"));
    assert_eq!(cause, Some(unsupported.to_string()));
    assert!(matches!(
        events.as_slice(),
        [Event::ExecutionStarted { .. }, Event::ExecutionFailed { .. }]
    ));
}
