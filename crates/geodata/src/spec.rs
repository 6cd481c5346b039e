//! What to sample.

use std::collections::HashSet;

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
    outlier_country: String,
    outliers: usize,
    evaluation_outliers: usize,
}

impl Default for SampleSpec {
    fn default() -> Self {
        Self {
            countries: ["US", "GB", "FR", "DE", "CA"].map(str::to_owned).to_vec(),
            training_rows: 50,
            held_out_rows: 50,
            outlier_country: "SG".to_owned(),
            outliers: 5,
            evaluation_outliers: 250,
        }
    }
}

impl SampleSpec {
    /// The countries to train on, each by its ISO code or English name, in capitals or not.
    /// Default: US, GB, FR, DE, CA.
    pub fn countries(mut self, countries: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.countries = countries.into_iter().map(Into::into).collect();
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
        for country in self.countries.iter().map(|country| country.trim()) {
            if country.is_empty() {
                problems.push(SpecProblem::EmptyCountry);
            } else if !seen.insert(country.to_lowercase()) {
                problems.push(SpecProblem::Repeated(country.to_owned()));
            }
        }
        let outlier_country = self.outlier_country.trim();
        if outlier_country.is_empty() {
            problems.push(SpecProblem::EmptyCountry);
        } else if seen.contains(&outlier_country.to_lowercase()) {
            problems.push(SpecProblem::OutlierIsNormal(outlier_country.to_owned()));
        }
        if self.training_rows == 0 {
            problems.push(SpecProblem::NoTrainingRows);
        }
        let counts = [
            ("training rows per country", self.training_rows),
            ("held-out rows per country", self.held_out_rows),
            ("outliers", self.outliers),
            ("evaluation outliers", self.evaluation_outliers),
        ];
        let too_many = counts.into_iter().filter(|(_, got)| *got > LIMIT);
        problems.extend(too_many.map(|(name, got)| SpecProblem::TooMany {
            name,
            limit: LIMIT,
            got,
        }));
        if problems.is_empty() {
            Ok(CheckedSpec(self))
        } else {
            Err(InvalidSpec { problems })
        }
    }
}

/// A [`SampleSpec`] that makes sense: at least one country, none twice, the outliers' country not among them, and
/// numbers within bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedSpec(SampleSpec);

impl CheckedSpec {
    /// The countries to train on, as they were named.
    pub fn countries(&self) -> impl ExactSizeIterator<Item = &str> {
        self.0.countries.iter().map(|country| country.trim())
    }

    /// How many rows to train on, per country.
    pub fn training_rows(&self) -> usize {
        self.0.training_rows
    }

    /// How many rows to hold out, per country.
    pub fn held_out_rows(&self) -> usize {
        self.0.held_out_rows
    }

    /// The country that the outliers come from, as it was named.
    pub fn outlier_country(&self) -> &str {
        self.0.outlier_country.trim()
    }

    /// How many outliers to put in the test rows.
    pub fn outliers(&self) -> usize {
        self.0.outliers
    }

    /// How many more outliers to measure with.
    pub fn evaluation_outliers(&self) -> usize {
        self.0.evaluation_outliers
    }
}
