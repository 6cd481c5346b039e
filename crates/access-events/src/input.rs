//! Where the bytes come from: files, folders, standard input, objects of a store; plain or gzip.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::report::DropReason;

/// Opens an input when its turn comes.
pub type Open = Box<dyn FnOnce() -> io::Result<Box<dyn Read + Send>> + Send>;

/// Something to read: a name for messages, and how to open it.
pub struct Input {
    pub(crate) name: String,
    pub(crate) source: Source,
}

pub(crate) enum Source {
    Open(Open),
    LeftOut(DropReason),
}

impl Input {
    /// An input called `name`, opened by `open` on the thread that reads it. What it gives may be plain or gzip, in one
    /// or more members.
    pub fn new(
        name: impl Into<String>,
        open: impl FnOnce() -> io::Result<Box<dyn Read + Send>> + Send + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            source: Source::Open(Box::new(open)),
        }
    }

    /// A file, by the name of its path.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        Self::new(path.display().to_string(), move || {
            Ok(Box::new(File::open(path)?))
        })
    }

    /// Bytes in memory.
    pub fn bytes(name: impl Into<String>, bytes: Vec<u8>) -> Self {
        Self::new(name, move || Ok(Box::new(io::Cursor::new(bytes))))
    }

    /// An input that is counted and never opened.
    pub fn left_out(name: impl Into<String>, reason: DropReason) -> Self {
        Self {
            name: name.into(),
            source: Source::LeftOut(reason),
        }
    }

    /// The same input with its bytes read through what `wrap` makes of them, such as a reader that counts them. One that is left out
    /// stays so, and `wrap` is not called.
    #[must_use]
    pub fn through(
        self,
        wrap: impl FnOnce(Box<dyn Read + Send>) -> Box<dyn Read + Send> + Send + 'static,
    ) -> Self {
        let source = match self.source {
            Source::Open(open) => Source::Open(Box::new(move || Ok(wrap(open()?)))),
            left_out @ Source::LeftOut(_) => left_out,
        };
        Self {
            name: self.name,
            source,
        }
    }

    /// The name, for messages.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Input").field(&self.name).finish()
    }
}

/// The inputs at a path: the file itself, or all files in the folder and the folders in it, however deep.
///
/// Files come in the order of their names within each folder, compared byte by byte, folders among them. Links to files and folders are
/// followed. [Left out](Input::left_out) and counted are files and folders whose names begin with a dot, pipes, sockets and devices in a
/// folder, and folders to which links lead again. A folder that cannot be listed is an input that fails to open.
pub fn walk(path: impl Into<PathBuf>) -> Walk {
    let path = path.into();
    Walk {
        folders: Vec::new(),
        root: Some(path),
        seen: HashSet::new(),
    }
}

/// The inputs of a folder; see [`walk`]. Holds the names of one folder for each level, and a short text for each folder.
#[derive(Debug)]
pub struct Walk {
    folders: Vec<Folder>,
    root: Option<PathBuf>,
    /// The [ids](id) of the folders that were walked.
    seen: HashSet<String>,
}

#[derive(Debug)]
struct Folder {
    path: PathBuf,
    /// Sorted so that the next name is the last.
    names: Vec<OsString>,
}

impl Iterator for Walk {
    type Item = Input;

    fn next(&mut self) -> Option<Input> {
        loop {
            let path = match self.root.take() {
                Some(root) => root,
                None => {
                    let folder = self.folders.last_mut()?;
                    let Some(name) = folder.names.pop() else {
                        self.folders.pop();
                        continue;
                    };
                    let path = folder.path.join(&name);
                    if name.as_encoded_bytes().starts_with(b".") {
                        return Some(Input::left_out(
                            path.display().to_string(),
                            DropReason::HiddenFile,
                        ));
                    }
                    path
                }
            };
            let name = path.display().to_string();
            match path.metadata() {
                Ok(metadata) if metadata.is_dir() => match self.enter(&path, &metadata) {
                    Ok(true) => {}
                    Ok(false) => return Some(Input::left_out(name, DropReason::FolderAgain)),
                    Err(error) => return Some(Input::new(name, move || Err(error))),
                },
                // One that is named may be a pipe; in a folder nobody would write to it.
                Ok(metadata) if !metadata.is_file() && !self.folders.is_empty() => {
                    return Some(Input::left_out(name, DropReason::NotAFile));
                }
                // Whether there is anything at all is found out when it is opened.
                _ => return Some(Input::file(path)),
            }
        }
    }
}

impl Walk {
    /// Goes into a folder; false when it was walked before.
    fn enter(&mut self, path: &Path, metadata: &Metadata) -> io::Result<bool> {
        let is_new = self.seen.insert(id(path, metadata));
        if is_new {
            self.folders.push(Folder::list(path)?);
        }
        Ok(is_new)
    }
}

/// By which the system knows a file or folder, whatever its name; where it tells none, the name that no link has a part in.
#[cfg(unix)]
pub(crate) fn id(_: &Path, metadata: &Metadata) -> String {
    use std::os::unix::fs::MetadataExt;
    format!("{:x}:{:x}", metadata.dev(), metadata.ino())
}

#[cfg(not(unix))]
pub(crate) fn id(path: &Path, _: &Metadata) -> String {
    name_without_links(path)
}

/// The one name that all links to a file or folder lead to.
#[cfg(any(not(unix), test))]
fn name_without_links(path: &Path) -> String {
    let name = path.canonicalize();
    name.as_deref().unwrap_or(path).display().to_string()
}

impl Folder {
    fn list(path: &Path) -> io::Result<Self> {
        let mut names = fs::read_dir(path)?
            .map(|entry| Ok(entry?.file_name()))
            .collect::<io::Result<Vec<_>>>()?;
        names.sort_unstable_by(|a, b| b.as_encoded_bytes().cmp(a.as_encoded_bytes()));
        Ok(Self {
            path: path.to_owned(),
            names,
        })
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    /// A folder in which a link leads to the folder itself would have no end.
    #[test]
    fn a_link_has_the_name_of_what_it_leads_to() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("inner");
        fs::create_dir(&inner).unwrap();
        std::os::unix::fs::symlink(folder.path(), inner.join("up")).unwrap();
        let names =
            ["", "inner/up", "inner/up/inner/up"].map(|name| name_without_links(&folder.path().join(name)));
        assert!(names.iter().all(|name| *name == names[0]), "{names:?}");
        assert_ne!(name_without_links(&inner), names[0]);
        let gone = folder.path().join("gone");
        assert_eq!(name_without_links(&gone), gone.display().to_string());
    }
}
