//! What is known of a row beside its score, and what a policy makes of it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use access_events::address::SpecialRange;
use serde::{Deserialize, Serialize};

/// Whether the model knows the entity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum EntityOutcome {
    /// It was in the training rows.
    Known,
    /// It was never seen in training: its score says nothing.
    Unknown,
}

/// What kind of address it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum AddressOutcome {
    /// An ordinary IPv4 address.
    Public,
    /// IPv4 for private use or shared by the customers of a carrier: 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, 100.64.0.0/10.
    Private,
    /// IPv4 with another special purpose: loopback, link-local, documentation, multicast, reserved and the rest of IANA's registry.
    Reserved,
    /// IPv6, which the algorithm does not know. An address that is IPv4 mapped into IPv6 (`::ffff:192.0.2.1`) counts as IPv4.
    Ipv6,
    /// No address at all.
    NotAnAddress,
}

/// What is known of a row beside its score.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Outcomes {
    /// Of its entity.
    pub entity: EntityOutcome,
    /// Of its address.
    pub address: AddressOutcome,
}

impl Outcomes {
    /// Whether there is nothing to say: a known entity at an ordinary address.
    pub fn is_ordinary(self) -> bool {
        self.entity == EntityOutcome::Known && self.address == AddressOutcome::Public
    }
}

/// The names of what is out of the ordinary, with commas between; `ordinary` when nothing is.
impl fmt::Display for Outcomes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entity = match self.entity {
            EntityOutcome::Known => None,
            EntityOutcome::Unknown => Some("unknown entity"),
        };
        let address = match self.address {
            AddressOutcome::Public => None,
            AddressOutcome::Private => Some("private address"),
            AddressOutcome::Reserved => Some("reserved address"),
            AddressOutcome::Ipv6 => Some("IPv6"),
            AddressOutcome::NotAnAddress => Some("not an address"),
        };
        f.pad(&match (entity, address) {
            (None, None) => "ordinary".to_owned(),
            (Some(one), None) | (None, Some(one)) => one.to_owned(),
            (Some(entity), Some(address)) => format!("{entity}, {address}"),
        })
    }
}

/// What to do with a row that has a score, but one of doubtful meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Doubtful {
    /// Give the score beside the outcome.
    Score,
    /// Give the outcome and no score.
    Withhold,
    /// Refuse the rows, naming the first such.
    Reject,
}

/// What to do with a row that can have no score.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Impossible {
    /// Give the outcome and no score.
    Withhold,
    /// Refuse the rows, naming the first such.
    Reject,
}

/// What each outcome leads to.
///
/// The default says of everything what it is, and gives a score wherever there is one that means something: it withholds
/// those of unknown entities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OutcomePolicy {
    /// An entity that was never seen in training. Default [`Doubtful::Withhold`]: its score says nothing about it.
    pub unknown_entity: Doubtful,
    /// A private address. Default [`Doubtful::Score`]: an office's proxies may well be what there is to learn.
    pub private_address: Doubtful,
    /// A reserved address. Default [`Doubtful::Score`].
    pub reserved_address: Doubtful,
    /// An IPv6 address. Default [`Impossible::Withhold`].
    pub ipv6: Impossible,
    /// What is no address. Default [`Impossible::Withhold`].
    pub not_an_address: Impossible,
}

impl Default for OutcomePolicy {
    fn default() -> Self {
        Self {
            unknown_entity: Doubtful::Withhold,
            private_address: Doubtful::Score,
            reserved_address: Doubtful::Score,
            ipv6: Impossible::Withhold,
            not_an_address: Impossible::Withhold,
        }
    }
}

impl OutcomePolicy {
    /// A score for every row that can have one, as the service gives it, and a refusal of any other.
    pub const LIKE_THE_SERVICE: Self = Self {
        unknown_entity: Doubtful::Score,
        private_address: Doubtful::Score,
        reserved_address: Doubtful::Score,
        ipv6: Impossible::Reject,
        not_an_address: Impossible::Reject,
    };

    /// What becomes of such a row.
    #[cfg_attr(
        not(feature = "engine"),
        expect(dead_code, reason = "what models are asked with")
    )]
    pub(crate) fn of(&self, outcomes: Outcomes) -> Doubtful {
        let impossible = |rule| match rule {
            Impossible::Withhold => Doubtful::Withhold,
            Impossible::Reject => Doubtful::Reject,
        };
        let entity = match outcomes.entity {
            EntityOutcome::Known => Doubtful::Score,
            EntityOutcome::Unknown => self.unknown_entity,
        };
        let address = match outcomes.address {
            AddressOutcome::Public => Doubtful::Score,
            AddressOutcome::Private => self.private_address,
            AddressOutcome::Reserved => self.reserved_address,
            AddressOutcome::Ipv6 => impossible(self.ipv6),
            AddressOutcome::NotAnAddress => impossible(self.not_an_address),
        };
        // The stricter of the two.
        match (entity, address) {
            (Doubtful::Reject, _) | (_, Doubtful::Reject) => Doubtful::Reject,
            (Doubtful::Withhold, _) | (_, Doubtful::Withhold) => Doubtful::Withhold,
            (Doubtful::Score, Doubtful::Score) => Doubtful::Score,
        }
    }
}

/// A row as it comes: the address may be anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RawRow<'a> {
    /// Who.
    pub entity: &'a str,
    /// From where, as text; blanks around it do not matter.
    pub address: &'a str,
}

/// A row that the policy refuses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "row {row} (`{}`,`{}`) is refused: {outcomes}; a policy that withholds the score would name it and go on",
    excerpt(entity),
    excerpt(address)
)]
pub struct Rejected {
    /// One-based.
    pub row: usize,
    /// The row's entity.
    pub entity: String,
    /// The row's address, as it came.
    pub address: String,
    /// Why.
    pub outcomes: Outcomes,
}

/// Enough of a text to recognise it, on one line.
fn excerpt(text: &str) -> String {
    text.chars()
        .take(80)
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

/// What kind of address the text is, and the address when it is IPv4.
#[cfg_attr(
    not(feature = "engine"),
    expect(dead_code, reason = "what models are asked with")
)]
pub(crate) fn classify(address: &str) -> (AddressOutcome, Option<Ipv4Addr>) {
    let ipv4 = match address.trim().parse::<IpAddr>() {
        Err(_) => return (AddressOutcome::NotAnAddress, None),
        Ok(ip) => match ip.to_canonical() {
            IpAddr::V4(ipv4) => ipv4,
            IpAddr::V6(_) => return (AddressOutcome::Ipv6, None),
        },
    };
    (of_ipv4(ipv4), Some(ipv4))
}

/// What kind of IPv4 address it is.
pub(crate) fn of_ipv4(address: Ipv4Addr) -> AddressOutcome {
    match SpecialRange::of(address) {
        None => AddressOutcome::Public,
        Some(SpecialRange::Private | SpecialRange::Shared) => AddressOutcome::Private,
        Some(_) => AddressOutcome::Reserved,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_names() {
        use AddressOutcome::*;
        for (address, want) in [
            ("8.8.8.8", Public),
            (" 8.8.8.8 ", Public),
            ("::ffff:8.8.8.8", Public),
            ("10.1.2.3", Private),
            ("172.31.0.1", Private),
            ("172.32.0.1", Public),
            ("100.64.0.1", Private),
            ("::ffff:192.168.1.1", Private),
            ("127.0.0.1", Reserved),
            ("169.254.169.254", Reserved),
            ("192.0.2.1", Reserved),
            ("224.0.0.1", Reserved),
            ("255.255.255.255", Reserved),
            ("0.0.0.0", Reserved),
            ("2001:db8::1", Ipv6),
            ("::1", Ipv6),
            ("", NotAnAddress),
            ("8.8.8", NotAnAddress),
            ("8.8.8.256", NotAnAddress),
            ("08.8.8.8", NotAnAddress),
            ("8.8.8.8, 9.9.9.9", NotAnAddress),
            ("8.8.8.8:443", NotAnAddress),
            ("-", NotAnAddress),
            ("fe80::1%eth0", NotAnAddress),
        ] {
            let (got, ipv4) = classify(address);
            assert_eq!(got, want, "{address}");
            assert_eq!(
                ipv4.is_some(),
                matches!(got, Public | Private | Reserved),
                "{address}"
            );
        }
    }

    #[test]
    fn the_stricter_rule_counts() {
        let policy = OutcomePolicy {
            unknown_entity: Doubtful::Withhold,
            private_address: Doubtful::Reject,
            reserved_address: Doubtful::Withhold,
            ipv6: Impossible::Withhold,
            not_an_address: Impossible::Reject,
        };
        for (entity, address, want) in [
            (EntityOutcome::Known, AddressOutcome::Public, Doubtful::Score),
            (EntityOutcome::Unknown, AddressOutcome::Public, Doubtful::Withhold),
            (EntityOutcome::Unknown, AddressOutcome::Private, Doubtful::Reject),
            (EntityOutcome::Known, AddressOutcome::Reserved, Doubtful::Withhold),
            (EntityOutcome::Known, AddressOutcome::Ipv6, Doubtful::Withhold),
            (
                EntityOutcome::Known,
                AddressOutcome::NotAnAddress,
                Doubtful::Reject,
            ),
        ] {
            assert_eq!(
                policy.of(Outcomes { entity, address }),
                want,
                "{entity:?} {address:?}"
            );
        }
    }

    #[test]
    fn a_policy_is_json_with_defaults() {
        let policy: OutcomePolicy = serde_json::from_str(r#"{"unknown_entity":"reject"}"#).unwrap();
        let want = OutcomePolicy {
            unknown_entity: Doubtful::Reject,
            ..OutcomePolicy::default()
        };
        assert_eq!(policy, want);
        assert!(serde_json::from_str::<OutcomePolicy>(r#"{"ipv6":"score"}"#).is_err());
        assert!(serde_json::from_str::<OutcomePolicy>(r#"{"ipv5":"reject"}"#).is_err());
    }
}
