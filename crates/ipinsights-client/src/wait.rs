//! Waiting for something that the service does in its own time.

use std::time::Duration;

use tokio::time::Instant;

use crate::Error;

/// How many looks in a row may fail with an error that passes. The SDK has tried each several times by itself.
const PATIENCE: u32 = 10;

/// How often to look, and how long to wait at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline {
    /// The pause between two looks; the first look is at once.
    pub poll: Duration,
    /// How long to wait altogether.
    pub timeout: Duration,
}

impl Deadline {
    /// Looks every `poll`, for at most `timeout`.
    pub const fn new(poll: Duration, timeout: Duration) -> Self {
        Self { poll, timeout }
    }

    /// Looks again and again until `judge` says what came of it. Errors that pass, such as throttling, are borne for a while.
    ///
    /// # Errors
    ///
    /// What `judge` makes of what is seen; [`Error::Timeout`] with `what` and the last state when the time is over, or the
    /// error of the last look; an error that does not pass.
    pub(crate) async fn until<T, R, F>(
        self,
        what: String,
        mut look: impl FnMut() -> F,
        mut judge: impl FnMut(T) -> Result<Seen<R>, Error>,
    ) -> Result<R, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let mut waiting = self.start();
        loop {
            let over = match waiting.look(look().await)? {
                Look::Seen(found) => match judge(found)? {
                    Seen::Done(result) => return Ok(result),
                    Seen::Pending(last, reason) => waiting.over(what.clone(), last, reason),
                },
                Look::Missed(error) => error,
            };
            if !waiting.pause().await {
                return Err(over);
            }
        }
    }

    pub(crate) fn start(self) -> Waiting {
        Waiting {
            deadline: self,
            since: Instant::now(),
            seen: false,
            missed: 0,
        }
    }
}

/// Every 15 seconds, for at most an hour: what an endpoint or a small training job takes, several times over.
impl Default for Deadline {
    fn default() -> Self {
        Self::new(Duration::from_secs(15), Duration::from_secs(3600))
    }
}

/// A wait that has begun.
pub(crate) struct Waiting {
    deadline: Deadline,
    since: Instant,
    seen: bool,
    /// How many looks in a row have failed.
    missed: u32,
}

/// What a look says of a wait.
pub(crate) enum Seen<R> {
    /// It is over.
    Done(R),
    /// It goes on; the state as it was seen, and what the service says of it.
    Pending(String, Option<String>),
}

/// What came of looking.
enum Look<T> {
    Seen(T),
    /// An error that may have passed at the next look.
    Missed(Error),
}

impl Waiting {
    /// Bears with errors that pass, though not for ever, and not with a service that was never reached.
    fn look<T>(&mut self, outcome: Result<T, Error>) -> Result<Look<T>, Error> {
        match outcome {
            Ok(found) => {
                self.seen = true;
                self.missed = 0;
                Ok(Look::Seen(found))
            }
            Err(error) => {
                self.missed += 1;
                let never_reached = !self.seen && matches!(error, Error::NotReached { .. });
                if error.is_transient() && !never_reached && self.missed < PATIENCE {
                    Ok(Look::Missed(error))
                } else {
                    Err(error)
                }
            }
        }
    }

    /// Sleeps until the next look; false when the time is over.
    ///
    /// The last look is at the deadline itself, however the pauses fall.
    async fn pause(&self) -> bool {
        let left = self.deadline.timeout.saturating_sub(self.since.elapsed());
        if left.is_zero() {
            return false;
        }
        tokio::time::sleep(self.deadline.poll.min(left)).await;
        true
    }

    /// What was waited for is not there yet.
    pub(crate) fn over(&self, what: String, last: String, reason: Option<String>) -> Error {
        Error::Timeout {
            what,
            last,
            reason,
            waited: self.since.elapsed(),
        }
    }

    /// What is left of the deadline, for a wait that follows this one.
    pub(crate) fn rest(&self) -> Deadline {
        Deadline {
            timeout: self.deadline.timeout.saturating_sub(self.since.elapsed()),
            ..self.deadline
        }
    }
}
