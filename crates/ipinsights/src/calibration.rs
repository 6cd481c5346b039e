//! Where to draw the line, for a stated rate of false alarms.

use serde::{Deserialize, Serialize};

use crate::Score;

/// The score below which a pair is called anomalous.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Threshold {
    value: Score,
    false_positive_rate: f64,
    rows: usize,
}

impl Threshold {
    /// Whether this score is called anomalous: it lies strictly below the threshold, or is not a number.
    pub fn is_anomalous(&self, score: Score) -> bool {
        score.cmp_normality(self.value).is_lt()
    }
}
