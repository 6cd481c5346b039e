#![doc = include_str!("../README.md")]

pub mod clients;
pub mod definition;
pub mod destroy;
mod error;
pub mod names;
pub mod objects;
pub mod observer;
mod page;
pub mod queue;
pub mod report;
pub mod run;
pub mod settings;

pub use clients::{Clients, Connection};
pub use destroy::{Teardown, destroy};
pub use error::Error;
pub use observer::Event;
pub use page::{EvaluationSource, evaluation_to_html};
pub use report::Report;
pub use run::run;
pub use settings::{Settings, SettingsDraft};

/// The guide's chapter on the crates: its examples are tests.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/src/crates.md")]
struct Crates;
