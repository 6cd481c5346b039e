//! Hyperparameter tuning jobs: a search whose trials are training jobs.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use ipinsights::{
    Draft, Hyperparameters,
    tuning::{
        Job, JobId, OBJECTIVE, Outcome, Range, Scaling, Search, Settings, Space, SpaceDraft, Status, Step,
        Stopping, Strategy, Trial,
    },
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use super::{
    SageMaker, copy,
    list::{self, Entry, Listed},
    tags,
    training::{self, END_OF_JOB, Hopeless, TrainingJob, Tuned},
};
use crate::{
    api::{ApiError, ApiResult, Check, Form, INSTANCE, TEXT},
    logs, metrics,
    s3::{Sha256, hex},
    time::{Seconds, now},
};

/// A tuning job.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct TuningJob {
    name: String,
    arn: String,
    request: Value,
    status: String,
    failure: Option<String>,
    created: Seconds,
    modified: Seconds,
    ended: Option<Seconds>,
    tags: BTreeMap<String, String>,
    /// The trials' training jobs, in the order in which they were begun.
    trials: Vec<String>,
    /// What came of trials of earlier jobs that this one begins with: their hyperparameters, and the objective.
    #[serde(default)]
    known: Vec<Known>,
}

type Known = (BTreeMap<String, String>, f64);

const IN_PROGRESS: &str = "InProgress";
const STOPPING: &str = "Stopping";
const STATUSES: [&str; 7] = [
    "Completed",
    "InProgress",
    "Failed",
    "Stopped",
    "Stopping",
    "Deleting",
    "DeleteFailed",
];

/// Names of tuning jobs; their training jobs' names are longer.
const NAME: Form = Form {
    max: 32,
    ..crate::api::NAME
};

/// The most trials of a job, and of those that run side by side.
const MAX_TRIALS: i64 = 750;
const MAX_PARALLEL: i64 = 100;
/// What is trained where a request names no number.
const DEFAULT_TRIALS: u32 = 10;

impl TuningJob {
    fn is_running(&self) -> bool {
        self.ended.is_none()
    }

    fn end(&mut self, status: &str) {
        self.status = status.to_owned();
        self.modified = now();
        self.ended = Some(self.modified);
    }
}

impl Listed for TuningJob {
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
    pub(super) fn create_tuning_job(self: &Arc<Self>, input: &Value) -> ApiResult<Value> {
        let asked = examine(input)?;
        let name = asked.name.clone();
        let arn = self.arn("hyper-parameter-tuning-job", &name);
        let taken = || {
            let message = format!(
                "A hyperparameter tuning job with the name, {name}, already exists. Choose a different name."
            );
            ApiError::new("ResourceInUse", message)
        };
        if self.tuning_jobs.contains(&name) {
            return Err(taken());
        }
        // What every trial would be refused for is refused at once.
        let request = trial_request(input, &name, "trial", BTreeMap::new(), &BTreeMap::new());
        self.require_runnable(&training::examine(&request)?)?;
        let known = match &asked.warm {
            Some(warm) => self.known_to(input, warm, asked.search.planned())?,
            None => Vec::new(),
        };
        let job = TuningJob {
            name: name.clone(),
            arn: arn.clone(),
            request: input.clone(),
            status: IN_PROGRESS.to_owned(),
            failure: None,
            created: now(),
            modified: now(),
            ended: None,
            tags: asked.tags.clone(),
            trials: Vec::new(),
            known,
        };
        if self.tuning_jobs.insert_new(&name, job)?.is_err() {
            return Err(taken());
        }
        let tagged = self.tag_new(&arn, asked.tags);
        // Nothing stays that nothing runs.
        if tagged.is_err() && self.tuning_jobs.remove(&name).is_ok() {
            return tagged.map(|()| Value::Null);
        }
        self.spawn_tuning(&name);
        tagged?;
        Ok(json!({"HyperParameterTuningJobArn": arn}))
    }

    /// What the jobs that a new one begins with have found, and those that they began with.
    fn known_to(&self, input: &Value, warm: &Warm, planned: u32) -> ApiResult<Vec<Known>> {
        let mut known = Vec::new();
        let mut trials = planned as usize;
        for name in &warm.parents {
            let parent = self.tuning_jobs.get(name).ok_or_else(|| missing(name))?;
            if parent.is_running() {
                return Err(ApiError::validation(format!(
                    "The parent tuning job {name} has not ended: its status is {}.",
                    parent.status
                )));
            }
            if warm.identical {
                for member in ["AlgorithmSpecification", "InputDataConfig"] {
                    if input["TrainingJobDefinition"][member]
                        != parent.request["TrainingJobDefinition"][member]
                    {
                        return Err(ApiError::validation(format!(
                            "With the WarmStartType IdenticalDataAndAlgorithm, {member} of the TrainingJobDefinition has to be that \
                             of the parent tuning job {name}; use TransferLearning."
                        )));
                    }
                }
            }
            known.extend(parent.known.iter().cloned());
            for trial in self.trials(&parent) {
                if let Some(objective) = trial.metric(OBJECTIVE) {
                    known.push((trial.hyperparameters(), objective));
                }
            }
            trials += parent.trials.len();
        }
        if trials as i64 > MAX_TRIALS {
            return Err(ApiError::new(
                "ResourceLimitExceeded",
                format!(
                    "The training jobs of a tuning job and of its parents are at most {MAX_TRIALS} together; these would be {trials}."
                ),
            ));
        }
        Ok(known)
    }

    pub(super) fn describe_tuning_job(&self, input: &Value) -> ApiResult<Value> {
        let job = self.tuning_job_of(input)?;
        Ok(self.described_tuning_job(&job))
    }

    pub(super) fn list_tuning_jobs(&self, input: &Value) -> ApiResult<Value> {
        let summary = |job: TuningJob| {
            let trials = self.trials(&job);
            let config = &job.request["HyperParameterTuningJobConfig"];
            let mut summary = json!({
                "HyperParameterTuningJobName": job.name,
                "HyperParameterTuningJobArn": job.arn,
                "HyperParameterTuningJobStatus": job.status,
                "Strategy": config["Strategy"],
                "CreationTime": job.created,
                "LastModifiedTime": job.modified,
                "TrainingJobStatusCounters": status_counters(&trials),
                "ObjectiveStatusCounters": objective_counters(&trials),
                "ResourceLimits": config["ResourceLimits"],
            });
            if let Some(ended) = job.ended {
                summary["HyperParameterTuningEndTime"] = ended.into();
            }
            summary
        };
        list::page(
            input,
            "HyperParameterTuningJobSummaries",
            &STATUSES,
            &self.tuning_jobs,
            summary,
        )
    }

    pub(super) fn list_trials(&self, input: &Value) -> ApiResult<Value> {
        let job = self.tuning_job_of(input)?;
        let mut check = Check::new(input);
        let status = check.choice("StatusEquals", &training::STATUSES);
        let sort_by = check
            .choice(
                "SortBy",
                &["Name", "CreationTime", "Status", "FinalObjectiveMetricValue"],
            )
            .unwrap_or("Name");
        let descending = check.choice("SortOrder", &["Ascending", "Descending"]) == Some("Descending");
        let max = check.integer("MaxResults", 1, 100).unwrap_or(10) as usize;
        let after = check.text("NextToken", TEXT);
        check.finish()?;
        let mut trials = self.trials(&job);
        let objective = |trial: &TrainingJob| trial.metric(OBJECTIVE).unwrap_or(f64::NEG_INFINITY);
        trials.sort_by(|a, b| {
            let order = match sort_by {
                "CreationTime" => a.created().total_cmp(&b.created()),
                "Status" => a.status().cmp(b.status()),
                "FinalObjectiveMetricValue" => objective(a).total_cmp(&objective(b)),
                _ => Ordering::Equal,
            };
            // Names hold the trials' numbers.
            let order = order.then_with(|| a.name().cmp(b.name()));
            if descending { order.reverse() } else { order }
        });
        if let Some(after) = after {
            let at = trials.iter().position(|trial| trial.name() == after);
            let at = at.ok_or_else(|| ApiError::validation("Invalid NextToken"))?;
            trials.drain(..=at);
        }
        // The trial that a token names may have another status by now.
        trials.retain(|trial| status.is_none_or(|status| trial.status() == status));
        let next = (trials.len() > max).then(|| trials[max - 1].name().to_owned());
        trials.truncate(max);
        let summaries: Vec<_> = trials.iter().map(trial_summary).collect();
        let mut answer = json!({"TrainingJobSummaries": summaries});
        if let Some(next) = next {
            answer["NextToken"] = next.into();
        }
        Ok(answer)
    }

    pub(super) fn stop_tuning_job(self: &Arc<Self>, input: &Value) -> ApiResult<()> {
        let name = self.tuning_job_of(input)?.name;
        let ended = self.tuning_jobs.update(&name, |job| {
            if job.is_running() {
                job.status = STOPPING.to_owned();
                job.modified = now();
            }
            (!job.is_running()).then(|| job.status.clone())
        })?;
        if let Some(Some(status)) = ended {
            let message = format!(
                "The request was rejected because the hyperparameter tuning job is in status {status}."
            );
            return Err(ApiError::validation(message));
        }
        let running = self.tuning.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(stop) = running.get(&name) {
            stop.cancel();
        }
        Ok(())
    }

    pub(super) fn delete_tuning_job(&self, input: &Value) -> ApiResult<()> {
        let job = self.tuning_job_of(input)?;
        if job.is_running() {
            let message = format!(
                "The tuning job {} is in use: its status is {}.",
                job.arn, job.status
            );
            return Err(ApiError::new("ResourceInUse", message));
        }
        self.tuning_jobs.remove(&job.name)?;
        self.untag(&job.arn)
    }

    /// The description of a job of that name if there is one, and whether it has ended.
    pub(super) fn tuning_job_state(&self, name: &str) -> Option<(bool, Value)> {
        let job = self.tuning_jobs.get(name)?;
        Some((!job.is_running(), self.described_tuning_job(&job)))
    }

    /// Jobs that ran when the server before this one ended go on: the search is repeated with what its trials came to, and
    /// trials that ran go on from their checkpoints.
    pub(super) fn resume_tuning_jobs(self: &Arc<Self>) {
        for job in self.tuning_jobs.select(TuningJob::is_running) {
            self.spawn_tuning(&job.name);
        }
    }

    fn spawn_tuning(self: &Arc<Self>, name: &str) {
        let (this, name, stop) = (self.clone(), name.to_owned(), self.stop.child_token());
        let mut running = self.tuning.lock().unwrap_or_else(|e| e.into_inner());
        running.insert(name.clone(), stop.clone());
        drop(running);
        self.spawn(move || {
            this.tune(&name, &stop);
            let mut running = this.tuning.lock().unwrap_or_else(|e| e.into_inner());
            running.remove(&name);
        });
    }

    /// A job from start to end, on a thread of its own.
    fn tune(self: &Arc<Self>, name: &str, stop: &CancellationToken) {
        let Some(job) = self.tuning_jobs.get(name) else {
            return;
        };
        if job.status == STOPPING {
            stop.cancel();
        }
        let outcome = self.search(&job, stop);
        if self.stop.is_cancelled() {
            return;
        }
        // No trial outlives its tuning job.
        let stream = format!("{name}/tuning");
        let told = &|| self.end_trials(name).map(drop);
        self.until_saved(logs::TRAINING_JOBS, &stream, END_OF_JOB, told);
        self.until_saved(logs::TRAINING_JOBS, &stream, END_OF_JOB, || {
            if self.stop.is_cancelled() {
                return Ok(()); // the next server goes on
            }
            let change = |job: &mut TuningJob| match &outcome {
                _ if job.status == STOPPING => job.end("Stopped"),
                Ok(()) => job.end("Completed"),
                Err(reason) => {
                    job.failure = Some(reason.chars().take(1024).collect());
                    job.end("Failed");
                }
            };
            self.tuning_jobs.update(name, change).map(drop)
        });
    }

    /// Whether there is a tuning job of that name that has not ended.
    pub(super) fn tuning_job_runs(&self, name: &str) -> bool {
        self.tuning_jobs.look(name, TuningJob::is_running) == Some(true)
    }

    fn search(self: &Arc<Self>, job: &TuningJob, stop: &CancellationToken) -> Result<(), String> {
        let internal = |error: ApiError| format!("InternalServerError: {}", error.message);
        let asked = examine(&job.request).map_err(internal)?;
        let mut search = asked.search.knowing(job.known.iter().cloned());
        let mut names: HashMap<JobId, String> = HashMap::new();
        let mut reached = false;
        let over = || {
            stop.is_cancelled()
                || asked
                    .max_runtime
                    .is_some_and(|limit| now() - job.created >= limit)
        };
        loop {
            match search.step() {
                // Those that run come to their end.
                Step::Start(_) if reached || over() => break,
                Step::Start(trial) => {
                    let values = asked.space.ranges().map(|(name, _)| name);
                    let all = trial.hyperparameters.to_map();
                    let values = values.filter_map(|name| Some((name.to_owned(), all.get(name)?.clone())));
                    let name = trial_name(&job.name, trial.id.trial);
                    let hopeless = asked.stopping.rule(&trial, search.trials());
                    self.begin_trial(job, &name, values.collect(), hopeless)?;
                    names.insert(trial.id, name);
                }
                Step::Wait(id) => {
                    let Some(name) = names.remove(&id) else {
                        return Err("InternalServerError: a trial has no training job".to_owned());
                    };
                    let outcome = match self.await_trial(&name, &over) {
                        Some(trial) => self.outcome(&trial),
                        None if self.stop.is_cancelled() => return Ok(()),
                        // It was deleted as soon as it had ended.
                        None => Outcome {
                            status: Status::Failed,
                            objective: None,
                            curve: Vec::new(),
                            failure: None,
                            seconds: 0.0,
                        },
                    };
                    reached |= asked
                        .target
                        .is_some_and(|target| outcome.objective.is_some_and(|o| o >= target));
                    search.tell(id, outcome);
                }
                Step::Done => break,
            }
        }
        for name in names.values() {
            if self.await_trial(name, &over).is_none() && self.stop.is_cancelled() {
                return Ok(());
            }
        }
        let trials = self
            .tuning_jobs
            .get(&job.name)
            .map(|job| self.trials(&job))
            .unwrap_or_default();
        if stop.is_cancelled() || trials.iter().any(|trial| trial.metric(OBJECTIVE).is_some()) {
            return Ok(());
        }
        let first = trials.iter().find_map(|trial| trial.failure());
        Err(match first {
            Some(reason) => format!(
                "No training job succeeded before failure. Please take a look at the training job failures to get more details. The first: {reason}"
            ),
            None => format!(
                "No objective metrics found after running {} training jobs: {OBJECTIVE} is computed on the channel \
                 validation, which the training jobs did not have",
                trials.len()
            ),
        })
    }

    /// Starts the training job of a trial, or goes on with the one that is there.
    fn begin_trial(
        self: &Arc<Self>,
        job: &TuningJob,
        name: &str,
        values: BTreeMap<String, String>,
        hopeless: Hopeless,
    ) -> Result<(), String> {
        let failed = |error: std::io::Error| format!("InternalServerError: {error}");
        if let Some(trial) = self.training_job(name) {
            if trial.is_running() {
                self.resume_training(name, hopeless).map_err(failed)?;
            }
            return Ok(());
        }
        self.tuning_jobs
            .update(&job.name, |job| {
                // It is there already where a server was killed between this step and the next.
                if !job.trials.iter().any(|trial| trial == name) {
                    job.trials.push(name.to_owned());
                }
                job.modified = now();
            })
            .map_err(failed)?;
        let request = trial_request(&job.request, &job.name, name, values.clone(), &job.tags);
        let tuned = Tuned {
            job: job.name.clone(),
            arn: job.arn.clone(),
            values,
        };
        match self.start_training(&request, Some(tuned), hopeless) {
            Ok(_) => Ok(()),
            Err(error) => Err(format!("ClientError: {}", error.message)),
        }
    }

    /// The record of a trial that has ended, which it is told to when the job is over; none if the server stops, or the trial
    /// was deleted.
    fn await_trial(self: &Arc<Self>, name: &str, over: &dyn Fn() -> bool) -> Option<TrainingJob> {
        let mut told = false;
        loop {
            let trial = self.training_job(name)?;
            if !trial.is_running() {
                return Some(trial);
            }
            if self.stop.is_cancelled() {
                return None;
            }
            // The server's end is not theirs.
            if !told && over() && !self.stop.is_cancelled() {
                told = true;
                let _ = self.stop_training_job(&json!({"TrainingJobName": name})); // an error: it has ended
            }
            std::thread::sleep(LOOK);
        }
    }

    fn outcome(&self, trial: &TrainingJob) -> Outcome {
        let objective = trial.metric(OBJECTIVE);
        let curve = self.curve(trial);
        let status = match (trial.status(), objective) {
            ("Completed", Some(_)) => Status::Completed,
            ("Stopped", Some(_)) => Status::Stopped,
            _ => Status::Failed,
        };
        Outcome {
            status,
            objective,
            curve,
            failure: trial.failure().map(str::to_owned),
            seconds: trial.seconds().unwrap_or_default() as f64,
        }
    }

    /// The objective after each epoch, from the trial's log as the service reads it. Epochs that were trained again after the
    /// server was killed count once.
    fn curve(&self, trial: &TrainingJob) -> Vec<f64> {
        metrics::objectives(&self.logs, trial.log_stream())
            .into_values()
            .collect()
    }

    fn trials(&self, job: &TuningJob) -> Vec<TrainingJob> {
        job.trials
            .iter()
            .filter_map(|name| self.training_job(name))
            .collect()
    }

    fn described_tuning_job(&self, job: &TuningJob) -> Value {
        let trials = self.trials(job);
        let mut answer = Map::new();
        answer.insert("HyperParameterTuningJobName".into(), job.name.clone().into());
        answer.insert("HyperParameterTuningJobArn".into(), job.arn.clone().into());
        let members = [
            "HyperParameterTuningJobConfig",
            "TrainingJobDefinition",
            "WarmStartConfig",
        ];
        copy(&job.request, &members, &mut answer);
        answer.insert("HyperParameterTuningJobStatus".into(), job.status.clone().into());
        answer.insert("CreationTime".into(), job.created.into());
        answer.insert("LastModifiedTime".into(), job.modified.into());
        if let Some(ended) = job.ended {
            answer.insert("HyperParameterTuningEndTime".into(), ended.into());
        }
        answer.insert("TrainingJobStatusCounters".into(), status_counters(&trials));
        answer.insert("ObjectiveStatusCounters".into(), objective_counters(&trials));
        let best = trials
            .iter()
            .filter(|trial| trial.status() == "Completed")
            .filter_map(|trial| Some((trial, trial.metric(OBJECTIVE)?)))
            // Of equals the first.
            .reduce(|best, next| if next.1 > best.1 { next } else { best });
        if let Some((best, _)) = best {
            answer.insert("BestTrainingJob".into(), trial_summary(best));
        }
        // Of all, those of the jobs that it began with too; of equals the first.
        let parents = parents(&job.request).into_iter();
        let parents = parents.filter_map(|name| self.tuning_jobs.get(&name));
        let all = std::iter::once(job.clone()).chain(parents).flat_map(|job| {
            let trials = self.trials(&job).into_iter();
            trials.map(move |trial| (job.name.clone(), trial))
        });
        let overall = all
            .filter(|(_, trial)| trial.status() == "Completed")
            .filter_map(|(job, trial)| Some((trial.metric(OBJECTIVE)?, job, trial)))
            .reduce(|best, next| if next.0 > best.0 { next } else { best });
        if let Some((_, name, trial)) = overall {
            let mut summary = trial_summary(&trial);
            if name != job.name {
                summary["TuningJobName"] = name.into();
            }
            answer.insert("OverallBestTrainingJob".into(), summary);
        }
        if let Some(reason) = &job.failure {
            answer.insert("FailureReason".into(), reason.clone().into());
        }
        let seconds: u64 = trials.iter().filter_map(TrainingJob::seconds).sum();
        answer.insert("ConsumedResources".into(), json!({"RuntimeInSeconds": seconds}));
        answer.into()
    }

    fn tuning_job_of(&self, input: &Value) -> ApiResult<TuningJob> {
        let mut check = Check::new(input);
        let name = check.required("HyperParameterTuningJobName", NAME);
        check.finish()?;
        self.tuning_jobs.get(name).ok_or_else(|| missing(name))
    }
}

fn missing(name: &str) -> ApiError {
    ApiError::new(
        "ResourceNotFound",
        format!("Amazon SageMaker can't find a tuning job with the name {name}."),
    )
}

/// The names of the jobs that a request begins with.
fn parents(request: &Value) -> Vec<String> {
    let parents = request["WarmStartConfig"]["ParentHyperParameterTuningJobs"].as_array();
    let names = parents.into_iter().flatten();
    names
        .filter_map(|parent| parent["HyperParameterTuningJobName"].as_str().map(str::to_owned))
        .collect()
}

/// How a job begins with what others have found.
struct Warm {
    parents: Vec<String>,
    /// Whether it is about the same rows and the same algorithm.
    identical: bool,
}

fn warm_start(check: &mut Check<'_>, input: &Value) -> Option<Warm> {
    const AT: &str = "WarmStartConfig";
    check.get(AT)?;
    let list = format!("{AT}.ParentHyperParameterTuningJobs");
    for i in 0..check.list(&list, 1, 5).len() {
        check.required(&format!("{list}.{i}.HyperParameterTuningJobName"), NAME);
    }
    let kind = format!("{AT}.WarmStartType");
    let chosen = check.choice(&kind, &["IdenticalDataAndAlgorithm", "TransferLearning"]);
    if chosen.is_none() {
        check.required(&kind, TEXT);
    }
    Some(Warm {
        parents: parents(input),
        identical: chosen == Some("IdenticalDataAndAlgorithm"),
    })
}

/// How often a waiting tuning job looks.
const LOOK: Duration = Duration::from_millis(5);

/// The name of a trial's training job: the tuning job's, the trial's number from 1, and eight digits that follow from both.
fn trial_name(tuning: &str, trial: u32) -> String {
    use s3s::crypto::Checksum as _;
    let number = format!("{tuning}-{:03}", trial + 1);
    let digest = hex(Sha256::checksum(number.as_bytes()));
    format!("{number}-{}", &digest[..8])
}

/// The request for a trial's training job.
fn trial_request(
    tuning: &Value,
    job: &str,
    name: &str,
    values: BTreeMap<String, String>,
    tags: &BTreeMap<String, String>,
) -> Value {
    let definition = &tuning["TrainingJobDefinition"];
    let mut request = Map::new();
    request.insert("TrainingJobName".into(), name.into());
    let members = [
        "AlgorithmSpecification",
        "RoleArn",
        "InputDataConfig",
        "OutputDataConfig",
        "VpcConfig",
        "StoppingCondition",
        "CheckpointConfig",
        "RetryStrategy",
        "Environment",
        "EnableNetworkIsolation",
        "EnableInterContainerTrafficEncryption",
        "EnableManagedSpotTraining",
    ];
    copy(definition, &members, &mut request);
    let resources = resources(definition);
    request.insert("ResourceConfig".into(), resources);
    let mut parameters = definition["StaticHyperParameters"]
        .as_object()
        .cloned()
        .unwrap_or_default();
    parameters.insert("_tuning_objective_metric".into(), OBJECTIVE.into());
    // The resource of Hyperband is the epoch.
    let config = &tuning["HyperParameterTuningJobConfig"];
    let max = &config["StrategyConfig"]["HyperbandStrategyConfig"]["MaxResource"];
    if config["Strategy"] == "Hyperband"
        && let Some(max) = max.as_i64()
    {
        parameters.insert("epochs".into(), max.to_string().into());
    }
    parameters.extend(values.into_iter().map(|(name, value)| (name, value.into())));
    request.insert("HyperParameters".into(), parameters.into());
    // Trials do not share a checkpoint.
    if let Some(url) = request
        .get_mut("CheckpointConfig")
        .and_then(|config| config.get_mut("S3Uri"))
        && let Some(text) = url.as_str()
    {
        *url = format!("{}/{job}/{name}", text.trim_end_matches('/')).into();
    }
    let tags: Vec<_> = tags
        .iter()
        .map(|(key, value)| json!({"Key": key, "Value": value}))
        .collect();
    if !tags.is_empty() {
        request.insert("Tags".into(), tags.into());
    }
    request.into()
}

/// The plain form of what a definition says of machines, in whichever of its two forms.
fn resources(definition: &Value) -> Value {
    let plain = &definition["ResourceConfig"];
    if !plain.is_null() {
        return plain.clone();
    }
    let tuning = &definition["HyperParameterTuningResourceConfig"];
    // With several kinds of machines the first is taken.
    let source = match tuning["InstanceConfigs"].get(0) {
        Some(first) => first,
        None => tuning,
    };
    let mut config = Map::new();
    copy(
        source,
        &["InstanceCount", "InstanceType", "VolumeSizeInGB"],
        &mut config,
    );
    copy(tuning, &["VolumeKmsKeyId", "VolumeSizeInGB"], &mut config);
    config.into()
}

fn trial_summary(trial: &TrainingJob) -> Value {
    let mut summary = json!({
        "TrainingJobName": trial.name(),
        "TrainingJobArn": trial.arn(),
        "CreationTime": trial.created(),
        "TrainingJobStatus": trial.status(),
        "TunedHyperParameters": trial.tuned().map(|tuned| &tuned.values),
        "ObjectiveStatus": objective_status(trial),
    });
    let (started, ended) = trial.times();
    for (member, time) in [("TrainingStartTime", started), ("TrainingEndTime", ended)] {
        if let Some(time) = time {
            summary[member] = time.into();
        }
    }
    if let Some(reason) = trial.failure() {
        summary["FailureReason"] = reason.into();
    }
    if let Some(value) = trial.metric(OBJECTIVE) {
        summary["FinalHyperParameterTuningJobObjectiveMetric"] =
            json!({"Type": "Maximize", "MetricName": OBJECTIVE, "Value": value});
    }
    summary
}

fn objective_status(trial: &TrainingJob) -> &'static str {
    match (trial.is_running(), trial.metric(OBJECTIVE)) {
        (true, _) => "Pending",
        (false, Some(_)) => "Succeeded",
        (false, None) => "Failed",
    }
}

fn objective_counters(trials: &[TrainingJob]) -> Value {
    let count = |status: &str| trials.iter().filter(|t| objective_status(t) == status).count();
    json!({"Succeeded": count("Succeeded"), "Pending": count("Pending"), "Failed": count("Failed")})
}

fn status_counters(trials: &[TrainingJob]) -> Value {
    let count = |statuses: &[&str]| trials.iter().filter(|t| statuses.contains(&t.status())).count();
    json!({
        "Completed": count(&["Completed"]),
        "InProgress": count(&["InProgress", "Stopping"]),
        "RetryableError": 0,
        "NonRetryableError": count(&["Failed"]),
        "Stopped": count(&["Stopped"]),
    })
}

/// When a trial is stopped before its last epoch.
#[derive(Clone, Copy)]
enum Rule {
    /// By the search's own rule: never, or below the median.
    Search,
    /// By successive halving: at these epochs, and their multiples by [`ETA`], the best of so many goes on.
    Halving { min: u32 },
}

/// Of how many trials one goes on.
const ETA: u32 = 3;

impl Rule {
    fn rule(self, job: &Job, trials: &[Trial]) -> Hopeless {
        match self {
            Self::Search => {
                let job = job.clone();
                Box::new(move |epochs, objective| job.is_hopeless(epochs, objective))
            }
            Self::Halving { min } => {
                let floors = rungs(min, job.id.epochs)
                    .filter_map(|rung| {
                        let mut there: Vec<f64> = trials
                            .iter()
                            .filter_map(|trial| trial.curve.get(rung as usize - 1).copied())
                            .collect();
                        there.sort_by(|a, b| b.total_cmp(a));
                        // With this one they are one more; the best third of all, rounded up, goes on.
                        let on = (there.len() + 1).div_ceil(ETA as usize);
                        let floor =
                            (there.len() + 1 >= ETA as usize).then(|| there.get(on - 1).copied())??;
                        Some((rung, floor))
                    })
                    .collect::<BTreeMap<_, _>>();
                Box::new(move |epochs, objective| floors.get(&epochs).is_some_and(|floor| objective < *floor))
            }
        }
    }
}

/// The epochs at which a trial is looked at, before the last.
fn rungs(min: u32, max: u32) -> impl Iterator<Item = u32> {
    std::iter::successors(Some(min.max(1)), |rung| rung.checked_mul(ETA)).take_while(move |rung| *rung < max)
}

/// A request that has passed every check.
struct Asked {
    name: String,
    space: Space,
    search: Search,
    stopping: Rule,
    /// Seconds.
    max_runtime: Option<f64>,
    target: Option<f64>,
    warm: Option<Warm>,
    tags: BTreeMap<String, String>,
}

fn examine(input: &Value) -> ApiResult<Asked> {
    const CONFIG: &str = "HyperParameterTuningJobConfig";
    let mut check = Check::new(input);
    let name = check.required("HyperParameterTuningJobName", NAME).to_owned();
    if check.get("Autotune").is_some() {
        return Err(ApiError::not_implemented("Autotune"));
    }
    let warm = warm_start(&mut check, input);
    if !check.list("TrainingJobDefinitions", 0, 10).is_empty() {
        return Err(ApiError::not_implemented("TrainingJobDefinitions"));
    }
    let at = |member: &str| format!("{CONFIG}.{member}");
    check.structure(CONFIG);
    let strategies = ["Bayesian", "Random", "Hyperband", "Grid"];
    let strategy = check.choice(&at("Strategy"), &strategies);
    if strategy.is_none() {
        check.required(&at("Strategy"), TEXT);
    }
    let most = check.integer(&at("ResourceLimits.MaxNumberOfTrainingJobs"), 1, MAX_TRIALS);
    let parallel = check.required_integer(&at("ResourceLimits.MaxParallelTrainingJobs"), 1, MAX_PARALLEL);
    let max_runtime = check.integer(&at("ResourceLimits.MaxRuntimeInSeconds"), 120, 15_768_000);
    let objective = at("HyperParameterTuningJobObjective");
    check.structure(&objective);
    let kind = check.choice(&format!("{objective}.Type"), &["Maximize", "Minimize"]);
    let metric = check.required(&format!("{objective}.MetricName"), Form { max: 255, ..TEXT });
    let early = check.choice(&at("TrainingJobEarlyStoppingType"), &["Off", "Auto"]) == Some("Auto");
    let target = check.amount(&at("TuningJobCompletionCriteria.TargetObjectiveMetricValue"));
    for criterion in ["BestObjectiveNotImproving", "ConvergenceDetected"] {
        let path = at(&format!("TuningJobCompletionCriteria.{criterion}"));
        if check.get(&path).is_some() {
            return Err(ApiError::not_implemented(&path));
        }
    }
    let seed = check
        .integer(&at("RandomSeed"), 0, i64::from(u32::MAX))
        .unwrap_or(0) as u64;
    let hyperband = at("StrategyConfig.HyperbandStrategyConfig");
    let min = check.integer(&format!("{hyperband}.MinResource"), 1, i64::from(u32::MAX));
    let max = check.integer(&format!("{hyperband}.MaxResource"), 1, i64::from(u32::MAX));
    let in_config = at("ParameterRanges");
    let ranges_at = match check.get(&in_config) {
        Some(_) => in_config,
        None => "TrainingJobDefinition.HyperParameterRanges".to_owned(),
    };
    let ranges = ranges(&mut check, &ranges_at);
    check.structure("TrainingJobDefinition");
    check.map("TrainingJobDefinition.StaticHyperParameters", 100, 256, 2500);
    let resources = "TrainingJobDefinition.HyperParameterTuningResourceConfig";
    if check.get(resources).is_none() {
        check.structure("TrainingJobDefinition.ResourceConfig");
    } else {
        check.text(&format!("{resources}.InstanceType"), INSTANCE);
        check.integer(&format!("{resources}.InstanceCount"), 1, i64::MAX);
    }
    let tags = tags::of_request(&mut check);
    check.finish()?;
    if metric != OBJECTIVE || kind == Some("Minimize") {
        return Err(ApiError::validation(format!(
            "The objective metric {} of {metric} is not one of the algorithm's: it has to be Maximize of {OBJECTIVE}.",
            kind.unwrap_or("(no type)")
        )));
    }
    let parallel = parallel.unwrap_or(1) as u32;
    let strategy = strategy.unwrap_or_default();
    if strategy == "Hyperband" && early {
        return Err(ApiError::validation(
            "TrainingJobEarlyStoppingType has to be Off with the strategy Hyperband, which stops training jobs by itself.",
        ));
    }
    if warm.is_some() && !["Bayesian", "Random"].contains(&strategy) {
        return Err(ApiError::validation(format!(
            "WarmStartConfig needs the strategy Bayesian or Random, not {strategy}."
        )));
    }
    let max = max.filter(|_| strategy == "Hyperband");
    let base = base(input, &ranges, max.map(|max| max as u32))?;
    let mut draft = SpaceDraft::new();
    for (name, range) in ranges {
        draft = draft.range(&name, range);
    }
    let invalid = |problem: String| {
        ApiError::validation(format!(
            "The hyperparameter ranges of the tuning job are not valid: {problem}."
        ))
    };
    let space = draft.check(&base).map_err(|error| invalid(error.to_string()))?;
    let trials = most.map_or(DEFAULT_TRIALS, |most| most as u32);
    if parallel > trials && strategy != "Grid" {
        return Err(ApiError::validation(format!(
            "MaxParallelTrainingJobs ({parallel}) must not be greater than MaxNumberOfTrainingJobs ({trials})."
        )));
    }
    let chosen = match strategy {
        "Grid" => Strategy::Grid,
        // As many at random first as `ipinsights tune` draws.
        "Bayesian" => Strategy::Bayesian {
            trials,
            startup: (trials / 3).clamp(2, 10),
        },
        _ => Strategy::Random { trials },
    };
    let stopping = if early { Stopping::Median } else { Stopping::Off };
    let settings = Settings {
        strategy: chosen,
        seed,
        parallel,
        stopping,
    };
    let search = Search::new(space.clone(), settings).map_err(|error| invalid(error.to_string()))?;
    if strategy == "Grid" && most.is_some_and(|most| most != i64::from(search.planned())) {
        return Err(ApiError::validation(format!(
            "MaxNumberOfTrainingJobs has to be the number of combinations ({}) with the strategy Grid, or left out.",
            search.planned()
        )));
    }
    let stopping = match strategy {
        "Hyperband" => {
            if space.tunes("epochs") {
                return Err(ApiError::validation(
                    "epochs is the resource of the strategy Hyperband and cannot be tuned with it.",
                ));
            }
            let min = min.map_or(1, |min| min as u32);
            if min > base.epochs() {
                return Err(ApiError::validation(format!(
                    "MinResource ({min}) must not be greater than MaxResource ({}).",
                    base.epochs()
                )));
            }
            Rule::Halving { min }
        }
        _ => Rule::Search,
    };
    Ok(Asked {
        name,
        space,
        search,
        stopping,
        max_runtime: max_runtime.map(|seconds| seconds as f64),
        target,
        warm,
        tags,
    })
}

/// The hyperparameters that are not tuned, and some value for those that are.
fn base(input: &Value, ranges: &[(String, Range)], epochs: Option<u32>) -> ApiResult<Hyperparameters> {
    let given = input["TrainingJobDefinition"]["StaticHyperParameters"].clone();
    let mut given: BTreeMap<String, String> = serde_json::from_value(given).unwrap_or_default();
    for (name, range) in ranges {
        if given.contains_key(name) {
            return Err(ApiError::validation(format!(
                "The hyperparameter {name} is both static and tuned; it can be only one of them."
            )));
        }
        let value = match range {
            Range::Between { min, .. } => min.to_string(),
            Range::Among { values } => values.first().cloned().unwrap_or_default(),
        };
        given.insert(name.clone(), value);
    }
    // Two ranges that begin at 0 negatives each leave none.
    let negatives = ["random_negative_sampling_rate", "shuffled_negative_sampling_rate"];
    if negatives
        .iter()
        .all(|name| given.get(*name).is_some_and(|value| value == "0"))
        && let Some((name, Range::Between { max, .. })) =
            ranges.iter().find(|(n, _)| negatives.contains(&n.as_str()))
    {
        given.insert(name.clone(), max.to_string());
    }
    if let Some(epochs) = epochs {
        given.insert("epochs".to_owned(), epochs.to_string());
    }
    let (draft, _) = Draft::from_map(&given);
    draft.or_container_defaults().check().map_err(|problems| {
        ApiError::validation(format!(
            "The hyperparameters of the tuning job are not valid: {problems}."
        ))
    })
}

fn ranges(check: &mut Check<'_>, at: &str) -> Vec<(String, Range)> {
    let mut ranges = Vec::new();
    for kind in ["Integer", "Continuous"] {
        let list = format!("{at}.{kind}ParameterRanges");
        for i in 0..check.list(&list, 0, 30).len() {
            let member = |member: &str| format!("{list}.{i}.{member}");
            let name = check
                .required(&member("Name"), Form { max: 256, ..TEXT })
                .to_owned();
            let mut number = |which: &str| {
                let path = member(which);
                let text = check.required(&path, Form { max: 256, ..TEXT });
                let number = match kind {
                    "Integer" => text.trim().parse::<i64>().ok().map(|n| n as f64),
                    _ => text.trim().parse::<f64>().ok().filter(|n| n.is_finite()),
                };
                if number.is_none() && !text.is_empty() {
                    let wanted = if kind == "Integer" {
                        "a whole number"
                    } else {
                        "a number"
                    };
                    check.problem(Some(text), &path, &format!("Member must be {wanted}"));
                }
                number.unwrap_or_default()
            };
            let (min, max) = (number("MinValue"), number("MaxValue"));
            let scalings = ["Auto", "Linear", "Logarithmic", "ReverseLogarithmic"];
            let scaling = match check.choice(&member("ScalingType"), &scalings) {
                Some("Linear") => Scaling::Linear,
                Some("Logarithmic") => Scaling::Logarithmic,
                Some("ReverseLogarithmic") => Scaling::ReverseLogarithmic,
                _ => Scaling::Auto,
            };
            ranges.push((name, Range::Between { min, max, scaling }));
        }
    }
    let list = format!("{at}.CategoricalParameterRanges");
    for i in 0..check.list(&list, 0, 30).len() {
        let name = check
            .required(&format!("{list}.{i}.Name"), Form { max: 256, ..TEXT })
            .to_owned();
        let values_at = format!("{list}.{i}.Values");
        let values = check.list(&values_at, 1, 30);
        let mut texts = Vec::new();
        for j in 0..values.len() {
            texts.push(check.required(&format!("{values_at}.{j}"), TEXT).to_owned());
        }
        ranges.push((name, Range::Among { values: texts }));
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rungs_of_halving() {
        assert_eq!(rungs(1, 10).collect::<Vec<_>>(), [1, 3, 9]);
        assert_eq!(rungs(2, 6).collect::<Vec<_>>(), [2]);
        assert_eq!(rungs(0, 3).collect::<Vec<_>>(), [1]);
        assert_eq!(rungs(5, 5).count(), 0);
    }

    /// Of trials that came to the first rung, the best third goes on.
    #[test]
    fn halving_stops_what_is_not_among_the_best_third() {
        let base = Hyperparameters::draft(100).epochs(9).check().unwrap();
        let space = SpaceDraft::new().range("vector_dim", Range::between(4.0, 64.0));
        let settings = Settings {
            strategy: Strategy::Random { trials: 10 },
            seed: 0,
            parallel: 1,
            stopping: Stopping::Off,
        };
        let mut search = Search::new(space.check(&base).unwrap(), settings).unwrap();
        let rule = Rule::Halving { min: 1 };
        let mut stopped = Vec::new();
        for objective in [0.5, 0.6, 0.55, 0.7, 0.58, 0.9] {
            let Step::Start(job) = search.step() else {
                panic!("a trial is due");
            };
            let hopeless = rule.rule(&job, search.trials());
            assert!(!hopeless(2, 0.0), "only at a rung");
            stopped.push(hopeless(1, objective));
            let outcome = Outcome {
                status: Status::Completed,
                objective: Some(objective),
                curve: vec![objective],
                failure: None,
                seconds: 1.0,
            };
            search.tell(job.id, outcome);
        }
        // The first two have too few to be compared with; then one of three goes on, and two of four to six.
        assert_eq!(stopped, [false, false, true, false, true, false]);
    }

    #[test]
    fn names_of_trials_hold_their_number_and_repeat() {
        let name = trial_name("tuning-201112-1234", 0);
        assert_eq!(name, trial_name("tuning-201112-1234", 0));
        let (number, digits) = name.rsplit_once('-').unwrap();
        assert_eq!(number, "tuning-201112-1234-001");
        assert!(digits.len() == 8 && digits.bytes().all(|b| b.is_ascii_hexdigit()));
        assert!(trial_name(&"a".repeat(32), 749).len() <= 63);
    }
}
