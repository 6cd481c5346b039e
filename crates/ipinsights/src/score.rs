//! What the model says about one `(entity, address)` pair.

use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::calibration::Threshold;

/// How well an address fits an entity: the dot product of the two embeddings.
///
/// **Larger is more normal.** The number is the log-odds of "this pair was observed" against "this pair was made
/// up", so 0 is undecided and there is no upper or lower bound. Texts that call a *high* score suspicious mean the
/// negated number.
///
/// The type is neither `Ord` nor comparable with a bare number, so that nobody flags the wrong end: ask
/// [`Score::is_below`] with a calibrated [`Threshold`], or order with [`Score::cmp_normality`].
///
/// ```
/// use ipinsights::Score;
///
/// let at_home = Score::new(4.5);
/// let abroad = Score::new(-2.0);
/// assert!(at_home.cmp_normality(abroad).is_gt());
/// assert!(at_home.probability() > 0.98);
/// assert!(abroad.probability() < 0.12);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct Score(f32);

impl Score {
    /// The score with this dot product; larger means more normal.
    pub const fn new(dot_product: f32) -> Self {
        Self(dot_product)
    }

    /// The dot product as the service prints it; larger means more normal.
    pub const fn dot_product(self) -> f32 {
        self.0
    }

    /// The probability, from 0 to 1, that the pair was observed rather than made up: the sigmoid of the dot product.
    ///
    /// It is relative to the negatives the model was trained against, not a rate of attacks.
    pub fn probability(self) -> f64 {
        let x = f64::from(self.0);
        // Two forms, so that `exp` never overflows.
        if x >= 0.0 {
            1.0 / (1.0 + (-x).exp())
        } else {
            let e = x.exp();
            e / (1.0 + e)
        }
    }

    /// Whether the pair is anomalous by this threshold: the score lies strictly below it.
    pub fn is_below(self, threshold: &Threshold) -> bool {
        threshold.is_anomalous(self)
    }

    /// Orders from most suspicious (`Less`) to most normal (`Greater`).
    ///
    /// A total order: 0.0 and -0.0 are equal, and a NaN (of a model that diverged) comes before every number, so that it
    /// is never taken for a normal row.
    pub fn cmp_normality(self, other: Self) -> Ordering {
        match (self.0.is_nan(), other.0.is_nan()) {
            (false, false) => self.0.partial_cmp(&other.0).unwrap_or(Ordering::Equal),
            (nan, other_nan) => other_nan.cmp(&nan),
        }
    }
}

impl From<f32> for Score {
    fn from(dot_product: f32) -> Self {
        Self(dot_product)
    }
}

/// The dot product, in as few digits as read back to the same number.
impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A score together with the two embeddings it is the dot product of: what the service calls verbose.
#[derive(Debug, Clone, PartialEq)]
pub struct Prediction {
    /// The dot product of the two embeddings.
    pub score: Score,
    /// The address's vector, `vector_dim` long.
    pub ip_embedding: Vec<f32>,
    /// The entity's vector, `vector_dim` long.
    pub entity_embedding: Vec<f32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probability_is_the_sigmoid_and_does_not_overflow() {
        let cases = [
            (0.0, 0.5),
            (1.0, 0.731_058_578),
            (-1.0, 0.268_941_421),
            (1e30, 1.0),
            (-1e30, 0.0),
        ];
        for (dot_product, want) in cases {
            let got = Score::new(dot_product).probability();
            assert!(
                (got - want).abs() < 1e-9,
                "{dot_product}: {got} instead of {want}"
            );
        }
    }

    #[test]
    fn nan_is_the_most_suspicious() {
        let mut scores = [1.0, f32::NAN, f32::NEG_INFINITY, -0.0, f32::INFINITY, -3.0].map(Score::new);
        scores.sort_by(|a, b| a.cmp_normality(*b));
        let printed: Vec<_> = scores.iter().map(ToString::to_string).collect();
        assert_eq!(printed, ["NaN", "-inf", "-3", "-0", "1", "inf"]);
        assert!(Score::new(0.0).cmp_normality(Score::new(-0.0)).is_eq());
        assert!(Score::new(f32::NAN).cmp_normality(Score::new(f32::NAN)).is_eq());
    }
}
