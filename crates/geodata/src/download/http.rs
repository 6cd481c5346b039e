//! Requests: who is spoken to, who is told the key, and for how long.

use std::fmt;
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, LOCATION, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_rustls::builderstates::WantsProtocols2;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::rt::TokioExecutor;
use tokio::time::Instant;

use super::settings::Proxy;
use super::{Error, Host, Limits, Settings};
use crate::Fault;

/// One is what MaxMind needs.
const REDIRECTIONS: usize = 5;
const AGENT: &str = concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION"));

/// Asks a host, with its key, and whom it sends us to, without.
pub(super) struct Http {
    plain: Plain,
    /// Made when it is needed: the system's certificates take a moment to load.
    tls: OnceLock<Tls>,
    tunnelled: OnceLock<Tunnelled>,
    limits: Limits,
}

type Plain = Client<HttpConnector, Empty<Bytes>>;
type Tls = Client<HttpsConnector<HttpConnector>, Empty<Bytes>>;
type Tunnelled = Client<HttpsConnector<Tunnel<HttpConnector>>, Empty<Bytes>>;

enum AnyClient<'a> {
    Plain(&'a Plain),
    Tls(&'a Tls),
    Tunnelled(&'a Tunnelled),
}

impl AnyClient<'_> {
    async fn send(&self, request: Request<Empty<Bytes>>, host: &Host) -> Result<Response<Incoming>, Error> {
        let sent = match self {
            Self::Plain(client) => client.request(request).await,
            Self::Tls(client) => client.request(request).await,
            Self::Tunnelled(client) => client.request(request).await,
        };
        sent.map_err(|error| unreachable_by(host, Fault(chain(&error))))
    }
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http").field("limits", &self.limits).finish()
    }
}

/// The beginning of an answer, and its body to be read.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    /// Who answered in the end.
    pub(super) host: Host,
    body: Incoming,
    idle: Duration,
    end: Instant,
}

impl Http {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            plain: Client::builder(TokioExecutor::new()).build(connector(&limits)),
            tls: OnceLock::new(),
            tunnelled: OnceLock::new(),
            limits,
        }
    }

    /// Asks the host of the settings, and follows where it points. The key goes to that host alone.
    pub(super) async fn ask(
        &self,
        method: &Method,
        settings: &Settings,
        path: &str,
    ) -> Result<Answer, Error> {
        let home = settings.host();
        let mut host = home.clone();
        let mut uri = home.uri(path).map_err(|_| Error::Redirect {
            host: home.clone(),
            problem: "to an address that is none", // cannot be: host and path are ours
        })?;
        for _ in 0..=REDIRECTIONS {
            let mut request = Request::builder()
                .method(method)
                .uri(uri.clone())
                .header(USER_AGENT, HeaderValue::from_static(AGENT))
                .body(Empty::new())
                .map_err(|error| unreachable_by(&host, Fault(error.to_string())))?;
            if host == *home {
                request
                    .headers_mut()
                    .insert(AUTHORIZATION, settings.auth.header());
            }
            let client = self.client(&host, settings.proxy.as_ref())?;
            let sent = client.send(request, &host);
            let answer = tokio::time::timeout(self.limits.answer, sent)
                .await
                .map_err(|_| unreachable_by(&host, silence(self.limits.answer)))??;
            if !matches!(answer.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
                let (parts, body) = answer.into_parts();
                return Ok(Answer {
                    status: parts.status,
                    headers: parts.headers,
                    host,
                    body,
                    idle: self.limits.idle,
                    end: Instant::now() + self.limits.body,
                });
            }
            (host, uri) =
                target(&host, answer.headers().get(LOCATION)).map_err(|problem| Error::Redirect {
                    host: host.clone(),
                    problem,
                })?;
        }
        Err(Error::Redirect {
            host: home.clone(),
            problem: "again and again",
        })
    }

    /// Who asks this host. Loading certificates is not waiting for an answer, and so not part of sending.
    fn client(&self, host: &Host, proxy: Option<&Proxy>) -> Result<AnyClient<'_>, Error> {
        let client = match proxy.filter(|proxy| proxy.is_for(host)) {
            _ if !host.is_tls() => return Ok(AnyClient::Plain(&self.plain)),
            Some(proxy) => self.tunnelled(proxy).map(AnyClient::Tunnelled),
            None => self.tls().map(AnyClient::Tls),
        };
        client.map_err(|error| no_tls(host, &error))
    }

    fn tls(&self) -> io::Result<&Tls> {
        if let Some(client) = self.tls.get() {
            return Ok(client);
        }
        let connector = with_tls()?.wrap_connector(connector(&self.limits));
        Ok(self
            .tls
            .get_or_init(|| Client::builder(TokioExecutor::new()).build(connector)))
    }

    fn tunnelled(&self, proxy: &Proxy) -> io::Result<&Tunnelled> {
        if let Some(client) = self.tunnelled.get() {
            return Ok(client);
        }
        let mut tunnel = Tunnel::new(proxy.uri.clone(), connector(&self.limits));
        if let Some(auth) = &proxy.auth {
            tunnel = tunnel.with_auth(auth.header());
        }
        let connector = with_tls()?.wrap_connector(tunnel);
        Ok(self
            .tunnelled
            .get_or_init(|| Client::builder(TokioExecutor::new()).build(connector)))
    }
}

impl Answer {
    /// The length that is announced.
    pub(super) fn length(&self) -> Option<u64> {
        let text = self.headers.get(http::header::CONTENT_LENGTH)?.to_str().ok()?;
        text.parse().ok()
    }

    /// The next bytes of the body; `None` at its end. A body that ends before its announced end is an error.
    pub(super) async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            let left = self.end.saturating_duration_since(Instant::now());
            let frame = tokio::time::timeout(self.idle.min(left), self.body.frame())
                .await
                .map_err(|_| {
                    let fault = if left < self.idle {
                        Fault("it came too slowly".to_owned())
                    } else {
                        silence(self.idle)
                    };
                    unreachable_by(&self.host, fault)
                })?;
            match frame {
                None => return Ok(None),
                Some(Err(error)) => return Err(unreachable_by(&self.host, Fault(chain(&error)))),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }
}

fn connector(limits: &Limits) -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.enforce_http(false); // TLS is what wraps it
    connector.set_connect_timeout(Some(limits.answer));
    connector.set_nodelay(true);
    connector
}

fn with_tls() -> io::Result<HttpsConnectorBuilder<WantsProtocols2>> {
    // Said here: a program with two providers has no default one.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(HttpsConnectorBuilder::new()
        .with_provider_and_native_roots(provider)?
        .https_only()
        .enable_http1())
}

/// Where a redirection leads.
fn target(from: &Host, location: Option<&HeaderValue>) -> Result<(Host, Uri), &'static str> {
    const NO_ADDRESS: &str = "to an address that is none";
    let location = location.ok_or("without saying where to")?;
    let location = location.to_str().map_err(|_| NO_ADDRESS)?;
    // A fragment is the browser's business.
    let location = location
        .split_once('#')
        .map_or(location, |(location, _)| location);
    if location.starts_with('/') && !location.starts_with("//") {
        let uri = from.uri(location).map_err(|_| NO_ADDRESS)?;
        return Ok((from.clone(), uri));
    }
    let uri: Uri = location.parse().map_err(|_| NO_ADDRESS)?;
    let to = Host::of(&uri)?;
    if !to.is_tls() && (from.is_tls() || !to.is_loopback()) {
        return Err("to an address without TLS");
    }
    Ok((to, uri))
}

fn unreachable_by(host: &Host, source: Fault) -> Error {
    Error::Unreachable {
        host: host.clone(),
        attempts: 1,
        source,
    }
}

fn no_tls(host: &Host, error: &io::Error) -> Error {
    unreachable_by(
        host,
        Fault(format!("the system's root certificates cannot be used: {error}")),
    )
}

fn silence(waited: Duration) -> Fault {
    Fault(format!("nothing came for {} s", waited.as_secs_f64()))
}

/// An error of the client with its causes: they have hosts and numbers in them, no paths and no headers.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        // Some of them repeat their cause.
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}
