//! Names that lead nowhere, states that nothing leads to, machines that cannot end.

use serde_json::{Map, Value};

use super::Checker;
use super::at::At;
use crate::finding::{Code, Finding, nearest};
use crate::names::Names;

impl Checker<'_> {
    /// Works on the raw JSON, so that a problem inside a state does not hide one of the graph, or invent one. Returns the
    /// index of the states' names; `None` when they are more than there is memory for.
    pub(super) fn graph(
        &mut self,
        here: At<'_>,
        start_at: Option<&str>,
        states: &Map<String, Value>,
        outermost: bool,
    ) -> Option<Names> {
        let at = At::Key(&here, "States");
        let list: Vec<&str> = states.keys().map(String::as_str).collect();
        let index = Index {
            names: Names::new(&list)?,
            list: &list,
        };
        let start = start_at.map(|start_at| {
            let place = At::Key(&here, "StartAt");
            self.resolve(&index, start_at, place, "StartAt")
        });
        // The states that each leads to, in one list; those of a state end where the next state's begin.
        let mut targets: Vec<usize> = Vec::with_capacity(states.len());
        let mut ends: Vec<usize> = Vec::with_capacity(states.len());
        // Whether it cannot be told where a state leads: what is wrong with it is said elsewhere.
        let mut unsure: Vec<bool> = Vec::with_capacity(states.len());
        // Whether a state ends the machine, or might if it were put right.
        let mut terminal = false;
        for (name, state) in states {
            let ways = Ways::of(state);
            let at = At::Key(&at, name);
            for (field, target) in [("Next", ways.next), ("Default", ways.default)] {
                if let Some(target) = target.and_then(Value::as_str) {
                    targets.extend(self.resolve(&index, target, At::Key(&at, field), field));
                }
            }
            for (field, entries) in [("Choices", ways.choices), ("Catch", ways.catch)] {
                let entries = entries.and_then(Value::as_array).into_iter().flatten();
                for (number, entry) in entries.enumerate() {
                    if let Some(target) = entry.get("Next").and_then(Value::as_str) {
                        let list = At::Key(&at, field);
                        let entry = At::Item(&list, number);
                        targets.extend(self.resolve(&index, target, At::Key(&entry, "Next"), "Next"));
                    }
                }
            }
            ends.push(targets.len());
            unsure.push(ways.are_unsure());
            terminal |= match ways.kind.and_then(Value::as_str) {
                Some("Task" | "Pass" | "Wait" | "Parallel" | "Map") => {
                    ways.end.is_some() || ways.next.is_none()
                }
                Some("Choice") => false,
                _ => true,
            };
        }
        if !terminal {
            let needs = "one must have `\"End\": true` or be of type Succeed or Fail";
            let (code, what) = if outermost {
                (Code::NoTerminalState, "the machine")
            } else {
                (Code::EndlessBranch, "what is in here")
            };
            self.report(code, at, format!("no state ends {what}: {needs}"));
        }
        // Without a start nothing is reachable, which helps nobody.
        let (Some(start_at), Some(Some(start))) = (start_at, start) else {
            return Some(index.names);
        };
        let mut reached = vec![false; states.len()];
        let mut open = vec![start];
        while let Some(state) = open.pop() {
            if !std::mem::replace(&mut reached[state], true) {
                if unsure[state] {
                    return Some(index.names);
                }
                let begin = if state == 0 { 0 } else { ends[state - 1] };
                open.extend_from_slice(&targets[begin..ends[state]]);
            }
        }
        for (name, _) in list.iter().zip(&reached).filter(|(_, reached)| !**reached) {
            let start = list.get(start).unwrap_or(&start_at);
            let message = format!("no path leads from `{start}` to the state `{name}`");
            self.report(Code::UnreachableState, At::Key(&at, name), message);
        }
        Some(index.names)
    }

    /// The state that is meant; reports when there is no such state.
    fn resolve(&mut self, index: &Index<'_>, target: &str, at: At<'_>, field: &str) -> Option<usize> {
        if let Some(found) = index.get(target) {
            return Some(found);
        }
        if self.names.contains(target) {
            let message = format!("`{field}` names the state `{target}`, which belongs to another scope");
            let finding = Finding::new(Code::TransitionOutOfScope, at, message).said(missing(target)).hint(format!(
                "it stands at `{}`; branches and item processors are neither entered nor left by a transition",
                self.place_of(target)
            ));
            self.findings.push(finding);
            return None;
        }
        let near = self.nearest_state(target, index);
        let message = format!("`{field}` names the state `{target}`, which does not exist");
        let finding = Finding::new(Code::MissingTransitionTarget, at, message).said(missing(target));
        self.findings.push(finding.near(near.clone()));
        near.and_then(|near| index.get(&near))
    }
}

/// So the service says it, whichever the field is.
fn missing(target: &str) -> String {
    format!("Missing 'Next' target: {target}")
}

impl Checker<'_> {
    fn nearest_state(&mut self, target: &str, index: &Index<'_>) -> Option<String> {
        self.comparisons = self.comparisons.checked_sub(index.list.len())?;
        nearest(target, index.list.iter().copied())
    }
}

/// The states of a machine.
struct Index<'a> {
    names: Names,
    list: &'a [&'a str],
}

impl Index<'_> {
    fn get(&self, name: &str) -> Option<usize> {
        self.names.find(name, |index| self.list[index])
    }
}

/// The fields of a state that say what follows.
#[derive(Default)]
struct Ways<'d> {
    kind: Option<&'d Value>,
    next: Option<&'d Value>,
    end: Option<&'d Value>,
    default: Option<&'d Value>,
    choices: Option<&'d Value>,
    catch: Option<&'d Value>,
}

impl<'d> Ways<'d> {
    /// Whether something that names a state, or should, is no name.
    fn are_unsure(&self) -> bool {
        let no_text = |value: Option<&Value>| value.is_some_and(|value| !value.is_string());
        let no_names = |list: Option<&Value>| {
            list.is_some_and(|list| {
                let names = |entry: &Value| entry.get("Next").is_some_and(Value::is_string);
                !list.as_array().is_some_and(|entries| entries.iter().all(names))
            })
        };
        let missing = match self.kind.and_then(Value::as_str) {
            Some("Task" | "Pass" | "Wait" | "Parallel" | "Map") => self.next.is_none() && self.end.is_none(),
            Some("Choice") => self.choices.and_then(Value::as_array).is_none_or(Vec::is_empty),
            Some("Succeed" | "Fail") => false,
            _ => true,
        };
        missing
            || no_text(self.next)
            || no_text(self.default)
            || no_names(self.choices)
            || no_names(self.catch)
    }

    fn of(state: &'d Value) -> Self {
        let mut ways = Self::default();
        for (key, value) in state.as_object().into_iter().flatten() {
            let way = match key.as_str() {
                "Type" => &mut ways.kind,
                "Next" => &mut ways.next,
                "End" => &mut ways.end,
                "Default" => &mut ways.default,
                "Choices" => &mut ways.choices,
                "Catch" => &mut ways.catch,
                _ => continue,
            };
            *way = Some(value);
        }
        ways
    }
}
