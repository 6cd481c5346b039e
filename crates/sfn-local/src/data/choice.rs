//! The conditions of Choice states.

use serde_json::Value;
use sfn_builder::Path;
use sfn_builder::checked::{Condition, Operand, Property, Test, parse_timestamp};

use super::Scope;
use super::path::{compare_numbers, compare_text};

/// A path that the condition needs leads nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InvalidPath(pub(crate) String);

pub(crate) fn holds(condition: &Condition, scope: Scope<'_>) -> Result<bool, InvalidPath> {
    match condition {
        Condition::And(all) => {
            for condition in all {
                if !holds(condition, scope)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        Condition::Or(any) => {
            for condition in any {
                if holds(condition, scope)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        Condition::Not(inner) => Ok(!holds(inner, scope)?),
        Condition::Test { variable, test } => passes(variable, test, scope),
        // The checker lets nothing else through.
        _ => Ok(false),
    }
}

fn passes(variable: &Path, test: &Test, scope: Scope<'_>) -> Result<bool, InvalidPath> {
    if let Test::Is(Property::Present, wanted) = test {
        return Ok(scope.get(variable).is_ok() == *wanted);
    }
    let value = required(variable, scope)?;
    Ok(match test {
        Test::String(relation, operand) => {
            let other = match operand {
                Operand::Fixed(text) => Value::String(text.clone()),
                Operand::Path(path) => required(path, scope)?,
            };
            match (value.as_str(), other.as_str()) {
                (Some(value), Some(other)) => relation.holds(compare_text(value, other)),
                _ => false,
            }
        }
        Test::Numeric(relation, operand) => {
            let other = match operand {
                Operand::Fixed(number) => Value::Number(number.clone()),
                Operand::Path(path) => required(path, scope)?,
            };
            match (&value, &other) {
                (Value::Number(value), Value::Number(other)) => {
                    compare_numbers(value, other).is_some_and(|ordering| relation.holds(ordering))
                }
                _ => false,
            }
        }
        Test::Timestamp(relation, operand) => {
            let other = match operand {
                Operand::Fixed(timestamp) => Some(*timestamp),
                Operand::Path(path) => required(path, scope)?.as_str().and_then(parse_timestamp),
            };
            match (value.as_str().and_then(parse_timestamp), other) {
                (Some(value), Some(other)) => relation.holds(value.cmp(&other)),
                _ => false,
            }
        }
        Test::Boolean(operand) => {
            let other = match operand {
                Operand::Fixed(wanted) => Some(*wanted),
                Operand::Path(path) => required(path, scope)?.as_bool(),
            };
            other.is_some() && value.as_bool() == other
        }
        Test::Matches(pattern) => value.as_str().is_some_and(|text| matches(pattern, text)),
        Test::Is(property, wanted) => has(*property, &value) == *wanted,
        _ => false,
    })
}

fn required(path: &Path, scope: Scope<'_>) -> Result<Value, InvalidPath> {
    let found = scope.get(path).map(std::borrow::Cow::into_owned);
    found.map_err(|_| InvalidPath(path.as_str().to_owned()))
}

fn has(property: Property, value: &Value) -> bool {
    match property {
        Property::Present => true,
        Property::Null => value.is_null(),
        Property::String => value.is_string(),
        Property::Numeric => value.is_number(),
        Property::Boolean => value.is_boolean(),
        Property::Timestamp => value.as_str().and_then(parse_timestamp).is_some(),
        _ => false,
    }
}

/// Whether a text fits a pattern in which `*` stands for any text and a backslash takes the meaning from what follows.
fn matches(pattern: &str, text: &str) -> bool {
    // `None` stands for `*`.
    let mut tokens = Vec::new();
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        match c {
            '*' => tokens.push(None),
            '\\' => tokens.extend(chars.next().map(Some)),
            c => tokens.push(Some(c)),
        }
    }
    let text: Vec<char> = text.chars().collect();
    // Greedy, going back to the last `*` only: enough, as a later `*` can take over whatever an earlier one could.
    let (mut token, mut at) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while at < text.len() {
        match tokens.get(token) {
            Some(Some(c)) if *c == text[at] => {
                token += 1;
                at += 1;
            }
            Some(None) => {
                star = Some((token, at));
                token += 1;
            }
            _ => match &mut star {
                Some((star_token, star_at)) => {
                    *star_at += 1;
                    token = *star_token + 1;
                    at = *star_at;
                }
                None => return false,
            },
        }
    }
    tokens[token..].iter().all(Option::is_none)
}
