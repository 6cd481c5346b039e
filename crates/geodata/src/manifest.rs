//! Where a sample comes from and what is in it, to be kept beside it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Country, CountryCode};

/// Where a sample comes from and what is in it: enough to draw it again and to see that it is the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Manifest {
    /// Of the manifest's form: [`Manifest::VERSION`].
    pub version: u32,
    /// What it was drawn from.
    pub database: DatabaseFacts,
    /// What it was drawn with.
    pub seed: u64,
    /// What was asked for.
    pub spec: SpecFacts,
    /// The countries to train on, in the order asked for.
    pub countries: Vec<CountryCounts>,
    /// The country of the outliers.
    pub outliers: Option<OutlierCounts>,
    /// Where the test rows come from.
    pub test_rows: TestRows,
    /// What was left out, and why.
    pub skipped: Vec<Skipped>,
    /// The files of the sample, the manifest aside.
    pub files: Vec<FileFacts>,
}

impl Manifest {
    /// The version that this crate writes.
    pub const VERSION: u32 = 1;
}

/// What a sample was drawn from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DatabaseFacts {
    /// Such as `GeoLite2-Country`.
    pub database_type: String,
    /// When it was built, as RFC 3339 writes it, in UTC, where it says so.
    pub built: Option<String>,
    /// Of the database file, in hexadecimal.
    pub sha256: String,
    /// What its makers ask to be said by those who use it.
    pub attribution: Option<String>,
}

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SpecFacts {
    /// Rows to train on, per country.
    pub training_rows: usize,
    /// Rows held out, per country.
    pub held_out_rows: usize,
    /// Outliers to test with.
    pub outliers: usize,
    /// Further outliers to measure with.
    pub evaluation_outliers: usize,
}

/// A country to train on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CountryCounts {
    /// Its code.
    pub code: CountryCode,
    /// Its English name: the entity of its rows.
    pub name: String,
    /// How many networks the database has of it.
    pub networks: u64,
    /// How many rows to train on were drawn.
    pub train: usize,
    /// How many rows were held out.
    pub validation: usize,
}

/// The country of the outliers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct OutlierCounts {
    /// Its code.
    pub code: CountryCode,
    /// Its English name, which none of the rows has for entity.
    pub name: String,
    /// How many networks the database has of it.
    pub networks: u64,
    /// How many test rows were drawn; 0 when they are the published ones.
    pub test: usize,
    /// How many rows to measure with were drawn.
    pub evaluation: usize,
}

/// Where the test rows of a sample come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum TestRows {
    /// They were drawn from the database.
    Database,
    /// They are those of the published experiment.
    Published,
}

/// Something that was left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Skipped {
    /// Why.
    pub reason: SkipReason,
    /// How many networks.
    pub networks: u64,
}

/// Why a network was left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum SkipReason {
    /// Its record names neither where it is nor where it is registered.
    NoCountry,
    /// It is in a country that was not asked for.
    OtherCountry,
    /// It is IPv6, and the algorithm knows IPv4 only.
    Ipv6,
}

impl fmt::Display for SkipReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoCountry => "networks whose record names no country",
            Self::OtherCountry => "networks of countries that were not asked for",
            Self::Ipv6 => "IPv6 networks, which the algorithm does not know",
        })
    }
}

/// A file of a sample.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FileFacts {
    /// Its name, without a folder.
    pub name: String,
    /// How many rows it has.
    pub rows: usize,
    /// Of its bytes, in hexadecimal.
    pub sha256: String,
}

impl CountryCounts {
    pub(crate) fn new(country: &Country, networks: u64, train: usize, validation: usize) -> Self {
        Self {
            code: country.code,
            name: country.name.to_string(),
            networks,
            train,
            validation,
        }
    }
}

impl OutlierCounts {
    pub(crate) fn new(country: &Country, networks: u64, test: usize, evaluation: usize) -> Self {
        Self {
            code: country.code,
            name: country.name.to_string(),
            networks,
            test,
            evaluation,
        }
    }
}
