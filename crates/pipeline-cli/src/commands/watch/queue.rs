//! Objects that a queue tells of, read as they come.

use std::collections::{HashSet, VecDeque};
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
use crate::commands::extract::explain;

/// How long the service waits for a message.
const WAIT: Duration = Duration::from_secs(20);
/// The same where the watch ends when there is none: long enough for the service to look everywhere.
const WAIT_ONCE: Duration = Duration::from_secs(1);
/// The shortest pause between two questions that bring nothing.
const PAUSE: Duration = Duration::from_secs(1);
/// After so long, messages that are not dealt with yet are hidden from others anew.
const FRESH: Duration = Duration::from_secs(60);
/// From so many events on, a batch is handed on.
const BATCH: usize = 4096;
/// So many messages that stay in the queue are remembered.
const MOST_LEFT: usize = 100_000;

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
    /// Messages that stay in the queue, by their ids.
    pub(super) left: HashSet<String>,
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
            let mut held = Held::new(notices, begun);
            while let Some(notice) = held.next(|notice| self.hide(notice)) {
                if self.notice(&notice, &mut held, sender)? {
                    self.left.remove(&notice.id);
                    send(sender, Message::Handled(notice))?;
                } else if self.left.len() < MOST_LEFT {
                    self.left.insert(notice.id);
                }
            }
            send(sender, Message::Idle(self.left.len() as u64))?;
            if self.once && is_idle {
                return Ok(());
            }
            // Not every server waits for messages, and none is to be asked without a pause.
            if is_idle && asked.elapsed() < PAUSE && !nap(PAUSE, sender) {
                return Err(Ended::Unwanted);
            }
        }
    }

    /// Hides a message from others for a while; whether it was still ours to hide.
    fn hide(&self, notice: &Notice) -> bool {
        self.runtime.block_on(self.queue.hide(notice)).is_ok()
    }

    /// Reads all that a message tells of; false when it has to come again.
    fn notice(
        &self,
        notice: &Notice,
        held: &mut Held<Notice>,
        sender: &Sender<Message>,
    ) -> Result<bool, Ended> {
        let Told::Objects(objects) = &notice.told else {
            // It comes again and again, and is told once.
            if !self.left.contains(&notice.id) {
                let path = PathBuf::from(format!("message {}", notice.id));
                let why = "it tells of no objects of S3; it stays in the queue".to_owned();
                send(sender, note(Note::LeftOut { path, why }))?;
            }
            return Ok(false);
        };
        for arrived in objects {
            if !self.object(arrived, notice, held, sender)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Reads an object; false when it has to be tried again.
    fn object(
        &self,
        arrived: &Arrived,
        notice: &Notice,
        held: &mut Held<Notice>,
        sender: &Sender<Message>,
    ) -> Result<bool, Ended> {
        let mut body = {
            let _runtime = self.runtime.enter();
            object(&self.clients, arrived)
        };
        let uri = body.uri().to_owned();
        let path = PathBuf::from(&uri);
        let left_out = |why: &str| {
            let (path, why) = (path.clone(), why.to_owned());
            note(Note::LeftOut { path, why })
        };
        let unreadable = |error: &anyhow::Error| {
            let (path, why) = (path.clone(), format!("{error:#}"));
            note(Note::Unreadable { path, why })
        };
        match body.wait() {
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
        let file: Arc<str> = uri.as_str().into();
        let input = Input::new(uri, move || Ok(Box::new(body)));
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
                    held.refresh(Some(notice), |notice| self.hide(notice));
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
                send(
                    sender,
                    left_out("it is not certain what kind of log it is; its message stays in the queue"),
                )?;
                Ok(false)
            }
            Err(error) => Err(Ended::Failed(explain(error))),
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

/// Messages that were received together and wait for their turn, and since when others do not see them.
struct Held<T> {
    waiting: VecDeque<T>,
    hidden: Instant,
}

impl<T> Held<T> {
    fn new(messages: Vec<T>, received: Instant) -> Self {
        Self {
            waiting: messages.into(),
            hidden: received,
        }
    }

    /// The next one that is still hidden from others.
    fn next(&mut self, hide: impl FnMut(&T) -> bool) -> Option<T> {
        self.refresh(None, hide);
        self.waiting.pop_front()
    }

    /// Hides all of them anew, and the one that is being dealt with, when it is time: otherwise others read them as well, and their
    /// alerts come twice. One that is not ours any more is left for its next coming.
    fn refresh(&mut self, now: Option<&T>, mut hide: impl FnMut(&T) -> bool) {
        if self.hidden.elapsed() <= FRESH {
            return;
        }
        self.hidden = Instant::now();
        // What is being dealt with is dealt with, whoever else sees it.
        now.map(&mut hide);
        self.waiting.retain(hide);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_that_wait_are_hidden_anew() {
        let mut hidden = Vec::new();
        let mut held = Held::new(vec!["a", "b", "c", "d"], Instant::now());
        assert_eq!(held.next(|message| panic!("{message} is hidden")), Some("a"));
        held.hidden = Instant::now().checked_sub(FRESH * 2).unwrap();
        held.refresh(Some(&"a"), |message| {
            hidden.push(*message);
            // Somebody else has it by now.
            *message != "b"
        });
        assert_eq!(hidden, ["a", "b", "c", "d"]);
        let rest: Vec<_> =
            std::iter::from_fn(|| held.next(|message| panic!("{message} is hidden"))).collect();
        assert_eq!(rest, ["c", "d"]);
    }
}
