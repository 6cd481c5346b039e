//! Databases written here read back as they should, by the usual reader.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic as the tests do")]

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use geodata::Error;
use geodata::writer::Writer;
use ipnet::{IpNet, Ipv4Net};
use proptest::prelude::*;
use serde_json::{Value, json};

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

#[test]
fn values_of_every_size() {
    let long = |length: usize| "x".repeat(length);
    let record = json!({
        "texts": [long(0), long(1), long(28), long(29), long(30), long(284), long(285), long(286), long(65_820), long(65_821), long(70_000)],
        "numbers": [0, 1, 255, 256, 65_535, 65_536, u32::MAX, u64::from(u32::MAX) + 1, u64::MAX],
        "signed": [-1, -256, i32::MIN],
        "fractions": [48.8566, -0.5, 1e300],
        "flags": [true, false],
        "nested": { "list": [[], {}, [[1]]], long(300): "long key" },
        "é": "ü",
    });
    let mut writer = Writer::new("Test-Country");
    writer.insert(net("1.0.0.0/8"), &record).unwrap();
    let bytes = writer.to_bytes().unwrap();
    let reader = maxminddb::Reader::from_source(bytes).unwrap();
    reader.verify().unwrap();
    let read: Value = reader
        .lookup([1, 2, 3, 4].into())
        .unwrap()
        .decode()
        .unwrap()
        .unwrap();
    assert_eq!(read, record);
}

#[test]
fn equal_records_are_written_once() {
    let size = |records: [&str; 2]| {
        let mut writer = Writer::new("Test-Country");
        writer
            .insert(net("1.0.0.0/8"), &json!({ "a": records[0] }))
            .unwrap();
        writer
            .insert(net("2.0.0.0/8"), &json!({ "a": records[1] }))
            .unwrap();
        writer.to_bytes().unwrap().len()
    };
    assert_eq!(
        size(["same", "else"]) - size(["same", "same"]),
        "map, key, text ".len() - 7
    );
}

/// Texts, keys, maps and lists, in the same record and in others; not what is as short as a pointer.
#[test]
fn what_comes_again_is_a_pointer() {
    let names = json!({ "en": "Sweden", "de": "Schweden" });
    let records = [
        json!({ "country": { "iso_code": "SE", "names": names }, "list": [[1, "Sweden"], [1, "Sweden"]] }),
        json!({ "country": { "iso_code": "SE", "names": names }, "registered_country": { "iso_code": "SE", "names": names } }),
        json!({ "registered_country": "Schweden", "Schweden": names, "n": ["n"] }),
        names.clone(),
    ];
    let mut writer = Writer::new("Test-Country");
    for (index, record) in records.iter().enumerate() {
        writer
            .insert(net(&format!("{}.0.0.0/8", index + 1)), record)
            .unwrap();
    }
    let bytes = writer.to_bytes().unwrap();
    let reader = maxminddb::Reader::from_source(&bytes).unwrap();
    reader.verify().unwrap();
    for (index, record) in records.iter().enumerate() {
        let found = reader.lookup([index as u8 + 1, 0, 0, 1].into()).unwrap();
        assert_eq!(found.decode::<Value>().unwrap().as_ref(), Some(record));
    }
    let times = |text: &[u8]| bytes.windows(text.len()).filter(|window| *window == text).count();
    for text in ["Sweden", "Schweden", "registered_country", "names", "iso_code"] {
        assert_eq!(times(text.as_bytes()), 1, "{text}");
    }
    assert_eq!(times(b"\x41n\x01\x04\x41n"), 1, "the shortest are written again");
}

#[test]
fn overlaps_and_what_does_not_fit() {
    let mut writer = Writer::new("Test-Country");
    let record = json!({});
    writer.insert(net("10.0.0.0/16"), &record).unwrap();
    for network in ["10.0.0.0/16", "10.0.3.0/24", "10.0.0.0/8", "10.0.0.0/15"] {
        let error = writer.insert(net(network), &record).unwrap_err();
        assert!(
            matches!(error, Error::Overlap { network: n } if n == net(network)),
            "{error:?}"
        );
    }
    for (network, record) in [
        ("2a00::/12", json!({})),
        ("0.0.0.0/0", json!({})),
        ("11.0.0.0/8", json!(null)),
        ("11.0.0.0/8", json!([i64::from(i32::MIN) - 1])),
    ] {
        let error = writer.insert(net(network), &record).unwrap_err();
        assert!(matches!(error, Error::Unwritable { .. }), "{error:?}");
    }
    assert!(matches!(writer.alias_ipv4(), Err(Error::Unwritable { .. })));
    assert!(matches!(
        Writer::new_ipv6("Test-Country").alias_ipv4(),
        Err(Error::Unwritable { .. })
    ));
    writer.insert(net("11.0.0.0/8"), &record).unwrap();
}

/// Three nodes more and the data make it pass from one width of the tree's entries to the next.
#[test]
fn wide_trees() {
    let mut writer = Writer::new("Test-Country");
    let [x, y] = ["x", "y"].map(|letter| letter.repeat(16_000_000));
    writer.insert(net("1.0.0.0/8"), &json!({ "a": x })).unwrap();
    writer
        .insert(net("2.0.0.0/8"), &json!({ "a": y, "b": 1 }))
        .unwrap();
    writer.insert(net("3.0.0.0/8"), &json!({ "b": 2 })).unwrap();
    let reader = maxminddb::Reader::from_source(writer.to_bytes().unwrap()).unwrap();
    assert_eq!(reader.metadata().record_size, 28);
    let number = |first: u8| -> Option<u32> {
        reader
            .lookup([first, 0, 0, 0].into())
            .unwrap()
            .decode_path(&maxminddb::path!["b"])
            .unwrap()
    };
    assert_eq!(
        [number(1), number(2), number(3), number(4)],
        [None, Some(1), Some(2), None]
    );
}

/// Networks that do not overlap, each with a number.
fn networks() -> impl Strategy<Value = BTreeMap<Ipv4Net, u32>> {
    prop::collection::vec((any::<u32>(), 1..=32_u8, any::<u32>()), 0..60).prop_map(|drawn| {
        let mut networks = BTreeMap::<Ipv4Net, u32>::new();
        for (address, length, number) in drawn {
            let network = Ipv4Net::new(Ipv4Addr::from(address), length).unwrap().trunc();
            if networks
                .keys()
                .all(|other| !other.contains(&network) && !network.contains(other))
            {
                networks.insert(network, number);
            }
        }
        networks
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read(networks in networks(), ipv6: bool, probes in prop::collection::vec(any::<u32>(), 20)) {
        let mut writer = if ipv6 { Writer::new_ipv6("Test") } else { Writer::new("Test") };
        for (network, number) in &networks {
            writer.insert((*network).into(), &json!({ "n": number })).unwrap();
        }
        if ipv6 && !networks.is_empty() {
            writer.alias_ipv4().unwrap();
        }
        let reader = maxminddb::Reader::from_source(writer.to_bytes().unwrap()).unwrap();
        reader.verify().unwrap();
        let within = reader.within("0.0.0.0/0".parse().unwrap(), Default::default()).unwrap();
        let read: BTreeMap<Ipv4Net, u32> = within
            .map(|found| {
                let found = found.unwrap();
                let number = found.decode_path(&maxminddb::path!["n"]).unwrap().unwrap();
                (found.network().unwrap().to_string().parse().unwrap(), number)
            })
            .collect();
        prop_assert_eq!(&read, &networks);
        for probe in probes.into_iter().map(Ipv4Addr::from).chain(networks.keys().map(|n| n.broadcast())) {
            let expected = networks.iter().find(|(network, _)| network.contains(&probe)).map(|(_, number)| *number);
            let found = reader.lookup(probe.into()).unwrap();
            prop_assert_eq!(found.decode_path::<u32>(&maxminddb::path!["n"]).unwrap(), expected);
        }
    }

    #[test]
    fn the_same_networks_give_the_same_bytes(networks in networks()) {
        let bytes = || {
            let mut writer = Writer::new("Test");
            for (network, number) in &networks {
                writer.insert((*network).into(), &json!({ "n": number })).unwrap();
            }
            writer.to_bytes().unwrap()
        };
        prop_assert_eq!(bytes(), bytes());
    }
}
