use std::borrow::Cow;
use std::fmt;
use std::io;
use std::path::PathBuf;

use ipnet::{IpNet, Ipv4Net};

use crate::{Country, Part};

/// Why a database could not be read, or no sample could be drawn or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file could not be read.
    #[error("could not read the database `{}`", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The bytes are no MaxMind database at all.
    #[error("{database} is not a MaxMind database: {hint}")]
    NotADatabase {
        /// Which one, as in a sentence.
        database: String,
        /// What it seems to be and what to do.
        hint: Cow<'static, str>,
    },
    /// A MaxMind database with its parts out of order: cut short, overwritten.
    #[error("{database} is damaged; get it again")]
    Damaged {
        /// Which one, as in a sentence.
        database: String,
        /// What is wrong with it.
        source: Fault,
    },
    /// An archive that is cut short, or was made to do harm: names that lead out of it, links, sizes beyond measure.
    #[error("{database} is an archive that cannot be used; get it again")]
    Archive {
        /// Which one, as in a sentence.
        database: String,
        /// What is wrong with it.
        source: Fault,
    },
    /// A line of a database in CSV that is not as it has to be.
    #[error("{database} is damaged or of another make at line {line} of `{file}`")]
    Line {
        /// Which one, as in a sentence.
        database: String,
        /// The file, with its folder in an archive.
        file: String,
        /// One-based.
        line: u64,
        /// What is wrong with it.
        source: Fault,
    },
    /// A database in CSV without names in the language asked for, or one whose metadata do not list it.
    #[error(
        "{database} has no names in the language `{language}`, but in {}",
        joined_with(known, ", ")
    )]
    Language {
        /// Which one, as in a sentence.
        database: String,
        /// What was asked for.
        language: String,
        /// What there is.
        known: Vec<String>,
    },
    /// The file could be opened, and then not be read.
    #[error("could not read on in {database}")]
    Read {
        /// Which one, as in a sentence.
        database: String,
        /// What the system says.
        source: io::Error,
    },
    /// A file was written to while the database in it was in use: what was read of it, and its hash, may be of two states.
    #[error("`{}` was changed while it was read; try again when nobody writes to it", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// A sound database about something else.
    #[error("{database} is of the type `{database_type}`; {needed} is needed")]
    WrongType {
        /// Which one, as in a sentence.
        database: String,
        /// What the database says it is.
        database_type: String,
        /// What would do.
        needed: &'static str,
    },
    /// A record does not say its country the way GeoLite2 does.
    #[error(
        "{database} has a record for {network} that is not of GeoLite2's form; it is damaged or of another make"
    )]
    Record {
        /// Which one, as in a sentence.
        database: String,
        /// The network of the record.
        network: String,
        /// What is wrong with it.
        source: Fault,
    },
    /// The specification contradicts itself.
    #[error(transparent)]
    Spec(#[from] InvalidSpec),
    /// Countries that the database does not have.
    #[error("{}", unknown_countries(database_type, unknown, known))]
    UnknownCountries {
        /// The type of the database.
        database_type: String,
        /// Which were asked for.
        unknown: Vec<UnknownCountry>,
        /// Those that it has, by code.
        known: Vec<Country>,
    },
    /// One country is meant twice, by code and by name for instance.
    #[error("`{first}` and `{second}` are both {country}; name it once")]
    SameCountry {
        /// How it was named first.
        first: String,
        /// How it was named again.
        second: String,
        /// What both mean.
        country: Country,
    },
    /// Fewer networks than rows asked for: a network gives one row.
    #[error("{}", too_few_networks(shortages))]
    TooFewNetworks {
        /// Every country that has too few.
        shortages: Vec<Shortage>,
    },
    /// A database of which one network would give two rows, as rows that are repeated in CSV do.
    #[error("the database {database_type} has the network {network} more than once; get it again")]
    RepeatedNetwork {
        /// The type of the database.
        database_type: String,
        /// The network.
        network: Ipv4Net,
    },
    /// More countries asked for by number than there are.
    #[error(
        "the database has networks of {available} countries to train on, and the sample asks for the {asked} with most; \
         ask for fewer"
    )]
    TooFewCountries {
        /// How many were asked for.
        asked: usize,
        /// How many there are, that of the outliers not among them.
        available: usize,
    },
    /// A manifest could not be read.
    #[error("could not read the manifest `{}`", path.display())]
    OpenManifest {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file that is no manifest, or one that was changed by hand.
    #[error("{manifest} is not in the form that is written beside a sample")]
    Manifest {
        /// Which one, as in a sentence.
        manifest: String,
        /// What is wrong with it.
        source: Fault,
    },
    /// A manifest of a form from before or after this one.
    #[error(
        "{manifest} is of version {version}, and samples of version {} can be drawn again; use the program that wrote it, \
         or draw a new sample",
        crate::Manifest::VERSION
    )]
    ManifestVersion {
        /// Which one, as in a sentence.
        manifest: String,
        /// The version that it says.
        version: u64,
    },
    /// The published test rows claim a country that the sample does not have.
    #[error(
        "the published test rows claim to be from `{country}`, which is not among the countries of the sample"
    )]
    PublishedRows {
        /// The country.
        country: String,
    },
    /// A row cannot be written as CSV.
    #[error("could not write the rows of `{file}`")]
    Row {
        /// The file of the sample.
        file: &'static str,
        /// What is wrong with the row.
        source: access_events::Error,
    },
    /// A file or folder could not be written. Nothing of the sample is left behind.
    #[error("could not write `{}`", path.display())]
    Write {
        /// What could not be written.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A database being written already has a network that contains this one, or is contained by it.
    #[error("{network} overlaps a network that is already there")]
    Overlap {
        /// The network that came second.
        network: IpNet,
    },
    /// A database being written cannot hold this.
    #[error("a database cannot hold {what}")]
    Unwritable {
        /// What it is.
        what: String,
    },
}

/// What is wrong in a file, and at which byte, node or member of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Fault(pub(crate) String);

/// Everything that is wrong with a [`SampleSpec`](crate::SampleSpec).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", joined(problems.iter()))]
pub struct InvalidSpec {
    /// At least one.
    pub problems: Vec<SpecProblem>,
}

/// One thing wrong with a [`SampleSpec`](crate::SampleSpec).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpecProblem {
    /// There is nothing to train on.
    #[error("no country to sample; name at least one")]
    NoCountries,
    /// A name without a letter in it.
    #[error("a country with an empty name")]
    EmptyCountry,
    /// A country twice.
    #[error("the country `{0}` is named twice")]
    Repeated(String),
    /// The outliers would be in country.
    #[error("the outliers' country `{0}` is one of the countries to train on")]
    OutlierIsNormal(String),
    /// `top:N` is the whole choice of countries.
    #[error("`{0}` stands for all countries to train on; name it alone")]
    TopAmongOthers(String),
    /// `top:` without a number to go by.
    #[error("`{0}` is not of the form `top:N` with a number from 1")]
    TopNumber(String),
    /// The outliers come from one country.
    #[error("the outliers' country `{0}` has to be one country")]
    TopOutlier(String),
    /// Blocks too large to share out, or too small to keep account of.
    #[error("disjoint parts need a prefix length from 8 to 24, got {got}")]
    Disjoint {
        /// What was asked for.
        got: u8,
    },
    /// There is nothing to train on.
    #[error("training rows per country must be at least 1, got 0")]
    NoTrainingRows,
    /// More than can be counted on.
    #[error("{name} must be at most {limit}, got {got}")]
    TooMany {
        /// The setting.
        name: &'static str,
        /// The most it takes.
        limit: usize,
        /// What it was set to.
        got: usize,
    },
}

/// A country that the database does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownCountry {
    /// As it was asked for.
    pub asked: String,
    /// The country that was perhaps meant.
    pub nearest: Option<Country>,
}

/// A country with fewer networks than rows asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Shortage {
    /// The country.
    pub country: Country,
    /// The part of the sample that gets too few, when parts are kept in blocks of addresses of their own.
    pub part: Option<Part>,
    /// How many networks it would take.
    pub asked: u64,
    /// How many there are.
    pub available: u64,
}

fn unknown_countries(database_type: &str, unknown: &[UnknownCountry], known: &[Country]) -> String {
    /// More than these nobody reads.
    const LISTED: usize = 20;

    let asked: Vec<_> = unknown
        .iter()
        .map(|UnknownCountry { asked, nearest }| match nearest {
            Some(Country { code, name, .. }) => format!("`{asked}` (did you mean `{code}`, {name}?)"),
            None => format!("`{asked}`"),
        })
        .collect();
    let countries = if asked.len() == 1 { "country" } else { "countries" };
    let known = if known.len() <= LISTED {
        let codes: Vec<_> = known.iter().map(|country| country.code.as_str()).collect();
        codes.join(", ")
    } else {
        format!("{} others", known.len())
    };
    format!(
        "unknown {countries} {}; the database {database_type} has {known}",
        asked.join(", ")
    )
}

fn too_few_networks(shortages: &[Shortage]) -> String {
    let each = shortages.iter().map(
        |Shortage {
             country,
             part,
             asked,
             available,
         }| {
            let place = match part {
                Some(part) => format!("in the blocks of addresses that `{part}` has to itself"),
                None => "in the database".to_owned(),
            };
            format!("{country} has {available} networks {place}, and the sample asks for {asked}")
        },
    );
    format!(
        "{}; ask for fewer rows, allow fewer, or take a larger database",
        joined(each)
    )
}

fn joined(parts: impl Iterator<Item = impl fmt::Display>) -> String {
    joined_with(parts, "; ")
}

fn joined_with(parts: impl IntoIterator<Item = impl fmt::Display>, by: &str) -> String {
    let parts: Vec<_> = parts.into_iter().map(|part| part.to_string()).collect();
    parts.join(by)
}
