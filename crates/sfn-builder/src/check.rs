//! From JSON to a checked machine: every problem at once.

mod choice;
mod data;
mod fields;
mod graph;
mod map;
mod resource;
mod state;
mod variables;

use std::collections::HashMap;

use serde_json::{Map, Value};

use self::fields::{Fields, kind_of};
use crate::checked::{Machine, QueryLanguage, State};
use crate::finding::{Code, Finding, Severity, nearest, push};
use crate::source::MAX_DEPTH;

/// The longest time the service counts, in seconds.
const MAX_SECONDS: u64 = 99_999_999;
/// The longest name of a state or a variable, in characters.
const MAX_NAME: usize = 80;

/// Checks a definition. Without errors among the findings there is a machine.
pub(crate) fn check(root: &Value, found: Vec<Finding>) -> (Option<Machine>, Vec<Finding>) {
    let mut checker = Checker {
        findings: found,
        names: HashMap::new(),
    };
    // What was built rather than read may nest without end; nothing below goes deeper than this.
    if deeper_than(root, MAX_DEPTH) {
        let message = format!("the values nest deeper than {MAX_DEPTH} levels");
        checker.report(Code::InvalidJson, "", message);
        return (None, checker.findings);
    }
    checker.collect_names(root, "");
    let machine = checker.machine(root, "", None);
    let valid = !checker
        .findings
        .iter()
        .any(|finding| finding.severity() == Severity::Error);
    let machine = machine.filter(|_| valid);
    if let Some(machine) = &machine {
        checker.variables(machine);
    }
    (machine, checker.findings)
}

fn deeper_than(value: &Value, levels: usize) -> bool {
    match value {
        Value::Array(items) => levels == 0 || items.iter().any(|item| deeper_than(item, levels - 1)),
        Value::Object(map) => levels == 0 || map.values().any(|item| deeper_than(item, levels - 1)),
        _ => false,
    }
}

/// Collects findings; its methods return what they could read, so that the search goes on after a problem.
struct Checker<'d> {
    findings: Vec<Finding>,
    /// Where the first state of each name stands, over all levels.
    names: HashMap<&'d str, String>,
}

/// What a machine is told by what it stands in.
#[derive(Clone, Copy)]
struct Outer<'a> {
    language: QueryLanguage,
    /// `a branch` or `an item processor`.
    what: &'a str,
}

impl<'d> Checker<'d> {
    fn report(&mut self, code: Code, pointer: impl Into<String>, message: impl Into<String>) {
        self.findings.push(Finding::new(code, pointer, message));
    }

    fn wrong_type(&mut self, pointer: impl Into<String>, message: impl Into<String>) {
        self.report(Code::WrongType, pointer, message);
    }

    /// Notes all states before any is read, so that a transition that leaves its scope can be told from a misspelt one.
    fn collect_names(&mut self, machine: &'d Value, pointer: &str) {
        let Some(states) = machine.get("States").and_then(Value::as_object) else {
            return;
        };
        for (name, state) in states {
            let pointer = push(&format!("{pointer}/States"), name);
            if let Some(first) = self.names.get(name.as_str()) {
                let message = format!("there is a state `{name}` already, at `{first}`");
                let finding = Finding::new(Code::DuplicateStateName, pointer.clone(), message);
                self.findings
                    .push(finding.hint("names are unique over all branches and item processors"));
            } else {
                self.names.insert(name, pointer.clone());
            }
            let branches = state.get("Branches").and_then(Value::as_array);
            for (index, branch) in branches.into_iter().flatten().enumerate() {
                self.collect_names(branch, &format!("{pointer}/Branches/{index}"));
            }
            for field in ["ItemProcessor", "Iterator"] {
                if let Some(processor) = state.get(field) {
                    self.collect_names(processor, &format!("{pointer}/{field}"));
                }
            }
        }
    }

    /// The whole machine, a branch or an item processor.
    fn machine(&mut self, root: &'d Value, pointer: &str, outer: Option<Outer<'_>>) -> Option<Machine> {
        let Value::Object(map) = root else {
            let what = outer.map_or("a definition", |outer| outer.what);
            self.wrong_type(pointer, format!("{what} is an object, not {}", kind_of(root)));
            return None;
        };
        let mut fields = Fields::new(
            pointer,
            map,
            outer.map_or(QueryLanguage::JsonPath, |outer| outer.language),
        );
        self.machine_fields(&mut fields, outer)
    }

    fn machine_fields(&mut self, fields: &mut Fields<'d>, outer: Option<Outer<'_>>) -> Option<Machine> {
        let comment = fields.text(self, "Comment");
        let (mut version, mut timeout_seconds) = (None, None);
        if outer.is_none() {
            version = fields.text(self, "Version");
            if let Some(version) = version.as_deref().filter(|version| *version != "1.0") {
                let message = format!("the version of the language is `1.0`, not `{version}`");
                self.report(Code::InvalidValue, fields.at("Version"), message);
            }
            fields.language = self.query_language(fields, None).unwrap_or_default();
            timeout_seconds = fields.integer(self, "TimeoutSeconds", 1..=MAX_SECONDS);
        }
        let start_at = fields.required_text(self, "StartAt");
        let states = self.states(fields);
        fields.finish(self, outer.map_or("a state machine", |outer| outer.what));

        let states = states?;
        let at = fields.at("States");
        let mut checked = Vec::with_capacity(states.len());
        for (name, value) in states {
            let pointer = push(&at, name);
            self.state_name(&pointer, name);
            checked.extend(self.state(name, pointer, value, fields.language));
        }
        self.graph(&fields.pointer, start_at.as_deref(), states);
        let complete = checked.len() == states.len();
        let machine = Machine::new(fields.pointer.clone(), fields.language, &start_at?, checked);
        let mut machine = machine.filter(|_| complete)?;
        machine.comment = comment;
        machine.version = version;
        machine.timeout_seconds = timeout_seconds;
        Some(machine)
    }

    fn states(&mut self, fields: &mut Fields<'d>) -> Option<&'d Map<String, Value>> {
        let pointer = fields.at("States");
        match fields.get("States") {
            None => {
                self.report(
                    Code::MissingField,
                    &fields.pointer,
                    "the field `States` is missing",
                );
                None
            }
            Some(Value::Object(states)) if states.is_empty() => {
                self.report(Code::InvalidValue, pointer, "there must be at least one state");
                None
            }
            Some(Value::Object(states)) => Some(states),
            Some(other) => {
                self.wrong_type(pointer, format!("`States` is an object, not {}", kind_of(other)));
                None
            }
        }
    }

    fn state_name(&mut self, pointer: &str, name: &str) {
        let length = name.chars().count();
        if length == 0 {
            self.report(
                Code::InvalidStateName,
                pointer,
                "the name of a state must not be empty",
            );
        } else if length > MAX_NAME {
            let message = format!("the name of a state has at most {MAX_NAME} characters, this has {length}");
            self.report(Code::InvalidStateName, pointer, message);
        }
    }

    /// `QueryLanguage`; `outer` is that of the machine when a state has it.
    fn query_language(
        &mut self,
        fields: &mut Fields<'_>,
        outer: Option<QueryLanguage>,
    ) -> Option<QueryLanguage> {
        let pointer = fields.at("QueryLanguage");
        match (fields.text(self, "QueryLanguage").as_deref(), outer) {
            (None, outer) => outer,
            (Some("JSONPath"), Some(QueryLanguage::Jsonata)) => {
                let message = "a state of a JSONata machine cannot go back to JSONPath";
                let finding = Finding::new(Code::WrongQueryLanguage, pointer, message);
                self.findings.push(
                    finding.hint("a JSONPath machine can hold JSONata states, not the other way round"),
                );
                outer
            }
            (Some("JSONPath"), _) => Some(QueryLanguage::JsonPath),
            (Some("JSONata"), _) => Some(QueryLanguage::Jsonata),
            (Some(other), _) => {
                let message = format!("there is no query language `{other}`");
                let finding = Finding::new(Code::InvalidValue, pointer, message);
                self.findings
                    .push(finding.near(nearest(other, ["JSONPath", "JSONata"])));
                outer
            }
        }
    }
}

/// The states of a machine that a checker needs by index.
fn successors<'m>(machine: &'m Machine, state: &'m State) -> impl Iterator<Item = usize> + 'm {
    state
        .successors()
        .into_iter()
        .filter_map(|name| machine.position(name))
}
