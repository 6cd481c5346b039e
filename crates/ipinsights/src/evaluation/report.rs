//! All figures of an evaluation in one document.

use std::num::NonZeroUsize;

use serde::Serialize;

use super::reliability::Reliability;
use super::{
    Group, Histogram, PrecisionRecallPoint, RocPoint, auc, average_precision, groups, precision_recall, roc,
    score_range,
};
use crate::calibration::Threshold;
use crate::interval::{self, Interval};
use crate::score::Score;

/// The confidence of all intervals in a report.
const CONFIDENCE: f64 = 0.95;
/// The standard normal distribution's quantile for it.
const Z: f64 = 1.959_963_984_540_054;
/// The false-positive rates at which the service's published results can be read.
const RATES: [f64; 8] = [0.001, 0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.1];
/// Bins of the histograms.
const BINS: NonZeroUsize = NonZeroUsize::new(60).unwrap();

/// What to evaluate.
///
/// ```
/// use ipinsights::Score;
/// use ipinsights::evaluation::Evaluation;
///
/// let normal = [5.0, 4.0, 3.0, -1.0].map(Score::new);
/// let anomalous = [-4.0, -2.0, 0.5].map(Score::new);
/// let report = Evaluation::new(&normal, &anomalous).report()?;
/// assert_eq!(report.auc, 11.0 / 12.0);
/// assert_eq!(report.at_zero.recall, 2.0 / 3.0);
/// # Ok::<(), ipinsights::evaluation::EvaluationError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Evaluation<'a> {
    normal: &'a [Score],
    anomalous: &'a [Score],
    activity: Option<(&'a [u64], &'a [u64])>,
    threshold: Option<&'a Threshold>,
    log_odds: f64,
}

/// Why there is no report.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EvaluationError {
    /// One side has no rows.
    #[error("there are no {side} rows to evaluate on")]
    NoRows {
        /// `normal` or `anomalous`.
        side: &'static str,
    },
    /// A score is not a number: the model diverged.
    #[error("the score of {side} row {row} is not a number; the model has probably diverged")]
    NotANumber {
        /// `normal` or `anomalous`.
        side: &'static str,
        /// One-based.
        row: usize,
    },
    /// Not as many numbers as rows.
    #[error("{activities} numbers for the activity of {rows} {side} rows")]
    Activity {
        /// `normal` or `anomalous`.
        side: &'static str,
        /// How many rows there are.
        rows: usize,
        /// How many numbers were given.
        activities: usize,
    },
}

/// All figures, as written to JSON: `version` grows when a member changes its meaning or goes.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Report {
    /// 1.
    #[cfg_attr(feature = "schema", schemars(extend("const" = 1)))]
    pub version: u32,
    /// Rows that are normal.
    pub normal: usize,
    /// Rows that are not.
    pub anomalous: usize,
    /// The area under the ROC curve.
    pub auc: f64,
    /// How sure that is, by DeLong.
    pub auc_interval: Interval,
    /// The area under the precision-recall curve, as average precision; guessing gives `anomalous / (normal + anomalous)`.
    pub average_precision: f64,
    /// Where the score is 0, which the service's published results use: as likely observed as made up.
    pub at_zero: Operation,
    /// At the calibrated threshold, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at_threshold: Option<AtThreshold>,
    /// What could be found at best at these rates of false alarms.
    pub recall_at: Vec<RecallAt>,
    /// By how active entities are, where that is known, least active first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub activity: Vec<ActivityGroup>,
    /// Whether the scores are the log-odds they claim to be.
    pub reliability: Reliability,
    /// How the scores are spread: normal rows.
    pub normal_scores: Histogram,
    /// And the others, in the same bins.
    pub anomalous_scores: Histogram,
    /// The ROC curve, thinned where neighbouring points cannot be told apart in a picture.
    pub roc: Vec<RocPoint>,
    /// The precision-recall curve, thinned likewise.
    pub precision_recall: Vec<PrecisionRecallPoint>,
}

/// What a threshold does.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Operation {
    /// Scores strictly below this are flagged.
    pub threshold: Score,
    /// Normal rows that are flagged.
    pub false_alarms: usize,
    /// Anomalous rows that are flagged.
    pub hits: usize,
    /// The share of normal rows that is flagged.
    pub false_positive_rate: f64,
    /// How sure that is, by Clopper and Pearson.
    pub false_positive_rate_interval: Interval,
    /// The share of anomalous rows that is flagged.
    pub recall: f64,
    /// How sure that is, by Clopper and Pearson.
    pub recall_interval: Interval,
    /// The share of flagged rows that are anomalous, in this mixture of rows; nothing when none is flagged.
    pub precision: Option<f64>,
}

/// What the calibrated threshold does, and what was promised.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AtThreshold {
    /// The rate of false alarms that was stated when it was calibrated.
    pub stated_false_positive_rate: f64,
    /// What happened.
    pub operation: Operation,
    /// Whether what happened can be chance: the stated rate lies within the interval of the true one, or above it.
    pub keeps_promise: bool,
}

/// What could be found at a rate of false alarms.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RecallAt {
    /// The rate that was asked for.
    pub false_positive_rate: f64,
    /// What the best threshold within the rate does.
    pub operation: Operation,
}

/// Rows of entities that were about equally active in training.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ActivityGroup {
    /// The least number of training rows of their entities.
    pub from: u64,
    /// The largest.
    pub to: u64,
    /// Normal rows.
    pub normal: usize,
    /// Anomalous rows.
    pub anomalous: usize,
    /// The area under the ROC curve within the group; nothing where a side has no rows.
    pub auc: Option<f64>,
    /// The share of normal rows flagged at the report's line: the calibrated threshold, else the best at 1 %.
    pub false_positive_rate: Option<f64>,
    /// The share of anomalous rows flagged there.
    pub recall: Option<f64>,
    /// How many times as often a flagged row of the group is anomalous as any row of it: precision over the share of
    /// anomalous rows. 1 is guessing.
    pub lift: Option<f64>,
}

impl<'a> Evaluation<'a> {
    /// Scores of rows that are normal, and of rows that are not.
    pub fn new(normal: &'a [Score], anomalous: &'a [Score]) -> Self {
        Self {
            normal,
            anomalous,
            activity: None,
            threshold: None,
            log_odds: 0.0,
        }
    }

    /// How many training rows the entity of each row has, for the figures by activity.
    #[must_use]
    pub fn activity(self, normal: &'a [u64], anomalous: &'a [u64]) -> Self {
        Self {
            activity: Some((normal, anomalous)),
            ..self
        }
    }

    /// The threshold in use.
    #[must_use]
    pub fn threshold(self, threshold: &'a Threshold) -> Self {
        Self {
            threshold: Some(threshold),
            ..self
        }
    }

    /// What to add to a score to make it the log-odds of "normal" among rows half of which are normal: the logarithm of the
    /// number of negatives that training set against each observed row. Default 0.
    #[must_use]
    pub fn log_odds(self, log_odds: f64) -> Self {
        Self { log_odds, ..self }
    }

    /// All figures.
    ///
    /// # Errors
    ///
    /// When a side is empty, a score is not a number, or the numbers of the activity are not as many as the rows.
    pub fn report(&self) -> Result<Report, EvaluationError> {
        let (normal, anomalous) = (self.normal, self.anomalous);
        for (side, scores) in [("normal", normal), ("anomalous", anomalous)] {
            if scores.is_empty() {
                return Err(EvaluationError::NoRows { side });
            }
            if let Some(place) = scores.iter().position(|s| s.dot_product().is_nan()) {
                return Err(EvaluationError::NotANumber { side, row: place + 1 });
            }
        }
        if let Some((of_normal, of_anomalous)) = self.activity {
            for (side, rows, activities) in [
                ("normal", normal.len(), of_normal.len()),
                ("anomalous", anomalous.len(), of_anomalous.len()),
            ] {
                if rows != activities {
                    return Err(EvaluationError::Activity {
                        side,
                        rows,
                        activities,
                    });
                }
            }
        }
        // The checks above are all that can be missing.
        let (Some(groups), Some(auc), Some(curve), Some(precision_recall), Some(average_precision)) = (
            groups(normal, anomalous),
            auc(normal, anomalous),
            roc(normal, anomalous),
            precision_recall(normal, anomalous),
            average_precision(normal, anomalous),
        ) else {
            return Err(EvaluationError::NoRows { side: "normal" });
        };
        let operation = |threshold| Operation::new(threshold, normal, anomalous);
        let recall_at: Vec<RecallAt> = RATES
            .iter()
            .map(|&rate| RecallAt {
                false_positive_rate: rate,
                operation: operation(best_within(&curve, rate)),
            })
            .collect();
        let line = match self.threshold {
            Some(threshold) => threshold.value(),
            None => best_within(&curve, 0.01),
        };
        let range = score_range(&[normal, anomalous]).unwrap_or((0.0, 0.0));
        Ok(Report {
            version: 1,
            normal: normal.len(),
            anomalous: anomalous.len(),
            auc,
            auc_interval: delong(&groups, normal.len(), anomalous.len(), auc),
            average_precision,
            at_zero: operation(Score::new(0.0)),
            at_threshold: self.threshold.map(|threshold| {
                let operation = operation(threshold.value());
                let stated = threshold.false_positive_rate();
                AtThreshold {
                    stated_false_positive_rate: stated,
                    operation,
                    keeps_promise: operation.false_positive_rate_interval.low <= stated,
                }
            }),
            recall_at,
            activity: self.by_activity(line),
            reliability: Reliability::new(normal, anomalous, self.log_odds),
            normal_scores: Histogram::new(normal, range, BINS),
            anomalous_scores: Histogram::new(anomalous, range, BINS),
            roc: thinned(curve, |p| (p.false_positive_rate, p.recall)),
            precision_recall: thinned(precision_recall, |p| (p.recall, p.precision)),
        })
    }

    /// In groups of 1 to 9, 10 to 99 and so on; entities without training rows by themselves.
    fn by_activity(&self, line: Score) -> Vec<ActivityGroup> {
        let Some((of_normal, of_anomalous)) = self.activity else {
            return Vec::new();
        };
        let digits = |rows: u64| rows.checked_ilog10().map_or(0, |log| log as usize + 1);
        let mut groups: Vec<(Vec<Score>, Vec<Score>, u64, u64)> =
            vec![(Vec::new(), Vec::new(), u64::MAX, 0); 21];
        let mut add = |scores: &[Score], rows: &[u64], is_normal: bool| {
            for (score, rows) in scores.iter().zip(rows) {
                let group = &mut groups[digits(*rows)];
                if is_normal {
                    group.0.push(*score)
                } else {
                    group.1.push(*score)
                }
                group.2 = group.2.min(*rows);
                group.3 = group.3.max(*rows);
            }
        };
        add(self.normal, of_normal, true);
        add(self.anomalous, of_anomalous, false);
        groups
            .into_iter()
            .filter(|(normal, anomalous, ..)| !(normal.is_empty() && anomalous.is_empty()))
            .map(|(normal, anomalous, from, to)| {
                let flagged =
                    |scores: &[Score]| scores.iter().filter(|s| s.cmp_normality(line).is_lt()).count();
                let (false_alarms, hits) = (flagged(&normal), flagged(&anomalous));
                let share = |part: usize, whole: usize| (whole > 0).then(|| part as f64 / whole as f64);
                let base = share(anomalous.len(), normal.len() + anomalous.len()).filter(|base| *base > 0.0);
                ActivityGroup {
                    from,
                    to,
                    normal: normal.len(),
                    anomalous: anomalous.len(),
                    auc: auc(&normal, &anomalous),
                    false_positive_rate: share(false_alarms, normal.len()),
                    recall: share(hits, anomalous.len()),
                    lift: share(hits, hits + false_alarms)
                        .zip(base)
                        .map(|(precision, base)| precision / base),
                }
            })
            .collect()
    }
}

impl Operation {
    fn new(threshold: Score, normal: &[Score], anomalous: &[Score]) -> Self {
        let flagged = |scores: &[Score]| {
            scores
                .iter()
                .filter(|s| s.cmp_normality(threshold).is_lt())
                .count()
        };
        let (false_alarms, hits) = (flagged(normal), flagged(anomalous));
        let interval = |hits, rows| {
            interval::share(hits, rows, CONFIDENCE).unwrap_or(Interval {
                low: 0.0,
                high: 1.0,
                confidence: CONFIDENCE,
            })
        };
        Self {
            threshold,
            false_alarms,
            hits,
            false_positive_rate: false_alarms as f64 / normal.len() as f64,
            false_positive_rate_interval: interval(false_alarms, normal.len()),
            recall: hits as f64 / anomalous.len() as f64,
            recall_interval: interval(hits, anomalous.len()),
            precision: (hits + false_alarms > 0).then(|| hits as f64 / (hits + false_alarms) as f64),
        }
    }
}

/// The largest threshold that flags at most this share of the normal rows.
fn best_within(curve: &[RocPoint], rate: f64) -> Score {
    let within = curve.iter().take_while(|p| p.false_positive_rate <= rate).last();
    // Nothing is flagged at the first point, so there is one.
    within.map_or(Score::new(f32::NEG_INFINITY), |p| p.threshold)
}

/// E. R. DeLong, D. M. DeLong and D. L. Clarke-Pearson, "Comparing the areas under two or more correlated receiver operating
/// characteristic curves", Biometrics 44 (1988): the variances of each side's placements among the other side.
fn delong(groups: &[Group], normal: usize, anomalous: usize, auc: f64) -> Interval {
    let (n, a) = (normal as f64, anomalous as f64);
    let (mut below, mut above) = (0.0, n);
    let (mut of_normal, mut of_anomalous) = (0.0, 0.0);
    for group in groups {
        let (here_normal, here_anomalous) = (group.normal as f64, group.anomalous as f64);
        above -= here_normal;
        // The share of the other side that this score beats, ties by half.
        let placed_normal = (below + here_anomalous / 2.0) / a - auc;
        let placed_anomalous = (above + here_normal / 2.0) / n - auc;
        of_normal += here_normal * placed_normal * placed_normal;
        of_anomalous += here_anomalous * placed_anomalous * placed_anomalous;
        below += here_anomalous;
    }
    let variance = |sum: f64, rows: f64| {
        if rows > 1.0 {
            sum / (rows - 1.0) / rows
        } else {
            0.0
        }
    };
    let deviation = (variance(of_normal, n) + variance(of_anomalous, a)).sqrt();
    // From a single row nothing is known.
    let deviation = if normal > 1 && anomalous > 1 {
        deviation
    } else {
        f64::INFINITY
    };
    Interval {
        low: (auc - Z * deviation).max(0.0),
        high: (auc + Z * deviation).min(1.0),
        confidence: CONFIDENCE,
    }
}

/// Leaves out points that lie within 0.001 of the last one kept and, near 0, within a twentieth of it.
fn thinned<P: Copy>(points: Vec<P>, place: impl Fn(&P) -> (f64, f64)) -> Vec<P> {
    let last = points.len().saturating_sub(1);
    let mut kept: Vec<P> = Vec::new();
    for (index, point) in points.iter().enumerate() {
        let far = kept.last().is_none_or(|kept| {
            let ((x, y), (kept_x, kept_y)) = (place(point), place(kept));
            let step = (x - kept_x).abs();
            step > 0.001
                || (y - kept_y).abs() > 0.001
                || (step > 0.0 && step > 0.05 * kept_x && kept_x < 0.02)
        });
        if far || index == last {
            kept.push(*point);
        }
    }
    kept
}

#[cfg(test)]
mod tests;
