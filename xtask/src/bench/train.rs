//! `cargo xtask bench`: trains on the rows of `bench-data` with the settings of the service's tutorial, and prints how well
//! and how fast.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Instant;

use access_events::{AccessEvent, csv::Reader};
use anyhow::{Context, ensure};
use ipinsights::{
    Dataset, Draft, Hyperparameters, Model, Progress, Score, TrainOptions, Training, evaluation,
};

/// Train on the rows of the published test, and print quality, speed and memory as a table.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Args {
    /// The folder that `bench-data` wrote.
    #[arg(long)]
    data: PathBuf,
    /// Threads; 0 means one for each core.
    #[arg(long, default_value_t = 0)]
    threads: usize,
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Hyperparameters other than the tutorial's: `epochs=1`.
    #[arg(value_name = "NAME=VALUE")]
    settings: Vec<String>,
}

/// The settings of the tutorial, by their documented names.
const TUTORIAL: [(&str, &str); 8] = [
    ("num_entity_vectors", "20000"),
    ("vector_dim", "128"),
    ("random_negative_sampling_rate", "5"),
    ("shuffled_negative_sampling_rate", "1"),
    ("mini_batch_size", "1000"),
    ("num_ip_encoder_layers", "1"),
    ("epochs", "5"),
    ("learning_rate", "0.01"),
];

/// Runs the task.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let params = params(&args.settings)?;
    let rows = |name: &str| dataset(&args.data.join(name), &params);
    let (train, validation) = (rows("train.csv")?, rows("validation.csv")?);
    let [normal, attack] = ["normal.csv", "attack.csv"].map(|name| read(&args.data.join(name)));
    let (normal, attack) = (normal?, attack?);

    let training = Training::new(&params, &train)
        .validation(&validation)
        .options(TrainOptions {
            seed: args.seed,
            threads: args.threads,
        });
    println!("| epoch | loss | discriminator_auc | rows/s | seconds | of processors |");
    println!("| --- | --- | --- | --- | --- | --- |");
    // The processor's time is that of epoch and validation, the seconds are those of the epoch.
    let mut before = processor_seconds();
    let trained = training.run(&mut |news| {
        if let Progress::Started { .. } = news {
            before = processor_seconds();
        }
        if let Progress::Epoch {
            epoch,
            loss,
            discriminator_auc,
            seconds,
            rows_per_second,
            ..
        } = news
        {
            let now = processor_seconds();
            println!(
                "| {} | {loss:.5} | {:.5} | {rows_per_second:.0} | {seconds:.1} | {:.1} |",
                epoch + 1,
                discriminator_auc.unwrap_or(f64::NAN),
                now - before
            );
            before = now;
        }
        ControlFlow::Continue(())
    })?;
    let memory = peak_memory();
    println!();
    report(&trained.model, &normal, &attack, memory)
}

fn params(settings: &[String]) -> anyhow::Result<Hyperparameters> {
    let mut map: BTreeMap<String, String> = TUTORIAL
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    for setting in settings {
        let (name, value) = setting
            .split_once('=')
            .with_context(|| format!("`{setting}` is not NAME=VALUE"))?;
        map.insert(name.to_owned(), value.to_owned());
    }
    let (draft, unknown) = Draft::from_map(&map);
    ensure!(unknown.is_empty(), "no hyperparameter: {unknown:?}");
    Ok(draft.check()?)
}

fn open(path: &Path) -> anyhow::Result<Reader<BufReader<File>>> {
    let file = File::open(path).with_context(|| {
        format!(
            "could not read `{}`; `cargo xtask bench-data` makes it",
            path.display()
        )
    })?;
    Ok(Reader::new(BufReader::new(file)))
}

fn dataset(path: &Path, params: &Hyperparameters) -> anyhow::Result<Dataset> {
    Dataset::from_events(open(path)?, params).with_context(|| format!("in `{}`", path.display()))
}

fn read(path: &Path) -> anyhow::Result<Vec<AccessEvent>> {
    let events: Result<_, _> = open(path)?.collect();
    events.with_context(|| format!("in `{}`", path.display()))
}

/// What the model makes of later rows, and how fast.
fn report(
    model: &Model,
    normal: &[AccessEvent],
    attack: &[AccessEvent],
    memory: Option<u64>,
) -> anyhow::Result<()> {
    ensure!(!normal.is_empty(), "there are no normal rows");
    let (of_normal, of_attack) = (model.score_batch(normal), model.score_batch(attack));
    let batches = timed(|| {
        for rows in [normal, attack] {
            (0..REPEATED).for_each(|_| drop(model.score_batch(rows)));
        }
    });
    let pairs = (REPEATED * (normal.len() + attack.len())) as f64;
    let alone: Vec<Score> = normal.iter().map(|e| model.score(&e.entity, e.ip)).collect();
    let one_by_one = timed(|| {
        for _ in 0..REPEATED {
            let sum: f32 = normal
                .iter()
                .map(|e| model.score(&e.entity, e.ip).dot_product())
                .sum();
            std::hint::black_box(sum);
        }
    });
    let microsecond = 1e-6 * (REPEATED * normal.len()) as f64;
    ensure!(
        alone == of_normal,
        "a pair alone has another score than in a batch"
    );

    let above = |scores: &[Score]| scores.iter().filter(|score| score.dot_product() >= 0.0).count() as f64;
    let (false_negatives, found) = (above(&of_attack), of_attack.len() as f64 - above(&of_attack));
    let false_positives = of_normal.len() as f64 - above(&of_normal);
    let auc = evaluation::auc(&of_normal, &of_attack).context("a score is not a number")?;
    let rows = [
        ("ROC AUC", format!("{auc:.5}")),
        (
            "precision, recall, FPR at 0",
            format!(
                "{:.4}, {:.4}, {:.4}",
                found / (found + false_positives),
                found / (found + false_negatives),
                false_positives / of_normal.len() as f64
            ),
        ),
        (
            "recall at 1 % FPR",
            format!("{:.3}", super::recall_at(&of_normal, &of_attack, 0.01)),
        ),
        ("weights", model.weights().to_string()),
        (
            "pairs scored per second, in batches",
            format!(
                "{:.0}; {:.0} per second of processors",
                pairs / batches[0],
                pairs / batches[1]
            ),
        ),
        (
            "microseconds a pair, one by one",
            format!(
                "{:.2}; {:.2} of processors",
                one_by_one[0] / microsecond,
                one_by_one[1] / microsecond
            ),
        ),
        (
            "memory at the peak of training",
            memory.map_or("unknown".to_owned(), |bytes| format!("{} MiB", bytes >> 20)),
        ),
    ];
    println!("| figure | |\n| --- | --- |");
    for (name, value) in rows {
        println!("| {name} | {value} |");
    }
    Ok(())
}

/// How often the rows of the test are scored to see how long that takes.
const REPEATED: usize = 5;

/// Seconds by the clock and of processors that some work takes.
fn timed(work: impl FnOnce()) -> [f64; 2] {
    let (start, before) = (Instant::now(), processor_seconds());
    work();
    [start.elapsed().as_secs_f64(), processor_seconds() - before]
}

/// Seconds of processor time that this process has taken, where Linux says so; else 0.
fn processor_seconds() -> f64 {
    // User and system time are fields 14 and 15, in hundredths of a second; the second field, in brackets, may have spaces.
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ').skip(11);
    fields
        .take(2)
        .filter_map(|ticks| ticks.parse::<f64>().ok())
        .sum::<f64>()
        / 100.0
}

fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_counts() {
        if cfg!(target_os = "linux") {
            assert!(peak_memory().unwrap() > 1 << 20);
            assert!(processor_seconds() >= 0.0);
        }
    }

    #[test]
    fn settings_change_the_tutorials() {
        let settings = |list: &[&str]| params(&list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>());
        let params = settings(&["epochs=1"]).unwrap();
        assert_eq!((params.epochs(), params.vector_dim()), (1, 128));
        assert!(settings(&["epoch=1"]).is_err() && settings(&["epochs"]).is_err());
    }

    #[test]
    fn the_rows_of_the_built_in_sample_train_and_are_reported() {
        let folder = tempfile::tempdir().unwrap();
        super::super::data::make(&super::super::data::Args {
            out: folder.path().to_owned(),
            ranges: None,
            users: 20,
            test_rows: 200,
            seed: 1,
        })
        .unwrap();
        run(&Args {
            data: folder.path().to_owned(),
            threads: 1,
            seed: 0,
            settings: vec!["epochs=1".to_owned()],
        })
        .unwrap();
    }
}
