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

/// A database whose records have pointers to a name, a map and a key at these distances from the beginning of the data.
fn with_pointers(distance: usize) -> Vec<u8> {
    let mut writer = Writer::new("Test-Country");
    let filler = json!({ "filler": "x".repeat(distance) });
    writer.insert("1.0.0.0/8".parse().unwrap(), &filler).unwrap();
    let country = |code: &str| json!({ "iso_code": code, "names": { "en": format!("Land of {code}") } });
    for (network, record) in [
        ("2.0.0.0/8", json!({ "country": country("FR") })),
        (
            "3.0.0.0/8",
            json!({ "country": country("DE"), "registered_country": country("FR") }),
        ),
        (
            "4.0.0.0/8",
            json!({ "country": country("DE"), "represented_country": country("FR") }),
        ),
        (
            "5.0.0.0/8",
            json!({ "country": { "iso_code": "US", "names": { "en": "Land of FR" } } }),
        ),
    ] {
        writer.insert(network.parse().unwrap(), &record).unwrap();
    }
    writer.to_bytes().unwrap()
}

/// Each size begins where the one before it ends; pointers of four bytes begin at 134,744,064, and are made by hand below.
#[test]
fn of_pointers_of_all_sizes_but_the_longest() {
    for distance in [10, 1900, 3000, 500_000, 526_200, 600_000] {
        let bytes = with_pointers(distance);
        let read = theirs(&bytes).0;
        let expected = [
            "1.0.0.0/8 -",
            "2.0.0.0/8 FR",
            "3.0.0.0/8 DE",
            "4.0.0.0/8 DE",
            "5.0.0.0/8 US",
        ];
        assert_eq!(read, expected, "{distance}");
        assert_eq!(ours(&bytes).0, read, "{distance}");
        let database = Database::from_bytes(bytes).unwrap();
        let found = |first: u8| {
            let network = database.lookup([first, 0, 0, 1].into()).unwrap().unwrap();
            network.country.map(|country| country.to_string())
        };
        assert_eq!(
            [2, 3, 4, 5].map(|first| found(first).unwrap()),
            [
                "Land of FR (FR)",
                "Land of DE (DE)",
                "Land of DE (DE)",
                "Land of FR (US)"
            ]
        );
    }
}

/// They can lead anywhere. One takes the place of a text of five bytes, its head among them.
#[test]
fn of_pointers_of_four_bytes() {
    let place = |bytes: &[u8], what: &[u8]| bytes.windows(what.len()).position(|window| window == what);
    let mut writer = Writer::new("Test-Country");
    writer
        .insert(
            "1.0.0.0/8".parse().unwrap(),
            &json!({ "country": { "iso_code": "FR" } }),
        )
        .unwrap();
    writer
        .insert("2.0.0.0/8".parse().unwrap(), &json!({ "country": "HERE" }))
        .unwrap();
    let mut bytes = writer.to_bytes().unwrap();
    let start = place(&bytes, b"\x47country").unwrap() - 1;
    let map = place(&bytes, b"\xe1\x48iso_code").unwrap() - start;
    let here = place(&bytes, b"\x44HERE").unwrap();
    bytes[here] = 0x38;
    bytes[here + 1..here + 5].copy_from_slice(&(map as u32).to_be_bytes());
    let read = theirs(&bytes).0;
    assert_eq!(read, ["1.0.0.0/8 FR", "2.0.0.0/8 FR"]);
    assert_eq!(ours(&bytes).0, read);
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
#[test]
fn zz() {
    let bytes = with_pointers(10);
    std::fs::write("/tmp/zz.mmdb", &bytes).unwrap();
    println!("{:?} {:?}", ours(&bytes), theirs(&bytes));
    let r = Reader::from_source(&bytes).unwrap();
    let v: Option<serde_json::Value> = r.lookup([4, 0, 0, 1].into()).unwrap().decode().unwrap();
    println!("{v:?}");
}
