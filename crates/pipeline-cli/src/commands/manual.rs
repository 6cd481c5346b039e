//! `ipinsights completions` and `ipinsights man`: what the arguments are, for shells and for `man`.

use std::fs;
use std::path::PathBuf;

use anyhow::Context;
use clap::{Command, CommandFactory};
use clap_mangen::Man;
use serde::Serialize;

use crate::cli::{Cli, CompletionsArgs, ManArgs};
use crate::exit::Failure;
use crate::files::Draft;
use crate::output::Output;

/// The JSON answer of `man`.
#[derive(Debug, Serialize)]
struct Answer<'a> {
    version: u32,
    pages: &'a [PathBuf],
}

/// Prints a completion script.
pub fn completions(args: &CompletionsArgs, output: &Output) -> anyhow::Result<()> {
    if output.is_json() {
        return Err(Failure::usage("a completion script is no JSON; leave `--format` out").into());
    }
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "ipinsights", &mut script);
    output.text(&String::from_utf8_lossy(&script))
}

/// Writes the pages.
pub fn pages(args: &ManArgs, output: &Output) -> anyhow::Result<()> {
    let mut command = Cli::command();
    command.build();
    fs::create_dir_all(&args.to).with_context(|| format!("`{}` cannot be made", args.to.display()))?;
    let mut pages = Vec::new();
    for command in commands(command) {
        let man = Man::new(command)
            .source(concat!("ipinsights ", env!("CARGO_PKG_VERSION")))
            .manual("IP Insights");
        let path = args.to.join(man.get_filename());
        let mut page = Vec::new();
        man.render(&mut page)?;
        Draft::at(&path)?.fill(|file| Ok(file.write_all(&page)?))?;
        pages.push(path);
    }
    if output.is_json() {
        return output.json(&Answer {
            version: 1,
            pages: &pages,
        });
    }
    output.text(&format!("{} pages in {}\n", pages.len(), args.to.display()))
}

/// The command and all that are within it; a page goes by the whole name, `ipinsights-states-run`.
fn commands(command: Command) -> Vec<Command> {
    let within: Vec<Command> = command
        .get_subcommands()
        .filter(|command| !command.is_hide_set() && command.get_name() != "help")
        .cloned()
        .flat_map(commands)
        .collect();
    let mut all = vec![command];
    all.extend(within);
    all
}
