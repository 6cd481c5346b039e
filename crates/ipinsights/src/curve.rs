//! How a training went, epoch by epoch, as its log tells it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What a log says of one epoch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct CurvePoint {
    /// The epoch, from 0.
    pub epoch: u32,
    /// Mean cross-entropy of the epoch's mini-batches, per term, in nats (`train:binary_classification_cross_entropy:epoch`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss: Option<f64>,
    /// Share of the pairs that were told right from sampled, 0 to 1 (`train:binary_classification_accuracy:epoch`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<f64>,
    /// Area under the ROC curve of validation rows against random ones (`validation:discriminator_auc`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discriminator_auc: Option<f64>,
}

/// The epochs of a training, from the lines of its log: those that the service's container writes and this crate's
/// [`log`](crate::log) too.
///
/// A job that went on after an interruption tells an epoch twice; the later line counts.
///
/// ```
/// let mut curve = ipinsights::TrainingCurve::default();
/// curve.read_line("#quality_metric: host=algo-1, epoch=0, train binary_classification_cross_entropy <loss>=0.077");
/// curve.read_line("#quality_metric: host=algo-1, epoch=0, validation discriminator_auc <score>=0.985");
/// let points = curve.points();
/// assert_eq!((points[0].loss, points[0].discriminator_auc), (Some(0.077), Some(0.985)));
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TrainingCurve(BTreeMap<u32, CurvePoint>);

impl TrainingCurve {
    /// Takes what a line says of a whole epoch; says whether it said anything.
    pub fn read_line(&mut self, line: &str) -> bool {
        self.read(line).is_some()
    }

    fn read(&mut self, line: &str) -> Option<()> {
        // A time stamp may come before it. Lines of single mini-batches have `, batch=` after the epoch.
        let (_, line) = line.split_once("#quality_metric: host=")?;
        let (_, rest) = line.split_once(", epoch=")?;
        let (epoch, metric) = rest.split_once(", ")?;
        let (name, value) = metric.rsplit_once('=')?;
        let epoch = epoch.parse().ok()?;
        let value: f64 = value.trim_end().parse().ok()?;
        let empty = CurvePoint {
            epoch,
            ..CurvePoint::default()
        };
        let set: fn(&mut CurvePoint, f64) = match name {
            "train binary_classification_cross_entropy <loss>" => |point, value| point.loss = Some(value),
            "train binary_classification_accuracy <score>" => |point, value| point.accuracy = Some(value),
            "validation discriminator_auc <score>" => |point, value| point.discriminator_auc = Some(value),
            _ => return None,
        };
        set(self.0.entry(epoch).or_insert(empty), value);
        Some(())
    }

    /// The epochs, in order.
    pub fn points(&self) -> Vec<CurvePoint> {
        self.0.values().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Hyperparameters, Progress, log};

    #[test]
    fn what_is_logged_is_read() {
        let params = Hyperparameters::draft(10)
            .batch_metrics_publish_interval(1)
            .check()
            .unwrap();
        let mut curve = TrainingCurve::default();
        for epoch in 0..2_u32 {
            let batch = Progress::Batch {
                epoch,
                batch: 1,
                loss: 9.0,
                accuracy: 0.1,
                records_per_second: 1.0,
                rows_per_second: 1.0,
            };
            let end = Progress::Epoch {
                epoch,
                epochs: 2,
                loss: 0.5 - 0.25 * f64::from(epoch),
                accuracy: 0.75,
                discriminator_auc: (epoch == 1).then_some(0.875),
                seconds: 1.0,
                records_per_second: 1.0,
                rows_per_second: 1.0,
            };
            for line in log::lines(&batch, &params)
                .iter()
                .chain(&log::lines(&end, &params))
            {
                curve.read_line(&format!("[11/28/2026 04:00:00 INFO 1] {line}\n"));
            }
        }
        let point = |epoch, loss, discriminator_auc| CurvePoint {
            epoch,
            loss: Some(loss),
            accuracy: Some(0.75),
            discriminator_auc,
        };
        assert_eq!(curve.points(), [point(0, 0.5, None), point(1, 0.25, Some(0.875))]);
    }

    #[test]
    fn other_lines_say_nothing() {
        let mut curve = TrainingCurve::default();
        for line in [
            "",
            "#quality_metric: host=algo-1, epoch=0, batch=5 train binary_classification_accuracy <score>=0.5",
            "#quality_metric: host=algo-1, epoch=-1, train binary_classification_accuracy <score>=0.5",
            "#quality_metric: host=algo-1, epoch=0, train something_else <score>=0.5",
            "#quality_metric: host=algo-1, epoch=0, train binary_classification_accuracy <score>=x",
            "#progress_metric: host=algo-1, completed 100.0 % of epochs",
        ] {
            assert!(!curve.read_line(line), "{line}");
        }
        assert_eq!(curve.points(), []);
    }
}
