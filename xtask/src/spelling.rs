//! `cargo xtask spelling`: the words of the workspace, by `typos` (PyPI); `_typos.toml` has those that are meant as they stand.

use std::process::Command;

use anyhow::bail;

use crate::{tools, workspace};

/// The version whose words `_typos.toml` answers.
const TYPOS: &str = "typos==1.52.0";

/// Looks for misspelt words; says so and passes where the tool cannot be installed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Fail where it cannot be installed.
    #[arg(long)]
    require: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let programs = match tools::from_pypi(folder.path(), &[TYPOS]) {
        Ok(programs) => programs,
        Err(reason) if args.require => bail!("typos cannot be installed: {reason:#}"),
        Err(reason) => {
            println!("typos: skipped, it cannot be installed: {reason:#}");
            return Ok(());
        }
    };
    let found = Command::new(programs.join("typos"))
        .args(["--format", "brief"])
        .current_dir(workspace::root())
        .output()?;
    let words = String::from_utf8_lossy(&found.stdout);
    if !found.status.success() {
        let said = String::from_utf8_lossy(&found.stderr);
        bail!("{words}{said}a word that is meant as it stands goes into _typos.toml");
    }
    println!("typos: nothing misspelt");
    Ok(())
}
