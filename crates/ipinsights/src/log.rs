//! The lines that the service's own container writes to its log, made from [`Progress`].
//!
//! Tools that read a training job's log, and the metric definitions of the service, find what they look for.

use crate::hyperparameters::Hyperparameters;
use crate::progress::{Progress, percent};

mod job;

pub use job::{JobLog, Line};

/// The lines for one piece of news, without time stamps; none for most mini-batches.
///
/// Batch lines come every `batch_metrics_publish_interval` mini-batches, but not for batch 0, and hold running means
/// since the epoch began.
///
/// ```
/// use ipinsights::{Hyperparameters, Progress, log};
///
/// let params = Hyperparameters::draft(10).check()?;
/// let news = Progress::Epoch {
///     epoch: 0,
///     epochs: 5,
///     loss: 0.077,
///     accuracy: 0.979,
///     discriminator_auc: None,
///     seconds: 106.5,
///     records_per_second: 133_800.0,
///     rows_per_second: 19_114.0,
/// };
/// assert_eq!(log::lines(&news, &params)[5], "#progress_metric: host=algo-1, completed 20.0 % of epochs");
/// # Ok::<(), ipinsights::InvalidHyperparameters>(())
/// ```
pub fn lines(progress: &Progress, params: &Hyperparameters) -> Vec<String> {
    const HOST: &str = "#quality_metric: host=algo-1";
    const ACCURACY: &str = "binary_classification_accuracy";
    const LOSS: &str = "binary_classification_cross_entropy";
    match progress {
        Progress::Started { .. } => vec![
            "Process 1 is a worker.".to_owned(),
            "Number of GPUs being used: 0".to_owned(),
            "Create Store: local".to_owned(),
        ],
        Progress::Batch {
            epoch,
            batch,
            loss,
            accuracy,
            records_per_second,
            rows_per_second: _,
        } => {
            let interval = params.batch_metrics_publish_interval() as usize;
            if *batch == 0 || batch % interval != 0 {
                return Vec::new();
            }
            vec![
                format!(
                    "Epoch[{epoch}] Batch [{batch}]\tSpeed: {records_per_second:.2} samples/sec\
                     \t{ACCURACY}={accuracy:.6}\t{LOSS}={loss:.6}"
                ),
                format!("{HOST}, epoch={epoch}, batch={batch} train {ACCURACY} <score>={accuracy}"),
                format!("{HOST}, epoch={epoch}, batch={batch} train {LOSS} <loss>={loss}"),
            ]
        }
        Progress::Epoch {
            epoch,
            epochs,
            loss,
            accuracy,
            discriminator_auc,
            seconds,
            records_per_second,
            rows_per_second: _,
        } => {
            let mut lines = vec![
                format!("Epoch[{epoch}] Train-{ACCURACY}={accuracy:.6}"),
                format!("Epoch[{epoch}] Train-{LOSS}={loss:.6}"),
                format!("Epoch[{epoch}] Time cost={seconds:.3}"),
                format!("{HOST}, epoch={epoch}, train {ACCURACY} <score>={accuracy}"),
                format!("{HOST}, epoch={epoch}, train {LOSS} <loss>={loss}"),
            ];
            if let Some(auc) = discriminator_auc {
                lines.push(format!(
                    "{HOST}, epoch={epoch}, validation discriminator_auc <score>={auc}"
                ));
            }
            let done = percent(*epoch, *epochs);
            lines.push(format!(
                "#progress_metric: host=algo-1, completed {done:.1} % of epochs"
            ));
            lines.push(format!(
                "#throughput_metric: host=algo-1, train throughput={records_per_second} records/second"
            ));
            lines
        }
        // The service does neither.
        Progress::Resumed { .. } | Progress::CheckpointWritten { .. } | Progress::StoppedEarly { .. } => {
            Vec::new()
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(progress: &Progress, want: Expect) {
        let params = Hyperparameters::draft(10)
            .batch_metrics_publish_interval(1_000)
            .check()
            .unwrap();
        want.assert_eq(&lines(progress, &params).join("\n"));
    }

    #[test]
    fn batches_at_the_interval_alone() {
        let at = |batch| Progress::Batch {
            epoch: 2,
            batch,
            loss: 0.1993,
            accuracy: 0.9275,
            records_per_second: 141_900.0,
            rows_per_second: 20_271.0,
        };
        check(&at(0), expect![""]);
        check(&at(999), expect![""]);
        check(
            &at(3_000),
            expect![[r#"
            Epoch[2] Batch [3000]	Speed: 141900.00 samples/sec	binary_classification_accuracy=0.927500	binary_classification_cross_entropy=0.199300
            #quality_metric: host=algo-1, epoch=2, batch=3000 train binary_classification_accuracy <score>=0.9275
            #quality_metric: host=algo-1, epoch=2, batch=3000 train binary_classification_cross_entropy <loss>=0.1993"#]],
        );
    }

    #[test]
    fn end_of_an_epoch() {
        check(
            &Progress::Epoch {
                epoch: 4,
                epochs: 5,
                loss: 0.05394,
                accuracy: 0.98715,
                discriminator_auc: Some(0.990367),
                seconds: 108.2,
                records_per_second: 138_500.0,
                rows_per_second: 19_786.0,
            },
            expect![[r#"
                Epoch[4] Train-binary_classification_accuracy=0.987150
                Epoch[4] Train-binary_classification_cross_entropy=0.053940
                Epoch[4] Time cost=108.200
                #quality_metric: host=algo-1, epoch=4, train binary_classification_accuracy <score>=0.98715
                #quality_metric: host=algo-1, epoch=4, train binary_classification_cross_entropy <loss>=0.05394
                #quality_metric: host=algo-1, epoch=4, validation discriminator_auc <score>=0.990367
                #progress_metric: host=algo-1, completed 100.0 % of epochs
                #throughput_metric: host=algo-1, train throughput=138500 records/second"#]],
        );
    }
}
