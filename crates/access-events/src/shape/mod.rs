//! What becomes of the events as a whole: an earlier and a later part, each pair once, entities with too few events
//! left out, and the order drawn from a seed.
//!
//! ```
//! use access_events::shape::{Part, Shape, ShapeError, Shaper};
//!
//! // A folder for what does not fit into memory; nothing is written to it before that.
//! let shape = Shape::draft(std::env::temp_dir()).shuffle(7).unique(true).check()?;
//! let mut rows = Vec::new();
//! let mut shaper = Shaper::new(&shape, |_part: Part, event: &access_events::AccessEvent| {
//!     rows.push(event.clone());
//!     Ok::<_, ShapeError>(())
//! });
//! for _ in 0..3 {
//!     shaper.push("alice", [192, 0, 2, 1].into(), None)?;
//!     shaper.push("bob", [198, 51, 100, 7].into(), None)?;
//! }
//! let tally = shaper.finish()?;
//! assert_eq!((tally.train, tally.repeats), (2, 4));
//! assert_eq!(rows.len(), 2);
//! # Ok::<(), access_events::shape::ShapeError>(())
//! ```
//!
//! All of it streams: events come one at a time and leave one at a time, at once where nothing has to be seen whole.
//! Otherwise they are sorted, in memory as long as they fit into a stated budget and through temporary files beyond it.
//! The result is the same either way, byte for byte: an order is a matter of the events, their numbers and the seed.

mod order;
mod sort;
#[cfg(test)]
mod tests;

use std::io;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use jiff::Timestamp;

use crate::AccessEvent;
use order::{Order, place};
use sort::{Row, Sorter};

/// The memory that sorting may take unless told otherwise, in bytes: 256 MiB.
pub const MEMORY: usize = 256 << 20;

/// The least memory that can be asked for, in bytes: 1 MiB.
pub const LEAST_MEMORY: usize = 1 << 20;

/// The most events per entity that can be asked for.
pub const MOST_MIN_EVENTS: u64 = 1_000_000;

/// Why events could not be shaped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ShapeError {
    /// The memory is too little to sort in.
    #[error("`memory` must be at least {LEAST_MEMORY} bytes, got {bytes}")]
    Memory {
        /// What was asked for, in bytes.
        bytes: usize,
    },
    /// More events per entity are asked for than can be held back.
    #[error("`min_events` must be at most {MOST_MIN_EVENTS}, got {events}")]
    MinEvents {
        /// What was asked for.
        events: u64,
    },
    /// The folder for temporary files is none.
    #[error("the folder for temporary files, `{}`, is not a folder", folder.display())]
    NoFolder {
        /// The folder as given.
        folder: PathBuf,
    },
    /// Events that do not fit into memory could not be written to a temporary file.
    #[error(
        "could not write events that do not fit into memory to a temporary file in `{}`; {}",
        folder.display(),
        if source.kind() == io::ErrorKind::StorageFull {
            "the disk is full, so give another folder or more memory"
        } else {
            "another folder or more memory may help"
        },
    )]
    Spill {
        /// The folder for temporary files.
        folder: PathBuf,
        /// What the file system says.
        source: io::Error,
    },
    /// A temporary file could not be read back.
    #[error("could not read a temporary file in `{}` back", folder.display())]
    Restore {
        /// The folder for temporary files.
        folder: PathBuf,
        /// What the file system says.
        source: io::Error,
    },
}

/// How events are shaped, not yet checked. By default they pass as they come: all of them, in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Draft {
    folder: PathBuf,
    memory: usize,
    unique: bool,
    min_events: Option<u64>,
    train_until: Option<Timestamp>,
    shuffle: Option<u64>,
}

impl Draft {
    /// Roughly the memory that sorting may take, in bytes: at least [`LEAST_MEMORY`], [`MEMORY`] by default. What is
    /// beyond it goes to temporary files.
    pub fn memory(mut self, bytes: usize) -> Self {
        self.memory = bytes;
        self
    }

    /// Whether each pair is kept once per part. Repeats are kept by default: training learns from their number. For scoring,
    /// once is enough.
    pub fn unique(mut self, unique: bool) -> Self {
        self.unique = unique;
        self
    }

    /// Leaves out every entity with fewer than so many events, at most [`MOST_MIN_EVENTS`]; none by default. Repeats
    /// count. Where the events are split, those of the first part count, so that an entity is in the later part only
    /// when it is in the first, where 1 is enough for just that.
    pub fn min_events(mut self, events: u64) -> Self {
        self.min_events = Some(events);
        self
    }

    /// Splits the events: those before this moment are [`Part::Train`], those at it or after are [`Part::Later`].
    /// Events without a time belong to neither and are counted.
    pub fn train_until(mut self, time: Timestamp) -> Self {
        self.train_until = Some(time);
        self
    }

    /// Puts each part in an order drawn from this seed. Every order is equally likely over the seeds.
    pub fn shuffle(mut self, seed: u64) -> Self {
        self.shuffle = Some(seed);
        self
    }

    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// [`ShapeError::Memory`], [`ShapeError::MinEvents`], [`ShapeError::NoFolder`].
    pub fn check(self) -> Result<Shape, ShapeError> {
        if self.memory < LEAST_MEMORY {
            return Err(ShapeError::Memory { bytes: self.memory });
        }
        if let Some(events) = self.min_events.filter(|events| *events > MOST_MIN_EVENTS) {
            return Err(ShapeError::MinEvents { events });
        }
        let shape = Shape(self);
        if shape.sorts() && !shape.0.folder.is_dir() {
            return Err(ShapeError::NoFolder {
                folder: shape.0.folder,
            });
        }
        Ok(shape)
    }
}

/// How events are shaped. It comes from [`Draft::check`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape(Draft); // INVARIANT: limits kept; the folder was one when checked, if it may be needed.

impl Shape {
    /// Settings with the folder for temporary files, which is written to only when events do not fit into memory.
    pub fn draft(folder: impl Into<PathBuf>) -> Draft {
        Draft {
            folder: folder.into(),
            memory: MEMORY,
            unique: false,
            min_events: None,
            train_until: None,
            shuffle: None,
        }
    }

    /// Whether the events of an entity have to be seen together.
    fn groups(&self) -> bool {
        self.0.unique || self.0.min_events.is_some_and(|least| least > 0)
    }

    /// Whether anything has to be seen whole before the first event can leave. A split alone does not: the receiver
    /// is told the part of each.
    fn sorts(&self) -> bool {
        self.groups() || self.0.shuffle.is_some()
    }
}

/// Which part an event belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// Before [`Draft::train_until`]; without it, all of them.
    Train,
    /// At [`Draft::train_until`] or after: for validation and tests.
    Later,
}

/// What became of the events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tally {
    /// Events given out in the first part, or in all when there is no split.
    pub train: u64,
    /// Events given out in the later part.
    pub later: u64,
    /// Events left out because their part has the pair already.
    pub repeats: u64,
    /// Events left out because their entity has too few.
    pub few: u64,
    /// How many entities have too few events.
    pub few_entities: u64,
    /// Events left out because a split needs a time and they have none.
    pub untimed: u64,
    /// Bytes written to temporary files.
    pub spilled: u64,
}

/// Takes events and gives them out shaped, to a function.
///
/// Events leave at once when nothing has to be seen whole, and at [`finish`](Self::finish) otherwise: then the whole
/// first part before the later one. A shaper that is dropped, finished or not, leaves no file behind.
#[derive(Debug)]
pub struct Shaper<F> {
    shape: Shape,
    give: Give<F>,
    /// Brings the events of an entity together.
    groups: Option<Sorter>,
    /// Brings the events into their final order.
    last: Option<Sorter>,
    /// The number of the next event.
    next: u64,
    tally: Tally,
}

/// The receiver, and an event to lend to it.
#[derive(Debug)]
struct Give<F> {
    give: F,
    event: AccessEvent,
}

impl<E, F: FnMut(Part, &AccessEvent) -> Result<(), E>> Give<F> {
    fn give(&mut self, row: Row<'_>, tally: &mut Tally) -> Result<(), E> {
        self.event.entity.clear();
        self.event.entity.push_str(row.entity);
        self.event.ip = row.ip;
        (self.give)(row.part, &self.event)?;
        match row.part {
            Part::Train => tally.train += 1,
            Part::Later => tally.later += 1,
        }
        Ok(())
    }
}

impl<E: From<ShapeError>, F: FnMut(Part, &AccessEvent) -> Result<(), E>> Shaper<F> {
    /// A shaper that gives events to `give`, each with its part.
    pub fn new(shape: &Shape, give: F) -> Self {
        let sorters = usize::from(shape.groups()) + usize::from(shape.sorts());
        let sorter = |order| Sorter::new(order, shape.0.memory / sorters.max(1), &shape.0.folder);
        Self {
            groups: shape.groups().then(|| sorter(Order::Entity)),
            last: shape.sorts().then(|| sorter(Order::Place)),
            shape: shape.clone(),
            give: Give {
                give,
                event: AccessEvent::new(String::new(), Ipv4Addr::UNSPECIFIED),
            },
            next: 0,
            tally: Tally::default(),
        }
    }

    /// Takes one event. The time matters only where there is a split.
    ///
    /// # Errors
    ///
    /// Those of the receiver, and [`ShapeError::Spill`] or [`ShapeError::Restore`] when a temporary file fails. The shaper is of no
    /// use afterwards.
    pub fn push(&mut self, entity: &str, ip: Ipv4Addr, time: Option<Timestamp>) -> Result<(), E> {
        let part = match (self.shape.0.train_until, time) {
            (None, _) => Part::Train,
            (Some(until), Some(time)) if time < until => Part::Train,
            (Some(_), Some(_)) => Part::Later,
            (Some(_), None) => {
                self.tally.untimed += 1;
                return Ok(());
            }
        };
        let number = self.next;
        self.next += 1;
        let mut row = Row {
            place: number,
            part,
            ip,
            entity,
        };
        if let Some(groups) = &mut self.groups {
            groups.push(row)?;
        } else if let Some(last) = &mut self.last {
            row.place = place(self.shape.0.shuffle, number);
            last.push(row)?;
        } else {
            self.give.give(row, &mut self.tally)?;
        }
        Ok(())
    }

    /// Gives out what was held back, and tells what became of all.
    ///
    /// # Errors
    ///
    /// As for [`push`](Self::push).
    pub fn finish(mut self) -> Result<Tally, E> {
        let Some(mut last) = self.last.take() else {
            return Ok(self.tally);
        };
        if let Some(groups) = self.groups.take() {
            let settings = &self.shape.0;
            let mut group = Group::new(settings.unique, settings.min_events.unwrap_or(0));
            self.tally.spilled += groups.finish(|row: Row<'_>| {
                group.take(row, &mut |mut row: Row<'_>| {
                    row.place = place(settings.shuffle, row.place);
                    last.push(row)
                })
            })?;
            group.end();
            self.tally.repeats = group.repeats;
            self.tally.few = group.few;
            self.tally.few_entities = group.few_entities;
        }
        let (give, tally) = (&mut self.give, &mut self.tally);
        let spilled = last.finish(|row| give.give(row, tally))?;
        tally.spilled += spilled;
        Ok(self.tally)
    }
}

/// Rows in the order of [`Order::Entity`], one entity after the other: each pair once, and only entities with enough.
#[derive(Debug)]
struct Group {
    unique: bool,
    least: u64,
    entity: Option<String>,
    /// Events of this entity that count so far, repeats among them.
    count: u64,
    /// Rows of this entity that wait until it has enough; fewer than `least`.
    waiting: Vec<(u64, Ipv4Addr)>,
    /// Events of this entity that were left out as repeats of rows that wait.
    waiting_repeats: u64,
    previous: Option<(Part, Ipv4Addr)>,
    repeats: u64,
    few: u64,
    few_entities: u64,
}

impl Group {
    fn new(unique: bool, least: u64) -> Self {
        Self {
            unique,
            least,
            entity: None,
            count: 0,
            waiting: Vec::new(),
            waiting_repeats: 0,
            previous: None,
            repeats: 0,
            few: 0,
            few_entities: 0,
        }
    }

    fn take<E>(&mut self, row: Row<'_>, keep: &mut impl FnMut(Row<'_>) -> Result<(), E>) -> Result<(), E> {
        if self.entity.as_deref() != Some(row.entity) {
            self.end();
            let name = self.entity.get_or_insert_default();
            name.clear();
            name.push_str(row.entity);
        }
        // The first part comes before the later one, so the count is complete when that begins.
        self.count += u64::from(row.part == Part::Train);
        let enough = self.count >= self.least;
        if enough && !self.waiting.is_empty() {
            for (place, ip) in self.waiting.drain(..) {
                let part = Part::Train;
                keep(Row {
                    place,
                    part,
                    ip,
                    ..row
                })?;
            }
        }
        if enough {
            self.repeats += std::mem::take(&mut self.waiting_repeats);
        }
        let repeat = self.unique && self.previous.replace((row.part, row.ip)) == Some((row.part, row.ip));
        match (enough, repeat, row.part) {
            (true, true, _) => self.repeats += 1,
            (true, false, _) => keep(row)?,
            (false, true, Part::Train) => self.waiting_repeats += 1,
            (false, false, Part::Train) => self.waiting.push((row.place, row.ip)),
            (false, _, Part::Later) => self.few += 1,
        }
        Ok(())
    }

    /// The entity has no more rows.
    fn end(&mut self) {
        if self.entity.is_some() && self.count < self.least {
            self.few_entities += 1;
            self.few += self.waiting.len() as u64 + self.waiting_repeats;
        }
        self.waiting.clear();
        self.waiting_repeats = 0;
        self.count = 0;
        self.previous = None;
    }
}
