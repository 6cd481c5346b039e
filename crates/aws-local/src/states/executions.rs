//! Executions: started, watched, stopped.

use std::{io, sync::Arc, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sfn_builder::StateMachine;
use sfn_local::{BoxFuture, Clock, HistoryEvent, Outcome};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{States, check_name, machines, page};
use crate::{
    api::{ApiError, ApiResult, Check, Form, TEXT},
    time::{Seconds, now},
};

/// An execution.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Execution {
    arn: String,
    name: String,
    machine_arn: String,
    machine_name: String,
    /// What it runs, whatever becomes of the machine.
    definition: String,
    role_arn: String,
    status: String,
    /// As it was sent.
    input: String,
    output: Option<String>,
    error: Option<String>,
    cause: Option<String>,
    started: Seconds,
    stopped: Option<Seconds>,
}

const RUNNING: &str = "RUNNING";

/// The longest input, in characters.
const MAX_INPUT: usize = 262_144;

/// Real time.
struct TokioClock;

impl Clock for TokioClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(duration))
    }
}

impl States {
    pub(super) fn start_execution(self: &Arc<Self>, input: &Value) -> ApiResult<Value> {
        let mut check = Check::new(input);
        let machine_arn = check.required("stateMachineArn", TEXT);
        let name = check.text("name", TEXT).map(str::to_owned);
        let text = check
            .text(
                "input",
                Form {
                    max: MAX_INPUT,
                    ..TEXT
                },
            )
            .unwrap_or("{}");
        check.finish()?;
        let machine = self.machine(machine_arn)?;
        let name = name.unwrap_or_else(|| Uuid::new_v4().to_string());
        check_name(&name)?;
        let value: Value = serde_json::from_str(text).map_err(|error| {
            let message = format!("Invalid State Machine Execution Input: '{error}'");
            ApiError::new("InvalidExecutionInput", message)
        })?;
        let definition = machines::parse(&machine.definition)?;
        let run = sfn_local::Execution::new(&machine.arn, &name, value)
            .with_role_arn(&machine.role_arn)
            .with_input_text(text)
            .with_seed(Uuid::new_v4().as_u64_pair().0);
        let execution = Execution {
            arn: run.arn.clone(),
            name,
            machine_arn: machine.arn,
            machine_name: machine.name,
            definition: machine.definition,
            role_arn: machine.role_arn,
            status: RUNNING.to_owned(),
            input: text.to_owned(),
            output: None,
            error: None,
            cause: None,
            started: now(),
            stopped: None,
        };
        let started = match self.executions.insert_new(&run.arn, execution.clone())? {
            Ok(()) => execution.started,
            // Asked for again just as it is, it runs already.
            Err(there) if there.status == RUNNING && there.input == text => {
                return Ok(json!({"executionArn": there.arn, "startDate": there.started}));
            }
            Err(there) => {
                let message = format!("Execution Already Exists: '{}'", there.arn);
                return Err(ApiError::new("ExecutionAlreadyExists", message));
            }
        };
        let stop = self.stop.child_token();
        self.running
            .lock()
            .unwrap_or_else(|e| e.into_inner())
            .insert(run.arn.clone(), stop.clone());
        let arn = run.arn.clone();
        let this = self.clone();
        self.tasks
            .spawn(async move { this.run(definition, run, stop).await });
        Ok(json!({"executionArn": arn, "startDate": started}))
    }

    pub(super) fn describe_execution(&self, input: &Value) -> ApiResult<Value> {
        let execution = self.execution_of(input)?;
        let mut answer = Map::new();
        answer.insert("executionArn".into(), execution.arn.into());
        answer.insert("stateMachineArn".into(), execution.machine_arn.into());
        answer.insert("name".into(), execution.name.into());
        answer.insert("status".into(), execution.status.into());
        answer.insert("startDate".into(), execution.started.into());
        if let Some(stopped) = execution.stopped {
            answer.insert("stopDate".into(), stopped.into());
        }
        answer.insert("input".into(), execution.input.into());
        answer.insert("inputDetails".into(), json!({"included": true}));
        if let Some(output) = execution.output {
            answer.insert("output".into(), output.into());
            answer.insert("outputDetails".into(), json!({"included": true}));
        }
        for (member, text) in [("error", execution.error), ("cause", execution.cause)] {
            if let Some(text) = text {
                answer.insert(member.into(), text.into());
            }
        }
        answer.insert("redriveCount".into(), 0.into());
        answer.insert("redriveStatus".into(), "NOT_REDRIVABLE".into());
        answer.insert(
            "redriveStatusReason".into(),
            "Redrive is not implemented by aws-local".into(),
        );
        Ok(answer.into())
    }

    pub(super) fn describe_machine_of_execution(&self, input: &Value) -> ApiResult<Value> {
        let execution = self.execution_of(input)?;
        Ok(json!({
            "stateMachineArn": execution.machine_arn,
            "name": execution.machine_name,
            "definition": execution.definition,
            "roleArn": execution.role_arn,
            "updateDate": execution.started,
        }))
    }

    pub(super) fn list_executions(&self, input: &Value) -> ApiResult<Value> {
        let mut check = Check::new(input);
        let machine_arn = check.required("stateMachineArn", TEXT);
        let statuses = [
            "RUNNING",
            "SUCCEEDED",
            "FAILED",
            "TIMED_OUT",
            "ABORTED",
            "PENDING_REDRIVE",
        ];
        let status = check.choice("statusFilter", &statuses);
        let mut found = self.executions.select(|execution| {
            execution.machine_arn == machine_arn && status.is_none_or(|status| execution.status == status)
        });
        found.sort_by(|a, b| b.started.total_cmp(&a.started).then_with(|| a.name.cmp(&b.name)));
        let (found, next) = page(&mut check, found, 100)?;
        check.finish()?;
        self.machine(machine_arn)?;
        let executions: Vec<_> = found
            .into_iter()
            .map(|execution| {
                let mut printed = json!({
                    "executionArn": execution.arn,
                    "stateMachineArn": execution.machine_arn,
                    "name": execution.name,
                    "status": execution.status,
                    "startDate": execution.started,
                });
                if let Some(stopped) = execution.stopped {
                    printed["stopDate"] = stopped.into();
                }
                printed
            })
            .collect();
        let mut answer = json!({"executions": executions});
        if let Some(next) = next {
            answer["nextToken"] = next.into();
        }
        Ok(answer)
    }

    pub(super) fn stop_execution(&self, input: &Value) -> ApiResult<Value> {
        let mut check = Check::new(input);
        let error = check.text("error", Form { max: 256, ..TEXT }).map(str::to_owned);
        let cause = check
            .text("cause", Form { max: 32_768, ..TEXT })
            .map(str::to_owned);
        let arn = check.required("executionArn", TEXT);
        check.finish()?;
        self.execution(arn)?;
        // From here on it is stopped, whatever it comes to in the next moment.
        self.finish(arn, "ABORTED", None, error, cause)?;
        if let Some(stop) = self.running.lock().unwrap_or_else(|e| e.into_inner()).get(arn) {
            stop.cancel();
        }
        let stopped = self.execution(arn)?.stopped;
        Ok(json!({"stopDate": stopped}))
    }

    pub(super) fn execution_history(&self, input: &Value) -> ApiResult<Value> {
        let execution = self.execution_of(input)?;
        let mut check = Check::new(input);
        let mut events = self.histories.get(&execution.arn)?;
        if check.get("reverseOrder") == Some(&Value::Bool(true)) {
            events.reverse();
        }
        let (mut events, next) = page(&mut check, events, 100)?;
        let without_data = check.get("includeExecutionData") == Some(&Value::Bool(false));
        check.finish()?;
        if without_data {
            events.iter_mut().for_each(remove_data);
        }
        let mut answer = json!({"events": events});
        if let Some(next) = next {
            answer["nextToken"] = next.into();
        }
        Ok(answer)
    }

    /// Executions that ran when the server before this one ended will not go on.
    pub(super) fn end_interrupted_executions(&self) -> io::Result<()> {
        for execution in self.executions.select(|execution| execution.status == RUNNING) {
            let arn = &execution.arn;
            self.finish(arn, "ABORTED", None, None, Some(INTERRUPTED.to_owned()))?;
            let last = self
                .histories
                .get(arn)?
                .last()
                .and_then(|event| event["id"].as_u64())
                .unwrap_or(0);
            let event = json!({
                "timestamp": now(),
                "type": "ExecutionAborted",
                "id": last + 1,
                "previousEventId": last,
                "executionAbortedEventDetails": {"cause": INTERRUPTED},
            });
            self.histories.add(arn, &event)?;
        }
        Ok(())
    }

    async fn run(
        self: Arc<Self>,
        machine: StateMachine,
        execution: sfn_local::Execution,
        stop: CancellationToken,
    ) {
        let arn = execution.arn.clone();
        let mut history = Vec::<HistoryEvent>::new();
        let mut record = |event: &HistoryEvent| {
            history.push(event.clone());
            let _ = self.histories.add(&arn, &event.to_json()); // a database that is full
        };
        let handler = super::tasks::Tasks {
            sagemaker: self.sagemaker.clone(),
        };
        let outcome = tokio::select! {
            biased;
            () = stop.cancelled() => None,
            outcome = sfn_local::run(&machine, &execution, &handler, &TokioClock, &mut record) => Some(outcome),
        };
        let finished = match outcome {
            Some(Outcome::Succeeded { output }) => {
                self.finish(&arn, "SUCCEEDED", Some(output.to_string()), None, None)
            }
            Some(Outcome::Failed { error, cause }) => self.finish(&arn, "FAILED", None, error, cause),
            Some(Outcome::TimedOut { error, cause }) => self.finish(&arn, "TIMED_OUT", None, error, cause),
            None => self.finish(&arn, "ABORTED", None, None, Some(INTERRUPTED.to_owned())),
        };
        // The record says how it ended: stopped by a caller, it has the caller's error and cause.
        let record = self.executions.get(&arn);
        let aborted = record
            .as_ref()
            .is_some_and(|execution| execution.status == "ABORTED");
        let closed = history
            .last()
            .is_some_and(|event| event.event.type_name().starts_with("Execution") && event.id > 1);
        if aborted && !closed {
            let (error, cause) = record
                .map(|execution| (execution.error, execution.cause))
                .unwrap_or_default();
            for event in sfn_local::abort(&history, Timestamp::now(), error, cause) {
                let _ = self.histories.add(&arn, &event.to_json());
            }
        }
        drop(finished); // a record that could not be written says RUNNING, and is ended at the next start
        self.running
            .lock()
            .unwrap_or_else(|e| e.into_inner())
            .remove(&arn);
    }

    /// Ends an execution, unless it has ended.
    fn finish(
        &self,
        arn: &str,
        status: &str,
        output: Option<String>,
        error: Option<String>,
        cause: Option<String>,
    ) -> io::Result<()> {
        self.executions.update(arn, |execution| {
            if execution.status == RUNNING {
                execution.status = status.to_owned();
                execution.stopped = Some(now());
                execution.output = output;
                execution.error = error;
                execution.cause = cause;
            }
        })?;
        Ok(())
    }

    fn execution_of(&self, input: &Value) -> ApiResult<Execution> {
        let mut check = Check::new(input);
        let arn = check.required("executionArn", TEXT);
        check.finish()?;
        self.execution(arn)
    }

    fn execution(&self, arn: &str) -> ApiResult<Execution> {
        let missing = || {
            ApiError::new(
                "ExecutionDoesNotExist",
                format!("Execution Does Not Exist: '{arn}'"),
            )
        };
        self.executions.get(arn).ok_or_else(missing)
    }
}

const INTERRUPTED: &str = "the server was stopped while the execution was running";

/// Takes out of an event what `includeExecutionData` stands for.
fn remove_data(event: &mut Value) {
    for details in event
        .as_object_mut()
        .into_iter()
        .flat_map(Map::values_mut)
        .filter_map(Value::as_object_mut)
    {
        details.retain(|member, _| {
            !["input", "inputDetails", "output", "outputDetails", "parameters"].contains(&member.as_str())
        });
    }
}
