//! How a database is read.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How a database is read; taken by [`Database::open_with`](crate::Database::open_with).
///
/// ```
/// use geodata::{CountrySource, OpenOptions};
///
/// let options = OpenOptions::default()
///     .country_from([CountrySource::Registered])
///     .language("de")
///     .asn_database("GeoLite2-ASN.mmdb");
/// # let _ = options;
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct OpenOptions {
    /// None twice.
    pub(crate) sources: Vec<CountrySource>,
    pub(crate) language: Option<String>,
    pub(crate) asn: Option<PathBuf>,
    pub(crate) memory_map: bool,
    pub(crate) unpacked_limit: u64,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self {
            sources: vec![CountrySource::Located, CountrySource::Registered],
            language: None,
            asn: None,
            memory_map: true,
            unpacked_limit: 2 << 30,
        }
    }
}

impl OpenOptions {
    /// Which of the countries of a record counts: the first of these that the record has. With none of them, no network
    /// has a country. Default: where it is located, else where it is registered.
    pub fn country_from(mut self, sources: impl IntoIterator<Item = CountrySource>) -> Self {
        self.sources.clear();
        for source in sources {
            if !self.sources.contains(&source) {
                self.sources.push(source);
            }
        }
        self
    }

    /// The language of the countries' names: `de`, `en`, `es`, `fr`, `ja`, `pt-BR`, `ru` or `zh-CN` in MaxMind's databases.
    /// Default: `en`.
    ///
    /// A database that does not have the language is not opened. Where one has the language but a single name is missing
    /// in it, the English name stands in, or the country's code.
    pub fn language(mut self, language: impl Into<String>) -> Self {
        self.language = Some(language.into());
        self
    }

    /// A GeoLite2-ASN or GeoIP2-ISP database, in any form, to take [`Network::asn`](crate::Network::asn) from. Default: none.
    pub fn asn_database(mut self, path: impl Into<PathBuf>) -> Self {
        self.asn = Some(path.into());
        self
    }

    /// Whether a `.mmdb` is mapped into memory instead of being read. Default: yes.
    ///
    /// A mapped file must not be changed in place while it is open: what is read would change under way, and where the file
    /// is cut short the process ends. Replacing it by another, as updaters do, is harmless.
    #[cfg(feature = "mmap")]
    pub fn memory_map(mut self, map: bool) -> Self {
        self.memory_map = map;
        self
    }

    /// The most bytes that an archive, or a file of it, may unpack to. Default: 2 GiB.
    ///
    /// Apart from that, nothing may unpack to more than 200 times its size if that is more than 16 MiB.
    pub fn unpacked_limit(mut self, bytes: u64) -> Self {
        self.unpacked_limit = bytes;
        self
    }

    pub(crate) fn language_or_default(&self) -> &str {
        self.language.as_deref().unwrap_or("en")
    }
}

/// One of the countries that a record has for its network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum CountrySource {
    /// Where the addresses are used.
    Located,
    /// Where the provider has registered them.
    Registered,
    /// Whom its users represent, as those of a military base abroad do.
    Represented,
}

impl CountrySource {
    /// All there are.
    pub const ALL: [Self; 3] = [Self::Located, Self::Registered, Self::Represented];

    /// Its name: `located`, `registered` or `represented`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Located => "located",
            Self::Registered => "registered",
            Self::Represented => "represented",
        }
    }
}

impl fmt::Display for CountrySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A text that is not the name of a [`CountrySource`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is none of `located`, `registered`, `represented`")]
pub struct ParseCountrySourceError(String);

impl FromStr for CountrySource {
    type Err = ParseCountrySourceError;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|source| source.as_str().eq_ignore_ascii_case(s))
            .ok_or_else(|| ParseCountrySourceError(s.to_owned()))
    }
}
