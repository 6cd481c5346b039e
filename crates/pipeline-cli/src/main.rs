//! The `ipinsights` command; see the crate's front page.

#[tokio::main]
async fn main() -> std::process::ExitCode {
    pipeline_cli::main().await
}
