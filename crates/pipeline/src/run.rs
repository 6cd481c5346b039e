//! One run: upload, state machine, execution, scores, report.

use std::collections::{BTreeMap, HashSet};
use std::error::Error as _;
use std::future::Future;
use std::time::Duration;

use access_events::AccessEvent;
use aws_sdk_s3::operation::create_bucket::CreateBucketError;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{BucketLocationConstraint, CreateBucketConfiguration};
use aws_sdk_sfn::operation::stop_execution::StopExecutionError;
use aws_sdk_sfn::types::{ExecutionStatus, HistoryEvent};
use ipinsights::{History, HistoryBuilder, Score, TrainingCurve};
use ipinsights_client::{
    Deadline, EndpointConfigName, EndpointName, Error as ClientError, ModelName, Resource, TrainingState,
};
use jiff::Timestamp;
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use crate::definition::{self, input};
use crate::hex::hex;
use crate::names::RunNames;
use crate::observer::Event;
use crate::report::{self, FailedRun, FailedRunKind, Report, RunKind};
use crate::rows::{RowFile, Rows, entities};
use crate::settings::S3Folder;
use crate::{Clients, Error, Settings};

/// How events reach the caller; called from the task that awaits the run.
pub type Observer<'a> = &'a mut (dyn FnMut(Event) + Send);

/// How long a run that ends badly may take to stop its execution and to delete what it made.
const CLEANUP: Duration = Duration::from_secs(90);

/// How long a run that ends badly may take to see how far its execution came.
const LAST_LOOK: Duration = Duration::from_secs(3);

/// The confidence of the intervals in a report.
const CONFIDENCE: f64 = 0.95;

/// Why a run did not end well, and how far it came.
#[derive(Debug)]
pub struct Failed {
    /// Why.
    pub error: Error,
    /// How far it came; nothing where it was known to fail before anything was sent.
    pub report: Option<Box<FailedRun>>,
}

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for Failed {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error.source()
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self { error, report: None }
    }
}

/// Runs the pipeline once over a sample, or over own rows, and reports what came of it.
///
/// The rows go to S3, the state machine is created or updated and executed, and when its endpoint is in service the
/// outliers and the held-out rows are scored through it. `started` dates and names the run.
///
/// When `cancel` completes, whatever the run is doing, it ends as [`Error::Interrupted`]. A run that ends other than well
/// stops its execution and deletes the model and the configuration it made, unless an endpoint of an earlier run serves
/// them by then; what an endpoint served before is deleted only after a run that ended well.
///
/// # Errors
///
/// A failure has a report of its own from the moment on at which something was sent.
pub async fn run(
    clients: &Clients,
    settings: &Settings,
    rows: &Rows,
    started: Timestamp,
    cancel: impl Future<Output = ()> + Send,
    observe: Observer<'_>,
) -> Result<Report, Failed> {
    // What can be known to fail fails before anything is sent.
    let scores = vec![Score::from(0.0); rows.validation().len()];
    ipinsights::Threshold::calibrate(&scores, settings.false_positive_rate).map_err(Error::from)?;
    let image = ipinsights_client::image_uri(clients.region()).map_err(|error| Error::Setting {
        setting: "region",
        value: clients.region.clone(),
        reason: error.to_string(),
    })?;
    let definition = definition::definition(settings, &image)?.to_json_string();
    let files = rows.files()?;
    let manifest = manifest(&files)?;
    let fingerprint = fingerprint(settings, &files);
    let names = settings.name().run(started, &fingerprint);
    let plan = Plan {
        rows,
        started,
        definition,
        files,
        manifest: manifest.clone(),
        fingerprint,
        names: &names,
    };

    let began = Instant::now();
    let mut made = Made::default();
    let result = {
        let work = work(clients, settings, plan, &mut made, &mut *observe);
        tokio::select! {
            result = work => result,
            () = cancel => Err(Error::Interrupted),
        }
    };
    let error = match result {
        Ok(report) => return Ok(report),
        Err(error) => error,
    };
    let seconds = began.elapsed().as_secs_f64();
    let cleanup = undo(clients, settings, &names, &made, &mut *observe);
    if tokio::time::timeout(CLEANUP, cleanup).await.is_err() {
        let message = format!(
            "cleaning up took longer than {} s and was given up; `ipinsights destroy` finds what is left",
            CLEANUP.as_secs()
        );
        observe(Event::Warning { message });
    }
    // What cannot be had soon is left out.
    let look = made.look_again(clients, &error);
    let status = tokio::time::timeout(LAST_LOOK, look).await.unwrap_or_default();
    let report = FailedRun {
        version: report::VERSION,
        kind: FailedRunKind::FailedRun,
        target: settings.target.clone(),
        region: clients.region.clone(),
        started: started.to_string(),
        seconds,
        name: settings.name().to_string(),
        failure: made.trace.failure(&error),
        execution: made.execution(status),
        job: names.training_job().to_string(),
        hyperparameters: settings.hyperparameters().to_map(),
        manifest,
        record: report::Record {
            build: settings.build.clone(),
            seed: rows.seed(),
            model_sha256: None,
        },
    };
    Err(Failed {
        error,
        report: Some(Box::new(report)),
    })
}

/// What a run is to do, worked out before anything is sent.
struct Plan<'a> {
    rows: &'a Rows,
    started: Timestamp,
    definition: String,
    files: Vec<RowFile>,
    manifest: serde_json::Value,
    fingerprint: String,
    names: &'a RunNames,
}

/// What a run has made so far, kept outside of it for when it is interrupted.
#[derive(Default)]
struct Made {
    /// The state machine.
    machine: Option<String>,
    /// The execution, from the moment it may have been started.
    execution: Option<String>,
    /// It has been started for certain.
    started: bool,
    /// It has ended by itself.
    ended: bool,
    /// What the endpoint served before.
    before: Option<Served>,
    /// How far the execution has come.
    trace: Trace,
}

impl Made {
    /// The status of the execution of a run that ended with this error. One that was given up has gone on since it was last looked at.
    async fn look_again(&mut self, clients: &Clients, error: &Error) -> Option<String> {
        let execution = self.execution.clone().filter(|_| self.started)?;
        if self.ended {
            let succeeded = ExecutionStatus::Succeeded.as_str();
            return Some(match error {
                Error::Execution { status, .. } => status.clone(),
                _ => succeeded.to_owned(),
            });
        }
        let mut watch = Watch {
            execution: &execution,
            trace: &mut self.trace,
        };
        watch.read_history(clients, &mut |_| {}).await.ok()?;
        let describe = clients.sfn.describe_execution().execution_arn(&execution);
        let described = describe.send().await.ok()?;
        Some(described.status.as_str().to_owned())
    }

    /// The execution, if it came to one.
    fn execution(&self, status: Option<String>) -> Option<report::Execution> {
        self.started.then(|| report::Execution {
            arn: self.execution.clone().unwrap_or_default(),
            status: status.unwrap_or_else(|| ExecutionStatus::Running.as_str().to_owned()),
            state_machine: self.machine.clone().unwrap_or_default(),
            states: self.trace.all_visits(),
        })
    }
}

async fn work(
    clients: &Clients,
    settings: &Settings,
    plan: Plan<'_>,
    made: &mut Made,
    observe: Observer<'_>,
) -> Result<Report, Error> {
    let Plan {
        rows,
        started,
        definition,
        files,
        manifest,
        fingerprint,
        names,
    } = plan;
    let account = clients.account().await?;
    let places = Places::of(settings, clients.region(), &account, &fingerprint);
    upload(clients, &places, &files, &mut *observe).await?;
    let machine = ensure_state_machine(clients, settings, definition, &mut *observe).await?;
    made.machine = Some(machine.clone());
    made.before = Served::of(clients, &settings.name().endpoint()).await?;
    let input = json!({
        (input::JOB_NAME): names.training_job().as_str(),
        (input::MODEL_NAME): names.model().as_str(),
        (input::ARTIFACT_LOCATION): places.artifacts.to_uri(),
        (input::ENDPOINT_NAME): settings.name().endpoint().as_str(),
        (input::DATA_LOCATION): places.data.to_uri(),
    });
    // The ARN that the service will give: an interruption may come before its answer does.
    made.execution = Some(format!(
        "{}:{}",
        machine.replacen(":stateMachine:", ":execution:", 1),
        names.execution()
    ));
    let execution = clients
        .sfn
        .start_execution()
        .state_machine_arn(&machine)
        .name(names.execution())
        .input(input.to_string())
        .send()
        .await
        .map_err(|error| ClientError::from_sdk("StartExecution", error))?
        .execution_arn;
    made.execution = Some(execution.clone());
    made.started = true;
    observe(Event::ExecutionStarted {
        arn: execution.clone(),
    });

    let mut watch = Watch {
        execution: &execution,
        trace: &mut made.trace,
    };
    let end = watch.until_end(clients, settings, &mut *observe).await;
    made.ended = !matches!(end, Err(Error::Unfinished { .. } | Error::Client(_)));
    end?;
    observe(Event::ExecutionSucceeded);
    let done = Done {
        states: made.trace.visits.clone(),
        execution,
        machine,
        started,
        manifest,
    };
    let report = finish(clients, settings, rows, names, done, &mut *observe).await?;
    if let Some(before) = made.before.take() {
        before.delete_superseded(clients, settings, names, observe).await;
    }
    Ok(report)
}

/// Stops the execution and deletes what a run made that did not end well.
async fn undo(clients: &Clients, settings: &Settings, names: &RunNames, made: &Made, observe: Observer<'_>) {
    let Some(execution) = &made.execution else { return };
    if !made.ended {
        let stop = clients.sfn.stop_execution().execution_arn(execution);
        match stop
            .error("Interrupted")
            .cause("the run that started it was given up")
            .send()
            .await
        {
            Ok(_) => {}
            // It was never started.
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(StopExecutionError::is_execution_does_not_exist) =>
            {
                return;
            }
            Err(error) => {
                let error = ClientError::from_sdk("StopExecution", error);
                observe(Event::Warning {
                    message: format!("execution `{execution}` may still run: {error}"),
                });
            }
        }
    }
    discard(clients, settings, names, made.before.as_ref(), observe).await;
}

/// What is known when the execution has succeeded.
struct Done {
    execution: String,
    machine: String,
    states: Vec<report::StateVisit>,
    started: Timestamp,
    manifest: serde_json::Value,
}

/// The manifest as it was uploaded.
fn manifest(files: &[RowFile]) -> Result<serde_json::Value, Error> {
    let file = files.iter().find(|file| file.name == "manifest.json");
    file.map_or(Ok(serde_json::Value::Null), |file| {
        serde_json::from_slice(&file.bytes)
    })
    .map_err(|source| Error::Json {
        what: "the manifest",
        source,
    })
}

/// The folders of one run.
struct Places {
    bucket: Option<String>,
    data: S3Folder,
    artifacts: S3Folder,
}

impl Places {
    fn of(settings: &Settings, region: &str, account: &str, fingerprint: &str) -> Self {
        let bucket = settings.name().bucket(region, account);
        let default = |kind: &str| S3Folder::new(bucket.clone(), &format!("{}/{kind}", settings.name()));
        let needs_bucket = settings.data_location.is_none() || settings.artifact_location.is_none();
        // The same rows go to the same place: runs over the same data do not pile it up.
        let data = settings
            .data_location
            .clone()
            .unwrap_or_else(|| default("data"))
            .join(&fingerprint[..16]);
        let artifacts = settings
            .artifact_location
            .clone()
            .unwrap_or_else(|| default("artifacts"));
        Self {
            bucket: needs_bucket.then_some(bucket),
            data,
            artifacts,
        }
    }
}

/// SHA-256, hex, over what decides the result: the files and the hyperparameters.
fn fingerprint(settings: &Settings, files: &[RowFile]) -> String {
    let mut hash = Sha256::new();
    for file in files {
        hash.update(format!("{} {}\n", file.name, file.bytes.len()));
        hash.update(&file.bytes);
    }
    for (name, value) in settings.hyperparameters().to_map() {
        hash.update(format!("{name}={value}\n"));
    }
    hex(&hash.finalize())
}

async fn upload(
    clients: &Clients,
    places: &Places,
    files: &[RowFile],
    observe: Observer<'_>,
) -> Result<(), Error> {
    if let Some(bucket) = &places.bucket {
        ensure_bucket(clients, bucket).await?;
    }
    for RowFile { name, bytes } in files {
        let content_type = if name.ends_with(".json") {
            "application/json"
        } else {
            "text/csv"
        };
        clients
            .s3
            .put_object()
            .bucket(places.data.bucket())
            .key(places.data.key(name))
            .content_type(content_type)
            .body(ByteStream::from(bytes.clone()))
            .send()
            .await
            .map_err(|error| ClientError::from_sdk("PutObject", error))?;
        observe(Event::Uploaded {
            uri: places.data.uri(name),
            bytes: bytes.len(),
        });
    }
    Ok(())
}

async fn ensure_bucket(clients: &Clients, bucket: &str) -> Result<(), Error> {
    match clients.s3.head_bucket().bucket(bucket).send().await {
        Ok(_) => return Ok(()),
        Err(error)
            if error
                .raw_response()
                .is_some_and(|response| response.status().as_u16() == 404) => {}
        Err(error) => return Err(ClientError::from_sdk("HeadBucket", error).into()),
    }
    let mut request = clients.s3.create_bucket().bucket(bucket);
    // S3 refuses the name of its first region as a constraint.
    if clients.region() != "us-east-1" {
        let constraint = BucketLocationConstraint::from(clients.region());
        request = request.create_bucket_configuration(
            CreateBucketConfiguration::builder()
                .location_constraint(constraint)
                .build(),
        );
    }
    match request.send().await {
        Ok(_) => Ok(()),
        // Somebody was quicker, or an earlier answer was lost.
        Err(error)
            if error
                .as_service_error()
                .is_some_and(CreateBucketError::is_bucket_already_owned_by_you) =>
        {
            Ok(())
        }
        Err(error) => Err(ClientError::from_sdk("CreateBucket", error).into()),
    }
}

/// Creates the state machine, or gives the one there is this run's definition.
async fn ensure_state_machine(
    clients: &Clients,
    settings: &Settings,
    definition: String,
    observe: Observer<'_>,
) -> Result<String, Error> {
    let name = settings.name().state_machine();
    if let Some(arn) = find_state_machine(clients, &name).await? {
        clients
            .sfn
            .update_state_machine()
            .state_machine_arn(&arn)
            .definition(definition)
            .role_arn(settings.workflow_execution_role.as_str())
            .send()
            .await
            .map_err(|error| ClientError::from_sdk("UpdateStateMachine", error))?;
        observe(Event::StateMachine {
            arn: arn.clone(),
            created: false,
        });
        return Ok(arn);
    }
    let arn = clients
        .sfn
        .create_state_machine()
        .name(name)
        .definition(definition)
        .role_arn(settings.workflow_execution_role.as_str())
        .send()
        .await
        .map_err(|error| ClientError::from_sdk("CreateStateMachine", error))?
        .state_machine_arn;
    observe(Event::StateMachine {
        arn: arn.clone(),
        created: true,
    });
    Ok(arn)
}

/// The ARN of the state machine of this name, if there is one.
pub(crate) async fn find_state_machine(clients: &Clients, name: &str) -> Result<Option<String>, Error> {
    let mut pages = clients.sfn.list_state_machines().into_paginator().send();
    while let Some(page) = pages.next().await {
        let page = page.map_err(|error| ClientError::from_sdk("ListStateMachines", error))?;
        if let Some(found) = page
            .state_machines
            .into_iter()
            .find(|machine| machine.name == name)
        {
            return Ok(Some(found.state_machine_arn));
        }
    }
    Ok(None)
}

/// What an endpoint served before this run.
struct Served {
    config: EndpointConfigName,
    models: Vec<ModelName>,
}

impl Served {
    /// `None` when there is no such endpoint.
    async fn of(clients: &Clients, endpoint: &EndpointName) -> Result<Option<Self>, Error> {
        let config = match clients.ip_insights.describe_endpoint(endpoint).await {
            Ok(endpoint) => endpoint.config,
            Err(ClientError::NotFound(_)) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let models = match clients.ip_insights.models_behind(&config).await {
            Ok(models) => models.into_iter().collect(),
            Err(ClientError::NotFound(_)) => Vec::new(),
            Err(error) => return Err(error.into()),
        };
        Ok(Some(Self { config, models }))
    }

    /// Deletes what the endpoint no longer serves, if a run of this pipeline made it. Must come after the update has
    /// ended: an endpoint whose old configuration disappears while it updates fails.
    async fn delete_superseded(
        self,
        clients: &Clients,
        settings: &Settings,
        names: &RunNames,
        observe: Observer<'_>,
    ) {
        if self.config == names.config() || !settings.name().owns(self.config.as_str()) {
            return;
        }
        let models = self
            .models
            .into_iter()
            .filter(|model| settings.name().owns(model.as_str()));
        let resources =
            std::iter::once(Resource::EndpointConfig(self.config)).chain(models.map(Resource::Model));
        delete(clients, resources.collect(), observe).await;
    }
}

/// Deletes what a failed run made: nothing that does not work is left, nor what nobody would find again.
async fn discard(
    clients: &Clients,
    settings: &Settings,
    names: &RunNames,
    before: Option<&Served>,
    observe: Observer<'_>,
) {
    let endpoint = settings.name().endpoint();
    let now = Served::of(clients, &endpoint).await.ok().flatten();
    let mut resources = vec![
        Resource::EndpointConfig(names.config()),
        Resource::Model(names.model()),
    ];
    if now.is_some_and(|now| now.config == names.config()) {
        if before.is_some() {
            let message = format!(
                "endpoint `{endpoint}` is bound to configuration `{}` of the failed run; run again, or `ipinsights destroy`",
                names.config()
            );
            observe(Event::Warning { message });
            return;
        }
        resources.insert(0, Resource::Endpoint(endpoint));
    }
    delete(clients, resources, observe).await;
}

/// Deletes, and tells what went and what would not.
async fn delete(clients: &Clients, resources: Vec<Resource>, observe: Observer<'_>) {
    let deadline = Deadline {
        poll: Duration::from_secs(1),
        timeout: Duration::from_secs(60),
    };
    let done = clients
        .ip_insights
        .teardown_of(&resources, deadline, &mut |_| {})
        .await;
    for resource in done.deleted {
        observe(Event::Deleted {
            resource: resource.to_string(),
        });
    }
    for (resource, error) in done.left {
        observe(Event::Warning {
            message: format!("{resource} is left: {error}"),
        });
    }
}

/// How far an execution has come, by its history.
#[derive(Default)]
struct Trace {
    /// The last event that was read.
    seen: i64,
    /// When that was, by the service's clock.
    last: f64,
    state: String,
    entered: f64,
    /// Whether the state was entered and not left.
    is_inside: bool,
    /// The error of the last try, where it failed.
    failed: Option<String>,
    visits: Vec<report::StateVisit>,
    /// With which error and cause the execution ended.
    end: Option<(String, String)>,
}

impl Trace {
    /// The visits, and the one that never ended.
    fn all_visits(&self) -> Vec<report::StateVisit> {
        let mut visits = self.visits.clone();
        if self.is_inside {
            let error = self.end.as_ref().map(|(error, _)| error.clone());
            visits.push(report::StateVisit {
                name: self.state.clone(),
                seconds: (self.last - self.entered).max(0.0),
                caught: None,
                failed: Some(
                    error
                        .filter(|error| !error.is_empty())
                        .unwrap_or("Aborted".to_owned()),
                ),
            });
        }
        visits
    }

    fn failure(&self, error: &Error) -> report::Failure {
        let mut because = Vec::new();
        let mut cause = error.source();
        while let Some(error) = cause {
            because.push(error.to_string());
            cause = error.source();
        }
        // A Fail state only tells what the state before it came to, where that was caught.
        let state = match self.visits.last() {
            Some(visit) if self.is_inside && visit.caught.is_some() => Some(visit.name.clone()),
            _ => self.is_inside.then(|| self.state.clone()),
        };
        let (error_name, cause) = self.end.clone().unzip();
        let said = |text: Option<String>| text.filter(|text| !text.is_empty());
        report::Failure {
            message: error.to_string(),
            because,
            state,
            error: said(error_name),
            cause: said(cause.map(|cause| own_words(&cause))),
        }
    }
}

/// Follows an execution through its history.
struct Watch<'a> {
    execution: &'a str,
    trace: &'a mut Trace,
}

impl Watch<'_> {
    /// Looks until the execution ends or has taken too long.
    async fn until_end(
        &mut self,
        clients: &Clients,
        settings: &Settings,
        observe: Observer<'_>,
    ) -> Result<(), Error> {
        let patience = Duration::from_secs(settings.pace.execution_timeout.into()) + settings.pace.grace;
        let deadline = Instant::now() + patience;
        loop {
            // The status is asked before the history, so that the history of an ended execution is read to its end.
            let described = clients
                .sfn
                .describe_execution()
                .execution_arn(self.execution)
                .send()
                .await
                .map_err(|error| ClientError::from_sdk("DescribeExecution", error))?;
            self.read_history(clients, &mut *observe).await?;
            match described.status {
                ExecutionStatus::Running | ExecutionStatus::PendingRedrive => {}
                ExecutionStatus::Succeeded => return Ok(()),
                other => {
                    let reason = reason(described.error.as_deref(), described.cause.as_deref());
                    self.trace.end = Some((
                        described.error.unwrap_or_default(),
                        described.cause.unwrap_or_default(),
                    ));
                    return Err(Error::Execution {
                        execution: self.execution.to_owned(),
                        status: other.as_str().to_owned(),
                        state: self.trace.state.clone(),
                        reason,
                    });
                }
            }
            if Instant::now() >= deadline {
                return Err(Error::Unfinished {
                    execution: self.execution.to_owned(),
                    state: self.trace.state.clone(),
                    seconds: patience.as_secs(),
                });
            }
            tokio::time::sleep(settings.pace.poll).await;
        }
    }

    /// Reads the events since the last look, newest page first, and tells them in order.
    async fn read_history(&mut self, clients: &Clients, observe: Observer<'_>) -> Result<(), Error> {
        let mut new: Vec<HistoryEvent> = Vec::new();
        let mut token = None;
        loop {
            let page = clients
                .sfn
                .get_execution_history()
                .execution_arn(self.execution)
                .reverse_order(true)
                .max_results(100)
                .set_next_token(token)
                .send()
                .await
                .map_err(|error| ClientError::from_sdk("GetExecutionHistory", error))?;
            let seen = self.trace.seen;
            let reached = page.events.iter().any(|event| event.id <= seen);
            new.extend(page.events.into_iter().filter(|event| event.id > seen));
            token = page.next_token;
            if reached || token.is_none() {
                break;
            }
        }
        new.sort_by_key(|event| event.id);
        for event in new {
            self.trace.tell(&event, observe);
        }
        Ok(())
    }
}

impl Trace {
    fn tell(&mut self, event: &HistoryEvent, observe: Observer<'_>) {
        let moment = event.timestamp.as_secs_f64();
        self.seen = event.id;
        self.last = moment;
        if let Some(details) = &event.state_entered_event_details {
            self.state.clone_from(&details.name);
            self.entered = moment;
            self.is_inside = true;
            self.failed = None;
            observe(Event::StateEntered {
                state: details.name.clone(),
            });
        }
        if let Some(details) = &event.state_exited_event_details {
            let seconds = (moment - self.entered).max(0.0);
            self.is_inside = false;
            self.visits.push(report::StateVisit {
                name: details.name.clone(),
                seconds,
                caught: self.failed.take(),
                failed: None,
            });
            observe(Event::StateExited {
                state: details.name.clone(),
                seconds,
            });
        }
        // A retrier tries again.
        if event.task_scheduled_event_details.is_some() {
            self.failed = None;
        }
        if let Some(details) = &event.task_timed_out_event_details {
            self.failed = Some(
                details
                    .error
                    .clone()
                    .unwrap_or_else(|| "States.Timeout".to_owned()),
            );
        }
        if let Some(details) = &event.task_failed_event_details {
            self.failed = Some(
                details
                    .error
                    .clone()
                    .unwrap_or_else(|| "States.TaskFailed".to_owned()),
            );
            observe(Event::TaskFailed {
                state: self.state.clone(),
                error: details.error.clone().unwrap_or_default(),
                cause: details.cause.clone().unwrap_or_default(),
            });
        }
    }
}

/// The reason of a failed execution in words: a failed job's cause is its whole description, of which the reason is one
/// member.
fn reason(error: Option<&str>, cause: Option<&str>) -> String {
    match (error, own_words(cause.unwrap_or_default())) {
        (Some(error), cause) if cause.is_empty() => error.to_owned(),
        (Some(error), cause) => format!("{error}: {cause}"),
        (None, cause) if cause.is_empty() => "the service gave no reason".to_owned(),
        (None, cause) => cause,
    }
}

/// A failed job's cause is its whole description, of which the reason is one member; one that was stopped has none.
fn own_words(cause: &str) -> String {
    let job: serde_json::Value = serde_json::from_str(cause).unwrap_or_default();
    if let Some(reason) = job["FailureReason"].as_str() {
        return reason.to_owned();
    }
    let Some(status) = job["TrainingJobStatus"].as_str() else {
        return cause.to_owned();
    };
    let transitions = job["SecondaryStatusTransitions"].as_array();
    let last = transitions.and_then(|all| all.last()?["StatusMessage"].as_str());
    match last {
        Some(message) => format!("the training job ended as {status}: {message}"),
        None => format!("the training job ended as {status}"),
    }
}

/// Scores through the endpoint, calibrates, and writes the report.
async fn finish(
    clients: &Clients,
    settings: &Settings,
    rows: &Rows,
    names: &RunNames,
    done: Done,
    observe: Observer<'_>,
) -> Result<Report, Error> {
    let endpoint = settings.name().endpoint();
    let parts = [rows.test(), rows.validation(), rows.evaluation(), rows.control()];
    observe(Event::Scoring {
        rows: parts.iter().map(|part| part.len()).sum(),
    });
    let mut scores = Vec::new();
    for part in parts {
        scores.push(match part {
            [] => Vec::new(),
            part => clients.ip_insights.score(&endpoint, part).await?,
        });
    }
    let [outliers, held_out, more, control] = <[Vec<Score>; 4]>::try_from(scores).unwrap_or_default();

    let threshold = ipinsights::Threshold::calibrate(&held_out, settings.false_positive_rate)?;
    let flagged = |scores: &[Score]| {
        scores
            .iter()
            .filter(|score| threshold.is_anomalous(**score))
            .count()
    };
    let mut sorted: Vec<f32> = held_out.iter().map(|score| score.dot_product()).collect();
    sorted.sort_by(f32::total_cmp);
    let below = |score: Score| sorted.partition_point(|value| *value < score.dot_product());

    let judge = Judge::new(rows, &threshold, &sorted);
    let (test, sample) = match rows {
        Rows::Sample(sample) => (Country::of_outliers(sample), true),
        Rows::Own(_) => (Country::Unknown, false),
    };
    let native = if sample {
        Country::OfEntity
    } else {
        Country::Unknown
    };
    let scored: Vec<report::Row> = rows
        .test()
        .iter()
        .zip(&outliers)
        .map(|(event, &score)| judge.row(event, score, test))
        .collect();
    let held_out_figures = report::HeldOut {
        rows: held_out.len(),
        // Whether rows to judge are normal, nobody knows.
        auc_vs_outliers: sample
            .then(|| ipinsights::evaluation::auc(&held_out, &outliers))
            .flatten(),
        flagged: flagged(&held_out),
        negative: below(Score::from(0.0)),
        quantiles: [0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0]
            .map(|at| report::quantile(&sorted, at))
            .to_vec(),
        entity_count: entities(rows.validation()).len(),
        entities: by_entity(rows.validation(), &held_out, &threshold),
        lowest: judge.lowest(rows.validation(), &held_out, native),
    };
    let evaluation = report::Evaluation {
        rows: more.len(),
        auc: ipinsights::evaluation::auc(&held_out, &more),
        flagged: flagged(&more),
        lowest: judge.lowest(rows.evaluation(), &more, test),
    };
    let control = ipinsights::interval::share(flagged(&control), control.len(), CONFIDENCE).map(|rate| {
        report::Control {
            rows: control.len(),
            flagged: flagged(&control),
            false_positive_rate: rate,
            lowest: judge.lowest(rows.control(), &control, native),
        }
    });
    let against = if sample && more.is_empty() {
        &outliers
    } else {
        &more
    };
    let hyperparameters = settings.hyperparameters();
    let negatives = f64::from(
        (hyperparameters.random_negative_sampling_rate() + hyperparameters.shuffled_negative_sampling_rate())
            .max(1),
    );
    // Without rows on both sides there is nothing to draw.
    let detection = ipinsights::evaluation::Evaluation::new(&held_out, against)
        .threshold(&threshold)
        .log_odds(negatives.ln())
        .report()
        .ok();
    let pictures = match detection.as_ref().map(|detection| detection.pictures()) {
        Some(Ok(pictures)) => pictures,
        Some(Err(error)) => {
            observe(Event::Warning {
                message: error.to_string(),
            });
            Vec::new()
        }
        None => Vec::new(),
    };
    let detection = detection
        .as_ref()
        .and_then(|detection| serde_json::to_value(detection).ok());
    let threshold = report::Threshold {
        value: threshold.value().dot_product(),
        false_positive_rate: settings.false_positive_rate,
    };
    let mut training = training(clients, settings, names).await?;
    let endpoint = served(clients, &endpoint).await?;
    // A report without these two is still a report.
    let mut warn = |message: String| observe(Event::Warning { message });
    let curve = curve(clients, names).await.unwrap_or_else(|error| {
        warn(format!("the report has no training curve: {error}"));
        TrainingCurve::default()
    });
    training.curve = curve.points().into_iter().map(Into::into).collect();
    let training_picture = curve.picture().unwrap_or_else(|error| {
        warn(error.to_string());
        None
    });
    let model_sha256 = match digest(clients, &training.model_data).await {
        Ok(digest) => Some(digest),
        Err(error) => {
            warn(format!("the report has no checksum of the model: {error}"));
            None
        }
    };
    let record = report::Record {
        build: settings.build.clone(),
        seed: rows.seed(),
        model_sha256,
    };
    let figures = report::Figures {
        rows: &scored,
        threshold: &threshold,
        held_out: &held_out_figures,
        control: control.as_ref(),
        evaluation: &evaluation,
    };
    let verdict = match rows {
        Rows::Sample(_) => report::verdict(&figures),
        Rows::Own(rows) => report::own_verdict(&figures, rows.manifest().evaluation),
    };
    Ok(Report {
        version: report::VERSION,
        kind: RunKind::Run,
        target: settings.target.clone(),
        region: clients.region.clone(),
        started: done.started.to_string(),
        execution: report::Execution {
            arn: done.execution,
            status: ExecutionStatus::Succeeded.as_str().to_owned(),
            state_machine: done.machine,
            states: done.states,
        },
        training,
        endpoint,
        outliers: scored.len(),
        outliers_flagged: scored.iter().filter(|row| row.anomalous).count(),
        rows: scored,
        threshold,
        held_out: held_out_figures,
        control,
        evaluation,
        detection,
        verdict,
        manifest: done.manifest,
        record: Some(record),
        pictures,
        training_picture,
    })
}

/// Which country an address is in, as far as the rows say.
#[derive(Clone, Copy)]
enum Country<'a> {
    Unknown,
    /// The entity is the country.
    OfEntity,
    Named(&'a str),
}

impl<'a> Country<'a> {
    fn of_outliers(sample: &'a geodata::Sample) -> Self {
        let outliers = sample.manifest.outliers.as_ref();
        outliers.map_or(Self::Unknown, |outliers| Self::Named(&outliers.name))
    }
}

/// Says of a row what its score means.
struct Judge<'a> {
    threshold: &'a ipinsights::Threshold,
    /// The held-out scores, lowest first.
    held_out: &'a [f32],
    known: HashSet<&'a str>,
    /// Rows too many for a history go without reasons.
    history: Option<History>,
}

impl<'a> Judge<'a> {
    fn new(rows: &'a Rows, threshold: &'a ipinsights::Threshold, held_out: &'a [f32]) -> Self {
        Self {
            threshold,
            held_out,
            known: entities(rows.train()),
            history: HistoryBuilder::of_events(rows.train()).ok(),
        }
    }

    fn row(&self, event: &AccessEvent, score: Score, country: Country<'_>) -> report::Row {
        let is_known = self.known.contains(event.entity.as_str());
        let below = self
            .held_out
            .partition_point(|value| *value < score.dot_product());
        let country = match country {
            Country::Unknown => None,
            Country::OfEntity => Some(event.entity.as_str()),
            Country::Named(name) => Some(name),
        };
        report::Row {
            entity: event.entity.clone(),
            ip: event.ip,
            score: score.dot_product(),
            anomalous: is_known && self.threshold.is_anomalous(score),
            unknown_entity: !is_known,
            percentile: below as f64 / self.held_out.len().max(1) as f64,
            reason: self.history.as_ref().map(|history| {
                let reasons = history.explain(&event.entity, event.ip, score, Some(self.threshold), country);
                reasons.sentence
            }),
        }
    }

    /// The rows with the lowest scores, lowest first.
    fn lowest(&self, events: &[AccessEvent], scores: &[Score], country: Country<'_>) -> Vec<report::Row> {
        let mut pairs: Vec<(&AccessEvent, Score)> = events.iter().zip(scores.iter().copied()).collect();
        pairs.sort_by(|a, b| a.1.cmp_normality(b.1).then_with(|| a.0.cmp(b.0)));
        pairs
            .into_iter()
            .take(report::MOST_LISTED)
            .map(|(event, score)| self.row(event, score, country))
            .collect()
    }
}

fn by_entity(
    events: &[AccessEvent],
    scores: &[Score],
    threshold: &ipinsights::Threshold,
) -> Vec<report::EntityScores> {
    let mut groups: BTreeMap<&str, Vec<Score>> = BTreeMap::new();
    for (event, score) in events.iter().zip(scores) {
        groups.entry(&event.entity).or_default().push(*score);
    }
    let mut entities: Vec<report::EntityScores> = groups
        .into_iter()
        .map(|(entity, mut scores)| {
            scores.sort_by(|a, b| a.cmp_normality(*b));
            let values: Vec<f32> = scores.iter().map(|score| score.dot_product()).collect();
            report::EntityScores {
                entity: entity.to_owned(),
                rows: scores.len(),
                median: report::quantile(&values, 0.5),
                flagged: scores
                    .iter()
                    .filter(|score| threshold.is_anomalous(**score))
                    .count(),
            }
        })
        .collect();
    if entities.len() > report::MOST_LISTED {
        entities.sort_by(|a, b| b.flagged.cmp(&a.flagged).then_with(|| a.entity.cmp(&b.entity)));
        entities.truncate(report::MOST_LISTED);
    }
    entities
}

async fn training(
    clients: &Clients,
    settings: &Settings,
    names: &RunNames,
) -> Result<report::Training, Error> {
    let job = clients
        .ip_insights
        .describe_training(&names.training_job())
        .await?;
    let TrainingState::Completed(model) = job.state else {
        let what = format!(
            "training job `{}` is {job} after an execution that succeeded",
            names.training_job()
        );
        return Err(Error::Unexpected { what });
    };
    Ok(report::Training {
        job: names.training_job().to_string(),
        model_data: model.artifacts.to_string(),
        hyperparameters: settings.hyperparameters().to_map(),
        metrics: model.metrics,
        curve: Vec::new(),
    })
}

/// The epochs of the training, out of the job's log.
async fn curve(clients: &Clients, names: &RunNames) -> Result<TrainingCurve, Error> {
    let mut curve = TrainingCurve::default();
    let mut pages = clients
        .logs
        .filter_log_events()
        .log_group_name("/aws/sagemaker/TrainingJobs")
        .log_stream_name_prefix(format!("{}/", names.training_job()))
        // Of the figures, not those of single mini-batches.
        .filter_pattern("\"#quality_metric\" -\"batch=\"")
        .into_paginator()
        .send();
    while let Some(page) = pages.next().await {
        let page = page.map_err(|error| ClientError::from_sdk("FilterLogEvents", error))?;
        for event in page.events() {
            curve.read_line(event.message().unwrap_or_default());
        }
    }
    Ok(curve)
}

/// SHA-256 of an object, hex, which is streamed.
async fn digest(clients: &Clients, uri: &str) -> Result<String, Error> {
    let place = S3Folder::parse("model", uri)?;
    let mut body = clients
        .s3
        .get_object()
        .bucket(place.bucket())
        .key(place.key("").trim_end_matches('/'))
        .send()
        .await
        .map_err(|error| ClientError::from_sdk("GetObject", error))?
        .body;
    let mut hash = Sha256::new();
    while let Some(bytes) = body.next().await {
        let bytes = bytes.map_err(|error| Error::Unexpected {
            what: format!("`{uri}` broke off: {error}"),
        })?;
        hash.update(&bytes);
    }
    Ok(hex(&hash.finalize()))
}

async fn served(clients: &Clients, name: &EndpointName) -> Result<report::Endpoint, Error> {
    let endpoint = clients.ip_insights.describe_endpoint(name).await?;
    Ok(report::Endpoint {
        name: name.to_string(),
        status: endpoint.status.to_string(),
        config: endpoint.config.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use access_events::AccessEvent;
    use ipinsights::Score;

    use super::{by_entity, reason};
    use crate::report::MOST_LISTED;

    #[test]
    fn a_failed_jobs_own_reason_is_told() {
        let job = r#"{"TrainingJobName":"a","FailureReason":"AlgorithmError: no rows"}"#;
        assert_eq!(
            reason(Some("States.TaskFailed"), Some(job)),
            "States.TaskFailed: AlgorithmError: no rows"
        );
        let stopped = r#"{"TrainingJobName":"a","TrainingJobStatus":"Stopped","SecondaryStatusTransitions":[
            {"Status":"Starting","StatusMessage":"Starting"},{"Status":"Stopped","StatusMessage":"Training job stopped"}]}"#;
        assert_eq!(
            reason(Some("States.TaskFailed"), Some(stopped)),
            "States.TaskFailed: the training job ended as Stopped: Training job stopped"
        );
        assert_eq!(
            reason(None, Some(r#"{"TrainingJobStatus":"Stopped"}"#)),
            "the training job ended as Stopped"
        );
        assert_eq!(reason(None, Some("[1]")), "[1]");
        assert_eq!(
            reason(Some("EndpointFailed"), Some("out of memory")),
            "EndpointFailed: out of memory"
        );
        assert_eq!(reason(Some("States.Timeout"), None), "States.Timeout");
        assert_eq!(reason(None, None), "the service gave no reason");
    }

    #[test]
    fn of_many_entities_those_with_most_flagged_rows_are_listed() {
        let events = |count: usize| -> Vec<AccessEvent> {
            (0..count)
                .map(|at| AccessEvent::new(format!("e{at:05}"), [1, 2, 3, 4].into()))
                .collect()
        };
        let scores =
            |count: usize| -> Vec<Score> { (0..count).rev().map(|at| Score::new(at as f32)).collect() };
        let check = |count: usize| {
            let threshold = ipinsights::Threshold::calibrate(&scores(count), 0.05).unwrap();
            by_entity(&events(count), &scores(count), &threshold)
        };
        // By name where all are.
        let all = check(MOST_LISTED);
        assert_eq!(
            (all.len(), &*all[0].entity, all[0].flagged),
            (MOST_LISTED, "e00000", 0)
        );
        let some = check(2 * MOST_LISTED);
        assert_eq!(some.len(), MOST_LISTED);
        assert_eq!(some[0].flagged, 1);
        assert!(*some[0].entity > *"e01890", "{}", some[0].entity);
    }
}
