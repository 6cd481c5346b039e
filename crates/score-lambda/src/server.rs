//! The router on this machine.

use std::net::{Ipv4Addr, SocketAddr};

use axum::Router;
use tokio::net::TcpListener;

use crate::Error;

/// A server on 127.0.0.1 that has its port and answers nobody yet.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    port: u16,
}

impl Server {
    /// Takes a port; 0 takes a free one.
    ///
    /// # Errors
    ///
    /// [`Error::Listen`] when it cannot be had.
    pub async fn listen(port: u16) -> Result<Self, Error> {
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await {
            Ok(listener) => Ok(Self { listener, port }),
            Err(source) => Err(Error::Listen { port, source }),
        }
    }

    /// Where it listens.
    ///
    /// # Errors
    ///
    /// [`Error::Listen`] when the system does not say.
    pub fn address(&self) -> Result<SocketAddr, Error> {
        self.listener.local_addr().map_err(|source| Error::Listen {
            port: self.port,
            source,
        })
    }

    /// Answers until `stop`, then lets the requests that are under way end.
    ///
    /// # Errors
    ///
    /// [`Error::Serve`] when the server stops by itself.
    pub async fn run(
        self,
        app: Router,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), Error> {
        axum::serve(self.listener, app)
            .with_graceful_shutdown(stop)
            .await
            .map_err(|source| Error::Serve {
                source: source.into(),
            })
    }
}
