//! `ipinsights evaluate`: how well a model tells normal rows from others.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use ipinsights::evaluation::{Evaluation, Operation, Report};
use ipinsights::{Model, Score};

use crate::exit::Failure;
use crate::files::{self, Draft, Rows};
use crate::output::{Output, table};
use crate::progress::Progress;

/// `ipinsights evaluate`
#[derive(Debug, Args)]
#[command(after_help = "The calibrated threshold is the model's own, see `ipinsights calibrate`.")]
pub struct EvaluateArgs {
    /// The model
    #[arg(long, short, value_name = "FILE", default_value = "model.tar.gz")]
    pub model: PathBuf,
    /// Normal rows that the model was not trained on, `entity,ip`
    #[arg(long, value_name = "FILE")]
    pub normal: PathBuf,
    /// Rows that are not normal
    #[arg(long, value_name = "FILE")]
    pub anomalous: PathBuf,
    /// Training rows, for the figures by activity of the entity [default: the history in the model, if it has one]
    #[arg(long, value_name = "FILE")]
    pub history: Option<PathBuf>,
    /// Also draw the curves, as SVG files in this folder
    #[arg(long, value_name = "DIR")]
    pub pictures: Option<PathBuf>,
    /// Folder for report.html, a page to send around, and report.json
    #[arg(long, value_name = "DIR", default_value = "evaluation-report")]
    pub report: PathBuf,
    /// Write no report
    #[arg(long, conflicts_with = "report")]
    pub no_report: bool,
}

/// Scores of one side, with the number of training rows of each row's entity.
struct Side {
    scores: Vec<Score>,
    activity: Vec<u64>,
}

/// Runs the command.
pub fn run(args: &EvaluateArgs, output: &Output) -> anyhow::Result<()> {
    let progress = Progress::new(output.quiet);
    let report_folder = (!args.no_report).then_some(args.report.as_path());
    for folder in report_folder.into_iter().chain(args.pictures.as_deref()) {
        files::probe(folder)?;
    }
    progress.now("reading the model");
    let model = super::score::open_model(&args.model)?;
    let given = match &args.history {
        Some(path) => {
            progress.now("reading training rows");
            Some(super::calibrate::history(&Rows::of(path)?)?)
        }
        None => None,
    };
    let history = given.as_ref().or(model.history());
    let side = |path: &PathBuf, model: &Model| -> anyhow::Result<Side> {
        progress.now(&format!("scoring `{}`", path.display()));
        let events: Vec<_> = Rows::of(path)?.read()?.collect::<Result<_, _>>()?;
        Ok(Side {
            scores: model.score_batch(&events),
            activity: history.map_or(Vec::new(), |history| {
                events
                    .iter()
                    .map(|event| history.activity(&event.entity))
                    .collect()
            }),
        })
    };
    let normal = side(&args.normal, &model)?;
    let anomalous = side(&args.anomalous, &model)?;
    let params = model.hyperparameters();
    let negatives = params.random_negative_sampling_rate() + params.shuffled_negative_sampling_rate();
    let mut evaluation =
        Evaluation::new(&normal.scores, &anomalous.scores).log_odds(f64::from(negatives).ln());
    if history.is_some() {
        evaluation = evaluation.activity(&normal.activity, &anomalous.activity);
    }
    if let Some(detector) = model.detector() {
        evaluation = evaluation.threshold(detector.threshold());
    }
    let report = evaluation
        .report()
        .map_err(|error| Failure::data(error.to_string()))?;
    // The figures are printed whatever becomes of the files.
    let drawn = args.pictures.as_deref().map(|folder| draw(folder, &report));
    let written = report_folder.map(|folder| write(folder, args, &report));
    if let (Some(folder), Some(Ok(()))) = (report_folder, &written) {
        progress.done("written", &folder.join("report.html").display().to_string());
    }
    progress.finish();
    if output.is_json() {
        output.json(&report)?;
    } else {
        let mut text = figures(&report);
        if let Some(Ok(drawn)) = &drawn {
            let names: Vec<String> = drawn.iter().map(|path| path.display().to_string()).collect();
            text += &format!("\n\n{}", names.join("\n"));
        }
        output.text(&text)?;
    }
    drawn.transpose()?;
    written.transpose()?;
    Ok(())
}

/// The curves, as files.
fn draw(folder: &Path, report: &Report) -> anyhow::Result<Vec<PathBuf>> {
    std::fs::create_dir_all(folder).with_context(|| format!("`{}` cannot be made", folder.display()))?;
    let mut drawn = Vec::new();
    for picture in report.pictures()? {
        let path = folder.join(picture.name);
        Draft::at(&path)?.fill(|file| Ok(file.write_all(picture.svg.as_bytes())?))?;
        drawn.push(path);
    }
    Ok(drawn)
}

/// The page, and the figures as JSON.
fn write(folder: &Path, args: &EvaluateArgs, report: &Report) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("`{}` cannot be made", folder.display()))?;
    // A model in a folder has no one checksum.
    let model_sha256 = if args.model.is_dir() {
        "a folder".to_owned()
    } else {
        files::sha256(&args.model)?
    };
    let source = pipeline::EvaluationSource {
        model: args.model.display().to_string(),
        model_sha256,
        rows: [("normal", &args.normal), ("anomalous", &args.anomalous)]
            .map(|(kind, path)| (format!("{kind} rows"), path.display().to_string()))
            .into(),
        build: crate::build::build(),
    };
    let files = [
        ("report.html", pipeline::evaluation_to_html(report, &source)?),
        ("report.json", serde_json::to_string_pretty(report)? + "\n"),
    ];
    for (name, text) in files {
        Draft::at(&folder.join(name))?.fill(|file| Ok(file.write_all(text.as_bytes())?))?;
    }
    Ok(())
}

fn figures(report: &Report) -> String {
    let mut text = format!(
        "{} normal rows, {} anomalous\nAUC {:.4} ({:.4} to {:.4} with 95 % confidence), average precision {:.4}, expected \
         calibration error {:.4}\n\n",
        report.normal,
        report.anomalous,
        report.auc,
        report.auc_interval.low,
        report.auc_interval.high,
        report.average_precision,
        report.reliability.expected_calibration_error,
    );
    let mut lines = table(["line", "threshold", "false positives", "recall", "precision"]);
    let mut add = |name: String, operation: &Operation| {
        lines.add_row([
            name,
            format!("{:.3}", operation.threshold.dot_product()),
            percent(operation.false_positive_rate),
            format!(
                "{} ({} to {})",
                percent(operation.recall),
                percent(operation.recall_interval.low),
                percent(operation.recall_interval.high)
            ),
            operation.precision.map_or("-".to_owned(), |p| format!("{p:.4}")),
        ]);
    };
    add("score 0".to_owned(), &report.at_zero);
    if let Some(at) = &report.at_threshold {
        add(
            format!("calibrated, {} %", at.stated_false_positive_rate * 100.0),
            &at.operation,
        );
    }
    for at in &report.recall_at {
        add(
            format!("best at {} %", at.false_positive_rate * 100.0),
            &at.operation,
        );
    }
    text += &lines.trim_fmt();
    if let Some(at) = report.at_threshold.filter(|at| !at.keeps_promise) {
        text += &format!(
            "\nThe normal rows here are flagged more often than the calibrated {} % explains: they are not like the held-out ones.",
            at.stated_false_positive_rate * 100.0
        );
    }
    if !report.activity.is_empty() {
        let mut lines = table([
            "training rows of the entity",
            "normal",
            "anomalous",
            "AUC",
            "false positives",
            "recall",
            "lift",
        ]);
        for group in &report.activity {
            let share = |share: Option<f64>| share.map_or("-".to_owned(), percent);
            let number = |number: Option<f64>, digits: usize| {
                number.map_or("-".to_owned(), |n| format!("{n:.digits$}"))
            };
            let rows = match group.from == group.to {
                true => group.from.to_string(),
                false => format!("{} to {}", group.from, group.to),
            };
            lines.add_row([
                rows,
                group.normal.to_string(),
                group.anomalous.to_string(),
                number(group.auc, 4),
                share(group.false_positive_rate),
                share(group.recall),
                number(group.lift, 2),
            ]);
        }
        text += &format!("\n\n{}", lines.trim_fmt());
    }
    text
}

fn percent(share: f64) -> String {
    format!("{:.2} %", share * 100.0)
}
