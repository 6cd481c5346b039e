//! Our reader against the crate `maxminddb`: the same networks with the same records.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic as the tests do")]

use geodata::Database;
use geodata::writer::Writer;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use maxminddb::{Reader, WithinOptions, path};
use proptest::prelude::*;
use serde_json::json;

/// What the other reader says, as `network code`.
fn theirs(bytes: &[u8]) -> (Vec<String>, u64) {
    let reader = Reader::from_source(bytes).unwrap();
    let (mut ipv4, mut ipv6) = (Vec::new(), 0);
    for found in reader.networks(WithinOptions::default()).unwrap() {
        let found = found.unwrap();
        let network = found.network().unwrap();
        if network.is_ipv6() {
            ipv6 += 1;
            continue;
        }
        let code: Option<&str> = found.decode_path(&path!["country", "iso_code"]).unwrap();
        ipv4.push(format!("{network} {}", code.unwrap_or("-")));
    }
    (ipv4, ipv6)
}

fn ours(bytes: &[u8]) -> (Vec<String>, u64) {
    let database = Database::from_bytes(bytes.to_vec()).unwrap();
    let ipv4 = database.networks().map(|network| {
        let network = network.unwrap();
        let code = network
            .country
            .map_or("-".to_owned(), |country| country.code.to_string());
        format!("{} {code}", network.prefix)
    });
    (ipv4.collect(), database.ipv6_networks().unwrap())
}

#[test]
fn of_the_built_in_sample() {
    assert_eq!(ours(geodata_sample::DATABASE), theirs(geodata_sample::DATABASE));
}

fn network() -> impl Strategy<Value = IpNet> {
    let ipv4 =
        (any::<u32>(), 1..=32_u8).prop_map(|(ip, len)| Ipv4Net::new(ip.into(), len).unwrap().trunc().into());
    let ipv6 = (any::<u128>(), 1..=128_u8)
        .prop_map(|(ip, len)| Ipv6Net::new(ip.into(), len).unwrap().trunc().into());
    prop_oneof![3 => ipv4, 1 => ipv6]
}

proptest! {
    #[test]
    fn of_random_trees(networks in prop::collection::vec((network(), 0..5_usize), 1..60), is_ipv6: bool, padding in 0..3_usize) {
        let mut writer = if is_ipv6 { Writer::new_ipv6("Test-Country") } else { Writer::new("Test-Country") };
        // Data enough for pointers of 28 and 32 bits would take minutes; those sizes are tested where the tree is made.
        let filler = "x".repeat(padding * 400);
        for (number, (network, code)) in networks.into_iter().enumerate() {
            let mut record = json!({ "filler": filler });
            if let Some(code) = ["FR", "DE", "US", "SG"].get(code) {
                record["country"] = json!({ "iso_code": code, "names": { "en": filler } });
            }
            if matches!(network, IpNet::V6(network) if network.contains(&Ipv6Net::default().network())) {
                // See `of_a_record_that_holds_all_of_ipv4`.
                record["own"] = number.into();
            }
            // Overlaps are refused, and IPv6 where there is none.
            let _ = writer.insert(network, &record);
        }
        let _ = writer.alias_ipv4();
        let bytes = writer.to_bytes().unwrap();
        prop_assert_eq!(ours(&bytes), theirs(&bytes));
    }
}

/// A network of IPv6 in which those of IPv4 would lie, and another one with the same record. The other reader takes the second for an
/// alias of the first and leaves it out; to us both are networks of IPv6.
#[test]
fn of_a_record_that_holds_all_of_ipv4() {
    let with = |records: [&str; 2]| {
        let mut writer = Writer::new_ipv6("Test-Country");
        for (network, code) in ["::/1", "8000::/1"].into_iter().zip(records) {
            let record = json!({ "country": { "iso_code": code } });
            writer.insert(network.parse().unwrap(), &record).unwrap();
        }
        let bytes = writer.to_bytes().unwrap();
        (ours(&bytes), theirs(&bytes))
    };
    assert_eq!(with(["DE", "DE"]), ((vec![], 2), (vec![], 1)));
    assert_eq!(with(["DE", "FR"]), ((vec![], 2), (vec![], 2)));
}

/// Pointers of 28 bits, of which the highest four share a byte.
#[test]
fn of_a_tree_of_28_bits() {
    let mut writer = Writer::new("Test-Country");
    let filler = json!({ "filler": "x".repeat(16_800_000) });
    writer.insert("1.0.0.0/8".parse().unwrap(), &filler).unwrap();
    for (network, code) in [("2.0.0.0/8", "FR"), ("3.0.0.0/8", "DE")] {
        let record = json!({ "country": { "iso_code": code } });
        writer.insert(network.parse().unwrap(), &record).unwrap();
    }
    let bytes = writer.to_bytes().unwrap();
    assert_eq!(Reader::from_source(&bytes).unwrap().metadata().record_size, 28);
    let (networks, _) = ours(&bytes);
    assert_eq!(networks, ["1.0.0.0/8 -", "2.0.0.0/8 FR", "3.0.0.0/8 DE"]);
    assert_eq!(networks, theirs(&bytes).0);
}

/// Our writer has no use for pointers of 32 bits below 256 MB, so a tree is made wider here.
#[test]
fn of_a_tree_of_32_bits() {
    let bytes = geodata_sample::DATABASE;
    let nodes = Reader::from_source(bytes).unwrap().metadata().node_count as usize;
    let mut wide = Vec::new();
    for record in bytes[..6 * nodes].chunks_exact(3) {
        wide.push(0);
        wide.extend_from_slice(record);
    }
    wide.extend_from_slice(&bytes[6 * nodes..]);
    let size = b"record_size\xa1\x18";
    let at = wide
        .windows(size.len())
        .rposition(|window| window == size)
        .unwrap();
    wide[at + size.len() - 1] = 32;
    assert_eq!(Reader::from_source(&wide).unwrap().metadata().record_size, 32);
    assert_eq!(ours(&wide), ours(bytes));
    assert_eq!(ours(&wide), theirs(&wide));
}
