//! What is in a file: plain or gzip, lines or documents; and its records as events.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{FollowError, Place, Seen, Unread};
use crate::format::{Format, Malformed, Problem, ReadError, Sink, Stopped};
use crate::gunzip::{self, Gunzip};
use crate::policy::Verdict;
use crate::report::{DropReason, MalformedRecord, Summary};
use crate::sighting::Sighting;
use crate::{AccessEvent, Extract, format, input};

/// How much is decompressed at a time, in bytes.
const BUFFER: usize = 64 * 1024;
/// From so many events of one document on, they are handed on.
const SOME: usize = 1024;

/// A file's bytes, decompressed where they are gzip.
pub(super) struct Content {
    file: Arc<File>,
    is_packed: bool,
    is_followed: AtomicBool,
}

impl Content {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Self::of(&Arc::new(File::open(path)?))
    }

    /// A file that was found under this name, as long as it has it: otherwise it is as if there were none.
    pub(super) fn found(path: &Path, id: &str) -> io::Result<Self> {
        let content = Self::open(path)?;
        if input::id(path, &content.file.metadata()?) == id {
            Ok(content)
        } else {
            Err(io::ErrorKind::NotFound.into())
        }
    }

    pub(super) fn of(file: &Arc<File>) -> io::Result<Self> {
        let mut magic = Vec::new();
        let mut reader = &**file;
        reader.seek(SeekFrom::Start(0))?;
        reader.take(2).read_to_end(&mut magic)?;
        Ok(Self {
            file: Arc::clone(file),
            is_packed: magic == gunzip::MAGIC,
            is_followed: AtomicBool::new(false),
        })
    }

    pub(super) fn handle(&self) -> Arc<File> {
        Arc::clone(&self.file)
    }

    pub(super) fn is_packed(&self) -> bool {
        self.is_packed
    }

    /// Whether something else than gzip comes after the stream, where it has been read to its end.
    pub(super) fn is_followed(&self) -> bool {
        self.is_followed.load(Ordering::Relaxed)
    }

    /// The bytes from a place on.
    pub(super) fn from(&mut self, at: u64) -> io::Result<Box<dyn Read + '_>> {
        let mut file = &*self.file;
        if !self.is_packed {
            file.seek(SeekFrom::Start(at))?;
            return Ok(Box::new(file));
        }
        file.seek(SeekFrom::Start(0))?;
        let mut reader = Gunzip::new(BufReader::with_capacity(BUFFER, file), Some(&self.is_followed));
        io::copy(&mut (&mut reader).take(at), &mut io::sink())?;
        Ok(Box::new(reader))
    }

    pub(super) fn first(&mut self, bytes: u64) -> io::Result<Vec<u8>> {
        let mut first = Vec::new();
        self.from(0)?.take(bytes).read_to_end(&mut first)?;
        Ok(first)
    }

    pub(super) fn length(&mut self) -> io::Result<u64> {
        if !self.is_packed {
            return Ok(self.file.metadata()?.len());
        }
        io::copy(&mut self.from(0)?, &mut io::sink())
    }

    /// Whether there are so many bytes.
    pub(super) fn reaches(&mut self, at: u64) -> io::Result<bool> {
        if !self.is_packed {
            return Ok(self.file.metadata()?.len() >= at);
        }
        Ok(io::copy(&mut self.from(0)?.take(at), &mut io::sink())? == at)
    }

    /// Whether a gzip stream has its end; plain files always do.
    pub(super) fn is_complete(&mut self) -> io::Result<bool> {
        match self.length() {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Where the last whole line ends.
    pub(super) fn end_of_lines(&mut self) -> io::Result<u64> {
        let length = self.length()?;
        if self.is_packed {
            return Ok(length);
        }
        let mut end = length;
        while end > 0 {
            let begin = end.saturating_sub(BUFFER as u64);
            let mut part = Vec::new();
            self.from(begin)?.take(end - begin).read_to_end(&mut part)?;
            if let Some(last) = memchr::memrchr(b'\n', &part) {
                return Ok(begin + last as u64 + 1);
            }
            end = begin;
        }
        Ok(0)
    }
}

/// Whether one file holds what another one begins with, and no more.
pub(super) fn is_beginning_of(path: &Path, of: &Path) -> io::Result<bool> {
    let (mut a, mut b) = (File::open(path)?, File::open(of)?);
    let length = a.metadata()?.len();
    if length == 0 || length > b.metadata()?.len() {
        return Ok(false);
    }
    let (mut left, mut right) = (vec![0; BUFFER], vec![0; BUFFER]);
    let mut rest = length;
    while rest > 0 {
        let part = usize::try_from(rest).unwrap_or(BUFFER).min(BUFFER);
        a.read_exact(&mut left[..part])?;
        b.read_exact(&mut right[..part])?;
        if left[..part] != right[..part] {
            return Ok(false);
        }
        rest -= part as u64;
    }
    Ok(true)
}

/// How a file is to be read.
#[derive(Clone)]
pub(super) struct Form {
    pub(super) format: Arc<dyn Format>,
    /// The first line, where it says what the others are and tells of no use itself.
    header: Option<Vec<u8>>,
    /// Its records are not lines.
    pub(super) is_document: bool,
}

impl Form {
    pub(super) fn new(format: Arc<dyn Format>, first: &[u8], is_document: bool) -> Self {
        let line = memchr::memchr(b'\n', first).map(|end| &first[..=end]);
        let header = line.filter(|line| {
            let mut look = Look::default();
            !line.trim_ascii().is_empty()
                && matches!(format.read(&mut &line[..], &mut look), Ok(()))
                && look.records == 0
        });
        Self {
            header: header.map(<[u8]>::to_vec),
            format,
            is_document,
        }
    }

    pub(super) fn header(&self) -> Option<&[u8]> {
        self.header.as_deref()
    }
}

/// Whether a file is JSON whose records are not lines: its first line is none by itself, or has no end.
pub(super) fn is_document(first: &[u8]) -> bool {
    let text = first
        .strip_prefix(b"\xef\xbb\xbf")
        .unwrap_or(first)
        .trim_ascii_start();
    if !text.starts_with(b"{") && !text.starts_with(b"[") {
        return false;
    }
    match memchr::memchr(b'\n', text) {
        None => true,
        Some(end) => serde_json::from_slice::<serde::de::IgnoredAny>(&text[..end]).is_err(),
    }
}

/// Counts records, and sees whether the last one is whole.
#[derive(Default)]
pub(super) struct Look {
    records: u64,
    pub(super) ends_early: bool,
}

impl Sink for Look {
    fn record(&mut self) {
        self.records += 1;
        self.ends_early = false;
    }

    fn sighting(&mut self, _: Sighting<'_>) -> Result<(), Stopped> {
        Ok(())
    }

    fn dropped(&mut self, _: DropReason) {}

    fn malformed(&mut self, fault: Malformed) -> Result<(), Stopped> {
        self.ends_early = fault.problem == Problem::EndsEarly;
        Ok(())
    }
}

/// Lets a format read to the end.
pub(super) fn read(format: &dyn Format, reader: impl Read, sink: &mut dyn Sink) -> io::Result<()> {
    match format.read(&mut BufReader::with_capacity(BUFFER, reader), sink) {
        Ok(()) | Err(ReadError::Stopped) => Ok(()),
        Err(ReadError::Io(error)) => Err(error),
    }
}

/// Events and counts.
#[derive(Default)]
pub(super) struct Collected {
    pub(super) events: Vec<Seen>,
    pub(super) summary: Summary,
}

/// What is done with events and counts up to a record of a document; the last time with `true`.
pub(super) type Flush<'a> = &'a mut dyn FnMut(&mut Collected, u64, bool) -> Result<(), Stopped>;

/// Makes events of what a format tells.
struct Collect<'a, 'b> {
    extract: &'a Extract,
    file: &'a Arc<str>,
    collected: Collected,
    /// Of lines, where the one begins that was read last.
    line: Option<&'a Cell<u64>>,
    /// Of a document, so many records have been dealt with.
    skip: u64,
    record: u64,
    flush: Option<Flush<'b>>,
    rest_lost: bool,
    failure: Option<FollowError>,
}

impl Collect<'_, '_> {
    fn place(&self) -> Place {
        match self.line {
            Some(line) => Place::Byte(line.get()),
            None => Place::Record(self.record),
        }
    }

    fn is_skipped(&self) -> bool {
        self.record <= self.skip
    }

    fn fail(&mut self, problem: String) -> Stopped {
        self.failure = Some(FollowError::Malformed {
            file: self.file.to_string(),
            place: self.place().to_string(),
            problem,
        });
        Stopped
    }
}

impl Sink for Collect<'_, '_> {
    fn record(&mut self) {
        self.record += 1;
        if !self.is_skipped() {
            self.collected.summary.records += 1;
        }
    }

    fn sighting(&mut self, sighting: Sighting<'_>) -> Result<(), Stopped> {
        if self.is_skipped() {
            return Ok(());
        }
        let last = self.collected.events.last().map(|seen| seen.place);
        if self.collected.events.len() >= SOME
            && last != Some(self.place())
            && let Some(flush) = &mut self.flush
            && flush(&mut self.collected, self.record - 1, false).is_err()
        {
            self.failure = Some(FollowError::Stopped);
            return Err(Stopped);
        }
        match self.extract.policy_in_use().judge(&sighting) {
            Verdict::Pair { entity, ip } => {
                self.collected.summary.pair();
                let seen = Seen {
                    event: AccessEvent::new(entity, ip),
                    time: sighting.time,
                    file: Arc::clone(self.file),
                    place: self.place(),
                };
                self.collected.events.push(seen);
                Ok(())
            }
            Verdict::Drop(reason) => {
                self.collected.summary.drop(reason);
                Ok(())
            }
            Verdict::RejectIpv6 => {
                let address = sighting.address.to_owned();
                Err(self.fail(format!("the address `{address}` is IPv6, and only IPv4 is known")))
            }
        }
    }

    fn dropped(&mut self, reason: DropReason) {
        if !self.is_skipped() {
            self.collected.summary.drop(reason);
        }
    }

    fn malformed(&mut self, fault: Malformed) -> Result<(), Stopped> {
        if self.is_skipped() {
            return Ok(());
        }
        if !self.extract.skips_malformed() {
            return Err(self.fail(fault.problem.to_string()));
        }
        self.rest_lost |= fault.rest_lost;
        let place = match self.line {
            Some(line) => format::Place::Byte(line.get()),
            None => fault.place,
        };
        self.collected.summary.malformed(MalformedRecord {
            input: self.file.to_string(),
            record: self.record,
            fault: Malformed { place, ..fault },
        });
        Ok(())
    }
}

/// The events of a document after so many records; how many records there are.
pub(super) fn document(
    extract: &Extract,
    form: &Form,
    file: &Arc<str>,
    reader: impl Read,
    skip: u64,
    flush: Flush<'_>,
) -> Result<u64, Unread> {
    let mut collect = Collect {
        extract,
        file,
        collected: Collected::default(),
        line: None,
        skip,
        record: 0,
        flush: Some(flush),
        rest_lost: false,
        failure: None,
    };
    read(&*form.format, reader, &mut collect)?;
    if let Some(failure) = collect.failure {
        return Err(failure.into());
    }
    let records = collect.record.max(skip);
    if let Some(flush) = collect.flush {
        flush(&mut collect.collected, records, true).map_err(FollowError::from)?;
    }
    Ok(records)
}

/// The events of lines that begin at a place of a file.
pub(super) fn lines(
    extract: &Extract,
    form: &Form,
    file: &Arc<str>,
    lines: &[u8],
    at: u64,
) -> Result<Collected, Unread> {
    let all = some_lines(extract, form, file, lines, at)?;
    if !all.1 {
        return Ok(all.0);
    }
    // A record took the rest with it: each line for itself.
    let mut collected = Collected::default();
    let mut begin = 0;
    for end in memchr::memchr_iter(b'\n', lines)
        .map(|end| end + 1)
        .chain([lines.len()])
    {
        let line = &lines[begin..end];
        if !line.trim_ascii().is_empty() {
            let (mut one, _) = some_lines(extract, form, file, line, at + begin as u64)?;
            collected.events.append(&mut one.events);
            collected.summary.add(one.summary);
        }
        begin = end;
    }
    Ok(collected)
}

/// The same, and whether a record took the rest with it.
fn some_lines(
    extract: &Extract,
    form: &Form,
    file: &Arc<str>,
    lines: &[u8],
    at: u64,
) -> Result<(Collected, bool), Unread> {
    let line = Cell::new(at);
    let mut feed = Feed {
        header: form.header().filter(|_| at > 0).unwrap_or_default(),
        lines,
        line: &line,
        begun: at,
    };
    let mut collect = Collect {
        extract,
        file,
        collected: Collected::default(),
        line: Some(&line),
        skip: 0,
        record: 0,
        flush: None,
        rest_lost: false,
        failure: None,
    };
    match form.format.read(&mut feed, &mut collect) {
        Ok(()) | Err(ReadError::Stopped) => {}
        Err(ReadError::Io(error)) => return Err(error.into()),
    }
    match collect.failure {
        Some(failure) => Err(failure.into()),
        None => Ok((collect.collected, collect.rest_lost)),
    }
}

/// Gives a header and then lines, one at a time, and tells where the one begins that was asked for last.
struct Feed<'a> {
    header: &'a [u8],
    lines: &'a [u8],
    line: &'a Cell<u64>,
    /// Where `lines` begins.
    begun: u64,
}

impl BufRead for Feed<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if !self.header.is_empty() {
            return Ok(self.header);
        }
        self.line.set(self.begun);
        let end = memchr::memchr(b'\n', self.lines).map_or(self.lines.len(), |end| end + 1);
        Ok(&self.lines[..end])
    }

    fn consume(&mut self, amount: usize) {
        if !self.header.is_empty() {
            self.header = &self.header[amount..];
            return;
        }
        self.lines = &self.lines[amount..];
        self.begun += amount as u64;
    }
}

impl Read for Feed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut available = self.fill_buf()?;
        let read = available.read(buffer)?;
        self.consume(read);
        Ok(read)
    }
}
