//! Training jobs: what is asked, what is told, and how a job goes through its states.

use std::{collections::BTreeMap, io, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use super::{
    SageMaker, copy, foreign_image, is_own_image,
    list::{self, Entry},
    tags,
    work::{self, Channel, Ending, Metric},
};
use crate::{
    api::{ApiError, ApiResult, CHANNEL, Check, Form, NAME, ROLE, S3_URI, TEXT},
    logs, s3,
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
    /// Where the archive is, once it is.
    artifacts: Option<String>,
    metrics: Vec<Metric>,
    /// Where the log is.
    log_stream: String,
}

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

/// What the service uses when a request names no limit: a day.
const MAX_RUNTIME: i64 = 24 * 60 * 60;

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

    fn is_running(&self) -> bool {
        self.ended.is_none()
    }

    /// How long it ran, as it is billed: by the second, and never none, because clients divide by it.
    fn seconds(&self) -> Option<u64> {
        let (started, ended) = (self.started?, self.ended?);
        Some((ended - started).ceil().max(1.0) as u64)
    }

    fn describe(&self) -> Value {
        let mut answer = Map::new();
        answer.insert("TrainingJobName".into(), self.name.clone().into());
        answer.insert("TrainingJobArn".into(), self.arn.clone().into());
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
            "ExperimentConfig",
            "Environment",
            "RetryStrategy",
            "TensorBoardOutputConfig",
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

impl SageMaker {
    pub(super) fn create_training_job(self: &Arc<Self>, input: &Value) -> ApiResult<Value> {
        let Asked {
            name,
            image,
            role,
            channels,
            tags,
        } = examine(input)?;
        if !is_own_image(image) {
            return Err(foreign_image(image));
        }
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
        for channel in &channels {
            self.require_objects(&channel.url, role)?;
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
            artifacts: None,
            metrics: Vec::new(),
            log_stream: format!("{name}/algo-1-{}", now() as u64),
        };
        job.go_to("Starting", "Starting the training job");
        if self.training_jobs.insert_new(name, job)?.is_err() {
            return Err(taken());
        }
        self.tag_new(&arn, tags)?;
        let (this, name, stop) = (self.clone(), name.to_owned(), self.stop.child_token());
        self.running
            .lock()
            .unwrap_or_else(|e| e.into_inner())
            .insert(name.clone(), stop.clone());
        self.tasks
            .spawn_blocking(move || this.run(&name, channels, &stop));
        Ok(json!({"TrainingJobArn": arn}))
    }

    pub(super) fn describe_training_job(&self, input: &Value) -> ApiResult<Value> {
        Ok(self.training_job_of(input)?.describe())
    }

    pub(super) fn list_training_jobs(&self, input: &Value) -> ApiResult<Value> {
        let entries = self.training_jobs.all().into_iter().map(|job| {
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
            Entry {
                name: job.name,
                created: job.created,
                modified: job.modified,
                status: job.status,
                summary,
            }
        });
        list::page(input, "TrainingJobSummaries", "CreationTime", entries.collect())
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
        if let Some(stop) = self.running.lock().unwrap_or_else(|e| e.into_inner()).get(&name) {
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

    /// Jobs that ran when the server before this one ended will not go on.
    pub(super) fn end_interrupted_jobs(&self) -> io::Result<()> {
        for job in self.training_jobs.select(TrainingJob::is_running) {
            self.training_jobs.update(&job.name, interrupted)?;
        }
        Ok(())
    }

    /// Describes a job once it has ended; none if it has been deleted, or the server stops.
    pub(crate) async fn training_job_ended(&self, name: &str) -> Option<Value> {
        loop {
            let job = self.training_jobs.get(name)?;
            if !job.is_running() {
                return Some(job.describe());
            }
            tokio::select! {
                () = self.stop.cancelled() => return None,
                () = tokio::time::sleep(POLL) => {}
            }
        }
    }

    /// A job from start to end, on a thread of its own.
    fn run(&self, name: &str, channels: Vec<Channel>, stop: &CancellationToken) {
        let Some(job) = self.training_jobs.get(name) else {
            return;
        };
        let stream = job.log_stream.clone();
        let log = |line: &str| self.logs.add(logs::TRAINING_JOBS, &stream, line);
        let hyperparameters: BTreeMap<String, String> =
            serde_json::from_value(job.request["HyperParameters"].clone()).unwrap_or_default();
        let limit = job.request["StoppingCondition"]["MaxRuntimeInSeconds"]
            .as_u64()
            .unwrap_or(MAX_RUNTIME as u64);
        for note in without_effect(&job.request) {
            log(&work::line("WARNING", &note));
        }
        let task = work::Training {
            name,
            hyperparameters,
            channels,
            output: job.request["OutputDataConfig"]["S3OutputPath"]
                .as_str()
                .unwrap_or_default(),
            limit: Duration::from_secs(limit),
            stop,
            s3: &self.s3,
            log: &log,
            observer: self.observer.as_ref(),
        };
        let ending = work::train(task, &mut |secondary, message| {
            self.change(name, |job| {
                job.started.get_or_insert_with(now);
                if job.status == IN_PROGRESS {
                    job.go_to(secondary, message);
                }
            });
        });
        self.change(name, |job| {
            job.started.get_or_insert_with(now);
            match ending {
                Ending::Completed { artifacts, metrics } => {
                    job.artifacts = Some(artifacts);
                    job.metrics = metrics;
                    job.end("Completed", "Completed", "Training job completed");
                }
                Ending::Failed(reason) => {
                    job.failure = Some(reason.chars().take(1024).collect());
                    job.end("Failed", "Failed", "Training job failed");
                }
                Ending::TooLong => {
                    let message = "Training job runtime exceeded MaxRuntimeInSeconds provided";
                    job.end("Stopped", "MaxRuntimeExceeded", message);
                }
                Ending::Stopped if job.status == STOPPING => {
                    job.end("Stopped", "Stopped", "Training job stopped");
                }
                Ending::Stopped => interrupted(job),
            }
        });
        self.running
            .lock()
            .unwrap_or_else(|e| e.into_inner())
            .remove(name);
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

    fn require_objects(&self, url: &str, role: &str) -> ApiResult<()> {
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

/// How often a waiting state machine looks.
const POLL: Duration = Duration::from_millis(20);

fn interrupted(job: &mut TrainingJob) {
    let reason = "InternalServerError: the server was stopped while the training job was running";
    job.failure = Some(reason.to_owned());
    job.end("Failed", "Failed", "Training job failed");
}

/// A request for a training job that has passed every check.
struct Asked<'a> {
    name: &'a str,
    image: &'a str,
    role: &'a str,
    channels: Vec<Channel>,
    tags: BTreeMap<String, String>,
}

fn examine(input: &Value) -> ApiResult<Asked<'_>> {
    let mut check = Check::new(input);
    let name = check.required("TrainingJobName", NAME);
    let role = check.required("RoleArn", ROLE);
    check.required("OutputDataConfig.S3OutputPath", S3_URI);
    check.structure("AlgorithmSpecification");
    if check.get("AlgorithmSpecification.AlgorithmName").is_some() {
        return Err(ApiError::not_implemented("AlgorithmSpecification.AlgorithmName"));
    }
    let image = check.required("AlgorithmSpecification.TrainingImage", Form { max: 255, ..TEXT });
    let mode = check.choice(
        "AlgorithmSpecification.TrainingInputMode",
        &["Pipe", "File", "FastFile"],
    );
    if mode.is_none() {
        check.required("AlgorithmSpecification.TrainingInputMode", TEXT);
    }
    if check.get("CheckpointConfig").is_some() {
        return Err(ApiError::not_implemented("CheckpointConfig"));
    }
    if check.choice("OutputDataConfig.CompressionType", &["GZIP", "NONE"]) == Some("NONE") {
        return Err(ApiError::not_implemented("OutputDataConfig.CompressionType NONE"));
    }
    check.structure("ResourceConfig");
    if check.get("ResourceConfig.InstanceGroups").is_some() {
        return Err(ApiError::not_implemented("ResourceConfig.InstanceGroups"));
    }
    check.required("ResourceConfig.InstanceType", TEXT);
    if check
        .integer("ResourceConfig.InstanceCount", 0, i64::MAX)
        .is_some_and(|count| count > 1)
    {
        // With one instance, what is sharded by key is replicated fully.
        return Err(ApiError::not_implemented("ResourceConfig.InstanceCount above 1"));
    }
    check.integer("ResourceConfig.VolumeSizeInGB", 1, i64::MAX);
    check.structure("StoppingCondition");
    let runtime = check
        .integer("StoppingCondition.MaxRuntimeInSeconds", 1, i64::MAX)
        .unwrap_or(MAX_RUNTIME);
    let wait = check.integer("StoppingCondition.MaxWaitTimeInSeconds", 1, i64::MAX);
    let spot = check.get("EnableManagedSpotTraining") == Some(&Value::Bool(true));
    hyperparameters(&mut check);
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
        _ => Ok(Asked {
            name,
            image,
            role,
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

fn hyperparameters(check: &mut Check<'_>) {
    let Some(map) = check.get("HyperParameters") else {
        return;
    };
    let Some(map) = check.structure("HyperParameters").or(map.as_object()) else {
        return;
    };
    if map.len() > 100 {
        check.problem(
            None,
            "HyperParameters",
            "Member must have length less than or equal to 100",
        );
    }
    for (key, value) in map {
        match value.as_str() {
            Some(value) if key.len() > 256 || value.len() > 2500 => {
                check.problem(
                    Some(key),
                    "HyperParameters",
                    "Map keys have at most 256, values at most 2500 characters",
                );
            }
            Some(_) => {}
            None => {
                check.problem(
                    Some(&value.to_string()),
                    "HyperParameters",
                    "Map value must be a String",
                );
            }
        }
    }
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
    let content_type = check.text(&at("ContentType"), TEXT).map(str::to_owned);
    Ok(Channel {
        name,
        url,
        content_type,
    })
}

/// What a request asks for that is taken without being there: encryption and networks. The job's log tells it.
fn without_effect(request: &Value) -> Vec<String> {
    let asked = |pointer: &str| match request.pointer(pointer) {
        Some(Value::String(text)) => !text.is_empty(),
        Some(value) => !value.is_null(),
        None => false,
    };
    [
        (
            "/VpcConfig",
            "VpcConfig",
            "the job runs on this machine's network",
        ),
        (
            "/OutputDataConfig/KmsKeyId",
            "OutputDataConfig.KmsKeyId",
            "the model is not encrypted",
        ),
        (
            "/ResourceConfig/VolumeKmsKeyId",
            "ResourceConfig.VolumeKmsKeyId",
            "nothing on disk is encrypted",
        ),
    ]
    .into_iter()
    .filter(|(pointer, ..)| asked(pointer))
    .map(|(_, member, instead)| format!("{member} has no effect: {instead}."))
    .collect()
}

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
