//! Reports as pages: one file each that needs no network, light or dark as the reader prefers, and prints.

mod evaluation;
mod failed;
mod run;

use std::time::Duration;

use base64::Engine as _;
use ipinsights::evaluation::Picture;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde_json::Value;
use sfn_builder::{Execution, StateMachine, StateRun, StateStatus};

use crate::report::{self, Build, Row};

/// What the page looks like. Colours are those of the pictures.
const STYLE: &str = include_str!("page.css");

/// Nothing is loaded and nothing runs; pictures are part of the file.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'";

/// So many rows of one part are shown; the JSON form has more.
const MOST_SHOWN: usize = 100;

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

/// RFC 3339 as people write it, without the fraction of the second.
fn moment(started: &str) -> String {
    let (moment, _) = started.split_once('.').unwrap_or((started, ""));
    format!("{} UTC", moment.trim_end_matches('Z').replace('T', " "))
}

fn place(target: &str, region: &str) -> String {
    match target {
        "local" => "on one machine, without an account".to_owned(),
        other => format!("{other}, {region}"),
    }
}

/// What rows are called: countries' of a sample, or somebody's own.
struct Words {
    entity: &'static str,
    normal: &'static str,
    anomalous: &'static str,
}

impl Words {
    fn of(manifest: &Value) -> Self {
        let own = manifest["kind"] == "rows";
        Self {
            entity: if own { "entity" } else { "claims to be" },
            normal: if own {
                "Held-out rows"
            } else {
                "Held-out rows of the right country"
            },
            anomalous: match manifest["evaluation"].as_str() {
                Some("exchanged") => "held-out addresses that were given to other entities",
                Some(_) => "rows known not to be normal",
                None => "further outliers",
            },
        }
    }
}

/// Rows with what became of them; `name` is for those who do not see where the table stands.
fn rows_table(name: &str, rows: &[Row], shown: usize, entity: &str) -> Markup {
    let more = rows.len().saturating_sub(shown);
    html! {
        div.wide {
            table.stacked aria-label=(name) {
                thead { tr {
                    th scope="col" { (entity) }
                    th scope="col" { "address" }
                    th.number scope="col" { "score" }
                    th.number scope="col" { "held-out rows scoring lower" }
                    th scope="col" { "verdict" }
                    @if rows.iter().any(|row| row.reason.is_some()) { th scope="col" { "what the training rows say" } }
                } }
                tbody {
                    @for row in rows.iter().take(shown) {
                        tr {
                            td data-label=(entity) { (row.entity) }
                            td.code.whole data-label="address" { (row.ip) }
                            td.number data-label="score" { (format!("{:.3}", row.score)) }
                            td.number data-label="held-out rows scoring lower" { (per_cent(row.percentile)) }
                            td data-label="verdict" { (verdict(row)) }
                            @if let Some(reason) = &row.reason { td.reason { (reason) } }
                        }
                    }
                }
            }
        }
        @if more > 0 { p { "And " (more) " more: report.json has them." } }
    }
}

fn verdict(row: &Row) -> Markup {
    html! {
        @if row.unknown_entity { "none: unknown entity" }
        @else if row.anomalous { span.flag { "anomalous" } }
        @else { "not told apart" }
    }
}

/// Rows of one part, folded away.
fn folded_rows(title: &str, total: usize, lowest: &[Row], entity: &str) -> Markup {
    let shown = lowest.len().min(MOST_SHOWN);
    html! {
        @if !lowest.is_empty() {
            details.folded {
                summary {
                    (title) ": "
                    @if shown < total { "the " (shown) " with the lowest scores of " (total) } @else { "all " (total) ", lowest scores first" }
                }
                (rows_table(title, &lowest[..shown], shown, entity))
            }
        }
    }
}

/// The picture of a machine with what an execution did in it, where there was one.
fn machine_section(machine: &StateMachine, execution: Option<&report::Execution>) -> Markup {
    html! {
        section aria-labelledby="machine" {
            h2 #machine { "State machine" }
            @match execution {
                None => {
                    p { "The run did not come to an execution." }
                    figure.machine { (image(&machine.to_svg(), "The state machine, of which nothing was executed.")) }
                }
                Some(execution) => (executed(machine, execution)),
            }
        }
    }
}

fn executed(machine: &StateMachine, execution: &report::Execution) -> Markup {
    let names: Vec<&str> = execution.states.iter().map(|visit| visit.name.as_str()).collect();
    let ended = match execution.status.as_str() {
        "RUNNING" => "was given up, and may still run".to_owned(),
        "ABORTED" => "was given up".to_owned(),
        status => format!("ended as {status}"),
    };
    html! {
        p { "Execution " span.code { (execution.arn) } " " (ended) "." }
        figure.machine {
            (image(
                &machine.to_svg_with(&done(execution)),
                &format!("The state machine; the execution went through {}.", names.join(", ")),
            ))
        }
        details open[execution.status != "SUCCEEDED"] {
            summary { "States in the order in which they were passed" }
            ol {
                @for visit in &execution.states {
                    li {
                        (visit.name) " (" (format!("{:.3}", visit.seconds)) " s)"
                        @if let Some(error) = &visit.caught { ": failed with " span.code { (error) } ", which was caught" }
                        @if let Some(error) = &visit.failed { ": ended with " span.flag { (error) } }
                    }
                }
            }
        }
    }
}

/// What states did, for the picture.
fn done(execution: &report::Execution) -> Execution {
    let mut done = Execution::new();
    for visit in &execution.states {
        let before = done.state(&visit.name).cloned();
        let seconds = Duration::try_from_secs_f64(visit.seconds).unwrap_or_default();
        let status = match (&visit.caught, visit.failed.as_deref()) {
            (_, Some("Aborted")) => StateStatus::Aborted,
            (_, Some(_)) => StateStatus::Failed,
            (Some(_), None) => StateStatus::Caught,
            (None, None) => StateStatus::Succeeded,
        };
        let worst = before.as_ref().map_or(status, |before| before.status.max(status));
        let mut run = StateRun::new(worst);
        run.entered = before.as_ref().map_or(1, |run| run.entered + 1);
        run.duration = Some(seconds + before.and_then(|run| run.duration).unwrap_or_default());
        done.insert(visit.name.clone(), run);
    }
    done
}

/// Where the rows come from, how many there are, and what was left out.
fn data_section(manifest: &Value) -> Markup {
    html! {
        section aria-labelledby="data" {
            h2 #data { "Data" }
            @if manifest["kind"] == "rows" { (own_data(manifest)) } @else { (sampled_data(manifest)) }
        }
    }
}

fn own_data(manifest: &Value) -> Markup {
    let held_out = manifest["held_out"].as_f64();
    html! {
        p {
            "Rows of " (shown(&manifest["entities"])) " entities. "
            @match held_out {
                Some(share) => { (per_cent(share)) " of the training rows were held out, by lot with seed " (shown(&manifest["seed"]))
                    ", and nobody's last row." }
                None => "The held-out rows were given.",
            }
            @match manifest["evaluation"].as_str() {
                Some("exchanged") => " To measure with, held-out addresses were given to other entities, by lot; none that was seen in the \
                    address's /24.",
                Some("given") => " So were rows that are known not to be normal.",
                _ => " There are no rows that are known not to be normal.",
            }
        }
        div.wide {
            table {
                thead { tr { th scope="col" { "given" } th scope="col" { "file" } th.number scope="col" { "rows" } } }
                tbody { @for input in list(&manifest["inputs"]) { tr {
                    td { (part(&input["part"])) }
                    td.code { (shown(&input["path"])) }
                    td.number { (shown(&input["rows"])) }
                } } }
            }
            table {
                thead { tr { th scope="col" { "used" } th scope="col" { "file" } th.number scope="col" { "rows" } } }
                tbody { @for file in list(&manifest["files"]) { tr {
                    td { (used(&shown(&file["name"]))) }
                    td.code { (shown(&file["name"])) }
                    td.number { (shown(&file["rows"])) }
                } } }
            }
        }
        @for skip in list(&manifest["skipped"]) {
            p {
                "Left out: " (shown(&skip["rows"])) " rows " (part(&skip["part"])) " "
                (left_out(&skip["reason"])) "."
            }
        }
    }
}

/// A part of own rows, by what it is for.
fn part(name: &Value) -> &'static str {
    match name.as_str() {
        Some("train") => "to train on",
        Some("validation") => "to hold out",
        Some("test") => "to judge",
        Some("evaluation") => "to measure with",
        _ => "",
    }
}

fn used(file: &str) -> &'static str {
    let name = file.strip_suffix(".csv").unwrap_or(file);
    part(&name.into())
}

fn left_out(reason: &Value) -> String {
    serde_json::from_value(reason.clone()).map_or_else(
        |_| shown(reason),
        |reason: crate::rows::SkipReason| reason.as_str().to_owned(),
    )
}

fn sampled_data(manifest: &Value) -> Markup {
    let has_control = list(&manifest["countries"])
        .iter()
        .any(|country| country["control"].as_u64().is_some_and(|rows| rows > 0));
    let skipped: Vec<&Value> = list(&manifest["skipped"])
        .iter()
        .filter(|skip| skip["networks"] != 0)
        .collect();
    html! {
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
        @for shortage in list(&manifest["shortages"]) {
            p {
                "Fewer than asked for: of the " (shown(&shortage["asked"])) " rows of " (shown(&shortage["code"])) " for "
                (shown(&shortage["part"])) " there are " (shown(&shortage["drawn"])) "."
            }
        }
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

/// SHA-256 of what the rows were made of, and of the rows' files.
fn digests(manifest: &Value) -> Vec<(String, String)> {
    let database = &manifest["database"]["sha256"];
    let database = database
        .is_string()
        .then(|| ("database".to_owned(), shown(database)));
    let inputs = list(&manifest["inputs"])
        .iter()
        .map(|input| (shown(&input["path"]), shown(&input["sha256"])));
    let files = list(&manifest["files"])
        .iter()
        .map(|file| (shown(&file["name"]), shown(&file["sha256"])));
    database.into_iter().chain(inputs).chain(files).collect()
}

/// A program's version, and its commit where it is known.
fn program(build: &Build) -> [(String, String); 3] {
    let or_unknown = |text: &Option<String>| text.clone().unwrap_or_else(|| "not known".to_owned());
    [
        ("version".to_owned(), build.version.clone()),
        ("commit".to_owned(), or_unknown(&build.commit)),
        ("SHA-256 of Cargo.lock".to_owned(), or_unknown(&build.lock_sha256)),
    ]
}

fn attribution(manifest: &Value) -> Markup {
    let attribution = &manifest["database"]["attribution"];
    html! { @if attribution.is_string() { p { (shown(attribution)) } } }
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
mod tests;
