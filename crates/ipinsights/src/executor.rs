//! Runs pieces of work on one thread or several. The pieces never depend on the number of threads, and nothing here adds
//! up results, so the outcome does not depend on it either.

use rayon::prelude::*;

/// Where the pieces run.
pub(crate) enum Executor {
    /// On the calling thread.
    Here,
    /// On a pool of our own, so that two trainings at once do not wait for each other's threads.
    Pool(rayon::ThreadPool),
}

impl Executor {
    /// `threads` of 0 means one for each core.
    pub(crate) fn new(threads: usize) -> Result<Self, rayon::ThreadPoolBuildError> {
        if threads == 1 {
            return Ok(Self::Here);
        }
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|i| format!("ipinsights-{i}"))
            .build()
            .map(Self::Pool)
    }

    pub(crate) fn threads(&self) -> usize {
        match self {
            Self::Here => 1,
            Self::Pool(pool) => pool.current_num_threads(),
        }
    }

    /// Calls `work` with every piece.
    pub(crate) fn for_each<I: Send>(&self, pieces: Vec<I>, work: impl Fn(I) + Send + Sync) {
        match self {
            Self::Pool(pool) if pieces.len() > 1 => {
                pool.install(|| pieces.into_par_iter().with_max_len(1).for_each(work));
            }
            _ => pieces.into_iter().for_each(work),
        }
    }
}
