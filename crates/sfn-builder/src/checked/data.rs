//! What states take and hand on.

use serde_json::Value;

use crate::path::Path;
use crate::template::{Expression, Template};

/// The language in which a state computes values.
///
/// States Language, section "Query Language".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum QueryLanguage {
    /// JSONPath, payload templates and intrinsic functions.
    #[default]
    JsonPath,
    /// JSONata.
    Jsonata,
}

impl QueryLanguage {
    /// As it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::JsonPath => "JSONPath",
            Self::Jsonata => "JSONata",
        }
    }
}

/// What a state takes and what it hands on, in its query language.
///
/// States Language, section "Input and Output Processing".
#[derive(Debug, Clone, PartialEq)]
pub enum Data {
    /// By the five path fields.
    JsonPath(Box<PathData>),
    /// By `Arguments` and `Output`.
    Jsonata(Box<JsonataData>),
}

impl Data {
    /// The five path fields of a JSONPath state.
    #[must_use]
    pub fn as_json_path(&self) -> Option<&PathData> {
        match self {
            Self::JsonPath(data) => Some(data),
            Self::Jsonata(_) => None,
        }
    }

    /// `Arguments` and `Output` of a JSONata state.
    #[must_use]
    pub fn as_jsonata(&self) -> Option<&JsonataData> {
        match self {
            Self::JsonPath(_) => None,
            Self::Jsonata(data) => Some(data),
        }
    }
}

/// The five path fields, in the order in which they are applied. Fields that a type of state does not have are at their
/// defaults, so that applying them all is right for any state.
///
/// States Language, section "Input and Output Processing".
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct PathData {
    /// `InputPath`; `$` when absent.
    pub input_path: Selection,
    /// `Parameters` of Task, Parallel and Pass. A Map state's are its [`item_selector`](super::Map::item_selector).
    pub parameters: Option<Template>,
    /// `ResultSelector` of Task, Parallel and Map.
    pub result_selector: Option<Template>,
    /// `ResultPath` of Task, Parallel, Map and Pass; `$` when absent.
    pub result_path: Placement,
    /// `OutputPath`; `$` when absent.
    pub output_path: Selection,
}

impl Default for PathData {
    fn default() -> Self {
        Self {
            input_path: Selection::Path(Path::root_of_data()),
            parameters: None,
            result_selector: None,
            result_path: Placement::At(Path::root_of_data()),
            output_path: Selection::Path(Path::root_of_data()),
        }
    }
}

/// The fields of a JSONata state.
///
/// States Language, section "Input and Output Processing using JSONata".
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct JsonataData {
    /// `Arguments` of Task and Parallel; without it, the state's input.
    pub arguments: Option<Template>,
    /// `Output` of every state but Fail; without it the result, or where there is none the input.
    pub output: Option<Template>,
}

/// `Assign`: names without `$`, and values, in the order in which they were written. Empty when absent.
///
/// Developer guide, "Passing data between states with variables".
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Assign {
    // INVARIANT: names are valid and unique.
    entries: Vec<(String, Template)>,
}

impl Assign {
    pub(crate) fn new(entries: Vec<(String, Template)>) -> Self {
        Self { entries }
    }

    /// Whether nothing is assigned.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Template)> {
        self.entries.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// The names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|(name, _)| name.as_str())
    }
}

/// What `InputPath` or `OutputPath` selects.
///
/// States Language, section "Input and Output Processing".
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// `null`: nothing, that is `{}`.
    Nothing,
    /// What lies at the path.
    Path(Path),
}

/// Where `ResultPath` puts a result.
///
/// States Language, section "Input and Output Processing".
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Placement {
    /// `null`: nowhere; the state's input stays as it is.
    Discard,
    /// At this reference path of the input; `$` replaces it.
    At(Path),
}

/// A value that is fixed in the definition, or computed while the machine runs.
///
/// JSONPath states compute it with the `…Path` field beside it, JSONata states with a text in `{% %}` in its place.
#[derive(Debug, Clone, PartialEq)]
pub enum Dynamic<T> {
    /// Fixed.
    Fixed(T),
    /// Computed.
    Computed(Expression),
}

impl<T> Dynamic<T> {
    /// The fixed value.
    #[must_use]
    pub fn fixed(&self) -> Option<&T> {
        match self {
            Self::Fixed(value) => Some(value),
            Self::Computed(_) => None,
        }
    }

    /// The expression that computes it.
    #[must_use]
    pub fn computed(&self) -> Option<&Expression> {
        match self {
            Self::Fixed(_) => None,
            Self::Computed(expression) => Some(expression),
        }
    }
}

/// How many bytes a state's input or output may have, as JSON text.
pub(crate) const MAX_PAYLOAD: usize = 256 * 1024;

/// About as many bytes as the JSON text of the value has.
pub(crate) fn payload_size(value: &Value) -> usize {
    match value {
        Value::Null => 4,
        Value::Bool(_) => 5,
        Value::Number(_) => 2,
        Value::String(text) => text.len() + 2,
        Value::Array(items) => 2 + items.iter().map(|item| 1 + payload_size(item)).sum::<usize>(),
        Value::Object(map) => {
            2 + map
                .iter()
                .map(|(key, value)| 4 + key.len() + payload_size(value))
                .sum::<usize>()
        }
    }
}
