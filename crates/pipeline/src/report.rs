//! What a run found, as data and as an honest paragraph.

use std::collections::BTreeMap;

use ipinsights::evaluation::Picture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::rows::{EvaluationRows, OwnManifest};

/// The version of the reports' JSON forms; it grows when a member changes its meaning or goes away.
pub const VERSION: u32 = 1;

/// So many rows of one part are listed with what became of them, those with the lowest scores. All are counted.
pub const MOST_LISTED: usize = 1_000;

/// What a run did and found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[non_exhaustive]
pub struct Report {
    /// [`VERSION`].
    #[schemars(extend("const" = VERSION))]
    pub version: u32,
    /// What tells it from other reports.
    #[serde(default)]
    pub kind: RunKind,
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
    /// The outliers, or the rows to judge of a run on own rows, scored through the endpoint.
    pub rows: Vec<Row>,
    /// How many of these there are.
    pub outliers: usize,
    /// How many of them lie below the threshold; of own rows, strangers aside.
    pub outliers_flagged: usize,
    /// What a score has to lie below to be flagged.
    pub threshold: Threshold,
    /// Normal rows, such as those of the right country, that the model was not trained on.
    pub held_out: HeldOut,
    /// Further normal rows, which did not set the threshold either; where such were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control: Option<Control>,
    /// Rows that are not normal: more outliers from the same place, for a figure that five rows cannot give, or what the manifest of own
    /// rows says.
    pub evaluation: Evaluation,
    /// Held-out rows against further outliers, or against the outliers where there are no further ones: curves, histograms, what the
    /// scores are worth as probabilities. It is an evaluation report of the crate `ipinsights`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<ipinsights::evaluation::Report>")]
    pub detection: Option<serde_json::Value>,
    /// What these figures are worth, in a few sentences computed from them.
    pub verdict: String,
    /// Where the rows come from and what was left out.
    #[schemars(with = "Manifest")]
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

/// The kind of a run's report.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RunKind {
    /// The only one.
    #[default]
    Run,
}

/// The forms that a manifest has.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "it is there for the schema")]
enum Manifest {
    Sample(Box<geodata::Manifest>),
    Own(Box<OwnManifest>),
}

/// A run that did not end well, as far as it came.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[non_exhaustive]
pub struct FailedRun {
    /// [`VERSION`].
    #[schemars(extend("const" = VERSION))]
    pub version: u32,
    /// What tells it from other reports.
    pub kind: FailedRunKind,
    /// Where it ran: `local` or `aws`.
    pub target: String,
    /// The region.
    pub region: String,
    /// When it began, RFC 3339.
    pub started: String,
    /// Seconds until it failed.
    pub seconds: f64,
    /// The pipeline, which is also the name of its endpoint.
    pub name: String,
    /// What went wrong.
    pub failure: Failure,
    /// The execution of the state machine, where it came to one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution: Option<Execution>,
    /// The name of the training job.
    pub job: String,
    /// The hyperparameters that the training job was to get.
    pub hyperparameters: BTreeMap<String, String>,
    /// Where the rows come from and what was left out.
    #[schemars(with = "Manifest")]
    pub manifest: serde_json::Value,
    /// What the run was made with.
    pub record: Record,
}

/// The kind of a failed run's report.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FailedRunKind {
    /// The only one.
    #[default]
    FailedRun,
}

/// What went wrong in a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Failure {
    /// In a sentence.
    pub message: String,
    /// Why, and why that.
    pub because: Vec<String>,
    /// The state that failed, or in which the execution was when it was given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// The error with which the execution ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The cause that it gave; of a failed job, its own reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
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
    /// `SUCCEEDED`; in the report of a failed run also `FAILED` or `TIMED_OUT`, where it was given up `ABORTED`, or `RUNNING` where nobody knows.
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
    /// Seconds from entering to leaving it, or to the end of the execution, by the service's clock.
    pub seconds: f64,
    /// The error with which it failed, where a catcher took over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caught: Option<String>,
    /// How it ended other than well, where nothing took over: an error's name, or `Aborted`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
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

/// One scored row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Row {
    /// Who it claims to be.
    pub entity: String,
    /// Its address.
    pub ip: std::net::Ipv4Addr,
    /// The dot product: larger is more normal.
    pub score: f32,
    /// It lies below the threshold, and its entity is known.
    pub anomalous: bool,
    /// There are no training rows of its entity, so that its score means nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unknown_entity: bool,
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
    /// The held-out rows of each entity, by name; of more than [`MOST_LISTED`] entities, those with most flagged rows.
    pub entities: Vec<EntityScores>,
    /// How many entities have held-out rows, those that are not listed among them.
    #[serde(default)]
    pub entity_count: usize,
    /// The rows with the lowest scores, at most [`MOST_LISTED`].
    #[serde(default)]
    pub lowest: Vec<Row>,
}

/// What became of control rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Control {
    /// How many there are.
    pub rows: usize,
    /// How many lie below the threshold.
    pub flagged: usize,
    /// The share of such rows that is flagged, with 95 % confidence.
    pub false_positive_rate: ipinsights::interval::Interval,
    /// The rows with the lowest scores, at most [`MOST_LISTED`].
    pub lowest: Vec<Row>,
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

/// What became of rows that are not normal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Evaluation {
    /// How many there are.
    pub rows: usize,
    /// Probability that a random held-out row scores higher than a random one of these.
    pub auc: Option<f64>,
    /// How many lie below the threshold.
    pub flagged: usize,
    /// The rows with the lowest scores, at most [`MOST_LISTED`].
    #[serde(default)]
    pub lowest: Vec<Row>,
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
pub(crate) const OF_ITS_OWN: [&str; 9] = [
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
        schema::<Self>()
    }

    /// What is not the same in a repetition of this run: everything in this report counts but moments, names, places and speed.
    ///
    /// # Errors
    ///
    /// None in practice: a report has a JSON form.
    pub fn differences(&self, again: &Self) -> serde_json::Result<Vec<Difference>> {
        let (before, now) = (serde_json::to_value(self)?, serde_json::to_value(again)?);
        Ok(differences(&before, &now))
    }
}

impl FailedRun {
    /// The JSON Schema (2020-12) of the JSON form.
    pub fn json_schema() -> Value {
        schema::<Self>()
    }
}

/// The schema of what is written.
pub(crate) fn schema<T: JsonSchema>() -> Value {
    let settings = schemars::generate::SchemaSettings::draft2020_12().for_serialize();
    settings.into_generator().into_root_schema_for::<T>().to_value()
}

/// What of a report is not the same in a repetition.
pub(crate) fn differences(before: &Value, now: &Value) -> Vec<Difference> {
    let mut differences = Vec::new();
    compare(String::new(), Some(before), Some(now), &mut differences);
    differences
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
    pub(crate) control: Option<&'a Control>,
    pub(crate) evaluation: &'a Evaluation,
}

impl Figures<'_> {
    /// How often rows are flagged that had no part in setting the threshold.
    fn of_control(&self) -> String {
        let Some(control) = self.control else {
            return String::new();
        };
        format!(
            " Of {} control rows, on which nothing was calibrated, {} ({}) are flagged; with 95 % confidence the true rate lies \
             between {} and {}.",
            control.rows,
            control.flagged,
            per_cent(share(control.flagged, control.rows)),
            per_cent(control.false_positive_rate.low),
            per_cent(control.false_positive_rate.high),
        )
    }

    fn of_sign(&self) -> &'static str {
        if share(self.held_out.negative, self.held_out.rows) > self.threshold.false_positive_rate {
            "nothing"
        } else {
            "little"
        }
    }
}

/// Says what the figures of own rows are worth.
pub(crate) fn own_verdict(figures: &Figures<'_>, kind: EvaluationRows) -> String {
    let Figures {
        rows,
        threshold,
        held_out,
        evaluation,
        ..
    } = figures;
    let mut text = format!(
        "Scores below {:.3} are flagged: at most {} of rows like the held-out ones ({} of {} held-out rows lie below it).",
        threshold.value,
        per_cent(threshold.false_positive_rate),
        held_out.flagged,
        held_out.rows,
    );
    text += &figures.of_control();
    let (what, these, those) = match kind {
        EvaluationRows::Exchanged => (
            "held-out addresses that were given to other entities",
            "an address of somebody else",
            "one's own",
        ),
        _ => (
            "rows that are known not to be normal",
            "anomalous rows",
            "normal ones",
        ),
    };
    match evaluation.auc {
        Some(auc) => {
            text += &format!(
                " Over {} {what} the AUC is {auc:.2} (0.5 is a coin, 1 is perfect), and {} of them are flagged: this model {}.",
                evaluation.rows,
                per_cent(share(evaluation.flagged, evaluation.rows)),
                worth(auc, these, those),
            );
            if kind == EvaluationRows::Exchanged {
                text += " An attacker may come from elsewhere than a colleague's network, and be easier or harder to find.";
            }
        }
        None => {
            text += " There are no rows to measure with that are not normal: nothing here says what the model would find.";
        }
    }
    let strangers = rows.iter().filter(|row| row.unknown_entity).count();
    let judged = rows.len() - strangers;
    if judged > 0 {
        text += &format!(
            " {} of {judged} rows to judge are flagged; of normal ones it would be about {:.1} by chance.",
            rows.iter().filter(|row| row.anomalous).count(),
            judged as f64 * threshold.false_positive_rate,
        );
    }
    text += &match strangers {
        0 => String::new(),
        1 => " One row to judge is of an entity that has no training rows, and has no verdict.".to_owned(),
        _ => format!(
            " {strangers} rows to judge are of entities that have no training rows, and have no verdict."
        ),
    };
    text += &format!(
        " {} of {} held-out rows score below zero: the sign of a score alone proves {}.",
        held_out.negative,
        held_out.rows,
        figures.of_sign(),
    );
    text
}

/// Says what the figures of a sample are worth.
pub(crate) fn verdict(figures: &Figures<'_>) -> String {
    let Figures {
        rows,
        threshold,
        held_out,
        evaluation,
        ..
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
    text += &figures.of_control();
    text += &format!(
        " {negative} of {} outliers score below zero, and so do {} of {} held-out rows: the sign of a score alone proves \
         {}.",
        rows.len(),
        held_out.negative,
        held_out.rows,
        figures.of_sign(),
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
                unknown_entity: false,
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
            entity_count: 0,
            lowest: vec![],
        };
        let evaluation = Evaluation {
            rows: evaluation.0,
            auc: evaluation.1,
            flagged: evaluation.2,
            lowest: vec![],
        };
        expected.assert_eq(&verdict(&Figures {
            rows: &rows,
            threshold: &threshold,
            held_out: &held_out,
            control: None,
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

    #[test]
    fn own_rows_are_told_what_they_are_measured_with() {
        let threshold = Threshold {
            value: 0.5,
            false_positive_rate: 0.05,
        };
        let row = |score: f32, unknown_entity: bool| Row {
            entity: "ana".into(),
            ip: [192, 0, 2, 1].into(),
            score,
            anomalous: !unknown_entity && score < threshold.value,
            unknown_entity,
            percentile: 0.0,
            reason: None,
        };
        let held_out = HeldOut {
            rows: 40,
            auc_vs_outliers: None,
            flagged: 1,
            negative: 0,
            quantiles: vec![],
            entities: vec![],
            entity_count: 0,
            lowest: vec![],
        };
        let check = |rows: &[Row], auc: Option<f64>, kind, expected: Expect| {
            expected.assert_eq(&own_verdict(
                &Figures {
                    rows,
                    threshold: &threshold,
                    held_out: &held_out,
                    control: None,
                    evaluation: &Evaluation {
                        rows: 40,
                        auc,
                        flagged: 30,
                        lowest: vec![],
                    },
                },
                kind,
            ));
        };
        check(
            &[row(1.0, false), row(-1.0, false), row(-2.0, true)],
            Some(0.98),
            EvaluationRows::Exchanged,
            expect![
                "Scores below 0.500 are flagged: at most 5 % of rows like the held-out ones (1 of 40 held-out rows lie below it). Over 40 held-out addresses that were given to other entities the AUC is 0.98 (0.5 is a coin, 1 is perfect), and 75 % of them are flagged: this model tells an address of somebody else from one's own well. An attacker may come from elsewhere than a colleague's network, and be easier or harder to find. 1 of 2 rows to judge are flagged; of normal ones it would be about 0.1 by chance. One row to judge is of an entity that has no training rows, and has no verdict. 0 of 40 held-out rows score below zero: the sign of a score alone proves little."
            ],
        );
        check(
            &[],
            Some(0.7),
            EvaluationRows::Given,
            expect![
                "Scores below 0.500 are flagged: at most 5 % of rows like the held-out ones (1 of 40 held-out rows lie below it). Over 40 rows that are known not to be normal the AUC is 0.70 (0.5 is a coin, 1 is perfect), and 75 % of them are flagged: this model is a weak hint, not a detector. 0 of 40 held-out rows score below zero: the sign of a score alone proves little."
            ],
        );
        check(
            &[row(-2.0, true), row(-2.0, true)],
            None,
            EvaluationRows::None,
            expect![
                "Scores below 0.500 are flagged: at most 5 % of rows like the held-out ones (1 of 40 held-out rows lie below it). There are no rows to measure with that are not normal: nothing here says what the model would find. 2 rows to judge are of entities that have no training rows, and have no verdict. 0 of 40 held-out rows score below zero: the sign of a score alone proves little."
            ],
        );
    }
}
