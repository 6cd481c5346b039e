//! Cuts a stream of JSON into records, one at a time: documents one after the other (JSON Lines or with line breaks in
//! them), arrays of records, and objects that hold an array of records under a known key.
//!
//! A record is parsed where it lies in the buffer, and ends where the parser says. Only when a record is not JSON, or
//! too long to be kept, are brackets counted to find the next one.

mod cursor;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::io::{self, BufRead};

use jiff::Timestamp;

pub(crate) use cursor::{Cursor, Quoted, Stuck};

use super::{Malformed, Place, Problem, ReadError, Sink, Stopped};

/// How much is read at a time, in bytes.
const CHUNK: usize = 128 * 1024;

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
    let reader = Reader {
        input,
        buffer: vec![0; CHUNK],
        end: 0,
        position: 0,
        mark: None,
        base: 0,
        limit,
        rescanned: 0,
    };
    Splitter { parser, reader, sink }.run()
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

/// Why the scan for the next record does not go on.
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
    /// Bytes looked at more than once because a fault made it necessary.
    rescanned: u64,
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

impl Reader<'_> {
    fn offset(&self) -> u64 {
        self.base + self.position as u64
    }

    /// Reads more; false at the end of the input. All bytes up to the position are given up, but for those from the
    /// mark on. A marked record that has grown over the limit seems to end here: it [is too long](Self::is_too_long).
    fn fill(&mut self) -> io::Result<bool> {
        if let Some(mark) = self.mark
            && self.end - mark > self.limit
        {
            return Ok(false);
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

    /// Reads until twice as many bytes are there from the position on, so that looking at them from their beginning
    /// again and again takes no longer than twice. False when there are no more, or enough for the longest record.
    fn double(&mut self) -> io::Result<bool> {
        self.mark = Some(self.position);
        let had = self.end - self.position;
        while self.end - self.position < (2 * had).max(1) {
            if self.end - self.position > self.limit || !self.fill()? {
                break;
            }
        }
        Ok(self.end - self.position > had)
    }

    /// Whether the position is farther from the mark than a record may be long. Then it goes back to where the limit is, so that it does
    /// not matter in which pieces the bytes have come.
    fn is_too_long(&mut self) -> bool {
        match self.mark {
            Some(mark) if self.position - mark > self.limit => {
                self.position = mark + self.limit;
                true
            }
            _ => false,
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

    /// Goes behind the value that begins at the position, by its brackets and quotes alone.
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

    /// Goes back to the beginning of the marked record, so that the lines in it are looked at again, as long as this
    /// does not happen so often that reading takes time in the square of the input.
    fn rewind(&mut self) {
        if let Some(mark) = self.mark {
            let again = (self.position - mark) as u64;
            if self.rescanned + again <= 4 * self.limit as u64 + self.offset() {
                self.rescanned += again;
                self.position = mark;
            }
        }
    }
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
                at += memchr::memchr2(b'"', b'\\', &bytes[at..])? + 1;
                if bytes[at - 1] == b'\\' {
                    self.escaped = true;
                    continue;
                }
                self.in_string = false;
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

struct Splitter<'s, 'r, P> {
    parser: &'s P,
    reader: Reader<'r>,
    sink: &'s mut dyn Sink,
}

/// What a document turned out to be.
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

/// Why a document, or an array of records, ends where it should not.
enum Broken {
    Read(ReadError),
    /// A document of its own. It is still in the buffer, from the mark on.
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

impl<P: Parser> Splitter<'_, '_, P> {
    fn run(mut self) -> Result<(), ReadError> {
        self.skip_byte_order_mark()?;
        loop {
            self.reader.mark = None;
            let Some(first) = self.reader.token()? else {
                return Ok(());
            };
            let start = self.reader.offset();
            self.reader.mark = Some(self.reader.position);
            let done = match first {
                b'{' => self.document(start),
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
                    let next = self.reader.next_document()?;
                    self.fault(at, problem, next != Next::Document)?;
                }
                Err(Broken::Document(problem)) => {
                    self.reader.rewind();
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
                Stuck::Syntax(at, wanted) => Tried::Syntax(Problem::Json(format!(
                    "expected {wanted} at byte {}",
                    self.reader.offset() + at as u64
                ))),
                Stuck::Deep => Tried::Syntax(Problem::TooDeep {
                    limit: cursor::DEEPEST,
                }),
            });
        }
    }

    /// A top-level object, with its bracket at the position.
    fn document(&mut self, start: u64) -> Result<(), Broken> {
        let tried = self.try_record(P::HOLDERS)?;
        if matches!(tried, Tried::Done) {
            return Ok(());
        }
        self.reader.mark = Some(self.reader.position);
        match (self.members()?, tried) {
            // Its brackets match, and yet it is not JSON. Perhaps it swallowed the next ones, for want of a quote.
            (Document::Record, Tried::Syntax(problem)) => {
                let text = &self.reader.buffer[self.reader.mark.unwrap_or_default()..self.reader.position];
                if memchr::memchr(b'\n', text).is_some() {
                    return Err(Broken::Document(problem));
                }
                Ok(self.fault(start, problem, false)?)
            }
            (Document::Record, _) => {
                self.reader.is_too_long();
                Err(self.too_long())
            }
            (Document::Holder, _) => Ok(()),
        }
    }

    /// Walks over the members of a top-level object. Arrays under the keys of holders are told record by record.
    fn members(&mut self) -> Result<Document, Broken> {
        let mut document = Document::Record;
        self.reader.position += 1;
        if self.step(|reader| reader.inner_token())? == b'}' {
            self.reader.position += 1;
            return Ok(document);
        }
        loop {
            let (start, end) = self.step(|reader| {
                if reader.inner_token()? != b'"' {
                    return Err(unexpected("a key in quotes"));
                }
                let start = reader.offset();
                reader.skip_value()?;
                Ok((start, reader.offset()))
            })?;
            // Keys of holders are short; what was longer may have left the buffer.
            let holds = start.checked_sub(self.reader.base).is_some_and(|start| {
                let key = &self.reader.buffer[start as usize + 1..(end - self.reader.base) as usize - 1];
                P::HOLDERS.iter().any(|holder| holder.as_bytes() == key)
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
        match scan(&mut self.reader) {
            Err(Halt::Io(error)) => Err(Broken::Read(error.into())),
            _ if self.reader.is_too_long() => Err(self.too_long()),
            Ok(value) => Ok(value),
            Err(Halt::Fault(problem)) => Err(self.broken(problem)),
        }
    }

    fn too_long(&self) -> Broken {
        Broken::Document(Problem::TooLong {
            limit: self.reader.limit,
        })
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

    /// The elements of an array, whose bracket lies before the position. There is no mark at its end.
    fn array(&mut self) -> Result<(), Broken> {
        self.reader.mark = None;
        if self.array_token()? == b']' {
            self.reader.position += 1;
            return Ok(());
        }
        loop {
            self.array_token()?;
            let at = self.reader.offset();
            let problem = match self.try_record(&[])? {
                Tried::Done => None,
                Tried::Syntax(problem) => Some(problem),
                Tried::Unfinished | Tried::Holder => Some(Problem::TooLong {
                    limit: self.reader.limit,
                }),
            };
            self.reader.mark = None;
            if let Some(problem) = problem {
                match self.reader.skip_value() {
                    Ok(()) => {}
                    Err(Halt::Io(error)) => return Err(Broken::Read(error.into())),
                    Err(Halt::Fault(end)) => {
                        // What seemed too long may have no end.
                        let too_long = matches!(problem, Problem::TooLong { .. });
                        let problem = if too_long { end } else { problem };
                        return Err(Broken::Array { at, problem });
                    }
                }
                self.fault(at, problem, false)?;
            }
            match self.array_token()? {
                b',' => self.reader.position += 1,
                b']' => {
                    self.reader.position += 1;
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

    fn array_token(&mut self) -> Result<u8, Broken> {
        self.reader.inner_token().map_err(|halt| match halt {
            Halt::Io(error) => Broken::Read(error.into()),
            Halt::Fault(problem) => Broken::Array {
                at: self.reader.offset(),
                problem,
            },
        })
    }
}
