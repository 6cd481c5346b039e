//! The guide in `docs/` hangs together: every chapter is in the summary, every link leads somewhere. Its commands are run by
//! `crates/pipeline-cli/tests/suite/docs.rs`; those of this task are read here.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::Parser;

use crate::workspace;

fn chapters() -> Vec<(PathBuf, String)> {
    let mut chapters = Vec::new();
    for entry in std::fs::read_dir(workspace::root().join("docs/src")).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        chapters.push((path, text));
    }
    chapters.sort();
    chapters
}

/// The targets of `[text](target)`.
fn links(text: &str) -> Vec<&str> {
    text.split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .collect()
}

#[test]
fn every_chapter_is_in_the_summary_and_every_link_leads_somewhere() {
    let chapters = chapters();
    let (_, summary) = chapters
        .iter()
        .find(|(path, _)| path.ends_with("SUMMARY.md"))
        .unwrap();
    let listed: BTreeSet<&str> = links(summary).into_iter().collect();
    let there: BTreeSet<&str> = chapters
        .iter()
        .filter_map(|(path, _)| path.file_name()?.to_str())
        .filter(|name| *name != "SUMMARY.md")
        .collect();
    assert_eq!(listed, there);

    let mut checked = 0;
    let front = ["README.md", "CONTRIBUTING.md", "ARCHITECTURE.md", "CHANGELOG.md"]
        .map(|name| workspace::root().join(name))
        .into_iter()
        .filter_map(|path| Some((path.clone(), std::fs::read_to_string(path).ok()?)));
    for (path, text) in chapters.iter().cloned().chain(front) {
        for link in links(&text)
            .into_iter()
            .filter(|link| !link.contains("://") && !link.starts_with('#'))
        {
            checked += 1;
            let file = link.split('#').next().unwrap_or_default();
            let target = path.parent().unwrap().join(file);
            assert!(
                target.exists(),
                "{}: the link `{link}` leads nowhere",
                path.display()
            );
        }
    }
    assert!(checked > 8, "only {checked} links: are they found at all?");
}

#[test]
fn the_files_that_the_guide_names_are_there() {
    let mut checked = 0;
    for (path, text) in chapters() {
        for word in text.split('`').skip(1).step_by(2) {
            let ours = ["infra/", "crates/", ".github/", "docs/"]
                .iter()
                .any(|folder| word.starts_with(folder));
            if ours || word == "buildspec.yml" {
                checked += 1;
                assert!(
                    workspace::root().join(word).exists(),
                    "{}: `{word}`",
                    path.display()
                );
            }
        }
    }
    assert!(checked > 4, "only {checked} files: are they found at all?");
}

#[test]
fn commands_of_this_task_are_read() {
    let mut checked = 0;
    let contributing = workspace::root().join("CONTRIBUTING.md");
    let text = std::fs::read_to_string(&contributing).unwrap();
    for (path, text) in chapters().into_iter().chain([(contributing, text)]) {
        for line in text.lines() {
            if let Some(arguments) = line.strip_prefix("$ cargo xtask ") {
                checked += 1;
                let words = std::iter::once("xtask").chain(arguments.split_whitespace());
                let read = crate::Cli::try_parse_from(words);
                assert!(read.is_ok(), "{}: {line}: {}", path.display(), read.unwrap_err());
            }
        }
    }
    assert!(checked >= 3, "only {checked} commands: are they found at all?");
}
