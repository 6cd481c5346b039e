//! `cargo xtask sample-db`: makes the built-in country database of `geodata-sample`.
//!
//! Its source is the text that Debian packages as `tor-geoipdb`: IPv4 ranges with their countries, taken from the IPFire
//! Location database. The ranges of some countries are cut into networks, at most so many of each, and written in
//! MaxMind's format, with records shaped like those of GeoLite2-Country. The same text gives the same bytes.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use geodata::writer::Writer;
use ipnet::Ipv4Net;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::workspace;

/// Make the built-in country database from the text of Debian's package `tor-geoipdb`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The text to read; `apt-get install tor-geoipdb` brings it.
    #[arg(long, default_value = "/usr/share/tor/geoip")]
    geoip: PathBuf,
    /// The database to write. Default: the one that is built in.
    #[arg(long)]
    output: Option<PathBuf>,
    /// Write nothing; fail if the database is not what the text gives.
    #[arg(long)]
    check: bool,
}

/// The most networks of a country: as many as two megabytes hold.
const NETWORKS_PER_COUNTRY: usize = 10_000;

/// The most bytes.
const SIZE_LIMIT: usize = 2_000_000;

/// Code, English name and GeoNames id of the countries, and code, English name and GeoNames id of their continents.
const COUNTRIES: [(&str, &str, u32, Continent); 11] = [
    ("AU", "Australia", 2_077_456, OCEANIA),
    ("BR", "Brazil", 3_469_034, SOUTH_AMERICA),
    ("CA", "Canada", 6_251_999, NORTH_AMERICA),
    ("DE", "Germany", 2_921_044, EUROPE),
    ("FR", "France", 3_017_382, EUROPE),
    ("GB", "United Kingdom", 2_635_167, EUROPE),
    ("IN", "India", 1_269_750, ASIA),
    ("JP", "Japan", 1_861_060, ASIA),
    ("NL", "Netherlands", 2_750_405, EUROPE),
    ("SG", "Singapore", 1_880_251, ASIA),
    ("US", "United States", 6_252_001, NORTH_AMERICA),
];

type Continent = (&'static str, &'static str, u32);
const ASIA: Continent = ("AS", "Asia", 6_255_147);
const EUROPE: Continent = ("EU", "Europe", 6_255_148);
const NORTH_AMERICA: Continent = ("NA", "North America", 6_255_149);
const SOUTH_AMERICA: Continent = ("SA", "South America", 6_255_150);
const OCEANIA: Continent = ("OC", "Oceania", 6_255_151);

/// Runs the task.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let text = fs::read_to_string(&args.geoip).with_context(|| {
        format!(
            "could not read `{}`; does `apt-get install tor-geoipdb` help?",
            args.geoip.display()
        )
    })?;
    let source = Source::parse(&text).with_context(|| format!("in `{}`", args.geoip.display()))?;
    let (bytes, networks) = database(&source)?;
    verify(&bytes, &networks).context("the database made does not read back as what went in")?;
    let built_in = || workspace::root().join("crates/geodata-sample/data/sample-country.mmdb");
    let output = &args.output.clone().unwrap_or_else(built_in);
    if args.check {
        let there = fs::read(output).with_context(|| format!("could not read `{}`", output.display()))?;
        ensure!(
            there == bytes,
            "`{}` is not what `{}` gives",
            output.display(),
            args.geoip.display()
        );
    } else {
        write(output, &bytes)?;
    }
    println!("{}: {} bytes", output.display(), bytes.len());
    for (code, chosen) in &networks {
        println!(
            "  {code} {:>6} of {:>6} networks",
            chosen.len(),
            source.networks[code].len()
        );
    }
    println!("{}", geodata_sample::ATTRIBUTION);
    Ok(())
}

/// What the text says.
struct Source {
    /// When the ranges were gathered, in seconds since 1970.
    generated: u64,
    networks: Networks,
}

/// The networks of each of [`COUNTRIES`], by address.
type Networks = BTreeMap<&'static str, Vec<Ipv4Net>>;

impl Source {
    fn parse(text: &str) -> anyhow::Result<Self> {
        let mut generated = None;
        let mut licence = false;
        let mut networks = Networks::new();
        let mut next = 0_u64;
        for (index, line) in text.lines().enumerate() {
            let context = || format!("line {}: `{line}`", index + 1);
            if let Some(comment) = line.strip_prefix('#') {
                let comment = comment.trim();
                if let Some(time) = comment.strip_prefix("Generated:") {
                    let time = jiff::fmt::rfc2822::parse(time.trim()).with_context(context)?;
                    generated = Some(u64::try_from(time.timestamp().as_second()).with_context(context)?);
                }
                licence |= comment.starts_with("License:") && comment.ends_with("CC BY-SA 4.0");
                continue;
            }
            let fields: Vec<&str> = line.split(',').collect();
            let [first, last, code] = fields[..] else {
                bail!("{}: expected three fields", context())
            };
            let (first, last): (u32, u32) = (
                first.parse().with_context(context)?,
                last.parse().with_context(context)?,
            );
            ensure!(
                next <= first.into() && first <= last,
                "{}: ranges overlap or go backwards",
                context()
            );
            next = u64::from(last) + 1;
            if let Some((code, ..)) = COUNTRIES.iter().find(|(known, ..)| *known == code) {
                let cut = ipnet::Ipv4Subnets::new(first.into(), last.into(), 0);
                networks.entry(code).or_default().extend(cut);
            }
        }
        ensure!(licence, "the text does not say that its licence is CC BY-SA 4.0");
        let generated = generated.context("the text does not say when it was generated")?;
        Ok(Self { generated, networks })
    }
}

/// The file, and the networks in it.
fn database(source: &Source) -> anyhow::Result<(Vec<u8>, Networks)> {
    let mut writer = Writer::new(geodata_sample::DATABASE_TYPE)
        .description(geodata_sample::ATTRIBUTION)
        .build_epoch(source.generated);
    let mut chosen = Networks::new();
    for (code, name, geoname_id, continent) in COUNTRIES {
        let all = source
            .networks
            .get(code)
            .with_context(|| format!("no range of {code}"))?;
        let networks = thinned(code, all);
        let record = record(code, name, geoname_id, continent);
        for network in &networks {
            writer.insert((*network).into(), &record)?;
        }
        chosen.insert(code, networks);
    }
    let bytes = writer.to_bytes()?;
    ensure!(
        bytes.len() <= SIZE_LIMIT,
        "{} bytes are more than {SIZE_LIMIT}",
        bytes.len()
    );
    Ok((bytes, chosen))
}

/// Up to [`NETWORKS_PER_COUNTRY`] of the networks, each as likely as the other: those with the lowest hashes.
fn thinned(code: &str, networks: &[Ipv4Net]) -> Vec<Ipv4Net> {
    let hash = |network: &Ipv4Net| Sha256::digest(format!("sample-db 1 {code} {network}"));
    let mut hashed: Vec<_> = networks.iter().map(|network| (hash(network), *network)).collect();
    hashed.sort_unstable();
    hashed.truncate(NETWORKS_PER_COUNTRY);
    let mut chosen: Vec<_> = hashed.into_iter().map(|(_, network)| network).collect();
    chosen.sort_unstable();
    chosen
}

/// As GeoLite2-Country has it; where a network is registered the source does not say, so it is registered where it is.
fn record(code: &str, name: &str, geoname_id: u32, continent: Continent) -> Value {
    let (continent_code, continent_name, continent_id) = continent;
    let country = json!({ "geoname_id": geoname_id, "iso_code": code, "names": { "en": name } });
    json!({
        "continent": { "code": continent_code, "geoname_id": continent_id, "names": { "en": continent_name } },
        "country": country,
        "registered_country": country,
    })
}

/// Reads the file with the usual reader and compares all of it.
fn verify(bytes: &[u8], networks: &Networks) -> anyhow::Result<()> {
    let reader = maxminddb::Reader::from_source(bytes)?;
    reader.verify()?;
    let mut read = Networks::new();
    for found in reader.networks(maxminddb::WithinOptions::default())? {
        let found = found?;
        let record: maxminddb::geoip2::Country = found.decode()?.context("a network without a record")?;
        let network = found.network()?;
        let IpAddr::V4(address) = network.ip() else {
            bail!("{network} is not IPv4")
        };
        let code = record.country.iso_code.context("a record without a code")?;
        let Some((code, name, id, _)) = COUNTRIES.iter().find(|(known, ..)| *known == code) else {
            bail!("{network} is in {code}")
        };
        ensure!(
            record.country.names.english == Some(name),
            "{network} is not in {name}"
        );
        ensure!(
            record.country.geoname_id == Some(*id),
            "{network} is not in place {id}"
        );
        ensure!(
            record.registered_country.iso_code == Some(code),
            "{network} is not registered in {code}"
        );
        read.entry(code)
            .or_default()
            .push(Ipv4Net::new(address, network.prefix())?);
        let looked_up = reader.lookup(address.into())?;
        ensure!(
            looked_up.network()? == network,
            "{network} is not found by its address"
        );
    }
    ensure!(read == *networks, "the networks differ");
    Ok(())
}

/// Puts the file in place whole.
fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("could not make `{}`", folder.display()))?;
    }
    let draft = path.with_extension("mmdb.tmp");
    fs::write(&draft, bytes).with_context(|| format!("could not write `{}`", draft.display()))?;
    fs::rename(&draft, path).with_context(|| format!("could not write `{}`", path.display()))
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    const HEADER: &str = "# Generated: Thu, 25 Jun 2026 04:33:59 GMT\n# License:   CC BY-SA 4.0\n#\n";

    /// One range for each country, the first cut into three networks.
    fn text() -> String {
        let ranges = COUNTRIES.iter().enumerate().map(|(index, (code, ..))| {
            let first = (index as u32 + 1) << 24;
            format!(
                "{},{},{code}\n",
                first,
                first + if index == 0 { 0x1_0002 } else { 255 }
            )
        });
        format!("{HEADER}{}4026531840,4026531841,??\n", ranges.collect::<String>())
    }

    fn check_error(text: &str, expected: Expect) {
        let error = Source::parse(text).err().map(|error| format!("{error:#}"));
        expected.assert_eq(&error.unwrap_or_default());
    }

    #[test]
    fn ranges_become_networks_that_read_back() {
        let source = Source::parse(&text()).unwrap();
        let (bytes, networks) = database(&source).unwrap();
        verify(&bytes, &networks).unwrap();
        let shown: Vec<_> = networks["AU"].iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["1.0.0.0/16", "1.1.0.0/31", "1.1.0.2/32"]);
        assert_eq!(database(&source).unwrap().0, bytes);

        let mut others = networks.clone();
        others.insert("BR", vec!["2.0.1.0/24".parse().unwrap()]);
        assert!(verify(&bytes, &others).is_err());
    }

    #[test]
    fn a_country_with_many_networks_is_thinned() {
        let all: Vec<Ipv4Net> = Ipv4Net::new([10, 0, 0, 0].into(), 8)
            .unwrap()
            .subnets(23)
            .unwrap()
            .collect();
        let chosen = thinned("AU", &all);
        assert_eq!((all.len(), chosen.len()), (32_768, NETWORKS_PER_COUNTRY));
        assert!(chosen.is_sorted() && chosen.iter().all(|network| all.binary_search(network).is_ok()));
        assert_ne!(thinned("BR", &all), chosen);
        // Each half of them gets its share.
        let low = chosen
            .iter()
            .filter(|network| network.addr().octets()[1] < 128)
            .count();
        assert!((4_750..5_250).contains(&low), "{low}");
    }

    #[test]
    fn a_text_that_is_not_as_expected() {
        let with = |lines: &str| format!("{HEADER}{lines}");
        check_error(
            "# Generated: Thu, 25 Jun 2026 04:33:59 GMT\n1,2,AU\n",
            expect!["the text does not say that its licence is CC BY-SA 4.0"],
        );
        check_error(
            "# License: CC BY-SA 4.0\n1,2,AU\n",
            expect!["the text does not say when it was generated"],
        );
        let error = Source::parse("# Generated: yesterday\n")
            .err()
            .unwrap()
            .to_string();
        assert_eq!(error, "line 1: `# Generated: yesterday`");
        check_error(&with("1,2\n"), expect!["line 4: `1,2`: expected three fields"]);
        check_error(
            &with("1,x,AU\n"),
            expect!["line 4: `1,x,AU`: invalid digit found in string"],
        );
        check_error(
            &with("1,4294967296,AU\n"),
            expect!["line 4: `1,4294967296,AU`: number too large to fit in target type"],
        );
        check_error(
            &with("5,4,AU\n"),
            expect!["line 4: `5,4,AU`: ranges overlap or go backwards"],
        );
        check_error(
            &with("1,5,AU\n5,6,BR\n"),
            expect!["line 5: `5,6,BR`: ranges overlap or go backwards"],
        );
        check_error(
            &with("4294967295,4294967295,AU\n4294967295,4294967295,BR\n"),
            expect!["line 5: `4294967295,4294967295,BR`: ranges overlap or go backwards"],
        );
        let source = Source::parse(&with("1,2,AU\n")).unwrap();
        expect!["no range of BR"].assert_eq(&database(&source).unwrap_err().to_string());
    }
}
