//! TestState: one state, run by itself.
//!
//! The state becomes a machine of its own, whose other states end at once; what comes between its fields (`InputPath`,
//! `Parameters` and so on) is told by machines that have only these fields.

use std::{sync::Arc, time::Duration};

use serde_json::{Map, Value, json};
use sfn_builder::StateMachine;
use sfn_local::{
    BoxFuture, Engine, Event, HistoryEvent, Outcome, Runner, TaskCall, TaskFailure, TaskHandler,
    VirtualClock,
    engine::{Command, Progress, Signal},
};

use super::{
    MAX_DATA, States,
    answers::Answer,
    journal::{Execution, RUNNING},
    parse_json,
    tasks::Tasks,
};
use crate::{
    ACCOUNT,
    api::{ApiError, ApiResult, Check, Form, ROLE, TEXT},
};

/// What the state is called when it has no name.
const NAME: &str = "TestState";
/// What sets the variables before it.
const BEFORE: &str = "TestState variables";
/// How long a state is run.
const LIMIT: Duration = Duration::from_secs(300);

const DEFINITION: Form = Form {
    max: 1_048_576,
    ..TEXT
};

/// What is to be tested.
struct Test {
    name: String,
    state: Map<String, Value>,
    language: String,
    input: Value,
    variables: Map<String, Value>,
    mock: Option<Result<Value, TaskFailure>>,
    /// How many retries there have been.
    retries: u64,
    /// What an `ItemReader` reads.
    read: Option<String>,
    execution: sfn_local::Execution,
}

/// What came of it.
#[derive(Default)]
struct Tested {
    status: &'static str,
    output: Option<String>,
    error: Option<String>,
    cause: Option<String>,
    next: Option<String>,
    parameters: Option<Value>,
    result: Option<Value>,
    assigned: Vec<(String, String)>,
    backoff: Option<u64>,
}

impl States {
    pub(super) async fn test_state(self: &Arc<Self>, input: &Value) -> ApiResult<Value> {
        let mut check = Check::new(input);
        let level = check
            .choice("inspectionLevel", &["INFO", "DEBUG", "TRACE"])
            .unwrap_or("INFO");
        let test = self.test(&mut check, input)?;
        let machine = parse(&test.machine())?;
        let tested = self.run_test(&test, &machine).await;
        let mut answer = json!({"status": tested.status});
        for (member, text) in [
            ("output", &tested.output),
            ("error", &tested.error),
            ("cause", &tested.cause),
            ("nextState", &tested.next),
        ] {
            if let Some(text) = text {
                answer[member] = text.as_str().into();
            }
        }
        if level != "INFO" {
            answer["inspectionData"] = test.inspect(&tested);
        }
        Ok(answer)
    }

    fn test<'a>(&self, check: &mut Check<'a>, request: &'a Value) -> ApiResult<Test> {
        let definition = check.required("definition", DEFINITION).to_owned();
        let role = check.text("roleArn", TEXT).map(str::to_owned);
        let text = check.text("input", MAX_DATA).unwrap_or("{}").to_owned();
        let variables = check.text("variables", MAX_DATA).unwrap_or("{}").to_owned();
        let state_name = check
            .text("stateName", Form { max: 80, ..TEXT })
            .map(str::to_owned);
        let context = check.text("context", MAX_DATA).map(str::to_owned);
        let retries = check.integer("stateConfiguration.retrierRetryCount", 0, i64::from(i32::MAX));
        let failures = check.integer(
            "stateConfiguration.mapIterationFailureCount",
            0,
            i64::from(i32::MAX),
        );
        let read = check
            .text("stateConfiguration.mapItemReaderData", MAX_DATA)
            .map(str::to_owned);
        let origin = check.text("stateConfiguration.errorCausedByState", Form { max: 80, ..TEXT });
        let origin = origin.map(str::to_owned);
        let validation = check.choice("mock.fieldValidationMode", &["STRICT", "PRESENT", "NONE"]);
        let reveals = check.flag("revealSecrets");
        std::mem::replace(check, Check::new(request)).finish()?;
        if reveals && check.get("mock").is_some() {
            let message = "TestState does not support RevealSecrets when a mock is specified.";
            return Err(ApiError::validation(message));
        }
        if reveals {
            return Err(ApiError::not_implemented("revealSecrets"));
        }
        let document = parse_json(&definition).map_err(|reason| {
            let message = format!("Invalid State Machine Definition: 'INVALID_JSON_DESCRIPTION: {reason}'");
            ApiError::new("InvalidDefinition", message)
        })?;
        let (name, state, language) = match &state_name {
            Some(name) => {
                // The whole machine has to be a valid one.
                parse(&document)?;
                let (state, language) = find(&document, name, "JSONPath")
                    .ok_or_else(|| ApiError::validation(format!("State '{name}' not found in definition")))?;
                (name.clone(), state, language)
            }
            None => {
                let language = document["QueryLanguage"]
                    .as_str()
                    .unwrap_or("JSONPath")
                    .to_owned();
                let state = document.as_object().cloned().unwrap_or_default();
                (NAME.to_owned(), state, language)
            }
        };
        let mock = mock(request)?;
        let kind = state
            .get("Type")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned();
        let resource = state.get("Resource").and_then(Value::as_str).unwrap_or_default();
        let takes_mock = ["Task", "Map", "Parallel"].contains(&kind.as_str());
        if mock.is_some() && !takes_mock {
            let message = format!("State type '{kind}' is not supported when a mock is specified");
            return Err(ApiError::validation(message));
        }
        let fails = matches!(mock, Some(Err(_)));
        for (member, is_given, takes) in [
            (
                "mapIterationFailureCount",
                failures.is_some(),
                kind == "Map" && mock.is_some(),
            ),
            (
                "mapItemReaderData",
                read.is_some(),
                mock.is_some() && state.contains_key("ItemReader"),
            ),
            // Nothing of the answer depends on it.
            (
                "errorCausedByState",
                origin.is_some(),
                fails && ["Map", "Parallel"].contains(&kind.as_str()),
            ),
        ] {
            if is_given && !takes {
                return Err(ApiError::validation(format!(
                    "stateConfiguration.{member} is not supported for this state and mock: {}",
                    configured(member)
                )));
            }
        }
        if let Some(Ok(result)) = &mock {
            fits(&kind, &state, result)?;
            if kind == "Task" {
                conforms(validation, resource, result)?;
            }
        }
        if mock.is_none() {
            let waits = resource.contains(":activity:")
                || [".sync", ".sync:2", ".waitForTaskToken"]
                    .iter()
                    .any(|end| resource.ends_with(end));
            if kind == "Map" || kind == "Parallel" {
                let message = "TestState API does not support Map or Parallel states. Supported state types include: \
                               [Task, Wait, Pass, Succeed, Fail, Choice]";
                return Err(ApiError::new("InvalidDefinition", message));
            }
            if waits {
                let message = format!("Resource '{resource}' is not supported when a mock is not specified");
                return Err(ApiError::validation(message));
            }
            if kind == "Task" && role.is_none() {
                return Err(ApiError::validation(
                    "RoleArn must be specified when testing a Task state",
                ));
            }
            if context.is_some() {
                return Err(ApiError::validation(
                    "Context may only be specified when a mock is specified",
                ));
            }
        }
        if let Some(role) = role.as_deref().filter(|role| !(ROLE.matches)(role)) {
            return Err(ApiError::new("InvalidArn", format!("Invalid Role Arn: '{role}'")));
        }
        let input = parse_json(&text).map_err(|reason| {
            let message = format!("Invalid State Machine Execution Input: '{reason}'");
            ApiError::new("InvalidExecutionInput", message)
        })?;
        let Ok(Value::Object(variables)) = parse_json(&variables) else {
            return Err(ApiError::validation("Variables must be a JSON object"));
        };
        let given = match context.as_deref().map(parse_json) {
            None => None,
            Some(Ok(context @ Value::Object(_))) => {
                let waits = [".sync", ".sync:2", ".waitForTaskToken"];
                check_context(&context, waits.iter().any(|end| resource.ends_with(end)))?;
                Some(context)
            }
            Some(_) => return Err(ApiError::validation("Context must be a JSON object")),
        };
        let context = given.clone().unwrap_or_else(|| json!({}));
        let said = |pointer: &str| {
            context
                .pointer(pointer)
                .and_then(Value::as_str)
                .map(str::to_owned)
        };
        let machine_arn = said("/StateMachine/Id").unwrap_or_else(|| self.machine_arn(NAME));
        let execution_name = said("/Execution/Name").unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
        let execution_input = context
            .pointer("/Execution/Input")
            .cloned()
            .unwrap_or_else(|| input.clone());
        let mut execution = sfn_local::Execution::new(machine_arn, execution_name, execution_input);
        if let Some(arn) = said("/Execution/Id") {
            execution.arn = arn;
        }
        if let Some(name) = said("/StateMachine/Name") {
            execution.state_machine_name = name;
        }
        execution.role_arn = said("/Execution/RoleArn")
            .or(role)
            .unwrap_or_else(|| format!("arn:aws:iam::{ACCOUNT}:role/{NAME}"));
        execution.context = given;
        let retries = retries.map(i64::unsigned_abs);
        let retries = retries.or_else(|| context.pointer("/State/RetryCount").and_then(Value::as_u64));
        let mut test = Test {
            name,
            state,
            language,
            input,
            variables,
            mock,
            retries: retries.unwrap_or(0),
            read,
            execution,
        };
        if !fails && failures.is_some_and(|failures| test.exceeds(failures)) {
            test.mock = Some(Err(TaskFailure::new(
                "States.ExceedToleratedFailureThreshold",
                "The specified tolerated failure threshold was exceeded",
            )));
        }
        Ok(test)
    }

    async fn run_test(self: &Arc<Self>, test: &Test, machine: &StateMachine) -> Tested {
        let record = Execution {
            arn: test.execution.arn.clone(),
            name: test.execution.name.clone(),
            machine_arn: test.execution.state_machine_arn.clone(),
            revision: String::new(),
            version_arn: None,
            alias_arn: None,
            map_run_arn: None,
            status: RUNNING.to_owned(),
            input: String::new(),
            output: None,
            error: None,
            cause: None,
            started: 0.0,
            stopped: None,
            seed: 0,
            test_case: None,
            trace_header: None,
            redrives: 0,
            redriven: None,
            redrive_tokens: Vec::new(),
        };
        let tasks = Tasks::of(self, &record, None);
        let mut run = test.execution.clone();
        run.input = test.machine_input();
        let mut engine = Engine::new(machine, &run);
        let mut now = self.clock.now();
        engine.start(now);
        let mut tested = Tested::default();
        let mut failed = None;
        let mut retries = test.retries;
        loop {
            let progress = engine.advance(now, 64);
            tested.see(engine.take_events(), &test.name, &mut failed);
            if tested.next.is_some() || progress == Progress::Ended {
                break;
            }
            let mut called = false;
            for command in engine.take_commands() {
                let Command::Call { task, request } = command else {
                    continue;
                };
                called = true;
                tested.parameters = Some(request.parameters.clone());
                let result = match &test.mock {
                    Some(mock) => mock.clone(),
                    None => {
                        let call = TaskCall::outside(*request);
                        tokio::select! {
                            result = tasks.call(call) => result,
                            () = self.clock.sleep(LIMIT) => {
                                Err(TaskFailure::new("States.Timeout", ""))
                            }
                        }
                    }
                };
                match &result {
                    Ok(value) => tested.result = Some(value.clone()),
                    Err(failure) => failed = Some(failure.clone()),
                }
                engine.signal(now, Signal::Ended { task, result });
            }
            if called || progress == Progress::Ready {
                continue;
            }
            let Some(deadline) = engine.deadline() else { break };
            if let Some(failure) = &failed {
                if retries == 0 {
                    tested.status = "RETRIABLE";
                    tested.error = Some(failure.error.clone());
                    tested.cause = Some(failure.cause.clone()).filter(|cause| !cause.is_empty());
                    let wait = deadline.duration_since(now);
                    tested.backoff = u64::try_from(wait.as_secs()).ok();
                    return tested;
                }
                retries -= 1;
            }
            // A state that waits is not waited for.
            now = deadline;
        }
        let caught = failed.is_some() && tested.output.is_some();
        match engine.outcome() {
            Some(Outcome::Failed { error, cause } | Outcome::TimedOut { error, cause }) => {
                tested.status = "FAILED";
                (tested.error, tested.cause) = (error.clone(), cause.as_deref().map(bare));
                tested.output = None;
                tested.next = None;
            }
            _ if caught => {
                tested.status = "CAUGHT_ERROR";
                if let Some(failure) = failed {
                    tested.error = Some(failure.error);
                    tested.cause = Some(bare(&failure.cause)).filter(|cause| !cause.is_empty());
                }
            }
            _ => tested.status = "SUCCEEDED",
        }
        tested
    }
}

/// A cause without the state and the event, which there are only in executions.
fn bare(cause: &str) -> String {
    let rest = cause
        .strip_prefix("An error occurred while executing the state '")
        .and_then(|rest| rest.split_once("' (entered at the event id #"))
        .and_then(|(_, rest)| rest.split_once("). "));
    rest.map_or(cause, |(_, reason)| reason).to_owned()
}

impl Tested {
    /// Takes what the state itself has done.
    fn see(&mut self, events: Vec<HistoryEvent>, name: &str, failed: &mut Option<TaskFailure>) {
        for event in events {
            match event.event {
                Event::StateExited {
                    name: exited,
                    output,
                    assigned,
                    ..
                } if exited == name => {
                    self.output = Some(output);
                    self.assigned = assigned;
                }
                Event::StateEntered { name: entered, .. } if entered != name && self.output.is_some() => {
                    self.next.get_or_insert(entered);
                }
                Event::TaskSucceeded { .. } | Event::LambdaFunctionSucceeded { .. } => *failed = None,
                // A failure of the state's own fields, which a Catch may take.
                Event::EvaluationFailed { error, cause, .. } => {
                    failed.get_or_insert(TaskFailure::new(error, cause.unwrap_or_default()));
                }
                _ => {}
            }
        }
    }
}

impl Test {
    fn text(&self, member: &str) -> &str {
        self.state.get(member).and_then(Value::as_str).unwrap_or_default()
    }

    /// The state, and where it leads to, as a machine.
    fn machine(&self) -> Value {
        let mut state = self.state.clone();
        let kind = self.text("Type");
        let fans = kind == "Map" || kind == "Parallel";
        let mut states = Map::new();
        if fans {
            // Its result is mocked, so that what is inside of it is not run.
            state = [
                "QueryLanguage",
                "InputPath",
                "ResultSelector",
                "ResultPath",
                "OutputPath",
                "Output",
                "Assign",
            ]
            .into_iter()
            .chain(["Retry", "Catch", "Next", "End", "Comment"])
            .filter_map(|member| Some((member.to_owned(), self.state.get(member)?.clone())))
            .collect();
            state.insert("Type".into(), "Task".into());
            let resource = format!("arn:aws:lambda:us-east-1:{ACCOUNT}:function:mock");
            state.insert("Resource".into(), resource.into());
        }
        let start = if self.variables.is_empty() {
            self.name.clone()
        } else {
            let assigned: Map<String, Value> = self
                .variables
                .keys()
                .map(|name| (format!("{name}.$"), format!("$.variables.{name}").into()))
                .collect();
            let before = json!({
                "Type": "Pass",
                "QueryLanguage": "JSONPath",
                "Assign": assigned,
                "OutputPath": "$.input",
                "Next": self.name,
            });
            states.insert(BEFORE.to_owned(), before);
            BEFORE.to_owned()
        };
        for target in targets(&state) {
            states.insert(target, json!({"Type": "Succeed"}));
        }
        states.insert(self.name.clone(), state.into());
        // A JSONata machine has no JSONPath states, the other way round it may.
        let mut machine = json!({"StartAt": start, "States": states});
        if self.language == "JSONata" && self.state.get("QueryLanguage").is_none() {
            machine["States"][&self.name]["QueryLanguage"] = "JSONata".into();
        }
        machine
    }

    fn machine_input(&self) -> Value {
        if self.variables.is_empty() {
            self.input.clone()
        } else {
            json!({"variables": self.variables, "input": self.input})
        }
    }

    /// What `inspectionData` tells.
    fn inspect(&self, tested: &Tested) -> Value {
        let mut data = json!({"input": self.input.to_string()});
        let mut tell = |member: &str, value: Option<Value>| {
            if let Some(value) = value {
                data[member] = value.to_string().into();
            }
        };
        let kind = self.text("Type");
        let jsonata = self.is_jsonata();
        let result = tested.result.clone();
        if jsonata {
            if kind == "Task" {
                tell("afterArguments", tested.parameters.clone());
            }
            tell("result", result);
        } else {
            let selected = self.probe(&["InputPath"], &self.input);
            let mut effective = selected.clone();
            tell("afterInputPath", selected.clone());
            if ["Task", "Pass", "Map", "Parallel"].contains(&kind) {
                let filled = match (kind, &tested.parameters) {
                    ("Task", Some(parameters)) => Some(parameters.clone()),
                    ("Map", _) => None,
                    _ => self.probe(&["InputPath", "Parameters"], &self.input),
                };
                if filled.is_some() {
                    effective.clone_from(&filled);
                }
                tell("afterParameters", filled);
            }
            let result = match kind {
                "Pass" => self.state.get("Result").cloned().or(effective),
                _ => result,
            };
            tell("result", result.clone());
            if let Some(result) = result.filter(|_| ["Task", "Pass", "Map", "Parallel"].contains(&kind)) {
                let selected = match self.state.get("ResultSelector") {
                    Some(selector) => probe(
                        json!({"Type": "Pass", "Parameters": selector}),
                        &result,
                        &self.variables,
                        &self.execution,
                    ),
                    None => Some(result),
                };
                if kind != "Pass" {
                    tell("afterResultSelector", selected.clone());
                }
                if let Some(selected) = selected {
                    tell("afterResultPath", self.placed(selected));
                }
            }
        }
        if kind == "Map" {
            self.inspect_map(jsonata, &mut tell);
        }
        let mut variables = self.variables.clone();
        for (name, text) in &tested.assigned {
            variables.insert(name.clone(), serde_json::from_str(text).unwrap_or_default());
        }
        if !variables.is_empty() {
            tell("variables", Some(variables.into()));
        }
        if kind == "Map" {
            for (member, field) in [
                ("maxConcurrency", "MaxConcurrency"),
                ("toleratedFailureCount", "ToleratedFailureCount"),
                ("toleratedFailurePercentage", "ToleratedFailurePercentage"),
            ] {
                if let Some(number) = self.state.get(field).filter(|value| value.is_number()) {
                    data[member] = number.clone();
                }
            }
        }
        let mut details = Map::new();
        let error = tested.error.as_deref().unwrap_or_default();
        if tested.status == "RETRIABLE" {
            details.insert("retryIndex".into(), self.handler("Retry", error).into());
            details.insert("retryBackoffIntervalSeconds".into(), tested.backoff.into());
        }
        if tested.status == "CAUGHT_ERROR" {
            details.insert("catchIndex".into(), self.handler("Catch", error).into());
        }
        if !details.is_empty() {
            data["errorDetails"] = details.into();
        }
        data
    }

    /// A Map state whose result is its items, as it takes them.
    fn items_of(&self, jsonata: bool) -> Value {
        let mut map = json!({
            "Type": "Map",
            "ItemProcessor": {"StartAt": "Item", "States": {"Item": {"Type": "Pass", "End": true}}},
        });
        for member in ["QueryLanguage", "InputPath", "ItemsPath", "Items", "ItemReader"] {
            if let Some(value) = self.state.get(member) {
                map[member] = value.clone();
            }
        }
        if jsonata {
            map["QueryLanguage"] = "JSONata".into();
        }
        map
    }

    /// What a Map state whose items are passed on gives; nothing where they are read, and nothing says what.
    fn run_items(&self, mut map: Value) -> Option<Value> {
        if map.get("ItemReader").is_none() {
            return probe(map, &self.input, &self.variables, &self.execution);
        }
        let body = json!({"Body": self.read.as_ref()?});
        map["ItemProcessor"]["ProcessorConfig"] = json!({"Mode": "DISTRIBUTED", "ExecutionType": "EXPRESS"});
        let (machine, run) = alone(map, &self.input, &self.variables, &self.execution)?;
        let reads = move |_: TaskCall| -> BoxFuture<'static, Result<Value, TaskFailure>> {
            let body = body.clone();
            Box::pin(async move { Ok(body) })
        };
        let clock = VirtualClock::new(jiff::Timestamp::UNIX_EPOCH);
        let mut record = |_: &HistoryEvent| {};
        match clock.block_on(Runner::new(&reads, &clock).run(&machine, &run, &mut record)) {
            Outcome::Succeeded { output } => Some(output),
            _ => None,
        }
    }

    fn is_jsonata(&self) -> bool {
        let own = self.state.get("QueryLanguage").and_then(Value::as_str);
        own.unwrap_or(&self.language) == "JSONata"
    }

    /// Whether so many failed iterations are more than the Map state tolerates, if it says what it tolerates.
    fn exceeds(&self, failures: i64) -> bool {
        #[expect(clippy::cast_precision_loss, reason = "there are not 2^53 iterations")]
        let failed = failures as f64;
        let items = || {
            let items = self.run_items(self.items_of(self.is_jsonata()));
            let count = items.and_then(|items| items.as_array().map(Vec::len));
            count.map_or(1.0, |count| count.max(1) as f64)
        };
        self.tolerated("ToleratedFailureCount")
            .is_some_and(|count| failed > count)
            || self
                .tolerated("ToleratedFailurePercentage")
                .is_some_and(|percentage| failed * 100.0 / items() > percentage)
    }

    /// A number that the state says, or computes.
    fn tolerated(&self, field: &str) -> Option<f64> {
        let computed = match (self.state.get(field), self.state.get(&format!("{field}Path"))) {
            (Some(Value::Number(number)), _) => return number.as_f64(),
            (Some(Value::String(expression)), _) => {
                json!({"Type": "Pass", "QueryLanguage": "JSONata", "Output": expression})
            }
            (_, Some(path)) => {
                let input = self.state.get("InputPath").cloned();
                json!({"Type": "Pass", "InputPath": input.unwrap_or("$".into()), "Parameters": {"is.$": path}})
            }
            _ => return None,
        };
        let value = probe(computed, &self.input, &self.variables, &self.execution)?;
        value.get("is").unwrap_or(&value).as_f64()
    }

    fn inspect_map(&self, jsonata: bool, tell: &mut impl FnMut(&str, Option<Value>)) {
        let mut map = self.items_of(jsonata);
        if !jsonata && map.get("ItemReader").is_none() {
            tell("afterItemsPath", self.run_items(map.clone()));
        }
        if let Some(selector) = self
            .state
            .get("ItemSelector")
            .or_else(|| self.state.get("Parameters"))
        {
            map["ItemSelector"] = selector.clone();
        }
        tell("afterItemSelector", self.run_items(map));
    }

    /// What a Pass state with these fields of the state makes of an input.
    fn probe(&self, fields: &[&str], input: &Value) -> Option<Value> {
        let mut state = json!({"Type": "Pass"});
        for field in fields {
            if let Some(value) = self.state.get(*field) {
                state[*field] = value.clone();
            }
        }
        probe(state, input, &self.variables, &self.execution)
    }

    /// The state's input with the result where `ResultPath` puts it.
    fn placed(&self, result: Value) -> Option<Value> {
        const RESULT: &str = "resultOfTheState";
        let mut variables = self.variables.clone();
        variables.insert(RESULT.to_owned(), result);
        let mut state = json!({"Type": "Pass", "InputPath": format!("${RESULT}")});
        if let Some(path) = self.state.get("ResultPath") {
            state["ResultPath"] = path.clone();
        }
        probe(state, &self.input, &variables, &self.execution)
    }

    /// Which retrier or catcher takes the error.
    fn handler(&self, list: &str, error: &str) -> Option<usize> {
        let covers = |name: &Value| match name.as_str() {
            Some("States.ALL") => true,
            Some("States.TaskFailed") => error != "States.Timeout",
            name => name == Some(error),
        };
        self.state.get(list)?.as_array()?.iter().position(|handler| {
            handler["ErrorEquals"]
                .as_array()
                .is_some_and(|names| names.iter().any(covers))
        })
    }
}

/// A state that leads nowhere, as a machine with its execution.
fn alone(
    mut state: Value,
    input: &Value,
    variables: &Map<String, Value>,
    execution: &sfn_local::Execution,
) -> Option<(StateMachine, sfn_local::Execution)> {
    state["End"] = true.into();
    let test = Test {
        name: NAME.to_owned(),
        language: "JSONPath".to_owned(),
        state: state.as_object()?.clone(),
        input: input.clone(),
        variables: variables.clone(),
        mock: None,
        retries: 0,
        read: None,
        execution: execution.clone(),
    };
    let document = match state["Type"].as_str() {
        // Only what is tested is mocked.
        Some("Map") => {
            let mut inner = test.machine();
            inner["States"][NAME] = state;
            inner
        }
        _ => test.machine(),
    };
    let mut run = execution.clone();
    run.input = test.machine_input();
    Some((parse(&document).ok()?, run))
}

/// Runs a state that calls nothing, and gives its output.
fn probe(
    state: Value,
    input: &Value,
    variables: &Map<String, Value>,
    execution: &sfn_local::Execution,
) -> Option<Value> {
    let (machine, run) = alone(state, input, variables, execution)?;
    let mut engine = Engine::new(&machine, &run);
    let now = jiff::Timestamp::UNIX_EPOCH;
    engine.start(now);
    while engine.advance(now, 64) == Progress::Ready {}
    match engine.outcome() {
        Some(Outcome::Succeeded { output }) => Some(output.clone()),
        _ => None,
    }
}

fn parse(document: &Value) -> ApiResult<StateMachine> {
    StateMachine::from_json(&document.to_string())
        .map_err(|error| ApiError::new("InvalidDefinition", error.service_message()))
}

/// The states that a state leads to.
fn targets(state: &Map<String, Value>) -> Vec<String> {
    let mut found = Vec::new();
    let mut add = |value: Option<&Value>| {
        if let Some(name) = value.and_then(Value::as_str) {
            found.push(name.to_owned());
        }
    };
    add(state.get("Next"));
    add(state.get("Default"));
    for list in ["Catch", "Choices"] {
        for entry in state.get(list).and_then(Value::as_array).into_iter().flatten() {
            add(entry.get("Next"));
        }
    }
    found
}

/// The state of that name, wherever it is, and its query language.
fn find(machine: &Value, name: &str, language: &str) -> Option<(Map<String, Value>, String)> {
    let language = machine["QueryLanguage"].as_str().unwrap_or(language);
    let states = machine["States"].as_object()?;
    if let Some(Value::Object(state)) = states.get(name) {
        let own = state.get("QueryLanguage").and_then(Value::as_str);
        return Some((state.clone(), own.unwrap_or(language).to_owned()));
    }
    states.values().find_map(|state| {
        let branches = state["Branches"].as_array().into_iter().flatten();
        branches
            .chain(state.get("ItemProcessor"))
            .chain(state.get("Iterator"))
            .find_map(|inner| find(inner, name, language))
    })
}

/// Whether a mocked result conforms to the API of what a Task calls, as the `fieldValidationMode` asks for it: `STRICT` unless it
/// says otherwise. Activities and functions have no API; nothing is held
/// against an answer that is not known here, which is refused where it was asked for.
fn conforms(mode: Option<&str>, resource: &str, result: &Value) -> ApiResult<()> {
    if mode == Some("NONE") || !resource.contains(":states:::") {
        return Ok(());
    }
    match (Answer::of(resource), mode) {
        (Some(answer), _) => answer
            .check(result, mode != Some("PRESENT"))
            .map_err(ApiError::validation),
        (None, None) => Ok(()),
        (None, Some(mode)) => {
            let what = format!("The fieldValidationMode {mode} for `{resource}`, whose answer is not known,");
            Err(ApiError::not_implemented(&what))
        }
    }
}

/// What a member of the state's configuration is for.
fn configured(member: &str) -> &'static str {
    match member {
        "mapIterationFailureCount" => "it counts failed iterations of a mocked Map state",
        "mapItemReaderData" => "it is what the ItemReader of a mocked Map state reads",
        _ => "it tells where the mocked error of a Map or Parallel state comes from",
    }
}

/// A mocked result has to be what comes out of a Map or Parallel state.
fn fits(kind: &str, state: &Map<String, Value>, result: &Value) -> ApiResult<()> {
    let writes = state
        .get("ResultWriter")
        .is_some_and(|writer| writer.get("Resource").is_some());
    let problem = match (kind, result) {
        ("Map", Value::Object(_)) if writes => return Ok(()),
        ("Map", _) if writes => "Mocked result must be a JSON object.",
        ("Map", Value::Array(_)) => return Ok(()),
        ("Parallel", Value::Array(results)) => {
            let branches = state
                .get("Branches")
                .and_then(Value::as_array)
                .map_or(0, Vec::len);
            if results.len() == branches {
                return Ok(());
            }
            "Mocked result must contain the same number of items as number of Parallel branches."
        }
        ("Map" | "Parallel", _) => "Mocked result must be an array.",
        _ => return Ok(()),
    };
    Err(ApiError::validation(problem))
}

/// What a context object may hold: members, and members of them.
const CONTEXT: [(&str, &[&str]); 4] = [
    (
        "Execution",
        &[
            "Id",
            "Input",
            "Name",
            "RoleArn",
            "StartTime",
            "RedriveCount",
            "RedriveTime",
        ],
    ),
    ("State", &["EnteredTime", "Name", "RetryCount"]),
    ("StateMachine", &["Id", "Name"]),
    ("Task", &["Token"]),
];

/// Checks a context object; `waits` says whether the state waits for a job or a token.
fn check_context(context: &Value, waits: bool) -> ApiResult<()> {
    let invalid = |what: String| {
        let message = format!("Invalid Context object provided: {what}");
        Err(ApiError::validation(message))
    };
    for (name, member) in context.as_object().into_iter().flatten() {
        if name == "Map" {
            return invalid("'Map' field is not supported when mocking a Context object".to_owned());
        }
        let Some((_, allowed)) = CONTEXT.iter().find(|(known, _)| known == name) else {
            return invalid(format!("Field '{name}' is not allowed"));
        };
        if name == "Task" && !waits {
            return invalid(
                "Context object contains 'Task' when state is not a Task state with a '.sync' or '.waitForTaskToken' \
                 service integration pattern"
                    .to_owned(),
            );
        }
        for (inner, value) in member.as_object().into_iter().flatten() {
            if !allowed.contains(&inner.as_str()) {
                return invalid(format!("Field '{inner}' is not allowed"));
            }
            let is_text = !["Input", "RetryCount", "RedriveCount"].contains(&inner.as_str());
            if is_text && !value.is_string() {
                return invalid(format!("{name}.{inner} must be a string"));
            }
        }
    }
    Ok(())
}

/// The result or error that stands in for the state's own.
fn mock(request: &Value) -> ApiResult<Option<Result<Value, TaskFailure>>> {
    let Some(mock) = request.get("mock").filter(|mock| !mock.is_null()) else {
        return Ok(None);
    };
    let said = |value: &Value| value.as_str().map(str::to_owned);
    match (
        said(&mock["result"]),
        mock.get("errorOutput").filter(|error| !error.is_null()),
    ) {
        (Some(_), Some(_)) => Err(ApiError::validation(
            "A test mock should have only one of the following fields: [result, errorOutput].",
        )),
        (None, None) => Err(ApiError::validation(
            "A test mock should have one of the following fields: [result, errorOutput].",
        )),
        (Some(text), None) => match parse_json(&text) {
            Ok(result) => Ok(Some(Ok(result))),
            Err(_) => Err(ApiError::validation("Mocked result must be valid JSON")),
        },
        (None, Some(output)) => {
            let Some(error) = said(&output["error"]) else {
                return Err(ApiError::validation(
                    "The field errorOutput.error is required in a test mock.",
                ));
            };
            let cause = said(&output["cause"]).unwrap_or_default();
            Ok(Some(Err(TaskFailure::new(error, cause))))
        }
    }
}
