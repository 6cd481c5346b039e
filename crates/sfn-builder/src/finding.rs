//! What a check has to say: every problem with its code, its severity and its place.

use std::borrow::Cow;
use std::fmt;

use crate::source::Position;

/// One problem of a definition.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// What kind of problem it is; stable, for programs.
    pub code: Code,
    /// Where in the document: a JSON pointer such as `/States/Train/Next`; empty for the whole document.
    pub pointer: String,
    /// Where in the text, when the document was read from one.
    pub position: Option<Position>,
    /// What is wrong, as a fragment without a final stop.
    pub message: String,
    /// How to put it right, where that is not plain from the message.
    pub hint: Option<String>,
    /// The nearest known name, for what looks misspelt.
    pub nearest: Option<String>,
    /// What the service says of it, where that is known and not plain from the code.
    pub(crate) said: Option<Box<Cow<'static, str>>>,
}

impl Finding {
    pub(crate) fn new(code: Code, pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            code,
            pointer: pointer.into(),
            position: None,
            message: message.into(),
            hint: None,
            nearest: None,
            said: None,
        }
    }

    pub(crate) fn said(mut self, said: impl Into<Cow<'static, str>>) -> Self {
        self.said = Some(Box::new(said.into()));
        self
    }

    pub(crate) fn at(mut self, position: Position) -> Self {
        self.position = Some(position);
        self
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(crate) fn near(mut self, nearest: Option<String>) -> Self {
        self.nearest = nearest;
        self
    }

    /// Where the service says that it is, such as `/States/Route/Choices[0]/Next`: the pointer with its escapes undone and
    /// the indices of lists in brackets. `None` for what is said of the whole document.
    ///
    /// API reference, "ValidateStateMachineDefinitionDiagnostic", and what the service answers.
    #[must_use]
    pub fn service_location(&self) -> Option<String> {
        if matches!(
            self.code,
            Code::InvalidJson | Code::TooDeeplyNested | Code::NoTerminalState
        ) {
            return None;
        }
        location(&self.pointer)
    }

    /// The severity of its code.
    #[must_use]
    pub fn severity(&self) -> Severity {
        self.code.severity()
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
        if let Some(hint) = &self.hint {
            write!(f, "; {hint}")?;
        }
        match &self.nearest {
            Some(nearest) => write!(f, " (did you mean `{nearest}`?)"),
            None => Ok(()),
        }
    }
}

/// The pointer as the service writes it.
fn location(pointer: &str) -> Option<String> {
    let mut location = String::new();
    let mut before = "";
    for token in pointer.split('/').skip(1) {
        let is_index = !token.is_empty() && token.bytes().all(|b| b.is_ascii_digit());
        if is_index && before != "States" {
            location.push_str(&format!("[{token}]"));
        } else {
            location.push('/');
            location.push_str(&token.replace("~1", "/").replace("~0", "~"));
        }
        // A state may itself have the name `States`.
        before = if before == "States" { "" } else { token };
    }
    Some(if location.is_empty() {
        "/".to_owned()
    } else {
        location
    })
}

/// How bad a [`Finding`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// The service takes the definition, but it probably does not do what was meant.
    Warning,
    /// The service refuses the definition.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// The names that the service itself gives to problems of a definition.
mod service {
    pub(super) const JSON: &str = "INVALID_JSON_DESCRIPTION";
    pub(super) const SCHEMA: &str = "SCHEMA_VALIDATION_FAILED";
    pub(super) const TARGET: &str = "MISSING_TRANSITION_TARGET";
    pub(super) const END: &str = "MISSING_END_STATE";
    pub(super) const SAME_NAME: &str = "DUPLICATE_STATE_NAME";
    pub(super) const NAME: &str = "INVALID_STATE_NAME";
    pub(super) const SAME_LABEL: &str = "DUPLICATE_LABEL_NAME";
    pub(super) const LABEL: &str = "INVALID_LABEL_NAME";
    pub(super) const NESTED: &str = "TOO_DEEPLY_NESTED";
    pub(super) const VARIABLE: &str = "INVALID_VARIABLE_NAME";
    pub(super) const RESERVED: &str = "RESERVED_VARIABLE_NAME";
    pub(super) const JSONATA: &str = "INVALID_JSONATA_EXPRESSION";
    pub(super) const NO_JSONATA: &str = "UNSUPPORTED_JSONATA_EXPRESSION";
    pub(super) const DOLLAR: &str = "NO_DOLLAR";
    pub(super) const PATH: &str = "NO_PATH";
    pub(super) const STATIC: &str = "PASS_RESULT_IS_STATIC";
}

macro_rules! codes {
    ($($variant:ident = $text:literal, $severity:ident, $service:ident: $explanation:literal;)+) => {
        /// The kind of a [`Finding`].
        ///
        /// The texts are stable: a code keeps its meaning, new kinds of problems get new codes.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Code {
            $(
                #[doc = concat!("`", $text, "`: ", $explanation)]
                $variant,
            )+
        }

        impl Code {
            /// Every code, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The code as text.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }

            /// What it means, in a sentence or two.
            #[must_use]
            pub fn explanation(self) -> &'static str {
                match self {
                    $(Self::$variant => $explanation,)+
                }
            }

            /// Whether the service refuses a definition with such a finding.
            #[must_use]
            pub fn severity(self) -> Severity {
                match self {
                    $(Self::$variant => Severity::$severity,)+
                }
            }

            /// The code with which the service itself answers.
            #[must_use]
            pub fn service_code(self) -> &'static str {
                match self {
                    $(Self::$variant => service::$service,)+
                }
            }
        }
    };
}

codes! {
    InvalidJson = "INVALID_JSON", Error, JSON:
        "The text is not JSON.";
    TooDeeplyNested = "TOO_DEEPLY_NESTED", Error, NESTED:
        "The values nest deeper than 127 levels.";
    TooLarge = "TOO_LARGE", Error, SCHEMA:
        "The text is longer than the service takes (1 MiB).";
    DuplicateKey = "DUPLICATE_KEY", Error, SCHEMA:
        "An object has the same key twice, or both `key` and `key.$`.";
    WrongType = "WRONG_TYPE", Error, SCHEMA:
        "A value has another JSON type than its field takes.";
    InvalidValue = "INVALID_VALUE", Error, SCHEMA:
        "A value is of the right type, but not one of those that the field takes.";
    OutOfRange = "OUT_OF_RANGE", Error, SCHEMA:
        "A number is smaller or larger than its field takes, or than another field allows.";
    MissingField = "MISSING_FIELD", Error, SCHEMA:
        "A field that must be there is missing, or none of several is there.";
    ConflictingFields = "CONFLICTING_FIELDS", Error, SCHEMA:
        "Two fields exclude each other, such as `Seconds` and `SecondsPath` or `Next` and `End`.";
    UnknownField = "UNKNOWN_FIELD", Error, SCHEMA:
        "The language has no such field here.";
    MisplacedField = "MISPLACED_FIELD", Error, SCHEMA:
        "The field exists, but not for a state of this type.";
    WrongQueryLanguage = "WRONG_QUERY_LANGUAGE", Error, SCHEMA:
        "The field belongs to the other query language, or a JSONPath state stands in a JSONata machine.";
    DistributedOnly = "DISTRIBUTED_ONLY", Error, SCHEMA:
        "Only a Map state whose `ProcessorConfig` has the mode `DISTRIBUTED` can have this field.";
    UnknownStateType = "UNKNOWN_STATE_TYPE", Error, SCHEMA:
        "The language has no state of this type.";
    InvalidStateName = "INVALID_STATE_NAME", Error, NAME:
        "The name of a state is empty or longer than 80 characters.";
    DuplicateStateName = "DUPLICATE_STATE_NAME", Error, SAME_NAME:
        "Two states have the same name; names are unique over all branches and item processors.";
    MissingTransitionTarget = "MISSING_TRANSITION_TARGET", Error, TARGET:
        "`StartAt`, `Next`, `Default` or a catcher names a state that does not exist.";
    TransitionOutOfScope = "TRANSITION_OUT_OF_SCOPE", Error, TARGET:
        "A transition names a state of another branch, item processor or level; none may be left that way.";
    UnreachableState = "UNREACHABLE_STATE", Error, TARGET:
        "Nothing leads from `StartAt` to this state.";
    NoTerminalState = "NO_TERMINAL_STATE", Error, END:
        "No state ends the machine: none has `\"End\": true`, none is of type Succeed or Fail.";
    EndlessBranch = "ENDLESS_BRANCH", Warning, END:
        "No state ends a branch or an item processor. The service takes it, but only an error can end it.";
    ChoiceWithoutDefault = "CHOICE_WITHOUT_DEFAULT", Warning, SCHEMA:
        "A Choice state has no `Default`: the execution fails when no rule matches.";
    InvalidPath = "INVALID_PATH", Error, SCHEMA:
        "A JSONPath does not parse.";
    NotAReferencePath = "NOT_A_REFERENCE_PATH", Error, SCHEMA:
        "A path may name several places, or a place that cannot be written to, where one place must be named.";
    InvalidIntrinsic = "INVALID_INTRINSIC", Error, SCHEMA:
        "An intrinsic function does not parse, does not exist, or has the wrong arguments.";
    InvalidJsonata = "INVALID_JSONATA", Error, JSONATA:
        "A JSONata expression does not parse, or its `{%` and `%}` do not enclose the whole text.";
    UnsupportedJsonata = "UNSUPPORTED_JSONATA", Error, NO_JSONATA:
        "A JSONata expression reads `$`, `$$` or a field at its top level, where there is no input: `$states.input` is it.";
    StatesNotAvailable = "STATES_NOT_AVAILABLE", Error, NO_JSONATA:
        "`$states.result` or `$states.errorOutput` is used where there is no result or no error.";
    UnknownFunction = "UNKNOWN_FUNCTION", Warning, SCHEMA:
        "A JSONata expression calls a function that there is not; the execution fails there.";
    UnknownContextField = "UNKNOWN_CONTEXT_FIELD", Warning, SCHEMA:
        "A path or an expression reads a field that the context object or `$states` does not have.";
    NoDollar = "NO_DOLLAR", Warning, DOLLAR:
        "A value looks like a path or an intrinsic function, but its key does not end in `.$`: it stays as it is.";
    NoPath = "NO_PATH", Warning, PATH:
        "A value looks like a path, but its field's name does not end in `Path`: it stays as it is.";
    PassResultIsStatic = "PASS_RESULT_IS_STATIC", Warning, STATIC:
        "The `Result` of a Pass state has a path in it, but nothing in it is computed.";
    TextResult = "TEXT_RESULT", Warning, SCHEMA:
        "A field is read of `Output` in the result of `states:startExecution.sync`, which is a text.";
    UnknownResult = "UNKNOWN_RESULT", Warning, SCHEMA:
        "A member is read of a call's result that the result does not have, such as the description of a job just begun.";
    InvalidVariableName = "INVALID_VARIABLE_NAME", Error, VARIABLE:
        "A variable's name is not an identifier of at most 80 characters, or it is the reserved `states`.";
    UnassignedVariable = "UNASSIGNED_VARIABLE", Warning, SCHEMA:
        "No way to this state assigns the variable in its scope; the execution fails when it is read.";
    ShadowedVariable = "SHADOWED_VARIABLE", Warning, SCHEMA:
        "A state of a branch or item processor assigns a variable that a state outside assigns: it cannot reach it.";
    InvalidTimestamp = "INVALID_TIMESTAMP", Error, SCHEMA:
        "A time is not in the profile of RFC 3339 that the language asks for.";
    InvalidPattern = "INVALID_PATTERN", Error, SCHEMA:
        "A `StringMatches` pattern has a backslash before something else than `*` or a backslash.";
    InvalidCondition = "INVALID_CONDITION", Error, SCHEMA:
        "A condition has no operator, or several, or nests too deep.";
    MisplacedStatesAll = "MISPLACED_STATES_ALL", Error, SCHEMA:
        "`States.ALL` does not stand alone, or not in the last retrier or catcher.";
    UnknownErrorName = "UNKNOWN_ERROR_NAME", Warning, SCHEMA:
        "An error name begins with the reserved `States.`, but the language has no such error: it never matches.";
    InvalidResource = "INVALID_RESOURCE", Error, SCHEMA:
        "An ARN names nothing that can be called here.";
    UnsupportedPattern = "UNSUPPORTED_PATTERN", Error, SCHEMA:
        "The service integration does not have this pattern, such as `sagemaker:createEndpoint.sync`.";
    InvalidLabel = "INVALID_LABEL", Error, LABEL:
        "The label of a Map state is longer than 40 characters, or has one that it cannot have.";
    DuplicateLabel = "DUPLICATE_LABEL", Error, SAME_LABEL:
        "Two Map states have the same label; labels are unique in a definition.";
    EmptyResultWriter = "EMPTY_RESULT_WRITER", Warning, SCHEMA:
        "A `ResultWriter` says neither where the results go nor in what form. The service takes it, but the execution fails.";
    DeprecatedField = "DEPRECATED_FIELD", Warning, SCHEMA:
        "The field still works, but another has replaced it: `Iterator`, or `Parameters` of a Map state.";
    LargePayload = "LARGE_PAYLOAD", Warning, SCHEMA:
        "A literal value alone is larger than the 256 KiB that a state's input or output may have.";
    UnknownInput = "UNKNOWN_INPUT", Error, SCHEMA:
        "A state reads a member that the execution's input does not have by its schema; only a build with one can find it.";
    MisplacedPlaceholder = "MISPLACED_PLACEHOLDER", Error, SCHEMA:
        "A placeholder stands where the service computes nothing; only a build can find it.";
    InvalidYaml = "INVALID_YAML", Error, JSON:
        "The text is not one YAML document, or has a tag that means nothing where it stands.";
    NoDefinition = "NO_DEFINITION", Warning, SCHEMA:
        "A template has no state machine, or one whose definition lies in another file.";
    MissingSubstitution = "MISSING_SUBSTITUTION", Warning, SCHEMA:
        "A token such as `${FunctionArn}` has no value among the substitutions; it stays as it is.";
    UnusedSubstitution = "UNUSED_SUBSTITUTION", Warning, SCHEMA:
        "A value among the substitutions has no token in the definition.";
}

impl Code {
    /// Whether a finding points at the key of its field rather than at the value.
    pub(crate) fn marks_key(self) -> bool {
        matches!(
            self,
            Self::DuplicateKey
                | Self::UnknownField
                | Self::MisplacedField
                | Self::WrongQueryLanguage
                | Self::DistributedOnly
                | Self::ConflictingFields
                | Self::DeprecatedField
                | Self::EmptyResultWriter
                | Self::UnusedSubstitution
                | Self::MissingField
                | Self::InvalidStateName
                | Self::DuplicateStateName
                | Self::UnreachableState
                | Self::NoTerminalState
                | Self::EndlessBranch
                | Self::ChoiceWithoutDefault
                | Self::InvalidVariableName
                | Self::ShadowedVariable
        )
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a definition is not a [`StateMachine`](crate::StateMachine): every finding, at least one of them an error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct InvalidDefinition {
    // INVARIANT: holds an error.
    findings: Vec<Finding>,
}

impl InvalidDefinition {
    pub(crate) fn new(findings: Vec<Finding>) -> Self {
        debug_assert!(
            findings
                .iter()
                .any(|finding| finding.severity() == Severity::Error)
        );
        Self { findings }
    }

    /// All findings, warnings included.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// The findings for which the service refuses the definition; there is at least one.
    pub fn errors(&self) -> impl Iterator<Item = &Finding> {
        self.findings
            .iter()
            .filter(|finding| finding.severity() == Severity::Error)
    }

    /// The text in the form in which CreateStateMachine answers:
    /// ``Invalid State Machine Definition: 'SCHEMA_VALIDATION_FAILED: … at /States/X/Field'``.
    #[must_use]
    pub fn service_message(&self) -> String {
        let problems = ServiceDiagnostic::of(self.errors())
            .iter()
            .map(|diagnostic| {
                let (code, message) = (diagnostic.code, &diagnostic.message);
                match &diagnostic.location {
                    None if code == Code::InvalidJson.service_code() => format!("{code}: {message}"),
                    None => format!("{code}: {message} at null"),
                    Some(location) => format!("{code}: {message} at {location}"),
                }
            })
            .collect::<Vec<_>>()
            .join(", ");
        format!("Invalid State Machine Definition: '{problems}'")
    }
}

impl fmt::Display for InvalidDefinition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let errors: Vec<&Finding> = self.errors().collect();
        match errors.as_slice() {
            [only] => write!(f, "the definition is not valid: {only}"),
            many => {
                write!(f, "the definition is not valid, {} problems:", many.len())?;
                many.iter().try_for_each(|finding| write!(f, "\n  {finding}"))
            }
        }
    }
}

/// What the service says of a definition, in the form of ValidateStateMachineDefinition. Where its wording is known it is the
/// service's, otherwise the finding's.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServiceDiagnostic {
    /// Whether the definition is refused for it.
    pub severity: Severity,
    /// See [`Code::service_code`].
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
    /// See [`Finding::service_location`].
    pub location: Option<String>,
}

impl ServiceDiagnostic {
    /// The diagnostics of these findings. Fields that are missing in one place are one diagnostic; of states that cannot be
    /// reached nothing is said when no state ends the machine.
    pub fn of<'f>(findings: impl IntoIterator<Item = &'f Finding>) -> Vec<Self> {
        let mut findings: Vec<&Finding> = findings.into_iter().collect();
        let endless = findings
            .iter()
            .any(|finding| finding.code == Code::NoTerminalState);
        findings.retain(|finding| !(endless && finding.code == Code::UnreachableState));
        // What is wrong with the ways comes after what is wrong in the states.
        findings
            .sort_by_key(|finding| matches!(finding.code, Code::NoTerminalState | Code::UnreachableState));
        // A state that goes back to JSONPath is refused for that alone: of the fields that it has of JSONata nothing is said.
        let back: Vec<&str> = findings
            .iter()
            .filter_map(|finding| back_to_json_path(finding))
            .collect();
        findings.retain(|finding| {
            finding.code != Code::WrongQueryLanguage
                || finding.pointer.ends_with("/QueryLanguage")
                || !back.iter().any(|state| above(&finding.pointer) == *state)
        });
        let mut diagnostics: Vec<Self> = Vec::new();
        // The fields that are missing, by the diagnostic that says so.
        let mut missing: Vec<(usize, Vec<&str>)> = Vec::new();
        for finding in findings {
            let field = finding
                .message
                .strip_prefix("the field `")
                .and_then(|rest| rest.strip_suffix("` is missing"))
                .filter(|_| finding.code == Code::MissingField && finding.said.is_none());
            let diagnostic = Self::new(finding);
            if let Some(field) = field {
                let same =
                    |(at, _): &&mut (usize, Vec<&str>)| diagnostics[*at].location == diagnostic.location;
                if let Some((_, fields)) = missing.iter_mut().find(same) {
                    fields.push(field);
                    continue;
                }
                missing.push((diagnostics.len(), vec![field]));
            }
            diagnostics.push(diagnostic);
        }
        for (at, mut fields) in missing {
            // In this order the service names them.
            fields.reverse();
            diagnostics[at].message = format!("These fields are required: [{}]", fields.join(", "));
        }
        diagnostics
    }

    fn new(finding: &Finding) -> Self {
        let (words, of_object) = words(finding);
        let code = match finding.code {
            Code::InvalidVariableName if finding.message.ends_with("is reserved") => service::RESERVED,
            Code::InvalidJsonata if finding.message.starts_with(NOT_ENCLOSED) => service::SCHEMA,
            code => code.service_code(),
        };
        let location = if of_object {
            location(above(&finding.pointer))
        } else {
            finding.service_location()
        };
        Self {
            severity: finding.severity(),
            code,
            message: words.unwrap_or_else(|| finding.message.clone()),
            location,
        }
    }
}

/// What an expression without its braces is said to be.
pub(crate) const NOT_ENCLOSED: &str = "a JSONata text begins with `{%`";

/// The pointer to what the value stands in.
fn above(pointer: &str) -> &str {
    pointer.rsplit_once('/').map_or("", |(above, _)| above)
}

/// The state that goes back to JSONPath.
fn back_to_json_path(finding: &Finding) -> Option<&str> {
    finding
        .pointer
        .strip_suffix("/QueryLanguage")
        .filter(|_| finding.code == Code::WrongQueryLanguage)
}

/// What the service says, where that is known, and whether it says it of the object around the place.
fn words(finding: &Finding) -> (Option<String>, bool) {
    if let Some(said) = &finding.said {
        return (Some(said.to_string()), false);
    }
    if let Some(words) = jsonata_words(finding) {
        return (Some(words), false);
    }
    let key = finding.pointer.rsplit('/').next().unwrap_or_default();
    let key = key.replace("~1", "/").replace("~0", "~");
    let words = match finding.code {
        Code::NoTerminalState => "Workflow has no terminal state".to_owned(),
        Code::UnreachableState => format!("State \"{key}\" is not reachable."),
        Code::DuplicateStateName => format!("Duplicate State name: {key}"),
        Code::MisplacedStatesAll => "States.ALL must appear alone and at end of list".to_owned(),
        Code::InvalidTimestamp => "String does not match RFC3339 timestamp".to_owned(),
        Code::InvalidPath | Code::InvalidIntrinsic if key.ends_with(".$") => {
            format!(
                "The value for the field '{key}' must be a valid JSONPath or a valid intrinsic function call"
            )
        }
        Code::InvalidPath if finding.pointer.contains("/Choices/") => {
            if !finding.message.ends_with("a path starts with `$`") {
                return (None, false);
            }
            "Value is not a Reference Path: Reference path didn't start with '$'".to_owned()
        }
        Code::InvalidPath => "Value must be a valid JSONPath.".to_owned(),
        Code::UnknownField | Code::MisplacedField => {
            return (Some(format!("Field '{key}' is not supported")), true);
        }
        Code::WrongQueryLanguage if back_to_json_path(finding).is_some() => {
            let words = "'QueryLanguage' can not be 'JSONPath' if set to 'JSONata' for whole state machine";
            return (Some(words.to_owned()), true);
        }
        Code::WrongQueryLanguage => {
            let (theirs, ours) = if finding.message.ends_with("belongs to JSONata states") {
                ("JSONata", "JSONPath")
            } else {
                ("JSONPath", "JSONata")
            };
            let words = format!(
                "The QueryLanguage is set to '{ours}', but field '{key}' is only supported for the '{theirs}' QueryLanguage"
            );
            return (Some(words), true);
        }
        _ => return (None, false),
    };
    (Some(words), false)
}

/// What the service says of an expression that it does not take, as far as that is known: of one that does not parse the words of the
/// reference, without their code.
fn jsonata_words(finding: &Finding) -> Option<String> {
    let message = &finding.message;
    match finding.code {
        Code::UnsupportedJsonata if message.contains("` stands for nothing here") => {
            let name = message.split('`').nth(1)?;
            Some(format!("Reference to '{name}' is not supported."))
        }
        Code::StatesNotAvailable => {
            let name = message.split('`').nth(1)?;
            Some(format!("Reference to '{name}' is not supported."))
        }
        Code::UnsupportedJsonata => {
            let (name, _) = message.strip_prefix('`')?.split_once("` is a field of nothing")?;
            Some(format!(
                "Reference to '{name}' at the top level is not supported."
            ))
        }
        Code::InvalidJsonata if message.starts_with(NOT_ENCLOSED) => {
            Some("JSONata string must start with {% and end with %}".to_owned())
        }
        Code::InvalidJsonata => {
            let (_, said) = message.split_once("` does not parse: ")?;
            let (code, words) = said.split_once(": ")?;
            let is_code = code.len() == 5 && code[1..].bytes().all(|byte| byte.is_ascii_digit());
            is_code.then(|| symbols(words))
        }
        _ => None,
    }
}

/// The parser's names for symbols, as the symbols.
fn symbols(words: &str) -> String {
    const SYMBOLS: [(&str, &str); 32] = [
        ("LeftBracket", "["),
        ("RightBracket", "]"),
        ("LeftParen", "("),
        ("RightParen", ")"),
        ("LeftBrace", "{"),
        ("RightBrace", "}"),
        ("Comma", ","),
        ("Semicolon", ";"),
        ("ColonEqual", ":="),
        ("Colon", ":"),
        ("DotDot", ".."),
        ("Dot", "."),
        ("Plus", "+"),
        ("Minus", "-"),
        ("StarStar", "**"),
        ("Star", "*"),
        ("Slash", "/"),
        ("Percent", "%"),
        ("Equal", "="),
        ("NotEqual", "!="),
        ("LessThanOrEqual", "<="),
        ("LessThan", "<"),
        ("GreaterThanOrEqual", ">="),
        ("GreaterThan", ">"),
        ("Ampersand", "&"),
        ("Question", "?"),
        ("TildeArrow", "~>"),
        ("Caret", "^"),
        ("Pipe", "|"),
        ("Hash", "#"),
        ("At", "@"),
        ("Eof", "(end)"),
    ];
    words
        .split(' ')
        .map(|word| {
            let name = word.trim_end_matches(',');
            match SYMBOLS.iter().find(|(known, _)| *known == name) {
                Some((_, symbol)) => format!("\"{symbol}\"{}", &word[name.len()..]),
                None => word.to_owned(),
            }
        })
        .collect::<Vec<_>>()
        .join(" ")
}

/// Appends one escaped token to a JSON pointer.
pub(crate) fn push(pointer: &str, token: &str) -> String {
    let mut longer = String::with_capacity(pointer.len() + 1 + token.len());
    longer.push_str(pointer);
    append(&mut longer, token);
    longer
}

/// Appends one escaped token to a JSON pointer in place.
pub(crate) fn append(pointer: &mut String, token: &str) {
    pointer.push('/');
    pointer.push_str(&escape(token));
}

/// A token of a JSON pointer (RFC 6901, section 3).
pub(crate) fn escape(token: &str) -> std::borrow::Cow<'_, str> {
    if token.bytes().any(|byte| matches!(byte, b'~' | b'/')) {
        token.replace('~', "~0").replace('/', "~1").into()
    } else {
        token.into()
    }
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
