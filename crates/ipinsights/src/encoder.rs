//! From an address to the rows of the range tables.
//!
//! The address space is cut into ranges several times over, from coarse to fine. Some cuts are the same for every model:
//! short prefixes, whose every range is met often enough by random addresses to learn what never occurs. The others follow
//! the data: each range holds as many of the distinct training addresses as the next. So a range is narrow where addresses
//! are dense and wide where there are hardly any, which no fixed prefix length is, and a network never met falls into the
//! range of its neighbours. Each of these cuts comes twice, the second time shifted by half a range, so that neighbours
//! across a border share a range as well.

/// The cuts of the address space, each a list of the first addresses of its ranges.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RangeIndex {
    /// By level. INVARIANT: each ascends from 0 on.
    starts: Vec<Vec<u32>>,
    hints: Vec<Hints>,
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

/// Prefix lengths of the fixed cuts where there are many addresses, and where there are few.
const FIXED: [&[u32]; 2] = [&[8], &[6, 8]];

/// Fewer distinct addresses than this are few.
const FEW: usize = 1 << 16;

/// Distinct addresses in a range of the finest cut, at least.
const LEAST_IN_RANGE: [usize; 2] = [16, 4];

/// Ranges of the coarsest cut that follows the data.
const COARSEST: [usize; 2] = [1 << 8, 1 << 4];

/// Ranges of the finest cut, at most; each has four times those of the one before.
const FINEST: usize = 1 << 14;

impl RangeIndex {
    /// Every list must ascend from 0 on.
    pub(crate) fn new(starts: Vec<Vec<u32>>) -> Self {
        let hints = starts.iter().map(|starts| Hints::new(starts)).collect();
        Self { starts, hints }
    }

    /// The cuts for these training addresses.
    pub(crate) fn of_addresses(addresses: impl Iterator<Item = u32>) -> Self {
        let mut addresses: Vec<u32> = addresses.collect();
        addresses.sort_unstable();
        addresses.dedup();
        let few = usize::from(addresses.len() < FEW);
        let mut starts: Vec<Vec<u32>> = FIXED[few].iter().map(|length| prefixes(*length)).collect();
        let mut ranges = COARSEST[few];
        let most = FINEST.min(addresses.len() / LEAST_IN_RANGE[few]);
        while ranges <= most {
            starts.push(quantiles(&addresses, ranges, false));
            starts.push(quantiles(&addresses, ranges, true));
            ranges *= 4;
        }
        Self::new(starts)
    }

    pub(crate) fn levels(&self) -> usize {
        self.starts.len()
    }

    /// By level, the first addresses of its ranges.
    pub(crate) fn starts(&self) -> &[Vec<u32>] {
        &self.starts
    }

    /// Fills in, per level, the place of the range that the address lies in.
    #[inline]
    pub(crate) fn look_up(&self, address: u32, slots: &mut [u32]) {
        for ((slot, hints), starts) in slots.iter_mut().zip(&self.hints).zip(&self.starts) {
            let upper = (address >> hints.shift) as usize;
            let (low, high) = (hints.places[upper], hints.places[upper + 1]);
            // The last start at or below the address; 0 is one for certain.
            let within = &starts[low as usize..high as usize];
            let below = within.partition_point(|start| *start <= address) as u32;
            *slot = low + below - 1;
        }
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

/// The prefixes of a length.
fn prefixes(length: u32) -> Vec<u32> {
    (0..1_u32 << length)
        .map(|prefix| prefix << (32 - length))
        .collect()
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
            let index = RangeIndex::new(vec![starts.clone(), prefixes(8)]);
            for address in addresses {
                let mut slots = [0; 2];
                index.look_up(address, &mut slots);
                let range = slots[0] as usize;
                prop_assert!(starts[range] <= address);
                prop_assert!(starts.get(range + 1).is_none_or(|next| *next > address));
                prop_assert_eq!(slots[1], address >> 24);
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

    #[test]
    fn cuts_by_hand() {
        let addresses = [10, 11, 12, 13, 100, 200, 300, 400];
        assert_eq!(quantiles(&addresses, 4, false), [0, 12, 100, 300]);
        assert_eq!(quantiles(&addresses, 4, true), [0, 11, 13, 200, 400]);
        // The same whatever the order, and repetitions do not count.
        let index = RangeIndex::of_addresses((0..8_192).map(|i| (8_191 - i) << 10));
        let repeated = RangeIndex::of_addresses((0..30_000).map(|i| (i % 8_192) << 10));
        assert_eq!(index, repeated);
        let ranges: Vec<usize> = index.starts().iter().map(Vec::len).collect();
        assert_eq!(ranges, [64, 256, 16, 17, 64, 65, 256, 257, 1_024, 1_025]);
    }
}
