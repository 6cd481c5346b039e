//! The test that everybody publishes: its rows, and how well and how fast the engine does on them.

pub(crate) mod data;
mod peers;
pub(crate) mod train;

use ipinsights::Score;

/// The share of attacks that score below all but `rate` of the normal rows.
pub(crate) fn recall_at(normal: &[Score], attack: &[Score], rate: f64) -> f64 {
    let mut sorted: Vec<f32> = normal.iter().map(|score| score.dot_product()).collect();
    sorted.sort_unstable_by(f32::total_cmp);
    let Some(line) = sorted.get((sorted.len() as f64 * rate) as usize) else {
        return 0.0;
    };
    let found = attack.iter().filter(|score| score.dot_product() < *line).count();
    found as f64 / attack.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recall_by_hand() {
        let scores = |range: std::ops::Range<i32>| range.map(|s| Score::new(s as f32)).collect::<Vec<_>>();
        // One of a hundred may be flagged: the line is the second lowest, 1.
        assert_eq!(recall_at(&scores(0..100), &scores(-3..7), 0.01), 0.4);
        assert_eq!(recall_at(&[], &scores(0..2), 0.01), 0.0);
    }
}
