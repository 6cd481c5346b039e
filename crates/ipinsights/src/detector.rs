//! Verdicts: what a score is worth by held-out rows, and on which side of the line it lies.

use serde::{Deserialize, Serialize};

use crate::calibration::{Calibration, CalibrationError, Threshold, ThresholdInterval};
use crate::{Outcomes, Score};

/// Held-out scores with a threshold for a stated rate of false alarms: what turns a score into a [`Verdict`].
///
/// It goes with a model ([`Model::set_detector`](crate::Model::set_detector)) and is kept in its archive, and can be
/// replaced there without training anew: it has no influence on the weights.
///
/// ```
/// use ipinsights::{Detector, Score};
///
/// let held_out: Vec<Score> = (1..=99).map(|i| Score::new(i as f32)).collect();
/// let detector = Detector::calibrate(&held_out, 0.05)?;
/// let verdict = detector.verdict(Score::new(3.5));
/// assert!(verdict.anomalous);
/// assert_eq!(verdict.p_value, 0.04); // 3 of 99 held-out rows score no higher
/// assert_eq!(detector.with_rate(0.01)?.threshold().value(), Score::new(1.0));
/// # Ok::<(), ipinsights::CalibrationError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Detector {
    calibration: Calibration, // INVARIANT: at most `MAX_ROWS` rows.
    threshold: Threshold,     // INVARIANT: the calibration's at its rate.
}

/// What is said of one score.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// Whether it is called anomalous: it lies below the threshold.
    pub anomalous: bool,
    /// The probability, at most, that a normal row is as suspicious as this one or more, above 0 and up to 1: the smallest
    /// false-positive rate at which it would be called anomalous.
    pub p_value: f64,
    /// The place among the held-out rows, from 0 (below all) to 100 (above all); equal ones count half.
    pub percentile: f64,
}

/// The confidence of the intervals that are given where nobody asked for another.
const CONFIDENCE: f64 = 0.95;

impl Detector {
    /// The most held-out rows that are kept: 16,777,216, which take 64 MiB.
    pub const MAX_ROWS: usize = 1 << 24;

    /// A detector that flags at most `false_positive_rate` of rows like the held-out ones, by their scores.
    ///
    /// # Errors
    ///
    /// As [`Threshold::calibrate`]; and [`CalibrationError::TooManyRows`].
    pub fn calibrate(held_out: &[Score], false_positive_rate: f64) -> Result<Self, CalibrationError> {
        Self::new(Calibration::new(held_out)?, false_positive_rate)
    }

    pub(crate) fn new(calibration: Calibration, false_positive_rate: f64) -> Result<Self, CalibrationError> {
        if calibration.rows() > Self::MAX_ROWS {
            return Err(CalibrationError::TooManyRows {
                rows: calibration.rows(),
                most: Self::MAX_ROWS,
            });
        }
        let threshold = calibration.threshold(false_positive_rate)?;
        Ok(Self {
            calibration,
            threshold,
        })
    }

    /// The same held-out rows with the threshold for another rate.
    ///
    /// # Errors
    ///
    /// As [`Threshold::calibrate`].
    pub fn with_rate(&self, false_positive_rate: f64) -> Result<Self, CalibrationError> {
        Self::new(self.calibration.clone(), false_positive_rate)
    }

    /// The held-out scores.
    pub fn calibration(&self) -> &Calibration {
        &self.calibration
    }

    /// Where the line is.
    pub fn threshold(&self) -> &Threshold {
        &self.threshold
    }

    /// How sure the threshold is, with a confidence of 95 %.
    ///
    /// # Errors
    ///
    /// None in practice: the rate was checked.
    pub fn interval(&self) -> Result<ThresholdInterval, CalibrationError> {
        self.calibration
            .threshold_interval(self.threshold.false_positive_rate(), CONFIDENCE)
    }

    /// What is said of this score.
    pub fn verdict(&self, score: Score) -> Verdict {
        Verdict {
            anomalous: self.threshold.is_anomalous(score),
            p_value: self.calibration.p_value(score),
            percentile: self.calibration.percentile(score),
        }
    }
}

/// A row with all that is said of it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Judgement {
    /// What is known of entity and address, whatever the score.
    pub outcomes: Outcomes,
    /// Larger is more normal; nothing where there is none to give, or the policy withholds it.
    pub score: Option<Score>,
    /// What the score is worth, where there is a score and the model is calibrated.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub verdict: Option<Verdict>,
}

#[cfg(feature = "engine")]
mod part {
    use super::*;
    use crate::part::{Part, PartError, PartReader, PartWriter, check_format};

    const FORMAT: &str = "ipinsights-calibration";

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Description {
        format: String,
        format_version: u32,
        threshold: Threshold,
    }

    impl Part for Detector {
        const FILE: &'static str = "calibration.safetensors";
        const MAX_BYTES: u64 = (Detector::MAX_ROWS as u64) * 4 + (64 << 10);

        fn to_bytes(&self) -> Result<Vec<u8>, PartError> {
            let scores = self.calibration.ascending().iter().map(|s| s.dot_product());
            PartWriter::default()
                .list("held_out.scores", scores)
                .finish(&Description {
                    format: FORMAT.to_owned(),
                    format_version: 1,
                    threshold: self.threshold,
                })
        }

        fn from_bytes(bytes: &[u8]) -> Result<Self, PartError> {
            let (mut reader, description) = PartReader::new::<Description>(bytes)?;
            check_format(description.format, description.format_version, FORMAT)?;
            let scores: Vec<Score> = reader
                .list("held_out.scores", None)?
                .map(|score: f32| Score::new(score))
                .collect();
            reader.finish()?;
            if !scores.is_sorted_by(|a, b| a.cmp_normality(*b).is_le()) {
                return Err(PartError::contents("held-out scores do not ascend"));
            }
            let detector = Self::calibrate(&scores, description.threshold.false_positive_rate())
                .map_err(|error| PartError::contents(error.to_string()))?;
            if detector.threshold != description.threshold {
                return Err(PartError::contents(format!(
                    "the threshold is {}, but the held-out scores give {}",
                    description.threshold.value(),
                    detector.threshold.value()
                )));
            }
            Ok(detector)
        }
    }
}

#[cfg(all(test, feature = "engine"))]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::part::{Part, PartWriter};

    fn scores(values: &[i8]) -> Vec<Score> {
        values.iter().map(|v| Score::new(f32::from(*v))).collect()
    }

    proptest! {
        #[test]
        fn it_is_read_as_it_was_written(
            values in prop::collection::vec(any::<i8>(), 1..200),
            rate in 0.01..0.99f64,
            probes in prop::collection::vec(any::<f32>(), 2),
        ) {
            let Ok(detector) = Detector::calibrate(&scores(&values), rate) else { return Ok(()) };
            let read = Detector::from_bytes(&detector.to_bytes().unwrap()).unwrap();
            prop_assert_eq!(&read, &detector);
            // A more normal score never has the smaller p-value or percentile, nor is it flagged where the other is not.
            let mut probes = [probes[0], probes[1]].map(Score::new);
            probes.sort_by(|a, b| a.cmp_normality(*b));
            let [low, high] = probes.map(|p| detector.verdict(p));
            prop_assert!(low.p_value <= high.p_value && low.percentile <= high.percentile);
            prop_assert!(low.anomalous || !high.anomalous);
            prop_assert_eq!(low.anomalous, low.p_value <= rate);
        }
    }

    #[test]
    fn what_no_detector_would_write_is_refused() {
        let good = Detector::calibrate(&scores(&[1, 2, 3, 4, 5, 6, 7, 8, 9]), 0.2).unwrap();
        let threshold = serde_json::to_value(good.threshold()).unwrap();
        let with = |list: &[f32], description: serde_json::Value| {
            let bytes = PartWriter::default()
                .list("held_out.scores", list.iter().copied())
                .finish(&description)
                .unwrap();
            let error = Detector::from_bytes(&bytes).unwrap_err();
            match std::error::Error::source(&error) {
                Some(source) => format!("{error}: {source}"),
                None => error.to_string(),
            }
        };
        let description = |version: u32| serde_json::json!({"format": "ipinsights-calibration", "format_version": version, "threshold": threshold});
        let nine = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0];
        let mut other = nine;
        other[1] = 2.5;
        let mut falling = nine;
        falling[8] = 0.0;
        let mut infinite = nine;
        infinite[8] = f32::INFINITY;
        for (got, want) in [
            (with(&nine, description(2)), "version 2"),
            (with(&nine, serde_json::json!({})), "missing field"),
            (
                with(&other, description(1)),
                "the threshold is 2, but the held-out scores give 2.5",
            ),
            (with(&falling, description(1)), "do not ascend"),
            (
                with(&infinite, description(1)),
                "the score of held-out row 9 is inf",
            ),
            (with(&[], description(1)), "there are no held-out rows"),
        ] {
            assert!(got.contains(want), "{got}");
        }
    }
}
