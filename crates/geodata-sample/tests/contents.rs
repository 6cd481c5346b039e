//! What is in the committed file.

use std::collections::BTreeMap;
use std::net::IpAddr;

use expect_test::expect;
use maxminddb::{Reader, WithinOptions, geoip2};

#[test]
fn networks_and_records() {
    let reader = Reader::from_source(geodata_sample::DATABASE).unwrap();
    reader.verify().unwrap();
    let mut countries = BTreeMap::<String, (u64, u64)>::new();
    for found in reader.networks(WithinOptions::default()).unwrap() {
        let found = found.unwrap();
        let geoip2::Country {
            country,
            registered_country,
            continent,
            ..
        } = found.decode().unwrap().unwrap();
        assert_eq!(country.iso_code, registered_country.iso_code);
        let network = found.network().unwrap();
        assert!(matches!(network.ip(), IpAddr::V4(_)), "{network}");
        let key = format!(
            "{} {} {} ({})",
            country.iso_code.unwrap(),
            country.geoname_id.unwrap(),
            country.names.english.unwrap(),
            continent.code.unwrap(),
        );
        let (networks, addresses) = countries.entry(key).or_default();
        *networks += 1;
        *addresses += 1 << (32 - network.prefix());
    }
    let shown: String = countries
        .iter()
        .map(|(country, (networks, addresses))| {
            format!("{country}: {networks} networks, {addresses} addresses\n")
        })
        .collect();
    expect![[r#"
        AU 2077456 Australia (OC): 10000 networks, 49364707 addresses
        BR 3469034 Brazil (SA): 7708 networks, 83405729 addresses
        CA 6251999 Canada (NA): 10000 networks, 62704798 addresses
        DE 2921044 Germany (EU): 10000 networks, 18726843 addresses
        FR 3017382 France (EU): 10000 networks, 15109730 addresses
        GB 2635167 United Kingdom (EU): 10000 networks, 27776464 addresses
        IN 1269750 India (AS): 10000 networks, 47520044 addresses
        JP 1861060 Japan (AS): 10000 networks, 191082228 addresses
        NL 2750405 Netherlands (EU): 10000 networks, 18737064 addresses
        SG 1880251 Singapore (AS): 7406 networks, 22319733 addresses
        US 6252001 United States (NA): 10000 networks, 191389117 addresses
    "#]]
    .assert_eq(&shown);
}

#[test]
fn metadata() {
    let reader = Reader::from_source(geodata_sample::DATABASE).unwrap();
    let metadata = reader.metadata();
    assert_eq!(metadata.database_type, geodata_sample::DATABASE_TYPE);
    assert_eq!(metadata.description["en"], geodata_sample::ATTRIBUTION);
    // Thu, 25 Jun 2026 04:33:59 GMT, when the source was generated.
    assert_eq!((metadata.build_epoch, metadata.ip_version), (1_782_362_039, 4));
}

#[test]
fn it_stays_small() {
    assert!(
        geodata_sample::DATABASE.len() <= 2_000_000,
        "{} bytes",
        geodata_sample::DATABASE.len()
    );
}

#[test]
fn the_licence_and_its_source_are_named_wherever_one_looks() {
    let texts = [
        ("ATTRIBUTION", geodata_sample::ATTRIBUTION),
        ("ATTRIBUTION.md", include_str!("../ATTRIBUTION.md")),
        ("README.md", include_str!("../README.md")),
    ];
    for (name, text) in texts {
        for needed in [
            "IPFire",
            "https://location.ipfire.org/",
            "CC BY-SA 4.0",
            "https://creativecommons.org/licenses/by-sa/4.0/",
        ] {
            assert!(text.contains(needed), "{name} lacks `{needed}`");
        }
    }
    assert!(include_str!("../LICENSE").contains("Attribution-ShareAlike 4.0 International"));
    assert!(include_str!("../Cargo.toml").contains("license = \"CC-BY-SA-4.0\""));
}
