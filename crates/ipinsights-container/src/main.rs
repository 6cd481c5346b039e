//! The program of the image: `ipinsights-container train` or `ipinsights-container serve`.

use std::process::ExitCode;

use clap::Parser;
use ipinsights_container::{Command, Exit};

/// Trains or serves IP Insights as Amazon SageMaker asks it of a container.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

fn main() -> ExitCode {
    let Arguments { command } = Arguments::parse();
    let exit = command.run(std::env::vars(), std::io::stdout());
    ExitCode::from(if exit == Exit::Done { 0 } else { 1 })
}
