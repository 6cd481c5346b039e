//! What has to happen to a request before `s3s` sees it.
//!
//! The emulator has keys of its own, or takes any, while `s3s` either checks signatures or refuses signed requests. So the
//! signature is taken off here, and with it goes what `s3s` does only for signed requests: undoing `aws-chunked`, and holding
//! the body against what was signed of it.

use std::{
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
};

use bytes::Bytes;
use futures::{Stream, ready};
use http::{HeaderValue, Request, StatusCode, Uri, header};
use http_body_util::{BodyDataStream, BodyExt};
use hyper::body::{Body as _, Incoming};
use s3s::dto::StreamingBlob;
use sha2::{Digest, Sha256};

use super::{
    chunked::{Chain, Chunked, Trailers},
    hex,
};
use crate::{
    signature::Seal,
    slow::{NotCome, PATIENCE, Patient},
};

/// Why a body is not taken, whatever s3s makes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    #[error("The provided 'x-amz-content-sha256' header does not match what was computed.")]
    Digest,
    #[error(
        "The chunk or trailer signature we calculated does not match the signature you provided. Check your AWS Secret Access \
         Key and signing method."
    )]
    Signature,
    #[error(
        "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, \
         STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER or a valid sha256 value."
    )]
    Form,
    #[error(
        "Your socket connection to the server was not read from or written to within the timeout period. Idle connections will \
         be closed."
    )]
    Slow,
}

impl Fault {
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::Digest => "XAmzContentSHA256Mismatch",
            Self::Signature => "SignatureDoesNotMatch",
            Self::Form => "InvalidArgument",
            Self::Slow => "RequestTimeout",
        }
    }

    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::Digest | Self::Form | Self::Slow => StatusCode::BAD_REQUEST,
            Self::Signature => StatusCode::FORBIDDEN,
        }
    }
}

/// What reading a body found, for who answers the request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Verdict(Arc<OnceLock<Fault>>);

impl Verdict {
    pub(crate) fn found(&self) -> Option<Fault> {
        self.0.get().copied()
    }

    pub(super) fn set(&self, tampered: Fault) {
        self.0.get_or_init(|| tampered);
    }
}

/// A body as it comes, which has to come in time.
pub(super) type Coming = Patient<BodyDataStream<Incoming>>;

/// A body that is held against its digest, if there is one.
struct Digested {
    inner: Coming,
    /// None once it has been read.
    hash: Option<(Sha256, String)>,
    verdict: Verdict,
}

/// Why a body cannot be read to its end.
#[derive(Debug, thiserror::Error)]
enum DigestedError {
    #[error(transparent)]
    Fault(#[from] Fault),
    #[error(transparent)]
    NotCome(#[from] NotCome<hyper::Error>),
}

impl Stream for Digested {
    type Item = Result<Bytes, DigestedError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let piece = ready!(Pin::new(&mut self.inner).poll_next(context));
        Poll::Ready(match piece {
            Some(Ok(piece)) => {
                if let Some((hash, _)) = &mut self.hash {
                    hash.update(&piece);
                }
                Some(Ok(piece))
            }
            Some(Err(error)) => {
                if let NotCome::TooSlow = error {
                    self.verdict.set(Fault::Slow);
                }
                Some(Err(error.into()))
            }
            None => {
                let held = self.hash.take();
                let holds =
                    held.is_none_or(|(hash, wanted)| hex(hash.finalize()).eq_ignore_ascii_case(&wanted));
                (!holds).then(|| {
                    self.verdict.set(Fault::Digest);
                    Err(Fault::Digest.into())
                })
            }
        })
    }
}

/// Query parameters that only carry a signature.
const SIGNATURE_PARAMETERS: [&str; 11] = [
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Date",
    "X-Amz-Expires",
    "X-Amz-SignedHeaders",
    "X-Amz-Signature",
    "X-Amz-Security-Token",
    "AWSAccessKeyId",
    "Signature",
    "Expires",
    "x-amz-security-token",
];

/// Makes an unsigned request with a plain body of any request. Whatever the body turns out to be, the verdict has the last
/// word. Without a seal signatures of chunks are read over.
pub(crate) fn accept(
    request: Request<Incoming>,
    seal: Option<Seal>,
) -> Result<(Request<s3s::Body>, Verdict), Fault> {
    let (mut parts, body) = request.into_parts();
    parts.headers.remove(header::AUTHORIZATION);
    parts.uri = without_signature(parts.uri);
    let verdict = Verdict::default();
    let payload = parts.headers.get("x-amz-content-sha256");
    let payload = payload.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let plain = |body: Incoming, digest: Option<&str>| {
        if body.is_end_stream() {
            return s3s::Body::from(body);
        }
        let digested = Digested {
            inner: Patient::new(body.into_data_stream(), PATIENCE),
            hash: digest.map(|digest| (Sha256::new(), digest.to_owned())),
            verdict: verdict.clone(),
        };
        s3s::Body::from(StreamingBlob::wrap(digested))
    };
    let signed = |seal, with_trailers| Chain::new(seal, with_trailers, verdict.clone());
    let chain = match (payload.as_deref(), seal) {
        (Some("STREAMING-UNSIGNED-PAYLOAD-TRAILER"), _) => None,
        (Some("STREAMING-AWS4-HMAC-SHA256-PAYLOAD"), Some(seal)) => Some(signed(seal, false)),
        (Some("STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"), Some(seal)) => Some(signed(seal, true)),
        (Some(streaming), None) if streaming.starts_with("STREAMING-") => None,
        (Some(digest), _) if is_digest(digest) => {
            if body.is_end_stream() && !digest.eq_ignore_ascii_case(&hex(Sha256::digest(b""))) {
                return Err(Fault::Digest);
            }
            let body = plain(body, Some(digest));
            return Ok((Request::from_parts(parts, body), verdict));
        }
        (Some(other), Some(_)) if other != "UNSIGNED-PAYLOAD" => return Err(Fault::Form),
        _ => {
            let body = plain(body, None);
            return Ok((Request::from_parts(parts, body), verdict));
        }
    };
    let length = parts.headers.remove("x-amz-decoded-content-length");
    let decoded_length = length.as_ref().and_then(|v| v.to_str().ok()?.parse().ok());
    parts.headers.remove(header::CONTENT_LENGTH);
    if let Some(length) = length {
        parts.headers.insert(header::CONTENT_LENGTH, length);
    }
    // What is stored is the body without this coding.
    if let Some(codings) = parts.headers.remove(header::CONTENT_ENCODING) {
        let kept = codings.to_str().unwrap_or_default().split(',').map(str::trim);
        let kept = kept
            .filter(|coding| *coding != "aws-chunked")
            .collect::<Vec<_>>()
            .join(", ");
        if let Some(kept) = (!kept.is_empty())
            .then(|| HeaderValue::from_str(&kept).ok())
            .flatten()
        {
            parts.headers.insert(header::CONTENT_ENCODING, kept);
        }
    }
    let trailers = Trailers::default();
    parts.extensions.insert(trailers.clone());
    let coming = Patient::new(body.into_data_stream(), PATIENCE);
    let chunked = Chunked::new(coming, decoded_length, trailers, chain);
    let body = s3s::Body::from(StreamingBlob::wrap(chunked));
    Ok((Request::from_parts(parts, body), verdict))
}

/// Whether it is a SHA-256 in hex.
fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit())
}

fn without_signature(uri: Uri) -> Uri {
    let Some(query) = uri.query() else { return uri };
    let signed = |pair: &&str| {
        let name = pair.split('=').next().unwrap_or_default();
        SIGNATURE_PARAMETERS.contains(&name)
    };
    if !query.split('&').any(|pair| signed(&pair)) {
        return uri;
    }
    let query = query
        .split('&')
        .filter(|pair| !signed(pair))
        .collect::<Vec<_>>()
        .join("&");
    let path = if query.is_empty() {
        uri.path().to_owned()
    } else {
        format!("{}?{query}", uri.path())
    };
    path.parse().unwrap_or(uri)
}
