//! `ipinsights calibrate`: what a model needs to judge, put into its file without training anew.

use std::path::{Path, PathBuf};

use clap::Args;
use ipinsights::{Detector, History, HistoryBuilder, Model};
use serde::Serialize;

use crate::exit::Failure;
use crate::files::{Draft, Rows};
use crate::output::Output;
use crate::progress::Progress;

/// `ipinsights calibrate`
#[derive(Debug, Args)]
#[command(
    after_help = "The weights stay as they are, byte for byte. Held-out rows are normal ones that the model was not trained on; their \
order does not matter."
)]
pub struct CalibrateArgs {
    /// The model
    #[arg(long, short, value_name = "FILE", default_value = "model.tar.gz")]
    pub model: PathBuf,
    /// Held-out rows, `entity,ip`: normal, and not trained on [default: those the model was calibrated with before]
    #[arg(long, short, value_name = "FILE")]
    pub data: Option<PathBuf>,
    /// The share of normal rows that may be flagged
    #[arg(long, value_name = "RATE", default_value_t = 0.01)]
    pub false_positive_rate: f64,
    /// Also keep who came from where, from these training rows, so that scores can be explained
    #[arg(long, value_name = "FILE")]
    pub history: Option<PathBuf>,
    /// Where the calibrated model goes [default: where it was]
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// The JSON answer.
#[derive(Debug, Serialize)]
struct Answer<'a> {
    version: u32,
    model: &'a Path,
    held_out_rows: usize,
    /// Of the held-out rows given now, those of entities that the model does not know; they are left out.
    unknown_entities: usize,
    threshold: ipinsights::Threshold,
    interval: ipinsights::ThresholdInterval,
    #[serde(skip_serializing_if = "Option::is_none")]
    history: Option<Kept>,
}

/// What was kept of the training rows.
#[derive(Debug, Serialize)]
struct Kept {
    entities: usize,
    uses: usize,
}

/// Runs the command.
pub fn run(args: &CalibrateArgs, output: &Output) -> anyhow::Result<()> {
    let progress = Progress::new(output.quiet);
    progress.now("reading the model");
    let mut model = super::score::open_model(&args.model)?;
    let target = args.output.as_deref().unwrap_or(&args.model);
    let draft = Draft::at(target)?;
    let mut unknown_entities = 0;
    let detector = match &args.data {
        Some(path) => {
            progress.now("scoring held-out rows");
            let mut events = Vec::new();
            for event in Rows::of(path)?.read()? {
                let event = event?;
                // Their scores say nothing, so they are no measure of what is normal.
                match model.knows_entity(&event.entity) {
                    true => events.push(event),
                    false => unknown_entities += 1,
                }
            }
            Detector::calibrate(&model.score_batch(&events), args.false_positive_rate)
        }
        None => match model.detector() {
            Some(detector) => detector.with_rate(args.false_positive_rate),
            None => {
                let message = "the model was never calibrated: give held-out rows with --data";
                return Err(Failure::usage(message).into());
            }
        },
    };
    let detector = detector.map_err(|error| Failure::data(error.to_string()))?;
    let interval = detector
        .interval()
        .map_err(|error| Failure::data(error.to_string()))?;
    let threshold = *detector.threshold();
    let held_out_rows = threshold.rows();
    model.set_detector(Some(detector));
    if let Some(path) = &args.history {
        progress.now("reading training rows");
        model.set_history(Some(history(&Rows::of(path)?)?));
    }
    write(&model, draft)?;
    progress.finish();

    let kept = args.history.as_ref().and(model.history()).map(|history| Kept {
        entities: history.entities(),
        uses: history.uses(),
    });
    if output.is_json() {
        return output.json(&Answer {
            version: 1,
            model: target,
            held_out_rows,
            unknown_entities,
            threshold,
            interval,
            history: kept,
        });
    }
    let end = |score: Option<ipinsights::Score>| {
        score.map_or("?".to_owned(), |s| format!("{:.3}", s.dot_product()))
    };
    let mut text = format!(
        "{}: scores below {:.3} are anomalous; {} % of normal rows, by {held_out_rows} held-out ones\nwith 95 % confidence, the \
         threshold for this rate lies between {} and {}, and this one flags {:.2} to {:.2} % of normal rows",
        target.display(),
        threshold.value().dot_product(),
        threshold.false_positive_rate() * 100.0,
        end(interval.low),
        end(interval.high),
        interval.false_positive_rate.low * 100.0,
        interval.false_positive_rate.high * 100.0,
    );
    if unknown_entities > 0 {
        text += &format!(
            "\n{unknown_entities} held-out rows are of entities that the model does not know, and were left out"
        );
    }
    if let Some(kept) = kept {
        text += &format!(
            "\nhistory: {} entities, {} uses of a /24",
            kept.entities, kept.uses
        );
    }
    output.text(&text)
}

fn write(model: &Model, draft: Draft) -> anyhow::Result<()> {
    draft.fill(|file| Ok(model.write_archive(file)?))
}

/// Who came from where, without times: the rows have none.
pub fn history(rows: &Rows) -> anyhow::Result<History> {
    let mut builder = HistoryBuilder::default();
    for event in rows.read()? {
        let event = event?;
        builder
            .add(&event.entity, event.ip, None)
            .map_err(|error| Failure::data(error.to_string()))?;
    }
    Ok(builder.finish())
}
