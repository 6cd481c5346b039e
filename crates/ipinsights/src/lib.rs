#![doc = include_str!("../README.md")]

mod hyperparameters;
mod score;

pub mod calibration;
pub mod evaluation;
pub mod inference;

pub use calibration::{Calibration, CalibrationError, Threshold};
pub use hyperparameters::{Draft, Hyperparameters, InvalidHyperparameters, Problem};
pub use score::{Prediction, Score};
