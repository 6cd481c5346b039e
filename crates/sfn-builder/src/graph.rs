//! Nodes and edges of a machine, as every picture needs them.

use crate::checked::{Condition, Machine, Operand, Property, Relation, State, StateKind, Test, Transition};

/// What an edge stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EdgeKind {
    /// `Next`.
    Next,
    /// A rule of a Choice state.
    Rule,
    /// The `Default` of a Choice state.
    Default,
    /// A catcher.
    Catch,
}

/// A way from one state to another; the numbers are indices into the machine's states.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Edge {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) kind: EdgeKind,
    pub(crate) label: Option<String>,
}

/// All edges, in the order of the definition.
pub(crate) fn edges(machine: &Machine) -> Vec<Edge> {
    let mut edges = Vec::new();
    for (from, state) in machine.states().iter().enumerate() {
        let mut add = |to: &str, kind: EdgeKind, label: Option<String>| {
            // The check has resolved every name.
            if let Some(to) = machine.position(to) {
                edges.push(Edge {
                    from,
                    to,
                    kind,
                    label,
                });
            }
        };
        if let Some(Transition::Next(next)) = state.transition() {
            add(next, EdgeKind::Next, None);
        }
        if let StateKind::Choice(choice) = &state.kind {
            for rule in &choice.rules {
                add(&rule.next, EdgeKind::Rule, Some(describe(&rule.condition)));
            }
            if let Some(default) = &choice.default {
                add(default, EdgeKind::Default, Some("default".into()));
            }
        }
        for catcher in state.catch() {
            add(
                &catcher.next,
                EdgeKind::Catch,
                Some(catcher.error_equals.join(", ")),
            );
        }
    }
    edges
}

/// Whether the machine can end well in this state.
pub(crate) fn ends(state: &State) -> bool {
    matches!(state.kind, StateKind::Succeed) || state.transition() == Some(&Transition::End)
}

/// A condition in a few words.
pub(crate) fn describe(condition: &Condition) -> String {
    match condition {
        Condition::And(all) => all.iter().map(nested).collect::<Vec<_>>().join(" and "),
        Condition::Or(any) => any.iter().map(nested).collect::<Vec<_>>().join(" or "),
        Condition::Not(inner) => format!("not {}", nested(inner)),
        Condition::Fixed(fixed) => fixed.to_string(),
        Condition::Jsonata(jsonata) => jsonata.expression().to_owned(),
        Condition::Test { variable, test } => {
            let (sign, other) = match test {
                Test::String(relation, operand) => (
                    sign(*relation),
                    operand_text(operand, |text| format!("\"{text}\"")),
                ),
                Test::Numeric(relation, operand) => {
                    (sign(*relation), operand_text(operand, ToString::to_string))
                }
                Test::Timestamp(relation, operand) => {
                    (sign(*relation), operand_text(operand, ToString::to_string))
                }
                Test::Boolean(operand) => ("=", operand_text(operand, ToString::to_string)),
                Test::Matches(pattern) => ("like", format!("\"{pattern}\"")),
                Test::Is(property, wanted) => {
                    let property = match property {
                        Property::Present => "present",
                        Property::Null => "null",
                        Property::String => "a string",
                        Property::Numeric => "a number",
                        Property::Boolean => "a boolean",
                        Property::Timestamp => "a timestamp",
                    };
                    (if *wanted { "is" } else { "is not" }, property.to_owned())
                }
            };
            format!("{variable} {sign} {other}")
        }
    }
}

fn nested(condition: &Condition) -> String {
    match condition {
        Condition::And(_) | Condition::Or(_) => format!("({})", describe(condition)),
        _ => describe(condition),
    }
}

fn sign(relation: Relation) -> &'static str {
    match relation {
        Relation::Equals => "=",
        Relation::LessThan => "<",
        Relation::GreaterThan => ">",
        Relation::LessThanEquals => "≤",
        Relation::GreaterThanEquals => "≥",
    }
}

fn operand_text<T>(operand: &Operand<T>, print: impl Fn(&T) -> String) -> String {
    match operand {
        Operand::Fixed(value) => print(value),
        Operand::Path(path) => path.to_string(),
    }
}
