//! `cargo xtask codebuild`: runs a build specification as CodeBuild would, on this machine and without a container.
//!
//! A clean clone at one commit, the phases in their order, one shell process per phase, the variables that CodeBuild sets.
//! What differs: the environment and the tools are this machine's, and processes left in the background are not ended.

mod artifacts;
mod buildspec;
mod secrets;
mod shell;
mod source;
#[cfg(test)]
mod tests;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, bail};
use serde::Serialize;

use self::buildspec::{BuildSpec, OnFailure, Phase, PhaseKind};
use self::secrets::{Masker, looks_secret};
use self::shell::State;
use self::source::Source;
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
    /// Where builds leave their log, summary and artifacts, in a folder per build [default: target/codebuild].
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// What is printed on stdout: the log, or one JSON object at the end (the log then goes to stderr).
    #[arg(long, value_enum, default_value_t)]
    format: Format,
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
    log: PathBuf,
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
    let summary = match args.format {
        Format::Text => build(args, &mut std::io::stdout())?,
        Format::Json => build(args, &mut std::io::stderr())?,
    };
    if args.format == Format::Json {
        println!("{}", serde_json::to_string_pretty(&summary)?);
    }
    Ok(if summary.status == Status::Succeeded {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Everything but the printing at the end; the log goes to `terminal` and to the build's folder.
fn build(args: &Args, terminal: &mut dyn Write) -> anyhow::Result<Summary> {
    let started = jiff::Timestamp::now();
    let workplace = tempfile::Builder::new()
        .prefix("codebuild-")
        .tempdir()
        .context("cannot make a temporary folder")?;
    let folder = workplace
        .path()
        .canonicalize()
        .context("the temporary folder is gone")?
        .join("src");

    let download = Instant::now();
    let checkout = source::checkout(&args.source, args.reference.as_deref(), &folder)?;
    let spec = read_buildspec(&folder, &args.buildspec)?;
    let download = PhaseSummary {
        phase_type: "DOWNLOAD_SOURCE",
        phase_status: Status::Succeeded,
        duration_seconds: download.elapsed().as_secs_f64(),
        message: None,
    };

    let output = args
        .output
        .clone()
        .unwrap_or_else(|| workspace::root().join("target/codebuild"));
    let (number, output) = next_build(&output)?;
    let id = format!("{}:{}", args.source.project(), uuid::Uuid::new_v4());
    let log_path = output.join("log.txt");
    let file =
        std::fs::File::create(&log_path).with_context(|| format!("cannot write `{}`", log_path.display()))?;

    let mut state = State::inherited(folder.clone());
    for (name, value) in spec.variables.iter().chain(&args.env) {
        state.set(name, value);
    }
    // As it may be printed: a command may well show its variables.
    let url = match &args.source {
        Source::Url(_) => args.source.to_string(),
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
    let mut masker = Masker::default();
    masker.learn(
        state
            .variables
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str())),
    );
    let mut log = Log {
        terminal,
        file,
        masker,
    };

    log.note(&format!(
        "Build {id} (number {number}) of {} at {}",
        args.source, checkout.commit
    ));
    if checkout.uncommitted {
        log.note("The source has changes that are not committed; they are not part of this build");
    }
    let mut build = Build {
        spec: &spec,
        state,
        phases: vec![download],
        succeeding: true,
    };
    let upload = build.run_phases(&mut log)?;
    let artifacts_folder = output.join("artifacts");
    let artifacts = match &spec.artifacts {
        Some(artifacts) if upload => build.upload(artifacts, &folder, &artifacts_folder, &mut log),
        _ => Vec::new(),
    };
    let summary = Summary {
        version: 1,
        build_id: id,
        build_number: number,
        status: Status::of(build.succeeding),
        source: args.source.to_string(),
        source_version: checkout.version,
        resolved_source_version: checkout.commit,
        buildspec: args.buildspec.clone(),
        exported_variables: build.exported(&mut log),
        phases: build.phases,
        artifacts_folder: (!artifacts.is_empty()).then_some(artifacts_folder),
        artifacts,
        log: log_path,
    };
    log.summary(&summary);
    let text = serde_json::to_string_pretty(&summary)? + "\n";
    std::fs::write(output.join("summary.json"), text).context("cannot write the build's summary")?;
    Ok(summary)
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
    phases: Vec<PhaseSummary>,
    succeeding: bool,
}

impl Build<'_> {
    /// Runs the phases until one ends the build; whether artifacts are to be uploaded then.
    fn run_phases(&mut self, log: &mut Log<'_>) -> anyhow::Result<bool> {
        for phase in &self.spec.phases {
            if self.run_phase(phase, log)? {
                continue;
            }
            self.succeeding = false;
            self.state.set("CODEBUILD_BUILD_SUCCEEDING", "0");
            match (phase.on_failure, phase.kind) {
                (Some(OnFailure::Continue), _) => {}
                (Some(OnFailure::Abort), _) | (None, PhaseKind::Install | PhaseKind::PreBuild) => {
                    return Ok(false);
                }
                // A failed build is still followed by post_build, and artifacts are uploaded whatever either said.
                (None, PhaseKind::Build | PhaseKind::PostBuild) => {}
            }
        }
        Ok(true)
    }

    /// Whether the phase succeeded: all its commands and all its `finally` commands.
    fn run_phase(&mut self, phase: &Phase, log: &mut Log<'_>) -> anyhow::Result<bool> {
        let name = phase.kind.name();
        log.note(&format!("Entering phase {name}"));
        let started = Instant::now();
        let mut failure = shell::run(self.spec.shell, &phase.commands, &mut self.state, log)?.err();
        if failure.is_some() {
            self.state.set("CODEBUILD_BUILD_SUCCEEDING", "0");
        }
        if !phase.finally.is_empty() {
            let last = shell::run(self.spec.shell, &phase.finally, &mut self.state, log)?.err();
            failure = failure.or(last);
        }
        let message = failure.map(|failure| {
            let text = format!(
                "Error while executing command: {}. Reason: {}",
                failure.command,
                failure.reason()
            );
            log.masker.mask(&text)
        });
        self.finish_phase(name, started, message, log)
    }

    fn finish_phase(
        &mut self,
        name: &'static str,
        started: Instant,
        message: Option<String>,
        log: &mut Log<'_>,
    ) -> anyhow::Result<bool> {
        let succeeded = message.is_none();
        let status = Status::of(succeeded);
        log.note(&format!("Phase complete: {name} State: {}", status.name()));
        if let Some(message) = &message {
            log.note(message);
        }
        self.phases.push(PhaseSummary {
            phase_type: name,
            phase_status: status,
            duration_seconds: started.elapsed().as_secs_f64(),
            message,
        });
        Ok(succeeded)
    }

    fn upload(
        &mut self,
        artifacts: &buildspec::Artifacts,
        source: &Path,
        target: &Path,
        log: &mut Log<'_>,
    ) -> Vec<String> {
        log.note("Entering phase UPLOAD_ARTIFACTS");
        let started = Instant::now();
        let (files, message) = match artifacts::collect(artifacts, source, target) {
            Ok(files) => (files, None),
            Err(error) => (Vec::new(), Some(format!("{error:#}"))),
        };
        self.succeeding &= message.is_none();
        let _ = self.finish_phase("UPLOAD_ARTIFACTS", started, message, log);
        files
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
        // A terminal that went away must not end a build; its result says what happened.
        let _ = writeln!(self.terminal, "{line}");
        let _ = writeln!(self.file, "{line}");
    }

    /// A line of our own.
    fn note(&mut self, text: &str) {
        let now = jiff::Timestamp::now()
            .strftime("%Y/%m/%d %H:%M:%S%.3f")
            .to_string();
        for line in text.lines() {
            self.output(&format!("[codebuild] {now} {line}"));
        }
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
