//! The checked machine and its builder.

use serde_json::{Map, Value};

use crate::asl::Document;
use crate::checked;
use crate::draft;
use crate::finding::{Finding, InvalidDefinition};
use crate::input::{self, Input};

/// A state machine that has been checked: every name resolves, every path parses, every number is in range.
///
/// It remembers the definition it was made of, so that printing gives back what was read, in the same order. The checked
/// form is a [`checked::Machine`]; this dereferences to it.
///
/// States Language, section "Structure of a State Machine".
#[derive(Debug, Clone)]
pub struct StateMachine {
    document: Document,
    machine: checked::Machine,
    warnings: Vec<Finding>,
}

/// The same definition, however its text is laid out; the places of warnings in that text do not count.
impl PartialEq for StateMachine {
    fn eq(&self, other: &Self) -> bool {
        self.document == other.document && self.machine == other.machine
    }
}

impl std::ops::Deref for StateMachine {
    type Target = checked::Machine;

    fn deref(&self) -> &checked::Machine {
        &self.machine
    }
}

impl StateMachine {
    pub(crate) fn new(document: Document, machine: checked::Machine, warnings: Vec<Finding>) -> Self {
        Self {
            document,
            machine,
            warnings,
        }
    }

    /// Reads and checks a definition.
    ///
    /// ```
    /// let error = sfn_builder::StateMachine::from_json(
    ///     r#"{"StartAt": "Train", "States": {"Train": {"Type": "Pass", "Next": "Scor"}, "Score": {"Type": "Succeed"}}}"#,
    /// )
    /// .unwrap_err();
    /// assert_eq!(error.findings()[0].pointer, "/States/Train/Next");
    /// assert_eq!(error.findings()[0].nearest.as_deref(), Some("Score"));
    /// ```
    ///
    /// # Errors
    ///
    /// Every problem that was found, each with its place.
    pub fn from_json(text: &str) -> Result<Self, InvalidDefinition> {
        Document::parse(text)?.check()
    }

    /// Starts to build a machine whose first state will be `start_at`.
    pub fn builder(start_at: impl Into<String>) -> MachineBuilder {
        MachineBuilder {
            start_at: start_at.into(),
            comment: None,
            version: None,
            timeout_seconds: None,
            query_language: None,
            input: None,
            states: Vec::new(),
        }
    }

    /// The definition.
    #[must_use]
    pub fn to_json(&self) -> Value {
        self.document.as_value().clone()
    }

    /// The definition as text, indented.
    #[must_use]
    pub fn to_json_string(&self) -> String {
        format!("{:#}", self.document.as_value())
    }

    /// The definition as it was written or built.
    #[must_use]
    pub fn document(&self) -> &Document {
        &self.document
    }

    /// The checked form.
    #[must_use]
    pub fn machine(&self) -> &checked::Machine {
        &self.machine
    }

    /// What the service takes, but what probably does not do what was meant.
    #[must_use]
    pub fn warnings(&self) -> &[Finding] {
        &self.warnings
    }

    /// `Comment`.
    ///
    /// States Language, section "Top-level fields".
    #[must_use]
    pub fn comment(&self) -> Option<&str> {
        self.machine.comment.as_deref()
    }

    /// `Version`.
    ///
    /// States Language, section "Top-level fields".
    #[must_use]
    pub fn version(&self) -> Option<&str> {
        self.machine.version.as_deref()
    }

    /// `TimeoutSeconds` of the whole machine.
    ///
    /// States Language, section "Top-level fields".
    #[must_use]
    pub fn timeout_seconds(&self) -> Option<u64> {
        self.machine.timeout_seconds
    }
}

impl std::str::FromStr for StateMachine {
    type Err = InvalidDefinition;

    fn from_str(text: &str) -> Result<Self, InvalidDefinition> {
        Self::from_json(text)
    }
}

/// Collects states; [`build`](Self::build) judges.
///
/// States Language, section "Top-level fields".
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub struct MachineBuilder {
    start_at: String,
    comment: Option<String>,
    version: Option<String>,
    timeout_seconds: Option<u64>,
    query_language: Option<checked::QueryLanguage>,
    input: Option<Input>,
    states: Vec<(String, draft::State)>,
}

impl MachineBuilder {
    /// Sets `Comment`.
    ///
    /// States Language, section "Top-level fields".
    pub fn comment(mut self, comment: impl Into<String>) -> Self {
        self.comment = Some(comment.into());
        self
    }

    /// Sets `Version`; the language knows `1.0` only.
    ///
    /// States Language, section "Top-level fields".
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.version = Some(version.into());
        self
    }

    /// Sets `TimeoutSeconds`, 1 to 99,999,999; without it an execution may take a year.
    ///
    /// States Language, section "Top-level fields".
    pub fn timeout_seconds(mut self, seconds: u64) -> Self {
        self.timeout_seconds = Some(seconds);
        self
    }

    /// Sets `QueryLanguage`; the default is JSONPath.
    ///
    /// States Language, section "Top-level fields".
    pub fn query_language(mut self, language: checked::QueryLanguage) -> Self {
        self.query_language = Some(language);
        self
    }

    /// Says what executions are started with: the build checks every placeholder and every path into it.
    pub fn input(mut self, input: &Input) -> Self {
        self.input = Some(input.clone());
        self
    }

    /// Adds the states of a fragment; its open ends end the machine.
    pub fn fragment(mut self, fragment: impl Into<draft::Fragment>) -> Self {
        self.states.extend(fragment.into().into_states());
        self
    }

    /// Adds a state.
    ///
    /// States Language, section "Top-level fields".
    pub fn state(mut self, name: impl Into<String>, state: impl Into<draft::State>) -> Self {
        self.states.push((name.into(), state.into()));
        self
    }

    /// The definition as it stands, unchecked.
    #[must_use]
    pub fn to_document(&self) -> Document {
        self.clone().into_document()
    }

    fn into_document(self) -> Document {
        let mut root = Map::new();
        if let Some(comment) = self.comment {
            root.insert("Comment".into(), comment.into());
        }
        if let Some(version) = self.version {
            root.insert("Version".into(), version.into());
        }
        if let Some(language) = self.query_language {
            root.insert("QueryLanguage".into(), language.as_str().into());
        }
        root.insert("StartAt".into(), self.start_at.into());
        if let Some(seconds) = self.timeout_seconds {
            root.insert("TimeoutSeconds".into(), seconds.into());
        }
        let (states, mut findings) = draft::states_to_json(self.states);
        root.insert("States".into(), states.into());
        let mut root = Value::Object(root);
        findings.extend(input::resolve(&mut root, self.input.as_ref()));
        let mut document = Document::from(root);
        document.found = findings;
        document
    }

    /// Checks what was collected, by the same rules as [`StateMachine::from_json`].
    ///
    /// # Errors
    ///
    /// Every problem that was found, each with its place.
    pub fn build(self) -> Result<StateMachine, InvalidDefinition> {
        self.into_document().check()
    }
}
