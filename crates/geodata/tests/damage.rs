//! Damaged databases end in errors, never in a panic, and never in a walk without end.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic as the tests do")]

use std::path::Path;
use std::sync::LazyLock;

use geodata::writer::Writer;
use geodata::{CheckedSpec, Database, Error, SampleSpec, sample};
use ipnet::IpNet;
use proptest::prelude::*;
use serde_json::json;

#[path = "../fuzz/uses.rs"]
mod uses;

/// A database small enough that damage is likely to hit something that matters.
static SMALL: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut writer = Writer::new_ipv6("GeoLite2-Country").build_epoch(1_700_000_000);
    for (index, (code, name)) in [("US", "United States"), ("FR", "France"), ("SG", "Singapore")]
        .iter()
        .cycle()
        .take(12)
        .enumerate()
    {
        let network: IpNet = format!("{}.{}.0.0/{}", 1 + 16 * index, index, 16 + index % 17)
            .parse()
            .unwrap();
        let names = json!({ "en": name, "de": "x".repeat(index) });
        let record = json!({ "country": { "iso_code": code, "names": names }, "registered_country": { "iso_code": code } });
        writer.insert(network.trunc(), &record).unwrap();
    }
    writer
        .insert(
            "2a00::/12".parse().unwrap(),
            &json!({ "country": { "iso_code": "FR" } }),
        )
        .unwrap();
    writer.alias_ipv4().unwrap();
    writer.to_bytes().unwrap()
});

static SPEC: LazyLock<CheckedSpec> = LazyLock::new(|| {
    let spec = SampleSpec::default()
        .countries(["US", "FR"])
        .training_rows(2)
        .held_out_rows(2);
    spec.outliers(2).evaluation_outliers(2).check().unwrap()
});

/// Does all that can be done with a database.
fn use_up(bytes: Vec<u8>) -> Result<(), Error> {
    let database = Database::from_bytes(bytes)?;
    let walked = database.networks().count();
    assert!(walked <= 1_000_000, "{walked} networks");
    for ip in [0, 0x0100_0000, 0x0501_0000, 0xffff_ffff_u32] {
        database.lookup(ip.into())?;
    }
    database.countries()?;
    sample(&database, &SPEC, 1)?.files()?;
    Ok(())
}

#[test]
fn undamaged_it_works() {
    use_up(SMALL.clone()).unwrap();
    use_up(geodata_sample::DATABASE.to_vec()).unwrap();
}

#[test]
fn every_truncation() {
    for length in 0..SMALL.len() {
        assert!(use_up(SMALL[..length].to_vec()).is_err(), "cut to {length} bytes");
    }
}

#[test]
fn every_byte_in_turn() {
    let mut errors = 0;
    for place in 0..SMALL.len() {
        for flip in [0x01, 0x80] {
            let mut bytes = SMALL.clone();
            bytes[place] ^= flip;
            errors += usize::from(use_up(bytes).is_err());
        }
    }
    // Names and numbers may change unnoticed, and of the tree the parts that nobody walks; much of the rest may not.
    assert!(
        errors > SMALL.len() / 4,
        "{errors} of {} noticed",
        2 * SMALL.len()
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn truncated_sample(length in 0..geodata_sample::DATABASE.len()) {
        prop_assert!(use_up(geodata_sample::DATABASE[..length].to_vec()).is_err());
    }

    #[test]
    fn flipped_sample(flips in prop::collection::vec((0..geodata_sample::DATABASE.len(), any::<u8>()), 1..50)) {
        let mut bytes = geodata_sample::DATABASE.to_vec();
        for (place, byte) in flips {
            bytes[place] = byte;
        }
        let _ = use_up(bytes);
    }

    /// The metadata is at the end, and damage there does the most.
    #[test]
    fn flipped_metadata(flips in prop::collection::vec((0..500_usize, any::<u8>()), 1..10)) {
        let mut bytes = geodata_sample::DATABASE.to_vec();
        let end = bytes.len();
        for (place, byte) in flips {
            bytes[end - 1 - place] = byte;
        }
        let _ = use_up(bytes);
    }
}

proptest! {
    #[test]
    fn many_flips_of_a_small_one(flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..200)) {
        let mut bytes = SMALL.clone();
        for (place, byte) in flips {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        let _ = use_up(bytes);
    }

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(use_up(bytes.clone()).is_err());
        // The same with a mark, so that there is something to read.
        let marked = [&bytes[..bytes.len() / 2], b"\xab\xcd\xefMaxMind.com", &bytes[bytes.len() / 2..]].concat();
        prop_assert!(use_up(marked).is_err());
    }
}

/// Pieces of the files of a CSV folder, so that some of them are read further than their first line.
fn csv_bytes() -> impl Strategy<Value = Vec<u8>> {
    let pieces: &[&str] = &[
        "network,geoname_id,registered_country_geoname_id\n",
        "geoname_id,country_iso_code,country_name\n",
        "1.0.0.0/24",
        "::/0",
        "7",
        "FR",
        ",",
        "\n",
        "\"",
        "\0",
        "\r",
        "\u{feff}",
        "ü",
    ];
    let piece = prop::sample::select(pieces).prop_map(|piece| piece.as_bytes().to_vec());
    let any = prop::collection::vec(any::<u8>(), 0..8);
    let rest = prop::collection::vec(prop_oneof![8 => piece, 1 => any], 0..60);
    rest.prop_map(|rest| {
        let files = b"network,geoname_id\n1.0.0.0/24,7\n\0geoname_id,country_iso_code,country_name\n7,FR,France\n\0network\n";
        // The beginning of a sound one, more or less of it.
        let keep = rest.len() * files.len() / 60;
        [&files[..keep], &rest.concat()].concat()
    })
}

/// A document of the tests with some of its bytes changed, and perhaps cut short.
fn changed(name: &'static str) -> impl Strategy<Value = Vec<u8>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/seeds")
        .join(name);
    let bytes = std::fs::read(path).unwrap();
    let flips = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..20);
    (flips, any::<prop::sample::Index>(), any::<bool>()).prop_map(move |(flips, end, is_cut)| {
        let mut bytes = bytes.clone();
        for (place, byte) in flips {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        if is_cut {
            bytes.truncate(end.index(bytes.len()));
        }
        bytes
    })
}

fn any_file() -> impl Strategy<Value = Vec<u8>> {
    let beginning = prop::sample::select(vec![&b""[..], b"\x1f\x8b\x08", b"PK\x03\x04", b"PK\x05\x06"]);
    let rest = prop::collection::vec(any::<u8>(), 0..600);
    (beginning, rest).prop_map(|(beginning, rest)| [beginning, &rest[..]].concat())
}

// Whatever the bytes are, they end in an error or in networks, and what a check says agrees with it; nothing panics.
proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_csv_folder(bytes in csv_bytes()) {
        let folder = tempfile::tempdir().unwrap();
        uses::csv_folder(&bytes, folder.path());
    }

    #[test]
    fn any_zip(bytes in prop_oneof![changed("csv_zip/Country.zip"), changed("csv_zip/stored.zip"), any_file()]) {
        uses::csv_zip(&bytes);
    }

    #[test]
    fn any_tar_gz(bytes in prop_oneof![changed("tar_gz/as-downloaded.tar"), changed("tar_gz/as-downloaded.tar.gz"), any_file()]) {
        uses::tar_gz(&bytes);
    }

    #[test]
    fn any_mmdb(bytes in prop_oneof![changed("mmdb/GeoLite2-Country.mmdb"), changed("mmdb/GeoLite2-ASN.mmdb"), any_file()]) {
        uses::mmdb(&bytes);
    }
}
