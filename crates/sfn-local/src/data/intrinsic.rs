//! Intrinsic functions.
//!
//! States Language, Appendix B; developer guide, "Intrinsics for JSONPath states in Step Functions".

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Number, Value};
use sfn_builder::template::{Argument, Call, Function, Piece};

use super::path::equal;
use super::{DataError, Filling, Random};

/// The longest text that is hashed, encoded or decoded, in characters.
const MAX_TEXT: usize = 10_000;
/// The most items of a range.
const MAX_RANGE: i64 = 1_000;

impl Filling<'_> {
    pub(super) fn call(&mut self, call: &Call, field: &str) -> Result<Value, DataError> {
        let mut arguments = Vec::with_capacity(call.arguments.len());
        for argument in &call.arguments {
            arguments.push(match argument {
                Argument::Text(text) => Value::String(text.clone()),
                Argument::Number(number) => Value::Number(number.clone()),
                Argument::Bool(value) => Value::Bool(*value),
                Argument::Path(path) => {
                    let value = self.lookup(path, field)?;
                    self.budget.spend(value)?
                }
                Argument::Call(inner) => self.call(inner, field)?,
                _ => Value::Null,
            });
        }
        let result = match (&call.template, arguments.get(1..)) {
            (Some(template), Some(values)) => format(template, values),
            _ => apply(call.function, &arguments, &mut self.compute.random),
        };
        self.budget.spend(result.map_err(|reason| DataError::Function {
            call: call.text.clone(),
            reason,
        })?)
    }
}

fn apply(function: Function, arguments: &[Value], random: &mut Random) -> Result<Value, String> {
    use Value::{Array, Bool, Number, Object, String};
    match (function, arguments) {
        (Function::Array, items) => Ok(Array(items.to_vec())),
        (Function::ArrayPartition, [Array(items), Number(size)]) => {
            let size = usize::try_from(whole(size)?)
                .ok()
                .filter(|size| *size > 0)
                .ok_or("the chunk size must be a positive integer")?;
            Ok(items.chunks(size).map(|chunk| Array(chunk.to_vec())).collect())
        }
        (Function::ArrayContains, [Array(items), wanted]) => {
            Ok(Bool(items.iter().any(|item| equal(item, wanted))))
        }
        (Function::ArrayRange, [Number(first), Number(last), Number(step)]) => {
            range(whole(first)?, whole(last)?, whole(step)?)
        }
        (Function::ArrayGetItem, [Array(items), Number(index)]) => {
            let index = whole(index)?;
            let item = usize::try_from(index).ok().and_then(|index| items.get(index));
            item.cloned().ok_or_else(|| {
                format!(
                    "the index {index} is out of bounds for an array of {}",
                    items.len()
                )
            })
        }
        (Function::ArrayLength, [Array(items)]) => Ok(items.len().into()),
        (Function::ArrayUnique, [Array(items)]) => {
            let mut unique: Vec<Value> = Vec::new();
            for item in items {
                if !unique.iter().any(|other| equal(item, other)) {
                    unique.push(item.clone());
                }
            }
            Ok(Array(unique))
        }
        (Function::Base64Encode, [String(text)]) => {
            limit(text)?;
            Ok(String(BASE64_STANDARD.encode(text)))
        }
        (Function::Base64Decode, [String(text)]) => {
            limit(text)?;
            let bytes = BASE64_STANDARD
                .decode(text)
                .map_err(|error| format!("the argument is not Base64: {error}"))?;
            // As Java decodes: what is not UTF-8 becomes the replacement character.
            Ok(String(std::string::String::from_utf8_lossy(&bytes).into_owned()))
        }
        (Function::Hash, [data, String(algorithm)]) => {
            let text = match data {
                String(text) => text.clone(),
                other => other.to_string(),
            };
            limit(&text)?;
            hash(&text, algorithm).map(String)
        }
        (Function::JsonMerge, [Object(first), Object(second), Bool(false)]) => {
            let mut merged: Map<_, _> = first.clone();
            merged.extend(second.iter().map(|(key, value)| (key.clone(), value.clone())));
            Ok(Object(merged))
        }
        (Function::JsonMerge, [Object(_), Object(_), Bool(true)]) => {
            Err("only shallow merging is supported: the third argument must be false".to_owned())
        }
        (Function::MathRandom, [Number(first), Number(end)]) => {
            draw(first, end, &mut |first, end| random.between(first, end))
        }
        (Function::MathRandom, [Number(first), Number(end), Number(seed)]) => {
            let mut seeded = Random::new(whole(seed)?.cast_unsigned());
            draw(first, end, &mut |first, end| seeded.between(first, end))
        }
        (Function::MathAdd, [Number(a), Number(b)]) => whole(a)?
            .checked_add(whole(b)?)
            .map(Value::from)
            .ok_or_else(|| "the sum is out of range".to_owned()),
        (Function::StringSplit, [String(text), String(delimiters)]) => {
            let parts = text.split(|c| delimiters.contains(c));
            Ok(parts.filter(|part| !part.is_empty()).map(Value::from).collect())
        }
        (Function::Uuid, []) => Ok(String(random.uuid())),
        (Function::JsonToString, [value]) => Ok(String(value.to_string())),
        (Function::StringToJson, [String(text)]) if text.is_empty() => Ok(Value::Null),
        (Function::StringToJson, [String(text)]) => {
            serde_json::from_str(text).map_err(|error| format!("the argument is not JSON: {error}"))
        }
        // A template from the data has no escapes: every `{}` is a place.
        (Function::Format, [String(template), values @ ..]) => {
            let mut pieces = Vec::new();
            for (index, text) in template.split("{}").enumerate() {
                if index > 0 {
                    pieces.push(Piece::Place);
                }
                pieces.push(Piece::Text(text.to_owned()));
            }
            format(&pieces, values)
        }
        (function, _) => Err(format!("an argument of {} has the wrong type", function.name())),
    }
}

/// A number as an integer: rounded half up, as the service does.
fn whole(number: &Number) -> Result<i64, String> {
    let whole = number.as_i64().or_else(|| {
        let rounded = (number.as_f64()? + 0.5).floor();
        #[expect(clippy::cast_possible_truncation, reason = "it is in range")]
        (rounded.abs() < 9.0e18).then_some(rounded as i64)
    });
    whole.ok_or_else(|| format!("the argument {number} is out of range"))
}

fn range(first: i64, last: i64, step: i64) -> Result<Value, String> {
    if step == 0 {
        return Err("the increment must not be zero".to_owned());
    }
    let span = i128::from(last) - i128::from(first);
    let steps = span / i128::from(step);
    if steps < 0 || (span != 0 && (span > 0) != (step > 0)) {
        return Ok(Value::Array(Vec::new()));
    }
    if steps >= i128::from(MAX_RANGE) {
        return Err(format!("the range has more than {MAX_RANGE} items"));
    }
    let item = |n: i128| i64::try_from(i128::from(first) + n * i128::from(step)).unwrap_or(last);
    Ok((0..=steps).map(|n| Value::from(item(n))).collect())
}

fn draw(first: &Number, end: &Number, between: &mut dyn FnMut(i64, i64) -> i64) -> Result<Value, String> {
    let (first, end) = (whole(first)?, whole(end)?);
    if first >= end {
        return Err(format!("the start {first} must be less than the end {end}"));
    }
    Ok(between(first, end).into())
}

fn limit(text: &str) -> Result<(), String> {
    if text.chars().count() > MAX_TEXT {
        return Err(format!("the argument is longer than {MAX_TEXT} characters"));
    }
    Ok(())
}

/// The hexadecimal hash of a text by one of the algorithms that the service knows.
pub(super) fn hash(text: &str, algorithm: &str) -> Result<String, String> {
    fn hex<D: sha2::Digest>(text: &str) -> String {
        D::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
    }
    Ok(match algorithm {
        "MD5" => hex::<md5::Md5>(text),
        "SHA-1" => hex::<sha1::Sha1>(text),
        "SHA-256" => hex::<sha2::Sha256>(text),
        "SHA-384" => hex::<sha2::Sha384>(text),
        "SHA-512" => hex::<sha2::Sha512>(text),
        other => {
            return Err(format!(
                "there is no algorithm `{other}`: MD5, SHA-1, SHA-256, SHA-384 and SHA-512 are known"
            ));
        }
    })
}

fn format(template: &[Piece], values: &[Value]) -> Result<Value, String> {
    let mut text = String::new();
    let mut values = values.iter();
    for piece in template {
        match piece {
            Piece::Text(literal) => text.push_str(literal),
            Piece::Place => match values.next() {
                Some(value) => text.push_str(&java(value)),
                None => return Err("there are more `{}` than values".to_owned()),
            },
        }
    }
    match values.next() {
        Some(_) => Err("there are more values than `{}`".to_owned()),
        None => Ok(Value::String(text)),
    }
}

/// A value as `States.Format` prints it: texts bare, objects in the style of Java's maps.
fn java(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(java).collect::<Vec<_>>().join(", ")),
        Value::Object(map) => {
            let entries: Vec<String> = map
                .iter()
                .map(|(key, value)| format!("{key}={}", java(value)))
                .collect();
            format!("{{{}}}", entries.join(", "))
        }
        other => other.to_string(),
    }
}
