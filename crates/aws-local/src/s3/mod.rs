//! S3: the protocol by the crate `s3s`, the objects in a folder.

mod chunked;
mod incoming;
mod service;
mod store;

use std::sync::Arc;

use s3s::{
    S3Result,
    config::{S3Config, StaticConfigProvider},
    host::{S3Host, VirtualHost},
    service::{S3Service, S3ServiceBuilder},
};

pub(crate) use incoming::accept;
pub(crate) use store::{ObjectStore, Scan, StoreError};

/// The protocol around a store.
pub(crate) fn service(store: Arc<ObjectStore>, region: String) -> S3Service {
    let mut config = S3Config::default();
    // Browser forms are refused; s3s would read one whole before asking.
    config.post_object_max_file_size = 0;
    let mut builder = S3ServiceBuilder::new(service::Service { store, region });
    builder.set_config(Arc::new(StaticConfigProvider::new(Arc::new(config))));
    builder.set_host(Loopback);
    builder.build()
}

/// Buckets by name of host: `bucket.localhost` and `bucket.s3.localhost`.
struct Loopback;

impl S3Host for Loopback {
    fn parse_host_header<'a>(&'a self, host: &'a str) -> S3Result<VirtualHost<'a>> {
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
        let bucket = name
            .strip_suffix(".localhost")
            .map(|b| b.strip_suffix(".s3").unwrap_or(b));
        Ok(match bucket {
            Some(bucket) if bucket != "s3" => VirtualHost::new("localhost").with_bucket(bucket),
            _ => VirtualHost::new("localhost"),
        })
    }
}

/// An `s3://bucket/key` address, taken apart. The key may be empty, and may begin with a slash.
pub(crate) fn parse_url(url: &str) -> Option<(&str, &str)> {
    let rest = url.strip_prefix("s3://")?;
    let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
    (!bucket.is_empty()).then_some((bucket, key))
}
