//! How an endpoint changes: all at once or step by step, and when it goes back.

use std::num::NonZeroU32;
use std::time::Duration;

use aws_sdk_sagemaker::types;
use serde_json::{Value, json};

use crate::training::as_i32;

/// How an endpoint is moved to another configuration. By default all at once, beside the old instances, without alarms.
///
/// ```
/// use std::time::Duration;
///
/// use ipinsights_client::{Capacity, Deployment, Shift};
///
/// let deployment = Deployment {
///     shift: Shift::Canary { first: Capacity::Percent(10), wait: Duration::from_secs(600) },
///     keep_old: Duration::from_secs(300),
///     alarms: vec!["scores-5xx".to_owned()],
///     ..Deployment::default()
/// };
/// let parameters = deployment.to_parameters()?;
/// assert_eq!(parameters["AutoRollbackConfiguration"]["Alarms"][0]["AlarmName"], "scores-5xx");
/// # Ok::<(), ipinsights_client::InvalidDeployment>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployment {
    /// How requests move from the old instances to the new ones.
    pub shift: Shift,
    /// How long the old instances stay after the last request has moved: up to an hour. With [`Shift::Rolling`] they go step by
    /// step, and this is zero.
    pub keep_old: Duration,
    /// After how long the whole is given up: 10 minutes to 8 hours; the service's choice by default.
    pub timeout: Option<Duration>,
    /// Names of CloudWatch alarms, at most 10: when one of them goes off on the way, the endpoint goes back.
    pub alarms: Vec<String>,
}

/// How requests move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Shift {
    /// All at once, when the new instances are there.
    #[default]
    AllAtOnce,
    /// Some first, at most half; after the wait, the rest.
    Canary {
        /// How many of the instances.
        first: Capacity,
        /// How long the alarms are watched: up to an hour.
        wait: Duration,
    },
    /// Step by step, each of 10 to 50 percent.
    Linear {
        /// How many of the instances at a time.
        step: Capacity,
        /// How long the alarms are watched after each: up to an hour.
        wait: Duration,
    },
    /// Step by step, each of 5 to 50 percent, old instances going as new ones come: it takes few instances more than there are.
    Rolling {
        /// How many of the instances at a time.
        step: Capacity,
        /// How long the alarms are watched after each: up to an hour.
        wait: Duration,
    },
}

/// A part of an endpoint's instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Capacity {
    /// So many of them.
    Instances(NonZeroU32),
    /// 1 to 100.
    Percent(u8),
}

/// What an update keeps of what the endpoint has now, and how it goes about the rest. By default it keeps nothing, and the service
/// chooses how.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UpdateOptions {
    /// Whether variants of the same names keep their numbers of instances and weights, and the endpoint its data capture.
    pub retain_variants: bool,
    /// How requests move.
    pub deployment: Option<Deployment>,
}

/// All that is wrong with a deployment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the deployment is not valid: {}", problems.join("; "))]
pub struct InvalidDeployment {
    /// One text for each problem; never empty.
    pub problems: Vec<String>,
}

impl Default for Deployment {
    fn default() -> Self {
        Self {
            shift: Shift::AllAtOnce,
            keep_old: Duration::ZERO,
            timeout: None,
            alarms: Vec::new(),
        }
    }
}

const HOUR: Duration = Duration::from_secs(3600);

impl Capacity {
    fn kind_and_value(self) -> (&'static str, u32) {
        match self {
            Self::Instances(count) => ("INSTANCE_COUNT", count.get()),
            Self::Percent(percent) => ("CAPACITY_PERCENT", u32::from(percent)),
        }
    }

    fn is_within(self, least: u8, most: u8) -> bool {
        match self {
            // The service knows how many there are.
            Self::Instances(_) => true,
            Self::Percent(percent) => (least..=most).contains(&percent),
        }
    }

    fn to_json(self) -> Value {
        let (kind, value) = self.kind_and_value();
        json!({"Type": kind, "Value": value})
    }

    fn to_sdk(self) -> types::CapacitySize {
        let (kind, value) = self.kind_and_value();
        types::CapacitySize::builder()
            .r#type(kind.into())
            .value(as_i32(value))
            .build()
    }
}

impl Deployment {
    /// What the service would refuse.
    ///
    /// # Errors
    ///
    /// Everything that is out of its range.
    pub fn check(&self) -> Result<(), InvalidDeployment> {
        let mut problems = Vec::new();
        let mut require = |is_met: bool, problem: &str| {
            if !is_met {
                problems.push(problem.to_owned());
            }
        };
        let (part, wait) = match self.shift {
            Shift::AllAtOnce => (true, Duration::ZERO),
            Shift::Canary { first, wait } => (first.is_within(1, 50), wait),
            Shift::Linear { step, wait } => (step.is_within(10, 50), wait),
            Shift::Rolling { step, wait } => (step.is_within(5, 50), wait),
        };
        let range = match self.shift {
            Shift::Linear { .. } => "a step must be 10 to 50 percent",
            Shift::Rolling { .. } => "a step must be 5 to 50 percent",
            _ => "the first part must be 1 to 50 percent",
        };
        require(part, range);
        require(wait <= HOUR, "the wait between two steps must be at most an hour");
        require(
            self.keep_old <= HOUR,
            "the old instances can be kept for at most an hour",
        );
        let is_rolling = matches!(self.shift, Shift::Rolling { .. });
        require(
            !is_rolling || self.keep_old.is_zero(),
            "with rolling steps no old instances are kept",
        );
        let timeout = self.timeout.map(|timeout| timeout.as_secs());
        require(
            timeout.is_none_or(|seconds| (600..=28_800).contains(&seconds)),
            "the timeout must lie between 10 minutes and 8 hours",
        );
        require(self.alarms.len() <= 10, "there can be at most 10 alarms");
        let is_name = |name: &String| (1..=255).contains(&name.chars().count()) && !name.trim().is_empty();
        require(
            self.alarms.iter().all(is_name),
            "an alarm has a name of 1 to 255 characters",
        );
        match problems.is_empty() {
            true => Ok(()),
            false => Err(InvalidDeployment { problems }),
        }
    }

    /// The member `DeploymentConfig` of `CreateEndpoint` and `UpdateEndpoint` as the API names what is in it.
    ///
    /// # Errors
    ///
    /// Those of [`check`](Self::check).
    pub fn to_parameters(&self) -> Result<Value, InvalidDeployment> {
        self.check()?;
        let timeout = self.timeout.map(|timeout| timeout.as_secs());
        let mut parameters = json!({});
        if let Shift::Rolling { step, wait } = self.shift {
            let mut rolling =
                json!({"MaximumBatchSize": step.to_json(), "WaitIntervalInSeconds": wait.as_secs()});
            if let Some(seconds) = timeout {
                rolling["MaximumExecutionTimeoutInSeconds"] = seconds.into();
            }
            parameters["RollingUpdatePolicy"] = rolling;
        } else {
            let routing = match self.shift {
                Shift::Canary { first, wait } => json!({
                    "Type": "CANARY", "WaitIntervalInSeconds": wait.as_secs(), "CanarySize": first.to_json(),
                }),
                Shift::Linear { step, wait } => json!({
                    "Type": "LINEAR", "WaitIntervalInSeconds": wait.as_secs(), "LinearStepSize": step.to_json(),
                }),
                _ => json!({"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": 0}),
            };
            let mut policy = json!({
                "TrafficRoutingConfiguration": routing,
                "TerminationWaitInSeconds": self.keep_old.as_secs(),
            });
            if let Some(seconds) = timeout {
                policy["MaximumExecutionTimeoutInSeconds"] = seconds.into();
            }
            parameters["BlueGreenUpdatePolicy"] = policy;
        }
        if !self.alarms.is_empty() {
            let alarms = self.alarms.iter().map(|name| json!({"AlarmName": name}));
            parameters["AutoRollbackConfiguration"] = json!({"Alarms": alarms.collect::<Vec<_>>()});
        }
        Ok(parameters)
    }

    pub(crate) fn to_sdk(&self) -> Result<types::DeploymentConfig, InvalidDeployment> {
        self.check()?;
        // None of them is over 8 hours.
        let seconds = |duration: Duration| i32::try_from(duration.as_secs()).unwrap_or(i32::MAX);
        let mut config = types::DeploymentConfig::builder();
        if let Shift::Rolling { step, wait } = self.shift {
            let rolling = types::RollingUpdatePolicy::builder()
                .maximum_batch_size(step.to_sdk())
                .wait_interval_in_seconds(seconds(wait))
                .set_maximum_execution_timeout_in_seconds(self.timeout.map(seconds));
            config = config.rolling_update_policy(rolling.build());
        } else {
            let routing = types::TrafficRoutingConfig::builder();
            let routing = match self.shift {
                Shift::Canary { first, wait } => routing
                    .r#type("CANARY".into())
                    .wait_interval_in_seconds(seconds(wait))
                    .canary_size(first.to_sdk()),
                Shift::Linear { step, wait } => routing
                    .r#type("LINEAR".into())
                    .wait_interval_in_seconds(seconds(wait))
                    .linear_step_size(step.to_sdk()),
                _ => routing.r#type("ALL_AT_ONCE".into()).wait_interval_in_seconds(0),
            };
            let policy = types::BlueGreenUpdatePolicy::builder()
                .traffic_routing_configuration(routing.build())
                .termination_wait_in_seconds(seconds(self.keep_old))
                .set_maximum_execution_timeout_in_seconds(self.timeout.map(seconds));
            config = config.blue_green_update_policy(policy.build());
        }
        if !self.alarms.is_empty() {
            let alarms = self
                .alarms
                .iter()
                .map(|name| types::Alarm::builder().alarm_name(name).build());
            let rollback = types::AutoRollbackConfig::builder().set_alarms(Some(alarms.collect()));
            config = config.auto_rollback_configuration(rollback.build());
        }
        Ok(config.build())
    }
}
