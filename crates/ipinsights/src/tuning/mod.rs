//! The search for better hyperparameters: over the documented ranges, at random, by successive halving or by an estimate of
//! where the good ones are.
//!
//! ```
//! use std::ops::ControlFlow;
//!
//! use access_events::AccessEvent;
//! use ipinsights::tuning::*;
//! use ipinsights::{Dataset, Hyperparameters, TrainOptions};
//!
//! let rows: Vec<AccessEvent> = (0..100)
//!     .map(|i| match i % 2 {
//!         0 => AccessEvent::new("ana", [192, 0, 2, i].into()),
//!         _ => AccessEvent::new("ben", [198, 51, 100, i].into()),
//!     })
//!     .collect();
//! let (train, validation) = rows.split_at(80);
//!
//! // What is searched, and the values of the rest.
//! let base = Hyperparameters::advise(80, 2).vector_dim(8).epochs(8).check()?;
//! let space = SpaceDraft::new()
//!     .range("learning_rate", Range::between(1e-4, 0.1))
//!     .range("num_ip_encoder_layers", Range::between(1.0, 2.0))
//!     .check(&base)?;
//! // Eight trials of 2 epochs, the best four of them to 4, the best two of these to 8.
//! let strategy = Strategy::Halving(Halving { trials: 8, min_epochs: 2, eta: 2, asynchronous: false });
//! let settings = Settings { strategy, seed: 7, parallel: 2, stopping: Stopping::Off };
//!
//! let load = |params: &Hyperparameters| -> Result<_, std::convert::Infallible> {
//!     Ok((Dataset::from_slice(train, params), Dataset::from_slice(validation, params)))
//! };
//! let runner = EngineRunner::new(load, TrainOptions::default());
//! let search = Search::new(space, settings)?;
//! let tuned = tune(search, &runner, &mut Journal::none(), 2, &mut |_| ControlFlow::Continue(()))?;
//!
//! assert_eq!(tuned.trials.len(), 8);
//! assert!(tuned.best.objective > 0.95);
//! assert!(tuned.model.score("ana", [192, 0, 2, 77].into()).dot_product() > 0.0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Ranges ([`SpaceDraft`], [`Range`], [`documented_range`]) need no engine, so that a client of the service has the same. [`Search`]
//! is what chooses, without threads and training: whoever trains elsewhere asks it for the next [`Step`]. [`tune`] carries a search
//! out with a [`Runner`], and [`Journal`] lets it be resumed.

mod space;

#[cfg(feature = "engine")]
mod engine_runner;
#[cfg(feature = "engine")]
mod journal;
#[cfg(feature = "engine")]
mod run;
#[cfg(feature = "engine")]
mod search;
#[cfg(feature = "engine")]
mod strategy;

#[cfg(all(test, feature = "engine"))]
mod tests;

pub use space::{
    InvalidSpace, Kind, ParseRangeError, Range, Scaling, Space, SpaceDraft, SpaceProblem, documented_range,
    kind, tunable_names,
};

#[cfg(feature = "engine")]
pub use {
    engine_runner::{EngineError, EngineRunner},
    journal::{Fingerprint, Journal, JournalError},
    run::{Ended, News, Runner, TuneError, Tuned, tune},
    search::{
        Best, Halving, InvalidSettings, Job, JobId, Outcome, Search, Settings, Status, Step, Stopping,
        Strategy, Trial,
    },
};

/// What is maximised: the service's only objective for this algorithm.
pub const OBJECTIVE: &str = "validation:discriminator_auc";
