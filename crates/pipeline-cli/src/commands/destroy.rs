//! `ipinsights destroy`: what a pipeline made, taken down.

use std::sync::Arc;

use pipeline::Teardown;
use pipeline::destroy::Logs;
use pipeline::names::PipelineName;

use crate::cli::{Common, DestroyArgs};
use crate::exit::Failure;
use crate::output::{Output, table};
use crate::progress::Progress;
use crate::target::Opened;

/// Runs the command.
pub async fn run(common: &Common, args: DestroyArgs, output: &Output) -> anyhow::Result<()> {
    let name: PipelineName = args
        .named
        .name
        .parse()
        .map_err(|error: pipeline::names::ParseNameError| Failure::usage(error.to_string()))?;
    let progress = Arc::new(Progress::new(common.quiet));
    let opened = Opened::open(&args.place, &progress).await?;
    progress.now("deleting");
    let logs = if args.logs { Logs::Delete } else { Logs::Keep };
    let result = pipeline::destroy(&opened.clients, &name, logs).await;
    progress.finish();
    opened.close().await;
    let teardown = result?;
    if output.is_json() {
        output.json(&teardown)
    } else {
        output.text(&text(&teardown))
    }
}

fn text(teardown: &Teardown) -> String {
    let mut rows = table(["", "what", "name", "why"]);
    for resource in &teardown.deleted {
        rows.add_row(["deleted", resource.kind, &resource.name, ""]);
    }
    for left in &teardown.left {
        rows.add_row(["left", left.kind, &left.name, &left.reason]);
    }
    if teardown.deleted.is_empty() && teardown.left.is_empty() {
        return "nothing there".to_owned();
    }
    rows.trim_fmt()
}
