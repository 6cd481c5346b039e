#![doc = include_str!("../README.md")]

mod asynchronous;
mod client;
#[cfg(feature = "jobs")]
mod deploy;
#[cfg(feature = "jobs")]
mod deployment;
#[cfg(feature = "jobs")]
mod endpoint;
mod error;
mod image;
mod invoke;
mod names;
mod stream;
#[cfg(feature = "jobs")]
mod tags;
#[cfg(feature = "jobs")]
mod teardown;
#[cfg(feature = "jobs")]
mod training;
#[cfg(feature = "jobs")]
mod transform;
#[cfg(feature = "jobs")]
mod tuning;
#[cfg(feature = "jobs")]
mod wait;

pub use asynchronous::{AsyncInvocation, AsyncRequest, InvalidAsyncRequest};
#[cfg(feature = "jobs")]
pub use client::Client;
pub use client::Invoker;
#[cfg(feature = "jobs")]
pub use deploy::DeployError;
#[cfg(feature = "jobs")]
pub use deployment::{Capacity, Deployment, InvalidDeployment, Shift, UpdateOptions};
#[cfg(feature = "jobs")]
pub use endpoint::{
    Asynchronous, Endpoint, EndpointChange, EndpointConfig, EndpointObserver, EndpointStatus, Model,
    Serverless, endpoint_parameters,
};
pub use error::{Error, InvalidMember, Quota, Refusal, Source};
pub use image::{UnknownRegion, image_uri, regions};
pub use invoke::{InvokeOptions, Retries};
pub use names::{
    EndpointConfigName, EndpointName, InferenceId, InstanceType, KmsKey, ModelName, ParseNameError, RoleArn,
    S3Uri, SecurityGroupId, SubnetId, TrainingJobName, TransformJobName, TuningJobName,
};
pub use stream::{StreamError, StreamOptions};
#[cfg(feature = "jobs")]
pub use teardown::{Resource, Teardown};
#[cfg(feature = "jobs")]
pub use training::{
    InvalidTrainingJob, Network, TrainedModel, TrainingJob, TrainingJobDraft, TrainingState, TrainingStatus,
};
#[cfg(feature = "jobs")]
pub use transform::{Predictions, TransformJob, TransformState};
#[cfg(feature = "jobs")]
pub use tuning::{Trial, TuningJob, TuningState, TuningStatus, TuningStrategy};
#[cfg(feature = "jobs")]
pub use wait::Deadline;
