//! From rows of the entity table to slots: the places among the rows that occur.

/// A set of row numbers that knows how many of them are below one: an eighth of a byte for every row of the table, and
/// half a byte for each 64.
// The count is kept for 512 rows at a time, and the rest is counted where it is asked.
#[derive(Debug, Clone)]
pub(super) struct Slots {
    words: Vec<u64>,
    /// For each eight words: how many rows are in those before.
    before: Vec<u32>,
}

const WORDS: usize = 8;

impl Slots {
    /// An empty set of rows of a table.
    pub(super) fn new(rows_of_table: u64) -> Self {
        // At most 250,000,000 by the check of the hyperparameters.
        let words = (rows_of_table as usize).div_ceil(64);
        Self {
            words: vec![0; words],
            before: vec![0; words.div_ceil(WORDS)],
        }
    }

    /// Adds a row of the table. [`count`](Self::count) has to come before the first question.
    pub(super) fn add(&mut self, row: u32) {
        self.words[row as usize / 64] |= 1 << (row % 64);
    }

    /// Counts, and returns the rows in ascending order.
    pub(super) fn count(&mut self) -> Vec<u32> {
        let mut rows = Vec::new();
        for (i, word) in self.words.iter().enumerate() {
            if i % WORDS == 0 {
                self.before[i / WORDS] = rows.len() as u32;
            }
            let mut left = *word;
            while left != 0 {
                rows.push(i as u32 * 64 + left.trailing_zeros());
                left &= left - 1;
            }
        }
        rows
    }

    /// The place of a row among those in the set.
    pub(super) fn slot(&self, row: u32) -> Option<u32> {
        let (word, bit) = (row as usize / 64, row % 64);
        let last = *self.words.get(word)?;
        if last >> bit & 1 == 0 {
            return None;
        }
        let first = word / WORDS * WORDS;
        let inside: u32 = self.words[first..word].iter().map(|w| w.count_ones()).sum();
        Some(self.before[word / WORDS] + inside + (last & ((1 << bit) - 1)).count_ones())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn slots_are_places_among_the_rows(rows in prop::collection::btree_set(0..3_000_u32, 0..200)) {
            let mut slots = Slots::new(3_000);
            rows.iter().rev().for_each(|row| slots.add(*row));
            let ascending: Vec<u32> = rows.iter().copied().collect();
            prop_assert_eq!(slots.count(), ascending);
            let expected: BTreeSet<(u32, u32)> = rows.iter().copied().zip(0..).collect();
            for row in 0..3_100 {
                let want = expected.iter().find(|(r, _)| *r == row).map(|(_, slot)| *slot);
                prop_assert_eq!(slots.slot(row), want);
            }
        }
    }
}
