#![doc = include_str!("../README.md")]

mod country;
mod database;
mod error;
mod manifest;
mod options;
mod published;
mod sample;
mod spec;
mod verify;
mod write;
pub mod writer;

pub use country::{Country, CountryCode, ParseCountryCodeError};
pub use database::{Asn, CountryNetworks, Database, Metadata, Network, Networks};
pub use error::{Error, Fault, InvalidSpec, Shortage, SpecProblem, UnknownCountry};
pub use manifest::{
    CountryCounts, DatabaseFacts, FileFacts, Manifest, OutlierCounts, SkipReason, Skipped, SpecFacts,
    TestRows,
};
pub use options::{CountrySource, OpenOptions, ParseCountrySourceError};
pub use published::published_test_rows;
pub use sample::{Sample, SampleFile, sample};
pub use spec::{CheckedSpec, SampleSpec};
pub use verify::{Defect, Verification, verify, verify_with};
