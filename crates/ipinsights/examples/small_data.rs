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
//!     [networks=50,500,5000] [samples=50] [threads=1]
//! ```
//!
//! The file has lines `first,last,country` with addresses as numbers, such as Debian's `tor-geoipdb` installs (IPFire
//! Location database, CC BY-SA 4.0). Without `name=value` it measures the published settings and the advised ones; with them, these
//! hyperparameters. The answer is a Markdown table; samples with a number are the same on every machine.
#![expect(clippy::print_stdout, reason = "a program that prints its findings")]

use std::collections::BTreeMap;
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
        .ok_or("usage: small_data FILE [name=value ...] [networks=50,500,5000] [samples=50] [threads=1]")?;
    let mut settings: BTreeMap<String, String> = args
        .map(|arg| match arg.split_once('=') {
            Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
            None => Err(format!("`{arg}` is not name=value")),
        })
        .collect::<Result<_, _>>()?;
    let mut number = |name: &str, default: &str| settings.remove(name).unwrap_or(default.to_owned());
    let samples: u64 = number("samples", "50").parse()?;
    let threads: usize = number("threads", "1").parse()?;
    let sizes = number("networks", "50,500,5000")
        .split(',')
        .map(str::parse)
        .collect::<Result<Vec<usize>, _>>()?;
    let networks = read(&std::fs::read_to_string(file)?)?;

    println!(
        "| rows per country | settings | AUC | all five negative | below 0: training | held out | Singapore | seconds |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- |");
    for per_country in sizes {
        let rows = (per_country * COUNTRIES.len()) as u64;
        let mut candidates: Vec<(&str, Draft)> = Vec::new();
        if settings.is_empty() {
            candidates.push(("published", Hyperparameters::draft(10).vector_dim(128)));
            candidates.push(("advised", Hyperparameters::advise(rows, COUNTRIES.len() as u64)));
        } else {
            let mut settings = settings.clone();
            settings
                .entry("num_entity_vectors".to_owned())
                .or_insert_with(|| "1000".to_owned());
            let (draft, unknown) = Draft::from_map(&settings);
            if !unknown.is_empty() {
                return Err(format!("unknown hyperparameters: {unknown:?}").into());
            }
            candidates.push(("as given", draft));
        }
        for (name, draft) in candidates {
            let found = measure(&networks, &draft.check()?, per_country, samples, threads)?;
            let of = |what: fn(&Sample) -> f64| found.iter().map(what).sum::<f64>() / found.len() as f64;
            let auc = of(|s| s.auc);
            let spread = found.iter().map(|s| (s.auc - auc).powi(2)).sum::<f64>() / found.len() as f64;
            println!(
                "| {per_country} | {name} | {auc:.3} ± {:.3} | {} of {samples} | {:.1} % | {:.1} % | {:.1} % | {:.2} |",
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

/// First addresses by country code.
type Networks = BTreeMap<String, Vec<u32>>;

fn read(text: &str) -> Result<Networks, AnyError> {
    let mut networks = Networks::new();
    for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.starts_with('#')) {
        let fields: Vec<&str> = line.split(',').collect();
        let [first, last, country] = fields[..] else {
            return Err(format!("line {number} is not `first,last,country`").into());
        };
        let networks = networks.entry(country.to_owned()).or_default();
        // Ranges fall into the fewest networks, as in a GeoLite2 database: each the largest that begins here.
        let (mut next, last): (u64, u64) = (first.parse()?, last.parse()?);
        while next <= last {
            networks.push(next.try_into()?);
            let aligned = next.trailing_zeros().min(32);
            let fits = (last - next + 1).ilog2();
            next += 1 << aligned.min(fits);
        }
    }
    Ok(networks)
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
    networks: &Networks,
    params: &Hyperparameters,
    per_country: usize,
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
            found.push((seed, sample(networks, params, per_country, seed)?));
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

fn sample(
    networks: &Networks,
    params: &Hyperparameters,
    per_country: usize,
    seed: u64,
) -> Result<Sample, AnyError> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let (mut train, mut held_out, mut outliers) = (Vec::new(), Vec::new(), Vec::new());
    for (code, entity) in COUNTRIES {
        let drawn = draw(networks, code, per_country + HELD_OUT, &mut rng)?;
        let mut events = drawn.into_iter().map(|ip| AccessEvent::new(entity, ip.into()));
        held_out.extend(events.by_ref().take(HELD_OUT));
        train.extend(events);
    }
    for (i, ip) in draw(networks, "SG", OUTLIERS, &mut rng)?.into_iter().enumerate() {
        outliers.push(AccessEvent::new(COUNTRIES[i % COUNTRIES.len()].1, ip.into()));
    }
    let start = Instant::now();
    let options = TrainOptions { seed, threads: 1 };
    let model = ipinsights::train(params, &train, None, &options, &mut |_| ControlFlow::Continue(()))?;
    let seconds = start.elapsed().as_secs_f64();
    let [train, held_out, outliers] = [train, held_out, outliers].map(|rows| model.score_batch(&rows));
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

/// `count` different networks of a country.
fn draw(networks: &Networks, code: &str, count: usize, rng: &mut impl Rng) -> Result<Vec<u32>, AnyError> {
    let mut all = networks.get(code).cloned().unwrap_or_default();
    if all.len() < count {
        return Err(format!("{code} has {} networks, {count} are needed", all.len()).into());
    }
    for i in 0..count {
        let j = i + (rng.next_u64() % (all.len() - i) as u64) as usize;
        all.swap(i, j);
    }
    all.truncate(count);
    Ok(all)
}
