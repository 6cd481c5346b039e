#![doc = include_str!("../README.md")]

/// The database, in MaxMind's format.
pub const DATABASE: &[u8] = include_bytes!("../data/sample-country.mmdb");

/// What the database says it is.
pub const DATABASE_TYPE: &str = "IPFire-Country-Sample";

/// What to say to those who see results made with the data; the database's description too.
pub const ATTRIBUTION: &str = "Sample of the IPFire Location database (https://location.ipfire.org/), IPv4 networks of 11 countries, \
    by way of Debian's tor-geoipdb; CC BY-SA 4.0 (https://creativecommons.org/licenses/by-sa/4.0/).";
