//! The work itself: reading channels, training, writing the archive, loading models.

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashSet},
    fmt::Write as _,
    fs, io,
    io::BufReader,
    num::NonZeroU32,
    ops::{Bound, ControlFlow},
    path::Path,
    str::FromStr,
    time::{Duration, Instant},
};

use access_events::{AccessEvent, csv};
use ipinsights::{
    Checkpoints, Dataset, DatasetError, Draft, EarlyStop, Hyperparameters, KnownEntities, Metrics, Progress,
    TrainError, TrainOptions, Training as Run,
    log::{JobLog, Line},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::{
    s3::{self, ObjectStore, Scan, StoreError},
    server::TrainingObserver,
    time::{Seconds, now},
};

/// A channel of a training job.
pub(super) struct Channel {
    pub(super) name: String,
    pub(super) url: String,
    pub(super) content_type: Option<String>,
}

/// A final metric, named as on the wire.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Metric {
    pub(super) metric_name: String,
    pub(super) value: f64,
    pub(super) timestamp: Seconds,
}

/// All that a training needs.
pub(super) struct Training<'a> {
    pub(super) name: &'a str,
    pub(super) hyperparameters: BTreeMap<String, String>,
    pub(super) channels: Vec<Channel>,
    /// The address under which the archive shall be.
    pub(super) output: &'a str,
    /// The address under which checkpoints shall be, where the job asks for them.
    pub(super) checkpoints: Option<&'a str>,
    /// A folder of the job's own: for the checkpoint that the next server goes on from, and rows beyond memory.
    pub(super) folder: &'a Path,
    pub(super) limit: Duration,
    pub(super) stop: &'a CancellationToken,
    /// The server's end, at which a job breaks off without ending.
    pub(super) shutdown: &'a CancellationToken,
    pub(super) s3: &'a ObjectStore,
    pub(super) log: Log<'a>,
    pub(super) observer: Option<&'a TrainingObserver>,
    /// Hears the objective after each epoch, counted from 1, and says whether to stop.
    pub(super) hopeless: &'a dyn Fn(u32, f64) -> bool,
    /// What the image of this project reads from its environment: a seed, and the epochs without a better objective after which
    /// training ends.
    pub(super) seed: Option<&'a str>,
    pub(super) early_stop: Option<&'a str>,
    /// Hears of every checkpoint that was written.
    pub(super) checkpointed: &'a dyn Fn(),
}

/// How a training ended.
pub(super) enum Ending {
    Completed(Product),
    Failed(String),
    /// It was told to stop; there is a model if it came to a mini-batch.
    Stopped(Option<Product>),
    /// It ran longer than it may.
    TooLong(Option<Product>),
    /// The server stops: the job goes on with the next one.
    BrokenOff,
}

/// What a training leaves.
#[derive(Clone)]
pub(super) struct Product {
    pub(super) artifacts: String,
    pub(super) metrics: Vec<Metric>,
}

/// Takes lines of a log, in their order.
pub(super) type Log<'a> = &'a dyn Fn(&[String]);

/// Why a row did not become an event, with the object it is in.
#[derive(Debug, thiserror::Error)]
#[error("{key}: a row cannot be read")]
struct BadRow {
    key: String,
    source: access_events::Error,
}

/// Trains; `status` hears of every secondary status with its message.
pub(super) fn train(task: &Training<'_>, status: &mut dyn FnMut(&str, &str)) -> Ending {
    status("Downloading", "Downloading input data");
    let ending = match run(task, status) {
        Ok(ending) => ending,
        Err(reason) => Ending::Failed(reason),
    };
    if let Ending::Failed(reason) = &ending {
        say(task.log, &[Line::Error(reason.clone())]);
    }
    ending
}

fn run(task: &Training<'_>, status: &mut dyn FnMut(&str, &str)) -> Result<Ending, String> {
    let log = task.log;
    let deadline = Instant::now().checked_add(task.limit);
    let is_late = || deadline.is_some_and(|d| Instant::now() >= d);
    let is_over = || task.stop.is_cancelled() || is_late();
    let ended_early = |product| match () {
        () if task.shutdown.is_cancelled() => Ending::BrokenOff,
        () if task.stop.is_cancelled() => Ending::Stopped(product),
        () => Ending::TooLong(product),
    };
    let (mut job_log, lines) = JobLog::begin("algo-1", now());
    say(log, &lines);
    let params = hyperparameters(task, &mut job_log)?;
    check_channels(task)?;
    let options = TrainOptions {
        seed: variable("IPINSIGHTS_SEED", "a whole number below 2^64", task.seed)?.unwrap_or_default(),
        ..TrainOptions::default()
    };
    let epochs = "a number of epochs, at least 1";
    let early_stop = variable::<NonZeroU32>("IPINSIGHTS_EARLY_STOP", epochs, task.early_stop)?;
    let artifacts = format!(
        "{}/{}/output/model.tar.gz",
        task.output.strip_suffix('/').unwrap_or(task.output),
        task.name
    );
    let Some((bucket, key)) = s3::parse_url(&artifacts).filter(|(b, _)| task.s3.require_bucket(b).is_ok())
    else {
        return Err(format!(
            "ClientError: the output bucket of {} does not exist",
            task.output
        ));
    };
    fs::create_dir_all(task.folder).map_err(|e| folder_error(task.folder, &e))?;
    let mut checkpoints = Checkpoints::in_folder(task.folder);
    let stored = task
        .checkpoints
        .map(|url| format!("{}/{CHECKPOINT}", url.trim_end_matches('/')));
    if let Some(url) = stored.as_deref().filter(|_| !checkpoints.path().exists()) {
        fetch(task.s3, url, &checkpoints.path()).map_err(|e| folder_error(task.folder, &e))?;
    }

    status(
        "Training",
        "Training image download completed. Training in progress.",
    );
    let entities = RefCell::new(HashSet::new());
    let read = |name: &str| {
        let channel = task.channels.iter().find(|channel| channel.name == name);
        let dataset = channel.map(|channel| {
            let rows = events(task.s3, &channel.url).enumerate();
            let rows = rows.take_while(|(number, _)| number % ROWS_BETWEEN != 0 || !is_over());
            let rows = rows.map(|(_, row)| row).inspect(|row| {
                if let ("train", Ok(event)) = (name, row)
                    && !entities.borrow().contains(&event.entity)
                {
                    entities.borrow_mut().insert(event.entity.clone());
                }
            });
            Dataset::spilling(rows, &params, task.folder)
        });
        dataset.transpose().map_err(|error| match error {
            DatasetError::Source(row) => row.reason(),
            error => format!("InternalServerError: {}", chain(&error)),
        })
    };
    // What a channel came to that was given up in the middle is no finding.
    let rows = read("train");
    if is_over() {
        return Ok(ended_early(None));
    }
    let validation = read("validation");
    if is_over() {
        return Ok(ended_early(None));
    }
    let rows = rows?.ok_or(MISSING_TRAIN)?;
    let validation = validation?.filter(|rows| !rows.is_empty());
    let known = KnownEntities::from_names(entities.take().iter().map(String::as_str));
    if stored.is_none() {
        say(
            log,
            &[Line::Info(
                "Checkpoint loading and saving are disabled.".to_owned(),
            )],
        );
    }
    // Where epochs are short, writing would take longer than training.
    let samples =
        (1 + params.random_negative_sampling_rate() + params.shuffled_negative_sampling_rate()) as usize;
    let samples = rows.len().saturating_mul(samples).max(1);
    checkpoints = checkpoints.every_epochs((SAMPLES_BETWEEN / samples).clamp(1, 100) as u32);
    let mut metrics = Metrics::default();
    let mut not_stored = None;
    let mut progress = |news: &Progress| {
        metrics.update(news);
        say(log, &job_log.news(news, &params, now()));
        if let Progress::CheckpointWritten { .. } = news {
            (task.checkpointed)();
        }
        match (news, &stored) {
            (Progress::Resumed { epoch, batch }, _) => {
                let text = format!("Going on from the checkpoint at batch {batch} of epoch {epoch}.");
                say(log, &[Line::Info(text)]);
            }
            (Progress::CheckpointWritten { .. }, Some(url)) => {
                if let Err(reason) = store(task.s3, url, &checkpoints.path()) {
                    not_stored = Some(reason);
                    return ControlFlow::Break(());
                }
            }
            _ => {}
        }
        if let Some(observer) = task.observer {
            observer(task.name, news);
        }
        if let Progress::Epoch {
            epoch,
            discriminator_auc: Some(auc),
            ..
        } = news
            && (task.hopeless)(epoch + 1, *auc)
        {
            task.stop.cancel();
        }
        if is_over() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    };
    let mut training = Run::new(&params, &rows)
        .options(options)
        .checkpoints(checkpoints.clone())
        .keep_so_far(true);
    if let Some(rows) = &validation {
        training = training.validation(rows);
    }
    match (early_stop, &validation) {
        (Some(epochs), Some(_)) => training = training.early_stop(EarlyStop::after(epochs.get())),
        (Some(_), None) => {
            let text = "IPINSIGHTS_EARLY_STOP has no effect without validation rows.";
            say(log, &[Line::Warning(text.to_owned())]);
        }
        (None, _) => {}
    }
    let trained = training.run(&mut progress);
    if let Some(reason) = not_stored {
        return Err(format!(
            "ClientError: the checkpoint could not be stored: {reason}"
        ));
    }
    let trained = match trained {
        Ok(trained) => trained,
        Err(TrainError::Cancelled) => return Ok(ended_early(None)),
        Err(error) => return Err(format!("AlgorithmError: {}", chain(&error))),
    };
    if trained.cancelled && task.shutdown.is_cancelled() {
        return Ok(Ending::BrokenOff);
    }
    let mut model = trained.model;
    model.set_known_entities(Some(known));

    status("Uploading", "Uploading generated training model");
    let written = task.s3.put_with(bucket, key, "application/x-tar", |to| {
        model.write_archive(to).map_err(|error| WriteError(chain(&error)))
    });
    if let Err(WriteError(reason)) = written {
        return Err(format!(
            "InternalServerError: the model could not be stored at {artifacts}: {reason}"
        ));
    }
    say(log, &job_log.end(now()));
    let timestamp = now();
    let metrics = metrics.iter().map(|(name, value)| Metric {
        metric_name: name.to_owned(),
        value,
        timestamp,
    });
    let product = Product {
        metrics: metrics.collect(),
        artifacts,
    };
    Ok(match trained.cancelled {
        true => ended_early(Some(product)),
        false => Ending::Completed(product),
    })
}

/// How many rows of a channel are read from one look at the clock to the next.
const ROWS_BETWEEN: usize = 1024;

/// How many samples are trained, at the least, from one checkpoint to the next.
const SAMPLES_BETWEEN: usize = 1_000_000;

/// What the engine calls a checkpoint's file.
const CHECKPOINT: &str = "checkpoint.safetensors";

const MISSING_TRAIN: &str = "AlgorithmError: Customer Error: the channel `train` is missing; it holds the rows to learn \
                             from (caused by ValidationError)";

fn folder_error(folder: &Path, error: &io::Error) -> String {
    format!(
        "InternalServerError: the folder `{}` cannot be used: {error}",
        folder.display()
    )
}

/// Copies an object into a file, if it is there.
fn fetch(s3: &ObjectStore, url: &str, path: &Path) -> io::Result<()> {
    let Some((bucket, key)) = s3::parse_url(url) else {
        return Ok(());
    };
    let Ok((_, mut file)) = s3.open_object(bucket, key) else {
        return Ok(());
    };
    let partial = path.with_extension("tmp");
    io::copy(&mut file, &mut fs::File::create(&partial)?)?;
    fs::rename(&partial, path)
}

/// Copies a file into an object.
fn store(s3: &ObjectStore, url: &str, path: &Path) -> Result<(), String> {
    let (bucket, key) = s3::parse_url(url).ok_or_else(|| format!("{url} is no address in S3"))?;
    let put = s3.put_with(bucket, key, "binary/octet-stream", |to| {
        let mut file = fs::File::open(path).map_err(|e| WriteError(e.to_string()))?;
        io::copy(&mut file, to).map_err(|e| WriteError(e.to_string()))?;
        Ok::<_, WriteError>(())
    });
    put.map(drop).map_err(|WriteError(reason)| reason)
}

fn hyperparameters(task: &Training<'_>, log: &mut JobLog) -> Result<Hyperparameters, String> {
    let given = &task.hyperparameters;
    let (draft, unknown) = Draft::from_map(given);
    match draft.or_container_defaults().check() {
        Ok(params) => {
            say(task.log, &log.configured(given, &unknown, &params, now()));
            Ok(params)
        }
        Err(problems) => {
            say(task.log, &JobLog::merging(given));
            Err(format!(
                "AlgorithmError: Customer Error: the hyperparameters are not valid under any of the given schemas: \
                 {problems} (caused by ValidationError)"
            ))
        }
    }
}

/// The number that a variable is, if it is there; an empty one counts as absent.
fn variable<T: FromStr>(name: &str, expected: &str, value: Option<&str>) -> Result<Option<T>, String> {
    let value = value.map(str::trim).filter(|value| !value.is_empty());
    let number = value.map(|value| {
        let wrong = |_| format!("AlgorithmError: {name} must be {expected}, got `{value}`");
        value.parse().map_err(wrong)
    });
    number.transpose()
}

fn check_channels(task: &Training<'_>) -> Result<(), String> {
    for Channel {
        name, content_type, ..
    } in &task.channels
    {
        let media_type = content_type
            .as_deref()
            .map(|t| t.split(';').next().unwrap_or_default().trim());
        if !matches!(name.as_str(), "train" | "validation") {
            let text =
                format!("The channel `{name}` is not known; the algorithm reads `train` and `validation`.");
            say(task.log, &[Line::Warning(text)]);
        } else if !matches!(media_type, None | Some("" | "text/csv")) {
            let given = media_type.unwrap_or_default();
            return Err(format!(
                "AlgorithmError: Customer Error: the content type `{given}` of the channel `{name}` is not supported; \
                 it has to be text/csv (caused by ValidationError)"
            ));
        }
    }
    if task.channels.iter().any(|channel| channel.name == "train") {
        Ok(())
    } else {
        Err(MISSING_TRAIN.to_owned())
    }
}

/// The objects that an address means: the one of that name, and all whose names begin with it.
pub(super) fn objects_under(s3: &ObjectStore, url: &str) -> Vec<String> {
    let Some((bucket, prefix)) = s3::parse_url(url) else {
        return Vec::new();
    };
    let mut keys = Vec::new();
    let scanned = s3.scan(bucket, prefix, Bound::Unbounded, |object| {
        // What consoles make for a folder is no data.
        if object.size > 0 || !object.key.ends_with('/') {
            keys.push(object.key.clone());
        }
        Scan::Next
    });
    if scanned.is_err() { Vec::new() } else { keys }
}

/// The rows under an address, one at a time.
fn events(s3: &ObjectStore, url: &str) -> impl Iterator<Item = Result<AccessEvent, BadRow>> {
    let bucket = s3::parse_url(url).map_or("", |(bucket, _)| bucket);
    objects_under(s3, url).into_iter().flat_map(move |key| {
        // Gone since it was listed, it has no rows.
        let file = s3
            .open_object(bucket, &key)
            .ok()
            .map(|(_, file)| BufReader::new(file));
        let rows = file.map(csv::Reader::new).into_iter().flatten();
        rows.map(move |row| {
            row.map_err(|source| BadRow {
                key: key.clone(),
                source,
            })
        })
    })
}

impl BadRow {
    fn reason(&self) -> String {
        format!(
            "AlgorithmError: Customer Error: Training Job failed reading dataset. Unable to parse entity or IP address \
             correctly. See AWS Documentation to ensure data follows formatting guidelines. (caused by CParserError)\n\n\
             Caused by: {}: {}",
            self.key,
            chain(&self.source)
        )
    }
}

/// Writes lines of the algorithm's log, with the moment where a line has one.
pub(super) fn say(log: Log<'_>, lines: &[Line]) {
    if lines.is_empty() {
        return;
    }
    let stamp = Timestamp::now().strftime("%m/%d/%Y %H:%M:%S").to_string();
    log(&lines
        .iter()
        .map(|line| line.at(&stamp).to_string())
        .collect::<Vec<_>>());
}

/// What a request asks for that is taken without being there, for the log: a warning for members that somebody may rely on, a
/// note for the others. Members are pointers, each with what is so instead.
pub(super) fn without_effect(
    request: &Value,
    relied_on: &[(&str, &str)],
    others: &[(&str, &str)],
) -> Vec<Line> {
    let asked = |pointer: &str| match request.pointer(pointer) {
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Array(list)) => !list.is_empty(),
        Some(Value::Object(map)) => !map.is_empty(),
        Some(Value::Bool(flag)) => *flag,
        Some(value) => !value.is_null(),
        None => false,
    };
    let told = |(pointer, instead): &(&str, &str)| {
        let member = pointer[1..].replace('/', ".");
        asked(pointer).then(|| format!("{member} has no effect: {instead}."))
    };
    let warnings = relied_on.iter().filter_map(told).map(Line::Warning);
    warnings
        .chain(others.iter().filter_map(told).map(Line::Info))
        .collect()
}

/// Why the archive was not stored.
struct WriteError(String);

impl From<StoreError> for WriteError {
    fn from(error: StoreError) -> Self {
        Self(match error {
            StoreError::NoSuchBucket => "the bucket does not exist".to_owned(),
            StoreError::Io(error) => error.to_string(),
            other => format!("{other:?}"),
        })
    }
}

/// An error with its causes, in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let _ = write!(text, ": {cause}"); // a string takes everything
        source = cause.source();
    }
    text
}
