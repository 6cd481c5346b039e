#![doc = include_str!("../README.md")]

mod config;
mod cutoff;
mod error;
mod router;
mod scorer;

pub use config::{Config, Variables};
pub use cutoff::Cutoff;
pub use error::Error;
pub use router::{MAX_BODY_BYTES, MAX_ROWS, router};
pub use scorer::{EndpointScorer, ScoreFailure, ScoreFuture, Scorer};
