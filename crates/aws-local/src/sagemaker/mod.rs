//! SageMaker: training jobs that train, models, endpoint configurations and endpoints that answer.
//!
//! Resources are records in [`Collection`]s; what an operation does is a plain function over them. Long work (a
//! training, the loading of an endpoint's models) runs beside, and reports by changing the record.

mod configs;
mod endpoints;
mod list;
mod models;
mod tags;
mod training;
mod work;

use std::{
    collections::{BTreeMap, HashMap},
    io,
    sync::{Arc, Mutex, RwLock},
};

use serde_json::{Map, Value};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub(crate) use endpoints::Deployment;

use crate::{
    ACCOUNT,
    api::{ApiError, ApiResult},
    logs::Logs,
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
    models: Collection<models::Model>,
    configs: Collection<configs::EndpointConfig>,
    endpoints: Collection<endpoints::Endpoint>,
    /// By resource name (ARN).
    tags: Collection<BTreeMap<String, String>>,
    /// What is needed to stop a job that runs.
    running: Mutex<HashMap<String, CancellationToken>>,
    /// What answers, by endpoint.
    deployments: RwLock<HashMap<String, Arc<Deployment>>>,
    observer: Option<TrainingObserver>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// The operations that are there.
pub(crate) const OPERATIONS: [&str; 22] = [
    "CreateTrainingJob",
    "DescribeTrainingJob",
    "ListTrainingJobs",
    "StopTrainingJob",
    "DeleteTrainingJob",
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
    /// Opens the records, ends what a server before this one left running, and loads the endpoints.
    pub(crate) fn open(
        folder: &Shelf,
        region: &str,
        s3: Arc<ObjectStore>,
        logs: Arc<Logs>,
        observer: Option<TrainingObserver>,
        stop: CancellationToken,
        tasks: TaskTracker,
    ) -> io::Result<Arc<Self>> {
        let this = Arc::new(Self {
            region: region.to_owned(),
            s3,
            logs,
            training_jobs: Collection::open(folder.join("training-jobs"))?,
            models: Collection::open(folder.join("models"))?,
            configs: Collection::open(folder.join("endpoint-configs"))?,
            endpoints: Collection::open(folder.join("endpoints"))?,
            tags: Collection::open(folder.join("tags"))?,
            running: Mutex::default(),
            deployments: RwLock::default(),
            observer,
            stop,
            tasks,
        });
        this.end_interrupted_jobs()?;
        this.reload_endpoints()?;
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

    /// The region of all resources.
    pub(crate) fn region(&self) -> &str {
        &self.region
    }

    /// A resource's name across all services. The name part is in lower case, whatever the name is.
    fn arn(&self, kind: &str, name: &str) -> String {
        let partition = match self.region.split('-').next() {
            Some("cn") => "aws-cn",
            _ if self.region.starts_with("us-gov-") => "aws-us-gov",
            _ => "aws",
        };
        format!(
            "arn:{partition}:sagemaker:{}:{ACCOUNT}:{kind}/{}",
            self.region,
            name.to_ascii_lowercase()
        )
    }
}

/// Whether an image is the service's own for this algorithm, of whatever region:
/// `<12 digits>.dkr.ecr.<region>.<suffix>/ipinsights:1`.
fn is_own_image(image: &str) -> bool {
    let Some((registry, "ipinsights:1" | "ipinsights:latest")) = image.split_once('/') else {
        return false;
    };
    let Some((account, host)) = registry.split_once(".dkr.ecr.") else {
        return false;
    };
    let named = host.split_once('.').is_some_and(|(region, suffix)| {
        let region_like = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        !region.is_empty() && region.bytes().all(region_like) && suffix.contains('.')
    });
    named && account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit())
}

/// The refusal of any other image, by its name.
fn foreign_image(image: &str) -> ApiError {
    ApiError::validation(format!(
        "The image {image} cannot be run by aws-local, which runs the built-in algorithm only: \
         <account>.dkr.ecr.<region>.amazonaws.com/ipinsights:1"
    ))
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
        for (image, own) in [
            ("382416733822.dkr.ecr.us-east-1.amazonaws.com/ipinsights:1", true),
            (
                "382416733822.dkr.ecr.us-east-1.amazonaws.com/ipinsights:latest",
                true,
            ),
            (
                "390948362332.dkr.ecr.cn-north-1.amazonaws.com.cn/ipinsights:1",
                true,
            ),
            ("490574956308.dkr.ecr.us-iso-east-1.c2s.ic.gov/ipinsights:1", true),
            ("38241673382.dkr.ecr.us-east-1.amazonaws.com/ipinsights:1", false),
            ("382416733822.dkr.ecr.us-east-1.amazonaws.com/ipinsights:2", false),
            ("382416733822.dkr.ecr.us-east-1.amazonaws.com/ipinsights", false),
            (
                "382416733822.dkr.ecr.us-east-1.amazonaws.com/linear-learner:1",
                false,
            ),
            ("evil.example/ipinsights:1", false),
            ("", false),
        ] {
            assert_eq!(is_own_image(image), own, "{image}");
        }
    }
}
