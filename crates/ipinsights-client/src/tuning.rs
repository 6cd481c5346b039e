//! Hyperparameter tuning jobs: the service's search for better hyperparameters.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;

use aws_sdk_sagemaker::operation::describe_hyper_parameter_tuning_job::DescribeHyperParameterTuningJobOutput;
use aws_sdk_sagemaker::types;
use ipinsights::tuning::{Kind, OBJECTIVE, Range, Scaling, Space, kind};
use serde_json::{Value, json};

use crate::names::{TrainingJobName, TuningJobName};
use crate::training::{TrainingJob, as_i32};
use crate::wait::Seen;
use crate::{Client, Deadline, Error};

/// How the service chooses hyperparameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum TuningStrategy {
    /// By what it has seen so far.
    #[default]
    Bayesian,
    /// At random.
    Random,
    /// At random, and training jobs that do worse than others are stopped early.
    Hyperband,
    /// Every combination; all ranges must be lists.
    Grid,
}

impl TuningStrategy {
    /// The API's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bayesian => "Bayesian",
            Self::Random => "Random",
            Self::Hyperband => "Hyperband",
            Self::Grid => "Grid",
        }
    }
}

/// What `CreateHyperParameterTuningJob` takes: which hyperparameters to look for, over which ranges, in how many training jobs.
///
/// ```
/// use std::num::NonZeroU32;
///
/// use ipinsights::Hyperparameters;
/// use ipinsights::tuning::{Range, SpaceDraft};
/// use ipinsights_client::{S3Uri, TrainingJob, TuningJob, image_uri};
///
/// let base = Hyperparameters::draft(20_000).epochs(5).check()?;
/// let space = SpaceDraft::new().range("vector_dim", Range::between(64.0, 1024.0)).check(&base)?;
/// let training = TrainingJob::draft("template".parse()?)
///     .image(image_uri("us-east-1")?)
///     .role("arn:aws:iam::123456789012:role/SageMaker".parse()?)
///     .hyperparameters(base)
///     .train("s3://traffic/train.csv".parse()?)
///     .validation("s3://traffic/validation.csv".parse::<S3Uri>()?)
///     .output("s3://traffic/models".parse::<S3Uri>()?)
///     .check()?;
/// let mut job = TuningJob::new("nightly".parse()?, training, space);
/// job.max_jobs = NonZeroU32::new(4).unwrap();
/// let ranges = &job.to_parameters()["HyperParameterTuningJobConfig"]["ParameterRanges"];
/// assert_eq!(ranges["IntegerParameterRanges"][0]["MaxValue"], "1024");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct TuningJob {
    /// The tuning job's name; its training jobs get names of their own, which begin with it.
    pub name: TuningJobName,
    /// What every training job is like but for its name and what is tuned. It needs validation data, which the objective,
    /// `validation:discriminator_auc`, is computed on.
    pub training: TrainingJob,
    /// What is tuned; the values of the rest are those of `training`.
    pub space: Space,
    /// How hyperparameters are chosen; default Bayesian.
    pub strategy: TuningStrategy,
    /// How many training jobs, 1 to 750; default 10. With [`TuningStrategy::Grid`] it is not sent.
    pub max_jobs: NonZeroU32,
    /// How many of them side by side, 1 to 100 and no more than [`max_jobs`](Self::max_jobs); default 1: what runs side by side
    /// does not learn from each other.
    pub parallel: NonZeroU32,
    /// Whether training jobs that will not come to anything are stopped early; default false. Not with
    /// [`TuningStrategy::Hyperband`], which does so by itself.
    pub early_stopping: bool,
    /// Makes the choice repeatable; default none.
    pub seed: Option<u32>,
}

impl TuningJob {
    /// Ten training jobs, one after the other, chosen by what is known.
    pub fn new(name: TuningJobName, training: TrainingJob, space: Space) -> Self {
        Self {
            name,
            training,
            space,
            strategy: TuningStrategy::default(),
            max_jobs: NonZeroU32::new(10).unwrap_or(NonZeroU32::MIN),
            parallel: NonZeroU32::MIN,
            early_stopping: false,
            seed: None,
        }
    }

    /// All that does not fit together, in words; none if the service will take it.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut require = |is_met: bool, problem: &str| {
            if !is_met {
                problems.push(problem.to_owned());
            }
        };
        require(
            self.training.has_validation(),
            "validation data must be set, which the objective is computed on",
        );
        require(
            self.max_jobs.get() <= 750,
            "at most 750 training jobs are allowed",
        );
        require(
            self.parallel.get() <= 100,
            "at most 100 training jobs run side by side",
        );
        let grid = self.strategy == TuningStrategy::Grid;
        require(
            grid || self.parallel <= self.max_jobs,
            "no more training jobs can run side by side than there are",
        );
        require(
            !(self.early_stopping && self.strategy == TuningStrategy::Hyperband),
            "Hyperband stops training jobs by itself: leave early stopping off",
        );
        let lists = self
            .space
            .ranges()
            .all(|(_, range)| matches!(range, Range::Among { .. }));
        require(
            !grid || lists,
            "a grid needs a list of values for each hyperparameter",
        );
        problems
    }

    /// The members of `CreateHyperParameterTuningJob` as the API names them: what [`Client::start_tuning`] sends.
    pub fn to_parameters(&self) -> Value {
        let mut training = self.training.to_parameters();
        let tags = training
            .as_object_mut()
            .and_then(|members| members.remove("Tags"));
        let fixed = self.fixed();
        if let Some(members) = training.as_object_mut() {
            members.remove("TrainingJobName");
            members.remove("HyperParameters");
            members.insert("StaticHyperParameters".to_owned(), json!(fixed));
        }
        let mut limits = json!({"MaxParallelTrainingJobs": self.parallel});
        if self.strategy != TuningStrategy::Grid {
            limits["MaxNumberOfTrainingJobs"] = self.max_jobs.get().into();
        }
        let (mut integer, mut continuous, mut categorical) = (Vec::new(), Vec::new(), Vec::new());
        for (name, range) in self.space.ranges() {
            match range {
                Range::Among { values } => categorical.push(json!({"Name": name, "Values": values})),
                Range::Between { min, max, scaling } => {
                    let range = json!({
                        "Name": name,
                        "MinValue": min.to_string(),
                        "MaxValue": max.to_string(),
                        "ScalingType": scaling_of(*scaling),
                    });
                    match kind(name) {
                        Some(Kind::Integer) => integer.push(range),
                        _ => continuous.push(range),
                    }
                }
            }
        }
        let mut config = json!({
            "Strategy": self.strategy.as_str(),
            "ResourceLimits": limits,
            "HyperParameterTuningJobObjective": {"Type": "Maximize", "MetricName": OBJECTIVE},
            "ParameterRanges": {
                "IntegerParameterRanges": integer,
                "ContinuousParameterRanges": continuous,
                "CategoricalParameterRanges": categorical,
            },
            "TrainingJobEarlyStoppingType": if self.early_stopping { "Auto" } else { "Off" },
        });
        if let Some(seed) = self.seed {
            config["RandomSeed"] = seed.into();
        }
        let mut parameters = json!({
            "HyperParameterTuningJobName": self.name.as_str(),
            "HyperParameterTuningJobConfig": config,
            "TrainingJobDefinition": training,
        });
        if let Some(tags) = tags {
            parameters["Tags"] = tags;
        }
        parameters
    }

    /// The hyperparameters that are not tuned.
    fn fixed(&self) -> BTreeMap<String, String> {
        let mut fixed = self.training.hyperparameters().clone();
        fixed.retain(|name, _| !self.space.tunes(name));
        fixed
    }

    fn ranges(&self) -> types::ParameterRanges {
        let mut ranges = types::ParameterRanges::builder();
        for (name, range) in self.space.ranges() {
            ranges = match range {
                Range::Among { values } => ranges.categorical_parameter_ranges(
                    types::CategoricalParameterRange::builder()
                        .name(name)
                        .set_values(Some(values.clone()))
                        .build(),
                ),
                Range::Between { min, max, scaling } => {
                    let scaling = types::HyperParameterScalingType::from(scaling_of(*scaling));
                    match kind(name) {
                        Some(Kind::Integer) => ranges.integer_parameter_ranges(
                            types::IntegerParameterRange::builder()
                                .name(name)
                                .min_value(min.to_string())
                                .max_value(max.to_string())
                                .scaling_type(scaling)
                                .build(),
                        ),
                        _ => ranges.continuous_parameter_ranges(
                            types::ContinuousParameterRange::builder()
                                .name(name)
                                .min_value(min.to_string())
                                .max_value(max.to_string())
                                .scaling_type(scaling)
                                .build(),
                        ),
                    }
                }
            };
        }
        ranges.build()
    }
}

/// The API's word.
fn scaling_of(scaling: Scaling) -> &'static str {
    match scaling {
        Scaling::Auto => "Auto",
        Scaling::Linear => "Linear",
        Scaling::Logarithmic => "Logarithmic",
        Scaling::ReverseLogarithmic => "ReverseLogarithmic",
    }
}

/// How a tuning job is doing.
#[derive(Debug, Clone, PartialEq)]
pub struct TuningStatus {
    /// What it has come to.
    pub state: TuningState,
    /// Training jobs that are done.
    pub completed: u32,
    /// Training jobs under way.
    pub in_progress: u32,
    /// Training jobs that failed.
    pub failed: u32,
    /// Training jobs that were stopped, early or by someone.
    pub stopped: u32,
    /// The best so far.
    pub best: Option<Trial>,
}

/// What a tuning job has come to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TuningState {
    /// It is under way.
    InProgress,
    /// It has been asked to stop.
    Stopping,
    /// It is done.
    Completed,
    /// It failed.
    Failed {
        /// The service's reason.
        reason: String,
    },
    /// It was stopped.
    Stopped,
}

/// A training job of a tuning job.
#[derive(Debug, Clone, PartialEq)]
pub struct Trial {
    /// The training job, whose model [`Client::describe_training`] tells.
    pub job: TrainingJobName,
    /// The service's word: `InProgress`, `Completed`, `Stopped`, `Failed`, `Stopping`.
    pub status: String,
    /// What was chosen for it.
    pub hyperparameters: BTreeMap<String, String>,
    /// Its `validation:discriminator_auc`, once there is one.
    pub objective: Option<f32>,
}

impl fmt::Display for TuningStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.state {
            TuningState::InProgress => "InProgress",
            TuningState::Stopping => "Stopping",
            TuningState::Completed => "Completed",
            TuningState::Failed { .. } => "Failed",
            TuningState::Stopped => "Stopped",
        })?;
        write!(
            f,
            " ({} completed, {} under way)",
            self.completed, self.in_progress
        )
    }
}

impl TuningStatus {
    fn from_answer(answer: &DescribeHyperParameterTuningJobOutput) -> Result<Self, Error> {
        const OPERATION: &str = "DescribeHyperParameterTuningJob";
        let state = match answer.hyper_parameter_tuning_job_status().map(|s| s.as_str()) {
            Some("InProgress") => TuningState::InProgress,
            Some("Stopping" | "Deleting") => TuningState::Stopping,
            Some("Completed") => TuningState::Completed,
            Some("Stopped") => TuningState::Stopped,
            Some("Failed" | "DeleteFailed") => TuningState::Failed {
                reason: answer
                    .failure_reason()
                    .unwrap_or("the service gives no reason")
                    .to_owned(),
            },
            status => {
                return Err(Error::UnexpectedAnswer {
                    operation: OPERATION,
                    problem: format!("status `{}`", status.unwrap_or_default()),
                });
            }
        };
        let counters = answer.training_job_status_counters();
        let count = |of: fn(&types::TrainingJobStatusCounters) -> Option<i32>| {
            counters
                .and_then(of)
                .and_then(|count| u32::try_from(count).ok())
                .unwrap_or(0)
        };
        let best = answer
            .best_training_job()
            .map(|best| Trial::from_summary(OPERATION, best));
        Ok(Self {
            state,
            completed: count(types::TrainingJobStatusCounters::completed),
            in_progress: count(types::TrainingJobStatusCounters::in_progress),
            failed: count(types::TrainingJobStatusCounters::non_retryable_error)
                + count(types::TrainingJobStatusCounters::retryable_error),
            stopped: count(types::TrainingJobStatusCounters::stopped),
            best: best.transpose()?,
        })
    }
}

impl Trial {
    fn from_summary(
        operation: &'static str,
        summary: &types::HyperParameterTrainingJobSummary,
    ) -> Result<Self, Error> {
        let name = summary.training_job_name().unwrap_or_default();
        Ok(Self {
            job: name.parse().map_err(|_| Error::UnexpectedAnswer {
                operation,
                problem: format!("training job `{name}`"),
            })?,
            status: summary
                .training_job_status()
                .map_or("", |s| s.as_str())
                .to_owned(),
            hyperparameters: summary
                .tuned_hyper_parameters()
                .into_iter()
                .flatten()
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
            objective: summary
                .final_hyper_parameter_tuning_job_objective_metric()
                .and_then(|metric| metric.value()),
        })
    }
}

impl Client {
    /// Starts a tuning job and gives its ARN.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidTuningJob`] when it does not fit together, before anything is sent; [`Error::AlreadyExists`] when a job of
    /// that name was ever started; [`Error::LimitExceeded`] when the account may not use that many instances of the type.
    pub async fn start_tuning(&self, job: &TuningJob) -> Result<String, Error> {
        let problems = job.problems();
        if !problems.is_empty() {
            return Err(Error::InvalidTuningJob {
                job: job.name.to_string(),
                problems,
            });
        }
        let grid = job.strategy == TuningStrategy::Grid;
        let limits = types::ResourceLimits::builder()
            .set_max_number_of_training_jobs((!grid).then(|| as_i32(job.max_jobs.get())))
            .max_parallel_training_jobs(as_i32(job.parallel.get()))
            .build();
        let objective = types::HyperParameterTuningJobObjective::builder()
            .r#type(types::HyperParameterTuningJobObjectiveType::Maximize)
            .metric_name(OBJECTIVE)
            .build();
        let early = match job.early_stopping {
            true => types::TrainingJobEarlyStoppingType::Auto,
            false => types::TrainingJobEarlyStoppingType::Off,
        };
        let config = types::HyperParameterTuningJobConfig::builder()
            .strategy(job.strategy.as_str().into())
            .resource_limits(limits)
            .hyper_parameter_tuning_job_objective(objective)
            .parameter_ranges(job.ranges())
            .training_job_early_stopping_type(early)
            .set_random_seed(job.seed.map(as_i32))
            .build();
        let training = &job.training;
        let definition = types::HyperParameterTrainingJobDefinition::builder()
            .set_static_hyper_parameters(Some(job.fixed().into_iter().collect()))
            .algorithm_specification(
                types::HyperParameterAlgorithmSpecification::builder()
                    .training_image(training.image())
                    .training_input_mode(types::TrainingInputMode::File)
                    .build(),
            )
            .role_arn(training.role().as_str())
            .set_input_data_config(Some(training.sdk_channels()))
            .output_data_config(training.sdk_output())
            .resource_config(training.sdk_resources())
            .stopping_condition(training.sdk_stopping())
            .set_enable_managed_spot_training(training.is_spot().then_some(true))
            .set_vpc_config(training.sdk_network())
            .set_checkpoint_config(training.sdk_checkpoints())
            .set_enable_network_isolation(training.is_isolated().then_some(true))
            .set_enable_inter_container_traffic_encryption(training.is_traffic_encrypted().then_some(true))
            .build();
        let answer = self
            .sagemaker
            .create_hyper_parameter_tuning_job()
            .hyper_parameter_tuning_job_name(job.name.as_str())
            .hyper_parameter_tuning_job_config(config)
            .training_job_definition(definition)
            .set_tags(training.sdk_tags())
            .send()
            .await
            .map_err(|error| Error::from_sdk("CreateHyperParameterTuningJob", error))?;
        Ok(answer.hyper_parameter_tuning_job_arn.unwrap_or_default())
    }

    /// How a tuning job is doing.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] when there is none of that name.
    pub async fn describe_tuning(&self, job: &TuningJobName) -> Result<TuningStatus, Error> {
        let answer = self
            .sagemaker
            .describe_hyper_parameter_tuning_job()
            .hyper_parameter_tuning_job_name(job.as_str())
            .send()
            .await;
        let answer = answer.map_err(|error| Error::from_sdk("DescribeHyperParameterTuningJob", error))?;
        TuningStatus::from_answer(&answer)
    }

    /// All training jobs of a tuning job, best first.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] when there is none of that name.
    pub async fn trials(&self, job: &TuningJobName) -> Result<Vec<Trial>, Error> {
        const OPERATION: &str = "ListTrainingJobsForHyperParameterTuningJob";
        let mut pages = self
            .sagemaker
            .list_training_jobs_for_hyper_parameter_tuning_job()
            .hyper_parameter_tuning_job_name(job.as_str())
            .max_results(100)
            .sort_by(types::TrainingJobSortByOptions::FinalObjectiveMetricValue)
            .sort_order(types::SortOrder::Descending)
            .into_paginator()
            .send();
        let mut trials = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| Error::from_sdk(OPERATION, error))?;
            for summary in page.training_job_summaries() {
                trials.push(Trial::from_summary(OPERATION, summary)?);
            }
        }
        Ok(trials)
    }

    /// Asks a tuning job, and the training jobs that it has under way, to stop.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] when there is none of that name; [`Error::Invalid`] when it is over already.
    pub async fn stop_tuning(&self, job: &TuningJobName) -> Result<(), Error> {
        let answer = self
            .sagemaker
            .stop_hyper_parameter_tuning_job()
            .hyper_parameter_tuning_job_name(job.as_str())
            .send()
            .await;
        answer
            .map(drop)
            .map_err(|error| Error::from_sdk("StopHyperParameterTuningJob", error))
    }

    /// Waits until a tuning job is done and gives its best training job; `observer` sees the status at every look.
    ///
    /// # Errors
    ///
    /// [`Error::JobFailed`] when it fails or finds nothing, [`Error::JobStopped`] when it is stopped, [`Error::Timeout`] when it
    /// does not end in time. Errors that pass, such as throttling, are borne for a while.
    pub async fn wait_for_tuning(
        &self,
        job: &TuningJobName,
        deadline: Deadline,
        observer: &mut (dyn FnMut(&TuningStatus) + Send),
    ) -> Result<Trial, Error> {
        let what = format!("tuning job `{job}`");
        let look = || self.describe_tuning(job);
        let judge = |status: TuningStatus| {
            observer(&status);
            let last = status.to_string();
            let what = what.clone();
            match (status.state, status.best) {
                (TuningState::Completed, Some(best)) => Ok(Seen::Done(best)),
                (TuningState::Completed, None) => {
                    let reason = "no training job has the objective".to_owned();
                    Err(Error::JobFailed { what, reason })
                }
                (TuningState::Failed { reason }, _) => Err(Error::JobFailed { what, reason }),
                (TuningState::Stopped, _) => Err(Error::JobStopped { what }),
                (TuningState::InProgress | TuningState::Stopping, _) => Ok(Seen::Pending(last, None)),
            }
        };
        deadline.until(what.clone(), look, judge).await
    }
}
