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

use super::peers;

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
    /// Measure PyTorch in the same run: with the given Python, or with one of its own, for which gigabytes are downloaded.
    #[arg(long, value_name = "PYTHON", require_equals = true, num_args = 0..=1)]
    torch: Option<Option<PathBuf>>,
    /// Measure MXNet 1.9 in the same run, in the same way.
    #[arg(long, value_name = "PYTHON", require_equals = true, num_args = 0..=1)]
    mxnet: Option<Option<PathBuf>>,
    /// Mini-batches that these are measured for; 0 means whole trainings, which take minutes an epoch, and their quality.
    #[arg(long, default_value_t = 2_000)]
    peer_batches: u64,
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
    let mut columns = vec![("ipinsights".to_owned(), ours(args, &params)?)];
    let settings = peers::Settings {
        data: &args.data,
        params: &params,
        threads: args.threads,
        seed: args.seed,
        batches: args.peer_batches,
    };
    for (library, python) in [(&peers::TORCH, &args.torch), (&peers::MXNET, &args.mxnet)] {
        if let Some(python) = python {
            columns.extend(peers::measure(library, python.as_deref(), &settings)?);
        }
    }
    println!();
    print!("{}", table(&columns));
    Ok(())
}

/// Trains the engine, and tells each epoch.
fn ours(args: &Args, params: &Hyperparameters) -> anyhow::Result<Figures> {
    let rows = |name: &str| dataset(&args.data.join(name), params);
    let (train, validation) = (rows("train.csv")?, rows("validation.csv")?);
    let [normal, attack] = ["normal.csv", "attack.csv"].map(|name| read(&args.data.join(name)));
    let (normal, attack) = (normal?, attack?);

    let training = Training::new(params, &train)
        .validation(&validation)
        .options(TrainOptions {
            seed: args.seed,
            threads: args.threads,
        });
    println!("| epoch | loss | discriminator_auc | rows/s | seconds | of processors |");
    println!("| --- | --- | --- | --- | --- | --- |");
    // The processor's time is that of epoch and validation, the seconds are those of the epoch.
    let mut before = processor_seconds();
    let (mut speed, mut last_auc) = (None::<Speed>, None);
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
            let fastest = Speed {
                rows: train.len() as f64,
                seconds: *seconds,
                processor_seconds: now - before,
            };
            if speed.is_none_or(|known| fastest.seconds < known.seconds) {
                speed = Some(fastest);
            }
            (before, last_auc) = (now, *discriminator_auc);
        }
        ControlFlow::Continue(())
    })?;
    let memory = peak_memory();
    println!();
    measure(&trained.model, &normal, &attack, speed, last_auc, memory)
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

/// What the table says of one encoder.
#[derive(Debug, Clone)]
pub(crate) struct Figures {
    pub(crate) quality: Option<Quality>,
    /// Of the fastest epoch, or of the mini-batches that were measured.
    pub(crate) speed: Option<Speed>,
    /// In batches.
    pub(crate) pairs_per_second: Option<f64>,
    pub(crate) microseconds_a_pair: Option<f64>,
    /// At the peak of training, in bytes.
    pub(crate) memory: Option<u64>,
    pub(crate) weights: u64,
}

/// How well a model tells the normal rows of the test from the attacks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Quality {
    pub(crate) auc: f64,
    /// Precision, recall and false-positive rate of flagging what scores below 0.
    pub(crate) at_zero: [f64; 3],
    pub(crate) recall_at_1_percent: f64,
    pub(crate) discriminator_auc: Option<f64>,
}

impl Quality {
    pub(crate) fn of(
        normal: &[Score],
        attack: &[Score],
        discriminator_auc: Option<f64>,
    ) -> anyhow::Result<Self> {
        let below = |scores: &[Score]| scores.iter().filter(|score| score.dot_product() < 0.0).count() as f64;
        let (found, false_positives) = (below(attack), below(normal));
        Ok(Self {
            auc: evaluation::auc(normal, attack).context("there are no rows, or a score is not a number")?,
            at_zero: [
                found / (found + false_positives),
                found / attack.len() as f64,
                false_positives / normal.len() as f64,
            ],
            recall_at_1_percent: super::recall_at(normal, attack, 0.01),
            discriminator_auc,
        })
    }
}

/// How long training takes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Speed {
    pub(crate) rows: f64,
    /// By the clock.
    pub(crate) seconds: f64,
    /// Of all processors, with what comes after an epoch.
    pub(crate) processor_seconds: f64,
}

impl Speed {
    pub(crate) fn rows_per_second(&self) -> f64 {
        self.rows / self.seconds
    }

    /// By seconds of processors, which other programs on the machine take less from.
    fn rows_per_processor_second(&self) -> f64 {
        self.rows / self.processor_seconds
    }
}

/// What the model makes of later rows, and how fast.
fn measure(
    model: &Model,
    normal: &[AccessEvent],
    attack: &[AccessEvent],
    speed: Option<Speed>,
    discriminator_auc: Option<f64>,
    memory: Option<u64>,
) -> anyhow::Result<Figures> {
    ensure!(!normal.is_empty(), "there are no normal rows");
    let (of_normal, of_attack) = (model.score_batch(normal), model.score_batch(attack));
    let batches = timed(|| {
        for rows in [normal, attack] {
            (0..REPEATED).for_each(|_| drop(model.score_batch(rows)));
        }
    });
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
    ensure!(
        alone == of_normal,
        "a pair alone has another score than in a batch"
    );
    Ok(Figures {
        quality: Some(Quality::of(&of_normal, &of_attack, discriminator_auc)?),
        speed,
        pairs_per_second: Some((REPEATED * (normal.len() + attack.len())) as f64 / batches),
        microseconds_a_pair: Some(1e6 * one_by_one / (REPEATED * normal.len()) as f64),
        memory,
        weights: model.weights() as u64,
    })
}

/// The names of the rows, and what is published for the service.
const ROWS: [[&str; 2]; 11] = [
    ["ROC AUC", "0.98405"],
    ["precision, recall, FPR at 0", "0.956, 0.985, 0.045"],
    ["recall at 1 % FPR", "0.409"],
    ["discriminator_auc", "0.9909"],
    ["rows per second of training", "16,000 to 24,000"],
    ["... per second of processors", ""],
    ["ipinsights is as many times as fast", ""],
    ["... by seconds of processors", ""],
    ["pairs scored per second, in batches", ""],
    ["microseconds a pair, one by one", ""],
    ["memory at the peak of training; weights", ""],
];

/// A column for each encoder, the engine's first.
fn table(columns: &[(String, Figures)]) -> String {
    let ours = columns.first().and_then(|(_, figures)| figures.speed);
    let cells: Vec<[String; ROWS.len()]> = columns.iter().map(|(_, figures)| figures.cells(ours)).collect();
    let names: Vec<&str> = columns.iter().map(|(name, _)| name.as_str()).collect();
    let mut text = format!("| figure | the service, published | {} |\n", names.join(" | "));
    text += &format!("|{}\n", " --- |".repeat(columns.len() + 2));
    for (i, [name, published]) in ROWS.iter().enumerate() {
        let row: Vec<&str> = cells.iter().map(|column| column[i].as_str()).collect();
        text += &format!("| {name} | {published} | {} |\n", row.join(" | "));
    }
    text
}

impl Figures {
    /// In the order of [`ROWS`].
    fn cells(&self, ours: Option<Speed>) -> [String; ROWS.len()] {
        let text = |number: Option<f64>, decimals: usize| {
            number.map_or_else(String::new, |number| format!("{number:.decimals$}"))
        };
        let (quality, speed) = (self.quality, self.speed);
        let times = |of: fn(&Speed) -> f64| Some(of(&ours?) / of(&speed?));
        [
            text(quality.map(|quality| quality.auc), 5),
            quality.map_or_else(String::new, |quality| {
                quality.at_zero.map(|share| format!("{share:.4}")).join(", ")
            }),
            text(quality.map(|quality| quality.recall_at_1_percent), 3),
            text(quality.and_then(|quality| quality.discriminator_auc), 5),
            text(speed.map(|speed| speed.rows_per_second()), 0),
            text(speed.map(|speed| speed.rows_per_processor_second()), 0),
            text(times(Speed::rows_per_second), 1),
            text(times(Speed::rows_per_processor_second), 1),
            text(self.pairs_per_second, 0),
            text(self.microseconds_a_pair, 2),
            format!(
                "{} MiB; {}",
                self.memory
                    .map_or("unknown".to_owned(), |bytes| (bytes >> 20).to_string()),
                self.weights
            ),
        ]
    }
}

/// How often the rows of the test are scored to see how long that takes.
const REPEATED: usize = 5;

/// Seconds by the clock that some work takes.
fn timed(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_secs_f64()
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
    fn a_column_for_each_encoder() {
        let figures = |seconds, quality| Figures {
            quality,
            speed: Some(Speed {
                rows: 1_000.0,
                seconds,
                processor_seconds: 2.0 * seconds,
            }),
            pairs_per_second: None,
            microseconds_a_pair: None,
            memory: Some(3 << 20),
            weights: 7,
        };
        let scores = |list: [f32; 2]| list.map(Score::new);
        let quality = Quality::of(&scores([1.0, 2.0]), &scores([-1.0, 1.5]), Some(0.75)).unwrap();
        let columns = [
            ("ours".to_owned(), figures(0.5, Some(quality))),
            ("other".to_owned(), figures(2.5, None)),
        ];
        let text = table(&columns);
        let rows: Vec<&str> = text.lines().collect();
        assert_eq!(rows[0], "| figure | the service, published | ours | other |");
        assert_eq!(rows[2], "| ROC AUC | 0.98405 | 0.75000 |  |");
        assert_eq!(
            rows[6],
            "| rows per second of training | 16,000 to 24,000 | 2000 | 400 |"
        );
        assert_eq!(rows[8], "| ipinsights is as many times as fast |  | 1.0 | 5.0 |");
        assert_eq!(
            rows[12],
            "| memory at the peak of training; weights |  | 3 MiB; 7 | 3 MiB; 7 |"
        );
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
            torch: None,
            mxnet: None,
            peer_batches: 0,
            settings: vec!["epochs=1".to_owned()],
        })
        .unwrap();
    }
}
