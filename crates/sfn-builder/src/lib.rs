#![doc = include_str!("../README.md")]

mod asl;
mod check;
pub mod checked;
mod combine;
mod draft;
mod finding;
mod graph;
mod input;
pub mod jsonata;
mod machine;
pub mod path;
mod picture;
pub mod service;
mod source;
pub mod template;

pub use asl::Document;
pub use combine::{EndpointDeployment, MetricGate};
pub use draft::{
    Catch, Choice, Condition, Fail, Fragment, ItemBatcher, ItemReader, MapState, Parallel, Pass,
    ResultWriter, Retry, Rule, State, Succeed, Task, Wait,
};
pub use finding::{Code, Finding, InvalidDefinition, Severity};
pub use input::{Input, Kind, Member, Placeholder};
pub use machine::{MachineBuilder, StateMachine};
pub use path::Path;
pub use picture::StateStatus;
pub use source::{Place, Places, Position};
