//! Manifests: enough to draw a sample again, and to say in what another differs.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic as the tests do")]

use std::sync::LazyLock;

use expect_test::{Expect, expect};
use geodata::writer::Writer;
use geodata::{
    Database, DrawBy, Error, Manifest, RowAddress, Sample, SampleSpec, SkipReason, TestRows,
    published_test_rows, sample,
};
use proptest::prelude::*;
use serde_json::{Value, json};

static DATABASE: LazyLock<Database> =
    LazyLock::new(|| Database::from_bytes(geodata_sample::DATABASE).unwrap());

fn small() -> SampleSpec {
    SampleSpec::default()
        .countries(["FR", "united kingdom"])
        .training_rows(4)
        .held_out_rows(2)
        .outliers(3)
        .evaluation_outliers(2)
}

fn draw(db: &Database, spec: SampleSpec) -> Sample {
    sample(db, &spec.check().unwrap(), 5).unwrap()
}

/// As it is after it was written and read.
fn kept(sample: &Sample) -> Manifest {
    let folder = tempfile::tempdir().unwrap();
    let paths = sample.write_to(folder.path()).unwrap();
    let path = paths.last().unwrap();
    assert_eq!(path.file_name().unwrap(), "manifest.json");
    let manifest = Manifest::read(path).unwrap();
    assert_eq!(manifest.to_json().as_bytes(), std::fs::read(path).unwrap());
    manifest
}

/// So many /24 networks of some countries.
fn database(countries: &[(&str, u8)]) -> Database {
    let mut writer = Writer::new("Test-Country").build_epoch(1_782_000_000);
    for (block, (code, networks)) in countries.iter().enumerate() {
        let record = json!({"country": {"iso_code": code, "names": {"en": format!("Country {code}")}}});
        for third in 0..*networks {
            let prefix = format!("{}.0.{third}.0/24", block + 1).parse().unwrap();
            writer.insert(prefix, &record).unwrap();
        }
    }
    Database::from_bytes(writer.to_bytes().unwrap()).unwrap()
}

fn specs() -> impl Strategy<Value = SampleSpec> {
    let countries = prop::sample::select(vec![vec!["FR", "United Kingdom"], vec!["top:3"], vec!["br"]]);
    let by = prop::sample::select(vec![DrawBy::Network, DrawBy::Address]);
    let address = prop::sample::select(vec![RowAddress::First, RowAddress::Random]);
    let disjoint = prop::option::of(Just(16_u8));
    let rows = (1..40_usize, 0..40_usize, 0..40_usize, 0..10_usize, 0..40_usize);
    (countries, rows, by, address, disjoint, any::<bool>()).prop_map(
        |(countries, (train, held_out, control, outliers, evaluation), by, address, disjoint, fewer)| {
            SampleSpec::default()
                .countries(countries)
                .training_rows(train)
                .held_out_rows(held_out)
                .control_rows(control)
                .outliers(outliers)
                .evaluation_outliers(evaluation)
                .draw_by(by)
                .row_address(address)
                .disjoint(disjoint)
                .allow_fewer(fewer)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn a_manifest_gives_the_same_bytes_again(spec in specs(), seed: u64) {
        let spec = spec.check().unwrap();
        let first = sample(&DATABASE, &spec, seed).unwrap();
        let manifest = Manifest::from_json(first.manifest.to_json().as_bytes()).unwrap();
        prop_assert_eq!(&manifest, &first.manifest);
        prop_assert_eq!(manifest.spec().unwrap(), spec);
        let again = manifest.repeat(&DATABASE).unwrap();
        prop_assert_eq!(manifest.check(&again.manifest), []);
        prop_assert_eq!(first.files().unwrap(), again.files().unwrap());
    }
}

#[test]
fn with_published_test_rows_as_well() {
    let five = SampleSpec::default()
        .training_rows(3)
        .held_out_rows(1)
        .evaluation_outliers(4)
        .published_test_rows(true);
    let first = draw(&DATABASE, five);
    let manifest = kept(&first);
    assert_eq!(manifest.test_rows, TestRows::Published);
    let again = manifest.repeat(&DATABASE).unwrap();
    assert_eq!(again.test, published_test_rows());
    assert_eq!(again.files().unwrap(), first.files().unwrap());
}

/// Networks, and with disjoint parts blocks of addresses, of published rows have no part in the draw, though they count as the country's.
#[test]
fn what_published_test_rows_are_in_is_kept_out_of_the_draw() {
    let names = [
        ("US", "United States"),
        ("GB", "United Kingdom"),
        ("FR", "France"),
        ("DE", "Germany"),
        ("CA", "Canada"),
        ("SG", "Singapore"),
    ];
    // Of each country a network with a published row, another of its /16, and three elsewhere.
    let rows = published_test_rows();
    let mut writer = Writer::new("Test-Country").build_epoch(1_782_000_000);
    for (index, (code, name)) in names.into_iter().enumerate() {
        let record = json!({"country": {"iso_code": code, "names": {"en": name}}});
        let [a, b, c, _] = rows[index.min(4)].ip.octets();
        let elsewhere = (1..=3).map(|second| format!("{}.{second}.0.0/24", index + 1));
        let near = match index {
            5 => vec![],
            _ => vec![format!("{a}.{b}.{c}.0/24"), format!("{a}.{b}.0.0/24")],
        };
        for network in near.into_iter().chain(elsewhere) {
            writer.insert(network.parse().unwrap(), &record).unwrap();
        }
    }
    let database = Database::from_bytes(writer.to_bytes().unwrap()).unwrap();
    let published = |rows: usize| {
        let spec = SampleSpec::default().published_test_rows(true).outliers(0);
        spec.training_rows(rows).held_out_rows(0).evaluation_outliers(1)
    };
    let drawn = |sample: &Sample| -> std::collections::BTreeSet<String> {
        let rows = sample
            .train
            .iter()
            .chain(&sample.validation)
            .chain(&sample.evaluation);
        rows.map(|row| row.ip.to_string()).collect()
    };
    let kept_out = |manifest: &Manifest| {
        let mut skipped = manifest.skipped.iter();
        let listed = skipped.find(|skipped| skipped.reason == SkipReason::PublishedRow);
        listed.map(|skipped| skipped.networks)
    };
    let drawn_rows = published(4).published_test_rows(false).check().unwrap();
    let other = sample(&database, &drawn_rows, 1).unwrap().manifest;
    assert_eq!(kept_out(&other), None);
    for seed in 0..20 {
        let sample = sample(&database, &published(4).check().unwrap(), seed).unwrap();
        assert_eq!(sample.test, rows);
        let drawn = drawn(&sample);
        // Four of the five of each country: the fifth has a published row in it.
        assert_eq!(drawn.len(), 5 * 4 + 1);
        assert!(
            rows.iter().all(|row| !drawn.contains(&row.ip.to_string())),
            "{drawn:?}"
        );
        assert!(
            sample
                .manifest
                .countries
                .iter()
                .all(|country| country.networks == 5)
        );
        assert_eq!(kept_out(&sample.manifest), Some(5));
        let again = sample.manifest.repeat(&database).unwrap();
        assert_eq!(again.files().unwrap(), sample.files().unwrap());
        // As programs wrote it that did not count them.
        let mut older = sample.manifest.clone();
        older
            .skipped
            .retain(|skipped| skipped.reason != SkipReason::PublishedRow);
        let older = Manifest::from_json(older.to_json().as_bytes()).unwrap();
        assert_eq!(older.check(&older.repeat(&database).unwrap().manifest), []);
    }
    let error = sample(&database, &published(5).check().unwrap(), 1).unwrap_err();
    let Error::TooFewNetworks { shortages } = error else {
        panic!("{error:?}")
    };
    assert_eq!((shortages.len(), shortages[0].available), (5, 4));

    let disjoint = published(3).disjoint(16).check().unwrap();
    let sample = sample(&database, &disjoint, 1).unwrap();
    let blocks: Vec<_> = rows.iter().map(|row| row.ip.octets()[..2].to_vec()).collect();
    assert_eq!(kept_out(&sample.manifest), Some(10));
    let rows = sample.train.iter().chain(&sample.evaluation);
    for row in rows {
        assert!(!blocks.contains(&row.ip.octets()[..2].to_vec()), "{row:?}");
    }
}

/// In place, where it shows: a file that is mapped, and files that are read when they are needed.
#[test]
fn a_database_that_is_written_to_while_it_is_open() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("GeoLite2-Country.mmdb");
    let csv = folder.path().join("csv");
    let data = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    std::fs::create_dir(&csv).unwrap();
    for file in ["Blocks-IPv4", "Locations-en"] {
        let name = format!("GeoLite2-Country-{file}.csv");
        std::fs::copy(
            data.join("GeoLite2-Country-CSV_20260106").join(&name),
            csv.join(&name),
        )
        .unwrap();
    }
    std::fs::copy(data.join("GeoLite2-Country.mmdb"), &path).unwrap();
    let zip = folder.path().join("GeoLite2-Country-CSV_20260106.zip");
    std::fs::copy(data.join("GeoLite2-Country-CSV_20260106.zip"), &zip).unwrap();
    let spec = SampleSpec::default().countries(["FR"]).outlier_country("DE");
    let spec = spec
        .training_rows(1)
        .held_out_rows(0)
        .outliers(1)
        .evaluation_outliers(0);
    let spec = spec.check().unwrap();
    let blocks = csv.join("GeoLite2-Country-Blocks-IPv4.csv");
    for (opened, file) in [(&path, &path), (&csv, &blocks), (&zip, &zip)] {
        let database = Database::open(opened).unwrap();
        database.check_unchanged().unwrap();
        sample(&database, &spec, 1).unwrap();

        // Another file of the name is none of this one's business.
        let bytes = std::fs::read(file).unwrap();
        let newer = folder.path().join("newer");
        std::fs::write(&newer, &bytes).unwrap();
        std::fs::rename(&newer, file).unwrap();
        database.check_unchanged().unwrap();

        let database = Database::open(opened).unwrap();
        let touched = std::fs::File::options().write(true).open(file).unwrap();
        let times = std::fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH);
        touched.set_times(times).unwrap();
        let error = sample(&database, &spec, 1).unwrap_err();
        assert!(
            matches!(&error, Error::Changed { path } if path == file),
            "{error:?}"
        );

        let database = Database::open(opened).unwrap();
        let longer = std::fs::File::options().append(true).open(file).unwrap();
        longer.set_len(bytes.len() as u64 + 1).unwrap();
        longer.set_times(times).unwrap();
        let error = database.check_unchanged().unwrap_err();
        assert!(
            matches!(&error, Error::Changed { path } if path == file),
            "{error:?}"
        );
    }
}

#[test]
fn who_wrote_it_stays() {
    let mut manifest = draw(&DATABASE, small()).manifest;
    assert_eq!(
        manifest.written_by,
        concat!("geodata ", env!("CARGO_PKG_VERSION"))
    );
    manifest.written_by = "geodata 0.0.9".to_owned();
    let again = manifest.repeat(&DATABASE).unwrap();
    assert_eq!(again.manifest.written_by, "geodata 0.0.9");
    assert_eq!(manifest.check(&again.manifest), []);
}

#[test]
fn the_difference_that_another_database_makes() {
    fn check(now: &[(&str, u8)], expected: Expect) {
        let then = database(&[("FR", 20), ("GB", 20), ("SG", 20), ("US", 3)]);
        let manifest = kept(&draw(&then, small().countries(["FR", "GB"])));
        let now = database(now);
        let of_database = manifest.check_database(&now);
        let differences = match manifest.repeat(&now) {
            Ok(again) => manifest.check(&again.manifest),
            Err(error) => {
                expected.assert_eq(&format!("{}\n{error}\n", of_database[0]));
                return;
            }
        };
        assert!(differences.starts_with(&of_database));
        let lines: String = differences
            .iter()
            .map(|difference| format!("{difference}\n"))
            .collect();
        expected.assert_eq(&lines);
    }
    check(&[("FR", 20), ("GB", 20), ("SG", 20), ("US", 3)], expect![""]);
    // Somewhere else in the file, so the rows are the same.
    check(
        &[("FR", 20), ("GB", 20), ("SG", 20), ("US", 4)],
        expect![[r#"
            database.sha256: 995ca3d835e9eff624efe54da8abb6bea0ba9fa395dd7447b6b66d8f93f051ec in the manifest, 6b8e574041afb2404fa82b79c0bd03568978d1ac67b93e9f691761b83488b1e4 now
            skipped.other-country.networks: 3 in the manifest, 4 now
        "#]],
    );
    check(
        &[("FR", 20), ("GB", 21), ("SG", 20), ("US", 3)],
        expect![[r#"
            database.sha256: 995ca3d835e9eff624efe54da8abb6bea0ba9fa395dd7447b6b66d8f93f051ec in the manifest, 8efa5c06651b9e5a5acddc9ccda195236ad1a09b28342ca2f1031ad94990a389 now
            countries.GB.networks: 20 in the manifest, 21 now
            files.train.csv.sha256: e7543861a2e17692291c37c138e7d5d456024a6fb4f6e28de70a78fbb4ab19e8 in the manifest, e66c128da303656fef5e21ac2e864f4cb6ee713df041b9d5b12563207ac3541f now
            files.validation.csv.sha256: e8db9309ac4ce188ba2d1dfe92d98577f8e2eb7075621fe81fa8a3936fa39aef in the manifest, b93110836044fcb47c58e6f4e13acaf858960ae017c43ac153d9ff6032a66dcc now
        "#]],
    );
    check(
        &[("GB", 20), ("FR", 20), ("SG", 20), ("US", 3)],
        expect![[r#"
            database.sha256: 995ca3d835e9eff624efe54da8abb6bea0ba9fa395dd7447b6b66d8f93f051ec in the manifest, cfbd154b8ba251286801899eb225a376a51262075c8c13c9485a05182afc7f25 now
            files.train.csv.sha256: e7543861a2e17692291c37c138e7d5d456024a6fb4f6e28de70a78fbb4ab19e8 in the manifest, a68179004619e96c508d38583fc0c9caea6f6ede5da31e3d14a89943f516fb68 now
            files.validation.csv.sha256: e8db9309ac4ce188ba2d1dfe92d98577f8e2eb7075621fe81fa8a3936fa39aef in the manifest, 27da4d8ce2ec69ade1d8f2b9f9f42404a045bde96e5fccdf38dc49ce1fbbcd9b now
        "#]],
    );
    check(
        &[("FR", 5), ("GB", 20), ("SG", 20), ("US", 3)],
        expect![[r#"
            database.sha256: 995ca3d835e9eff624efe54da8abb6bea0ba9fa395dd7447b6b66d8f93f051ec in the manifest, b667c2b9cc88bee7ae8eeb5b1856c7da7b8a81f52a351da9b32c7d7df2157c07 now
            Country FR (FR) has 5 networks in the database, and the sample asks for 6; ask for fewer rows, allow fewer, or take a larger database
        "#]],
    );
    check(
        &[("FR", 20), ("SG", 20), ("US", 3)],
        expect![[r#"
            database.sha256: 995ca3d835e9eff624efe54da8abb6bea0ba9fa395dd7447b6b66d8f93f051ec in the manifest, e89c6560879fca7f9386d0d7d04c19623e249d1c9edaa0a7c58e9ff79b80ec8f now
            unknown country `GB`; the database Test-Country has FR, SG, US
        "#]],
    );
}

#[test]
fn every_member_that_differs_is_named() {
    let manifest = draw(&DATABASE, small()).manifest;
    let mut other = serde_json::to_value(&manifest).unwrap();
    other["database"]["attribution"] = Value::Null;
    other["seed"] = json!(6);
    other["spec"]["countries"] = json!(["FR"]);
    other["countries"].as_array_mut().unwrap().pop();
    other["outliers"] = Value::Null;
    other["shortages"] = json!([{"code": "SG", "part": "test", "asked": 3, "drawn": 2}]);
    other["files"][0]["rows"] = json!(7);
    let other: Manifest = serde_json::from_value(other).unwrap();
    let shown: String = manifest
        .check(&other)
        .iter()
        .map(|difference| serde_json::to_string(difference).unwrap() + "\n")
        .collect();
    expect![[r#"
        {"what":"database.attribution","manifest":"Sample of the IPFire Location database (https://location.ipfire.org/), IPv4 networks of 11 countries, by way of Debian's tor-geoipdb; CC BY-SA 4.0 (https://creativecommons.org/licenses/by-sa/4.0/).","now":null}
        {"what":"seed","manifest":5,"now":6}
        {"what":"spec.countries","manifest":["FR","united kingdom"],"now":["FR"]}
        {"what":"countries.GB","manifest":{"code":"GB","name":"United Kingdom","networks":10000,"train":4,"validation":2,"control":0},"now":null}
        {"what":"outliers","manifest":{"code":"SG","name":"Singapore","networks":7406,"test":3,"evaluation":2},"now":null}
        {"what":"shortages.SG.test","manifest":null,"now":{"code":"SG","part":"test","asked":3,"drawn":2}}
        {"what":"files.train.csv.rows","manifest":8,"now":7}
    "#]].assert_eq(&shown);
}

#[test]
fn fewer_rows_are_counted() {
    let db = database(&[("FR", 10), ("GB", 20), ("SG", 4)]);
    let spec = small()
        .countries(["FR", "GB"])
        .training_rows(10)
        .held_out_rows(5)
        .control_rows(1)
        .evaluation_outliers(9)
        .allow_fewer(true);
    let sample = draw(&db, spec);
    let manifest = kept(&sample);
    let shown = serde_json::to_string(&json!({
        "countries": manifest.countries,
        "outliers": manifest.outliers,
        "shortages": manifest.shortages,
    }));
    expect![[r#"
        {"countries":[{"code":"FR","name":"Country FR","networks":10,"train":5,"validation":4,"control":1},
        {"code":"GB","name":"Country GB","networks":20,"train":10,"validation":5,"control":1}],"outliers":{"code":"SG","name":"Country SG","networks":4,"test":2,"evaluation":2},
        "shortages":[{"code":"FR","part":"train","asked":10,"drawn":5},
        {"code":"FR","part":"validation","asked":5,"drawn":4},
        {"code":"SG","part":"test","asked":3,"drawn":2},
        {"code":"SG","part":"evaluation","asked":9,"drawn":2}]}"#]].assert_eq(&shown.unwrap().replace("},", "},\n"));
    assert_eq!(
        sample.train.len(),
        manifest
            .countries
            .iter()
            .map(|country| country.train)
            .sum::<usize>()
    );
    assert_eq!(
        manifest.repeat(&db).unwrap().files().unwrap(),
        sample.files().unwrap()
    );
}

#[test]
fn control_rows_have_a_file() {
    let sample = draw(&DATABASE, small().control_rows(3));
    assert_eq!(sample.control.len(), 6);
    let names: Vec<_> = sample.files().unwrap().iter().map(|file| file.name).collect();
    assert_eq!(
        names,
        [
            "train.csv",
            "validation.csv",
            "control.csv",
            "test.csv",
            "evaluation.csv",
            "manifest.json"
        ]
    );
    // They come after the others, which stay as they are.
    let without = draw(&DATABASE, small());
    assert_eq!(
        (&without.train, &without.validation),
        (&sample.train, &sample.validation)
    );
}

#[test]
fn what_is_no_manifest() {
    let good: Value = serde_json::to_value(draw(&DATABASE, small()).manifest).unwrap();
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut json = good.clone();
        change(&mut json);
        json.to_string()
    };
    let cases = [
        String::new(),
        "[]".to_owned(),
        "{\"version\": \"2\"}".to_owned(),
        "{\"version\": 2}".to_owned(),
        changed(&|json| json["version"] = json!(1)),
        changed(&|json| json["version"] = json!(3)),
        changed(&|json| json["spec"]["weights"] = json!([])),
        changed(&|json| json["spec"]["training_rows"] = json!(0)),
        changed(&|json| json["spec"]["disjoint"] = json!(32)),
        changed(&|json| json["countries"][0]["code"] = json!("F")),
    ];
    let errors: String = cases
        .iter()
        .map(|json| {
            let error = Manifest::from_json(json.as_bytes()).unwrap_err();
            let cause = std::error::Error::source(&error).map(|cause| format!("\n  because: {cause}"));
            format!("{error}{}\n", cause.unwrap_or_default())
        })
        .collect();
    expect![[r#"
        the manifest is not in the form that is written beside a sample
          because: EOF while parsing a value at line 1 column 0
        the manifest is not in the form that is written beside a sample
          because: invalid length 0, expected a manifest at line 1 column 2
        the manifest is not in the form that is written beside a sample
          because: invalid type: string "2", expected u64 at line 1 column 15
        the manifest is not in the form that is written beside a sample
          because: missing field `written_by` at line 1 column 14
        the manifest is of version 1, and samples of version 2 can be drawn again; use the program that wrote it, or draw a new sample
        the manifest is of version 3, and samples of version 2 can be drawn again; use the program that wrote it, or draw a new sample
        the manifest is not in the form that is written beside a sample
          because: unknown field `weights`, expected one of `countries`, `training_rows`, `held_out_rows`, `control_rows`, `outlier_country`, `outliers`, `evaluation_outliers`, `draw_by`, `row_address`, `disjoint`, `allow_fewer` at line 1 column 739
        the manifest is not in the form that is written beside a sample
          because: training rows per country must be at least 1, got 0
        the manifest is not in the form that is written beside a sample
          because: disjoint parts need a prefix length from 8 to 24, got 32
        the manifest is not in the form that is written beside a sample
          because: `F` is not a country code of two letters at line 1 column 755
    "#]].assert_eq(&errors);

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("manifest.json");
    assert!(matches!(Manifest::read(&path), Err(Error::OpenManifest { .. })));
    std::fs::write(&path, "{}").unwrap();
    let error = Manifest::read(&path).unwrap_err().to_string();
    assert!(error.contains(&path.display().to_string()), "{error}");
}
