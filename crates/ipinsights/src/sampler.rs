//! The random choices of training: the order of the rows and the negatives.
//!
//! ChaCha with 8 rounds is fixed by its definition and every choice below is spelt out, so a seed means the same rows in
//! every version. Each purpose has its own key and each epoch its own stream.

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

/// One mini-batch with its negatives.
#[derive(Debug, Clone, Default)]
pub(crate) struct Batch {
    /// Observed rows.
    pub(crate) rows: usize,
    /// R, random negatives per row.
    pub(crate) random: usize,
    /// S, shuffled negatives per row: 0 where a single row leaves nothing to permute.
    pub(crate) shuffled: usize,
    /// By row: the slot of its entity.
    pub(crate) entities: Vec<u32>,
    /// The observed addresses by row, then the random ones, R for each row in turn.
    pub(crate) addresses: Vec<u32>,
    /// S permutations of the rows: `partners[s * rows + i]` is the row at whose address entity `i` is shown.
    pub(crate) partners: Vec<u32>,
    /// Their inverses: the row whose entity is shown at address `i`.
    pub(crate) visitors: Vec<u32>,
}

impl Batch {
    /// Observed rows and negatives.
    pub(crate) fn samples(&self) -> usize {
        self.rows * (1 + self.random + self.shuffled)
    }

    /// Takes these rows and draws their negatives.
    pub(crate) fn draw(&mut self, pairs: &[Pair], random: usize, shuffled: usize, rng: &mut impl Rng) {
        self.rows = pairs.len();
        self.random = random;
        self.shuffled = if pairs.len() > 1 { shuffled } else { 0 };
        self.entities.clear();
        self.entities.extend(pairs.iter().map(|p| p.entity));
        self.addresses.clear();
        self.addresses.extend(pairs.iter().map(|p| p.address));
        // Uniform in every octet is uniform in all 32 bits.
        self.addresses
            .extend((0..self.rows * random).map(|_| rng.next_u32()));
        self.partners.clear();
        self.visitors.clear();
        self.visitors.resize(self.rows * self.shuffled, 0);
        for s in 0..self.shuffled {
            let start = self.partners.len();
            self.partners.extend(0..self.rows as u32);
            let partners = &mut self.partners[start..];
            // Sattolo's variant: one cycle through all rows, so no row is its own negative.
            for i in (1..partners.len()).rev() {
                let j = below(rng, i as u32) as usize;
                partners.swap(i, j);
            }
            let visitors = &mut self.visitors[s * self.rows..];
            for (i, partner) in (0_u32..).zip(&*partners) {
                visitors[*partner as usize] = i;
            }
        }
    }
}

/// How many rows the mini-batches of an epoch hold: `(batches, rows)`; the first `rows % batches` batches have one more
/// than the rest.
///
/// A mini-batch of `size` samples has room for `size / (1 + R + S)` rows, but at least for one, and for two where there
/// are shuffled negatives, since a single row has nothing to permute. The rows are spread evenly, so the last batch is
/// no remainder.
pub(crate) fn batches(rows: usize, size: usize, random: usize, shuffled: usize) -> usize {
    let least = if shuffled > 0 { 2 } else { 1 };
    let fit = (size / (1 + random + shuffled)).max(least);
    rows.div_ceil(fit).min(rows / least).max(1)
}

/// The rows of batch `batch` of `batches`.
pub(crate) fn batch_range(rows: usize, batches: usize, batch: usize) -> std::ops::Range<usize> {
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
        batch.draw(&pairs(1_000), 100, 0, &mut stream(1, Purpose::Negatives, 0));
        assert_eq!(batch.addresses.len(), 101_000);
        for octet in 0..4 {
            let mut counts = [0_u32; 256];
            for address in &batch.addresses[1_000..] {
                counts[usize::from(address.to_be_bytes()[octet])] += 1;
            }
            // 255 degrees of freedom: mean 255, standard deviation 22.6. Four of them either way.
            let statistic = chi_square(&counts);
            assert!((165.0..345.0).contains(&statistic), "octet {octet}: {statistic}");
        }
    }

    #[test]
    fn partners_of_shuffled_negatives_are_uniform_over_the_others() {
        let mut batch = Batch::default();
        batch.draw(&pairs(8), 0, 10_000, &mut stream(2, Purpose::Negatives, 0));
        let mut counts = [[0_u32; 8]; 8];
        for partners in batch.partners.chunks(8) {
            for (i, p) in partners.iter().enumerate() {
                counts[i][*p as usize] += 1;
            }
        }
        for (i, row) in counts.iter_mut().enumerate() {
            assert_eq!(row[i], 0, "row {i} is its own negative");
            row.swap(i, 7);
            // 6 degrees of freedom: 27.9 is passed once in 10,000 times.
            let statistic = chi_square(&row[..7]);
            assert!(statistic < 27.9, "row {i}: {statistic}");
        }
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
        fn visitors_are_the_inverse_of_partners(rows in 2..50_usize, shuffled in 1..4_usize, seed: u64) {
            let mut batch = Batch::default();
            batch.draw(&pairs(rows), 1, shuffled, &mut stream(seed, Purpose::Negatives, 0));
            for s in 0..shuffled {
                for i in 0..rows {
                    let partner = batch.partners[s * rows + i] as usize;
                    prop_assert_eq!(batch.visitors[s * rows + partner] as usize, i);
                }
            }
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
