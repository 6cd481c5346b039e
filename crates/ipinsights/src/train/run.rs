//! One training in progress.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Instant;

use sha2::{Digest as _, Sha256};

use super::checkpoint::{self, Digest, Identity, Opened, Standing};
use super::early_stop::{BestEpoch, EarlyStop};
use super::order::Order;
use super::slots::Slots;
use super::{TrainError, Trained, Training};
use crate::adam::Schedule;
use crate::dataset::{Dataset, Pair};
use crate::encoder::{AddressSample, NOTHING, RangeIndex};
use crate::evaluation;
use crate::executor::Executor;
use crate::hyperparameters::Hyperparameters;
use crate::model::{Model, Provenance};
use crate::network::{Network, Shape};
use crate::progress::Progress;
use crate::sampler::{self, Batch, Purpose};
use crate::score::Score;
use crate::step::{Regime, Trainer};
use crate::tensors::Data;

/// With fewer validation rows than this, a second thread would have nothing to do for them.
const WORTH_A_THREAD: usize = 256;

/// What hears of progress, and may break off.
type Listener<'a> = dyn FnMut(&Progress) -> ControlFlow<()> + 'a;

pub(super) struct Run<'a> {
    params: &'a Hyperparameters,
    seed: u64,
    executor: Executor,
    train: &'a Dataset,
    validation: Option<&'a Dataset>,
    early_stop: Option<EarlyStop>,
    checkpoints: Option<Kept>,
    keep_so_far: bool,
    slots: Slots,
    /// By slot of an entity: its training rows.
    activity: Vec<u32>,
    batches: usize,
    model: Model,
    trainer: Trainer<f32>,
    /// The weights of the best epoch, where they are to be kept.
    best: Option<Network<f32>>,
    standing: Standing,
}

/// Checkpoints with the training they are of.
struct Kept {
    path: PathBuf,
    every_batches: Option<u64>,
    every_epochs: u32,
    identity: Identity,
}

impl<'a> Run<'a> {
    pub(super) fn new(training: &Training<'a>) -> Result<Self, TrainError> {
        let (params, train) = (training.params, training.train);
        let seed = training.options.seed;
        let validation = training.validation.filter(|v| !v.is_empty());
        let base = training.warm_start;
        if let Some(base) = base {
            check_base(base, params)?;
        }

        // One pass over the rows: what occurs in them, and what tells them from others.
        let keeps = training.checkpoints.as_ref();
        let mut sample = AddressSample::new(seed);
        let mut slots = Slots::new(params.num_entity_vectors());
        let digest = scan(train, keeps.is_some(), "train", |pair| {
            slots.add(pair.entity);
            sample.add(pair.address);
        })?;
        if let Some(base) = base {
            base.entity_rows.iter().for_each(|row| slots.add(*row));
        }
        let entity_rows = slots.count();
        let mut activity = vec![0_u32; entity_rows.len()];
        scan(train, false, "train", |pair| {
            if let Some(slot) = slots.slot(pair.entity) {
                activity[slot as usize] = activity[slot as usize].saturating_add(1);
            }
        })?;
        // The vectors of a base belong to its ranges.
        let index = match base {
            None => sample.index(),
            Some(base) => base.index.extended(sample),
        };

        let shape = Shape {
            dim: params.vector_dim() as usize,
            layers: params.num_ip_encoder_layers() as usize,
            levels: index.levels(),
        };
        let mut network = Network::new(shape, seed, &entity_rows, index.tables());
        if let Some(base) = base {
            begin_with(&mut network, &entity_rows, &index, base);
        }
        let (random, shuffled) = negatives(params);
        let batches = sampler::batches(train.len(), params.mini_batch_size() as usize, random, shuffled);
        // The largest batch decides whether a second thread would ever have anything to do.
        let groups = sampler::groups(train.len().div_ceil(batches));
        let scored = validation.map_or(0, Dataset::len);
        let threads = if groups > 1 || scored > WORTH_A_THREAD {
            training.options.threads
        } else {
            1
        };
        let executor = Executor::new(threads).map_err(|source| TrainError::Threads { threads, source })?;
        let kept = match keeps {
            None => None,
            Some(checkpoints) => {
                let validation = validation
                    .map(|rows| scan(rows, true, "validation", |_| {}))
                    .transpose()?;
                Some(Kept {
                    path: checkpoints.path(),
                    every_batches: checkpoints.every_batches,
                    every_epochs: checkpoints.every_epochs,
                    identity: Identity {
                        program: env!("CARGO_PKG_VERSION").to_owned(),
                        hyperparameters: params.to_map(),
                        seed,
                        train: digest,
                        validation,
                        warm_start: base.map(fingerprint),
                        early_stop: training.early_stop,
                    },
                })
            }
        };
        let provenance = Provenance {
            seed,
            training_rows: train.len() as u64 + base.map_or(0, Model::training_rows),
        };
        let steps = u64::from(params.epochs()) * batches as u64;
        let schedule = Schedule::new(params.learning_rate(), params.weight_decay(), steps);
        // By the cuts in use, which a base may have brought.
        let regime = if index.is_of_few() {
            Regime::Few
        } else {
            Regime::Many
        };
        let trainer = Trainer::new(&network, schedule, regime);
        let mut run = Self {
            params,
            seed,
            executor,
            train,
            validation,
            early_stop: training.early_stop,
            checkpoints: kept,
            keep_so_far: training.keep_so_far,
            slots,
            activity,
            batches,
            model: Model::new(params.clone(), provenance, entity_rows, index, network),
            trainer,
            best: None,
            standing: Standing::default(),
        };
        if keeps.is_some_and(|c| c.resume) {
            run.resume()?;
        }
        Ok(run)
    }

    pub(super) fn finish(mut self, progress: &mut Listener<'_>) -> Result<Trained, TrainError> {
        let outcome = self.epochs(progress);
        let cancelled = matches!(outcome, Err(TrainError::Cancelled));
        if cancelled {
            self.save()?;
        }
        let begun = self.standing.epoch > 0 || self.standing.batch > 0;
        if !(cancelled && self.keep_so_far && begun) {
            outcome?;
        } else if !self.model.network.is_finite() {
            return Err(self.diverged((self.standing.batch as usize).saturating_sub(1)));
        }
        if let Some(best) = self.best {
            self.model.network = best;
        }
        self.model.weights_changed();
        Ok(Trained {
            model: self.model,
            epochs: self.standing.epoch,
            best: self.standing.best,
            stopped_early: self.standing.stopped_early,
            cancelled,
        })
    }

    fn epochs(&mut self, progress: &mut Listener<'_>) -> Result<(), TrainError> {
        tell(
            progress,
            Progress::Started {
                rows: self.train.len(),
                entities: self.model.entity_rows.len(),
                weights: self.model.network.len(),
                epochs: self.params.epochs(),
                batches: self.batches,
                threads: self.executor.threads(),
            },
        )?;
        if self.standing != Standing::default() {
            tell(
                progress,
                Progress::Resumed {
                    epoch: self.standing.epoch,
                    batch: self.standing.batch as usize,
                },
            )?;
        }
        while self.standing.epoch < self.params.epochs() && !self.standing.stopped_early {
            self.epoch(progress)?;
        }
        Ok(())
    }

    /// The epoch in which the run stands, from its next mini-batch.
    fn epoch(&mut self, progress: &mut Listener<'_>) -> Result<(), TrainError> {
        let epoch = self.standing.epoch;
        let (random, shuffled) = negatives(self.params);
        let reading = |source| TrainError::Rows {
            channel: "train",
            source,
        };
        let first = self.standing.batch as usize;
        let speed = Speed {
            start: Instant::now(),
            rows: sampler::batch_range(self.train.len(), self.batches, first).start,
            samples: self.standing.samples,
        };
        let mut order = Order::new(self.train, self.seed, epoch);
        let (mut rows, mut batch) = (Vec::new(), Batch::default());
        for number in first..self.batches {
            let places = sampler::batch_range(self.train.len(), self.batches, number);
            order.take(places.clone(), &mut rows).map_err(reading)?;
            for pair in &mut rows {
                let slot = self.slots.slot(pair.entity);
                // A file can change while it is read.
                pair.entity = slot.ok_or_else(|| reading(std::io::Error::other("it has changed")))?;
            }
            let mut negatives = sampler::stream_at(self.seed, Purpose::Negatives, epoch, number as u64);
            batch.draw(&rows, &self.activity, random, shuffled, &mut negatives);
            let Model { network, index, .. } = &mut self.model;
            let outcome = self.trainer.step(network, index, &batch, &self.executor);
            if !outcome.loss.is_finite() {
                return Err(self.diverged(number));
            }
            let standing = &mut self.standing;
            standing.loss += outcome.loss;
            standing.correct += outcome.correct;
            standing.samples += outcome.samples;
            standing.batch += 1;
            let samples = standing.samples as f64;
            let news = Progress::Batch {
                epoch,
                batch: number,
                loss: standing.loss / samples,
                accuracy: standing.correct as f64 / samples,
                records_per_second: speed.records(standing.samples),
                rows_per_second: speed.rows(places.end),
            };
            tell(progress, news)?;
            let every = self.checkpoints.as_ref().and_then(|kept| kept.every_batches);
            // The last one of the epoch is followed by the epoch's own.
            if every.is_some_and(|n| self.standing.batch.is_multiple_of(n)) && number + 1 < self.batches {
                self.save_and_tell(progress)?;
            }
        }
        self.close_epoch(&speed, progress)
    }

    fn close_epoch(&mut self, speed: &Speed, progress: &mut Listener<'_>) -> Result<(), TrainError> {
        let seconds = speed.seconds();
        let records_per_second = speed.records(self.standing.samples);
        let rows_per_second = speed.rows(self.train.len());
        if !self.model.network.is_finite() {
            // The last step may have gone where no loss was computed any more.
            return Err(self.diverged(self.batches - 1));
        }
        let discriminator_auc = self.discriminator_auc()?;
        let (epoch, samples) = (self.standing.epoch, self.standing.samples as f64);
        let news = Progress::Epoch {
            epoch,
            epochs: self.params.epochs(),
            loss: self.standing.loss / samples,
            accuracy: self.standing.correct as f64 / samples,
            discriminator_auc,
            seconds,
            records_per_second,
            rows_per_second,
        };
        self.standing = Standing {
            epoch: epoch + 1,
            best: self.standing.best,
            without_gain: self.standing.without_gain,
            ..Standing::default()
        };
        if let Some(auc) = discriminator_auc {
            self.judge(epoch, auc);
        }
        tell(progress, news)?;
        if self.standing.stopped_early
            && let Some(best) = self.standing.best
        {
            let news = Progress::StoppedEarly {
                epoch,
                best_epoch: best.epoch,
                discriminator_auc: best.discriminator_auc,
            };
            tell(progress, news)?;
        }
        let done = self.standing.epoch;
        let due = |kept: &Kept| done.is_multiple_of(kept.every_epochs) || done == self.params.epochs();
        if self.standing.stopped_early || self.checkpoints.as_ref().is_some_and(due) {
            self.save_and_tell(progress)?;
        }
        Ok(())
    }

    /// Keeps the best epoch, and ends training when the rule says so.
    fn judge(&mut self, epoch: u32, auc: f64) {
        let min_delta = self.early_stop.map_or(0.0, |rule| rule.min_delta);
        let better = self
            .standing
            .best
            .is_none_or(|best| auc > best.discriminator_auc + min_delta);
        if better {
            self.standing.best = Some(BestEpoch {
                epoch,
                discriminator_auc: auc,
            });
            self.standing.without_gain = 0;
            if self.early_stop.is_some() {
                match &mut self.best {
                    // Into the memory that it has: there is never a third copy.
                    Some(best) => {
                        let from = weights("", &mut self.model.network);
                        for ((_, to), (_, from)) in weights("", best).into_iter().zip(from) {
                            to.copy_from_slice(from);
                        }
                    }
                    None => self.best = Some(self.model.network.clone()),
                }
            }
        } else {
            self.standing.without_gain += 1;
            let waited = |rule: EarlyStop| self.standing.without_gain >= rule.patience;
            self.standing.stopped_early =
                self.early_stop.is_some_and(waited) && epoch + 1 < self.params.epochs();
        }
    }

    /// The service's tuning objective. The random addresses are the same in every epoch, so epochs can be compared.
    fn discriminator_auc(&mut self) -> Result<Option<f64>, TrainError> {
        let Some(rows) = self.validation else {
            return Ok(None);
        };
        self.model.weights_changed();
        let mut rng = sampler::stream(self.seed, Purpose::Validation, 0);
        let mut scores: [Vec<Score>; 2] = [Vec::with_capacity(rows.len()), Vec::with_capacity(rows.len())];
        let mut random = Vec::new();
        let read = rows.for_each_block(|observed| {
            random.clear();
            random.extend(observed.iter().map(|pair| Pair {
                address: rand::Rng::next_u32(&mut rng),
                ..*pair
            }));
            for (pairs, scores) in [observed, &random].into_iter().zip(&mut scores) {
                scores.extend(self.model.score_pairs(pairs, &self.executor));
            }
        });
        read.map_err(|source| TrainError::Rows {
            channel: "validation",
            source,
        })?;
        Ok(evaluation::auc(&scores[0], &scores[1]))
    }

    fn save_and_tell(&mut self, progress: &mut Listener<'_>) -> Result<(), TrainError> {
        if self.save()? {
            let news = Progress::CheckpointWritten {
                epoch: self.standing.epoch,
                batch: self.standing.batch as usize,
            };
            tell(progress, news)?;
        }
        Ok(())
    }

    /// Writes a checkpoint, where they are asked for.
    fn save(&mut self) -> Result<bool, TrainError> {
        let Some(Kept { path, identity, .. }) = &self.checkpoints else {
            return Ok(false);
        };
        if !self.model.network.is_finite() {
            return Err(self.diverged((self.standing.batch as usize).saturating_sub(1)));
        }
        let (numbers, moments) = self.trainer.state();
        self.standing.optimiser = numbers.to_vec();
        let mut tensors = weights("weights", &mut self.model.network);
        tensors.extend(moments.into_iter().map(|(name, m)| (format!("adam.{name}"), m)));
        if let Some(best) = &mut self.best {
            tensors.extend(weights("best", best));
        }
        let tensors = tensors.into_iter().map(|(name, t)| (name, &*t)).collect();
        checkpoint::write(path, identity, &self.standing, tensors)?;
        Ok(true)
    }

    /// Goes on from the checkpoint, where there is one.
    fn resume(&mut self) -> Result<(), TrainError> {
        let numbers = self.trainer.state().0.len();
        let Some(Kept { path, identity, .. }) = &self.checkpoints else {
            return Ok(());
        };
        let Some(opened) = Opened::open(path, identity)? else {
            return Ok(());
        };
        let standing = opened.standing().clone();
        if let Some(problem) = self.implausible(&standing, numbers) {
            return Err(checkpoint::malformed(path, problem).into());
        }
        if self.early_stop.is_some() && standing.best.is_some() {
            self.best = Some(self.model.network.clone());
        }
        let (numbers, moments) = self.trainer.state();
        numbers.copy_from_slice(&standing.optimiser);
        let mut tensors = weights("weights", &mut self.model.network);
        tensors.extend(moments.into_iter().map(|(name, m)| (format!("adam.{name}"), m)));
        if let Some(best) = &mut self.best {
            tensors.extend(weights("best", best));
        }
        opened.read(tensors)?;
        self.standing = standing;
        Ok(())
    }

    fn implausible(&self, standing: &Standing, numbers: usize) -> Option<String> {
        let epochs = self.params.epochs();
        let Standing {
            epoch,
            batch,
            samples,
            ..
        } = *standing;
        let best = standing.best;
        if epoch > epochs || batch > self.batches as u64 || (epoch == epochs && batch > 0) {
            Some(format!("it stands at batch {batch} of epoch {epoch}"))
        } else if standing.optimiser.len() != numbers {
            Some("its optimiser is of another kind".to_owned())
        } else if (batch == 0) != (samples == 0) || standing.correct > samples {
            Some(format!(
                "it has {samples} samples, {} of them right",
                standing.correct
            ))
        } else if best.is_some_and(|b| b.epoch >= epoch || !(0.0..=1.0).contains(&b.discriminator_auc)) {
            Some("its best epoch is none".to_owned())
        } else {
            None
        }
    }

    fn diverged(&self, batch: usize) -> TrainError {
        TrainError::Diverged {
            epoch: self.standing.epoch,
            batch,
            learning_rate: self.params.learning_rate(),
        }
    }
}

/// How fast an epoch goes, since it began or was resumed.
struct Speed {
    start: Instant,
    /// Rows and samples of the epoch that were done before.
    rows: usize,
    samples: u64,
}

impl Speed {
    fn seconds(&self) -> f64 {
        self.start.elapsed().as_secs_f64()
    }

    fn records(&self, samples: u64) -> f64 {
        (samples - self.samples) as f64 / self.seconds().max(1e-9)
    }

    fn rows(&self, rows: usize) -> f64 {
        (rows - self.rows) as f64 / self.seconds().max(1e-9)
    }
}

fn tell(progress: &mut Listener<'_>, news: Progress) -> Result<(), TrainError> {
    match progress(&news) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(TrainError::Cancelled),
    }
}

fn negatives(params: &Hyperparameters) -> (usize, usize) {
    (
        params.random_negative_sampling_rate() as usize,
        params.shuffled_negative_sampling_rate() as usize,
    )
}

/// Goes through all rows once.
fn scan(
    rows: &Dataset,
    hash: bool,
    channel: &'static str,
    mut each: impl FnMut(&Pair),
) -> Result<Digest, TrainError> {
    let mut sha256 = Sha256::new();
    let mut bytes = Vec::new();
    rows.for_each_block(|pairs| {
        pairs.iter().for_each(&mut each);
        if hash {
            bytes.clear();
            for pair in pairs {
                bytes.extend(pair.entity.to_le_bytes());
                bytes.extend(pair.address.to_le_bytes());
            }
            sha256.update(&bytes);
        }
    })
    .map_err(|source| TrainError::Rows { channel, source })?;
    Ok(Digest {
        rows: rows.len() as u64,
        sha256: hex(sha256),
    })
}

fn hex(sha256: Sha256) -> String {
    sha256
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// The weights by name.
fn weights<'a>(prefix: &str, network: &'a mut Network<f32>) -> Vec<(String, &'a mut [f32])> {
    let mut tensors = vec![
        (format!("{prefix}.entity"), &mut network.entities[..]),
        (format!("{prefix}.common"), &mut network.common[..]),
    ];
    for (level, values) in network.ranges.iter_mut().enumerate() {
        tensors.push((format!("{prefix}.range.{level}"), &mut values[..]));
    }
    tensors.push((format!("{prefix}.dense"), &mut network.dense[..]));
    tensors
}

/// Whether a model's weights can stand in this training's network.
fn check_base(base: &Model, params: &Hyperparameters) -> Result<(), TrainError> {
    let theirs = base.hyperparameters();
    for (what, model, ours) in [
        (
            "num_entity_vectors",
            theirs.num_entity_vectors(),
            params.num_entity_vectors(),
        ),
        (
            "vector_dim",
            theirs.vector_dim().into(),
            params.vector_dim().into(),
        ),
        (
            "num_ip_encoder_layers",
            theirs.num_ip_encoder_layers().into(),
            params.num_ip_encoder_layers().into(),
        ),
    ] {
        if model != ours {
            return Err(TrainError::OtherModel {
                what,
                model: model.to_string(),
                params: ours.to_string(),
            });
        }
    }
    Ok(())
}

/// Puts the base's weights into a network that has all of its ranges and entities.
fn begin_with(network: &mut Network<f32>, entity_rows: &[u32], index: &RangeIndex, base: &Model) {
    let (dim, width) = (network.shape.dim, network.shape.range_width());
    for (row, from) in base.entity_rows.iter().zip(base.network.entities.chunks(dim)) {
        if let Ok(slot) = entity_rows.binary_search(row) {
            network.entities[slot * dim..][..dim].copy_from_slice(from);
        }
    }
    network.common.copy_from_slice(&base.network.common);
    for (level, (values, cut)) in network.ranges.iter_mut().zip(base.index.cuts()).enumerate() {
        for (start, row) in cut.starts.iter().zip(&cut.rows) {
            let to = index.row(level, index.piece(*start));
            if *row != NOTHING && to != NOTHING {
                values[to as usize * width..][..width].copy_from_slice(base.network.range(level, *row));
            }
        }
    }
    network.dense.copy_from_slice(&base.network.dense);
}

/// SHA-256 of all that a model brings into a training.
fn fingerprint(base: &Model) -> String {
    let mut sha256 = Sha256::new();
    sha256.update(base.training_rows().to_le_bytes());
    sha256.update(Data::U32(&base.entity_rows).bytes());
    for cut in base.index.cuts() {
        sha256.update((cut.starts.len() as u64).to_le_bytes());
        for numbers in [&cut.starts, &cut.rows] {
            sha256.update(Data::U32(numbers).bytes());
        }
    }
    let network = &base.network;
    for values in network.ranges.iter().chain([&network.entities]) {
        sha256.update(Data::F32(values).bytes());
    }
    for values in [&network.common, &network.dense] {
        sha256.update(Data::F32(values).bytes());
    }
    hex(sha256)
}

#[cfg(test)]
mod tests {
    use access_events::AccessEvent;

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
        let diverged = |break_at: fn(&mut Network<f32>)| {
            let mut run = Run::new(&Training::new(&params, &rows)).unwrap();
            break_at(&mut run.model.network);
            run.finish(&mut |_| ControlFlow::Continue(()))
                .unwrap_err()
                .to_string()
        };
        let want = "the loss is no longer finite in epoch 0, batch 0: lower learning_rate (now 0.001)";
        assert_eq!(diverged(|network| network.entities.fill(f32::INFINITY)), want);
        assert_eq!(diverged(|network| network.dense[0] = f32::NAN), want);
    }
}
