//! The official clients against a server: what works in the account works here.

mod common;
mod endpoints;
mod folder;
mod objects;
mod refusals;
mod state_machines;
mod trainings;
