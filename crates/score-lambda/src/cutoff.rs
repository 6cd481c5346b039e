//! Where the line is drawn, and what is known of it.

use ipinsights::{Score, Threshold};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Error;

/// The score below which a row is anomalous, with what is promised of it when that is known.
///
/// A calibrated [`Threshold`] is one; so is a bare number that someone chose, of which nothing is promised.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, JsonSchema)]
#[schemars(rename = "Threshold")]
pub struct Cutoff {
    /// The score below which a row is anomalous.
    #[schemars(with = "f32")]
    value: Score, // INVARIANT: finite.
    /// The share of normal rows that may be called anomalous, where the threshold was calibrated to one.
    #[serde(skip_serializing_if = "Option::is_none")]
    false_positive_rate: Option<f64>,
    /// By how many held-out rows it was calibrated.
    #[serde(skip_serializing_if = "Option::is_none")]
    rows: Option<usize>,
}

/// A threshold as JSON; other members are somebody else's.
#[derive(Deserialize)]
struct Stored {
    value: f32,
    false_positive_rate: Option<f64>,
    rows: Option<usize>,
}

/// A document that has a threshold among other things.
#[derive(Deserialize)]
struct Report {
    threshold: Stored,
}

impl Cutoff {
    /// A line at this score.
    ///
    /// # Errors
    ///
    /// [`Error::Threshold`] when the number is not finite.
    pub fn at(value: f32) -> Result<Self, Error> {
        Self::try_from(Stored {
            value,
            false_positive_rate: None,
            rows: None,
        })
    }

    /// Reads a number, a threshold as JSON, or a JSON document with a threshold under `threshold`.
    ///
    /// ```
    /// use score_lambda::Cutoff;
    ///
    /// assert_eq!(Cutoff::parse("-0.5")?, Cutoff::at(-0.5)?);
    /// assert_eq!(Cutoff::parse(r#"{"threshold": {"value": -0.5}, "rows": []}"#)?, Cutoff::at(-0.5)?);
    /// assert!(Cutoff::parse("low").is_err());
    /// # Ok::<(), score_lambda::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Threshold`] when the text is none of these, or the number is not finite.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let text = text.trim();
        if let Ok(value) = text.parse() {
            return Self::at(value);
        }
        let stored = match serde_json::from_str::<Report>(text) {
            Ok(report) => report.threshold,
            Err(_) => serde_json::from_str(text).map_err(|_| Error::Threshold)?,
        };
        Self::try_from(stored)
    }

    /// The score at the line.
    pub const fn value(&self) -> Score {
        self.value
    }

    /// Whether a score is anomalous: it lies strictly below the line, or is not a number.
    pub fn is_anomalous(&self, score: Score) -> bool {
        score.cmp_normality(self.value).is_lt()
    }
}

impl TryFrom<Stored> for Cutoff {
    type Error = Error;

    fn try_from(stored: Stored) -> Result<Self, Error> {
        let Stored {
            value,
            false_positive_rate,
            rows,
        } = stored;
        if !value.is_finite() {
            return Err(Error::Threshold);
        }
        Ok(Self {
            value: Score::new(value),
            false_positive_rate,
            rows,
        })
    }
}

impl From<Threshold> for Cutoff {
    fn from(threshold: Threshold) -> Self {
        Self {
            value: threshold.value(),
            false_positive_rate: Some(threshold.false_positive_rate()),
            rows: Some(threshold.rows()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_threshold_is_read_back() {
        let held_out: Vec<Score> = (0..100u8).map(|i| Score::new(f32::from(i))).collect();
        let threshold = Threshold::calibrate(&held_out, 0.1).unwrap();
        let json = serde_json::to_string(&threshold).unwrap();
        assert_eq!(Cutoff::parse(&json).unwrap(), Cutoff::from(threshold));
        let report = format!(r#"{{"version": 1, "threshold": {json}}}"#);
        assert_eq!(Cutoff::parse(&report).unwrap(), Cutoff::from(threshold));
    }

    #[test]
    fn what_is_no_finite_number_is_refused() {
        for text in [
            "",
            "NaN",
            "inf",
            "{}",
            r#"{"value": "1"}"#,
            r#"{"value": 1e60}"#,
            "[1]",
        ] {
            assert!(Cutoff::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_line_itself_is_normal_and_no_number_is_not() {
        let cutoff = Cutoff::at(0.5).unwrap();
        for (score, want) in [
            (0.5, false),
            (0.49, true),
            (f32::INFINITY, false),
            (f32::NAN, true),
        ] {
            assert_eq!(cutoff.is_anomalous(Score::new(score)), want, "{score}");
        }
    }
}
