//! Seeded samples of networks.

use std::collections::{BTreeMap, BinaryHeap};
use std::path::{Path, PathBuf};

use access_events::AccessEvent;
use ipnet::Ipv4Net;
use sha2::{Digest, Sha256};

use crate::bytes::hex;
use crate::country::nearest;
use crate::manifest::{
    CountryCounts, DatabaseFacts, FileFacts, Manifest, OutlierCounts, SkipReason, Skipped, SpecFacts,
    TestRows,
};
use crate::{CheckedSpec, Country, CountryCode, Database, Error, Shortage, UnknownCountry};

/// Rows to train on and rows to test with. No network gives more than one row.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sample {
    /// Addresses with the country they are in, to train on.
    pub train: Vec<AccessEvent>,
    /// More of the same, held out of the training.
    pub validation: Vec<AccessEvent>,
    /// The outliers: addresses of another country, with each of the countries in turn.
    pub test: Vec<AccessEvent>,
    /// More outliers, to measure with.
    pub evaluation: Vec<AccessEvent>,
    /// Where all of it comes from.
    pub manifest: Manifest,
}

/// Draws a sample: for every country uniformly among its networks, the first address of each.
///
/// One walk over the database, in memory that depends on the rows asked for alone. What is drawn depends on the networks
/// that a country has, the seed and the number of rows, and on nothing else: another country more, another order of the
/// networks or IPv6 beside them make no difference, and a larger sample contains the smaller one.
///
/// # Errors
///
/// [`Error::UnknownCountries`], [`Error::SameCountry`], [`Error::TooFewNetworks`], or what a damaged database leads to.
pub fn sample(db: &Database, spec: &CheckedSpec, seed: u64) -> Result<Sample, Error> {
    let wants_outliers = spec.outliers() + spec.evaluation_outliers() > 0;
    let per_country = spec.training_rows() + spec.held_out_rows();
    let asked: Vec<(&str, usize)> = spec
        .countries()
        .map(|name| (name, per_country))
        .chain(wants_outliers.then(|| {
            (
                spec.outlier_country(),
                spec.outliers() + spec.evaluation_outliers(),
            )
        }))
        .collect();

    let walk = Walk::over(db, &asked, seed)?;
    let mut drawn = walk.drawn(db, &asked)?;
    let outliers = wants_outliers.then(|| drawn.pop()).flatten();

    let names: Vec<&Country> = drawn.iter().map(|drawn| &drawn.country).collect();
    let tagged = |networks: &[Drawn]| -> Vec<AccessEvent> {
        let tags = names.iter().cycle();
        networks
            .iter()
            .zip(tags)
            .map(|(network, tag)| network.row(tag))
            .collect()
    };
    let (test, evaluation) = match &outliers {
        Some(outliers) => {
            let (test, evaluation) = outliers.networks.split_at(spec.outliers());
            (tagged(test), tagged(evaluation))
        }
        None => (Vec::new(), Vec::new()),
    };
    let manifest = Manifest {
        version: Manifest::VERSION,
        database: DatabaseFacts {
            database_type: db.metadata().database_type.clone(),
            built: db.metadata().built.clone(),
            sha256: db.metadata().sha256.clone(),
            attribution: db.metadata().attribution.clone(),
        },
        seed,
        spec: SpecFacts {
            training_rows: spec.training_rows(),
            held_out_rows: spec.held_out_rows(),
            outliers: spec.outliers(),
            evaluation_outliers: spec.evaluation_outliers(),
        },
        countries: drawn
            .iter()
            .map(|d| {
                CountryCounts::new(
                    &d.country,
                    d.available,
                    spec.training_rows(),
                    spec.held_out_rows(),
                )
            })
            .collect(),
        outliers: outliers
            .as_ref()
            .map(|d| OutlierCounts::new(&d.country, d.available, test.len(), evaluation.len())),
        test_rows: TestRows::Database,
        skipped: vec![
            Skipped {
                reason: SkipReason::NoCountry,
                networks: walk.no_country,
            },
            Skipped {
                reason: SkipReason::OtherCountry,
                networks: walk.other_country(),
            },
            Skipped {
                reason: SkipReason::Ipv6,
                networks: db.ipv6_networks()?,
            },
        ],
        files: Vec::new(),
    };
    let mut sample = Sample {
        train: mixed(
            drawn
                .iter()
                .map(|d| (&d.country, &d.networks[..spec.training_rows()])),
        ),
        validation: mixed(
            drawn
                .iter()
                .map(|d| (&d.country, &d.networks[spec.training_rows()..])),
        ),
        test,
        evaluation,
        manifest,
    };
    sample.manifest.files = sample.row_files()?.into_iter().map(|(_, facts)| facts).collect();
    Ok(sample)
}

/// The rows of all countries, shuffled: an algorithm that learns in small batches should not meet one country after the
/// other.
fn mixed<'a>(countries: impl Iterator<Item = (&'a Country, &'a [Drawn])>) -> Vec<AccessEvent> {
    let mut rows: Vec<_> = countries
        .flat_map(|(country, networks)| networks.iter().map(move |network| (network, country)))
        .collect();
    rows.sort_unstable_by_key(|(network, _)| (network.place, network.prefix));
    rows.into_iter()
        .map(|(network, country)| network.row(country))
        .collect()
}

/// What one walk over a database brings.
struct Walk {
    countries: BTreeMap<CountryCode, Seen>,
    no_country: u64,
}

struct Seen {
    country: Country,
    networks: u64,
    /// For the countries that are asked for.
    lottery: Option<Lottery>,
}

/// A country and the networks drawn of it, in the order of the draw.
struct DrawnCountry {
    country: Country,
    available: u64,
    networks: Vec<Drawn>,
}

impl Walk {
    fn over(db: &Database, asked: &[(&str, usize)], seed: u64) -> Result<Self, Error> {
        let mut walk = Self {
            countries: BTreeMap::new(),
            no_country: 0,
        };
        for network in db.networks() {
            let network = network?;
            let Some(country) = network.country else {
                walk.no_country += 1;
                continue;
            };
            let seen = walk.countries.entry(country.code).or_insert_with(|| {
                let wins = asked
                    .iter()
                    .filter(|(name, _)| country.answers_to(name))
                    .map(|(_, wins)| *wins)
                    .max();
                let lottery = wins.map(|wins| Lottery::new(seed, country.code, wins));
                Seen {
                    country,
                    networks: 0,
                    lottery,
                }
            });
            seen.networks += 1;
            if let Some(lottery) = &mut seen.lottery {
                lottery.enter(network.prefix);
            }
        }
        Ok(walk)
    }

    fn other_country(&self) -> u64 {
        self.countries
            .values()
            .filter(|seen| seen.lottery.is_none())
            .map(|seen| seen.networks)
            .sum()
    }

    /// What was drawn of each country asked for, in that order.
    fn drawn(&self, db: &Database, asked: &[(&str, usize)]) -> Result<Vec<DrawnCountry>, Error> {
        let known = || self.countries.values().map(|seen| &seen.country);
        let mut found: Vec<(&str, &Seen)> = Vec::new();
        let mut unknown = Vec::new();
        let mut shortages = Vec::new();
        for &(name, wins) in asked {
            let Some(seen) = self.countries.values().find(|seen| seen.country.answers_to(name)) else {
                unknown.push(UnknownCountry {
                    asked: name.to_owned(),
                    nearest: nearest(name, known()).cloned(),
                });
                continue;
            };
            if let Some((first, _)) = found.iter().find(|(_, before)| before.country == seen.country) {
                let (first, second) = ((*first).to_owned(), name.to_owned());
                return Err(Error::SameCountry {
                    first,
                    second,
                    country: seen.country.clone(),
                });
            }
            let asked = wins as u64;
            if seen.networks < asked {
                let country = seen.country.clone();
                shortages.push(Shortage {
                    country,
                    asked,
                    available: seen.networks,
                });
            }
            found.push((name, seen));
        }
        if !unknown.is_empty() {
            let database_type = db.metadata().database_type.clone();
            return Err(Error::UnknownCountries {
                database_type,
                unknown,
                known: known().cloned().collect(),
            });
        }
        if !shortages.is_empty() {
            return Err(Error::TooFewNetworks { shortages });
        }
        let drawn = found.into_iter().map(|(_, seen)| DrawnCountry {
            country: seen.country.clone(),
            available: seen.networks,
            networks: seen.lottery.as_ref().map(Lottery::winners).unwrap_or_default(),
        });
        Ok(drawn.collect())
    }
}

/// Draws networks without replacement: each has a lot of its own, and the lowest lots win. The lot is a hash of seed,
/// country and network, so it does not matter when a network enters or which others there are.
struct Lottery {
    lots: Sha256,
    wins: usize,
    /// The lowest lots so far, the highest of them on top.
    winners: BinaryHeap<Drawn>,
}

/// A network with its lot. Ordered by the lot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Drawn {
    lot: u64,
    prefix: Ipv4Net,
    /// Among the rows of all countries; independent of the lot, which is lower in larger countries.
    place: u64,
}

impl Lottery {
    fn new(seed: u64, country: CountryCode, wins: usize) -> Self {
        let lots = Sha256::new()
            .chain_update(b"geodata sample 1\n")
            .chain_update(seed.to_be_bytes())
            .chain_update(country.as_str());
        Self {
            lots,
            wins,
            winners: BinaryHeap::new(),
        }
    }

    fn enter(&mut self, prefix: Ipv4Net) {
        let hash = self
            .lots
            .clone()
            .chain_update(prefix.network().octets())
            .chain_update([prefix.prefix_len()])
            .finalize();
        let number = |from: usize| {
            hash[from..from + 8]
                .iter()
                .fold(0, |n, byte| n << 8 | u64::from(*byte))
        };
        let drawn = Drawn {
            lot: number(0),
            prefix,
            place: number(8),
        };
        if self.winners.len() < self.wins {
            self.winners.push(drawn);
        } else if self.winners.peek().is_some_and(|highest| drawn < *highest) {
            self.winners.pop();
            self.winners.push(drawn);
        }
    }

    fn winners(&self) -> Vec<Drawn> {
        self.winners.clone().into_sorted_vec()
    }
}

impl Drawn {
    fn row(&self, tag: &Country) -> AccessEvent {
        AccessEvent::new(&*tag.name, self.prefix.network())
    }
}

/// A file of a sample, in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SampleFile {
    /// Its name, without a folder.
    pub name: &'static str,
    /// Its content.
    pub bytes: Vec<u8>,
}

impl Sample {
    /// The files that [`write_to`](Self::write_to) writes: `train.csv`, `validation.csv`, `test.csv`, `evaluation.csv` and
    /// `manifest.json`. The manifest counts and hashes the rows as they are now.
    ///
    /// # Errors
    ///
    /// [`Error::Row`], which the rows of a sample as drawn never lead to.
    pub fn files(&self) -> Result<Vec<SampleFile>, Error> {
        let (mut files, facts): (Vec<_>, Vec<_>) = self.row_files()?.into_iter().unzip();
        let manifest = Manifest {
            files: facts,
            ..self.manifest.clone()
        };
        #[expect(
            clippy::unwrap_used,
            reason = "the manifest has no maps and no types that refuse to be written"
        )]
        let mut bytes = serde_json::to_vec_pretty(&manifest).unwrap();
        bytes.push(b'\n');
        files.push(SampleFile {
            name: "manifest.json",
            bytes,
        });
        Ok(files)
    }

    /// The same with the five test rows of the published experiment in place of those drawn.
    ///
    /// # Errors
    ///
    /// [`Error::PublishedRows`] when a country that they claim is not among those of the sample: a model that never saw an
    /// entity says nothing about it.
    pub fn with_published_test_rows(mut self) -> Result<Self, Error> {
        self.test = crate::published_test_rows();
        let known = |row: &AccessEvent| {
            self.manifest
                .countries
                .iter()
                .any(|country| country.name == row.entity)
        };
        if let Some(row) = self.test.iter().find(|row| !known(row)) {
            return Err(Error::PublishedRows {
                country: row.entity.clone(),
            });
        }
        self.manifest.test_rows = TestRows::Published;
        self.manifest.spec.outliers = 0;
        if let Some(outliers) = &mut self.manifest.outliers {
            outliers.test = 0;
        }
        self.manifest.files = self.row_files()?.into_iter().map(|(_, facts)| facts).collect();
        Ok(self)
    }

    fn row_files(&self) -> Result<Vec<(SampleFile, FileFacts)>, Error> {
        let files = [
            ("train.csv", &self.train),
            ("validation.csv", &self.validation),
            ("test.csv", &self.test),
            ("evaluation.csv", &self.evaluation),
        ];
        let file = |(name, rows): (&'static str, &Vec<AccessEvent>)| {
            let mut bytes = Vec::new();
            access_events::write_csv(&mut bytes, rows).map_err(|source| Error::Row { file: name, source })?;
            let sha256 = hex(&Sha256::digest(&bytes));
            let facts = FileFacts {
                name: name.to_owned(),
                rows: rows.len(),
                sha256,
            };
            Ok((SampleFile { name, bytes }, facts))
        };
        files.into_iter().map(file).collect()
    }

    /// Writes the [`files`](Self::files) into a folder, which is made when it is not there, and gives their paths.
    ///
    /// Each file appears whole or not at all, and the manifest last.
    ///
    /// # Errors
    ///
    /// [`Error::Write`] with the path at fault; then whatever was written is gone again.
    pub fn write_to(&self, dir: impl AsRef<Path>) -> Result<Vec<PathBuf>, Error> {
        crate::write::write_files(dir.as_ref(), &self.files()?)
    }
}
