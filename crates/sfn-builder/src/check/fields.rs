//! The fields of an object, read one by one.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use super::Checker;
use super::at::At;
use crate::checked::QueryLanguage;
use crate::finding::{Code, Finding, nearest};

/// Fields of states, by the query languages that have them. `ANY` are in both.
const ANY: [&str; 35] = [
    "Type",
    "Comment",
    "QueryLanguage",
    "Assign",
    "Resource",
    "Credentials",
    "Retry",
    "Catch",
    "TimeoutSeconds",
    "HeartbeatSeconds",
    "Branches",
    "ItemProcessor",
    "Iterator",
    "ItemReader",
    "ItemSelector",
    "ItemBatcher",
    "ResultWriter",
    "MaxConcurrency",
    "ToleratedFailurePercentage",
    "ToleratedFailureCount",
    "Label",
    "Choices",
    "Default",
    "Seconds",
    "Timestamp",
    "Error",
    "Cause",
    "Next",
    "End",
    "ProcessorConfig",
    "StartAt",
    "States",
    "ErrorEquals",
    "Version",
    "ReaderConfig",
];

/// Fields of JSONPath states only.
const JSON_PATH: [&str; 20] = [
    "InputPath",
    "OutputPath",
    "Parameters",
    "ResultSelector",
    "ResultPath",
    "Result",
    "TimeoutSecondsPath",
    "HeartbeatSecondsPath",
    "SecondsPath",
    "TimestampPath",
    "ErrorPath",
    "CausePath",
    "ItemsPath",
    "MaxConcurrencyPath",
    "ToleratedFailurePercentagePath",
    "ToleratedFailureCountPath",
    "MaxItemsPath",
    "MaxItemsPerBatchPath",
    "MaxInputBytesPerBatchPath",
    "Variable",
];

/// Fields of JSONata states only.
const JSONATA: [&str; 4] = ["Arguments", "Output", "Items", "Condition"];

/// The fields of an object, read one by one; what nobody asked for is reported at the end.
pub(super) struct Fields<'d, 'p> {
    /// Where the object stands.
    pub(super) here: &'p At<'p>,
    pub(super) map: &'d Map<String, Value>,
    /// That of the state around it.
    pub(super) language: QueryLanguage,
    /// The names that were asked for, the first of them without an allocation.
    known: [&'static str; KNOWN],
    asked_for: usize,
    more: Vec<&'static str>,
    /// A bit for each of the first fields of the object that was asked for.
    asked: u64,
    /// A bit for each length of a key: most of the fields that there could be need no search then.
    lengths: u64,
}

/// Most objects have few fields, among which a search is faster than a hash.
const FEW: usize = 16;
/// As many fields as most states are asked for.
const KNOWN: usize = 24;

impl<'d, 'p> Fields<'d, 'p> {
    pub(super) fn new(here: &'p At<'p>, map: &'d Map<String, Value>, language: QueryLanguage) -> Self {
        Self {
            here,
            map,
            language,
            known: [""; KNOWN],
            asked_for: 0,
            more: Vec::new(),
            asked: 0,
            lengths: map.keys().fold(0, |lengths, key| lengths | length_bit(key)),
        }
    }

    pub(super) fn is_json_path(&self) -> bool {
        self.language == QueryLanguage::JsonPath
    }

    /// Where a field stands.
    pub(super) fn at<'f>(&self, field: &'f str) -> At<'f>
    where
        'p: 'f,
    {
        At::Key(self.here, field)
    }

    pub(super) fn has(&self, field: &str) -> bool {
        self.peek(field).is_some()
    }

    /// The field, which stays one that nobody asked for.
    pub(super) fn peek(&self, field: &str) -> Option<&'d Value> {
        self.find(field).map(|(_, value)| value)
    }

    /// The field and its bit, which is 0 where there are too many.
    fn find(&self, field: &str) -> Option<(u64, &'d Value)> {
        if self.lengths & length_bit(field) == 0 {
            return None;
        }
        if self.map.len() > FEW {
            return self.map.get(field).map(|value| (0, value));
        }
        let mut fields = self.map.iter().zip(0..);
        let found = fields.find(|((key, _), _)| *key == field);
        found.map(|((_, value), index)| (1 << index, value))
    }

    pub(super) fn get(&mut self, field: &'static str) -> Option<&'d Value> {
        match self.known.get_mut(self.asked_for) {
            Some(place) => *place = field,
            None => self.more.push(field),
        }
        self.asked_for += 1;
        let (bit, value) = self.find(field)?;
        self.asked |= bit;
        Some(value)
    }

    /// Lets a field pass without reading it.
    pub(super) fn know(&mut self, field: &'static str) {
        self.get(field);
    }

    fn known(&self) -> impl Iterator<Item = &'static str> {
        let first = self.known.iter().take(self.asked_for);
        first.chain(&self.more).copied()
    }

    pub(super) fn text(&mut self, checker: &mut Checker<'_>, field: &'static str) -> Option<&'d str> {
        match self.get(field)? {
            Value::String(text) => Some(text),
            other => {
                let message = format!("`{field}` is a text, not {}", kind_of(other));
                let finding = Finding::new(Code::WrongType, self.at(field), message);
                checker
                    .findings
                    .push(finding.said("Expected value of type [STRING]"));
                None
            }
        }
    }

    /// A field that must be there.
    pub(super) fn required(&mut self, checker: &mut Checker<'_>, field: &'static str) -> Option<&'d Value> {
        let value = self.get(field);
        if value.is_none() {
            checker.report(
                Code::MissingField,
                *self.here,
                format!("the field `{field}` is missing"),
            );
        }
        value
    }

    pub(super) fn required_text(
        &mut self,
        checker: &mut Checker<'_>,
        field: &'static str,
    ) -> Option<&'d str> {
        self.required(checker, field)?;
        self.text(checker, field)
    }

    pub(super) fn integer(
        &mut self,
        checker: &mut Checker<'_>,
        field: &'static str,
        range: RangeInclusive<u64>,
    ) -> Option<u64> {
        let value = self.get(field)?;
        checker.integer(self.at(field), field, value, range)
    }

    /// A field whose value is an object.
    pub(super) fn object(
        &mut self,
        checker: &mut Checker<'_>,
        field: &'static str,
    ) -> Option<&'d Map<String, Value>> {
        match self.get(field)? {
            Value::Object(map) => Some(map),
            other => {
                let message = format!("`{field}` is an object, not {}", kind_of(other));
                checker.wrong_type(self.at(field), message);
                None
            }
        }
    }

    /// A field whose value is one of some words.
    pub(super) fn word<T: Copy>(
        &mut self,
        checker: &mut Checker<'_>,
        field: &'static str,
        words: &[(&'static str, T)],
    ) -> Option<T> {
        let text = self.text(checker, field)?;
        let found = words.iter().find(|(word, _)| *word == text);
        if found.is_none() {
            let names: Vec<String> = words.iter().map(|(word, _)| format!("`{word}`")).collect();
            let (last, others) = names.split_last()?;
            let message = format!("`{field}` is {} or {last}, not `{text}`", others.join(", "));
            let finding = Finding::new(Code::InvalidValue, self.at(field), message);
            let near = nearest(text, words.iter().map(|(word, _)| *word));
            let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            checker.findings.push(finding.near(near).said(one_of(&words)));
        }
        found.map(|(_, value)| *value)
    }

    /// Reports two fields that exclude each other.
    pub(super) fn exclusive(
        &self,
        checker: &mut Checker<'_>,
        field: &'static str,
        other: &'static str,
    ) -> bool {
        let both = self.has(field) && self.has(other);
        if both {
            let message = format!("`{other}` does not stand beside `{field}`");
            let finding = Finding::new(Code::ConflictingFields, self.at(other), message);
            checker.findings.push(finding.said(only_one(&[field, other])));
        }
        both
    }

    /// Reports what nobody asked for. `what` is such as `a Task state`.
    pub(super) fn finish(&self, checker: &mut Checker<'_>, what: &str) {
        if self.map.len() <= FEW && self.asked.count_ones() as usize == self.map.len() {
            return;
        }
        for key in self
            .map
            .keys()
            .filter(|key| !self.known().any(|known| known == *key))
        {
            let finding = if self.is_json_path() && JSONATA.contains(&key.as_str()) {
                self.foreign(key, "JSONata")
            } else if !self.is_json_path() && JSON_PATH.contains(&key.as_str()) {
                self.foreign(key, "JSONPath")
            } else if [&ANY[..], &JSON_PATH, &JSONATA]
                .iter()
                .any(|list| list.contains(&key.as_str()))
            {
                let message = format!("the field `{key}` does not belong to {what}");
                Finding::new(Code::MisplacedField, self.at(key), message)
            } else {
                let message = format!("{what} has no field `{key}`");
                let near = nearest(key, self.known());
                Finding::new(Code::UnknownField, self.at(key), message).near(near)
            };
            checker.findings.push(finding);
        }
    }

    fn foreign(&self, key: &str, language: &str) -> Finding {
        let message = format!("the field `{key}` belongs to {language} states");
        let finding = Finding::new(Code::WrongQueryLanguage, self.at(key), message);
        finding.hint(format!("the query language here is {}", self.language.as_str()))
    }
}

impl Checker<'_> {
    pub(super) fn integer(
        &mut self,
        pointer: At<'_>,
        field: &str,
        value: &Value,
        range: RangeInclusive<u64>,
    ) -> Option<u64> {
        // `60.0` is an integer to the service as it is to JSON.
        let number = value.as_u64().or_else(|| {
            let number = value.as_f64()?;
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "checked to be a small integer"
            )]
            (number.fract() == 0.0 && (0.0..1e15).contains(&number)).then_some(number as u64)
        });
        if let Some(number) = number.filter(|number| range.contains(number)) {
            return Some(number);
        }
        let code = if value.is_number() {
            Code::OutOfRange
        } else {
            Code::WrongType
        };
        let wanted = if *range.end() == u64::MAX {
            format!("of at least {}", range.start())
        } else {
            format!("from {} to {}", range.start(), range.end())
        };
        let message = format!("`{field}` is a whole number {wanted}, not {}", show(value));
        let finding = Finding::new(code, pointer, message);
        self.findings
            .push(match out_of(value, *range.start(), *range.end()) {
                Some(said) => finding.said(said),
                None => finding.said("Expected value of type Integer"),
            });
        None
    }
}

/// What the service says of a number that is too small or too large.
pub(super) fn out_of(value: &Value, least: u64, most: u64) -> Option<String> {
    let number = value.as_f64()?;
    #[expect(clippy::cast_precision_loss, reason = "limits are small, or there is none")]
    if number < least as f64 {
        Some(format!("Minimum value is {least}"))
    } else if number > most as f64 {
        Some(format!("Maximum value is {most}"))
    } else {
        None
    }
}

/// What the service says of a value that is none of these.
pub(super) fn one_of(words: &[&str]) -> String {
    format!("Value should be one of the following: [{}]", words.join(", "))
}

/// What the service says of an object that has several of these fields.
pub(super) fn only_one(fields: &[&str]) -> String {
    format!(
        "There should only be one of the following fields: [{}]",
        fields.join(", ")
    )
}

/// What the service says of an object that has none of these fields.
pub(super) fn exactly_one(fields: &[&str]) -> String {
    format!(
        "This object should have only one of the following fields: [{}]",
        fields.join(", ")
    )
}

/// What the service says of a list in which there must be something.
pub(super) const EMPTY: &str = "Value cannot be empty";

/// Long keys share one bit.
fn length_bit(key: &str) -> u64 {
    1 << key.len().min(63)
}

pub(super) fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// A value in a message: short ones as they are, big ones by their kind.
pub(super) fn show(value: &Value) -> String {
    match value {
        Value::Array(items) if items.is_empty() => "an empty array".to_owned(),
        Value::Array(_) | Value::Object(_) => kind_of(value).to_owned(),
        Value::String(text) if text.len() > 100 => "a long text".to_owned(),
        other => format!("`{other}`"),
    }
}
