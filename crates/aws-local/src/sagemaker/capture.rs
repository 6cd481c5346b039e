//! Data capture: what an endpoint is asked and answers, kept in S3 as the service keeps it.
//!
//! Records are gathered for a moment and written together, one object for each variant, as lines of JSON, in the order of their
//! times, which is also that of the objects' names. Where there is no room for them they wait. What was gathered when the server is
//! killed is lost, as it is on a machine of the service, and so is what comes while too much of it waits to be written; the endpoint's
//! log tells of that.

use std::{
    collections::BTreeMap,
    mem,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{SageMaker, endpoint_stream};
use crate::{
    api::{Check, Form, KMS_KEY, S3_URI, TEXT},
    logs::endpoint_group,
    s3::{self, StoreError},
    time::{Seconds, iso, millis, now},
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
    pending: Mutex<Pending>,
    /// Held while objects are written: one after the other, however fast records come.
    writing: tokio::sync::Mutex<()>,
}

/// All of a record but its time: the large part is written out before it waits for its turn.
struct Record {
    /// JSON.
    data: String,
    metadata: Value,
}

/// Records that are not written yet.
#[derive(Default)]
struct Pending {
    /// By variant.
    lines: BTreeMap<String, String>,
    /// Of all of them.
    bytes: usize,
    /// The time of the last one, in milliseconds: no later one has an earlier time, nor has an object's name.
    last: u64,
}

/// What becomes of a record.
#[derive(Debug, PartialEq)]
enum Kept {
    /// It is the first that waits: they have to be written in a moment.
    First,
    /// There are enough for an object: they have to be written at once.
    Enough,
    /// It waits with others.
    More,
    /// There is no room for it.
    Not,
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
/// How many bytes may wait at the most, where they come faster than they are written. Any one record is shorter.
const BOUND: usize = 32 * MOST;

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

    fn record(&self, exchange: &Exchange<'_>, id: Uuid) -> Record {
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
        let mut metadata = json!({"eventId": id.to_string()});
        if let Some(id) = exchange.inference_id {
            metadata["inferenceId"] = id.into();
        }
        if let Some(attributes) = exchange.custom_attributes {
            metadata["customAttributes"] = json!([attributes]);
        }
        Record::new(&data, metadata)
    }
}

impl Record {
    fn new(data: &Value, metadata: Value) -> Self {
        Self {
            data: data.to_string(),
            metadata,
        }
    }

    /// The line of this moment.
    fn line(mut self, time: u64) -> String {
        self.metadata["inferenceTime"] = iso(time as f64 / 1000.0).into();
        let Self { data, metadata } = self;
        format!("{{\"captureData\":{data},\"eventMetadata\":{metadata},\"eventVersion\":\"0\"}}\n")
    }
}

impl Capture {
    pub(super) fn new(settings: CaptureSettings) -> Self {
        Self {
            settings,
            requests: AtomicU64::new(0),
            pending: Mutex::default(),
            writing: tokio::sync::Mutex::default(),
        }
    }

    /// Whether it is this request's turn.
    fn is_due(&self) -> bool {
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        super::endpoints::spread(number) * 100.0 < f64::from(self.settings.percent)
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl Pending {
    /// The time now, or that of the last record if the clock was set back.
    fn time(&mut self, now: Seconds) -> u64 {
        self.last = self.last.max(millis(now));
        self.last
    }

    /// Adds a record of this moment.
    fn add(&mut self, variant: &str, record: Record, now: Seconds) -> Kept {
        let line = record.line(self.time(now));
        if self.bytes + line.len() > BOUND {
            return Kept::Not;
        }
        let before = self.bytes;
        self.bytes += line.len();
        match self.lines.get_mut(variant) {
            Some(lines) => lines.push_str(&line),
            None => drop(self.lines.insert(variant.to_owned(), line)),
        }
        match () {
            () if before < MOST && self.bytes >= MOST => Kept::Enough,
            () if before == 0 => Kept::First,
            () => Kept::More,
        }
    }

    /// Everything that waits, by variant, and the moment after which its objects are called: later than that of any before.
    fn take(&mut self, now: Seconds) -> (BTreeMap<String, String>, u64) {
        self.last = millis(now).max(self.last + 1);
        self.bytes = 0;
        (mem::take(&mut self.lines), self.last)
    }
}

impl SageMaker {
    /// Keeps an exchange, if it is one that is to be kept.
    pub(crate) fn capture(self: &Arc<Self>, endpoint: &str, capture: &Arc<Capture>, exchange: &Exchange<'_>) {
        if !capture.is_due() {
            return;
        }
        let record = capture.settings.record(exchange, Uuid::new_v4());
        let kept = capture.pending().add(exchange.variant, record, now());
        let full = match kept {
            Kept::First => false,
            Kept::Enough => true,
            Kept::More => return,
            Kept::Not => {
                let text = format!(
                    "a record was not captured: {} cannot be written to as fast as the endpoint is asked",
                    capture.settings.destination
                );
                self.log_of_endpoint(endpoint, exchange.variant, &text);
                return;
            }
        };
        let (this, capture, endpoint) = (self.clone(), capture.clone(), endpoint.to_owned());
        self.tasks.spawn(async move {
            if !full {
                tokio::select! {
                    () = this.stop.cancelled() => {}
                    () = tokio::time::sleep(GATHER) => {}
                }
            }
            let _writing = capture.writing.lock().await;
            let written = capture.clone();
            let write = tokio::task::spawn_blocking(move || this.write_captured(&endpoint, &written));
            let _ = write.await; // a panic, which the runtime has told of
        });
    }

    fn write_captured(&self, endpoint: &str, capture: &Capture) {
        let (pending, moment) = capture.pending().take(now());
        let Some((bucket, prefix)) = s3::parse_url(&capture.settings.destination) else {
            return;
        };
        let moment = Timestamp::from_millisecond(moment as i64).unwrap_or_default();
        let moment = moment.strftime("%Y/%m/%d/%H/%M-%S-%3f").to_string();
        for (variant, lines) in pending {
            let name = format!("{endpoint}/{variant}/{moment}-{}.jsonl", Uuid::new_v4());
            let key = match prefix.trim_end_matches('/') {
                "" => name,
                prefix => format!("{prefix}/{name}"),
            };
            let put = || {
                let put = self.s3.put_with(bucket, &key, "application/jsonlines", |to| {
                    to.write_all(lines.as_bytes()).map_err(StoreError::Io)
                });
                match put {
                    Ok(_) => Ok(()),
                    Err(StoreError::Io(error)) => Err(error),
                    // Such as a bucket that is not there: asking again would not help.
                    Err(error) => {
                        let destination = &capture.settings.destination;
                        let text = format!("data could not be captured to {destination}: {error:?}");
                        self.log_of_endpoint(endpoint, &variant, &text);
                        Ok(())
                    }
                }
            };
            let (group, stream) = (endpoint_group(endpoint), endpoint_stream(&variant));
            let what = format!("What was captured as s3://{bucket}/{key}");
            // Should the server stop before, it is lost, as where it is killed.
            self.until_saved(&group, &stream, &what, put);
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
        let record = |exchange: &Exchange<'_>| -> Value {
            let line = settings.record(exchange, Uuid::nil()).line(1500);
            serde_json::from_str(line.strip_suffix('\n').unwrap()).unwrap()
        };
        assert_eq!(
            record(&exchange),
            json!({
                "captureData": {"endpointInput": {
                    "observedContentType": "text/csv; charset=utf-8", "mode": "INPUT", "data": "a,1.2.3.4", "encoding": "CSV",
                }},
                "eventMetadata": {
                    "eventId": "00000000-0000-0000-0000-000000000000",
                    "inferenceId": "i",
                    "inferenceTime": "1970-01-01T00:00:01.500Z",
                },
                "eventVersion": "0",
            })
        );
        exchange.content_type = "application/json";
        assert_eq!(
            record(&exchange)["captureData"]["endpointInput"]["encoding"],
            "BASE64"
        );
    }

    fn record(data: &str) -> Record {
        Record::new(&json!(data), json!({}))
    }

    #[test]
    fn no_more_waits_than_there_is_room_for() {
        let megabyte = "x".repeat(1 << 20);
        let mut pending = Pending::default();
        assert_eq!(pending.add("a", record(&megabyte), 1.0), Kept::First);
        let mut kept = Vec::new();
        let mut number = 1;
        loop {
            // Of all variants together.
            let variant = ["a", "b", "c"][number % 3];
            match pending.add(variant, record(&megabyte), 1.0) {
                Kept::Not => break,
                other => kept.push(other),
            }
            number += 1;
        }
        // Whoever writes is called once, not for every record until then.
        assert_eq!(kept.iter().filter(|kept| **kept == Kept::Enough).count(), 1);
        assert_eq!(number, 127);
        let held = |pending: &Pending| pending.lines.values().map(String::len).sum::<usize>();
        assert!(pending.bytes == held(&pending) && pending.bytes <= BOUND);
        // A small one has room still, and when they are taken there is room again.
        assert_eq!(pending.add("d", record("y"), 1.0), Kept::More);
        let (taken, _) = pending.take(1.0);
        assert_eq!(taken.values().flat_map(|lines| lines.lines()).count(), 128);
        assert_eq!(pending.add("a", record(&megabyte), 1.0), Kept::First);
        assert_eq!(pending.bytes, held(&pending));
    }

    /// The longest record: rows of the largest size, of which every byte is escaped, and an answer that is as long.
    #[test]
    fn any_record_has_room() {
        let body = "\u{1}".repeat(ipinsights::inference::MAX_BODY_BYTES);
        let both = json!({"endpointInput": body, "endpointOutput": body});
        let record = Record::new(&both, json!({}));
        assert_eq!(Pending::default().add("a", record, 1.0), Kept::Enough);
    }

    #[test]
    fn times_and_names_never_go_back() {
        let mut pending = Pending::default();
        let mut moments = Vec::new();
        for now in [5.0, 4.0, 4.0, 5.001, 5.001, 9.0] {
            pending.add("a", record(""), now);
            moments.push(pending.last);
            moments.push(pending.take(now).1);
        }
        assert!(moments.is_sorted(), "{moments:?}");
        let mut names: Vec<_> = moments.iter().skip(1).step_by(2).collect();
        names.dedup();
        assert_eq!(names.len(), 6, "two objects have one moment: {moments:?}");
    }
}
