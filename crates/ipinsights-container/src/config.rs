//! What the service tells a container: configuration files and environment variables.

use std::collections::BTreeMap;
use std::io;
use std::ops::RangeInclusive;
use std::path::Path;
use std::str::FromStr;

use serde::Deserialize;
use serde::de::DeserializeOwned;

/// What is in `inputdataconfig.json` of one channel.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[non_exhaustive]
pub struct Channel {
    /// The media type; absent when the job gives none.
    pub content_type: Option<String>,
    /// `File`, `FastFile` or `Pipe`.
    pub training_input_mode: Option<String>,
    /// `FullyReplicated` or `ShardedByS3Key`.
    pub s3_distribution_type: Option<String>,
    /// `None` or `RecordIO`.
    pub record_wrapper_type: Option<String>,
}

/// What is in `resourceconfig.json`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Resources {
    /// This machine.
    pub current_host: String,
    /// All machines of the job, this one among them.
    pub hosts: Vec<String>,
}

impl Default for Resources {
    fn default() -> Self {
        Self {
            current_host: "algo-1".to_owned(),
            hosts: vec!["algo-1".to_owned()],
        }
    }
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A file cannot be read.
    #[error("`{path}` cannot be read")]
    Read {
        /// Its place.
        path: String,
        /// What the operating system says.
        source: io::Error,
    },
    /// A file is not what it should be.
    #[error("`{path}` is not {expected}")]
    Json {
        /// Its place.
        path: String,
        /// What it should be.
        expected: &'static str,
        /// What the JSON reader says.
        source: serde_json::Error,
    },
    /// An environment variable is no number, or out of range.
    #[error("{name} must be {expected}, got `{got}`")]
    Variable {
        /// Its name.
        name: &'static str,
        /// What it should be.
        expected: &'static str,
        /// What it is.
        got: String,
    },
}

/// Reads a configuration file; `None` where there is none.
pub(crate) fn read<T: DeserializeOwned>(
    path: &Path,
    expected: &'static str,
) -> Result<Option<T>, ConfigError> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            return Err(ConfigError::Read {
                path: path.display().to_string(),
                source,
            });
        }
    };
    let value = serde_json::from_slice(&text).map_err(|source| ConfigError::Json {
        path: path.display().to_string(),
        expected,
        source,
    })?;
    Ok(Some(value))
}

/// What environment variables say.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Environment {
    /// `SAGEMAKER_BIND_TO_PORT`: where to serve. Default 8080; 0 means any port that is free.
    pub port: u16,
    /// `SAGEMAKER_BATCH`: whether requests come from a batch transform job, whose answers are JSON Lines where none are
    /// asked for.
    pub batch: bool,
    /// `SAGEMAKER_MAX_PAYLOAD_IN_MB`: the largest body of a request, in MiB. Default 6.
    pub max_payload_in_mb: u64,
    /// `SAGEMAKER_MAX_CONCURRENT_TRANSFORMS`: requests that are worked on at a time; default one for each core.
    pub max_concurrent_transforms: usize,
    /// `SAGEMAKER_BATCH_STRATEGY`, `MULTI_RECORD` by default.
    pub batch_strategy: String,
    /// `IPINSIGHTS_SEED`: the seed of training. Default 0. The service has no such setting.
    pub seed: u64,
    /// `IPINSIGHTS_EARLY_STOP`: epochs without a higher validation AUC after which training ends. Default: it does not.
    pub early_stop: Option<u32>,
}

impl Environment {
    /// From variables with their values, of which the ones above count; `cores` is how many there are.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Variable`] for the first that makes no sense. An empty one counts as absent.
    pub fn from_vars(
        vars: impl IntoIterator<Item = (String, String)>,
        cores: usize,
    ) -> Result<Self, ConfigError> {
        let vars = Variables(vars.into_iter().collect());
        let batch = vars.text("SAGEMAKER_BATCH");
        let payload = "a number of MiB from 0 to 100";
        let strategy = vars.text("SAGEMAKER_BATCH_STRATEGY").unwrap_or("MULTI_RECORD");
        let concurrent = vars.number(
            "SAGEMAKER_MAX_CONCURRENT_TRANSFORMS",
            1..=10_000,
            "a number from 1 to 10000",
        )?;
        let epochs = "a number of epochs, at least 1";
        Ok(Self {
            port: vars
                .number("SAGEMAKER_BIND_TO_PORT", 0..=u16::MAX, "a port")?
                .unwrap_or(8080),
            batch: batch.is_some_and(|v| v.eq_ignore_ascii_case("true")),
            max_payload_in_mb: match vars.number("SAGEMAKER_MAX_PAYLOAD_IN_MB", 0..=100, payload)? {
                None => 6,
                // A stream without a limit; but the service sends no more than 100.
                Some(0) => 100,
                Some(n) => n,
            },
            max_concurrent_transforms: concurrent.unwrap_or(cores.max(1)),
            batch_strategy: strategy.to_owned(),
            seed: vars
                .number("IPINSIGHTS_SEED", 0..=u64::MAX, "a whole number below 2^64")?
                .unwrap_or(0),
            early_stop: vars.number("IPINSIGHTS_EARLY_STOP", 1..=u32::MAX, epochs)?,
        })
    }
}

/// Environment variables; an empty one counts as absent.
struct Variables(BTreeMap<String, String>);

impl Variables {
    fn text(&self, name: &str) -> Option<&str> {
        let text = self.0.get(name)?.trim();
        (!text.is_empty()).then_some(text)
    }

    fn number<T: FromStr + PartialOrd>(
        &self,
        name: &'static str,
        valid: RangeInclusive<T>,
        expected: &'static str,
    ) -> Result<Option<T>, ConfigError> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        match text.parse() {
            Ok(value) if valid.contains(&value) => Ok(Some(value)),
            _ => Err(ConfigError::Variable {
                name,
                expected,
                got: text.to_owned(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vars(vars: &[(&str, &str)]) -> Result<Environment, String> {
        let vars = vars.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        Environment::from_vars(vars, 4).map_err(|e| e.to_string())
    }

    #[test]
    fn defaults_and_everything_set() {
        assert_eq!(
            vars(&[("HOME", "/"), ("SAGEMAKER_BIND_TO_PORT", "")]).unwrap(),
            Environment {
                port: 8080,
                batch: false,
                max_payload_in_mb: 6,
                max_concurrent_transforms: 4,
                batch_strategy: "MULTI_RECORD".to_owned(),
                seed: 0,
                early_stop: None,
            }
        );
        let set = vars(&[
            ("SAGEMAKER_BIND_TO_PORT", "0"),
            ("SAGEMAKER_BATCH", "true"),
            ("SAGEMAKER_MAX_PAYLOAD_IN_MB", "0"),
            ("SAGEMAKER_MAX_CONCURRENT_TRANSFORMS", "2"),
            ("SAGEMAKER_BATCH_STRATEGY", "SINGLE_RECORD"),
            ("IPINSIGHTS_SEED", "9"),
            ("IPINSIGHTS_EARLY_STOP", "3"),
        ]);
        assert_eq!(
            set.unwrap(),
            Environment {
                port: 0,
                batch: true,
                max_payload_in_mb: 100,
                max_concurrent_transforms: 2,
                batch_strategy: "SINGLE_RECORD".to_owned(),
                seed: 9,
                early_stop: Some(3),
            }
        );
    }

    #[test]
    fn what_makes_no_sense() {
        for (name, value, want) in [
            ("SAGEMAKER_BIND_TO_PORT", "65536", "a port"),
            (
                "SAGEMAKER_MAX_PAYLOAD_IN_MB",
                "101",
                "a number of MiB from 0 to 100",
            ),
            (
                "SAGEMAKER_MAX_CONCURRENT_TRANSFORMS",
                "0",
                "a number from 1 to 10000",
            ),
            ("IPINSIGHTS_SEED", "x", "a whole number below 2^64"),
            ("IPINSIGHTS_EARLY_STOP", "0", "a number of epochs, at least 1"),
        ] {
            let error = vars(&[(name, value)]).unwrap_err();
            assert_eq!(error, format!("{name} must be {want}, got `{value}`"));
        }
    }
}
