//! `cargo xtask validators`: what `sfn-builder` builds and takes for valid, judged by `asl-validator` (npm) and `cfn-lint` (PyPI).
//!
//! Both are installed into a temporary folder. Where they know less of the language than there is, the difference is a line of
//! `validators.tsv` with its reason; a line that is no longer true is an error, so that the list stays true.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use serde_json::{Map, Value, json};

use crate::{tools, workspace};

/// The versions that the list of differences was made with.
const ASL_VALIDATOR: &str = "asl-validator@4.0.0";
const CFN_LINT: &str = "cfn-lint==1.58.0";

/// The differences: tool, definition, what it says, and why it is wrong, between tabs.
const DIFFERENCES: &str = "crates/sfn-builder/tests/validators.tsv";

/// Definitions that others wrote for the tests, and the pipeline's.
const CORPUS: &str = "crates/sfn-builder/tests/corpus/valid";
const PIPELINE: &str = "crates/pipeline/tests/definition.asl.json";
/// What the builder makes: examples that print a definition.
const EXAMPLES: [&str; 3] = ["ip_insights", "map_reduce", "human_approval"];

/// Runs each definition through the validators; the files are on the command line, the answer is a list of `[file, message]`.
const SCRIPT: &str = r#"
const { readFileSync } = require("fs");
const validator = require("asl-validator");
const found = [];
for (const file of process.argv.slice(2)) {
  try {
    const { isValid, errorsText } = validator(JSON.parse(readFileSync(file, "utf8")));
    if (!isValid) found.push([file, errorsText()]);
  } catch (error) {
    found.push([file, `exception: ${error.message}`]);
  }
}
console.log(JSON.stringify(found));
"#;

/// Judges definitions with asl-validator and cfn-lint; says so and passes where they cannot be installed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Fail where one of them cannot be installed.
    #[arg(long)]
    require: bool,
}

/// What a tool says against a definition.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Complaint {
    tool: &'static str,
    definition: String,
    message: String,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let definitions = definitions(folder.path())?;
    let known = std::fs::read_to_string(workspace::root().join(DIFFERENCES))
        .with_context(|| format!("cannot read {DIFFERENCES}"))?;
    let mut known = tools::differences(DIFFERENCES, &known)?;
    let names: BTreeSet<String> = definitions.iter().map(|file| name(file)).collect();
    known.retain(|line| names.contains(line[1]));
    for (tool, judge) in [
        (
            "asl-validator",
            asl_validator as fn(&Path, &[PathBuf]) -> anyhow::Result<Vec<Complaint>>,
        ),
        ("cfn-lint", cfn_lint),
    ] {
        if let Err(reason) = install(tool, folder.path()) {
            if args.require {
                bail!("{tool} cannot be installed: {reason:#}");
            }
            println!("{tool}: skipped, it cannot be installed: {reason:#}");
            continue;
        }
        let complaints = judge(folder.path(), &definitions)?;
        let problems = compare(tool, &complaints, &known);
        if !problems.is_empty() {
            bail!("{tool}:\n{}", problems.join("\n"));
        }
        let differing: BTreeSet<&str> = complaints
            .iter()
            .map(|complaint| complaint.definition.as_str())
            .collect();
        println!(
            "{tool}: {} definitions, {} accepted, {} differences listed in {DIFFERENCES}",
            definitions.len(),
            definitions.len() - differing.len(),
            differing.len()
        );
    }
    Ok(())
}

/// All definitions as files.
fn definitions(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let root = workspace::root();
    let mut files = vec![root.join(PIPELINE)];
    if let Ok(entries) = std::fs::read_dir(root.join(CORPUS)) {
        for entry in entries {
            files.push(entry?.path());
        }
    }
    files.retain(|file| file.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    for example in EXAMPLES {
        let output = Command::new(workspace::cargo())
            .args([
                "run",
                "--quiet",
                "--locked",
                "--package",
                "sfn-builder",
                "--example",
                example,
            ])
            .current_dir(root)
            .output()?;
        if !output.status.success() {
            bail!(
                "the example {example}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        let file = folder.join(format!("{example}.json"));
        std::fs::write(&file, output.stdout)?;
        files.push(file);
    }
    Ok(files)
}

fn install(tool: &str, folder: &Path) -> anyhow::Result<()> {
    match tool {
        "asl-validator" => tools::from_npm(folder, ASL_VALIDATOR),
        _ => tools::from_pypi(folder, &[CFN_LINT]).map(drop),
    }
}

fn asl_validator(folder: &Path, definitions: &[PathBuf]) -> anyhow::Result<Vec<Complaint>> {
    std::fs::write(folder.join("judge.js"), SCRIPT)?;
    let output = Command::new("node")
        .arg("judge.js")
        .args(definitions)
        .current_dir(folder)
        .output()
        .context("`node` cannot be run")?;
    if !output.status.success() {
        bail!(
            "asl-validator failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let found: Vec<(PathBuf, String)> = serde_json::from_slice(&output.stdout)?;
    Ok(found
        .into_iter()
        .map(|(file, message)| Complaint {
            tool: "asl-validator",
            definition: name(&file),
            // The rest repeats the first line.
            message: message.lines().next().unwrap_or_default().to_owned(),
        })
        .collect())
}

fn cfn_lint(folder: &Path, definitions: &[PathBuf]) -> anyhow::Result<Vec<Complaint>> {
    let mut resources = Map::new();
    for (at, file) in definitions.iter().enumerate() {
        let definition: Value = serde_json::from_slice(&std::fs::read(file)?)?;
        let properties =
            json!({"RoleArn": "arn:aws:iam::123456789012:role/states", "Definition": definition});
        resources.insert(
            format!("Machine{at}"),
            json!({"Type": "AWS::StepFunctions::StateMachine", "Properties": properties}),
        );
    }
    let template = json!({"AWSTemplateFormatVersion": "2010-09-09", "Resources": resources});
    std::fs::write(folder.join("template.json"), template.to_string())?;
    let output = Command::new(folder.join("venv/bin/cfn-lint"))
        .args(["--format", "json", "template.json"])
        .current_dir(folder)
        .output()?;
    let found: Vec<Value> = serde_json::from_slice(&output.stdout)
        .with_context(|| format!("cfn-lint failed: {}", String::from_utf8_lossy(&output.stderr)))?;
    found
        .iter()
        .filter(|found| found["Level"] == "Error")
        .map(|found| {
            let path: Vec<String> = found["Location"]["Path"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|step| step.as_str().map_or_else(|| step.to_string(), str::to_owned))
                .collect();
            let at = path
                .get(1)
                .and_then(|name| name.strip_prefix("Machine")?.parse::<usize>().ok());
            let Some(file) = at.and_then(|at| definitions.get(at)) else {
                bail!("cfn-lint cannot read the template: {found}");
            };
            Ok(Complaint {
                tool: "cfn-lint",
                definition: name(file),
                message: format!("/{}", path.get(4..).unwrap_or_default().join("/")),
            })
        })
        .collect()
}

fn name(file: &Path) -> String {
    file.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// Holds complaints of a tool against the list, whose lines are tool, definition, a part of what the tool says, reason.
fn compare(tool: &str, complaints: &[Complaint], known: &[[&str; 4]]) -> Vec<String> {
    tools::held_against(
        complaints,
        known,
        |complaint, [tool, definition, said, _]| {
            complaint.tool == *tool && complaint.definition == *definition && complaint.message.contains(said)
        },
        |complaint| format!("  {}: {}", complaint.definition, complaint.message),
        |[of, definition, said, _]| {
            (*of == tool)
                .then(|| format!("  {definition}: no longer says `{said}`: remove the line of {DIFFERENCES}"))
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_and_stale_differences_are_told() {
        let complaint = |message: &str| Complaint {
            tool: "cfn-lint",
            definition: "a.json".to_owned(),
            message: message.to_owned(),
        };
        let known = tools::differences(
            DIFFERENCES,
            "# comment\ncfn-lint\ta.json\t/States/A/Output\tno such field there\n",
        )
        .unwrap();
        let check = |complaints: &[Complaint]| compare("cfn-lint", complaints, &known);
        assert!(check(&[complaint("/States/A/OutputPath")]).is_empty());
        assert_eq!(
            check(&[complaint("/States/A/OutputPath"), complaint("/x")]),
            ["  a.json: /x"]
        );
        assert_eq!(check(&[]).len(), 1);
        assert!(compare("asl-validator", &[], &known).is_empty());
    }

    #[test]
    fn every_listed_difference_has_a_reason_and_a_definition() {
        let text = std::fs::read_to_string(workspace::root().join(DIFFERENCES)).unwrap();
        let root = workspace::root();
        for [tool, definition, said, reason] in tools::differences(DIFFERENCES, &text).unwrap() {
            assert!(["asl-validator", "cfn-lint"].contains(&tool), "{tool}");
            let corpus = root.join(CORPUS);
            let known =
                !corpus.is_dir() || corpus.join(definition).exists() || PIPELINE.ends_with(definition);
            let example = EXAMPLES
                .iter()
                .any(|example| definition == format!("{example}.json"));
            assert!(known || example, "{definition}");
            assert!(!said.is_empty() && reason.len() > 20, "{definition}: {reason}");
        }
    }
}
