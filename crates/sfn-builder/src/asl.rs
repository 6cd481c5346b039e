//! A definition as it was written: any JSON, key order kept, and which keys came twice.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::finding::{Code, Finding, InvalidDefinition, push};

/// The service's limit for the text of a definition, in bytes.
const MAX_BYTES: usize = 1 << 20;

/// A definition before it is checked: JSON of any shape, keys in the order in which they were written.
///
/// `Document::check` (or [`StateMachine::from_json`](crate::StateMachine::from_json) at once) makes a
/// [`StateMachine`](crate::StateMachine) of it.
///
/// ```
/// let text = r#"{"StartAt":"A","States":{"A":{"Type":"Succeed"}},"Comment":"last"}"#;
/// let document = sfn_builder::Document::parse(text)?;
/// assert_eq!(document.to_string(), text);
/// # Ok::<(), sfn_builder::InvalidDefinition>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    root: Value,
    // Found while reading: a `Value` cannot hold a key twice.
    pub(crate) findings: Vec<Finding>,
}

impl Document {
    /// Reads JSON.
    ///
    /// # Errors
    ///
    /// The text is not JSON; the message says at which line and column.
    pub fn parse(text: &str) -> Result<Self, InvalidDefinition> {
        let mut findings = Vec::new();
        if text.len() > MAX_BYTES {
            let message = format!(
                "the definition has {} bytes, the service takes {MAX_BYTES}",
                text.len()
            );
            findings.push(Finding::new(Code::TooLarge, "", message));
        }
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let seed = Seed {
            pointer: String::new(),
            findings: &mut findings,
        };
        let root = seed
            .deserialize(&mut deserializer)
            .and_then(|root| deserializer.end().map(|()| root));
        match root {
            Ok(root) => Ok(Self { root, findings }),
            Err(error) => {
                let finding = Finding::new(Code::InvalidJson, "", format!("not JSON: {error}"));
                Err(InvalidDefinition::new(vec![finding]))
            }
        }
    }

    /// The JSON of it.
    #[must_use]
    pub fn as_value(&self) -> &Value {
        &self.root
    }

    /// The JSON of it.
    #[must_use]
    pub fn into_value(self) -> Value {
        self.root
    }

    /// Checks the definition.
    ///
    /// # Errors
    ///
    /// Every problem that was found, each with its place.
    pub fn check(self) -> Result<crate::StateMachine, InvalidDefinition> {
        crate::check::check(self)
    }
}

impl From<Value> for Document {
    fn from(root: Value) -> Self {
        Self {
            root,
            findings: Vec::new(),
        }
    }
}

/// Compact JSON.
impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.root, f)
    }
}

/// Reads a [`Value`] and notes keys that come twice.
struct Seed<'a> {
    pointer: String,
    findings: &'a mut Vec<Finding>,
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
        Ok(Value::Bool(v))
    }

    fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
        Ok(Value::Number(v.into()))
    }

    fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
        Ok(Value::Number(v.into()))
    }

    fn visit_f64<E>(self, v: f64) -> Result<Value, E> {
        Ok(Number::from_f64(v).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, v: &str) -> Result<Value, E> {
        Ok(Value::String(v.to_owned()))
    }

    fn visit_string<E>(self, v: String) -> Result<Value, E> {
        Ok(Value::String(v))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        loop {
            let pointer = format!("{}/{}", self.pointer, items.len());
            match seq.next_element_seed(Seed {
                pointer,
                findings: self.findings,
            })? {
                Some(item) => items.push(item),
                None => return Ok(Value::Array(items)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            let pointer = push(&self.pointer, &key);
            if map.contains_key(&key) {
                let message = format!("the key `{key}` comes twice in one object");
                self.findings
                    .push(Finding::new(Code::DuplicateKey, pointer.clone(), message));
            }
            let value = access.next_value_seed(Seed {
                pointer,
                findings: self.findings,
            })?;
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}
