//! `ipinsights watch`: what comes into logs, scored as it comes; alerts out.

mod alert;
mod limit;
mod queue;
mod state;

use std::collections::HashSet;
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use access_events::follow::{Batch, FollowError, Note, Seen};
use access_events::format::Stopped;
use access_events::{AccessEvent, Follower, Summary};
use anyhow::Context;
use ipinsights::{Model, ReasonOptions, Score};
use ipnet::Ipv4Net;
use jiff::Timestamp;
use pipeline::queue::{Notice, Queue, QueueUrl};
use score_lambda::{Cutoff, ScoreFailure, Scorer};
use tokio::runtime::Handle;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::cli::{Alerting, Common, OnError, UnknownEntity, WatchArgs};
use crate::commands::extract::settings;
use crate::exit::{ExitCode, Failure};
use crate::files;
use crate::output::{Format, Output};
use crate::progress::Progress;
use crate::scoring::Scoring;
use crate::signals::Signals;

pub use alert::{Alert, Source};
pub use limit::Limit;
use limit::Limiter;
use state::State;

/// How often the positions are kept while there is much to read.
const KEPT_EVERY: Duration = Duration::from_secs(1);
/// The longest wait for an endpoint that is not available, before it is asked again.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// How often a thread that sleeps looks whether it is to end.
const NAP: Duration = Duration::from_millis(50);

/// Runs the command until Ctrl-C or SIGTERM, or to the end of what is there.
pub async fn run(common: &Common, args: WatchArgs, _: &Output) -> anyhow::Result<()> {
    let signals = Signals::listen();
    // Alerts that scroll by are progress enough.
    let shown = args.output.is_none() && io::stdout().is_terminal();
    let progress = Arc::new(Progress::new(common.quiet));
    // Everything that can be wrong with the arguments is said before anything is read.
    let extract = settings::reading(args.from, &args.kinds, &args.selection, args.on_error)?;
    let trust = Trust::read(&args.alerting)?;
    let queue = queue_url(&args)?;
    for (argument, path) in [("--state", &args.state), ("--output", &args.output)] {
        if let Some(path) = path
            && queue.is_none()
            && lies_in(path, &args.source)
        {
            return Err(Failure::usage(format!(
                "{argument} `{}` would be read as a log of `{}`: put it elsewhere",
                path.display(),
                args.source.display()
            ))
            .into());
        }
    }
    for (what, path) in [("--state", &args.state), ("--model", &args.scored.model)] {
        if let (Some(output), Some(path)) = (&args.output, path)
            && lies_in(output, path)
        {
            return Err(Failure::usage(format!(
                "--output `{}` is the file of {what}: put the alerts elsewhere",
                output.display()
            ))
            .into());
        }
    }
    if args.host.is_some() && args.format != Format::Cef {
        return Err(
            Failure::usage("--host goes with --format cef; no other format names this machine").into(),
        );
    }
    let mut state = State::open(args.state.as_deref(), &args.source)?;
    let (once, interval) = (args.once, args.interval);
    let (queue, read): (_, Reading) = match queue {
        Some(url) => {
            let clients = url.connection().clients().await?;
            let queue = Queue::new(&clients, url);
            let reader = queue::Reader {
                queue: queue.clone(),
                clients,
                extract,
                skips: args.on_error == OnError::Skip,
                once,
                runtime: Handle::current(),
                left: HashSet::new(),
            };
            (Some(queue), Box::new(|sender| reader.run(sender)))
        }
        None => {
            let follower = Follower::new(&args.source, extract, state.positions()).map_err(explain)?;
            let follower = follower.only_new(args.only_new);
            (
                None,
                Box::new(move |sender| look(follower, once, interval, sender)),
            )
        }
    };
    let sink = Sink::open(&args)?;
    let scoring = Scoring::open(&args.scored, &progress).await?;
    let mut watch = Watch {
        scorer: Arc::clone(&scoring.scorer),
        cutoff: scoring.cutoff,
        model: scoring.model.clone(),
        withholds: args.alerting.unknown_entity == UnknownEntity::Withhold,
        trust,
        limiter: Limiter::new(args.alerting.limit),
        sink,
        queue,
        counts: Counts::default(),
        progress: &progress,
        signals: &signals,
        shown,
    };
    let (sender, receiver) = channel(1);
    let thread = std::thread::Builder::new()
        .name("watch".to_owned())
        .spawn(move || read(&sender))
        .context("a thread cannot be made")?;
    let result = watch.follow(receiver, &mut state).await;
    // What was written is reached, whatever came after it.
    let kept = watch.keep(&mut state);
    progress.finish();
    let waiting = match watch.queue {
        Some(_) => "messages left in the queue",
        None => "files not complete yet",
    };
    let counts = watch.counts;
    if !common.quiet {
        writeln!(io::stderr().lock(), "{}", counts.text(state.path(), waiting))?;
    }
    scoring.close().await;
    let ended = result?;
    kept?;
    match ended {
        // It may be in the middle of a long file, or of a disk that does not answer: nobody waits for it.
        Ended::Interrupted => Ok(()),
        Ended::Over => thread.join().or_else(|panic| std::panic::resume_unwind(panic)),
    }
}

/// How a watch ended.
enum Ended {
    /// The thread that reads has ended.
    Over,
    /// A signal came.
    Interrupted,
}

/// The queue that is watched, where it is one.
fn queue_url(args: &WatchArgs) -> anyhow::Result<Option<QueueUrl>> {
    let Some(text) = args.source.to_str().filter(|text| text.contains("://")) else {
        return Ok(None);
    };
    for (argument, given) in [("--state", args.state.is_some()), ("--only-new", args.only_new)] {
        if given {
            return Err(Failure::usage(format!(
                "{argument} goes with files; a queue keeps itself what was not dealt with"
            ))
            .into());
        }
    }
    Ok(Some(text.parse()?))
}

/// Whether a path is that of a source, or of something in it.
fn lies_in(path: &Path, source: &Path) -> bool {
    matches!((files::real(path), files::real(source)), (Some(path), Some(source)) if path.starts_with(&source))
}

/// What the thread that reads tells.
enum Message {
    Batch(Box<Batch>),
    /// There is nothing more now, and so many files are not complete, or messages left in the queue.
    Idle(u64),
    /// Everything that a message of a queue tells of was handed on.
    Handled(Notice),
    Failed(anyhow::Error),
}

/// What reads the source, on a thread of its own, and tells what comes of it.
type Reading = Box<dyn FnOnce(&Sender<Message>) + Send>;

/// Looks again and again, and hands on what is new.
fn look(mut follower: Follower, once: bool, interval: Duration, sender: &Sender<Message>) {
    loop {
        let result = follower.poll(once, &mut |batch| {
            let message = Message::Batch(Box::new(batch));
            sender.blocking_send(message).map_err(|_| Stopped)
        });
        // When nobody takes it there is nobody to tell.
        let told = match result {
            Ok(polled) => sender.blocking_send(Message::Idle(polled.waiting)),
            Err(FollowError::Stopped) => return,
            Err(error) => {
                let _ = sender.blocking_send(Message::Failed(explain(error)));
                return;
            }
        };
        if once || told.is_err() {
            return;
        }
        if !nap(interval, sender) {
            return;
        }
    }
}

/// Sleeps for a while; false when nobody takes anything any more.
fn nap(length: Duration, sender: &Sender<Message>) -> bool {
    let until = Instant::now() + length;
    while Instant::now() < until {
        if sender.is_closed() {
            return false;
        }
        std::thread::sleep(NAP.min(until.saturating_duration_since(Instant::now())));
    }
    true
}

/// The library's errors with the arguments that help.
fn explain(error: FollowError) -> anyhow::Error {
    let (code, hint) = match &error {
        FollowError::Source { .. } => (ExitCode::File, ""),
        FollowError::UnknownFormat { .. } => (ExitCode::Data, ": give --from KIND"),
        FollowError::Malformed { .. } => (ExitCode::Data, " (--on-error skip)"),
        _ => (ExitCode::Failure, ""),
    };
    let message = format!("{error}{hint}");
    let source = match error {
        FollowError::Source { source, .. } => Some(source.into()),
        _ => None,
    };
    Failure {
        code,
        message,
        source,
    }
    .into()
}

/// For whom there are no alerts.
struct Trust {
    networks: Vec<Ipv4Net>,
    entities: HashSet<String>,
}

impl Trust {
    fn read(args: &Alerting) -> anyhow::Result<Self> {
        let mut networks = Vec::new();
        for text in settings::networks(&args.trust)? {
            // An address alone is a network of its own.
            let network = text
                .parse()
                .or_else(|_| text.parse::<std::net::Ipv4Addr>().map(Ipv4Net::from))
                .map_err(|_| {
                    Failure::usage(format!(
                        "`{text}` of --trust is no IPv4 network, such as 192.0.2.0/24"
                    ))
                })?;
            networks.push(network);
        }
        let entities = settings::entities(&args.trust_entity)?.into_iter().collect();
        Ok(Self { networks, entities })
    }

    fn covers(&self, event: &AccessEvent) -> bool {
        self.entities.contains(&event.entity)
            || self.networks.iter().any(|network| network.contains(&event.ip))
    }
}

/// Where alerts are written.
struct Sink {
    format: Format,
    host: String,
    file: Option<File>,
}

impl Sink {
    fn open(args: &WatchArgs) -> anyhow::Result<Self> {
        let file = args
            .output
            .as_deref()
            .map(|path| appended(path, args.format))
            .transpose()?;
        Ok(Self {
            format: args.format,
            host: args.host.clone().unwrap_or_else(host),
            file,
        })
    }

    fn line(&self, alert: &Alert) -> anyhow::Result<String> {
        Ok(match self.format {
            Format::Cef => alert.cef(&self.host),
            Format::Ocsf => alert.ocsf(),
            _ => alert.json()?,
        })
    }

    /// Writes lines as a whole.
    fn write(&mut self, lines: &str) -> anyhow::Result<()> {
        let result = match &mut self.file {
            Some(file) => file.write_all(lines.as_bytes()),
            None => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(lines.as_bytes()).and_then(|()| stdout.flush())
            }
        };
        result.context("the alerts cannot be written")
    }

    /// Lets what was written be on the disk.
    fn sync(&self) -> anyhow::Result<()> {
        match &self.file {
            // A pipe or a device has no disk.
            Some(file) if file.metadata().is_ok_and(|metadata| metadata.is_file()) => {
                file.sync_data().context("the alerts cannot be written")
            }
            _ => Ok(()),
        }
    }
}

/// A file to be added to. Half an alert at its end is from a stop in the middle of writing: it is cut off, and comes again.
fn appended(path: &Path, format: Format) -> anyhow::Result<File> {
    let context = || format!("`{}` cannot be written", path.display());
    if path.metadata().is_ok_and(|metadata| metadata.is_file()) {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .with_context(context)?;
        let length = file.metadata().with_context(context)?.len();
        let end = end_of_lines(&mut file, length).with_context(context)?;
        if end < length {
            let mut begun = Vec::new();
            file.seek(SeekFrom::Start(end)).with_context(context)?;
            (&mut file)
                .take(32)
                .read_to_end(&mut begun)
                .with_context(context)?;
            if !begins_alert(&begun, format) {
                return Err(Failure::usage(format!(
                    "--output `{}` ends in the middle of a line that is no alert: name another file, or end the line",
                    path.display()
                ))
                .into());
            }
            file.set_len(end).with_context(context)?;
        }
    }
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .with_context(context)
}

/// Where the last whole line of a file of this length ends.
fn end_of_lines(file: &mut File, length: u64) -> io::Result<u64> {
    let mut end = length;
    while end > 0 {
        let begin = end.saturating_sub(64 * 1024);
        let mut part = Vec::new();
        file.seek(SeekFrom::Start(begin))?;
        (&mut *file).take(end - begin).read_to_end(&mut part)?;
        if let Some(last) = part.iter().rposition(|byte| *byte == b'\n') {
            return Ok(begin + last as u64 + 1);
        }
        end = begin;
    }
    Ok(0)
}

/// Whether half a line may be half an alert.
fn begins_alert(begun: &[u8], format: Format) -> bool {
    let with: &[u8] = match format {
        Format::Cef => b"<132>",
        Format::Ocsf => b"{\"activity_id\":1,",
        _ => b"{\"version\":1,\"id\":",
    };
    begun.starts_with(with) || with.starts_with(begun)
}

/// This machine's name.
fn host() -> String {
    let known = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .ok()
        .or_else(|| std::env::var("HOSTNAME").ok())
        .or_else(|| std::env::var("COMPUTERNAME").ok());
    let name: String = known.unwrap_or_default().split_whitespace().take(1).collect();
    if name.is_empty() {
        "localhost".to_owned()
    } else {
        name
    }
}

/// What came of it.
#[derive(Debug, Default)]
struct Counts {
    summary: Summary,
    anomalous: u64,
    alerts: u64,
    held_back: u64,
    trusted: u64,
    unknown: u64,
    waiting: u64,
}

impl Counts {
    /// `waiting` says what is counted as such.
    fn text(&self, state: Option<&Path>, waiting: &str) -> String {
        let summary = &self.summary;
        let mut text = format!(
            "{} records, {} events scored, {} anomalous, {} alerts",
            summary.records,
            summary.pairs.saturating_sub(self.unknown),
            self.anomalous,
            self.alerts
        );
        for (count, what) in [
            (self.held_back, "held back by --limit"),
            (self.trusted, "of those you trust"),
            (self.unknown, "events of entities that the model does not know"),
            (summary.malformed, "records malformed"),
            (summary.cut_short, "files not read to their end"),
            (self.waiting, waiting),
        ] {
            if count > 0 {
                let _ = write!(text, ", {count} {what}");
            }
        }
        if !(summary.drops.is_empty() && summary.inputs_left_out.is_empty()) {
            let drops: Vec<String> = summary
                .drops
                .iter()
                .chain(&summary.inputs_left_out)
                .map(|(reason, count)| format!("{reason} {count}"))
                .collect();
            let _ = write!(text, "\nleft out: {}", drops.join(", "));
        }
        if let Some(malformed) = summary.malformed_examples.first() {
            let _ = write!(text, "\nthe first malformed record: {malformed}");
        }
        if let Some(path) = state {
            let _ = write!(text, "\n`{}` has the positions to go on from", path.display());
        }
        text
    }
}

/// What a watch has.
struct Watch<'a> {
    scorer: Arc<dyn Scorer>,
    cutoff: Cutoff,
    model: Option<Arc<Model>>,
    withholds: bool,
    trust: Trust,
    limiter: Limiter,
    sink: Sink,
    queue: Option<Queue>,
    counts: Counts,
    progress: &'a Progress,
    signals: &'a Signals,
    shown: bool,
}

impl Watch<'_> {
    /// Takes what comes until there is an end to it.
    async fn follow(&mut self, mut receiver: Receiver<Message>, state: &mut State) -> anyhow::Result<Ended> {
        // Where it begins is kept at once.
        let mut kept: Option<Instant> = None;
        loop {
            let message = tokio::select! {
                message = receiver.recv() => message,
                () = self.signals.first() => return Ok(Ended::Interrupted),
            };
            let idle = match message {
                None => return Ok(Ended::Over),
                Some(Message::Failed(error)) => return Err(error),
                Some(Message::Handled(notice)) => {
                    if !self.delete(&notice).await? {
                        return Ok(Ended::Interrupted);
                    }
                    false
                }
                Some(Message::Idle(waiting)) => {
                    self.counts.waiting = waiting;
                    true
                }
                Some(Message::Batch(batch)) => {
                    if !self.take(*batch, state).await? {
                        return Ok(Ended::Interrupted);
                    }
                    false
                }
            };
            if idle || kept.is_none_or(|kept| kept.elapsed() >= KEPT_EVERY) {
                self.keep(state)?;
                kept = Some(Instant::now());
            }
            if !self.shown {
                let Counts { summary, alerts, .. } = &self.counts;
                self.progress
                    .now(&format!("{} events, {alerts} alerts", summary.pairs));
            }
        }
    }

    /// Takes a message out of the queue, after the alerts of its objects are where they belong; false when a signal came first.
    async fn delete(&mut self, notice: &Notice) -> anyhow::Result<bool> {
        self.sink.sync()?;
        let Some(queue) = &self.queue else { return Ok(true) };
        let deleted = tokio::select! {
            deleted = queue.delete(notice) => deleted,
            () = self.signals.first() => return Ok(false),
        };
        if let Err(error) = deleted {
            let error = anyhow::Error::from(error);
            self.progress
                .warn(&format!("message {} comes again: {error:#}", notice.id));
        }
        Ok(true)
    }

    /// Keeps the positions, after the alerts before them are where they belong.
    fn keep(&mut self, state: &mut State) -> anyhow::Result<()> {
        if state.is_kept() {
            return Ok(());
        }
        self.sink.sync()?;
        state.keep()
    }

    /// Scores a batch and writes its alerts; false when it was interrupted before that.
    async fn take(&mut self, batch: Batch, state: &mut State) -> anyhow::Result<bool> {
        for note in &batch.notes {
            match note {
                Note::Rotated { .. } => self.progress.done("rotated", &note.to_string()),
                _ => self.progress.warn(&note.to_string()),
            }
        }
        let events: Vec<AccessEvent> = batch.events.iter().map(|seen| seen.event.clone()).collect();
        let Some(scores) = self.scores(&events).await? else {
            return Ok(false);
        };
        let mut lines = String::new();
        for (seen, score) in batch.events.iter().zip(scores) {
            if let Some(alert) = self.judge(seen, score) {
                lines += &self.sink.line(&alert)?;
                lines.push('\n');
                self.counts.alerts += 1;
            }
        }
        if !lines.is_empty() {
            self.sink.write(&lines)?;
        }
        self.counts.summary.add(batch.summary);
        state.reach(batch.marks);
        Ok(true)
    }

    /// The scores, however long the endpoint takes; nothing when a signal came first.
    async fn scores(&self, events: &[AccessEvent]) -> anyhow::Result<Option<Vec<Score>>> {
        if events.is_empty() {
            return Ok(Some(Vec::new()));
        }
        let mut wait = Duration::from_secs(1);
        loop {
            let answer = tokio::select! {
                answer = self.scorer.score(events) => answer,
                () = self.signals.first() => return Ok(None),
            };
            match answer {
                Ok(scores) if scores.len() == events.len() => return Ok(Some(scores)),
                Ok(scores) => anyhow::bail!("{} scores came for {} events", scores.len(), events.len()),
                Err(ScoreFailure::Unavailable { source }) => {
                    let seconds = wait.as_secs();
                    self.progress.warn(&format!(
                        "the endpoint is not available, it is asked again in {seconds} s: {source}"
                    ));
                    tokio::select! {
                        () = tokio::time::sleep(wait) => {}
                        () = self.signals.first() => return Ok(None),
                    }
                    wait = (wait * 2).min(LONGEST_WAIT);
                }
                Err(failure) => return Err(failure.into()),
            }
        }
    }

    /// The alert for an event, where there is to be one.
    fn judge(&mut self, seen: &Seen, score: Score) -> Option<Alert> {
        let event = &seen.event;
        let model = self.model.as_deref();
        if self.withholds && model.is_some_and(|model| !model.knows_entity(&event.entity)) {
            self.counts.unknown += 1;
            return None;
        }
        if !self.cutoff.is_anomalous(score) {
            return None;
        }
        self.counts.anomalous += 1;
        if self.trust.covers(event) {
            self.counts.trusted += 1;
            return None;
        }
        let Some(held_back) = self.limiter.admit(&event.entity, Instant::now()) else {
            self.counts.held_back += 1;
            return None;
        };
        let verdict = model
            .and_then(Model::detector)
            .map(|detector| detector.verdict(score));
        let reason = model.filter(|model| model.history().is_some()).map(|model| {
            model
                .explain(&event.entity, event.ip, &ReasonOptions::default())
                .sentence
        });
        Some(Alert {
            version: 1,
            id: alert::id(seen),
            detected: Timestamp::now(),
            time: seen.time,
            entity: event.entity.clone(),
            ip: event.ip,
            score: Some(score.dot_product()).filter(|score| score.is_finite()),
            threshold: self.cutoff.value().dot_product(),
            percentile: verdict.map(|verdict| verdict.percentile),
            p_value: verdict.map(|verdict| verdict.p_value),
            reason,
            source: Source::of(seen),
            held_back,
        })
    }
}
