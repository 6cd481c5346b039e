//! How sure a share or an order statistic is: exact intervals from the binomial distribution.
//!
//! Sources: C. J. Clopper and E. S. Pearson, "The use of confidence or fiducial limits illustrated in the case of the
//! binomial", Biometrika 26 (1934), for shares; H. A. David and H. N. Nagaraja, *Order Statistics*, 3rd edition, section 7.1,
//! for quantiles between order statistics; S. S. Wilks, "Determination of sample sizes for setting tolerance limits", Annals
//! of Mathematical Statistics 12 (1941), for a limit that holds with a stated confidence.
//!
//! The binomial tail is summed term by term from its largest term on, which stays exact for any number of rows. The incomplete
//! beta function of `statrs` 0.19 ends its continued fraction after 140 steps: at 20 million rows its second digit is wrong.

use serde::{Deserialize, Serialize};

/// An interval that holds the true value with at least the stated confidence.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Interval {
    /// Its lower end.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
    /// How often, at least, such an interval holds the true value: strictly between 0 and 1.
    pub confidence: f64,
}

/// The share that `hits` of `rows` independent rows come from, by Clopper and Pearson: at least as sure as it says, whatever
/// the share.
///
/// `None` when there are no rows, more hits than rows, or the confidence is not strictly between 0 and 1.
///
/// ```
/// use ipinsights::interval::share;
///
/// let interval = share(1, 10, 0.95).unwrap();
/// assert!((interval.low - 0.002529).abs() < 1e-6 && (interval.high - 0.445016).abs() < 1e-6);
/// // No hit among n rows: the rule of three says about 3 / n, one-sided.
/// assert_eq!(share(0, 10, 0.95).unwrap().low, 0.0);
/// ```
pub fn share(hits: usize, rows: usize, confidence: f64) -> Option<Interval> {
    if rows == 0 || hits > rows || !(confidence > 0.0 && confidence < 1.0) {
        return None;
    }
    let side = (1.0 - confidence) / 2.0;
    Some(Interval {
        low: beta_quantile(hits, rows, side),
        high: match hits == rows {
            true => 1.0,
            false => beta_quantile(hits + 1, rows, 1.0 - side),
        },
        confidence,
    })
}

/// The share of a distribution that lies below the `rank`-th smallest of `rows` draws from it: within this interval, with
/// this confidence. For a distribution with ties it is the share strictly below, at most.
///
/// The share is distributed as Beta(rank, rows + 1 - rank).
pub(crate) fn share_below(rank: usize, rows: usize, confidence: f64) -> Interval {
    let side = (1.0 - confidence) / 2.0;
    Interval {
        low: beta_quantile(rank, rows, side),
        high: beta_quantile(rank, rows, 1.0 - side),
        confidence,
    }
}

/// The ranks, one-based, of the order statistics of `rows` draws that hold the quantile of `share` between them with at least
/// this confidence. 0 and `rows + 1` stand for the ends of the line.
pub(crate) fn quantile_ranks(rows: usize, share: f64, confidence: f64) -> (usize, usize) {
    let side = (1.0 - confidence) / 2.0;
    // The quantile lies below the rank-th draw exactly when fewer than `rank` draws lie below it.
    // Largest rank with P(at most rank - 1 below) <= side.
    let low = last_true(rows, |rank| 1.0 - at_least(rank, rows, share) <= side);
    // Smallest rank with P(at least rank below) <= side, or the end of the line.
    let high = last_true(rows, |rank| at_least(rank, rows, share) > side) + 1;
    (low, high)
}

/// The largest rank for which the share below the draw of that rank is at most `share` with this confidence; 0 for none.
pub(crate) fn cautious_rank(rows: usize, share: f64, confidence: f64) -> usize {
    last_true(rows, |rank| at_least(rank, rows, share) >= confidence)
}

/// The largest number from 1 to `last` for which `holds`, which it does up to some number and then no more; 0 for none.
fn last_true(last: usize, holds: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, last + 1);
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if holds(middle) {
            low = middle
        } else {
            high = middle
        }
    }
    low
}

/// The `p` with P(at least `hits` of `rows` | p) = `tail`: the quantile of Beta(hits, rows + 1 - hits). 0 for no hits.
fn beta_quantile(hits: usize, rows: usize, tail: f64) -> f64 {
    if hits == 0 {
        return 0.0;
    }
    let (mut low, mut high) = (0.0, 1.0);
    // Every step halves the interval, until there is no float between the ends; it takes at most some 1,100 for the smallest.
    for _ in 0..2_000 {
        let middle = low + (high - low) / 2.0;
        if middle <= low || middle >= high || high - low < 1e-15 * low {
            break;
        }
        if at_least(hits, rows, middle) < tail {
            low = middle;
        } else {
            high = middle;
        }
    }
    low + (high - low) / 2.0
}

/// The probability that at least `hits` of `rows` independent rows hit, where each does with probability `p`.
fn at_least(hits: usize, rows: usize, p: f64) -> f64 {
    if hits == 0 || p >= 1.0 {
        return 1.0;
    }
    if hits > rows || p <= 0.0 {
        return 0.0;
    }
    let odds = p / (1.0 - p);
    // Away from the mean, so that the terms fall from the first on.
    if hits as f64 > rows as f64 * p {
        let ratio = |k: usize| (rows - k) as f64 / (k + 1) as f64 * odds;
        term(hits, rows, p) * sum_of_ratios((hits..rows).map(ratio))
    } else {
        let ratio = |k: usize| k as f64 / (rows - k + 1) as f64 / odds;
        1.0 - term(hits - 1, rows, p) * sum_of_ratios((1..hits).rev().map(ratio))
    }
}

/// `1 + r0 + r0 r1 + …`, until a term no longer counts.
fn sum_of_ratios(ratios: impl Iterator<Item = f64>) -> f64 {
    let (mut sum, mut term) = (1.0, 1.0);
    for ratio in ratios {
        term *= ratio;
        sum += term;
        if term < 1e-18 * sum {
            break;
        }
    }
    sum
}

/// The probability of exactly `hits` of `rows`, by the saddle-point form, which loses no digits however many rows there are:
/// C. Loader, "Fast and accurate computation of binomial probabilities", 2000.
fn term(hits: usize, rows: usize, p: f64) -> f64 {
    let (k, n) = (hits as f64, rows as f64);
    if hits == 0 {
        return libm::exp(n * libm::log1p(-p));
    }
    if hits == rows {
        return libm::exp(n * libm::log(p));
    }
    let exponent = stirling_error(n)
        - stirling_error(k)
        - stirling_error(n - k)
        - deviance(k, n * p)
        - deviance(n - k, n * (1.0 - p));
    let scale = n / (2.0 * std::f64::consts::PI * k * (n - k));
    scale.sqrt() * libm::exp(exponent)
}

/// `ln n! - ln(sqrt(2 pi n) (n / e)^n)`
fn stirling_error(n: f64) -> f64 {
    if n < 16.0 {
        let stirling = (n + 0.5) * libm::log(n) - n + 0.5 * libm::log(2.0 * std::f64::consts::PI);
        return libm::lgamma(n + 1.0) - stirling;
    }
    let square = n * n;
    (1.0 / 12.0 - (1.0 / 360.0 - (1.0 / 1260.0 - 1.0 / 1680.0 / square) / square) / square) / n
}

/// `x ln(x / mean) + mean - x`, without the cancellation where the two are close.
fn deviance(x: f64, mean: f64) -> f64 {
    let difference = x - mean;
    if difference.abs() >= 0.1 * (x + mean) {
        return x * libm::log(x / mean) - difference;
    }
    // By the series of the inverse hyperbolic tangent.
    let v = difference / (x + mean);
    let (mut sum, mut power) = (difference * v, 2.0 * x * v);
    for odd in (3..200).step_by(2) {
        power *= v * v;
        let next = sum + power / f64::from(odd);
        if next == sum {
            break;
        }
        sum = next;
    }
    sum
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// By SciPy 1.16, `beta.ppf`; the last, where SciPy is off in the eighth digit, by a sum in 40 digits.
    #[test]
    fn shares_by_clopper_and_pearson() {
        for (hits, rows, confidence, low, high) in [
            (0, 10, 0.95, 0.0, 0.308_497_107_818_760_7),
            (10, 10, 0.95, 0.691_502_892_181_239_2, 1.0),
            (1, 10, 0.95, 0.002_528_578_544_461_786_5, 0.445_016_117_028_195_4),
            (5, 10, 0.95, 0.187_086_028_447_398_55, 0.812_913_971_552_601_5),
            (81, 263, 0.95, 0.252_736_745_585_271_26, 0.367_621_922_601_351_35),
            (15, 148, 0.90, 0.063_518_448_819_350_91, 0.151_768_370_240_628_23),
            (
                5_000,
                100_000,
                0.95,
                0.048_657_255_207_270_74,
                0.051_368_920_880_580_44,
            ),
            (
                50_000,
                1_000_000,
                0.99,
                0.049_440_252_915_987_46,
                0.050_564_033_323_544_18,
            ),
            (
                999,
                1_000_000,
                0.95,
                0.000_938_032_164_462_676_9,
                0.001_062_887_171_977_134_3,
            ),
        ] {
            let got = share(hits, rows, confidence).unwrap();
            for (got, want) in [(got.low, low), (got.high, high)] {
                assert!(
                    (got - want).abs() <= 1e-11 * want,
                    "{hits} of {rows}: {got} instead of {want}"
                );
            }
        }
        for (hits, rows, confidence) in [
            (0, 0, 0.9),
            (2, 1, 0.9),
            (1, 2, 0.0),
            (1, 2, 1.0),
            (1, 2, f64::NAN),
        ] {
            assert_eq!(share(hits, rows, confidence), None);
        }
    }

    #[test]
    fn terms_add_up_to_one() {
        for (rows, p) in [
            (1, 0.3),
            (15, 0.5),
            (17, 0.9),
            (40, 0.01),
            (1_000, 0.2),
            (20_000, 0.999),
        ] {
            let sum: f64 = (0..=rows).map(|hits| term(hits, rows, p)).sum();
            assert!((sum - 1.0).abs() < 1e-12, "{rows} {p}: {sum}");
        }
    }

    #[test]
    fn tails_by_hand() {
        // Of 4 throws of a coin: 1, 15/16, 11/16, 5/16, 1/16, 0.
        for (hits, want) in [16.0, 15.0, 11.0, 5.0, 1.0, 0.0].into_iter().enumerate() {
            assert!((at_least(hits, 4, 0.5) - want / 16.0).abs() < 1e-15, "{hits}");
        }
    }

    #[test]
    fn ranks_by_hand() {
        // The median of 6 draws lies between the first and the last of them with probability 1 - 2/64 = 0.969, between the
        // second and the fifth with 1 - 2 * 7/64 = 0.781.
        assert_eq!(quantile_ranks(6, 0.5, 0.95), (1, 6));
        assert_eq!(quantile_ranks(6, 0.5, 0.969), (0, 7));
        assert_eq!(quantile_ranks(6, 0.5, 0.78), (2, 5));
        // Wilks: 59 draws are the least of which the smallest is below the 5 % quantile with 95 %.
        assert_eq!(cautious_rank(58, 0.05, 0.95), 0);
        assert_eq!(cautious_rank(59, 0.05, 0.95), 1);
        assert_eq!(cautious_rank(92, 0.05, 0.95), 1);
        assert_eq!(cautious_rank(93, 0.05, 0.95), 2);
    }

    proptest! {
        #[test]
        fn the_interval_covers(rows in 1..40usize, p in 0.01..0.99f64, confidence in 0.5..0.99f64) {
            let mass = |k| at_least(k, rows, p) - at_least(k + 1, rows, p);
            let covered: f64 = (0..=rows)
                .filter(|&k| share(k, rows, confidence).is_some_and(|i| i.low <= p && p <= i.high))
                .map(mass)
                .sum();
            prop_assert!(covered >= confidence - 1e-9, "{}", covered);
        }

        #[test]
        fn ranks_cover_their_quantile(rows in 1..200usize, p in 0.01..0.99f64, confidence in 0.5..0.99f64) {
            // The quantile is at least the low-th draw and at most the high-th exactly when low <= below < high.
            let (low, high) = quantile_ranks(rows, p, confidence);
            prop_assert!(at_least(low, rows, p) - at_least(high, rows, p) >= confidence - 1e-9);
            prop_assert!(low < high && high <= rows + 1);
        }
    }
}
