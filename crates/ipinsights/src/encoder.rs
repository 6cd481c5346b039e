//! From an address to the rows of the prefix tables.

use crate::hash;

/// Marks a prefix that has no row.
pub(crate) const ABSENT: u32 = u32::MAX;

/// Which prefixes are looked at, and how wide what is known of each is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Prefixes {
    /// Bits, ascending.
    pub(crate) lengths: Vec<u32>,
    /// A table has at most 2^this rows; longer prefixes are hashed.
    pub(crate) table_bits: u32,
    /// Tables of prefixes up to this length are whole from the start: their every row is met often enough by random
    /// addresses to learn what never occurs. (Without them the measurement in the README loses 0.02.)
    pub(crate) whole_bits: u32,
}

impl Default for Prefixes {
    fn default() -> Self {
        Self {
            lengths: vec![6, 8, 10, 12, 16, 20, 24],
            table_bits: 17,
            whole_bits: 8,
        }
    }
}

impl Prefixes {
    /// Rows that the table of a level could have.
    pub(crate) fn rows(&self, level: usize) -> usize {
        1 << self.lengths[level].min(self.table_bits)
    }

    fn row(&self, level: usize, address: u32) -> u32 {
        hash::prefix_row(address, self.lengths[level], self.table_bits)
    }
}

/// The prefixes that have embeddings: the short ones, and of the longer ones those that occur among the training
/// addresses. Any other prefix stands for nothing (zeros), so the model is as small as its data and an unknown /24 falls
/// back on what is known of its /20.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PrefixIndex {
    pub(crate) prefixes: Prefixes,
    /// By level, the rows that there are, ascending; their places are the slots.
    pub(crate) rows: Vec<Vec<u32>>,
    /// By level, for every possible row its slot or [`ABSENT`].
    slots: Vec<Vec<u32>>,
}

impl PrefixIndex {
    /// Rows must ascend and lie within their tables.
    pub(crate) fn new(prefixes: Prefixes, rows: Vec<Vec<u32>>) -> Self {
        let slots = rows
            .iter()
            .enumerate()
            .map(|(level, rows)| {
                let mut slots = vec![ABSENT; prefixes.rows(level)];
                for (slot, row) in (0_u32..).zip(rows) {
                    slots[*row as usize] = slot;
                }
                slots
            })
            .collect();
        Self {
            prefixes,
            rows,
            slots,
        }
    }

    #[cfg(test)]
    pub(crate) fn of_addresses(prefixes: Prefixes, addresses: impl Iterator<Item = u32>) -> Self {
        let mut occurring = Occurring::new(prefixes);
        addresses.for_each(|address| occurring.add_address(address));
        occurring.index()
    }

    pub(crate) fn levels(&self) -> usize {
        self.rows.len()
    }

    /// Fills in the slot per level, and returns the number of levels up to the last one that is present.
    pub(crate) fn look_up(&self, address: u32, slots: &mut [u32]) -> usize {
        let mut depth = 0;
        for (level, slot) in slots.iter_mut().enumerate() {
            *slot = self.slots[level][self.prefixes.row(level, address) as usize];
            if *slot != ABSENT {
                depth = level + 1;
            }
        }
        depth
    }
}

/// Collects the prefixes that occur.
pub(crate) struct Occurring {
    prefixes: Prefixes,
    /// By level, for every possible row whether it is there.
    rows: Vec<Vec<bool>>,
}

impl Occurring {
    pub(crate) fn new(prefixes: Prefixes) -> Self {
        let rows = (0..prefixes.lengths.len())
            .map(|level| {
                let whole = prefixes.lengths[level] <= prefixes.whole_bits;
                vec![whole; prefixes.rows(level)]
            })
            .collect();
        Self { prefixes, rows }
    }

    pub(crate) fn add_address(&mut self, address: u32) {
        for (level, rows) in self.rows.iter_mut().enumerate() {
            rows[self.prefixes.row(level, address) as usize] = true;
        }
    }

    /// Adds what another index, of the same prefixes, has.
    pub(crate) fn add_index(&mut self, index: &PrefixIndex) {
        for (ours, theirs) in self.rows.iter_mut().zip(&index.rows) {
            theirs.iter().for_each(|row| ours[*row as usize] = true);
        }
    }

    pub(crate) fn index(self) -> PrefixIndex {
        let rows = self.rows.into_iter().map(|seen| {
            (0_u32..)
                .zip(seen)
                .filter_map(|(row, seen)| seen.then_some(row))
                .collect()
        });
        PrefixIndex::new(self.prefixes, rows.collect())
    }
}
