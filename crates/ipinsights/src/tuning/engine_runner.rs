//! Trials that are trained by this crate's engine.

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};

use super::run::{Ended, Runner};
use super::search::Job;
use crate::dataset::Dataset;
use crate::entities::KnownEntities;
use crate::hyperparameters::Hyperparameters;
use crate::model::Model;
use crate::progress::Progress;
use crate::train::{TrainError, TrainOptions, train_dataset};

/// Why trials cannot be trained.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError<E> {
    /// The rows could not be read.
    #[error("the rows cannot be read")]
    Rows(#[source] E),
    /// There is nothing to compute the objective on.
    #[error("there are no validation rows, which the objective is computed on")]
    NoValidation,
    /// What training says, divergence aside, which is the trial's own.
    #[error(transparent)]
    Train(TrainError),
}

/// Training and validation rows.
type Rows = Arc<(Dataset, Dataset)>;

/// Trains trials with [`train_dataset`]; the objective is `validation:discriminator_auc`.
///
/// A trial that goes on is trained from its beginning again, for all its epochs: what an epoch does may depend on how many are
/// to come. So every job's model is that which [`train_dataset`] gives for its epochs.
pub struct EngineRunner<F> {
    rows: F,
    options: TrainOptions,
    known: Option<KnownEntities>,
    /// For which `num_entity_vectors` rows were read last, and these.
    read: Mutex<Option<(u64, Rows)>>,
}

impl<F> EngineRunner<F> {
    /// `rows` reads training and validation rows for hyperparameters; it is called anew when a trial has another
    /// `num_entity_vectors` than the one before. `options` are those of every trial.
    pub fn new(rows: F, options: TrainOptions) -> Self {
        Self {
            rows,
            options,
            known: None,
            read: Mutex::new(None),
        }
    }

    /// Gives every model the entities that the training rows are of, which the rows themselves no longer name.
    #[must_use]
    pub fn known_entities(mut self, known: KnownEntities) -> Self {
        self.known = Some(known);
        self
    }
}

impl<F, E> EngineRunner<F>
where
    F: Fn(&Hyperparameters) -> Result<(Dataset, Dataset), E>,
{
    fn rows(&self, params: &Hyperparameters) -> Result<Rows, EngineError<E>> {
        // Whoever comes second waits for the rows instead of reading them as well.
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, rows)) = read
            .as_ref()
            .filter(|(size, _)| *size == params.num_entity_vectors())
        {
            return Ok(Arc::clone(rows));
        }
        // Before the new ones are there, the old ones go.
        *read = None;
        let rows = (self.rows)(params).map_err(EngineError::Rows)?;
        if rows.1.is_empty() {
            return Err(EngineError::NoValidation);
        }
        let rows = Arc::new(rows);
        *read = Some((params.num_entity_vectors(), Arc::clone(&rows)));
        Ok(rows)
    }
}

impl<F, E> Runner for EngineRunner<F>
where
    F: Fn(&Hyperparameters) -> Result<(Dataset, Dataset), E> + Sync,
    E: Send,
{
    type Model = Model;
    type Error = EngineError<E>;

    fn train(
        &self,
        job: &Job,
        epoch: &mut dyn FnMut(f64) -> ControlFlow<()>,
    ) -> Result<Ended<Model>, Self::Error> {
        let rows = self.rows(&job.hyperparameters)?;
        // Any number of epochs from 1 is valid.
        let Ok(params) = job.hyperparameters.to_draft().epochs(job.id.epochs).check() else {
            return Ok(Ended::Broken);
        };
        let mut last = f64::NAN;
        let result = train_dataset(&params, &rows.0, Some(&rows.1), &self.options, &mut |news| {
            if let Progress::Epoch {
                epoch: number,
                discriminator_auc: Some(auc),
                ..
            } = news
            {
                last = *auc;
                // Of what was trained before, nothing is told again.
                if *number >= job.from_epochs {
                    return epoch(*auc);
                }
            }
            ControlFlow::Continue(())
        });
        match result {
            Ok(mut model) => {
                model.set_known_entities(self.known.clone());
                Ok(Ended::Model {
                    objective: last,
                    model,
                })
            }
            Err(TrainError::Cancelled) => Ok(Ended::Broken),
            Err(error @ TrainError::Diverged { .. }) => Ok(Ended::Failed(error.to_string())),
            Err(error) => Err(EngineError::Train(error)),
        }
    }
}
