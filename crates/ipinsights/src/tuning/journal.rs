//! The journal of a search: a file of JSON lines, from which it can be resumed.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use access_events::AccessEvent;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::search::{Job, JobId, Outcome, Search};
use crate::hash;

const KIND: &str = "ipinsights tuning";
const VERSION: u32 = 1;

/// Which rows a search ran on: their number and a hash of them in their order, to be told from other rows.
///
/// It tells files apart that differ by mistake, and is no protection from those who mean it.
///
/// ```
/// use access_events::AccessEvent;
/// use ipinsights::tuning::Fingerprint;
///
/// let mut rows = Fingerprint::default();
/// rows.add(&AccessEvent::new("ana", [192, 0, 2, 1].into()));
/// assert_eq!(rows.to_string(), "1 rows, 7428af8d12b3631c");
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fingerprint {
    rows: u64,
    hash: u64,
}

impl Fingerprint {
    /// The next row.
    pub fn add(&mut self, event: &AccessEvent) {
        let row =
            (u64::from(hash::entity_row(&event.entity, u32::MAX)) << 32) | u64::from(event.ip.to_bits());
        self.rows += 1;
        self.hash = hash::mix(self.hash.rotate_left(5) ^ hash::mix(row).wrapping_add(self.rows));
    }
}

/// The number of rows and 16 hexadecimal digits.
impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} rows, {:016x}", self.rows, self.hash)
    }
}

/// Why there is no journal.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// A new search would overwrite an old one.
    #[error("the journal `{path}` exists: resume its search, or remove the file")]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// Another process writes it.
    #[error("the journal `{path}` is in use by another search")]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be opened or read.
    #[error("the journal `{path}` cannot be read")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file cannot be written.
    #[error("the journal `{path}` cannot be written")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A line is not what a search writes.
    #[error("the journal `{path}` is damaged in line {line}: {what}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        what: String,
    },
    /// The journal is of a search with other settings.
    #[error(
        "the journal `{path}` is of another search; repeat it with the same settings, or begin another journal: {}",
        .differences.join("; ")
    )]
    Other {
        /// The file.
        path: PathBuf,
        /// What differs, each with both values.
        differences: Vec<String>,
    },
}

/// A line about a job that is done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Record {
    #[serde(flatten)]
    job: JobId,
    hyperparameters: BTreeMap<String, String>,
    outcome: Outcome,
}

/// What was found out, and where it is written down.
///
/// The first line says what the search is: its rows, space, strategy and seed. Each further line is a job that is done. Lines
/// are appended whole, one write each, and reach the disk before the search goes on; a last line that was cut off, by a crash or
/// a full disk, is taken away when the search is resumed, and its job done again. A file is locked while it is in use.
#[derive(Debug)]
pub struct Journal {
    place: Option<(PathBuf, File)>,
    records: BTreeMap<JobId, Record>,
    cut: bool,
}

impl Journal {
    /// Nothing is written down.
    pub fn none() -> Self {
        Self {
            place: None,
            records: BTreeMap::new(),
            cut: false,
        }
    }

    /// A new journal.
    ///
    /// # Errors
    ///
    /// [`JournalError::Exists`] when the file is there, and what the system says when it cannot be written.
    pub fn create(path: &Path, search: &Search, data: &str) -> Result<Self, JournalError> {
        let file = OpenOptions::new().append(true).create_new(true).open(path);
        let file = match file {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(JournalError::Exists {
                    path: path.to_owned(),
                });
            }
            Err(source) => {
                let path = path.to_owned();
                return Err(JournalError::Write { path, source });
            }
        };
        let mut journal = Self {
            place: Some((path.to_owned(), lock(path, file)?)),
            ..Self::none()
        };
        journal.line(&header(search, data))?;
        Ok(journal)
    }

    /// The journal of a search that ended early, or a new one where there is none.
    ///
    /// The number of trials may be another than before: what is recorded of a job holds in a larger search too.
    ///
    /// # Errors
    ///
    /// [`JournalError::Other`] when rows, space, strategy, seed or early stopping differ from the journal's;
    /// [`JournalError::Damaged`] when a line is not what a search writes.
    pub fn resume(path: &Path, search: &Search, data: &str) -> Result<Self, JournalError> {
        let read = |source| JournalError::Read {
            path: path.to_owned(),
            source,
        };
        let file = match OpenOptions::new().read(true).append(true).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Self::create(path, search, data),
            Err(source) => return Err(read(source)),
        };
        let mut file = lock(path, file)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(read)?;
        let whole = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |end| end + 1);
        let cut = whole < bytes.len();
        let records = records(path, &bytes[..whole], &header(search, data))?;
        if cut {
            file.set_len(whole as u64).map_err(|source| JournalError::Write {
                path: path.to_owned(),
                source,
            })?;
        }
        let mut journal = Self {
            place: Some((path.to_owned(), file)),
            records,
            cut,
        };
        if whole == 0 {
            journal.line(&header(search, data))?;
        }
        Ok(journal)
    }

    /// Jobs that are recorded.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether no job is recorded.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Whether a last line was cut off and taken away.
    pub fn was_cut(&self) -> bool {
        self.cut
    }

    /// What became of a job, if it is recorded.
    ///
    /// # Errors
    ///
    /// [`JournalError::Other`] when it was done with other hyperparameters: the journal is of another version of the search.
    pub fn recorded(&self, job: &Job) -> Result<Option<&Outcome>, JournalError> {
        let Some(record) = self.records.get(&job.id) else {
            return Ok(None);
        };
        let wanted = job.hyperparameters.to_map();
        if record.hyperparameters == wanted {
            return Ok(Some(&record.outcome));
        }
        let differences = wanted
            .iter()
            .filter(|(name, value)| record.hyperparameters.get(*name) != Some(value))
            .map(|(name, value)| {
                let recorded = record.hyperparameters.get(name).map_or("nothing", String::as_str);
                format!("{}: {name} is {recorded} there and {value} here", job.id)
            })
            .collect();
        Err(JournalError::Other {
            path: self
                .place
                .as_ref()
                .map(|(path, _)| path.clone())
                .unwrap_or_default(),
            differences,
        })
    }

    /// Writes down what became of a job.
    ///
    /// # Errors
    ///
    /// What the system says when the line cannot be written.
    pub fn append(&mut self, job: &Job, outcome: &Outcome) -> Result<(), JournalError> {
        let record = Record {
            job: job.id,
            hyperparameters: job.hyperparameters.to_map(),
            outcome: outcome.clone(),
        };
        self.line(&record)?;
        self.records.insert(job.id, record);
        Ok(())
    }

    fn line(&mut self, value: &impl Serialize) -> Result<(), JournalError> {
        let Some((path, file)) = &mut self.place else {
            return Ok(());
        };
        let written = serde_json::to_vec(value)
            .map_err(io::Error::from)
            .and_then(|mut line| {
                line.push(b'\n');
                file.write_all(&line)?;
                file.sync_data()
            });
        written.map_err(|source| JournalError::Write {
            path: path.clone(),
            source,
        })
    }
}

fn lock(path: &Path, file: File) -> Result<File, JournalError> {
    let path = || path.to_owned();
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(JournalError::InUse { path: path() }),
        // Some network file systems have no locks; a journal without one is better than none.
        Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => Ok(file),
        Err(TryLockError::Error(source)) => Err(JournalError::Read { path: path(), source }),
    }
}

/// What a search is, without the number of its trials.
fn header(search: &Search, data: &str) -> Map<String, Value> {
    let settings = search.settings();
    let mut strategy = serde_json::to_value(settings.strategy).unwrap_or_default();
    if let Some(strategy) = strategy.as_object_mut() {
        strategy.remove("trials");
    }
    let space = search.space();
    let ranges: Map<String, Value> = space
        .ranges()
        .map(|(name, range)| (name.to_owned(), range.to_string().into()))
        .collect();
    let fixed: Map<String, Value> = space
        .base()
        .to_map()
        .into_iter()
        .filter(|(name, _)| !space.tunes(name))
        .map(|(name, value)| (name, value.into()))
        .collect();
    let members: [(&str, Value); 10] = [
        ("journal", KIND.into()),
        ("version", VERSION.into()),
        ("objective", super::OBJECTIVE.into()),
        ("data", data.into()),
        ("seed", settings.seed.into()),
        ("strategy", strategy),
        ("parallel", settings.parallel.into()),
        (
            "stopping",
            serde_json::to_value(settings.stopping).unwrap_or_default(),
        ),
        ("ranges", ranges.into()),
        ("hyperparameters", fixed.into()),
    ];
    members
        .map(|(name, value)| (name.to_owned(), value))
        .into_iter()
        .collect()
}

fn records(
    path: &Path,
    bytes: &[u8],
    header: &Map<String, Value>,
) -> Result<BTreeMap<JobId, Record>, JournalError> {
    let damaged = |line: usize, what: String| JournalError::Damaged {
        path: path.to_owned(),
        line,
        what,
    };
    let mut records = BTreeMap::new();
    // Every line of a journal ends, so the last piece is empty.
    for (number, line) in (1..).zip(bytes.split_inclusive(|b| *b == b'\n')) {
        if number == 1 {
            let found: Map<String, Value> =
                serde_json::from_slice(line).map_err(|error| damaged(number, error.to_string()))?;
            if found.get("journal") != header.get("journal") || found.get("version") != header.get("version")
            {
                return Err(damaged(number, format!("it is no `{KIND}` of version {VERSION}")));
            }
            let differences = differences("", &found, header);
            if !differences.is_empty() {
                let path = path.to_owned();
                return Err(JournalError::Other { path, differences });
            }
            continue;
        }
        let record: Record =
            serde_json::from_slice(line).map_err(|error| damaged(number, error.to_string()))?;
        let job = record.job;
        if records.insert(job, record).is_some() {
            return Err(damaged(number, format!("{job} is there twice")));
        }
    }
    Ok(records)
}

/// What differs, member by member, objects member by member again.
fn differences(within: &str, found: &Map<String, Value>, wanted: &Map<String, Value>) -> Vec<String> {
    let mut names: Vec<&String> = wanted.keys().collect();
    names.extend(found.keys().filter(|name| !wanted.contains_key(*name)));
    let mut list = Vec::new();
    for name in names {
        match (found.get(name), wanted.get(name)) {
            (Some(Value::Object(found)), Some(Value::Object(wanted))) => {
                list.extend(differences(&format!("{name} "), found, wanted));
            }
            (found, wanted) if found != wanted => {
                let text = |value: Option<&Value>| value.map_or("not set".to_owned(), Value::to_string);
                list.push(format!(
                    "{within}{name} is {} there and {} here",
                    text(found),
                    text(wanted)
                ));
            }
            _ => {}
        }
    }
    list
}
