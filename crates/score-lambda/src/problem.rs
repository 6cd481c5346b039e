//! Refusals, in the form of RFC 9457.

use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::answer::{Problem, RowProblem};
use crate::log::Told;
use crate::router::{MAX_BODY_BYTES, MAX_ROWS};

/// Of each problem its type without the prefix, its title, and its status.
macro_rules! kinds {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal, $title:literal, $status:ident;)+) => {
        /// Which problem.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Kind { $($(#[doc = $doc])+ $variant),+ }

        impl Kind {
            pub(crate) const ALL: &'static [Self] = &[$(Self::$variant),+];

            pub(crate) fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }

            pub(crate) fn title(self) -> &'static str {
                match self { $(Self::$variant => $title),+ }
            }

            pub(crate) fn status(self) -> StatusCode {
                match self { $(Self::$variant => StatusCode::$status),+ }
            }
        }
    };
}

kinds! {
    /// The body is not JSON of the documented form.
    InvalidJson = "invalid_json", "The body is not the documented JSON", BAD_REQUEST;
    /// The body did not arrive.
    UnreadableBody = "unreadable_body", "The body could not be read", BAD_REQUEST;
    /// Another path.
    NotFound = "not_found", "There is nothing at this path", NOT_FOUND;
    /// Another method.
    MethodNotAllowed = "method_not_allowed", "The path does not take this method", METHOD_NOT_ALLOWED;
    /// Too many rows.
    TooManyRows = "too_many_rows", "Too many rows in one request", PAYLOAD_TOO_LARGE;
    /// Too many bytes.
    BodyTooLarge = "body_too_large", "The body is too large", PAYLOAD_TOO_LARGE;
    /// Another form.
    UnsupportedMediaType = "unsupported_media_type", "The body is of a form that is not read", UNSUPPORTED_MEDIA_TYPE;
    /// No row can be scored.
    InvalidRows = "invalid_rows", "None of the rows can be scored", UNPROCESSABLE_ENTITY;
    /// It will not work by trying again.
    EndpointFailed = "endpoint_failed", "The endpoint did not answer with scores", BAD_GATEWAY;
    /// It may work in a moment.
    EndpointUnavailable = "endpoint_unavailable", "The endpoint is overloaded or not in service", SERVICE_UNAVAILABLE;
}

/// An answer that is not a verdict.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) kind: Kind,
    pub(crate) detail: String,
    pub(crate) rows: Vec<RowProblem>,
    pub(crate) cause: Option<String>,
}

impl Refusal {
    pub(crate) fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            rows: Vec::new(),
            cause: None,
        }
    }

    pub(crate) fn too_many_rows() -> Self {
        Self::new(
            Kind::TooManyRows,
            format!("at most {MAX_ROWS} rows in one request: send them in several"),
        )
    }

    /// Says nothing of the cause: it may name the account.
    pub(crate) fn endpoint_failed() -> Self {
        Self::new(
            Kind::EndpointFailed,
            "the endpoint refused the request, or answered something else than scores; the log has the cause",
        )
    }

    pub(crate) fn endpoint_unavailable() -> Self {
        Self::new(
            Kind::EndpointUnavailable,
            "the endpoint is overloaded or not in service: try again",
        )
    }
}

impl From<BytesRejection> for Refusal {
    fn from(rejection: BytesRejection) -> Self {
        if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
            return Self::new(
                Kind::BodyTooLarge,
                format!("the body is larger than {MAX_BODY_BYTES} bytes: send the rows in several requests"),
            );
        }
        Self::new(Kind::UnreadableBody, rejection.body_text())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let kind = self.kind;
        let problem = Problem {
            kind: format!("urn:ipinsights:scorer:{}", kind.name()),
            title: kind.title(),
            status: kind.status().as_u16(),
            detail: self.detail,
            rows: self.rows,
        };
        let mut response = (kind.status(), axum::Json(problem)).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if kind == Kind::EndpointUnavailable {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response.extensions_mut().insert(Told {
            problem: Some(kind.name()),
            cause: self.cause,
            ..Told::default()
        });
        response
    }
}
