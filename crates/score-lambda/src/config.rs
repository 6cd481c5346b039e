//! The program's settings, from its environment.

use std::path::PathBuf;

use ipinsights_client::EndpointName;

use crate::{Cutoff, Error};

/// The port of the local server when none is given.
const DEFAULT_PORT: u16 = 8080;

/// What the program needs to know.
#[derive(Debug, Clone)]
pub struct Config {
    /// The endpoint to ask.
    pub endpoint: EndpointName,
    /// Where the line is drawn.
    pub cutoff: Cutoff,
    /// The local server's port; a Lambda function does not use it.
    pub port: u16,
    /// What a custom domain puts before the paths, such as `/scorer`.
    pub base_path: Option<String>,
    /// Whether entities and addresses may be in the log.
    pub log_identifiers: bool,
}

/// Where variables are looked up: the environment, or a table in a test.
pub type Variables<'a> = &'a dyn Fn(&str) -> Option<String>;

impl Config {
    /// Reads `ENDPOINT_NAME`, `THRESHOLD` or `THRESHOLD_FILE`, `PORT`, `BASE_PATH` and `LOG_IDENTIFIERS`; an empty variable counts as absent.
    ///
    /// # Errors
    ///
    /// When one is missing or is not what it should be; the error names the variable.
    pub fn read(variables: Variables<'_>) -> Result<Self, Error> {
        let get = |name| variables(name).filter(|value| !value.is_empty());
        let name = get("ENDPOINT_NAME").ok_or(Error::Missing {
            name: "ENDPOINT_NAME",
            what: "the name of the endpoint to ask",
        })?;
        let endpoint = name
            .parse()
            .map_err(|error: ipinsights_client::ParseNameError| Error::Invalid {
                name: "ENDPOINT_NAME",
                value: name.clone(),
                what: error.to_string(),
            })?;
        let cutoff = match (get("THRESHOLD"), get("THRESHOLD_FILE")) {
            (Some(_), Some(_)) => return Err(Error::TwoThresholds),
            (Some(value), None) => Cutoff::parse(&value).map_err(|error| Error::Invalid {
                name: "THRESHOLD",
                value,
                what: error.to_string(),
            })?,
            (None, Some(path)) => threshold_file(PathBuf::from(path))?,
            (None, None) => {
                return Err(Error::Missing {
                    name: "THRESHOLD",
                    what: "a number, or set `THRESHOLD_FILE`",
                });
            }
        };
        let port = match get("PORT") {
            None => DEFAULT_PORT,
            Some(value) => value.parse().map_err(|_| Error::Invalid {
                name: "PORT",
                value,
                what: "a port is a number from 0 to 65535".to_owned(),
            })?,
        };
        let log_identifiers = match get("LOG_IDENTIFIERS").as_deref() {
            None | Some("false") => false,
            Some("true") => true,
            Some(value) => {
                return Err(Error::Invalid {
                    name: "LOG_IDENTIFIERS",
                    value: value.to_owned(),
                    what: "it is true or false".to_owned(),
                });
            }
        };
        Ok(Self {
            endpoint,
            cutoff,
            port,
            base_path: get("BASE_PATH"),
            log_identifiers,
        })
    }
}

fn threshold_file(path: PathBuf) -> Result<Cutoff, Error> {
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(source) => {
            return Err(Error::ThresholdFile {
                path,
                source: source.into(),
            });
        }
    };
    Cutoff::parse(&text).map_err(|source| Error::ThresholdFile {
        path,
        source: source.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Config, Error> {
        Config::read(&|name| {
            variables
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn settings_are_read() {
        let config = read(&[
            ("ENDPOINT_NAME", "ipinsights"),
            ("THRESHOLD", "-0.25"),
            ("PORT", ""),
        ])
        .unwrap();
        assert_eq!(config.endpoint.as_str(), "ipinsights");
        assert_eq!(config.cutoff, Cutoff::at(-0.25).unwrap());
        assert_eq!(config.port, 8080);

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.json");
        std::fs::write(
            &path,
            r#"{"threshold": {"value": 2, "false_positive_rate": 0.05}}"#,
        )
        .unwrap();
        let file = path.to_str().unwrap();
        let config = read(&[("ENDPOINT_NAME", "e"), ("THRESHOLD_FILE", file), ("PORT", "9000")]).unwrap();
        assert_eq!(config.cutoff.value().dot_product(), 2.0);
        assert_eq!(config.port, 9000);
    }

    #[test]
    fn a_wrong_setting_is_named() {
        for (variables, want) in [
            (
                &[][..],
                "the variable `ENDPOINT_NAME` is not set: the name of the endpoint to ask",
            ),
            (
                &[("ENDPOINT_NAME", "e")],
                "the variable `THRESHOLD` is not set: a number, or set `THRESHOLD_FILE`",
            ),
            (
                &[
                    ("ENDPOINT_NAME", "e"),
                    ("THRESHOLD", "1"),
                    ("THRESHOLD_FILE", "f"),
                ],
                "both `THRESHOLD` and `THRESHOLD_FILE` are set: keep one",
            ),
            (
                &[("ENDPOINT_NAME", "e"), ("THRESHOLD", "low")],
                "the variable `THRESHOLD` is `low`: a threshold is a finite number, or an object with a finite number as `value`",
            ),
            (
                &[("ENDPOINT_NAME", "e"), ("THRESHOLD", "1"), ("PORT", "x")],
                "the variable `PORT` is `x`: a port is a number from 0 to 65535",
            ),
            (
                &[
                    ("ENDPOINT_NAME", "e"),
                    ("THRESHOLD", "1"),
                    ("LOG_IDENTIFIERS", "yes"),
                ],
                "the variable `LOG_IDENTIFIERS` is `yes`: it is true or false",
            ),
            (
                &[("ENDPOINT_NAME", "e"), ("THRESHOLD_FILE", "/no/such/file")],
                "cannot read the threshold in `/no/such/file`",
            ),
        ] {
            assert_eq!(read(variables).unwrap_err().to_string(), want);
        }
        let message = read(&[("ENDPOINT_NAME", "not a name")]).unwrap_err().to_string();
        assert!(
            message.starts_with("the variable `ENDPOINT_NAME` is `not a name`: "),
            "{message}"
        );
    }
}
