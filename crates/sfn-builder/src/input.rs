//! The execution's input as a typed schema, and placeholders for its members.

mod resolve;

use std::fmt;

use serde::{Serialize, Serializer};
use serde_json::{Map, Number, Value, json};

pub(crate) use resolve::resolve;

/// What a placeholder is in a text until the build: between two characters that no definition has (Unicode's private use).
const OPEN: char = '\u{E000}';
const BETWEEN: char = '\u{E001}';
const CLOSE: char = '\u{E002}';

/// What an execution of a machine is started with: an object of typed members.
///
/// Each member that is added gives a [`Placeholder`], which stands for its value in any field of any state that
/// the service computes from the input.
/// [`MachineBuilder::input`](crate::MachineBuilder::input) has the build check that every placeholder, and every path into
/// the execution's input that is written by hand, names a member, of a type that its field takes.
///
/// ```
/// use serde_json::json;
/// use sfn_builder::service::sagemaker;
/// use sfn_builder::{Input, Member, StateMachine};
///
/// let mut input = Input::new();
/// let job = input.add(Member::text("JobName").description("SageMaker takes no name twice"));
/// let data = input.add(Member::text("DataLocation").pattern("^s3://"));
///
/// let train = sagemaker::create_training_job().sync().parameters(json!({
///     "TrainingJobName": job,
///     "InputDataConfig": [{ "DataSource": { "S3DataSource": { "S3Uri": format!("{data}/train.csv") } } }]
/// }));
/// let machine = train.named("Train").into_machine().input(&input).build()?;
///
/// let parameters = &machine.to_json()["States"]["Train"]["Parameters"];
/// assert_eq!(parameters["TrainingJobName.$"], "$$.Execution.Input['JobName']");
/// assert_eq!(
///     parameters["InputDataConfig"][0]["DataSource"]["S3DataSource"]["S3Uri.$"],
///     "States.Format('{}/train.csv', $$.Execution.Input['DataLocation'])"
/// );
/// assert_eq!(input.json_schema()["required"], json!(["JobName", "DataLocation"]));
/// # Ok::<(), sfn_builder::InvalidDefinition>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Input {
    members: Vec<Member>,
    description: Option<String>,
}

impl Input {
    /// An input without any member yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Says what it is, for the schema.
    #[must_use]
    pub fn description(mut self, text: impl Into<String>) -> Self {
        self.description = Some(text.into());
        self
    }

    /// Adds a member; one of the same name is replaced.
    pub fn add(&mut self, member: Member) -> Placeholder {
        let placeholder = Placeholder::of(&["Execution", "Input", &member.name]);
        match self.members.iter_mut().find(|known| known.name == member.name) {
            Some(known) => *known = member,
            None => self.members.push(member),
        }
        placeholder
    }

    /// The members, in the order in which they were added.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The JSON Schema (2020-12) of the input, for those who start executions. Other members than the schema's are allowed,
    /// as the service itself adds some.
    #[must_use]
    pub fn json_schema(&self) -> Value {
        let mut schema = Map::new();
        schema.insert(
            "$schema".into(),
            "https://json-schema.org/draft/2020-12/schema".into(),
        );
        if let Some(text) = &self.description {
            schema.insert("description".into(), text.clone().into());
        }
        schema.insert("type".into(), "object".into());
        let properties = self.members.iter().map(|member| {
            let mut property = member.schema.clone();
            if let Some(kind) = member.kind.schema_type() {
                property.shift_insert(0, "type".into(), kind.into());
            }
            (member.name.clone(), property.into())
        });
        schema.insert("properties".into(), Map::from_iter(properties).into());
        let required = self.members.iter().filter(|member| !member.optional);
        let required: Vec<&str> = required.map(|member| member.name.as_str()).collect();
        schema.insert("required".into(), json!(required));
        schema.into()
    }

    pub(crate) fn member(&self, name: &str) -> Option<&Member> {
        self.members.iter().find(|member| member.name == name)
    }
}

/// A member of an [`Input`]; it has to be there unless it is [`optional`](Self::optional).
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub struct Member {
    name: String,
    kind: Kind,
    optional: bool,
    schema: Map<String, Value>,
}

/// The JSON type of an [`Input`]'s member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// A text.
    Text,
    /// A whole number.
    Integer,
    /// A number.
    Number,
    /// A boolean.
    Boolean,
    /// An object.
    Object,
    /// An array.
    Array,
    /// Any JSON.
    Any,
}

impl Kind {
    fn schema_type(self) -> Option<&'static str> {
        Some(match self {
            Self::Text => "string",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
            Self::Object => "object",
            Self::Array => "array",
            Self::Any => return None,
        })
    }

    /// Whether a field for such values takes one of `other`.
    pub(crate) fn takes(self, other: Self) -> bool {
        self == other
            || self == Self::Any
            || other == Self::Any
            || (self, other) == (Self::Number, Self::Integer)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "a text",
            Self::Integer => "a whole number",
            Self::Number => "a number",
            Self::Boolean => "a boolean",
            Self::Object => "an object",
            Self::Array => "an array",
            Self::Any => "anything",
        })
    }
}

impl Member {
    /// A member of this type.
    pub fn new(name: impl Into<String>, kind: Kind) -> Self {
        Self {
            name: name.into(),
            kind,
            optional: false,
            schema: Map::new(),
        }
    }

    /// A text.
    pub fn text(name: impl Into<String>) -> Self {
        Self::new(name, Kind::Text)
    }

    /// A whole number.
    pub fn integer(name: impl Into<String>) -> Self {
        Self::new(name, Kind::Integer)
    }

    /// A number.
    pub fn number(name: impl Into<String>) -> Self {
        Self::new(name, Kind::Number)
    }

    /// A boolean.
    pub fn boolean(name: impl Into<String>) -> Self {
        Self::new(name, Kind::Boolean)
    }

    /// Says what it is, for the schema.
    pub fn description(self, text: impl Into<String>) -> Self {
        self.keyword("description", text.into())
    }

    /// The regular expression (ECMA 262) that a text has to match, for the schema.
    pub fn pattern(self, expression: impl Into<String>) -> Self {
        self.keyword("pattern", expression.into())
    }

    /// The least number, for the schema.
    pub fn minimum(self, number: impl Into<Number>) -> Self {
        self.keyword("minimum", Value::Number(number.into()))
    }

    /// The greatest number, for the schema.
    pub fn maximum(self, number: impl Into<Number>) -> Self {
        self.keyword("maximum", Value::Number(number.into()))
    }

    /// The only values there are, for the schema.
    pub fn one_of<V: Into<Value>>(self, values: impl IntoIterator<Item = V>) -> Self {
        let values: Vec<Value> = values.into_iter().map(Into::into).collect();
        self.keyword("enum", values)
    }

    /// Adds any keyword of JSON Schema.
    pub fn keyword(mut self, keyword: &str, value: impl Into<Value>) -> Self {
        self.schema.insert(keyword.to_owned(), value.into());
        self
    }

    /// It may be left out. A state that uses it then fails, so ask first with
    /// [`Condition::is_present`](crate::Condition::is_present).
    pub fn optional(mut self) -> Self {
        self.optional = true;
        self
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its type.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }
}

/// Stands for a value that is known only when an execution runs: a member of its input, or of its context.
///
/// It can stand anywhere in the values that states are built of: alone, it is the value, of whatever type; within a text
/// (`format!("{folder}/train.csv")`) it becomes part of that. The build writes the path, the intrinsic function or the
/// JSONata expression that the place takes, and reports a place that takes none.
///
/// States Language, sections "Payload Template" and "The Context Object".
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Placeholder {
    segments: Vec<String>,
}

impl Placeholder {
    pub(crate) fn of(segments: &[&str]) -> Self {
        Self {
            segments: segments.iter().map(|&segment| segment.to_owned()).collect(),
        }
    }

    /// The name of the execution.
    #[must_use]
    pub fn execution_name() -> Self {
        Self::of(&["Execution", "Name"])
    }

    /// The ARN of the execution.
    #[must_use]
    pub fn execution_id() -> Self {
        Self::of(&["Execution", "Id"])
    }

    /// When the execution began.
    #[must_use]
    pub fn execution_start_time() -> Self {
        Self::of(&["Execution", "StartTime"])
    }

    /// How often the state has been tried again: 0 at first.
    #[must_use]
    pub fn retry_count() -> Self {
        Self::of(&["State", "RetryCount"])
    }

    /// The token that somebody has to send back; only in a task that waits for it.
    #[must_use]
    pub fn task_token() -> Self {
        Self::of(&["Task", "Token"])
    }

    /// The item of a Map state, in its `ItemSelector`.
    #[must_use]
    pub fn map_item() -> Self {
        Self::of(&["Map", "Item", "Value"])
    }

    /// A member of the object it stands for.
    #[must_use]
    pub fn member(&self, name: &str) -> Self {
        let mut segments = self.segments.clone();
        segments.push(name.to_owned());
        Self { segments }
    }

    /// Its path in the context object, such as `$$.Execution.Input['JobName']`.
    #[must_use]
    pub fn path(&self) -> String {
        let input = self.is_input();
        let mut path = "$$".to_owned();
        for (index, segment) in self.segments.iter().enumerate() {
            if (input && index >= 2) || !is_plain(segment) {
                path.push_str(&format!("[{}]", crate::path::quote(segment)));
            } else {
                path.push('.');
                path.push_str(segment);
            }
        }
        path
    }

    /// As a JSONata expression without `{% %}`, such as `$states.context.Execution.Input.JobName`.
    #[must_use]
    pub fn jsonata(&self) -> String {
        let mut path = "$states.context".to_owned();
        for segment in &self.segments {
            path.push('.');
            if is_plain(segment) {
                path.push_str(segment);
            } else {
                path.push_str(&format!("`{segment}`"));
            }
        }
        path
    }

    /// The member of the execution's input that it names.
    pub(crate) fn input_member(&self) -> Option<&str> {
        let member = self.segments.get(2)?;
        self.is_input().then_some(member)
    }

    /// Whether it is a member of the input itself, not something in one.
    pub(crate) fn is_whole_member(&self) -> bool {
        self.is_input() && self.segments.len() == 3
    }

    fn is_input(&self) -> bool {
        matches!(self.segments.as_slice(), [first, second, ..] if first == "Execution" && second == "Input")
    }
}

/// Whether a name needs no quotes in a path.
fn is_plain(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// A text that stands for it until the build.
impl fmt::Display for Placeholder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{OPEN}{}{CLOSE}", self.segments.join(&BETWEEN.to_string()))
    }
}

impl Serialize for Placeholder {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl From<Placeholder> for String {
    fn from(placeholder: Placeholder) -> Self {
        placeholder.to_string()
    }
}

impl From<&Placeholder> for String {
    fn from(placeholder: &Placeholder) -> Self {
        placeholder.to_string()
    }
}

impl From<Placeholder> for Value {
    fn from(placeholder: Placeholder) -> Self {
        Self::String(placeholder.to_string())
    }
}

impl From<&Placeholder> for Value {
    fn from(placeholder: &Placeholder) -> Self {
        Self::String(placeholder.to_string())
    }
}

/// A part of a text.
pub(crate) enum Part<'t> {
    Text(&'t str),
    Placeholder(Placeholder),
}

/// Whether a placeholder is in the text.
pub(crate) fn has_placeholder(text: &str) -> bool {
    // In few texts is a byte with which one could begin.
    text.bytes().any(|byte| byte == 0xEE) && text.contains(OPEN)
}

/// The text in its parts.
pub(crate) fn parts(text: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(OPEN) {
        let Some((inside, after)) = after.split_once(CLOSE) else {
            break;
        };
        if !before.is_empty() {
            parts.push(Part::Text(before));
        }
        let segments: Vec<&str> = inside.split(BETWEEN).collect();
        parts.push(Part::Placeholder(Placeholder::of(&segments)));
        rest = after;
    }
    if !rest.is_empty() {
        parts.push(Part::Text(rest));
    }
    parts
}
