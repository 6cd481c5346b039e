//! A scripted stand-in for the service, on a loopback port of its own, and the real SDK clients pointed at it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_sagemaker::config::retry::RetryConfig;
use aws_sdk_sagemaker::config::timeout::TimeoutConfig;
use aws_sdk_sagemaker::config::{BehaviorVersion, Region};
use ipinsights_client::{Client, Deadline};
use serde_json::{Value, json};
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate};

/// Long enough for a slow machine; only one test waits for it.
pub(crate) const READ_TIMEOUT: Duration = Duration::from_secs(2);

/// Answers per operation, each used once, the last one for ever; and what was asked.
pub(crate) struct Service {
    server: MockServer,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    answers: HashMap<&'static str, VecDeque<ResponseTemplate>>,
    calls: Vec<Call>,
}

/// A request that came in.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) operation: String,
    /// JSON of the control plane; null where it is not.
    pub(crate) json: Value,
    pub(crate) body: Vec<u8>,
    pub(crate) content_type: String,
    pub(crate) accept: String,
    pub(crate) path: String,
    /// Members of the runtime that are headers, `x-amzn-sagemaker-NAME: VALUE`, sorted.
    pub(crate) members: Vec<String>,
    pub(crate) signed: bool,
}

struct Responder(Arc<Mutex<State>>);

impl Respond for Responder {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        let header = |name: &str| {
            let value = request.headers.get(name).and_then(|value| value.to_str().ok());
            value.unwrap_or_default().to_owned()
        };
        let operation = match header("x-amz-target").strip_prefix("SageMaker.") {
            Some(operation) => operation.to_owned(),
            None if request.url.path().ends_with("/async-invocations") => "InvokeEndpointAsync".to_owned(),
            None => "InvokeEndpoint".to_owned(),
        };
        let members = request.headers.iter().filter_map(|(name, value)| {
            let is_member = name.as_str().starts_with("x-amzn-sagemaker-");
            is_member.then(|| format!("{name}: {}", value.to_str().unwrap()))
        });
        let mut members: Vec<_> = members.collect();
        members.sort();
        let mut state = self.0.lock().unwrap();
        state.calls.push(Call {
            operation: operation.clone(),
            json: serde_json::from_slice(&request.body).unwrap_or_default(),
            body: request.body.clone(),
            content_type: header("content-type"),
            accept: header("accept"),
            path: request.url.path().to_owned(),
            members,
            signed: header("authorization").starts_with("AWS4-HMAC-SHA256 "),
        });
        match state.answers.get_mut(operation.as_str()) {
            Some(queue) if queue.len() > 1 => queue.pop_front().unwrap(),
            Some(queue) if queue.len() == 1 => queue[0].clone(),
            _ => refusal(400, "UnscriptedOperation", &operation),
        }
    }
}

impl Service {
    pub(crate) async fn start() -> Self {
        let server = MockServer::start().await;
        let state = Arc::<Mutex<State>>::default();
        Mock::given(any())
            .respond_with(Responder(Arc::clone(&state)))
            .mount(&server)
            .await;
        Self { server, state }
    }

    /// Adds answers to what an operation is to be answered with.
    pub(crate) fn on(
        &self,
        operation: &'static str,
        answers: impl IntoIterator<Item = ResponseTemplate>,
    ) -> &Self {
        self.state
            .lock()
            .unwrap()
            .answers
            .entry(operation)
            .or_default()
            .extend(answers);
        self
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        self.state.lock().unwrap().calls.clone()
    }

    /// The operations asked for, in order; the same one several times in a row counts once.
    pub(crate) fn operations(&self) -> Vec<String> {
        let mut operations: Vec<_> = self.calls().into_iter().map(|call| call.operation).collect();
        operations.dedup();
        operations
    }

    /// The members of the only request of an operation.
    pub(crate) fn json_of(&self, operation: &str) -> Value {
        let calls: Vec<_> = self
            .calls()
            .into_iter()
            .filter(|call| call.operation == operation)
            .collect();
        assert_eq!(calls.len(), 1, "{operation}");
        calls[0].json.clone()
    }

    pub(crate) fn uri(&self) -> String {
        self.server.uri()
    }

    pub(crate) fn client(&self) -> Client {
        self.client_with(Some(Credentials::from_keys("id", "secret", None)))
    }

    pub(crate) fn client_with(&self, credentials: Option<Credentials>) -> Client {
        self.client_from(credentials.map(SharedCredentialsProvider::new))
    }

    pub(crate) fn client_from(&self, credentials: Option<SharedCredentialsProvider>) -> Client {
        client_of(&self.server.uri(), credentials)
    }
}

/// The SDK clients of whoever listens there.
pub(crate) fn client_of(uri: &str, credentials: Option<SharedCredentialsProvider>) -> Client {
    let retries = RetryConfig::standard()
        .with_max_attempts(2)
        .with_initial_backoff(Duration::from_millis(1))
        .with_max_backoff(Duration::from_millis(2));
    macro_rules! config {
        ($sdk:ident) => {{
            let mut config = $sdk::Config::builder()
                .behavior_version(BehaviorVersion::latest())
                .region(Region::new("us-east-1"))
                .endpoint_url(uri)
                .http_client(aws_smithy_http_client::Builder::new().build_http())
                .timeout_config(TimeoutConfig::builder().read_timeout(READ_TIMEOUT).build())
                // Clients of one partition share an allowance of retries, and tests share nothing.
                .retry_partition($sdk::config::retry::RetryPartition::new(uri.to_owned()))
                .retry_config(retries.clone());
            config.set_credentials_provider(credentials.clone());
            $sdk::Client::from_conf(config.build())
        }};
    }
    Client::new(config!(aws_sdk_sagemaker), config!(aws_sdk_sagemakerruntime))
}

/// An answer of the control plane.
pub(crate) fn answer(members: Value) -> ResponseTemplate {
    ResponseTemplate::new(200)
        .set_body_raw(members.to_string(), "application/x-amz-json-1.1")
        .insert_header("x-amzn-requestid", "request-1")
}

/// An answer without a body, as delete gives it.
pub(crate) fn empty() -> ResponseTemplate {
    ResponseTemplate::new(200)
}

/// An error, in the form of both protocols.
pub(crate) fn refusal(status: u16, code: &str, message: &str) -> ResponseTemplate {
    refusal_with(status, code, json!({"__type": code, "message": message}))
}

pub(crate) fn refusal_with(status: u16, code: &str, members: Value) -> ResponseTemplate {
    ResponseTemplate::new(status)
        .set_body_raw(members.to_string(), "application/x-amz-json-1.1")
        .insert_header("x-amzn-errortype", code)
        .insert_header("x-amzn-requestid", "request-2")
}

/// What describing a missing endpoint, configuration or model is answered with.
pub(crate) fn could_not_find() -> ResponseTemplate {
    let arn = "arn:aws:sagemaker:us-east-1:123456789012:endpoint/e";
    refusal(
        400,
        "ValidationException",
        &format!("Could not find endpoint \"{arn}\"."),
    )
}

pub(crate) fn endpoint(status: &str, config: &str) -> ResponseTemplate {
    answer(json!({
        "EndpointName": "e", "EndpointArn": "arn", "EndpointStatus": status, "EndpointConfigName": config,
        "CreationTime": 1.5, "LastModifiedTime": 1.5,
    }))
}

pub(crate) fn failed_endpoint(status: &str, config: &str, reason: &str) -> ResponseTemplate {
    answer(json!({
        "EndpointName": "e", "EndpointArn": "arn", "EndpointStatus": status, "EndpointConfigName": config,
        "FailureReason": reason, "CreationTime": 1.5, "LastModifiedTime": 1.5,
    }))
}

/// Looks every millisecond for as long as a slow machine may need.
pub(crate) fn patient() -> Deadline {
    Deadline::new(Duration::from_millis(1), Duration::from_secs(60))
}

/// Gives up after a few looks.
pub(crate) fn impatient() -> Deadline {
    Deadline::new(Duration::from_millis(5), Duration::from_millis(20))
}

/// An error and its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
