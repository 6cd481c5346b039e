//! Where the bytes of a database are: in memory, under a map, in a file that is read piece by piece.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rawzip::{FileReader, RangeReader, ReaderAt};
use sha2::{Digest, Sha256};

use crate::Error;

/// A file that is open, and what it was like when it was opened.
#[derive(Debug)]
pub(crate) struct Opened {
    path: PathBuf,
    file: File,
    facts: Facts,
}

/// What changes when a file is written to in place. One that takes its name leaves it alone.
#[derive(Debug, PartialEq, Eq)]
struct Facts {
    len: u64,
    /// Where the system tells.
    modified: Option<SystemTime>,
}

impl Facts {
    fn of(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self {
            len: metadata.len(),
            modified: metadata.modified().ok(),
        })
    }
}

impl Opened {
    /// Opens a regular file.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        Ok(Self {
            path: path.to_owned(),
            facts: Facts::of(&file)?,
            file,
        })
    }

    pub(crate) fn blob(&self) -> io::Result<Blob> {
        Ok(Blob {
            content: Content::File(Arc::new(self.file.try_clone()?.into())),
            len: self.facts.len,
        })
    }

    /// All of it at once: mapped where that was asked for, else read.
    pub(crate) fn bytes(&self, mapped: bool) -> io::Result<Bytes> {
        #[cfg(feature = "mmap")]
        if mapped {
            return map(&self.file).map(Bytes::Map);
        }
        let _ = mapped;
        let mut file = &self.file;
        // Where reading at a place moves the cursor, it is not at the beginning.
        file.rewind()?;
        let mut bytes = Vec::new();
        file.take(self.facts.len).read_to_end(&mut bytes)?;
        Ok(Bytes::Memory(bytes.into()))
    }

    /// Whether what was read of it is what is there.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let facts = Facts::of(&self.file).map_err(|source| Error::Open {
            path: self.path.clone(),
            source,
        })?;
        if facts == self.facts {
            Ok(())
        } else {
            Err(Error::Changed {
                path: self.path.clone(),
            })
        }
    }
}

/// All bytes of a file at once.
#[derive(Debug)]
pub(crate) enum Bytes {
    Memory(Cow<'static, [u8]>),
    #[cfg(feature = "mmap")]
    Map(memmap2::Mmap),
}

impl Bytes {
    /// Whether what is written to the file shows here.
    pub(crate) fn is_mapped(&self) -> bool {
        match self {
            Self::Memory(_) => false,
            #[cfg(feature = "mmap")]
            Self::Map(_) => true,
        }
    }
}

/// The one unsafe call of the crate.
#[cfg(feature = "mmap")]
fn map(file: &File) -> io::Result<memmap2::Mmap> {
    #[expect(
        unsafe_code,
        reason = "a file that is changed while it is mapped changes under our hands; `OpenOptions::memory_map` says so"
    )]
    // SAFETY: the map is only read, and every read of it is checked against its length. That nobody changes the file
    // meanwhile is asked of those who switch the feature on.
    unsafe {
        memmap2::Mmap::map(file)
    }
}

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Memory(bytes) => bytes,
            #[cfg(feature = "mmap")]
            Self::Map(map) => map,
        }
    }
}

/// Bytes that can be read from any place, by several readers at once. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Blob {
    content: Content,
    len: u64,
}

#[derive(Debug, Clone)]
enum Content {
    Memory(Arc<Cow<'static, [u8]>>),
    File(Arc<FileReader>),
}

impl Blob {
    pub(crate) fn of_bytes(bytes: Cow<'static, [u8]>) -> Self {
        Self {
            len: bytes.len() as u64,
            content: Content::Memory(Arc::new(bytes)),
        }
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// All of it, from the beginning.
    pub(crate) fn reader(&self) -> RangeReader<Self> {
        RangeReader::new(self.clone(), 0..self.len)
    }

    pub(crate) fn hash_into(&self, hash: &mut Sha256) -> io::Result<()> {
        if let Content::Memory(bytes) = &self.content {
            hash.update(&***bytes);
            return Ok(());
        }
        let mut reader = self.reader();
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match reader.read(&mut buffer)? {
                0 => return Ok(()),
                read => hash.update(&buffer[..read]),
            }
        }
    }

    pub(crate) fn sha256(&self) -> io::Result<String> {
        let mut hash = Sha256::new();
        self.hash_into(&mut hash)?;
        Ok(hex(&hash.finalize()))
    }
}

impl ReaderAt for Blob {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        match &self.content {
            Content::Memory(bytes) => bytes.read_at(buffer, offset),
            Content::File(file) => file.read_at(buffer, offset),
        }
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

#[cfg(test)]
mod tests {
    use std::io::SeekFrom;

    use super::*;

    /// Where reading at a place moves the cursor, as on Windows, it is anywhere when the whole is read.
    #[test]
    fn a_file_is_read_from_its_beginning() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "0123456789").unwrap();
        let opened = Opened::open(&path).unwrap();
        for place in [0, 4, 10] {
            (&opened.file).seek(SeekFrom::Start(place)).unwrap();
            assert_eq!(opened.bytes(false).unwrap().as_ref(), b"0123456789");
        }
    }
}
