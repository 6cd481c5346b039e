//! Databases from MaxMind: GeoLite2 and GeoIP2, by the permalinks of an account, with its account id and license key.
//!
//! It takes an account at MaxMind (one for GeoLite2 costs nothing) and agrees with what that asks for:
//!
//! - **Nothing is downloaded twice.** A `HEAD` request, which does not count against the day's downloads, tells the release; a small
//!   file beside the database (`.GeoLite2-Country.mmdb.fetched.json`) tells which release that is, and its SHA-256, whether it is
//!   still what was fetched. Where times say nothing, the SHA-256 that MaxMind offers decides. A database from elsewhere has no such
//!   file, and is fetched once.
//! - **What appears is whole.** The download is compared with its SHA-256, the database is taken out of the archive and looked at,
//!   and only then it takes the place of the older one. After an error there is what there was before.
//! - **Databases get old.** MaxMind's licence wants an outdated GeoLite2 database replaced within 30 days: [`Age`] tells.
//! - **The key stays here.** It is sent to the one host, over TLS, and not to the storage that host redirects to. No error, no
//!   `Debug`, no event, no file has it.
//!
//! ```no_run
//! use geodata::download::{Draft, Fetcher};
//!
//! # async fn fetch() -> Result<(), geodata::download::Error> {
//! let settings = Draft::default()
//!     .editions(["GeoLite2-Country"])
//!     .folder("geoip")
//!     .or(Draft::from_variables(std::env::vars_os())?)
//!     .check()?;
//! let fetcher = Fetcher::new(settings);
//! for edition in fetcher.settings().editions() {
//!     let fetched = fetcher.fetch(edition, jiff::Timestamp::now(), &mut |_| {}).await?;
//!     let database = geodata::Database::open(&fetched.path);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! The future of a download can be dropped at any time, and takes what it had begun to write with it.

mod archive;
mod edition;
mod error;
mod host;
mod http;
mod record;
mod secret;
mod settings;

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ::http::header::{DATE, RETRY_AFTER};
use ::http::{HeaderMap, Method};
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

use self::archive::{Trouble, Written};
pub use self::edition::{Edition, ParseEditionError};
pub use self::error::Error;
pub use self::host::Host;
use self::http::{Answer, Http};
use self::record::{Record, Release};
pub use self::settings::{Draft, InvalidSettings, Settings};
use crate::Fault;
use crate::bytes::hex;

/// How much and how long. The defaults leave room for any database of today.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Limits {
    /// Of a request, the first one included. Default: 5.
    pub attempts: u32,
    /// For an answer to begin. Default: 30 s.
    pub answer: Duration,
    /// Between two parts of a body. Default: 30 s.
    pub idle: Duration,
    /// Of a whole body, however many parts it comes in. Default: an hour.
    pub body: Duration,
    /// Of a download, in bytes. Default: 2 GiB.
    pub archive_bytes: u64,
    /// Of the database in it, in bytes. Default: 8 GiB.
    pub database_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            attempts: 5,
            answer: Duration::from_secs(30),
            idle: Duration::from_secs(30),
            body: Duration::from_secs(3600),
            archive_bytes: 2 << 30,
            database_bytes: 8 << 30,
        }
    }
}

/// What is kept of a download.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Keep {
    /// The database file, as the update program leaves it: `GeoLite2-Country.mmdb`. Of a CSV edition the zip.
    #[default]
    Database,
    /// What was downloaded, as it is: `GeoLite2-Country.tar.gz`, `GeoLite2-Country-CSV.zip`.
    Archive,
}

/// What goes on.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// The server is asked for the latest release.
    Asking {
        /// Of what.
        edition: Edition,
    },
    /// A request failed, and is made again after a pause.
    Again {
        /// Why.
        error: String,
        /// The pause.
        wait: Duration,
    },
    /// Bytes have come.
    Received {
        /// So far.
        bytes: u64,
        /// Of so many, if that was said.
        of: Option<u64>,
    },
    /// The download is complete, and is looked at and unpacked.
    Unpacking,
    /// Something that is not as it should be, and no error.
    Warning {
        /// What.
        message: String,
    },
}

/// Where events go.
pub type Listener<'a> = &'a mut (dyn FnMut(Event) + Send);

/// What came of a fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fetched {
    /// Of which edition.
    pub edition: Edition,
    /// Whether something was downloaded.
    pub status: FetchStatus,
    /// The file.
    pub path: PathBuf,
    /// Of the file.
    pub bytes: u64,
    /// Of the file, in hexadecimal.
    pub sha256: String,
    /// Of the download that it is from, in hexadecimal, as MaxMind lists it.
    pub archive_sha256: String,
    /// When this release was made.
    pub released: Option<Timestamp>,
}

/// Whether something was downloaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FetchStatus {
    /// The file is new, or of a new release.
    Downloaded,
    /// The latest release was there.
    Unchanged,
}

/// What a look at the server told.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Checked {
    /// Of which edition.
    pub edition: Edition,
    /// What a fetch would do, and why.
    pub status: CheckStatus,
    /// The file.
    pub path: PathBuf,
    /// When the release in the folder was made.
    pub released: Option<Timestamp>,
    /// When the latest release was made, by the server.
    pub latest: Option<Timestamp>,
}

/// How a file stands to the latest release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckStatus {
    /// It is the latest release: there is nothing to fetch.
    Current,
    /// There is another release.
    Outdated,
    /// It is not there.
    Missing,
    /// It is not from here, or was changed: only a fetch can tell.
    Unknown,
}

/// How old a release is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Age {
    /// Whole days.
    pub days: i64,
}

impl Age {
    /// After so many days MaxMind's licence wants an outdated database replaced.
    pub const LICENCE_DAYS: i64 = 30;

    /// From then to now; 0 for a release of the future.
    pub fn of(released: Timestamp, now: Timestamp) -> Self {
        let hours = now.duration_since(released).as_hours();
        Self {
            days: (hours / 24).max(0),
        }
    }

    /// Whether it is older than the licence allows.
    pub fn is_over_limit(self) -> bool {
        self.days > Self::LICENCE_DAYS
    }
}

type Sleep = Arc<dyn Fn(Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// Fetches databases, by checked settings.
///
/// Futures need a tokio runtime with time and I/O.
pub struct Fetcher {
    settings: Settings,
    keep: Keep,
    limits: Limits,
    http: Http,
    seed: u64,
    sleep: Sleep,
}

impl fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fetcher")
            .field("settings", &self.settings)
            .field("keep", &self.keep)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

impl Fetcher {
    /// With everything else at its default.
    pub fn new(settings: Settings) -> Self {
        let limits = Limits::default();
        Self {
            settings,
            keep: Keep::default(),
            http: Http::new(limits.clone()),
            limits,
            seed: 0,
            sleep: Arc::new(|time| Box::pin(tokio::time::sleep(time))),
        }
    }

    /// What to keep of a download. Default: the database.
    #[must_use]
    pub fn keep(mut self, keep: Keep) -> Self {
        self.keep = keep;
        self
    }

    /// How much and how long.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.http = Http::new(limits.clone());
        self.limits = limits;
        self
    }

    /// Of the chance in the pauses between attempts, which keeps many machines from coming back at the same moment. Default: 0.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// How to pause. Default: tokio's clock.
    #[must_use]
    pub fn sleep<F>(mut self, sleep: impl Fn(Duration) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.sleep = Arc::new(move |time| Box::pin(sleep(time)));
        self
    }

    /// The settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The file that an edition is kept in.
    pub fn path(&self, edition: &Edition) -> PathBuf {
        self.place(edition).file
    }

    /// When the release in the folder was made, as far as it can be told: by the database itself, by what was written down when it
    /// was fetched, or else by the file's time. `None` when it is not there.
    pub fn released(&self, edition: &Edition) -> Option<Timestamp> {
        let place = self.place(edition);
        let record = Record::read(&place.record, edition.as_str()).ok().flatten();
        released(&place.file, record.as_ref())
    }

    /// Sees that the latest release is in the folder, which is made if it is not there. `now` dates the note beside the file.
    ///
    /// # Errors
    ///
    /// [`Error::Unauthorized`], [`Forbidden`](Error::Forbidden), [`NotFound`](Error::NotFound),
    /// [`LimitReached`](Error::LimitReached), [`ServerFailed`](Error::ServerFailed) and [`Unreachable`](Error::Unreachable) for what
    /// the server says or fails to say, the last three after some attempts; [`Checksum`](Error::Checksum),
    /// [`Archive`](Error::Archive) and [`TooLarge`](Error::TooLarge) for a download that cannot be used; [`Write`](Error::Write) and
    /// [`Compare`](Error::Compare) for the folder.
    pub async fn fetch(&self, edition: &Edition, now: Timestamp, on: Listener<'_>) -> Result<Fetched, Error> {
        let place = self.place(edition);
        let there = self.there(edition, &place, on).await?;
        let mut attempts = Attempts::new(self, now, on);
        attempts.tell(Event::Asking {
            edition: edition.clone(),
        });
        let head = self.head(edition, &mut attempts).await?;
        if let Some(record) = there.record()
            && record.release.is(&head)
        {
            return Ok(self.fetched(edition, FetchStatus::Unchanged, &place, record));
        }
        let sum = self.sum(edition, &mut attempts).await?;
        if let Some(record) = there.with_archive(&sum, self.keeps_download(edition), edition, now) {
            let release = head.or(record.release);
            let record = Record { release, ..record };
            // The file is as it should be, whether or not that can be written down.
            if let Err(error) = place.write_record(&record) {
                attempts.tell(Event::Warning {
                    message: format!("{error}; the next fetch asks for the checksum again"),
                });
            }
            return Ok(self.fetched(edition, FetchStatus::Unchanged, &place, &record));
        }

        let folder = Arc::new(NewFolder::make(&self.settings)?);
        let (mut download, found, release) = self.download(edition, &place, &mut attempts).await?;
        if found.sha256 != sum {
            // A release may have come between the two.
            let again = self.sum(edition, &mut attempts).await?;
            if found.sha256 != again {
                return Err(Error::Checksum {
                    edition: edition.clone(),
                    expected: again,
                    found: found.sha256,
                });
            }
        }
        attempts.tell(Event::Unpacking);
        let time = release.time().or(head.time());
        // What the next HEAD is compared with; of a download, servers may say something else.
        let release = head.or(release);
        let archive_sha256 = found.sha256.clone();
        let (file, written) = if self.keeps_download(edition) {
            check_beginning(edition, download.as_file_mut())?;
            (download, found)
        } else {
            self.unpack(edition, &place, download, &folder).await?
        };
        if self.settings.preserve_file_times
            && let Some(time) = time
        {
            file.as_file()
                .set_modified(time.into())
                .map_err(|source| place.unwritable(source))?;
        }
        let record = Record::new(edition.as_str(), written, archive_sha256, release, now);
        // Not before the file is in its place: a note about a file that is not there would be wrong.
        file.as_file()
            .sync_all()
            .map_err(|source| place.unwritable(source))?;
        file.persist(&place.file)
            .map_err(|error| place.unwritable(error.error))?;
        folder.keep();
        place.write_record(&record)?;
        Ok(self.fetched(edition, FetchStatus::Downloaded, &place, &record))
    }

    /// Asks for the latest release and compares it with the folder's. Nothing is downloaded and nothing written.
    ///
    /// # Errors
    ///
    /// As [`fetch`](Self::fetch), as far as it goes.
    pub async fn check(&self, edition: &Edition, now: Timestamp, on: Listener<'_>) -> Result<Checked, Error> {
        let place = self.place(edition);
        let there = self.there(edition, &place, on).await?;
        let mut attempts = Attempts::new(self, now, on);
        attempts.tell(Event::Asking {
            edition: edition.clone(),
        });
        let head = self.head(edition, &mut attempts).await?;
        let status = match &there {
            There::Nothing => CheckStatus::Missing,
            There::Other(_) => CheckStatus::Unknown,
            There::Known(record) if record.release.is(&head) => CheckStatus::Current,
            // Without a time nothing is known of the latest release.
            There::Known(_) if head.time().is_none() => CheckStatus::Unknown,
            There::Known(_) => CheckStatus::Outdated,
        };
        Ok(Checked {
            edition: edition.clone(),
            status,
            released: released(&place.file, there.record()),
            latest: head.time(),
            path: place.file,
        })
    }

    fn fetched(&self, edition: &Edition, status: FetchStatus, place: &Place, record: &Record) -> Fetched {
        Fetched {
            edition: edition.clone(),
            status,
            path: place.file.clone(),
            bytes: record.bytes,
            sha256: record.sha256.clone(),
            archive_sha256: record.archive_sha256.clone(),
            released: released(&place.file, Some(record)),
        }
    }

    /// Whether the file is what was downloaded.
    fn keeps_download(&self, edition: &Edition) -> bool {
        self.keep == Keep::Archive || edition.is_csv()
    }

    fn place(&self, edition: &Edition) -> Place {
        let ending = if self.keeps_download(edition) {
            edition.suffix()
        } else {
            "mmdb"
        };
        let name = format!("{edition}.{ending}");
        let folder = self.settings.folder();
        Place {
            file: folder.join(&name),
            record: folder.join(format!(".{name}.fetched.json")),
            folder: folder.to_owned(),
            name,
        }
    }

    /// What is in the folder already.
    async fn there(&self, edition: &Edition, place: &Place, on: Listener<'_>) -> Result<There, Error> {
        let failed = |source| Error::Compare {
            path: place.file.clone(),
            source,
        };
        // Looked at before it is opened: opening a pipe waits for somebody to write to it.
        let facts = match fs::metadata(&place.file) {
            Ok(facts) => facts,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(There::Nothing),
            Err(error) => return Err(failed(error)),
        };
        if !facts.is_file() {
            return Err(failed(io::Error::other("it is not a file")));
        }
        let mut file = File::open(&place.file).map_err(failed)?;
        let record = Record::read(&place.record, edition.as_str()).unwrap_or_else(|error| {
            on(Event::Warning {
                message: format!(
                    "`{}` is not a note of what was fetched: {error}; the file counts as one from elsewhere",
                    place.record.display()
                ),
            });
            None
        });
        // A file of another length need not be read.
        if let Some(record) = &record
            && facts.len() != record.bytes
            && !self.keeps_download(edition)
        {
            return Ok(There::Other(None));
        }
        if record.is_none() && !self.keeps_download(edition) {
            return Ok(There::Other(None));
        }
        let found = in_background(move |stop| archive::copy(&mut file, &mut io::sink(), stop))
            .await
            .map_err(|trouble| match trouble {
                Trouble::Archive(fault) => failed(io::Error::other(fault)),
                Trouble::Write(error) => failed(error),
                Trouble::TooLarge => failed(io::ErrorKind::FileTooLarge.into()),
            })?;
        Ok(match record {
            Some(record) if record.sha256 == found.sha256 => There::Known(record),
            _ => There::Other(Some(found)),
        })
    }

    /// The latest release, without downloading anything.
    async fn head(&self, edition: &Edition, attempts: &mut Attempts<'_>) -> Result<Release, Error> {
        let path = permalink(edition, "");
        loop {
            let asked = async {
                let answer = self.http.ask(&Method::HEAD, &self.settings, &path).await?;
                match answer.status.as_u16() {
                    // A mirror that does not know HEAD: the checksum will tell.
                    405 | 501 => Ok(Release::default()),
                    // Storage to which we are sent with an address that was signed for GET alone.
                    401 | 403 | 404 if !self.is_home(&answer) => Ok(Release::default()),
                    _ => {
                        self.judge(edition, &answer, attempts.now)?;
                        Ok(Release::of(&answer.headers, &self.settings.auth))
                    }
                }
            };
            match asked.await {
                Ok(release) => {
                    attempts.done();
                    return Ok(release);
                }
                Err(error) => attempts.again(error).await?,
            }
        }
    }

    /// The SHA-256 that is listed for the latest release.
    async fn sum(&self, edition: &Edition, attempts: &mut Attempts<'_>) -> Result<String, Error> {
        /// A hash and a file name.
        const LONGEST: usize = 4096;

        let path = permalink(edition, ".sha256");
        loop {
            let asked = async {
                let mut answer = self.http.ask(&Method::GET, &self.settings, &path).await?;
                self.judge(edition, &answer, attempts.now)?;
                let mut text = Vec::new();
                while let Some(bytes) = answer.chunk().await? {
                    text.extend_from_slice(&bytes);
                    if text.len() > LONGEST {
                        break;
                    }
                }
                listed_sum(&text, edition).ok_or_else(|| Error::NoChecksum {
                    host: answer.host.clone(),
                    edition: edition.clone(),
                })
            };
            match asked.await {
                Ok(sum) => {
                    attempts.done();
                    return Ok(sum);
                }
                Err(error) => attempts.again(error).await?,
            }
        }
    }

    /// The download itself, in a file that goes when it is dropped.
    async fn download(
        &self,
        edition: &Edition,
        place: &Place,
        attempts: &mut Attempts<'_>,
    ) -> Result<(NamedTempFile, Written, Release), Error> {
        // Before the request, which counts: there may be no place for it.
        let mut file = place.draft()?;
        let path = permalink(edition, "");
        loop {
            let begin = file
                .as_file_mut()
                .set_len(0)
                .and_then(|()| file.as_file_mut().seek(SeekFrom::Start(0)));
            begin.map_err(|source| place.unwritable(source))?;
            match self
                .receive(edition, &path, file.as_file_mut(), place, attempts)
                .await
            {
                Ok((written, release)) => {
                    attempts.done();
                    return Ok((file, written, release));
                }
                Err(error) => attempts.again(error).await?,
            }
        }
    }

    async fn receive(
        &self,
        edition: &Edition,
        path: &str,
        file: &mut File,
        place: &Place,
        attempts: &mut Attempts<'_>,
    ) -> Result<(Written, Release), Error> {
        let mut answer = self.http.ask(&Method::GET, &self.settings, path).await?;
        self.judge(edition, &answer, attempts.now)?;
        let too_large = || Error::TooLarge {
            edition: edition.clone(),
            limit: self.limits.archive_bytes,
        };
        let of = answer.length();
        if of.is_some_and(|length| length > self.limits.archive_bytes) {
            return Err(too_large());
        }
        let mut bytes = 0;
        let mut hash = Sha256::new();
        while let Some(chunk) = answer.chunk().await? {
            bytes += chunk.len() as u64;
            if bytes > self.limits.archive_bytes {
                return Err(too_large());
            }
            file.write_all(&chunk)
                .map_err(|source| place.unwritable(source))?;
            hash.update(&chunk);
            attempts.tell(Event::Received { bytes, of });
        }
        let written = Written {
            bytes,
            sha256: hex(&hash.finalize()),
        };
        Ok((written, Release::of(&answer.headers, &self.settings.auth)))
    }

    /// The database out of its archive.
    async fn unpack(
        &self,
        edition: &Edition,
        place: &Place,
        download: NamedTempFile,
        folder: &Arc<NewFolder>,
    ) -> Result<(NamedTempFile, Written), Error> {
        let file = place.draft()?;
        let folder = Arc::clone(folder);
        let name = place.name.clone();
        let limit = self.limits.database_bytes;
        in_background(move |stop| {
            // Given up in the reverse order, should nobody wait any more: a folder can go when it is empty.
            let folder = folder;
            let (mut file, mut download) = (file, download);
            let written = archive::extract(download.as_file_mut(), &name, limit, file.as_file_mut(), stop)?;
            Ok((file, written, folder))
        })
        .await
        .map(|(file, written, _)| (file, written))
        .map_err(|trouble| match trouble {
            Trouble::Archive(source) => Error::Archive {
                edition: edition.clone(),
                source,
            },
            Trouble::TooLarge => Error::TooLarge {
                edition: edition.clone(),
                limit,
            },
            Trouble::Write(source) => place.unwritable(source),
        })
    }

    /// Whether who answered is the host of the settings, and not whom it sends us to.
    fn is_home(&self, answer: &Answer) -> bool {
        answer.host == *self.settings.host()
    }

    /// What the status of an answer means.
    fn judge(&self, edition: &Edition, answer: &Answer, now: Timestamp) -> Result<(), Error> {
        let host = answer.host.clone();
        let edition = edition.clone();
        let home = self.is_home(answer);
        let status = answer.status.as_u16();
        let retry_after = retry_after(&answer.headers, now);
        Err(match status {
            200 => return Ok(()),
            429 => Error::LimitReached { host, retry_after },
            401 if home => Error::Unauthorized { host },
            403 if home => Error::Forbidden { host, edition },
            404 if home => Error::NotFound { host, edition },
            // The storage is asked with a signed address that runs out, not with the key.
            401 | 403 | 404 | 500..=599 => Error::ServerFailed {
                host,
                status,
                attempts: 1,
                retry_after,
            },
            _ => Error::Unexpected { host, status },
        })
    }
}

/// What is in the folder.
enum There {
    Nothing,
    /// As it was fetched.
    Known(Record),
    /// From elsewhere, or changed; with its hash where that may say what it is.
    Other(Option<Written>),
}

impl There {
    fn record(&self) -> Option<&Record> {
        match self {
            Self::Known(record) => Some(record),
            Self::Nothing | Self::Other(_) => None,
        }
    }

    /// The record of the file, if the file is from the archive with this hash.
    fn with_archive(&self, sum: &str, is_archive: bool, edition: &Edition, now: Timestamp) -> Option<Record> {
        match self {
            Self::Known(record) => (record.archive_sha256 == sum).then(|| record.clone()),
            Self::Other(Some(found)) if is_archive && found.sha256 == sum => Some(Record::new(
                edition.as_str(),
                found.clone(),
                sum.to_owned(),
                Release::default(),
                now,
            )),
            Self::Nothing | Self::Other(_) => None,
        }
    }
}

/// Where an edition is kept.
struct Place {
    folder: PathBuf,
    name: String,
    file: PathBuf,
    record: PathBuf,
}

impl Place {
    /// A file beside it, which goes when it is dropped.
    fn draft(&self) -> Result<NamedTempFile, Error> {
        let prefix = format!(".{}.", self.name);
        let mut builder = tempfile::Builder::new();
        builder.prefix(&prefix).suffix(".tmp");
        // As any program's file: the umask decides who may read it.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        builder
            .tempfile_in(&self.folder)
            .map_err(|source| self.unwritable(source))
    }

    fn write_record(&self, record: &Record) -> Result<(), Error> {
        let failed = |source| Error::Write {
            path: self.record.clone(),
            source,
        };
        let mut file = self.draft()?;
        record.write(file.as_file_mut()).map_err(failed)?;
        file.as_file().sync_all().map_err(failed)?;
        file.persist(&self.record).map_err(|error| failed(error.error))?;
        Ok(())
    }

    fn unwritable(&self, source: io::Error) -> Error {
        Error::Write {
            path: self.file.clone(),
            source,
        }
    }
}

/// Folders that were made for a download, and go again if nothing came to be in them.
struct NewFolder {
    made: Vec<PathBuf>,
    kept: AtomicBool,
}

impl NewFolder {
    fn make(settings: &Settings) -> Result<Self, Error> {
        let mut new = Self {
            made: Vec::new(),
            kept: AtomicBool::new(false),
        };
        let missing: Vec<_> = settings
            .folder()
            .ancestors()
            .take_while(|folder| !folder.as_os_str().is_empty() && !folder.exists())
            .map(Path::to_owned)
            .collect();
        for folder in missing.into_iter().rev() {
            match fs::create_dir(&folder) {
                Ok(()) => new.made.push(folder),
                // Somebody else was faster.
                Err(_) if folder.is_dir() => {}
                Err(source) => return Err(Error::Write { path: folder, source }),
            }
        }
        Ok(new)
    }

    fn keep(&self) {
        self.kept.store(true, Ordering::Relaxed);
    }
}

impl Drop for NewFolder {
    fn drop(&mut self) {
        if *self.kept.get_mut() {
            return;
        }
        for folder in self.made.iter().rev() {
            // One that has something in it stays.
            let _ = fs::remove_dir(folder);
        }
    }
}

/// The attempts of one fetch: how often, how long, and who is told.
struct Attempts<'a> {
    fetcher: &'a Fetcher,
    now: Timestamp,
    on: Listener<'a>,
    /// Of the request that is being made.
    made: u32,
    /// Of the pauses of all requests.
    waited: Duration,
    chance: u64,
}

impl<'a> Attempts<'a> {
    fn new(fetcher: &'a Fetcher, now: Timestamp, on: Listener<'a>) -> Self {
        Self {
            fetcher,
            now,
            on,
            made: 0,
            waited: Duration::ZERO,
            chance: fetcher.seed,
        }
    }

    fn tell(&mut self, event: Event) {
        (self.on)(event);
    }

    /// The request has succeeded; the next one is another.
    fn done(&mut self) {
        self.made = 0;
    }

    /// Waits for the next attempt, or gives the error back that ends them.
    async fn again(&mut self, error: Error) -> Result<(), Error> {
        self.made += 1;
        let Fetcher {
            limits,
            settings,
            sleep,
            ..
        } = self.fetcher;
        if !error.passes() || self.made >= limits.attempts {
            return Err(error.after(self.made));
        }
        let wait = error.retry_after().unwrap_or_else(|| self.pause());
        // A limit that ends tomorrow is nothing to wait for.
        if self.waited.saturating_add(wait) > settings.retry_for {
            return Err(error.after(self.made));
        }
        self.waited += wait;
        let error = match std::error::Error::source(&error) {
            Some(cause) => format!("{error}: {cause}"),
            None => error.to_string(),
        };
        self.tell(Event::Again { error, wait });
        sleep(wait).await;
        Ok(())
    }

    /// A second, doubled each time, of which the upper half is left to chance.
    fn pause(&mut self) -> Duration {
        let longest = Duration::from_secs(1) * 2_u32.saturating_pow(self.made.saturating_sub(1).min(6));
        self.chance = splitmix(self.chance);
        let share = (self.chance >> 11) as f64 / (1_u64 << 53) as f64;
        longest.mul_f64(0.5 + share / 2.0)
    }
}

/// SplitMix64 (Steele, Lea and Flood 2014): enough chance for a pause.
fn splitmix(state: u64) -> u64 {
    let mut z = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// The address of an edition, or of something beside it.
fn permalink(edition: &Edition, beside: &str) -> String {
    format!(
        "/geoip/databases/{edition}/download?suffix={}{beside}",
        edition.suffix()
    )
}

/// The hash of a line as `sha256sum` writes it, whose file name must begin with the edition.
fn listed_sum(text: &[u8], edition: &Edition) -> Option<String> {
    let text = std::str::from_utf8(text).ok()?;
    let mut words = text.split_whitespace();
    let sum = words.next()?;
    let name = words.next();
    let named = name.is_none_or(|name| name.trim_start_matches('*').starts_with(edition.as_str()));
    let hex = sum.len() == 64 && sum.bytes().all(|b| b.is_ascii_hexdigit());
    (hex && named && words.next().is_none()).then(|| sum.to_ascii_lowercase())
}

/// In seconds, or as a time, which is compared with the server's own.
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let then = record::time(text)?;
    let date = headers
        .get(DATE)
        .and_then(|date| record::time(date.to_str().ok()?));
    let wait = then.duration_since(date.unwrap_or(now));
    Some(wait.try_into().unwrap_or(Duration::ZERO))
}

/// Whether a download that is kept begins as its form does.
fn check_beginning(edition: &Edition, file: &mut File) -> Result<(), Error> {
    let magic: &[u8] = if edition.is_csv() {
        b"PK\x03\x04"
    } else {
        b"\x1f\x8b"
    };
    let mut beginning = Vec::new();
    let read = file
        .seek(SeekFrom::Start(0))
        .and_then(|_| file.take(magic.len() as u64).read_to_end(&mut beginning));
    if read.is_ok() && beginning == magic {
        return Ok(());
    }
    Err(Error::Archive {
        edition: edition.clone(),
        source: Fault(format!("it is not a {} file", edition.suffix())),
    })
}

fn released(path: &Path, record: Option<&Record>) -> Option<Timestamp> {
    if !path.is_file() {
        return None;
    }
    let mut file = File::open(path).ok()?;
    if path.extension().is_some_and(|ending| ending == "mmdb")
        && let Ok(Some(built)) = archive::built_of(&mut file)
    {
        return Some(built);
    }
    if let Some(time) = record.and_then(|record| record.release.time()) {
        return Some(time);
    }
    let modified = file.metadata().ok()?.modified().ok()?;
    modified.try_into().ok()
}

/// Work that takes a while, beside the runtime's own; it stops soon after nobody waits for it any more.
async fn in_background<T: Send + 'static>(
    work: impl FnOnce(&AtomicBool) -> Result<T, Trouble> + Send + 'static,
) -> Result<T, Trouble> {
    struct Stop(Arc<AtomicBool>);
    impl Drop for Stop {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    let stop = Stop(Arc::new(AtomicBool::new(false)));
    let seen = Arc::clone(&stop.0);
    match tokio::task::spawn_blocking(move || work(&seen)).await {
        Ok(result) => result,
        Err(error) => Err(Trouble::Archive(Fault(error.to_string()))),
    }
}
