//! Who scores: the endpoint, or something in its place.

use std::pin::Pin;
use std::time::Duration;

use access_events::AccessEvent;
use ipinsights::Score;
use ipinsights::inference::PredictionRecord;
use ipinsights_client::{EndpointName, Error, InvokeOptions, Invoker};

/// What [`Scorer::score`] returns.
pub type ScoreFuture<'a> = Pin<Box<dyn Future<Output = Result<Vec<Score>, ScoreFailure>> + Send + 'a>>;

/// Scores pairs.
pub trait Scorer: Send + Sync {
    /// One score per event, in their order.
    fn score<'a>(&'a self, events: &'a [AccessEvent]) -> ScoreFuture<'a>;

    /// Whether the model was trained on this entity, where that is known: the score of another one says nothing of it.
    fn knows(&self, entity: &str) -> Option<bool> {
        let _ = entity;
        None
    }
}

/// Why there are no scores.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScoreFailure {
    /// It may work in a moment: the endpoint is overloaded, or not in service yet.
    #[error("the endpoint is not available")]
    Unavailable {
        /// What happened.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It will not work by trying again: no such endpoint, no permission, an answer that is not scores.
    #[error("the endpoint failed")]
    Failed {
        /// What happened.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// How long an endpoint may take: a little less than API Gateway and the function wait, so that whoever asks is answered.
const LONGEST: Duration = Duration::from_secs(25);

/// Scores by a SageMaker endpoint, which is not available where it takes longer than 25 seconds.
#[derive(Debug, Clone)]
pub struct EndpointScorer {
    invoker: Invoker,
    endpoint: EndpointName,
    options: InvokeOptions,
}

impl EndpointScorer {
    /// Scores by this endpoint.
    pub fn new(invoker: Invoker, endpoint: EndpointName) -> Self {
        Self {
            invoker,
            endpoint,
            options: InvokeOptions {
                timeout: Some(LONGEST),
                ..InvokeOptions::default()
            },
        }
    }

    /// Another time that the endpoint may take.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.options.timeout = Some(timeout);
        self
    }
}

impl Scorer for EndpointScorer {
    fn score<'a>(&'a self, events: &'a [AccessEvent]) -> ScoreFuture<'a> {
        Box::pin(async move {
            let answer = self.invoker.invoke(&self.endpoint, events, &self.options).await;
            match answer {
                Ok(predictions) => Ok(predictions.iter().map(PredictionRecord::score).collect()),
                Err(error) if error.is_transient() || matches!(error, Error::Timeout { .. }) => {
                    Err(ScoreFailure::Unavailable { source: error.into() })
                }
                Err(error) => Err(ScoreFailure::Failed { source: error.into() }),
            }
        })
    }
}
