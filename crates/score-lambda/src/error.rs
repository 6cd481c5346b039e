//! Why the program cannot start.

use std::path::PathBuf;

/// Why the program cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A variable is not set, or empty.
    #[error("the variable `{name}` is not set: {what}")]
    Missing {
        /// The variable.
        name: &'static str,
        /// What belongs there.
        what: &'static str,
    },
    /// Both ways to give a threshold were used.
    #[error("both `THRESHOLD` and `THRESHOLD_FILE` are set: keep one")]
    TwoThresholds,
    /// A variable's value is not what it should be.
    #[error("the variable `{name}` is `{value}`: {what}")]
    Invalid {
        /// The variable.
        name: &'static str,
        /// Its value.
        value: String,
        /// What is wrong with it.
        what: String,
    },
    /// A text is neither a number nor a threshold.
    #[error("a threshold is a finite number, or an object with a finite number as `value`")]
    Threshold,
    /// The threshold's file cannot be read.
    #[error("cannot read the threshold in `{}`", path.display())]
    ThresholdFile {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The local server's port cannot be had.
    #[error("cannot listen on 127.0.0.1:{port}: is another server there? choose another `PORT`")]
    Listen {
        /// The port asked for.
        port: u16,
        /// What the system said.
        source: std::io::Error,
    },
    /// The server stopped.
    #[error("the server stopped")]
    Serve {
        /// What went wrong.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}
