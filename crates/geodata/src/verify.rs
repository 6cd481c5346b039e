//! Checks a whole database.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::HashSet;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;

use serde::Serialize;

use crate::archive::Member;
use crate::csv::{Blocks, EnglishNames, Flaw, Locations, Rows, Systems, ipv4, ipv6};
use crate::mmdb::{Kind, Leaf, Mmdb, SEPARATOR, Section, Slot, too_deep};
use crate::record::{AsnReader, CountryReader};
use crate::source::{self, Content, CsvFiles, Source, Wanted, has_countries, has_systems};
use crate::{Country, CountrySource, Error, Fault, Form, OpenOptions};

/// What a check of a whole database found; made by [`verify`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Verification {
    /// Such as `GeoLite2-Country`; empty when the file does not get as far as saying it.
    pub database_type: String,
    /// The form that it came in, as far as that could be told.
    pub form: Option<Form>,
    /// The first defects, at most [`Verification::LISTED`], in the order in which they were found.
    pub defects: Vec<Defect>,
    /// How many there are in all.
    pub defect_count: u64,
    /// IPv4 networks with a record.
    pub networks: u64,
    /// IPv6 networks with a record.
    pub ipv6_networks: u64,
    /// What only databases in MaxMind's binary format have.
    pub mmdb: Option<MmdbFacts>,
    /// What only databases in CSV have.
    pub csv: Option<CsvFacts>,
    /// What is odd and yet no defect.
    pub notes: Vec<String>,
}

/// What was counted in a database of MaxMind's binary format.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct MmdbFacts {
    /// Nodes of the tree.
    pub nodes: u64,
    /// How many bits each of the two branches of a node takes.
    pub record_size: u16,
    /// Records that networks point to, each once.
    pub records: u64,
    /// Bytes of the data section.
    pub data_bytes: u64,
}

/// What was counted in a database in CSV.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CsvFacts {
    /// Rows of the locations in one language.
    pub locations: u64,
    /// The languages that there are locations in.
    pub languages: Vec<String>,
}

/// Something wrong with a database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Defect {
    /// Where: a network, a node of the tree, a line of a file, a member of an archive, or else the whole.
    pub place: String,
    /// What is wrong there.
    pub what: String,
}

impl Verification {
    /// The most defects that are listed; further ones are counted.
    pub const LISTED: usize = 100;

    /// Whether there is no defect.
    pub fn is_sound(&self) -> bool {
        self.defect_count == 0
    }
}

/// What was found so far, and who is told of each defect.
struct Findings<'a> {
    report: Verification,
    on_defect: &'a mut dyn FnMut(&Defect),
}

impl Findings<'_> {
    fn defect(&mut self, place: impl Into<String>, what: impl Into<String>) {
        let (place, what) = (place.into(), what.into());
        let defect = Defect { place, what };
        (self.on_defect)(&defect);
        self.report.defect_count += 1;
        if self.report.defects.len() < Verification::LISTED {
            self.report.defects.push(defect);
        }
    }

    fn fault(&mut self, place: impl Into<String>, fault: Fault) {
        self.defect(place, fault.0);
    }

    fn note(&mut self, note: impl Into<String>) {
        self.report.notes.push(note.into());
    }
}

/// Reads a whole database of countries or of autonomous systems, in any form, and reports every defect: of the tree of a
/// `.mmdb`, of each record, of each row of CSV. Of one record or row, the first.
///
/// Damage is not an error here but a defect, also where it keeps the file from being opened as a database. The check takes
/// time in proportion to the file, and memory for one bit of each byte of a `.mmdb`; for CSV files whose rows are out of order,
/// 48 bytes for each row and 16 for each overlap.
///
/// # Errors
///
/// [`Error::Open`] and [`Error::Read`] when the file cannot be read, [`Error::NotADatabase`] when it is something else.
pub fn verify(path: impl AsRef<Path>) -> Result<Verification, Error> {
    verify_with(path, &OpenOptions::default())
}

/// The same with options, of which the language and the limit matter.
///
/// # Errors
///
/// Those of [`verify`], and [`Error::Language`].
pub fn verify_with(path: impl AsRef<Path>, options: &OpenOptions) -> Result<Verification, Error> {
    verify_each(path, options, &mut |_| {})
}

/// The same, and gives every defect to `on_defect` as it is found: also those that the answer only counts.
///
/// # Errors
///
/// Those of [`verify_with`].
pub fn verify_each(
    path: impl AsRef<Path>,
    options: &OpenOptions,
    on_defect: &mut dyn FnMut(&Defect),
) -> Result<Verification, Error> {
    let path = path.as_ref();
    let title = format!("the database `{}`", path.display());
    let source = source::open(path, &title, options, Wanted::Anything);
    check(source, options, &title, on_defect)
}

/// The same for a database that is in memory.
///
/// # Errors
///
/// Those of [`verify_with`].
pub fn verify_bytes(
    bytes: impl Into<Cow<'static, [u8]>>,
    options: &OpenOptions,
) -> Result<Verification, Error> {
    verify_bytes_each(bytes, options, &mut |_| {})
}

/// The same for a database that is in memory, with every defect as in [`verify_each`].
///
/// # Errors
///
/// Those of [`verify_with`].
pub fn verify_bytes_each(
    bytes: impl Into<Cow<'static, [u8]>>,
    options: &OpenOptions,
    on_defect: &mut dyn FnMut(&Defect),
) -> Result<Verification, Error> {
    let title = "the database";
    let source = source::of_bytes(bytes.into(), title, options, Wanted::Anything);
    check(source, options, title, on_defect)
}

fn check(
    source: Result<Source, Error>,
    options: &OpenOptions,
    title: &str,
    on_defect: &mut dyn FnMut(&Defect),
) -> Result<Verification, Error> {
    let mut found = Findings {
        report: Verification::default(),
        on_defect,
    };
    match source {
        Ok(source) => {
            found.report.form = Some(source.form);
            match source.content {
                Content::Mmdb(bytes, _) => match Mmdb::new(bytes) {
                    Ok(database) => check_mmdb(&database, &mut found),
                    Err(fault) => found.fault("the metadata", fault),
                },
                Content::Csv(files) => check_csv(&files, options, title, &mut found)?,
            }
        }
        Err(Error::Damaged { source, .. }) => found.fault("the file", source),
        Err(Error::Archive { source, .. }) => found.fault("the archive", source),
        Err(error) => return Err(error),
    }
    Ok(found.report)
}

// --- MaxMind's binary format.

fn check_mmdb(database: &Mmdb, found: &mut Findings<'_>) {
    found.report.database_type = database.facts.database_type.clone();
    let mut metadata = Values::new(database.metadata());
    match metadata.check(0) {
        Ok(end) if end < metadata.section.len() => {
            let bytes = metadata.section.len() - end;
            found.note(format!("{bytes} bytes after the metadata"));
        }
        Ok(_) => {}
        Err(fault) => found.fault("the metadata", fault),
    }
    if let Err(fault) = crate::database::build_time(database.facts.build_epoch) {
        found.fault("the metadata", fault);
    }
    let data = &database.layout.data;
    let separator = &database.bytes()[data.start - SEPARATOR..data.start];
    if separator.iter().any(|byte| *byte != 0) {
        let place = format!("byte {}", data.start - SEPARATOR);
        found.defect(place, "the bytes between tree and data are not zeros");
    }
    let mut tree = Tree {
        database,
        nodes: Bits::new(database.layout.node_count as usize),
        records: Bits::new(data.len()),
        values: Values::new(database.data()),
        countries: has_countries(&found.report.database_type)
            .then(|| CountrySource::ALL.map(|source| (source, [source]))),
        systems: has_systems(&found.report.database_type),
        found,
    };
    tree.walk();
    let (reached, records) = (tree.nodes.count, tree.records.count);
    let all = u64::from(database.layout.node_count);
    if reached < all {
        let lost = all - reached;
        found.note(format!("{lost} nodes of the tree that nothing leads to"));
    }
    check_ipv4(database, found);
    found.report.mmdb = Some(MmdbFacts {
        nodes: all,
        record_size: database.layout.record_size,
        records,
        data_bytes: data.len() as u64,
    });
}

/// Countries without IPv4 networks are rare, and what a database looks like whose tree is of another IP version than it says.
fn check_ipv4(database: &Mmdb, found: &mut Findings<'_>) {
    let report = &found.report;
    if report.networks > 0 || !has_countries(&report.database_type) {
        return;
    }
    let (version, depth) = (database.facts.ip_version, database.ipv4.1);
    if version == 6 && depth < 96 && report.ipv6_networks > 0 {
        found.defect(
            "the tree",
            format!(
                "the way to the IPv4 networks, 96 zeros, ends after {depth}: the IP version 6 that the metadata say is not that of \
                 the tree, or it has none"
            ),
        );
    } else {
        found.note("no IPv4 networks");
    }
}

struct Tree<'a, 'f, 'l> {
    database: &'a Mmdb,
    nodes: Bits,
    records: Bits,
    values: Values<'a>,
    countries: Option<[(CountrySource, [CountrySource; 1]); 3]>,
    systems: bool,
    found: &'f mut Findings<'l>,
}

impl Tree<'_, '_, '_> {
    fn walk(&mut self) {
        let database = self.database;
        let deepest = if database.facts.ip_version == 4 { 32 } else { 128 };
        let (ipv4, ipv4_depth) = database.ipv4;
        let mut ahead = vec![(database.root(), 0_u128, 0_u8, deepest == 32)];
        while let Some((slot, address, depth, is_ipv4)) = ahead.pop() {
            let node = match slot {
                Slot::Empty => continue,
                Slot::Data(place) => {
                    let leaf = Leaf {
                        address,
                        depth,
                        place,
                    };
                    self.record(leaf, is_ipv4);
                    continue;
                }
                Slot::Node(node) => node,
            };
            // The IPv4 addresses may be seen from several places, and nothing else may.
            let is_ipv4 = is_ipv4 || (slot == ipv4 && ipv4_depth == 96 && depth == 96 && address == 0);
            if slot == ipv4 && deepest == 128 && ipv4_depth == 96 && !is_ipv4 {
                continue;
            }
            if !self.nodes.insert(node as usize) {
                let place = shown(address, depth, is_ipv4);
                self.found
                    .defect(place, format!("another way leads to node {node} as well"));
                continue;
            }
            if depth == deepest {
                self.found.fault(shown(address, depth, is_ipv4), too_deep(node));
                continue;
            }
            for one in [true, false] {
                let address = address | u128::from(one) << (127 - depth);
                match database.branch(node, one) {
                    Ok(next) => ahead.push((next, address, depth + 1, is_ipv4)),
                    Err(fault) => self.found.fault(shown(address, depth + 1, is_ipv4), fault),
                }
            }
        }
        // Where the way there leads through itself, it has been taken for an alias.
        if let (Slot::Node(node), 96) = database.ipv4
            && self.nodes.insert(node as usize)
        {
            self.found.defect(
                "::/96",
                format!("node {node}, where the IPv4 addresses begin, is on the way to itself"),
            );
        }
    }

    fn record(&mut self, leaf: Leaf, is_ipv4: bool) {
        if is_ipv4 {
            self.found.report.networks += 1;
        } else {
            self.found.report.ipv6_networks += 1;
        }
        if !self.records.insert(leaf.place) {
            return;
        }
        if let Err(fault) = self.check_record(leaf.place) {
            self.found.fault(shown(leaf.address, leaf.depth, is_ipv4), fault);
        }
    }

    fn check_record(&mut self, place: usize) -> Result<(), Fault> {
        self.values.check(place)?;
        let data = self.database.data();
        for (_, sources) in self.countries.iter().flatten() {
            CountryReader::once(sources, "en").read(data, place)?;
        }
        if self.systems {
            AsnReader::new(1).read(data, place)?;
        }
        Ok(())
    }
}

/// A network of the tree, as addresses are written.
fn shown(address: u128, depth: u8, is_ipv4: bool) -> String {
    // Below `::/96` an IPv4 address is at the end, in a tree of IPv4 alone at the beginning.
    if is_ipv4 && depth >= 96 {
        format!("{}/{}", Ipv4Addr::from(address as u32), depth - 96)
    } else if is_ipv4 {
        format!("{}/{depth}", Ipv4Addr::from((address >> 96) as u32))
    } else {
        format!("{}/{depth}", Ipv6Addr::from(address))
    }
}

/// Checks values and what they point to, each only once.
struct Values<'a> {
    section: Section<'a>,
    checked: Bits,
    /// The maps and lists that the value being checked is in.
    within: Vec<usize>,
    /// How many more values may be looked at: those of a sound file do not overlap.
    budget: u64,
}

impl<'a> Values<'a> {
    const DEEPEST: usize = 512;

    fn new(section: Section<'a>) -> Self {
        Self {
            checked: Bits::new(section.len()),
            within: Vec::new(),
            budget: 8 * section.len() as u64 + 1024,
            section,
        }
    }

    /// Checks the value at a place and tells where the next one begins.
    fn check(&mut self, at: usize) -> Result<usize, Fault> {
        self.within.clear();
        self.value(at)
    }

    fn value(&mut self, at: usize) -> Result<usize, Fault> {
        let section = self.section;
        self.budget = self
            .budget
            .checked_sub(1)
            .ok_or_else(|| section.fault(at, "values overlap more than can be checked"))?;
        if self.within.len() >= Self::DEEPEST {
            return Err(section.fault(at, "values within values deeper than any reader goes"));
        }
        let value = section.value(at)?;
        match value.kind {
            Kind::Pointer => {
                let target = section.target(value)?;
                if self.within.contains(&target.at) {
                    return Err(section.fault(at, "a pointer to what it is part of"));
                }
                if self.checked.insert(target.at) {
                    self.value(target.at)?;
                }
            }
            Kind::Text => {
                section.text(value)?;
            }
            Kind::Map | Kind::List => {
                self.within.push(at);
                let mut next = value.body;
                for _ in 0..value.size {
                    if value.kind == Kind::Map {
                        let (key, _) = section.resolved(next)?;
                        section.text(key)?;
                        next = self.value(next)?;
                    }
                    next = self.value(next)?;
                }
                self.within.pop();
                return Ok(next);
            }
            _ => {}
        }
        Ok(value.end())
    }
}

/// A set of small numbers.
struct Bits {
    words: Vec<u64>,
    count: u64,
}

impl Bits {
    fn new(len: usize) -> Self {
        Self {
            words: vec![0; len.div_ceil(64)],
            count: 0,
        }
    }

    /// Whether it was not there.
    fn insert(&mut self, number: usize) -> bool {
        let Some(word) = self.words.get_mut(number / 64) else {
            return false;
        };
        let bit = 1 << (number % 64);
        let new = *word & bit == 0;
        *word |= bit;
        self.count += u64::from(new);
        new
    }
}

// --- CSV.

fn check_csv(
    files: &CsvFiles,
    options: &OpenOptions,
    title: &str,
    found: &mut Findings<'_>,
) -> Result<(), Error> {
    found.report.database_type = files.database_type.clone();
    let mut facts = CsvFacts {
        languages: files.locations.keys().cloned().collect(),
        ..CsvFacts::default()
    };
    if files.locations.is_empty() && has_systems(&files.database_type) {
        found.report.networks = check_systems(&files.ipv4, ipv4_range, title, found)?;
        if let Some(member) = &files.ipv6 {
            found.report.ipv6_networks = check_systems(member, ipv6_range, title, found)?;
        }
    } else {
        let locations = check_all_locations(files, options, title, found)?;
        facts.locations = locations.as_ref().map_or(0, |locations| locations.len() as u64);
        let mut join = locations.as_ref().map(|locations| Join {
            locations,
            used: HashSet::new(),
        });
        found.report.networks = check_blocks(&files.ipv4, ipv4_range, join.as_mut(), title, found)?;
        if let Some(member) = &files.ipv6 {
            found.report.ipv6_networks = check_blocks(member, ipv6_range, join.as_mut(), title, found)?;
        }
        let unused = join.map_or(0, |join| join.unused());
        if unused > 0 {
            found.note(format!("{unused} locations that no block refers to"));
        }
    }
    if files.ipv6.is_none() {
        found.note("no file of IPv6 blocks");
    }
    found.report.csv = Some(facts);
    Ok(())
}

/// What is wrong with a line goes on the list; what keeps the file from being read ends the check.
fn line_flaw(flaw: Flaw, title: &str, found: &mut Findings<'_>) -> Result<(), Error> {
    match flaw {
        Flaw::Line { file, line, fault } => {
            found.fault(format!("line {line} of `{file}`"), fault);
            Ok(())
        }
        Flaw::Io(source) => Err(Error::Read {
            database: title.to_owned(),
            source,
        }),
    }
}

/// The locations in the language of the options, all others having been compared with them. None when their file cannot be read to
/// its end: then nothing is known of what it lacks.
fn check_all_locations(
    files: &CsvFiles,
    options: &OpenOptions,
    title: &str,
    found: &mut Findings<'_>,
) -> Result<Option<Locations>, Error> {
    let language = options.language_or_default();
    let chosen = crate::database::locations_in(files, language, title)?;
    let locations = check_locations(chosen, language, title, found)?;
    for (other, member) in files.locations.iter().filter(|(other, _)| *other != language) {
        let translated = check_locations(member, other, title, found)?;
        if let (Some(locations), Some(translated)) = (&locations, &translated) {
            compare(locations, chosen, translated, member, found);
        }
    }
    Ok(locations)
}

fn check_locations(
    member: &Member,
    language: &str,
    title: &str,
    found: &mut Findings<'_>,
) -> Result<Option<Locations>, Error> {
    let mut locations = Locations::default();
    let read = Locations::each(member, language, &EnglishNames::new(), |line, row| {
        if let Err(fault) = row.and_then(|(id, country)| locations.insert(id, country)) {
            found.fault(format!("line {line} of `{}`", member.name), fault);
        }
        Ok(())
    });
    match read {
        Ok(()) => Ok(Some(locations)),
        Err(flaw) => line_flaw(flaw, title, found).map(|()| None),
    }
}

/// The locations of all languages are the same, and in the same countries.
fn compare(
    first: &Locations,
    first_file: &Member,
    second: &Locations,
    second_file: &Member,
    found: &mut Findings<'_>,
) {
    let mut missing = |from: &Locations, of: &Locations, file: &Member| {
        let mut ids: Vec<u32> = of.ids().filter(|id| from.get(*id).is_err()).collect();
        ids.sort_unstable();
        for id in ids {
            found.defect(
                format!("`{}`", file.name),
                format!("there is no location with the geoname id {id}, which another language has"),
            );
        }
    };
    missing(second, first, second_file);
    missing(first, second, first_file);
    let code =
        |country: Option<&Country>| country.map_or("none".to_owned(), |country| country.code.to_string());
    let mut differing: Vec<(u32, String, String)> = first
        .ids()
        .filter_map(|id| Some((id, code(first.get(id).ok()?), code(second.get(id).ok()?))))
        .filter(|(_, first, second)| first != second)
        .collect();
    differing.sort_unstable();
    for (id, first, second) in differing {
        found.defect(
            format!("`{}`", second_file.name),
            format!(
                "the location with the geoname id {id} has the country code {second}, and {first} in `{}`",
                first_file.name
            ),
        );
    }
}

/// The first and the last address of a network.
type Range = (u128, u128);

fn ipv4_range(field: &[u8]) -> Result<Range, Fault> {
    let network = ipv4(field)?;
    let [first, last] = [network.network(), network.broadcast()].map(|ip| u128::from(u32::from(ip)));
    Ok((first, last))
}

fn ipv6_range(field: &[u8]) -> Result<Range, Fault> {
    let network = ipv6(field)?;
    let [first, last] = [network.network(), network.broadcast()].map(u128::from);
    Ok((first, last))
}

/// What blocks refer to.
struct Join<'a> {
    locations: &'a Locations,
    used: HashSet<u32>,
}

impl Join<'_> {
    /// Looks the ids of a row up, each once.
    fn refer(&mut self, ids: [Option<u32>; 3], found: &mut dyn FnMut(Fault)) {
        for (index, id) in ids.iter().enumerate() {
            let Some(id) = id.filter(|_| !ids[..index].contains(id)) else {
                continue;
            };
            self.used.insert(id);
            if let Err(fault) = self.locations.get(id) {
                found(fault);
            }
        }
    }

    fn unused(&self) -> usize {
        self.locations.ids().filter(|id| !self.used.contains(id)).count()
    }
}

fn check_blocks(
    member: &Member,
    range: fn(&[u8]) -> Result<Range, Fault>,
    mut join: Option<&mut Join<'_>>,
    title: &str,
    found: &mut Findings<'_>,
) -> Result<u64, Error> {
    let open = || Blocks::open(member);
    check_rows(member, range, title, found, open, |blocks, found| {
        match (blocks.ids(&CountrySource::ALL), &mut join) {
            (Ok(ids), Some(join)) => join.refer(ids, found),
            (Ok(_), None) => {}
            (Err(fault), _) => found(fault),
        }
    })
}

fn check_systems(
    member: &Member,
    range: fn(&[u8]) -> Result<Range, Fault>,
    title: &str,
    found: &mut Findings<'_>,
) -> Result<u64, Error> {
    let open = || Systems::open(member);
    check_rows(member, range, title, found, open, |systems, found| {
        if let Err(fault) = systems.asn() {
            found(fault);
        }
    })
}

/// A file of networks.
trait NetworkRows {
    fn rows(&mut self) -> &mut Rows;
    fn network(&self) -> &[u8];
}

impl NetworkRows for Blocks {
    fn rows(&mut self) -> &mut Rows {
        &mut self.rows
    }

    fn network(&self) -> &[u8] {
        self.network()
    }
}

impl NetworkRows for Systems {
    fn rows(&mut self) -> &mut Rows {
        &mut self.rows
    }

    fn network(&self) -> &[u8] {
        self.network()
    }
}

/// Goes through all rows: that each is a network, that they are in order, and that none overlap. The rest of a row is for
/// `rest`.
fn check_rows<R: NetworkRows>(
    member: &Member,
    range: fn(&[u8]) -> Result<Range, Fault>,
    title: &str,
    found: &mut Findings<'_>,
    open: impl Fn() -> Result<R, Flaw>,
    mut rest: impl FnMut(&R, &mut dyn FnMut(Fault)),
) -> Result<u64, Error> {
    let place = |line: u64| format!("line {line} of `{}`", member.name);
    let mut file = match open() {
        Ok(file) => file,
        Err(flaw) => return line_flaw(flaw, title, found).map(|()| 0),
    };
    let mut count = 0;
    let mut walk = InOrder::default();
    let mut disorder = false;
    loop {
        match file.rows().next() {
            Ok(true) => {}
            Ok(false) => break,
            Err(flaw) => {
                line_flaw(flaw, title, found)?;
                continue;
            }
        }
        let line = file.rows().line();
        match range(file.network()) {
            Ok(this) => {
                count += 1;
                match walk.step(this, line) {
                    Step::After => {}
                    Step::Before(before) => {
                        disorder = true;
                        let what = format!("the network comes before that of line {before}");
                        found.defect(place(line), what);
                    }
                    Step::Within(other, before) => {
                        found.defect(place(line), overlap(other, this, before));
                    }
                }
            }
            Err(fault) => found.fault(place(line), fault),
        }
        rest(&file, &mut |fault| found.fault(place(line), fault));
    }
    if disorder {
        check_unordered(range, &open, |line, what| found.defect(place(line), what));
    }
    Ok(count)
}

/// A walk over ranges that should come in order: remembers the one that reaches furthest, with its line.
#[derive(Default)]
struct InOrder(Option<(Range, u64)>);

/// How a range stands to those before it.
enum Step {
    /// Behind all of them.
    After,
    /// It begins before that of a line.
    Before(u64),
    /// It begins in a range, which is that of a line.
    Within(Range, u64),
}

impl InOrder {
    fn step(&mut self, this: Range, line: u64) -> Step {
        let step = match self.0 {
            Some(((first, _), before)) if this.0 < first => return Step::Before(before),
            Some((other, before)) if this.0 <= other.1 => Step::Within(other, before),
            _ => Step::After,
        };
        if self.0.is_none_or(|((_, end), _)| this.1 > end) {
            self.0 = Some((this, line));
        }
        step
    }
}

fn overlap(first: Range, second: Range, line: u64) -> String {
    if first == second {
        format!("the network is that of line {line} again")
    } else {
        format!("the network overlaps that of line {line}")
    }
}

/// Finds the overlaps of rows that are out of order: those that a walk in order has not found.
fn check_unordered<R: NetworkRows>(
    range: fn(&[u8]) -> Result<Range, Fault>,
    open: impl Fn() -> Result<R, Flaw>,
    mut defect: impl FnMut(u64, String),
) {
    let Ok(mut file) = open() else { return };
    let mut all = Vec::new();
    // The walk has reported what is wrong with single rows, and which overlap one before them in order.
    let mut reported = HashSet::new();
    let mut walk = InOrder::default();
    loop {
        match file.rows().next() {
            Ok(true) => {}
            Ok(false) => break,
            Err(_) => continue,
        }
        if let Ok(this) = range(file.network()) {
            let line = file.rows().line();
            if let Step::Within(_, before) = walk.step(this, line) {
                reported.insert((before, line));
            }
            all.push((this, line));
        }
    }
    // Of those that begin at the same address, the widest first.
    all.sort_unstable_by_key(|((first, end), line)| (*first, Reverse(*end), *line));
    let mut walk = InOrder::default();
    for (this, line) in all {
        if let Step::Within(other, before) = walk.step(this, line) {
            let (earlier, later) = (line.min(before), line.max(before));
            if !reported.contains(&(earlier, later)) {
                defect(later, overlap(other, this, earlier));
            }
        }
    }
}
