#![doc = include_str!("../README.md")]

mod server;

mod api;
mod dispatch;
mod logs;
mod runtime;
mod s3;
mod sagemaker;
mod states;
mod sts;

mod disk;
mod error;
mod store;
mod time;

pub use error::{Error, OperationError};
pub use server::{Builder, Server, TrainingObserver};
pub use sfn_local::{VirtualClock, handlers::MockConfig};

/// The region that everything is in unless the builder says otherwise.
pub const REGION: &str = "us-east-1";

/// The account that everything belongs to.
pub const ACCOUNT: &str = "000000000000";

/// The role that a caller has, whatever the credentials.
pub const ROLE_ARN: &str = "arn:aws:iam::000000000000:role/ipinsights-local";
