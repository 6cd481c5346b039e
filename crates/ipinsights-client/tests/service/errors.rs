use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use aws_sdk_sagemaker::config::BehaviorVersion;
use expect_test::{Expect, expect};
use ipinsights_client::{Client, Endpoint, EndpointName, Error};
use serde_json::json;
use wiremock::ResponseTemplate;

use crate::support::{
    READ_TIMEOUT, Service, chain, could_not_find, endpoint, patient, refusal, refusal_with,
};

async fn describe(client: &Client) -> Result<Endpoint, Error> {
    client
        .describe_endpoint(&"e".parse::<EndpointName>().unwrap())
        .await
}

async fn check(answer: ResponseTemplate, is_expected: fn(&Error) -> bool, expected: Expect) {
    let service = Service::start().await;
    service.on("DescribeEndpoint", [answer]);
    let error = describe(&service.client()).await.unwrap_err();
    assert!(is_expected(&error), "{error:?}");
    expected.assert_eq(&chain(&error));
}

#[tokio::test]
async fn throttling_is_retried() {
    let service = Service::start().await;
    service.on(
        "DescribeEndpoint",
        [
            refusal(400, "ThrottlingException", "Rate exceeded"),
            endpoint("InService", "c"),
        ],
    );
    describe(&service.client()).await.unwrap();
    assert_eq!(service.calls().len(), 2);
}

#[tokio::test]
async fn throttling_without_end_surfaces() {
    check(
        refusal(400, "ThrottlingException", "Rate exceeded"),
        |error| matches!(error, Error::Throttled(_)) && error.is_transient(),
        expect![
            "throttled: `DescribeEndpoint` answered ThrottlingException: Rate exceeded (request request-2)"
        ],
    )
    .await;
}

#[tokio::test]
async fn refusals_carry_operation_code_message_and_request() {
    check(
        could_not_find(),
        |error| matches!(error, Error::NotFound(_)),
        expect![[r#"not found: `DescribeEndpoint` answered ValidationException: Could not find endpoint "arn:aws:sagemaker:us-east-1:123456789012:endpoint/e". (request request-2)"#]],
    )
    .await;
    check(
        refusal(
            400,
            "AccessDeniedException",
            "User: x is not authorized to perform: y",
        ),
        |error| matches!(error, Error::AccessDenied(_)),
        expect!["access was denied: `DescribeEndpoint` answered AccessDeniedException: User: x is not authorized to perform: y (request request-2)"],
    )
    .await;
    check(
        refusal(
            403,
            "ExpiredTokenException",
            "The security token included in the request is expired",
        ),
        |error| matches!(error, Error::CredentialsRefused(_)),
        expect!["the credentials were refused: `DescribeEndpoint` answered ExpiredTokenException: The security token included in the request is expired (request request-2)"],
    )
    .await;
    // The modelled errors name the member `Message`.
    check(
        refusal_with(
            400,
            "ResourceLimitExceeded",
            json!({"__type": "ResourceLimitExceeded", "Message": "The account-level service limit is 0."}),
        ),
        |error| matches!(error, Error::LimitExceeded(_)) && !error.is_transient(),
        expect!["over the quota: `DescribeEndpoint` answered ResourceLimitExceeded: The account-level service limit is 0. (request request-2)"],
    )
    .await;
}

#[tokio::test]
async fn answers_that_are_not_the_services() {
    let page = |status| ResponseTemplate::new(status).set_body_raw("<html>no</html>", "text/html");
    check(
        page(502),
        |error| matches!(error, Error::Unavailable(_)),
        expect!["the service is not available: `DescribeEndpoint` answered HTTP status 502"],
    )
    .await;
    check(
        page(403),
        |error| matches!(error, Error::AccessDenied(_)),
        expect!["access was denied: `DescribeEndpoint` answered HTTP status 403"],
    )
    .await;
    check(
        page(200),
        |error| matches!(error, Error::UnreadableAnswer { .. }),
        expect!["the answer to `DescribeEndpoint` could not be read: type mismatch: expected object"],
    )
    .await;
    check(
        endpoint("InService", "not a name"),
        |error| matches!(error, Error::UnexpectedAnswer { .. }),
        expect!["the answer to `DescribeEndpoint` is not as documented: endpoint configuration `not a name`"],
    )
    .await;
}

#[tokio::test]
async fn without_credentials_nothing_is_sent() {
    let service = Service::start().await;
    let error = describe(&service.client_with(None)).await.unwrap_err();
    assert!(matches!(error, Error::NoCredentials { .. }), "{error:?}");
    assert_eq!(
        error.to_string(),
        "`DescribeEndpoint` was not sent, because no credentials were found"
    );
    assert!(service.calls().is_empty());
}

/// A provider that looked and found nothing.
#[derive(Debug)]
struct NoProfile;

impl ProvideCredentials for NoProfile {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::ready(Err(CredentialsError::not_loaded("no profile `prod`")))
    }
}

#[tokio::test]
async fn a_provider_without_credentials_is_named_in_the_causes() {
    let service = Service::start().await;
    let client = service.client_from(Some(SharedCredentialsProvider::new(NoProfile)));
    let error = describe(&client).await.unwrap_err();
    assert!(matches!(error, Error::NoCredentials { .. }), "{error:?}");
    assert!(chain(&error).contains("no profile `prod`"), "{}", chain(&error));
    assert!(service.calls().is_empty());
}

#[tokio::test]
async fn a_service_that_does_not_answer_is_not_reached() {
    let service = Service::start().await;
    service.on(
        "DescribeEndpoint",
        [endpoint("InService", "c").set_delay(READ_TIMEOUT * 20)],
    );
    let error = describe(&service.client()).await.unwrap_err();
    assert!(matches!(error, Error::NotReached { .. }), "{error:?}");
    assert!(error.is_transient());
}

#[tokio::test]
async fn a_service_that_is_not_there_is_not_reached() {
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let config = aws_sdk_sagemaker::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(aws_sdk_sagemaker::config::Region::new("us-east-1"))
        .credentials_provider(aws_credential_types::Credentials::from_keys("id", "secret", None))
        .endpoint_url(format!("http://127.0.0.1:{port}"))
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .retry_config(aws_sdk_sagemaker::config::retry::RetryConfig::disabled());
    let runtime = Service::start().await;
    let runtime = aws_sdk_sagemakerruntime::Client::from_conf(
        aws_sdk_sagemakerruntime::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .endpoint_url(runtime.uri())
            .build(),
    );
    let client = Client::new(aws_sdk_sagemaker::Client::from_conf(config.build()), runtime);
    let error = describe(&client).await.unwrap_err();
    assert!(matches!(error, Error::NotReached { .. }), "{error:?}");
    assert!(error.is_transient());
    assert_eq!(error.to_string(), "`DescribeEndpoint` got no answer");
    // Nobody waits for a service that was never there.
    let (endpoint, config) = ("e".parse().unwrap(), "c".parse().unwrap());
    let mut wait = patient();
    wait.poll = std::time::Duration::from_secs(3600);
    let error = client
        .wait_in_service(&endpoint, &config, wait, &mut |_| {})
        .await
        .unwrap_err();
    assert!(matches!(error, Error::NotReached { .. }), "{error:?}");
}

/// The pipeline drives the client from tasks of a runtime with several threads.
#[tokio::test]
async fn futures_can_move_between_threads() {
    fn movable<T: Send>(_: T) {}

    let service = Service::start().await;
    let client = service.client();
    let (endpoint, config, job) = ("e".parse().unwrap(), "c".parse().unwrap(), "j".parse().unwrap());
    movable(client.wait_for_training(&job, patient(), &mut |_| {}));
    movable(client.create_or_update_endpoint(&endpoint, &config, patient(), &mut |_| {}));
    movable(client.wait_in_service(&endpoint, &config, patient(), &mut |_| {}));
    movable(client.invoke(&endpoint, &[], &Default::default()));
    movable(client.teardown(&endpoint, patient(), &mut |_| {}));
    assert!(service.calls().is_empty());
}
