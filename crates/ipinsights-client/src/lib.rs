#![doc = include_str!("../README.md")]

mod client;
mod endpoint;
mod error;
mod image;
mod invoke;
mod names;
mod stream;
mod tags;
mod teardown;
mod training;
mod transform;
mod tuning;
mod wait;

pub use client::Client;
pub use endpoint::{
    Asynchronous, Endpoint, EndpointChange, EndpointConfig, EndpointObserver, EndpointStatus, Model,
    Serverless, endpoint_parameters,
};
pub use error::{Error, Refusal, Source};
pub use image::{UnknownRegion, image_uri, regions};
pub use invoke::InvokeOptions;
pub use names::{
    EndpointConfigName, EndpointName, InstanceType, ModelName, ParseNameError, RoleArn, S3Uri,
    TrainingJobName, TransformJobName, TuningJobName,
};
pub use stream::{StreamError, StreamOptions};
pub use teardown::{Resource, Teardown};
pub use training::{
    InvalidTrainingJob, TrainedModel, TrainingJob, TrainingJobDraft, TrainingState, TrainingStatus,
};
pub use transform::{TransformJob, TransformState};
pub use tuning::{Trial, TuningJob, TuningState, TuningStatus, TuningStrategy};
pub use wait::Deadline;
