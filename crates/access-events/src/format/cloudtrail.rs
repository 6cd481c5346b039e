//! CloudTrail: what AWS accounts were asked to do, by whom and from where.

use std::io::BufRead;

use jiff::Timestamp;
use serde::Deserialize;

use super::json::{self, Fault, Text};
use super::{Format, Problem, RECORD_LIMIT, ReadError, Sink};
use crate::report::DropReason;
use crate::sighting::{Principal, Sighting};

/// CloudTrail's log files and what they become on their way: `Records` as delivered to S3, arrays, JSON Lines, single
/// records, and EventBridge events with the record under `detail`.
#[derive(Debug, Clone)]
pub struct CloudTrail {
    limit: usize,
}

impl Default for CloudTrail {
    fn default() -> Self {
        Self { limit: RECORD_LIMIT }
    }
}

impl CloudTrail {
    /// A reader of CloudTrail.
    pub fn new() -> Self {
        Self::default()
    }

    /// How long a record may be, in bytes; [`RECORD_LIMIT`] by default.
    #[must_use]
    pub fn record_limit(mut self, bytes: usize) -> Self {
        self.limit = bytes;
        self
    }
}

impl Format for CloudTrail {
    fn name(&self) -> &'static str {
        "cloudtrail"
    }

    fn leaves_out(&self, name: &str) -> Option<DropReason> {
        // `…/CloudTrail-Digest/…/111122223333_CloudTrail-Digest_us-east-2_trail_….json.gz`
        name.contains("CloudTrail-Digest")
            .then_some(DropReason::DigestFile)
    }

    fn read(&self, input: &mut dyn BufRead, sink: &mut dyn Sink) -> Result<(), ReadError> {
        json::read_records(input, sink, &["Records"], self.limit, &mut |text, sink| {
            let record: Record<'_> = serde_json::from_slice(text)?;
            tell(record.detail.as_deref().unwrap_or(&record), sink)
        })
    }
}

/// The members of a record that count, and those by which other documents are known.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Record<'a> {
    #[serde(borrow)]
    event_time: Option<Text<'a>>,
    #[serde(borrow)]
    event_type: Option<Text<'a>>,
    #[serde(borrow)]
    event_category: Option<Text<'a>>,
    #[serde(borrow, rename = "sourceIPAddress")]
    source_ip_address: Option<Text<'a>>,
    #[serde(borrow)]
    user_identity: Option<Identity<'a>>,
    /// The record inside of an event of EventBridge.
    #[serde(borrow)]
    detail: Option<Box<Record<'a>>>,
    digest_start_time: Option<serde::de::IgnoredAny>,
    digest_signature_algorithm: Option<serde::de::IgnoredAny>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Identity<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Text<'a>>,
    #[serde(borrow)]
    principal_id: Option<Text<'a>>,
    #[serde(borrow)]
    arn: Option<Text<'a>>,
    #[serde(borrow)]
    user_name: Option<Text<'a>>,
    #[serde(borrow)]
    invoked_by: Option<Text<'a>>,
    #[serde(borrow)]
    session_context: Option<SessionContext<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct SessionContext<'a> {
    #[serde(borrow)]
    session_issuer: Option<SessionIssuer<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct SessionIssuer<'a> {
    #[serde(borrow)]
    user_name: Option<Text<'a>>,
}

fn tell(record: &Record<'_>, sink: &mut dyn Sink) -> Result<(), Fault> {
    let text = |text: &Option<Text<'_>>, wanted: &str| text.as_ref().is_some_and(|text| text.0 == wanted);
    if record.digest_start_time.is_some() && record.digest_signature_algorithm.is_some() {
        sink.dropped(DropReason::DigestFile);
        return Ok(());
    }
    if text(&record.event_category, "Insight") || text(&record.event_type, "AwsCloudTrailInsight") {
        sink.dropped(DropReason::InsightEvent);
        return Ok(());
    }
    let time = record.event_time.as_ref().map(time).transpose()?;
    let nobody = Identity::default();
    let identity = record.user_identity.as_ref().unwrap_or(&nobody);
    let address = record.source_ip_address.as_deref().unwrap_or_default();
    if text(&identity.kind, "AWSService") || address.ends_with(".amazonaws.com") {
        sink.dropped(DropReason::ServiceCaller);
        return Ok(());
    }
    if address.is_empty() {
        sink.dropped(DropReason::NoAddress);
        return Ok(());
    }
    // A role has no user name of its own; its session tells that of the role.
    let issuer = identity
        .session_context
        .as_ref()
        .and_then(|context| context.session_issuer.as_ref());
    let user_name = identity
        .user_name
        .as_deref()
        .or_else(|| issuer?.user_name.as_deref());
    sink.sighting(Sighting {
        principal: Principal {
            user_name,
            arn: identity.arn.as_deref(),
            ..Principal::aws(identity.principal_id.as_deref())
        },
        address,
        time,
    })?;
    Ok(())
}

fn time(text: &Text<'_>) -> Result<Timestamp, Fault> {
    text.parse().map_err(|_| {
        Fault::Shape(Problem::Json(format!(
            "`eventTime` is `{}`, which is no time",
            json::shorten(text)
        )))
    })
}
