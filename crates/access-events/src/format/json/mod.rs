//! Cuts a stream of JSON into records, one at a time: documents one after the other (JSON Lines or with line breaks in
//! them), arrays of records, and objects that hold an array of records under a known key.
//!
//! A record is parsed where it lies in the buffer, and ends where the parser says. Only when a record is not JSON, or
//! too long to be kept, are brackets counted to find the next one.

mod cursor;
mod reader;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::io::{self, BufRead};

use jiff::Timestamp;

pub(crate) use cursor::{Cursor, Quoted, Stuck};

use reader::{After, Halt, Reader, syntax, unexpected};

use super::{Malformed, Place, Problem, ReadError, Sink, Stopped};

/// Makes records of JSON text.
pub(crate) trait Parser {
    /// What is kept of a record.
    type Record<'t>;

    /// The keys of a document under which there may be an array of records.
    const HOLDERS: &'static [&'static str];

    /// Parses the value that comes next, to its end. What is JSON but not of the shape that a record has is noted in
    /// the cursor.
    fn parse<'t>(&self, cursor: &mut Cursor<'t>) -> Result<Self::Record<'t>, Stuck>;

    /// Tells the sink of a record. What is wrong with it is found before anything is told.
    fn tell(&self, record: Self::Record<'_>, sink: &mut dyn Sink) -> Result<(), Fault>;
}

/// Why a record was not told.
pub(crate) enum Fault {
    /// Something is wrong with it.
    Record(Problem),
    /// The sink wants no more.
    Stopped,
}

impl From<Stopped> for Fault {
    fn from(Stopped: Stopped) -> Self {
        Self::Stopped
    }
}

impl From<Problem> for Fault {
    fn from(problem: Problem) -> Self {
        Self::Record(problem)
    }
}

impl From<serde_json::Error> for Fault {
    fn from(error: serde_json::Error) -> Self {
        Self::Record(Problem::Json(error.to_string()))
    }
}

/// Reads all records of `input`.
pub(crate) fn read_records<P: Parser>(
    parser: &P,
    limit: usize,
    input: &mut dyn BufRead,
    sink: &mut dyn Sink,
) -> Result<(), ReadError> {
    let splitter = Splitter {
        parser,
        reader: Reader::new(input, limit),
        sink,
        indent: 0,
        is_loose: false,
    };
    splitter.run()
}

/// Parses a record that is a text of its own, from its beginning to its end.
pub(crate) fn parse_text<'t, T>(
    text: &'t str,
    parse: impl FnOnce(&mut Cursor<'t>) -> Result<T, Stuck>,
) -> Result<T, Problem> {
    let mut cursor = Cursor::new(text.as_bytes(), &[]);
    let record = match parse(&mut cursor) {
        Ok(record) => record,
        Err(Stuck::Syntax(at, wanted)) => {
            return Err(Problem::Json(format!(
                "in the record's text: expected {wanted} at byte {at}"
            )));
        }
        Err(Stuck::Deep) => {
            return Err(Problem::TooDeep {
                limit: cursor::DEEPEST,
            });
        }
        Err(Stuck::End | Stuck::Holder) => {
            return Err(Problem::Json("the record's text ends early".to_owned()));
        }
    };
    if !cursor.is_at_end() {
        return Err(Problem::Json(
            "the record's text goes on after the record".to_owned(),
        ));
    }
    match cursor.into_fault() {
        None => Ok(record),
        Some(problem) => Err(problem),
    }
}

/// What an optional string says.
pub(crate) fn decode(text: Option<Quoted<'_>>) -> Result<Option<Cow<'_, str>>, Problem> {
    text.map(Quoted::decode).transpose()
}

/// The text, unless it is empty.
pub(crate) fn some(text: Option<Cow<'_, str>>) -> Option<Cow<'_, str>> {
    text.filter(|text| !text.is_empty())
}

/// The moment that a member tells, as RFC 3339 has it.
pub(crate) fn time(name: &str, text: Option<Quoted<'_>>) -> Result<Option<Timestamp>, Problem> {
    let Some(text) = decode(text)? else {
        return Ok(None);
    };
    match text.parse() {
        Ok(time) => Ok(Some(time)),
        Err(_) => Err(Problem::Json(format!(
            "`{name}` is `{}`, which is no time",
            shorten(&text)
        ))),
    }
}

/// At most 80 characters, on one line, for messages.
pub(crate) fn shorten(text: &str) -> String {
    let mut short: String = text.chars().take(80).flat_map(char::escape_debug).collect();
    if text.chars().nth(80).is_some() {
        short.push('…');
    }
    short
}

struct Splitter<'s, 'r, P> {
    parser: &'s P,
    reader: Reader<'r>,
    sink: &'s mut dyn Sink,
    /// How many blanks the line of the document begins with.
    indent: usize,
    /// Whether commas and closing brackets may stand between documents: an array was left before its end.
    is_loose: bool,
}

/// What a document turned out to be.
#[derive(PartialEq, Eq)]
enum Document {
    /// A record.
    Record,
    /// An object around an array of records, which are told.
    Holder,
}

/// What became of a record that was parsed in the buffer.
enum Tried {
    /// It is told, or told as malformed, and behind the position.
    Done,
    /// It is not JSON, and still at the position.
    Syntax(Problem),
    /// It does not end in the buffer, and there is no more input, or it is too long.
    Unfinished,
    /// It is a document with an array of records in it.
    Holder,
}

/// Why a document, or an array of records, is left before its end.
enum Broken {
    Read(ReadError),
    /// A document at fault. It is still in the buffer, from the mark on.
    Document(Problem),
    /// An array at fault at `at`; the position is where reading goes on.
    Array {
        at: u64,
        problem: Problem,
        /// Whether text was passed over that may hold other records.
        lost: bool,
    },
    /// An array of documents, the first of which is at the position.
    Documents,
}

impl From<ReadError> for Broken {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self::Read(error.into())
    }
}

impl<P: Parser> Splitter<'_, '_, P> {
    /// Whether a document may hold an array of records.
    const HOLDS: bool = !P::HOLDERS.is_empty();

    fn run(mut self) -> Result<(), ReadError> {
        loop {
            self.reader.mark = None;
            let Some(first) = self.reader.token()? else {
                return Ok(());
            };
            if self.is_loose && matches!(first, b',' | b']' | b'}') {
                self.reader.position += 1;
                continue;
            }
            if first == 0xef && self.reader.skip_byte_order_mark()? {
                continue;
            }
            let start = self.reader.offset();
            self.indent = self.reader.indent;
            self.reader.mark = Some(self.reader.position);
            let done = match first {
                b'{' => self.document(start),
                b'[' => {
                    self.reader.position += 1;
                    self.array(false)
                }
                _ => {
                    let problem = Problem::Json("expected a JSON object or array".to_owned());
                    let lost = self.reader.next_line(self.indent, Self::HOLDS)?;
                    self.fault(start, problem, lost)?;
                    continue;
                }
            };
            match done {
                Ok(()) => {}
                Err(Broken::Read(error)) => return Err(error),
                Err(Broken::Documents) => self.is_loose = true,
                Err(Broken::Array { at, problem, lost }) => {
                    self.is_loose = true;
                    self.fault_or_end(at, problem, lost)?;
                }
                Err(Broken::Document(problem)) => match self.reader.leave(self.indent, Self::HOLDS)? {
                    After::Behind { lost } => {
                        let lost = lost || self.may_be_holder();
                        self.fault(start, problem, lost)?;
                    }
                    After::Later { lost, .. } => self.fault_or_end(start, problem, lost)?,
                },
            }
        }
    }

    /// A record that is malformed, and where the input ended inside of it, the end of what can be read.
    fn fault_or_end(&mut self, at: u64, problem: Problem, lost: bool) -> Result<(), ReadError> {
        let is_end = problem == Problem::EndsEarly && self.reader.peek()?.is_none();
        self.fault(at, problem, lost || is_end)
    }

    /// Whether the document at fault between mark and position names an array of records.
    fn may_be_holder(&self) -> bool {
        let text = self.reader.marked();
        P::HOLDERS
            .iter()
            .any(|holder| memchr::memmem::find(text, holder.as_bytes()).is_some())
    }

    /// A record that is malformed.
    fn fault(&mut self, at: u64, problem: Problem, rest_lost: bool) -> Result<(), ReadError> {
        self.sink.record();
        self.sink.malformed(Malformed {
            place: Place::Byte(at),
            problem,
            rest_lost,
        })?;
        Ok(())
    }

    /// Parses the record at the position, reading on until it is in the buffer as a whole.
    fn try_record(&mut self, holders: &'static [&'static str]) -> Result<Tried, ReadError> {
        let limit = self.reader.limit;
        loop {
            let stuck = {
                let mut cursor = Cursor::new(
                    &self.reader.buffer[self.reader.position..self.reader.end],
                    holders,
                );
                let parsed = self.parser.parse(&mut cursor);
                let length = cursor.position();
                // What is beyond the limit may be in the buffer or not.
                if length > limit || matches!(parsed, Err(Stuck::Syntax(at, _)) if at > limit) {
                    return Ok(Tried::Unfinished);
                }
                let fault = cursor.into_fault();
                match parsed {
                    Err(stuck) => stuck,
                    Ok(record) => {
                        self.sink.record();
                        let told = match fault {
                            None => self.parser.tell(record, self.sink),
                            Some(problem) => Err(Fault::Record(problem)),
                        };
                        match told {
                            Ok(()) => {}
                            Err(Fault::Stopped) => return Err(ReadError::Stopped),
                            Err(Fault::Record(problem)) => self.sink.malformed(Malformed {
                                place: Place::Byte(self.reader.offset()),
                                problem,
                                rest_lost: false,
                            })?,
                        }
                        self.reader.position += length;
                        return Ok(Tried::Done);
                    }
                }
            };
            return Ok(match stuck {
                Stuck::End if self.reader.double()? => continue,
                Stuck::End => Tried::Unfinished,
                Stuck::Holder => Tried::Holder,
                Stuck::Syntax(at, wanted) => Tried::Syntax(syntax(self.reader.offset() + at as u64, wanted)),
                Stuck::Deep => Tried::Syntax(Problem::TooDeep {
                    limit: cursor::DEEPEST,
                }),
            });
        }
    }

    /// A top-level object, with its bracket at the position.
    fn document(&mut self, start: u64) -> Result<(), Broken> {
        let mut problem = match self.try_record(P::HOLDERS)? {
            Tried::Done => return Ok(()),
            Tried::Syntax(problem) => Some(problem),
            Tried::Unfinished | Tried::Holder => None,
        };
        self.reader.mark = Some(self.reader.position);
        match (self.members(start, &mut problem), problem) {
            (Ok(Document::Holder), _) => Ok(()),
            (Ok(Document::Record) | Err(Broken::Document(_)), Some(problem)) => {
                Err(Broken::Document(problem))
            }
            (Ok(Document::Record), None) => {
                self.reader.is_too_long();
                Err(self.too_long())
            }
            (Err(broken), _) => Err(broken),
        }
    }

    /// Walks over the members of a top-level object. Arrays under the keys of holders are told record by record; before that, what is wrong
    /// with the object.
    fn members(&mut self, start: u64, problem: &mut Option<Problem>) -> Result<Document, Broken> {
        let mut document = Document::Record;
        self.reader.position += 1;
        if self.step(|reader| reader.inner_token())? == b'}' {
            self.reader.position += 1;
            return Ok(document);
        }
        loop {
            let (begin, end) = self.step(|reader| {
                if reader.inner_token()? != b'"' {
                    return Err(unexpected("a key in quotes"));
                }
                let begin = reader.offset();
                reader.skip_value()?;
                Ok((begin, reader.offset()))
            })?;
            // Keys of holders are short; what was longer may have left the buffer.
            let holds = begin.checked_sub(self.reader.base).is_some_and(|begin| {
                let key = &self.reader.buffer[begin as usize + 1..(end - self.reader.base) as usize - 1];
                P::HOLDERS.iter().any(|holder| holder.as_bytes() == key)
            });
            let value = self.step(|reader| {
                reader.expect(b':')?;
                reader.inner_token()
            })?;
            if holds && value == b'[' {
                document = Document::Holder;
                if let Some(problem) = problem.take() {
                    self.fault(start, problem, false)?;
                }
                self.reader.position += 1;
                self.array(true)?;
            } else if document == Document::Holder {
                self.after_records()?;
            } else {
                self.step(|reader| reader.skip_value())?;
            }
            match self.step(|reader| reader.inner_token())? {
                b',' => self.reader.position += 1,
                b'}' => {
                    self.reader.position += 1;
                    return Ok(document);
                }
                _ => return Err(self.broken(Problem::Json("expected `,` or `}`".to_owned()))?),
            }
        }
    }

    /// Runs a part of the scan of a top-level object.
    fn step<T>(&mut self, scan: impl FnOnce(&mut Reader<'_>) -> Result<T, Halt>) -> Result<T, Broken> {
        match scan(&mut self.reader) {
            Err(Halt::Io(error)) => Err(Broken::Read(error.into())),
            _ if self.reader.is_too_long() => Err(self.too_long()),
            Ok(value) => Ok(value),
            Err(Halt::Fault(problem)) => Err(self.broken(problem)?),
        }
    }

    /// A value that comes after the records of an object.
    fn after_records(&mut self) -> Result<(), Broken> {
        let at = self.reader.offset();
        if let Some(problem) = self.step(|reader| reader.skip_json())? {
            self.step(|reader| reader.skip_value())?;
            self.fault(at, problem, false)?;
        }
        Ok(())
    }

    fn too_long(&self) -> Broken {
        Broken::Document(Problem::TooLong {
            limit: self.reader.limit,
        })
    }

    /// Leaves a top-level object, or the array whose records are being told.
    fn broken(&mut self, problem: Problem) -> io::Result<Broken> {
        if self.reader.mark.is_some() {
            return Ok(Broken::Document(problem));
        }
        let at = self.reader.offset();
        let lost = self.reader.next_line(self.indent, true)?;
        Ok(Broken::Array { at, problem, lost })
    }

    /// The elements of an array, whose bracket lies before the position. There is no mark at its end.
    fn array(&mut self, is_held: bool) -> Result<(), Broken> {
        self.reader.mark = None;
        if self.array_token()? == b']' {
            self.reader.position += 1;
            return Ok(());
        }
        loop {
            self.array_token()?;
            self.element(is_held)?;
            self.reader.mark = None;
            match self.array_token()? {
                b',' => self.reader.position += 1,
                b']' => {
                    self.reader.position += 1;
                    return Ok(());
                }
                next => {
                    let problem = Problem::Json("expected `,` or `]` after a record".to_owned());
                    let at = self.reader.offset();
                    let lost = next != b'{';
                    if lost {
                        self.reader.next_line(self.reader.indent, true)?;
                    }
                    return Err(Broken::Array { at, problem, lost });
                }
            }
        }
    }

    /// The record at the position, or what is in its place.
    fn element(&mut self, is_held: bool) -> Result<(), Broken> {
        let (at, indent) = (self.reader.offset(), self.reader.indent);
        let problem = match self.try_record(P::HOLDERS)? {
            Tried::Done => return Ok(()),
            Tried::Holder if is_held => {
                return Err(Broken::Array {
                    at,
                    problem: Problem::Json("expected a record, found a document with records".to_owned()),
                    lost: false,
                });
            }
            Tried::Holder => return Err(Broken::Documents),
            Tried::Syntax(problem) => problem,
            Tried::Unfinished => Problem::TooLong {
                limit: self.reader.limit,
            },
        };
        if matches!(self.reader.peek()?, Some(b',' | b']')) {
            return Ok(self.fault(at, problem, false)?);
        }
        self.reader.mark = Some(self.reader.position);
        match self.reader.leave(indent, true)? {
            After::Behind { lost } => Ok(self.fault(at, problem, lost)?),
            After::Later { lost, is_open } => {
                // What seemed too long may have no end.
                let has_no_end = is_open && matches!(problem, Problem::TooLong { .. });
                let problem = if has_no_end { Problem::EndsEarly } else { problem };
                Err(Broken::Array { at, problem, lost })
            }
        }
    }

    fn array_token(&mut self) -> Result<u8, Broken> {
        self.reader.inner_token().map_err(|halt| match halt {
            Halt::Io(error) => error.into(),
            Halt::Fault(problem) => Broken::Array {
                at: self.reader.offset(),
                problem,
                lost: false,
            },
        })
    }
}
