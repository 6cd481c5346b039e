//! `cargo xtask bench-data`: the rows of the test that everybody publishes, made anew.
//!
//! The service's tutorial simulates users who log in from around two places of a table of address ranges, and now and
//! then from anywhere. This is the same simulation, written from its description: any table of ranges serves, a seed
//! decides every byte, and rows go to their files as they are drawn.
//!
//! What the simulation knows of its users (homes, habits) never leaves this module, but for one thing: how well the
//! answers can be told apart by somebody who knows all of it, in `manifest.json`. That is the ceiling for a model.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use access_events::{AccessEvent, csv::Writer};
use anyhow::{Context, bail, ensure};
use geodata::Database;
use ipinsights::{Score, evaluation};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// Make the rows of the published test: training, validation, later normal rows and attacks.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Args {
    /// The folder to write to; it is made.
    #[arg(long)]
    pub(crate) out: PathBuf,
    /// A table of ranges: lines that begin `first,last` or `first<tab>last`, in numbers or dotted, such as
    /// `/usr/share/tor/geoip` of Debian's `tor-geoipdb`, or a country database (`.mmdb`). Default: the built-in sample.
    #[arg(long)]
    pub(crate) ranges: Option<PathBuf>,
    #[arg(long, default_value_t = 10_000)]
    pub(crate) users: u32,
    /// Normal rows and attacks in the test, each.
    #[arg(long, default_value_t = 100_000)]
    pub(crate) test_rows: u64,
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
}

/// What was made, beside the files.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    /// Where the ranges are from.
    pub(crate) source: String,
    pub(crate) ranges: usize,
    pub(crate) users: u32,
    pub(crate) seed: u64,
    pub(crate) training_rows: u64,
    pub(crate) validation_rows: u64,
    pub(crate) normal_rows: u64,
    pub(crate) attack_rows: u64,
    /// What somebody gets who knows each user's home, work and habits, but not how active they are.
    pub(crate) oracle: Oracle,
}

/// How well normal rows and attacks can be told apart at all.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Oracle {
    pub(crate) auc: f64,
    /// Attacks that are found when one normal row in a hundred is flagged.
    pub(crate) recall_at_1_percent: f64,
}

/// Runs the task.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let manifest = make(args)?;
    println!("{}", serde_json::to_string_pretty(&manifest)?);
    if args.ranges.is_none() {
        println!("{}", geodata_sample::ATTRIBUTION);
    }
    Ok(())
}

/// The files, in the order in which they are drawn.
const FILES: [&str; 4] = ["train.csv", "validation.csv", "normal.csv", "attack.csv"];

/// Ten days in a row: seven to train on, two to validate on, and the normal rows of the test are of the last.
const TRAINING_SHARE: f64 = 0.7;
const VALIDATION_SHARE: f64 = 0.9;

pub(crate) fn make(args: &Args) -> anyhow::Result<Manifest> {
    let (source, ranges) = ranges(args.ranges.as_deref())?;
    ensure!(args.users > 0, "there must be users");
    fs::create_dir_all(&args.out).with_context(|| format!("could not make `{}`", args.out.display()))?;
    let world = World::new(&ranges, args.users, args.seed);
    let mut files = Vec::new();
    for name in FILES {
        let temporary = tempfile::NamedTempFile::new_in(&args.out)?;
        files.push((name, Writer::new(temporary)));
    }

    let logins = world.logins();
    let training_rows = (logins as f64 * TRAINING_SHARE) as u64;
    let validation_end = (logins as f64 * VALIDATION_SHARE) as u64;
    let normal_rows = args.test_rows.min(logins - validation_end);
    let mut known = vec![false; args.users as usize];
    let mut rng = stream(args.seed, Purpose::Logins);
    let mut normal_scores = Vec::new();
    for login in 0..validation_end + normal_rows {
        let user = world.user_of(login);
        let file = match login {
            n if n < training_rows => {
                known[user as usize] = true;
                0
            }
            n if n < validation_end => 1,
            // Only users seen in training; at 35 rows and more in training hardly any is not.
            _ if !known[user as usize] => continue,
            _ => 2,
        };
        let range = world.range_of_login(user, &mut rng);
        files[file].1.write(&world.event(user, range, &mut rng))?;
        if file == 2 {
            normal_scores.push(Score::new(world.likelihood_ratio(user, range).ln() as f32));
        }
    }
    let known: Vec<u32> = (0..args.users).filter(|user| known[*user as usize]).collect();
    ensure!(
        !known.is_empty(),
        "no user is seen in training; more users are needed"
    );
    let mut attack_scores = Vec::new();
    for _ in 0..normal_scores.len() {
        let user = known[below(&mut rng, known.len() as u64) as usize];
        let range = below(&mut rng, ranges.len() as u64) as usize;
        files[3].1.write(&world.event(user, range, &mut rng))?;
        attack_scores.push(Score::new(world.likelihood_ratio(user, range).ln() as f32));
    }
    for (name, writer) in files {
        let path = args.out.join(name);
        let file = writer.finish()?;
        file.persist(&path)
            .with_context(|| format!("could not write `{}`", path.display()))?;
    }
    let manifest = Manifest {
        source,
        ranges: ranges.len(),
        users: args.users,
        seed: args.seed,
        training_rows,
        validation_rows: validation_end - training_rows,
        normal_rows: normal_scores.len() as u64,
        attack_rows: attack_scores.len() as u64,
        oracle: Oracle {
            auc: evaluation::auc(&normal_scores, &attack_scores).context("there are no test rows")?,
            recall_at_1_percent: super::recall_at(&normal_scores, &attack_scores, 0.01),
        },
    };
    let mut file = tempfile::NamedTempFile::new_in(&args.out)?;
    serde_json::to_writer_pretty(&mut file, &manifest)?;
    writeln!(file)?;
    file.persist(args.out.join("manifest.json"))?;
    Ok(manifest)
}

/// First and last address.
type Range = (u32, u32);

/// The table of ranges, and what to call it.
fn ranges(path: Option<&Path>) -> anyhow::Result<(String, Vec<Range>)> {
    let from_database = |database: &Database| {
        database
            .networks()
            .map(|network| {
                let prefix = network?.prefix;
                Ok((prefix.network().to_bits(), prefix.broadcast().to_bits()))
            })
            .collect::<anyhow::Result<Vec<Range>>>()
    };
    let (source, ranges) = match path {
        None => {
            let database = Database::from_bytes(geodata_sample::DATABASE)?;
            ("the built-in sample".to_owned(), from_database(&database)?)
        }
        Some(path) if path.extension().is_some_and(|extension| extension == "mmdb") => {
            (path.display().to_string(), from_database(&Database::open(path)?)?)
        }
        Some(path) => {
            let file = File::open(path).with_context(|| format!("could not read `{}`", path.display()))?;
            let ranges = parse(BufReader::new(file)).with_context(|| format!("in `{}`", path.display()))?;
            (path.display().to_string(), ranges)
        }
    };
    ensure!(!ranges.is_empty(), "{source} has no IPv4 range");
    Ok((source, ranges))
}

fn parse(text: impl BufRead) -> anyhow::Result<Vec<Range>> {
    let mut ranges: Vec<Range> = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line?;
        if line.starts_with('#') || line.trim().is_empty() {
            continue;
        }
        let mut fields = line.split([',', '\t']).map(|field| address(field.trim()));
        let (Some(Some(first)), Some(Some(last))) = (fields.next(), fields.next()) else {
            bail!("line {number}: `{line}` does not begin with two addresses");
        };
        ensure!(first <= last, "line {number}: the range ends before it begins");
        ensure!(
            ranges.last().is_none_or(|before| before.1 < first),
            "line {number}: ranges overlap or go backwards"
        );
        ranges.push((first, last));
    }
    Ok(ranges)
}

fn address(text: &str) -> Option<u32> {
    let number = text.parse::<u32>().ok();
    number.or_else(|| text.parse::<Ipv4Addr>().ok().map(Ipv4Addr::to_bits))
}

/// How far work is from home at most, in ranges.
const COMMUTE: i64 = 50_000;
/// The standard deviation of a login around its place, in ranges.
const SPREAD: f64 = 10.0;

/// The users and where they are.
struct World<'a> {
    ranges: &'a [Range],
    users: Vec<User>,
    /// By user: the logins of all users before it; then those of all.
    starts: Vec<u64>,
    seed: u64,
}

struct User {
    home: usize,
    work: usize,
    travels: f64,
    at_home: f64,
}

impl<'a> World<'a> {
    fn new(ranges: &'a [Range], users: u32, seed: u64) -> Self {
        let mut rng = stream(seed, Purpose::Users);
        let mut world = Self {
            ranges,
            users: Vec::new(),
            starts: vec![0],
            seed,
        };
        let mut total = 0;
        for _ in 0..users {
            let home = below(&mut rng, ranges.len() as u64) as i64;
            let commute = below(&mut rng, 2 * COMMUTE as u64 + 1) as i64 - COMMUTE;
            world.users.push(User {
                home: home as usize,
                work: world.wrapped(home + commute),
                // Beta(1, 30): the least of 30 uniform numbers.
                travels: 1.0 - (1.0 - uniform(&mut rng)).powf(1.0 / 30.0),
                // Beta(3, 5): the third of seven.
                at_home: third_of_seven(&mut rng),
            });
            // 50 times a Pareto(1) number from 1 on.
            let activity = (50.0 / (1.0 - uniform(&mut rng))).min(10_000.0);
            total += activity as u64;
            world.starts.push(total);
        }
        world
    }

    fn logins(&self) -> u64 {
        self.starts[self.users.len()]
    }

    /// Who logs in: all logins in a random order, which a bijection of their numbers gives without holding them.
    fn user_of(&self, login: u64) -> u32 {
        let place = permuted(login, self.logins(), self.seed);
        (self.starts.partition_point(|start| *start <= place) - 1) as u32
    }

    fn range_of_login(&self, user: u32, rng: &mut ChaCha8Rng) -> usize {
        let user = &self.users[user as usize];
        if uniform(rng) < user.travels {
            return below(rng, self.ranges.len() as u64) as usize;
        }
        let place = if uniform(rng) < user.at_home {
            user.home
        } else {
            user.work
        };
        self.wrapped((place as f64 + SPREAD * normal(rng)).trunc() as i64)
    }

    fn event(&self, user: u32, range: usize, rng: &mut ChaCha8Rng) -> AccessEvent {
        let (first, last) = self.ranges[range];
        let offset = below(rng, u64::from(last - first) + 1) as u32;
        AccessEvent::new(format!("user_{user}"), Ipv4Addr::from_bits(first + offset))
    }

    /// How much likelier this range is as a login of the user than as an attack.
    fn likelihood_ratio(&self, user: u32, range: usize) -> f64 {
        let user = &self.users[user as usize];
        let n = self.ranges.len() as i64;
        let near = |place: usize| {
            // The table wraps, so one way round is the shorter.
            let distance = (range as i64 - place as i64 + n / 2).rem_euclid(n) - n / 2;
            let z = distance as f64 / SPREAD;
            (-0.5 * z * z).exp() / (SPREAD * (2.0 * std::f64::consts::PI).sqrt())
        };
        let places = user.at_home * near(user.home) + (1.0 - user.at_home) * near(user.work);
        user.travels + (1.0 - user.travels) * places * n as f64
    }

    fn wrapped(&self, range: i64) -> usize {
        range.rem_euclid(self.ranges.len() as i64) as usize
    }
}

#[derive(Clone, Copy)]
enum Purpose {
    Users = 1,
    Logins = 2,
}

fn stream(seed: u64, purpose: Purpose) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(purpose as u64);
    rng
}

/// From 0 to below 1.
fn uniform(rng: &mut ChaCha8Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

/// A number below `n`; its bias is n / 2^64.
fn below(rng: &mut ChaCha8Rng, n: u64) -> u64 {
    ((u128::from(rng.next_u64()) * u128::from(n)) >> 64) as u64
}

/// Box and Muller.
fn normal(rng: &mut ChaCha8Rng) -> f64 {
    let radius = (-2.0 * (1.0 - uniform(rng)).ln()).sqrt();
    radius * (2.0 * std::f64::consts::PI * uniform(rng)).cos()
}

fn third_of_seven(rng: &mut ChaCha8Rng) -> f64 {
    let mut numbers: [f64; 7] = std::array::from_fn(|_| uniform(rng));
    numbers.sort_unstable_by(f64::total_cmp);
    numbers[2]
}

/// A bijection of the numbers below `n`: four Feistel rounds on the next even number of bits, repeated until the result
/// is below `n`.
fn permuted(number: u64, n: u64, seed: u64) -> u64 {
    let half = (64 - n.leading_zeros()).div_ceil(2).max(1);
    let mask = (1_u64 << half) - 1;
    let mut x = number;
    loop {
        let (mut left, mut right) = (x >> half, x & mask);
        for round in 0..4 {
            let mut mixed = right ^ seed.rotate_left(16 * round) ^ (u64::from(round) << 60);
            mixed = (mixed ^ (mixed >> 31)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0x94d0_49bb_1331_11eb);
            (left, right) = (right, left ^ ((mixed >> 32) & mask));
        }
        x = left << half | right;
        if x < n {
            return x;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(out: &Path) -> Args {
        Args {
            out: out.to_owned(),
            ranges: None,
            users: 50,
            test_rows: 500,
            seed: 7,
        }
    }

    #[test]
    fn the_same_seed_makes_the_same_files() {
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let manifests = folders
            .each_ref()
            .map(|folder| make(&args(folder.path())).unwrap());
        assert_eq!(manifests[0], manifests[1]);
        for (name, rows) in FILES.into_iter().zip([
            manifests[0].training_rows,
            manifests[0].validation_rows,
            manifests[0].normal_rows,
            manifests[0].attack_rows,
        ]) {
            let [one, two] = folders
                .each_ref()
                .map(|folder| fs::read(folder.path().join(name)).unwrap());
            assert!(one == two, "{name}");
            assert_eq!(
                access_events::read_csv(&one[..]).unwrap().len() as u64,
                rows,
                "{name}"
            );
        }
        // Beside the manifest nothing else.
        assert_eq!(fs::read_dir(folders[0].path()).unwrap().count(), 5);
        let other = tempfile::tempdir().unwrap();
        make(&Args {
            seed: 8,
            ..args(other.path())
        })
        .unwrap();
        let [one, two] =
            [&folders[0], &other].map(|folder| fs::read(folder.path().join("train.csv")).unwrap());
        assert!(one != two);
    }

    /// The figures of the simulation's description, within what 4,000 users allow.
    #[test]
    fn users_are_as_described() {
        let ranges: Vec<Range> = (0..200_000).map(|i| (i * 100, i * 100 + 99)).collect();
        let world = World::new(&ranges, 4_000, 3);
        let mean = |f: fn(&User) -> f64| world.users.iter().map(f).sum::<f64>() / 4_000.0;
        assert!((mean(|u| u.travels) - 1.0 / 31.0).abs() < 0.003);
        assert!((mean(|u| u.at_home) - 3.0 / 8.0).abs() < 0.01);
        let activity: Vec<u64> = world.starts.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(activity.iter().all(|a| (50..=10_000).contains(a)));
        // The median of Pareto(1) is 2.
        assert!((1_800..2_200).contains(&activity.iter().filter(|a| **a > 100).count()));

        let mut rng = stream(3, Purpose::Logins);
        let (mut near, mut of_ten) = (0, 0);
        for login in 0..10_000 {
            let user = world.user_of(login);
            let range = world.range_of_login(user, &mut rng) as i64;
            let user = &world.users[user as usize];
            let distance = (range - user.home as i64)
                .abs()
                .min((range - user.work as i64).abs());
            near += i32::from(distance <= 40);
            of_ten += i32::from(distance <= 10);
        }
        // All but the travellers; two thirds of them within one standard deviation.
        assert!((9_550..9_800).contains(&near), "{near}");
        assert!((6_400..7_000).contains(&of_ten), "{of_ten}");
    }

    #[test]
    fn every_login_has_its_turn() {
        for n in [1, 2, 3, 1_000, 4_097] {
            let mut places: Vec<u64> = (0..n).map(|i| permuted(i, n, 99)).collect();
            places.sort_unstable();
            assert!(places.iter().copied().eq(0..n), "{n}");
        }
    }

    #[test]
    fn tables_of_ranges() {
        let parsed = |text: &str| parse(text.as_bytes()).map_err(|error| error.to_string());
        assert_eq!(
            parsed("# first,last,country\n0,255,AU\n1.0.1.0\t1.0.3.255\t13335\tUS\n"),
            Ok(vec![(0, 255), (0x0100_0100, 0x0100_03ff)])
        );
        assert_eq!(
            parsed("5"),
            Err("line 1: `5` does not begin with two addresses".to_owned())
        );
        assert_eq!(
            parsed("9,5"),
            Err("line 1: the range ends before it begins".to_owned())
        );
        assert_eq!(
            parsed("5,9\n9,10"),
            Err("line 2: ranges overlap or go backwards".to_owned())
        );
    }
}
