//! What the JSON services share: errors on the wire, and requests held against the service's constraints.

use http::StatusCode;
use serde_json::{Map, Value, json};

/// An error as a service answers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    /// The error's type, such as `ValidationException`.
    pub(crate) code: String,
    pub(crate) message: String,
}

/// What an operation answers; none for an empty body.
pub(crate) type ApiResult<T = Option<Value>> = Result<T, ApiError>;

impl ApiError {
    pub(crate) fn new(code: &str, message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            code: code.to_owned(),
            message: message.into(),
        }
    }

    pub(crate) fn validation(message: impl Into<String>) -> Self {
        Self::new("ValidationException", message)
    }

    /// An operation that the service may have but the emulator has not.
    pub(crate) fn unknown_operation(service: &str, operation: &str) -> Self {
        Self::new(
            "UnknownOperationException",
            format!("The operation {operation} of {service} is not implemented by aws-local."),
        )
    }

    /// A member that the service has but the emulator does not act on.
    pub(crate) fn not_implemented(what: &str) -> Self {
        Self::validation(format!("{what} is not implemented by aws-local."))
    }

    /// The body that JSON services send.
    pub(crate) fn body(&self) -> Value {
        // Some services declare `message`, some `Message`; their clients read nothing but their own.
        json!({"__type": self.code, "message": self.message, "Message": self.message})
    }
}

impl From<std::io::Error> for ApiError {
    fn from(error: std::io::Error) -> Self {
        Self {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            code: "InternalFailure".to_owned(),
            message: format!("the data folder cannot be used: {error}"),
        }
    }
}

/// Reads a request's body: an object, or nothing at all.
pub(crate) fn parse(body: &[u8]) -> ApiResult<Value> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(Value::Object(Map::new()));
    }
    match serde_json::from_slice(body) {
        Ok(value @ Value::Object(_)) => Ok(value),
        Ok(_) => Err(ApiError::new(
            "SerializationException",
            "the body is no JSON object",
        )),
        Err(error) => Err(ApiError::new(
            "SerializationException",
            format!("the body is no JSON: {error}"),
        )),
    }
}

/// A request under examination: it collects every constraint that does not hold.
pub(crate) struct Check<'a> {
    input: &'a Value,
    problems: Vec<String>,
    /// A member of the wrong JSON type, which comes before all else.
    mistyped: Option<String>,
}

/// What a text has to look like.
#[derive(Clone, Copy)]
pub(crate) struct Form {
    pub(crate) pattern: &'static str,
    pub(crate) matches: fn(&str) -> bool,
    pub(crate) max: usize,
}

/// Names of training jobs, endpoints, configurations and variants.
pub(crate) const NAME: Form = Form {
    pattern: "^[a-zA-Z0-9](-*[a-zA-Z0-9])*",
    matches: is_name,
    max: 63,
};
/// Names of models.
pub(crate) const MODEL_NAME: Form = Form {
    pattern: "^[a-zA-Z0-9]([\\-a-zA-Z0-9]*[a-zA-Z0-9])?",
    matches: is_name,
    max: 63,
};
/// Roles.
pub(crate) const ROLE: Form = Form {
    pattern: "^arn:aws[a-z\\-]*:iam::\\d{12}:role/?[a-zA-Z_0-9+=,.@\\-_/]+$",
    matches: is_role,
    max: 2048,
};
/// Channels.
pub(crate) const CHANNEL: Form = Form {
    pattern: "[A-Za-z0-9\\.\\-_]+",
    matches: |s| {
        !s.is_empty()
            && s.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b".-_".contains(&b))
    },
    max: 64,
};
/// Addresses in S3.
pub(crate) const S3_URI: Form = Form {
    pattern: "^(https|s3)://([^/]+)/?(.*)$",
    matches: |s| {
        let rest = s.strip_prefix("s3://").or_else(|| s.strip_prefix("https://"));
        rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
    },
    max: 1024,
};
/// Keys of KMS.
pub(crate) const KMS_KEY: Form = Form {
    pattern: "[a-zA-Z0-9:/_-]*",
    matches: |s| {
        s.bytes()
            .all(|b| b.is_ascii_alphanumeric() || b":/_-".contains(&b))
    },
    max: 2048,
};
/// Subnets and security groups.
const NETWORK_ID: Form = Form {
    pattern: "[-0-9a-zA-Z]+",
    matches: |s| !s.is_empty() && s.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'),
    max: 32,
};
/// Types of instances.
pub(crate) const INSTANCE: Form = Form {
    pattern: "ml\\.[a-z0-9-]+\\.[a-z0-9-]+",
    matches: |s| {
        let word = |w: &str| !w.is_empty() && w.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        let mut words = s.split('.');
        words.next() == Some("ml") && words.clone().count() == 2 && words.all(word)
    },
    max: 64,
};
/// Anything at all.
pub(crate) const TEXT: Form = Form {
    pattern: "[\\s\\S]*",
    matches: |_| true,
    max: usize::MAX,
};

fn is_name(s: &str) -> bool {
    let inside = s.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    inside && !s.is_empty() && !s.starts_with('-') && !s.ends_with('-')
}

fn is_role(s: &str) -> bool {
    let Some((partition, rest)) = s.strip_prefix("arn:aws").and_then(|s| s.split_once(":iam::")) else {
        return false;
    };
    let Some((account, role)) = rest.split_once(":role") else {
        return false;
    };
    let role = role.strip_prefix('/').unwrap_or(role);
    partition.bytes().all(|b| b.is_ascii_lowercase() || b == b'-')
        && account.len() == 12
        && account.bytes().all(|b| b.is_ascii_digit())
        && !role.is_empty()
        && role
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_+=,.@-/".contains(&b))
}

impl<'a> Check<'a> {
    pub(crate) fn new(input: &'a Value) -> Self {
        Self {
            input,
            problems: Vec::new(),
            mistyped: None,
        }
    }

    /// The member at a path such as `OutputDataConfig.S3OutputPath`; a number counts into a list. Null is absent.
    pub(crate) fn get(&self, path: &str) -> Option<&'a Value> {
        let mut value = self.input;
        for step in path.split('.') {
            value = match value {
                Value::Array(list) => list.get(step.parse::<usize>().ok()?)?,
                _ => value.get(step)?,
            };
        }
        (!value.is_null()).then_some(value)
    }

    /// An optional text.
    pub(crate) fn text(&mut self, path: &str, form: Form) -> Option<&'a str> {
        let value = self.get(path)?;
        let Some(text) = value.as_str() else {
            self.wrong_type(value, path, "a String");
            return None;
        };
        let said = if text.len() > 256 { "[long text]" } else { text };
        if text.chars().count() > form.max {
            let max = form.max;
            self.problem(
                Some(said),
                path,
                &format!("Member must have length less than or equal to {max}"),
            );
        }
        if !(form.matches)(text) {
            let pattern = form.pattern;
            self.problem(
                Some(said),
                path,
                &format!("Member must satisfy regular expression pattern: {pattern}"),
            );
        }
        Some(text)
    }

    /// A text that has to be there.
    pub(crate) fn required(&mut self, path: &str, form: Form) -> &'a str {
        if self.get(path).is_none() {
            self.missing(path);
        }
        self.text(path, form).unwrap_or_default()
    }

    /// A text that has to be one of a few.
    pub(crate) fn choice(&mut self, path: &str, choices: &[&str]) -> Option<&'a str> {
        let text = self.text(path, TEXT)?;
        if !choices.contains(&text) {
            let set = choices.join(", ");
            self.problem(
                Some(text),
                path,
                &format!("Member must satisfy enum value set: [{set}]"),
            );
        }
        Some(text)
    }

    /// A whole number within bounds.
    pub(crate) fn integer(&mut self, path: &str, least: i64, most: i64) -> Option<i64> {
        let value = self.get(path)?;
        let Some(number) = value.as_i64() else {
            self.wrong_type(value, path, "an Integer");
            return None;
        };
        let said = number.to_string();
        if number < least {
            self.problem(
                Some(&said),
                path,
                &format!("Member must have value greater than or equal to {least}"),
            );
        } else if number > most {
            self.problem(
                Some(&said),
                path,
                &format!("Member must have value less than or equal to {most}"),
            );
        }
        Some(number)
    }

    /// A whole number that has to be there.
    pub(crate) fn required_integer(&mut self, path: &str, least: i64, most: i64) -> Option<i64> {
        if self.get(path).is_none() {
            self.missing(path);
        }
        self.integer(path, least, most)
    }

    /// Any number that is not negative.
    pub(crate) fn amount(&mut self, path: &str) -> Option<f64> {
        let value = self.get(path)?;
        let Some(number) = value.as_f64() else {
            self.wrong_type(value, path, "a Float");
            return None;
        };
        if number < 0.0 {
            let said = number.to_string();
            self.problem(
                Some(&said),
                path,
                "Member must have value greater than or equal to 0",
            );
        }
        Some(number)
    }

    /// Yes or no; no if absent.
    pub(crate) fn flag(&mut self, path: &str) -> bool {
        match self.get(path) {
            None => false,
            Some(Value::Bool(flag)) => *flag,
            Some(value) => {
                self.wrong_type(value, path, "a Boolean");
                false
            }
        }
    }

    /// A map of texts with so many entries, and keys and values of so many characters, at the most.
    pub(crate) fn map(&mut self, path: &str, entries: usize, key_length: usize, value_length: usize) {
        if self.get(path).is_none() {
            return;
        }
        let Some(map) = self.structure(path) else {
            return;
        };
        if map.len() > entries {
            let said = format!("[{} entries]", map.len());
            let constraint = format!("Member must have length less than or equal to {entries}");
            self.problem(Some(&said), path, &constraint);
        }
        for (key, value) in map {
            match value.as_str() {
                Some(text) if key.chars().count() > key_length || text.chars().count() > value_length => {
                    let constraint = format!(
                        "Map keys must have length less than or equal to {key_length}, Map values {value_length}"
                    );
                    self.problem(Some(key), path, &constraint);
                }
                Some(_) => {}
                None => self.wrong_type(value, path, "a String"),
            }
        }
    }

    /// The member `VpcConfig`, if it is there.
    pub(crate) fn network(&mut self) {
        if self.get("VpcConfig").is_none() {
            return;
        }
        for (member, most) in [("SecurityGroupIds", 5), ("Subnets", 16)] {
            let at = format!("VpcConfig.{member}");
            for i in 0..self.list(&at, 1, most).len() {
                self.required(&format!("{at}.{i}"), NETWORK_ID);
            }
        }
    }

    /// A list, empty if absent.
    pub(crate) fn list(&mut self, path: &str, least: usize, most: usize) -> &'a [Value] {
        let Some(value) = self.get(path) else {
            if least > 0 {
                self.missing(path);
            }
            return &[];
        };
        let Some(list) = value.as_array() else {
            self.wrong_type(value, path, "a List");
            return &[];
        };
        if list.len() < least {
            let said = format!("Member must have length greater than or equal to {least}");
            self.problem(Some("[]"), path, &said);
        } else if list.len() > most {
            let said = format!("Member must have length less than or equal to {most}");
            self.problem(Some(&format!("[{} items]", list.len())), path, &said);
        }
        list
    }

    /// A structure or map that has to be there.
    pub(crate) fn structure(&mut self, path: &str) -> Option<&'a Map<String, Value>> {
        match self.get(path) {
            None => {
                self.missing(path);
                None
            }
            Some(value) => {
                if !value.is_object() {
                    self.wrong_type(value, path, "a Structure");
                }
                value.as_object()
            }
        }
    }

    /// A constraint of the caller's own.
    pub(crate) fn problem(&mut self, value: Option<&str>, path: &str, constraint: &str) {
        let value = value.map_or_else(|| "null".to_owned(), |v| format!("'{v}'"));
        let path = wire_path(path);
        self.problems.push(format!(
            "Value {value} at '{path}' failed to satisfy constraint: {constraint}"
        ));
    }

    /// The service's one error for everything that does not hold.
    pub(crate) fn finish(self) -> ApiResult<()> {
        if let Some(message) = self.mistyped {
            return Err(ApiError::new("SerializationException", message));
        }
        match self.problems.len() {
            0 => Ok(()),
            1 => Err(ApiError::validation(format!(
                "1 validation error detected: {}",
                self.problems[0]
            ))),
            n => Err(ApiError::validation(format!(
                "{n} validation errors detected: {}",
                self.problems.join("; ")
            ))),
        }
    }

    fn missing(&mut self, path: &str) {
        self.problem(None, path, "Member must not be null");
    }

    fn wrong_type(&mut self, value: &Value, path: &str, wanted: &str) {
        let given = match value {
            Value::Null => "NULL_VALUE",
            Value::Bool(_) => "BOOLEAN_VALUE",
            Value::Number(_) => "NUMBER_VALUE",
            Value::String(_) => "STRING_VALUE",
            Value::Array(_) => "START_OF_LIST",
            Value::Object(_) => "START_OF_MAP",
        };
        self.mistyped.get_or_insert(format!(
            "{given} at '{}' can not be converted to {wanted}",
            wire_path(path)
        ));
    }
}

/// `ProductionVariants.0.VariantName` as the services print it: `productionVariants.1.member.variantName`.
fn wire_path(path: &str) -> String {
    let steps = path.split('.').map(|step| match step.parse::<usize>() {
        Ok(index) => format!("{}.member", index + 1),
        Err(_) => {
            let mut chars = step.chars();
            let first = chars.next().map(|c| c.to_ascii_lowercase());
            first.into_iter().chain(chars).collect()
        }
    });
    steps.collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(input: Value, examine: impl FnOnce(&mut Check<'_>), expected: Expect) {
        let mut check = Check::new(&input);
        examine(&mut check);
        let error = check.finish().expect_err("should be refused");
        expected.assert_eq(&format!("{}: {}", error.code, error.message));
    }

    #[test]
    fn constraints_are_worded_as_the_service_words_them() {
        check(
            json!({"TrainingJobName": "a_b"}),
            |c| {
                c.required("TrainingJobName", NAME);
            },
            expect![
                "ValidationException: 1 validation error detected: Value 'a_b' at 'trainingJobName' failed to satisfy constraint: Member must satisfy regular expression pattern: ^[a-zA-Z0-9](-*[a-zA-Z0-9])*"
            ],
        );
        check(
            json!({"TrainingJobName": "a".repeat(64), "Channels": [{"Name": "é"}]}),
            |c| {
                c.required("TrainingJobName", NAME);
                c.required("RoleArn", ROLE);
                c.required("Channels.0.Name", CHANNEL);
            },
            expect![
                "ValidationException: 3 validation errors detected: Value 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa' at 'trainingJobName' failed to satisfy constraint: Member must have length less than or equal to 63; Value null at 'roleArn' failed to satisfy constraint: Member must not be null; Value 'é' at 'channels.1.member.name' failed to satisfy constraint: Member must satisfy regular expression pattern: [A-Za-z0-9\\.\\-_]+"
            ],
        );
        check(
            json!({"A": 1}),
            |c| {
                c.required("A", NAME);
            },
            expect!["SerializationException: NUMBER_VALUE at 'a' can not be converted to a String"],
        );
    }

    #[test]
    fn roles() {
        for (role, good) in [
            ("arn:aws:iam::000000000000:role/r", true),
            ("arn:aws-cn:iam::000000000000:role/service-role/r", true),
            ("arn:aws:iam::00000000000:role/r", false),
            ("arn:aws:iam::000000000000:user/r", false),
            ("arn:aws:iam::000000000000:role/", false),
            ("r", false),
        ] {
            assert_eq!(is_role(role), good, "{role}");
        }
    }
}
