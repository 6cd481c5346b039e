//! What training tells its caller while it runs.

use std::collections::BTreeMap;

/// A piece of news from training. Epochs and batches count from 0, as in the service's log.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Progress {
    /// Before the first batch.
    Started {
        /// Training rows.
        rows: usize,
        /// Rows of the entity table that occur in the training rows; fewer than distinct entities when hashes collide.
        entities: usize,
        /// Weights that will be trained.
        weights: usize,
        /// Epochs to come.
        epochs: u32,
        /// Mini-batches in an epoch.
        batches: usize,
        /// Threads that share the work.
        threads: usize,
    },
    /// A mini-batch is done; every one is reported.
    Batch {
        /// The epoch.
        epoch: u32,
        /// The mini-batch within its epoch.
        batch: usize,
        /// Mean cross-entropy since the epoch began.
        loss: f64,
        /// Share of samples on the right side of 0 since the epoch began.
        accuracy: f64,
        /// Samples, negatives included, per second since the epoch began.
        records_per_second: f64,
        /// Observed rows per second since the epoch began: what is left of the samples without the negatives.
        rows_per_second: f64,
    },
    /// An epoch is done.
    Epoch {
        /// The epoch.
        epoch: u32,
        /// Epochs in all.
        epochs: u32,
        /// Mean cross-entropy over the epoch.
        loss: f64,
        /// Share of samples on the right side of 0 over the epoch.
        accuracy: f64,
        /// The area under the ROC curve of the validation rows against one random address each, where there are any.
        discriminator_auc: Option<f64>,
        /// Training time of this epoch, without validation.
        seconds: f64,
        /// Samples, negatives included, per second.
        records_per_second: f64,
        /// Observed rows per second.
        rows_per_second: f64,
    },
    /// Training goes on from a checkpoint; comes after [`Progress::Started`].
    Resumed {
        /// The epoch in which it stands.
        epoch: u32,
        /// The mini-batch that comes next.
        batch: usize,
    },
    /// A checkpoint is on the disk.
    CheckpointWritten {
        /// The epoch in which training stands.
        epoch: u32,
        /// The mini-batch that comes next.
        batch: usize,
    },
    /// Training ends before its last epoch; comes after that [`Progress::Epoch`].
    StoppedEarly {
        /// The last epoch that was trained.
        epoch: u32,
        /// The one whose weights the model has.
        best_epoch: u32,
        /// Its validation AUC.
        discriminator_auc: f64,
    },
}

/// The latest value of every metric the service publishes for a training job, by the service's names.
///
/// ```
/// use ipinsights::{Metrics, Progress};
///
/// let mut metrics = Metrics::default();
/// metrics.update(&Progress::Epoch {
///     epoch: 4,
///     epochs: 10,
///     loss: 0.25,
///     accuracy: 0.9,
///     discriminator_auc: Some(0.95),
///     seconds: 2.0,
///     records_per_second: 1_000.0,
///     rows_per_second: 333.0,
/// });
/// assert_eq!(metrics.get("train:progress"), Some(50.0));
/// assert_eq!(metrics.get("validation:discriminator_auc"), Some(0.95));
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metrics {
    latest: BTreeMap<&'static str, f64>,
}

impl Metrics {
    /// Takes in one piece of news.
    pub fn update(&mut self, progress: &Progress) {
        match progress {
            Progress::Started { .. }
            | Progress::Resumed { .. }
            | Progress::CheckpointWritten { .. }
            | Progress::StoppedEarly { .. } => {}
            Progress::Batch { loss, accuracy, .. } => {
                self.latest
                    .insert("train:binary_classification_accuracy", *accuracy);
                self.latest
                    .insert("train:binary_classification_cross_entropy", *loss);
            }
            Progress::Epoch {
                epoch,
                epochs,
                loss,
                accuracy,
                discriminator_auc,
                records_per_second,
                ..
            } => {
                self.latest.insert("train:progress", percent(*epoch, *epochs));
                self.latest.insert("train:throughput", *records_per_second);
                for (batch, of_epoch, value) in [
                    (
                        "train:binary_classification_accuracy",
                        "train:binary_classification_accuracy:epoch",
                        accuracy,
                    ),
                    (
                        "train:binary_classification_cross_entropy",
                        "train:binary_classification_cross_entropy:epoch",
                        loss,
                    ),
                ] {
                    self.latest.insert(batch, *value);
                    self.latest.insert(of_epoch, *value);
                }
                if let Some(auc) = discriminator_auc {
                    self.latest.insert("validation:discriminator_auc", *auc);
                }
            }
        }
    }

    /// The latest value of a metric.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.latest.get(name).copied()
    }

    /// All metrics so far, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, f64)> {
        self.latest.iter().map(|(name, value)| (*name, *value))
    }
}

/// How much of training is done after this epoch, in percent.
pub(crate) fn percent(epoch: u32, epochs: u32) -> f64 {
    100.0 * f64::from(epoch + 1) / f64::from(epochs)
}
