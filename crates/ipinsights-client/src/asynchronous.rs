//! Scoring an object of S3 through an asynchronous endpoint.

use std::ops::RangeInclusive;
use std::time::Duration;

use ipinsights::inference::{PredictionRecord, RequestFormat, ResponseFormat, decode_response};

use crate::{EndpointName, Error, InferenceId, Invoker, S3Uri};

const OPERATION: &str = "InvokeEndpointAsync";

/// A minute to six hours.
const TTL_SECONDS: RangeInclusive<u64> = 60..=21_600;
/// A second to an hour.
const TIMEOUT_SECONDS: RangeInclusive<u64> = 1..=3600;

/// What `InvokeEndpointAsync` takes: rows that are an object in S3, and how long their answer may take.
///
/// Rows are put into S3, and answers read from there, by the caller, with whatever speaks to S3 already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AsyncRequest {
    /// The rows: one object, up to 1 GiB of them.
    pub input: S3Uri,
    /// What the rows are written in.
    pub request: RequestFormat,
    /// What the answer is written in, and whether it carries the embeddings.
    pub response: ResponseFormat,
    /// What the caller calls the request; by default the service makes something up.
    pub inference_id: Option<InferenceId>,
    /// How long it may wait for its turn, in whole seconds: a minute to six hours, which is the default.
    pub ttl: Option<Duration>,
    /// How long the model may take, in whole seconds: a second to an hour; by default 15 minutes.
    pub timeout: Option<Duration>,
}

/// A request that an asynchronous endpoint has taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AsyncInvocation {
    /// What the service calls it: as the request says, if it does.
    pub inference_id: String,
    /// Where the answer will be.
    pub output: S3Uri,
    /// Where it will be said why there is no answer, if the endpoint's configuration has a place for that
    /// ([`Asynchronous::failures`](crate::Asynchronous::failures)).
    pub failure: Option<S3Uri>,
}

/// A request to an asynchronous endpoint is out of its bounds; nothing was sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the asynchronous request is not valid: {}", problems.join("; "))]
pub struct InvalidAsyncRequest {
    /// One text for each problem; never empty.
    pub problems: Vec<String>,
}

impl AsyncRequest {
    /// CSV there and plain JSON back, with the service's times.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use ipinsights_client::AsyncRequest;
    ///
    /// let mut request = AsyncRequest::new("s3://logins/today.csv".parse()?);
    /// request.ttl = Some(Duration::from_secs(1));
    /// assert_eq!(
    ///     request.check().unwrap_err().to_string(),
    ///     "the asynchronous request is not valid: `ttl` must be whole seconds, 60 to 21600 of them, not 1s"
    /// );
    /// # Ok::<(), ipinsights_client::ParseNameError>(())
    /// ```
    pub fn new(input: S3Uri) -> Self {
        Self {
            input,
            request: RequestFormat::default(),
            response: ResponseFormat::default(),
            inference_id: None,
            ttl: None,
            timeout: None,
        }
    }

    /// Whether the service can take it.
    ///
    /// # Errors
    ///
    /// Everything that is out of its range.
    pub fn check(&self) -> Result<(), InvalidAsyncRequest> {
        let mut problems = Vec::new();
        if self.input.key().is_empty() {
            problems.push(format!(
                "`input` must be an object, not the bucket `{}`",
                self.input
            ));
        }
        for (member, duration, range) in [
            ("ttl", self.ttl, TTL_SECONDS),
            ("timeout", self.timeout, TIMEOUT_SECONDS),
        ] {
            let is_met = |d: Duration| d.subsec_nanos() == 0 && range.contains(&d.as_secs());
            if let Some(duration) = duration.filter(|duration| !is_met(*duration)) {
                let (least, most) = (range.start(), range.end());
                problems.push(format!(
                    "`{member}` must be whole seconds, {least} to {most} of them, not {duration:?}"
                ));
            }
        }
        match problems.is_empty() {
            true => Ok(()),
            false => Err(InvalidAsyncRequest { problems }),
        }
    }

    /// Reads the object that the answer is: a prediction for each row, in the rows' order.
    ///
    /// ```
    /// # use ipinsights_client::AsyncRequest;
    /// # let request = AsyncRequest::new("s3://logins/today.csv".parse()?);
    /// let object = br#"{"predictions": [{"dot_product": 1.5}]}"#;
    /// assert_eq!(request.read_output(object)?[0].dot_product, 1.5);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Codec`] when it is not the answer to this request, or was cut off.
    pub fn read_output(&self, object: &[u8]) -> Result<Vec<PredictionRecord>, Error> {
        Ok(decode_response(self.response, object)?)
    }
}

impl Invoker {
    /// Has an asynchronous endpoint score an object of S3, and says where the answer will be; it is there when all of it is.
    ///
    /// The SDK's own retries are all there are: a request whose connection breaks may have been taken, and with
    /// [`AsyncRequest::inference_id`] one can tell.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidAsyncRequest`] when the request is out of its bounds, [`Error::NotFound`] when there is no such endpoint,
    /// [`Error::Invalid`] when it is not asynchronous. That the object is not there, or the model refuses it, is told at
    /// [`AsyncInvocation::failure`] and nowhere else.
    pub async fn invoke_async(
        &self,
        endpoint: &EndpointName,
        request: &AsyncRequest,
    ) -> Result<AsyncInvocation, Error> {
        request.check()?;
        // Checked to be few.
        let seconds = |duration: Duration| i32::try_from(duration.as_secs()).unwrap_or(i32::MAX);
        let answer = self
            .runtime
            .invoke_endpoint_async()
            .endpoint_name(endpoint.as_str())
            .input_location(request.input.as_str())
            .content_type(request.request.as_str())
            .accept(request.response.to_string())
            .set_inference_id(request.inference_id.clone().map(String::from))
            .set_request_ttl_seconds(request.ttl.map(seconds))
            .set_invocation_timeout_seconds(request.timeout.map(seconds))
            .send()
            .await
            .map_err(|error| Error::from_sdk(OPERATION, error))?;
        let unexpected = |problem: String| Error::UnexpectedAnswer {
            operation: OPERATION,
            problem,
        };
        let place = |text: String| {
            text.parse::<S3Uri>()
                .map_err(|error| unexpected(error.to_string()))
        };
        let output = answer
            .output_location
            .ok_or_else(|| unexpected("it has no output location".to_owned()))?;
        let inference_id = answer
            .inference_id
            .ok_or_else(|| unexpected("it has no inference id".to_owned()))?;
        Ok(AsyncInvocation {
            inference_id,
            output: place(output)?,
            failure: answer.failure_location.map(place).transpose()?,
        })
    }
}
