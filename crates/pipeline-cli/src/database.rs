//! The country database that a command reads.

use geodata::{Database, Network, OpenOptions};
use serde::Serialize;

use crate::cli::{Reading, Source};
use crate::progress::Progress;

/// How the arguments want it to be read.
pub fn options(reading: &Reading) -> OpenOptions {
    let options = OpenOptions::default().country_from(reading.country_source.iter().copied());
    match &reading.language {
        Some(language) => options.language(language),
        None => options,
    }
}

/// Opens the database that the arguments name, or the built-in one.
pub fn open(source: &Source, options: OpenOptions, progress: &Progress) -> anyhow::Result<Database> {
    progress.now("opening the database");
    Ok(match &source.database {
        Some(path) => Database::open_with(path, &options)?,
        None => Database::from_bytes_with(geodata_sample::DATABASE, &options)?,
    })
}

/// Who routes a network.
#[derive(Debug, Serialize)]
pub struct System<'a> {
    /// Its number.
    pub number: u32,
    /// Who has it.
    pub organization: Option<&'a str>,
}

impl<'a> System<'a> {
    /// Of a network, where the ASN database knows it.
    pub fn of(network: &'a Network) -> Option<Self> {
        network.asn.as_ref().map(|asn| Self {
            number: asn.number,
            organization: asn.organization.as_deref(),
        })
    }
}
