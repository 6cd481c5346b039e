//! Pieces of machines as values.

use std::collections::HashSet;

use serde_json::map::Entry;
use serde_json::{Map, Value};

use super::State;
use crate::finding::{Code, Finding, escape, push};
use crate::machine::{MachineBuilder, StateMachine};

/// A piece of a machine, to be chained, nested and used again: named states, the first of which is its start.
///
/// Its *open ends* are the states that say neither `next` nor `end`; [`then`](Self::then) leads them on, and where the
/// fragment becomes a machine, a branch or an item processor, they end it.
///
/// States Language, section "Transitions".
///
/// ```
/// use sfn_builder::{Choice, Condition, Pass, Wait};
///
/// let pause = Wait::seconds(5).named("Pause");
/// let branch = Choice::new()
///     .when(Condition::is_present("$.fast", true), "Short")
///     .default("Long")
///     .named("Which?")
///     .with(Pass::new().named("Short"))
///     .with(Pass::new().named("Long").then(pause.clone()));
/// // Both ways lead on to the end; `pause` comes twice, under another name.
/// let machine = branch.then(pause.prefixed("Last ")).into_machine().build()?;
///
/// for name in ["Short", "Pause"] {
///     assert_eq!(machine.state(name).unwrap().successors(), ["Last Pause"]);
/// }
/// # Ok::<(), sfn_builder::InvalidDefinition>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub struct Fragment {
    start_at: String,
    states: Vec<(String, State)>,
}

impl Fragment {
    /// One state.
    pub fn new(name: impl Into<String>, state: impl Into<State>) -> Self {
        let name = name.into();
        Self {
            start_at: name.clone(),
            states: vec![(name, state.into())],
        }
    }

    /// Adds a state that others name; it may be an open end.
    ///
    /// States Language, section "Transitions".
    pub fn state(self, name: impl Into<String>, state: impl Into<State>) -> Self {
        self.with(Self::new(name, state))
    }

    /// Adds states that others name. Their open ends are open ends of the whole.
    ///
    /// States Language, section "Transitions".
    pub fn with(mut self, other: impl Into<Self>) -> Self {
        self.states.extend(other.into().states);
        self
    }

    /// Leads every open end on to the start of another fragment, whose open ends are then those of the whole.
    ///
    /// States Language, section "Transitions".
    pub fn then(self, other: impl Into<Self>) -> Self {
        let other = other.into();
        let mut whole = self.then_to(other.start_at);
        whole.states.extend(other.states);
        whole
    }

    /// Leads every open end on to the state of this name.
    ///
    /// States Language, section "Transitions".
    pub fn then_to(mut self, name: impl Into<String>) -> Self {
        let name = name.into();
        self.close("Next", &name.into());
        self
    }

    /// The same states under other names, so that a fragment can be used twice: the names of a machine are unique over all
    /// its levels. Transitions to states outside stay as they are.
    pub fn prefixed(mut self, prefix: &str) -> Self {
        let mut names = HashSet::new();
        for (name, state) in &self.states {
            names.insert(name.clone());
            inner_names(&state.fields, &mut names);
        }
        let renaming = Renaming { names, prefix };
        self.start_at = renaming.name(&self.start_at);
        for (name, state) in &mut self.states {
            *name = renaming.name(name);
            renaming.state(&mut state.fields);
            for finding in &mut state.found {
                finding.pointer = renaming.pointer(&finding.pointer);
            }
        }
        self
    }

    /// The name of its first state.
    #[must_use]
    pub fn start_at(&self) -> &str {
        &self.start_at
    }

    /// The names of its states, without those of branches and item processors.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.states.iter().map(|(name, _)| name.as_str())
    }

    /// A machine of it; its open ends end it.
    pub fn into_machine(self) -> MachineBuilder {
        StateMachine::builder(self.start_at.clone()).fragment(self)
    }

    /// The states, with no end open.
    pub(crate) fn into_states(mut self) -> Vec<(String, State)> {
        self.close("End", &Value::Bool(true));
        self.states
    }

    /// As a branch or an item processor, with what JSON cannot hold.
    pub(super) fn into_json(self) -> (Value, Vec<Finding>) {
        let mut root = Map::new();
        root.insert("StartAt".into(), self.start_at.clone().into());
        let (states, found) = states_to_json(self.into_states());
        root.insert("States".into(), states.into());
        (root.into(), found)
    }

    fn close(&mut self, field: &str, value: &Value) {
        for (_, state) in &mut self.states {
            let kind = state.fields.get("Type").and_then(Value::as_str);
            let leads = matches!(kind, Some("Task" | "Pass" | "Wait" | "Parallel" | "Map"));
            let open = !state.fields.contains_key("Next") && !state.fields.contains_key("End");
            if leads && open {
                state.fields.insert(field.to_owned(), value.clone());
            }
        }
    }
}

/// The value of `States`, and what it cannot hold; pointers begin at the machine.
pub(crate) fn states_to_json(states: Vec<(String, State)>) -> (Map<String, Value>, Vec<Finding>) {
    let mut map = Map::with_capacity(states.len());
    let mut found = Vec::new();
    for (name, state) in states {
        let entry = map.entry(name);
        let name = entry.key();
        if matches!(entry, Entry::Occupied(_)) {
            let message = format!("two states have the name `{name}`");
            found.push(Finding::new(
                Code::DuplicateStateName,
                push("/States", name),
                message,
            ));
        }
        found.extend(state.found.into_iter().map(|mut finding| {
            finding.pointer = format!("{}{}", push("/States", name), finding.pointer);
            finding
        }));
        let fields = Value::Object(state.fields);
        match entry {
            Entry::Vacant(entry) => {
                entry.insert(fields);
            }
            // Of two the last counts, as in JSON.
            Entry::Occupied(mut entry) => {
                entry.insert(fields);
            }
        }
    }
    (map, found)
}

/// The names of all states inside a state.
fn inner_names(state: &Map<String, Value>, names: &mut HashSet<String>) {
    let branches = state.get("Branches").and_then(Value::as_array);
    let processors = ["ItemProcessor", "Iterator"]
        .into_iter()
        .filter_map(|field| state.get(field));
    let machines = branches.into_iter().flatten().chain(processors);
    for states in machines.filter_map(|machine| machine.get("States")?.as_object()) {
        for (name, state) in states {
            names.insert(name.clone());
            state
                .as_object()
                .into_iter()
                .for_each(|state| inner_names(state, names));
        }
    }
}

struct Renaming<'p> {
    names: HashSet<String>,
    prefix: &'p str,
}

impl Renaming<'_> {
    fn name(&self, name: &str) -> String {
        if self.names.contains(name) {
            format!("{}{name}", self.prefix)
        } else {
            name.to_owned()
        }
    }

    fn field(&self, map: &mut Map<String, Value>, field: &str) {
        if let Some(Value::String(name)) = map.get_mut(field) {
            *name = self.name(name);
        }
    }

    fn state(&self, state: &mut Map<String, Value>) {
        for field in ["Next", "Default"] {
            self.field(state, field);
        }
        for list in ["Choices", "Catch"] {
            let entries = state.get_mut(list).and_then(Value::as_array_mut);
            for entry in entries.into_iter().flatten().filter_map(Value::as_object_mut) {
                self.field(entry, "Next");
            }
        }
        let branches = state.get_mut("Branches").and_then(Value::as_array_mut);
        branches
            .into_iter()
            .flatten()
            .for_each(|machine| self.machine(machine));
        for field in ["ItemProcessor", "Iterator"] {
            if let Some(machine) = state.get_mut(field) {
                self.machine(machine);
            }
        }
    }

    fn machine(&self, machine: &mut Value) {
        let Value::Object(machine) = machine else { return };
        self.field(machine, "StartAt");
        if let Some(Value::Object(states)) = machine.get_mut("States") {
            *states = std::mem::take(states)
                .into_iter()
                .map(|(name, mut state)| {
                    if let Value::Object(state) = &mut state {
                        self.state(state);
                    }
                    (self.name(&name), state)
                })
                .collect();
        }
    }

    /// The token after each `States` is a name.
    fn pointer(&self, pointer: &str) -> String {
        let mut after = "";
        let tokens = pointer.split('/').map(|token| {
            let name = token.replace("~1", "/").replace("~0", "~");
            let renamed = (after == "States").then(|| self.name(&name));
            // A state may itself have the name `States`.
            after = if renamed.is_some() { "" } else { token };
            renamed.map_or_else(|| token.to_owned(), |name| escape(&name).into_owned())
        });
        tokens.collect::<Vec<_>>().join("/")
    }
}
