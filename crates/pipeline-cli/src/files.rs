//! Files in and out.

use std::fs::{File, OpenOptions};
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use access_events::AccessEvent;
use anyhow::Context;
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

/// A file of `entity,ip` rows that can be read more than once: what is no regular file (a pipe) is copied first.
pub struct Rows {
    /// As the person wrote it.
    name: PathBuf,
    copy: Option<NamedTempFile>,
}

impl Rows {
    /// Opens the file, and copies it where it cannot be read again.
    pub fn of(path: &Path) -> anyhow::Result<Self> {
        let context = || format!("`{}` cannot be read", path.display());
        let mut file = File::open(path).with_context(context)?;
        let copy = if file.metadata().with_context(context)?.is_file() {
            None
        } else {
            let mut copy = NamedTempFile::new().context("a temporary file cannot be made")?;
            std::io::copy(&mut file, copy.as_file_mut()).with_context(context)?;
            Some(copy)
        };
        Ok(Self {
            name: path.to_owned(),
            copy,
        })
    }

    /// The rows from the beginning; an error says the file.
    pub fn read(&self) -> anyhow::Result<impl Iterator<Item = anyhow::Result<AccessEvent>>> {
        let path = self
            .copy
            .as_ref()
            .map_or(self.name.as_path(), NamedTempFile::path);
        let file = File::open(path).with_context(|| format!("`{}` cannot be read", self.name.display()))?;
        let rows = access_events::csv::Reader::new(BufReader::new(file));
        Ok(rows.map(|row| row.with_context(|| format!("in `{}`", self.name.display()))))
    }

    /// SHA-256 of the file's bytes, in hex.
    pub fn sha256(&self) -> anyhow::Result<String> {
        sha256(
            self.copy
                .as_ref()
                .map_or(self.name.as_path(), NamedTempFile::path),
        )
    }
}

/// Where a path leads, whether anything is there yet or not; nothing where its folder is not there.
pub fn real(path: &Path) -> Option<PathBuf> {
    let path = std::path::absolute(path).ok()?;
    let there = path.canonicalize().ok();
    there.or_else(|| Some(path.parent()?.canonicalize().ok()?.join(path.file_name()?)))
}

/// Sees that a folder, which need not be there, can be written to; nothing is left behind.
pub fn probe(folder: &Path) -> anyhow::Result<()> {
    let there = folder.ancestors().find(|folder| folder.exists());
    let there = there.filter(|there| !there.as_os_str().is_empty());
    tempfile::tempfile_in(there.unwrap_or(Path::new(".")))
        .with_context(|| format!("nothing can be written to `{}`", folder.display()))?;
    Ok(())
}

/// SHA-256 of a file, in hex.
pub fn sha256(path: &Path) -> anyhow::Result<String> {
    let context = || format!("`{}` cannot be read", path.display());
    let file = File::open(path).with_context(context)?;
    Hashing::new(file).finish().with_context(context)
}

/// A reader whose bytes are hashed as they are read.
pub struct Hashing<R> {
    from: R,
    hash: Sha256,
}

impl<R: Read> Hashing<R> {
    /// Reads from another reader.
    pub fn new(from: R) -> Self {
        Self {
            from,
            hash: Sha256::new(),
        }
    }

    /// SHA-256, in hex, of everything that the reader holds: what was not read so far is read.
    pub fn finish(mut self) -> std::io::Result<String> {
        let mut piece = vec![0; 1 << 16];
        while self.read(&mut piece)? > 0 {}
        Ok(hex(&self.hash.finalize()))
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.from.read(buffer)?;
        self.hash.update(&buffer[..read]);
        Ok(read)
    }
}

/// Bytes in hex.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A file to be written, which appears only when it is whole.
///
/// It is made before the work whose result it takes, so that a place that cannot be written to is told at once. What is there
/// already and no regular file (a device, a pipe) is written to as it is; a link keeps pointing where it points.
pub struct Draft {
    path: PathBuf,
    to: To,
}

enum To {
    Whole(NamedTempFile),
    Stream(File),
}

impl Draft {
    /// Begins the file.
    pub fn at(path: &Path) -> anyhow::Result<Self> {
        let context = || format!("`{}` cannot be written", path.display());
        let to = match path.metadata() {
            Ok(there) if !there.is_file() => {
                To::Stream(OpenOptions::new().write(true).open(path).with_context(context)?)
            }
            there => {
                let place = if there.is_ok() {
                    path.canonicalize().with_context(context)?
                } else {
                    path.to_owned()
                };
                let folder = place.parent().filter(|folder| !folder.as_os_str().is_empty());
                let mut builder = tempfile::Builder::new();
                // As any program's file: the umask decides who may read it.
                #[cfg(unix)]
                builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
                let file = builder
                    .tempfile_in(folder.unwrap_or(Path::new(".")))
                    .with_context(context)?;
                return Ok(Self {
                    path: place,
                    to: To::Whole(file),
                });
            }
        };
        Ok(Self {
            path: path.to_owned(),
            to,
        })
    }

    /// A handle to write with, for a thread of its own.
    pub fn writer(&self) -> anyhow::Result<File> {
        self.file()
            .try_clone()
            .with_context(|| format!("`{}` cannot be written", self.path.display()))
    }

    fn file(&self) -> &File {
        match &self.to {
            To::Whole(file) => file.as_file(),
            To::Stream(file) => file,
        }
    }

    /// Writes the content, and lets the file appear.
    pub fn fill(self, write: impl FnOnce(&mut dyn Write) -> anyhow::Result<()>) -> anyhow::Result<()> {
        let context = || format!("`{}` cannot be written", self.path.display());
        let mut buffer = BufWriter::new(self.file());
        write(&mut buffer).with_context(context)?;
        buffer.flush().with_context(context)?;
        drop(buffer);
        self.keep()
    }

    /// Lets the file appear.
    pub fn keep(self) -> anyhow::Result<()> {
        if let To::Whole(file) = self.to {
            file.persist(&self.path)
                .map_err(|error| error.error)
                .with_context(|| format!("`{}` cannot be written", self.path.display()))?;
        }
        Ok(())
    }
}
