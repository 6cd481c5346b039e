//! The API: `POST /score` and `GET /healthz`.

use std::net::Ipv4Addr;
use std::sync::Arc;

use access_events::AccessEvent;
use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};

use crate::{Cutoff, ScoreFailure, Scorer};

/// The most rows of one request.
pub const MAX_ROWS: usize = 10_000;

/// The largest body of a request, in bytes.
pub const MAX_BODY_BYTES: usize = 1024 * 1024;

/// Of the rows that cannot be scored, this many are described; all are counted.
const MAX_DESCRIBED_ROWS: usize = 100;

/// Of the answer to `POST /score`.
const VERSION: u32 = 1;

/// The router: verdicts by this scorer and this line.
pub fn router(scorer: Arc<dyn Scorer>, cutoff: Cutoff) -> Router {
    Router::new()
        .route("/score", post(score))
        .route("/healthz", get(health))
        .fallback(async || {
            Refusal::new(
                StatusCode::NOT_FOUND,
                "not_found",
                "there is `POST /score` and `GET /healthz`",
            )
        })
        .method_not_allowed_fallback(async || {
            let message = "the path does not take this method; there is `POST /score` and `GET /healthz`";
            Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
        })
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(App { scorer, cutoff })
}

#[derive(Clone)]
struct App {
    scorer: Arc<dyn Scorer>,
    cutoff: Cutoff,
}

/// A request as it is written; what the rows hold is checked one by one, so that all problems can be told.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ScoreRequest {
    rows: Vec<RequestRow>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RequestRow {
    entity: String,
    ip: String,
}

#[derive(Serialize)]
struct ScoreResponse {
    version: u32,
    threshold: Cutoff,
    verdicts: Vec<Verdict>,
}

#[derive(Serialize)]
struct Verdict {
    entity: String,
    ip: Ipv4Addr,
    /// Larger is more normal; null when it is not a number.
    score: f32,
    anomalous: bool,
}

async fn health() -> Json<serde_json::Value> {
    Json(serde_json::json!({"status": "ok"}))
}

async fn score(
    State(App { scorer, cutoff }): State<App>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<ScoreResponse>, Refusal> {
    let body = body.map_err(|rejection| refused_body(&rejection))?;
    if !is_json(&headers) {
        let message = "`Content-Type` must be `application/json`";
        return Err(Refusal::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            message,
        ));
    }
    let request: ScoreRequest = serde_json::from_slice(&body)
        .map_err(|error| Refusal::new(StatusCode::BAD_REQUEST, "invalid_json", &error.to_string()))?;
    if request.rows.len() > MAX_ROWS {
        let message = format!("{} rows, at most {MAX_ROWS} in one request", request.rows.len());
        return Err(Refusal::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too_many_rows",
            &message,
        ));
    }
    let events = check(request.rows)?;
    let scores = if events.is_empty() {
        Vec::new()
    } else {
        scorer.score(&events).await?
    };
    if scores.len() != events.len() {
        return Err(Refusal::endpoint_failed());
    }
    let verdicts = events
        .into_iter()
        .zip(scores)
        .map(|(AccessEvent { entity, ip }, score)| Verdict {
            entity,
            ip,
            score: score.dot_product(),
            anomalous: cutoff.is_anomalous(score),
        })
        .collect();
    Ok(Json(ScoreResponse {
        version: VERSION,
        threshold: cutoff,
        verdicts,
    }))
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let essence = value.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}

/// The rows as events, or all that is wrong with them.
fn check(rows: Vec<RequestRow>) -> Result<Vec<AccessEvent>, Refusal> {
    let total = rows.len();
    let mut events = Vec::with_capacity(total);
    let mut problems = Vec::new();
    let mut bad = 0;
    for (row, RequestRow { entity, ip }) in rows.into_iter().enumerate() {
        let message = match ip.parse::<Ipv4Addr>() {
            _ if entity.is_empty() => "`entity` is empty".to_owned(),
            Ok(ip) => {
                events.push(AccessEvent::new(entity, ip));
                continue;
            }
            Err(_) => {
                let shown: String = ip.chars().take(64).collect();
                format!("`ip` must be an IPv4 address in dotted form, got `{shown}`")
            }
        };
        bad += 1;
        if problems.len() < MAX_DESCRIBED_ROWS {
            problems.push(RowProblem { row, message });
        }
    }
    if bad == 0 {
        return Ok(events);
    }
    let message = format!("{bad} of {total} rows cannot be scored");
    let mut refusal = Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_rows", &message);
    refusal.rows = problems;
    Err(refusal)
}

/// An answer that is not a verdict.
struct Refusal {
    status: StatusCode,
    code: &'static str,
    message: String,
    rows: Vec<RowProblem>,
}

#[derive(Serialize)]
struct RowProblem {
    /// From zero, as the rows of the request are counted.
    row: usize,
    message: String,
}

impl Refusal {
    fn new(status: StatusCode, code: &'static str, message: &str) -> Self {
        Self {
            status,
            code,
            message: message.to_owned(),
            rows: Vec::new(),
        }
    }

    /// Says nothing of the cause: it may name the account.
    fn endpoint_failed() -> Self {
        Self::new(
            StatusCode::BAD_GATEWAY,
            "endpoint_failed",
            "the endpoint did not answer with scores",
        )
    }
}

fn refused_body(rejection: &BytesRejection) -> Refusal {
    if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
        let message = format!("the body is larger than {MAX_BODY_BYTES} bytes");
        return Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", &message);
    }
    Refusal::new(rejection.status(), "unreadable_body", &rejection.body_text())
}

impl From<ScoreFailure> for Refusal {
    fn from(failure: ScoreFailure) -> Self {
        match failure {
            ScoreFailure::Unavailable { .. } => {
                let message = "the endpoint is overloaded or not in service: try again";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "endpoint_unavailable", message)
            }
            ScoreFailure::Failed { .. } => Self::endpoint_failed(),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        #[derive(Serialize)]
        struct Document {
            error: Error,
        }
        #[derive(Serialize)]
        struct Error {
            status: u16,
            code: &'static str,
            message: String,
            #[serde(skip_serializing_if = "Vec::is_empty")]
            rows: Vec<RowProblem>,
        }
        let Self {
            status,
            code,
            message,
            rows,
        } = self;
        let error = Error {
            status: status.as_u16(),
            code,
            message,
            rows,
        };
        (status, Json(Document { error })).into_response()
    }
}
