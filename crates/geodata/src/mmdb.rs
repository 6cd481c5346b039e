//! MaxMind's format: metadata, the tree of networks, and the data that its leaves point to.
//!
//! Nothing in a file is believed before it is compared with what there is: every step checks its bounds, a walk visits no
//! more nodes than the tree has, and a record is given up when it has more values than any record has. So a file of
//! any content costs time in proportion to its size. Faults name the byte of the file.
//!
//! The format: <https://maxmind.github.io/MaxMind-DB/>.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::Fault;
use crate::bytes::Bytes;

const MARK: &[u8] = b"\xab\xcd\xefMaxMind.com";
/// The metadata is within so many bytes of the end.
pub(crate) const SEARCHED: usize = 128 * 1024;
/// Zero bytes between tree and data.
pub(crate) const SEPARATOR: usize = 16;
/// The most values of one record that are looked at. GeoIP2-Enterprise, the richest, has less than 500.
const RECORD_VALUES: u32 = 4096;
/// The most values of the metadata.
const METADATA_VALUES: u32 = 512;

/// A database in MaxMind's format.
#[derive(Debug)]
pub(crate) struct Mmdb {
    bytes: Bytes,
    pub(crate) facts: Facts,
    pub(crate) layout: Layout,
    /// Where the IPv4 addresses begin in the tree, and how many bits lead there.
    pub(crate) ipv4: (Slot, u8),
}

/// What the metadata say.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    pub(crate) database_type: String,
    pub(crate) build_epoch: u64,
    pub(crate) ip_version: u16,
    pub(crate) description: BTreeMap<String, String>,
    pub(crate) languages: Vec<String>,
}

/// Where what is in the file.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    pub(crate) node_count: u32,
    pub(crate) record_size: u16,
    pub(crate) data: Range<usize>,
    pub(crate) metadata: Range<usize>,
}

/// What a branch of a node leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Slot {
    /// Nothing: a network without a record.
    Empty,
    Node(u32),
    /// A record, by its place in the data section.
    Data(usize),
}

/// A network with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Leaf {
    /// The bits of its address, from the highest down.
    pub(crate) address: u128,
    /// How many of them count.
    pub(crate) depth: u8,
    /// Of its record in the data section.
    pub(crate) place: usize,
}

/// Whether the file has the mark of the format.
pub(crate) fn has_mark(bytes: &[u8]) -> bool {
    mark(bytes).is_some()
}

/// Where the mark begins: the last one, for data may hold the same bytes.
fn mark(bytes: &[u8]) -> Option<usize> {
    let from = bytes.len().saturating_sub(SEARCHED);
    let found = bytes[from..]
        .windows(MARK.len())
        .rposition(|window| window == MARK);
    found.map(|place| from + place)
}

impl Mmdb {
    pub(crate) fn new(bytes: Bytes) -> Result<Self, Fault> {
        let all = bytes.as_ref();
        let mark = mark(all).ok_or_else(|| Fault("its metadata is missing".to_owned()))?;
        let section = Section::new(all, mark + MARK.len()..all.len());
        let raw = RawFacts::read(section)?;

        let at = mark + MARK.len();
        let fault = |what: String| Err(Fault(format!("{what}, in the metadata at byte {at}")));
        if raw.major != 2 {
            return fault(format!("version {} of the format is not known", raw.major));
        }
        let bytes_per_node = match raw.record_size {
            24 => 6,
            28 => 7,
            32 => 8,
            other => return fault(format!("record size {other} is none of 24, 28 and 32")),
        };
        if !matches!(raw.facts.ip_version, 4 | 6) {
            return fault(format!("IP version {} is neither 4 nor 6", raw.facts.ip_version));
        }
        let Ok(node_count) = u32::try_from(raw.node_count) else {
            return fault(format!("{} nodes are more than there can be", raw.node_count));
        };
        let tree = u64::from(node_count) * bytes_per_node;
        let data = tree + SEPARATOR as u64;
        if data > mark as u64 {
            return fault(format!(
                "{node_count} nodes take {tree} bytes, and before the metadata there are {mark}"
            ));
        }
        let mut database = Self {
            layout: Layout {
                node_count,
                record_size: raw.record_size,
                data: data as usize..mark,
                metadata: at..all.len(),
            },
            facts: raw.facts,
            bytes,
            ipv4: (Slot::Empty, 0),
        };
        database.ipv4 = database.find_ipv4();
        Ok(database)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.bytes.as_ref()
    }

    /// The data section.
    pub(crate) fn data(&self) -> Section<'_> {
        Section::new(self.bytes(), self.layout.data.clone())
    }

    /// The metadata section.
    pub(crate) fn metadata(&self) -> Section<'_> {
        Section::new(self.bytes(), self.layout.metadata.clone())
    }

    /// The root of the tree.
    pub(crate) fn root(&self) -> Slot {
        if self.layout.node_count == 0 {
            Slot::Empty
        } else {
            Slot::Node(0)
        }
    }

    /// What comes after a node: the branch of a zero, or of a one.
    pub(crate) fn branch(&self, node: u32, one: bool) -> Result<Slot, Fault> {
        let raw = self.raw_branch(node, one);
        let count = self.layout.node_count;
        if raw < count {
            return Ok(Slot::Node(raw));
        }
        if raw == count {
            return Ok(Slot::Empty);
        }
        let place = (raw - count) as usize;
        if place < SEPARATOR {
            return Err(self.fault_at(node, one, "leads between tree and data"));
        }
        if place - SEPARATOR >= self.layout.data.len() {
            return Err(self.fault_at(node, one, "points past the end of the data"));
        }
        Ok(Slot::Data(place - SEPARATOR))
    }

    /// The number in the tree, as it is there.
    fn raw_branch(&self, node: u32, one: bool) -> u32 {
        let bytes = self.bytes();
        // In bounds: the constructor has compared the number of nodes with the size of the file.
        let read = |from: usize| -> u32 {
            let number = bytes.get(from..from + 4).and_then(|four| four.try_into().ok());
            number.map_or(0, u32::from_be_bytes)
        };
        let node = node as usize;
        match (self.layout.record_size, one) {
            // The tree is followed by sixteen zeros at least, so that four bytes can be read everywhere.
            (24, false) => read(6 * node) >> 8,
            (24, true) => read(6 * node + 3) >> 8,
            // The high nibbles of both share the byte in the middle.
            (28, false) => {
                let number = read(7 * node);
                (number & 0xf0) << 20 | number >> 8
            }
            (28, true) => read(7 * node + 3) & 0x0fff_ffff,
            (_, one) => read(8 * node + 4 * usize::from(one)),
        }
    }

    /// How errors call a branch.
    pub(crate) fn fault_at(&self, node: u32, one: bool, what: &str) -> Fault {
        let side = if one { "right" } else { "left" };
        let byte = node as usize * usize::from(self.layout.record_size) / 4;
        Fault(format!("the {side} record of node {node} at byte {byte} {what}"))
    }

    fn find_ipv4(&self) -> (Slot, u8) {
        let mut slot = self.root();
        if self.facts.ip_version == 4 {
            return (slot, 0);
        }
        for depth in 0..96 {
            let Slot::Node(node) = slot else {
                return (slot, depth);
            };
            // A fault here is found again by the walk that comes this way.
            slot = self.branch(node, false).unwrap_or(Slot::Empty);
        }
        (slot, 96)
    }

    /// The record of an IPv4 address and how long the prefix of its network is.
    pub(crate) fn lookup(&self, ip: u32) -> Result<Option<(usize, u8)>, Fault> {
        let (mut slot, bits) = self.ipv4;
        if self.facts.ip_version == 6 && bits < 96 {
            return Ok(None); // an IPv6 network, which only happens to contain `::/96`
        }
        for depth in 0..=32_u8 {
            match slot {
                Slot::Empty => return Ok(None),
                Slot::Data(place) => return Ok(Some((place, depth))),
                Slot::Node(node) if depth < 32 => {
                    slot = self.branch(node, ip >> (31 - depth) & 1 == 1)?;
                }
                Slot::Node(node) => return Err(too_deep(node)),
            }
        }
        Ok(None)
    }

    /// All networks of IPv4, by address.
    pub(crate) fn walk_ipv4(&self) -> Walk<'_> {
        let start = match (self.facts.ip_version, self.ipv4) {
            (4, (slot, _)) | (6, (slot, 96)) => Some(slot),
            _ => None,
        };
        Walk::new(self, start.unwrap_or(Slot::Empty), 0, 32)
    }

    /// All networks of IPv6, by address: not those of IPv4, nor the places where they appear again.
    pub(crate) fn walk_ipv6(&self) -> Walk<'_> {
        let start = if self.facts.ip_version == 6 {
            self.root()
        } else {
            Slot::Empty
        };
        Walk::new(self, start, 0, 128)
    }
}

pub(crate) fn too_deep(node: u32) -> Fault {
    Fault(format!(
        "node {node} is deeper in the tree than addresses have bits"
    ))
}

/// A walk over the networks that have a record, by address.
///
/// It visits at most as many nodes as the tree has: damage can make it a web in which there is no end of ways.
#[derive(Debug)]
pub(crate) struct Walk<'a> {
    database: &'a Mmdb,
    /// What is still to visit, the next on top, with its address and depth.
    ahead: Vec<(Slot, u128, u8)>,
    /// How deep a leaf can be.
    deepest: u8,
    budget: u32,
}

impl<'a> Walk<'a> {
    fn new(database: &'a Mmdb, start: Slot, address: u128, deepest: u8) -> Self {
        let mut ahead = Vec::with_capacity(usize::from(deepest) + 1);
        ahead.push((start, address, 0));
        Self {
            database,
            ahead,
            deepest,
            budget: database.layout.node_count,
        }
    }

    /// The next network. After a fault the walk is over.
    pub(crate) fn next(&mut self) -> Option<Result<Leaf, Fault>> {
        while let Some((mut slot, address, mut depth)) = self.ahead.pop() {
            // Down along the zeros, the ones are for later.
            loop {
                match slot {
                    Slot::Empty => break,
                    Slot::Data(place) => {
                        return Some(Ok(Leaf {
                            address,
                            depth,
                            place,
                        }));
                    }
                    Slot::Node(node) => {
                        // Of the IPv6 addresses, those of IPv4 and their aliases are the business of the other walk.
                        if self.deepest == 128 && slot == self.database.ipv4.0 && self.database.ipv4.1 == 96 {
                            break;
                        }
                        match self.open(node, depth) {
                            Ok([zero, one]) => {
                                depth += 1;
                                self.ahead.push((one, address | 1 << (128 - depth), depth));
                                slot = zero;
                            }
                            Err(fault) => {
                                self.ahead.clear();
                                return Some(Err(fault));
                            }
                        }
                    }
                }
            }
        }
        None
    }

    fn open(&mut self, node: u32, depth: u8) -> Result<[Slot; 2], Fault> {
        if depth == self.deepest {
            return Err(too_deep(node));
        }
        self.budget = self.budget.checked_sub(1).ok_or_else(|| {
            Fault(format!(
                "the search tree is not a tree: several ways lead to node {node} or others"
            ))
        })?;
        Ok([
            self.database.branch(node, false)?,
            self.database.branch(node, true)?,
        ])
    }
}

/// A section of values that point to each other.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Section<'a> {
    bytes: &'a [u8],
    /// In the file.
    start: usize,
}

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Pointer,
    Text,
    Double,
    Bytes,
    Uint16,
    Uint32,
    Map,
    Int32,
    Uint64,
    Uint128,
    List,
    Bool,
    Float,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Pointer => "a pointer",
            Self::Text => "a text",
            Self::Double => "a double",
            Self::Bytes => "bytes",
            Self::Uint16 | Self::Uint32 | Self::Uint64 | Self::Uint128 => "a number",
            Self::Map => "a map",
            Self::Int32 => "a signed number",
            Self::List => "a list",
            Self::Bool => "a boolean",
            Self::Float => "a float",
        }
    }
}

/// The head of a value.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Value {
    pub(crate) kind: Kind,
    /// Of a text the bytes, of a map or list the entries, of a pointer where it leads, of a boolean its value.
    pub(crate) size: usize,
    /// Where the head begins.
    pub(crate) at: usize,
    /// Where what follows the head begins.
    pub(crate) body: usize,
}

impl Value {
    /// Where the next value begins; not for maps and lists.
    pub(crate) fn end(&self) -> usize {
        match self.kind {
            Kind::Pointer | Kind::Bool => self.body,
            _ => self.body + self.size,
        }
    }
}

impl<'a> Section<'a> {
    pub(crate) fn new(file: &'a [u8], range: Range<usize>) -> Self {
        Self {
            start: range.start,
            bytes: file.get(range).unwrap_or_default(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn fault(&self, at: usize, what: impl std::fmt::Display) -> Fault {
        Fault(format!("{what} at byte {}", self.start + at))
    }

    fn byte(&self, at: usize) -> Result<u8, Fault> {
        self.bytes
            .get(at)
            .copied()
            .ok_or_else(|| self.fault(at, "the data end in the middle of a value"))
    }

    fn number(&self, at: usize, len: usize) -> Result<u64, Fault> {
        (at..at + len).try_fold(0, |number, at| Ok(number << 8 | u64::from(self.byte(at)?)))
    }

    /// A number of up to four bytes.
    fn short(&self, at: usize, len: usize) -> Result<usize, Fault> {
        Ok(self.number(at, len)? as usize)
    }

    /// The head of the value at a place. What is said to belong to it is there.
    pub(crate) fn value(&self, at: usize) -> Result<Value, Fault> {
        let control = self.byte(at)?;
        let low = usize::from(control & 0x1f);
        let mut body = at + 1;
        if control >> 5 == 1 {
            let len = (low >> 3) + 1;
            let number = self.short(body, len)?;
            let size = match len {
                1 => (low & 7) << 8 | number,
                2 => ((low & 7) << 16 | number) + 2048,
                3 => ((low & 7) << 24 | number) + 526_336,
                _ => number,
            };
            return Ok(Value {
                kind: Kind::Pointer,
                size,
                at,
                body: body + len,
            });
        }
        let kind = match control >> 5 {
            0 => {
                body += 1;
                match self.byte(at + 1)? {
                    1 => Kind::Int32,
                    2 => Kind::Uint64,
                    3 => Kind::Uint128,
                    4 => Kind::List,
                    7 => Kind::Bool,
                    8 => Kind::Float,
                    other => {
                        return Err(self.fault(at, format_args!("an unknown type, {}", 7 + u16::from(other))));
                    }
                }
            }
            2 => Kind::Text,
            3 => Kind::Double,
            4 => Kind::Bytes,
            5 => Kind::Uint16,
            6 => Kind::Uint32,
            _ => Kind::Map,
        };
        let (size, more) = match low {
            29 => (29 + self.short(body, 1)?, 1),
            30 => (285 + self.short(body, 2)?, 2),
            31 => (65_821 + self.short(body, 3)?, 3),
            size => (size, 0),
        };
        body += more;
        let (fits, least) = match kind {
            Kind::Double => (size == 8, size),
            Kind::Float => (size == 4, size),
            Kind::Bool => (size <= 1, 0),
            Kind::Uint16 => (size <= 2, size),
            Kind::Uint32 | Kind::Int32 => (size <= 4, size),
            Kind::Uint64 => (size <= 8, size),
            Kind::Uint128 => (size <= 16, size),
            // Each entry takes a byte at least.
            Kind::Map => (true, 2 * size),
            Kind::Text | Kind::Bytes | Kind::List | Kind::Pointer => (true, size),
        };
        if !fits {
            return Err(self.fault(at, format_args!("{} of the impossible size {size}", kind.name())));
        }
        if least > self.bytes.len() - body.min(self.bytes.len()) {
            let what = format_args!(
                "{} of size {size}, which goes past the end of the data,",
                kind.name()
            );
            return Err(self.fault(at, what));
        }
        Ok(Value { kind, size, at, body })
    }

    /// The value at a place or, for a pointer, where it leads; and where the next one begins if that is known.
    pub(crate) fn resolved(&self, at: usize) -> Result<(Value, Option<usize>), Fault> {
        let value = self.value(at)?;
        if value.kind != Kind::Pointer {
            return Ok((value, None));
        }
        let target = self.target(value)?;
        Ok((target, Some(value.end())))
    }

    /// Where a pointer leads.
    pub(crate) fn target(&self, pointer: Value) -> Result<Value, Fault> {
        if pointer.size >= self.bytes.len() {
            return Err(self.fault(pointer.at, "a pointer past the end of the data"));
        }
        let target = self.value(pointer.size)?;
        if target.kind == Kind::Pointer {
            return Err(self.fault(pointer.at, "a pointer to a pointer"));
        }
        Ok(target)
    }

    /// Where the next value begins.
    pub(crate) fn skip(&self, value: Value, fuel: &mut u32) -> Result<usize, Fault> {
        let mut at = value.at;
        let mut left = 1_u64;
        while left > 0 {
            let next = self.value(at)?;
            spend(fuel).map_err(|fault| self.fault(value.at, fault))?;
            left -= 1;
            at = match next.kind {
                Kind::Map => {
                    left += 2 * next.size as u64;
                    next.body
                }
                Kind::List => {
                    left += next.size as u64;
                    next.body
                }
                _ => next.end(),
            };
        }
        Ok(at)
    }

    /// The bytes of a text, which may not be UTF-8.
    pub(crate) fn raw_text(&self, value: Value) -> Result<&'a [u8], Fault> {
        if value.kind != Kind::Text {
            return Err(self.fault(
                value.at,
                format_args!("{} where a text is expected", value.kind.name()),
            ));
        }
        let bytes = self.bytes.get(value.body..value.body + value.size);
        Ok(bytes.unwrap_or_default())
    }

    pub(crate) fn text(&self, value: Value) -> Result<&'a str, Fault> {
        std::str::from_utf8(self.raw_text(value)?)
            .map_err(|_| self.fault(value.at, "a text that is not UTF-8"))
    }

    pub(crate) fn unsigned(&self, value: Value) -> Result<u64, Fault> {
        match value.kind {
            Kind::Uint16 | Kind::Uint32 | Kind::Uint64 => self.number(value.body, value.size),
            kind => Err(self.fault(
                value.at,
                format_args!("{} where a number is expected", kind.name()),
            )),
        }
    }

    /// Goes through the entries of a map until `visit` says that it has seen enough.
    pub(crate) fn entries(
        &self,
        map: Value,
        fuel: &mut u32,
        mut visit: impl FnMut(&'a [u8], Value, &mut u32) -> Result<bool, Fault>,
    ) -> Result<(), Fault> {
        if map.kind != Kind::Map {
            return Err(self.fault(
                map.at,
                format_args!("{} where a map is expected", map.kind.name()),
            ));
        }
        let mut at = map.body;
        for _ in 0..map.size {
            spend(fuel).map_err(|fault| self.fault(map.at, fault))?;
            let (key, next) = self.resolved(at)?;
            let name = self.raw_text(key)?;
            at = next.unwrap_or(key.end());
            let (value, next) = self.resolved(at)?;
            if visit(name, value, fuel)? {
                return Ok(());
            }
            at = match next {
                Some(next) => next,
                None => self.skip(value, fuel)?,
            };
        }
        Ok(())
    }
}

fn spend(fuel: &mut u32) -> Result<(), &'static str> {
    *fuel = fuel.checked_sub(1).ok_or("a record of too many values")?;
    Ok(())
}

/// How many values of a record may be looked at.
pub(crate) fn record_fuel() -> u32 {
    RECORD_VALUES
}

#[derive(Default)]
struct RawFacts {
    facts: Facts,
    major: u64,
    node_count: u64,
    record_size: u16,
}

impl RawFacts {
    fn read(section: Section<'_>) -> Result<Self, Fault> {
        let mut raw = Self::default();
        let mut seen = 0_u8;
        let mut fuel = METADATA_VALUES;
        let map = section.value(0)?;
        section.entries(map, &mut fuel, |key, value, fuel| {
            let small = |value| -> Result<u16, Fault> {
                let number = section.unsigned(value)?;
                number.try_into().map_err(|_| {
                    let key = String::from_utf8_lossy(key);
                    section.fault(value.at, format_args!("the number {number} for `{key}`"))
                })
            };
            match key {
                b"binary_format_major_version" => {
                    raw.major = section.unsigned(value)?;
                    seen |= 1;
                }
                b"node_count" => {
                    raw.node_count = section.unsigned(value)?;
                    seen |= 2;
                }
                b"record_size" => {
                    raw.record_size = small(value)?;
                    seen |= 4;
                }
                b"ip_version" => {
                    raw.facts.ip_version = small(value)?;
                    seen |= 8;
                }
                b"database_type" => {
                    raw.facts.database_type = section.text(value)?.to_owned();
                    seen |= 16;
                }
                b"build_epoch" => {
                    raw.facts.build_epoch = section.unsigned(value)?;
                    seen |= 32;
                }
                b"description" => {
                    section.entries(value, fuel, |language, text, _| {
                        let language = String::from_utf8_lossy(language).into_owned();
                        raw.facts
                            .description
                            .insert(language, section.text(text)?.to_owned());
                        Ok(false)
                    })?;
                }
                b"languages" => raw.facts.languages = texts(section, value, fuel)?,
                _ => {}
            }
            Ok(false)
        })?;
        const NEEDED: [&str; 6] = [
            "binary_format_major_version",
            "node_count",
            "record_size",
            "ip_version",
            "database_type",
            "build_epoch",
        ];
        let missing: Vec<_> = (0..NEEDED.len())
            .filter(|bit| seen >> bit & 1 == 0)
            .map(|bit| format!("`{}`", NEEDED[bit]))
            .collect();
        if missing.is_empty() {
            Ok(raw)
        } else {
            Err(section.fault(0, format_args!("no {} in the metadata", missing.join(" and no "))))
        }
    }
}

fn texts(section: Section<'_>, list: Value, fuel: &mut u32) -> Result<Vec<String>, Fault> {
    if list.kind != Kind::List {
        return Err(section.fault(
            list.at,
            format_args!("{} where a list is expected", list.kind.name()),
        ));
    }
    let mut at = list.body;
    let mut texts = Vec::new();
    for _ in 0..list.size {
        spend(fuel).map_err(|fault| section.fault(list.at, fault))?;
        let (value, next) = section.resolved(at)?;
        texts.push(section.text(value)?.to_owned());
        at = next.unwrap_or(value.end());
    }
    Ok(texts)
}
