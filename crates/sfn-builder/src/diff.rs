//! What differs between two machines, state by state.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use serde_json::{Map, Value, json};

use crate::asl::Document;
use crate::finding::push;

/// The fields that hold machines.
const INNER: [&str; 3] = ["Branches", "ItemProcessor", "Iterator"];
/// The fields that name a state.
const NAMES: [&str; 3] = ["Next", "Default", "StartAt"];

/// What differs between two definitions. States are compared by name, wherever they stand; the order of keys and of states
/// does not count.
///
/// ```
/// use sfn_builder::{Diff, Document};
///
/// let old = r#"{"StartAt": "Wait", "States": {"Wait": {"Type": "Wait", "Seconds": 5, "Next": "End"}, "End": {"Type": "Succeed"}}}"#;
/// let new = old.replace("5", "30").replace("\"End\"", "\"Done\"");
/// let diff = Diff::between(&Document::parse(old)?, &Document::parse(&new)?);
/// assert_eq!(
///     diff.to_string(),
///     "renamed state `End` to `Done`
/// changed state `Wait`
///   /States/Wait/Seconds: 5 -> 30
/// "
/// );
/// # Ok::<(), sfn_builder::InvalidDefinition>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Diff {
    /// What differs outside the states: comment, first state, query language and the like.
    pub machine: Vec<Difference>,
    /// What became of the states: first those removed, added and renamed, then those changed.
    pub states: Vec<StateChange>,
}

/// What became of a state.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum StateChange {
    /// Only the old machine has it.
    Removed {
        /// Its name.
        name: String,
        /// Where it stood.
        pointer: String,
    },
    /// Only the new machine has it.
    Added {
        /// Its name.
        name: String,
        /// Where it stands.
        pointer: String,
    },
    /// It has another name and is the same otherwise.
    Renamed {
        /// Its old name.
        from: String,
        /// Its new name.
        to: String,
        /// Where it stands now.
        pointer: String,
    },
    /// It differs, or has moved to another level.
    Changed {
        /// Its name.
        name: String,
        /// Where it stands now.
        pointer: String,
        /// Where it stood, when that was another branch, item processor or level.
        moved_from: Option<String>,
        /// What differs in it; the states inside it count for themselves.
        differences: Vec<Difference>,
    },
}

/// A value that differs.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Difference {
    /// Where it is in the new definition, or where it was in the old one: a JSON pointer.
    pub pointer: String,
    /// `None` when it is new.
    pub old: Option<Value>,
    /// `None` when it is gone.
    pub new: Option<Value>,
}

/// A state as it stands in a definition.
struct Entry<'a> {
    name: &'a str,
    pointer: String,
    /// The level that it belongs to, in names: branches may be reordered with the states they belong to.
    level: String,
    value: &'a Value,
}

impl Diff {
    /// Compares two definitions, checked or not.
    #[must_use]
    pub fn between(old: &Document, new: &Document) -> Self {
        let (old, new) = (old.as_value(), new.as_value());
        let (mut before, mut after) = (Vec::new(), Vec::new());
        collect(old, "", "", &mut before);
        collect(new, "", "", &mut after);
        let names_before: HashMap<&str, &Entry<'_>> =
            before.iter().map(|entry| (entry.name, entry)).collect();
        let names_after: HashMap<&str, &Entry<'_>> = after.iter().map(|entry| (entry.name, entry)).collect();
        let mut removed: Vec<&Entry<'_>> = before
            .iter()
            .filter(|entry| !names_after.contains_key(entry.name))
            .collect();
        let mut added: Vec<&Entry<'_>> = after
            .iter()
            .filter(|entry| !names_before.contains_key(entry.name))
            .collect();

        // A state that leads to a renamed one is the same under its new name, so names are looked for until none is found.
        let mut renamed: BTreeMap<&str, &str> = BTreeMap::new();
        let mut pairs: Vec<(&Entry<'_>, &Entry<'_>)> = Vec::new();
        loop {
            let known = renamed.len();
            removed.retain(|old| {
                let same = |new: &&Entry<'_>| {
                    let mut renamed = renamed.clone();
                    renamed.insert(old.name, new.name);
                    differences(old.value, new.value, "", &renamed).is_empty()
                        && inner_equal(old, new, &renamed)
                };
                let Some(at) = added.iter().position(same) else {
                    return true;
                };
                let new = added.remove(at);
                renamed.insert(old.name, new.name);
                pairs.push((old, new));
                false
            });
            if renamed.len() == known {
                break;
            }
        }

        let mut states: Vec<StateChange> = Vec::new();
        states.extend(removed.into_iter().map(|entry| StateChange::Removed {
            name: entry.name.to_owned(),
            pointer: entry.pointer.clone(),
        }));
        states.extend(added.into_iter().map(|entry| StateChange::Added {
            name: entry.name.to_owned(),
            pointer: entry.pointer.clone(),
        }));
        states.extend(pairs.into_iter().map(|(old, new)| StateChange::Renamed {
            from: old.name.to_owned(),
            to: new.name.to_owned(),
            pointer: new.pointer.clone(),
        }));
        for entry in &after {
            let Some(old) = names_before.get(entry.name) else {
                continue;
            };
            let differences = differences(old.value, entry.value, &entry.pointer, &renamed);
            let level = old
                .level
                .split('/')
                .map(|name| renamed.get(name).copied().unwrap_or(name));
            let moved = level.collect::<Vec<_>>().join("/") != entry.level;
            if moved || !differences.is_empty() {
                states.push(StateChange::Changed {
                    name: entry.name.to_owned(),
                    pointer: entry.pointer.clone(),
                    moved_from: moved.then(|| old.pointer.clone()),
                    differences,
                });
            }
        }
        Self {
            machine: differences(old, new, "", &renamed),
            states,
        }
    }

    /// Whether the two are the same.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.machine.is_empty() && self.states.is_empty()
    }

    /// The diff as JSON: `{"version": 1, "machine": […], "states": […]}`.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let list = |differences: &[Difference]| -> Value {
            differences
                .iter()
                .map(|difference| {
                    let mut entry = Map::new();
                    entry.insert("pointer".into(), difference.pointer.clone().into());
                    entry.extend(difference.old.clone().map(|old| ("old".to_owned(), old)));
                    entry.extend(difference.new.clone().map(|new| ("new".to_owned(), new)));
                    Value::Object(entry)
                })
                .collect()
        };
        let states: Vec<Value> = self
            .states
            .iter()
            .map(|change| match change {
                StateChange::Removed { name, pointer } => {
                    json!({"change": "removed", "name": name, "pointer": pointer})
                }
                StateChange::Added { name, pointer } => {
                    json!({"change": "added", "name": name, "pointer": pointer})
                }
                StateChange::Renamed { from, to, pointer } => {
                    json!({"change": "renamed", "from": from, "name": to, "pointer": pointer})
                }
                StateChange::Changed {
                    name,
                    pointer,
                    moved_from,
                    differences,
                } => json!({
                    "change": "changed",
                    "name": name,
                    "pointer": pointer,
                    "moved_from": moved_from,
                    "differences": list(differences),
                }),
            })
            .collect();
        json!({"version": 1, "machine": list(&self.machine), "states": states})
    }
}

/// One line for each change, and for each value that differs.
impl fmt::Display for Diff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, differences: &[Difference]| {
            differences
                .iter()
                .try_for_each(|difference| writeln!(f, "  {difference}"))
        };
        if !self.machine.is_empty() {
            writeln!(f, "changed machine")?;
            list(f, &self.machine)?;
        }
        for change in &self.states {
            match change {
                StateChange::Removed { name, .. } => writeln!(f, "removed state `{name}`")?,
                StateChange::Added { name, .. } => writeln!(f, "added state `{name}`")?,
                StateChange::Renamed { from, to, .. } => writeln!(f, "renamed state `{from}` to `{to}`")?,
                StateChange::Changed {
                    name,
                    pointer,
                    moved_from,
                    differences,
                } => {
                    match moved_from {
                        Some(from) => writeln!(f, "changed state `{name}`, moved from {from} to {pointer}")?,
                        None => writeln!(f, "changed state `{name}`")?,
                    }
                    list(f, differences)?;
                }
            }
        }
        Ok(())
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |value: &Option<Value>| value.as_ref().map_or("(none)".to_owned(), ToString::to_string);
        write!(f, "{}: {} -> {}", self.pointer, text(&self.old), text(&self.new))
    }
}

/// All states of a machine and of those inside it.
fn collect<'a>(machine: &'a Value, pointer: &str, level: &str, into: &mut Vec<Entry<'a>>) {
    let Some(states) = machine.get("States").and_then(Value::as_object) else {
        return;
    };
    for (name, state) in states {
        let pointer = push(&push(pointer, "States"), name);
        into.push(Entry {
            name,
            pointer: pointer.clone(),
            level: level.to_owned(),
            value: state,
        });
        for (field, machine, inner) in machines(state, &pointer) {
            collect(machine, &inner, &format!("{level}/{name}/{field}"), into);
        }
    }
}

/// The machines inside a state, with what tells them apart and their pointers.
fn machines<'a>(state: &'a Value, pointer: &str) -> Vec<(String, &'a Value, String)> {
    let mut machines = Vec::new();
    for field in INNER {
        let here = push(pointer, field);
        match state.get(field) {
            Some(Value::Array(branches)) => {
                machines.extend(
                    branches
                        .iter()
                        .enumerate()
                        .map(|(at, branch)| (at.to_string(), branch, format!("{here}/{at}"))),
                );
            }
            // An `Iterator` that becomes an `ItemProcessor` moves no state.
            Some(machine) => machines.push(("each".to_owned(), machine, here)),
            None => {}
        }
    }
    machines
}

/// Whether the states inside two states are the same too.
fn inner_equal(old: &Entry<'_>, new: &Entry<'_>, renamed: &BTreeMap<&str, &str>) -> bool {
    let (mut before, mut after) = (Vec::new(), Vec::new());
    for (into, entry) in [(&mut before, old), (&mut after, new)] {
        for (field, machine, pointer) in machines(entry.value, "") {
            collect(machine, &pointer, &field, into);
        }
    }
    before.len() == after.len()
        && before.iter().all(|old| {
            let new = after
                .iter()
                .find(|new| new.name == old.name && new.level == old.level);
            new.is_some_and(|new| differences(old.value, new.value, "", renamed).is_empty())
        })
}

/// What differs in two values, but for the states inside them.
fn differences(old: &Value, new: &Value, pointer: &str, renamed: &BTreeMap<&str, &str>) -> Vec<Difference> {
    let mut found = Vec::new();
    compare(Some(old), Some(new), pointer, None, renamed, &mut found);
    found
}

fn compare(
    old: Option<&Value>,
    new: Option<&Value>,
    pointer: &str,
    field: Option<&str>,
    renamed: &BTreeMap<&str, &str>,
    found: &mut Vec<Difference>,
) {
    match (old, new) {
        (Some(Value::Object(old)), Some(Value::Object(new))) => {
            // The states of a machine are told from a field of the same name by what stands beside them.
            let machine = |map: &Map<String, Value>| map.contains_key("StartAt") || !map.contains_key("Type");
            let states = |key: &str| key == "States" && machine(old) && machine(new);
            for (key, value) in old.iter().filter(|(key, _)| !states(key)) {
                compare(
                    Some(value),
                    new.get(key),
                    &push(pointer, key),
                    Some(key),
                    renamed,
                    found,
                );
            }
            for (key, value) in new
                .iter()
                .filter(|(key, _)| !states(key) && !old.contains_key(*key))
            {
                compare(None, Some(value), &push(pointer, key), Some(key), renamed, found);
            }
        }
        (Some(Value::Array(old)), Some(Value::Array(new))) => {
            for at in 0..old.len().max(new.len()) {
                compare(
                    old.get(at),
                    new.get(at),
                    &format!("{pointer}/{at}"),
                    None,
                    renamed,
                    found,
                );
            }
        }
        (Some(Value::String(old)), Some(Value::String(new)))
            if field.is_some_and(|field| NAMES.contains(&field))
                && renamed.get(old.as_str()).is_some_and(|name| name == new) => {}
        (old, new) if old == new => {}
        (old, new) => found.push(Difference {
            pointer: pointer.to_owned(),
            old: old.cloned(),
            new: new.cloned(),
        }),
    }
}
