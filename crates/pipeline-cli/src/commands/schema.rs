//! `ipinsights schema`: what a report.json looks like, for programs.

use pipeline::report::FailedRun;
use pipeline::{EvaluationReport, Report};

use crate::cli::{ReportKind, SchemaArgs};
use crate::output::Output;

/// Runs the command; the schema is JSON in any format.
pub fn run(args: &SchemaArgs, output: &Output) -> anyhow::Result<()> {
    output.json(&match args.kind {
        ReportKind::Run => Report::json_schema(),
        ReportKind::FailedRun => FailedRun::json_schema(),
        ReportKind::Evaluation => EvaluationReport::json_schema(),
    })
}
