//! Executions: started, watched, stopped, redriven.

use std::{sync::Arc, time::Duration};

use http::StatusCode;
use serde_json::{Map, Value, json};
use sfn_builder::StateMachine;
use sfn_local::{HistoryEvent, Outcome};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{
    MAX_DATA, States, arn, check_name,
    journal::{After, Execution, Of, RUNNING},
    labelled, long_page_token,
    machines::{Kind, included_data, logging_or_default, tracing_or_default},
    missing_machine, page_size, page_token, parse_json,
    running::{Begin, Control},
    set_default,
    tasks::Tasks,
};
use crate::{
    ACCOUNT,
    api::{ApiError, ApiResult, Check, Form, TEXT},
    time::{Seconds, millis},
};

/// How long an Express execution takes at most.
const EXPRESS_LIMIT: Duration = Duration::from_secs(300);
/// How long, and how many, tokens of requests to redrive are known.
const TOKEN_VALID: Seconds = 900.0;
const TOKENS: usize = 10;

/// How often, and after which pause, the control of an execution is looked for.
const CONTROL_TRIES: usize = 200;
const CONTROL_PAUSE: Duration = Duration::from_millis(20);

const TRACE: Form = Form {
    pattern: "\\p{ASCII}*",
    matches: str::is_ascii,
    max: 256,
};

/// What a request asks to run.
struct Asked {
    execution: Execution,
    kind: Kind,
}

impl States {
    pub(super) fn start_execution(self: &Arc<Self>, input: &Value) -> ApiResult<Value> {
        // The revision stays there until the execution is.
        let changing = self.changing();
        let Asked { execution, kind } = self.asked(input)?;
        let machine = self.machine_of(&execution.revision)?;
        let answer =
            |execution: &Execution| json!({"executionArn": execution.arn, "startDate": execution.started});
        if kind == Kind::Express {
            let run = self.express_run(&execution)?;
            drop(changing);
            let this = self.clone();
            let answer = answer(&execution);
            let run = async move {
                tokio::select! {
                    () = this.stop.cancelled() => {}
                    _ = this.run_express(&execution, &run, &machine) => {}
                }
            };
            self.tasks.spawn(self.clock.watch(Box::pin(run)));
            return Ok(answer);
        }
        // Whoever finds it in the database finds its control.
        let mut controls = self.controls();
        match self.journal.insert(&execution)? {
            Ok(id) => {
                let control = Arc::<Control>::default();
                controls.insert(execution.arn.clone(), control.clone());
                drop((controls, changing));
                let answer = answer(&execution);
                self.spawn(id, execution, Ok(machine), Begin::New, control);
                Ok(answer)
            }
            // Asked for again just as it is, it runs already.
            Err(there) if there.status == RUNNING && there.input == execution.input => Ok(answer(&there)),
            Err(there) => {
                let message = format!("Execution Already Exists: '{}'", there.arn);
                Err(ApiError::new("ExecutionAlreadyExists", message))
            }
        }
    }

    /// Reads a request to start an execution, and finds what it is to run. The caller keeps others from changing machines.
    fn asked(&self, input: &Value) -> ApiResult<Asked> {
        let mut check = Check::new(input);
        let arn = check.required("stateMachineArn", TEXT);
        let name = check.text("name", TEXT).map(str::to_owned);
        let text = check.text("input", MAX_DATA).unwrap_or("{}");
        let trace_header = check.text("traceHeader", TRACE).map(str::to_owned);
        check.finish()?;
        let named = arn::machine(arn)?;
        if named.label.is_some() {
            return Err(labelled(arn));
        }
        let name = name.unwrap_or_else(|| Uuid::new_v4().to_string());
        check_name(&name)?;
        let machine = self
            .machine(&named.base)
            .map_err(|_| missing_machine(arn))?
            .not_deleting()?;
        let (mut version_arn, mut alias_arn) = (None, None);
        let revision = match named.alias() {
            Some(_) => {
                let qualified = named.qualified();
                let alias = self.aliases.get(&qualified).ok_or_else(|| missing_machine(arn))?;
                let version = self.routed(&alias, &name).ok_or_else(|| missing_machine(arn))?;
                alias_arn = Some(qualified);
                version_arn = Some(version.arn);
                version.revision
            }
            None if named.qualifier.is_some() => {
                let version = self.version(&named)?;
                version_arn = Some(version.arn);
                version.revision
            }
            None => machine.revision.clone(),
        };
        if text.len() > MAX_DATA.max {
            return Err(ApiError::new(
                "InvalidExecutionInput",
                format!(
                    "Invalid State Machine Execution Input: 'The input is longer than {} bytes'",
                    MAX_DATA.max
                ),
            ));
        }
        if text.is_empty() {
            let message = "Invalid State Machine Execution Input: 'Invalid execution input.'";
            return Err(ApiError::new("InvalidExecutionInput", message));
        }
        parse_json(text).map_err(|reason| {
            let message = format!("Invalid State Machine Execution Input: '{reason}'");
            ApiError::new("InvalidExecutionInput", message)
        })?;
        if let (Some(case), Some(mocks)) = (&named.test_case, &self.mocks) {
            if mocks.test_case(&machine.name, case).is_none() {
                let message = format!("The mock file has no test case `{case}` of `{}`", machine.name);
                return Err(ApiError::validation(message));
            }
        } else if named.test_case.is_some() {
            let message = "The ARN names a test case, but the server has no mock file (SFN_MOCK_CONFIG)";
            return Err(ApiError::validation(message));
        }
        let before = format!("arn:aws:states:{}:{ACCOUNT}", self.region);
        let arn = match machine.kind {
            Kind::Standard => format!("{before}:execution:{}:{name}", machine.name),
            Kind::Express => format!("{before}:express:{}:{name}:{}", machine.name, Uuid::new_v4()),
        };
        let execution = Execution {
            seed: seed(&arn),
            arn,
            name,
            machine_arn: machine.arn,
            revision,
            version_arn,
            alias_arn,
            map_run_arn: None,
            status: RUNNING.to_owned(),
            input: text.to_owned(),
            output: None,
            error: None,
            cause: None,
            started: self.now(),
            stopped: None,
            test_case: named.test_case,
            trace_header,
            redrives: 0,
            redriven: None,
            redrive_tokens: Vec::new(),
        };
        Ok(Asked {
            execution,
            kind: machine.kind,
        })
    }

    pub(super) async fn start_sync_execution(self: &Arc<Self>, input: &Value) -> ApiResult<Value> {
        let mut check = Check::new(input);
        let included = included_data(&mut check);
        check.finish()?;
        let (execution, run, machine) = self.asked_express(input)?;
        let outcome = tokio::select! {
            () = self.stop.cancelled() => {
                return Err(ApiError::new("InternalFailure", "the server stops"));
            }
            outcome = self.run_express(&execution, &run, &machine) => outcome,
        };
        let stopped = self.now();
        let took = millis(stopped).saturating_sub(millis(execution.started));
        let mut answer = json!({
            "executionArn": execution.arn,
            "stateMachineArn": execution.machine_arn,
            "name": execution.name,
            "startDate": execution.started,
            "stopDate": stopped,
            "status": outcome.status(),
            "inputDetails": {"included": included},
            // Whatever has come of it.
            "outputDetails": {"included": included},
            "billingDetails": {
                "billedMemoryUsedInMB": 64,
                "billedDurationInMilliseconds": took.max(1).div_ceil(100) * 100,
            },
        });
        if included {
            answer["input"] = execution.input.into();
        }
        match outcome {
            Outcome::Succeeded { output } => {
                if included {
                    answer["output"] = output.to_string().into();
                }
            }
            Outcome::Failed { error, cause }
            | Outcome::TimedOut { error, cause }
            | Outcome::Aborted { error, cause } => {
                for (member, text) in [("error", error), ("cause", cause)] {
                    if let Some(text) = text {
                        answer[member] = text.into();
                    }
                }
            }
        }
        if let Some(header) = execution.trace_header {
            answer["traceHeader"] = header.into();
        }
        Ok(answer)
    }

    /// What a request for an Express execution asks to run.
    fn asked_express(
        &self,
        input: &Value,
    ) -> ApiResult<(Execution, sfn_local::Execution, Arc<StateMachine>)> {
        let _changing = self.changing();
        let Asked { execution, kind } = self.asked(input)?;
        if kind == Kind::Standard {
            return Err(type_not_supported());
        }
        let machine = self.machine_of(&execution.revision)?;
        let run = self.express_run(&execution)?;
        Ok((execution, run, machine))
    }

    fn express_run(&self, execution: &Execution) -> ApiResult<sfn_local::Execution> {
        self.run_of(execution)
            .map_err(|error| ApiError::new("InvalidExecutionInput", error.to_string()))
    }

    /// Runs an Express execution, which leaves no history.
    async fn run_express(
        self: &Arc<Self>,
        execution: &Execution,
        run: &sfn_local::Execution,
        machine: &StateMachine,
    ) -> Outcome {
        let handler = Tasks::of(self, execution, None);
        let runner = self.runner(&handler);
        let mut record = |_: &HistoryEvent| {};
        tokio::select! {
            biased;
            outcome = runner.run(machine, run, &mut record) => outcome,
            () = self.clock.sleep(EXPRESS_LIMIT) => Outcome::TimedOut {
                error: Some("States.Timeout".to_owned()),
                cause: None,
            },
        }
    }

    pub(super) fn describe_execution(&self, input: &Value) -> ApiResult<Value> {
        let mut check = Check::new(input);
        let included = included_data(&mut check);
        check.finish()?;
        let (id, execution) = self.execution_of(input)?;
        let mut answer = Map::new();
        answer.insert("executionArn".into(), execution.arn.clone().into());
        answer.insert("stateMachineArn".into(), execution.machine_arn.clone().into());
        answer.insert("name".into(), execution.name.clone().into());
        answer.insert("status".into(), execution.status.clone().into());
        answer.insert("startDate".into(), execution.started.into());
        if let Some(stopped) = execution.stopped {
            answer.insert("stopDate".into(), stopped.into());
        }
        if included {
            answer.insert("input".into(), execution.input.clone().into());
        }
        answer.insert("inputDetails".into(), json!({"included": included}));
        if let Some(output) = &execution.output {
            if included {
                answer.insert("output".into(), output.clone().into());
            }
            answer.insert("outputDetails".into(), json!({"included": included}));
        }
        for (member, text) in [
            ("error", &execution.error),
            ("cause", &execution.cause),
            ("traceHeader", &execution.trace_header),
            ("mapRunArn", &execution.map_run_arn),
            ("stateMachineVersionArn", &execution.version_arn),
            ("stateMachineAliasArn", &execution.alias_arn),
        ] {
            if let Some(text) = text {
                answer.insert(member.into(), text.clone().into());
            }
        }
        answer.insert("redriveCount".into(), execution.redrives.into());
        if let Some(redriven) = execution.redriven {
            answer.insert("redriveDate".into(), redriven.into());
        }
        match self.not_redrivable(id, &execution)? {
            None => {
                let status = match &execution.map_run_arn {
                    None => "REDRIVABLE",
                    Some(_) => "REDRIVABLE_BY_MAP_RUN",
                };
                answer.insert("redriveStatus".into(), status.into());
            }
            Some(reason) => {
                answer.insert("redriveStatus".into(), "NOT_REDRIVABLE".into());
                answer.insert("redriveStatusReason".into(), reason.into());
            }
        }
        Ok(answer.into())
    }

    /// Why an execution cannot be redriven.
    fn not_redrivable(&self, id: i64, execution: &Execution) -> ApiResult<Option<String>> {
        let deleting = self
            .machines
            .look(&execution.machine_arn, |machine| machine.deleting);
        if deleting == Some(true) {
            return Ok(Some("State machine is in DELETING status".to_owned()));
        }
        Ok(self.journal.not_redrivable(id, execution, self.now())?)
    }

    pub(super) fn redrive_execution(self: &Arc<Self>, input: &Value) -> ApiResult<Value> {
        let mut check = Check::new(input);
        let token = check.text(
            "clientToken",
            Form {
                pattern: "[!-~]+",
                matches: |s| !s.is_empty() && s.bytes().all(|b| b.is_ascii_graphic()),
                max: 64,
            },
        );
        check.finish()?;
        // One request at a time: what each finds is as the one before has left it.
        let changing = self.changing();
        let (id, mut execution) = self.execution_of(input)?;
        let now = self.now();
        if let Some(token) = token
            && let Some((_, date)) = execution
                .redrive_tokens
                .iter()
                .find(|(known, date)| known == token && now - date <= TOKEN_VALID)
        {
            return Ok(json!({"redriveDate": date}));
        }
        if execution.map_run_arn.is_some() {
            let message = "Child executions of a map run are redriven with the execution that started it";
            return Err(ApiError::new("ExecutionNotRedrivable", message));
        }
        if let Some(reason) = self.not_redrivable(id, &execution)? {
            return Err(ApiError::new("ExecutionNotRedrivable", reason));
        }
        if self
            .machines
            .look(&execution.machine_arn, |machine| machine.deleting)
            != Some(false)
        {
            let message = format!("State machine '{}' has been deleted", execution.machine_arn);
            return Err(ApiError::new("ExecutionNotRedrivable", message));
        }
        let machine = self.machine_of(&execution.revision)?;
        execution.status = RUNNING.to_owned();
        execution.redrives += 1;
        execution.redriven = Some(now);
        (execution.stopped, execution.error, execution.cause) = (None, None, None);
        if let Some(token) = token {
            execution.redrive_tokens.push((token.to_owned(), now));
            let surplus = execution.redrive_tokens.len().saturating_sub(TOKENS);
            execution.redrive_tokens.drain(..surplus);
        }
        let mut controls = self.controls();
        self.journal.update(id, &execution)?;
        let control = Arc::<Control>::default();
        controls.insert(execution.arn.clone(), control.clone());
        drop((controls, changing));
        self.spawn(id, execution, Ok(machine), Begin::Again, control);
        Ok(json!({"redriveDate": now}))
    }

    pub(super) fn describe_machine_of_execution(&self, input: &Value) -> ApiResult<Value> {
        let mut check = Check::new(input);
        let included = included_data(&mut check);
        check.finish()?;
        let (_, execution) = self.execution_of(input)?;
        let revision = self
            .revision(&execution.revision)
            .ok_or_else(|| missing_machine(&execution.machine_arn))?;
        let name = execution.machine_arn.rsplit(':').next().unwrap_or_default();
        let mut answer = json!({
            "stateMachineArn": execution.machine_arn,
            "name": name,
            "definition": if included { revision.definition.as_str() } else { "{}" },
            "roleArn": revision.role_arn,
            "updateDate": revision.updated,
            "loggingConfiguration": logging_or_default(&revision.logging),
            "tracingConfiguration": tracing_or_default(&revision.tracing),
        });
        if let Some(map_run) = execution.map_run_arn {
            answer["mapRunArn"] = map_run.into();
            if let Some((_, label)) = name.split_once('/') {
                answer["label"] = label.into();
            }
        }
        if let Some(id) = revision.revision_id {
            answer["revisionId"] = id.into();
        }
        set_default(&mut answer, "encryptionConfiguration", &revision.encryption);
        Ok(answer)
    }

    pub(super) fn list_executions(&self, input: &Value) -> ApiResult<Value> {
        let mut check = Check::new(input);
        let machine_arn = check.text("stateMachineArn", TEXT);
        let map_run = check.text("mapRunArn", TEXT);
        let statuses = [
            "SUCCEEDED",
            "TIMED_OUT",
            "PENDING_REDRIVE",
            "ABORTED",
            "FAILED",
            "RUNNING",
        ];
        let status = check.choice("statusFilter", &statuses);
        let redriven = check
            .choice("redriveFilter", &["REDRIVEN", "NOT_REDRIVEN"])
            .map(|filter| filter == "REDRIVEN");
        let max = page_size(&mut check, 100);
        let after: After = long_page_token(&mut check, 3096, |token| {
            let (started, id) = token.split_once('-')?;
            Some((started.parse().ok()?, id.parse().ok()?))
        })?;
        check.finish()?;
        let named;
        // Those of a machine that had the name before are not this one's.
        let mut since = 0;
        let of = match (machine_arn, map_run) {
            (Some(_), Some(_)) | (None, None) => {
                return Err(ApiError::validation(
                    "Must specify either a stateMachineArn or a mapRunArn, but not both",
                ));
            }
            (None, Some(arn)) => {
                arn::map_run(arn)?;
                if self.journal.map_run(arn)?.is_none() {
                    let message = format!("Map Run Does Not Exist: '{arn}'");
                    return Err(ApiError::new("ResourceNotFound", message));
                }
                Of::MapRun(arn)
            }
            (Some(arn), None) => {
                if status == Some("PENDING_REDRIVE") {
                    return Err(ApiError::validation(
                        "The statusFilter PENDING_REDRIVE is supported with a mapRunArn only",
                    ));
                }
                let parsed = arn::machine(arn)?;
                let machine = self.machine(&parsed.base).map_err(|_| missing_machine(arn))?;
                if machine.kind == Kind::Express {
                    return Err(type_not_supported());
                }
                named = parsed.qualified();
                since = millis(machine.created);
                match (parsed.version(), parsed.alias()) {
                    (Some(_), _) if self.versions.contains(&named) => Of::Version(&named),
                    (_, Some(_)) if self.aliases.contains(&named) => Of::Alias(&named),
                    (None, None) => Of::Machine(&named),
                    _ => return Err(missing_machine(arn)),
                }
            }
        };
        let (found, next) = self.journal.list(&of, since, status, redriven, after, max)?;
        let executions: Vec<_> = found.into_iter().map(listed).collect();
        let mut answer = json!({"executions": executions});
        if let Some((started, id)) = next {
            answer["nextToken"] = format!("{started}-{id}").into();
        }
        Ok(answer)
    }

    pub(super) async fn stop_execution(self: &Arc<Self>, input: &Value) -> ApiResult<Value> {
        let mut check = Check::new(input);
        let error = check.text("error", Form { max: 256, ..TEXT }).map(str::to_owned);
        let cause = check
            .text("cause", Form { max: 32_768, ..TEXT })
            .map(str::to_owned);
        let arn = check.required("executionArn", TEXT);
        check.finish()?;
        arn::execution(arn)?;
        let (_, execution) = self.execution(arn)?;
        if execution.status == RUNNING {
            // A child execution is taken up again only after the execution that has started it.
            let control = self.control_of(arn).await;
            control.stop(error, cause);
            if let Err(trouble) = control.ended_or_trouble().await {
                return Err(not_stopped(&trouble));
            }
        }
        let (_, execution) = self.execution(arn)?;
        if execution.status == RUNNING {
            return Err(not_stopped("the server stops"));
        }
        Ok(json!({"stopDate": execution.stopped.unwrap_or_else(|| self.now())}))
    }

    /// The control of an execution, as soon as it is there; one that has ended, if it does not come.
    async fn control_of(&self, arn: &str) -> Arc<Control> {
        for _ in 0..CONTROL_TRIES {
            if let Some(control) = self.controls().get(arn) {
                return control.clone();
            }
            let still_runs = self
                .execution(arn)
                .is_ok_and(|(_, execution)| execution.status == RUNNING);
            if !still_runs || self.stop.is_cancelled() {
                break;
            }
            tokio::time::sleep(CONTROL_PAUSE).await;
        }
        let control = Arc::<Control>::default();
        control.end();
        control
    }

    pub(super) fn execution_history(&self, input: &Value) -> ApiResult<Value> {
        let mut check = Check::new(input);
        let reverse = check.flag("reverseOrder");
        let without_data = check.get("includeExecutionData").is_some() && !check.flag("includeExecutionData");
        let max = page_size(&mut check, 100);
        let from = page_token(&mut check, |token| token.parse::<u64>().ok().filter(|id| *id > 0))?;
        check.finish()?;
        let (id, execution) = self.execution_of(input)?;
        let from = from.unwrap_or(if reverse { u64::from(u32::MAX) } else { 1 });
        let mut events = self.journal.events(id, from, reverse, max + 1)?;
        let next = (events.len() > max).then(|| events.split_off(max)[0].id);
        let events: Vec<Value> = events
            .iter()
            .map(|event| {
                let mut told = match without_data {
                    true => event.to_json_without_data(),
                    false => event.to_json(),
                };
                if let Some(details) = told.get_mut("executionStartedEventDetails") {
                    for (member, arn) in [
                        ("stateMachineAliasArn", &execution.alias_arn),
                        ("stateMachineVersionArn", &execution.version_arn),
                    ] {
                        if let Some(arn) = arn {
                            details[member] = arn.as_str().into();
                        }
                    }
                }
                told
            })
            .collect();
        let mut answer = json!({"events": events});
        if let Some(next) = next {
            answer["nextToken"] = next.to_string().into();
        }
        Ok(answer)
    }

    fn execution_of(&self, input: &Value) -> ApiResult<(i64, Execution)> {
        let mut check = Check::new(input);
        let arn = check.required("executionArn", TEXT);
        check.finish()?;
        arn::execution(arn)?;
        self.execution(arn)
    }

    pub(super) fn execution(&self, arn: &str) -> ApiResult<(i64, Execution)> {
        let missing = || {
            ApiError::new(
                "ExecutionDoesNotExist",
                format!("Execution Does Not Exist: '{arn}'"),
            )
        };
        self.journal.get(arn)?.ok_or_else(missing)
    }
}

fn not_stopped(why: &str) -> ApiError {
    ApiError {
        status: StatusCode::INTERNAL_SERVER_ERROR,
        ..ApiError::new(
            "InternalFailure",
            format!("the execution runs still: {why}; ask again"),
        )
    }
}

fn listed(execution: Execution) -> Value {
    let mut told = json!({
        "executionArn": execution.arn,
        "stateMachineArn": execution.machine_arn,
        "name": execution.name,
        "status": execution.status,
        "startDate": execution.started,
    });
    if let Some(stopped) = execution.stopped {
        told["stopDate"] = stopped.into();
    }
    for (member, text) in [
        ("mapRunArn", execution.map_run_arn),
        ("stateMachineVersionArn", execution.version_arn),
        ("stateMachineAliasArn", execution.alias_arn),
    ] {
        if let Some(text) = text {
            told[member] = text.into();
        }
    }
    told["redriveCount"] = execution.redrives.into();
    if let Some(redriven) = execution.redriven {
        told["redriveDate"] = redriven.into();
    }
    told
}

fn type_not_supported() -> ApiError {
    ApiError::new(
        "StateMachineTypeNotSupported",
        "This operation is not supported by this type of state machine",
    )
}

/// Where an execution's randomness comes from: its name.
fn seed(arn: &str) -> u64 {
    let digest = Sha256::digest(arn.as_bytes());
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    u64::from_le_bytes(first)
}
