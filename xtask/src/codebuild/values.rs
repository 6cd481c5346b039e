//! The values of parameters and secrets: from a file, else from the account.

use std::path::Path;

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::buildspec::{BuildSpec, SecretReference};
use crate::account::{Account, SECRETS_MANAGER, SSM};
use crate::yaml::{self, Node};

/// What a values file says; empty without one.
///
/// YAML or JSON: `parameter-store` has parameters by name, `secrets-manager` has secrets by id, each a text or a mapping of texts.
#[derive(Debug, Default)]
pub(crate) struct Values {
    parameters: Vec<(String, String)>,
    secrets: Vec<(String, Value)>,
}

impl Values {
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the values file `{}`", path.display()))?;
        Self::parse(&text).with_context(|| format!("the values file `{}` cannot be used", path.display()))
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let document = yaml::parse(text)?;
        let mut values = Self::default();
        for (key, node) in mapping(&document, "the file")? {
            match key.as_str() {
                "parameter-store" => {
                    for (name, value) in mapping(node, key)? {
                        values.parameters.push((name.clone(), scalar(value, name)?));
                    }
                }
                "secrets-manager" => {
                    for (id, value) in mapping(node, key)? {
                        let value = match value.entries() {
                            Some(members) => {
                                let mut object = serde_json::Map::new();
                                for (name, value) in members {
                                    object.insert(name.clone(), Value::from(scalar(value, name)?));
                                }
                                Value::Object(object)
                            }
                            None => Value::from(scalar(value, id)?),
                        };
                        values.secrets.push((id.clone(), value));
                    }
                }
                _ => bail!(
                    "line {}: `{key}` is neither parameter-store nor secrets-manager",
                    node.line
                ),
            }
        }
        Ok(values)
    }

    /// The variables of a build specification that are parameters and secrets, with their values.
    ///
    /// What the file has not is asked of the account, which is looked for only then.
    pub(crate) fn resolve(&self, spec: &BuildSpec) -> anyhow::Result<Vec<(String, String)>> {
        let mut account = None;
        let mut found = Vec::new();
        for (variable, name) in &spec.parameters {
            let value = match self.parameters.iter().find(|(known, _)| known == name) {
                Some((_, value)) => value.clone(),
                None => parameter(asked(&mut account, "parameter", name)?, name)?,
            };
            found.push((variable.clone(), value));
        }
        for (variable, reference) in &spec.secrets {
            let value = match self.secrets.iter().find(|(known, _)| *known == reference.id) {
                Some((_, value)) => value.clone(),
                None => Value::from(secret(asked(&mut account, "secret", &reference.id)?, reference)?),
            };
            found.push((variable.clone(), member(&value, reference)?));
        }
        Ok(found)
    }
}

fn mapping<'a>(node: &'a Node, what: &str) -> anyhow::Result<&'a [(String, Node)]> {
    node.entries().with_context(|| {
        format!(
            "line {}: {what} must be a mapping, not {}",
            node.line,
            node.kind()
        )
    })
}

fn scalar(node: &Node, name: &str) -> anyhow::Result<String> {
    match node.text() {
        Some(text) if !node.is_null() => Ok(text.to_owned()),
        _ => bail!("line {}: `{name}` must be a text, not {}", node.line, node.kind()),
    }
}

fn asked<'a>(account: &'a mut Option<Account>, what: &str, name: &str) -> anyhow::Result<&'a Account> {
    if account.is_none() {
        *account = Some(Account::find(None, None).with_context(|| {
            format!(
                "the {what} `{name}` is not in a values file (--values FILE), and the account cannot be asked"
            )
        })?);
    }
    account.as_ref().context("the account is known by now")
}

fn parameter(account: &Account, name: &str) -> anyhow::Result<String> {
    let answer = account
        .json(
            &SSM,
            "AmazonSSM.GetParameters",
            &json!({"Names": [name], "WithDecryption": true}),
        )
        .with_context(|| format!("cannot read the parameter `{name}` in {}", account.region()))?;
    let value = &answer["Parameters"][0]["Value"];
    let value = value.as_str();
    Ok(value
        .with_context(|| format!("{} has no parameter `{name}`", account.region()))?
        .to_owned())
}

fn secret(account: &Account, reference: &SecretReference) -> anyhow::Result<String> {
    let mut body = json!({"SecretId": reference.id});
    for (name, value) in [
        ("VersionStage", &reference.version_stage),
        ("VersionId", &reference.version_id),
    ] {
        if let Some(value) = value {
            body[name] = Value::from(value.as_str());
        }
    }
    let answer = account
        .json(&SECRETS_MANAGER, "secretsmanager.GetSecretValue", &body)
        .with_context(|| {
            format!(
                "cannot read the secret `{}` in {}",
                reference.id,
                account.region()
            )
        })?;
    text_of(&answer)
        .with_context(|| format!("the secret `{}` cannot be the value of a variable", reference.id))
}

/// The text that a secret is; one that was stored as bytes may be one, too.
fn text_of(answer: &Value) -> anyhow::Result<String> {
    let text = match (answer["SecretString"].as_str(), answer["SecretBinary"].as_str()) {
        (Some(text), _) => text.to_owned(),
        (None, Some(encoded)) => {
            let bytes = aws_smithy_types::base64::decode(encoded).context("its bytes are not base64")?;
            String::from_utf8(bytes)
                .ok()
                .context("it is stored as bytes that are no text in UTF-8")?
        }
        (None, None) => bail!("it has no value"),
    };
    if text.contains('\0') {
        bail!("it has a zero byte");
    }
    Ok(text)
}

/// The asked member of a secret, or the whole.
fn member(value: &Value, reference: &SecretReference) -> anyhow::Result<String> {
    let id = &reference.id;
    let Some(key) = &reference.key else {
        return Ok(match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        });
    };
    let parsed;
    let object = match value {
        Value::String(text) => {
            parsed = serde_json::from_str(text)
                .ok()
                .filter(Value::is_object)
                .with_context(|| {
                    format!("the secret `{id}` is not a JSON object, and `{key}` of it is asked for")
                })?;
            &parsed
        }
        other => other,
    };
    match &object[key.as_str()] {
        Value::String(text) => Ok(text.clone()),
        Value::Null => bail!("the secret `{id}` has no member `{key}`"),
        other => Ok(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::buildspec;
    use super::*;

    #[test]
    fn values_come_from_the_file() {
        let spec = buildspec::parse(
            "version: 0.2
env:
  parameter-store: {A: /app/a}
  secrets-manager: {B: db:password, C: db, D: 'text:n', E: 'text'}
phases: {build: {commands: [true]}}
",
        )
        .unwrap();
        let values = Values::parse(
            r#"{"parameter-store": {"/app/a": "one"}, "secrets-manager": {"db": {"password": "two"}, "text": "{\"n\": 3}"}}"#,
        )
        .unwrap();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            values.resolve(&spec).unwrap(),
            [
                pair("A", "one"),
                pair("B", "two"),
                pair("C", r#"{"password":"two"}"#),
                pair("D", "3"),
                pair("E", r#"{"n": 3}"#),
            ]
        );
    }

    #[test]
    fn a_secret_is_a_text_or_the_bytes_of_one() {
        let answer = |member: &str, value: &str| json!({"Name": "n", member: value});
        assert_eq!(text_of(&answer("SecretString", "t")).unwrap(), "t");
        assert_eq!(
            text_of(&answer("SecretBinary", "eyJrIjogInbDpCJ9")).unwrap(),
            r#"{"k": "vä"}"#
        );
        for (answer, want) in [
            (
                answer("SecretBinary", "/w=="),
                "it is stored as bytes that are no text in UTF-8",
            ),
            (answer("SecretBinary", "/"), "its bytes are not base64"),
            (answer("SecretBinary", "YQBi"), "it has a zero byte"),
            (answer("Other", ""), "it has no value"),
        ] {
            assert_eq!(text_of(&answer).unwrap_err().to_string(), want);
        }
    }

    #[test]
    fn what_is_wrong_with_values_is_said() {
        for (text, want) in [
            ("[a]", "line 1: the file must be a mapping, not a list"),
            (
                "other: {}",
                "line 1: `other` is neither parameter-store nor secrets-manager",
            ),
            (
                "parameter-store: {a: [b]}",
                "line 1: `a` must be a text, not a list",
            ),
        ] {
            assert_eq!(Values::parse(text).unwrap_err().to_string(), want);
        }
        let reference = |key: &str| SecretReference {
            id: "db".to_owned(),
            key: Some(key.to_owned()),
            version_stage: None,
            version_id: None,
        };
        assert_eq!(
            member(&json!({}), &reference("k")).unwrap_err().to_string(),
            "the secret `db` has no member `k`"
        );
        assert_eq!(
            member(&json!("text"), &reference("k")).unwrap_err().to_string(),
            "the secret `db` is not a JSON object, and `k` of it is asked for"
        );
    }
}
