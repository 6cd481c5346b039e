//! The two arguments that the contract knows.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use clap::{Args, Subcommand};
use ipinsights::Model;
use jiff::Timestamp;

use crate::config::Environment;
use crate::{Layout, chain, serve, train};

/// `train` or `serve`, as the service calls a container.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Train on the channels under /opt/ml/input/data, and write the model to /opt/ml/model
    Train(Root),
    /// Serve the model of /opt/ml/model: /ping, /invocations, /execution-parameters
    Serve(ServeArgs),
}

/// Where the files are.
#[derive(Debug, Clone, Args)]
pub struct Root {
    /// Folder to use in place of /opt/ml
    #[arg(long, value_name = "DIR", default_value = "/opt/ml")]
    pub root: PathBuf,
}

/// Where the files are, and where to listen.
#[derive(Debug, Clone, Args)]
pub struct ServeArgs {
    /// The files.
    #[command(flatten)]
    pub root: Root,
    /// Address to listen on; the port comes from SAGEMAKER_BIND_TO_PORT, else 8080. A container is reached from outside, so
    /// the image sets 0.0.0.0
    #[arg(long, value_name = "IP", env = "IPINSIGHTS_ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    pub address: IpAddr,
}

/// How a command ended: exit code 0 or another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Exit {
    /// It did what it was asked for, or was told to stop.
    Done,
    /// It failed; the last line of the log says why, and after `train` so does `/opt/ml/output/failure`.
    Failed,
}

impl Command {
    /// Runs until the work is done, or a SIGTERM has come and what is under way is closed. `variables` are those of the
    /// environment; `log` takes the lines that the container prints.
    pub fn run(
        self,
        variables: impl IntoIterator<Item = (String, String)>,
        log: impl Write + Send + 'static,
    ) -> Exit {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let log = Log(Arc::new(Mutex::new(log)));
        let outcome = Environment::from_vars(variables, cores)
            .map_err(|error| chain(&error))
            .and_then(|environment| {
                let runtime = tokio::runtime::Builder::new_multi_thread()
                    .enable_all()
                    .build()
                    .map_err(|error| format!("the runtime cannot start: {error}"))?;
                match self {
                    Self::Train(root) => runtime.block_on(run_train(root, environment, log.clone())),
                    Self::Serve(args) => runtime.block_on(run_serve(args, environment, log.clone())),
                }
            });
        match outcome {
            Ok(exit) => exit,
            Err(text) => {
                log.line(&text);
                Exit::Failed
            }
        }
    }
}

struct Log<W>(Arc<Mutex<W>>);

impl<W> Clone for Log<W> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<W: Write> Log<W> {
    fn line(&self, text: &str) {
        let mut to = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever closed the log does not want to hear of it.
        let _ = writeln!(to, "{text}").and_then(|()| to.flush());
    }
}

async fn run_train(
    Root { root }: Root,
    environment: Environment,
    log: Log<impl Write + Send + 'static>,
) -> Result<Exit, String> {
    let stopped = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&stopped);
    let stop = signals()?;
    tokio::spawn(async move {
        stop.await;
        told.store(true, Ordering::Relaxed);
    });
    let work = tokio::task::spawn_blocking(move || {
        let layout = Layout::new(root);
        let stop = || stopped.load(Ordering::Relaxed);
        let mut line = |text: &str| log.line(text);
        train::train(&layout, &environment, &Timestamp::now, &mut line, &stop)
    });
    match work.await {
        Ok(Ok(_)) => Ok(Exit::Done),
        // The log and the file have the reason.
        Ok(Err(_)) => Ok(Exit::Failed),
        Err(error) => Err(format!("training failed: {error}")),
    }
}

async fn run_serve(
    args: ServeArgs,
    environment: Environment,
    log: Log<impl Write + Send + 'static>,
) -> Result<Exit, String> {
    let stop = signals()?;
    let layout = Layout::new(args.root.root);
    let folder = layout.model();
    let opened = tokio::task::spawn_blocking(move || Model::map_folder(&folder)).await;
    let model = opened
        .map_err(|error| error.to_string())
        .and_then(|model| model.map_err(|error| chain(&error)))
        .map_err(|cause| {
            format!(
                "there is no model to serve in `{}`: {cause}",
                layout.model().display()
            )
        })?;
    let address = (args.address, environment.port);
    let listening = |error: std::io::Error| format!("cannot listen on {}:{}: {error}", address.0, address.1);
    let listener = tokio::net::TcpListener::bind(address).await.map_err(listening)?;
    let address = listener.local_addr().map_err(listening)?;
    log.line(&format!(
        "Serving {} entities and {} weights on {address}",
        model.trained_entities(),
        model.weights()
    ));
    let stop = {
        let log = log.clone();
        async move {
            stop.await;
            log.line("Told to stop: no new connections");
        }
    };
    let served = serve::serve(listener, model, &environment, stop).await;
    served.map_err(|error| format!("the server failed: {error}"))?;
    log.line("Stopped");
    Ok(Exit::Done)
}

/// Is there when the process is told to stop.
fn signals() -> Result<impl Future<Output = ()> + Send + 'static, String> {
    let failed = |error: std::io::Error| format!("cannot wait for signals: {error}");
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
        Ok(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        })
    }
    #[cfg(not(unix))]
    {
        let _ = failed;
        Ok(async {
            let _ = tokio::signal::ctrl_c().await;
        })
    }
}
