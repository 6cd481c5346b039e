//! The exit codes: part of the interface, and listed by `ipinsights --help`.

use access_events::shape::ShapeError;
use ipinsights::tuning;

/// How the command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitCode {
    /// It did what was asked.
    Success = 0,
    /// Something that has no code of its own.
    Failure = 1,
    /// The arguments or settings cannot be used; clap ends with the same code.
    Usage = 2,
    /// The data cannot: a database, a CSV, a country, too few networks.
    Data = 3,
    /// AWS refused: no region, no credentials, no permission.
    Access = 4,
    /// The execution, its training job or its endpoint failed, or took too long.
    Run = 5,
    /// The local server could not start: the port or the folder is in use.
    Server = 6,
    /// A file, or an object of S3, could not be read or written.
    File = 7,
    /// A service could not be reached.
    Unreachable = 8,
    /// The server of the databases knows no such account id with this license key (401).
    KeyRefused = 9,
    /// The license key may not download this edition (403).
    KeyForbids = 10,
    /// No more downloads for now (429).
    LimitReached = 11,
    /// The server of the databases failed (5xx).
    ServerFailed = 12,
    /// `fetch --check` found a database that is not the latest.
    Outdated = 13,
    /// A sample drawn again is not the one of its manifest.
    Differs = 14,
    /// Ctrl-C.
    Interrupted = 130,
}

/// The list for `--help`.
pub const HELP: &str = "Exit codes: 0 done, 1 other failure, 2 usage or settings, 3 data (database, rows, countries), \
4 AWS access (region, credentials, permission), 5 the run failed (execution, training job, endpoint), 6 the local server \
could not start, 7 a file or object could not be read or written, 8 a service could not be reached; of fetch: 9 account id or \
license key refused (401), 10 edition not allowed (403), 11 limit of downloads reached (429), 12 the server failed (5xx), 13 --check \
found an outdated database; 14 a sample drawn again differs from its manifest, 130 interrupted";

impl ExitCode {
    /// The code for an error: that of the first cause that has one.
    pub fn of(error: &anyhow::Error) -> Self {
        error.chain().find_map(code).unwrap_or(Self::Failure)
    }
}

fn code(error: &(dyn std::error::Error + 'static)) -> Option<ExitCode> {
    if let Some(error) = error.downcast_ref::<Failure>() {
        return Some(error.code);
    }
    if let Some(error) = error.downcast_ref::<pipeline::Error>() {
        return of_pipeline(error);
    }
    if let Some(error) = error.downcast_ref::<geodata::Error>() {
        return Some(match error {
            geodata::Error::Open { .. }
            | geodata::Error::OpenManifest { .. }
            | geodata::Error::Read { .. }
            | geodata::Error::Changed { .. }
            | geodata::Error::Write { .. } => ExitCode::File,
            geodata::Error::Spec(_) => ExitCode::Usage,
            _ => ExitCode::Data,
        });
    }
    if let Some(error) = error.downcast_ref::<ipinsights_client::Error>() {
        return Some(of_client(error));
    }
    if let Some(error) = error.downcast_ref::<geodata::download::Error>() {
        return Some(of_download(error));
    }
    if error.is::<geodata::InvalidSpec>() {
        return Some(ExitCode::Usage);
    }
    if error.is::<aws_local::Error>() {
        return Some(ExitCode::Server);
    }
    if let Some(error) = error.downcast_ref::<access_events::Error>() {
        return Some(match error {
            access_events::Error::Read { .. } | access_events::Error::Write { .. } => ExitCode::File,
            _ => ExitCode::Data,
        });
    }
    if error.is::<ipinsights::TrainError>() || error.is::<ipinsights::ArchiveError>() {
        return Some(ExitCode::Data);
    }
    if let Some(error) = error.downcast_ref::<ShapeError>() {
        return Some(match error {
            ShapeError::Spill { .. } | ShapeError::Restore { .. } => ExitCode::File,
            _ => ExitCode::Usage,
        });
    }
    if error.is::<ipinsights::InvalidHyperparameters>() {
        return Some(ExitCode::Usage);
    }
    if error.is::<tuning::InvalidSpace>()
        || error.is::<tuning::InvalidSettings>()
        || error.is::<tuning::ParseRangeError>()
    {
        return Some(ExitCode::Usage);
    }
    if let Some(error) = error.downcast_ref::<tuning::JournalError>() {
        use tuning::JournalError as E;
        return Some(match error {
            E::Exists { .. } | E::Other { .. } => ExitCode::Usage,
            E::Damaged { .. } => ExitCode::Data,
            _ => ExitCode::File,
        });
    }
    let error = error.downcast_ref::<std::io::Error>()?;
    // A reader of something else than a file has its own error in it.
    let inner = error.get_ref().and_then(|inner| code(inner));
    Some(inner.unwrap_or(ExitCode::File))
}

fn of_pipeline(error: &pipeline::Error) -> Option<ExitCode> {
    use pipeline::Error as E;
    Some(match error {
        E::Missing { .. }
        | E::Setting { .. }
        | E::S3Address { .. }
        | E::QueueAddress { .. }
        | E::OtherRegion { .. } => ExitCode::Usage,
        E::NoBucket { .. } | E::ObjectGone { .. } | E::ObjectArchived { .. } | E::ObjectChanged { .. } => {
            ExitCode::File
        }
        E::ObjectCut { .. } => ExitCode::Unreachable,
        E::S3 { source, .. } | E::Queue { source, .. } => of_client(source),
        E::NoRegion | E::NoCredentials { .. } => ExitCode::Access,
        E::Client(error) => of_client(error),
        E::Execution { .. } | E::Unfinished { .. } => ExitCode::Run,
        E::Interrupted => ExitCode::Interrupted,
        E::Calibration(_) | E::Rows { .. } | E::RowFile { .. } => ExitCode::Data,
        _ => return None,
    })
}

fn of_download(error: &geodata::download::Error) -> ExitCode {
    use geodata::download::Error as E;
    match error {
        E::Settings(_) | E::NotFound { .. } => ExitCode::Usage,
        E::Unauthorized { .. } => ExitCode::KeyRefused,
        E::Forbidden { .. } => ExitCode::KeyForbids,
        E::LimitReached { .. } => ExitCode::LimitReached,
        E::ServerFailed { .. } => ExitCode::ServerFailed,
        E::Unreachable { .. } => ExitCode::Unreachable,
        E::NoChecksum { .. } | E::Checksum { .. } | E::TooLarge { .. } | E::Archive { .. } => ExitCode::Data,
        E::Read { .. } | E::Write { .. } | E::Compare { .. } => ExitCode::File,
        // A redirection that is not followed, a status without a meaning.
        _ => ExitCode::Failure,
    }
}

fn of_client(error: &ipinsights_client::Error) -> ExitCode {
    use ipinsights_client::Error as E;
    match error {
        E::NoCredentials { .. } | E::CredentialsRefused(_) | E::AccessDenied(_) => ExitCode::Access,
        E::NotReached { .. } => ExitCode::Unreachable,
        // Said here, so that a cause further down is not taken for the error.
        _ => ExitCode::Failure,
    }
}

/// An error of the command itself, with its code.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// How the command ends.
    pub code: ExitCode,
    /// What, where and what to do.
    pub message: String,
    /// Why, where something else is the reason.
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Failure {
    /// A usage error.
    pub fn usage(message: impl Into<String>) -> Self {
        Self {
            code: ExitCode::Usage,
            message: message.into(),
            source: None,
        }
    }

    /// Data that cannot be used.
    pub fn data(message: impl Into<String>) -> Self {
        Self {
            code: ExitCode::Data,
            ..Self::usage(message)
        }
    }

    /// A file that cannot be read.
    pub fn file(message: impl Into<String>) -> Self {
        Self {
            code: ExitCode::File,
            ..Self::usage(message)
        }
    }

    /// Something that is not as its manifest says.
    pub fn differs(message: impl Into<String>) -> Self {
        Self {
            code: ExitCode::Differs,
            ..Self::usage(message)
        }
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code as u8)
    }
}
