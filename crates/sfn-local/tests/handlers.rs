//! The handlers for tests.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use serde_json::json;
use sfn_builder::StateMachine;
use sfn_local::handlers::{Canned, InvalidMockConfig, MockConfig};
use sfn_local::{Execution, Outcome, TaskHandler, VirtualClock, run};

/// The example of the developer guide, shortened: a function that is throttled, then a queue.
const MOCKS: &str = r#"{
  "StateMachines": {
    "LambdaSQSIntegration": {
      "TestCases": {
        "HappyPath": {"LambdaState": "MockedLambdaSuccess", "SQSState": "MockedSQSSuccess"},
        "RetryPath": {"LambdaState": "MockedLambdaRetry", "SQSState": "MockedSQSSuccess"},
        "Unmocked": {"SQSState": "MockedSQSSuccess"}
      }
    }
  },
  "MockedResponses": {
    "MockedLambdaSuccess": {"0": {"Return": {"StatusCode": 200, "Payload": {"StatusCode": 200, "body": "Hello from Lambda!"}}}},
    "MockedLambdaRetry": {
      "0": {"Throw": {"Error": "Lambda.ResourceNotReadyException", "Cause": "Lambda resource is not ready."}},
      "1-2": {"Throw": {"Error": "Lambda.TimeoutException", "Cause": "Lambda timed out."}},
      "3": {"Return": {"StatusCode": 200, "Payload": {"StatusCode": 200, "body": "Hello from Lambda!"}}}
    },
    "MockedSQSSuccess": {"0": {"Return": {"MD5OfMessageBody": "3bcb6e8e-7h85-4375-b0bc-1a59812c6e51", "MessageId": "3bcb6e8e-8b51-4375-b0bc-1a59812c6e51"}}}
  }
}"#;

fn play(tasks: &dyn TaskHandler) -> Outcome {
    let definition = json!({"StartAt": "LambdaState", "States": {
        "LambdaState": {"Type": "Task", "Resource": "arn:aws:states:::lambda:invoke",
            "Parameters": {"FunctionName": "HelloWorldFunction", "Payload.$": "$"},
            "Retry": [{"ErrorEquals": ["States.ALL"], "IntervalSeconds": 2, "MaxAttempts": 3, "BackoffRate": 2}],
            "Next": "SQSState"},
        "SQSState": {"Type": "Task", "Resource": "arn:aws:states:::sqs:sendMessage",
            "Parameters": {"QueueUrl": "https://sqs/q", "MessageBody.$": "$"}, "End": true},
    }});
    let machine = StateMachine::from_json(&definition.to_string()).unwrap();
    let clock = VirtualClock::new("2026-01-31T12:00:00Z".parse().unwrap());
    let arn = "arn:aws:states:us-east-1:000000000000:stateMachine:LambdaSQSIntegration";
    let execution = Execution::new(arn, "e", json!({}));
    clock.block_on(run(&machine, &execution, tasks, &clock, &mut |_| {}))
}

#[test]
fn the_mock_file_of_the_guide() {
    let config = MockConfig::parse(MOCKS).unwrap();
    for case in ["HappyPath", "RetryPath"] {
        let outcome = play(&config.test_case("LambdaSQSIntegration", case).unwrap());
        let Outcome::Succeeded { output } = outcome else {
            unreachable!("{case}: {outcome:?}")
        };
        assert_eq!(output["MessageId"], "3bcb6e8e-8b51-4375-b0bc-1a59812c6e51");
    }
    let outcome = play(&config.test_case("LambdaSQSIntegration", "Unmocked").unwrap());
    let cause = Some("the state 'LambdaState' is not mocked".to_owned());
    let error = Some("States.Runtime".to_owned());
    assert_eq!(outcome, Outcome::Failed { error, cause });
    assert!(config.test_case("LambdaSQSIntegration", "None").is_none());
    assert!(config.test_case("None", "HappyPath").is_none());
}

#[test]
fn a_mock_file_that_is_wrong_says_where() {
    let refused = |text: &str| MockConfig::parse(text).unwrap_err().to_string();
    let with =
        |responses: serde_json::Value| json!({"StateMachines": {}, "MockedResponses": responses}).to_string();
    assert!(matches!(MockConfig::parse("{"), Err(InvalidMockConfig::Form(_))));
    assert!(refused(r#"{"StateMachines": {}, "Mocks": {}}"#).contains("unknown field `Mocks`"));
    assert_eq!(
        refused(&with(json!({"R": {"first": {"Return": 1}}}))),
        "in `MockedResponses`, `R`: `first` is neither a number such as `0` nor a range such as `1-3`"
    );
    assert_eq!(
        refused(&with(json!({"R": {"3-1": {"Return": 1}}}))),
        "in `MockedResponses`, `R`: `3-1` is neither a number such as `0` nor a range such as `1-3`"
    );
    assert_eq!(
        refused(&with(json!({"R": {"0": {"Return": 1, "Throw": {"Error": "E"}}}}))),
        "in `MockedResponses`, `R`, `0`: there has to be either `Return` or `Throw`"
    );
    assert!(MockConfig::parse(&with(json!({"R": {"0": {"Return": null}}}))).is_ok());
    let dangling = json!({"StateMachines": {"M": {"TestCases": {"C": {"S": "R"}}}}, "MockedResponses": {}});
    assert_eq!(
        refused(&dangling.to_string()),
        "the test case `C` of `M` has `R` for `S`, which is not in `MockedResponses`"
    );
}

#[test]
fn canned_results() {
    let tasks = Canned::new()
        .failure("LambdaState", "E", "once")
        .result("LambdaState", json!({"Payload": 1}))
        .result("SQSState", json!("sent"));
    assert_eq!(
        play(&tasks),
        Outcome::Succeeded {
            output: json!("sent")
        }
    );
    let Outcome::Failed { cause, .. } = play(&Canned::new()) else {
        unreachable!("nothing is written down")
    };
    assert_eq!(
        cause.as_deref(),
        Some("no result is written down for the state 'LambdaState'")
    );
}
