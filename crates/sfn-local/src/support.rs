//! What of the language this interpreter does not run.

use std::fmt;

use sfn_builder::StateMachine;
use sfn_builder::checked::{
    Condition, Data, Dynamic, Integration, Operand, Pattern, Selection, State, StateKind, Test, Until,
};
use sfn_builder::path::{Path, Root, Segment};
use sfn_builder::template::{Argument, Call, Expression, Function, Template};

/// A machine that is valid, but has parts that cannot be run here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Unsupported {
    // INVARIANT: not empty.
    parts: Vec<UnsupportedPart>,
}

/// One part of a machine that cannot be run here.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnsupportedPart {
    /// Where it stands in the definition: a JSON pointer.
    pub pointer: String,
    /// What it is, with its verb: `states of type Parallel are`, to be followed by "not supported".
    pub what: String,
}

impl Unsupported {
    /// All of them; there is at least one.
    #[must_use]
    pub fn parts(&self) -> &[UnsupportedPart] {
        &self.parts
    }
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the machine cannot be run here:")?;
        for (index, part) in self.parts.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            write!(f, "{comma} {} not supported at {}", part.what, part.pointer)?;
        }
        Ok(())
    }
}

/// Whether [`run`](crate::run) can run a machine. `run` refuses what this refuses, with an execution that fails at once.
///
/// # Errors
///
/// Every part that it cannot run.
pub fn check_supported(machine: &StateMachine) -> Result<(), Unsupported> {
    let mut search = Search { parts: Vec::new() };
    for state in machine.states() {
        search.state(state);
    }
    if search.parts.is_empty() {
        Ok(())
    } else {
        Err(Unsupported { parts: search.parts })
    }
}

struct Search {
    parts: Vec<UnsupportedPart>,
}

impl Search {
    fn add(&mut self, pointer: impl Into<String>, what: impl Into<String>) {
        self.parts.push(UnsupportedPart {
            pointer: pointer.into(),
            what: what.into(),
        });
    }

    fn state(&mut self, state: &State) {
        let at = |field: &str| format!("{}/{field}", state.pointer);
        if matches!(state.kind, StateKind::Parallel(_) | StateKind::Map(_)) {
            let what = format!("states of type {} are", state.type_name());
            self.add(&state.pointer, what);
            return;
        }
        let Data::JsonPath(data) = &state.data else {
            self.add(&state.pointer, "JSONata is");
            return;
        };
        self.selection(&at("InputPath"), &data.input_path);
        self.template(&at("Parameters"), data.parameters.as_ref());
        self.template(&at("ResultSelector"), data.result_selector.as_ref());
        self.selection(&at("OutputPath"), &data.output_path);
        if !state.assign.is_empty() {
            self.add(at("Assign"), "`Assign` is");
        }
        for (index, catcher) in state.catch().iter().enumerate() {
            if !catcher.assign.is_empty() {
                self.add(at(&format!("Catch/{index}/Assign")), "`Assign` is");
            }
        }
        match &state.kind {
            StateKind::Task(task) => {
                if task.role_arn.is_some() {
                    self.add(at("Credentials"), "`Credentials` is");
                }
                match &task.resource.integration {
                    Integration::Activity => self.add(at("Resource"), "an activity is"),
                    Integration::Service {
                        pattern: Pattern::WaitForTaskToken,
                        ..
                    } => self.add(at("Resource"), "the pattern `.waitForTaskToken` is"),
                    _ => {}
                }
                self.dynamic(&at("TimeoutSecondsPath"), task.timeout.as_ref());
                self.dynamic(&at("HeartbeatSecondsPath"), task.heartbeat.as_ref());
            }
            StateKind::Choice(choice) => {
                for (index, rule) in choice.rules.iter().enumerate() {
                    let pointer = at(&format!("Choices/{index}"));
                    self.condition(&pointer, &rule.condition);
                    if !rule.assign.is_empty() {
                        self.add(format!("{pointer}/Assign"), "`Assign` is");
                    }
                }
            }
            StateKind::Wait(wait) => match &wait.until {
                Until::Seconds(seconds) => self.dynamic(&at("SecondsPath"), Some(seconds)),
                Until::Timestamp(time) => self.dynamic(&at("TimestampPath"), Some(time)),
                _ => self.add(&state.pointer, "this way to wait is"),
            },
            StateKind::Fail(fail) => {
                self.dynamic(&at("ErrorPath"), fail.error.as_ref());
                self.dynamic(&at("CausePath"), fail.cause.as_ref());
            }
            StateKind::Pass(_) | StateKind::Succeed => {}
            _ => self.add(&state.pointer, "the type of the state is"),
        }
    }

    fn selection(&mut self, pointer: &str, selection: &Selection) {
        if let Selection::Path(path) = selection {
            self.path(pointer, path);
        }
    }

    fn template(&mut self, pointer: &str, template: Option<&Template>) {
        for expression in template.into_iter().flat_map(Template::expressions) {
            self.expression(pointer, expression);
        }
    }

    fn dynamic<T>(&mut self, pointer: &str, dynamic: Option<&Dynamic<T>>) {
        if let Some(Dynamic::Computed(expression)) = dynamic {
            self.expression(pointer, expression);
        }
    }

    fn expression(&mut self, pointer: &str, expression: &Expression) {
        match expression {
            Expression::Path(path) => self.path(pointer, path),
            Expression::Call(call) => self.call(pointer, call),
            _ => self.add(pointer, "JSONata is"),
        }
    }

    fn call(&mut self, pointer: &str, call: &Call) {
        let runs = matches!(
            call.function,
            Function::Format
                | Function::StringToJson
                | Function::JsonToString
                | Function::Array
                | Function::MathAdd
                | Function::Uuid
        );
        if !runs {
            let what = format!("the intrinsic function `{}` is", call.function.name());
            self.add(pointer, what);
        }
        for argument in &call.arguments {
            match argument {
                Argument::Path(path) => self.path(pointer, path),
                Argument::Call(inner) => self.call(pointer, inner),
                _ => {}
            }
        }
    }

    fn path(&mut self, pointer: &str, path: &Path) {
        if let Root::Variable(name) = path.root() {
            self.add(pointer, format!("the variable `${name}` is"));
        }
        for segment in path.segments() {
            let what = match segment {
                Segment::Field(_) | Segment::Index(_) | Segment::Slice { .. } | Segment::Wildcard => continue,
                Segment::Descendants => "recursive descent (`..`)",
                Segment::Names(_) | Segment::Indices(_) => "a union (`[a,b]`)",
                Segment::Filter(_) => "a filter (`[?…]`)",
                Segment::Function(_) => "a path function",
                _ => "this step",
            };
            self.add(pointer, format!("{what} in the path `{path}` is"));
        }
    }

    fn condition(&mut self, pointer: &str, condition: &Condition) {
        match condition {
            Condition::And(all) | Condition::Or(all) => {
                for inner in all {
                    self.condition(pointer, inner);
                }
            }
            Condition::Not(inner) => self.condition(pointer, inner),
            Condition::Test { variable, test } => {
                self.path(pointer, variable);
                if let Test::String(_, Operand::Path(path))
                | Test::Numeric(_, Operand::Path(path))
                | Test::Timestamp(_, Operand::Path(path))
                | Test::Boolean(Operand::Path(path)) = test
                {
                    self.path(pointer, path);
                }
            }
            _ => self.add(pointer, "JSONata is"),
        }
    }
}
