//! Samples written to a folder: whole, or not at all.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic as the tests do")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use access_events::AccessEvent;
use geodata::{Database, Error, Manifest, Sample, SampleSpec, sample};

fn small() -> Sample {
    let database = Database::from_bytes(geodata_sample::DATABASE).unwrap();
    let spec = SampleSpec::default()
        .training_rows(3)
        .held_out_rows(2)
        .evaluation_outliers(4);
    sample(&database, &spec.check().unwrap(), 5).unwrap()
}

/// Every file and folder below, files with their content.
fn contents(folder: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                found.insert(path.clone(), None);
                folders.push(path);
            } else {
                found.insert(path.clone(), Some(fs::read(path).unwrap()));
            }
        }
    }
    found
}

#[test]
fn into_a_folder_that_is_not_there_yet() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("a/b");
    let sample = small();
    let paths = sample.write_to(&dir).unwrap();
    let names: Vec<_> = paths
        .iter()
        .map(|path| path.strip_prefix(&dir).unwrap().to_str().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "train.csv",
            "validation.csv",
            "test.csv",
            "evaluation.csv",
            "manifest.json"
        ]
    );
    assert_eq!(contents(&dir).len(), names.len(), "nothing else is left there");
    for file in sample.files().unwrap() {
        assert_eq!(fs::read(dir.join(file.name)).unwrap(), file.bytes);
    }
    assert_eq!(
        access_events::read_csv(fs::File::open(&paths[0]).unwrap()).unwrap(),
        sample.train
    );
    let manifest: Manifest = serde_json::from_slice(&fs::read(&paths[4]).unwrap()).unwrap();
    assert_eq!(manifest, sample.manifest);
}

#[test]
fn twice_into_the_same_folder() {
    let folder = tempfile::tempdir().unwrap();
    small().write_to(folder.path()).unwrap();
    let first = contents(folder.path());
    small().write_to(folder.path()).unwrap();
    assert_eq!(contents(folder.path()), first);
}

#[test]
fn over_an_older_sample_with_a_part_more() {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::from_bytes(geodata_sample::DATABASE).unwrap();
    let spec = SampleSpec::default()
        .training_rows(1)
        .held_out_rows(1)
        .control_rows(2)
        .evaluation_outliers(1);
    let older = sample(&database, &spec.check().unwrap(), 5).unwrap();
    older.write_to(folder.path()).unwrap();
    let before = contents(folder.path());
    assert!(before.contains_key(&folder.path().join("control.csv")));

    // A sample that cannot be written leaves it all.
    let mut broken = small();
    broken.test.push(AccessEvent::new("", [1, 2, 3, 4].into()));
    broken.write_to(folder.path()).unwrap_err();
    assert_eq!(contents(folder.path()), before);

    small().write_to(folder.path()).unwrap();
    let names: Vec<_> = contents(folder.path()).into_keys().collect();
    assert_eq!(names.len(), 5, "{names:?}");
    assert!(!folder.path().join("control.csv").exists());
}

/// What no manifest says is of a sample is somebody's own.
#[test]
fn beside_a_file_of_the_same_name_from_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let own = folder.path().join("control.csv");
    fs::write(&own, "mine").unwrap();
    for _ in 0..2 {
        small().write_to(folder.path()).unwrap();
        assert_eq!(fs::read(&own).unwrap(), b"mine");
    }
}

#[test]
fn a_relative_folder_of_one_part() {
    // Its parent is the empty path.
    let error = small().write_to("Cargo.toml").unwrap_err();
    assert!(matches!(&error, Error::Write { .. }), "{error:?}");
    assert!(fs::metadata("Cargo.toml").unwrap().is_file());
}

#[test]
fn where_a_file_is_in_the_way() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "mine").unwrap();
    let before = contents(folder.path());
    let error = small().write_to(file.join("new/folder")).unwrap_err();
    assert!(
        matches!(&error, Error::Write { path, .. } if path.starts_with(&file)),
        "{error:?}"
    );
    assert_eq!(contents(folder.path()), before);
}

#[test]
fn where_a_folder_has_the_name_of_a_file() {
    let folder = tempfile::tempdir().unwrap();
    // The third of the files, and an older first one.
    fs::create_dir_all(folder.path().join("test.csv/inside")).unwrap();
    fs::write(folder.path().join("train.csv"), "older").unwrap();
    let before = contents(folder.path());
    let error = small().write_to(folder.path()).unwrap_err();
    assert!(
        matches!(&error, Error::Write { path, .. } if path.ends_with("test.csv")),
        "{error:?}"
    );
    assert_eq!(contents(folder.path()), before);
}

/// Full is what a file system is that refuses to be written; root is refused nothing else.
#[cfg(target_os = "linux")]
#[test]
fn where_nothing_can_be_written() {
    let error = small().write_to("/proc/geodata/sample").unwrap_err();
    assert!(
        matches!(&error, Error::Write { path, .. } if path == Path::new("/proc/geodata")),
        "{error:?}"
    );
    assert!(!Path::new("/proc/geodata").exists());
}

#[cfg(unix)]
#[test]
fn without_permission() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o555)).unwrap();
    if fs::write(folder.path().join("probe"), "").is_ok() {
        eprintln!("this user may write everywhere, so there is nothing to see");
        return;
    }
    for dir in [folder.path().to_owned(), folder.path().join("new")] {
        let error = small().write_to(&dir).unwrap_err();
        let Error::Write { path, source } = &error else {
            panic!("{error:?}")
        };
        assert!(path.starts_with(&dir), "{error:?}");
        assert_eq!(source.kind(), std::io::ErrorKind::PermissionDenied);
        assert!(contents(folder.path()).is_empty());
    }
}

#[test]
fn rows_that_csv_cannot_hold() {
    let folder = tempfile::tempdir().unwrap();
    let mut sample = small();
    sample.test.push(AccessEvent::new("", [1, 2, 3, 4].into()));
    let error = sample.write_to(folder.path().join("new")).unwrap_err();
    assert!(matches!(error, Error::Row { file: "test.csv", .. }), "{error:?}");
    assert!(contents(folder.path()).is_empty());
}

#[test]
fn the_manifest_goes_with_the_rows_as_they_are() {
    let mut sample = small();
    sample.test = geodata::published_test_rows();
    let files = sample.files().unwrap();
    let manifest: Manifest = serde_json::from_slice(&files[4].bytes).unwrap();
    assert_ne!(manifest.files[2].sha256, sample.manifest.files[2].sha256);
    assert_eq!(manifest.files[0], sample.manifest.files[0]);
}

#[test]
fn published_test_rows_are_said_to_be_published() {
    let database = Database::from_bytes(geodata_sample::DATABASE).unwrap();
    let spec = SampleSpec::default().published_test_rows(true);
    let drawn = |spec: SampleSpec| sample(&database, &spec.check().unwrap(), 5);
    let manifest = drawn(spec.clone()).unwrap().manifest;
    assert_eq!(manifest.test_rows, geodata::TestRows::Published);
    assert_eq!(manifest.outliers.unwrap().test, 0);
    assert_eq!(manifest.files[2].rows, 5);
    // Rows that claim a country which nothing is trained on.
    let error = drawn(spec.countries(["US", "FR"])).unwrap_err();
    assert!(matches!(error, Error::PublishedRows { .. }), "{error:?}");
}
