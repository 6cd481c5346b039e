/// SageMaker, as far as IP Insights needs it.
///
/// Region, credentials, retries and timeouts are those of the two SDK clients. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Client {
    pub(crate) sagemaker: aws_sdk_sagemaker::Client,
    pub(crate) runtime: aws_sdk_sagemakerruntime::Client,
}

impl Client {
    /// A client that does everything through these two.
    pub fn new(sagemaker: aws_sdk_sagemaker::Client, runtime: aws_sdk_sagemakerruntime::Client) -> Self {
        Self { sagemaker, runtime }
    }
}
