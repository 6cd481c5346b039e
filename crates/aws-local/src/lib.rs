#![doc = include_str!("../README.md")]

mod server;
mod service;

mod api;
#[cfg(feature = "console")]
mod console;
mod dispatch;
mod logs;
mod metrics;
mod runtime;
mod s3;
mod sagemaker;
#[cfg(feature = "sdk")]
mod sdk;
mod signature;
mod slow;
mod states;
mod sts;

mod disk;
mod error;
mod store;
mod time;

pub use error::{Error, OperationError};
pub use server::{Builder, Server, TrainingObserver};
pub use service::{Service, ServiceRequest, ServiceResponse};
pub use sfn_local::{
    BoxFuture, Clock, TaskCall, TaskFailure, TaskHandler, VirtualClock, handlers::MockConfig,
};

/// The partition of a region, as names have it.
fn partition(region: &str) -> &'static str {
    match region.split('-').next() {
        Some("cn") => "aws-cn",
        _ if region.starts_with("us-gov-") => "aws-us-gov",
        _ => "aws",
    }
}

/// The region that everything is in unless the builder says otherwise.
pub const REGION: &str = "us-east-1";

/// The account that everything belongs to.
pub const ACCOUNT: &str = "000000000000";

/// The role that a caller has, whatever the credentials.
pub const ROLE_ARN: &str = "arn:aws:iam::000000000000:role/ipinsights-local";
