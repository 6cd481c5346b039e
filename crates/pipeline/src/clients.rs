//! The AWS SDK clients, all made in one place, for the account and for loopback alike.

use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials;
use aws_smithy_http_client::tls;
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use ipinsights_client::Error as ClientError;

use crate::Error;

/// Where the services are and who asks.
#[derive(Debug, Clone, Default)]
pub struct Connection {
    /// The region; `None` takes it from the environment or the profile.
    pub region: Option<String>,
    /// One base URL for every service (`http://127.0.0.1:PORT`); `None` is the region's own endpoints.
    pub endpoint_url: Option<String>,
    /// A key pair; `None` looks where every AWS SDK looks (environment, profile, SSO, instance role).
    pub credentials: Option<(String, String)>,
    /// How long to pause before the first retry of a throttled or failed request; `None` is the SDK's second.
    pub initial_backoff: Option<Duration>,
}

impl Connection {
    /// Tries of one request before its error is reported; the SDK backs off exponentially between them.
    const ATTEMPTS: u32 = 5;
    /// How long an answer may take to begin, before the request is tried again: an endpoint has a minute to score, a queue waits
    /// 20 seconds for a message.
    const ANSWER: Duration = Duration::from_secs(90);

    /// A connection to a server that takes any key pair, such as one on loopback.
    pub fn to_url(endpoint_url: impl Into<String>, region: impl Into<String>) -> Self {
        Self {
            region: Some(region.into()),
            endpoint_url: Some(endpoint_url.into()),
            credentials: Some(("local".to_owned(), "local".to_owned())),
            initial_backoff: None,
        }
    }

    /// Loads the configuration and makes the clients. Nothing is sent except what finding credentials takes.
    pub async fn clients(&self) -> Result<Clients, Error> {
        let mut retry = RetryConfig::standard().with_max_attempts(Self::ATTEMPTS);
        if let Some(backoff) = self.initial_backoff {
            retry = retry.with_initial_backoff(backoff);
        }
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .retry_config(retry)
            .timeout_config(
                TimeoutConfig::builder()
                    .connect_timeout(Duration::from_secs(10))
                    .read_timeout(Self::ANSWER)
                    .build(),
            );
        let http = aws_smithy_http_client::Builder::new();
        let plain = self
            .endpoint_url
            .as_deref()
            .is_some_and(|url| url.starts_with("http://"));
        loader = if plain {
            // Loading the machine's root certificates takes longer than all the requests to loopback.
            loader.http_client(http.build_http())
        } else {
            loader.http_client(
                http.tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring))
                    .build_https(),
            )
        };
        if let Some(region) = &self.region {
            loader = loader.region(Region::new(region.clone()));
        }
        if let Some(url) = &self.endpoint_url {
            loader = loader.endpoint_url(url);
        }
        if let Some((key, secret)) = &self.credentials {
            loader = loader.credentials_provider(Credentials::new(key, secret, None, None, "given"));
        }
        let config = loader.load().await;
        if config.region().is_none() {
            return Err(Error::NoRegion);
        }
        // Asked now, so that a missing key pair is told as one, not as a request that could not be sent.
        if let Some(provider) = config.credentials_provider() {
            provider
                .provide_credentials()
                .await
                .map_err(|source| Error::NoCredentials { source })?;
        }
        Ok(Clients::new(&config, self.endpoint_url.is_some()))
    }
}

/// The clients that a run and its teardown use.
#[derive(Debug, Clone)]
pub struct Clients {
    pub(crate) region: String,
    pub(crate) s3: aws_sdk_s3::Client,
    pub(crate) sfn: aws_sdk_sfn::Client,
    pub(crate) sqs: aws_sdk_sqs::Client,
    pub(crate) sts: aws_sdk_sts::Client,
    pub(crate) sagemaker: aws_sdk_sagemaker::Client,
    pub(crate) logs: aws_sdk_cloudwatchlogs::Client,
    pub(crate) ip_insights: ipinsights_client::Client,
}

impl Clients {
    /// Clients of one configuration. `path_style` puts bucket names into the path, as a server with one host name needs.
    pub fn new(config: &SdkConfig, path_style: bool) -> Self {
        let s3 = aws_sdk_s3::config::Builder::from(config)
            .force_path_style(path_style)
            .build();
        let sagemaker = aws_sdk_sagemaker::Client::new(config);
        Self {
            region: config.region().map(ToString::to_string).unwrap_or_default(),
            s3: aws_sdk_s3::Client::from_conf(s3),
            sfn: aws_sdk_sfn::Client::new(config),
            sqs: aws_sdk_sqs::Client::new(config),
            sts: aws_sdk_sts::Client::new(config),
            ip_insights: ipinsights_client::Client::new(
                sagemaker.clone(),
                aws_sdk_sagemakerruntime::Client::new(config),
            ),
            sagemaker,
            logs: aws_sdk_cloudwatchlogs::Client::new(config),
        }
    }

    /// The region that requests go to.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// The client for training jobs, models, endpoints and scores.
    pub fn ip_insights(&self) -> &ipinsights_client::Client {
        &self.ip_insights
    }

    /// The 12-digit number of the account whose credentials are used: also the first proof that there are any.
    pub async fn account(&self) -> Result<String, Error> {
        let identity = self
            .sts
            .get_caller_identity()
            .send()
            .await
            .map_err(|error| ClientError::from_sdk("GetCallerIdentity", error))?;
        identity.account.ok_or(Error::Unexpected {
            what: "GetCallerIdentity answered without an account".into(),
        })
    }
}
