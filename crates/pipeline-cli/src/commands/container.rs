//! `ipinsights container`: what SageMaker asks of a container, here and now.

use anyhow::Context;
use ipinsights_container::{Command, Exit};

use crate::exit::{ExitCode, Failure};

/// Runs the command. Its log goes to stdout, as a container's does.
pub async fn run(command: Command) -> anyhow::Result<()> {
    // It has a runtime of its own.
    let work = tokio::task::spawn_blocking(|| command.run(std::env::vars(), std::io::stdout()));
    match work.await.context("the command failed")? {
        Exit::Done => Ok(()),
        Exit::Failed => Err(Failure {
            code: ExitCode::Failure,
            ..Failure::usage("see the last line of the log")
        }
        .into()),
    }
}
