//! The API: `POST /score`, `GET /healthz` and `GET /openapi.json`.

use std::sync::Arc;
use std::time::Instant;

use access_events::AccessEvent;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use jiff::Timestamp;

use crate::answer::{
    self, Counts, Direction, Entry, Failed, Health, RowCode, RowError, RowProblem, Rule, Verdict,
};
use crate::lambda::RequestId;
use crate::log::{Flagged, Level, Log, LogEntry, Told, chain, without};
use crate::problem::{Kind, Refusal};
use crate::rows::{self, Form, Row, Unreadable};
use crate::{Cutoff, ScoreFailure, Scorer, openapi};

/// The most rows of one request.
pub const MAX_ROWS: usize = 10_000;

/// The largest body of a request, in bytes.
pub const MAX_BODY_BYTES: usize = 1024 * 1024;

/// Of the rows that cannot be scored, this many are described where none can.
const MAX_DESCRIBED_ROWS: usize = 100;

/// What there is.
pub(crate) const SCORE: &str = "/score";
pub(crate) const HEALTH: &str = "/healthz";
pub(crate) const OPENAPI: &str = "/openapi.json";
pub(crate) const PATHS: [&str; 3] = [SCORE, HEALTH, OPENAPI];

/// For those who asked for something else.
const THERE_IS: &str = "there is `POST /score`, `GET /healthz` and `GET /openapi.json`";

/// What is told of requests, and to whom. The default tells nothing.
#[derive(Clone, Default)]
pub struct Logging {
    /// Who is told.
    pub log: Option<Log>,
    /// Whether entities and addresses may be told: those of anomalous rows then are, and causes as they come.
    pub identifiers: bool,
}

impl std::fmt::Debug for Logging {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Logging")
            .field("log", &self.log.is_some())
            .field("identifiers", &self.identifiers)
            .finish()
    }
}

/// The router: verdicts by this scorer and this line.
pub fn router(scorer: Arc<dyn Scorer>, cutoff: Cutoff, logging: Logging) -> Router {
    let app = App {
        scorer,
        cutoff,
        identifiers: logging.identifiers,
    };
    let router = Router::new()
        .route(SCORE, post(score))
        .route(HEALTH, get(health))
        .route(OPENAPI, get(async || Json(openapi::document())))
        .fallback(async || Refusal::new(Kind::NotFound, THERE_IS))
        .method_not_allowed_fallback(async || Refusal::new(Kind::MethodNotAllowed, THERE_IS))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(app);
    match logging.log {
        None => router,
        Some(log) => router.layer(middleware::from_fn_with_state(log, tell)),
    }
}

#[derive(Clone)]
struct App {
    scorer: Arc<dyn Scorer>,
    cutoff: Cutoff,
    identifiers: bool,
}

/// Tells of each answer.
async fn tell(State(log): State<Log>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let method = request.method().to_string();
    let asked = request.uri().path();
    let path = PATHS.into_iter().find(|path| *path == asked);
    let request_id = request
        .extensions()
        .get::<RequestId>()
        .map(|RequestId(id)| id.clone());
    let mut response = next.run(request).await;
    let told = response.extensions_mut().remove::<Told>().unwrap_or_default();
    let status = response.status().as_u16();
    log(&LogEntry {
        timestamp: Timestamp::now(),
        level: Level::of(status),
        message: match told.problem {
            None => "answered",
            Some(_) => "refused",
        },
        request_id,
        method,
        path,
        status,
        milliseconds: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        problem: told.problem,
        cause: told.cause,
        counts: told.counts,
        flagged: told.flagged,
    });
    response
}

async fn health() -> Json<Health> {
    Json(Health { status: "ok" })
}

/// An event whose score says something.
fn known(scorer: &dyn Scorer, event: AccessEvent) -> Row {
    match scorer.knows(&event.entity) {
        Some(false) => Err(RowError {
            code: RowCode::UnknownEntity,
            message: "the model was not trained on this `entity`, and its score would say nothing of it"
                .to_owned(),
        }),
        _ => Ok(event),
    }
}

async fn score(
    State(app): State<App>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Refusal> {
    let body = body?;
    let content_type = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let form = Form::of(content_type).ok_or_else(|| {
        let detail = "`Content-Type` must be `application/json`, `application/jsonlines` or `text/csv`";
        Refusal::new(Kind::UnsupportedMediaType, detail)
    })?;
    let rows = rows::read(form, &body, MAX_ROWS).map_err(|unreadable| match unreadable {
        Unreadable::TooMany => Refusal::too_many_rows(),
        Unreadable::Json(error) => Refusal::new(Kind::InvalidJson, error.to_string()),
    })?;
    let rows: Vec<Row> = rows
        .into_iter()
        .map(|row| row.and_then(|event| known(&*app.scorer, event)))
        .collect();
    // The answer names the rows; they are not needed twice.
    let events: Vec<AccessEvent> = rows.iter().filter_map(|row| row.as_ref().ok()).cloned().collect();
    if events.is_empty() && !rows.is_empty() {
        return Err(none(&rows));
    }
    let scores = match &events[..] {
        [] => Vec::new(),
        events => {
            let scores = app.scorer.score(events).await;
            scores.map_err(|failure| failed(&failure, events, app.identifiers))?
        }
    };
    if scores.len() != events.len() {
        return Err(Refusal {
            cause: Some(format!("{} scores for {} rows", scores.len(), events.len())),
            ..Refusal::endpoint_failed()
        });
    }
    let mut counts = Counts {
        rows: rows.len(),
        ..Counts::default()
    };
    let mut flagged = Vec::new();
    let mut scores = scores.into_iter();
    let mut verdicts = Vec::with_capacity(rows.len());
    for row in rows {
        let event = match row {
            Ok(event) => event,
            Err(error) => {
                counts.failed += 1;
                verdicts.push(Entry::Failed(Failed { error }));
                continue;
            }
        };
        // There are as many scores as events.
        let score = scores.next().ok_or_else(Refusal::endpoint_failed)?;
        let AccessEvent { entity, ip } = event;
        let anomalous = app.cutoff.is_anomalous(score);
        let score = Some(score.dot_product()).filter(|score| score.is_finite());
        counts.scored += 1;
        counts.anomalous += usize::from(anomalous);
        if anomalous && app.identifiers {
            flagged.push(Flagged {
                entity: entity.clone(),
                ip,
                score,
            });
        }
        verdicts.push(Entry::Verdict(Verdict {
            entity,
            ip,
            score,
            anomalous,
        }));
    }
    let told = Told {
        counts: Some(counts),
        flagged,
        ..Told::default()
    };
    let answer = answer::Response {
        version: answer::VERSION,
        threshold: app.cutoff,
        score_direction: Direction::LargerIsMoreNormal,
        anomalous_when: Rule::Below,
        counts,
        verdicts,
    };
    Ok((Extension(told), Json(answer)).into_response())
}

/// A request of which no row can be scored.
fn none(rows: &[Row]) -> Refusal {
    let problems = rows.iter().enumerate().filter_map(|(row, problem)| {
        let error = problem.as_ref().err()?.clone();
        Some(RowProblem {
            row,
            code: error.code,
            message: error.message,
        })
    });
    Refusal {
        rows: problems.take(MAX_DESCRIBED_ROWS).collect(),
        ..Refusal::new(
            Kind::InvalidRows,
            match rows.len() {
                1 => "the row cannot be scored".to_owned(),
                rows => format!("none of the {rows} rows can be scored"),
            },
        )
    }
}

fn failed(failure: &ScoreFailure, events: &[AccessEvent], identifiers: bool) -> Refusal {
    let mut cause = chain(failure);
    if !identifiers {
        cause = without(cause, events.iter().map(|event| event.entity.as_str()));
        let addresses: Vec<String> = events.iter().map(|event| event.ip.to_string()).collect();
        cause = without(cause, addresses.iter().map(String::as_str));
    }
    let refusal = match failure {
        ScoreFailure::Unavailable { .. } => Refusal::endpoint_unavailable(),
        ScoreFailure::Failed { .. } => Refusal::endpoint_failed(),
    };
    Refusal {
        cause: Some(cause),
        ..refusal
    }
}
