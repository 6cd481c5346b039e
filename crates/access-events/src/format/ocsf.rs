//! OCSF, the Open Cybersecurity Schema Framework: what Security Lake and others make of logs.

use std::io::BufRead;
use std::str::FromStr;

use jiff::Timestamp;
use jiff::civil::DateTime;

use super::cloudtrail::is_service;
use super::flow_log::is_answer;
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
/// | `time_dt`, or `time` in milliseconds since 1970 where that has no zone or is missing | the time |
///
/// Of a user, the ARN is the one among `uid`, `uid_alt` and `uuid` that begins with `arn:`; the identifier the first of
/// `uid` and `uid_alt` that does not, then `name`, `email_addr` and the ARN; the user name is `name`, or the role's in
/// `actor.session.issuer`. So events that Security Lake makes of CloudTrail, of whichever version, give the entities that CloudTrail
/// gives: up to OCSF 1.0 the `principalId` is in `uid`, later in `uid_alt`. Identifiers are taken for AWS' where
/// `cloud.provider` is `AWS` or there is an ARN.
///
/// Left out: [`ServiceCaller`](DropReason::ServiceCaller), as in CloudTrail, where `src_endpoint.domain` is a service's name or
/// `actor.user.type` is `AWSService`; [`NoAddress`](DropReason::NoAddress) where there is no `src_endpoint.ip`, or `-` in its place. Of
/// network activity (class 4001), as in [flow logs](super::FlowLog): [`FlowRejected`](DropReason::FlowRejected) where action, disposition or
/// activity say that a connection was denied, blocked, dropped, rejected, reset or refused, or that it failed;
/// [`FlowOutbound`](DropReason::FlowOutbound) by the direction, and [`FlowAnswer`](DropReason::FlowAnswer) by the TCP flags of
/// `connection_info`, where they are given.
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

/// The class of network activity.
const NETWORK_ACTIVITY: i64 = 4001;
/// What is said of a connection that was not let through, with the numbers that the schema has for it.
const REFUSED_ACTIONS: &[(i64, &str)] = &[(2, "Denied")];
const REFUSED_DISPOSITIONS: &[(i64, &str)] = &[
    (2, "Blocked"),
    (6, "Dropped"),
    (21, "Reset"),
    (25, "Rejected"),
    (26, "Unauthorized"),
];
const REFUSED_ACTIVITIES: &[(i64, &str)] = &[(4, "Fail"), (5, "Refuse")];

/// The parser, which is nobody's business.
struct Events;

#[derive(Default)]
struct Event<'a> {
    class: Option<i64>,
    activity: Choice<'a>,
    action: Choice<'a>,
    disposition: Choice<'a>,
    connection: Connection<'a>,
    time: Option<i64>,
    time_dt: Option<Quoted<'a>>,
    provider: Option<Quoted<'a>>,
    actor: Actor<'a>,
    user: User<'a>,
    source: Endpoint<'a>,
    destination: Endpoint<'a>,
}

/// One of the values that the schema has for something, by its number, its name or both.
#[derive(Default)]
struct Choice<'a> {
    id: Option<i64>,
    name: Option<Quoted<'a>>,
}

impl Choice<'_> {
    fn is_one_of(&self, values: &[(i64, &str)]) -> bool {
        values
            .iter()
            .any(|(id, name)| self.id == Some(*id) || self.name.is_some_and(|text| text.is(name)))
    }
}

#[derive(Default)]
struct Connection<'a> {
    direction: Choice<'a>,
    tcp_flags: Option<u64>,
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
                b"class_uid" => event.class = number(cursor)?,
                b"activity_id" => event.activity.id = number(cursor)?,
                b"activity_name" => event.activity.name = name(cursor)?,
                b"action_id" => event.action.id = number(cursor)?,
                b"action" => event.action.name = name(cursor)?,
                b"disposition_id" => event.disposition.id = number(cursor)?,
                b"disposition" => event.disposition.name = name(cursor)?,
                b"connection_info" => event.connection = connection(cursor)?,
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
        let time = event.moment()?;
        if let Some(reason) = event.no_connection() {
            sink.dropped(reason);
            return Ok(());
        }
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

impl Event<'_> {
    fn moment(&self) -> Result<Option<Timestamp>, Problem> {
        // `time_dt` may be local, `time` never is.
        let local = || match decode(self.time_dt) {
            Ok(text) => text.is_none_or(|text| text.parse::<DateTime>().is_ok()),
            Err(_) => false,
        };
        match (json::time("time_dt", self.time_dt), self.time) {
            (Ok(None) | Err(_), Some(time)) if local() => {
                Timestamp::from_millisecond(time).map(Some).map_err(|_| {
                    Problem::Json(format!(
                        "`time` is {time}, which is no time in milliseconds since 1970"
                    ))
                })
            }
            (moment, _) => moment,
        }
    }

    /// Why network activity is no connection that came in.
    fn no_connection(&self) -> Option<DropReason> {
        if self.class != Some(NETWORK_ACTIVITY) {
            return None;
        }
        let is_refused = self.action.is_one_of(REFUSED_ACTIONS)
            || self.disposition.is_one_of(REFUSED_DISPOSITIONS)
            || self.activity.is_one_of(REFUSED_ACTIVITIES);
        if is_refused {
            Some(DropReason::FlowRejected)
        } else if self.connection.direction.is_one_of(&[(2, "Outbound")]) {
            Some(DropReason::FlowOutbound)
        } else if self.connection.tcp_flags.is_some_and(is_answer) {
            Some(DropReason::FlowAnswer)
        } else {
            None
        }
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

/// The number of one of the schema's values. Anything else says nothing.
fn number<N: FromStr>(cursor: &mut Cursor<'_>) -> Result<Option<N>, Stuck> {
    let text = str::from_utf8(cursor.value()?).unwrap_or_default();
    Ok(text.trim_matches('"').parse().ok())
}

/// The name of one of the schema's values. Anything else says nothing.
fn name<'t>(cursor: &mut Cursor<'t>) -> Result<Option<Quoted<'t>>, Stuck> {
    if cursor.begins(b'"')? {
        return cursor.text("");
    }
    cursor.skip()?;
    Ok(None)
}

fn connection<'t>(cursor: &mut Cursor<'t>) -> Result<Connection<'t>, Stuck> {
    let mut connection = Connection::default();
    cursor.object("connection_info", |cursor, key| {
        match key {
            b"direction_id" => connection.direction.id = number(cursor)?,
            b"direction" => connection.direction.name = name(cursor)?,
            b"tcp_flags" => connection.tcp_flags = number(cursor)?,
            _ => cursor.skip()?,
        }
        Ok(())
    })?;
    Ok(connection)
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
