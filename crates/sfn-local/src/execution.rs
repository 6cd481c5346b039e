//! What is run, and how it ended.

use serde_json::Value;

/// One run of a machine: who it is and what it was given.
///
/// ```
/// use serde_json::json;
///
/// let execution = sfn_local::Execution::new(
///     "arn:aws:states:us-east-1:000000000000:stateMachine:train",
///     "first",
///     json!({"JobName": "job-1"}),
/// );
/// assert_eq!(execution.arn, "arn:aws:states:us-east-1:000000000000:execution:train:first");
/// assert_eq!(execution.state_machine_name, "train");
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Execution {
    /// Its ARN: `$$.Execution.Id`.
    pub arn: String,
    /// Its name: `$$.Execution.Name`.
    pub name: String,
    /// The role it runs as: `$$.Execution.RoleArn`.
    pub role_arn: String,
    /// The ARN of the machine: `$$.StateMachine.Id`.
    pub state_machine_arn: String,
    /// The name of the machine: `$$.StateMachine.Name`.
    pub state_machine_name: String,
    /// The input: `$$.Execution.Input`.
    pub input: Value,
    /// The input as it was sent, for the history; without it the history has `input` printed compactly.
    pub input_text: Option<String>,
    /// Where randomness comes from (jitter of retries, `States.UUID`).
    pub seed: u64,
    /// The context object, when it is not to be that of the execution: for a state that is tested by itself.
    pub context: Option<Value>,
}

impl Execution {
    /// An execution of the machine with this ARN; its own ARN and the machine's name follow from that.
    #[must_use]
    pub fn new(state_machine_arn: impl Into<String>, name: impl Into<String>, input: Value) -> Self {
        let state_machine_arn = state_machine_arn.into();
        let name = name.into();
        let state_machine_name = state_machine_arn
            .rsplit(':')
            .next()
            .unwrap_or_default()
            .to_owned();
        let account = state_machine_arn.split(':').nth(4).unwrap_or_default();
        let arn = format!(
            "{}:{name}",
            state_machine_arn.replacen(":stateMachine:", ":execution:", 1)
        );
        let role_arn = format!("arn:aws:iam::{account}:role/{state_machine_name}");
        Self {
            arn,
            name,
            role_arn,
            state_machine_arn,
            state_machine_name,
            input,
            input_text: None,
            seed: 0,
            context: None,
        }
    }

    /// Sets the role.
    #[must_use]
    pub fn with_role_arn(mut self, role_arn: impl Into<String>) -> Self {
        self.role_arn = role_arn.into();
        self
    }

    /// Sets the seed.
    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Sets the input's text as it was sent.
    #[must_use]
    pub fn with_input_text(mut self, text: impl Into<String>) -> Self {
        self.input_text = Some(text.into());
        self
    }

    pub(crate) fn region(&self) -> &str {
        self.state_machine_arn.split(':').nth(3).unwrap_or_default()
    }
}

/// How an execution ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// `SUCCEEDED`.
    Succeeded {
        /// Its output.
        output: Value,
    },
    /// `FAILED`.
    Failed {
        /// The error's name.
        error: Option<String>,
        /// A text for people.
        cause: Option<String>,
    },
    /// `TIMED_OUT`: the machine's own `TimeoutSeconds` ran out.
    TimedOut {
        /// The error's name; none for a machine's `TimeoutSeconds`, of which only the history says `States.Timeout`.
        error: Option<String>,
        /// A text for people.
        cause: Option<String>,
    },
    /// `ABORTED`: somebody stopped it. Only child executions of a map run end in this way by themselves: whoever stops another drops
    /// its future.
    Aborted {
        /// The error's name, as whoever stopped it said.
        error: Option<String>,
        /// A text for people.
        cause: Option<String>,
    },
}

impl Outcome {
    /// The error and the cause of one that has not ended well.
    #[must_use]
    pub fn failure(&self) -> Option<(Option<&str>, Option<&str>)> {
        match self {
            Self::Succeeded { .. } => None,
            Self::Failed { error, cause }
            | Self::TimedOut { error, cause }
            | Self::Aborted { error, cause } => Some((error.as_deref(), cause.as_deref())),
        }
    }

    /// The status as the service names it.
    #[must_use]
    pub fn status(&self) -> &'static str {
        match self {
            Self::Succeeded { .. } => "SUCCEEDED",
            Self::Failed { .. } => "FAILED",
            Self::TimedOut { .. } => "TIMED_OUT",
            Self::Aborted { .. } => "ABORTED",
        }
    }
}
