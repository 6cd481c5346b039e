//! The official SDK, pointed at a server: through its port, or without a socket at all.

use std::sync::Arc;

use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use aws_smithy_runtime_api::client::{
    behavior_version::BehaviorVersion,
    http::{HttpConnector, HttpConnectorFuture, SharedHttpClient, SharedHttpConnector, http_client_fn},
    orchestrator::{HttpRequest, HttpResponse},
    result::ConnectorError,
};
use aws_smithy_types::body::SdkBody;
use aws_types::{SdkConfig, region::Region};
use http::{HeaderValue, Uri, header};
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;

use crate::{
    dispatch,
    server::{Host, Server},
};

/// How many bytes are on their way between the two ends.
const BUFFER: usize = 256 * 1024;

impl Server {
    /// What the official clients have to be made from to speak to this server: its address, its region, and a key that it
    /// takes.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let server = aws_local::Server::ephemeral().start().await?;
    /// let s3 = aws_sdk_s3::Client::new(&server.sdk_config());
    /// s3.create_bucket().bucket("data").send().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn sdk_config(&self) -> SdkConfig {
        let http = aws_smithy_http_client::Builder::new().build_http();
        self.config_with(http)
    }

    /// The same, for clients in this process: requests do not go through the port, nor through any socket.
    ///
    /// They are served as those of the port are, by the same code; only the number of connections has no limit.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let server = aws_local::Server::ephemeral().start().await?;
    /// let s3 = aws_sdk_s3::Client::new(&server.sdk_config_in_process());
    /// s3.create_bucket().bucket("data").send().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn sdk_config_in_process(&self) -> SdkConfig {
        let connector = SharedHttpConnector::new(InProcess(self.host().clone()));
        let http: SharedHttpClient = http_client_fn(move |_, _| connector.clone());
        self.config_with(http)
    }

    fn config_with(&self, http: SharedHttpClient) -> SdkConfig {
        let (id, secret) = self
            .host()
            .key()
            .unwrap_or(("local".to_owned(), "local".to_owned()));
        SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(self.host().region().to_owned()))
            .endpoint_url(self.url())
            .credentials_provider(SharedCredentialsProvider::new(Credentials::from_keys(
                id, secret, None,
            )))
            .http_client(http)
            .build()
    }
}

/// A connection of its own for each request, within the process.
struct InProcess(Arc<Host>);

impl std::fmt::Debug for InProcess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("InProcess")
    }
}

impl HttpConnector for InProcess {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let host = self.0.clone();
        HttpConnectorFuture::new(async move { answer(host, request).await })
    }
}

async fn answer(host: Arc<Host>, request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
    if host.has_stopped() {
        let stopped = std::io::Error::new(std::io::ErrorKind::ConnectionRefused, "the server has stopped");
        return Err(ConnectorError::io(stopped.into()));
    }
    let broken = |error: hyper::Error| ConnectorError::io(error.into());
    let mut request = request
        .try_into_http1x()
        .map_err(|error| ConnectorError::user(error.into()))?;
    // As it stands on the wire: the host in a header, the rest in the first line.
    let authority = request
        .uri()
        .authority()
        .map(|authority| authority.as_str().to_owned());
    if let Some(host) = authority.and_then(|authority| HeaderValue::try_from(authority).ok()) {
        request.headers_mut().entry(header::HOST).or_insert(host);
    }
    if let Some(path) = request.uri().path_and_query().cloned() {
        *request.uri_mut() = Uri::from(path);
    }
    let (near, far) = tokio::io::duplex(BUFFER);
    let serving = host.clone();
    let service = service_fn(move |request| dispatch::answer(serving.clone(), request));
    let served = http1::Builder::new().serve_connection(TokioIo::new(far), service);
    host.serve_in_process(async move {
        let _ = served.await; // the client has gone
    });
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(near))
        .await
        .map_err(broken)?;
    tokio::spawn(async move {
        let _ = connection.await; // told to who reads the answer
    });
    let response = sender.send_request(request).await.map_err(broken)?;
    HttpResponse::try_from(response.map(SdkBody::from_body_1_x))
        .map_err(|error| ConnectorError::other(error.into(), None))
}
