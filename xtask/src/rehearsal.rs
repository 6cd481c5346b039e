//! `cargo xtask release-rehearsal`: what a release publishes, published to a registry on loopback and used from there by a project of
//! its own.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

use crate::git::git;
use crate::registry::Registry;
use crate::workspace;

/// Publishes every crate to a registry on loopback, and builds and runs the example of each crate's README in a project that knows
/// the crates from that registry alone.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only these crates are used (all are published).
    #[arg(long = "package", short, value_name = "CRATE")]
    packages: Vec<String>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let folder = tempfile::Builder::new()
        .prefix("rehearsal-")
        .tempdir()
        .context("cannot make a temporary folder")?;
    let clone = folder.path().join("workspace");
    let text = clone
        .to_str()
        .context("the temporary folder's path is not Unicode")?;
    git(workspace::root(), &["clone", "--quiet", "--shared", ".", text])?;
    let registry = Registry::start(true)?;
    registry.configure(folder.path())?;

    println!("== publishing to a registry on loopback");
    // Not verified here: the project below builds them all.
    cargo(
        &clone,
        &[
            "publish",
            "--workspace",
            "--registry",
            "local",
            "--no-verify",
            "--locked",
        ],
    )?;
    for (name, version) in registry.published() {
        println!("{name} {version}");
    }

    let project = folder.path().join("outside");
    let mut used = 0;
    let mut manifest = String::from(
        "[package]\nname = \"outside\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[dependencies]\n",
    );
    for (name, version) in registry.published() {
        if !args.packages.is_empty() && !args.packages.contains(&name) {
            continue;
        }
        let Some(examples) = examples(&clone, &name)? else {
            println!("{name}: its README shows commands, no library");
            continue;
        };
        used += examples.len();
        for (number, example) in examples.iter().enumerate() {
            let file = project.join(format!("examples/{}_{number}.rs", name.replace('-', "_")));
            std::fs::create_dir_all(file.parent().unwrap_or(&project))?;
            std::fs::write(file, example)?;
        }
        manifest += &format!("{name} = \"={version}\"\n");
    }
    if used == 0 {
        bail!("no README of these crates shows a library");
    }
    // What the examples themselves use, as a reader of the README would add it.
    manifest += "anyhow = \"1\"\njiff = \"0.2\"\nserde_json = \"1\"\ntempfile = \"3\"\ntokio = { version = \"1\", features = [\"full\"] }\n";
    std::fs::create_dir_all(project.join("src"))?;
    std::fs::write(project.join("src/lib.rs"), "")?;
    std::fs::write(project.join("Cargo.toml"), manifest)?;

    println!("== {used} examples from outside");
    cargo(&project, &["build", "--examples"])?;
    let mut names: Vec<String> = Vec::new();
    for entry in std::fs::read_dir(project.join("examples"))? {
        let path = entry?.path();
        names.extend(path.file_stem().and_then(|name| name.to_str()).map(str::to_owned));
    }
    names.sort();
    for name in names {
        println!("== {name}");
        cargo(&project, &["run", "--quiet", "--example", &name])?;
    }
    Ok(())
}

/// The programs of a crate's README: its blocks of Rust that rustdoc would run. `None` when there is none.
fn examples(root: &Path, name: &str) -> anyhow::Result<Option<Vec<String>>> {
    let path = root.join("crates").join(name).join("README.md");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
    let examples = programs(&text);
    Ok((!examples.is_empty()).then_some(examples))
}

/// The blocks of Rust, as rustdoc makes programs of them: hidden lines are there, and what has no `main` is one.
fn programs(text: &str) -> Vec<String> {
    let mut programs = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(info) = line.strip_prefix("```") else {
            continue;
        };
        let block: Vec<&str> = lines
            .by_ref()
            .take_while(|line| !line.starts_with("```"))
            .collect();
        let words: Vec<&str> = info.split(',').map(str::trim).collect();
        let rust = words.iter().all(|word| ["", "rust", "no_run"].contains(word)) && words.contains(&"rust");
        if !rust || words.contains(&"no_run") {
            continue;
        }
        let code: Vec<&str> = block
            .iter()
            .map(|line| {
                let trimmed = line.trim_start();
                trimmed
                    .strip_prefix("# ")
                    .unwrap_or(if trimmed == "#" { "" } else { line })
            })
            .collect();
        let code = code.join("\n");
        programs.push(if code.contains("fn main(") {
            code
        } else if code.contains("Ok::<") {
            // rustdoc's way to use `?` without a main: the last expression names the error.
            format!("fn main() {{\n    let result = (|| {{\n{code}\n}})();\n    if let Err(error) = result {{ panic!(\"{{error}}\") }}\n}}\n")
        } else {
            format!("fn main() {{\n{code}\n}}\n")
        });
    }
    programs
}

fn cargo(folder: &Path, arguments: &[&str]) -> anyhow::Result<()> {
    let status = Command::new(workspace::cargo())
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        // Kept, so that a second rehearsal does not build the SDK crates anew.
        .env("CARGO_TARGET_DIR", workspace::root().join("target/rehearsal"))
        // Set by `cargo run` for this task alone.
        .env_remove("CARGO_MANIFEST_DIR")
        .status()
        .context("cannot start cargo")?;
    if !status.success() {
        bail!("`cargo {}` failed", arguments.join(" "));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_what_rustdoc_would_run() {
        let text = "# a\n\n```rust\n# use x;\nlet a = 1;\n```\n\n```rust,no_run\nnever();\n```\n\n```console\n$ x\n```\n\n```rust\nfn main() {}\n```\n\n\
                    ```rust\nread()?;\n# Ok::<(), Error>(())\n```\n";
        let programs = programs(text);
        assert_eq!(programs.len(), 3);
        assert_eq!(programs[0], "fn main() {\nuse x;\nlet a = 1;\n}\n");
        assert_eq!(programs[1], "fn main() {}");
        assert!(
            programs[2].contains("read()?;\nOk::<(), Error>(())\n})();"),
            "{}",
            programs[2]
        );
    }
}
