//! From JSON to a checked machine: every problem at once.

mod at;
mod choice;
mod context;
mod data;
mod fields;
mod graph;
mod map;
mod resource;
mod results;
mod state;
mod variables;

use foldhash::{HashMap, HashMapExt, HashSet, HashSetExt};
use serde_json::{Map, Value};

use self::at::At;
use self::fields::{EMPTY, Fields, kind_of, one_of};
use crate::checked::{Machine, QueryLanguage};
use crate::finding::{Code, Finding, Severity, nearest, push};
use crate::jsonata::Jsonata;
use crate::path::Path;
use crate::source::{MAX_DEPTH, nests_deeper};

/// The longest time the service counts, in seconds.
const MAX_SECONDS: u64 = 99_999_999;
/// How many names are compared with misspelt ones, in all.
const MAX_COMPARISONS: usize = 500_000;
/// The longest name of a state or a variable, in characters.
const MAX_NAME: usize = 80;

/// Checks a definition. Without errors among the findings there is a machine. What was `built` rather than read may nest
/// without end.
pub(crate) fn check(root: &Value, found: Vec<Finding>, built: bool) -> (Option<Machine>, Vec<Finding>) {
    let mut checker = Checker {
        root,
        findings: found,
        names: HashSet::with_capacity(root["States"].as_object().map_or(0, Map::len)),
        places: None,
        comparisons: MAX_COMPARISONS,
        labels: HashMap::new(),
        paths: HashMap::new(),
        expressions: HashMap::new(),
    };
    // Nothing below goes deeper than this.
    if built && deeper_than(root, MAX_DEPTH) {
        checker.report(Code::TooDeeplyNested, "", nests_deeper());
        return (None, checker.findings);
    }
    checker.collect_names(root, At::Pointer(""));
    let machine = checker.machine(root, At::Pointer(""), None);
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
    root: &'d Value,
    findings: Vec<Finding>,
    /// Every state's name, over all levels.
    names: HashSet<&'d str>,
    /// Where each of them stands first; made when it is asked for.
    places: Option<HashMap<&'d str, String>>,
    /// How many more names are compared with misspelt ones: enough for any definition but a hostile one.
    comparisons: usize,
    /// Where each label stands.
    labels: HashMap<String, String>,
    /// Paths and expressions by their texts: most come again, and share what was read of them.
    paths: HashMap<&'d str, Path>,
    expressions: HashMap<&'d str, Jsonata>,
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
    fn collect_names(&mut self, machine: &'d Value, at: At<'_>) {
        each_state(machine, at, &mut |name, at| {
            if !self.names.insert(name) {
                let first = self.place_of(name);
                let message = format!("there is a state `{name}` already, at `{first}`");
                let finding = Finding::new(Code::DuplicateStateName, at, message);
                self.findings
                    .push(finding.hint("names are unique over all branches and item processors"));
            }
        });
    }

    /// Where the first state of this name stands.
    fn place_of(&mut self, name: &str) -> String {
        let root = self.root;
        let places = self.places.get_or_insert_with(|| {
            let mut places = HashMap::new();
            each_state(root, At::Pointer(""), &mut |name, at| {
                places.entry(name).or_insert_with(|| at.pointer());
            });
            places
        });
        places.get(name).cloned().unwrap_or_default()
    }

    /// The whole machine, a branch or an item processor.
    fn machine(&mut self, root: &'d Value, here: At<'_>, outer: Option<Outer<'_>>) -> Option<Machine> {
        let Value::Object(map) = root else {
            let what = outer.map_or("a definition", |outer| outer.what);
            self.wrong_type(here, format!("{what} is an object, not {}", kind_of(root)));
            return None;
        };
        let mut fields = Fields::new(
            &here,
            map,
            outer.map_or(QueryLanguage::JsonPath, |outer| outer.language),
        );
        self.machine_fields(&mut fields, outer)
    }

    fn machine_fields(&mut self, fields: &mut Fields<'d, '_>, outer: Option<Outer<'_>>) -> Option<Machine> {
        let comment = fields.text(self, "Comment").map(str::to_owned);
        let (mut version, mut timeout_seconds) = (None, None);
        if outer.is_none() {
            version = fields.text(self, "Version");
            if let Some(version) = version.filter(|version| *version != "1.0") {
                let message = format!("the version of the language is `1.0`, not `{version}`");
                let finding = Finding::new(Code::InvalidValue, fields.at("Version"), message);
                self.findings.push(finding.said(one_of(&["1.0"])));
            }
            fields.language = self.query_language(fields, None).unwrap_or_default();
            timeout_seconds = fields.integer(self, "TimeoutSeconds", 1..=MAX_SECONDS);
        }
        let start_at = fields.required_text(self, "StartAt");
        let states = self.states(fields);
        fields.finish(self, outer.map_or("a state machine", |outer| outer.what));

        let states = states?;
        let at = fields.at("States");
        let pointer = at.pointer();
        let mut checked = Vec::with_capacity(states.len());
        for (name, value) in states {
            self.state_name(At::Key(&at, name), name);
            checked.extend(self.state(name, push(&pointer, name), value, fields.language));
        }
        let names = self.graph(*fields.here, start_at, states, outer.is_none())?;
        if checked.len() < states.len() {
            return None;
        }
        let mut machine = Machine::new(fields.here.pointer(), fields.language, start_at?, checked, names)?;
        machine.comment = comment;
        machine.version = version.map(str::to_owned);
        machine.timeout_seconds = timeout_seconds;
        Some(machine)
    }

    fn states(&mut self, fields: &mut Fields<'d, '_>) -> Option<&'d Map<String, Value>> {
        let pointer = fields.at("States");
        match fields.get("States") {
            None => {
                self.report(Code::MissingField, *fields.here, "the field `States` is missing");
                None
            }
            Some(Value::Object(states)) if states.is_empty() => {
                let finding = Finding::new(Code::InvalidValue, pointer, "there must be at least one state");
                self.findings.push(finding.said(EMPTY));
                None
            }
            Some(Value::Object(states)) => Some(states),
            Some(other) => {
                self.wrong_type(pointer, format!("`States` is an object, not {}", kind_of(other)));
                None
            }
        }
    }

    fn state_name(&mut self, pointer: At<'_>, name: &str) {
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
        fields: &mut Fields<'_, '_>,
        outer: Option<QueryLanguage>,
    ) -> Option<QueryLanguage> {
        let pointer = fields.at("QueryLanguage");
        match (fields.text(self, "QueryLanguage"), outer) {
            (None, outer) => outer,
            (Some("JSONPath"), Some(QueryLanguage::Jsonata)) => {
                let message = "a state of a JSONata machine cannot go back to JSONPath";
                let finding = Finding::new(Code::WrongQueryLanguage, pointer, message);
                self.findings.push(
                    finding.hint("a JSONPath machine can hold JSONata states, not the other way round"),
                );
                // Its fields are judged by what it says, so that this is said once.
                Some(QueryLanguage::JsonPath)
            }
            (Some("JSONPath"), _) => Some(QueryLanguage::JsonPath),
            (Some("JSONata"), _) => Some(QueryLanguage::Jsonata),
            (Some(other), _) => {
                let message = format!("there is no query language `{other}`");
                let finding = Finding::new(Code::InvalidValue, pointer, message);
                self.findings.push(
                    finding
                        .near(nearest(other, ["JSONPath", "JSONata"]))
                        .said(one_of(&["JSONPath", "JSONata"])),
                );
                if other.eq_ignore_ascii_case("JSONata") {
                    Some(QueryLanguage::Jsonata)
                } else {
                    outer
                }
            }
        }
    }
}

/// Visits every state of a machine and of the machines in it, with its name and place.
fn each_state<'d>(machine: &'d Value, at: At<'_>, visit: &mut impl FnMut(&'d str, At<'_>)) {
    let Some(states) = machine.get("States").and_then(Value::as_object) else {
        return;
    };
    let at = At::Key(&at, "States");
    for (name, state) in states {
        let at = At::Key(&at, name);
        visit(name, at);
        // Every other type has nothing in it, and few have any of these fields.
        for (field, value) in state.as_object().into_iter().flatten() {
            match (field.as_str(), value) {
                ("Branches", Value::Array(branches)) => {
                    let at = At::Key(&at, field);
                    for (index, branch) in branches.iter().enumerate() {
                        each_state(branch, At::Item(&at, index), visit);
                    }
                }
                ("ItemProcessor" | "Iterator", processor) => {
                    each_state(processor, At::Key(&at, field), visit);
                }
                _ => {}
            }
        }
    }
}
