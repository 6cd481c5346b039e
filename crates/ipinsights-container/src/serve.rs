//! `serve`: the model under `/opt/ml`, on a port.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, HttpBody};
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
    /// For the bodies of requests that wait or are scored, in KiB.
    room: Arc<Semaphore>,
    /// For requests that have no answer yet.
    places: Semaphore,
}

/// How many requests may be without an answer: more are refused at once.
const MAX_REQUESTS: usize = 256;

/// As many bodies of the largest size, beside those that are scored, are read ahead. Others are read when there is room.
const READ_AHEAD: usize = 8;

impl Served {
    fn new(model: Model, environment: &Environment) -> Self {
        let slots = environment.max_concurrent_transforms;
        Self {
            model,
            slots: Arc::new(Semaphore::new(slots)),
            room: Arc::new(Semaphore::new(
                (slots + READ_AHEAD) * kibibytes(max_body(environment)) as usize,
            )),
            places: Semaphore::new(MAX_REQUESTS),
            environment: environment.clone(),
        }
    }
}

/// The largest body, in bytes.
fn max_body(environment: &Environment) -> u64 {
    environment.max_payload_in_mb << 20
}

/// As few as hold these bytes, and one at the least.
fn kibibytes(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(1024).max(1)).unwrap_or(u32::MAX)
}

/// The three paths of the contract: `/ping`, `/invocations`, `/execution-parameters`.
pub fn router(model: Model, environment: &Environment) -> Router {
    Router::new()
        .route("/ping", get(|| async {}))
        .route("/execution-parameters", get(execution_parameters))
        .route("/invocations", post(invoke))
        .with_state(Arc::new(Served::new(model, environment)))
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
        let Ok(_place) = served.places.try_acquire() else {
            read(body, 0).await?;
            let text = format!("{MAX_REQUESTS} requests are waiting already; try again later");
            return Err(Refusal(StatusCode::SERVICE_UNAVAILABLE, text));
        };
        let limit = max_body(&served.environment);
        let length = body.size_hint().upper().unwrap_or(limit).min(limit);
        // The semaphores are never closed.
        let room = Arc::clone(&served.room)
            .acquire_many_owned(kibibytes(length))
            .await;
        let Some(body) = read(body, limit).await? else {
            let text = format!(
                "the body is larger than {} MiB; send fewer rows",
                served.environment.max_payload_in_mb
            );
            return Err(Refusal(StatusCode::PAYLOAD_TOO_LARGE, text));
        };
        let slot = Arc::clone(&served.slots).acquire_owned().await;
        let (to, mut parts) = mpsc::channel(1);
        let answer = Answer::new(to, batch, ANSWER_TIME);
        let this = Arc::clone(&served);
        tokio::task::spawn_blocking(move || {
            score(&this.model, request, response, &body, answer);
            drop((slot, body, room));
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

/// The whole body; none where it is larger than that. Such a one is read to its end as well, though not kept: a client that is
/// still sending would not hear the answer.
async fn read(mut body: Body, limit: u64) -> Result<Option<Vec<u8>>, Refusal> {
    let (mut bytes, mut length) = (Vec::new(), 0);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            let text = format!("the body cannot be read: {}", chain(&error));
            Refusal(StatusCode::BAD_REQUEST, text)
        })?;
        if let Some(data) = frame.data_ref() {
            length += data.len() as u64;
            if length <= limit {
                bytes.extend_from_slice(data);
            } else {
                bytes = Vec::new();
            }
        }
    }
    Ok((length <= limit).then_some(bytes))
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

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;

    use access_events::AccessEvent;
    use ipinsights::{Hyperparameters, TrainOptions};

    use super::*;

    /// One request is scored at a time.
    fn served() -> Arc<Served> {
        let rows = [AccessEvent::new("ana", [192, 0, 2, 1].into())];
        let params = Hyperparameters::draft(10)
            .vector_dim(4)
            .epochs(1)
            .check()
            .unwrap();
        let options = TrainOptions::default();
        let model = ipinsights::train(&params, &rows, None, &options, &mut |_| ControlFlow::Continue(()));
        let environment = Environment::from_vars(std::iter::empty::<(String, String)>(), 1).unwrap();
        Arc::new(Served::new(model.unwrap(), &environment))
    }

    async fn ask(served: &Arc<Served>) -> Result<Response, Refusal> {
        let request = axum::http::Request::post("/invocations").header("content-type", "text/csv");
        let request = request.body(Body::from("ana,192.0.2.1")).unwrap();
        invoke(State(Arc::clone(served)), request).await
    }

    #[tokio::test]
    async fn more_requests_than_may_wait_are_refused() {
        let served = served();
        let taken = served.places.try_acquire_many(MAX_REQUESTS as u32).unwrap();
        let Refusal(status, text) = ask(&served).await.unwrap_err();
        assert_eq!(status, 503);
        assert_eq!(text, "256 requests are waiting already; try again later");
        drop(taken);
        assert_eq!(ask(&served).await.unwrap().status(), 200);
        assert_eq!(served.places.available_permits(), MAX_REQUESTS);
    }

    /// What the bodies of those that wait take in memory has a limit.
    #[tokio::test]
    async fn a_body_is_read_when_there_is_room_for_it() {
        let served = served();
        let room = served.room.available_permits();
        assert_eq!(room, (1 + READ_AHEAD) * 6 * 1024);
        let taken = Arc::clone(&served.room)
            .try_acquire_many_owned(room as u32)
            .unwrap();
        let mut asked = std::pin::pin!(ask(&served));
        let waits = tokio::time::timeout(Duration::ZERO, &mut asked).await;
        assert!(waits.is_err());
        assert_eq!(served.places.available_permits(), MAX_REQUESTS - 1);
        drop(taken);
        assert_eq!(asked.await.unwrap().status(), 200);
        // It is given back with the body, a moment after the answer.
        let all = Arc::clone(&served.room).acquire_many_owned(room as u32).await;
        assert!(all.is_ok());
    }
}
