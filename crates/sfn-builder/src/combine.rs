//! States that belong together: what people want where a service has no single call for it.

use serde_json::{Map, Value, json};

use crate::draft::{Catch, Choice, Condition, Fail, Fragment, Pass, Retry, State, Task, Wait};
use crate::path::quote;
use crate::service::{aws_sdk, sagemaker};

/// Creates or updates a SageMaker endpoint, and waits until it serves the configuration, or fails with the service's reason.
///
/// An endpoint that is busy is waited for; one that failed is deleted and created anew; an update that SageMaker rolled back
/// is a failure, as the old configuration is in service then. Refused calls are tried again, see [`retry`](Self::retry).
///
/// It is a [`Fragment`] of JSONPath states. They write to `$.Endpoint` (the endpoint's description), `$.Deleted` and
/// `$.Error`, and keep the rest of the input. Its open end is the state `Endpoint InService`.
///
/// ```
/// use sfn_builder::{EndpointDeployment, Input, Member, Succeed};
///
/// let mut input = Input::new();
/// let endpoint = input.add(Member::text("EndpointName"));
/// let config = input.add(Member::text("ConfigName"));
/// let machine = EndpointDeployment::new(endpoint, config)
///     .wait_seconds(60)
///     .into_fragment()
///     .then(Succeed::new().named("Deployed"))
///     .into_machine()
///     .input(&input)
///     .build()?;
/// assert_eq!(machine.start().name, "Looking for Endpoint");
/// # Ok::<(), sfn_builder::InvalidDefinition>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub struct EndpointDeployment {
    endpoint: String,
    config: String,
    wait_seconds: u64,
    retry: Vec<Retry>,
    failed: String,
    done: State,
}

/// The statuses that an endpoint does not leave by itself.
const BROKEN: [&str; 3] = ["Failed", "UpdateRollbackFailed", "OutOfService"];

impl EndpointDeployment {
    /// The error's name when the endpoint ended as failed; the cause is SageMaker's reason.
    pub const ENDPOINT_FAILED: &'static str = "EndpointFailed";
    /// The error's name when the update failed and SageMaker went back to the old configuration.
    pub const ROLLED_BACK: &'static str = "EndpointRolledBack";

    /// Has the endpoint of this name serve this endpoint configuration. Both are a name, a
    /// [`Placeholder`](crate::Placeholder), or a path, which begins with `$` as no name does.
    pub fn new(endpoint: impl Into<String>, config: impl Into<String>) -> Self {
        let refused = Retry::on([
            "SageMaker.AmazonSageMakerException",
            "SageMaker.SageMakerException",
        ]);
        Self {
            endpoint: endpoint.into(),
            config: config.into(),
            wait_seconds: 30,
            retry: vec![refused.interval_seconds(1).max_attempts(2).backoff_rate(2.0)],
            failed: "Endpoint Deployment Failed".to_owned(),
            done: Pass::new().into(),
        }
    }

    /// How long to wait between two looks at the endpoint, in seconds; the default is 30.
    pub fn wait_seconds(mut self, seconds: u64) -> Self {
        self.wait_seconds = seconds;
        self
    }

    /// The retriers of every call that changes something; the default tries a refused call twice again.
    pub fn retry(mut self, retry: impl IntoIterator<Item = Retry>) -> Self {
        self.retry = retry.into_iter().collect();
        self
    }

    /// The name of the Fail state that ends the machine with the error at `$.Error`, so that other states can go there too;
    /// the default is `Endpoint Deployment Failed`.
    pub fn failed_state(mut self, name: impl Into<String>) -> Self {
        self.failed = name.into();
        self
    }

    /// The state `Endpoint InService`; the default is a Pass state, from which the fragment leads on.
    pub fn done(mut self, state: impl Into<State>) -> Self {
        self.done = state.into();
        self
    }

    /// The states.
    pub fn into_fragment(self) -> Fragment {
        let name = |task: Task| with_name(task, "EndpointName", &self.endpoint);
        let both = |task: Task| with_name(name(task), "EndpointConfigName", &self.config);
        let guarded = |task: Task| {
            let task = self.retry.iter().cloned().fold(task, Task::retry);
            task.catch(Catch::all(self.failed.clone()).result_path("$.Error"))
        };
        let is = |status: &str| Condition::string_equals("$.Endpoint.EndpointStatus", status);
        let is_any = |statuses: &[&str]| Condition::any(statuses.iter().map(|status| is(status)));
        let with_reason = || Condition::is_present("$.Endpoint.FailureReason", true);
        let serves_it = || {
            let variable = "$.Endpoint.EndpointConfigName";
            if self.config.starts_with('$') {
                Condition::string_equals_path(variable, self.config.clone())
            } else {
                Condition::string_equals(variable, self.config.clone())
            }
        };
        let describe = || name(aws_sdk("sagemaker", "describeEndpoint").call()).result_path("$.Endpoint");

        describe()
            .catch(Catch::all("Is Endpoint Missing?").result_path("$.Error"))
            .next("Can Endpoint Be Updated?")
            .named("Looking for Endpoint")
            .state(
                "Is Endpoint Missing?",
                Choice::new()
                    .when(
                        Condition::string_matches("$.Error.Cause", "*Could not find endpoint*"),
                        "Creating Endpoint",
                    )
                    .default(self.failed.clone()),
            )
            .state(
                "Can Endpoint Be Updated?",
                Choice::new()
                    .when(is("InService"), "Updating Endpoint")
                    .when(is_any(&["Failed", "OutOfService"]), "Deleting Failed Endpoint")
                    .when(
                        Condition::all([is("UpdateRollbackFailed"), with_reason()]),
                        "Endpoint Failed",
                    )
                    .when(is("UpdateRollbackFailed"), "Endpoint Failed Without Reason")
                    .default("Letting Endpoint Settle"),
            )
            .state(
                "Deleting Failed Endpoint",
                guarded(name(aws_sdk("sagemaker", "deleteEndpoint").call()))
                    .result_path("$.Deleted")
                    .next("Letting Endpoint Settle"),
            )
            .state(
                "Letting Endpoint Settle",
                Wait::seconds(self.wait_seconds).next("Looking for Endpoint"),
            )
            .state(
                "Creating Endpoint",
                guarded(both(sagemaker::create_endpoint().call()))
                    .result_path("$.Endpoint")
                    .next("Checking Endpoint"),
            )
            // Not looked at before a pause: an update just begun may not show yet, and would pass for one rolled back.
            .state(
                "Updating Endpoint",
                guarded(both(sagemaker::update_endpoint().call()))
                    .result_path("$.Endpoint")
                    .next("Waiting for Endpoint"),
            )
            .state(
                "Checking Endpoint",
                guarded(describe()).next("Is Endpoint InService?"),
            )
            .state(
                "Is Endpoint InService?",
                Choice::new()
                    .when(
                        Condition::all([is("InService"), serves_it()]),
                        "Endpoint InService",
                    )
                    .when(is("InService"), "Endpoint Rolled Back")
                    .when(
                        Condition::all([is_any(&BROKEN), with_reason()]),
                        "Endpoint Failed",
                    )
                    .when(is_any(&BROKEN), "Endpoint Failed Without Reason")
                    .default("Waiting for Endpoint"),
            )
            .state(
                "Waiting for Endpoint",
                Wait::seconds(self.wait_seconds).next("Checking Endpoint"),
            )
            .state("Endpoint InService", self.done.clone())
            .state(
                self.failed.clone(),
                Fail::new()
                    .error_path("$.Error.Error")
                    .cause_path("$.Error.Cause"),
            )
            .state(
                "Endpoint Rolled Back",
                Fail::new().error(Self::ROLLED_BACK).cause(
                    "SageMaker could not bring up the new model and serves the old one again; the endpoint's log says why",
                ),
            )
            .state(
                "Endpoint Failed",
                Fail::new()
                    .error(Self::ENDPOINT_FAILED)
                    .cause_path("$.Endpoint.FailureReason"),
            )
            .state(
                "Endpoint Failed Without Reason",
                Fail::new()
                    .error(Self::ENDPOINT_FAILED)
                    .cause("SageMaker gave no reason; the endpoint's log may"),
            )
    }
}

impl From<EndpointDeployment> for Fragment {
    fn from(deployment: EndpointDeployment) -> Self {
        deployment.into_fragment()
    }
}

/// A name, a placeholder or a path as a parameter.
fn with_name(task: Task, parameter: &str, name: &str) -> Task {
    if name.starts_with('$') {
        task.parameter(format!("{parameter}.$"), name)
    } else {
        task.parameter(parameter, name)
    }
}

/// Lets a machine go on only when a training job's final metric is good enough.
///
/// It reads the description that `createTrainingJob.sync` results in, where `FinalMetricDataList` has what the job last
/// reported. It is a [`Fragment`] of JSONPath states, which write to `$.FinalMetric` and keep the rest of the input. Its
/// open end is the state `Final Metric Is Good`.
///
/// ```
/// use sfn_builder::service::sagemaker;
/// use sfn_builder::{MetricGate, Succeed};
///
/// let train = sagemaker::create_training_job().sync().result_path("$.Training").named("Train");
/// let gate = MetricGate::at_least("validation:discriminator_auc", 0.8).training("$.Training");
/// let machine = train.then(gate).then(Succeed::new().named("Good")).into_machine().build()?;
/// assert!(machine.state("Final Metric Not Good Enough").is_some());
/// # Ok::<(), sfn_builder::InvalidDefinition>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub struct MetricGate {
    metric: String,
    threshold: Value,
    at_least: bool,
    training: String,
}

impl MetricGate {
    /// The error's name when the metric is not good enough.
    pub const NOT_GOOD_ENOUGH: &'static str = "MetricNotGoodEnough";
    /// The error's name when the job did not report the metric.
    pub const MISSING: &'static str = "MetricMissing";

    /// The metric has to be at least so much, which is a number or a [`Placeholder`](crate::Placeholder).
    pub fn at_least(metric: impl Into<String>, threshold: impl Into<Value>) -> Self {
        Self::new(metric.into(), threshold.into(), true)
    }

    /// The metric has to be at most so much, which is a number or a [`Placeholder`](crate::Placeholder).
    pub fn at_most(metric: impl Into<String>, threshold: impl Into<Value>) -> Self {
        Self::new(metric.into(), threshold.into(), false)
    }

    fn new(metric: String, threshold: Value, at_least: bool) -> Self {
        Self {
            metric,
            threshold,
            at_least,
            training: "$".to_owned(),
        }
    }

    /// Where the training job's description stands; the default is `$`.
    pub fn training(mut self, path: impl Into<String>) -> Self {
        self.training = path.into();
        self
    }

    /// The states.
    pub fn into_fragment(self) -> Fragment {
        let list = format!("{}.FinalMetricDataList", self.training);
        let values = format!("{list}[?(@.MetricName == {})].Value", quote(&self.metric));
        let value = "$.FinalMetric.Values[0]";
        let good = if self.at_least {
            Condition::numeric_greater_than_equals(value, self.threshold)
        } else {
            Condition::numeric_less_than_equals(value, self.threshold)
        };
        Choice::new()
            .when(Condition::is_present(list, true), "Reading Final Metric")
            .default("Final Metric Missing")
            .named("Are There Final Metrics?")
            .state(
                "Reading Final Metric",
                Pass::new()
                    .parameters(json!({ "Values.$": values }))
                    .result_path("$.FinalMetric")
                    .next("Is Final Metric Good Enough?"),
            )
            .state(
                "Is Final Metric Good Enough?",
                Choice::new()
                    .when(Condition::is_present(value, false), "Final Metric Missing")
                    .when(good, "Final Metric Is Good")
                    .default("Final Metric Not Good Enough"),
            )
            .state("Final Metric Is Good", Pass::new())
            .state(
                "Final Metric Missing",
                Fail::new()
                    .error(Self::MISSING)
                    .cause(format!("the training job did not report `{}`", self.metric)),
            )
            .state(
                "Final Metric Not Good Enough",
                Fail::new()
                    .error(Self::NOT_GOOD_ENOUGH)
                    .cause_path(format!("States.Format('the metric is {{}}', {value})")),
            )
    }
}

impl From<MetricGate> for Fragment {
    fn from(gate: MetricGate) -> Self {
        gate.into_fragment()
    }
}

/// Gives one of the call's parameters, a name, another value for each attempt. Says whether there is such a parameter.
pub(crate) fn make_unique(fields: &mut Map<String, Value>, parameter: &str) -> bool {
    let count = crate::Placeholder::retry_count();
    for holder in ["Parameters", "Arguments"] {
        let Some(Value::Object(map)) = fields.get_mut(holder) else {
            continue;
        };
        match map.get_mut(parameter) {
            Some(Value::String(text)) => {
                *text = match text.strip_prefix("{%").and_then(|rest| rest.strip_suffix("%}")) {
                    Some(inner) => format!("{{% ({}) & \"-\" & {} %}}", inner.trim(), count.jsonata()),
                    None => format!("{text}-{count}"),
                };
                return true;
            }
            Some(_) => return false,
            None => {}
        }
        if let Some(Value::String(text)) = map.get_mut(&format!("{parameter}.$")) {
            *text = format!("States.Format('{{}}-{{}}', {text}, {})", count.path());
            return true;
        }
    }
    false
}
