//! From inputs to pairs: files in parallel, pairs in the order of the inputs, counts of everything left out.

use std::error::Error as StdError;
use std::io::{self, BufReader, Read};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;

use jiff::Timestamp;

use crate::AccessEvent;
use crate::format::{Format, Malformed, Place, Problem, ReadError, Sink, Stopped, guess};
use crate::gunzip::{self, Damage, Gunzip};
use crate::input::{Input, Source};
use crate::policy::{Policy, Verdict};
use crate::report::{CutShort, DropReason, MalformedRecord, Summary};
use crate::sighting::Sighting;

/// How many pairs go from a reading thread to the caller at once.
const BATCH: usize = 1024;
/// How many bytes the entities of these pairs may have, but for the last one.
const BATCH_BYTES: usize = 64 * 1024;
/// How many batches of one input may wait for their turn.
const WAITING: usize = 8;
/// How many inputs may be read, or wait to be taken, at once, for each thread.
const AHEAD: usize = 8;
/// How much is read at a time, in bytes.
const BUFFER: usize = 64 * 1024;
/// By how many of its first bytes an input is known.
const LOOKED_AT: usize = 64 * 1024;

/// An event, when it was, and which record of its input tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dated {
    /// Who, from where.
    pub event: AccessEvent,
    /// When; nothing when the source has no time.
    pub time: Option<Timestamp>,
    /// The record's number, one-based.
    pub record: u64,
}

/// What to do with a record that cannot be understood.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnError {
    /// Stop with an error that names it.
    #[default]
    Stop,
    /// Count it and go on.
    Skip,
}

/// How to read inputs. Settings have defaults; [`run`](Self::run) does the work.
#[derive(Clone)]
pub struct Extract {
    format: Option<Arc<dyn Format>>,
    policy: Policy,
    on_error: OnError,
    threads: NonZeroUsize,
}

impl Extract {
    /// An extraction that knows each input's format by its first bytes, and refuses inputs of which it is not certain.
    pub fn guessing() -> Self {
        Self {
            format: None,
            policy: Policy::default(),
            on_error: OnError::default(),
            threads: thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
        }
    }

    /// An extraction from inputs of one format.
    pub fn of(format: impl Format + 'static) -> Self {
        Self {
            format: Some(Arc::new(format)),
            ..Self::guessing()
        }
    }

    /// What becomes of the sightings; [`Policy::default`] by default.
    #[must_use]
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// What to do with a malformed record or damaged input; [`OnError::Stop`] by default. A gzip stream that ends too
    /// early is not an error either way.
    #[must_use]
    pub fn on_error(mut self, on_error: OnError) -> Self {
        self.on_error = on_error;
        self
    }

    /// On how many threads inputs are read; as many as the machine has by default. The result does not depend on it.
    #[must_use]
    pub fn threads(mut self, threads: NonZeroUsize) -> Self {
        self.threads = threads;
        self
    }

    pub(crate) fn format(&self) -> Option<Arc<dyn Format>> {
        self.format.clone()
    }

    pub(crate) fn policy_in_use(&self) -> &Policy {
        &self.policy
    }

    pub(crate) fn skips_malformed(&self) -> bool {
        self.on_error == OnError::Skip
    }

    /// What an input is that is not read at all, by its first bytes.
    pub(crate) fn foreign(&self, first: &[u8]) -> Option<&'static str> {
        let unread = match &self.format {
            Some(_) => None,
            None => guess::unread(first),
        };
        guess::foreign(first).or(unread)
    }

    /// Reads `inputs` and gives each pair to `take`, in the order of the inputs and of the records in them.
    ///
    /// `inputs` is asked for the next input when there is a thread to read it, on any of them.
    ///
    /// # Errors
    ///
    /// The first problem in the order of the inputs, however the threads run; see [`ExtractError`]. Pairs that come
    /// before it have been given to `take`.
    pub fn run<I>(
        &self,
        inputs: I,
        mut take: impl FnMut(Dated) -> Result<(), Box<dyn StdError + Send + Sync>>,
    ) -> Result<Summary, ExtractError>
    where
        I: IntoIterator<Item = Input>,
        I::IntoIter: Send,
    {
        let threads = self.threads.get();
        let stop = AtomicBool::new(false);
        let (queue, ordered) = sync_channel(threads * AHEAD);
        let source = Mutex::new(Tickets {
            inputs: inputs.into_iter().fuse(),
            queue: Some(queue),
        });
        thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    let _closing = CloseOnPanic(&source);
                    while !stop.load(Ordering::Relaxed)
                        && let Some((input, out)) = next_ticket(&source)
                    {
                        self.read(input, &out);
                    }
                });
            }
            let result = collect(&ordered, &mut take);
            stop.store(true, Ordering::Relaxed);
            // Threads that wait for their turn wake up and find nobody there.
            drop(ordered);
            result
        })
    }

    fn read(&self, input: Input, out: &SyncSender<Message>) {
        let Input { name, source } = input;
        let mut reading = Reading::new(name, &self.policy, self.on_error, out);
        let left_out = match &source {
            Source::LeftOut(reason) => Some(*reason),
            Source::Open(_) => match &self.format {
                Some(format) => format.leaves_out(&reading.name),
                None => guess::leaves_out(&reading.name),
            },
        };
        match (source, left_out) {
            (Source::Open(open), None) => match open() {
                Ok(bytes) => self.read_bytes(bytes, &mut reading),
                Err(source) => {
                    reading.fail(|input| ExtractError::Open { input, source });
                }
            },
            (_, reason) => {
                if let Some(reason) = reason {
                    *reading.summary.inputs_left_out.entry(reason).or_default() += 1;
                }
            }
        }
        reading.finish();
    }

    fn read_bytes(&self, bytes: Box<dyn Read + Send>, reading: &mut Reading<'_>) {
        reading.summary.inputs += 1;
        let counts = Counts::default();
        let result = self.read_stream(counts.unpacked(bytes), reading);
        reading.summary.bytes_stored = counts.stored.into_inner();
        reading.summary.bytes_read = counts.read.into_inner();
        match result {
            Ok(()) if counts.is_followed.into_inner() => reading.cut_short(Damage::Followed.to_string()),
            Ok(()) | Err(ReadError::Stopped) => {}
            Err(ReadError::Io(error)) => match Damage::of(&error) {
                Some(damage) if *damage == Damage::Truncated || self.on_error == OnError::Skip => {
                    reading.cut_short(damage.to_string());
                }
                _ => {
                    let record = reading.summary.records;
                    reading.fail(|input| ExtractError::Read {
                        input,
                        record,
                        source: error,
                    });
                }
            },
        }
    }

    fn read_stream(
        &self,
        mut stream: Begun<Box<dyn Read + '_>>,
        reading: &mut Reading<'_>,
    ) -> Result<(), ReadError> {
        let first = stream.first();
        if let Some(kind) = self.foreign(first) {
            reading.record();
            reading.malformed(Malformed {
                place: Place::Byte(0),
                problem: Problem::Foreign(kind),
                rest_lost: true,
            })?;
            return Ok(());
        }
        let format = match &self.format {
            Some(format) => Arc::clone(format),
            None if first.is_empty() && stream.failure.is_none() => return Ok(()),
            None => match guess(first) {
                Some(format) => format,
                None => {
                    // What it would have been is not known.
                    if let Some(failure) = stream.failure.take() {
                        return Err(failure.into());
                    }
                    reading.fail(|input| ExtractError::UnknownFormat { input });
                    return Err(ReadError::Stopped);
                }
            },
        };
        *reading.summary.formats.entry(format.name()).or_default() += 1;
        format.read(&mut BufReader::with_capacity(BUFFER, stream), reading)
    }
}

impl std::fmt::Debug for Extract {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Extract")
            .field("format", &self.format.as_ref().map(|format| format.name()))
            .field("policy", &self.policy)
            .field("on_error", &self.on_error)
            .field("threads", &self.threads)
            .finish()
    }
}

/// Why inputs did not become pairs.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExtractError {
    /// An input could not be opened.
    #[error("could not open `{input}`")]
    Open {
        /// The input's name.
        input: String,
        /// What the system says.
        source: io::Error,
    },
    /// An input could not be read to its end.
    #[error("could not read `{input}` on after record {record}")]
    Read {
        /// The input's name.
        input: String,
        /// How many records were read before.
        record: u64,
        /// What the system, or the decompression, says.
        source: io::Error,
    },
    /// The format of an input cannot be told by its first bytes.
    #[error("it is not certain what kind of log `{input}` is; name its format")]
    UnknownFormat {
        /// The input's name.
        input: String,
    },
    /// A record cannot be understood.
    #[error("{0}; skip malformed records to go on without it")]
    Malformed(MalformedRecord),
    /// A record has an IPv6 address, and the policy refuses them.
    #[error("`{input}`: the address of record {record}, `{address}`, is IPv6, and only IPv4 is known")]
    Ipv6 {
        /// The input's name.
        input: String,
        /// The record's number, one-based.
        record: u64,
        /// The address as the source has it.
        address: String,
    },
    /// The pairs could not be taken.
    #[error("could not write the pairs")]
    Take(#[source] Box<dyn StdError + Send + Sync>),
}

/// The inputs that nobody reads yet, and where their results go.
struct Tickets<I> {
    inputs: I,
    queue: Option<SyncSender<Receiver<Message>>>,
}

/// Takes the next input. Its results get their place in the queue at the same time, so that the places are in order.
fn next_ticket<I: Iterator<Item = Input>>(
    source: &Mutex<Tickets<I>>,
) -> Option<(Input, SyncSender<Message>)> {
    let mut tickets = source.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let queue = tickets.queue.clone()?;
    let Some(input) = tickets.inputs.next() else {
        tickets.queue = None;
        return None;
    };
    let (out, results) = sync_channel(WAITING);
    // Waits while too many inputs are ahead of the one whose pairs are being taken.
    queue.send(results).ok()?;
    Some((input, out))
}

/// Whoever opens an input may panic. The panic is passed on when all threads have ended, and for that the caller must
/// not wait for more inputs.
struct CloseOnPanic<'a, I>(&'a Mutex<Tickets<I>>);

impl<I> Drop for CloseOnPanic<'_, I> {
    fn drop(&mut self) {
        if thread::panicking() {
            let mut tickets = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            tickets.queue = None;
        }
    }
}

/// What a reading thread tells.
enum Message {
    Batch(Vec<Dated>),
    Done(Summary),
    Failed(ExtractError),
}

/// Takes the results, input by input.
fn collect(
    ordered: &Receiver<Receiver<Message>>,
    take: &mut impl FnMut(Dated) -> Result<(), Box<dyn StdError + Send + Sync>>,
) -> Result<Summary, ExtractError> {
    let mut summary = Summary::default();
    for results in ordered {
        for message in results {
            match message {
                Message::Batch(batch) => {
                    for dated in batch {
                        take(dated).map_err(ExtractError::Take)?;
                    }
                }
                Message::Done(one) => summary.add(one),
                Message::Failed(error) => return Err(error),
            }
        }
    }
    Ok(summary)
}

/// What is known of the input that a thread reads.
struct Reading<'a> {
    name: String,
    policy: &'a Policy,
    on_error: OnError,
    batch: Vec<Dated>,
    /// The bytes of the entities in it.
    batch_bytes: usize,
    out: &'a SyncSender<Message>,
    summary: Summary,
    failure: Option<ExtractError>,
}

impl<'a> Reading<'a> {
    fn new(name: String, policy: &'a Policy, on_error: OnError, out: &'a SyncSender<Message>) -> Self {
        Self {
            name,
            policy,
            on_error,
            batch: Vec::new(),
            batch_bytes: 0,
            out,
            summary: Summary::default(),
            failure: None,
        }
    }

    fn fail(&mut self, error: impl FnOnce(String) -> ExtractError) -> Stopped {
        self.failure = Some(error(self.name.clone()));
        Stopped
    }

    /// Counts the input once: the first problem is what it is named for.
    fn cut_short(&mut self, problem: String) {
        if self.summary.cut_short > 0 {
            return;
        }
        let input = CutShort {
            input: self.name.clone(),
            records: self.summary.records,
            problem,
        };
        self.summary.cut_short(input);
    }

    fn send(&mut self, message: Message) -> Result<(), Stopped> {
        self.out.send(message).map_err(|_| Stopped)
    }

    fn finish(mut self) {
        let batch = std::mem::take(&mut self.batch);
        let last = match self.failure.take() {
            None => Message::Done(std::mem::take(&mut self.summary)),
            Some(error) => Message::Failed(error),
        };
        // When nobody takes them there is nobody to tell.
        let _ = self.send(Message::Batch(batch)).and_then(|()| self.send(last));
    }
}

impl Sink for Reading<'_> {
    fn record(&mut self) {
        self.summary.records += 1;
    }

    fn sighting(&mut self, sighting: Sighting<'_>) -> Result<(), Stopped> {
        match self.policy.judge(&sighting) {
            Verdict::Pair { entity, ip } => {
                self.summary.pair();
                self.batch_bytes += entity.len();
                self.batch.push(Dated {
                    event: AccessEvent::new(entity, ip),
                    record: self.summary.records,
                    time: sighting.time,
                });
                if self.batch.len() == BATCH || self.batch_bytes >= BATCH_BYTES {
                    let next = Vec::with_capacity(self.batch.len());
                    let batch = std::mem::replace(&mut self.batch, next);
                    self.batch_bytes = 0;
                    self.send(Message::Batch(batch))?;
                }
                Ok(())
            }
            Verdict::Drop(reason) => {
                self.summary.drop(reason);
                Ok(())
            }
            Verdict::RejectIpv6 => {
                let (record, address) = (self.summary.records, sighting.address.to_owned());
                Err(self.fail(|input| ExtractError::Ipv6 {
                    input,
                    record,
                    address,
                }))
            }
        }
    }

    fn dropped(&mut self, reason: DropReason) {
        self.summary.drop(reason);
    }

    fn malformed(&mut self, fault: Malformed) -> Result<(), Stopped> {
        let rest_lost = fault.rest_lost;
        let problem = fault.problem.to_string();
        let record = MalformedRecord {
            input: self.name.clone(),
            record: self.summary.records,
            fault,
        };
        if self.on_error == OnError::Stop {
            self.failure = Some(ExtractError::Malformed(record));
            return Err(Stopped);
        }
        self.summary.malformed(record);
        if rest_lost {
            self.cut_short(problem);
        }
        Ok(())
    }
}

/// What is seen of an input's bytes while they are read.
#[derive(Default)]
struct Counts {
    stored: AtomicU64,
    /// After decompression.
    read: AtomicU64,
    /// Whether something came after the gzip stream.
    is_followed: AtomicBool,
}

impl Counts {
    /// The decompressed bytes, where the first ones are those of gzip; otherwise the bytes.
    fn unpacked<'a>(&'a self, bytes: Box<dyn Read + Send>) -> Begun<Box<dyn Read + 'a>> {
        let stored = Counted {
            bytes,
            count: &self.stored,
        };
        let bytes = Begun::new(stored, gunzip::MAGIC.len());
        let bytes: Box<dyn Read + 'a> = if bytes.first() == gunzip::MAGIC {
            let bytes = BufReader::with_capacity(BUFFER, bytes);
            Box::new(Counted {
                bytes: Gunzip::new(bytes, Some(&self.is_followed)),
                count: &self.read,
            })
        } else {
            Box::new(Counted {
                bytes,
                count: &self.read,
            })
        };
        Begun::new(bytes, LOOKED_AT)
    }
}

/// A reader whose first bytes are known. A pipe or a connection may give them one by one, and what an input is must not depend on
/// that.
struct Begun<R> {
    first: Vec<u8>,
    at: usize,
    /// What came in place of more of the first bytes.
    failure: Option<io::Error>,
    rest: R,
}

impl<R: Read> Begun<R> {
    /// Reads so many bytes, or fewer if there are no more.
    fn new(mut rest: R, bytes: usize) -> Self {
        let mut first = Vec::with_capacity(bytes);
        let failure = (&mut rest).take(bytes as u64).read_to_end(&mut first).err();
        Self {
            first,
            at: 0,
            failure,
            rest,
        }
    }

    fn first(&self) -> &[u8] {
        &self.first
    }
}

impl<R: Read> Read for Begun<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut left = &self.first[self.at..];
        if !left.is_empty() {
            let read = left.read(buffer)?;
            self.at += read;
            return Ok(read);
        }
        match self.failure.take() {
            Some(failure) => Err(failure),
            None => self.rest.read(buffer),
        }
    }
}

/// Counts what is read.
struct Counted<'a, R> {
    bytes: R,
    count: &'a AtomicU64,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.bytes.read(buffer)?;
        self.count.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sighting::Principal;

    #[test]
    fn long_names_do_not_make_long_batches() {
        let (out, batches) = sync_channel(1000);
        let policy = Policy::default();
        let mut reading = Reading::new("input".to_owned(), &policy, OnError::Stop, &out);
        let name = "x".repeat(Policy::LONGEST_ENTITY);
        for number in 0..3 * BATCH {
            reading.record();
            let sighting = Sighting {
                principal: Principal::named(if number < BATCH { &name } else { "y" }),
                address: "8.8.4.4",
                time: None,
            };
            assert_eq!(reading.sighting(sighting), Ok(()));
        }
        reading.finish();
        drop(out);
        let mut pairs = 0;
        for message in batches {
            let Message::Batch(batch) = message else { continue };
            let bytes: usize = batch.iter().map(|dated| dated.event.entity.len()).sum();
            assert!(batch.len() <= BATCH && bytes < BATCH_BYTES + Policy::LONGEST_ENTITY);
            pairs += batch.len();
        }
        assert_eq!(pairs, 3 * BATCH);
    }
}
