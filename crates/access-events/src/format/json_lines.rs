//! JSON of any shape, by the paths of the fields that count.

use std::borrow::Cow;
use std::fmt;
use std::io::BufRead;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::json::{self, Cursor, Fault, Parser, Stuck};
use super::{Format, Problem, RECORD_LIMIT, ReadError, Sink, TimeFormat};
use crate::sighting::{Principal, Sighting};

/// Why settings for JSON make no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JsonLinesError {
    /// A path is none.
    #[error("`{path}` is no path to a field; write it as `user.name` or `/user/name`")]
    Path {
        /// The path as given.
        path: String,
    },
    /// No field is the entity.
    #[error("no field is named for the entity")]
    NoEntity,
    /// A field cannot be a value and hold others at the same time.
    #[error("`{outer}` cannot be a value, since `{inner}` is inside of it")]
    Inside {
        /// The path that ends too early.
        outer: String,
        /// The longer path.
        inner: String,
    },
}

/// Settings for JSON as users write them; [`check`](Self::check) makes a [`JsonLines`] of them.
///
/// A path is keys with dots between, `user.name`, and numbers from zero on in arrays, `addresses.0`. A dot or backslash
/// that belongs to a key has a backslash before it. What begins with a slash is a JSON pointer (RFC 6901): `/user/name`.
#[derive(Debug, Clone)]
#[must_use]
pub struct Draft {
    entity: Vec<String>,
    separator: String,
    address: String,
    time: Option<(String, TimeFormat)>,
    limit: usize,
}

impl Draft {
    /// The entity: one path, or several whose values are joined. The last call counts.
    pub fn entity(mut self, paths: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.entity = paths.into_iter().map(Into::into).collect();
        self
    }

    /// What stands between the values of an entity of several fields; `/` by default.
    pub fn separator(mut self, separator: impl Into<String>) -> Self {
        self.separator = separator.into();
        self
    }

    /// The path of the time, and how it is written, as a string or a number; none by default. Where it is missing, null or empty there is no
    /// time.
    pub fn time(mut self, path: impl Into<String>, format: TimeFormat) -> Self {
        self.time = Some((path.into(), format));
        self
    }

    /// How long a record may be, in bytes; [`RECORD_LIMIT`] by default.
    pub fn record_limit(mut self, bytes: usize) -> Self {
        self.limit = bytes;
        self
    }

    /// The reader, when the paths make sense.
    ///
    /// # Errors
    ///
    /// The first of [`JsonLinesError`] that applies.
    pub fn check(self) -> Result<JsonLines, JsonLinesError> {
        if self.entity.is_empty() {
            return Err(JsonLinesError::NoEntity);
        }
        let time = self.time.as_ref().map(|(path, _)| path);
        let paths: Vec<_> = self.entity.iter().chain([&self.address]).chain(time).collect();
        let mut tree = Tree::default();
        let mut keys = Vec::new();
        for (slot, path) in paths.iter().enumerate() {
            let parsed = parse_path(path).ok_or_else(|| JsonLinesError::Path {
                path: (*path).clone(),
            })?;
            tree.insert(&parsed, slot);
            keys.push(parsed);
        }
        for (outer, short) in keys.iter().enumerate() {
            for (inner, long) in keys.iter().enumerate() {
                if long.len() > short.len() && long.starts_with(short) {
                    return Err(JsonLinesError::Inside {
                        outer: paths[outer].clone(),
                        inner: paths[inner].clone(),
                    });
                }
            }
        }
        Ok(JsonLines { tree, settings: self })
    }
}

/// The keys of a path, at least one.
fn parse_path(text: &str) -> Option<Vec<String>> {
    if let Some(pointer) = text.strip_prefix('/') {
        let key = |key: &str| key.replace("~1", "/").replace("~0", "~");
        return Some(pointer.split('/').map(key).collect());
    }
    let mut keys = Vec::new();
    let mut key = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '.' => keys.push(std::mem::take(&mut key)),
            '\\' => key.push(chars.next().filter(|c| matches!(c, '.' | '\\'))?),
            c => key.push(c),
        }
    }
    keys.push(key);
    keys.iter().all(|key| !key.is_empty()).then_some(keys)
}

/// JSON Lines, and JSON documents in any other arrangement (one after the other, or an array of them): entity, address
/// and, when there is one, time by the paths of their fields.
///
/// An entity is a string or a whole number. Where entity or address is missing or null, the record is left out;
/// where it is anything else, such as an object, the record is malformed.
#[derive(Debug, Clone)]
pub struct JsonLines {
    settings: Draft,
    tree: Tree, // INVARIANT: its slots are those of entity, address and time, in this order.
}

impl JsonLines {
    /// Settings with defaults, but for the paths of entity and address.
    pub fn draft(entity: impl Into<String>, address: impl Into<String>) -> Draft {
        Draft {
            entity: vec![entity.into()],
            separator: "/".to_owned(),
            address: address.into(),
            time: None,
            limit: RECORD_LIMIT,
        }
    }

    fn tell_of(&self, text: &[u8], sink: &mut dyn Sink) -> Result<(), Fault> {
        let Self { settings, tree } = self;
        let entities = settings.entity.len();
        let mut values: Vec<Value<'_>> = Vec::new();
        values.resize_with(entities + 2, Value::default);
        let mut deserializer = serde_json::Deserializer::from_slice(text);
        Fields {
            tree,
            values: &mut values,
            root: true,
        }
        .deserialize(&mut deserializer)?;
        deserializer.end()?;

        let mut names = Vec::with_capacity(entities);
        for (path, value) in settings.entity.iter().zip(&values) {
            names.push(value.name(path)?);
        }
        let joined;
        let name = match &names[..] {
            [only] => only.as_deref(),
            // Half a name would be another's.
            several
                if several
                    .iter()
                    .any(|name| name.as_deref().is_none_or(str::is_empty)) =>
            {
                None
            }
            several => {
                let several: Vec<_> = several.iter().flatten().map(|name| &**name).collect();
                joined = several.join(&settings.separator);
                Some(joined.as_str())
            }
        };
        let address = values[entities].text(&settings.address)?;
        let time = match &settings.time {
            Some((path, format)) => values[entities + 1].time(path, *format)?,
            None => None,
        };
        sink.sighting(Sighting {
            principal: name.map(Principal::named).unwrap_or_default(),
            address: address.unwrap_or_default(),
            time,
        })?;
        Ok(())
    }
}

impl Format for JsonLines {
    fn name(&self) -> &'static str {
        "jsonl"
    }

    fn read(&self, input: &mut dyn BufRead, sink: &mut dyn Sink) -> Result<(), ReadError> {
        json::read_records(self, self.settings.limit, input, sink)
    }
}

impl Parser for JsonLines {
    type Record<'t> = &'t [u8];

    const HOLDERS: &'static [&'static str] = &[];

    fn parse<'t>(&self, cursor: &mut Cursor<'t>) -> Result<&'t [u8], Stuck> {
        cursor.value()
    }

    fn tell(&self, text: &[u8], sink: &mut dyn Sink) -> Result<(), Fault> {
        self.tell_of(text, sink)
    }
}

/// The paths that count, as a tree of keys.
#[derive(Debug, Clone, Default)]
struct Tree {
    /// The values that end here.
    slots: Vec<usize>,
    members: Vec<(String, Tree)>,
}

impl Tree {
    fn insert(&mut self, keys: &[String], slot: usize) {
        let Some((key, rest)) = keys.split_first() else {
            self.slots.push(slot);
            return;
        };
        let at = self.members.iter().position(|(member, _)| member == key);
        let at = at.unwrap_or_else(|| {
            self.members.push((key.clone(), Self::default()));
            self.members.len() - 1
        });
        self.members[at].1.insert(rest, slot);
    }

    fn member(&self, key: &str) -> Option<&Self> {
        self.members
            .iter()
            .find(|(member, _)| member == key)
            .map(|(_, tree)| tree)
    }
}

/// A value at the end of a path.
#[derive(Debug, Clone, Default)]
enum Value<'de> {
    /// Missing or null.
    #[default]
    None,
    Text(Cow<'de, str>),
    /// As text, exactly.
    Whole(String),
    Fraction(f64),
    /// Something that cannot be used, by its kind.
    Other(&'static str),
}

impl Value<'_> {
    fn kind(&self) -> &'static str {
        match self {
            Self::None => "missing",
            Self::Text(_) => "a string",
            Self::Whole(_) => "a number",
            Self::Fraction(_) => "a fraction",
            Self::Other(kind) => kind,
        }
    }

    fn name(&self, path: &str) -> Result<Option<Cow<'_, str>>, Problem> {
        match self {
            Self::Whole(number) => Ok(Some(Cow::Borrowed(number))),
            other => Ok(other.text(path)?.map(Cow::Borrowed)),
        }
    }

    fn text(&self, path: &str) -> Result<Option<&str>, Problem> {
        match self {
            Self::None => Ok(None),
            Self::Text(text) => Ok(Some(text)),
            other => Err(Problem::Json(format!(
                "`{path}` is {}, not a string",
                other.kind()
            ))),
        }
    }

    fn time(&self, path: &str, format: TimeFormat) -> Result<Option<jiff::Timestamp>, Problem> {
        let owned;
        let text: &str = match self {
            Self::None => return Ok(None),
            Self::Text(text) if text.trim().is_empty() => return Ok(None),
            Self::Text(text) => text.trim(),
            Self::Whole(number) => number,
            Self::Fraction(number) => {
                owned = number.to_string();
                &owned
            }
            Self::Other(kind) => return Err(Problem::Json(format!("`{path}` is {kind}, not a time"))),
        };
        let time = format.parse(text).ok_or_else(|| {
            Problem::Json(format!(
                "`{path}` is `{}`, which is no time as {format}",
                json::shorten(text)
            ))
        })?;
        Ok(Some(time))
    }
}

/// Takes the values of a tree out of a document and passes over everything else.
struct Fields<'t, 'v, 'de> {
    tree: &'t Tree,
    values: &'v mut Vec<Value<'de>>,
    /// Whether this is the whole record, which has to be an object or an array.
    root: bool,
}

impl<'de> Fields<'_, '_, 'de> {
    fn set(self, value: Value<'de>) {
        // The last one is the one that is mostly there, so it need not be cloned.
        if let Some((last, others)) = self.tree.slots.split_last() {
            for slot in others {
                self.values[*slot] = value.clone();
            }
            self.values[*last] = value;
        }
    }

    fn scalar<E: serde::de::Error>(self, value: Value<'de>) -> Result<(), E> {
        if self.root {
            return Err(E::custom(format_args!(
                "the record is {} and no object",
                value.kind()
            )));
        }
        self.set(value);
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Fields<'_, '_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Fields<'_, '_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        if self.root {
            return Err(E::custom("the record is null and no object"));
        }
        self.set(Value::None);
        Ok(())
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<(), E> {
        self.scalar(Value::Other(if value { "true" } else { "false" }))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<(), E> {
        self.scalar(Value::Whole(value.to_string()))
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<(), E> {
        self.scalar(Value::Whole(value.to_string()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<(), E> {
        self.scalar(Value::Fraction(value))
    }

    fn visit_borrowed_str<E: serde::de::Error>(self, value: &'de str) -> Result<(), E> {
        self.scalar(Value::Text(Cow::Borrowed(value)))
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<(), E> {
        self.scalar(Value::Text(Cow::Owned(value.to_owned())))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { tree, values, .. } = self;
        while let Some(member) = map.next_key_seed(Key(tree))? {
            match member {
                None => drop(map.next_value::<IgnoredAny>()?),
                Some(tree) => {
                    let root = false;
                    map.next_value_seed(Fields { tree, values, root })?;
                }
            }
        }
        for slot in &tree.slots {
            values[*slot] = Value::Other("an object");
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Self { tree, values, .. } = self;
        for index in 0_usize.. {
            let wanted = (tree.members.iter())
                .find(|(key, _)| key.parse() == Ok(index) && (index == 0 || !key.starts_with('0')));
            let more = match wanted {
                None => seq.next_element::<IgnoredAny>()?.is_some(),
                Some((_, tree)) => {
                    let root = false;
                    seq.next_element_seed(Fields { tree, values, root })?.is_some()
                }
            };
            if !more {
                break;
            }
        }
        for slot in &tree.slots {
            values[*slot] = Value::Other("an array");
        }
        Ok(())
    }
}

/// The member that a key leads to.
struct Key<'t>(&'t Tree);

impl<'t, 'de> DeserializeSeed<'de> for Key<'t> {
    type Value = Option<&'t Tree>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'t> Visitor<'_> for Key<'t> {
    type Value = Option<&'t Tree>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.0.member(key))
    }
}
