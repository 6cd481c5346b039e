//! Training: epochs of mini-batches.

use std::io;
use std::ops::ControlFlow;

use access_events::AccessEvent;

use crate::dataset::Dataset;
use crate::hyperparameters::Hyperparameters;
use crate::model::Model;
use crate::progress::Progress;

mod checkpoint;
mod early_stop;
mod order;
mod run;
mod slots;

pub use checkpoint::{CheckpointError, Checkpoints};
pub use early_stop::{BestEpoch, EarlyStop};

/// What training needs beside hyperparameters and rows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrainOptions {
    /// Decides initial weights, the order of rows and the negatives. The same seed gives the same bytes. Default 0.
    pub seed: u64,
    /// Threads; 0, the default, means one for each core. The model does not depend on it.
    pub threads: usize,
}

/// Why training gave no model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// There is nothing to learn from.
    #[error("there are no training rows")]
    NoRows,
    /// The dataset was hashed for an entity table of another size.
    #[error(
        "the {channel} rows were read for num_entity_vectors {rows}, but training runs with {params}: \
         read them with the same hyperparameters"
    )]
    OtherHyperparameters {
        /// `train` or `validation`.
        channel: &'static str,
        /// What the rows were read for.
        rows: u64,
        /// What training runs with.
        params: u64,
    },
    /// The rows are in a file that cannot be read, or that has changed.
    #[error("the {channel} rows cannot be read from their file")]
    Rows {
        /// `train` or `validation`.
        channel: &'static str,
        /// What the operating system says.
        source: io::Error,
    },
    /// The model to begin with is of another form.
    #[error(
        "training cannot begin with this model: its {what} is {model}, but training runs with {params}; \
         it has to be the same"
    )]
    OtherModel {
        /// What differs.
        what: &'static str,
        /// In the model.
        model: String,
        /// In this training.
        params: String,
    },
    /// The rule to stop early by makes no sense.
    #[error("{problem}")]
    EarlyStop {
        /// What is wrong with it.
        problem: String,
    },
    /// A checkpoint cannot be written, or not be resumed from.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The numbers grew beyond what a float holds.
    #[error(
        "the loss is no longer finite in epoch {epoch}, batch {batch}: lower learning_rate (now {learning_rate})"
    )]
    Diverged {
        /// Counted from 0.
        epoch: u32,
        /// Within its epoch, counted from 0.
        batch: usize,
        /// The rate in use.
        learning_rate: f64,
    },
    /// The progress callback asked to stop.
    #[error("training was cancelled")]
    Cancelled,
    /// The operating system gave no threads.
    #[error("cannot start {threads} training threads; ask for fewer")]
    Threads {
        /// The number asked for.
        threads: usize,
        /// What the thread pool says.
        source: rayon::ThreadPoolBuildError,
    },
}

/// A training to be: what is not set has no part in it.
///
/// ```
/// use std::ops::ControlFlow;
///
/// use access_events::AccessEvent;
/// use ipinsights::{Checkpoints, Dataset, EarlyStop, Hyperparameters, TrainOptions, Training};
///
/// let rows: Vec<_> = (0..100).map(|i| AccessEvent::new("ana", [192, 0, 2, i].into())).collect();
/// let params = Hyperparameters::draft(1_000).mini_batch_size(50).epochs(20).learning_rate(0.01).check()?;
/// let (train, validation) = (&rows[..80], &rows[80..]);
/// let (train, validation) = (Dataset::from_slice(train, &params), Dataset::from_slice(validation, &params));
///
/// # let folder = tempfile::tempdir()?;
/// # let folder = folder.path().join("checkpoints");
/// let trained = Training::new(&params, &train)
///     .options(TrainOptions { seed: 7, threads: 1 })
///     .validation(&validation)
///     .early_stop(EarlyStop::after(3))
///     .checkpoints(Checkpoints::in_folder(folder))
///     .run(&mut |_news| ControlFlow::Continue(()))?;
/// let best = trained.best.expect("there are validation rows");
/// assert!(best.discriminator_auc > 0.9 && best.epoch < trained.epochs);
///
/// // Tomorrow's rows, from where today's ended.
/// let tomorrow = Training::new(&params, &validation).warm_start(&trained.model);
/// let trained = tomorrow.run(&mut |_| ControlFlow::Continue(()))?;
/// assert_eq!(trained.model.training_rows(), 100);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct Training<'a> {
    params: &'a Hyperparameters,
    train: &'a Dataset,
    validation: Option<&'a Dataset>,
    options: TrainOptions,
    warm_start: Option<&'a Model>,
    early_stop: Option<EarlyStop>,
    checkpoints: Option<Checkpoints>,
    keep_so_far: bool,
}

/// What came of a training.
#[derive(Debug)]
#[non_exhaustive]
pub struct Trained {
    /// The model: of the best epoch with [`Training::early_stop`], else of the last.
    pub model: Model,
    /// Epochs that were trained, those before a resume included.
    pub epochs: u32,
    /// The epoch with the highest validation AUC, where there are validation rows.
    pub best: Option<BestEpoch>,
    /// Whether [`Training::early_stop`] ended it before its last epoch.
    pub stopped_early: bool,
    /// Whether `progress` broke off; only with [`Training::keep_so_far`].
    pub cancelled: bool,
}

impl<'a> Training<'a> {
    /// Training on these rows.
    pub fn new(params: &'a Hyperparameters, train: &'a Dataset) -> Self {
        Self {
            params,
            train,
            validation: None,
            options: TrainOptions::default(),
            warm_start: None,
            early_stop: None,
            checkpoints: None,
            keep_so_far: false,
        }
    }

    /// Seed and threads.
    pub fn options(mut self, options: TrainOptions) -> Self {
        self.options = options;
        self
    }

    /// Rows to compute `validation:discriminator_auc` on after each epoch. They change no weight.
    pub fn validation(mut self, rows: &'a Dataset) -> Self {
        self.validation = Some(rows);
        self
    }

    /// Begins with the weights of a model instead of random ones. It must have the same `num_entity_vectors`, `vector_dim`
    /// and `num_ip_encoder_layers`; what it knows of entities and networks that do not occur in the rows stays in the new
    /// model. The ranges of addresses stay the model's, with the new networks where they are networks. The optimiser begins
    /// anew.
    pub fn warm_start(mut self, model: &'a Model) -> Self {
        self.warm_start = Some(model);
        self
    }

    /// Ends when the validation AUC no longer rises, and keeps the best epoch's weights.
    pub fn early_stop(mut self, rule: EarlyStop) -> Self {
        self.early_stop = Some(rule);
        self
    }

    /// Writes checkpoints, and goes on from the one that is there.
    pub fn checkpoints(mut self, checkpoints: Checkpoints) -> Self {
        self.checkpoints = Some(checkpoints);
        self
    }

    /// Whether the model so far is the outcome when `progress` breaks off, instead of an error; default false. It is that
    /// of the best epoch with [`early_stop`](Self::early_stop), once there is one.
    pub fn keep_so_far(mut self, keep: bool) -> Self {
        self.keep_so_far = keep;
        self
    }

    /// Trains. `progress` hears of every mini-batch and may break off at any.
    ///
    /// # Errors
    ///
    /// See [`TrainError`]. When `progress` breaks off, a checkpoint is written where they are asked for, and the error is
    /// [`TrainError::Cancelled`]; with [`keep_so_far`](Self::keep_so_far) only before the first mini-batch.
    pub fn run(&self, progress: &mut dyn FnMut(&Progress) -> ControlFlow<()>) -> Result<Trained, TrainError> {
        for (channel, dataset) in [("train", Some(self.train)), ("validation", self.validation)] {
            let params = self.params.num_entity_vectors();
            if let Some(dataset) = dataset.filter(|d| d.num_entity_vectors() != params) {
                return Err(TrainError::OtherHyperparameters {
                    channel,
                    rows: dataset.num_entity_vectors(),
                    params,
                });
            }
        }
        if self.train.is_empty() {
            return Err(TrainError::NoRows);
        }
        if let Some(rule) = self.early_stop {
            let without_rows = "early stopping asks for validation rows, and there are none".to_owned();
            let problem = match self.validation {
                Some(rows) if !rows.is_empty() => rule.problem(),
                _ => Some(without_rows),
            };
            if let Some(problem) = problem {
                return Err(TrainError::EarlyStop { problem });
            }
        }
        run::Run::new(self)?.finish(progress)
    }
}

/// Trains a model on observed pairs.
///
/// `progress` hears of every mini-batch and may break off. Validation rows only serve to compute
/// `validation:discriminator_auc` after each epoch. [`Training`] can do more.
///
/// # Errors
///
/// [`TrainError::NoRows`] without rows, [`TrainError::Diverged`] when the loss becomes infinite or NaN,
/// [`TrainError::Cancelled`] when `progress` breaks off.
pub fn train(
    params: &Hyperparameters,
    train: &[AccessEvent],
    validation: Option<&[AccessEvent]>,
    options: &TrainOptions,
    progress: &mut dyn FnMut(&Progress) -> ControlFlow<()>,
) -> Result<Model, TrainError> {
    let validation = validation.map(|rows| Dataset::from_slice(rows, params));
    train_dataset(
        params,
        &Dataset::from_slice(train, params),
        validation.as_ref(),
        options,
        progress,
    )
}

/// Like [`train`], on rows that were streamed in.
///
/// # Errors
///
/// As [`train`]; and [`TrainError::OtherHyperparameters`] when a dataset was read for another `num_entity_vectors`.
pub fn train_dataset(
    params: &Hyperparameters,
    train: &Dataset,
    validation: Option<&Dataset>,
    options: &TrainOptions,
    progress: &mut dyn FnMut(&Progress) -> ControlFlow<()>,
) -> Result<Model, TrainError> {
    let mut training = Training::new(params, train).options(options.clone());
    if let Some(rows) = validation {
        training = training.validation(rows);
    }
    training.run(progress).map(|trained| trained.model)
}
