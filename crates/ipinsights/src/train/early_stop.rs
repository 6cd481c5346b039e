//! Stopping when the validation AUC no longer rises.

use serde::{Deserialize, Serialize};

/// When training ends before its last epoch: once `validation:discriminator_auc` has not risen for some epochs. The model
/// is then that of the best epoch, and so it is when training runs to its end.
///
/// It asks for validation rows. The copy of the best weights takes as much memory as the weights.
///
/// ```
/// use ipinsights::EarlyStop;
///
/// // An epoch that brings less than 0.0005 brings nothing; three of them in a row are enough.
/// let rule = EarlyStop::after(3).min_delta(0.0005);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[must_use]
pub struct EarlyStop {
    pub(super) patience: u32,
    pub(super) min_delta: f64,
}

impl EarlyStop {
    /// Stops after this many epochs in a row (at least 1) that are no better than the best before them.
    pub const fn after(epochs: u32) -> Self {
        Self {
            patience: epochs,
            min_delta: 0.0,
        }
    }

    /// An epoch is better only when its AUC is higher by more than this. Default 0. Valid: 0 to 1.
    pub const fn min_delta(self, delta: f64) -> Self {
        Self {
            min_delta: delta,
            ..self
        }
    }

    pub(super) fn problem(self) -> Option<String> {
        if self.patience == 0 {
            return Some("early stopping waits for at least 1 epoch, got 0".to_owned());
        }
        let delta = self.min_delta;
        (!(0.0..=1.0).contains(&delta))
            .then(|| format!("the minimum delta of early stopping must lie in 0..=1, got {delta}"))
    }
}

/// The best epoch of a training.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BestEpoch {
    /// Counted from 0.
    pub epoch: u32,
    /// Its `validation:discriminator_auc`.
    pub discriminator_auc: f64,
}
