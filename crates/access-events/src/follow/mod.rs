//! What comes into logs while they are written: a growing file, or a folder in which files appear and grow.
//!
//! A [`Follower`] looks when it is told to ([`Follower::poll`]) and hands on what is new, in batches, each with the positions that
//! are reached when it has been dealt with. Whoever keeps these positions ([`Positions`]) after that, and begins with them the next
//! time, gets every event at least once, however often it is killed.
//!
//! Rotation loses nothing: a file is known by what the system knows it by, and by the bytes at its beginning and before the position.
//! So it is found again under another name (`rename` and `create`), and as a copy after it was cut (`copytruncate`), compressed or not.

mod content;
mod fingerprint;
mod listing;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::format::{Stopped, guess};
use crate::gunzip::Damage;
use crate::report::Summary;
use crate::{AccessEvent, Extract};

use content::{Content, Form};
use fingerprint::Fingerprint;
use listing::{Found, Listing};

/// How much of a file is read at a time, in bytes.
const CHUNK: usize = 256 * 1024;
/// A line that is longer than this is handed on in parts, which are malformed.
const LONGEST_LINE: usize = 32 * 1024 * 1024;
/// From so many events on, a batch is handed on.
const BATCH: usize = 4096;
/// After so many looks without a change, the last line of a file that was rotated away is taken for whole, and a file that is gone
/// for finished.
const QUIET: u32 = 5;
/// For so many looks, what is gone is looked for under another name: rotation may compress it a while later.
const REMEMBERED: u32 = 3600;

/// An event, and where it was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Who, from where.
    pub event: AccessEvent,
    /// When; nothing when the source has no time.
    pub time: Option<Timestamp>,
    /// In which file, by the name that it had when it was read.
    pub file: Arc<str>,
    /// Where in the file.
    pub place: Place,
}

/// A place in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// The line that begins after so many (decompressed) bytes.
    Byte(u64),
    /// The record of this number, from 1: of documents whose records are not lines.
    Record(u64),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Byte(byte) => write!(f, "byte {byte}"),
            Self::Record(record) => write!(f, "record {record}"),
        }
    }
}

/// How far a file has been dealt with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Position {
    /// Its name when it was read last.
    path: PathBuf,
    /// Everything before this (decompressed) byte has been dealt with.
    at: u64,
    /// And from there to this byte a last line without its end, which is read again when it goes on.
    seen: u64,
    /// Of a document whose records are not lines, how many of them have been dealt with.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    records: Option<u64>,
    /// How long the file was when nothing of it was left; 0 while something is.
    length: u64,
    /// When it was changed, in nanoseconds since 1970.
    modified: u64,
    /// By which the file is known.
    print: Fingerprint,
}

/// How far the files of a source have been dealt with: what has to be kept to go on after a stop.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Positions {
    /// By what the system knows a file by.
    files: BTreeMap<String, Position>,
}

impl Positions {
    /// Takes what a batch has reached, when it has been dealt with.
    pub fn reach(&mut self, marks: Vec<Mark>) {
        for Mark { id, position } in marks {
            match position {
                Some(position) => self.files.insert(id, position),
                None => self.files.remove(&id),
            };
        }
    }

    /// Whether nothing was read yet.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Whether there are any, and all are of files in the folder that this one is in.
    fn are_beside(&self, file: &Path) -> bool {
        let beside = |position: &Position| position.path.parent() == file.parent();
        !self.is_empty() && self.files.values().all(beside)
    }

    /// How many files are known.
    pub fn len(&self) -> usize {
        self.files.len()
    }
}

/// A position that is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    id: String,
    /// Nothing where the file is gone.
    position: Option<Position>,
}

/// What is new.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Batch {
    /// The events, in the order of each file.
    pub events: Vec<Seen>,
    /// What is reached with them.
    pub marks: Vec<Mark>,
    /// Records, pairs, what was left out and why.
    pub summary: Summary,
    /// What a person should know.
    pub notes: Vec<Note>,
}

impl Batch {
    fn is_empty(&self) -> bool {
        self.events.is_empty() && self.marks.is_empty() && self.notes.is_empty()
    }
}

/// What a person should know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Note {
    /// A file goes on under another name.
    #[error("`{from}` goes on in `{to}` from byte {at}", from = from.display(), to = to.display())]
    Rotated {
        /// The name that it had.
        from: PathBuf,
        /// The name that it has.
        to: PathBuf,
        /// Where it is read on.
        at: u64,
    },
    /// A file was replaced or cut, and what was in it is nowhere.
    #[error(
        "`{}` was replaced, and what was written into the file before after byte {at} is nowhere: if it was deleted at once, let \
         the rotation keep one old file",
        path.display()
    )]
    Lost {
        /// The file.
        path: PathBuf,
        /// How far it had been read.
        at: u64,
    },
    /// A file is none that is read, and is left out.
    #[error("`{}` is left out: {why}", path.display())]
    LeftOut {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// After the gzip stream of a file comes something else, which is not read.
    #[error("`{}`: {}", path.display(), Damage::Followed)]
    Followed {
        /// The file.
        path: PathBuf,
    },
    /// A file cannot be read now; it is tried again.
    #[error("`{}` cannot be read now: {why}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        why: String,
    },
}

/// What a look came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Polled {
    /// Whether there was anything new.
    pub anything: bool,
    /// Files that are not complete yet, such as a gzip file that is still written.
    pub waiting: u64,
}

/// Why a source cannot be followed on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FollowError {
    /// The file or folder is not there, or cannot be read.
    #[error("`{}` cannot be read", path.display())]
    Source {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A record cannot be understood, or a file is none that is read.
    #[error("`{file}`, {place}: {problem}; skip malformed records to go on without it")]
    Malformed {
        /// Which file.
        file: String,
        /// Where in it.
        place: String,
        /// What is wrong.
        problem: String,
    },
    /// The format of a file cannot be told by its first bytes.
    #[error("it is not certain what kind of log `{}` is; name its format", path.display())]
    UnknownFormat {
        /// Which file.
        path: PathBuf,
    },
    /// The one who takes the batches wants no more.
    #[error("stopped")]
    Stopped,
}

impl From<Stopped> for FollowError {
    fn from(Stopped: Stopped) -> Self {
        Self::Stopped
    }
}

/// Takes batches.
pub type Take<'a> = &'a mut dyn FnMut(Batch) -> Result<(), Stopped>;

/// Follows a growing file, or all files of a folder.
pub struct Follower {
    source: PathBuf,
    is_folder: bool,
    extract: Extract,
    only_new: bool,
    files: BTreeMap<String, Tracked>,
    /// What is not under its name any more, and not found again yet.
    remains: Vec<Remains>,
    /// Files that are passed over for as long as they do not change, by their ids.
    passed: HashMap<String, Passed>,
    /// Folders that could not be looked into, and files without a name, which was told.
    told: BTreeSet<PathBuf>,
    looked: bool,
    resumed: bool,
}

/// A file that is followed.
struct Tracked {
    position: Position,
    /// Length and time of change when it was looked at last.
    looked: (u64, u64),
    /// Known only after the first line.
    form: Option<Form>,
    /// Looks without a change.
    quiet: u32,
    /// Kept open, so that it can be read to its end wherever it goes.
    handle: Option<Arc<File>>,
    left_out: bool,
    /// It was not complete when it was read last.
    waits: bool,
    /// It could not be read, which was told.
    failed: bool,
    /// Something comes after its gzip stream, which was told.
    followed: bool,
}

/// The rest of a file that is not under its name any more.
struct Remains {
    /// Under which its position is kept until it is found or given up.
    id: Option<String>,
    position: Position,
    /// Looks since then.
    age: u32,
    /// Nothing of it is known to be missing.
    is_whole: bool,
}

/// A file that is passed over.
struct Passed {
    looked: (u64, u64),
    why: Why,
}

/// Why a file is passed over.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Why {
    /// It is none of those that are followed.
    Other,
    /// It is not complete.
    Incomplete,
    /// It cannot be opened, which was told; it is tried again.
    Unreadable,
}

impl Follower {
    /// Follows what is at `path`, from these positions on: [`Positions::default`] is the beginning.
    ///
    /// Format, policy and what to do with malformed records are those of `extract`.
    ///
    /// # Errors
    ///
    /// [`FollowError::Source`] when nothing is there, unless it is a file that was read before, or when its name is not Unicode.
    pub fn new(
        path: impl Into<PathBuf>,
        extract: Extract,
        positions: &Positions,
    ) -> Result<Self, FollowError> {
        let source = path.into();
        let found = match source.to_str() {
            Some(_) => source.metadata(),
            None => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "its name is not Unicode",
            )),
        };
        let is_folder = match found {
            Ok(metadata) => metadata.is_dir(),
            // Between a rotation and the next line there may be no file; a folder stays.
            Err(error) if error.kind() == io::ErrorKind::NotFound && positions.are_beside(&source) => false,
            Err(error) => {
                return Err(FollowError::Source {
                    path: source,
                    source: error,
                });
            }
        };
        let files = positions.files.iter().map(|(id, position)| {
            let tracked = Tracked {
                looked: (position.length, position.modified),
                ..Tracked::at(position.clone())
            };
            (id.clone(), tracked)
        });
        Ok(Self {
            source,
            is_folder,
            extract,
            only_new: false,
            files: files.collect(),
            remains: Vec::new(),
            passed: HashMap::new(),
            told: BTreeSet::new(),
            looked: false,
            resumed: !positions.is_empty(),
        })
    }

    /// Whether to begin at the end of what is there at the first look, where no position says otherwise.
    #[must_use]
    pub fn only_new(mut self, only_new: bool) -> Self {
        self.only_new = only_new;
        self
    }

    /// Looks once: hands on everything that is new and complete.
    ///
    /// With `to_the_end` a last line without its end counts as whole, as nobody will wait for it; should it go on, it is read again.
    ///
    /// # Errors
    ///
    /// See [`FollowError`]; what was handed on before is no less reached.
    pub fn poll(&mut self, to_the_end: bool, take: Take<'_>) -> Result<Polled, FollowError> {
        let mut batch = Batch::default();
        let mut polled = Polled::default();
        let listing = listing::list(&self.source, self.is_folder).map_err(|source| FollowError::Source {
            path: self.source.clone(),
            source,
        })?;
        self.tell(&listing, &mut batch);
        let Listing {
            found, unreadable, ..
        } = listing;
        // Of what is in a folder that cannot be looked into, nobody knows whether it is gone.
        let is_hidden = |path: &Path| unreadable.iter().any(|(folder, _)| path.starts_with(folder));
        let known = self.recognize(&found, &is_hidden, &mut batch);
        self.discover(&found, &known, &mut batch, &mut polled)?;
        let is_first = !std::mem::replace(&mut self.looked, true);
        if is_first && !batch.is_empty() {
            // Where it began is known before anything is dealt with: so it is found again even if it is rotated next.
            take(std::mem::take(&mut batch))?;
        }
        let present: BTreeSet<&str> = found.iter().map(|found| found.id.as_str()).collect();
        // What went elsewhere is older than what is there.
        let gone = self
            .files
            .iter()
            .filter(|(id, tracked)| !present.contains(id.as_str()) && !is_hidden(&tracked.position.path));
        let mut work: Vec<(String, Option<&Found>)> = gone.map(|(id, _)| (id.clone(), None)).collect();
        work.extend(found.iter().map(|found| (found.id.clone(), Some(found))));
        for (id, found) in work {
            let Some(mut tracked) = self.files.remove(&id) else {
                continue;
            };
            let result = self.advance(
                &id,
                &mut tracked,
                found,
                to_the_end,
                (&mut batch, &mut polled),
                take,
            );
            let is_over = found.is_none() && (tracked.handle.is_none() || tracked.quiet >= QUIET);
            if is_over && result.is_ok() {
                self.remains.push(Remains {
                    id: None,
                    position: tracked.position,
                    age: 0,
                    is_whole: true,
                });
                batch.marks.push(Mark { id, position: None });
            } else {
                self.files.insert(id, tracked);
            }
            result?;
        }
        let gives_up = |remains: &Remains| {
            let looks = if remains.is_whole { REMEMBERED } else { QUIET };
            to_the_end || remains.age > looks
        };
        for remains in self.remains.extract_if(.., |remains| gives_up(remains)) {
            batch
                .marks
                .extend(remains.id.map(|id| Mark { id, position: None }));
            if !remains.is_whole {
                batch.notes.push(Note::Lost {
                    path: remains.position.path,
                    at: remains.position.at,
                });
            }
        }
        for remains in &mut self.remains {
            remains.age += 1;
        }
        if !batch.is_empty() {
            take(batch)?;
        }
        Ok(polled)
    }

    /// Notes what cannot be read, once.
    fn tell(&mut self, listing: &Listing, batch: &mut Batch) {
        let mut told = BTreeSet::new();
        for (path, error) in &listing.unreadable {
            if told.insert(path.clone()) && !self.told.contains(path) {
                let (path, why) = (path.clone(), error.to_string());
                batch.notes.push(Note::Unreadable { path, why });
            }
        }
        for path in &listing.unnamed {
            if told.insert(path.clone()) && !self.told.contains(path) {
                let (path, why) = (path.clone(), "its name is not Unicode".to_owned());
                batch.notes.push(Note::LeftOut { path, why });
            }
        }
        self.told = told;
    }

    /// Which of the files are known, under whatever name, and which of these are not what they were.
    fn recognize(
        &mut self,
        found: &[Found],
        is_hidden: &dyn Fn(&Path) -> bool,
        batch: &mut Batch,
    ) -> BTreeSet<String> {
        let mut known = BTreeSet::new();
        for found in found {
            let Some(tracked) = self.files.get_mut(&found.id) else {
                continue;
            };
            known.insert(found.id.clone());
            if (found.length, found.modified) != tracked.looked || !self.looked {
                // Cut, or another file at the same place of the disk; what cannot be read is seen when it is read.
                let fits = Content::found(&found.path, &found.id)
                    .and_then(|mut content| tracked.position.print.fits(&mut content, tracked.position.at));
                if matches!(fits, Ok(false)) {
                    let earlier = std::mem::replace(tracked, Tracked::new(found));
                    self.remains.push(Remains {
                        id: None,
                        position: earlier.position,
                        age: 0,
                        is_whole: false,
                    });
                    batch.marks.push(tracked.mark(&found.id));
                    continue;
                }
            }
            if tracked.position.path != found.path {
                batch.notes.push(Note::Rotated {
                    from: std::mem::replace(&mut tracked.position.path, found.path.clone()),
                    to: found.path.clone(),
                    at: tracked.position.at,
                });
                batch.marks.push(tracked.mark(&found.id));
            }
        }
        if !self.looked {
            // What is gone may be there under another number, as when it was compressed.
            let gone: Vec<String> = self
                .files
                .iter()
                .filter(|(id, tracked)| !known.contains(*id) && !is_hidden(&tracked.position.path))
                .map(|(id, _)| id.clone())
                .collect();
            for id in gone {
                if let Some(tracked) = self.files.remove(&id) {
                    self.remains.push(Remains {
                        id: Some(id),
                        is_whole: tracked.position.length > 0 && self.is_folder,
                        position: tracked.position,
                        age: 0,
                    });
                }
            }
        }
        known
    }

    /// Takes in files that are not known.
    fn discover(
        &mut self,
        found: &[Found],
        known: &BTreeSet<String>,
        batch: &mut Batch,
        polled: &mut Polled,
    ) -> Result<(), FollowError> {
        let remains = self.remains.iter().map(|remains| &remains.position);
        let tracked = self.files.values().map(|tracked| &tracked.position);
        let newest = remains.chain(tracked).map(|position| position.modified).max();
        for found in found.iter().filter(|found| !known.contains(&found.id)) {
            let looked = (found.length, found.modified);
            let passed = self.passed.get(&found.id);
            let passed = passed
                .filter(|passed| passed.looked == looked)
                .map(|passed| passed.why);
            if passed == Some(Why::Incomplete) {
                polled.waiting += 1;
                continue;
            }
            let is_source = self.is_folder || found.path == self.source;
            // Of a file that was rotated more than once while nobody looked, all that came after what was read; clocks of files
            // may stand for some milliseconds.
            let is_missed = !self.looked && self.resumed && Some(found.modified) >= newest;
            if passed == Some(Why::Other) && self.remains.is_empty() {
                continue;
            }
            let mut pass = |why| {
                self.passed.insert(found.id.clone(), Passed { looked, why });
            };
            let mut content = match Content::found(&found.path, &found.id) {
                Ok(content) => content,
                // What went away meanwhile is not there.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(source) if found.path == self.source => {
                    let path = found.path.clone();
                    return Err(FollowError::Source { path, source });
                }
                Err(error) => {
                    polled.waiting += u64::from(is_source);
                    if passed != Some(Why::Unreadable) && (is_source || is_missed) {
                        let why = error.to_string();
                        let path = found.path.clone();
                        batch.notes.push(Note::Unreadable { path, why });
                    }
                    pass(Why::Unreadable);
                    continue;
                }
            };
            if content.is_packed() && matches!(content.is_complete(), Ok(false)) {
                pass(Why::Incomplete);
                polled.waiting += u64::from(is_source);
                continue;
            }
            let mut fits = |position: &Position| {
                position.at > 0 && matches!(position.print.fits(&mut content, position.at), Ok(true))
            };
            let adopted = match self.remains.iter().position(|remains| fits(&remains.position)) {
                Some(at) => {
                    let remains = self.remains.swap_remove(at);
                    batch
                        .marks
                        .extend(remains.id.map(|id| Mark { id, position: None }));
                    Some(remains.position)
                }
                // Compressed, and the file itself is still there for a moment.
                None => {
                    let plain = found.path.extension().is_some_and(|name| name == "gz");
                    let plain = plain.then(|| found.path.with_extension(""));
                    let of = |tracked: &&Tracked| plain.as_ref() == Some(&tracked.position.path);
                    let tracked = self.files.values().find(of);
                    tracked
                        .map(|tracked| tracked.position.clone())
                        .filter(|position| fits(position))
                }
            };
            if let Some(position) = adopted {
                batch.notes.push(Note::Rotated {
                    from: position.path.clone(),
                    to: found.path.clone(),
                    at: position.at,
                });
                let tracked = Tracked::at(Position {
                    path: found.path.clone(),
                    length: 0,
                    ..position
                });
                batch.marks.push(tracked.mark(&found.id));
                self.files.insert(found.id.clone(), tracked);
                continue;
            }
            if passed == Some(Why::Other) {
                continue;
            }
            if !is_source && !is_missed {
                pass(Why::Other);
                continue;
            }
            if self.is_folder
                && let Some(of) = self.copied(found)
            {
                // A copy is made before the file is cut.
                batch.notes.push(Note::LeftOut {
                    path: found.path.clone(),
                    why: format!("it is a copy of `{}`", of.display()),
                });
                let why = Why::Other;
                self.passed.insert(found.id.clone(), Passed { looked, why });
                continue;
            }
            let mut tracked = Tracked::new(found);
            let from_the_end = self.only_new && !self.looked && !self.resumed;
            if from_the_end {
                tracked.skip_to_the_end(&mut content);
            }
            if from_the_end || !self.is_folder {
                batch.marks.push(tracked.mark(&found.id));
            }
            self.files.insert(found.id.clone(), tracked);
        }
        Ok(())
    }

    /// Of which file that is read this one is a copy, by its name and by all that is in it.
    fn copied(&self, found: &Found) -> Option<PathBuf> {
        let name = found.path.file_name()?.as_encoded_bytes();
        let of = self.files.values().find(|tracked| {
            let path = &tracked.position.path;
            let of = path.file_name().unwrap_or_default().as_encoded_bytes();
            path.parent() == found.path.parent()
                && listing::is_sibling(name, of)
                && matches!(content::is_beginning_of(&found.path, path), Ok(true))
        })?;
        Some(of.position.path.clone())
    }

    /// Reads what is new of one file.
    fn advance(
        &mut self,
        id: &str,
        tracked: &mut Tracked,
        found: Option<&Found>,
        to_the_end: bool,
        (batch, polled): (&mut Batch, &mut Polled),
        take: Take<'_>,
    ) -> Result<(), FollowError> {
        let reached = match (found, &tracked.handle) {
            (Some(found), _) => (found.length, found.modified),
            (None, Some(handle)) => match handle.metadata() {
                Ok(metadata) => (metadata.len(), listing::modified(&metadata)),
                Err(_) => return Ok(()),
            },
            (None, None) => return Ok(()),
        };
        let unchanged = reached == tracked.looked;
        tracked.quiet = if unchanged {
            tracked.quiet.saturating_add(1)
        } else {
            0
        };
        let is_done = unchanged && tracked.position.length == reached.0;
        let rotated = found.is_none_or(|found| !self.is_folder && found.path != self.source);
        // Once, when it has been quiet for long enough.
        let tail = to_the_end || (rotated && tracked.quiet == QUIET);
        if is_done || (unchanged && !tail) || tracked.left_out {
            polled.waiting += u64::from(tracked.waits);
            return Ok(());
        }
        let path = tracked.position.path.clone();
        let opened = match (&tracked.handle, found) {
            (Some(handle), None) => Content::of(handle),
            _ => Content::found(&path, id),
        };
        let result = opened.map_err(Unread::Io).and_then(|mut content| {
            if found.is_some() && !self.is_folder && !content.is_packed() {
                tracked.handle = Some(content.handle());
            }
            let mut reading = Reading {
                extract: &self.extract,
                id,
                file: Arc::from(path.display().to_string()),
                tracked,
                batch,
                polled,
                take,
                reached,
            };
            reading.run(&mut content, tail)
        });
        let skips = self.extract.skips_malformed();
        match result {
            Ok(is_complete) => {
                polled.waiting += u64::from(!is_complete);
                tracked.waits = !is_complete;
                tracked.looked = reached;
                tracked.failed = false;
            }
            // It went elsewhere since it was listed, where the next look finds it.
            Err(Unread::Io(error)) if error.kind() == io::ErrorKind::NotFound => polled.waiting += 1,
            Err(Unread::Io(error)) => {
                // Told once, and tried again until it works.
                if !std::mem::replace(&mut tracked.failed, true) {
                    let why = error.to_string();
                    batch.notes.push(Note::Unreadable { path, why });
                }
                polled.waiting += 1;
            }
            Err(Unread::Foreign(why)) if skips => {
                tracked.left_out = true;
                batch.notes.push(Note::LeftOut { path, why });
            }
            Err(Unread::Unknown) if skips && self.is_folder => {
                tracked.left_out = true;
                let why = "it is not certain what kind of log it is".to_owned();
                batch.notes.push(Note::LeftOut { path, why });
            }
            Err(Unread::Foreign(problem)) => {
                return Err(FollowError::Malformed {
                    file: path.display().to_string(),
                    place: "its first bytes".to_owned(),
                    problem,
                });
            }
            Err(Unread::Unknown) => return Err(FollowError::UnknownFormat { path }),
            Err(Unread::Follow(error)) => return Err(error),
        }
        Ok(())
    }
}

impl fmt::Debug for Follower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follower")
            .field("source", &self.source)
            .field("files", &self.files.len())
            .finish_non_exhaustive()
    }
}

impl Tracked {
    fn new(found: &Found) -> Self {
        Self::at(Position {
            path: found.path.clone(),
            at: 0,
            seen: 0,
            records: None,
            length: 0,
            modified: found.modified,
            print: Fingerprint::default(),
        })
    }

    fn at(position: Position) -> Self {
        Self {
            position,
            looked: (0, 0),
            form: None,
            quiet: 0,
            handle: None,
            left_out: false,
            waits: false,
            failed: false,
            followed: false,
        }
    }

    fn mark(&self, id: &str) -> Mark {
        Mark {
            id: id.to_owned(),
            position: Some(self.position.clone()),
        }
    }

    /// Passes over what is there: whole lines, so that the one that is being written is not cut.
    fn skip_to_the_end(&mut self, content: &mut Content) {
        let reached = content
            .end_of_lines()
            .and_then(|end| Ok((end, Fingerprint::of(content, end)?)));
        if let Ok((end, print)) = reached {
            let position = &mut self.position;
            (position.at, position.seen, position.print) = (end, end, print);
        }
    }
}

/// Why a file was not read.
enum Unread {
    Io(io::Error),
    Foreign(String),
    Unknown,
    Follow(FollowError),
}

impl From<io::Error> for Unread {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<FollowError> for Unread {
    fn from(error: FollowError) -> Self {
        Self::Follow(error)
    }
}

/// One file being read.
struct Reading<'a, 'b> {
    extract: &'a Extract,
    id: &'a str,
    file: Arc<str>,
    tracked: &'a mut Tracked,
    batch: &'a mut Batch,
    polled: &'a mut Polled,
    take: Take<'b>,
    /// Length and time of change of the file as it is read.
    reached: (u64, u64),
}

impl Reading<'_, '_> {
    /// Reads on; says whether the file was complete enough to be read.
    fn run(&mut self, content: &mut Content, tail: bool) -> Result<bool, Unread> {
        if content.is_packed() && !content.is_complete()? {
            return Ok(false);
        }
        if content.is_followed() && !std::mem::replace(&mut self.tracked.followed, true) {
            let path = self.tracked.position.path.clone();
            self.batch.notes.push(Note::Followed { path });
        }
        let first = content.first(64 * 1024)?;
        if first.is_empty() {
            return Ok(true);
        }
        let ends = tail || content.is_packed();
        let form = match &self.tracked.form {
            Some(form) => form.clone(),
            None => {
                let Some(form) = self.form(&first, ends)? else {
                    return Ok(true);
                };
                if first.contains(&b'\n') {
                    self.tracked.form = Some(form.clone());
                }
                form
            }
        };
        if form.is_document || self.tracked.position.records.is_some() {
            return self.document(content, &form, tail);
        }
        self.lines(content, &form, ends)
    }

    /// What the file is, by its first bytes; nothing where there are too few of them yet.
    fn form(&self, first: &[u8], ends: bool) -> Result<Option<Form>, Unread> {
        if let Some(kind) = self.extract.foreign(first) {
            return Err(Unread::Foreign(format!("this is {kind}")));
        }
        let is_document = content::is_document(first);
        if !first.contains(&b'\n') && !is_document && !ends {
            return Ok(None);
        }
        let format = self.extract.format().or_else(|| guess(first));
        match format {
            Some(format) => Ok(Some(Form::new(format, first, is_document))),
            // Half a document says too little of what it will be.
            None if is_document && !first.contains(&b'\n') && !ends => Ok(None),
            None => Err(Unread::Unknown),
        }
    }

    /// Lines, from where they were left.
    fn lines(&mut self, content: &mut Content, form: &Form, ends: bool) -> Result<bool, Unread> {
        let position = &self.tracked.position;
        let mut at = position.at;
        let seen = position.seen;
        let head = content.first(fingerprint::BYTES)?;
        // What is before the position is part of the print of the next one.
        let before = at.min(fingerprint::BYTES);
        let mut reader = content.from(at - before)?;
        let mut last = Vec::new();
        reader.by_ref().take(before).read_to_end(&mut last)?;
        let mut buffer = Vec::new();
        loop {
            let begun = buffer.len();
            let read = reader.by_ref().take(CHUNK as u64).read_to_end(&mut buffer)?;
            let whole = match memchr::memrchr(b'\n', &buffer[begun..]) {
                Some(end) => begun + end + 1,
                None if buffer.len() > LONGEST_LINE => buffer.len(),
                None => 0,
            };
            if whole > 0 {
                self.feed(form, &buffer[..whole], at)?;
                at += whole as u64;
                last.extend_from_slice(&buffer[..whole]);
                last.drain(..last.len().saturating_sub(fingerprint::BYTES as usize));
                buffer.drain(..whole);
                let head = &head[..head.len().min(usize::try_from(at).unwrap_or(usize::MAX))];
                let position = &mut self.tracked.position;
                (position.at, position.seen) = (at, at);
                position.print = Fingerprint::new(head, &last);
                self.reach(false)?;
            }
            if read < CHUNK {
                break;
            }
        }
        drop(reader);
        let end = at + buffer.len() as u64;
        if ends && end > at && end > seen {
            // Without its end it may go on: it is read again then.
            self.feed(form, &buffer, at)?;
            self.tracked.position.seen = end;
        }
        if end == self.tracked.position.seen {
            self.reach(true)?;
        }
        Ok(true)
    }

    /// A document whose records are not lines, as a whole.
    fn document(&mut self, content: &mut Content, form: &Form, tail: bool) -> Result<bool, Unread> {
        let length = content.length()?;
        if length == self.tracked.position.seen {
            self.reach(true)?;
            return Ok(true);
        }
        let mut look = content::Look::default();
        content::read(&*form.format, content.from(0)?, &mut look)?;
        if look.ends_early && !tail {
            return Ok(false);
        }
        let skip = self.tracked.position.records.unwrap_or_default();
        let print = Fingerprint::of(content, length)?;
        let (batch, take) = (&mut *self.batch, &mut *self.take);
        let (id, position) = (self.id, &mut self.tracked.position);
        let modified = self.reached.1;
        let mut flush = |collected: &mut content::Collected, records: u64, is_end: bool| {
            batch.events.append(&mut collected.events);
            batch.summary.add(std::mem::take(&mut collected.summary));
            position.records = Some(records);
            position.modified = modified;
            if is_end {
                (position.at, position.seen, position.print) = (length, length, print);
            } else {
                // Known by nothing until it is read to its end, and read from its beginning up to these records.
                (position.at, position.seen, position.print) = (0, 0, Fingerprint::default());
            }
            position.length = 0;
            batch.marks.push(Mark {
                id: id.to_owned(),
                position: Some(position.clone()),
            });
            match batch.events.len() >= BATCH {
                true => take(std::mem::take(batch)),
                false => Ok(()),
            }
        };
        content::document(self.extract, form, &self.file, content.from(0)?, skip, &mut flush)?;
        self.polled.anything = true;
        self.reach(true)?;
        Ok(true)
    }

    /// Hands lines to the format.
    fn feed(&mut self, form: &Form, lines: &[u8], at: u64) -> Result<(), Unread> {
        let mut collected = content::lines(self.extract, form, &self.file, lines, at)?;
        self.batch.events.append(&mut collected.events);
        self.batch.summary.add(collected.summary);
        self.polled.anything = true;
        Ok(())
    }

    /// Everything before the position is in the batch, and with `is_all` there is nothing after it.
    fn reach(&mut self, is_all: bool) -> Result<(), Unread> {
        let position = &mut self.tracked.position;
        position.modified = self.reached.1;
        position.length = if is_all { self.reached.0 } else { 0 };
        self.batch.marks.push(self.tracked.mark(self.id));
        if self.batch.events.len() >= BATCH {
            (self.take)(std::mem::take(self.batch)).map_err(FollowError::from)?;
        }
        Ok(())
    }
}
