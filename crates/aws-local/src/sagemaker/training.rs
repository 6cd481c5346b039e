//! Training jobs: what is asked, what is told, and how a job goes through its states.

use std::{
    collections::{BTreeMap, HashMap},
    fs, io,
    path::PathBuf,
    sync::{Arc, MutexGuard},
    time::{Duration, Instant},
};

use ipinsights::{log::Line, tuning::OBJECTIVE};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use super::{
    Image, SageMaker, copy,
    list::{self, Entry, Listed},
    metric_definitions, require_quota, tags,
    work::{self, Channel, Ending, Metric, Product},
};
use crate::{
    api::{ApiError, ApiResult, CHANNEL, Check, Form, INSTANCE, KMS_KEY, NAME, ROLE, S3_URI, TEXT},
    logs, s3, store,
    time::{Seconds, now},
};

/// A training job.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct TrainingJob {
    name: String,
    arn: String,
    /// What was asked for, as it was.
    request: Value,
    status: String,
    transitions: Vec<Transition>,
    failure: Option<String>,
    created: Seconds,
    modified: Seconds,
    started: Option<Seconds>,
    ended: Option<Seconds>,
    /// How long it has run, in seconds, as of the last change: the time between two servers is not part of it.
    #[serde(default)]
    ran: Seconds,
    /// Where the archive is, once it is.
    artifacts: Option<String>,
    metrics: Vec<Metric>,
    /// Where the log of the first machine is.
    log_stream: String,
    /// What the job is to a tuning job.
    #[serde(default)]
    tuned: Option<Tuned>,
}

/// A trial of a tuning job.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Tuned {
    /// The tuning job's name.
    pub(super) job: String,
    pub(super) arn: String,
    /// The hyperparameters that were chosen for it.
    pub(super) values: BTreeMap<String, String>,
}

/// Hears the objective after each epoch of a trial, counted from 1, and says whether to stop.
pub(super) type Hopeless = Box<dyn Fn(u32, f64) -> bool + Send>;

/// A stretch of a job's life, named as on the wire.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Transition {
    status: String,
    start_time: Seconds,
    #[serde(skip_serializing_if = "Option::is_none")]
    end_time: Option<Seconds>,
    status_message: String,
}

const IN_PROGRESS: &str = "InProgress";
const STOPPING: &str = "Stopping";

/// The statuses that lists can ask for.
pub(super) const STATUSES: [&str; 6] = [
    "InProgress",
    "Completed",
    "Failed",
    "Stopping",
    "Stopped",
    "Deleting",
];

/// What the service uses when a request names no limit: a day.
const MAX_RUNTIME: i64 = 24 * 60 * 60;

/// The most it takes: 28 days.
const MAX_LIMIT: i64 = 28 * MAX_RUNTIME;

/// How long built-in algorithms without checkpoints may wait for spot capacity.
const MAX_WAIT: i64 = 60 * 60;

/// What the end of a job is called while it cannot be saved.
pub(super) const END_OF_JOB: &str = "The end of the job";

impl TrainingJob {
    fn go_to(&mut self, secondary: &str, message: &str) {
        let now = now();
        if let Some(last) = self.transitions.last_mut() {
            last.end_time = Some(now);
        }
        self.modified = now;
        self.transitions.push(Transition {
            status: secondary.to_owned(),
            start_time: now,
            end_time: None,
            status_message: message.to_owned(),
        });
    }

    fn end(&mut self, status: &str, secondary: &str, message: &str) {
        self.go_to(secondary, message);
        self.status = status.to_owned();
        self.ended = Some(self.modified);
        if let Some(last) = self.transitions.last_mut() {
            last.end_time = Some(last.start_time);
        }
    }

    fn secondary(&self) -> &str {
        self.transitions.last().map_or("Starting", |t| &t.status)
    }

    pub(super) fn is_running(&self) -> bool {
        self.ended.is_none()
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn arn(&self) -> &str {
        &self.arn
    }

    pub(super) fn status(&self) -> &str {
        &self.status
    }

    pub(super) fn created(&self) -> Seconds {
        self.created
    }

    /// When it was started, and when it ended.
    pub(super) fn times(&self) -> (Option<Seconds>, Option<Seconds>) {
        (self.started, self.ended)
    }

    pub(super) fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    pub(super) fn tuned(&self) -> Option<&Tuned> {
        self.tuned.as_ref()
    }

    /// All that it was given.
    pub(super) fn hyperparameters(&self) -> BTreeMap<String, String> {
        serde_json::from_value(self.request["HyperParameters"].clone()).unwrap_or_default()
    }

    /// Where the log of the first machine is.
    pub(super) fn log_stream(&self) -> &str {
        &self.log_stream
    }

    /// The last value of a metric.
    pub(super) fn metric(&self, name: &str) -> Option<f64> {
        let metric = self.metrics.iter().find(|metric| metric.metric_name == name);
        metric.map(|metric| metric.value)
    }

    /// The machines it was asked to run on.
    fn instances(&self) -> u64 {
        self.request["ResourceConfig"]["InstanceCount"]
            .as_u64()
            .unwrap_or(1)
            .max(1)
    }

    /// The log of the machine of that number, counted from 1.
    fn stream(&self, machine: u64) -> String {
        self.log_stream
            .replacen("/algo-1-", &format!("/algo-{machine}-"), 1)
    }

    /// How long it ran, as it is billed: by the second, and never none, because clients divide by it.
    pub(super) fn seconds(&self) -> Option<u64> {
        let (started, ended) = (self.started?, self.ended?);
        Some((ended - started).ceil().max(1.0) as u64)
    }

    fn describe(&self) -> Value {
        let mut answer = Map::new();
        answer.insert("TrainingJobName".into(), self.name.clone().into());
        answer.insert("TrainingJobArn".into(), self.arn.clone().into());
        if let Some(tuned) = &self.tuned {
            answer.insert("TuningJobArn".into(), tuned.arn.clone().into());
        }
        if let Some(artifacts) = &self.artifacts {
            answer.insert("ModelArtifacts".into(), json!({"S3ModelArtifacts": artifacts}));
        }
        answer.insert("TrainingJobStatus".into(), self.status.clone().into());
        answer.insert("SecondaryStatus".into(), self.secondary().into());
        if let Some(reason) = &self.failure {
            answer.insert("FailureReason".into(), reason.clone().into());
        }
        let members = [
            "HyperParameters",
            "AlgorithmSpecification",
            "RoleArn",
            "InputDataConfig",
            "OutputDataConfig",
            "ResourceConfig",
            "VpcConfig",
            "StoppingCondition",
            "DebugHookConfig",
            "ProfilerConfig",
            "Environment",
            "RetryStrategy",
            "TensorBoardOutputConfig",
            "CheckpointConfig",
            "ExperimentConfig",
        ];
        copy(&self.request, &members, &mut answer);
        // Clients index this member whether or not a key was given.
        if let Some(output) = answer.get_mut("OutputDataConfig").and_then(Value::as_object_mut) {
            output.entry("KmsKeyId").or_insert("".into());
        }
        if let Some(algorithm) = answer
            .get_mut("AlgorithmSpecification")
            .and_then(Value::as_object_mut)
        {
            algorithm
                .entry("EnableSageMakerMetricsTimeSeries")
                .or_insert(false.into());
            algorithm.insert("MetricDefinitions".into(), metric_definitions());
        }
        answer.entry("HyperParameters").or_insert_with(|| json!({}));
        let flags = [
            "EnableNetworkIsolation",
            "EnableInterContainerTrafficEncryption",
            "EnableManagedSpotTraining",
        ];
        for flag in flags {
            answer.insert(
                flag.into(),
                self.request.get(flag).cloned().unwrap_or(Value::Bool(false)),
            );
        }
        answer.insert("CreationTime".into(), self.created.into());
        for (member, time) in [
            ("TrainingStartTime", self.started),
            ("TrainingEndTime", self.ended),
        ] {
            if let Some(time) = time {
                answer.insert(member.into(), time.into());
            }
        }
        answer.insert("LastModifiedTime".into(), self.modified.into());
        answer.insert("SecondaryStatusTransitions".into(), json!(self.transitions));
        if !self.metrics.is_empty() {
            answer.insert("FinalMetricDataList".into(), json!(self.metrics));
        }
        if let Some(seconds) = self.seconds() {
            answer.insert("TrainingTimeInSeconds".into(), seconds.into());
            answer.insert("BillableTimeInSeconds".into(), seconds.into());
        }
        answer.into()
    }
}

impl Listed for TrainingJob {
    fn entry(&self) -> Entry<'_> {
        Entry {
            name: &self.name,
            created: self.created,
            modified: self.modified,
            status: &self.status,
        }
    }
}

impl SageMaker {
    pub(super) fn create_training_job(self: &Arc<Self>, input: &Value) -> ApiResult<Value> {
        let arn = self.start_training(input, None, Box::new(|_, _| false))?;
        Ok(json!({"TrainingJobArn": arn}))
    }

    /// Starts a training job, and gives back its resource name.
    pub(super) fn start_training(
        self: &Arc<Self>,
        input: &Value,
        tuned: Option<Tuned>,
        hopeless: Hopeless,
    ) -> ApiResult<String> {
        let asked = examine(input)?;
        self.require_runnable(&asked)?;
        let Asked {
            name, channels, tags, ..
        } = asked;
        let arn = self.arn("training-job", name);
        let taken = || {
            let message = format!(
                "Training job names must be unique within an AWS account and region, and a training job with this \
                 name already exists ({arn})"
            );
            ApiError::new("ResourceInUse", message)
        };
        if self.training_jobs.contains(name) {
            return Err(taken());
        }
        let mut job = TrainingJob {
            name: name.to_owned(),
            arn: arn.clone(),
            request: with_defaults(input),
            status: IN_PROGRESS.to_owned(),
            transitions: Vec::new(),
            failure: None,
            created: now(),
            modified: now(),
            started: None,
            ended: None,
            ran: 0.0,
            artifacts: None,
            metrics: Vec::new(),
            log_stream: format!("{name}/algo-1-{}", now() as u64),
            tuned,
        };
        job.go_to("Starting", "Starting the training job");
        if self.training_jobs.insert_new(name, job)?.is_err() {
            return Err(taken());
        }
        let tagged = self.tag_new(&arn, tags);
        // Nothing stays that nothing runs.
        if tagged.is_err() && self.training_jobs.remove(name).is_ok() {
            return tagged.map(|()| arn);
        }
        self.spawn_training(name, channels, hopeless);
        tagged.map(|()| arn)
    }

    /// What the service looks at before it takes a training job: the image and the channels.
    pub(super) fn require_runnable(&self, asked: &Asked<'_>) -> ApiResult<()> {
        if Image::required(asked.image)? == Image::Container {
            if asked.instances > 1 {
                return Err(ApiError::validation(format!(
                    "The image {} trains on one machine: InstanceCount has to be 1.",
                    asked.image
                )));
            }
            if asked.channels.iter().any(|channel| channel.name == "model") {
                return Err(ApiError::not_implemented("The channel model"));
            }
        }
        for channel in &asked.channels {
            self.require_objects(&channel.url, asked.role)?;
        }
        Ok(())
    }

    fn spawn_training(self: &Arc<Self>, name: &str, channels: Vec<Channel>, hopeless: Hopeless) {
        let (this, name, stop) = (self.clone(), name.to_owned(), self.stop.child_token());
        self.running_jobs().insert(name.clone(), stop.clone());
        self.spawn(move || this.run(&name, channels, &stop, &hopeless));
    }

    /// Runs a job of an earlier server on; false if its request can no longer be run.
    pub(super) fn resume_training(self: &Arc<Self>, name: &str, hopeless: Hopeless) -> io::Result<bool> {
        let Some(job) = self.training_jobs.get(name) else {
            return Ok(false);
        };
        match examine(&job.request) {
            Ok(asked) => {
                self.training_jobs.update(name, |job| {
                    if job.status == IN_PROGRESS {
                        job.go_to("Restarting", "Restarting the training job");
                    }
                })?;
                self.spawn_training(name, asked.channels, hopeless);
                Ok(true)
            }
            Err(error) => {
                self.training_jobs.update(name, |job| {
                    job.failure = Some(format!("InternalServerError: {}", error.message));
                    job.end("Failed", "Failed", "Training job failed");
                })?;
                Ok(false)
            }
        }
    }

    fn running_jobs(&self) -> MutexGuard<'_, HashMap<String, CancellationToken>> {
        self.running.lock().unwrap_or_else(|e| e.into_inner())
    }

    pub(super) fn describe_training_job(&self, input: &Value) -> ApiResult<Value> {
        Ok(self.training_job_of(input)?.describe())
    }

    pub(super) fn list_training_jobs(&self, input: &Value) -> ApiResult<Value> {
        let summary = |job: TrainingJob| {
            let mut summary = json!({
                "TrainingJobName": job.name,
                "TrainingJobArn": job.arn,
                "CreationTime": job.created,
                "LastModifiedTime": job.modified,
                "TrainingJobStatus": job.status,
                "SecondaryStatus": job.secondary(),
            });
            if let Some(ended) = job.ended {
                summary["TrainingEndTime"] = ended.into();
            }
            summary
        };
        list::page(
            input,
            "TrainingJobSummaries",
            &STATUSES,
            &self.training_jobs,
            summary,
        )
    }

    pub(super) fn stop_training_job(&self, input: &Value) -> ApiResult<()> {
        let name = self.training_job_of(input)?.name;
        let ended = self.training_jobs.update(&name, |job| {
            if job.is_running() && job.status != STOPPING {
                job.status = STOPPING.to_owned();
                job.go_to("Stopping", "Stopping the training job");
            }
            (!job.is_running()).then(|| (job.arn.clone(), job.status.clone()))
        })?;
        if let Some(Some((_, status))) = ended {
            let message = format!("The request was rejected because the training job is in status {status}.");
            return Err(ApiError::validation(message));
        }
        if let Some(stop) = self.running_jobs().get(&name) {
            stop.cancel();
        }
        Ok(())
    }

    pub(super) fn delete_training_job(&self, input: &Value) -> ApiResult<()> {
        let job = self.training_job_of(input)?;
        if job.is_running() {
            let message = format!(
                "The training job {} is in use: its status is {}.",
                job.arn, job.status
            );
            return Err(ApiError::new("ResourceInUse", message));
        }
        self.training_jobs.remove(&job.name)?;
        self.untag(&job.arn)
    }

    /// Jobs that ran when the server before this one ended go on from their checkpoints. Those of tuning jobs wait for
    /// these, unless they have ended.
    pub(super) fn resume_training_jobs(self: &Arc<Self>) -> io::Result<()> {
        for job in self.training_jobs.select(TrainingJob::is_running) {
            if let Some(tuned) = &job.tuned {
                if self.tuning_job_runs(&tuned.job) {
                    continue;
                }
                // Nobody awaits it any more.
                self.stop_training_job(&json!({"TrainingJobName": job.name}))
                    .map_err(|error| io::Error::other(error.message))?;
            }
            self.resume_training(&job.name, Box::new(|_, _| false))?;
        }
        Ok(())
    }

    /// Stops the trials of a tuning job that still run, those that a server before this one left too, and waits until they have
    /// ended. False if this server ends before.
    pub(super) fn end_trials(self: &Arc<Self>, tuning: &str) -> io::Result<bool> {
        let of_job = |job: &TrainingJob| job.tuned.as_ref().is_some_and(|tuned| tuned.job == tuning);
        for job in self.training_jobs.select(|job| job.is_running() && of_job(job)) {
            if self.stop.is_cancelled() {
                return Ok(false);
            }
            // It may end by itself just now.
            let _ = self.stop_training_job(&json!({"TrainingJobName": job.name}));
            let runs = self.running_jobs().contains_key(&job.name);
            if !runs && self.training_jobs.look(&job.name, TrainingJob::is_running) == Some(true) {
                self.resume_training(&job.name, Box::new(|_, _| false))?;
            }
        }
        while !self
            .training_jobs
            .select(|job| job.is_running() && of_job(job))
            .is_empty()
        {
            if self.stop.is_cancelled() {
                return Ok(false);
            }
            std::thread::sleep(super::POLL);
        }
        Ok(true)
    }

    /// The description of a job of that name if there is one, and whether it has ended.
    pub(super) fn training_job_state(&self, name: &str) -> Option<(bool, Value)> {
        let job = self.training_jobs.get(name)?;
        Some((!job.is_running(), job.describe()))
    }

    /// A job from start to end, on a thread of its own.
    fn run(&self, name: &str, channels: Vec<Channel>, stop: &CancellationToken, hopeless: &Hopeless) {
        let Some(job) = self.training_jobs.get(name) else {
            return;
        };
        // Told before it began, here or in a server before this one.
        if job.status == STOPPING {
            stop.cancel();
        }
        self.pace.wait(self.pace.start_of_job, stop);
        let stream = job.log_stream.clone();
        let log = |lines: &[String]| self.logs.add_all(logs::TRAINING_JOBS, &stream, lines);
        for machine in 2..=job.instances() {
            let text = "The rows of all machines are trained as one: the model is that of a single machine.";
            work::say(
                &|lines| {
                    self.logs
                        .add_all(logs::TRAINING_JOBS, &job.stream(machine), lines)
                },
                &[Line::Info(text.to_owned())],
            );
        }
        let hyperparameters = job.hyperparameters();
        let limit = job.request["StoppingCondition"]["MaxRuntimeInSeconds"]
            .as_u64()
            .unwrap_or(MAX_RUNTIME as u64);
        let image = job.request.pointer("/AlgorithmSpecification/TrainingImage");
        let image = image.and_then(Value::as_str).and_then(Image::of);
        // This one reads variables.
        let own = image == Some(Image::Container);
        let others = NO_MATTER
            .iter()
            .filter(|(member, _)| !own || *member != "/Environment");
        let others: Vec<_> = others.copied().collect();
        work::say(&log, &work::without_effect(&job.request, &RELIED_ON, &others));
        let variable = |name: &str| match own {
            true => job.request["Environment"][name]
                .as_str()
                .filter(|value| !value.is_empty()),
            false => None,
        };
        let folder = self.job_folder(name);
        // What ran before a restart counts, as far as it was noted.
        let began = Instant::now();
        let ran = || job.ran + began.elapsed().as_secs_f64();
        let task = work::Training {
            name,
            hyperparameters,
            channels,
            output: job.request["OutputDataConfig"]["S3OutputPath"]
                .as_str()
                .unwrap_or_default(),
            checkpoints: job.request["CheckpointConfig"]["S3Uri"].as_str(),
            folder: &folder,
            limit: Duration::from_secs(limit).saturating_sub(Duration::from_secs_f64(job.ran.max(0.0))),
            stop,
            shutdown: &self.stop,
            s3: &self.s3,
            log: &log,
            observer: self.observer.as_ref(),
            hopeless: &**hopeless,
            seed: variable("IPINSIGHTS_SEED"),
            early_stop: variable("IPINSIGHTS_EARLY_STOP"),
            checkpointed: &|| self.change(name, |job| job.ran = ran()),
        };
        let ending = work::train(&task, &mut |secondary, message| {
            self.change(name, |job| {
                job.ran = ran();
                job.started.get_or_insert_with(now);
                job.go_to(secondary, message);
            });
            if secondary != "Training" {
                self.pace.wait(self.pace.transfer, stop);
            }
        });
        let ended = !matches!(ending, Ending::BrokenOff);
        let keep = |job: &mut TrainingJob, product: Option<&Product>| {
            if let Some(Product { artifacts, metrics }) = product.cloned() {
                let mut metrics = metrics;
                if job.tuned.is_some()
                    && let Some(metric) = metrics.iter().find(|m| m.metric_name == OBJECTIVE).cloned()
                {
                    metrics.push(Metric {
                        metric_name: "ObjectiveMetric".to_owned(),
                        ..metric
                    });
                }
                job.artifacts = Some(artifacts);
                job.metrics = metrics;
            }
        };
        let saved = self.until_saved(logs::TRAINING_JOBS, &stream, END_OF_JOB, || {
            let change = |job: &mut TrainingJob| {
                job.started.get_or_insert_with(now);
                job.ran = ran();
                match &ending {
                    // Told when there was nothing left to stop.
                    Ending::Completed(product) if job.status == STOPPING => {
                        keep(job, Some(product));
                        job.end("Stopped", "Stopped", "Training job stopped");
                    }
                    Ending::Completed(product) => {
                        keep(job, Some(product));
                        job.end("Completed", "Completed", "Training job completed");
                    }
                    Ending::Failed(reason) => {
                        job.failure = Some(reason.chars().take(1024).collect());
                        job.end("Failed", "Failed", "Training job failed");
                    }
                    Ending::TooLong(product) => {
                        keep(job, product.as_ref());
                        let message = "Training job runtime exceeded MaxRuntimeInSeconds provided";
                        job.end("Stopped", "MaxRuntimeExceeded", message);
                    }
                    Ending::Stopped(product) => {
                        keep(job, product.as_ref());
                        job.end("Stopped", "Stopped", "Training job stopped");
                    }
                    // The record stays as it is, for the next server.
                    Ending::BrokenOff => {}
                }
            };
            self.training_jobs.update(name, change).map(drop)
        });
        self.running_jobs().remove(name);
        // What is not known to have ended goes on from its checkpoint.
        if ended && saved {
            let _ = fs::remove_dir_all(folder); // if not now, then at the next start
        }
    }

    /// Where a running job keeps its checkpoint.
    fn job_folder(&self, name: &str) -> PathBuf {
        store::file_in(&self.work_folder, name, "job")
    }

    /// Removes what ended jobs left, when the server was killed between the two.
    pub(super) fn sweep_job_folders(&self) -> io::Result<()> {
        let running = self.training_jobs.select(TrainingJob::is_running);
        let kept: Vec<_> = running.iter().map(|job| self.job_folder(&job.name)).collect();
        fs::create_dir_all(&self.work_folder)?;
        for entry in fs::read_dir(&self.work_folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|e| e == "job") && !kept.contains(&path) {
                fs::remove_dir_all(path)?;
            }
        }
        Ok(())
    }

    /// The record of a job; none if there is no such job.
    pub(super) fn training_job(&self, name: &str) -> Option<TrainingJob> {
        self.training_jobs.get(name)
    }

    /// Changes a record from the job's own thread. If the disk is full there is no one to tell but the log.
    fn change(&self, name: &str, change: impl FnOnce(&mut TrainingJob)) {
        if let Err(error) = self.training_jobs.update(name, change) {
            let stream = self
                .training_jobs
                .get(name)
                .map(|job| job.log_stream)
                .unwrap_or_default();
            self.logs.add(
                logs::TRAINING_JOBS,
                &stream,
                format!("the state of the job could not be saved: {error}"),
            );
        }
    }

    /// Saves what is called `what` in the log, as often as it takes, with pauses that grow to a minute: whoever waits for it waits
    /// for that. False if the server stops before; the next one goes on with it.
    pub(super) fn until_saved(
        &self,
        group: &str,
        stream: &str,
        what: &str,
        save: impl Fn() -> io::Result<()>,
    ) -> bool {
        const FIRST_PAUSE: Duration = Duration::from_secs(1);
        const LONGEST_PAUSE: Duration = Duration::from_secs(60);
        let mut pause = FIRST_PAUSE;
        let mut told = false;
        while let Err(error) = save() {
            if !told && !self.stop.is_cancelled() {
                told = true;
                let text = format!("{what} could not be saved, which is tried again until it is: {error}");
                self.logs.add(group, stream, text);
            }
            self.pace.wait(pause, &self.stop);
            pause = (pause * 2).min(LONGEST_PAUSE);
            if self.stop.is_cancelled() {
                return false;
            }
        }
        true
    }

    pub(super) fn require_objects(&self, url: &str, role: &str) -> ApiResult<()> {
        let bucket = s3::parse_url(url).map_or("", |(bucket, _)| bucket);
        if work::objects_under(&self.s3, url).is_empty() {
            return Err(ApiError::validation(format!(
                "No S3 objects found under S3 URL \"{url}\" given in input data source. Please ensure that the bucket \
                 exists in the selected region ({}), that objects exist under that S3 prefix, and that the role \
                 \"{role}\" has \"s3:ListBucket\" permissions on bucket \"{bucket}\".",
                self.region
            )));
        }
        Ok(())
    }

    fn training_job_of(&self, input: &Value) -> ApiResult<TrainingJob> {
        let mut check = Check::new(input);
        let name = check.required("TrainingJobName", NAME);
        check.finish()?;
        // Not ResourceNotFound, whatever the service's own description says.
        self.training_jobs
            .get(name)
            .ok_or_else(|| ApiError::validation("Requested resource not found."))
    }
}

/// A request for a training job that has passed every check.
pub(super) struct Asked<'a> {
    name: &'a str,
    image: &'a str,
    role: &'a str,
    instances: i64,
    channels: Vec<Channel>,
    tags: BTreeMap<String, String>,
}

/// Holds a request against every constraint that it can be held against by itself.
pub(super) fn examine(input: &Value) -> ApiResult<Asked<'_>> {
    let mut check = Check::new(input);
    let name = check.required("TrainingJobName", NAME);
    let role = check.required("RoleArn", ROLE);
    check.required("OutputDataConfig.S3OutputPath", S3_URI);
    check.structure("AlgorithmSpecification");
    if let Some(member) = REFUSED.iter().find(|member| check.get(member).is_some()) {
        return Err(ApiError::not_implemented(member));
    }
    let image = check.required("AlgorithmSpecification.TrainingImage", Form { max: 255, ..TEXT });
    let mode = check.choice(
        "AlgorithmSpecification.TrainingInputMode",
        &["Pipe", "File", "FastFile"],
    );
    if mode.is_none() {
        check.required("AlgorithmSpecification.TrainingInputMode", TEXT);
    }
    if !check
        .list("AlgorithmSpecification.MetricDefinitions", 0, 40)
        .is_empty()
    {
        return Err(ApiError::validation(
            "You can't override the metric definitions for Amazon SageMaker algorithms. Please retry the request without \
             specifying metric definitions.",
        ));
    }
    if check.get("CheckpointConfig").is_some() {
        check.required("CheckpointConfig.S3Uri", S3_URI);
        check.text("CheckpointConfig.LocalPath", Form { max: 4096, ..TEXT });
    }
    if check.choice("OutputDataConfig.CompressionType", &["GZIP", "NONE"]) == Some("NONE") {
        return Err(ApiError::not_implemented("OutputDataConfig.CompressionType NONE"));
    }
    check.structure("ResourceConfig");
    let instance = check.required("ResourceConfig.InstanceType", INSTANCE);
    let instances = check.required_integer("ResourceConfig.InstanceCount", 1, i64::MAX);
    check.required_integer("ResourceConfig.VolumeSizeInGB", 1, i64::MAX);
    check.integer("ResourceConfig.KeepAlivePeriodInSeconds", 0, 3600);
    check.text("OutputDataConfig.KmsKeyId", KMS_KEY);
    check.text("ResourceConfig.VolumeKmsKeyId", KMS_KEY);
    check.network();
    check.flag("EnableNetworkIsolation");
    check.flag("EnableInterContainerTrafficEncryption");
    check.map("Environment", 100, 512, 512);
    check.integer("RetryStrategy.MaximumRetryAttempts", 1, 30);
    check.structure("StoppingCondition");
    let runtime = check
        .integer("StoppingCondition.MaxRuntimeInSeconds", 1, MAX_LIMIT)
        .unwrap_or(MAX_RUNTIME);
    let wait = check.integer("StoppingCondition.MaxWaitTimeInSeconds", 1, i64::MAX);
    let spot = check.flag("EnableManagedSpotTraining");
    check.map("HyperParameters", 100, 256, 2500);
    let checkpointed = check.get("CheckpointConfig").is_some();
    let count = check.list("InputDataConfig", 0, 20).len();
    let mut channels = Vec::new();
    for i in 0..count {
        let channel = channel(&mut check, i)?;
        if !channel.name.is_empty() && channels.iter().any(|c: &Channel| c.name == channel.name) {
            let path = format!("InputDataConfig.{i}.ChannelName");
            check.problem(Some(&channel.name), &path, "Channel names must be unique");
        }
        channels.push(channel);
    }
    let tags = tags::of_request(&mut check);
    check.finish()?;
    require_quota("training job", instance, instances)?;
    if mode == Some("Pipe") || mode == Some("FastFile") {
        return Err(ApiError::validation(
            "The algorithm ipinsights supports TrainingInputMode File only.",
        ));
    }
    match wait {
        Some(_) if !spot => Err(ApiError::validation(
            "MaxWaitTimeInSeconds above 0 is not supported when EnableManagedSpotTraining is false",
        )),
        None if spot => Err(invalid_wait()),
        Some(wait) if wait < runtime => Err(invalid_wait()),
        Some(wait) if wait > MAX_WAIT && !checkpointed => Err(ApiError::validation(format!(
            "Invalid MaxWaitTimeInSeconds. It must be less than or equal to {MAX_WAIT} for a built-in algorithm that does \
             not checkpoint; give a CheckpointConfig or a shorter time"
        ))),
        _ => Ok(Asked {
            name,
            image,
            role,
            instances: instances.unwrap_or(1),
            channels,
            tags,
        }),
    }
}

fn invalid_wait() -> ApiError {
    ApiError::validation(
        "Invalid MaxWaitTimeInSeconds. It must be present and be greater than or equal to MaxRuntimeInSeconds",
    )
}

fn channel(check: &mut Check<'_>, i: usize) -> ApiResult<Channel> {
    let at = |member: &str| format!("InputDataConfig.{i}.{member}");
    let name = check.required(&at("ChannelName"), CHANNEL).to_owned();
    check.structure(&at("DataSource"));
    if check.get(&at("DataSource.FileSystemDataSource")).is_some() {
        return Err(ApiError::not_implemented("DataSource.FileSystemDataSource"));
    }
    let source = |member: &str| at(&format!("DataSource.S3DataSource.{member}"));
    let url = check.required(&source("S3Uri"), S3_URI).to_owned();
    let kinds = ["ManifestFile", "S3Prefix", "AugmentedManifestFile"];
    let kind = check.choice(&source("S3DataType"), &kinds);
    if kind.is_none() {
        check.required(&source("S3DataType"), TEXT);
    }
    if kind.is_some_and(|kind| kind != "S3Prefix") {
        return Err(ApiError::not_implemented("An S3DataType other than S3Prefix"));
    }
    check.choice(
        &source("S3DataDistributionType"),
        &["FullyReplicated", "ShardedByS3Key"],
    );
    if check.choice(&at("CompressionType"), &["None", "Gzip"]) == Some("Gzip") {
        return Err(ApiError::not_implemented("CompressionType Gzip"));
    }
    if check.choice(&at("RecordWrapperType"), &["None", "RecordIO"]) == Some("RecordIO") {
        return Err(ApiError::not_implemented("RecordWrapperType RecordIO"));
    }
    if let Some(mode @ ("Pipe" | "FastFile")) = check.choice(&at("InputMode"), &["Pipe", "File", "FastFile"])
    {
        return Err(ApiError::not_implemented(&format!(
            "InputMode {mode} of a channel"
        )));
    }
    if check.get(&at("ShuffleConfig")).is_some() {
        return Err(ApiError::not_implemented("ShuffleConfig"));
    }
    for member in [
        "AttributeNames",
        "InstanceGroupNames",
        "ModelAccessConfig",
        "HubAccessConfig",
    ] {
        let asked = check.get(&source(member));
        if asked.is_some_and(|value| value.as_array().is_none_or(|list| !list.is_empty())) {
            return Err(ApiError::not_implemented(&format!("S3DataSource.{member}")));
        }
    }
    let content_type = check.text(&at("ContentType"), TEXT).map(str::to_owned);
    Ok(Channel {
        name,
        url,
        content_type,
    })
}

/// Members that protect something, and what is so instead.
const RELIED_ON: [(&str, &str); 4] = [
    ("/VpcConfig", "the job runs on this machine's network"),
    ("/OutputDataConfig/KmsKeyId", "the model is not encrypted"),
    ("/ResourceConfig/VolumeKmsKeyId", "nothing on disk is encrypted"),
    (
        "/DebugRuleConfigurations",
        "no rule is evaluated, and none will stop the job",
    ),
];

/// Members whose absence does no harm, and what is so instead.
const NO_MATTER: [(&str, &str); 14] = [
    (
        "/EnableInterContainerTrafficEncryption",
        "nothing goes from machine to machine",
    ),
    (
        "/EnableManagedSpotTraining",
        "there is capacity at once, and nothing is interrupted",
    ),
    ("/DebugHookConfig", "the algorithm saves no tensors"),
    ("/ProfilerConfig", "nothing is profiled"),
    ("/ProfilerRuleConfigurations", "nothing is profiled"),
    ("/TensorBoardOutputConfig", "the algorithm writes nothing for it"),
    ("/Environment", "the algorithm reads no variables"),
    ("/ExperimentConfig", "there are no experiments"),
    ("/InfraCheckConfig", "there are no machines to check"),
    ("/RemoteDebugConfig", "there is no container to enter"),
    (
        "/ResourceConfig/KeepAlivePeriodInSeconds",
        "no machine is kept for the next job",
    ),
    (
        "/StoppingCondition/MaxPendingTimeInSeconds",
        "there is capacity at once",
    ),
    (
        "/RetryStrategy",
        "nothing here fails that a second attempt would mend",
    ),
    (
        "/CheckpointConfig/LocalPath",
        "the algorithm keeps its checkpoint where it likes",
    ),
];

/// Members that would make another job of it.
const REFUSED: [&str; 12] = [
    "AlgorithmSpecification.AlgorithmName",
    "AlgorithmSpecification.ContainerEntrypoint",
    "AlgorithmSpecification.ContainerArguments",
    "AlgorithmSpecification.TrainingImageConfig",
    "ResourceConfig.InstanceGroups",
    "ResourceConfig.InstancePlacementConfig",
    "ResourceConfig.TrainingPlanArn",
    "SessionChainingConfig",
    "ModelPackageConfig",
    "ServerlessJobConfig",
    "MlflowConfig",
    "ResourceConfig.InstancePreferences",
];

/// What the service fills in when a request leaves it out.
fn with_defaults(input: &Value) -> Value {
    let mut request = input.clone();
    if let Some(condition) = request
        .get_mut("StoppingCondition")
        .and_then(Value::as_object_mut)
    {
        condition
            .entry("MaxRuntimeInSeconds")
            .or_insert(MAX_RUNTIME.into());
    }
    request
}
