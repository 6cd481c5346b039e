//! `aws-chunked` bodies: chunks with a length line each, then trailers that carry the checksum.
//!
//! The emulator takes any signature, so the chunks' signatures are read over.

use std::{
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use bytes::{Buf, Bytes, BytesMut};
use futures::{Stream, ready};
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body_util::BodyDataStream;
use hyper::body::Incoming;

/// The trailers of a body, known once it has been read to its end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trailers(Arc<Mutex<HeaderMap>>);

impl Trailers {
    /// What has come so far.
    pub(crate) fn read(&self) -> HeaderMap {
        self.0.lock().unwrap_or_else(|e| e.into_inner()).clone()
    }
}

/// A decoded `aws-chunked` body.
pub(crate) struct Chunked<S = BodyDataStream<Incoming>> {
    inner: S,
    buffer: BytesMut,
    state: State,
    /// Bytes that `x-amz-decoded-content-length` still promises.
    promised: Option<u64>,
    trailers: Trailers,
}

enum State {
    /// At a chunk's length line.
    Length,
    /// Inside a chunk, with so many bytes to come.
    Data(u64),
    /// At the line break after a chunk.
    AfterData,
    Trailers,
    Done,
}

/// The longest line that is read: a chunk's length with its signature, or a trailer.
const MAX_LINE: usize = 4096;
/// More trailers than this are not read.
const MAX_TRAILERS: usize = 32;

/// Why a body is no `aws-chunked` body.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChunkedError {
    #[error("the aws-chunked body is malformed")]
    Malformed,
    #[error("the body ended early")]
    Incomplete,
    #[error("the body's length is not what x-amz-decoded-content-length says")]
    Length,
    #[error("the body could not be read")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl<S> Chunked<S> {
    pub(crate) fn new(inner: S, decoded_length: Option<u64>, trailers: Trailers) -> Self {
        Self {
            inner,
            buffer: BytesMut::new(),
            state: State::Length,
            promised: decoded_length,
            trailers,
        }
    }

    /// Takes a line off the buffer, without its line break.
    fn line(&mut self) -> Result<Option<Bytes>, ChunkedError> {
        match self.buffer.iter().take(MAX_LINE).position(|&b| b == b'\n') {
            Some(end) => {
                let line = self.buffer.split_to(end + 1).freeze();
                let line = line.slice(..end);
                Ok(Some(if line.ends_with(b"\r") {
                    line.slice(..end - 1)
                } else {
                    line
                }))
            }
            None if self.buffer.len() >= MAX_LINE => Err(ChunkedError::Malformed),
            None => Ok(None),
        }
    }

    /// Goes as far as the buffer reaches; answers with data, or `None` if more has to be read.
    fn step(&mut self) -> Result<Option<Bytes>, ChunkedError> {
        loop {
            match self.state {
                State::Length => {
                    let Some(line) = self.line()? else { return Ok(None) };
                    let length = line.split(|&b| b == b';').next().unwrap_or_default();
                    let length = std::str::from_utf8(length).map_err(|_| ChunkedError::Malformed)?;
                    match u64::from_str_radix(length.trim(), 16).map_err(|_| ChunkedError::Malformed)? {
                        0 if self.promised.is_some_and(|left| left > 0) => return Err(ChunkedError::Length),
                        0 => self.state = State::Trailers,
                        n => self.state = State::Data(n),
                    }
                }
                State::Data(0) => self.state = State::AfterData,
                State::Data(left) => {
                    if self.buffer.is_empty() {
                        return Ok(None);
                    }
                    let n = left.min(self.buffer.len() as u64);
                    if let Some(promised) = &mut self.promised {
                        *promised = promised.checked_sub(n).ok_or(ChunkedError::Length)?;
                    }
                    self.state = State::Data(left - n);
                    return Ok(Some(self.buffer.split_to(n as usize).freeze()));
                }
                State::AfterData => {
                    if self.buffer.len() < 2 {
                        return Ok(None);
                    }
                    if &self.buffer[..2] != b"\r\n" {
                        return Err(ChunkedError::Malformed);
                    }
                    self.buffer.advance(2);
                    self.state = State::Length;
                }
                State::Trailers => {
                    let Some(line) = self.line()? else { return Ok(None) };
                    if line.is_empty() {
                        self.state = State::Done;
                        continue;
                    }
                    let mut trailers = self.trailers.0.lock().unwrap_or_else(|e| e.into_inner());
                    let colon = line
                        .iter()
                        .position(|&b| b == b':')
                        .ok_or(ChunkedError::Malformed)?;
                    let name = HeaderName::from_bytes(&line[..colon]).map_err(|_| ChunkedError::Malformed)?;
                    let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii())
                        .map_err(|_| ChunkedError::Malformed)?;
                    if trailers.len() >= MAX_TRAILERS {
                        return Err(ChunkedError::Malformed);
                    }
                    trailers.insert(name, value);
                }
                State::Done => return Ok(None),
            }
        }
    }
}

impl<S, E> Stream for Chunked<S>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Item = Result<Bytes, ChunkedError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            match self.step() {
                Ok(Some(data)) => return Poll::Ready(Some(Ok(data))),
                Ok(None) => {}
                Err(error) => {
                    self.state = State::Done;
                    return Poll::Ready(Some(Err(error)));
                }
            }
            match ready!(Pin::new(&mut self.inner).poll_next(context)) {
                Some(Ok(data)) if matches!(self.state, State::Done) => drop(data),
                Some(Ok(data)) => self.buffer.extend_from_slice(&data),
                Some(Err(error)) => {
                    self.state = State::Done;
                    return Poll::Ready(Some(Err(ChunkedError::Body(error.into()))));
                }
                // Some senders leave out the empty line after the trailers.
                None if matches!(self.state, State::Trailers) && !self.buffer.is_empty() => {
                    self.buffer.extend_from_slice(b"\r\n\r\n");
                }
                None if matches!(self.state, State::Done | State::Trailers) => return Poll::Ready(None),
                None => {
                    self.state = State::Done;
                    return Poll::Ready(Some(Err(ChunkedError::Incomplete)));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use expect_test::{Expect, expect};
    use futures::{StreamExt, TryStreamExt, executor::block_on, stream};

    use super::*;

    /// Feeds `body` in pieces of `size` bytes and prints what comes out.
    fn decode(body: &str, size: usize, length: Option<u64>) -> String {
        let pieces = body
            .as_bytes()
            .chunks(size)
            .map(|c| Ok::<_, Infallible>(Bytes::copy_from_slice(c)));
        let trailers = Trailers::default();
        let stream = Chunked::new(stream::iter(pieces.collect::<Vec<_>>()), length, trailers.clone());
        let data = block_on(stream.boxed().try_fold(Vec::new(), |mut all, b| async move {
            all.extend_from_slice(&b);
            Ok(all)
        }));
        match data {
            Ok(data) => format!("{:?} {:?}", String::from_utf8_lossy(&data), trailers.read()),
            Err(error) => error.to_string(),
        }
    }

    fn check(body: &str, length: Option<u64>, expected: Expect) {
        let whole = decode(body, body.len().max(1), length);
        expected.assert_eq(&whole);
        for size in 1..8 {
            assert_eq!(decode(body, size, length), whole, "in pieces of {size}");
        }
    }

    #[test]
    fn chunks_and_trailers() {
        check(
            "4\r\nWiki\r\n5;chunk-signature=ab\r\npedia\r\n0\r\nx-amz-checksum-crc32: AAAAAA==\r\n\r\n",
            Some(9),
            expect![[r#""Wikipedia" {"x-amz-checksum-crc32": "AAAAAA=="}"#]],
        );
        check("0\r\n\r\n", Some(0), expect![[r#""" {}"#]]);
    }

    #[test]
    fn what_is_wrong_is_told() {
        check("4\r\nWi", None, expect!["the body ended early"]);
        check(
            "4\r\nWikiX\r\n0\r\n\r\n",
            None,
            expect!["the aws-chunked body is malformed"],
        );
        check("zz\r\n", None, expect!["the aws-chunked body is malformed"]);
        check(
            "4\r\nWiki\r\n0\r\n\r\n",
            Some(5),
            expect!["the body's length is not what x-amz-decoded-content-length says"],
        );
        check(
            "4\r\nWiki\r\n0\r\n\r\n",
            Some(3),
            expect!["the body's length is not what x-amz-decoded-content-length says"],
        );
    }
}
