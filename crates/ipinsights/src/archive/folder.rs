//! A model in a folder, as the archive unpacks to: what a container finds in `/opt/ml/model`.

use std::borrow::Cow;
use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;

use super::{ArchiveError, DESCRIPTION, MAX_DESCRIPTION_BYTES, MAX_MODEL_BYTES, TENSORS, build};
use crate::atomic::AtomicFile;
use crate::model::Model;

impl Model {
    /// Writes the model to a folder, which is made when it is missing: the files of
    /// [`write_archive`](Self::write_archive), each of which appears when it is complete.
    ///
    /// # Errors
    ///
    /// [`ArchiveError::Io`] when the folder or a file cannot be written.
    pub fn write_folder(&self, folder: &Path) -> Result<(), ArchiveError> {
        let written = |source| ArchiveError::Io {
            action: "written",
            source,
        };
        let description = self.description()?;
        let write = |name: &str, content: &mut dyn Read| -> io::Result<()> {
            let file = AtomicFile::new(&folder.join(name))?;
            let mut to = BufWriter::with_capacity(1 << 18, file.file());
            io::copy(content, &mut to)?;
            to.flush()?;
            drop(to);
            file.finish().map(drop)
        };
        fs::create_dir_all(folder).map_err(written)?;
        let tensors = self.tensors().map_err(written)?;
        write(TENSORS, &mut tensors.reader()).map_err(written)?;
        for (name, content) in self.part_files()? {
            match content {
                Some(content) => write(name, &mut &content[..]).map_err(written)?,
                // What another model left there is not this one's.
                None => remove(&folder.join(name)).map_err(written)?,
            }
        }
        // Last: a folder without it holds no model.
        write(DESCRIPTION, &mut &description[..]).map_err(written)
    }

    /// Reads a model from a folder that holds what [`write_folder`](Self::write_folder) writes, or what an archive unpacks
    /// to. Files of other names do not matter.
    ///
    /// ```
    /// # use access_events::AccessEvent;
    /// # use ipinsights::{Hyperparameters, Model, TrainOptions};
    /// # let params = Hyperparameters::draft(10).vector_dim(4).check()?;
    /// # let rows = [AccessEvent::new("ana", [10, 0, 0, 1].into())];
    /// # let go_on = &mut |_: &_| std::ops::ControlFlow::Continue(());
    /// # let model = ipinsights::train(&params, &rows, None, &TrainOptions::default(), go_on)?;
    /// # let folder = tempfile::tempdir()?;
    /// # let folder = folder.path();
    /// model.write_folder(folder)?;
    /// assert_eq!(Model::read_folder(folder)?, model);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`read_archive`](Self::read_archive): links are refused, too.
    pub fn read_folder(folder: &Path) -> Result<Self, ArchiveError> {
        let description = read(folder, DESCRIPTION, MAX_DESCRIPTION_BYTES)?;
        let tensors = read(folder, TENSORS, MAX_MODEL_BYTES)?;
        build(&description, super::Bytes::Memory(&tensors), MAX_MODEL_BYTES)?
            .with_part_files(|name, limit| read_optional(folder, name, limit))
    }

    /// Like [`read_folder`](Self::read_folder), but the vectors stay in their file, which is mapped into memory: a model
    /// opens as fast as it can be checked, and processes that serve the same one share it.
    ///
    /// The file must not be changed while the model is in use: its scores would change, or the process end.
    /// [`write_folder`](Self::write_folder) does no harm, since it puts a new file in its place.
    ///
    /// # Errors
    ///
    /// As [`read_folder`](Self::read_folder).
    #[cfg(feature = "mmap")]
    pub fn map_folder(folder: &Path) -> Result<Self, ArchiveError> {
        let description = read(folder, DESCRIPTION, MAX_DESCRIPTION_BYTES)?;
        let (file, _) = open(folder, TENSORS, MAX_MODEL_BYTES)?;
        let map = crate::map::file(&file).map_err(reading)?;
        build(&description, super::Bytes::Mapped(&map), MAX_MODEL_BYTES)?
            .with_part_files(|name, limit| read_optional(folder, name, limit))
    }
}

fn reading(source: io::Error) -> ArchiveError {
    ArchiveError::Io {
        action: "read",
        source,
    }
}

/// A plain file of the folder with its length.
fn open(folder: &Path, name: &'static str, limit: u64) -> Result<(File, u64), ArchiveError> {
    let path = folder.join(name);
    let kind = match fs::symlink_metadata(&path) {
        Ok(metadata) => metadata.file_type(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(ArchiveError::MissingFile { name });
        }
        Err(error) => return Err(reading(error)),
    };
    if !kind.is_file() {
        return Err(ArchiveError::NoPlainFile { name });
    }
    let file = File::open(&path).map_err(reading)?;
    let size = file.metadata().map_err(reading)?.len();
    if size > limit {
        return Err(ArchiveError::TooLarge { name, size, limit });
    }
    Ok((file, size))
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn read_optional(
    folder: &Path,
    name: &'static str,
    limit: u64,
) -> Result<Option<Cow<'static, [u8]>>, ArchiveError> {
    match read(folder, name, limit) {
        Ok(bytes) => Ok(Some(bytes.into())),
        Err(ArchiveError::MissingFile { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

fn read(folder: &Path, name: &'static str, limit: u64) -> Result<Vec<u8>, ArchiveError> {
    let (file, size) = open(folder, name, limit)?;
    let mut bytes = Vec::with_capacity(size as usize);
    // Not more than was there when it was opened.
    file.take(size).read_to_end(&mut bytes).map_err(reading)?;
    Ok(bytes)
}
