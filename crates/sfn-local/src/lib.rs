#![doc = include_str!("../README.md")]

mod choice;
pub mod clock;
mod data;
mod execution;
mod handler;
mod history;
mod intrinsic;
mod run;
mod support;

pub use clock::{Clock, VirtualClock};
pub use execution::{Execution, Outcome};
pub use futures::future::BoxFuture;
pub use handler::{Submitted, TaskCall, TaskFailure, TaskHandler};
pub use history::{Event, HistoryEvent, StateType, TaskDetails, abort};
pub use run::run;
pub use support::{Unsupported, UnsupportedPart, check_supported};
