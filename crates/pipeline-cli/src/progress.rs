//! Progress on stderr: a line for what is done, a moving one for what is going on.

use std::io::IsTerminal;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use console::Style;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use ipinsights::Progress as Training;
use pipeline::Event;

use crate::output::printable;

/// What takes longer is told to go on.
const SECOND: Duration = Duration::from_secs(1);

/// Tells a person what goes on. Into a pipe or a log it writes plain lines; quiet, it writes nothing.
pub struct Progress {
    how: How,
    log: Arc<Log>,
    /// The last tenth of training that was told in a log.
    told: Mutex<Option<u32>>,
    /// Objects and bytes that were uploaded, until they are told in one line.
    uploaded: Mutex<(usize, usize)>,
}

/// What goes on, for a log.
struct Log {
    doing: Mutex<Option<String>>,
    /// When it is told next.
    next: Mutex<Instant>,
}

impl Log {
    fn tell_if_due(&self) {
        const BETWEEN: Duration = Duration::from_secs(10);

        let doing = self.doing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if let Some(text) = doing.as_ref().filter(|_| now >= *next) {
            *next = now + BETWEEN;
            eprintln!("{:>10}  {text}", "so far");
        }
    }
}

enum How {
    Quiet,
    Lines,
    Spinner(ProgressBar),
}

impl Progress {
    /// On stderr, by what that is.
    pub fn new(quiet: bool) -> Self {
        Self::with(quiet, show)
    }

    fn with(quiet: bool, begin: impl FnOnce(&ProgressBar)) -> Self {
        let how = if quiet {
            How::Quiet
        } else if std::io::stderr().is_terminal() {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
            if let Ok(style) = ProgressStyle::with_template("{spinner:.cyan} {wide_msg} {elapsed:.dim}") {
                bar.set_style(style);
            }
            begin(&bar);
            How::Spinner(bar)
        } else {
            How::Lines
        };
        Self {
            how,
            log: Arc::new(Log {
                doing: Mutex::new(None),
                next: Mutex::new(Instant::now() + SECOND),
            }),
            told: Mutex::new(None),
            uploaded: Mutex::default(),
        }
    }

    /// The same for commands that print as they go, perhaps into a pager, or have nothing to tell under way: what goes on is told
    /// only after a second, then into a log as well.
    pub fn late(quiet: bool) -> Self {
        let progress = Self::with(quiet, |bar| {
            let hidden = bar.downgrade();
            std::thread::spawn(move || {
                std::thread::sleep(SECOND);
                if let Some(bar) = hidden.upgrade().filter(|bar| !bar.is_finished()) {
                    show(&bar);
                }
            });
        });
        if matches!(progress.how, How::Lines) {
            let log = Arc::downgrade(&progress.log);
            std::thread::spawn(move || {
                loop {
                    std::thread::sleep(SECOND);
                    match log.upgrade() {
                        Some(log) => log.tell_if_due(),
                        None => break,
                    }
                }
            });
        }
        progress
    }

    /// Something is done: a lasting line.
    pub fn done(&self, what: &str, text: &str) {
        let label = Style::new().for_stderr().green().apply_to(format!("{what:>10}"));
        self.line(&format!("{label}  {}", printable(text)));
    }

    /// Something went wrong, or is not as it should be: a lasting line.
    pub fn warn(&self, text: &str) {
        let label = Style::new()
            .for_stderr()
            .yellow()
            .apply_to(format!("{:>10}", "warning"));
        self.line(&format!("{label}  {}", printable(text)));
    }

    /// What goes on now: the moving line.
    pub fn now(&self, text: &str) {
        let text = printable(text);
        match &self.how {
            How::Quiet => {}
            How::Lines => {
                *self.log.doing.lock().unwrap_or_else(PoisonError::into_inner) = Some(text.into_owned());
            }
            How::Spinner(bar) => bar.set_message(text.into_owned()),
        }
    }

    /// A walk over a database has come so far.
    pub fn walked(&self, networks: u64) {
        self.slowly(&format!("{} networks", indicatif::HumanCount(networks)));
    }

    /// What goes on now, for work whose end nobody knows: the moving line, and into a log a line now and then once a second has
    /// passed.
    pub fn slowly(&self, text: &str) {
        self.now(text);
        self.log.tell_if_due();
    }

    fn line(&self, text: &str) {
        match &self.how {
            How::Quiet => {}
            How::Lines => eprintln!("{text}"),
            How::Spinner(bar) => bar.suspend(|| eprintln!("{text}")),
        }
    }

    /// An event of the pipeline.
    pub fn pipeline(&self, event: Event) {
        match event {
            Event::Uploaded { uri, bytes } => self.uploaded(&uri, bytes),
            Event::StateMachine { arn, created } => {
                self.done(if created { "created" } else { "updated" }, &arn);
            }
            Event::ExecutionStarted { arn } => self.done("started", &arn),
            Event::StateEntered { state } => self.now(&state),
            Event::StateExited { state, seconds } => {
                self.done("passed", &format!("{state} ({seconds:.1} s)"))
            }
            Event::TaskFailed { state, error, cause } => {
                // A first look for an endpoint that is not there yet fails by design.
                if cause.contains("Could not find endpoint") {
                    return;
                }
                self.warn(&format!("{state}: {error}: {}", shorten(&cause)));
            }
            Event::ExecutionSucceeded => self.done("succeeded", "the endpoint is InService"),
            Event::Scoring { rows } => self.now(&format!("scoring {rows} rows through the endpoint")),
            Event::Deleted { resource } => self.done("deleted", &resource),
            Event::Warning { message } => self.warn(&message),
            _ => {}
        }
    }

    /// One line for all the files of a sample: the manifest is the last.
    fn uploaded(&self, uri: &str, bytes: usize) {
        self.now(uri);
        let mut uploaded = self.uploaded.lock().unwrap_or_else(PoisonError::into_inner);
        uploaded.0 += 1;
        uploaded.1 += bytes;
        if let Some(folder) = uri.strip_suffix("manifest.json") {
            let (files, bytes) = std::mem::take(&mut *uploaded);
            self.done(
                "uploaded",
                &format!(
                    "{files} files, {} to {folder}",
                    indicatif::HumanBytes(bytes as u64)
                ),
            );
        }
    }

    /// An event of a training job in this process.
    pub fn training(&self, event: &Training) {
        let Training::Epoch {
            epoch,
            epochs,
            loss,
            accuracy,
            discriminator_auc,
            records_per_second,
            ..
        } = event
        else {
            return;
        };
        let auc = discriminator_auc
            .map(|auc| format!(", validation AUC {auc:.3}"))
            .unwrap_or_default();
        let text = format!(
            "epoch {}/{epochs}: loss {loss:.4}, accuracy {accuracy:.3}{auc}, {records_per_second:.0} records/s",
            epoch + 1
        );
        self.now(&text);
        // In a log, and as the lasting trace on a terminal, about ten lines a training.
        let tenth = (epoch + 1) * 10 / (*epochs).max(1);
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if *epoch == 0 || told.is_none_or(|last| last != tenth) {
            *told = Some(tenth);
            self.done("training", &text);
        }
    }

    /// Takes the moving line away.
    pub fn finish(&self) {
        *self.log.doing.lock().unwrap_or_else(PoisonError::into_inner) = None;
        if let How::Spinner(bar) = &self.how {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.finish();
    }
}

/// Lets a moving line move.
fn show(bar: &ProgressBar) {
    bar.set_draw_target(ProgressDrawTarget::stderr());
    bar.enable_steady_tick(Duration::from_millis(100));
}

/// A failed job's cause is its whole description; a line of it is enough here.
fn shorten(text: &str) -> String {
    const LONGEST: usize = 300;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
