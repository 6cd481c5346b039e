//! Databases of countries by network.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use ipnet::Ipv4Net;
use jiff::tz::TimeZone;
use sha2::{Digest, Sha256};

use crate::archive::Member;
use crate::asn::{AsnDatabase, AsnWalk};
use crate::bytes::{Opened, hex};
use crate::csv::{Blocks, EnglishNames, Flaw, Locations, Table, count_ipv6};
use crate::mmdb::{Mmdb, Walk};
use crate::record::CountryReader;
use crate::source::{self, Content, CsvFiles, Source, Wanted};
use crate::{Country, CountryCode, CountrySource, Error, Fault, Form, OpenOptions};

/// A country or city database, in any of the forms in which MaxMind ships it.
///
/// | Form | In memory |
/// | --- | --- |
/// | `.mmdb` | the file, or nothing of it with the feature `mmap` |
/// | `.mmdb` in `.gz` or `.tar.gz`, as downloaded | the unpacked file |
/// | CSV files in a `.zip`, as downloaded, or in a folder | the locations; for [`lookup`](Self::lookup) also 12 bytes for each network |
///
/// A walk takes the same memory whatever the size of the database, in every form.
pub struct Database {
    content: Kind,
    asn: Option<AsnDatabase>,
    metadata: Metadata,
    options: OpenOptions,
    /// What errors call it.
    title: String,
    files: Vec<Opened>,
}

enum Kind {
    /// With the SHA-256 of what was opened, once it is known.
    Mmdb(Mmdb, OnceLock<String>),
    Csv(CsvDatabase),
}

struct CsvDatabase {
    files: CsvFiles,
    locations: Locations,
    /// Made by the first lookup.
    table: Mutex<Option<Arc<Table<Option<Country>>>>>,
}

/// What a database says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metadata {
    /// Such as `GeoLite2-Country`. Of a CSV form, what the names of its files begin with.
    pub database_type: String,
    /// The form that it came in.
    pub form: Form,
    /// When it was built, in seconds since 1970, where it says so. Of a CSV form that is the day in the name of its folder.
    pub build_epoch: Option<u64>,
    /// The same as RFC 3339 writes it, in UTC.
    pub built: Option<String>,
    /// 4, or 6 for a database that has both kinds of networks.
    pub ip_version: u16,
    /// The English description, which may be empty.
    pub description: String,
    /// What its makers ask to be said by those who use it.
    pub attribution: Option<String>,
}

/// A network of a database and the country it is in.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Network {
    /// The addresses.
    pub prefix: Ipv4Net,
    /// Where they are, else where they are registered, else nothing; or as
    /// [`OpenOptions::country_from`] has it.
    pub country: Option<Country>,
    /// Who routes them, when an ASN database was given: of the address looked up, or the first address of a walked network.
    pub asn: Option<Asn>,
}

/// An autonomous system: a number, and who has it. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Asn {
    /// Its number.
    pub number: u32,
    /// The organization that has it, where the database says so.
    pub organization: Option<Arc<str>>,
}

/// How many networks a country has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CountryNetworks {
    /// The country.
    pub country: Country,
    /// Its IPv4 networks.
    pub networks: u64,
}

impl Database {
    /// Opens a database: a `.mmdb`, that in `.gz` or `.tar.gz`, the zip archive of its CSV form, or a folder that holds one of
    /// these or the CSV files. Which it is, is told by the content.
    ///
    /// # Errors
    ///
    /// [`Error::Open`] when the file cannot be read, [`Error::NotADatabase`], [`Error::WrongType`], and when it is damaged
    /// [`Error::Damaged`], [`Error::Archive`] or [`Error::Line`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        Self::open_with(path, &OpenOptions::default())
    }

    /// The same with options.
    ///
    /// # Errors
    ///
    /// Those of [`open`](Self::open) and [`Error::Language`].
    pub fn open_with(path: impl AsRef<Path>, options: &OpenOptions) -> Result<Self, Error> {
        let path = path.as_ref();
        let title = format!("the database `{}`", path.display());
        let source = source::open(path, &title, options, Wanted::Countries)?;
        Self::new(source, title, options)
    }

    /// Takes a database that is in memory already, in any form but that of a folder; bytes that live as long as the program are
    /// not copied.
    ///
    /// # Errors
    ///
    /// Those of [`open`](Self::open). Damage that the metadata does not show comes to light when the networks are walked.
    pub fn from_bytes(bytes: impl Into<Cow<'static, [u8]>>) -> Result<Self, Error> {
        Self::from_bytes_with(bytes, &OpenOptions::default())
    }

    /// The same with options.
    ///
    /// # Errors
    ///
    /// Those of [`open_with`](Self::open_with).
    pub fn from_bytes_with(
        bytes: impl Into<Cow<'static, [u8]>>,
        options: &OpenOptions,
    ) -> Result<Self, Error> {
        let title = "the database".to_owned();
        let source = source::of_bytes(bytes.into(), &title, options, Wanted::Countries)?;
        Self::new(source, title, options)
    }

    fn new(source: Source, title: String, options: &OpenOptions) -> Result<Self, Error> {
        let asn = options
            .asn
            .as_deref()
            .map(|path| AsnDatabase::open(path, options))
            .transpose()?;
        let (content, metadata) = match source.content {
            Content::Mmdb(bytes, sha256) => {
                let damaged = |source| Error::Damaged {
                    database: title.clone(),
                    source,
                };
                let database = Mmdb::new(bytes).map_err(damaged)?;
                let metadata = Metadata::of_mmdb(&database, source.form).map_err(damaged)?;
                if let Some(language) = &options.language
                    && !database.facts.languages.is_empty()
                    && !database.facts.languages.contains(language)
                {
                    return Err(Error::Language {
                        database: title,
                        language: language.clone(),
                        known: database.facts.languages,
                    });
                }
                check_type(&metadata.database_type, &title, Wanted::Countries)?;
                let sha256 = sha256.map(OnceLock::from).unwrap_or_default();
                (Kind::Mmdb(database, sha256), metadata)
            }
            Content::Csv(files) => {
                check_type(&files.database_type, &title, Wanted::Countries)?;
                let metadata = Metadata::of_csv(&files, source.form);
                let language = options.language_or_default();
                let member = locations_in(&files, language, &title)?;
                let locations = read_locations(&files, member, language);
                let locations = locations.map_err(|flaw| flaw_error(flaw, &title))?;
                let database = CsvDatabase {
                    files,
                    locations,
                    table: Mutex::new(None),
                };
                (Kind::Csv(database), metadata)
            }
        };
        Ok(Self {
            content,
            asn,
            metadata,
            options: options.clone(),
            title,
            files: source.files,
        })
    }

    /// How it was opened.
    pub fn options(&self) -> &OpenOptions {
        &self.options
    }

    /// What it says about itself.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// The SHA-256 of all bytes of the file as it was given, archive or not, in hexadecimal. Of a folder of CSV files, of the bytes
    /// of its blocks and locations one after the other, by name: what `cat *-Blocks-IPv[46].csv *-Locations-*.csv | sha256sum` prints
    /// with `LC_ALL=C` where there is one database.
    ///
    /// Of a `.mmdb` it is made by the first call.
    pub fn sha256(&self) -> &str {
        match &self.content {
            Kind::Mmdb(database, sha256) => sha256.get_or_init(|| hex(&Sha256::digest(database.bytes()))),
            Kind::Csv(csv) => &csv.files.sha256,
        }
    }

    /// Sees that no file of the database was written to since it was opened, as far as lengths and times tell: then what was read of
    /// it is what [`sha256`](Self::sha256) is of. A file that was replaced by another of its name is as it was.
    ///
    /// # Errors
    ///
    /// [`Error::Changed`], and [`Error::Open`] when the system does not tell.
    pub fn check_unchanged(&self) -> Result<(), Error> {
        self.files.iter().try_for_each(Opened::check)
    }

    /// All IPv4 networks that have a record, each once: the other places where an IPv6 tree shows the IPv4 addresses are
    /// not visited. By address, in CSV forms in the order of the file, which is the same in those that MaxMind makes.
    ///
    /// After an error the iterator ends.
    pub fn networks(&self) -> Networks<'_> {
        let reader = CountryReader::new(&self.options.sources, self.options.language_or_default());
        let state = match &self.content {
            Kind::Mmdb(database, _) => State::Mmdb {
                database,
                walk: database.walk_ipv4(),
                reader: Box::new(reader),
            },
            Kind::Csv(csv) => match Blocks::open(&csv.files.ipv4) {
                Ok(blocks) => State::Csv {
                    locations: &csv.locations,
                    blocks: Box::new(blocks),
                },
                Err(flaw) => State::Failed(flaw_error(flaw, &self.title)),
            },
        };
        Networks {
            database: self,
            state,
            asn: self.asn.as_ref().map(AsnDatabase::walk),
        }
    }

    /// The network of an address, if the database has one.
    ///
    /// In CSV forms, the first call reads all networks into memory.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`], [`Error::Record`] or [`Error::Line`].
    pub fn lookup(&self, ip: Ipv4Addr) -> Result<Option<Network>, Error> {
        let found = match &self.content {
            Kind::Mmdb(database, _) => self.lookup_mmdb(database, ip)?,
            Kind::Csv(csv) => self
                .table(csv)?
                .lookup(ip)
                .map(|(prefix, country)| (prefix, country.clone())),
        };
        let Some((prefix, country)) = found else {
            return Ok(None);
        };
        let asn = match &self.asn {
            Some(systems) => systems.walk().system(ip)?,
            None => None,
        };
        Ok(Some(Network { prefix, country, asn }))
    }

    fn lookup_mmdb(
        &self,
        database: &Mmdb,
        ip: Ipv4Addr,
    ) -> Result<Option<(Ipv4Net, Option<Country>)>, Error> {
        let found = database.lookup(ip.into()).map_err(|fault| self.damaged(fault))?;
        let Some((place, prefix_len)) = found else {
            return Ok(None);
        };
        let Ok(prefix) = Ipv4Net::new(ip, prefix_len) else {
            return Ok(None); // never: the prefix is not longer than an address
        };
        let prefix = prefix.trunc();
        let country = CountryReader::once(&self.options.sources, self.options.language_or_default())
            .read(database.data(), place)
            .map_err(|fault| self.record(prefix, fault))?;
        Ok(Some((prefix, country)))
    }

    fn table(&self, csv: &CsvDatabase) -> Result<Arc<Table<Option<Country>>>, Error> {
        // A panic under the lock leaves nothing half done.
        let mut table = csv.table.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(table) = &*table {
            return Ok(table.clone());
        }
        let made = Table::of_countries(&csv.files.ipv4, &csv.locations, &self.options.sources)
            .map_err(|flaw| flaw_error(flaw, &self.title))?;
        Ok(table.insert(Arc::new(made)).clone())
    }

    /// The countries of the IPv4 networks, by code.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`], [`Error::Record`] or [`Error::Line`].
    pub fn countries(&self) -> Result<Vec<CountryNetworks>, Error> {
        let mut countries = BTreeMap::<CountryCode, CountryNetworks>::new();
        for network in self.networks() {
            if let Some(country) = network?.country {
                countries
                    .entry(country.code)
                    .or_insert(CountryNetworks { country, networks: 0 })
                    .networks += 1;
            }
        }
        Ok(countries.into_values().collect())
    }

    /// How many networks with a record are IPv6 and therefore not among [`networks`](Self::networks).
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`] or [`Error::Line`].
    pub fn ipv6_networks(&self) -> Result<u64, Error> {
        match &self.content {
            Kind::Mmdb(database, _) => {
                let mut walk = database.walk_ipv6();
                let mut count = 0;
                while let Some(leaf) = walk.next() {
                    leaf.map_err(|fault| self.damaged(fault))?;
                    count += 1;
                }
                Ok(count)
            }
            Kind::Csv(csv) => match &csv.files.ipv6 {
                Some(member) => count_ipv6(member).map_err(|flaw| flaw_error(flaw, &self.title)),
                None => Ok(0),
            },
        }
    }

    fn damaged(&self, source: Fault) -> Error {
        Error::Damaged {
            database: self.title.clone(),
            source,
        }
    }

    fn record(&self, prefix: Ipv4Net, source: Fault) -> Error {
        Error::Record {
            database: self.title.clone(),
            network: prefix.to_string(),
            source,
        }
    }
}

pub(crate) fn check_type(database_type: &str, title: &str, wanted: Wanted) -> Result<(), Error> {
    if wanted.accepts(database_type) {
        return Ok(());
    }
    Err(Error::WrongType {
        database: title.to_owned(),
        database_type: database_type.to_owned(),
        needed: wanted.name(),
    })
}

/// The locations in a language.
pub(crate) fn locations_in<'a>(
    files: &'a CsvFiles,
    language: &str,
    title: &str,
) -> Result<&'a Member, Error> {
    if files.locations.is_empty() {
        return Err(Error::NotADatabase {
            database: title.to_owned(),
            hint: format!(
                "there are no locations in it, `{}-Locations-{language}.csv`, only blocks of addresses",
                files.database_type
            )
            .into(),
        });
    }
    files.locations.get(language).ok_or_else(|| Error::Language {
        database: title.to_owned(),
        language: language.to_owned(),
        known: files.locations.keys().cloned().collect(),
    })
}

/// The locations of one of the files, with English names where there are some.
fn read_locations(files: &CsvFiles, member: &Member, language: &str) -> Result<Locations, Flaw> {
    let english = match files.locations.get("en") {
        Some(english) if language != "en" => Locations::english_names(english)?,
        _ => EnglishNames::new(),
    };
    Locations::read(member, language, &english)
}

pub(crate) fn flaw_error(flaw: Flaw, title: &str) -> Error {
    match flaw {
        Flaw::Line { file, line, fault } => Error::Line {
            database: title.to_owned(),
            file: file.to_string(),
            line,
            source: fault,
        },
        Flaw::Io(source) => Error::Read {
            database: title.to_owned(),
            source,
        },
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database")
            .field("metadata", &self.metadata)
            .finish_non_exhaustive()
    }
}

impl Metadata {
    fn of_mmdb(database: &Mmdb, form: Form) -> Result<Self, Fault> {
        let facts = &database.facts;
        let built = build_time(facts.build_epoch)?;
        let description = facts.description.get("en").cloned().unwrap_or_default();
        Ok(Self {
            attribution: attribution(&facts.database_type, &description),
            database_type: facts.database_type.clone(),
            form,
            build_epoch: Some(facts.build_epoch),
            built: Some(built.to_string()),
            ip_version: facts.ip_version,
            description,
        })
    }

    fn of_csv(files: &CsvFiles, form: Form) -> Self {
        let built = files
            .built
            .and_then(|date| date.to_zoned(TimeZone::UTC).ok())
            .map(|date| date.timestamp());
        Self {
            attribution: attribution(&files.database_type, ""),
            database_type: files.database_type.clone(),
            form,
            build_epoch: built.and_then(|built| u64::try_from(built.as_second()).ok()),
            built: built.map(|built| built.to_string()),
            ip_version: if files.ipv6.is_some() { 6 } else { 4 },
            description: String::new(),
        }
    }
}

pub(crate) fn build_time(epoch: u64) -> Result<jiff::Timestamp, Fault> {
    i64::try_from(epoch)
        .ok()
        .and_then(|seconds| jiff::Timestamp::from_second(seconds).ok())
        .ok_or_else(|| Fault(format!("build time {epoch} is out of all bounds")))
}

/// The wording that the makers ask for. Of others, the description says it if anything does.
fn attribution(database_type: &str, description: &str) -> Option<String> {
    if database_type.starts_with("GeoLite2-") {
        let text =
            "This product includes GeoLite2 Data created by MaxMind, available from https://www.maxmind.com.";
        Some(text.to_owned())
    } else if database_type.starts_with("DBIP-") {
        Some("IP Geolocation by DB-IP, https://db-ip.com.".to_owned())
    } else if database_type.starts_with("GeoIP2-") {
        None // bought, not given
    } else {
        Some(description.to_owned()).filter(|description| !description.is_empty())
    }
}

/// A walk over a database; made by [`Database::networks`].
pub struct Networks<'a> {
    database: &'a Database,
    state: State<'a>,
    asn: Option<AsnWalk<'a>>,
}

enum State<'a> {
    Mmdb {
        database: &'a Mmdb,
        walk: Walk<'a>,
        reader: Box<CountryReader<'a>>,
    },
    Csv {
        locations: &'a Locations,
        blocks: Box<Blocks>,
    },
    Failed(Error),
    Over,
}

impl Networks<'_> {
    fn advance(&mut self) -> Option<Result<Network, Error>> {
        let database = self.database;
        let sources: &[CountrySource] = &database.options.sources;
        let (prefix, country) = match &mut self.state {
            State::Mmdb {
                database: mmdb,
                walk,
                reader,
            } => {
                let leaf = match walk.next()? {
                    Ok(leaf) => leaf,
                    Err(fault) => return Some(Err(database.damaged(fault))),
                };
                let address = Ipv4Addr::from((leaf.address >> 96) as u32);
                let Ok(prefix) = Ipv4Net::new(address, leaf.depth) else {
                    return None; // never: the walk goes no deeper than an address is long
                };
                match reader.read(mmdb.data(), leaf.place) {
                    Ok(country) => (prefix, country),
                    Err(fault) => return Some(Err(database.record(prefix, fault))),
                }
            }
            State::Csv { locations, blocks } => match blocks.next_ipv4(locations, sources) {
                Ok(Some(found)) => found,
                Ok(None) => return None,
                Err(flaw) => return Some(Err(flaw_error(flaw, &database.title))),
            },
            State::Failed(_) => match std::mem::replace(&mut self.state, State::Over) {
                State::Failed(error) => return Some(Err(error)),
                _ => return None,
            },
            State::Over => return None,
        };
        let asn = match &mut self.asn {
            Some(systems) => match systems.system(prefix.network()) {
                Ok(asn) => asn,
                Err(error) => return Some(Err(error)),
            },
            None => None,
        };
        Some(Ok(Network { prefix, country, asn }))
    }
}

impl Iterator for Networks<'_> {
    type Item = Result<Network, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.advance();
        if !matches!(next, Some(Ok(_))) {
            self.state = State::Over;
        }
        next
    }
}

impl fmt::Debug for Networks<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Networks").finish_non_exhaustive()
    }
}
