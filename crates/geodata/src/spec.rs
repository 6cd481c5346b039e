//! What to sample.

use std::collections::HashSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::country::joined_names;
use crate::{InvalidSpec, SpecProblem};

/// What to sample: a draft, which [`check`](Self::check) turns into a [`CheckedSpec`].
///
/// The default is the published experiment (50 rows for each of five Western countries, five outliers from Singapore)
/// with what it lacked: rows held out of the training, and outliers enough to measure with.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct SampleSpec {
    countries: Vec<String>,
    training_rows: usize,
    held_out_rows: usize,
    control_rows: usize,
    outlier_country: String,
    outliers: usize,
    evaluation_outliers: usize,
    by: DrawBy,
    address: RowAddress,
    disjoint: Option<u8>,
    allow_fewer: bool,
    published_test_rows: bool,
}

/// What is as likely as the other in a draw.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum DrawBy {
    /// Every network of a country, be it a /8 or a /32.
    #[default]
    Network,
    /// Every address of a country: a network that is twice as large is twice as likely to come next.
    Address,
}

/// Which address of a network its row has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum RowAddress {
    /// The first.
    #[default]
    First,
    /// Any of them, the first and the last as well; the seed and the network decide.
    Random,
}

/// A part of a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Part {
    /// In-country rows to train on.
    Train,
    /// In-country rows held out of the training.
    Validation,
    /// In-country rows beside the outliers, which neither training nor calibration has seen.
    Control,
    /// The outliers.
    Test,
    /// Further outliers, to measure with.
    Evaluation,
}

impl Part {
    /// Its name: that of its file without `.csv`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Validation => "validation",
            Self::Control => "control",
            Self::Test => "test",
            Self::Evaluation => "evaluation",
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Default for SampleSpec {
    fn default() -> Self {
        Self {
            countries: ["US", "GB", "FR", "DE", "CA"].map(str::to_owned).to_vec(),
            training_rows: 50,
            held_out_rows: 50,
            control_rows: 0,
            outlier_country: "SG".to_owned(),
            outliers: 5,
            evaluation_outliers: 250,
            by: DrawBy::default(),
            address: RowAddress::default(),
            disjoint: None,
            allow_fewer: false,
            published_test_rows: false,
        }
    }
}

impl SampleSpec {
    /// The countries to train on, each by its ISO code or English name, in capitals or not; or `top:N` alone, for the `N`
    /// countries that have most networks, the outliers' country aside; of equals the first by code. Default: US, GB, FR,
    /// DE, CA.
    ///
    /// A name in double quotes may come in pieces, as a list that is cut at its commas has them: `"Korea` and ` Republic of"` are
    /// one country.
    pub fn countries(mut self, countries: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.countries = joined_names(countries);
        self
    }

    /// How many rows to train on, per country. From 1 to 1,000,000; default 50.
    pub fn training_rows(mut self, rows: usize) -> Self {
        self.training_rows = rows;
        self
    }

    /// How many rows to hold out, per country. Up to 1,000,000; default 50.
    pub fn held_out_rows(mut self, rows: usize) -> Self {
        self.held_out_rows = rows;
        self
    }

    /// How many more in-country rows to put beside the outliers, per country: held-out rows on which a threshold was set
    /// cannot say how often it is wrong. Up to 1,000,000; default 0.
    pub fn control_rows(mut self, rows: usize) -> Self {
        self.control_rows = rows;
        self
    }

    /// The country that the outliers come from, by ISO code or English name. Default: SG.
    pub fn outlier_country(mut self, country: impl Into<String>) -> Self {
        self.outlier_country = country.into();
        self
    }

    /// How many outliers to put in the test rows. Up to 1,000,000; default 5.
    pub fn outliers(mut self, rows: usize) -> Self {
        self.outliers = rows;
        self
    }

    /// How many more outliers to measure with: five say little about a detector. Up to 1,000,000; default 250.
    pub fn evaluation_outliers(mut self, rows: usize) -> Self {
        self.evaluation_outliers = rows;
        self
    }

    /// What is as likely as the other. Default: networks.
    pub fn draw_by(mut self, by: DrawBy) -> Self {
        self.by = by;
        self
    }

    /// Which address of a network its row has. Default: the first.
    pub fn row_address(mut self, address: RowAddress) -> Self {
        self.address = address;
        self
    }

    /// The length of the prefixes that no two parts of the sample share: with 16, no /16 has rows in two of them. From 8 to
    /// 24, or none; default none, which keeps networks apart and no more.
    pub fn disjoint(mut self, prefix_len: impl Into<Option<u8>>) -> Self {
        self.disjoint = prefix_len.into();
        self
    }

    /// Whether a country with too few networks gives what it has, which the manifest then counts, instead of an error.
    /// One row to train on it must have. Default: no.
    pub fn allow_fewer(mut self, allow: bool) -> Self {
        self.allow_fewer = allow;
        self
    }

    /// Whether the [test rows of the published experiment](crate::published_test_rows) take the place of those drawn. Then no other
    /// part has a row of their networks or, when parts are [`disjoint`](Self::disjoint), of their blocks of addresses. Default: no.
    pub fn published_test_rows(mut self, published: bool) -> Self {
        self.published_test_rows = published;
        self
    }

    /// The same, known to make sense.
    ///
    /// # Errors
    ///
    /// Everything that is wrong, not just the first. Whether the countries exist is for a database to say.
    pub fn check(self) -> Result<CheckedSpec, InvalidSpec> {
        /// So that a slip of the finger does not fill the memory.
        const LIMIT: usize = 1_000_000;

        let mut problems = Vec::new();
        if self.countries.is_empty() {
            problems.push(SpecProblem::NoCountries);
        }
        let mut seen = HashSet::new();
        let mut top = None;
        for country in self.countries.iter().map(|country| country.trim()) {
            if let Some(number) = top_number(country) {
                match number.parse::<usize>() {
                    _ if self.countries.len() > 1 => {
                        problems.push(SpecProblem::TopAmongOthers(country.to_owned()));
                    }
                    Ok(number) if number > 0 => top = Some(number),
                    _ => problems.push(SpecProblem::TopNumber(country.to_owned())),
                }
            } else if country.is_empty() {
                problems.push(SpecProblem::EmptyCountry);
            } else if !seen.insert(country.to_lowercase()) {
                problems.push(SpecProblem::Repeated(country.to_owned()));
            }
        }
        let outlier_country = self.outlier_country.trim();
        if outlier_country.is_empty() {
            problems.push(SpecProblem::EmptyCountry);
        } else if top_number(outlier_country).is_some() {
            problems.push(SpecProblem::TopOutlier(outlier_country.to_owned()));
        } else if seen.contains(&outlier_country.to_lowercase()) {
            problems.push(SpecProblem::OutlierIsNormal(outlier_country.to_owned()));
        }
        if self.training_rows == 0 {
            problems.push(SpecProblem::NoTrainingRows);
        }
        let counts = [
            ("training rows per country", self.training_rows),
            ("held-out rows per country", self.held_out_rows),
            ("control rows per country", self.control_rows),
            ("outliers", self.outliers),
            ("evaluation outliers", self.evaluation_outliers),
        ];
        let too_many = counts.into_iter().filter(|(_, got)| *got > LIMIT);
        problems.extend(too_many.map(|(name, got)| SpecProblem::TooMany {
            name,
            limit: LIMIT,
            got,
        }));
        if let Some(got) = self.disjoint.filter(|len| !(8..=24).contains(len)) {
            problems.push(SpecProblem::Disjoint { got });
        }
        if problems.is_empty() {
            Ok(CheckedSpec { spec: self, top })
        } else {
            Err(InvalidSpec { problems })
        }
    }
}

/// What stands behind `top:`.
fn top_number(country: &str) -> Option<&str> {
    let (word, number) = country.split_once(':')?;
    word.trim().eq_ignore_ascii_case("top").then(|| number.trim())
}

/// A [`SampleSpec`] that makes sense: at least one country, none twice, the outliers' country not among them, and
/// numbers within bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedSpec {
    spec: SampleSpec,
    top: Option<usize>,
}

impl CheckedSpec {
    /// The countries to train on, as they were named; `top:N` is one name.
    pub fn countries(&self) -> impl ExactSizeIterator<Item = &str> {
        self.spec.countries.iter().map(|country| country.trim())
    }

    /// How many of the countries with most networks to train on, when they were asked for by number.
    pub fn top_countries(&self) -> Option<usize> {
        self.top
    }

    /// How many rows to train on, per country.
    pub fn training_rows(&self) -> usize {
        self.spec.training_rows
    }

    /// How many rows to hold out, per country.
    pub fn held_out_rows(&self) -> usize {
        self.spec.held_out_rows
    }

    /// How many in-country rows to put beside the outliers, per country.
    pub fn control_rows(&self) -> usize {
        self.spec.control_rows
    }

    /// The country that the outliers come from, as it was named.
    pub fn outlier_country(&self) -> &str {
        self.spec.outlier_country.trim()
    }

    /// How many outliers to put in the test rows.
    pub fn outliers(&self) -> usize {
        self.spec.outliers
    }

    /// How many more outliers to measure with.
    pub fn evaluation_outliers(&self) -> usize {
        self.spec.evaluation_outliers
    }

    /// What is as likely as the other.
    pub fn draw_by(&self) -> DrawBy {
        self.spec.by
    }

    /// Which address of a network its row has.
    pub fn row_address(&self) -> RowAddress {
        self.spec.address
    }

    /// The length of the prefixes that no two parts share, if they are to be kept apart.
    pub fn disjoint(&self) -> Option<u8> {
        self.spec.disjoint
    }

    /// Whether a country with too few networks gives what it has.
    pub fn allow_fewer(&self) -> bool {
        self.spec.allow_fewer
    }

    /// Whether the published test rows take the place of those drawn.
    pub fn published_test_rows(&self) -> bool {
        self.spec.published_test_rows
    }
}
