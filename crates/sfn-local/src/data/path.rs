//! JSONPath as the service reads it, which is as the Java library Jayway JsonPath does.

use std::borrow::Cow;
use std::cmp::Ordering;

use serde_json::{Map, Number, Value};
use sfn_builder::path::{Comparison, Filter, Operand, PathFunction, Segment};

/// A path that leads nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NotFound {
    /// The reason as the service's JSONPath library words it.
    pub(crate) reason: String,
}

/// What lies at a path; for a path that can have several matches, an array of them.
pub(crate) fn find<'v>(root: &'v Value, segments: &[Segment]) -> Result<Cow<'v, Value>, NotFound> {
    let (path, function) = match segments.split_last() {
        Some((Segment::Function(function), path)) => (path, Some(*function)),
        _ => (segments, None),
    };
    let (found, definite) = walk(root, root, path)?;
    let value = if definite {
        // One root, and every step found exactly one value.
        found.into_iter().next().unwrap_or(Cow::Owned(Value::Null))
    } else {
        Cow::Owned(Value::Array(found.into_iter().map(Cow::into_owned).collect()))
    };
    match function {
        None => Ok(value),
        Some(function) => apply(function, &value).map(Cow::Owned),
    }
}

/// The matches, and whether the path can have one only.
fn walk<'v>(
    start: &'v Value,
    root: &'v Value,
    segments: &[Segment],
) -> Result<(Vec<Cow<'v, Value>>, bool), NotFound> {
    let mut found: Vec<Cow<'v, Value>> = vec![Cow::Borrowed(start)];
    let mut definite = true;
    for (depth, segment) in segments.iter().enumerate() {
        let mut next = Vec::new();
        for value in found {
            let before = next.len();
            let fits = match value {
                Cow::Borrowed(value) => step(value, root, segment, &mut next),
                Cow::Owned(value) => {
                    let mut inner = Vec::new();
                    let fits = step(&value, root, segment, &mut inner);
                    next.extend(inner.into_iter().map(|value| Cow::Owned(value.into_owned())));
                    fits
                }
            };
            if definite && (!fits || (next.len() == before && is_single(segment))) {
                return Err(not_found(segments, depth));
            }
        }
        // Several names at the end are gathered into one object.
        let gathers = matches!(segment, Segment::Names(_)) && depth + 1 == segments.len();
        if let (Segment::Names(names), false) = (segment, gathers) {
            next = next
                .into_iter()
                .flat_map(|object| opened(&object, names))
                .collect();
        }
        definite &= is_single(segment) || gathers;
        found = next;
    }
    Ok((found, definite))
}

fn is_single(segment: &Segment) -> bool {
    matches!(segment, Segment::Field(_) | Segment::Index(_))
}

/// The values that [`step`] has gathered into an object.
fn opened<'v>(object: &Value, names: &[String]) -> Vec<Cow<'v, Value>> {
    names
        .iter()
        .filter_map(|name| object.get(name).cloned().map(Cow::Owned))
        .collect()
}

/// Appends what a step finds; `false` when the value is not of a kind that the step applies to.
fn step<'v>(value: &'v Value, root: &Value, segment: &Segment, found: &mut Vec<Cow<'v, Value>>) -> bool {
    match (segment, value) {
        (Segment::Field(name), Value::Object(map)) => found.extend(map.get(name).map(Cow::Borrowed)),
        (Segment::Index(index), Value::Array(items)) => {
            let index = from_end(*index, items.len());
            found.extend(index.and_then(|index| items.get(index)).map(Cow::Borrowed));
        }
        (Segment::Indices(indices), Value::Array(items)) => {
            let at = |index: &i64| from_end(*index, items.len()).and_then(|index| items.get(index));
            found.extend(indices.iter().filter_map(at).map(Cow::Borrowed));
        }
        (Segment::Slice { start, end }, Value::Array(items)) => {
            let bound = |bound: Option<i64>, default: usize| match bound {
                None => default,
                Some(bound) => from_end(bound, items.len()).unwrap_or(0).min(items.len()),
            };
            let (start, end) = (bound(*start, 0), bound(*end, items.len()));
            found.extend(items.get(start..end).into_iter().flatten().map(Cow::Borrowed));
        }
        (Segment::Wildcard, Value::Array(items)) => found.extend(items.iter().map(Cow::Borrowed)),
        (Segment::Wildcard, Value::Object(map)) => found.extend(map.values().map(Cow::Borrowed)),
        (Segment::Names(names), Value::Object(map)) => {
            let picked = names
                .iter()
                .filter_map(|name| Some((name.clone(), map.get(name)?.clone())));
            found.push(Cow::Owned(Value::Object(picked.collect())));
        }
        (Segment::Filter(filter), Value::Array(items)) => {
            found.extend(
                items
                    .iter()
                    .filter(|item| holds(filter, item, root))
                    .map(Cow::Borrowed),
            );
        }
        (Segment::Filter(filter), Value::Object(_)) => {
            if holds(filter, value, root) {
                found.push(Cow::Borrowed(value));
            }
        }
        // The step that follows applies to all of these.
        (Segment::Descendants, value) => descendants(value, found),
        _ => return false,
    }
    true
}

fn descendants<'v>(value: &'v Value, found: &mut Vec<Cow<'v, Value>>) {
    // Values nest at most as deep as `MAX_DEPTH` of the engine.
    match value {
        Value::Array(items) => {
            found.push(Cow::Borrowed(value));
            items.iter().for_each(|item| descendants(item, found));
        }
        Value::Object(map) => {
            found.push(Cow::Borrowed(value));
            map.values().for_each(|item| descendants(item, found));
        }
        _ => {}
    }
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

fn apply(function: PathFunction, value: &Value) -> Result<Value, NotFound> {
    let numbers = || -> Result<Vec<f64>, NotFound> {
        let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
        let numbers: Vec<f64> = items.iter().filter_map(Value::as_f64).collect();
        if numbers.is_empty() {
            let reason = "Aggregation function attempted to calculate value using empty array".to_owned();
            return Err(NotFound { reason });
        }
        Ok(numbers)
    };
    #[expect(clippy::cast_precision_loss, reason = "a value never has 2^53 items")]
    let mean = |numbers: &[f64]| numbers.iter().sum::<f64>() / numbers.len() as f64;
    let number = |number: f64| Number::from_f64(number).map_or(Value::Null, Value::Number);
    Ok(match function {
        PathFunction::Min => number(numbers()?.into_iter().fold(f64::INFINITY, f64::min)),
        PathFunction::Max => number(numbers()?.into_iter().fold(f64::NEG_INFINITY, f64::max)),
        PathFunction::Sum => number(numbers()?.iter().sum()),
        PathFunction::Average => number(mean(&numbers()?)),
        PathFunction::StandardDeviation => {
            let numbers = numbers()?;
            let middle = mean(&numbers);
            let squares: Vec<f64> = numbers.iter().map(|number| (number - middle).powi(2)).collect();
            number(mean(&squares).sqrt())
        }
        PathFunction::Length => match value {
            Value::Array(items) => items.len().into(),
            Value::Object(map) => map.len().into(),
            _ => Value::Null,
        },
        PathFunction::Keys => match value {
            Value::Object(map) => map.keys().cloned().map(Value::String).collect(),
            _ => Value::Null,
        },
        PathFunction::First => value.get(0).cloned().unwrap_or(Value::Null),
        PathFunction::Last => value
            .as_array()
            .and_then(|items| items.last())
            .cloned()
            .unwrap_or(Value::Null),
        // `PathFunction` may grow.
        _ => Value::Null,
    })
}

fn holds(filter: &Filter, item: &Value, root: &Value) -> bool {
    match filter {
        Filter::And(all) => all.iter().all(|filter| holds(filter, item, root)),
        Filter::Or(any) => any.iter().any(|filter| holds(filter, item, root)),
        Filter::Not(inner) => !holds(inner, item, root),
        Filter::Exists(operand) => operand_value(operand, item, root).is_some(),
        Filter::Compare {
            left,
            comparison,
            right,
        } => compare(left, *comparison, right, item, root),
        // `Filter` may grow.
        _ => false,
    }
}

/// The value of an operand; `None` when its path leads nowhere.
fn operand_value<'v>(operand: &'v Operand, item: &'v Value, root: &'v Value) -> Option<Cow<'v, Value>> {
    match operand {
        Operand::Item(segments) => find(item, segments).ok(),
        Operand::Root(segments) => find(root, segments).ok(),
        Operand::Value(value) => Some(Cow::Borrowed(value)),
        _ => None,
    }
}

fn compare(left: &Operand, comparison: Comparison, right: &Operand, item: &Value, root: &Value) -> bool {
    let left = operand_value(left, item, root);
    if comparison == Comparison::Matches {
        let (Some(left), Operand::Regex { pattern, flags }) = (left, right) else {
            return false;
        };
        return matches_regex(&left, pattern, flags);
    }
    let right = operand_value(right, item, root);
    let (left, right) = match (left, right) {
        (Some(left), Some(right)) => (left, right),
        // What is not there equals nothing.
        (left, right) => return comparison == Comparison::NotEqual && left.is_some() != right.is_some(),
    };
    let ordering = order(&left, &right);
    let array = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let within = |item: &Value, items: &[Value]| items.iter().any(|other| equal(item, other));
    match comparison {
        Comparison::Equal => equal(&left, &right),
        Comparison::NotEqual => !equal(&left, &right),
        Comparison::Less => ordering.is_some_and(Ordering::is_lt),
        Comparison::LessOrEqual => ordering.is_some_and(Ordering::is_le),
        Comparison::Greater => ordering.is_some_and(Ordering::is_gt),
        Comparison::GreaterOrEqual => ordering.is_some_and(Ordering::is_ge),
        Comparison::In => within(&left, &array(&right)),
        Comparison::NotIn => !within(&left, &array(&right)),
        Comparison::SubsetOf => {
            left.is_array() && array(&left).iter().all(|item| within(item, &array(&right)))
        }
        Comparison::AnyOf => array(&left).iter().any(|item| within(item, &array(&right))),
        Comparison::NoneOf => !array(&left).iter().any(|item| within(item, &array(&right))),
        Comparison::Size => {
            let size = match &*left {
                Value::Array(items) => Some(items.len()),
                Value::String(text) => Some(text.chars().count()),
                _ => None,
            };
            size.is_some() && size.map(|size| size as u64) == right.as_u64()
        }
        Comparison::Empty => {
            let empty = match &*left {
                Value::Array(items) => Some(items.is_empty()),
                Value::String(text) => Some(text.is_empty()),
                _ => None,
            };
            empty.is_some() && empty == right.as_bool()
        }
        Comparison::Contains => match (&*left, &*right) {
            (Value::Array(items), item) => within(item, items),
            (Value::String(text), Value::String(part)) => text.contains(part.as_str()),
            _ => false,
        },
        _ => false,
    }
}

fn matches_regex(value: &Value, pattern: &str, flags: &str) -> bool {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Bool(value) => value.to_string(),
        _ => return false,
    };
    // The whole text has to match, as with Java's `matches`.
    let whole = format!("^(?:{pattern})$");
    let regex = regex::RegexBuilder::new(&whole)
        .case_insensitive(flags.contains('i'))
        .multi_line(flags.contains('m'))
        .dot_matches_new_line(flags.contains('s'))
        .ignore_whitespace(flags.contains('x'))
        .size_limit(1 << 20)
        .build();
    regex.is_ok_and(|regex| regex.is_match(&text))
}

/// Equal as values: numbers by their size, whatever their form.
pub(crate) fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => compare_numbers(a, b) == Some(Ordering::Equal),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b)),
        (Value::Object(a), Value::Object(b)) => equal_objects(a, b),
        (a, b) => a == b,
    }
}

fn equal_objects(a: &Map<String, Value>, b: &Map<String, Value>) -> bool {
    a.len() == b.len()
        && a.iter()
            .all(|(key, value)| b.get(key).is_some_and(|other| equal(value, other)))
}

fn order(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => compare_numbers(a, b),
        (Value::String(a), Value::String(b)) => Some(compare_text(a, b)),
        _ => None,
    }
}

/// Texts are compared as Java compares them: by UTF-16 code units.
pub(crate) fn compare_text(a: &str, b: &str) -> Ordering {
    a.encode_utf16().cmp(b.encode_utf16())
}

pub(crate) fn compare_numbers(a: &Number, b: &Number) -> Option<Ordering> {
    match (a.as_i128(), b.as_i128()) {
        (Some(a), Some(b)) => Some(a.cmp(&b)),
        _ => a.as_f64()?.partial_cmp(&b.as_f64()?),
    }
}
