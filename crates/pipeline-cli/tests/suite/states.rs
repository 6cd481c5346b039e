//! `ipinsights states`: machines and states from files.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use expect_test::expect;
use serde_json::{Value, json};

use crate::support::interrupt;

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/examples/machines")
}

fn states(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ipinsights"))
        .env_clear()
        .current_dir(examples())
        .args(["--quiet", "states"])
        .args(args)
        .output()
        .unwrap()
}

fn printed(output: &Output) -> String {
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn failure(args: &[&str]) -> String {
    let output = states(args);
    format!(
        "{}\n{}",
        output.status.code().unwrap(),
        String::from_utf8(output.stderr).unwrap()
    )
}

#[test]
fn a_machine_runs_with_mocked_tasks_in_no_time() {
    let input = r#"{"EndpointName": "e"}"#;
    let run = [
        "run",
        "poll.asl.json",
        "--input",
        input,
        "--mock",
        "mocks.json",
        "--virtual-time",
    ];
    assert_eq!(
        serde_json::from_str::<Value>(&printed(&states(&run))).unwrap(),
        json!({"EndpointStatus": "InService"})
    );
    let mut with_history = run.to_vec();
    with_history.push("--history");
    let printed_history = printed(&states(&with_history));
    let events = printed_history.lines().filter(|line| line.contains('<'));
    let events: Vec<&str> = events.map(str::trim_start).collect();
    expect![[r#"
        1 <0     ExecutionStarted
        2 <0     TaskStateEntered Look
        3 <2     TaskScheduled describeEndpoint
        4 <3     TaskStarted describeEndpoint
        5 <4     TaskSucceeded describeEndpoint
        6 <5     TaskStateExited Look
        7 <6     ChoiceStateEntered In service?
        8 <7     ChoiceStateExited In service?
        9 <8     WaitStateEntered An hour
        10 <9     WaitStateExited An hour
        11 <10    TaskStateEntered Look
        12 <11    TaskScheduled describeEndpoint
        13 <12    TaskStarted describeEndpoint
        14 <13    TaskSucceeded describeEndpoint
        15 <14    TaskStateExited Look
        16 <15    ChoiceStateEntered In service?
        17 <16    ChoiceStateExited In service?
        18 <17    SucceedStateEntered Done
        19 <18    SucceedStateExited Done
        20 <19    ExecutionSucceeded"#]]
    .assert_eq(&events.join("\n"));
    let mut as_json = with_history;
    as_json.extend(["--format", "json"]);
    let told: Value = serde_json::from_str(&printed(&states(&as_json))).unwrap();
    assert_eq!(
        (&told["version"], &told["status"]),
        (&json!(1), &json!("SUCCEEDED"))
    );
    let events = told["events"].as_array().unwrap();
    assert_eq!(events.len(), 20);
    let seconds = |at: usize| events[at]["timestamp"].as_f64().unwrap();
    assert_eq!((seconds(9) - seconds(8)).round(), 3600.0);
}

#[test]
fn what_does_not_end_well_says_why() {
    // The program's own services know no such endpoint.
    let said = failure(&["run", "poll.asl.json", "--input", r#"{"EndpointName": "e"}"#]);
    assert!(
        said.starts_with("5\nerror: the execution has ended as FAILED: SageMaker.SageMakerException: Could not find endpoint"),
        "{said}"
    );
    let said = failure(&[
        "run",
        "poll.asl.json",
        "--mock",
        "mocks.json",
        "--test-case",
        "None",
    ]);
    assert_eq!(
        said,
        "1\nerror: `mocks.json` has no test case `None`; it has ServesAfterAnHour\n"
    );
    let said = failure(&["run", "poll.asl.json", "--input", "{"]);
    assert!(said.starts_with("1\nerror: --input is not JSON: "), "{said}");
    assert!(failure(&["run", "none.json"]).starts_with("2\n"));
}

#[test]
fn a_state_is_tested_by_itself() {
    let tested = |args: &[&str]| -> Value {
        let mut all = vec!["test", "poll.asl.json"];
        all.extend(args);
        serde_json::from_str(&printed(&states(&all))).unwrap()
    };
    let input = r#"{"Endpoint": {"EndpointStatus": "Creating"}}"#;
    let chosen = tested(&["--name", "In service?", "--input", input]);
    assert_eq!(
        (&chosen["status"], &chosen["nextState"]),
        (&json!("SUCCEEDED"), &json!("An hour"))
    );
    let look = ["--name", "Look", "--input", r#"{"EndpointName": "e"}"#];
    let mut mocked = look.to_vec();
    mocked.extend(["--result", r#"{"EndpointStatus": "X"}"#, "--level", "debug"]);
    let told = tested(&mocked);
    assert_eq!(
        told["output"],
        r#"{"EndpointName":"e","Endpoint":{"EndpointStatus":"X"}}"#
    );
    assert_eq!(
        told["inspectionData"]["afterParameters"],
        r#"{"EndpointName":"e"}"#
    );
    // A result is held against what the API answers, as closely as it is said.
    let folder = tempfile::tempdir().unwrap();
    let call = folder.path().join("call.json");
    let text = json!({"Type": "Task", "Resource": "arn:aws:states:::lambda:invoke", "Parameters": {"FunctionName": "f"},
        "OutputPath": "$.Payload", "End": true});
    std::fs::write(&call, text.to_string()).unwrap();
    let mut mocked = vec!["test", call.to_str().unwrap(), "--result", r#"{"Payload": 5}"#];
    let refused = failure(&mocked);
    assert!(refused.contains("Payload"), "{refused}");
    mocked.extend(["--field-validation", "none"]);
    let told: Value = serde_json::from_str(&printed(&states(&mocked))).unwrap();
    assert_eq!(told["output"], "5");
    let mut failed = vec!["test", "poll.asl.json"];
    failed.extend(look);
    failed.extend(["--error", "E", "--cause", "c"]);
    assert_eq!(failure(&failed), "5\nerror: the state has failed\n");
}

/// The command without `--quiet`: its exit code, stdout and stderr.
fn told(folder: &Path, args: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_ipinsights"))
        .env_clear()
        .current_dir(folder)
        .arg("states")
        .args(args)
        .output()
        .unwrap();
    (
        output.status.code().unwrap(),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

fn write(folder: &Path, name: &str, content: &Value) {
    std::fs::write(folder.join(name), content.to_string()).unwrap();
}

#[test]
fn what_happens_is_told_while_it_happens() {
    let args = ["run", "poll.asl.json", "--input", r#"{"EndpointName": "e"}"#];
    let mut args = args.to_vec();
    args.extend(["--mock", "mocks.json", "--virtual-time", "--follow"]);
    let (code, _, said) = told(&examples(), &args);
    assert_eq!(code, 0, "{said}");
    expect![[r#"
        +0.000 s                           ExecutionStarted         {"EndpointName":"e"}
        +0.000 s  Look                     TaskStateEntered         {"EndpointName":"e"}
        +0.000 s  Look                     TaskScheduled            describeEndpoint
        +0.000 s  Look                     TaskStarted              describeEndpoint
        +0.000 s  Look                     TaskSucceeded            describeEndpoint
        +0.000 s  Look                     TaskStateExited          {"EndpointName":"e","Endpoint":{"EndpointStatus":"Creating"}}
        +0.000 s  In service?              ChoiceStateEntered       {"EndpointName":"e","Endpoint":{"EndpointStatus":"Creating"}}"#]]
    .assert_eq(&said.lines().take(7).map(str::trim_start).collect::<Vec<_>>().join("\n"));
    assert!(
        said.contains("\n+1 h 0 min 0.000 s  An hour                  WaitStateExited"),
        "{said}"
    );
    let (_, _, said) = told(&examples(), &[&["--quiet"], args.as_slice()].concat());
    assert_eq!(said, "");
}

#[test]
fn the_last_counts_of_every_map_run_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let branch = |state: &str, seconds: u64| {
        let wait = format!("Wait in {state}");
        let processor = json!({
            "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"},
            "StartAt": wait, "States": {wait.as_str(): {"Type": "Wait", "Seconds": seconds, "End": true}},
        });
        let map = json!({"Type": "Map", "MaxConcurrency": 1, "ItemProcessor": processor, "End": true});
        json!({"StartAt": state, "States": {state: map}})
    };
    // The first is over while the second still runs.
    let branches = json!([branch("Short", 1), branch("Long", 60)]);
    let both = json!({"StartAt": "Both", "States": {"Both": {"Type": "Parallel", "Branches": branches, "End": true}}});
    write(folder.path(), "both.json", &both);
    let args = [
        "run",
        "both.json",
        "--input",
        "[1, 2]",
        "--virtual-time",
        "--follow",
    ];
    let (code, _, said) = told(folder.path(), &args);
    assert_eq!(code, 0, "{said}");
    for state in ["Short", "Long"] {
        let lines: Vec<&str> = said
            .lines()
            .filter_map(|line| {
                line.split_once("map run: ")
                    .filter(|(of, _)| of.trim() == state)
                    .map(|(_, counts)| counts)
            })
            .collect();
        assert_eq!(
            lines,
            [
                "0 of 2 ended well, 0 otherwise, 1 running",
                "1 of 2 ended well, 0 otherwise, 1 running",
                "2 of 2 ended well, 0 otherwise, 0 running",
            ],
            "{said}"
        );
    }
}

#[test]
fn time_does_not_wait_for_what_does_not_come() {
    let folder = tempfile::tempdir().unwrap();
    let create = "arn:aws:states:::aws-sdk:sfn:createActivity.waitForTaskToken";
    let named = json!({"Name": "a", "Tags": [{"Key": "token", "Value.$": "$$.Task.Token"}]});
    let waits = json!({"StartAt": "T", "States": {"T": {"Type": "Task", "Resource": create, "Parameters": named, "End": true}}});
    write(folder.path(), "waits.json", &waits);
    let (code, _, said) = told(folder.path(), &["run", "waits.json", "--virtual-time"]);
    assert_eq!(
        (code, said.as_str()),
        (
            5,
            "error: the execution has ended as ABORTED: NothingHappens: the execution waits for what does not come: nothing runs, and nothing waits for a moment\n"
        )
    );
    let mut limited = waits;
    limited["States"]["T"]["TimeoutSeconds"] = json!(3600);
    write(folder.path(), "limited.json", &limited);
    let (code, _, said) = told(folder.path(), &["run", "limited.json", "--virtual-time"]);
    assert_eq!(
        (code, said.as_str()),
        (5, "error: the execution has ended as FAILED: States.Timeout\n")
    );
}

#[test]
fn a_data_folder_keeps_its_machines() {
    let folder = tempfile::tempdir().unwrap();
    let named = |result: &str| json!({"StartAt": "P", "States": {"P": {"Type": "Pass", "Comment": result, "OutputPath": "$$.StateMachine.Name", "End": true}}});
    write(folder.path(), "one.json", &named("one"));
    write(folder.path(), "two.json", &named("two"));
    for (file, name) in [
        ("one.json", "machine"),
        ("two.json", "machine-2"),
        ("one.json", "machine"),
        ("two.json", "machine-2"),
    ] {
        let (code, printed, said) = told(folder.path(), &["run", file, "--data-dir", "data"]);
        assert_eq!(
            (code, printed.trim()),
            (0, format!("\"{name}\"").as_str()),
            "{said}"
        );
    }
    let mocks = json!({"StateMachines": {"machine": {"TestCases": {"A": {}}}}, "MockedResponses": {}});
    write(folder.path(), "mocks.json", &mocks);
    let (code, _, said) = told(
        folder.path(),
        &["run", "two.json", "--data-dir", "data", "--mock", "mocks.json"],
    );
    assert_eq!(
        (code, said.as_str()),
        (
            1,
            "error: the data folder has another state machine `machine`, which is left as it is: give another --data-dir, or none\n"
        )
    );
}

#[test]
fn test_cases_of_one_name_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let task = json!({"Type": "Task", "Resource": "arn:aws:states:::lambda:invoke", "Parameters": {"FunctionName": "f"}, "End": true});
    write(
        folder.path(),
        "m.json",
        &json!({"StartAt": "T", "States": {"T": task}}),
    );
    let mocks = json!({
        "StateMachines": {
            "One": {"TestCases": {"Good": {"T": "First"}, "Only": {"T": "First"}}},
            "Two": {"TestCases": {"Good": {"T": "Second"}}},
        },
        "MockedResponses": {"First": {"0": {"Return": 1}}, "Second": {"0": {"Return": 2}}},
    });
    write(folder.path(), "mocks.json", &mocks);
    let run = |case: &str| {
        told(
            folder.path(),
            &["run", "m.json", "--mock", "mocks.json", "--test-case", case],
        )
    };
    for (case, printed) in [("One#Good", "1"), ("Two#Good", "2"), ("Only", "1")] {
        assert_eq!(run(case).1.trim(), printed, "{case}");
    }
    assert_eq!(
        run("Good").2,
        "error: `mocks.json` has several test cases: say which with --test-case (One#Good, Two#Good)\n"
    );
    assert_eq!(
        run("Bad").2,
        "error: `mocks.json` has no test case `Bad`; it has One#Good, Only, Two#Good\n"
    );
}

#[test]
fn states_of_yaml_and_templates_are_tested() {
    let folder = tempfile::tempdir().unwrap();
    let state = "Type: Pass\nResult: {a: 1}\nEnd: true\n";
    std::fs::write(folder.path().join("state.yaml"), state).unwrap();
    let template = "Resources:\n  Other:\n    Type: AWS::StepFunctions::StateMachine\n    Properties:\n      Definition:\n        \
                    StartAt: P\n        States:\n          P: {Type: Pass, Result: 2, End: true}\n  Main:\n    Type: \
                    AWS::StepFunctions::StateMachine\n    Properties:\n      Definition:\n        StartAt: P\n        States:\n          \
                    P: {Type: Pass, Result: 3, End: true}\n";
    std::fs::write(folder.path().join("template.yml"), template).unwrap();
    let output = |args: &[&str]| -> Value {
        let (code, printed, said) = told(folder.path(), args);
        assert_eq!(code, 0, "{said}");
        serde_json::from_str::<Value>(&printed).unwrap()["output"].clone()
    };
    assert_eq!(output(&["test", "state.yaml"]), r#"{"a":1}"#);
    for (machine, result) in [("Other", "2"), ("Main", "3")] {
        assert_eq!(
            output(&["test", "template.yml", "--state-machine", machine, "--name", "P"]),
            result
        );
    }
}

#[cfg(unix)]
#[test]
fn ctrl_c_stops_the_execution() {
    use std::io::{BufRead, BufReader};
    let folder = tempfile::tempdir().unwrap();
    write(
        folder.path(),
        "w.json",
        &json!({"StartAt": "W", "States": {"W": {"Type": "Wait", "Seconds": 3600, "End": true}}}),
    );
    let mut child = Command::new(env!("CARGO_BIN_EXE_ipinsights"))
        .env_clear()
        .current_dir(folder.path())
        .args(["states", "run", "w.json", "--follow", "--history"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    // Told while it waits.
    assert!(lines.any(|line| line.unwrap().contains("WaitStateEntered")));
    interrupt(&child);
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    assert!(
        rest.iter()
            .any(|line| line.ends_with("ExecutionAborted         interrupted")),
        "{rest:?}"
    );
    assert_eq!(
        rest.last().unwrap(),
        "error: interrupted: the execution was stopped"
    );
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    let history = String::from_utf8(output.stdout).unwrap();
    assert!(
        history.contains("WaitStateEntered W") && history.contains("ExecutionAborted interrupted"),
        "{history}"
    );
}
