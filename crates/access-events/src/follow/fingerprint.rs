//! How a file is known again, whatever it is called: by the bytes at its beginning and those before a position.

use std::io::{self, Read};

use serde::{Deserialize, Serialize};

use super::content::Content;

/// How many bytes at either end count.
pub(super) const BYTES: u64 = 1024;

/// Checksums of the first bytes and of those before a position.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Fingerprint {
    head: u32,
    tail: u32,
}

impl Fingerprint {
    /// Of bytes that are at hand: as many of either as there are, up to [`BYTES`].
    pub(super) fn new(head: &[u8], tail: &[u8]) -> Self {
        let sum = |bytes: &[u8]| {
            let mut crc = flate2::Crc::new();
            crc.update(bytes);
            crc.sum()
        };
        Self {
            head: sum(head),
            tail: sum(tail),
        }
    }

    /// Of a content and a position in it.
    pub(super) fn of(content: &mut Content, at: u64) -> io::Result<Self> {
        let bytes = at.min(BYTES);
        let mut read = |from: u64| {
            let mut buffer = Vec::new();
            content.from(from)?.take(bytes).read_to_end(&mut buffer)?;
            io::Result::Ok(buffer)
        };
        Ok(Self::new(&read(0)?, &read(at - bytes)?))
    }

    /// Whether this is the file, to that position.
    pub(super) fn fits(&self, content: &mut Content, at: u64) -> io::Result<bool> {
        Ok(content.reaches(at)? && Self::of(content, at)? == *self)
    }
}
