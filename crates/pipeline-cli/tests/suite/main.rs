//! The binary, as a person, a script or a supervisor starts it.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test ends where it fails")]

mod maxmind;
mod support;

mod command;
mod data;
mod docs;
mod extract;
mod fetch;
mod judge;
mod kill;
mod queue;
mod report;
mod schema;
mod score_server;
mod states;
mod tune;
mod watch;
