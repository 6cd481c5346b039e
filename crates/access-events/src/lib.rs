#![doc = include_str!("../README.md")]

pub mod address;
pub mod csv;
mod error;
pub mod extract;
pub mod follow;
pub mod format;
mod gunzip;
pub mod input;
pub mod policy;
pub mod report;
mod rows;
pub mod shape;
pub mod sighting;

use std::io::{Read, Write};
use std::net::Ipv4Addr;

pub use error::Error;
pub use extract::{Dated, Extract};
pub use follow::Follower;
pub use input::{Input, walk};
pub use policy::Policy;
pub use report::{DropReason, Summary};
pub use sighting::{Principal, Sighting};

/// One observed use: `entity` was seen from `ip`.
///
/// Repeated events are meaningful to the algorithm and are never merged.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccessEvent {
    /// Who: an account, a device, a country; opaque text, compared byte by byte.
    pub entity: String,
    /// From where.
    pub ip: Ipv4Addr,
}

impl AccessEvent {
    /// An event of `entity` seen from `ip`.
    pub fn new(entity: impl Into<String>, ip: Ipv4Addr) -> Self {
        Self {
            entity: entity.into(),
            ip,
        }
    }
}

/// Reads all events of a headerless CSV; [`csv::Reader`] reads them one at a time.
///
/// # Errors
///
/// The first row that is not an event, or a failed read; see [`Error`].
pub fn read_csv(reader: impl Read) -> Result<Vec<AccessEvent>, Error> {
    csv::Reader::new(reader).collect()
}

/// Writes events as headerless CSV; [`csv::Writer`] takes them one at a time.
///
/// # Errors
///
/// An event with an empty entity, or a failed write; see [`Error`].
pub fn write_csv<'a>(
    writer: impl Write,
    events: impl IntoIterator<Item = &'a AccessEvent>,
) -> Result<(), Error> {
    let mut writer = csv::Writer::new(writer);
    for event in events {
        writer.write(event)?;
    }
    writer.finish().map(drop)
}
