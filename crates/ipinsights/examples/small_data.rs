//! How well a few rows teach the model, measured on networks of real countries: the published experiment, over many samples.
//!
//! The published experiment trains on the first addresses of 50 networks of each of five western countries, with the country as
//! entity, and takes it for proof that five addresses from Singapore, which claim to be from the five, get negative scores. Here it
//! is repeated over samples that are drawn anew. For each it is asked how many of the training rows, of other networks of the
//! same countries, and of the Singapore rows score below 0; how often all five are negative; and how well the held-out
//! rows are told from Singapore rows, as the area under the ROC curve (250 of each country against 250).
//!
//! ```text
//! cargo run --release -p ipinsights --example small_data -- /usr/share/tor/geoip [name=value ...] \
//!     [networks=50,500,5000] [draw=networks] [samples=50] [threads=1]
//! ```
//!
//! The file has lines `first,last,country` with addresses as numbers, such as Debian's `tor-geoipdb` installs (IPFire
//! Location database, CC BY-SA 4.0). Without `name=value` it measures the published settings, the advised ones, and counting
//! ([`Counts`]); with them, these hyperparameters. `draw=networks` draws the first addresses of networks, all networks alike, as the
//! published experiment does; `draw=addresses` draws from all addresses of a country alike, so that large networks come more often, as they
//! do in logs. `networks=all` says what counting makes of all networks that are not held out, as a bound of what can be known.
//! The answer is a Markdown table; samples with a number are the same on every machine.
#![expect(clippy::print_stdout, reason = "a program that prints its findings")]

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use access_events::AccessEvent;
use ipinsights::{Draft, Hyperparameters, Score, TrainOptions, evaluation};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

const COUNTRIES: [(&str, &str); 5] = [
    ("US", "United States"),
    ("GB", "United Kingdom"),
    ("FR", "France"),
    ("DE", "Germany"),
    ("CA", "Canada"),
];

/// Networks of each country that are held out.
const HELD_OUT: usize = 250;
/// Networks of Singapore for the area under the curve; the first five are those of the published experiment.
const OUTLIERS: usize = 250;

type AnyError = Box<dyn Error + Send + Sync>;

fn main() -> Result<(), AnyError> {
    let mut args = std::env::args().skip(1);
    let file = args
        .next()
        .ok_or("usage: small_data FILE [name=value ...] [networks=50,500,5000] [draw=networks] [samples=50] [threads=1]")?;
    let mut settings: BTreeMap<String, String> = args
        .map(|arg| match arg.split_once('=') {
            Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
            None => Err(format!("`{arg}` is not name=value")),
        })
        .collect::<Result<_, _>>()?;
    let mut number = |name: &str, default: &str| settings.remove(name).unwrap_or(default.to_owned());
    let samples: u64 = number("samples", "50").parse()?;
    let threads: usize = number("threads", "1").parse()?;
    let draw = match &*number("draw", "networks") {
        "networks" => Draw::Networks,
        "addresses" => Draw::Addresses,
        other => return Err(format!("`draw={other}` is neither `networks` nor `addresses`").into()),
    };
    let sizes = number("networks", "50,500,5000");
    let world = World {
        countries: read(&std::fs::read_to_string(file)?)?,
        draw,
    };

    println!(
        "| rows per country | settings | AUC | all five negative | below 0: training | held out | Singapore | seconds |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- |");
    for size in sizes.split(',') {
        let per_country = match size {
            "all" => None,
            number => Some(number.parse::<usize>()?),
        };
        let rows = (per_country.unwrap_or_default() * COUNTRIES.len()) as u64;
        let mut candidates = Vec::new();
        if !settings.is_empty() {
            let mut settings = settings.clone();
            settings
                .entry("num_entity_vectors".to_owned())
                .or_insert_with(|| "1000".to_owned());
            let (draft, unknown) = Draft::from_map(&settings);
            if !unknown.is_empty() {
                return Err(format!("unknown hyperparameters: {unknown:?}").into());
            }
            candidates.push(("as given", Some(draft)));
        } else {
            if per_country.is_some() {
                candidates.push(("published", Some(Hyperparameters::draft(10).vector_dim(128))));
                let advised = Hyperparameters::advise(rows, COUNTRIES.len() as u64);
                candidates.push(("advised", Some(advised)));
            }
            candidates.push(("counting", None));
        }
        for (name, draft) in candidates {
            let params = draft.as_ref().map(Draft::check).transpose()?;
            let found = measure(&world, params.as_ref(), per_country, samples, threads)?;
            let of = |what: fn(&Sample) -> f64| found.iter().map(what).sum::<f64>() / found.len() as f64;
            let auc = of(|s| s.auc);
            let spread = found.iter().map(|s| (s.auc - auc).powi(2)).sum::<f64>() / found.len() as f64;
            println!(
                "| {size} | {name} | {auc:.3} ± {:.3} | {} of {samples} | {:.1} % | {:.1} % | {:.1} % | {:.2} |",
                spread.sqrt(),
                found.iter().filter(|s| s.all_five).count(),
                100.0 * of(|s| s.training),
                100.0 * of(|s| s.held_out),
                100.0 * of(|s| s.outliers),
                of(|s| s.seconds),
            );
        }
    }
    Ok(())
}

/// What is drawn from a country.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Draw {
    /// First addresses of networks, all networks alike.
    Networks,
    /// All addresses alike.
    Addresses,
}

struct World {
    /// By code.
    countries: BTreeMap<String, Country>,
    draw: Draw,
}

/// Networks in ascending order.
#[derive(Default)]
struct Country {
    firsts: Vec<u32>,
    /// By network: how many addresses it and those before it have.
    ends: Vec<u64>,
}

fn read(text: &str) -> Result<BTreeMap<String, Country>, AnyError> {
    let mut countries = BTreeMap::<String, Country>::new();
    for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.starts_with('#')) {
        let fields: Vec<&str> = line.split(',').collect();
        let [first, last, country] = fields[..] else {
            return Err(format!("line {number} is not `first,last,country`").into());
        };
        let country = countries.entry(country.to_owned()).or_default();
        // Ranges fall into the fewest networks, as in a GeoLite2 database: each the largest that begins here.
        let (mut next, last): (u64, u64) = (first.parse()?, last.parse()?);
        while next <= last {
            let aligned = next.trailing_zeros().min(32);
            let size = 1 << aligned.min((last - next + 1).ilog2());
            country.firsts.push(next.try_into()?);
            country
                .ends
                .push(country.ends.last().copied().unwrap_or_default() + size);
            next += size;
        }
    }
    Ok(countries)
}

/// What one sample shows; shares are of rows with a score below 0.
struct Sample {
    auc: f64,
    all_five: bool,
    training: f64,
    held_out: f64,
    outliers: f64,
    seconds: f64,
}

/// All samples, by their number.
fn measure(
    world: &World,
    params: Option<&Hyperparameters>,
    per_country: Option<usize>,
    samples: u64,
    threads: usize,
) -> Result<Vec<Sample>, AnyError> {
    let next = AtomicU64::new(0);
    let work = || {
        let mut found = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= samples {
                return Ok(found);
            }
            found.push((seed, sample(world, params, per_country, seed)?));
        }
    };
    let mut found = Vec::new();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            let part: Result<Vec<(u64, Sample)>, AnyError> =
                worker.join().map_err(|_| "a thread broke down")?;
            found.extend(part?);
        }
        Ok::<(), AnyError>(())
    })?;
    found.sort_by_key(|(seed, _)| *seed);
    Ok(found.into_iter().map(|(_, sample)| sample).collect())
}

type Scorer = Box<dyn Fn(&[AccessEvent]) -> Vec<Score>>;

/// Without hyperparameters, by counting.
fn sample(
    world: &World,
    params: Option<&Hyperparameters>,
    per_country: Option<usize>,
    seed: u64,
) -> Result<Sample, AnyError> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let (mut train, mut held_out, mut outliers) = (Vec::new(), Vec::new(), Vec::new());
    for (code, entity) in COUNTRIES {
        let drawn = world.draw(code, per_country.map(|n| n + HELD_OUT), &mut rng)?;
        let mut events = drawn.into_iter().map(|ip| AccessEvent::new(entity, ip.into()));
        held_out.extend(events.by_ref().take(HELD_OUT));
        train.extend(events);
    }
    let singapore = world.draw("SG", Some(OUTLIERS), &mut rng)?;
    for (i, ip) in singapore.into_iter().enumerate() {
        outliers.push(AccessEvent::new(COUNTRIES[i % COUNTRIES.len()].1, ip.into()));
    }
    let start = Instant::now();
    let score: Scorer = match params {
        Some(params) => {
            let options = TrainOptions { seed, threads: 1 };
            let model =
                ipinsights::train(params, &train, None, &options, &mut |_| ControlFlow::Continue(()))?;
            Box::new(move |rows| model.score_batch(rows))
        }
        None => {
            let counts = Counts::of(&train);
            Box::new(move |rows| rows.iter().map(|row| counts.score(row)).collect())
        }
    };
    let seconds = start.elapsed().as_secs_f64();
    let [train, held_out, outliers] = [train, held_out, outliers].map(|rows| score(&rows));
    let below = |scores: &[Score]| {
        scores.iter().filter(|score| score.dot_product() < 0.0).count() as f64 / scores.len() as f64
    };
    Ok(Sample {
        auc: evaluation::auc(&held_out, &outliers).ok_or("a score is not a number")?,
        all_five: below(&outliers[..COUNTRIES.len()]) == 1.0,
        training: below(&train),
        held_out: below(&held_out),
        outliers: below(&outliers),
        seconds,
    })
}

impl World {
    /// Different addresses of a country: so many, or those of all networks in a random order.
    fn draw(&self, code: &str, count: Option<usize>, rng: &mut impl Rng) -> Result<Vec<u32>, AnyError> {
        let country = self.countries.get(code).ok_or("the file lacks a country")?;
        let networks = country.firsts.len();
        let count = count.unwrap_or(networks);
        if networks < count {
            return Err(format!("{code} has {networks} networks, {count} are needed").into());
        }
        let mut below = |n: u64| rng.next_u64() % n;
        match self.draw {
            Draw::Networks => {
                let mut all = country.firsts.clone();
                for i in 0..count {
                    all.swap(i, i + below((networks - i) as u64) as usize);
                }
                all.truncate(count);
                Ok(all)
            }
            Draw::Addresses => {
                let (mut drawn, mut seen) = (Vec::new(), BTreeSet::new());
                while drawn.len() < count {
                    let place = below(country.ends[networks - 1]);
                    let network = country.ends.partition_point(|end| *end <= place);
                    let before = network.checked_sub(1).map_or(0, |before| country.ends[before]);
                    let address = country.firsts[network] + (place - before) as u32;
                    if seen.insert(address) {
                        drawn.push(address);
                    }
                }
                Ok(drawn)
            }
        }
    }
}

/// A yardstick: how much likelier an address is for an entity than for nobody in particular, by counting alone.
///
/// Bit by bit, down to 24: of the training rows that share the bits so far, which share has the next bit as well? An entity's own
/// share is drawn towards that of all entities as if `OWN` rows more had it, and that towards a half as if `ALL` rows more had,
/// both times `DEEPER` for each bit (a Pólya tree whose prior is another one; the numbers were chosen for the best AUC on these data).
struct Counts {
    own: BTreeMap<String, Vec<u32>>,
    all: Vec<u32>,
}

const OWN: f64 = 1.0;
const ALL: f64 = 3.0;
const DEEPER: f64 = 1.3;

impl Counts {
    fn of(rows: &[AccessEvent]) -> Self {
        let mut own = BTreeMap::<String, Vec<u32>>::new();
        for row in rows {
            own.entry(row.entity.to_string())
                .or_default()
                .push(u32::from(row.ip));
        }
        own.values_mut().for_each(|addresses| addresses.sort_unstable());
        let mut all: Vec<u32> = own.values().flatten().copied().collect();
        all.sort_unstable();
        Self { own, all }
    }

    fn score(&self, row: &AccessEvent) -> Score {
        let address = u32::from(row.ip);
        let count = |addresses: &[u32], bits: u32| {
            let prefix = |address: u32| u64::from(address) >> (32 - bits);
            let start = addresses.partition_point(|a| prefix(*a) < prefix(address));
            let end = addresses.partition_point(|a| prefix(*a) <= prefix(address));
            (end - start) as f64
        };
        let own = self.own.get(&*row.entity).map_or(&[][..], |own| own);
        let bits = (1..=24).map(|bits| {
            let [for_own, for_all] = [OWN, ALL].map(|prior| prior * DEEPER.powf(f64::from(bits)));
            let all = (count(&self.all, bits) + for_all / 2.0) / (count(&self.all, bits - 1) + for_all);
            let share = (count(own, bits) + for_own * all) / (count(own, bits - 1) + for_own);
            (2.0 * share).ln()
        });
        Score::new(bits.sum::<f64>() as f32)
    }
}
