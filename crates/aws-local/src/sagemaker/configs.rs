//! Endpoint configurations: which models answer, and for what share of the requests.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{
    SageMaker,
    asynchronous::AsyncSettings,
    capture::CaptureSettings,
    copy,
    list::{self, Entry, Listed},
    tags,
};
use crate::{
    api::{ApiError, ApiResult, Check, INSTANCE, KMS_KEY, MODEL_NAME, NAME},
    time::{Seconds, now},
};

/// An endpoint configuration.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct EndpointConfig {
    name: String,
    arn: String,
    request: Value,
    created: Seconds,
    pub(super) variants: Vec<Variant>,
    #[serde(default)]
    pub(super) capture: Option<CaptureSettings>,
    #[serde(default)]
    pub(super) asynchronous: Option<AsyncSettings>,
}

/// One of the models of a configuration.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Variant {
    pub(super) name: String,
    pub(super) model: String,
    pub(super) weight: f64,
    pub(super) instances: i64,
    #[serde(default)]
    pub(super) instance_type: Option<String>,
    #[serde(default)]
    pub(super) serverless: Option<Value>,
}

impl Listed for EndpointConfig {
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
    pub(super) fn create_endpoint_config(&self, input: &Value) -> ApiResult<Value> {
        let mut check = Check::new(input);
        let name = check.required("EndpointConfigName", NAME);
        for member in ["ExplainerConfig", "ShadowProductionVariants"] {
            if check
                .get(member)
                .is_some_and(|value| value.as_array().is_none_or(|list| !list.is_empty()))
            {
                return Err(ApiError::not_implemented(member));
            }
        }
        let asynchronous = AsyncSettings::of_request(&mut check)?;
        check.text("KmsKeyId", KMS_KEY);
        check.network();
        check.flag("EnableNetworkIsolation");
        let capture = CaptureSettings::of_request(&mut check);
        let count = check.list("ProductionVariants", 1, 10).len();
        let mut variants = Vec::new();
        for i in 0..count {
            variants.push(variant(&mut check, i));
        }
        let tags = tags::of_request(&mut check);
        check.finish()?;
        let names: BTreeSet<_> = variants.iter().map(|v| &v.name).collect();
        if names.len() < variants.len() {
            return Err(ApiError::validation(
                "ProductionVariants must have different names.",
            ));
        }
        if asynchronous.is_some() && variants.iter().any(|variant| variant.serverless.is_some()) {
            return Err(ApiError::validation(
                "A serverless variant cannot be asynchronous: leave out AsyncInferenceConfig or ServerlessConfig.",
            ));
        }
        if asynchronous.is_some() && capture.is_some() {
            return Err(ApiError::not_implemented(
                "DataCaptureConfig together with AsyncInferenceConfig, whose requests and answers are objects in S3 already,",
            ));
        }
        for variant in &variants {
            self.model(&variant.model)?;
        }
        let arn = self.arn("endpoint-config", name);
        let config = EndpointConfig {
            name: name.to_owned(),
            arn: arn.clone(),
            request: input.clone(),
            created: now(),
            variants,
            capture,
            asynchronous,
        };
        if self.configs.insert_new(name, config)?.is_err() {
            let message = format!("Cannot create already existing endpoint configuration \"{arn}\".");
            return Err(ApiError::validation(message));
        }
        if let Err(error) = self.tag_new(&arn, tags) {
            self.configs.remove(name)?;
            return Err(error);
        }
        Ok(json!({"EndpointConfigArn": arn}))
    }

    pub(super) fn describe_endpoint_config(&self, input: &Value) -> ApiResult<Value> {
        let config = self.config_of(input)?;
        let mut answer = Map::new();
        answer.insert("EndpointConfigName".into(), config.name.into());
        answer.insert("EndpointConfigArn".into(), config.arn.into());
        answer.insert("CreationTime".into(), config.created.into());
        answer.insert("EnableNetworkIsolation".into(), false.into());
        let members = [
            "ProductionVariants",
            "KmsKeyId",
            "DataCaptureConfig",
            "AsyncInferenceConfig",
            "ExecutionRoleArn",
            "VpcConfig",
            "EnableNetworkIsolation",
        ];
        copy(&config.request, &members, &mut answer);
        // The service tells the weight even if nobody did.
        if let Some(variants) = answer.get_mut("ProductionVariants").and_then(Value::as_array_mut) {
            for (printed, variant) in variants.iter_mut().zip(&config.variants) {
                printed["InitialVariantWeight"] = variant.weight.into();
            }
        }
        Ok(answer.into())
    }

    pub(super) fn list_endpoint_configs(&self, input: &Value) -> ApiResult<Value> {
        let summary = |config: EndpointConfig| {
            json!({
                "EndpointConfigName": config.name,
                "EndpointConfigArn": config.arn,
                "CreationTime": config.created,
            })
        };
        list::page(input, "EndpointConfigs", &[], &self.configs, summary)
    }

    pub(super) fn delete_endpoint_config(&self, input: &Value) -> ApiResult<()> {
        let config = self.config_of(input)?;
        self.configs.remove(&config.name)?;
        self.untag(&config.arn)
    }

    /// What a configuration asks for that is taken without being there.
    pub(super) fn config_without_effect(config: &EndpointConfig) -> Vec<String> {
        let key = config.request["KmsKeyId"].as_str().filter(|key| !key.is_empty());
        let network = config
            .request
            .get("VpcConfig")
            .filter(|network| !network.is_null());
        let key = key.map(|_| "KmsKeyId has no effect: nothing on disk is encrypted.".to_owned());
        let network = network
            .map(|_| "VpcConfig has no effect: the models answer on this machine's network.".to_owned());
        let output = config
            .asynchronous
            .as_ref()
            .and_then(AsyncSettings::without_effect);
        let capture = config.capture.as_ref().and_then(CaptureSettings::without_effect);
        [
            key,
            network,
            output.map(str::to_owned),
            capture.map(str::to_owned),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// The configuration of that name.
    pub(super) fn config(&self, name: &str) -> ApiResult<EndpointConfig> {
        let arn = self.arn("endpoint-config", name);
        let missing = || ApiError::validation(format!("Could not find endpoint configuration \"{arn}\"."));
        self.configs.get(name).ok_or_else(missing)
    }

    fn config_of(&self, input: &Value) -> ApiResult<EndpointConfig> {
        let mut check = Check::new(input);
        let name = check.required("EndpointConfigName", NAME);
        check.finish()?;
        self.config(name)
    }
}

fn variant(check: &mut Check<'_>, i: usize) -> Variant {
    let at = |member: &str| format!("ProductionVariants.{i}.{member}");
    let name = check.required(&at("VariantName"), NAME).to_owned();
    let model = check.required(&at("ModelName"), MODEL_NAME).to_owned();
    let instances = check
        .integer(&at("InitialInstanceCount"), 1, i64::MAX)
        .unwrap_or(1);
    let weight = check.amount(&at("InitialVariantWeight")).unwrap_or(1.0);
    let instance_type = check.text(&at("InstanceType"), INSTANCE).map(str::to_owned);
    let serverless = check.get(&at("ServerlessConfig")).cloned();
    if serverless.is_some() {
        check.required_integer(&at("ServerlessConfig.MemorySizeInMB"), 1024, 6144);
        check.required_integer(&at("ServerlessConfig.MaxConcurrency"), 1, 200);
        check.integer(&at("ServerlessConfig.ProvisionedConcurrency"), 1, 200);
    }
    Variant {
        name,
        model,
        weight,
        instances,
        instance_type,
        serverless,
    }
}
