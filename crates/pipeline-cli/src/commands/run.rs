//! `ipinsights run`: from sample to verdict.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use geodata::Sample;
use jiff::Timestamp;
use pipeline::{Report, Settings, SettingsDraft};

use crate::cli::{Common, RunArgs};
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
    }
    let sample = sample::draw(&args.sampling, &progress)?;
    let params = train::hyperparameters(
        &args.training,
        sample.train.len(),
        sample.manifest.countries.len(),
    )?;
    let settings = draft.check(params)?;

    let opened = Opened::open(&args.place, &progress).await?;
    let told = Arc::clone(&progress);
    let result = pipeline::run(
        &opened.clients,
        &settings,
        &sample,
        Timestamp::now(),
        signals.first(),
        &mut |event| told.pipeline(event),
    )
    .await;
    opened.close().await;
    let report = result?;
    // What the run found is printed whatever becomes of the files.
    let written = folder
        .map(|folder| write(folder, &report, &settings, &sample))
        .transpose();
    if let (Some(folder), Ok(_)) = (folder, &written) {
        progress.done("written", &folder.join("report.html").display().to_string());
    }
    progress.done("finished", &format!("in {:.1} s", began.elapsed().as_secs_f64()));
    progress.finish();
    if output.is_json() {
        output.json(&report)?
    } else {
        output.text(&text(&report))?
    }
    written.map(drop)
}

fn write(folder: &Path, report: &Report, settings: &Settings, sample: &Sample) -> anyhow::Result<()> {
    sample.write_to(folder)?;
    let image = ipinsights_client::image_uri(&report.region)?;
    let machine = pipeline::definition::definition(settings, &image)?;
    let files = [
        ("report.html", report.to_html(&machine)),
        ("report.json", serde_json::to_string_pretty(report)? + "\n"),
        ("definition.asl.json", machine.to_json_string() + "\n"),
        ("definition.svg", machine.to_svg()),
    ];
    for (name, text) in files {
        Draft::at(&folder.join(name))?.fill(|file| Ok(file.write_all(text.as_bytes())?))?;
    }
    Ok(())
}

fn text(report: &Report) -> String {
    let mut rows = table([
        "claims to be",
        "address",
        "score",
        "held-out scoring lower",
        "verdict",
    ]);
    for row in &report.rows {
        rows.add_row([
            row.entity.clone(),
            row.ip.to_string(),
            format!("{:.3}", row.score),
            format!("{:.0} %", row.percentile * 100.0),
            if row.anomalous {
                "anomalous"
            } else {
                "not told apart"
            }
            .to_owned(),
        ]);
    }
    let mut held_out = table(["held out, in country", "rows", "median score", "flagged"]);
    for entity in &report.held_out.entities {
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
    format!(
        "{}\n\n{}\n\nheld-out scores at 0, 5, 25, 50, 75, 95, 100 %: {}\nthreshold {:.3} (at most {:.1} % of in-country \
         rows lie below it)\nendpoint {} {}, execution {}\n\n{}",
        rows.trim_fmt(),
        held_out.trim_fmt(),
        quantiles.join(", "),
        report.threshold.value,
        report.threshold.false_positive_rate * 100.0,
        report.endpoint.name,
        report.endpoint.status,
        report.execution.status,
        wrap(&report.verdict),
    )
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
