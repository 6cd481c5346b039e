//! `cargo xtask moto`: the conformance corpus of `sfn-local`, played on moto's server (PyPI).
//!
//! moto is installed into a temporary folder. Where it differs from what the corpus expects, the documentation decides, and the
//! difference is a line of `moto.tsv` with its reason; a line that is no longer true is an error, so that the list stays true.
//! With `--rate`, both servers are measured in the same run.
//!
//! Then the behaviours that `ipinsights-client` and `pipeline` rely on are asked of moto: the tests that ask `aws-local` otherwise. And the templates
//! of infra/ are deployed to it, as far as it knows their resources.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use serde::Deserialize;

use crate::{tools, workspace};

/// The version that the list of differences was made with.
const MOTO: &str = "moto[server,stepfunctions]==5.2.5";
const DIFFERENCES: &str = "crates/sfn-local/tests/moto.tsv";
const CORPUS: &str = "crates/sfn-local/tests/corpus";
const SCRIPT: &str = include_str!("moto.py");

/// Plays the conformance corpus and the client's behaviours on moto's server; says so and passes where that cannot be installed.
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

/// Where moto answers.
#[derive(Debug, Deserialize)]
struct Served {
    url: String,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    if let Err(reason) = tools::from_pypi(folder.path(), &[MOTO]) {
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
    let problems = compare(&played.differences, &tools::differences(DIFFERENCES, &text)?);
    if !problems.is_empty() {
        bail!("moto:\n{}", problems.join("\n"));
    }
    println!(
        "moto: {} cases, {} as expected, {} differences listed in {DIFFERENCES}",
        played.cases,
        played.cases - played.differences.len(),
        played.differences.len()
    );
    with_server(folder.path(), |url| {
        behaviours(url)?;
        stacks(url)
    })
}

/// Starts moto's server, lets its URL be used, and ends it.
fn with_server(folder: &Path, work: impl FnOnce(&str) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let path = folder.join("moto.py");
    std::fs::write(&path, SCRIPT)?;
    let mut moto = Command::new(folder.join("venv/bin/python"))
        .arg(path)
        .arg("serve")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut line = String::new();
    if let Some(out) = moto.stdout.take() {
        BufReader::new(out).read_line(&mut line)?;
    }
    let served: Result<Served, _> = serde_json::from_str(&line);
    let worked = served
        .context("moto does not say where it answers")
        .and_then(|served| work(&served.url));
    // Its end is that of its standard input.
    drop(moto.stdin.take());
    moto.wait()?;
    worked
}

/// Runs the behaviours of the client and of the pipeline on moto's server.
fn behaviours(url: &str) -> anyhow::Result<()> {
    let arguments = [
        "test",
        "--quiet",
        "--locked",
        "--workspace",
        "--test",
        "behaviour",
    ];
    let tested = Command::new(workspace::cargo())
        .args(arguments)
        .env("IPINSIGHTS_TEST_URL", url)
        .env_remove("IPINSIGHTS_TEST_PROFILE")
        .current_dir(workspace::root())
        .status()?;
    if !tested.success() {
        bail!(
            "moto: behaviours of ipinsights-client or pipeline differ; what moto lacks is listed in \
             crates/ipinsights-client/tests/behaviour/world.rs"
        );
    }
    println!("moto: the behaviours that ipinsights-client and pipeline rely on, as far as moto has them");
    Ok(())
}

/// A template with the parameters that it needs.
struct Deployed {
    template: &'static str,
    parameters: &'static [&'static str],
    /// What moto's CloudFormation does not know, so that the template cannot be deployed to it.
    lacks: Option<&'static str>,
}

const CODE: [&str; 2] = ["Threshold=-0.5", "CodeBucket=code"];

const STACKS: [Deployed; 4] = [
    Deployed {
        template: "infra/scorer.yml",
        parameters: &["Front=rest-api", CODE[0], CODE[1]],
        lacks: None,
    },
    Deployed {
        template: "infra/scorer.yml",
        parameters: &["Front=http-api", CODE[0], CODE[1]],
        lacks: Some("AWS::ApiGatewayV2::Api"),
    },
    Deployed {
        template: "infra/scorer.yml",
        parameters: &["Front=function-url", CODE[0], CODE[1]],
        lacks: Some("AWS::Lambda::Url"),
    },
    Deployed {
        template: "infra/pipeline.yml",
        parameters: &["SourceProvider=CodeCommit"],
        lacks: Some("AWS::CodeBuild::Project"),
    },
];

/// Deploys the templates to moto's CloudFormation, as `cargo xtask deploy-infra` does to the account's, and deletes them again.
fn stacks(url: &str) -> anyhow::Result<()> {
    let task = |arguments: &[&str]| {
        Command::new(std::env::current_exe()?)
            .args(["deploy-infra", "--region", "us-east-1", "--interval", "1"])
            .args(arguments)
            .env("AWS_ENDPOINT_URL", url)
            .env("AWS_ACCESS_KEY_ID", "moto")
            .env("AWS_SECRET_ACCESS_KEY", "moto")
            .env_remove("AWS_PROFILE")
            .current_dir(workspace::root())
            .output()
    };
    for (number, stack) in STACKS.iter().enumerate() {
        let Deployed {
            template,
            parameters,
            lacks,
        } = stack;
        let name = format!("stack-{number}");
        let mut arguments = vec!["--stack", &name, "--template", template];
        arguments.extend(parameters.iter().flat_map(|parameter| ["--parameter", parameter]));
        let made = task(&arguments)?;
        let shown = format!("{template} with {}", parameters[0]);
        match (made.status.success(), lacks) {
            (true, None) => {
                let deleted = task(&["--stack", &name, "--delete"])?;
                if !deleted.status.success() {
                    bail!(
                        "moto: {shown} is not deleted: {}",
                        String::from_utf8_lossy(&deleted.stderr)
                    );
                }
                println!("moto: {shown} is deployed and deleted");
            }
            (false, Some(kind)) => {
                println!("moto: {shown} is not deployed, its CloudFormation has no {kind}")
            }
            (true, Some(kind)) => bail!(
                "moto has {kind} by now: {shown} is deployed; take the word of it out of xtask/src/moto.rs"
            ),
            (false, None) => bail!("moto: {shown}: {}", String::from_utf8_lossy(&made.stderr)),
        }
    }
    Ok(())
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

/// Holds what differs against the list, whose lines are file, case, what, reason.
///
/// What is left to chance in moto may differ and may not: what differs ends in a question mark there.
fn compare(found: &[[String; 4]], known: &[[&str; 4]]) -> Vec<String> {
    tools::held_against(
        found,
        known,
        |found, [file, case, what, _]| {
            found[0] == *file && found[1] == *case && found[2] == what.trim_end_matches('?')
        },
        |[file, case, what, said]| format!("  {file}: {case}: {what}: {said}"),
        |[file, case, what, _]| {
            (!what.ends_with('?'))
                .then(|| format!("  {file}: {case}: no longer differs: remove the line of {DIFFERENCES}"))
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_and_stale_differences_are_told() {
        let found = |case: &str| ["a.jsonl", case, "is", "2"].map(str::to_owned);
        let known =
            tools::differences(DIFFERENCES, "# comment\na.jsonl\tone\tis\tmoto counts from one\n").unwrap();
        assert!(compare(&[found("one")], &known).is_empty());
        assert_eq!(
            compare(&[found("one"), found("two")], &known),
            ["  a.jsonl: two: is: 2"]
        );
        assert_eq!(compare(&[], &known).len(), 1);
        let chance = tools::differences(DIFFERENCES, "a.jsonl\tone\tis?\tmoto throws dice\n").unwrap();
        assert!(compare(&[], &chance).is_empty() && compare(&[found("one")], &chance).is_empty());
    }

    #[test]
    fn every_listed_difference_has_a_case_and_a_reason() {
        let root = workspace::root();
        let text = std::fs::read_to_string(root.join(DIFFERENCES)).unwrap();
        for [file, case, what, reason] in tools::differences(DIFFERENCES, &text).unwrap() {
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
