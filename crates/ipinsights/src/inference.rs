//! The bodies and headers of `InvokeEndpoint`, in both directions: a client and a server use the same code.
//!
//! A request is `text/csv`, `application/json` or `application/jsonlines`; the answer is JSON or JSON Lines, as the
//! `Accept` header asks, and with `verbose=True` it carries the embeddings too.
//!
//! ```
//! use access_events::AccessEvent;
//! use ipinsights::inference::{
//!     PredictionRecord, RequestFormat, ResponseFormat, decode_request, decode_response, encode_request,
//!     encode_response,
//! };
//!
//! let events = [AccessEvent::new("United Kingdom", [203, 116, 192, 0].into())];
//! let body = encode_request(RequestFormat::Csv, &events)?;
//! assert_eq!(body, b"United Kingdom,203.116.192.0");
//!
//! // The server's side.
//! let format: RequestFormat = "text/csv; charset=utf-8".parse()?;
//! assert_eq!(decode_request(format, &body)?, events);
//! let accept = ResponseFormat::from_accept(Some("application/json"))?;
//! let answer = encode_response(accept, &[PredictionRecord::from_dot_product(-0.652)])?;
//! assert_eq!(answer, br#"{"predictions":[{"dot_product":-0.652}]}"#);
//!
//! // And back at the client.
//! assert_eq!(decode_response(accept, &answer)?[0].dot_product, -0.652);
//! # Ok::<(), ipinsights::inference::InferenceError>(())
//! ```

use std::borrow::Borrow;
use std::cell::Cell;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::net::Ipv4Addr;
use std::str::FromStr;

use access_events::AccessEvent;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, DeserializeOwned, DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::{Prediction, Score};

/// The largest body of a request and of an answer, in bytes: 6 MiB.
pub const MAX_BODY_BYTES: usize = 6 * 1024 * 1024;

/// What the body of a request is written in: the `Content-Type` header.
///
/// Parses from a header value, whatever its case and its parameters, and prints as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum RequestFormat {
    /// `text/csv`: one `entity,address` per line, without a header.
    #[default]
    Csv,
    /// `application/json`: `{"instances":[{"features":["entity","address"]}]}`.
    Json,
    /// `application/jsonlines`: one `{"features":["entity","address"]}` per line.
    JsonLines,
}

impl RequestFormat {
    /// The header value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Csv => "text/csv",
            Self::Json => "application/json",
            Self::JsonLines => "application/jsonlines",
        }
    }
}

impl fmt::Display for RequestFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for RequestFormat {
    type Err = InferenceError;

    fn from_str(header: &str) -> Result<Self, Self::Err> {
        let media_type = MediaType::new(header);
        [Self::Csv, Self::Json, Self::JsonLines]
            .into_iter()
            .find(|format| media_type.is(format.as_str()))
            .ok_or_else(|| InferenceError::UnsupportedContentType {
                found: header.trim().to_owned(),
            })
    }
}

/// The media types of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum ResponseKind {
    /// `application/json`: `{"predictions":[{"dot_product":0.5}]}`.
    #[default]
    Json,
    /// `application/jsonlines`: one `{"dot_product":0.5}` per line.
    JsonLines,
}

/// What an answer is to look like: the `Accept` header.
///
/// Prints as a header value, and the default is plain JSON, as without the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ResponseFormat {
    /// The media type.
    pub kind: ResponseKind,
    /// Whether each prediction carries its two embeddings: the parameter `verbose=True`.
    pub verbose: bool,
}

impl ResponseFormat {
    /// `application/json`
    pub const JSON: Self = Self {
        kind: ResponseKind::Json,
        verbose: false,
    };
    /// `application/jsonlines`
    pub const JSON_LINES: Self = Self {
        kind: ResponseKind::JsonLines,
        verbose: false,
    };

    /// The same with both embeddings in each prediction, or without.
    #[must_use]
    pub const fn verbose(self, verbose: bool) -> Self {
        Self { verbose, ..self }
    }

    /// The format that an `Accept` header asks for.
    ///
    /// JSON when the header is absent, empty or `*/*`. Of a list, the first type that is known counts. The blank before
    /// `verbose`, and the case of anything, do not matter; other parameters are ignored.
    ///
    /// # Errors
    ///
    /// When no type is known, and when `verbose` is neither `True` nor `False`.
    pub fn from_accept(header: Option<&str>) -> Result<Self, InferenceError> {
        let header = header.unwrap_or_default().trim();
        if header.is_empty() {
            return Ok(Self::default());
        }
        for item in header.split(',') {
            let media_type = MediaType::new(item);
            let kind = if ["application/json", "application/*", "*/*"]
                .iter()
                .any(|t| media_type.is(t))
            {
                ResponseKind::Json
            } else if media_type.is("application/jsonlines") {
                ResponseKind::JsonLines
            } else {
                continue;
            };
            let verbose = match media_type.parameter("verbose") {
                None => false,
                Some(value) if value.eq_ignore_ascii_case("true") => true,
                Some(value) if value.eq_ignore_ascii_case("false") => false,
                Some(value) => {
                    return Err(InferenceError::InvalidVerbose {
                        found: value.to_owned(),
                    });
                }
            };
            return Ok(Self { kind, verbose });
        }
        Err(InferenceError::UnsupportedAccept {
            found: header.to_owned(),
        })
    }

    /// The `Content-Type` of such an answer.
    pub const fn content_type(self) -> &'static str {
        match self.kind {
            ResponseKind::Json => "application/json",
            ResponseKind::JsonLines => "application/jsonlines",
        }
    }
}

impl fmt::Display for ResponseFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.content_type())?;
        f.write_str(if self.verbose { "; verbose=True" } else { "" })
    }
}

impl FromStr for ResponseFormat {
    type Err = InferenceError;

    fn from_str(header: &str) -> Result<Self, Self::Err> {
        Self::from_accept(Some(header))
    }
}

/// One prediction as it is on the wire.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PredictionRecord {
    /// Larger is more normal; see [`Score`].
    pub dot_product: f32,
    /// The address's vector, in verbose answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip_embedding: Option<Vec<f32>>,
    /// The entity's vector, in verbose answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entity_embedding: Option<Vec<f32>>,
}

impl PredictionRecord {
    /// A prediction without embeddings.
    pub const fn from_dot_product(dot_product: f32) -> Self {
        Self {
            dot_product,
            ip_embedding: None,
            entity_embedding: None,
        }
    }

    /// The dot product as a type that knows its direction.
    pub const fn score(&self) -> Score {
        Score::new(self.dot_product)
    }

    fn is_finite(&self) -> bool {
        let embeddings = [&self.ip_embedding, &self.entity_embedding];
        self.dot_product.is_finite() && embeddings.into_iter().flatten().flatten().all(|x| x.is_finite())
    }
}

impl From<Score> for PredictionRecord {
    fn from(score: Score) -> Self {
        Self::from_dot_product(score.dot_product())
    }
}

impl From<Prediction> for PredictionRecord {
    fn from(prediction: Prediction) -> Self {
        Self {
            dot_product: prediction.score.dot_product(),
            ip_embedding: Some(prediction.ip_embedding),
            entity_embedding: Some(prediction.entity_embedding),
        }
    }
}

/// Writes the body of a request. No newline at the end; no events make an empty body in CSV and JSON Lines.
///
/// # Errors
///
/// When an entity is empty, because the other side will not read it.
pub fn encode_request(format: RequestFormat, events: &[AccessEvent]) -> Result<Vec<u8>, InferenceError> {
    if let Some(index) = events.iter().position(|event| event.entity.is_empty()) {
        return Err(InferenceError::EmptyEntity { record: index + 1 });
    }
    let instance = |event| InstanceRef::new(event);
    match format {
        RequestFormat::Csv => {
            let mut body = Vec::new();
            access_events::write_csv(&mut body, events)?;
            body.pop(); // the newline of the last row
            Ok(body)
        }
        RequestFormat::Json => Ok(json_document("instances", events.iter().map(instance))),
        RequestFormat::JsonLines => Ok(json_lines(events.iter().map(instance))),
    }
}

/// Reads the body of a request.
///
/// CSV may have a blank after the comma and quoted entities. In JSON an instance is
/// `{"features":["entity","address"]}` or `{"data":{"features":{"values":["entity","address"]}}}`, mixed freely.
///
/// # Errors
///
/// The first record that is not an event, by its number and with the reason.
pub fn decode_request(format: RequestFormat, body: &[u8]) -> Result<Vec<AccessEvent>, InferenceError> {
    match format {
        RequestFormat::Csv => Ok(access_events::read_csv(body)?),
        RequestFormat::Json => read_json_document("instances", body, Instance::into_event),
        RequestFormat::JsonLines => read_json_lines(body, Instance::into_event),
    }
}

/// Cuts `events` so that [`encode_request`] makes of each piece a body of at most `max_bytes` and at most `max_rows`
/// records, in order and as few as can be told without encoding.
///
/// An event that is too long for a body of its own makes a piece of its own.
pub fn split_request(
    format: RequestFormat,
    events: &[AccessEvent],
    max_bytes: usize,
    max_rows: usize,
) -> impl Iterator<Item = &[AccessEvent]> {
    let frame = match format {
        RequestFormat::Json => r#"{"instances":[]}"#.len(),
        RequestFormat::Csv | RequestFormat::JsonLines => 0,
    };
    let mut rest = events;
    std::iter::from_fn(move || {
        let mut bytes = frame;
        let fits = |event: &&AccessEvent| {
            bytes += record_bytes(format, event);
            bytes <= max_bytes
        };
        let rows = rest
            .iter()
            .take(max_rows)
            .take_while(fits)
            .count()
            .max(1)
            .min(rest.len());
        let (piece, later) = rest.split_at(rows);
        rest = later;
        (!piece.is_empty()).then_some(piece)
    })
}

/// Writes the body of an answer, keys in the service's order, each number in as few digits as read back to it exactly.
///
/// A format that is not verbose leaves the embeddings out.
///
/// # Errors
///
/// When a number is infinite or not a number, for which JSON has no form, and when a verbose answer lacks an embedding.
pub fn encode_response(
    format: ResponseFormat,
    predictions: &[PredictionRecord],
) -> Result<Vec<u8>, InferenceError> {
    let mut body = Vec::new();
    write_response(format, predictions, &mut body)?;
    Ok(body)
}

/// Writes the body of an answer as [`encode_response`] does, one prediction after the other, so that neither they nor the body
/// have to be in memory. `to` may refuse to take more: what it says is [`InferenceError::Write`].
///
/// # Errors
///
/// As [`encode_response`], after what came before has been written; and when `to` cannot be written to.
pub fn write_response<P: Borrow<PredictionRecord>>(
    format: ResponseFormat,
    predictions: impl IntoIterator<Item = P>,
    mut to: impl io::Write,
) -> Result<(), InferenceError> {
    let (open, separator, close) = match format.kind {
        ResponseKind::Json => (r#"{"predictions":["#, ",", "]}"),
        ResponseKind::JsonLines => ("", "\n", ""),
    };
    let failed = |source: io::Error| InferenceError::Write { source };
    to.write_all(open.as_bytes()).map_err(failed)?;
    for (index, prediction) in predictions.into_iter().enumerate() {
        let (prediction, record) = (prediction.borrow(), index + 1);
        if !(prediction.dot_product.is_finite() && (!format.verbose || prediction.is_finite())) {
            return Err(InferenceError::NotFinite { record });
        }
        if format.verbose && (prediction.ip_embedding.is_none() || prediction.entity_embedding.is_none()) {
            return Err(InferenceError::MissingEmbedding { record });
        }
        if index > 0 {
            to.write_all(separator.as_bytes()).map_err(failed)?;
        }
        let written = match format.verbose {
            true => serde_json::to_writer(&mut to, prediction),
            false => serde_json::to_writer(
                &mut to,
                &PredictionRecord::from_dot_product(prediction.dot_product),
            ),
        };
        written.map_err(|error| failed(error.into()))?;
    }
    to.write_all(close.as_bytes()).map_err(failed)
}

/// Reads the body of an answer.
///
/// # Errors
///
/// The first record that is not a prediction, by its number and with the reason; one without embeddings is not, when
/// `format` is verbose. Members that are not known are ignored.
pub fn decode_response(format: ResponseFormat, body: &[u8]) -> Result<Vec<PredictionRecord>, InferenceError> {
    let check = |prediction: PredictionRecord| match prediction {
        p if !p.is_finite() => Err("a number is out of the range of 32-bit floats".to_owned()),
        p if format.verbose && (p.ip_embedding.is_none() || p.entity_embedding.is_none()) => {
            Err("a verbose answer must have `ip_embedding` and `entity_embedding`".to_owned())
        }
        p => Ok(p),
    };
    match format.kind {
        ResponseKind::Json => read_json_document("predictions", body, check),
        ResponseKind::JsonLines => read_json_lines(body, check),
    }
}

/// Why a body or a header could not be read or written. Records count from one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InferenceError {
    /// The `Content-Type` is none that the algorithm reads.
    #[error(
        "content type `{found}` is not supported; it must be `text/csv`, `application/json` or \
         `application/jsonlines`"
    )]
    UnsupportedContentType {
        /// The header as it came.
        found: String,
    },
    /// The `Accept` header names nothing that the algorithm writes.
    #[error(
        "accept `{found}` is not supported; it must be `application/json` or `application/jsonlines`, with or \
         without `; verbose=True`"
    )]
    UnsupportedAccept {
        /// The header as it came.
        found: String,
    },
    /// The parameter `verbose` is neither of its two values.
    #[error("`verbose` must be `True` or `False`, got `{found}`")]
    InvalidVerbose {
        /// The parameter's value.
        found: String,
    },
    /// A CSV request has a row that is not an event.
    #[error(transparent)]
    Csv(#[from] access_events::Error),
    /// A record of a JSON body is not what it should be.
    #[error("record {record}: {reason}")]
    Record {
        /// One-based; in JSON Lines, the line.
        record: usize,
        /// What is wrong with it, and where.
        reason: String,
    },
    /// A JSON body is not an object with the list it should have.
    #[error("the body must be a JSON object with the list `{list}`: {reason}")]
    Document {
        /// The name of the list: `instances` or `predictions`.
        list: &'static str,
        /// What the parser says.
        reason: String,
    },
    /// An event without an entity cannot be sent.
    #[error("record {record}: the entity is empty")]
    EmptyEntity {
        /// One-based.
        record: usize,
    },
    /// A score or an embedding is infinite or not a number, which JSON cannot say.
    #[error("record {record}: the prediction is not a finite number; the model has probably diverged")]
    NotFinite {
        /// One-based.
        record: usize,
    },
    /// A verbose answer is to be written from a prediction without embeddings.
    #[error("record {record}: a verbose answer needs both embeddings")]
    MissingEmbedding {
        /// One-based.
        record: usize,
    },
    /// Where the answer goes takes no more.
    #[error("the answer could not be written")]
    Write {
        /// Why.
        source: io::Error,
    },
}

/// A media type with its parameters, as in `Content-Type` and in each item of `Accept`.
struct MediaType<'a> {
    essence: &'a str,
    parameters: &'a str,
}

impl<'a> MediaType<'a> {
    fn new(header: &'a str) -> Self {
        let (essence, parameters) = header.split_once(';').unwrap_or((header, ""));
        Self {
            essence: essence.trim(),
            parameters,
        }
    }

    fn is(&self, essence: &str) -> bool {
        self.essence.eq_ignore_ascii_case(essence)
    }

    fn parameter(&self, name: &str) -> Option<&'a str> {
        self.parameters.split(';').find_map(|parameter| {
            let (key, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            key.trim()
                .eq_ignore_ascii_case(name)
                .then(|| value.trim().trim_matches('"'))
        })
    }
}

/// No less than what a record adds to a body, separator included.
fn record_bytes(format: RequestFormat, event: &AccessEvent) -> usize {
    const LONGEST_ADDRESS: usize = "255.255.255.255".len();
    let (frame, entity): (_, usize) = match format {
        RequestFormat::Csv => (
            "\"\",\n",
            event.entity.bytes().map(|b| if b == b'"' { 2 } else { 1 }).sum(),
        ),
        RequestFormat::Json | RequestFormat::JsonLines => {
            let escaped = |b| match b {
                b'"' | b'\\' => 2,
                0..0x20 => r"\u0000".len(),
                _ => 1,
            };
            (
                r#"{"features":["",""]},"#,
                event.entity.bytes().map(escaped).sum(),
            )
        }
    };
    frame.len() + entity + LONGEST_ADDRESS
}

#[derive(Serialize)]
struct InstanceRef<'a> {
    features: (&'a str, Ipv4Addr),
}

impl<'a> InstanceRef<'a> {
    fn new(event: &'a AccessEvent) -> Self {
        Self {
            features: (&event.entity, event.ip),
        }
    }
}

fn json_document<T: Serialize>(list: &str, records: impl IntoIterator<Item = T>) -> Vec<u8> {
    let mut body = format!(r#"{{"{list}":["#).into_bytes();
    push_json(&mut body, b',', records);
    body.extend_from_slice(b"]}");
    body
}

fn json_lines<T: Serialize>(records: impl IntoIterator<Item = T>) -> Vec<u8> {
    let mut body = Vec::new();
    push_json(&mut body, b'\n', records);
    body
}

#[expect(
    clippy::expect_used,
    reason = "these types have no key that is not text, and a Vec takes every byte"
)]
fn push_json<T: Serialize>(body: &mut Vec<u8>, separator: u8, records: impl IntoIterator<Item = T>) {
    for (index, record) in records.into_iter().enumerate() {
        if index > 0 {
            body.push(separator);
        }
        serde_json::to_writer(&mut *body, &record).expect("plain records become JSON");
    }
}

/// One instance of a JSON request, in either shape.
#[derive(Deserialize)]
struct Instance {
    features: Option<Pair>,
    data: Option<Object<InstanceData>>,
}

#[derive(Deserialize)]
struct InstanceData {
    features: Object<InstanceFeatures>,
}

#[derive(Deserialize)]
struct InstanceFeatures {
    values: Pair,
}

impl Instance {
    fn into_event(self) -> Result<AccessEvent, String> {
        let Pair(event) = match (self.features, self.data) {
            (Some(pair), None) => pair,
            (None, Some(Object(data))) => data.features.0.values,
            (Some(_), Some(_)) => return Err("an instance has `features` or `data`, not both".to_owned()),
            (None, None) => {
                return Err(
                    r#"an instance must be `{"features":[…]}` or `{"data":{"features":{"values":[…]}}}`"#
                        .to_owned(),
                );
            }
        };
        if event.entity.is_empty() {
            return Err("the entity is empty".to_owned());
        }
        Ok(event)
    }
}

/// An object, and not a list of its members' values, which serde would take as well.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }

        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

/// `["entity","address"]`
struct Pair(AccessEvent);

impl<'de> Deserialize<'de> for Pair {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PairVisitor;

        impl<'de> Visitor<'de> for PairVisitor {
            type Value = Pair;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of an entity and an IPv4 address")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Pair, A::Error> {
                let entity: String = list
                    .next_element()?
                    .ok_or_else(|| de::Error::invalid_length(0, &self))?;
                let Address(ip) = list
                    .next_element()?
                    .ok_or_else(|| de::Error::invalid_length(1, &self))?;
                let mut length = 2;
                while list.next_element::<IgnoredAny>()?.is_some() {
                    length += 1;
                }
                if length > 2 {
                    return Err(de::Error::invalid_length(length, &self));
                }
                Ok(Pair(AccessEvent { entity, ip }))
            }
        }

        deserializer.deserialize_seq(PairVisitor)
    }
}

struct Address(Ipv4Addr);

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AddressVisitor;

        impl Visitor<'_> for AddressVisitor {
            type Value = Address;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an IPv4 address in dotted decimal, as text")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Address, E> {
                text.trim().parse().map(Address).map_err(|_| {
                    let shown: String = text.chars().take(80).collect();
                    E::custom(format_args!("`{shown}` is not an IPv4 address in dotted decimal"))
                })
            }
        }

        deserializer.deserialize_str(AddressVisitor)
    }
}

fn read_json_lines<T: DeserializeOwned, U>(
    body: &[u8],
    check: impl Fn(T) -> Result<U, String>,
) -> Result<Vec<U>, InferenceError> {
    let mut records = Vec::new();
    for (index, line) in body.split(|byte| *byte == b'\n').enumerate() {
        if line.trim_ascii().is_empty() {
            continue;
        }
        let read = serde_json::from_slice(line)
            .map(|Object(record)| record)
            .map_err(|error| {
                // The parser has seen one line only.
                let place = format!(" at line {} column {}", error.line(), error.column());
                let text = error.to_string();
                format!(
                    "{} at column {}",
                    text.strip_suffix(&place).unwrap_or(&text),
                    error.column()
                )
            });
        let record = read.and_then(&check);
        records.push(record.map_err(|reason| InferenceError::Record {
            record: index + 1,
            reason,
        })?);
    }
    Ok(records)
}

fn read_json_document<T: DeserializeOwned, U>(
    list: &'static str,
    body: &[u8],
    check: impl Fn(T) -> Result<U, String>,
) -> Result<Vec<U>, InferenceError> {
    let record = Cell::new(0);
    let mut parser = serde_json::Deserializer::from_slice(body);
    let document = Document {
        list,
        record: &record,
        kind: PhantomData::<T>,
    };
    let read = document
        .deserialize(&mut parser)
        .and_then(|records| parser.end().map(|()| records));
    let records = read.map_err(|source| match record.get() {
        0 => InferenceError::Document {
            list,
            reason: source.to_string(),
        },
        record => InferenceError::Record {
            record,
            reason: source.to_string(),
        },
    })?;
    let check = |(index, record)| {
        check(record).map_err(|reason| InferenceError::Record {
            record: index + 1,
            reason,
        })
    };
    records.into_iter().enumerate().map(check).collect()
}

/// Reads `{"<list>":[…]}` and knows at any time which record it is at.
struct Document<'a, T> {
    list: &'static str,
    /// One-based; 0 outside the list.
    record: &'a Cell<usize>,
    kind: PhantomData<T>,
}

impl<'de, T: Deserialize<'de>> DeserializeSeed<'de> for Document<'_, T> {
    type Value = Vec<T>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<T>, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for Document<'_, T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object with the list `{}`", self.list)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vec<T>, A::Error> {
        let mut records = None;
        while let Some(key) = map.next_key::<String>()? {
            if key != self.list {
                map.next_value::<IgnoredAny>()?;
            } else if records.is_some() {
                return Err(de::Error::duplicate_field(self.list));
            } else {
                records = Some(map.next_value_seed(List {
                    record: self.record,
                    kind: PhantomData,
                })?);
            }
        }
        records.ok_or_else(|| de::Error::missing_field(self.list))
    }
}

struct List<'a, T> {
    record: &'a Cell<usize>,
    kind: PhantomData<T>,
}

impl<'de, T: Deserialize<'de>> DeserializeSeed<'de> for List<'_, T> {
    type Value = Vec<T>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<T>, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for List<'_, T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of records")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
        let mut records = Vec::new();
        self.record.set(1);
        while let Some(Object(record)) = list.next_element()? {
            records.push(record);
            self.record.set(records.len() + 1);
        }
        self.record.set(0);
        Ok(records)
    }
}

#[cfg(test)]
mod tests;
