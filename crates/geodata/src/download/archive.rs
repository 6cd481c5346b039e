//! The database file in an archive as MaxMind packs it: a folder with the database and its licence, in a tar, in gzip.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Component, Path};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};

use flate2::read::GzDecoder;
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use tar::EntryType;

use crate::Fault;
use crate::bytes::hex;

/// For the headers and the small files beside the database; names and licences are kilobytes.
const BESIDE: u64 = 16 << 20;
/// MaxMind's archives have four.
const MOST_ENTRIES: usize = 64;
/// Within so many bytes of its end, a database has its metadata.
const METADATA_WITHIN: u64 = 128 << 10;
const METADATA_MARK: &[u8] = b"\xAB\xCD\xEFMaxMind.com";

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) bytes: u64,
    /// In hexadecimal.
    pub(super) sha256: String,
}

/// Copies the file `name` of the archive to `to`. Only its bytes are taken from the archive: where they go, and with which name and
/// rights, is not the archive's to say. Still an archive with anything that MaxMind does not pack is refused as a whole.
pub(super) fn extract(
    archive: &mut File,
    name: &str,
    limit: u64,
    to: &mut File,
    stop: &AtomicBool,
) -> Result<Written, Trouble> {
    archive.seek(SeekFrom::Start(0))?;
    let left = Rc::new(Cell::new(BESIDE));
    let mut tar = tar::Archive::new(Budget {
        inner: GzDecoder::new(BufReader::new(archive)),
        left: Rc::clone(&left),
    });
    let mut written = None;
    for (index, entry) in tar.entries()?.enumerate() {
        if index == MOST_ENTRIES {
            return Err(trouble(format!("it has more than {MOST_ENTRIES} entries")));
        }
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        let shown = path.to_string_lossy().escape_debug().to_string();
        check_name(&path).map_err(|problem| trouble(format!("its entry `{shown}` {problem}")))?;
        match entry.header().entry_type() {
            EntryType::Directory => continue,
            EntryType::Regular => {}
            EntryType::XGlobalHeader => continue,
            _ => {
                return Err(trouble(format!(
                    "its entry `{shown}` is neither a file nor a folder"
                )));
            }
        }
        if path.file_name().is_none_or(|last| last != name) {
            continue;
        }
        if written.is_some() {
            return Err(trouble(format!("it has `{name}` twice")));
        }
        let size = entry.size();
        if size > limit {
            return Err(Trouble::TooLarge);
        }
        left.set(left.get().saturating_add(size));
        let copied = copy(&mut entry, to, stop)?;
        if copied.bytes != size {
            return Err(trouble(format!("`{name}` in it is cut short")));
        }
        written = Some(copied);
    }
    // The end of the compressed data has a checksum of its own, which is read only when one reads on.
    io::copy(&mut tar.into_inner(), &mut io::sink())?;
    let written = written.ok_or_else(|| trouble(format!("it has no `{name}`")))?;
    if built_of(to)?.is_none() {
        return Err(trouble(format!("`{name}` in it is not a MaxMind database")));
    }
    Ok(written)
}

/// Why nothing was extracted.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The archive is at fault.
    Archive(Fault),
    /// The database in it is larger than it may be.
    TooLarge,
    /// The file cannot be written.
    Write(io::Error),
}

fn trouble(text: String) -> Trouble {
    Trouble::Archive(Fault(text))
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Archive(Fault(error.to_string()))
    }
}

/// Copies and hashes.
pub(super) fn copy(from: &mut impl Read, to: &mut impl Write, stop: &AtomicBool) -> Result<Written, Trouble> {
    let mut buffer = vec![0; 1 << 16];
    let mut hash = Sha256::new();
    let mut bytes = 0;
    loop {
        // Who asked for it is gone.
        if stop.load(Ordering::Relaxed) {
            return Err(trouble("it was no longer wanted".to_owned()));
        }
        let read = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error.into()),
        };
        to.write_all(&buffer[..read]).map_err(Trouble::Write)?;
        hash.update(&buffer[..read]);
        bytes += read as u64;
    }
    Ok(Written {
        bytes,
        sha256: hex(&hash.finalize()),
    })
}

fn check_name(path: &Path) -> Result<(), &'static str> {
    for component in path.components() {
        match component {
            Component::Normal(_) | Component::CurDir => {}
            Component::ParentDir => return Err("leaves its folder"),
            Component::RootDir | Component::Prefix(_) => return Err("has an absolute name"),
        }
    }
    Ok(())
}

/// Reads no more than is left: an archive of a kilobyte can unpack to any size.
struct Budget<R> {
    inner: R,
    left: Rc<Cell<u64>>,
}

impl<R: Read> Read for Budget<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.left.get();
        if left == 0 && !buffer.is_empty() {
            // One byte more would be one too many; the end is allowed.
            return match self.inner.read(&mut [0])? {
                0 => Ok(0),
                _ => Err(io::Error::other("it unpacks to more than MaxMind packs")),
            };
        }
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let read = self.inner.read(&mut buffer[..most])?;
        self.left.set(left - read as u64);
        Ok(read)
    }
}

/// When a database was built, by its metadata: `None` if it has none, and so is no database.
pub(super) fn built_of(file: &mut File) -> io::Result<Option<Timestamp>> {
    let length = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(length.saturating_sub(METADATA_WITHIN)))?;
    let mut tail = Vec::new();
    file.take(METADATA_WITHIN).read_to_end(&mut tail)?;
    Ok(built(&tail))
}

/// The member `build_epoch` of the metadata: its name as a string of the format, then the type number for 64 unsigned bits with a
/// length in bytes, then these. The whole database need not be in memory for it.
fn built(tail: &[u8]) -> Option<Timestamp> {
    const NAME: &[u8] = b"\x4Bbuild_epoch";
    const UINT64: u8 = 2; // of the extended types, which count from 7
    let find = |hay: &[u8], needle: &[u8]| hay.windows(needle.len()).rposition(|part| part == needle);
    let metadata = &tail[find(tail, METADATA_MARK)? + METADATA_MARK.len()..];
    let rest = &metadata[find(metadata, NAME)? + NAME.len()..];
    let (&length, rest) = rest.split_first()?;
    let (&kind, rest) = rest.split_first()?;
    if length > 8 || kind != UINT64 {
        return None;
    }
    let bytes = rest.get(..usize::from(length))?;
    let seconds = bytes.iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
    Timestamp::from_second(i64::try_from(seconds).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_database_is_in_its_tail() {
        let bytes = crate::writer::Writer::new("GeoLite2-Country")
            .build_epoch(1_700_000_000)
            .to_bytes()
            .unwrap();
        assert_eq!(
            built(&bytes).map(|time| time.to_string()).as_deref(),
            Some("2023-11-14T22:13:20Z")
        );
        assert_eq!(built(&bytes[..10]), None);
        for end in 0..bytes.len() {
            built(&bytes[end..]);
            built(&bytes[..end]);
        }
    }

    #[test]
    fn a_budget_ends_where_it_ends() {
        let read = |left: u64| {
            let mut budget = Budget {
                inner: &b"0123456789"[..],
                left: Rc::new(Cell::new(left)),
            };
            let mut text = String::new();
            budget.read_to_string(&mut text).map(|_| text)
        };
        assert_eq!(read(10).unwrap(), "0123456789");
        assert_eq!(read(11).unwrap(), "0123456789");
        assert!(read(9).is_err());
    }
}
