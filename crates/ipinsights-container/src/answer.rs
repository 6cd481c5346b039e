//! Answers that are written while they are sent: with embeddings, that to a few megabytes of rows is gigabytes.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use http_body_util::combinators;
use ipinsights::inference::MAX_BODY_BYTES;
use tokio::runtime::Handle;
use tokio::sync::mpsc::{self, error::SendTimeoutError};

/// What is wrong with a request, and with which status it is said.
#[derive(Debug)]
pub(crate) struct Refusal(pub(crate) StatusCode, pub(crate) String);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Self(status, text) = self;
        (
            status,
            [(header::CONTENT_TYPE, "text/plain; charset=utf-8")],
            text,
        )
            .into_response()
    }
}

/// A part of an answer, of no more bytes than an endpoint may answer.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) bytes: Bytes,
    pub(crate) is_last: bool,
}

/// Where parts go, or why there are none.
pub(crate) type Parts = mpsc::Sender<Result<Part, Refusal>>;

/// An answer in the making. An endpoint's has one part, and is refused where it would be longer; that of a batch transform job, which
/// takes answers of any length, has as many as it needs, and no more of them are in memory than are being sent.
pub(crate) struct Answer {
    to: Parts,
    /// How long a part may wait for whoever takes it.
    patience: Duration,
    runtime: Handle,
    kept: Vec<u8>,
    batch: bool,
    is_too_large: bool,
}

impl Answer {
    /// Writing to it blocks; only making it is for a task of the runtime.
    pub(crate) fn new(to: Parts, batch: bool, patience: Duration) -> Self {
        Self {
            to,
            patience,
            runtime: Handle::current(),
            kept: Vec::new(),
            batch,
            is_too_large: false,
        }
    }

    fn send(&mut self, is_last: bool) -> io::Result<()> {
        let bytes = std::mem::take(&mut self.kept).into();
        self.tell(Ok(Part { bytes, is_last }))
    }

    /// Gives up on whoever has gone, and on whoever takes nothing.
    fn tell(&self, part: Result<Part, Refusal>) -> io::Result<()> {
        let sent = self.runtime.block_on(self.to.send_timeout(part, self.patience));
        sent.map_err(|error| match error {
            SendTimeoutError::Timeout(_) => io::ErrorKind::TimedOut.into(),
            SendTimeoutError::Closed(_) => io::ErrorKind::BrokenPipe.into(),
        })
    }

    /// It is all there.
    pub(crate) fn end(mut self) {
        let _ = self.send(true); // who does not wait any more need not be told
    }

    /// There is none, or no more of it, for this reason.
    pub(crate) fn refuse(self, reason: String) {
        let refusal = match self.is_too_large {
            true => Refusal(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("the answer is larger than {MAX_BODY_BYTES} bytes; send fewer rows"),
            ),
            false => Refusal(StatusCode::BAD_REQUEST, reason),
        };
        let _ = self.tell(Err(refusal)); // as above
    }
}

impl io::Write for Answer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.to.is_closed() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if self.kept.len() + bytes.len() > MAX_BODY_BYTES {
            if !self.batch {
                self.is_too_large = true;
                return Err(io::ErrorKind::FileTooLarge.into());
            }
            self.send(false)?;
        }
        self.kept.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The body of an answer of several parts. Where the last one does not come, it is cut off, so that nobody takes it for whole.
pub(crate) struct Rest {
    part: Body,
    is_last: bool,
    parts: mpsc::Receiver<Result<Part, Refusal>>,
}

impl Rest {
    pub(crate) fn after(first: Part, parts: mpsc::Receiver<Result<Part, Refusal>>) -> Self {
        Self {
            part: Body::from(first.bytes),
            is_last: first.is_last,
            parts,
        }
    }
}

/// What a body gives when it is polled.
type Polled = <combinators::Frame<'static, Body> as Future>::Output;

impl HttpBody for Rest {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Polled> {
        loop {
            if let Some(frame) = ready!(Pin::new(&mut self.part).poll_frame(context)) {
                return Poll::Ready(Some(frame));
            }
            if self.is_last {
                return Poll::Ready(None);
            }
            let cut_off = |reason: String| Poll::Ready(Some(Err(axum::Error::new(io::Error::other(reason)))));
            match ready!(self.parts.poll_recv(context)) {
                Some(Ok(next)) => {
                    self.part = Body::from(next.bytes);
                    self.is_last = next.is_last;
                }
                Some(Err(Refusal(_, reason))) => return cut_off(reason),
                None => return cut_off("the model failed".to_owned()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use http_body_util::BodyExt as _;

    use super::*;

    /// Has something write an answer, and gives its parts as they come.
    fn written(
        batch: bool,
        write: impl FnOnce(Answer) + Send + 'static,
    ) -> mpsc::Receiver<Result<Part, Refusal>> {
        written_within(Duration::from_secs(60), batch, write)
    }

    fn written_within(
        patience: Duration,
        batch: bool,
        write: impl FnOnce(Answer) + Send + 'static,
    ) -> mpsc::Receiver<Result<Part, Refusal>> {
        let (to, parts) = mpsc::channel(1);
        let answer = Answer::new(to, batch, patience);
        std::thread::spawn(move || write(answer));
        parts
    }

    async fn body(mut parts: mpsc::Receiver<Result<Part, Refusal>>) -> Result<Bytes, axum::Error> {
        let first = parts.recv().await.unwrap().unwrap();
        assert!(!first.is_last);
        let collected = Body::new(Rest::after(first, parts)).collect().await;
        collected.map(|collected| collected.to_bytes())
    }

    const PIECE: usize = MAX_BODY_BYTES / 4;

    #[tokio::test]
    async fn an_answer_that_fits_has_one_part() {
        for batch in [false, true] {
            let mut parts = written(batch, |mut answer| {
                for _ in 0..4 {
                    answer.write_all(&vec![7; PIECE]).unwrap();
                }
                answer.end();
            });
            let part = parts.recv().await.unwrap().unwrap();
            assert!(part.is_last && part.bytes.len() == MAX_BODY_BYTES);
        }
    }

    #[tokio::test]
    async fn an_endpoint_answers_no_more_than_it_may() {
        let mut parts = written(false, |mut answer| {
            answer.write_all(&vec![7; MAX_BODY_BYTES]).unwrap();
            let error = answer.write_all(b"x").unwrap_err();
            answer.refuse(error.to_string());
        });
        let Refusal(status, text) = parts.recv().await.unwrap().unwrap_err();
        assert_eq!(status, 413);
        assert_eq!(text, "the answer is larger than 6291456 bytes; send fewer rows");
    }

    #[tokio::test]
    async fn a_long_answer_comes_in_order_or_is_cut_off() {
        let pieces = |answer: &mut Answer| (0..9).try_for_each(|i| answer.write_all(&vec![i; PIECE]));
        let whole = written(true, move |mut answer| {
            pieces(&mut answer).unwrap();
            answer.end();
        });
        let want: Vec<u8> = (0..9).flat_map(|i| vec![i; PIECE]).collect();
        assert!(body(whole).await.unwrap() == want);

        let failed = written(true, move |mut answer| {
            pieces(&mut answer).unwrap();
            answer.refuse("no number".to_owned());
        });
        assert_eq!(body(failed).await.unwrap_err().to_string(), "no number");
        let vanished = written(true, move |mut answer| pieces(&mut answer).unwrap());
        assert_eq!(body(vanished).await.unwrap_err().to_string(), "the model failed");
    }

    /// Nothing is worked on for somebody who has gone, and no more is kept than is being sent.
    #[tokio::test]
    async fn nobody_writes_for_nobody() {
        let (told, hears) = std::sync::mpsc::channel();
        let mut parts = written(true, move |mut answer| {
            while answer.write_all(&vec![7; PIECE]).is_ok() {
                told.send(()).unwrap();
            }
        });
        assert!(!parts.recv().await.unwrap().unwrap().is_last);
        drop(parts);
        // Beside the part that came, at most one was on its way, and one was being written.
        assert!(hears.iter().count() <= 3 * 4);
    }

    /// Whoever is there and takes nothing keeps nobody from being answered.
    #[tokio::test]
    async fn nobody_writes_for_ever_for_one_who_takes_nothing() {
        for ends in [true, false] {
            let (told, hears) = tokio::sync::oneshot::channel();
            let mut parts = written_within(Duration::from_millis(20), true, move |mut answer| {
                answer.write_all(&vec![7; MAX_BODY_BYTES]).unwrap();
                answer.write_all(b"x").unwrap(); // the part before is on its way
                match ends {
                    true => answer.end(),
                    false => {
                        let error = answer.write_all(&vec![7; MAX_BODY_BYTES]).unwrap_err();
                        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
                        answer.refuse(error.to_string());
                    }
                }
                told.send(()).unwrap();
            });
            hears.await.unwrap();
            assert!(!parts.recv().await.unwrap().unwrap().is_last);
            assert!(parts.recv().await.is_none());
        }
    }
}
