//! The official clients against a server: what works in the account works here.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests are not seen as tests"
)]

mod access;
#[cfg(feature = "console")]
mod browser;
mod common;
mod conformance;
#[cfg(feature = "console")]
mod console;
mod endpoints;
mod folder;
mod jobs;
mod logs;
mod objects;
mod plugged;
mod refusals;
mod restarts;
mod state_machines;
mod step_functions;
mod trainings;
