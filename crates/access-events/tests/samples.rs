//! All samples, hostile ones too, through what is fuzzed: every format reads everything.
#![expect(clippy::unwrap_used, reason = "a helper of tests fails loudly")]

mod support;
#[path = "../fuzz/uses.rs"]
mod uses;

use std::path::{Path, PathBuf};

use access_events::extract::OnError;
use access_events::format::{CloudTrail, Csv, FlowLog, Format, GuardDuty, JsonLines, Ocsf, WebLog};
use access_events::{Extract, Input};

use proptest::prelude::*;
use support::{hostile, notes};

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else {
            found.push(path);
        }
    }
}

fn each(used: impl Fn(&[u8])) {
    let mut found = Vec::new();
    files(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples"),
        &mut found,
    );
    assert!(found.len() > 50, "only {} samples", found.len());
    for path in found {
        let bytes = std::fs::read(&path).unwrap();
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| used(&bytes)));
        assert!(result.is_ok(), "{}", path.display());
    }
}

#[test]
fn json() {
    each(uses::json);
}

#[test]
fn lines() {
    each(uses::lines);
}

#[test]
fn tables() {
    each(uses::tables);
}

#[test]
fn extract() {
    each(uses::extract);
}

/// Every record is malformed, or each of its uses is a pair or a drop.
#[test]
fn the_counts_add_up() {
    fn check<F: Format + Clone + 'static>(format: F) {
        each(|bytes| {
            let told = notes(&format, bytes);
            let malformed = told.lines().filter(|line| line.contains(": ! ")).count() as u64;
            let records = told
                .lines()
                .last()
                .map_or(0, |line| line.split_once(':').unwrap().0.parse().unwrap());
            let input = Input::new("sample", {
                let bytes = bytes.to_vec();
                move || Ok(Box::new(std::io::Cursor::new(bytes)) as _)
            });
            let extract = Extract::of(format.clone()).on_error(OnError::Skip);
            let summary = extract.run([input], |_| Ok(())).unwrap();
            if summary.bytes_read != summary.bytes_stored || summary.malformed_examples.iter().any(is_foreign)
            {
                return; // What is compressed or refused is nothing for the format.
            }
            assert_eq!((summary.records, summary.malformed), (records, malformed));
            assert_eq!(summary.uses, told.lines().count() as u64 - malformed);
            assert_eq!(summary.uses, summary.pairs + summary.dropped());
            assert_eq!(
                summary.records + summary.further_uses(),
                summary.pairs + summary.dropped() + summary.malformed
            );
        });
    }
    check(CloudTrail::new());
    check(GuardDuty::new());
    check(Ocsf::new());
    check(JsonLines::draft("user.name", "ip").check().unwrap());
    check(FlowLog::new());
    check(WebLog::new());
    check(Csv::draft("1", "2").check().unwrap());
}

fn is_foreign(record: &access_events::report::MalformedRecord) -> bool {
    matches!(record.fault.problem, access_events::format::Problem::Foreign(_))
}

proptest! {
    /// What is told does not depend on the pieces in which bytes come.
    #[test]
    fn hostile_bytes(bytes in hostile(&[
        "{\"Records\":[", "{\"findings\":[", "]}", "{", "}", "[", "]", ",", ":", "\"", "\\", "NaN", "17", "  ", "\r\n", "\u{feff}",
        "{\"userIdentity\":{\"principalId\":\"A\"},\"sourceIPAddress\":\"8.8.4.4\"}", "{\"x\":NaN}", "{\"x\":\"",
        "{\"x\":[{\"y\":\"0123456789012345678901234567890123456789012345678901234567890123456789\"},{\"z\":1}]",
        "alice,9.9.9.9", "\"alice\",9.9.9.9",
    ])) {
        uses::json(&bytes);
        uses::tables(&bytes);
        uses::extract(&bytes);
    }
}
