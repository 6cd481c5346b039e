use std::io;
use std::net::AddrParseError;

/// Why a CSV did not become events, or events not a CSV.
///
/// Lines count from one; a row that spans several has the number of its first.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A row does not end. The reader stops here.
    #[error(
        "the row after line {after} is longer than {limit} bytes; a quote may be open that nobody closes"
    )]
    TooLong {
        /// The line of the last row that was read; 0 when there was none.
        after: u64,
        /// The limit, in bytes.
        limit: usize,
    },
    /// A row has not exactly two fields.
    #[error(
        "line {line}: expected an entity and an IPv4 address, found {found} field{} in `{text}`{}",
        if *found == 1 { "" } else { "s" },
        if *found > 2 { "; a value with a comma in it needs quotes" } else { "" },
    )]
    FieldCount {
        /// Where the row begins.
        line: u64,
        /// How many fields the row has.
        found: usize,
        /// The row, shortened when long.
        text: String,
    },
    /// A quote is opened and the file ends before it is closed.
    #[error("line {line}: the quote in `{text}` is never closed; a quote inside of quotes is written twice")]
    OpenQuote {
        /// Where the row with the quote begins.
        line: u64,
        /// From there on, without the quote and shortened when long.
        text: String,
    },
    /// The first field is empty.
    #[error("line {line}: the entity before `{address}` is empty")]
    EmptyEntity {
        /// Where the row begins.
        line: u64,
        /// The rest of the row, shortened when long.
        address: String,
    },
    /// The second field is not an IPv4 address.
    #[error(
        "line {line}: `{text}` is not an IPv4 address{}",
        if is_header(*line, text) { "; the first line must not be a header" } else { "" },
    )]
    Address {
        /// Where the row begins.
        line: u64,
        /// The field, shortened when long.
        text: String,
        /// What the address parser says.
        source: AddrParseError,
    },
    /// The second field is an IPv6 address, which the algorithm does not know.
    #[error("line {line}: `{text}` is an IPv6 address, and only IPv4 is known; leave the row out")]
    Ipv6 {
        /// Where the row begins.
        line: u64,
        /// The field.
        text: String,
    },
    /// A field is not UTF-8.
    #[error("line {line}: `{text}` is not UTF-8; convert the file first")]
    NotUtf8 {
        /// Where the row begins.
        line: u64,
        /// The row with `\u{FFFD}` in place of the bad bytes, shortened when long.
        text: String,
        /// Where in the field it goes wrong.
        source: std::str::Utf8Error,
    },
    /// The reader failed.
    #[error("could not read on after line {line}")]
    Read {
        /// The line on which the last row read begins; 0 when there is none.
        line: u64,
        /// What the reader says.
        source: io::Error,
    },
    /// The writer failed.
    #[error("could not write the events")]
    Write {
        /// What the writer says.
        source: io::Error,
    },
}

impl Error {
    /// The line of the row at fault, counted from one; nothing when reading or writing itself failed, or a row had no end.
    pub fn line(&self) -> Option<u64> {
        match self {
            Self::FieldCount { line, .. }
            | Self::OpenQuote { line, .. }
            | Self::EmptyEntity { line, .. }
            | Self::Address { line, .. }
            | Self::Ipv6 { line, .. }
            | Self::NotUtf8 { line, .. } => Some(*line),
            Self::TooLong { .. } | Self::Read { .. } | Self::Write { .. } => None,
        }
    }
}

/// Whether the text is more likely the name of a column than a bad address.
fn is_header(line: u64, text: &str) -> bool {
    line == 1 && !text.is_empty() && !text.contains(|c: char| c.is_ascii_digit())
}
