//! Paths, templates, expressions, and the fields that hold them.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use super::at::At;
use super::fields::{Fields, kind_of, show};
use super::{Checker, MAX_NAME};
use crate::checked::{
    Assign, Data, Dynamic, JsonataData, MAX_PAYLOAD, PathData, Placement, QueryLanguage, Selection,
    payload_size,
};
use crate::finding::{Code, Finding, nearest};
use crate::jsonata::{FUNCTIONS, Jsonata};
use crate::path::{Path, Root};
use crate::template::{Expression, ExpressionError, Template};

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

impl<'d> Checker<'d> {
    fn expression_error(&mut self, pointer: At<'_>, error: &ExpressionError) {
        let code = if error.is_path {
            Code::InvalidPath
        } else {
            Code::InvalidIntrinsic
        };
        let finding = Finding::new(code, pointer, error.to_string());
        self.findings.push(finding.near(error.nearest.clone()));
    }

    /// A path or an intrinsic function.
    pub(super) fn expression(&mut self, pointer: At<'_>, text: &'d str) -> Option<Expression> {
        if text.starts_with('$') {
            return self.path(pointer, text).map(Expression::Path);
        }
        match Expression::parse(text) {
            Ok(expression) => {
                self.context_of(pointer, &expression);
                Some(expression)
            }
            Err(error) => {
                self.expression_error(pointer, &error);
                None
            }
        }
    }

    pub(super) fn path(&mut self, pointer: At<'_>, text: &'d str) -> Option<Path> {
        let path = self.parsed(pointer, text)?;
        self.context(pointer, &path);
        Some(path)
    }

    fn parsed(&mut self, pointer: At<'_>, text: &'d str) -> Option<Path> {
        if let Some(path) = self.paths.get(text) {
            return Some(path.clone());
        }
        match text.parse::<Path>() {
            Ok(path) => {
                self.paths.insert(text, path.clone());
                Some(path)
            }
            Err(error) => {
                self.expression_error(pointer, &error.into());
                None
            }
        }
    }

    /// A path that names exactly one place.
    pub(super) fn reference(&mut self, pointer: At<'_>, text: &'d str) -> Option<Path> {
        let path = self.path(pointer, text)?;
        self.names_one_place(pointer, &path).then_some(path)
    }

    fn names_one_place(&mut self, pointer: At<'_>, path: &Path) -> bool {
        if !path.is_reference() {
            let message = format!("`{path}` is not a reference path");
            let finding = Finding::new(Code::NotAReferencePath, pointer, message);
            self.findings
                .push(finding.hint("only fields and indices from the front may stand in it"));
        }
        path.is_reference()
    }

    pub(super) fn jsonata(
        &mut self,
        pointer: At<'_>,
        text: &'d str,
        available: Available,
    ) -> Option<Jsonata> {
        let jsonata = match self.expressions.get(text) {
            Some(jsonata) => jsonata.clone(),
            None => match Jsonata::parse(text) {
                Ok(jsonata) => {
                    self.expressions.insert(text, jsonata.clone());
                    jsonata
                }
                Err(error) => {
                    self.report(Code::InvalidJsonata, pointer, error.to_string());
                    return None;
                }
            },
        };
        self.references(pointer, &jsonata, available);
        Some(jsonata)
    }

    /// What an expression refers to that is not there.
    fn references(&mut self, pointer: At<'_>, jsonata: &Jsonata, available: Available) {
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
        for name in &references.top_level {
            let message = match name.as_str() {
                "$" | "$$" => {
                    format!("`{name}` stands for nothing here: an expression has no input of its own")
                }
                name => format!("`{name}` is a field of nothing: an expression has no input of its own"),
            };
            let hint = match name.as_str() {
                "$" | "$$" => "the state's input is `$states.input`".to_owned(),
                name => format!("the input's field is `$states.input.{name}`, a variable `${name}`"),
            };
            self.findings
                .push(Finding::new(Code::UnsupportedJsonata, pointer, message).hint(hint));
        }
        for names in references.context_fields.iter().filter(|names| !names.is_empty()) {
            self.jsonata_context(pointer, names);
        }
        for name in &references.unknown_states {
            let message = format!("`$states` has no field `{name}`");
            let near = nearest(name, ["input", "result", "errorOutput", "context"]);
            let finding = Finding::new(Code::UnknownContextField, pointer, message);
            self.findings
                .push(finding.near(near.map(|near| format!("$states.{near}"))));
        }
        for name in &references.unknown_functions {
            let message = format!("there is no function `${name}`");
            let finding = Finding::new(Code::UnknownFunction, pointer, message);
            self.findings.push(if name == "eval" {
                finding.hint("the service has `$parse` for JSON in a text")
            } else {
                let near = nearest(name, FUNCTIONS);
                finding.near(near.map(|near| format!("${near}")))
            });
        }
    }

    /// A payload template; none when nothing in it is computed.
    fn template(&mut self, at: At<'_>, value: &'d Value) -> Option<Template> {
        match value {
            Value::Array(items) => computed_items(items, |index, item| {
                if let Value::String(text) = item {
                    self.no_dollar(At::Item(&at, index), text, "`States.Array` makes arrays");
                }
                self.template(At::Item(&at, index), item)
            }),
            Value::Object(map) => {
                let mut entries = Entries::new(map);
                for (index, (key, value)) in map.iter().enumerate() {
                    let at = At::Key(&at, key);
                    let Some(name) = key.strip_suffix(".$") else {
                        if let Value::String(text) = value {
                            self.no_dollar(at, text, "what is computed has a name that ends in `.$`");
                        }
                        let template = self.template(at, value);
                        entries.add(index, key, value, template);
                        continue;
                    };
                    if map.contains_key(name) {
                        let message = format!("`{name}` and `{key}` name the same field");
                        self.report(Code::DuplicateKey, at, message);
                    }
                    let Value::String(text) = value else {
                        let message = format!(
                            "the value of `{key}` must be a path or an intrinsic function, not {}",
                            kind_of(value)
                        );
                        self.wrong_type(at, message);
                        continue;
                    };
                    if let Some(expression) = self.expression(at, text) {
                        let field = key.clone();
                        entries.add(index, name, value, Some(Template::Computed { field, expression }));
                    }
                }
                entries.finish()
            }
            _ => None,
        }
    }

    /// A text that stands for itself, but looks as if it were to be computed.
    fn no_dollar(&mut self, at: At<'_>, text: &str, hint: &str) {
        if Expression::is_meant(text) {
            let message = format!("`{text}` stays as it is: nothing says that it is to be computed");
            self.findings
                .push(Finding::new(Code::NoDollar, at, message).hint(hint));
        }
    }

    /// A text that stands for itself in a field beside which another takes a path.
    pub(super) fn no_path(&mut self, at: At<'_>, field: &str, text: &str) {
        if Expression::is_meant(text) {
            let message = format!("`{text}` in `{field}` stays as it is");
            let finding = Finding::new(Code::NoPath, at, message);
            self.findings
                .push(finding.hint(format!("`{field}Path` takes what is to be computed")));
        }
    }

    /// A value of a JSONata state, with texts in `{% %}` anywhere in it; none when there are none. The state's field stands at
    /// `top`.
    fn jsonata_template(
        &mut self,
        (top, at): (At<'_>, At<'_>),
        value: &'d Value,
        available: Available,
    ) -> Option<Template> {
        match value {
            Value::String(text) if Jsonata::is_meant(text) => {
                let jsonata = self.jsonata(at, text, available)?;
                Some(Template::Computed {
                    field: at.below(top),
                    expression: Expression::Jsonata(jsonata),
                })
            }
            Value::Array(items) => computed_items(items, |index, item| {
                self.jsonata_template((top, At::Item(&at, index)), item, available)
            }),
            Value::Object(map) => {
                let mut entries = Entries::new(map);
                for (index, (key, value)) in map.iter().enumerate() {
                    let at = At::Key(&at, key);
                    let template = self.jsonata_template((top, at), value, available);
                    entries.add(index, key, value, template);
                }
                entries.finish()
            }
            _ => None,
        }
    }

    /// A field that holds a template in the language of its state.
    pub(super) fn template_field(
        &mut self,
        fields: &mut Fields<'d, '_>,
        field: &'static str,
        available: Available,
    ) -> Option<Template> {
        let value = fields.get(field)?;
        let at = fields.at(field);
        let template = match fields.language {
            QueryLanguage::JsonPath => self.template(at, value),
            QueryLanguage::Jsonata => self.jsonata_template((at, at), value, available),
        };
        Some(template.unwrap_or_else(|| Template::Literal(value.clone())))
    }

    /// `Parameters`, or in a JSONata state `Arguments`.
    pub(super) fn arguments(&mut self, fields: &mut Fields<'d, '_>) -> Option<Template> {
        let field = if fields.is_json_path() {
            "Parameters"
        } else {
            "Arguments"
        };
        if !fields.is_json_path()
            && let Some(value) = fields.peek(field)
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
    pub(super) fn data(&mut self, fields: &mut Fields<'d, '_>, shape: Shape) -> Option<Data> {
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
            return Some(Data::Jsonata(Box::new(JsonataData { arguments, output })));
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
    fn selection(&mut self, fields: &mut Fields<'d, '_>, field: &'static str) -> Option<Selection> {
        let whole = Selection::Path(Path::root_of_data());
        Some(match fields.get(field) {
            None => whole,
            Some(Value::Null) => Selection::Nothing,
            Some(Value::String(text)) => self.path(fields.at(field), text).map_or(whole, Selection::Path),
            Some(other) => {
                let message = format!("`{field}` is a path or null, not {}", kind_of(other));
                self.wrong_type(fields.at(field), message);
                whole
            }
        })
    }

    /// `ResultPath`.
    pub(super) fn placement(&mut self, fields: &mut Fields<'d, '_>) -> Option<Placement> {
        match fields.get("ResultPath") {
            None => Some(Placement::At(Path::root_of_data())),
            Some(Value::Null) => Some(Placement::Discard),
            Some(Value::String(text)) => {
                let pointer = fields.at("ResultPath");
                let path = self.parsed(pointer, text)?;
                if !self.names_one_place(pointer, &path) {
                    return None;
                }
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
        fields: &mut Fields<'d, '_>,
        field: &'static str,
        path: &'static str,
        read: impl FnOnce(&mut Self, At<'_>, &'d Value) -> Option<T>,
    ) -> Option<Dynamic<T>> {
        if fields.is_json_path() {
            fields.exclusive(self, field, path);
            let computed = fields.text(self, path).and_then(|text| {
                let path = self.reference(fields.at(path), text)?;
                Some(Dynamic::Computed(Expression::Path(path)))
            });
            let fixed = fields
                .get(field)
                .and_then(|value| read(self, fields.at(field), value));
            return fixed.map(Dynamic::Fixed).or(computed);
        }
        match fields.get(field)? {
            Value::String(text) if Jsonata::is_meant(text) => {
                let jsonata = self.jsonata(fields.at(field), text, Available::NOTHING)?;
                Some(Dynamic::Computed(Expression::Jsonata(jsonata)))
            }
            value => read(self, fields.at(field), value).map(Dynamic::Fixed),
        }
    }

    pub(super) fn dynamic_integer(
        &mut self,
        fields: &mut Fields<'d, '_>,
        field: &'static str,
        path: &'static str,
        range: RangeInclusive<u64>,
    ) -> Option<Dynamic<u64>> {
        self.dynamic(fields, field, path, |checker, pointer, value| {
            checker.integer(pointer, field, value, range)
        })
    }

    /// `Assign`.
    pub(super) fn assign(&mut self, fields: &mut Fields<'d, '_>, available: Available) -> Assign {
        let Some(map) = fields.object(self, "Assign") else {
            return Assign::default();
        };
        let pointer = fields.at("Assign");
        for key in map.keys() {
            let name = match fields.language {
                QueryLanguage::JsonPath => key.strip_suffix(".$").unwrap_or(key),
                QueryLanguage::Jsonata => key,
            };
            if let Err((message, said)) = variable_name(name) {
                let mut finding = Finding::new(Code::InvalidVariableName, At::Key(&pointer, key), message);
                finding.said = said.map(|said| Box::new(said.into()));
                self.findings.push(finding);
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
    pub(super) fn payload(&mut self, pointer: At<'_>, value: &Value) {
        let size = payload_size(value);
        if size > MAX_PAYLOAD {
            let message =
                format!("the value has about {size} bytes, a state's input or output at most {MAX_PAYLOAD}");
            self.report(Code::LargePayload, pointer, message);
        }
    }
}

/// Developer guide, "Variable name syntax": an identifier of Unicode (UAX #31), without the `$` of references.
///
/// The error is told in two ways, the second the service's.
fn variable_name(name: &str) -> Result<(), (String, Option<String>)> {
    let mut chars = name.chars();
    let begins = chars.next().is_some_and(|c| c == '_' || c.is_alphabetic());
    if !begins || !chars.all(|c| c == '_' || c.is_alphanumeric()) {
        let message = format!(
            "`{name}` is no name of a variable: a letter or `_` comes first, letters, digits and `_` follow"
        );
        let said = format!("Invalid variable name '{name}': the variable name contains invalid characters.");
        return Err((message, Some(said)));
    }
    let length = name.chars().count();
    if length > MAX_NAME {
        let message = format!("the name of a variable has at most {MAX_NAME} characters, this has {length}");
        return Err((message, None));
    }
    if name == "states" {
        let said = "Cannot assign to reserved variable '$states'.";
        return Err(("the name `states` is reserved".to_owned(), Some(said.to_owned())));
    }
    Ok(())
}

/// An array, when `template` finds something to compute in it. What stands for itself is copied only then.
fn computed_items<'d>(
    items: &'d [Value],
    mut template: impl FnMut(usize, &'d Value) -> Option<Template>,
) -> Option<Template> {
    let mut computed: Option<Vec<Template>> = None;
    for (index, item) in items.iter().enumerate() {
        match (template(index, item), &mut computed) {
            (None, None) => {}
            (None, Some(list)) => list.push(Template::Literal(item.clone())),
            (Some(template), Some(list)) => list.push(template),
            (Some(template), None) => {
                let mut list = Vec::with_capacity(items.len());
                list.extend(items[..index].iter().cloned().map(Template::Literal));
                list.push(template);
                computed = Some(list);
            }
        }
    }
    computed.map(Template::Array)
}

/// The entries of an object, which are copied once one of them is computed.
struct Entries<'d> {
    map: &'d Map<String, Value>,
    computed: Option<Vec<(String, Template)>>,
}

impl<'d> Entries<'d> {
    fn new(map: &'d Map<String, Value>) -> Self {
        Self { map, computed: None }
    }

    /// The entry of this index; without a template its value stands for itself.
    fn add(&mut self, index: usize, name: &str, value: &Value, template: Option<Template>) {
        if template.is_some() && self.computed.is_none() {
            let mut entries = Vec::with_capacity(self.map.len());
            let before = self.map.iter().take(index);
            entries.extend(before.map(|(key, value)| (key.clone(), Template::Literal(value.clone()))));
            self.computed = Some(entries);
        }
        if let Some(entries) = &mut self.computed {
            let template = template.unwrap_or_else(|| Template::Literal(value.clone()));
            entries.push((name.to_owned(), template));
        }
    }

    fn finish(self) -> Option<Template> {
        self.computed.map(Template::Object)
    }
}
