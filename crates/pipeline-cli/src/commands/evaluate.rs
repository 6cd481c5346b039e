//! `ipinsights evaluate`: how well a model tells normal rows from others.

use std::path::{Path, PathBuf};

use access_events::AccessEvent;
use anyhow::Context;
use clap::Args;
use ipinsights::evaluation::{Evaluation, Operation, Report};
use ipinsights::{History, Model, ReasonOptions, Score};
use pipeline::EvaluationReport;
use pipeline::evaluation::{EvaluationKind, EvaluationRecord, FileRecord, Lowest, RowsRecord};
use pipeline::report::{MOST_LISTED, Row};

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

/// Runs the command.
pub fn run(args: &EvaluateArgs, output: &Output) -> anyhow::Result<()> {
    let progress = Progress::new(output.quiet);
    let report_folder = (!args.no_report).then_some(args.report.as_path());
    for folder in report_folder.into_iter().chain(args.pictures.as_deref()) {
        files::probe(folder)?;
    }
    let report = evaluate(
        &Sources {
            model: &args.model,
            normal: &args.normal,
            anomalous: &args.anomalous,
            history: args.history.as_deref(),
        },
        &progress,
    )?;
    // The figures are printed whatever becomes of the files.
    let drawn = args
        .pictures
        .as_deref()
        .map(|folder| draw(folder, &report.figures));
    let written = report_folder.map(|folder| write(folder, &report));
    if let (Some(folder), Some(Ok(()))) = (report_folder, &written) {
        progress.done("written", &folder.join("report.html").display().to_string());
    }
    progress.finish();
    if output.is_json() {
        output.json(&report)?;
    } else {
        let mut text = figures(&report.figures);
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

/// The files that an evaluation reads.
pub(crate) struct Sources<'a> {
    pub(crate) model: &'a Path,
    pub(crate) normal: &'a Path,
    pub(crate) anomalous: &'a Path,
    pub(crate) history: Option<&'a Path>,
}

/// One side, scored.
struct Side {
    events: Vec<AccessEvent>,
    scores: Vec<Score>,
    /// The number of training rows of each row's entity, where that is known.
    activity: Vec<u64>,
    record: RowsRecord,
}

impl Side {
    fn read(
        path: &Path,
        model: &Model,
        history: Option<&History>,
        progress: &Progress,
    ) -> anyhow::Result<Self> {
        progress.now(&format!("scoring `{}`", path.display()));
        let rows = Rows::of(path)?;
        let events: Vec<_> = rows.read()?.collect::<Result<_, _>>()?;
        let activity = |history: &History| {
            let entities = events.iter().map(|event| event.entity.as_str());
            entities.map(|entity| history.activity(entity)).collect()
        };
        let unknown = events.iter().filter(|event| !model.knows_entity(&event.entity));
        Ok(Self {
            scores: model.score_batch(&events),
            activity: history.map_or(Vec::new(), activity),
            record: RowsRecord {
                path: path.display().to_string(),
                sha256: rows.sha256()?,
                rows: events.len(),
                unknown_entities: unknown.count(),
            },
            events,
        })
    }

    /// The rows with the lowest scores, judged by `line`; the percentile is among the scores of `normal`, lowest first.
    fn lowest(&self, model: &Model, history: Option<&History>, line: Score, normal: &[f32]) -> Vec<Row> {
        let mut pairs: Vec<(&AccessEvent, Score)> =
            self.events.iter().zip(self.scores.iter().copied()).collect();
        pairs.sort_by(|a, b| a.1.cmp_normality(b.1).then_with(|| a.0.cmp(b.0)));
        let options = ReasonOptions {
            history,
            ..Default::default()
        };
        let row = |(event, score): (&AccessEvent, Score)| {
            let below = normal.partition_point(|value| *value < score.dot_product());
            let is_known = model.knows_entity(&event.entity);
            Row {
                entity: event.entity.clone(),
                ip: event.ip,
                score: score.dot_product(),
                anomalous: is_known && score.cmp_normality(line).is_lt(),
                unknown_entity: !is_known,
                percentile: below as f64 / normal.len().max(1) as f64,
                reason: Some(model.explain(&event.entity, event.ip, &options).sentence),
            }
        };
        pairs.into_iter().take(MOST_LISTED).map(row).collect()
    }
}

/// Scores both sides and says what that is worth.
pub(crate) fn evaluate(sources: &Sources<'_>, progress: &Progress) -> anyhow::Result<EvaluationReport> {
    progress.now("reading the model");
    let (model, model_sha256) = super::score::open_hashed_model(sources.model)?;
    let given = match sources.history {
        Some(path) => {
            progress.now("reading training rows");
            let rows = Rows::of(path)?;
            let record = FileRecord {
                path: path.display().to_string(),
                sha256: rows.sha256()?,
            };
            Some((super::calibrate::history(&rows)?, record))
        }
        None => None,
    };
    let history = given.as_ref().map(|(history, _)| history).or(model.history());
    let normal = Side::read(sources.normal, &model, history, progress)?;
    let anomalous = Side::read(sources.anomalous, &model, history, progress)?;
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
    let figures = evaluation
        .report()
        .map_err(|error| Failure::data(error.to_string()))?;
    progress.now("looking for reasons");
    let line = line(&figures);
    let mut sorted: Vec<f32> = normal.scores.iter().map(|score| score.dot_product()).collect();
    sorted.sort_by(f32::total_cmp);
    Ok(EvaluationReport {
        kind: EvaluationKind::Evaluation,
        verdict: pipeline::evaluation::in_words(&figures),
        line: line.dot_product(),
        lowest: Lowest {
            normal: normal.lowest(&model, history, line, &sorted),
            anomalous: anomalous.lowest(&model, history, line, &sorted),
        },
        record: EvaluationRecord {
            build: crate::build::build(),
            seed: model.seed(),
            hyperparameters: params.to_map(),
            model: FileRecord {
                path: sources.model.display().to_string(),
                sha256: model_sha256,
            },
            normal: normal.record,
            anomalous: anomalous.record,
            history: given.map(|(_, record)| record),
        },
        figures,
    })
}

/// Where the report draws its line: at the calibrated threshold, or the best at this rate of false alarms.
fn line(figures: &Report) -> Score {
    const RATE: f64 = 0.01;

    let calibrated = figures.at_threshold.map(|at| at.operation.threshold);
    let best = || {
        let mut rates = figures.recall_at.iter();
        let best = rates.find(|at| at.false_positive_rate == RATE);
        best.map_or(Score::new(0.0), |best| best.operation.threshold)
    };
    calibrated.unwrap_or_else(best)
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

/// The page, and the same as JSON.
fn write(folder: &Path, report: &EvaluationReport) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("`{}` cannot be made", folder.display()))?;
    let files = [
        ("report.html", report.to_html()?),
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
