//! All samples, hostile ones too, through what is fuzzed: every format reads everything.
#![expect(clippy::unwrap_used, reason = "a helper of tests fails loudly")]

#[path = "../fuzz/uses.rs"]
mod uses;

use std::path::{Path, PathBuf};

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
