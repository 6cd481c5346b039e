//! What is there to be read.

use std::collections::{BTreeSet, HashSet};
use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use crate::input::id;

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

/// What is there, and what of it cannot be read.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// Every file once, whatever leads to it.
    pub(super) found: Vec<Found>,
    /// Folders that cannot be looked into now.
    pub(super) unreadable: Vec<(PathBuf, io::Error)>,
    /// Files whose names are not Unicode, which positions cannot be kept of.
    pub(super) unnamed: Vec<PathBuf>,
}

/// All files of a folder, however deep, but for hidden ones; or a file and those beside it whose names go on after its own, which
/// rotation may have made of it, the oldest first.
pub(super) fn list(source: &Path, is_folder: bool) -> io::Result<Listing> {
    if is_folder { folder(source) } else { file(source) }
}

fn folder(source: &Path) -> io::Result<Listing> {
    let mut listing = Listing::default();
    let mut folders = vec![source.to_owned()];
    // What links lead to comes after everything that is there itself.
    let mut links = BTreeSet::new();
    let mut seen = HashSet::new();
    while let Some(folder) = folders.pop().or_else(|| links.pop_first()) {
        let entries = folder.metadata().and_then(|metadata| {
            let is_new = metadata.is_dir() && seen.insert(id(&folder, &metadata));
            is_new.then(|| fs::read_dir(&folder)).transpose()
        });
        let entries = match entries {
            Ok(Some(entries)) => entries,
            Ok(None) => {
                listing.add(folder, &mut seen);
                continue;
            }
            Err(error) if folder == source => return Err(error),
            // What went away meanwhile is not there.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => {
                listing.unreadable.push((folder, error));
                continue;
            }
        };
        let mut files = Vec::new();
        for entry in entries {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    listing.unreadable.push((folder.clone(), error));
                    break;
                }
            };
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                Ok(kind) if kind.is_file() => files.push(entry.path()),
                Ok(kind) if kind.is_symlink() => drop(links.insert(entry.path())),
                _ => {}
            }
        }
        // Of several names of a file the first is taken, at every look.
        files.sort_unstable();
        for path in files {
            listing.add(path, &mut seen);
        }
        folders.sort_unstable_by(|a, b| b.cmp(a));
    }
    listing.found.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    Ok(listing)
}

fn file(source: &Path) -> io::Result<Listing> {
    let mut listing = Listing::default();
    let mut seen = HashSet::new();
    // It may be away for a moment while it is rotated.
    listing.add(source.to_owned(), &mut seen);
    let itself = listing.found.pop();
    let folder = match source.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let name = source.file_name().unwrap_or_default();
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if is_sibling(entry.file_name().as_encoded_bytes(), name.as_encoded_bytes()) {
            paths.push(match source.parent() {
                Some(folder) => folder.join(entry.file_name()),
                None => entry.path(),
            });
        }
    }
    paths.sort_unstable();
    for path in paths {
        listing.add(path, &mut seen);
    }
    let order = |found: &Found| (found.modified, found.path.clone());
    listing.found.sort_by_cached_key(order);
    listing.found.extend(itself);
    Ok(listing)
}

impl Listing {
    /// Takes in a file, unless it was under another name.
    fn add(&mut self, path: PathBuf, seen: &mut HashSet<String>) {
        // What went away meanwhile is not there.
        let Some(metadata) = path.metadata().ok().filter(Metadata::is_file) else {
            return;
        };
        if path.to_str().is_none() {
            self.unnamed.push(path);
        } else if seen.insert(id(&path, &metadata)) {
            self.found.push(Found::new(path, &metadata));
        }
    }
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
