//! From a model's archive to an endpoint that serves it, or back to where it began.

use crate::endpoint::what;
use crate::teardown::{Resource, Teardown};
use crate::wait::Waiting;
use crate::{
    Client, Deadline, Endpoint, EndpointChange, EndpointConfig, EndpointConfigName, EndpointName,
    EndpointObserver, EndpointStatus, Error, Model,
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
    /// When that fails, what was made, or may have been, is deleted again: the model, the configuration, and an endpoint that was
    /// new and failed. An endpoint that was there goes on with what it served. What an endpoint still needs, or may, is left: while
    /// it goes over to it, and when it cannot be looked at; then so is the endpoint itself, with the reason. Both, making and
    /// undoing, have up to `deadline`.
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
        let mut user = User::None;
        let waiting = deadline.start();
        let outcome = async {
            let outcome = self.create_model(model).await;
            if may_have_done("CreateModel", &outcome) {
                made.push(Resource::Model(model.name.clone()));
            }
            outcome?;
            let outcome = self.create_endpoint_config(config).await;
            if may_have_done("CreateEndpointConfig", &outcome) {
                made.insert(0, Resource::EndpointConfig(config.name.clone()));
            }
            outcome?;
            let outcome = self
                .create_or_update_endpoint(endpoint, &config.name, waiting.rest(), &mut *observer)
                .await;
            user = match &outcome {
                Ok(EndpointChange::Updated | EndpointChange::Unchanged) => User::Old,
                outcome if may_have_done("CreateEndpoint", outcome) => User::New,
                _ => User::Old,
            };
            let begun = outcome?;
            self.wait_in_service(endpoint, &config.name, waiting.rest(), &mut *observer)
                .await?;
            Ok(begun)
        };
        let source = match outcome.await {
            Ok(change) => return Ok(change),
            Err(error) => Box::new(error),
        };
        let attempt = Attempt {
            endpoint,
            config: &config.name,
            made,
            user,
            waiting,
        };
        let undone = self.undo(attempt, deadline, observer).await;
        Err(DeployError {
            endpoint: endpoint.clone(),
            source,
            undone,
        })
    }

    /// Deletes what was made for an endpoint that came to nothing, as far as the endpoint does not need it.
    async fn undo(
        &self,
        attempt: Attempt<'_>,
        deadline: Deadline,
        observer: EndpointObserver<'_>,
    ) -> Teardown {
        let Attempt {
            endpoint,
            config,
            mut made,
            user,
            waiting,
        } = attempt;
        let found = match user {
            User::None => Ok(None),
            User::Old | User::New => self.find_endpoint(endpoint).await,
        };
        let needs_it =
            |found: &Endpoint| found.config == *config || found.pending_config.as_ref() == Some(config);
        match found {
            Err(error) => return left_to(endpoint, Some(error), made),
            Ok(Some(found)) if needs_it(&found) => match user {
                User::New if found.status == EndpointStatus::Failed => {
                    made.insert(0, Resource::Endpoint(endpoint.clone()));
                }
                User::New => {
                    let error = waiting.over(what(endpoint), found.status.to_string(), found.failure_reason);
                    return left_to(endpoint, Some(error), made);
                }
                User::Old | User::None => return left_to(endpoint, None, made),
            },
            Ok(_) => {}
        }
        self.teardown_of(&made, deadline, observer).await
    }
}

/// What was done for an endpoint.
struct Attempt<'a> {
    endpoint: &'a EndpointName,
    config: &'a EndpointConfigName,
    /// What was made, or may have been, in the order in which it can be deleted.
    made: Vec<Resource>,
    user: User,
    waiting: Waiting,
}

/// Who may need what was made.
#[derive(Clone, Copy)]
enum User {
    /// Nobody: no endpoint was asked to use it.
    None,
    /// An endpoint that was there before, if any.
    Old,
    /// An endpoint that was made for it, or may have been.
    New,
}

/// Whether the service has done what `operation` asks for, or may have: it does not always come to an answer.
fn may_have_done<T>(operation: &str, outcome: &Result<T, Error>) -> bool {
    match outcome {
        Ok(_) => true,
        Err(Error::Unavailable(refusal)) => refusal.operation == operation,
        Err(
            Error::NotReached { operation: asked, .. } | Error::UnreadableAnswer { operation: asked, .. },
        ) => *asked == operation,
        Err(_) => false,
    }
}

/// Everything is left, since the endpoint may need it; and the endpoint as well, where there is an error with it.
fn left_to(endpoint: &EndpointName, error: Option<Error>, made: Vec<Resource>) -> Teardown {
    let itself = error.map(|error| (Resource::Endpoint(endpoint.clone()), error));
    let needed = made.into_iter().map(|resource| {
        let endpoint = endpoint.to_string();
        (resource, Error::EndpointStillThere { endpoint })
    });
    Teardown {
        left: itself.into_iter().chain(needed).collect(),
        ..Teardown::default()
    }
}
