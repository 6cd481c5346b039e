//! Programs of other people, installed into a temporary folder; and lists of where they see things differently.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

/// Runs a program in a folder; an error has the last line of what it says.
fn run(folder: &Path, program: &Path, arguments: &[&str]) -> anyhow::Result<()> {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .output()
        .with_context(|| format!("`{}` cannot be run", program.display()))?;
    if !output.status.success() {
        let error = String::from_utf8_lossy(&output.stderr);
        let last = error.trim_end().lines().last().unwrap_or_default();
        bail!("`{} {}` failed: {last}", program.display(), arguments.join(" "));
    }
    Ok(())
}

/// Makes a virtual environment in the folder with packages of PyPI, and gives back the folder of its programs.
pub(crate) fn from_pypi(folder: &Path, packages: &[&str]) -> anyhow::Result<PathBuf> {
    run(folder, Path::new("python3"), &["-m", "venv", "venv"])?;
    let programs = folder.join("venv/bin");
    let fixed = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    let arguments: Vec<&str> = fixed.iter().chain(packages).copied().collect();
    run(folder, &programs.join("python"), &arguments)?;
    Ok(programs)
}

/// Installs a package of npm into the folder; nothing of its own runs while it is installed.
pub(crate) fn from_npm(folder: &Path, package: &str) -> anyhow::Result<()> {
    let fixed = [
        "install",
        "--no-audit",
        "--no-fund",
        "--ignore-scripts",
        "--prefix",
        ".",
    ];
    let arguments: Vec<&str> = fixed.into_iter().chain([package]).collect();
    run(folder, Path::new("npm"), &arguments)
}

/// The lines of a list of differences: four columns between tabs, the last one a reason. `#` begins a comment.
pub(crate) fn differences<'a>(list: &str, text: &'a str) -> anyhow::Result<Vec<[&'a str; 4]>> {
    let lines = text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty());
    lines
        .map(|line| {
            let columns: Vec<&str> = line.split('\t').collect();
            match <[&str; 4]>::try_from(columns) {
                Ok(columns) => Ok(columns),
                Err(_) => bail!("{list}: not four columns: {line}"),
            }
        })
        .collect()
}

/// What was found and is not listed, and what is listed and was not found, in words, so that a list stays true.
///
/// `covers` says whether a line is about something found; `stale` has no words for a line that need not be found.
pub(crate) fn held_against<F>(
    found: &[F],
    known: &[[&str; 4]],
    covers: impl Fn(&F, &[&str; 4]) -> bool,
    new: impl Fn(&F) -> String,
    stale: impl Fn(&[&str; 4]) -> Option<String>,
) -> Vec<String> {
    let unlisted = found
        .iter()
        .filter(|found| !known.iter().any(|line| covers(found, line)));
    let untrue = known
        .iter()
        .filter(|line| !found.iter().any(|found| covers(found, line)));
    unlisted.map(new).chain(untrue.filter_map(stale)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_four_columns() {
        let text = "# comment\n\na\tb\tc\td\n";
        assert_eq!(differences("list", text).unwrap(), [["a", "b", "c", "d"]]);
        assert_eq!(
            differences("list", "a\tb\n").unwrap_err().to_string(),
            "list: not four columns: a\tb"
        );
    }

    #[test]
    fn what_cannot_be_installed_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let error = run(folder.path(), Path::new("no-such-program"), &["x"]).unwrap_err();
        assert_eq!(error.to_string(), "`no-such-program` cannot be run");
    }
}
