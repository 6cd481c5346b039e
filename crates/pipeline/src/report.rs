//! What a run found, as data and as an honest paragraph.

use std::collections::BTreeMap;

use ipinsights::evaluation::Picture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The version of [`Report`]'s JSON form; it grows when a member changes its meaning or goes away.
pub const VERSION: u32 = 1;

/// What a run did and found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[non_exhaustive]
pub struct Report {
    /// [`VERSION`].
    pub version: u32,
    /// Where it ran: `local` or `aws`.
    pub target: String,
    /// The region.
    pub region: String,
    /// When it began, RFC 3339.
    pub started: String,
    /// The execution of the state machine.
    pub execution: Execution,
    /// The training job.
    pub training: Training,
    /// The endpoint that answered.
    pub endpoint: Endpoint,
    /// The outliers, scored through the endpoint.
    pub rows: Vec<Row>,
    /// How many outliers there are.
    pub outliers: usize,
    /// How many of them lie below the threshold.
    pub outliers_flagged: usize,
    /// What a score has to lie below to be flagged.
    pub threshold: Threshold,
    /// Rows of the right country that the model was not trained on.
    pub held_out: HeldOut,
    /// More outliers from the same place, for a figure that five rows cannot give.
    pub evaluation: Evaluation,
    /// Held-out rows against further outliers, or against the outliers where there are no further ones: curves, histograms, what the
    /// scores are worth as probabilities. It is an evaluation report of the crate `ipinsights`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detection: Option<serde_json::Value>,
    /// What these figures are worth, in a few sentences computed from them.
    pub verdict: String,
    /// Where the rows come from and what was left out; the sample's own manifest.
    pub manifest: serde_json::Value,
    /// What it takes to do the run again, beside the manifest and the hyperparameters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<Record>,
    /// The pictures of `detection`, for [`Report::to_html`]; not part of the JSON form.
    #[serde(skip)]
    pub pictures: Vec<Picture>,
    /// The curve of `training`, likewise.
    #[serde(skip)]
    pub training_picture: Option<Picture>,
}

/// What a run was made with and what it made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[non_exhaustive]
pub struct Record {
    /// The program.
    pub build: Build,
    /// The seed of the sample.
    pub seed: u64,
    /// SHA-256 of the model's archive, in hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_sha256: Option<String>,
}

/// A program, as far as it knows itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Build {
    /// Its version.
    pub version: String,
    /// The commit that it was built from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// SHA-256 of the `Cargo.lock` beside its sources, in hex: the versions of all that it is made of, where it was built with `--locked`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock_sha256: Option<String>,
}

/// An execution and how it ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Execution {
    /// Its ARN.
    pub arn: String,
    /// `SUCCEEDED`: a run whose execution ends otherwise has no report but an error.
    pub status: String,
    /// The state machine's ARN.
    pub state_machine: String,
    /// Each state as it was passed, in order.
    pub states: Vec<StateVisit>,
}

/// One pass through a state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StateVisit {
    /// The state.
    pub name: String,
    /// Seconds from entering to leaving it, by the service's clock.
    pub seconds: f64,
    /// The error with which it failed, where a catcher took over; otherwise it ended well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caught: Option<String>,
}

/// The training job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Training {
    /// Its name.
    pub job: String,
    /// Where its model lies.
    pub model_data: String,
    /// The hyperparameters as the job got them.
    pub hyperparameters: BTreeMap<String, String>,
    /// The last value of each metric that the job published.
    pub metrics: BTreeMap<String, f32>,
    /// The training by epoch, out of the job's log.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub curve: Vec<Epoch>,
}

/// One epoch of a training.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Epoch {
    /// From 0.
    pub epoch: u32,
    /// Mean cross-entropy per term, in nats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss: Option<f64>,
    /// Share of the pairs that were told right from sampled, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<f64>,
    /// Area under the ROC curve of validation rows against random ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discriminator_auc: Option<f64>,
}

impl From<ipinsights::CurvePoint> for Epoch {
    fn from(point: ipinsights::CurvePoint) -> Self {
        Self {
            epoch: point.epoch,
            loss: point.loss,
            accuracy: point.accuracy,
            discriminator_auc: point.discriminator_auc,
        }
    }
}

/// The endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Endpoint {
    /// Its name.
    pub name: String,
    /// `InService`.
    pub status: String,
    /// The configuration it serves; the model has the same name.
    pub config: String,
}

/// One scored outlier.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Row {
    /// Who it claims to be.
    pub entity: String,
    /// Its address.
    pub ip: std::net::Ipv4Addr,
    /// The dot product: larger is more normal.
    pub score: f32,
    /// It lies below the threshold.
    pub anomalous: bool,
    /// Share of held-out rows, 0 to 1, that score lower than this one.
    pub percentile: f64,
    /// What the training rows say of it, in one sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The threshold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Threshold {
    /// A score strictly below it is flagged.
    pub value: f32,
    /// The stated share of in-country rows that are flagged at it, at most.
    pub false_positive_rate: f64,
}

/// What became of held-out rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HeldOut {
    /// How many there are.
    pub rows: usize,
    /// Probability that a random held-out row scores higher than a random one of the outliers; 0.5 is a coin.
    pub auc_vs_outliers: Option<f64>,
    /// How many lie below the threshold: by its making, at most the stated share.
    pub flagged: usize,
    /// How many score below zero, the line that the published experiment drew.
    pub negative: usize,
    /// Their scores at 0, 5, 25, 50, 75, 95 and 100 per cent.
    pub quantiles: Vec<f32>,
    /// The held-out rows of each entity.
    pub entities: Vec<EntityScores>,
}

/// The held-out scores of one entity.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EntityScores {
    /// The entity.
    pub entity: String,
    /// How many of its rows were held out.
    pub rows: usize,
    /// Their median score.
    pub median: f32,
    /// How many lie below the threshold.
    pub flagged: usize,
}

/// What became of more outliers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Evaluation {
    /// How many there are.
    pub rows: usize,
    /// Probability that a random held-out row scores higher than a random one of these.
    pub auc: Option<f64>,
    /// How many lie below the threshold.
    pub flagged: usize,
}

/// Something that a run and its repetition do not have in common.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Where: a JSON pointer into the report.
    pub place: String,
    /// In the first report.
    pub before: Option<Value>,
    /// In the other.
    pub now: Option<Value>,
}

/// What a repetition has otherwise by its nature: moments, names made of moments, speed, and the program that repeats.
const OF_ITS_OWN: [&str; 9] = [
    "/started",
    "/target",
    "/region",
    "/execution",
    "/endpoint",
    "/training/job",
    "/training/model_data",
    "/training/metrics/train:throughput",
    "/record/build",
];

impl Report {
    /// The JSON Schema (2020-12) of the JSON form.
    pub fn json_schema() -> Value {
        schemars::schema_for!(Self).to_value()
    }

    /// What is not the same in a repetition of this run: everything in this report counts but moments, names, places and speed.
    ///
    /// # Errors
    ///
    /// None in practice: a report has a JSON form.
    pub fn differences(&self, again: &Self) -> serde_json::Result<Vec<Difference>> {
        let mut differences = Vec::new();
        compare(
            String::new(),
            Some(&serde_json::to_value(self)?),
            Some(&serde_json::to_value(again)?),
            &mut differences,
        );
        Ok(differences)
    }
}

fn compare(place: String, before: Option<&Value>, now: Option<&Value>, differences: &mut Vec<Difference>) {
    if before == now || OF_ITS_OWN.contains(&&*place) {
        return;
    }
    match (before, now) {
        (Some(Value::Object(a)), Some(Value::Object(b))) => {
            // What only the repetition has, a newer program says beside what the report has.
            for name in a.keys() {
                let escaped = name.replace('~', "~0").replace('/', "~1");
                compare(
                    format!("{place}/{escaped}"),
                    a.get(name),
                    b.get(name),
                    differences,
                );
            }
        }
        (Some(Value::Array(a)), Some(Value::Array(b))) if a.len() == b.len() => {
            for (index, (a, b)) in a.iter().zip(b).enumerate() {
                compare(format!("{place}/{index}"), Some(a), Some(b), differences);
            }
        }
        _ => differences.push(Difference {
            place,
            before: before.cloned(),
            now: now.cloned(),
        }),
    }
}

/// The figures that the verdict is computed from.
pub(crate) struct Figures<'a> {
    pub(crate) rows: &'a [Row],
    pub(crate) threshold: &'a Threshold,
    pub(crate) held_out: &'a HeldOut,
    pub(crate) evaluation: &'a Evaluation,
}

/// Says what the figures are worth.
pub(crate) fn verdict(figures: &Figures<'_>) -> String {
    let Figures {
        rows,
        threshold,
        held_out,
        evaluation,
    } = figures;
    let flagged = rows.iter().filter(|row| row.anomalous).count();
    let negative = rows.iter().filter(|row| row.score < 0.0).count();
    let mut text = format!(
        "{flagged} of {} outliers score below {:.3}, the line that at most {} of in-country addresses the model has not seen \
         fall below ({} of {} held-out rows do).",
        rows.len(),
        threshold.value,
        per_cent(threshold.false_positive_rate),
        held_out.flagged,
        held_out.rows,
    );
    match evaluation.auc.or(held_out.auc_vs_outliers) {
        Some(auc) if evaluation.rows > 0 => {
            text += &format!(
                " Over {} further outliers the AUC is {auc:.2} (0.5 is a coin, 1 is perfect), and {} of them are flagged: \
                 this model {}.",
                evaluation.rows,
                per_cent(share(evaluation.flagged, evaluation.rows)),
                worth(auc, FOREIGN[0], FOREIGN[1]),
            );
        }
        Some(auc) => {
            text += &format!(
                " The AUC against the outliers is {auc:.2} (0.5 is a coin, 1 is perfect); with only {} of them that figure \
                 is rough: this model {}.",
                rows.len(),
                worth(auc, FOREIGN[0], FOREIGN[1])
            );
        }
        None => text += " There are no outliers to measure against.",
    }
    text += &format!(
        " {negative} of {} outliers score below zero, and so do {} of {} held-out rows: the sign of a score alone proves \
         {}.",
        rows.len(),
        held_out.negative,
        held_out.rows,
        if share(held_out.negative, held_out.rows) > threshold.false_positive_rate {
            "nothing"
        } else {
            "little"
        },
    );
    text
}

/// What an AUC is worth, in words: how well these are told from those. The steps are the usual rough reading of a ROC area.
pub(crate) fn worth(auc: f64, these: &str, those: &str) -> String {
    match auc {
        auc if auc < 0.6 => format!("cannot tell {these} from {those}"),
        auc if auc < 0.75 => "is a weak hint, not a detector".to_owned(),
        auc if auc < 0.9 => "is a useful signal beside others, not proof".to_owned(),
        auc if auc < 0.97 => format!("tells most {these} from {those}"),
        _ => format!("tells {these} from {those} well"),
    }
}

/// What a run's model is asked to tell apart.
const FOREIGN: [&str; 2] = ["foreign addresses", "native ones"];

fn share(part: usize, whole: usize) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 / whole as f64
    }
}

fn per_cent(share: f64) -> String {
    let value = share * 100.0;
    if (value - value.round()).abs() < 0.05 {
        format!("{value:.0} %")
    } else {
        format!("{value:.1} %")
    }
}

/// The value at `share` (0 to 1) of sorted scores, without interpolation; zero for none.
pub(crate) fn quantile(sorted: &[f32], share: f64) -> f32 {
    let last = sorted.len().saturating_sub(1) as f64;
    sorted
        .get((share * last).round() as usize)
        .copied()
        .unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(
        outliers: &[f32],
        auc: Option<f64>,
        evaluation: (usize, Option<f64>, usize),
        negative: usize,
        expected: Expect,
    ) {
        let threshold = Threshold {
            value: -1.25,
            false_positive_rate: 0.05,
        };
        let rows: Vec<Row> = outliers
            .iter()
            .map(|&score| Row {
                entity: "Canada".into(),
                ip: [192, 0, 2, 1].into(),
                score,
                anomalous: score < threshold.value,
                percentile: 0.0,
                reason: None,
            })
            .collect();
        let held_out = HeldOut {
            rows: 250,
            auc_vs_outliers: auc,
            flagged: 12,
            negative,
            quantiles: vec![],
            entities: vec![],
        };
        let evaluation = Evaluation {
            rows: evaluation.0,
            auc: evaluation.1,
            flagged: evaluation.2,
        };
        expected.assert_eq(&verdict(&Figures {
            rows: &rows,
            threshold: &threshold,
            held_out: &held_out,
            evaluation: &evaluation,
        }));
    }

    #[test]
    fn negative_scores_that_everybody_has_are_called_nothing() {
        check(
            &[-0.3, -0.33, -0.4, -0.65, -0.07],
            Some(0.55),
            (250, Some(0.57), 15),
            200,
            expect![[
                r#"0 of 5 outliers score below -1.250, the line that at most 5 % of in-country addresses the model has not seen fall below (12 of 250 held-out rows do). Over 250 further outliers the AUC is 0.57 (0.5 is a coin, 1 is perfect), and 6 % of them are flagged: this model cannot tell foreign addresses from native ones. 5 of 5 outliers score below zero, and so do 200 of 250 held-out rows: the sign of a score alone proves nothing."#
            ]],
        );
    }

    #[test]
    fn five_rows_alone_are_called_rough() {
        check(
            &[-3.0, -2.0],
            Some(0.98),
            (0, None, 0),
            5,
            expect![[
                r#"2 of 2 outliers score below -1.250, the line that at most 5 % of in-country addresses the model has not seen fall below (12 of 250 held-out rows do). The AUC against the outliers is 0.98 (0.5 is a coin, 1 is perfect); with only 2 of them that figure is rough: this model tells foreign addresses from native ones well. 2 of 2 outliers score below zero, and so do 5 of 250 held-out rows: the sign of a score alone proves little."#
            ]],
        );
    }
}
