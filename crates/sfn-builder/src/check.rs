//! From a [`Document`] to a [`StateMachine`]: every problem at once.

mod choice;
mod resource;
mod state;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use crate::asl::Document;
use crate::checked::Selection;
use crate::finding::{Code, Finding, InvalidDefinition, nearest, push};
use crate::machine::{Parts, StateMachine};
use crate::path::Path;
use crate::template::{Expression, ExpressionError, Template};

/// The longest time the service counts, in seconds.
const MAX_SECONDS: u64 = 99_999_999;
/// The longest name of a state, in characters.
const MAX_NAME: usize = 80;

/// Fields of the language that no state can have here, and why.
const UNSUPPORTED_FIELDS: [(&str, &str); 17] = [
    ("Arguments", "JSONata"),
    ("Output", "JSONata"),
    ("Assign", "variables"),
    ("Items", "JSONata"),
    ("Condition", "JSONata"),
    ("Credentials", "cross-account roles"),
    ("Branches", "Parallel"),
    ("Iterator", "Map"),
    ("ItemProcessor", "Map"),
    ("ItemReader", "Map"),
    ("ItemSelector", "Map"),
    ("ItemBatcher", "Map"),
    ("ItemsPath", "Map"),
    ("ResultWriter", "Map"),
    ("MaxConcurrency", "Map"),
    ("MaxConcurrencyPath", "Map"),
    ("ToleratedFailurePercentage", "Map"),
];

/// Fields that some state here has, so that a misplaced one can be told from an unknown one.
const STATE_FIELDS: [&str; 28] = [
    "Type",
    "Comment",
    "InputPath",
    "OutputPath",
    "Parameters",
    "ResultSelector",
    "ResultPath",
    "Result",
    "Resource",
    "Retry",
    "Catch",
    "TimeoutSeconds",
    "TimeoutSecondsPath",
    "HeartbeatSeconds",
    "HeartbeatSecondsPath",
    "Choices",
    "Default",
    "Seconds",
    "SecondsPath",
    "Timestamp",
    "TimestampPath",
    "Error",
    "ErrorPath",
    "Cause",
    "CausePath",
    "Next",
    "End",
    "QueryLanguage",
];

pub(crate) fn check(document: Document) -> Result<StateMachine, InvalidDefinition> {
    let mut checker = Checker {
        findings: document.findings.clone(),
    };
    match checker.machine(document.as_value()) {
        Some(parts) if checker.findings.is_empty() => Ok(StateMachine::new(document, parts)),
        _ => Err(InvalidDefinition::new(checker.findings)),
    }
}

/// Collects findings; its methods return what they could read, so that the search goes on after a problem.
struct Checker {
    findings: Vec<Finding>,
}

impl Checker {
    fn report(&mut self, code: Code, pointer: impl Into<String>, message: impl Into<String>) {
        self.findings.push(Finding::new(code, pointer, message));
    }

    fn schema(&mut self, pointer: impl Into<String>, message: impl Into<String>) {
        self.report(Code::Schema, pointer, message);
    }

    fn machine(&mut self, root: &Value) -> Option<Parts> {
        let Value::Object(map) = root else {
            self.schema("", format!("a definition is an object, not {}", kind_of(root)));
            return None;
        };
        let mut fields = Fields::new("", map);
        let comment = fields.text(self, "Comment");
        let version = fields.text(self, "Version");
        if let Some(version) = version.as_deref().filter(|version| *version != "1.0") {
            self.schema(
                "/Version",
                format!("the version of the language is `1.0`, not `{version}`"),
            );
        }
        self.query_language(&mut fields);
        let timeout = fields.integer(self, "TimeoutSeconds", 1..=MAX_SECONDS);
        let start_at = fields.required_text(self, "StartAt");
        let states = match fields.get("States") {
            None => {
                self.schema("", "the field `States` is missing");
                None
            }
            Some(Value::Object(states)) if states.is_empty() => {
                self.schema("/States", "there must be at least one state");
                None
            }
            Some(Value::Object(states)) => Some(states),
            Some(other) => {
                self.schema(
                    "/States",
                    format!("`States` is an object, not {}", kind_of(other)),
                );
                None
            }
        };
        fields.finish(self, "a state machine");

        let states = states?;
        let mut checked = Vec::with_capacity(states.len());
        for (name, value) in states {
            self.state_name(name);
            checked.extend(self.state(name, &push("/States", name), value));
        }
        self.graph(start_at.as_deref(), states);
        if checked.len() != states.len() {
            return None;
        }
        let start = start_at.and_then(|start_at| checked.iter().position(|state| state.name == start_at))?;
        Some(Parts {
            comment,
            version,
            timeout_seconds: timeout,
            start,
            states: checked,
        })
    }

    fn state_name(&mut self, name: &str) {
        let length = name.chars().count();
        if length == 0 {
            self.schema("/States/", "the name of a state must not be empty");
        } else if length > MAX_NAME {
            let message = format!("the name of a state has at most {MAX_NAME} characters, this has {length}");
            self.schema(push("/States", name), message);
        }
    }

    fn query_language(&mut self, fields: &mut Fields<'_>) {
        let pointer = fields.at("QueryLanguage");
        match fields.text(self, "QueryLanguage").as_deref() {
            None | Some("JSONPath") => {}
            Some("JSONata") => self.report(
                Code::Unsupported,
                pointer,
                "the query language JSONata is not supported",
            ),
            Some(other) => {
                let finding = Finding::new(
                    Code::Schema,
                    pointer,
                    format!("there is no query language `{other}`"),
                );
                self.findings
                    .push(finding.suggest(nearest(other, ["JSONPath", "JSONata"])));
            }
        }
    }

    /// Names that lead nowhere, states that nothing leads to, machines that cannot end. Works on the raw JSON, so that
    /// a problem inside a state does not hide one of the graph, or invent one.
    fn graph(&mut self, start_at: Option<&str>, states: &Map<String, Value>) {
        let names: BTreeSet<&str> = states.keys().map(String::as_str).collect();
        let resolve = |checker: &mut Self, target: &str, pointer: String, what: &str| -> Option<String> {
            if names.contains(target) {
                return Some(target.to_owned());
            }
            let suggestion = nearest(target, names.iter().copied());
            let finding = Finding::new(
                Code::MissingTransitionTarget,
                pointer,
                format!("`{what}` names the state `{target}`, which does not exist"),
            );
            checker.findings.push(finding.suggest(suggestion.clone()));
            suggestion
        };

        let start = start_at.map(|start_at| resolve(self, start_at, "/StartAt".into(), "StartAt"));
        let mut edges: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        // Whether a state ends the machine, or might if it were put right.
        let mut terminal = false;
        for (name, state) in states {
            let pointer = push("/States", name);
            let targets = edges.entry(name).or_default();
            for (place, field, target) in raw_targets(state) {
                targets.extend(resolve(self, target, format!("{pointer}{place}"), field));
            }
            let kind = state.get("Type").and_then(Value::as_str);
            terminal |= match kind {
                Some("Task" | "Pass" | "Wait") => state.get("End").is_some() || state.get("Next").is_none(),
                Some("Choice") => false,
                _ => true,
            };
        }
        if !terminal {
            let message =
                "no state ends the machine: one must have `\"End\": true` or be of type Succeed or Fail";
            self.report(Code::NoTerminalState, "/States", message);
        }
        // Without a start nothing is reachable, which helps nobody.
        let Some(Some(start)) = start else { return };
        let mut reached: BTreeSet<&str> = BTreeSet::new();
        let mut open: Vec<&str> = names.get(start.as_str()).copied().into_iter().collect();
        while let Some(name) = open.pop() {
            if reached.insert(name) {
                open.extend(edges.get(name).into_iter().flatten().map(String::as_str));
            }
        }
        for name in states.keys().filter(|name| !reached.contains(name.as_str())) {
            let message = format!("no path leads from `{start}` to the state `{name}`");
            self.report(Code::UnreachableState, push("/States", name), message);
        }
    }

    fn expression_error(&mut self, pointer: &str, error: &ExpressionError) {
        let code = if error.unsupported {
            Code::Unsupported
        } else {
            Code::InvalidPath
        };
        let finding = Finding::new(code, pointer, error.to_string());
        self.findings.push(finding.suggest(error.suggestion.clone()));
    }

    fn expression(&mut self, pointer: &str, text: &str) -> Option<Expression> {
        match Expression::parse(text) {
            Ok(expression) => Some(expression),
            Err(error) => {
                self.expression_error(pointer, &error);
                None
            }
        }
    }

    fn path(&mut self, pointer: &str, text: &str) -> Option<Path> {
        match text.parse::<Path>() {
            Ok(path) => Some(path),
            Err(error) => {
                self.expression_error(pointer, &error.into());
                None
            }
        }
    }

    /// A path that names exactly one place.
    fn reference(&mut self, pointer: &str, text: &str) -> Option<Path> {
        let path = self.path(pointer, text)?;
        if path.is_reference() {
            return Some(path);
        }
        let message = format!(
            "`{text}` is not a reference path: only fields and indices from the front may stand in it"
        );
        self.report(Code::InvalidPath, pointer, message);
        None
    }

    /// A payload template.
    fn template(&mut self, pointer: &str, value: &Value) -> Option<Template> {
        match value {
            Value::Array(items) => {
                let items: Vec<Template> = items
                    .iter()
                    .enumerate()
                    .filter_map(|(index, item)| self.template(&format!("{pointer}/{index}"), item))
                    .collect();
                let literal = items.iter().all(|item| matches!(item, Template::Literal(_)));
                Some(if literal {
                    Template::Literal(value.clone())
                } else {
                    Template::Array(items)
                })
            }
            Value::Object(map) => {
                let mut entries = Vec::with_capacity(map.len());
                for (key, value) in map {
                    let pointer = push(pointer, key);
                    let Some(name) = key.strip_suffix(".$") else {
                        entries.extend(
                            self.template(&pointer, value)
                                .map(|template| (key.clone(), template)),
                        );
                        continue;
                    };
                    if map.contains_key(name) {
                        let message = format!("`{name}` and `{key}` name the same field");
                        self.report(Code::DuplicateKey, pointer.clone(), message);
                    }
                    let Value::String(text) = value else {
                        let message = format!(
                            "the value of `{key}` must be a path or an intrinsic function, not {}",
                            kind_of(value)
                        );
                        self.schema(pointer, message);
                        continue;
                    };
                    if let Some(expression) = self.expression(&pointer, text) {
                        let field = key.clone();
                        entries.push((name.to_owned(), Template::Computed { field, expression }));
                    }
                }
                let literal = entries
                    .iter()
                    .all(|(_, template)| matches!(template, Template::Literal(_)));
                Some(if literal {
                    Template::Literal(value.clone())
                } else {
                    Template::Object(entries)
                })
            }
            _ => Some(Template::Literal(value.clone())),
        }
    }
}

/// `(pointer below the state, field, name)` of everything that names another state.
fn raw_targets(state: &Value) -> Vec<(String, &'static str, &str)> {
    let mut targets = Vec::new();
    for field in ["Next", "Default"] {
        if let Some(target) = state.get(field).and_then(Value::as_str) {
            targets.push((format!("/{field}"), field, target));
        }
    }
    for list in ["Choices", "Catch"] {
        let entries = state.get(list).and_then(Value::as_array).into_iter().flatten();
        for (index, entry) in entries.enumerate() {
            if let Some(target) = entry.get("Next").and_then(Value::as_str) {
                targets.push((format!("/{list}/{index}/Next"), "Next", target));
            }
        }
    }
    targets
}

/// The fields of an object, read one by one; what nobody asked for is reported at the end.
struct Fields<'a> {
    pointer: String,
    map: &'a Map<String, Value>,
    known: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    fn new(pointer: impl Into<String>, map: &'a Map<String, Value>) -> Self {
        Self {
            pointer: pointer.into(),
            map,
            known: Vec::new(),
        }
    }

    fn at(&self, field: &str) -> String {
        push(&self.pointer, field)
    }

    fn has(&self, field: &str) -> bool {
        self.map.contains_key(field)
    }

    fn get(&mut self, field: &'static str) -> Option<&'a Value> {
        self.known.push(field);
        self.map.get(field)
    }

    fn text(&mut self, checker: &mut Checker, field: &'static str) -> Option<String> {
        match self.get(field)? {
            Value::String(text) => Some(text.clone()),
            other => {
                checker.schema(
                    self.at(field),
                    format!("`{field}` is a text, not {}", kind_of(other)),
                );
                None
            }
        }
    }

    fn required_text(&mut self, checker: &mut Checker, field: &'static str) -> Option<String> {
        if !self.has(field) {
            self.known.push(field);
            checker.schema(self.pointer.clone(), format!("the field `{field}` is missing"));
            return None;
        }
        self.text(checker, field)
    }

    fn integer(
        &mut self,
        checker: &mut Checker,
        field: &'static str,
        range: std::ops::RangeInclusive<u64>,
    ) -> Option<u64> {
        let value = self.get(field)?;
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
        let message = format!(
            "`{field}` is a whole number from {} to {}, not {}",
            range.start(),
            range.end(),
            show(value)
        );
        checker.schema(self.at(field), message);
        None
    }

    /// `InputPath` or `OutputPath`.
    fn selection(&mut self, checker: &mut Checker, field: &'static str) -> Option<Selection> {
        match self.get(field) {
            None => Some(Selection::Path(Path::root_of_data())),
            Some(Value::Null) => Some(Selection::Nothing),
            Some(Value::String(text)) => checker.path(&self.at(field), text).map(Selection::Path),
            Some(other) => {
                let message = format!("`{field}` is a path or null, not {}", kind_of(other));
                checker.schema(self.at(field), message);
                None
            }
        }
    }

    /// A field that holds a reference path.
    fn reference(&mut self, checker: &mut Checker, field: &'static str) -> Option<Path> {
        let text = self.text(checker, field)?;
        checker.reference(&self.at(field), &text)
    }

    fn template(&mut self, checker: &mut Checker, field: &'static str) -> Option<Template> {
        let value = self.get(field)?;
        checker.template(&self.at(field), value)
    }

    fn finish(&self, checker: &mut Checker, what: &str) {
        for key in self.map.keys().filter(|key| !self.known.contains(&key.as_str())) {
            let pointer = self.at(key);
            let unsupported = UNSUPPORTED_FIELDS.iter().find(|(field, _)| field == key);
            let finding = if let Some((_, part)) = unsupported {
                let message = format!("the field `{key}` is not supported ({part})");
                Finding::new(Code::Unsupported, pointer, message)
            } else if key.starts_with("ToleratedFailure") {
                Finding::new(
                    Code::Unsupported,
                    pointer,
                    format!("the field `{key}` is not supported (Map)"),
                )
            } else if STATE_FIELDS.contains(&key.as_str()) {
                Finding::new(
                    Code::UnknownField,
                    pointer,
                    format!("the field `{key}` does not belong to {what}"),
                )
            } else {
                let suggestion = nearest(key, self.known.iter().copied());
                let message = format!("{what} has no field `{key}`");
                Finding::new(Code::UnknownField, pointer, message).suggest(suggestion)
            };
            checker.findings.push(finding);
        }
    }
}

fn kind_of(value: &Value) -> &'static str {
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
fn show(value: &Value) -> String {
    match value {
        Value::Array(items) if items.is_empty() => "an empty array".to_owned(),
        Value::Array(_) | Value::Object(_) => kind_of(value).to_owned(),
        other => format!("`{other}`"),
    }
}
