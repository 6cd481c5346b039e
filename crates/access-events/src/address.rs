//! IPv4 addresses that are nobody's: the ranges with a special purpose.

use std::fmt;
use std::net::Ipv4Addr;

/// A range of IANA's registry of special-purpose IPv4 addresses, or multicast.
///
/// Registry: <https://www.iana.org/assignments/iana-ipv4-special-registry/>. Ranges inside of 192.0.0.0/24 count as
/// [`ProtocolAssignments`](Self::ProtocolAssignments).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum SpecialRange {
    /// 0.0.0.0/8, "this network" (RFC 791).
    ThisNetwork,
    /// 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16 (RFC 1918).
    Private,
    /// 100.64.0.0/10, shared by the customers of a carrier (RFC 6598).
    Shared,
    /// 127.0.0.0/8 (RFC 1122).
    Loopback,
    /// 169.254.0.0/16 (RFC 3927); the instance metadata service lives here.
    LinkLocal,
    /// 192.0.0.0/24, IETF protocol assignments (RFC 6890).
    ProtocolAssignments,
    /// 192.0.2.0/24, 198.51.100.0/24, 203.0.113.0/24 (RFC 5737).
    Documentation,
    /// 192.31.196.0/24 and 192.175.48.0/24, the AS112 name servers (RFC 7534, RFC 7535).
    As112,
    /// 192.52.193.0/24, automatic multicast tunnelling (RFC 7450).
    Amt,
    /// 192.88.99.0/24, relays of 6to4, deprecated (RFC 7526).
    SixToFourRelay,
    /// 198.18.0.0/15, benchmarks of network devices (RFC 2544).
    Benchmarking,
    /// 224.0.0.0/4 (RFC 5771).
    Multicast,
    /// 240.0.0.0/4 without the last address (RFC 1112).
    Reserved,
    /// 255.255.255.255 (RFC 8190).
    Broadcast,
}

impl SpecialRange {
    /// The range the address lies in; nothing for an ordinary, public address.
    pub fn of(address: Ipv4Addr) -> Option<Self> {
        Some(match address.octets() {
            [0, ..] => Self::ThisNetwork,
            [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Self::Private,
            [100, 64..=127, ..] => Self::Shared,
            [127, ..] => Self::Loopback,
            [169, 254, ..] => Self::LinkLocal,
            [192, 0, 0, _] => Self::ProtocolAssignments,
            [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => Self::Documentation,
            [192, 31, 196, _] | [192, 175, 48, _] => Self::As112,
            [192, 52, 193, _] => Self::Amt,
            [192, 88, 99, _] => Self::SixToFourRelay,
            [198, 18..=19, ..] => Self::Benchmarking,
            [224..=239, ..] => Self::Multicast,
            [255, 255, 255, 255] => Self::Broadcast,
            [240..=255, ..] => Self::Reserved,
            _ => return None,
        })
    }

    /// The name of the reason for leaving such an address out.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::ThisNetwork => "this-network-address",
            Self::Private => "private-address",
            Self::Shared => "shared-address",
            Self::Loopback => "loopback-address",
            Self::LinkLocal => "link-local-address",
            Self::ProtocolAssignments => "protocol-assignments-address",
            Self::Documentation => "documentation-address",
            Self::As112 => "as112-address",
            Self::Amt => "amt-address",
            Self::SixToFourRelay => "6to4-relay-address",
            Self::Benchmarking => "benchmarking-address",
            Self::Multicast => "multicast-address",
            Self::Reserved => "reserved-address",
            Self::Broadcast => "broadcast-address",
        }
    }
}

impl fmt::Display for SpecialRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.reason().trim_end_matches("-address"))
    }
}
