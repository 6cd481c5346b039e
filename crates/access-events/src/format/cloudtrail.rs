//! CloudTrail: what AWS accounts were asked to do, by whom and from where.

use std::io::BufRead;

use super::json::{self, Cursor, Fault, Parser, Quoted, Stuck, decode, some};
use super::{Format, RECORD_LIMIT, ReadError, Sink};
use crate::report::DropReason;
use crate::sighting::{Principal, Sighting};

/// CloudTrail's log files, and what becomes of them on their way.
///
/// Documents: `{"Records":[…]}` as delivered to S3, `{"Events":[…]}` as `lookup-events` prints, arrays, JSON Lines, single
/// records; each record plain, inside of an EventBridge event (`detail`), inside of an event of CloudTrail Lake
/// (`eventData`), or as text in `CloudTrailEvent`.
///
/// | In the record | What it gives |
/// | --- | --- |
/// | `sourceIPAddress` | the address |
/// | `userIdentity.principalId`, or `onBehalfOf.userId` where there is none (users of IAM Identity Center) | the identifier |
/// | `userIdentity.userName`, or that of `sessionContext.sessionIssuer` where there is none (sessions of roles) | the user name |
/// | `userIdentity.arn` | the ARN |
/// | `eventTime` | the time |
///
/// Left out:
///
/// - [`ServiceCaller`](DropReason::ServiceCaller): `sourceIPAddress` is a service's name (`….amazonaws.com`, `AWS Internal`), or
///   `userIdentity.type` is `AWSService`. `invokedBy` alone does not say that much: requests from the console bear
///   `signin.amazonaws.com` there together with the user's own address. So it counts only where the address is none.
/// - [`NoAddress`](DropReason::NoAddress): no `sourceIPAddress`, as in events that services write of their own accord.
/// - [`InsightEvent`](DropReason::InsightEvent), [`DigestFile`](DropReason::DigestFile): by name without being opened, or by what is in them.
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
        // `…/CloudTrail-Digest/us-east-2/…/111122223333_CloudTrail-Digest_us-east-2_trail_us-east-2_….json.gz`
        let file = name.rsplit(['/', '\\']).next().unwrap_or(name);
        if file.contains("_CloudTrail-Digest_") {
            Some(DropReason::DigestFile)
        } else if file.contains("_CloudTrail-Insight_") {
            Some(DropReason::InsightEvent)
        } else {
            None
        }
    }

    fn read(&self, input: &mut dyn BufRead, sink: &mut dyn Sink) -> Result<(), ReadError> {
        json::read_records(&Records, self.limit, input, sink)
    }
}

/// The parser, which is nobody's business.
struct Records;

/// The members of a record that count, and those by which other documents are known.
#[derive(Default)]
struct Record<'a> {
    time: Option<Quoted<'a>>,
    kind: Option<Quoted<'a>>,
    category: Option<Quoted<'a>>,
    address: Option<Quoted<'a>>,
    identity: Identity<'a>,
    is_digest: bool,
    /// The record itself, as text.
    inner: Option<Quoted<'a>>,
}

#[derive(Default)]
struct Identity<'a> {
    kind: Option<Quoted<'a>>,
    principal: Option<Quoted<'a>>,
    arn: Option<Quoted<'a>>,
    user_name: Option<Quoted<'a>>,
    invoked_by: Option<Quoted<'a>>,
    /// The name of the role behind a session.
    issuer: Option<Quoted<'a>>,
    /// Whom a session of IAM Identity Center is for.
    behalf: Option<Quoted<'a>>,
}

impl Parser for Records {
    type Record<'t> = Record<'t>;

    const HOLDERS: &'static [&'static str] = &["Records", "Events"];

    fn parse<'t>(&self, cursor: &mut Cursor<'t>) -> Result<Record<'t>, Stuck> {
        let mut record = Record::default();
        let mut enveloped = None;
        cursor.object("", |cursor, key| match key {
            b"detail" if cursor.begins(b'{')? => {
                let mut inner = Record::default();
                cursor.object("detail", |cursor, key| member(cursor, key, &mut inner))?;
                enveloped = Some(inner);
                Ok(())
            }
            b"eventData" if cursor.begins(b'{')? => {
                let mut inner = Record::default();
                cursor.object("eventData", |cursor, key| member(cursor, key, &mut inner))?;
                enveloped = Some(inner);
                Ok(())
            }
            b"eventData" | b"CloudTrailEvent" | b"eventJson" => {
                record.inner = cursor.text("eventData")?;
                Ok(())
            }
            _ => member(cursor, key, &mut record),
        })?;
        Ok(enveloped.unwrap_or(record))
    }

    fn tell(&self, record: Record<'_>, sink: &mut dyn Sink) -> Result<(), Fault> {
        let Some(inner) = record.inner else {
            return tell(&record, sink);
        };
        let text = inner.decode()?;
        json::parse_text(&text, |cursor| {
            let mut record = Record::default();
            cursor.object("", |cursor, key| member(cursor, key, &mut record))?;
            Ok(record)
        })
        .map_err(Fault::from)
        .and_then(|record| tell(&record, sink))
    }
}

#[inline]
fn member<'t>(cursor: &mut Cursor<'t>, key: &[u8], record: &mut Record<'t>) -> Result<(), Stuck> {
    match key {
        b"eventTime" => record.time = cursor.text("eventTime")?,
        b"eventType" => record.kind = cursor.text("eventType")?,
        b"eventCategory" => record.category = cursor.text("eventCategory")?,
        // The second spelling is that of CloudTrail Lake.
        b"sourceIPAddress" | b"sourceIpAddress" => record.address = cursor.text("sourceIPAddress")?,
        b"userIdentity" => {
            let mut identity = Identity::default();
            cursor.object("userIdentity", |cursor, key| {
                of_identity(cursor, key, &mut identity)
            })?;
            record.identity = identity;
        }
        b"digestS3Object" => {
            record.is_digest = true;
            cursor.skip()?;
        }
        _ => cursor.skip()?,
    }
    Ok(())
}

#[inline]
fn of_identity<'t>(cursor: &mut Cursor<'t>, key: &[u8], identity: &mut Identity<'t>) -> Result<(), Stuck> {
    match key {
        b"type" => identity.kind = cursor.text("userIdentity.type")?,
        b"principalId" => identity.principal = cursor.text("userIdentity.principalId")?,
        b"arn" => identity.arn = cursor.text("userIdentity.arn")?,
        b"userName" => identity.user_name = cursor.text("userIdentity.userName")?,
        b"invokedBy" => identity.invoked_by = cursor.text("userIdentity.invokedBy")?,
        b"sessionContext" => {
            let mut issuer = None;
            cursor.object("userIdentity.sessionContext", |cursor, key| {
                if key != b"sessionIssuer" {
                    return cursor.skip();
                }
                issuer = None;
                cursor.object("userIdentity.sessionContext.sessionIssuer", |cursor, key| {
                    if key != b"userName" {
                        return cursor.skip();
                    }
                    issuer = cursor.text("userIdentity.sessionContext.sessionIssuer.userName")?;
                    Ok(())
                })
            })?;
            identity.issuer = issuer;
        }
        b"onBehalfOf" => {
            let mut behalf = None;
            cursor.object("userIdentity.onBehalfOf", |cursor, key| {
                if key != b"userId" {
                    return cursor.skip();
                }
                behalf = cursor.text("userIdentity.onBehalfOf.userId")?;
                Ok(())
            })?;
            identity.behalf = behalf;
        }
        _ => cursor.skip()?,
    }
    Ok(())
}

fn tell(record: &Record<'_>, sink: &mut dyn Sink) -> Result<(), Fault> {
    let is = |text: Option<Quoted<'_>>, wanted: &str| text.is_some_and(|text| text.is(wanted));
    let identity = &record.identity;
    let address = decode(record.address)?.unwrap_or_default();
    let dropped = if record.is_digest {
        Some(DropReason::DigestFile)
    } else if is(record.category, "Insight") || is(record.kind, "AwsCloudTrailInsight") {
        Some(DropReason::InsightEvent)
    } else if is(identity.kind, "AWSService") || is_service(&address) {
        Some(DropReason::ServiceCaller)
    } else if address.is_empty() {
        Some(DropReason::NoAddress)
    } else if identity.invoked_by.is_some() && address.parse::<std::net::IpAddr>().is_err() {
        Some(DropReason::ServiceCaller)
    } else {
        None
    };
    if let Some(reason) = dropped {
        sink.dropped(reason);
        return Ok(());
    }
    let id = some(decode(identity.principal)?).or(decode(identity.behalf)?);
    // A role has no user name of its own; its session tells that of the role.
    let user_name = some(decode(identity.user_name)?).or(decode(identity.issuer)?);
    let arn = decode(identity.arn)?;
    let time = json::time("eventTime", record.time)?;
    sink.sighting(Sighting {
        principal: Principal {
            user_name: user_name.as_deref(),
            arn: arn.as_deref(),
            ..Principal::aws(id.as_deref())
        },
        address: &address,
        time,
    })?;
    Ok(())
}

/// Whether the address is the name of a service.
pub(super) fn is_service(address: &str) -> bool {
    let name = address.strip_suffix(".cn").unwrap_or(address);
    name.ends_with(".amazonaws.com") || address == "AWS Internal"
}
