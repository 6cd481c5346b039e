//! Files that appear whole or not at all, in place of older ones that come back when something goes wrong.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::sample::{MANIFEST, OPTIONAL_FILE};
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
        let path = dir.join(name);
        let draft = beside(&path, "tmp");
        written.files.push(draft.clone());
        write_file(&draft, bytes).map_err(unwritable(&path))?;
        moves.push((draft, path));
    }
    if let Some(path) = left_over(dir, files) {
        written.set_aside(&path)?;
    }
    written.put(&moves)?;
    written.keep();
    Ok(moves.into_iter().map(|(_, path)| path).collect())
}

/// The file of an older sample that would be taken for one of this sample, which has none of its name. The older manifest tells whose it
/// is.
fn left_over(dir: &Path, files: &[SampleFile]) -> Option<PathBuf> {
    if files.iter().any(|file| file.name == OPTIONAL_FILE) {
        return None;
    }
    let manifest = fs::read(dir.join(MANIFEST)).ok()?;
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).ok()?;
    let mut listed = manifest.get("files")?.as_array()?.iter();
    let is_listed = listed.any(|file| file.get("name").is_some_and(|name| name == OPTIONAL_FILE));
    let path = dir.join(OPTIONAL_FILE);
    (is_listed && path.is_file()).then_some(path)
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
    /// What was there before: where it is, and where it belongs.
    older: Vec<(PathBuf, PathBuf)>,
}

impl Undo {
    fn make_folders(&mut self, dir: &Path) -> Result<(), Error> {
        let missing: Vec<_> = dir
            .ancestors()
            .take_while(|folder| !folder.as_os_str().is_empty() && !folder.exists())
            .map(Path::to_owned)
            .collect();
        for folder in missing.into_iter().rev() {
            fs::create_dir(&folder).map_err(unwritable(&folder))?;
            self.folders.push(folder);
        }
        Ok(())
    }

    /// Moves files to their places, each from the first path to the second.
    fn put(&mut self, moves: &[(PathBuf, PathBuf)]) -> Result<(), Error> {
        for (draft, path) in moves {
            if fs::symlink_metadata(path).is_ok() {
                let aside = free_aside(path)?;
                self.files.push(aside.clone());
                // Under a second name, for there is to be no moment without the file; not all file systems have such names.
                fs::hard_link(path, &aside)
                    .or_else(|error| match error.kind() {
                        // What is there may be the file itself, which a copy onto it would empty.
                        io::ErrorKind::AlreadyExists => Err(error),
                        _ => fs::copy(path, &aside).map(|_| ()),
                    })
                    .map_err(unwritable(path))?;
                self.older.push((aside, path.clone()));
                fs::rename(draft, path).map_err(unwritable(path))?;
            } else {
                fs::rename(draft, path).map_err(unwritable(path))?;
                self.files.push(path.clone());
            }
        }
        Ok(())
    }

    /// Takes a file out of its place.
    fn set_aside(&mut self, path: &Path) -> Result<(), Error> {
        let aside = free_aside(path)?;
        fs::rename(path, &aside).map_err(unwritable(path))?;
        self.older.push((aside, path.to_owned()));
        Ok(())
    }

    fn keep(mut self) {
        self.files = self.older.drain(..).map(|(aside, _)| aside).collect();
        self.folders.clear();
    }
}

/// A name that nothing else has beside a file. With the process in it, two that write the same sample do not get in each other's way.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}.{ending}", std::process::id()))
}

/// A name for what is to come back to its place. A process that was killed may have left a file of this name, a second name of this one
/// even, and the system may have given its number again: that file goes.
fn free_aside(path: &Path) -> Result<PathBuf, Error> {
    let aside = beside(path, "old");
    match fs::remove_file(&aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(unwritable(path)(error)),
        _ => Ok(aside),
    }
}

fn unwritable(path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Write { path, source }
}

impl Drop for Undo {
    /// What cannot be taken back stays: the error that led here is the one to report.
    fn drop(&mut self) {
        for (aside, path) in &self.older {
            let _ = fs::rename(aside, path);
        }
        for file in &self.files {
            let _ = fs::remove_file(file);
        }
        for folder in self.folders.iter().rev() {
            let _ = fs::remove_dir(folder);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_replaced_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for (name, content) in [("a", "older"), (".a", "newer"), (".b", "new"), ("c", "older")] {
            fs::write(path(name), content).unwrap();
        }
        // Second names that a process of the same number left when it was killed.
        for name in ["a", "c"] {
            fs::hard_link(path(name), beside(&path(name), "old")).unwrap();
        }
        let moves = |names: &[&str]| -> Vec<_> {
            let each = names.iter().map(|name| (path(&format!(".{name}")), path(name)));
            each.collect()
        };
        let mut undo = Undo::default();
        undo.set_aside(&path("c")).unwrap();
        assert!(!path("c").exists());
        // The third is not there to be moved.
        let error = undo.put(&moves(&["a", "b", "d"])).unwrap_err();
        assert!(
            matches!(&error, Error::Write { path: at, .. } if *at == path("d")),
            "{error:?}"
        );
        assert_eq!(fs::read(path("a")).unwrap(), b"newer");
        drop(undo);
        let mut left: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, ["a", "c"]);
        for name in left {
            assert_eq!(fs::read(path(&name)).unwrap(), b"older", "{name}");
        }
    }
}
