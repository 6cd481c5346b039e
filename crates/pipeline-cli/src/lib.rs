#![doc = include_str!("../README.md")]
#![expect(
    clippy::print_stderr,
    reason = "telling a person is what this crate is for; results go through `output`"
)]

pub mod build;
pub mod cli;
pub mod commands;
pub mod database;
pub mod exit;
pub mod files;
pub mod output;
pub mod progress;
pub mod scoring;
pub mod signals;
pub mod target;

use clap::Parser;

use crate::cli::{Cli, Command};
use crate::exit::ExitCode;
use crate::output::{Output, printable};

/// Parses the process's arguments, runs the command, tells errors, and gives the exit code.
pub async fn main() -> std::process::ExitCode {
    let cli = Cli::parse();
    let output = Output::new(&cli.common);
    let result = dispatch(cli, &output).await;
    let code = match result {
        Ok(()) => ExitCode::Success,
        Err(error) if output::is_closed_pipe(&error) => ExitCode::Success,
        Err(error) => {
            tell(&error, &output);
            ExitCode::of(&error)
        }
    };
    code.into()
}

/// Runs one command.
pub async fn dispatch(cli: Cli, output: &Output) -> anyhow::Result<()> {
    match cli.command {
        Command::Run(args) => commands::run::run(&cli.common, *args, output).await,
        Command::Sample(args) => commands::sample::run(args, output),
        Command::List(args) => commands::list::run(&args, output),
        Command::Lookup(args) => commands::lookup::run(&args, output),
        Command::Verify(args) => commands::verify::run(&cli.common, args, output).await,
        Command::Fetch(args) => commands::fetch::run(args, output).await,
        Command::Extract(args) => commands::extract::run(&cli.common, *args, output).await,
        Command::Train(args) => commands::train::run(*args, output),
        Command::Tune(args) => commands::tune::run(*args, output),
        Command::Advise(args) => commands::advise::run(&args, output),
        Command::Score(args) => commands::score::run(&cli.common, *args, output).await,
        Command::ScoreServer(args) => commands::score_server::run(&cli.common, args, output).await,
        Command::Watch(args) => commands::watch::run(&cli.common, *args, output).await,
        Command::Calibrate(args) => commands::calibrate::run(&args, output),
        Command::Evaluate(args) => commands::evaluate::run(&args, output),
        Command::Serve(args) => commands::serve::run(&cli.common, args, output).await,
        Command::Container(command) => commands::container::run(command).await,
        Command::Definition(args) => commands::definition::run(*args, output),
        Command::Validate(args) => commands::machines::validate(&args, output),
        Command::Graph(args) => commands::machines::graph(&args, output),
        Command::Diff(args) => commands::machines::diff(&args, output),
        Command::States(command) => commands::states::run(command, output).await,
        Command::Schema(args) => commands::schema::run(&args, output),
        Command::Completions(args) => commands::manual::completions(&args, output),
        Command::Man(args) => commands::manual::pages(&args, output),
        Command::Destroy(args) => commands::destroy::run(&cli.common, args, output).await,
    }
}

/// Prints the chain of causes, one a line.
fn tell(error: &anyhow::Error, output: &Output) {
    let error_text = error.to_string();
    eprintln!(
        "{} {}",
        output.error_style().apply_to("error:"),
        printable(&error_text)
    );
    for cause in error.chain().skip(1) {
        eprintln!("  because: {}", printable(&cause.to_string()));
    }
}
