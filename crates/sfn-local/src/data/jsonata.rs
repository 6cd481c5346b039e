//! JSONata expressions, by `jsonata-core`, with the functions that Step Functions adds.
//!
//! Developer guide, "Transforming data with JSONata in Step Functions".

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use indexmap::IndexMap;
use jiff::Timestamp;
use jsonata_core::ast::AstNode;
use jsonata_core::evaluator::{Context as Bindings, Evaluator, EvaluatorError, EvaluatorOptions};
use jsonata_core::value::JValue;
use serde_json::{Number, Value};
use sfn_builder::jsonata::Jsonata;

use super::context::MEMBERS;
use super::{Compute, DataError, Random, Scope, intrinsic, jsonata_words};

/// How long a sequence may become, how deep calls may nest, and how long it may all take: what keeps one expression from using
/// up the machine. The time is real; only what would never end meets it. The service was seen to take sequences of that length.
const LIMITS: EvaluatorOptions = EvaluatorOptions {
    timeout_ms: Some(10_000),
    cancel: None,
    max_stack_depth: Some(2_000),
    max_sequence_length: Some(MAX_SEQUENCE),
};

const MAX_SEQUENCE: usize = 873_782;

/// Syntax trees by their texts.
#[derive(Default)]
pub(crate) struct Parsed(HashMap<String, Arc<AstNode>>);

impl Parsed {
    fn get(&mut self, expression: &Jsonata) -> Result<Arc<AstNode>, String> {
        let text = expression.expression();
        if let Some(tree) = self.0.get(text) {
            return Ok(tree.clone());
        }
        let tree = jsonata_core::parser::parse(text).map_err(|error| error.to_string())?;
        let tree = Arc::new(tree);
        self.0.insert(text.to_owned(), tree.clone());
        Ok(tree)
    }
}

/// Values of a scope in the evaluator's form, made when they are first needed.
#[derive(Default)]
pub(super) struct Converted {
    input: Option<JValue>,
    result: Option<JValue>,
    error_output: Option<JValue>,
    variables: HashMap<String, JValue>,
}

pub(super) fn evaluate(
    expression: &Jsonata,
    field: &str,
    scope: &Scope<'_>,
    compute: &mut Compute,
    converted: &mut Converted,
) -> Result<Value, DataError> {
    let text = expression.expression();
    let failed = |what: String, undefined: bool| DataError::Query {
        location: field.to_owned(),
        reason: format!("The JSONata expression '{text}' specified for the field '{field}' {what}"),
        undefined,
    };
    let tree = compute
        .parsed
        .get(expression)
        .map_err(|error| failed(format!("threw an error during evaluation. {error}"), false))?;
    let bindings = bind(expression, scope, converted);
    let random = Rc::new(RefCell::new(compute.random.clone()));
    let mut evaluator = Evaluator::with_options(bindings, LIMITS.clone());
    let outcome = register(&mut evaluator, &random, compute.now)
        .and_then(|()| evaluator.evaluate(&tree, &JValue::Undefined));
    compute.random = random.borrow().clone();
    let value = outcome.map_err(|error| {
        let words = jsonata_words::of(error.message(), text);
        failed(format!("threw an error during evaluation{words}"), false)
    })?;
    match value {
        JValue::Undefined => Err(failed("returned nothing (undefined).".to_owned(), true)),
        value if value.is_function() || value.is_regex() => {
            Err(failed("returned an unsupported result type.".to_owned(), false))
        }
        value => Ok(to_json(&value)),
    }
}

/// `$states` and the variables that the expression names.
fn bind(expression: &Jsonata, scope: &Scope<'_>, converted: &mut Converted) -> Bindings {
    let references = expression.references();
    let mut states = IndexMap::new();
    if references.input || references.states {
        let input = converted.input.get_or_insert_with(|| from_json(scope.data));
        states.insert("input".to_owned(), input.clone());
    }
    if let (true, Some(result)) = (references.result || references.states, scope.result) {
        let result = converted.result.get_or_insert_with(|| from_json(result));
        states.insert("result".to_owned(), result.clone());
    }
    if let (true, Some(output)) = (references.error_output || references.states, scope.error_output) {
        let output = converted.error_output.get_or_insert_with(|| from_json(output));
        states.insert("errorOutput".to_owned(), output.clone());
    }
    if references.context || references.states {
        let members = context_members(expression.expression());
        states.insert("context".to_owned(), from_json(&scope.context.object(&members)));
    }
    let mut bindings = Bindings::new();
    if !states.is_empty() {
        bindings.bind("states".to_owned(), JValue::object(states));
    }
    for name in &references.variables {
        if let Some(value) = scope.variables.get(name) {
            let value = converted
                .variables
                .entry(name.clone())
                .or_insert_with(|| from_json(value));
            bindings.bind(name.clone(), value.clone());
        }
    }
    bindings
}

/// The members of the context object that an expression names; all, unless each mention of it is followed by one. The
/// execution's input is among them, and large: a Map state's selector that asks for its item does not pay for it.
fn context_members(text: &str) -> Vec<&'static str> {
    let mut found = Vec::new();
    for (at, mention) in text.match_indices("context") {
        let named = text[at + mention.len()..].strip_prefix('.').and_then(|rest| {
            let end = rest
                .find(|c: char| !c.is_ascii_alphanumeric())
                .unwrap_or(rest.len());
            MEMBERS.into_iter().find(|member| *member == &rest[..end])
        });
        match named {
            Some(member) => found.push(member),
            None => return MEMBERS.to_vec(),
        }
    }
    if found.is_empty() { MEMBERS.to_vec() } else { found }
}

type Outcome = Result<JValue, EvaluatorError>;

/// The functions that Step Functions adds, and those whose answers come from the execution's seed and clock.
fn register(
    evaluator: &mut Evaluator,
    random: &Rc<RefCell<Random>>,
    now: Timestamp,
) -> Result<(), EvaluatorError> {
    evaluator.register_fn("partition", partition)?;
    evaluator.register_fn("range", range)?;
    evaluator.register_fn("hash", hash)?;
    evaluator.register_fn("parse", parse)?;
    let source = random.clone();
    evaluator.register_fn("uuid", move |_: &[JValue]| -> Outcome {
        Ok(JValue::string(source.borrow_mut().uuid()))
    })?;
    let source = random.clone();
    evaluator.register_fn_override("random", move |arguments: &[JValue]| -> Outcome {
        let fraction = match arguments.first().and_then(JValue::as_f64) {
            Some(seed) => of_seed(truncated(seed)),
            None => source.borrow_mut().fraction(),
        };
        Ok(JValue::from_f64(fraction))
    })?;
    let millis = now.as_millisecond();
    evaluator.register_fn_override("millis", move |_: &[JValue]| -> Outcome {
        Ok(JValue::from_i64(millis))
    })?;
    evaluator.register_fn_override("now", move |arguments: &[JValue]| -> Outcome {
        // With a picture and a time zone it is `$fromMillis` of the same.
        let mut bindings = Bindings::new();
        bindings.bind("m".to_owned(), JValue::from_i64(millis));
        for (name, argument) in ["p", "z"].into_iter().zip(arguments) {
            bindings.bind(name.to_owned(), argument.clone());
        }
        let text = match arguments.len() {
            0 => "$fromMillis($m)",
            1 => "$fromMillis($m, $p)",
            _ => "$fromMillis($m, $p, $z)",
        };
        let tree = jsonata_core::parser::parse(text)
            .map_err(|error| EvaluatorError::EvaluationError(error.to_string()))?;
        Evaluator::with_context(bindings).evaluate(&tree, &JValue::Undefined)
    })?;
    evaluator.register_fn_override("eval", |_: &[JValue]| -> Outcome {
        Err(error("T1006: Attempted to invoke a non-function"))
    })
}

fn error(message: impl Into<String>) -> EvaluatorError {
    EvaluatorError::EvaluationError(message.into())
}

/// An argument, which must be there and of its type.
fn argument<'a, T>(
    arguments: &'a [JValue],
    index: usize,
    name: &str,
    read: impl Fn(&'a JValue) -> Option<T>,
) -> Result<T, EvaluatorError> {
    arguments.get(index).and_then(read).ok_or_else(|| {
        error(format!(
            "T0410: Argument {} of function \"{name}\" does not match function signature",
            index + 1
        ))
    })
}

/// Without its fraction, as the service was seen to read numbers that have one.
#[expect(clippy::cast_possible_truncation, reason = "the conversion saturates")]
fn truncated(number: f64) -> i64 {
    number as i64
}

/// What `java.util.Random` of that seed gives first: the service's `$random` does.
#[expect(clippy::cast_precision_loss, reason = "53 bits are exact")]
fn of_seed(seed: i64) -> f64 {
    const MULTIPLIER: u64 = 0x5_DEEC_E66D;
    const MASK: u64 = (1 << 48) - 1;
    let mut state = (seed.cast_unsigned() ^ MULTIPLIER) & MASK;
    let mut next = |bits: u32| {
        state = state.wrapping_mul(MULTIPLIER).wrapping_add(0xB) & MASK;
        state >> (48 - bits)
    };
    let (high, low) = (next(26), next(27));
    ((high << 27) + low) as f64 / (1_u64 << 53) as f64
}

fn partition(arguments: &[JValue]) -> Outcome {
    let items = argument(arguments, 0, "partition", JValue::as_array)?;
    let size = argument(arguments, 1, "partition", JValue::as_f64)?;
    let size = usize::try_from(truncated(size))
        .ok()
        .filter(|size| *size > 0)
        .ok_or_else(|| error("the chunk size of $partition must be a positive integer"))?;
    Ok(JValue::array(
        items
            .chunks(size)
            .map(|chunk| JValue::array(chunk.to_vec()))
            .collect(),
    ))
}

/// The result is a sequence, so that of a range of one value the value itself remains.
fn range(arguments: &[JValue]) -> Outcome {
    let number = |index| argument(arguments, index, "range", JValue::as_f64).map(truncated);
    let (first, last, step) = (number(0)?, number(1)?, number(2)?);
    if step == 0 {
        return Err(error("the step of $range must not be zero"));
    }
    let (first, last, step) = (i128::from(first), i128::from(last), i128::from(step));
    let span = if step > 0 { last - first } else { first - last };
    let steps = span.div_euclid(step.abs());
    if steps >= MAX_SEQUENCE as i128 {
        return Err(error(format!(
            "D2015: The maximum sequence length of {MAX_SEQUENCE} was exceeded."
        )));
    }
    let items: Vec<JValue> = (0..=steps)
        .filter_map(|n| i64::try_from(first + n * step).ok())
        .map(JValue::from_i64)
        .collect();
    Ok(match <[JValue; 1]>::try_from(items) {
        Ok([only]) => only,
        Err(items) => JValue::sequence(items),
    })
}

fn hash(arguments: &[JValue]) -> Outcome {
    let text = match arguments.first() {
        Some(value) if value.is_string() => value.as_str().unwrap_or_default().to_owned(),
        Some(value) if !value.is_undefined() && !value.is_function() => to_json(value).to_string(),
        _ => argument(arguments, 0, "hash", JValue::as_str)?.to_owned(),
    };
    let algorithm = argument(arguments, 1, "hash", JValue::as_str)?;
    intrinsic::hash(&text, algorithm)
        .map(JValue::string)
        .map_err(error)
}

fn parse(arguments: &[JValue]) -> Outcome {
    let text = argument(arguments, 0, "parse", JValue::as_str)?;
    let value: Value = serde_json::from_str(text)
        .map_err(|problem| error(format!("$parse: the text is not JSON: {problem}")))?;
    Ok(from_json(&value))
}

pub(super) fn from_json(value: &Value) -> JValue {
    match value {
        Value::Null => JValue::Null,
        Value::Bool(value) => JValue::Bool(*value),
        Value::Number(number) => JValue::Number(number.as_f64().unwrap_or(f64::NAN)),
        Value::String(text) => JValue::string(text.as_str()),
        Value::Array(items) => JValue::array(items.iter().map(from_json).collect()),
        Value::Object(map) => JValue::object(
            map.iter()
                .map(|(key, value)| (key.clone(), from_json(value)))
                .collect(),
        ),
    }
}

/// Functions inside of values become empty texts, as JSONata's own `$string` has it; undefined members are left out.
fn to_json(value: &JValue) -> Value {
    match value {
        JValue::Bool(value) => Value::Bool(*value),
        JValue::Number(number) => json_number(*number),
        JValue::String(text) => Value::String(text.to_string()),
        JValue::Array(items) => items
            .iter()
            .filter(|item| !item.is_undefined())
            .map(to_json)
            .collect(),
        JValue::Object(map) => Value::Object(
            map.iter()
                .filter(|(_, value)| !value.is_undefined())
                .map(|(key, value)| (key.clone(), to_json(value)))
                .collect(),
        ),
        JValue::Lambda(_) | JValue::Builtin { .. } | JValue::Regex { .. } => Value::String(String::new()),
        _ => Value::Null,
    }
}

/// JSONata has one kind of numbers; whole ones are printed without a fraction.
fn json_number(number: f64) -> Value {
    #[expect(clippy::cast_possible_truncation, reason = "whole, and in range")]
    if number.fract() == 0.0 && number.abs() < 9_007_199_254_740_992.0 {
        return Value::from(number as i64);
    }
    // JSON has no such numbers; the service writes their names.
    let name = || match number {
        number if number.is_nan() => "NaN",
        f64::INFINITY => "Infinity",
        _ => "-Infinity",
    };
    Number::from_f64(number).map_or_else(|| name().into(), Value::Number)
}
