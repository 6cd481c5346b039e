//! What a check has to say: every problem with its place.

use std::fmt;

/// One problem of a definition.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// What kind of problem it is; stable, for programs.
    pub code: Code,
    /// Where: a JSON pointer into the definition, such as `/States/Train/Next`; empty for the whole document.
    pub pointer: String,
    /// What is wrong, as a fragment without a final stop.
    pub message: String,
    /// The nearest known name, or another way to put it right.
    pub suggestion: Option<String>,
}

impl Finding {
    pub(crate) fn new(code: Code, pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            code,
            pointer: pointer.into(),
            message: message.into(),
            suggestion: None,
        }
    }

    pub(crate) fn suggest(mut self, suggestion: Option<String>) -> Self {
        self.suggestion = suggestion;
        self
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = if self.pointer.is_empty() {
            "/"
        } else {
            &self.pointer
        };
        write!(f, "{place}: {}", self.message)?;
        match &self.suggestion {
            Some(suggestion) => write!(f, " (did you mean `{suggestion}`?)"),
            None => Ok(()),
        }
    }
}

/// The kind of a [`Finding`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Code {
    /// The text is not JSON.
    InvalidJson,
    /// The text is longer than the service takes (1 MiB).
    TooLarge,
    /// An object has the same key twice, or two states have the same name.
    DuplicateKey,
    /// A field is missing, has the wrong type or a value out of range.
    Schema,
    /// A field that no state of this type has.
    UnknownField,
    /// Part of the language, but not of what this crate supports.
    Unsupported,
    /// A JSONPath, reference path or intrinsic function does not parse.
    InvalidPath,
    /// A resource ARN that names nothing callable.
    InvalidResource,
    /// `StartAt`, `Next`, `Default` or a catcher names no state.
    MissingTransitionTarget,
    /// No path leads to this state.
    UnreachableState,
    /// No state ends the machine.
    NoTerminalState,
}

impl Code {
    /// The code as text, in the manner of the service's own validation answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidJson => "INVALID_JSON_DESCRIPTION",
            Self::TooLarge => "DEFINITION_TOO_LARGE",
            Self::DuplicateKey => "DUPLICATE_KEY",
            Self::Schema => "SCHEMA_VALIDATION_FAILED",
            Self::UnknownField => "UNKNOWN_FIELD",
            Self::Unsupported => "UNSUPPORTED",
            Self::InvalidPath => "INVALID_PATH",
            Self::InvalidResource => "INVALID_RESOURCE",
            Self::MissingTransitionTarget => "MISSING_TRANSITION_TARGET",
            Self::UnreachableState => "UNREACHABLE_STATE",
            Self::NoTerminalState => "NO_TERMINAL_STATE",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a definition is not a [`StateMachine`](crate::StateMachine): every finding, in document order.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct InvalidDefinition {
    // INVARIANT: not empty.
    findings: Vec<Finding>,
}

impl InvalidDefinition {
    pub(crate) fn new(findings: Vec<Finding>) -> Self {
        debug_assert!(!findings.is_empty());
        Self { findings }
    }

    /// All findings; there is at least one.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// The text in the form in which CreateStateMachine answers:
    /// ``Invalid State Machine Definition: 'SCHEMA_VALIDATION_FAILED: … at /States/X/Field'``.
    #[must_use]
    pub fn service_message(&self) -> String {
        let problems = self
            .findings
            .iter()
            .map(|finding| match finding.code {
                Code::InvalidJson => format!("{}: {}", finding.code, finding.message),
                code => {
                    let code = match code {
                        // The service has no code of its own for states that nothing leads to.
                        Code::MissingTransitionTarget | Code::UnreachableState => {
                            Code::MissingTransitionTarget
                        }
                        _ => Code::Schema,
                    };
                    let place = if finding.pointer.is_empty() {
                        "/"
                    } else {
                        &finding.pointer
                    };
                    format!("{code}: {} at {place}", finding.message)
                }
            })
            .collect::<Vec<_>>()
            .join(", ");
        format!("Invalid State Machine Definition: '{problems}'")
    }
}

impl fmt::Display for InvalidDefinition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.findings.as_slice() {
            [only] => write!(f, "the definition is not valid: {only}"),
            many => {
                write!(f, "the definition is not valid, {} problems:", many.len())?;
                many.iter().try_for_each(|finding| write!(f, "\n  {finding}"))
            }
        }
    }
}

/// Appends one escaped token to a JSON pointer.
pub(crate) fn push(pointer: &str, token: &str) -> String {
    format!("{pointer}/{}", token.replace('~', "~0").replace('/', "~1"))
}

/// The candidate nearest to `name`, when it is near enough to be a slip.
pub(crate) fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let lower = name.to_lowercase();
    candidates
        .into_iter()
        .filter(|candidate| *candidate != name)
        .map(|candidate| (strsim::jaro_winkler(&lower, &candidate.to_lowercase()), candidate))
        .filter(|(score, _)| *score >= 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate.to_owned())
}
