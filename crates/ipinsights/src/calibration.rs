//! Where to draw the line, for a stated rate of false alarms.
//!
//! The scale of the scores depends on the data and on how long the model was trained, so no fixed number serves. What can
//! be stated is a rate: of pairs like the held-out ones, at most this share is flagged. The threshold for it is an order
//! statistic of the held-out scores (split conformal prediction): with `n` rows, the `floor(rate * (n + 1))`-th smallest.
//! The guarantee holds for any model and any distribution, as long as the held-out rows were not trained on and later
//! normal rows are like them.

use serde::{Deserialize, Serialize};

use crate::Score;
use crate::interval::{self, Interval};

/// The score below which a pair is called anomalous, and what is promised of it.
///
/// It can be stored: as JSON it is `{"value": -0.5, "false_positive_rate": 0.05, "rows": 250}`, and reading it checks
/// the same things as calibrating does.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Stored")]
pub struct Threshold {
    value: Score,             // INVARIANT: finite.
    false_positive_rate: f64, // INVARIANT: strictly between 0 and 1.
    rows: usize,              // INVARIANT: enough for the rate, see `rank`.
}

impl Threshold {
    /// The threshold at which at most `false_positive_rate` of normal rows is flagged, from scores of normal rows that
    /// the model was not trained on.
    ///
    /// The rate lies strictly between 0 and 1 and is never exceeded on `held_out` itself either; where scores are tied at
    /// the threshold, none of them is flagged.
    ///
    /// # Errors
    ///
    /// When the rate is out of range, when a score is not finite, and when there are too few rows to promise the rate:
    /// [`CalibrationError::TooFewRows`] says how many it takes.
    ///
    /// ```
    /// use ipinsights::{Score, Threshold};
    ///
    /// let held_out: Vec<Score> = (1..=99).map(|i| Score::new(i as f32)).collect();
    /// let threshold = Threshold::calibrate(&held_out, 0.05)?;
    /// assert_eq!(threshold.value(), Score::new(5.0));
    /// assert!(threshold.is_anomalous(Score::new(4.9)));
    /// assert!(!threshold.is_anomalous(Score::new(5.0)));
    ///
    /// let too_few = Threshold::calibrate(&held_out, 0.001).unwrap_err();
    /// assert_eq!(
    ///     too_few.to_string(),
    ///     "99 held-out rows are too few for a false-positive rate of 0.001: it takes at least 999"
    /// );
    /// # Ok::<(), ipinsights::CalibrationError>(())
    /// ```
    pub fn calibrate(held_out: &[Score], false_positive_rate: f64) -> Result<Self, CalibrationError> {
        Calibration::new(held_out)?.threshold(false_positive_rate)
    }

    /// The score at the line; scores strictly below it are anomalous.
    pub const fn value(&self) -> Score {
        self.value
    }

    /// The stated rate: at most this share of normal rows is flagged.
    pub const fn false_positive_rate(&self) -> f64 {
        self.false_positive_rate
    }

    /// How many held-out rows it was calibrated on.
    pub const fn rows(&self) -> usize {
        self.rows
    }

    /// Whether this score is called anomalous: it lies strictly below the threshold, or is not a number.
    pub fn is_anomalous(&self, score: Score) -> bool {
        score.cmp_normality(self.value).is_lt()
    }
}

/// Scores of held-out normal rows, kept so that any score can be placed among them.
///
/// ```
/// use ipinsights::{Calibration, Score};
///
/// let held_out: Vec<Score> = (1..=99).map(|i| Score::new(i as f32)).collect();
/// let calibration = Calibration::new(&held_out)?;
/// assert_eq!(calibration.p_value(Score::new(0.0)), 0.01); // more suspicious than all of them
/// assert_eq!(calibration.percentile(Score::new(50.0)), 50.0);
/// # Ok::<(), ipinsights::CalibrationError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Calibration {
    ascending: Vec<Score>, // INVARIANT: all finite, from most suspicious to most normal, at least one.
}

impl Calibration {
    /// Takes scores of normal rows that the model was not trained on.
    ///
    /// # Errors
    ///
    /// When there are none, or one is not finite.
    pub fn new(held_out: &[Score]) -> Result<Self, CalibrationError> {
        if let Some(index) = held_out.iter().position(|s| !s.dot_product().is_finite()) {
            return Err(CalibrationError::NotFinite {
                row: index + 1,
                score: held_out[index].dot_product(),
            });
        }
        if held_out.is_empty() {
            return Err(CalibrationError::NoRows);
        }
        let mut ascending = held_out.to_vec();
        ascending.sort_unstable_by(|a, b| a.cmp_normality(*b));
        Ok(Self { ascending })
    }

    /// The threshold at which at most `false_positive_rate` of normal rows is flagged; see [`Threshold::calibrate`].
    ///
    /// # Errors
    ///
    /// When the rate is not strictly between 0 and 1, or there are too few rows to promise it.
    pub fn threshold(&self, false_positive_rate: f64) -> Result<Threshold, CalibrationError> {
        let rows = self.rows();
        let rank = rank(rows, false_positive_rate)?;
        Ok(Threshold {
            value: self.ascending[rank - 1],
            false_positive_rate,
            rows,
        })
    }

    /// How sure the threshold for this rate is, both ways; see [`ThresholdInterval`].
    ///
    /// # Errors
    ///
    /// As [`threshold`](Self::threshold); and when `confidence` is not strictly between 0 and 1.
    ///
    /// ```
    /// use ipinsights::{Calibration, Score};
    ///
    /// let held_out: Vec<Score> = (1..=999).map(|i| Score::new(i as f32)).collect();
    /// let interval = Calibration::new(&held_out)?.threshold_interval(0.05, 0.95)?;
    /// assert_eq!((interval.low, interval.high), (Some(Score::new(37.0)), Some(Score::new(65.0))));
    /// let rate = interval.false_positive_rate;
    /// assert!(0.037 < rate.low && rate.low < 0.038 && 0.064 < rate.high && rate.high < 0.065);
    /// # Ok::<(), ipinsights::CalibrationError>(())
    /// ```
    pub fn threshold_interval(
        &self,
        false_positive_rate: f64,
        confidence: f64,
    ) -> Result<ThresholdInterval, CalibrationError> {
        let rows = self.rows();
        let rank = rank(rows, false_positive_rate)?;
        check_confidence(confidence)?;
        let (low, high) = interval::quantile_ranks(rows, false_positive_rate, confidence);
        let at = |rank: usize| rank.checked_sub(1).and_then(|i| self.ascending.get(i)).copied();
        Ok(ThresholdInterval {
            low: at(low),
            high: at(high),
            false_positive_rate: interval::share_below(rank, rows, confidence),
        })
    }

    /// A threshold at which the rate is kept with this confidence, whatever rows were held out, instead of on average over
    /// them: the largest order statistic that Wilks' tolerance limit allows. It is never above that of
    /// [`threshold`](Self::threshold) by more than rounding, and takes more rows.
    ///
    /// # Errors
    ///
    /// As [`threshold_interval`](Self::threshold_interval).
    pub fn threshold_with_confidence(
        &self,
        false_positive_rate: f64,
        confidence: f64,
    ) -> Result<Threshold, CalibrationError> {
        let threshold = self.threshold(false_positive_rate)?;
        check_confidence(confidence)?;
        match interval::cautious_rank(self.rows(), false_positive_rate, confidence) {
            0 => Err(CalibrationError::TooFewRows {
                rows: self.rows(),
                false_positive_rate,
                // The smallest of n draws is below the quantile with 1 - (1 - rate)^n.
                least: (libm::log1p(-confidence) / libm::log1p(-false_positive_rate)).ceil() as usize,
            }),
            rank => Ok(Threshold {
                value: self.ascending[rank - 1],
                ..threshold
            }),
        }
    }

    /// The held-out scores, from most suspicious to most normal.
    pub fn ascending(&self) -> &[Score] {
        &self.ascending
    }

    /// How many held-out rows there are; at least one.
    pub fn rows(&self) -> usize {
        self.ascending.len()
    }

    /// The probability, at most, that a normal row is as suspicious as this score or more: above 0 and up to 1.
    ///
    /// A score is anomalous by the threshold of some rate exactly when its p-value is at most that rate.
    pub fn p_value(&self, score: Score) -> f64 {
        let at_most = self.ascending.partition_point(|s| s.cmp_normality(score).is_le());
        (at_most + 1) as f64 / (self.rows() + 1) as f64
    }

    /// The place of this score among the held-out ones, from 0 (below all) to 100 (above all); equal ones count half.
    pub fn percentile(&self, score: Score) -> f64 {
        let below = self.ascending.partition_point(|s| s.cmp_normality(score).is_lt());
        let at_most = self.ascending.partition_point(|s| s.cmp_normality(score).is_le());
        50.0 * (below + at_most) as f64 / self.rows() as f64
    }
}

/// How sure a threshold is.
///
/// Other held-out rows of the same kind would have given another threshold. These are exact, for any distribution of scores:
/// see [`interval`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ThresholdInterval {
    /// The score at which the rate would truly be reached is at least this; nothing where the rows cannot say.
    pub low: Option<Score>,
    /// And at most this; nothing where the rows cannot say.
    pub high: Option<Score>,
    /// The rate of false alarms that the threshold will truly have.
    pub false_positive_rate: Interval,
}

/// Why there is no threshold.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CalibrationError {
    /// The rate is not one.
    #[error("a false-positive rate must lie strictly between 0 and 1, got {0}")]
    InvalidRate(f64),
    /// The confidence is none.
    #[error("a confidence must lie strictly between 0 and 1, got {0}")]
    InvalidConfidence(f64),
    /// More rows than can be kept with a model.
    #[error(
        "{rows} held-out rows are more than are kept with a model: take at most {most} of them, at random"
    )]
    TooManyRows {
        /// How many rows there are.
        rows: usize,
        /// How many there may be.
        most: usize,
    },
    /// There is nothing to calibrate on.
    #[error("there are no held-out rows to calibrate on")]
    NoRows,
    /// So few rows cannot support so small a rate.
    #[error(
        "{rows} held-out rows are too few for a false-positive rate of {false_positive_rate}: \
         it takes at least {least}"
    )]
    TooFewRows {
        /// How many rows there are.
        rows: usize,
        /// The rate asked for.
        false_positive_rate: f64,
        /// The least number of rows that supports the rate.
        least: usize,
    },
    /// A score is infinite or not a number: the model diverged.
    #[error("the score of held-out row {row} is {score}; the model has probably diverged")]
    NotFinite {
        /// One-based.
        row: usize,
        /// What it is instead of a finite number.
        score: f32,
    },
}

fn check_confidence(confidence: f64) -> Result<(), CalibrationError> {
    if confidence > 0.0 && confidence < 1.0 {
        return Ok(());
    }
    Err(CalibrationError::InvalidConfidence(confidence))
}

/// Which of `rows` ascending scores is the threshold, one-based.
fn rank(rows: usize, rate: f64) -> Result<usize, CalibrationError> {
    if !(rate > 0.0 && rate < 1.0) {
        return Err(CalibrationError::InvalidRate(rate));
    }
    match floor_product(rate, rows) {
        0 => {
            // `ceil(1 / rate) - 1` up to rounding: one of three numbers, however small the rate.
            let most = (1.0 / rate).ceil() as usize;
            let candidates = [most.saturating_sub(2), most.saturating_sub(1)];
            let least = candidates
                .into_iter()
                .find(|&rows| floor_product(rate, rows) >= 1)
                .unwrap_or(most);
            Err(CalibrationError::TooFewRows {
                rows,
                false_positive_rate: rate,
                least,
            })
        }
        rank => Ok(rank.min(rows)),
    }
}

/// `floor(rate * (rows + 1))` for the rate as it was written: 0.29 of 100 is 29, though the nearest `f64` is a little less.
fn floor_product(rate: f64, rows: usize) -> usize {
    let product = rate * (rows as f64 + 1.0);
    let nearest = product.round();
    if (product - nearest).abs() <= 1e-9 * nearest {
        nearest as usize
    } else {
        product.floor() as usize
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    value: f32,
    false_positive_rate: f64,
    rows: usize,
}

impl TryFrom<Stored> for Threshold {
    type Error = CalibrationError;

    fn try_from(stored: Stored) -> Result<Self, Self::Error> {
        let Stored {
            value,
            false_positive_rate,
            rows,
        } = stored;
        if !value.is_finite() {
            return Err(CalibrationError::NotFinite { row: 1, score: value });
        }
        rank(rows, false_positive_rate)?;
        Ok(Self {
            value: Score::new(value),
            false_positive_rate,
            rows,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scores(values: impl IntoIterator<Item = f32>) -> Vec<Score> {
        values.into_iter().map(Score::new).collect()
    }

    #[test]
    fn the_order_statistic_is_exact() {
        // (rows, rate, which of 1.0, 2.0, … is the threshold)
        let cases = [
            (9, 0.1, 1.0),
            (99, 0.05, 5.0),
            (99, 0.29, 29.0),
            (99, 0.07, 7.0),
            (100, 0.05, 5.0),
            (118, 0.05, 5.0),
            (119, 0.05, 6.0),
            (250, 0.05, 12.0),
            (1, 0.5, 1.0),
            (3, 0.999, 3.0),
        ];
        for (rows, rate, want) in cases {
            // Shuffled by a stride that is coprime to every count above.
            let held_out = scores((0..rows).map(|i| ((i * 101) % rows + 1) as f32));
            let threshold = Threshold::calibrate(&held_out, rate).unwrap();
            assert_eq!(threshold.value(), Score::new(want), "{rows} rows at {rate}");
            assert_eq!((threshold.rows(), threshold.false_positive_rate()), (rows, rate));
        }
    }

    #[test]
    fn ties_at_the_threshold_are_not_flagged() {
        let held_out = scores([0.0; 50].into_iter().chain([1.0; 49]));
        let threshold = Threshold::calibrate(&held_out, 0.1).unwrap();
        assert!(held_out.iter().all(|s| !threshold.is_anomalous(*s)));
        assert!(threshold.is_anomalous(Score::new(-f32::MIN_POSITIVE)));
        assert!(threshold.is_anomalous(Score::new(f32::NAN)));
        assert!(Score::new(-1.0).is_below(&threshold));
    }

    #[test]
    fn too_few_rows_name_the_least_number() {
        for (rate, least) in [
            (0.05, 19),
            (0.1, 9),
            (0.01, 99),
            (0.3, 3),
            (0.5, 1),
            (1.0 / 3.0, 2),
            (1e-6, 999_999),
        ] {
            let error = Threshold::calibrate(&scores((1..least).map(|i| i as f32)), rate).unwrap_err();
            let want = if least == 1 {
                CalibrationError::NoRows
            } else {
                CalibrationError::TooFewRows {
                    rows: least - 1,
                    false_positive_rate: rate,
                    least,
                }
            };
            assert_eq!(error, want);
            assert!(
                Threshold::calibrate(&scores((0..least).map(|i| i as f32)), rate).is_ok(),
                "{rate}"
            );
        }
    }

    #[test]
    fn what_cannot_be_calibrated_on_is_refused() {
        let one = scores([1.0]);
        for rate in [0.0, 1.0, -0.1, 1.1, f64::NAN, f64::INFINITY] {
            assert!(
                matches!(
                    Threshold::calibrate(&one, rate),
                    Err(CalibrationError::InvalidRate(_))
                ),
                "{rate}"
            );
        }
        assert_eq!(Threshold::calibrate(&[], 0.5), Err(CalibrationError::NoRows));
        assert_eq!(
            Threshold::calibrate(&scores([1.0, f32::INFINITY]), 0.5),
            Err(CalibrationError::NotFinite {
                row: 2,
                score: f32::INFINITY
            })
        );
        // The least number for a rate this small does not fit any machine, and saying so takes no time.
        assert!(matches!(
            Threshold::calibrate(&one, 1e-300),
            Err(CalibrationError::TooFewRows { .. })
        ));
    }

    #[test]
    fn a_stored_threshold_is_checked_when_read() {
        let threshold = Threshold::calibrate(&scores((0..99).map(|i| i as f32 / 7.0)), 0.05).unwrap();
        let json = serde_json::to_string(&threshold).unwrap();
        assert_eq!(
            json,
            r#"{"value":0.5714286,"false_positive_rate":0.05,"rows":99}"#
        );
        assert_eq!(serde_json::from_str::<Threshold>(&json).unwrap(), threshold);

        let refused = [
            (
                r#"{"value":1.0,"false_positive_rate":1.5,"rows":99}"#,
                "strictly between 0 and 1, got 1.5",
            ),
            (
                r#"{"value":1.0,"false_positive_rate":0.01,"rows":9}"#,
                "it takes at least 99",
            ),
            (
                r#"{"value":1e99,"false_positive_rate":0.1,"rows":9}"#,
                "out of range",
            ),
            (
                r#"{"value":1.0,"false_positive_rate":0.1,"row":9}"#,
                "unknown field `row`",
            ),
        ];
        for (json, want) in refused {
            let error = serde_json::from_str::<Threshold>(json).unwrap_err().to_string();
            assert!(error.contains(want), "{error}");
        }
    }

    #[test]
    fn percentile_counts_equal_scores_half() {
        let calibration = Calibration::new(&scores([3.0, 1.0, 2.0, 2.0])).unwrap();
        for (score, want) in [(0.0, 0.0), (1.0, 12.5), (2.0, 50.0), (2.5, 75.0), (9.0, 100.0)] {
            assert_eq!(calibration.percentile(Score::new(score)), want, "{score}");
        }
        for (score, want) in [(0.0, 0.2), (1.0, 0.4), (2.0, 0.8), (3.0, 1.0)] {
            assert_eq!(calibration.p_value(Score::new(score)), want, "{score}");
        }
    }

    proptest! {
        #[test]
        fn the_stated_rate_is_never_exceeded(
            // Few distinct values, so that there are ties.
            values in prop::collection::vec(-20i8..20, 1..300),
            rate in 0.001..0.999f64,
            probe in -25i8..25,
        ) {
            let held_out = scores(values.iter().map(|v| f32::from(*v)));
            let calibration = Calibration::new(&held_out).unwrap();
            if let Ok(threshold) = calibration.threshold(rate) {
                let flagged = held_out.iter().filter(|s| threshold.is_anomalous(**s)).count();
                prop_assert!(flagged as f64 <= rate * held_out.len() as f64);
                let probe = Score::new(f32::from(probe));
                prop_assert_eq!(threshold.is_anomalous(probe), calibration.p_value(probe) <= rate);
            }
        }
    }

    #[test]
    fn a_confident_threshold_is_the_lower() {
        let held_out = Calibration::new(&scores((1..=93).map(|i| i as f32))).unwrap();
        let cautious = held_out.threshold_with_confidence(0.05, 0.95).unwrap();
        assert_eq!(cautious.value(), Score::new(2.0));
        assert_eq!(held_out.threshold(0.05).unwrap().value(), Score::new(4.0));
        // A stored one reads back.
        let json = serde_json::to_string(&cautious).unwrap();
        assert_eq!(serde_json::from_str::<Threshold>(&json).unwrap(), cautious);

        let few = Calibration::new(&scores((1..=58).map(|i| i as f32))).unwrap();
        let error = few.threshold_with_confidence(0.05, 0.95).unwrap_err().to_string();
        assert!(error.contains("it takes at least 59"), "{error}");
        for confidence in [0.0, 1.0, f64::NAN] {
            let error = held_out.threshold_interval(0.05, confidence).unwrap_err();
            assert!(matches!(error, CalibrationError::InvalidConfidence(_)));
            assert!(held_out.threshold_with_confidence(0.05, confidence).is_err());
        }
    }

    #[test]
    fn few_rows_leave_the_threshold_open() {
        let held_out = Calibration::new(&scores((1..=19).map(|i| i as f32))).unwrap();
        let interval = held_out.threshold_interval(0.05, 0.95).unwrap();
        // P(no draw below) = 0.377, so below there is no bound.
        assert_eq!((interval.low, interval.high), (None, Some(Score::new(4.0))));
        // Beta(1, 19): 1 - 0.975^(1/19) and 1 - 0.025^(1/19).
        let rate = interval.false_positive_rate;
        assert!((rate.low - 0.001_331_6).abs() < 1e-7, "{rate:?}");
        assert!((rate.high - 0.176_466_912).abs() < 1e-8, "{rate:?}");
    }

    #[test]
    fn the_smallest_rates_are_refused_at_once() {
        let rows = vec![Score::new(0.0); 10];
        for rate in [1e-9, 1e-18, 5.6e-20, f64::MIN_POSITIVE] {
            let error = Threshold::calibrate(&rows, rate).unwrap_err();
            assert!(
                matches!(error, CalibrationError::TooFewRows { least, .. } if least >= 999_999_998),
                "{error}"
            );
        }
    }
}
