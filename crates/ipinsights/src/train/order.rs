//! The order of an epoch: random, the same for the same seed, and without a place in memory for every row.
//!
//! Rows come in blocks of 512, one page of a file. The blocks are put into random order, and read some at a time into a
//! buffer, in which the rows are put into random order: up to a million rows, that is a uniform shuffle of all. Beyond, it
//! is still a random order, in which rows that stand together in the file are met within the same million.

use std::io;
use std::ops::Range;

use crate::dataset::{Dataset, Pair};
use crate::sampler::{self, Purpose};

/// How many rows make a block, and how many blocks a buffer.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    block: usize,
    blocks: usize,
}

const SIZES: Sizes = Sizes {
    block: 512,
    blocks: 2_048,
};

/// The rows of one epoch in its order.
pub(super) struct Order<'a> {
    rows: &'a Dataset,
    seed: u64,
    epoch: u32,
    sizes: Sizes,
    /// Numbers of blocks, in the order in which they come.
    blocks: Vec<u32>,
    /// When the last block, which may be short, comes.
    short_at: usize,
    /// The rows of one buffer, and where in the epoch they stand.
    buffer: Vec<Pair>,
    held: Range<usize>,
}

impl<'a> Order<'a> {
    pub(super) fn new(rows: &'a Dataset, seed: u64, epoch: u32) -> Self {
        Self::with_sizes(rows, seed, epoch, SIZES)
    }

    fn with_sizes(rows: &'a Dataset, seed: u64, epoch: u32, sizes: Sizes) -> Self {
        // 2^32 blocks would be 16 TiB.
        let count = rows.len().div_ceil(sizes.block) as u32;
        let mut blocks: Vec<u32> = (0..count).collect();
        let mut rng = sampler::stream_at(seed, Purpose::Order, epoch, u64::MAX);
        sampler::shuffle(&mut rng, &mut blocks);
        let short_at = blocks.iter().position(|b| b + 1 == count).unwrap_or(0);
        Self {
            rows,
            seed,
            epoch,
            sizes,
            blocks,
            short_at,
            buffer: Vec::new(),
            held: 0..0,
        }
    }

    /// Puts the rows that stand at these places of the epoch into `out`. Places that do not ascend from call to call are
    /// slow, but right.
    pub(super) fn take(&mut self, mut places: Range<usize>, out: &mut Vec<Pair>) -> io::Result<()> {
        out.clear();
        while !places.is_empty() {
            if !self.held.contains(&places.start) {
                self.load(self.buffer_of(places.start))?;
            }
            let end = places.end.min(self.held.end);
            out.extend_from_slice(&self.buffer[places.start - self.held.start..end - self.held.start]);
            places.start = end;
        }
        Ok(())
    }

    /// Where the rows of a buffer begin.
    fn start_of(&self, buffer: usize) -> usize {
        let blocks = (buffer * self.sizes.blocks).min(self.blocks.len());
        let missing = self.blocks.len() * self.sizes.block - self.rows.len();
        blocks * self.sizes.block - if blocks > self.short_at { missing } else { 0 }
    }

    fn buffer_of(&self, place: usize) -> usize {
        let buffer = place / (self.sizes.block * self.sizes.blocks);
        // The short block moves all that comes after it forward.
        buffer + usize::from(place >= self.start_of(buffer + 1))
    }

    fn load(&mut self, buffer: usize) -> io::Result<()> {
        self.held = 0..0;
        let range = self.start_of(buffer)..self.start_of(buffer + 1);
        self.buffer.resize(range.len(), Pair::default());
        let first = buffer * self.sizes.blocks;
        let last = (first + self.sizes.blocks).min(self.blocks.len());
        let mut to = &mut self.buffer[..];
        for block in &self.blocks[first..last] {
            let start = *block as usize * self.sizes.block;
            let (part, rest) = to.split_at_mut(self.sizes.block.min(self.rows.len() - start));
            self.rows.read(start, part)?;
            to = rest;
        }
        let mut rng = sampler::stream_at(self.seed, Purpose::Order, self.epoch, buffer as u64);
        sampler::shuffle(&mut rng, &mut self.buffer);
        self.held = range;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use access_events::AccessEvent;
    use proptest::prelude::*;

    use super::*;
    use crate::Hyperparameters;

    fn dataset(rows: usize) -> Dataset {
        let params = Hyperparameters::draft(1).check().unwrap();
        let rows: Vec<_> = (0..rows as u32)
            .map(|i| AccessEvent::new("a", i.into()))
            .collect();
        Dataset::from_slice(&rows, &params)
    }

    fn all(order: &mut Order<'_>, batch: usize) -> Vec<u32> {
        let (mut rows, mut out) = (Vec::new(), Vec::new());
        let n = order.rows.len();
        for start in (0..n).step_by(batch) {
            order.take(start..(start + batch).min(n), &mut out).unwrap();
            rows.extend(out.iter().map(|p| p.address));
        }
        rows
    }

    proptest! {
        #[test]
        fn every_row_comes_once_whatever_the_batches(
            rows in 1..400_usize, block in 1..20_usize, blocks in 1..20_usize, batch in 1..100_usize, seed: u64,
        ) {
            let data = dataset(rows);
            let order = || Order::with_sizes(&data, seed, 3, Sizes { block, blocks });
            let order_of_batches = all(&mut order(), batch);
            prop_assert_eq!(&order_of_batches, &all(&mut order(), rows));
            // Beginning in the middle, as after a resume, changes nothing.
            let mut out = Vec::new();
            order().take(rows / 2..rows, &mut out).unwrap();
            let second_half: Vec<u32> = out.iter().map(|p| p.address).collect();
            prop_assert_eq!(&order_of_batches[rows / 2..], &second_half[..]);
            let mut sorted = order_of_batches;
            sorted.sort_unstable();
            prop_assert_eq!(sorted, (0..rows as u32).collect::<Vec<_>>());
        }
    }

    /// Ten rows in five blocks and three buffers: every row is as likely in every place.
    #[test]
    fn every_place_is_as_likely() {
        let data = dataset(10);
        let mut counts = [[0_u32; 10]; 10];
        for seed in 0..4_000 {
            let mut order = Order::with_sizes(&data, seed, 0, Sizes { block: 2, blocks: 2 });
            for (place, row) in all(&mut order, 10).into_iter().enumerate() {
                counts[place][row as usize] += 1;
            }
        }
        for (place, row) in counts.iter().enumerate() {
            let statistic: f64 = row.iter().map(|c| (f64::from(*c) - 400.0).powi(2) / 400.0).sum();
            // 9 degrees of freedom: 33.7 is passed once in 10,000 times.
            assert!(statistic < 33.7, "place {place}: {statistic} {row:?}");
        }
    }

    #[test]
    fn epochs_differ() {
        let data = dataset(100);
        let order = |epoch| all(&mut Order::new(&data, 1, epoch), 100);
        assert_eq!(order(0), order(0));
        assert_ne!(order(0), order(1));
    }
}
