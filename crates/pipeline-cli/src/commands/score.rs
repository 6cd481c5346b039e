//! `ipinsights score`: rows in, scores out; with a model file, verdicts and reasons too.

use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use access_events::AccessEvent;
use access_events::csv::TextReader;
use anyhow::Context;
use clap::{Args, ValueEnum};
use geodata::{Database, OpenOptions};
use ipinsights::{
    Doubtful, History, Impossible, Model, OutcomePolicy, Outcomes, RawRow, ReasonOptions, Reasons, Score,
    Verdict,
};
use serde::Serialize;

use crate::cli::{Common, ScoreArgs};
use crate::exit::Failure;
use crate::files::{Hashing, Rows};
use crate::output::{Output, table};
use crate::progress::Progress;
use crate::target::Opened;

/// What a model file can say beside a score.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "With a model file")]
pub struct Judging {
    /// Say why: what the entity used before, what the model finds alike, who usually comes from there
    #[arg(long, requires = "model")]
    pub explain: bool,
    /// Training rows to explain by, or a file of their history [default: the history in the model, if it has one]
    #[arg(long, value_name = "FILE", requires = "explain")]
    pub history: Option<PathBuf>,
    /// Country database to explain by: .mmdb, .tar.gz, the .zip of its CSV files, or a folder
    #[arg(long, value_name = "FILE", requires = "explain")]
    pub database: Option<PathBuf>,
    /// Entities that were not in the training rows: score them all the same, withhold the score, or refuse the rows
    #[arg(
        long,
        requires = "model",
        value_enum,
        default_value = "withhold",
        value_name = "score|withhold|reject",
        hide_possible_values = true
    )]
    pub unknown_entity: Doubt,
    /// Private addresses
    #[arg(
        long,
        requires = "model",
        value_enum,
        default_value = "score",
        value_name = "score|withhold|reject",
        hide_possible_values = true
    )]
    pub private_address: Doubt,
    /// Loopback, documentation, multicast and other reserved addresses
    #[arg(
        long,
        requires = "model",
        value_enum,
        default_value = "score",
        value_name = "score|withhold|reject",
        hide_possible_values = true
    )]
    pub reserved_address: Doubt,
    /// IPv6 addresses, which the algorithm does not know
    #[arg(
        long,
        requires = "model",
        value_enum,
        default_value = "withhold",
        value_name = "withhold|reject",
        hide_possible_values = true
    )]
    pub ipv6: NoScore,
    /// What is no address
    #[arg(
        long,
        requires = "model",
        value_enum,
        default_value = "withhold",
        value_name = "withhold|reject",
        hide_possible_values = true
    )]
    pub not_an_address: NoScore,
}

/// What to do with a doubtful score.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Doubt {
    /// Give it.
    Score,
    /// Say what the row is, and give no score.
    Withhold,
    /// Refuse the rows.
    Reject,
}

/// What to do where there is no score.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum NoScore {
    /// Say what the row is.
    Withhold,
    /// Refuse the rows.
    Reject,
}

impl From<Doubt> for Doubtful {
    fn from(doubt: Doubt) -> Self {
        match doubt {
            Doubt::Score => Self::Score,
            Doubt::Withhold => Self::Withhold,
            Doubt::Reject => Self::Reject,
        }
    }
}

impl From<NoScore> for Impossible {
    fn from(rule: NoScore) -> Self {
        match rule {
            NoScore::Withhold => Self::Withhold,
            NoScore::Reject => Self::Reject,
        }
    }
}

impl Judging {
    fn policy(&self) -> OutcomePolicy {
        OutcomePolicy {
            unknown_entity: self.unknown_entity.into(),
            private_address: self.private_address.into(),
            reserved_address: self.reserved_address.into(),
            ipv6: self.ipv6.into(),
            not_an_address: self.not_an_address.into(),
        }
    }
}

/// The JSON answer.
#[derive(Debug, Serialize)]
struct Answer<'a> {
    version: u32,
    threshold: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    false_positive_rate: Option<f64>,
    rows: Vec<Row<'a>>,
}

/// One row of the answer.
#[derive(Debug, Serialize)]
struct Row<'a> {
    entity: &'a str,
    /// As it came.
    ip: &'a str,
    score: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    anomalous: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    p_value: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    percentile: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcomes: Option<Outcomes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasons: Option<Reasons>,
}

/// What is known of a row.
#[derive(Default)]
struct Known {
    score: Option<Score>,
    verdict: Option<Verdict>,
    outcomes: Option<Outcomes>,
    reasons: Option<Reasons>,
}

/// Runs the command.
pub async fn run(common: &Common, args: ScoreArgs, output: &Output) -> anyhow::Result<()> {
    let rows = rows(&args)?;
    let progress = Arc::new(Progress::new(common.quiet));
    progress.now(&format!("scoring {} rows", rows.len()));
    let (known, stated) = match &args.scored.model {
        Some(path) => {
            let model = open_model(path)?;
            let known = by_model(&model, &rows, &args.judging, &progress)?;
            (known, model.detector().map(|detector| *detector.threshold()))
        }
        None => (by_endpoint(&args, &rows, &progress).await?, None),
    };
    progress.finish();
    // A threshold from the command line goes before the model's own.
    let threshold = args.scored.threshold.or(stated.map(|t| t.value().dot_product()));
    let answers: Vec<Row<'_>> = rows
        .iter()
        .zip(known)
        .map(|((entity, ip), known)| Row {
            entity,
            ip,
            score: known.score.map(Score::dot_product),
            anomalous: match args.scored.threshold {
                Some(threshold) => known
                    .score
                    .map(|score| score.cmp_normality(Score::new(threshold)).is_lt()),
                None => known.verdict.map(|verdict| verdict.anomalous),
            },
            p_value: known.verdict.map(|verdict| verdict.p_value),
            percentile: known.verdict.map(|verdict| verdict.percentile),
            outcomes: known.outcomes,
            reasons: known.reasons,
        })
        .collect();
    if output.is_json() {
        return output.json(&Answer {
            version: 1,
            threshold,
            false_positive_rate: match args.scored.threshold {
                Some(_) => None,
                None => stated.map(|t| t.false_positive_rate()),
            },
            rows: answers,
        });
    }
    let mut lines = table(["entity", "address", "score", "verdict"]);
    for row in &answers {
        let verdict = match row.anomalous {
            Some(true) => Some("anomalous".to_owned()),
            Some(false) => Some("fits".to_owned()),
            None => None,
        };
        let outcomes = row.outcomes.filter(|outcomes| !outcomes.is_ordinary());
        let said = verdict
            .into_iter()
            .chain(outcomes.map(|outcomes| outcomes.to_string()));
        lines.add_row([
            row.entity.to_owned(),
            row.ip.to_owned(),
            row.score.map_or("-".to_owned(), |score| format!("{score:.3}")),
            said.collect::<Vec<_>>().join(", "),
        ]);
    }
    let mut text = lines.trim_fmt();
    let reasons: Vec<&str> = answers
        .iter()
        .filter_map(|row| row.reasons.as_ref().map(|reasons| reasons.sentence.as_str()))
        .collect();
    if !reasons.is_empty() {
        text += &format!("\n\n{}", reasons.join("\n"));
    }
    output.text(&text)
}

/// Reads a model file.
pub fn open_model(path: &Path) -> anyhow::Result<Model> {
    let file = File::open(path).with_context(|| format!("`{}` cannot be read", path.display()))?;
    Model::read_archive(BufReader::new(file)).with_context(|| format!("`{}` is not a model", path.display()))
}

/// The same, with SHA-256 of the file in hex.
pub fn open_hashed_model(path: &Path) -> anyhow::Result<(Model, String)> {
    let unreadable = || format!("`{}` cannot be read", path.display());
    let mut file = Hashing::new(File::open(path).with_context(unreadable)?);
    let model = Model::read_archive(BufReader::new(&mut file))
        .with_context(|| format!("`{}` is not a model", path.display()))?;
    Ok((model, file.finish().with_context(unreadable)?))
}

fn by_model(
    model: &Model,
    rows: &[(String, String)],
    judging: &Judging,
    progress: &Progress,
) -> anyhow::Result<Vec<Known>> {
    let raw: Vec<RawRow<'_>> = rows
        .iter()
        .map(|(entity, address)| RawRow { entity, address })
        .collect();
    let judged = model
        .judge(&raw, &judging.policy())
        .map_err(|error| Failure::data(error.to_string()))?;
    let mut known: Vec<Known> = judged
        .into_iter()
        .map(|judgement| Known {
            score: judgement.score,
            verdict: judgement.verdict,
            outcomes: Some(judgement.outcomes),
            reasons: None,
        })
        .collect();
    if !judging.explain {
        return Ok(known);
    }
    progress.now("looking for reasons");
    let history = judging.history.as_deref().map(open_history).transpose()?;
    let database = judging
        .database
        .as_ref()
        .map(|path| Database::open_with(path, &OpenOptions::default()))
        .transpose()?;
    let country = |ip: Ipv4Addr| {
        let network = database.as_ref()?.lookup(ip).ok()??;
        network.country.map(|country| country.name.to_string())
    };
    let options = ReasonOptions {
        history: history.as_ref(),
        country: database.is_some().then_some(&country),
        ..Default::default()
    };
    for (row, known) in raw.iter().zip(&mut known) {
        // What is no IPv4 address has no reasons beside its outcome.
        let address = row.address.trim().parse::<std::net::IpAddr>();
        if let Ok(std::net::IpAddr::V4(ip)) = address.map(|ip| ip.to_canonical()) {
            known.reasons = Some(model.explain(row.entity, ip, &options));
        }
    }
    Ok(known)
}

/// The history of training rows: a file of it, or the rows themselves.
fn open_history(path: &Path) -> anyhow::Result<History> {
    let mut file = File::open(path).with_context(|| format!("`{}` cannot be read", path.display()))?;
    if path
        .extension()
        .is_some_and(|extension| extension == "safetensors")
    {
        return History::read(&mut file).map_err(|error| {
            Failure {
                source: Some(error.into()),
                ..Failure::data(format!("`{}` is no history", path.display()))
            }
            .into()
        });
    }
    super::calibrate::history(&Rows::of(path)?)
}

async fn by_endpoint(
    args: &ScoreArgs,
    rows: &[(String, String)],
    progress: &Arc<Progress>,
) -> anyhow::Result<Vec<Known>> {
    // The service takes nothing but IPv4; the error names the row.
    let mut text = Vec::new();
    for (entity, address) in rows {
        let ip = address.parse().map_err(|_| {
            Failure::data(format!(
                "`{address}` of `{entity}` is no IPv4 address, and an endpoint takes nothing else"
            ))
        })?;
        text.push(AccessEvent::new(entity.as_str(), ip));
    }
    let endpoint = args.scored.endpoint()?;
    let opened = Opened::open(&args.scored.place, progress).await?;
    let answer = opened.clients.ip_insights().score(&endpoint, &text).await;
    opened.close().await;
    let scores = match answer {
        Err(ipinsights_client::Error::NotFound(_)) => {
            let message = format!(
                "there is no endpoint `{endpoint}`: `ipinsights run` makes one, --endpoint names another, and \
                 --model FILE needs none"
            );
            return Err(Failure::usage(message).into());
        }
        answer => answer?,
    };
    let known = |score| Known {
        score: Some(score),
        ..Known::default()
    };
    Ok(scores.into_iter().map(known).collect())
}

/// Entities and addresses as they come.
fn rows(args: &ScoreArgs) -> anyhow::Result<Vec<(String, String)>> {
    let read = |from: &mut dyn Read| TextReader::new(from).collect::<Result<Vec<_>, _>>();
    if let Some(path) = &args.input {
        let mut file = File::open(path).with_context(|| format!("`{}` cannot be read", path.display()))?;
        return read(&mut file).with_context(|| format!("in `{}`", path.display()));
    }
    if args.rows.is_empty() {
        let rows = read(&mut std::io::stdin().lock()).context("on stdin")?;
        if rows.is_empty() {
            return Err(
                Failure::usage("no rows: give them as ENTITY,IP, by --input FILE, or on stdin").into(),
            );
        }
        return Ok(rows);
    }
    let mut text = Vec::new();
    for row in &args.rows {
        writeln!(text, "{row}")?;
    }
    read(&mut text.as_slice()).context("in the arguments (each is a line)")
}
