//! `train`: from the channels under `/opt/ml` to the model under `/opt/ml`.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufReader};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use access_events::{AccessEvent, csv};
use ipinsights::log::{JobLog, Line};
use ipinsights::{
    Checkpoints, Dataset, DatasetError, Draft, EarlyStop, Hyperparameters, Model, Progress, TrainError,
    TrainOptions, Training,
};
use jiff::Timestamp;

use crate::config::{self, Channel, ConfigError, Environment, Resources};
use crate::{Layout, chain};

/// The service shows so many characters of the file `failure`.
const SHOWN: usize = 1_024;

/// Why training failed: what the file `failure` says.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// A configuration file or variable cannot be used.
    #[error("Customer Error: the configuration cannot be used (caused by ValidationError)")]
    Config(#[from] ConfigError),
    /// The hyperparameters are not valid.
    #[error(
        "Customer Error: the hyperparameters are not valid under any of the given schemas: {problems} (caused by \
         ValidationError)"
    )]
    Hyperparameters {
        /// All that is wrong.
        problems: String,
    },
    /// A channel is missing, or is something that the algorithm does not read.
    #[error("Customer Error: {problem} (caused by ValidationError)")]
    Channel {
        /// What, and what to do.
        problem: String,
    },
    /// A row is none.
    #[error(
        "Customer Error: Training Job failed reading dataset. Unable to parse entity or IP address correctly. See AWS \
         Documentation to ensure data follows formatting guidelines. (caused by CParserError)\n\nCaused by: {caused_by}"
    )]
    Row {
        /// The file, the line and what is wrong.
        caused_by: String,
    },
    /// Training itself failed.
    #[error(transparent)]
    Training(#[from] TrainError),
    /// A file of the contract cannot be read or written.
    #[error("InternalServerError: {doing}: {cause}")]
    Files {
        /// What was being done.
        doing: String,
        /// What the operating system, or the format, says.
        cause: String,
    },
}

/// How a training ended that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ended {
    /// After all epochs, or where early stopping ended it.
    Completed,
    /// It was told to stop; the model is that of the mini-batches so far, where there were any.
    Stopped,
}

/// Trains as the contract asks: hyperparameters and channels from their files, the model into its folder, checkpoints
/// where their folder is there, and in case of a failure its reason into `failure`.
///
/// `clock` tells the moment, for the log; `log` is told every line of it, and `stop` is asked at every mini-batch.
///
/// # Errors
///
/// See [`Failure`]; the text is in the file `failure` as well.
pub fn train(
    layout: &Layout,
    environment: &Environment,
    clock: &dyn Fn() -> Timestamp,
    log: &mut dyn FnMut(&str),
    stop: &dyn Fn() -> bool,
) -> Result<Ended, Failure> {
    let mut job = Job {
        layout,
        environment,
        clock,
        log,
        stop,
    };
    let outcome = job.run();
    if let Err(failure) = &outcome {
        let reason = chain(failure);
        job.say(&[Line::Error(reason.clone())]);
        let text: String = reason.chars().take(SHOWN).collect();
        let path = layout.failure();
        let written = fs::create_dir_all(layout.output()).and_then(|()| fs::write(&path, text));
        if let Err(error) = written {
            job.say(&[Line::Error(format!(
                "`{}` cannot be written: {error}",
                path.display()
            ))]);
        }
    }
    outcome
}

struct Job<'a> {
    layout: &'a Layout,
    environment: &'a Environment,
    clock: &'a dyn Fn() -> Timestamp,
    log: &'a mut dyn FnMut(&str),
    stop: &'a dyn Fn() -> bool,
}

impl Job<'_> {
    fn run(&mut self) -> Result<Ended, Failure> {
        let resources: Option<Resources> =
            config::read(&self.layout.resource_config(), "a list of the job's machines")?;
        let resources = resources.unwrap_or_default();
        let (mut log, lines) = JobLog::begin(&resources.current_host, self.now());
        self.say(&lines);
        let given: Option<BTreeMap<String, String>> =
            config::read(&self.layout.hyperparameters(), "one flat object of strings")?;
        let given = given.unwrap_or_default();
        let (draft, unknown) = Draft::from_map(&given);
        let params = match draft.or_container_defaults().check() {
            Ok(params) => params,
            Err(problems) => {
                self.say(&JobLog::merging(&given));
                return Err(Failure::Hyperparameters {
                    problems: problems.to_string(),
                });
            }
        };
        let now = self.now();
        self.say(&log.configured(&given, &unknown, &params, now));
        if resources.hosts.len() > 1 {
            return Err(Failure::Channel {
                problem: format!(
                    "training runs on one machine, and the job has {}; set InstanceCount to 1",
                    resources.hosts.len()
                ),
            });
        }
        let base = self.channels()?;
        self.train(&params, base.as_ref(), &mut log)
    }

    fn train(
        &mut self,
        params: &Hyperparameters,
        base: Option<&Model>,
        log: &mut JobLog,
    ) -> Result<Ended, Failure> {
        let train = self.rows("train", params)?;
        let validation = match self.layout.channel("validation").is_dir() {
            true => Some(self.rows("validation", params)?).filter(|rows| !rows.is_empty()),
            false => None,
        };
        let mut training = Training::new(params, &train)
            .options(TrainOptions {
                seed: self.environment.seed,
                threads: 0,
            })
            .keep_so_far(true);
        if let Some(rows) = &validation {
            training = training.validation(rows);
        }
        match (self.environment.early_stop, &validation) {
            (Some(epochs), Some(_)) => training = training.early_stop(EarlyStop::after(epochs)),
            (Some(_), None) => self.warn("IPINSIGHTS_EARLY_STOP has no effect without validation rows."),
            (None, _) => {}
        }
        if let Some(model) = base {
            training = training.warm_start(model);
        }
        // The folder is there when the job asks for checkpoints.
        if self.layout.checkpoints().is_dir() {
            training = training.checkpoints(Checkpoints::in_folder(self.layout.checkpoints()));
        } else {
            self.say(&[Line::Info(
                "Checkpoint loading and saving are disabled.".to_owned(),
            )]);
        }
        let outcome = training.run(&mut |news| {
            if let Progress::Resumed { epoch, batch } = news {
                let text = format!("Going on from the checkpoint at batch {batch} of epoch {epoch}.");
                self.say(&[Line::Info(text)]);
            }
            let now = self.now();
            self.say(&log.news(news, params, now));
            match (self.stop)() {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        });
        let trained = match outcome {
            Err(TrainError::Cancelled) => {
                self.warn("Stopped before the first mini-batch: there is no model.");
                return Ok(Ended::Stopped);
            }
            outcome => outcome?,
        };
        let folder = self.layout.model();
        trained
            .model
            .write_folder(&folder)
            .map_err(|error| Failure::Files {
                doing: format!("writing the model to `{}`", folder.display()),
                cause: chain(&error),
            })?;
        let saved = format!("Saved checkpoint to \"{}\"", folder.display());
        self.say(&[Line::Info(saved)]);
        let now = self.now();
        self.say(&log.end(now));
        Ok(match trained.cancelled {
            true => Ended::Stopped,
            false => Ended::Completed,
        })
    }

    /// Checks the channels, and reads the model to begin with where there is one.
    fn channels(&mut self) -> Result<Option<Model>, Failure> {
        let refused = |problem: String| Failure::Channel { problem };
        let channels: Option<BTreeMap<String, Channel>> =
            config::read(&self.layout.input_data_config(), "an object of channels")?;
        for (name, channel) in channels.iter().flatten() {
            let content_type = channel.content_type.as_deref().unwrap_or_default();
            let media_type = content_type.split(';').next().unwrap_or_default().trim();
            let wanted: &[&str] = match name.as_str() {
                "train" | "validation" => &["", "text/csv"],
                "model" => &["", "application/x-sagemaker-model", "application/x-tar"],
                _ => {
                    self.warn(&format!(
                        "The channel `{name}` is not known; the algorithm reads `train`, `validation` and `model`."
                    ));
                    continue;
                }
            };
            if !wanted.contains(&media_type) {
                return Err(refused(format!(
                    "the content type `{content_type}` of the channel `{name}` is not supported; it has to be {}",
                    wanted[1]
                )));
            }
            if channel.training_input_mode.as_deref() == Some("Pipe") {
                return Err(refused(format!(
                    "the channel `{name}` is piped, which is not supported; set TrainingInputMode to File or FastFile"
                )));
            }
            let wrapper = channel.record_wrapper_type.as_deref();
            if !matches!(wrapper, None | Some("" | "None")) {
                return Err(refused(format!(
                    "the records of the channel `{name}` are wrapped, which is not supported; set RecordWrapperType to None"
                )));
            }
        }
        let folder = self.layout.channel("train");
        if !folder.is_dir() {
            return Err(refused(
                "the channel `train` is missing; it holds the rows to learn from".to_owned(),
            ));
        }
        self.base()
    }

    /// The model of the channel `model`: unpacked, or as its archive.
    fn base(&self) -> Result<Option<Model>, Failure> {
        let folder = self.layout.channel("model");
        if !folder.is_dir() {
            return Ok(None);
        }
        let archive = folder.join("model.tar.gz");
        let model = if archive.is_file() {
            File::open(&archive)
                .map_err(|error| error.to_string())
                .and_then(|file| Model::read_archive(BufReader::new(file)).map_err(|error| chain(&error)))
        } else {
            Model::read_folder(&folder).map_err(|error| chain(&error))
        };
        model.map(Some).map_err(|cause| Failure::Channel {
            problem: format!("the channel `model` holds no model to begin with: {cause}"),
        })
    }

    /// The rows of a channel: of all its files, in the order of their names.
    fn rows(&self, channel: &str, params: &Hyperparameters) -> Result<Dataset, Failure> {
        let folder = self.layout.channel(channel);
        let listing = |error: io::Error| Failure::Files {
            doing: format!("listing `{}`", folder.display()),
            cause: error.to_string(),
        };
        let mut files = Vec::new();
        list(&folder, &mut files).map_err(listing)?;
        files.sort();
        let scratch = self.layout.output();
        fs::create_dir_all(&scratch).map_err(|error| Failure::Files {
            doing: format!("making `{}`", scratch.display()),
            cause: error.to_string(),
        })?;
        let events = files.iter().flat_map(|file| events(&folder, file));
        Dataset::spilling(events, params, &scratch).map_err(|error| match error {
            DatasetError::Source(BadRow(caused_by)) => Failure::Row { caused_by },
            error => Failure::Files {
                doing: format!("reading the channel `{channel}`"),
                cause: chain(&error),
            },
        })
    }

    fn now(&self) -> f64 {
        (self.clock)().as_millisecond() as f64 / 1_000.0
    }

    fn warn(&mut self, text: &str) {
        self.say(&[Line::Warning(text.to_owned())]);
    }

    fn say(&mut self, lines: &[Line]) {
        let stamp = (self.clock)().strftime("%m/%d/%Y %H:%M:%S").to_string();
        for line in lines {
            (self.log)(&line.at(&stamp).to_string());
        }
    }
}

/// What is wrong with a row, with its file.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct BadRow(String);

/// All files under a folder.
fn list(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        // Through links: a channel may be made of them.
        if fs::metadata(&path)?.is_dir() {
            list(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

/// The rows of a file, and what is wrong with one as text, with the file's name within its channel.
fn events<'a>(folder: &Path, file: &'a Path) -> impl Iterator<Item = Result<AccessEvent, BadRow>> + use<'a> {
    let name = file.strip_prefix(folder).unwrap_or(file).display().to_string();
    let (reader, failed) = match File::open(file) {
        Ok(opened) => (Some(csv::Reader::new(opened)), None),
        Err(error) => (None, Some(Err(BadRow(format!("{name}: {error}"))))),
    };
    let rows = reader.into_iter().flatten();
    let rows = rows.map(move |row| row.map_err(|error| BadRow(format!("{name}: {}", chain(&error)))));
    failed.into_iter().chain(rows)
}
