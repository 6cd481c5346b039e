//! Places in a text: lines, columns, and where the value of a JSON pointer lies.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use serde_json::{Map, Number, Value};

use crate::finding::append;

/// A place in a text, as an editor counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position {
    /// One-based.
    pub line: u32,
    /// One-based, in characters (Unicode scalar values).
    pub column: u32,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// Where a value lies, and the key in front of it when it is a field of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Where the key begins.
    pub key: Option<Position>,
    /// Where the value begins.
    pub value: Position,
}

/// The place of each value of a document, by JSON pointer.
///
/// Whoever reads a document from another form than JSON (YAML, say) fills one of these for
/// [`Document::with_places`](crate::Document::with_places).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places(HashMap<String, Place>);

impl Places {
    /// No places yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes the place of the value at this pointer.
    pub fn insert(&mut self, pointer: impl Into<String>, place: Place) {
        self.0.insert(pointer.into(), place);
    }

    /// The place of the value at this pointer.
    #[must_use]
    pub fn get(&self, pointer: &str) -> Option<Place> {
        self.0.get(pointer).copied()
    }

    /// The places of these pointers in a JSON text; those that are not there are left out.
    pub(crate) fn in_json<'p>(text: &str, wanted: impl IntoIterator<Item = &'p str>) -> Self {
        let places: HashMap<_, _> = wanted.into_iter().map(|pointer| (pointer, None)).collect();
        let longest = places.keys().map(|pointer| pointer.len()).max();
        let mut lengths = vec![false; longest.map_or(0, |longest| longest + 1)];
        for pointer in places.keys() {
            lengths[pointer.len()] = true;
        }
        let mut finder = Finder {
            pointer: String::new(),
            places,
            lengths,
        };
        // What could be read before a mistake in the text has its place all the same.
        let _ = Reader::new(text).walk(&mut finder);
        let mut offsets: Vec<usize> = Vec::new();
        for (key, value) in finder.places.values().flatten() {
            offsets.extend(*key);
            offsets.push(*value);
        }
        let positions = positions(text, offsets);
        let position = |offset: usize| positions.get(&offset).copied();
        Self(
            finder
                .places
                .into_iter()
                .filter_map(|(pointer, found)| {
                    let (key, value) = found?;
                    let place = Place {
                        key: key.and_then(position),
                        value: position(value)?,
                    };
                    Some((pointer.to_owned(), place))
                })
                .collect(),
        )
    }
}

/// The positions of byte offsets, in one walk over the text: a minified document has a single line, and counting from its
/// beginning for each finding would take long.
pub(crate) fn positions(text: &str, mut offsets: Vec<usize>) -> HashMap<usize, Position> {
    offsets.sort_unstable();
    offsets.dedup();
    let mut positions = HashMap::with_capacity(offsets.len());
    let mut at = 0;
    let mut position = Position { line: 1, column: 1 };
    for offset in offsets {
        for c in text.get(at..offset).unwrap_or_default().chars() {
            if c == '\n' {
                position.line = position.line.saturating_add(1);
                position.column = 1;
            } else {
                position.column = position.column.saturating_add(1);
            }
        }
        at = offset;
        positions.insert(offset, position);
    }
    positions
}

/// From a line and a column that counts bytes, both one-based, as `serde_json` tells them (a column may be 0).
pub(crate) fn position_of_byte(text: &str, line: usize, column: usize) -> Position {
    let before = text.split('\n').nth(line.saturating_sub(1)).unwrap_or_default();
    let mut end = column.saturating_sub(1).min(before.len());
    while !before.is_char_boundary(end) {
        end -= 1;
    }
    let narrow = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    Position {
        line: narrow(line.max(1)),
        column: narrow(before[..end].chars().count() + 1),
    }
}

/// Hears of every value that a [`Reader`] meets.
pub(crate) trait Visit {
    /// A field of an object follows: its name, and the offset of its key.
    fn key(&mut self, name: &str, offset: usize);
    /// In the object that was just read, the key at this offset has stood before.
    fn again(&mut self, _: usize) {}
    /// An item of an array follows.
    fn item(&mut self, index: usize);
    /// A value begins at this offset. The offset of its key comes with it.
    fn value(&mut self, key: Option<usize>, offset: usize);
    /// The field or item has ended.
    fn leave(&mut self);
}

/// Finds the places of some pointers.
struct Finder<'p> {
    pointer: String,
    places: HashMap<&'p str, Option<(Option<usize>, usize)>>,
    /// Whether one of them is so long: most pointers need no look into the map.
    lengths: Vec<bool>,
}

impl Visit for Finder<'_> {
    fn key(&mut self, name: &str, _: usize) {
        append(&mut self.pointer, name);
    }

    fn item(&mut self, index: usize) {
        self.pointer.push('/');
        self.pointer.push_str(&index.to_string());
    }

    fn value(&mut self, key: Option<usize>, offset: usize) {
        if self.lengths.get(self.pointer.len()) != Some(&true) {
            return;
        }
        if let Some(place) = self.places.get_mut(self.pointer.as_str()) {
            // Of a key that comes twice the last counts, as it does for the value.
            *place = Some((key, offset));
        }
    }

    fn leave(&mut self) {
        let end = self.pointer.rfind('/').unwrap_or(0);
        self.pointer.truncate(end);
    }
}

/// The deepest nesting that is read: as deep as `serde_json` goes.
pub(crate) const MAX_DEPTH: usize = 127;

/// What is said of values that nest deeper.
pub(crate) fn nests_deeper() -> String {
    format!("the values nest deeper than {MAX_DEPTH} levels")
}

/// The text is not JSON; `serde_json` words the reason better.
#[derive(Debug)]
pub(crate) struct NotJson;

/// Reads JSON and tells where everything lies.
pub(crate) struct Reader<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    too_deep: Option<usize>,
    /// The fields of the objects around, those of the innermost on top, with the offsets of their keys: an object is made when
    /// it is known how many it has.
    fields: Vec<(String, Value, usize)>,
    /// The items of the arrays around.
    items: Vec<Value>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self {
            text,
            at: 0,
            depth: 0,
            too_deep: None,
            fields: Vec::new(),
            items: Vec::new(),
        }
    }

    /// Where the values began to nest too deep, when that is what ended the reading.
    pub(crate) fn too_deep(&self) -> Option<usize> {
        self.too_deep
    }

    pub(crate) fn document(&mut self, visit: &mut impl Visit) -> Result<Value, NotJson> {
        self.whole::<true>(visit)
    }

    /// Reads without keeping what is read.
    fn walk(&mut self, visit: &mut impl Visit) -> Result<(), NotJson> {
        self.whole::<false>(visit).map(drop)
    }

    fn whole<const KEEP: bool>(&mut self, visit: &mut impl Visit) -> Result<Value, NotJson> {
        self.blanks();
        let value = self.value::<KEEP>(None, visit)?;
        self.blanks();
        if self.at == self.text.len() {
            Ok(value)
        } else {
            Err(NotJson)
        }
    }

    fn value<const KEEP: bool>(
        &mut self,
        key: Option<usize>,
        visit: &mut impl Visit,
    ) -> Result<Value, NotJson> {
        visit.value(key, self.at);
        match self.peek() {
            Some(b'{') => self.nested(|reader| reader.object::<KEEP>(visit)),
            Some(b'[') => self.nested(|reader| reader.array::<KEEP>(visit)),
            Some(b'"') => {
                let text = self.string()?;
                Ok(if KEEP {
                    Value::String(text.into_owned())
                } else {
                    Value::Null
                })
            }
            Some(b't') => self.word("true", Value::Bool(true)),
            Some(b'f') => self.word("false", Value::Bool(false)),
            Some(b'n') => self.word("null", Value::Null),
            Some(b'-' | b'0'..=b'9') => self.number().map(Value::Number),
            _ => Err(NotJson),
        }
    }

    fn nested(&mut self, read: impl FnOnce(&mut Self) -> Result<Value, NotJson>) -> Result<Value, NotJson> {
        if self.depth == MAX_DEPTH {
            self.too_deep = Some(self.at);
            return Err(NotJson);
        }
        self.depth += 1;
        self.at += 1;
        self.blanks();
        let value = read(self);
        self.depth -= 1;
        value
    }

    fn object<const KEEP: bool>(&mut self, visit: &mut impl Visit) -> Result<Value, NotJson> {
        if self.eat(b'}') {
            return Ok(Value::Object(Map::new()));
        }
        let first = self.fields.len();
        loop {
            let offset = self.at;
            let name = self.string()?;
            self.blanks();
            if !self.eat(b':') {
                return Err(NotJson);
            }
            self.blanks();
            visit.key(&name, offset);
            let value = self.value::<KEEP>(Some(offset), visit)?;
            if KEEP {
                self.fields.push((name.into_owned(), value, offset));
            }
            visit.leave();
            self.blanks();
            if self.eat(b'}') {
                break;
            }
            if !self.eat(b',') {
                return Err(NotJson);
            }
            self.blanks();
        }
        let mut map = Map::with_capacity(self.fields.len() - first);
        for (name, value, offset) in self.fields.drain(first..) {
            if map.insert(name, value).is_some() {
                visit.again(offset);
            }
        }
        Ok(Value::Object(map))
    }

    fn array<const KEEP: bool>(&mut self, visit: &mut impl Visit) -> Result<Value, NotJson> {
        if self.eat(b']') {
            return Ok(Value::Array(Vec::new()));
        }
        let first = self.items.len();
        let mut index = 0;
        loop {
            visit.item(index);
            let value = self.value::<KEEP>(None, visit)?;
            if KEEP {
                self.items.push(value);
            }
            visit.leave();
            index += 1;
            self.blanks();
            if self.eat(b']') {
                return Ok(Value::Array(self.items.drain(first..).collect()));
            }
            if !self.eat(b',') {
                return Err(NotJson);
            }
            self.blanks();
        }
    }

    /// The key at this offset of a text that was read.
    pub(crate) fn key_at(text: &'a str, offset: usize) -> String {
        let mut reader = Self::new(text);
        reader.at = offset;
        reader.string().unwrap_or_default().into_owned()
    }

    fn string(&mut self) -> Result<Cow<'a, str>, NotJson> {
        let start = self.at;
        if !self.eat(b'"') {
            return Err(NotJson);
        }
        let bytes = self.text.as_bytes();
        let mut plain = true;
        loop {
            let rest = bytes.get(self.at..).ok_or(NotJson)?;
            self.at += end_of_plain(rest).ok_or(NotJson)?;
            match bytes[self.at] {
                b'"' => break,
                b'\\' => {
                    plain = false;
                    self.at += 2;
                }
                _ => return Err(NotJson),
            }
        }
        self.at += 1;
        if plain {
            return Ok(Cow::Borrowed(&self.text[start + 1..self.at - 1]));
        }
        let token = self.text.get(start..self.at).ok_or(NotJson)?;
        serde_json::from_str(token).map(Cow::Owned).map_err(|_| NotJson)
    }

    fn number(&mut self) -> Result<Number, NotJson> {
        let start = self.at;
        while let Some(b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        serde_json::from_str(&self.text[start..self.at]).map_err(|_| NotJson)
    }

    fn word(&mut self, word: &str, value: Value) -> Result<Value, NotJson> {
        if self.text[self.at..].starts_with(word) {
            self.at += word.len();
            Ok(value)
        } else {
            Err(NotJson)
        }
    }

    fn blanks(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }
}

/// Where in a string the first quote, backslash or control character stands: eight bytes at a time.
fn end_of_plain(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::MAX / 255;
    const HIGH: u64 = ONES * 0x80;
    // The highest bit of each byte that is less than `n`, which is at most 128; of the lowest such byte at least.
    let less = |word: u64, n: u64| word.wrapping_sub(ONES * n) & !word & HIGH;
    let mut at = 0;
    while let Some(&chunk) = bytes[at..].first_chunk::<8>() {
        let word = u64::from_le_bytes(chunk);
        let found = less(word, 0x20)
            | less(word ^ (ONES * u64::from(b'"')), 1)
            | less(word ^ (ONES * u64::from(b'\\')), 1);
        if found != 0 {
            return Some(at + found.trailing_zeros() as usize / 8);
        }
        at += 8;
    }
    let rest = &bytes[at..];
    let end = rest.iter().position(|b| matches!(b, b'"' | b'\\' | 0..0x20));
    end.map(|end| at + end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_ends_where_a_search_byte_by_byte_ends_it() {
        let slow = |bytes: &[u8]| bytes.iter().position(|b| matches!(b, b'"' | b'\\' | 0..0x20));
        for length in 0..20 {
            for at in 0..length {
                for first in 0..=255 {
                    for second in [0x1f, b'!', b'"', b'#', b'\\', b'a', 0x80, 0xff] {
                        let mut bytes = vec![b'x'; length];
                        bytes[at] = first;
                        bytes[length - 1] = second;
                        assert_eq!(end_of_plain(&bytes), slow(&bytes), "{bytes:?}");
                    }
                }
            }
        }
    }
}
