//! Files that appear whole or not at all.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::{Error, SampleFile};

/// Writes all files, first beside their places, then into them.
pub(crate) fn write_files(dir: &Path, files: &[SampleFile]) -> Result<Vec<PathBuf>, Error> {
    for path in files.iter().map(|file| dir.join(file.name)) {
        // The one thing that would keep a finished file from its place, and not before others have replaced older ones.
        if path.is_dir() {
            return Err(Error::Write {
                path,
                source: io::ErrorKind::IsADirectory.into(),
            });
        }
    }
    let mut written = Undo::default();
    written.make_folders(dir)?;
    let mut moves = Vec::new();
    for SampleFile { name, bytes } in files {
        // With the process in the name, two that write the same sample do not get in each other's way.
        let draft = dir.join(format!(".{name}.{}.tmp", std::process::id()));
        written.files.push(draft.clone());
        write_file(&draft, bytes).map_err(|source| Error::Write {
            path: dir.join(name),
            source,
        })?;
        moves.push((draft, dir.join(name)));
    }
    for (draft, path) in &moves {
        fs::rename(draft, path).map_err(|source| Error::Write {
            path: path.clone(),
            source,
        })?;
        written.files.push(path.clone());
    }
    written.keep();
    Ok(moves.into_iter().map(|(_, path)| path).collect())
}

fn write_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = fs::File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Takes back what was written when it is dropped, unless it is told to keep it.
#[derive(Default)]
struct Undo {
    files: Vec<PathBuf>,
    folders: Vec<PathBuf>,
}

impl Undo {
    fn make_folders(&mut self, dir: &Path) -> Result<(), Error> {
        let missing: Vec<_> = dir
            .ancestors()
            .take_while(|folder| !folder.as_os_str().is_empty() && !folder.exists())
            .map(Path::to_owned)
            .collect();
        for folder in missing.into_iter().rev() {
            fs::create_dir(&folder).map_err(|source| Error::Write {
                path: folder.clone(),
                source,
            })?;
            self.folders.push(folder);
        }
        Ok(())
    }

    fn keep(mut self) {
        self.files.clear();
        self.folders.clear();
    }
}

impl Drop for Undo {
    /// What cannot be removed stays: the error that led here is the one to report.
    fn drop(&mut self) {
        for file in &self.files {
            let _ = fs::remove_file(file);
        }
        for folder in self.folders.iter().rev() {
            let _ = fs::remove_dir(folder);
        }
    }
}
