//! The API as its callers see it.
#![expect(clippy::unwrap_used, reason = "a helper of tests fails loudly")]

use std::sync::{Arc, Mutex};

use access_events::AccessEvent;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::Request;
use expect_test::{Expect, expect, expect_file};
use ipinsights::Score;
use lambda_http::tower::ServiceExt;
use score_lambda::{
    Cutoff, LogEntry, Logging, MAX_BODY_BYTES, MAX_ROWS, ScoreFailure, ScoreFuture, Scorer, router,
};
use serde_json::Value;

/// Scores an address by its last octet, minus one hundred. Some entities make it misbehave.
struct ByLastOctet;

impl Scorer for ByLastOctet {
    fn score<'a>(&'a self, events: &'a [AccessEvent]) -> ScoreFuture<'a> {
        Box::pin(async move {
            let mut scores = Vec::new();
            for event in events {
                let endpoint = "arn:aws:sagemaker:eu-west-1:111122223333:endpoint/e";
                let source = format!("{endpoint}: `{}` from {}", event.entity, event.ip).into();
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
    router(
        Arc::new(ByLastOctet),
        Cutoff::at(-0.5).unwrap(),
        Logging::default(),
    )
}

async fn answer(request: Request<Body>) -> (u16, String) {
    let response = app().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let kind = if status < 400 {
        "application/json"
    } else {
        "application/problem+json"
    };
    assert_eq!(response.headers()["content-type"], kind);
    assert_eq!(response.headers().contains_key("retry-after"), status == 503);
    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

fn post_as(content_type: &str, body: impl Into<Body>) -> Request<Body> {
    Request::post("/score")
        .header("content-type", content_type)
        .body(body.into())
        .unwrap()
}

fn post(body: impl Into<Body>) -> Request<Body> {
    post_as("application/json; charset=utf-8", body)
}

async fn check_as(content_type: &str, body: &str, want: &Expect) {
    let (status, text) = answer(post_as(content_type, body.to_owned())).await;
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    want.assert_eq(&format!("{status} {value:#}"));
}

async fn check(body: &str, want: &Expect) {
    check_as("application/json; charset=utf-8", body, want).await;
}

#[tokio::test]
async fn rows_get_verdicts_in_their_order() {
    check(
        r#"{"rows": [{"entity": "b", "ip": "192.0.2.100"}, {"entity": "a", "ip": "192.0.2.99"}, {"entity": "nan", "ip": "192.0.2.1"}]}"#,
        &expect![[r#"
            200 {
              "version": 2,
              "threshold": {
                "value": -0.5
              },
              "score_direction": "larger_is_more_normal",
              "anomalous_when": "score < threshold.value",
              "counts": {
                "rows": 3,
                "scored": 3,
                "anomalous": 2,
                "failed": 0
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
          "version": 2,
          "threshold": {
            "value": -0.5
          },
          "score_direction": "larger_is_more_normal",
          "anomalous_when": "score < threshold.value",
          "counts": {
            "rows": 0,
            "scored": 0,
            "anomalous": 0,
            "failed": 0
          },
          "verdicts": []
        }"#]],
    )
    .await;
}

#[tokio::test]
async fn a_row_that_cannot_be_scored_has_an_error_and_the_others_are_scored() {
    check(
        r#"{"rows": [{"entity": "a", "ip": "192.0.2.1"}, {"entity": "a", "ip": "::1"}, {"entity": "", "ip": "192.0.2.1"}, {"entity": "a", "ip": "192.0.2.200", "at": 1}, {"entity": "a", "ip": "192.0.2.200"}]}"#,
        &expect![[r#"
            200 {
              "version": 2,
              "threshold": {
                "value": -0.5
              },
              "score_direction": "larger_is_more_normal",
              "anomalous_when": "score < threshold.value",
              "counts": {
                "rows": 5,
                "scored": 2,
                "anomalous": 1,
                "failed": 3
              },
              "verdicts": [
                {
                  "entity": "a",
                  "ip": "192.0.2.1",
                  "score": -99.0,
                  "anomalous": true
                },
                {
                  "error": {
                    "code": "invalid_address",
                    "message": "`ip` must be an IPv4 address in dotted form, got `::1`"
                  }
                },
                {
                  "error": {
                    "code": "empty_entity",
                    "message": "`entity` is empty"
                  }
                },
                {
                  "error": {
                    "code": "invalid_row",
                    "message": "a row is an object with the texts `entity` and `ip`: unknown field `at`, expected `entity` or `ip`"
                  }
                },
                {
                  "entity": "a",
                  "ip": "192.0.2.200",
                  "score": 100.0,
                  "anomalous": false
                }
              ]
            }"#]],
    )
    .await;
}

#[tokio::test]
async fn json_lines_and_csv_are_read_too() {
    let want = expect![[r#"
        200 {
          "version": 2,
          "threshold": {
            "value": -0.5
          },
          "score_direction": "larger_is_more_normal",
          "anomalous_when": "score < threshold.value",
          "counts": {
            "rows": 2,
            "scored": 1,
            "anomalous": 0,
            "failed": 1
          },
          "verdicts": [
            {
              "entity": "a",
              "ip": "192.0.2.101",
              "score": 1.0,
              "anomalous": false
            },
            {
              "error": {
                "code": "invalid_row",
                "message": "a row is an object with the texts `entity` and `ip`: EOF while parsing an object at line 1 column 14"
              }
            }
          ]
        }"#]];
    let lines = "{\"entity\": \"a\", \"ip\": \"192.0.2.101\"}\n{\"entity\": \"b\"\n";
    check_as("application/jsonlines", lines, &want).await;
    check_as(
        "text/csv",
        "entity,ip\na,192.0.2.101\nb\n",
        &expect![[r#"
        200 {
          "version": 2,
          "threshold": {
            "value": -0.5
          },
          "score_direction": "larger_is_more_normal",
          "anomalous_when": "score < threshold.value",
          "counts": {
            "rows": 2,
            "scored": 1,
            "anomalous": 0,
            "failed": 1
          },
          "verdicts": [
            {
              "entity": "a",
              "ip": "192.0.2.101",
              "score": 1.0,
              "anomalous": false
            },
            {
              "error": {
                "code": "invalid_row",
                "message": "a line has two fields, `entity,ip`, and this one has 1"
              }
            }
          ]
        }"#]],
    )
    .await;
}

#[tokio::test]
async fn where_no_row_can_be_scored_the_request_is_refused() {
    check_as(
        "text/csv",
        "a;192.0.2.1\nb;192.0.2.2\n",
        &expect![[r#"
        422 {
          "type": "urn:ipinsights:scorer:invalid_rows",
          "title": "None of the rows can be scored",
          "status": 422,
          "detail": "none of the 2 rows can be scored",
          "rows": [
            {
              "row": 0,
              "code": "invalid_row",
              "message": "a line has two fields, `entity,ip`, and this one has 1"
            },
            {
              "row": 1,
              "code": "invalid_row",
              "message": "a line has two fields, `entity,ip`, and this one has 1"
            }
          ]
        }"#]],
    )
    .await;
    let many = "b\n".repeat(1000);
    let (status, text) = answer(post_as("text/csv", many)).await;
    assert_eq!((status, text.matches("\"row\":").count()), (422, 100));
}

#[tokio::test]
async fn what_is_not_the_documented_json_is_refused() {
    check(
        "rows",
        &expect![[r#"
        400 {
          "type": "urn:ipinsights:scorer:invalid_json",
          "title": "The body is not the documented JSON",
          "status": 400,
          "detail": "expected value at line 1 column 1"
        }"#]],
    )
    .await;
    check(
        r#"{"rows": [], "threshold": 3}"#,
        &expect![[r#"
        400 {
          "type": "urn:ipinsights:scorer:invalid_json",
          "title": "The body is not the documented JSON",
          "status": 400,
          "detail": "unknown field `threshold`, expected `rows` at line 1 column 24"
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
    assert_eq!((status, text.contains(":too_many_rows\"")), (413, true), "{text}");
    let (status, text) = answer(post(vec![b' '; MAX_BODY_BYTES + 1])).await;
    assert_eq!(
        (status, text.contains(":body_too_large\"")),
        (413, true),
        "{text}"
    );
}

#[tokio::test]
async fn other_requests_are_refused_in_the_same_form() {
    let request = |method: &str, path: &str| {
        Request::builder()
            .method(method)
            .uri(path)
            .body(Body::empty())
            .unwrap()
    };
    for (method, path, want) in [
        ("GET", "/healthz", 200),
        ("GET", "/openapi.json", 200),
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

/// The log of these requests, without what differs from time to time.
async fn log_of(identifiers: bool, requests: Vec<Request<Body>>) -> String {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&lines);
    let log = move |entry: &LogEntry| {
        let mut entry = serde_json::to_value(entry).unwrap();
        assert!(entry["timestamp"].take().is_string() && entry["milliseconds"].take().is_u64());
        told.lock().unwrap().push(entry.to_string());
    };
    let logging = Logging {
        log: Some(Arc::new(log)),
        identifiers,
    };
    let app = router(Arc::new(ByLastOctet), Cutoff::at(-0.5).unwrap(), logging);
    for request in requests {
        app.clone().oneshot(request).await.unwrap();
    }
    let lines = lines.lock().unwrap().join("\n");
    lines
        .replace("\"timestamp\":null,", "")
        .replace("\"milliseconds\":null,", "")
}

#[tokio::test]
async fn the_log_names_nobody_unless_asked() {
    let requests = || {
        vec![
            post_as("text/csv", "ana,192.0.2.1\nben,192.0.2.150\nx\n"),
            post_as("text/csv", "ana\n"),
            post_as("text/csv", "broken,192.0.2.7\n"),
            Request::get("/ana/192.0.2.1").body(Body::empty()).unwrap(),
        ]
    };
    let quiet = log_of(false, requests()).await;
    expect![[r#"
        {"level":"INFO","message":"answered","method":"POST","path":"/score","status":200,"counts":{"rows":3,"scored":2,"anomalous":1,"failed":1}}
        {"level":"WARN","message":"refused","method":"POST","path":"/score","status":422,"problem":"invalid_rows"}
        {"level":"ERROR","message":"refused","method":"POST","path":"/score","status":502,"problem":"endpoint_failed","cause":"the endpoint failed: arn:aws:sagemaker:eu-west-1:111122223333:endpoint/e: `…` from …"}
        {"level":"WARN","message":"refused","method":"GET","status":404,"problem":"not_found"}"#]].assert_eq(&quiet);
    for word in ["ana", "ben", "192.0.2"] {
        assert!(!quiet.contains(word), "{word}: {quiet}");
    }
    let asked = log_of(true, requests()).await;
    expect![[r#"
        {"level":"INFO","message":"answered","method":"POST","path":"/score","status":200,"counts":{"rows":3,"scored":2,"anomalous":1,"failed":1},"flagged":[{"entity":"ana","ip":"192.0.2.1","score":-99.0}]}
        {"level":"WARN","message":"refused","method":"POST","path":"/score","status":422,"problem":"invalid_rows"}
        {"level":"ERROR","message":"refused","method":"POST","path":"/score","status":502,"problem":"endpoint_failed","cause":"the endpoint failed: arn:aws:sagemaker:eu-west-1:111122223333:endpoint/e: `broken` from 192.0.2.7"}
        {"level":"WARN","message":"refused","method":"GET","status":404,"problem":"not_found"}"#]].assert_eq(&asked);
}

#[test]
fn the_description_of_the_api_is_the_stored_one() {
    let document = format!("{:#}\n", score_lambda::document());
    expect_file!["openapi.json"].assert_eq(&document);
}

/// All objects with a reference lead to a schema that is there.
#[test]
fn the_description_refers_to_what_it_has() {
    fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Object(members) => {
                found.extend(members.get("$ref").and_then(Value::as_str));
                members.values().for_each(|value| references(value, found));
            }
            Value::Array(items) => items.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }
    let document = score_lambda::document();
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(found.len() > 10, "{found:?}");
    for reference in found {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
}
