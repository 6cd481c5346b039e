//! The server: one port, one folder, one process.

use std::{
    fmt,
    fs::{File, TryLockError},
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::{Arc, RwLock},
    time::Duration,
};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use serde_json::Value;
use sfn_local::{BoxFuture, Clock, TaskHandler, handlers::MockConfig};
use tempfile::TempDir;
use tokio::{
    net::TcpListener,
    sync::{Mutex, Semaphore},
    task::{JoinHandle, JoinSet},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    Error, OperationError, REGION,
    api::ApiError,
    disk,
    dispatch::{self, App},
    logs::Logs,
    s3::{self, ObjectStore},
    sagemaker::{Pace, SageMaker},
    service::{Service, Services},
    signature::Keys,
    slow::{PATIENCE, Taken},
    states::{Handlers, Settings, States},
    store::{Database, Shelf},
};

/// Sees every training job's progress: the job's name, and how far it has come.
pub type TrainingObserver = Arc<dyn Fn(&str, &ipinsights::Progress) + Send + Sync>;

/// A running server. It stops when it is dropped; [`Server::shutdown`] also waits until it has.
pub struct Server {
    url: String,
    address: SocketAddr,
    host: Arc<Host>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// What a server is to be. [`Builder::start`] starts it.
#[must_use]
pub struct Builder {
    /// None for a folder of its own that goes with the server.
    data_dir: Option<PathBuf>,
    ip: IpAddr,
    port: u16,
    allow_remote: bool,
    opener: Opener,
}

/// What the services are opened with, the first time and every time they are reset.
#[derive(Clone)]
struct Opener {
    region: String,
    observer: Option<TrainingObserver>,
    pace: Pace,
    keys: Keys,
    remote: bool,
    clock: Arc<dyn Clock>,
    wait_time_scale: f64,
    mocks: Option<MockConfig>,
    handlers: Handlers,
    services: Services,
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

/// The services that answer now, and what is needed to begin anew.
pub(crate) struct Host {
    current: RwLock<Arc<Running>>,
    opener: Opener,
    /// Where an ephemeral server has its folders.
    ephemeral: Option<TempDir>,
    /// How often it has begun anew, which names the folder; one reset at a time.
    resets: Mutex<u64>,
    /// Connections within the process, and resets under way.
    connections: TaskTracker,
    /// The end of the server, which is that of everything in it.
    stop: CancellationToken,
    #[cfg(feature = "console")]
    pub(crate) console: crate::console::Sessions,
}

/// Open services with all that they started.
struct Running {
    app: Arc<App>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// How many connections are served at once; further ones wait.
const MAX_CONNECTIONS: usize = 512;
/// How long a client may take to send the head of a request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(60);
/// How long requests under way may take to end when the server stops; then they are cut off.
const GRACE: Duration = Duration::from_secs(5);

impl Server {
    /// A server that keeps everything in `data_dir`, which is made if it is not there.
    pub fn builder(data_dir: impl Into<PathBuf>) -> Builder {
        Builder::new(Some(data_dir.into()))
    }

    /// A server that keeps nothing: its folder is a temporary one and goes when it stops. `POST /_reset` empties it.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), aws_local::Error> {
    /// let server = aws_local::Server::ephemeral().start().await?;
    /// assert!(server.url().starts_with("http://127.0.0.1:"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn ephemeral() -> Builder {
        Builder::new(None)
    }

    /// Where clients find it: `http://127.0.0.1:PORT`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Where people look at it in a browser: `http://127.0.0.1:PORT/console`.
    #[cfg(feature = "console")]
    pub fn console_url(&self) -> String {
        let mut address = self.address;
        if address.ip().is_unspecified() {
            address.set_ip(Ipv4Addr::LOCALHOST.into());
        }
        format!("http://{address}/console")
    }

    /// The services behind it.
    #[cfg(feature = "sdk")]
    pub(crate) fn host(&self) -> &Arc<Host> {
        &self.host
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
        if self.stop.is_cancelled() {
            return Err(told(ApiError::new(
                "ServiceUnavailable",
                "the server has stopped",
            )));
        }
        let answer = dispatch::operation(&self.host.app(), operation, input).await;
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
            ip,
            port,
            allow_remote,
            opener,
        } = self;
        let mut debug = f.debug_struct("Builder");
        debug
            .field("data_dir", data_dir)
            .field("ip", ip)
            .field("port", port)
            .field("allow_remote", allow_remote)
            .field("region", &opener.region)
            .field("pace", &opener.pace)
            .field("wait_time_scale", &opener.wait_time_scale)
            .field("mocks", &opener.mocks)
            .finish_non_exhaustive()
    }
}

impl Builder {
    fn new(data_dir: Option<PathBuf>) -> Self {
        Self {
            data_dir,
            ip: Ipv4Addr::LOCALHOST.into(),
            port: 0,
            allow_remote: false,
            opener: Opener {
                region: REGION.to_owned(),
                observer: None,
                pace: Pace::default(),
                keys: Keys::default(),
                remote: false,
                clock: Arc::new(RealTime),
                wait_time_scale: 1.0,
                mocks: None,
                handlers: Handlers::default(),
                services: Services::new(),
            },
        }
    }

    /// The address to listen on; the default is 127.0.0.1. One that other machines can reach needs
    /// [`allow_remote`](Self::allow_remote).
    pub fn listen(mut self, ip: impl Into<IpAddr>) -> Self {
        self.ip = ip.into();
        self
    }

    /// Whether other machines may be listened to; default false. Whoever reaches the port can do everything, unless there
    /// are [`credentials`](Self::credentials); without those it is called by an address, so that no web page can.
    pub fn allow_remote(mut self, allow: bool) -> Self {
        self.allow_remote = allow;
        self
    }

    /// A key that requests may be signed with; call it again for more. With any key, requests that are not signed with one
    /// (Signature Version 4), or are not what was signed, are refused; without, every request is taken.
    pub fn credentials(mut self, id: impl Into<String>, secret: impl Into<String>) -> Self {
        self.opener.keys.add(id.into(), secret.into());
        self
    }

    /// The port; 0, the default, takes a free one.
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// The region that resource names carry; the default is [`REGION`]. A data folder stays with the region that it was
    /// first used with.
    pub fn region(mut self, region: impl Into<String>) -> Self {
        self.opener.region = region.into();
        self
    }

    /// Who sees the progress of training jobs. It is called from the training's thread and should be quick.
    pub fn on_training(mut self, observer: TrainingObserver) -> Self {
        self.opener.observer = Some(observer);
        self
    }

    /// Whether jobs and endpoints take about as long as the service takes to find machines for them, for clients whose
    /// waiting is to be tested; default false.
    pub fn realistic_timing(mut self, realistic: bool) -> Self {
        self.opener.pace = if realistic {
            Pace::REALISTIC
        } else {
            Pace::default()
        };
        self
    }

    /// The clock of executions; the default is real time. With [`sfn_local::VirtualClock`] an hour of waiting takes as long as
    /// it takes to move the clock.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.opener.clock = clock;
        self
    }

    /// Scales what Wait states wait, as `WAIT_TIME_SCALE` of the service's local version does; 1, the default, is real time.
    /// What is not a positive number counts as 0.
    pub fn wait_time_scale(mut self, scale: f64) -> Self {
        self.opener.wait_time_scale = scale;
        self
    }

    /// Mocked results of tasks, in the form of the service's local version: an execution of `<machine's ARN>#<test case>` gets
    /// those of that test case. States that the test case does not name call the services.
    pub fn mock_config(mut self, mocks: MockConfig) -> Self {
        self.opener.mocks = Some(mocks);
        self
    }

    /// Who does the tasks of executions, in place of the services of this server. Whoever has the token of a task
    /// that waits for one can answer as well, with SendTaskSuccess or SendTaskFailure.
    pub fn task_handler(self, handler: Arc<dyn TaskHandler>) -> Self {
        self.task_handler_of("", handler)
    }

    /// Who does the tasks whose resource begins so, such as `arn:aws:states:::lambda:` or `arn:aws:lambda:`; of several
    /// beginnings the longest counts. What none of them fits is done by the [`task_handler`](Self::task_handler), if there is one, else
    /// by the services of this server. An ItemReader and a ResultWriter call `arn:aws:states:::s3:…`.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use aws_local::{BoxFuture, Server, TaskCall, TaskFailure};
    /// use serde_json::{Value, json};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), aws_local::Error> {
    /// // Lambda functions are functions of this program; jobs of SageMaker stay this server's.
    /// let lambda = |task: TaskCall| -> BoxFuture<'static, Result<Value, TaskFailure>> {
    ///     Box::pin(async move { Ok(json!({"Payload": task.parameters["Payload"]})) })
    /// };
    /// let server = Server::ephemeral()
    ///     .task_handler_of("arn:aws:states:::lambda:", Arc::new(lambda))
    ///     .start()
    ///     .await?;
    /// # server.shutdown().await;
    /// # Ok(())
    /// # }
    /// ```
    pub fn task_handler_of(mut self, resource: impl Into<String>, handler: Arc<dyn TaskHandler>) -> Self {
        self.opener.handlers.add(resource.into(), handler);
        self
    }

    /// Who answers the requests to a service, by the name that they are signed for (`dynamodb`, `lambda`, …): a service that this
    /// server has not, or one in place of its own. Requests are told apart by their `Authorization` header; those to addresses that
    /// were signed beforehand are not among them. Tasks of executions do not go there, but to
    /// [`task_handler_of`](Self::task_handler_of).
    pub fn service(mut self, name: impl Into<String>, service: Arc<dyn Service>) -> Self {
        self.opener.services.insert(name.into(), service);
        self
    }

    /// Starts the server; it answers when this returns.
    ///
    /// # Errors
    ///
    /// When the port or the folder cannot be had; [`Error`] tells the cases apart.
    pub async fn start(self) -> Result<Server, Error> {
        let Self {
            data_dir,
            ip,
            port,
            allow_remote,
            mut opener,
        } = self;
        let address = SocketAddr::from((ip, port));
        opener.remote = !ip.is_loopback();
        if opener.remote && !allow_remote {
            return Err(Error::Remote { address });
        }
        let listener = TcpListener::bind(address)
            .await
            .map_err(|source| match source.kind() {
                io::ErrorKind::AddrInUse => Error::PortInUse { port },
                _ => Error::Listen { address, source },
            })?;
        let address = listener
            .local_addr()
            .map_err(|source| Error::Listen { address, source })?;
        let (folder, lock, ephemeral) = match data_dir {
            Some(folder) => {
                let lock = lock(&folder)?;
                claim(&folder, &opener.region)?;
                (folder, Some(lock), None)
            }
            None => {
                let ephemeral = tempfile::Builder::new().prefix("aws-local-").tempdir();
                let ephemeral = ephemeral.map_err(|source| Error::FolderNotWritable {
                    folder: std::env::temp_dir(),
                    source,
                })?;
                (ephemeral.path().join("0"), None, Some(ephemeral))
            }
        };
        let stop = CancellationToken::new();
        let running = opener
            .open(folder.clone(), &stop)
            .await
            .map_err(|source| Error::FolderNotReadable { folder, source })?;
        let host = Arc::new(Host {
            current: RwLock::new(Arc::new(running)),
            opener,
            ephemeral,
            resets: Mutex::new(0),
            connections: TaskTracker::new(),
            stop: stop.clone(),
            #[cfg(feature = "console")]
            console: crate::console::Sessions::default(),
        });
        let task = tokio::spawn(serve(listener, host.clone(), stop.clone(), lock));
        Ok(Server {
            url: format!("http://{address}"),
            address,
            host,
            stop,
            task,
        })
    }
}

impl Opener {
    /// Opens everything; reading records and loading models can take a while.
    async fn open(&self, folder: PathBuf, server: &CancellationToken) -> io::Result<Running> {
        let (stop, tasks) = (server.child_token(), TaskTracker::new());
        let (opener, stopper, tracker) = (self.clone(), stop.clone(), tasks.clone());
        let opened = tokio::task::spawn_blocking(move || opener.open_app(&folder, &stopper, &tracker)).await;
        match opened.unwrap_or_else(|panic| Err(io::Error::other(panic))) {
            Ok(app) => Ok(Running {
                app: Arc::new(app),
                stop,
                tasks,
            }),
            Err(error) => {
                // What has begun already is of no use without the rest.
                stop.cancel();
                Err(error)
            }
        }
    }

    fn open_app(self, folder: &Path, stop: &CancellationToken, tasks: &TaskTracker) -> io::Result<App> {
        let Self {
            region,
            observer,
            pace,
            keys,
            remote,
            clock,
            wait_time_scale,
            mocks,
            handlers,
            services,
        } = self;
        std::fs::create_dir_all(folder)?;
        let records = Shelf::new(Database::open(folder)?, folder);
        let store = Arc::new(ObjectStore::open(folder.join("s3"))?);
        let logs = Arc::new(Logs::open(folder.join("logs"), &region)?);
        let sagemaker = SageMaker::open(
            &records.join("sagemaker"),
            folder.join("work"),
            &region,
            store.clone(),
            logs.clone(),
            observer,
            pace,
            stop.clone(),
            tasks.clone(),
        )?;
        let states = States::open(
            &records.join("states"),
            &folder.join("states"),
            &region,
            sagemaker.clone(),
            store.clone(),
            logs.clone(),
            Settings {
                clock,
                wait_scale: wait_time_scale,
                mocks,
                handlers,
            },
            stop.clone(),
            tasks.clone(),
        )?;
        Ok(App {
            s3: s3::service(store.clone(), region, tasks.clone()),
            objects: store,
            sagemaker,
            states,
            logs,
            services,
            keys,
            remote,
        })
    }
}

impl Running {
    /// Gives up what runs, and waits until it has.
    async fn end(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Host {
    /// The services that answer now.
    pub(crate) fn app(&self) -> Arc<App> {
        self.running().app.clone()
    }

    /// A key that requests can be signed with; none where any will do.
    #[cfg(feature = "sdk")]
    pub(crate) fn key(&self) -> Option<(String, String)> {
        self.opener.keys.any()
    }

    /// Serves a connection within the process, for as long as one of the port would be.
    #[cfg(feature = "sdk")]
    pub(crate) fn serve_in_process(&self, served: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.connections.spawn(async move {
            let cut_off = async {
                stop.cancelled().await;
                tokio::time::sleep(GRACE).await;
            };
            tokio::select! {
                () = served => {}
                () = cut_off => {}
            }
        });
    }

    /// Whether the folder may be another server's by now.
    #[cfg(feature = "sdk")]
    pub(crate) fn has_stopped(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Until the server stops.
    #[cfg(feature = "console")]
    pub(crate) async fn stopped(&self) {
        self.stop.cancelled().await;
    }

    /// The region of everything.
    #[cfg(feature = "sdk")]
    pub(crate) fn region(&self) -> &str {
        &self.opener.region
    }

    fn running(&self) -> Arc<Running> {
        self.current.read().unwrap_or_else(|e| e.into_inner()).clone()
    }

    /// Begins anew in an empty folder; false if the server is one that keeps what it has. Once it has begun it comes to its end,
    /// whether it is waited for or not.
    pub(crate) async fn reset(self: &Arc<Self>) -> io::Result<bool> {
        let Some(root) = &self.ephemeral else {
            return Ok(false);
        };
        let (this, root) = (self.clone(), root.path().to_owned());
        let begun = self
            .connections
            .spawn(async move { this.begin_anew(&root).await });
        begun.await.map_err(io::Error::other)?.map(|()| true)
    }

    async fn begin_anew(&self, root: &Path) -> io::Result<()> {
        let mut resets = self.resets.lock().await;
        let folder = |number: u64| root.join(number.to_string());
        let (old, new) = (folder(*resets), folder(*resets + 1));
        let fresh = match self.opener.open(new.clone(), &self.stop).await {
            Ok(fresh) => fresh,
            Err(error) => {
                // What was begun of it would be in the way of the next.
                let _ = tokio::fs::remove_dir_all(new).await;
                return Err(error);
            }
        };
        *resets += 1;
        let former = {
            let mut current = self.current.write().unwrap_or_else(|e| e.into_inner());
            std::mem::replace(&mut *current, Arc::new(fresh))
        };
        former.end().await;
        // What a request under way still holds open goes with the whole folder.
        let _ = tokio::fs::remove_dir_all(old).await;
        Ok(())
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

async fn serve(listener: TcpListener, host: Arc<Host>, stop: CancellationToken, lock: Option<File>) {
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        // Those that have ended need no more room.
        while connections.try_join_next().is_some() {}
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
        let host = host.clone();
        let service = service_fn(move |request| dispatch::answer(host.clone(), request));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .serve_connection(TokioIo::new(Taken::new(stream, PATIENCE)), service);
        let connection = graceful.watch(connection);
        connections.spawn(async move {
            let _ = connection.await; // the client went away, or sent no HTTP
            drop(slot);
        });
    }
    drop(listener);
    let _ = tokio::time::timeout(GRACE, graceful.shutdown()).await;
    // Nobody changes the folder who may not know that it is another server's.
    connections.shutdown().await;
    host.connections.close();
    host.connections.wait().await;
    host.running().end().await;
    drop(host);
    if let Some(lock) = lock {
        let _ = lock.unlock(); // it is closed in the next moment anyway
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reset that fails leaves the server as it was, and nothing that the next one would stumble over or leave behind.
    #[tokio::test]
    async fn a_reset_that_fails_leaves_nothing_behind() {
        let server = Server::ephemeral().start().await.unwrap();
        let root = server.host.ephemeral.as_ref().unwrap().path();
        let folders = || {
            let entries = std::fs::read_dir(root).unwrap();
            let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            names
        };
        std::fs::create_dir_all(root.join("1/records.sqlite3")).unwrap();
        server.host.reset().await.unwrap_err();
        assert_eq!(folders(), ["0"]);
        assert!(server.host.reset().await.unwrap());
        assert_eq!(folders(), ["1"]);
    }

    /// A reset whose client has gone comes to its end: the next one finds nothing that is half there, nor does it take its folder.
    #[tokio::test]
    async fn a_reset_ends_without_its_client() {
        let server = Server::ephemeral().start().await.unwrap();
        let root = server.host.ephemeral.as_ref().unwrap().path().to_owned();
        let before = server.host.app();
        let gone = tokio::time::timeout(Duration::ZERO, server.host.reset()).await;
        assert!(gone.is_err(), "it was not cut off");
        // It is in its turn behind the one that was cut off.
        assert!(server.host.reset().await.unwrap());
        assert!(!Arc::ptr_eq(&before, &server.host.app()));
        let entries = std::fs::read_dir(&root).unwrap();
        let names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["2"]);

        let gone = tokio::time::timeout(Duration::ZERO, server.host.reset()).await;
        assert!(gone.is_err(), "it was not cut off");
        server.shutdown().await;
        assert!(!root.exists());
    }
}
