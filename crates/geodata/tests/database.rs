//! Databases of every kind: what is read of them, and what is said about those that cannot be.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic as the tests do")]

use std::error::Error as _;
use std::fmt::Write as _;
use std::path::Path;

use expect_test::{Expect, expect};
use geodata::writer::Writer;
use geodata::{Database, Error, SampleSpec, sample};
use serde_json::{Value, json};

fn country(code: &str, name: &str) -> Value {
    json!({ "iso_code": code, "names": { "de": "…", "en": name } })
}

fn located(code: &str, name: &str) -> Value {
    json!({ "country": country(code, name) })
}

fn written(mut writer: Writer, networks: &[(&str, Value)]) -> Database {
    for (network, record) in networks {
        writer.insert(network.parse().unwrap(), record).unwrap();
    }
    Database::from_bytes(writer.to_bytes().unwrap()).unwrap()
}

/// Walks the database and compares what is there; looks each network up as well.
fn check(database: &Database, expected: Expect) {
    let mut seen = String::new();
    for network in database.networks() {
        match network {
            Ok(network) => {
                let country = network
                    .country
                    .as_ref()
                    .map_or("none".to_owned(), ToString::to_string);
                writeln!(seen, "{} {country}", network.prefix).unwrap();
                assert_eq!(
                    database.lookup(network.prefix.network()).unwrap().as_ref(),
                    Some(&network)
                );
                assert_eq!(
                    database.lookup(network.prefix.broadcast()).unwrap().as_ref(),
                    Some(&network)
                );
            }
            Err(error) => writeln!(seen, "error: {}", chain(&error)).unwrap(),
        }
    }
    expected.assert_eq(&seen);
}

fn chain(error: &Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

fn check_error(error: Error, expected: Expect) {
    expected.assert_eq(&chain(&error));
}

#[test]
fn where_a_network_is_comes_before_where_it_is_registered() {
    let database = written(
        Writer::new("Test-Country"),
        &[
            (
                "1.0.0.0/24",
                json!({ "country": country("FR", "France"), "registered_country": country("US", "United States") }),
            ),
            (
                "1.0.1.0/24",
                json!({ "registered_country": country("US", "United States") }),
            ),
            (
                "1.0.2.0/24",
                json!({ "country": { "names": { "en": "Somewhere" } }, "registered_country": country("us", "United States") }),
            ),
            ("1.0.3.0/24", json!({ "continent": { "code": "EU" } })),
            ("1.0.4.0/24", json!({})),
            (
                "1.0.5.0/24",
                json!({ "represented_country": country("DE", "Germany") }),
            ),
        ],
    );
    check(
        &database,
        expect![[r#"
        1.0.0.0/24 France (FR)
        1.0.1.0/24 United States (US)
        1.0.2.0/24 United States (US)
        1.0.3.0/24 none
        1.0.4.0/24 none
        1.0.5.0/24 none
    "#]],
    );
}

#[test]
fn a_country_without_an_english_name_goes_by_its_code() {
    let database = written(
        Writer::new("Test-Country"),
        &[
            ("1.0.0.0/24", json!({ "country": { "iso_code": "FR" } })),
            (
                "1.0.1.0/24",
                json!({ "country": { "iso_code": "DE", "names": { "de": "Deutschland" } } }),
            ),
            (
                "1.0.2.0/24",
                json!({ "country": { "iso_code": "GB", "names": { "en": "" } } }),
            ),
        ],
    );
    check(
        &database,
        expect![[r#"
        1.0.0.0/24 FR (FR)
        1.0.1.0/24 DE (DE)
        1.0.2.0/24 GB (GB)
    "#]],
    );
}

#[test]
fn city_records() {
    let record = json!({
        "city": { "geoname_id": 2_988_507, "names": { "en": "Paris" } },
        "country": country("FR", "France"),
        "location": { "time_zone": "Europe/Paris", "accuracy_radius": 20 },
        "subdivisions": [{ "iso_code": "IDF" }, { "iso_code": "75" }],
        "is_anycast": true,
    });
    check(
        &written(Writer::new("GeoLite2-City"), &[("1.0.0.0/24", record)]),
        expect![[r#"
            1.0.0.0/24 France (FR)
        "#]],
    );
}

#[test]
fn of_an_ipv6_tree_the_ipv4_networks_once() {
    let mut writer = Writer::new_ipv6("GeoLite2-Country");
    for (network, record) in [
        ("1.0.0.0/24", located("FR", "France")),
        ("255.255.255.255/32", located("DE", "Germany")),
        ("2a00::/12", located("DE", "Germany")),
        ("2001:200::/32", located("JP", "Japan")),
        ("64:ff9b::/96", located("JP", "Japan")),
    ] {
        writer.insert(network.parse().unwrap(), &record).unwrap();
    }
    writer.alias_ipv4().unwrap();
    let bytes = writer.to_bytes().unwrap();

    // The aliases are there.
    let reader = maxminddb::Reader::from_source(&bytes).unwrap();
    for alias in ["::ffff:1.0.0.9", "2002:100:9::1", "2001:0:100:9::"] {
        let found = reader.lookup(alias.parse().unwrap()).unwrap();
        assert_eq!(
            found
                .decode_path(&maxminddb::path!["country", "iso_code"])
                .unwrap(),
            Some("FR"),
            "{alias}"
        );
    }

    let database = Database::from_bytes(bytes).unwrap();
    check(
        &database,
        expect![[r#"
        1.0.0.0/24 France (FR)
        255.255.255.255/32 Germany (DE)
    "#]],
    );
    assert_eq!(database.ipv6_networks().unwrap(), 3);
    assert_eq!(database.lookup([1, 0, 1, 0].into()).unwrap(), None);
}

#[test]
fn an_ipv6_tree_without_ipv4_networks() {
    let french = ("2a00::/12", located("FR", "France"));
    // Where the IPv4 networks would be, and half the world beside.
    let german = ("::/3", located("DE", "Germany"));
    for networks in [vec![french.clone()], vec![german, french]] {
        let database = written(Writer::new_ipv6("GeoLite2-Country"), &networks);
        assert_eq!(database.networks().count(), 0, "{networks:?}");
        assert_eq!(
            database.lookup([1, 2, 3, 4].into()).unwrap(),
            None,
            "{networks:?}"
        );
        assert_eq!(database.ipv6_networks().unwrap(), networks.len() as u64);
    }
}

#[test]
fn a_sample_counts_what_it_skips() {
    let mut writer = Writer::new_ipv6("GeoLite2-Country").build_epoch(1_700_000_000);
    for (network, record) in [
        ("1.0.0.0/24", located("FR", "France")),
        ("2.0.0.0/24", located("DE", "Germany")),
        ("2.0.1.0/24", located("DE", "Germany")),
        ("3.0.0.0/24", json!({})),
        ("2a00::/12", located("FR", "France")),
    ] {
        writer.insert(network.parse().unwrap(), &record).unwrap();
    }
    writer.alias_ipv4().unwrap();
    let database = Database::from_bytes(writer.to_bytes().unwrap()).unwrap();
    let spec = SampleSpec::default()
        .countries(["FR"])
        .training_rows(1)
        .held_out_rows(0)
        .outliers(0)
        .evaluation_outliers(0)
        .check()
        .unwrap();
    let manifest = sample(&database, &spec, 0).unwrap().manifest;
    let skipped: String = manifest
        .skipped
        .iter()
        .map(|skipped| format!("{} {}\n", skipped.networks, skipped.reason))
        .collect();
    expect![[r#"
        1 networks whose record names no country
        2 networks of countries that were not asked for
        1 IPv6 networks, which the algorithm does not know
    "#]]
    .assert_eq(&skipped);
    assert_eq!(manifest.database.built.as_deref(), Some("2023-11-14T22:13:20Z"));
}

#[test]
fn the_draw_does_not_depend_on_what_else_is_in_the_database() {
    let french = [
        ("5.0.0.0/24", located("FR", "France")),
        ("1.0.0.0/24", located("FR", "France")),
    ];
    let others = [
        ("2a00::/12", located("FR", "France")),
        ("2.0.0.0/24", located("DE", "Germany")),
    ];
    let spec = SampleSpec::default()
        .countries(["FR"])
        .training_rows(1)
        .held_out_rows(1)
        .outliers(0)
        .evaluation_outliers(0);
    let spec = spec.check().unwrap();
    let alone = written(Writer::new("Test-Country"), &french);
    let among = written(Writer::new_ipv6("Test-City"), &[others, french].concat());
    for seed in 0..20 {
        let (alone, among) = (
            sample(&alone, &spec, seed).unwrap(),
            sample(&among, &spec, seed).unwrap(),
        );
        assert_eq!((alone.train, alone.validation), (among.train, among.validation));
    }
}

#[test]
fn countries_are_counted() {
    let database = Database::from_bytes(geodata_sample::DATABASE).unwrap();
    let countries = database.countries().unwrap();
    let counted: String = countries
        .iter()
        .map(|c| format!("{} {}\n", c.country.code, c.networks))
        .collect();
    expect![[r#"
        AU 10000
        BR 7708
        CA 10000
        DE 10000
        FR 10000
        GB 10000
        IN 10000
        JP 10000
        NL 10000
        SG 7406
        US 10000
    "#]]
    .assert_eq(&counted);
}

#[test]
fn metadata_of_the_built_in_sample() {
    let database = Database::from_bytes(geodata_sample::DATABASE).unwrap();
    let metadata = database.metadata();
    assert_eq!(metadata.database_type, geodata_sample::DATABASE_TYPE);
    assert_eq!(metadata.attribution.as_deref(), Some(geodata_sample::ATTRIBUTION));
    assert_eq!(
        (metadata.build_epoch, metadata.built.as_deref()),
        (Some(1_782_362_039), Some("2026-06-25T04:33:59Z"))
    );
}

#[test]
fn attributions() {
    let attribution = |kind: &str, description: &str| {
        let writer = Writer::new(kind).description(description);
        Database::from_bytes(writer.to_bytes().unwrap())
            .unwrap()
            .metadata()
            .attribution
            .clone()
    };
    expect![
        "This product includes GeoLite2 Data created by MaxMind, available from https://www.maxmind.com."
    ]
    .assert_eq(&attribution("GeoLite2-City", "GeoLite2 City database").unwrap());
    expect!["IP Geolocation by DB-IP, https://db-ip.com."]
        .assert_eq(&attribution("DBIP-Country-Lite", "x").unwrap());
    assert_eq!(attribution("GeoIP2-City", "GeoIP2 City database"), None);
    assert_eq!(
        attribution("My-Country", "Made by me, CC0").as_deref(),
        Some("Made by me, CC0")
    );
}

#[test]
fn files_that_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let opened = |path: &Path| Database::open(path).unwrap_err();
    let error = opened(&folder.path().join("none.mmdb"));
    assert!(
        matches!(&error, Error::Open { source, .. } if source.kind() == std::io::ErrorKind::NotFound),
        "{error:?}"
    );
    assert!(error.to_string().ends_with("none.mmdb`"), "{error}");
    assert!(matches!(opened(folder.path()), Error::NotADatabase { .. }));
}

#[test]
fn files_that_are_something_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("f");
    let error = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        chain(&Database::open(&path).unwrap_err()).replace(&path.display().to_string(), "FILE")
    };
    expect!["the database `FILE` is not a MaxMind database: it is empty"].assert_eq(&error(b""));
    expect!["the database `FILE` is an archive that cannot be used; get it again: invalid gzip header (after 10 bytes, 0 unpacked)"]
        .assert_eq(&error(b"\x1f\x8b\x08 and so on"));
    expect!["the database `FILE` is an archive that cannot be used; get it again: its directory, at the end of a zip archive, is missing"].assert_eq(&error(b"PK\x03\x04 and so on"));
    expect!["the database `FILE` is not a MaxMind database: it is one of the CSV files; give their folder, or the zip archive that they came in"]
    .assert_eq(&error(b"network,geoname_id\n1.0.0.0/24,2077456\n"));
    let sample = geodata_sample::DATABASE;
    expect![
        "the database `FILE` is not a MaxMind database: its metadata is missing; give the `.mmdb` file, whole"
    ]
    .assert_eq(&error(&sample[..sample.len() / 2]));
    expect!["the database `FILE` is damaged; get it again: 299066 nodes take 1794396 bytes, and before the metadata there are 897300, in the metadata at byte 897314"].assert_eq(&error(&sample[sample.len() / 2..]));
}

#[test]
fn databases_of_something_else() {
    for kind in ["GeoLite2-ASN", "GeoIP2-ISP", "GeoIP2-Anonymous-IP"] {
        let error = Database::from_bytes(Writer::new(kind).to_bytes().unwrap()).unwrap_err();
        assert!(
            matches!(&error, Error::WrongType { database_type, .. } if database_type == kind),
            "{error:?}"
        );
    }
    check_error(
        Database::from_bytes(Writer::new("GeoLite2-ASN").to_bytes().unwrap()).unwrap_err(),
        expect![
            "the database is of the type `GeoLite2-ASN`; a GeoLite2-Country or GeoLite2-City database is needed"
        ],
    );
    for kind in [
        "GeoLite2-Country",
        "GeoIP2-City-North-America",
        "GeoIP2-Enterprise",
        "DBIP-City-Lite",
        "my country",
    ] {
        Database::from_bytes(Writer::new(kind).to_bytes().unwrap()).unwrap();
    }
}

#[test]
fn records_of_another_form() {
    let first = |record: Value| {
        let database = written(Writer::new("ipinfo country.mmdb"), &[("1.0.0.0/24", record)]);
        let walked: Vec<_> = database.networks().collect();
        assert_eq!(walked.len(), 1);
        let looked_up = database.lookup([1, 0, 0, 0].into()).unwrap_err();
        let walked = walked.into_iter().next().unwrap().unwrap_err();
        assert_eq!(chain(&walked), chain(&looked_up));
        walked
    };
    check_error(
        first(json!({ "country": "FR", "country_name": "France" })),
        expect![
            "the database has a record for 1.0.0.0/24 that is not of GeoLite2's form; it is damaged or of another make: a text where a map is expected at byte 169"
        ],
    );
    check_error(
        first(json!({ "country": { "iso_code": "FRA" } })),
        expect![
            "the database has a record for 1.0.0.0/24 that is not of GeoLite2's form; it is damaged or of another make: `FRA` is not a country code of two letters at byte 179"
        ],
    );
    check_error(
        first(json!({ "country": { "iso_code": 250 } })),
        expect![
            "the database has a record for 1.0.0.0/24 that is not of GeoLite2's form; it is damaged or of another make: a number where a text is expected at byte 179"
        ],
    );
    check_error(
        first(json!("FR")),
        expect![
            "the database has a record for 1.0.0.0/24 that is not of GeoLite2's form; it is damaged or of another make: a text where a map is expected at byte 160"
        ],
    );
}

#[test]
fn a_build_time_beyond_all_calendars() {
    let bytes = Writer::new("Test-Country")
        .build_epoch(u64::MAX / 2)
        .to_bytes()
        .unwrap();
    check_error(
        Database::from_bytes(bytes).unwrap_err(),
        expect!["the database is damaged; get it again: build time 9223372036854775807 is out of all bounds"],
    );
}

/// Both branches of every node lead to the next: 2^32 networks from 32 nodes.
#[test]
fn a_tree_that_is_a_web_does_not_keep_the_walk_for_ever() {
    let mut bytes = Writer::new("Test-Country");
    bytes
        .insert("0.0.0.0/32".parse().unwrap(), &located("FR", "France"))
        .unwrap();
    let mut bytes = bytes.to_bytes().unwrap();
    for node in 0..32 {
        let left: [u8; 3] = bytes[6 * node..6 * node + 3].try_into().unwrap();
        bytes[6 * node + 3..6 * node + 6].copy_from_slice(&left);
    }
    let database = Database::from_bytes(bytes).unwrap();
    let mut walked: Vec<_> = database.networks().collect();
    assert_eq!(walked.len(), 3);
    check_error(
        walked.pop().unwrap().unwrap_err(),
        expect![
            "the database is damaged; get it again: the search tree is not a tree: several ways lead to node 31 or others"
        ],
    );
}

#[test]
fn which_country_counts_is_a_choice() {
    use geodata::{CountrySource, OpenOptions};

    let record = json!({
        "country": country("FR", "France"),
        "registered_country": country("US", "United States"),
        "represented_country": country("DE", "Germany"),
    });
    let mut writer = Writer::new("Test-Country");
    writer.insert("1.0.0.0/24".parse().unwrap(), &record).unwrap();
    let bytes = writer.to_bytes().unwrap();
    let first = |sources: &[&str]| {
        let sources = sources
            .iter()
            .map(|source| source.parse::<CountrySource>().unwrap());
        let options = OpenOptions::default().country_from(sources);
        let database = Database::from_bytes_with(bytes.clone(), &options).unwrap();
        let network = database.networks().next().unwrap().unwrap();
        network
            .country
            .map_or("none".to_owned(), |country| country.code.to_string())
    };
    assert_eq!(first(&["located", "registered"]), "FR");
    assert_eq!(first(&["Registered", "located"]), "US");
    assert_eq!(first(&["represented"]), "DE");
    assert_eq!(first(&[]), "none");
    assert_eq!(
        "origin".parse::<CountrySource>().unwrap_err().to_string(),
        "`origin` is none of `located`, `registered`, `represented`"
    );
}
