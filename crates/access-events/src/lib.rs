#![doc = include_str!("../README.md")]

use std::net::Ipv4Addr;

/// One observed use: an entity (a user, a principal, a country, …) seen at an IPv4 address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccessEvent {
    /// Who; any text, opaque to every consumer.
    pub entity: String,
    /// Where from.
    pub ip: Ipv4Addr,
}

impl AccessEvent {
    /// Pairs an entity with an address.
    pub fn new(entity: impl Into<String>, ip: Ipv4Addr) -> Self {
        Self { entity: entity.into(), ip }
    }
}
