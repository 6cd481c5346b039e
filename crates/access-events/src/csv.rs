//! Events as headerless CSV: `entity,ip`, one per row.

use std::io::{BufWriter, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr};

use ::csv::ByteRecord;

use crate::rows::{Row, RowError, Rows, line_breaks};
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
    rows: Rows<R>,
    /// Where the last row read begins.
    line: u64,
}

impl<R: Read> Reader<R> {
    /// A reader of `reader`, which need not be buffered.
    pub fn new(reader: R) -> Self {
        Self {
            rows: Rows::new(reader, b',', true, LONGEST_ROW),
            line: 0,
        }
    }
}

impl<R: Read> Iterator for Reader<R> {
    type Item = Result<AccessEvent, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read(parse)
    }
}

/// Reads rows one at a time whose address may be anything, such as IPv6 or a name: what is to be said of such a row is for the
/// caller to decide. Otherwise as [`Reader`].
///
/// ```
/// use access_events::csv::TextReader;
///
/// let rows = TextReader::new("ana,192.0.2.1\nben, 2001:db8::1\n".as_bytes());
/// let rows: Vec<(String, String)> = rows.collect::<Result<_, _>>()?;
/// assert_eq!(rows[1], ("ben".to_owned(), "2001:db8::1".to_owned()));
/// # Ok::<(), access_events::Error>(())
/// ```
#[derive(Debug)]
pub struct TextReader<R>(Reader<R>);

impl<R: Read> TextReader<R> {
    /// A reader of `reader`, which need not be buffered.
    pub fn new(reader: R) -> Self {
        Self(Reader::new(reader))
    }
}

impl<R: Read> Iterator for TextReader<R> {
    /// Entity and address; no blanks around the address.
    type Item = Result<(String, String), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.read(|row, line| {
            let (entity, address) = texts(row, line)?;
            Ok((entity.to_owned(), address.to_owned()))
        })
    }
}

impl<R: Read> Reader<R> {
    fn read<T>(&mut self, parse: impl Fn(&ByteRecord, u64) -> Result<T, Error>) -> Option<Result<T, Error>> {
        Some(match self.rows.next()? {
            Ok(Row {
                line,
                fields,
                open_quote,
                is_cut,
            }) => {
                let after = std::mem::replace(&mut self.line, line);
                if is_cut {
                    Err(Error::TooLong {
                        after,
                        limit: LONGEST_ROW,
                    })
                } else if open_quote {
                    Err(Error::OpenQuote {
                        line,
                        text: shown(fields),
                    })
                } else {
                    parse(fields, line)
                }
            }
            Err(RowError::TooLong) => Err(Error::TooLong {
                after: self.line,
                limit: LONGEST_ROW,
            }),
            Err(RowError::Io(source)) => Err(Error::Read {
                line: self.line,
                source,
            }),
        })
    }
}

/// Entity and address.
fn texts(row: &ByteRecord, line: u64) -> Result<(&str, &str), Error> {
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
    Ok((entity, address))
}

fn parse(row: &ByteRecord, line: u64) -> Result<AccessEvent, Error> {
    let (entity, address) = texts(row, line)?;
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
