//! The states one by one.

use serde_json::Value;

use super::{Checker, Fields, MAX_SECONDS, kind_of, show};
use crate::checked::{
    Catcher, Choice, Fail, Pass, Placement, Retrier, Seconds, Selection, State, StateKind, Task, Text,
    Transition, Until, Wait, parse_timestamp,
};
use crate::finding::{Code, Finding, nearest, push};
use crate::path::{Path, Root};
use crate::template::{Expression, Function};

const TYPES: [&str; 6] = ["Task", "Pass", "Choice", "Wait", "Succeed", "Fail"];

/// The error names that the language reserves.
const RESERVED_ERRORS: [&str; 17] = [
    "States.ALL",
    "States.BranchFailed",
    "States.DataLimitExceeded",
    "States.ExceedToleratedFailureThreshold",
    "States.HeartbeatTimeout",
    "States.Http.Socket",
    "States.IntrinsicFailure",
    "States.ItemReaderFailed",
    "States.NoChoiceMatched",
    "States.ParameterPathFailure",
    "States.Permissions",
    "States.QueryEvaluationError",
    "States.ResultPathMatchFailure",
    "States.ResultWriterFailed",
    "States.Runtime",
    "States.TaskFailed",
    "States.Timeout",
];

impl Checker {
    pub(super) fn state(&mut self, name: &str, pointer: &str, value: &Value) -> Option<State> {
        let Value::Object(map) = value else {
            self.schema(pointer, format!("a state is an object, not {}", kind_of(value)));
            return None;
        };
        let mut fields = Fields::new(pointer, map);
        let kind = fields.required_text(self, "Type")?;
        let comment = fields.text(self, "Comment");
        self.query_language(&mut fields);
        let whole = || Some(Selection::Path(Path::root_of_data()));
        let (input_path, output_path) = if kind == "Fail" {
            (whole(), whole())
        } else {
            (
                fields.selection(self, "InputPath"),
                fields.selection(self, "OutputPath"),
            )
        };
        let (kind, what) = match kind.as_str() {
            "Task" => (self.task(&mut fields), "a Task state"),
            "Pass" => (self.pass(&mut fields), "a Pass state"),
            "Choice" => (self.choice(&mut fields), "a Choice state"),
            "Wait" => (self.wait(&mut fields), "a Wait state"),
            "Succeed" => (Some(StateKind::Succeed), "a Succeed state"),
            "Fail" => (self.fail(&mut fields), "a Fail state"),
            "Parallel" | "Map" => {
                let message = format!("states of type {kind} are not supported");
                self.report(Code::Unsupported, fields.at("Type"), message);
                return None;
            }
            other => {
                let message = format!("there is no type of state `{other}`");
                let finding = Finding::new(Code::Schema, fields.at("Type"), message);
                self.findings.push(finding.suggest(nearest(other, TYPES)));
                return None;
            }
        };
        fields.finish(self, what);
        Some(State {
            name: name.to_owned(),
            comment,
            input_path: input_path?,
            output_path: output_path?,
            kind: kind?,
        })
    }

    fn task(&mut self, fields: &mut Fields<'_>) -> Option<StateKind> {
        let arn = fields.required_text(self, "Resource");
        let resource = arn.and_then(|arn| self.resource(&fields.at("Resource"), &arn));
        let complete = self.findings.len();
        let parameters = fields.template(self, "Parameters");
        let result_selector = fields.template(self, "ResultSelector");
        let result_path = self.placement(fields);
        let timeout = self.seconds(fields, "TimeoutSeconds", "TimeoutSecondsPath");
        let heartbeat = self.seconds(fields, "HeartbeatSeconds", "HeartbeatSecondsPath");
        if let (Some(Seconds::Fixed(timeout)), Some(Seconds::Fixed(heartbeat))) = (&timeout, &heartbeat)
            && heartbeat >= timeout
        {
            let message =
                format!("`HeartbeatSeconds` ({heartbeat}) must be less than `TimeoutSeconds` ({timeout})");
            self.schema(fields.at("HeartbeatSeconds"), message);
        }
        let retry = self.list(fields, "Retry", Self::retrier);
        let catch = self.list(fields, "Catch", Self::catcher);
        let transition = self.transition(fields);
        if self.findings.len() > complete {
            return None;
        }
        Some(StateKind::Task(Box::new(Task {
            resource: resource?,
            parameters,
            result_selector,
            result_path: result_path?,
            retry,
            catch,
            timeout,
            heartbeat,
            transition: transition?,
        })))
    }

    fn pass(&mut self, fields: &mut Fields<'_>) -> Option<StateKind> {
        let complete = self.findings.len();
        let parameters = fields.template(self, "Parameters");
        let result = fields.get("Result").cloned();
        let result_path = self.placement(fields);
        let transition = self.transition(fields);
        if self.findings.len() > complete {
            return None;
        }
        Some(StateKind::Pass(Pass {
            parameters,
            result,
            result_path: result_path?,
            transition: transition?,
        }))
    }

    fn choice(&mut self, fields: &mut Fields<'_>) -> Option<StateKind> {
        let rules = self.rules(fields);
        let default = fields.text(self, "Default");
        for field in ["Next", "End"] {
            if fields.get(field).is_some() {
                let message =
                    format!("a Choice state has no `{field}`: its `Choices` and `Default` say what follows");
                self.report(Code::UnknownField, fields.at(field), message);
            }
        }
        Some(StateKind::Choice(Choice {
            rules: rules?,
            default,
        }))
    }

    fn wait(&mut self, fields: &mut Fields<'_>) -> Option<StateKind> {
        const FIELDS: [&str; 4] = ["Seconds", "SecondsPath", "Timestamp", "TimestampPath"];
        let given: Vec<&str> = FIELDS.into_iter().filter(|field| fields.has(field)).collect();
        let until = match given.as_slice() {
            ["Seconds"] => fields
                .integer(self, "Seconds", 0..=MAX_SECONDS)
                .map(|seconds| Until::Seconds(Seconds::Fixed(seconds))),
            ["SecondsPath"] => fields
                .reference(self, "SecondsPath")
                .map(|path| Until::Seconds(Seconds::Path(path))),
            ["Timestamp"] => fields.text(self, "Timestamp").and_then(|text| {
                let timestamp = parse_timestamp(&text);
                if timestamp.is_none() {
                    let message =
                        format!("`Timestamp` is a time such as `2026-01-31T12:00:00Z`, not `{text}`");
                    self.schema(fields.at("Timestamp"), message);
                }
                timestamp.map(Until::Timestamp)
            }),
            ["TimestampPath"] => fields.reference(self, "TimestampPath").map(Until::TimestampPath),
            given => {
                let message = format!(
                    "a Wait state has exactly one of `Seconds`, `SecondsPath`, `Timestamp` and `TimestampPath`, not {}",
                    if given.is_empty() {
                        "none".to_owned()
                    } else {
                        format!("`{}`", given.join("`, `"))
                    }
                );
                self.schema(fields.pointer.clone(), message);
                None
            }
        };
        fields.known.extend(FIELDS);
        let transition = self.transition(fields);
        Some(StateKind::Wait(Wait {
            until: until?,
            transition: transition?,
        }))
    }

    fn fail(&mut self, fields: &mut Fields<'_>) -> Option<StateKind> {
        let complete = self.findings.len();
        let error = self.fixed_or_computed(fields, "Error", "ErrorPath");
        let cause = self.fixed_or_computed(fields, "Cause", "CausePath");
        (self.findings.len() == complete).then_some(StateKind::Fail(Fail { error, cause }))
    }

    fn fixed_or_computed(
        &mut self,
        fields: &mut Fields<'_>,
        fixed: &'static str,
        path: &'static str,
    ) -> Option<Text> {
        if fields.has(fixed) && fields.has(path) {
            self.schema(
                fields.at(path),
                format!("`{path}` does not stand beside `{fixed}`"),
            );
        }
        let computed = fields.text(self, path);
        if let Some(text) = fields.text(self, fixed) {
            return Some(Text::Fixed(text));
        }
        let text = computed?;
        let pointer = fields.at(path);
        let expression = self.expression(&pointer, &text)?;
        if let Expression::Call(call) = &expression
            && !matches!(
                call.function,
                Function::Format | Function::JsonToString | Function::Uuid
            )
        {
            let message = format!(
                "`{path}` must yield a text, which `{}` does not",
                call.function.name()
            );
            self.report(Code::InvalidPath, pointer, message);
            return None;
        }
        Some(Text::Computed(expression))
    }

    fn placement(&mut self, fields: &mut Fields<'_>) -> Option<Placement> {
        match fields.get("ResultPath") {
            None => Some(Placement::At(Path::root_of_data())),
            Some(Value::Null) => Some(Placement::Discard),
            Some(Value::String(text)) => {
                let pointer = fields.at("ResultPath");
                let path = self.reference(&pointer, text)?;
                if path.root() == Root::Context {
                    let message = format!("`ResultPath` cannot write to the context object: `{text}`");
                    self.report(Code::InvalidPath, pointer, message);
                    return None;
                }
                Some(Placement::At(path))
            }
            Some(other) => {
                let message = format!("`ResultPath` is a reference path or null, not {}", kind_of(other));
                self.schema(fields.at("ResultPath"), message);
                None
            }
        }
    }

    fn seconds(
        &mut self,
        fields: &mut Fields<'_>,
        fixed: &'static str,
        path: &'static str,
    ) -> Option<Seconds> {
        if fields.has(fixed) && fields.has(path) {
            self.schema(
                fields.at(path),
                format!("`{path}` does not stand beside `{fixed}`"),
            );
        }
        let from_path = fields.reference(self, path).map(Seconds::Path);
        fields
            .integer(self, fixed, 1..=MAX_SECONDS)
            .map(Seconds::Fixed)
            .or(from_path)
    }

    fn transition(&mut self, fields: &mut Fields<'_>) -> Option<Transition> {
        let next = fields.text(self, "Next");
        let end = match fields.get("End") {
            None => false,
            Some(Value::Bool(true)) => true,
            Some(other) => {
                self.schema(
                    fields.at("End"),
                    format!("`End` is `true` or left out, not {}", show(other)),
                );
                return None;
            }
        };
        match (next, end) {
            (Some(next), false) => Some(Transition::Next(next)),
            (None, true) => Some(Transition::End),
            (Some(_), true) => {
                self.schema(
                    fields.pointer.clone(),
                    "exactly one of `Next` and `End` is wanted, not both",
                );
                None
            }
            (None, false) => {
                // A `Next` of the wrong type has been reported already.
                if !fields.has("Next") {
                    self.schema(
                        fields.pointer.clone(),
                        "exactly one of `Next` and `End` is wanted, not none",
                    );
                }
                None
            }
        }
    }

    /// `Retry` or `Catch`.
    fn list<T>(
        &mut self,
        fields: &mut Fields<'_>,
        field: &'static str,
        read: fn(&mut Self, &mut Fields<'_>, Vec<String>) -> Option<T>,
    ) -> Vec<T> {
        let pointer = fields.at(field);
        let list = match fields.get(field) {
            None => return Vec::new(),
            Some(Value::Array(list)) => list,
            Some(other) => {
                self.schema(pointer, format!("`{field}` is an array, not {}", kind_of(other)));
                return Vec::new();
            }
        };
        let mut entries = Vec::new();
        for (index, value) in list.iter().enumerate() {
            let pointer = push(&pointer, &index.to_string());
            let Value::Object(map) = value else {
                self.schema(
                    pointer,
                    format!("an entry of `{field}` is an object, not {}", kind_of(value)),
                );
                continue;
            };
            let mut entry = Fields::new(pointer, map);
            let errors = self.error_equals(&mut entry, field, index + 1 == list.len());
            entries.extend(read(self, &mut entry, errors));
            entry.finish(
                self,
                if field == "Retry" {
                    "a retrier"
                } else {
                    "a catcher"
                },
            );
        }
        entries
    }

    fn error_equals(&mut self, fields: &mut Fields<'_>, list: &str, last: bool) -> Vec<String> {
        let pointer = fields.at("ErrorEquals");
        let names = match fields.get("ErrorEquals") {
            None => {
                self.schema(fields.pointer.clone(), "the field `ErrorEquals` is missing");
                return Vec::new();
            }
            Some(Value::Array(names)) if !names.is_empty() => names,
            Some(other) => {
                self.schema(
                    pointer,
                    format!(
                        "`ErrorEquals` is a non-empty array of error names, not {}",
                        show(other)
                    ),
                );
                return Vec::new();
            }
        };
        let mut errors = Vec::with_capacity(names.len());
        for (index, name) in names.iter().enumerate() {
            let pointer = push(&pointer, &index.to_string());
            let Value::String(name) = name else {
                self.schema(pointer, format!("an error name is a text, not {}", kind_of(name)));
                continue;
            };
            if name.starts_with("States.") && !RESERVED_ERRORS.contains(&name.as_str()) {
                let message = format!("`{name}` is not one of the reserved error names");
                let finding = Finding::new(Code::Schema, pointer, message);
                self.findings
                    .push(finding.suggest(nearest(name, RESERVED_ERRORS)));
            }
            errors.push(name.clone());
        }
        if errors.iter().any(|name| name == "States.ALL") {
            if errors.len() > 1 {
                self.schema(pointer, "`States.ALL` must stand alone");
            } else if !last {
                self.schema(
                    pointer,
                    format!("`States.ALL` must stand in the last entry of `{list}`"),
                );
            }
        }
        errors
    }

    fn retrier(&mut self, fields: &mut Fields<'_>, error_equals: Vec<String>) -> Option<Retrier> {
        let interval_seconds = fields
            .integer(self, "IntervalSeconds", 1..=MAX_SECONDS)
            .unwrap_or(1);
        let max_attempts = fields.integer(self, "MaxAttempts", 0..=MAX_SECONDS).unwrap_or(3);
        let backoff_rate = match fields.get("BackoffRate") {
            None => 2.0,
            Some(value) => match value.as_f64().filter(|rate| *rate >= 1.0) {
                Some(rate) => rate,
                None => {
                    let message = format!("`BackoffRate` is a number of at least 1.0, not {}", show(value));
                    self.schema(fields.at("BackoffRate"), message);
                    2.0
                }
            },
        };
        // A year and a bit: the service's limit.
        let max_delay_seconds = fields.integer(self, "MaxDelaySeconds", 1..=31_622_399);
        if let Some(max) = max_delay_seconds.filter(|max| *max <= interval_seconds) {
            let message =
                format!("`MaxDelaySeconds` ({max}) must be more than `IntervalSeconds` ({interval_seconds})");
            self.schema(fields.at("MaxDelaySeconds"), message);
        }
        let pointer = fields.at("JitterStrategy");
        let full_jitter = match fields.text(self, "JitterStrategy").as_deref() {
            None | Some("NONE") => false,
            Some("FULL") => true,
            Some(other) => {
                let message = format!("`JitterStrategy` is `FULL` or `NONE`, not `{other}`");
                let finding = Finding::new(Code::Schema, pointer, message);
                self.findings
                    .push(finding.suggest(nearest(other, ["FULL", "NONE"])));
                false
            }
        };
        fields.text(self, "Comment");
        Some(Retrier {
            error_equals,
            interval_seconds,
            max_attempts,
            backoff_rate,
            max_delay_seconds,
            full_jitter,
        })
    }

    fn catcher(&mut self, fields: &mut Fields<'_>, error_equals: Vec<String>) -> Option<Catcher> {
        let result_path = self.placement(fields);
        let next = fields.required_text(self, "Next");
        let comment = fields.text(self, "Comment");
        Some(Catcher {
            error_equals,
            result_path: result_path?,
            next: next?,
            comment,
        })
    }
}
