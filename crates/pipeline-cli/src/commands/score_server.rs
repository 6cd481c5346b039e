//! `ipinsights score-server`: the scorer's API on this machine.

use std::io::Write as _;
use std::sync::Arc;

use score_lambda::{LogEntry, Logging, Server, router};

use crate::cli::{Common, ScoreServerArgs};
use crate::exit::{ExitCode, Failure};
use crate::output::Output;
use crate::progress::Progress;
use crate::scoring::Scoring;
use crate::signals::Signals;

/// Runs the command until Ctrl-C or SIGTERM.
pub async fn run(common: &Common, args: ScoreServerArgs, output: &Output) -> anyhow::Result<()> {
    let signals = Signals::listen();
    let progress = Arc::new(Progress::new(common.quiet));
    // The port is the first thing that may be missing, and the quickest to find out.
    let server = Server::listen(args.port).await.map_err(|error| Failure {
        code: ExitCode::Server,
        message: format!(
            "127.0.0.1:{} cannot be listened on: choose another --port, or 0 for a free one",
            args.port
        ),
        source: Some(error.into()),
    })?;
    let scoring = Scoring::open(&args.scored, &progress).await?;
    let logging = Logging {
        log: (!common.quiet).then(|| Arc::new(tell) as _),
        identifiers: args.log_identifiers,
    };
    let app = router(Arc::clone(&scoring.scorer), scoring.cutoff, logging);
    let url = format!("http://{}", server.address()?);
    // Scripts read the first line.
    if output.is_json() {
        output.json(&serde_json::json!({ "version": 1, "url": url }))?;
    } else {
        output.text(&url)?;
    }
    // The log is on stderr, too: no moving line between its lines.
    progress.finish();
    let result = server.run(app, async move { signals.first().await }).await;
    scoring.close().await;
    Ok(result?)
}

/// One line of JSON on stderr.
fn tell(entry: &LogEntry) {
    if let Ok(line) = serde_json::to_string(entry) {
        // A log that cannot be written is no reason not to answer.
        let _ = writeln!(std::io::stderr().lock(), "{line}");
    }
}
