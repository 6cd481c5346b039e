//! Decompression of gzip, in one or more members, with what may come after the last of them.

use std::io::{self, BufRead, Read};
use std::sync::atomic::{AtomicBool, Ordering};

use flate2::bufread::GzDecoder;

/// How a member begins.
pub(crate) const MAGIC: [u8; 2] = *b"\x1f\x8b";

/// What is wrong with a compressed stream.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Damage {
    #[error("the gzip stream ends too early")]
    Truncated,
    #[error("the gzip stream is damaged: {0}")]
    Corrupt(String),
    /// Not in an error: what is before it is whole.
    #[error("what comes after the gzip stream is not gzip, and is not read")]
    Followed,
}

impl Damage {
    /// The damage behind an error of [`Gunzip`].
    pub(crate) fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }
}

/// The decompressed bytes of all members. Zeros after them are padding; anything else there that is no member ends the stream and is noted.
/// Damage is told from errors of what is below.
pub(crate) struct Gunzip<'a, R> {
    /// Nothing at the end, and while it is exchanged.
    member: Option<GzDecoder<Returned<R>>>,
    is_followed: Option<&'a AtomicBool>,
}

impl<'a, R: BufRead> Gunzip<'a, R> {
    /// The bytes of a stream that begins with a member. `is_followed` is set when something else comes after the last one.
    pub(crate) fn new(bytes: R, is_followed: Option<&'a AtomicBool>) -> Self {
        let bytes = Returned { bytes, magic: 0 };
        Self {
            member: Some(GzDecoder::new(bytes)),
            is_followed,
        }
    }

    /// Whether another member comes next, where one has ended.
    fn is_member_next(&self, bytes: &mut Returned<R>) -> io::Result<bool> {
        while bytes.next()? == Some(0) {
            bytes.consume(1);
        }
        for byte in MAGIC {
            let next = bytes.next()?;
            if next != Some(byte) {
                if let Some(is_followed) = self.is_followed {
                    is_followed.fetch_or(next.is_some() || bytes.magic > 0, Ordering::Relaxed);
                }
                return Ok(false);
            }
            bytes.bytes.consume(1);
            bytes.magic += 1;
        }
        Ok(true)
    }
}

impl<R: BufRead> Read for Gunzip<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        while let Some(member) = &mut self.member {
            let read = member.read(buffer).map_err(told)?;
            if read > 0 {
                return Ok(read);
            }
            let Some(mut bytes) = self.member.take().map(GzDecoder::into_inner) else {
                break;
            };
            if self.is_member_next(&mut bytes)? {
                self.member = Some(GzDecoder::new(bytes));
            }
        }
        Ok(0)
    }
}

fn told(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => io::Error::new(error.kind(), Damage::Truncated),
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => {
            io::Error::new(error.kind(), Damage::Corrupt(error.to_string()))
        }
        _ => error,
    }
}

/// A reader to which the first bytes of a member are given back.
struct Returned<R> {
    bytes: R,
    /// How many bytes of [`MAGIC`] were taken and are to come again.
    magic: usize,
}

impl<R: BufRead> Returned<R> {
    /// The byte after those that come again.
    fn next(&mut self) -> io::Result<Option<u8>> {
        loop {
            match self.bytes.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                available => return Ok(available?.first().copied()),
            }
        }
    }
}

impl<R: BufRead> BufRead for Returned<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.magic > 0 {
            return Ok(&MAGIC[MAGIC.len() - self.magic..]);
        }
        self.bytes.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        if self.magic > 0 {
            self.magic -= amount;
        } else {
            self.bytes.consume(amount);
        }
    }
}

impl<R: BufRead> Read for Returned<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(buffer)?;
        self.consume(read);
        Ok(read)
    }
}
