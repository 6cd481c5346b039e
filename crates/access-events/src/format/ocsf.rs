//! OCSF, the Open Cybersecurity Schema Framework: what Security Lake and others make of logs.

use std::io::BufRead;

use jiff::Timestamp;

use super::cloudtrail::is_service;
use super::json::{self, Cursor, Fault, Parser, Quoted, Stuck, decode, some};
use super::{Format, Problem, RECORD_LIMIT, ReadError, Sink};
use crate::report::DropReason;
use crate::sighting::{Principal, Sighting};

/// Events of OCSF in JSON: JSON Lines, arrays, single events.
///
/// | In the event | What it gives |
/// | --- | --- |
/// | `src_endpoint.ip` | the address |
/// | `actor.user`, or `user` where it names nobody | who, see below |
/// | `src_endpoint.instance_uid`, or `dst_endpoint.instance_uid` | who, where no user is named |
/// | `time_dt`, or `time` in milliseconds since 1970 | the time |
///
/// Of a user, the ARN is the one among `uid`, `uid_alt` and `uuid` that begins with `arn:`; the identifier the first of
/// `uid` and `uid_alt` that does not, then `name`, `email_addr` and the ARN; the user name is `name`, or the role's in
/// `actor.session.issuer`. So events that Security Lake makes of CloudTrail, of whichever version, give the entities that CloudTrail
/// gives: up to OCSF 1.0 the `principalId` is in `uid`, later in `uid_alt`. Identifiers are taken for AWS' where
/// `cloud.provider` is `AWS` or there is an ARN.
///
/// Left out: [`ServiceCaller`](DropReason::ServiceCaller), as in CloudTrail, where `src_endpoint.domain` is a service's name or
/// `actor.user.type` is `AWSService`; [`NoAddress`](DropReason::NoAddress) where there is no `src_endpoint.ip`, or `-` in its place.
#[derive(Debug, Clone)]
pub struct Ocsf {
    limit: usize,
}

impl Default for Ocsf {
    fn default() -> Self {
        Self { limit: RECORD_LIMIT }
    }
}

impl Ocsf {
    /// A reader of OCSF events.
    pub fn new() -> Self {
        Self::default()
    }

    /// How long an event may be, in bytes; [`RECORD_LIMIT`] by default.
    #[must_use]
    pub fn record_limit(mut self, bytes: usize) -> Self {
        self.limit = bytes;
        self
    }
}

impl Format for Ocsf {
    fn name(&self) -> &'static str {
        "ocsf"
    }

    fn read(&self, input: &mut dyn BufRead, sink: &mut dyn Sink) -> Result<(), ReadError> {
        json::read_records(&Events, self.limit, input, sink)
    }
}

/// The parser, which is nobody's business.
struct Events;

#[derive(Default)]
struct Event<'a> {
    time: Option<i64>,
    time_dt: Option<Quoted<'a>>,
    provider: Option<Quoted<'a>>,
    actor: Actor<'a>,
    user: User<'a>,
    source: Endpoint<'a>,
    destination: Endpoint<'a>,
}

#[derive(Default)]
struct Actor<'a> {
    user: User<'a>,
    issuer: Option<Quoted<'a>>,
    invoked_by: Option<Quoted<'a>>,
}

#[derive(Default)]
struct User<'a> {
    kind: Option<Quoted<'a>>,
    uid: Option<Quoted<'a>>,
    uid_alt: Option<Quoted<'a>>,
    uuid: Option<Quoted<'a>>,
    name: Option<Quoted<'a>>,
    email: Option<Quoted<'a>>,
}

#[derive(Default)]
struct Endpoint<'a> {
    ip: Option<Quoted<'a>>,
    domain: Option<Quoted<'a>>,
    instance: Option<Quoted<'a>>,
}

impl Parser for Events {
    type Record<'t> = Event<'t>;

    const HOLDERS: &'static [&'static str] = &[];

    fn parse<'t>(&self, cursor: &mut Cursor<'t>) -> Result<Event<'t>, Stuck> {
        let mut event = Event::default();
        cursor.object("", |cursor, key| {
            match key {
                b"time" => event.time = cursor.integer("time")?,
                b"time_dt" => event.time_dt = cursor.text("time_dt")?,
                b"cloud" => event.provider = cursor.text_in("cloud", &["provider"])?,
                b"user" => event.user = user(cursor, "user")?,
                b"src_endpoint" => event.source = endpoint(cursor, "src_endpoint")?,
                b"dst_endpoint" => event.destination = endpoint(cursor, "dst_endpoint")?,
                b"actor" => {
                    let mut actor = Actor::default();
                    cursor.object("actor", |cursor, key| {
                        match key {
                            b"user" => actor.user = user(cursor, "actor.user")?,
                            b"session" => actor.issuer = cursor.text_in("actor.session", &["issuer"])?,
                            b"invoked_by" => actor.invoked_by = cursor.text("actor.invoked_by")?,
                            _ => cursor.skip()?,
                        }
                        Ok(())
                    })?;
                    event.actor = actor;
                }
                _ => cursor.skip()?,
            }
            Ok(())
        })?;
        Ok(event)
    }

    fn tell(&self, event: Event<'_>, sink: &mut dyn Sink) -> Result<(), Fault> {
        let time = match (event.time_dt, event.time) {
            (Some(_), _) => json::time("time_dt", event.time_dt)?,
            (None, Some(time)) => Some(Timestamp::from_millisecond(time).map_err(|_| {
                Problem::Json(format!(
                    "`time` is {time}, which is no time in milliseconds since 1970"
                ))
            })?),
            (None, None) => None,
        };
        let address = known(event.source.ip)?.unwrap_or_default();
        let domain = known(event.source.domain)?.unwrap_or_default();
        let is_service_user = event.actor.user.kind.is_some_and(|kind| kind.is("AWSService"));
        // The name of a service may be in either place.
        if is_service_user || is_service(&address) || (address.is_empty() && is_service(&domain)) {
            sink.dropped(DropReason::ServiceCaller);
            return Ok(());
        }
        if address.is_empty() {
            sink.dropped(DropReason::NoAddress);
            return Ok(());
        }
        if event.actor.invoked_by.is_some() && address.parse::<std::net::IpAddr>().is_err() {
            sink.dropped(DropReason::ServiceCaller);
            return Ok(());
        }
        let user = if event.actor.user.is_somebody()? {
            event.actor.user
        } else {
            event.user
        };
        let ids = [known(user.uid)?, known(user.uid_alt)?, known(user.uuid)?];
        let [uid, uid_alt, _] = &ids;
        let arn = ids
            .iter()
            .flatten()
            .find(|id| id.starts_with("arn:"))
            .map(AsRef::as_ref);
        let name = known(user.name)?;
        let email = known(user.email)?;
        let issuer = decode(event.actor.issuer)?;
        let role = issuer.as_deref().and_then(role);
        let id = [uid, uid_alt]
            .into_iter()
            .flatten()
            .find(|id| !id.starts_with("arn:"))
            .or(name.as_ref())
            .or(email.as_ref())
            .map(AsRef::as_ref)
            .or(arn);
        let instance = match known(event.source.instance)? {
            Some(instance) => Some(instance),
            None => known(event.destination.instance)?,
        };
        let principal = match id {
            Some(id) => Principal {
                id: Some(id),
                user_name: name.as_deref().or(role),
                arn,
                aws: arn.is_some() || event.provider.is_some_and(|provider| provider.is("AWS")),
            },
            None => Principal {
                id: instance.as_deref(),
                ..Principal::default()
            },
        };
        sink.sighting(Sighting {
            principal,
            address: &address,
            time,
        })?;
        Ok(())
    }
}

impl User<'_> {
    fn is_somebody(&self) -> Result<bool, Problem> {
        for name in [self.uid, self.uid_alt, self.uuid, self.name, self.email] {
            if known(name)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// A text that says something: `-` stands for nothing, as in flow logs.
fn known(text: Option<Quoted<'_>>) -> Result<Option<std::borrow::Cow<'_, str>>, Problem> {
    Ok(some(decode(text)?).filter(|text| text != "-"))
}

/// The name of the role in `arn:aws:iam::123456789012:role/path/Name`.
fn role(arn: &str) -> Option<&str> {
    let (_, path) = arn.split_once(":role/")?;
    path.rsplit('/').next()
}

fn user<'t>(cursor: &mut Cursor<'t>, name: &str) -> Result<User<'t>, Stuck> {
    let mut user = User::default();
    cursor.object(name, |cursor, key| {
        match key {
            b"type" => user.kind = cursor.text("user.type")?,
            b"uid" => user.uid = cursor.text("user.uid")?,
            b"uid_alt" => user.uid_alt = cursor.text("user.uid_alt")?,
            b"uuid" => user.uuid = cursor.text("user.uuid")?,
            b"name" => user.name = cursor.text("user.name")?,
            b"email_addr" => user.email = cursor.text("user.email_addr")?,
            _ => cursor.skip()?,
        }
        Ok(())
    })?;
    Ok(user)
}

fn endpoint<'t>(cursor: &mut Cursor<'t>, name: &str) -> Result<Endpoint<'t>, Stuck> {
    let mut endpoint = Endpoint::default();
    cursor.object(name, |cursor, key| {
        match key {
            b"ip" => endpoint.ip = cursor.text("src_endpoint.ip")?,
            b"domain" => endpoint.domain = cursor.text("src_endpoint.domain")?,
            b"instance_uid" => endpoint.instance = cursor.text("instance_uid")?,
            _ => cursor.skip()?,
        }
        Ok(())
    })?;
    Ok(endpoint)
}
