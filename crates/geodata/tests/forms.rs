//! One database in every form in which MaxMind ships them: the same networks come out.
//!
//! The documents in `tests/data` are made by hand after MaxMind's, the archives by other programs than ours. The `.mmdb` files
//! among them are written by our own writer: `UPDATE_EXPECT=1 cargo test -p geodata` writes them anew.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic as the tests do")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use expect_test::expect;
use geodata::writer::Writer;
use geodata::{
    Country, CountryFilter, CountrySource, Database, Error, Form, OpenOptions, SampleSpec, sample, verify,
};
use serde_json::{Value, json};

const ALL_FORMS: [&str; 6] = [
    "GeoLite2-Country.mmdb",
    "GeoLite2-Country_20260106.tar.gz",
    "GeoLite2-Country.mmdb.gz",
    "GeoLite2-Country_20260106",
    "GeoLite2-Country-CSV_20260106.zip",
    "GeoLite2-Country-CSV_20260106",
];

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(name)
}

fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}

/// What walks find; each network is looked up as well, at both ends.
fn walked(database: &Database) -> String {
    let mut seen = String::new();
    for network in database.networks() {
        let network = network.unwrap();
        let country = network
            .country
            .as_ref()
            .map_or("none".to_owned(), ToString::to_string);
        write!(seen, "{} {country}", network.prefix).unwrap();
        if let Some(asn) = &network.asn {
            write!(
                seen,
                " AS{} {}",
                asn.number,
                asn.organization.as_deref().unwrap_or("-")
            )
            .unwrap();
        }
        seen.push('\n');
        for ip in [network.prefix.network(), network.prefix.broadcast()] {
            let found = database.lookup(ip).unwrap().unwrap();
            assert_eq!((found.prefix, &found.country), (network.prefix, &network.country));
        }
    }
    seen
}

fn opened(name: &str, options: &OpenOptions) -> Database {
    Database::open_with(data(name), options).unwrap()
}

#[test]
fn every_form_gives_the_same_networks() {
    let expected = expect![[r#"
        1.0.0.0/24 Australia (AU)
        1.0.1.0/24 China (CN)
        1.0.16.0/20 Japan (JP)
        2.16.0.0/23 France (FR)
        2.16.2.0/24 Germany (DE)
        2.16.3.0/24 France (FR)
        5.39.64.0/18 France (FR)
        8.8.8.0/24 United States (US)
        31.13.24.0/21 United Kingdom (GB)
        62.128.0.0/19 Germany (DE)
        103.14.224.0/22 Singapore (SG)
        203.0.112.0/22 none
    "#]];
    let mut found = BTreeSet::new();
    for name in ALL_FORMS {
        let database = opened(name, &OpenOptions::default());
        found.insert(walked(&database));
        assert_eq!(database.ipv6_networks().unwrap(), 3, "{name}");
        for nowhere in [[0, 0, 0, 0], [1, 0, 2, 0], [8, 8, 9, 0], [255, 255, 255, 255]] {
            assert_eq!(database.lookup(nowhere.into()).unwrap(), None, "{name}");
        }
        // Again, and two at once.
        let (mut one, mut two) = (database.networks(), database.networks());
        loop {
            let (one, two) = (one.next().map(Result::unwrap), two.next().map(Result::unwrap));
            assert_eq!(one, two);
            if one.is_none() {
                break;
            }
        }
    }
    assert_eq!(found.len(), 1);
    expected.assert_eq(&found.pop_first().unwrap());
}

#[cfg(feature = "mmap")]
#[test]
fn a_mapped_file_is_as_one_that_is_read() {
    for name in ALL_FORMS {
        let [mapped, read] = [true, false].map(|map| opened(name, &OpenOptions::default().memory_map(map)));
        assert_eq!(walked(&mapped), walked(&read), "{name}");
        assert_eq!(mapped.metadata(), read.metadata(), "{name}");
    }
    // Replacing the file, as updaters do, leaves what is open as it was.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("GeoLite2-Country.mmdb");
    std::fs::copy(data("GeoLite2-Country.mmdb"), &path).unwrap();
    let mapped = Database::open_with(&path, &OpenOptions::default().memory_map(true)).unwrap();
    let before = walked(&mapped);
    let newer = folder.path().join("newer");
    std::fs::write(&newer, b"something else").unwrap();
    std::fs::rename(&newer, &path).unwrap();
    assert_eq!(walked(&mapped), before);
    // A file without content has nothing to map.
    std::fs::write(&newer, b"").unwrap();
    let empty = Database::open_with(&newer, &OpenOptions::default().memory_map(true)).unwrap_err();
    assert!(chain(&empty).contains("it is empty"), "{}", chain(&empty));
}

#[test]
fn every_form_from_bytes() {
    for name in ALL_FORMS.iter().filter(|name| data(name).is_file()) {
        let bytes = std::fs::read(data(name)).unwrap();
        let from_bytes = Database::from_bytes(bytes).unwrap();
        let opened = opened(name, &OpenOptions::default());
        assert_eq!(walked(&from_bytes), walked(&opened), "{name}");
        assert_eq!(from_bytes.sha256(), opened.sha256(), "{name}");
    }
}

#[test]
fn every_form_in_other_languages_and_with_other_countries() {
    let expected = expect![[r#"
        1.0.0.0/24 オーストラリア (AU)
        1.0.1.0/24 中国 (CN)
        1.0.16.0/20 日本 (JP)
        2.16.0.0/23 フランス共和国 (FR)
        2.16.2.0/24 フランス共和国 (FR)
        2.16.3.0/24 フランス共和国 (FR)
        5.39.64.0/18 フランス共和国 (FR)
        8.8.8.0/24 アメリカ (US)
        31.13.24.0/21 アイルランド (IE)
        62.128.0.0/19 アメリカ (US)
        103.14.224.0/22 シンガポール (SG)
        203.0.112.0/22 none
    "#]];
    let options = OpenOptions::default()
        .language("ja")
        .country_from([CountrySource::Represented, CountrySource::Registered]);
    let mut found = BTreeSet::new();
    for name in ALL_FORMS {
        found.insert(walked(&opened(name, &options)));
    }
    assert_eq!(found.len(), 1);
    expected.assert_eq(&found.pop_first().unwrap());
    let german = OpenOptions::default().language("de");
    for name in ALL_FORMS {
        let network = opened(name, &german).lookup([103, 14, 224, 0].into()).unwrap();
        assert_eq!(
            network.unwrap().country.unwrap().to_string(),
            "Singapur (SG)",
            "{name}"
        );
    }
}

#[test]
fn a_language_that_is_not_there() {
    let options = OpenOptions::default().language("fr");
    let error = |name| {
        let error = Database::open_with(data(name), &options).unwrap_err();
        assert!(matches!(error, Error::Language { .. }), "{error:?}");
        error.to_string().replace(data(name).to_str().unwrap(), "FILE")
    };
    expect!["the database `FILE` has no names in the language `fr`, but in de, en, ja"]
        .assert_eq(&error("GeoLite2-Country.mmdb"));
    expect!["the database `FILE` has no names in the language `fr`, but in de, en, ja"]
        .assert_eq(&error("GeoLite2-Country-CSV_20260106.zip"));
}

/// A name that one language lacks is the English one, in every form; and the English name answers whatever is shown.
#[test]
fn english_names_beside_those_of_another_language() {
    let folder = csv_folder(&[
        (
            "Locations-en",
            "geoname_id,country_iso_code,country_name\n1,FR,France\n2,DE,Germany\n3,KR,\"Korea, Republic of\"\n",
        ),
        (
            "Locations-fr",
            "geoname_id,country_iso_code,country_name\n1,FR,France\n2,DE,Allemagne\n3,KR,\n",
        ),
        (
            "Blocks-IPv4",
            "network,geoname_id\n1.0.0.0/24,1\n2.0.0.0/24,2\n3.0.0.0/24,3\n",
        ),
    ]);
    let mut writer = Writer::new("GeoLite2-Country").languages(["en", "fr"]);
    for (network, code, names) in [
        ("1.0.0.0/24", "FR", json!({ "en": "France", "fr": "France" })),
        ("2.0.0.0/24", "DE", json!({ "en": "Germany", "fr": "Allemagne" })),
        (
            "3.0.0.0/24",
            "KR",
            json!({ "en": "Korea, Republic of", "fr": "" }),
        ),
    ] {
        let record = json!({ "country": { "iso_code": code, "names": names } });
        writer.insert(network.parse().unwrap(), &record).unwrap();
    }
    let mmdb = folder.path().join("names.mmdb");
    std::fs::write(&mmdb, writer.to_bytes().unwrap()).unwrap();
    let french = OpenOptions::default().language("fr");
    for path in [folder.path(), &mmdb] {
        let database = Database::open_with(path, &french).unwrap();
        let countries: Vec<Country> = database
            .countries()
            .unwrap()
            .into_iter()
            .map(|of| of.country)
            .collect();
        let shown: Vec<_> = countries
            .iter()
            .map(|country| (&*country.name, country.english.as_deref()))
            .collect();
        let expected = [
            ("Allemagne", Some("Germany")),
            ("France", None),
            ("Korea, Republic of", None),
        ];
        assert_eq!(shown, expected, "{}", path.display());
        for name in ["de", "Allemagne", "germany"] {
            assert!(countries[0].answers_to(name), "{name}");
        }
        // As a list that was cut at its commas has them.
        let names = ["Germany", "\"Korea", " Republic of\"", " \"france\" "];
        let mut filter = CountryFilter::new(names).unwrap();
        assert!(
            database
                .networks()
                .all(|network| filter.has(&network.unwrap().country.unwrap()))
        );
        assert_eq!(filter.finish(&database).unwrap(), countries);
        let spec = SampleSpec::default()
            .countries(["Germany", "\"Korea", " Republic of\""])
            .outlier_country("France");
        let spec = spec
            .training_rows(1)
            .held_out_rows(0)
            .outliers(1)
            .evaluation_outliers(0);
        let sample = sample(&database, &spec.check().unwrap(), 1).unwrap();
        assert_eq!(sample.manifest.spec.countries, ["Germany", "Korea, Republic of"]);
        let names: BTreeSet<_> = sample.train.iter().map(|row| row.entity.as_str()).collect();
        assert_eq!(names, BTreeSet::from(["Allemagne", "Korea, Republic of"]));
        let again = sample.manifest.repeat(&database).unwrap();
        assert_eq!(again, sample);
    }
    // A quote that does not end is part of a name; the nearest one is of either language.
    let database = Database::open_with(&mmdb, &french).unwrap();
    let mut filter = CountryFilter::new(["\"Korea", "Germani"]).unwrap();
    for network in database.networks() {
        filter.has(&network.unwrap().country.unwrap());
    }
    let error = filter.finish(&database).unwrap_err();
    expect![[r#"unknown countries `"Korea`, `Germani` (did you mean `DE`, Allemagne?); the database GeoLite2-Country has DE, FR, KR"#]]
        .assert_eq(&error.to_string());
}

/// A folder with files of `GeoLite2-Country` in CSV.
fn csv_folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = folder.path().join(format!("GeoLite2-Country-{name}.csv"));
        std::fs::write(path, content).unwrap();
    }
    folder
}

#[test]
fn files_of_others_beside_a_database() {
    let folder = tempfile::tempdir().unwrap();
    let copy = |from: &str, to: &str| std::fs::copy(data(from), folder.path().join(to)).unwrap();
    let write = |name: &str| std::fs::write(folder.path().join(name), "\0\x05\x16\x07 of macOS").unwrap();
    let opened = || Database::open(folder.path()).unwrap();
    copy("GeoLite2-Country.mmdb", "GeoLite2-Country.mmdb");
    write("._GeoLite2-Country.mmdb");
    write("customers.csv");
    assert_eq!(opened().metadata().form, Form::Mmdb);

    let csv = "GeoLite2-Country-CSV_20260106";
    for file in ["Blocks-IPv4", "Blocks-IPv6", "Locations-en"] {
        let name = format!("GeoLite2-Country-{file}.csv");
        copy(&format!("{csv}/{name}"), &name);
    }
    let alone = opened();
    assert_eq!(alone.metadata().form, Form::CsvFolder);
    write("._GeoLite2-Country-Blocks-IPv4.csv");
    write("._GeoLite2-Country-Locations-de.csv");
    write("more.csv");
    let beside = opened();
    assert_eq!(walked(&beside), walked(&alone));
    assert_eq!(beside.sha256(), alone.sha256());
    assert!(verify(folder.path()).unwrap().is_sound());
}

/// As macOS packs a folder: each file with another one that tells about it.
#[test]
fn a_zip_archive_made_by_macos() {
    let mut archive = rawzip::ZipArchiveWriter::new(Vec::new());
    let csv = data("GeoLite2-Country-CSV_20260106");
    for (folder, about) in [("", ""), ("__MACOSX/", "._")] {
        for file in ["Blocks-IPv4", "Locations-en"] {
            let name = format!("GeoLite2-Country-{file}.csv");
            let content = match about {
                "" => std::fs::read(csv.join(&name)).unwrap(),
                _ => b"\0\x05\x16\x07".to_vec(),
            };
            let path = format!("{folder}GeoLite2-Country-CSV_20260106/{about}{name}");
            let (mut entry, config) = archive.new_file(path.as_str()).start().unwrap();
            let mut writer = config.wrap(&mut entry);
            std::io::Write::write_all(&mut writer, &content).unwrap();
            let (_, descriptor) = writer.finish().unwrap();
            entry.finish(descriptor).unwrap();
        }
    }
    let bytes = archive.finish().unwrap();
    let database = Database::from_bytes(bytes).unwrap();
    assert_eq!(database.networks().count(), 12);
}

#[test]
fn what_every_form_says_of_itself() {
    let mut said = String::new();
    for name in ALL_FORMS {
        let database = opened(name, &OpenOptions::default());
        let metadata = database.metadata();
        writeln!(
            said,
            "{}: {}, {:?}, IPv{}, {}, {}",
            metadata.form,
            metadata.database_type,
            metadata.built.as_deref(),
            metadata.ip_version,
            &database.sha256()[..8],
            metadata.attribution.as_ref().map_or(0, String::len),
        )
        .unwrap();
    }
    expect![[r#"
        MMDB: GeoLite2-Country, Some("2026-01-06T12:00:00Z"), IPv6, 53796acb, 95
        MMDB in tar.gz: GeoLite2-Country, Some("2026-01-06T12:00:00Z"), IPv6, 9f3f0874, 95
        MMDB in gzip: GeoLite2-Country, Some("2026-01-06T12:00:00Z"), IPv6, 54e2e724, 95
        MMDB: GeoLite2-Country, Some("2026-01-06T12:00:00Z"), IPv6, 53796acb, 95
        CSV in zip: GeoLite2-Country, Some("2026-01-06T00:00:00Z"), IPv6, a817e8a2, 95
        CSV in a folder: GeoLite2-Country, Some("2026-01-06T00:00:00Z"), IPv6, 2f6cac6b, 95
    "#]]
    .assert_eq(&said);
}

#[test]
fn without_a_date_in_a_name_it_is_not_known_when_a_csv_was_built() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["Blocks-IPv4", "Locations-en"] {
        let name = format!("GeoLite2-Country-{name}.csv");
        let from = data("GeoLite2-Country-CSV_20260106").join(&name);
        std::fs::copy(from, folder.path().join(&name)).unwrap();
    }
    let database = Database::open(folder.path()).unwrap();
    let metadata = database.metadata();
    assert_eq!((metadata.build_epoch, &metadata.built), (None, &None));
    assert_eq!((metadata.ip_version, metadata.form), (4, Form::CsvFolder));
    assert_eq!(database.ipv6_networks().unwrap(), 0);
}

#[test]
fn cities() {
    let options = OpenOptions::default();
    let found = walked(&opened("GeoLite2-City.mmdb", &options));
    assert_eq!(walked(&opened("GeoLite2-City-CSV_20260106.zip", &options)), found);
    expect![[r#"
        2.16.0.0/23 France (FR)
        2.16.2.0/25 Germany (DE)
        2.16.2.128/25 Germany (DE)
        81.2.69.142/31 United Kingdom (GB)
        89.160.20.112/28 Sweden (SE)
    "#]]
    .assert_eq(&found);
}

/// Records of more values than GeoLite2 has, and of kinds that are skipped: fractions, signed numbers.
#[test]
fn an_enterprise_database() {
    let database = opened("GeoIP2-Enterprise.mmdb", &OpenOptions::default());
    expect![[r#"
        2.125.160.216/29 United Kingdom (GB)
        74.209.16.0/20 United States (US)
        81.2.69.160/27 United Kingdom (GB)
        214.78.0.0/20 Philippines (PH)
    "#]]
    .assert_eq(&walked(&database));
    assert_eq!(database.metadata().attribution, None, "bought, not given");
    let german = opened("GeoIP2-Enterprise.mmdb", &OpenOptions::default().language("de"));
    let network = german.lookup([81, 2, 69, 161].into()).unwrap().unwrap();
    assert_eq!(network.country.unwrap().name.as_ref(), "Vereinigtes Königreich");
    let represented = OpenOptions::default().country_from([CountrySource::Represented]);
    let network = opened("GeoIP2-Enterprise.mmdb", &represented).lookup([214, 78, 0, 1].into());
    assert_eq!(network.unwrap().unwrap().country.unwrap().code.as_str(), "US");
}

#[test]
fn systems_of_an_isp_database() {
    let mut found = BTreeSet::new();
    for systems in ["GeoIP2-ISP.mmdb", "GeoIP2-ISP-CSV_20260106"] {
        let options = OpenOptions::default().asn_database(data(systems));
        found.insert(walked(&opened("GeoIP2-Enterprise.mmdb", &options)));
    }
    assert_eq!(found.len(), 1);
    expect![[r#"
        2.125.160.216/29 United Kingdom (GB) AS64501 Example Broadband Limited
        74.209.16.0/20 United States (US) AS64502 EXAMPLE-FIBER
        81.2.69.160/27 United Kingdom (GB)
        214.78.0.0/20 Philippines (PH) AS64503 Example, Department of Networks
    "#]]
    .assert_eq(&found.pop_first().unwrap());
}

#[test]
fn autonomous_systems_beside_every_form() {
    let expected = expect![[r#"
        1.0.0.0/24 Australia (AU) AS64496 Example Networks, Inc.
        1.0.1.0/24 China (CN)
        1.0.16.0/20 Japan (JP)
        2.16.0.0/23 France (FR) AS64497 EXAMPLE-CDN
        2.16.2.0/24 Germany (DE) AS64497 EXAMPLE-CDN
        2.16.3.0/24 France (FR) AS64497 EXAMPLE-CDN
        5.39.64.0/18 France (FR)
        8.8.8.0/24 United States (US) AS64498 -
        31.13.24.0/21 United Kingdom (GB)
        62.128.0.0/19 Germany (DE)
        103.14.224.0/22 Singapore (SG) AS64499 The "Other" Example
        203.0.112.0/22 none
    "#]];
    let mut found = BTreeSet::new();
    for systems in ["GeoLite2-ASN.mmdb", "GeoLite2-ASN-CSV_20260106.zip"] {
        let options = OpenOptions::default().asn_database(data(systems));
        for name in ["GeoLite2-Country.mmdb", "GeoLite2-Country-CSV_20260106.zip"] {
            let database = opened(name, &options);
            found.insert(walked(&database));
            // Of the address, not of the network's beginning.
            let asn = |ip: [u8; 4]| {
                database
                    .lookup(ip.into())
                    .unwrap()
                    .unwrap()
                    .asn
                    .map(|asn| asn.number)
            };
            assert_eq!(asn([1, 0, 0, 9]), Some(64496));
            assert_eq!(asn([1, 0, 1, 9]), None);
        }
    }
    assert_eq!(found.len(), 1);
    expected.assert_eq(&found.pop_first().unwrap());
}

#[test]
fn a_database_of_the_wrong_kind() {
    let error = |path: &str, options: &OpenOptions| {
        let error = Database::open_with(data(path), options).unwrap_err();
        assert!(matches!(error, Error::WrongType { .. }), "{error:?}");
        error.to_string().replace(data("").to_str().unwrap(), "")
    };
    let plain = OpenOptions::default();
    expect!["the database `GeoLite2-ASN.mmdb` is of the type `GeoLite2-ASN`; a GeoLite2-Country or GeoLite2-City database is needed"].assert_eq(&error("GeoLite2-ASN.mmdb", &plain));
    expect!["the database `GeoLite2-ASN-CSV_20260106.zip` is of the type `GeoLite2-ASN`; a GeoLite2-Country or GeoLite2-City database is needed"].assert_eq(&error("GeoLite2-ASN-CSV_20260106.zip", &plain));
    let swapped = OpenOptions::default().asn_database(data("GeoLite2-City.mmdb"));
    expect!["the database `GeoLite2-City.mmdb` is of the type `GeoLite2-City`; a GeoLite2-ASN or GeoIP2-ISP database is needed"].assert_eq(&error("GeoLite2-Country.mmdb", &swapped));
}

#[test]
fn folders_with_more_or_less_than_one_database() {
    let folder = tempfile::tempdir().unwrap();
    let error = || {
        let error = Database::open(folder.path()).unwrap_err();
        chain(&error).replace(folder.path().to_str().unwrap(), "FOLDER")
    };
    expect!["the database `FOLDER` is not a MaxMind database: it is a folder with neither a `.mmdb` nor the CSV files in it"].assert_eq(&error());
    let copy = |name: &str| std::fs::copy(data(name), folder.path().join(name)).unwrap();
    copy("GeoLite2-Country.mmdb");
    copy("GeoLite2-ASN.mmdb");
    // The other one is not of countries.
    let options = OpenOptions::default().asn_database(folder.path());
    let database = Database::open_with(folder.path(), &options).unwrap();
    assert_eq!(database.metadata().database_type, "GeoLite2-Country");
    assert!(database.networks().any(|network| network.unwrap().asn.is_some()));
    copy("GeoLite2-City.mmdb");
    expect!["the database `FOLDER` is not a MaxMind database: it is a folder with several in it, `GeoLite2-City.mmdb`, `GeoLite2-Country.mmdb`; give one of them"].assert_eq(&error());
    let csv = folder.path().join("GeoLite2-Country-Blocks-IPv6.csv");
    std::fs::write(&csv, "network\n").unwrap();
    expect!["the database `FOLDER` is not a MaxMind database: there is no file with a name ending in `-Blocks-IPv4.csv` in it"].assert_eq(&error());
    std::fs::write(
        folder.path().join("GeoLite2-Country-Blocks-IPv4.csv"),
        "network\n",
    )
    .unwrap();
    expect!["the database `FOLDER` is not a MaxMind database: there are no locations in it, `GeoLite2-Country-Locations-en.csv`, only blocks of addresses"].assert_eq(&error());
}

#[test]
fn every_document_is_sound() {
    let mut said = String::new();
    let names = ALL_FORMS.iter().chain(&[
        "GeoLite2-City.mmdb",
        "GeoLite2-City-CSV_20260106.zip",
        "GeoLite2-ASN.mmdb",
        "GeoLite2-ASN-CSV_20260106.zip",
        "GeoIP2-Enterprise.mmdb",
        "GeoIP2-ISP.mmdb",
        "GeoIP2-ISP-CSV_20260106",
    ]);
    for name in names {
        let found = verify(data(name)).unwrap();
        assert!(found.is_sound(), "{name}: {found:#?}");
        writeln!(
            said,
            "{name}: {} and {} networks, {}",
            found.networks,
            found.ipv6_networks,
            found.notes.join("; ")
        )
        .unwrap();
    }
    expect![[r#"
        GeoLite2-Country.mmdb: 12 and 3 networks, 
        GeoLite2-Country_20260106.tar.gz: 12 and 3 networks, 
        GeoLite2-Country.mmdb.gz: 12 and 3 networks, 
        GeoLite2-Country_20260106: 12 and 3 networks, 
        GeoLite2-Country-CSV_20260106.zip: 12 and 3 networks, 1 locations that no block refers to
        GeoLite2-Country-CSV_20260106: 12 and 3 networks, 1 locations that no block refers to
        GeoLite2-City.mmdb: 5 and 1 networks, 
        GeoLite2-City-CSV_20260106.zip: 5 and 0 networks, no file of IPv6 blocks
        GeoLite2-ASN.mmdb: 4 and 1 networks, 
        GeoLite2-ASN-CSV_20260106.zip: 4 and 1 networks, 
        GeoIP2-Enterprise.mmdb: 4 and 1 networks, 
        GeoIP2-ISP.mmdb: 3 and 1 networks, 
        GeoIP2-ISP-CSV_20260106: 4 and 1 networks, 
    "#]]
    .assert_eq(&said);
    let found = verify(data("GeoLite2-Country.mmdb")).unwrap();
    expect![[r#"
        {
          "database_type": "GeoLite2-Country",
          "form": "mmdb",
          "defects": [],
          "defect_count": 0,
          "networks": 12,
          "ipv6_networks": 3,
          "mmdb": {
            "nodes": 353,
            "record_size": 24,
            "records": 13,
            "data_bytes": 709
          },
          "csv": null,
          "notes": []
        }"#]]
    .assert_eq(&serde_json::to_string_pretty(&found).unwrap());
}

// --- The documents that our own writer makes.

fn check_file(name: &str, bytes: &[u8]) {
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(data(name), bytes).unwrap();
    }
    assert!(
        std::fs::read(data(name)).unwrap() == bytes,
        "`{name}` is not as the writer makes it"
    );
}

/// The rows of a file of the CSV folder, by column. None of the fields that are looked at has a comma in it.
fn rows(file: &str) -> Vec<BTreeMap<String, String>> {
    let text = std::fs::read_to_string(data("GeoLite2-Country-CSV_20260106").join(file)).unwrap();
    let mut lines = text.lines().map(|line| line.split(','));
    let header: Vec<_> = lines.next().unwrap().collect();
    lines
        .map(|fields| {
            let fields = fields.map(|field| field.trim_matches('"').to_owned());
            header.iter().map(|name| (*name).to_owned()).zip(fields).collect()
        })
        .collect()
}

const LANGUAGES: [&str; 3] = ["de", "en", "ja"];

#[test]
fn the_country_database_is_what_the_csv_says() {
    let mut places = BTreeMap::<String, Value>::new();
    for language in LANGUAGES {
        for row in rows(&format!("GeoLite2-Country-Locations-{language}.csv")) {
            let id = row["geoname_id"].clone();
            if row["country_iso_code"].is_empty() {
                continue;
            }
            let place = places.entry(id.clone()).or_insert_with(|| {
                let id: u32 = id.parse().unwrap();
                json!({ "geoname_id": id, "iso_code": row["country_iso_code"], "names": {} })
            });
            if !row["country_name"].is_empty() {
                place["names"][language] = row["country_name"].clone().into();
            }
        }
    }
    let mut writer = Writer::new_ipv6("GeoLite2-Country")
        .description("GeoLite2Country database, made by hand for tests")
        .languages(LANGUAGES)
        .build_epoch(1_767_700_800);
    for file in [
        "GeoLite2-Country-Blocks-IPv4.csv",
        "GeoLite2-Country-Blocks-IPv6.csv",
    ] {
        for row in rows(file) {
            let mut record = serde_json::Map::new();
            for (column, key) in [
                ("geoname_id", "country"),
                ("registered_country_geoname_id", "registered_country"),
                ("represented_country_geoname_id", "represented_country"),
            ] {
                if let Some(place) = places.get(&row[column]) {
                    record.insert(key.to_owned(), place.clone());
                }
            }
            for trait_ in ["is_anonymous_proxy", "is_satellite_provider"] {
                if row[trait_] == "1" {
                    record.insert("traits".to_owned(), json!({ trait_: true }));
                }
            }
            writer
                .insert(row["network"].parse().unwrap(), &record.into())
                .unwrap();
        }
    }
    writer.alias_ipv4().unwrap();
    check_file("GeoLite2-Country.mmdb", &writer.to_bytes().unwrap());
}

#[test]
fn the_city_database_is_as_the_writer_makes_it() {
    let country = |id: u32, code: &str, name: &str| json!({ "geoname_id": id, "iso_code": code, "names": { "en": name } });
    let france = country(3_017_382, "FR", "France");
    let germany = country(2_921_044, "DE", "Germany");
    let city = |id: u32, name: &str| json!({ "geoname_id": id, "names": { "en": name } });
    let mut writer = Writer::new_ipv6("GeoLite2-City")
        .description("GeoLite2City database, made by hand for tests")
        .build_epoch(1_767_700_800);
    for (network, record) in [
        (
            "2.16.0.0/23",
            json!({
                "city": city(2_988_507, "Paris"),
                "continent": { "code": "EU", "geoname_id": 6_255_148, "names": { "en": "Europe" } },
                "country": france, "registered_country": france,
                "location": { "accuracy_radius": 20, "time_zone": "Europe/Paris" },
                "postal": { "code": "75001" },
                "subdivisions": [{ "iso_code": "IDF", "names": { "en": "Île-de-France" } }, { "iso_code": "75" }],
            }),
        ),
        (
            "2.16.2.0/25",
            json!({ "city": city(2_950_159, "Berlin"), "country": germany, "registered_country": france }),
        ),
        (
            "2.16.2.128/25",
            json!({ "country": germany, "registered_country": france }),
        ),
        (
            "81.2.69.142/31",
            json!({
                "city": city(2_643_743, "London"),
                "country": country(2_635_167, "GB", "United Kingdom"),
                "registered_country": country(2_635_167, "GB", "United Kingdom"),
                "traits": { "is_anycast": true },
            }),
        ),
        (
            "89.160.20.112/28",
            json!({ "city": city(2_694_762, "Linköping"), "country": country(2_661_886, "SE", "Sweden") }),
        ),
        ("2a00:1450:4007::/48", json!({ "country": france })),
    ] {
        writer.insert(network.parse().unwrap(), &record).unwrap();
    }
    writer.alias_ipv4().unwrap();
    check_file("GeoLite2-City.mmdb", &writer.to_bytes().unwrap());
}

#[test]
fn the_asn_database_is_as_the_writer_makes_it() {
    let mut writer = Writer::new_ipv6("GeoLite2-ASN")
        .description("GeoLite2 ASN database, made by hand for tests")
        .build_epoch(1_767_700_800);
    for (network, number, organization) in [
        ("1.0.0.0/24", 64496, "Example Networks, Inc."),
        ("2.16.0.0/13", 64497, "EXAMPLE-CDN"),
        ("8.8.8.0/24", 64498, ""),
        ("103.14.224.0/20", 64499, "The \"Other\" Example"),
        ("2001:4860::/32", 64498, ""),
    ] {
        let mut record = json!({ "autonomous_system_number": number });
        if !organization.is_empty() {
            record["autonomous_system_organization"] = organization.into();
        }
        writer.insert(network.parse().unwrap(), &record).unwrap();
    }
    check_file("GeoLite2-ASN.mmdb", &writer.to_bytes().unwrap());
}

/// As the documentation of GeoIP2-Enterprise has its records.
#[test]
fn the_enterprise_database_is_as_the_writer_makes_it() {
    let place = |confidence: u8, id: u32, code: &str, en: &str, de: &str| json!({ "confidence": confidence, "geoname_id": id, "iso_code": code, "names": { "de": de, "en": en } });
    let gb = place(95, 2_635_167, "GB", "United Kingdom", "Vereinigtes Königreich");
    let us = place(99, 6_252_001, "US", "United States", "Vereinigte Staaten");
    let europe =
        json!({ "code": "EU", "geoname_id": 6_255_148, "names": { "de": "Europa", "en": "Europe" } });
    let mut writer = Writer::new_ipv6("GeoIP2-Enterprise")
        .description("GeoIP2 Enterprise database, made by hand for tests")
        .languages(["de", "en"])
        .build_epoch(1_767_700_800);
    for (network, record) in [
        (
            "2.125.160.216/29",
            json!({
                "city": { "confidence": 50, "geoname_id": 2_655_045, "names": { "en": "Boxford" } },
                "continent": europe,
                "country": gb,
                "location": { "accuracy_radius": 100, "latitude": 51.75, "longitude": -1.25, "time_zone": "Europe/London" },
                "postal": { "code": "OX1", "confidence": 20 },
                "registered_country": place(0, 3_017_382, "FR", "France", "Frankreich"),
                "subdivisions": [
                    { "confidence": 70, "geoname_id": 6_269_131, "iso_code": "ENG", "names": { "en": "England" } },
                    { "confidence": 55, "geoname_id": 3_333_217, "iso_code": "WBK", "names": { "en": "West Berkshire" } },
                ],
            }),
        ),
        (
            "74.209.16.0/20",
            json!({
                "country": us, "registered_country": us,
                "location": { "accuracy_radius": 27, "latitude": 42.4293, "longitude": -73.9867, "metro_code": 532 },
                "traits": {
                    "autonomous_system_number": 14_671,
                    "autonomous_system_organization": "Example Communications",
                    "connection_type": "Cable/DSL",
                    "domain": "example.com",
                    "is_legitimate_proxy": true,
                    "isp": "Example Communications",
                    "organization": "Example Communications",
                    "static_ip_score": 0.34,
                    "user_count": -1,
                    "user_type": "residential",
                },
            }),
        ),
        (
            "81.2.69.160/27",
            json!({ "continent": europe, "country": gb, "registered_country": us, "traits": { "is_anycast": true, "static_ip_score": 27.0 } }),
        ),
        (
            "214.78.0.0/20",
            json!({
                "country": place(90, 1_694_008, "PH", "Philippines", "Philippinen"),
                "registered_country": us,
                "represented_country": { "geoname_id": 6_252_001, "iso_code": "US", "names": us["names"], "type": "military" },
                "traits": { "user_type": "military" },
            }),
        ),
        ("2a02:d500::/29", json!({ "country": gb })),
    ] {
        writer.insert(network.parse().unwrap(), &record).unwrap();
    }
    writer.alias_ipv4().unwrap();
    check_file("GeoIP2-Enterprise.mmdb", &writer.to_bytes().unwrap());
}

#[test]
fn the_isp_database_is_as_the_writer_makes_it() {
    let mut writer = Writer::new_ipv6("GeoIP2-ISP")
        .description("GeoIP2 ISP database, made by hand for tests")
        .build_epoch(1_767_700_800);
    for (network, number, organization, isp) in [
        (
            "2.125.160.0/20",
            64_501,
            "Example Broadband Limited",
            "Example Broadband",
        ),
        ("74.209.16.0/20", 64_502, "EXAMPLE-FIBER", "Example Fiber"),
        (
            "214.0.0.0/8",
            64_503,
            "Example, Department of Networks",
            "Example Department",
        ),
        (
            "2a02:d500::/29",
            64_501,
            "Example Broadband Limited",
            "Example Broadband",
        ),
    ] {
        let record = json!({
            "autonomous_system_number": number,
            "autonomous_system_organization": organization,
            "isp": isp,
            "mobile_country_code": "001",
            "mobile_network_code": "01",
            "organization": isp,
        });
        writer.insert(network.parse().unwrap(), &record).unwrap();
    }
    check_file("GeoIP2-ISP.mmdb", &writer.to_bytes().unwrap());
}
