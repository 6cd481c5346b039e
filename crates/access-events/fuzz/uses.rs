//! What is done with an input of any content: every format reads it, whole and in pieces. Used by the fuzz targets and by a test of
//! the crate, which runs the samples through it.

#![allow(dead_code, reason = "each target takes one of these")]
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a broken promise has to be heard"
)]

use std::fmt::Write as _;
use std::io::{self, BufReader, Read};
use std::num::NonZeroUsize;

use access_events::extract::{ExtractError, OnError};
use access_events::format::flow_log::FlowEntity;
use access_events::format::{
    CloudTrail, Csv, FlowLog, Format, GuardDuty, JsonLines, Malformed, Ocsf, Sink, Stopped, TimeFormat,
    WebLog,
};
use access_events::{DropReason, Extract, Input, Sighting};

/// Small enough to be reached.
const LIMIT: usize = 200;

/// Formats whose records are JSON.
pub(crate) fn json(bytes: &[u8]) {
    let paths = || JsonLines::draft("user.name", "client.addresses.0").time("time", TimeFormat::Rfc3339);
    each(&CloudTrail::new(), bytes);
    each(&GuardDuty::new(), bytes);
    each(&Ocsf::new(), bytes);
    each(&paths().check().expect("it makes sense"), bytes);
    each(&CloudTrail::new().record_limit(LIMIT), bytes);
}

/// Formats whose records are lines.
pub(crate) fn lines(bytes: &[u8]) {
    each(&FlowLog::new(), bytes);
    let draft = FlowLog::draft().entity(FlowEntity::Instance).ports([443]);
    each(&draft.check().expect("it makes sense"), bytes);
    each(&WebLog::new(), bytes);
    each(&WebLog::new().forwarded(true).line_limit(LIMIT), bytes);
}

/// Tables.
pub(crate) fn tables(bytes: &[u8]) {
    for quoting in [true, false] {
        let draft = Csv::draft("1", "2")
            .time("3", TimeFormat::Seconds)
            .quoting(quoting);
        each(&draft.header(false).check().expect("it makes sense"), bytes);
        let draft = Csv::draft("user", "client address").quoting(quoting);
        each(&draft.check().expect("it makes sense"), bytes);
    }
    // The crate's own CSV ends at the first error, or reads everything back that it writes.
    if let Ok(events) = access_events::read_csv(bytes) {
        let mut written = Vec::new();
        access_events::write_csv(&mut written, &events).expect("what was read can be written");
        assert_eq!(
            access_events::read_csv(&written[..]).expect("what was written can be read"),
            events
        );
    }
}

/// Anything at all.
pub(crate) fn extract(bytes: &[u8]) {
    let run = |on_error, piece: usize| {
        let content = bytes.to_vec();
        let input = Input::new("input", move || {
            Ok(Box::new(Pieces {
                content,
                at: 0,
                piece,
            }) as _)
        });
        let mut pairs = 0;
        let result = Extract::guessing()
            .threads(NonZeroUsize::MIN)
            .on_error(on_error)
            .run([input], |dated| {
                assert!(!dated.event.entity.is_empty());
                pairs += 1;
                Ok(())
            });
        match result {
            Ok(summary) => {
                assert_eq!(summary.pairs, pairs);
                assert_eq!(summary.uses, summary.pairs + summary.dropped());
                assert!(summary.records <= summary.uses + summary.malformed);
                assert!(summary.cut_short <= summary.inputs);
                format!("{summary:?}")
            }
            Err(error) => {
                let expected = match on_error {
                    OnError::Stop => true,
                    OnError::Skip => matches!(error, ExtractError::UnknownFormat { .. }),
                };
                assert!(expected, "{error:?}");
                format!("{pairs} {error}")
            }
        }
    };
    for on_error in [OnError::Stop, OnError::Skip] {
        assert_eq!(run(on_error, 3), run(on_error, usize::MAX));
    }
}

/// Bytes that come in pieces.
struct Pieces {
    content: Vec<u8>,
    at: usize,
    piece: usize,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let piece = buffer.len().min(self.piece);
        let read = (&self.content[self.at..]).read(&mut buffer[..piece])?;
        self.at += read;
        Ok(read)
    }
}

/// Writes down what it is told, and holds the format to its promises.
#[derive(Default)]
struct Notes {
    text: String,
    records: u64,
    /// Whether the record has been told of.
    told: bool,
    /// Whether it was malformed, after which nothing of it may come.
    malformed: bool,
    stop: bool,
    stopped: bool,
}

impl Notes {
    fn tell(&mut self) {
        assert!(self.records > 0, "something was told before the first record");
        assert!(!self.malformed && !self.stopped, "{}", self.text);
        self.told = true;
    }
}

impl Sink for Notes {
    fn record(&mut self) {
        assert!(
            self.told || self.records == 0,
            "nothing was told of record {}",
            self.records
        );
        assert!(!self.stopped, "it goes on after it was stopped");
        self.records += 1;
        (self.told, self.malformed) = (false, false);
    }

    fn sighting(&mut self, sighting: Sighting<'_>) -> Result<(), Stopped> {
        self.tell();
        let _ = writeln!(self.text, "{} {sighting:?}", self.records);
        Ok(())
    }

    fn dropped(&mut self, reason: DropReason) {
        self.tell();
        let _ = writeln!(self.text, "{} {reason}", self.records);
    }

    fn malformed(&mut self, fault: Malformed) -> Result<(), Stopped> {
        assert!(!self.told, "a record was told of, and then it was malformed");
        self.tell();
        self.malformed = true;
        let _ = writeln!(self.text, "{} {fault:?}", self.records);
        self.stopped = self.stop;
        if self.stop { Err(Stopped) } else { Ok(()) }
    }
}

/// What is told does not depend on the pieces in which the bytes come; whoever stops has been told what comes before.
fn each(format: &dyn Format, bytes: &[u8]) {
    let read = |stop, piece, capacity| {
        let pieces = Pieces {
            content: bytes.to_vec(),
            at: 0,
            piece,
        };
        let mut notes = Notes {
            stop,
            ..Notes::default()
        };
        let result = format.read(&mut BufReader::with_capacity(capacity, pieces), &mut notes);
        assert_eq!(result.is_err(), notes.stopped, "{}: {result:?}", format.name());
        assert!(
            notes.told || notes.records == 0,
            "{}: nothing was told of the last record",
            format.name()
        );
        notes.text
    };
    let whole = read(false, usize::MAX, 1 << 16);
    for piece in [1, 7] {
        assert_eq!(
            read(false, piece, 5),
            whole,
            "{}: in pieces of {piece}",
            format.name()
        );
    }
    let until = read(true, usize::MAX, 1 << 16);
    assert!(whole.starts_with(&until), "{}: {until}", format.name());
}
