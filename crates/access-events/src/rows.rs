//! Rows of delimited text, one in memory at a time, each with its line: what the crate's own CSV and that of others share.

use std::collections::VecDeque;
use std::io::Read;

use ::csv::{ByteRecord, ReaderBuilder, Terminator};

/// In how many times the limit the end of a quote is looked for in a line that is too long.
const FARTHEST_QUOTE: usize = 16;

/// How many bytes it takes to know a byte order mark, and to have one after it: nothing after it would be taken for the end.
const BEGINNING: u64 = 4;

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
    /// Whether it is a line longer than the limit, and this is its beginning.
    pub(crate) is_cut: bool,
}

/// Why there is no next row.
#[derive(Debug)]
pub(crate) enum RowError {
    /// The row is longer than the limit, and where it ends cannot be told.
    TooLong,
    /// The reader failed.
    Io(std::io::Error),
}

impl<R: Read> Rows<R> {
    /// A reader of `reader`, which need not be buffered. No row may be longer than `limit` bytes; what is buffered ahead
    /// counts, so that a little less may already be too much. A quote that is never closed would otherwise take the
    /// rest of the input into memory. A line that is too long, and at whose end no quote is open, is cut.
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
                state: State::Beginning,
                since_row: 0,
                limit,
                quoting,
                line: 1,
                is_full: false,
                full_line: 0,
                row_line: 1,
                quote: false,
                ahead: Vec::new(),
                cut: VecDeque::new(),
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
            let line = self.rows.position().line();
            self.rows.get_mut().begin_row(line);
            match self.rows.read_byte_record(&mut self.row) {
                Ok(false) => return None,
                Ok(true) if self.row.len() == 1 && self.row[0] == *b"\r" => {} // an empty line
                Ok(true) => {
                    let line = self.first_line();
                    return Some(Ok(Row {
                        line,
                        is_cut: self.rows.get_mut().is_cut(line),
                        open_quote: self.in_open_quote(),
                        fields: &self.row,
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
    /// Bytes read since the last row was asked for, but for empty lines before it.
    since_row: usize,
    limit: usize,
    quoting: bool,
    /// The line of the byte read last, one-based.
    line: u64,
    /// Whether there is anything on that line.
    is_full: bool,
    /// The last line before it with anything on it; 0 when there is none.
    full_line: u64,
    /// The line of the row asked for, or of the first empty line before it.
    row_line: u64,
    /// Whether the quotes on the line are of an odd number.
    quote: bool,
    /// What comes before the reader's bytes.
    ahead: Vec<u8>,
    /// The lines that were cut and not yet given out as rows.
    cut: VecDeque<u64>,
}

#[derive(Debug)]
enum State {
    /// Nothing is read. A byte order mark is known as one only as a whole.
    Beginning,
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
        match self.state {
            State::Beginning => {
                self.state = State::Reading;
                self.reader
                    .by_ref()
                    .take(BEGINNING)
                    .read_to_end(&mut self.ahead)?;
            }
            State::Reading => {}
            State::Terminated | State::Ended => {
                self.state = State::Ended;
                return Ok(0);
            }
        }
        if self.since_row > self.limit && !self.cut_line()? {
            return Err(std::io::Error::other("the row is too long"));
        }
        let read = if self.ahead.is_empty() {
            self.reader.read(buffer)?
        } else {
            let read = self.ahead.len().min(buffer.len());
            buffer[..read].copy_from_slice(&self.ahead[..read]);
            self.ahead.drain(..read);
            read
        };
        if read == 0 {
            buffer[0] = b'\n';
            self.state = State::Terminated;
            return Ok(1);
        }
        self.note(&buffer[..read]);
        Ok(read)
    }
}

impl<R: Read> Terminated<R> {
    /// A row is asked for that begins on this line, or after empty lines.
    fn begin_row(&mut self, line: u64) {
        self.since_row = 0;
        self.row_line = line;
    }

    fn is_cut(&mut self, line: u64) -> bool {
        self.cut.pop_front_if(|cut| *cut <= line).is_some()
    }

    /// Takes note of bytes that are given out.
    fn note(&mut self, bytes: &[u8]) {
        let is_full = |byte: &u8| !matches!(byte, b'\n' | b'\r');
        let empty = bytes.iter().position(is_full).unwrap_or(bytes.len());
        self.since_row += bytes.len() - if self.since_row == 0 { empty } else { 0 };
        let mut line = bytes;
        if let Some(last) = memchr::memrchr(b'\n', bytes) {
            let full = bytes[..last].iter().rposition(is_full);
            let before = line_breaks(&bytes[..full.unwrap_or_default()]) as u64;
            if full.is_some() || self.is_full {
                self.full_line = self.line + before;
            }
            self.line += before + line_breaks(&bytes[full.unwrap_or_default()..=last]) as u64;
            (self.quote, self.is_full) = (false, false);
            line = &bytes[last + 1..];
        }
        self.quote ^= self.quoting && has_odd_quotes(line);
        self.is_full |= line.iter().any(is_full);
    }

    /// Goes over the rest of the line, where the row began on it. False where the row began before, or goes on after it because of an open
    /// quote.
    fn cut_line(&mut self) -> std::io::Result<bool> {
        if self.full_line >= self.row_line {
            return Ok(false);
        }
        let mut quote = self.quote;
        let mut quoted = 0;
        let rest = loop {
            let mut chunk = std::mem::take(&mut self.ahead);
            if chunk.is_empty() {
                chunk.resize(8 * 1024, 0);
                let read = self.reader.read(&mut chunk)?;
                chunk.truncate(read);
            }
            let end = memchr::memchr(b'\n', &chunk);
            quote ^= self.quoting && has_odd_quotes(&chunk[..end.unwrap_or(chunk.len())]);
            match end {
                Some(end) => break chunk.split_off(end),
                None if chunk.is_empty() => break chunk,
                None => quoted = if quote { quoted + chunk.len() } else { 0 },
            }
            if quoted > FARTHEST_QUOTE * self.limit {
                return Ok(false);
            }
        };
        if quote {
            return Ok(false);
        }
        // What is given out of the row may have an open quote.
        self.ahead.extend(self.quote.then_some(b'"'));
        self.ahead.extend(rest);
        self.since_row = 0;
        self.cut.push_back(self.line);
        Ok(true)
    }
}

fn has_odd_quotes(bytes: &[u8]) -> bool {
    memchr::memchr_iter(b'"', bytes).count() % 2 == 1
}
