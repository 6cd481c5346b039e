//! The fields that say what states take and hand on.

use serde_json::{Value, json};
use sfn_builder::checked::{Assign, Data, Placement, Selection};
use sfn_builder::template::{Expression, Template};

use super::failure::{cause, data_failure, query, runtime};
use super::state::Assigned;
use super::thread::Thread;
use super::{Engine, Failure};
use crate::data::{self, DataError};

impl<'m> Engine<'m> {
    /// What `InputPath` or `OutputPath` selects.
    pub(super) fn select(
        &self,
        thread: &Thread<'m>,
        selection: &Selection,
        input: &Value,
    ) -> Result<Value, Failure> {
        match selection {
            Selection::Nothing => Ok(json!({})),
            Selection::Path(path) => {
                let scope = self.scope(thread, input);
                let found = scope.get(path).map(std::borrow::Cow::into_owned);
                found.map_err(|not_found| {
                    runtime(thread, &format!("Invalid path '{path}' : {}", not_found.reason))
                })
            }
        }
    }

    /// Fills a payload template; without one the data stays as it is.
    pub(super) fn template(
        &mut self,
        thread: &Thread<'m>,
        template: Option<&'m Template>,
        data: Value,
    ) -> Result<Value, Failure> {
        let Some(template) = template else {
            return Ok(data);
        };
        let scope = self.scope(thread, &data);
        data::fill(template, &scope, &mut self.compute).map_err(|error| data_failure(thread, error))
    }

    pub(super) fn evaluate(
        &mut self,
        thread: &Thread<'m>,
        expression: &Expression,
        field: &str,
        data: &Value,
    ) -> Result<Value, Failure> {
        let scope = self.scope(thread, data);
        data::evaluate(expression, field, &scope, &mut self.compute)
            .map_err(|error| data_failure(thread, error))
    }

    /// `Output` of a JSONata state or catcher; without one, `default`.
    pub(super) fn output(
        &mut self,
        thread: &Thread<'m>,
        template: Option<&'m Template>,
        result: Option<&Value>,
        error_output: Option<&Value>,
        default: &Value,
    ) -> Result<Value, Failure> {
        let Some(template) = template else {
            return Ok(default.clone());
        };
        let mut scope = self.scope(thread, &thread.input);
        scope.result = result;
        scope.error_output = error_output;
        data::fill(template, &scope, &mut self.compute).map_err(|error| data_failure(thread, error))
    }

    pub(super) fn assign(
        &mut self,
        thread: &Thread<'m>,
        assign: &'m Assign,
        data: &Value,
    ) -> Result<Assigned, Failure> {
        self.assign_of(thread, assign, data, None, None)
    }

    /// The values of `Assign`; all see the variables as they were before.
    pub(super) fn assign_of(
        &mut self,
        thread: &Thread<'m>,
        assign: &'m Assign,
        data: &Value,
        result: Option<&Value>,
        error_output: Option<&Value>,
    ) -> Result<Assigned, Failure> {
        if assign.is_empty() {
            return Ok(Vec::new());
        }
        let mut scope = self.scope(thread, data);
        scope.result = result;
        scope.error_output = error_output;
        let mut assigned = Vec::new();
        for (name, template) in assign.iter() {
            let value = data::fill(template, &scope, &mut self.compute)
                .map_err(|error| data_failure(thread, error))?;
            assigned.push((name.to_owned(), value));
        }
        Ok(assigned)
    }

    pub(super) fn place(
        &self,
        thread: &Thread<'m>,
        placement: &Placement,
        input: &Value,
        result: Value,
    ) -> Result<Value, Failure> {
        data::place(placement, input, result).map_err(|error| {
            let reason = format!("Unable to apply ReferencePath {} to input {input}", error.path);
            Failure::new("States.ResultPathMatchFailure", Some(cause(thread, &reason)))
        })
    }

    /// `Arguments` of a JSONata state, or `InputPath` and `Parameters` of the others.
    ///
    /// An expression of `Arguments` that yields nothing writes no `EvaluationFailed`.
    pub(super) fn arguments(&mut self, thread: &Thread<'m>, data: &'m Data) -> Result<Value, Failure> {
        match data {
            Data::JsonPath(data) => {
                let selected = self.select(thread, &data.input_path, &thread.input)?;
                self.template(thread, data.parameters.as_ref(), selected)
            }
            Data::Jsonata(data) => {
                let Some(template) = &data.arguments else {
                    return Ok(thread.input.clone());
                };
                let scope = self.scope(thread, &thread.input);
                data::fill(template, &scope, &mut self.compute).map_err(|error| {
                    let undefined = matches!(&error, DataError::Query { undefined: true, .. });
                    let mut failure = data_failure(thread, error);
                    if undefined {
                        failure.evaluation = None;
                    }
                    failure
                })
            }
        }
    }
}

pub(super) fn missing(thread: &Thread<'_>, field: &str, path: &sfn_builder::Path) -> Failure {
    runtime(
        thread,
        &format!("The {field} parameter does not reference an input value: {path}"),
    )
}

/// An expression's value is not of the type that its field wants.
pub(super) fn unexpected(
    thread: &Thread<'_>,
    expression: &Expression,
    field: &str,
    wanted: &str,
    value: &Value,
) -> Failure {
    let text = match expression {
        Expression::Jsonata(jsonata) => jsonata.expression(),
        other => other.as_str(),
    };
    let found = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let reason = format!(
        "The JSONata expression '{text}' specified for the field '{field}' returned an unexpected result type. \
         Expected '{wanted}', but was '{found}' for value: {value}"
    );
    query(thread, field.to_owned(), &reason)
}
