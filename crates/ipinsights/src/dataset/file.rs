//! A file of rows: 64 bytes of header, then eight bytes a row.
//!
//! | bytes | content |
//! | --- | --- |
//! | 0..16 | `ipinsights-rows` and a line feed |
//! | 16..20 | the version, 1 |
//! | 20..24 | zeros |
//! | 24..32 | `num_entity_vectors` |
//! | 32..40 | the number of rows |
//! | 40..64 | zeros |
//! | 64.. | by row: the entity's row of the table, the address |
//!
//! All numbers are little-endian; those of a row have four bytes each.

use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use super::{DatasetError, Pair};
use crate::atomic::AtomicFile;

const MAGIC: &[u8; 16] = b"ipinsights-rows\n";
const VERSION: u32 = 1;
const HEADER: usize = 64;
const ROW: usize = 8;

/// Rows in a file.
// INVARIANT: when it was opened, the file was as long as its rows ask for.
#[derive(Debug, Clone)]
pub(super) struct RowFile {
    file: Arc<Mutex<File>>,
    rows: usize,
}

impl RowFile {
    /// The file and its `num_entity_vectors`.
    pub(super) fn open(path: &Path) -> Result<(Self, u64), DatasetError> {
        let reading = |source| DatasetError::Io {
            action: "read from",
            path: path.to_owned(),
            source,
        };
        let mut file = File::open(path).map_err(reading)?;
        let length = file.metadata().map_err(reading)?.len();
        let mut header = Vec::new();
        (&mut file)
            .take(HEADER as u64)
            .read_to_end(&mut header)
            .map_err(reading)?;
        let checked = check(&header, length);
        let (num_entity_vectors, rows) = checked.map_err(|problem| DatasetError::NotRows {
            path: path.to_owned(),
            problem,
        })?;
        let file = Arc::new(Mutex::new(file));
        Ok((Self { file, rows }, num_entity_vectors))
    }

    pub(super) fn len(&self) -> usize {
        self.rows
    }

    /// Fills `out` with the rows from `start` on.
    pub(super) fn read(&self, start: usize, out: &mut [Pair]) -> io::Result<()> {
        let mut bytes = [0; 512 * ROW];
        // A panic elsewhere leaves no half state: every read begins with its own seek.
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start((HEADER + start * ROW) as u64))?;
        for out in out.chunks_mut(512) {
            let bytes = &mut bytes[..out.len() * ROW];
            file.read_exact(bytes)?;
            for (pair, bytes) in out.iter_mut().zip(bytes.as_chunks::<ROW>().0) {
                let [a, b, c, d, address @ ..] = *bytes;
                *pair = Pair {
                    entity: u32::from_le_bytes([a, b, c, d]),
                    address: u32::from_le_bytes(address),
                };
            }
        }
        Ok(())
    }
}

/// `num_entity_vectors` and the number of rows, or what is wrong.
fn check(header: &[u8], length: u64) -> Result<(u64, usize), String> {
    if !header.starts_with(MAGIC) || header.len() < HEADER {
        return Err("it does not begin as one".to_owned());
    }
    let number = |at: usize, bytes: usize| {
        let bytes = header[at..at + bytes].iter().rev();
        bytes.fold(0_u64, |number, byte| number << 8 | u64::from(*byte))
    };
    let version = number(16, 4);
    if version != u64::from(VERSION) {
        return Err(format!(
            "it has version {version}, this program reads version {VERSION}"
        ));
    }
    if header[20..24].iter().chain(&header[40..]).any(|byte| *byte != 0) {
        return Err("its header has something where nothing belongs".to_owned());
    }
    let (num_entity_vectors, rows) = (number(24, 8), number(32, 8));
    if !(1..=250_000_000).contains(&num_entity_vectors) {
        return Err(format!(
            "num_entity_vectors must lie in 1..=250000000, got {num_entity_vectors}"
        ));
    }
    let want = rows
        .checked_mul(ROW as u64)
        .and_then(|bytes| bytes.checked_add(HEADER as u64));
    if want != Some(length) {
        return Err(format!(
            "it claims {rows} rows, which its {length} bytes are not; maybe it was cut off"
        ));
    }
    usize::try_from(rows)
        .map(|rows| (num_entity_vectors, rows))
        .map_err(|_| format!("{rows} rows are more than this machine can address"))
}

/// Writes a file of rows.
pub(super) struct RowWriter {
    to: BufWriter<Target>,
    num_entity_vectors: u64,
    rows: usize,
}

/// A file that gets its name at the end, or none.
enum Target {
    Named(AtomicFile),
    Nameless(File),
}

impl Target {
    fn file(&self) -> &File {
        match self {
            Self::Named(file) => file.file(),
            Self::Nameless(file) => file,
        }
    }
}

impl Write for Target {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file().flush()
    }
}

impl RowWriter {
    /// A file that appears under its name when it is finished.
    pub(super) fn named(path: &Path, num_entity_vectors: u64) -> io::Result<Self> {
        Self::new(Target::Named(AtomicFile::new(path)?), num_entity_vectors)
    }

    /// A file without a name.
    pub(super) fn nameless(folder: &Path, num_entity_vectors: u64) -> io::Result<Self> {
        Self::new(
            Target::Nameless(tempfile::tempfile_in(folder)?),
            num_entity_vectors,
        )
    }

    fn new(target: Target, num_entity_vectors: u64) -> io::Result<Self> {
        let mut to = BufWriter::with_capacity(1 << 16, target);
        to.write_all(&[0; HEADER])?;
        Ok(Self {
            to,
            num_entity_vectors,
            rows: 0,
        })
    }

    pub(super) fn push(&mut self, pairs: &[Pair]) -> io::Result<()> {
        for pair in pairs {
            self.to.write_all(&pair.entity.to_le_bytes())?;
            self.to.write_all(&pair.address.to_le_bytes())?;
        }
        self.rows += pairs.len();
        Ok(())
    }

    pub(super) fn finish(self) -> io::Result<RowFile> {
        let target = self.to.into_inner().map_err(io::IntoInnerError::into_error)?;
        let mut file = target.file();
        file.seek(SeekFrom::Start(0))?;
        let mut header = [0; HEADER];
        header[..16].copy_from_slice(MAGIC);
        header[16..20].copy_from_slice(&VERSION.to_le_bytes());
        header[24..32].copy_from_slice(&self.num_entity_vectors.to_le_bytes());
        header[32..40].copy_from_slice(&(self.rows as u64).to_le_bytes());
        file.write_all(&header)?;
        let file = match target {
            Target::Named(file) => file.finish()?,
            Target::Nameless(file) => file,
        };
        Ok(RowFile {
            file: Arc::new(Mutex::new(file)),
            rows: self.rows,
        })
    }
}
