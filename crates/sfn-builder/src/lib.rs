#![forbid(unsafe_code)]
#![doc = include_str!("../README.md")]

mod asl;
mod check;
pub mod checked;
mod cloudformation;
mod combine;
mod diff;
mod draft;
mod file;
mod finding;
mod graph;
mod input;
pub mod jsonata;
mod machine;
mod names;
pub mod path;
mod picture;
mod report;
pub mod service;
mod source;
pub mod template;
mod yaml;

pub use asl::Document;
pub use combine::{EndpointDeployment, MetricGate};
pub use diff::{Diff, Difference, StateChange};
pub use draft::{
    Catch, Choice, Condition, Fail, Fragment, ItemBatcher, ItemReader, MapState, Parallel, Pass,
    ResultWriter, Retry, Rule, State, Succeed, Task, Wait,
};
pub use file::{File, FileDefinition};
pub use finding::{Code, Finding, InvalidDefinition, ServiceDiagnostic, Severity};
pub use input::{Input, Kind, Member, Placeholder};
pub use machine::{MachineBuilder, StateMachine};
pub use path::Path;
pub use picture::{Execution, InvalidHistory, StateRun, StateStatus};
pub use report::Report;
pub use source::{Place, Places, Position};
