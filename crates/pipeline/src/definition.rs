//! The state machine: train, save, configure, create or update the endpoint, wait until it serves.
//!
//! The first four state names are those of the published pipeline. What that one lacked: an endpoint that exists is updated
//! (one that failed is deleted first), the execution ends only when the endpoint serves the new model, and every way it can
//! go wrong ends in a Fail state with the service's own reason.

use std::collections::BTreeMap;
use std::time::Duration;

use ipinsights_client::{EndpointConfig, Model, TrainingJob};
use serde_json::{Value, json};
use sfn_builder::{Catch, EndpointDeployment, Retry, StateMachine, Succeed, Task};

use crate::{Error, Settings};

/// The members of the execution's input.
pub mod input {
    /// Name of the training job; SageMaker never takes one twice.
    pub const JOB_NAME: &str = "JobName";
    /// Name of the model and of the endpoint configuration.
    pub const MODEL_NAME: &str = "ModelName";
    /// The `s3://` folder that the training job's `<job>/output/model.tar.gz` goes to.
    pub const ARTIFACT_LOCATION: &str = "ArtifactLocation";
    /// Name of the endpoint, created or updated.
    pub const ENDPOINT_NAME: &str = "EndpointName";
    /// The `s3://` folder with `train.csv` and `validation.csv`.
    pub const DATA_LOCATION: &str = "DataLocation";
}

/// The states' names.
pub mod state {
    #![expect(missing_docs, reason = "each is the name it holds")]
    pub const TRAIN: &str = "Training Model";
    pub const SAVE: &str = "Saving model";
    pub const CONFIGURE: &str = "Creating Endpoint Config";
    pub const LOOK: &str = "Looking for Endpoint";
    pub const MISSING: &str = "Is Endpoint Missing?";
    pub const UPDATABLE: &str = "Can Endpoint Be Updated?";
    pub const SETTLE: &str = "Letting Endpoint Settle";
    pub const REMOVE: &str = "Deleting Failed Endpoint";
    pub const CREATE: &str = "Creating Endpoint";
    pub const UPDATE: &str = "Updating Endpoint";
    pub const CHECK: &str = "Checking Endpoint";
    pub const SERVING: &str = "Is Endpoint InService?";
    pub const WAIT: &str = "Waiting for Endpoint";
    pub const DONE: &str = "Endpoint InService";
    pub const FAILED: &str = "Pipeline Failed";
    pub const ROLLED_BACK: &str = "Endpoint Rolled Back";
    pub const ENDPOINT_FAILED: &str = "Endpoint Failed";
    pub const NO_REASON: &str = "Endpoint Failed Without Reason";
}

/// The error names that the machine's own Fail states give.
pub mod failure {
    /// The endpoint ended as failed; the cause is SageMaker's reason.
    pub const ENDPOINT_FAILED: &str = super::EndpointDeployment::ENDPOINT_FAILED;
    /// The update failed and SageMaker went back to the old configuration.
    pub const ROLLED_BACK: &str = super::EndpointDeployment::ROLLED_BACK;
}

/// Seconds before the first retry of a refused call.
const RETRY_SECONDS: u64 = 1;

/// The state machine for these settings, training with the algorithm in `image`.
pub fn definition(settings: &Settings, image: &str) -> Result<StateMachine, Error> {
    use state::*;

    let deployment = EndpointDeployment::new(of_input(input::ENDPOINT_NAME), of_input(input::MODEL_NAME))
        .wait_seconds(settings.pace.endpoint_wait.into())
        .retry([refused()])
        .failed_state(FAILED)
        .done(Succeed::new().output_path("$.Endpoint"));
    let machine = StateMachine::builder(TRAIN)
        .comment("Trains IP Insights, and serves the model behind an endpoint that is created or updated")
        .timeout_seconds(settings.pace.execution_timeout.into())
        .state(
            TRAIN,
            guarded(Task::create_training_job_sync().parameters(training_job(settings, image)?))
                .result_selector(json!({ "ModelDataUrl.$": "$.ModelArtifacts.S3ModelArtifacts" }))
                .result_path("$.Training")
                .next(SAVE),
        )
        .state(
            SAVE,
            guarded(Task::create_model().parameters(model(settings, image)?))
                .result_path("$.Model")
                .next(CONFIGURE),
        )
        .state(
            CONFIGURE,
            guarded(Task::create_endpoint_config().parameters(endpoint_config(settings)?))
                .result_path("$.Config")
                .next(LOOK),
        )
        .fragment(deployment)
        .build()?;
    Ok(machine)
}

/// A task that is tried again when the service is short of breath, and otherwise ends the pipeline with its own words.
///
/// The retried error is the one a refused request gives, never a failed job's: a job's name cannot be used again.
fn guarded(task: Task) -> Task {
    task.retry(refused())
        .catch(Catch::all(state::FAILED).result_path("$.Error"))
}

/// Tries a refused request twice again.
fn refused() -> Retry {
    Retry::on([
        "SageMaker.AmazonSageMakerException",
        "SageMaker.SageMakerException",
    ])
    .interval_seconds(RETRY_SECONDS)
    .max_attempts(2)
    .backoff_rate(2.0)
}

/// The path of a member of the execution's input, from anywhere in the machine.
fn of_input(member: &str) -> String {
    format!("$$.Execution.Input['{member}']")
}

/// Something in the form that the client's types check, whose place the execution's input takes.
const OPEN: &str = "open";

/// The parameters are the client's own requests, so that the state machine and a direct call ask for the same.
fn training_job(settings: &Settings, image: &str) -> Result<Value, Error> {
    let folder = |file: &str| format!("s3://{OPEN}/{file}").parse();
    let job = TrainingJob::draft(OPEN.parse()?)
        .image(image)
        .role(settings.estimator_role.clone())
        .hyperparameters(settings.hyperparameters.clone())
        .train(folder("train.csv")?)
        .validation(folder("validation.csv")?)
        .output(folder("")?)
        .instance_type(settings.training_instance.clone())
        .max_runtime(Duration::from_secs(settings.pace.execution_timeout.into()))
        .check()?;
    let mut parameters = job.to_parameters();
    let channel = |file: &str| format!("States.Format('{{}}/{file}', {})", of_input(input::DATA_LOCATION));
    take(&mut parameters, "/TrainingJobName", of_input(input::JOB_NAME));
    take(
        &mut parameters,
        "/InputDataConfig/0/DataSource/S3DataSource/S3Uri",
        channel("train.csv"),
    );
    take(
        &mut parameters,
        "/InputDataConfig/1/DataSource/S3DataSource/S3Uri",
        channel("validation.csv"),
    );
    take(
        &mut parameters,
        "/OutputDataConfig/S3OutputPath",
        of_input(input::ARTIFACT_LOCATION),
    );
    Ok(parameters)
}

fn model(settings: &Settings, image: &str) -> Result<Value, Error> {
    let model = Model {
        name: OPEN.parse()?,
        image: image.to_owned(),
        artifacts: format!("s3://{OPEN}/model.tar.gz").parse()?,
        role: settings.estimator_role.clone(),
        tags: BTreeMap::new(),
    };
    let mut parameters = model.to_parameters();
    take(&mut parameters, "/ModelName", of_input(input::MODEL_NAME));
    take(
        &mut parameters,
        "/PrimaryContainer/ModelDataUrl",
        "$.Training.ModelDataUrl".to_owned(),
    );
    Ok(parameters)
}

fn endpoint_config(settings: &Settings) -> Result<Value, Error> {
    let config = EndpointConfig {
        instance_type: settings.hosting_instance.clone(),
        ..EndpointConfig::new(OPEN.parse()?, OPEN.parse()?)
    };
    let mut parameters = config.to_parameters();
    take(
        &mut parameters,
        "/EndpointConfigName",
        of_input(input::MODEL_NAME),
    );
    take(
        &mut parameters,
        "/ProductionVariants/0/ModelName",
        of_input(input::MODEL_NAME),
    );
    Ok(parameters)
}

/// Makes the member at a JSON pointer take its value from a path: `"a": 1` becomes `"a.$": "$.path"`, in its place.
fn take(parameters: &mut Value, pointer: &str, path: String) {
    let (parent, member) = pointer.rsplit_once('/').unwrap_or(("", pointer));
    if let Some(Value::Object(object)) = parameters.pointer_mut(parent) {
        *object = std::mem::take(object)
            .into_iter()
            .map(|(key, value)| {
                if key == member {
                    (format!("{key}.$"), path.clone().into())
                } else {
                    (key, value)
                }
            })
            .collect();
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect_file;

    use super::*;
    use crate::SettingsDraft;

    const IMAGE: &str = "382416733822.dkr.ecr.us-east-1.amazonaws.com/ipinsights:1";

    fn machine() -> StateMachine {
        let role = Some("arn:aws:iam::123456789012:role/r".to_owned());
        let draft = SettingsDraft {
            workflow_execution_role: role.clone(),
            estimator_role: role,
            ..Default::default()
        };
        let params = ipinsights::Hyperparameters::draft(10).check().unwrap();
        definition(&draft.check(params).unwrap(), IMAGE).unwrap()
    }

    #[test]
    fn the_whole_definition() {
        expect_file!["../tests/definition.asl.json"].assert_eq(&(machine().to_json_string() + "\n"));
    }

    #[test]
    fn nothing_open_is_left_open() {
        let text = machine().to_json_string();
        assert!(
            !text.contains(&format!("\"{OPEN}\"")) && !text.contains(&format!("s3://{OPEN}")),
            "{text}"
        );
    }
}
