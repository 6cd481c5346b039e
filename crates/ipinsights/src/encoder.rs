//! From an address to the rows of the range tables.
//!
//! The address space is cut into ranges several times over, from coarse to fine. The coarsest cuts are the same for every
//! model: short prefixes, whose every range is met often enough by random addresses to learn what never occurs. The others
//! follow the data.
//!
//! - Of many addresses, each range holds as many of the distinct training addresses as the next. So a range is narrow where
//!   addresses are dense and wide where there are hardly any, which no fixed prefix length is, and a network never met falls
//!   into the range of its neighbours. Each of these cuts comes twice, the second time shifted by half a range, so that
//!   neighbours across a border share a range as well.
//! - Of few addresses, the ranges are the networks they lie in, and nothing is said of the rest: a range that holds one
//!   address knows nothing of its neighbours.

use crate::hash;

/// The cuts of the address space.
// INVARIANT: `pieces` ascends from 0 on and holds every start of every cut, and each of `rows` is as long.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RangeIndex {
    /// By level.
    cuts: Vec<Cut>,
    /// The first addresses of the pieces into which all cuts together cut the address space: an address is looked for once,
    /// not once for each level.
    pieces: Vec<u32>,
    hints: Hints,
    /// By level and piece: the row of the level's table, or [`NOTHING`].
    rows: Vec<Vec<u32>>,
}

/// In place of a row: the level says nothing of the range.
pub(crate) const NOTHING: u32 = u32::MAX;

/// One cut of the address space.
// INVARIANT: `starts` ascends from 0 on, and `rows` is as long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cut {
    /// The first addresses of the ranges.
    pub(crate) starts: Vec<u32>,
    /// By range: the row of the level's table that says what is known of it, or [`NOTHING`].
    pub(crate) rows: Vec<u32>,
    /// The number of rows of the level's table: one more than the largest of `rows`.
    table: usize,
}

impl Cut {
    /// A row for each range.
    pub(crate) fn new(starts: Vec<u32>) -> Self {
        let rows = (0..starts.len() as u32).collect();
        Self::with_rows(starts, rows)
    }

    /// Ranges and the row of each; `starts` ascends from 0 on, and `rows` is as long.
    pub(crate) fn with_rows(starts: Vec<u32>, rows: Vec<u32>) -> Self {
        let largest = rows.iter().filter(|row| **row != NOTHING).max();
        let table = largest.map_or(0, |last| *last as usize + 1);
        Self { starts, rows, table }
    }

    /// The number of rows of the level's table.
    pub(crate) fn table(&self) -> usize {
        self.table
    }

    /// By piece, the row of the range that it lies in; no start of the cut is missing among the pieces.
    fn rows_of(&self, pieces: &[u32]) -> Vec<u32> {
        let mut range = 0;
        let row = |piece: &u32| {
            while self.starts.get(range + 1).is_some_and(|next| next <= piece) {
                range += 1;
            }
            self.rows[range]
        };
        pieces.iter().map(row).collect()
    }

    /// The prefixes of a length.
    fn prefixes(length: u32) -> Self {
        Self::new(
            (0..1_u32 << length)
                .map(|prefix| prefix << (32 - length))
                .collect(),
        )
    }

    /// The networks of a length (1 to 31) that the ascending addresses lie in; nothing is said of the rest.
    fn networks(addresses: &[u32], length: u32) -> Self {
        let (mut starts, mut rows) = (vec![0], vec![NOTHING]);
        let mut networks: Vec<u32> = addresses.iter().map(|address| address >> (32 - length)).collect();
        networks.dedup();
        for (row, network) in (0..).zip(networks) {
            let start = network << (32 - length);
            // The neighbour of the one before.
            if starts.last() == Some(&start) {
                starts.pop();
                rows.pop();
            }
            starts.push(start);
            rows.push(row);
            if network + 1 < 1 << length {
                starts.push((network + 1) << (32 - length));
                rows.push(NOTHING);
            }
        }
        Self::with_rows(starts, rows)
    }
}

/// Where to look for an address among the starts of a level.
#[derive(Debug, Clone, PartialEq)]
struct Hints {
    /// Bits to shift an address by.
    shift: u32,
    /// By the address's upper bits: how many starts lie below the first address with these
    /// bits; and one more entry for the end.
    places: Vec<u32>,
}

/// Fewer distinct addresses than this are few.
const FEW: usize = 1 << 16;

/// Prefix lengths of the cuts for few addresses: those that are whole, and those of which only networks that occur are
/// ranges.
const FEW_WHOLE: [u32; 3] = [6, 7, 8];
const FEW_NETWORKS: [u32; 5] = [10, 12, 16, 20, 24];

/// Prefix length of the fixed cut for many addresses, and the ranges of the cuts that follow them.
const MANY_WHOLE: u32 = 8;
const MANY_RANGES: [usize; 4] = [1 << 8, 1 << 10, 1 << 12, FINEST];

/// Ranges of the finest cut.
const FINEST: usize = 1 << 14;

impl RangeIndex {
    pub(crate) fn new(cuts: Vec<Cut>) -> Self {
        let mut pieces: Vec<u32> = cuts.iter().flat_map(|cut| &cut.starts).copied().collect();
        pieces.sort_unstable();
        pieces.dedup();
        let rows = cuts.iter().map(|cut| cut.rows_of(&pieces)).collect();
        Self {
            hints: Hints::new(&pieces),
            cuts,
            pieces,
            rows,
        }
    }

    /// What the rows by level and piece take in memory at most: where no two cuts have a start in common.
    pub(crate) fn most_bytes(cuts: &[Cut]) -> u64 {
        let pieces: usize = cuts.iter().map(|cut| cut.starts.len()).sum();
        (pieces as u64)
            .saturating_mul(cuts.len() as u64)
            .saturating_mul(size_of::<u32>() as u64)
    }

    /// The cuts for these training addresses, which ascend.
    fn of_ascending(addresses: &[u32]) -> Self {
        if addresses.len() < FEW {
            let whole = FEW_WHOLE.into_iter().map(Cut::prefixes);
            let networks = FEW_NETWORKS
                .into_iter()
                .map(|length| Cut::networks(addresses, length));
            return Self::new(whole.chain(networks).collect());
        }
        let mut cuts = vec![Cut::prefixes(MANY_WHOLE)];
        for ranges in MANY_RANGES {
            cuts.extend([false, true].map(|shifted| Cut::new(quantiles(addresses, ranges, shifted))));
        }
        Self::new(cuts)
    }

    /// The same cuts; where only networks are ranges, with those of the sample in addition.
    pub(crate) fn extended(&self, sample: AddressSample) -> Self {
        let new = sample.ascending();
        let cuts = self.cuts.iter().map(|cut| {
            let ranges = cut.starts.iter().zip(&cut.rows);
            let mut networks: Vec<u32> = ranges
                .filter(|(_, row)| **row != NOTHING)
                .map(|(start, _)| *start)
                .collect();
            let length = FEW_NETWORKS
                .into_iter()
                .find(|length| Cut::networks(&networks, *length) == *cut);
            match length {
                None => cut.clone(),
                Some(length) => {
                    networks.extend(&new);
                    networks.sort_unstable();
                    Cut::networks(&networks, length)
                }
            }
        });
        Self::new(cuts.collect())
    }

    /// Whether it was made for few addresses: then it knows networks, and has nothing to say of the rest.
    pub(crate) fn is_of_few(&self) -> bool {
        self.cuts.iter().any(|cut| cut.rows.contains(&NOTHING))
    }

    pub(crate) fn levels(&self) -> usize {
        self.cuts.len()
    }

    /// By level.
    pub(crate) fn cuts(&self) -> &[Cut] {
        &self.cuts
    }

    /// By level, the number of rows of its table.
    pub(crate) fn tables(&self) -> impl Iterator<Item = usize> {
        self.cuts.iter().map(Cut::table)
    }

    /// The piece of the address space that the address lies in.
    #[inline(always)]
    pub(crate) fn piece(&self, address: u32) -> u32 {
        let upper = (address >> self.hints.shift) as usize;
        let (low, high) = (self.hints.places[upper], self.hints.places[upper + 1]);
        // The last start at or below the address; 0 is one for certain, but where there is no cut.
        let within = &self.pieces[low as usize..high as usize];
        let below = within.partition_point(|start| *start <= address);
        (low + below as u32).saturating_sub(1)
    }

    /// The row of a level's table for an address in the piece, or [`NOTHING`].
    #[inline(always)]
    pub(crate) fn row(&self, level: usize, piece: u32) -> u32 {
        self.rows[level][piece as usize]
    }
}

/// A sample of the distinct ones among the addresses that it is told of, however many: those with the lowest hashes. It
/// depends neither on their order nor on how often each one comes.
pub(crate) struct AddressSample {
    salt: u64,
    most: usize,
    /// The upper half of an address's hash above the address, not in order, with repetitions.
    kept: Vec<u64>,
    /// What is above it is not in the sample.
    bound: u64,
}

/// Distinct addresses in a sample at most: 16 in each range of the finest cut.
const SAMPLE: usize = 16 * FINEST;

impl AddressSample {
    pub(crate) fn new(seed: u64) -> Self {
        Self::with_most(seed, SAMPLE)
    }

    fn with_most(seed: u64, most: usize) -> Self {
        Self {
            salt: hash::mix(seed ^ 0x9e37_79b9_7f4a_7c15),
            most,
            kept: Vec::new(),
            bound: u64::MAX,
        }
    }

    #[inline]
    pub(crate) fn add(&mut self, address: u32) {
        let hash = hash::mix(self.salt.wrapping_add(u64::from(address)));
        let key = (hash & !0xffff_ffff) | u64::from(address);
        if key > self.bound {
            return;
        }
        self.kept.push(key);
        if self.kept.len() >= 2 * self.most {
            self.compact();
        }
    }

    /// Leaves the lowest keys.
    fn compact(&mut self) {
        self.kept.sort_unstable();
        self.kept.dedup();
        if self.kept.len() >= self.most {
            self.kept.truncate(self.most);
            self.bound = self.kept.last().copied().unwrap_or(u64::MAX);
        }
    }

    fn ascending(mut self) -> Vec<u32> {
        self.compact();
        let mut addresses: Vec<u32> = self.kept.into_iter().map(|key| key as u32).collect();
        addresses.sort_unstable();
        addresses
    }

    /// The cuts that follow the addresses.
    pub(crate) fn index(self) -> RangeIndex {
        RangeIndex::of_ascending(&self.ascending())
    }
}

impl Hints {
    fn new(starts: &[u32]) -> Self {
        // As many hints as ranges, so that a few comparisons are left.
        let bits = (starts.len().max(2).ilog2() + 1).min(20);
        let shift = 32 - bits;
        let mut places = Vec::with_capacity((1 << bits) + 1);
        let mut place = 0;
        for upper in 0..1_u32 << bits {
            while starts.get(place).is_some_and(|start| *start < upper << shift) {
                place += 1;
            }
            places.push(place as u32);
        }
        places.push(starts.len() as u32);
        Self { shift, places }
    }
}

/// Cuts so that each range has the same number of the ascending addresses, as far as it goes; or in the middle of these ranges.
fn quantiles(addresses: &[u32], ranges: usize, shifted: bool) -> Vec<u32> {
    let n = addresses.len() as u64;
    let cuts = (0..ranges as u64).map(|i| {
        let twice = 2 * i + u64::from(shifted);
        addresses[(twice * n / (2 * ranges as u64)) as usize]
    });
    let mut starts: Vec<u32> = if shifted {
        std::iter::once(0).chain(cuts).collect()
    } else {
        std::iter::once(0).chain(cuts.skip(1)).collect()
    };
    starts.dedup();
    starts
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn finds_the_range_of_any_address(
            mut starts in proptest::collection::vec(any::<u32>(), 0..300),
            mut addresses in proptest::collection::vec(any::<u32>(), 1..50),
        ) {
            starts.push(0);
            starts.sort_unstable();
            starts.dedup();
            addresses.extend(&starts);
            addresses.extend(starts.iter().map(|start| start.wrapping_sub(1)));
            let index = RangeIndex::new(vec![Cut::new(starts.clone()), Cut::prefixes(8)]);
            for address in addresses {
                let range = index.row(0, index.piece(address)) as usize;
                prop_assert!(starts[range] <= address);
                prop_assert!(starts.get(range + 1).is_none_or(|next| *next > address));
                prop_assert_eq!(index.row(1, index.piece(address)), address >> 24);
            }
        }

        #[test]
        fn cuts_ascend_from_zero(mut addresses in proptest::collection::vec(0..5_000_u32, 1..500), ranges in 1..40_usize) {
            addresses.sort_unstable();
            addresses.dedup();
            for shifted in [false, true] {
                let starts = quantiles(&addresses, ranges, shifted);
                prop_assert_eq!(starts[0], 0);
                prop_assert!(starts.is_sorted_by(|a, b| a < b));
            }
        }
    }

    proptest! {
        #[test]
        fn a_sample_knows_neither_order_nor_repetition(
            mut addresses in proptest::collection::vec(0..500_u32, 1..300), most in 1..100_usize, seed: u64,
        ) {
            let sample = |addresses: &[u32]| {
                let mut sample = AddressSample::with_most(seed, most);
                addresses.iter().for_each(|address| sample.add(*address));
                prop_assert!(sample.kept.len() < 2 * most.max(1));
                Ok(sample.ascending())
            };
            let found = sample(&addresses)?;
            addresses.reverse();
            addresses.extend_from_within(..);
            prop_assert_eq!(&found, &sample(&addresses)?);
            addresses.sort_unstable();
            addresses.dedup();
            prop_assert_eq!(found.len(), addresses.len().min(most));
            prop_assert!(found.iter().all(|address| addresses.binary_search(address).is_ok()));
        }
    }

    /// Every address is as likely to be in the sample.
    #[test]
    fn a_sample_is_uniform() {
        let mut counts = [0_u32; 40];
        for seed in 0..4_000 {
            let mut sample = AddressSample::with_most(seed, 10);
            (0..40).for_each(|address| sample.add(address << 24));
            sample
                .ascending()
                .iter()
                .for_each(|address| counts[(address >> 24) as usize] += 1);
        }
        let statistic: f64 = counts
            .iter()
            .map(|c| (f64::from(*c) - 1_000.0).powi(2) / 1_000.0)
            .sum();
        // 39 degrees of freedom: 72.1 is passed once in a thousand times; without replacement, less often.
        assert!(statistic < 72.1, "{statistic}");
    }

    #[test]
    fn cuts_by_hand() {
        let addresses = [10, 11, 12, 13, 100, 200, 300, 400];
        assert_eq!(quantiles(&addresses, 4, false), [0, 12, 100, 300]);
        assert_eq!(quantiles(&addresses, 4, true), [0, 11, 13, 200, 400]);
    }

    #[test]
    fn few_addresses_have_networks_and_many_have_ranges() {
        let index = |addresses: u32| {
            let mut sample = AddressSample::new(0);
            (0..2 * addresses).for_each(|i| sample.add((i % addresses) << 15));
            let index = sample.index();
            (index.tables().collect::<Vec<usize>>(), index.is_of_few())
        };
        let networks = vec![64, 128, 256, 256, 1_024, 16_384, 32_768, 32_768];
        assert_eq!(index(32_768), (networks, true));
        let ranges = vec![256, 256, 257, 1_024, 1_025, 4_096, 4_097, 16_384, 16_385];
        assert_eq!(index(65_536), (ranges, false));
    }

    #[test]
    fn more_networks_and_the_same_ranges() {
        let sample = |addresses: &[u32]| {
            let mut sample = AddressSample::new(3);
            addresses.iter().for_each(|address| sample.add(*address));
            sample
        };
        let (early, late) = ([5 << 24, 9 << 24], [1 << 24, 5 << 24 | 77 << 8]);
        let both = sample(&[early, late].concat()).index();
        assert_eq!(sample(&early).index().extended(sample(&late)), both);
        let ranges = RangeIndex::new(vec![Cut::new(vec![0, 7]), Cut::prefixes(10)]);
        assert_eq!(ranges.extended(sample(&late)), ranges);
    }

    #[test]
    fn networks_by_hand() {
        let cut = |addresses: &[u32]| {
            let Cut { starts, rows, .. } = Cut::networks(addresses, 8);
            let shown = starts.iter().zip(rows).map(|(start, row)| match row {
                NOTHING => format!("{}: nothing", start >> 24),
                row => format!("{}: {row}", start >> 24),
            });
            shown.collect::<Vec<_>>().join(", ")
        };
        let at = |first: u32| first << 24 | 5;
        assert_eq!(cut(&[]), "0: nothing");
        assert_eq!(cut(&[at(0), at(255)]), "0: 0, 1: nothing, 255: 1");
        assert_eq!(
            cut(&[at(3), at(3), at(4), at(9)]),
            "0: nothing, 3: 0, 4: 1, 5: nothing, 9: 2, 10: nothing"
        );
        let index = RangeIndex::new(vec![Cut::networks(&[at(3)], 8)]);
        assert_eq!(
            [at(2), at(3), at(4)].map(|address| index.row(0, index.piece(address))),
            [NOTHING, 0, NOTHING]
        );
    }
}
