//! Objects that a queue tells of, read as they come.

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use access_events::extract::ExtractError;
use access_events::follow::{Batch, Note, Place, Seen};
use access_events::{Extract, Input};
use pipeline::Clients;
use pipeline::objects::object;
use pipeline::queue::{Arrived, Notice, Queue, Told};
use tokio::runtime::Handle;
use tokio::sync::mpsc::Sender;

use super::{LONGEST_WAIT, Message, nap};
use crate::exit::{ExitCode, Failure};

/// How long the service waits for a message.
const WAIT: Duration = Duration::from_secs(20);
/// The same where the watch ends when there is none: long enough for the service to look everywhere.
const WAIT_ONCE: Duration = Duration::from_secs(1);
/// The shortest pause between two questions that bring nothing.
const PAUSE: Duration = Duration::from_secs(1);
/// A message that has waited for so long is hidden from others anew before it is dealt with.
const FRESH: Duration = Duration::from_secs(60);
/// From so many events on, a batch is handed on.
const BATCH: usize = 4096;
/// So many messages are remembered as told.
const MOST_TOLD: usize = 10_000;

/// Reads the objects that the messages of a queue tell of.
pub(super) struct Reader {
    pub(super) queue: Queue,
    /// Who has the objects.
    pub(super) clients: Clients,
    pub(super) extract: Extract,
    /// Leave out what is no log, rather than stop.
    pub(super) skips: bool,
    /// End when there is no message.
    pub(super) once: bool,
    pub(super) runtime: Handle,
    /// Messages that are not known, which was told.
    pub(super) told: HashSet<String>,
}

/// Why the reading ended.
enum Ended {
    /// Nobody takes what is read.
    Unwanted,
    Failed(anyhow::Error),
}

impl Reader {
    /// Reads until nobody takes what is read, or with `once` until there is nothing more.
    pub(super) fn run(mut self, sender: &Sender<Message>) {
        if let Err(Ended::Failed(error)) = self.messages(sender) {
            // When nobody takes it there is nobody to tell.
            let _ = sender.blocking_send(Message::Failed(error));
        }
    }

    fn messages(&mut self, sender: &Sender<Message>) -> Result<(), Ended> {
        let wait = if self.once { WAIT_ONCE } else { WAIT };
        let mut pause = PAUSE;
        let mut answered = false;
        loop {
            let asked = Instant::now();
            let received = self.runtime.block_on(self.queue.receive(wait));
            let begun = Instant::now();
            let notices = match received {
                Ok(notices) => notices,
                // A queue that has answered answers again.
                Err(error) if answered && !self.once => {
                    let why = format!("{:#}", anyhow::Error::from(error));
                    send(
                        sender,
                        note(Note::Unreadable {
                            path: "the queue".into(),
                            why,
                        }),
                    )?;
                    if !nap(pause, sender) {
                        return Err(Ended::Unwanted);
                    }
                    pause = (pause * 2).min(LONGEST_WAIT);
                    continue;
                }
                Err(error) => return Err(Ended::Failed(error.into())),
            };
            (answered, pause) = (true, PAUSE);
            let is_idle = notices.is_empty();
            let is_over = self.once && is_idle;
            let mut waiting = 0;
            for notice in notices {
                waiting += u64::from(!self.notice(notice, begun, sender)?);
            }
            send(sender, Message::Idle(waiting))?;
            if is_over {
                return Ok(());
            }
            // Not every server waits for messages, and none is to be asked without a pause.
            if is_idle && asked.elapsed() < PAUSE && !nap(PAUSE, sender) {
                return Err(Ended::Unwanted);
            }
        }
    }

    /// Deals with a message; false when it has to come again.
    fn notice(&mut self, notice: Notice, received: Instant, sender: &Sender<Message>) -> Result<bool, Ended> {
        let Told::Objects(objects) = &notice.told else {
            if self.told.len() >= MOST_TOLD {
                self.told.clear();
            }
            if self.told.insert(notice.id.clone()) {
                let path = PathBuf::from(format!("message {}", notice.id));
                let why = "it tells of no objects of S3; it stays in the queue".to_owned();
                send(sender, note(Note::LeftOut { path, why }))?;
            }
            return Ok(false);
        };
        if received.elapsed() > FRESH {
            // Otherwise another one reads it as well, and its alerts come twice.
            let _ = self.runtime.block_on(self.queue.hide(&notice));
        }
        for arrived in objects {
            if !self.object(arrived, sender)? {
                return Ok(false);
            }
        }
        send(sender, Message::Handled(notice))?;
        Ok(true)
    }

    /// Reads an object; false when it has to be tried again.
    fn object(&self, arrived: &Arrived, sender: &Sender<Message>) -> Result<bool, Ended> {
        let mut object = {
            let _runtime = self.runtime.enter();
            object(&self.clients, arrived)
        };
        let path = PathBuf::from(&object.uri);
        let left_out = |why: &str| {
            let (path, why) = (path.clone(), why.to_owned());
            note(Note::LeftOut { path, why })
        };
        let unreadable = |error: &anyhow::Error| {
            let (path, why) = (path.clone(), format!("{error:#}"));
            note(Note::Unreadable { path, why })
        };
        match object.body.wait() {
            Ok(()) => {}
            Err(pipeline::Error::ObjectGone { .. }) => {
                send(sender, left_out("it is gone"))?;
                return Ok(true);
            }
            Err(error) => {
                send(sender, unreadable(&error.into()))?;
                return Ok(false);
            }
        }
        let file: Arc<str> = object.uri.as_str().into();
        let input = Input::new(object.uri, move || Ok(Box::new(object.body)));
        let mut batch = Batch::default();
        let read = self
            .extract
            .clone()
            .threads(NonZeroUsize::MIN)
            .run([input], |dated| {
                batch.events.push(Seen {
                    event: dated.event,
                    time: dated.time,
                    file: Arc::clone(&file),
                    place: Place::Record(dated.record),
                });
                if batch.events.len() >= BATCH {
                    let batch = Box::new(std::mem::take(&mut batch));
                    sender.blocking_send(Message::Batch(batch))?;
                }
                Ok(())
            });
        match read {
            Ok(summary) => {
                batch.summary = summary;
                send(sender, Message::Batch(Box::new(batch)))?;
                Ok(true)
            }
            Err(ExtractError::Take(_)) => Err(Ended::Unwanted),
            Err(error @ (ExtractError::Open { .. } | ExtractError::Read { .. })) => {
                send(sender, unreadable(&error.into()))?;
                Ok(false)
            }
            Err(ExtractError::UnknownFormat { .. }) if self.skips => {
                send(sender, left_out("it is not certain what kind of log it is"))?;
                Ok(true)
            }
            Err(error) => Err(Ended::Failed(explain(&error))),
        }
    }
}

fn note(note: Note) -> Message {
    let mut batch = Batch::default();
    batch.notes.push(note);
    Message::Batch(Box::new(batch))
}

fn send(sender: &Sender<Message>, message: Message) -> Result<(), Ended> {
    sender.blocking_send(message).map_err(|_| Ended::Unwanted)
}

/// The library's errors with the arguments that help.
fn explain(error: &ExtractError) -> anyhow::Error {
    let hint = match error {
        ExtractError::UnknownFormat { .. } => ": give --from KIND",
        ExtractError::Malformed(_) => " (--on-error skip)",
        _ => "",
    };
    Failure {
        code: ExitCode::Data,
        ..Failure::data(format!("{error}{hint}"))
    }
    .into()
}
