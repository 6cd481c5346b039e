#![doc = include_str!("../README.md")]

pub mod config;
pub mod serve;
pub mod train;

mod answer;
mod command;
mod layout;

pub use command::{Command, Exit};
pub use layout::Layout;

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
