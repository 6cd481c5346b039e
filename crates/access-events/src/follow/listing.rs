//! What is there to be read.

use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// A file that is there.
#[derive(Debug, Clone)]
pub(super) struct Found {
    /// What the system knows it by, whatever its name.
    pub(super) id: String,
    pub(super) path: PathBuf,
    pub(super) length: u64,
    /// In nanoseconds since 1970.
    pub(super) modified: u64,
}

impl Found {
    fn new(path: PathBuf, metadata: &Metadata) -> Self {
        Self {
            id: id(&path, metadata),
            length: metadata.len(),
            modified: modified(metadata),
            path,
        }
    }
}

pub(super) fn modified(metadata: &Metadata) -> u64 {
    let since = metadata
        .modified()
        .ok()
        .and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    since
        .and_then(|since| u64::try_from(since.as_nanos()).ok())
        .unwrap_or_default()
}

#[cfg(unix)]
fn id(_: &Path, metadata: &Metadata) -> String {
    use std::os::unix::fs::MetadataExt;
    format!("{:x}:{:x}", metadata.dev(), metadata.ino())
}

#[cfg(not(unix))]
fn id(path: &Path, _: &Metadata) -> String {
    path.display().to_string()
}

/// All files of a folder, however deep, but for hidden ones; or a file and those beside it whose names go on after its own, which
/// rotation may have made of it, the oldest first.
pub(super) fn list(source: &Path, is_folder: bool) -> io::Result<Vec<Found>> {
    let mut found = Vec::new();
    if is_folder {
        let mut folders = vec![source.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder)? {
                let entry = entry?;
                if entry.file_name().as_encoded_bytes().starts_with(b".") {
                    continue;
                }
                let path = entry.path();
                // What went away meanwhile is not there.
                let Ok(metadata) = path.metadata() else { continue };
                if metadata.is_file() {
                    found.push(Found::new(path, &metadata));
                } else if metadata.is_dir() && !leads_back(&entry, &path) {
                    folders.push(path);
                }
            }
        }
        found.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        return Ok(found);
    }
    let folder = match source.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let name = source.file_name().unwrap_or_default();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if !is_sibling(entry.file_name().as_encoded_bytes(), name.as_encoded_bytes()) {
            continue;
        }
        let path = match source.parent() {
            Some(folder) => folder.join(entry.file_name()),
            None => entry.path(),
        };
        if let Some(metadata) = path.metadata().ok().filter(Metadata::is_file) {
            found.push(Found::new(path, &metadata));
        }
    }
    found.sort_unstable_by(|a, b| (a.modified, &a.path).cmp(&(b.modified, &b.path)));
    // It may be away for a moment while it is rotated.
    if let Ok(metadata) = source.metadata() {
        found.push(Found::new(source.to_owned(), &metadata));
    }
    Ok(found)
}

/// Whether a name is one that rotation gives to the file of another name: `access.log.1`, `access.log-20260101.gz`, `access.log.old`.
pub(super) fn is_sibling(name: &[u8], of: &[u8]) -> bool {
    match name.strip_prefix(of) {
        Some([b'.' | b'-', rest @ ..]) => {
            rest.first().is_some_and(u8::is_ascii_digit) || [&b"old"[..], b"old.gz", b"gz"].contains(&rest)
        }
        _ => false,
    }
}

/// A link to a folder that it lies in would be followed for ever.
fn leads_back(entry: &fs::DirEntry, path: &Path) -> bool {
    let is_link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
    is_link
        && match (path.canonicalize(), path.parent().map(Path::canonicalize)) {
            (Ok(to), Some(Ok(from))) => from.starts_with(to),
            _ => true,
        }
}
