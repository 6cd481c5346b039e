//! `ipinsights states run` and `states test`: a state machine, or one state of it, by itself.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aws_local::{MockConfig, Server, VirtualClock};
use serde_json::{Value, json};
use sfn_builder::Document;

use super::machines::{definition, read, unusable};
use crate::cli::{StatesCommand, StatesRunArgs, StatesTestArgs};
use crate::exit::{ExitCode, Failure};
use crate::output::Output;
use crate::signals::Signals;

/// How often is looked for what has happened.
const PAUSE: Duration = Duration::from_millis(5);
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
    let signals = Signals::listen();
    let document = definition(&args.definition, args.state_machine.as_deref())?.document;
    let input = json_argument("--input", args.input.as_deref().unwrap_or("{}"))?;
    let mocks = match &args.mock {
        None => None,
        Some(path) => Some(mocks(path, args.test_case.as_deref())?),
    };
    let (folder, _temporary) = folder(args.data_dir.as_deref())?;
    let mut builder = Server::builder(folder);
    let (name, case) = match mocks {
        None => (None, None),
        Some(mocks) => {
            builder = builder.mock_config(mocks.config);
            (Some(mocks.machine), Some(mocks.case))
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
    let machine = machine(&server, &document.as_value().to_string(), name.as_deref()).await?;
    let arn = match case {
        None => machine,
        Some(case) => format!("{machine}#{case}"),
    };
    let start = json!({"stateMachineArn": arn, "input": input.to_string()});
    let started = call(&server, "StartExecution", start).await?;
    let run = Run {
        server: &server,
        execution: json!({"executionArn": started["executionArn"]}),
        clock,
    };
    let mut follower = (args.follow && !output.quiet).then(Follower::default);
    let described = tokio::select! {
        described = run.to_the_end(&mut follower) => Some(described?),
        () = signals.first() => None,
    };
    let (described, interrupted) = match described {
        Some(described) => (described, false),
        None => {
            let mut stop = run.execution.clone();
            stop["cause"] = "interrupted".into();
            call(&server, "StopExecution", stop).await?;
            if let Some(follower) = &mut follower {
                run.tell_news(follower).await?;
            }
            (
                call(&server, "DescribeExecution", run.execution.clone()).await?,
                true,
            )
        }
    };
    let events = match args.history {
        true => Some(run.events(0).await?),
        false => None,
    };
    server.shutdown().await;
    let told = tell(&described, events, output);
    if interrupted {
        return Err(Failure {
            code: ExitCode::Interrupted,
            ..Failure::usage("interrupted: the execution was stopped")
        }
        .into());
    }
    told
}

async fn call(server: &Server, operation: &str, input: Value) -> anyhow::Result<Value> {
    server
        .call(&format!("AWSStepFunctions.{operation}"), &input)
        .await
        .map_err(refused)
}

/// Makes the machine, and leaves alone what the folder has: one that is the same is used, one that differs keeps its name.
async fn machine(server: &Server, definition: &str, name: Option<&str>) -> anyhow::Result<String> {
    for number in 1.. {
        let free = match number {
            1 => name.unwrap_or(NAME).to_owned(),
            _ => format!("{NAME}-{number}"),
        };
        let create = json!({"name": free, "roleArn": ROLE, "definition": definition});
        let error = match call(server, "CreateStateMachine", create).await {
            Ok(created) => return Ok(created["stateMachineArn"].as_str().unwrap_or_default().to_owned()),
            Err(error) => error,
        };
        if !error.to_string().starts_with("StateMachineAlreadyExists") {
            return Err(error);
        }
        if let Some(name) = name {
            let message = format!(
                "the data folder has another state machine `{name}`, which is left as it is: give another --data-dir, or \
                 none"
            );
            return Err(unusable(message).into());
        }
    }
    Err(unusable("the data folder has no name left".to_owned()).into())
}

/// An execution under way.
struct Run<'a> {
    server: &'a Server,
    /// `executionArn`
    execution: Value,
    clock: Option<VirtualClock>,
}

impl Run<'_> {
    /// Waits for the end, and tells the follower what happens meanwhile.
    async fn to_the_end(&self, follower: &mut Option<Follower>) -> anyhow::Result<Value> {
        loop {
            if let Some(clock) = &self.clock {
                clock.idle().await;
            }
            let described = call(self.server, "DescribeExecution", self.execution.clone()).await?;
            if let Some(follower) = follower {
                self.tell_news(follower).await?;
            }
            if described["status"] != "RUNNING" {
                return Ok(described);
            }
            match &self.clock {
                None => tokio::time::sleep(PAUSE).await,
                Some(clock) if clock.advance_to_next() => {}
                Some(_) => {
                    let mut stop = self.execution.clone();
                    stop["error"] = "NothingHappens".into();
                    stop["cause"] =
                        "the execution waits for what does not come: nothing runs, and nothing waits for a moment".into();
                    call(self.server, "StopExecution", stop).await?;
                }
            }
        }
    }

    async fn tell_news(&self, follower: &mut Follower) -> anyhow::Result<()> {
        for event in self.events(follower.last).await? {
            eprintln!("{}", follower.line(&event));
        }
        for run in std::mem::take(&mut follower.runs) {
            let described = call(self.server, "DescribeMapRun", json!({"mapRunArn": run.arn})).await?;
            if let Some(line) = follower.counts(run, &described) {
                eprintln!("{line}");
            }
        }
        Ok(())
    }

    /// The events after one.
    async fn events(&self, after: u64) -> anyhow::Result<Vec<Value>> {
        let mut request = self.execution.clone();
        request["maxResults"] = 1000.into();
        // The token of a page is the number of its first event.
        if after > 0 {
            request["nextToken"] = (after + 1).to_string().into();
        }
        let mut events = Vec::new();
        loop {
            let page = call(self.server, "GetExecutionHistory", request.clone()).await?;
            events.extend(page["events"].as_array().cloned().unwrap_or_default());
            match page.get("nextToken") {
                Some(token) => request["nextToken"] = token.clone(),
                None => return Ok(events),
            }
        }
    }
}

/// Tells events to people, as they happen.
#[derive(Default)]
struct Follower {
    /// The last event that was told.
    last: u64,
    started: f64,
    /// The state that each event is of.
    states: HashMap<u64, String>,
    /// Map runs whose last counts were not told.
    runs: Vec<MapRun>,
}

/// A map run that is followed.
struct MapRun {
    arn: String,
    /// Of the Map state.
    state: String,
    /// The line that was told last.
    told: Option<String>,
}

impl Follower {
    /// When, in which state, what.
    fn line(&mut self, event: &Value) -> String {
        let id = event["id"].as_u64().unwrap_or_default();
        self.last = id;
        let moment = event["timestamp"].as_f64().unwrap_or_default();
        if id == 1 {
            self.started = moment;
        }
        let kind = event["type"].as_str().unwrap_or_default();
        let details = details(event);
        let said = |member: &str| details.and_then(|details| details[member].as_str());
        let state = match (kind.ends_with("StateEntered"), said("name")) {
            (true, Some(name)) => Some(name.to_owned()),
            // It follows the event that has failed beside it.
            _ if kind.ends_with("Aborted") => None,
            _ => event["previousEventId"]
                .as_u64()
                .and_then(|previous| self.states.get(&previous).cloned()),
        };
        if let Some(state) = &state {
            self.states.insert(id, state.clone());
        }
        if let ("MapRunStarted" | "MapRunRedriven", Some(run)) = (kind, said("mapRunArn")) {
            self.runs.push(MapRun {
                arn: run.to_owned(),
                state: state.clone().unwrap_or_default(),
                told: None,
            });
        }
        let what = match said("error") {
            Some(error) => match said("cause").filter(|cause| !cause.is_empty()) {
                Some(cause) => format!("{error}: {cause}"),
                None => error.to_owned(),
            },
            None => ["resource", "output", "input", "cause"]
                .into_iter()
                .find_map(said)
                .unwrap_or_default()
                .to_owned(),
        };
        let line = format!(
            "{:>12}  {:<24} {:<24} {}",
            elapsed(moment - self.started),
            state.unwrap_or_default(),
            kind,
            shortened(&what)
        );
        line.trim_end().to_owned()
    }

    /// How far a map run is; nothing when that was told. It is followed for as long as it runs.
    fn counts(&mut self, mut run: MapRun, described: &Value) -> Option<String> {
        let counts = &described["executionCounts"];
        let count = |name: &str| counts[name].as_u64().unwrap_or_default();
        let failed = count("failed") + count("timedOut") + count("aborted");
        let line = format!(
            "{:>12}  {:<24} map run: {} of {} ended well, {failed} otherwise, {} running",
            "",
            run.state,
            count("succeeded"),
            count("total"),
            count("running")
        );
        let is_new = run.told.as_ref() != Some(&line);
        if described["status"] == "RUNNING" {
            run.told = Some(line.clone());
            self.runs.push(run);
        }
        is_new.then_some(line)
    }
}

/// `+1 h 2 min 3.004 s`, without the units in front that are zero.
fn elapsed(seconds: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "not negative, and years at most"
    )]
    let millis = (seconds.max(0.0) * 1000.0).round() as u64;
    let (minutes, rest) = (millis / 60_000, millis % 60_000);
    let rest = format!("{}.{:03} s", rest / 1000, rest % 1000);
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("+{rest}"),
        (0, minutes) => format!("+{minutes} min {rest}"),
        (hours, minutes) => format!("+{hours} h {minutes} min {rest}"),
    }
}

/// One line of a text.
fn shortened(text: &str) -> String {
    const LONGEST: usize = 160;
    let line = text.replace(['\n', '\r', '\t'], " ");
    match line.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line,
    }
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

/// What an event says beyond its type.
fn details(event: &Value) -> Option<&Value> {
    let members = event.as_object()?;
    let found = members
        .iter()
        .find(|(member, _)| member.ends_with("EventDetails"));
    found.map(|(_, details)| details)
}

/// An event in a line: its number, that of the one before, its type and its state.
fn line(event: &Value) -> String {
    let details = details(event);
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
    let text = match &args.name {
        // Any file that holds machines.
        Some(_) => {
            let found = definition(&args.state, args.state_machine.as_deref())?;
            found.document.as_value().to_string()
        }
        None => state_definition(&args.state)?,
    };
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
        if let Some(mode) = &args.field_validation {
            request["mock"]["fieldValidationMode"] = mode.to_uppercase().into();
        }
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

/// The definition of a state by itself: JSON or YAML.
fn state_definition(path: &Path) -> anyhow::Result<String> {
    let text = read(path)?;
    if text.trim_start().starts_with('{') {
        return Ok(text);
    }
    match Document::parse_yaml(&text) {
        Ok(document) => Ok(document.as_value().to_string()),
        Err(error) => Err(unusable(format!("`{}`: {error}", path.display())).into()),
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

/// The test case that is wanted: by its name, or after its machine's and a `#`.
fn mocks(path: &Path, wanted: Option<&str>) -> anyhow::Result<Mocks> {
    let config = mock_config(path)?;
    let all: Vec<(String, String)> = config
        .test_cases()
        .map(|(machine, case)| (machine.to_owned(), case.to_owned()))
        .collect();
    let is_wanted = |(machine, case): &&(String, String)| match wanted {
        None => true,
        Some(wanted) => wanted == case || wanted == format!("{machine}#{case}"),
    };
    let found: Vec<&(String, String)> = all.iter().filter(is_wanted).collect();
    // By the machine's name, too, where several have a case of that name.
    let named = |cases: &[&(String, String)]| -> String {
        let name = |(machine, case): &(String, String)| {
            let same = all.iter().filter(|(_, other)| other == case).count();
            if same > 1 {
                format!("{machine}#{case}")
            } else {
                case.clone()
            }
        };
        let names: Vec<String> = cases.iter().map(|case| name(case)).collect();
        names.join(", ")
    };
    let shown = path.display();
    let message = match (found.as_slice(), wanted) {
        ([(machine, case)], _) => {
            let (machine, case) = (machine.clone(), case.clone());
            return Ok(Mocks {
                config,
                machine,
                case,
            });
        }
        ([], Some(wanted)) => {
            let all: Vec<_> = all.iter().collect();
            format!("`{shown}` has no test case `{wanted}`; it has {}", named(&all))
        }
        ([], None) => format!("`{shown}` has no test cases"),
        (several, _) => format!(
            "`{shown}` has several test cases: say which with --test-case ({})",
            named(several)
        ),
    };
    Err(unusable(message).into())
}

fn refused(error: aws_local::OperationError) -> anyhow::Error {
    Failure {
        code: ExitCode::Failure,
        ..Failure::usage(error.to_string())
    }
    .into()
}
