//! `ipinsights serve`: the local services alone, for any AWS client.

use anyhow::Context as _;
use aws_local::Server;

use crate::cli::{Common, ServeArgs};
use crate::output::Output;
use crate::progress::Progress;
use crate::signals::Signals;

/// Runs the command until Ctrl-C or SIGTERM.
pub async fn run(common: &Common, args: ServeArgs, output: &Output) -> anyhow::Result<()> {
    let signals = Signals::listen();
    let progress = std::sync::Arc::new(Progress::new(common.quiet));
    let told = std::sync::Arc::clone(&progress);
    let mut builder = match args.ephemeral {
        true => Server::ephemeral(),
        false => Server::builder(&args.data_dir),
    };
    let keys = match &args.credentials {
        Some(file) => credentials(file)?,
        None => Vec::new(),
    };
    for (id, secret) in &keys {
        builder = builder.credentials(id, secret);
    }
    if let Some(path) = &args.mock_config {
        builder = builder.mock_config(super::states::mock_config(path)?);
    }
    let server = builder
        .port(args.port)
        .listen(args.listen)
        .allow_remote(args.allow_remote)
        .realistic_timing(args.realistic_timing)
        .wait_time_scale(args.wait_time_scale)
        .on_training(std::sync::Arc::new(
            move |_job: &str, event: &ipinsights::Progress| told.training(event),
        ))
        .start()
        .await?;
    // Scripts read the first line; it comes only when the port answers.
    if output.is_json() {
        let environment: serde_json::Map<_, _> = environment(server.url(), keys.is_empty())
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.into()))
            .collect();
        output.json(&serde_json::json!({ "version": 1, "url": server.url(), "console": server.console_url(), "environment": environment }))?;
    } else {
        output.text(server.url())?;
        if args.print_env {
            let lines: Vec<String> = environment(server.url(), keys.is_empty())
                .into_iter()
                .map(|(name, value)| format!("export {name}={value}"))
                .collect();
            output.text(&lines.join("\n"))?;
        }
    }
    progress.done("console", &server.console_url());
    progress.now("serving; Ctrl-C ends it");
    signals.first().await;
    progress.now("closing");
    server.shutdown().await;
    progress.finish();
    Ok(())
}

/// The keys of a file; what is wrong with it is told without them.
fn credentials(file: &std::path::Path) -> anyhow::Result<Vec<(String, String)>> {
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("the credentials `{}` cannot be read", file.display()))?;
    let mut keys = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            [] => {}
            [id, secret] => keys.push((id.to_owned(), secret.to_owned())),
            _ => anyhow::bail!(
                "`{}`: line {} is no key: write `KEY_ID SECRET`",
                file.display(),
                number + 1
            ),
        }
    }
    anyhow::ensure!(
        !keys.is_empty(),
        "`{}` holds no key: write `KEY_ID SECRET`, one a line",
        file.display()
    );
    Ok(keys)
}

/// What points any AWS client here. Where nobody checks it, the key pair is any: clients want one. Where there are keys, clients
/// have theirs: secrets are not printed.
fn environment(url: &str, any_key: bool) -> Vec<(&'static str, String)> {
    let mut variables = vec![("AWS_ENDPOINT_URL", url.to_owned())];
    if any_key {
        variables.push(("AWS_ACCESS_KEY_ID", "local".to_owned()));
        variables.push(("AWS_SECRET_ACCESS_KEY", "local".to_owned()));
    }
    variables.extend([
        ("AWS_REGION", aws_local::REGION.to_owned()),
        ("AWS_DEFAULT_REGION", aws_local::REGION.to_owned()),
        // Without it some clients look for an instance role on the network.
        ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
    ]);
    variables
}
