//! How well scores tell normal pairs from anomalous ones.

use crate::Score;

/// The area under the ROC curve: the probability that a random normal pair scores higher than a random anomalous one.
///
/// A tie counts half. 1 is a perfect order, 0.5 is guessing, 0 is a perfect order the wrong way round. `None` when either
/// side is empty or holds a NaN, because then there is no such probability.
///
/// The sums are exact, so the answer does not depend on the order of the rows. Takes O(n log n).
///
/// ```
/// use ipinsights::evaluation::auc;
///
/// // Of the 3 x 2 pairs, 4 are in order and 1 is a tie.
/// assert_eq!(auc(&[3.0, 2.0, 1.0], &[2.0, 0.5]), Some(4.5 / 6.0));
/// assert_eq!(auc::<f32>(&[3.0], &[]), None);
/// ```
pub fn auc<S: Copy + Into<Score>>(normal: &[S], anomalous: &[S]) -> Option<f64> {
    let groups = Groups::new(normal, anomalous)?;
    // Twice the number of pairs in order, so that a tie counts a whole one.
    let mut doubled: u128 = 0;
    let mut anomalous_below: u128 = 0;
    for group in &groups.ascending {
        doubled += group.normal as u128 * (2 * anomalous_below + group.anomalous as u128);
        anomalous_below += group.anomalous as u128;
    }
    let pairs = normal.len() as u128 * anomalous.len() as u128;
    Some(doubled as f64 / (2 * pairs) as f64)
}

/// All scores from most suspicious to most normal, equal ones together.
struct Groups {
    ascending: Vec<Group>,
}

struct Group {
    score: Score,
    normal: usize,
    anomalous: usize,
}

impl Groups {
    /// `None` when either side is empty or any score is not a number.
    fn new<S: Copy + Into<Score>>(normal: &[S], anomalous: &[S]) -> Option<Self> {
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
        let ascending = rows
            .chunk_by(|a, b| a.0.cmp_normality(b.0).is_eq())
            .map(|same| {
                let normal = same.iter().filter(|(_, is_normal)| *is_normal).count();
                Group {
                    score: same[0].0,
                    normal,
                    anomalous: same.len() - normal,
                }
            })
            .collect();
        Some(Self { ascending })
    }
}
