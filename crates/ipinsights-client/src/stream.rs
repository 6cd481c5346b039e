//! Scoring more rows than fit into memory.

use std::num::NonZeroUsize;
use std::sync::atomic::AtomicUsize;

use access_events::AccessEvent;
use futures::{StreamExt, stream};
use ipinsights::inference::PredictionRecord;

use crate::invoke::EMBEDDINGS;
use crate::{EndpointName, Error, InvokeOptions, Invoker};

/// How rows are sent. The default is 20,000 in a request (1,500 with embeddings), four requests at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamOptions {
    /// What is sent and answered. [`InvokeOptions::max_events`] is how many rows are taken at a time: by default 20,000, or 1,500
    /// with embeddings.
    pub invoke: InvokeOptions,
    /// How many requests are under way at a time.
    pub concurrency: NonZeroUsize,
}

/// About half a megabyte of CSV: large enough for the service's speed, small enough to have several under way.
const ROWS: NonZeroUsize = NonZeroUsize::new(20_000).unwrap();

impl Default for StreamOptions {
    fn default() -> Self {
        const FOUR: NonZeroUsize = NonZeroUsize::new(4).unwrap();
        Self {
            invoke: InvokeOptions::default(),
            concurrency: FOUR,
        }
    }
}

/// Why rows were not all scored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError<R, S> {
    /// A row could not be read.
    #[error("row {row} cannot be read")]
    Row {
        /// Counted from 1.
        row: u64,
        /// Why.
        source: R,
    },
    /// The endpoint did not score rows; those before have been handed on.
    #[error("rows {first} to {last} were not scored")]
    Invoke {
        /// Counted from 1.
        first: u64,
        /// Included.
        last: u64,
        /// Why.
        source: Error,
    },
    /// Whoever takes the scores cannot go on.
    #[error("the score of row {row} could not be handed on")]
    Sink {
        /// Counted from 1.
        row: u64,
        /// Why.
        source: S,
    },
}

impl Invoker {
    /// Scores rows through an endpoint as they come, and hands them on with their predictions, in their order. Says how many
    /// there were.
    ///
    /// However many rows there are, no more are in memory than those of the requests under way. Rows are read, and scores
    /// handed on, between requests, on the caller's task. The first error ends it, after the rows before it have been handed on.
    ///
    /// # Errors
    ///
    /// See [`StreamError`]; of the endpoint those of [`invoke`](Self::invoke).
    pub async fn score_stream<R, S>(
        &self,
        endpoint: &EndpointName,
        rows: impl IntoIterator<Item = Result<AccessEvent, R>>,
        options: &StreamOptions,
        mut sink: impl FnMut(&AccessEvent, &PredictionRecord) -> Result<(), S>,
    ) -> Result<u64, StreamError<R, S>> {
        let by_default = match options.invoke.response.verbose {
            true => EMBEDDINGS,
            false => ROWS,
        };
        let size = options.invoke.max_events.unwrap_or(by_default).get();
        // What one request finds out holds for the later ones.
        let most = AtomicUsize::new(size);
        let (invoke, most) = (options.invoke, &most);
        let batches = Batches {
            rows: rows.into_iter(),
            size,
            read: 0,
            failed: None,
            is_over: false,
        };
        let mut answers = stream::iter(batches)
            .map(|batch| async move {
                let batch = batch.map_err(|(row, source)| StreamError::Row { row, source })?;
                let predictions = self.invoke_within(endpoint, &batch.events, &invoke, most).await;
                let last = batch.first + batch.events.len() as u64 - 1;
                match predictions {
                    Ok(predictions) => Ok((batch, predictions)),
                    Err(source) => Err(StreamError::Invoke {
                        first: batch.first,
                        last,
                        source,
                    }),
                }
            })
            .buffered(options.concurrency.get());
        let mut scored = 0;
        while let Some(answer) = answers.next().await {
            let (batch, predictions) = answer?;
            for (event, prediction) in batch.events.iter().zip(&predictions) {
                scored += 1;
                sink(event, prediction).map_err(|source| StreamError::Sink { row: scored, source })?;
            }
        }
        Ok(scored)
    }
}

/// Rows by the request.
struct Batches<I, R> {
    rows: I,
    size: usize,
    read: u64,
    /// A row that could not be read, told after those before it.
    failed: Option<R>,
    is_over: bool,
}

struct Batch {
    /// The number of its first row, counted from 1.
    first: u64,
    events: Vec<AccessEvent>,
}

impl<R, I: Iterator<Item = Result<AccessEvent, R>>> Iterator for Batches<I, R> {
    /// A row that cannot be read comes with its number.
    type Item = Result<Batch, (u64, R)>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(source) = self.failed.take() {
            return Some(Err((self.read, source)));
        }
        if self.is_over {
            return None;
        }
        let first = self.read + 1;
        let mut events = Vec::new();
        while events.len() < self.size {
            let Some(row) = self.rows.next() else {
                self.is_over = true;
                break;
            };
            self.read += 1;
            match row {
                Ok(event) => events.push(event),
                Err(error) => {
                    self.is_over = true;
                    self.failed = Some(error);
                    break;
                }
            }
        }
        match (events.is_empty(), self.failed.take()) {
            (true, Some(source)) => Some(Err((self.read, source))),
            (true, None) => None,
            (false, failed) => {
                self.failed = failed;
                Some(Ok(Batch { first, events }))
            }
        }
    }
}
