//! Scoring objects of S3 into objects of S3: the work of a transform job.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    str::FromStr,
};

use flate2::bufread::MultiGzDecoder;
use ipinsights::{
    Model,
    inference::{self, InferenceError, RequestFormat, ResponseFormat, ResponseKind},
};
use tokio_util::sync::CancellationToken;

use super::work;
use crate::{
    runtime,
    s3::{self, ObjectStore, StoreError},
};

/// What is to be scored, and how it is cut and put together.
pub(super) struct Batch<'a> {
    /// The objects whose address begins with this.
    pub(super) input: &'a str,
    /// Where `<object>.out` shall be.
    pub(super) output: &'a str,
    pub(super) content_type: &'a str,
    pub(super) accept: Option<&'a str>,
    pub(super) split: Split,
    pub(super) assemble: Assemble,
    /// Whether each record is a request of its own.
    pub(super) single_record: bool,
    pub(super) gzip: bool,
    /// The most bytes of a request.
    pub(super) max_payload: usize,
}

/// How an object is cut into records.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Split {
    /// It is one.
    None,
    Line,
}

/// What comes between the answers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Assemble {
    /// Nothing.
    None,
    Line,
}

/// How a transform ended that did not fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Outcome {
    Completed,
    Stopped,
}

/// Scores every object under the input. One that cannot be scored has no output, and fails the job after the others.
pub(super) fn transform(
    s3: &ObjectStore,
    model: &Model,
    batch: &Batch<'_>,
    stop: &CancellationToken,
    log: &dyn Fn(&str),
) -> Result<Outcome, String> {
    let mut failed = 0;
    let (in_bucket, prefix) = s3::parse_url(batch.input).unwrap_or_default();
    let (out_bucket, out_prefix) = s3::parse_url(batch.output).unwrap_or_default();
    let requested = RequestFormat::from_str(batch.content_type)
        .map_err(|_| format!("content type `{}` is not supported", batch.content_type));
    // Without a wish the answer is in lines here, where an endpoint answers with a document.
    let answered = match batch.accept.filter(|a| !a.is_empty() && *a != "*/*") {
        None => Ok(ResponseFormat::JSON_LINES),
        accept => ResponseFormat::from_accept(accept).map_err(|error| error.to_string()),
    };
    let formats = requested.and_then(|request| Ok((request, answered?)));
    for key in work::objects_under(s3, batch.input) {
        let relative = relative(prefix, &key);
        let out_prefix = out_prefix.strip_suffix('/').unwrap_or(out_prefix);
        let out_key = match out_prefix {
            "" => format!("{relative}.out"),
            prefix => format!("{prefix}/{relative}.out"),
        };
        let scored = formats.clone().map_err(Failure::Refused).and_then(|formats| {
            let (_, file) = s3.open_object(in_bucket, &key).map_err(Failure::from)?;
            let file = BufReader::new(file);
            let mut input: Box<dyn BufRead> = match batch.gzip {
                true => Box::new(BufReader::new(MultiGzDecoder::new(file))),
                false => Box::new(file),
            };
            s3.put_with(out_bucket, &out_key, formats.1.content_type(), |to| {
                score(model, batch, formats, &mut input, to, stop)
            })
        });
        match scored {
            Ok(_) => {}
            Err(Failure::Stopped) => return Ok(Outcome::Stopped),
            Err(Failure::Refused(reason)) => {
                failed += 1;
                log(&format!(
                    "{in_bucket}/{key}: Bad HTTP status received from algorithm: 400"
                ));
                log(&format!(
                    "{in_bucket}/{key}: unable to evaluate payload provided: {reason}"
                ));
            }
            Err(Failure::Store(reason)) => {
                failed += 1;
                log(&format!("{in_bucket}/{key}: {reason}"));
            }
        }
        if stop.is_cancelled() {
            return Ok(Outcome::Stopped);
        }
    }
    match failed {
        0 => Ok(Outcome::Completed),
        _ => Err("ClientError: See job logs for more information".to_owned()),
    }
}

/// The name of an object under the folder that `prefix` means: itself, what is in it, or whose names begin so.
fn relative<'k>(prefix: &str, key: &'k str) -> &'k str {
    let last = |text: &str| text.rfind('/').map_or(0, |at| at + 1);
    match key.strip_prefix(prefix) {
        Some(rest) if prefix.ends_with('/') || prefix.is_empty() => rest,
        Some(rest) if rest.starts_with('/') => &rest[1..],
        _ => &key[last(prefix)..],
    }
}

enum Failure {
    /// By the algorithm.
    Refused(String),
    Store(String),
    Stopped,
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(format!("{error:?}"))
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Store(error.to_string())
    }
}

fn score(
    model: &Model,
    batch: &Batch<'_>,
    (request, response): (RequestFormat, ResponseFormat),
    input: &mut dyn BufRead,
    to: &mut dyn Write,
    stop: &CancellationToken,
) -> Result<(), Failure> {
    let mut records = Records {
        input,
        split: batch.split,
        single: batch.single_record,
        max: batch.max_payload,
        kept: Vec::new(),
        line: 0,
    };
    while let Some((first, payload)) = records.next()? {
        let refused = |error: InferenceError| match error {
            InferenceError::Write { source } => Failure::from(source),
            error => Failure::Refused(format!("in the batch from line {first}: {}", work::chain(&error))),
        };
        let events = inference::decode_request(request, &payload).map_err(refused)?;
        let mut answer = Counted {
            to: &mut *to,
            bytes: 0,
        };
        // With embeddings an answer is many times its payload: it goes to the object as it comes.
        let events = events.iter().take_while(|_| !stop.is_cancelled());
        let predictions = events.map(|event| runtime::prediction(model, response, event));
        inference::write_response(response, predictions, &mut answer).map_err(refused)?;
        // Lines of one answer must not run into those of the next.
        let lines = batch.assemble == Assemble::Line || response.kind == ResponseKind::JsonLines;
        if lines && answer.bytes > 0 {
            to.write_all(b"\n")?;
        }
        if stop.is_cancelled() {
            return Err(Failure::Stopped);
        }
    }
    Ok(())
}

/// Counts what is written.
struct Counted<'a> {
    to: &'a mut dyn Write,
    bytes: usize,
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.to.write(bytes)?;
        self.bytes += written;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Cuts an object into payloads.
struct Records<'a> {
    input: &'a mut dyn BufRead,
    split: Split,
    single: bool,
    max: usize,
    /// A line that was read and did not fit any more.
    kept: Vec<u8>,
    /// Lines that were read.
    line: u64,
}

impl Records<'_> {
    /// The next payload, and the line that it begins with.
    fn next(&mut self) -> Result<Option<(u64, Vec<u8>)>, Failure> {
        if self.split == Split::None {
            let mut payload = Vec::new();
            let mut limited = (&mut *self.input).take(self.max as u64 + 1);
            limited.read_to_end(&mut payload)?;
            self.require_fits(payload.len(), "the object")?;
            return Ok((!payload.is_empty()).then_some((1, payload)));
        }
        let mut payload = std::mem::take(&mut self.kept);
        let first = if payload.is_empty() {
            self.line + 1
        } else {
            self.line
        };
        loop {
            if self.single && !payload.is_empty() {
                return Ok(Some((first, payload)));
            }
            let mut line = Vec::new();
            let mut limited = (&mut *self.input).take(self.max as u64 + 1);
            if limited.read_until(b'\n', &mut line)? == 0 {
                return Ok((!payload.is_empty()).then_some((first, payload)));
            }
            self.line += 1;
            self.require_fits(line.len(), "a line")?;
            if payload.len() + line.len() > self.max {
                self.kept = line;
                return Ok(Some((first, payload)));
            }
            payload.append(&mut line);
        }
    }

    fn require_fits(&self, length: usize, what: &str) -> Result<(), Failure> {
        if length <= self.max {
            return Ok(());
        }
        Err(Failure::Refused(format!(
            "{what} is larger than MaxPayloadInMB ({}); give SplitType Line or a larger MaxPayloadInMB (line {})",
            self.max >> 20,
            self.line
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_an_output_goes() {
        for (prefix, key, out) in [
            ("in/rows.csv", "in/rows.csv", "rows.csv"),
            ("rows.csv", "rows.csv", "rows.csv"),
            ("in/", "in/rows.csv", "rows.csv"),
            ("in", "in/rows.csv", "rows.csv"),
            ("in/", "in/more/rows.csv", "more/rows.csv"),
            ("in/part-", "in/part-1.csv", "part-1.csv"),
            ("in/part", "in/part/1.csv", "1.csv"),
            ("", "in/rows.csv", "in/rows.csv"),
            ("/in/", "/in/rows.csv", "rows.csv"),
        ] {
            assert_eq!(relative(prefix, key), out, "{prefix} {key}");
        }
    }

    #[test]
    fn payloads_hold_every_line_once() {
        let cut = |text: &str, split, single, max| {
            let mut input = text.as_bytes();
            let mut records = Records {
                input: &mut input,
                split,
                single,
                max,
                kept: Vec::new(),
                line: 0,
            };
            let mut found = Vec::new();
            loop {
                match records.next() {
                    Ok(Some((line, payload))) => found.push((line, String::from_utf8(payload).unwrap())),
                    Ok(None) => return Ok(found),
                    Err(Failure::Refused(reason)) => return Err(reason),
                    Err(_) => unreachable!("it is in memory"),
                }
            }
        };
        let told = |found: &[(u64, &str)]| Ok(found.iter().map(|(n, t)| (*n, (*t).to_owned())).collect());
        let text = "aa\nbb\ncc\ndd";
        assert_eq!(
            cut(text, Split::Line, false, 6),
            told(&[(1, "aa\nbb\n"), (3, "cc\ndd")])
        );
        assert_eq!(cut(text, Split::Line, false, 100), told(&[(1, text)]));
        assert_eq!(
            cut("aa\nbb\n", Split::Line, true, 100),
            told(&[(1, "aa\n"), (2, "bb\n")])
        );
        assert_eq!(cut(text, Split::None, false, 100), told(&[(1, text)]));
        assert_eq!(cut("", Split::None, false, 100), told(&[]));
        assert_eq!(cut("", Split::Line, false, 100), told(&[]));
        assert!(cut(text, Split::None, false, 5).is_err());
        assert!(cut("a\nlong line\n", Split::Line, false, 5).is_err());
    }
}
