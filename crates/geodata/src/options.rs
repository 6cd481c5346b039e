//! How a database is read.

use std::fmt;
use std::str::FromStr;

/// How a database is read; taken by [`Database::open_with`](crate::Database::open_with).
///
/// ```
/// use geodata::{CountrySource, OpenOptions};
///
/// let options = OpenOptions::default().country_from([CountrySource::Registered]);
/// # let _ = options;
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct OpenOptions {
    pub(crate) sources: Vec<CountrySource>,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self {
            sources: vec![CountrySource::Located, CountrySource::Registered],
        }
    }
}

impl OpenOptions {
    /// Which of the countries of a record counts: the first of these that the record has. With none of them, no network
    /// has a country. Default: where it is located, else where it is registered.
    pub fn country_from(mut self, sources: impl IntoIterator<Item = CountrySource>) -> Self {
        self.sources = sources.into_iter().collect();
        self
    }
}

/// One of the countries that a record has for its network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
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
