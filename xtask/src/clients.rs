//! `cargo xtask clients`: what people already have, run against `ipinsights serve`.
//!
//! The real clients (boto3, AWS CLI v1, the SageMaker SDK before its third major, the Step Functions SDK, s3fs) are installed
//! into a temporary folder, and each script of `xtask/clients` is run with them, as the published script and the notebooks use
//! them.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, bail};

use crate::{tools, workspace};

/// Where the scripts are; those that are no flow of their own are listed.
const SCRIPTS: &str = "xtask/clients";
const HELPERS: [&str; 2] = ["common.py", "sitecustomize.py"];

/// What is installed. The SageMaker SDK's third major has none of what the scripts import.
const PACKAGES: [&str; 5] = ["boto3", "awscli<2", "sagemaker<3", "stepfunctions==2.3.0", "s3fs"];

/// Keeps the SDK from reporting its use to AWS.
const SDK_DEFAULTS: &str =
    "SchemaVersion: \"1.0\"\nSageMaker:\n  PythonSDK:\n    Modules:\n      TelemetryOptOut: true\n";

/// Runs the real clients' scripts against `ipinsights serve`; says so and passes where they cannot be installed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Fail where they cannot be installed.
    #[arg(long)]
    require: bool,
    /// Use this Python, which has the clients already, instead of installing them.
    #[arg(long, value_name = "PATH")]
    python: Option<PathBuf>,
    /// Use this `ipinsights` instead of building one.
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
    /// The scripts to run, by name without `.py`; all of them by default.
    scripts: Vec<String>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let scripts = scripts(&args.scripts)?;
    let folder = tempfile::tempdir()?;
    let python = match &args.python {
        Some(python) => python.clone(),
        None => match tools::from_pypi(folder.path(), &PACKAGES) {
            Ok(programs) => programs.join("python"),
            Err(reason) if args.require => bail!("the clients cannot be installed: {reason:#}"),
            Err(reason) => {
                println!("clients: skipped, they cannot be installed: {reason:#}");
                return Ok(());
            }
        },
    };
    let binary = match &args.binary {
        Some(binary) => binary.clone(),
        None => build()?,
    };
    let defaults = folder.path().join("sagemaker.yaml");
    std::fs::write(&defaults, SDK_DEFAULTS)?;
    let server = Server::start(&binary, &folder.path().join("data"))?;
    let mut failed = Vec::new();
    for script in &scripts {
        let started = Instant::now();
        let output = Command::new(&python)
            .arg(script)
            .current_dir(folder.path())
            .envs(environment(&server.url, &defaults))
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("`{}` cannot be run", python.display()))?;
        let name = script
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let seconds = started.elapsed().as_secs_f64();
        if output.status.success() {
            println!("{name}: passed in {seconds:.1} s");
        } else {
            println!(
                "{name}: failed after {seconds:.1} s\n{}{}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            );
            failed.push(name);
        }
    }
    if !failed.is_empty() {
        bail!(
            "{} of {} scripts failed: {}",
            failed.len(),
            scripts.len(),
            failed.join(", ")
        );
    }
    Ok(())
}

/// The files of the scripts, in order of their names.
fn scripts(wanted: &[String]) -> anyhow::Result<Vec<PathBuf>> {
    let folder = workspace::root().join(SCRIPTS);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(&folder).with_context(|| format!("cannot read {SCRIPTS}"))? {
        let path = entry?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if name.ends_with(".py") && !HELPERS.contains(&name.as_str()) {
            found.push(path);
        }
    }
    found.sort();
    if wanted.is_empty() {
        return Ok(found);
    }
    wanted
        .iter()
        .map(|name| {
            let path = folder.join(format!("{name}.py"));
            match found.contains(&path) {
                true => Ok(path),
                false => bail!("there is no script {name} in {SCRIPTS}"),
            }
        })
        .collect()
}

/// Builds the command, with the whole workspace's features, so that what the tests built is used again.
fn build() -> anyhow::Result<PathBuf> {
    let status = Command::new(workspace::cargo())
        .args([
            "build",
            "--quiet",
            "--locked",
            "--workspace",
            "--bin",
            "ipinsights",
        ])
        .current_dir(workspace::root())
        .status()?;
    if !status.success() {
        bail!("`ipinsights` cannot be built");
    }
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace::root().join("target"), PathBuf::from);
    Ok(target
        .join("debug")
        .join(format!("ipinsights{}", std::env::consts::EXE_SUFFIX)))
}

/// What points the clients at the server and at nothing else.
fn environment(url: &str, defaults: &Path) -> Vec<(&'static str, OsString)> {
    let scripts = workspace::root().join(SCRIPTS);
    vec![
        ("AWS_ENDPOINT_URL", url.into()),
        ("AWS_ACCESS_KEY_ID", "local".into()),
        ("AWS_SECRET_ACCESS_KEY", "local".into()),
        ("AWS_DEFAULT_REGION", "us-east-1".into()),
        ("AWS_REGION", "us-east-1".into()),
        ("AWS_EC2_METADATA_DISABLED", "true".into()),
        // Neither the user's profiles nor their defaults have a say.
        ("AWS_CONFIG_FILE", "/dev/null".into()),
        ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null".into()),
        ("SAGEMAKER_USER_CONFIG_OVERRIDE", defaults.into()),
        ("SAGEMAKER_SUPPRESS_V2_WARNING", "1".into()),
        ("PYTHONPATH", scripts.into()),
        ("PYTHONDONTWRITEBYTECODE", "1".into()),
    ]
}

/// `ipinsights serve`, which ends with this value.
struct Server {
    process: Child,
    url: String,
}

impl Server {
    fn start(binary: &Path, folder: &Path) -> anyhow::Result<Self> {
        let mut process = Command::new(binary)
            .args(["serve", "--quiet", "--port", "0", "--data-dir"])
            .arg(folder)
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("`{}` cannot be run", binary.display()))?;
        // The first line comes when the port answers.
        let mut url = String::new();
        if let Some(output) = process.stdout.take() {
            BufReader::new(output).read_line(&mut url)?;
        }
        let url = url.trim().to_owned();
        let server = Self { process, url };
        if !server.url.starts_with("http://") {
            bail!("`ipinsights serve` did not start");
        }
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill(); // it has ended by itself
        let _ = self.process.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_are_found_and_named() {
        let all = scripts(&[]).unwrap();
        let names: Vec<_> = all
            .iter()
            .map(|path| path.file_stem().unwrap().to_str().unwrap())
            .collect();
        assert_eq!(
            names,
            [
                "command_line",
                "published_script",
                "services",
                "state_machines",
                "tutorial_notebook",
                "workshop_notebook"
            ]
        );
        assert_eq!(scripts(&["services".to_owned()]).unwrap().len(), 1);
        assert!(scripts(&["common".to_owned()]).is_err());
        for helper in HELPERS {
            assert!(workspace::root().join(SCRIPTS).join(helper).is_file(), "{helper}");
        }
    }
}
