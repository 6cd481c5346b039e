//! What is told of a request that was answered.

use std::net::Ipv4Addr;
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;

use crate::answer::Counts;

/// Takes what is told of requests, one entry for each.
pub type Log = Arc<dyn Fn(&LogEntry) + Send + Sync>;

/// One answered request. Serializes as one line of a structured log.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct LogEntry {
    /// When the answer was ready.
    #[serde(serialize_with = "as_text")]
    pub timestamp: Timestamp,
    /// How much it matters.
    pub level: Level,
    /// For people: `answered` or `refused`.
    pub message: &'static str,
    /// The invocation's id, as Lambda gives it; nothing elsewhere.
    #[serde(rename = "requestId", skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// The method.
    pub method: String,
    /// The path, where there is something at it; other paths are somebody's text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<&'static str>,
    /// Of the answer.
    pub status: u16,
    /// How long it took.
    pub milliseconds: u64,
    /// The problem's name, where the request was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<&'static str>,
    /// Why the endpoint gave no scores. The names of entities and addresses are left out of it, unless they were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// Of the rows, where there were any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counts: Option<Counts>,
    /// The anomalous rows, where identifiers were asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub flagged: Vec<Flagged>,
}

fn as_text<S: serde::Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(time)
}

/// How much an entry matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
#[non_exhaustive]
pub enum Level {
    /// It was answered.
    Info,
    /// The request was refused.
    Warn,
    /// The endpoint, or this program, failed.
    Error,
}

/// An anomalous row in a log.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Flagged {
    /// Who.
    pub entity: String,
    /// From where.
    pub ip: Ipv4Addr,
    /// Larger is more normal.
    pub score: Option<f32>,
}

/// What handlers tell of an answer, until it is an entry.
#[derive(Debug, Clone, Default)]
pub(crate) struct Told {
    pub(crate) problem: Option<&'static str>,
    pub(crate) cause: Option<String>,
    pub(crate) counts: Option<Counts>,
    pub(crate) flagged: Vec<Flagged>,
}

impl Level {
    pub(crate) fn of(status: u16) -> Self {
        match status {
            500.. => Self::Error,
            400.. => Self::Warn,
            _ => Self::Info,
        }
    }
}

/// An error with its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}

/// A text without these words, which are compared as they stand: long ones first, so that no part of one is left.
pub(crate) fn without<'a>(mut text: String, words: impl Iterator<Item = &'a str>) -> String {
    let mut words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    words.sort_unstable_by_key(|word| std::cmp::Reverse(word.len()));
    words.dedup();
    for word in words {
        if text.contains(word) {
            text = text.replace(word, "…");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::without;

    #[test]
    fn no_part_of_a_name_is_left() {
        let text = "no scores for ana.smith, ana and 192.0.2.10".to_owned();
        let words = ["ana", "192.0.2.1", "", "ana.smith", "192.0.2.10"];
        assert_eq!(without(text, words.into_iter()), "no scores for …, … and …");
    }
}
