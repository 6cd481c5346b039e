//! Taking away what costs money, and saying what is left.

use std::collections::BTreeSet;
use std::fmt;

use aws_sdk_sagemaker::types::ProductionVariant;

use crate::names::{EndpointConfigName, EndpointName, ModelName};
use crate::{Client, Deadline, Endpoint, EndpointObserver, Error};

/// Something that the service keeps under a name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Resource {
    /// An endpoint; it costs money as long as it exists.
    Endpoint(EndpointName),
    /// An endpoint configuration.
    EndpointConfig(EndpointConfigName),
    /// A model; its archive in S3 is not part of it.
    Model(ModelName),
}

impl Resource {
    /// Whether it costs money for as long as it exists: an endpoint does, by its instances, or by requests where it is serverless. Names
    /// of models and configurations cost nothing.
    pub const fn costs_money(&self) -> bool {
        matches!(self, Self::Endpoint(_))
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Endpoint(name) => write!(f, "endpoint `{name}`"),
            Self::EndpointConfig(name) => write!(f, "endpoint configuration `{name}`"),
            Self::Model(name) => write!(f, "model `{name}`"),
        }
    }
}

/// What a teardown came to.
#[derive(Debug, Default)]
pub struct Teardown {
    /// What was there and is gone, in the order of deletion.
    pub deleted: Vec<Resource>,
    /// What was not there to begin with.
    pub absent: Vec<Resource>,
    /// What is still there, and why.
    pub left: Vec<(Resource, Error)>,
}

impl Teardown {
    /// Whether nothing is left.
    pub fn is_complete(&self) -> bool {
        self.left.is_empty()
    }

    /// What of that which is left still costs money.
    pub fn still_costs(&self) -> impl Iterator<Item = &Resource> {
        let left = self.left.iter().map(|(resource, _)| resource);
        left.filter(|resource| resource.costs_money())
    }

    fn note(&mut self, resource: Resource, outcome: Result<bool, Error>) {
        match outcome {
            Ok(true) => self.deleted.push(resource),
            Ok(false) => self.absent.push(resource),
            Err(error) => self.left.push((resource, error)),
        }
    }
}

impl Client {
    /// Deletes an endpoint, waits until it is gone, and deletes the configurations and models behind it.
    ///
    /// What is absent already is fine. What cannot be deleted does not stop the rest, except that the configurations and
    /// models of an endpoint that is still there are left alone, since it needs them. Models are deleted even if another
    /// endpoint's configuration names them too; their archives in S3 stay.
    ///
    /// When the endpoint itself is absent, there is no telling what was behind it; delete that by name with
    /// [`teardown_of`](Self::teardown_of).
    ///
    /// # Errors
    ///
    /// When the endpoint cannot be looked at, so that nothing was done.
    pub async fn teardown(
        &self,
        endpoint: &EndpointName,
        deadline: Deadline,
        observer: EndpointObserver<'_>,
    ) -> Result<Teardown, Error> {
        let Some(found) = self.find_endpoint(endpoint).await? else {
            let absent = vec![Resource::Endpoint(endpoint.clone())];
            return Ok(Teardown {
                absent,
                ..Teardown::default()
            });
        };
        let mut report = Teardown::default();
        let configs: BTreeSet<_> = [found.config].into_iter().chain(found.pending_config).collect();
        let mut models = BTreeSet::new();
        for config in &configs {
            match self.models_behind(config).await {
                Ok(behind) => models.extend(behind),
                Err(Error::NotFound(_)) => {}
                Err(error) => report
                    .left
                    .push((Resource::EndpointConfig(config.clone()), error)),
            }
        }

        let resources = [Resource::Endpoint(endpoint.clone())]
            .into_iter()
            .chain(configs.into_iter().map(Resource::EndpointConfig))
            .chain(models.into_iter().map(Resource::Model))
            // A configuration whose models are not known stays, so that a later teardown finds them.
            .filter(|resource| report.left.iter().all(|(left, _)| left != resource))
            .collect::<Vec<_>>();
        let Teardown {
            deleted,
            absent,
            left,
        } = self.teardown_of(&resources, deadline, observer).await;
        report.deleted.extend(deleted);
        report.absent.extend(absent);
        report.left.extend(left);
        Ok(report)
    }

    /// Deletes these, in this order, and waits until endpoints are gone; absent ones are fine.
    ///
    /// After an endpoint that could not be deleted everything is left alone, since it may be needed.
    pub async fn teardown_of(
        &self,
        resources: &[Resource],
        deadline: Deadline,
        observer: EndpointObserver<'_>,
    ) -> Teardown {
        let waiting = deadline.start();
        let mut report = Teardown::default();
        let mut still_there: Option<&EndpointName> = None;
        for resource in resources {
            let outcome = match (resource, still_there) {
                (Resource::Endpoint(name), _) => {
                    let outcome = self.remove_endpoint(name, waiting.rest(), &mut *observer).await;
                    if outcome.is_err() {
                        still_there = Some(name);
                    }
                    outcome
                }
                (_, Some(endpoint)) => Err(Error::EndpointStillThere {
                    endpoint: endpoint.to_string(),
                }),
                (Resource::EndpointConfig(name), None) => self.delete_endpoint_config(name).await,
                (Resource::Model(name), None) => self.delete_model(name).await,
            };
            report.note(resource.clone(), outcome);
        }
        report
    }

    /// Starts to delete an endpoint; false when there is none.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when it is busy being created or updated.
    pub async fn delete_endpoint(&self, endpoint: &EndpointName) -> Result<bool, Error> {
        let answer = self
            .sagemaker
            .delete_endpoint()
            .endpoint_name(endpoint.as_str())
            .send()
            .await;
        existed(
            answer
                .map(drop)
                .map_err(|error| Error::from_sdk("DeleteEndpoint", error)),
        )
    }

    /// Deletes an endpoint configuration; false when there is none.
    ///
    /// # Errors
    ///
    /// Those of any request. The service does not mind when an endpoint still needs the configuration, though the endpoint
    /// then cannot be updated.
    pub async fn delete_endpoint_config(&self, config: &EndpointConfigName) -> Result<bool, Error> {
        let request = self
            .sagemaker
            .delete_endpoint_config()
            .endpoint_config_name(config.as_str());
        let answer = request.send().await;
        existed(
            answer
                .map(drop)
                .map_err(|error| Error::from_sdk("DeleteEndpointConfig", error)),
        )
    }

    /// Deletes a model, though not its archive in S3; false when there is none.
    ///
    /// # Errors
    ///
    /// Those of any request.
    pub async fn delete_model(&self, model: &ModelName) -> Result<bool, Error> {
        let answer = self
            .sagemaker
            .delete_model()
            .model_name(model.as_str())
            .send()
            .await;
        existed(
            answer
                .map(drop)
                .map_err(|error| Error::from_sdk("DeleteModel", error)),
        )
    }

    /// The models that an endpoint configuration names.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] when there is no such configuration.
    pub async fn models_behind(&self, config: &EndpointConfigName) -> Result<Vec<ModelName>, Error> {
        const OPERATION: &str = "DescribeEndpointConfig";
        let request = self
            .sagemaker
            .describe_endpoint_config()
            .endpoint_config_name(config.as_str());
        let answer = request
            .send()
            .await
            .map_err(|error| Error::from_sdk(OPERATION, error))?;
        let variants = answer
            .production_variants()
            .iter()
            .chain(answer.shadow_production_variants());
        let model = |name: &str| {
            name.parse().map_err(|_| Error::UnexpectedAnswer {
                operation: OPERATION,
                problem: format!("model `{name}`"),
            })
        };
        variants
            .filter_map(ProductionVariant::model_name)
            .map(model)
            .collect()
    }

    /// Deletes an endpoint, once it is no longer busy, and waits until it is gone; false when there is none.
    async fn remove_endpoint(
        &self,
        endpoint: &EndpointName,
        deadline: Deadline,
        observer: EndpointObserver<'_>,
    ) -> Result<bool, Error> {
        let waiting = deadline.start();
        let mut seen = false;
        let mut look = |found: &Endpoint| {
            seen = true;
            observer(found);
        };
        // The service refuses to delete an endpoint that is busy; one that goes by itself is as good.
        if self.wait_settled(endpoint, deadline, &mut look).await?.is_some() {
            self.delete_endpoint(endpoint).await?;
            self.wait_gone(endpoint, waiting.rest(), &mut look).await?;
        }
        Ok(seen)
    }
}

fn existed(outcome: Result<(), Error>) -> Result<bool, Error> {
    match outcome {
        Ok(()) => Ok(true),
        Err(Error::NotFound(_)) => Ok(false),
        Err(error) => Err(error),
    }
}
