//! How well scores tell normal pairs from anomalous ones.
//!
//! Every function takes the scores of normal pairs first, and what is flagged is what lies strictly below a threshold, as
//! in [`Threshold::is_anomalous`](crate::Threshold::is_anomalous). The answers do not depend on the order of the rows and
//! take O(n log n).

use std::num::NonZeroUsize;

use serde::Serialize;

use crate::Score;

#[cfg(feature = "pictures")]
mod pictures;
mod reliability;
mod report;

#[cfg(feature = "pictures")]
pub use pictures::{Picture, PictureError};
pub use reliability::{Reliability, ReliabilityBin};
pub use report::{ActivityGroup, AtThreshold, Evaluation, EvaluationError, Operation, RecallAt, Report};

/// The area under the ROC curve: the probability that a random normal pair scores higher than a random anomalous one.
///
/// A tie counts half. 1 is a perfect order, 0.5 is guessing, 0 is a perfect order the wrong way round. `None` when either
/// side is empty or holds a NaN, because then there is no such probability.
///
/// ```
/// use ipinsights::evaluation::auc;
///
/// // Of the 3 x 2 pairs, 4 are in order and 1 is a tie.
/// assert_eq!(auc(&[3.0, 2.0, 1.0], &[2.0, 0.5]), Some(4.5 / 6.0));
/// assert_eq!(auc::<f32>(&[3.0], &[]), None);
/// ```
pub fn auc<S: Copy + Into<Score>>(normal: &[S], anomalous: &[S]) -> Option<f64> {
    // Twice the number of pairs in order, so that a tie counts a whole one: exact.
    let mut doubled: u128 = 0;
    let mut anomalous_below: u128 = 0;
    for group in groups(normal, anomalous)? {
        doubled += group.normal as u128 * (2 * anomalous_below + group.anomalous as u128);
        anomalous_below += group.anomalous as u128;
    }
    let pairs = normal.len() as u128 * anomalous.len() as u128;
    Some(doubled as f64 / (2 * pairs) as f64)
}

/// What one choice of threshold does.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RocPoint {
    /// Scores strictly below this are flagged; at the last point it is infinite, which JSON writes as `null`, and everything is.
    #[cfg_attr(feature = "schema", schemars(with = "Option<f32>"))]
    pub threshold: Score,
    /// The share of normal pairs that is flagged.
    pub false_positive_rate: f64,
    /// The share of anomalous pairs that is flagged.
    pub recall: f64,
}

/// The ROC curve: a point for every threshold that makes a difference, from nothing flagged to everything flagged.
///
/// `None` in the same cases as [`auc`], which is the area under these points joined by straight lines.
pub fn roc<S: Copy + Into<Score>>(normal: &[S], anomalous: &[S]) -> Option<Vec<RocPoint>> {
    let groups = groups(normal, anomalous)?;
    let mut flagged = (0, 0);
    let mut points = Vec::with_capacity(groups.len() + 1);
    let mut point = |threshold, (false_alarms, hits): (usize, usize)| {
        points.push(RocPoint {
            threshold,
            false_positive_rate: false_alarms as f64 / normal.len() as f64,
            recall: hits as f64 / anomalous.len() as f64,
        });
    };
    for group in groups {
        point(group.score, flagged);
        flagged.0 += group.normal;
        flagged.1 += group.anomalous;
    }
    point(Score::new(f32::INFINITY), flagged);
    Some(points)
}

/// What one choice of threshold finds, and how much of it is right.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PrecisionRecallPoint {
    /// Scores strictly below this are flagged; at the last point it is infinite, which JSON writes as `null`, and everything is.
    #[cfg_attr(feature = "schema", schemars(with = "Option<f32>"))]
    pub threshold: Score,
    /// The share of anomalous pairs that is flagged.
    pub recall: f64,
    /// The share of flagged pairs that are anomalous.
    pub precision: f64,
}

/// The precision-recall curve: a point for every threshold that makes a difference and flags something, from the fewest
/// flagged to everything flagged.
///
/// Unlike the ROC curve it depends on how many pairs of each side there are. `None` in the same cases as [`auc`].
pub fn precision_recall<S: Copy + Into<Score>>(
    normal: &[S],
    anomalous: &[S],
) -> Option<Vec<PrecisionRecallPoint>> {
    let groups = groups(normal, anomalous)?;
    let next = groups.iter().skip(1).map(|group| group.score);
    let thresholds = next.chain([Score::new(f32::INFINITY)]);
    let (mut hits, mut flagged) = (0, 0);
    let points = groups.iter().zip(thresholds).map(|(group, threshold)| {
        hits += group.anomalous;
        flagged += group.anomalous + group.normal;
        PrecisionRecallPoint {
            threshold,
            recall: hits as f64 / anomalous.len() as f64,
            precision: hits as f64 / flagged as f64,
        }
    });
    Some(points.collect())
}

/// The area under the precision-recall curve as average precision: the precision at each step of the recall, weighted by the
/// step, without joining points by lines, which would flatter.
///
/// `None` in the same cases as [`auc`].
pub fn average_precision<S: Copy + Into<Score>>(normal: &[S], anomalous: &[S]) -> Option<f64> {
    let points = precision_recall(normal, anomalous)?;
    let mut before = 0.0;
    let steps = points.iter().map(|point| {
        let step = (point.recall - before) * point.precision;
        before = point.recall;
        step
    });
    Some(steps.sum())
}

/// The largest share of anomalous pairs that some threshold flags while it flags at most `false_positive_rate` of the
/// normal ones.
///
/// This looks at both sides, so it says what the scores could do at best; a threshold for use comes from
/// [`Threshold::calibrate`](crate::Threshold::calibrate). `None` in the same cases as [`auc`].
pub fn recall_at<S: Copy + Into<Score>>(
    normal: &[S],
    anomalous: &[S],
    false_positive_rate: f64,
) -> Option<f64> {
    let points = roc(normal, anomalous)?;
    // Both rates grow along the curve.
    let allowed = points
        .iter()
        .take_while(|p| p.false_positive_rate <= false_positive_rate);
    Some(allowed.last().map_or(0.0, |p| p.recall))
}

/// How many scores fall where, in bins of equal width.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Histogram {
    /// Where the first bin begins.
    pub low: f32,
    /// Where the last bin ends.
    pub high: f32,
    /// How many scores are in each bin. A bin includes its lower edge, the last one both edges.
    pub counts: Vec<usize>,
    /// How many scores lie below the first bin.
    pub below: usize,
    /// How many scores lie above the last bin.
    pub above: usize,
    /// How many scores are not numbers.
    pub not_numbers: usize,
}

impl Histogram {
    /// Counts `scores` in `bins` bins of equal width from `low` to `high`.
    ///
    /// Histograms to be drawn over each other take the same edges; [`score_range`] finds them. Where `low` and `high` are
    /// the same number, every score equal to it is in the last bin.
    pub fn new<S: Copy + Into<Score>>(scores: &[S], (low, high): (f32, f32), bins: NonZeroUsize) -> Self {
        let bins = bins.get();
        let mut histogram = Self {
            low,
            high,
            counts: vec![0; bins],
            below: 0,
            above: 0,
            not_numbers: 0,
        };
        // In f64, where the width of any two f32 is finite.
        let width = f64::from(high) - f64::from(low);
        for score in scores {
            let x = Into::<Score>::into(*score).dot_product();
            if x.is_nan() {
                histogram.not_numbers += 1;
            } else if x < low {
                histogram.below += 1;
            } else if x > high {
                histogram.above += 1;
            } else {
                let place = (f64::from(x) - f64::from(low)) / width * bins as f64;
                // A width of zero gives NaN, which becomes bin 0.
                let bin = if x == high {
                    bins - 1
                } else {
                    (place as usize).min(bins - 1)
                };
                histogram.counts[bin] += 1;
            }
        }
        histogram
    }
}

/// The smallest and the largest finite score of all the sets; `None` when there is none.
pub fn score_range<S: Copy + Into<Score>>(sets: &[&[S]]) -> Option<(f32, f32)> {
    let scores = sets
        .iter()
        .flat_map(|set| set.iter())
        .map(|s| Into::<Score>::into(*s).dot_product());
    scores
        .filter(|x| x.is_finite())
        .fold(None, |range, x| match range {
            None => Some((x, x)),
            Some((low, high)) => Some((low.min(x), high.max(x))),
        })
}

/// Equal scores, counted by side.
struct Group {
    score: Score,
    normal: usize,
    anomalous: usize,
}

/// All scores from most suspicious to most normal, equal ones together; `None` when either side is empty or any score is
/// not a number.
fn groups<S: Copy + Into<Score>>(normal: &[S], anomalous: &[S]) -> Option<Vec<Group>> {
    if normal.is_empty() || anomalous.is_empty() {
        return None;
    }
    let label = |is_normal| move |s: &S| (Into::<Score>::into(*s), is_normal);
    let mut rows: Vec<(Score, bool)> = normal
        .iter()
        .map(label(true))
        .chain(anomalous.iter().map(label(false)))
        .collect();
    if rows.iter().any(|(score, _)| score.dot_product().is_nan()) {
        return None;
    }
    rows.sort_unstable_by(|a, b| a.0.cmp_normality(b.0));
    let same = rows.chunk_by(|a, b| a.0.cmp_normality(b.0).is_eq());
    let group = |same: &[(Score, bool)]| {
        let normal = same.iter().filter(|(_, is_normal)| *is_normal).count();
        Group {
            score: same[0].0,
            normal,
            anomalous: same.len() - normal,
        }
    };
    Some(same.map(group).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn auc_by_hand() {
        let cases: [(&[f32], &[f32], f64); 8] = [
            (&[1.0], &[0.0], 1.0),
            (&[0.0], &[1.0], 0.0),
            (&[0.0], &[0.0], 0.5),
            (&[0.0], &[-0.0], 0.5),
            (&[1.0, 2.0, 3.0], &[0.0, 1.5], 5.0 / 6.0),
            (&[1.0, 1.0], &[1.0, 1.0, 0.0], 4.0 / 6.0),
            (&[f32::INFINITY, 0.0], &[f32::NEG_INFINITY], 1.0),
            (&[-0.302, -0.329], &[-0.399, -0.652, -0.074], 4.0 / 6.0),
        ];
        for (normal, anomalous, want) in cases {
            assert_eq!(
                auc(normal, anomalous),
                Some(want),
                "{normal:?} against {anomalous:?}"
            );
        }
    }

    #[test]
    fn auc_of_nothing_is_nothing() {
        assert_eq!(auc::<f32>(&[], &[1.0]), None);
        assert_eq!(auc::<f32>(&[1.0], &[]), None);
        assert_eq!(auc(&[1.0, f32::NAN], &[1.0]), None);
        assert_eq!(roc(&[1.0], &[f32::NAN]), None);
        assert_eq!(recall_at::<f32>(&[], &[], 0.5), None);
    }

    #[test]
    fn roc_by_hand() {
        let points = roc(&[1.0, 2.0, 3.0, 3.0], &[0.0, 2.0]).unwrap();
        let plain: Vec<_> = points
            .iter()
            .map(|p| (p.threshold.dot_product(), p.false_positive_rate, p.recall))
            .collect();
        let want = [
            (0.0, 0.0, 0.0),
            (1.0, 0.0, 0.5),
            (2.0, 0.25, 0.5),
            (3.0, 0.5, 1.0),
            (f32::INFINITY, 1.0, 1.0),
        ];
        assert_eq!(plain, want);
    }

    #[test]
    fn recall_by_hand() {
        let (normal, anomalous) = ([1.0, 2.0, 3.0, 3.0], [0.0, 2.0]);
        for (rate, want) in [
            (-1.0, 0.0),
            (0.0, 0.5),
            (0.25, 0.5),
            (0.49, 0.5),
            (0.5, 1.0),
            (1.0, 1.0),
        ] {
            assert_eq!(recall_at(&normal, &anomalous, rate), Some(want), "{rate}");
        }
    }

    #[test]
    fn precision_by_hand() {
        let (normal, anomalous) = ([1.0, 2.0, 3.0, 3.0], [0.0, 2.0]);
        let points = precision_recall(&normal, &anomalous).unwrap();
        let plain: Vec<_> = points
            .iter()
            .map(|p| (p.threshold.dot_product(), p.recall, p.precision))
            .collect();
        let want = [
            (1.0, 0.5, 1.0),
            (2.0, 0.5, 0.5),
            (3.0, 1.0, 0.5),
            (f32::INFINITY, 1.0, 1.0 / 3.0),
        ];
        assert_eq!(plain, want);
        assert_eq!(
            average_precision(&normal, &anomalous),
            Some(0.5 * 1.0 + 0.5 * 0.5)
        );
        assert_eq!(average_precision::<f32>(&normal, &[]), None);
    }

    #[test]
    fn histogram_by_hand() {
        let scores = [-1.0, 0.0, 0.9, 1.0, 2.0, 3.9, 4.0, 4.1, f32::NAN, f32::INFINITY];
        let histogram = Histogram::new(&scores, (0.0, 4.0), NonZeroUsize::new(4).unwrap());
        assert_eq!(histogram.counts, [2, 1, 1, 2]);
        assert_eq!(
            (histogram.below, histogram.above, histogram.not_numbers),
            (1, 2, 1)
        );

        let flat = Histogram::new(&[5.0, 5.0], (5.0, 5.0), NonZeroUsize::new(3).unwrap());
        assert_eq!(flat.counts, [0, 0, 2]);

        assert_eq!(score_range(&[&scores, &[-7.0]]), Some((-7.0, 4.1)));
        assert_eq!(score_range::<f32>(&[&[], &[f32::NAN]]), None);
    }

    /// Few distinct values, so that there are ties.
    fn tied_scores() -> impl Strategy<Value = Vec<f32>> {
        prop::collection::vec((-8i8..8).prop_map(f32::from), 1..60)
    }

    proptest! {
        #[test]
        fn auc_is_the_share_of_pairs_in_order(normal in tied_scores(), anomalous in tied_scores()) {
            let mut wins = 0.0;
            for n in &normal {
                for a in &anomalous {
                    wins += if n > a { 1.0 } else if n == a { 0.5 } else { 0.0 };
                }
            }
            let want = wins / (normal.len() * anomalous.len()) as f64;
            prop_assert_eq!(auc(&normal, &anomalous), Some(want));
            let swapped = auc(&anomalous, &normal).unwrap();
            prop_assert!((swapped + want - 1.0).abs() < 1e-12);
        }

        #[test]
        fn auc_is_the_area_under_the_curve(normal in tied_scores(), anomalous in tied_scores()) {
            let points = roc(&normal, &anomalous).unwrap();
            let area: f64 = points
                .windows(2)
                .map(|p| {
                    (p[1].false_positive_rate - p[0].false_positive_rate) * (p[0].recall + p[1].recall) / 2.0
                })
                .sum();
            prop_assert!((area - auc(&normal, &anomalous).unwrap()).abs() < 1e-12);
        }

        #[test]
        fn a_point_is_what_its_threshold_flags(normal in tied_scores(), anomalous in tied_scores()) {
            for point in roc(&normal, &anomalous).unwrap() {
                let share = |scores: &[f32]| {
                    let flagged = scores.iter().filter(|s| **s < point.threshold.dot_product()).count();
                    flagged as f64 / scores.len() as f64
                };
                prop_assert_eq!(point.false_positive_rate, share(&normal));
                prop_assert_eq!(point.recall, share(&anomalous));
            }
        }

        #[test]
        fn every_score_is_counted_once(scores in prop::collection::vec(any::<f32>(), 0..50), bins in 1usize..9) {
            let range = score_range(&[&scores]).unwrap_or((0.0, 1.0));
            let h = Histogram::new(&scores, range, NonZeroUsize::new(bins).unwrap());
            prop_assert_eq!(h.counts.iter().sum::<usize>() + h.below + h.above + h.not_numbers, scores.len());
        }
    }
}
