// The front page trains a model.
#![cfg_attr(feature = "engine", doc = include_str!("../README.md"))]
#![cfg_attr(
    not(feature = "engine"),
    doc = "What a client of IP Insights needs; see the feature `engine` for the rest."
)]

mod advice;
mod hyperparameters;
mod instance;
mod progress;
mod score;

#[cfg(feature = "engine")]
mod adam;
#[cfg(feature = "engine")]
mod archive;
#[cfg(feature = "engine")]
mod dataset;
#[cfg(feature = "engine")]
mod encoder;
#[cfg(feature = "engine")]
mod executor;
#[cfg(feature = "engine")]
mod gemm;
#[cfg(feature = "engine")]
mod hash;
#[cfg(feature = "engine")]
mod model;
#[cfg(feature = "engine")]
mod network;
#[cfg(feature = "engine")]
mod real;
#[cfg(feature = "engine")]
mod sampler;
#[cfg(feature = "engine")]
mod step;
#[cfg(feature = "engine")]
mod train;
#[cfg(feature = "engine")]
mod vector;

pub mod calibration;
pub mod evaluation;
pub mod inference;
pub mod log;
pub mod tuning;

pub use advice::{Advice, AdvisedValue};
pub use calibration::{Calibration, CalibrationError, Threshold};
pub use hyperparameters::{Draft, Hyperparameters, InvalidHyperparameters, Problem};
pub use instance::{Instance, SERVICE_MODEL_LIMIT, advised_instance, entity_table_bytes};
pub use progress::{Metrics, Progress};
pub use score::{Prediction, Score};

#[cfg(feature = "engine")]
pub use {
    archive::ArchiveError,
    dataset::Dataset,
    model::Model,
    train::{TrainError, TrainOptions, train, train_dataset},
};
