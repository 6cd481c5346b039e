//! The random choices of training: the order of the rows and the negatives.
//!
//! ChaCha with 8 rounds is fixed by its definition and every choice below is spelt out, so a seed means the same rows in
//! every version. Each purpose has its own key and each epoch its own stream.

use std::ops::Range;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::dataset::Pair;

/// What random numbers are for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Purpose {
    Order = 1,
    Negatives = 2,
    Validation = 3,
}

/// The random numbers of one purpose in one epoch.
pub(crate) fn stream(seed: u64, purpose: Purpose, epoch: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8] = purpose as u8;
    let mut rng = ChaCha8Rng::from_seed(key);
    rng.set_stream(epoch);
    rng
}

/// The random numbers of one purpose in one epoch for one of its parts (a mini-batch, a buffer), so that work can begin
/// anywhere.
pub(crate) fn stream_at(seed: u64, purpose: Purpose, epoch: u32, part: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8] = purpose as u8;
    // Never the key of `stream`.
    key[9] = 1;
    key[10..14].copy_from_slice(&epoch.to_le_bytes());
    let mut rng = ChaCha8Rng::from_seed(key);
    rng.set_stream(part);
    rng
}

/// A uniform number below `n` (Lemire's method), for `n` of at least 1.
pub(crate) fn below(rng: &mut impl Rng, n: u32) -> u32 {
    loop {
        let product = u64::from(rng.next_u32()) * u64::from(n);
        // The lowest 2^32 mod n values of the lower half would make some results likelier than others.
        let low = product as u32;
        if low >= n || low >= n.wrapping_neg() % n {
            return (product >> 32) as u32;
        }
    }
}

/// Puts the rows into a uniformly random order (Fisher and Yates).
pub(crate) fn shuffle<T>(rng: &mut impl Rng, items: &mut [T]) {
    for i in (1..items.len()).rev() {
        // A dataset of more than 2^32 rows would take 32 GiB.
        let j = below(rng, (i + 1).min(u32::MAX as usize) as u32) as usize;
        items.swap(i, j);
    }
}

/// Random addresses that a group of rows shares, for each of its rows, at most.
const SHARED: usize = 1;

/// Random addresses that a group has at least, if its rows ask for as many.
const LEAST_SHARED: usize = 32;

/// Rows in a group, about.
const GROUP: usize = 40;

/// One mini-batch with its negatives.
///
/// The rows fall into groups. Instead of drawing R random addresses for each row, which costs R runs of the encoder, a
/// group draws some addresses and shows each of its entities all of them, weighted so that they count as R; and each
/// entity is shown the addresses of all other rows of its group, weighted so that they count as S. The expected gradient
/// is that of R and S single draws, its variance is smaller, and R and S cost nothing.
///
/// Among the addresses of the other rows, the entities they belong to count alike: an address weighs one by the number
/// of training rows that its entity has. Else a busy entity's own networks would look unusual for everybody else merely
/// because it is busy.
#[derive(Debug, Clone, Default)]
pub(crate) struct Batch {
    /// Observed rows.
    pub(crate) rows: usize,
    /// R, random negatives per row.
    pub(crate) random: usize,
    /// S, shuffled negatives per row: 0 where a single row leaves nothing to shuffle.
    pub(crate) shuffled: usize,
    /// By row: the slot of its entity.
    pub(crate) entities: Vec<u32>,
    /// By row: the weight of its address among the shuffled negatives of others, in any unit.
    pub(crate) weights: Vec<f32>,
    /// By group, in order: the addresses of its rows, then its random ones.
    pub(crate) addresses: Vec<u32>,
    /// Groups.
    pub(crate) groups: Vec<Group>,
}

/// Rows that share their negatives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Group {
    /// Its rows.
    pub(crate) rows: Range<usize>,
    /// Its addresses, those of the rows first.
    pub(crate) addresses: Range<usize>,
}

/// How many groups this many rows fall into: beyond one an even number, so that two threads have as much to do.
pub(crate) fn groups(rows: usize) -> usize {
    match rows.div_ceil(GROUP) {
        count @ ..=1 => count,
        count => count.next_multiple_of(2),
    }
}

impl Batch {
    /// Observed rows and negatives.
    pub(crate) fn samples(&self) -> usize {
        self.rows * (1 + self.random + self.shuffled)
    }

    /// Takes these rows and draws their negatives. `activity` is by entity the number of its training rows.
    pub(crate) fn draw(
        &mut self,
        pairs: &[Pair],
        activity: &[u32],
        random: usize,
        shuffled: usize,
        rng: &mut impl Rng,
    ) {
        self.rows = pairs.len();
        self.random = random;
        self.shuffled = if pairs.len() > 1 { shuffled } else { 0 };
        self.entities.clear();
        self.entities.extend(pairs.iter().map(|p| p.entity));
        self.weights.clear();
        self.weights.extend(
            pairs
                .iter()
                .map(|p| 1.0 / activity.get(p.entity as usize).copied().unwrap_or(1).max(1) as f32),
        );
        self.addresses.clear();
        self.groups.clear();
        let count = groups(pairs.len());
        for i in 0..count {
            let rows = pairs.len() * i / count..pairs.len() * (i + 1) / count;
            let start = self.addresses.len();
            self.addresses
                .extend(pairs[rows.clone()].iter().map(|p| p.address));
            let shared = (rows.len() * SHARED).max(LEAST_SHARED).min(rows.len() * random);
            // Uniform in every octet is uniform in all 32 bits.
            self.addresses.extend((0..shared).map(|_| rng.next_u32()));
            self.groups.push(Group {
                rows,
                addresses: start..self.addresses.len(),
            });
        }
    }
}

/// How many rows the mini-batches of an epoch hold: `(batches, rows)`; the first `rows % batches` batches have one more
/// than the rest.
///
/// A mini-batch of `size` samples has room for `size / (1 + R + S)` rows, but at least for one, and for two where there
/// are shuffled negatives, since a single row has nothing to shuffle. The rows are spread evenly, so the last batch is
/// no remainder.
pub(crate) fn batches(rows: usize, size: usize, random: usize, shuffled: usize) -> usize {
    let least = if shuffled > 0 { 2 } else { 1 };
    let fit = (size / (1 + random + shuffled)).max(least);
    rows.div_ceil(fit).min(rows / least).max(1)
}

/// The rows of batch `batch` of `batches`.
pub(crate) fn batch_range(rows: usize, batches: usize, batch: usize) -> Range<usize> {
    let start = |b: usize| b * (rows / batches) + b.min(rows % batches);
    start(batch)..start(batch + 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pairs(n: usize) -> Vec<Pair> {
        (0..n as u32)
            .map(|i| Pair {
                entity: i,
                address: 1_000 + i,
            })
            .collect()
    }

    /// The sum of (observed - expected)^2 / expected over equally likely cells.
    fn chi_square(counts: &[u32]) -> f64 {
        let expected = f64::from(counts.iter().sum::<u32>()) / counts.len() as f64;
        counts
            .iter()
            .map(|c| (f64::from(*c) - expected).powi(2) / expected)
            .sum()
    }

    #[test]
    fn octets_of_random_negatives_are_uniform() {
        let mut batch = Batch::default();
        let mut octets = [[0_u32; 256]; 4];
        let mut rng = stream(1, Purpose::Negatives, 0);
        for _ in 0..1_000 {
            batch.draw(&pairs(100), &[], 5, 0, &mut rng);
            for group in &batch.groups {
                for address in &batch.addresses[group.addresses.clone()][group.rows.len()..] {
                    for (counts, octet) in octets.iter_mut().zip(address.to_be_bytes()) {
                        counts[usize::from(octet)] += 1;
                    }
                }
            }
        }
        for counts in octets {
            assert_eq!(counts.iter().sum::<u32>(), 128_000);
            // 255 degrees of freedom: mean 255, standard deviation 22.6. Four of them either way.
            let statistic = chi_square(&counts);
            assert!((165.0..345.0).contains(&statistic), "{statistic}");
        }
    }

    #[test]
    fn groups_by_hand() {
        // rows, R -> groups, addresses of the first
        for (rows, random, groups, addresses) in [
            (1, 1, 1, 2),
            (6, 1, 1, 12),
            (6, 0, 1, 6),
            (2, 500, 1, 34),
            (40, 5, 1, 80),
            (41, 5, 2, 52),
            (142, 5, 4, 70),
            (71_000, 5, 1_776, 78),
        ] {
            let mut batch = Batch::default();
            batch.draw(
                &pairs(rows),
                &[],
                random,
                1,
                &mut stream(1, Purpose::Negatives, 0),
            );
            assert_eq!(batch.groups.len(), groups, "{rows} rows");
            assert_eq!(batch.groups[0].addresses, 0..addresses, "{rows} rows");
        }
    }

    #[test]
    fn addresses_of_busy_entities_weigh_less() {
        let mut batch = Batch::default();
        let mut rows = pairs(3);
        rows[2].entity = 0;
        batch.draw(&rows, &[4, 1], 1, 1, &mut stream(1, Purpose::Negatives, 0));
        assert_eq!(batch.weights, [0.25, 1.0, 0.25]);
        assert_eq!(batch.samples(), 9);
        batch.draw(&rows[..1], &[4, 1], 1, 1, &mut stream(1, Purpose::Negatives, 0));
        assert_eq!((batch.shuffled, batch.samples()), (0, 2));
    }

    #[test]
    fn below_is_uniform() {
        let mut rng = stream(3, Purpose::Order, 0);
        let mut counts = [0_u32; 100];
        for _ in 0..100_000 {
            counts[below(&mut rng, 100) as usize] += 1;
        }
        // 99 degrees of freedom: mean 99, standard deviation 14.
        let statistic = chi_square(&counts);
        assert!((43.0..155.0).contains(&statistic), "{statistic}");
    }

    #[test]
    fn purposes_and_epochs_have_their_own_numbers() {
        let first = |purpose, epoch| stream(5, purpose, epoch).next_u64();
        let all = [
            first(Purpose::Order, 0),
            first(Purpose::Order, 1),
            first(Purpose::Negatives, 0),
            first(Purpose::Validation, 0),
            stream_at(5, Purpose::Order, 0, 0).next_u64(),
            stream_at(5, Purpose::Order, 1, 0).next_u64(),
            stream_at(5, Purpose::Order, 0, 1).next_u64(),
            stream_at(5, Purpose::Negatives, 0, 0).next_u64(),
        ];
        for (i, a) in all.iter().enumerate() {
            assert!(!all[..i].contains(a));
        }
    }

    #[test]
    fn batches_by_hand() {
        // rows, mini_batch_size, R, S -> batches
        for (case, want) in [
            ((250, 50, 1, 1), 16),              // 16 rows fit
            ((250, 10_000, 1, 1), 1),           // a partial batch trains
            ((2_141_335, 1_000, 5, 1), 15_080), // 142 rows fit
            ((10, 1, 1, 0), 10),
            ((10, 1, 1, 1), 5), // two rows at least, or nothing is shuffled
            ((3, 1, 0, 1), 1),
            ((1, 50, 1, 1), 1),
        ] {
            let (rows, size, random, shuffled) = case;
            assert_eq!(batches(rows, size, random, shuffled), want, "{case:?}");
        }
    }

    proptest! {
        #[test]
        fn every_row_is_in_one_batch(
            rows in 1..500_usize, size in 1..500_usize, random in 0..5_usize, shuffled in 0..5_usize,
        ) {
            let count = batches(rows, size, random, shuffled);
            let ranges: Vec<_> = (0..count).map(|b| batch_range(rows, count, b)).collect();
            prop_assert_eq!(ranges[0].start, 0);
            prop_assert_eq!(ranges[count - 1].end, rows);
            prop_assert!(ranges.windows(2).all(|w| w[0].end == w[1].start));
            let least = if shuffled > 0 { 2.min(rows) } else { 1 };
            prop_assert!(ranges.iter().all(|r| r.len() >= least));
            let fit = (size / (1 + random + shuffled)).max(3);
            prop_assert!(ranges.iter().all(|r| r.len() <= fit));
        }

        #[test]
        fn every_row_and_address_is_in_one_group(rows in 1..400_usize, random in 0..4_usize, seed: u64) {
            let (pairs, mut batch) = (pairs(rows), Batch::default());
            batch.draw(&pairs, &[], random, 1, &mut stream(seed, Purpose::Negatives, 0));
            let (mut row, mut address) = (0, 0);
            for group in &batch.groups {
                prop_assert_eq!((group.rows.start, group.addresses.start), (row, address));
                // A row alone in its group would have no shuffled negatives.
                prop_assert!(group.rows.len() > 1 || rows == 1);
                let observed = &batch.addresses[group.addresses.clone()][..group.rows.len()];
                let want: Vec<u32> = pairs[group.rows.clone()].iter().map(|p| p.address).collect();
                prop_assert_eq!(observed, &want[..]);
                (row, address) = (group.rows.end, group.addresses.end);
            }
            prop_assert_eq!((row, address), (rows, batch.addresses.len()));
        }

        #[test]
        fn shuffling_keeps_the_rows(n in 0..100_u32, seed: u64) {
            let mut items: Vec<u32> = (0..n).collect();
            shuffle(&mut stream(seed, Purpose::Order, 0), &mut items);
            items.sort_unstable();
            prop_assert_eq!(items, (0..n).collect::<Vec<_>>());
        }
    }
}
