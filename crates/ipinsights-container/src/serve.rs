//! `serve`: the model under `/opt/ml`, on a port.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use http_body_util::BodyExt;
use ipinsights::Model;
use ipinsights::inference::{self, InferenceError, PredictionRecord, RequestFormat, ResponseFormat};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};

use crate::answer::{Answer, Part, Refusal, Rest};
use crate::chain;
use crate::config::Environment;

/// The service waits so long for an answer; and who takes no part of one for so long is not waited for either.
const ANSWER_TIME: Duration = Duration::from_secs(60);

/// After SIGTERM the service waits 30 seconds before it kills; what is under way has a little less.
const GRACE: Duration = Duration::from_secs(25);

struct Served {
    model: Model,
    environment: Environment,
    /// As many requests are scored at a time; others wait.
    slots: Arc<Semaphore>,
}

/// The three paths of the contract: `/ping`, `/invocations`, `/execution-parameters`.
pub fn router(model: Model, environment: &Environment) -> Router {
    let served = Served {
        model,
        slots: Arc::new(Semaphore::new(environment.max_concurrent_transforms)),
        environment: environment.clone(),
    };
    Router::new()
        .route("/ping", get(|| async {}))
        .route("/execution-parameters", get(execution_parameters))
        .route("/invocations", post(invoke))
        .with_state(Arc::new(served))
}

/// Serves until `stop` is there, then answers what is under way, for 25 seconds at most.
///
/// # Errors
///
/// Those of the listener.
pub async fn serve(
    listener: TcpListener,
    model: Model,
    environment: &Environment,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let (told, mut hears) = tokio::sync::watch::channel(false);
    let stop = async move {
        stop.await;
        told.send_replace(true);
    };
    let server = axum::serve(listener, router(model, environment)).with_graceful_shutdown(stop);
    let late = async move {
        // An error means that the server is done.
        if hears.wait_for(|told| *told).await.is_ok() {
            tokio::time::sleep(GRACE).await;
        } else {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        outcome = server.into_future() => outcome,
        () = late => Ok(()),
    }
}

async fn execution_parameters(State(served): State<Arc<Served>>) -> Json<serde_json::Value> {
    let environment = &served.environment;
    Json(json!({
        "MaxConcurrentTransforms": environment.max_concurrent_transforms,
        "BatchStrategy": environment.batch_strategy,
        "MaxPayloadInMB": environment.max_payload_in_mb,
    }))
}

async fn invoke(State(served): State<Arc<Served>>, request: Request) -> Result<Response, Refusal> {
    let (head, body) = request.into_parts();
    let batch = served.environment.batch;
    let (request, response) = formats(&head.headers, batch)?;
    let begin = async {
        let body = read(body, served.environment.max_payload_in_mb).await?;
        // The semaphore is never closed.
        let slot = Arc::clone(&served.slots).acquire_owned().await;
        let (to, mut parts) = mpsc::channel(1);
        let answer = Answer::new(to, batch, ANSWER_TIME);
        tokio::task::spawn_blocking(move || {
            score(&served.model, request, response, &body, answer);
            drop(slot);
        });
        match parts.recv().await {
            Some(Ok(Part { bytes, is_last: true })) => Ok(Body::from(bytes)),
            Some(Ok(first)) => Ok(Body::new(Rest::after(first, parts))),
            Some(Err(refusal)) => Err(refusal),
            None => {
                let text = "the model failed".to_owned();
                Err(Refusal(StatusCode::INTERNAL_SERVER_ERROR, text))
            }
        }
    };
    let answer = tokio::time::timeout(ANSWER_TIME, begin).await.map_err(|_| {
        let text = format!(
            "no answer within {} seconds; send fewer rows",
            ANSWER_TIME.as_secs()
        );
        Refusal(StatusCode::SERVICE_UNAVAILABLE, text)
    })??;
    Ok(([(header::CONTENT_TYPE, response.content_type())], answer).into_response())
}

fn formats(headers: &HeaderMap, batch: bool) -> Result<(RequestFormat, ResponseFormat), Refusal> {
    let text = |name| {
        headers
            .get(name)
            .map(|value| String::from_utf8_lossy(value.as_bytes()))
    };
    let content_type = text(header::CONTENT_TYPE).unwrap_or_default();
    let request = content_type
        .parse()
        .map_err(|error: InferenceError| Refusal(StatusCode::UNSUPPORTED_MEDIA_TYPE, error.to_string()))?;
    let accept = text(header::ACCEPT).filter(|accept| !accept.trim().is_empty());
    let response = match accept {
        // What the service's own container does.
        None if batch => ResponseFormat::JSON_LINES,
        accept => ResponseFormat::from_accept(accept.as_deref())
            .map_err(|error| Refusal(StatusCode::NOT_ACCEPTABLE, error.to_string()))?,
    };
    Ok((request, response))
}

/// The whole body. One that is too large is read to its end as well, though not kept: a client that is still sending
/// would not hear the answer.
async fn read(mut body: Body, max_payload_in_mb: u64) -> Result<Vec<u8>, Refusal> {
    let limit = (max_payload_in_mb << 20) as usize;
    let (mut bytes, mut length) = (Vec::new(), 0);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            let text = format!("the body cannot be read: {}", chain(&error));
            Refusal(StatusCode::BAD_REQUEST, text)
        })?;
        if let Some(data) = frame.data_ref() {
            length += data.len();
            if length <= limit {
                bytes.extend_from_slice(data);
            }
        }
    }
    if length > limit {
        let text = format!("the body is larger than {max_payload_in_mb} MiB; send fewer rows");
        return Err(Refusal(StatusCode::PAYLOAD_TOO_LARGE, text));
    }
    Ok(bytes)
}

/// So many rows are scored at a time, on all cores.
const ROWS: usize = 64 * 1024;

/// Scores the rows of a body, and answers or refuses.
fn score(model: &Model, request: RequestFormat, response: ResponseFormat, body: &[u8], mut answer: Answer) {
    let scored = inference::decode_request(request, body).and_then(|events| {
        if response.verbose {
            let predictions = events.iter().map(|e| model.predict(&e.entity, e.ip).into());
            inference::write_response::<PredictionRecord>(response, predictions, &mut answer)
        } else {
            let scores = events.chunks(ROWS).flat_map(|rows| model.score_batch(rows));
            inference::write_response(response, scores.map(PredictionRecord::from), &mut answer)
        }
    });
    match scored {
        Ok(()) => answer.end(),
        Err(error) => answer.refuse(format!("unable to evaluate payload provided: {}", chain(&error))),
    }
}
