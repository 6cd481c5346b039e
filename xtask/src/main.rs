//! The workspace's own tasks, run as `cargo xtask TASK` from any folder of the workspace.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line tool: printing is what it is for"
)]

mod account;
mod bench;
mod ci;
mod clients;
mod codebuild;
mod deploy;
mod ending;
mod git;
mod graph;
#[cfg(test)]
mod guide;
mod index;
mod moto;
mod registry;
mod rehearsal;
mod release;
mod sample_db;
mod scorer;
mod spelling;
#[cfg(test)]
mod templates;
mod tools;
mod validators;
mod web;
#[cfg(test)]
mod workflows;
mod workspace;
mod yaml;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The workspace's own tasks.
#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    version,
    arg_required_else_help = true
)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    Bench(bench::train::Args),
    BenchData(bench::data::Args),
    /// Run what CI runs: format, clippy, docs, dependency rules, tests.
    Ci(ci::Args),
    Clients(clients::Args),
    Codebuild(codebuild::Args),
    DeployInfra(deploy::Args),
    Moto(moto::Args),
    Release(release::Args),
    ReleaseRehearsal(rehearsal::Args),
    SampleDb(sample_db::Args),
    Scorer(scorer::Args),
    Validators(validators::Args),
    /// Look for misspelt words with typos (PyPI)
    Spelling(spelling::Args),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let (result, code) = match &cli.task {
        Task::Bench(args) => (bench::train::run(args).map(|()| ExitCode::SUCCESS), 1),
        Task::BenchData(args) => (bench::data::run(args).map(|()| ExitCode::SUCCESS), 1),
        Task::Ci(args) => (ci::run(args).map(|()| ExitCode::SUCCESS), 1),
        Task::Moto(args) => (moto::run(args).map(|()| ExitCode::SUCCESS), 1),
        Task::Release(args) => (release::run(args).map(|()| ExitCode::SUCCESS), 1),
        Task::Clients(args) => (clients::run(args).map(|()| ExitCode::SUCCESS), 1),
        Task::ReleaseRehearsal(args) => (rehearsal::run(args).map(|()| ExitCode::SUCCESS), 1),
        // 1 says that the build ran and failed.
        Task::Codebuild(args) => (codebuild::run(args), 2),
        Task::DeployInfra(args) => (deploy::run(args).map(|()| ExitCode::SUCCESS), 1),
        Task::Scorer(args) => (scorer::run(args).map(|()| ExitCode::SUCCESS), 1),
        Task::SampleDb(args) => (sample_db::run(args).map(|()| ExitCode::SUCCESS), 1),
        Task::Spelling(args) => (spelling::run(args).map(|()| ExitCode::SUCCESS), 1),
        Task::Validators(args) => (validators::run(args).map(|()| ExitCode::SUCCESS), 1),
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::from(code)
    })
}
