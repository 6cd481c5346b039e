//! Writes databases in MaxMind's format: the built-in sample, and fixtures for tests. Small ones, for everything is kept
//! in memory.
//!
//! As in MaxMind's own files, a text, map or list is written once: where it comes again, in another record or as a key, there is a
//! pointer to it, unless that is no shorter.
//!
//! ```
//! use geodata::writer::Writer;
//! use serde_json::json;
//!
//! let mut writer = Writer::new("Example-Country").build_epoch(1_782_000_000);
//! writer.insert("192.0.2.0/24".parse()?, &json!({"country": {"iso_code": "FR", "names": {"en": "France"}}}))?;
//! let database = geodata::Database::from_bytes(writer.to_bytes()?)?;
//! let network = database.lookup("192.0.2.1".parse()?)?;
//! assert_eq!(network.and_then(|n| n.country).map(|c| c.to_string()), Some("France (FR)".to_owned()));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The format: <https://maxmind.github.io/MaxMind-DB/>.

use std::collections::HashMap;

use ipnet::IpNet;
use serde_json::{Value, json};

use crate::Error;

/// A database in the making.
#[derive(Debug)]
pub struct Writer {
    database_type: String,
    description: String,
    languages: Vec<String>,
    build_epoch: u64,
    tree: Tree,
    data: Data,
}

impl Writer {
    /// A database of IPv4 networks, without any as yet.
    pub fn new(database_type: impl Into<String>) -> Self {
        Self::of_version(database_type, IpVersion::V4)
    }

    /// A database of networks of both kinds, as MaxMind's are, with the IPv4 ones at `::/96`.
    pub fn new_ipv6(database_type: impl Into<String>) -> Self {
        Self::of_version(database_type, IpVersion::V6)
    }

    fn of_version(database_type: impl Into<String>, version: IpVersion) -> Self {
        Self {
            database_type: database_type.into(),
            description: String::new(),
            languages: vec!["en".to_owned()],
            build_epoch: 0,
            tree: Tree {
                version,
                nodes: vec![Node::default()],
            },
            data: Data::default(),
        }
    }

    /// The English description. Default: the type.
    #[must_use]
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.description = description.into();
        self
    }

    /// The languages that names are said to be in. Default: `en`.
    #[must_use]
    pub fn languages(mut self, languages: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.languages = languages.into_iter().map(Into::into).collect();
        self
    }

    /// When the database is said to be built, in seconds since 1970. Default: 0.
    #[must_use]
    pub fn build_epoch(mut self, seconds: u64) -> Self {
        self.build_epoch = seconds;
        self
    }

    /// Gives a network its record: maps, lists, texts, booleans and numbers; of whole ones, those from -2³¹ to 2⁶⁴ - 1.
    ///
    /// # Errors
    ///
    /// [`Error::Overlap`] when the network contains another or is contained by it, [`Error::Unwritable`] for an IPv6
    /// network in a database without IPv6 and for other values.
    pub fn insert(&mut self, network: IpNet, record: &Value) -> Result<(), Error> {
        let place = self.data.record(record)?;
        self.tree.insert(network, Slot::Data(place))
    }

    /// Makes the IPv4 networks visible at `::ffff:0:0/96`, `2001::/32` and `2002::/16` as well, as MaxMind does. To be
    /// called once there is an IPv4 network.
    ///
    /// # Errors
    ///
    /// [`Error::Unwritable`] in a database without IPv6 or IPv4 networks, [`Error::Overlap`] when other networks are
    /// in these places.
    pub fn alias_ipv4(&mut self) -> Result<(), Error> {
        let ipv4 = match self.tree.version {
            IpVersion::V4 => None,
            IpVersion::V6 => self.tree.find(&[false; 96]),
        };
        let ipv4 = ipv4.ok_or_else(|| Error::Unwritable {
            what: "aliases of an IPv4 tree it does not have".to_owned(),
        })?;
        for (address, prefix_len) in [(0xffff_u128 << 32, 96), (0x2001 << 112, 32), (0x2002 << 112, 16)] {
            let bits: Vec<bool> = (0..prefix_len)
                .map(|bit| address >> (127 - bit) & 1 == 1)
                .collect();
            let network = ipnet::Ipv6Net::new(address.into(), prefix_len);
            let network = network.map_err(|error| Error::Unwritable {
                what: error.to_string(),
            })?;
            self.tree.insert_bits(network.into(), &bits, Slot::Node(ipv4))?;
        }
        Ok(())
    }

    /// The finished file. The same networks with the same records in the same order give the same bytes.
    ///
    /// # Errors
    ///
    /// [`Error::Unwritable`] when there is more than the format has room for.
    pub fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        let nodes = self.tree.nodes.len();
        let data = &self.data.bytes;
        let (bytes_per_node, record_size) = match nodes + SEPARATOR + data.len() {
            n if n < 1 << 24 => (6, 24),
            n if n < 1 << 28 => (7, 28),
            n if n < 1 << 32 => (8, 32),
            _ => {
                return Err(Error::Unwritable {
                    what: "more than 4 GiB".to_owned(),
                });
            }
        };
        let mut file = Vec::with_capacity(nodes * bytes_per_node + data.len() + 1024);
        for node in &self.tree.nodes {
            let [left, right] = node.0.map(|slot| match slot {
                Slot::Empty => nodes,
                Slot::Node(node) => node,
                Slot::Data(place) => nodes + SEPARATOR + place,
            } as u64);
            match record_size {
                24 => file.extend((left << 24 | right).to_be_bytes().into_iter().skip(2)),
                // The high nibbles of both share the byte in the middle.
                28 => {
                    file.extend(((left & 0xff_ffff) as u32).to_be_bytes().into_iter().skip(1));
                    file.push(((left >> 24) << 4 | right >> 24) as u8);
                    file.extend(((right & 0xff_ffff) as u32).to_be_bytes().into_iter().skip(1));
                }
                _ => file.extend((left << 32 | right).to_be_bytes()),
            }
        }
        file.extend([0; SEPARATOR]);
        file.extend_from_slice(data);
        file.extend_from_slice(b"\xab\xcd\xefMaxMind.com");
        let description = if self.description.is_empty() {
            &self.database_type
        } else {
            &self.description
        };
        let ip_version = match self.tree.version {
            IpVersion::V4 => 4,
            IpVersion::V6 => 6,
        };
        // The types are given by the format, and some readers insist on them.
        control(MAP, 9, &mut file)?;
        number("binary_format_major_version", UINT16, 2, &mut file)?;
        number("binary_format_minor_version", UINT16, 0, &mut file)?;
        number("build_epoch", UINT64, self.build_epoch, &mut file)?;
        encode_text("database_type", &mut file)?;
        encode_text(&self.database_type, &mut file)?;
        encode_text("description", &mut file)?;
        encode(&json!({ "en": description }), &mut file)?;
        number("ip_version", UINT16, ip_version, &mut file)?;
        encode_text("languages", &mut file)?;
        encode(&json!(self.languages), &mut file)?;
        number("node_count", UINT32, nodes as u64, &mut file)?;
        number("record_size", UINT16, record_size, &mut file)?;
        Ok(file)
    }
}

/// Zero bytes between tree and data.
const SEPARATOR: usize = 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum IpVersion {
    V4,
    V6,
}

#[derive(Debug)]
struct Tree {
    version: IpVersion,
    nodes: Vec<Node>,
}

/// What follows a zero bit, and what follows a one.
#[derive(Debug, Default)]
struct Node([Slot; 2]);

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Slot {
    #[default]
    Empty,
    Node(usize),
    Data(usize),
}

impl Tree {
    fn insert(&mut self, network: IpNet, slot: Slot) -> Result<(), Error> {
        let address: Vec<u8> = match (network, self.version) {
            (IpNet::V4(network), IpVersion::V4) => network.network().octets().to_vec(),
            (IpNet::V4(network), IpVersion::V6) => network.network().to_ipv6_compatible().octets().to_vec(),
            (IpNet::V6(network), IpVersion::V6) => network.network().octets().to_vec(),
            (IpNet::V6(_), IpVersion::V4) => {
                return Err(Error::Unwritable {
                    what: format!("{network}: it is for IPv4 only"),
                });
            }
        };
        let skipped = 8 * address.len() - usize::from(network.max_prefix_len());
        let bits: Vec<bool> = address
            .iter()
            .flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1 == 1))
            .take(skipped + usize::from(network.prefix_len()))
            .collect();
        self.insert_bits(network, &bits, slot)
    }

    fn insert_bits(&mut self, network: IpNet, bits: &[bool], slot: Slot) -> Result<(), Error> {
        let Some((last, path)) = bits.split_last() else {
            return Err(Error::Unwritable {
                what: format!("{network}: it would be all there is"),
            });
        };
        let mut node = 0;
        for bit in path {
            node = match self.nodes[node].0[usize::from(*bit)] {
                Slot::Node(next) => next,
                Slot::Data(_) => return Err(Error::Overlap { network }),
                Slot::Empty => {
                    let next = self.nodes.len();
                    self.nodes.push(Node::default());
                    self.nodes[node].0[usize::from(*bit)] = Slot::Node(next);
                    next
                }
            };
        }
        let place = &mut self.nodes[node].0[usize::from(*last)];
        if *place != Slot::Empty {
            return Err(Error::Overlap { network });
        }
        *place = slot;
        Ok(())
    }

    /// The node at the end of a path.
    fn find(&self, path: &[bool]) -> Option<usize> {
        path.iter()
            .try_fold(0, |node, bit| match self.nodes[node].0[usize::from(*bit)] {
                Slot::Node(next) => Some(next),
                _ => None,
            })
    }
}

/// The data section.
#[derive(Debug, Default)]
struct Data {
    bytes: Vec<u8>,
    /// What is there already: where it is, by what it would be without pointers.
    places: HashMap<Vec<u8>, usize>,
}

impl Data {
    /// Writes a record, unless it is there, and gives its place.
    fn record(&mut self, record: &Value) -> Result<usize, Error> {
        let mut plain = Vec::new();
        encode(record, &mut plain)?;
        if let Some(place) = self.places.get(&plain) {
            return Ok(*place);
        }
        let place = self.bytes.len();
        self.value(record, plain.len())?;
        self.places.insert(plain, place);
        Ok(place)
    }

    /// Writes what is part of a record, or where it is.
    fn part(&mut self, value: &Value) -> Result<(), Error> {
        let mut plain = Vec::new();
        encode(value, &mut plain)?;
        if !matches!(value, Value::String(_) | Value::Object(_) | Value::Array(_)) {
            self.bytes.extend(plain);
            return Ok(());
        }
        if let Some(place) = self.places.get(&plain) {
            let pointer = pointer(*place)?;
            if pointer.len() < plain.len() {
                self.bytes.extend(pointer);
            } else {
                self.bytes.extend(plain);
            }
            return Ok(());
        }
        let place = self.bytes.len();
        self.value(value, plain.len())?;
        self.places.insert(plain, place);
        Ok(())
    }

    /// Writes a value, with pointers to those of its parts that are there.
    fn value(&mut self, value: &Value, plain_len: usize) -> Result<(), Error> {
        match value {
            Value::Object(map) => {
                control(MAP, map.len(), &mut self.bytes)?;
                map.iter().try_for_each(|(key, value)| {
                    self.part(&Value::from(key.as_str()))?;
                    self.part(value)
                })
            }
            Value::Array(list) => {
                control(LIST, list.len(), &mut self.bytes)?;
                list.iter().try_for_each(|value| self.part(value))
            }
            _ => {
                self.bytes.reserve(plain_len);
                encode(value, &mut self.bytes)
            }
        }
    }
}

// The types of the format.
const POINTER: u8 = 1;
const TEXT: u8 = 2;
const DOUBLE: u8 = 3;
const UINT16: u8 = 5;
const UINT32: u8 = 6;
const MAP: u8 = 7;
const INT32: u8 = 8;
const UINT64: u8 = 9;
const LIST: u8 = 11;
const BOOL: u8 = 14;

fn encode(value: &Value, out: &mut Vec<u8>) -> Result<(), Error> {
    match value {
        Value::String(text) => encode_text(text, out),
        Value::Number(number) => encode_any_number(number, out),
        Value::Object(map) => {
            control(MAP, map.len(), out)?;
            map.iter().try_for_each(|(key, value)| {
                encode_text(key, out)?;
                encode(value, out)
            })
        }
        Value::Array(list) => {
            control(LIST, list.len(), out)?;
            list.iter().try_for_each(|value| encode(value, out))
        }
        Value::Bool(value) => control(BOOL, usize::from(*value), out),
        Value::Null => Err(Error::Unwritable {
            what: "null".to_owned(),
        }),
    }
}

fn encode_text(text: &str, out: &mut Vec<u8>) -> Result<(), Error> {
    control(TEXT, text.len(), out)?;
    out.extend_from_slice(text.as_bytes());
    Ok(())
}

/// In the type that fits: a whole one in the narrowest.
fn encode_any_number(number: &serde_json::Number, out: &mut Vec<u8>) -> Result<(), Error> {
    if let Some(number) = number.as_u64() {
        let kind = if number <= u32::MAX.into() { UINT32 } else { UINT64 };
        return encode_number(kind, number, out);
    }
    let whole = number.as_i64();
    if let Some(number) = whole.and_then(|number| i32::try_from(number).ok()) {
        control(INT32, 4, out)?;
        out.extend(number.to_be_bytes());
        return Ok(());
    }
    match number.as_f64() {
        Some(number) if whole.is_none() => {
            control(DOUBLE, 8, out)?;
            out.extend(number.to_be_bytes());
            Ok(())
        }
        _ => Err(Error::Unwritable {
            what: format!("the number {number}"),
        }),
    }
}

/// A pointer to a place of the data section: the shortest that reaches it.
fn pointer(place: usize) -> Result<Vec<u8>, Error> {
    // Each size begins where the one before it ends, but for the last, which has all 32 bits.
    const TWO: usize = 1 << 11;
    const THREE: usize = TWO + (1 << 19);
    const FOUR: usize = THREE + (1 << 27);

    let (size, number, bytes) = match place {
        ..TWO => (0, place, 1),
        TWO..THREE => (1, place - TWO, 2),
        THREE..FOUR => (2, place - THREE, 3),
        _ => (3, place, 4),
    };
    let number = u32::try_from(number).map_err(|_| Error::Unwritable {
        what: "more than 4 GiB".to_owned(),
    })?;
    // Three bits of the number go with the size where there is no byte for them.
    let high = if size == 3 { 0 } else { number >> (8 * bytes) };
    let mut pointer = vec![POINTER << 5 | size << 3 | high as u8];
    pointer.extend_from_slice(&number.to_be_bytes()[4 - bytes..]);
    Ok(pointer)
}

/// Without leading zeros.
fn encode_number(kind: u8, number: u64, out: &mut Vec<u8>) -> Result<(), Error> {
    let zeros = number.leading_zeros() as usize / 8;
    control(kind, 8 - zeros, out)?;
    out.extend_from_slice(&number.to_be_bytes()[zeros..]);
    Ok(())
}

/// An entry of a map.
fn number(key: &str, kind: u8, value: u64, out: &mut Vec<u8>) -> Result<(), Error> {
    encode_text(key, out)?;
    encode_number(kind, value, out)
}

/// The type and size before each value.
fn control(kind: u8, size: usize, out: &mut Vec<u8>) -> Result<(), Error> {
    let (first, rest): (u8, &[u8]) = match size {
        0..29 => (size as u8, &[]),
        29..285 => (29, &[(size - 29) as u8]),
        285..65_821 => (30, &((size - 285) as u16).to_be_bytes()),
        65_821..16_843_036 => (31, &((size - 65_821) as u32).to_be_bytes()[1..]),
        _ => {
            return Err(Error::Unwritable {
                what: format!("a value of {size} bytes or items"),
            });
        }
    };
    match kind {
        0..=7 => out.push(kind << 5 | first),
        _ => out.extend([first, kind - 7]),
    }
    out.extend_from_slice(rest);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mmdb::{Kind, Section};

    /// The bytes of the format's description, at the bounds of each size; and what our reader makes of them.
    #[test]
    fn pointers_of_all_sizes() {
        let cases: [(usize, &[u8]); 10] = [
            (0, &[0x20, 0]),
            (0x7ff, &[0x27, 0xff]),
            (0x800, &[0x28, 0, 0]),
            (0x12345, &[0x29, 0x1b, 0x45]),
            (526_335, &[0x2f, 0xff, 0xff]),
            (526_336, &[0x30, 0, 0, 0]),
            (0x123_4567, &[0x31, 0x1b, 0x3d, 0x67]),
            (134_744_063, &[0x37, 0xff, 0xff, 0xff]),
            (134_744_064, &[0x38, 0x08, 0x08, 0x08, 0x00]),
            (0xffff_fffe, &[0x38, 0xff, 0xff, 0xff, 0xfe]),
        ];
        for (place, bytes) in cases {
            assert_eq!(pointer(place).unwrap(), bytes, "{place}");
            let value = Section::new(bytes, 0..bytes.len()).value(0).unwrap();
            assert_eq!(
                (value.kind, value.size, value.body),
                (Kind::Pointer, place, bytes.len())
            );
        }
        assert!(pointer(1 << 32).is_err());
        // Of four bytes, the bits beside the size mean nothing.
        let value = Section::new(&[0x3f, 0, 0, 0x10, 0], 0..5).value(0).unwrap();
        assert_eq!(value.size, 0x1000);
    }
}
