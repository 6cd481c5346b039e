//! Data capture: what an endpoint is asked and answers, kept in S3 as the service keeps it.
//!
//! Records are gathered for a moment and written together, one object for each variant, as lines of JSON. What was gathered
//! when the server is killed is lost, as it is on a machine of the service.

use std::{
    collections::BTreeMap,
    mem,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use super::SageMaker;
use crate::{
    api::{Check, Form, KMS_KEY, S3_URI, TEXT},
    s3::{self, StoreError},
    time::{Seconds, iso, now},
};

/// What of an endpoint's traffic is kept, and where.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct CaptureSettings {
    /// Of a hundred requests so many are kept.
    percent: u32,
    destination: String,
    #[serde(default)]
    key: Option<String>,
    input: bool,
    output: bool,
    csv: Vec<String>,
    json: Vec<String>,
}

/// A running capture.
pub(crate) struct Capture {
    settings: CaptureSettings,
    requests: AtomicU64,
    /// Lines that are not written yet, by variant.
    pending: Mutex<BTreeMap<String, String>>,
}

/// One request and its answer.
pub(crate) struct Exchange<'a> {
    pub(crate) variant: &'a str,
    pub(crate) content_type: &'a str,
    pub(crate) body: &'a [u8],
    pub(crate) answer_type: &'a str,
    pub(crate) answer: &'a [u8],
    pub(crate) inference_id: Option<&'a str>,
    pub(crate) custom_attributes: Option<&'a str>,
}

/// How long records are gathered.
const GATHER: Duration = Duration::from_millis(500);
/// How many bytes of them.
const MOST: usize = 4 << 20;
/// How many bytes may wait at the most, where they come faster than they are written.
const BOUND: usize = 16 * MOST;

impl CaptureSettings {
    /// Those of a configuration; none where nothing is to be captured.
    pub(super) fn of_request(check: &mut Check<'_>) -> Option<Self> {
        const AT: &str = "DataCaptureConfig";
        check.get(AT)?;
        let at = |member: &str| format!("{AT}.{member}");
        let enable_at = at("EnableCapture");
        let enabled = check.get(&enable_at).is_none() || check.flag(&enable_at);
        let percent = check.required_integer(&at("InitialSamplingPercentage"), 0, 100);
        let destination_at = at("DestinationS3Uri");
        let destination = check
            .required(&destination_at, Form { max: 512, ..S3_URI })
            .to_owned();
        // The pattern of the service's description takes https too, under which nothing is kept.
        if !destination.is_empty() && s3::parse_url(&destination).is_none() {
            let constraint = "Member must be an address in S3, s3://bucket/prefix";
            check.problem(Some(&destination), &destination_at, constraint);
        }
        let key = check.text(&at("KmsKeyId"), KMS_KEY).map(str::to_owned);
        let (mut input, mut output) = (false, false);
        for i in 0..check.list(&at("CaptureOptions"), 1, 32).len() {
            let mode = format!("{AT}.CaptureOptions.{i}.CaptureMode");
            match check.choice(&mode, &["Input", "Output", "InputAndOutput"]) {
                Some("Input") => input = true,
                Some("Output") => output = true,
                Some(_) => (input, output) = (true, true),
                None => {
                    check.required(&mode, TEXT);
                }
            }
        }
        let mut types = |kind: &str| {
            let list = check.list(&at(&format!("CaptureContentTypeHeader.{kind}")), 0, 10);
            list.iter()
                .filter_map(|t| t.as_str().map(str::to_ascii_lowercase))
                .collect()
        };
        let (csv, json) = (types("CsvContentTypes"), types("JsonContentTypes"));
        enabled.then(|| Self {
            percent: percent.unwrap_or_default() as u32,
            destination,
            key,
            input,
            output,
            csv,
            json,
        })
    }

    /// As endpoints are described.
    pub(super) fn describe(&self) -> Value {
        json!({
            "EnableCapture": true,
            "CaptureStatus": "Started",
            "CurrentSamplingPercentage": self.percent,
            "DestinationS3Uri": self.destination,
            "KmsKeyId": self.key.as_deref().unwrap_or_default(),
        })
    }

    /// What of it has no effect here.
    pub(super) fn without_effect(&self) -> Option<&'static str> {
        let key = self.key.as_deref().filter(|key| !key.is_empty());
        key.map(|_| "DataCaptureConfig.KmsKeyId has no effect: what is captured is not encrypted.")
    }

    /// A body as text, and the name of the form it has.
    fn encoded(&self, content_type: &str, body: &[u8]) -> (String, &'static str) {
        let media_type = content_type
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase();
        let form = match () {
            () if self.csv.contains(&media_type) => "CSV",
            () if self.json.contains(&media_type) => "JSON",
            () => "BASE64",
        };
        match (form, std::str::from_utf8(body)) {
            ("CSV" | "JSON", Ok(text)) => (text.to_owned(), form),
            _ => (BASE64_STANDARD.encode(body), "BASE64"),
        }
    }

    fn record(&self, exchange: &Exchange<'_>, id: Uuid, time: Seconds) -> Value {
        let mut data = json!({});
        let sides = [
            (
                "endpointInput",
                "INPUT",
                self.input,
                exchange.content_type,
                exchange.body,
            ),
            (
                "endpointOutput",
                "OUTPUT",
                self.output,
                exchange.answer_type,
                exchange.answer,
            ),
        ];
        for (member, mode, wanted, content_type, body) in sides {
            if wanted {
                let (text, encoding) = self.encoded(content_type, body);
                data[member] = json!({
                    "observedContentType": content_type, "mode": mode, "data": text, "encoding": encoding,
                });
            }
        }
        let mut metadata = json!({"eventId": id.to_string(), "inferenceTime": iso(time)});
        if let Some(id) = exchange.inference_id {
            metadata["inferenceId"] = id.into();
        }
        if let Some(attributes) = exchange.custom_attributes {
            metadata["customAttributes"] = json!([attributes]);
        }
        json!({"captureData": data, "eventMetadata": metadata, "eventVersion": "0"})
    }
}

impl Capture {
    pub(super) fn new(settings: CaptureSettings) -> Self {
        Self {
            settings,
            requests: AtomicU64::new(0),
            pending: Mutex::default(),
        }
    }

    /// Whether it is this request's turn.
    fn is_due(&self) -> bool {
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        super::endpoints::spread(number) * 100.0 < f64::from(self.settings.percent)
    }

    fn take(&self) -> BTreeMap<String, String> {
        mem::take(&mut *self.pending.lock().unwrap_or_else(|e| e.into_inner()))
    }
}

impl SageMaker {
    /// Keeps an exchange, if it is one that is to be kept.
    pub(crate) fn capture(self: &Arc<Self>, endpoint: &str, capture: &Arc<Capture>, exchange: &Exchange<'_>) {
        if !capture.is_due() {
            return;
        }
        let line = capture
            .settings
            .record(exchange, Uuid::new_v4(), now())
            .to_string();
        let mut pending = capture.pending.lock().unwrap_or_else(|e| e.into_inner());
        let first = pending.is_empty();
        let lines = pending.entry(exchange.variant.to_owned()).or_default();
        if lines.len() >= BOUND {
            drop(pending);
            let text = format!(
                "a record was not captured: {} cannot be written to as fast as the endpoint is asked",
                capture.settings.destination
            );
            self.log_of_endpoint(endpoint, exchange.variant, &text);
            return;
        }
        lines.push_str(&line);
        lines.push('\n');
        let full = lines.len() >= MOST;
        drop(pending);
        if !(first || full) {
            return;
        }
        let (this, capture, endpoint) = (self.clone(), capture.clone(), endpoint.to_owned());
        self.tasks.spawn(async move {
            if !full {
                tokio::select! {
                    () = this.stop.cancelled() => {}
                    () = tokio::time::sleep(GATHER) => {}
                }
            }
            let write = tokio::task::spawn_blocking(move || this.write_captured(&endpoint, &capture));
            let _ = write.await; // a panic, which the runtime has told of
        });
    }

    fn write_captured(&self, endpoint: &str, capture: &Capture) {
        let pending = capture.take();
        let Some((bucket, prefix)) = s3::parse_url(&capture.settings.destination) else {
            return;
        };
        for (variant, lines) in pending {
            let moment = Timestamp::now().strftime("%Y/%m/%d/%H/%M-%S-%3f").to_string();
            let name = format!("{endpoint}/{variant}/{moment}-{}.jsonl", Uuid::new_v4());
            let key = match prefix.trim_end_matches('/') {
                "" => name,
                prefix => format!("{prefix}/{name}"),
            };
            let put = self.s3.put_with(bucket, &key, "application/jsonlines", |to| {
                to.write_all(lines.as_bytes()).map_err(StoreError::Io)
            });
            if let Err(error) = put {
                let text = format!(
                    "data could not be captured to {}: {error:?}",
                    capture.settings.destination
                );
                self.log_of_endpoint(endpoint, &variant, &text);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_holds_what_is_to_be_kept() {
        let input = json!({"DataCaptureConfig": {
            "EnableCapture": true,
            "InitialSamplingPercentage": 100,
            "DestinationS3Uri": "s3://b/p",
            "CaptureOptions": [{"CaptureMode": "Input"}],
            "CaptureContentTypeHeader": {"CsvContentTypes": ["text/csv"]},
        }});
        let mut check = Check::new(&input);
        let settings = CaptureSettings::of_request(&mut check).unwrap();
        check.finish().unwrap();
        let mut exchange = Exchange {
            variant: "v",
            content_type: "text/csv; charset=utf-8",
            body: b"a,1.2.3.4",
            answer_type: "application/json",
            answer: b"{}",
            inference_id: Some("i"),
            custom_attributes: None,
        };
        let record = settings.record(&exchange, Uuid::nil(), 60.0);
        assert_eq!(
            record,
            json!({
                "captureData": {"endpointInput": {
                    "observedContentType": "text/csv; charset=utf-8", "mode": "INPUT", "data": "a,1.2.3.4", "encoding": "CSV",
                }},
                "eventMetadata": {
                    "eventId": "00000000-0000-0000-0000-000000000000",
                    "inferenceTime": "1970-01-01T00:01:00.000Z",
                    "inferenceId": "i",
                },
                "eventVersion": "0",
            })
        );
        exchange.content_type = "application/json";
        let record = settings.record(&exchange, Uuid::nil(), 60.0);
        assert_eq!(record["captureData"]["endpointInput"]["encoding"], "BASE64");
    }
}
