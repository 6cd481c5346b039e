//! What tasks can call: the services of this server, through Step Functions' own integrations and through its generic one.

mod objects;

use std::sync::Arc;

use serde_json::{Map, Value, json};
use sfn_local::{BoxFuture, HistoryEvent, TaskCall, TaskFailure, TaskHandler, handlers::MockedTasks};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{
    States,
    journal::{Execution, RUNNING},
    running::Recorder,
    tokens::Answered,
};
use crate::{
    api::ApiError,
    sagemaker,
    time::{iso, millis},
};

/// The tasks of one execution.
pub(super) struct Tasks {
    states: Arc<States>,
    /// Writes what has happened before anything is called.
    recorder: Option<Arc<Recorder>>,
    mocked: Option<MockedTasks>,
    /// Why an execution of a test case cannot go on: nothing says what its tasks answer.
    without_mocks: Option<String>,
}

/// How often is looked for a nested execution that is not driven.
const POLL: std::time::Duration = std::time::Duration::from_millis(20);

/// How a resource is called.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Style {
    /// `arn:aws:states:::sagemaker:createModel`
    Optimised,
    /// `arn:aws:states:::sagemaker:createTrainingJob.sync`
    Sync,
    /// `arn:aws:states:::states:startExecution.sync:2`
    Sync2,
    /// `arn:aws:states:::aws-sdk:sagemaker:describeEndpoint`
    Sdk,
}

/// What can be called here.
#[derive(PartialEq, Eq, Debug)]
enum Target<'a> {
    Activity,
    SageMaker(Style, String),
    /// Step Functions itself.
    States(Style, String),
    Objects(Style, &'a str),
    Logs(String),
}

/// The operations of SageMaker that have an integration of their own.
const OPTIMISED: [&str; 7] = [
    "createTrainingJob",
    "createTransformJob",
    "createHyperParameterTuningJob",
    "createModel",
    "createEndpointConfig",
    "createEndpoint",
    "updateEndpoint",
];

/// Those of them that can be waited for.
const JOBS: [&str; 3] = [
    "createTrainingJob",
    "createTransformJob",
    "createHyperParameterTuningJob",
];

/// `None` for what no service here does.
fn parse(resource: &str) -> Option<Target<'_>> {
    // Partitions differ in their second field alone.
    let (_, rest) = resource.strip_prefix("arn:")?.split_once(":states:")?;
    if let Some((_, "activity")) = rest
        .rsplit_once(':')
        .and_then(|(before, _)| before.rsplit_once(':'))
    {
        return Some(Target::Activity);
    }
    let rest = rest.strip_prefix("::")?;
    let rest = rest.strip_suffix(".waitForTaskToken").unwrap_or(rest);
    if let Some(rest) = rest.strip_prefix("aws-sdk:") {
        let (service, action) = rest.split_once(':')?;
        let name = operation(action);
        return match service {
            "sagemaker" => sagemaker::OPERATIONS
                .contains(&name.as_str())
                .then_some(Target::SageMaker(Style::Sdk, name)),
            "sfn" => Some(Target::States(Style::Sdk, name)),
            "s3" => objects::ACTIONS
                .contains(&action)
                .then_some(Target::Objects(Style::Sdk, action)),
            "cloudwatchlogs" => ["describeLogStreams", "getLogEvents"]
                .contains(&action)
                .then_some(Target::Logs(name)),
            _ => None,
        };
    }
    let (service, action) = rest.split_once(':')?;
    match (service, action) {
        ("sagemaker", action) if JOBS.iter().any(|job| action.strip_suffix(".sync") == Some(*job)) => {
            let action = action.trim_end_matches(".sync");
            Some(Target::SageMaker(Style::Sync, operation(action)))
        }
        ("sagemaker", action) if OPTIMISED.contains(&action) => {
            Some(Target::SageMaker(Style::Optimised, operation(action)))
        }
        ("states", "startExecution") => Some(Target::States(Style::Optimised, operation(action))),
        ("states", "startExecution.sync") => Some(Target::States(Style::Sync, operation("startExecution"))),
        ("states", "startExecution.sync:2") => {
            Some(Target::States(Style::Sync2, operation("startExecution")))
        }
        // What an ItemReader and a ResultWriter call.
        ("s3", action) if objects::ACTIONS.contains(&action) => {
            Some(Target::Objects(Style::Optimised, action))
        }
        _ => None,
    }
}

/// `createModel` is the operation `CreateModel`.
fn operation(action: &str) -> String {
    with_first(action, char::to_uppercase)
}

fn with_first<I: Iterator<Item = char>>(text: &str, change: impl Fn(char) -> I) -> String {
    let mut chars = text.chars();
    chars.next().into_iter().flat_map(change).chain(chars).collect()
}

impl TaskHandler for Tasks {
    fn call(&self, task: TaskCall) -> BoxFuture<'_, Result<Value, TaskFailure>> {
        if let (Some(recorder), Some(token)) = (&self.recorder, &task.token) {
            recorder.token_opens(token);
        }
        // What has led to the call is in the database before the call has an effect.
        if let Some(recorder) = &self.recorder
            && recorder.flush().is_err()
        {
            return Box::pin(async move {
                if !recorder.write_down().await {
                    return std::future::pending().await; // the server stops, and with it the execution
                }
                self.call(task).await
            });
        }
        if let Some(cause) = &self.without_mocks {
            let failure = TaskFailure::new("States.Runtime", cause);
            return Box::pin(async move { Err(failure) });
        }
        if let Some(mocked) = self.mocked.as_ref().filter(|mocked| mocked.mocks(&task.state)) {
            return mocked.call(task);
        }
        let Some(token) = task.token.clone() else {
            return self.answer(task);
        };
        let (execution_arn, number) = (task.execution_arn.clone(), task.number);
        Box::pin(async move {
            let waiting = self
                .states
                .tokens
                .wait_for(token, task.progress.clone(), self.recorder.clone());
            let answered = waiting.answer;
            let calls = async {
                match self.states.handlers.of(&task.resource) {
                    // Who does the tasks may answer, or leave it to whoever has the token.
                    Some(handler) => handler.call(task).await,
                    None if parse(&task.resource) == Some(Target::Activity) => {
                        self.states.activities.offer(&task).await?;
                        std::future::pending().await
                    }
                    None => {
                        let (submitted, task) = without_report(task);
                        let answer = self.dispatch(task).await?;
                        submitted.report(answer);
                        std::future::pending().await
                    }
                }
            };
            tokio::select! {
                biased;
                // The sender is dropped with the entry, which lives as long as this future.
                Ok(Answered { answer, written }) = answered => {
                    match &self.recorder {
                        Some(recorder) => recorder.tell_when_written(&execution_arn, number, written),
                        // Nothing is written; whoever asked may be gone.
                        None => drop(written.send(())),
                    }
                    answer
                }
                result = calls => result,
            }
        })
    }
}

/// A name that follows from what it is for.
fn name_of_call(execution_arn: &str, number: u64) -> String {
    let digest = Sha256::digest(format!("{execution_arn}#{number}"));
    let mut first = [0; 16];
    first.copy_from_slice(&digest[..16]);
    uuid::Builder::from_random_bytes(first).into_uuid().to_string()
}

/// Takes the report of a call's answer out of a task.
fn without_report(mut task: TaskCall) -> (sfn_local::Submitted, TaskCall) {
    let submitted = std::mem::replace(&mut task.submitted, sfn_local::Submitted::ignored());
    (submitted, task)
}

impl Tasks {
    /// The tasks of an execution, and those of its child executions.
    pub(super) fn of(states: &Arc<States>, execution: &Execution, recorder: Option<Arc<Recorder>>) -> Self {
        let machine = execution.machine_arn.rsplit(':').next().unwrap_or_default();
        let case = execution.test_case.as_deref();
        let mocked = case.and_then(|case| states.mocks.as_ref()?.test_case(machine, case));
        let without_mocks = case.filter(|_| mocked.is_none()).map(|case| {
            format!(
                "The execution is one of the test case `{case}` of `{machine}`, which the server does not have: start it \
                 with the mock file (SFN_MOCK_CONFIG) that the execution was started with"
            )
        });
        Self {
            states: states.clone(),
            recorder,
            mocked,
            without_mocks,
        }
    }

    /// Counts the calls that have ended in a history, of the execution or of a child: mocked answers go on after them.
    pub(super) fn count(&mut self, history: &[HistoryEvent]) {
        self.mocked = self.mocked.take().map(|mocked| mocked.after(history));
    }

    fn answer(&self, task: TaskCall) -> BoxFuture<'_, Result<Value, TaskFailure>> {
        match self.states.handlers.of(&task.resource) {
            Some(handler) => handler.call(task),
            None => Box::pin(self.dispatch(task)),
        }
    }

    /// Calls the service.
    async fn dispatch(&self, task: TaskCall) -> Result<Value, TaskFailure> {
        let TaskCall {
            resource,
            mut parameters,
            submitted,
            resumed,
            execution_arn,
            number,
            ..
        } = task;
        match parse(&resource) {
            None | Some(Target::Activity) => Err(refused(&resource)),
            Some(Target::SageMaker(style, operation)) => {
                self.sagemaker(style, &operation, parameters, submitted, resumed)
                    .await
            }
            Some(Target::States(Style::Sdk, operation)) => self.step_functions(&operation, parameters).await,
            Some(Target::States(style, _)) => {
                // Without a name it is named after the call, so that the call, made again, finds what it has started.
                if let Some(parameters) = parameters.as_object_mut().filter(|_| self.recorder.is_some()) {
                    parameters
                        .entry("Name")
                        .or_insert_with(|| name_of_call(&execution_arn, number).into());
                }
                self.start_execution(style, parameters, submitted, resumed, &execution_arn)
                    .await
            }
            Some(Target::Objects(style, action)) => {
                objects::call(&self.states.objects, style, action, &parameters)
            }
            Some(Target::Logs(operation)) => {
                let request = renamed(parameters, &char::to_lowercase);
                let answer = self
                    .states
                    .logs
                    .call(&operation, &request)
                    .map_err(|error| failure(Style::Sdk, "CloudWatchLogs", &error))?;
                Ok(renamed(answer.unwrap_or_else(|| json!({})), &char::to_uppercase))
            }
        }
    }

    async fn sagemaker(
        &self,
        style: Style,
        operation: &str,
        mut parameters: Value,
        submitted: sfn_local::Submitted,
        resumed: bool,
    ) -> Result<Value, TaskFailure> {
        let sagemaker = &self.states.sagemaker;
        if style == Style::Sdk {
            times_to_seconds(&mut parameters);
        }
        let answer = match sagemaker.call(operation, &parameters) {
            // The call was under way when the server before this one ended.
            Err(error) if resumed && style == Style::Sync && error.code == "ResourceInUse" => Some(json!({})),
            other => other.map_err(|error| failure(style, "SageMaker", &error))?,
        };
        let mut answer = answer.unwrap_or_else(|| json!({}));
        match style {
            Style::Optimised => Ok(answer),
            Style::Sdk => {
                // The generic integration prints times, which the service sends as numbers, as ISO 8601 texts.
                each_member(&mut answer, &mut |member, value| {
                    if is_time(member)
                        && let Some(time) = value.as_f64()
                    {
                        *value = iso(time).into();
                    }
                });
                Ok(answer)
            }
            Style::Sync | Style::Sync2 => {
                let job = operation.trim_start_matches("Create");
                let name = parameters[format!("{job}Name")]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned();
                submitted.report(answer);
                self.job(job, name).await
            }
        }
    }

    /// Waits for a job such as a `TrainingJob`; dropped before it has ended, the job is stopped, as the service does.
    async fn job(&self, job: &str, name: String) -> Result<Value, TaskFailure> {
        let mut guard = StopOnDrop {
            states: &self.states,
            job,
            name: Some(name.clone()),
        };
        // It takes the time that it takes.
        let _hold = self.states.clock.hold();
        let described = self
            .states
            .sagemaker
            .job_ended(&format!("Create{job}"), &name)
            .await;
        guard.name = None;
        let Some(mut described) = described else {
            return Err(TaskFailure::new(
                "States.TaskFailed",
                format!("The job {name} is gone."),
            ));
        };
        // In these documents dates are numbers of milliseconds.
        each_member(&mut described, &mut |member, value| {
            if is_time(member)
                && let Some(time) = value.as_f64()
            {
                *value = millis(time).into();
            }
        });
        if described[format!("{job}Status")] == "Completed" {
            return Ok(described);
        }
        Err(TaskFailure::new("States.TaskFailed", described.to_string()))
    }

    /// `states:startExecution`, with and without waiting for the execution's end.
    async fn start_execution(
        &self,
        style: Style,
        parameters: Value,
        submitted: sfn_local::Submitted,
        resumed: bool,
        execution_arn: &str,
    ) -> Result<Value, TaskFailure> {
        let mut request = renamed_top(parameters, &char::to_lowercase);
        // Here the input is JSON, there it is a text.
        if let Some(input) = request.get_mut("input")
            && !input.is_string()
        {
            *input = input.to_string().into();
        }
        let started = match self.states.start_execution(&request) {
            // The call was under way when the server before this one ended: the message ends with the ARN in quotes.
            Err(error) if resumed && error.code == "ExecutionAlreadyExists" => {
                let arn = error.message.split('\'').nth(1).unwrap_or_default();
                let there = self.states.describe_execution(&json!({"executionArn": arn}));
                let there = there.map_err(|error| failure(style, "StepFunctions", &error))?;
                json!({"executionArn": arn, "startDate": there["startDate"]})
            }
            other => other.map_err(|error| failure(style, "StepFunctions", &error))?,
        };
        let arn = started["executionArn"].as_str().unwrap_or_default().to_owned();
        let mut answer = renamed_top(started, &char::to_uppercase);
        if let Some(date) = answer["StartDate"].as_f64() {
            answer["StartDate"] = millis(date).into();
        }
        if style == Style::Optimised {
            return Ok(answer);
        }
        submitted.report(answer);
        let mut guard = StopExecutionOnDrop {
            states: &self.states,
            arn: Some(arn.clone()),
            outer: execution_arn,
        };
        let described = loop {
            let control = self.states.controls().get(&arn).cloned();
            if let Some(control) = control {
                control.ended().await;
            }
            let described = self.states.describe_execution(&json!({"executionArn": arn}));
            let described = described.map_err(|error| failure(style, "StepFunctions", &error))?;
            if described["status"] != RUNNING {
                break described;
            }
            // The server stops; or it has been redriven just now.
            tokio::time::sleep(POLL).await;
        };
        guard.arn = None;
        let mut described = renamed(described, &char::to_uppercase);
        each_member(&mut described, &mut |member, value| {
            if is_time(member)
                && let Some(time) = value.as_f64()
            {
                *value = millis(time).into();
            }
        });
        if style == Style::Sync2 {
            for member in ["Input", "Output"] {
                if let Some(value) = described[member]
                    .as_str()
                    .and_then(|text| serde_json::from_str(text).ok())
                {
                    described[member] = value;
                }
            }
        }
        if described["Status"] == "SUCCEEDED" {
            Ok(described)
        } else {
            Err(TaskFailure::new("States.TaskFailed", described.to_string()))
        }
    }

    /// `aws-sdk:sfn:…`
    async fn step_functions(&self, operation: &str, mut parameters: Value) -> Result<Value, TaskFailure> {
        times_to_seconds(&mut parameters);
        let request = renamed(parameters, &char::to_lowercase);
        let states = self.states.clone();
        let answer = Box::pin(async move { states.call(operation, &request).await })
            .await
            .map_err(|error| failure(Style::Sdk, "Sfn", &error))?;
        let mut answer = renamed(answer.unwrap_or_else(|| json!({})), &char::to_uppercase);
        each_member(&mut answer, &mut |member, value| {
            if is_time(member)
                && let Some(time) = value.as_f64()
            {
                *value = iso(time).into();
            }
        });
        Ok(answer)
    }
}

/// Why a task fails that no service here does.
fn refused(resource: &str) -> TaskFailure {
    let cause = format!(
        "The resource {resource} cannot be called by aws-local: it has no such service or action. Mock the state \
         (SFN_MOCK_CONFIG), or run the machine in the account."
    );
    TaskFailure::new("States.Runtime", cause)
}

fn times_to_seconds(parameters: &mut Value) {
    each_member(parameters, &mut |member, value| {
        if is_time(member)
            && let Some(time) = value.as_str().and_then(|t| t.parse::<jiff::Timestamp>().ok())
        {
            *value = (time.as_millisecond() as f64 / 1000.0).into();
        }
    });
}

/// The members of an object, the first letters of their names changed.
fn renamed_top<I: Iterator<Item = char>>(value: Value, change: &impl Fn(char) -> I) -> Value {
    match value {
        Value::Object(map) => map
            .into_iter()
            .map(|(member, value)| (with_first(&member, change), value))
            .collect::<Map<_, _>>()
            .into(),
        other => other,
    }
}

/// The same, in depth.
fn renamed<I: Iterator<Item = char>>(value: Value, change: &impl Fn(char) -> I) -> Value {
    match value {
        Value::Object(map) => map
            .into_iter()
            .map(|(member, value)| (with_first(&member, change), renamed(value, change)))
            .collect::<Map<_, _>>()
            .into(),
        Value::Array(items) => items.into_iter().map(|item| renamed(item, change)).collect(),
        other => other,
    }
}

/// Stops a nested execution that nobody waits for any more.
struct StopExecutionOnDrop<'a> {
    states: &'a Arc<States>,
    arn: Option<String>,
    /// The execution that has started it.
    outer: &'a str,
}

impl Drop for StopExecutionOnDrop<'_> {
    fn drop(&mut self) {
        // When the server stops, the nested execution goes on at the next start, as the outer one does.
        if let Some(arn) = self.arn.take().filter(|_| !self.states.stop.is_cancelled())
            && let Some(control) = self.states.controls().get(&arn).cloned()
        {
            let cause = format!(
                "The Task state in AWS Step Functions execution [{}] which was managing this resource was aborted",
                self.outer
            );
            control.stop(None, Some(cause));
        }
    }
}

/// Stops a job that nobody waits for any more.
struct StopOnDrop<'a> {
    states: &'a Arc<States>,
    job: &'a str,
    name: Option<String>,
}

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        // When the server stops, the job goes on at the next start, as the execution does.
        if let Some(name) = self.name.take().filter(|_| !self.states.stop.is_cancelled()) {
            let member = format!("{}Name", self.job);
            // An error means that it has ended.
            let _ = self
                .states
                .sagemaker
                .call(&format!("Stop{}", self.job), &json!({member: name}));
        }
    }
}

/// The error as the integration names it, and a cause that holds the service's message.
fn failure(style: Style, service: &str, error: &ApiError) -> TaskFailure {
    let ApiError {
        status,
        code,
        message,
    } = error;
    let modelled = match service {
        "SageMaker" => {
            ["ResourceNotFound", "ResourceInUse", "ResourceLimitExceeded"].contains(&code.as_str())
        }
        _ => true,
    };
    let (status, id) = (status.as_u16(), Uuid::new_v4());
    let exception = match code.strip_suffix("Exception") {
        Some(_) => code.clone(),
        None => format!("{code}Exception"),
    };
    if style == Style::Sdk {
        let name = if modelled {
            format!("{service}.{exception}")
        } else {
            format!("{service}.{service}Exception")
        };
        let cause = format!("{message} (Service: {service}, Status Code: {status}, Request ID: {id})");
        return TaskFailure::new(name, cause);
    }
    let (name, client) = match service {
        "SageMaker" if modelled => (format!("SageMaker.{exception}"), "AmazonSageMaker"),
        "SageMaker" => ("SageMaker.AmazonSageMakerException".to_owned(), "AmazonSageMaker"),
        "StepFunctions" => (format!("StepFunctions.{exception}"), "AWSStepFunctions"),
        other => (format!("{other}.{exception}"), other),
    };
    let cause = format!(
        "{message} (Service: {client}; Status Code: {status}; Error Code: {code}; Request ID: {id}; Proxy: null)"
    );
    TaskFailure::new(name, cause)
}

/// Members that are moments, in requests and in answers.
fn is_time(member: &str) -> bool {
    ["Time", "Timestamp", "TimeAfter", "TimeBefore", "Date"]
        .iter()
        .any(|end| member.ends_with(end))
}

fn each_member(value: &mut Value, change: &mut dyn FnMut(&str, &mut Value)) {
    match value {
        Value::Array(list) => list.iter_mut().for_each(|item| each_member(item, change)),
        Value::Object(map) => {
            for (member, value) in map.iter_mut() {
                change(member, value);
                each_member(value, change);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources() {
        let sagemaker = |style, name: &str| Some(Target::SageMaker(style, name.to_owned()));
        let states = |style, name: &str| Some(Target::States(style, name.to_owned()));
        for (resource, known) in [
            (
                "arn:aws:states:::sagemaker:createTrainingJob.sync",
                sagemaker(Style::Sync, "CreateTrainingJob"),
            ),
            (
                "arn:aws:states:::sagemaker:createTrainingJob",
                sagemaker(Style::Optimised, "CreateTrainingJob"),
            ),
            (
                "arn:aws-cn:states:::sagemaker:updateEndpoint",
                sagemaker(Style::Optimised, "UpdateEndpoint"),
            ),
            (
                "arn:aws:states:::aws-sdk:sagemaker:describeEndpoint",
                sagemaker(Style::Sdk, "DescribeEndpoint"),
            ),
            (
                "arn:aws:states:::states:startExecution.sync:2",
                states(Style::Sync2, "StartExecution"),
            ),
            (
                "arn:aws:states:::states:startExecution.waitForTaskToken",
                states(Style::Optimised, "StartExecution"),
            ),
            (
                "arn:aws:states:::aws-sdk:sfn:describeExecution",
                states(Style::Sdk, "DescribeExecution"),
            ),
            (
                "arn:aws:states:::aws-sdk:s3:getObject",
                Some(Target::Objects(Style::Sdk, "getObject")),
            ),
            (
                "arn:aws:states:us-east-1:000000000000:activity:a",
                Some(Target::Activity),
            ),
            (
                "arn:aws:states:::sagemaker:createTransformJob",
                sagemaker(Style::Optimised, "CreateTransformJob"),
            ),
            (
                "arn:aws:states:::sagemaker:createHyperParameterTuningJob.sync",
                sagemaker(Style::Sync, "CreateHyperParameterTuningJob"),
            ),
            ("arn:aws:states:::sagemaker:createEndpoint.sync", None),
            ("arn:aws:states:::sagemaker:createProcessingJob.sync", None),
            ("arn:aws:states:::lambda:invoke", None),
            ("arn:aws:lambda:us-east-1:000000000000:function:f", None),
        ] {
            assert_eq!(parse(resource), known, "{resource}");
        }
    }

    #[test]
    fn names_of_members() {
        let value = json!({"StateMachineArn": "a", "Tags": [{"Key": "k"}]});
        let lower = renamed(value.clone(), &char::to_lowercase);
        assert_eq!(lower, json!({"stateMachineArn": "a", "tags": [{"key": "k"}]}));
        assert_eq!(renamed(lower, &char::to_uppercase), value);
    }
}
