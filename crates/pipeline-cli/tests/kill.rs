//! A server that is killed at any moment: started again, it goes on with every execution from its last event.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test ends where it fails")]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::{Value, json};

struct Served {
    child: Child,
    address: String,
}

impl Served {
    fn start(folder: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_ipinsights"))
            .args(["--quiet", "serve", "--data-dir"])
            .arg(folder)
            .env_clear()
            .env("WAIT_TIME_SCALE", "0.002")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut url = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut url)
            .unwrap();
        let address = url
            .trim()
            .strip_prefix("http://")
            .unwrap_or_else(|| panic!("`{url}`"))
            .to_owned();
        Self { child, address }
    }

    fn call(&self, operation: &str, input: &Value) -> Value {
        let body = input.to_string();
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let length = body.len();
        write!(
            stream,
            "POST / HTTP/1.1\r\nhost: {}\r\nx-amz-target: AWSStepFunctions.{operation}\r\ncontent-type: \
             application/x-amz-json-1.0\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}",
            self.address
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{operation}: {answer}");
        serde_json::from_str(body).unwrap()
    }

    /// SIGKILL: nothing is tidied up.
    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// Turns of the loop.
const TURNS: usize = 40;
const EXECUTIONS: usize = 6;

fn definition() -> Value {
    json!({
        "StartAt": "Count",
        "States": {
            "Count": {"Type": "Pass", "Parameters": {"n.$": "States.MathAdd($.n, 1)"}, "Next": "Both"},
            "Both": {"Type": "Parallel", "ResultPath": null, "Next": "More?", "Branches": [
                {"StartAt": "A", "States": {"A": {"Type": "Wait", "Seconds": 2, "End": true}}},
                {"StartAt": "B", "States": {"B": {"Type": "Pass", "End": true}}},
            ]},
            "More?": {"Type": "Choice", "Choices": [{"Variable": "$.n", "NumericLessThan": TURNS, "Next": "Count"}], "Default": "Done"},
            "Done": {"Type": "Succeed"},
        },
    })
}

#[test]
fn every_execution_goes_on_from_its_last_event() {
    let folder = tempfile::tempdir().unwrap();
    let mut served = Served::start(folder.path());
    let machine = json!({"name": "m", "roleArn": "arn:aws:iam::000000000000:role/r", "definition": definition().to_string()});
    let machine = served.call("CreateStateMachine", &machine)["stateMachineArn"].clone();
    let executions: Vec<Value> = (0..EXECUTIONS)
        .map(|_| {
            let start = json!({"stateMachineArn": machine, "input": "{\"n\":0}"});
            json!({"executionArn": served.call("StartExecution", &start)["executionArn"]})
        })
        .collect();
    let running = |served: &Served| {
        executions
            .iter()
            .filter(|execution| served.call("DescribeExecution", execution)["status"] == "RUNNING")
            .count()
    };
    // Delays of another length each time; how far the executions are when it comes is up to the machine.
    let mut kills = 0;
    for turn in 0..12_u64 {
        if running(&served) == 0 {
            break;
        }
        std::thread::sleep(Duration::from_millis(turn * turn * 7919 % 83));
        served.kill();
        kills += 1;
        served = Served::start(folder.path());
    }
    assert!(kills >= 3, "the executions ended after {kills} kills");
    for _ in 0..6000 {
        if running(&served) == 0 {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    for execution in &executions {
        let described = served.call("DescribeExecution", execution);
        assert_eq!(described["status"], "SUCCEEDED", "{described}");
        assert_eq!(described["output"], format!("{{\"n\":{TURNS}}}"));
        let mut history = execution.clone();
        history["maxResults"] = 1000.into();
        let mut events = Vec::new();
        loop {
            let page = served.call("GetExecutionHistory", &history);
            events.extend(page["events"].as_array().unwrap().clone());
            match page.get("nextToken") {
                Some(token) => history["nextToken"] = token.clone(),
                None => break,
            }
        }
        let mut before = 0.0;
        for (at, event) in events.iter().enumerate() {
            assert_eq!(event["id"], at + 1);
            let moment = event["timestamp"].as_f64().unwrap();
            assert!(moment >= before, "event {}", at + 1);
            before = moment;
        }
        // What has ended was not done again.
        let count = |name: &str| events.iter().filter(|event| event["type"] == name).count();
        assert_eq!(count("PassStateEntered"), 2 * TURNS);
        assert_eq!(count("PassStateExited"), 2 * TURNS);
        assert_eq!(count("WaitStateEntered"), TURNS);
        assert_eq!(count("ParallelStateSucceeded"), TURNS);
        assert_eq!(count("ExecutionStarted"), 1);
        assert_eq!(count("ExecutionSucceeded"), 1);
    }
    served.kill();
}
