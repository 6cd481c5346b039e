//! What becomes of a sighting under a policy.
#![expect(clippy::unwrap_used, reason = "a helper of tests fails loudly")]

use std::net::{Ipv4Addr, Ipv6Addr};

use access_events::address::SpecialRange;
use access_events::policy::{Draft, ForwardedRule, Ipv6Rule, PrincipalRule, SpecialRule, Verdict};
use access_events::{Policy, Principal, Sighting};
use expect_test::expect;
use proptest::prelude::*;

fn said(verdict: Verdict<'_>) -> String {
    match verdict {
        Verdict::Pair { entity, ip } => format!("{entity},{ip}"),
        Verdict::Drop(reason) => reason.to_string(),
        Verdict::RejectIpv6 => "refused".to_owned(),
        _ => unreachable!("there are no others"),
    }
}

fn at<'a>(address: &'a str, time: Option<&str>) -> Sighting<'a> {
    Sighting {
        principal: Principal::named("alice"),
        address,
        time: time.map(|time| time.parse().unwrap()),
    }
}

fn judged(draft: Draft, address: &str) -> String {
    said(draft.check().unwrap().judge(&at(address, None)))
}

#[test]
fn addresses() {
    for (address, expected) in [
        ("8.8.4.4", "alice,8.8.4.4"),
        ("  8.8.4.4\t", "alice,8.8.4.4"),
        ("8.8.4.4:443", "alice,8.8.4.4"),
        ("::ffff:8.8.4.4", "alice,8.8.4.4"),
        ("::ffff:808:404", "alice,8.8.4.4"),
        ("[::ffff:8.8.4.4]:443", "alice,8.8.4.4"),
        ("[::ffff:8.8.4.4]", "alice,8.8.4.4"),
        ("::ffff:10.0.0.1", "private-address"),
        ("2600:1f18::1", "ipv6-address"),
        ("[2600:1f18::1]:443", "ipv6-address"),
        ("::8.8.4.4", "ipv6-address"),
        ("64:ff9b::808:404", "ipv6-address"),
        ("", "no-address"),
        (" ", "no-address"),
        ("-", "not-an-address"),
        ("AWS Internal", "not-an-address"),
        ("example.com", "not-an-address"),
        ("8.8.4", "not-an-address"),
        ("8.8.4.04", "not-an-address"),
        ("8.8.4.256", "not-an-address"),
        ("8.8.4.4/32", "not-an-address"),
        ("134743044", "not-an-address"),
        ("8.8.4.4:99999", "not-an-address"),
        ("127.0.0.1", "loopback-address"),
        ("169.254.169.254", "link-local-address"),
        ("172.31.0.1", "private-address"),
        ("172.32.0.1", "alice,172.32.0.1"),
        ("100.64.0.1", "shared-address"),
        ("203.0.113.9", "documentation-address"),
        ("239.1.2.3", "multicast-address"),
        ("255.255.255.255", "broadcast-address"),
        ("0.0.0.0", "this-network-address"),
    ] {
        assert_eq!(judged(Policy::draft(), address), expected, "{address:?}");
    }
    let keep = || Policy::draft().special(SpecialRule::Keep);
    assert_eq!(judged(keep(), "127.0.0.1"), "alice,127.0.0.1");
    let reject = || Policy::draft().ipv6(Ipv6Rule::Reject);
    assert_eq!(judged(reject(), "2600:1f18::1"), "refused");
    assert_eq!(judged(reject(), "::ffff:8.8.4.4"), "alice,8.8.4.4");
    assert_eq!(judged(reject(), "8.8.4.4, 2600:1f18::1"), "alice,8.8.4.4");
}

#[test]
fn lists_of_addresses() {
    let rules = [
        ForwardedRule::First,
        ForwardedRule::Last,
        ForwardedRule::FirstPublic,
    ];
    for (list, expected) in [
        (
            "10.0.0.1, 8.8.4.4, 9.9.9.9",
            ["private-address", "alice,9.9.9.9", "alice,8.8.4.4"],
        ),
        (
            "8.8.4.4,10.0.0.1",
            ["alice,8.8.4.4", "private-address", "alice,8.8.4.4"],
        ),
        (
            "unknown, 8.8.4.4:1234",
            ["not-an-address", "alice,8.8.4.4", "alice,8.8.4.4"],
        ),
        (
            "2600::1, 8.8.4.4",
            ["ipv6-address", "alice,8.8.4.4", "alice,8.8.4.4"],
        ),
        (
            "10.0.0.1, 192.168.0.1",
            ["private-address", "private-address", "private-address"],
        ),
        (
            "2600::1, 10.0.0.1",
            ["ipv6-address", "private-address", "ipv6-address"],
        ),
        (",8.8.4.4", ["not-an-address", "alice,8.8.4.4", "alice,8.8.4.4"]),
        ("8.8.4.4,", ["alice,8.8.4.4", "not-an-address", "alice,8.8.4.4"]),
    ] {
        for (rule, expected) in rules.iter().zip(expected) {
            let draft = Policy::draft().forwarded(*rule);
            assert_eq!(judged(draft, list), expected, "{list}, {rule}");
        }
    }
}

#[test]
fn principals() {
    let rules = [
        PrincipalRule::Role,
        PrincipalRule::Full,
        PrincipalRule::UserName,
        PrincipalRule::Arn,
    ];
    let entities = |principal: Principal<'_>| {
        rules.map(|rule| {
            let policy = Policy::draft().principal(rule).check().unwrap();
            policy.entity(principal).unwrap_or("-").to_owned()
        })
    };
    for (id, role) in [
        ("AROAEXAMPLE:session", "AROAEXAMPLE"),
        ("AROAEXAMPLE:a:b", "AROAEXAMPLE"),
        ("AIDAEXAMPLE", "AIDAEXAMPLE"),
        ("AROAEXAMPLE:", "AROAEXAMPLE"),
        ("123456789012:Bob", "123456789012:Bob"),
        ("123456789012", "123456789012"),
        ("SAMPLEkX3JvoCu4QhhDd0g=:user", "SAMPLEkX3JvoCu4QhhDd0g=:user"),
        ("accounts.google.com:app:user", "accounts.google.com:app:user"),
        (
            "arn:aws:iam::123456789012:user/Bob",
            "arn:aws:iam::123456789012:user/Bob",
        ),
        (":session", ":session"),
        ("", "-"),
    ] {
        let full = if id.is_empty() { "-" } else { id };
        assert_eq!(entities(Principal::aws(Some(id))), [role, full, "-", "-"], "{id}");
    }
    // Other names may hold colons that mean something else.
    assert_eq!(
        entities(Principal::named("tenant:alice")),
        ["tenant:alice", "tenant:alice", "tenant:alice", "-"]
    );
    let all = Principal {
        user_name: Some("Developer"),
        arn: Some("arn:aws:sts::1:assumed-role/Developer/alice"),
        ..Principal::aws(Some("AROAEXAMPLE:alice"))
    };
    assert_eq!(
        entities(all),
        [
            "AROAEXAMPLE",
            "AROAEXAMPLE:alice",
            "Developer",
            "arn:aws:sts::1:assumed-role/Developer/alice"
        ]
    );
    assert_eq!(entities(Principal::default()), ["-"; 4]);
    assert_eq!(
        said(Policy::default().judge(&Sighting {
            principal: Principal::default(),
            ..at("8.8.4.4", None)
        })),
        "no-principal"
    );
}

/// A name that nobody has: a thousand of them, kept for their turn, would fill the memory.
#[test]
fn a_name_has_an_end() {
    let judge = |length: usize| {
        let name = "x".repeat(length);
        let policy = Policy::default();
        said(policy.judge(&Sighting {
            principal: Principal::named(&name),
            ..at("8.8.4.4", None)
        }))
    };
    assert!(judge(Policy::LONGEST_ENTITY).ends_with("x,8.8.4.4"));
    assert_eq!(judge(Policy::LONGEST_ENTITY + 1), "long-principal");
}

#[test]
fn a_window_begins_with_its_first_moment_and_ends_before_its_last() {
    let window = || {
        Policy::draft()
            .since("2025-03-01T00:00:00Z".parse().unwrap())
            .until("2025-03-02T00:00:00Z".parse().unwrap())
    };
    for (time, expected) in [
        (Some("2025-02-28T23:59:59.999Z"), "outside-time-window"),
        (Some("2025-03-01T00:00:00Z"), "alice,8.8.4.4"),
        (Some("2025-03-01T23:59:59.999Z"), "alice,8.8.4.4"),
        (Some("2025-03-02T00:00:00Z"), "outside-time-window"),
        (None, "no-time"),
    ] {
        let policy = window().check().unwrap();
        assert_eq!(said(policy.judge(&at("8.8.4.4", time))), expected, "{time:?}");
    }
}

#[test]
fn a_window_and_times_may_be_of_different_zones() {
    let window = Policy::draft()
        .since("2025-03-01T00:00:00+01:00".parse().unwrap())
        .until("2025-03-01T20:00:00-04:00".parse().unwrap());
    let policy = window.check().unwrap();
    for (time, expected) in [
        ("2025-02-28T22:59:59Z", "outside-time-window"),
        ("2025-02-28T23:00:00Z", "alice,8.8.4.4"),
        ("2025-03-01T04:30:00+05:30", "alice,8.8.4.4"),
        ("2025-03-01T04:29:59+05:30", "outside-time-window"),
        ("2025-03-01T23:59:59Z", "alice,8.8.4.4"),
        ("2025-03-01T15:59:59-08:00", "alice,8.8.4.4"),
        ("2025-03-01T16:00:00-08:00", "outside-time-window"),
        ("2025-03-02T00:00:00Z", "outside-time-window"),
    ] {
        assert_eq!(said(policy.judge(&at("8.8.4.4", Some(time)))), expected, "{time}");
    }
}

#[test]
fn lists_of_networks_and_entities() {
    let networks = || {
        Policy::draft()
            .allow_networks(["8.8.0.0/16", "9.9.9.9"])
            .deny_networks(["8.8.8.0/24"])
    };
    for (address, expected) in [
        ("8.8.4.4", "alice,8.8.4.4"),
        ("8.8.255.255", "alice,8.8.255.255"),
        ("8.8.8.1", "network-denied"),
        ("9.9.9.9", "alice,9.9.9.9"),
        ("9.9.9.10", "network-not-allowed"),
        ("8.7.255.255", "network-not-allowed"),
    ] {
        assert_eq!(judged(networks(), address), expected, "{address}");
    }
    let entities = || Policy::draft().allow_entities(["alice"]);
    assert_eq!(judged(entities(), "8.8.4.4"), "alice,8.8.4.4");
    assert_eq!(
        judged(entities().deny_entities(["alice"]), "8.8.4.4"),
        "entity-denied"
    );
    assert_eq!(
        judged(Policy::draft().allow_entities(["bob"]), "8.8.4.4"),
        "entity-not-allowed"
    );
    // Entities are written as the rule gives them.
    let policy = Policy::draft().deny_entities(["AROAEXAMPLE"]).check().unwrap();
    let session = Sighting {
        principal: Principal::aws(Some("AROAEXAMPLE:alice")),
        ..at("8.8.4.4", None)
    };
    assert_eq!(said(policy.judge(&session)), "entity-denied");
}

#[test]
fn all_that_is_wrong_is_said_at_once() {
    let error = Policy::draft()
        .since("2025-03-02T00:00:00Z".parse().unwrap())
        .until("2025-03-02T00:00:00Z".parse().unwrap())
        .allow_networks(["8.8.8.8/16", "2600::/16"])
        .deny_networks(["everything"])
        .allow_entities([""])
        .check()
        .unwrap_err();
    expect![[r#"
        the time window begins at 2025-03-02T00:00:00Z and ends at 2025-03-02T00:00:00Z, so nothing lies in it
        `8.8.8.8/16` has bits set after its prefix; the network is `8.8.0.0/16`
        `2600::/16` is not an IPv4 network; write it as `198.51.100.0/24`
        `everything` is not an IPv4 network; write it as `198.51.100.0/24`
        an empty entity is allowed; an entity has a name
    "#]]
    .assert_eq(&(error.problems.join("\n") + "\n"));
}

#[test]
fn rules_go_by_their_names() {
    for (name, rule) in PrincipalRule::NAMES {
        assert_eq!(
            (name.parse::<PrincipalRule>().unwrap(), rule.to_string()),
            (*rule, (*name).to_owned())
        );
    }
    expect!["`Role` is no principal rule; there are role, full, user-name, arn"]
        .assert_eq(&"Role".parse::<PrincipalRule>().unwrap_err().to_string());
}

proptest! {
    /// Against the library's word where it has one.
    #[test]
    fn ranges_are_those_of_the_standard_library(ip: Ipv4Addr) {
        let range = SpecialRange::of(ip);
        prop_assert_eq!(ip.is_private(), range == Some(SpecialRange::Private));
        prop_assert_eq!(ip.is_loopback(), range == Some(SpecialRange::Loopback));
        prop_assert_eq!(ip.is_link_local(), range == Some(SpecialRange::LinkLocal));
        prop_assert_eq!(ip.is_multicast(), range == Some(SpecialRange::Multicast));
        prop_assert_eq!(ip.is_documentation(), range == Some(SpecialRange::Documentation));
    }

    #[test]
    fn a_list_of_networks_is_its_networks(
        networks in prop::collection::vec((any::<[u8; 2]>(), 8_u8..=32), 1..12),
        probe in any::<[u8; 2]>(),
    ) {
        // Close together, so that they meet.
        let networks: Vec<ipnet::Ipv4Net> = networks
            .into_iter()
            .map(|([c, d], len)| ipnet::Ipv4Net::new([8, 8, c, d].into(), len).unwrap().trunc())
            .collect();
        let ip = Ipv4Addr::from([8, 8, probe[0], probe[1]]);
        let allowed = networks.iter().any(|network| network.contains(&ip));
        let texts = networks.iter().map(ToString::to_string);
        let expected = if allowed { format!("alice,{ip}") } else { "network-not-allowed".to_owned() };
        prop_assert_eq!(judged(Policy::draft().allow_networks(texts), &ip.to_string()), expected);
    }

    #[test]
    fn addresses_are_read_in_every_notation(ip: Ipv4Addr, port: u16, other: Ipv6Addr) {
        let keep = || Policy::draft().special(SpecialRule::Keep);
        let mapped = ip.to_ipv6_mapped();
        for text in [ip.to_string(), mapped.to_string(), format!("{ip}:{port}"), format!("[{mapped}]:{port}")] {
            prop_assert_eq!(judged(keep(), &text), format!("alice,{}", ip));
        }
        prop_assume!(other.to_ipv4_mapped().is_none());
        prop_assert_eq!(judged(keep(), &other.to_string()), "ipv6-address");
    }

    #[test]
    fn any_address_has_a_verdict(address: String, forwarded in 0..3_usize) {
        let rule = ForwardedRule::NAMES[forwarded].1;
        judged(Policy::draft().forwarded(rule), &address);
    }
}
