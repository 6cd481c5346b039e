#![doc = include_str!("../README.md")]

mod choice;
pub mod clock;
mod data;
mod execution;
mod handler;
mod history;
mod intrinsic;
mod run;

pub use clock::{Clock, VirtualClock};
pub use execution::{Execution, Outcome};
pub use futures::future::BoxFuture;
pub use handler::{Submitted, TaskCall, TaskFailure, TaskHandler};
pub use history::{Event, HistoryEvent, StateType, TaskDetails, abort};
pub use run::run;
