//! Models: an archive in S3 and the image that serves it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{
    Image, SageMaker, copy,
    list::{self, Entry, Listed},
    tags,
};
use crate::{
    api::{ApiError, ApiResult, Check, Form, MODEL_NAME, ROLE, S3_URI, TEXT},
    s3,
    time::{Seconds, now},
};

/// A model.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Model {
    name: String,
    arn: String,
    /// What was asked for, as it was.
    request: Value,
    created: Seconds,
    /// Where the archive is.
    pub(super) data_url: String,
    pub(super) image: String,
}

impl Model {
    /// The role it was made with.
    pub(super) fn role(&self) -> &str {
        self.request["ExecutionRoleArn"].as_str().unwrap_or_default()
    }
}

/// Images are named by any text.
const IMAGE_NAME: Form = Form { max: 255, ..TEXT };

impl Listed for Model {
    fn entry(&self) -> Entry<'_> {
        Entry {
            name: &self.name,
            created: self.created,
            modified: self.created,
            status: "",
        }
    }
}

impl SageMaker {
    pub(super) fn create_model(&self, input: &Value) -> ApiResult<Value> {
        let mut check = Check::new(input);
        let name = check.required("ModelName", MODEL_NAME);
        check.required("ExecutionRoleArn", ROLE);
        let container = match (
            check.get("PrimaryContainer"),
            check.list("Containers", 0, 15).len(),
        ) {
            (Some(_), 0) => "PrimaryContainer",
            (None, 1) => "Containers.0",
            (None, 0) => {
                check.structure("PrimaryContainer");
                "PrimaryContainer"
            }
            (None, _) => return Err(ApiError::not_implemented("A pipeline of several containers")),
            (Some(_), _) => {
                return Err(ApiError::validation(
                    "Specify either PrimaryContainer or Containers, not both.",
                ));
            }
        };
        if check.get(&format!("{container}.ModelPackageName")).is_some() {
            return Err(ApiError::not_implemented("ModelPackageName"));
        }
        if check
            .get(&format!("{container}.Mode"))
            .is_some_and(|mode| mode != "SingleModel")
        {
            return Err(ApiError::not_implemented(
                "A container Mode other than SingleModel",
            ));
        }
        let image = check.required(&format!("{container}.Image"), IMAGE_NAME);
        let source = format!("{container}.ModelDataSource.S3DataSource.S3Uri");
        let data_url = match check.text(&format!("{container}.ModelDataUrl"), S3_URI) {
            Some(url) => url,
            None => check.text(&source, S3_URI).unwrap_or_default(),
        };
        check.map(&format!("{container}.Environment"), 100, 1024, 1024);
        check.network();
        check.flag("EnableNetworkIsolation");
        let tags = tags::of_request(&mut check);
        check.finish()?;
        Image::required(image)?;
        let arn = self.arn("model", name);
        if self.models.contains(name) {
            return Err(taken(&arn));
        }
        let found = s3::parse_url(data_url).is_some_and(|(bucket, key)| self.s3.object(bucket, key).is_ok());
        if !found {
            return Err(ApiError::validation(format!(
                "Could not find model data at {data_url}."
            )));
        }
        let model = Model {
            name: name.to_owned(),
            arn: arn.clone(),
            request: input.clone(),
            created: now(),
            data_url: data_url.to_owned(),
            image: image.to_owned(),
        };
        if self.models.insert_new(name, model)?.is_err() {
            return Err(taken(&arn));
        }
        if let Err(error) = self.tag_new(&arn, tags) {
            self.models.remove(name)?;
            return Err(error);
        }
        Ok(json!({"ModelArn": arn}))
    }

    pub(super) fn describe_model(&self, input: &Value) -> ApiResult<Value> {
        let model = self.model_of(input)?;
        let mut answer = Map::new();
        answer.insert("ModelName".into(), model.name.into());
        answer.insert("ModelArn".into(), model.arn.into());
        answer.insert("CreationTime".into(), model.created.into());
        answer.insert("EnableNetworkIsolation".into(), false.into());
        let members = [
            "PrimaryContainer",
            "Containers",
            "ExecutionRoleArn",
            "VpcConfig",
            "EnableNetworkIsolation",
            "InferenceExecutionConfig",
        ];
        copy(&model.request, &members, &mut answer);
        Ok(answer.into())
    }

    pub(super) fn list_models(&self, input: &Value) -> ApiResult<Value> {
        let summary = |model: Model| json!({"ModelName": model.name, "ModelArn": model.arn, "CreationTime": model.created});
        list::page(input, "Models", &[], &self.models, summary)
    }

    pub(super) fn delete_model(&self, input: &Value) -> ApiResult<()> {
        let model = self.model_of(input)?;
        self.models.remove(&model.name)?;
        self.untag(&model.arn)
    }

    /// The model of that name.
    pub(super) fn model(&self, name: &str) -> ApiResult<Model> {
        let missing =
            || ApiError::validation(format!("Could not find model \"{}\".", self.arn("model", name)));
        self.models.get(name).ok_or_else(missing)
    }

    fn model_of(&self, input: &Value) -> ApiResult<Model> {
        let mut check = Check::new(input);
        let name = check.required("ModelName", MODEL_NAME);
        check.finish()?;
        self.model(name)
    }
}

fn taken(arn: &str) -> ApiError {
    ApiError::validation(format!("Cannot create already existing model \"{arn}\"."))
}
