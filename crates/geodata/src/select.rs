//! Networks of some countries.

use std::collections::HashSet;

use crate::country::{ByCode, joined_names, nearest};
use crate::{Country, Database, Error, InvalidSpec, SpecProblem, UnknownCountry};

/// Tells in one walk which networks are of the countries that were asked for, by ISO code or name.
///
/// ```
/// use geodata::{CountryFilter, Database};
///
/// let database = Database::from_bytes(geodata_sample::DATABASE)?;
/// let mut filter = CountryFilter::new(["SG", "japan"])?;
/// let mut networks = Vec::new();
/// for network in database.networks() {
///     let network = network?;
///     if network.country.as_ref().is_some_and(|country| filter.has(country)) {
///         networks.push(network.prefix);
///     }
/// }
/// // An error for a country that was not met.
/// assert_eq!(filter.finish(&database)?.len(), 2);
/// # assert!(networks.len() > 10_000);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct CountryFilter {
    names: Vec<String>,
    /// What was met so far, and whether it is among those asked for.
    met: ByCode<(Country, bool)>,
}

impl CountryFilter {
    /// For these countries, each by its ISO code or its name, in capitals or not. A name in double quotes may come in pieces, as a
    /// list that is cut at its commas has them.
    ///
    /// # Errors
    ///
    /// When there is none, one is empty, or one is named twice.
    pub fn new(countries: impl IntoIterator<Item = impl Into<String>>) -> Result<Self, InvalidSpec> {
        let names = joined_names(countries).into_iter();
        let names: Vec<String> = names.map(|country| country.trim().to_owned()).collect();
        let mut problems = Vec::new();
        if names.is_empty() {
            problems.push(SpecProblem::NoCountries);
        }
        let mut seen = HashSet::new();
        for name in &names {
            if name.is_empty() {
                problems.push(SpecProblem::EmptyCountry);
            } else if !seen.insert(name.to_lowercase()) {
                problems.push(SpecProblem::Repeated(name.clone()));
            }
        }
        if !problems.is_empty() {
            return Err(InvalidSpec { problems });
        }
        Ok(Self {
            names,
            met: ByCode::new(),
        })
    }

    /// Whether a country of the database is one of those asked for.
    pub fn has(&mut self, country: &Country) -> bool {
        let names = &self.names;
        let asked = |country: &Country| names.iter().any(|name| country.answers_to(name));
        self.met
            .of(country, |country| (country.clone(), asked(country)))
            .1
    }

    /// The countries asked for, by code, once all networks of the database have been looked at.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownCountries`] when one of them was not met.
    pub fn finish(self, db: &Database) -> Result<Vec<Country>, Error> {
        let Self { names, met } = self;
        let met = met.into_values();
        let known = || met.iter().map(|(country, _)| country);
        let unknown: Vec<UnknownCountry> = names
            .into_iter()
            .filter(|name| !known().any(|country| country.answers_to(name)))
            .map(|asked| UnknownCountry {
                nearest: nearest(&asked, known()).cloned(),
                asked,
            })
            .collect();
        if !unknown.is_empty() {
            return Err(Error::UnknownCountries {
                database_type: db.metadata().database_type.clone(),
                unknown,
                known: known().cloned().collect(),
            });
        }
        let asked = met.into_iter().filter(|(_, asked)| *asked);
        Ok(asked.map(|(country, _)| country).collect())
    }
}
