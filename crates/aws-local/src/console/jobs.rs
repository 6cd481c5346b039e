//! Training, tuning and transform jobs.

use std::collections::VecDeque;

use maud::{Markup, html};
use serde_json::{Value, json};

use super::{
    Desk, Outcome, href, objects,
    page::{
        self, Problem, STATUS, Section, View, alert, badge, code, duration, facts, list as items, moment,
        nothing, table, text, took, words,
    },
    picture,
};
use crate::{
    api::ApiError,
    logs::{TRAINING_JOBS, TRANSFORM_JOBS},
    metrics,
};

/// A kind of jobs, in the words of its operations.
pub(super) struct Kind {
    pub(super) title: &'static str,
    pub(super) list: &'static str,
    /// Of the answer: the jobs.
    pub(super) member: &'static str,
    name: &'static str,
    status: &'static str,
    ended: &'static str,
    page: &'static str,
}

pub(super) const TRAINING: &Kind = &Kind {
    title: "Training jobs",
    list: "ListTrainingJobs",
    member: "TrainingJobSummaries",
    name: "TrainingJobName",
    status: "TrainingJobStatus",
    ended: "TrainingEndTime",
    page: "training-job",
};
const TUNING: &Kind = &Kind {
    title: "Tuning jobs",
    list: "ListHyperParameterTuningJobs",
    member: "HyperParameterTuningJobSummaries",
    name: "HyperParameterTuningJobName",
    status: "HyperParameterTuningJobStatus",
    ended: "HyperParameterTuningEndTime",
    page: "tuning-job",
};
const TRANSFORM: &Kind = &Kind {
    title: "Transform jobs",
    list: "ListTransformJobs",
    member: "TransformJobSummaries",
    name: "TransformJobName",
    status: "TransformJobStatus",
    ended: "TransformEndTime",
    page: "transform-job",
};

pub(super) const KINDS: [&Kind; 3] = [TRAINING, TUNING, TRANSFORM];

/// How many jobs of a kind a page lists.
const JOBS: usize = 50;
/// How many lines of a log a page shows.
const LINES: usize = 300;

impl Kind {
    fn address(&self, name: &str) -> String {
        href(self.page, &[("name", name)])
    }
}

/// The last jobs of a kind.
pub(super) async fn listed(desk: &Desk, kind: &Kind, most: usize) -> Result<Value, ApiError> {
    let input = json!({
        "SortBy": "CreationTime",
        "SortOrder": "Descending",
        "MaxResults": most,
        "NextToken": desk.get(kind.page),
    });
    desk.call(&format!("SageMaker.{}", kind.list), input).await
}

pub(super) async fn list(desk: &Desk) -> Result<View, Problem> {
    let mut view = View::new(Section::Jobs, "Jobs");
    let mut first = true;
    for (kind, part) in KINDS.into_iter().zip(["training", "tuning", "transform"]) {
        let answer = listed(desk, kind, JOBS).await?;
        first &= desk.get(kind.page).is_none();
        view = view.part(part, html! {
            section aria-labelledby=(kind.page) {
                h2 id=(kind.page) { (kind.title) }
                (job_table(kind, items(&answer, kind.member)))
                @if let Some(next) = answer["NextToken"].as_str() {
                    p { a href=(href("jobs", &[(kind.page, next)])) { "Earlier " (kind.title.to_lowercase()) } }
                }
            }
        });
    }
    Ok(view.live(first))
}

pub(super) fn job_table(kind: &Kind, jobs: &[Value]) -> Markup {
    if jobs.is_empty() {
        return nothing("There are none.");
    }
    let rows: Vec<_> = jobs
        .iter()
        .map(|job| {
            let name = text(job, kind.name);
            html! {
                tr {
                    th scope="row" { a href=(kind.address(name)) { (name) } }
                    td { (badge(text(job, kind.status))) }
                    td { (moment(&job["CreationTime"])) }
                    td.number { (took(&job["CreationTime"], &job[kind.ended])) }
                }
            }
        })
        .collect();
    table(kind.title, &["Name", "Status", "Created", "#Took"], &rows)
}

/// Stops a job.
pub(super) async fn stop(desk: &Desk, operation: &str, member: &str, page: &str) -> Result<Outcome, Problem> {
    let name = desk.need("name")?;
    let mut input = json!({});
    input[member] = name.into();
    desk.call(&format!("SageMaker.{operation}"), input).await?;
    Ok(Outcome::Go(href(page, &[("name", name)])))
}

fn stop_form(desk: &Desk, status: &str) -> Markup {
    html! {
        @if status == "InProgress" {
            form method="post" { (page::token(&desk.token)) button.second type="submit" { "Stop the job" } }
        }
    }
}

fn runs(status: &str) -> bool {
    ["InProgress", "Stopping"].contains(&status)
}

fn failure(job: &Value) -> Markup {
    html! { @if let Some(reason) = job["FailureReason"].as_str() { (alert("It failed", reason)) } }
}

/// The curves that a training job's page shows: metric, title, step.
const CURVES: [(&str, &str, &str); 4] = [
    (
        "train:binary_classification_cross_entropy:epoch",
        "Training loss (cross entropy)",
        "epoch",
    ),
    (
        "train:binary_classification_accuracy:epoch",
        "Training accuracy",
        "epoch",
    ),
    ("validation:discriminator_auc", "Validation AUC", "epoch"),
    ("train:throughput", "Rows a second", "epoch"),
];

/// A training job: how it goes, its curves, its log.
pub(super) async fn training(desk: &Desk) -> Result<View, Problem> {
    let name = desk.need("name")?;
    let job = desk
        .call("SageMaker.DescribeTrainingJob", json!({"TrainingJobName": name}))
        .await?;
    let status = text(&job, "TrainingJobStatus");
    let streams = desk.app.logs.streams(TRAINING_JOBS, &format!("{name}/"));
    let stream = streams.first().map_or("", String::as_str);
    let curves: Vec<Markup> = CURVES
        .iter()
        .map(|(metric, title, step)| {
            let points = metrics::of_stream(&desk.app.logs, stream, metric);
            let values: Vec<f64> = points.into_iter().map(|(_, value)| value).collect();
            picture::curve(&metric.replace(':', "-"), title, step, &values)
        })
        .filter(|curve| !curve.0.is_empty())
        .collect();
    let mut view = View::new(Section::Jobs, name).under("Jobs", href("jobs", &[]));
    if let Some(arn) = job["TuningJobArn"].as_str() {
        let tuning = arn.rsplit('/').next().unwrap_or_default();
        view = view.under(format!("Tuning job {tuning}"), TUNING.address(tuning));
    }
    let last = items(&job, "SecondaryStatusTransitions").last();
    let message = last.map_or("", |last| text(last, "StatusMessage"));
    let secondary = text(&job, "SecondaryStatus");
    Ok(view
        .part(STATUS, html! {
            p.lead {
                (badge(status))
                @if runs(status) { " " (words(secondary)) @if !message.is_empty() { ": " (message) } }
            }
        })
        .part("summary", html! {
            (facts(&[
                ("Created", moment(&job["CreationTime"])),
                ("Ended", moment(&job["TrainingEndTime"])),
                ("Took", html! { (took(&job["TrainingStartTime"], &job["TrainingEndTime"])) }),
                ("Machines", html! {
                    (job["ResourceConfig"]["InstanceCount"]) " × " (text(&job["ResourceConfig"], "InstanceType"))
                }),
                ("Model", address(text(&job["ModelArtifacts"], "S3ModelArtifacts"))),
                ("ARN", code(text(&job, "TrainingJobArn"))),
            ]))
            (failure(&job))
            (stop_form(desk, status))
        })
        .part("curves", html! {
            section aria-labelledby="curves" {
                h2 #curves { "Curves" }
                @if curves.is_empty() { (nothing("There are no values yet.")) } @else {
                    div.curves { @for curve in &curves { (curve) } }
                }
            }
        })
        .fixed(html! {
            section aria-labelledby="settings" {
                h2 #settings { "Settings" }
                div.pair {
                    div { h3 { "Hyperparameters" } (pairs("Hyperparameters", &job["HyperParameters"])) }
                    div { h3 { "Channels" }
                        dl.told { @for channel in items(&job, "InputDataConfig") {
                            dt { (text(channel, "ChannelName")) }
                            dd { (address(text(&channel["DataSource"]["S3DataSource"], "S3Uri"))) }
                        } }
                    }
                }
            }
        })
        .part("log", log_section(desk, TRAINING_JOBS, &streams))
        .live(runs(status)))
}

/// The log of streams, one after the other.
pub(super) fn log_section(desk: &Desk, group: &str, streams: &[String]) -> Markup {
    html! {
        section aria-labelledby="log" {
            h2 #log { "Log" }
            @if streams.is_empty() { (nothing("Nothing is logged yet.")) }
            @for stream in streams {
                @let (lines, left_out) = tail(desk, group, stream);
                @if streams.len() > 1 { h3 { (code(stream)) } }
                (page::log(&lines, left_out))
            }
            @if !streams.is_empty() { p.quiet { "Log group " (code(group)) } }
        }
    }
}

/// The last lines of a stream, and how many are before them.
fn tail(desk: &Desk, group: &str, stream: &str) -> (Vec<(u64, String)>, usize) {
    let mut lines = VecDeque::with_capacity(LINES);
    let mut left_out = 0;
    desk.app.logs.each_line(group, stream, &mut |at, line| {
        if lines.len() == LINES {
            lines.pop_front();
            left_out += 1;
        }
        lines.push_back((at, line.to_owned()));
    });
    (lines.into(), left_out)
}

/// An address in S3, with a link to what is there.
pub(super) fn address(url: &str) -> Markup {
    match crate::s3::parse_url(url) {
        Some((bucket, key)) => html! { a href=(objects::address(bucket, key)) { (code(url)) } },
        None if url.is_empty() => html! { span.quiet { "–" } },
        None => code(url),
    }
}

fn pairs(title: &str, map: &Value) -> Markup {
    let members: Vec<_> = map.as_object().into_iter().flatten().collect();
    html! {
        @if members.is_empty() { (nothing("There are none.")) } @else {
            table.pairs { caption.unseen { (title) } tbody { @for (name, value) in members {
                tr { th scope="row" { (name) } td { (code(value.as_str().unwrap_or(&value.to_string()))) } }
            } } }
        }
    }
}

/// A tuning job: its trials, and the best of them.
pub(super) async fn tuning(desk: &Desk) -> Result<View, Problem> {
    let name = desk.need("name")?;
    let of = json!({"HyperParameterTuningJobName": name});
    let job = desk
        .call("SageMaker.DescribeHyperParameterTuningJob", of.clone())
        .await?;
    let mut trials = Vec::new();
    let mut input = of;
    input["MaxResults"] = 100.into();
    loop {
        let answer = desk
            .call(
                "SageMaker.ListTrainingJobsForHyperParameterTuningJob",
                input.clone(),
            )
            .await?;
        trials.extend_from_slice(items(&answer, "TrainingJobSummaries"));
        match answer.get("NextToken") {
            Some(token) => input["NextToken"] = token.clone(),
            None => break,
        }
    }
    let status = text(&job, "HyperParameterTuningJobStatus");
    let config = &job["HyperParameterTuningJobConfig"];
    let best = text(&job["BestTrainingJob"], "TrainingJobName");
    let objective = |trial: &Value| trial["FinalHyperParameterTuningJobObjectiveMetric"]["Value"].as_f64();
    let values: Vec<f64> = trials.iter().filter_map(objective).collect();
    let mut highest = f64::NEG_INFINITY;
    let so_far: Vec<f64> = values
        .iter()
        .map(|value| {
            highest = highest.max(*value);
            highest
        })
        .collect();
    let mut tuned: Vec<&String> = trials
        .iter()
        .filter_map(|trial| trial["TunedHyperParameters"].as_object())
        .flat_map(|values| values.keys())
        .collect();
    tuned.sort();
    tuned.dedup();
    let mut columns = vec!["Trial", "Status", "#Objective"];
    let heads: Vec<String> = tuned.iter().map(|name| format!("#{name}")).collect();
    columns.extend(heads.iter().map(String::as_str));
    columns.push("#Took");
    let rows: Vec<_> = trials
        .iter()
        .map(|trial| {
            let name = text(trial, "TrainingJobName");
            html! {
                tr class=[(name == best).then_some("best")] {
                    th scope="row" {
                        a href=(TRAINING.address(name)) { (name) }
                        @if name == best { " " span.badge.good { span.sign aria-hidden="true" { "★" } "Best" } }
                    }
                    td { (badge(text(trial, "TrainingJobStatus"))) }
                    td.number { @match objective(trial) { Some(value) => (picture::number(value)), None => "–" } }
                    @for name in &tuned {
                        td.number { (trial["TunedHyperParameters"][name.as_str()].as_str().unwrap_or("–")) }
                    }
                    td.number { (took(&trial["TrainingStartTime"], &trial["TrainingEndTime"])) }
                }
            }
        })
        .collect();
    let limits = &config["ResourceLimits"];
    Ok(View::new(Section::Jobs, name)
        .under("Jobs", href("jobs", &[]))
        .part(STATUS, html! {
            p.lead {
                (badge(status)) " " (trials.len())
                @if let Some(most) = limits["MaxNumberOfTrainingJobs"].as_u64() { " of at most " (most) }
                " trials"
            }
        })
        .part("summary", html! {
            (facts(&[
                ("Strategy", html! { (text(config, "Strategy")) }),
                ("Created", moment(&job["CreationTime"])),
                ("Ended", moment(&job["HyperParameterTuningEndTime"])),
                ("Training time", html! {
                    (duration(job["ConsumedResources"]["RuntimeInSeconds"].as_f64().unwrap_or(0.0)))
                }),
                ("Best objective", html! { @match so_far.last() { Some(value) => (picture::number(*value)), None => "–" } }),
                ("ARN", code(text(&job, "HyperParameterTuningJobArn"))),
            ]))
            (failure(&job))
            (stop_form(desk, status))
        })
        .part("curves", html! {
            @if !values.is_empty() {
                section aria-labelledby="curves" {
                    h2 #curves { "Objective" }
                    div.curves {
                        (picture::curve("objective", "Objective of each trial", "trial", &values))
                        (picture::curve("best", "Best so far", "trial", &so_far))
                    }
                }
            }
        })
        .part("trials", html! {
            section aria-labelledby="trials" {
                h2 #trials { "Trials" }
                @if rows.is_empty() { (nothing("None has begun yet.")) } @else { (table("Trials", &columns, &rows)) }
            }
        })
        .live(runs(status)))
}

/// A transform job.
pub(super) async fn transform(desk: &Desk) -> Result<View, Problem> {
    let name = desk.need("name")?;
    let job = desk
        .call(
            "SageMaker.DescribeTransformJob",
            json!({"TransformJobName": name}),
        )
        .await?;
    let status = text(&job, "TransformJobStatus");
    let streams = desk.app.logs.streams(TRANSFORM_JOBS, &format!("{name}/"));
    let input = &job["TransformInput"]["DataSource"]["S3DataSource"];
    Ok(View::new(Section::Jobs, name)
        .under("Jobs", href("jobs", &[]))
        .part(STATUS, html! { p.lead { (badge(status)) } })
        .part(
            "summary",
            html! {
                (facts(&[
                    ("Model", html! { (text(&job, "ModelName")) }),
                    ("Input", address(text(input, "S3Uri"))),
                    ("Output", address(text(&job["TransformOutput"], "S3OutputPath"))),
                    ("Created", moment(&job["CreationTime"])),
                    ("Ended", moment(&job["TransformEndTime"])),
                    ("Took", html! { (took(&job["TransformStartTime"], &job["TransformEndTime"])) }),
                    ("ARN", code(text(&job, "TransformJobArn"))),
                ]))
                (failure(&job))
                (stop_form(desk, status))
            },
        )
        .part("log", log_section(desk, TRANSFORM_JOBS, &streams))
        .live(runs(status)))
}
