//! git, run so that nothing around us turns it to another repository.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

use crate::ending::Running;

/// Set while a hook runs; they would turn our commands to that repository.
const OF_A_HOOK: [&str; 6] = [
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_COMMON_DIR",
    "GIT_PREFIX",
];

/// Runs git in a folder and returns what it printed, without the last line break.
pub(crate) fn git(folder: &Path, arguments: &[&str]) -> anyhow::Result<String> {
    git_with(Some(folder), arguments, &[])
}

/// Runs git with variables of its own; without a folder, in that of this process.
pub(crate) fn git_with(
    folder: Option<&Path>,
    arguments: &[&str],
    variables: &[(&str, &str)],
) -> anyhow::Result<String> {
    let mut command = Command::new("git");
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .env("GIT_TERMINAL_PROMPT", "0");
    for name in OF_A_HOOK {
        command.env_remove(name);
    }
    command.envs(variables.iter().copied());
    if let Some(folder) = folder {
        command.current_dir(folder);
    }
    let (child, running) = Running::process(&mut command).context("cannot start git: is it installed?")?;
    let output = child.wait_with_output().context("cannot wait for git")?;
    drop(running);
    if !output.status.success() {
        let mut words = arguments.iter();
        // `-c name=value` comes before the command's name.
        let name = loop {
            match words.next() {
                Some(&"-c") => words.next(),
                word => break word,
            };
        };
        bail!(
            "git {}: {}",
            name.unwrap_or(&""),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}
