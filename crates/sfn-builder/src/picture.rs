//! Pictures of a machine: DOT, Mermaid and SVG.

mod layout;
mod svg;

use std::collections::HashMap;
use std::fmt::Write as _;

use crate::checked::StateKind;
use crate::graph::{self, EdgeKind};
use crate::machine::StateMachine;

/// How far a state came in an execution, for the colours of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StateStatus {
    /// It is running.
    InProgress,
    /// It ended well.
    Succeeded,
    /// It failed, and nothing caught it.
    Failed,
    /// It failed, and a catcher took over.
    Caught,
}

impl StateMachine {
    /// The machine as a Graphviz graph.
    ///
    /// ```
    /// use sfn_builder::{Pass, StateMachine, Succeed};
    ///
    /// let machine = StateMachine::builder("Train")
    ///     .state("Train", Pass::new().next("Score"))
    ///     .state("Score", Succeed::new())
    ///     .build()?;
    /// assert!(machine.to_dot().contains(r#""Train" -> "Score""#));
    /// # Ok::<(), sfn_builder::InvalidDefinition>(())
    /// ```
    #[must_use]
    pub fn to_dot(&self) -> String {
        let quote = |text: &str| {
            let text = text
                .replace('\\', "\\\\")
                .replace('"', "\\\"")
                .replace('\n', "\\n");
            format!("\"{text}\"")
        };
        let mut dot = String::from("digraph {\n");
        for state in self.states() {
            let shape = match state.kind {
                StateKind::Task(_) => "box",
                StateKind::Parallel(_) | StateKind::Map(_) => "box3d",
                StateKind::Choice(_) => "diamond",
                StateKind::Pass(_) | StateKind::Wait(_) => "ellipse",
                StateKind::Succeed => "doublecircle",
                StateKind::Fail(_) => "octagon",
            };
            let _ = writeln!(dot, "  {} [shape={shape}]", quote(&state.name));
        }
        for edge in graph::edges(self) {
            let (from, to) = (&self.states()[edge.from].name, &self.states()[edge.to].name);
            let mut attributes: Vec<String> = Vec::new();
            attributes.extend(edge.label.map(|label| format!("label={}", quote(&label))));
            if edge.kind == EdgeKind::Catch {
                attributes.push("style=dashed".into());
            }
            let attributes = if attributes.is_empty() {
                String::new()
            } else {
                format!(" [{}]", attributes.join(", "))
            };
            let _ = writeln!(dot, "  {} -> {}{attributes}", quote(from), quote(to));
        }
        dot.push_str("}\n");
        dot
    }

    /// The machine as a Mermaid flowchart.
    #[must_use]
    pub fn to_mermaid(&self) -> String {
        let mut chart = String::from("flowchart TD\n  start((\" \")) --> ");
        let start = self.position(&self.start().name).unwrap_or_default();
        let _ = writeln!(chart, "s{start}");
        for (index, state) in self.states().iter().enumerate() {
            let (open, close) = match state.kind {
                StateKind::Task(_) => ("[", "]"),
                StateKind::Parallel(_) | StateKind::Map(_) => ("[[", "]]"),
                StateKind::Choice(_) => ("{", "}"),
                StateKind::Pass(_) => ("(", ")"),
                StateKind::Wait(_) => ("([", "])"),
                StateKind::Succeed => ("(((", ")))"),
                StateKind::Fail(_) => ("{{", "}}"),
            };
            let _ = writeln!(chart, "  s{index}{open}\"{}\"{close}", mermaid_text(&state.name));
        }
        for edge in graph::edges(self) {
            let line = if edge.kind == EdgeKind::Catch {
                "-.->"
            } else {
                "-->"
            };
            let label = edge
                .label
                .map(|label| format!("|\"{}\"|", mermaid_text(&label)))
                .unwrap_or_default();
            let _ = writeln!(chart, "  s{} {line}{label} s{}", edge.from, edge.to);
        }
        chart
    }

    /// The machine as a self-contained SVG picture, light or dark as the viewer prefers.
    #[must_use]
    pub fn to_svg(&self) -> String {
        self.to_svg_with(&HashMap::new())
    }

    /// The same picture, with the states that are named coloured by how far they came.
    #[must_use]
    pub fn to_svg_with(&self, statuses: &HashMap<String, StateStatus>) -> String {
        svg::render(self, statuses)
    }
}

/// Text in a quoted Mermaid label: whatever could mean something becomes an entity.
fn mermaid_text(text: &str) -> String {
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
