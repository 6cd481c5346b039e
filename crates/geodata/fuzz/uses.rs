//! What is done with a database of any content: everything. Used by the fuzz targets and by a test of the crate, which runs the
//! seeds through it.

#![allow(dead_code, reason = "each target takes one of these")]
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a broken promise has to be heard"
)]

use std::borrow::Cow;
use std::io::Write as _;
use std::path::Path;

use geodata::{CountrySource, Database, Error, OpenOptions, Verification, verify_bytes, verify_with};

/// A file in MaxMind's binary format.
pub(crate) fn mmdb(bytes: &[u8]) {
    in_memory(bytes.to_vec());
}

/// A tar archive, which is compressed here: no mutation would get past the checksum. What begins with the mark of gzip is taken as
/// it is.
pub(crate) fn tar_gz(bytes: &[u8]) {
    if bytes.starts_with(&[0x1f, 0x8b]) {
        return in_memory(bytes.to_vec());
    }
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
    packed.write_all(bytes).expect("memory takes all");
    in_memory(packed.finish().expect("memory takes all"));
}

/// A zip archive with CSV files.
pub(crate) fn csv_zip(bytes: &[u8]) {
    in_memory(bytes.to_vec());
}

/// A folder with CSV files: those of blocks of IPv4 and IPv6 and of the locations, with a zero byte between them.
pub(crate) fn csv_folder(bytes: &[u8], folder: &Path) {
    let files = bytes.split(|byte| *byte == 0);
    for (name, content) in ["Blocks-IPv4", "Locations-en", "Blocks-IPv6"]
        .iter()
        .zip(files.chain([&[][..]; 2]))
    {
        let path = folder.join(format!("GeoLite2-Country-{name}.csv"));
        std::fs::write(path, content).expect("the folder is there");
    }
    all_of(
        Database::open_with(folder, &options()),
        verify_with(folder, &options()),
    );
}

/// Limits that keep a run short.
fn options() -> OpenOptions {
    OpenOptions::default().unpacked_limit(4 << 20)
}

fn in_memory(bytes: Vec<u8>) {
    let bytes: Cow<'static, [u8]> = bytes.into();
    let database = Database::from_bytes_with(bytes.clone(), &options());
    // Other countries, other ways through a record; what does not depend on them is the same.
    let others = options()
        .country_from([CountrySource::Represented])
        .language("de");
    if let Ok(database) = Database::from_bytes_with(bytes.clone(), &others) {
        let _ = database.networks().count();
    }
    all_of(database, verify_bytes(bytes, &options()));
}

fn all_of(database: Result<Database, Error>, verified: Result<Verification, Error>) {
    let sound = verified.as_ref().is_ok_and(Verification::is_sound);
    let database = match database {
        Ok(database) => database,
        Err(error) => {
            let of_another_kind = matches!(
                error,
                Error::WrongType { .. } | Error::Language { .. } | Error::NotADatabase { .. }
            );
            assert!(of_another_kind || !sound, "sound, and yet not opened: {error:?}");
            return;
        }
    };
    let mut networks = 0_u64;
    let mut failed = None;
    for network in database.networks() {
        assert!(failed.is_none(), "a walk goes on after an error");
        match network {
            Ok(_) => networks += 1,
            Err(error) => failed = Some(error),
        }
    }
    if sound {
        let verified = verified.expect("it is sound");
        assert!(failed.is_none(), "sound, and yet: {failed:?}");
        assert_eq!(verified.networks, networks, "networks counted in two ways");
        assert_eq!(
            database.ipv6_networks().ok(),
            Some(verified.ipv6_networks),
            "IPv6 counted in two ways"
        );
        for network in database.networks().take(100) {
            let network = network.expect("it is sound");
            for ip in [network.prefix.network(), network.prefix.broadcast()] {
                let found = database.lookup(ip).expect("it is sound").expect("it is there");
                assert_eq!((found.prefix, &found.country), (network.prefix, &network.country));
            }
        }
    }
    for ip in [0, 0x0100_0000, 0x0501_0000, 0xffff_ffff_u32] {
        let _ = database.lookup(ip.into());
    }
    let _ = database.ipv6_networks();
    let _ = database.countries();
}
