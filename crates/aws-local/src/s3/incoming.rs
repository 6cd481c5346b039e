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
use crate::signature::Seal;

/// Why a body is not what its head says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Tampered {
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
}

impl Tampered {
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::Digest => "XAmzContentSHA256Mismatch",
            Self::Signature => "SignatureDoesNotMatch",
            Self::Form => "InvalidArgument",
        }
    }

    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::Digest | Self::Form => StatusCode::BAD_REQUEST,
            Self::Signature => StatusCode::FORBIDDEN,
        }
    }
}

/// What reading a body found, for who answers the request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Verdict(Arc<OnceLock<Tampered>>);

impl Verdict {
    pub(crate) fn found(&self) -> Option<Tampered> {
        self.0.get().copied()
    }

    pub(super) fn set(&self, tampered: Tampered) {
        self.0.get_or_init(|| tampered);
    }
}

/// A body that is held against its digest.
struct Digested {
    inner: BodyDataStream<Incoming>,
    /// None once it has been read.
    hash: Option<Sha256>,
    wanted: String,
    verdict: Verdict,
}

/// Why a body cannot be read to its end.
#[derive(Debug, thiserror::Error)]
enum DigestedError {
    #[error(transparent)]
    Tampered(#[from] Tampered),
    #[error("the body could not be read")]
    Body(#[from] hyper::Error),
}

impl Stream for Digested {
    type Item = Result<Bytes, DigestedError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let piece = ready!(Pin::new(&mut self.inner).poll_next(context));
        Poll::Ready(match piece {
            Some(Ok(piece)) => {
                if let Some(hash) = &mut self.hash {
                    hash.update(&piece);
                }
                Some(Ok(piece))
            }
            Some(Err(error)) => Some(Err(error.into())),
            None => {
                let digest = self.hash.take().map(|hash| hex(hash.finalize()));
                if digest.is_none_or(|digest| digest.eq_ignore_ascii_case(&self.wanted)) {
                    None
                } else {
                    self.verdict.set(Tampered::Digest);
                    Some(Err(Tampered::Digest.into()))
                }
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
) -> Result<(Request<s3s::Body>, Verdict), Tampered> {
    let (mut parts, body) = request.into_parts();
    parts.headers.remove(header::AUTHORIZATION);
    parts.uri = without_signature(parts.uri);
    let verdict = Verdict::default();
    let payload = parts.headers.get("x-amz-content-sha256");
    let payload = payload.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let chain = match (payload.as_deref(), seal) {
        (Some("STREAMING-UNSIGNED-PAYLOAD-TRAILER"), _) => None,
        (Some("STREAMING-AWS4-HMAC-SHA256-PAYLOAD"), Some(seal)) => {
            Some(Chain::new(seal, false, verdict.clone()))
        }
        (Some("STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"), Some(seal)) => {
            Some(Chain::new(seal, true, verdict.clone()))
        }
        (Some(streaming), None) if streaming.starts_with("STREAMING-") => None,
        (Some(digest), _) if is_digest(digest) => {
            let empty = || hex(Sha256::digest(b""));
            if body.is_end_stream() && !digest.eq_ignore_ascii_case(&empty()) {
                return Err(Tampered::Digest);
            }
            let digested = Digested {
                inner: body.into_data_stream(),
                hash: Some(Sha256::new()),
                wanted: digest.to_owned(),
                verdict: verdict.clone(),
            };
            let body = s3s::Body::from(StreamingBlob::wrap(digested));
            return Ok((Request::from_parts(parts, body), verdict));
        }
        (Some(other), Some(_)) if other != "UNSIGNED-PAYLOAD" => return Err(Tampered::Form),
        _ => return Ok((Request::from_parts(parts, s3s::Body::from(body)), verdict)),
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
    let chunked = Chunked::new(body.into_data_stream(), decoded_length, trailers, chain);
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
