//! Intrinsic functions.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde_json::{Number, Value};
use sfn_builder::template::{Argument, Call, Function, Piece};

use crate::data::{Budget, FillError, Scope, lookup};

/// Where an execution's randomness comes from.
pub(crate) struct Random(ChaCha8Rng);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    /// A number from 0 (inclusive) to 1 (exclusive).
    #[expect(clippy::cast_precision_loss, reason = "53 bits are exact")]
    pub(crate) fn fraction(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn uuid(&mut self) -> String {
        let mut bytes = [0; 16];
        self.0.fill_bytes(&mut bytes);
        // Version 4, variant 1 (RFC 9562, section 5.4).
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        format!(
            "{}-{}-{}-{}-{}",
            &hex[..8],
            &hex[8..12],
            &hex[12..16],
            &hex[16..20],
            &hex[20..]
        )
    }
}

pub(crate) fn call(
    call: &Call,
    field: &str,
    scope: Scope<'_>,
    random: &mut Random,
    budget: &mut Budget,
) -> Result<Value, FillError> {
    let mut arguments = Vec::with_capacity(call.arguments.len());
    for argument in &call.arguments {
        arguments.push(match argument {
            Argument::Text(text) => Value::String(text.clone()),
            Argument::Number(number) => Value::Number(number.clone()),
            Argument::Bool(value) => Value::Bool(*value),
            Argument::Path(path) => budget.spend(lookup(path, field, scope)?)?,
            Argument::Call(inner) => self::call(inner, field, scope, random, budget)?,
            _ => Value::Null,
        });
    }
    let result = match (&call.template, arguments.get(1..)) {
        (Some(template), Some(values)) => format(template, values),
        _ => apply(call.function, &arguments, random),
    };
    budget.spend(result.map_err(|reason| FillError::Function {
        call: call.text.clone(),
        reason,
    })?)
}

fn apply(function: Function, arguments: &[Value], random: &mut Random) -> Result<Value, String> {
    match (function, arguments) {
        (Function::Array, items) => Ok(Value::Array(items.to_vec())),
        (Function::Uuid, []) => Ok(Value::String(random.uuid())),
        (Function::JsonToString, [value]) => Ok(Value::String(value.to_string())),
        (Function::StringToJson, [Value::String(text)]) if text.is_empty() => Ok(Value::Null),
        (Function::StringToJson, [Value::String(text)]) => {
            serde_json::from_str(text).map_err(|error| format!("the argument is not JSON: {error}"))
        }
        (Function::MathAdd, [Value::Number(a), Value::Number(b)]) => math_add(a, b),
        // A template from the data has no escapes: every `{}` is a place.
        (Function::Format, [Value::String(template), values @ ..]) => {
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

/// Each operand is rounded half up first, as the service does: 1.5 + 1.51 = 4, -1.5 + 0 = -1.
fn math_add(a: &Number, b: &Number) -> Result<Value, String> {
    let whole = |number: &Number| -> Option<i64> {
        number.as_i64().or_else(|| {
            let rounded = (number.as_f64()? + 0.5).floor();
            #[expect(clippy::cast_possible_truncation, reason = "it is in range")]
            (rounded.abs() < 9.0e18).then_some(rounded as i64)
        })
    };
    match (whole(a), whole(b)) {
        (Some(a), Some(b)) => a
            .checked_add(b)
            .map(Value::from)
            .ok_or_else(|| "the sum is out of range".to_owned()),
        _ => Err("an argument is out of range".to_owned()),
    }
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
