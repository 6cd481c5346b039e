#![doc = include_str!("../README.md")]

mod score;

pub mod calibration;
pub mod evaluation;
pub mod inference;

pub use calibration::{Calibration, CalibrationError, Threshold};
pub use score::{Prediction, Score};
