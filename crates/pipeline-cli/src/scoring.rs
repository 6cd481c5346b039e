//! Who scores what comes in while a command runs: a model file in this process, or an endpoint.

use std::sync::Arc;

use access_events::AccessEvent;
use ipinsights::Model;
use ipinsights_client::{EndpointName, ParseNameError};
use score_lambda::{Cutoff, EndpointScorer, ScoreFailure, ScoreFuture, Scorer};

use crate::cli::Scored;
use crate::commands::score::open_model;
use crate::exit::Failure;
use crate::progress::Progress;
use crate::target::Opened;

/// A scorer with the line it is held against, and what it needs to be there for as long as it scores.
pub struct Scoring {
    /// Scores.
    pub scorer: Arc<dyn Scorer>,
    /// Where the line is.
    pub cutoff: Cutoff,
    /// The model, where it is a file.
    pub model: Option<Arc<Model>>,
    services: Option<Opened>,
}

impl Scoring {
    /// Opens the model file, or the endpoint's services. A threshold that is given goes before the model's own.
    pub async fn open(scored: &Scored, progress: &Arc<Progress>) -> anyhow::Result<Self> {
        let given = scored.threshold.map(Cutoff::at).transpose()?;
        if let Some(path) = &scored.model {
            let model = Arc::new(open_model(path)?);
            let own = model
                .detector()
                .map(|detector| Cutoff::from(*detector.threshold()));
            let Some(cutoff) = given.or(own) else {
                return Err(Failure::usage(format!(
                    "`{}` has no threshold: give --threshold, or put one in with `ipinsights calibrate`",
                    path.display()
                ))
                .into());
            };
            return Ok(Self {
                scorer: Arc::new(InProcess(Arc::clone(&model))),
                cutoff,
                model: Some(model),
                services: None,
            });
        }
        let Some(cutoff) = given else {
            return Err(Failure::usage(
                "an endpoint has no threshold of its own: give --threshold, such as the one of a run's report",
            )
            .into());
        };
        let endpoint = scored.endpoint()?;
        let services = Opened::open(&scored.place, progress).await?;
        let invoker = services.clients.ip_insights().invoker().clone();
        Ok(Self {
            scorer: Arc::new(EndpointScorer::new(invoker, endpoint)),
            cutoff,
            model: None,
            services: Some(services),
        })
    }

    /// Stops the local services, if there are any.
    pub async fn close(self) {
        if let Some(services) = self.services {
            services.close().await;
        }
    }
}

impl Scored {
    /// The endpoint's name.
    pub fn endpoint(&self) -> anyhow::Result<EndpointName> {
        let name = self.endpoint.parse();
        Ok(name.map_err(|error: ParseNameError| Failure::usage(error.to_string()))?)
    }
}

/// A model in this process.
struct InProcess(Arc<Model>);

impl Scorer for InProcess {
    fn knows(&self, entity: &str) -> Option<bool> {
        Some(self.0.knows_entity(entity))
    }

    fn score<'a>(&'a self, events: &'a [AccessEvent]) -> ScoreFuture<'a> {
        let (model, events) = (Arc::clone(&self.0), events.to_vec());
        Box::pin(async move {
            // Ten thousand rows keep a core busy for a while, and others wait for theirs.
            let scores = tokio::task::spawn_blocking(move || model.score_batch(&events)).await;
            scores.map_err(|error| ScoreFailure::Failed { source: error.into() })
        })
    }
}
