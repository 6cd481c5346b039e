//! Mermaid's flowcharts.

use std::collections::HashMap;
use std::fmt::Write as _;

use super::dot::colour;
use super::execution::{Execution, StateStatus};
use super::scene::outcome;
use crate::checked::{Machine, State, StateKind};
use crate::graph::{self, EdgeKind};
use crate::machine::StateMachine;

pub(super) fn render(machine: &StateMachine, execution: Option<&Execution>) -> String {
    // Names mean nothing to Mermaid: states have numbers, those of branches and item processors after the others.
    let all = machine.all_states();
    let numbers: HashMap<&str, usize> = all
        .iter()
        .enumerate()
        .map(|(at, state)| (state.name.as_str(), at))
        .collect();
    let mut chart = Chart {
        text: String::from("flowchart TD\n"),
        numbers,
        execution,
        classes: Vec::new(),
        marks: 0,
    };
    chart.level(machine, 1);
    for (status, class) in CLASSES {
        let members: Vec<String> = chart
            .classes
            .iter()
            .filter(|(_, of)| *of == status)
            .map(|(number, _)| format!("s{number}"))
            .collect();
        if !members.is_empty() {
            let _ = writeln!(
                chart.text,
                "  classDef {class} fill:{},color:#16191f",
                colour(status)
            );
            let _ = writeln!(chart.text, "  class {} {class}", members.join(","));
        }
    }
    chart.text
}

const CLASSES: [(StateStatus, &str); 5] = [
    (StateStatus::Succeeded, "succeeded"),
    (StateStatus::Caught, "caught"),
    (StateStatus::Failed, "failed"),
    (StateStatus::Aborted, "aborted"),
    (StateStatus::InProgress, "running"),
];

struct Chart<'a> {
    text: String,
    numbers: HashMap<&'a str, usize>,
    execution: Option<&'a Execution>,
    classes: Vec<(usize, StateStatus)>,
    /// How many beginnings there are so far.
    marks: usize,
}

impl<'a> Chart<'a> {
    fn level(&mut self, machine: &'a Machine, depth: usize) {
        let indent = "  ".repeat(depth);
        let mark = match self.marks {
            0 => "start".to_owned(),
            mark => format!("start{mark}"),
        };
        self.marks += 1;
        let first = self.number(machine.start());
        let _ = writeln!(self.text, "{indent}{mark}((\" \")) --> s{first}");
        for state in machine.states() {
            self.state(state, depth);
        }
        for edge in graph::edges(machine) {
            let line = if edge.kind == EdgeKind::Catch {
                "-.->"
            } else {
                "-->"
            };
            let label = edge
                .label
                .map(|label| format!("|\"{}\"|", escape(&label)))
                .unwrap_or_default();
            let from = self.number(&machine.states()[edge.from]);
            let to = self.number(&machine.states()[edge.to]);
            let _ = writeln!(self.text, "{indent}s{from} {line}{label} s{to}");
        }
    }

    fn state(&mut self, state: &'a State, depth: usize) {
        let indent = "  ".repeat(depth);
        let number = self.number(state);
        let run = self.execution.and_then(|execution| execution.state(&state.name));
        let mut label = escape(&state.name);
        if let Some(run) = run {
            self.classes.push((number, run.status));
            let _ = write!(label, "<br/>{}", escape(&outcome(run)));
        }
        let machines = state.machines();
        if machines.is_empty() {
            let (open, close) = match state.kind {
                StateKind::Parallel(_) | StateKind::Map(_) => ("[[", "]]"),
                StateKind::Task(_) => ("[", "]"),
                StateKind::Choice(_) => ("{", "}"),
                StateKind::Pass(_) => ("(", ")"),
                StateKind::Wait(_) => ("([", "])"),
                StateKind::Succeed => ("(((", ")))"),
                StateKind::Fail(_) => ("{{", "}}"),
            };
            let _ = writeln!(self.text, "{indent}s{number}{open}\"{label}\"{close}");
            return;
        }
        let _ = writeln!(self.text, "{indent}subgraph s{number}[\"{label}\"]");
        for (at, machine) in machines.iter().enumerate() {
            if machines.len() > 1 {
                let _ = writeln!(self.text, "{indent}  subgraph s{number}b{at}[\" \"]");
                self.level(machine, depth + 2);
                let _ = writeln!(self.text, "{indent}  end");
            } else {
                self.level(machine, depth + 1);
            }
        }
        let _ = writeln!(self.text, "{indent}end");
    }

    fn number(&self, state: &State) -> usize {
        self.numbers.get(state.name.as_str()).copied().unwrap_or_default()
    }
}

/// Text in a quoted label: whatever could mean something becomes an entity.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' | '#' | '<' | '>' | '&' | '`' | '\\' | '|' => {
                let _ = write!(escaped, "#{};", u32::from(c));
            }
            c if c.is_control() => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}
