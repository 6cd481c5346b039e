//! Placeholders become what their places take.

use serde_json::{Map, Value};

use super::{Input, Kind, Part, Placeholder, has_placeholder, parts};
use crate::checked::QueryLanguage;
use crate::finding::{Code, Finding, nearest, push};
use crate::jsonata::Jsonata;

/// Fields of a JSONPath state that have a form with `Path`, and what they take.
const DYNAMIC: [(&str, Kind); 6] = [
    ("Seconds", Kind::Integer),
    ("Timestamp", Kind::Text),
    ("TimeoutSeconds", Kind::Integer),
    ("HeartbeatSeconds", Kind::Integer),
    ("Error", Kind::Text),
    ("Cause", Kind::Text),
];

/// Numbers of a Map state, whose form with `Path` does not read the context object.
const NUMBERS: [&str; 6] = [
    "MaxConcurrency",
    "ToleratedFailurePercentage",
    "ToleratedFailureCount",
    "MaxItems",
    "MaxItemsPerBatch",
    "MaxInputBytesPerBatch",
];

/// Fields of a JSONPath state that hold a payload template.
const TEMPLATES: [&str; 6] = [
    "Parameters",
    "ResultSelector",
    "ItemSelector",
    "Assign",
    "BatchInput",
    "Credentials",
];

/// Fields of a JSONata state in which no expression can stand; a placeholder would only become one.
const NO_EXPRESSION: [&str; 9] = [
    "Type",
    "Comment",
    "QueryLanguage",
    "Resource",
    "Next",
    "Default",
    "ErrorEquals",
    "Label",
    "Retry",
];

/// Writes what the placeholders of a definition stand for, and says what is wrong with them.
pub(crate) fn resolve(root: &mut Value, input: Option<&Input>) -> Vec<Finding> {
    let mut resolver = Resolver {
        input,
        in_child: false,
        findings: Vec::new(),
    };
    if any_placeholder(root) {
        resolver.machine(root, "", QueryLanguage::JsonPath);
        // Whatever shape the document has, no placeholder is left in it unsaid.
        if resolver.findings.is_empty() && any_placeholder(root) {
            resolver.nothing(root, "");
        }
    }
    if let Some(input) = input {
        resolver.paths(root, "", "", input);
    }
    resolver.findings
}

fn any_placeholder(value: &Value) -> bool {
    match value {
        Value::String(text) => has_placeholder(text),
        Value::Array(items) => items.iter().any(any_placeholder),
        Value::Object(map) => map.values().any(any_placeholder),
        _ => false,
    }
}

struct Resolver<'i> {
    input: Option<&'i Input>,
    /// In a distributed Map state's processor, whose executions have inputs of their own.
    in_child: bool,
    findings: Vec<Finding>,
}

impl Resolver<'_> {
    fn report(&mut self, code: Code, pointer: &str, message: impl Into<String>, hint: &str) {
        let finding = Finding::new(code, pointer, message);
        self.findings.push(if hint.is_empty() {
            finding
        } else {
            finding.hint(hint)
        });
    }

    fn misplaced(&mut self, pointer: &str, hint: &str) {
        self.report(
            Code::MisplacedPlaceholder,
            pointer,
            "a placeholder cannot stand here",
            hint,
        );
    }

    /// No placeholder can be in here.
    fn nothing(&mut self, value: &Value, pointer: &str) {
        match value {
            Value::String(text) if has_placeholder(text) => self.misplaced(
                pointer,
                "the service takes only what is written in the definition",
            ),
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.nothing(item, &format!("{pointer}/{index}"));
                }
            }
            Value::Object(map) => {
                for (key, value) in map {
                    self.nothing(value, &push(pointer, key));
                }
            }
            _ => {}
        }
    }

    fn machine(&mut self, root: &mut Value, pointer: &str, outer: QueryLanguage) {
        let Value::Object(root) = root else { return };
        let language = language(root).unwrap_or(outer);
        for (key, value) in root {
            let pointer = push(pointer, key);
            match value {
                Value::Object(states) if key == "States" => {
                    for (name, state) in states {
                        if let Value::Object(state) = state {
                            self.state(state, &push(&pointer, name), language);
                        }
                    }
                }
                value => self.nothing(value, &pointer),
            }
        }
    }

    fn state(&mut self, state: &mut Map<String, Value>, pointer: &str, machine: QueryLanguage) {
        // The states inside follow the machine's language, not that of the state around them.
        for field in ["ItemProcessor", "Iterator"] {
            if let Some(inner) = state.get_mut(field) {
                let outer = self.in_child;
                self.in_child |= is_distributed(inner);
                self.machine(inner, &format!("{pointer}/{field}"), machine);
                self.in_child = outer;
            }
        }
        let branches = state.get_mut("Branches").and_then(Value::as_array_mut);
        for (index, branch) in branches.into_iter().flatten().enumerate() {
            self.machine(branch, &format!("{pointer}/Branches/{index}"), machine);
        }
        match language(state).unwrap_or(machine) {
            QueryLanguage::JsonPath => self.path_fields(state, pointer),
            QueryLanguage::Jsonata => self.jsonata_fields(state, pointer),
        }
    }

    /// The fields of a JSONPath state, or of an object in it that has fields of its own.
    fn path_fields(&mut self, map: &mut Map<String, Value>, pointer: &str) {
        let mut fields = Map::with_capacity(map.len());
        for (key, mut value) in std::mem::take(map) {
            let at = push(pointer, &key);
            let dynamic = DYNAMIC.iter().find(|(name, _)| *name == key);
            let placed = match (&mut value, dynamic) {
                (Value::String(text), Some((name, kind))) if has_placeholder(text) => {
                    let text_field = matches!(*name, "Error" | "Cause");
                    self.whole_or_format(text, &at, *kind, text_field)
                        .map(|path| (format!("{key}Path"), path.into()))
                }
                (Value::String(text), _) if NUMBERS.contains(&key.as_str()) && has_placeholder(text) => {
                    self.misplaced(
                        &at,
                        &format!(
                            "a JSONata state takes it here, or `{key}Path` a path into the state's own input"
                        ),
                    );
                    None
                }
                (Value::String(text), _) if key.ends_with("Path") && has_placeholder(text) => {
                    Some((key.clone(), self.inline(text, &at).into()))
                }
                (Value::Object(_) | Value::Array(_) | Value::String(_), _)
                    if TEMPLATES.contains(&key.as_str()) =>
                {
                    self.template(&mut value, &at);
                    None
                }
                (Value::Object(inner), _)
                    if matches!(
                        key.as_str(),
                        "ItemReader" | "ReaderConfig" | "ItemBatcher" | "ResultWriter"
                    ) =>
                {
                    self.path_fields(inner, &at);
                    None
                }
                (Value::Array(entries), _) if matches!(key.as_str(), "Choices" | "Catch") => {
                    for (index, entry) in entries.iter_mut().enumerate() {
                        let at = format!("{at}/{index}");
                        match entry {
                            Value::Object(rule) if key == "Choices" => self.rule(rule, &at),
                            Value::Object(catcher) => self.path_fields(catcher, &at),
                            other => self.nothing(other, &at),
                        }
                    }
                    None
                }
                _ if matches!(key.as_str(), "ItemProcessor" | "Iterator" | "Branches") => None,
                (value, _) => {
                    self.nothing(value, &at);
                    None
                }
            };
            let (key, value) = placed.unwrap_or((key, value));
            self.put(&mut fields, key, value, &at);
        }
        *map = fields;
    }

    fn put(&mut self, map: &mut Map<String, Value>, key: String, value: Value, pointer: &str) {
        if map.contains_key(&key) {
            let message = format!("`{key}` is set besides a placeholder for the same");
            self.report(Code::DuplicateKey, pointer, message, "");
        }
        map.insert(key, value);
    }

    /// A rule of a Choice state, or a condition in it.
    fn rule(&mut self, map: &mut Map<String, Value>, pointer: &str) {
        let mut fields = Map::with_capacity(map.len());
        for (key, mut value) in std::mem::take(map) {
            let at = push(pointer, &key);
            let placed = match (key.as_str(), &mut value) {
                ("And" | "Or", Value::Array(conditions)) => {
                    for (index, condition) in conditions.iter_mut().enumerate() {
                        if let Value::Object(condition) = condition {
                            self.rule(condition, &format!("{at}/{index}"));
                        }
                    }
                    None
                }
                ("Not", Value::Object(condition)) => {
                    self.rule(condition, &at);
                    None
                }
                ("Assign", value) => {
                    self.template(value, &at);
                    None
                }
                ("Next" | "Comment", value) => {
                    self.nothing(value, &at);
                    None
                }
                (_, Value::String(text)) if has_placeholder(text) => {
                    if key == "Variable" || key.ends_with("Path") {
                        Some((key.clone(), self.inline(text, &at).into()))
                    } else {
                        match compared(&key) {
                            Some(kind) => self
                                .whole_or_format(text, &at, kind, false)
                                .map(|path| (format!("{key}Path"), path.into())),
                            None => {
                                self.misplaced(
                                    &at,
                                    "the operator compares with what is written in the definition",
                                );
                                None
                            }
                        }
                    }
                }
                _ => None,
            };
            let (key, value) = placed.unwrap_or((key, value));
            self.put(&mut fields, key, value, &at);
        }
        *map = fields;
    }

    /// A text that is one placeholder of this type, or where `format` allows it one with others in it.
    fn whole_or_format(&mut self, text: &str, pointer: &str, wanted: Kind, format: bool) -> Option<String> {
        match parts(text).as_slice() {
            [Part::Placeholder(placeholder)] => {
                let kind = self.kind(placeholder, pointer);
                if !wanted.takes(kind) {
                    let message = format!("{wanted} is wanted here, the placeholder stands for {kind}");
                    self.report(Code::WrongType, pointer, message, "");
                }
                Some(placeholder.path())
            }
            _ if format => Some(self.format(text, pointer)),
            _ => {
                self.misplaced(pointer, "it has to stand alone: the service formats no text here");
                None
            }
        }
    }

    /// A payload template.
    fn template(&mut self, value: &mut Value, pointer: &str) {
        match value {
            Value::Object(map) => {
                let mut fields = Map::with_capacity(map.len());
                for (key, mut value) in std::mem::take(map) {
                    let at = push(pointer, &key);
                    let computed = match &mut value {
                        Value::String(text) if has_placeholder(text) => {
                            if key.ends_with(".$") {
                                value = self.inline(text, &at).into();
                                None
                            } else {
                                Some(self.format(text, &at))
                            }
                        }
                        Value::Array(items) if items.iter().any(is_placeholder_text) => {
                            let array = self.array(items, &at);
                            if array.is_none() {
                                self.misplaced(
                                    &at,
                                    "it stands beside an object, which no intrinsic function can make",
                                );
                            }
                            array
                        }
                        other => {
                            self.template(other, &at);
                            None
                        }
                    };
                    let (key, value) = match computed {
                        Some(text) => (format!("{key}.$"), text.into()),
                        None => (key, value),
                    };
                    self.put(&mut fields, key, value, &at);
                }
                *map = fields;
            }
            Value::Array(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    self.template(item, &format!("{pointer}/{index}"));
                }
            }
            Value::String(text) if has_placeholder(text) => {
                self.misplaced(pointer, "put it into a member of an object");
            }
            _ => {}
        }
    }

    /// `States.Array`; none when an object is in it.
    fn array(&mut self, items: &[Value], pointer: &str) -> Option<String> {
        let mut arguments = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            let at = format!("{pointer}/{index}");
            arguments.push(match item {
                Value::Null | Value::Bool(_) | Value::Number(_) => item.to_string(),
                Value::String(text) if has_placeholder(text) => self.format(text, &at),
                Value::String(text) => literal(text),
                Value::Array(items) => self.array(items, &at)?,
                Value::Object(_) => return None,
            });
        }
        Some(format!("States.Array({})", arguments.join(", ")))
    }

    /// A path, or `States.Format`.
    fn format(&mut self, text: &str, pointer: &str) -> String {
        let parts = parts(text);
        if let [Part::Placeholder(placeholder)] = parts.as_slice() {
            self.kind(placeholder, pointer);
            return placeholder.path();
        }
        let (mut template, mut paths) = (String::new(), String::new());
        for part in &parts {
            match part {
                Part::Text(text) => template.push_str(&escape(text)),
                Part::Placeholder(placeholder) => {
                    let kind = self.kind(placeholder, pointer);
                    if matches!(kind, Kind::Object | Kind::Array) {
                        let message = format!("{kind} cannot become part of a text");
                        self.report(Code::WrongType, pointer, message, "");
                    }
                    template.push_str("{}");
                    paths.push_str(", ");
                    paths.push_str(&placeholder.path());
                }
            }
        }
        format!("States.Format('{template}'{paths})")
    }

    /// A text that is an expression already: paths take the placeholders' places.
    fn inline(&mut self, text: &str, pointer: &str) -> String {
        let parts = parts(text);
        parts
            .into_iter()
            .map(|part| match part {
                Part::Text(text) => text.to_owned(),
                Part::Placeholder(placeholder) => {
                    self.kind(&placeholder, pointer);
                    placeholder.path()
                }
            })
            .collect()
    }

    /// The fields of a JSONata state, of its rules and catchers, or of an object in it that has fields of its own.
    fn jsonata_fields(&mut self, map: &mut Map<String, Value>, pointer: &str) {
        for (key, value) in map {
            let at = push(pointer, key);
            match (key.as_str(), value) {
                ("ItemProcessor" | "Iterator" | "Branches", _) => {}
                ("Choices" | "Catch", Value::Array(entries)) => {
                    for (index, entry) in entries.iter_mut().enumerate() {
                        if let Value::Object(entry) = entry {
                            self.jsonata_fields(entry, &format!("{at}/{index}"));
                        }
                    }
                }
                ("ItemReader" | "ResultWriter", Value::Object(inner)) => self.jsonata_fields(inner, &at),
                (key, value) if NO_EXPRESSION.contains(&key) => self.nothing(value, &at),
                (_, value) => self.jsonata(value, &at),
            }
        }
    }

    fn jsonata(&mut self, value: &mut Value, pointer: &str) {
        match value {
            Value::String(text) if has_placeholder(text) => {
                let parts = parts(text);
                let inside = Jsonata::is_meant(text);
                let pieces: Vec<String> = parts
                    .iter()
                    .map(|part| match part {
                        Part::Text(text) if inside => (*text).to_owned(),
                        Part::Text(text) => Value::from(*text).to_string(),
                        Part::Placeholder(placeholder) => {
                            self.kind(placeholder, pointer);
                            placeholder.jsonata()
                        }
                    })
                    .collect();
                *text = if inside {
                    pieces.concat()
                } else {
                    format!("{{% {} %}}", pieces.join(" & "))
                };
            }
            Value::Array(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    self.jsonata(item, &format!("{pointer}/{index}"));
                }
            }
            Value::Object(map) => {
                for (key, value) in map {
                    self.jsonata(value, &push(pointer, key));
                }
            }
            _ => {}
        }
    }

    /// What it stands for. That the input has no such member is said once, by [`paths`](Self::paths).
    fn kind(&mut self, placeholder: &Placeholder, pointer: &str) -> Kind {
        let Some(name) = placeholder.input_member() else {
            return Kind::Any;
        };
        if self.in_child {
            let hint = "the Map state's `ItemSelector` or `BatchInput` can hand the value on";
            let message = format!(
                "`{name}` of the input is not there: a distributed Map state's items have executions of their own"
            );
            self.report(Code::MisplacedPlaceholder, pointer, message, hint);
            return Kind::Any;
        }
        let Some(input) = self.input else {
            let message = format!("the machine's input is not known to have `{name}`");
            let hint = "`MachineBuilder::input` says what it has";
            self.report(Code::UnknownInput, pointer, message, hint);
            return Kind::Any;
        };
        let kind = input.member(name).map_or(Kind::Any, |member| member.kind);
        if placeholder.is_whole_member() {
            return kind;
        }
        if !matches!(kind, Kind::Object | Kind::Any) {
            let message = format!("`{name}` of the input is {kind}, which has no members");
            self.report(Code::WrongType, pointer, message, "");
        }
        Kind::Any
    }

    /// Looks at every path into the execution's input; `key` is that of the value.
    fn paths(&mut self, value: &Value, key: &str, pointer: &str, input: &Input) {
        match value {
            Value::String(text) => {
                let (root, quoted) = if Jsonata::is_meant(text) {
                    ("$states.context.Execution.Input", false)
                } else if key.ends_with(".$") || key.ends_with("Path") || key == "Variable" {
                    ("$$.Execution.Input", true)
                } else {
                    return;
                };
                for (at, _) in text.match_indices(root) {
                    let Some(name) = member_after(&text[at + root.len()..], quoted) else {
                        continue;
                    };
                    if input.member(&name).is_none() {
                        let near = nearest(&name, input.members.iter().map(|member| member.name.as_str()));
                        let message = format!("the execution's input has no `{name}`");
                        let finding = Finding::new(Code::UnknownInput, pointer, message);
                        self.findings.push(finding.near(near));
                    }
                }
            }
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.paths(item, key, &format!("{pointer}/{index}"), input);
                }
            }
            // Its executions have inputs of their own, of which nothing is known.
            Value::Object(_) if matches!(key, "ItemProcessor" | "Iterator") && is_distributed(value) => {}
            Value::Object(map) => {
                for (key, value) in map {
                    self.paths(value, key, &push(pointer, key), input);
                }
            }
            _ => {}
        }
    }
}

fn is_distributed(processor: &Value) -> bool {
    let mode = processor.pointer("/ProcessorConfig/Mode");
    mode.and_then(Value::as_str) == Some("DISTRIBUTED")
}

fn language(map: &Map<String, Value>) -> Option<QueryLanguage> {
    match map.get("QueryLanguage")?.as_str()? {
        "JSONata" => Some(QueryLanguage::Jsonata),
        "JSONPath" => Some(QueryLanguage::JsonPath),
        _ => None,
    }
}

fn is_placeholder_text(value: &Value) -> bool {
    match value {
        Value::String(text) => has_placeholder(text),
        Value::Array(items) => items.iter().any(is_placeholder_text),
        _ => false,
    }
}

/// What an operator that has a form with `Path` compares with.
fn compared(operator: &str) -> Option<Kind> {
    [
        ("String", Kind::Text),
        ("Numeric", Kind::Number),
        ("Boolean", Kind::Boolean),
        ("Timestamp", Kind::Text),
    ]
    .into_iter()
    .find(|(prefix, _)| operator.starts_with(prefix) && operator != "StringMatches")
    .map(|(_, kind)| kind)
}

/// The name of the member that is selected first.
fn member_after(rest: &str, quoted: bool) -> Option<String> {
    if let Some(rest) = rest.strip_prefix('.') {
        if let Some(rest) = rest.strip_prefix('`') {
            return rest.split_once('`').map(|(name, _)| name.to_owned());
        }
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
        let name = &rest[..end.unwrap_or(rest.len())];
        return (!name.is_empty()).then(|| name.to_owned());
    }
    let mut chars = rest.strip_prefix('[').filter(|_| quoted)?.chars();
    let quote = chars.next().filter(|c| matches!(c, '\'' | '"'))?;
    let mut name = String::new();
    while let Some(c) = chars.next() {
        match c {
            '\\' => name.extend(chars.next()),
            c if c == quote => return Some(name),
            c => name.push(c),
        }
    }
    None
}

/// A literal of an intrinsic function's argument.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// A text in the template of `States.Format`.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '\\' | '\'' | '{' | '}') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}
