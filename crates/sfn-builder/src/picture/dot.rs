//! Graphviz's language.
//!
//! An edge cannot end at a cluster, so the state that a cluster stands for is a node in it too: edges come in there, and
//! leave from one of the states in which the cluster can end, cut off at its border (`compound`).

use std::fmt::Write as _;

use super::execution::{Execution, StateStatus};
use super::scene::outcome;
use crate::checked::{Machine, State, StateKind};
use crate::graph::{self, EdgeKind};
use crate::machine::StateMachine;

pub(super) fn render(machine: &StateMachine, execution: Option<&Execution>) -> String {
    let mut dot = String::from("digraph {\n");
    if machine.states().iter().any(|state| !state.machines().is_empty()) {
        dot.push_str("  compound=true\n");
    }
    level(&mut dot, machine, execution, 1);
    dot.push_str("}\n");
    dot
}

fn level(dot: &mut String, machine: &Machine, execution: Option<&Execution>, depth: usize) {
    let indent = "  ".repeat(depth);
    for state in machine.states() {
        if state.machines().is_empty() {
            node(dot, state, execution, &indent);
            continue;
        }
        let _ = writeln!(dot, "{indent}subgraph {} {{", cluster(state));
        let _ = writeln!(dot, "{indent}  style=rounded");
        node(dot, state, execution, &format!("{indent}  "));
        for (at, inner) in state.machines().iter().enumerate() {
            let several = state.machines().len() > 1;
            let deeper = depth + if several { 2 } else { 1 };
            if several {
                let name = quote(&format!("cluster_{}/{at}", state.name));
                let _ = writeln!(dot, "{indent}  subgraph {name} {{");
                let _ = writeln!(dot, "{indent}    style=dotted");
            }
            level(dot, inner, execution, deeper);
            if several {
                let _ = writeln!(dot, "{indent}  }}");
            }
            let (from, to) = (quote(&state.name), quote(&inner.start().name));
            let _ = writeln!(dot, "{indent}  {from} -> {to} [style=dotted]");
        }
        let _ = writeln!(dot, "{indent}}}");
    }
    for edge in graph::edges(machine) {
        let (from, to) = (&machine.states()[edge.from], &machine.states()[edge.to]);
        let mut attributes: Vec<String> = Vec::new();
        attributes.extend(edge.label.map(|label| format!("label={}", quote(&label))));
        if edge.kind == EdgeKind::Catch {
            attributes.push("style=dashed".into());
            attributes.push("color=\"#d13212\"".into());
        }
        let leaves = exit(from);
        if leaves.name != from.name && from.name != to.name {
            attributes.push(format!("ltail={}", cluster(from)));
        }
        if !to.machines().is_empty() && from.name != to.name {
            attributes.push(format!("lhead={}", cluster(to)));
        }
        let leaves = if from.name == to.name { from } else { leaves };
        let attributes = if attributes.is_empty() {
            String::new()
        } else {
            format!(" [{}]", attributes.join(", "))
        };
        let (from, to) = (quote(&leaves.name), quote(&to.name));
        let _ = writeln!(dot, "{indent}{from} -> {to}{attributes}");
    }
}

/// A state in which it can end: itself, unless it has states inside.
fn exit(state: &State) -> &State {
    let inner = state.machines().first();
    let last = inner.and_then(|machine| machine.states().iter().rfind(|inner| graph::ends(inner)));
    last.map_or(state, exit)
}

fn node(dot: &mut String, state: &State, execution: Option<&Execution>, indent: &str) {
    let shape = match state.kind {
        StateKind::Task(_) => "box",
        StateKind::Parallel(_) | StateKind::Map(_) => "box3d",
        StateKind::Choice(_) => "diamond",
        StateKind::Pass(_) | StateKind::Wait(_) => "ellipse",
        StateKind::Succeed => "doublecircle",
        StateKind::Fail(_) => "octagon",
    };
    let mut attributes = format!("shape={shape}");
    if let Some(run) = execution.and_then(|execution| execution.state(&state.name)) {
        let label = format!("{}\n{}", state.name, outcome(run));
        let _ = write!(
            attributes,
            ", style=filled, fillcolor=\"{}\", label={}",
            colour(run.status),
            quote(&label)
        );
    }
    let _ = writeln!(dot, "{indent}{} [{attributes}]", quote(&state.name));
}

/// The fill of a state that came so far.
pub(super) fn colour(status: StateStatus) -> &'static str {
    match status {
        StateStatus::Succeeded => "#dff3d8",
        StateStatus::Failed => "#fbdbd5",
        StateStatus::Caught => "#fdeccb",
        StateStatus::InProgress => "#d6e9fb",
        StateStatus::Aborted => "#e6e8eb",
    }
}

fn cluster(state: &State) -> String {
    quote(&format!("cluster_{}", state.name))
}

fn quote(text: &str) -> String {
    let text = text
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n");
    format!("\"{text}\"")
}
