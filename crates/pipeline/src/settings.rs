//! What a run is told: a draft from flags and variables, checked into [`Settings`].

use std::str::FromStr;
use std::time::Duration;

use ipinsights::Hyperparameters;
use ipinsights_client::{InstanceType, RoleArn};

use crate::Error;
use crate::names::PipelineName;
use crate::report::Build;

/// The variables that set what flags leave open, by the names the first build of this pipeline used.
pub mod variables {
    /// The role that Step Functions assumes to run the state machine.
    pub const WORKFLOW_EXECUTION_ROLE: &str = "WORKFLOW_EXECUTION_ROLE";
    /// The role that SageMaker assumes to train and to serve.
    pub const ESTIMATOR_ROLE: &str = "ESTIMATOR_ROLE";
    /// The instance type that trains.
    pub const TRAINING_INSTANCE: &str = "TRAINING_INSTANCE";
    /// The instance type that serves.
    pub const HOSTING_INSTANCE: &str = "HOSTING_INSTANCE";
    /// The region; `AWS_REGION` is read where this is unset.
    pub const REGION: &str = "REGION";
    /// The `s3://` folder that models go to.
    pub const ARTIFACT_LOCATION: &str = "ARTIFACT_LOCATION";
    /// The `s3://` folder that the rows go to.
    pub const DATA_LOCATION: &str = "DATA_LOCATION";
}

/// An `s3://bucket/prefix` that objects can be put under. Invariant: a bucket, and no `/` at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Folder {
    bucket: String,
    prefix: String,
}

impl S3Folder {
    /// A folder by its parts; slashes around the prefix do not count.
    pub fn new(bucket: impl Into<String>, prefix: &str) -> Self {
        Self {
            bucket: bucket.into(),
            prefix: prefix.trim_matches('/').to_owned(),
        }
    }

    /// Reads `s3://bucket` or `s3://bucket/prefix`.
    pub fn parse(setting: &'static str, text: &str) -> Result<Self, Error> {
        let refuse = |reason: &str| Error::Setting {
            setting,
            value: text.to_owned(),
            reason: reason.to_owned(),
        };
        let rest = text
            .strip_prefix("s3://")
            .ok_or_else(|| refuse("it begins with s3://"))?;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.len() < 3 || bucket.len() > 63 {
            return Err(refuse("a bucket name has 3 to 63 characters"));
        }
        if prefix.contains("//") {
            return Err(refuse("its prefix has an empty part (`//`)"));
        }
        // The first build named the training file itself; ours writes several files, beside each other.
        let prefix = match prefix.strip_suffix("train.csv") {
            Some(folder) if folder.is_empty() || folder.ends_with('/') => folder,
            Some(_) | None if prefix.ends_with(".csv") => {
                return Err(refuse(
                    "name the folder: a run writes train.csv, validation.csv and more into it",
                ));
            }
            Some(_) | None => prefix,
        };
        Ok(Self::new(bucket, prefix))
    }

    /// The bucket.
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// The key of an object in this folder.
    pub fn key(&self, name: &str) -> String {
        if self.prefix.is_empty() {
            name.to_owned()
        } else {
            format!("{}/{name}", self.prefix)
        }
    }

    /// The URI of an object in this folder.
    pub fn uri(&self, name: &str) -> String {
        format!("s3://{}/{}", self.bucket, self.key(name))
    }

    /// The folder's own URI, without a `/` at the end.
    pub fn to_uri(&self) -> String {
        if self.prefix.is_empty() {
            format!("s3://{}", self.bucket)
        } else {
            self.uri("").trim_end_matches('/').to_owned()
        }
    }

    /// A folder inside this one.
    pub fn join(&self, name: &str) -> Self {
        Self {
            bucket: self.bucket.clone(),
            prefix: self.key(name),
        }
    }
}

/// How long to wait for what, and how often to look.
#[derive(Debug, Clone, PartialEq)]
pub struct Pace {
    /// Seconds that the state machine waits between two looks at the endpoint (a Wait state: whole seconds).
    pub endpoint_wait: u32,
    /// Seconds after which the state machine itself ends as timed out.
    pub execution_timeout: u32,
    /// Pause between two looks at the execution.
    pub poll: Duration,
    /// How much longer than `execution_timeout` a run waits before it stops the execution.
    pub grace: Duration,
}

impl Default for Pace {
    /// For the account: instances take minutes to come up.
    fn default() -> Self {
        Self {
            endpoint_wait: 30,
            execution_timeout: 2 * 60 * 60,
            poll: Duration::from_secs(5),
            grace: Duration::from_secs(60),
        }
    }
}

impl Pace {
    /// For services in the same process: nothing boots.
    pub fn brisk() -> Self {
        Self {
            endpoint_wait: 1,
            execution_timeout: 60 * 60,
            poll: Duration::from_millis(50),
            grace: Duration::from_secs(10),
        }
    }
}

/// Settings as flags and variables give them; [`check`](Self::check) makes them [`Settings`].
#[derive(Debug, Clone)]
pub struct SettingsDraft {
    /// The pipeline's name; default `ipinsights`.
    pub name: String,
    /// How the report names the place: `aws`, `local`.
    pub target: String,
    /// See [`variables::WORKFLOW_EXECUTION_ROLE`]. Required.
    pub workflow_execution_role: Option<String>,
    /// See [`variables::ESTIMATOR_ROLE`]. Required.
    pub estimator_role: Option<String>,
    /// See [`variables::TRAINING_INSTANCE`]. Default `ml.m5.large`.
    pub training_instance: Option<String>,
    /// See [`variables::HOSTING_INSTANCE`]. Default `ml.m5.large`.
    pub hosting_instance: Option<String>,
    /// See [`variables::DATA_LOCATION`]. Default `s3://ipinsights-<region>-<account>/<name>/data`.
    pub data_location: Option<String>,
    /// See [`variables::ARTIFACT_LOCATION`]. Default `s3://ipinsights-<region>-<account>/<name>/artifacts`.
    pub artifact_location: Option<String>,
    /// Share of in-country rows that may be flagged, above 0 and below 1. Default 0.05.
    pub false_positive_rate: f64,
    /// The program, for the report's record. Default: this crate's version alone.
    pub build: Build,
    /// How long to wait.
    pub pace: Pace,
}

impl Default for SettingsDraft {
    fn default() -> Self {
        Self {
            name: PipelineName::default().to_string(),
            target: "aws".to_owned(),
            workflow_execution_role: None,
            estimator_role: None,
            training_instance: None,
            hosting_instance: None,
            data_location: None,
            artifact_location: None,
            false_positive_rate: 0.05,
            build: Build {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                ..Build::default()
            },
            pace: Pace::default(),
        }
    }
}

impl SettingsDraft {
    /// Fills what is still open from variables, such as the environment's (`|name| std::env::var(name).ok()`). An empty
    /// variable counts as unset.
    #[must_use]
    pub fn or_variables(mut self, variable: impl Fn(&str) -> Option<String>) -> Self {
        let fill = |slot: &mut Option<String>, name: &str| {
            if slot.is_none() {
                *slot = variable(name).filter(|value| !value.is_empty());
            }
        };
        fill(
            &mut self.workflow_execution_role,
            variables::WORKFLOW_EXECUTION_ROLE,
        );
        fill(&mut self.estimator_role, variables::ESTIMATOR_ROLE);
        fill(&mut self.training_instance, variables::TRAINING_INSTANCE);
        fill(&mut self.hosting_instance, variables::HOSTING_INSTANCE);
        fill(&mut self.data_location, variables::DATA_LOCATION);
        fill(&mut self.artifact_location, variables::ARTIFACT_LOCATION);
        self
    }

    /// Checks everything that can be checked without asking anyone.
    pub fn check(self, hyperparameters: Hyperparameters) -> Result<Settings, Error> {
        let name = parse("name", &self.name)?;
        if !(self.false_positive_rate > 0.0 && self.false_positive_rate < 1.0) {
            return Err(Error::Setting {
                setting: "false positive rate",
                value: self.false_positive_rate.to_string(),
                reason: "it lies above 0 and below 1".to_owned(),
            });
        }
        let folder =
            |setting, text: Option<String>| text.map(|text| S3Folder::parse(setting, &text)).transpose();
        let instance = |setting, text: Option<String>| match text {
            Some(text) => parse(setting, &text),
            None => Ok(InstanceType::m5_large()),
        };
        let execution_role = role(
            variables::WORKFLOW_EXECUTION_ROLE,
            self.workflow_execution_role.as_deref(),
        )?;
        Ok(Settings {
            name,
            target: self.target,
            workflow_execution_role: execution_role,
            estimator_role: role(variables::ESTIMATOR_ROLE, self.estimator_role.as_deref())?,
            training_instance: instance(variables::TRAINING_INSTANCE, self.training_instance)?,
            hosting_instance: instance(variables::HOSTING_INSTANCE, self.hosting_instance)?,
            data_location: folder(variables::DATA_LOCATION, self.data_location)?,
            artifact_location: folder(variables::ARTIFACT_LOCATION, self.artifact_location)?,
            false_positive_rate: self.false_positive_rate,
            build: self.build,
            pace: self.pace,
            hyperparameters,
        })
    }
}

/// Reads a value whose type says the rule.
fn parse<T>(setting: &'static str, value: &str) -> Result<T, Error>
where
    T: FromStr<Err: std::fmt::Display>,
{
    value.parse().map_err(|error: T::Err| Error::Setting {
        setting,
        value: value.to_owned(),
        reason: error.to_string(),
    })
}

fn role(setting: &'static str, value: Option<&str>) -> Result<RoleArn, Error> {
    let missing = || Error::Missing {
        setting,
        cure: "it takes the ARN of an IAM role (arn:aws:iam::<account>:role/<name>)".to_owned(),
    };
    parse(setting, value.ok_or_else(missing)?)
}

/// What a run is told, checked.
#[derive(Debug, Clone)]
pub struct Settings {
    pub(crate) name: PipelineName,
    pub(crate) target: String,
    pub(crate) workflow_execution_role: RoleArn,
    pub(crate) estimator_role: RoleArn,
    pub(crate) training_instance: InstanceType,
    pub(crate) hosting_instance: InstanceType,
    pub(crate) data_location: Option<S3Folder>,
    pub(crate) artifact_location: Option<S3Folder>,
    pub(crate) false_positive_rate: f64,
    pub(crate) build: Build,
    pub(crate) pace: Pace,
    pub(crate) hyperparameters: Hyperparameters,
}

impl Settings {
    /// The pipeline's name.
    pub fn name(&self) -> &PipelineName {
        &self.name
    }

    /// The hyperparameters that the training job gets.
    pub fn hyperparameters(&self) -> &Hyperparameters {
        &self.hyperparameters
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params() -> Hyperparameters {
        Hyperparameters::draft(10).check().unwrap()
    }

    fn variables(name: &str) -> Option<String> {
        let value = match name {
            "WORKFLOW_EXECUTION_ROLE" => "arn:aws:iam::123456789012:role/flow",
            "ESTIMATOR_ROLE" => "arn:aws:iam::123456789012:role/service-role/train",
            "TRAINING_INSTANCE" => "ml.m5.xlarge",
            "HOSTING_INSTANCE" => "",
            "DATA_LOCATION" => "s3://bucket/some/where/train.csv",
            "ARTIFACT_LOCATION" => "s3://bucket",
            _ => return None,
        };
        Some(value.to_owned())
    }

    #[test]
    fn the_first_builds_variables_are_read() {
        let settings = SettingsDraft::default()
            .or_variables(variables)
            .check(params())
            .unwrap();
        assert_eq!(settings.training_instance.as_str(), "ml.m5.xlarge");
        assert_eq!(settings.hosting_instance, InstanceType::m5_large());
        assert_eq!(settings.data_location.unwrap().to_uri(), "s3://bucket/some/where");
        assert_eq!(settings.artifact_location.unwrap().uri("a"), "s3://bucket/a");
    }

    #[test]
    fn flags_win_over_variables() {
        let draft = SettingsDraft {
            training_instance: Some("ml.c5.large".into()),
            ..Default::default()
        };
        assert_eq!(
            draft.or_variables(variables).training_instance.as_deref(),
            Some("ml.c5.large")
        );
    }

    #[test]
    fn a_missing_role_is_named() {
        let error = SettingsDraft::default().check(params()).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("`WORKFLOW_EXECUTION_ROLE` is not set"),
            "{error}"
        );
    }

    #[test]
    fn what_cannot_work_is_refused_before_anything_is_sent() {
        type Spoil = fn(&mut SettingsDraft);
        let cases: [(&str, Spoil); 7] = [
            ("ESTIMATOR_ROLE", |d| d.estimator_role = Some("admin".into())),
            ("TRAINING_INSTANCE", |d| {
                d.training_instance = Some("m5.large".into())
            }),
            ("DATA_LOCATION", |d| d.data_location = Some("/tmp/data".into())),
            ("DATA_LOCATION", |d| {
                d.data_location = Some("s3://bucket/rows.csv".into())
            }),
            ("ARTIFACT_LOCATION", |d| {
                d.artifact_location = Some("s3://b".into())
            }),
            ("false positive rate", |d| d.false_positive_rate = f64::NAN),
            ("name", |d| d.name = "a b".into()),
        ];
        for (setting, spoil) in cases {
            let mut draft = SettingsDraft::default().or_variables(variables);
            spoil(&mut draft);
            let text = draft.check(params()).unwrap_err().to_string();
            assert!(text.contains(&format!("for `{setting}`")), "{text}");
        }
    }
}
