//! Rows of delimited text, one in memory at a time, each with its line: what the crate's own CSV and that of others share.

use std::io::Read;

use ::csv::{ByteRecord, ReaderBuilder, Terminator};

/// Reads rows. After a failure there are no more.
#[derive(Debug)]
pub(crate) struct Rows<R> {
    rows: ::csv::Reader<Terminated<R>>,
    row: ByteRecord,
    /// The line after the row read last.
    after: u64,
    failed: bool,
}

/// One row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row<'a> {
    /// The line on which it begins, one-based.
    pub(crate) line: u64,
    pub(crate) fields: &'a ByteRecord,
    /// Whether it ran into the end of the input because of a quote that nobody closed.
    pub(crate) open_quote: bool,
}

/// Why there is no next row.
#[derive(Debug)]
pub(crate) enum RowError {
    /// The row is longer than the limit.
    TooLong,
    /// The reader failed.
    Io(std::io::Error),
}

impl<R: Read> Rows<R> {
    /// A reader of `reader`, which need not be buffered. No row may be longer than `limit` bytes; what is buffered ahead
    /// counts, so that a little less may already be too much. A quote that is never closed would otherwise take the
    /// rest of the input into memory.
    pub(crate) fn new(reader: R, delimiter: u8, quoting: bool, limit: usize) -> Self {
        let rows = ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .delimiter(delimiter)
            .quoting(quoting)
            // Rows end at line feeds alone, so that lines can be counted; a carriage return before is part of the
            // last field.
            .terminator(Terminator::Any(b'\n'))
            .from_reader(Terminated {
                reader,
                state: State::Reading,
                since_row: 0,
                limit,
            });
        Self {
            rows,
            row: ByteRecord::new(),
            after: 1,
            failed: false,
        }
    }

    /// The next row that is no empty line.
    pub(crate) fn next(&mut self) -> Option<Result<Row<'_>, RowError>> {
        while !self.failed {
            self.rows.get_mut().since_row = 0;
            match self.rows.read_byte_record(&mut self.row) {
                Ok(false) => return None,
                Ok(true) if self.row.len() == 1 && self.row[0] == *b"\r" => {} // an empty line
                Ok(true) => {
                    let line = self.first_line();
                    return Some(Ok(Row {
                        line,
                        fields: &self.row,
                        open_quote: self.in_open_quote(),
                    }));
                }
                Err(error) => {
                    self.failed = true;
                    let input = self.rows.get_ref();
                    return Some(Err(if input.since_row > input.limit {
                        RowError::TooLong
                    } else {
                        RowError::Io(into_io(error))
                    }));
                }
            }
        }
        None
    }

    /// The line on which the row just read begins. The position that the parser gives is that of the empty lines
    /// before it, so count from the end.
    fn first_line(&mut self) -> u64 {
        let after = self.rows.position().line();
        let before = std::mem::replace(&mut self.after, after);
        let open_quote = self.in_open_quote();
        if after == before + 1 && !open_quote {
            return before; // no empty lines, no line breaks in fields
        }
        let breaks: usize = self.row.iter().map(line_breaks).sum();
        // The line break after the row is outside of its fields, unless a quote swallowed it.
        after - breaks as u64 - u64::from(!open_quote)
    }

    /// Everywhere but in an open quote the line break after a row ends it before the end is seen.
    fn in_open_quote(&self) -> bool {
        matches!(self.rows.get_ref().state, State::Ended)
    }
}

pub(crate) fn line_breaks(field: &[u8]) -> usize {
    memchr::memchr_iter(b'\n', field).count()
}

fn into_io(error: ::csv::Error) -> std::io::Error {
    match error.into_kind() {
        ::csv::ErrorKind::Io(source) => source,
        other => std::io::Error::other(format!("{other:?}")),
    }
}

/// A reader with one line break more at its end, so that the last row ends in one like all others.
#[derive(Debug)]
struct Terminated<R> {
    reader: R,
    state: State,
    /// Bytes read since the last row was asked for.
    since_row: usize,
    limit: usize,
}

#[derive(Debug)]
enum State {
    Reading,
    /// The line break is given out, the end is not yet reported.
    Terminated,
    Ended,
}

impl<R: Read> Read for Terminated<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        if !matches!(self.state, State::Reading) {
            self.state = State::Ended;
            return Ok(0);
        }
        if self.since_row > self.limit {
            return Err(std::io::Error::other("the row is too long"));
        }
        match self.reader.read(buffer)? {
            0 => {
                buffer[0] = b'\n';
                self.state = State::Terminated;
                Ok(1)
            }
            n => {
                self.since_row += n;
                Ok(n)
            }
        }
    }
}
