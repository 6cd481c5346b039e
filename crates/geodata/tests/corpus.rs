//! The seeds of the fuzz targets, and what fuzzing has found, through the functions that are fuzzed.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic as the tests do")]

#[path = "../fuzz/uses.rs"]
mod uses;

use std::path::Path;

fn each(target: &str, mut used: impl FnMut(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/seeds")
        .join(target);
    let mut count = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| used(&bytes)));
        assert!(result.is_ok(), "{}", path.display());
        count += 1;
    }
    assert!(count > 0, "no seeds in {}", folder.display());
}

#[test]
fn mmdb() {
    each("mmdb", uses::mmdb);
}

#[test]
fn tar_gz() {
    each("tar_gz", uses::tar_gz);
}

#[test]
fn csv_zip() {
    each("csv_zip", uses::csv_zip);
}

#[test]
fn csv_folder() {
    let folder = tempfile::tempdir().unwrap();
    each("csv_folder", |bytes| uses::csv_folder(bytes, folder.path()));
}
