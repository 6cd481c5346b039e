//! The report of `ipinsights evaluate`: figures, with what they were made of.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::report::{Build, Difference, Row, differences, schema, worth};

/// What an evaluation found, and what it was made of.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct EvaluationReport {
    /// The figures; their `version` is that of the whole.
    #[serde(flatten)]
    pub figures: ipinsights::evaluation::Report,
    /// What tells it from other reports.
    pub kind: EvaluationKind,
    /// What the figures are worth, in a few sentences computed from them.
    pub verdict: String,
    /// The score below which rows are called anomalous: the calibrated threshold, or the best at 1 % false positives.
    pub line: f32,
    /// Rows with what became of them.
    pub lowest: Lowest,
    /// What it takes to do it again.
    pub record: EvaluationRecord,
}

/// The kind of an evaluation's report.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum EvaluationKind {
    /// The only one.
    #[default]
    Evaluation,
}

/// The rows with the lowest scores, of each side at most [`MOST_LISTED`](crate::report::MOST_LISTED).
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Lowest {
    /// Of the normal ones. The percentile of a row is among these.
    pub normal: Vec<Row>,
    /// Of the others.
    pub anomalous: Vec<Row>,
}

/// What an evaluation was made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EvaluationRecord {
    /// The program.
    pub build: Build,
    /// The seed that the model was trained with; an evaluation draws nothing.
    pub seed: u64,
    /// The hyperparameters that the model was trained with.
    pub hyperparameters: BTreeMap<String, String>,
    /// The model.
    pub model: FileRecord,
    /// The normal rows.
    pub normal: RowsRecord,
    /// The others.
    pub anomalous: RowsRecord,
    /// The training rows, where they were given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history: Option<FileRecord>,
}

/// A file that was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FileRecord {
    /// As it was written.
    pub path: String,
    /// SHA-256 of its bytes, hex.
    pub sha256: String,
}

/// A file of rows that was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RowsRecord {
    /// As it was written.
    pub path: String,
    /// SHA-256 of its bytes, hex.
    pub sha256: String,
    /// How many rows it has.
    pub rows: usize,
    /// How many of them are of entities that the model does not know, so that their scores mean nothing; they count all the same.
    pub unknown_entities: usize,
}

impl EvaluationReport {
    /// The JSON Schema (2020-12) of the JSON form.
    pub fn json_schema() -> Value {
        schema::<Self>()
    }

    /// What is not the same in a repetition, whose program may be another.
    ///
    /// `before` is the JSON form of the first report.
    ///
    /// # Errors
    ///
    /// None in practice: a report has a JSON form.
    pub fn differences(before: &Value, again: &Self) -> serde_json::Result<Vec<Difference>> {
        // Written and read, numbers are those of the first report.
        let now: Value = serde_json::from_str(&serde_json::to_string(again)?)?;
        Ok(differences(before, &now))
    }
}

/// So few rows of one side say little, whatever they say.
const FEW: usize = 30;

/// What the figures are worth, in a few sentences.
pub fn in_words(report: &ipinsights::evaluation::Report) -> String {
    let interval = report.auc_interval;
    // Judged by what is certain, not by luck.
    let mut text = format!(
        "A random normal row scores higher than a random anomalous one with probability {:.3} (0.5 is a coin, 1 is perfect), {:.3} to \
         {:.3} with 95 % confidence: going by the lower end, this model {}.",
        report.auc,
        interval.low,
        interval.high,
        worth(interval.low, "anomalous rows", "normal ones")
    );
    if report.normal.min(report.anomalous) < FEW {
        text += &format!(
            " With {} normal and {} anomalous rows that is little to go by.",
            report.normal, report.anomalous
        );
    }
    if let Some(at) = &report.at_threshold {
        text += &format!(
            " At its threshold it finds {} of the anomalous rows and flags {} of the normal ones.",
            per_cent(at.operation.recall),
            per_cent(at.operation.false_positive_rate)
        );
    }
    text
}

fn per_cent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}
