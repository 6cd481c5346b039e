//! Scoring events through an endpoint.

use std::hash::{BuildHasher as _, RandomState};
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

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

use tokio::time::Instant;

use crate::{EndpointName, Error, Invoker};

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
    /// When a request is sent again.
    pub retries: Retries,
    /// How long all of it may take, with what is sent again; by default as long as it takes. In a stream it is for each batch of
    /// rows.
    pub timeout: Option<Duration>,
}

/// How often a request is sent that fails for a reason that passes: [throttled](Error::Throttled), [not
/// available](Error::Unavailable), [not reached](Error::NotReached), or a model that answered with 429 or 5xx. What is wrong with the
/// request, the credentials or the endpoint is never asked again.
///
/// The SDK's own retries, of which an endpoint's overload is none, come before. Between two attempts is a pause of a random
/// length, up to `first` before the second, twice that before the third, and so on up to `longest`, so that many callers do not
/// come back at the same moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retries {
    /// How often in all; default 3. With 1 nothing is sent again.
    pub attempts: NonZeroU32,
    /// The longest first pause; default 200 ms.
    pub first: Duration,
    /// The longest pause; default 10 s.
    pub longest: Duration,
    /// What the lengths are drawn from; by default another seed each time.
    pub seed: Option<u64>,
}

impl Default for Retries {
    fn default() -> Self {
        const THREE: NonZeroU32 = NonZeroU32::new(3).unwrap();
        Self {
            attempts: THREE,
            first: Duration::from_millis(200),
            longest: Duration::from_secs(10),
            seed: None,
        }
    }
}

impl Retries {
    /// Nothing is sent again.
    pub fn none() -> Self {
        Self {
            attempts: NonZeroU32::MIN,
            ..Self::default()
        }
    }

    /// The pauses before the second attempt and the following ones.
    fn pauses(self) -> impl Iterator<Item = Duration> {
        let mut state = self.seed.unwrap_or_else(|| RandomState::new().hash_one(()));
        (1..self.attempts.get()).map(move |attempt| {
            let most = self
                .first
                .saturating_mul(2_u32.saturating_pow(attempt - 1))
                .min(self.longest);
            // SplitMix64: of its 64 bits the upper 32 are a part of the longest pause.
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut bits = state;
            bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            bits ^= bits >> 31;
            most.mul_f64((bits >> 32) as f64 / f64::from(u32::MAX))
        })
    }
}

/// Whether a model may answer the same request a little later.
fn passes(error: &Error) -> bool {
    match error {
        Error::Model { status, .. } => matches!(status, Some(429 | 500..=599)),
        error => error.is_transient(),
    }
}

impl Invoker {
    /// Scores events through an endpoint: as many predictions as events, in their order.
    ///
    /// Large inputs go in several requests, one after the other, each body under 6 MiB; [`score_stream`](Self::score_stream) has
    /// several under way, though no more than it is told. When the answer turns out too large for that (embeddings of many
    /// dimensions), the request is halved and so are the later ones. A request that fails for a reason that passes is sent again;
    /// see [`Retries`].
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`] when [`InvokeOptions::timeout`] is over, [`Error::NotFound`] when there is no such endpoint, [`Error::Model`] when the model refuses the events,
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
        let begun = Instant::now();
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
            match self.invoke_until(endpoint, body, options, begun).await? {
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

    /// Sends a request until it is answered, or has failed for good, or the time is over.
    async fn invoke_until(
        &self,
        endpoint: &EndpointName,
        body: Vec<u8>,
        options: &InvokeOptions,
        begun: Instant,
    ) -> Result<Answer, Error> {
        let late = |reason: Option<&Error>| Error::Timeout {
            what: format!("the answer of endpoint `{endpoint}`"),
            last: "due".to_owned(),
            reason: reason.map(ToString::to_string),
            waited: begun.elapsed(),
        };
        let left = || {
            options
                .timeout
                .map(|timeout| timeout.saturating_sub(begun.elapsed()))
        };
        let mut pauses = options.retries.pauses();
        let mut failed = None;
        loop {
            let sent = self.invoke_once(endpoint, body.clone(), options);
            let answer = match left() {
                None => sent.await,
                Some(left) => match tokio::time::timeout(left, sent).await {
                    Ok(answer) => answer,
                    Err(_) => return Err(late(failed.as_ref())),
                },
            };
            let error = match answer {
                Err(error) if passes(&error) => error,
                answer => return answer,
            };
            let Some(pause) = pauses.next() else {
                return Err(error);
            };
            // Who would come too late need not wait.
            if left().is_some_and(|left| left <= pause) {
                return Err(late(Some(&error)));
            }
            tokio::time::sleep(pause).await;
            failed = Some(error);
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_differ() {
        let retries = Retries {
            attempts: NonZeroU32::new(9).unwrap(),
            first: Duration::from_millis(100),
            longest: Duration::from_secs(1),
            seed: Some(7),
        };
        let pauses: Vec<_> = retries.pauses().collect();
        assert_eq!(pauses.len(), 8);
        assert_eq!(pauses, retries.pauses().collect::<Vec<_>>(), "the seed decides");
        for (pause, most) in pauses.iter().zip([100, 200, 400, 800, 1000, 1000, 1000, 1000]) {
            assert!(*pause <= Duration::from_millis(most), "{pause:?} of {most}");
        }
        let other = Retries {
            seed: Some(8),
            ..retries
        };
        assert_ne!(other.pauses().collect::<Vec<_>>(), pauses);
        // Drawn evenly: over many, they come to half of the longest.
        let many = (0..1000).map(|seed| {
            Retries {
                seed: Some(seed),
                ..retries
            }
            .pauses()
            .next()
        });
        let sum: Duration = many.flatten().sum();
        let mean = sum / 1000;
        assert!((45..55).contains(&mean.as_millis()), "{mean:?}");
        assert_eq!(Retries::none().pauses().count(), 0);
    }
}
