//! Who scores: the endpoint, or something in its place.

use std::pin::Pin;

use access_events::AccessEvent;
use ipinsights::Score;
use ipinsights_client::{EndpointName, Invoker};

/// What [`Scorer::score`] returns.
pub type ScoreFuture<'a> = Pin<Box<dyn Future<Output = Result<Vec<Score>, ScoreFailure>> + Send + 'a>>;

/// Scores pairs.
pub trait Scorer: Send + Sync {
    /// One score per event, in their order.
    fn score<'a>(&'a self, events: &'a [AccessEvent]) -> ScoreFuture<'a>;
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

/// Scores by a SageMaker endpoint.
#[derive(Debug, Clone)]
pub struct EndpointScorer {
    invoker: Invoker,
    endpoint: EndpointName,
}

impl EndpointScorer {
    /// Scores by this endpoint.
    pub fn new(invoker: Invoker, endpoint: EndpointName) -> Self {
        Self { invoker, endpoint }
    }
}

impl Scorer for EndpointScorer {
    fn score<'a>(&'a self, events: &'a [AccessEvent]) -> ScoreFuture<'a> {
        Box::pin(async move {
            self.invoker.score(&self.endpoint, events).await.map_err(|error| {
                if error.is_transient() {
                    ScoreFailure::Unavailable { source: error.into() }
                } else {
                    ScoreFailure::Failed { source: error.into() }
                }
            })
        })
    }
}
