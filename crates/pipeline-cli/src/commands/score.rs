//! `ipinsights score`: rows in, scores out.

use std::fs::File;
use std::io::{BufReader, Write};
use std::sync::Arc;

use access_events::AccessEvent;
use anyhow::Context;
use ipinsights::{Model, Score};
use ipinsights_client::EndpointName;
use serde::Serialize;

use crate::cli::{Common, ScoreArgs};
use crate::exit::Failure;
use crate::files::Rows;
use crate::output::{Output, table};
use crate::progress::Progress;
use crate::target::Opened;

/// The JSON answer.
#[derive(Debug, Serialize)]
struct Answer<'a> {
    version: u32,
    threshold: Option<f32>,
    rows: Vec<Row<'a>>,
}

/// One row of the answer.
#[derive(Debug, Serialize)]
struct Row<'a> {
    entity: &'a str,
    ip: std::net::Ipv4Addr,
    score: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    anomalous: Option<bool>,
}

/// Runs the command.
pub async fn run(common: &Common, args: ScoreArgs, output: &Output) -> anyhow::Result<()> {
    let events = rows(&args)?;
    let progress = Arc::new(Progress::new(common.quiet));
    progress.now(&format!("scoring {} rows", events.len()));
    let scores: Vec<Score> = match &args.model {
        Some(path) => {
            let file = File::open(path).with_context(|| format!("`{}` cannot be read", path.display()))?;
            let model = Model::read_archive(BufReader::new(file))
                .with_context(|| format!("`{}` is not a model", path.display()))?;
            events
                .iter()
                .map(|event| model.score(&event.entity, event.ip))
                .collect()
        }
        None => {
            let endpoint: EndpointName = args
                .endpoint
                .parse()
                .map_err(|error: ipinsights_client::ParseNameError| Failure::usage(error.to_string()))?;
            let opened = Opened::open(&args.place, &progress).await?;
            let answer = opened.clients.ip_insights().score(&endpoint, &events).await;
            opened.close().await;
            match answer {
                Err(ipinsights_client::Error::NotFound(_)) => {
                    let message = format!(
                        "there is no endpoint `{endpoint}`: `ipinsights run` makes one, --endpoint names another, and \
                         --model FILE needs none"
                    );
                    return Err(Failure::usage(message).into());
                }
                answer => answer?,
            }
        }
    };
    progress.finish();
    let rows: Vec<Row<'_>> = events
        .iter()
        .zip(scores)
        .map(|(event, score)| Row {
            entity: &event.entity,
            ip: event.ip,
            score: score.dot_product(),
            anomalous: args.threshold.map(|threshold| score.dot_product() < threshold),
        })
        .collect();
    if output.is_json() {
        return output.json(&Answer {
            version: 1,
            threshold: args.threshold,
            rows,
        });
    }
    let mut lines = table(["entity", "address", "score", "verdict"]);
    for row in &rows {
        let verdict = match row.anomalous {
            Some(true) => "anomalous",
            Some(false) => "fits",
            None => "",
        };
        lines.add_row([
            row.entity.to_owned(),
            row.ip.to_string(),
            format!("{:.3}", row.score),
            verdict.to_owned(),
        ]);
    }
    output.text(&lines.trim_fmt())
}

fn rows(args: &ScoreArgs) -> anyhow::Result<Vec<AccessEvent>> {
    if let Some(path) = &args.input {
        return Rows::of(path)?.read()?.collect();
    }
    if args.rows.is_empty() {
        let events = access_events::read_csv(std::io::stdin().lock()).context("on stdin")?;
        if events.is_empty() {
            return Err(
                Failure::usage("no rows: give them as ENTITY,IP, by --input FILE, or on stdin").into(),
            );
        }
        return Ok(events);
    }
    let mut text = Vec::new();
    for row in &args.rows {
        writeln!(text, "{row}")?;
    }
    access_events::read_csv(text.as_slice()).context("in the arguments (each is a line)")
}
