//! What form a database has: told by what is in it, not by its name.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use rawzip::ReaderAt;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::archive::{Member, Trouble, gunzip, zip_members};
use crate::bytes::{Blob, Bytes, Opened, hex};
use crate::mmdb::{SEARCHED, has_mark};
use crate::{Error, Fault, OpenOptions};

/// The form that a database comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Form {
    /// MaxMind's binary format.
    Mmdb,
    /// The same, compressed with gzip.
    MmdbGz,
    /// The same in a tar archive compressed with gzip, as it is downloaded.
    MmdbTarGz,
    /// CSV files in a zip archive, as it is downloaded.
    CsvZip,
    /// CSV files in a folder.
    CsvFolder,
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Mmdb => "MMDB",
            Self::MmdbGz => "MMDB in gzip",
            Self::MmdbTarGz => "MMDB in tar.gz",
            Self::CsvZip => "CSV in zip",
            Self::CsvFolder => "CSV in a folder",
        })
    }
}

/// What a database has to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    Countries,
    Systems,
    Anything,
}

impl Wanted {
    pub(crate) fn accepts(self, database_type: &str) -> bool {
        match self {
            Self::Countries => has_countries(database_type),
            Self::Systems => has_systems(database_type),
            Self::Anything => true,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Countries => "a GeoLite2-Country or GeoLite2-City database",
            Self::Systems => "a GeoLite2-ASN or GeoIP2-ISP database",
            Self::Anything => "a database",
        }
    }
}

/// The types are many (`GeoIP2-City-North-America`, `DBIP-Country-Lite`), but all that know countries say so.
pub(crate) fn has_countries(database_type: &str) -> bool {
    let database_type = database_type.to_ascii_lowercase();
    ["country", "city", "enterprise"]
        .iter()
        .any(|kind| database_type.contains(kind))
}

pub(crate) fn has_systems(database_type: &str) -> bool {
    let database_type = database_type.to_ascii_lowercase();
    ["asn", "isp"].iter().any(|kind| database_type.contains(kind))
}

/// So much of a file is looked at to tell what it is.
const BEGINNING: usize = 1024;

/// A database, found but not yet read.
pub(crate) struct Source {
    pub(crate) form: Form,
    pub(crate) content: Content,
    /// Those that will be read later, or again.
    pub(crate) files: Vec<Opened>,
}

pub(crate) enum Content {
    /// With the SHA-256 of the archive that it was in.
    Mmdb(Bytes, Option<String>),
    Csv(CsvFiles),
}

/// The files of a database in CSV.
#[derive(Debug)]
pub(crate) struct CsvFiles {
    /// What their names begin with, such as `GeoLite2-Country`.
    pub(crate) database_type: String,
    pub(crate) ipv4: Member,
    pub(crate) ipv6: Option<Member>,
    /// By language.
    pub(crate) locations: BTreeMap<String, Member>,
    /// From the name of the folder: year, month and day.
    pub(crate) built: Option<jiff::civil::Date>,
    /// Of the archive, or of all files of the form in the folder.
    pub(crate) sha256: String,
}

/// Finds a database at a path.
pub(crate) fn open(path: &Path, title: &str, options: &OpenOptions, wanted: Wanted) -> Result<Source, Error> {
    let failed = |source| Error::Open {
        path: path.to_owned(),
        source,
    };
    // Looked at before it is opened: opening a pipe waits for somebody to write to it, and a device may have no end.
    let facts = std::fs::metadata(path).map_err(failed)?;
    if facts.is_dir() {
        return open_folder(path, title, options, wanted);
    }
    if !facts.is_file() {
        return Err(not_a_database(
            title,
            "it is a pipe or a device; write what it gives into a file, and give that",
        ));
    }
    let opened = Opened::open(path).map_err(failed)?;
    let blob = opened.blob().map_err(failed)?;
    match kind_of(&blob).map_err(failed)? {
        Packing::None => {
            let beginning = read_part(&blob, 0, BEGINNING).map_err(failed)?;
            let searched = blob.len().min(SEARCHED as u64);
            let end = read_part(&blob, blob.len() - searched, SEARCHED).map_err(failed)?;
            if !has_mark(&end) {
                return Err(no_mark(title, &beginning, blob.len(), named_mmdb(path)));
            }
            let bytes = opened.bytes(options.memory_map).map_err(failed)?;
            let files = if bytes.is_mapped() { vec![opened] } else { vec![] };
            Ok(Source {
                form: Form::Mmdb,
                content: Content::Mmdb(bytes, None),
                files,
            })
        }
        Packing::Gzip => {
            let source = gzipped(&blob, Some(path), title, options)?;
            opened.check()?;
            Ok(source)
        }
        Packing::Zip => {
            let source = zipped(blob, Some(path), title, options, wanted)?;
            Ok(Source {
                files: vec![opened],
                ..source
            })
        }
    }
}

/// Whether a file is said to be a database, packed with gzip or not.
fn named_mmdb(path: &Path) -> bool {
    let name = name(path).to_ascii_lowercase();
    name.strip_suffix(".gz").unwrap_or(&name).ends_with(".mmdb")
}

/// Up to so many bytes from a place on.
fn read_part(blob: &Blob, from: u64, most: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; most.min(usize::try_from(blob.len().saturating_sub(from)).unwrap_or(most))];
    let mut read = 0;
    while read < bytes.len() {
        match blob.read_at(&mut bytes[read..], from + read as u64)? {
            0 => break,
            more => read += more,
        }
    }
    bytes.truncate(read);
    Ok(bytes)
}

/// Finds a database in bytes.
pub(crate) fn of_bytes(
    bytes: Cow<'static, [u8]>,
    title: &str,
    options: &OpenOptions,
    wanted: Wanted,
) -> Result<Source, Error> {
    match packing(&bytes) {
        Packing::None if has_mark(&bytes) => Ok(Source {
            form: Form::Mmdb,
            content: Content::Mmdb(Bytes::Memory(bytes), None),
            files: Vec::new(),
        }),
        Packing::None => Err(no_mark(title, &bytes, bytes.len() as u64, false)),
        Packing::Gzip => gzipped(&Blob::of_bytes(bytes), None, title, options),
        Packing::Zip => zipped(Blob::of_bytes(bytes), None, title, options, wanted),
    }
}

#[derive(Clone, Copy)]
enum Packing {
    None,
    Gzip,
    Zip,
}

fn kind_of(blob: &Blob) -> io::Result<Packing> {
    let mut head = [0; 4];
    let read = blob.read_at(&mut head, 0)?;
    Ok(packing(&head[..read]))
}

fn packing(bytes: &[u8]) -> Packing {
    match bytes {
        [0x1f, 0x8b, 8, ..] => Packing::Gzip,
        [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] => Packing::Zip,
        _ => Packing::None,
    }
}

/// Why a file without MaxMind's mark is not used: it was cut short, or is something else.
fn no_mark(title: &str, beginning: &[u8], len: u64, named_mmdb: bool) -> Error {
    if named_mmdb && !is_text(beginning) {
        return Error::Damaged {
            database: title.to_owned(),
            source: no_metadata(len),
        };
    }
    not_a_database(title, something_else(beginning))
}

fn no_metadata(len: u64) -> Fault {
    Fault(format!(
        "no metadata in the last {} KiB of {len} bytes",
        SEARCHED >> 10
    ))
}

/// Whether it begins as texts do, and no tree of networks does.
fn is_text(beginning: &[u8]) -> bool {
    let beginning = &beginning[..beginning.len().min(BEGINNING)];
    let controls = |byte: &u8| byte.is_ascii_control() && !byte.is_ascii_whitespace();
    // The last character may have been cut.
    let is_utf8 = std::str::from_utf8(beginning).map_or_else(|error| error.error_len().is_none(), |_| true);
    !beginning.is_empty() && is_utf8 && !beginning.iter().any(controls)
}

fn gzipped(blob: &Blob, path: Option<&Path>, title: &str, options: &OpenOptions) -> Result<Source, Error> {
    let trouble = |trouble| archive_error(trouble, title);
    let (member, bytes) = gunzip(blob, options.unpacked_limit).map_err(trouble)?;
    if !has_mark(&bytes) {
        let len = bytes.len() as u64;
        return Err(match member {
            Some(member) => Error::Archive {
                database: title.to_owned(),
                source: Fault(format!("its member `{member}` has {}", no_metadata(len).0)),
            },
            None if path.is_some_and(named_mmdb) && !is_text(&bytes) => Error::Archive {
                database: title.to_owned(),
                source: Fault(format!("what is compressed in it has {}", no_metadata(len).0)),
            },
            None => not_a_database(title, "what is compressed in it has no metadata of one"),
        });
    }
    let sha256 = blob.sha256().map_err(|error| trouble(Trouble::Io(error)))?;
    Ok(Source {
        form: if member.is_some() {
            Form::MmdbTarGz
        } else {
            Form::MmdbGz
        },
        content: Content::Mmdb(Bytes::Memory(bytes.into()), Some(sha256)),
        files: Vec::new(),
    })
}

fn zipped(
    blob: Blob,
    path: Option<&Path>,
    title: &str,
    options: &OpenOptions,
    wanted: Wanted,
) -> Result<Source, Error> {
    let trouble = |trouble| archive_error(trouble, title);
    let mut has_mmdb = false;
    let members = zip_members(&blob, options.unpacked_limit, |name| {
        let name = base(name);
        has_mmdb |= name.ends_with(".mmdb") && !is_beside(name);
        is_csv(name)
    });
    let members = members.map_err(trouble)?;
    if members.is_empty() && has_mmdb {
        return Err(not_a_database(
            title,
            "it is a zip archive with a `.mmdb` in it; unpack it and give that",
        ));
    }
    let sha256 = blob.sha256().map_err(|error| trouble(Trouble::Io(error)))?;
    let name = path.and_then(Path::file_stem).and_then(|name| name.to_str());
    let files = choose(members, name, wanted, sha256).map_err(|hint| not_a_database(title, hint))?;
    Ok(Source {
        form: Form::CsvZip,
        content: Content::Csv(files),
        files: Vec::new(),
    })
}

pub(crate) fn archive_error(trouble: Trouble, title: &str) -> Error {
    match trouble {
        Trouble::Damaged(source) => Error::Archive {
            database: title.to_owned(),
            source,
        },
        Trouble::Io(source) => Error::Read {
            database: title.to_owned(),
            source,
        },
    }
}

fn not_a_database(title: &str, hint: impl Into<Cow<'static, str>>) -> Error {
    Error::NotADatabase {
        database: title.to_owned(),
        hint: hint.into(),
    }
}

fn open_folder(path: &Path, title: &str, options: &OpenOptions, wanted: Wanted) -> Result<Source, Error> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::Open { path, source }
    };
    let (mut csv, mut mmdb) = (Vec::new(), Vec::new());
    for entry in std::fs::read_dir(path).map_err(failed(path))? {
        let file = entry.map_err(failed(path))?.path();
        let name = name(&file);
        if is_csv(&name) && file.is_file() {
            csv.push(file);
        } else if extension(&file) == "mmdb" && !is_beside(&name) && file.is_file() {
            mmdb.push(file);
        }
    }
    csv.sort();
    mmdb.sort();
    if csv.is_empty() {
        return match &one_of(mmdb, wanted)[..] {
            [] => Err(not_a_database(
                title,
                "it is a folder with neither a `.mmdb` nor the CSV files in it",
            )),
            [file] => open(file, title, options, wanted),
            several => Err(not_a_database(
                title,
                format!(
                    "it is a folder with several in it, {}; give one of them",
                    names(several)
                ),
            )),
        };
    }
    let mut hash = Sha256::new();
    let mut members = Vec::new();
    let mut opened = Vec::new();
    for file in &csv {
        let this = Opened::open(file).map_err(failed(file))?;
        let blob = this.blob().map_err(failed(file))?;
        blob.hash_into(&mut hash).map_err(failed(file))?;
        members.push(Member::plain(&name(file), blob));
        opened.push(this);
    }
    // `.` and the like have no name of their own.
    let canonical = path.canonicalize().map_err(failed(path))?;
    let sha256 = hex(&hash.finalize());
    let files = choose(members, Some(&name(&canonical)), wanted, sha256)
        .map_err(|hint| not_a_database(title, hint))?;
    Ok(Source {
        form: Form::CsvFolder,
        content: Content::Csv(files),
        files: opened,
    })
}

/// Whether a file is of the CSV form, by its name.
fn is_csv(name: &str) -> bool {
    let Some(stem) = name.strip_suffix(".csv") else {
        return false;
    };
    let is_blocks = stem.ends_with("-Blocks-IPv4") || stem.ends_with("-Blocks-IPv6");
    (is_blocks || stem.contains("-Locations-")) && !is_beside(name)
}

/// Whether it is one of the files about files that macOS puts beside them.
fn is_beside(name: &str) -> bool {
    name.starts_with("._")
}

fn extension(file: &Path) -> &str {
    file.extension()
        .and_then(|extension| extension.to_str())
        .unwrap_or_default()
}

fn name(file: &Path) -> String {
    file.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

fn names(files: &[PathBuf]) -> String {
    let names: Vec<_> = files.iter().map(|file| format!("`{}`", name(file))).collect();
    names.join(", ")
}

/// Of several databases, those whose name fits.
fn one_of(files: Vec<PathBuf>, wanted: Wanted) -> Vec<PathBuf> {
    if files.len() < 2 {
        return files;
    }
    let fitting: Vec<_> = files
        .iter()
        .filter(|file| wanted.accepts(&name(file)))
        .cloned()
        .collect();
    if fitting.is_empty() { files } else { fitting }
}

/// The files of one database among files in CSV.
fn choose(
    members: Vec<Member>,
    container: Option<&str>,
    wanted: Wanted,
    sha256: String,
) -> Result<CsvFiles, String> {
    const IPV4: &str = "-Blocks-IPv4.csv";

    let mut blocks: Vec<(String, &Member)> = members
        .iter()
        .filter_map(|member| Some((member.name.strip_suffix(IPV4)?.to_owned(), member)))
        .collect();
    if blocks.len() > 1 && blocks.iter().any(|(stem, _)| wanted.accepts(base(stem))) {
        blocks.retain(|(stem, _)| wanted.accepts(base(stem)));
    }
    let (stem, ipv4) = match &blocks[..] {
        [] => return Err("there is no file with a name ending in `-Blocks-IPv4.csv` in it".to_owned()),
        [one] => one,
        several => {
            let names: Vec<_> = several
                .iter()
                .map(|(_, member)| format!("`{}`", member.name))
                .collect();
            return Err(format!("there are several in it, {}", names.join(", ")));
        }
    };
    let beside = |suffix: &str| {
        let name = format!("{stem}{suffix}");
        members.iter().find(|member| *member.name == *name).cloned()
    };
    let locations = members.iter().filter_map(|member| {
        let language = member
            .name
            .strip_prefix(stem.as_str())?
            .strip_prefix("-Locations-")?;
        Some((language.strip_suffix(".csv")?.to_owned(), member.clone()))
    });
    let folder = stem.rsplit_once('/').map(|(folder, _)| base(folder));
    Ok(CsvFiles {
        database_type: base(stem).to_owned(),
        ipv4: (*ipv4).clone(),
        ipv6: beside("-Blocks-IPv6.csv"),
        locations: locations.collect(),
        built: folder.and_then(date).or_else(|| container.and_then(date)),
        sha256,
    })
}

/// The last part of a path.
fn base(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// The date at the end of a name, such as `GeoLite2-Country-CSV_20260106`.
fn date(name: &str) -> Option<jiff::civil::Date> {
    let (_, date) = name.rsplit_once('_')?;
    if date.len() != 8 || !date.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number = |from: usize, to: usize| date[from..to].parse::<i16>().ok();
    let (month, day) = (number(4, 6)? as i8, number(6, 8)? as i8);
    jiff::civil::Date::new(number(0, 4)?, month, day).ok()
}

/// What a file without MaxMind's mark is instead.
fn something_else(bytes: &[u8]) -> &'static str {
    match bytes {
        [] => "it is empty",
        _ if bytes.starts_with(b"network,") || bytes.starts_with(b"geoname_id,") => {
            "it is one of the CSV files; give their folder, or the zip archive that they came in"
        }
        _ => "its metadata is missing; give the `.mmdb` file, whole",
    }
}
