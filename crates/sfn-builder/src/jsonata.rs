//! JSONata expressions: the texts in `{% %}` of a JSONata state.
//!
//! Only their syntax is known here, and the names they refer to; what they yield is the interpreter's business. The
//! parser is that of `jsonata-core`, which does not show in these types.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use jsonata_core::ast::{AstNode, BinaryOp, PathStep, Stage};

use crate::finding::NOT_ENCLOSED;

/// An expression that parses, such as `{% $states.input.count + $total %}`.
///
/// Developer guide, "Transforming data with JSONata in Step Functions".
///
/// ```
/// use sfn_builder::jsonata::Jsonata;
///
/// let sum = Jsonata::parse("{% $states.input.count + $total %}")?;
/// assert_eq!(sum.expression(), "$states.input.count + $total");
/// assert!(sum.references().input);
/// assert!(sum.references().variables.contains("total"));
/// assert!(Jsonata::parse("{% 1 + %}").is_err());
/// # Ok::<(), sfn_builder::jsonata::JsonataError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Jsonata(Arc<Parsed>);

#[derive(Debug, PartialEq, Eq)]
struct Parsed {
    // INVARIANT: begins with `{%`, ends with `%}`.
    text: String,
    references: References,
}

/// What an expression refers to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct References {
    /// `$states.input`.
    pub input: bool,
    /// `$states.result`.
    pub result: bool,
    /// `$states.errorOutput`.
    pub error_output: bool,
    /// `$states.context`.
    pub context: bool,
    /// `$states` as a whole, so that its fields cannot be told.
    pub states: bool,
    /// Variables that the expression does not bind itself, without their `$`.
    pub variables: BTreeSet<String>,
    /// Functions that it calls, which neither the language has nor the expression binds, without their `$`.
    pub unknown_functions: BTreeSet<String>,
    /// What it reads of the context item, which an expression does not have: `$`, `$$`, or the name of a field in front of
    /// a path, such as `input` where `$states.input` is meant.
    pub top_level: BTreeSet<String>,
    /// The fields of `$states.context` that it reads, dots between them, such as `Execution.Input`.
    pub context_fields: BTreeSet<String>,
    /// The fields of `$states.result` that it reads, dots between them, such as `Payload.status`.
    pub result_fields: BTreeSet<String>,
    /// Fields of `$states` that there are not.
    pub unknown_states: BTreeSet<String>,
}

/// Why a text is no JSONata expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct JsonataError(String);

impl Jsonata {
    /// Whether a text means to be an expression: it begins with `{%` or ends with `%}`, blanks aside.
    #[must_use]
    pub fn is_meant(text: &str) -> bool {
        text.trim_start().starts_with("{%") || text.trim_end().ends_with("%}")
    }

    /// Parses a text with its `{%` and `%}`.
    ///
    /// # Errors
    ///
    /// `{%` and `%}` do not enclose the whole text, or what they enclose does not parse, or is of a later version of the
    /// language than the service's, 2.0.6 (developer guide, "Transforming data with JSONata in Step Functions").
    pub fn parse(text: &str) -> Result<Self, JsonataError> {
        let inner = text
            .strip_prefix("{%")
            .and_then(|rest| rest.strip_suffix("%}"))
            .ok_or_else(|| {
                JsonataError(format!(
                    "{NOT_ENCLOSED} and ends with `%}}`, without blanks outside"
                ))
            })?;
        let node = jsonata_core::parser::parse(inner.trim())
            .map_err(|error| JsonataError(format!("`{}` does not parse: {error}", shorten(inner.trim()))))?;
        let mut walk = Walk {
            references: References::default(),
            bound: Vec::new(),
            newer: None,
        };
        walk.node(&node, true);
        if let Some((operator, instead)) = walk.newer {
            return Err(JsonataError(format!(
                "the operator `{operator}` came with JSONata 2.1, the service has 2.0.6: `{instead}` says the same"
            )));
        }
        Ok(Self(Arc::new(Parsed {
            text: text.to_owned(),
            references: walk.references,
        })))
    }

    /// The text as it was written, with `{%` and `%}`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0.text
    }

    /// The expression alone.
    #[must_use]
    pub fn expression(&self) -> &str {
        self.0.text[2..self.0.text.len() - 2].trim()
    }

    /// What it refers to.
    #[must_use]
    pub fn references(&self) -> &References {
        &self.0.references
    }
}

impl fmt::Display for Jsonata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

fn shorten(text: &str) -> String {
    let mut short: String = text.chars().take(80).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

/// Collects references. The parser bounds the depth of the tree, so that this recursion is bounded too.
struct Walk {
    references: References,
    bound: Vec<String>,
    /// An operator that the service's version of the language does not have, and what says the same in it.
    newer: Option<(&'static str, &'static str)>,
}

impl Walk {
    fn scoped(&mut self, walk: impl FnOnce(&mut Self)) {
        let before = self.bound.len();
        walk(self);
        self.bound.truncate(before);
    }

    fn variable(&mut self, name: &str) {
        if name.is_empty() || self.bound.iter().any(|bound| bound == name) {
            return;
        }
        if name == "states" {
            self.references.states = true;
        } else if !FUNCTIONS.contains(&name) {
            self.references.variables.insert(name.to_owned());
        }
    }

    /// `$states.input` and its kind; `false` when it is something else.
    fn states(&mut self, steps: &[PathStep]) -> bool {
        let [first, second, ..] = steps else { return false };
        let (AstNode::Variable(name), AstNode::Name(field)) = (&first.node, &second.node) else {
            return false;
        };
        if name != "states" || !first.stages.is_empty() || self.bound.iter().any(|bound| bound == name) {
            return false;
        }
        let below = || {
            let names = steps[2..]
                .iter()
                .zip(&steps[1..])
                .map_while(|(step, before)| match &step.node {
                    AstNode::Name(name) if before.stages.is_empty() && !name.contains('.') => {
                        Some(name.as_str())
                    }
                    _ => None,
                });
            names.take(3).collect::<Vec<_>>().join(".")
        };
        match field.as_str() {
            "input" => self.references.input = true,
            "result" => {
                self.references.result = true;
                self.references.result_fields.insert(below());
            }
            "errorOutput" => self.references.error_output = true,
            "context" => {
                self.references.context = true;
                self.references.context_fields.insert(below());
            }
            other => {
                self.references.unknown_states.insert(other.to_owned());
            }
        }
        true
    }

    fn nodes<'n>(&mut self, nodes: impl IntoIterator<Item = &'n AstNode>, top: bool) {
        for node in nodes {
            self.node(node, top);
        }
    }

    /// Reads the context item, unless a path, a predicate or the like has set one.
    fn reads_context(&mut self, name: &str, top: bool) {
        if top {
            self.references.top_level.insert(name.to_owned());
        }
    }

    /// Whether a call of this name leads nowhere.
    fn called(&mut self, name: &str) {
        if !FUNCTIONS.contains(&name) && !self.bound.iter().any(|bound| bound == name) {
            self.references.unknown_functions.insert(name.to_owned());
        }
    }

    /// `top`: nothing around the node has set the context item. Of a path the first step, and what that consists of, is
    /// read without one; the body of a lambda has that of the place where it stands.
    fn node(&mut self, node: &AstNode, top: bool) {
        match node {
            AstNode::Variable(name) if name.is_empty() => self.reads_context("$", top),
            AstNode::ParentVariable(_) => self.reads_context("$$", true),
            AstNode::Variable(name) => self.variable(name),
            AstNode::Name(name) => self.reads_context(name, top),
            AstNode::Path { steps } => self.scoped(|walk| {
                let known = if walk.states(steps) { 2 } else { 0 };
                for (index, step) in steps.iter().enumerate() {
                    if index >= known {
                        walk.node(&step.node, top && index == 0);
                    }
                    walk.bound.extend(step.focus.clone());
                    walk.bound.extend(step.index_var.clone());
                    for stage in &step.stages {
                        match stage {
                            Stage::Filter(filter) => walk.node(filter, false),
                            Stage::Index(name) => walk.bound.push(name.clone()),
                            Stage::KeepArray => {}
                        }
                    }
                }
            }),
            AstNode::Binary { op, lhs, rhs } => {
                match op {
                    BinaryOp::Coalesce => self.newer = Some(("??", "$exists(a) ? a : b")),
                    BinaryOp::Default => self.newer = Some(("?:", "a ? a : b")),
                    _ => {}
                }
                if let (BinaryOp::ColonEqual, AstNode::Variable(name)) = (op, &**lhs) {
                    // A function may call itself by the name it is bound to.
                    self.bound.push(name.clone());
                    self.node(rhs, top);
                } else {
                    self.node(lhs, top);
                    self.node(rhs, top);
                }
            }
            AstNode::Unary { operand, .. } => self.node(operand, top),
            AstNode::Function {
                name,
                args,
                is_builtin,
            } => {
                if *is_builtin {
                    self.called(name);
                } else {
                    self.reads_context(name, top);
                }
                self.nodes(args, top);
            }
            AstNode::Call { procedure, args } => {
                self.node(procedure, top);
                self.nodes(args, top);
            }
            AstNode::Lambda { params, body, .. } => self.scoped(|walk| {
                walk.bound.extend(params.iter().cloned());
                walk.node(body, top);
            }),
            AstNode::Array(items) | AstNode::ArrayGroup(items) => self.nodes(items, top),
            AstNode::Object(pairs) => {
                for (key, value) in pairs {
                    self.node(key, top);
                    self.node(value, top);
                }
            }
            AstNode::ObjectTransform { input, pattern } => self.scoped(|walk| {
                walk.node(input, top);
                for (key, value) in pattern {
                    walk.node(key, false);
                    walk.node(value, false);
                }
            }),
            AstNode::Block(items) => self.scoped(|walk| walk.nodes(items, top)),
            AstNode::Conditional {
                condition,
                then_branch,
                else_branch,
            } => {
                self.node(condition, top);
                self.node(then_branch, top);
                self.nodes(else_branch.as_deref(), top);
            }
            AstNode::FunctionApplication(inner) => self.node(inner, false),
            AstNode::Sort { input, terms } => {
                self.node(input, top);
                self.nodes(terms.iter().map(|(term, _)| term), false);
            }
            AstNode::Transform {
                location,
                update,
                delete,
            } => {
                self.node(location, false);
                self.node(update, false);
                self.nodes(delete.as_deref(), false);
            }
            _ => {}
        }
    }
}

/// The functions of JSONata and those that Step Functions adds; a name among them is no variable. `$eval` is missing, as it
/// is in the service.
pub(crate) const FUNCTIONS: [&str; 69] = [
    "abs",
    "append",
    "assert",
    "average",
    "base64decode",
    "base64encode",
    "boolean",
    "ceil",
    "clone",
    "contains",
    "count",
    "decodeUrl",
    "decodeUrlComponent",
    "distinct",
    "each",
    "encodeUrl",
    "encodeUrlComponent",
    "error",
    "exists",
    "filter",
    "floor",
    "formatBase",
    "formatInteger",
    "formatNumber",
    "fromMillis",
    "hash",
    "join",
    "keys",
    "length",
    "lookup",
    "lowercase",
    "map",
    "match",
    "max",
    "merge",
    "millis",
    "min",
    "not",
    "now",
    "number",
    "pad",
    "parse",
    "parseInteger",
    "partition",
    "power",
    "random",
    "range",
    "reduce",
    "replace",
    "reverse",
    "round",
    "shuffle",
    "sift",
    "single",
    "sort",
    "split",
    "spread",
    "sqrt",
    "string",
    "substring",
    "substringAfter",
    "substringBefore",
    "sum",
    "toMillis",
    "trim",
    "type",
    "uppercase",
    "uuid",
    "zip",
];
