//! The states one by one.

use serde_json::Value;

use super::at::At;
use super::data::{Available, Shape};
use super::fields::{EMPTY, Fields, exactly_one, kind_of, only_one, out_of, show};
use super::{Checker, MAX_SECONDS, Outer};
use crate::checked::{
    Catcher, Choice, Data, Dynamic, Fail, Integration, Machine, Parallel, Pass, QueryLanguage, Retrier,
    State, StateKind, Task, Transition, Until, Wait, parse_timestamp,
};
use crate::finding::{Code, Finding, nearest};
use crate::jsonata::Jsonata;
use crate::template::Expression;

const TYPES: [&str; 8] = [
    "Task", "Parallel", "Map", "Pass", "Choice", "Wait", "Succeed", "Fail",
];

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

/// Whether this is an error name that the language reserves, or one of the HTTP integration with its status code.
///
/// States Language, Appendix A; developer guide, "Call HTTPS APIs".
fn is_reserved(name: &str) -> bool {
    let status = name.strip_prefix("States.Http.StatusCode.");
    RESERVED_ERRORS.contains(&name)
        || status.is_some_and(|code| code.len() == 3 && code.bytes().all(|b| b.is_ascii_digit()))
}

/// Which of the data fields each type of state has, by the tables of the States Language ("State Types").
fn shape(kind: &str) -> Option<(Shape, &'static str)> {
    let none = Shape {
        paths: false,
        parameters: false,
        arguments: false,
        selector: false,
        placement: false,
        result: false,
    };
    let through = Shape { paths: true, ..none };
    let calls = Shape {
        paths: true,
        parameters: true,
        arguments: true,
        selector: true,
        placement: true,
        result: true,
    };
    Some(match kind {
        "Task" => (calls, "a Task state"),
        "Parallel" => (calls, "a Parallel state"),
        // Its `Parameters` are an old name of `ItemSelector`.
        "Map" => {
            let shape = Shape {
                parameters: false,
                arguments: false,
                ..calls
            };
            (shape, "a Map state")
        }
        "Pass" => {
            let shape = Shape {
                parameters: true,
                placement: true,
                ..through
            };
            (shape, "a Pass state")
        }
        "Choice" => (through, "a Choice state"),
        "Wait" => (through, "a Wait state"),
        "Succeed" => (through, "a Succeed state"),
        "Fail" => (none, "a Fail state"),
        _ => return None,
    })
}

impl<'d> Checker<'d> {
    pub(super) fn state(
        &mut self,
        name: &str,
        pointer: String,
        value: &'d Value,
        outer: QueryLanguage,
    ) -> Option<State> {
        let Value::Object(map) = value else {
            self.wrong_type(pointer, format!("a state is an object, not {}", kind_of(value)));
            return None;
        };
        let here = At::Pointer(&pointer);
        let mut fields = Fields::new(&here, map, outer);
        let kind = fields.required_text(self, "Type")?;
        let comment = fields.text(self, "Comment").map(str::to_owned);
        fields.language = self.query_language(&mut fields, Some(outer)).unwrap_or(outer);
        let Some((shape, what)) = shape(kind) else {
            let message = format!("there is no type of state `{kind}`");
            let finding = Finding::new(Code::UnknownStateType, fields.at("Type"), message);
            self.findings.push(finding.near(nearest(kind, TYPES)));
            return None;
        };
        let data = self.data(&mut fields, shape);
        if let Some(data) = &data {
            self.result(&fields, data);
        }
        let assign = if matches!(kind, "Succeed" | "Fail") {
            Default::default()
        } else {
            let available = Available {
                result: shape.result,
                error: false,
            };
            self.assign(&mut fields, available)
        };
        let kind = match kind {
            "Task" => self.task(&mut fields),
            "Parallel" => self.parallel(&mut fields, outer),
            "Map" => self.map(&mut fields, outer),
            "Pass" => self.pass(&mut fields),
            "Choice" => self.choice(&mut fields),
            "Wait" => self.wait(&mut fields),
            "Succeed" => Some(StateKind::Succeed),
            _ => self.fail(&mut fields),
        };
        fields.finish(self, what);
        Some(State {
            name: name.to_owned(),
            pointer,
            comment,
            data: data.unwrap_or_else(|| Data::JsonPath(Default::default())),
            assign,
            kind: kind?,
        })
    }

    fn task(&mut self, fields: &mut Fields<'d, '_>) -> Option<StateKind> {
        let arn = fields.required_text(self, "Resource");
        let resource = arn.and_then(|arn| self.resource(fields.at("Resource"), arn));
        let activity = resource
            .as_ref()
            .is_some_and(|resource| resource.integration == Integration::Activity);
        let role_arn = self.credentials(fields, activity);
        let seconds = 1..=MAX_SECONDS;
        let timeout = self.dynamic_integer(fields, "TimeoutSeconds", "TimeoutSecondsPath", seconds.clone());
        let heartbeat = self.dynamic_integer(fields, "HeartbeatSeconds", "HeartbeatSecondsPath", seconds);
        if let (Some(Dynamic::Fixed(timeout)), Some(Dynamic::Fixed(heartbeat))) = (&timeout, &heartbeat)
            && heartbeat >= timeout
        {
            let message =
                format!("`HeartbeatSeconds` ({heartbeat}) must be less than `TimeoutSeconds` ({timeout})");
            self.report(Code::OutOfRange, fields.at("HeartbeatSeconds"), message);
        }
        let retry = self.retry(fields);
        let catch = self.catch(fields);
        let transition = self.transition(fields);
        Some(StateKind::Task(Box::new(Task {
            resource: resource?,
            role_arn,
            timeout,
            heartbeat,
            retry,
            catch,
            transition: transition?,
        })))
    }

    /// `RoleArn` in `Credentials`.
    fn credentials(&mut self, fields: &mut Fields<'d, '_>, activity: bool) -> Option<Dynamic<String>> {
        let map = fields.object(self, "Credentials")?;
        let here = fields.at("Credentials");
        let mut inner = Fields::new(&here, map, fields.language);
        if activity {
            let message = "an activity takes no `Credentials`";
            let finding = Finding::new(Code::MisplacedField, here, message);
            self.findings
                .push(finding.said("The field 'Credentials' is not supported for activities"));
        }
        if fields.is_json_path() {
            inner.exclusive(self, "RoleArn", "RoleArn.$");
        }
        let computed = fields
            .is_json_path()
            .then(|| inner.text(self, "RoleArn.$"))
            .flatten();
        let role = match computed {
            Some(text) => {
                inner.know("RoleArn");
                self.expression(inner.at("RoleArn.$"), text)
                    .map(Dynamic::Computed)
            }
            None if inner.has("RoleArn.$") && fields.is_json_path() => None,
            None => {
                if inner.get("RoleArn").is_none() {
                    let finding = Finding::new(Code::MissingField, here, "the field `RoleArn` is missing");
                    self.findings
                        .push(finding.said("The field 'RoleArn' is required but was missing"));
                }
                let text = inner.text(self, "RoleArn");
                let role = text.and_then(|text| self.dynamic_text(&inner, "RoleArn", text));
                if let Some(Dynamic::Fixed(arn)) = &role {
                    self.role(inner.at("RoleArn"), arn);
                }
                role
            }
        };
        inner.finish(self, "`Credentials`");
        role
    }

    /// A text that may be computed in a JSONata state.
    fn dynamic_text(
        &mut self,
        fields: &Fields<'_, '_>,
        field: &str,
        text: &'d str,
    ) -> Option<Dynamic<String>> {
        if fields.is_json_path() || !Jsonata::is_meant(text) {
            return Some(Dynamic::Fixed(text.to_owned()));
        }
        let jsonata = self.jsonata(fields.at(field), text, Available::NOTHING)?;
        Some(Dynamic::Computed(Expression::Jsonata(jsonata)))
    }

    fn parallel(&mut self, fields: &mut Fields<'d, '_>, outer: QueryLanguage) -> Option<StateKind> {
        let pointer = fields.at("Branches");
        let branches = match fields.required(self, "Branches") {
            None => None,
            Some(Value::Array(list)) if list.is_empty() => {
                let finding = Finding::new(Code::InvalidValue, pointer, "there must be at least one branch");
                self.findings.push(finding.said(EMPTY));
                None
            }
            Some(Value::Array(list)) => Some(list),
            Some(other) => {
                let message = format!("`Branches` is an array, not {}", kind_of(other));
                self.wrong_type(pointer, message);
                None
            }
        };
        // The states inside follow the machine's language, not that of the state around them.
        let inside = Outer {
            language: outer,
            what: "a branch",
        };
        let mut machines: Vec<Machine> = Vec::new();
        for (index, branch) in branches.into_iter().flatten().enumerate() {
            machines.extend(self.machine(branch, At::Item(&pointer, index), Some(inside)));
        }
        let retry = self.retry(fields);
        let catch = self.catch(fields);
        let transition = self.transition(fields);
        Some(StateKind::Parallel(Parallel {
            branches: machines,
            retry,
            catch,
            transition: transition?,
        }))
    }

    fn pass(&mut self, fields: &mut Fields<'d, '_>) -> Option<StateKind> {
        let result = if fields.is_json_path() {
            fields.get("Result").cloned()
        } else {
            None
        };
        if let Some(result) = &result {
            self.payload(fields.at("Result"), result);
            self.fixed_result(fields.at("Result"), result);
        }
        let transition = self.transition(fields);
        Some(StateKind::Pass(Pass {
            result,
            transition: transition?,
        }))
    }

    /// The `Result` of a Pass state with something in it that looks as if it were to be computed.
    fn fixed_result(&mut self, at: At<'_>, value: &Value) {
        match value {
            Value::String(text) if Expression::is_meant(text) => {
                let message = format!("`{text}` stays as it is: nothing in `Result` is computed");
                let finding = Finding::new(Code::PassResultIsStatic, at, message);
                self.findings
                    .push(finding.hint("`Parameters` with a key that ends in `.$` computes it"));
            }
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.fixed_result(At::Item(&at, index), item);
                }
            }
            Value::Object(map) => {
                for (key, value) in map {
                    self.fixed_result(At::Key(&at, key), value);
                }
            }
            _ => {}
        }
    }

    fn choice(&mut self, fields: &mut Fields<'d, '_>) -> Option<StateKind> {
        let rules = self.rules(fields);
        let default = fields.text(self, "Default").map(str::to_owned);
        for field in ["Next", "End"] {
            if fields.get(field).is_some() {
                let message = format!("the field `{field}` does not belong to a Choice state");
                let finding = Finding::new(Code::MisplacedField, fields.at(field), message);
                self.findings
                    .push(finding.hint("its `Choices` and `Default` say what follows"));
            }
        }
        if !fields.has("Default") {
            let message = "the Choice state has no `Default`";
            let finding = Finding::new(Code::ChoiceWithoutDefault, *fields.here, message);
            self.findings
                .push(finding.hint("when no rule matches, the execution fails"));
        }
        Some(StateKind::Choice(Choice {
            rules: rules?,
            default,
        }))
    }

    fn wait(&mut self, fields: &mut Fields<'d, '_>) -> Option<StateKind> {
        let all: &[&'static str] = if fields.is_json_path() {
            &["Seconds", "SecondsPath", "Timestamp", "TimestampPath"]
        } else {
            &["Seconds", "Timestamp"]
        };
        let given: Vec<&str> = all.iter().copied().filter(|field| fields.has(field)).collect();
        let until = match given.as_slice() {
            ["Seconds" | "SecondsPath"] => self
                .dynamic_integer(fields, "Seconds", "SecondsPath", 0..=MAX_SECONDS)
                .map(Until::Seconds),
            ["Timestamp" | "TimestampPath"] => self
                .dynamic(fields, "Timestamp", "TimestampPath", |checker, pointer, value| {
                    checker.timestamp(pointer, "Timestamp", value)
                })
                .map(Until::Timestamp),
            given => {
                let names: Vec<String> = all.iter().map(|field| format!("`{field}`")).collect();
                // In this order the service names them.
                let order = ["SecondsPath", "Seconds", "TimestampPath", "Timestamp"];
                let (code, not, said) = if given.is_empty() {
                    (Code::MissingField, "none".to_owned(), exactly_one(&order))
                } else {
                    let given = format!("`{}`", given.join("`, `"));
                    (Code::ConflictingFields, given, only_one(&order))
                };
                let message = format!("a Wait state has exactly one of {}, not {not}", names.join(", "));
                self.findings
                    .push(Finding::new(code, *fields.here, message).said(said));
                None
            }
        };
        all.iter().for_each(|field| fields.know(field));
        let transition = self.transition(fields);
        Some(StateKind::Wait(Wait {
            until: until?,
            transition: transition?,
        }))
    }

    pub(super) fn timestamp(
        &mut self,
        pointer: At<'_>,
        field: &str,
        value: &Value,
    ) -> Option<jiff::Timestamp> {
        let timestamp = value.as_str().and_then(parse_timestamp);
        if timestamp.is_none() {
            let code = if value.is_string() {
                Code::InvalidTimestamp
            } else {
                Code::WrongType
            };
            let message = format!(
                "`{field}` is a time such as `2026-01-31T12:00:00Z`, not {}",
                show(value)
            );
            self.report(code, pointer, message);
        }
        timestamp
    }

    fn fail(&mut self, fields: &mut Fields<'d, '_>) -> Option<StateKind> {
        let error = self.fail_text(fields, "Error", "ErrorPath");
        let cause = self.fail_text(fields, "Cause", "CausePath");
        Some(StateKind::Fail(Fail { error, cause }))
    }

    fn fail_text(
        &mut self,
        fields: &mut Fields<'d, '_>,
        fixed: &'static str,
        path: &'static str,
    ) -> Option<Dynamic<String>> {
        if !fields.is_json_path() {
            let text = fields.text(self, fixed)?;
            return self.dynamic_text(fields, fixed, text);
        }
        fields.exclusive(self, fixed, path);
        let computed = fields.text(self, path);
        if let Some(text) = fields.text(self, fixed) {
            self.no_path(fields.at(fixed), fixed, text);
            return Some(Dynamic::Fixed(text.to_owned()));
        }
        let text = computed?;
        let pointer = fields.at(path);
        let expression = self.expression(pointer, text)?;
        if let Expression::Call(call) = &expression
            && !call.function.yields_text()
        {
            let message = format!(
                "`{path}` must yield a text, which `{}` does not",
                call.function.name()
            );
            self.report(Code::InvalidIntrinsic, pointer, message);
            return None;
        }
        Some(Dynamic::Computed(expression))
    }

    pub(super) fn transition(&mut self, fields: &mut Fields<'d, '_>) -> Option<Transition> {
        let next = fields.text(self, "Next");
        let end = match fields.get("End") {
            None => false,
            Some(Value::Bool(true)) => true,
            Some(other) => {
                let code = if other.is_boolean() {
                    Code::InvalidValue
                } else {
                    Code::WrongType
                };
                let message = format!("`End` is `true` or left out, not {}", show(other));
                self.report(code, fields.at("End"), message);
                return None;
            }
        };
        match (next, end) {
            (Some(next), false) => Some(Transition::Next(next.to_owned())),
            (None, true) => Some(Transition::End),
            (Some(_), true) => {
                let message = "exactly one of `Next` and `End` is wanted, not both";
                let finding = Finding::new(Code::ConflictingFields, *fields.here, message);
                self.findings.push(finding.said(only_one(&["Next", "End"])));
                None
            }
            (None, false) => {
                // A `Next` of the wrong type has been reported already.
                if !fields.has("Next") {
                    let message = "exactly one of `Next` and `End` is wanted, not none";
                    let finding = Finding::new(Code::MissingField, *fields.here, message);
                    self.findings.push(finding.said(exactly_one(&["Next", "End"])));
                }
                None
            }
        }
    }

    pub(super) fn retry(&mut self, fields: &mut Fields<'d, '_>) -> Vec<Retrier> {
        self.list(fields, "Retry", "a retrier", Self::retrier)
    }

    pub(super) fn catch(&mut self, fields: &mut Fields<'d, '_>) -> Vec<Catcher> {
        self.list(fields, "Catch", "a catcher", Self::catcher)
    }

    /// `Retry` or `Catch`.
    fn list<T>(
        &mut self,
        fields: &mut Fields<'d, '_>,
        field: &'static str,
        what: &str,
        read: fn(&mut Self, &mut Fields<'d, '_>, Vec<String>) -> Option<T>,
    ) -> Vec<T> {
        let pointer = fields.at(field);
        let list = match fields.get(field) {
            None => return Vec::new(),
            Some(Value::Array(list)) => list,
            Some(other) => {
                self.wrong_type(pointer, format!("`{field}` is an array, not {}", kind_of(other)));
                return Vec::new();
            }
        };
        let mut entries = Vec::with_capacity(list.len());
        for (index, value) in list.iter().enumerate() {
            let here = At::Item(&pointer, index);
            let Value::Object(map) = value else {
                self.wrong_type(
                    here,
                    format!("an entry of `{field}` is an object, not {}", kind_of(value)),
                );
                continue;
            };
            let mut entry = Fields::new(&here, map, fields.language);
            let errors = self.error_equals(&mut entry, field, index + 1 == list.len());
            entries.extend(read(self, &mut entry, errors));
            entry.finish(self, what);
        }
        entries
    }

    fn error_equals(&mut self, fields: &mut Fields<'d, '_>, list: &str, last: bool) -> Vec<String> {
        let pointer = fields.at("ErrorEquals");
        let names = match fields.required(self, "ErrorEquals") {
            None => return Vec::new(),
            Some(Value::Array(names)) if !names.is_empty() => names,
            Some(other) => {
                let code = if other.is_array() {
                    Code::InvalidValue
                } else {
                    Code::WrongType
                };
                let message = format!(
                    "`ErrorEquals` is a non-empty array of error names, not {}",
                    show(other)
                );
                let mut finding = Finding::new(code, pointer, message);
                if other.is_array() {
                    finding = finding.said(EMPTY);
                }
                self.findings.push(finding);
                return Vec::new();
            }
        };
        let mut errors = Vec::with_capacity(names.len());
        for (index, name) in names.iter().enumerate() {
            let pointer = At::Item(&pointer, index);
            let Value::String(name) = name else {
                self.wrong_type(pointer, format!("an error name is a text, not {}", kind_of(name)));
                continue;
            };
            if name.starts_with("States.") && !is_reserved(name) {
                let message = format!("`{name}` is not one of the reserved error names, so it never matches");
                let finding = Finding::new(Code::UnknownErrorName, pointer, message);
                self.findings.push(finding.near(nearest(name, RESERVED_ERRORS)));
            }
            errors.push(name.clone());
        }
        if errors.iter().any(|name| name == "States.ALL") {
            if errors.len() > 1 {
                self.report(Code::MisplacedStatesAll, pointer, "`States.ALL` must stand alone");
            } else if !last {
                let message = format!("`States.ALL` must stand in the last entry of `{list}`");
                self.report(Code::MisplacedStatesAll, pointer, message);
            }
        }
        errors
    }

    fn retrier(&mut self, fields: &mut Fields<'d, '_>, error_equals: Vec<String>) -> Option<Retrier> {
        let interval_seconds = fields
            // The service takes 0, too, which is no wait.
            .integer(self, "IntervalSeconds", 0..=MAX_SECONDS)
            .unwrap_or(1);
        let max_attempts = fields.integer(self, "MaxAttempts", 0..=MAX_SECONDS).unwrap_or(3);
        let backoff_rate = match fields.get("BackoffRate") {
            None => 2.0,
            Some(value) => match value.as_f64().filter(|rate| *rate >= 1.0) {
                Some(rate) => rate,
                None => {
                    let code = if value.is_number() {
                        Code::OutOfRange
                    } else {
                        Code::WrongType
                    };
                    let message = format!("`BackoffRate` is a number of at least 1.0, not {}", show(value));
                    let mut finding = Finding::new(code, fields.at("BackoffRate"), message);
                    finding.said = out_of(value, 1, u64::MAX).map(|said| Box::new(said.into()));
                    self.findings.push(finding);
                    2.0
                }
            },
        };
        // A year and a bit: the service's limit.
        let max_delay_seconds = fields.integer(self, "MaxDelaySeconds", 1..=31_622_399);
        if let Some(max) = max_delay_seconds.filter(|max| *max <= interval_seconds) {
            let message =
                format!("`MaxDelaySeconds` ({max}) must be more than `IntervalSeconds` ({interval_seconds})");
            self.report(Code::OutOfRange, fields.at("MaxDelaySeconds"), message);
        }
        let jitter = fields.word(self, "JitterStrategy", &[("NONE", false), ("FULL", true)]);
        Some(Retrier {
            error_equals,
            comment: fields.text(self, "Comment").map(str::to_owned),
            interval_seconds,
            max_attempts,
            backoff_rate,
            max_delay_seconds,
            full_jitter: jitter.unwrap_or(false),
        })
    }

    fn catcher(&mut self, fields: &mut Fields<'d, '_>, error_equals: Vec<String>) -> Option<Catcher> {
        let (mut result_path, mut output) = (None, None);
        if fields.is_json_path() {
            result_path = self.placement(fields);
        } else {
            output = self.template_field(fields, "Output", Available::ERROR);
        }
        let assign = self.assign(fields, Available::ERROR);
        let next = fields.required_text(self, "Next");
        Some(Catcher {
            error_equals,
            result_path: result_path
                .unwrap_or_else(|| crate::checked::Placement::At(crate::path::Path::root_of_data())),
            output,
            assign,
            next: next?.to_owned(),
            comment: fields.text(self, "Comment").map(str::to_owned),
        })
    }
}
