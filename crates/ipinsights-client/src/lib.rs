#![doc = include_str!("../README.md")]

mod client;
mod endpoint;
mod error;
mod image;
mod invoke;
mod names;
mod tags;
mod teardown;
mod training;
mod wait;

pub use client::Client;
pub use endpoint::{
    Endpoint, EndpointChange, EndpointConfig, EndpointObserver, EndpointStatus, Model, endpoint_parameters,
};
pub use error::{Error, Refusal, Source};
pub use image::{UnknownRegion, image_uri, regions};
pub use invoke::InvokeOptions;
pub use names::{
    EndpointConfigName, EndpointName, InstanceType, ModelName, ParseNameError, RoleArn, S3Uri,
    TrainingJobName,
};
pub use teardown::{Resource, Teardown};
pub use training::{
    InvalidTrainingJob, TrainedModel, TrainingJob, TrainingJobDraft, TrainingState, TrainingStatus,
};
pub use wait::Deadline;
