//! The frame of a page, and the small things that pages are made of.

use std::{fmt::Write, sync::LazyLock};

use http::StatusCode;
use maud::{DOCTYPE, Markup, html};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{guard::Site, href, picture};
use crate::{ACCOUNT, api::ApiError, s3::hex, time::Seconds};

pub(super) const SCRIPT: &str = include_str!("assets/console.js");
pub(super) const ICON: &str = include_str!("assets/icon.svg");

/// The style of the pages, and that of the pictures in them.
pub(super) fn style() -> &'static str {
    static STYLE: LazyLock<String> =
        LazyLock::new(|| format!("{}\n{}", include_str!("assets/console.css"), picture::style()));
    &STYLE
}

/// What tells a version of a file from another.
pub(super) fn tag(text: &str) -> String {
    let digest = hex(Sha256::digest(text.as_bytes()));
    format!("\"{}\"", &digest[..16])
}

/// Where in the console a page is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Section {
    Overview,
    Machines,
    Jobs,
    Endpoints,
    Buckets,
    Connect,
    None,
}

const SECTIONS: [(Section, &str, &str); 6] = [
    (Section::Overview, "", "Overview"),
    (Section::Machines, "machines", "State machines"),
    (Section::Jobs, "jobs", "Jobs"),
    (Section::Endpoints, "endpoints", "Endpoints"),
    (Section::Buckets, "buckets", "Buckets"),
    (Section::Connect, "connect", "Connect"),
];

/// A page: what it says, and which parts of it change.
pub(super) struct View {
    section: Section,
    title: String,
    /// The pages above, with their addresses.
    trail: Vec<(String, String)>,
    parts: Vec<Part>,
    /// Whether something in it may still change.
    pub(super) live: bool,
    pub(super) status: StatusCode,
}

/// A part of a page.
struct Part {
    /// Of one that changes.
    name: Option<&'static str>,
    markup: Markup,
}

/// The part that is read out when it changes, so it is short.
pub(super) const STATUS: &str = "status";

impl View {
    pub(super) fn new(section: Section, title: impl Into<String>) -> Self {
        Self {
            section,
            title: title.into(),
            trail: Vec::new(),
            parts: Vec::new(),
            live: true,
            status: StatusCode::OK,
        }
    }

    /// One more page above this one.
    pub(super) fn under(mut self, name: impl Into<String>, address: String) -> Self {
        self.trail.push((name.into(), address));
        self
    }

    /// Whether it may still change.
    pub(super) fn live(mut self, live: bool) -> Self {
        self.live = live;
        self
    }

    pub(super) fn status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// A part that stays as it is.
    pub(super) fn fixed(mut self, markup: Markup) -> Self {
        self.parts.push(Part { name: None, markup });
        self
    }

    /// A part that changes, by a name of its own.
    pub(super) fn part(mut self, name: &'static str, markup: Markup) -> Self {
        let name = Some(name);
        self.parts.push(Part { name, markup });
        self
    }

    /// The parts that change.
    pub(super) fn changing(self) -> impl Iterator<Item = (&'static str, String)> {
        self.parts
            .into_iter()
            .filter_map(|part| Some((part.name?, part.markup.into_string())))
    }
}

/// Why there is no page.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) status: StatusCode,
    message: String,
}

impl Problem {
    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::NOT_FOUND,
            message: message.into(),
        }
    }

    pub(super) fn forbidden(message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::FORBIDDEN,
            message: message.into(),
        }
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            message: message.into(),
        }
    }

    pub(super) fn failed(message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            message: message.into(),
        }
    }

    pub(super) fn too_many() -> Self {
        Self {
            status: StatusCode::SERVICE_UNAVAILABLE,
            message: "Too many pages are told of changes already: close some, or reload this one.".to_owned(),
        }
    }

    pub(super) fn view(&self) -> View {
        let title = match self.status {
            StatusCode::NOT_FOUND => "Not found",
            StatusCode::FORBIDDEN => "Refused",
            StatusCode::BAD_REQUEST => "That did not work",
            _ => "Something went wrong",
        };
        View::new(Section::None, title)
            .live(false)
            .status(self.status)
            .fixed(html! { p.lead { (self.message) } p { a href="/console" { "To the overview" } } })
    }
}

impl From<ApiError> for Problem {
    fn from(error: ApiError) -> Self {
        let missing = ["DoesNotExist", "NotFound", "NotFoundException"]
            .iter()
            .any(|end| error.code.ends_with(end))
            || error.message.starts_with("Could not find")
            || error.message.starts_with("Requested resource not found");
        Self {
            status: if missing {
                StatusCode::NOT_FOUND
            } else {
                error.status
            },
            message: format!("{}: {}", error.code, error.message),
        }
    }
}

/// What of the frame is shown.
#[derive(Clone, Copy)]
pub(super) enum Shown<'a> {
    /// No way into the console: the reader may not.
    Nothing,
    Frame {
        authority: &'a str,
        /// The token with which the reader signs out.
        signed_in: Option<&'a str>,
    },
}

impl<'a> Shown<'a> {
    pub(super) fn of(site: &'a Site) -> Self {
        let authority = site.authority();
        Self::Frame {
            authority,
            signed_in: None,
        }
    }

    pub(super) fn signed_in(self, token: Option<&'a str>) -> Self {
        match self {
            Self::Nothing => Self::Nothing,
            Self::Frame { authority, .. } => Self::Frame {
                authority,
                signed_in: token,
            },
        }
    }
}

/// The whole document. `stream` is where its changes come from.
pub(super) fn document(view: &View, shown: Shown<'_>, stream: Option<&str>) -> String {
    let document = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (view.title) " · aws-local" }
                link rel="icon" href="/console/assets/icon.svg" type="image/svg+xml";
                link rel="stylesheet" href="/console/assets/console.css";
                script src="/console/assets/console.js" defer {}
            }
            body {
                a.skip href="#main" { "Skip to the content" }
                header.top {
                    a.brand href="/console" { span.mark aria-hidden="true" {} "aws-local" }
                    @if let Shown::Frame { signed_in, .. } = shown {
                        nav aria-label="Console" {
                            ul {
                                @for (section, page, name) in SECTIONS {
                                    @let current = (section == view.section).then_some(
                                        if view.trail.is_empty() { "page" } else { "true" }
                                    );
                                    li { a href=(href(page, &[])) aria-current=[current] { (name) } }
                                }
                            }
                        }
                        @if let Some(token) = signed_in {
                            form.out method="post" action="/console/sign-out" {
                                input type="hidden" name="token" value=(token);
                                button type="submit" { "Sign out" }
                            }
                        }
                    }
                }
                main #main data-live=[stream] {
                    @if !view.trail.is_empty() {
                        nav.trail aria-label="Breadcrumbs" {
                            ol {
                                @for (name, address) in &view.trail {
                                    li { a href=(address) { (name) } }
                                }
                                li aria-current="page" { (view.title) }
                            }
                        }
                    }
                    h1 { (view.title) }
                    @for part in &view.parts {
                        @match part.name {
                            None => (part.markup),
                            Some(name) => div.part id=(format!("part-{name}")) data-part=(name)
                                aria-live=[(name == STATUS).then_some("polite")] { (part.markup) },
                        }
                    }
                }
                footer {
                    p {
                        @if let Shown::Frame { authority, .. } = shown {
                            span.code { (authority) } ", account " span.code { (ACCOUNT) } ". "
                        }
                        "Times are UTC."
                    }
                    @if stream.is_some() {
                        p #connection role="status" { "Reload the page to see what has changed." }
                    }
                }
            }
        }
    };
    document.into_string()
}

/// A status in words, with a sign and a colour.
pub(super) fn badge(status: &str) -> Markup {
    let (class, sign) = match status {
        "SUCCEEDED" | "Succeeded" | "Completed" | "InService" => ("good", "✓"),
        "FAILED" | "Failed" | "TIMED_OUT" | "UpdateRollbackFailed" => ("bad", "✕"),
        "RUNNING" | "InProgress" | "In progress" | "Creating" | "Updating" | "Stopping" | "Deleting" => {
            ("busy", "●")
        }
        "Caught error" => ("warn", "!"),
        _ => ("idle", "–"),
    };
    html! { span class=(format!("badge {class}")) { span.sign aria-hidden="true" { (sign) } (words(status)) } }
}

/// `TIMED_OUT` and `InService` as one reads them.
pub(super) fn words(status: &str) -> String {
    let mut text = String::new();
    let shouted = !status.chars().any(char::is_lowercase);
    for c in status.chars() {
        match c {
            '_' => text.push(' '),
            c if text.is_empty() => text.extend(c.to_uppercase()),
            c if shouted => text.extend(c.to_lowercase()),
            c if c.is_uppercase() && !text.ends_with(' ') => {
                text.push(' ');
                text.extend(c.to_lowercase());
            }
            c => text.push(c),
        }
    }
    text
}

/// A moment as the services write it.
pub(super) fn moment(seconds: &Value) -> Markup {
    match seconds.as_f64().and_then(timestamp) {
        None => html! { span.quiet { "–" } },
        Some(time) => {
            let machine = time.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string();
            html! { time datetime=(machine) title=(machine) { (time.strftime("%Y-%m-%d %H:%M:%S").to_string()) } }
        }
    }
}

/// Of a day that is known.
pub(super) fn clock(seconds: Seconds) -> String {
    timestamp(seconds).map_or(String::new(), |time| time.strftime("%H:%M:%S.%3f").to_string())
}

fn timestamp(seconds: Seconds) -> Option<jiff::Timestamp> {
    jiff::Timestamp::from_millisecond((seconds * 1000.0).round() as i64).ok()
}

/// The time between two moments; nothing while there is no end.
pub(super) fn took(from: &Value, to: &Value) -> String {
    match (from.as_f64(), to.as_f64()) {
        (Some(from), Some(to)) => duration((to - from).max(0.0)),
        _ => "–".to_owned(),
    }
}

/// So many seconds.
pub(super) fn duration(seconds: Seconds) -> String {
    let whole = seconds.round() as u64;
    match seconds {
        _ if seconds < 1.0 => format!("{} ms", (seconds * 1000.0).round()),
        _ if seconds < 60.0 => format!("{seconds:.2} s"),
        _ if whole < 3600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole / 60 % 60),
    }
}

/// So many bytes.
pub(super) fn bytes(size: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = size as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    match unit {
        0 => format!("{size} B"),
        _ => format!("{value:.1} {}", units[unit]),
    }
}

/// The most of a text that a page shows.
const MOST_TEXT: usize = 64 * 1024;

/// A text in full width, JSON on many lines.
pub(super) fn text_block(text: &str) -> Markup {
    let pretty = serde_json::from_str::<Value>(text)
        .ok()
        .filter(|value| value.is_object() || value.is_array())
        .and_then(|value| serde_json::to_string_pretty(&value).ok());
    let text = pretty.as_deref().unwrap_or(text);
    let (shown, rest) = cut(text, MOST_TEXT);
    html! {
        pre { (shown) }
        @if rest > 0 { p.quiet { "The first " (bytes(MOST_TEXT as u64)) ", of " (bytes((shown.len() + rest) as u64)) "." } }
    }
}

/// The beginning of a text, of so many bytes at the most, and how many are left out.
pub(super) fn cut(text: &str, most: usize) -> (&str, usize) {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    (&text[..end], text.len() - end)
}

/// A text of a document as a text.
pub(super) fn text<'a>(value: &'a Value, member: &str) -> &'a str {
    value[member].as_str().unwrap_or_default()
}

pub(super) fn list<'a>(value: &'a Value, member: &str) -> &'a [Value] {
    value[member].as_array().map_or(&[], Vec::as_slice)
}

/// Names and what they stand for.
pub(super) fn facts(facts: &[(&str, Markup)]) -> Markup {
    html! {
        dl.facts {
            @for (name, value) in facts { div { dt { (name) } dd { (value) } } }
        }
    }
}

/// A value as code; it may be broken anywhere, and what it holds does not turn the text around it.
pub(super) fn code(value: &str) -> Markup {
    html! { bdi.code { (value) } }
}

/// What stands in place of a table without rows.
pub(super) fn nothing(what: &str) -> Markup {
    html! { p.nothing { (what) } }
}

/// What went wrong, where one looks first.
pub(super) fn alert(title: &str, message: &str) -> Markup {
    html! { div.alert role="alert" { strong { (title) } p { (message) } } }
}

/// What a form was refused for: the first that a reader of the page hears.
pub(super) fn refusal(title: &str, message: &str) -> Markup {
    html! { div.alert role="alert" tabindex="-1" autofocus { strong { (title) } p { (message) } } }
}

/// The hidden field that every form carries.
pub(super) fn token(token: &str) -> Markup {
    html! { input type="hidden" name="token" value=(token); }
}

/// A table with what stands above its columns; those that begin with `#` hold numbers.
pub(super) fn table(caption: &str, columns: &[&str], rows: &[Markup]) -> Markup {
    html! {
        div.wide {
            table {
                caption.unseen { (caption) }
                thead { tr { @for column in columns {
                    @match column.strip_prefix('#') {
                        Some(column) => th.number scope="col" { (column) },
                        None => th scope="col" { (column) },
                    }
                } } }
                tbody { @for row in rows { (row) } }
            }
        }
    }
}

/// The lines of a log, the last ones.
pub(super) fn log(lines: &[(u64, String)], left_out: usize) -> Markup {
    let mut text = String::new();
    for (at, line) in lines {
        let _ = writeln!(text, "{}  {}", clock(*at as f64 / 1000.0), line);
    }
    html! {
        @if lines.is_empty() { (nothing("Nothing is logged yet.")) } @else {
            @if left_out > 0 { p.quiet { "The last " (lines.len()) " of " (lines.len() + left_out) " lines." } }
            pre.log { (text) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_in_words() {
        for (status, expected) in [
            ("TIMED_OUT", "Timed out"),
            ("RUNNING", "Running"),
            ("InService", "In service"),
            ("Caught error", "Caught error"),
            ("UpdateRollbackFailed", "Update rollback failed"),
        ] {
            assert_eq!(words(status), expected);
        }
    }

    #[test]
    fn amounts() {
        assert_eq!(duration(0.0123), "12 ms");
        assert_eq!(duration(3.456), "3.46 s");
        assert_eq!(duration(61.0), "1 min 1 s");
        assert_eq!(duration(3_725.0), "1 h 2 min");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(cut("aé", 2), ("a", 2));
    }

    /// What is written on what, by the names of the style sheet.
    const WRITTEN: [(&str, &str); 16] = [
        ("ink", "paper"),
        ("ink", "soft"),
        ("ink", "bad-soft"),
        ("muted", "paper"),
        ("muted", "soft"),
        ("link", "paper"),
        ("link", "soft"),
        ("on-press", "press"),
        ("good", "good-soft"),
        ("bad", "bad-soft"),
        ("bad", "paper"),
        ("bad", "soft"),
        ("busy", "busy-soft"),
        ("warn", "warn-soft"),
        ("idle", "idle-soft"),
        ("ink", "idle-soft"),
    ];

    #[test]
    fn everything_written_has_the_contrast_that_readers_need() {
        let (light, dark) = style().split_once("@media (prefers-color-scheme: dark)").unwrap();
        for (scheme, sheet) in [("light", light), ("dark", dark)] {
            let light_of = |name: &str| {
                let (_, rest) = sheet.split_once(&format!("--{name}: #")).unwrap();
                let part = |at: usize| {
                    let part = u8::from_str_radix(&rest[at..at + 2], 16).unwrap();
                    let part = f64::from(part) / 255.0;
                    if part <= 0.04045 {
                        part / 12.92
                    } else {
                        ((part + 0.055) / 1.055).powf(2.4)
                    }
                };
                0.2126 * part(0) + 0.7152 * part(2) + 0.0722 * part(4)
            };
            let contrast = |a: &str, b: &str| {
                let (a, b) = (light_of(a), light_of(b));
                (a.max(b) + 0.05) / (a.min(b) + 0.05)
            };
            for (ink, paper) in WRITTEN {
                let contrast = contrast(ink, paper);
                assert!(contrast >= 4.5, "{scheme}: {ink} on {paper}: {contrast:.2}");
            }
            // The frames of fields.
            assert!(contrast("edge", "paper") >= 3.0, "{scheme}");
        }
    }
}
