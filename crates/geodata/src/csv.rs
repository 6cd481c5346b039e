//! The CSV form: blocks of addresses with geoname ids, and the locations that the ids stand for.
//!
//! Read line by line, for no field of GeoLite2 holds a line break: so a line is at most [`LONGEST_LINE`] bytes of memory,
//! and a quote that is never closed does not swallow the file.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::{Ipv4Net, Ipv6Net};

use crate::archive::{Member, MemberReader, Trouble};
use crate::record::{LONGEST_NAME, Names};
use crate::{Asn, Country, CountryCode, CountrySource, Fault};

const LONGEST_LINE: usize = 64 * 1024;
/// GeoLite2-City has 130 thousand.
const MOST_LOCATIONS: usize = 5_000_000;
/// In bytes. Those of GeoLite2-City are some 15 MB.
const LARGEST_LOCATIONS: u64 = 256 << 20;

/// Why a file of rows could not be read.
#[derive(Debug)]
pub(crate) enum Flaw {
    Line { file: Arc<str>, line: u64, fault: Fault },
    Io(io::Error),
}

/// A file of rows, open.
pub(crate) struct Rows {
    lines: Lines<MemberReader>,
    fields: Fields,
    columns: usize,
}

/// The rows, and where the columns are.
type Opened<const N: usize, const M: usize> = (Rows, [usize; N], [Option<usize>; M]);

/// The rows of a file, line by line, after its header.
impl Rows {
    /// Opens a file and finds the columns that are needed by the names in its first line; those that may be missing are
    /// `None` then.
    pub(crate) fn open<const N: usize, const M: usize>(
        member: &Member,
        needed: [&str; N],
        optional: [&str; M],
    ) -> Result<Opened<N, M>, Flaw> {
        let mut rows = Self {
            lines: Lines::new(member.reader(), member.name.clone()),
            fields: Fields::default(),
            columns: 0,
        };
        if !rows.lines.next()? {
            return Err(rows.flaw("the file is empty"));
        }
        rows.split()?;
        rows.columns = rows.fields.len();
        let header: Vec<Vec<u8>> = (0..rows.columns)
            .map(|column| rows.fields.get(rows.lines.line(), column).to_vec())
            .collect();
        let place = |name: &str| header.iter().position(|column| column == name.as_bytes());
        let mut found = [0; N];
        for (name, found) in needed.iter().zip(&mut found) {
            *found = place(name).ok_or_else(|| rows.flaw(format!("there is no column `{name}`")))?;
        }
        let optional = optional.map(place);
        Ok((rows, found, optional))
    }

    /// Goes to the next row; not when there is none.
    pub(crate) fn next(&mut self) -> Result<bool, Flaw> {
        if !self.lines.next()? {
            return Ok(false);
        }
        self.split()?;
        if self.fields.len() != self.columns {
            return Err(self.flaw(format!(
                "it has {} columns, and the first line has {}",
                self.fields.len(),
                self.columns
            )));
        }
        Ok(true)
    }

    fn split(&mut self) -> Result<(), Flaw> {
        let Self { lines, fields, .. } = self;
        fields.split(lines.line()).map_err(|fault| lines.flaw(fault))
    }

    pub(crate) fn get(&self, column: usize) -> &[u8] {
        self.fields.get(self.lines.line(), column)
    }

    /// Whether nothing more comes.
    pub(crate) fn is_over(&self) -> bool {
        self.lines.over
    }

    /// One-based.
    pub(crate) fn line(&self) -> u64 {
        self.lines.number
    }

    pub(crate) fn flaw(&self, what: impl Into<String>) -> Flaw {
        self.lines.flaw(Fault(what.into()))
    }
}

struct Lines<R> {
    reader: BufReader<R>,
    file: Arc<str>,
    line: Vec<u8>,
    number: u64,
    /// Nothing more comes: after an error in reading.
    over: bool,
}

impl<R: Read> Lines<R> {
    fn new(reader: R, file: Arc<str>) -> Self {
        Self {
            reader: BufReader::with_capacity(64 << 10, reader),
            file,
            line: Vec::new(),
            number: 0,
            over: false,
        }
    }

    /// Goes to the next line that is not empty.
    fn next(&mut self) -> Result<bool, Flaw> {
        while !self.over {
            self.line.clear();
            self.number += 1;
            let limited = (&mut self.reader).take(LONGEST_LINE as u64 + 1);
            let read = { limited }.read_until(b'\n', &mut self.line);
            let read = match read {
                Ok(read) => read,
                Err(error) => {
                    self.over = true;
                    return Err(match Trouble::of(error) {
                        Trouble::Damaged(fault) => self.flaw(fault),
                        Trouble::Io(error) => Flaw::Io(error),
                    });
                }
            };
            if read == 0 {
                break;
            }
            if self.line.last() == Some(&b'\n') {
                self.line.pop();
            } else if self.line.len() > LONGEST_LINE {
                self.over = true;
                return Err(self.flaw(Fault(format!("it is longer than {LONGEST_LINE} bytes"))));
            }
            if self.line.last() == Some(&b'\r') {
                self.line.pop();
            }
            if self.number == 1 && self.line.starts_with(b"\xef\xbb\xbf") {
                self.line.drain(..3);
            }
            if !self.line.is_empty() {
                return Ok(true);
            }
        }
        self.over = true;
        Ok(false)
    }

    fn line(&self) -> &[u8] {
        &self.line
    }

    fn flaw(&self, fault: Fault) -> Flaw {
        Flaw::Line {
            file: self.file.clone(),
            line: self.number,
            fault,
        }
    }
}

/// Where the fields of a line are: in the line or, when there are quotes in it, in a copy without them.
#[derive(Default)]
struct Fields {
    ends: Vec<usize>,
    unquoted: Vec<u8>,
    quoted: bool,
}

impl Fields {
    fn len(&self) -> usize {
        self.ends.len()
    }

    /// Field by field, the ends of each; between them is one byte, the comma.
    fn split(&mut self, line: &[u8]) -> Result<(), Fault> {
        self.ends.clear();
        self.quoted = line.contains(&b'"');
        if self.quoted {
            return self.split_quoted(line);
        }
        let commas = line.iter().enumerate().filter(|(_, byte)| **byte == b',');
        self.ends.extend(commas.map(|(place, _)| place));
        self.ends.push(line.len());
        Ok(())
    }

    fn split_quoted(&mut self, line: &[u8]) -> Result<(), Fault> {
        self.unquoted.clear();
        let mut rest = line;
        loop {
            if let Some(mut inner) = rest.strip_prefix(b"\"") {
                loop {
                    let end = inner
                        .iter()
                        .position(|byte| *byte == b'"')
                        .ok_or_else(|| Fault("a quote does not end on its line".to_owned()))?;
                    self.unquoted.extend_from_slice(&inner[..end]);
                    inner = &inner[end + 1..];
                    match inner.strip_prefix(b"\"") {
                        Some(after) => {
                            self.unquoted.push(b'"');
                            inner = after;
                        }
                        None => break,
                    }
                }
                rest = inner;
                if !matches!(rest, [] | [b',', ..]) {
                    return Err(Fault("something follows a quoted field".to_owned()));
                }
            } else {
                let end = rest.iter().position(|byte| *byte == b',').unwrap_or(rest.len());
                self.unquoted.extend_from_slice(&rest[..end]);
                rest = &rest[end..];
            }
            self.ends.push(self.unquoted.len());
            match rest.split_first() {
                Some((_, after)) => rest = after,
                None => return Ok(()),
            }
            self.unquoted.push(b',');
        }
    }

    fn get<'a>(&'a self, line: &'a [u8], column: usize) -> &'a [u8] {
        let text = if self.quoted { &self.unquoted } else { line };
        let from = match column.checked_sub(1) {
            Some(before) => self.ends.get(before).map_or(0, |end| end + 1),
            None => 0,
        };
        let to = self.ends.get(column).copied().unwrap_or(from);
        text.get(from..to).unwrap_or_default()
    }
}

fn shown(field: &[u8]) -> String {
    let text = String::from_utf8_lossy(field);
    match text.char_indices().nth(60) {
        Some((cut, _)) => format!("`{}…`", &text[..cut]),
        None => format!("`{text}`"),
    }
}

/// A network as it is written, an address for a network of its own.
fn split_network(field: &[u8]) -> Option<(&str, Option<u8>)> {
    let text = std::str::from_utf8(field).ok()?;
    match text.split_once('/') {
        // One way to write a number: no sign, no zero before it.
        Some((address, len)) if !len.starts_with(['+', '0']) || len == "0" => {
            Some((address, Some(len.parse().ok()?)))
        }
        Some(_) => None,
        None => Some((text, None)),
    }
}

pub(crate) fn ipv4(field: &[u8]) -> Result<Ipv4Net, Fault> {
    let network = || {
        let (address, len) = split_network(field)?;
        let address: Ipv4Addr = address.parse().ok()?;
        Ipv4Net::new(address, len.unwrap_or(32)).ok()
    };
    let network = network().ok_or_else(|| Fault(format!("{} is no IPv4 network", shown(field))))?;
    if network != network.trunc() {
        return Err(Fault(format!("`{network}` has address bits after its prefix")));
    }
    Ok(network)
}

pub(crate) fn ipv6(field: &[u8]) -> Result<Ipv6Net, Fault> {
    let network = || {
        let (address, len) = split_network(field)?;
        let address: Ipv6Addr = address.parse().ok()?;
        Ipv6Net::new(address, len.unwrap_or(128)).ok()
    };
    let network = network().ok_or_else(|| Fault(format!("{} is no IPv6 network", shown(field))))?;
    if network != network.trunc() {
        return Err(Fault(format!("`{network}` has address bits after its prefix")));
    }
    Ok(network)
}

/// Nothing for an empty field.
pub(crate) fn number(field: &[u8], what: &str) -> Result<Option<u32>, Fault> {
    if field.is_empty() {
        return Ok(None);
    }
    let digits = field.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(field).ok().filter(|_| digits);
    match text.and_then(|text| text.parse().ok()) {
        Some(number) => Ok(Some(number)),
        None => Err(Fault(format!("{} is no {what}", shown(field)))),
    }
}

/// What geoname ids stand for. Those of continents and the like stand for no country.
#[derive(Debug, Default)]
pub(crate) struct Locations(HashMap<u32, Option<Country>>);

/// Names by code, for where another language has none.
pub(crate) type EnglishNames = HashMap<CountryCode, Arc<str>>;

impl Locations {
    /// The locations of a file in a language, with the names of the English one beside it.
    pub(crate) fn read(member: &Member, language: &str, english: &EnglishNames) -> Result<Self, Flaw> {
        let mut locations = Self::default();
        Self::each(member, language, english, |_, row| {
            let (id, country) = row?;
            locations.insert(id, country)
        })?;
        Ok(locations)
    }

    /// The English names of a file.
    pub(crate) fn english_names(member: &Member) -> Result<EnglishNames, Flaw> {
        let mut names = EnglishNames::new();
        Self::each(member, "en", &EnglishNames::new(), |_, row| {
            if let (_, Some(country)) = row? {
                names.insert(country.code, country.name);
            }
            Ok(())
        })?;
        Ok(names)
    }

    /// Gives every row to `visit`, with the number of its line, or what is wrong with it; that says whether to go on. An error for
    /// what keeps the rest of the file from being read.
    pub(crate) fn each(
        member: &Member,
        language: &str,
        english: &EnglishNames,
        mut visit: impl FnMut(u64, Result<(u32, Option<Country>), Fault>) -> Result<(), Fault>,
    ) -> Result<(), Flaw> {
        if member.size() > LARGEST_LOCATIONS {
            return Err(Flaw::Line {
                file: member.name.clone(),
                line: 1,
                fault: Fault(format!(
                    "the file has {} bytes, more than the {LARGEST_LOCATIONS} that locations can have",
                    member.size()
                )),
            });
        }
        let (mut rows, [id, code, name], [locale]) = Rows::open(
            member,
            ["geoname_id", "country_iso_code", "country_name"],
            ["locale_code"],
        )?;
        let mut names = Names::default();
        let mut parse = |rows: &Rows| {
            check_language(locale.map(|column| rows.get(column)), language)?;
            let id = number(rows.get(id), "geoname id")?
                .ok_or_else(|| Fault("there is no geoname id".to_owned()))?;
            let country = location(rows.get(code), rows.get(name), english, &mut names)?;
            Ok((id, country))
        };
        for count in 1.. {
            let row = match rows.next() {
                Ok(false) => break,
                Ok(true) => parse(&rows),
                Err(Flaw::Line { fault, .. }) if !rows.is_over() => Err(fault),
                Err(flaw) => return Err(flaw),
            };
            if count > MOST_LOCATIONS {
                return Err(rows.flaw(format!("there are more than {MOST_LOCATIONS} locations")));
            }
            visit(rows.line(), row).map_err(|fault| rows.lines.flaw(fault))?;
        }
        Ok(())
    }

    pub(crate) fn insert(&mut self, id: u32, country: Option<Country>) -> Result<(), Fault> {
        match self.0.insert(id, country) {
            None => Ok(()),
            Some(_) => Err(Fault(format!("the geoname id {id} is there a second time"))),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = u32> {
        self.0.keys().copied()
    }

    /// The first country that a row has.
    fn country(&self, ids: &[Option<u32>]) -> Result<Option<&Country>, Fault> {
        for id in ids.iter().flatten() {
            if let Some(country) = self.get(*id)? {
                return Ok(Some(country));
            }
        }
        Ok(None)
    }

    pub(crate) fn get(&self, id: u32) -> Result<Option<&Country>, Fault> {
        match self.0.get(&id) {
            Some(country) => Ok(country.as_ref()),
            None => Err(Fault(format!("there is no location with the geoname id {id}"))),
        }
    }
}

fn check_language(locale: Option<&[u8]>, language: &str) -> Result<(), Fault> {
    match locale {
        Some(locale) if !locale.eq_ignore_ascii_case(language.as_bytes()) => Err(Fault(format!(
            "it is in the language {}, the file in `{language}`",
            shown(locale)
        ))),
        _ => Ok(()),
    }
}

fn location(
    code: &[u8],
    name: &[u8],
    english: &EnglishNames,
    names: &mut Names,
) -> Result<Option<Country>, Fault> {
    if code.is_empty() {
        return Ok(None);
    }
    let code: CountryCode = std::str::from_utf8(code)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| Fault(format!("{} is not a country code of two letters", shown(code))))?;
    let name =
        std::str::from_utf8(name).map_err(|_| Fault(format!("the name {} is not UTF-8", shown(name))))?;
    if name.len() > LONGEST_NAME {
        return Err(Fault(format!("a name of {} bytes", name.len())));
    }
    let english = english.get(&code).map(|name| &**name);
    Ok(Some(names.country(code, Some(name), english)))
}

/// A file of blocks, open: networks with the geoname ids of their countries.
pub(crate) struct Blocks {
    pub(crate) rows: Rows,
    network: usize,
    ids: [Option<usize>; 3],
}

impl Blocks {
    pub(crate) fn open(member: &Member) -> Result<Self, Flaw> {
        let (rows, [network, located], [registered, represented]) = Rows::open(
            member,
            ["network", "geoname_id"],
            ["registered_country_geoname_id", "represented_country_geoname_id"],
        )?;
        Ok(Self {
            rows,
            network,
            ids: [Some(located), registered, represented],
        })
    }

    pub(crate) fn network(&self) -> &[u8] {
        self.rows.get(self.network)
    }

    /// The ids of the row, of the countries that count.
    pub(crate) fn ids(&self, sources: &[CountrySource]) -> Result<[Option<u32>; 3], Fault> {
        let mut ids = [None; 3];
        for (source, id) in sources.iter().zip(&mut ids) {
            if let Some(column) = self.ids[*source as usize] {
                *id = number(self.rows.get(column), "geoname id")?;
            }
        }
        Ok(ids)
    }

    /// The next network and its country.
    pub(crate) fn next_ipv4(
        &mut self,
        locations: &Locations,
        sources: &[CountrySource],
    ) -> Result<Option<(Ipv4Net, Option<Country>)>, Flaw> {
        if !self.rows.next()? {
            return Ok(None);
        }
        let row = || {
            let network = ipv4(self.network())?;
            let country = locations.country(&self.ids(sources)?)?;
            Ok((network, country.cloned()))
        };
        row().map(Some).map_err(|fault| self.rows.lines.flaw(fault))
    }
}

/// Counts the networks of a file of IPv6 blocks.
pub(crate) fn count_ipv6(member: &Member) -> Result<u64, Flaw> {
    let (mut rows, [network], []) = Rows::open(member, ["network"], [])?;
    let mut count = 0;
    while rows.next()? {
        ipv6(rows.get(network)).map_err(|fault| rows.lines.flaw(fault))?;
        count += 1;
    }
    Ok(count)
}

/// Networks and what they have, in memory: 12 bytes for each network.
#[derive(Debug)]
pub(crate) struct Table<T> {
    /// By address, without overlaps.
    networks: Vec<(u32, u8, u32)>,
    values: Vec<T>,
}

impl<T: Clone + Eq + std::hash::Hash> Table<T> {
    /// Takes networks in any order.
    fn collect(
        mut next: impl FnMut() -> Result<Option<(Ipv4Net, T)>, Flaw>,
        file: &Arc<str>,
    ) -> Result<Self, Flaw> {
        let mut networks = Vec::new();
        let mut values = Vec::new();
        let mut places = HashMap::new();
        while let Some((network, value)) = next()? {
            let place = *places.entry(value).or_insert_with_key(|value| {
                values.push(value.clone());
                values.len() as u32 - 1
            });
            networks.push((u32::from(network.network()), network.prefix_len(), place));
        }
        if !networks.is_sorted() {
            networks.sort_unstable();
        }
        for pair in networks.windows(2) {
            let [first, second] = [pair[0], pair[1]].map(|(start, len, _)| Ipv4Net::new(start.into(), len));
            if let (Ok(first), Ok(second)) = (first, second)
                && first.contains(&second)
            {
                return Err(Flaw::Line {
                    file: file.clone(),
                    line: 1,
                    fault: Fault(format!(
                        "the file has both `{first}` and `{second}`, which overlap"
                    )),
                });
            }
        }
        Ok(Self { networks, values })
    }

    pub(crate) fn lookup(&self, ip: Ipv4Addr) -> Option<(Ipv4Net, &T)> {
        let ip = u32::from(ip);
        let after = self.networks.partition_point(|(start, ..)| *start <= ip);
        let (start, len, place) = *self.networks.get(after.checked_sub(1)?)?;
        let network = Ipv4Net::new(start.into(), len).ok()?;
        let value = self.values.get(place as usize)?;
        network.contains(&Ipv4Addr::from(ip)).then_some((network, value))
    }
}

impl Table<Option<Country>> {
    pub(crate) fn of_countries(
        member: &Member,
        locations: &Locations,
        sources: &[CountrySource],
    ) -> Result<Self, Flaw> {
        let mut blocks = Blocks::open(member)?;
        Self::collect(|| blocks.next_ipv4(locations, sources), &member.name)
    }
}

impl Table<Option<Asn>> {
    pub(crate) fn of_systems(member: &Member) -> Result<Self, Flaw> {
        let mut systems = Systems::open(member)?;
        Self::collect(|| systems.next_ipv4(), &member.name)
    }
}

/// A file of blocks of autonomous systems, open.
pub(crate) struct Systems {
    pub(crate) rows: Rows,
    columns: [usize; 3],
}

impl Systems {
    pub(crate) fn open(member: &Member) -> Result<Self, Flaw> {
        let (rows, columns, []) = Rows::open(
            member,
            [
                "network",
                "autonomous_system_number",
                "autonomous_system_organization",
            ],
            [],
        )?;
        Ok(Self { rows, columns })
    }

    pub(crate) fn network(&self) -> &[u8] {
        self.rows.get(self.columns[0])
    }

    pub(crate) fn asn(&self) -> Result<Option<Asn>, Fault> {
        let [_, number_column, organization] = self.columns;
        let Some(number) = number(self.rows.get(number_column), "number of an autonomous system")? else {
            return Ok(None);
        };
        let name = std::str::from_utf8(self.rows.get(organization))
            .ok()
            .filter(|name| name.len() <= LONGEST_NAME)
            .ok_or_else(|| Fault("the organization is no name".to_owned()))?;
        Ok(Some(Asn {
            number,
            organization: Some(name).filter(|name| !name.is_empty()).map(Arc::from),
        }))
    }

    fn next_ipv4(&mut self) -> Result<Option<(Ipv4Net, Option<Asn>)>, Flaw> {
        if !self.rows.next()? {
            return Ok(None);
        }
        let row = || Ok((ipv4(self.network())?, self.asn()?));
        row().map(Some).map_err(|fault| self.rows.lines.flaw(fault))
    }
}
