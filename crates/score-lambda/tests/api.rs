//! The API as its callers see it.
#![expect(clippy::unwrap_used, reason = "a helper of tests fails loudly")]

use std::sync::Arc;

use access_events::AccessEvent;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::Request;
use expect_test::{Expect, expect};
use ipinsights::Score;
use lambda_http::tower::ServiceExt;
use score_lambda::{Cutoff, MAX_BODY_BYTES, MAX_ROWS, ScoreFailure, ScoreFuture, Scorer, router};

/// Scores an address by its last octet, minus one hundred. Some entities make it misbehave.
struct ByLastOctet;

impl Scorer for ByLastOctet {
    fn score<'a>(&'a self, events: &'a [AccessEvent]) -> ScoreFuture<'a> {
        Box::pin(async move {
            let mut scores = Vec::new();
            for event in events {
                let source = "arn:aws:sagemaker:eu-west-1:111122223333:endpoint/e".into();
                match event.entity.as_str() {
                    "busy" => return Err(ScoreFailure::Unavailable { source }),
                    "broken" => return Err(ScoreFailure::Failed { source }),
                    "mute" => {}
                    "nan" => scores.push(Score::new(f32::NAN)),
                    _ => scores.push(Score::new(f32::from(event.ip.octets()[3]) - 100.0)),
                }
            }
            Ok(scores)
        })
    }
}

fn app() -> Router {
    router(Arc::new(ByLastOctet), Cutoff::at(-0.5).unwrap())
}

async fn answer(request: Request<Body>) -> (u16, String) {
    let response = app().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    assert_eq!(response.headers()["content-type"], "application/json");
    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

fn post(body: impl Into<Body>) -> Request<Body> {
    Request::post("/score")
        .header("content-type", "application/json; charset=utf-8")
        .body(body.into())
        .unwrap()
}

async fn check(body: &str, want: &Expect) {
    let (status, text) = answer(post(body.to_owned())).await;
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    want.assert_eq(&format!("{status} {value:#}"));
}

#[tokio::test]
async fn rows_get_verdicts_in_their_order() {
    check(
        r#"{"rows": [{"entity": "b", "ip": "192.0.2.100"}, {"entity": "a", "ip": "192.0.2.99"}, {"entity": "nan", "ip": "192.0.2.1"}]}"#,
        &expect![[r#"
            200 {
              "version": 1,
              "threshold": {
                "value": -0.5
              },
              "verdicts": [
                {
                  "entity": "b",
                  "ip": "192.0.2.100",
                  "score": 0.0,
                  "anomalous": false
                },
                {
                  "entity": "a",
                  "ip": "192.0.2.99",
                  "score": -1.0,
                  "anomalous": true
                },
                {
                  "entity": "nan",
                  "ip": "192.0.2.1",
                  "score": null,
                  "anomalous": true
                }
              ]
            }"#]],
    )
    .await;
    check(
        r#"{"rows": []}"#,
        &expect![[r#"
        200 {
          "version": 1,
          "threshold": {
            "value": -0.5
          },
          "verdicts": []
        }"#]],
    )
    .await;
}

#[tokio::test]
async fn rows_that_cannot_be_scored_are_all_named() {
    check(
        r#"{"rows": [{"entity": "a", "ip": "192.0.2.1"}, {"entity": "a", "ip": "::1"}, {"entity": "", "ip": "192.0.2.1"}, {"entity": "a", "ip": "192.0.2.256"}]}"#,
        &expect![[r#"
            422 {
              "error": {
                "status": 422,
                "code": "invalid_rows",
                "message": "3 of 4 rows cannot be scored",
                "rows": [
                  {
                    "row": 1,
                    "message": "`ip` must be an IPv4 address in dotted form, got `::1`"
                  },
                  {
                    "row": 2,
                    "message": "`entity` is empty"
                  },
                  {
                    "row": 3,
                    "message": "`ip` must be an IPv4 address in dotted form, got `192.0.2.256`"
                  }
                ]
              }
            }"#]],
    )
    .await;
}

#[tokio::test]
async fn what_is_not_the_documented_json_is_refused() {
    check(
        "rows",
        &expect![[r#"
        400 {
          "error": {
            "status": 400,
            "code": "invalid_json",
            "message": "expected value at line 1 column 1"
          }
        }"#]],
    )
    .await;
    check(
        r#"{"rows": [{"entity": "a"}]}"#,
        &expect![[r#"
        400 {
          "error": {
            "status": 400,
            "code": "invalid_json",
            "message": "missing field `ip` at line 1 column 25"
          }
        }"#]],
    )
    .await;
    check(
        r#"{"rows": [], "threshold": 3}"#,
        &expect![[r#"
        400 {
          "error": {
            "status": 400,
            "code": "invalid_json",
            "message": "unknown field `threshold`, expected `rows` at line 1 column 24"
          }
        }"#]],
    )
    .await;
}

#[tokio::test]
async fn a_failing_endpoint_is_told_without_its_details() {
    for (entity, want) in [("busy", 503), ("broken", 502), ("mute", 502)] {
        let (status, text) = answer(post(format!(
            r#"{{"rows": [{{"entity": "{entity}", "ip": "192.0.2.1"}}]}}"#
        )))
        .await;
        assert_eq!(status, want, "{text}");
        assert!(!text.contains("111122223333"), "{text}");
    }
}

#[tokio::test]
async fn limits_hold() {
    let row = r#"{"entity":"a","ip":"192.0.2.1"}"#;
    let rows = |count: usize| format!(r#"{{"rows":[{}]}}"#, vec![row; count].join(","));
    let (status, _) = answer(post(rows(MAX_ROWS))).await;
    assert_eq!(status, 200);
    let (status, text) = answer(post(rows(MAX_ROWS + 1))).await;
    assert_eq!(
        (status, text.contains("\"too_many_rows\"")),
        (413, true),
        "{text}"
    );
    let (status, text) = answer(post(vec![b' '; MAX_BODY_BYTES + 1])).await;
    assert_eq!(
        (status, text.contains("\"body_too_large\"")),
        (413, true),
        "{text}"
    );
}

#[tokio::test]
async fn other_requests_are_refused_in_json_too() {
    let request = |method: &str, path: &str| {
        Request::builder()
            .method(method)
            .uri(path)
            .body(Body::empty())
            .unwrap()
    };
    for (method, path, want) in [
        ("GET", "/healthz", 200),
        ("GET", "/score", 405),
        ("POST", "/healthz", 405),
        ("GET", "/", 404),
        ("POST", "/score", 415),
        ("POST", "/score/", 404),
    ] {
        let (status, text) = answer(request(method, path)).await;
        assert_eq!(status, want, "{method} {path}: {text}");
    }
}

#[tokio::test]
async fn events_of_both_kinds_of_api_reach_the_router() {
    let body = r#"{\"rows\":[{\"entity\":\"a\",\"ip\":\"192.0.2.1\"}]}"#;
    let http_api = format!(
        r#"{{"version":"2.0","routeKey":"$default","rawPath":"/score","rawQueryString":"",
            "headers":{{"content-type":"application/json"}},"requestContext":{{"accountId":"1","apiId":"a","domainName":"d",
            "domainPrefix":"d","http":{{"method":"POST","path":"/score","protocol":"HTTP/1.1","sourceIp":"192.0.2.7","userAgent":"t"}},
            "requestId":"r","routeKey":"$default","stage":"$default","time":"t","timeEpoch":1}},"body":"{body}","isBase64Encoded":false}}"#
    );
    let rest_api = format!(
        r#"{{"resource":"/{{proxy+}}","path":"/score","httpMethod":"POST","headers":{{"Content-Type":"application/json","Host":"h"}},
            "multiValueHeaders":{{"Content-Type":["application/json"],"Host":["h"]}},"queryStringParameters":null,
            "multiValueQueryStringParameters":null,"pathParameters":null,"stageVariables":null,
            "requestContext":{{"resourcePath":"/{{proxy+}}","httpMethod":"POST","path":"/score","accountId":"1","protocol":"HTTP/1.1",
            "stage":"$default","requestId":"r","identity":{{"sourceIp":"192.0.2.7"}},"resourceId":"x","apiId":"a"}},
            "body":"{body}","isBase64Encoded":false}}"#
    );
    for event in [http_api, rest_api] {
        let request = lambda_http::request::from_str(&event).unwrap();
        let response = app()
            .oneshot(request.map(|body| Body::from(body.to_vec())))
            .await
            .unwrap();
        assert_eq!(response.status(), 200);
        let bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        assert!(String::from_utf8_lossy(&bytes).contains(r#""score":-99.0,"anomalous":true"#));
    }
}
