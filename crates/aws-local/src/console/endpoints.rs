//! Endpoints, and pairs scored by them.

use std::net::Ipv4Addr;

use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body_util::BodyExt;
use ipinsights::{ReasonOptions, inference};
use maud::{Markup, html};
use serde_json::{Value, json};

use super::{
    Desk, Outcome, aside, href, jobs,
    page::{
        self, Problem, STATUS, Section, View, alert, badge, code, facts, list as items, moment, nothing,
        refusal, table, text,
    },
    picture, value,
};
use crate::{logs::endpoint_group, runtime};

/// How many endpoints a page lists.
const ENDPOINTS: usize = 100;
/// How many scored pairs a page shows, with their reasons.
const SHOWN: usize = 200;

pub(super) async fn list(desk: &Desk) -> Result<View, Problem> {
    let input = json!({"MaxResults": ENDPOINTS, "NextToken": desk.get("after")});
    let answer = desk.call("SageMaker.ListEndpoints", input).await?;
    let rows: Vec<_> = items(&answer, "Endpoints")
        .iter()
        .map(|endpoint| {
            let name = text(endpoint, "EndpointName");
            html! {
                tr {
                    th scope="row" { a href=(href("endpoint", &[("name", name)])) { (name) } }
                    td { (badge(text(endpoint, "EndpointStatus"))) }
                    td { (moment(&endpoint["CreationTime"])) }
                    td { (moment(&endpoint["LastModifiedTime"])) }
                }
            }
        })
        .collect();
    let listed = match rows.is_empty() {
        true => nothing("There is no endpoint yet."),
        false => table("Endpoints", &["Name", "Status", "Created", "Changed"], &rows),
    };
    Ok(View::new(Section::Endpoints, "Endpoints")
        .part(
            "endpoints",
            html! {
                (listed)
                @if let Some(next) = answer["NextToken"].as_str() {
                    p { a href=(href("endpoints", &[("after", next)])) { "Further endpoints" } }
                }
            },
        )
        .live(desk.get("after").is_none()))
}

/// What was scored, and what came of it.
pub(super) struct Scored {
    pairs: String,
    came: Result<Markup, String>,
}

/// An endpoint: what serves, and a form that scores pairs.
pub(super) async fn endpoint(desk: &Desk, scored: Option<Scored>) -> Result<View, Problem> {
    let name = desk.need("name")?;
    let endpoint = desk
        .call("SageMaker.DescribeEndpoint", json!({"EndpointName": name}))
        .await?;
    let status = text(&endpoint, "EndpointStatus");
    let variants = items(&endpoint, "ProductionVariants");
    let rows: Vec<_> = variants
        .iter()
        .map(|variant| {
            html! {
                tr {
                    th scope="row" { (text(variant, "VariantName")) }
                    td.number { (variant["CurrentWeight"]) }
                    td.number { (variant["CurrentInstanceCount"]) }
                }
            }
        })
        .collect();
    let group = endpoint_group(name);
    let streams = desk.app.logs.streams(&group, "");
    let deployment = desk.app.sagemaker.deployment(name);
    let asynchronous = deployment
        .as_ref()
        .is_some_and(|deployment| deployment.is_asynchronous());
    let (pairs, came) = match scored {
        Some(scored) => (scored.pairs, Some(scored.came)),
        None => (String::new(), None),
    };
    let failed = matches!(came, Some(Err(_)));
    let view = View::new(Section::Endpoints, name)
        .under("Endpoints", href("endpoints", &[]))
        .part(STATUS, html! { p.lead { (badge(status)) } })
        .part("summary", html! {
            (facts(&[
                ("Configuration", html! { (text(&endpoint, "EndpointConfigName")) }),
                ("Created", moment(&endpoint["CreationTime"])),
                ("Changed", moment(&endpoint["LastModifiedTime"])),
                ("Captures", html! { (if endpoint["DataCaptureConfig"]["EnableCapture"] == true { "what is asked" } else { "nothing" }) }),
                ("ARN", code(text(&endpoint, "EndpointArn"))),
            ]))
            @if let Some(reason) = endpoint["FailureReason"].as_str() { (alert("The last change failed", reason)) }
        })
        .fixed(html! {
            section aria-labelledby="score" {
                h2 #score { "Score pairs" }
                @if let Some(Err(error)) = &came { (refusal("The pairs were not scored", error)) }
                @if asynchronous {
                    (nothing("It is asynchronous: a client asks it with InvokeEndpointAsync, and the answer comes into a bucket."))
                } @else if deployment.is_some() {
                    form method="post" action=(format!("{}#score", href("endpoint", &[("name", name)]))) {
                        (page::token(&desk.token))
                        p {
                            label for="pairs" { "Pairs, one a line: " span.code { "entity,address" } }
                            textarea #pairs name="pairs" rows="6" spellcheck="false" required
                                placeholder="Canada,206.190.159.0" { (pairs) }
                        }
                        p { button type="submit" { "Score" } }
                    }
                } @else { (nothing("It does not answer yet.")) }
                div #scores { @if let Some(Ok(scores)) = &came { (scores) } }
            }
        })
        .part("variants", html! {
            section aria-labelledby="variants" {
                h2 #variants { "Variants" }
                @if rows.is_empty() { (nothing("There are none yet.")) } @else {
                    (table("Variants", &["Name", "#Weight", "#Machines"], &rows))
                }
            }
        })
        .part("log", jobs::log_section(desk, &group, &streams));
    Ok(view.status(if failed {
        StatusCode::BAD_REQUEST
    } else {
        StatusCode::OK
    }))
}

/// Scores the pairs of a form, as a client's request is scored.
pub(super) async fn invoke(desk: &Desk, form: &[(String, String)]) -> Result<Outcome, Problem> {
    let name = desk.need("name")?;
    let pairs = value(form, "pairs").unwrap_or_default().replace("\r\n", "\n");
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/csv"));
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    let response = runtime::invoke(&desk.app.sagemaker, name, &headers, pairs.as_bytes()).await;
    let good = response.status().is_success();
    let variant = response.headers().get("x-amzn-invoked-production-variant");
    let variant = variant.and_then(|v| v.to_str().ok()).map(str::to_owned);
    let body = response.into_body().collect().await;
    let body = body.map(|body| body.to_bytes()).unwrap_or_default();
    let shown = aside(desk, async move |desk| {
        let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
        let came = if good {
            Ok(scores(
                &desk,
                desk.need("name")?,
                variant.as_deref(),
                &pairs,
                &answer,
            ))
        } else {
            let said = answer["OriginalMessage"].as_str().or(answer["Message"].as_str());
            Err(said.unwrap_or("The endpoint did not answer.").to_owned())
        };
        endpoint(&desk, Some(Scored { pairs, came })).await
    });
    Ok(Outcome::Show(shown.await?))
}

/// A scored pair with what the model has to say of it.
struct Row {
    entity: String,
    ip: Ipv4Addr,
    score: f64,
    known: bool,
    /// Whether it is anomalous, where the model is calibrated.
    anomalous: Option<bool>,
    sentence: String,
}

fn scores(desk: &Desk, name: &str, variant: Option<&str>, pairs: &str, answer: &Value) -> Markup {
    let events =
        inference::decode_request(inference::RequestFormat::Csv, pairs.as_bytes()).unwrap_or_default();
    let predictions = items(answer, "predictions");
    // It may have been replaced since.
    let deployment = desk.app.sagemaker.deployment(name);
    let model = deployment
        .as_ref()
        .and_then(|deployment| deployment.variant(variant));
    let rows: Vec<Row> = events
        .iter()
        .zip(predictions)
        .take(SHOWN)
        .map(|(event, prediction)| {
            let options = ReasonOptions::default();
            let reasons = model.map(|loaded| loaded.model.explain(&event.entity, event.ip, &options));
            Row {
                entity: event.entity.clone(),
                ip: event.ip,
                score: prediction["dot_product"].as_f64().unwrap_or(f64::NAN),
                known: model.is_none_or(|loaded| loaded.model.knows_entity(&event.entity)),
                anomalous: reasons
                    .as_ref()
                    .and_then(|r| r.verdict)
                    .map(|verdict| verdict.anomalous),
                sentence: reasons.map(|reasons| reasons.sentence).unwrap_or_default(),
            }
        })
        .collect();
    let calibrated = rows.iter().any(|row| row.anomalous.is_some());
    let mut columns = vec!["Entity", "Address", "#Score"];
    if calibrated {
        columns.push("Verdict");
    }
    columns.push("Why");
    let shown: Vec<_> = rows
        .iter()
        .map(|row| {
            html! {
                tr {
                    th scope="row" { bdi { (row.entity) } @if !row.known { " " span.badge.warn { span.sign aria-hidden="true" { "?" } "Unknown" } } }
                    td.address { (code(&row.ip.to_string())) }
                    td.number { (picture::number(row.score)) }
                    @if calibrated {
                        td { @match row.anomalous {
                            Some(true) if row.known => span.badge.bad { span.sign aria-hidden="true" { "!" } "Anomalous" },
                            Some(false) if row.known => span.badge.good { span.sign aria-hidden="true" { "✓" } "Fits" },
                            _ => span.quiet { "–" },
                        } }
                    }
                    td.why { (row.sentence) }
                }
            }
        })
        .collect();
    html! {
        div role="status" tabindex="-1" autofocus {
            p {
                (predictions.len()) @if predictions.len() == 1 { " pair" } @else { " pairs" } " scored"
                @if let Some(variant) = variant { " by the variant " (code(variant)) }
                ". A larger score is more normal."
            }
        }
        (table("Scores", &columns, &shown))
        @if predictions.len() > rows.len() { p.quiet { "The first " (rows.len()) " of " (predictions.len()) "." } }
        @if !calibrated {
            p.quiet {
                "The model is not calibrated, so there is no verdict: " span.code { "ipinsights calibrate" }
                " gives it a threshold, and with " span.code { "--history" } " what it takes to explain scores."
            }
        }
    }
}
