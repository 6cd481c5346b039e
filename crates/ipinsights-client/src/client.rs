use aws_sdk_sagemakerruntime::Client as Runtime;
#[cfg(feature = "jobs")]
use {
    crate::{AsyncInvocation, AsyncRequest, EndpointName, Error, InvokeOptions, StreamError, StreamOptions},
    access_events::AccessEvent,
    ipinsights::Score,
    ipinsights::inference::PredictionRecord,
};

/// Asks endpoints, and does nothing else: what a program needs that only scores.
///
/// Region, credentials, retries and timeouts are those of the SDK client. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Invoker {
    pub(crate) runtime: Runtime,
}

impl Invoker {
    /// Asks through this client.
    pub fn new(runtime: Runtime) -> Self {
        Self { runtime }
    }
}

/// SageMaker, as far as IP Insights needs it.
///
/// Region, credentials, retries and timeouts are those of the two SDK clients. Cloning is cheap.
#[cfg(feature = "jobs")]
#[derive(Debug, Clone)]
pub struct Client {
    pub(crate) sagemaker: aws_sdk_sagemaker::Client,
    invoker: Invoker,
}

#[cfg(feature = "jobs")]
impl Client {
    /// A client that does everything through these two.
    pub fn new(sagemaker: aws_sdk_sagemaker::Client, runtime: Runtime) -> Self {
        Self {
            sagemaker,
            invoker: Invoker::new(runtime),
        }
    }

    /// The part that asks endpoints.
    pub fn invoker(&self) -> &Invoker {
        &self.invoker
    }

    /// As [`Invoker::invoke`].
    ///
    /// # Errors
    ///
    /// Those of [`Invoker::invoke`].
    pub async fn invoke(
        &self,
        endpoint: &EndpointName,
        events: &[AccessEvent],
        options: &InvokeOptions,
    ) -> Result<Vec<PredictionRecord>, Error> {
        self.invoker.invoke(endpoint, events, options).await
    }

    /// As [`Invoker::score`].
    ///
    /// # Errors
    ///
    /// Those of [`Invoker::invoke`].
    pub async fn score(&self, endpoint: &EndpointName, events: &[AccessEvent]) -> Result<Vec<Score>, Error> {
        self.invoker.score(endpoint, events).await
    }

    /// As [`Invoker::invoke_async`].
    ///
    /// # Errors
    ///
    /// Those of [`Invoker::invoke_async`].
    pub async fn invoke_async(
        &self,
        endpoint: &EndpointName,
        request: &AsyncRequest,
    ) -> Result<AsyncInvocation, Error> {
        self.invoker.invoke_async(endpoint, request).await
    }

    /// As [`Invoker::score_stream`].
    ///
    /// # Errors
    ///
    /// Those of [`Invoker::score_stream`].
    pub async fn score_stream<R, S>(
        &self,
        endpoint: &EndpointName,
        rows: impl IntoIterator<Item = Result<AccessEvent, R>>,
        options: &StreamOptions,
        sink: impl FnMut(&AccessEvent, &PredictionRecord) -> Result<(), S>,
    ) -> Result<u64, StreamError<R, S>> {
        self.invoker.score_stream(endpoint, rows, options, sink).await
    }
}
