//! As much of JSON Schema as the schemas of reports use; anything else in a schema is a defect of this reader.

use serde_json::Value;

/// What a document has otherwise than its schema says.
pub(crate) fn faults(schema: &Value, value: &Value) -> Vec<String> {
    let mut found = Reader { root: schema }.faults(schema, "", value);
    found.sort();
    found
}

struct Reader<'a> {
    root: &'a Value,
}

impl Reader<'_> {
    fn faults(&self, schema: &Value, place: &str, value: &Value) -> Vec<String> {
        let Some(keywords) = schema.as_object() else {
            assert_eq!(schema, true, "{place}: {schema}");
            return Vec::new();
        };
        let mut found = Vec::new();
        for (keyword, says) in keywords {
            found.extend(self.of_keyword(schema, keyword, says, place, value));
        }
        found
    }

    fn of_keyword(
        &self,
        schema: &Value,
        keyword: &str,
        says: &Value,
        place: &str,
        value: &Value,
    ) -> Vec<String> {
        let unless = |is_good: bool, fault: String| if is_good { Vec::new() } else { vec![fault] };
        match keyword {
            "$ref" => {
                let target = says.as_str().unwrap().trim_start_matches('#');
                self.faults(self.root.pointer(target).unwrap(), place, value)
            }
            // The least that is wrong with any of the choices.
            "anyOf" | "oneOf" => {
                let choices = says.as_array().unwrap().iter();
                let tried = choices.map(|choice| self.faults(choice, place, value));
                tried.min_by_key(Vec::len).unwrap()
            }
            "type" => {
                let one = std::slice::from_ref(says);
                let kinds = says.as_array().map_or(one, Vec::as_slice);
                let kinds: Vec<&str> = kinds.iter().map(|kind| kind.as_str().unwrap()).collect();
                let is = kinds.iter().any(|kind| is_a(kind, value));
                unless(is, format!("{place} is {value}, not {}", kinds.join(" or ")))
            }
            "const" => unless(value == says, format!("{place} is {value}, not {says}")),
            "enum" => {
                let is = says.as_array().unwrap().contains(value);
                unless(is, format!("{place} is {value}, not one of {says}"))
            }
            "minimum" => {
                let is = value
                    .as_f64()
                    .is_none_or(|number| number >= says.as_f64().unwrap());
                unless(is, format!("{place} is {value}, less than {says}"))
            }
            "maximum" => {
                let is = value
                    .as_f64()
                    .is_none_or(|number| number <= says.as_f64().unwrap());
                unless(is, format!("{place} is {value}, more than {says}"))
            }
            // Of the one pattern there is.
            "pattern" => {
                assert_eq!(says, "^[A-Z]{2}$");
                let text = value.as_str().unwrap_or("AA");
                let is = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_uppercase());
                unless(is, format!("{place} is {value}, which is not {says}"))
            }
            "items" => {
                let items = value.as_array().into_iter().flatten().enumerate();
                items
                    .flat_map(|(index, item)| self.faults(says, &format!("{place}/{index}"), item))
                    .collect()
            }
            "required" => {
                let names = says.as_array().unwrap().iter().map(|name| name.as_str().unwrap());
                let missing = names.filter(|name| value.is_object() && value.get(name).is_none());
                missing.map(|name| format!("{place}/{name} is missing")).collect()
            }
            "properties" => {
                let members = value.as_object().into_iter().flatten();
                members
                    .flat_map(|(name, member)| {
                        let place = format!("{place}/{name}");
                        match says.get(name) {
                            Some(schema) => self.faults(schema, &place, member),
                            // A map's, or more than what is written.
                            None if schema.get("additionalProperties").is_some() => Vec::new(),
                            None => vec![format!("{place} is not in the schema")],
                        }
                    })
                    .collect()
            }
            "additionalProperties" => {
                let known = |name: &str| schema["properties"].get(name).is_some();
                let members = value.as_object().into_iter().flatten();
                members
                    .filter(|(name, _)| !known(name))
                    .flat_map(|(name, member)| {
                        let place = format!("{place}/{name}");
                        match says {
                            Value::Bool(false) => vec![format!("{place} is not in the schema")],
                            schema => self.faults(schema, &place, member),
                        }
                    })
                    .collect()
            }
            "$schema" | "$defs" | "title" | "description" | "format" | "default" => Vec::new(),
            other => panic!("{place}: `{other}` is not understood"),
        }
    }
}

fn is_a(kind: &str, value: &Value) -> bool {
    match kind {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("{other}"),
    }
}
