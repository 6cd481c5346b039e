//! Checks a whole database.

use std::path::Path;

use serde::Serialize;

use crate::{Database, Error, OpenOptions};

/// What a check of a whole database found; made by [`verify`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Verification {
    /// Such as `GeoLite2-Country`; empty when the file does not get as far as saying it.
    pub database_type: String,
    /// The first defects, at most [`Verification::LISTED`], in the order of the file.
    pub defects: Vec<Defect>,
    /// How many there are in all.
    pub defect_count: u64,
    /// IPv4 networks with a record.
    pub networks: u64,
    /// IPv6 networks with a record.
    pub ipv6_networks: u64,
    /// What is odd and yet no defect.
    pub notes: Vec<String>,
}

/// Something wrong with a database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Defect {
    /// Where: a byte, a node, a network, a line of a file.
    pub place: String,
    /// What is wrong there.
    pub what: String,
}

impl Verification {
    /// The most defects that are listed; further ones are counted.
    pub const LISTED: usize = 100;

    /// Whether there is no defect.
    pub fn is_sound(&self) -> bool {
        self.defect_count == 0
    }

    pub(crate) fn defect(&mut self, place: impl Into<String>, what: impl Into<String>) {
        self.defect_count += 1;
        if self.defects.len() < Self::LISTED {
            let (place, what) = (place.into(), what.into());
            self.defects.push(Defect { place, what });
        }
    }
}

/// Reads a whole database and reports every defect.
///
/// Damage is not an error here but a defect, also where it keeps the file from being opened as a database.
///
/// # Errors
///
/// [`Error::Open`] when the file cannot be read, [`Error::NotADatabase`] when it is something else.
pub fn verify(path: impl AsRef<Path>) -> Result<Verification, Error> {
    verify_with(path, &OpenOptions::default())
}

/// The same with options.
///
/// # Errors
///
/// Those of [`verify`].
pub fn verify_with(path: impl AsRef<Path>, options: &OpenOptions) -> Result<Verification, Error> {
    match Database::open_with(path, options) {
        Ok(database) => Ok(database.verify()),
        Err(Error::Damaged { source, .. }) => {
            let mut found = Verification::default();
            found.defect("the file", source.to_string());
            Ok(found)
        }
        Err(error) => Err(error),
    }
}

impl Database {
    /// Reads all of it and reports every defect.
    pub fn verify(&self) -> Verification {
        let mut found = Verification {
            database_type: self.metadata().database_type.clone(),
            ..Verification::default()
        };
        for network in self.networks() {
            match network {
                Ok(_) => found.networks += 1,
                Err(error) => found.defect(place_of(&error), what(&error)),
            }
        }
        match self.ipv6_networks() {
            Ok(networks) => found.ipv6_networks = networks,
            Err(error) => found.defect(place_of(&error), what(&error)),
        }
        found
    }
}

fn place_of(error: &Error) -> String {
    match error {
        Error::Record { network, .. } => network.clone(),
        _ => "the file".to_owned(),
    }
}

fn what(error: &Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}
