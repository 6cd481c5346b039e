//! Ctrl-C and SIGTERM.

use tokio::sync::watch;

use crate::exit::ExitCode;

/// Listens for Ctrl-C and SIGTERM from when it is made. The first is told to whoever awaits [`Signals::first`]; the second
/// ends the process at once, whatever it is doing.
pub struct Signals(watch::Receiver<bool>);

impl Signals {
    /// Begins to listen.
    pub fn listen() -> Self {
        let (sender, receiver) = watch::channel(false);
        tokio::spawn(async move {
            next().await;
            // Nobody may be waiting any more; the second signal still counts.
            let _ = sender.send(true);
            next().await;
            std::process::exit(i32::from(ExitCode::Interrupted as u8));
        });
        Self(receiver)
    }

    /// Whether the first has come.
    pub fn came(&self) -> bool {
        *self.0.borrow()
    }

    /// Completes at the first signal, or at once when it has come already.
    pub async fn first(&self) {
        let mut receiver = self.0.clone();
        if receiver.wait_for(|came| *came).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// The next signal. Where there is no handler to be had, the signal ends the process by itself.
async fn next() {
    #[cfg(unix)]
    let terminated = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => {
                signal.recv().await;
            }
            Err(_) => std::future::pending().await,
        }
    };
    #[cfg(not(unix))]
    let terminated = std::future::pending::<()>();
    let interrupted = async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = interrupted => {}
        () = terminated => {}
    }
}
