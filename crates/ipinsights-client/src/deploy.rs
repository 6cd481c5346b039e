//! From a model's archive to an endpoint that serves it, or back to where it began.

use crate::teardown::{Resource, Teardown};
use crate::{
    Client, Deadline, EndpointChange, EndpointConfig, EndpointName, EndpointObserver, EndpointStatus, Error,
    Model,
};

/// An endpoint does not serve what it was to serve.
#[derive(Debug, thiserror::Error)]
#[error("endpoint `{endpoint}` does not serve what it was to{}", left(undone))]
#[non_exhaustive]
pub struct DeployError {
    /// The endpoint.
    pub endpoint: EndpointName,
    /// Why.
    pub source: Box<Error>,
    /// What had been made for it: what of that is gone again, and what is left and why.
    pub undone: Teardown,
}

fn left(undone: &Teardown) -> String {
    match &undone.left[..] {
        [] => String::new(),
        left => {
            let left: Vec<_> = left.iter().map(|(resource, _)| resource.to_string()).collect();
            format!("; still there: {}", left.join(", "))
        }
    }
}

impl Client {
    /// Makes a model and a configuration, has an endpoint serve them, whether or not it exists, and waits until it does.
    ///
    /// When that fails, what was made is deleted again: the model, the configuration, and an endpoint that was new. An endpoint
    /// that was there goes on with what it served. What an endpoint still needs, or may, is left: while it goes over to it, and when
    /// it cannot be looked at. Each of both has up to `deadline`.
    ///
    /// # Errors
    ///
    /// Its source is that of [`create_model`](Self::create_model), [`create_endpoint_config`](Self::create_endpoint_config),
    /// [`create_or_update_endpoint`](Self::create_or_update_endpoint) or [`wait_in_service`](Self::wait_in_service).
    pub async fn deploy(
        &self,
        endpoint: &EndpointName,
        model: &Model,
        config: &EndpointConfig,
        deadline: Deadline,
        observer: EndpointObserver<'_>,
    ) -> Result<EndpointChange, DeployError> {
        let mut made = Vec::new();
        let mut change = None;
        let waiting = deadline.start();
        let outcome = async {
            self.create_model(model).await?;
            made.push(Resource::Model(model.name.clone()));
            self.create_endpoint_config(config).await?;
            made.insert(0, Resource::EndpointConfig(config.name.clone()));
            let begun = self
                .create_or_update_endpoint(endpoint, &config.name, deadline, &mut *observer)
                .await?;
            change = Some(begun);
            self.wait_in_service(endpoint, &config.name, waiting.rest(), &mut *observer)
                .await?;
            Ok(begun)
        };
        let source = match outcome.await {
            Ok(change) => return Ok(change),
            Err(error) => Box::new(error),
        };
        let is_new = matches!(change, Some(EndpointChange::Created | EndpointChange::Recreated));
        let undone = self
            .undo(endpoint, config, made, is_new, deadline, observer)
            .await;
        Err(DeployError {
            endpoint: endpoint.clone(),
            source,
            undone,
        })
    }

    /// Deletes what was made for an endpoint that came to nothing, as far as the endpoint does not need it.
    async fn undo(
        &self,
        endpoint: &EndpointName,
        config: &EndpointConfig,
        mut made: Vec<Resource>,
        is_new: bool,
        deadline: Deadline,
        observer: EndpointObserver<'_>,
    ) -> Teardown {
        let all_left = |made: Vec<Resource>, error: &dyn Fn() -> Error| Teardown {
            left: made.into_iter().map(|resource| (resource, error())).collect(),
            ..Teardown::default()
        };
        let still_there = || Error::EndpointStillThere {
            endpoint: endpoint.to_string(),
        };
        // Before there was a configuration, no endpoint can need anything.
        let has_config = made
            .iter()
            .any(|resource| matches!(resource, Resource::EndpointConfig(_)));
        let found = match has_config {
            true => self.find_endpoint(endpoint).await,
            false => Ok(None),
        };
        match found {
            Err(_) => return all_left(made, &still_there),
            Ok(Some(found))
                if found.config == config.name || found.pending_config.as_ref() == Some(&config.name) =>
            {
                if !(is_new && found.status == EndpointStatus::Failed) {
                    return all_left(made, &still_there);
                }
                made.insert(0, Resource::Endpoint(endpoint.clone()));
            }
            Ok(_) => {}
        }
        self.teardown_of(&made, deadline, observer).await
    }
}
