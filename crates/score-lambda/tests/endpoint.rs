//! The scorer that asks an endpoint, with the official SDK client and a server that plays the endpoint.
#![expect(clippy::unwrap_used, reason = "a helper of tests fails loudly")]

use std::net::Ipv4Addr;

use access_events::AccessEvent;
use aws_config::{BehaviorVersion, Region};
use aws_credential_types::Credentials;
use axum::http::StatusCode;
use axum::routing::post;
use score_lambda::{EndpointScorer, ScoreFailure, Scorer};

/// A server that answers every call to `/endpoints/e/invocations` like this, and the scorer that asks it.
async fn scorer(status: StatusCode, error: &'static str, body: &'static str) -> EndpointScorer {
    let answer = move || async move {
        (
            status,
            [("content-type", "application/json"), ("x-amzn-errortype", error)],
            body,
        )
    };
    let app = axum::Router::new().route("/endpoints/e/invocations", post(answer));
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    asking(url)
}

/// A scorer that asks the server at this URL.
fn asking(url: String) -> EndpointScorer {
    let config = aws_config::SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(url)
        .credentials_provider(aws_credential_types::provider::SharedCredentialsProvider::new(
            Credentials::new("key", "secret", None, None, "test"),
        ))
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .build();
    let invoker = ipinsights_client::Invoker::new(aws_sdk_sagemakerruntime::Client::new(&config));
    EndpointScorer::new(invoker, "e".parse().unwrap())
}

fn events() -> [AccessEvent; 2] {
    [
        AccessEvent::new("a", Ipv4Addr::new(192, 0, 2, 1)),
        AccessEvent::new("b", Ipv4Addr::new(192, 0, 2, 2)),
    ]
}

#[tokio::test]
async fn scores_come_in_the_order_of_the_events() {
    let body = r#"{"predictions": [{"dot_product": 1.5}, {"dot_product": -0.25}]}"#;
    let scores = scorer(StatusCode::OK, "", body)
        .await
        .score(&events())
        .await
        .unwrap();
    let scores: Vec<f32> = scores.iter().map(|score| score.dot_product()).collect();
    assert_eq!(scores, [1.5, -0.25]);
}

#[tokio::test]
async fn failures_say_whether_to_try_again() {
    let body = r#"{"message": "m", "Message": "m"}"#;
    let cases = [
        (StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", true),
        (StatusCode::BAD_REQUEST, "ThrottlingException", true),
        (StatusCode::BAD_REQUEST, "ValidationError", false),
        (StatusCode::FAILED_DEPENDENCY, "ModelError", false),
        (StatusCode::FORBIDDEN, "AccessDeniedException", false),
    ];
    for (status, error, again) in cases {
        let failure = scorer(status, error, body)
            .await
            .score(&events())
            .await
            .unwrap_err();
        let unavailable = matches!(failure, ScoreFailure::Unavailable { .. });
        assert_eq!(unavailable, again, "{error}: {failure:?}");
    }
    // One score for two rows.
    let short = r#"{"predictions": [{"dot_product": 1.5}]}"#;
    let failure = scorer(StatusCode::OK, "", short)
        .await
        .score(&events())
        .await
        .unwrap_err();
    assert!(matches!(failure, ScoreFailure::Failed { .. }), "{failure:?}");
}

#[tokio::test]
async fn an_endpoint_that_does_not_answer_is_not_available() {
    let silent = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let scorer = asking(url).timeout(std::time::Duration::from_millis(50));
    let failure = scorer.score(&events()).await.unwrap_err();
    assert!(matches!(failure, ScoreFailure::Unavailable { .. }), "{failure:?}");
    drop(silent);
}
