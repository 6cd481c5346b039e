//! Keeping the values of secret variables out of what is printed.

use std::collections::BTreeSet;

/// Parts of a variable's name (between underscores) that make its value a secret.
const SECRET_PARTS: &[&str] = &[
    "SECRET",
    "SECRETS",
    "TOKEN",
    "TOKENS",
    "PASSWORD",
    "PASSWD",
    "PASSPHRASE",
    "PASS",
    "PWD",
    "CREDENTIAL",
    "CREDENTIALS",
    "APIKEY",
    "PRIVATE",
    "AUTH",
];
/// Names that are not secret although a part says so.
const NOT_SECRET: &[&str] = &["PWD", "OLDPWD", "SSH_AUTH_SOCK", "XAUTHORITY"];

/// Whether the value of a variable with this name must not be printed.
pub(crate) fn looks_secret(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    if NOT_SECRET.contains(&name.as_str()) {
        return false;
    }
    let parts: Vec<&str> = name.split('_').collect();
    // AWS_ACCESS_KEY_ID is an identifier, AWS_SECRET_ACCESS_KEY, SIGNING_KEY and KEY are not.
    parts.last() == Some(&"KEY") || parts.iter().any(|part| SECRET_PARTS.contains(part))
}

/// Replaces secret values in lines of output.
#[derive(Debug, Default)]
pub(crate) struct Masker {
    /// What is replaced. A value of several lines is there line by line, because output is masked line by line.
    values: BTreeSet<String>,
}

impl Masker {
    /// Learns the secret values among these variables.
    pub(crate) fn learn<'a>(&mut self, variables: impl IntoIterator<Item = (&'a str, &'a str)>) {
        for (name, value) in variables {
            if looks_secret(name) {
                self.learn_value(value);
            }
        }
    }

    /// Learns a value that is secret whatever its variable is called; of a JSON object also its members, which commands pick out.
    pub(crate) fn learn_value(&mut self, value: &str) {
        if let Ok(serde_json::Value::Object(members)) = serde_json::from_str(value) {
            for member in members.values() {
                match member {
                    serde_json::Value::String(text) => self.learn_value(text),
                    other => self.learn_value(&other.to_string()),
                }
            }
        }
        self.values.extend(
            value
                .lines()
                .map(str::trim)
                .filter(|line| !line.is_empty())
                .map(str::to_owned),
        );
    }

    /// The line with every known secret replaced by `***`.
    pub(crate) fn mask(&self, line: &str) -> String {
        // The longest first, so that a secret which contains another one disappears as a whole.
        let mut values: Vec<&String> = self
            .values
            .iter()
            .filter(|value| line.contains(value.as_str()))
            .collect();
        values.sort_by_key(|value| std::cmp::Reverse(value.len()));
        values
            .into_iter()
            .fold(line.to_owned(), |line, value| line.replace(value.as_str(), "***"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_secrets() {
        for name in [
            "GITHUB_TOKEN",
            "AWS_SECRET_ACCESS_KEY",
            "AWS_SESSION_TOKEN",
            "db_password",
            "API_KEY",
            "KEY",
            "NPM_AUTH",
            "MY_SECRET_2",
        ] {
            assert!(looks_secret(name), "{name}");
        }
        for name in [
            "PATH",
            "PWD",
            "AWS_ACCESS_KEY_ID",
            "REGION",
            "KEYBOARD",
            "TOKENIZERS",
            "COMPASS",
            "SSH_AUTH_SOCK",
        ] {
            assert!(!looks_secret(name), "{name}");
        }
    }

    #[test]
    fn values_of_secrets_disappear() {
        let mut masker = Masker::default();
        masker.learn([
            ("A_TOKEN", "abc"),
            ("B_TOKEN", "abcdef"),
            ("REGION", "eu"),
            ("C_SECRET", "first\nsecond"),
            ("D_KEY", ""),
        ]);
        assert_eq!(masker.mask("abcdef abc eu"), "*** *** eu");
        assert_eq!(masker.mask("the second line"), "the *** line");
        assert_eq!(masker.mask("nothing here"), "nothing here");
        masker.learn_value(r#"{"user": "somebody", "port": 5432}"#);
        assert_eq!(masker.mask("somebody at 5432"), "*** at ***");
    }
}
