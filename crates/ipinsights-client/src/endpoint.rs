//! Models, endpoint configurations and endpoints: from an archive to something that answers.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;

use aws_sdk_sagemaker::types;
use serde_json::{Value, json};

use crate::names::{EndpointConfigName, EndpointName, InstanceType, ModelName, RoleArn, S3Uri};
use crate::training::as_i32;
use crate::wait::Seen;
use crate::{Client, Deadline, Deployment, Error, UpdateOptions, tags};

/// The one variant of our endpoints; the name that the service's own tools use.
const VARIANT: &str = "AllTraffic";

/// What `CreateModel` takes: an archive and the image that serves it.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    /// The model's name.
    pub name: ModelName,
    /// The algorithm's image, from [`image_uri`](crate::image_uri).
    pub image: String,
    /// The archive that the training job wrote.
    pub artifacts: S3Uri,
    /// The role with which the endpoint reads the archive.
    pub role: RoleArn,
    /// At most 50; see [`TrainingJobDraft::tag`](crate::TrainingJobDraft::tag).
    pub tags: BTreeMap<String, String>,
}

impl Model {
    /// The members of `CreateModel` as the API names them: what [`Client::create_model`] sends.
    pub fn to_parameters(&self) -> Value {
        let mut parameters = json!({
            "ModelName": self.name.as_str(),
            "PrimaryContainer": {"Image": self.image, "ModelDataUrl": self.artifacts.as_str()},
            "ExecutionRoleArn": self.role.as_str(),
        });
        tags::add_to(&mut parameters, &self.tags);
        parameters
    }
}

/// What `CreateEndpointConfig` takes: which model to serve, and on what.
#[derive(Debug, Clone, PartialEq)]
pub struct EndpointConfig {
    /// The configuration's name.
    pub name: EndpointConfigName,
    /// The model that gets all the traffic.
    pub model: ModelName,
    /// What to serve on; the algorithm is meant for CPUs here. Without effect where it is [`serverless`](Self::serverless).
    pub instance_type: InstanceType,
    /// How many of them.
    pub instance_count: NonZeroU32,
    /// Capacity by the request instead of instances; default none.
    pub serverless: Option<Serverless>,
    /// Requests that wait in a queue, with bodies and answers in S3; default none.
    pub asynchronous: Option<Asynchronous>,
    /// At most 50; see [`TrainingJobDraft::tag`](crate::TrainingJobDraft::tag).
    pub tags: BTreeMap<String, String>,
}

/// What a serverless endpoint may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Serverless {
    /// In MB: 1024, 2048, 3072, 4096, 5120 or 6144. The model has to fit.
    pub memory_mb: u32,
    /// How many requests it answers at a time, 1 to 200.
    pub max_concurrency: u32,
}

/// Where an asynchronous endpoint puts its answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asynchronous {
    /// The prefix of the answers.
    pub output: S3Uri,
    /// The prefix of why there is no answer; by default that is kept nowhere.
    pub failures: Option<S3Uri>,
    /// How many requests each instance works on at a time, 1 to 1000; the service's choice by default.
    pub max_concurrency: Option<u32>,
}

impl EndpointConfig {
    /// One `ml.m5.large` and no tags.
    pub fn new(name: EndpointConfigName, model: ModelName) -> Self {
        let instance_type = InstanceType::m5_large();
        Self {
            name,
            model,
            instance_type,
            instance_count: NonZeroU32::MIN,
            serverless: None,
            asynchronous: None,
            tags: BTreeMap::new(),
        }
    }

    /// The members of `CreateEndpointConfig` as the API names them: what [`Client::create_endpoint_config`] sends.
    pub fn to_parameters(&self) -> Value {
        let mut variant = json!({"VariantName": VARIANT, "ModelName": self.model.as_str()});
        match self.serverless {
            Some(serverless) => {
                variant["ServerlessConfig"] = json!({
                    "MemorySizeInMB": serverless.memory_mb,
                    "MaxConcurrency": serverless.max_concurrency,
                });
            }
            None => {
                variant["InitialInstanceCount"] = self.instance_count.get().into();
                variant["InstanceType"] = self.instance_type.as_str().into();
            }
        }
        let mut parameters = json!({
            "EndpointConfigName": self.name.as_str(),
            "ProductionVariants": [variant],
        });
        if let Some(asynchronous) = &self.asynchronous {
            let mut config = json!({"OutputConfig": {"S3OutputPath": asynchronous.output.as_str()}});
            if let Some(failures) = &asynchronous.failures {
                config["OutputConfig"]["S3FailurePath"] = failures.as_str().into();
            }
            if let Some(most) = asynchronous.max_concurrency {
                config["ClientConfig"] = json!({"MaxConcurrentInvocationsPerInstance": most});
            }
            parameters["AsyncInferenceConfig"] = config;
        }
        tags::add_to(&mut parameters, &self.tags);
        parameters
    }
}

/// The members of `CreateEndpoint` and of `UpdateEndpoint` as the API names them.
pub fn endpoint_parameters(endpoint: &EndpointName, config: &EndpointConfigName) -> Value {
    json!({"EndpointName": endpoint.as_str(), "EndpointConfigName": config.as_str()})
}

/// An endpoint as the service describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Its name.
    pub name: EndpointName,
    /// What it is doing.
    pub status: EndpointStatus,
    /// The configuration it serves, or first will serve.
    pub config: EndpointConfigName,
    /// The configuration it is changing to, during an update.
    pub pending_config: Option<EndpointConfigName>,
    /// Why it failed, or why the last update did.
    pub failure_reason: Option<String>,
}

/// What an endpoint is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum EndpointStatus {
    /// It comes up for the first time.
    Creating,
    /// It changes to another configuration, and answers with the old one.
    Updating,
    /// The service maintains it; it answers.
    SystemUpdating,
    /// An update failed; it goes back to the old configuration, and answers with it.
    RollingBack,
    /// It answers.
    InService,
    /// It does not answer.
    OutOfService,
    /// An update failed, and so did going back.
    UpdateRollbackFailed,
    /// It never came up; it can only be deleted.
    Failed,
    /// It goes away.
    Deleting,
    /// A status that did not exist when this was written.
    Other(String),
}

impl EndpointStatus {
    /// Whether the status stays until someone does something.
    pub const fn is_settled(&self) -> bool {
        matches!(
            self,
            Self::InService | Self::OutOfService | Self::UpdateRollbackFailed | Self::Failed
        )
    }
}

impl From<&str> for EndpointStatus {
    fn from(word: &str) -> Self {
        match word {
            "Creating" => Self::Creating,
            "Updating" => Self::Updating,
            "SystemUpdating" => Self::SystemUpdating,
            "RollingBack" => Self::RollingBack,
            "InService" => Self::InService,
            "OutOfService" => Self::OutOfService,
            "UpdateRollbackFailed" => Self::UpdateRollbackFailed,
            "Failed" => Self::Failed,
            "Deleting" => Self::Deleting,
            other => Self::Other(other.to_owned()),
        }
    }
}

/// The service's word.
impl fmt::Display for EndpointStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Other(word) => f.write_str(word),
            known => fmt::Debug::fmt(known, f),
        }
    }
}

/// What [`Client::create_or_update_endpoint`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum EndpointChange {
    /// There was none.
    Created,
    /// There was a failed one, which had to be deleted first.
    Recreated,
    /// There was one with another configuration.
    Updated,
    /// There was one with this configuration, in service.
    Unchanged,
}

/// Sees an endpoint at every look.
pub type EndpointObserver<'a> = &'a mut (dyn FnMut(&Endpoint) + Send);

impl Client {
    /// Creates a model and gives its ARN.
    ///
    /// # Errors
    ///
    /// [`Error::AlreadyExists`] when there is one of that name; [`Error::Invalid`] when there is no archive.
    pub async fn create_model(&self, model: &Model) -> Result<String, Error> {
        let container = types::ContainerDefinition::builder()
            .image(&model.image)
            .model_data_url(model.artifacts.as_str())
            .build();
        let answer = self
            .sagemaker
            .create_model()
            .model_name(model.name.as_str())
            .primary_container(container)
            .execution_role_arn(model.role.as_str())
            .set_tags(tags::to_sdk(&model.tags))
            .send()
            .await
            .map_err(|error| Error::from_sdk("CreateModel", error))?;
        Ok(answer.model_arn.unwrap_or_default())
    }

    /// Creates an endpoint configuration and gives its ARN.
    ///
    /// # Errors
    ///
    /// [`Error::AlreadyExists`] when there is one of that name; configurations cannot be changed.
    pub async fn create_endpoint_config(&self, config: &EndpointConfig) -> Result<String, Error> {
        let variant = types::ProductionVariant::builder()
            .variant_name(VARIANT)
            .model_name(config.model.as_str());
        let variant = match config.serverless {
            Some(serverless) => variant.serverless_config(
                types::ProductionVariantServerlessConfig::builder()
                    .memory_size_in_mb(as_i32(serverless.memory_mb))
                    .max_concurrency(as_i32(serverless.max_concurrency))
                    .build(),
            ),
            None => variant
                .initial_instance_count(as_i32(config.instance_count.get()))
                .instance_type(config.instance_type.as_str().into()),
        };
        let asynchronous = config.asynchronous.as_ref().map(|asynchronous| {
            let output = types::AsyncInferenceOutputConfig::builder()
                .s3_output_path(asynchronous.output.as_str())
                .set_s3_failure_path(asynchronous.failures.clone().map(String::from))
                .build();
            let client = asynchronous.max_concurrency.map(|most| {
                types::AsyncInferenceClientConfig::builder()
                    .max_concurrent_invocations_per_instance(as_i32(most))
                    .build()
            });
            types::AsyncInferenceConfig::builder()
                .output_config(output)
                .set_client_config(client)
                .build()
        });
        let answer = self
            .sagemaker
            .create_endpoint_config()
            .endpoint_config_name(config.name.as_str())
            .production_variants(variant.build())
            .set_async_inference_config(asynchronous)
            .set_tags(tags::to_sdk(&config.tags))
            .send()
            .await
            .map_err(|error| Error::from_sdk("CreateEndpointConfig", error))?;
        Ok(answer.endpoint_config_arn.unwrap_or_default())
    }

    /// Starts to create an endpoint and gives its ARN; [`wait_in_service`](Self::wait_in_service) sees it come up.
    ///
    /// # Errors
    ///
    /// [`Error::AlreadyExists`] when there is one of that name, [`Error::LimitExceeded`] when the account may not use that
    /// many instances of the type.
    pub async fn create_endpoint(
        &self,
        endpoint: &EndpointName,
        config: &EndpointConfigName,
    ) -> Result<String, Error> {
        let request = self.sagemaker.create_endpoint().endpoint_name(endpoint.as_str());
        let answer = request.endpoint_config_name(config.as_str()).send().await;
        let answer = answer.map_err(|error| Error::from_sdk("CreateEndpoint", error))?;
        Ok(answer.endpoint_arn.unwrap_or_default())
    }

    /// Starts to move an endpoint to another configuration and gives its ARN; it goes on answering meanwhile.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] when there is no such endpoint, [`Error::Invalid`] when it is busy.
    pub async fn update_endpoint(
        &self,
        endpoint: &EndpointName,
        config: &EndpointConfigName,
    ) -> Result<String, Error> {
        self.update_endpoint_with(endpoint, config, &UpdateOptions::default())
            .await
    }

    /// The same, with a say in how it goes about it: step by step, with alarms that take it back.
    ///
    /// # Errors
    ///
    /// Those of [`update_endpoint`](Self::update_endpoint), and [`Error::InvalidDeployment`], with which nothing is sent.
    pub async fn update_endpoint_with(
        &self,
        endpoint: &EndpointName,
        config: &EndpointConfigName,
        options: &UpdateOptions,
    ) -> Result<String, Error> {
        let deployment = options.deployment.as_ref().map(Deployment::to_sdk).transpose()?;
        let request = self.sagemaker.update_endpoint().endpoint_name(endpoint.as_str());
        let request = request
            .set_retain_all_variant_properties(options.retain_variants.then_some(true))
            .set_deployment_config(deployment);
        let answer = request.endpoint_config_name(config.as_str()).send().await;
        let answer = answer.map_err(|error| Error::from_sdk("UpdateEndpoint", error))?;
        Ok(answer.endpoint_arn.unwrap_or_default())
    }

    /// What an endpoint is doing.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] when there is none of that name.
    pub async fn describe_endpoint(&self, endpoint: &EndpointName) -> Result<Endpoint, Error> {
        const OPERATION: &str = "DescribeEndpoint";
        let answer = self
            .sagemaker
            .describe_endpoint()
            .endpoint_name(endpoint.as_str())
            .send()
            .await;
        let answer = answer.map_err(|error| Error::from_sdk(OPERATION, error))?;
        let odd = |problem| Error::UnexpectedAnswer {
            operation: OPERATION,
            problem,
        };
        let config = |name: &str| {
            name.parse()
                .map_err(|_| odd(format!("endpoint configuration `{name}`")))
        };
        let status = answer.endpoint_status().map(|status| status.as_str());
        let pending = answer
            .pending_deployment_summary()
            .and_then(|p| p.endpoint_config_name());
        Ok(Endpoint {
            name: endpoint.clone(),
            status: status.ok_or_else(|| odd("there is no status".to_owned()))?.into(),
            config: config(answer.endpoint_config_name().unwrap_or_default())?,
            pending_config: pending.map(config).transpose()?,
            failure_reason: answer
                .failure_reason()
                .filter(|r| !r.is_empty())
                .map(str::to_owned),
        })
    }

    /// Makes an endpoint serve a configuration, whether or not it exists, and says what that took.
    ///
    /// An endpoint that is busy is waited for first, and a failed one is deleted and created anew. The change is only
    /// begun: [`wait_in_service`](Self::wait_in_service) sees it through.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`] when a busy endpoint does not settle, or a failed one does not go, in time; and those of
    /// [`create_endpoint`](Self::create_endpoint) and [`update_endpoint`](Self::update_endpoint).
    pub async fn create_or_update_endpoint(
        &self,
        endpoint: &EndpointName,
        config: &EndpointConfigName,
        deadline: Deadline,
        observer: EndpointObserver<'_>,
    ) -> Result<EndpointChange, Error> {
        let waiting = deadline.start();
        let Some(found) = self.wait_settled(endpoint, deadline, &mut *observer).await? else {
            self.create_endpoint(endpoint, config).await?;
            return Ok(EndpointChange::Created);
        };
        match found.status {
            EndpointStatus::Failed => {
                self.delete_endpoint(endpoint).await?;
                self.wait_gone(endpoint, waiting.rest(), observer).await?;
                self.create_endpoint(endpoint, config).await?;
                Ok(EndpointChange::Recreated)
            }
            EndpointStatus::InService if found.config == *config => Ok(EndpointChange::Unchanged),
            _ => {
                self.update_endpoint(endpoint, config).await?;
                Ok(EndpointChange::Updated)
            }
        }
    }

    /// Waits until an endpoint is in service with a configuration; `observer` sees it at every look.
    ///
    /// # Errors
    ///
    /// [`Error::EndpointFailed`] when it does not come up, [`Error::RolledBack`] when it goes back to another
    /// configuration, [`Error::Timeout`] when neither happens in time, [`Error::NotFound`] when it is deleted meanwhile.
    /// Errors that pass, such as throttling, are borne for a while.
    pub async fn wait_in_service(
        &self,
        endpoint: &EndpointName,
        config: &EndpointConfigName,
        deadline: Deadline,
        observer: EndpointObserver<'_>,
    ) -> Result<Endpoint, Error> {
        let mut looks = 0;
        let look = || self.describe_endpoint(endpoint);
        let judge = |found: Endpoint| {
            observer(&found);
            looks += 1;
            match found.status {
                EndpointStatus::InService if found.config == *config => Ok(Seen::Done(found)),
                // At the first look an update just begun may not show yet.
                EndpointStatus::InService if looks > 1 => Err(Error::RolledBack {
                    endpoint: endpoint.to_string(),
                    expected: config.to_string(),
                    actual: found.config.to_string(),
                    reason: reason_of(&found),
                }),
                EndpointStatus::UpdateRollbackFailed | EndpointStatus::OutOfService if looks == 1 => {
                    Ok(pending(found))
                }
                EndpointStatus::Failed
                | EndpointStatus::UpdateRollbackFailed
                | EndpointStatus::OutOfService => Err(Error::EndpointFailed {
                    endpoint: endpoint.to_string(),
                    status: found.status.to_string(),
                    reason: reason_of(&found),
                }),
                _ => Ok(pending(found)),
            }
        };
        deadline.until(what(endpoint), look, judge).await
    }

    /// Waits until an endpoint rests, and gives nothing when there is none (any more).
    pub(crate) async fn wait_settled(
        &self,
        endpoint: &EndpointName,
        deadline: Deadline,
        observer: EndpointObserver<'_>,
    ) -> Result<Option<Endpoint>, Error> {
        let look = || self.find_endpoint(endpoint);
        let judge = |found: Option<Endpoint>| {
            Ok(match found {
                None => Seen::Done(None),
                Some(found) => {
                    observer(&found);
                    match found.status.is_settled() {
                        true => Seen::Done(Some(found)),
                        false => pending(found),
                    }
                }
            })
        };
        deadline.until(what(endpoint), look, judge).await
    }

    /// Waits until an endpoint that is being deleted is gone.
    pub(crate) async fn wait_gone(
        &self,
        endpoint: &EndpointName,
        deadline: Deadline,
        observer: EndpointObserver<'_>,
    ) -> Result<(), Error> {
        let look = || self.find_endpoint(endpoint);
        let judge = |found: Option<Endpoint>| {
            Ok(match found {
                None => Seen::Done(()),
                Some(found) => {
                    observer(&found);
                    pending(found)
                }
            })
        };
        deadline.until(what(endpoint), look, judge).await
    }

    /// An endpoint, or nothing where there is none.
    pub(crate) async fn find_endpoint(&self, endpoint: &EndpointName) -> Result<Option<Endpoint>, Error> {
        match self.describe_endpoint(endpoint).await {
            Ok(found) => Ok(Some(found)),
            Err(Error::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// It is not where it shall be.
fn pending<R>(found: Endpoint) -> Seen<R> {
    Seen::Pending(found.status.to_string(), found.failure_reason)
}

fn reason_of(endpoint: &Endpoint) -> String {
    endpoint
        .failure_reason
        .clone()
        .unwrap_or_else(|| "the service gives no reason".to_owned())
}

/// The endpoint in the words of a message.
pub(crate) fn what(endpoint: &EndpointName) -> String {
    format!("endpoint `{endpoint}`")
}
