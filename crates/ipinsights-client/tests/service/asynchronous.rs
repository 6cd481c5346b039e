use std::time::Duration;

use expect_test::expect;
use ipinsights::inference::{RequestFormat, ResponseFormat};
use ipinsights_client::{AsyncInvocation, AsyncRequest, Client, Error};
use serde_json::json;
use wiremock::ResponseTemplate;

use crate::support::{Service, refusal};

fn request() -> AsyncRequest {
    AsyncRequest::new("s3://rows/today.csv".parse().unwrap())
}

/// What the service answers to a request that it takes.
fn taken() -> ResponseTemplate {
    ResponseTemplate::new(202)
        .set_body_json(json!({"InferenceId": "mine"}))
        .insert_header("x-amzn-sagemaker-outputlocation", "s3://answers/1.out")
}

async fn invoke(client: &Client, request: &AsyncRequest) -> Result<AsyncInvocation, Error> {
    client.invoke_async(&"e".parse().unwrap(), request).await
}

#[tokio::test]
async fn a_request_says_what_it_is_told_and_nothing_else() {
    let service = Service::start().await;
    service.on(
        "InvokeEndpointAsync",
        [
            taken().insert_header("x-amzn-sagemaker-failurelocation", "s3://answers/1-error.out"),
            taken(),
        ],
    );
    let full = AsyncRequest {
        request: RequestFormat::JsonLines,
        response: ResponseFormat::JSON_LINES.verbose(true),
        inference_id: Some("mine".parse().unwrap()),
        ttl: Some(Duration::from_secs(60)),
        timeout: Some(Duration::from_secs(3600)),
        ..request()
    };
    let client = service.client();
    let invocation = invoke(&client, &full).await.unwrap();
    let want = AsyncInvocation {
        inference_id: "mine".to_owned(),
        output: "s3://answers/1.out".parse().unwrap(),
        failure: Some("s3://answers/1-error.out".parse().unwrap()),
    };
    assert_eq!(invocation, want);
    assert_eq!(invoke(&client, &request()).await.unwrap().failure, None);

    let calls = service.calls();
    assert!(calls.iter().all(|call| call.signed && call.body.is_empty()));
    assert_eq!(calls[0].path, "/endpoints/e/async-invocations");
    expect![[r#"
        x-amzn-sagemaker-accept: application/jsonlines; verbose=True
        x-amzn-sagemaker-content-type: application/jsonlines
        x-amzn-sagemaker-inference-id: mine
        x-amzn-sagemaker-inputlocation: s3://rows/today.csv
        x-amzn-sagemaker-invocationtimeoutseconds: 3600
        x-amzn-sagemaker-requestttlseconds: 60"#]]
    .assert_eq(&calls[0].members.join("\n"));
    expect![[r#"
        x-amzn-sagemaker-accept: application/json
        x-amzn-sagemaker-content-type: text/csv
        x-amzn-sagemaker-inputlocation: s3://rows/today.csv"#]]
    .assert_eq(&calls[1].members.join("\n"));
}

#[tokio::test]
async fn what_is_out_of_its_bounds_is_not_sent() {
    let service = Service::start().await;
    let wrong = AsyncRequest {
        input: "s3://rows".parse().unwrap(),
        ttl: Some(Duration::from_secs(59)),
        timeout: Some(Duration::from_millis(1500)),
        ..request()
    };
    let error = invoke(&service.client(), &wrong).await.unwrap_err();
    assert!(matches!(error, Error::InvalidAsyncRequest(_)), "{error}");
    expect!["the asynchronous request is not valid: `input` must be an object, not the bucket `s3://rows`; `ttl` must be whole seconds, 60 to 21600 of them, not 59s; `timeout` must be whole seconds, 1 to 3600 of them, not 1.5s"]
        .assert_eq(&error.to_string());
    assert!(service.calls().is_empty());
}

#[tokio::test]
async fn refusals_are_sorted_by_what_can_be_done() {
    let missing = "Endpoint e of account 123456789012 not found.";
    let both = |status, code| vec![refusal(status, code, "no"); 2];
    let cases = [
        (vec![refusal(400, "ValidationError", missing)], "not found: "),
        (vec![refusal(400, "ValidationError", "no")], "invalid request: "),
        (
            vec![refusal(403, "AccessDeniedException", "no")],
            "access was denied: ",
        ),
        (both(400, "ThrottlingException"), "throttled: "),
        (both(503, "ServiceUnavailable"), "the service is not available: "),
        (both(500, "InternalFailure"), "the service is not available: "),
        // A proxy's page.
        (
            vec![ResponseTemplate::new(502).set_body_string("<html>"); 2],
            "the service is not available: ",
        ),
    ];
    for (answers, want) in cases {
        let (service, times) = (Service::start().await, answers.len());
        service.on("InvokeEndpointAsync", answers);
        let error = invoke(&service.client(), &request()).await.unwrap_err();
        let text = error.to_string();
        assert!(
            text.starts_with(&format!("{want}`InvokeEndpointAsync` answered ")),
            "{text}"
        );
        // What passes has been tried again by the SDK, and the rest has not.
        assert_eq!(service.calls().len(), times, "{text}");
    }
}

#[tokio::test]
async fn an_answer_that_says_too_little_is_told() {
    let cases = [
        (
            ResponseTemplate::new(202).set_body_json(json!({"InferenceId": "mine"})),
            "it has no output location",
        ),
        (taken().set_body_json(json!({})), "it has no inference id"),
        (
            taken().insert_header("x-amzn-sagemaker-failurelocation", "answers"),
            "`answers` is not an S3 URI: it must look like `s3://bucket/key`, with at most 1024 characters",
        ),
    ];
    for (answer, want) in cases {
        let service = Service::start().await;
        service.on("InvokeEndpointAsync", [answer]);
        let error = invoke(&service.client(), &request()).await.unwrap_err();
        let start = "the answer to `InvokeEndpointAsync` is not as documented: ";
        assert_eq!(error.to_string(), format!("{start}{want}"));
    }
}

#[test]
fn an_answer_that_was_cut_off_is_none() {
    for (response, object) in [
        (ResponseFormat::JSON, r#"{"predictions": [{"dot_product": 1.5}"#),
        (ResponseFormat::JSON_LINES, "{\"dot_product\": 1.5}\n{\"dot_pro"),
    ] {
        let request = AsyncRequest {
            response,
            ..request()
        };
        let error = request.read_output(object.as_bytes()).unwrap_err();
        assert!(matches!(error, Error::Codec(_)), "{error}");
    }
}
