//! Databases made from a seed, of a stated size: nothing to download, and the same bytes everywhere.

#![allow(dead_code, reason = "each benchmark takes what it needs")]
#![expect(
    clippy::unwrap_used,
    reason = "a benchmark ends where its data cannot be made"
)]

use std::fmt::Write as _;
use std::io::Write as _;

use geodata::writer::Writer;
use ipnet::Ipv4Net;
use serde_json::{Value, json};

/// As many networks as a GeoLite2-Country database has, roughly.
pub(crate) const NETWORKS: usize = 500_000;

const SEED: u64 = 2026;

const LANGUAGES: [&str; 8] = ["de", "en", "es", "fr", "ja", "pt-BR", "ru", "zh-CN"];

/// Countries to choose among: some real, so that they can be sampled, and as many made up as there are others.
pub(crate) struct Place {
    pub(crate) code: String,
    pub(crate) name: String,
    pub(crate) geoname_id: u32,
    /// How many in a thousand networks are there, roughly.
    weight: u64,
}

pub(crate) fn places() -> Vec<Place> {
    let real = [
        ("US", "United States", 200),
        ("DE", "Germany", 60),
        ("FR", "France", 55),
        ("GB", "United Kingdom", 60),
        ("CA", "Canada", 45),
        ("SG", "Singapore", 20),
    ];
    let real = real.map(|(code, name, weight)| (code.to_owned(), name.to_owned(), weight));
    let made_up = ('A'..='K').flat_map(|a| ('A'..='Z').map(move |b| format!("{a}{b}")));
    let made_up = made_up
        .filter(|code| code != "DE" && code != "CA" && code != "FR" && code != "GB")
        .map(|code| (code.clone(), format!("Republic of {code}"), 2));
    let places = real.into_iter().chain(made_up).take(250).enumerate();
    places
        .map(|(index, (code, name, weight))| Place {
            code,
            name,
            geoname_id: 1_000_000 + index as u32,
            weight,
        })
        .collect()
}

/// A network, where it is and where it is registered, by their places in [`places`].
pub(crate) struct Row {
    pub(crate) network: Ipv4Net,
    pub(crate) located: usize,
    pub(crate) registered: usize,
}

pub(crate) fn rows(networks: usize) -> Vec<Row> {
    let places = places();
    let total: u64 = places.iter().map(|place| place.weight).sum();
    let mut random = SplitMix(SEED);
    let pick = move |random: &mut SplitMix| {
        let mut left = random.next() % total;
        places
            .iter()
            .position(|place| {
                let here = left < place.weight;
                left = left.wrapping_sub(place.weight);
                here
            })
            .unwrap()
    };
    let mut address = 0x0100_0000_u64;
    let mut rows = Vec::with_capacity(networks);
    while rows.len() < networks {
        // Mostly /24 to /20, some larger; now and then a gap.
        let r = random.next();
        let bits = [8, 8, 8, 8, 9, 9, 10, 10, 11, 12, 13, 6, 7, 5, 14, 3][(r % 16) as usize];
        address = address.next_multiple_of(1 << bits);
        if r >> 60 != 0 {
            let located = pick(&mut random);
            let registered = if random.next().is_multiple_of(8) {
                pick(&mut random)
            } else {
                located
            };
            rows.push(Row {
                network: Ipv4Net::new((address as u32).into(), 32 - bits).unwrap(),
                located,
                registered,
            });
        }
        address += 1 << bits;
        assert!(address < 0xe000_0000, "no room for {networks} networks");
    }
    rows
}

/// A database like GeoLite2-Country: names in eight languages, IPv4 inside of IPv6 with the usual aliases.
pub(crate) fn mmdb(networks: usize) -> Vec<u8> {
    let places = places();
    let place = |index: usize| -> Value {
        let Place {
            code,
            name,
            geoname_id,
            ..
        } = &places[index];
        let names: serde_json::Map<_, _> = LANGUAGES
            .iter()
            .map(|language| {
                let name = if *language == "en" {
                    name.clone()
                } else {
                    format!("{name} ({language})")
                };
                ((*language).to_owned(), name.into())
            })
            .collect();
        json!({ "geoname_id": geoname_id, "iso_code": code, "names": names })
    };
    let mut writer = Writer::new_ipv6("GeoLite2-Country").build_epoch(1_780_000_000);
    for row in rows(networks) {
        let record = json!({
            "continent": { "code": "EU", "geoname_id": 6_255_148, "names": { "en": "Europe" } },
            "country": place(row.located),
            "registered_country": place(row.registered),
        });
        writer.insert(row.network.into(), &record).unwrap();
    }
    writer.alias_ipv4().unwrap();
    writer.to_bytes().unwrap()
}

/// The two CSV files of the same networks: blocks and locations.
pub(crate) fn csv(networks: usize) -> (String, String) {
    let places = places();
    let mut blocks = String::from(
        "network,geoname_id,registered_country_geoname_id,represented_country_geoname_id,is_anonymous_proxy,is_satellite_provider,is_anycast\n",
    );
    for row in rows(networks) {
        let (located, registered) = (places[row.located].geoname_id, places[row.registered].geoname_id);
        writeln!(blocks, "{},{located},{registered},,0,0,", row.network).unwrap();
    }
    let mut locations = String::from(
        "geoname_id,locale_code,continent_code,continent_name,country_iso_code,country_name,is_in_european_union\n",
    );
    for place in &places {
        let Place {
            code,
            name,
            geoname_id,
            ..
        } = place;
        writeln!(locations, "{geoname_id},en,EU,Europe,{code},\"{name}\",0").unwrap();
    }
    (blocks, locations)
}

/// The same as the zip archive that MaxMind ships.
pub(crate) fn csv_zip(networks: usize) -> Vec<u8> {
    let (blocks, locations) = csv(networks);
    let mut archive = rawzip::ZipArchiveWriter::new(Vec::new());
    for (name, content) in [("Blocks-IPv4", &blocks), ("Locations-en", &locations)] {
        let path = format!("GeoLite2-Country-CSV_20260529/GeoLite2-Country-{name}.csv");
        let (mut entry, config) = archive
            .new_file(path.as_str())
            .compression_method(rawzip::CompressionMethod::DEFLATE)
            .start()
            .unwrap();
        let deflate = flate2::write::DeflateEncoder::new(&mut entry, flate2::Compression::default());
        let mut writer = config.wrap(deflate);
        writer.write_all(content.as_bytes()).unwrap();
        let (deflate, descriptor) = writer.finish().unwrap();
        deflate.finish().unwrap();
        entry.finish(descriptor).unwrap();
    }
    archive.finish().unwrap()
}

struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }
}
