//! The official clients against a server: what works in the account works here.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests are not seen as tests"
)]

mod access;
mod common;
mod conformance;
mod endpoints;
mod folder;
mod jobs;
mod logs;
mod objects;
mod refusals;
mod restarts;
mod state_machines;
mod step_functions;
mod trainings;
