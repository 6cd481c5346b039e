//! `ipinsights states run` and `states test`: a state machine, or one state of it, by itself.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aws_local::{MockConfig, Server, VirtualClock};
use serde_json::{Value, json};

use super::machines::{definition, read, unusable};
use crate::cli::{StatesCommand, StatesRunArgs, StatesTestArgs};
use crate::exit::{ExitCode, Failure};
use crate::output::Output;

/// What the machine is called unless a mock file knows it by another name.
const NAME: &str = "machine";
const ROLE: &str = aws_local::ROLE_ARN;

/// Runs the command.
pub async fn run(command: StatesCommand, output: &Output) -> anyhow::Result<()> {
    match command {
        StatesCommand::Run(args) => run_machine(&args, output).await,
        StatesCommand::Test(args) => test_state(&args, output).await,
    }
}

async fn run_machine(args: &StatesRunArgs, output: &Output) -> anyhow::Result<()> {
    let document = definition(&args.definition, args.state_machine.as_deref())?.document;
    let input = json_argument("--input", args.input.as_deref().unwrap_or("{}"))?;
    let mocks = match &args.mock {
        None => None,
        Some(path) => Some(mocks(path, args.test_case.as_deref())?),
    };
    let (folder, _temporary) = folder(args.data_dir.as_deref())?;
    let mut builder = Server::builder(folder);
    let (name, case) = match mocks {
        None => (NAME.to_owned(), None),
        Some(mocks) => {
            builder = builder.mock_config(mocks.config);
            (mocks.machine, Some(mocks.case))
        }
    };
    if let Some(scale) = args.wait_time_scale {
        builder = builder.wait_time_scale(scale);
    }
    let clock = args
        .virtual_time
        .then(|| VirtualClock::new(jiff::Timestamp::now()));
    if let Some(clock) = &clock {
        builder = builder.clock(Arc::new(clock.clone()));
    }
    let server = builder.start().await?;
    let call = async |operation: &str, input: Value| {
        server
            .call(&format!("AWSStepFunctions.{operation}"), &input)
            .await
            .map_err(refused)
    };
    let created = call(
        "CreateStateMachine",
        json!({"name": name, "roleArn": ROLE, "definition": document.as_value().to_string()}),
    )
    .await;
    let machine = match created {
        Ok(created) => created["stateMachineArn"].as_str().unwrap_or_default().to_owned(),
        // The folder has a machine of that name, from another run.
        Err(error) if error.to_string().starts_with("StateMachineAlreadyExists") => {
            let arn = format!(
                "arn:aws:states:{}:{}:stateMachine:{name}",
                aws_local::REGION,
                aws_local::ACCOUNT
            );
            let update = json!({"stateMachineArn": arn, "roleArn": ROLE, "definition": document.as_value().to_string()});
            call("UpdateStateMachine", update).await?;
            arn
        }
        Err(error) => return Err(error),
    };
    let arn = match case {
        None => machine,
        Some(case) => format!("{machine}#{case}"),
    };
    let started = call(
        "StartExecution",
        json!({"stateMachineArn": arn, "input": input.to_string()}),
    )
    .await?;
    let execution = json!({"executionArn": started["executionArn"]});
    let described = loop {
        let described = call("DescribeExecution", execution.clone()).await?;
        if described["status"] != "RUNNING" {
            break described;
        }
        // Nothing to do means that something waits.
        tokio::time::sleep(Duration::from_millis(2)).await;
        if let Some(clock) = &clock {
            clock.advance_to_next();
        }
    };
    let mut events = Vec::new();
    if args.history {
        let mut request = execution.clone();
        request["maxResults"] = 1000.into();
        loop {
            let page = call("GetExecutionHistory", request.clone()).await?;
            events.extend(page["events"].as_array().cloned().unwrap_or_default());
            match page.get("nextToken") {
                Some(token) => request["nextToken"] = token.clone(),
                None => break,
            }
        }
    }
    server.shutdown().await;
    tell(&described, args.history.then_some(events), output)
}

/// Prints what came of an execution; one that has not ended well is a failure.
fn tell(described: &Value, history: Option<Vec<Value>>, output: &Output) -> anyhow::Result<()> {
    let status = described["status"].as_str().unwrap_or_default();
    let result = described["output"]
        .as_str()
        .and_then(|text| serde_json::from_str::<Value>(text).ok());
    if output.is_json() {
        let mut told = json!({"version": 1, "status": status});
        for member in ["error", "cause"] {
            if let Some(value) = described.get(member) {
                told[member] = value.clone();
            }
        }
        if let Some(result) = &result {
            told["output"] = result.clone();
        }
        if let Some(events) = history {
            told["events"] = events.into();
        }
        output.json(&told)?;
    } else {
        for event in history.iter().flatten() {
            output.text(&line(event))?;
        }
        if let Some(result) = &result {
            output.json(result)?;
        }
    }
    if status == "SUCCEEDED" {
        return Ok(());
    }
    let said = |member: &str| described[member].as_str().filter(|text| !text.is_empty());
    let mut message = format!("the execution has ended as {status}");
    for text in [said("error"), said("cause")].into_iter().flatten() {
        message.push_str(": ");
        message.push_str(text);
    }
    Err(Failure {
        code: ExitCode::Run,
        ..Failure::usage(message)
    }
    .into())
}

/// An event in a line: its number, that of the one before, its type and its state.
fn line(event: &Value) -> String {
    let details = event
        .as_object()
        .into_iter()
        .flatten()
        .find(|(member, _)| member.ends_with("EventDetails"))
        .map(|(_, details)| details);
    let said = |member: &str| details.and_then(|details| details[member].as_str());
    let mut line = format!(
        "{:>5} <{:<5} {}",
        event["id"],
        event["previousEventId"].to_string(),
        event["type"].as_str().unwrap_or_default()
    );
    for text in ["name", "resource", "error", "cause"]
        .into_iter()
        .filter_map(said)
    {
        line.push(' ');
        line.push_str(text);
    }
    line
}

async fn test_state(args: &StatesTestArgs, output: &Output) -> anyhow::Result<()> {
    let text = read(&args.state)?;
    let mut request = json!({
        "definition": text,
        "roleArn": ROLE,
        "input": json_argument("--input", args.input.as_deref().unwrap_or("{}"))?.to_string(),
        "inspectionLevel": args.level.to_uppercase(),
    });
    if let Some(name) = &args.name {
        request["stateName"] = name.as_str().into();
    }
    if let Some(variables) = &args.variables {
        request["variables"] = json_argument("--variables", variables)?.to_string().into();
    }
    if let Some(context) = &args.context {
        request["context"] = json_argument("--context", context)?.to_string().into();
    }
    if let Some(result) = &args.result {
        request["mock"] = json!({"result": json_argument("--result", result)?.to_string()});
    }
    if let Some(error) = &args.error {
        let mut failure = json!({"error": error});
        if let Some(cause) = &args.cause {
            failure["cause"] = cause.as_str().into();
        }
        request["mock"] = json!({"errorOutput": failure});
    }
    if let Some(count) = args.retry_count {
        request["stateConfiguration"] = json!({"retrierRetryCount": count});
    }
    let (folder, _temporary) = folder(args.data_dir.as_deref())?;
    let server = Server::builder(folder).start().await?;
    let tested = server
        .call("AWSStepFunctions.TestState", &request)
        .await
        .map_err(refused);
    server.shutdown().await;
    let tested = tested?;
    output.json(&tested)?;
    match tested["status"].as_str() {
        Some("FAILED") => Err(Failure {
            code: ExitCode::Run,
            ..Failure::usage("the state has failed".to_owned())
        }
        .into()),
        _ => Ok(()),
    }
}

/// The data folder: the one that is given, or one that is removed afterwards.
fn folder(given: Option<&Path>) -> anyhow::Result<(std::path::PathBuf, Option<tempfile::TempDir>)> {
    Ok(match given {
        Some(folder) => (folder.to_owned(), None),
        None => {
            let temporary = tempfile::tempdir()?;
            (temporary.path().to_owned(), Some(temporary))
        }
    })
}

/// JSON, or the name of a file that holds it.
fn json_argument(what: &str, text: &str) -> anyhow::Result<Value> {
    let inline =
        text.trim_start().starts_with(['{', '[', '"']) || serde_json::from_str::<Value>(text).is_ok();
    let (whose, text) = if inline {
        (what.to_owned(), text.to_owned())
    } else {
        (format!("`{text}`"), read(Path::new(text))?)
    };
    serde_json::from_str(&text).map_err(|error| unusable(format!("{whose} is not JSON: {error}")).into())
}

struct Mocks {
    config: MockConfig,
    machine: String,
    case: String,
}

/// Reads a mock file.
pub(super) fn mock_config(path: &Path) -> anyhow::Result<MockConfig> {
    MockConfig::parse(&read(path)?).map_err(|error| unusable(format!("`{}`: {error}", path.display())).into())
}

fn mocks(path: &Path, wanted: Option<&str>) -> anyhow::Result<Mocks> {
    let config = mock_config(path)?;
    let cases: Vec<(String, String)> = config
        .test_cases()
        .filter(|(_, case)| wanted.is_none_or(|wanted| wanted == *case))
        .map(|(machine, case)| (machine.to_owned(), case.to_owned()))
        .collect();
    match cases.as_slice() {
        [(machine, case)] => Ok(Mocks {
            machine: machine.clone(),
            case: case.clone(),
            config,
        }),
        [] => {
            let all: Vec<&str> = config.test_cases().map(|(_, case)| case).collect();
            let path = path.display();
            Err(unusable(match wanted {
                Some(wanted) => format!("`{path}` has no test case `{wanted}`; it has {}", all.join(", ")),
                None => format!("`{path}` has no test cases"),
            })
            .into())
        }
        several => {
            let names: Vec<&str> = several.iter().map(|(_, case)| case.as_str()).collect();
            let message = format!(
                "`{}` has several test cases: say which with --test-case ({})",
                path.display(),
                names.join(", ")
            );
            Err(unusable(message).into())
        }
    }
}

fn refused(error: aws_local::OperationError) -> anyhow::Error {
    Failure {
        code: ExitCode::Failure,
        ..Failure::usage(error.to_string())
    }
    .into()
}
