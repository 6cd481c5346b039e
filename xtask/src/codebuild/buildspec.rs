//! The build specification: from YAML to what the runner carries out.
//!
//! A part of buildspec 0.2 is implemented. Everything else is refused by name with its line, also keys that CodeBuild knows,
//! because a build that skips what it was told is worth nothing. All problems are reported at once.

use std::fmt;

use crate::yaml::{self, Node, Value};

/// A build specification that can be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BuildSpec {
    pub(crate) shell: Shell,
    /// In the order of the document; the text as written.
    pub(crate) variables: Vec<(String, String)>,
    /// Names of variables whose values at the end are part of the result.
    pub(crate) exported: Vec<String>,
    /// In the order in which they run; phases that the document leaves out are not here.
    pub(crate) phases: Vec<Phase>,
    pub(crate) artifacts: Option<Artifacts>,
}

/// The shell that runs the commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shell {
    Bash,
    Sh,
}

impl Shell {
    /// The program's name.
    pub(crate) fn program(self) -> &'static str {
        match self {
            Shell::Bash => "bash",
            Shell::Sh => "sh",
        }
    }
}

/// The phases in which commands run, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum PhaseKind {
    Install,
    PreBuild,
    Build,
    PostBuild,
}

impl PhaseKind {
    const ALL: [Self; 4] = [Self::Install, Self::PreBuild, Self::Build, Self::PostBuild];

    /// The key in the document.
    fn key(self) -> &'static str {
        match self {
            Self::Install => "install",
            Self::PreBuild => "pre_build",
            Self::Build => "build",
            Self::PostBuild => "post_build",
        }
    }

    /// The name in the service's answers.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Install => "INSTALL",
            Self::PreBuild => "PRE_BUILD",
            Self::Build => "BUILD",
            Self::PostBuild => "POST_BUILD",
        }
    }
}

/// The commands of one phase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Phase {
    pub(crate) kind: PhaseKind,
    /// `None` follows the service's own order: a failed build phase is still followed by post_build, the others end the build.
    pub(crate) on_failure: Option<OnFailure>,
    pub(crate) commands: Vec<String>,
    /// Run after the commands, also when one of them failed.
    pub(crate) finally: Vec<String>,
}

/// What a failed phase does to the phases after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnFailure {
    Abort,
    Continue,
}

/// Which files are the result of the build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Artifacts {
    /// Patterns relative to the base directory.
    pub(crate) files: Vec<String>,
    /// Relative to the source; no pattern.
    pub(crate) base_directory: Option<String>,
    /// Whether only the file names are kept.
    pub(crate) discard_paths: bool,
}

/// What is wrong with a build specification: everything that was found, in the order of its lines.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Problems(Vec<Problem>);

#[derive(Debug, PartialEq, Eq)]
struct Problem {
    line: usize,
    message: String,
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Problem { line, message }) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}line {line}: {message}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// Keys of buildspec 0.2 that CodeBuild knows and this runner does not, by the path of their mapping.
const NOT_IMPLEMENTED: &[(&str, &[&str])] = &[
    ("", &["run-as", "proxy", "batch", "reports", "cache"]),
    (
        "env",
        &["parameter-store", "secrets-manager", "git-credential-helper"],
    ),
    ("phases", &[]),
    ("phases.*", &["run-as", "runtime-versions"]),
    (
        "artifacts",
        &[
            "name",
            "exclude-paths",
            "enable-symlinks",
            "s3-prefix",
            "secondary-artifacts",
        ],
    ),
];

/// Reads a build specification.
pub(crate) fn parse(text: &str) -> Result<BuildSpec, Problems> {
    let document = match yaml::parse(text) {
        Ok(document) => document,
        Err(error) => {
            let (line, message) = error.into_parts();
            return Err(Problems(vec![Problem { line, message }]));
        }
    };
    let mut reader = Reader { problems: Vec::new() };
    let spec = reader.document(&document);
    reader.problems.sort_by_key(|problem| problem.line);
    if reader.problems.is_empty() {
        Ok(spec)
    } else {
        Err(Problems(reader.problems))
    }
}

struct Reader {
    problems: Vec<Problem>,
}

impl Reader {
    fn document(&mut self, document: &Node) -> BuildSpec {
        let mut spec = BuildSpec {
            shell: Shell::Sh,
            variables: Vec::new(),
            exported: Vec::new(),
            phases: Vec::new(),
            artifacts: None,
        };
        let mut version = None;
        for (key, value) in self.mapping(document, "the build specification") {
            match key.as_str() {
                "version" => {
                    version = Some(value);
                    let text = value.text().unwrap_or_default();
                    if text != "0.2" {
                        self.problem(value, format!("`version` must be 0.2, not `{text}`"));
                    }
                }
                "env" => self.env(value, &mut spec),
                "phases" => spec.phases = self.phases(value),
                "artifacts" => spec.artifacts = self.artifacts(value),
                _ => self.unknown(value, "", key),
            }
        }
        if version.is_none() {
            self.problem(document, "`version: 0.2` is missing".to_owned());
        }
        if spec.phases.is_empty() && self.problems.is_empty() {
            self.problem(document, "no phase has commands".to_owned());
        }
        spec
    }

    fn env(&mut self, node: &Node, spec: &mut BuildSpec) {
        for (key, value) in self.mapping(node, "`env`") {
            match key.as_str() {
                "shell" => match value.text() {
                    Some("bash") => spec.shell = Shell::Bash,
                    Some("sh" | "/bin/sh") => spec.shell = Shell::Sh,
                    _ => self.problem(
                        value,
                        format!("`env.shell` must be bash or sh, not {}", shown(value)),
                    ),
                },
                "variables" => {
                    for (name, value) in self.mapping(value, "`env.variables`") {
                        if !is_variable_name(name) {
                            self.problem(value, format!("`{name}` is not a name for a variable"));
                        }
                        match value.text() {
                            _ if value.is_null() => spec.variables.push((name.clone(), String::new())),
                            Some(text) => spec.variables.push((name.clone(), text.to_owned())),
                            None => {
                                self.problem(
                                    value,
                                    format!("`env.variables.{name}` must be a text, not {}", value.kind()),
                                );
                            }
                        }
                    }
                }
                "exported-variables" => {
                    spec.exported = self.texts(value, "env.exported-variables");
                    for name in &spec.exported {
                        if !is_variable_name(name) {
                            self.problem(value, format!("`{name}` is not a name for a variable"));
                        }
                    }
                }
                _ => self.unknown(value, "env", key),
            }
        }
    }

    fn phases(&mut self, node: &Node) -> Vec<Phase> {
        let mut phases = Vec::new();
        for (key, value) in self.mapping(node, "`phases`") {
            match PhaseKind::ALL.into_iter().find(|kind| kind.key() == key) {
                Some(kind) => phases.push(self.phase(kind, value)),
                None => self.unknown(value, "phases", key),
            }
        }
        phases.sort_by_key(|phase| phase.kind);
        phases
    }

    fn phase(&mut self, kind: PhaseKind, node: &Node) -> Phase {
        let mut phase = Phase {
            kind,
            on_failure: None,
            commands: Vec::new(),
            finally: Vec::new(),
        };
        let path = format!("phases.{}", kind.key());
        for (key, value) in self.mapping(node, &format!("`{path}`")) {
            match key.as_str() {
                "commands" => phase.commands = self.commands(value, &format!("{path}.commands")),
                "finally" => phase.finally = self.commands(value, &format!("{path}.finally")),
                "on-failure" => match value.text() {
                    Some("ABORT") => phase.on_failure = Some(OnFailure::Abort),
                    Some("CONTINUE") => phase.on_failure = Some(OnFailure::Continue),
                    Some(text) if text.starts_with("RETRY") => {
                        self.problem(
                            value,
                            format!("`{path}.on-failure: {text}` is not implemented here"),
                        );
                    }
                    _ => self.problem(
                        value,
                        format!(
                            "`{path}.on-failure` must be ABORT or CONTINUE, not {}",
                            shown(value)
                        ),
                    ),
                },
                _ => self.unknown(value, &path, key),
            }
        }
        phase
    }

    fn artifacts(&mut self, node: &Node) -> Option<Artifacts> {
        let mut files = None;
        let mut base_directory = None;
        let mut discard_paths = false;
        for (key, value) in self.mapping(node, "`artifacts`") {
            match key.as_str() {
                "files" => files = Some(self.texts(value, "artifacts.files")),
                "base-directory" => {
                    match value.text() {
                        Some(text) if text.contains(['*', '?', '[']) => {
                            self.problem(value, format!("`artifacts.base-directory` with a pattern (`{text}`) is not implemented here"));
                        }
                        Some(text) if !stays_inside(text) => {
                            self.problem(
                                value,
                                format!("`artifacts.base-directory` leaves the source: `{text}`"),
                            );
                        }
                        Some(text) => base_directory = Some(text.to_owned()),
                        None => self.problem(
                            value,
                            format!("`artifacts.base-directory` must be a text, not {}", value.kind()),
                        ),
                    }
                }
                "discard-paths" => match value.text() {
                    Some("yes" | "true") => discard_paths = true,
                    Some("no" | "false") => discard_paths = false,
                    _ => self.problem(
                        value,
                        format!(
                            "`artifacts.discard-paths` must be yes or no, not {}",
                            shown(value)
                        ),
                    ),
                },
                _ => self.unknown(value, "artifacts", key),
            }
        }
        let Some(files) = files else {
            self.problem(node, "`artifacts.files` is missing".to_owned());
            return None;
        };
        for pattern in files.iter().filter(|pattern| !stays_inside(pattern)) {
            self.problem(
                node,
                format!("`artifacts.files` leaves the base directory: `{pattern}`"),
            );
        }
        Some(Artifacts {
            files,
            base_directory,
            discard_paths,
        })
    }

    fn commands(&mut self, node: &Node, path: &str) -> Vec<String> {
        let Some(items) = node.items() else {
            self.problem(node, format!("`{path}` must be a list, not {}", node.kind()));
            return Vec::new();
        };
        let mut commands = Vec::new();
        for item in items {
            match (&item.value, item.text()) {
                (_, Some(text)) if !item.is_null() => commands.push(text.to_owned()),
                // The classic slip: `- echo "a: b"` is a mapping unless the whole command is quoted.
                (Value::Mapping(_), _) => self.problem(
                    item,
                    format!("`{path}` has a mapping where a command should be: quote the whole command, it holds `: `"),
                ),
                _ => self.problem(item, format!("`{path}` has {} where a command should be", item.kind())),
            }
        }
        commands
    }

    fn texts(&mut self, node: &Node, path: &str) -> Vec<String> {
        let Some(items) = node.items() else {
            self.problem(node, format!("`{path}` must be a list, not {}", node.kind()));
            return Vec::new();
        };
        let mut texts = Vec::new();
        for item in items {
            match item.text() {
                Some(text) if !item.is_null() => texts.push(text.to_owned()),
                _ => self.problem(
                    item,
                    format!("`{path}` has {} where a text should be", item.kind()),
                ),
            }
        }
        texts
    }

    fn mapping<'a>(&mut self, node: &'a Node, what: &str) -> &'a [(String, Node)] {
        node.entries().unwrap_or_else(|| {
            self.problem(node, format!("{what} must be a mapping, not {}", node.kind()));
            &[]
        })
    }

    fn unknown(&mut self, value: &Node, parent: &str, key: &str) {
        let pattern = if parent.starts_with("phases.") {
            "phases.*"
        } else {
            parent
        };
        let known = NOT_IMPLEMENTED
            .iter()
            .any(|(path, keys)| *path == pattern && keys.contains(&key));
        let path = if parent.is_empty() {
            key.to_owned()
        } else {
            format!("{parent}.{key}")
        };
        let reason = if known {
            "is not implemented here"
        } else {
            "is not a key of buildspec 0.2"
        };
        self.problem(value, format!("`{path}` {reason}"));
    }

    fn problem(&mut self, node: &Node, message: String) {
        self.problems.push(Problem {
            line: node.line,
            message,
        });
    }
}

/// The value for a message: its text, or what it is.
fn shown(node: &Node) -> String {
    match node.text() {
        Some(text) if !node.is_null() => format!("`{text}`"),
        _ => node.kind().to_owned(),
    }
}

/// Whether a shell can assign to this name.
pub(crate) fn is_variable_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Whether a relative path has no part that climbs out of its folder.
fn stays_inside(path: &str) -> bool {
    !path.starts_with('/') && path.split('/').all(|part| part != "..")
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check_problems(text: &str, want: &Expect) {
        want.assert_eq(&parse(text).unwrap_err().to_string());
    }

    #[test]
    fn what_is_implemented_is_read() {
        let spec = parse(
            r#"
version: 0.2
env:
  shell: bash
  variables:
    VERSION: 1.10
    EMPTY:
  exported-variables: [VERSION]
phases:
  build:
    on-failure: CONTINUE
    commands:
      - cargo build
      - |
        for x in a b; do
          echo $x
        done
    finally: ["echo done"]
  install:
    commands: [rustup show]
artifacts:
  files: ["**/*"]
  base-directory: target
  discard-paths: yes
"#,
        )
        .unwrap();
        expect![[r#"
            BuildSpec {
                shell: Bash,
                variables: [
                    (
                        "VERSION",
                        "1.10",
                    ),
                    (
                        "EMPTY",
                        "",
                    ),
                ],
                exported: [
                    "VERSION",
                ],
                phases: [
                    Phase {
                        kind: Install,
                        on_failure: None,
                        commands: [
                            "rustup show",
                        ],
                        finally: [],
                    },
                    Phase {
                        kind: Build,
                        on_failure: Some(
                            Continue,
                        ),
                        commands: [
                            "cargo build",
                            "for x in a b; do\n  echo $x\ndone\n",
                        ],
                        finally: [
                            "echo done",
                        ],
                    },
                ],
                artifacts: Some(
                    Artifacts {
                        files: [
                            "**/*",
                        ],
                        base_directory: Some(
                            "target",
                        ),
                        discard_paths: true,
                    },
                ),
            }
        "#]]
        .assert_debug_eq(&spec);
    }

    #[test]
    fn every_key_that_is_not_implemented_is_named_at_once() {
        check_problems(
            "version: 0.2
run-as: root
env:
  parameter-store: {A: /a}
  secret-manager: {B: b}
phases:
  install:
    runtime-versions: {python: 3.11}
    commands: [true]
  deploy:
    commands: [true]
  build:
    on-failure: RETRY-3
    commands: [true]
reports: {}
cache:
  paths: [target]
artifacts:
  secondary-artifacts: {}
  files: [../x]
",
            &expect![[r#"
                line 2: `run-as` is not implemented here
                line 4: `env.parameter-store` is not implemented here
                line 5: `env.secret-manager` is not a key of buildspec 0.2
                line 8: `phases.install.runtime-versions` is not implemented here
                line 10: `phases.deploy` is not a key of buildspec 0.2
                line 13: `phases.build.on-failure: RETRY-3` is not implemented here
                line 15: `reports` is not implemented here
                line 16: `cache` is not implemented here
                line 18: `artifacts.files` leaves the base directory: `../x`
                line 19: `artifacts.secondary-artifacts` is not implemented here"#]],
        );
    }

    #[test]
    fn wrong_shapes_are_named_with_their_line() {
        check_problems(
            "version: 0.1
env: [a]
phases:
  build:
    on-failure: maybe
    commands:
      - echo state: ready
      -
  post_build:
    commands: echo one
artifacts:
  base-directory: build*
",
            &expect![[r#"
                line 1: `version` must be 0.2, not `0.1`
                line 2: `env` must be a mapping, not a list
                line 5: `phases.build.on-failure` must be ABORT or CONTINUE, not `maybe`
                line 7: `phases.build.commands` has a mapping where a command should be: quote the whole command, it holds `: `
                line 8: `phases.build.commands` has nothing where a command should be
                line 10: `phases.post_build.commands` must be a list, not a text
                line 11: `artifacts.files` is missing
                line 12: `artifacts.base-directory` with a pattern (`build*`) is not implemented here"#]],
        );
        check_problems("phases: {}\n", &expect!["line 1: `version: 0.2` is missing"]);
        check_problems("version: 0.2\n", &expect!["line 1: no phase has commands"]);
        check_problems(
            "version: 0.2\nenv:\n  shell: powershell\n  variables: {1A: x, B: [y]}\n",
            &expect![[r#"
                line 3: `env.shell` must be bash or sh, not `powershell`
                line 4: `1A` is not a name for a variable
                line 4: `env.variables.B` must be a text, not a list"#]],
        );
        check_problems(
            "version: 0.2\nphases: [\n",
            &expect!["line 3: while parsing a node, did not find expected node content"],
        );
    }
}
