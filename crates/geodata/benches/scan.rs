//! A whole database scanned, and sampled, in its binary form and as CSV. Run with `cargo bench -p geodata --bench scan`.

#![expect(
    clippy::unwrap_used,
    reason = "a benchmark ends where its data cannot be made"
)]

mod common;

use std::path::PathBuf;
use std::sync::LazyLock;

use common::NETWORKS;
use divan::Bencher;
use divan::counter::ItemsCount;
use geodata::{CheckedSpec, Database, SampleSpec};

fn main() {
    divan::main();
}

struct Files {
    mmdb: PathBuf,
    csv_zip: PathBuf,
    csv_folder: PathBuf,
    _folder: tempfile::TempDir,
}

static FILES: LazyLock<Files> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let mmdb = folder.path().join("500k.mmdb");
    std::fs::write(&mmdb, common::mmdb(NETWORKS)).unwrap();
    let csv_zip = folder.path().join("500k.zip");
    std::fs::write(&csv_zip, common::csv_zip(NETWORKS)).unwrap();
    let csv_folder = folder.path().join("GeoLite2-Country-CSV_20260529");
    std::fs::create_dir(&csv_folder).unwrap();
    let (blocks, locations) = common::csv(NETWORKS);
    for (name, content) in [("Blocks-IPv4", blocks), ("Locations-en", locations)] {
        std::fs::write(csv_folder.join(format!("GeoLite2-Country-{name}.csv")), content).unwrap();
    }
    Files {
        mmdb,
        csv_zip,
        csv_folder,
        _folder: folder,
    }
});

fn spec() -> CheckedSpec {
    SampleSpec::default().check().unwrap()
}

#[divan::bench]
fn mmdb_500k_open(bencher: Bencher) {
    let path = &FILES.mmdb;
    bencher.bench(|| Database::open(path).unwrap());
}

#[divan::bench]
fn mmdb_500k_scan(bencher: Bencher) {
    let database = Database::open(&FILES.mmdb).unwrap();
    bencher
        .counter(ItemsCount::new(NETWORKS))
        .bench(|| database.networks().filter(|network| network.is_ok()).count());
}

#[divan::bench]
fn mmdb_500k_count_ipv6(bencher: Bencher) {
    let database = Database::open(&FILES.mmdb).unwrap();
    bencher.bench(|| database.ipv6_networks().unwrap());
}

#[divan::bench]
fn mmdb_500k_open_scan_and_draw(bencher: Bencher) {
    let (path, spec) = (&FILES.mmdb, spec());
    bencher
        .counter(ItemsCount::new(NETWORKS))
        .bench(|| geodata::sample(&Database::open(path).unwrap(), &spec, 42).unwrap());
}

#[divan::bench]
fn csv_zip_500k_scan(bencher: Bencher) {
    let database = Database::open(&FILES.csv_zip).unwrap();
    assert_eq!(
        database.networks().filter(|network| network.is_ok()).count(),
        NETWORKS
    );
    bencher
        .counter(ItemsCount::new(NETWORKS))
        .bench(|| database.networks().filter(|network| network.is_ok()).count());
}

#[divan::bench]
fn csv_zip_500k_open_scan_and_draw(bencher: Bencher) {
    let (path, spec) = (&FILES.csv_zip, spec());
    bencher
        .counter(ItemsCount::new(NETWORKS))
        .bench(|| geodata::sample(&Database::open(path).unwrap(), &spec, 42).unwrap());
}

#[divan::bench]
fn csv_folder_500k_open_scan_and_draw(bencher: Bencher) {
    let (path, spec) = (&FILES.csv_folder, spec());
    bencher
        .counter(ItemsCount::new(NETWORKS))
        .bench(|| geodata::sample(&Database::open(path).unwrap(), &spec, 42).unwrap());
}
