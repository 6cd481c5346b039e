//! What a source says of one use, before any policy: who, from where, when, in the source's own words.

use jiff::Timestamp;

/// One use as a source tells it. Borrows from the record it was read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sighting<'a> {
    /// Who.
    pub principal: Principal<'a>,
    /// From where, as the source wrote it: an IPv4 or IPv6 address, a list of them (`X-Forwarded-For`), or anything
    /// else. [`Policy::judge`](crate::policy::Policy::judge) makes an address of it.
    pub address: &'a str,
    /// When; nothing when the source has no time.
    pub time: Option<Timestamp>,
}

/// Who was seen, under every name that the source gives. [`PrincipalRule`](crate::policy::PrincipalRule) chooses one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Principal<'a> {
    /// The identifier: AWS' `principalId`, a user's name in a web log, an instance in a flow log.
    pub id: Option<&'a str>,
    /// The name: of an IAM user, or of the role behind a session.
    pub user_name: Option<&'a str>,
    /// The Amazon resource name.
    pub arn: Option<&'a str>,
    /// Whether `id` is AWS' `principalId`, whose part from the first colon on names a session. Other identifiers may
    /// hold colons that mean something else and are never cut.
    pub aws: bool,
}

impl<'a> Principal<'a> {
    /// Someone with AWS' `principalId` as identifier.
    pub fn aws(id: Option<&'a str>) -> Self {
        Self {
            id,
            aws: true,
            ..Self::default()
        }
    }

    /// Someone with one name, which serves as identifier and as user name and is never cut.
    pub fn named(name: &'a str) -> Self {
        Self {
            id: Some(name),
            user_name: Some(name),
            ..Self::default()
        }
    }
}
