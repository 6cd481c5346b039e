//! The rows of a request that is an object: one after the other, so that CSV and JSON Lines need not be in memory.

use std::io::{self, BufRead, BufReader, Read};
use std::vec;

use access_events::{AccessEvent, csv};
use ipinsights::inference::{self, InferenceError, RequestFormat};

/// The largest object that is a request: the service's 1 GB.
pub(super) const MAX_REQUEST: u64 = 1 << 30;

/// The largest request that is one JSON document, which is read into memory.
pub(super) const MAX_DOCUMENT: u64 = 64 << 20;

/// The longest line of JSON Lines, in bytes: no request that is not an object has a longer one.
const LONGEST_LINE: u64 = inference::MAX_BODY_BYTES as u64;

/// Why there is no further row.
#[derive(Debug)]
pub(super) enum RowError {
    /// The object cannot be read.
    Read(io::Error),
    /// What is there is no row.
    Bad(InferenceError),
}

/// Rows, until one is not to be had.
pub(super) enum Rows<R> {
    Csv(csv::Reader<R>),
    Lines(Lines<R>),
    Document(vec::IntoIter<AccessEvent>),
}

impl<R: Read> Rows<R> {
    /// Those of an object; of a JSON document all of it is read.
    pub(super) fn of(format: RequestFormat, mut object: R) -> Result<Self, RowError> {
        Ok(match format {
            RequestFormat::Csv => Self::Csv(csv::Reader::new(object)),
            RequestFormat::JsonLines => Self::Lines(Lines {
                from: BufReader::new(object),
                line: Vec::new(),
                number: 0,
            }),
            _ => {
                let mut body = Vec::new();
                object.read_to_end(&mut body).map_err(RowError::Read)?;
                let events = inference::decode_request(format, &body).map_err(RowError::Bad)?;
                Self::Document(events.into_iter())
            }
        })
    }
}

impl<R: Read> Iterator for Rows<R> {
    type Item = Result<AccessEvent, RowError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Csv(rows) => rows.next().map(|row| {
                row.map_err(|error| match error {
                    access_events::Error::Read { source, .. } => RowError::Read(source),
                    error => RowError::Bad(error.into()),
                })
            }),
            Self::Lines(lines) => lines.next().transpose(),
            Self::Document(events) => events.next().map(Ok),
        }
    }
}

/// Lines of JSON.
pub(super) struct Lines<R> {
    from: BufReader<R>,
    line: Vec<u8>,
    /// The last line's, from one.
    number: usize,
}

impl<R: Read> Lines<R> {
    /// The next line's event; lines with nothing in them are passed over.
    fn next(&mut self) -> Result<Option<AccessEvent>, RowError> {
        let bad = |record, reason| RowError::Bad(InferenceError::Record { record, reason });
        loop {
            self.line.clear();
            let mut part = (&mut self.from).take(LONGEST_LINE + 1);
            if part.read_until(b'\n', &mut self.line).map_err(RowError::Read)? == 0 {
                return Ok(None);
            }
            self.number += 1;
            if self.line.len() as u64 > LONGEST_LINE {
                let reason = format!("the line is longer than {LONGEST_LINE} bytes");
                return Err(bad(self.number, reason));
            }
            let events = inference::decode_request(RequestFormat::JsonLines, &self.line);
            let mut events = events.map_err(|error| match error {
                InferenceError::Record { reason, .. } => bad(self.number, reason),
                error => RowError::Bad(error),
            })?;
            if let Some(event) = events.pop() {
                return Ok(Some(event));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rows, and why there are no more.
    fn all(format: RequestFormat, body: &str) -> (Vec<String>, Option<String>) {
        let mut found = Vec::new();
        let rows = match Rows::of(format, body.as_bytes()) {
            Ok(rows) => rows,
            Err(error) => return (found, Some(format!("{error:?}"))),
        };
        for row in rows {
            match row {
                Ok(event) => found.push(format!("{} {}", event.entity, event.ip)),
                Err(RowError::Bad(error)) => return (found, Some(error.to_string())),
                Err(error) => return (found, Some(format!("{error:?}"))),
            }
        }
        (found, None)
    }

    #[test]
    fn rows_are_those_of_the_whole_body() {
        let events = [
            AccessEvent::new("France", [10, 0, 0, 1].into()),
            AccessEvent::new("a, \"b\"\n", [10, 0, 0, 2].into()),
        ];
        for format in [RequestFormat::Csv, RequestFormat::Json, RequestFormat::JsonLines] {
            let body = inference::encode_request(format, &events).unwrap();
            let (found, error) = all(format, std::str::from_utf8(&body).unwrap());
            assert_eq!(found, ["France 10.0.0.1", "a, \"b\"\n 10.0.0.2"], "{format}");
            assert_eq!(error, None);
        }
    }

    #[test]
    fn a_bad_row_is_told_by_its_place_in_the_object() {
        let line = r#"{"features":["a","10.0.0.1"]}"#;
        let (found, error) = all(
            RequestFormat::JsonLines,
            &format!("{line}\n\n{line}\n{{}}\n{line}"),
        );
        assert_eq!(found.len(), 2);
        assert!(error.unwrap().starts_with("record 4: an instance must be"));
        let (found, error) = all(RequestFormat::Csv, "a,10.0.0.1\nb,nowhere\n");
        assert_eq!(found.len(), 1);
        assert!(error.unwrap().starts_with("line 2: `nowhere`"));
        let long = format!("{line}\n{}", " ".repeat(7 << 20));
        let (found, error) = all(RequestFormat::JsonLines, &long);
        assert_eq!(
            (found.len(), error.as_deref()),
            (1, Some("record 2: the line is longer than 6291456 bytes"))
        );
    }
}
