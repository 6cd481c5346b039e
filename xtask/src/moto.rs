//! `cargo xtask moto`: the conformance corpus of `sfn-local`, played on moto's server (PyPI).
//!
//! moto is installed into a temporary folder. Where it differs from what the corpus expects, the documentation decides, and the
//! difference is a line of `moto.tsv` with its reason; a line that is no longer true is an error, so that the list stays true.
//! With `--rate`, both servers are measured in the same run.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use serde::Deserialize;

use crate::workspace;

/// The version that the list of differences was made with.
const MOTO: &str = "moto[server,stepfunctions]==5.2.5";
const DIFFERENCES: &str = "crates/sfn-local/tests/moto.tsv";
const CORPUS: &str = "crates/sfn-local/tests/corpus";
const SCRIPT: &str = include_str!("moto.py");

/// Plays the conformance corpus on moto's server; says so and passes where that cannot be installed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Fail where moto cannot be installed
    #[arg(long)]
    require: bool,
    /// Measure instead: executions per second of three Pass states, on aws-local and on moto
    #[arg(long)]
    rate: bool,
}

/// How moto and the corpus differ.
#[derive(Debug, Deserialize)]
struct Played {
    cases: usize,
    /// File, case, what, and what moto says.
    differences: Vec<[String; 4]>,
}

#[derive(Debug, Deserialize)]
struct Rate {
    rate: f64,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    if let Err(reason) = install(folder.path()) {
        if args.require {
            bail!("moto cannot be installed: {reason:#}");
        }
        println!("moto: skipped, it cannot be installed: {reason:#}");
        return Ok(());
    }
    if args.rate {
        let ours = our_rate()?;
        let Rate { rate } = script(folder.path(), &["rate".into(), "400".into()])?;
        println!(
            "aws-local {ours:.0} executions/s, moto {rate:.0}: {:.0} times as many",
            ours / rate
        );
        return Ok(());
    }
    let mut files: Vec<PathBuf> = std::fs::read_dir(workspace::root().join(CORPUS))?
        .map(|entry| Ok(entry?.path()))
        .collect::<std::io::Result<_>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "jsonl"));
    files.sort();
    let mut arguments = vec![PathBuf::from("play")];
    arguments.extend(files);
    let played: Played = script(folder.path(), &arguments)?;
    let text = std::fs::read_to_string(workspace::root().join(DIFFERENCES))
        .with_context(|| format!("cannot read {DIFFERENCES}"))?;
    let problems = compare(&played.differences, &differences(&text)?);
    if !problems.is_empty() {
        bail!("moto:\n{}", problems.join("\n"));
    }
    println!(
        "moto: {} cases, {} as expected, {} differences listed in {DIFFERENCES}",
        played.cases,
        played.cases - played.differences.len(),
        played.differences.len()
    );
    Ok(())
}

fn install(folder: &Path) -> anyhow::Result<()> {
    let run = |program: &Path, args: &[&str]| -> anyhow::Result<()> {
        let output = Command::new(program)
            .args(args)
            .current_dir(folder)
            .output()
            .with_context(|| format!("`{}` cannot be run", program.display()))?;
        if !output.status.success() {
            let error = String::from_utf8_lossy(&output.stderr);
            let last = error.trim_end().lines().last().unwrap_or_default().to_owned();
            bail!("`{} {}` failed: {last}", program.display(), args.join(" "));
        }
        Ok(())
    };
    run(Path::new("python3"), &["-m", "venv", "venv"])?;
    run(
        &folder.join("venv/bin/pip"),
        &["install", "--quiet", "--disable-pip-version-check", MOTO],
    )
}

/// Runs the script, which starts and ends moto's server itself.
fn script<T: for<'de> Deserialize<'de>>(folder: &Path, arguments: &[PathBuf]) -> anyhow::Result<T> {
    let path = folder.join("moto.py");
    std::fs::write(&path, SCRIPT)?;
    let output = Command::new(folder.join("venv/bin/python"))
        .arg(path)
        .args(arguments)
        .output()?;
    serde_json::from_slice(&output.stdout)
        .with_context(|| format!("moto failed: {}", String::from_utf8_lossy(&output.stderr)))
}

/// The rate that the soak of `aws-local` tells in its last line.
fn our_rate() -> anyhow::Result<f64> {
    let output = Command::new(workspace::cargo())
        .args([
            "run",
            "--quiet",
            "--release",
            "--locked",
            "--workspace",
            "--example",
            "soak",
            "--",
            "10000",
        ])
        .current_dir(workspace::root())
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let rate = text
        .lines()
        .last()
        .and_then(|line| line.split(", ").find_map(|part| part.split_once("/s")))
        .and_then(|(rate, _)| rate.parse().ok());
    rate.with_context(|| format!("the soak failed: {}", String::from_utf8_lossy(&output.stderr)))
}

/// The lines of the list: file, case, what, reason.
fn differences(text: &str) -> anyhow::Result<Vec<[&str; 4]>> {
    let lines = text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty());
    lines
        .map(|line| {
            let parts: Vec<&str> = line.split('\t').collect();
            let Ok(parts) = <[&str; 4]>::try_from(parts) else {
                bail!("{DIFFERENCES}: not four columns: {line}");
            };
            Ok(parts)
        })
        .collect()
}

/// What differs and is not listed, and what is listed and does not differ.
fn compare(found: &[[String; 4]], known: &[[&str; 4]]) -> Vec<String> {
    // What is left to chance in moto may differ and may not: its kind ends in a question mark.
    let kind = |line: &[&str; 4]| line[2].trim_end_matches('?').to_owned();
    let same = |found: &[String; 4], line: &[&str; 4]| {
        found[0] == line[0] && found[1] == line[1] && found[2] == kind(line)
    };
    let new = found
        .iter()
        .filter(|found| !known.iter().any(|line| same(found, line)))
        .map(|[file, case, what, said]| format!("  {file}: {case}: {what}: {said}"));
    let stale = known
        .iter()
        .filter(|line| !line[2].ends_with('?') && !found.iter().any(|found| same(found, line)))
        .map(|line| {
            format!(
                "  {}: {}: no longer differs: remove the line of {DIFFERENCES}",
                line[0], line[1]
            )
        });
    new.chain(stale).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_and_stale_differences_are_told() {
        let found = |case: &str| ["a.jsonl", case, "is", "2"].map(str::to_owned);
        let known = differences("# comment\na.jsonl\tone\tis\tmoto counts from one\n").unwrap();
        assert!(compare(&[found("one")], &known).is_empty());
        assert_eq!(
            compare(&[found("one"), found("two")], &known),
            ["  a.jsonl: two: is: 2"]
        );
        assert_eq!(compare(&[], &known).len(), 1);
        let chance = differences("a.jsonl\tone\tis?\tmoto throws dice\n").unwrap();
        assert!(compare(&[], &chance).is_empty() && compare(&[found("one")], &chance).is_empty());
        assert!(differences("a\tb\n").is_err());
    }

    #[test]
    fn every_listed_difference_has_a_case_and_a_reason() {
        let root = workspace::root();
        let text = std::fs::read_to_string(root.join(DIFFERENCES)).unwrap();
        for [file, case, what, reason] in differences(&text).unwrap() {
            let cases = std::fs::read_to_string(root.join(CORPUS).join(file)).unwrap();
            let named = cases.lines().any(|line| {
                serde_json::from_str::<serde_json::Value>(line).is_ok_and(|told| told["name"] == case)
            });
            assert!(named, "{file}: {case}");
            assert!(
                ["create", "start", "status", "error", "output", "is"].contains(&what.trim_end_matches('?')),
                "{what}"
            );
            assert!(reason.len() > 20, "{case}: {reason}");
        }
    }
}
