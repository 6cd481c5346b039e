//! Cuts a stream of JSON into records, one at a time: documents one after the other (JSON Lines or with line breaks in
//! them), arrays of records, and objects that hold an array of records under a known key.
//!
//! Only brackets, quotes and commas are looked at here; what is inside of a record is checked by whoever parses it.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, BufRead};
use std::ops::Deref;

use serde::de::{Deserialize, Deserializer, Visitor};

use super::{Malformed, Place, Problem, ReadError, Sink, Stopped};

/// How much is read at a time, in bytes.
const CHUNK: usize = 128 * 1024;

/// What a record's text leads to.
pub(crate) enum Fault {
    /// The record is not what it should be, but it is JSON.
    Shape(Problem),
    /// The record is not JSON: it may be that its end was not recognised.
    Syntax(Problem),
    /// The sink wants no more.
    Stopped,
}

impl From<Stopped> for Fault {
    fn from(Stopped: Stopped) -> Self {
        Self::Stopped
    }
}

impl From<serde_json::Error> for Fault {
    fn from(error: serde_json::Error) -> Self {
        let problem = Problem::Json(error.to_string());
        if error.is_data() {
            Self::Shape(problem)
        } else {
            Self::Syntax(problem)
        }
    }
}

/// A string of a record, borrowed from it unless it has escapes.
#[derive(Debug, Default)]
pub(crate) struct Text<'a>(pub(crate) Cow<'a, str>);

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Borrowed;

        impl<'de> Visitor<'de> for Borrowed {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }

        deserializer.deserialize_str(Borrowed)
    }
}

/// At most 80 characters, on one line, for messages.
pub(crate) fn shorten(text: &str) -> String {
    let mut short: String = text.chars().take(80).flat_map(|c| c.escape_debug()).collect();
    if text.chars().nth(80).is_some() {
        short.push('…');
    }
    short
}

/// Parses one record, given as the text of one JSON value, and tells the sink of it.
pub(crate) type Parse<'p> = &'p mut dyn FnMut(&[u8], &mut dyn Sink) -> Result<(), Fault>;

/// Reads all records of `input`. `holders` are the keys of a document under which an array of records may be.
pub(crate) fn read_records(
    input: &mut dyn BufRead,
    sink: &mut dyn Sink,
    holders: &[&str],
    limit: usize,
    parse: Parse<'_>,
) -> Result<(), ReadError> {
    let mut reader = Reader {
        input,
        buffer: vec![0; CHUNK],
        end: 0,
        position: 0,
        mark: None,
        base: 0,
        limit,
        too_long: false,
        in_array: false,
        rescanned: 0,
    };
    Splitter {
        reader: &mut reader,
        sink,
        holders,
        parse,
    }
    .run()
}

/// Why the scanner does not go on.
enum Halt {
    Io(io::Error),
    Fault(Problem),
}

impl From<io::Error> for Halt {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// A window on the input.
struct Reader<'r> {
    input: &'r mut dyn BufRead,
    buffer: Vec<u8>,
    /// Where the bytes read end in `buffer`.
    end: usize,
    /// The next byte to look at.
    position: usize,
    /// From here on bytes are kept: the beginning of the record that is being looked at.
    mark: Option<usize>,
    /// The input's bytes before `buffer`.
    base: u64,
    limit: usize,
    /// The marked record grew over the limit.
    too_long: bool,
    /// Inside of an array of records.
    in_array: bool,
    /// Bytes looked at more than once because a fault made it necessary.
    rescanned: u64,
}

impl Reader<'_> {
    fn offset(&self) -> u64 {
        self.base + self.position as u64
    }

    /// Reads more; false at the end of the input. All bytes up to the position are given up, but for those from the
    /// mark on. A marked record that grows over the limit is given up in an array, whose brackets lead on to the next;
    /// a document of its own seems to end here, and its lines can be looked at again.
    fn fill(&mut self) -> io::Result<bool> {
        if let Some(mark) = self.mark
            && self.end - mark > self.limit
        {
            self.too_long = true;
            if !self.in_array {
                return Ok(false);
            }
            self.mark = None;
        }
        let keep = self.mark.unwrap_or(self.position);
        if keep > 0 {
            self.buffer.copy_within(keep..self.end, 0);
            self.end -= keep;
            self.position -= keep;
            self.base += keep as u64;
            self.mark = self.mark.map(|mark| mark - keep);
        }
        if self.buffer.len() - self.end < CHUNK / 4 {
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
        loop {
            match self.input.read(&mut self.buffer[self.end..]) {
                Ok(0) => return Ok(false),
                Ok(n) => {
                    self.end += n;
                    return Ok(true);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The byte at the position, nothing at the end of the input.
    fn peek(&mut self) -> io::Result<Option<u8>> {
        if self.position == self.end && !self.fill()? {
            return Ok(None);
        }
        Ok(Some(self.buffer[self.position]))
    }

    /// The next byte that is no blank.
    fn token(&mut self) -> io::Result<Option<u8>> {
        while let Some(byte) = self.peek()? {
            if !matches!(byte, b' ' | b'\t' | b'\r' | b'\n') {
                return Ok(Some(byte));
            }
            self.position += 1;
        }
        Ok(None)
    }

    /// The next byte that is no blank, where there must be one.
    fn inner_token(&mut self) -> Result<u8, Halt> {
        self.token()?.ok_or(Halt::Fault(Problem::EndsEarly))
    }

    fn expect(&mut self, byte: u8) -> Result<(), Halt> {
        if self.inner_token()? != byte {
            return Err(unexpected(&format!("`{}`", char::from(byte))));
        }
        self.position += 1;
        Ok(())
    }

    /// Goes behind the value that begins at the position.
    fn skip_value(&mut self) -> Result<(), Halt> {
        match self.inner_token()? {
            b'"' | b'{' | b'[' => {
                let mut nesting = Nesting::default();
                loop {
                    if let Some(length) = nesting.scan(&self.buffer[self.position..self.end]) {
                        self.position += length;
                        return Ok(());
                    }
                    self.position = self.end;
                    if !self.fill()? {
                        return Err(Halt::Fault(Problem::EndsEarly));
                    }
                }
            }
            b'-' | b'0'..=b'9' | b't' | b'f' | b'n' => {
                while let Some(byte) = self.peek()? {
                    if matches!(byte, b',' | b'}' | b']' | b' ' | b'\t' | b'\r' | b'\n') {
                        break;
                    }
                    self.position += 1;
                }
                Ok(())
            }
            _ => Err(unexpected("a value")),
        }
    }

    /// Goes to the next line that begins with a bracket, beginning to look at the position.
    fn next_document(&mut self) -> io::Result<Next> {
        self.mark = None;
        let mut next = Next::End;
        loop {
            match memchr::memchr(b'\n', &self.buffer[self.position..self.end]) {
                Some(found) => {
                    self.position += found + 1;
                    match self.peek()? {
                        Some(b'{' | b'[') => return Ok(Next::Document),
                        Some(b' ' | b'\t' | b'\r' | b'\n') | None => {}
                        Some(_) => next = Next::Lost,
                    }
                }
                None => {
                    self.position = self.end;
                    if !self.fill()? {
                        return Ok(next);
                    }
                }
            }
        }
    }
}

/// What comes after a line at fault.
#[derive(PartialEq, Eq)]
enum Next {
    /// A line that may begin a document; it is at the position.
    Document,
    /// The end, and no line before it that is not indented.
    End,
    /// The end, and lines before it that may have been records.
    Lost,
}

fn unexpected(wanted: &str) -> Halt {
    Halt::Fault(Problem::Json(format!("expected {wanted}")))
}

/// How deep in brackets a scan is. Brackets are counted, not compared.
#[derive(Debug, Default)]
struct Nesting {
    depth: usize,
    in_string: bool,
    escaped: bool,
}

impl Nesting {
    /// The length of the rest of the value, closing bracket or quote and all; nothing when `bytes` end before it.
    fn scan(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        while at < bytes.len() {
            if self.in_string {
                if self.escaped {
                    self.escaped = false;
                    at += 1;
                    continue;
                }
                match memchr::memchr2(b'"', b'\\', &bytes[at..]) {
                    None => return None,
                    Some(found) => {
                        at += found + 1;
                        if bytes[at - 1] == b'\\' {
                            self.escaped = true;
                            continue;
                        }
                        self.in_string = false;
                    }
                }
            } else {
                at += 1;
                match bytes[at - 1] {
                    b'"' => {
                        self.in_string = true;
                        continue;
                    }
                    b'{' | b'[' => {
                        self.depth += 1;
                        continue;
                    }
                    b'}' | b']' => self.depth -= 1,
                    _ => continue,
                }
            }
            if self.depth == 0 {
                return Some(at);
            }
        }
        None
    }
}

struct Splitter<'s, 'r, 'p> {
    reader: &'s mut Reader<'r>,
    sink: &'s mut dyn Sink,
    holders: &'s [&'s str],
    parse: Parse<'p>,
}

/// What a document turned out to be.
enum Document {
    /// A record.
    Record,
    /// An object around an array of records, which are told.
    Holder,
}

/// Why a document, or an array of records, ends where it should not.
enum Broken {
    Read(ReadError),
    /// A document of its own, still in the buffer from the mark on, unless it was too long.
    Document(Problem),
    /// Inside of an array of records; `at` is where.
    Array {
        at: u64,
        problem: Problem,
    },
}

impl From<ReadError> for Broken {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

impl Splitter<'_, '_, '_> {
    fn run(&mut self) -> Result<(), ReadError> {
        self.skip_byte_order_mark()?;
        loop {
            self.reader.mark = None;
            self.reader.too_long = false;
            let Some(first) = self.reader.token()? else {
                return Ok(());
            };
            let start = self.reader.offset();
            let done = match first {
                b'{' => self.document(),
                b'[' => {
                    self.reader.position += 1;
                    self.array()
                }
                _ => Err(Broken::Document(Problem::Json(
                    "expected a JSON object or array".to_owned(),
                ))),
            };
            match done {
                Ok(()) => {}
                Err(Broken::Read(error)) => return Err(error),
                Err(Broken::Array { at, problem }) => {
                    self.reader.in_array = false;
                    let next = self.reader.next_document()?;
                    self.fault(at, problem, next != Next::Document)?;
                }
                Err(Broken::Document(problem)) => {
                    self.rewind();
                    let next = self.reader.next_document()?;
                    let lost = next == Next::Lost || problem == Problem::EndsEarly && next == Next::End;
                    self.fault(start, problem, lost)?;
                }
            }
        }
    }

    fn skip_byte_order_mark(&mut self) -> io::Result<()> {
        while self.reader.end < 3 {
            if !self.reader.fill()? {
                break;
            }
        }
        if self.reader.buffer[..self.reader.end].starts_with(b"\xef\xbb\xbf") {
            self.reader.position = 3;
        }
        Ok(())
    }

    /// Goes back to the beginning of the marked record, so that the lines in it are looked at again, as long as this
    /// does not happen so often that reading takes time in the square of the input.
    fn rewind(&mut self) {
        if let Some(mark) = self.reader.mark {
            let again = (self.reader.position - mark) as u64;
            if self.reader.rescanned + again <= 4 * self.reader.limit as u64 + self.reader.offset() {
                self.reader.rescanned += again;
                self.reader.position = mark;
            }
        }
    }

    fn fault(&mut self, at: u64, problem: Problem, rest_lost: bool) -> Result<(), ReadError> {
        self.sink.record();
        self.sink.malformed(Malformed {
            place: Place::Byte(at),
            problem,
            rest_lost,
        })?;
        Ok(())
    }

    /// A top-level object, with its bracket at the position.
    fn document(&mut self) -> Result<(), Broken> {
        let start = self.reader.offset();
        self.reader.mark = Some(self.reader.position);
        match self.members()? {
            Document::Holder => {}
            Document::Record => {
                if !self.record(start)? {
                    // Perhaps it swallowed the next ones, for want of a quote or bracket.
                    let text =
                        &self.reader.buffer[self.reader.mark.unwrap_or_default()..self.reader.position];
                    if memchr::memchr(b'\n', text).is_some() {
                        self.rewind();
                        self.reader.next_document().map_err(ReadError::from)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Parses what is between the mark and the position. False when it is not JSON.
    fn record(&mut self, start: u64) -> Result<bool, ReadError> {
        let limit = self.reader.limit;
        let text = match self.reader.mark {
            Some(mark) if self.reader.position - mark <= limit => {
                &self.reader.buffer[mark..self.reader.position]
            }
            _ => {
                self.fault(start, Problem::TooLong { limit }, false)?;
                return Ok(true);
            }
        };
        self.sink.record();
        let (problem, is_json) = match (self.parse)(text, self.sink) {
            Ok(()) => return Ok(true),
            Err(Fault::Stopped) => return Err(ReadError::Stopped),
            Err(Fault::Shape(problem)) => (problem, true),
            Err(Fault::Syntax(problem)) => (problem, false),
        };
        self.sink.malformed(Malformed {
            place: Place::Byte(start),
            problem,
            rest_lost: false,
        })?;
        Ok(is_json)
    }

    /// Walks the members of a top-level object. Arrays under the keys of holders are told record by record.
    fn members(&mut self) -> Result<Document, Broken> {
        let mut document = Document::Record;
        self.reader.position += 1;
        if self.step(|reader| reader.inner_token())? == b'}' {
            self.reader.position += 1;
            return Ok(document);
        }
        loop {
            let key = self.step(|reader| {
                if reader.inner_token()? != b'"' {
                    return Err(unexpected("a key in quotes"));
                }
                let (before, start) = (reader.base, reader.position);
                reader.skip_value()?;
                // The buffer may have moved.
                let moved = (reader.base - before) as usize;
                Ok(start.checked_sub(moved))
            })?;
            let holds = key.is_some_and(|start| {
                let key = &self.reader.buffer[start + 1..self.reader.position - 1];
                self.holders.iter().any(|holder| holder.as_bytes() == key)
            });
            let value = self.step(|reader| {
                reader.expect(b':')?;
                reader.inner_token()
            })?;
            if holds && value == b'[' {
                document = Document::Holder;
                self.reader.position += 1;
                self.array()?;
            } else {
                self.step(|reader| reader.skip_value())?;
            }
            match self.step(|reader| reader.inner_token())? {
                b',' => self.reader.position += 1,
                b'}' => {
                    self.reader.position += 1;
                    return Ok(document);
                }
                _ => return Err(self.broken(Problem::Json("expected `,` or `}`".to_owned()))),
            }
        }
    }

    /// Runs a part of the scan of a top-level object.
    fn step<T>(&mut self, scan: impl FnOnce(&mut Reader<'_>) -> Result<T, Halt>) -> Result<T, Broken> {
        match scan(self.reader) {
            Ok(value) if !self.reader.too_long => Ok(value),
            Err(Halt::Io(error)) => Err(Broken::Read(error.into())),
            Err(Halt::Fault(problem)) if !self.reader.too_long => Err(self.broken(problem)),
            Ok(_) | Err(Halt::Fault(_)) => Err(Broken::Document(Problem::TooLong {
                limit: self.reader.limit,
            })),
        }
    }

    fn broken(&self, problem: Problem) -> Broken {
        match self.reader.mark {
            Some(_) => Broken::Document(problem),
            None => Broken::Array {
                at: self.reader.offset(),
                problem,
            },
        }
    }

    /// The elements of an array, whose bracket lies before the position.
    fn array(&mut self) -> Result<(), Broken> {
        let halted = |at, halt| match halt {
            Halt::Io(error) => Broken::Read(error.into()),
            Halt::Fault(problem) => Broken::Array { at, problem },
        };
        self.reader.mark = None;
        self.reader.in_array = true;
        let at = self.reader.offset();
        if self.reader.inner_token().map_err(|halt| halted(at, halt))? == b']' {
            self.reader.position += 1;
            self.reader.in_array = false;
            return Ok(());
        }
        loop {
            let at = self.reader.offset();
            self.reader.inner_token().map_err(|halt| halted(at, halt))?;
            let at = self.reader.offset();
            self.reader.mark = Some(self.reader.position);
            self.reader.skip_value().map_err(|halt| halted(at, halt))?;
            self.record(at)?;
            self.reader.mark = None;
            self.reader.too_long = false;
            let at = self.reader.offset();
            match self.reader.inner_token().map_err(|halt| halted(at, halt))? {
                b',' => self.reader.position += 1,
                b']' => {
                    self.reader.position += 1;
                    self.reader.in_array = false;
                    return Ok(());
                }
                _ => {
                    return Err(Broken::Array {
                        at: self.reader.offset(),
                        problem: Problem::Json("expected `,` or `]` after a record".to_owned()),
                    });
                }
            }
        }
    }
}
