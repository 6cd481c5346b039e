//! `cargo xtask codebuild`: runs a build specification as CodeBuild would, on this machine and without a container.
//!
//! A clean clone at one commit, the phases in their order, one shell process per phase, the variables that CodeBuild sets.
//! What differs: the environment and the tools are this machine's, and processes left in the background are not ended.

mod artifacts;
mod batch;
mod buildspec;
mod cache;
mod reports;
mod runtimes;
mod secrets;
mod shell;
mod source;
#[cfg(test)]
mod tests;
mod values;
mod watch;

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, bail};
use serde::Serialize;

use self::buildspec::{Artifacts, BuildSpec, Cache, OnFailure, Phase, PhaseKind};
use self::secrets::{Masker, looks_secret};
use self::shell::State;
use self::source::Source;
use self::values::Values;
use crate::account;
use crate::ending::{self, Folder};
use crate::workspace;

/// Runs a build specification as CodeBuild would, on this machine and without a container.
///
/// Exit code 0: the build succeeded. 1: a phase failed. 2: there was nothing to build (no such source or reference, a build
/// specification with keys that are not implemented).
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A path, an address that git can clone, github:owner/name, or codecommit::region://repository.
    #[arg(long)]
    source: Source,
    /// Branch, tag or commit; the source's default branch without it.
    #[arg(long = "ref", value_name = "REF")]
    reference: Option<String>,
    /// The build specification's path within the source.
    #[arg(long, value_name = "FILE", default_value = "buildspec.yml")]
    buildspec: String,
    /// A variable for this build; wins over the build specification, as an override at the start of a build does.
    #[arg(long = "env", value_name = "NAME=VALUE", value_parser = variable)]
    env: Vec<(String, String)>,
    /// Values of `parameter-store` and `secrets-manager`, in YAML or JSON; what it has not is asked of the account.
    #[arg(long, value_name = "FILE")]
    values: Option<PathBuf>,
    /// Run the builds of `batch` instead of the phases.
    #[arg(long)]
    batch: bool,
    /// Follow the branch, and build each commit that it comes to and that has not been built.
    #[arg(long, conflicts_with = "batch")]
    watch: bool,
    /// With --watch: seconds between two looks at the branch.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, requires = "watch")]
    interval: u64,
    /// With --watch: end after this many builds.
    #[arg(long, value_name = "NUMBER", requires = "watch")]
    builds: Option<u32>,
    /// Where builds leave their log, summary and artifacts, in a folder per build [default: target/codebuild].
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// What is printed on stdout: the log, or one JSON object at the end (the log then goes to stderr).
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

impl Args {
    fn output(&self) -> PathBuf {
        self.output
            .clone()
            .unwrap_or_else(|| workspace::root().join("target/codebuild"))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
enum Format {
    #[default]
    Text,
    Json,
}

fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if buildspec::is_variable_name(name) => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE".to_owned()),
    }
}

/// The result of a build; what `--format json` prints.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Summary {
    /// Of this document.
    version: u32,
    build_id: String,
    build_number: u32,
    status: Status,
    source: String,
    source_version: String,
    resolved_source_version: String,
    buildspec: String,
    phases: Vec<PhaseSummary>,
    /// Values of variables whose names look secret are `***`.
    exported_variables: Vec<Exported>,
    /// Paths below `artifacts_folder`.
    artifacts: Vec<String>,
    artifacts_folder: Option<PathBuf>,
    /// What the artifacts are called as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    artifacts_name: Option<String>,
    /// In folders of their identifiers below `secondary-artifacts`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    secondary_artifacts: Vec<SecondaryArtifacts>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reports: Vec<reports::Collected>,
    /// How many builds before this one were retried.
    auto_retry_number: u32,
    /// What the build is called in its batch.
    #[serde(skip_serializing_if = "Option::is_none")]
    batch_identifier: Option<String>,
    log: PathBuf,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct SecondaryArtifacts {
    identifier: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    artifacts: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct Exported {
    name: String,
    value: String,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct PhaseSummary {
    phase_type: &'static str,
    phase_status: Status,
    duration_seconds: f64,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum Status {
    Succeeded,
    Failed,
}

impl Status {
    fn of(succeeded: bool) -> Self {
        if succeeded { Self::Succeeded } else { Self::Failed }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Succeeded => "SUCCEEDED",
            Self::Failed => "FAILED",
        }
    }
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    ending::clean_up_on_signals()?;
    let status = match args.format {
        Format::Text => run_with(args, &mut std::io::stdout())?.0,
        Format::Json => {
            let (status, summary) = run_with(args, &mut std::io::stderr())?;
            println!("{summary}");
            status
        }
    };
    Ok(if status == Status::Succeeded {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// What came of it, and its summary as JSON.
fn run_with(args: &Args, terminal: &mut dyn Write) -> anyhow::Result<(Status, String)> {
    if args.watch {
        return watch::run(args, terminal);
    }
    if args.batch {
        let batch = batch::run(args, terminal)?;
        return Ok((batch.status, serde_json::to_string_pretty(&batch)?));
    }
    let summary = build(args, terminal)?;
    Ok((summary.status, serde_json::to_string_pretty(&summary)?))
}

/// The build that the arguments ask for; the log goes to `terminal` and to the build's folder.
fn build(args: &Args, terminal: &mut dyn Write) -> anyhow::Result<Summary> {
    Request {
        args,
        reference: args.reference.as_deref(),
        buildspec: &args.buildspec,
        variables: &[],
        batch: None,
    }
    .build(terminal)
}

/// What is to be built.
#[derive(Debug, Clone, Copy)]
struct Request<'a> {
    args: &'a Args,
    reference: Option<&'a str>,
    buildspec: &'a str,
    /// They win over those of the build specification.
    variables: &'a [(String, String)],
    /// The batch's id, and the build's identifier in it.
    batch: Option<(&'a str, &'a str)>,
}

impl Request<'_> {
    /// Builds, and builds again from a clean checkout where `on-failure` asks for a retry.
    fn build(&self, terminal: &mut dyn Write) -> anyhow::Result<Summary> {
        let values = match &self.args.values {
            Some(path) => Values::read(path)?,
            None => Values::default(),
        };
        let mut number = 0;
        let mut commit = None;
        loop {
            let request = Request {
                reference: commit.as_deref().or(self.reference),
                ..*self
            };
            let (summary, retries) = request.attempt(number, &values, terminal)?;
            if number >= retries {
                return Ok(summary);
            }
            number += 1;
            commit = Some(summary.resolved_source_version);
        }
    }

    /// One build, and how many retries its failure asks for.
    fn attempt(
        &self,
        auto_retry_number: u32,
        values: &Values,
        terminal: &mut dyn Write,
    ) -> anyhow::Result<(Summary, u32)> {
        let args = self.args;
        let started = jiff::Timestamp::now();
        let workplace = Folder::new("codebuild-")?;
        let folder = workplace
            .path()
            .canonicalize()
            .context("the temporary folder is gone")?
            .join("src");

        let download = Instant::now();
        let checkout = source::checkout(&args.source, self.reference, &folder)?;
        let spec = read_buildspec(&folder, self.buildspec)?;
        if spec.phases.is_empty() {
            bail!(
                "the build specification `{}` has no phases, only a batch: run it with --batch",
                self.buildspec
            );
        }
        check_users(&spec)?;
        let secrets = values.resolve(&spec)?;
        let download = PhaseSummary {
            phase_type: "DOWNLOAD_SOURCE",
            phase_status: Status::Succeeded,
            duration_seconds: download.elapsed().as_secs_f64(),
            message: None,
        };

        let (number, output) = next_build(&args.output())?;
        let project = args.source.project();
        let id = format!("{project}:{}", uuid::Uuid::new_v4());
        let log_path = output.join("log.txt");
        let file = std::fs::File::create(&log_path)
            .with_context(|| format!("cannot write `{}`", log_path.display()))?;

        let mut state = State::inherited(folder.clone());
        let given = spec.variables.iter().chain(&secrets);
        for (name, value) in given.chain(self.variables).chain(&args.env) {
            state.set(name, value);
        }
        set_region(&mut state, args.source.region(), account::profile_region)?;
        // As it may be printed: a command may well show its variables.
        let url = match &args.source {
            Source::Url(_) | Source::CodeCommit { .. } => args.source.to_string(),
            source => source.clone_url()?,
        };
        for (name, value) in [
            ("CODEBUILD_BUILD_ID", id.clone()),
            (
                "CODEBUILD_BUILD_ARN",
                format!("arn:aws:codebuild:local:000000000000:build/{id}"),
            ),
            ("CODEBUILD_BUILD_IMAGE", "local".to_owned()),
            ("CODEBUILD_BUILD_NUMBER", number.to_string()),
            ("CODEBUILD_BUILD_SUCCEEDING", "1".to_owned()),
            ("CODEBUILD_INITIATOR", "xtask".to_owned()),
            ("CODEBUILD_LOG_PATH", log_path.display().to_string()),
            ("CODEBUILD_RESOLVED_SOURCE_VERSION", checkout.commit.clone()),
            ("CODEBUILD_SOURCE_REPO_URL", url),
            ("CODEBUILD_SOURCE_VERSION", checkout.version.clone()),
            ("CODEBUILD_SRC_DIR", folder.display().to_string()),
            ("CODEBUILD_START_TIME", started.as_millisecond().to_string()),
        ] {
            state.set(name, value);
        }
        if let Some((batch, identifier)) = self.batch {
            state.set("CODEBUILD_BATCH_BUILD_ID", batch);
            state.set("CODEBUILD_BATCH_BUILD_IDENTIFIER", identifier);
        }
        let (masker, unmasked) = self.masker(&spec, &secrets, &state);
        let mut log = Log {
            terminal,
            file,
            masker,
        };

        log.note(&format!(
            "Build {id} (number {number}) of {} at {}",
            args.source, checkout.commit
        ));
        for text in unmasked {
            log.note(&text);
        }
        if auto_retry_number > 0 {
            log.note(&format!("Retry {auto_retry_number} of a build that failed"));
        }
        if checkout.uncommitted {
            log.note("The source has changes that are not committed; they are not part of this build");
        }
        let mut build = Build {
            spec: &spec,
            state,
            source: &folder,
            output: &output,
            phases: vec![download],
            succeeding: true,
            retries: 0,
            results: Results::default(),
        };
        let store = cache::Store::new(&args.output(), &project);
        if let Some(cache) = &spec.cache {
            build.restore(cache, &store, &mut log);
        }
        let complete = build.run_phases(&mut log);
        build.upload(complete, &mut log);
        if let Some(cache) = &spec.cache {
            build.save(cache, &store, &mut log);
        }
        let results = std::mem::take(&mut build.results);
        let summary = Summary {
            version: 1,
            build_id: id,
            build_number: number,
            status: Status::of(build.succeeding),
            source: args.source.to_string(),
            source_version: checkout.version,
            resolved_source_version: checkout.commit,
            buildspec: self.buildspec.to_owned(),
            exported_variables: build.exported(&mut log),
            artifacts_folder: (!results.artifacts.is_empty()).then(|| output.join(ARTIFACTS)),
            artifacts: results.artifacts,
            artifacts_name: results.artifacts_name,
            secondary_artifacts: results.secondary_artifacts,
            reports: results.reports,
            auto_retry_number,
            batch_identifier: self.batch.map(|(_, identifier)| identifier.to_owned()),
            phases: build.phases,
            log: log_path,
        };
        log.summary(&summary);
        let text = serde_json::to_string_pretty(&summary)? + "\n";
        std::fs::write(output.join(SUMMARY), text).context("cannot write the build's summary")?;
        Ok((summary, build.retries))
    }

    /// What hides the secrets of the build, and what it does not hide although it is one.
    fn masker(
        &self,
        spec: &BuildSpec,
        secrets: &[(String, String)],
        state: &State,
    ) -> (Masker, BTreeSet<String>) {
        let mut masker = Masker::default();
        let mut unmasked = BTreeSet::new();
        for (name, value) in secrets {
            unmasked.extend(masker.learn_named(name, value));
        }
        let given = spec.variables.iter().chain(self.variables).chain(&self.args.env);
        for (name, value) in given.filter(|(name, _)| looks_secret(name)) {
            unmasked.extend(masker.learn_named(name, value));
        }
        for value in self.args.source.secrets() {
            masker.learn_value(&value);
        }
        masker.learn(state.pairs());
        (masker, unmasked)
    }
}

/// The region of a build for which none is set: that of the pipeline's local runs.
const DEFAULT_REGION: &str = "us-east-1";

/// Sets both variables of the region, as the service does: what one of them says, else the region of the source, else that of the profile.
fn set_region(
    state: &mut State,
    of_source: Option<&str>,
    of_profile: impl FnOnce() -> anyhow::Result<Option<String>>,
) -> anyhow::Result<()> {
    const NAMES: [&str; 2] = ["AWS_REGION", "AWS_DEFAULT_REGION"];
    let is_set = |name: &str| state.get(name).filter(|value| !value.is_empty());
    let region = match NAMES.into_iter().find_map(is_set).or(of_source) {
        Some(region) => region.to_owned(),
        None => of_profile()?.unwrap_or_else(|| DEFAULT_REGION.to_owned()),
    };
    for name in NAMES {
        if state.get(name).is_none_or(str::is_empty) {
            state.set(name, &region);
        }
    }
    Ok(())
}

/// The name of the file with a build's summary, in the build's folder.
const SUMMARY: &str = "summary.json";
/// The folder with a build's artifacts, in the build's folder.
const ARTIFACTS: &str = "artifacts";

/// Commands run as whoever runs this program; another user is refused.
fn check_users(spec: &BuildSpec) -> anyhow::Result<()> {
    if spec.run_as.is_empty() {
        return Ok(());
    }
    let output = std::process::Command::new("id")
        .arg("-un")
        .output()
        .context("cannot ask `id` for this user's name, which `run-as` is compared with")?;
    let name = String::from_utf8_lossy(&output.stdout);
    let name = name.trim();
    match spec.run_as.iter().find(|(_, user)| user != name) {
        Some((line, user)) => {
            bail!("line {line}: `run-as: {user}` is not implemented here: commands run as {name}")
        }
        None => Ok(()),
    }
}

/// Reads the build specification of a checkout; what it says is checked before anything runs.
fn read_buildspec(folder: &Path, name: &str) -> anyhow::Result<BuildSpec> {
    if Path::new(name).is_absolute() || name.split('/').any(|part| part == "..") {
        bail!("the build specification `{name}` is not a path within the source");
    }
    let text = std::fs::read_to_string(folder.join(name))
        .with_context(|| format!("cannot read the build specification `{name}` of this commit"))?;
    buildspec::parse(&text).with_context(|| format!("the build specification `{name}` cannot be run"))
}

/// Makes the folder of the next build: builds are counted from 1, and a folder belongs to one build alone.
fn next_build(output: &Path) -> anyhow::Result<(u32, PathBuf)> {
    std::fs::create_dir_all(output).with_context(|| format!("cannot make `{}`", output.display()))?;
    let output = output
        .canonicalize()
        .with_context(|| format!("cannot find `{}`", output.display()))?;
    let known =
        std::fs::read_dir(&output)?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let mut number = known.max().unwrap_or(0);
    loop {
        number += 1;
        let folder = output.join(number.to_string());
        match std::fs::create_dir(&folder) {
            Ok(()) => return Ok((number, folder)),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error).with_context(|| format!("cannot make `{}`", folder.display())),
        }
    }
}

/// A build under way.
struct Build<'a> {
    spec: &'a BuildSpec,
    state: State,
    source: &'a Path,
    /// The build's own folder.
    output: &'a Path,
    phases: Vec<PhaseSummary>,
    succeeding: bool,
    /// How many retries the failure of a phase asks for.
    retries: u32,
    results: Results,
}

/// What a build leaves.
#[derive(Debug, Default)]
struct Results {
    artifacts: Vec<String>,
    artifacts_name: Option<String>,
    secondary_artifacts: Vec<SecondaryArtifacts>,
    reports: Vec<reports::Collected>,
}

impl Build<'_> {
    /// Runs the phases until one ends the build; whether artifacts are to be uploaded then.
    fn run_phases(&mut self, log: &mut Log<'_>) -> bool {
        for phase in &self.spec.phases {
            let Some(message) = self.run_phase(phase, log) else {
                continue;
            };
            self.succeeding = false;
            self.state.set("CODEBUILD_BUILD_SUCCEEDING", "0");
            match (&phase.on_failure, phase.kind) {
                (Some(OnFailure::Continue), _) => {}
                (Some(OnFailure::Retry { count, pattern }), _) => {
                    if pattern.is_match(&message) {
                        self.retries = *count;
                    }
                    return false;
                }
                (Some(OnFailure::Abort), _) | (None, PhaseKind::Install | PhaseKind::PreBuild) => {
                    return false;
                }
                // A failed build is still followed by post_build, and artifacts are uploaded whatever either said.
                (None, PhaseKind::Build | PhaseKind::PostBuild) => {}
            }
        }
        true
    }

    /// Why a list of commands failed, if it did: a command, or the shell itself, whose folder may be gone.
    fn run_commands(&mut self, commands: &[String], log: &mut Log<'_>) -> Option<String> {
        match shell::run(self.spec.shell, commands, &mut self.state, log) {
            Ok(Ok(())) => None,
            Ok(Err(failure)) => Some(format!(
                "Error while executing command: {}. Reason: {}",
                log.masker.mask(&failure.command),
                failure.reason()
            )),
            Err(error) => Some(log.masker.mask(&format!("{error:#}"))),
        }
    }

    /// Runs a phase: all its commands and all its `finally` commands. Why it failed, if it did.
    fn run_phase(&mut self, phase: &Phase, log: &mut Log<'_>) -> Option<String> {
        let name = phase.kind.name();
        log.note(&format!("Entering phase {name}"));
        let started = Instant::now();
        if phase.kind == PhaseKind::Install
            && let Some(missing) = runtimes::missing(&self.spec.runtimes, &self.state)
        {
            let message = format!("runtime-versions: {missing}");
            return self.finish_phase(name, started, Some(message), log);
        }
        let mut message = self.run_commands(&phase.commands, log);
        if message.is_some() {
            self.state.set("CODEBUILD_BUILD_SUCCEEDING", "0");
        }
        if !phase.finally.is_empty() {
            let last = self.run_commands(&phase.finally, log);
            message = message.or(last);
        }
        self.finish_phase(name, started, message, log)
    }

    /// Notes how a phase ended, and gives its message back, in which what commands and errors say is masked already.
    fn finish_phase(
        &mut self,
        name: &'static str,
        started: Instant,
        message: Option<String>,
        log: &mut Log<'_>,
    ) -> Option<String> {
        let status = Status::of(message.is_none());
        log.note(&format!("Phase complete: {name} State: {}", status.name()));
        if let Some(message) = &message {
            log.note(message);
        }
        self.phases.push(PhaseSummary {
            phase_type: name,
            phase_status: status,
            duration_seconds: started.elapsed().as_secs_f64(),
            message: message.clone(),
        });
        message
    }

    /// Collects reports, which tell most of a build that failed, and the artifacts of one that went through its phases (`complete`).
    /// What is missing fails the build, and keeps nothing else from being collected.
    fn upload(&mut self, complete: bool, log: &mut Log<'_>) {
        let spec = self.spec;
        let artifacts = complete && (spec.artifacts.is_some() || !spec.secondary_artifacts.is_empty());
        if !artifacts && spec.reports.is_empty() {
            return;
        }
        log.note("Entering phase UPLOAD_ARTIFACTS");
        let started = Instant::now();
        let mut problems = Vec::new();
        for report in &spec.reports {
            if let Err(error) = self.collect_report(report, log) {
                problems.push(log.masker.mask(&format!("{error:#}")));
            }
        }
        if artifacts && let Err(error) = self.collect_artifacts(log) {
            problems.push(log.masker.mask(&format!("{error:#}")));
        }
        let message = (!problems.is_empty()).then(|| problems.join("; "));
        self.succeeding &= message.is_none();
        self.finish_phase("UPLOAD_ARTIFACTS", started, message, log);
    }

    fn collect_report(&mut self, report: &buildspec::Report, log: &mut Log<'_>) -> anyhow::Result<()> {
        let collected = reports::collect(report, self.source, &self.output.join("reports"))?;
        if let Some(tests) = &collected.tests {
            log.note(&format!(
                "Report {}: {} tests, {} failed, {} in error, {} skipped",
                collected.group, tests.total, tests.failed, tests.error, tests.skipped
            ));
        }
        self.results.reports.push(collected);
        Ok(())
    }

    fn collect_artifacts(&mut self, log: &mut Log<'_>) -> anyhow::Result<()> {
        let spec = self.spec;
        if let Some(artifacts) = &spec.artifacts {
            let folder = self.output.join(ARTIFACTS);
            self.results.artifacts = artifacts::collect(&artifacts.files, self.source, &folder)?;
            self.results.artifacts_name = self.name(artifacts, log)?;
        }
        for (identifier, artifacts) in &spec.secondary_artifacts {
            let folder = self.output.join("secondary-artifacts").join(identifier);
            let files = artifacts::collect(&artifacts.files, self.source, &folder)
                .with_context(|| format!("the secondary artifact `{identifier}`"))?;
            self.results.secondary_artifacts.push(SecondaryArtifacts {
                identifier: identifier.clone(),
                name: self.name(artifacts, log)?,
                artifacts: files,
            });
        }
        Ok(())
    }

    /// What artifacts are called as a whole.
    fn name(&self, artifacts: &Artifacts, log: &Log<'_>) -> anyhow::Result<Option<String>> {
        let name = artifacts.name.as_deref();
        name.map(|name| self.expand_open(name, log)).transpose()
    }

    /// A text in which the shell has replaced variables and commands, and which everybody may see.
    fn expand_open(&self, text: &str, log: &Log<'_>) -> anyhow::Result<String> {
        let expanded = self.expand(text)?;
        if log.masker.is_in(&expanded) {
            bail!("`{text}` holds the value of a secret, and names are printed and written down");
        }
        Ok(expanded)
    }

    /// A text in which the shell has replaced variables and commands, in the folder of the source.
    fn expand(&self, text: &str) -> anyhow::Result<String> {
        let state = State {
            folder: self.source.to_owned(),
            ..self.state.clone()
        };
        shell::expand(self.spec.shell, text, &state)
    }

    /// Brings the cache back. A build goes on without one, as in the service.
    fn restore(&self, cache: &Cache, store: &cache::Store, log: &mut Log<'_>) {
        for path in cache.paths.iter().filter(|path| path.starts_with('/')) {
            log.note(&format!(
                "Cache: `{path}` is a folder of this machine, which keeps it from build to build"
            ));
        }
        if !cache.restore {
            return;
        }
        let restored = self
            .cache_keys(cache, log)
            .and_then(|(key, fallback)| Ok((store.restore(&key, &fallback, self.source)?, key)));
        log.note(&match restored {
            Ok((Some((key, files)), _)) => format!("Cache: {files} files restored from `{key}`"),
            Ok((None, key)) => format!("Cache: nothing is there for `{key}`"),
            Err(error) => log.masker.mask(&format!("Cache: not restored: {error:#}")),
        });
    }

    /// Keeps the cache of a build that succeeded.
    fn save(&self, cache: &Cache, store: &cache::Store, log: &mut Log<'_>) {
        if !cache.save || !self.succeeding || cache.relative_paths().is_empty() {
            return;
        }
        let saved = self
            .cache_keys(cache, log)
            .and_then(|(key, _)| Ok((store.save(&key, cache, self.source)?, key)));
        log.note(&match saved {
            Ok((files, key)) => format!("Cache: {files} files saved as `{key}`"),
            Err(error) => log.masker.mask(&format!("Cache: not saved: {error:#}")),
        });
    }

    /// The key and the fallback keys.
    fn cache_keys(&self, cache: &Cache, log: &Log<'_>) -> anyhow::Result<(String, Vec<String>)> {
        let Some(key) = &cache.key else {
            return Ok(("default".to_owned(), Vec::new()));
        };
        let key_of = |key: &String| self.expand_open(key, log);
        let fallback = cache.fallback_keys.iter().map(key_of);
        Ok((key_of(key)?, fallback.collect::<anyhow::Result<_>>()?))
    }

    fn exported(&self, log: &mut Log<'_>) -> Vec<Exported> {
        let mut exported = Vec::new();
        for name in &self.spec.exported {
            match self.state.get(name) {
                Some(_) if looks_secret(name) => {
                    exported.push(Exported {
                        name: name.clone(),
                        value: "***".to_owned(),
                    });
                }
                Some(value) => exported.push(Exported {
                    name: name.clone(),
                    value: log.masker.mask(value),
                }),
                None => log.note(&format!("The exported variable {name} is not set")),
            }
        }
        exported
    }
}

/// Where the log goes: to the terminal and to a file, in both without the values of secrets.
pub(crate) struct Log<'a> {
    terminal: &'a mut dyn Write,
    file: std::fs::File,
    masker: Masker,
}

impl Log<'_> {
    /// A line that a command printed.
    fn output(&mut self, line: &str) {
        let line = self.masker.mask(line);
        self.line(&line);
    }

    /// Lines of our own. No secret is looked for in them: it would be one that is a word of ours.
    fn note(&mut self, text: &str) {
        let now = jiff::Timestamp::now()
            .strftime("%Y/%m/%d %H:%M:%S%.3f")
            .to_string();
        for line in text.lines() {
            self.line(&format!("[codebuild] {now} {line}"));
        }
    }

    /// Lines of our own that quote what the build specification or a command says.
    fn quote(&mut self, ours: &str, theirs: &str) {
        let theirs = self.masker.mask(theirs);
        self.note(&format!("{ours}{theirs}"));
    }

    fn line(&mut self, line: &str) {
        // A terminal that went away must not end a build; its result says what happened.
        let _ = writeln!(self.terminal, "{line}");
        let _ = writeln!(self.file, "{line}");
    }

    fn summary(&mut self, summary: &Summary) {
        for phase in &summary.phases {
            let PhaseSummary {
                phase_type,
                phase_status,
                duration_seconds,
                ..
            } = phase;
            self.note(&format!(
                "{phase_type:<16} {:<9} {duration_seconds:>8.2} s",
                phase_status.name()
            ));
        }
        for Exported { name, value } in &summary.exported_variables {
            self.note(&format!("exported {name}={value}"));
        }
        if let Some(folder) = &summary.artifacts_folder {
            self.note(&format!(
                "{} artifacts in {}",
                summary.artifacts.len(),
                folder.display()
            ));
        }
        self.note(&format!("Build {}: {}", summary.status.name(), summary.build_id));
    }
}
