//! `runtime-versions`: the service installs a language, this machine has it or has not.

use std::process::{Command, Stdio};

use super::shell::State;

/// Programs that tell the version of a language, by the service's name of it.
const PROGRAMS: &[(&str, &str, &str)] = &[
    ("android", "sdkmanager", "--version"),
    ("dotnet", "dotnet", "--version"),
    ("golang", "go", "version"),
    ("java", "java", "-version"),
    ("nodejs", "node", "--version"),
    ("php", "php", "--version"),
    ("python", "python3", "--version"),
    ("ruby", "ruby", "--version"),
];

/// What stands in the way of the asked versions; `None` when this machine has them all.
pub(crate) fn missing(runtimes: &[(String, String)], state: &State) -> Option<String> {
    runtimes.iter().find_map(|(language, wanted)| {
        let Some((_, program, argument)) = PROGRAMS.iter().find(|(known, ..)| known == language) else {
            return Some(format!("`{language}` is not a runtime that is known here"));
        };
        let output = Command::new(program)
            .arg(argument)
            .env_clear()
            .envs(&state.variables)
            .stdin(Stdio::null())
            .output();
        let Ok(output) = output else {
            return Some(format!(
                "{language} {wanted} is asked for, and this machine has no `{program}`"
            ));
        };
        // Java tells its version on the other stream.
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        match version(&text) {
            Some(found) if agrees(wanted, &found) => None,
            Some(found) => Some(format!(
                "{language} {wanted} is asked for, and this machine has {found}"
            )),
            None => Some(format!("`{program} {argument}` tells no version")),
        }
    })
}

/// The first number of several parts, or else the first number, in what a program says of itself.
fn version(text: &str) -> Option<String> {
    let words = text.split(|c: char| !(c.is_ascii_digit() || c == '.'));
    let numbers: Vec<&str> = words
        .map(|word| word.trim_matches('.'))
        .filter(|word| !word.is_empty())
        .collect();
    let found = numbers.iter().find(|word| word.contains('.')).or(numbers.first());
    found.map(|&word| word.to_owned())
}

/// Whether a version is one that was asked for: `latest`, `3`, `3.11`, `3.x`, and `corretto21` for Java.
fn agrees(wanted: &str, found: &str) -> bool {
    if wanted == "latest" {
        return true;
    }
    let wanted = wanted.trim_start_matches(|c: char| c.is_ascii_alphabetic());
    let mut found = found.split('.');
    !wanted.is_empty()
        && wanted
            .split('.')
            .all(|part| found.next().is_some_and(|of| part == "x" || part == of))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_and_compared() {
        for (text, want) in [
            ("Python 3.11.2\n", Some("3.11.2")),
            ("v18.19.0", Some("18.19.0")),
            ("go version go1.22.1 linux/amd64", Some("1.22.1")),
            ("openjdk version \"21\" 2023-09-19", Some("21")),
            ("no number.", None),
        ] {
            assert_eq!(version(text).as_deref(), want, "{text}");
        }
        for (wanted, found, want) in [
            ("3.11", "3.11.2", true),
            ("3.1", "3.11.2", false),
            ("18.x", "18.19.0", true),
            ("18", "18.19.0", true),
            ("latest", "1", true),
            ("corretto21", "21.0.1", true),
            ("corretto", "21.0.1", false),
            ("3.11.2.1", "3.11.2", false),
        ] {
            assert_eq!(agrees(wanted, found), want, "{wanted} {found}");
        }
    }

    #[test]
    fn what_is_not_here_is_named() {
        let state = State::inherited(std::env::temp_dir());
        let one =
            |language: &str, version: &str| missing(&[(language.to_owned(), version.to_owned())], &state);
        assert_eq!(
            one("cobol", "1").as_deref(),
            Some("`cobol` is not a runtime that is known here")
        );
        let nowhere = State {
            variables: [("PATH".to_owned(), "/nowhere".to_owned())].into(),
            folder: std::env::temp_dir(),
        };
        let asked = [("ruby".to_owned(), "3.2".to_owned())];
        assert_eq!(
            missing(&asked, &nowhere).as_deref(),
            Some("ruby 3.2 is asked for, and this machine has no `ruby`")
        );
        assert_eq!(missing(&[], &nowhere), None);
    }
}
