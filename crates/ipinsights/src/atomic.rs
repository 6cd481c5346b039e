//! Files that appear when they are complete.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

/// A file under a temporary name beside its own; dropped before [`finish`](Self::finish), it leaves nothing.
#[derive(Debug)]
pub(crate) struct AtomicFile {
    temporary: NamedTempFile,
    path: PathBuf,
}

impl AtomicFile {
    pub(crate) fn new(path: &Path) -> io::Result<Self> {
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let mut builder = tempfile::Builder::new();
        builder.prefix(".ipinsights-");
        // Readable by whom the umask allows, as files are; temporary ones are the owner's alone otherwise.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        Ok(Self {
            temporary: builder.tempfile_in(folder)?,
            path: path.to_owned(),
        })
    }

    pub(crate) fn file(&self) -> &File {
        self.temporary.as_file()
    }

    /// Gives the file its name, in one step, when its content is on the disk; the handle goes on being usable.
    pub(crate) fn finish(self) -> io::Result<File> {
        self.temporary.as_file().sync_all()?;
        self.temporary.persist(self.path).map_err(|e| e.error)
    }
}
