//! Batch transform jobs: what is asked and told, and how a job goes through its states.

use std::sync::Arc;

use ipinsights::log::Line;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use super::{
    SageMaker,
    batch::{self, Assemble, Batch, Outcome, Split},
    copy,
    list::{self, Entry, Listed},
    require_quota, tags,
    training::END_OF_JOB,
    work,
};
use crate::{
    api::{ApiError, ApiResult, Check, Form, INSTANCE, MODEL_NAME, NAME, S3_URI, TEXT},
    logs, s3,
    time::{Seconds, now},
};

/// A transform job.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct TransformJob {
    name: String,
    arn: String,
    /// What was asked for, with the service's defaults.
    request: Value,
    status: String,
    failure: Option<String>,
    created: Seconds,
    modified: Seconds,
    started: Option<Seconds>,
    ended: Option<Seconds>,
    /// Where the model's archive is; the model may be deleted while the job runs.
    data_url: String,
    /// The log of its first machine.
    log_stream: String,
}

const IN_PROGRESS: &str = "InProgress";
const STOPPING: &str = "Stopping";
const STATUSES: [&str; 5] = ["InProgress", "Completed", "Failed", "Stopping", "Stopped"];

/// What the algorithm's container says of itself where a request says nothing.
const MAX_PAYLOAD_MB: u64 = 6;

impl TransformJob {
    fn is_running(&self) -> bool {
        self.ended.is_none()
    }

    fn end(&mut self, status: &str) {
        self.status = status.to_owned();
        self.modified = now();
        self.ended = Some(self.modified);
    }

    fn describe(&self) -> Value {
        let mut answer = Map::new();
        answer.insert("TransformJobName".into(), self.name.clone().into());
        answer.insert("TransformJobArn".into(), self.arn.clone().into());
        answer.insert("TransformJobStatus".into(), self.status.clone().into());
        if let Some(reason) = &self.failure {
            answer.insert("FailureReason".into(), reason.clone().into());
        }
        let members = [
            "ModelName",
            "MaxConcurrentTransforms",
            "ModelClientConfig",
            "MaxPayloadInMB",
            "BatchStrategy",
            "Environment",
            "TransformInput",
            "TransformOutput",
            "TransformResources",
            "DataProcessing",
            "ExperimentConfig",
        ];
        copy(&self.request, &members, &mut answer);
        answer.insert("CreationTime".into(), self.created.into());
        for (member, time) in [
            ("TransformStartTime", self.started),
            ("TransformEndTime", self.ended),
        ] {
            if let Some(time) = time {
                answer.insert(member.into(), time.into());
            }
        }
        answer.into()
    }
}

impl Listed for TransformJob {
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
    pub(super) fn create_transform_job(self: &Arc<Self>, input: &Value) -> ApiResult<Value> {
        let mut check = Check::new(input);
        let name = check.required("TransformJobName", NAME);
        let model = check.required("ModelName", MODEL_NAME);
        let asked = batch_of(&mut check)?;
        let tags = tags::of_request(&mut check);
        check.finish()?;
        asked.require_quota()?;
        if asked.payload_mb.saturating_mul(asked.concurrent) > 100 {
            return Err(ApiError::validation(format!(
                "The product of MaxConcurrentTransforms ({}) and MaxPayloadInMB ({}) must not exceed 100.",
                asked.concurrent, asked.payload_mb
            )));
        }
        let arn = self.arn("transform-job", name);
        let taken = || {
            let message = format!(
                "Job name must be unique within an AWS account and region, and a job with this name already exists ({arn})"
            );
            ApiError::new("ResourceInUse", message)
        };
        if self.transform_jobs.contains(name) {
            return Err(taken());
        }
        let model = self.model(model)?;
        self.require_objects(asked.batch.input, model.role())?;
        let output = s3::parse_url(asked.batch.output).map_or("", |(bucket, _)| bucket);
        if self.s3.require_bucket(output).is_err() {
            return Err(ApiError::validation(format!(
                "The bucket of the output path {} does not exist.",
                asked.batch.output
            )));
        }
        let job = TransformJob {
            name: name.to_owned(),
            arn: arn.clone(),
            request: with_defaults(input),
            status: IN_PROGRESS.to_owned(),
            failure: None,
            created: now(),
            modified: now(),
            started: None,
            ended: None,
            data_url: model.data_url,
            log_stream: format!("{name}/i-0000000000000001-{}", now() as u64),
        };
        if self.transform_jobs.insert_new(name, job)?.is_err() {
            return Err(taken());
        }
        let tagged = self.tag_new(&arn, tags);
        // Nothing stays that nothing runs.
        if tagged.is_err() && self.transform_jobs.remove(name).is_ok() {
            return tagged.map(|()| Value::Null);
        }
        self.spawn_transform(name);
        tagged?;
        Ok(json!({"TransformJobArn": arn}))
    }

    pub(super) fn describe_transform_job(&self, input: &Value) -> ApiResult<Value> {
        Ok(self.transform_job_of(input)?.describe())
    }

    pub(super) fn list_transform_jobs(&self, input: &Value) -> ApiResult<Value> {
        let summary = |job: TransformJob| {
            let mut summary = json!({
                "TransformJobName": job.name,
                "TransformJobArn": job.arn,
                "CreationTime": job.created,
                "LastModifiedTime": job.modified,
                "TransformJobStatus": job.status,
            });
            if let Some(ended) = job.ended {
                summary["TransformEndTime"] = ended.into();
            }
            if let Some(reason) = job.failure {
                summary["FailureReason"] = reason.into();
            }
            summary
        };
        list::page(
            input,
            "TransformJobSummaries",
            &STATUSES,
            &self.transform_jobs,
            summary,
        )
    }

    pub(super) fn stop_transform_job(&self, input: &Value) -> ApiResult<()> {
        let name = self.transform_job_of(input)?.name;
        let ended = self.transform_jobs.update(&name, |job| {
            if job.is_running() {
                job.status = STOPPING.to_owned();
                job.modified = now();
            }
            (!job.is_running()).then(|| job.status.clone())
        })?;
        if let Some(Some(status)) = ended {
            let message =
                format!("The request was rejected because the transform job is in status {status}.");
            return Err(ApiError::validation(message));
        }
        let running = self.transforming.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(stop) = running.get(&name) {
            stop.cancel();
        }
        Ok(())
    }

    /// The description of a job of that name if there is one, and whether it has ended.
    pub(super) fn transform_job_state(&self, name: &str) -> Option<(bool, Value)> {
        let job = self.transform_jobs.get(name)?;
        Some((!job.is_running(), job.describe()))
    }

    /// Jobs that ran when the server before this one ended begin again: what they wrote is written anew.
    pub(super) fn resume_transform_jobs(self: &Arc<Self>) {
        for job in self.transform_jobs.select(TransformJob::is_running) {
            self.spawn_transform(&job.name);
        }
    }

    fn spawn_transform(self: &Arc<Self>, name: &str) {
        let (this, name, stop) = (self.clone(), name.to_owned(), self.stop.child_token());
        let mut running = self.transforming.lock().unwrap_or_else(|e| e.into_inner());
        running.insert(name.clone(), stop.clone());
        self.spawn(move || this.transform(&name, &stop));
    }

    /// A job from start to end, on a thread of its own.
    fn transform(&self, name: &str, stop: &CancellationToken) {
        let Some(job) = self.transform_jobs.get(name) else {
            return;
        };
        if job.status == STOPPING {
            stop.cancel();
        }
        self.pace.wait(self.pace.start_of_job, stop);
        self.change_transform(name, |job| {
            job.started.get_or_insert_with(now);
        });
        let outcome = self.transform_objects(&job, stop);
        // The next server begins again, where this one stops before the end is saved.
        self.until_saved(logs::TRANSFORM_JOBS, &job.log_stream, END_OF_JOB, || {
            let change = |job: &mut TransformJob| match &outcome {
                _ if self.stop.is_cancelled() => {}
                // Told when there was nothing left to stop.
                Ok(Outcome::Completed) if job.status == STOPPING => job.end("Stopped"),
                Ok(Outcome::Completed) => job.end("Completed"),
                Ok(Outcome::Stopped) => job.end("Stopped"),
                Err(reason) => {
                    job.failure = Some(reason.chars().take(1024).collect());
                    job.end("Failed");
                }
            };
            self.transform_jobs.update(name, change).map(drop)
        });
        let mut running = self.transforming.lock().unwrap_or_else(|e| e.into_inner());
        running.remove(name);
    }

    fn transform_objects(&self, job: &TransformJob, stop: &CancellationToken) -> Result<Outcome, String> {
        let main = |line: &str| self.logs.add(logs::TRANSFORM_JOBS, &job.log_stream, line);
        let all = |lines: &[String]| self.logs.add_all(logs::TRANSFORM_JOBS, &job.log_stream, lines);
        main("Docker entrypoint called with argument(s): serve");
        main("Running default environment configuration script");
        let mut check = Check::new(&job.request);
        let internal = |error: ApiError| format!("InternalServerError: {}", error.message);
        let asked = batch_of(&mut check).map_err(internal)?;
        asked.require_quota().map_err(internal)?;
        let machines = job.request["TransformResources"]["InstanceCount"]
            .as_u64()
            .unwrap_or(1);
        for machine in 2..=machines {
            let stream = job.log_stream.replacen("0001-", &format!("{machine:04}-"), 1);
            let text = "The first machine reads every object: its answers are those of all machines.";
            let say = |lines: &[String]| self.logs.add_all(logs::TRANSFORM_JOBS, &stream, lines);
            work::say(&say, &[Line::Info(text.to_owned())]);
        }
        work::say(&all, &work::without_effect(&job.request, &RELIED_ON, &NO_MATTER));
        let data_log = format!("{}/data-log", job.log_stream);
        let data = |line: &str| self.logs.add(logs::TRANSFORM_JOBS, &data_log, line);
        let model = self.loaded.of(&self.s3, &job.data_url).map_err(|reason| {
            main(&reason);
            format!("ClientError: the model data cannot be loaded: {reason}")
        })?;
        work::say(&all, &[Line::Info("loaded request iterator".to_owned())]);
        let strategy = match asked.batch.single_record {
            true => "SINGLE_RECORD",
            false => "MULTI_RECORD",
        };
        data(&format!(
            "[sagemaker logs]: MaxConcurrentTransforms={}, MaxPayloadInMB={}, BatchStrategy={strategy}",
            asked.concurrent, asked.payload_mb
        ));
        batch::transform(&self.s3, &model, &asked.batch, stop, &data)
    }

    fn change_transform(&self, name: &str, change: impl FnOnce(&mut TransformJob)) {
        if let Err(error) = self.transform_jobs.update(name, change)
            && let Some(job) = self.transform_jobs.get(name)
        {
            let text = format!("the state of the job could not be saved: {error}");
            self.logs.add(logs::TRANSFORM_JOBS, &job.log_stream, text);
        }
    }

    fn transform_job_of(&self, input: &Value) -> ApiResult<TransformJob> {
        let mut check = Check::new(input);
        let name = check.required("TransformJobName", NAME);
        check.finish()?;
        self.transform_jobs
            .get(name)
            .ok_or_else(|| ApiError::validation("Requested resource not found."))
    }
}

/// A request's work, with the defaults of the algorithm's container.
struct Asked<'a> {
    batch: Batch<'a>,
    instance: &'a str,
    instances: Option<i64>,
    payload_mb: u64,
    concurrent: u64,
}

impl Asked<'_> {
    fn require_quota(&self) -> ApiResult<()> {
        require_quota("transform job", self.instance, self.instances)
    }
}

fn batch_of<'a>(check: &mut Check<'a>) -> ApiResult<Asked<'a>> {
    const SOURCE: &str = "TransformInput.DataSource.S3DataSource";
    let input = check.required(&format!("{SOURCE}.S3Uri"), S3_URI);
    let kind = format!("{SOURCE}.S3DataType");
    let kinds = ["ManifestFile", "S3Prefix", "AugmentedManifestFile"];
    match check.choice(&kind, &kinds) {
        Some("S3Prefix") => {}
        Some(other) if kinds.contains(&other) => {
            return Err(ApiError::not_implemented(&format!("S3DataType {other}")));
        }
        Some(_) => {}
        None => {
            check.required(&kind, TEXT);
        }
    }
    let content_type = check.text("TransformInput.ContentType", Form { max: 256, ..TEXT });
    let gzip = check.choice("TransformInput.CompressionType", &["None", "Gzip"]) == Some("Gzip");
    let split = match check.choice(
        "TransformInput.SplitType",
        &["None", "Line", "RecordIO", "TFRecord"],
    ) {
        Some("Line") => Split::Line,
        Some(binary @ ("RecordIO" | "TFRecord")) => {
            return Err(ApiError::not_implemented(&format!("SplitType {binary}")));
        }
        _ => Split::None,
    };
    let output = check.required("TransformOutput.S3OutputPath", S3_URI);
    let accept = check.text("TransformOutput.Accept", Form { max: 256, ..TEXT });
    let assemble = match check.choice("TransformOutput.AssembleWith", &["None", "Line"]) {
        Some("Line") => Assemble::Line,
        _ => Assemble::None,
    };
    let instance = check.required("TransformResources.InstanceType", INSTANCE);
    let instances = check.required_integer("TransformResources.InstanceCount", 1, i64::MAX);
    let payload_mb = check.integer("MaxPayloadInMB", 0, 100);
    let concurrent = check.integer("MaxConcurrentTransforms", 0, i64::MAX);
    let single_record =
        check.choice("BatchStrategy", &["MultiRecord", "SingleRecord"]) == Some("SingleRecord");
    check.map("Environment", 16, 1024, 10240);
    check.integer("ModelClientConfig.InvocationsTimeoutInSeconds", 1, 3600);
    check.integer("ModelClientConfig.InvocationsMaxRetries", 0, 3);
    for filter in ["DataProcessing.InputFilter", "DataProcessing.OutputFilter"] {
        if check
            .text(filter, Form { max: 63, ..TEXT })
            .is_some_and(|f| f != "$" && !f.is_empty())
        {
            return Err(ApiError::not_implemented(filter));
        }
    }
    if check.choice("DataProcessing.JoinSource", &["Input", "None"]) == Some("Input") {
        return Err(ApiError::not_implemented("DataProcessing.JoinSource Input"));
    }
    if check.get("DataCaptureConfig").is_some() {
        return Err(ApiError::not_implemented("DataCaptureConfig of a transform job"));
    }
    if payload_mb == Some(0) {
        // The service streams then, which its own algorithms do not take.
        return Err(ApiError::validation(
            "MaxPayloadInMB 0 streams the data, which built-in algorithms do not support.",
        ));
    }
    let payload_mb = payload_mb.map_or(MAX_PAYLOAD_MB, |mb| mb as u64);
    Ok(Asked {
        batch: Batch {
            input,
            output,
            content_type: content_type.unwrap_or_default(),
            accept,
            split,
            assemble,
            single_record,
            gzip,
            max_payload: (payload_mb as usize) << 20,
        },
        instance,
        instances,
        payload_mb,
        // 0 leaves it to the container, which says its processors.
        concurrent: concurrent.filter(|n| *n > 0).map_or(CONCURRENT, |n| n as u64),
    })
}

/// Members that protect something, and what is so instead.
const RELIED_ON: [(&str, &str); 2] = [
    ("/TransformOutput/KmsKeyId", "what is written is not encrypted"),
    (
        "/TransformResources/VolumeKmsKeyId",
        "nothing on disk is encrypted",
    ),
];

/// Members whose absence does no harm, and what is so instead.
const NO_MATTER: [(&str, &str); 3] = [
    ("/Environment", "the algorithm reads no variables"),
    ("/ExperimentConfig", "there are no experiments"),
    (
        "/ModelClientConfig",
        "no request is lost or takes too long between here and the model",
    ),
];

/// What the container says of an instance with so many processors.
const CONCURRENT: u64 = 4;

/// What the service fills in when a request leaves it out.
fn with_defaults(input: &Value) -> Value {
    let mut request = input.clone();
    for (structure, member, value) in [
        ("TransformInput", "CompressionType", "None"),
        ("TransformInput", "SplitType", "None"),
        ("TransformOutput", "AssembleWith", "None"),
        ("TransformOutput", "KmsKeyId", ""),
    ] {
        if let Some(map) = request.get_mut(structure).and_then(Value::as_object_mut) {
            map.entry(member).or_insert(value.into());
        }
    }
    request
}
