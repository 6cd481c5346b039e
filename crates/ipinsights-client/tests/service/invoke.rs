use std::time::Duration;

use access_events::AccessEvent;
use expect_test::expect;
use ipinsights::Score;
use ipinsights::inference::{
    InferenceError, MAX_BODY_BYTES, PredictionRecord, RequestFormat, ResponseFormat, decode_request,
    encode_response,
};
use ipinsights_client::{Client, EndpointName, Error, InvokeOptions, Retries};
use serde_json::json;
use wiremock::ResponseTemplate;

use crate::support::{Service, refusal, refusal_with};

const REQUESTS: [RequestFormat; 3] = [RequestFormat::Csv, RequestFormat::Json, RequestFormat::JsonLines];

fn events(count: usize) -> Vec<AccessEvent> {
    (0..count)
        .map(|i| AccessEvent::new(format!("user {i}"), (i as u32).into()))
        .collect()
}

fn predictions(count: usize) -> Vec<PredictionRecord> {
    let record = |i| PredictionRecord {
        dot_product: i as f32 - 1.5,
        ip_embedding: Some(vec![0.5, i as f32]),
        entity_embedding: Some(vec![-0.5, 1.0]),
    };
    (0..count).map(record).collect()
}

fn answer(format: ResponseFormat, predictions: &[PredictionRecord]) -> ResponseTemplate {
    let body = encode_response(format, predictions).unwrap();
    ResponseTemplate::new(200).set_body_raw(body, format.content_type())
}

/// The container's own 413, as the service passes it on.
fn too_large() -> ResponseTemplate {
    let text = "Received client error (413) from primary and could not load the entire response body.";
    refusal_with(
        424,
        "ModelError",
        json!({"Message": text, "OriginalStatusCode": 413}),
    )
}

async fn invoke(
    client: &Client,
    events: &[AccessEvent],
    options: InvokeOptions,
) -> Result<Vec<PredictionRecord>, Error> {
    client
        .invoke(&"e".parse::<EndpointName>().unwrap(), events, &options)
        .await
}

#[tokio::test]
async fn every_codec_both_ways() {
    for request in REQUESTS {
        for response in [ResponseFormat::JSON, ResponseFormat::JSON_LINES] {
            for verbose in [false, true] {
                let response = response.verbose(verbose);
                let service = Service::start().await;
                service.on("InvokeEndpoint", [answer(response, &predictions(3))]);
                let options = InvokeOptions {
                    request,
                    response,
                    ..Default::default()
                };
                let got = invoke(&service.client(), &events(3), options).await.unwrap();

                let call = &service.calls()[0];
                assert_eq!(call.path, "/endpoints/e/invocations");
                assert_eq!(call.content_type, request.to_string());
                assert_eq!(call.accept, response.to_string());
                assert!(call.signed);
                assert_eq!(decode_request(request, &call.body).unwrap(), events(3));
                let mut want = predictions(3);
                if !verbose {
                    want = want.iter().map(|p| p.score().into()).collect();
                }
                assert_eq!(got, want, "{request}, {response}");
            }
        }
    }
}

#[tokio::test]
async fn scores_come_in_order() {
    let service = Service::start().await;
    service.on("InvokeEndpoint", [answer(ResponseFormat::JSON, &predictions(3))]);
    let scores = service
        .client()
        .score(&"e".parse().unwrap(), &events(3))
        .await
        .unwrap();
    assert_eq!(scores, [-1.5, -0.5, 0.5].map(Score::new));
}

#[tokio::test]
async fn no_events_take_no_request() {
    let service = Service::start().await;
    assert_eq!(
        invoke(&service.client(), &[], InvokeOptions::default())
            .await
            .unwrap(),
        []
    );
    assert!(service.calls().is_empty());
}

#[tokio::test]
async fn the_answers_content_type_counts() {
    let service = Service::start().await;
    service.on(
        "InvokeEndpoint",
        [answer(ResponseFormat::JSON_LINES, &predictions(2))],
    );
    let got = invoke(&service.client(), &events(2), InvokeOptions::default())
        .await
        .unwrap();
    assert_eq!(got.len(), 2);
}

#[tokio::test]
async fn batches_keep_the_order() {
    let service = Service::start().await;
    let all = predictions(5);
    service.on(
        "InvokeEndpoint",
        [
            answer(ResponseFormat::JSON, &all[..2]),
            answer(ResponseFormat::JSON, &all[2..4]),
            answer(ResponseFormat::JSON, &all[4..]),
        ],
    );
    let options = InvokeOptions {
        max_events: Some(2.try_into().unwrap()),
        ..Default::default()
    };
    let got = invoke(&service.client(), &events(5), options).await.unwrap();
    let scores: Vec<_> = got.iter().map(|p| p.dot_product).collect();
    assert_eq!(scores, [-1.5, -0.5, 0.5, 1.5, 2.5]);
    let sent: Vec<_> = service
        .calls()
        .iter()
        .map(|call| decode_request(RequestFormat::Csv, &call.body).unwrap())
        .collect();
    assert_eq!(sent.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 1]);
    assert_eq!(sent.concat(), events(5));
}

#[tokio::test]
async fn no_body_exceeds_the_limit() {
    // Ten events of nearly a MiB each.
    let events: Vec<_> = (0..10)
        .map(|i| AccessEvent::new(i.to_string().repeat(1_000_000), i.into()))
        .collect();
    let service = Service::start().await;
    let all = predictions(10);
    service.on(
        "InvokeEndpoint",
        [
            answer(ResponseFormat::JSON, &all[..6]),
            answer(ResponseFormat::JSON, &all[6..]),
        ],
    );
    assert_eq!(
        invoke(&service.client(), &events, InvokeOptions::default())
            .await
            .unwrap()
            .len(),
        10
    );
    let calls = service.calls();
    assert_eq!(calls.len(), 2);
    assert!(calls.iter().all(|call| call.body.len() <= MAX_BODY_BYTES));

    let enormous = [
        AccessEvent::new("a", 1.into()),
        AccessEvent::new("x".repeat(MAX_BODY_BYTES), 1.into()),
    ];
    let service = Service::start().await;
    service.on("InvokeEndpoint", [answer(ResponseFormat::JSON, &all[..1])]);
    let error = invoke(&service.client(), &enormous, InvokeOptions::default())
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "event 2 is too large for a body of 6291456 bytes"
    );
}

#[tokio::test]
async fn answers_that_are_too_large_are_asked_for_in_halves() {
    for refusal in [too_large(), ResponseTemplate::new(413)] {
        let service = Service::start().await;
        let all = predictions(9);
        let json = ResponseFormat::JSON.verbose(true);
        service.on(
            "InvokeEndpoint",
            [
                refusal.clone(), // 9
                refusal.clone(), // 4
                answer(json, &all[..2]),
                answer(json, &all[2..4]),
                answer(json, &all[4..6]),
                answer(json, &all[6..8]),
                answer(json, &all[8..]),
            ],
        );
        let options = InvokeOptions {
            response: json,
            ..Default::default()
        };
        assert_eq!(invoke(&service.client(), &events(9), options).await.unwrap(), all);
        let sizes: Vec<_> = service
            .calls()
            .iter()
            .map(|call| decode_request(RequestFormat::Csv, &call.body).unwrap().len())
            .collect();
        assert_eq!(sizes, [9, 4, 2, 2, 2, 2, 1]);
    }
}

#[tokio::test]
async fn a_single_event_cannot_be_halved() {
    let service = Service::start().await;
    service.on("InvokeEndpoint", [too_large()]);
    let error = invoke(&service.client(), &events(3), InvokeOptions::default())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::EventTooLarge { event: 1 }), "{error}");
}

#[tokio::test]
async fn another_number_of_predictions_is_an_error() {
    for received in [1, 3] {
        let service = Service::start().await;
        service.on(
            "InvokeEndpoint",
            [answer(ResponseFormat::JSON, &predictions(received))],
        );
        let error = invoke(&service.client(), &events(2), InvokeOptions::default())
            .await
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("endpoint `e` gave {received} predictions for 2 events")
        );
    }
}

#[tokio::test]
async fn the_models_refusal_has_its_own_words() {
    let service = Service::start().await;
    let members = json!({
        "Message": "Received client error (400) from primary with message \"bad row\".",
        "OriginalStatusCode": 400,
        "OriginalMessage": "bad row",
        "LogStreamArn": "arn:logs",
    });
    service.on("InvokeEndpoint", [refusal_with(424, "ModelError", members)]);
    let error = invoke(&service.client(), &events(1), InvokeOptions::default())
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "the model behind `e` answered 400: bad row");
    let Error::Model {
        log_stream_arn,
        request_id,
        ..
    } = error
    else {
        panic!("{error}")
    };
    assert_eq!(
        (log_stream_arn.as_deref(), request_id.as_deref()),
        (Some("arn:logs"), Some("request-2"))
    );
}

#[tokio::test]
async fn a_missing_endpoint_is_not_found() {
    let service = Service::start().await;
    service.on(
        "InvokeEndpoint",
        [refusal(
            400,
            "ValidationError",
            "Endpoint e of account 123456789012 not found.",
        )],
    );
    let error = invoke(&service.client(), &events(1), InvokeOptions::default())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::NotFound(_)), "{error}");
    expect!["not found: `InvokeEndpoint` answered ValidationError: Endpoint e of account 123456789012 not found. (request request-2)"].assert_eq(&error.to_string());
}

#[tokio::test]
async fn an_answer_that_cannot_be_read_names_the_record() {
    let service = Service::start().await;
    let body = r#"{"predictions":[{"dot_product":1.0},{"dot_product":"high"}]}"#;
    service.on(
        "InvokeEndpoint",
        [ResponseTemplate::new(200).set_body_raw(body, "application/json")],
    );
    let error = invoke(&service.client(), &events(2), InvokeOptions::default())
        .await
        .unwrap_err();
    assert!(
        matches!(error, Error::Codec(InferenceError::Record { record: 2, .. })),
        "{error}"
    );
}

#[tokio::test]
async fn an_event_without_an_entity_is_not_sent() {
    let service = Service::start().await;
    let error = invoke(
        &service.client(),
        &[AccessEvent::new("", 1.into())],
        InvokeOptions::default(),
    )
    .await
    .unwrap_err();
    assert!(
        matches!(error, Error::Codec(InferenceError::EmptyEntity { record: 1 })),
        "{error}"
    );
    assert!(service.calls().is_empty());
}

/// What the container answers, as the service passes it on.
fn from_model(status: u16) -> ResponseTemplate {
    refusal_with(
        424,
        "ModelError",
        json!({"Message": "m", "OriginalMessage": format!("answer {status}"), "OriginalStatusCode": status}),
    )
}

fn quickly(attempts: u32) -> InvokeOptions {
    InvokeOptions {
        retries: Retries {
            attempts: attempts.try_into().unwrap(),
            first: Duration::from_millis(2),
            longest: Duration::from_millis(4),
            seed: Some(1),
        },
        ..InvokeOptions::default()
    }
}

#[tokio::test]
async fn what_passes_is_asked_again_and_nothing_else() {
    let good = || answer(ResponseFormat::JSON, &predictions(1));
    // The SDK has tried each of the last two twice by then.
    for (answers, calls) in [
        (vec![from_model(503), from_model(500), good()], 3),
        (vec![from_model(429), good()], 2),
        (
            vec![
                refusal(503, "ServiceUnavailable", ""),
                refusal(503, "ServiceUnavailable", ""),
                good(),
            ],
            3,
        ),
        (
            vec![
                refusal(400, "ThrottlingException", "slow down"),
                refusal(400, "ThrottlingException", "slow down"),
                good(),
            ],
            3,
        ),
    ] {
        let service = Service::start().await;
        service.on("InvokeEndpoint", answers);
        let got = invoke(&service.client(), &events(1), quickly(3)).await;
        assert_eq!(got.unwrap().len(), 1);
        assert_eq!(service.calls().len(), calls);
    }
    for refused in [
        from_model(400),
        from_model(404),
        refusal(400, "ValidationError", "Endpoint e of account 1 not found."),
        refusal(403, "AccessDeniedException", ""),
    ] {
        let service = Service::start().await;
        service.on("InvokeEndpoint", [refused, good()]);
        invoke(&service.client(), &events(1), quickly(3))
            .await
            .unwrap_err();
        assert_eq!(service.calls().len(), 1);
    }
    // As often as it may, and the last error is the one.
    let service = Service::start().await;
    service.on(
        "InvokeEndpoint",
        [from_model(500), from_model(502), from_model(503)],
    );
    let error = invoke(&service.client(), &events(1), quickly(2))
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "the model behind `e` answered 502: answer 502");
    assert_eq!(service.calls().len(), 2);
}

#[tokio::test]
async fn an_answer_may_take_so_long_and_no_longer() {
    let service = Service::start().await;
    let late = answer(ResponseFormat::JSON, &predictions(1)).set_delay(Duration::from_secs(5));
    service.on("InvokeEndpoint", [late]);
    let options = InvokeOptions {
        timeout: Some(Duration::from_millis(20)),
        ..quickly(3)
    };
    let error = invoke(&service.client(), &events(1), options).await.unwrap_err();
    let text = error.to_string();
    assert!(
        matches!(&error, Error::Timeout { reason: None, .. })
            && text.starts_with("the answer of endpoint `e` was still due after "),
        "{text}"
    );

    // Why there is none yet is told with it.
    let service = Service::start().await;
    service.on("InvokeEndpoint", [from_model(503)]);
    let mut options = quickly(1000);
    options.retries.first = Duration::from_secs(3600);
    options.retries.longest = Duration::from_secs(3600);
    options.timeout = Some(Duration::from_secs(30));
    let error = invoke(&service.client(), &events(1), options).await.unwrap_err();
    let Error::Timeout { reason, .. } = error else {
        panic!("{error}");
    };
    assert_eq!(
        reason.as_deref(),
        Some("the model behind `e` answered 503: answer 503")
    );
}
