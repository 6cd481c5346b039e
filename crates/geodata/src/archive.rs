//! The archives that databases come in: zip, tar in gzip, gzip alone. Nothing is unpacked to disk, and nothing unpacks to
//! more than a bound.

use std::io::{self, BufRead, BufReader, Read};
use std::ops::Range;
use std::sync::Arc;

use flate2::Crc;
use flate2::bufread::{DeflateDecoder, GzDecoder};
use rawzip::{CompressionMethod, RangeReader, ZipLocator};

use crate::Fault;
use crate::bytes::Blob;

/// Up to this size, nobody asks how well something was compressed.
const UNSUSPICIOUS: u64 = 16 << 20;
/// Databases pack to a third, their CSVs to a tenth. What unpacks to more than this many times its size was made to harm.
const RATIO: u64 = 200;
/// MaxMind's archives have a dozen.
const MEMBERS: usize = 10_000;
const LONGEST_NAME: usize = 512;

/// Why an archive could not be read.
#[derive(Debug)]
pub(crate) enum Trouble {
    Damaged(Fault),
    Io(io::Error),
}

impl Trouble {
    fn damaged(what: impl Into<String>) -> Self {
        Self::Damaged(Fault(what.into()))
    }

    /// Of errors that readers give, those that speak of the content.
    pub(crate) fn of(error: io::Error) -> Self {
        use io::ErrorKind as K;
        match error.kind() {
            K::UnexpectedEof => Self::damaged("it ends in the middle"),
            K::InvalidData | K::InvalidInput | K::Other => Self::damaged(error.to_string()),
            _ => Self::Io(error),
        }
    }

    /// The same, with how far reading had come.
    fn after(self, packed: u64, unpacked: u64) -> Self {
        match self {
            Self::Damaged(Fault(what)) => {
                Self::damaged(format!("{what} (after {packed} bytes, {unpacked} unpacked)"))
            }
            Self::Io(error) => Self::Io(error),
        }
    }
}

/// How much something of a size may unpack to.
fn most(packed: u64, limit: u64) -> u64 {
    limit.min(UNSUSPICIOUS.saturating_add(packed.saturating_mul(RATIO)))
}

/// A file, perhaps packed in an archive. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    /// With the folders of the archive.
    pub(crate) name: Arc<str>,
    blob: Blob,
    range: Range<u64>,
    /// Of a packed one.
    packed: Option<Packed>,
}

#[derive(Debug, Clone)]
struct Packed {
    deflated: bool,
    size: u64,
    crc: u32,
}

impl Member {
    /// A file that is there as it is.
    pub(crate) fn plain(name: &str, blob: Blob) -> Self {
        Self {
            name: name.into(),
            range: 0..blob.len(),
            blob,
            packed: None,
        }
    }

    /// How many bytes it has, unpacked.
    pub(crate) fn size(&self) -> u64 {
        self.packed
            .as_ref()
            .map_or(self.range.end - self.range.start, |packed| packed.size)
    }

    /// Its content. Reading ends with an error when it is not of the size and the sum that the archive says.
    pub(crate) fn reader(&self) -> MemberReader {
        let range = RangeReader::new(self.blob.clone(), self.range.clone());
        match &self.packed {
            None => MemberReader::Plain(range),
            Some(packed) => {
                let inner = if packed.deflated {
                    Unpacking::Deflated(Box::new(DeflateDecoder::new(BufReader::with_capacity(
                        64 << 10,
                        range,
                    ))))
                } else {
                    Unpacking::Stored(range)
                };
                MemberReader::Packed(Unpacker {
                    inner,
                    size: packed.size,
                    left: packed.size,
                    crc: Crc::new(),
                    expected: packed.crc,
                })
            }
        }
    }
}

pub(crate) enum MemberReader {
    Plain(RangeReader<Blob>),
    Packed(Unpacker),
}

/// Reads a packed member and compares it with what the archive says of it.
pub(crate) struct Unpacker {
    inner: Unpacking,
    size: u64,
    left: u64,
    crc: Crc,
    expected: u32,
}

enum Unpacking {
    Stored(RangeReader<Blob>),
    Deflated(Box<DeflateDecoder<BufReader<RangeReader<Blob>>>>),
}

impl Read for MemberReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(range) => range.read(buffer),
            Self::Packed(packed) => packed.read(buffer).map_err(|error| {
                let (read, unpacked) = packed.progress();
                match Trouble::of(error).after(read, unpacked) {
                    Trouble::Damaged(fault) => invalid(&fault.0),
                    Trouble::Io(error) => error,
                }
            }),
        }
    }
}

impl Unpacker {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let read = match &mut self.inner {
            Unpacking::Stored(range) => range.read(buffer)?,
            Unpacking::Deflated(inflater) => inflater.read(buffer)?,
        };
        self.crc.update(&buffer[..read]);
        self.left = self
            .left
            .checked_sub(read as u64)
            .ok_or_else(|| invalid("it unpacks to more than the archive says"))?;
        if read == 0 && self.left > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if read == 0 && self.crc.sum() != self.expected {
            return Err(invalid("its checksum is not the one that the archive says"));
        }
        Ok(read)
    }

    /// How many bytes were read, packed and unpacked.
    fn progress(&self) -> (u64, u64) {
        match &self.inner {
            Unpacking::Stored(_) => (self.size - self.left, self.size - self.left),
            Unpacking::Deflated(inflater) => (inflater.total_in(), inflater.total_out()),
        }
    }
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// The members of a zip archive that `wanted` picks by name.
pub(crate) fn zip_members(
    blob: &Blob,
    limit: u64,
    mut wanted: impl FnMut(&str) -> bool,
) -> Result<Vec<Member>, Trouble> {
    let mut buffer = vec![0; rawzip::MAX_CENTRAL_DIRECTORY_RECORD_SIZE];
    let archive = ZipLocator::new()
        .locate_in_reader(blob.clone(), &mut buffer, blob.len())
        .map_err(|(_, error)| zip_trouble(error))?;
    let mut entries = archive.entries(&mut buffer);
    let mut found: Vec<(String, rawzip::ZipArchiveEntryWayfinder, Packed)> = Vec::new();
    let mut count = 0;
    while let Some(entry) = entries.next_entry().map_err(zip_trouble)? {
        count += 1;
        if count > MEMBERS {
            return Err(Trouble::damaged(format!("it has more than {MEMBERS} members")));
        }
        let raw = entry.file_path();
        let name = String::from_utf8_lossy(raw.as_bytes()).into_owned();
        check_name(&name).map_err(Trouble::Damaged)?;
        if !wanted(&name) {
            continue;
        }
        let refuse = |what: &str| Err(Trouble::damaged(format!("its member `{name}` {what}")));
        if entry.flags().is_encrypted() {
            return refuse("is encrypted");
        }
        if !matches!(entry.mode().value() & 0o170_000, 0 | 0o100_000) {
            return refuse("is not a file");
        }
        let deflated = match entry.compression_method() {
            CompressionMethod::STORE => false,
            CompressionMethod::DEFLATE => true,
            other => {
                return refuse(&format!(
                    "is compressed by a method that is not known here, {other}"
                ));
            }
        };
        let way = entry.wayfinder();
        let (size, crc) = (way.uncompressed_size_hint(), entry.crc32());
        if size > most(way.compressed_size_hint(), limit) {
            let packed = way.compressed_size_hint();
            return refuse(&format!(
                "would unpack from {packed} to {size} bytes, which no database does"
            ));
        }
        if found.iter().any(|(other, ..)| *other == name) {
            return refuse("is there twice");
        }
        found.push((name, way, Packed { deflated, size, crc }));
    }
    let expected = archive.entries_hint();
    if count as u64 != expected {
        return Err(Trouble::damaged(format!(
            "it has {count} members and says that it has {expected}"
        )));
    }
    let members = found.into_iter().map(|(name, way, packed)| {
        let entry = archive.get_entry(way).map_err(zip_trouble)?;
        let (from, to) = entry.compressed_data_range();
        if to > blob.len() {
            return Err(Trouble::damaged(format!(
                "its member `{name}` goes past the end, to byte {to} of {}",
                blob.len()
            )));
        }
        Ok(Member {
            name: name.into(),
            blob: blob.clone(),
            range: from..to,
            packed: Some(packed),
        })
    });
    members.collect()
}

fn zip_trouble(error: rawzip::Error) -> Trouble {
    match error.into_kind() {
        rawzip::ErrorKind::IO(error) => Trouble::of(error),
        rawzip::ErrorKind::MissingEndOfCentralDirectory => {
            Trouble::damaged("its directory, at the end of a zip archive, is missing")
        }
        rawzip::ErrorKind::Eof => Trouble::damaged("it ends in the middle of a zip archive's directory"),
        kind => Trouble::damaged(format!("a zip archive's directory is broken: {kind}")),
    }
}

/// Refuses names that lead out of the place where an archive would be unpacked. It is not unpacked here, but such an archive
/// was not made by MaxMind.
fn check_name(name: &str) -> Result<(), Fault> {
    let shown: String = name.chars().take(80).collect();
    if name.len() > LONGEST_NAME {
        return Err(Fault(format!(
            "it has a member with a name of {} bytes, `{shown}`…",
            name.len()
        )));
    }
    let leads_out = name.starts_with(['/', '\\'])
        || name.split(['/', '\\']).any(|part| part == "..")
        || name.as_bytes().get(1) == Some(&b':');
    if leads_out {
        return Err(Fault(format!("its member `{shown}` leads out of the archive")));
    }
    if name.contains('\0') {
        return Err(Fault(format!(
            "it has a member with a zero byte in its name, `{}`",
            shown.escape_default()
        )));
    }
    Ok(())
}

/// A MaxMind database out of a file compressed with gzip, with its name in the tar archive if it is in one.
pub(crate) fn gunzip(blob: &Blob, limit: u64) -> Result<(Option<String>, Vec<u8>), Trouble> {
    let packed = Counted {
        inner: BufReader::with_capacity(64 << 10, blob.reader()),
        read: 0,
    };
    let mut unpacked = Bounded {
        inner: GzDecoder::new(packed),
        read: 0,
        limit: most(blob.len(), limit),
    };
    gunzipped(&mut unpacked).map_err(|trouble| trouble.after(unpacked.inner.get_ref().read, unpacked.read))
}

fn gunzipped(unpacked: &mut Bounded<GzDecoder<impl BufRead>>) -> Result<(Option<String>, Vec<u8>), Trouble> {
    let mut head = Vec::new();
    unpacked.take(512).read_to_end(&mut head).map_err(Trouble::of)?;
    let is_tar = head.len() == 512 && is_tar_header(&head);
    let mut whole = io::Cursor::new(head).chain(&mut *unpacked);
    let found = if is_tar {
        let (name, bytes) = untar(&mut whole)?;
        // What is after the archive is not looked at, but the sum of all is.
        io::copy(&mut whole, &mut io::sink()).map_err(Trouble::of)?;
        (Some(name), bytes)
    } else {
        let mut bytes = Vec::new();
        whole.read_to_end(&mut bytes).map_err(Trouble::of)?;
        (None, bytes)
    };
    let after = unpacked.inner.get_mut().fill_buf().map_err(Trouble::of)?;
    if !after.is_empty() {
        return Err(Trouble::damaged(
            "something follows where the compressed data end",
        ));
    }
    Ok(found)
}

/// Whether the sum of a header is right, as the format has it.
fn is_tar_header(block: &[u8]) -> bool {
    let mut header = tar::Header::new_old();
    let Ok(bytes) = <&[u8; 512]>::try_from(block) else {
        return false;
    };
    header.as_mut_bytes().copy_from_slice(bytes);
    let sum: u32 = bytes
        .iter()
        .enumerate()
        .map(|(place, byte)| {
            if (148..156).contains(&place) {
                32
            } else {
                u32::from(*byte)
            }
        })
        .sum();
    header.cksum().is_ok_and(|expected| expected == sum)
}

/// The only `.mmdb` of a tar archive.
fn untar(archive: impl Read) -> Result<(String, Vec<u8>), Trouble> {
    let mut archive = tar::Archive::new(archive);
    // As they are: long names and the like are members of their own, and are not put together in memory.
    let entries = archive.entries().map_err(Trouble::of)?.raw(true);
    let mut found: Option<(String, Vec<u8>)> = None;
    for (count, entry) in entries.enumerate() {
        if count >= MEMBERS {
            return Err(Trouble::damaged(format!("it has more than {MEMBERS} members")));
        }
        let mut entry = entry.map_err(Trouble::of)?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        check_name(&name).map_err(Trouble::Damaged)?;
        let kind = entry.header().entry_type();
        if kind.is_symlink() || kind.is_hard_link() {
            return Err(Trouble::damaged(format!(
                "its member `{name}` is a link; databases come without"
            )));
        }
        let extension = kind.is_pax_global_extensions()
            || kind.is_pax_local_extensions()
            || kind.is_gnu_longname()
            || kind.is_gnu_longlink();
        if extension || kind.is_dir() {
            continue;
        }
        if !kind.is_file() {
            return Err(Trouble::damaged(format!("its member `{name}` is not a file")));
        }
        // macOS puts files about files beside them.
        let file_name = name.rsplit('/').next().unwrap_or(&name);
        if !file_name.ends_with(".mmdb") || file_name.starts_with("._") {
            continue;
        }
        if let Some((other, _)) = &found {
            return Err(Trouble::damaged(format!(
                "it has two databases, `{other}` and `{name}`; unpack it and give one of them"
            )));
        }
        let size = entry.size();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).map_err(Trouble::of)?;
        if bytes.len() as u64 != size {
            return Err(Trouble::damaged(format!(
                "its member `{name}` is cut short: {} of {size} bytes",
                bytes.len()
            )));
        }
        found = Some((name, bytes));
    }
    found.ok_or_else(|| Trouble::damaged("it has no `.mmdb` in it"))
}

/// A reader that counts what is taken from it.
struct Counted<R> {
    inner: R,
    read: u64,
}

impl<R: BufRead> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.read += read as u64;
        Ok(read)
    }
}

impl<R: BufRead> BufRead for Counted<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.inner.consume(amount);
        self.read += amount as u64;
    }
}

/// A reader of what must not be longer than a bound.
struct Bounded<R> {
    inner: R,
    read: u64,
    limit: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.read += read as u64;
        if self.read > self.limit {
            return Err(invalid(&format!(
                "it unpacks to more than {} bytes, which no database of its size does",
                self.limit
            )));
        }
        Ok(read)
    }
}
