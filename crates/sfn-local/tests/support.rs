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
    let map = |input_type: &str, name: &str, next: serde_json::Value| {
        let mut states = serde_json::Map::new();
        states.insert(name.to_owned(), json!({"Type": "Succeed"}));
        let mut map = json!({
            "Type": "Map",
            "ItemReader": {
                "Resource": "arn:aws:states:::s3:getObject",
                "ReaderConfig": {"InputType": input_type},
                "Parameters": {"Bucket": "b", "Key": "k"},
            },
            "ItemProcessor": {
                "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"},
                "StartAt": name,
                "States": states,
            },
        });
        map.as_object_mut()
            .unwrap()
            .extend(next.as_object().unwrap().clone());
        map
    };
    let definition = json!({"StartAt": "A", "States": {
        "A": map("PARQUET", "I", json!({"Next": "B"})),
        "B": map("MANIFEST", "J", json!({"End": true})),
    }});
    let machine = StateMachine::from_json(&definition.to_string()).unwrap();
    let unsupported = check_supported(&machine).unwrap_err();
    let list: String = unsupported
        .parts()
        .iter()
        .map(|part| format!("{} {}\n", part.pointer, part.what))
        .collect();
    expect![[r#"
        /States/A/ItemReader/ReaderConfig/InputType the input type PARQUET is
        /States/B/ItemReader/ReaderConfig/InputType the input type MANIFEST is
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
