use proptest::prelude::*;

use super::*;

fn scores(values: &[f32]) -> Vec<Score> {
    values.iter().copied().map(Score::new).collect()
}

#[test]
fn figures_by_hand() {
    let normal = scores(&[4.0, 3.0, 2.0, 1.0, -1.0, 5.0, 6.0, 7.0, 8.0, 9.0]);
    let anomalous = scores(&[-3.0, -2.0, 1.0, 1.5]);
    let threshold = Threshold::calibrate(&normal, 0.2).unwrap();
    assert_eq!(threshold.value(), Score::new(1.0));
    let report = Evaluation::new(&normal, &anomalous)
        .threshold(&threshold)
        .activity(&[1, 9, 10, 99, 100, 5, 5, 5, 5, 0], &[3, 20, 500, 5])
        .report()
        .unwrap();
    // Of 40 pairs, out of order: -1 below 1 and 1.5, 1 below 1.5; and a tie.
    assert_eq!(report.auc, (40.0 - 3.5) / 40.0);
    let zero = report.at_zero;
    assert_eq!(
        (zero.false_alarms, zero.hits, zero.precision),
        (1, 2, Some(2.0 / 3.0))
    );
    assert_eq!((zero.false_positive_rate, zero.recall), (0.1, 0.5));
    let at = report.at_threshold.unwrap();
    assert_eq!(
        (
            at.stated_false_positive_rate,
            at.operation.false_alarms,
            at.keeps_promise
        ),
        (0.2, 1, true)
    );
    // Clopper and Pearson for 1 of 10.
    assert!((at.operation.false_positive_rate_interval.high - 0.445_016).abs() < 1e-6);
    // Up to 5 % no false alarm is allowed, so only what lies below -1 is flagged; at 10 %, one.
    let recalls: Vec<f64> = report.recall_at.iter().map(|r| r.operation.recall).collect();
    assert_eq!(recalls, [0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5]);
    assert_eq!(report.recall_at[7].operation.threshold, Score::new(1.0));
    let groups: Vec<_> = report
        .activity
        .iter()
        .map(|g| (g.from, g.to, g.normal, g.anomalous, g.recall, g.lift))
        .collect();
    let want = [
        (0, 0, 1, 0, None, None),
        (1, 9, 6, 2, Some(0.5), Some(4.0)),
        (10, 99, 2, 1, Some(1.0), Some(3.0)),
        (100, 500, 1, 1, Some(0.0), Some(0.0)),
    ];
    assert_eq!(groups, want);
}

#[test]
fn delong_by_hand() {
    // Placements of the normal rows: 1, 1, 1/2; of the anomalous ones: 1, 2/3. AUC 5/6; variances 1/12 and 1/18.
    let report = Evaluation::new(&scores(&[3.0, 2.0, 0.5]), &scores(&[0.0, 1.0]))
        .report()
        .unwrap();
    assert_eq!(report.auc, 5.0 / 6.0);
    let deviation = (1.0 / 12.0 / 3.0 + 1.0 / 18.0 / 2.0_f64).sqrt();
    assert!((report.auc_interval.low - (5.0 / 6.0 - 1.959_963_984_540_054 * deviation)).abs() < 1e-12);
    assert_eq!(report.auc_interval.high, 1.0);
    let single = Evaluation::new(&scores(&[3.0]), &scores(&[0.0]))
        .report()
        .unwrap();
    assert_eq!((single.auc_interval.low, single.auc_interval.high), (0.0, 1.0));
}

#[test]
fn what_cannot_be_evaluated_is_refused() {
    let some = scores(&[1.0, 2.0]);
    let refusal = |evaluation: Evaluation<'_>| evaluation.report().unwrap_err().to_string();
    assert_eq!(
        refusal(Evaluation::new(&[], &some)),
        "there are no normal rows to evaluate on"
    );
    assert_eq!(
        refusal(Evaluation::new(&some, &[])),
        "there are no anomalous rows to evaluate on"
    );
    assert_eq!(
        refusal(Evaluation::new(&some, &scores(&[1.0, f32::NAN]))),
        "the score of anomalous row 2 is not a number; the model has probably diverged"
    );
    assert_eq!(
        refusal(Evaluation::new(&some, &some).activity(&[1, 2], &[1])),
        "1 numbers for the activity of 2 anomalous rows"
    );
}

#[test]
fn the_json_has_a_version_and_no_infinities() {
    let report = Evaluation::new(&scores(&[1.0, f32::INFINITY]), &scores(&[0.0]))
        .report()
        .unwrap();
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["version"], 1);
    // JSON has no infinity: the threshold above all scores is null, and so is an infinite score's bin.
    assert!(json["roc"].as_array().unwrap().last().unwrap()["threshold"].is_null());
    let members: Vec<&str> = json.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        members.join(" "),
        "version normal anomalous auc auc_interval average_precision at_zero recall_at reliability normal_scores anomalous_scores roc precision_recall"
    );
}

proptest! {
    #[test]
    fn a_thinned_curve_keeps_its_area(normal in prop::collection::vec(-5f32..9.0, 2..3_000), anomalous in prop::collection::vec(-9f32..5.0, 2..300)) {
        let (normal, anomalous) = (scores(&normal), scores(&anomalous));
        let report = Evaluation::new(&normal, &anomalous).report().unwrap();
        let area: f64 = report
            .roc
            .windows(2)
            .map(|p| (p[1].false_positive_rate - p[0].false_positive_rate) * (p[0].recall + p[1].recall) / 2.0)
            .sum();
        prop_assert!((area - report.auc).abs() < 0.002);
        let interval = report.auc_interval;
        prop_assert!(interval.low <= report.auc && report.auc <= interval.high);
        for pair in report.recall_at.windows(2) {
            prop_assert!(pair[0].operation.recall <= pair[1].operation.recall);
            prop_assert!(pair[0].operation.false_positive_rate <= pair[0].false_positive_rate);
        }
    }
}
