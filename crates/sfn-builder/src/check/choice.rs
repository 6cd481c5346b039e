//! The rules of a Choice state.

use serde_json::{Map, Value};

use super::Checker;
use super::at::At;
use super::data::Available;
use super::fields::{EMPTY, Fields, kind_of, show};
use crate::checked::{Condition, Operand, Property, Relation, Rule, Test};
use crate::finding::{Code, Finding, nearest};
use crate::path::Path;

/// `And` and its kind can nest no deeper; deeper ones would only cost stack.
const MAX_DEPTH: usize = 64;

#[derive(Clone, Copy)]
enum Operator {
    String(Relation),
    Numeric(Relation),
    Timestamp(Relation),
    Boolean,
    Matches,
    Is(Property),
}

/// Every operator but its `…Path` form.
const OPERATORS: [(&str, Operator); 23] = [
    ("StringEquals", Operator::String(Relation::Equals)),
    ("StringLessThan", Operator::String(Relation::LessThan)),
    ("StringGreaterThan", Operator::String(Relation::GreaterThan)),
    ("StringLessThanEquals", Operator::String(Relation::LessThanEquals)),
    (
        "StringGreaterThanEquals",
        Operator::String(Relation::GreaterThanEquals),
    ),
    ("StringMatches", Operator::Matches),
    ("NumericEquals", Operator::Numeric(Relation::Equals)),
    ("NumericLessThan", Operator::Numeric(Relation::LessThan)),
    ("NumericGreaterThan", Operator::Numeric(Relation::GreaterThan)),
    (
        "NumericLessThanEquals",
        Operator::Numeric(Relation::LessThanEquals),
    ),
    (
        "NumericGreaterThanEquals",
        Operator::Numeric(Relation::GreaterThanEquals),
    ),
    ("BooleanEquals", Operator::Boolean),
    ("TimestampEquals", Operator::Timestamp(Relation::Equals)),
    ("TimestampLessThan", Operator::Timestamp(Relation::LessThan)),
    ("TimestampGreaterThan", Operator::Timestamp(Relation::GreaterThan)),
    (
        "TimestampLessThanEquals",
        Operator::Timestamp(Relation::LessThanEquals),
    ),
    (
        "TimestampGreaterThanEquals",
        Operator::Timestamp(Relation::GreaterThanEquals),
    ),
    ("IsPresent", Operator::Is(Property::Present)),
    ("IsNull", Operator::Is(Property::Null)),
    ("IsString", Operator::Is(Property::String)),
    ("IsNumeric", Operator::Is(Property::Numeric)),
    ("IsBoolean", Operator::Is(Property::Boolean)),
    ("IsTimestamp", Operator::Is(Property::Timestamp)),
];

/// What the service says of a rule without a condition.
const NO_CONDITION: &str =
    "The object must have only one of the following fields, [And, Or, Not, Variable, Condition]";

const NESTING: [&str; 3] = ["And", "Or", "Not"];

fn operator(key: &str) -> Option<(Operator, bool)> {
    let find = |name: &str| {
        OPERATORS
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, operator)| *operator)
    };
    if let Some(operator) = find(key) {
        return Some((operator, false));
    }
    match find(key.strip_suffix("Path")?)? {
        Operator::Matches | Operator::Is(_) => None,
        operator => Some((operator, true)),
    }
}

impl<'d> Checker<'d> {
    pub(super) fn rules(&mut self, fields: &mut Fields<'d, '_>) -> Option<Vec<Rule>> {
        let pointer = fields.at("Choices");
        let list = match fields.required(self, "Choices")? {
            Value::Array(list) if list.is_empty() => {
                let finding = Finding::new(Code::InvalidValue, pointer, "`Choices` must not be empty");
                self.findings.push(finding.said(EMPTY));
                return None;
            }
            Value::Array(list) => list,
            other => {
                self.wrong_type(pointer, format!("`Choices` is an array, not {}", kind_of(other)));
                return None;
            }
        };
        let mut rules = Vec::with_capacity(list.len());
        for (index, value) in list.iter().enumerate() {
            let here = At::Item(&pointer, index);
            let Value::Object(map) = value else {
                self.wrong_type(here, format!("a choice is an object, not {}", kind_of(value)));
                continue;
            };
            let mut rule = Fields::new(&here, map, fields.language);
            rules.extend(self.rule(&mut rule));
        }
        (rules.len() == list.len()).then_some(rules)
    }

    fn rule(&mut self, fields: &mut Fields<'d, '_>) -> Option<Rule> {
        let next = fields.required_text(self, "Next");
        let comment = fields.text(self, "Comment").map(str::to_owned);
        let assign = self.assign(fields, Available::NOTHING);
        let (mut output, condition) = (
            None,
            if fields.is_json_path() {
                self.condition(*fields.here, fields.map, true, 0)
            } else {
                self.jsonata_condition(fields)
            },
        );
        if !fields.is_json_path() {
            output = self.template_field(fields, "Output", Available::NOTHING);
            fields.finish(self, "a choice");
        }
        Some(Rule {
            condition: condition?,
            next: next?.to_owned(),
            comment,
            assign,
            output,
        })
    }

    /// `Condition` of a JSONata state.
    fn jsonata_condition(&mut self, fields: &mut Fields<'d, '_>) -> Option<Condition> {
        let pointer = fields.at("Condition");
        match fields.required(self, "Condition")? {
            Value::Bool(fixed) => Some(Condition::Fixed(*fixed)),
            Value::String(text) => self
                .jsonata(pointer, text, Available::NOTHING)
                .map(Condition::Jsonata),
            other => {
                let message = format!(
                    "`Condition` is a text in `{{% %}}` or a boolean, not {}",
                    kind_of(other)
                );
                self.wrong_type(pointer, message);
                None
            }
        }
    }

    fn condition(
        &mut self,
        pointer: At<'_>,
        map: &'d Map<String, Value>,
        top: bool,
        depth: usize,
    ) -> Option<Condition> {
        if depth > MAX_DEPTH {
            let message = format!("conditions nest at most {MAX_DEPTH} deep");
            self.report(Code::InvalidCondition, pointer, message);
            return None;
        }
        let mut fields = Fields::new(&pointer, map, crate::checked::QueryLanguage::JsonPath);
        let mut found: Vec<(&str, &'d Value)> = Vec::new();
        let mut unknown = false;
        for (key, value) in map {
            match key.as_str() {
                "Variable" => {}
                "Next" | "Assign" if top => {}
                "Next" | "Assign" => {
                    let message = format!("only the outermost condition has `{key}`");
                    self.report(Code::MisplacedField, fields.at(key), message);
                }
                "Comment" => {}
                "Condition" | "Output" => {
                    let message = format!("the field `{key}` belongs to JSONata states");
                    let finding = Finding::new(Code::WrongQueryLanguage, fields.at(key), message);
                    self.findings
                        .push(finding.hint("the query language here is JSONPath"));
                    unknown = true;
                }
                key if NESTING.contains(&key) || operator(key).is_some() => found.push((key, value)),
                key => {
                    unknown = true;
                    let names = OPERATORS.iter().map(|(name, _)| *name);
                    let paths: Vec<String> = names.clone().map(|name| format!("{name}Path")).collect();
                    let paths = paths
                        .iter()
                        .map(String::as_str)
                        .filter(|name| operator(name).is_some());
                    let near = nearest(
                        key,
                        names
                            .chain(paths)
                            .chain(NESTING)
                            .chain(["Variable", "Next", "Comment", "Assign"]),
                    );
                    let message = format!("there is no operator `{key}`");
                    let finding = Finding::new(Code::UnknownField, fields.at(key), message);
                    self.findings.push(finding.near(near));
                }
            }
        }
        let &[(key, value)] = found.as_slice() else {
            if unknown {
                return None;
            }
            let message = if found.is_empty() {
                "a condition needs an operator, such as `StringEquals`, or `And`, `Or`, `Not`".to_owned()
            } else {
                let names: Vec<&str> = found.iter().map(|(name, _)| *name).collect();
                format!(
                    "a condition has one operator, not {}: `{}`",
                    names.len(),
                    names.join("`, `")
                )
            };
            let mut finding = Finding::new(Code::InvalidCondition, pointer, message);
            if found.is_empty() && !fields.has("Variable") {
                finding = finding.said(NO_CONDITION);
            }
            self.findings.push(finding);
            return None;
        };
        let at = fields.at(key);
        if NESTING.contains(&key) {
            if fields.has("Variable") {
                self.report(
                    Code::ConflictingFields,
                    fields.at("Variable"),
                    format!("`Variable` does not stand beside `{key}`"),
                );
            }
            return self.nesting(key, at, value, depth);
        }
        let variable = fields.required_text(self, "Variable");
        let variable: Option<Path> = variable.and_then(|variable| self.path(fields.at("Variable"), variable));
        let (operator, from_path) = operator(key)?;
        let test = self.test(operator, from_path, key, at, value);
        Some(Condition::Test {
            variable: variable?,
            test: test?,
        })
    }

    fn nesting(&mut self, key: &str, pointer: At<'_>, value: &'d Value, depth: usize) -> Option<Condition> {
        let inner = |checker: &mut Self, pointer: At<'_>, value: &'d Value| match value {
            Value::Object(map) => checker.condition(pointer, map, false, depth + 1),
            other => {
                checker.wrong_type(
                    pointer,
                    format!("a condition is an object, not {}", kind_of(other)),
                );
                None
            }
        };
        if key == "Not" {
            return inner(self, pointer, value).map(|condition| Condition::Not(Box::new(condition)));
        }
        let list = match value {
            Value::Array(list) if !list.is_empty() => list,
            other => {
                let code = if other.is_array() {
                    Code::InvalidValue
                } else {
                    Code::WrongType
                };
                let message = format!("`{key}` is a non-empty array of conditions, not {}", show(other));
                let mut finding = Finding::new(code, pointer, message);
                if other.is_array() {
                    finding = finding.said(EMPTY);
                }
                self.findings.push(finding);
                return None;
            }
        };
        let conditions: Vec<Condition> = list
            .iter()
            .enumerate()
            .filter_map(|(index, value)| inner(self, At::Item(&pointer, index), value))
            .collect();
        if conditions.len() != list.len() {
            return None;
        }
        Some(if key == "And" {
            Condition::And(conditions)
        } else {
            Condition::Or(conditions)
        })
    }

    fn test(
        &mut self,
        operator: Operator,
        from_path: bool,
        key: &str,
        pointer: At<'_>,
        value: &'d Value,
    ) -> Option<Test> {
        if from_path {
            let Value::String(text) = value else {
                self.wrong_type(pointer, format!("`{key}` is a path, not {}", kind_of(value)));
                return None;
            };
            let path = self.path(pointer, text)?;
            return Some(match operator {
                Operator::String(relation) => Test::String(relation, Operand::Path(path)),
                Operator::Numeric(relation) => Test::Numeric(relation, Operand::Path(path)),
                Operator::Timestamp(relation) => Test::Timestamp(relation, Operand::Path(path)),
                Operator::Boolean => Test::Boolean(Operand::Path(path)),
                Operator::Matches | Operator::Is(_) => return None,
            });
        }
        let (test, wanted) = match (operator, value) {
            (Operator::String(relation), Value::String(text)) => {
                self.no_path(pointer, key, text);
                (
                    Some(Test::String(relation, Operand::Fixed(text.clone()))),
                    "a text",
                )
            }
            (Operator::String(_), _) => (None, "a text"),
            (Operator::Matches, Value::String(pattern)) => (self.pattern(pointer, pattern), ""),
            (Operator::Matches, _) => (None, "a text"),
            (Operator::Numeric(relation), Value::Number(number)) => (
                Some(Test::Numeric(relation, Operand::Fixed(number.clone()))),
                "a number",
            ),
            (Operator::Numeric(_), _) => (None, "a number"),
            (Operator::Boolean, Value::Bool(wanted)) => {
                (Some(Test::Boolean(Operand::Fixed(*wanted))), "a boolean")
            }
            (Operator::Is(property), Value::Bool(wanted)) => (Some(Test::Is(property, *wanted)), "a boolean"),
            (Operator::Boolean | Operator::Is(_), _) => (None, "a boolean"),
            (Operator::Timestamp(relation), value) => {
                let timestamp = self.timestamp(pointer, key, value);
                let test = timestamp.map(|timestamp| Test::Timestamp(relation, Operand::Fixed(timestamp)));
                (test, "")
            }
        };
        if test.is_none() && !wanted.is_empty() {
            self.wrong_type(pointer, format!("`{key}` is {wanted}, not {}", show(value)));
        }
        test
    }

    /// In a pattern a backslash stands before `*` or itself.
    fn pattern(&mut self, pointer: At<'_>, pattern: &str) -> Option<Test> {
        let mut chars = pattern.chars();
        while let Some(c) = chars.next() {
            if c == '\\' && !matches!(chars.next(), Some('*' | '\\')) {
                self.report(
                    Code::InvalidPattern,
                    pointer,
                    "in a pattern a backslash stands before `*` or a backslash",
                );
                return None;
            }
        }
        Some(Test::Matches(pattern.to_owned()))
    }
}
