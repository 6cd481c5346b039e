//! What came of it: as JSON, and as text.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;
use std::time::Duration;

use access_events::shape::Tally;
use access_events::{DropReason, Summary};
use indicatif::{HumanBytes, HumanCount};
use serde::Serialize;

use crate::cli::ExtractArgs;
use crate::output::table;

/// How many malformed records and inputs cut short the text shows; the JSON has more.
const SHOWN: usize = 5;

/// The counts, with a `version` that says what to expect of the members.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    version: u32,
    /// The file of the pairs, or of the earlier ones; nothing for stdout.
    output: Option<PathBuf>,
    /// The file of the later ones.
    later_output: Option<PathBuf>,
    inputs: u64,
    formats: BTreeMap<&'static str, u64>,
    /// Inputs that were not opened, by reason.
    inputs_left_out: BTreeMap<String, u64>,
    bytes_stored: u64,
    bytes_read: u64,
    records: u64,
    /// What the records tell of: each use gave a pair or is among `dropped`. A record may tell of several, or of none.
    uses: u64,
    /// Pairs written to `output`.
    pairs: u64,
    /// Pairs written to `later_output`.
    later_pairs: u64,
    /// Uses and records that gave no pair, and pairs that were left out, by reason.
    dropped: BTreeMap<String, u64>,
    /// Entities that had too few pairs.
    few_entities: u64,
    malformed: u64,
    malformed_examples: Vec<Malformed>,
    cut_short: u64,
    cut_short_examples: Vec<CutShort>,
    seconds: f64,
}

#[derive(Debug, Serialize)]
struct Malformed {
    input: String,
    /// One-based.
    record: u64,
    place: String,
    problem: String,
}

#[derive(Debug, Serialize)]
struct CutShort {
    input: String,
    /// Records before.
    records: u64,
    problem: String,
}

impl Report {
    pub(super) fn new(args: &ExtractArgs, summary: &Summary, tally: &Tally, elapsed: Duration) -> Self {
        let mut dropped: BTreeMap<String, u64> = names(&summary.drops);
        let shaped = [
            ("repeat", tally.repeats),
            ("few-events", tally.few),
            ("no-time", tally.untimed),
        ];
        for (reason, count) in shaped.into_iter().filter(|(_, count)| *count > 0) {
            *dropped.entry(reason.to_owned()).or_default() += count;
        }
        Self {
            version: 1,
            output: args.output.clone(),
            later_output: args.shaping.later.clone(),
            inputs: summary.inputs,
            formats: summary.formats.clone(),
            inputs_left_out: names(&summary.inputs_left_out),
            bytes_stored: summary.bytes_stored,
            bytes_read: summary.bytes_read,
            records: summary.records,
            uses: summary.uses,
            pairs: tally.train,
            later_pairs: tally.later,
            dropped,
            few_entities: tally.few_entities,
            malformed: summary.malformed,
            malformed_examples: summary
                .malformed_examples
                .iter()
                .map(|record| Malformed {
                    input: record.input.clone(),
                    record: record.record,
                    place: record.fault.place.to_string(),
                    problem: record.fault.problem.to_string(),
                })
                .collect(),
            cut_short: summary.cut_short,
            cut_short_examples: summary
                .cut_short_examples
                .iter()
                .map(|cut| CutShort {
                    input: cut.input.clone(),
                    records: cut.records,
                    problem: cut.problem.clone(),
                })
                .collect(),
            seconds: elapsed.as_secs_f64(),
        }
    }

    /// Whether everything was read, and every address that policy leaves out was one of IPv4.
    pub(super) fn is_complete(&self) -> bool {
        self.malformed == 0 && self.cut_short == 0 && !self.dropped.contains_key(DropReason::Ipv6.name())
    }

    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = self.write(&mut text);
        text.truncate(text.trim_end().len());
        text
    }

    fn write(&self, text: &mut String) -> std::fmt::Result {
        let formats: Vec<_> = self
            .formats
            .iter()
            .map(|(name, count)| format!("{} {name}", HumanCount(*count)))
            .collect();
        let formats = if formats.is_empty() {
            "empty".to_owned()
        } else {
            formats.join(", ")
        };
        write!(
            text,
            "{} ({formats}), {}",
            counted(self.inputs, "input"),
            HumanBytes(self.bytes_stored)
        )?;
        if self.bytes_read != self.bytes_stored {
            write!(text, " ({} unpacked)", HumanBytes(self.bytes_read))?;
        }
        writeln!(text, ", {:.1} s", self.seconds)?;
        write!(
            text,
            "{}, {}",
            counted(self.records, "record"),
            counted(self.pairs, "pair")
        )?;
        if let Some(output) = &self.output {
            write!(text, " to {}", output.display())?;
        }
        if let Some(later) = &self.later_output {
            write!(
                text,
                ", {} later ones to {}",
                HumanCount(self.later_pairs),
                later.display()
            )?;
        }
        text.push('\n');
        if !(self.dropped.is_empty() && self.inputs_left_out.is_empty()) {
            let mut rows = table(["left out", "why"]);
            if let Some(column) = rows.column_mut(0) {
                column.set_cell_alignment(comfy_table::CellAlignment::Right);
            }
            for (reason, count) in most_first(&self.dropped) {
                let entities = match reason {
                    "few-events" => format!(" (of {})", counted(self.few_entities, "entity")),
                    _ => String::new(),
                };
                rows.add_row([HumanCount(count).to_string(), format!("{reason}{entities}")]);
            }
            for (reason, count) in most_first(&self.inputs_left_out) {
                rows.add_row([HumanCount(count).to_string(), format!("{reason} (inputs)")]);
            }
            writeln!(text, "{}", rows.trim_fmt())?;
        }
        if self.malformed > 0 {
            writeln!(text, "{} skipped:", counted(self.malformed, "malformed record"))?;
            for record in self.malformed_examples.iter().take(SHOWN) {
                let Malformed {
                    input,
                    record,
                    place,
                    problem,
                } = record;
                writeln!(text, "  `{input}`: record {record} ({place}): {problem}")?;
            }
            more(text, self.malformed)?;
        }
        if self.cut_short > 0 {
            writeln!(text, "{} not read to the end:", counted(self.cut_short, "input"))?;
            for cut in self.cut_short_examples.iter().take(SHOWN) {
                let CutShort {
                    input,
                    records,
                    problem,
                } = cut;
                writeln!(text, "  `{input}` after record {records}: {problem}")?;
            }
            more(text, self.cut_short)?;
        }
        Ok(())
    }
}

fn names(counts: &BTreeMap<DropReason, u64>) -> BTreeMap<String, u64> {
    counts
        .iter()
        .map(|(reason, count)| (reason.name().to_owned(), *count))
        .collect()
}

fn most_first(counts: &BTreeMap<String, u64>) -> Vec<(&str, u64)> {
    let mut counts: Vec<_> = counts
        .iter()
        .map(|(name, count)| (name.as_str(), *count))
        .collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    counts
}

/// A number of things, in words: `1 entity`, `2,345 inputs`.
pub(super) fn counted(count: u64, what: &str) -> String {
    let number = HumanCount(count);
    match (count, what.strip_suffix('y')) {
        (1, _) => format!("1 {what}"),
        (_, Some(stem)) => format!("{number} {stem}ies"),
        _ => format!("{number} {what}s"),
    }
}

fn more(text: &mut String, count: u64) -> std::fmt::Result {
    match count.saturating_sub(SHOWN as u64) {
        0 => Ok(()),
        more => writeln!(text, "  … and {} more", HumanCount(more)),
    }
}
