//! Training jobs: what to train, and how it goes.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use aws_sdk_sagemaker::operation::describe_training_job::DescribeTrainingJobOutput;
use aws_sdk_sagemaker::types;
use ipinsights::Hyperparameters;
use serde_json::{Value, json};

use crate::names::{InstanceType, KmsKey, RoleArn, S3Uri, SecurityGroupId, SubnetId, TrainingJobName};
use crate::wait::Seen;
use crate::{Client, Deadline, Error, tags};

/// The longest that a training job may run: 28 days.
const MAX_RUNTIME: Duration = Duration::from_secs(28 * 24 * 3600);

/// The longest that a spot job of an algorithm without checkpoints, as this one, may wait and run: an hour.
const MAX_SPOT_WAIT: Duration = Duration::from_secs(3600);

/// A training job that is complete and whose members fit together; comes from [`TrainingJobDraft::check`].
///
/// ```
/// use std::time::Duration;
///
/// use ipinsights::Hyperparameters;
/// use ipinsights_client::{TrainingJob, image_uri};
///
/// let job = TrainingJob::draft("nightly-2026-11-20".parse()?)
///     .image(image_uri("us-east-1")?)
///     .role("arn:aws:iam::123456789012:role/SageMaker".parse()?)
///     .hyperparameters(Hyperparameters::draft(20_000).vector_dim(128).check()?)
///     .train("s3://traffic/train.csv".parse()?)
///     .output("s3://traffic/models".parse()?)
///     .spot(Duration::from_secs(360))
///     .max_runtime(Duration::from_secs(300))
///     .check()?;
/// assert_eq!(job.to_parameters()["StoppingCondition"]["MaxWaitTimeInSeconds"], 360);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct TrainingJob {
    name: TrainingJobName,
    image: String,
    role: RoleArn,
    hyperparameters: BTreeMap<String, String>,
    train: S3Uri,
    validation: Option<S3Uri>,
    output: S3Uri,
    instance_type: InstanceType,
    instance_count: NonZeroU32,
    volume_gb: NonZeroU32,
    max_runtime_seconds: u32,
    spot_wait_seconds: Option<u32>,
    surroundings: Surroundings,
    tags: BTreeMap<String, String>,
}

/// What a job runs in: networks, keys, and what it keeps for another attempt.
#[derive(Debug, Clone, Default, PartialEq)]
struct Surroundings {
    network: Option<Network>,
    output_key: Option<KmsKey>,
    volume_key: Option<KmsKey>,
    checkpoints: Option<S3Uri>,
    is_isolated: bool,
    is_traffic_encrypted: bool,
}

/// The part of a VPC that a job runs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// 1 to 16.
    pub subnets: Vec<SubnetId>,
    /// 1 to 5.
    pub security_groups: Vec<SecurityGroupId>,
}

/// A training job as somebody wrote it down: setters cannot fail, and nothing is checked before
/// [`check`](TrainingJobDraft::check).
#[derive(Debug, Clone)]
pub struct TrainingJobDraft {
    name: TrainingJobName,
    image: Option<String>,
    role: Option<RoleArn>,
    hyperparameters: Option<Hyperparameters>,
    train: Option<S3Uri>,
    validation: Option<S3Uri>,
    output: Option<S3Uri>,
    instance_type: InstanceType,
    instance_count: u32,
    volume_gb: u32,
    max_runtime: Duration,
    spot_wait: Option<Duration>,
    surroundings: Surroundings,
    tags: BTreeMap<String, String>,
}

impl TrainingJob {
    /// A draft that lacks an image, a role, hyperparameters, training data and a place for the model.
    pub fn draft(name: TrainingJobName) -> TrainingJobDraft {
        TrainingJobDraft {
            name,
            image: None,
            role: None,
            hyperparameters: None,
            train: None,
            validation: None,
            output: None,
            instance_type: InstanceType::m5_large(),
            instance_count: 1,
            volume_gb: 10,
            max_runtime: Duration::from_secs(24 * 3600),
            spot_wait: None,
            surroundings: Surroundings::default(),
            tags: BTreeMap::new(),
        }
    }

    /// The job's name.
    pub fn name(&self) -> &TrainingJobName {
        &self.name
    }

    /// The members of `CreateTrainingJob` as the API names them: what [`Client::start_training`] sends, for a state
    /// machine or the command line.
    pub fn to_parameters(&self) -> Value {
        let channel = |(name, uri): (&str, &S3Uri)| {
            json!({
                "ChannelName": name,
                "ContentType": "text/csv",
                "DataSource": {"S3DataSource": {
                    "S3DataType": "S3Prefix",
                    "S3Uri": uri.as_str(),
                    "S3DataDistributionType": "FullyReplicated",
                }},
            })
        };
        let mut stopping = json!({"MaxRuntimeInSeconds": self.max_runtime_seconds});
        if let Some(wait) = self.spot_wait_seconds {
            stopping["MaxWaitTimeInSeconds"] = wait.into();
        }
        let mut parameters = json!({
            "TrainingJobName": self.name.as_str(),
            "RoleArn": self.role.as_str(),
            "AlgorithmSpecification": {"TrainingImage": self.image, "TrainingInputMode": "File"},
            "HyperParameters": self.hyperparameters,
            "InputDataConfig": self.channels().map(channel).collect::<Vec<_>>(),
            "OutputDataConfig": {"S3OutputPath": self.output.as_str()},
            "ResourceConfig": {
                "InstanceType": self.instance_type.as_str(),
                "InstanceCount": self.instance_count,
                "VolumeSizeInGB": self.volume_gb,
            },
            "StoppingCondition": stopping,
        });
        if self.spot_wait_seconds.is_some() {
            parameters["EnableManagedSpotTraining"] = true.into();
        }
        let Surroundings {
            network,
            output_key,
            volume_key,
            checkpoints,
            is_isolated,
            is_traffic_encrypted,
        } = &self.surroundings;
        if let Some(Network {
            subnets,
            security_groups,
        }) = network
        {
            let subnets: Vec<_> = subnets.iter().map(SubnetId::as_str).collect();
            let groups: Vec<_> = security_groups.iter().map(SecurityGroupId::as_str).collect();
            parameters["VpcConfig"] = json!({"SecurityGroupIds": groups, "Subnets": subnets});
        }
        if let Some(key) = output_key {
            parameters["OutputDataConfig"]["KmsKeyId"] = key.as_str().into();
        }
        if let Some(key) = volume_key {
            parameters["ResourceConfig"]["VolumeKmsKeyId"] = key.as_str().into();
        }
        if let Some(uri) = checkpoints {
            parameters["CheckpointConfig"] = json!({"S3Uri": uri.as_str()});
        }
        for (member, is_set) in [
            ("EnableNetworkIsolation", *is_isolated),
            ("EnableInterContainerTrafficEncryption", *is_traffic_encrypted),
        ] {
            if is_set {
                parameters[member] = true.into();
            }
        }
        tags::add_to(&mut parameters, &self.tags);
        parameters
    }

    pub(crate) fn has_validation(&self) -> bool {
        self.validation.is_some()
    }

    pub(crate) fn hyperparameters(&self) -> &BTreeMap<String, String> {
        &self.hyperparameters
    }

    pub(crate) fn image(&self) -> &str {
        &self.image
    }

    pub(crate) fn role(&self) -> &RoleArn {
        &self.role
    }

    pub(crate) fn is_spot(&self) -> bool {
        self.spot_wait_seconds.is_some()
    }

    pub(crate) fn sdk_tags(&self) -> Option<Vec<types::Tag>> {
        tags::to_sdk(&self.tags)
    }

    pub(crate) fn sdk_channels(&self) -> Vec<types::Channel> {
        let channel = |(name, uri): (&str, &S3Uri)| {
            let source = types::S3DataSource::builder()
                .s3_data_type(types::S3DataType::S3Prefix)
                .s3_uri(uri.as_str())
                .s3_data_distribution_type(types::S3DataDistribution::FullyReplicated)
                .build();
            types::Channel::builder()
                .channel_name(name)
                .content_type("text/csv")
                .data_source(types::DataSource::builder().s3_data_source(source).build())
                .build()
        };
        self.channels().map(channel).collect()
    }

    pub(crate) fn sdk_output(&self) -> types::OutputDataConfig {
        types::OutputDataConfig::builder()
            .s3_output_path(self.output.as_str())
            .set_kms_key_id(self.surroundings.output_key.clone().map(String::from))
            .build()
    }

    pub(crate) fn sdk_network(&self) -> Option<types::VpcConfig> {
        let network = self.surroundings.network.as_ref()?;
        let groups = network.security_groups.iter().cloned().map(String::from);
        let subnets = network.subnets.iter().cloned().map(String::from);
        Some(
            types::VpcConfig::builder()
                .set_security_group_ids(Some(groups.collect()))
                .set_subnets(Some(subnets.collect()))
                .build(),
        )
    }

    pub(crate) fn sdk_checkpoints(&self) -> Option<types::CheckpointConfig> {
        let uri = self.surroundings.checkpoints.as_ref()?;
        Some(types::CheckpointConfig::builder().s3_uri(uri.as_str()).build())
    }

    pub(crate) fn is_isolated(&self) -> bool {
        self.surroundings.is_isolated
    }

    pub(crate) fn is_traffic_encrypted(&self) -> bool {
        self.surroundings.is_traffic_encrypted
    }

    pub(crate) fn sdk_resources(&self) -> types::ResourceConfig {
        types::ResourceConfig::builder()
            .instance_type(self.instance_type.as_str().into())
            .instance_count(as_i32(self.instance_count.get()))
            .volume_size_in_gb(as_i32(self.volume_gb.get()))
            .set_volume_kms_key_id(self.surroundings.volume_key.clone().map(String::from))
            .build()
    }

    pub(crate) fn sdk_stopping(&self) -> types::StoppingCondition {
        types::StoppingCondition::builder()
            .max_runtime_in_seconds(as_i32(self.max_runtime_seconds))
            .set_max_wait_time_in_seconds(self.spot_wait_seconds.map(as_i32))
            .build()
    }

    fn channels(&self) -> impl Iterator<Item = (&'static str, &S3Uri)> {
        let validation = self.validation.iter().map(|uri| ("validation", uri));
        std::iter::once(("train", &self.train)).chain(validation)
    }
}

impl TrainingJobDraft {
    /// The algorithm's image, from [`image_uri`](crate::image_uri). Must be set.
    #[must_use]
    pub fn image(self, uri: impl Into<String>) -> Self {
        Self {
            image: Some(uri.into()),
            ..self
        }
    }

    /// The role with which the job reads and writes S3. Must be set.
    #[must_use]
    pub fn role(self, role: RoleArn) -> Self {
        Self {
            role: Some(role),
            ..self
        }
    }

    /// How to train. Must be set.
    #[must_use]
    pub fn hyperparameters(self, hyperparameters: Hyperparameters) -> Self {
        Self {
            hyperparameters: Some(hyperparameters),
            ..self
        }
    }

    /// The training data: a CSV object, or a prefix of several. Must be set.
    #[must_use]
    pub fn train(self, data: S3Uri) -> Self {
        Self {
            train: Some(data),
            ..self
        }
    }

    /// Held-out data, for which the job reports `validation:discriminator_auc`. None by default.
    #[must_use]
    pub fn validation(self, data: impl Into<Option<S3Uri>>) -> Self {
        Self {
            validation: data.into(),
            ..self
        }
    }

    /// Where the model goes: to `<output>/<job>/output/model.tar.gz`. Must be set.
    #[must_use]
    pub fn output(self, prefix: S3Uri) -> Self {
        Self {
            output: Some(prefix),
            ..self
        }
    }

    /// What to train on; default `ml.m5.large`, which is enough up to about a million entities;
    /// [`InstanceType::advised`] is what the service's documentation advises.
    #[must_use]
    pub fn instance_type(self, instance_type: InstanceType) -> Self {
        Self {
            instance_type,
            ..self
        }
    }

    /// How many of them, at least 1; default 1.
    #[must_use]
    pub fn instance_count(self, count: u32) -> Self {
        Self {
            instance_count: count,
            ..self
        }
    }

    /// Each instance's disk in GB, at least 1; default 10. It holds the data and the model.
    #[must_use]
    pub fn volume_gb(self, gb: u32) -> Self {
        Self {
            volume_gb: gb,
            ..self
        }
    }

    /// After how long the service stops the job: a second to 28 days, default a day; fractions of a second are cut off.
    #[must_use]
    pub fn max_runtime(self, duration: Duration) -> Self {
        Self {
            max_runtime: duration,
            ..self
        }
    }

    /// Trains on spare capacity for less money, waiting and running for at most `max_wait` in all: no less than
    /// [`max_runtime`](Self::max_runtime), and no more than an hour where the job keeps no
    /// [`checkpoints`](Self::checkpoints), as the service's own image does not.
    #[must_use]
    pub fn spot(self, max_wait: Duration) -> Self {
        Self {
            spot_wait: Some(max_wait),
            ..self
        }
    }

    /// Runs the job in a VPC, which has to have a way to S3. None by default.
    #[must_use]
    pub fn network(mut self, network: impl Into<Option<Network>>) -> Self {
        self.surroundings.network = network.into();
        self
    }

    /// The key that the model is encrypted with; by default S3's own.
    #[must_use]
    pub fn output_key(mut self, key: impl Into<Option<KmsKey>>) -> Self {
        self.surroundings.output_key = key.into();
        self
    }

    /// The key that the instances' disks are encrypted with; by default one of the service. Types whose disks are part of the
    /// machine take none.
    #[must_use]
    pub fn volume_key(mut self, key: impl Into<Option<KmsKey>>) -> Self {
        self.surroundings.volume_key = key.into();
        self
    }

    /// Where the job keeps its checkpoints, to go on from after an interruption, and from those of an earlier job. None by
    /// default. An image has to know of them, as this project's does.
    #[must_use]
    pub fn checkpoints(mut self, prefix: impl Into<Option<S3Uri>>) -> Self {
        self.surroundings.checkpoints = prefix.into();
        self
    }

    /// Whether the container is cut off from every network; the service itself moves the data. Default false.
    #[must_use]
    pub fn isolated(mut self, isolated: bool) -> Self {
        self.surroundings.is_isolated = isolated;
        self
    }

    /// Whether what goes from instance to instance is encrypted, which takes longer. Default false.
    #[must_use]
    pub fn encrypted_traffic(mut self, encrypted: bool) -> Self {
        self.surroundings.is_traffic_encrypted = encrypted;
        self
    }

    /// Adds a tag: a key of 1 to 128 characters and a value of at most 256; at most 50 of them.
    #[must_use]
    pub fn tag(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.tags.insert(key.into(), value.into());
        self
    }

    /// The job, if it is complete and its members fit together.
    ///
    /// # Errors
    ///
    /// All that is missing or out of range.
    pub fn check(self) -> Result<TrainingJob, InvalidTrainingJob> {
        let mut problems = Vec::new();
        let mut require = |is_met: bool, problem: &str| {
            if !is_met {
                problems.push(problem.to_owned());
            }
        };
        require(self.role.is_some(), "a role must be set");
        require(self.hyperparameters.is_some(), "hyperparameters must be set");
        require(self.train.is_some(), "training data must be set");
        require(self.output.is_some(), "an output path must be set");
        match &self.image {
            None => require(false, "an image must be set"),
            Some(image) => require(
                (1..=255).contains(&image.len()),
                "an image has 1 to 255 characters",
            ),
        }
        require(self.instance_count > 0, "the instance count must be at least 1");
        require(self.volume_gb > 0, "the volume must have at least 1 GB");
        let runtime = Duration::from_secs(self.max_runtime.as_secs());
        require(
            !runtime.is_zero() && runtime <= MAX_RUNTIME,
            "the longest running time must lie between 1 second and 28 days",
        );
        if let Some(wait) = self.spot_wait {
            require(
                wait >= runtime,
                "the longest wait for spot capacity includes the running time and cannot be shorter",
            );
            require(
                wait <= MAX_SPOT_WAIT || self.surroundings.checkpoints.is_some(),
                "the longest wait for spot capacity is an hour, since the algorithm keeps no checkpoints",
            );
        }
        if let Some(network) = &self.surroundings.network {
            require(
                (1..=16).contains(&network.subnets.len()),
                "a network must have 1 to 16 subnets",
            );
            require(
                (1..=5).contains(&network.security_groups.len()),
                "a network must have 1 to 5 security groups",
            );
        }
        problems.extend(tags::problems(&self.tags));

        let seconds = |duration: Duration| u32::try_from(duration.as_secs()).unwrap_or(u32::MAX);
        let counts = (
            NonZeroU32::new(self.instance_count),
            NonZeroU32::new(self.volume_gb),
        );
        match (
            self.image,
            self.role,
            self.hyperparameters,
            self.train,
            self.output,
            counts,
        ) {
            (
                Some(image),
                Some(role),
                Some(hyperparameters),
                Some(train),
                Some(output),
                (Some(instance_count), Some(volume_gb)),
            ) if problems.is_empty() => Ok(TrainingJob {
                name: self.name,
                image,
                role,
                hyperparameters: hyperparameters.to_map(),
                train,
                validation: self.validation,
                output,
                instance_type: self.instance_type,
                instance_count,
                volume_gb,
                max_runtime_seconds: seconds(runtime),
                spot_wait_seconds: self.spot_wait.map(seconds),
                surroundings: self.surroundings,
                tags: self.tags,
            }),
            _ => Err(InvalidTrainingJob {
                job: self.name,
                problems,
            }),
        }
    }
}

/// All that is wrong with a draft.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("training job `{job}`: {}", problems.join("; "))]
pub struct InvalidTrainingJob {
    /// The job's name.
    pub job: TrainingJobName,
    /// One text for each problem; never empty.
    pub problems: Vec<String>,
}

/// How a training job is doing.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainingStatus {
    /// What it has come to.
    pub state: TrainingState,
    /// The service's detail: `Starting`, `Downloading`, `Training`, `Uploading`, `Completed`, `MaxRuntimeExceeded`, …
    pub secondary: String,
    /// The service's words for the last step, such as `Downloading input data`.
    pub message: Option<String>,
    /// How long it trained, in seconds, once that is known.
    pub training_seconds: Option<u32>,
    /// For how long that is charged, in seconds, once that is known.
    pub billable_seconds: Option<u32>,
}

/// What a training job has come to.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum TrainingState {
    /// It is under way; see [`TrainingStatus::secondary`].
    InProgress,
    /// It has been asked to stop.
    Stopping,
    /// It is done, and there is a model.
    Completed(TrainedModel),
    /// It failed.
    Failed {
        /// The service's reason.
        reason: String,
    },
    /// It was stopped, by someone or by its time limit; [`TrainingStatus::secondary`] says which.
    Stopped,
}

/// What a completed job leaves.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainedModel {
    /// The archive, for [`Model::artifacts`](crate::Model).
    pub artifacts: S3Uri,
    /// The last value of each metric by name, such as `validation:discriminator_auc`.
    pub metrics: BTreeMap<String, f32>,
}

impl fmt::Display for TrainingStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match &self.state {
            TrainingState::InProgress => "InProgress",
            TrainingState::Stopping => "Stopping",
            TrainingState::Completed(_) => "Completed",
            TrainingState::Failed { .. } => "Failed",
            TrainingState::Stopped => "Stopped",
        };
        f.write_str(word)?;
        if self.secondary != word && !self.secondary.is_empty() {
            write!(f, " ({})", self.secondary)?;
        }
        Ok(())
    }
}

impl TrainingStatus {
    fn from_answer(answer: &DescribeTrainingJobOutput) -> Result<Self, Error> {
        let odd = |problem: String| Error::UnexpectedAnswer {
            operation: "DescribeTrainingJob",
            problem,
        };
        let state = match answer.training_job_status().map(|s| s.as_str()) {
            Some("InProgress") => TrainingState::InProgress,
            Some("Stopping" | "Deleting") => TrainingState::Stopping,
            Some("Stopped") => TrainingState::Stopped,
            Some("Failed") => TrainingState::Failed {
                reason: answer
                    .failure_reason()
                    .unwrap_or("the service gives no reason")
                    .to_owned(),
            },
            Some("Completed") => {
                let artifacts = answer
                    .model_artifacts()
                    .and_then(|a| a.s3_model_artifacts())
                    .unwrap_or_default();
                let metrics = answer.final_metric_data_list().iter();
                TrainingState::Completed(TrainedModel {
                    artifacts: artifacts
                        .parse()
                        .map_err(|_| odd(format!("model artifacts `{artifacts}`")))?,
                    metrics: metrics
                        .filter_map(|m| Some((m.metric_name()?.to_owned(), m.value()?)))
                        .collect(),
                })
            }
            status => return Err(odd(format!("status `{}`", status.unwrap_or_default()))),
        };
        let seconds = |seconds: Option<i32>| seconds.and_then(|s| u32::try_from(s).ok());
        Ok(Self {
            state,
            secondary: answer.secondary_status().map_or("", |s| s.as_str()).to_owned(),
            message: answer
                .secondary_status_transitions()
                .last()
                .and_then(|transition| transition.status_message())
                .map(str::to_owned),
            training_seconds: seconds(answer.training_time_in_seconds()),
            billable_seconds: seconds(answer.billable_time_in_seconds()),
        })
    }
}

impl Client {
    /// Starts a training job and gives its ARN.
    ///
    /// # Errors
    ///
    /// [`Error::AlreadyExists`] when a job of that name was ever started; [`Error::LimitExceeded`] when the account may not
    /// use that many instances of the type; [`Error::Invalid`] when there is no data under the URI.
    pub async fn start_training(&self, job: &TrainingJob) -> Result<String, Error> {
        let algorithm = types::AlgorithmSpecification::builder()
            .training_image(&job.image)
            .training_input_mode(types::TrainingInputMode::File)
            .build();
        let answer = self
            .sagemaker
            .create_training_job()
            .training_job_name(job.name.as_str())
            .role_arn(job.role.as_str())
            .algorithm_specification(algorithm)
            .set_hyper_parameters(Some(job.hyperparameters.clone().into_iter().collect()))
            .set_input_data_config(Some(job.sdk_channels()))
            .output_data_config(job.sdk_output())
            .resource_config(job.sdk_resources())
            .stopping_condition(job.sdk_stopping())
            .set_enable_managed_spot_training(job.is_spot().then_some(true))
            .set_vpc_config(job.sdk_network())
            .set_checkpoint_config(job.sdk_checkpoints())
            .set_enable_network_isolation(job.is_isolated().then_some(true))
            .set_enable_inter_container_traffic_encryption(job.is_traffic_encrypted().then_some(true))
            .set_tags(job.sdk_tags())
            .send()
            .await
            .map_err(|error| Error::from_sdk("CreateTrainingJob", error))?;
        Ok(answer.training_job_arn.unwrap_or_default())
    }

    /// How a training job is doing.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] when there is none of that name.
    pub async fn describe_training(&self, job: &TrainingJobName) -> Result<TrainingStatus, Error> {
        let answer = self
            .sagemaker
            .describe_training_job()
            .training_job_name(job.as_str())
            .send()
            .await;
        let answer = answer.map_err(|error| Error::from_sdk("DescribeTrainingJob", error))?;
        TrainingStatus::from_answer(&answer)
    }

    /// Asks a training job to stop; it does within two minutes.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] when there is none of that name; [`Error::Invalid`] when it is over already.
    pub async fn stop_training(&self, job: &TrainingJobName) -> Result<(), Error> {
        let answer = self
            .sagemaker
            .stop_training_job()
            .training_job_name(job.as_str())
            .send()
            .await;
        answer
            .map(drop)
            .map_err(|error| Error::from_sdk("StopTrainingJob", error))
    }

    /// Waits until a training job is done and gives its model; `observer` sees the status at every look.
    ///
    /// # Errors
    ///
    /// [`Error::TrainingFailed`] and [`Error::TrainingStopped`] when it ends otherwise, [`Error::Timeout`] when it does not
    /// end in time. Errors that pass, such as throttling, are borne for a while.
    pub async fn wait_for_training(
        &self,
        job: &TrainingJobName,
        deadline: Deadline,
        observer: &mut (dyn FnMut(&TrainingStatus) + Send),
    ) -> Result<TrainedModel, Error> {
        let look = || self.describe_training(job);
        let judge = |status: TrainingStatus| {
            observer(&status);
            let last = status.to_string();
            match status.state {
                TrainingState::Completed(model) => Ok(Seen::Done(model)),
                TrainingState::Failed { reason } => Err(Error::TrainingFailed {
                    job: job.to_string(),
                    reason,
                }),
                TrainingState::Stopped => Err(Error::TrainingStopped {
                    job: job.to_string(),
                    secondary_status: status.secondary,
                }),
                TrainingState::InProgress | TrainingState::Stopping => {
                    Ok(Seen::Pending(last, status.message))
                }
            }
        };
        deadline.until(format!("training job `{job}`"), look, judge).await
    }
}

/// Counts of the API are signed.
pub(crate) fn as_i32(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}
