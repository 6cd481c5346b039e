//! Keeping the values of secret variables out of what is printed.

use std::collections::BTreeSet;
use std::ops::Range;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

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

/// The shortest value that is masked, in characters: a shorter one stands in many a word that has nothing to do with it.
const MIN_CHARS: usize = 4;
/// The longest number that is not masked, in digits: ports and counts stand everywhere.
const SMALL_NUMBER_DIGITS: usize = 5;
/// From this length on, in characters, a value is masked in the forms too that commands write it in.
const MIN_CHARS_OF_FORMS: usize = 8;

/// Why a secret value is printed as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Unmasked {
    Short,
    Flag,
    SmallNumber,
}

impl Unmasked {
    fn of(value: &str) -> Option<Self> {
        let flags = ["true", "false", "yes", "no", "on", "off", "null", "none"];
        if flags.iter().any(|flag| value.eq_ignore_ascii_case(flag)) {
            Some(Self::Flag)
        } else if value.chars().count() < MIN_CHARS {
            Some(Self::Short)
        } else if value.len() <= SMALL_NUMBER_DIGITS && value.bytes().all(|byte| byte.is_ascii_digit()) {
            Some(Self::SmallNumber)
        } else {
            None
        }
    }

    /// The reason, after a name.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::Short => "is too short to be masked",
            Self::Flag => "is a word like `true`, which is not masked",
            Self::SmallNumber => "is a number of few digits, which is not masked",
        }
    }
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

    /// Learns a value that is secret whatever its variable is called; of a JSON document also its members and elements, which commands
    /// pick out. Returns why the value, or a part of it, is not masked.
    pub(crate) fn learn_value(&mut self, value: &str) -> BTreeSet<Unmasked> {
        let mut unmasked = BTreeSet::new();
        if let Ok(document @ (Value::Object(_) | Value::Array(_))) = serde_json::from_str(value) {
            self.learn_parts(&document, &mut unmasked);
        }
        let mut lines = value.lines().map(str::trim).filter(|line| !line.is_empty());
        if let (Some(line), None) = (lines.next(), lines.next())
            && let Some(reason) = Unmasked::of(line)
        {
            unmasked.insert(reason);
        }
        let lines = value.lines().map(str::trim);
        for line in lines.filter(|line| !line.is_empty() && Unmasked::of(line).is_none()) {
            self.values.extend(forms(line));
        }
        self.values.extend(wrapped(value));
        unmasked
    }

    /// Learns a value as above, and tells what of it is not masked, by the name of its variable.
    pub(crate) fn learn_named(&mut self, name: &str, value: &str) -> Vec<String> {
        let reasons = self.learn_value(value);
        let part = if Unmasked::of(value.trim()).is_some() {
            ""
        } else {
            "a part of "
        };
        let told = |reason: Unmasked| format!("{part}{name} {}", reason.reason());
        reasons.into_iter().map(told).collect()
    }

    fn learn_parts(&mut self, part: &Value, unmasked: &mut BTreeSet<Unmasked>) {
        match part {
            Value::Object(members) => members.values().for_each(|part| self.learn_parts(part, unmasked)),
            Value::Array(elements) => elements.iter().for_each(|part| self.learn_parts(part, unmasked)),
            Value::String(text) => unmasked.extend(self.learn_value(text)),
            other => unmasked.extend(self.learn_value(&other.to_string())),
        }
    }

    /// The line with every known secret replaced by `***`.
    pub(crate) fn mask(&self, line: &str) -> String {
        let mut masked = String::with_capacity(line.len());
        let mut at = 0;
        for found in self.found(line) {
            masked += &line[at..found.start];
            masked += "***";
            at = found.end;
        }
        masked + &line[at..]
    }

    /// Whether a known secret stands in the text.
    pub(crate) fn is_in(&self, text: &str) -> bool {
        self.values.iter().any(|value| text.contains(value.as_str()))
    }

    /// How many bytes the longest secret has.
    pub(crate) fn longest(&self) -> usize {
        self.values.iter().map(String::len).max().unwrap_or(0)
    }

    /// Where a text may be cut so that no secret is cut: at `wanted` or as little before it as possible.
    pub(crate) fn cut(&self, text: &str, wanted: usize) -> usize {
        let wanted = text.floor_char_boundary(wanted);
        match self
            .found(text)
            .into_iter()
            .find(|found| found.start < wanted && wanted < found.end)
        {
            // A text that begins with secrets up to there: after them.
            Some(found) if found.start == 0 => found.end,
            Some(found) => found.start,
            None => wanted,
        }
    }

    /// Where secrets stand in a text, in order; those that overlap are one.
    fn found(&self, text: &str) -> Vec<Range<usize>> {
        let mut all: Vec<Range<usize>> = self
            .values
            .iter()
            .flat_map(|value| text.match_indices(value.as_str()))
            .map(|(start, value)| start..start + value.len())
            .collect();
        all.sort_by_key(|found| (found.start, found.end));
        let mut joined: Vec<Range<usize>> = Vec::with_capacity(all.len());
        for found in all {
            match joined.last_mut() {
                Some(last) if found.start < last.end => last.end = last.end.max(found.end),
                _ => joined.push(found),
            }
        }
        joined
    }
}

/// A value as commands may write it: as it is, and a long one also in base64, in an address, and as a word of the shell.
fn forms(value: &str) -> Vec<String> {
    /// What addresses write as it is.
    const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC
        .remove(b'-')
        .remove(b'.')
        .remove(b'_')
        .remove(b'~');

    let mut forms = vec![value.to_owned()];
    if value.chars().count() < MIN_CHARS_OF_FORMS {
        return forms;
    }
    let base64 = aws_smithy_types::base64::encode(value);
    // Without its end too, which some leave out.
    forms.push(base64.trim_end_matches('=').to_owned());
    forms.push(
        base64
            .replace('+', "-")
            .replace('/', "_")
            .trim_end_matches('=')
            .to_owned(),
    );
    forms.push(base64);
    for set in [NON_ALPHANUMERIC, UNRESERVED] {
        let escaped = utf8_percent_encode(value, set).to_string();
        forms.push(escaped.replace("%20", "+"));
        forms.push(escaped);
    }
    forms.push(value.replace('\'', r"'\''"));
    forms.push(backslashed(value));
    forms
}

/// A long value, or one of several lines, in base64 as `base64` writes it: in lines of 76 characters, with the value's last line feed and
/// without it. What is left over for a last line may be too short to be told from other text.
fn wrapped(value: &str) -> Vec<String> {
    const COLUMNS: usize = 76;

    let value = value.trim_end();
    let mut lines = Vec::new();
    for text in [value.to_owned(), format!("{value}\n")] {
        let base64 = aws_smithy_types::base64::encode(&text);
        if base64.len() <= COLUMNS && !value.contains('\n') {
            continue;
        }
        let cut = |at: usize| base64[at..(at + COLUMNS).min(base64.len())].to_owned();
        lines.extend((0..base64.len()).step_by(COLUMNS).map(cut));
        lines.push(base64);
    }
    lines.retain(|line| line.len() >= MIN_CHARS_OF_FORMS);
    lines
}

/// A word of the shell in which a backslash stands before whatever means something to it, as `printf %q` writes it.
fn backslashed(text: &str) -> String {
    let mut word = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_ascii() && !c.is_ascii_alphanumeric() && !"%+-./:=@_".contains(c) {
            word.push('\\');
        }
        word.push(c);
    }
    word
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_in_lines_is_masked_too() {
        let long = "0123456789".repeat(10);
        for value in [
            long.as_str(),
            "-----BEGIN KEY-----\nabcdefgh12345678\n-----END KEY-----\n",
        ] {
            let mut masker = Masker::default();
            masker.learn_value(value);
            for text in [value.trim_end().to_owned(), format!("{}\n", value.trim_end())] {
                let base64 = aws_smithy_types::base64::encode(&text);
                assert_eq!(masker.mask(&base64), "***");
                for line in base64.as_bytes().chunks(76).filter(|line| line.len() >= 8) {
                    let line = std::str::from_utf8(line).unwrap();
                    assert_eq!(masker.mask(line), "***", "{line}");
                }
            }
        }
    }

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
            ("A_TOKEN", "abcd"),
            ("B_TOKEN", "abcdefg"),
            ("REGION", "eu-west-1"),
            ("C_SECRET", "first\nsecond"),
            ("D_KEY", ""),
        ]);
        assert_eq!(masker.mask("abcdefg abcd eu-west-1"), "*** *** eu-west-1");
        assert_eq!(masker.mask("the second line"), "the *** line");
        assert_eq!(masker.mask("nothing here"), "nothing here");
        // One that begins within another.
        masker.learn_value("fghijk");
        assert_eq!(masker.mask("abcdefghijk!"), "***!");
    }

    #[test]
    fn parts_of_documents_are_secret_wherever_they_stand() {
        let mut masker = Masker::default();
        let unmasked = masker.learn_value(
            r#"{"user": "somebody", "port": 5432, "hosts": ["first-host", {"inner": ["second-host"]}], "pin": 123456, "tls": true}"#,
        );
        assert_eq!(
            masker.mask("somebody at first-host, second-host:5432, 123456, true"),
            "*** at ***, ***:5432, ***, true"
        );
        assert_eq!(
            unmasked.into_iter().collect::<Vec<_>>(),
            [Unmasked::Flag, Unmasked::SmallNumber]
        );
        masker.learn_value(r#"["only-element"]"#);
        assert_eq!(masker.mask("only-element"), "***");
    }

    #[test]
    fn what_stands_everywhere_is_not_masked() {
        for (value, want) in [
            ("11", Some(Unmasked::Short)),
            ("abc", Some(Unmasked::Short)),
            ("äöü", Some(Unmasked::Short)),
            ("TRUE", Some(Unmasked::Flag)),
            ("65535", Some(Unmasked::SmallNumber)),
            ("123456", None),
            ("abcd", None),
            ("", None),
            ("a\nlong line", None),
        ] {
            let mut masker = Masker::default();
            assert_eq!(masker.learn_value(value).into_iter().next(), want, "{value}");
            if want.is_some() {
                assert_eq!(masker.mask(&format!("x{value}x")), format!("x{value}x"));
            }
        }
    }

    #[test]
    fn long_values_are_secret_in_other_forms_too() {
        let mut masker = Masker::default();
        masker.learn_value("it's a>secret?");
        for text in [
            "it's a>secret?",
            "aXQncyBhPnNlY3JldD8=",
            "aXQncyBhPnNlY3JldD8",
            "it%27s%20a%3Esecret%3F",
            "it%27s+a%3Esecret%3F",
            r"it'\''s a>secret?",
            r"it\'s\ a\>secret\?",
        ] {
            assert_eq!(masker.mask(&format!("<{text}>")), "<***>", "{text}");
        }
        // A short one is not: its forms are short, too.
        masker.learn_value("a b");
        masker.learn_value("abc d");
        assert_eq!(masker.mask("abc%20d"), "abc%20d");
    }

    #[test]
    fn a_cut_is_beside_secrets() {
        let mut masker = Masker::default();
        masker.learn_value("secret");
        for (text, wanted, want) in [
            ("a secret text", 1, 1),
            ("a secret text", 2, 2),
            ("a secret text", 5, 2),
            ("a secret text", 8, 8),
            ("secretsecret", 8, 6),
            ("secret", 3, 6),
            ("äää", 3, 2),
        ] {
            assert_eq!(masker.cut(text, wanted), want, "{text} at {wanted}");
        }
        assert_eq!(masker.longest(), 6);
    }
}
