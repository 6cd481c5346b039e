//! `cargo xtask ci`: the list of `.ci/run`, with the time each step takes.

use std::process::Command;
use std::time::Instant;

use anyhow::{Context, bail};

use crate::workspace;

/// Runs what CI runs; stops at the first step that fails.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Print the steps and run none.
    #[arg(long)]
    list: bool,
}

/// One command of the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Step {
    name: &'static str,
    /// The arguments after `cargo`.
    cargo: &'static [&'static str],
    env: Option<(&'static str, &'static str)>,
    /// It installs other programs, and passes where it cannot, unless it is told `--require`.
    installs: bool,
    /// A cargo subcommand that not every machine has; the step is skipped, with the reason printed, where it is missing.
    needs: Option<&'static str>,
}

/// In order. The tests come last, so that the output ends with the test runner's own closing lines.
const STEPS: &[Step] = &[
    Step::new("format", &["fmt", "--all", "--check"]),
    Step::new(
        "clippy",
        &[
            "clippy",
            "--workspace",
            "--all-targets",
            "--locked",
            "--",
            "-D",
            "warnings",
        ],
    ),
    Step {
        env: Some(("RUSTDOCFLAGS", "-D warnings")),
        ..Step::new("docs", &["doc", "--workspace", "--no-deps", "--locked"])
    },
    Step {
        needs: Some("cargo-deny"),
        ..Step::new("deny", &["deny", "--locked", "check"])
    },
    Step::installing("spelling", &["xtask", "spelling"]),
    Step::installing("validators", &["xtask", "validators"]),
    Step::installing("moto", &["xtask", "moto"]),
    Step::new("test", &["test", "--workspace"]),
];

impl Step {
    const fn new(name: &'static str, cargo: &'static [&'static str]) -> Self {
        Self {
            name,
            cargo,
            env: None,
            installs: false,
            needs: None,
        }
    }

    const fn installing(name: &'static str, cargo: &'static [&'static str]) -> Self {
        Self {
            installs: true,
            ..Self::new(name, cargo)
        }
    }

    /// The command as one would type it.
    fn line(&self) -> String {
        let env = self
            .env
            .map(|(name, value)| format!("{name}=\"{value}\" "))
            .unwrap_or_default();
        format!("{env}cargo {}", self.cargo.join(" "))
    }
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    if args.list {
        for step in STEPS {
            println!("{}: {}", step.name, step.line());
        }
        return Ok(());
    }
    all(false)
}

/// The tools that steps need and that are not installed.
pub(crate) fn missing(is_installed: &dyn Fn(&str) -> bool) -> Vec<&'static str> {
    let needed = STEPS.iter().filter_map(|step| step.needs);
    needed.filter(|tool| !is_installed(tool)).collect()
}

/// Runs every step; the first that fails ends it. With `require`, a step whose programs cannot be installed fails.
pub(crate) fn all(require: bool) -> anyhow::Result<()> {
    for step in STEPS {
        if let Some(tool) = step.needs
            && !workspace::is_installed(tool)
        {
            println!(
                "== {}: skipped, {tool} is not installed (cargo install --locked {tool})",
                step.name
            );
            continue;
        }
        println!("== {}: {}", step.name, step.line());
        let started = Instant::now();
        let mut command = Command::new(workspace::cargo());
        command
            .args(step.cargo)
            .args((require && step.installs).then_some("--require"))
            .envs(step.env)
            .current_dir(workspace::root());
        let status = command
            .status()
            .with_context(|| format!("cannot start `{}`", step.line()))?;
        let seconds = started.elapsed().as_secs_f64();
        if !status.success() {
            bail!(
                "step `{}` failed after {seconds:.1} s: {}",
                step.name,
                step.line()
            );
        }
        if step.name != "test" {
            println!("== {}: {seconds:.1} s", step.name);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git::git;

    /// The commands of `.ci/run`, in order: every line that calls `step NAME COMMAND…`.
    fn commands_of(script: &str) -> Vec<(String, String)> {
        let mut commands = Vec::new();
        for line in script.lines().map(str::trim) {
            let Some((before, rest)) = line.split_once("step ") else {
                continue;
            };
            if line.starts_with('#') || !(before.is_empty() || before.ends_with("\" ")) {
                continue;
            }
            let Some((name, command)) = rest.split_once(' ') else {
                continue;
            };
            commands.push((name.to_owned(), format!("{before}{command}")));
        }
        commands
    }

    #[test]
    fn the_script_and_the_task_run_the_same_list() {
        let script = std::fs::read_to_string(workspace::root().join(".ci/run")).unwrap();
        let ours: Vec<_> = STEPS
            .iter()
            .map(|step| (step.name.to_owned(), step.line()))
            .collect();
        assert_eq!(commands_of(&script), ours);
        assert!(script.starts_with("#!/usr/bin/env bash\n"));
        assert!(script.contains("\nset -euo pipefail\n"));
        // A command after the tests would end the output with something else.
        let last = script.trim_end().lines().last().unwrap();
        assert_eq!(last, "step test cargo test --workspace");
    }

    #[test]
    fn the_script_can_be_executed() {
        // What git keeps decides: an unpacked archive, or a file system without this bit, has another mode.
        if !workspace::root().join(".git").exists() || !workspace::is_installed("git") {
            println!("skipped: not a repository of git");
            return;
        }
        let entry = git(workspace::root(), &["ls-files", "--stage", "--", ".ci/run"]).unwrap();
        assert!(entry.starts_with("100755 "), "{entry}");
    }
}
