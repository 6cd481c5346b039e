//! Objects of S3 as synchronous readers: listed page by page, and fetched a little ahead of whoever reads them.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Read};
use std::str::FromStr;
use std::time::Duration;

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::types::EncodingType;
use bytes::Bytes;
use ipinsights_client::Error as ClientError;
use percent_encoding::percent_decode_str;
use tokio::sync::mpsc;

use crate::queue::Arrived;
use crate::{Clients, Error};

/// How many objects are fetched ahead of the reader unless the caller says otherwise: a log bucket has many small objects,
/// and each costs a round trip.
pub const AHEAD: usize = 16;

/// The largest piece of a body that is kept, in bytes.
const PIECE: usize = 64 * 1024;
/// How many pieces of one body are kept ahead of its reader.
const PIECES: usize = 8;
/// How often in a row the rest of a body is asked for without a byte more coming.
const ATTEMPTS: u32 = 5;

/// `s3://bucket/prefix`: all objects whose key begins with the prefix, or the one object with just this key.
///
/// The prefix is plain text as S3 has it, so that `logs` also stands for `logs-of-2024/…`. Slashes count: `a//b` and `/a` are not
/// `a/b` and `a`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Prefix {
    bucket: String, // INVARIANT: 3 to 63 characters.
    prefix: String,
}

impl S3Prefix {
    /// The bucket.
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// What the keys begin with; may be empty.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    fn uri(&self, key: &str) -> String {
        let mut uri = format!("s3://{}/", self.bucket);
        for c in key.chars() {
            // A key may hold anything, and names are shown on terminals.
            if c.is_control() {
                uri.extend(c.escape_default());
            } else {
                uri.push(c);
            }
        }
        uri
    }
}

impl fmt::Display for S3Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.uri(&self.prefix))
    }
}

impl FromStr for S3Prefix {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let refuse = |reason| Error::S3Address {
            text: text.to_owned(),
            reason,
        };
        let rest = text
            .strip_prefix("s3://")
            .ok_or_else(|| refuse("it begins with s3://"))?;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if !(3..=63).contains(&bucket.len()) {
            return Err(refuse("a bucket name has 3 to 63 characters"));
        }
        Ok(Self {
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
        })
    }
}

/// An object that is being fetched.
#[derive(Debug)]
pub struct Object {
    /// `s3://bucket/key`, with control characters escaped: a name for people.
    pub uri: String,
    /// Its size in bytes when it was listed.
    pub size: u64,
    /// Its bytes.
    pub body: Body,
}

/// The objects of a prefix in the order of the listing, which is that of the keys' bytes.
///
/// A blocking iterator, for a thread that is not of the async runtime: there it panics. It ends after the first error, and holds at
/// most 512 KiB for each object that is fetched ahead. Keys that end in a slash and hold nothing, as consoles make them for
/// folders, are passed over.
#[derive(Debug)]
pub struct Objects {
    queue: mpsc::Receiver<Result<Option<Object>, Error>>,
    ended: bool,
}

impl Iterator for Objects {
    type Item = Result<Object, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = match self.queue.blocking_recv() {
            Some(next) => next.transpose(),
            None => Some(Err(Error::Unexpected {
                what: "the listing was given up before its end".to_owned(),
            })),
        };
        self.ended = !matches!(next, Some(Ok(_)));
        next
    }
}

/// Begins to list and to fetch what an address stands for, `ahead` objects ahead of the reader (at least one).
///
/// The first page of the listing is read before this returns. Requests are retried by the SDK, and a body that breaks off is
/// resumed where it did.
///
/// # Errors
///
/// [`Error::NoBucket`], [`Error::OtherRegion`], or [`Error::S3`] for all else that the first request can end in.
pub async fn objects(clients: &Clients, place: &S3Prefix, ahead: usize) -> Result<Objects, Error> {
    let mut listing = Listing {
        s3: clients.s3.clone(),
        region: clients.region.clone(),
        place: place.clone(),
        page: VecDeque::new(),
        more: Some(None),
    };
    listing.turn().await?;
    // The queue's length is what bounds the objects that are fetched ahead: one more waits for room in it.
    let (sender, queue) = mpsc::channel(ahead.max(2) - 1);
    tokio::spawn(async move {
        loop {
            let next = listing.next().await;
            let last = !matches!(next, Ok(Some(_)));
            let next = next.map(|entry| entry.map(|entry| listing.fetch(entry)));
            if sender.send(next).await.is_err() || last {
                return;
            }
        }
    });
    Ok(Objects { queue, ended: false })
}

/// A key with its size.
struct Entry {
    key: String,
    size: u64,
}

/// The pages of a listing.
struct Listing {
    s3: aws_sdk_s3::Client,
    region: String,
    place: S3Prefix,
    page: VecDeque<Entry>,
    /// Whether there is another page, and the token that asks for it.
    more: Option<Option<String>>,
}

impl Listing {
    async fn next(&mut self) -> Result<Option<Entry>, Error> {
        while self.page.is_empty() && self.more.is_some() {
            self.turn().await?;
        }
        Ok(self.page.pop_front())
    }

    /// Reads the next page.
    async fn turn(&mut self) -> Result<(), Error> {
        let Some(token) = self.more.take() else {
            return Ok(());
        };
        let first = token.is_none();
        let page = self
            .s3
            .list_objects_v2()
            .bucket(&self.place.bucket)
            .prefix(&self.place.prefix)
            // Not every key can be written in XML.
            .encoding_type(EncodingType::Url)
            .set_continuation_token(token)
            .send()
            .await
            .map_err(|error| sort(error, "ListObjectsV2", &self.region, &self.place, None))?;
        let encoded = page.encoding_type() == Some(&EncodingType::Url);
        let unexpected = |what: &str| Error::Unexpected {
            what: format!("the listing of `{}` {what}", self.place),
        };
        if page.is_truncated() == Some(true) {
            let token = page.next_continuation_token().map(str::to_owned);
            let token = token.ok_or_else(|| unexpected("goes on, and does not say where"))?;
            self.more = Some(Some(token));
        }
        for object in page.contents() {
            let key = object
                .key()
                .ok_or_else(|| unexpected("has an object without a key"))?;
            let key = if encoded {
                // As a form is encoded: a blank is a plus sign, and a plus sign is not.
                let key = key.replace('+', " ");
                let key = percent_decode_str(&key).decode_utf8();
                key.map_err(|_| unexpected("has a key that is not UTF-8"))?
                    .into_owned()
            } else {
                key.to_owned()
            };
            let size = object.size().and_then(|size| size.try_into().ok()).unwrap_or(0);
            if key.ends_with('/') && size == 0 {
                continue;
            }
            self.page.push_back(Entry { key, size });
        }
        let named = self
            .page
            .front()
            .is_some_and(|entry| entry.key == self.place.prefix);
        if first && named {
            // Of all keys that begin with it, the shortest comes first.
            self.page.truncate(1);
            self.more = None;
        }
        Ok(())
    }

    /// Begins to fetch an object.
    fn fetch(&self, entry: Entry) -> Object {
        let body = fetch(
            self.s3.clone(),
            self.region.clone(),
            self.place.clone(),
            entry.key,
        );
        Object {
            uri: body.uri.clone(),
            size: entry.size,
            body,
        }
    }
}

/// Begins to fetch one object, of which a message told.
///
/// That it is gone, or cannot be had, [`Body::wait`] and reading tell. This is to be called on the async runtime.
pub fn object(clients: &Clients, arrived: &Arrived) -> Body {
    let place = S3Prefix {
        bucket: arrived.bucket.clone(),
        prefix: arrived.key.clone(),
    };
    fetch(
        clients.s3.clone(),
        clients.region.clone(),
        place,
        arrived.key.clone(),
    )
}

fn fetch(s3: aws_sdk_s3::Client, region: String, place: S3Prefix, key: String) -> Body {
    let (sender, pieces) = mpsc::channel(PIECES);
    let uri = place.uri(&key);
    let download = Download {
        s3,
        region,
        place,
        key,
        to: sender,
        received: 0,
        version: None,
    };
    tokio::spawn(download.run());
    Body {
        uri,
        pieces,
        piece: Bytes::new(),
        state: State::Reading,
    }
}

/// The bytes of an object, as a synchronous reader for a thread that is not of the async runtime: there it panics.
///
/// Errors of reading carry a [`pipeline::Error`](Error) that [`io::Error::get_ref`] gives.
#[derive(Debug)]
pub struct Body {
    uri: String,
    pieces: mpsc::Receiver<Result<Option<Bytes>, Error>>,
    piece: Bytes,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Reading,
    Ended,
    Failed,
}

impl Body {
    /// `s3://bucket/key`, with control characters escaped: a name for people.
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// Waits until the first bytes are there, or the object's end, so that an object that cannot be had is told before it is read.
    ///
    /// # Errors
    ///
    /// [`Error::ObjectGone`], [`Error::ObjectArchived`], or [`Error::S3`] for all else.
    pub fn wait(&mut self) -> Result<(), Error> {
        while self.piece.is_empty() && self.state == State::Reading {
            match self.pieces.blocking_recv() {
                Some(Ok(Some(piece))) => self.piece = piece,
                Some(Ok(None)) => self.state = State::Ended,
                Some(Err(error)) => {
                    self.state = State::Failed;
                    return Err(error);
                }
                // The runtime went away: what came so far is not the whole object.
                None => break,
            }
        }
        match self.state {
            State::Reading if !self.piece.is_empty() => Ok(()),
            State::Ended => Ok(()),
            State::Reading | State::Failed => Err(Error::Unexpected {
                what: format!("reading `{}` was given up before its end", self.uri),
            }),
        }
    }
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        self.wait().map_err(|error| {
            let kind = match error {
                Error::ObjectGone { .. } => io::ErrorKind::NotFound,
                _ => io::ErrorKind::Other,
            };
            io::Error::new(kind, error)
        })?;
        let length = self.piece.len().min(buffer.len());
        buffer[..length].copy_from_slice(&self.piece.split_to(length));
        Ok(length)
    }
}

/// What is fetched of an object, in one request or, where they break off, several.
struct Download {
    s3: aws_sdk_s3::Client,
    region: String,
    place: S3Prefix,
    key: String,
    to: mpsc::Sender<Result<Option<Bytes>, Error>>,
    /// Bytes that came so far.
    received: u64,
    /// What the first answer said.
    version: Option<Version>,
}

/// The object that was asked for, to know it again.
struct Version {
    size: Option<u64>,
    e_tag: Option<String>,
}

/// Why one request did not bring the rest.
enum Stop {
    /// Nobody wants it any more.
    Unwanted,
    /// The body broke off.
    Broken(Box<dyn std::error::Error + Send + Sync>),
    /// Asking again would not help.
    Final(Error),
}

impl Download {
    async fn run(mut self) {
        let mut in_vain = 0;
        let error = loop {
            let before = self.received;
            match self.request().await {
                Ok(()) => {
                    let _ = self.to.send(Ok(None)).await;
                    return;
                }
                Err(Stop::Unwanted) => return,
                Err(Stop::Final(error)) => break error,
                Err(Stop::Broken(source)) => {
                    in_vain = if self.received > before { 1 } else { in_vain + 1 };
                    let size = self.version.as_ref().and_then(|version| version.size);
                    // With all bytes there, it is their checksum that is wrong.
                    if in_vain == ATTEMPTS || size.is_some_and(|size| self.received >= size) {
                        break Error::ObjectCut {
                            uri: self.place.uri(&self.key),
                            received: self.received,
                            size,
                            source,
                        };
                    }
                    tokio::time::sleep(self.pause(in_vain)).await;
                }
            }
        };
        let _ = self.to.send(Err(error)).await;
    }

    /// Doubles with each attempt, from where the SDK begins.
    fn pause(&self, attempt: u32) -> Duration {
        let retry = self.s3.config().retry_config();
        retry.map_or(Duration::from_secs(1), |retry| retry.initial_backoff()) * 2_u32.pow(attempt - 1)
    }

    /// Asks for what has not come yet, and hands it on.
    async fn request(&mut self) -> Result<(), Stop> {
        let resumed = self.version.as_ref().filter(|_| self.received > 0);
        let answer = self
            .s3
            .get_object()
            .bucket(&self.place.bucket)
            .key(&self.key)
            .set_range(resumed.map(|_| format!("bytes={}-", self.received)))
            .set_if_match(resumed.and_then(|version| version.e_tag.clone()))
            .send()
            .await
            .map_err(|error| {
                Stop::Final(sort(
                    error,
                    "GetObject",
                    &self.region,
                    &self.place,
                    Some(&self.key),
                ))
            })?;
        if resumed.is_some() && answer.content_range().is_none() {
            return Err(Stop::Final(Error::Unexpected {
                what: format!(
                    "the rest of `{}` was asked for, and something else came",
                    self.place.uri(&self.key)
                ),
            }));
        }
        if resumed.is_none() {
            self.version = Some(Version {
                size: answer.content_length().and_then(|length| length.try_into().ok()),
                e_tag: answer.e_tag().map(str::to_owned),
            });
        }
        let mut body = answer.body;
        while let Some(piece) = body.next().await {
            let mut piece = piece.map_err(|error| Stop::Broken(error.into()))?;
            self.received += piece.len() as u64;
            while !piece.is_empty() {
                let part = piece.split_to(piece.len().min(PIECE));
                self.to.send(Ok(Some(part))).await.map_err(|_| Stop::Unwanted)?;
            }
        }
        match &self.version {
            Some(Version { size: Some(size), .. }) if self.received < *size => {
                Err(Stop::Broken("the connection was closed".into()))
            }
            _ => Ok(()),
        }
    }
}

/// Sorts what a request ended in by what can be done about it.
fn sort<E>(
    error: SdkError<E, HttpResponse>,
    operation: &'static str,
    region: &str,
    place: &S3Prefix,
    key: Option<&str>,
) -> Error
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let uri = || place.uri(key.unwrap_or(&place.prefix));
    let elsewhere = error
        .raw_response()
        .filter(|response| !response.status().is_success())
        .and_then(|response| response.headers().get("x-amz-bucket-region"))
        .filter(|there| *there != region);
    if let Some(there) = elsewhere {
        return Error::OtherRegion {
            bucket: place.bucket.clone(),
            region: there.to_owned(),
        };
    }
    match error.as_service_error().and_then(ProvideErrorMetadata::code) {
        Some("NoSuchBucket") => Error::NoBucket {
            bucket: place.bucket.clone(),
        },
        Some("NoSuchKey") => Error::ObjectGone { uri: uri() },
        Some("InvalidObjectState") => Error::ObjectArchived { uri: uri() },
        Some("PreconditionFailed") => Error::ObjectChanged { uri: uri() },
        _ => Error::S3 {
            uri: uri(),
            source: Box::new(ClientError::from_sdk(operation, error)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let parsed = |text: &str| text.parse::<S3Prefix>();
        let place = parsed("s3://logs/AWSLogs//1/").unwrap();
        assert_eq!((place.bucket(), place.prefix()), ("logs", "AWSLogs//1/"));
        assert_eq!(place.to_string(), "s3://logs/AWSLogs//1/");
        for (text, prefix) in [("s3://logs", ""), ("s3://logs/", ""), ("s3://logs//a", "/a")] {
            assert_eq!(parsed(text).unwrap().prefix(), prefix, "{text}");
        }
        assert_eq!(
            parsed("s3://logs/a\u{1b}b").unwrap().to_string(),
            "s3://logs/a\\u{1b}b"
        );
        for (text, said) in [
            ("logs/a", "`logs/a` is no S3 address: it begins with s3://"),
            ("s3://", "3 to 63"),
            ("s3:///a", "3 to 63"),
            ("s3://ab/a", "3 to 63"),
        ] {
            let error = parsed(text).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
