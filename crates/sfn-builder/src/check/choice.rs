//! The rules of a Choice state.

use serde_json::{Map, Value};

use super::{Checker, Fields, kind_of, show};
use crate::checked::{Condition, Operand, Property, Relation, Rule, Test, parse_timestamp};
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

impl Checker {
    pub(super) fn rules(&mut self, fields: &mut Fields<'_>) -> Option<Vec<Rule>> {
        let pointer = fields.at("Choices");
        let list = match fields.get("Choices") {
            None => {
                self.schema(fields.pointer.clone(), "the field `Choices` is missing");
                return None;
            }
            Some(Value::Array(list)) if list.is_empty() => {
                self.schema(pointer, "`Choices` must not be empty");
                return None;
            }
            Some(Value::Array(list)) => list,
            Some(other) => {
                self.schema(pointer, format!("`Choices` is an array, not {}", kind_of(other)));
                return None;
            }
        };
        let rules: Vec<Rule> = list
            .iter()
            .enumerate()
            .filter_map(|(index, value)| self.rule(&format!("{pointer}/{index}"), value))
            .collect();
        (rules.len() == list.len()).then_some(rules)
    }

    fn rule(&mut self, pointer: &str, value: &Value) -> Option<Rule> {
        let Value::Object(map) = value else {
            self.schema(pointer, format!("a choice is an object, not {}", kind_of(value)));
            return None;
        };
        let mut fields = Fields::new(pointer, map);
        let next = fields.required_text(self, "Next");
        let comment = fields.text(self, "Comment");
        let condition = self.condition(pointer, map, true, 0);
        Some(Rule {
            condition: condition?,
            next: next?,
            comment,
        })
    }

    fn condition(
        &mut self,
        pointer: &str,
        map: &Map<String, Value>,
        top: bool,
        depth: usize,
    ) -> Option<Condition> {
        if depth > MAX_DEPTH {
            self.schema(pointer, format!("conditions nest at most {MAX_DEPTH} deep"));
            return None;
        }
        let mut fields = Fields::new(pointer, map);
        let mut found: Vec<&str> = Vec::new();
        let mut unknown = false;
        for key in map.keys() {
            match key.as_str() {
                "Variable" => {}
                "Next" | "Comment" if top => {}
                "Next" => self.schema(fields.at(key), "only the outermost condition has `Next`"),
                "Comment" => {}
                key if NESTING.contains(&key) || operator(key).is_some() => found.push(key),
                key => {
                    unknown = true;
                    let unsupported = matches!(key, "Condition" | "Assign" | "Output");
                    let (code, message) = if unsupported {
                        (Code::Unsupported, format!("the field `{key}` is not supported"))
                    } else {
                        (Code::UnknownField, format!("there is no operator `{key}`"))
                    };
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
                            .chain(["Variable", "Next", "Comment"]),
                    );
                    let finding = Finding::new(code, fields.at(key), message);
                    self.findings.push(finding.suggest(near.filter(|_| !unsupported)));
                }
            }
        }
        let &[key] = found.as_slice() else {
            if unknown {
                return None;
            }
            let message = if found.is_empty() {
                "a condition needs an operator, such as `StringEquals`, or `And`, `Or`, `Not`".to_owned()
            } else {
                format!(
                    "a condition has one operator, not {}: `{}`",
                    found.len(),
                    found.join("`, `")
                )
            };
            self.schema(pointer, message);
            return None;
        };
        let value = map.get(key)?;
        let at = fields.at(key);
        if NESTING.contains(&key) {
            if fields.has("Variable") {
                self.schema(
                    fields.at("Variable"),
                    format!("`Variable` does not stand beside `{key}`"),
                );
            }
            return self.nesting(key, &at, value, depth);
        }
        let variable = fields.required_text(self, "Variable");
        let variable: Option<Path> =
            variable.and_then(|variable| self.path(&fields.at("Variable"), &variable));
        let (operator, from_path) = operator(key)?;
        let test = self.test(operator, from_path, key, &at, value);
        Some(Condition::Test {
            variable: variable?,
            test: test?,
        })
    }

    fn nesting(&mut self, key: &str, pointer: &str, value: &Value, depth: usize) -> Option<Condition> {
        let inner = |checker: &mut Self, pointer: &str, value: &Value| match value {
            Value::Object(map) => checker.condition(pointer, map, false, depth + 1),
            other => {
                checker.schema(
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
                self.schema(
                    pointer,
                    format!("`{key}` is a non-empty array of conditions, not {}", show(other)),
                );
                return None;
            }
        };
        let conditions: Vec<Condition> = list
            .iter()
            .enumerate()
            .filter_map(|(index, value)| inner(self, &format!("{pointer}/{index}"), value))
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
        pointer: &str,
        value: &Value,
    ) -> Option<Test> {
        if from_path {
            let Value::String(text) = value else {
                self.schema(pointer, format!("`{key}` is a path, not {}", kind_of(value)));
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
            (Operator::String(relation), Value::String(text)) => (
                Some(Test::String(relation, Operand::Fixed(text.clone()))),
                "a text",
            ),
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
                let timestamp = value.as_str().and_then(parse_timestamp);
                let test = timestamp.map(|timestamp| Test::Timestamp(relation, Operand::Fixed(timestamp)));
                (test, "a timestamp such as `2026-01-31T12:00:00Z`")
            }
        };
        if test.is_none() && !wanted.is_empty() {
            self.schema(pointer, format!("`{key}` is {wanted}, not {}", show(value)));
        }
        test
    }

    /// In a pattern a backslash stands before `*` or itself.
    fn pattern(&mut self, pointer: &str, pattern: &str) -> Option<Test> {
        let mut chars = pattern.chars();
        while let Some(c) = chars.next() {
            if c == '\\' && !matches!(chars.next(), Some('*' | '\\')) {
                self.schema(
                    pointer,
                    "in a pattern a backslash stands before `*` or a backslash",
                );
                return None;
            }
        }
        Some(Test::Matches(pattern.to_owned()))
    }
}
