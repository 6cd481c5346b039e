//! Sorting in bounded memory: rows that do not fit are written to temporary files in sorted runs, which are merged.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::fmt;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use indexmap::IndexSet;

use super::order::Order;
use super::{Part, ShapeError};

/// How many runs are merged at once. As soon as there are so many of one size, they become one of the next size, so
/// that open files stay few.
const FAN: usize = 32;

/// One event on its way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row<'a> {
    /// No two rows have the same.
    pub(super) place: u64,
    pub(super) part: Part,
    pub(super) ip: Ipv4Addr,
    pub(super) entity: &'a str,
}

/// A temporary file.
pub(super) trait Scratch: Read + Write + Seek + Send {}

impl<T: Read + Write + Seek + Send> Scratch for T {}

type Create = dyn Fn(&Path) -> io::Result<Box<dyn Scratch>> + Send + Sync;

/// Takes rows in any order and gives them out in one.
pub(super) struct Sorter {
    order: Order,
    /// What rows and names may take, in bytes.
    room: usize,
    /// The buffer of each run that is read, in bytes.
    buffer: usize,
    folder: PathBuf,
    create: Box<Create>,
    held: Held,
    /// The runs on disk by size: those of `runs[n]` come of `FAN` to the power of `n` spills each.
    runs: Vec<Vec<Box<dyn Scratch>>>,
    spilled: u64,
}

impl fmt::Debug for Sorter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sorter")
            .field("order", &self.order)
            .field("rows", &self.held.rows.len())
            .field("runs", &self.runs.iter().map(Vec::len).collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

impl Sorter {
    /// A sorter that takes about `memory` bytes. Its temporary files have no names (on Windows: they are deleted when closed), so that
    /// none is left however the process ends.
    pub(super) fn new(order: Order, memory: usize, folder: &Path) -> Self {
        Self::with(order, memory, folder, |folder| {
            let file = tempfile::tempfile_in(folder)?;
            Ok(Box::new(file))
        })
    }

    pub(super) fn with(
        order: Order,
        memory: usize,
        folder: &Path,
        create: impl Fn(&Path) -> io::Result<Box<dyn Scratch>> + Send + Sync + 'static,
    ) -> Self {
        // A quarter for the runs that are merged and the one they are merged into; they are read while rows are held.
        let buffer = (memory / 4 / (FAN + 1)).min(1 << 20);
        Self {
            order,
            room: memory - buffer * (FAN + 1),
            buffer,
            folder: folder.to_owned(),
            create: Box::new(create),
            held: Held::default(),
            runs: Vec::new(),
            spilled: 0,
        }
    }

    pub(super) fn push(&mut self, row: Row<'_>) -> Result<(), ShapeError> {
        if !self.held.has_room(row.entity, self.room) {
            self.spill()?;
        }
        self.held.push(row);
        Ok(())
    }

    /// Gives all rows in order; returns how many bytes went to temporary files.
    pub(super) fn finish<E: From<ShapeError>>(
        mut self,
        mut give: impl FnMut(Row<'_>) -> Result<(), E>,
    ) -> Result<u64, E> {
        if self.runs.is_empty() {
            self.held.sort(self.order);
            self.held.rows().try_for_each(give)?;
            return Ok(self.spilled);
        }
        self.spill()?;
        self.held = Held::default(); // its memory is for others now
        // The small runs first, so that no more than `FAN` are left.
        let mut runs = Vec::new();
        for level in std::mem::take(&mut self.runs) {
            runs.extend(level);
            while runs.len() > FAN {
                let rest = runs.split_off(FAN);
                let merged = self.merge_to_file(runs)?;
                runs = rest;
                runs.push(merged);
            }
        }
        self.merge(runs, &mut |row| give(row))?;
        Ok(self.spilled)
    }

    /// Writes what is held to a run.
    fn spill(&mut self) -> Result<(), ShapeError> {
        if self.held.rows.is_empty() {
            return Ok(());
        }
        self.held.sort(self.order);
        let mut run = RunWriter::new(&self.create, &self.folder, self.buffer)?;
        self.held.rows().try_for_each(|row| run.write(row))?;
        self.held.clear();
        let (mut run, bytes) = run.finish()?;
        self.spilled += bytes;
        for level in 0.. {
            if self.runs.len() == level {
                self.runs.push(Vec::new());
            }
            self.runs[level].push(run);
            if self.runs[level].len() < FAN {
                break;
            }
            let full = std::mem::take(&mut self.runs[level]);
            run = self.merge_to_file(full)?;
        }
        Ok(())
    }

    fn merge_to_file(&mut self, runs: Vec<Box<dyn Scratch>>) -> Result<Box<dyn Scratch>, ShapeError> {
        let mut merged = RunWriter::new(&self.create, &self.folder, self.buffer)?;
        self.merge(runs, &mut |row| merged.write(row))?;
        let (merged, bytes) = merged.finish()?;
        self.spilled += bytes;
        Ok(merged)
    }

    fn merge<E: From<ShapeError>>(
        &self,
        runs: Vec<Box<dyn Scratch>>,
        give: &mut dyn FnMut(Row<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let restore = |source| ShapeError::Restore {
            folder: self.folder.clone(),
            source,
        };
        let mut heads = BinaryHeap::with_capacity(runs.len());
        for run in runs {
            let mut head = Head {
                order: self.order,
                row: OwnedRow::default(),
                run: BufReader::with_capacity(self.buffer, run),
            };
            if head.advance().map_err(restore)? {
                heads.push(head);
            }
        }
        while let Some(mut head) = heads.peek_mut() {
            give(head.row.borrowed())?;
            if !head.advance().map_err(restore)? {
                PeekMut::pop(head);
            }
        }
        Ok(())
    }
}

/// Rows in memory, each entity once.
#[derive(Default)]
struct Held {
    names: IndexSet<Box<str>>,
    /// Bytes of the names' text and what goes with each allocation.
    text: usize,
    rows: Vec<HeldRow>,
}

#[derive(Clone, Copy)]
struct HeldRow {
    place: u64,
    ip: Ipv4Addr,
    /// The index of the entity, and in the topmost bit the part.
    name: u32,
}

const LATER: u32 = 1 << 31;

/// What the set of names takes for each beside its text: pointer, length, hash, and its share of the table.
const PER_NAME: usize = 40;

/// What an allocation takes beside its bytes, on average.
const PER_ALLOCATION: usize = 16;

impl HeldRow {
    fn part(self) -> Part {
        if self.name & LATER == 0 {
            Part::Train
        } else {
            Part::Later
        }
    }

    fn name(self) -> usize {
        (self.name & !LATER) as usize
    }
}

impl Held {
    /// Whether one more row fits into so many bytes; the first always does.
    fn has_room(&mut self, entity: &str, room: usize) -> bool {
        if self.rows.is_empty() {
            return true;
        }
        // Both grow by doubling, and while they do, old and new are there.
        let names = if self.names.len() < self.names.capacity() {
            self.names.capacity()
        } else {
            self.names.capacity() * 3
        };
        let fixed = names * PER_NAME + self.text + entity.len() + PER_ALLOCATION;
        let Some(rows) = room.checked_sub(fixed).map(|room| room / size_of::<HeldRow>()) else {
            return false;
        };
        if self.rows.len() < self.rows.capacity() {
            return self.rows.capacity() <= rows && self.names.len() < LATER as usize;
        }
        let (now, doubled) = (self.rows.capacity(), self.rows.capacity() * 2);
        let grown = doubled.min(rows.saturating_sub(now));
        // Less is not worth moving all.
        if grown < now + now / 4 {
            return false;
        }
        self.rows.reserve_exact(grown - now);
        true
    }

    fn push(&mut self, row: Row<'_>) {
        let name = match self.names.get_index_of(row.entity) {
            Some(name) => name,
            None => {
                self.text += row.entity.len() + PER_ALLOCATION;
                self.names.insert_full(row.entity.into()).0
            }
        };
        let later = if row.part == Part::Later { LATER } else { 0 };
        self.rows.push(HeldRow {
            place: row.place,
            ip: row.ip,
            name: name as u32 | later,
        });
    }

    fn sort(&mut self, order: Order) {
        if order == Order::Entity {
            // Once the names are in order, so are their indices.
            let mut ranks: Vec<u32> = (0..self.names.len() as u32).collect();
            ranks.sort_unstable_by_key(|name| &self.names[*name as usize]);
            let mut new = vec![0; ranks.len()];
            for (rank, name) in ranks.iter().enumerate() {
                new[*name as usize] = rank as u32;
            }
            drop(ranks);
            for row in &mut self.rows {
                row.name = new[row.name()] | (row.name & LATER);
            }
            self.names.sort_unstable();
        }
        match order {
            Order::Entity => self
                .rows
                .sort_unstable_by_key(|row| (row.name(), row.part(), row.ip, row.place)),
            Order::Place => self.rows.sort_unstable_by_key(|row| (row.part(), row.place)),
        }
    }

    fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        self.rows.iter().map(|row| Row {
            place: row.place,
            part: row.part(),
            ip: row.ip,
            entity: &self.names[row.name()],
        })
    }

    fn clear(&mut self) {
        self.names.clear();
        self.text = 0;
        self.rows.clear();
    }
}

/// Writes rows to a new temporary file: place, part, address, length of the entity, entity.
struct RunWriter<'a> {
    file: BufWriter<Box<dyn Scratch>>,
    folder: &'a Path,
    bytes: u64,
}

/// Bytes before the entity.
const FIXED: usize = 8 + 1 + 4 + 4;

impl<'a> RunWriter<'a> {
    fn new(create: &Create, folder: &'a Path, buffer: usize) -> Result<Self, ShapeError> {
        let file = create(folder).map_err(|source| spill_error(folder, source))?;
        Ok(Self {
            file: BufWriter::with_capacity(buffer, file),
            folder,
            bytes: 0,
        })
    }

    fn write(&mut self, row: Row<'_>) -> Result<(), ShapeError> {
        let mut fixed = [0; FIXED];
        fixed[..8].copy_from_slice(&row.place.to_le_bytes());
        fixed[8] = u8::from(row.part == Part::Later);
        fixed[9..13].copy_from_slice(&row.ip.octets());
        fixed[13..].copy_from_slice(&(row.entity.len() as u32).to_le_bytes());
        self.bytes += (FIXED + row.entity.len()) as u64;
        self.file
            .write_all(&fixed)
            .and_then(|()| self.file.write_all(row.entity.as_bytes()))
            .map_err(|source| spill_error(self.folder, source))
    }

    /// The file, to be read from its start, and its length in bytes.
    fn finish(self) -> Result<(Box<dyn Scratch>, u64), ShapeError> {
        let mut file = self
            .file
            .into_inner()
            .map_err(|error| spill_error(self.folder, error.into_error()))?;
        file.seek(SeekFrom::Start(0))
            .map_err(|source| spill_error(self.folder, source))?;
        Ok((file, self.bytes))
    }
}

fn spill_error(folder: &Path, source: io::Error) -> ShapeError {
    ShapeError::Spill {
        folder: folder.to_owned(),
        source,
    }
}

struct OwnedRow {
    place: u64,
    part: Part,
    ip: Ipv4Addr,
    entity: String,
}

impl Default for OwnedRow {
    fn default() -> Self {
        Self {
            place: 0,
            part: Part::Train,
            ip: Ipv4Addr::UNSPECIFIED,
            entity: String::new(),
        }
    }
}

impl OwnedRow {
    fn borrowed(&self) -> Row<'_> {
        Row {
            place: self.place,
            part: self.part,
            ip: self.ip,
            entity: &self.entity,
        }
    }
}

/// A run that is read, and its next row. The greatest is the one whose row comes first.
struct Head {
    order: Order,
    row: OwnedRow,
    run: BufReader<Box<dyn Scratch>>,
}

impl Head {
    /// Reads the next row; false at the end.
    fn advance(&mut self) -> io::Result<bool> {
        let mut fixed = [0; FIXED];
        if !read_or_end(&mut self.run, &mut fixed)? {
            return Ok(false);
        }
        let [p0, p1, p2, p3, p4, p5, p6, p7, part, a, b, c, d, l0, l1, l2, l3] = fixed;
        self.row.place = u64::from_le_bytes([p0, p1, p2, p3, p4, p5, p6, p7]);
        self.row.part = if part == 0 { Part::Train } else { Part::Later };
        self.row.ip = Ipv4Addr::new(a, b, c, d);
        let length = u32::from_le_bytes([l0, l1, l2, l3]);
        let mut entity = std::mem::take(&mut self.row.entity).into_bytes();
        entity.clear();
        (&mut self.run).take(length.into()).read_to_end(&mut entity)?;
        if entity.len() != length as usize {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.row.entity =
            String::from_utf8(entity).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        Ok(true)
    }
}

/// Fills the buffer; false when there is nothing at all.
fn read_or_end(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) if filled == 0 => return Ok(false),
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

impl PartialEq for Head {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Head {}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Head {
    fn cmp(&self, other: &Self) -> Ordering {
        self.order.compare(&other.row.borrowed(), &self.row.borrowed())
    }
}
