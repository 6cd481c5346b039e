//! The scorer API: a Lambda function where the Lambda runtime started it, else a server on 127.0.0.1.

use std::error::Error as _;
use std::fmt;
use std::io::Write as _;
use std::sync::Arc;

use aws_config::BehaviorVersion;
use aws_smithy_http_client::tls;
use lambda_http::service_fn;
use score_lambda::{Config, EndpointScorer, Error, LogEntry, Logging, Server, answer, router};

/// What a failed `main` returns. The runtime shows it by `Debug`, so that is the text with its causes.
struct Failure(Error);

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    run().await.map_err(Failure)
}

/// One line of JSON on stdout, where Lambda and every supervisor look for a program's log.
fn log(entry: &LogEntry) {
    let Ok(mut line) = serde_json::to_vec(entry) else {
        return;
    };
    line.push(b'\n');
    // A log that cannot be written is no reason not to answer.
    let _ = std::io::stdout().lock().write_all(&line);
}

async fn run() -> Result<(), Error> {
    let config = Config::read(&|name| std::env::var(name).ok())?;
    let provider = tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring);
    let http = aws_smithy_http_client::Builder::new()
        .tls_provider(provider)
        .build_https();
    let sdk = aws_config::defaults(BehaviorVersion::latest())
        .http_client(http)
        .load()
        .await;
    let invoker = ipinsights_client::Invoker::new(aws_sdk_sagemakerruntime::Client::new(&sdk));
    let app = router(
        Arc::new(EndpointScorer::new(invoker, config.endpoint)),
        config.cutoff,
        Logging {
            log: Some(Arc::new(log)),
            identifiers: config.log_identifiers,
        },
    );

    if std::env::var_os("AWS_LAMBDA_RUNTIME_API").is_some() {
        let base_path = config.base_path;
        let handler = service_fn(|event| {
            let (app, base_path) = (app.clone(), base_path.clone());
            async move { Ok::<_, std::convert::Infallible>(answer(app, event, base_path.as_deref()).await) }
        });
        return lambda_http::run(handler)
            .await
            .map_err(|source| Error::Serve { source });
    }
    let stop = async {
        // Without a handler for the signal the program runs until it is killed.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    Server::listen(config.port).await?.run(app, stop).await
}
