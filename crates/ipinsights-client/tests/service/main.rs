//! The client against a scripted stand-in for the service: what it sends, and what it makes of the answers.

mod endpoints;
mod errors;
mod invoke;
mod support;
mod teardown;
mod training;
