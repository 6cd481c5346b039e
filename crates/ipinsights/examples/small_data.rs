//! How well a few rows teach the model, measured on networks of real countries.
//!
//! Draws networks (50 unless told otherwise) of each of five western countries, trains on their first addresses with the country as entity, and
//! then compares the scores of other networks of the same countries with those of Singapore networks that claim to be
//! from the five in turn. Prints the area under the ROC curve and the training time, averaged over samples.
//!
//! ```text
//! cargo run --release -p ipinsights --example small_data -- /usr/share/tor/geoip [name=value ...] [networks=50] [samples=20]
//! ```
//!
//! The file has lines `first,last,country` with addresses as numbers, such as Debian's `tor-geoipdb` installs (IPFire
//! Location database, CC BY-SA 4.0). Without `name=value` it measures the published settings and the advised ones.
#![expect(clippy::print_stdout, reason = "a program that prints its findings")]

use std::collections::BTreeMap;
use std::error::Error;
use std::ops::ControlFlow;
use std::time::Instant;

use access_events::AccessEvent;
use ipinsights::{Draft, Hyperparameters, TrainOptions, evaluation};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

const COUNTRIES: [(&str, &str); 5] = [
    ("US", "United States"),
    ("GB", "United Kingdom"),
    ("FR", "France"),
    ("DE", "Germany"),
    ("CA", "Canada"),
];

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let file = args
        .next()
        .ok_or("usage: small_data FILE [name=value ...] [networks=50] [samples=20]")?;
    let mut settings: BTreeMap<String, String> = args
        .map(|arg| match arg.split_once('=') {
            Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
            None => Err(format!("`{arg}` is not name=value")),
        })
        .collect::<Result<_, _>>()?;
    let samples = settings
        .remove("samples")
        .map_or(Ok(20), |s| s.parse::<usize>())?;
    let networks = read(&std::fs::read_to_string(file)?)?;
    let per_country = settings
        .remove("networks")
        .map_or(Ok(50), |s| s.parse::<usize>())?;
    let rows = per_country * COUNTRIES.len();
    if settings.is_empty() {
        let published = Hyperparameters::draft(10).vector_dim(128);
        measure(
            "published settings",
            &networks,
            &published,
            [per_country, samples],
        )?;
        let advised = Hyperparameters::advise(rows as u64, COUNTRIES.len() as u64);
        measure("advised settings", &networks, &advised, [per_country, samples])?;
    } else {
        settings
            .entry("num_entity_vectors".to_owned())
            .or_insert_with(|| "10".to_owned());
        let (draft, unknown) = Draft::from_map(&settings);
        if !unknown.is_empty() {
            return Err(format!("unknown hyperparameters: {unknown:?}").into());
        }
        measure("these settings", &networks, &draft, [per_country, samples])?;
    }
    Ok(())
}

/// First addresses by country code.
type Networks = BTreeMap<String, Vec<u32>>;

fn read(text: &str) -> Result<Networks, Box<dyn Error>> {
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

fn measure(
    name: &str,
    networks: &Networks,
    draft: &Draft,
    [per_country, samples]: [usize; 2],
) -> Result<(), Box<dyn Error>> {
    let params = draft.check()?;
    let (mut aucs, mut seconds) = (Vec::new(), Vec::new());
    let (mut weights, mut losses) = (0, Vec::new());
    for seed in 0..samples as u64 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let (mut train, mut held_out, mut outliers) = (Vec::new(), Vec::new(), Vec::new());
        for (code, entity) in COUNTRIES {
            let drawn = draw(networks, code, 2 * per_country, &mut rng)?;
            let events = drawn.into_iter().map(|ip| AccessEvent::new(entity, ip.into()));
            held_out.extend(events);
            train.extend(held_out.drain(held_out.len() - per_country..));
        }
        for (i, ip) in draw(networks, "SG", 250, &mut rng)?.into_iter().enumerate() {
            outliers.push(AccessEvent::new(COUNTRIES[i % COUNTRIES.len()].1, ip.into()));
        }
        let start = Instant::now();
        let mut loss = 0.0;
        let model = ipinsights::train(
            &params,
            &train,
            None,
            &TrainOptions { seed, threads: 1 },
            &mut |news| {
                if let ipinsights::Progress::Epoch { loss: now, .. } = news {
                    loss = *now;
                }
                ControlFlow::Continue(())
            },
        )?;
        seconds.push(start.elapsed().as_secs_f64());
        losses.push(loss);
        let auc = evaluation::auc(&model.score_batch(&held_out), &model.score_batch(&outliers));
        aucs.push(auc.ok_or("a score is not a number")?);
        weights = model.weights();
    }
    let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len() as f64;
    let spread = (aucs.iter().map(|a| (a - mean(&aucs)).powi(2)).sum::<f64>() / aucs.len() as f64).sqrt();
    println!(
        "{name}: AUC {:.3} (standard deviation {spread:.3} over {samples} samples), loss {:.3}, trained in {:.3} s, {weights} weights",
        mean(&aucs),
        mean(&losses),
        mean(&seconds)
    );
    Ok(())
}

/// `count` different networks of a country.
fn draw(
    networks: &Networks,
    code: &str,
    count: usize,
    rng: &mut impl Rng,
) -> Result<Vec<u32>, Box<dyn Error>> {
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
