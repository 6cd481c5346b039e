//! State machines inside CloudFormation and SAM templates.
//!
//! A template's values are known when a stack is made, and not before: `Ref`, `Fn::Sub` and their kind are replaced by what
//! the template itself says (a parameter's default, the kind of a resource), or by a guess of the right form. What is then
//! found at a guess is not reported.
//!
//! CloudFormation user guide, `AWS::StepFunctions::StateMachine` and `AWS::Serverless::StateMachine`.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::{Map, Value};

use crate::finding::{Code, Finding, nearest, push};

/// The types of resource that hold a definition.
const TYPES: [&str; 2] = [
    "AWS::StepFunctions::StateMachine",
    "AWS::Serverless::StateMachine",
];

/// A state machine of a template.
pub(crate) struct Resource<'a> {
    /// Its logical id.
    pub(crate) name: &'a str,
    /// `/Resources/…/Properties`.
    pub(crate) pointer: String,
    pub(crate) definition: Definition<'a>,
}

pub(crate) enum Definition<'a> {
    /// `Definition`: an object, with its pointer.
    Object(String, &'a Value),
    /// `DefinitionString`: JSON in a text, with its pointer.
    Text(String, &'a Value),
    /// It lies elsewhere, or nowhere.
    None,
}

/// The functions' short way to what a template says of itself.
pub(crate) struct Template<'a> {
    root: &'a Value,
    /// The digits of numbers as they were written, by pointer; empty for JSON.
    written: &'a HashMap<String, String>,
}

/// A value with its functions replaced.
pub(crate) struct Resolved {
    pub(crate) value: Value,
    /// Pointers, within the value, of what was guessed.
    pub(crate) guessed: BTreeSet<String>,
}

impl<'a> Template<'a> {
    /// `None` when it is no template: those have `Resources`, and definitions do not.
    pub(crate) fn new(root: &'a Value, written: &'a HashMap<String, String>) -> Option<Self> {
        let template = root.get("Resources")?.is_object() && root.get("States").is_none();
        template.then_some(Self { root, written })
    }

    /// The state machines, in the template's order.
    pub(crate) fn machines(&self) -> Vec<Resource<'a>> {
        let resources = self.root.get("Resources").and_then(Value::as_object);
        resources
            .into_iter()
            .flatten()
            .filter(|(_, resource)| {
                let kind = resource.get("Type").and_then(Value::as_str);
                kind.is_some_and(|kind| TYPES.contains(&kind))
            })
            .map(|(name, resource)| {
                let pointer = push(&push("/Resources", name), "Properties");
                let property = |name: &str| resource.get("Properties")?.get(name);
                let definition = if let Some(object) = property("Definition") {
                    Definition::Object(push(&pointer, "Definition"), object)
                } else if let Some(text) = property("DefinitionString") {
                    Definition::Text(push(&pointer, "DefinitionString"), text)
                } else {
                    Definition::None
                };
                Resource {
                    name,
                    pointer,
                    definition,
                }
            })
            .collect()
    }

    /// `DefinitionSubstitutions` of a machine; `None` stands for a value that only the stack knows.
    pub(crate) fn substitutions(&self, machine: &Resource<'_>) -> BTreeMap<String, Option<String>> {
        let pointer = push(&machine.pointer, "DefinitionSubstitutions");
        let Some(substitutions) = self.root.pointer(&pointer).and_then(Value::as_object) else {
            return BTreeMap::new();
        };
        substitutions
            .iter()
            .map(|(name, value)| {
                let here = push(&pointer, name);
                let resolved = self.resolve(value);
                let known = resolved.guessed.is_empty();
                // `1.10` replaces a token by its four characters.
                let text = match (&resolved.value, self.written.get(&here)) {
                    (_, Some(written)) => written.clone(),
                    (Value::String(text), None) => text.clone(),
                    (value, None) => value.to_string(),
                };
                // A guessed ARN is better than no ARN.
                let text = (known || text.starts_with("arn:")).then_some(text);
                (name.clone(), text)
            })
            .collect()
    }

    /// A value with its functions replaced.
    pub(crate) fn resolve(&self, value: &Value) -> Resolved {
        let mut guessed = BTreeSet::new();
        let value = self.value(value, "", &mut guessed);
        Resolved {
            value: value.unwrap_or_default(),
            guessed,
        }
    }

    /// `None` for what is left out (`AWS::NoValue`).
    fn value(&self, value: &Value, pointer: &str, guessed: &mut BTreeSet<String>) -> Option<Value> {
        match value {
            Value::Object(map) => {
                if let Some((function, argument)) = function(map) {
                    return self.call(function, argument, pointer, guessed);
                }
                let fields = map.iter().filter_map(|(key, value)| {
                    Some((key.clone(), self.value(value, &push(pointer, key), guessed)?))
                });
                Some(Value::Object(fields.collect()))
            }
            Value::Array(items) => {
                let mut kept: Vec<Value> = Vec::new();
                for item in items {
                    let at = format!("{pointer}/{}", kept.len());
                    kept.extend(self.value(item, &at, guessed));
                }
                Some(Value::Array(kept))
            }
            plain => Some(plain.clone()),
        }
    }

    fn call(
        &self,
        function: &str,
        argument: &Value,
        pointer: &str,
        guessed: &mut BTreeSet<String>,
    ) -> Option<Value> {
        let mut guess = |value: &str| {
            guessed.insert(pointer.to_owned());
            Some(Value::from(value))
        };
        match (function, argument) {
            ("Ref", Value::String(name)) if name == "AWS::NoValue" => None,
            ("Ref", Value::String(name)) => match self.reference(name) {
                (value, true) => Some(value),
                (value, false) => {
                    guessed.insert(pointer.to_owned());
                    Some(value)
                }
            },
            ("Fn::GetAtt", Value::Array(parts)) => {
                let part = |at: usize| parts.get(at).and_then(Value::as_str).unwrap_or_default();
                guess(&self.attribute(part(0), part(1)))
            }
            ("Fn::GetAtt", Value::String(path)) => {
                let (resource, attribute) = path.split_once('.').unwrap_or((path, ""));
                guess(&self.attribute(resource, attribute))
            }
            ("Fn::Sub", Value::String(text)) => {
                let (text, known) = self.substitute(text, &Map::new());
                if !known {
                    guessed.insert(pointer.to_owned());
                }
                Some(text.into())
            }
            ("Fn::Sub", Value::Array(parts)) => {
                let text = parts.first().and_then(Value::as_str)?;
                let none = Map::new();
                let own = parts.get(1).and_then(Value::as_object).unwrap_or(&none);
                let (text, known) = self.substitute(text, own);
                if !known {
                    guessed.insert(pointer.to_owned());
                }
                Some(text.into())
            }
            ("Fn::Join", Value::Array(parts)) => {
                let between = parts.first().and_then(Value::as_str).unwrap_or_default();
                let mut known = true;
                let items = parts.get(1).and_then(Value::as_array).map(Vec::as_slice);
                let texts: Vec<String> = items
                    .unwrap_or_default()
                    .iter()
                    .map(|item| {
                        let resolved = self.resolve(item);
                        known &= resolved.guessed.is_empty();
                        text(&resolved.value)
                    })
                    .collect();
                if !known || items.is_none() {
                    guessed.insert(pointer.to_owned());
                }
                Some(texts.join(between).into())
            }
            // Whether the condition holds is not known; what it stands for when it does is as good as the other.
            ("Fn::If", Value::Array(parts)) => {
                let chosen = parts.get(1)?;
                let value = self.value(chosen, pointer, guessed);
                value.or_else(|| self.value(parts.get(2)?, pointer, guessed))
            }
            ("Fn::ToJsonString", argument) => {
                let resolved = self.resolve(argument);
                if !resolved.guessed.is_empty() {
                    guessed.insert(pointer.to_owned());
                }
                Some(resolved.value.to_string().into())
            }
            _ => guess("unknown"),
        }
    }

    /// What `Ref` gives, and whether the template says so.
    fn reference(&self, name: &str) -> (Value, bool) {
        let pseudo = match name {
            "AWS::AccountId" => "123456789012",
            "AWS::Partition" => "aws",
            "AWS::Region" => "us-east-1",
            "AWS::StackName" => "stack",
            "AWS::URLSuffix" => "amazonaws.com",
            "AWS::StackId" => {
                "arn:aws:cloudformation:us-east-1:123456789012:stack/stack/00000000-0000-0000-0000-000000000000"
            }
            _ => "",
        };
        if !pseudo.is_empty() {
            return (pseudo.into(), false);
        }
        let parameter = self
            .root
            .get("Parameters")
            .and_then(|parameters| parameters.get(name));
        if let Some(parameter) = parameter {
            let number = parameter.get("Type").and_then(Value::as_str) == Some("Number");
            return match parameter.get("Default") {
                Some(Value::String(text)) if number => {
                    let value = serde_json::from_str::<serde_json::Number>(text).map(Value::from);
                    (value.unwrap_or_else(|_| text.as_str().into()), false)
                }
                Some(default @ (Value::String(_) | Value::Number(_) | Value::Bool(_))) => {
                    (default.clone(), false)
                }
                _ if number => (1.into(), false),
                _ => ("unknown".into(), false),
            };
        }
        let guess = match self.resource_type(name) {
            // Of these `Ref` is the ARN.
            Some("AWS::StepFunctions::StateMachine" | "AWS::Serverless::StateMachine") => {
                format!("arn:aws:states:us-east-1:123456789012:stateMachine:{name}")
            }
            Some("AWS::StepFunctions::Activity") => {
                format!("arn:aws:states:us-east-1:123456789012:activity:{name}")
            }
            Some("AWS::SNS::Topic") => format!("arn:aws:sns:us-east-1:123456789012:{name}"),
            Some("AWS::SQS::Queue") => format!("https://sqs.us-east-1.amazonaws.com/123456789012/{name}"),
            Some(_) => name.to_owned(),
            None => "unknown".to_owned(),
        };
        (guess.into(), false)
    }

    /// A guess at what `Fn::GetAtt` gives.
    fn attribute(&self, resource: &str, attribute: &str) -> String {
        if !attribute.ends_with("Arn") {
            return format!("{resource}.{attribute}");
        }
        match self.resource_type(resource) {
            Some("AWS::StepFunctions::Activity") => {
                format!("arn:aws:states:us-east-1:123456789012:activity:{resource}")
            }
            Some("AWS::StepFunctions::StateMachine" | "AWS::Serverless::StateMachine") => {
                format!("arn:aws:states:us-east-1:123456789012:stateMachine:{resource}")
            }
            Some("AWS::IAM::Role") => format!("arn:aws:iam::123456789012:role/{resource}"),
            Some("AWS::SQS::Queue") => format!("arn:aws:sqs:us-east-1:123456789012:{resource}"),
            // What definitions name by its ARN is a function more often than anything else.
            _ => format!("arn:aws:lambda:us-east-1:123456789012:function:{resource}"),
        }
    }

    fn resource_type(&self, name: &str) -> Option<&'a str> {
        self.root.get("Resources")?.get(name)?.get("Type")?.as_str()
    }

    /// `Fn::Sub`: the text, and whether all of it is known.
    fn substitute(&self, text: &str, own: &Map<String, Value>) -> (String, bool) {
        let mut known = true;
        let text = replace(text, |name, quoted| {
            // `${!Name}` stands for `${Name}` itself.
            if let Some(literal) = name.strip_prefix('!') {
                return Some(format!("${{{literal}}}"));
            }
            let resolved = match own.get(name) {
                Some(value) => self.resolve(value),
                None => {
                    let argument = match name.split_once('.') {
                        Some((resource, attribute)) => Value::from(self.attribute(resource, attribute)),
                        None => self.reference(name).0,
                    };
                    Resolved {
                        value: argument,
                        guessed: BTreeSet::from([String::new()]),
                    }
                }
            };
            known &= resolved.guessed.is_empty();
            let text = self::text(&resolved.value);
            // A number, most likely, where a whole JSON value is wanted.
            Some(if text == "unknown" && !quoted {
                "1".to_owned()
            } else {
                text
            })
        });
        (text, known)
    }
}

fn function(map: &Map<String, Value>) -> Option<(&str, &Value)> {
    let (name, argument) = map.iter().next().filter(|_| map.len() == 1)?;
    (name == "Ref" || name.starts_with("Fn::")).then_some((name.as_str(), argument))
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        value => value.to_string(),
    }
}

/// Replaces each `${…}`; the function is told the name, and whether it stands in a JSON string. `None` keeps it.
fn replace(text: &str, mut with: impl FnMut(&str, bool) -> Option<String>) -> String {
    let mut replaced = String::with_capacity(text.len());
    let mut quoted = false;
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, token) = rest.split_at(at);
        let mut escaped = false;
        for c in before.chars() {
            quoted ^= c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
        }
        replaced.push_str(before);
        let Some(end) = token.find('}') else {
            replaced.push_str(token);
            return replaced;
        };
        let name = token[2..end].trim();
        match with(name, quoted) {
            Some(value) => replaced.push_str(&value),
            None => replaced.push_str(&token[..=end]),
        }
        rest = &token[end + 1..];
    }
    replaced.push_str(rest);
    replaced
}

/// Whether this can be the name of a substitution.
fn is_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Replaces the tokens of `DefinitionSubstitutions`, and reports those without a value.
pub(crate) struct Substitution<'s> {
    values: &'s BTreeMap<String, Option<String>>,
    used: BTreeSet<String>,
    /// Pointers of values that hold what only the stack knows.
    pub(crate) guessed: BTreeSet<String>,
    pub(crate) findings: Vec<Finding>,
}

impl<'s> Substitution<'s> {
    pub(crate) fn new(values: &'s BTreeMap<String, Option<String>>) -> Self {
        Self {
            values,
            used: BTreeSet::new(),
            guessed: BTreeSet::new(),
            findings: Vec::new(),
        }
    }

    /// A text that stands at this pointer.
    pub(crate) fn text(&mut self, text: &str, pointer: &str) -> String {
        replace(text, |name, quoted| {
            if !is_name(name) {
                return None;
            }
            let Some(value) = self.values.get(name) else {
                let message = format!("no substitution has the name of the token `${{{name}}}`");
                let near = nearest(name, self.values.keys().map(String::as_str));
                let finding = Finding::new(Code::MissingSubstitution, pointer, message)
                    .hint("it stays in the definition as it is")
                    .near(near);
                self.findings.push(finding);
                return None;
            };
            self.used.insert(name.to_owned());
            Some(match value {
                Some(value) => value.clone(),
                None => {
                    self.guessed.insert(pointer.to_owned());
                    if quoted { "unknown" } else { "1" }.to_owned()
                }
            })
        })
    }

    /// Every text of a value, keys too.
    pub(crate) fn value(&mut self, value: &Value, pointer: &str) -> Value {
        match value {
            // Within the text of a definition a string is quoted.
            Value::String(text) if text.contains("${") => {
                let quoted = self.text(&format!("\"{text}"), pointer);
                Value::from(&quoted[1..])
            }
            Value::Array(items) => items
                .iter()
                .enumerate()
                .map(|(at, item)| self.value(item, &format!("{pointer}/{at}")))
                .collect(),
            Value::Object(map) => {
                let fields = map.iter().map(|(key, value)| {
                    let here = push(pointer, key);
                    let key = if key.contains("${") {
                        self.text(&format!("\"{key}"), &here)[1..].to_owned()
                    } else {
                        key.clone()
                    };
                    (key, self.value(value, &here))
                });
                Value::Object(fields.collect())
            }
            plain => plain.clone(),
        }
    }

    /// The findings, with those for what was never used; `pointer` is where the substitutions stand.
    pub(crate) fn end(mut self, pointer: &str) -> (BTreeSet<String>, Vec<Finding>) {
        for name in self.values.keys().filter(|name| !self.used.contains(*name)) {
            let message = format!("the definition has no token `${{{name}}}`");
            let finding = Finding::new(Code::UnusedSubstitution, push(pointer, name), message);
            self.findings.push(finding);
        }
        (self.guessed, self.findings)
    }
}
