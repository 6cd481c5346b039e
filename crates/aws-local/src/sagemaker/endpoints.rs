//! Endpoints: models that are loaded and answer.
//!
//! What an endpoint serves is copied from its configuration when that is put to use, so the configuration may be
//! deleted afterwards. Loading goes on beside; until a new set of models is complete, the old one answers.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{
    SageMaker,
    asynchronous::AsyncSettings,
    capture::{Capture, CaptureSettings},
    configs::Variant,
    deployment,
    list::{self, Entry, Listed},
    require_quota, tags,
};
use crate::{
    api::{ApiError, ApiResult, Check, NAME},
    time::{Seconds, now},
};

/// An endpoint.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Endpoint {
    name: String,
    arn: String,
    status: String,
    failure: Option<String>,
    created: Seconds,
    modified: Seconds,
    /// What answers, or is to answer as soon as it is loaded if nothing has answered yet.
    serving: Plan,
    /// What shall answer instead, while it is being loaded.
    next: Option<Plan>,
    /// How the last update was to go about it, as it was asked for.
    #[serde(default)]
    deployment: Option<Value>,
}

/// A configuration put to use.
#[derive(Clone, Serialize, Deserialize)]
struct Plan {
    /// Tells this use of a configuration from every other.
    id: String,
    config: String,
    variants: Vec<Served>,
    #[serde(default)]
    capture: Option<CaptureSettings>,
    #[serde(default)]
    asynchronous: Option<AsyncSettings>,
    /// What of the configuration has no effect here, for the log.
    #[serde(default)]
    notes: Vec<String>,
}

/// A variant with what it needs of its model.
#[derive(Clone, Serialize, Deserialize)]
struct Served {
    name: String,
    weight: f64,
    instances: i64,
    #[serde(default)]
    instance_type: Option<String>,
    image: String,
    data_url: String,
    /// What of a serverless variant, as it was asked for.
    #[serde(default)]
    serverless: Option<Value>,
}

/// Loaded models, ready to answer.
pub(crate) struct Deployment {
    variants: Vec<Loaded>,
    requests: AtomicU64,
    pub(crate) capture: Option<Arc<Capture>>,
    /// Where answers go, where requests wait in a queue.
    pub(super) asynchronous: Option<AsyncSettings>,
}

/// A variant's model.
pub(crate) struct Loaded {
    pub(crate) name: String,
    pub(crate) model: Arc<ipinsights::Model>,
    weight: f64,
}

/// The statuses that lists can ask for.
const STATUSES: [&str; 9] = [
    "OutOfService",
    "Creating",
    "Updating",
    "SystemUpdating",
    "RollingBack",
    "InService",
    "Deleting",
    "Failed",
    "UpdateRollbackFailed",
];

const CREATING: &str = "Creating";
const UPDATING: &str = "Updating";
const IN_SERVICE: &str = "InService";
const FAILED: &str = "Failed";

impl Listed for Endpoint {
    fn entry(&self) -> Entry<'_> {
        Entry {
            name: &self.name,
            created: self.created,
            modified: self.modified,
            status: &self.status,
        }
    }
}

impl SageMaker {
    pub(super) fn create_endpoint(self: &Arc<Self>, input: &Value) -> ApiResult<Value> {
        let mut check = Check::new(input);
        let name = check.required("EndpointName", NAME);
        let config = check.required("EndpointConfigName", NAME);
        let deployment = deployment::of_request(&mut check);
        let tags = tags::of_request(&mut check);
        check.finish()?;
        let arn = self.arn("endpoint", name);
        let taken = || ApiError::validation(format!("Cannot create already existing endpoint \"{arn}\"."));
        if self.endpoints.contains(name) {
            return Err(taken());
        }
        let plan = self.plan(config)?;
        plan.require_quota()?;
        deployment::require_fits(deployment.as_ref(), &plan.instances())?;
        let endpoint = Endpoint {
            name: name.to_owned(),
            arn: arn.clone(),
            status: CREATING.to_owned(),
            failure: None,
            created: now(),
            modified: now(),
            serving: plan.clone(),
            next: None,
            deployment,
        };
        if self.endpoints.insert_new(name, endpoint)?.is_err() {
            return Err(taken());
        }
        let tagged = self.tag_new(&arn, tags);
        // Nothing stays that nothing runs.
        if tagged.is_err() && self.endpoints.remove(name).is_ok() {
            return tagged.map(|()| Value::Null);
        }
        self.deploy(name, plan);
        tagged?;
        Ok(json!({"EndpointArn": arn}))
    }

    pub(super) fn update_endpoint(self: &Arc<Self>, input: &Value) -> ApiResult<Value> {
        let mut check = Check::new(input);
        let name = check.required("EndpointName", NAME);
        let config = check.required("EndpointConfigName", NAME);
        let retain = check.flag("RetainAllVariantProperties");
        let mut renewed = Vec::new();
        for i in 0..check.list("ExcludeRetainedVariantProperties", 0, 3).len() {
            let path = format!("ExcludeRetainedVariantProperties.{i}.VariantPropertyType");
            renewed.extend(check.choice(
                &path,
                &["DesiredInstanceCount", "DesiredWeight", "DataCaptureConfig"],
            ));
        }
        let deployment = deployment::of_request(&mut check);
        check.finish()?;
        let mut plan = self.plan_for(name, config)?;
        let outcome = self.endpoints.try_update(name, |endpoint| {
            require_in_service(endpoint)?;
            if retain {
                plan.retain(&endpoint.serving, &renewed);
            }
            plan.require_quota()?;
            deployment::require_fits(deployment.as_ref(), &plan.instances())?;
            endpoint.deployment.clone_from(&deployment);
            endpoint.status = UPDATING.to_owned();
            endpoint.failure = None;
            endpoint.modified = now();
            endpoint.next = Some(plan.clone());
            Ok::<_, ApiError>(endpoint.arn.clone())
        })?;
        let arn = outcome.ok_or_else(|| self.missing_endpoint(name))??;
        self.deploy(name, plan);
        Ok(json!({"EndpointArn": arn}))
    }

    pub(super) fn update_weights(&self, input: &Value) -> ApiResult<Value> {
        let mut check = Check::new(input);
        let name = check.required("EndpointName", NAME);
        let count = check.list("DesiredWeightsAndCapacities", 1, 10).len();
        let mut wanted = Vec::new();
        for i in 0..count {
            let at = |member: &str| format!("DesiredWeightsAndCapacities.{i}.{member}");
            let variant = check.required(&at("VariantName"), NAME);
            let weight = check.amount(&at("DesiredWeight"));
            let instances = check.integer(&at("DesiredInstanceCount"), 0, i64::MAX);
            wanted.push((variant, weight, instances));
        }
        check.finish()?;
        let _changing = self.changing.lock().unwrap_or_else(|e| e.into_inner());
        let outcome = self.endpoints.try_update(name, |endpoint| {
            require_in_service(endpoint)?;
            for (variant, weight, instances) in &wanted {
                let found = endpoint.serving.variants.iter_mut().find(|v| v.name == *variant);
                let found = found.ok_or_else(|| {
                    ApiError::validation(format!("Could not find variant \"{variant}\" of the endpoint."))
                })?;
                found.weight = weight.unwrap_or(found.weight);
                found.instances = instances.unwrap_or(found.instances);
                found.require_quota()?;
            }
            endpoint.modified = now();
            Ok::<_, ApiError>((endpoint.arn.clone(), endpoint.serving.clone()))
        })?;
        let (arn, plan) = outcome.ok_or_else(|| self.missing_endpoint(name))??;
        // The same models, weighed anew.
        if let Some(old) = self.deployment(name) {
            let weight = |name: &str| plan.variants.iter().find(|v| v.name == name).map(|v| v.weight);
            let variants = old.variants.iter().map(|loaded| Loaded {
                name: loaded.name.clone(),
                model: loaded.model.clone(),
                weight: weight(&loaded.name).unwrap_or(loaded.weight),
            });
            let deployment = Deployment {
                variants: variants.collect(),
                requests: AtomicU64::new(0),
                capture: old.capture.clone(),
                asynchronous: old.asynchronous.clone(),
            };
            self.put_to_use(name, deployment);
        }
        Ok(json!({"EndpointArn": arn}))
    }

    pub(super) fn describe_endpoint(&self, input: &Value) -> ApiResult<Value> {
        let endpoint = self.endpoint_of(input)?;
        let mut answer = Map::new();
        answer.insert("EndpointName".into(), endpoint.name.into());
        answer.insert("EndpointArn".into(), endpoint.arn.into());
        answer.insert("EndpointConfigName".into(), endpoint.serving.config.into());
        if let Some(capture) = &endpoint.serving.capture {
            answer.insert("DataCaptureConfig".into(), capture.describe());
        }
        if let Some(asynchronous) = &endpoint.serving.asynchronous {
            answer.insert("AsyncInferenceConfig".into(), asynchronous.describe().clone());
        }
        if let Some(deployment) = endpoint.deployment {
            answer.insert("LastDeploymentConfig".into(), deployment);
        }
        let variants = endpoint.serving.variants.iter().map(|variant| {
            let mut described = json!({
                "VariantName": variant.name,
                "DeployedImages": [{
                    "SpecifiedImage": variant.image,
                    "ResolvedImage": variant.image,
                    "ResolutionTime": endpoint.created,
                }],
                "CurrentWeight": variant.weight,
                "DesiredWeight": variant.weight,
                "CurrentInstanceCount": variant.instances,
                "DesiredInstanceCount": variant.instances,
            });
            if let Some(serverless) = &variant.serverless {
                described["CurrentServerlessConfig"] = serverless.clone();
                described["DesiredServerlessConfig"] = serverless.clone();
            }
            described
        });
        // Until an endpoint has come up once, the service knows no variants of it.
        if endpoint.status != CREATING && endpoint.status != FAILED {
            answer.insert("ProductionVariants".into(), variants.collect());
        }
        answer.insert("EndpointStatus".into(), endpoint.status.into());
        if let Some(reason) = endpoint.failure {
            answer.insert("FailureReason".into(), reason.into());
        }
        answer.insert("CreationTime".into(), endpoint.created.into());
        answer.insert("LastModifiedTime".into(), endpoint.modified.into());
        Ok(answer.into())
    }

    pub(super) fn list_endpoints(&self, input: &Value) -> ApiResult<Value> {
        let summary = |endpoint: Endpoint| {
            json!({
                "EndpointName": endpoint.name,
                "EndpointArn": endpoint.arn,
                "CreationTime": endpoint.created,
                "LastModifiedTime": endpoint.modified,
                "EndpointStatus": endpoint.status,
            })
        };
        list::page(input, "Endpoints", &STATUSES, &self.endpoints, summary)
    }

    pub(super) fn delete_endpoint(&self, input: &Value) -> ApiResult<()> {
        let endpoint = self.endpoint_of(input)?;
        // A new endpoint of the name keeps what is its own.
        let changing = self.changing.lock().unwrap_or_else(|e| e.into_inner());
        self.endpoints.remove(&endpoint.name)?;
        self.deployments
            .write()
            .unwrap_or_else(|e| e.into_inner())
            .remove(&endpoint.name);
        drop(changing);
        self.untag(&endpoint.arn)
    }

    /// What answers under that name now.
    pub(crate) fn deployment(&self, endpoint: &str) -> Option<Arc<Deployment>> {
        self.deployments
            .read()
            .unwrap_or_else(|e| e.into_inner())
            .get(endpoint)
            .cloned()
    }

    fn put_to_use(&self, endpoint: &str, deployment: Deployment) {
        self.deployments
            .write()
            .unwrap_or_else(|e| e.into_inner())
            .insert(endpoint.to_owned(), Arc::new(deployment));
    }

    /// Loads the models of every endpoint again, after a start.
    pub(super) fn reload_endpoints(self: &Arc<Self>) -> io::Result<()> {
        for endpoint in self.endpoints.all() {
            let name = endpoint.name;
            match endpoint.status.as_str() {
                FAILED => {}
                // An update that was cut off goes on.
                UPDATING => {
                    if let Ok(deployment) = self.load(&endpoint.serving) {
                        self.put_to_use(&name, deployment);
                    }
                    self.deploy(&name, endpoint.next.unwrap_or(endpoint.serving));
                }
                CREATING => self.deploy(&name, endpoint.serving),
                // It was InService when the server stopped, so it is when the server starts.
                _ => self.finish_deployment(&name, &endpoint.serving)?,
            }
        }
        Ok(())
    }

    /// Loads a plan's models beside, and puts them to use when all are there.
    fn deploy(self: &Arc<Self>, name: &str, plan: Plan) {
        let (this, name) = (self.clone(), name.to_owned());
        self.spawn(move || {
            this.pace.wait(this.pace.endpoint, &this.stop);
            if this.stop.is_cancelled() && !this.pace.endpoint.is_zero() {
                return; // the next server loads them
            }
            // Should the record not be writable, the endpoint stays as it is, and says so in its status.
            let _ = this.finish_deployment(&name, &plan);
        });
    }

    fn finish_deployment(&self, name: &str, plan: &Plan) -> io::Result<()> {
        let loaded = self.load(plan);
        let _changing = self.changing.lock().unwrap_or_else(|e| e.into_inner());
        self.endpoints.update(name, |endpoint| {
            // It may have been deleted, and made again, meanwhile.
            let wanted = endpoint.next.as_ref().unwrap_or(&endpoint.serving);
            if wanted.id != plan.id {
                return;
            }
            endpoint.modified = now();
            match loaded {
                Ok(deployment) => {
                    for variant in &plan.variants {
                        self.log_of_endpoint(
                            name,
                            &variant.name,
                            "Docker entrypoint called with argument(s): serve",
                        );
                    }
                    let steps = endpoint.deployment.as_ref().map(deployment::without_effect);
                    let steps = steps.unwrap_or_default();
                    for note in plan.notes.iter().map(String::as_str).chain(steps) {
                        for variant in &plan.variants {
                            self.log_of_endpoint(name, &variant.name, note);
                        }
                    }
                    if let Some(next) = endpoint.next.take() {
                        endpoint.serving = next;
                    }
                    endpoint.status = IN_SERVICE.to_owned();
                    endpoint.failure = None;
                    // Before anyone sees the record, so that no one sees a status that does not hold.
                    self.put_to_use(name, deployment);
                }
                Err(reason) => {
                    // The old models go on answering, if there are any: after a start, theirs may be gone too.
                    let rolled_back = endpoint.next.take().is_some() && self.deployment(name).is_some();
                    endpoint.status = if rolled_back { IN_SERVICE } else { FAILED }.to_owned();
                    endpoint.failure = Some(reason);
                }
            }
        })?;
        Ok(())
    }

    fn load(&self, plan: &Plan) -> Result<Deployment, String> {
        let mut variants = Vec::with_capacity(plan.variants.len());
        for variant in &plan.variants {
            let model = self.loaded.of(&self.s3, &variant.data_url).map_err(|reason| {
                format!("The primary container for production variant {} did not pass the ping health check: {reason}", variant.name)
            })?;
            variants.push(Loaded {
                name: variant.name.clone(),
                model,
                weight: variant.weight,
            });
        }
        Ok(Deployment {
            variants,
            requests: AtomicU64::new(0),
            capture: plan
                .capture
                .clone()
                .map(|settings| Arc::new(Capture::new(settings))),
            asynchronous: plan.asynchronous.clone(),
        })
    }

    /// The plan for an endpoint that has to be there; it is looked for first.
    fn plan_for(&self, endpoint: &str, config: &str) -> ApiResult<Plan> {
        if !self.endpoints.contains(endpoint) {
            return Err(self.missing_endpoint(endpoint));
        }
        self.plan(config)
    }

    fn plan(&self, config: &str) -> ApiResult<Plan> {
        let config_name = config.to_owned();
        let config = self.config(config)?;
        let notes = Self::config_without_effect(&config);
        let variants = config.variants.into_iter().map(|variant| {
            let Variant {
                name,
                model,
                weight,
                instances,
                instance_type,
                serverless,
            } = variant;
            let model = self.model(&model)?;
            Ok(Served {
                name,
                weight,
                instances,
                instance_type,
                image: model.image,
                data_url: model.data_url,
                serverless,
            })
        });
        let variants = variants.collect::<ApiResult<_>>()?;
        Ok(Plan {
            id: Uuid::new_v4().to_string(),
            config: config_name,
            variants,
            capture: config.capture,
            asynchronous: config.asynchronous,
            notes,
        })
    }

    fn missing_endpoint(&self, name: &str) -> ApiError {
        ApiError::validation(format!(
            "Could not find endpoint \"{}\".",
            self.arn("endpoint", name)
        ))
    }

    fn endpoint_of(&self, input: &Value) -> ApiResult<Endpoint> {
        let mut check = Check::new(input);
        let name = check.required("EndpointName", NAME);
        check.finish()?;
        self.endpoints
            .get(name)
            .ok_or_else(|| self.missing_endpoint(name))
    }
}

fn require_in_service(endpoint: &Endpoint) -> ApiResult<()> {
    let Endpoint { arn, status, .. } = endpoint;
    match status.as_str() {
        IN_SERVICE => Ok(()),
        FAILED => Err(ApiError::validation(format!(
            "Cannot update endpoint \"{arn}\" in status Failed; it can only be deleted."
        ))),
        _ => Err(ApiError::validation(format!(
            "Cannot update in-progress endpoint \"{arn}\"."
        ))),
    }
}

impl Served {
    /// Refuses more machines than there may be. What is serverless has none.
    fn require_quota(&self) -> ApiResult<()> {
        let instance = self.instance_type.as_deref().unwrap_or("instances");
        let machines = self.serverless.is_none().then_some(self.instances);
        require_quota("endpoint", instance, machines)
    }
}

impl Plan {
    fn require_quota(&self) -> ApiResult<()> {
        self.variants.iter().try_for_each(Served::require_quota)
    }

    /// How many instances each variant has.
    fn instances(&self) -> Vec<i64> {
        self.variants.iter().map(|variant| variant.instances).collect()
    }

    /// Takes over what the variants of these names have now, but for what is to be renewed.
    fn retain(&mut self, serving: &Self, renewed: &[&str]) {
        let keeps = |property: &str| !renewed.contains(&property);
        for variant in &mut self.variants {
            let Some(now) = serving.variants.iter().find(|v| v.name == variant.name) else {
                continue;
            };
            if keeps("DesiredWeight") {
                variant.weight = now.weight;
            }
            if keeps("DesiredInstanceCount") {
                variant.instances = now.instances;
            }
        }
        if keeps("DataCaptureConfig") {
            self.capture.clone_from(&serving.capture);
        }
    }
}

/// A number from 0 to 1 for each of a row of numbers, spread evenly over a few as over many: multiples of the golden ratio.
pub(super) fn spread(number: u64) -> f64 {
    (number as f64 * 0.618_033_988_749_894_9).fract()
}

impl Deployment {
    /// Whether requests wait in a queue.
    pub(crate) fn is_asynchronous(&self) -> bool {
        self.asynchronous.is_some()
    }

    /// The variant of that name, or else the one whose turn it is by weight.
    pub(crate) fn variant(&self, name: Option<&str>) -> Option<&Loaded> {
        if let Some(name) = name {
            return self.variants.iter().find(|v| v.name == name);
        }
        let total: f64 = self.variants.iter().map(|v| v.weight).sum();
        let mut at = spread(self.requests.fetch_add(1, Ordering::Relaxed)) * total;
        let chosen = self.variants.iter().find(|v| {
            at -= v.weight;
            at < 0.0
        });
        chosen.or(self.variants.first())
    }
}
