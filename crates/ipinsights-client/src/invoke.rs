//! Scoring events through an endpoint.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};

use access_events::AccessEvent;
use aws_sdk_sagemakerruntime::operation::invoke_endpoint::InvokeEndpointError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::Blob;
use ipinsights::Score;
use ipinsights::inference::{
    MAX_BODY_BYTES, PredictionRecord, RequestFormat, ResponseFormat, decode_response, encode_request,
    split_request,
};

use crate::{Client, EndpointName, Error};

const OPERATION: &str = "InvokeEndpoint";

/// An answer of so many scores stays under the limit, at some 40 bytes each.
const SCORES: NonZeroUsize = NonZeroUsize::new(100_000).unwrap();

/// An answer of so many scores with embeddings stays under the limit at 128 dimensions, at some 12 bytes a number.
pub(crate) const EMBEDDINGS: NonZeroUsize = NonZeroUsize::new(1_500).unwrap();

/// How to talk to an endpoint. The default is CSV there and plain JSON back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct InvokeOptions {
    /// What requests are written in.
    pub request: RequestFormat,
    /// What answers are written in, and whether they carry the embeddings.
    pub response: ResponseFormat,
    /// At most so many events in a request; by default 100,000, or 1,500 with embeddings. Requests that turn out too
    /// large are halved in any case.
    pub max_events: Option<NonZeroUsize>,
}

impl Client {
    /// Scores events through an endpoint: as many predictions as events, in their order.
    ///
    /// Large inputs go in several requests, one after the other, each body under 6 MiB. When the answer turns out too large
    /// for that (embeddings of many dimensions), the request is halved and so are the later ones.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] when there is no such endpoint, [`Error::Model`] when the model refuses the events,
    /// [`Error::PredictionCount`] when it answers with more or fewer predictions.
    pub async fn invoke(
        &self,
        endpoint: &EndpointName,
        events: &[AccessEvent],
        options: &InvokeOptions,
    ) -> Result<Vec<PredictionRecord>, Error> {
        let by_default = if options.response.verbose {
            EMBEDDINGS
        } else {
            SCORES
        };
        let most = AtomicUsize::new(options.max_events.unwrap_or(by_default).get());
        self.invoke_within(endpoint, events, options, &most).await
    }

    /// The same with at most so many events in a request, which become fewer where answers turn out too large.
    pub(crate) async fn invoke_within(
        &self,
        endpoint: &EndpointName,
        events: &[AccessEvent],
        options: &InvokeOptions,
        most: &AtomicUsize,
    ) -> Result<Vec<PredictionRecord>, Error> {
        let mut predictions = Vec::with_capacity(events.len());
        let mut rest = events;
        let batch = |rest| {
            let max_events = most.load(Ordering::Relaxed);
            split_request(options.request, rest, MAX_BODY_BYTES, max_events).next()
        };
        while let Some(batch) = batch(rest) {
            let too_large = Error::EventTooLarge {
                event: predictions.len() + 1,
            };
            let body = encode_request(options.request, batch)?;
            if body.len() > MAX_BODY_BYTES {
                return Err(too_large);
            }
            match self.invoke_once(endpoint, body, options).await? {
                Answer::Predictions(answered) if answered.len() == batch.len() => {
                    predictions.extend(answered);
                    rest = &rest[batch.len()..];
                }
                Answer::Predictions(answered) => {
                    return Err(Error::PredictionCount {
                        endpoint: endpoint.to_string(),
                        sent: batch.len(),
                        received: answered.len(),
                    });
                }
                Answer::TooLarge if batch.len() == 1 => return Err(too_large),
                Answer::TooLarge => {
                    most.fetch_min(batch.len() / 2, Ordering::Relaxed);
                }
            }
        }
        Ok(predictions)
    }

    /// The scores of events through an endpoint, in their order: [`invoke`](Self::invoke) without the rest.
    ///
    /// # Errors
    ///
    /// Those of [`invoke`](Self::invoke).
    pub async fn score(&self, endpoint: &EndpointName, events: &[AccessEvent]) -> Result<Vec<Score>, Error> {
        let predictions = self.invoke(endpoint, events, &InvokeOptions::default()).await?;
        Ok(predictions.iter().map(PredictionRecord::score).collect())
    }

    async fn invoke_once(
        &self,
        endpoint: &EndpointName,
        body: Vec<u8>,
        options: &InvokeOptions,
    ) -> Result<Answer, Error> {
        let answer = self
            .runtime
            .invoke_endpoint()
            .endpoint_name(endpoint.as_str())
            .content_type(options.request.as_str())
            .accept(options.response.to_string())
            .body(Blob::new(body))
            .send()
            .await;
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) if is_too_large(&error) => return Ok(Answer::TooLarge),
            Err(error) => return Err(to_error(endpoint, error)),
        };
        // The answer knows best what it is written in.
        let kind = answer
            .content_type()
            .and_then(|header| header.parse::<ResponseFormat>().ok());
        let kind = kind.map_or(options.response.kind, |format| format.kind);
        let body = answer.body().map(Blob::as_ref).unwrap_or_default();
        let predictions = decode_response(
            ResponseFormat {
                kind,
                ..options.response
            },
            body,
        )?;
        Ok(Answer::Predictions(predictions))
    }
}

enum Answer {
    Predictions(Vec<PredictionRecord>),
    TooLarge,
}

/// Status 413, of the service itself or of the container behind it.
fn is_too_large(error: &SdkError<InvokeEndpointError, HttpResponse>) -> bool {
    const TOO_LARGE: u16 = 413;
    let status = error.raw_response().map(|response| response.status().as_u16());
    status == Some(TOO_LARGE) || model_error(error).is_some_and(|m| status_of(m) == Some(TOO_LARGE))
}

fn to_error(endpoint: &EndpointName, error: SdkError<InvokeEndpointError, HttpResponse>) -> Error {
    use aws_sdk_sagemakerruntime::operation::RequestId;

    let Some(model_error) = model_error(&error) else {
        return Error::from_sdk(OPERATION, error);
    };
    Error::Model {
        endpoint: endpoint.to_string(),
        status: status_of(model_error),
        message: model_error
            .original_message()
            .or(model_error.message())
            .unwrap_or("without a message")
            .to_owned(),
        log_stream_arn: model_error.log_stream_arn().map(str::to_owned),
        request_id: error.request_id().map(str::to_owned),
    }
}

type ModelError = aws_sdk_sagemakerruntime::types::error::ModelError;

fn model_error(error: &SdkError<InvokeEndpointError, HttpResponse>) -> Option<&ModelError> {
    match error.as_service_error() {
        Some(InvokeEndpointError::ModelError(error)) => Some(error),
        _ => None,
    }
}

fn status_of(error: &ModelError) -> Option<u16> {
    error
        .original_status_code()
        .and_then(|status| u16::try_from(status).ok())
}
