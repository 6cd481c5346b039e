//! The client against a scripted stand-in for the service: what it sends, and what it makes of the answers.

#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests")]

mod asynchronous;
mod endpoints;
mod errors;
mod faults;
mod invoke;
mod jobs;
mod support;
mod teardown;
mod training;
