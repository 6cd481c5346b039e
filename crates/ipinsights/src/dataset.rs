//! Training rows as the engine keeps them: eight bytes a row.

use access_events::AccessEvent;

use crate::hash;
use crate::hyperparameters::Hyperparameters;

/// Rows to train or validate on, each entity already hashed to its row of the entity table.
///
/// The strings are gone: a row takes eight bytes, so rows can be streamed in from files larger than memory would hold as
/// text. Repeated rows are kept, because repetition is information.
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dataset {
    pub(crate) pairs: Vec<Pair>,
    num_entity_vectors: u64,
}

/// One row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pair {
    /// The entity's row of the entity table, or, in training, its place among the rows that occur.
    pub(crate) entity: u32,
    pub(crate) address: u32,
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
        let mut dataset = Self::empty(params);
        for event in events {
            dataset.push(&event?);
        }
        Ok(dataset)
    }

    /// Rows that are already in memory.
    pub fn from_slice(events: &[AccessEvent], params: &Hyperparameters) -> Self {
        let mut dataset = Self::empty(params);
        dataset.pairs.reserve_exact(events.len());
        for event in events {
            dataset.push(event);
        }
        dataset
    }

    /// The number of rows, repetitions counted.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// The `num_entity_vectors` the entities were hashed for.
    pub fn num_entity_vectors(&self) -> u64 {
        self.num_entity_vectors
    }

    fn empty(params: &Hyperparameters) -> Self {
        Self {
            pairs: Vec::new(),
            num_entity_vectors: params.num_entity_vectors(),
        }
    }

    fn push(&mut self, event: &AccessEvent) {
        self.pairs.push(Pair {
            // At most 250,000,000 by the check of the hyperparameters.
            entity: hash::entity_row(&event.entity, self.num_entity_vectors as u32),
            address: event.ip.to_bits(),
        });
    }
}
