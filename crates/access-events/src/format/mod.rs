//! The sources: how a log's bytes become [`Sighting`]s.
//!
//! A [`Format`] reads one stream of decompressed bytes, record by record, and tells a [`Sink`] what it finds. It knows
//! nothing of files, compression, policies and threads; [`extract`](crate::extract) puts these around it.

mod cloudtrail;
pub mod csv;
pub mod flow_log;
mod guardduty;
pub(crate) mod guess;
pub(crate) mod json;
pub mod json_lines;
mod lines;
mod ocsf;
mod time;
pub mod web_log;

use std::fmt;
use std::io::{self, BufRead};

pub use cloudtrail::CloudTrail;
pub use csv::Csv;
pub use flow_log::FlowLog;
pub use guardduty::GuardDuty;
pub use json_lines::JsonLines;
pub use ocsf::Ocsf;
pub use time::{TimeFormat, UnknownTimeFormat};
pub use web_log::WebLog;

use crate::report::DropReason;
use crate::sighting::Sighting;

/// How long a single record may be unless told otherwise, in bytes. A record is in memory as a whole; anything longer
/// is malformed.
pub const RECORD_LIMIT: usize = 16 * 1024 * 1024;

/// How long a line may be unless told otherwise, in bytes, in the formats whose records are lines.
pub const LINE_LIMIT: usize = 1024 * 1024;

/// A kind of log.
pub trait Format: Send + Sync {
    /// The name that users give it, such as `cloudtrail`.
    fn name(&self) -> &'static str;

    /// Reads `input` to its end and tells `sink` of every record.
    ///
    /// For each record, in this order: [`Sink::record`] once; then any number of [`Sink::sighting`] and
    /// [`Sink::dropped`], at least one of them, or [`Sink::malformed`] once. An input with nothing in it has no
    /// records and is no error.
    ///
    /// # Errors
    ///
    /// [`ReadError::Io`] when `input` fails; whole records before that place have been told. [`ReadError::Stopped`]
    /// when the sink asks for it.
    fn read(&self, input: &mut dyn BufRead, sink: &mut dyn Sink) -> Result<(), ReadError>;

    /// Whether an input is left out for its name alone, without being opened.
    fn leaves_out(&self, _name: &str) -> Option<DropReason> {
        None
    }
}

/// What a [`Format`] tells of an input. Calls after [`record`](Self::record) are about that record.
pub trait Sink {
    /// The next record begins. Numbers are one-based: the first call is for record 1.
    fn record(&mut self);

    /// The record tells of a use. Must not be called again after it returned [`Stopped`].
    fn sighting(&mut self, sighting: Sighting<'_>) -> Result<(), Stopped>;

    /// The record, or one use in it, gives nothing, and this is why.
    fn dropped(&mut self, reason: DropReason);

    /// The record cannot be understood. The format goes on with the next one unless told to stop.
    fn malformed(&mut self, fault: Malformed) -> Result<(), Stopped>;
}

/// The sink wants no more; it knows why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopped;

/// Why a [`Format`] did not come to the end of its input.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The input failed.
    #[error("could not read on")]
    Io(#[from] io::Error),
    /// The sink asked to stop.
    #[error("stopped")]
    Stopped,
}

impl From<Stopped> for ReadError {
    fn from(Stopped: Stopped) -> Self {
        Self::Stopped
    }
}

/// What is wrong with a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct Malformed {
    /// Where the record begins.
    pub place: Place,
    /// What is wrong.
    pub problem: Problem,
    /// Whether records after it may have been passed over, since it could not be told where they begin.
    pub rest_lost: bool,
}

/// Where a record begins, in the decompressed input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Bytes before it.
    Byte(u64),
    /// Its line, one-based.
    Line(u64),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Byte(byte) => write!(f, "from byte {byte}"),
            Self::Line(line) => write!(f, "line {line}"),
        }
    }
}

/// What may be wrong with a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// It does not end within the limit.
    #[error("it is longer than {limit} bytes")]
    TooLong {
        /// The limit, in bytes.
        limit: usize,
    },
    /// Its brackets are nested too deep.
    #[error("it is nested deeper than {limit} levels")]
    TooDeep {
        /// The limit, in brackets.
        limit: u32,
    },
    /// The input ends inside of it.
    #[error("the input ends inside of it")]
    EndsEarly,
    /// It is not JSON, or not of the shape that the format has.
    #[error("{0}")]
    Json(String),
    /// It is not a line as the format has them.
    #[error("{0}")]
    Line(String),
    /// It is not UTF-8.
    #[error("it is not UTF-8")]
    NotUtf8,
    /// The input is something that is not read at all.
    #[error("this is {0}")]
    Foreign(&'static str),
}

/// The format of an input, by its first decompressed bytes; nothing where it is not certain. Some 64 kB are enough.
///
/// Certain are flow logs and web logs by the form of their first line, and CloudTrail, GuardDuty and OCSF by the members that only
/// their records have.
pub fn guess(first: &[u8]) -> Option<std::sync::Arc<dyn Format>> {
    guess::line_format(first).or_else(|| guess::json_format(first))
}
