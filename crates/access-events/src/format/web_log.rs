//! Access logs of web servers: who asked for what, from where, and how it ended.

use std::borrow::Cow;
use std::io::BufRead;
use std::net::IpAddr;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;

use super::lines::{Fault, ipv4, read_lines};
use super::{Format, LINE_LIMIT, Malformed, Place, Problem, ReadError, Sink};
use crate::report::DropReason;
use crate::sighting::{Principal, Sighting};

/// Access logs of Apache and NGINX in the common or combined format, one request a line:
///
/// ```text
/// 192.0.2.7 - alice [10/Oct/2000:13:55:36 -0700] "GET /login_success HTTP/1.1" 200 2326
/// 192.0.2.7 - alice [10/Oct/2000:13:55:36 -0700] "GET /a HTTP/1.1" 200 2326 "https://example.com/" "Mozilla/5.0"
/// ```
///
/// The entity is the user, the third field; requests without one (`-`) are left out. Escapes of either server in it are
/// undone (`\"`, `\\`, `\xc3\xbc`), unless that gives control characters or no UTF-8: then it stays as it is written.
/// The address is the first field, which may be a list as in `X-Forwarded-For`, with blanks after its commas or in quotes; the policy
/// chooses. A virtual host before it (Apache's `%v:%p %h …`, or `%v %h …` where an address follows) is passed over. What
/// comes after the size is not looked at, unless [`forwarded`](Self::forwarded) asks for it.
#[derive(Debug, Clone)]
#[must_use]
pub struct WebLog {
    requests: Vec<String>,
    statuses: Vec<u16>,
    forwarded: bool,
    limit: usize,
}

impl Default for WebLog {
    fn default() -> Self {
        Self {
            requests: Vec::new(),
            statuses: Vec::new(),
            forwarded: false,
            limit: LINE_LIMIT,
        }
    }
}

impl WebLog {
    /// A reader of access logs, of all requests.
    pub fn new() -> Self {
        Self::default()
    }

    /// Keeps requests that begin like this, such as `GET /login_success`: method, blank, and the beginning of the path,
    /// as the log has them. All are kept by default. May be called repeatedly; one of them is enough.
    pub fn request(mut self, prefix: impl Into<String>) -> Self {
        self.requests.push(prefix.into());
        self
    }

    /// Keeps requests that were answered with this status, such as 200. All are kept by default. May be called
    /// repeatedly; one of them is enough.
    pub fn status(mut self, status: u16) -> Self {
        self.statuses.push(status);
        self
    }

    /// Whether the address is the third quoted field, after referrer and user agent, where NGINX' format `main` has
    /// `X-Forwarded-For`; the first field remains the address where that is `-`. Not so by default.
    pub fn forwarded(mut self, forwarded: bool) -> Self {
        self.forwarded = forwarded;
        self
    }

    /// How long a line may be, in bytes; [`LINE_LIMIT`] by default.
    pub fn line_limit(mut self, bytes: usize) -> Self {
        self.limit = bytes;
        self
    }

    fn tell(&self, line: &[u8], sink: &mut dyn Sink) -> Result<(), Fault> {
        let line = Line::parse(line)?;
        let wanted = |prefix: &String| line.request.starts_with(prefix.as_bytes());
        if !self.requests.is_empty() && !self.requests.iter().any(wanted) {
            sink.dropped(DropReason::OtherRequest);
            return Ok(());
        }
        if !self.statuses.is_empty() && !line.status.is_some_and(|status| self.statuses.contains(&status)) {
            sink.dropped(DropReason::OtherStatus);
            return Ok(());
        }
        // Apache writes an empty name as two quotes.
        if matches!(line.user, b"-" | b"\"\"") {
            sink.dropped(DropReason::NoPrincipal);
            return Ok(());
        }
        let mut address = line.host;
        if self.forwarded {
            match third_quoted(line.rest)? {
                b"-" => {}
                forwarded => address = forwarded,
            }
        }
        if address == b"-" {
            sink.dropped(DropReason::NoAddress);
            return Ok(());
        }
        let user = unescaped(line.user)?;
        sink.sighting(Sighting {
            principal: Principal::named(&user),
            address: std::str::from_utf8(address).map_err(|_| Problem::NotUtf8)?,
            time: Some(line.time),
        })?;
        Ok(())
    }
}

impl Format for WebLog {
    fn name(&self) -> &'static str {
        "web"
    }

    fn read(&self, input: &mut dyn BufRead, sink: &mut dyn Sink) -> Result<(), ReadError> {
        read_lines(input, self.limit, |number, line| {
            if matches!(line, Ok([])) {
                return Ok(());
            }
            sink.record();
            let fault = match line {
                Err(fault) => fault,
                Ok(line) => match self.tell(line, sink) {
                    Ok(()) => return Ok(()),
                    Err(Fault::Stopped) => return Err(ReadError::Stopped),
                    Err(Fault::Problem(problem)) => Malformed {
                        place: Place::Line(number),
                        problem,
                        rest_lost: false,
                    },
                },
            };
            Ok(sink.malformed(fault)?)
        })
    }
}

/// The parts of a line, as they are written.
#[derive(Debug, PartialEq, Eq)]
struct Line<'a> {
    host: &'a [u8],
    user: &'a [u8],
    time: Timestamp,
    /// Without its quotes.
    request: &'a [u8],
    /// Nothing for `-`.
    status: Option<u16>,
    /// What comes after the size.
    rest: &'a [u8],
}

/// Whether a line is of such a log and of nothing else.
pub(super) fn is_certain(line: &[u8]) -> bool {
    Line::parse(line).is_ok()
}

/// How long `[10/Oct/2000:13:55:36 -0700]` is.
const TIME: usize = 28;

impl<'a> Line<'a> {
    fn parse(line: &'a [u8]) -> Result<Self, Problem> {
        let (head, time, tail) = split_at_time(line)?;
        let (host, user) = split_head(head)?;
        let (request, tail) =
            quoted(tail).ok_or_else(|| problem("the request's closing quote is missing"))?;
        let mut fields = tail
            .strip_prefix(b" ")
            .unwrap_or(b"")
            .splitn(3, |byte| *byte == b' ');
        let status = match fields.next() {
            Some(b"-") => None,
            Some([a @ b'0'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9']) => {
                let [a, b, c] = [a, b, c].map(|digit| u16::from(digit - b'0'));
                Some(a * 100 + b * 10 + c)
            }
            _ => return Err(problem("no status of three digits after the request")),
        };
        match fields.next() {
            Some(b"-") => {}
            Some(size) if !size.is_empty() && size.iter().all(u8::is_ascii_digit) => {}
            _ => return Err(problem("no size after the status")),
        }
        Ok(Self {
            host,
            user,
            time,
            request,
            status,
            rest: fields.next().unwrap_or_default(),
        })
    }
}

fn problem(text: impl Into<String>) -> Problem {
    Problem::Line(text.into())
}

/// What to say where the parts before the request cannot be found.
const COMMON: &str =
    "the common format is `host ident user [10/Oct/2000:13:55:36 -0700] \"request\" status size`";

/// What comes before the time, the time, and what comes after it from the request's opening quote on.
///
/// Servers escape quotes in what clients send, so the first bracket with a whole time and a quote after it is the
/// true one, whatever a user's name holds.
fn split_at_time(line: &[u8]) -> Result<(&[u8], Timestamp, &[u8]), Problem> {
    for at in memchr::memchr_iter(b'[', line) {
        let (head, rest) = line.split_at(at);
        let Some(head) = head.strip_suffix(b" ") else {
            continue;
        };
        let Some((time, tail)) = rest.split_first_chunk::<TIME>() else {
            break;
        };
        if !tail.starts_with(b" \"") {
            continue;
        }
        if let Some(fields) = TimeFields::of(time) {
            let time = fields.timestamp().ok_or_else(|| {
                problem(format!(
                    "`{}` is no time that exists",
                    String::from_utf8_lossy(time)
                ))
            })?;
            return Ok((head, time, &tail[1..]));
        }
    }
    Err(problem(format!(
        "no time in brackets with a request after it; {COMMON}"
    )))
}

/// The numbers of a time, which need not be one that exists.
struct TimeFields {
    year: i16,
    month: i8,
    day: i8,
    hour: i8,
    minute: i8,
    second: i8,
    /// Seconds east of Greenwich.
    offset: i32,
}

impl TimeFields {
    fn of(text: &[u8; TIME]) -> Option<Self> {
        let two = |at: usize| {
            let [tens, ones] = [text[at].wrapping_sub(b'0'), text[at + 1].wrapping_sub(b'0')];
            (tens < 10 && ones < 10).then(|| (tens * 10 + ones) as i8)
        };
        let punctuation = text[3] == b'/'
            && text[7] == b'/'
            && text[12] == b':'
            && text[15] == b':'
            && text[18] == b':'
            && text[21] == b' '
            && text[27] == b']';
        if !punctuation {
            return None;
        }
        let month = match &text[4..7] {
            b"Jan" => 1,
            b"Feb" => 2,
            b"Mar" => 3,
            b"Apr" => 4,
            b"May" => 5,
            b"Jun" => 6,
            b"Jul" => 7,
            b"Aug" => 8,
            b"Sep" => 9,
            b"Oct" => 10,
            b"Nov" => 11,
            b"Dec" => 12,
            _ => return None,
        };
        let offset = i32::from(two(23)?) * 3600 + i32::from(two(25)?) * 60;
        Some(Self {
            year: i16::from(two(8)?) * 100 + i16::from(two(10)?),
            month,
            day: two(1)?,
            hour: two(13)?,
            minute: two(16)?,
            second: two(19)?,
            offset: match text[22] {
                b'+' => offset,
                b'-' => -offset,
                _ => return None,
            },
        })
    }

    fn timestamp(&self) -> Option<Timestamp> {
        // A minute may have a 61st second, which is the next minute's first one here.
        let leap = i8::from(self.second == 60);
        let second = self.second - leap;
        let local = DateTime::new(self.year, self.month, self.day, self.hour, self.minute, second, 0).ok()?;
        let time = Offset::from_seconds(self.offset).ok()?.to_timestamp(local).ok()?;
        Timestamp::from_second(time.as_second() + i64::from(leap)).ok()
    }
}

/// The host and the user of `host ident user`, where a virtual host may be before it. The user may hold blanks.
fn split_head(head: &[u8]) -> Result<(&[u8], &[u8]), Problem> {
    let short = || problem(format!("fewer than three fields before the time; {COMMON}"));
    let (first, rest) = host(head).ok_or_else(short)?;
    let (second, after) = host(rest).ok_or_else(short)?;
    // An ident is no address, and a host has no port: `www.example.com:443 192.0.2.7 - alice`.
    let virtual_host = (second != b"-" && is_address(second)) || has_port(first);
    let user = if virtual_host { user(after) } else { user(rest) };
    Ok((if virtual_host { second } else { first }, user.ok_or_else(short)?))
}

/// The host, which may be a list or in quotes, and what comes after the blank behind it.
fn host(text: &[u8]) -> Option<(&[u8], &[u8])> {
    if text.starts_with(b"\"") {
        let (host, rest) = quoted(text)?;
        return Some((host, rest.strip_prefix(b" ")?));
    }
    for end in memchr::memchr_iter(b' ', text) {
        if end > 0 && text[end - 1] != b',' {
            return Some((&text[..end], &text[end + 1..]));
        }
    }
    None
}

/// The user of `ident user`.
fn user(text: &[u8]) -> Option<&[u8]> {
    let end = memchr::memchr(b' ', text).filter(|end| *end > 0)?;
    Some(&text[end + 1..]).filter(|user| !user.is_empty())
}

/// Whether it is an address, or a list that begins with one.
fn is_address(host: &[u8]) -> bool {
    let first = host.split(|byte| *byte == b',').next().unwrap_or_default();
    ipv4(first).is_some() || std::str::from_utf8(first).is_ok_and(|first| first.parse::<IpAddr>().is_ok())
}

/// Whether it is a name with a port. An address with a port is no virtual host but a client, as some proxies write it.
fn has_port(host: &[u8]) -> bool {
    let Some(colon) = memchr::memrchr(b':', host).filter(|colon| *colon > 0) else {
        return false;
    };
    let (name, port) = (&host[..colon], &host[colon + 1..]);
    !port.is_empty() && port.iter().all(u8::is_ascii_digit) && !name.contains(&b':') && !is_address(name)
}

/// What is inside of the quotes that the text begins with, and what comes after them. A backslash keeps what follows it.
fn quoted(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let inner = text.strip_prefix(b"\"")?;
    let mut from = 0;
    loop {
        let at = from + memchr::memchr2(b'"', b'\\', &inner[from..])?;
        if inner[at] == b'"' {
            return Some((&inner[..at], &inner[at + 1..]));
        }
        from = (at + 2).min(inner.len());
    }
}

fn third_quoted(rest: &[u8]) -> Result<&[u8], Problem> {
    let third = || {
        let (_, rest) = quoted(rest)?;
        let (_, rest) = quoted(rest.strip_prefix(b" ")?)?;
        quoted(rest.strip_prefix(b" ")?)
    };
    let (forwarded, _) =
        third().ok_or_else(|| problem("no third quoted field, for the forwarded address, after the size"))?;
    Ok(forwarded)
}

/// The name behind the escapes of Apache and NGINX: `\"`, `\\` and `\xhh`. As it is written where what comes out has control
/// characters or is no UTF-8.
fn unescaped(text: &[u8]) -> Result<Cow<'_, str>, Problem> {
    let written = std::str::from_utf8(text).map_err(|_| Problem::NotUtf8)?;
    if memchr::memchr(b'\\', text).is_none() {
        return Ok(Cow::Borrowed(written));
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte != b'\\' {
            bytes.push(*byte);
            continue;
        }
        match after {
            [escaped @ (b'"' | b'\\'), after @ ..] => {
                bytes.push(*escaped);
                rest = after;
            }
            [b'x', high, low, after @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                bytes.push(hex(*high) << 4 | hex(*low));
                rest = after;
            }
            _ => bytes.push(b'\\'),
        }
    }
    Ok(match String::from_utf8(bytes) {
        Ok(name) if !name.contains(char::is_control) => Cow::Owned(name),
        _ => Cow::Borrowed(written),
    })
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}
