//! Names that lead nowhere, states that nothing leads to, machines that cannot end.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use super::Checker;
use crate::finding::{Code, Finding, nearest, push};

impl Checker<'_> {
    /// Works on the raw JSON, so that a problem inside a state does not hide one of the graph, or invent one.
    pub(super) fn graph(&mut self, pointer: &str, start_at: Option<&str>, states: &Map<String, Value>) {
        let at = format!("{pointer}/States");
        let start =
            start_at.map(|start_at| self.resolve(states, start_at, format!("{pointer}/StartAt"), "StartAt"));
        let mut edges: HashMap<&str, Vec<Cow<'_, str>>> = HashMap::with_capacity(states.len());
        // Whether a state ends the machine, or might if it were put right.
        let mut terminal = false;
        for (name, state) in states {
            let targets = edges.entry(name).or_default();
            for (place, target) in targets_of(state) {
                if states.contains_key(target) {
                    targets.push(target.into());
                } else {
                    let pointer = format!("{}{}", push(&at, name), place.pointer());
                    let meant = self.resolve(states, target, pointer, place.field());
                    targets.extend(meant.map(Cow::from));
                }
            }
            let kind = state.get("Type").and_then(Value::as_str);
            terminal |= match kind {
                Some("Task" | "Pass" | "Wait" | "Parallel" | "Map") => {
                    state.get("End").is_some() || state.get("Next").is_none()
                }
                Some("Choice") => false,
                _ => true,
            };
        }
        if !terminal {
            let message =
                "no state ends the machine: one must have `\"End\": true` or be of type Succeed or Fail";
            self.report(Code::NoTerminalState, at.clone(), message);
        }
        // Without a start nothing is reachable, which helps nobody.
        let Some(Some(start)) = start else { return };
        let mut reached: HashSet<&str> = HashSet::with_capacity(states.len());
        let mut open: Vec<&str> = vec![start.as_str()];
        while let Some(name) = open.pop() {
            if reached.insert(name) {
                open.extend(edges.get(name).into_iter().flatten().map(AsRef::as_ref));
            }
        }
        for name in states.keys().filter(|name| !reached.contains(name.as_str())) {
            let message = format!("no path leads from `{start}` to the state `{name}`");
            self.report(Code::UnreachableState, push(&at, name), message);
        }
    }

    /// The state that is meant; reports when there is no such state.
    fn resolve(
        &mut self,
        states: &Map<String, Value>,
        target: &str,
        pointer: String,
        field: &str,
    ) -> Option<String> {
        if states.contains_key(target) {
            return Some(target.to_owned());
        }
        if let Some(elsewhere) = self.names.get(target) {
            let message = format!("`{field}` names the state `{target}`, which belongs to another scope");
            let finding = Finding::new(Code::TransitionOutOfScope, pointer, message).hint(format!(
                "it stands at `{elsewhere}`; branches and item processors are neither entered nor left by a transition"
            ));
            self.findings.push(finding);
            return None;
        }
        let near = nearest(target, states.keys().map(String::as_str));
        let message = format!("`{field}` names the state `{target}`, which does not exist");
        let finding = Finding::new(Code::MissingTransitionTarget, pointer, message);
        self.findings.push(finding.near(near.clone()));
        near
    }
}

/// Where a state names another.
#[derive(Clone, Copy)]
enum Place {
    Field(&'static str),
    Entry(&'static str, usize),
}

impl Place {
    fn field(self) -> &'static str {
        match self {
            Self::Field(field) => field,
            Self::Entry(..) => "Next",
        }
    }

    /// Below the state.
    fn pointer(self) -> String {
        match self {
            Self::Field(field) => format!("/{field}"),
            Self::Entry(list, index) => format!("/{list}/{index}/Next"),
        }
    }
}

/// Everything that names another state, with the name.
fn targets_of(state: &Value) -> impl Iterator<Item = (Place, &str)> {
    let fields = ["Next", "Default"].into_iter().filter_map(|field| {
        let target = state.get(field)?.as_str()?;
        Some((Place::Field(field), target))
    });
    let entries = ["Choices", "Catch"].into_iter().flat_map(|list| {
        let entries = state.get(list).and_then(Value::as_array).into_iter().flatten();
        entries.enumerate().filter_map(move |(index, entry)| {
            let target = entry.get("Next")?.as_str()?;
            Some((Place::Entry(list, index), target))
        })
    });
    fields.chain(entries)
}
