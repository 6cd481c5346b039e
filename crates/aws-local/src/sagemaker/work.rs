//! The work itself: reading channels, training, writing the archive, loading models.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::BufReader,
    ops::{Bound, ControlFlow},
    time::{Duration, Instant},
};

use access_events::{AccessEvent, csv};
use ipinsights::{Dataset, Draft, Hyperparameters, Metrics, Model, Progress, TrainError, TrainOptions};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
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
    metric_name: String,
    value: f64,
    timestamp: Seconds,
}

/// All that a training needs.
pub(super) struct Training<'a> {
    pub(super) name: &'a str,
    pub(super) hyperparameters: BTreeMap<String, String>,
    pub(super) channels: Vec<Channel>,
    /// The address under which the archive shall be.
    pub(super) output: &'a str,
    pub(super) limit: Duration,
    pub(super) stop: &'a CancellationToken,
    pub(super) s3: &'a ObjectStore,
    pub(super) log: &'a dyn Fn(&str),
    pub(super) observer: Option<&'a TrainingObserver>,
}

/// How a training ended.
pub(super) enum Ending {
    Completed {
        artifacts: String,
        metrics: Vec<Metric>,
    },
    Failed(String),
    /// It was told to stop.
    Stopped,
    /// It ran longer than it may.
    TooLong,
}

/// Why a row did not become an event, with the object it is in.
struct BadRow {
    key: String,
    source: access_events::Error,
}

/// Trains; `status` hears of every secondary status with its message.
pub(super) fn train(task: Training<'_>, status: &mut dyn FnMut(&str, &str)) -> Ending {
    status("Downloading", "Downloading input data");
    let ending = run(&task, status);
    if let Ending::Failed(reason) = &ending {
        (task.log)(&line("ERROR", reason));
    }
    ending
}

fn run(task: &Training<'_>, status: &mut dyn FnMut(&str, &str)) -> Ending {
    let log = task.log;
    let deadline = Instant::now().checked_add(task.limit);
    let ended_early = || {
        if task.stop.is_cancelled() {
            return Some(Ending::Stopped);
        }
        deadline
            .is_some_and(|d| Instant::now() >= d)
            .then_some(Ending::TooLong)
    };
    log("Docker entrypoint called with argument(s): train");
    log("Running default environment configuration script");
    let params = match hyperparameters(task) {
        Ok(params) => params,
        Err(reason) => return Ending::Failed(reason),
    };
    if let Err(reason) = check_channels(task) {
        return Ending::Failed(reason);
    }
    let artifacts = format!(
        "{}/{}/output/model.tar.gz",
        task.output.strip_suffix('/').unwrap_or(task.output),
        task.name
    );
    let Some((bucket, key)) = s3::parse_url(&artifacts).filter(|(b, _)| task.s3.require_bucket(b).is_ok())
    else {
        return Ending::Failed(format!(
            "ClientError: the output bucket of {} does not exist",
            task.output
        ));
    };

    status(
        "Training",
        "Training image download completed. Training in progress.",
    );
    let read = |name: &str| {
        let channel = task.channels.iter().find(|channel| channel.name == name);
        channel
            .map(|channel| Dataset::from_events(events(task.s3, &channel.url), &params))
            .transpose()
    };
    let (rows, validation) = match read("train").and_then(|train| Ok((train, read("validation")?))) {
        Ok((Some(train), validation)) => (train, validation),
        Ok((None, _)) => return Ending::Failed(MISSING_TRAIN.to_owned()),
        Err(error) => return Ending::Failed(error.reason()),
    };
    if let Some(ending) = ended_early() {
        return ending;
    }
    log(&line("INFO", "Checkpoint loading and saving are disabled."));
    let mut metrics = Metrics::default();
    let mut progress = |news: &Progress| {
        metrics.update(news);
        for text in ipinsights::log::lines(news, &params) {
            log(&line("INFO", &text));
        }
        if let Some(observer) = task.observer {
            observer(task.name, news);
        }
        if ended_early().is_some() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    };
    let trained = ipinsights::train_dataset(
        &params,
        &rows,
        validation.as_ref(),
        &TrainOptions::default(),
        &mut progress,
    );
    let model = match trained {
        Ok(model) => model,
        Err(TrainError::Cancelled) => return ended_early().unwrap_or(Ending::Stopped),
        Err(error) => return Ending::Failed(format!("AlgorithmError: {}", chain(&error))),
    };
    log(&line("INFO", "Test data is not provided."));

    status("Uploading", "Uploading generated training model");
    let written = task.s3.put_with(bucket, key, "application/x-tar", |to| {
        model.write_archive(to).map_err(|error| WriteError(chain(&error)))
    });
    if let Err(WriteError(reason)) = written {
        return Ending::Failed(format!(
            "InternalServerError: the model could not be stored at {artifacts}: {reason}"
        ));
    }
    let timestamp = now();
    let metrics = metrics.iter().map(|(name, value)| Metric {
        metric_name: name.to_owned(),
        value,
        timestamp,
    });
    Ending::Completed {
        metrics: metrics.collect(),
        artifacts,
    }
}

const MISSING_TRAIN: &str = "AlgorithmError: Customer Error: the channel `train` is missing; it holds the rows to learn \
                             from (caused by ValidationError)";

fn hyperparameters(task: &Training<'_>) -> Result<Hyperparameters, String> {
    let given = serde_json::to_string(&task.hyperparameters).unwrap_or_default();
    (task.log)(&line(
        "INFO",
        &format!(
            "Merging with provided configuration from /opt/ml/input/config/hyperparameters.json: {given}"
        ),
    ));
    let (draft, unknown) = Draft::from_map(&task.hyperparameters);
    for name in unknown {
        (task.log)(&line(
            "WARNING",
            &format!("The hyperparameter `{name}` is not known; it has no effect."),
        ));
    }
    let params = draft.check().map_err(|problems| {
        format!(
            "AlgorithmError: Customer Error: the hyperparameters are not valid under any of the given schemas: \
             {problems} (caused by ValidationError)"
        )
    })?;
    let used = serde_json::to_string(&params.to_map()).unwrap_or_default();
    (task.log)(&line("INFO", &format!("Final configuration: {used}")));
    Ok(params)
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
            (task.log)(&line("WARNING", &text));
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

/// `[MM/DD/YYYY HH:MM:SS LEVEL thread] text`.
pub(super) fn line(level: &str, text: &str) -> String {
    format!(
        "[{} {level} 1] {text}",
        Timestamp::now().strftime("%m/%d/%Y %H:%M:%S")
    )
}

/// Reads the model of an archive in S3.
pub(super) fn load_model(s3: &ObjectStore, url: &str) -> Result<Model, String> {
    let (bucket, key) = s3::parse_url(url).ok_or_else(|| format!("{url} is no address in S3"))?;
    let (_, file) = s3
        .open_object(bucket, key)
        .map_err(|_| format!("there is no model data at {url}"))?;
    Model::read_archive(BufReader::new(file)).map_err(|error| format!("{url}: {}", chain(&error)))
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
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let _ = write!(text, ": {cause}"); // a string takes everything
        source = cause.source();
    }
    text
}
