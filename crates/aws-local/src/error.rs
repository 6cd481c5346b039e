//! Why a server does not start.

use std::{io, net::SocketAddr, path::PathBuf};

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Someone else listens there.
    #[error("port {port} is in use; choose another, or 0 for any free one")]
    PortInUse {
        /// The port that was asked for.
        port: u16,
    },
    /// The address cannot be listened on for another reason, such as a port below 1024.
    #[error("cannot listen on `{address}`")]
    Listen {
        /// The address that was asked for.
        address: SocketAddr,
        /// What the operating system says.
        source: io::Error,
    },
    /// Other machines can reach the address, which has to be asked for.
    #[error(
        "`{address}` can be reached from other machines, which could do everything here; allow remote clients, or listen on 127.0.0.1"
    )]
    Remote {
        /// The address that was asked for.
        address: SocketAddr,
    },
    /// Another server has the data folder; it belongs to one process at a time.
    #[error("the data folder `{}` is in use by another server; stop that one or choose another folder", folder.display())]
    FolderInUse {
        /// The folder.
        folder: PathBuf,
    },
    /// The data folder cannot be made or written to.
    #[error("cannot write to the data folder `{}`", folder.display())]
    FolderNotWritable {
        /// The folder.
        folder: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// The data folder belongs to another region: the names of what it holds carry that one.
    #[error(
        "the data folder `{}` belongs to the region `{region}`, not to `{asked}`; use `{region}`, or another folder",
        folder.display()
    )]
    FolderOfAnotherRegion {
        /// The folder.
        folder: PathBuf,
        /// The region it was first used with.
        region: String,
        /// The region that was asked for.
        asked: String,
    },
    /// The data folder holds something that no server wrote, or that has been damaged.
    #[error("cannot read the data folder `{}`", folder.display())]
    FolderNotReadable {
        /// The folder.
        folder: PathBuf,
        /// What is wrong, with the file's name where it is known.
        source: io::Error,
    },
}

/// What a service answers in place of a result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
#[non_exhaustive]
pub struct OperationError {
    /// The error's type, such as `ExecutionDoesNotExist`.
    pub code: String,
    /// Its message.
    pub message: String,
}
