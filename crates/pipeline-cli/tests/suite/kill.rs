//! A server that is killed at any moment: started again, it goes on with every execution from its last event.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
    sync::Mutex,
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
        match ask(&self.address, operation, input) {
            Asked::Answered(answer) => answer,
            other => panic!("{operation}: {other:?}"),
        }
    }

    /// SIGKILL: nothing is tidied up.
    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// What came of a request.
#[derive(Debug)]
enum Asked {
    Answered(Value),
    /// With this body.
    Refused(String),
    /// The server was killed.
    Lost,
}

fn ask(address: &str, operation: &str, input: &Value) -> Asked {
    let body = input.to_string();
    let length = body.len();
    let request = format!(
        "POST / HTTP/1.1\r\nhost: {address}\r\nx-amz-target: AWSStepFunctions.{operation}\r\ncontent-type: \
         application/x-amz-json-1.0\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    );
    let exchange = || {
        let mut stream = TcpStream::connect(address)?;
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        std::io::Result::Ok(answer)
    };
    let Ok(answer) = exchange() else {
        return Asked::Lost;
    };
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.1 200") => match serde_json::from_str(body) {
            Ok(answer) => Asked::Answered(answer),
            Err(_) => Asked::Lost,
        },
        Some((head, body)) if head.starts_with("HTTP/1.1 4") => Asked::Refused(body.to_owned()),
        _ => Asked::Lost,
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

const ITEMS: usize = 6;
const RUNS: usize = 3;

/// A distributed Map whose children wait for nested executions and for tokens, and a task of an activity that fails at first.
fn wide_definition(inner: &Value, answer: &Value, activity: &Value) -> Value {
    let nested = json!({"StateMachineArn": inner, "Input": {"n.$": "$"}});
    let called_back =
        json!({"StateMachineArn": answer, "Input": {"token.$": "$$.Task.Token", "n.$": "$.Output.n"}});
    json!({
        "StartAt": "Each",
        "States": {
            "Each": {
                "Type": "Map",
                "ItemProcessor": {
                    "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"},
                    "StartAt": "Nested",
                    "States": {
                        "Nested": {"Type": "Task", "Resource": "arn:aws:states:::states:startExecution.sync:2", "Parameters": nested, "Next": "Pause"},
                        "Pause": {"Type": "Wait", "Seconds": 4, "Next": "Called back"},
                        "Called back": {"Type": "Task", "Resource": "arn:aws:states:::states:startExecution.waitForTaskToken", "Parameters": called_back, "End": true},
                    },
                },
                "MaxConcurrency": 3,
                "Next": "Fails once",
            },
            "Fails once": {"Type": "Task", "Resource": activity, "Parameters": {"id.$": "$$.Execution.Id", "redrives.$": "$$.Execution.RedriveCount"}, "ResultPath": null, "End": true},
        },
    })
}

/// Works at the activity's tasks until no server comes any more: those of executions that were not redriven fail. What was
/// acknowledged does not come again.
fn work(address: &Mutex<Option<String>>, activity: &Value) {
    let mut acknowledged = Vec::new();
    loop {
        let Some(address) = address.lock().unwrap().clone() else {
            return;
        };
        let Asked::Answered(task) = ask(&address, "GetActivityTask", &json!({"activityArn": activity}))
        else {
            std::thread::sleep(Duration::from_millis(2));
            continue;
        };
        let Some(token) = task.get("taskToken") else {
            continue;
        };
        assert!(!acknowledged.contains(token), "{task} was acknowledged");
        let input: Value = serde_json::from_str(task["input"].as_str().unwrap()).unwrap();
        let answered = if input["redrives"] == 0 {
            ask(
                &address,
                "SendTaskFailure",
                &json!({"taskToken": token, "error": "Once"}),
            )
        } else {
            ask(
                &address,
                "SendTaskSuccess",
                &json!({"taskToken": token, "output": "{}"}),
            )
        };
        match answered {
            Asked::Answered(_) => acknowledged.push(token.clone()),
            Asked::Refused(why) => panic!("{why}"),
            Asked::Lost => {}
        }
    }
}

/// The status and the last event of an execution and of its map runs' children.
fn where_it_is(served: &Served, execution: &Value) -> Value {
    let mut last = execution.clone();
    last["reverseOrder"] = json!(true);
    last["maxResults"] = json!(1);
    let described = served.call("DescribeExecution", execution);
    let mut children = Vec::new();
    let runs = served.call("ListMapRuns", execution)["mapRuns"].clone();
    for run in runs.as_array().unwrap() {
        let run = json!({"mapRunArn": run["mapRunArn"]});
        children.push(served.call("DescribeMapRun", &run)["executionCounts"].clone());
        let listed = served.call("ListExecutions", &run)["executions"].clone();
        for child in listed.as_array().unwrap() {
            children.push(where_it_is(
                served,
                &json!({"executionArn": child["executionArn"]}),
            ));
        }
    }
    let last = served.call("GetExecutionHistory", &last)["events"][0]["type"].clone();
    json!([
        execution["executionArn"],
        described["status"],
        described["error"],
        described["cause"],
        last,
        children
    ])
}

#[test]
fn map_runs_nested_executions_tokens_and_redrives_outlive_kills() {
    let folder = tempfile::tempdir().unwrap();
    let mut served = Served::start(folder.path());
    let make = |served: &Served, name: &str, definition: &Value| {
        let machine = json!({"name": name, "roleArn": "arn:aws:iam::000000000000:role/r", "definition": definition.to_string()});
        served.call("CreateStateMachine", &machine)["stateMachineArn"].clone()
    };
    let activity = served.call("CreateActivity", &json!({"name": "a"}))["activityArn"].clone();
    let inner = json!({"StartAt": "W", "States": {
        "W": {"Type": "Wait", "Seconds": 4, "Next": "P"},
        "P": {"Type": "Pass", "End": true},
    }});
    let inner = make(&served, "inner", &inner);
    // When the call is made again, the task may have its answer.
    let send = "arn:aws:states:::aws-sdk:sfn:sendTaskSuccess";
    let answer = json!({"StartAt": "W", "States": {
        "W": {"Type": "Wait", "Seconds": 2, "Next": "Send"},
        "Send": {"Type": "Task", "Resource": send, "Parameters": {"TaskToken.$": "$.token", "Output.$": "States.JsonToString($.n)"}, "End": true,
            "Catch": [{"ErrorEquals": ["Sfn.TaskTimedOutException"], "Next": "Had it"}]},
        "Had it": {"Type": "Succeed"},
    }});
    let answer = make(&served, "answer", &answer);
    let outer = make(&served, "outer", &wide_definition(&inner, &answer, &activity));
    let items: Vec<usize> = (0..ITEMS).collect();
    let executions: Vec<Value> = (0..RUNS)
        .map(|_| {
            let start = json!({"stateMachineArn": outer, "input": json!(items).to_string()});
            json!({"executionArn": served.call("StartExecution", &start)["executionArn"]})
        })
        .collect();
    let address = Mutex::new(Some(served.address.clone()));
    // Redrives what has failed; whether all have ended well.
    let all_well = |served: &Served| {
        let mut well = true;
        for execution in &executions {
            let described = served.call("DescribeExecution", execution);
            match described["status"].as_str().unwrap() {
                "SUCCEEDED" => continue,
                "FAILED" => {
                    assert_eq!(described["error"], "Once", "{described}");
                    served.call("RedriveExecution", execution);
                }
                status => assert_eq!(status, "RUNNING"),
            }
            well = false;
        }
        well
    };
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| work(&address, &activity));
        let mut kills = 0;
        for turn in 0..20_u64 {
            if all_well(&served) {
                break;
            }
            std::thread::sleep(Duration::from_millis(turn * turn * 7919 % 61));
            served.kill();
            kills += 1;
            served = Served::start(folder.path());
            *address.lock().unwrap() = Some(served.address.clone());
        }
        assert!(kills >= 3, "the executions ended after {kills} kills");
        for _ in 0..6000 {
            if worker.is_finished() || all_well(&served) {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let ended_well = all_well(&served);
        let waits: Vec<Value> = if ended_well {
            Vec::new()
        } else {
            executions.iter().map(|e| where_it_is(&served, e)).collect()
        };
        let told: Vec<Value> = executions
            .iter()
            .map(|execution| served.call("DescribeExecution", execution))
            .collect();
        *address.lock().unwrap() = None;
        let of_inner = json!({"stateMachineArn": inner, "maxResults": 1000});
        let nested = served.call("ListExecutions", &of_inner)["executions"].clone();
        served.kill();
        worker.join().unwrap();
        assert!(ended_well, "{waits:#?}");
        for described in told {
            assert_eq!(
                (&described["redriveCount"], &described["output"]),
                (&json!(1), &json!("[0,1,2,3,4,5]"))
            );
        }
        // None was started twice.
        assert_eq!(nested.as_array().unwrap().len(), ITEMS * RUNS);
    });
}

/// Status and body of an answer; none where the server was killed before it was whole.
fn http(address: &str, line: &str, headers: &str, body: &[u8]) -> Option<(u16, Vec<u8>)> {
    let length = body.len();
    let head = format!(
        "{line} HTTP/1.1\r\nhost: {address}\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n"
    );
    let mut stream = TcpStream::connect(address).ok()?;
    stream.write_all(head.as_bytes()).ok()?;
    stream.write_all(body).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n")?;
    let head = String::from_utf8(answer[..end].to_vec()).ok()?.to_lowercase();
    let body = answer.split_off(end + 4);
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let is_whole = length.is_none_or(|length| length == body.len().to_string());
    let status = head.split(' ').nth(1)?.parse().ok()?;
    is_whole.then_some((status, body))
}

/// The answer of SageMaker; none where it refuses or was killed.
fn sagemaker(address: &str, operation: &str, input: &Value) -> Option<Value> {
    let headers =
        format!("x-amz-target: SageMaker.{operation}\r\ncontent-type: application/x-amz-json-1.1\r\n");
    let (status, body) = http(address, "POST /", &headers, input.to_string().as_bytes())?;
    (status == 200).then(|| serde_json::from_slice(&body).unwrap_or_default())
}

/// Asks until a member is as it should be.
fn until(address: &str, operation: &str, input: &Value, member: &str, want: &str) -> Value {
    for _ in 0..6000 {
        let described = sagemaker(address, operation, input).unwrap();
        if described[member] == want {
            return described;
        }
        assert_ne!(described[member], "Failed", "{described}");
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("{operation}: it is not {want} within a minute");
}

fn training(name: &str, epochs: u32) -> Value {
    let source = json!({"S3DataType": "S3Prefix", "S3Uri": "s3://data/train.csv"});
    json!({
        "TrainingJobName": name,
        "RoleArn": "arn:aws:iam::000000000000:role/r",
        "AlgorithmSpecification": {"TrainingImage": IMAGE, "TrainingInputMode": "File"},
        "HyperParameters": {"num_entity_vectors": "20", "vector_dim": "8", "epochs": epochs.to_string()},
        "InputDataConfig": [{"ChannelName": "train", "DataSource": {"S3DataSource": source}}],
        "OutputDataConfig": {"S3OutputPath": "s3://data/models"},
        "ResourceConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 5},
        "StoppingCondition": {"MaxRuntimeInSeconds": 600},
    })
}

const IMAGE: &str = "382416733822.dkr.ecr.us-east-1.amazonaws.com/ipinsights:1";

/// A bucket `data` with rows, and an endpoint `e` that serves the first of two configurations, `c0` and `c1`.
fn furnish(address: &str) {
    let rows: String = (0..50)
        .map(|i| format!("France,10.{i}.0.1\nItaly,192.{i}.7.1\n"))
        .collect();
    for (line, body) in [("PUT /data", ""), ("PUT /data/train.csv", &rows)] {
        assert_eq!(http(address, line, "", body.as_bytes()).unwrap().0, 200);
    }
    sagemaker(address, "CreateTrainingJob", &training("first", 2)).unwrap();
    let job = json!({"TrainingJobName": "first"});
    until(
        address,
        "DescribeTrainingJob",
        &job,
        "TrainingJobStatus",
        "Completed",
    );
    let archive = "s3://data/models/first/output/model.tar.gz";
    let model = json!({
        "ModelName": "m", "ExecutionRoleArn": "arn:aws:iam::000000000000:role/r",
        "PrimaryContainer": {"Image": IMAGE, "ModelDataUrl": archive},
    });
    sagemaker(address, "CreateModel", &model).unwrap();
    let variant = json!({"VariantName": "v", "ModelName": "m", "InitialInstanceCount": 1, "InstanceType": "ml.m5.large"});
    for config in ["c0", "c1"] {
        let config = json!({"EndpointConfigName": config, "ProductionVariants": [variant]});
        sagemaker(address, "CreateEndpointConfig", &config).unwrap();
    }
    let endpoint = json!({"EndpointName": "e", "EndpointConfigName": "c0"});
    sagemaker(address, "CreateEndpoint", &endpoint).unwrap();
    let endpoint = json!({"EndpointName": "e"});
    until(
        address,
        "DescribeEndpoint",
        &endpoint,
        "EndpointStatus",
        "InService",
    );
}

/// Puts objects until the server is killed, each of bytes of its own. How many were acknowledged; one more may have been stored.
fn upload(address: &str, turn: u64) -> u64 {
    for number in 0.. {
        let line = format!("PUT /data/{turn}/{number}");
        match http(address, &line, "", &object(turn, number)) {
            Some((200, _)) => {}
            Some(other) => panic!("{line}: {other:?}"),
            None => return number,
        }
    }
    0
}

fn object(turn: u64, number: u64) -> Vec<u8> {
    let byte = (turn * 31 + number) as u8;
    vec![byte; 200_000 + number as usize]
}

/// Killed in uploads, trainings and updates of an endpoint: all that was acknowledged is there, nothing is there by half.
#[test]
fn what_was_acknowledged_is_there_and_nothing_is_by_half() {
    let folder = tempfile::tempdir().unwrap();
    let mut served = Served::start(folder.path());
    furnish(&served.address);
    let mut jobs = Vec::new();
    // What the endpoint may serve: what it was told last, and what it may have been told since.
    let mut configs = vec!["c0"];
    for turn in 0..8_u64 {
        let address = served.address.clone();
        let uploads = std::thread::spawn(move || upload(&address, turn));
        let job = format!("job-{turn}");
        if sagemaker(&served.address, "CreateTrainingJob", &training(&job, 300)).is_some() {
            jobs.push(job);
        }
        let config = ["c1", "c0"][turn as usize % 2];
        let update = json!({"EndpointName": "e", "EndpointConfigName": config});
        let address = served.address.clone();
        let updates = std::thread::spawn(move || sagemaker(&address, "UpdateEndpoint", &update).is_some());
        std::thread::sleep(Duration::from_millis(turn * turn * 7919 % 83));
        served.kill();
        match updates.join().unwrap() {
            true => configs = vec![config],
            false => configs.push(config),
        }
        let acknowledged = uploads.join().unwrap();
        served = Served::start(folder.path());
        for number in 0..acknowledged {
            let (status, body) =
                http(&served.address, &format!("GET /data/{turn}/{number}"), "", b"").unwrap();
            assert!(
                status == 200 && body == object(turn, number),
                "{turn}/{number}: {status}"
            );
        }
        let last = http(
            &served.address,
            &format!("GET /data/{turn}/{acknowledged}"),
            "",
            b"",
        )
        .unwrap();
        assert!(
            last.0 == 404 || last == (200, object(turn, acknowledged)),
            "{turn}: {}",
            last.0
        );
        // It answers at once, whichever it serves.
        let invoke = http(
            &served.address,
            "POST /endpoints/e/invocations",
            "content-type: text/csv\r\n",
            b"France,10.1.0.1",
        );
        assert_eq!(invoke.unwrap().0, 200);
    }
    assert!(!jobs.is_empty());
    for job in jobs {
        let job = json!({"TrainingJobName": job});
        let ended = until(
            &served.address,
            "DescribeTrainingJob",
            &job,
            "TrainingJobStatus",
            "Completed",
        );
        let archive = ended["ModelArtifacts"]["S3ModelArtifacts"].as_str().unwrap();
        let path = archive.strip_prefix("s3:/").unwrap();
        assert_eq!(
            http(&served.address, &format!("GET {path}"), "", b"").unwrap().0,
            200
        );
    }
    let endpoint = json!({"EndpointName": "e"});
    let endpoint = until(
        &served.address,
        "DescribeEndpoint",
        &endpoint,
        "EndpointStatus",
        "InService",
    );
    let config = endpoint["EndpointConfigName"].as_str().unwrap();
    assert!(configs.contains(&config), "{config} of {configs:?}");
    served.kill();
}
