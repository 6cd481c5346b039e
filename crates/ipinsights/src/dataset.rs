//! Training rows as the engine keeps them: eight bytes a row, in memory or in a file.

use std::io;
use std::path::Path;

use access_events::AccessEvent;

use crate::hash;
use crate::hyperparameters::Hyperparameters;

mod file;

use file::{RowFile, RowWriter};

/// Rows that [`Dataset::spilling`] keeps in memory before it writes them to a file: 16 MiB of them.
const ROWS_IN_MEMORY: usize = 1 << 21;

/// Rows to train or validate on, each entity already hashed to its row of the entity table.
///
/// The strings are gone: a row takes eight bytes, so rows can be streamed in from files larger than memory would hold as
/// text. Repeated rows are kept, because repetition is information.
///
/// Rows are in memory ([`from_events`](Self::from_events), [`from_slice`](Self::from_slice)), or in a file
/// ([`to_file`](Self::to_file), [`open`](Self::open), [`spilling`](Self::spilling)), which training reads in blocks: then
/// the memory it takes does not depend on their number. The model does not depend on where they are.
///
/// The row of an entity is FNV-1a (64 bits) of its UTF-8 bytes, through the finaliser of MurmurHash3, scaled to
/// `num_entity_vectors`. There is no seed in it and it does not change between versions or machines.
///
/// ```
/// use access_events::AccessEvent;
/// use ipinsights::{Dataset, Hyperparameters};
///
/// let params = Hyperparameters::draft(20_000).check()?;
/// let rows = ["10.0.0.1", "10.0.0.2"].map(|ip| -> Result<_, std::net::AddrParseError> {
///     Ok(AccessEvent::new("ana", ip.parse()?))
/// });
/// let dataset = Dataset::from_events(rows, &params)?;
/// assert_eq!(dataset.len(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Dataset {
    rows: Rows,
    num_entity_vectors: u64,
}

#[derive(Debug, Clone)]
enum Rows {
    Memory(Vec<Pair>),
    File(RowFile),
}

/// One row.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Pair {
    /// The entity's row of the entity table, or, in training, its place among the rows that occur.
    pub(crate) entity: u32,
    pub(crate) address: u32,
}

/// Why rows did not become a dataset, or a file of rows is none.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DatasetError<E = std::convert::Infallible> {
    /// The source of the rows failed; this is its error.
    #[error(transparent)]
    Source(E),
    /// The file of rows could not be written or read.
    #[error("the rows cannot be {action} `{}`", path.display())]
    Io {
        /// `written to` or `read from`.
        action: &'static str,
        /// The file, or the folder that a nameless file was to be in.
        path: std::path::PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// The file is no file of rows, or of a version that this program does not know.
    #[error("`{}` is no file of rows: {problem}", path.display())]
    NotRows {
        /// The file.
        path: std::path::PathBuf,
        /// What is wrong with it.
        problem: String,
    },
}

impl Dataset {
    /// Reads rows as they come, for instance from a CSV reader.
    ///
    /// # Errors
    ///
    /// The first error of the source, as it is.
    pub fn from_events<E>(
        events: impl IntoIterator<Item = Result<AccessEvent, E>>,
        params: &Hyperparameters,
    ) -> Result<Self, E> {
        let mut pairs = Vec::new();
        for event in events {
            pairs.push(Pair::of(&event?, params));
        }
        Ok(Self::of(Rows::Memory(pairs), params))
    }

    /// Rows that are already in memory.
    pub fn from_slice(events: &[AccessEvent], params: &Hyperparameters) -> Self {
        let pairs = events.iter().map(|event| Pair::of(event, params)).collect();
        Self::of(Rows::Memory(pairs), params)
    }

    /// Reads rows as they come, the first two million into memory, and all of them into a nameless file in `folder` when
    /// there are more. The file is gone with the dataset.
    ///
    /// ```
    /// # use access_events::AccessEvent;
    /// # use ipinsights::{Dataset, Hyperparameters};
    /// let params = Hyperparameters::draft(20_000).check()?;
    /// let rows = [Ok::<_, std::io::Error>(AccessEvent::new("ana", [10, 0, 0, 1].into()))];
    /// assert_eq!(Dataset::spilling(rows, &params, &std::env::temp_dir())?.len(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The first error of the source, and whatever the file says.
    pub fn spilling<E>(
        events: impl IntoIterator<Item = Result<AccessEvent, E>>,
        params: &Hyperparameters,
        folder: &Path,
    ) -> Result<Self, DatasetError<E>> {
        Self::spilling_after(ROWS_IN_MEMORY, events, params, folder)
    }

    fn spilling_after<E>(
        limit: usize,
        events: impl IntoIterator<Item = Result<AccessEvent, E>>,
        params: &Hyperparameters,
        folder: &Path,
    ) -> Result<Self, DatasetError<E>> {
        let mut pairs = Vec::new();
        let mut writer: Option<RowWriter> = None;
        for event in events {
            pairs.push(Pair::of(&event.map_err(DatasetError::Source)?, params));
            if pairs.len() >= limit {
                if writer.is_none() {
                    let file = RowWriter::nameless(folder, params.num_entity_vectors());
                    writer = Some(file.map_err(|e| writing(folder, e))?);
                }
                if let Some(writer) = &mut writer {
                    writer.push(&pairs).map_err(|e| writing(folder, e))?;
                }
                pairs.clear();
            }
        }
        let rows = match writer {
            None => Rows::Memory(pairs),
            Some(mut writer) => {
                let file = writer.push(&pairs).and_then(|()| writer.finish());
                Rows::File(file.map_err(|e| writing(folder, e))?)
            }
        };
        Ok(Self::of(rows, params))
    }

    /// Writes rows as they come to a file that [`open`](Self::open) reads: a header of 64 bytes and eight bytes a row. The
    /// file appears when it is complete.
    ///
    /// # Errors
    ///
    /// The first error of the source, and whatever the file says.
    pub fn to_file<E>(
        events: impl IntoIterator<Item = Result<AccessEvent, E>>,
        params: &Hyperparameters,
        path: &Path,
    ) -> Result<Self, DatasetError<E>> {
        let io = |e| writing(path, e);
        let mut writer = RowWriter::named(path, params.num_entity_vectors()).map_err(io)?;
        for event in events {
            let pair = Pair::of(&event.map_err(DatasetError::Source)?, params);
            writer.push(&[pair]).map_err(io)?;
        }
        Ok(Self::of(Rows::File(writer.finish().map_err(io)?), params))
    }

    /// Opens a file that [`to_file`](Self::to_file) wrote. The rows stay in it.
    ///
    /// # Errors
    ///
    /// [`DatasetError::NotRows`] when the header or the length is not that of such a file. Rows are checked when they are
    /// read, by training.
    pub fn open(path: &Path) -> Result<Self, DatasetError> {
        let (file, num_entity_vectors) = RowFile::open(path)?;
        Ok(Self {
            rows: Rows::File(file),
            num_entity_vectors,
        })
    }

    /// The number of rows, repetitions counted.
    pub fn len(&self) -> usize {
        match &self.rows {
            Rows::Memory(pairs) => pairs.len(),
            Rows::File(file) => file.len(),
        }
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The `num_entity_vectors` the entities were hashed for.
    pub fn num_entity_vectors(&self) -> u64 {
        self.num_entity_vectors
    }

    fn of(rows: Rows, params: &Hyperparameters) -> Self {
        Self {
            rows,
            num_entity_vectors: params.num_entity_vectors(),
        }
    }

    /// Fills `out` with the rows from `start` on. There must be as many.
    ///
    /// # Errors
    ///
    /// Those of the file; and `InvalidData` when an entity lies beyond the table.
    pub(crate) fn read(&self, start: usize, out: &mut [Pair]) -> io::Result<()> {
        match &self.rows {
            Rows::Memory(pairs) => out.copy_from_slice(&pairs[start..start + out.len()]),
            Rows::File(file) => {
                file.read(start, out)?;
                if let Some(i) = out
                    .iter()
                    .position(|p| u64::from(p.entity) >= self.num_entity_vectors)
                {
                    return Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        format!(
                            "row {} names entity vector {}, but there are {}",
                            start + i + 1,
                            out[i].entity,
                            self.num_entity_vectors
                        ),
                    ));
                }
            }
        }
        Ok(())
    }

    /// Calls `work` with all rows in their order, some thousand at a time.
    pub(crate) fn for_each_block(&self, mut work: impl FnMut(&[Pair])) -> io::Result<()> {
        const BLOCK: usize = 1 << 15;
        let mut block = vec![Pair::default(); BLOCK.min(self.len())];
        for start in (0..self.len()).step_by(BLOCK) {
            let rows = &mut block[..BLOCK.min(self.len() - start)];
            self.read(start, rows)?;
            work(rows);
        }
        Ok(())
    }
}

impl Pair {
    fn of(event: &AccessEvent, params: &Hyperparameters) -> Self {
        Self {
            // At most 250,000,000 by the check of the hyperparameters.
            entity: hash::entity_row(&event.entity, params.num_entity_vectors() as u32),
            address: event.ip.to_bits(),
        }
    }
}

fn writing<E>(path: &Path, source: io::Error) -> DatasetError<E> {
    DatasetError::Io {
        action: "written to",
        path: path.to_owned(),
        source,
    }
}
