//! The fields of the context object.

use super::Checker;
use super::at::At;
use crate::finding::{Code, Finding, nearest};
use crate::path::{Path, Root, Segment};
use crate::template::Expression;

/// Every field that the context object has, those in front of them included.
///
/// Developer guide, "Accessing execution data from the Context object".
const FIELDS: [&str; 21] = [
    "Execution",
    "Execution.Id",
    "Execution.Input",
    "Execution.Name",
    "Execution.RedriveCount",
    "Execution.RedriveTime",
    "Execution.RoleArn",
    "Execution.StartTime",
    "Map",
    "Map.Item",
    "Map.Item.Index",
    "Map.Item.Key",
    "Map.Item.Source",
    "Map.Item.Value",
    "State",
    "State.EnteredTime",
    "State.Name",
    "State.RetryCount",
    "StateMachine",
    "StateMachine.Id",
    "StateMachine.Name",
];

/// Not among the above, because it is there in some tasks only.
const TASK: [&str; 2] = ["Task", "Task.Token"];

/// The first fields of a path through the context object that it does not have, with the nearest that it has.
fn unknown<'a>(names: impl Iterator<Item = &'a str>) -> Option<(String, Option<String>)> {
    let all = || FIELDS.into_iter().chain(TASK);
    let mut way = String::new();
    for name in names {
        let inside = format!("{way}.");
        if !way.is_empty() && !all().any(|field| field.starts_with(&inside)) {
            // A value, whose own fields nobody knows.
            return None;
        }
        if !way.is_empty() {
            way.push('.');
        }
        way.push_str(name);
        if !all().any(|field| field == way) {
            let near = nearest(&way, all());
            return Some((way, near));
        }
    }
    None
}

impl Checker<'_> {
    /// The paths of an expression through the context object.
    pub(super) fn context_of(&mut self, at: At<'_>, expression: &Expression) {
        expression.each_path(&mut |path| self.context(at, path));
    }

    /// A path through the context object.
    pub(super) fn context(&mut self, at: At<'_>, path: &Path) {
        if *path.root() != Root::Context {
            return;
        }
        let names = path.segments().iter().map_while(|segment| match segment {
            Segment::Field(name) => Some(name.as_str()),
            _ => None,
        });
        self.unknown_context(at, "$$.", unknown(names));
    }

    /// Fields of `$states.context`, dots between them.
    pub(super) fn jsonata_context(&mut self, at: At<'_>, names: &str) {
        self.unknown_context(at, "$states.context.", unknown(names.split('.')));
    }

    fn unknown_context(&mut self, at: At<'_>, before: &str, unknown: Option<(String, Option<String>)>) {
        if let Some((way, near)) = unknown {
            let message = format!("the context object has no field `{before}{way}`");
            let finding = Finding::new(Code::UnknownContextField, at, message);
            self.findings
                .push(finding.near(near.map(|near| format!("{before}{near}"))));
        }
    }
}
