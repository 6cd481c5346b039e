//! `ipinsights extract`: logs in, pairs out, and what was left out.

pub(crate) mod settings;
mod sources;
mod summary;

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use access_events::extract::ExtractError;
use access_events::shape::{Part, Shape, ShapeError, Shaper, Tally};
use access_events::{Extract, Summary, csv};
use anyhow::Context;
use indicatif::HumanBytes;
use tokio::sync::oneshot;

use crate::cli::{Common, ExtractArgs, LogKind};
use crate::exit::Failure;
use crate::files::{self, Draft};
use crate::output::{Output, printable};
use crate::progress::Progress;
use crate::signals::Signals;
use sources::{Queue, Source, Sources, Watch, interrupted};
use summary::{Report, counted};

/// How long the work may take to notice that it is to end.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often progress is looked at.
const TICK: Duration = Duration::from_millis(200);

/// Runs the command.
pub async fn run(common: &Common, args: ExtractArgs, output: &Output) -> anyhow::Result<()> {
    let began = Instant::now();
    let signals = Signals::listen();
    // Everything that can be wrong with the arguments is said before anything is read.
    let extract = settings::extraction(&args)?;
    let shape = settings::shape(&args.shaping)?;
    let sources = Source::all(&args)?;
    let files = Files::begin(&args)?;

    // A JSON document on stderr is alone there.
    let to_stderr = args.output.is_none();
    // Pairs that scroll by are progress enough.
    let shown = to_stderr && (output.is_json() || io::stdout().is_terminal());
    let progress = Arc::new(Progress::late(common.quiet || shown));
    let mut sources = tokio::select! {
        sources = Sources::open(&args, sources, &progress) => sources?,
        () = signals.first() => return Err(interrupted().into()),
    };
    let watch = Arc::new(Watch::default());
    let queue = sources.take(&watch);
    let result = work(&files, extract, shape, queue, &watch, &signals, &progress).await;
    progress.finish();
    sources.close().await;
    let (summary, tally) = result?;

    let report = Report::new(&args, &summary, &tally, began.elapsed());
    files.keep(&report)?;
    match (output.is_json(), to_stderr) {
        (true, false) => output.json(&report),
        (false, false) => output.text(&report.text()),
        (true, true) => tell(&serde_json::to_string_pretty(&report)?),
        // What was lost is said to whoever wants no progress, too.
        (false, true) if common.quiet && report.is_complete() => Ok(()),
        (false, true) => tell(&report.text()),
    }
}

fn tell(text: &str) -> anyhow::Result<()> {
    Ok(writeln!(io::stderr().lock(), "{}", printable(text))?)
}

/// The files to be written, which appear together at the end.
struct Files {
    pairs: Option<Draft>,
    later: Option<Draft>,
    summary: Option<Draft>,
}

impl Files {
    fn begin(args: &ExtractArgs) -> anyhow::Result<Self> {
        let paths = [&args.output, &args.shaping.later, &args.summary];
        let given = paths.into_iter().filter_map(Option::as_deref);
        let real = |path: &Path| files::real(path).unwrap_or_else(|| path.to_owned());
        let mut given: Vec<(PathBuf, &Path)> = given.map(|path| (real(path), path)).collect();
        given.sort_unstable();
        if let Some(twice) = given.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(Failure::usage(format!(
                "`{}` is to be written twice: give each its own file",
                twice[0].1.display()
            ))
            .into());
        }
        let draft = |path: &Option<_>| path.as_deref().map(Draft::at).transpose();
        Ok(Self {
            pairs: draft(&args.output)?,
            later: draft(&args.shaping.later)?,
            summary: draft(&args.summary)?,
        })
    }

    fn keep(self, report: &Report) -> anyhow::Result<()> {
        for draft in [self.pairs, self.later].into_iter().flatten() {
            draft.keep()?;
        }
        match self.summary {
            Some(draft) => {
                draft.fill(|file| Ok(writeln!(file, "{}", serde_json::to_string_pretty(report)?)?))
            }
            None => Ok(()),
        }
    }
}

/// Does the work on a thread of its own, and watches it.
async fn work(
    files: &Files,
    extract: Extract,
    shape: Shape,
    queue: Queue,
    watch: &Arc<Watch>,
    signals: &Signals,
    progress: &Progress,
) -> anyhow::Result<(Summary, Tally)> {
    let pairs: Box<dyn Write + Send> = match &files.pairs {
        Some(draft) => Box::new(draft.writer()?),
        None => Box::new(io::stdout()),
    };
    let later: Box<dyn Write + Send> = match &files.later {
        Some(draft) => Box::new(draft.writer()?),
        None => Box::new(io::empty()),
    };
    let (sender, mut receiver) = oneshot::channel();
    let watched = Arc::clone(watch);
    // Not a thread of the runtime: that one would wait for a read of stdin that never ends.
    let thread = std::thread::Builder::new()
        .name("extract".to_owned())
        .spawn(move || {
            let rows = Rows {
                train: csv::Writer::new(pairs),
                later: csv::Writer::new(later),
            };
            let _ = sender.send(pairs_of(&extract, &shape, queue, rows, &watched));
        })
        .context("a thread cannot be made")?;
    let began = Instant::now();
    let mut ticks = tokio::time::interval(TICK);
    loop {
        tokio::select! {
            result = &mut receiver => return match result {
                Ok(result) => result,
                Err(_) => match thread.join() {
                    Err(panic) => std::panic::resume_unwind(panic),
                    Ok(()) => Err(anyhow::anyhow!("the work ended without a result")),
                },
            },
            () = signals.first() => {
                watch.stop();
                // What it still does after that goes to files that nobody keeps.
                let _ = tokio::time::timeout(PATIENCE, receiver).await;
                return Err(interrupted().into());
            }
            _ = ticks.tick() => progress.now(&going_on(watch, began.elapsed())),
        }
    }
}

fn going_on(watch: &Watch, elapsed: Duration) -> String {
    let bytes = watch.bytes.load(Ordering::Relaxed);
    format!(
        "{}, {}, {}/s, {}: {}",
        counted(watch.inputs.load(Ordering::Relaxed), "input"),
        HumanBytes(bytes),
        HumanBytes((bytes as f64 / elapsed.as_secs_f64().max(0.001)) as u64),
        counted(watch.pairs.load(Ordering::Relaxed), "pair"),
        watch.now(),
    )
}

/// Where pairs are written.
struct Rows {
    train: csv::Writer<Box<dyn Write + Send>>,
    later: csv::Writer<Box<dyn Write + Send>>,
}

/// Why a pair was not taken.
#[derive(Debug, thiserror::Error)]
enum Untaken {
    #[error(transparent)]
    Shape(#[from] ShapeError),
    #[error(transparent)]
    Row(#[from] access_events::Error),
    #[error(transparent)]
    Stopped(#[from] io::Error),
}

impl Untaken {
    /// Without this layer, which says nothing.
    fn bare(self) -> anyhow::Error {
        match self {
            Self::Shape(error) => error.into(),
            Self::Row(error) => error.into(),
            Self::Stopped(error) => error.into(),
        }
    }
}

fn pairs_of(
    extract: &Extract,
    shape: &Shape,
    queue: Queue,
    mut rows: Rows,
    watch: &Watch,
) -> anyhow::Result<(Summary, Tally)> {
    let mut shaper = Shaper::new(shape, |part, event: &access_events::AccessEvent| {
        // Sorted pairs come when there are no more reads to stop.
        watch.check()?;
        match part {
            Part::Train => rows.train.write(event)?,
            Part::Later => rows.later.write(event)?,
        }
        Ok::<_, Untaken>(())
    });
    let result = extract.run(queue, |dated| {
        watch.pairs.fetch_add(1, Ordering::Relaxed);
        let event = &dated.event;
        Ok(shaper.push(&event.entity, event.ip, dated.time)?)
    });
    let summary = result.map_err(explain)?;
    if let Some(failure) = watch.failure() {
        return Err(failure);
    }
    watch.check()?;
    watch.tell("writing");
    let tally = shaper.finish().map_err(Untaken::bare)?;
    for writer in [rows.train, rows.later] {
        writer
            .finish()?
            .flush()
            .context("the pairs could not be written")?;
    }
    Ok((summary, tally))
}

/// The library's errors with the arguments that help.
pub(crate) fn explain(error: ExtractError) -> anyhow::Error {
    match error {
        ExtractError::Take(source) => match source.downcast::<Untaken>() {
            Ok(untaken) => untaken.bare(),
            Err(source) => ExtractError::Take(source).into(),
        },
        ExtractError::UnknownFormat { input } => {
            let kinds: Vec<_> = LogKind::all().iter().map(|kind| kind.as_str()).collect();
            Failure::usage(format!(
                "it is not certain what kind of log `{input}` is; say it by --from {}",
                kinds.join("|")
            ))
            .into()
        }
        ExtractError::Malformed(record) => {
            Failure::data(format!("{record}; --on-error skip goes on without it")).into()
        }
        error @ ExtractError::Ipv6 { .. } => {
            Failure::data(format!("{error}; --ipv6 skip leaves it out")).into()
        }
        error => error.into(),
    }
}
