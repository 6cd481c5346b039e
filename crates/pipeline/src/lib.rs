#![doc = include_str!("../README.md")]

pub mod clients;
pub mod definition;
pub mod destroy;
mod error;
pub mod evaluation;
mod hex;
pub mod names;
pub mod objects;
pub mod observer;
mod page;
pub mod queue;
pub mod report;
pub mod rows;
pub mod run;
pub mod settings;

pub use clients::{Clients, Connection};
pub use destroy::{Teardown, destroy};
pub use error::Error;
pub use evaluation::EvaluationReport;
pub use observer::Event;
pub use report::Report;
pub use rows::Rows;
pub use run::{Failed, run};
pub use settings::{Settings, SettingsDraft};

/// The guide's chapter on the crates: its examples are tests.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/src/crates.md")]
struct Crates;
