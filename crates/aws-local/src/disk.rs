//! Files that are either whole or not there.

use std::{fs, io, path::Path};

use serde::de::DeserializeOwned;
use uuid::Uuid;

/// Writes `bytes` beside `path` and renames: a reader sees the old file or the new one, never a part.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}{TEMPORARY}", Uuid::new_v4().simple()));
    let temporary = path.with_file_name(name);
    fs::write(&temporary, bytes)
        .and_then(|()| fs::rename(&temporary, path))
        .inspect_err(|_| {
            let _ = fs::remove_file(&temporary);
        })
}

/// How the name of a file ends that is still being written. What a killed process left is swept at start.
pub(crate) const TEMPORARY: &str = ".tmp";

/// Removes a file; that it is gone already is no error.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Reads a description; an error names the file.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> io::Result<T> {
    let told =
        |kind, why: &dyn std::fmt::Display| io::Error::new(kind, format!("`{}`: {why}", path.display()));
    let bytes = fs::read(path).map_err(|e| told(e.kind(), &e))?;
    serde_json::from_slice(&bytes).map_err(|e| told(io::ErrorKind::InvalidData, &e))
}

/// Whether a file is not there: then neither is what it would describe.
pub(crate) fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}
