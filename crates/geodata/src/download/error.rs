use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::{Edition, Host, InvalidSettings};
use crate::Fault;

/// Why a database could not be fetched. Nothing of it is left behind, and what was there before is as it was.
///
/// No variant has anything of account id, license key, a proxy's password, or of an address that is a secret by itself.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The settings are incomplete or cannot be used.
    #[error(transparent)]
    Settings(#[from] InvalidSettings),
    /// A file with settings could not be read.
    #[error("could not read {what}")]
    Read {
        /// Which one, as in a sentence.
        what: String,
        /// What the system says.
        source: io::Error,
    },
    /// 401: nobody has this account id with this key.
    #[error(
        "`{host}` does not accept the account id and the license key (401); compare both with those in your account, and \
         see that the key is active"
    )]
    Unauthorized {
        /// Who says so.
        host: Host,
    },
    /// 403: the key is right, and not for this.
    #[error(
        "`{host}` does not let this account download `{edition}` (403); see in your account whether the edition is \
         subscribed to, its licence accepted, and the key allowed to download"
    )]
    Forbidden {
        /// Who says so.
        host: Host,
        /// What was asked for.
        edition: Edition,
    },
    /// 404: there is no such edition.
    #[error("`{host}` has no `{edition}` (404); see in your account which editions there are")]
    NotFound {
        /// Who says so.
        host: Host,
        /// What was asked for.
        edition: Edition,
    },
    /// 429: the day's downloads are used up, or requests came too fast.
    #[error("`{host}` takes no more downloads for now (429); {}", later(*retry_after))]
    LimitReached {
        /// Who says so.
        host: Host,
        /// When to come again, if that was said.
        retry_after: Option<Duration>,
    },
    /// 5xx, or a refusal by the storage that the server sends downloads to.
    #[error("`{host}` failed {} with {status}; try again later", times(*attempts))]
    ServerFailed {
        /// Who failed.
        host: Host,
        /// The HTTP status of the last time.
        status: u16,
        /// How often it was asked.
        attempts: u32,
        /// When it says that it may be asked again.
        retry_after: Option<Duration>,
    },
    /// No answer, or one that broke off.
    #[error("no complete answer came from `{host}`, asked {}", times(*attempts))]
    Unreachable {
        /// Who should have answered.
        host: Host,
        /// How often it was asked.
        attempts: u32,
        /// What happened the last time.
        source: Fault,
    },
    /// A redirection that is not followed.
    #[error("`{host}` redirects {problem}")]
    Redirect {
        /// Who redirects.
        host: Host,
        /// Why it is not followed.
        problem: &'static str,
    },
    /// An answer that the protocol does not have.
    #[error("`{host}` answered with {status}, which has no meaning here")]
    Unexpected {
        /// Who answered.
        host: Host,
        /// The HTTP status.
        status: u16,
    },
    /// The checksum that is offered beside the download is none.
    #[error("what `{host}` offers as the SHA-256 of `{edition}` is none")]
    NoChecksum {
        /// Who offers it.
        host: Host,
        /// What was asked for.
        edition: Edition,
    },
    /// The download is not what its checksum says.
    #[error("`{edition}` arrived with SHA-256 {found}, and {expected} was announced")]
    Checksum {
        /// What was asked for.
        edition: Edition,
        /// In hexadecimal.
        expected: String,
        /// In hexadecimal.
        found: String,
    },
    /// More bytes than any database has.
    #[error("`{edition}` is larger than {limit} bytes")]
    TooLarge {
        /// What was asked for.
        edition: Edition,
        /// The most that is read.
        limit: u64,
    },
    /// The archive is not what MaxMind packs.
    #[error("the archive of `{edition}` cannot be used")]
    Archive {
        /// What was asked for.
        edition: Edition,
        /// What is wrong with it.
        source: Fault,
    },
    /// A file or folder could not be written.
    #[error("could not write `{}`", path.display())]
    Write {
        /// What could not be written.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// What is there already could not be read.
    #[error("could not read `{}`", path.display())]
    Compare {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl Error {
    /// Whether the same request may succeed a little later.
    pub(super) fn passes(&self) -> bool {
        matches!(
            self,
            Self::LimitReached { .. } | Self::ServerFailed { .. } | Self::Unreachable { .. }
        )
    }

    /// The pause that the server asks for.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::LimitReached { retry_after, .. } | Self::ServerFailed { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// The same after so many attempts.
    pub(super) fn after(mut self, made: u32) -> Self {
        if let Self::ServerFailed { attempts, .. } | Self::Unreachable { attempts, .. } = &mut self {
            *attempts = made;
        }
        self
    }
}

fn times(attempts: u32) -> String {
    match attempts {
        1 => "once".to_owned(),
        2 => "twice".to_owned(),
        more => format!("{more} times"),
    }
}

fn later(retry_after: Option<Duration>) -> String {
    let Some(wait) = retry_after else {
        return "the limit is counted by the day: try again tomorrow".to_owned();
    };
    let seconds = wait.as_secs();
    let (number, unit) = match seconds {
        0..120 => (seconds, "seconds"),
        120..7200 => (seconds.div_ceil(60), "minutes"),
        _ => (seconds.div_ceil(3600), "hours"),
    };
    format!("try again in {number} {unit}")
}
