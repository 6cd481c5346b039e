//! Values: paths looked up, templates filled, expressions computed, results put in their place.

pub(crate) mod choice;
pub(crate) mod context;
mod intrinsic;
mod jsonata;
mod jsonata_words;
pub(crate) mod path;
mod random;

use std::borrow::Cow;
use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Map, Value};
use sfn_builder::Path;
use sfn_builder::checked::Placement;
use sfn_builder::path::{Root, Segment};
use sfn_builder::template::{Expression, Template};

use self::context::Context;
pub(crate) use self::jsonata::Parsed;
use self::path::NotFound;
pub(crate) use self::random::{Random, uuid};

/// Variables by name, without their `$`.
pub(crate) type Variables = BTreeMap<String, Value>;

/// What a path or an expression can refer to.
#[derive(Clone, Copy)]
pub(crate) struct Scope<'a> {
    /// `$`, or `$states.input`.
    pub(crate) data: &'a Value,
    /// `$$`, or `$states.context`.
    pub(crate) context: Context<'a>,
    /// `$name`.
    pub(crate) variables: &'a Variables,
    /// `$states.result`.
    pub(crate) result: Option<&'a Value>,
    /// `$states.errorOutput`.
    pub(crate) error_output: Option<&'a Value>,
}

/// What computing needs besides a scope.
pub(crate) struct Compute {
    pub(crate) random: Random,
    /// `$now()` and `$millis()`.
    pub(crate) now: Timestamp,
    pub(crate) parsed: Parsed,
}

impl<'a> Scope<'a> {
    /// The value at a path; for a path that can have several matches, an array of them.
    pub(crate) fn get(&self, path: &Path) -> Result<Cow<'a, Value>, NotFound> {
        match path.root() {
            Root::Data => path::find(self.data, path.segments()),
            Root::Context => self.context.find(path.segments()).map(Cow::Owned),
            Root::Variable(name) => match self.variables.get(name) {
                Some(value) => path::find(value, path.segments()),
                None => Err(NotFound {
                    reason: format!("No results for path: ${name}"),
                }),
            },
        }
    }

    /// The root of a path as JSON text, for error texts.
    fn root_text(&self, path: &Path) -> String {
        match path.root() {
            Root::Data => self.data.to_string(),
            Root::Context => self.context.object(&context::MEMBERS).to_string(),
            Root::Variable(name) => self
                .variables
                .get(name)
                .map_or_else(|| "null".to_owned(), Value::to_string),
        }
    }
}

/// Why something could not be computed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DataError {
    /// A path leads nowhere.
    Path {
        /// The path as written.
        path: String,
        /// The key, with its `.$`.
        field: String,
        /// What it was looked up in, as JSON text.
        input: String,
    },
    /// There is nothing to look up in.
    NullInput,
    /// An intrinsic function failed.
    Function {
        /// The call as written.
        call: String,
        /// Why.
        reason: String,
    },
    /// A JSONata expression failed.
    Query {
        /// The field, such as `Output/result`.
        location: String,
        /// A whole sentence.
        reason: String,
        /// It yielded nothing.
        undefined: bool,
    },
    /// The values that were looked up or computed are larger than any result may be.
    TooLarge,
}

/// How many bytes of values one template or expression may look up and compute, results in between included. A result of
/// more than 256 KiB is refused in any case; this keeps a small definition from asking for gigabytes on the way there.
pub(crate) struct Budget(usize);

impl Budget {
    const BYTES: usize = 16 * 1024 * 1024;

    fn new() -> Self {
        Self(Self::BYTES)
    }

    fn spend(&mut self, value: Value) -> Result<Value, DataError> {
        self.0 = self.0.checked_sub(size(&value)).ok_or(DataError::TooLarge)?;
        Ok(value)
    }
}

/// About as many bytes as the value takes.
fn size(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(|item| 8 + size(item)).sum(),
        Value::Object(map) => map.iter().map(|(key, value)| 8 + key.len() + size(value)).sum(),
        _ => 8,
    }
}

/// Fills a template.
pub(crate) fn fill(
    template: &Template,
    scope: &Scope<'_>,
    compute: &mut Compute,
) -> Result<Value, DataError> {
    let mut filling = Filling::new(scope, compute);
    filling.template(template)
}

/// Computes a path, a call or an expression; `field` is named when that fails.
pub(crate) fn evaluate(
    expression: &Expression,
    field: &str,
    scope: &Scope<'_>,
    compute: &mut Compute,
) -> Result<Value, DataError> {
    let mut filling = Filling::new(scope, compute);
    filling.expression(expression, field)
}

/// One filling of a template. Values are converted for JSONata once for all its expressions.
struct Filling<'a> {
    scope: &'a Scope<'a>,
    compute: &'a mut Compute,
    budget: Budget,
    converted: jsonata::Converted,
}

impl<'a> Filling<'a> {
    fn new(scope: &'a Scope<'a>, compute: &'a mut Compute) -> Self {
        Self {
            scope,
            compute,
            budget: Budget::new(),
            converted: jsonata::Converted::default(),
        }
    }

    fn template(&mut self, template: &Template) -> Result<Value, DataError> {
        match template {
            Template::Literal(value) => Ok(value.clone()),
            Template::Array(items) => items
                .iter()
                .map(|item| self.template(item))
                .collect::<Result<Vec<_>, _>>()
                .map(Value::Array),
            Template::Object(entries) => {
                let mut map = Map::new();
                for (key, template) in entries {
                    map.insert(key.clone(), self.template(template)?);
                }
                Ok(Value::Object(map))
            }
            Template::Computed { field, expression } => self.expression(expression, field),
            // `Template` may grow; the checker lets nothing else through today.
            _ => Ok(Value::Null),
        }
    }

    fn expression(&mut self, expression: &Expression, field: &str) -> Result<Value, DataError> {
        match expression {
            Expression::Path(path) => {
                let value = self.lookup(path, field)?;
                self.budget.spend(value)
            }
            Expression::Call(call) => self.call(call, field),
            Expression::Jsonata(expression) => {
                let value =
                    jsonata::evaluate(expression, field, self.scope, self.compute, &mut self.converted)?;
                self.budget.spend(value)
            }
            _ => Ok(Value::Null),
        }
    }

    fn lookup(&self, path: &Path, field: &str) -> Result<Value, DataError> {
        if *path.root() == Root::Data && self.scope.data.is_null() {
            return Err(DataError::NullInput);
        }
        let found = self.scope.get(path).map(Cow::into_owned);
        found.map_err(|_| DataError::Path {
            path: path.as_str().to_owned(),
            field: field.to_owned(),
            input: self.scope.root_text(path),
        })
    }
}

/// Puts a result into a state's input.
pub(crate) fn place(placement: &Placement, input: &Value, result: Value) -> Result<Value, PlaceError> {
    let path = match placement {
        Placement::Discard => return Ok(input.clone()),
        Placement::At(path) => path,
    };
    let Some((last, parents)) = path.segments().split_last() else {
        return Ok(result);
    };
    let mut root = input.clone();
    let mut at = &mut root;
    let failed = || PlaceError {
        path: path.as_str().to_owned(),
    };
    for segment in parents {
        at = descend(at, segment).ok_or_else(failed)?;
    }
    *descend(at, last).ok_or_else(failed)? = result;
    Ok(root)
}

/// A reference path that does not fit the input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PlaceError {
    pub(crate) path: String,
}

/// One step down; missing fields are made, missing items of an array are not.
fn descend<'a>(value: &'a mut Value, segment: &Segment) -> Option<&'a mut Value> {
    match segment {
        Segment::Field(name) => {
            if value.is_null() {
                *value = Value::Object(Map::new());
            }
            Some(value.as_object_mut()?.entry(name.clone()).or_insert(Value::Null))
        }
        Segment::Index(index) => value.as_array_mut()?.get_mut(usize::try_from(*index).ok()?),
        _ => None,
    }
}
