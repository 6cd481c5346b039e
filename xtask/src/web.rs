//! Single requests over HTTP, with the client of the SDKs.

use std::time::Duration;

use anyhow::Context;
use aws_smithy_http_client::{Connector, tls};
use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorSettings};
use aws_smithy_runtime_api::http::Request;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::byte_stream::ByteStream;

/// How long one call may take.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Sends a request; the answer's status and its body. Redirects are answers.
pub(crate) async fn send(request: http::Request<SdkBody>) -> anyhow::Result<(u16, String)> {
    let url = request.uri().to_string();
    let request = Request::try_from(request).context("cannot make the request")?;
    let settings = HttpConnectorSettings::builder()
        .connect_timeout(Duration::from_secs(10))
        .read_timeout(TIMEOUT)
        .build();
    let builder = Connector::builder().connector_settings(settings);
    // Loading the machine's root certificates takes longer than a call to loopback.
    let connector = if url.starts_with("http://") {
        builder.build_http()
    } else {
        builder.tls_provider(tls_provider()).build()
    };
    let response = connector
        .call(request)
        .await
        .with_context(|| format!("cannot reach {url}"))?;
    let status = response.status().as_u16();
    let body = ByteStream::new(response.into_body())
        .collect()
        .await
        .with_context(|| format!("{url} broke off its answer"))?;
    Ok((status, String::from_utf8_lossy(&body.into_bytes()).into_owned()))
}

pub(crate) fn tls_provider() -> tls::Provider {
    tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring)
}
