//! A window on the input: reads on, looks for the next thing that counts, and finds its way after what is not JSON.

use std::io::{self, BufRead};

use super::cursor::{Cursor, Stuck};
use crate::format::Problem;

/// How much is read at a time, in bytes.
const CHUNK: usize = 128 * 1024;

/// Why the scan for the next record does not go on.
pub(super) enum Halt {
    Io(io::Error),
    Fault(Problem),
}

impl From<io::Error> for Halt {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// A window on the input.
pub(super) struct Reader<'r> {
    input: &'r mut dyn BufRead,
    pub(super) buffer: Vec<u8>,
    /// Where the bytes read end in `buffer`.
    pub(super) end: usize,
    /// The next byte to look at.
    pub(super) position: usize,
    /// From here on bytes are kept: the beginning of the record that is being looked at.
    pub(super) mark: Option<usize>,
    /// The input's bytes before `buffer`.
    pub(super) base: u64,
    pub(super) limit: usize,
    /// What came in place of more bytes, while there were some to look at.
    failure: Option<io::Error>,
    /// Bytes looked at more than once because a fault made it necessary.
    rescanned: u64,
    /// Where the last [`token`](Self::token) is.
    token_at: Option<u64>,
    /// How many blanks its line begins with.
    pub(super) indent: usize,
    /// Whether nothing but blanks is before it on its line.
    is_first: bool,
}

/// How reading goes on after a record at fault.
pub(super) enum After {
    /// The position is right behind it.
    Behind {
        /// Whether there may be other records in it, because of quotes that are missing.
        lost: bool,
    },
    /// The position is on a later line, or at the end.
    Later {
        /// Whether text was passed over that may hold other records.
        lost: bool,
        /// Whether the input ended before the record's brackets were closed.
        is_open: bool,
    },
}

impl<'r> Reader<'r> {
    pub(super) fn new(input: &'r mut dyn BufRead, limit: usize) -> Self {
        Self {
            input,
            buffer: vec![0; CHUNK],
            end: 0,
            position: 0,
            mark: None,
            base: 0,
            limit,
            failure: None,
            rescanned: 0,
            token_at: None,
            indent: 0,
            is_first: true,
        }
    }

    pub(super) fn offset(&self) -> u64 {
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
        if let Some(failure) = self.failure.take() {
            return Err(failure);
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
    pub(super) fn double(&mut self) -> io::Result<bool> {
        self.mark = Some(self.position);
        let had = self.end - self.position;
        while self.end - self.position < (2 * had).max(1) {
            if self.end - self.position > self.limit {
                break;
            }
            match self.fill() {
                Ok(true) => {}
                Ok(false) => break,
                // The record may be whole.
                Err(failure) if self.end - self.position > had => {
                    self.failure = Some(failure);
                    break;
                }
                Err(failure) => return Err(failure),
            }
        }
        Ok(self.end - self.position > had)
    }

    /// Whether the position is farther from the mark than a record may be long. Then it goes back to where the limit is, so that it does
    /// not matter in which pieces the bytes have come.
    pub(super) fn is_too_long(&mut self) -> bool {
        match self.mark {
            Some(mark) if self.position - mark > self.limit => {
                self.position = mark + self.limit;
                true
            }
            _ => false,
        }
    }

    /// The byte at the position, nothing at the end of the input.
    pub(super) fn peek(&mut self) -> io::Result<Option<u8>> {
        if self.position == self.end && !self.fill()? {
            return Ok(None);
        }
        Ok(Some(self.buffer[self.position]))
    }

    /// The next byte that is no blank.
    pub(super) fn token(&mut self) -> io::Result<Option<u8>> {
        let mut blanks = self.token_at.is_none().then_some(0);
        while let Some(byte) = self.peek()? {
            match byte {
                b'\n' => blanks = Some(0),
                b' ' | b'\t' | b'\r' => blanks = blanks.map(|blanks| blanks + 1),
                _ => {
                    let at = Some(self.offset());
                    if self.token_at != at {
                        self.token_at = at;
                        self.is_first = blanks.is_some();
                        self.indent = blanks.unwrap_or(self.indent);
                    }
                    return Ok(Some(byte));
                }
            }
            self.position += 1;
        }
        Ok(None)
    }

    /// Goes behind a byte order mark, with which a file begins, be it in the middle of several; whether there is one.
    pub(super) fn skip_byte_order_mark(&mut self) -> io::Result<bool> {
        const MARK: &[u8] = b"\xef\xbb\xbf";
        while self.end - self.position < MARK.len() && self.fill()? {}
        let found = self.buffer[self.position..self.end].starts_with(MARK);
        if found {
            self.position += MARK.len();
            self.token_at = None;
        }
        Ok(found)
    }

    /// The next byte that is no blank, where there must be one.
    pub(super) fn inner_token(&mut self) -> Result<u8, Halt> {
        self.token()?.ok_or(Halt::Fault(Problem::EndsEarly))
    }

    pub(super) fn expect(&mut self, byte: u8) -> Result<(), Halt> {
        if self.inner_token()? != byte {
            return Err(unexpected(&format!("`{}`", char::from(byte))));
        }
        self.position += 1;
        Ok(())
    }

    /// Goes behind the value that begins at the position, by its brackets and quotes alone.
    pub(super) fn skip_value(&mut self) -> Result<(), Halt> {
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
            b',' | b':' | b'}' | b']' => Err(unexpected("a value")),
            // A number or a word, be it one that JSON does not have.
            _ => {
                while let Some(byte) = self.peek()? {
                    if matches!(byte, b',' | b'}' | b']' | b' ' | b'\t' | b'\r' | b'\n') {
                        break;
                    }
                    self.position += 1;
                }
                Ok(())
            }
        }
    }

    /// Goes behind the value that comes next where it is JSON and no longer than the limit; otherwise to where it begins, and says what is
    /// wrong with it, if more than its length.
    pub(super) fn skip_json(&mut self) -> Result<Option<Problem>, Halt> {
        self.inner_token()?;
        let problem = loop {
            let mut cursor = Cursor::new(&self.buffer[self.position..self.end], &[]);
            let skipped = cursor.skip();
            let length = cursor.position();
            match skipped {
                Ok(()) if length <= self.limit => {
                    self.position += length;
                    break None;
                }
                Err(Stuck::End) if self.double()? => {}
                Err(Stuck::Syntax(at, wanted)) if at <= self.limit => {
                    break Some(syntax(self.offset() + at as u64, wanted));
                }
                _ => {
                    self.mark = None;
                    self.skip_value()?;
                    break None;
                }
            }
        };
        self.mark = None;
        Ok(problem)
    }

    /// Goes on after the record at fault that begins at the mark: behind it, where its brackets tell its end, and otherwise to the next line
    /// that may begin a record. `indent` are the blanks before the record's own line.
    pub(super) fn leave(&mut self, indent: usize, in_array: bool) -> io::Result<After> {
        let mut lost = !self.rewind();
        let mut is_open = false;
        if !lost {
            match self.skip_marked(indent)? {
                Skipped::Behind => {
                    let lost = Others::are_in(self.marked());
                    return Ok(After::Behind { lost });
                }
                Skipped::Swallowed => {}
                Skipped::Open => is_open = true,
            }
            lost = !self.rewind();
        }
        lost |= self.next_line(indent, in_array)?;
        Ok(After::Later { lost, is_open })
    }

    /// Goes behind the record at the mark by its brackets. One that is longer than the limit loses the mark.
    fn skip_marked(&mut self, indent: usize) -> io::Result<Skipped> {
        match self.peek()? {
            Some(b'{' | b'[' | b'"') => {}
            _ => {
                return Ok(match self.skip_value() {
                    Ok(()) => Skipped::Behind,
                    Err(Halt::Io(error)) => return Err(error),
                    Err(Halt::Fault(_)) => Skipped::Swallowed,
                });
            }
        }
        let mut nesting = Nesting::default();
        loop {
            let found = nesting.scan(&self.buffer[self.position..self.end]);
            self.position = found.map_or(self.end, |length| self.position + length);
            if let Some(mark) = self.mark
                && self.position - mark > self.limit
            {
                if swallows(&self.buffer[mark..mark + self.limit], indent) {
                    self.position = mark + self.limit;
                    return Ok(Skipped::Swallowed);
                }
                self.mark = None;
            }
            if found.is_some() {
                return Ok(match self.mark {
                    Some(mark) if swallows(&self.buffer[mark..self.position], indent) => Skipped::Swallowed,
                    _ => Skipped::Behind,
                });
            }
            if !self.fill()? {
                return Ok(Skipped::Open);
            }
        }
    }

    /// Goes to the next line that may begin a record: one that is indented no deeper than `indent`. What closes brackets there is gone over. True
    /// when text was passed over that may hold other records.
    pub(super) fn next_line(&mut self, indent: usize, in_array: bool) -> io::Result<bool> {
        self.mark = None;
        let mut lost = self.pass_line(in_array)?;
        loop {
            match self.token()? {
                None => return Ok(lost),
                Some(b'}' | b']' | b',') => self.position += 1,
                Some(_) if self.indent <= indent => return Ok(lost),
                Some(byte) => {
                    lost |= matches!(byte, b'{' | b'[');
                    self.pass_line(in_array)?;
                }
            }
        }
    }

    /// Goes to the end of the line. True when what is left of it may hold [others](Others) than the record that begins at the position, or any
    /// where text is between records.
    fn pass_line(&mut self, in_array: bool) -> io::Result<bool> {
        let is_text = !matches!(self.peek()?, Some(b'{' | b'['));
        let mut others = Others {
            is_over: is_text && !self.is_first,
            with_commas: in_array || is_text,
            ..Others::default()
        };
        while let Some(byte) = self.peek()?.filter(|byte| *byte != b'\n') {
            others.add(byte);
            self.position += 1;
        }
        Ok(others.found)
    }

    /// What is between the mark and the position.
    pub(super) fn marked(&self) -> &[u8] {
        self.mark.map_or(&[], |mark| &self.buffer[mark..self.position])
    }

    /// Goes back to the beginning of the marked record, so that it is looked at again, as long as this does not happen so often that
    /// reading takes time in the square of the input. False when it stays where it is.
    fn rewind(&mut self) -> bool {
        let Some(mark) = self.mark else { return false };
        let again = (self.position - mark) as u64;
        let may = self.rescanned + again <= 4 * self.limit as u64 + self.offset();
        if may {
            self.rescanned += again;
            self.position = mark;
        }
        may
    }
}

/// What the brackets of a record at fault tell.
enum Skipped {
    /// Its end, which the position is behind.
    Behind,
    /// No end that can be believed: there are lines in it that may be records of their own.
    Swallowed,
    /// The input ends before them.
    Open,
}

/// Whether a line of the text, but for the first, may begin a record: with an opening bracket, and no more than `indent` blanks before it or a
/// closing bracket on the line before.
fn swallows(text: &[u8], indent: usize) -> bool {
    memchr::memchr_iter(b'\n', text).any(|end| {
        let line = &text[end + 1..];
        let begun = line.trim_ascii_start();
        let is_closed = || matches!(text[..end].trim_ascii_end().last(), Some(b'}' | b']'));
        matches!(begun.first(), Some(b'{' | b'[')) && (line.len() - begun.len() <= indent || is_closed())
    })
}

/// Looks for other records in the text of one at fault, where a quote or a bracket is missing: for a bracket that opens after all were closed,
/// or where none opens in JSON. Brackets in strings count as well, since nobody knows where strings begin.
#[derive(Default)]
struct Others {
    found: bool,
    depth: usize,
    /// Whether all brackets were closed once.
    is_over: bool,
    /// Whether the last thing but commas closed a bracket.
    is_closed: bool,
    /// The last thing, and the one before.
    last: Option<u8>,
    before: Option<u8>,
    /// Whether a comma may be between two records.
    with_commas: bool,
}

impl Others {
    fn are_in(text: &[u8]) -> bool {
        let mut others = Self::default();
        text.iter().for_each(|byte| others.add(*byte));
        others.found
    }

    fn add(&mut self, byte: u8) {
        match byte {
            b' ' | b'\t' | b'\r' | b'\n' => return,
            b',' => {}
            b'{' | b'[' => {
                let is_odd = match (self.before, self.last) {
                    (_, Some(b',')) => self.with_commas && self.is_closed,
                    // Behind a quote that closes; one that opens may be before a text with brackets.
                    (Some(before), Some(b'"')) => !matches!(before, b':' | b',' | b'[' | b'\\'),
                    (Some(b'"'), Some(last)) if last.is_ascii_alphanumeric() => true,
                    _ => self.is_closed,
                };
                self.found |= self.is_over || is_odd;
                self.depth += 1;
                self.is_closed = false;
            }
            b'}' | b']' => {
                self.depth = self.depth.saturating_sub(1);
                self.is_over |= self.depth == 0;
                self.is_closed = true;
            }
            _ => self.is_closed = false,
        }
        self.before = self.last.replace(byte);
    }
}

/// What is said of a text that is not JSON, with the byte at which it is not.
pub(super) fn syntax(at: u64, wanted: &str) -> Problem {
    Problem::Json(format!("expected {wanted} at byte {at}"))
}

pub(super) fn unexpected(wanted: &str) -> Halt {
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
