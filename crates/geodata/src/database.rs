//! Databases of countries by network.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;

use ipnet::Ipv4Net;
use maxminddb::{MaxMindDbError, Reader, Within, WithinOptions};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::{Country, CountryCode, CountrySource, Error, Fault, OpenOptions};

type Bytes = Cow<'static, [u8]>;

/// A country or city database in MaxMind's format, in memory.
pub struct Database {
    reader: Reader<Bytes>,
    metadata: Metadata,
    options: OpenOptions,
    /// What errors call it.
    title: String,
}

/// What a database says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metadata {
    /// Such as `GeoLite2-Country`.
    pub database_type: String,
    /// When it was built, in seconds since 1970, where it says so. Of a CSV form that is the day in the name of its folder.
    pub build_epoch: Option<u64>,
    /// The same as RFC 3339 writes it, in UTC.
    pub built: Option<String>,
    /// 4, or 6 for a database that has both.
    pub ip_version: u16,
    /// The English description, which may be empty.
    pub description: String,
    /// Of all its bytes, in hexadecimal.
    pub sha256: String,
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
    /// Reads a database file.
    ///
    /// # Errors
    ///
    /// [`Error::Open`] when the file cannot be read, and what [`from_bytes`](Self::from_bytes) may say.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        Self::open_with(path, &OpenOptions::default())
    }

    /// Reads a database file, with options.
    ///
    /// # Errors
    ///
    /// Those of [`open`](Self::open).
    pub fn open_with(path: impl AsRef<Path>, options: &OpenOptions) -> Result<Self, Error> {
        let path = path.as_ref();
        let bytes = std::fs::read(path).map_err(|source| Error::Open {
            path: path.to_owned(),
            source,
        })?;
        Self::new(
            bytes.into(),
            format!("the database `{}`", path.display()),
            options,
        )
    }

    /// Takes a database that is in memory already; bytes that live as long as the program are not copied.
    ///
    /// # Errors
    ///
    /// [`Error::NotADatabase`], [`Error::Damaged`] or [`Error::WrongType`]. Damage that the metadata does not show comes to
    /// light when the networks are walked.
    pub fn from_bytes(bytes: impl Into<Cow<'static, [u8]>>) -> Result<Self, Error> {
        Self::from_bytes_with(bytes, &OpenOptions::default())
    }

    /// The same with options.
    ///
    /// # Errors
    ///
    /// Those of [`from_bytes`](Self::from_bytes).
    pub fn from_bytes_with(
        bytes: impl Into<Cow<'static, [u8]>>,
        options: &OpenOptions,
    ) -> Result<Self, Error> {
        Self::new(bytes.into(), "the database".to_owned(), options)
    }

    fn new(bytes: Bytes, title: String, options: &OpenOptions) -> Result<Self, Error> {
        if let Some(hint) = something_else(&bytes) {
            return Err(Error::NotADatabase {
                database: title,
                hint,
            });
        }
        let sha256 = hex(&Sha256::digest(&bytes));
        let reader = Reader::from_source(bytes).map_err(|error| Error::Damaged {
            database: title.clone(),
            source: error.into(),
        })?;
        let metadata = Metadata::new(reader.metadata(), sha256).map_err(|source| Error::Damaged {
            database: title.clone(),
            source,
        })?;
        if !has_countries(&metadata.database_type) {
            return Err(Error::WrongType {
                database: title,
                database_type: metadata.database_type,
            });
        }
        Ok(Self {
            reader,
            metadata,
            options: options.clone(),
            title,
        })
    }

    /// What it says about itself.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// All IPv4 networks that have a record, by address, each once: the other places where an IPv6 tree shows the IPv4
    /// addresses are not visited.
    ///
    /// After an error the iterator ends.
    pub fn networks(&self) -> Networks<'_> {
        // Those without a record count towards the budget of the walk.
        let options = WithinOptions::default().include_networks_without_data();
        let within = "0.0.0.0/0"
            .parse()
            .map_err(MaxMindDbError::from)
            .and_then(|all| self.reader.within(all, options))
            .map_err(|error| self.damaged(error));
        Networks::new(self, within)
    }

    /// The network of an address, if the database has one.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`] or [`Error::Record`].
    pub fn lookup(&self, ip: Ipv4Addr) -> Result<Option<Network>, Error> {
        let found = self
            .reader
            .lookup(IpAddr::V4(ip))
            .map_err(|error| self.damaged(error))?;
        let network = found.network().map_err(|error| self.damaged(error))?;
        let (true, Some(prefix)) = (found.has_data(), ipv4(network.ip(), network.prefix())) else {
            return Ok(None);
        };
        let record = found.decode().map_err(|error| self.record(prefix, error))?;
        let country = Names::default()
            .country(record, &self.options.sources)
            .map_err(|fault| self.malformed(prefix, fault))?;
        Ok(Some(Network {
            prefix,
            country,
            asn: None,
        }))
    }

    /// The countries of the IPv4 networks, by code.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`] or [`Error::Record`].
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
    /// [`Error::Damaged`].
    pub fn ipv6_networks(&self) -> Result<u64, Error> {
        if self.metadata.ip_version == 4 {
            return Ok(0);
        }
        let options = WithinOptions::default().include_networks_without_data();
        let mut budget = self.leaves();
        let mut count = 0;
        for network in self
            .reader
            .networks(options)
            .map_err(|error| self.damaged(error))?
        {
            let network = network.map_err(|error| self.damaged(error))?;
            self.spend(&mut budget)?;
            if network.has_data() && network.network().map_err(|error| self.damaged(error))?.is_ipv6() {
                count += 1;
            }
        }
        Ok(count)
    }

    /// The most networks that a tree of this size has: damage can make it a web in which a walk does not end.
    fn leaves(&self) -> u64 {
        u64::from(self.reader.metadata().node_count) + 1
    }

    fn spend(&self, budget: &mut u64) -> Result<(), Error> {
        *budget = budget.checked_sub(1).ok_or_else(|| Error::Damaged {
            database: self.title.clone(),
            source: Fault("the search tree is not a tree".to_owned()),
        })?;
        Ok(())
    }

    fn damaged(&self, error: MaxMindDbError) -> Error {
        Error::Damaged {
            database: self.title.clone(),
            source: error.into(),
        }
    }

    fn record(&self, prefix: Ipv4Net, error: MaxMindDbError) -> Error {
        match error {
            MaxMindDbError::InvalidDatabase { .. } => self.damaged(error),
            error => self.malformed(prefix, error.into()),
        }
    }

    fn malformed(&self, prefix: Ipv4Net, source: Fault) -> Error {
        Error::Record {
            database: self.title.clone(),
            network: prefix.to_string(),
            source,
        }
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
    fn new(raw: &maxminddb::Metadata, sha256: String) -> Result<Self, Fault> {
        let built = i64::try_from(raw.build_epoch)
            .ok()
            .and_then(|seconds| jiff::Timestamp::from_second(seconds).ok())
            .ok_or_else(|| Fault(format!("build time {} is out of all bounds", raw.build_epoch)))?;
        let description = raw.description.get("en").cloned().unwrap_or_default();
        Ok(Self {
            attribution: attribution(&raw.database_type, &description),
            database_type: raw.database_type.clone(),
            build_epoch: Some(raw.build_epoch),
            built: Some(built.to_string()),
            ip_version: raw.ip_version,
            description,
            sha256,
        })
    }
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

/// The types are many (`GeoIP2-City-North-America`, `DBIP-Country-Lite`), but all that know countries say so.
fn has_countries(database_type: &str) -> bool {
    let database_type = database_type.to_ascii_lowercase();
    ["country", "city", "enterprise"]
        .iter()
        .any(|kind| database_type.contains(kind))
}

/// What a file without MaxMind's mark is instead.
fn something_else(bytes: &[u8]) -> Option<&'static str> {
    const MARK: &[u8] = b"\xab\xcd\xefMaxMind.com";
    /// The mark is within so many bytes of the end.
    const SEARCHED: usize = 128 * 1024;

    let tail = &bytes[bytes.len().saturating_sub(SEARCHED)..];
    if tail.windows(MARK.len()).any(|window| window == MARK) {
        return None;
    }
    Some(match bytes {
        [] => "it is empty",
        [0x1f, 0x8b, ..] => "it is compressed with gzip; unpack it and give the `.mmdb` file",
        [b'P', b'K', 3, 4, ..] => "it is a zip archive; unpack it and give the `.mmdb` file",
        _ => "its metadata is missing; give the `.mmdb` file, whole",
    })
}

/// A walk over a database; made by [`Database::networks`].
pub struct Networks<'a> {
    database: &'a Database,
    /// Nothing when the walk is over.
    within: Option<Result<Within<'a, Bytes>, Error>>,
    budget: u64,
    names: Names,
    /// The countries of records seen, by place in the file: a few records serve many networks. Bounded, for databases
    /// of cities have very many.
    seen: HashMap<usize, Option<Country>>,
}

impl<'a> Networks<'a> {
    const REMEMBERED: usize = 4096;

    fn new(database: &'a Database, within: Result<Within<'a, Bytes>, Error>) -> Self {
        let budget = database.leaves();
        Self {
            database,
            within: Some(within),
            budget,
            names: Names::default(),
            seen: HashMap::new(),
        }
    }

    fn advance(&mut self) -> Option<Result<Network, Error>> {
        let within = match self.within.as_mut()? {
            Ok(within) => within,
            Err(_) => return self.within.take().and_then(Result::err).map(Err),
        };
        let database = self.database;
        loop {
            let found = match within.next()? {
                Ok(found) => found,
                Err(error) => return Some(Err(database.damaged(error))),
            };
            if let Err(error) = database.spend(&mut self.budget) {
                return Some(Err(error));
            }
            let Some(offset) = found.offset() else { continue };
            let prefix = match found.network() {
                Ok(network) => ipv4(network.ip(), network.prefix()),
                Err(error) => return Some(Err(database.damaged(error))),
            };
            // An IPv6 tree without IPv4 addresses has one IPv6 record where they would be.
            let Some(prefix) = prefix else { continue };
            if let Some(country) = self.seen.get(&offset) {
                return Some(Ok(Network {
                    prefix,
                    country: country.clone(),
                    asn: None,
                }));
            }
            let country = found
                .decode()
                .map_err(|error| database.record(prefix, error))
                .and_then(|record| {
                    self.names
                        .country(record, &database.options.sources)
                        .map_err(|fault| database.malformed(prefix, fault))
                });
            return Some(country.map(|country| {
                if self.seen.len() < Self::REMEMBERED {
                    self.seen.insert(offset, country.clone());
                }
                Network {
                    prefix,
                    country,
                    asn: None,
                }
            }));
        }
    }
}

impl Iterator for Networks<'_> {
    type Item = Result<Network, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.advance();
        if !matches!(next, Some(Ok(_))) {
            self.within = None;
        }
        next
    }
}

impl fmt::Debug for Networks<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Networks").finish_non_exhaustive()
    }
}

/// What of a record counts here.
#[derive(Debug, Default, Deserialize)]
struct Record<'a> {
    #[serde(borrow, default)]
    country: Place<'a>,
    #[serde(borrow, default)]
    registered_country: Place<'a>,
    #[serde(borrow, default)]
    represented_country: Place<'a>,
}

#[derive(Debug, Default, Deserialize)]
struct Place<'a> {
    iso_code: Option<&'a str>,
    #[serde(borrow, default)]
    names: PlaceNames<'a>,
}

#[derive(Debug, Default, Deserialize)]
struct PlaceNames<'a> {
    en: Option<&'a str>,
}

/// Country names, each kept once.
#[derive(Debug, Default)]
struct Names(HashMap<CountryCode, Arc<str>>);

impl Names {
    fn country(
        &mut self,
        record: Option<Record<'_>>,
        sources: &[CountrySource],
    ) -> Result<Option<Country>, Fault> {
        let Some(record) = record else {
            return Ok(None);
        };
        let place = |source: &CountrySource| match source {
            CountrySource::Located => &record.country,
            CountrySource::Registered => &record.registered_country,
            CountrySource::Represented => &record.represented_country,
        };
        let Some((code, place)) = sources
            .iter()
            .map(place)
            .find_map(|place| place.iso_code.map(|code| (code, place)))
        else {
            return Ok(None);
        };
        let code: CountryCode = code
            .parse()
            .map_err(|error: crate::ParseCountryCodeError| Fault(error.to_string()))?;
        let name = place
            .names
            .en
            .filter(|name| !name.is_empty())
            .unwrap_or(code.as_str());
        let name = match self.0.get(&code) {
            Some(known) if **known == *name => known.clone(),
            _ => {
                let name = Arc::<str>::from(name);
                self.0.insert(code, name.clone());
                name
            }
        };
        Ok(Some(Country { code, name }))
    }
}

fn ipv4(ip: IpAddr, prefix_len: u8) -> Option<Ipv4Net> {
    match ip {
        IpAddr::V4(ip) => Ipv4Net::new(ip, prefix_len).ok(),
        IpAddr::V6(_) => None,
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}
