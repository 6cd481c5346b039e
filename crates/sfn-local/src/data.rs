//! Values: paths looked up, templates filled, results put in their place.

use serde_json::{Map, Value};
use sfn_builder::Path;
use sfn_builder::checked::Placement;
use sfn_builder::path::{Root, Segment};
use sfn_builder::template::{Expression, Template};

use crate::intrinsic::{self, Random};

/// What a path can be looked up in.
#[derive(Clone, Copy)]
pub(crate) struct Scope<'a> {
    /// `$`.
    pub(crate) data: &'a Value,
    /// `$$`.
    pub(crate) context: &'a Value,
}

/// A path that leads nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NotFound {
    /// The reason as the service's JSONPath library words it.
    pub(crate) reason: String,
}

impl<'a> Scope<'a> {
    fn root(self, path: &Path) -> &'a Value {
        match path.root() {
            Root::Data => self.data,
            Root::Context => self.context,
            // `check_supported` has let no variable through.
            Root::Variable(_) => &Value::Null,
        }
    }

    /// The value at a path; for a path that can have several matches, an array of them.
    pub(crate) fn get(self, path: &Path) -> Result<Value, NotFound> {
        let root = self.root(path);
        let segments = path.segments();
        let mut found: Vec<&Value> = vec![root];
        let mut definite = true;
        for (depth, segment) in segments.iter().enumerate() {
            let mut next = Vec::new();
            for value in &found {
                let before = next.len();
                let fits = step(value, segment, &mut next);
                if definite && (!fits || (next.len() == before && is_single(segment))) {
                    return Err(not_found(segments, depth));
                }
            }
            definite &= is_single(segment);
            found = next;
        }
        if definite {
            // One root, and every step found exactly one value.
            Ok(found.into_iter().next().cloned().unwrap_or(Value::Null))
        } else {
            Ok(Value::Array(found.into_iter().cloned().collect()))
        }
    }
}

fn is_single(segment: &Segment) -> bool {
    matches!(segment, Segment::Field(_) | Segment::Index(_))
}

/// Appends what a step finds; `false` when the value is not of a kind that the step applies to.
fn step<'a>(value: &'a Value, segment: &Segment, found: &mut Vec<&'a Value>) -> bool {
    match (segment, value) {
        (Segment::Field(name), Value::Object(map)) => found.extend(map.get(name)),
        (Segment::Index(index), Value::Array(items)) => {
            let index = from_end(*index, items.len());
            found.extend(index.and_then(|index| items.get(index)));
        }
        (Segment::Slice { start, end }, Value::Array(items)) => {
            let bound = |bound: Option<i64>, default: usize| match bound {
                None => default,
                Some(bound) => from_end(bound, items.len()).unwrap_or(0).min(items.len()),
            };
            let (start, end) = (bound(*start, 0), bound(*end, items.len()));
            found.extend(items.get(start..end).into_iter().flatten());
        }
        (Segment::Wildcard, Value::Array(items)) => found.extend(items),
        (Segment::Wildcard, Value::Object(map)) => found.extend(map.values()),
        _ => return false,
    }
    true
}

/// An index from the front; `None` when it lies before the front.
fn from_end(index: i64, len: usize) -> Option<usize> {
    if index >= 0 {
        return usize::try_from(index).ok();
    }
    usize::try_from(index.unsigned_abs())
        .ok()
        .and_then(|back| len.checked_sub(back))
}

fn not_found(segments: &[Segment], depth: usize) -> NotFound {
    let mut place = String::from("$");
    for segment in &segments[..=depth] {
        match segment {
            Segment::Field(name) => place.push_str(&format!("['{name}']")),
            Segment::Index(index) => place.push_str(&format!("[{index}]")),
            _ => place.push_str("[*]"),
        }
    }
    let reason = if depth + 1 == segments.len() {
        format!("No results for path: {place}")
    } else {
        format!("Missing property in path {place}")
    };
    NotFound { reason }
}

/// Why a template could not be filled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FillError {
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
    /// The values that were looked up or computed are larger than any result may be.
    TooLarge,
}

/// How many bytes of values one template or expression may look up and compute, results in between included. A result of
/// more than 256 KiB is refused in any case; this keeps a small definition from asking for gigabytes on the way there.
pub(crate) struct Budget(usize);

impl Budget {
    const BYTES: usize = 16 * 1024 * 1024;

    pub(crate) fn new() -> Self {
        Self(Self::BYTES)
    }

    pub(crate) fn spend(&mut self, value: Value) -> Result<Value, FillError> {
        self.0 = self.0.checked_sub(size(&value)).ok_or(FillError::TooLarge)?;
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

/// Fills a payload template.
pub(crate) fn fill(template: &Template, scope: Scope<'_>, random: &mut Random) -> Result<Value, FillError> {
    fill_within(template, scope, random, &mut Budget::new())
}

fn fill_within(
    template: &Template,
    scope: Scope<'_>,
    random: &mut Random,
    budget: &mut Budget,
) -> Result<Value, FillError> {
    match template {
        Template::Literal(value) => Ok(value.clone()),
        Template::Array(items) => items
            .iter()
            .map(|item| fill_within(item, scope, random, budget))
            .collect::<Result<Vec<_>, _>>()
            .map(Value::Array),
        Template::Object(entries) => {
            let mut map = Map::new();
            for (key, template) in entries {
                map.insert(key.clone(), fill_within(template, scope, random, budget)?);
            }
            Ok(Value::Object(map))
        }
        Template::Computed { field, expression } => evaluate_within(expression, field, scope, random, budget),
        // `Template` may grow; the checker lets nothing else through today.
        _ => Ok(Value::Null),
    }
}

/// Computes a path or a call; `field` is named when that fails.
pub(crate) fn evaluate(
    expression: &Expression,
    field: &str,
    scope: Scope<'_>,
    random: &mut Random,
) -> Result<Value, FillError> {
    evaluate_within(expression, field, scope, random, &mut Budget::new())
}

fn evaluate_within(
    expression: &Expression,
    field: &str,
    scope: Scope<'_>,
    random: &mut Random,
    budget: &mut Budget,
) -> Result<Value, FillError> {
    match expression {
        Expression::Path(path) => budget.spend(lookup(path, field, scope)?),
        Expression::Call(call) => intrinsic::call(call, field, scope, random, budget),
        _ => Ok(Value::Null),
    }
}

pub(crate) fn lookup(path: &Path, field: &str, scope: Scope<'_>) -> Result<Value, FillError> {
    let root = scope.root(path);
    if root.is_null() {
        return Err(FillError::NullInput);
    }
    scope.get(path).map_err(|_| FillError::Path {
        path: path.as_str().to_owned(),
        field: field.to_owned(),
        input: root.to_string(),
    })
}

/// Puts a result into a state's input. `Err` gives the input back when there is no such place in it.
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
