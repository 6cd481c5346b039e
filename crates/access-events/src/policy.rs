//! What becomes of a sighting: which of its names is the entity, which of its addresses counts, and what is left out.

use std::collections::HashSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

use ipnet::Ipv4Net;
use jiff::Timestamp;

use crate::address::SpecialRange;
use crate::report::DropReason;
use crate::sighting::{Principal, Sighting};

/// Which name of a principal is the entity. The same rule holds for training and scoring, and for every source, so that
/// a finding about a role is scored as the entity that was trained.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum PrincipalRule {
    /// The identifier, AWS' `principalId` without its session: cut at the first colon, so that
    /// `AROAEXAMPLE:session` is the role `AROAEXAMPLE`. What is left has to name someone, so nothing is cut where an
    /// account (`123456789012:Bob`, a federated user) or an identity provider stands before the colon.
    #[default]
    Role,
    /// The identifier as it is, session and all.
    Full,
    /// The name of the user, or of the role behind a session.
    UserName,
    /// The Amazon resource name, session and all.
    Arn,
}

/// What to do with IPv6 addresses, which the algorithm does not know. IPv4-mapped ones (`::ffff:192.0.2.1`) count as
/// the IPv4 addresses they are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ipv6Rule {
    /// Leave them out and count them.
    #[default]
    Skip,
    /// Refuse the input.
    Reject,
}

/// What to do with addresses of [special-purpose ranges](SpecialRange): private, loopback and so on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SpecialRule {
    /// Leave them out and count them by range.
    #[default]
    Skip,
    /// Keep them.
    Keep,
}

/// Which address of a list counts, as in the header `X-Forwarded-For`: the client, then the proxies in the order in
/// which the request passed them. What the client sent itself can be made up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ForwardedRule {
    /// The first, whatever it is.
    First,
    /// The last, whatever it is: the one that the nearest proxy saw.
    Last,
    /// The first that is IPv4 and not of a special-purpose range; the first one when there is none such.
    #[default]
    FirstPublic,
}

macro_rules! names {
    ($rule:ident, $what:literal, $($variant:ident = $name:literal),+) => {
        impl $rule {
            /// All of them, by the names users write.
            pub const NAMES: &'static [(&'static str, Self)] = &[$(($name, Self::$variant)),+];
        }

        impl FromStr for $rule {
            type Err = UnknownRule;

            fn from_str(text: &str) -> Result<Self, UnknownRule> {
                match text {
                    $($name => Ok(Self::$variant),)+
                    _ => Err(UnknownRule {
                        what: $what,
                        text: text.to_owned(),
                        known: &[$($name),+],
                    }),
                }
            }
        }

        impl fmt::Display for $rule {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(match self { $(Self::$variant => $name),+ })
            }
        }
    };
}

names!(
    PrincipalRule,
    "principal rule",
    Role = "role",
    Full = "full",
    UserName = "user-name",
    Arn = "arn"
);
names!(Ipv6Rule, "rule for IPv6", Skip = "skip", Reject = "reject");
names!(
    SpecialRule,
    "rule for special-purpose addresses",
    Skip = "skip",
    Keep = "keep"
);
names!(
    ForwardedRule,
    "rule for lists of addresses",
    First = "first",
    Last = "last",
    FirstPublic = "first-public"
);

/// A name that no rule has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no {what}; there are {}", known.join(", "))]
pub struct UnknownRule {
    what: &'static str,
    text: String,
    known: &'static [&'static str],
}

/// A policy as users write it; [`check`](Self::check) makes a [`Policy`] of it.
///
/// Everything has a default: the whole of [`Draft::default`] is a valid policy.
#[derive(Debug, Clone, Default)]
pub struct Draft {
    principal: PrincipalRule,
    ipv6: Ipv6Rule,
    special: SpecialRule,
    forwarded: ForwardedRule,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    allow_networks: Vec<String>,
    deny_networks: Vec<String>,
    allow_entities: HashSet<String>,
    deny_entities: HashSet<String>,
}

impl Draft {
    /// Which name is the entity; [`PrincipalRule::Role`] by default.
    #[must_use]
    pub fn principal(mut self, rule: PrincipalRule) -> Self {
        self.principal = rule;
        self
    }

    /// What to do with IPv6; [`Ipv6Rule::Skip`] by default.
    #[must_use]
    pub fn ipv6(mut self, rule: Ipv6Rule) -> Self {
        self.ipv6 = rule;
        self
    }

    /// What to do with private, loopback and other special-purpose addresses; [`SpecialRule::Skip`] by default.
    #[must_use]
    pub fn special(mut self, rule: SpecialRule) -> Self {
        self.special = rule;
        self
    }

    /// Which address of a list counts; [`ForwardedRule::FirstPublic`] by default.
    #[must_use]
    pub fn forwarded(mut self, rule: ForwardedRule) -> Self {
        self.forwarded = rule;
        self
    }

    /// Leaves out what was before this moment, and what has no time; no limit by default.
    #[must_use]
    pub fn since(mut self, first: Timestamp) -> Self {
        self.since = Some(first);
        self
    }

    /// Leaves out what was at this moment or later, and what has no time; no limit by default.
    #[must_use]
    pub fn until(mut self, end: Timestamp) -> Self {
        self.until = Some(end);
        self
    }

    /// Lets only addresses of these networks through: `198.51.100.0/24`, or a single address. May be called repeatedly.
    #[must_use]
    pub fn allow_networks(mut self, networks: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.allow_networks.extend(networks.into_iter().map(Into::into));
        self
    }

    /// Leaves the addresses of these networks out. May be called repeatedly; goes before the allowed ones.
    #[must_use]
    pub fn deny_networks(mut self, networks: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.deny_networks.extend(networks.into_iter().map(Into::into));
        self
    }

    /// Lets only these entities through, written as the principal rule gives them. May be called repeatedly.
    #[must_use]
    pub fn allow_entities(mut self, entities: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.allow_entities.extend(entities.into_iter().map(Into::into));
        self
    }

    /// Leaves these entities out. May be called repeatedly; goes before the allowed ones.
    #[must_use]
    pub fn deny_entities(mut self, entities: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.deny_entities.extend(entities.into_iter().map(Into::into));
        self
    }

    /// The policy, when all of it makes sense.
    ///
    /// # Errors
    ///
    /// All that is wrong with it: a window that ends before it begins, networks that are none, empty entities.
    pub fn check(self) -> Result<Policy, PolicyError> {
        let mut problems = Vec::new();
        if let (Some(since), Some(until)) = (self.since, self.until)
            && since >= until
        {
            problems.push(format!(
                "the time window begins at {since} and ends at {until}, so nothing lies in it"
            ));
        }
        let allow_networks = networks(&self.allow_networks, &mut problems);
        let deny_networks = networks(&self.deny_networks, &mut problems);
        for (list, name) in [(&self.allow_entities, "allowed"), (&self.deny_entities, "denied")] {
            if list.contains("") {
                problems.push(format!("an empty entity is {name}; an entity has a name"));
            }
        }
        if !problems.is_empty() {
            return Err(PolicyError { problems });
        }
        Ok(Policy {
            principal: self.principal,
            ipv6: self.ipv6,
            special: self.special,
            forwarded: self.forwarded,
            since: self.since,
            until: self.until,
            allow_networks,
            deny_networks,
            allow_entities: self.allow_entities,
            deny_entities: self.deny_entities,
        })
    }
}

fn networks(texts: &[String], problems: &mut Vec<String>) -> Networks {
    let mut networks = Vec::new();
    for text in texts {
        let network = match text.parse::<Ipv4Addr>() {
            Ok(address) => Ok(Ipv4Net::from(address)),
            Err(_) => text.parse::<Ipv4Net>(),
        };
        match network {
            Ok(network) if network.trunc() != network => problems.push(format!(
                "`{text}` has bits set after its prefix; the network is `{}`",
                network.trunc()
            )),
            Ok(network) => networks.push(network),
            Err(_) => problems.push(format!(
                "`{text}` is not an IPv4 network; write it as `198.51.100.0/24`"
            )),
        }
    }
    Networks::new(networks)
}

/// Why a [`Draft`] is no [`Policy`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", problems.join("; "))]
pub struct PolicyError {
    /// All that is wrong, one text each.
    pub problems: Vec<String>,
}

/// Networks, as sorted ranges that do not touch.
#[derive(Debug, Clone, Default)]
struct Networks(Vec<(u32, u32)>);

impl Networks {
    fn new(networks: Vec<Ipv4Net>) -> Self {
        let ranges = Ipv4Net::aggregate(&networks);
        let mut ranges: Vec<_> = ranges
            .into_iter()
            .map(|network| (network.network().to_bits(), network.broadcast().to_bits()))
            .collect();
        ranges.sort_unstable();
        Self(ranges)
    }

    fn contains(&self, address: Ipv4Addr) -> bool {
        let address = address.to_bits();
        let after = self.0.partition_point(|(first, _)| *first <= address);
        after > 0 && address <= self.0[after - 1].1
    }
}

/// A checked policy. Comes from [`Draft::check`]; the default is that of the draft.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    principal: PrincipalRule,
    ipv6: Ipv6Rule,
    special: SpecialRule,
    forwarded: ForwardedRule,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    allow_networks: Networks,
    deny_networks: Networks,
    allow_entities: HashSet<String>,
    deny_entities: HashSet<String>,
}

/// What a [`Policy`] makes of a sighting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict<'a> {
    /// It is a pair.
    Pair {
        /// Who; never empty.
        entity: &'a str,
        /// From where.
        ip: Ipv4Addr,
    },
    /// It is left out.
    Drop(DropReason),
    /// It is an IPv6 address, and the policy refuses them.
    RejectIpv6,
}

impl Policy {
    /// The longest name that an entity can have, in bytes. The longest ARNs have 2048; pairs that wait for their turn are in memory,
    /// and so must have an end.
    pub const LONGEST_ENTITY: usize = 4096;

    /// A policy to be described; see [`Draft`].
    pub fn draft() -> Draft {
        Draft::default()
    }

    /// What becomes of a sighting. The first reason that applies counts, in this order: address, special range, entity,
    /// time, networks, entities.
    pub fn judge<'a>(&self, sighting: &Sighting<'a>) -> Verdict<'a> {
        match self.try_judge(sighting) {
            Ok((entity, ip)) => Verdict::Pair { entity, ip },
            Err(Refused::Drop(reason)) => Verdict::Drop(reason),
            Err(Refused::Ipv6) => Verdict::RejectIpv6,
        }
    }

    fn try_judge<'a>(&self, sighting: &Sighting<'a>) -> Result<(&'a str, Ipv4Addr), Refused> {
        let ip = self.address(sighting.address)?;
        if self.special == SpecialRule::Skip
            && let Some(range) = SpecialRange::of(ip)
        {
            return Err(DropReason::Special(range).into());
        }
        let entity = self.entity(sighting.principal).ok_or(DropReason::NoPrincipal)?;
        if entity.len() > Self::LONGEST_ENTITY {
            return Err(DropReason::LongPrincipal.into());
        }
        if self.since.is_some() || self.until.is_some() {
            let time = sighting.time.ok_or(DropReason::NoTime)?;
            if self.since.is_some_and(|since| time < since) || self.until.is_some_and(|until| time >= until) {
                return Err(DropReason::OutsideWindow.into());
            }
        }
        if self.deny_networks.contains(ip) {
            return Err(DropReason::NetworkDenied.into());
        }
        if !self.allow_networks.0.is_empty() && !self.allow_networks.contains(ip) {
            return Err(DropReason::NetworkNotAllowed.into());
        }
        if self.deny_entities.contains(entity) {
            return Err(DropReason::EntityDenied.into());
        }
        if !self.allow_entities.is_empty() && !self.allow_entities.contains(entity) {
            return Err(DropReason::EntityNotAllowed.into());
        }
        Ok((entity, ip))
    }

    /// The principal's name by the rule; nothing when it has none, or an empty one.
    pub fn entity<'a>(&self, principal: Principal<'a>) -> Option<&'a str> {
        let name = match self.principal {
            PrincipalRule::Role if principal.aws => principal.id.map(without_session),
            PrincipalRule::Role | PrincipalRule::Full => principal.id,
            PrincipalRule::UserName => principal.user_name,
            PrincipalRule::Arn => principal.arn,
        };
        name.filter(|name| !name.is_empty())
    }

    fn address(&self, text: &str) -> Result<Ipv4Addr, Refused> {
        let text = text.trim();
        if text.is_empty() {
            return Err(DropReason::NoAddress.into());
        }
        let first = || text.split(',').next().unwrap_or_default();
        let chosen = match self.forwarded {
            _ if !text.contains(',') => text,
            ForwardedRule::First => first(),
            ForwardedRule::Last => text.rsplit(',').next().unwrap_or_default(),
            ForwardedRule::FirstPublic => text
                .split(',')
                .find(|element| matches!(parse(element), Some(Parsed::V4(ip)) if SpecialRange::of(ip).is_none()))
                .unwrap_or_else(first),
        };
        match parse(chosen) {
            Some(Parsed::V4(ip)) => Ok(ip),
            Some(Parsed::V6) if self.ipv6 == Ipv6Rule::Reject => Err(Refused::Ipv6),
            Some(Parsed::V6) => Err(DropReason::Ipv6.into()),
            None => Err(DropReason::NotAnAddress.into()),
        }
    }
}

enum Refused {
    Drop(DropReason),
    Ipv6,
}

impl From<DropReason> for Refused {
    fn from(reason: DropReason) -> Self {
        Self::Drop(reason)
    }
}

enum Parsed {
    V4(Ipv4Addr),
    V6,
}

/// An address, which may have a port after it (`192.0.2.1:443`, `[2001:db8::1]:443`), as some proxies write it.
fn parse(text: &str) -> Option<Parsed> {
    let text = text.trim();
    let address = match text.parse::<IpAddr>() {
        Ok(address) => address,
        Err(_) => match text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
            Some(inner) => IpAddr::V6(inner.parse().ok()?),
            None => text.parse::<std::net::SocketAddr>().ok()?.ip(),
        },
    };
    Some(match address.to_canonical() {
        IpAddr::V4(address) => Parsed::V4(address),
        IpAddr::V6(_) => Parsed::V6,
    })
}

/// AWS' `principalId` up to the first colon, if what stands there is the identifier of a user or role: letters and
/// digits, with a letter among them. Others are an account, a SAML provider's hash (which ends in `=`), a provider's
/// host, or `arn`.
fn without_session(id: &str) -> &str {
    match id.split_once(':') {
        Some((before, _))
            if before != "arn"
                && before.bytes().all(|byte| byte.is_ascii_alphanumeric())
                && before.bytes().any(|byte| byte.is_ascii_alphabetic()) =>
        {
            before
        }
        _ => id,
    }
}
