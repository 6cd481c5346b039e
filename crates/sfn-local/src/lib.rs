#![doc = include_str!("../README.md")]

pub mod clock;
mod data;
pub mod engine;
mod execution;
mod handler;
pub mod handlers;
mod history;
mod run;
mod support;

pub use clock::{Clock, Hold, VirtualClock};
pub use engine::{Engine, ResumeError};
pub use execution::{Execution, Outcome};
pub use futures::future::BoxFuture;
pub use handler::{Submitted, TaskCall, TaskFailure, TaskHandler, TaskProgress, TaskRequest};
pub use history::{Event, HistoryEvent, InvalidRecord, Phase, StateType, TaskDetails, abort};
pub use run::{MapRunSettings, MapRunStatus, Observer, Record, Runner, run};
pub use support::{Unsupported, UnsupportedPart, check_supported};
