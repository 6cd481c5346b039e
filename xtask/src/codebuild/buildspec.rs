//! The build specification: from YAML to what the runner carries out.
//!
//! What a machine without a container cannot do (`image`, `proxy`, `build-matrix` and the like) is refused by name with its line,
//! because a build that skips what it was told is worth nothing. All problems are reported at once. The keys and their meaning:
//! AWS CodeBuild User Guide, "Build specification reference" and "Batch build buildspec reference".

use std::fmt;

use regex::Regex;

use crate::graph;
use crate::yaml::{self, Node, Value};

/// A build specification that can be run.
#[derive(Debug, Clone)]
pub(crate) struct BuildSpec {
    pub(crate) shell: Shell,
    /// In the order of the document; the text as written.
    pub(crate) variables: Vec<(String, String)>,
    /// Variables whose values are in Parameter Store, with the parameters' names.
    pub(crate) parameters: Vec<(String, String)>,
    /// Variables whose values are in Secrets Manager.
    pub(crate) secrets: Vec<(String, SecretReference)>,
    /// Names of variables whose values at the end are part of the result.
    pub(crate) exported: Vec<String>,
    /// The users that commands are to run as, each with its line.
    pub(crate) run_as: Vec<(usize, String)>,
    /// Languages that the install phase asks for, with their versions.
    pub(crate) runtimes: Vec<(String, String)>,
    /// In the order in which they run; phases that the document leaves out are not here.
    pub(crate) phases: Vec<Phase>,
    pub(crate) reports: Vec<Report>,
    pub(crate) artifacts: Option<Artifacts>,
    /// By their identifiers.
    pub(crate) secondary_artifacts: Vec<(String, Artifacts)>,
    pub(crate) cache: Option<Cache>,
    pub(crate) batch: Option<Batch>,
}

/// A secret, or one member of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SecretReference {
    /// Its name or ARN.
    pub(crate) id: String,
    /// A member of the JSON object that the secret is; `None` takes the whole text.
    pub(crate) key: Option<String>,
    pub(crate) version_stage: Option<String>,
    pub(crate) version_id: Option<String>,
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
#[derive(Debug, Clone)]
pub(crate) struct Phase {
    pub(crate) kind: PhaseKind,
    /// `None` follows the service's own order: a failed build phase is still followed by post_build, the others end the build.
    pub(crate) on_failure: Option<OnFailure>,
    pub(crate) commands: Vec<String>,
    /// Run after the commands, also when one of them failed.
    pub(crate) finally: Vec<String>,
}

/// What a failed phase does to the phases after it.
#[derive(Debug, Clone)]
pub(crate) enum OnFailure {
    Abort,
    Continue,
    /// The whole build is tried anew, from a clean checkout.
    Retry {
        /// How many times more, 0 to 100.
        count: u32,
        /// Only when the phase's message matches.
        pattern: Regex,
    },
}

impl OnFailure {
    /// Times that a build is tried again when no number is given.
    const RETRIES: u32 = 3;

    /// Reads `ABORT`, `CONTINUE`, `RETRY`, `RETRY-count`, `RETRY-regex` or `RETRY-count-regex`; the error is what was expected.
    fn parse(text: &str) -> Result<Self, String> {
        let rest = match text {
            "ABORT" => return Ok(Self::Abort),
            "CONTINUE" => return Ok(Self::Continue),
            "RETRY" => "",
            _ => text
                .strip_prefix("RETRY-")
                .filter(|rest| !rest.is_empty())
                .ok_or("must be ABORT, CONTINUE, RETRY, RETRY-count, RETRY-regex or RETRY-count-regex")?,
        };
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (count, pattern) = match rest.split_at(digits) {
            ("", pattern) => (Self::RETRIES, pattern),
            (count, after) if after.is_empty() || after.starts_with('-') => {
                let count = count.parse().ok().filter(|&count| count <= 100);
                (
                    count.ok_or("asks for more than 100 retries")?,
                    after.strip_prefix('-').unwrap_or_default(),
                )
            }
            _ => (Self::RETRIES, rest),
        };
        let pattern = if pattern.is_empty() { ".*" } else { pattern };
        match Regex::new(pattern) {
            Ok(pattern) => Ok(Self::Retry { count, pattern }),
            Err(_) => Err(format!("has `{pattern}`, which is not a regular expression")),
        }
    }
}

/// Files of a test tool that belong to a report group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) group: String,
    /// As the service names formats: JUNITXML unless said otherwise.
    pub(crate) format: String,
    pub(crate) files: FileSet,
}

/// The formats of reports, by the names of the service.
const REPORT_FORMATS: &[&str] = &[
    "CUCUMBERJSON",
    "JUNITXML",
    "NUNITXML",
    "NUNIT3XML",
    "TESTNGXML",
    "VISUALSTUDIOTRX",
    "CLOVERXML",
    "COBERTURAXML",
    "JACOCOXML",
    "SIMPLECOV",
];

/// A project sends its reports to five groups at most.
const MAX_REPORT_GROUPS: usize = 5;

/// Which files of the source are meant.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct FileSet {
    /// Patterns relative to the base directory.
    pub(crate) files: Vec<String>,
    /// Relative to the source. A pattern chooses among the folders there; their names then stay in the paths.
    pub(crate) base_directory: Option<String>,
    /// Patterns relative to the base directory.
    pub(crate) exclude: Vec<String>,
    /// Whether only the file names are kept.
    pub(crate) discard_paths: bool,
}

/// Which files are the result of the build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Artifacts {
    pub(crate) files: FileSet,
    /// A name for the whole, in which the shell replaces variables and commands.
    pub(crate) name: Option<String>,
}

/// Files that one build leaves to the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cache {
    /// In which the shell replaces variables and commands; `None` has one cache for the project.
    pub(crate) key: Option<String>,
    /// Beginnings of other keys, tried in turn when there is nothing under the key.
    pub(crate) fallback_keys: Vec<String>,
    pub(crate) restore: bool,
    pub(crate) save: bool,
    /// Patterns relative to the source, or absolute.
    pub(crate) paths: Vec<String>,
}

/// Builds that belong together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Batch {
    /// Whether a failed build stops those that have not begun.
    pub(crate) fast_fail: bool,
    /// In the order in which they run: the document's, but each after those it depends on.
    pub(crate) builds: Vec<BatchBuild>,
}

/// One build of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BatchBuild {
    pub(crate) identifier: String,
    /// Another build specification; `None` is the one that the batch stands in.
    pub(crate) buildspec: Option<String>,
    pub(crate) variables: Vec<(String, String)>,
    pub(crate) depend_on: Vec<String>,
    /// Whether the batch can succeed although this build fails.
    pub(crate) ignore_failure: bool,
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

/// Keys that CodeBuild knows and this runner does not, by the path of their mapping.
const NOT_IMPLEMENTED: &[(&str, &[&str])] = &[
    ("artifacts", &["s3-prefix"]),
    ("batch", &["build-matrix", "build-fanout"]),
    ("batch.*", &["debug-session"]),
    (
        "batch.*.env",
        &["compute-type", "fleet", "image", "privileged-mode", "type"],
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
            parameters: Vec::new(),
            secrets: Vec::new(),
            exported: Vec::new(),
            run_as: Vec::new(),
            runtimes: Vec::new(),
            phases: Vec::new(),
            reports: Vec::new(),
            artifacts: None,
            secondary_artifacts: Vec::new(),
            cache: None,
            batch: None,
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
                "run-as" => self.run_as(value, "run-as", &mut spec),
                "env" => self.env(value, &mut spec),
                "proxy" => self.proxy(value),
                "batch" => spec.batch = self.batch(value),
                "phases" => self.phases(value, &mut spec),
                "reports" => spec.reports = self.reports(value),
                "artifacts" => self.artifacts(value, &mut spec),
                "cache" => spec.cache = self.cache(value),
                _ => self.unknown(value, "", key),
            }
        }
        if version.is_none() {
            self.problem(document, "`version: 0.2` is missing".to_owned());
        }
        // A batch may have specifications of its own for every build.
        if spec.phases.is_empty() && spec.batch.is_none() && self.problems.is_empty() {
            self.problem(document, "no phase has commands".to_owned());
        }
        spec
    }

    fn run_as(&mut self, node: &Node, path: &str, spec: &mut BuildSpec) {
        if let Some(user) = self.text(node, path) {
            spec.run_as.push((node.line, user));
        }
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
                "variables" => spec.variables = self.variables(value, "env.variables"),
                "parameter-store" => {
                    spec.parameters = self.variables(value, "env.parameter-store");
                    for (name, parameter) in &spec.parameters {
                        if parameter.is_empty() {
                            self.problem(value, format!("`env.parameter-store.{name}` names no parameter"));
                        }
                    }
                }
                "secrets-manager" => {
                    for (name, text) in self.variables(value, "env.secrets-manager") {
                        match SecretReference::parse(&text) {
                            Some(reference) => spec.secrets.push((name, reference)),
                            None => self.problem(
                                value,
                                format!(
                                    "`env.secrets-manager.{name}` must be secret-id:json-key:version-stage:version-id, not `{text}`"
                                ),
                            ),
                        }
                    }
                }
                "exported-variables" => {
                    spec.exported = self.texts(value, "env.exported-variables");
                    for name in &spec.exported {
                        if !is_variable_name(name) {
                            self.problem(value, format!("`{name}` is not a name for a variable"));
                        } else if name.starts_with("AWS_") {
                            self.problem(value, format!("`{name}` cannot be exported: it begins with AWS_"));
                        }
                    }
                }
                "git-credential-helper" => {
                    if self.flag(value, "env.git-credential-helper") {
                        self.problem(
                            value,
                            "`env.git-credential-helper: yes` is not implemented here: git uses this machine's helpers".to_owned(),
                        );
                    }
                }
                _ => self.unknown(value, "env", key),
            }
        }
        for name in &spec.exported {
            if spec.parameters.iter().any(|(known, _)| known == name)
                || spec.secrets.iter().any(|(known, _)| known == name)
            {
                self.problem(node, format!("`{name}` cannot be exported: it is a secret"));
            }
        }
    }

    fn variables(&mut self, node: &Node, path: &str) -> Vec<(String, String)> {
        let mut variables = Vec::new();
        for (name, value) in self.mapping(node, &format!("`{path}`")) {
            if !is_variable_name(name) {
                self.problem(value, format!("`{name}` is not a name for a variable"));
            }
            match value.text() {
                _ if value.is_null() => variables.push((name.clone(), String::new())),
                Some(text) => variables.push((name.clone(), text.to_owned())),
                None => self.problem(
                    value,
                    format!("`{path}.{name}` must be a text, not {}", value.kind()),
                ),
            }
        }
        variables
    }

    fn proxy(&mut self, node: &Node) {
        for (key, value) in self.mapping(node, "`proxy`") {
            match key.as_str() {
                "upload-artifacts" | "logs" => {
                    if self.flag(value, &format!("proxy.{key}")) {
                        self.problem(value, format!("`proxy.{key}: yes` is not implemented here"));
                    }
                }
                _ => self.unknown(value, "proxy", key),
            }
        }
    }

    fn phases(&mut self, node: &Node, spec: &mut BuildSpec) {
        for (key, value) in self.mapping(node, "`phases`") {
            match PhaseKind::ALL.into_iter().find(|kind| kind.key() == key) {
                Some(kind) => {
                    let phase = self.phase(kind, value, spec);
                    spec.phases.push(phase);
                }
                None => self.unknown(value, "phases", key),
            }
        }
        spec.phases.sort_by_key(|phase| phase.kind);
    }

    fn phase(&mut self, kind: PhaseKind, node: &Node, spec: &mut BuildSpec) -> Phase {
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
                "run-as" => self.run_as(value, &format!("{path}.run-as"), spec),
                "runtime-versions" if kind == PhaseKind::Install => {
                    for (language, version) in self.mapping(value, &format!("`{path}.runtime-versions`")) {
                        match version.text() {
                            Some(text) if !version.is_null() => {
                                spec.runtimes.push((language.clone(), text.to_owned()));
                            }
                            _ => self.problem(
                                version,
                                format!(
                                    "`{path}.runtime-versions.{language}` must be a version, not {}",
                                    version.kind()
                                ),
                            ),
                        }
                    }
                }
                "on-failure" => match value.text().map(OnFailure::parse) {
                    Some(Ok(on_failure)) => phase.on_failure = Some(on_failure),
                    Some(Err(why)) => {
                        self.problem(value, format!("`{path}.on-failure` {why}, not {}", shown(value)))
                    }
                    None => self.problem(
                        value,
                        format!("`{path}.on-failure` must be a text, not {}", value.kind()),
                    ),
                },
                _ => self.unknown(value, &path, key),
            }
        }
        phase
    }

    fn reports(&mut self, node: &Node) -> Vec<Report> {
        let mut reports = Vec::new();
        for (group, value) in self.mapping(node, "`reports`") {
            let path = format!("reports.{group}");
            let mut format = "JUNITXML".to_owned();
            let mut entries = Vec::new();
            for (key, value) in self.mapping(value, &format!("`{path}`")) {
                if key == "file-format" {
                    match value.text() {
                        Some(text) if REPORT_FORMATS.contains(&text) => format = text.to_owned(),
                        _ => self.problem(
                            value,
                            format!(
                                "`{path}.file-format` must be one of {}, not {}",
                                REPORT_FORMATS.join(", "),
                                shown(value)
                            ),
                        ),
                    }
                } else {
                    entries.push((key, value));
                }
            }
            if let Some((files, rest)) = self.file_set(value, &path, entries) {
                for (key, value) in rest {
                    self.unknown(value, &path, key);
                }
                reports.push(Report {
                    group: group.clone(),
                    format,
                    files,
                });
            }
        }
        if reports.len() > MAX_REPORT_GROUPS {
            self.problem(
                node,
                format!("`reports` has {} groups, 5 are allowed", reports.len()),
            );
        }
        reports
    }

    fn artifacts(&mut self, node: &Node, spec: &mut BuildSpec) {
        let entries = self.mapping(node, "`artifacts`");
        let is_secondary = |(key, _): &&(String, Node)| key == "secondary-artifacts";
        let mut primary = entries.iter().filter(|entry| !is_secondary(entry)).peekable();
        let mut secondary = entries.iter().filter(is_secondary);
        let has_secondary =
            secondary.any(|(_, value)| value.entries().is_some_and(|entries| !entries.is_empty()));
        // Keys that say something of the primary artifacts need them.
        if primary.peek().is_some() || !has_secondary {
            spec.artifacts = self.artifact_set(node, "artifacts", primary);
        }
        for (key, value) in entries {
            if key != "secondary-artifacts" {
                continue;
            }
            for (identifier, value) in self.mapping(value, "`artifacts.secondary-artifacts`") {
                if !is_identifier(identifier) {
                    self.problem(
                        value,
                        format!(
                            "`{identifier}` is not an identifier: letters, digits and underscores, not first a digit"
                        ),
                    );
                    continue;
                }
                let path = format!("artifacts.secondary-artifacts.{identifier}");
                let entries = self.mapping(value, &format!("`{path}`")).iter();
                if let Some(artifacts) = self.artifact_set(value, &path, entries) {
                    spec.secondary_artifacts.push((identifier.clone(), artifacts));
                }
            }
        }
    }

    fn artifact_set<'a>(
        &mut self,
        node: &Node,
        path: &str,
        entries: impl Iterator<Item = &'a (String, Node)>,
    ) -> Option<Artifacts> {
        let entries = entries.map(|(key, value)| (key, value)).collect();
        let (mut files, rest) = self.file_set(node, path, entries)?;
        let mut name = None;
        for (key, value) in rest {
            match key.as_str() {
                "name" => name = self.text(value, &format!("{path}.name")),
                "exclude-paths" => {
                    files.exclude = match value.text() {
                        Some(text) if !value.is_null() => vec![text.to_owned()],
                        _ => self.texts(value, &format!("{path}.exclude-paths")),
                    }
                }
                "enable-symlinks" => {
                    if self.flag(value, &format!("{path}.enable-symlinks")) {
                        self.problem(
                            value,
                            format!("`{path}.enable-symlinks: yes` is not implemented here"),
                        );
                    }
                }
                _ => self.unknown(value, path, key),
            }
        }
        Some(Artifacts { files, name })
    }

    /// The members that every set of files has, and the other entries.
    fn file_set<'a>(
        &mut self,
        node: &Node,
        path: &str,
        entries: Vec<(&'a String, &'a Node)>,
    ) -> Option<(FileSet, Vec<(&'a String, &'a Node)>)> {
        let mut set = FileSet::default();
        let mut files = None;
        let mut rest = Vec::new();
        for (key, value) in entries {
            match key.as_str() {
                "files" => files = Some(self.texts(value, &format!("{path}.files"))),
                "base-directory" => match value.text() {
                    Some(text) if !stays_inside(text) => self.problem(
                        value,
                        format!("`{path}.base-directory` leaves the source: `{text}`"),
                    ),
                    Some(text) => set.base_directory = Some(text.to_owned()),
                    None => self.problem(
                        value,
                        format!("`{path}.base-directory` must be a text, not {}", value.kind()),
                    ),
                },
                "discard-paths" => set.discard_paths = self.flag(value, &format!("{path}.discard-paths")),
                _ => rest.push((key, value)),
            }
        }
        let Some(files) = files else {
            self.problem(node, format!("`{path}.files` is missing"));
            return None;
        };
        for pattern in files.iter().filter(|pattern| !stays_inside(pattern)) {
            self.problem(
                node,
                format!("`{path}.files` leaves the base directory: `{pattern}`"),
            );
        }
        set.files = files;
        Some((set, rest))
    }

    fn cache(&mut self, node: &Node) -> Option<Cache> {
        let mut cache = Cache {
            key: None,
            fallback_keys: Vec::new(),
            restore: true,
            save: true,
            paths: Vec::new(),
        };
        for (key, value) in self.mapping(node, "`cache`") {
            match key.as_str() {
                "key" => cache.key = self.text(value, "cache.key"),
                "fallback-keys" => {
                    cache.fallback_keys = self.texts(value, "cache.fallback-keys");
                    if cache.fallback_keys.len() > 5 {
                        self.problem(value, "`cache.fallback-keys` has more than 5 keys".to_owned());
                    }
                }
                "action" => match value.text() {
                    Some("restore") => cache.save = false,
                    Some("save") => cache.restore = false,
                    _ => self.problem(
                        value,
                        format!("`cache.action` must be restore or save, not {}", shown(value)),
                    ),
                },
                "paths" => {
                    cache.paths = self.texts(value, "cache.paths");
                    for path in &cache.paths {
                        if !path.starts_with('/') && !stays_inside(path) {
                            self.problem(value, format!("`cache.paths` leaves the source: `{path}`"));
                        }
                    }
                }
                _ => self.unknown(value, "cache", key),
            }
        }
        if cache.paths.is_empty() {
            self.problem(node, "`cache.paths` is missing".to_owned());
        }
        Some(cache)
    }

    fn batch(&mut self, node: &Node) -> Option<Batch> {
        let mut fast_fail = false;
        let mut builds: Option<Vec<BatchBuild>> = None;
        for (key, value) in self.mapping(node, "`batch`") {
            match key.as_str() {
                "fast-fail" => fast_fail = self.flag(value, "batch.fast-fail"),
                "build-list" | "build-graph" => {
                    if builds.is_some() {
                        self.problem(value, "`batch` has more than one kind of batch".to_owned());
                    }
                    builds = Some(self.batch_builds(value, &format!("batch.{key}")));
                }
                _ => self.unknown(value, "batch", key),
            }
        }
        let Some(builds) = builds else {
            if self.problems.is_empty() {
                self.problem(node, "`batch` has neither build-list nor build-graph".to_owned());
            }
            return None;
        };
        for (index, build) in builds.iter().enumerate() {
            if builds[..index]
                .iter()
                .any(|other| other.identifier == build.identifier)
            {
                self.problem(
                    node,
                    format!("two builds of the batch are called `{}`", build.identifier),
                );
            }
            for needed in &build.depend_on {
                if !builds.iter().any(|other| other.identifier == *needed) {
                    self.problem(
                        node,
                        format!(
                            "`{}` depends on `{needed}`, which is no build of the batch",
                            build.identifier
                        ),
                    );
                }
            }
        }
        let edges = builds
            .iter()
            .map(|build| {
                (
                    build.identifier.as_str(),
                    build.depend_on.iter().map(String::as_str).collect(),
                )
            })
            .collect::<Vec<(&str, Vec<&str>)>>();
        match graph::in_order(&edges) {
            Ok(order) => Some(Batch {
                fast_fail,
                builds: order.into_iter().map(|index| builds[index].clone()).collect(),
            }),
            Err(circle) => {
                self.problem(
                    node,
                    format!(
                        "builds of the batch depend on each other in a circle: {}",
                        circle.join(", ")
                    ),
                );
                None
            }
        }
    }

    fn batch_builds(&mut self, node: &Node, path: &str) -> Vec<BatchBuild> {
        let Some(items) = node.items() else {
            self.problem(node, format!("`{path}` must be a list, not {}", node.kind()));
            return Vec::new();
        };
        let graph = path.ends_with("graph");
        let mut builds = Vec::new();
        for item in items {
            let mut build = BatchBuild {
                identifier: String::new(),
                buildspec: None,
                variables: Vec::new(),
                depend_on: Vec::new(),
                ignore_failure: false,
            };
            for (key, value) in self.mapping(item, &format!("`{path}`")) {
                match key.as_str() {
                    "identifier" => {
                        build.identifier = self
                            .text(value, &format!("{path}.identifier"))
                            .unwrap_or_default();
                        if !is_identifier(&build.identifier) {
                            self.problem(
                                value,
                                format!("`{path}.identifier` must be letters, digits and underscores, not first a digit, not {}", shown(value)),
                            );
                        }
                    }
                    "buildspec" => build.buildspec = self.text(value, &format!("{path}.buildspec")),
                    "depend-on" if graph => build.depend_on = self.texts(value, &format!("{path}.depend-on")),
                    "ignore-failure" => {
                        build.ignore_failure = self.flag(value, &format!("{path}.ignore-failure"))
                    }
                    "env" => {
                        for (key, value) in self.mapping(value, &format!("`{path}.env`")) {
                            match key.as_str() {
                                "variables" => {
                                    build.variables = self.variables(value, &format!("{path}.env.variables"))
                                }
                                _ => self.unknown(value, &format!("{path}.env"), key),
                            }
                        }
                    }
                    _ => self.unknown(value, path, key),
                }
            }
            if build.identifier.is_empty() && self.problems.is_empty() {
                self.problem(item, format!("`{path}.identifier` is missing"));
            }
            builds.push(build);
        }
        if builds.is_empty() {
            self.problem(node, format!("`{path}` has no builds"));
        }
        builds
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

    fn text(&mut self, node: &Node, path: &str) -> Option<String> {
        match node.text() {
            Some(text) if !node.is_null() => Some(text.to_owned()),
            _ => {
                self.problem(node, format!("`{path}` must be a text, not {}", node.kind()));
                None
            }
        }
    }

    /// `yes` or `no`, as the service writes them, or `true` or `false`; anything else is a problem, and no.
    fn flag(&mut self, node: &Node, path: &str) -> bool {
        match node.text() {
            Some("yes" | "true") => true,
            Some("no" | "false") => false,
            _ => {
                self.problem(node, format!("`{path}` must be yes or no, not {}", shown(node)));
                false
            }
        }
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
        let pattern = match parent {
            "batch.build-list" | "batch.build-graph" => "batch.*",
            "batch.build-list.env" | "batch.build-graph.env" => "batch.*.env",
            _ => parent,
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

impl SecretReference {
    /// Reads `secret-id:json-key:version-stage:version-id`, of which all but the first may be empty or left out; an id may be an ARN,
    /// which has six colons of its own.
    fn parse(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.split(':').collect();
        let of_id = if parts[0] == "arn" { 7 } else { 1 };
        let (id, rest) = parts.split_at_checked(of_id)?;
        let part = |index: usize| {
            rest.get(index)
                .filter(|part| !part.is_empty())
                .map(|&part| part.to_owned())
        };
        (rest.len() <= 3 && id.iter().all(|part| !part.is_empty())).then(|| Self {
            id: id.join(":"),
            key: part(0),
            version_stage: part(1),
            version_id: part(2),
        })
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

/// Whether builds of a batch and secondary artifacts can be called so: what can be part of a variable's name, as the service asks.
fn is_identifier(name: &str) -> bool {
    is_variable_name(name) && name.len() <= 128
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
  parameter-store: {PARAMETER: /a/b}
  secrets-manager: {SECRET: "id:key", WHOLE: "arn:aws:secretsmanager:eu-west-1:1:secret:s:k:stage:v"}
  exported-variables: [VERSION]
  git-credential-helper: no
proxy: {upload-artifacts: no, logs: no}
phases:
  build:
    on-failure: RETRY-2-exit status [13]
    commands:
      - cargo build
      - |
        for x in a b; do
          echo $x
        done
    finally: ["echo done"]
  install:
    run-as: builder
    runtime-versions: {python: 3.11}
    commands: [rustup show]
reports:
  group:
    files: ["**/*.xml"]
    base-directory: target
    file-format: CUCUMBERJSON
artifacts:
  files: ["**/*"]
  base-directory: target*
  discard-paths: yes
  exclude-paths: "**/*.tmp"
  name: built-$VERSION
  secondary-artifacts:
    docs: {files: [doc/**/*]}
cache:
  key: deps-$(codebuild-hash-files Cargo.lock)
  fallback-keys: [deps-]
  action: restore
  paths: [target, /root/.cargo/**/*]
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
                parameters: [
                    (
                        "PARAMETER",
                        "/a/b",
                    ),
                ],
                secrets: [
                    (
                        "SECRET",
                        SecretReference {
                            id: "id",
                            key: Some(
                                "key",
                            ),
                            version_stage: None,
                            version_id: None,
                        },
                    ),
                    (
                        "WHOLE",
                        SecretReference {
                            id: "arn:aws:secretsmanager:eu-west-1:1:secret:s",
                            key: Some(
                                "k",
                            ),
                            version_stage: Some(
                                "stage",
                            ),
                            version_id: Some(
                                "v",
                            ),
                        },
                    ),
                ],
                exported: [
                    "VERSION",
                ],
                run_as: [
                    (
                        24,
                        "builder",
                    ),
                ],
                runtimes: [
                    (
                        "python",
                        "3.11",
                    ),
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
                            Retry {
                                count: 2,
                                pattern: Regex(
                                    "exit status [13]",
                                ),
                            },
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
                reports: [
                    Report {
                        group: "group",
                        format: "CUCUMBERJSON",
                        files: FileSet {
                            files: [
                                "**/*.xml",
                            ],
                            base_directory: Some(
                                "target",
                            ),
                            exclude: [],
                            discard_paths: false,
                        },
                    },
                ],
                artifacts: Some(
                    Artifacts {
                        files: FileSet {
                            files: [
                                "**/*",
                            ],
                            base_directory: Some(
                                "target*",
                            ),
                            exclude: [
                                "**/*.tmp",
                            ],
                            discard_paths: true,
                        },
                        name: Some(
                            "built-$VERSION",
                        ),
                    },
                ),
                secondary_artifacts: [
                    (
                        "docs",
                        Artifacts {
                            files: FileSet {
                                files: [
                                    "doc/**/*",
                                ],
                                base_directory: None,
                                exclude: [],
                                discard_paths: false,
                            },
                            name: None,
                        },
                    ),
                ],
                cache: Some(
                    Cache {
                        key: Some(
                            "deps-$(codebuild-hash-files Cargo.lock)",
                        ),
                        fallback_keys: [
                            "deps-",
                        ],
                        restore: true,
                        save: false,
                        paths: [
                            "target",
                            "/root/.cargo/**/*",
                        ],
                    },
                ),
                batch: None,
            }
        "#]]
        .assert_debug_eq(&spec);
    }

    #[test]
    fn a_batch_is_put_in_order() {
        let spec = parse(
            "version: 0.2
batch:
  fast-fail: true
  build-graph:
    - identifier: last
      depend-on: [first]
      env: {variables: {A: b}}
    - identifier: first
      buildspec: ci/first.yml
      ignore-failure: true
",
        )
        .unwrap();
        let batch = spec.batch.unwrap();
        let order: Vec<&str> = batch
            .builds
            .iter()
            .map(|build| build.identifier.as_str())
            .collect();
        assert_eq!(order, ["first", "last"]);
        assert!(batch.fast_fail && batch.builds[0].ignore_failure);
        assert_eq!(batch.builds[0].buildspec.as_deref(), Some("ci/first.yml"));
        assert_eq!(batch.builds[1].variables, [("A".to_owned(), "b".to_owned())]);
        check_problems(
            "version: 0.2
batch:
  build-graph:
    - identifier: a
      depend-on: [b, c]
    - identifier: b
      depend-on: [a]
    - identifier: b
    - identifier: 1x
      env: {image: x, compute-type: y, other: z}
      debug-session: true
  build-matrix: {}
",
            &expect![[r#"
                line 2: `a` depends on `c`, which is no build of the batch
                line 2: two builds of the batch are called `b`
                line 2: builds of the batch depend on each other in a circle: a, b
                line 9: `batch.build-graph.identifier` must be letters, digits and underscores, not first a digit, not `1x`
                line 10: `batch.build-graph.env.image` is not implemented here
                line 10: `batch.build-graph.env.compute-type` is not implemented here
                line 10: `batch.build-graph.env.other` is not a key of buildspec 0.2
                line 11: `batch.build-graph.debug-session` is not implemented here
                line 12: `batch.build-matrix` is not implemented here"#]],
        );
        check_problems(
            "version: 0.2
batch: {build-list: [{identifier: a, depend-on: [b]}]}
",
            &expect!["line 2: `batch.build-list.depend-on` is not a key of buildspec 0.2"],
        );
    }

    #[test]
    fn forms_of_retry() {
        for (text, want) in [
            ("RETRY", Some((3, ".*"))),
            ("RETRY-5", Some((5, ".*"))),
            ("RETRY-0", Some((0, ".*"))),
            ("RETRY-timed? out", Some((3, "timed? out"))),
            ("RETRY-100-exit status 1", Some((100, "exit status 1"))),
            ("RETRY-2x", Some((3, "2x"))),
            ("RETRY-101", None),
            ("RETRY-", None),
            ("RETRY-3-(", None),
            ("retry", None),
        ] {
            let read = match OnFailure::parse(text) {
                Ok(OnFailure::Retry { count, pattern }) => Some((count, pattern.to_string())),
                _ => None,
            };
            let want = want.map(|(count, pattern)| (count, pattern.to_owned()));
            assert_eq!(read, want, "{text}");
        }
    }

    #[test]
    fn every_key_that_is_not_implemented_is_named_at_once() {
        check_problems(
            "version: 0.2
env:
  secret-manager: {B: b}
  git-credential-helper: yes
proxy: {logs: yes}
phases:
  deploy:
    commands: [true]
  build:
    runtime-versions: {python: 3.11}
    on-failure: RETRY-101
    commands: [true]
artifacts:
  s3-prefix: x
  enable-symlinks: yes
  secondary-artifacts: {1: {files: [x]}, b: {}}
  files: [../x]
cache: {paths: [../y], action: both}
reports: {r: {file-format: TAP, files: [x], name: y}}
",
            &expect![[r#"
                line 3: `env.secret-manager` is not a key of buildspec 0.2
                line 4: `env.git-credential-helper: yes` is not implemented here: git uses this machine's helpers
                line 5: `proxy.logs: yes` is not implemented here
                line 7: `phases.deploy` is not a key of buildspec 0.2
                line 10: `phases.build.runtime-versions` is not a key of buildspec 0.2
                line 11: `phases.build.on-failure` asks for more than 100 retries, not `RETRY-101`
                line 13: `artifacts.files` leaves the base directory: `../x`
                line 14: `artifacts.s3-prefix` is not implemented here
                line 15: `artifacts.enable-symlinks: yes` is not implemented here
                line 16: `1` is not an identifier: letters, digits and underscores, not first a digit
                line 16: `artifacts.secondary-artifacts.b.files` is missing
                line 18: `cache.paths` leaves the source: `../y`
                line 18: `cache.action` must be restore or save, not `both`
                line 19: `reports.r.file-format` must be one of CUCUMBERJSON, JUNITXML, NUNITXML, NUNIT3XML, TESTNGXML, VISUALSTUDIOTRX, CLOVERXML, COBERTURAXML, JACOCOXML, SIMPLECOV, not `TAP`
                line 19: `reports.r.name` is not a key of buildspec 0.2"#]],
        );
    }

    #[test]
    fn secondary_artifacts_need_no_primary_ones() {
        let spec = |artifacts: &str| {
            format!("version: 0.2\nphases: {{build: {{commands: [true]}}}}\nartifacts:\n  {artifacts}\n")
        };
        let read = parse(&spec("secondary-artifacts: {one: {files: [x], name: n}}")).unwrap();
        assert_eq!(read.artifacts, None);
        assert_eq!(read.secondary_artifacts[0].0, "one");
        for artifacts in [
            "{secondary-artifacts: {}}",
            "{name: n, secondary-artifacts: {one: {files: [x]}}}",
        ] {
            check_problems(&spec(artifacts), &expect!["line 3: `artifacts.files` is missing"]);
        }
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
  base-directory: /build
",
            &expect![[r#"
                line 1: `version` must be 0.2, not `0.1`
                line 2: `env` must be a mapping, not a list
                line 5: `phases.build.on-failure` must be ABORT, CONTINUE, RETRY, RETRY-count, RETRY-regex or RETRY-count-regex, not `maybe`
                line 7: `phases.build.commands` has a mapping where a command should be: quote the whole command, it holds `: `
                line 8: `phases.build.commands` has nothing where a command should be
                line 10: `phases.post_build.commands` must be a list, not a text
                line 11: `artifacts.files` is missing
                line 12: `artifacts.base-directory` leaves the source: `/build`"#]],
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
