//! The names of everything a run creates, derived from the name of the pipeline and the run.
//!
//! What lives on between runs (bucket, state machine, endpoint) is named after the pipeline, so that a second run
//! updates it. What belongs to one run (training job, model, endpoint configuration, execution) carries the moment and
//! a fingerprint of the data and settings, because SageMaker refuses a training job whose name was used before.

use std::fmt;
use std::str::FromStr;

use ipinsights_client::{EndpointConfigName, EndpointName, ModelName, TrainingJobName};
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// The name of a pipeline: the prefix of every resource it creates.
///
/// Invariant: 1 to 36 characters, ASCII letters, digits and single hyphens, beginning and ending with a letter or digit,
/// so that a run's longest name still fits SageMaker's 63 characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PipelineName(String);

/// Why a text is no [`PipelineName`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` cannot name a pipeline: use 1 to {longest} letters, digits and single hyphens, beginning and ending with a \
     letter or digit",
    longest = PipelineName::LONGEST
)]
pub struct ParseNameError(String);

impl FromStr for PipelineName {
    type Err = ParseNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let letters = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        let edges = !text.starts_with('-') && !text.ends_with('-') && !text.contains("--");
        if text.is_empty() || text.len() > Self::LONGEST || !letters || !edges {
            return Err(ParseNameError(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl Default for PipelineName {
    fn default() -> Self {
        Self("ipinsights".to_owned())
    }
}

impl fmt::Display for PipelineName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl PipelineName {
    /// How many characters a name has at most; a run's suffix takes 25 more.
    pub const LONGEST: usize = 36;

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The state machine, kept between runs.
    pub fn state_machine(&self) -> String {
        self.0.clone()
    }

    /// The endpoint, kept between runs and updated by each.
    #[expect(
        clippy::unwrap_used,
        reason = "the invariant is stricter than the service's rule"
    )]
    pub fn endpoint(&self) -> EndpointName {
        self.0.parse().unwrap()
    }

    /// The bucket for data and artifacts where none is given: bucket names are lower-case and shared by all accounts.
    pub fn bucket(&self, region: &str, account: &str) -> String {
        format!("ipinsights-{region}-{account}")
    }

    /// The names of one run, started at `started` over inputs with the SHA-256 `fingerprint` (hex).
    pub fn run(&self, started: Timestamp, fingerprint: &str) -> RunNames {
        let moment = started.to_zoned(TimeZone::UTC).strftime("%Y%m%d-%H%M%S");
        let millis = started.subsec_millisecond();
        let short: String = fingerprint.chars().take(4).collect();
        RunNames {
            job: format!("{}-{moment}-{millis:03}-{short}", self.0),
        }
    }

    /// Whether `resource` is the name of a training job, model or configuration that a run of this pipeline made.
    pub fn owns(&self, resource: &str) -> bool {
        let Some(suffix) = resource
            .strip_prefix(&self.0)
            .and_then(|rest| rest.strip_prefix('-'))
        else {
            return false;
        };
        let parts: Vec<&str> = suffix.split('-').collect();
        let digits =
            |part: &str, length: usize| part.len() == length && part.bytes().all(|b| b.is_ascii_digit());
        let [date, time, millis, fingerprint] = parts[..] else {
            return false;
        };
        digits(date, 8)
            && digits(time, 6)
            && digits(millis, 3)
            && fingerprint.len() == 4
            && fingerprint.bytes().all(|b| b.is_ascii_hexdigit())
    }
}

/// The names of what one run creates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunNames {
    job: String,
}

impl RunNames {
    /// The training job.
    #[expect(
        clippy::unwrap_used,
        reason = "a pipeline's name and the suffix keep the service's rule"
    )]
    pub fn training_job(&self) -> TrainingJobName {
        self.job.parse().unwrap()
    }

    /// The model.
    #[expect(
        clippy::unwrap_used,
        reason = "a pipeline's name and the suffix keep the service's rule"
    )]
    pub fn model(&self) -> ModelName {
        self.job.parse().unwrap()
    }

    /// The endpoint configuration; it has the model's name.
    #[expect(
        clippy::unwrap_used,
        reason = "a pipeline's name and the suffix keep the service's rule"
    )]
    pub fn config(&self) -> EndpointConfigName {
        self.job.parse().unwrap()
    }

    /// The execution of the state machine.
    pub fn execution(&self) -> &str {
        &self.job
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_could_break_another_rule_is_refused() {
        for bad in ["", "-a", "a-", "a--b", "a b", "ä", "a/b", &"a".repeat(37)] {
            assert!(bad.parse::<PipelineName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn run_names_fit_sagemaker_and_are_recognised_again() {
        let name: PipelineName = "a".repeat(PipelineName::LONGEST).parse().unwrap();
        let run = name.run("2026-11-20T11:14:05.678Z".parse().unwrap(), "deadbeef");
        assert_eq!(
            run.training_job().as_str(),
            format!("{name}-20261120-111405-678-dead")
        );
        assert!(name.owns(run.model().as_str()));
        assert_eq!(name.endpoint().as_str(), name.as_str());
    }

    #[test]
    fn names_of_others_are_not_ours() {
        let name = PipelineName::default();
        for other in [
            "ipinsights",
            "ipinsights-prod",
            "other-20261120-111405-678-dead",
            "ipinsights-2-20261120-111405-678-dead",
        ] {
            assert!(!name.owns(other), "{other}");
        }
    }
}
