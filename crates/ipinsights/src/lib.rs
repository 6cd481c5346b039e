// The front page trains a model.
#![cfg_attr(feature = "engine", doc = include_str!("../README.md"))]
#![cfg_attr(
    not(feature = "engine"),
    doc = "What a client of IP Insights needs; see the feature `engine` for the rest."
)]

mod advice;
mod curve;
mod detector;
mod hyperparameters;
mod instance;
mod outcome;
mod progress;
mod score;

#[cfg(feature = "engine")]
mod adam;
#[cfg(feature = "engine")]
mod archive;
#[cfg(feature = "engine")]
mod atomic;
#[cfg(feature = "engine")]
mod dataset;
#[cfg(feature = "engine")]
mod encoder;
#[cfg(feature = "engine")]
mod entities;
#[cfg(feature = "engine")]
mod executor;
#[cfg(feature = "engine")]
mod gemm;
#[cfg(feature = "engine")]
mod hash;
#[cfg(feature = "history")]
mod history;
#[cfg(feature = "mmap")]
mod map;
#[cfg(feature = "engine")]
mod model;
#[cfg(feature = "engine")]
mod network;
#[cfg(feature = "history")]
mod part;
#[cfg(feature = "engine")]
mod real;
#[cfg(feature = "history")]
mod reasons;
#[cfg(feature = "engine")]
mod sampler;
#[cfg(feature = "engine")]
mod step;
#[cfg(feature = "engine")]
mod tensors;
#[cfg(feature = "engine")]
mod train;
#[cfg(feature = "engine")]
mod vector;
#[cfg(feature = "engine")]
mod weights;

pub mod calibration;
pub mod evaluation;
pub mod inference;
pub mod interval;
pub mod log;
pub mod tuning;

pub use advice::{Advice, AdvisedValue};
pub use calibration::{Calibration, CalibrationError, Threshold, ThresholdInterval};
pub use curve::{CurvePoint, TrainingCurve};
pub use detector::{Detector, Judgement, Verdict};
pub use hyperparameters::{Draft, Hyperparameters, InvalidHyperparameters, Problem};
pub use instance::{Instance, SERVICE_MODEL_LIMIT, advised_instance, entity_table_bytes};
pub use outcome::{
    AddressOutcome, Doubtful, EntityOutcome, Impossible, OutcomePolicy, Outcomes, RawRow, Rejected,
};
pub use progress::{Metrics, Progress};
pub use score::{Prediction, Score};

#[cfg(feature = "history")]
pub use {
    history::{History, HistoryBuilder, HistoryError, NetworkUser, NetworkUsers, Usage},
    part::PartError,
    reasons::{
        EntityCount, HistoryReasons, NearNetwork, NetworkCount, ReasonOptions, Reasons, TimedCount,
        UsualEntities,
    },
};

#[cfg(feature = "engine")]
pub use {
    archive::ArchiveError,
    dataset::{Dataset, DatasetError},
    entities::KnownEntities,
    model::Model,
    train::{
        BestEpoch, CheckpointError, Checkpoints, EarlyStop, TrainError, TrainOptions, Trained, Training,
        train, train_dataset,
    },
};
