//! What has to happen to a request before `s3s` sees it.
//!
//! The emulator takes any credentials, while `s3s` either checks signatures or refuses signed requests. So the
//! signature is taken off here, and with it goes what `s3s` does only for signed requests: undoing `aws-chunked`.

use http::{HeaderValue, Request, Uri, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use s3s::dto::StreamingBlob;

use super::chunked::{Chunked, Trailers};

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

/// Makes an unsigned request with a plain body of any request.
pub(crate) fn accept(request: Request<Incoming>) -> Request<s3s::Body> {
    let (mut parts, body) = request.into_parts();
    parts.headers.remove(header::AUTHORIZATION);
    parts.uri = without_signature(parts.uri);
    let streaming = parts
        .headers
        .get("x-amz-content-sha256")
        .is_some_and(|value| value.as_bytes().starts_with(b"STREAMING-"));
    if !streaming {
        return Request::from_parts(parts, s3s::Body::from(body));
    }
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
    let body = StreamingBlob::wrap(Chunked::new(body.into_data_stream(), decoded_length, trailers));
    Request::from_parts(parts, s3s::Body::from(body))
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
