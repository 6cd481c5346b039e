//! Runs pieces of work on one thread or several. The pieces never depend on the number of threads, and nothing here adds
//! up results, so the outcome does not depend on it either.

use std::sync::{Mutex, PoisonError};

use rayon::ThreadPool;

/// Where the pieces run.
pub(crate) enum Executor {
    /// On the calling thread.
    Here,
    /// On the calling thread, which would else only wait, and on a pool of our own, so that two trainings at once do not wait
    /// for each other's threads.
    Pool(ThreadPool),
}

impl Executor {
    /// `threads` of 0 means one for each core.
    pub(crate) fn new(threads: usize) -> Result<Self, rayon::ThreadPoolBuildError> {
        let threads = match threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        };
        if threads == 1 {
            return Ok(Self::Here);
        }
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads - 1)
            .thread_name(|i| format!("ipinsights-{i}"))
            .build()
            .map(Self::Pool)
    }

    pub(crate) fn threads(&self) -> usize {
        match self {
            Self::Here => 1,
            Self::Pool(pool) => pool.current_num_threads() + 1,
        }
    }

    /// Calls `work` with every piece, the first ones first.
    pub(crate) fn for_each<I: Send>(&self, pieces: Vec<I>, work: impl Fn(I) + Send + Sync) {
        let others = (self.threads() - 1).min(pieces.len().saturating_sub(1));
        let pieces = Mutex::new(pieces.into_iter());
        let next = || pieces.lock().unwrap_or_else(PoisonError::into_inner).next();
        let run = || {
            while let Some(piece) = next() {
                work(piece);
            }
        };
        match self {
            Self::Pool(pool) if others > 0 => pool.in_place_scope(|scope| {
                (0..others).for_each(|_| scope.spawn(|_| run()));
                run();
            }),
            _ => run(),
        }
    }
}
