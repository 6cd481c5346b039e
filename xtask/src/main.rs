//! The workspace's own tasks, run as `cargo xtask TASK` from any folder of the workspace.
#![expect(
    clippy::print_stdout,
    reason = "a command line tool: printing is what it is for"
)]

mod ci;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The workspace's own tasks.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Run what CI runs: format, clippy, docs, dependency rules, tests.
    Ci(ci::Args),
}

fn main() -> anyhow::Result<ExitCode> {
    let cli = Cli::parse();
    match &cli.task {
        Task::Ci(args) => ci::run(args)?,
    }
    Ok(ExitCode::SUCCESS)
}
