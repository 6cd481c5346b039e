#![doc = include_str!("../README.md")]

mod client;
mod deployment;
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
pub use deployment::{Capacity, Deployment, InvalidDeployment, Shift, UpdateOptions};
pub use endpoint::{
    Asynchronous, Endpoint, EndpointChange, EndpointConfig, EndpointObserver, EndpointStatus, Model,
    Serverless, endpoint_parameters,
};
pub use error::{Error, InvalidMember, Quota, Refusal, Source};
pub use image::{UnknownRegion, image_uri, regions};
pub use invoke::{InvokeOptions, Retries};
pub use names::{
    EndpointConfigName, EndpointName, InstanceType, KmsKey, ModelName, ParseNameError, RoleArn, S3Uri,
    SecurityGroupId, SubnetId, TrainingJobName, TransformJobName, TuningJobName,
};
pub use stream::{StreamError, StreamOptions};
pub use teardown::{Resource, Teardown};
pub use training::{
    InvalidTrainingJob, Network, TrainedModel, TrainingJob, TrainingJobDraft, TrainingState, TrainingStatus,
};
pub use transform::{Predictions, TransformJob, TransformState};
pub use tuning::{Trial, TuningJob, TuningState, TuningStatus, TuningStrategy};
pub use wait::Deadline;
