//! VPC flow logs: who was reached from where, packet by packet summed up.

use std::fmt;
use std::io::BufRead;
use std::net::Ipv4Addr;
use std::str::FromStr;

use ipnet::Ipv4Net;
use jiff::Timestamp;

use super::lines::{decimal, ipv4, read_lines};
use super::{Format, LINE_LIMIT, Malformed, Place, Problem, ReadError, Sink, guess};
use crate::address::SpecialRange;
use crate::report::DropReason;
use crate::sighting::{Principal, Sighting};

/// The columns of the default format, version 2.
pub const DEFAULT_COLUMNS: &str = "version account-id interface-id srcaddr dstaddr srcport dstport protocol packets \
                                   bytes start end action log-status";

/// Every field that AWS documents for VPC flow logs, up to version 10.
const FIELDS: &[&str] = &[
    // Version 2.
    "version",
    "account-id",
    "interface-id",
    "srcaddr",
    "dstaddr",
    "srcport",
    "dstport",
    "protocol",
    "packets",
    "bytes",
    "start",
    "end",
    "action",
    "log-status",
    // Version 3.
    "vpc-id",
    "subnet-id",
    "instance-id",
    "tcp-flags",
    "type",
    "pkt-srcaddr",
    "pkt-dstaddr",
    // Version 4.
    "region",
    "az-id",
    "sublocation-type",
    "sublocation-id",
    // Version 5.
    "pkt-src-aws-service",
    "pkt-dst-aws-service",
    "flow-direction",
    "traffic-path",
    // Version 7.
    "ecs-cluster-arn",
    "ecs-cluster-name",
    "ecs-container-instance-arn",
    "ecs-container-instance-id",
    "ecs-container-id",
    "ecs-second-container-id",
    "ecs-service-name",
    "ecs-task-definition-arn",
    "ecs-task-arn",
    "ecs-task-id",
    // Version 8 to 10.
    "reject-reason",
    "resource-id",
    "encryption-status",
];

/// Fields that only the flow logs of transit gateways (version 6) have.
const TRANSIT_GATEWAY: &[&str] = &[
    "tgw-id",
    "tgw-attachment-id",
    "resource-type",
    "tgw-pair-attachment-id",
];

/// How many columns a line may have.
const MOST_COLUMNS: usize = 64;

/// Which field of a flow is the entity.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum FlowEntity {
    /// `interface-id`: the network interface, which every format can have.
    #[default]
    Interface,
    /// `instance-id`: the instance that the interface is attached to.
    Instance,
    /// `account-id`: the owner of the interface.
    Account,
    /// `vpc-id`.
    Vpc,
    /// `subnet-id`.
    Subnet,
    /// `resource-id`: what the interface belongs to, such as a regional NAT gateway.
    Resource,
}

impl FlowEntity {
    /// All of them, by their columns' names.
    pub const NAMES: &'static [(&'static str, Self)] = &[
        ("interface-id", Self::Interface),
        ("instance-id", Self::Instance),
        ("account-id", Self::Account),
        ("vpc-id", Self::Vpc),
        ("subnet-id", Self::Subnet),
        ("resource-id", Self::Resource),
    ];

    /// The name of the column.
    pub fn column(self) -> &'static str {
        match self {
            Self::Interface => "interface-id",
            Self::Instance => "instance-id",
            Self::Account => "account-id",
            Self::Vpc => "vpc-id",
            Self::Subnet => "subnet-id",
            Self::Resource => "resource-id",
        }
    }
}

impl fmt::Display for FlowEntity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.column())
    }
}

impl FromStr for FlowEntity {
    type Err = FlowLogError;

    fn from_str(text: &str) -> Result<Self, FlowLogError> {
        Self::NAMES
            .iter()
            .find(|(name, _)| *name == text)
            .map(|(_, entity)| *entity)
            .ok_or_else(|| FlowLogError::Entity {
                text: text.to_owned(),
            })
    }
}

/// Why settings for flow logs make no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FlowLogError {
    /// No entity has this name.
    #[error(
        "`{text}` is no entity of a flow; there are {}",
        FlowEntity::NAMES.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", "),
    )]
    Entity {
        /// The name.
        text: String,
    },
    /// A column has a name that no field has.
    #[error("flow logs have no field `{name}`; write `-` for a column that does not matter")]
    UnknownField {
        /// The name.
        name: String,
    },
    /// The columns do not say what has to be known of each flow.
    #[error("{0}")]
    Columns(String),
}

/// Settings for flow logs as users write them; [`check`](Self::check) makes a [`FlowLog`] of them.
#[derive(Debug, Clone)]
#[must_use]
pub struct Draft {
    entity: FlowEntity,
    columns: Option<String>,
    own: Vec<Ipv4Net>,
    ports: Vec<u16>,
    all_accepted: bool,
    limit: usize,
}

impl Draft {
    /// Which field is the entity; [`FlowEntity::Interface`] by default. A flow without it is left out.
    pub fn entity(mut self, entity: FlowEntity) -> Self {
        self.entity = entity;
        self
    }

    /// The columns, where the log has no header line, as in CloudWatch Logs: names with blanks between, or the flow
    /// log's own format string with `${…}` around each. `-` stands for a column that does not matter. By default
    /// a log without a header has the columns of the [default format](DEFAULT_COLUMNS).
    pub fn columns(mut self, columns: impl Into<String>) -> Self {
        self.columns = Some(columns.into());
        self
    }

    /// Networks that count as the interface's own side beside the private ranges, for where the log has no
    /// `flow-direction`: a VPC may use public addresses. None by default. May be called repeatedly.
    pub fn own_networks(mut self, networks: impl IntoIterator<Item = Ipv4Net>) -> Self {
        self.own.extend(networks);
        self
    }

    /// Keeps only flows to these ports of the interface, such as 22 and 443; all by default. It also keeps answers to connections
    /// from inside away, which can otherwise be told from uses only by `tcp-flags`. May be called repeatedly.
    pub fn ports(mut self, ports: impl IntoIterator<Item = u16>) -> Self {
        self.ports.extend(ports);
        self
    }

    /// Whether a log without the column `action` holds accepted flows alone, because it was set up so; by default such a
    /// log is refused.
    pub fn all_accepted(mut self, all: bool) -> Self {
        self.all_accepted = all;
        self
    }

    /// How long a line may be, in bytes; [`LINE_LIMIT`] by default.
    pub fn line_limit(mut self, bytes: usize) -> Self {
        self.limit = bytes;
        self
    }

    /// The reader, when the columns make sense.
    ///
    /// # Errors
    ///
    /// [`FlowLogError::UnknownField`], [`FlowLogError::Columns`].
    pub fn check(self) -> Result<FlowLog, FlowLogError> {
        let mut log = FlowLog {
            entity: self.entity,
            layout: None,
            own: self.own,
            ports: self.ports,
            all_accepted: self.all_accepted,
            limit: self.limit,
        };
        if let Some(columns) = self.columns {
            let names: Vec<String> = columns
                .split([' ', ','])
                .filter(|name| !name.is_empty())
                .map(|name| {
                    let name = name
                        .strip_prefix("${")
                        .and_then(|name| name.strip_suffix('}'))
                        .unwrap_or(name);
                    name.replace('_', "-")
                })
                .collect();
            for name in &names {
                let known = [FIELDS, TRANSIT_GATEWAY, &["-"]]
                    .iter()
                    .any(|list| list.contains(&name.as_str()));
                if !known {
                    return Err(FlowLogError::UnknownField { name: name.clone() });
                }
            }
            log.layout = Some(Layout::new(&names, &log).map_err(FlowLogError::Columns)?);
        }
        Ok(log)
    }
}

/// VPC flow logs as text: files of S3, whose header line names the columns, and lines as CloudWatch Logs has or exports
/// them (with a time before each), without one.
///
/// A flow gives a pair when it was accepted, came in, and is not the answer to a connection that went out. It came in
/// when `flow-direction` says so; in a log without that field, when its source is foreign and its destination is the
/// interface's own side: a private address, or one of [`Draft::own_networks`]. It is an answer when `tcp-flags`
/// say so; in a log without that field this cannot be seen, and [`Draft::ports`] helps. The address is `pkt-srcaddr` where
/// there is one, so that intermediate hops such as NAT gateways do not hide it, and `srcaddr` otherwise; the time is `start`.
/// Everything else is counted by reason. Parquet files and flow logs of transit gateways are refused.
#[derive(Debug, Clone)]
pub struct FlowLog {
    entity: FlowEntity,
    /// The columns given, for lines before any header.
    layout: Option<Layout>,
    own: Vec<Ipv4Net>,
    ports: Vec<u16>,
    all_accepted: bool,
    limit: usize,
}

impl Default for FlowLog {
    fn default() -> Self {
        Self {
            entity: FlowEntity::default(),
            layout: None,
            own: Vec::new(),
            ports: Vec::new(),
            all_accepted: false,
            limit: LINE_LIMIT,
        }
    }
}

impl FlowLog {
    /// A reader of flow logs in which the entity is the interface.
    pub fn new() -> Self {
        Self::default()
    }

    /// Settings with defaults.
    pub fn draft() -> Draft {
        Draft {
            entity: FlowEntity::default(),
            columns: None,
            own: Vec::new(),
            ports: Vec::new(),
            all_accepted: false,
            limit: LINE_LIMIT,
        }
    }

    /// Whether the address lies on the interface's own side, as far as addresses tell.
    fn is_own(&self, address: Ipv4Addr) -> bool {
        matches!(
            SpecialRange::of(address),
            Some(
                SpecialRange::Private
                    | SpecialRange::Shared
                    | SpecialRange::LinkLocal
                    | SpecialRange::Benchmarking
                    | SpecialRange::Loopback
            )
        ) || self.own.iter().any(|network| network.contains(&address))
    }
}

impl Format for FlowLog {
    fn name(&self) -> &'static str {
        "flow"
    }

    fn read(&self, input: &mut dyn BufRead, sink: &mut dyn Sink) -> Result<(), ReadError> {
        let default = || {
            let names: Vec<String> = DEFAULT_COLUMNS.split(' ').map(str::to_owned).collect();
            Layout::new(&names, self)
        };
        // What is wrong with it matters only when it is used.
        let mut layout = match &self.layout {
            Some(layout) => Ok(layout.clone()),
            None => default(),
        };
        let mut by_default = self.layout.is_none();
        let mut lost = false;
        // Where fields end is kept in four bytes.
        let limit = self.limit.min(u32::MAX as usize);
        read_lines(input, limit, |number, line| {
            let fault = |problem, rest_lost| Malformed {
                place: Place::Line(number),
                problem,
                rest_lost,
            };
            let line = match line {
                Ok([]) => return Ok(()),
                Ok(line) => line,
                Err(fault) => {
                    sink.record();
                    return Ok(sink.malformed(fault)?);
                }
            };
            if line[0].is_ascii_lowercase()
                && memchr::memchr2(b'.', b':', line).is_none() // as in any address
                && let Some(names) = header(line)
            {
                layout = Layout::new(&names, self);
                by_default = false;
                return Ok(());
            }
            sink.record();
            let layout = match &layout {
                Ok(layout) => layout,
                Err(problem) => {
                    sink.malformed(fault(Problem::Line(problem.clone()), true))?;
                    lost = true;
                    return Err(ReadError::Stopped);
                }
            };
            if number == 1
                && let Some(problem) = other_kind(line)
            {
                sink.malformed(fault(problem, true))?;
                lost = true;
                return Err(ReadError::Stopped);
            }
            match layout.parse(line, by_default).and_then(|flow| self.judge(&flow)) {
                Ok(Told::Use(sighting)) => sink.sighting(sighting)?,
                Ok(Told::Dropped(reason)) => sink.dropped(reason),
                Err(problem) => sink.malformed(fault(problem, false))?,
            }
            Ok(())
        })
        .or_else(|error| if lost { Ok(()) } else { Err(error) })
    }
}

/// What a line is for.
enum Told<'a> {
    Use(Sighting<'a>),
    Dropped(DropReason),
}

impl FlowLog {
    /// What becomes of a flow. The first reason counts.
    fn judge<'a>(&self, flow: &Flow<'a, '_>) -> Result<Told<'a>, Problem> {
        let dropped = |reason| Ok(Told::Dropped(reason));
        match flow.get(|of| of.status) {
            b"OK" | b"-" => {}
            b"NODATA" => return dropped(DropReason::FlowNoData),
            b"SKIPDATA" => return dropped(DropReason::FlowSkipData),
            other => return Err(unknown("log-status", other)),
        }
        match flow.get(|of| of.action) {
            b"ACCEPT" => {}
            b"REJECT" => return dropped(DropReason::FlowRejected),
            // A layout without the column is one whose flows are all accepted.
            b"-" if flow.layout.action == ABSENT => {}
            b"-" => return dropped(DropReason::FlowNoData),
            other => return Err(unknown("action", other)),
        }
        let either =
            |packet: &'a [u8], of_interface: &'a [u8]| if packet == b"-" { of_interface } else { packet };
        let source = either(flow.get(|of| of.packet_source), flow.get(|of| of.source));
        match flow.get(|of| of.direction) {
            b"ingress" => {}
            b"egress" => return dropped(DropReason::FlowOutbound),
            b"-" => {
                let target = either(flow.get(|of| of.packet_target), flow.get(|of| of.target));
                // IPv6 has no private side to go by; what becomes of it is for the policy to say.
                if let (Some(from), Some(to)) = (ipv4(source), ipv4(target)) {
                    match (self.is_own(from), self.is_own(to)) {
                        (false, true) => {}
                        (true, false) => return dropped(DropReason::FlowOutbound),
                        (true, true) => return dropped(DropReason::FlowInternal),
                        (false, false) => return dropped(DropReason::FlowDirectionUnknown),
                    }
                }
            }
            other => return Err(unknown("flow-direction", other)),
        }
        match flow.get(|of| of.tcp_flags) {
            b"-" => {}
            text => {
                let flags = decimal(text).ok_or_else(|| unknown("tcp-flags", text))?;
                if is_answer(flags) {
                    return dropped(DropReason::FlowAnswer);
                }
            }
        }
        if !self.ports.is_empty() {
            let port = match flow.get(|of| of.target_port) {
                b"-" => None,
                text => Some(decimal(text).ok_or_else(|| unknown("dstport", text))?),
            };
            if !self.ports.iter().any(|wanted| Some(u64::from(*wanted)) == port) {
                return dropped(DropReason::OtherPort);
            }
        }
        let time = match flow.get(|of| of.start) {
            b"-" => None,
            text => Some(seconds(text).ok_or_else(|| unknown("start", text))?),
        };
        let principal = match flow.get(|of| of.entity) {
            b"-" | b"unknown" => Principal::default(),
            text => Principal::named(std::str::from_utf8(text).map_err(|_| Problem::NotUtf8)?),
        };
        let address = match source {
            b"-" => "",
            text => std::str::from_utf8(text).map_err(|_| Problem::NotUtf8)?,
        };
        Ok(Told::Use(Sighting {
            principal,
            address,
            time,
        }))
    }
}

/// Whether these are flags of TCP's second packet, which only the side that was connected to sends.
pub(super) fn is_answer(tcp_flags: u64) -> bool {
    const SYN_ACK: u64 = 0x12;
    tcp_flags & SYN_ACK == SYN_ACK
}

/// Seconds since 1970.
fn seconds(text: &[u8]) -> Option<Timestamp> {
    let seconds = i64::try_from(decimal(text)?).ok()?;
    Timestamp::from_second(seconds).ok()
}

fn unknown(field: &str, text: &[u8]) -> Problem {
    Problem::Line(format!("`{}` is no `{field}`", shorten(text)))
}

fn shorten(text: &[u8]) -> String {
    super::json::shorten(&String::from_utf8_lossy(text))
}

/// The names of the columns, when the line is a header: no flow has the names of two fields in it.
fn header(line: &[u8]) -> Option<Vec<String>> {
    let line = std::str::from_utf8(line).ok()?;
    let known = |name: &&str| {
        [FIELDS, TRANSIT_GATEWAY]
            .iter()
            .any(|list| list.iter().any(|field| same_name(field, name)))
    };
    let names: Vec<_> = line.split(' ').collect();
    (names.iter().copied().filter(known).count() >= names.len().min(2))
        .then(|| names.into_iter().map(|name| name.replace('_', "-")).collect())
}

/// Whether they are the same but for `_`, which tables made from flow logs have in place of `-`.
fn same_name(field: &str, name: &str) -> bool {
    field.len() == name.len()
        && field
            .bytes()
            .zip(name.bytes())
            .all(|(a, b)| a == b || (a, b) == (b'-', b'_'))
}

/// Whether a line is of a flow log and of nothing else: a header, or a flow in the default format.
pub(super) fn is_certain(line: &[u8]) -> bool {
    if let Some(names) = header(line) {
        // Other fields have names that other tables may have as well.
        return ["srcaddr", "pkt-srcaddr", "interface-id"]
            .iter()
            .any(|name| names.iter().any(|column| column == name));
    }
    let log = FlowLog::new();
    let names: Vec<String> = DEFAULT_COLUMNS.split(' ').map(str::to_owned).collect();
    let flow = Layout::new(&names, &log).ok();
    let flow = flow.as_ref().and_then(|layout| layout.parse(line, true).ok());
    flow.is_some_and(|flow| flow.get(|of| of.entity).starts_with(b"eni-") && log.judge(&flow).is_ok())
}

/// What the first line says about a file that is no flow log; nothing when it may be one.
fn other_kind(line: &[u8]) -> Option<Problem> {
    if let Some(kind) = guess::foreign(line).or_else(|| guess::unread(line)) {
        return Some(Problem::Foreign(kind));
    }
    (line.starts_with(b"{") || line.starts_with(b"[")).then_some(Problem::Foreign(
        "JSON and no flow log as text; take the message out of each event first",
    ))
}

/// Where the fields that count are.
#[derive(Debug, Clone)]
struct Layout {
    columns: usize,
    entity: Column,
    source: Column,
    target: Column,
    packet_source: Column,
    packet_target: Column,
    target_port: Column,
    tcp_flags: Column,
    start: Column,
    direction: Column,
    action: Column,
    status: Column,
}

/// The index of a column; [`ABSENT`] when there is none.
type Column = u8;
const ABSENT: Column = Column::MAX;

/// A line cut into fields.
struct Flow<'a, 'l> {
    line: &'a [u8],
    layout: &'l Layout,
    /// Where each field ends; the blank is not part of it.
    ends: [u32; MOST_COLUMNS + 1],
    /// The field of the first column.
    first: usize,
}

impl<'a> Flow<'a, '_> {
    /// The field of a column, `-` when there is no such column.
    fn get(&self, column: impl FnOnce(&Layout) -> Column) -> &'a [u8] {
        match column(self.layout) {
            ABSENT => b"-",
            column => self.field(usize::from(column)),
        }
    }

    fn field(&self, index: usize) -> &'a [u8] {
        let index = index + self.first;
        let begin = if index == 0 {
            0
        } else {
            self.ends[index - 1] as usize + 1
        };
        &self.line[begin..self.ends[index] as usize]
    }
}

impl Layout {
    /// Finds the columns that `log` needs among these; says what is missing.
    fn new(names: &[String], log: &FlowLog) -> Result<Self, String> {
        if names.iter().any(|name| TRANSIT_GATEWAY.contains(&name.as_str())) {
            return Err("these are flow logs of a transit gateway, which are not read".to_owned());
        }
        if names.len() > MOST_COLUMNS {
            return Err(format!(
                "{} columns are too many; flow logs have at most {MOST_COLUMNS}",
                names.len()
            ));
        }
        let find = |name: &str| {
            let mut found = names.iter().enumerate().filter(|(_, column)| *column == name);
            let first = found.next().map_or(ABSENT, |(index, _)| index as Column);
            match found.next() {
                None => Ok(first),
                Some(_) => Err(format!("there are two columns `{name}`")),
            }
        };
        let layout = Self {
            columns: names.len(),
            entity: find(log.entity.column())?,
            source: find("srcaddr")?,
            target: find("dstaddr")?,
            packet_source: find("pkt-srcaddr")?,
            packet_target: find("pkt-dstaddr")?,
            target_port: find("dstport")?,
            tcp_flags: find("tcp-flags")?,
            start: find("start")?,
            direction: find("flow-direction")?,
            action: find("action")?,
            status: find("log-status")?,
        };
        let absent = |columns: &[Column]| columns.iter().all(|column| *column == ABSENT);
        let mut missing = Vec::new();
        if absent(&[layout.entity]) {
            missing.push(format!("`{}`, the entity", log.entity));
        }
        if absent(&[layout.source, layout.packet_source]) {
            missing.push("`srcaddr` or `pkt-srcaddr`".to_owned());
        }
        if absent(&[layout.direction, layout.target, layout.packet_target]) {
            missing.push("`flow-direction`, or `dstaddr` to tell it by".to_owned());
        }
        if absent(&[layout.action]) && !log.all_accepted {
            missing.push("`action`, to tell accepted flows by".to_owned());
        }
        if absent(&[layout.target_port]) && !log.ports.is_empty() {
            missing.push("`dstport`, to choose ports by".to_owned());
        }
        if missing.is_empty() {
            Ok(layout)
        } else {
            Err(format!("the flow log has no column {}", missing.join("; no ")))
        }
    }

    /// The fields of a line. A line of the default format begins with its version, so that others are not taken for it.
    fn parse<'a>(&self, line: &'a [u8], by_default: bool) -> Result<Flow<'a, '_>, Problem> {
        let mut ends = [0_u32; MOST_COLUMNS + 1];
        let mut count = 0;
        each_blank(line, |end| {
            if let Some(place) = ends.get_mut(count) {
                *place = end as u32;
            }
            count += 1;
        });
        if let Some(place) = ends.get_mut(count) {
            *place = line.len() as u32;
        }
        count += 1;
        // CloudWatch Logs writes the time of each event before it when it exports them.
        let exported = count == self.columns + 1 && is_export_time(&line[..ends[0] as usize]);
        let first = usize::from(exported);
        if count - first != self.columns {
            let fields = if count == 1 { "field" } else { "fields" };
            return Err(Problem::Line(if by_default {
                format!(
                    "{count} {fields}, where the default format has {}; {UNNAMED}",
                    self.columns
                )
            } else {
                format!("{count} {fields}, where there are {} columns", self.columns)
            }));
        }
        let flow = Flow {
            line,
            layout: self,
            ends,
            first,
        };
        if by_default && flow.field(0) != b"2" {
            return Err(Problem::Line(format!(
                "`{}` is not the version of the default format, 2; {UNNAMED}",
                shorten(flow.field(0))
            )));
        }
        Ok(flow)
    }
}

/// Calls `found` with the place of each blank. Fields are too short for a search for the next blank to be worth its
/// start, so eight bytes are looked at at once.
fn each_blank(line: &[u8], mut found: impl FnMut(usize)) {
    const LOW: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    let (chunks, rest) = line.as_chunks::<8>();
    for (number, chunk) in chunks.iter().enumerate() {
        // Zero where there is a blank; then the topmost bit of each byte that is zero, and no other bit.
        let bytes = u64::from_le_bytes(*chunk) ^ 0x2020_2020_2020_2020;
        let mut blanks = !(((bytes & LOW) + LOW) | bytes | LOW);
        while blanks != 0 {
            found(number * 8 + blanks.trailing_zeros() as usize / 8);
            blanks &= blanks - 1;
        }
    }
    for (index, byte) in rest.iter().enumerate() {
        if *byte == b' ' {
            found(chunks.len() * 8 + index);
        }
    }
}

/// What to say of a line that does not fit the default format.
const UNNAMED: &str = "a log of another format without a header line needs its columns named";

/// Whether it is a moment as `2024-05-01T12:00:00.000Z`.
fn is_export_time(text: &[u8]) -> bool {
    text.len() >= 20 && text[4] == b'-' && text[10] == b'T' && text.ends_with(b"Z")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn blanks_are_found(line in proptest::collection::vec(prop_oneof![Just(b' '), Just(0xa0), Just(b'!'), any::<u8>()], 0..60)) {
            let mut found = Vec::new();
            each_blank(&line, |place| found.push(place));
            let expected: Vec<_> = (0..line.len()).filter(|place| line[*place] == b' ').collect();
            prop_assert_eq!(found, expected);
        }
    }
}
