#![doc = include_str!("../README.md")]

mod archive;
mod asn;
mod bytes;
mod country;
mod csv;
mod database;
#[cfg(feature = "download")]
pub mod download;
mod draw;
mod error;
mod manifest;
mod mmdb;
mod options;
mod published;
mod record;
mod sample;
mod select;
mod source;
mod spec;
mod verify;
mod write;
pub mod writer;

pub use country::{Country, CountryCode, ParseCountryCodeError};
pub use database::{Asn, CountryNetworks, Database, Metadata, Network, Networks};
pub use error::{Error, Fault, InvalidSpec, Shortage, SpecProblem, UnknownCountry};
pub use manifest::{
    CountryCounts, DatabaseFacts, Difference, FileFacts, Manifest, OutlierCounts, ShortageFacts, SkipReason,
    Skipped, SpecFacts, TestRows,
};
pub use options::{CountrySource, OpenOptions, ParseCountrySourceError};
pub use published::published_test_rows;
pub use sample::{Sample, SampleFile, sample, sample_watched};
pub use select::CountryFilter;
pub use source::Form;
pub use spec::{CheckedSpec, DrawBy, Part, RowAddress, SampleSpec};
pub use verify::{
    CsvFacts, Defect, MmdbFacts, Verification, verify, verify_bytes, verify_bytes_each, verify_each,
    verify_with,
};
