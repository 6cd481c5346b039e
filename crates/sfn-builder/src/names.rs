//! The indices of states by their names.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

/// Finds the index of a name in a list that it does not hold itself.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    table: HashTable<u32>,
    hasher: RandomState,
}

impl Names {
    /// Of a list in which no name comes twice; `None` when it is longer than there is memory for.
    pub(crate) fn new(names: &[&str]) -> Option<Self> {
        let hasher = RandomState::default();
        let mut table = HashTable::with_capacity(names.len());
        for index in 0..u32::try_from(names.len()).ok()? {
            let name_of = |index: &u32| hasher.hash_one(names[*index as usize]);
            table.insert_unique(name_of(&index), index, name_of);
        }
        Some(Self { table, hasher })
    }

    /// `name_of` tells the name at an index.
    pub(crate) fn find<'n>(&self, name: &str, name_of: impl Fn(usize) -> &'n str) -> Option<usize> {
        let hash = self.hasher.hash_one(name);
        let found = self.table.find(hash, |index| name_of(*index as usize) == name);
        found.map(|index| *index as usize)
    }
}

/// It is made of the names alone, which are compared by themselves.
impl PartialEq for Names {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}
