//! Paths, templates, expressions, and the fields that hold them.

use std::ops::RangeInclusive;

use serde_json::Value;

use super::fields::{Fields, kind_of, show};
use super::{Checker, MAX_NAME};
use crate::checked::{
    Assign, Data, Dynamic, JsonataData, MAX_PAYLOAD, PathData, Placement, QueryLanguage, Selection,
    payload_size,
};
use crate::finding::{Code, Finding, push};
use crate::jsonata::Jsonata;
use crate::path::{Path, Root};
use crate::template::{Expression, ExpressionError, Template};

/// The way down to a value in a template; a pointer is made of it only when there is something to say.
#[derive(Clone, Copy)]
pub(super) enum At<'a> {
    Pointer(&'a str),
    Key(&'a At<'a>, &'a str),
    Item(&'a At<'a>, usize),
}

impl At<'_> {
    fn pointer(&self) -> String {
        match self {
            Self::Pointer(pointer) => (*pointer).to_owned(),
            Self::Key(above, key) => push(&above.pointer(), key),
            Self::Item(above, index) => format!("{}/{index}", above.pointer()),
        }
    }

    /// What the interpreter's errors call it: the way from the field of the state on, such as `Output/list/0`.
    fn field(&self, field: &str) -> String {
        match self {
            Self::Pointer(_) => field.to_owned(),
            Self::Key(above, key) => format!("{}/{key}", above.field(field)),
            Self::Item(above, index) => format!("{}/{index}", above.field(field)),
        }
    }
}

/// What `$states` has where an expression stands.
#[derive(Clone, Copy, Default)]
pub(super) struct Available {
    /// `$states.result`.
    pub(super) result: bool,
    /// `$states.errorOutput`.
    pub(super) error: bool,
}

impl Available {
    pub(super) const NOTHING: Self = Self {
        result: false,
        error: false,
    };
    pub(super) const ERROR: Self = Self {
        result: false,
        error: true,
    };
}

/// Which of the fields of [`Data`] a type of state has.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    /// `InputPath`, `OutputPath`; `Output`.
    pub(super) paths: bool,
    /// `Parameters`; `Arguments` when `arguments` too.
    pub(super) parameters: bool,
    /// `Arguments`.
    pub(super) arguments: bool,
    /// `ResultSelector`.
    pub(super) selector: bool,
    /// `ResultPath`.
    pub(super) placement: bool,
    /// Whether `$states.result` is there in `Output` and `Assign`.
    pub(super) result: bool,
}

impl Checker<'_> {
    fn expression_error(&mut self, pointer: &str, error: &ExpressionError) {
        let code = if error.is_path {
            Code::InvalidPath
        } else {
            Code::InvalidIntrinsic
        };
        let finding = Finding::new(code, pointer, error.to_string());
        self.findings.push(finding.near(error.nearest.clone()));
    }

    /// A path or an intrinsic function.
    pub(super) fn expression(&mut self, pointer: &str, text: &str) -> Option<Expression> {
        match Expression::parse(text) {
            Ok(expression) => Some(expression),
            Err(error) => {
                self.expression_error(pointer, &error);
                None
            }
        }
    }

    pub(super) fn path(&mut self, pointer: &str, text: &str) -> Option<Path> {
        match text.parse::<Path>() {
            Ok(path) => Some(path),
            Err(error) => {
                self.expression_error(pointer, &error.into());
                None
            }
        }
    }

    /// A path that names exactly one place.
    pub(super) fn reference(&mut self, pointer: &str, text: &str) -> Option<Path> {
        let path = self.path(pointer, text)?;
        if path.is_reference() {
            return Some(path);
        }
        let message = format!("`{text}` is not a reference path");
        let finding = Finding::new(Code::NotAReferencePath, pointer, message);
        self.findings
            .push(finding.hint("only fields and indices from the front may stand in it"));
        None
    }

    pub(super) fn jsonata(&mut self, pointer: &str, text: &str, available: Available) -> Option<Jsonata> {
        let jsonata = match Jsonata::parse(text) {
            Ok(jsonata) => jsonata,
            Err(error) => {
                self.report(Code::InvalidJsonata, pointer, error.to_string());
                return None;
            }
        };
        let references = jsonata.references();
        for (used, there, name, hint) in [
            (
                references.result,
                available.result,
                "result",
                "it is there in `Output` and `Assign` of Task, Parallel and Map states",
            ),
            (
                references.error_output,
                available.error,
                "errorOutput",
                "it is there in `Output` and `Assign` of a catcher",
            ),
        ] {
            if used && !there {
                let message = format!("there is no `$states.{name}` here");
                self.findings
                    .push(Finding::new(Code::StatesNotAvailable, pointer, message).hint(hint));
            }
        }
        Some(jsonata)
    }

    /// A payload template.
    fn template(&mut self, at: &At<'_>, value: &Value) -> Option<Template> {
        match value {
            Value::Array(items) => {
                let mut templates = Vec::with_capacity(items.len());
                for (index, item) in items.iter().enumerate() {
                    templates.extend(self.template(&At::Item(at, index), item));
                }
                Some(array(value, templates))
            }
            Value::Object(map) => {
                let mut entries = Vec::with_capacity(map.len());
                for (key, value) in map {
                    let at = At::Key(at, key);
                    let Some(name) = key.strip_suffix(".$") else {
                        let template = self.template(&at, value);
                        entries.extend(template.map(|template| (key.clone(), template)));
                        continue;
                    };
                    if map.contains_key(name) {
                        let message = format!("`{name}` and `{key}` name the same field");
                        self.report(Code::DuplicateKey, at.pointer(), message);
                    }
                    let Value::String(text) = value else {
                        let message = format!(
                            "the value of `{key}` must be a path or an intrinsic function, not {}",
                            kind_of(value)
                        );
                        self.wrong_type(at.pointer(), message);
                        continue;
                    };
                    match Expression::parse(text) {
                        Ok(expression) => {
                            let field = key.clone();
                            entries.push((name.to_owned(), Template::Computed { field, expression }));
                        }
                        Err(error) => self.expression_error(&at.pointer(), &error),
                    }
                }
                Some(object(value, entries))
            }
            _ => Some(Template::Literal(value.clone())),
        }
    }

    /// A value of a JSONata state, with texts in `{% %}` anywhere in it. `field` is the state's field.
    fn jsonata_template(
        &mut self,
        at: &At<'_>,
        field: &str,
        value: &Value,
        available: Available,
    ) -> Option<Template> {
        match value {
            Value::String(text) if Jsonata::is_meant(text) => {
                let jsonata = self.jsonata(&at.pointer(), text, available)?;
                Some(Template::Computed {
                    field: at.field(field),
                    expression: Expression::Jsonata(jsonata),
                })
            }
            Value::Array(items) => {
                let mut templates = Vec::with_capacity(items.len());
                for (index, item) in items.iter().enumerate() {
                    templates.extend(self.jsonata_template(&At::Item(at, index), field, item, available));
                }
                Some(array(value, templates))
            }
            Value::Object(map) => {
                let mut entries = Vec::with_capacity(map.len());
                for (key, value) in map {
                    let template = self.jsonata_template(&At::Key(at, key), field, value, available);
                    entries.extend(template.map(|template| (key.clone(), template)));
                }
                Some(object(value, entries))
            }
            _ => Some(Template::Literal(value.clone())),
        }
    }

    /// A field that holds a template in the language of its state.
    pub(super) fn template_field(
        &mut self,
        fields: &mut Fields<'_>,
        field: &'static str,
        available: Available,
    ) -> Option<Template> {
        let value = fields.get(field)?;
        let pointer = fields.at(field);
        let at = At::Pointer(&pointer);
        match fields.language {
            QueryLanguage::JsonPath => self.template(&at, value),
            QueryLanguage::Jsonata => self.jsonata_template(&at, field, value, available),
        }
    }

    /// `Parameters`, or in a JSONata state `Arguments`.
    pub(super) fn arguments(&mut self, fields: &mut Fields<'_>) -> Option<Template> {
        let field = if fields.is_json_path() {
            "Parameters"
        } else {
            "Arguments"
        };
        if !fields.is_json_path()
            && let Some(value) = fields.map.get(field)
            && !value.is_object()
            && !value.as_str().is_some_and(Jsonata::is_meant)
        {
            let message = format!(
                "`{field}` is an object or a text in `{{% %}}`, not {}",
                show(value)
            );
            self.wrong_type(fields.at(field), message);
        }
        self.template_field(fields, field, Available::NOTHING)
    }

    /// The fields of [`Data`].
    pub(super) fn data(&mut self, fields: &mut Fields<'_>, shape: Shape) -> Option<Data> {
        if !fields.is_json_path() {
            let arguments = shape.arguments.then(|| self.arguments(fields)).flatten();
            let available = Available {
                result: shape.result,
                error: false,
            };
            let output = shape
                .paths
                .then(|| self.template_field(fields, "Output", available))
                .flatten();
            return Some(Data::Jsonata(JsonataData { arguments, output }));
        }
        let mut data = PathData::default();
        if shape.paths {
            data.input_path = self.selection(fields, "InputPath")?;
        }
        if shape.parameters {
            data.parameters = self.template_field(fields, "Parameters", Available::NOTHING);
        }
        if shape.selector {
            data.result_selector = self.template_field(fields, "ResultSelector", Available::NOTHING);
        }
        if shape.placement {
            data.result_path = self.placement(fields).unwrap_or(data.result_path);
        }
        if shape.paths {
            data.output_path = self.selection(fields, "OutputPath")?;
        }
        Some(Data::JsonPath(Box::new(data)))
    }

    /// `InputPath` or `OutputPath`. What could not be read counts as absent: it has been reported.
    fn selection(&mut self, fields: &mut Fields<'_>, field: &'static str) -> Option<Selection> {
        let whole = Selection::Path(Path::root_of_data());
        Some(match fields.get(field) {
            None => whole,
            Some(Value::Null) => Selection::Nothing,
            Some(Value::String(text)) => self.path(&fields.at(field), text).map_or(whole, Selection::Path),
            Some(other) => {
                let message = format!("`{field}` is a path or null, not {}", kind_of(other));
                self.wrong_type(fields.at(field), message);
                whole
            }
        })
    }

    /// `ResultPath`.
    pub(super) fn placement(&mut self, fields: &mut Fields<'_>) -> Option<Placement> {
        match fields.get("ResultPath") {
            None => Some(Placement::At(Path::root_of_data())),
            Some(Value::Null) => Some(Placement::Discard),
            Some(Value::String(text)) => {
                let pointer = fields.at("ResultPath");
                let path = self.reference(&pointer, text)?;
                let what = match path.root() {
                    Root::Data => return Some(Placement::At(path)),
                    Root::Context => "the context object",
                    Root::Variable(_) => "a variable",
                };
                let message = format!("`ResultPath` cannot write to {what}: `{text}`");
                self.report(Code::NotAReferencePath, pointer, message);
                None
            }
            Some(other) => {
                let message = format!("`ResultPath` is a reference path or null, not {}", kind_of(other));
                self.wrong_type(fields.at("ResultPath"), message);
                None
            }
        }
    }

    /// A value that is fixed or computed: by the field `path` in a JSONPath state, by a text in `{% %}` in a JSONata
    /// state. `read` reads the fixed value, and reports.
    pub(super) fn dynamic<T>(
        &mut self,
        fields: &mut Fields<'_>,
        field: &'static str,
        path: &'static str,
        read: impl FnOnce(&mut Self, &str, &Value) -> Option<T>,
    ) -> Option<Dynamic<T>> {
        if fields.is_json_path() {
            fields.exclusive(self, field, path);
            let computed = fields.text(self, path).and_then(|text| {
                let path = self.reference(&fields.at(path), &text)?;
                Some(Dynamic::Computed(Expression::Path(path)))
            });
            let fixed = fields
                .get(field)
                .and_then(|value| read(self, &fields.at(field), value));
            return fixed.map(Dynamic::Fixed).or(computed);
        }
        match fields.get(field)? {
            Value::String(text) if Jsonata::is_meant(text) => {
                let jsonata = self.jsonata(&fields.at(field), text, Available::NOTHING)?;
                Some(Dynamic::Computed(Expression::Jsonata(jsonata)))
            }
            value => read(self, &fields.at(field), value).map(Dynamic::Fixed),
        }
    }

    pub(super) fn dynamic_integer(
        &mut self,
        fields: &mut Fields<'_>,
        field: &'static str,
        path: &'static str,
        range: RangeInclusive<u64>,
    ) -> Option<Dynamic<u64>> {
        self.dynamic(fields, field, path, |checker, pointer, value| {
            checker.integer(pointer, field, value, range)
        })
    }

    /// `Assign`.
    pub(super) fn assign(&mut self, fields: &mut Fields<'_>, available: Available) -> Assign {
        let Some(map) = fields.object(self, "Assign") else {
            return Assign::default();
        };
        let pointer = fields.at("Assign");
        for key in map.keys() {
            let name = match fields.language {
                QueryLanguage::JsonPath => key.strip_suffix(".$").unwrap_or(key),
                QueryLanguage::Jsonata => key,
            };
            if let Err(message) = variable_name(name) {
                self.report(Code::InvalidVariableName, push(&pointer, key), message);
            }
        }
        let template = self.template_field(fields, "Assign", available);
        Assign::new(match template {
            Some(Template::Object(entries)) => entries,
            Some(Template::Literal(Value::Object(map))) => map
                .into_iter()
                .map(|(name, value)| (name, Template::Literal(value)))
                .collect(),
            _ => Vec::new(),
        })
    }

    /// A literal value that alone is larger than any payload may be.
    pub(super) fn payload(&mut self, pointer: &str, value: &Value) {
        let size = payload_size(value);
        if size > MAX_PAYLOAD {
            let message =
                format!("the value has about {size} bytes, a state's input or output at most {MAX_PAYLOAD}");
            self.report(Code::LargePayload, pointer, message);
        }
    }
}

/// Developer guide, "Variable name syntax": an identifier of Unicode (UAX #31), without the `$` of references.
fn variable_name(name: &str) -> Result<(), String> {
    let mut chars = name.chars();
    let begins = chars.next().is_some_and(|c| c == '_' || c.is_alphabetic());
    if !begins || !chars.all(|c| c == '_' || c.is_alphanumeric()) {
        return Err(format!(
            "`{name}` is no name of a variable: a letter or `_` comes first, letters, digits and `_` follow"
        ));
    }
    let length = name.chars().count();
    if length > MAX_NAME {
        return Err(format!(
            "the name of a variable has at most {MAX_NAME} characters, this has {length}"
        ));
    }
    if name == "states" {
        return Err("the name `states` is reserved".to_owned());
    }
    Ok(())
}

fn array(value: &Value, items: Vec<Template>) -> Template {
    if items.iter().all(|item| matches!(item, Template::Literal(_))) {
        Template::Literal(value.clone())
    } else {
        Template::Array(items)
    }
}

fn object(value: &Value, entries: Vec<(String, Template)>) -> Template {
    if entries
        .iter()
        .all(|(_, template)| matches!(template, Template::Literal(_)))
    {
        Template::Literal(value.clone())
    } else {
        Template::Object(entries)
    }
}
