//! `aws-chunked` bodies: chunks with a length line each, then trailers that carry the checksum.
//!
//! Where the server has keys, and the head says that chunks are signed, each is held against its signature; otherwise signatures
//! are read over.

use std::{
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use bytes::{Buf, Bytes, BytesMut};
use futures::{Stream, ready};
use http::{HeaderMap, HeaderName, HeaderValue};
use sha2::{Digest, Sha256};

use super::{
    hex,
    incoming::{Coming, Fault, Verdict},
};
use crate::signature::Seal;

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
pub(crate) struct Chunked<S = Coming> {
    inner: S,
    buffer: BytesMut,
    state: State,
    /// Bytes that `x-amz-decoded-content-length` still promises.
    promised: Option<u64>,
    trailers: Trailers,
    chain: Option<Chain>,
}

/// Holds chunks against their signatures, each of which is also of the one before it.
pub(crate) struct Chain {
    seal: Seal,
    verdict: Verdict,
    /// Of the chunk that is being read, and what it is signed with.
    hash: Sha256,
    signature: String,
    /// Whether there may be trailers: then they are signed as well.
    with_trailers: bool,
    /// Those that came, one to a line.
    lines: Vec<u8>,
    signed: Option<String>,
}

impl Chain {
    /// After the signature of the head.
    pub(super) fn new(seal: Seal, with_trailers: bool, verdict: Verdict) -> Self {
        Self {
            seal,
            verdict,
            hash: Sha256::new(),
            signature: String::new(),
            with_trailers,
            lines: Vec::new(),
            signed: None,
        }
    }

    /// Begins a chunk with what stands after the length in its first line.
    fn begin(&mut self, rest: &[u8]) -> Result<(), ChunkedError> {
        let signature = std::str::from_utf8(rest).ok();
        let signature = signature.and_then(|rest| rest.trim().strip_prefix("chunk-signature="));
        self.signature = signature.ok_or(ChunkedError::Signature)?.to_owned();
        Ok(())
    }

    /// Ends a chunk.
    fn end(&mut self) -> Result<(), ChunkedError> {
        let digest = hex(std::mem::take(&mut self.hash).finalize());
        match self.seal.chunk(&digest, &self.signature) {
            true => Ok(()),
            false => Err(ChunkedError::Signature),
        }
    }

    fn trailer(&mut self, name: &HeaderName, value: &[u8]) -> Result<(), ChunkedError> {
        if !self.with_trailers {
            return Err(ChunkedError::Signature);
        }
        if name == "x-amz-trailer-signature" {
            self.signed = Some(String::from_utf8_lossy(value).into_owned());
        } else {
            for part in [name.as_str().as_bytes(), b":", value, b"\n"] {
                self.lines.extend_from_slice(part);
            }
        }
        Ok(())
    }

    /// After the last trailer.
    fn finish(&mut self) -> Result<(), ChunkedError> {
        let signature = self.signed.as_deref().unwrap_or_default();
        match !self.with_trailers || self.seal.trailers(&self.lines, signature) {
            true => Ok(()),
            false => Err(ChunkedError::Signature),
        }
    }
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
    #[error("a chunk or the trailers are not signed as the head says")]
    Signature,
    #[error("the body could not be read")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl<S> Chunked<S> {
    pub(crate) fn new(
        inner: S,
        decoded_length: Option<u64>,
        trailers: Trailers,
        chain: Option<Chain>,
    ) -> Self {
        Self {
            inner,
            buffer: BytesMut::new(),
            state: State::Length,
            promised: decoded_length,
            trailers,
            chain,
        }
    }

    fn end_chunk(&mut self) -> Result<(), ChunkedError> {
        self.chain.as_mut().map_or(Ok(()), Chain::end)
    }

    /// After the trailers, however they end.
    fn finish(&mut self) -> Result<(), ChunkedError> {
        self.state = State::Done;
        self.chain.as_mut().map_or(Ok(()), Chain::finish)
    }

    /// Why it goes no further.
    fn fail(&mut self, error: ChunkedError) -> ChunkedError {
        self.state = State::Done;
        if let (ChunkedError::Signature, Some(chain)) = (&error, &self.chain) {
            chain.verdict.set(Fault::Signature);
        }
        error
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
                    let mut parts = line.splitn(2, |&b| b == b';');
                    let length = parts.next().unwrap_or_default();
                    if let Some(chain) = &mut self.chain {
                        chain.begin(parts.next().unwrap_or_default())?;
                    }
                    let length = std::str::from_utf8(length).map_err(|_| ChunkedError::Malformed)?;
                    match u64::from_str_radix(length.trim(), 16).map_err(|_| ChunkedError::Malformed)? {
                        0 if self.promised.is_some_and(|left| left > 0) => return Err(ChunkedError::Length),
                        0 => {
                            self.end_chunk()?;
                            self.state = State::Trailers;
                        }
                        n => self.state = State::Data(n),
                    }
                }
                State::Data(0) => {
                    self.end_chunk()?;
                    self.state = State::AfterData;
                }
                State::Data(left) => {
                    if self.buffer.is_empty() {
                        return Ok(None);
                    }
                    let n = left.min(self.buffer.len() as u64);
                    if let Some(promised) = &mut self.promised {
                        *promised = promised.checked_sub(n).ok_or(ChunkedError::Length)?;
                    }
                    self.state = State::Data(left - n);
                    let data = self.buffer.split_to(n as usize).freeze();
                    if let Some(chain) = &mut self.chain {
                        chain.hash.update(&data);
                    }
                    return Ok(Some(data));
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
                        self.finish()?;
                        continue;
                    }
                    let mut trailers = self.trailers.0.lock().unwrap_or_else(|e| e.into_inner());
                    let colon = line
                        .iter()
                        .position(|&b| b == b':')
                        .ok_or(ChunkedError::Malformed)?;
                    let name = HeaderName::from_bytes(&line[..colon]).map_err(|_| ChunkedError::Malformed)?;
                    let value = line[colon + 1..].trim_ascii();
                    if let Some(chain) = &mut self.chain {
                        chain.trailer(&name, value)?;
                    }
                    let value = HeaderValue::from_bytes(value).map_err(|_| ChunkedError::Malformed)?;
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
                    let error = self.fail(error);
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
                None if matches!(self.state, State::Trailers) => {
                    if let Err(error) = self.finish() {
                        let error = self.fail(error);
                        return Poll::Ready(Some(Err(error)));
                    }
                    return Poll::Ready(None);
                }
                None if matches!(self.state, State::Done) => return Poll::Ready(None),
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
        let pieces = stream::iter(pieces.collect::<Vec<_>>());
        let stream = Chunked::new(pieces, length, trailers.clone(), None);
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

    /// What comes of a body that is signed as the documentation's examples are, after a head with that signature.
    fn decode_signed(head: &str, with_trailers: bool, body: &[u8]) -> Result<usize, String> {
        let verdict = Verdict::default();
        let chain = Chain::new(Seal::example(head), with_trailers, verdict.clone());
        let pieces = body
            .chunks(10_000)
            .map(|c| Ok::<_, Infallible>(Bytes::copy_from_slice(c)));
        let pieces = stream::iter(pieces.collect::<Vec<_>>());
        let stream = Chunked::new(pieces, Some(66_560), Trailers::default(), Some(chain));
        let read = stream
            .boxed()
            .try_fold(0, |all, b| async move { Ok(all + b.len()) });
        let read = block_on(read).map_err(|error| error.to_string());
        assert_eq!(read.is_ok(), verdict.found().is_none(), "{read:?}");
        read
    }

    fn signed(chunks: [&str; 3], end: &str) -> Vec<u8> {
        let [first, second, last] = chunks;
        let data = |length| "a".repeat(length);
        let text = format!(
            "10000;chunk-signature={first}\r\n{}\r\n400;chunk-signature={second}\r\n{}\r\n0;chunk-signature={last}\r\n{end}",
            data(65_536),
            data(1024)
        );
        text.into_bytes()
    }

    /// The example of the documentation of S3: 65 KiB in two chunks.
    #[test]
    fn signatures_of_chunks() {
        const HEAD: &str = "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9";
        let chunks = [
            "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
            "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
            "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9",
        ];
        let good = signed(chunks, "\r\n");
        assert_eq!(decode_signed(HEAD, false, &good), Ok(66_560));
        let refused = |body: &[u8]| decode_signed(HEAD, false, body).unwrap_err();
        let why = "a chunk or the trailers are not signed as the head says";
        // A byte of the data, the order of the chunks, the last one, none at all, and what is not signed after them.
        let mut changed = good.clone();
        changed[100] = b'b';
        assert_eq!(refused(&changed), why);
        let [first, second, last] = chunks;
        for chunks in [[second, first, last], [first, second, first], ["", "", ""]] {
            assert_eq!(refused(&signed(chunks, "\r\n")), why);
        }
        let unsigned = String::from_utf8(good)
            .unwrap()
            .replace(";chunk-signature=", ";x=");
        assert_eq!(refused(unsigned.as_bytes()), why);
        assert_eq!(
            refused(&signed(chunks, "x-amz-checksum-crc32c:sOO8/Q==\r\n\r\n")),
            why
        );
    }

    /// The example of the documentation of S3 with a checksum after the chunks.
    #[test]
    fn signatures_of_trailers() {
        const HEAD: &str = "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e";
        let chunks = [
            "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2",
            "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7",
            "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992",
        ];
        let signature =
            "x-amz-trailer-signature:d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435";
        let checksum = "x-amz-checksum-crc32c:sOO8/Q==";
        for end in ["\r\n\r\n", "\r\n"] {
            let body = signed(chunks, &format!("{checksum}\r\n{signature}{end}"));
            assert_eq!(decode_signed(HEAD, true, &body), Ok(66_560));
        }
        for end in [
            format!("x-amz-checksum-crc32c:sOO8/A==\r\n{signature}\r\n\r\n"),
            format!("{checksum}\r\n\r\n"),
            format!("{signature}\r\n\r\n"),
            "\r\n".to_owned(),
            String::new(),
        ] {
            assert!(decode_signed(HEAD, true, &signed(chunks, &end)).is_err(), "{end}");
        }
    }
}
