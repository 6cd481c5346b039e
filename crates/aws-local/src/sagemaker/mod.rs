//! SageMaker: training jobs that train, models, endpoint configurations and endpoints that answer.
//!
//! Resources are records in [`Collection`]s; what an operation does is a plain function over them. Long work (a
//! training, the loading of an endpoint's models) runs beside, and reports by changing the record.

mod asynchronous;
mod batch;
mod capture;
mod configs;
mod deployment;
mod endpoints;
mod list;
mod loaded;
mod models;
mod pace;
mod rows;
mod tags;
mod training;
mod transform;
mod tuning;
mod work;

use std::{
    collections::{BTreeMap, HashMap},
    io,
    path::PathBuf,
    sync::{Arc, Mutex, RwLock},
    thread,
    time::Duration,
};

use serde_json::{Map, Value, json};
use tokio::runtime::Handle;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub(crate) use asynchronous::Asked;
pub(crate) use capture::Exchange;
pub(crate) use endpoints::Deployment;
pub(crate) use pace::Pace;

use crate::{
    ACCOUNT,
    api::{ApiError, ApiResult},
    logs::{Logs, endpoint_group},
    metrics::METRICS,
    partition,
    s3::ObjectStore,
    server::TrainingObserver,
    store::{Collection, Shelf},
};

/// The service.
pub(crate) struct SageMaker {
    region: String,
    s3: Arc<ObjectStore>,
    logs: Arc<Logs>,
    training_jobs: Collection<training::TrainingJob>,
    transform_jobs: Collection<transform::TransformJob>,
    tuning_jobs: Collection<tuning::TuningJob>,
    models: Collection<models::Model>,
    configs: Collection<configs::EndpointConfig>,
    endpoints: Collection<endpoints::Endpoint>,
    /// By resource name (ARN).
    tags: Collection<BTreeMap<String, String>>,
    /// What is needed to stop a job that runs: of trainings, transforms and tunings.
    running: Mutex<HashMap<String, CancellationToken>>,
    transforming: Mutex<HashMap<String, CancellationToken>>,
    tuning: Mutex<HashMap<String, CancellationToken>>,
    /// Where running jobs keep what the next server needs to go on.
    work_folder: PathBuf,
    pace: Pace,
    /// Requests to asynchronous endpoints that are not answered yet, by their number, and who works on them.
    requests: Collection<asynchronous::Request>,
    queues: Mutex<HashMap<String, asynchronous::Queue>>,
    loaded: loaded::LoadedModels,
    /// What answers, by endpoint.
    deployments: RwLock<HashMap<String, Arc<Deployment>>>,
    /// Held while an endpoint's record and what answers change, one after the other: requests do not wait for records.
    changing: Mutex<()>,
    observer: Option<TrainingObserver>,
    stop: CancellationToken,
    tasks: TaskTracker,
    runtime: Handle,
}

/// The operations that are there.
pub(crate) const OPERATIONS: [&str; 32] = [
    "CreateTrainingJob",
    "DescribeTrainingJob",
    "ListTrainingJobs",
    "StopTrainingJob",
    "DeleteTrainingJob",
    "CreateTransformJob",
    "DescribeTransformJob",
    "ListTransformJobs",
    "StopTransformJob",
    "CreateHyperParameterTuningJob",
    "DescribeHyperParameterTuningJob",
    "ListHyperParameterTuningJobs",
    "ListTrainingJobsForHyperParameterTuningJob",
    "StopHyperParameterTuningJob",
    "DeleteHyperParameterTuningJob",
    "CreateModel",
    "DescribeModel",
    "ListModels",
    "DeleteModel",
    "CreateEndpointConfig",
    "DescribeEndpointConfig",
    "ListEndpointConfigs",
    "DeleteEndpointConfig",
    "CreateEndpoint",
    "DescribeEndpoint",
    "ListEndpoints",
    "UpdateEndpoint",
    "UpdateEndpointWeightsAndCapacities",
    "DeleteEndpoint",
    "AddTags",
    "ListTags",
    "DeleteTags",
];

impl SageMaker {
    /// Opens the records, loads the endpoints, and goes on with what a server before this one left running. To be called
    /// within a runtime.
    #[expect(clippy::too_many_arguments, reason = "everything that the service is made of")]
    pub(crate) fn open(
        folder: &Shelf,
        work_folder: PathBuf,
        region: &str,
        s3: Arc<ObjectStore>,
        logs: Arc<Logs>,
        observer: Option<TrainingObserver>,
        pace: Pace,
        stop: CancellationToken,
        tasks: TaskTracker,
    ) -> io::Result<Arc<Self>> {
        let this = Arc::new(Self {
            region: region.to_owned(),
            s3,
            logs,
            training_jobs: Collection::open(folder.join("training-jobs"))?,
            transform_jobs: Collection::open(folder.join("transform-jobs"))?,
            tuning_jobs: Collection::open(folder.join("tuning-jobs"))?,
            models: Collection::open(folder.join("models"))?,
            configs: Collection::open(folder.join("endpoint-configs"))?,
            endpoints: Collection::open(folder.join("endpoints"))?,
            tags: Collection::open(folder.join("tags"))?,
            requests: Collection::open(folder.join("async-requests"))?,
            queues: Mutex::default(),
            running: Mutex::default(),
            transforming: Mutex::default(),
            tuning: Mutex::default(),
            work_folder,
            pace,
            loaded: loaded::LoadedModels::default(),
            deployments: RwLock::default(),
            changing: Mutex::default(),
            observer,
            stop,
            tasks,
            runtime: Handle::current(),
        });
        this.sweep_job_folders()?;
        this.reload_endpoints()?;
        this.resume_training_jobs()?;
        this.resume_transform_jobs();
        this.resume_tuning_jobs();
        this.resume_requests();
        Ok(this)
    }

    /// Answers an operation.
    pub(crate) fn call(self: &Arc<Self>, operation: &str, input: &Value) -> ApiResult {
        match operation {
            "CreateTrainingJob" => self.create_training_job(input).map(Some),
            "DescribeTrainingJob" => self.describe_training_job(input).map(Some),
            "ListTrainingJobs" => self.list_training_jobs(input).map(Some),
            "StopTrainingJob" => self.stop_training_job(input).map(|()| None),
            "DeleteTrainingJob" => self.delete_training_job(input).map(|()| None),
            "CreateTransformJob" => self.create_transform_job(input).map(Some),
            "DescribeTransformJob" => self.describe_transform_job(input).map(Some),
            "ListTransformJobs" => self.list_transform_jobs(input).map(Some),
            "StopTransformJob" => self.stop_transform_job(input).map(|()| None),
            "CreateHyperParameterTuningJob" => self.create_tuning_job(input).map(Some),
            "DescribeHyperParameterTuningJob" => self.describe_tuning_job(input).map(Some),
            "ListHyperParameterTuningJobs" => self.list_tuning_jobs(input).map(Some),
            "ListTrainingJobsForHyperParameterTuningJob" => self.list_trials(input).map(Some),
            "StopHyperParameterTuningJob" => self.stop_tuning_job(input).map(|()| None),
            "DeleteHyperParameterTuningJob" => self.delete_tuning_job(input).map(|()| None),
            "CreateModel" => self.create_model(input).map(Some),
            "DescribeModel" => self.describe_model(input).map(Some),
            "ListModels" => self.list_models(input).map(Some),
            "DeleteModel" => self.delete_model(input).map(|()| None),
            "CreateEndpointConfig" => self.create_endpoint_config(input).map(Some),
            "DescribeEndpointConfig" => self.describe_endpoint_config(input).map(Some),
            "ListEndpointConfigs" => self.list_endpoint_configs(input).map(Some),
            "DeleteEndpointConfig" => self.delete_endpoint_config(input).map(|()| None),
            "CreateEndpoint" => self.create_endpoint(input).map(Some),
            "DescribeEndpoint" => self.describe_endpoint(input).map(Some),
            "ListEndpoints" => self.list_endpoints(input).map(Some),
            "UpdateEndpoint" => self.update_endpoint(input).map(Some),
            "UpdateEndpointWeightsAndCapacities" => self.update_weights(input).map(Some),
            "DeleteEndpoint" => self.delete_endpoint(input).map(|()| None),
            "AddTags" => self.add_tags(input).map(Some),
            "ListTags" => self.list_tags(input).map(Some),
            "DeleteTags" => self.delete_tags(input).map(Some),
            _ => Err(ApiError::unknown_operation("SageMaker", operation)),
        }
    }

    /// Describes the job that an operation such as `CreateTransformJob` made, once it has ended; none if there is none (any
    /// more). Nothing is known any more once the server stops: then it waits until it is dropped.
    pub(crate) async fn job_ended(&self, operation: &str, name: &str) -> Option<Value> {
        loop {
            let (ended, described) = match operation {
                "CreateTrainingJob" => self.training_job_state(name)?,
                "CreateTransformJob" => self.transform_job_state(name)?,
                "CreateHyperParameterTuningJob" => self.tuning_job_state(name)?,
                _ => return None,
            };
            if ended {
                return Some(described);
            }
            tokio::select! {
                () = self.stop.cancelled() => return std::future::pending().await,
                () = tokio::time::sleep(POLL) => {}
            }
        }
    }

    /// Writes a line to the log of a variant of an endpoint.
    pub(crate) fn log_of_endpoint(&self, endpoint: &str, variant: &str, text: &str) {
        self.logs
            .add(&endpoint_group(endpoint), &endpoint_stream(variant), text);
    }

    /// The region of all resources.
    pub(crate) fn region(&self) -> &str {
        &self.region
    }

    /// Does work on a thread of its own, which the server's end waits for. What takes hours or only waits would keep others from
    /// the threads that the runtime has for what blocks.
    fn spawn(&self, work: impl FnOnce() + Send + 'static) {
        let (handle, tracked) = (self.runtime.clone(), self.tasks.token());
        let work: Work = Box::new(move || {
            let _in_runtime = handle.enter();
            work();
            drop(tracked);
        });
        // Should the machine have no more threads, the runtime's have to do.
        let kept = Arc::new(Mutex::new(Some(work)));
        let run = |kept: Arc<Mutex<Option<Work>>>| {
            move || {
                let work = kept.lock().unwrap_or_else(|e| e.into_inner()).take();
                if let Some(work) = work {
                    work();
                }
            }
        };
        let thread = thread::Builder::new().name("sagemaker".to_owned());
        if thread.spawn(run(kept.clone())).is_err() {
            self.runtime.spawn_blocking(run(kept));
        }
    }

    /// A resource's name across all services. The name part is in lower case, whatever the name is.
    fn arn(&self, kind: &str, name: &str) -> String {
        let partition = partition(&self.region);
        format!(
            "arn:{partition}:sagemaker:{}:{ACCOUNT}:{kind}/{}",
            self.region,
            name.to_ascii_lowercase()
        )
    }
}

/// The stream of a variant, in the log of its endpoint.
fn endpoint_stream(variant: &str) -> String {
    format!("{variant}/i-0000000000000001")
}

/// What a thread does.
type Work = Box<dyn FnOnce() + Send>;

/// How often a waiting state machine looks.
const POLL: Duration = Duration::from_millis(20);

/// What the service reads out of the log of a training job of this algorithm.
fn metric_definitions() -> Value {
    let definitions = METRICS
        .iter()
        .map(|(name, regex)| json!({"Name": name, "Regex": regex}));
    definitions.collect()
}

/// An image that can be run here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Image {
    /// The service's own for this algorithm, of whatever region: `<12 digits>.dkr.ecr.<region>.<suffix>/ipinsights:1`.
    BuiltIn,
    /// The one that this project makes, in a repository of that name and of whatever version:
    /// `<12 digits>.dkr.ecr.<region>.<suffix>/…/ipinsights-container:0.2.0`.
    Container,
}

impl Image {
    fn of(image: &str) -> Option<Self> {
        let (registry, path) = image.split_once('/')?;
        let (account, host) = registry.split_once(".dkr.ecr.")?;
        let named = host.split_once('.').is_some_and(|(region, suffix)| {
            let region_like = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
            !region.is_empty() && region.bytes().all(region_like) && suffix.contains('.')
        });
        if !named || account.len() != 12 || !account.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        if matches!(path, "ipinsights:1" | "ipinsights:latest") {
            return Some(Self::BuiltIn);
        }
        let repository = path.split(['@', ':']).next().unwrap_or_default();
        let name = repository.rsplit('/').next().unwrap_or_default();
        (name == "ipinsights-container").then_some(Self::Container)
    }

    /// That image, or the refusal of any other by its name.
    fn required(image: &str) -> ApiResult<Self> {
        Self::of(image).ok_or_else(|| {
            ApiError::validation(format!(
                "The image {image} cannot be run by aws-local, which runs the built-in algorithm only: \
                 <account>.dkr.ecr.<region>.amazonaws.com/ipinsights:1, or ipinsights-container of this project in place of it"
            ))
        })
    }
}

/// The most machines of one job, or of one variant of an endpoint, as in a new account.
const MAX_INSTANCES: i64 = 20;

/// Refuses more machines than that. `usage` is what they are for, such as `training job`.
fn require_quota(usage: &str, instance: &str, instances: Option<i64>) -> ApiResult<()> {
    match instances {
        Some(instances) if instances > MAX_INSTANCES => Err(ApiError::new(
            "ResourceLimitExceeded",
            format!(
                "The account-level service limit '{instance} for {usage} usage' is {MAX_INSTANCES} Instances, with current \
                 utilization of 0 Instances and a request delta of {instances} Instances. Please use AWS Service Quotas to \
                 request an increase for this quota. If AWS Service Quotas is not available, contact AWS support to request \
                 an increase for this quota."
            ),
        )),
        _ => Ok(()),
    }
}

/// Copies members of a request into an answer, as they are.
fn copy(from: &Value, members: &[&str], to: &mut Map<String, Value>) {
    for member in members {
        if let Some(value) = from.get(member).filter(|v| !v.is_null()) {
            to.insert((*member).to_owned(), value.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images() {
        let (built_in, container) = (Some(Image::BuiltIn), Some(Image::Container));
        for (image, kind) in [
            (
                "382416733822.dkr.ecr.us-east-1.amazonaws.com/ipinsights:1",
                built_in,
            ),
            (
                "382416733822.dkr.ecr.us-east-1.amazonaws.com/ipinsights:latest",
                built_in,
            ),
            (
                "390948362332.dkr.ecr.cn-north-1.amazonaws.com.cn/ipinsights:1",
                built_in,
            ),
            (
                "490574956308.dkr.ecr.us-iso-east-1.c2s.ic.gov/ipinsights:1",
                built_in,
            ),
            ("38241673382.dkr.ecr.us-east-1.amazonaws.com/ipinsights:1", None),
            ("382416733822.dkr.ecr.us-east-1.amazonaws.com/ipinsights:2", None),
            ("382416733822.dkr.ecr.us-east-1.amazonaws.com/ipinsights", None),
            (
                "382416733822.dkr.ecr.us-east-1.amazonaws.com/linear-learner:1",
                None,
            ),
            ("evil.example/ipinsights:1", None),
            ("", None),
            (
                "123456789012.dkr.ecr.eu-west-1.amazonaws.com/ipinsights-container:0.2.0",
                container,
            ),
            (
                "123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/ipinsights-container",
                container,
            ),
            (
                "123456789012.dkr.ecr.eu-west-1.amazonaws.com/ipinsights-container@sha256:0123",
                container,
            ),
            (
                "123456789012.dkr.ecr.eu-west-1.amazonaws.com/my-ipinsights-container:1",
                None,
            ),
            ("evil.example/ipinsights-container:1", None),
        ] {
            assert_eq!(Image::of(image), kind, "{image}");
        }
    }
}
