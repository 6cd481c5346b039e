//! Events as headerless CSV: `entity,ip`, one per row.

use std::io::{BufWriter, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr};

use ::csv::{ByteRecord, ReaderBuilder, Terminator};

use crate::{AccessEvent, Error};

/// How long a row may be, in bytes; what a reader buffers ahead counts, so that a little less may already be too much.
/// A quote that is never closed would otherwise take the rest of the input into memory.
const LONGEST_ROW: usize = 1024 * 1024;

/// How much of a row an error repeats, in characters.
const SHOWN: usize = 80;

/// Reads events one at a time.
///
/// The iterator ends after a failed read, and goes on with the next row after a malformed one, so that a caller may
/// either stop at the first error or collect them all.
#[derive(Debug)]
pub struct Reader<R> {
    rows: ::csv::Reader<Terminated<R>>,
    row: ByteRecord,
    /// Where the last row read begins.
    line: u64,
    failed: bool,
}

impl<R: Read> Reader<R> {
    /// A reader of `reader`, which need not be buffered.
    pub fn new(reader: R) -> Self {
        let rows = ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            // Rows end at line feeds alone, so that lines can be counted; a carriage return before goes with the
            // blanks around the address.
            .terminator(Terminator::Any(b'\n'))
            .from_reader(Terminated {
                reader,
                state: State::Reading,
                since_row: 0,
            });
        Self {
            rows,
            row: ByteRecord::new(),
            line: 0,
            failed: false,
        }
    }

    /// The line on which the row just read begins. The position that the parser gives is that of the empty lines
    /// before it, so count from the end.
    fn first_line(&self) -> u64 {
        let after = self.rows.position().line();
        let breaks: usize = self.row.iter().map(line_breaks).sum();
        // The line break after the row is outside of its fields, unless a quote swallowed it.
        after - breaks as u64 - u64::from(!self.in_open_quote())
    }

    /// Whether the row just read ran into the end of the input because of a quote that nobody closed: everywhere else
    /// the line break after a row ends it before the end is seen.
    fn in_open_quote(&self) -> bool {
        matches!(self.rows.get_ref().state, State::Ended)
    }
}

impl<R: Read> Iterator for Reader<R> {
    type Item = Result<AccessEvent, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.failed {
            self.rows.get_mut().since_row = 0;
            match self.rows.read_byte_record(&mut self.row) {
                Ok(false) => return None,
                Ok(true) if self.row.len() == 1 && self.row[0] == *b"\r" => {} // an empty line
                Ok(true) => {
                    self.line = self.first_line();
                    return Some(if self.in_open_quote() {
                        Err(Error::OpenQuote {
                            line: self.line,
                            text: shown(&self.row),
                        })
                    } else {
                        parse(&self.row, self.line)
                    });
                }
                Err(_) if self.rows.get_ref().since_row > LONGEST_ROW => {
                    self.failed = true;
                    return Some(Err(Error::TooLong {
                        after: self.line,
                        limit: LONGEST_ROW,
                    }));
                }
                Err(error) => {
                    self.failed = true;
                    return Some(Err(Error::Read {
                        line: self.line,
                        source: into_io(error),
                    }));
                }
            }
        }
        None
    }
}

fn parse(row: &ByteRecord, line: u64) -> Result<AccessEvent, Error> {
    let (Some(entity), Some(address), 2) = (row.get(0), row.get(1), row.len()) else {
        return Err(Error::FieldCount {
            line,
            found: row.len(),
            text: shown(row),
        });
    };
    let utf8 = |field| {
        std::str::from_utf8(field).map_err(|source| Error::NotUtf8 {
            line,
            text: shown(row),
            source,
        })
    };
    let (entity, address) = (utf8(entity)?, utf8(address)?.trim());
    if entity.is_empty() {
        return Err(Error::EmptyEntity {
            line,
            address: shorten(address),
        });
    }
    match address.parse::<Ipv4Addr>() {
        Ok(ip) => Ok(AccessEvent::new(entity, ip)),
        Err(_) if address.parse::<Ipv6Addr>().is_ok() => Err(Error::Ipv6 {
            line,
            text: address.to_owned(),
        }),
        Err(source) => Err(Error::Address {
            line,
            text: shorten(address),
            source,
        }),
    }
}

fn line_breaks(field: &[u8]) -> usize {
    field.iter().filter(|byte| **byte == b'\n').count()
}

/// The fields of a row with commas between, for an error.
fn shown(row: &ByteRecord) -> String {
    let fields: Vec<_> = row.iter().map(String::from_utf8_lossy).collect();
    shorten(fields.join(",").trim_end_matches(['\r', '\n']))
}

/// At most [`SHOWN`] characters, on one line.
fn shorten(text: &str) -> String {
    let mut short = String::new();
    for c in text.chars().take(SHOWN) {
        if c.is_control() {
            short.extend(c.escape_debug());
        } else {
            short.push(c);
        }
    }
    if text.chars().nth(SHOWN).is_some() {
        short.push('…');
    }
    short
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
        if self.since_row > LONGEST_ROW {
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

/// Writes events one at a time. Buffers, so call [`finish`](Writer::finish) at the end.
#[derive(Debug)]
pub struct Writer<W: Write> {
    writer: BufWriter<W>,
    /// How many lines are written; a row with line breaks in its entity has several.
    lines: u64,
}

impl<W: Write> Writer<W> {
    /// A writer to `writer`, which need not be buffered.
    pub fn new(writer: W) -> Self {
        Self {
            writer: BufWriter::new(writer),
            lines: 0,
        }
    }

    /// Writes one row.
    ///
    /// # Errors
    ///
    /// [`Error::EmptyEntity`] with the line that the row would have had; nothing of it is written.
    /// [`Error::Write`] when the underlying writer fails.
    pub fn write(&mut self, event: &AccessEvent) -> Result<(), Error> {
        let AccessEvent { entity, ip } = event;
        if entity.is_empty() {
            return Err(Error::EmptyEntity {
                line: self.lines + 1,
                address: ip.to_string(),
            });
        }
        let written = if needs_quotes(entity) {
            writeln!(self.writer, "\"{}\",{ip}", entity.replace('"', "\"\""))
        } else {
            writeln!(self.writer, "{entity},{ip}")
        };
        written.map_err(|source| Error::Write { source })?;
        self.lines += 1 + line_breaks(entity.as_bytes()) as u64;
        Ok(())
    }

    /// Writes what is still in the buffer and gives the writer back.
    ///
    /// # Errors
    ///
    /// [`Error::Write`] when the underlying writer fails.
    pub fn finish(self) -> Result<W, Error> {
        self.writer.into_inner().map_err(|error| Error::Write {
            source: error.into_error(),
        })
    }
}

/// Whether a reader would take the entity for something else. A byte order mark counts: at the start of the file it
/// would be lost.
fn needs_quotes(entity: &str) -> bool {
    entity.contains([',', '"', '\n', '\r']) || entity.starts_with('\u{feff}')
}
