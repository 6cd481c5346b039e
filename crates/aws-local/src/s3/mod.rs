//! S3: the protocol by the crate `s3s`, the objects in a folder.

mod chunked;
mod incoming;
mod service;
mod store;

use std::sync::Arc;

use bytes::Bytes;
use http::{Response, header};
use http_body_util::BodyExt;
use s3s::{
    Body, S3Result,
    config::{S3Config, StaticConfigProvider},
    host::{S3Host, VirtualHost},
    service::{S3Service, S3ServiceBuilder},
};
use tokio_util::task::TaskTracker;

pub(crate) use incoming::accept;
pub(crate) use s3s::crypto::Sha256;
#[cfg(feature = "console")]
pub(crate) use service::{Incoming, put_stream};
#[cfg(feature = "console")]
pub(crate) use store::{Attributes, Condition};
pub(crate) use store::{ObjectStore, Scan, StoreError, hex};

/// The protocol around a store; `tasks` are those that the server's end waits for.
pub(crate) fn service(store: Arc<ObjectStore>, region: String, tasks: TaskTracker) -> S3Service {
    let mut config = S3Config::default();
    // Browser forms are refused; s3s would read one whole before asking.
    config.post_object_max_file_size = 0;
    let mut builder = S3ServiceBuilder::new(service::Service { store, region, tasks });
    builder.set_config(Arc::new(StaticConfigProvider::new(Arc::new(config))));
    builder.set_host(Loopback);
    builder.build()
}

/// Answers of `s3s` that say no more than a code, with what is wrong and the limit.
const MESSAGES: [(&str, &str); 2] = [
    ("InvalidBucketName", INVALID_BUCKET),
    ("KeyTooLongError", KEY_TOO_LONG),
];

pub(crate) const INVALID_BUCKET: &str = "The specified bucket is not valid: a name has 3 to 63 lower-case letters, digits, dots and hyphens, begins and ends with a \
     letter or digit, and is no IP address.";
pub(crate) const KEY_TOO_LONG: &str = "Your key is too long: a key has at most 1024 bytes in UTF-8.";

/// Gives an error its message, if it has none.
pub(crate) async fn explain(response: Response<Body>) -> Response<Body> {
    if response.status() != http::StatusCode::BAD_REQUEST {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    // Errors are short, and in memory already.
    let bytes = body
        .collect()
        .await
        .map(|body| body.to_bytes())
        .unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let missing = MESSAGES.iter().find_map(|(code, message)| {
        let code = format!("<Code>{code}</Code>");
        let (before, after) = text.split_once(&code)?;
        (!text.contains("<Message>")).then(|| format!("{before}{code}<Message>{message}</Message>{after}"))
    });
    let bytes = missing.map_or(bytes.clone(), Bytes::from);
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, Body::from(bytes))
}

/// Buckets by name of host: `bucket.localhost` and `bucket.s3.localhost`.
struct Loopback;

/// The bucket that a host is, with or without a port; none where it is the service.
pub(crate) fn bucket_of_host(host: &str) -> Option<&str> {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let bucket = name.strip_suffix(".localhost")?;
    let bucket = bucket.strip_suffix(".s3").unwrap_or(bucket);
    (bucket != "s3").then_some(bucket)
}

impl S3Host for Loopback {
    fn parse_host_header<'a>(&'a self, host: &'a str) -> S3Result<VirtualHost<'a>> {
        let service = VirtualHost::new("localhost");
        Ok(match bucket_of_host(host) {
            Some(bucket) => service.with_bucket(bucket),
            None => service,
        })
    }
}

/// An `s3://bucket/key` address, taken apart. The key may be empty, and may begin with a slash.
pub(crate) fn parse_url(url: &str) -> Option<(&str, &str)> {
    let rest = url.strip_prefix("s3://")?;
    let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
    (!bucket.is_empty()).then_some((bucket, key))
}
