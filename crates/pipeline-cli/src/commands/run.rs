//! `ipinsights run`: from sample to verdict.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use jiff::Timestamp;
use pipeline::report::{FailedRun, Row};
use pipeline::rows::{Given, OwnRowsDraft, Rows};
use pipeline::{Report, Settings, SettingsDraft};
use sfn_builder::StateMachine;

use crate::cli::{Common, OwnRows, RunArgs};
use crate::commands::{sample, train};
use crate::exit::Failure;
use crate::files::{self, Draft};
use crate::output::{Output, table};
use crate::progress::Progress;
use crate::signals::Signals;
use crate::target::{self, Opened};

/// Runs the command.
pub async fn run(common: &Common, args: RunArgs, output: &Output) -> anyhow::Result<()> {
    let began = Instant::now();
    let signals = Signals::listen();
    let progress = Arc::new(Progress::new(common.quiet));
    // Everything that can be wrong with the arguments is said before anything is sampled or sent.
    let draft = SettingsDraft {
        false_positive_rate: args.false_positive_rate,
        ..target::settings(args.place.target, &args.named.name, &args.account)
    };
    draft
        .clone()
        .check(train::hyperparameters(&args.training, 1, 1)?)?;
    if let Some(region) = &args.place.region {
        ipinsights_client::image_uri(region).map_err(|error| Failure::usage(error.to_string()))?;
    }
    let folder = (!args.no_report).then_some(&*args.report);
    if let Some(folder) = folder {
        files::probe(folder)?;
        spare_inputs(folder, &args.own)?;
    }
    let rows = match &args.own.rows {
        Some(path) => own_rows(path, &args.own, args.sampling.seed, &progress)?,
        None => Rows::from(sample::draw(&args.sampling, &progress)?),
    };
    let params = train::hyperparameters(&args.training, rows.train().len(), rows.entities())?;
    let settings = draft.check(params)?;

    let opened = Opened::open(&args.place, &progress).await?;
    let region = opened.clients.region().to_owned();
    let told = Arc::clone(&progress);
    let result = pipeline::run(
        &opened.clients,
        &settings,
        &rows,
        Timestamp::now(),
        signals.first(),
        &mut |event| told.pipeline(event),
    )
    .await;
    opened.close().await;
    // What the run came to is told whatever becomes of the files.
    let write = |outcome: Outcome<'_>| {
        let folder = folder?;
        let written = write(folder, outcome, &settings, &region, &rows);
        if written.is_ok() {
            progress.done("written", &folder.join("report.html").display().to_string());
        }
        Some(written)
    };
    let report = match result {
        Ok(report) => report,
        Err(failed) => {
            let written = failed
                .report
                .as_deref()
                .and_then(|report| write(Outcome::Failed(report)));
            if let Some(Err(error)) = written {
                progress.warn(&format!("there is no report of the failure: {error:#}"));
            }
            progress.finish();
            return Err(failed.error.into());
        }
    };
    let written = write(Outcome::Done(&report));
    progress.done("finished", &format!("in {:.1} s", began.elapsed().as_secs_f64()));
    progress.finish();
    if output.is_json() {
        output.json(&report)?
    } else {
        output.text(&text(&report))?
    }
    written.transpose().map(drop)
}

/// Sees that no file of the report takes the place of one that is read.
fn spare_inputs(folder: &Path, own: &OwnRows) -> anyhow::Result<()> {
    let inputs = [&own.rows, &own.validation, &own.test, &own.anomalous];
    for input in inputs.into_iter().flatten() {
        let place = files::real(input);
        let mut written = WRITTEN.iter().map(|name| files::real(&folder.join(name)));
        if place.is_some() && written.any(|written| written == place) {
            return Err(Failure::usage(format!(
                "`{}` would be replaced by the report's own file of that name: name another folder with --report",
                input.display()
            ))
            .into());
        }
    }
    Ok(())
}

/// The files of rows that a report may have.
const WRITTEN: [&str; 6] = [
    "train.csv",
    "validation.csv",
    "control.csv",
    "test.csv",
    "evaluation.csv",
    "manifest.json",
];

fn own_rows(path: &Path, own: &OwnRows, seed: u64, progress: &Progress) -> anyhow::Result<Rows> {
    progress.now("reading rows");
    let given = |path: &Path| -> anyhow::Result<Given> {
        let rows = files::Rows::of(path)?;
        Ok(Given {
            path: path.display().to_string(),
            rows: rows.read()?.collect::<Result<_, _>>()?,
            sha256: rows.sha256()?,
        })
    };
    let others = |path: &Option<PathBuf>| path.as_deref().map(given).transpose();
    let draft = OwnRowsDraft {
        train: given(path)?,
        validation: others(&own.validation)?,
        test: others(&own.test)?,
        anomalous: others(&own.anomalous)?,
        held_out: own.held_out_share,
        seed,
    };
    let own = draft.check()?;
    for skipped in &own.manifest().skipped {
        progress.warn(&format!(
            "left out for {}: {} rows {}",
            skipped.part.file(),
            skipped.rows,
            skipped.reason.as_str()
        ));
    }
    let rows = Rows::from(own);
    progress.done(
        "read",
        &format!(
            "{} training rows of {} entities, {} held out, {} to measure with, {} to judge",
            rows.train().len(),
            rows.entities(),
            rows.validation().len(),
            rows.evaluation().len(),
            rows.test().len()
        ),
    );
    Ok(rows)
}

/// What a run came to.
enum Outcome<'a> {
    Done(&'a Report),
    Failed(&'a FailedRun),
}

impl Outcome<'_> {
    /// As a page, and as JSON.
    fn forms(&self, machine: &StateMachine) -> serde_json::Result<(String, String)> {
        match self {
            Self::Done(report) => Ok((report.to_html(machine), serde_json::to_string_pretty(report)?)),
            Self::Failed(report) => Ok((report.to_html(machine), serde_json::to_string_pretty(report)?)),
        }
    }
}

fn write(
    folder: &Path,
    outcome: Outcome<'_>,
    settings: &Settings,
    region: &str,
    rows: &Rows,
) -> anyhow::Result<()> {
    match rows {
        Rows::Sample(sample) => drop(sample.write_to(folder)?),
        Rows::Own(_) => write_rows(folder, rows)?,
    }
    let image = ipinsights_client::image_uri(region)?;
    let machine = pipeline::definition::definition(settings, &image)?;
    let (page, json) = outcome.forms(&machine)?;
    let files = [
        ("report.html", page),
        ("report.json", json + "\n"),
        ("definition.asl.json", machine.to_json_string() + "\n"),
        ("definition.svg", machine.to_svg()),
    ];
    for (name, text) in files {
        Draft::at(&folder.join(name))?.fill(|file| Ok(file.write_all(text.as_bytes())?))?;
    }
    Ok(())
}

/// Writes the files of own rows, the manifest last. What an earlier report's manifest names and this one has not is deleted.
fn write_rows(folder: &Path, rows: &Rows) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("`{}` cannot be made", folder.display()))?;
    let files = rows.files()?;
    let earlier = std::fs::read(folder.join("manifest.json")).unwrap_or_default();
    let earlier: serde_json::Value = serde_json::from_slice(&earlier).unwrap_or_default();
    let stale = |name: &&str| {
        let of_earlier = |file: &serde_json::Value| file["name"] == **name;
        let is_earlier = earlier["files"]
            .as_array()
            .is_some_and(|files| files.iter().any(of_earlier));
        is_earlier && files.iter().all(|file| file.name != *name)
    };
    for name in WRITTEN.iter().filter(|name| stale(name)) {
        let path = folder.join(name);
        std::fs::remove_file(&path).with_context(|| format!("`{}` cannot be deleted", path.display()))?;
    }
    for file in &files {
        Draft::at(&folder.join(file.name))?.fill(|to| Ok(to.write_all(&file.bytes)?))?;
    }
    Ok(())
}

/// So many lines of a table are printed; the report has more.
const MOST_SHOWN: usize = 100;

fn more(lines: usize) -> String {
    match lines.checked_sub(MOST_SHOWN) {
        Some(more) if more > 0 => format!("\nand {more} more, see the report"),
        _ => String::new(),
    }
}

fn text(report: &Report) -> String {
    let is_own = report.manifest["kind"] == "rows";
    let mut rows = table([
        if is_own { "entity" } else { "claims to be" },
        "address",
        "score",
        "held-out scoring lower",
        "verdict",
    ]);
    for row in report.rows.iter().take(MOST_SHOWN) {
        rows.add_row([
            row.entity.clone(),
            row.ip.to_string(),
            format!("{:.3}", row.score),
            format!("{:.0} %", row.percentile * 100.0),
            verdict(row).to_owned(),
        ]);
    }
    let heading = if is_own {
        "held out"
    } else {
        "held out, in country"
    };
    let mut held_out = table([heading, "rows", "median score", "flagged"]);
    for entity in report.held_out.entities.iter().take(MOST_SHOWN) {
        held_out.add_row([
            entity.entity.clone(),
            entity.rows.to_string(),
            format!("{:.3}", entity.median),
            entity.flagged.to_string(),
        ]);
    }
    let quantiles: Vec<String> = report
        .held_out
        .quantiles
        .iter()
        .map(|score| format!("{score:.2}"))
        .collect();
    let mut tables = Vec::new();
    if !report.rows.is_empty() {
        tables.push(rows.trim_fmt() + &more(report.rows.len()));
    }
    tables.push(held_out.trim_fmt() + &more(report.held_out.entity_count));
    format!(
        "{}\n\nheld-out scores at 0, 5, 25, 50, 75, 95, 100 %: {}\nthreshold {:.3} (at most {:.1} % of {} \
         rows lie below it)\nendpoint {} {}, execution {}\n\n{}",
        tables.join("\n\n"),
        quantiles.join(", "),
        report.threshold.value,
        report.threshold.false_positive_rate * 100.0,
        if is_own { "held-out" } else { "in-country" },
        report.endpoint.name,
        report.endpoint.status,
        report.execution.status,
        wrap(&report.verdict),
    )
}

fn verdict(row: &Row) -> &'static str {
    match row {
        Row {
            unknown_entity: true, ..
        } => "unknown entity",
        Row { anomalous: true, .. } => "anomalous",
        _ => "not told apart",
    }
}

/// Breaks a paragraph into lines of at most the terminal's width, or 100 columns.
fn wrap(text: &str) -> String {
    let width = console::Term::stdout()
        .size_checked()
        .map_or(100, |(_, columns)| usize::from(columns))
        .clamp(40, 100);
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last().map_or(0, |line| line.chars().count());
        if line > 0 && line + 1 + word.chars().count() > width {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines.join("\n")
}
