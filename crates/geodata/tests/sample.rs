//! Samples drawn from the built-in database.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic as the tests do")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::LazyLock;

use access_events::AccessEvent;
use expect_test::{Expect, expect};
use geodata::{CheckedSpec, Database, Error, Manifest, Sample, SampleSpec, sample};
use proptest::prelude::*;

static DATABASE: LazyLock<Database> =
    LazyLock::new(|| Database::from_bytes(geodata_sample::DATABASE).unwrap());

fn draw(spec: SampleSpec, seed: u64) -> Sample {
    sample(&DATABASE, &spec.check().unwrap(), seed).unwrap()
}

fn check_error(spec: SampleSpec, expected: Expect) {
    let error = sample(&DATABASE, &spec.check().unwrap(), 0).unwrap_err();
    expected.assert_eq(&error.to_string());
}

fn code_of(ip: Ipv4Addr) -> String {
    let network = DATABASE.lookup(ip).unwrap().unwrap();
    assert_eq!(
        network.prefix.network(),
        ip,
        "not the first address of {}",
        network.prefix
    );
    network.country.unwrap().code.to_string()
}

#[test]
fn the_default_is_the_published_experiment_with_rows_held_out() {
    let sample = draw(SampleSpec::default(), 7);
    let count = |rows: &[AccessEvent]| {
        let mut counts = BTreeMap::new();
        for row in rows {
            *counts.entry((row.entity.clone(), code_of(row.ip))).or_insert(0) += 1;
        }
        counts
            .into_iter()
            .map(|((entity, code), n)| format!("{n} {entity} from {code}\n"))
            .collect::<String>()
    };
    let in_country = expect![[r#"
        50 Canada from CA
        50 France from FR
        50 Germany from DE
        50 United Kingdom from GB
        50 United States from US
    "#]];
    in_country.assert_eq(&count(&sample.train));
    assert_eq!(count(&sample.validation), count(&sample.train));
    expect![[r#"
        1 Canada from SG
        1 France from SG
        1 Germany from SG
        1 United Kingdom from SG
        1 United States from SG
    "#]]
    .assert_eq(&count(&sample.test));
    expect![[r#"
        50 Canada from SG
        50 France from SG
        50 Germany from SG
        50 United Kingdom from SG
        50 United States from SG
    "#]]
    .assert_eq(&count(&sample.evaluation));
}

#[test]
fn outliers_are_tagged_with_the_countries_in_turn() {
    let tags = |rows: &[AccessEvent]| rows.iter().map(|row| row.entity.clone()).collect::<Vec<_>>();
    let sample = draw(
        SampleSpec::default()
            .countries(["japan", "BR"])
            .outliers(3)
            .evaluation_outliers(2),
        0,
    );
    assert_eq!(tags(&sample.test), ["Japan", "Brazil", "Japan"]);
    assert_eq!(tags(&sample.evaluation), ["Japan", "Brazil"]);
}

#[test]
fn files_of_a_small_sample() {
    let spec = SampleSpec::default()
        .countries(["FR", "CA"])
        .training_rows(2)
        .held_out_rows(1)
        .outliers(2)
        .evaluation_outliers(1);
    let files = draw(spec, 1).files().unwrap();
    let shown: String = files
        .iter()
        .map(|file| format!("--- {}\n{}", file.name, str::from_utf8(&file.bytes).unwrap()))
        .collect();
    expect![[r#"
        --- train.csv
        Canada,85.206.168.32
        France,89.127.252.0
        Canada,205.210.144.0
        France,178.33.213.160
        --- validation.csv
        France,5.196.156.240
        Canada,23.128.232.0
        --- test.csv
        France,203.208.190.40
        Canada,103.92.16.0
        --- evaluation.csv
        France,45.87.132.16
        --- manifest.json
        {
          "version": 2,
          "written_by": "geodata 0.1.0",
          "database": {
            "database_type": "IPFire-Country-Sample",
            "built": "2026-06-25T04:33:59Z",
            "form": "mmdb",
            "sha256": "672f03cacf8eb342d08c7da5639014fb34ea093927a42d3f4b70677e1f93b458",
            "country_from": [
              "located",
              "registered"
            ],
            "language": null,
            "attribution": "Sample of the IPFire Location database (https://location.ipfire.org/), IPv4 networks of 11 countries, by way of Debian's tor-geoipdb; CC BY-SA 4.0 (https://creativecommons.org/licenses/by-sa/4.0/)."
          },
          "seed": 1,
          "spec": {
            "countries": [
              "FR",
              "CA"
            ],
            "training_rows": 2,
            "held_out_rows": 1,
            "control_rows": 0,
            "outlier_country": "SG",
            "outliers": 2,
            "evaluation_outliers": 1,
            "draw_by": "network",
            "row_address": "first",
            "disjoint": null,
            "allow_fewer": false
          },
          "countries": [
            {
              "code": "FR",
              "name": "France",
              "networks": 10000,
              "train": 2,
              "validation": 1,
              "control": 0
            },
            {
              "code": "CA",
              "name": "Canada",
              "networks": 10000,
              "train": 2,
              "validation": 1,
              "control": 0
            }
          ],
          "outliers": {
            "code": "SG",
            "name": "Singapore",
            "networks": 7406,
            "test": 2,
            "evaluation": 1
          },
          "shortages": [],
          "test_rows": "database",
          "skipped": [
            {
              "reason": "no-country",
              "networks": 0
            },
            {
              "reason": "other-country",
              "networks": 77708
            },
            {
              "reason": "ipv6",
              "networks": 0
            }
          ],
          "files": [
            {
              "name": "train.csv",
              "rows": 4,
              "sha256": "e922ffa3501d2b8a6a49c9db13f5b044748061f5f0c10ce94aaa799f0304f64c"
            },
            {
              "name": "validation.csv",
              "rows": 2,
              "sha256": "1ea46d57fe96adb0165b71cadea0af664e05be7c46c77d4b14f6a0c13b57bab7"
            },
            {
              "name": "test.csv",
              "rows": 2,
              "sha256": "5394e4a4338ba8819493fbaa24219e6caff6ce65cd5e54e628bf92c6aca69dfb"
            },
            {
              "name": "evaluation.csv",
              "rows": 1,
              "sha256": "993254a5f52576cab6777937b07c19d24ee52bbb1065c0e9aa3b7c13f798f980"
            }
          ]
        }
    "#]].assert_eq(&shown);
}

#[test]
fn the_manifest_reads_back() {
    let sample = draw(SampleSpec::default(), u64::MAX);
    let json = &sample.files().unwrap()[4].bytes;
    assert_eq!(serde_json::from_slice::<Manifest>(json).unwrap(), sample.manifest);
}

#[test]
fn countries_go_by_code_or_name_in_capitals_or_not() {
    let of = |country: &str| draw(SampleSpec::default().countries([country]), 3).train;
    let expected = of("GB");
    for country in ["gb", "United Kingdom", "UNITED KINGDOM", " united kingdom "] {
        assert_eq!(of(country), expected, "{country}");
    }
}

#[test]
fn unknown_countries() {
    check_error(
        SampleSpec::default().countries(["UK"]),
        expect![
            "unknown country `UK` (did you mean `GB`, United Kingdom?); the database IPFire-Country-Sample has AU, BR, CA, DE, FR, GB, IN, JP, NL, SG, US"
        ],
    );
    check_error(
        SampleSpec::default().countries(["US", "Germny", "ES", "Spain"]),
        expect![
            "unknown countries `Germny` (did you mean `DE`, Germany?), `ES`, `Spain`; the database IPFire-Country-Sample has AU, BR, CA, DE, FR, GB, IN, JP, NL, SG, US"
        ],
    );
    check_error(
        SampleSpec::default()
            .countries(["US"])
            .outlier_country("Singapoor"),
        expect![
            "unknown country `Singapoor` (did you mean `SG`, Singapore?); the database IPFire-Country-Sample has AU, BR, CA, DE, FR, GB, IN, JP, NL, SG, US"
        ],
    );
    check_error(
        SampleSpec::default().countries(["QQQQ"]),
        expect![
            "unknown country `QQQQ`; the database IPFire-Country-Sample has AU, BR, CA, DE, FR, GB, IN, JP, NL, SG, US"
        ],
    );
}

#[test]
fn the_outliers_country_may_be_unknown_when_there_are_none() {
    let spec = SampleSpec::default()
        .outlier_country("ES")
        .outliers(0)
        .evaluation_outliers(0);
    let sample = draw(spec, 0);
    assert_eq!((sample.test.len(), sample.evaluation.len()), (0, 0));
    assert_eq!(sample.manifest.outliers, None);
}

#[test]
fn one_country_by_two_names() {
    check_error(
        SampleSpec::default().countries(["US", "united states"]),
        expect!["`US` and `united states` are both United States (US); name it once"],
    );
    check_error(
        SampleSpec::default()
            .countries(["US"])
            .outlier_country("United States"),
        expect!["`US` and `United States` are both United States (US); name it once"],
    );
}

#[test]
fn too_few_networks() {
    check_error(
        SampleSpec::default().countries(["BR", "US"]).training_rows(9_990),
        expect![
            "Brazil (BR) has 7708 networks in the database, and the sample asks for 10040; United States (US) has 10000 networks in the database, and the sample asks for 10040; ask for fewer rows, allow fewer, or take a larger database"
        ],
    );
    check_error(
        SampleSpec::default().evaluation_outliers(7_402),
        expect![
            "Singapore (SG) has 7406 networks in the database, and the sample asks for 7407; ask for fewer rows, allow fewer, or take a larger database"
        ],
    );
}

#[test]
fn every_network_of_a_country_can_be_drawn() {
    let sample = draw(SampleSpec::default().evaluation_outliers(7_401), 0);
    let drawn: BTreeSet<_> = sample
        .test
        .iter()
        .chain(&sample.evaluation)
        .map(|row| row.ip)
        .collect();
    assert_eq!(drawn.len(), 7_406);
}

#[test]
fn specs_that_make_no_sense() {
    fn check(spec: SampleSpec, expected: Expect) {
        expected.assert_eq(&spec.check().unwrap_err().to_string());
    }
    check(
        SampleSpec::default().countries([""; 0]),
        expect!["no country to sample; name at least one"],
    );
    check(
        SampleSpec::default()
            .countries(["US", " ", "us", "SG"])
            .training_rows(0)
            .outliers(usize::MAX),
        expect![
            "a country with an empty name; the country `us` is named twice; the outliers' country `SG` is one of the countries to train on; training rows per country must be at least 1, got 0; outliers must be at most 1000000, got 18446744073709551615"
        ],
    );
    check(
        SampleSpec::default().outlier_country(""),
        expect!["a country with an empty name"],
    );
    let error = Error::from(SampleSpec::default().training_rows(0).check().unwrap_err());
    expect!["training rows per country must be at least 1, got 0"].assert_eq(&error.to_string());
}

#[test]
fn published_test_rows_are_from_none_of_the_five_countries_they_claim() {
    let rows = geodata::published_test_rows();
    let shown: String = rows
        .iter()
        .map(|row| format!("{},{}\n", row.entity, row.ip))
        .collect();
    expect![[r#"
        Canada,206.190.159.0
        France,188.42.252.0
        Germany,119.81.246.136
        United Kingdom,203.116.192.0
        United States,103.14.224.0
    "#]]
    .assert_eq(&shown);
}

/// Each network of a country is as likely as the other: over many seeds, each half of them, and each length of prefix, has
/// its share.
#[test]
fn the_draw_is_uniform_by_network() {
    let networks: Vec<_> = DATABASE
        .networks()
        .map(Result::unwrap)
        .filter(|network| {
            network
                .country
                .as_ref()
                .is_some_and(|country| country.code.as_str() == "SG")
        })
        .map(|network| network.prefix)
        .collect();
    let mut by_length = [(0_u32, 0_u32); 33];
    let mut by_eighth = [0_u32; 8];
    for network in &networks {
        by_length[usize::from(network.prefix_len())].0 += 1;
    }
    const SEEDS: u64 = 20;
    const ROWS: usize = 1000;
    let spec = spec(&["US"], 1, 0, ROWS);
    for seed in 0..SEEDS {
        for row in sample(&DATABASE, &spec, seed).unwrap().evaluation {
            let index = networks
                .binary_search_by_key(&row.ip, |network| network.network())
                .unwrap();
            by_length[usize::from(networks[index].prefix_len())].1 += 1;
            by_eighth[index * 8 / networks.len()] += 1;
        }
    }
    let drawn = f64::from(ROWS as u32 * SEEDS as u32);
    // Five standard deviations of a binomial count, which a fair draw does not leave.
    let fair = |count: u32, share: f64| {
        let (mean, deviation) = (drawn * share, (drawn * share * (1.0 - share)).sqrt());
        (f64::from(count) - mean).abs() < 5.0 * deviation + 1.0
    };
    for count in by_eighth {
        assert!(fair(count, 1.0 / 8.0), "{by_eighth:?}");
    }
    for (there, count) in by_length {
        assert!(
            fair(count, f64::from(there) / networks.len() as f64),
            "{by_length:?}"
        );
    }
}

fn spec(countries: &[&str], train: usize, held_out: usize, outliers: usize) -> CheckedSpec {
    SampleSpec::default()
        .countries(countries.iter().copied())
        .training_rows(train)
        .held_out_rows(held_out)
        .outliers(5)
        .evaluation_outliers(outliers)
        .check()
        .unwrap()
}

fn all_rows(sample: &Sample) -> impl Iterator<Item = &AccessEvent> {
    sample
        .train
        .iter()
        .chain(&sample.validation)
        .chain(&sample.test)
        .chain(&sample.evaluation)
}

fn ips<'a>(rows: impl IntoIterator<Item = &'a AccessEvent>, entity: &str) -> BTreeSet<Ipv4Addr> {
    rows.into_iter()
        .filter(|row| row.entity == entity)
        .map(|row| row.ip)
        .collect()
}

/// A few of the countries, the United States first.
fn countries() -> impl Strategy<Value = Vec<&'static str>> {
    prop::sample::subsequence(vec!["GB", "FR", "DE", "CA", "NL", "JP", "AU", "BR", "IN"], 0..6).prop_map(
        |mut countries| {
            countries.insert(0, "US");
            countries
        },
    )
}

proptest! {
    // Each case walks the database a few times.
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn rows_lie_where_they_say(seed: u64, countries in countries(), train in 1..80_usize, held_out in 0..80_usize) {
        let spec = spec(&countries, train, held_out, 30);
        let sample = sample(&DATABASE, &spec, seed).unwrap();
        prop_assert_eq!(sample.train.len(), train * countries.len());
        prop_assert_eq!(sample.validation.len(), held_out * countries.len());
        for row in sample.train.iter().chain(&sample.validation) {
            let network = DATABASE.lookup(row.ip).unwrap().unwrap();
            prop_assert_eq!(network.prefix.network(), row.ip);
            prop_assert_eq!(&*network.country.unwrap().name, &row.entity);
        }
        for row in sample.test.iter().chain(&sample.evaluation) {
            prop_assert_eq!(code_of(row.ip), "SG");
        }
    }

    #[test]
    fn no_network_twice(seed: u64, countries in countries(), train in 1..300_usize, held_out in 0..300_usize) {
        let sample = sample(&DATABASE, &spec(&countries, train, held_out, 200), seed).unwrap();
        let networks: BTreeSet<_> = all_rows(&sample).map(|row| DATABASE.lookup(row.ip).unwrap().unwrap().prefix).collect();
        prop_assert_eq!(networks.len(), all_rows(&sample).count());
    }

    #[test]
    fn same_seed_same_bytes_other_seed_other_bytes(seed: u64, other: u64, countries in countries()) {
        prop_assume!(seed != other);
        let spec = spec(&countries, 5, 5, 5);
        let files = |seed| sample(&DATABASE, &spec, seed).unwrap().files().unwrap();
        prop_assert_eq!(files(seed), files(seed));
        for (a, b) in files(seed).iter().zip(&files(other)) {
            prop_assert_ne!(&a.bytes, &b.bytes, "{}", a.name);
        }
    }

    #[test]
    fn another_country_leaves_the_others_alone(seed: u64, countries in countries()) {
        let alone = sample(&DATABASE, &spec(&["US"], 20, 10, 5), seed).unwrap();
        let among = sample(&DATABASE, &spec(&countries, 20, 10, 5), seed).unwrap();
        let of_us = |rows: &[AccessEvent]| -> Vec<_> {
            rows.iter().filter(|row| row.entity == "United States").cloned().collect()
        };
        prop_assert_eq!(of_us(&alone.train), of_us(&among.train));
        prop_assert_eq!(of_us(&alone.validation), of_us(&among.validation));
    }

    #[test]
    fn a_larger_sample_contains_the_smaller(seed: u64, train in 1..60_usize, more in 0..60_usize) {
        let small = sample(&DATABASE, &spec(&["US", "FR"], train, 5, 5), seed).unwrap();
        let large = sample(&DATABASE, &spec(&["US", "FR"], train + more, 5, 5), seed).unwrap();
        for entity in ["United States", "France"] {
            prop_assert!(ips(&large.train, entity).is_superset(&ips(&small.train, entity)));
        }
    }
}

/// The built-in database as CSV files, its networks in an order that the seed decides.
fn as_csv(folder: &std::path::Path, seed: u64) {
    use std::fmt::Write as _;
    use std::hash::{DefaultHasher, Hash, Hasher};

    let mut ids = BTreeMap::new();
    let mut blocks: Vec<String> = DATABASE
        .networks()
        .map(|network| {
            let network = network.unwrap();
            let country = network.country.unwrap();
            let next = ids.len() + 1;
            let (id, _) = *ids.entry(country.code).or_insert((next, country.name));
            format!("{},{id},{id},,0,0\n", network.prefix)
        })
        .collect();
    blocks.sort_by_cached_key(|line| {
        let mut hasher = DefaultHasher::new();
        (seed, line).hash(&mut hasher);
        hasher.finish()
    });
    let head = "network,geoname_id,registered_country_geoname_id,represented_country_geoname_id,\
                is_anonymous_proxy,is_satellite_provider\n";
    let blocks = head.to_owned() + &blocks.concat();
    let mut locations = "geoname_id,locale_code,continent_code,continent_name,country_iso_code,country_name,\
                         is_in_european_union\n"
        .to_owned();
    for (code, (id, name)) in &ids {
        writeln!(locations, "{id},en,XX,Somewhere,{code},{name},0").unwrap();
    }
    std::fs::write(folder.join("GeoLite2-Country-Blocks-IPv4.csv"), blocks).unwrap();
    std::fs::write(folder.join("GeoLite2-Country-Locations-en.csv"), locations).unwrap();
}

#[test]
fn another_form_and_another_order_give_the_same_rows() {
    let spec = || SampleSpec::default().control_rows(10).disjoint(16);
    let (first, plain) = (draw(spec(), 1), draw(SampleSpec::default(), 1));
    for seed in 0..3 {
        let folder = tempfile::tempdir().unwrap();
        as_csv(folder.path(), seed);
        let database = Database::open(folder.path()).unwrap();
        let again = sample(&database, &spec().check().unwrap(), 1).unwrap();
        for (ours, theirs) in [
            (&first, &again),
            (
                &plain,
                &sample(&database, &SampleSpec::default().check().unwrap(), 1).unwrap(),
            ),
        ] {
            assert_eq!(ours.manifest.files, theirs.manifest.files);
            assert_eq!(ours.train, theirs.train);
        }
        let differences = first.manifest.check(&again.manifest);
        let what: Vec<_> = differences.iter().map(|difference| &*difference.what).collect();
        assert_eq!(
            what,
            [
                "database.database_type",
                "database.built",
                "database.form",
                "database.sha256",
                "database.attribution"
            ]
        );
    }
}

/// A row that is there again, and one that is there for another country.
#[test]
fn a_network_that_is_there_twice_gives_no_two_rows() {
    for again in ["1", "2"] {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, content: &str| {
            let path = folder.path().join(format!("GeoLite2-Country-{name}.csv"));
            std::fs::write(path, content).unwrap();
        };
        write(
            "Locations-en",
            "geoname_id,country_iso_code,country_name\n1,FR,France\n2,SG,Singapore\n",
        );
        write(
            "Blocks-IPv4",
            &format!("network,geoname_id\n1.0.0.0/24,1\n1.0.0.0/24,{again}\n2.0.0.0/24,1\n3.0.0.0/24,2\n"),
        );
        let database = Database::open(folder.path()).unwrap();
        let rows = |rows: usize, outliers: usize| {
            let spec = SampleSpec::default()
                .countries(["FR"])
                .training_rows(rows)
                .held_out_rows(0);
            spec.outliers(outliers)
                .evaluation_outliers(0)
                .allow_fewer(true)
                .check()
                .unwrap()
        };
        let error = sample(&database, &rows(3, 2), 1).unwrap_err();
        let repeated = "1.0.0.0/24".parse().unwrap();
        assert!(
            matches!(error, Error::RepeatedNetwork { network, .. } if network == repeated),
            "{error:?}"
        );
    }
}
