//! Training: epochs of mini-batches.

use std::ops::ControlFlow;
use std::time::Instant;

use access_events::AccessEvent;

use crate::dataset::{Dataset, Pair};
use crate::encoder::RangeIndex;
use crate::evaluation;
use crate::executor::Executor;
use crate::hyperparameters::Hyperparameters;
use crate::model::{Model, Provenance};
use crate::network::{Network, Shape};
use crate::progress::Progress;
use crate::sampler::{self, Batch, Purpose};
use crate::step::{Outcome, Trainer};

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

/// Trains a model on observed pairs.
///
/// `progress` hears of every mini-batch and may break off. Validation rows only serve to compute
/// `validation:discriminator_auc` after each epoch.
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
    for (channel, dataset) in [("train", Some(train)), ("validation", validation)] {
        if let Some(dataset) = dataset.filter(|d| d.num_entity_vectors() != params.num_entity_vectors()) {
            return Err(TrainError::OtherHyperparameters {
                channel,
                rows: dataset.num_entity_vectors(),
                params: params.num_entity_vectors(),
            });
        }
    }
    if train.is_empty() {
        return Err(TrainError::NoRows);
    }
    Run::new(params, train, validation, options)?.epochs(progress)
}

/// One training in progress.
struct Run<'a> {
    params: &'a Hyperparameters,
    options: &'a TrainOptions,
    executor: Executor,
    /// The rows in the order of this epoch; entities are slots.
    pairs: Vec<Pair>,
    /// By entity, how many rows it has.
    activity: Vec<u32>,
    batches: usize,
    /// Validation rows, each with its random address.
    validation: Option<[Vec<Pair>; 2]>,
    model: Model,
}

impl<'a> Run<'a> {
    fn new(
        params: &'a Hyperparameters,
        train: &Dataset,
        validation: Option<&Dataset>,
        options: &'a TrainOptions,
    ) -> Result<Self, TrainError> {
        let seed = options.seed;
        let mut entity_rows: Vec<u32> = train.pairs.iter().map(|p| p.entity).collect();
        entity_rows.sort_unstable();
        entity_rows.dedup();
        let pairs: Vec<Pair> = train
            .pairs
            .iter()
            .map(|pair| Pair {
                entity: entity_rows.partition_point(|row| *row < pair.entity) as u32,
                address: pair.address,
            })
            .collect();
        let index = RangeIndex::of_addresses(train.pairs.iter().map(|p| p.address));
        let shape = Shape {
            dim: params.vector_dim() as usize,
            layers: params.num_ip_encoder_layers() as usize,
            levels: index.levels(),
        };
        let network = Network::new(shape, seed, &entity_rows, index.starts().iter().map(Vec::len));
        let mut activity = vec![0; entity_rows.len()];
        for pair in &pairs {
            activity[pair.entity as usize] += 1;
        }
        let batches = sampler::batches(
            pairs.len(),
            params.mini_batch_size() as usize,
            params.random_negative_sampling_rate() as usize,
            params.shuffled_negative_sampling_rate() as usize,
        );
        let validation = validation.filter(|v| !v.is_empty()).map(|v| {
            let mut rng = sampler::stream(seed, Purpose::Validation, 0);
            let random = v.pairs.iter().map(|pair| Pair {
                address: rand::Rng::next_u32(&mut rng),
                ..*pair
            });
            [v.pairs.clone(), random.collect()]
        });
        // Whether a second thread would ever have anything to do.
        let rows = pairs.len().div_ceil(batches);
        let scored = validation.as_ref().map_or(0, |v| v[0].len());
        let threads = if sampler::groups(rows) > 1 || scored > 1_000 {
            options.threads
        } else {
            1
        };
        let executor = Executor::new(threads).map_err(|source| TrainError::Threads { threads, source })?;
        Ok(Self {
            params,
            options,
            executor,
            batches,
            validation,
            model: Model::new(
                params.clone(),
                Provenance {
                    seed,
                    training_rows: pairs.len() as u64,
                },
                entity_rows,
                index,
                network,
            ),
            pairs,
            activity,
        })
    }

    fn epochs(mut self, progress: &mut dyn FnMut(&Progress) -> ControlFlow<()>) -> Result<Model, TrainError> {
        let mut trainer = Trainer::new(
            &self.model.network,
            self.params.learning_rate(),
            self.params.weight_decay(),
            self.batches as u64 * u64::from(self.params.epochs()),
        );
        tell(
            progress,
            Progress::Started {
                rows: self.pairs.len(),
                entities: self.model.entity_rows.len(),
                weights: self.model.network.len(),
                epochs: self.params.epochs(),
                batches: self.batches,
                threads: self.executor.threads(),
            },
        )?;
        for epoch in 0..self.params.epochs() {
            let start = Instant::now();
            let total = self.epoch(&mut trainer, epoch, progress)?;
            let seconds = start.elapsed().as_secs_f64();
            let samples = total.samples as f64;
            let discriminator_auc = self.discriminator_auc();
            tell(
                progress,
                Progress::Epoch {
                    epoch,
                    epochs: self.params.epochs(),
                    loss: total.loss / samples,
                    accuracy: total.correct as f64 / samples,
                    discriminator_auc,
                    seconds,
                    records_per_second: samples / seconds.max(1e-9),
                },
            )?;
        }
        if !self.model.network.is_finite() {
            // The last step may have gone where no loss was computed any more.
            return Err(self.diverged(self.params.epochs() - 1, self.batches - 1));
        }
        Ok(self.model)
    }

    fn epoch(
        &mut self,
        trainer: &mut Trainer<f32>,
        epoch: u32,
        progress: &mut dyn FnMut(&Progress) -> ControlFlow<()>,
    ) -> Result<Outcome, TrainError> {
        let seed = self.options.seed;
        sampler::shuffle(
            &mut sampler::stream(seed, Purpose::Order, u64::from(epoch)),
            &mut self.pairs,
        );
        let mut negatives = sampler::stream(seed, Purpose::Negatives, u64::from(epoch));
        let start = Instant::now();
        let mut batch = Batch::default();
        let mut total = Outcome::default();
        for number in 0..self.batches {
            batch.draw(
                &self.pairs[sampler::batch_range(self.pairs.len(), self.batches, number)],
                &self.activity,
                self.params.random_negative_sampling_rate() as usize,
                self.params.shuffled_negative_sampling_rate() as usize,
                &mut negatives,
            );
            let Model { network, index, .. } = &mut self.model;
            let outcome = trainer.step(network, index, &batch, &self.executor);
            if !outcome.loss.is_finite() {
                return Err(self.diverged(epoch, number));
            }
            total.loss += outcome.loss;
            total.correct += outcome.correct;
            total.samples += outcome.samples;
            let samples = total.samples as f64;
            tell(
                progress,
                Progress::Batch {
                    epoch,
                    batch: number,
                    loss: total.loss / samples,
                    accuracy: total.correct as f64 / samples,
                    records_per_second: samples / start.elapsed().as_secs_f64().max(1e-9),
                },
            )?;
        }
        Ok(total)
    }

    /// The service's tuning objective. The random addresses are drawn once, so epochs can be compared.
    fn discriminator_auc(&self) -> Option<f64> {
        let [observed, random] = self.validation.as_ref()?;
        let score = |pairs: &[Pair]| self.model.score_pairs(pairs, &self.executor);
        evaluation::auc(&score(observed), &score(random))
    }

    fn diverged(&self, epoch: u32, batch: usize) -> TrainError {
        TrainError::Diverged {
            epoch,
            batch,
            learning_rate: self.params.learning_rate(),
        }
    }
}

fn tell(progress: &mut dyn FnMut(&Progress) -> ControlFlow<()>, news: Progress) -> Result<(), TrainError> {
    match progress(&news) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(TrainError::Cancelled),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Adam's steps are bounded, so it takes a broken start to leave the range of an f32.
    #[test]
    fn divergence_says_where_and_what_to_lower() {
        let params = Hyperparameters::draft(10)
            .vector_dim(4)
            .epochs(3)
            .check()
            .unwrap();
        let rows = Dataset::from_slice(&[AccessEvent::new("a", [1, 2, 3, 4].into())], &params);
        let options = TrainOptions::default();
        let diverged = |break_at: fn(&mut Network<f32>)| {
            let mut run = Run::new(&params, &rows, None, &options).unwrap();
            break_at(&mut run.model.network);
            run.epochs(&mut |_| ControlFlow::Continue(()))
                .unwrap_err()
                .to_string()
        };
        let want = "the loss is no longer finite in epoch 0, batch 0: lower learning_rate (now 0.001)";
        assert_eq!(diverged(|network| network.entities.fill(f32::INFINITY)), want);
        assert_eq!(diverged(|network| network.dense[0] = f32::NAN), want);
    }
}
