//! What was fetched, in a small file beside it, so that it is not fetched again.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use http::HeaderMap;
use http::header::{CONTENT_LENGTH, ETAG, HeaderName, LAST_MODIFIED};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::secret::BasicAuth;

const VERSION: u32 = 1;
/// It has ten short members.
const LONGEST: u64 = 64 << 10;

/// Of one file that was fetched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) version: u32,
    pub(super) edition: String,
    /// Of the file.
    pub(super) bytes: u64,
    /// Of the file, in hexadecimal.
    pub(super) sha256: String,
    /// Of what was downloaded, in hexadecimal: the file itself, or the archive that it was in.
    pub(super) archive_sha256: String,
    /// What the server says of it: to a HEAD request, where it knows those.
    pub(super) release: Release,
    /// When, as RFC 3339 writes it: for people.
    pub(super) fetched: String,
}

/// How a server tells one release from another.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Release {
    /// As the server writes it.
    pub(super) last_modified: Option<String>,
    pub(super) etag: Option<String>,
    pub(super) bytes: Option<u64>,
}

impl Release {
    pub(super) fn of(headers: &HeaderMap, auth: &BasicAuth) -> Self {
        const LONGEST_VALUE: usize = 256;
        let text = |name: HeaderName| {
            let value = headers.get(name)?.to_str().ok()?;
            // A server that sends the key back does not get it written down.
            (value.len() <= LONGEST_VALUE && !auth.is_in(value)).then(|| value.to_owned())
        };
        Self {
            last_modified: text(LAST_MODIFIED).filter(|value| time(value).is_some()),
            etag: text(ETAG),
            bytes: text(CONTENT_LENGTH)
                .and_then(|length| length.parse().ok())
                .filter(|&bytes| bytes > 0), // of a HEAD that does not know
        }
    }

    /// When it was released, as far as the server says.
    pub(super) fn time(&self) -> Option<Timestamp> {
        self.last_modified.as_deref().and_then(time)
    }

    /// This, or the other one where this says no time.
    pub(super) fn or(self, other: Self) -> Self {
        if self.time().is_some() { self } else { other }
    }

    /// Whether the two are one release for sure: the times are there and equal, and nothing else speaks against it.
    pub(super) fn is(&self, other: &Self) -> bool {
        fn differ<T: PartialEq>(one: &Option<T>, other: &Option<T>) -> bool {
            one.is_some() && other.is_some() && one != other
        }
        self.time().is_some()
            && self.time() == other.time()
            && !differ(&self.etag, &other.etag)
            && !differ(&self.bytes, &other.bytes)
    }
}

/// A time as HTTP writes it.
pub(super) fn time(text: &str) -> Option<Timestamp> {
    jiff::fmt::rfc2822::parse(text).ok().map(|time| time.timestamp())
}

impl Record {
    pub(super) fn new(
        edition: &str,
        written: super::archive::Written,
        archive_sha256: String,
        release: Release,
        fetched: Timestamp,
    ) -> Self {
        Self {
            version: VERSION,
            edition: edition.to_owned(),
            bytes: written.bytes,
            sha256: written.sha256,
            archive_sha256,
            release,
            fetched: fetched.to_string(),
        }
    }

    /// Reads a record; `None` when there is none. An error says why what is there is none.
    pub(super) fn read(path: &Path, edition: &str) -> io::Result<Option<Self>> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut bytes = Vec::new();
        file.take(LONGEST).read_to_end(&mut bytes)?;
        let record: Self = serde_json::from_slice(&bytes)?;
        if record.version != VERSION || record.edition != edition {
            return Err(io::Error::other("it is of another version or edition"));
        }
        Ok(Some(record))
    }

    pub(super) fn write(&self, to: &mut impl Write) -> io::Result<()> {
        serde_json::to_writer_pretty(&mut *to, self)?;
        to.write_all(b"\n")
    }
}
