//! Builds that belong together, one after another: `build-list` and `build-graph`.

use std::io::Write;

use anyhow::bail;
use serde::Serialize;

use super::buildspec::{self, BatchBuild};
use super::{Args, Request, Status, Summary, read_buildspec, source};
use crate::ending::Folder;

/// The result of a batch.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct BatchSummary {
    /// Of this document.
    version: u32,
    batch_id: String,
    pub(super) status: Status,
    builds: Vec<Member>,
}

/// One build of a batch.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Member {
    identifier: String,
    status: MemberStatus,
    /// Whether the batch can succeed although this build failed.
    ignore_failure: bool,
    /// Why there was no build.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    build: Option<Summary>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum MemberStatus {
    Succeeded,
    Failed,
    /// It did not begin.
    Stopped,
}

pub(super) fn run(args: &Args, terminal: &mut dyn Write) -> anyhow::Result<BatchSummary> {
    let (batch, commit) = read(args)?;
    let id = format!("{}:{}", args.source.project(), uuid::Uuid::new_v4());
    let mut builds: Vec<Member> = Vec::new();
    let mut fast_failed = None;
    for build in &batch.builds {
        let stopped = fast_failed
            .as_ref()
            .map(|failed| format!("`{failed}` failed, and fast-fail stops the batch"))
            .or_else(|| blocked(build, &builds));
        let _ = writeln!(terminal, "[codebuild] Batch {id}: {}", build.identifier);
        if let Some(message) = stopped {
            let _ = writeln!(terminal, "[codebuild] not begun: {message}");
            builds.push(Member {
                identifier: build.identifier.clone(),
                status: MemberStatus::Stopped,
                ignore_failure: build.ignore_failure,
                message: Some(message),
                build: None,
            });
            continue;
        }
        let outcome = Request {
            args,
            reference: Some(&commit),
            buildspec: build.buildspec.as_deref().unwrap_or(&args.buildspec),
            variables: &build.variables,
            batch: Some((&id, &build.identifier)),
        }
        .build(terminal);
        let status = match &outcome {
            Ok(summary) if summary.status == Status::Succeeded => MemberStatus::Succeeded,
            _ => MemberStatus::Failed,
        };
        if batch.fast_fail && status == MemberStatus::Failed && !build.ignore_failure {
            fast_failed = Some(build.identifier.clone());
        }
        // A build that could not begin is one that failed: those before it and after it stay what they are.
        let (message, summary) = match outcome {
            Ok(summary) => (None, Some(summary)),
            Err(error) => (Some(format!("{error:#}")), None),
        };
        if let Some(message) = &message {
            let _ = writeln!(terminal, "[codebuild] {}: {message}", build.identifier);
        }
        builds.push(Member {
            identifier: build.identifier.clone(),
            status,
            ignore_failure: build.ignore_failure,
            message,
            build: summary,
        });
    }
    let succeeded = builds.iter().all(|build| {
        build.status == MemberStatus::Succeeded
            || build.status == MemberStatus::Failed && build.ignore_failure
    });
    let status = Status::of(succeeded);
    for build in &builds {
        let name = match build.status {
            MemberStatus::Succeeded => "SUCCEEDED",
            MemberStatus::Failed => "FAILED",
            MemberStatus::Stopped => "STOPPED",
        };
        let _ = writeln!(terminal, "[codebuild] {name:<9} {}", build.identifier);
    }
    let _ = writeln!(terminal, "[codebuild] Batch {}: {id}", status.name());
    Ok(BatchSummary {
        version: 1,
        batch_id: id,
        status,
        builds,
    })
}

/// The batch of the commit that is asked for, and that commit, which all builds are of.
fn read(args: &Args) -> anyhow::Result<(buildspec::Batch, String)> {
    let folder = Folder::new("codebuild-batch-")?;
    let source = folder.path().join("src");
    let checkout = source::checkout(&args.source, args.reference.as_deref(), &source)?;
    let spec = read_buildspec(&source, &args.buildspec)?;
    let Some(batch) = spec.batch else {
        bail!("the build specification `{}` has no batch", args.buildspec);
    };
    // Every specification is read before any build begins.
    for build in &batch.builds {
        let name = build.buildspec.as_deref().unwrap_or(&args.buildspec);
        if read_buildspec(&source, name)?.phases.is_empty() {
            bail!(
                "the build specification `{name}` of the build `{}` has no phases",
                build.identifier
            );
        }
    }
    Ok((batch, checkout.commit))
}

/// Why a build cannot begin: one that it depends on failed, or did not begin.
fn blocked(build: &BatchBuild, before: &[Member]) -> Option<String> {
    build.depend_on.iter().find_map(|needed| {
        let needed = before.iter().find(|member| member.identifier == *needed)?;
        let passes = needed.status == MemberStatus::Succeeded
            || needed.status == MemberStatus::Failed && needed.ignore_failure;
        (!passes).then(|| format!("it depends on `{}`, which did not succeed", needed.identifier))
    })
}
