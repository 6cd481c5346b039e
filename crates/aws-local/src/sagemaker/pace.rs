//! How long things take that take no time here.

use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

/// Waits that the service makes its clients get used to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pace {
    /// Until a job's machines are there.
    pub(super) start_of_job: Duration,
    /// For a job's data, and for its model.
    pub(super) transfer: Duration,
    /// Until an endpoint's machines are there.
    pub(super) endpoint: Duration,
}

impl Pace {
    /// About what the service takes on its smaller machines.
    pub(crate) const REALISTIC: Self = Self {
        start_of_job: Duration::from_secs(60),
        transfer: Duration::from_secs(15),
        endpoint: Duration::from_secs(180),
    };

    /// Waits, but no longer than until `stop`.
    pub(super) fn wait(&self, time: Duration, stop: &CancellationToken) {
        const SLICE: Duration = Duration::from_millis(50);
        let began = Instant::now();
        while !stop.is_cancelled() {
            let left = time.saturating_sub(began.elapsed());
            if left.is_zero() {
                return;
            }
            std::thread::sleep(left.min(SLICE));
        }
    }
}
