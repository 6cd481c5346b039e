//! Seeded samples of networks.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use access_events::AccessEvent;
use ipnet::Ipv4Net;
use sha2::{Digest, Sha256};

use crate::bytes::hex;
use crate::country::{ByCode, nearest};
use crate::draw::{Deal, Lots, Lottery, Quotas, Side, Taken, shares};
use crate::manifest::{
    CountryCounts, DatabaseFacts, FileFacts, Manifest, OutlierCounts, ShortageFacts, SkipReason, Skipped,
    SpecFacts, TestRows,
};
use crate::{
    CheckedSpec, Country, Database, DrawBy, Error, Network, Part, RowAddress, Shortage, UnknownCountry,
};

/// Rows to train on and rows to test with. No network gives more than one row.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sample {
    /// Addresses with the country they are in, to train on.
    pub train: Vec<AccessEvent>,
    /// More of the same, held out of the training.
    pub validation: Vec<AccessEvent>,
    /// More of the same, which nothing was trained or calibrated on. None unless asked for.
    pub control: Vec<AccessEvent>,
    /// The outliers: addresses of another country, with each of the countries in turn.
    pub test: Vec<AccessEvent>,
    /// More outliers, to measure with.
    pub evaluation: Vec<AccessEvent>,
    /// Where all of it comes from.
    pub manifest: Manifest,
}

/// Draws a sample: for every country without replacement among its networks, one address of each.
///
/// One walk over the database (one more for the countries with most networks, and one more for disjoint parts), in memory that
/// depends on the rows asked for alone. What is drawn depends on the networks that a country has, the seed and the number
/// of rows, and on nothing else: another country more, another order of the networks or IPv6 beside them make no
/// difference, and a larger sample contains the smaller one. Disjoint parts depend on the countries and numbers of rows
/// as well.
///
/// # Errors
///
/// [`Error::UnknownCountries`], [`Error::SameCountry`], [`Error::TooFewNetworks`], [`Error::TooFewCountries`],
/// [`Error::PublishedRows`], [`Error::RepeatedNetwork`], [`Error::Changed`], or what a damaged database leads to.
pub fn sample(db: &Database, spec: &CheckedSpec, seed: u64) -> Result<Sample, Error> {
    sample_watched(db, spec, seed, &mut |_| {})
}

/// The same as [`sample`], and says now and then how many networks it has walked over.
///
/// # Errors
///
/// As [`sample`].
pub fn sample_watched(
    db: &Database,
    spec: &CheckedSpec,
    seed: u64,
    watch: &mut dyn FnMut(u64),
) -> Result<Sample, Error> {
    let drawn = draw(&|| db.networks(), &db.metadata().database_type, spec, seed, watch)?;
    let ipv6_networks = db.ipv6_networks()?;
    let names: Vec<&Country> = drawn.countries.iter().map(|drawn| &drawn.country).collect();
    let in_country = |part| {
        let rows = drawn
            .countries
            .iter()
            .flat_map(|drawn| drawn.rows(part).iter().map(move |row| (row, &drawn.country)));
        mixed(rows.collect())
    };
    let tagged = |part| -> Vec<AccessEvent> {
        let rows = drawn.outliers.iter().flat_map(|drawn| drawn.rows(part));
        rows.zip(names.iter().cycle())
            .map(|(row, tag)| row.tagged(tag))
            .collect()
    };
    let skipped = [
        (SkipReason::NoCountry, drawn.no_country),
        (SkipReason::OtherCountry, drawn.other_country),
        (SkipReason::PublishedRow, drawn.published),
        (SkipReason::Ipv6, ipv6_networks),
    ];
    let skipped = skipped.map(|(reason, networks)| Skipped { reason, networks });
    let is_listed = |skipped: &Skipped| skipped.reason != SkipReason::PublishedRow || skipped.networks > 0;
    let mut sample = Sample {
        train: in_country(Part::Train),
        validation: in_country(Part::Validation),
        control: in_country(Part::Control),
        test: tagged(Part::Test),
        evaluation: tagged(Part::Evaluation),
        manifest: Manifest {
            version: Manifest::VERSION,
            written_by: concat!("geodata ", env!("CARGO_PKG_VERSION")).to_owned(),
            database: DatabaseFacts::of(db),
            seed,
            spec: SpecFacts::of(spec),
            countries: drawn.countries.iter().map(CountryCounts::of).collect(),
            outliers: drawn.outliers.as_ref().map(OutlierCounts::of),
            shortages: drawn.shortages,
            test_rows: TestRows::Database,
            skipped: skipped.into_iter().filter(is_listed).collect(),
            files: Vec::new(),
        },
    };
    sample.manifest.files = sample.row_files()?.into_iter().map(|(_, facts)| facts).collect();
    db.check_unchanged()?;
    if spec.published_test_rows() {
        sample = sample.with_published_test_rows()?;
    }
    Ok(sample)
}

/// The rows of all countries, shuffled: an algorithm that learns in small batches should not meet one country after the
/// other.
fn mixed(mut rows: Vec<(&Row, &Country)>) -> Vec<AccessEvent> {
    rows.sort_unstable_by_key(|(row, _)| (row.place, row.network));
    rows.into_iter()
        .map(|(row, country)| row.tagged(country))
        .collect()
}

/// What a draw brings.
pub(crate) struct Drawn {
    /// In the order asked for.
    pub(crate) countries: Vec<DrawnCountry>,
    pub(crate) outliers: Option<DrawnCountry>,
    shortages: Vec<ShortageFacts>,
    no_country: u64,
    other_country: u64,
    /// Of the countries asked for, those that published rows keep out.
    published: u64,
}

impl Drawn {
    /// A network that would give more than one row.
    fn repeated(&self) -> Option<Ipv4Net> {
        let parts = self.countries.iter().chain(&self.outliers);
        let rows = parts.flat_map(|drawn| drawn.parts.iter().flat_map(|(_, rows)| rows));
        let mut seen = HashSet::new();
        rows.map(|row| row.network).find(|network| !seen.insert(*network))
    }
}

/// A country and what was drawn of it.
pub(crate) struct DrawnCountry {
    pub(crate) country: Country,
    /// All that it has.
    pub(crate) networks: u64,
    parts: Vec<(Part, Vec<Row>)>,
}

/// A network that was drawn.
#[derive(Debug)]
pub(crate) struct Row {
    network: Ipv4Net,
    address: std::net::Ipv4Addr,
    place: u64,
}

impl DrawnCountry {
    /// In the order of the draw.
    pub(crate) fn rows(&self, part: Part) -> &[Row] {
        let of_part = self.parts.iter().find(|(this, _)| *this == part);
        of_part.map_or(&[], |(_, rows)| rows)
    }
}

impl Row {
    fn tagged(&self, country: &Country) -> AccessEvent {
        AccessEvent::new(&*country.name, self.address)
    }
}

/// A country that is asked for.
struct Asked {
    name: String,
    side: Side,
}

/// The draw itself, over anything that can be walked more than once.
pub(crate) fn draw<W: Iterator<Item = Result<Network, Error>>>(
    networks: &dyn Fn() -> W,
    database_type: &str,
    spec: &CheckedSpec,
    seed: u64,
    watch: &mut dyn FnMut(u64),
) -> Result<Drawn, Error> {
    let mut walked = Walked { networks: 0, watch };
    let inside = vec![
        (Part::Train, spec.training_rows()),
        (Part::Validation, spec.held_out_rows()),
        (Part::Control, spec.control_rows()),
    ];
    let outside = vec![
        (Part::Test, spec.outliers()),
        (Part::Evaluation, spec.evaluation_outliers()),
    ];
    let wants_outliers = spec.outliers() + spec.evaluation_outliers() > 0;
    let outliers = wants_outliers.then(|| spec.outlier_country());
    let names = match spec.top_countries() {
        Some(number) => top_countries(walked.walk(networks()), number, outliers)?,
        None => spec.countries().map(str::to_owned).collect(),
    };
    let named = |name, side| Asked { name, side };
    let asked: Vec<Asked> = names
        .into_iter()
        .map(|name| named(name, Side::In))
        .chain(outliers.map(|name| named(name.to_owned(), Side::Out)))
        .collect();

    let deal = match spec.disjoint() {
        Some(prefix_len) => {
            let mut deal = Deal::new(seed, prefix_len, &inside, &outside);
            let mut sides = ByCode::new();
            let side = |country: &Country| {
                let wanted = asked.iter().find(|asked| country.answers_to(&asked.name));
                wanted.map(|asked| asked.side)
            };
            for network in walked.walk(networks()) {
                let network = network?;
                if let Some(country) = &network.country
                    && let Some(side) = *sides.of(country, side)
                {
                    deal.learn(network.prefix, side);
                }
            }
            Some(deal)
        }
        None => None,
    };

    let published = match spec.published_test_rows() {
        true => crate::published_test_rows(),
        false => Vec::new(),
    };
    let addresses = published.into_iter().map(|row| row.ip).collect();
    let settings = Settings {
        asked: &asked,
        taken: Taken::new(addresses, spec.disjoint()),
        inside: &inside,
        outside: &outside,
        deal: deal.as_ref(),
        by: spec.draw_by(),
        address: spec.row_address(),
        allow_fewer: spec.allow_fewer(),
        seed,
    };
    let mut seen = ByCode::new();
    let mut no_country = 0;
    for network in walked.walk(networks()) {
        let network = network?;
        match &network.country {
            Some(country) => seen
                .of(country, |country| Seen::new(country, &settings))
                .enter(network.prefix, &settings),
            None => no_country += 1,
        }
    }
    settings.drawn(seen.into_values(), no_country, database_type)
}

/// Counts the networks of one walk after the other.
struct Walked<'a> {
    networks: u64,
    watch: &'a mut dyn FnMut(u64),
}

impl Walked<'_> {
    fn walk<W: Iterator>(&mut self, walk: W) -> impl Iterator<Item = W::Item> {
        /// How many networks between one report and the next: a few milliseconds.
        const BETWEEN: u64 = 1 << 16;

        walk.inspect(|_| {
            self.networks += 1;
            if self.networks.is_multiple_of(BETWEEN) {
                (self.watch)(self.networks);
            }
        })
    }
}

/// The codes of the countries that have most networks, the outliers' country aside.
fn top_countries(
    networks: impl Iterator<Item = Result<Network, Error>>,
    number: usize,
    outliers: Option<&str>,
) -> Result<Vec<String>, Error> {
    let mut counts = ByCode::new();
    for network in networks {
        if let Some(country) = &network?.country {
            counts.of(country, |country| (country.clone(), 0_u64)).1 += 1;
        }
    }
    let mut counts = counts.into_values();
    counts.retain(|(country, _)| !outliers.is_some_and(|name| country.answers_to(name)));
    if counts.len() < number {
        return Err(Error::TooFewCountries {
            asked: number,
            available: counts.len(),
        });
    }
    // A stable sort of what is in the order of codes.
    counts.sort_by_key(|(_, networks)| std::cmp::Reverse(*networks));
    let top = counts.into_iter().take(number);
    Ok(top.map(|(country, _)| country.code.to_string()).collect())
}

/// What a draw goes by.
struct Settings<'a> {
    asked: &'a [Asked],
    taken: Taken,
    inside: &'a Quotas,
    outside: &'a Quotas,
    deal: Option<&'a Deal>,
    by: DrawBy,
    address: RowAddress,
    allow_fewer: bool,
    seed: u64,
}

/// A country of the database.
struct Seen {
    country: Country,
    networks: u64,
    /// For a country that is asked for.
    entry: Option<Entry>,
}

/// How a country takes part in the draw.
struct Entry {
    side: Side,
    lots: Lots,
    /// One for all parts, or with a deal one for each.
    lotteries: Vec<Lottery>,
    /// How many networks published rows keep out.
    published: u64,
}

impl Seen {
    fn new(country: &Country, settings: &Settings<'_>) -> Self {
        let asked = settings
            .asked
            .iter()
            .find(|asked| country.answers_to(&asked.name));
        Self {
            country: country.clone(),
            networks: 0,
            entry: asked.map(|asked| Entry {
                side: asked.side,
                lots: Lots::new(settings.seed, country.code),
                lotteries: {
                    let rows = settings.quotas(asked.side).iter().map(|(_, rows)| *rows);
                    match settings.deal {
                        Some(_) => rows.map(Lottery::new).collect(),
                        None => vec![Lottery::new(rows.sum())],
                    }
                },
                published: 0,
            }),
        }
    }

    fn enter(&mut self, network: Ipv4Net, settings: &Settings<'_>) {
        self.networks += 1;
        let Some(entry) = &mut self.entry else { return };
        if settings.taken.has(network) {
            entry.published += 1;
            return;
        }
        let lottery = match settings.deal {
            Some(deal) => deal.part(network, entry.side),
            None => Some(0),
        };
        if let Some(lottery) = lottery.and_then(|index| entry.lotteries.get_mut(index)) {
            lottery.enter(entry.lots.lot(network, settings.by), network);
        }
    }
}

impl Settings<'_> {
    fn quotas(&self, side: Side) -> &Quotas {
        match side {
            Side::In => self.inside,
            Side::Out => self.outside,
        }
    }

    /// Who won, or what the countries asked for lack.
    fn drawn(&self, seen: Vec<Seen>, no_country: u64, database_type: &str) -> Result<Drawn, Error> {
        self.all_found(&seen, database_type)?;
        let mut drawn = Drawn {
            countries: Vec::new(),
            outliers: None,
            shortages: Vec::new(),
            no_country,
            other_country: 0,
            published: 0,
        };
        let mut by_asked: Vec<Option<DrawnCountry>> = self.asked.iter().map(|_| None).collect();
        let mut shortages: Vec<Vec<Shortage>> = self.asked.iter().map(|_| Vec::new()).collect();
        let mut fewer: Vec<Vec<ShortageFacts>> = self.asked.iter().map(|_| Vec::new()).collect();
        for Seen {
            country,
            networks,
            entry,
        } in seen
        {
            let place = self
                .asked
                .iter()
                .position(|asked| country.answers_to(&asked.name));
            let (Some(place), Some(entry)) = (place, entry) else {
                drawn.other_country += networks;
                continue;
            };
            drawn.published += entry.published;
            let quotas = self.quotas(entry.side);
            shortages[place] = self.shortages(&country, &entry);
            let parts = self.parts(entry);
            for ((part, asked), (_, rows)) in quotas.iter().zip(&parts) {
                if rows.len() < *asked {
                    fewer[place].push(ShortageFacts {
                        code: country.code,
                        part: *part,
                        asked: *asked,
                        drawn: rows.len(),
                    });
                }
            }
            by_asked[place] = Some(DrawnCountry {
                country,
                networks,
                parts,
            });
        }
        let shortages: Vec<Shortage> = shortages.into_iter().flatten().collect();
        if !shortages.is_empty() {
            return Err(Error::TooFewNetworks { shortages });
        }
        drawn.shortages = fewer.into_iter().flatten().collect();
        for (asked, country) in self.asked.iter().zip(by_asked) {
            match asked.side {
                Side::In => drawn.countries.extend(country),
                Side::Out => drawn.outliers = country,
            }
        }
        match drawn.repeated() {
            Some(network) => Err(Error::RepeatedNetwork {
                database_type: database_type.to_owned(),
                network,
            }),
            None => Ok(drawn),
        }
    }

    /// Each name is a country of its own.
    fn all_found(&self, seen: &[Seen], database_type: &str) -> Result<(), Error> {
        let known = || seen.iter().map(|seen| &seen.country);
        let mut found: Vec<(&str, &Country)> = Vec::new();
        let mut unknown = Vec::new();
        for Asked { name, .. } in self.asked {
            let Some(country) = known().find(|country| country.answers_to(name)) else {
                unknown.push(UnknownCountry {
                    asked: name.clone(),
                    nearest: nearest(name, known()).cloned(),
                });
                continue;
            };
            if let Some((first, _)) = found.iter().find(|(_, before)| *before == country) {
                return Err(Error::SameCountry {
                    first: (*first).to_owned(),
                    second: name.clone(),
                    country: country.clone(),
                });
            }
            found.push((name, country));
        }
        if unknown.is_empty() {
            Ok(())
        } else {
            Err(Error::UnknownCountries {
                database_type: database_type.to_owned(),
                unknown,
                known: known().cloned().collect(),
            })
        }
    }

    /// What a country lacks so that there can be no sample.
    fn shortages(&self, country: &Country, entry: &Entry) -> Vec<Shortage> {
        let quotas = self.quotas(entry.side);
        // Without a row to train on, nothing would be known of a country at all.
        let least = |part, asked: usize| match (self.allow_fewer, part) {
            (false, _) => asked,
            (true, Part::Train) => 1,
            (true, _) => 0,
        };
        let short = |part: Option<Part>, least: usize, asked: usize, available: u64| {
            (available < least as u64).then(|| Shortage {
                country: country.clone(),
                part,
                asked: asked as u64,
                available,
            })
        };
        if self.deal.is_none() {
            let asked = quotas.iter().map(|(_, asked)| asked).sum();
            let least = quotas.iter().map(|(part, asked)| least(*part, *asked)).sum();
            let available = entry.lotteries.iter().map(Lottery::entered).sum();
            return short(None, least, asked, available).into_iter().collect();
        }
        let parts = quotas.iter().zip(&entry.lotteries);
        parts
            .filter_map(|((part, asked), lottery)| {
                short(Some(*part), least(*part, *asked), *asked, lottery.entered())
            })
            .collect()
    }

    /// The winners, part by part.
    fn parts(&self, entry: Entry) -> Vec<(Part, Vec<Row>)> {
        let quotas = self.quotas(entry.side);
        let lots = entry.lots;
        let row = |network| Row {
            network,
            address: lots.address(network, self.address),
            place: lots.place(network),
        };
        let mut lotteries = entry.lotteries.into_iter().map(Lottery::into_winners);
        if self.deal.is_some() {
            let parts = quotas.iter().zip(lotteries);
            return parts
                .map(|((part, _), winners)| (*part, winners.into_iter().map(row).collect()))
                .collect();
        }
        let winners = lotteries.next().unwrap_or_default();
        let shares = shares(quotas, winners.len());
        let mut winners = winners.into_iter();
        quotas
            .iter()
            .zip(shares)
            .map(|((part, _), share)| (*part, winners.by_ref().take(share).map(row).collect()))
            .collect()
    }
}

/// The file that not every sample has.
pub(crate) const OPTIONAL_FILE: &str = "control.csv";
pub(crate) const MANIFEST: &str = "manifest.json";

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
    /// The files that [`write_to`](Self::write_to) writes: `train.csv`, `validation.csv`, `control.csv` if such rows were
    /// asked for, `test.csv`, `evaluation.csv` and `manifest.json`. The manifest counts and hashes the rows as they are now.
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
        let bytes = manifest.to_json().into_bytes();
        files.push(SampleFile {
            name: MANIFEST,
            bytes,
        });
        Ok(files)
    }

    /// The same with the five test rows of the published experiment in place of those drawn, which kept their networks out of the other
    /// parts; [`Error::PublishedRows`] when a country that they claim is not among those of the sample: a model that never saw an
    /// entity says nothing about it.
    fn with_published_test_rows(mut self) -> Result<Self, Error> {
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
            (OPTIONAL_FILE, &self.control),
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
        let wanted = |(name, _): &(&str, _)| *name != OPTIONAL_FILE || self.manifest.spec.control_rows > 0;
        files.into_iter().filter(wanted).map(file).collect()
    }

    /// Writes the [`files`](Self::files) into a folder, which is made when it is not there, and gives their paths.
    ///
    /// Each file appears whole or not at all, and the manifest last. They take the place of an older sample's, whose `control.csv` goes
    /// when this sample has none.
    ///
    /// # Errors
    ///
    /// [`Error::Write`] with the path at fault; then whatever was written is gone again, and what was there before is back.
    pub fn write_to(&self, dir: impl AsRef<Path>) -> Result<Vec<PathBuf>, Error> {
        crate::write::write_files(dir.as_ref(), &self.files()?)
    }
}

#[cfg(test)]
mod tests;
