//! Following a branch: each commit that it comes to is built once.

use std::collections::BTreeSet;
use std::io::Write;
use std::time::Duration;

use anyhow::Context;
use serde::Deserialize;

use super::{Args, Request, SUMMARY, Status};

/// Builds what the branch is at and what it comes to, until it is told to stop or has built as often as it was asked to.
///
/// A commit is new when no build in the output folder is of it, so that a commit which came while nobody watched is built too. What
/// cannot be built (no connection, a build specification that is refused) is told, and tried again with the next look.
pub(super) fn run(args: &Args, terminal: &mut dyn Write) -> anyhow::Result<(Status, String)> {
    let mut built = known(args)?;
    let mut summaries = Vec::new();
    let mut told = None;
    loop {
        let looked = args
            .source
            .remote()
            .and_then(|remote| remote.branch_commit(args.reference.as_deref()))
            .and_then(|commit| {
                commit.with_context(|| match &args.reference {
                    Some(branch) => format!("`{}` has no branch `{branch}`", args.source),
                    None => format!("`{}` has no commit yet", args.source),
                })
            });
        let outcome = match looked {
            Ok(commit) if built.contains(&commit) => Ok(()),
            Ok(commit) => Request {
                args,
                reference: Some(&commit),
                buildspec: &args.buildspec,
                variables: &[],
                batch: None,
            }
            .build(terminal)
            .map(|summary| {
                built.insert(commit);
                summaries.push(summary);
            }),
            Err(error) => Err(error),
        };
        match outcome {
            Ok(()) => told = None,
            // Once, not with every look.
            Err(error) => {
                let text = format!("{error:#}");
                if told.as_ref() != Some(&text) {
                    let _ = writeln!(
                        terminal,
                        "[codebuild] {text}; looking again in {} s",
                        args.interval
                    );
                    told = Some(text);
                }
            }
        }
        if let (Some(builds), Some(last)) = (args.builds, summaries.last())
            && summaries.len() >= builds as usize
        {
            return Ok((last.status, serde_json::to_string_pretty(&summaries)?));
        }
        std::thread::sleep(Duration::from_secs(args.interval));
    }
}

#[derive(Deserialize)]
struct Built {
    source: String,
    buildspec: String,
    resolved_source_version: String,
    batch_identifier: Option<String>,
}

/// The commits of the source that have been built by the build specification.
fn known(args: &Args) -> anyhow::Result<BTreeSet<String>> {
    let (output, source) = (args.output(), args.source.to_string());
    let mut commits = BTreeSet::new();
    if !output.is_dir() {
        return Ok(commits);
    }
    for entry in std::fs::read_dir(&output).with_context(|| format!("cannot list `{}`", output.display()))? {
        // A build that is under way, or was ended, has no summary.
        let Ok(text) = std::fs::read_to_string(entry?.path().join(SUMMARY)) else {
            continue;
        };
        if let Ok(built) = serde_json::from_str::<Built>(&text)
            && (built.source, built.buildspec.as_str()) == (source.clone(), args.buildspec.as_str())
            && built.batch_identifier.is_none()
        {
            commits.insert(built.resolved_source_version);
        }
    }
    Ok(commits)
}
