#![doc = include_str!("../README.md")]

mod answer;
mod config;
mod cutoff;
mod error;
mod lambda;
mod log;
mod openapi;
mod problem;
mod router;
mod rows;
mod scorer;
mod server;

pub use answer::Counts;
pub use config::{Config, Variables};
pub use cutoff::Cutoff;
pub use error::Error;
pub use lambda::answer;
pub use log::{Flagged, Level, Log, LogEntry};
pub use openapi::document;
pub use router::{Logging, MAX_BODY_BYTES, MAX_ROWS, router};
pub use scorer::{EndpointScorer, ScoreFailure, ScoreFuture, Scorer};
pub use server::Server;
