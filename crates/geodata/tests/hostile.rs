//! Files that were cut short, tampered with, or made to do harm: each ends in an error that says where, in time.
//!
//! Those that are kept are in `tests/hostile`; what is too large, or nothing but another file cut short, is made here.

use std::error::Error as _;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use expect_test::expect;
use geodata::writer::Writer;
use geodata::{Database, Error, OpenOptions, verify, verify_bytes};
use serde_json::json;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)
}

fn chain(error: &Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// The first thing that is said about a database: when it is opened, else when it is walked.
fn complaint(database: Result<Database, Error>) -> String {
    let database = match database {
        Ok(database) => database,
        Err(error) => return chain(&error),
    };
    let walked = database.networks().find_map(Result::err);
    match walked.or_else(|| database.ipv6_networks().err()) {
        Some(error) => chain(&error),
        None => "nothing".to_owned(),
    }
}

/// Every file of the folder, by name: what opening or walking says, and what a check finds.
#[test]
fn every_hostile_document() {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder("hostile"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let mut said = String::new();
    for path in &files {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let title = path.display().to_string();
        let complaint = complaint(Database::open(path)).replace(&title, "FILE");
        writeln!(said, "{name}\n  {complaint}").unwrap();
        match verify(path) {
            Ok(found) => {
                assert!(!found.is_sound() || complaint == "nothing", "{name}");
                assert_eq!(found.defects.len() as u64, found.defect_count.min(100));
                for defect in &found.defects {
                    writeln!(said, "  - {}: {}", defect.place, defect.what).unwrap();
                }
            }
            Err(error) => {
                let error = chain(&error).replace(&title, "FILE");
                assert!(matches!(complaint.as_str(), c if c == error), "{name}: {error}");
            }
        }
    }
    expect![[r#"
        csv-codes
          nothing
          - `GeoLite2-Country-Locations-de.csv`: the location with the geoname id 2077456 has the country code AT, and AU in `GeoLite2-Country-Locations-en.csv`
          - `GeoLite2-Country-Locations-de.csv`: the location with the geoname id 3017382 has the country code none, and FR in `GeoLite2-Country-Locations-en.csv`
        csv-columns
          the database `FILE` is damaged or of another make at line 3 of `GeoLite2-Country-Blocks-IPv4.csv`: it has 2 columns, and the first line has 7
          - line 3 of `GeoLite2-Country-Blocks-IPv4.csv`: it has 2 columns, and the first line has 7
          - line 4 of `GeoLite2-Country-Blocks-IPv4.csv`: it has 9 columns, and the first line has 7
        csv-disorder
          nothing
          - line 3 of `GeoLite2-Country-Blocks-IPv4.csv`: the network comes before that of line 2
          - line 4 of `GeoLite2-Country-Blocks-IPv4.csv`: the network comes before that of line 2
          - line 5 of `GeoLite2-Country-Blocks-IPv4.csv`: the network comes before that of line 2
          - line 5 of `GeoLite2-Country-Blocks-IPv4.csv`: the network overlaps that of line 3
          - line 5 of `GeoLite2-Country-Blocks-IPv4.csv`: the network overlaps that of line 2
        csv-empty
          the database `FILE` is damaged or of another make at line 1 of `GeoLite2-Country-Blocks-IPv4.csv`: the file is empty
          - line 1 of `GeoLite2-Country-Blocks-IPv4.csv`: the file is empty
        csv-ipv6
          the database `FILE` is damaged or of another make at line 3 of `GeoLite2-Country-Blocks-IPv6.csv`: `2001:200::/129` is no IPv6 network
          - line 3 of `GeoLite2-Country-Blocks-IPv6.csv`: `2001:200::/129` is no IPv6 network
          - line 4 of `GeoLite2-Country-Blocks-IPv6.csv`: `2001:200::1/32` has address bits after its prefix
          - line 5 of `GeoLite2-Country-Blocks-IPv6.csv`: `1.0.0.0/8` is no IPv6 network
        csv-languages
          nothing
          - `GeoLite2-Country-Locations-de.csv`: there is no location with the geoname id 2077456, which another language has
          - `GeoLite2-Country-Locations-en.csv`: there is no location with the geoname id 7, which another language has
        csv-locations
          the database `FILE` is damaged or of another make at line 3 of `GeoLite2-Country-Locations-en.csv`: the geoname id 2077456 is there a second time
          - line 3 of `GeoLite2-Country-Locations-en.csv`: the geoname id 2077456 is there a second time
          - line 4 of `GeoLite2-Country-Locations-en.csv`: `AUS` is not a country code of two letters
          - line 5 of `GeoLite2-Country-Locations-en.csv`: it is in the language `de`, the file in `en`
          - line 6 of `GeoLite2-Country-Locations-en.csv`: there is no geoname id
          - line 7 of `GeoLite2-Country-Locations-en.csv`: the name `�` is not UTF-8
        csv-locations-malformed
          the database `FILE` is damaged or of another make at line 2 of `GeoLite2-Country-Locations-en.csv`: it has 3 columns, and the first line has 7
          - line 2 of `GeoLite2-Country-Locations-en.csv`: it has 3 columns, and the first line has 7
          - line 3 of `GeoLite2-Country-Locations-en.csv`: a quote does not end on its line
          - line 5 of `GeoLite2-Country-Locations-en.csv`: `FRA` is not a country code of two letters
          - line 4 of `GeoLite2-Country-Blocks-IPv4.csv`: there is no location with the geoname id 7
        csv-locations-no-column
          the database `FILE` is damaged or of another make at line 1 of `GeoLite2-Country-Locations-en.csv`: there is no column `geoname_id`
          - line 1 of `GeoLite2-Country-Locations-en.csv`: there is no column `geoname_id`
          - line 3 of `GeoLite2-Country-Blocks-IPv4.csv`: `x` is no geoname id
        csv-no-column
          the database `FILE` is damaged or of another make at line 1 of `GeoLite2-Country-Blocks-IPv4.csv`: there is no column `network`
          - line 1 of `GeoLite2-Country-Blocks-IPv4.csv`: there is no column `network`
        csv-no-network
          the database `FILE` is damaged or of another make at line 3 of `GeoLite2-Country-Blocks-IPv4.csv`: `1.0.1/24` is no IPv4 network
          - line 3 of `GeoLite2-Country-Blocks-IPv4.csv`: `1.0.1/24` is no IPv4 network
          - line 4 of `GeoLite2-Country-Blocks-IPv4.csv`: `1.0.1.0/33` is no IPv4 network
          - line 5 of `GeoLite2-Country-Blocks-IPv4.csv`: `1.0.1.0/+8` is no IPv4 network
          - line 6 of `GeoLite2-Country-Blocks-IPv4.csv`: `` is no IPv4 network
          - line 7 of `GeoLite2-Country-Blocks-IPv4.csv`: `::/0` is no IPv4 network
          - line 8 of `GeoLite2-Country-Blocks-IPv4.csv`: `1.0.1.0/16` has address bits after its prefix
        csv-no-number
          the database `FILE` is damaged or of another make at line 3 of `GeoLite2-Country-Blocks-IPv4.csv`: `x` is no geoname id
          - line 3 of `GeoLite2-Country-Blocks-IPv4.csv`: `x` is no geoname id
          - line 4 of `GeoLite2-Country-Blocks-IPv4.csv`: `-1` is no geoname id
          - line 5 of `GeoLite2-Country-Blocks-IPv4.csv`: `99999999999` is no geoname id
        csv-overlaps
          nothing
          - line 3 of `GeoLite2-Country-Blocks-IPv4.csv`: the network is that of line 2 again
          - line 4 of `GeoLite2-Country-Blocks-IPv4.csv`: the network overlaps that of line 2
        csv-overlaps-of-the-wider
          nothing
          - line 3 of `GeoLite2-Country-Blocks-IPv4.csv`: the network overlaps that of line 2
          - line 4 of `GeoLite2-Country-Blocks-IPv4.csv`: the network overlaps that of line 3
          - line 6 of `GeoLite2-Country-Blocks-IPv4.csv`: the network comes before that of line 5
          - line 7 of `GeoLite2-Country-Blocks-IPv4.csv`: the network overlaps that of line 5
          - line 8 of `GeoLite2-Country-Blocks-IPv4.csv`: the network overlaps that of line 7
        csv-quotes
          the database `FILE` is damaged or of another make at line 3 of `GeoLite2-Country-Blocks-IPv4.csv`: a quote does not end on its line
          - line 3 of `GeoLite2-Country-Blocks-IPv4.csv`: a quote does not end on its line
          - line 4 of `GeoLite2-Country-Blocks-IPv4.csv`: something follows a quoted field
        csv-unknown-id
          the database `FILE` is damaged or of another make at line 3 of `GeoLite2-Country-Blocks-IPv4.csv`: there is no location with the geoname id 7
          - line 3 of `GeoLite2-Country-Blocks-IPv4.csv`: there is no location with the geoname id 7
          - line 4 of `GeoLite2-Country-Blocks-IPv4.csv`: there is no location with the geoname id 8
        gz-cut.tar.gz
          the database `FILE` is an archive that cannot be used; get it again: it ends in the middle (after 854 bytes, 2302 unpacked)
          - the archive: it ends in the middle (after 854 bytes, 2302 unpacked)
        gz-of-something-else.gz
          the database `FILE` is not a MaxMind database: what is compressed in it has no metadata of one
        gz-something-after.tar.gz
          the database `FILE` is an archive that cannot be used; get it again: something follows where the compressed data end (after 1708 bytes, 10240 unpacked)
          - the archive: something follows where the compressed data end (after 1708 bytes, 10240 unpacked)
        gz-wrong-sum.tar.gz
          the database `FILE` is an archive that cannot be used; get it again: corrupt gzip stream does not have a matching checksum (after 1708 bytes, 10240 unpacked)
          - the archive: corrupt gzip stream does not have a matching checksum (after 1708 bytes, 10240 unpacked)
        mmdb-between-tree-and-data.mmdb
          the database `FILE` is damaged; get it again: the left record of node 119 at byte 714 leads between tree and data
          - 1.0.0.0/24: the left record of node 119 at byte 714 leads between tree and data
        mmdb-build-time-out-of-bounds.mmdb
          the database `FILE` is damaged; get it again: build time 9187201950435737471 is out of all bounds
          - the metadata: build time 9187201950435737471 is out of all bounds
        mmdb-cut-in-the-metadata.mmdb
          the database `FILE` is damaged; get it again: a text of size 27, which goes past the end of the data, at byte 4402
          - the metadata: a text of size 27, which goes past the end of the data, at byte 4402
        mmdb-cut-in-the-tree.mmdb
          the database `FILE` is damaged; get it again: no metadata in the last 128 KiB of 1000 bytes
          - the file: no metadata in the last 128 KiB of 1000 bytes
        mmdb-cycle.mmdb
          the database `FILE` is damaged; get it again: node 104 is deeper in the tree than addresses have bits
          - 1.0.0.0/24: another way leads to node 96 as well
        mmdb-ip-version-5.mmdb
          the database `FILE` is damaged; get it again: IP version 5 is neither 4 nor 6, in the metadata at byte 4371
          - the metadata: IP version 5 is neither 4 nor 6, in the metadata at byte 4371
        mmdb-map-larger-than-the-file.mmdb
          the database `FILE` has a record for 1.0.0.0/24 that is not of GeoLite2's form; it is damaged or of another make: a map of size 4416898, which goes past the end of the data, at byte 2177
          - 1.0.0.0/24: a map of size 4416898, which goes past the end of the data, at byte 2177
        mmdb-name-not-utf-8.mmdb
          the database `FILE` has a record for 1.0.0.0/24 that is not of GeoLite2's form; it is damaged or of another make: a text that is not UTF-8 at byte 2195
          - 1.0.0.0/24: a text that is not UTF-8 at byte 2195
        mmdb-no-country-code.mmdb
          the database `FILE` has a record for 1.0.0.0/24 that is not of GeoLite2's form; it is damaged or of another make: `4U` is not a country code of two letters at byte 2168
          - 1.0.0.0/24: `4U` is not a country code of two letters at byte 2168
        mmdb-past-the-end.mmdb
          the database `FILE` is damaged; get it again: the left record of node 119 at byte 714 points past the end of the data
          - 1.0.0.0/24: the left record of node 119 at byte 714 points past the end of the data
        mmdb-pointer-to-a-map.mmdb
          the database `FILE` has a record for 1.0.0.0/24 that is not of GeoLite2's form; it is damaged or of another make: a double of the impossible size 1 at byte 2173
          - 1.0.0.0/24: a pointer to what it is part of at byte 2168
        mmdb-pointer-to-itself.mmdb
          the database `FILE` has a record for 1.0.0.0/24 that is not of GeoLite2's form; it is damaged or of another make: a double of the impossible size 4 at byte 2179
          - 1.0.0.0/24: a pointer to what it is part of at byte 2177
        mmdb-record-of-another-type.mmdb
          the database `FILE` has a record for 1.0.0.0/24 that is not of GeoLite2's form; it is damaged or of another make: a text where a map is expected at byte 2134
          - 1.0.0.0/24: a text where a map is expected at byte 2134
        mmdb-record-size-25.mmdb
          the database `FILE` is damaged; get it again: record size 25 is none of 24, 28 and 32, in the metadata at byte 4371
          - the metadata: record size 25 is none of 24, 28 and 32, in the metadata at byte 4371
        mmdb-separator-not-zero.mmdb
          nothing
          - byte 2118: the bytes between tree and data are not zeros
        mmdb-too-many-nodes.mmdb
          the database `FILE` is damaged; get it again: 2147483647 nodes take 12884901882 bytes, and before the metadata there are 4357, in the metadata at byte 4371
          - the metadata: 2147483647 nodes take 12884901882 bytes, and before the metadata there are 4357, in the metadata at byte 4371
        tar-cut.tar.gz
          the database `FILE` is an archive that cannot be used; get it again: its member `GeoLite2-Country_20260106/GeoLite2-Country.mmdb` is cut short: 1488 of 4608 bytes (after 649 bytes, 2000 unpacked)
          - the archive: its member `GeoLite2-Country_20260106/GeoLite2-Country.mmdb` is cut short: 1488 of 4608 bytes (after 649 bytes, 2000 unpacked)
        tar-fifo.tar.gz
          the database `FILE` is an archive that cannot be used; get it again: its member `GeoLite2-Country_20260106/GeoLite2-Country.mmdb` is not a file (after 106 bytes, 512 unpacked)
          - the archive: its member `GeoLite2-Country_20260106/GeoLite2-Country.mmdb` is not a file (after 106 bytes, 512 unpacked)
        tar-hard-link.tar.gz
          the database `FILE` is an archive that cannot be used; get it again: its member `GeoLite2-Country_20260106/GeoLite2-Country.mmdb` is a link; databases come without (after 114 bytes, 512 unpacked)
          - the archive: its member `GeoLite2-Country_20260106/GeoLite2-Country.mmdb` is a link; databases come without (after 114 bytes, 512 unpacked)
        tar-link.tar.gz
          the database `FILE` is an archive that cannot be used; get it again: its member `GeoLite2-Country_20260106/GeoLite2-Country.mmdb` is a link; databases come without (after 114 bytes, 512 unpacked)
          - the archive: its member `GeoLite2-Country_20260106/GeoLite2-Country.mmdb` is a link; databases come without (after 114 bytes, 512 unpacked)
        tar-member-of-8-gib.tar.gz
          the database `FILE` is an archive that cannot be used; get it again: its member `GeoLite2-Country_20260106/GeoLite2-Country.mmdb` is cut short: 9728 of 8589934591 bytes (after 1707 bytes, 10240 unpacked)
          - the archive: its member `GeoLite2-Country_20260106/GeoLite2-Country.mmdb` is cut short: 9728 of 8589934591 bytes (after 1707 bytes, 10240 unpacked)
        tar-name-absolute.tar.gz
          the database `FILE` is an archive that cannot be used; get it again: its member `/GeoLite2-Country.mmdb` leads out of the archive (after 186 bytes, 512 unpacked)
          - the archive: its member `/GeoLite2-Country.mmdb` leads out of the archive (after 186 bytes, 512 unpacked)
        tar-name-leads-out.tar.gz
          the database `FILE` is an archive that cannot be used; get it again: its member `../../GeoLite2-Country.mmdb` leads out of the archive (after 192 bytes, 512 unpacked)
          - the archive: its member `../../GeoLite2-Country.mmdb` leads out of the archive (after 192 bytes, 512 unpacked)
        tar-none.tar.gz
          the database `FILE` is an archive that cannot be used; get it again: it has no `.mmdb` in it (after 115 bytes, 1536 unpacked)
          - the archive: it has no `.mmdb` in it (after 115 bytes, 1536 unpacked)
        tar-two.tar.gz
          the database `FILE` is an archive that cannot be used; get it again: it has two databases, `a/a.mmdb` and `b/b.mmdb`; unpack it and give one of them (after 1681 bytes, 5632 unpacked)
          - the archive: it has two databases, `a/a.mmdb` and `b/b.mmdb`; unpack it and give one of them (after 1681 bytes, 5632 unpacked)
        zip-bomb.zip
          the database `FILE` is an archive that cannot be used; get it again: its member `GeoLite2-Country-Blocks-IPv4.csv` would unpack from 20472 to 20971652 bytes, which no database does
          - the archive: its member `GeoLite2-Country-Blocks-IPv4.csv` would unpack from 20472 to 20971652 bytes, which no database does
        zip-broken-deflate.zip
          the database `FILE` is damaged or of another make at line 1 of `GeoLite2-Country-Blocks-IPv4.csv`: corrupt deflate stream (after 53 bytes, 0 unpacked)
          - line 1 of `GeoLite2-Country-Blocks-IPv4.csv`: corrupt deflate stream (after 53 bytes, 0 unpacked)
        zip-bzip2.zip
          the database `FILE` is an archive that cannot be used; get it again: its member `GeoLite2-Country-Blocks-IPv4.csv` is compressed by a method that is not known here, 12 (BZIP2)
          - the archive: its member `GeoLite2-Country-Blocks-IPv4.csv` is compressed by a method that is not known here, 12 (BZIP2)
        zip-count-is-wrong.zip
          the database `FILE` is an archive that cannot be used; get it again: it has 2 members and says that it has 60000
          - the archive: it has 2 members and says that it has 60000
        zip-empty.zip
          the database `FILE` is not a MaxMind database: there is no file with a name ending in `-Blocks-IPv4.csv` in it
        zip-encrypted.zip
          the database `FILE` is an archive that cannot be used; get it again: its member `GeoLite2-Country-Blocks-IPv4.csv` is encrypted
          - the archive: its member `GeoLite2-Country-Blocks-IPv4.csv` is encrypted
        zip-larger-than-it-says.zip
          the database `FILE` is damaged or of another make at line 1 of `GeoLite2-Country-Blocks-IPv4.csv`: it unpacks to more than the archive says (after 244 bytes, 536 unpacked)
          - line 1 of `GeoLite2-Country-Blocks-IPv4.csv`: it unpacks to more than the archive says (after 244 bytes, 536 unpacked)
        zip-link.zip
          the database `FILE` is an archive that cannot be used; get it again: its member `GeoLite2-Country-Blocks-IPv4.csv` is not a file
          - the archive: its member `GeoLite2-Country-Blocks-IPv4.csv` is not a file
        zip-member-past-the-end.zip
          the database `FILE` is an archive that cannot be used; get it again: its member `GeoLite2-Country-Blocks-IPv4.csv` goes past the end, to byte 1073741886 of 840
          - the archive: its member `GeoLite2-Country-Blocks-IPv4.csv` goes past the end, to byte 1073741886 of 840
        zip-name-absolute.zip
          the database `FILE` is an archive that cannot be used; get it again: its member `/etc/GeoLite2-Country-Blocks-IPv4.csv` leads out of the archive
          - the archive: its member `/etc/GeoLite2-Country-Blocks-IPv4.csv` leads out of the archive
        zip-name-leads-out.zip
          the database `FILE` is an archive that cannot be used; get it again: its member `../../GeoLite2-Country-Blocks-IPv4.csv` leads out of the archive
          - the archive: its member `../../GeoLite2-Country-Blocks-IPv4.csv` leads out of the archive
        zip-name-of-windows.zip
          the database `FILE` is an archive that cannot be used; get it again: its member `..\GeoLite2-Country-Blocks-IPv4.csv` leads out of the archive
          - the archive: its member `..\GeoLite2-Country-Blocks-IPv4.csv` leads out of the archive
        zip-other-files.zip
          the database `FILE` is not a MaxMind database: there is no file with a name ending in `-Blocks-IPv4.csv` in it
        zip-smaller-than-it-says.zip
          the database `FILE` is damaged or of another make at line 14 of `GeoLite2-Country-Blocks-IPv4.csv`: it ends in the middle (after 244 bytes, 536 unpacked)
          - line 14 of `GeoLite2-Country-Blocks-IPv4.csv`: it ends in the middle (after 244 bytes, 536 unpacked)
        zip-twice.zip
          the database `FILE` is an archive that cannot be used; get it again: its member `GeoLite2-Country-Blocks-IPv4.csv` is there twice
          - the archive: its member `GeoLite2-Country-Blocks-IPv4.csv` is there twice
        zip-two-databases.zip
          the database `FILE` is not a MaxMind database: there are several in it, `GeoLite2-Country-Blocks-IPv4.csv`, `GeoLite2-City-Blocks-IPv4.csv`
        zip-with-mmdb.zip
          the database `FILE` is not a MaxMind database: it is a zip archive with a `.mmdb` in it; unpack it and give that
        zip-wrong-sum.zip
          the database `FILE` is damaged or of another make at line 14 of `GeoLite2-Country-Blocks-IPv4.csv`: its checksum is not the one that the archive says (after 244 bytes, 536 unpacked)
          - line 14 of `GeoLite2-Country-Blocks-IPv4.csv`: its checksum is not the one that the archive says (after 244 bytes, 536 unpacked)
    "#]].assert_eq(&said);
}

/// Whatever it is packed in. A text is no database that was cut short, whatever its name.
#[test]
fn a_database_that_was_cut_short() {
    let folder = tempfile::tempdir().unwrap();
    let cut = &std::fs::read(self::folder("data").join("GeoLite2-Country.mmdb")).unwrap()[..2000];
    let gzip = |bytes: &[u8]| {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(bytes).unwrap();
        packed.finish().unwrap()
    };
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_size(cut.len() as u64);
    tar.append_data(&mut header, "GeoLite2-Country.mmdb", cut)
        .unwrap();
    let tar = tar.into_inner().unwrap();
    let long = [&[0; 300_000][..], cut].concat();
    let html = "<html>Zugang verweigert: ü".as_bytes();
    let mut said = String::new();
    for (name, bytes) in [
        ("a.mmdb", cut.to_vec()),
        ("long.MMDB", long),
        ("a.tar.gz", gzip(&tar)),
        ("a.mmdb.gz", gzip(cut)),
        ("empty.mmdb", Vec::new()),
        ("other", cut.to_vec()),
        ("other.gz", gzip(cut)),
        ("text.mmdb", html[..html.len() - 1].to_vec()),
        ("text.mmdb.gz", gzip(html)),
    ] {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let answer = match verify(&path) {
            Ok(found) => found.defects.iter().map(|defect| &*defect.what).collect(),
            Err(error @ Error::NotADatabase { .. }) => {
                format!(
                    "error: {}",
                    error.to_string().rsplit_once("database: ").unwrap().1
                )
            }
            Err(error) => panic!("{name}: {error:?}"),
        };
        assert!(Database::open(&path).is_err(), "{name}");
        writeln!(said, "{name}: {answer}").unwrap();
    }
    expect![[r#"
        a.mmdb: no metadata in the last 128 KiB of 2000 bytes
        long.MMDB: no metadata in the last 128 KiB of 302000 bytes
        a.tar.gz: its member `GeoLite2-Country.mmdb` has no metadata in the last 128 KiB of 2000 bytes
        a.mmdb.gz: what is compressed in it has no metadata in the last 128 KiB of 2000 bytes
        empty.mmdb: no metadata in the last 128 KiB of 0 bytes
        other: error: its metadata is missing; give the `.mmdb` file, whole
        other.gz: error: what is compressed in it has no metadata of one
        text.mmdb: error: its metadata is missing; give the `.mmdb` file, whole
        text.mmdb.gz: error: what is compressed in it has no metadata of one
    "#]]
    .assert_eq(&said);
}

#[test]
fn every_defect_is_told_though_a_hundred_are_listed() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &str| std::fs::write(folder.path().join(name), content).unwrap();
    write(
        "GeoLite2-Country-Locations-en.csv",
        "geoname_id,country_iso_code,country_name\n",
    );
    let rows: String = (0..250).map(|third| format!("1.0.{third}.1/24,\n")).collect();
    write(
        "GeoLite2-Country-Blocks-IPv4.csv",
        &format!("network,geoname_id\n{rows}"),
    );
    let mut told = Vec::new();
    let options = OpenOptions::default();
    let found =
        geodata::verify_each(folder.path(), &options, &mut |defect| told.push(defect.clone())).unwrap();
    assert_eq!(
        (found.defects.len(), found.defect_count, told.len()),
        (100, 250, 250)
    );
    assert_eq!(told[..100], found.defects);
    assert!(
        told[249].what.contains("`1.0.249.1/24` has address bits"),
        "{:?}",
        told[249]
    );

    let mut told = 0;
    let cut = std::fs::read(self::folder("hostile").join("gz-cut.tar.gz")).unwrap();
    let found = geodata::verify_bytes_each(cut, &options, &mut |_| told += 1).unwrap();
    assert_eq!((found.defect_count, told), (1, 1));
}

/// Opening the first would wait for somebody to write to it, and the second has no end.
#[cfg(unix)]
#[test]
fn pipes_and_devices_are_no_databases() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("GeoLite2-Country.mmdb");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status().unwrap();
    assert!(made.success());
    for path in [&fifo, Path::new("/dev/zero")] {
        for mapped in [true, false] {
            let options = OpenOptions::default().memory_map(mapped);
            let error = Database::open_with(path, &options).unwrap_err();
            assert!(matches!(error, Error::NotADatabase { .. }), "{error:?}");
            assert!(error.to_string().contains("it is a pipe or a device"), "{error}");
        }
        assert!(matches!(verify(path), Err(Error::NotADatabase { .. })));
    }
}

/// As a tree of IPv4 networks is whose metadata say 6.
#[test]
fn an_ip_version_that_is_not_that_of_the_tree() {
    let verified = |bytes: Vec<u8>| verify_bytes(bytes, &OpenOptions::default()).unwrap();
    let record = json!({ "country": { "iso_code": "FR" } });
    let mut writer = Writer::new("GeoLite2-Country");
    writer.insert("1.0.0.0/24".parse().unwrap(), &record).unwrap();
    let mut bytes = writer.to_bytes().unwrap();
    let key = b"ip_version\xa1";
    let at = bytes.windows(key.len()).position(|window| window == key).unwrap() + key.len();
    assert_eq!(bytes[at], 4);
    bytes[at] = 6;
    let found = verified(bytes);
    assert_eq!((found.networks, found.ipv6_networks), (0, 1));
    expect!["the way to the IPv4 networks, 96 zeros, ends after 8: the IP version 6 that the metadata say is not that of the tree, or it has none"].assert_eq(&found.defects[0].what);

    let empty = verified(Writer::new_ipv6("GeoLite2-Country").to_bytes().unwrap());
    assert!(empty.is_sound());
    assert_eq!(empty.notes, ["no IPv4 networks"]);
    // Of systems there may be some for IPv6 alone.
    let mut writer = Writer::new_ipv6("GeoLite2-ASN");
    let system = json!({ "autonomous_system_number": 64_496 });
    writer.insert("2001:db8::/32".parse().unwrap(), &system).unwrap();
    let found = verified(writer.to_bytes().unwrap());
    assert!(found.is_sound() && found.notes.is_empty(), "{found:?}");
}

#[test]
fn archives_cut_short_anywhere() {
    for name in [
        "GeoLite2-Country-CSV_20260106.zip",
        "GeoLite2-Country_20260106.tar.gz",
        "GeoLite2-Country.mmdb.gz",
    ] {
        let whole = std::fs::read(folder("data").join(name)).unwrap();
        for len in 0..whole.len() {
            let complaint = complaint(Database::from_bytes(whole[..len].to_vec()));
            assert_ne!(complaint, "nothing", "{name} cut to {len} bytes");
            let found = verify_bytes(whole[..len].to_vec(), &OpenOptions::default());
            assert!(
                !found.is_ok_and(|found| found.is_sound()),
                "{name} cut to {len} bytes"
            );
        }
    }
}

#[test]
fn archives_with_any_byte_changed() {
    for name in [
        "GeoLite2-Country-CSV_20260106.zip",
        "GeoLite2-Country_20260106.tar.gz",
    ] {
        let whole = std::fs::read(folder("data").join(name)).unwrap();
        let sound = Database::from_bytes(whole.clone()).unwrap();
        let sound: Vec<_> = sound.networks().map(Result::unwrap).collect();
        let mut noticed = 0;
        for place in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[place] ^= 0x21;
            let Ok(database) = Database::from_bytes(bytes) else {
                noticed += 1;
                continue;
            };
            match database.networks().collect::<Result<Vec<_>, _>>() {
                // What the sums do not cover has no effect: times, comments, other members.
                Ok(networks) => assert_eq!(networks, sound, "{name} at {place}"),
                Err(_) => noticed += 1,
            }
        }
        assert!(
            noticed > whole.len() / 4,
            "{name}: {noticed} of {} noticed",
            whole.len()
        );
    }
}

/// As much as the bound allows and one byte more, which takes a thousandth of that.
#[test]
fn what_unpacks_to_too_much_is_given_up() {
    let bomb = |unpacked: u64| {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        std::io::copy(
            &mut std::io::Read::take(std::io::repeat(0), unpacked),
            &mut packed,
        )
        .unwrap();
        packed.finish().unwrap()
    };
    let error = |bytes: Vec<u8>, options: &OpenOptions| {
        chain(&Database::from_bytes_with(bytes, options).unwrap_err())
    };
    let far_too_much = error(bomb(64 << 20), &OpenOptions::default());
    assert!(far_too_much.contains("it unpacks to more than"), "{far_too_much}");
    let options = OpenOptions::default().unpacked_limit(1000);
    expect!["the database is an archive that cannot be used; get it again: it unpacks to more than 1000 bytes, which no database of its size does (after 21 bytes, 1001 unpacked)"].assert_eq(&error(bomb(1001), &options));
    expect!["the database is not a MaxMind database: what is compressed in it has no metadata of one"]
        .assert_eq(&error(bomb(1000), &options));
}

#[test]
fn a_line_without_end() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &[u8]| {
        let mut file = std::fs::File::create(folder.path().join(name)).unwrap();
        file.write_all(content).unwrap();
    };
    write(
        "GeoLite2-Country-Locations-en.csv",
        b"geoname_id,country_iso_code,country_name\n7,FR,France\n",
    );
    let mut blocks = b"network,geoname_id\n1.0.0.0/24,7\n1.0.1.0/24,\"".to_vec();
    blocks.resize(1 << 20, b'7');
    write("GeoLite2-Country-Blocks-IPv4.csv", &blocks);
    let complaint = complaint(Database::open(folder.path()));
    expect!["damaged or of another make at line 3 of `GeoLite2-Country-Blocks-IPv4.csv`: it is longer than 65536 bytes"].assert_eq(complaint.split_once("` is ").unwrap().1);
    assert_eq!(verify(folder.path()).unwrap().defect_count, 1);
}

/// A million ways through the part for IPv6, none of which ends in a network.
#[test]
fn a_web_of_ipv6_does_not_keep_the_count_for_ever() {
    let mut writer = Writer::new_ipv6("GeoLite2-Country");
    let record = json!({ "country": { "iso_code": "FR" } });
    writer.insert("1.0.0.0/24".parse().unwrap(), &record).unwrap();
    writer.insert("ffff::/128".parse().unwrap(), &record).unwrap();
    let mut bytes = writer.to_bytes().unwrap();
    // Of every node that has only one branch, both lead the same way.
    let metadata = maxminddb::Reader::from_source(bytes.clone()).unwrap();
    let nodes = metadata.metadata().node_count as usize;
    for node in bytes[..6 * nodes].chunks_exact_mut(6) {
        let empty = [0, (nodes >> 8) as u8, nodes as u8];
        if node[..3] == empty {
            node.copy_within(3..6, 0);
        } else if node[3..] == empty {
            node.copy_within(0..3, 3);
        }
    }
    let database = Database::from_bytes(bytes.clone()).unwrap();
    let error = chain(&database.ipv6_networks().unwrap_err());
    assert!(error.contains("the search tree is not a tree"), "{error}");
    let found = verify_bytes(bytes, &OpenOptions::default()).unwrap();
    assert!(
        found.defects[0].what.contains("another way leads to node"),
        "{found:?}"
    );
}

/// Every record is a map of thousands of entries, and all of them overlap.
#[test]
fn records_that_are_far_too_large() {
    let mut record = serde_json::Map::new();
    for index in 0..5000 {
        record.insert(format!("{index:04}"), true.into());
    }
    let mut writer = Writer::new("GeoLite2-Country");
    writer
        .insert("1.0.0.0/24".parse().unwrap(), &record.into())
        .unwrap();
    let complaint = complaint(Database::from_bytes(writer.to_bytes().unwrap()));
    expect!["the database has a record for 1.0.0.0/24 that is not of GeoLite2's form; it is damaged or of another make: a record of too many values at byte 160"].assert_eq(&complaint);
}
