//! Reports of test tools: their files are kept, and JUnit's are counted.

use std::path::Path;

use anyhow::{Context, bail};
use quick_xml::events::Event;
use serde::Serialize;

use super::artifacts;
use super::buildspec::Report;

/// A report group of a build, as the summary shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Collected {
    pub(crate) group: String,
    pub(crate) format: String,
    /// Paths below the group's folder in `reports`.
    pub(crate) files: Vec<String>,
    /// Of JUNITXML; other formats are kept and not read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tests: Option<Counts>,
}

/// How many test cases came to what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub(crate) struct Counts {
    pub(crate) total: u64,
    pub(crate) succeeded: u64,
    pub(crate) failed: u64,
    pub(crate) error: u64,
    pub(crate) skipped: u64,
}

/// Copies a group's files below `folder` and counts their cases.
pub(crate) fn collect(report: &Report, source: &Path, folder: &Path) -> anyhow::Result<Collected> {
    // An ARN is no name for a folder.
    let name: String = report
        .group
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || "-_.".contains(c) {
                c
            } else {
                '_'
            }
        })
        .collect();
    if name.trim_matches('.').is_empty() {
        bail!("`{}` is not a name for a report group", report.group);
    }
    let folder = folder.join(&name);
    if folder.exists() {
        bail!(
            "the report group `{}` would share the folder `{name}` with another",
            report.group
        );
    }
    let files = artifacts::collect(&report.files, source, &folder)
        .with_context(|| format!("the report `{}` has no files", report.group))?;
    let mut tests = None;
    if report.format == "JUNITXML" {
        let counts = tests.insert(Counts::default());
        for file in &files {
            let text = std::fs::read_to_string(folder.join(file))
                .with_context(|| format!("cannot read the report `{file}`"))?;
            counts
                .add(&text)
                .with_context(|| format!("the report `{file}` is not JUnit's XML"))?;
        }
    }
    Ok(Collected {
        group: report.group.clone(),
        format: report.format.clone(),
        files,
        tests,
    })
}

impl Counts {
    /// Adds the cases of a document: a case with no `failure`, `error` or `skipped` in it has succeeded.
    fn add(&mut self, text: &str) -> anyhow::Result<()> {
        let mut reader = quick_xml::Reader::from_str(text);
        let mut suites = 0;
        let mut depth = 0_usize;
        let mut case: Option<Outcome> = None;
        loop {
            let event = reader.read_event()?;
            let (name, opens) = match &event {
                Event::Start(tag) => (tag.local_name(), true),
                Event::Empty(tag) => (tag.local_name(), false),
                Event::End(tag) => {
                    depth = depth.saturating_sub(1);
                    if tag.local_name().as_ref() == b"testcase"
                        && let Some(outcome) = case.take()
                    {
                        self.count(outcome);
                    }
                    continue;
                }
                Event::Eof => break,
                _ => continue,
            };
            match name.as_ref() {
                b"testsuite" | b"testsuites" => suites += 1,
                _ if depth == 0 => bail!("the document is not of test suites"),
                b"testcase" if opens => case = Some(Outcome::Succeeded),
                b"testcase" => self.count(Outcome::Succeeded),
                b"failure" => case = case.map(|_| Outcome::Failed),
                b"error" => case = case.map(|_| Outcome::Error),
                b"skipped" => case = case.map(|_| Outcome::Skipped),
                _ => {}
            }
            depth += usize::from(opens);
        }
        if suites == 0 || depth > 0 {
            bail!("the document is cut short");
        }
        Ok(())
    }

    fn count(&mut self, outcome: Outcome) {
        self.total += 1;
        match outcome {
            Outcome::Succeeded => self.succeeded += 1,
            Outcome::Failed => self.failed += 1,
            Outcome::Error => self.error += 1,
            Outcome::Skipped => self.skipped += 1,
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Outcome {
    Succeeded,
    Failed,
    Error,
    Skipped,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_are_counted() {
        let mut counts = Counts::default();
        counts
            .add(
                r#"<?xml version="1.0"?>
<testsuites>
  <testsuite name="a" tests="5">
    <testcase name="1"/>
    <testcase name="2"><system-out>text</system-out></testcase>
    <testcase name="3"><failure message="m">&lt;why&gt;</failure></testcase>
    <testcase name="4"><error/></testcase>
    <testcase name="5"><skipped/></testcase>
  </testsuite>
  <testsuite name="none"/>
</testsuites>"#,
            )
            .unwrap();
        let want = Counts {
            total: 5,
            succeeded: 2,
            failed: 1,
            error: 1,
            skipped: 1,
        };
        assert_eq!(counts, want);
    }

    #[test]
    fn what_is_not_junit_is_refused() {
        for text in [
            "",
            "<html/>",
            "<testsuite><testcase>",
            "<testsuite></testcase>",
            "no xml",
        ] {
            assert!(Counts::default().add(text).is_err(), "{text}");
        }
    }
}
