//! Whether scores are the log-odds they claim to be.

use serde::Serialize;

use crate::score::Score;

/// How many bins the probabilities are put in.
const BINS: usize = 10;

/// How well probabilities match what happened: the table behind a reliability diagram, and the expected calibration error.
///
/// Both sides of the rows weigh the same here, whatever their numbers, so that the figures do not depend on how many
/// anomalous rows there happen to be.
///
/// Source: M. P. Naeini, G. F. Cooper and M. Hauskrecht, "Obtaining well calibrated probabilities using Bayesian binning",
/// AAAI 2015.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Reliability {
    /// What was added to each score to make it the log-odds of "normal" among rows half of which are normal.
    pub log_odds: f64,
    /// The expected calibration error: the mean distance between probability and share, each bin by its weight. From 0 to 1,
    /// less is better.
    pub expected_calibration_error: f64,
    /// The largest such distance of a bin.
    pub maximum_calibration_error: f64,
    /// The mean squared distance between each row's probability and what it is (Brier); 0.25 is guessing.
    pub brier_score: f64,
    /// Ten bins of equal width; those without rows are left out.
    pub bins: Vec<ReliabilityBin>,
}

/// Rows with about the same probability.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ReliabilityBin {
    /// Where the bin begins. It includes its lower edge, the last one both edges.
    pub from: f64,
    /// Where the bin ends.
    pub to: f64,
    /// Normal rows in it.
    pub normal: usize,
    /// Anomalous rows in it.
    pub anomalous: usize,
    /// Their share of all rows, each side weighing half.
    pub weight: f64,
    /// The mean probability of "normal" that the scores give.
    pub probability: f64,
    /// The share that is normal.
    pub share: f64,
}

impl Reliability {
    /// Of scores of normal and of anomalous rows, to which `log_odds` is added.
    ///
    /// What is not a number counts as a probability of 0; a side without rows has no weight.
    pub fn new(normal: &[Score], anomalous: &[Score], log_odds: f64) -> Self {
        #[derive(Clone, Copy, Default)]
        struct Sums {
            rows: [usize; 2],
            probability: f64,
        }
        let weights = [normal.len(), anomalous.len()].map(|rows| 0.5 / rows as f64);
        let mut bins = [Sums::default(); BINS];
        let mut brier_score = 0.0;
        for (side, scores) in [normal, anomalous].into_iter().enumerate() {
            for score in scores {
                let probability = sigmoid(f64::from(score.dot_product()) + log_odds);
                let bin = &mut bins[((probability * BINS as f64) as usize).min(BINS - 1)];
                bin.rows[side] += 1;
                bin.probability += weights[side] * probability;
                let is_normal = if side == 0 { 1.0 } else { 0.0 };
                brier_score += weights[side] * (probability - is_normal) * (probability - is_normal);
            }
        }
        let bins: Vec<ReliabilityBin> = (0..)
            .zip(bins)
            .filter(|(_, sums)| sums.rows != [0, 0])
            .map(|(index, sums)| {
                let of_normal = weights[0] * sums.rows[0] as f64;
                // A side without rows has an infinite weight, and no rows.
                let [of_normal, of_anomalous] =
                    [of_normal, weights[1] * sums.rows[1] as f64].map(|w| if w.is_nan() { 0.0 } else { w });
                let weight = of_normal + of_anomalous;
                ReliabilityBin {
                    from: f64::from(index) / BINS as f64,
                    to: f64::from(index + 1) / BINS as f64,
                    normal: sums.rows[0],
                    anomalous: sums.rows[1],
                    weight,
                    probability: sums.probability / weight,
                    share: of_normal / weight,
                }
            })
            .collect();
        let distance = |bin: &ReliabilityBin| (bin.probability - bin.share).abs();
        Self {
            log_odds,
            expected_calibration_error: bins.iter().map(|bin| bin.weight * distance(bin)).sum(),
            maximum_calibration_error: bins.iter().map(distance).fold(0.0, f64::max),
            brier_score,
            bins,
        }
    }
}

/// 0 for what is not a number.
fn sigmoid(x: f64) -> f64 {
    match x {
        x if x.is_nan() => 0.0,
        x if x >= 0.0 => 1.0 / (1.0 + libm::exp(-x)),
        x => {
            let e = libm::exp(x);
            e / (1.0 + e)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scores(values: &[f32]) -> Vec<Score> {
        values.iter().copied().map(Score::new).collect()
    }

    #[test]
    fn by_hand() {
        // ln 3 is a probability of 3/4, so bin 7; -ln 3 is 1/4, bin 2.
        let three = 3f32.ln();
        let table = Reliability::new(
            &scores(&[three, three, three, -three]),
            &scores(&[-three, three]),
            0.0,
        );
        let [low, high] = &table.bins[..] else {
            panic!("{table:?}")
        };
        assert_eq!((low.from, low.to, low.normal, low.anomalous), (0.2, 0.3, 1, 1));
        assert_eq!(
            (high.from, high.to, high.normal, high.anomalous),
            (0.7, 0.8, 3, 1)
        );
        // Weights: normal rows 1/8 each, anomalous 1/4 each.
        assert_eq!((low.weight, high.weight), (0.375, 0.625));
        assert!((low.share - 1.0 / 3.0).abs() < 1e-12 && (high.share - 0.6).abs() < 1e-12);
        assert!((low.probability - 0.25).abs() < 1e-7 && (high.probability - 0.75).abs() < 1e-7);
        // 0.375 |1/4 - 1/3| + 0.625 |3/4 - 3/5|
        assert!((table.expected_calibration_error - 0.125).abs() < 1e-7);
        assert!((table.maximum_calibration_error - 0.15).abs() < 1e-7);
        // 3/8 (1/4)^2 + 1/8 (3/4)^2 + 1/4 (1/4)^2 + 1/4 (3/4)^2
        assert!((table.brier_score - 0.25).abs() < 1e-7);
    }

    #[test]
    fn log_odds_move_the_probabilities() {
        let table = Reliability::new(&scores(&[0.0]), &scores(&[0.0]), 3f64.ln());
        assert!((table.bins[0].probability - 0.75).abs() < 1e-12);
        assert!((table.expected_calibration_error - 0.25).abs() < 1e-12);
    }

    #[test]
    fn extremes_have_their_bins() {
        let table = Reliability::new(
            &scores(&[f32::INFINITY]),
            &scores(&[f32::NEG_INFINITY, f32::NAN]),
            0.0,
        );
        assert_eq!(table.bins.len(), 2);
        assert_eq!((table.expected_calibration_error, table.brier_score), (0.0, 0.0));
        assert_eq!(Reliability::new(&scores(&[1.0]), &[], 0.0).bins[0].weight, 0.5);
    }

    proptest! {
        #[test]
        fn every_row_is_in_a_bin(normal in prop::collection::vec(-9f32..9.0, 1..50), anomalous in prop::collection::vec(-9f32..9.0, 1..50)) {
            let table = Reliability::new(&scores(&normal), &scores(&anomalous), 0.0);
            prop_assert_eq!(table.bins.iter().map(|b| b.normal).sum::<usize>(), normal.len());
            prop_assert_eq!(table.bins.iter().map(|b| b.anomalous).sum::<usize>(), anomalous.len());
            prop_assert!((table.bins.iter().map(|b| b.weight).sum::<f64>() - 1.0).abs() < 1e-9);
            prop_assert!(table.expected_calibration_error <= table.maximum_calibration_error + 1e-12);
            for bin in &table.bins {
                prop_assert!(bin.from - 1e-9 <= bin.probability && bin.probability <= bin.to + 1e-9);
            }
        }
    }
}
