//! Where a sample comes from and what is in it, to be kept beside it.

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::sample::DrawnCountry;
use crate::{
    CheckedSpec, CountryCode, CountrySource, Database, DrawBy, Error, Fault, Form, InvalidSpec, OpenOptions,
    Part, RowAddress, Sample, SampleSpec, sample_watched,
};

/// Where a sample comes from and what is in it: enough to [draw it again](Self::repeat) and to [see](Self::check) that it is
/// the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Manifest {
    /// Of the manifest's form, and of the way numbers are drawn: [`Manifest::VERSION`].
    #[cfg_attr(feature = "schema", schemars(extend("const" = Self::VERSION)))]
    pub version: u32,
    /// The program that drew the sample, such as `geodata 0.1.0`.
    pub written_by: String,
    /// What it was drawn from.
    pub database: DatabaseFacts,
    /// What it was drawn with.
    pub seed: u64,
    /// What was asked for.
    pub spec: SpecFacts,
    /// The countries to train on, in the order asked for; with `top:N` in the order of their networks.
    pub countries: Vec<CountryCounts>,
    /// The country of the outliers.
    pub outliers: Option<OutlierCounts>,
    /// Where there are fewer rows than asked for.
    pub shortages: Vec<ShortageFacts>,
    /// Where the test rows come from.
    pub test_rows: TestRows,
    /// What was left out, and why.
    pub skipped: Vec<Skipped>,
    /// The files of the sample, the manifest aside.
    pub files: Vec<FileFacts>,
}

impl Manifest {
    /// The version that this crate writes and reads. Version 1 drew other networks.
    pub const VERSION: u32 = 2;

    /// Reads a manifest that [`Sample::write_to`] wrote.
    ///
    /// # Errors
    ///
    /// [`Error::OpenManifest`], [`Error::Manifest`], and [`Error::ManifestVersion`] for one that cannot be repeated.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let json = std::fs::read(path).map_err(|source| Error::OpenManifest {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(&json, || format!("the manifest `{}`", path.display()))
    }

    /// Takes a manifest that is in memory already.
    ///
    /// # Errors
    ///
    /// [`Error::Manifest`], and [`Error::ManifestVersion`] for one that cannot be repeated.
    pub fn from_json(json: &[u8]) -> Result<Self, Error> {
        Self::parse(json, || "the manifest".to_owned())
    }

    fn parse(json: &[u8], title: impl Fn() -> String) -> Result<Self, Error> {
        /// Manifests of other versions have other members.
        #[derive(Deserialize)]
        #[serde(expecting = "a manifest")]
        struct Versioned {
            version: u64,
        }
        let fault = |error: serde_json::Error| Error::Manifest {
            manifest: title(),
            source: Fault(error.to_string()),
        };
        let Versioned { version } = serde_json::from_slice(json).map_err(fault)?;
        if version != u64::from(Self::VERSION) {
            return Err(Error::ManifestVersion {
                manifest: title(),
                version,
            });
        }
        let manifest: Self = serde_json::from_slice(json).map_err(fault)?;
        if let Err(invalid) = manifest.draft().check() {
            return Err(Error::Manifest {
                manifest: title(),
                source: Fault(invalid.to_string()),
            });
        }
        Ok(manifest)
    }

    /// The content of `manifest.json`.
    pub fn to_json(&self) -> String {
        #[expect(
            clippy::unwrap_used,
            reason = "the manifest has no maps and no types that refuse to be written"
        )]
        let json = serde_json::to_string_pretty(self).unwrap();
        json + "\n"
    }

    /// What was asked for.
    ///
    /// # Errors
    ///
    /// What a manifest that was put together by hand may lead to; [`read`](Self::read) lets no such one pass.
    pub fn spec(&self) -> Result<CheckedSpec, InvalidSpec> {
        self.draft().check()
    }

    fn draft(&self) -> SampleSpec {
        let spec = &self.spec;
        SampleSpec::default()
            .countries(&spec.countries)
            .training_rows(spec.training_rows)
            .held_out_rows(spec.held_out_rows)
            .control_rows(spec.control_rows)
            .outlier_country(&spec.outlier_country)
            .outliers(spec.outliers)
            .evaluation_outliers(spec.evaluation_outliers)
            .draw_by(spec.draw_by)
            .row_address(spec.row_address)
            .disjoint(spec.disjoint)
            .allow_fewer(spec.allow_fewer)
            .published_test_rows(self.test_rows == TestRows::Published)
    }

    /// How the database is to be opened, so that its countries are the same.
    pub fn open_options(&self) -> OpenOptions {
        let options = OpenOptions::default().country_from(self.database.country_from.iter().copied());
        match &self.database.language {
            Some(language) => options.language(language),
            None => options,
        }
    }

    /// Draws the sample again, from a database opened with [`open_options`](Self::open_options). From the same database it is
    /// the same, byte for byte; [`check`](Self::check) says whether it is.
    ///
    /// # Errors
    ///
    /// Those of [`sample`](crate::sample()).
    pub fn repeat(&self, db: &Database) -> Result<Sample, Error> {
        self.repeat_watched(db, &mut |_| {})
    }

    /// The same as [`repeat`](Self::repeat), and says now and then how many networks it has walked over.
    ///
    /// # Errors
    ///
    /// As [`repeat`](Self::repeat).
    pub fn repeat_watched(&self, db: &Database, watch: &mut dyn FnMut(u64)) -> Result<Sample, Error> {
        let mut sample = sample_watched(db, &self.spec()?, self.seed, watch)?;
        // Who wrote it first is what the file says, and it is to be the same file.
        sample.manifest.written_by.clone_from(&self.written_by);
        // Not every program that drew such samples counted these.
        let counts = |reason| self.skipped.iter().any(|skipped| skipped.reason == reason);
        let is_listed =
            |skipped: &Skipped| skipped.reason != SkipReason::PublishedRow || counts(skipped.reason);
        sample.manifest.skipped.retain(is_listed);
        Ok(sample)
    }

    /// Everything in which a sample drawn again differs from this one. Nothing when it is the same.
    pub fn check(&self, again: &Self) -> Vec<Difference> {
        let mut differences = Vec::new();
        let json = |manifest: &Self| serde_json::to_value(manifest).unwrap_or_default();
        compare(&json(self), &json(again), "", &mut differences);
        differences
    }

    /// In what a database differs from the one that the sample was drawn from: a sample drawn from such a one is hardly the
    /// same, if it can be drawn at all.
    pub fn check_database(&self, db: &Database) -> Vec<Difference> {
        let mut differences = Vec::new();
        let json = |facts: &DatabaseFacts| serde_json::to_value(facts).unwrap_or_default();
        let there = json(&DatabaseFacts::of(db));
        compare(&json(&self.database), &there, "database", &mut differences);
        differences
    }
}

/// Something in which a sample drawn again differs from its manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Difference {
    /// Where in the manifest, such as `database.sha256`, `countries.DE.networks` or `files.train.csv.sha256`.
    pub what: String,
    /// What the manifest says; nothing when it says nothing.
    pub manifest: Option<Value>,
    /// What there is now; nothing when there is nothing of the kind.
    pub now: Option<Value>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |value: &Option<Value>| match value {
            None => "nothing".to_owned(),
            Some(Value::String(text)) => text.clone(),
            Some(value) => value.to_string(),
        };
        let (manifest, now) = (text(&self.manifest), text(&self.now));
        write!(f, "{}: {manifest} in the manifest, {now} now", self.what)
    }
}

/// Goes down to where two values part.
fn compare(old: &Value, new: &Value, path: &str, differences: &mut Vec<Difference>) {
    let (Some(olds), Some(news)) = (members(old), members(new)) else {
        if old != new {
            differences.push(Difference {
                what: path.to_owned(),
                manifest: Some(old.clone()),
                now: Some(new.clone()),
            });
        }
        return;
    };
    let below = |name: &str| match path {
        "" => name.to_owned(),
        path => format!("{path}.{name}"),
    };
    for (name, old) in &olds {
        match news.iter().find(|(other, _)| other == name) {
            Some((_, new)) => compare(old, new, &below(name), differences),
            None => differences.push(Difference {
                what: below(name),
                manifest: Some((*old).clone()),
                now: None,
            }),
        }
    }
    for (name, new) in &news {
        if olds.iter().all(|(other, _)| other != name) {
            differences.push(Difference {
                what: below(name),
                manifest: None,
                now: Some((*new).clone()),
            });
        }
    }
}

/// The parts of a value by name; of a list, by what its elements are called.
fn members(value: &Value) -> Option<Vec<(String, &Value)>> {
    match value {
        Value::Object(members) => Some(
            members
                .iter()
                .map(|(name, value)| (name.clone(), value))
                .collect(),
        ),
        Value::Array(elements) => elements
            .iter()
            .map(|element| {
                let text = |key| element.get(key)?.as_str();
                let name = match (text("code"), text("part")) {
                    (Some(code), Some(part)) => format!("{code}.{part}"),
                    (Some(code), None) => code.to_owned(),
                    (None, _) => text("name").or(text("reason"))?.to_owned(),
                };
                Some((name, element))
            })
            .collect(),
        _ => None,
    }
}

/// What a sample was drawn from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct DatabaseFacts {
    /// Such as `GeoLite2-Country`.
    pub database_type: String,
    /// When it was built, as RFC 3339 writes it, in UTC, where it says so.
    pub built: Option<String>,
    /// The form that it came in.
    pub form: Form,
    /// Of the database as it was given, in hexadecimal: [`Database::sha256`](crate::Database::sha256).
    pub sha256: String,
    /// Which of the countries of a record counts: the first of these that it has.
    pub country_from: Vec<CountrySource>,
    /// The language of the countries' names; English unless one was asked for.
    pub language: Option<String>,
    /// What its makers ask to be said by those who use it.
    pub attribution: Option<String>,
}

impl DatabaseFacts {
    pub(crate) fn of(db: &Database) -> Self {
        let metadata = db.metadata();
        Self {
            database_type: metadata.database_type.clone(),
            built: metadata.built.clone(),
            form: metadata.form,
            sha256: db.sha256().to_owned(),
            country_from: db.options().sources.clone(),
            language: db.options().language.clone(),
            attribution: metadata.attribution.clone(),
        }
    }
}

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct SpecFacts {
    /// The countries to train on, as they were asked for.
    pub countries: Vec<String>,
    /// Rows to train on, per country.
    pub training_rows: usize,
    /// Rows held out, per country.
    pub held_out_rows: usize,
    /// In-country rows beside the outliers, per country.
    pub control_rows: usize,
    /// The country of the outliers, as it was asked for.
    pub outlier_country: String,
    /// Outliers to test with; they are drawn even where the published ones take their place.
    pub outliers: usize,
    /// Further outliers to measure with.
    pub evaluation_outliers: usize,
    /// What is as likely as the other.
    pub draw_by: DrawBy,
    /// Which address of a network its row has.
    pub row_address: RowAddress,
    /// The length of the prefixes that no two parts share.
    pub disjoint: Option<u8>,
    /// Whether a country with too few networks gives what it has.
    pub allow_fewer: bool,
}

impl SpecFacts {
    pub(crate) fn of(spec: &CheckedSpec) -> Self {
        Self {
            countries: spec.countries().map(str::to_owned).collect(),
            training_rows: spec.training_rows(),
            held_out_rows: spec.held_out_rows(),
            control_rows: spec.control_rows(),
            outlier_country: spec.outlier_country().to_owned(),
            outliers: spec.outliers(),
            evaluation_outliers: spec.evaluation_outliers(),
            draw_by: spec.draw_by(),
            row_address: spec.row_address(),
            disjoint: spec.disjoint(),
            allow_fewer: spec.allow_fewer(),
        }
    }
}

/// Rows that a country has too few networks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ShortageFacts {
    /// The country.
    pub code: CountryCode,
    /// The part of the sample.
    pub part: Part,
    /// How many rows were asked for.
    pub asked: usize,
    /// How many were drawn.
    pub drawn: usize,
}

/// A country to train on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
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
    /// How many rows were put beside the outliers.
    pub control: usize,
}

/// The country of the outliers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
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
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Skipped {
    /// Why.
    pub reason: SkipReason,
    /// How many networks.
    pub networks: u64,
}

/// Why a network was left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum SkipReason {
    /// Its record names neither where it is nor where it is registered.
    NoCountry,
    /// It is in a country that was not asked for.
    OtherCountry,
    /// It shares addresses, or with disjoint parts a block of them, with a published test row. Only listed where there is such a network.
    PublishedRow,
    /// It is IPv6, and the algorithm knows IPv4 only.
    Ipv6,
}

impl fmt::Display for SkipReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoCountry => "networks whose record names no country",
            Self::OtherCountry => "networks of countries that were not asked for",
            Self::PublishedRow => "networks, or blocks of addresses, of the published test rows",
            Self::Ipv6 => "IPv6 networks, which the algorithm does not know",
        })
    }
}

/// A file of a sample.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
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
    pub(crate) fn of(drawn: &DrawnCountry) -> Self {
        Self {
            code: drawn.country.code,
            name: drawn.country.name.to_string(),
            networks: drawn.networks,
            train: drawn.rows(Part::Train).len(),
            validation: drawn.rows(Part::Validation).len(),
            control: drawn.rows(Part::Control).len(),
        }
    }
}

impl OutlierCounts {
    pub(crate) fn of(drawn: &DrawnCountry) -> Self {
        Self {
            code: drawn.country.code,
            name: drawn.country.name.to_string(),
            networks: drawn.networks,
            test: drawn.rows(Part::Test).len(),
            evaluation: drawn.rows(Part::Evaluation).len(),
        }
    }
}
