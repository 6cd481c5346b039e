//! The server: one port, one folder, one process.

use std::{
    fmt,
    fs::{File, TryLockError},
    io,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::{Arc, Weak},
    time::Duration,
};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use serde_json::Value;
use sfn_local::{BoxFuture, Clock, TaskHandler, handlers::MockConfig};
use tokio::{net::TcpListener, sync::Semaphore, task::JoinHandle};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    Error, OperationError, REGION,
    api::ApiError,
    disk,
    dispatch::{self, App},
    logs::Logs,
    s3::{self, ObjectStore},
    sagemaker::SageMaker,
    states::{Settings, States},
    store::{Database, Shelf},
};

/// Sees every training job's progress: the job's name, and how far it has come.
pub type TrainingObserver = Arc<dyn Fn(&str, &ipinsights::Progress) + Send + Sync>;

/// A running server. It stops when it is dropped; [`Server::shutdown`] also waits until it has.
pub struct Server {
    url: String,
    address: SocketAddr,
    /// Gone when the server has stopped.
    app: Weak<App>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// What a server is to be. [`Builder::start`] starts it.
#[must_use]
pub struct Builder {
    data_dir: PathBuf,
    port: u16,
    region: String,
    observer: Option<TrainingObserver>,
    clock: Arc<dyn Clock>,
    wait_time_scale: f64,
    mocks: Option<MockConfig>,
    handler: Option<Arc<dyn TaskHandler>>,
}

/// Real time.
struct RealTime;

impl Clock for RealTime {
    fn now(&self) -> jiff::Timestamp {
        jiff::Timestamp::now()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(duration))
    }
}

/// How many connections are served at once; further ones wait.
const MAX_CONNECTIONS: usize = 512;
/// How long a client may take to send the head of a request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(60);
/// How long requests under way may take to end when the server stops.
const GRACE: Duration = Duration::from_secs(5);

impl Server {
    /// A server that keeps everything in `data_dir`, which is made if it is not there.
    pub fn builder(data_dir: impl Into<PathBuf>) -> Builder {
        Builder {
            data_dir: data_dir.into(),
            port: 0,
            region: REGION.to_owned(),
            observer: None,
            clock: Arc::new(RealTime),
            wait_time_scale: 1.0,
            mocks: None,
            handler: None,
        }
    }

    /// Where clients find it: `http://127.0.0.1:PORT`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Calls an operation of SageMaker, Step Functions or CloudWatch Logs without a connection: what clients send as
    /// `X-Amz-Target`, such as `AWSStepFunctions.StartExecution`, and the members of the request.
    ///
    /// # Errors
    ///
    /// What the service answers in place of a result.
    pub async fn call(&self, operation: &str, input: &Value) -> Result<Value, OperationError> {
        let told = |error: ApiError| OperationError {
            code: error.code,
            message: error.message,
        };
        let Some(app) = self.app.upgrade() else {
            return Err(told(ApiError::new(
                "ServiceUnavailable",
                "the server has stopped",
            )));
        };
        let answer = dispatch::operation(&app, operation, input).await;
        answer.map(Option::unwrap_or_default).map_err(told)
    }

    /// Stops it: requests under way are answered, trainings are given up, the folder is free. Executions that
    /// run go on when a server is started on the folder again.
    pub async fn shutdown(mut self) {
        self.stop.cancel();
        let _ = (&mut self.task).await; // an error here is a panic in the server, and it has stopped
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            data_dir,
            port,
            region,
            wait_time_scale,
            mocks,
            ..
        } = self;
        let mut debug = f.debug_struct("Builder");
        debug
            .field("data_dir", data_dir)
            .field("port", port)
            .field("region", region)
            .field("wait_time_scale", wait_time_scale)
            .field("mocks", mocks)
            .finish_non_exhaustive()
    }
}

impl Builder {
    /// The port on 127.0.0.1; 0, the default, takes a free one.
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// The region that resource names carry; the default is [`REGION`]. A data folder stays with the region that it was
    /// first used with.
    pub fn region(mut self, region: impl Into<String>) -> Self {
        self.region = region.into();
        self
    }

    /// Who sees the progress of training jobs. It is called from the training's thread and should be quick.
    pub fn on_training(mut self, observer: TrainingObserver) -> Self {
        self.observer = Some(observer);
        self
    }

    /// The clock of executions; the default is real time. With [`sfn_local::VirtualClock`] an hour of waiting takes as long as
    /// it takes to move the clock.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Scales what Wait states wait, as `WAIT_TIME_SCALE` of the service's local version does; 1, the default, is real time.
    /// What is not a positive number counts as 0.
    pub fn wait_time_scale(mut self, scale: f64) -> Self {
        self.wait_time_scale = scale;
        self
    }

    /// Mocked results of tasks, in the form of the service's local version: an execution of `<machine's ARN>#<test case>` gets
    /// those of that test case. States that the test case does not name call the services.
    pub fn mock_config(mut self, mocks: MockConfig) -> Self {
        self.mocks = Some(mocks);
        self
    }

    /// Who does the tasks of executions, in place of the services of this server. Whoever has the token of a task
    /// that waits for one can answer as well, with SendTaskSuccess or SendTaskFailure.
    pub fn task_handler(mut self, handler: Arc<dyn TaskHandler>) -> Self {
        self.handler = Some(handler);
        self
    }

    /// Starts the server; it answers when this returns.
    ///
    /// # Errors
    ///
    /// When the port or the folder cannot be had; [`Error`] tells the cases apart.
    pub async fn start(self) -> Result<Server, Error> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let listener = TcpListener::bind(address)
            .await
            .map_err(|source| match source.kind() {
                io::ErrorKind::AddrInUse => Error::PortInUse { port: self.port },
                _ => Error::Listen { address, source },
            })?;
        let address = listener
            .local_addr()
            .map_err(|source| Error::Listen { address, source })?;
        let lock = lock(&self.data_dir)?;
        claim(&self.data_dir, &self.region)?;
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let folder = self.data_dir.clone();
        let (opener, tracker) = (stop.clone(), tasks.clone());
        // Reading records and loading models can take a while.
        let opened = tokio::task::spawn_blocking(move || self.open(&opener, &tracker)).await;
        let app = opened
            .unwrap_or_else(|panic| Err(io::Error::other(panic)))
            .map_err(|source| Error::FolderNotReadable { folder, source })?;
        let app = Arc::new(app);
        let told = Arc::downgrade(&app);
        let task = tokio::spawn(serve(listener, app, stop.clone(), tasks, lock));
        Ok(Server {
            url: format!("http://{address}"),
            address,
            app: told,
            stop,
            task,
        })
    }

    fn open(self, stop: &CancellationToken, tasks: &TaskTracker) -> io::Result<App> {
        let Self {
            data_dir,
            region,
            observer,
            clock,
            wait_time_scale,
            mocks,
            handler,
            ..
        } = self;
        let records = Shelf::new(Database::open(&data_dir)?, &data_dir);
        let store = Arc::new(ObjectStore::open(data_dir.join("s3"))?);
        let logs = Arc::new(Logs::open(data_dir.join("logs"), &region)?);
        let sagemaker = SageMaker::open(
            &records.join("sagemaker"),
            &region,
            store.clone(),
            logs.clone(),
            observer,
            stop.clone(),
            tasks.clone(),
        )?;
        let states = States::open(
            &records.join("states"),
            &data_dir.join("states"),
            &region,
            sagemaker.clone(),
            store.clone(),
            logs.clone(),
            Settings {
                clock,
                wait_scale: wait_time_scale,
                mocks,
                handler,
            },
            stop.clone(),
            tasks.clone(),
        )?;
        Ok(App {
            s3: s3::service(store, region),
            sagemaker,
            states,
            logs,
        })
    }
}

/// Makes the folder and takes it for this process.
fn lock(folder: &Path) -> Result<File, Error> {
    let not_writable = |source| Error::FolderNotWritable {
        folder: folder.to_owned(),
        source,
    };
    std::fs::create_dir_all(folder).map_err(not_writable)?;
    let options = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(folder.join("lock"));
    let file = options.map_err(not_writable)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::FolderInUse {
            folder: folder.to_owned(),
        }),
        Err(TryLockError::Error(source)) => Err(not_writable(source)),
    }
}

/// Holds the region against the one that the folder belongs to; a folder without one belongs to this one from now on.
fn claim(folder: &Path, region: &str) -> Result<(), Error> {
    let path = folder.join("region.json");
    let folder = folder.to_owned();
    match disk::read_json::<String>(&path) {
        Ok(owner) if owner == region => Ok(()),
        Ok(owner) => Err(Error::FolderOfAnotherRegion {
            folder,
            region: owner,
            asked: region.to_owned(),
        }),
        Err(error) if disk::is_absent(&error) => {
            let text = serde_json::Value::from(region).to_string();
            disk::write_atomically(&path, text.as_bytes())
                .map_err(|source| Error::FolderNotWritable { folder, source })
        }
        Err(source) => Err(Error::FolderNotReadable { folder, source }),
    }
}

async fn serve(
    listener: TcpListener,
    app: Arc<App>,
    stop: CancellationToken,
    tasks: TaskTracker,
    lock: File,
) {
    let graceful = GracefulShutdown::new();
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let slot = tokio::select! {
            () = stop.cancelled() => break,
            slot = slots.clone().acquire_owned() => slot,
        };
        let stream = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(_) => {
                    // Out of file handles, most likely: some will be closed.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
        };
        let _ = stream.set_nodelay(true); // only slower without it
        let app = app.clone();
        let service = service_fn(move |request| dispatch::answer(app.clone(), request));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .serve_connection(TokioIo::new(stream), service);
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            let _ = connection.await; // the client went away, or sent no HTTP
            drop(slot);
        });
    }
    drop(listener);
    let _ = tokio::time::timeout(GRACE, graceful.shutdown()).await;
    tasks.close();
    tasks.wait().await;
    drop(app);
    let _ = lock.unlock(); // it is closed in the next moment anyway
}
