//! Waiting for something that the service does in its own time.

use std::time::Duration;

use tokio::time::Instant;

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

    pub(crate) fn start(self) -> Waiting {
        Waiting {
            deadline: self,
            since: Instant::now(),
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
}

impl Waiting {
    /// Sleeps until the next look; false when the time is over.
    ///
    /// The last look is at the deadline itself, however the pauses fall.
    pub(crate) async fn pause(&self) -> bool {
        let left = self.deadline.timeout.saturating_sub(self.since.elapsed());
        if left.is_zero() {
            return false;
        }
        tokio::time::sleep(self.deadline.poll.min(left)).await;
        true
    }

    /// What is left of the deadline, for a wait that follows this one.
    pub(crate) fn rest(&self) -> Deadline {
        Deadline {
            timeout: self.deadline.timeout.saturating_sub(self.since.elapsed()),
            ..self.deadline
        }
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.since.elapsed()
    }
}
