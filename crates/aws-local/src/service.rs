//! Services that whoever starts the server brings along.

use std::{collections::BTreeMap, fmt, sync::Arc};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, request::Parts};
use s3s::Body;
use sfn_local::BoxFuture;

/// A service beside those of the server, or in place of one of them; see [`Builder::service`](crate::Builder::service).
///
/// A function is one, too:
///
/// ```
/// use std::sync::Arc;
/// use aws_local::{BoxFuture, Server, ServiceRequest, ServiceResponse};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), aws_local::Error> {
/// // Lambda, of which every function gives back what it is called with.
/// let echo = |request: ServiceRequest| -> BoxFuture<'static, ServiceResponse> {
///     Box::pin(async move { ServiceResponse::json(200, request.body) })
/// };
/// let server = Server::ephemeral().service("lambda", Arc::new(echo)).start().await?;
/// # server.shutdown().await;
/// # Ok(())
/// # }
/// ```
pub trait Service: Send + Sync {
    /// Answers a request, whose body is there as a whole and whose signature is good. The future is dropped when the client has
    /// gone.
    fn call(&self, request: ServiceRequest) -> BoxFuture<'_, ServiceResponse>;
}

impl<F> Service for F
where
    F: Fn(ServiceRequest) -> BoxFuture<'static, ServiceResponse> + Send + Sync,
{
    fn call(&self, request: ServiceRequest) -> BoxFuture<'_, ServiceResponse> {
        self(request)
    }
}

/// What a client asks.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServiceRequest {
    /// `GET`, `POST`, …
    pub method: String,
    /// Path and query, as they were sent.
    pub uri: String,
    /// Names in lower case, each with its value, in the order in which they came. Values that are no text are left out.
    pub headers: Vec<(String, String)>,
    /// At most 64 MiB.
    pub body: Vec<u8>,
}

impl ServiceRequest {
    pub(crate) fn new(head: &Parts, body: Vec<u8>) -> Self {
        let headers = head.headers.iter();
        let text = |(name, value): (&HeaderName, &HeaderValue)| {
            Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))
        };
        Self {
            method: head.method.to_string(),
            uri: head
                .uri
                .path_and_query()
                .map_or_else(|| "/".to_owned(), ToString::to_string),
            headers: headers.filter_map(text).collect(),
            body,
        }
    }

    /// The first header of that name, in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// Without headers and body, which may hold secrets.
impl fmt::Debug for ServiceRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceRequest")
            .field("method", &self.method)
            .field("uri", &self.uri)
            .field("body", &format_args!("{} bytes", self.body.len()))
            .finish_non_exhaustive()
    }
}

/// What a client is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceResponse {
    /// 200 to 599; anything else is answered as 500.
    pub status: u16,
    /// Those that cannot be sent are left out.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl ServiceResponse {
    /// An answer of type `application/json`.
    pub fn json(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            headers: vec![("content-type".to_owned(), "application/json".to_owned())],
            body: body.into(),
        }
    }

    pub(crate) fn into_response(self) -> Response<Body> {
        let status = StatusCode::from_u16(self.status).ok();
        let status = status.filter(|status| (200..600).contains(&status.as_u16()));
        let mut response = Response::new(Body::from(Bytes::from(self.body)));
        *response.status_mut() = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        for (name, value) in self.headers {
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
                response.headers_mut().append(name, value);
            }
        }
        response
    }
}

/// By the name that requests to them are signed for.
pub(crate) type Services = BTreeMap<String, Arc<dyn Service>>;
