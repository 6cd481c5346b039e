//! The report as a page: one file that needs no network, light or dark as the reader prefers, and prints.

use std::time::Duration;

use base64::Engine as _;
use ipinsights::evaluation::Picture;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde_json::Value;
use sfn_builder::{Execution, StateMachine, StateRun, StateStatus};

use crate::Report;
use crate::report::{Build, worth};

/// What the page looks like. Colours are those of the pictures.
const STYLE: &str = include_str!("page.css");

/// Nothing is loaded and nothing runs; pictures are part of the file.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'";

impl Report {
    /// The report as an HTML document of its own. `machine` is the definition that the execution ran.
    ///
    /// Every value is escaped, and pictures are images, which run nothing; so a hostile name in the data does no harm.
    #[must_use]
    pub fn to_html(&self, machine: &StateMachine) -> String {
        let title = format!("{}: {}", self.endpoint.name, self.started_in_words());
        document(
            &title,
            &html! {
                header {
                    p.kind { "IP Insights, a run of the pipeline" }
                    h1 { (self.endpoint.name) }
                    p.when { (self.started_in_words()) ", " (self.place()) }
                }
                main {
                    (self.summary())
                    (self.outliers_section())
                    (self.machine_section(machine))
                    (pictures_section(&self.pictures, self.sides()))
                    (self.held_out_section())
                    (self.data_section())
                    (self.training_section())
                    (self.record_section())
                }
                footer { (self.attribution()) }
            },
        )
    }

    fn started_in_words(&self) -> String {
        // RFC 3339 without the fraction of the second.
        let (moment, _) = self.started.split_once('.').unwrap_or((&self.started, ""));
        format!("{} UTC", moment.trim_end_matches('Z').replace('T', " "))
    }

    fn place(&self) -> String {
        match self.target.as_str() {
            "local" => "on one machine, without an account".to_owned(),
            other => format!("{other}, {}", self.region),
        }
    }

    fn summary(&self) -> Markup {
        let auc = self.evaluation.auc.or(self.held_out.auc_vs_outliers);
        html! {
            section aria-labelledby="verdict" {
                h2 #verdict { "What it is worth" }
                p.verdict { (self.verdict) }
                dl.figures {
                    @if let Some(auc) = auc {
                        (figure("AUC", &format!("{auc:.3}"), "0.5 is a coin, 1 is perfect"))
                    }
                    (figure("outliers flagged", &format!("{} of {}", self.outliers_flagged, self.outliers), "scores below the threshold"))
                    @if self.evaluation.rows > 0 {
                        (figure(
                            "further outliers flagged",
                            &format!("{} of {}", self.evaluation.flagged, self.evaluation.rows),
                            "from the same country",
                        ))
                    }
                    (figure(
                        "held-out rows flagged",
                        &format!("{} of {}", self.held_out.flagged, self.held_out.rows),
                        &format!("false alarms, at most {} by the threshold's making", per_cent(self.threshold.false_positive_rate)),
                    ))
                    (figure("threshold", &format!("{:.3}", self.threshold.value), "a larger score is more normal"))
                }
            }
        }
    }

    fn outliers_section(&self) -> Markup {
        html! {
            section aria-labelledby="rows" {
                h2 #rows { "Scored rows" }
                div.wide {
                    table.stacked {
                        thead { tr {
                            th scope="col" { "claims to be" }
                            th scope="col" { "address" }
                            th.number scope="col" { "score" }
                            th.number scope="col" { "held-out rows scoring lower" }
                            th scope="col" { "verdict" }
                            @if self.rows.iter().any(|row| row.reason.is_some()) { th scope="col" { "what the training rows say" } }
                        } }
                        tbody {
                            @for row in &self.rows {
                                tr {
                                    td data-label="claims to be" { (row.entity) }
                                    td.code.whole data-label="address" { (row.ip) }
                                    td.number data-label="score" { (format!("{:.3}", row.score)) }
                                    td.number data-label="held-out rows scoring lower" { (per_cent(row.percentile)) }
                                    td data-label="verdict" {
                                        @if row.anomalous { span.flag { "anomalous" } } @else { "not told apart" }
                                    }
                                    @if let Some(reason) = &row.reason { td.reason { (reason) } }
                                }
                            }
                        }
                    }
                }
            }
        }
    }

    fn machine_section(&self, machine: &StateMachine) -> Markup {
        let mut execution = Execution::new();
        for visit in &self.execution.states {
            let before = execution.state(&visit.name).cloned();
            let seconds = Duration::try_from_secs_f64(visit.seconds).unwrap_or_default();
            let status = match visit.caught {
                Some(_) => StateStatus::Caught,
                None => StateStatus::Succeeded,
            };
            let worst = before.as_ref().map_or(status, |before| before.status.max(status));
            let mut run = StateRun::new(worst);
            run.entered = before.as_ref().map_or(1, |run| run.entered + 1);
            run.duration = Some(seconds + before.and_then(|run| run.duration).unwrap_or_default());
            execution.insert(visit.name.clone(), run);
        }
        let names: Vec<&str> = self
            .execution
            .states
            .iter()
            .map(|visit| visit.name.as_str())
            .collect();
        html! {
            section aria-labelledby="machine" {
                h2 #machine { "State machine" }
                p { "Execution " span.code { (self.execution.arn) } " ended as " (self.execution.status) "." }
                figure.machine {
                    (image(&machine.to_svg_with(&execution), &format!("The state machine; the execution went through {}.", names.join(", "))))
                }
                details {
                    summary { "States in the order in which they were passed" }
                    ol {
                        @for visit in &self.execution.states {
                            li {
                                (visit.name) " (" (format!("{:.3}", visit.seconds)) " s)"
                                @if let Some(error) = &visit.caught { ": failed with " span.code { (error) } ", which was caught" }
                            }
                        }
                    }
                }
            }
        }
    }

    /// What the pictures compare.
    fn sides(&self) -> &'static str {
        if self.evaluation.rows > 0 {
            "Held-out rows of the right country, \"normal\", against further outliers, \"anomalous\"."
        } else {
            "Held-out rows of the right country, \"normal\", against the outliers, \"anomalous\"."
        }
    }

    fn held_out_section(&self) -> Markup {
        let ends = ["lowest", "5 %", "25 %", "median", "75 %", "95 %", "highest"];
        html! {
            section aria-labelledby="held-out" {
                h2 #held-out { "Held-out rows" }
                p {
                    (self.held_out.rows) " rows of the right country that the model was not trained on; "
                    (self.held_out.negative) " of them score below zero."
                }
                div.wide {
                    table {
                        thead { tr {
                            th scope="col" { "entity" }
                            th.number scope="col" { "rows" }
                            th.number scope="col" { "median score" }
                            th.number scope="col" { "flagged" }
                        } }
                        tbody {
                            @for entity in &self.held_out.entities {
                                tr {
                                    td { (entity.entity) }
                                    td.number { (entity.rows) }
                                    td.number { (format!("{:.3}", entity.median)) }
                                    td.number { (entity.flagged) }
                                }
                            }
                        }
                    }
                    table {
                        thead { tr { @for end in ends { th.number scope="col" { (end) } } } }
                        tbody { tr {
                            @for score in &self.held_out.quantiles { td.number { (format!("{score:.2}")) } }
                        } }
                    }
                }
            }
        }
    }

    fn data_section(&self) -> Markup {
        let manifest = &self.manifest;
        let has_control = list(&manifest["countries"])
            .iter()
            .any(|country| country["control"].as_u64().is_some_and(|rows| rows > 0));
        html! {
            section aria-labelledby="data" {
                h2 #data { "Data" }
                p {
                    "Drawn with seed " (shown(&manifest["seed"])) " from "
                    (shown(&manifest["database"]["database_type"]))
                    ", built " (shown(&manifest["database"]["built"])) "."
                }
                div.wide {
                    table {
                        thead { tr {
                            th scope="col" { "country" }
                            th.number scope="col" { "networks" }
                            th.number scope="col" { "trained on" }
                            th.number scope="col" { "held out" }
                            th.number scope="col" { "outliers" }
                            @if has_control { th.number scope="col" { "control" } }
                        } }
                        tbody {
                            @for country in list(&manifest["countries"]) {
                                tr {
                                    td { (shown(&country["name"])) }
                                    td.number { (shown(&country["networks"])) }
                                    td.number { (shown(&country["train"])) }
                                    td.number { (shown(&country["validation"])) }
                                    td.number { "0" }
                                    @if has_control { td.number { (shown(&country["control"])) } }
                                }
                            }
                            @let outliers = &manifest["outliers"];
                            @if outliers.is_object() {
                                tr {
                                    td { (shown(&outliers["name"])) }
                                    td.number { (shown(&outliers["networks"])) }
                                    td.number { "0" }
                                    td.number { "0" }
                                    td.number { (shown(&outliers["test"])) " and " (shown(&outliers["evaluation"])) }
                                    @if has_control { td.number { "0" } }
                                }
                            }
                        }
                    }
                }
                @if manifest["test_rows"] == "published" {
                    p { "The scored rows are those of the published experiment, not drawn ones." }
                }
                @if has_control {
                    p { "The control rows are in the folder of the report, and were neither trained on nor scored." }
                }
                @for shortage in list(&manifest["shortages"]) {
                    p {
                        "Fewer than asked for: of the " (shown(&shortage["asked"])) " rows of " (shown(&shortage["code"])) " for "
                        (shown(&shortage["part"])) " there are " (shown(&shortage["drawn"])) "."
                    }
                }
                @let skipped: Vec<&Value> = list(&manifest["skipped"]).iter().filter(|skip| skip["networks"] != 0).collect();
                @if !skipped.is_empty() {
                    p {
                        "Left out: "
                        @for (index, skip) in skipped.iter().enumerate() {
                            @if index > 0 { ", " }
                            (shown(&skip["networks"])) " networks (" (shown(&skip["reason"])) ")"
                        }
                        "."
                    }
                }
            }
        }
    }

    fn training_section(&self) -> Markup {
        html! {
            section aria-labelledby="training" {
                h2 #training { "Training" }
                p { "Job " span.code { (self.training.job) } "." }
                @if let Some(picture) = &self.training_picture {
                    div.pictures { figure { (image(&picture.svg, &self.curve_in_words())) } }
                }
                div.pair {
                    (pairs("Hyperparameters", self.training.hyperparameters.iter().map(|(name, value)| (name.clone(), value.clone()))))
                    (pairs("Metrics", self.training.metrics.iter().map(|(name, value)| (name.clone(), value.to_string()))))
                }
            }
        }
    }

    fn curve_in_words(&self) -> String {
        let last = |of: fn(&crate::report::Epoch) -> Option<f64>| {
            let value = self.training.curve.iter().rev().find_map(of);
            value.map_or("not known".to_owned(), |value| format!("{value:.3}"))
        };
        format!(
            "Loss, accuracy and AUC of validation rows over {} epochs; at the end {}, {} and {}.",
            self.training.curve.len(),
            last(|epoch| epoch.loss),
            last(|epoch| epoch.accuracy),
            last(|epoch| epoch.discriminator_auc),
        )
    }

    fn record_section(&self) -> Markup {
        let files = list(&self.manifest["files"]).iter();
        let digests = files.map(|file| (shown(&file["name"]), shown(&file["sha256"])));
        let database = ("database".to_owned(), shown(&self.manifest["database"]["sha256"]));
        let record = self.record.clone().unwrap_or_default();
        let unknown = || "not known".to_owned();
        let program = [
            ("version".to_owned(), record.build.version),
            ("commit".to_owned(), record.build.commit.unwrap_or_else(unknown)),
            (
                "sample written by".to_owned(),
                shown(&self.manifest["written_by"]),
            ),
            ("seed".to_owned(), shown(&self.manifest["seed"])),
            ("model".to_owned(), self.training.model_data.clone()),
            ("endpoint configuration".to_owned(), self.endpoint.config.clone()),
            ("state machine".to_owned(), self.execution.state_machine.clone()),
        ];
        let made = [
            (
                "model.tar.gz".to_owned(),
                record.model_sha256.unwrap_or_else(unknown),
            ),
            (
                "Cargo.lock".to_owned(),
                record.build.lock_sha256.unwrap_or_else(unknown),
            ),
        ];
        html! {
            section aria-labelledby="record" {
                h2 #record { "To do it again" }
                p {
                    "The same database, seed and hyperparameters give the same rows and the same model: "
                    span.code { "ipinsights verify report.json" } " runs it again and compares."
                }
                (pairs("Versions and names", program.into_iter()))
                (pairs("SHA-256", std::iter::once(database).chain(digests).chain(made)))
            }
        }
    }

    fn attribution(&self) -> Markup {
        html! {
            p { (shown(&self.manifest["database"]["attribution"])) }
        }
    }
}

/// What an evaluation was made of, for its page.
#[derive(Debug, Clone, Default)]
pub struct EvaluationSource {
    /// The model, as its file is called.
    pub model: String,
    /// SHA-256 of that file, hex.
    pub model_sha256: String,
    /// The files of rows and what they are: `normal`, `anomalous`.
    pub rows: Vec<(String, String)>,
    /// The program.
    pub build: Build,
}

/// An evaluation as an HTML document of its own, like that of a run.
///
/// # Errors
///
/// None in practice: its pictures can be drawn.
pub fn evaluation_to_html(
    report: &ipinsights::evaluation::Report,
    source: &EvaluationSource,
) -> Result<String, ipinsights::evaluation::PictureError> {
    let pictures = report.pictures()?;
    let lines = [("score 0".to_owned(), &report.at_zero)]
        .into_iter()
        .chain(report.at_threshold.iter().map(|at| {
            let name = format!("calibrated, {}", per_cent(at.stated_false_positive_rate));
            (name, &at.operation)
        }))
        .chain(report.recall_at.iter().map(|at| {
            let name = format!("best at {}", per_cent(at.false_positive_rate));
            (name, &at.operation)
        }));
    let broken = report.at_threshold.filter(|at| !at.keeps_promise);
    let commit = source
        .build
        .commit
        .clone()
        .map(|commit| ("commit".to_owned(), commit));
    let version = ("version".to_owned(), source.build.version.clone());
    let model = [
        ("model".to_owned(), source.model.clone()),
        ("its SHA-256".to_owned(), source.model_sha256.clone()),
    ];
    Ok(document(
        &format!("{}: evaluation", source.model),
        &html! {
            header {
                p.kind { "IP Insights, an evaluation" }
                h1 { (source.model) }
                p.when { (report.normal) " normal rows, " (report.anomalous) " anomalous" }
            }
            main {
                section aria-labelledby="worth" {
                    h2 #worth { "What it is worth" }
                    p.verdict { (worth_in_words(report)) }
                    @if let Some(at) = broken {
                        p { "The normal rows here are flagged more often than the calibrated " (per_cent(at.stated_false_positive_rate))
                            " explains: they are not like the held-out ones." }
                    }
                    dl.figures {
                        (figure("AUC", &format!("{:.4}", report.auc), &format!("{:.4} to {:.4} with 95 % confidence", report.auc_interval.low, report.auc_interval.high)))
                        (figure("average precision", &format!("{:.4}", report.average_precision), "area under precision and recall"))
                        (figure("calibration error", &format!("{:.4}", report.reliability.expected_calibration_error), "of the scores as log-odds; 0 is best"))
                    }
                }
                section aria-labelledby="lines" {
                    h2 #lines { "Where to draw the line" }
                    div.wide { table {
                        thead { tr {
                            th scope="col" { "line" }
                            th.number scope="col" { "threshold" }
                            th.number scope="col" { "false positives" }
                            th.number scope="col" { "recall" }
                            th.number scope="col" { "precision" }
                        } }
                        tbody { @for (name, line) in lines { tr {
                            th scope="row" { (name) }
                            td.number { (format!("{:.3}", line.threshold.dot_product())) }
                            td.number { (per_cent(line.false_positive_rate)) }
                            td.number { (per_cent(line.recall)) " (" (per_cent(line.recall_interval.low)) " to " (per_cent(line.recall_interval.high)) ")" }
                            td.number { (line.precision.map_or("–".to_owned(), |p| format!("{p:.4}"))) }
                        } } }
                    } }
                }
                (pictures_section(&pictures, "Normal rows against anomalous ones."))
                section aria-labelledby="record" {
                    h2 #record { "What it was made of" }
                    (pairs("Files and versions", model.into_iter().chain(source.rows.iter().cloned()).chain([version]).chain(commit)))
                }
            }
        },
    ))
}

/// So few rows of one side say little, whatever they say.
const FEW: usize = 30;

fn worth_in_words(report: &ipinsights::evaluation::Report) -> String {
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

fn pictures_section(pictures: &[Picture], sides: &str) -> Markup {
    html! {
        @if !pictures.is_empty() {
            section aria-labelledby="curves" {
                h2 #curves { "How scores are spread" }
                p { (sides) " A dot, or a dashed line, is the threshold in use, where there is one." }
                div.pictures {
                    @for picture in pictures {
                        figure { (image(&picture.svg, &picture.description)) }
                    }
                }
            }
        }
    }
}

/// A page with the house's style that loads nothing and runs nothing.
fn document(title: &str, body: &Markup) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body { (body) }
        }
    };
    page.into_string()
}

fn figure(name: &str, value: &str, note: &str) -> Markup {
    html! { div { dt { (name) } dd { strong { (value) } small { (note) } } } }
}

fn pairs(title: &str, pairs: impl Iterator<Item = (String, String)>) -> Markup {
    html! {
        table.pairs {
            caption { (title) }
            tbody {
                @for (name, value) in pairs {
                    tr { th scope="row" { (name) } td.code { (value) } }
                }
            }
        }
    }
}

/// A picture as an image: its style and its names are its own, and nothing in it can run.
fn image(svg: &str, description: &str) -> Markup {
    let data = base64::engine::general_purpose::STANDARD.encode(svg);
    html! { img src=(format!("data:image/svg+xml;base64,{data}")) alt=(description); }
}

/// A value of the manifest as text.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "unknown".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn per_cent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report;

    fn hostile() -> Report {
        let evil = "<script>alert(1)</script>\"'&";
        Report {
            version: report::VERSION,
            target: "local".to_owned(),
            region: "us-east-1".to_owned(),
            started: "2026-11-28T01:24:00.055Z".to_owned(),
            execution: report::Execution {
                arn: evil.to_owned(),
                status: "SUCCEEDED".to_owned(),
                state_machine: evil.to_owned(),
                states: vec![
                    report::StateVisit {
                        name: "A".to_owned(),
                        seconds: 1.5,
                        caught: None,
                    },
                    report::StateVisit {
                        name: evil.to_owned(),
                        seconds: -1.0,
                        caught: Some("Sage.<Maker>".into()),
                    },
                    report::StateVisit {
                        name: "A".to_owned(),
                        seconds: f64::NAN,
                        caught: None,
                    },
                ],
            },
            training: report::Training {
                job: evil.to_owned(),
                model_data: evil.to_owned(),
                hyperparameters: [(evil.to_owned(), evil.to_owned())].into(),
                metrics: [(evil.to_owned(), 0.5)].into(),
                curve: Vec::new(),
            },
            endpoint: report::Endpoint {
                name: evil.to_owned(),
                status: "InService".to_owned(),
                config: evil.to_owned(),
            },
            rows: vec![report::Row {
                entity: evil.to_owned(),
                ip: [1, 2, 3, 4].into(),
                score: -1.25,
                anomalous: true,
                percentile: 0.031,
                reason: Some(evil.to_owned()),
            }],
            outliers: 1,
            outliers_flagged: 1,
            threshold: report::Threshold {
                value: -1.0,
                false_positive_rate: 0.05,
            },
            held_out: report::HeldOut {
                rows: 1,
                auc_vs_outliers: Some(0.75),
                flagged: 0,
                negative: 0,
                quantiles: vec![0.5; 7],
                entities: vec![report::EntityScores {
                    entity: evil.to_owned(),
                    rows: 1,
                    median: 0.5,
                    flagged: 0,
                }],
            },
            evaluation: report::Evaluation {
                rows: 0,
                auc: None,
                flagged: 0,
            },
            detection: None,
            verdict: evil.to_owned(),
            manifest: serde_json::json!({
                "database": {"attribution": evil, "database_type": evil},
                "countries": [{"name": evil}, 5, null],
                "skipped": [{"networks": 3, "reason": evil}, {"networks": 0, "reason": "none"}],
                "files": "not a list",
            }),
            record: None,
            pictures: Vec::new(),
            training_picture: None,
        }
    }

    fn machine() -> StateMachine {
        let text = r#"{"StartAt": "A", "States": {"A": {"Type": "Pass", "End": true}}}"#;
        text.parse().unwrap()
    }

    #[test]
    fn values_are_escaped_and_what_is_not_there_is_no_panic() {
        let page = hostile().to_html(&machine());
        assert!(!page.contains("<script"), "{page}");
        assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
        assert!(page.contains("<td class=\"number\" data-label=\"held-out rows scoring lower\">3.1 %</td><td data-label=\"verdict\"><span class=\"flag\">anomalous"));
        assert!(page.contains("Left out: 3 networks"), "{page}");
        assert!(
            page.contains("failed with <span class=\"code\">Sage.&lt;Maker&gt;</span>, which was caught"),
            "{page}"
        );
        // Nothing to load: neither from elsewhere nor from beside the file.
        for link in ["http://", "https://", "src=\"/", "href=", "url("] {
            assert!(!page.contains(link), "{link}");
        }
    }

    #[test]
    fn the_picture_of_the_machine_has_the_execution_in_it() {
        let page = hostile().to_html(&machine());
        let data = page.split_once("data:image/svg+xml;base64,").unwrap().1;
        let data = data.split_once('"').unwrap().0;
        let svg = base64::engine::general_purpose::STANDARD.decode(data).unwrap();
        let svg = String::from_utf8(svg).unwrap();
        assert_ne!(svg, machine().to_svg());
        assert!(svg.contains("1.5"), "{svg}");
    }
}
