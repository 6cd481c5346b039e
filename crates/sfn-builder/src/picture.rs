//! Pictures of a machine: DOT, Mermaid and SVG.

mod dot;
mod execution;
mod layout;
mod mermaid;
mod scene;
mod straighten;
mod svg;
mod text;

pub use self::execution::{Execution, InvalidHistory, StateRun, StateStatus};
use crate::machine::StateMachine;

impl StateMachine {
    /// The machine as a Graphviz graph; Parallel and Map states are clusters.
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
        dot::render(self, None)
    }

    /// The same graph, with the states coloured by how far they came in an execution.
    #[must_use]
    pub fn to_dot_with(&self, execution: &Execution) -> String {
        dot::render(self, Some(execution))
    }

    /// The machine as a Mermaid flowchart; Parallel and Map states are subgraphs.
    #[must_use]
    pub fn to_mermaid(&self) -> String {
        mermaid::render(self, None)
    }

    /// The same chart, with the states coloured by how far they came in an execution.
    #[must_use]
    pub fn to_mermaid_with(&self, execution: &Execution) -> String {
        mermaid::render(self, Some(execution))
    }

    /// The machine as a self-contained SVG picture, light or dark as the viewer prefers; Parallel and Map states are boxes
    /// around what they run.
    #[must_use]
    pub fn to_svg(&self) -> String {
        svg::render(self, None)
    }

    /// The same picture, with the states coloured by how far they came in an execution, and with their durations.
    #[must_use]
    pub fn to_svg_with(&self, execution: &Execution) -> String {
        svg::render(self, Some(execution))
    }
}
