//! Where the bytes come from: files, folders, standard input, objects of a store; plain or gzip.

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File};
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
/// Files come in the order of their names within each folder, compared byte by byte, folders among them. Files and
/// folders whose names begin with a dot are [left out](Input::left_out) and counted. Links to files and folders are
/// followed, but for a link to a folder that it lies in. A folder that cannot be listed is an input that fails to open.
pub fn walk(path: impl Into<PathBuf>) -> Walk {
    let path = path.into();
    Walk {
        folders: Vec::new(),
        root: Some(path),
    }
}

/// The inputs of a folder; see [`walk`]. Holds the names of one folder for each level.
#[derive(Debug)]
pub struct Walk {
    folders: Vec<Folder>,
    root: Option<PathBuf>,
}

#[derive(Debug)]
struct Folder {
    path: PathBuf,
    /// The path without links, by which a link that leads back is known.
    real: PathBuf,
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
            // Whether there is anything at all is found out when it is opened.
            if !path.is_dir() {
                return Some(Input::file(path));
            }
            match Folder::list(&path) {
                Ok(folder) if self.folders.iter().any(|outer| outer.real == folder.real) => {}
                Ok(folder) => self.folders.push(folder),
                Err(error) => return Some(Input::new(path.display().to_string(), move || Err(error))),
            }
        }
    }
}

impl Folder {
    fn list(path: &Path) -> io::Result<Self> {
        let mut names = fs::read_dir(path)?
            .map(|entry| Ok(entry?.file_name()))
            .collect::<io::Result<Vec<_>>>()?;
        names.sort_unstable_by(|a, b| b.as_encoded_bytes().cmp(a.as_encoded_bytes()));
        Ok(Self {
            path: path.to_owned(),
            real: path.canonicalize()?,
            names,
        })
    }
}
