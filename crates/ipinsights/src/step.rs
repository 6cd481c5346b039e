//! One mini-batch: scores, loss, gradients, and the step they lead to.
//!
//! The work is cut into pieces whose number follows from the batch alone. Each piece writes only what is its own, and
//! whatever crosses pieces is added up in their order, so one thread and many give the same bits.

use std::ops::Range;

use crate::adam::{Moments, Schedule, Step};
use crate::encoder::{ABSENT, PrefixIndex};
use crate::executor::Executor;
use crate::network::{Network, Scratch, Shape, Transposed};
use crate::real::{self, Real};
use crate::sampler::Batch;

/// Below this many addresses a second piece costs more than it brings.
const PIECE: usize = 128;

/// Pieces at most. Each has its own sum of the layers' gradient, so their number bounds memory.
const MAX_PIECES: usize = 16;

/// How many pieces a batch of this many addresses falls into.
pub(crate) fn pieces(addresses: usize) -> usize {
    (addresses / PIECE).clamp(1, MAX_PIECES)
}

/// What came of a mini-batch, before its step.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Outcome {
    /// Cross-entropy, summed over samples.
    pub(crate) loss: f64,
    /// Samples whose score has the sign of their label.
    pub(crate) correct: u64,
    pub(crate) samples: u64,
}

/// Buffers of a mini-batch, kept from one to the next.
#[derive(Debug, Default)]
pub(crate) struct Workspace<T> {
    // Addresses are sorted by falling depth, see `sort`.
    /// By sorted address: its slots, level by level.
    slots: Vec<u32>,
    /// By sorted address: its place in `Batch::addresses`.
    original: Vec<u32>,
    /// By place in `Batch::addresses`: its sorted place.
    sorted: Vec<u32>,
    /// Per level: how many addresses reach it.
    depths: Vec<usize>,
    unsorted_slots: Vec<u32>,
    unsorted_depths: Vec<u8>,
    /// By sorted address: the input of the layers; after `gradients`, the gradient of its prefix rows.
    x: Vec<T>,
    /// By sorted address: its vector; then the gradient of it.
    y: Vec<T>,
    dy: Vec<T>,
    /// By row: the gradient of each sample's score, the observed one first, then R, then S.
    dz: Vec<T>,
    /// By row: the gradient of its entity.
    de: Vec<T>,
    transposed: Transposed<T>,
    pieces: Vec<Piece<T>>,
}

/// What one piece has for itself.
#[derive(Debug, Default)]
struct Piece<T> {
    scratch: Scratch<T>,
    /// Its part of the gradient of the layers.
    dense: Vec<T>,
    outcome: Outcome,
}

impl<T: Real> Workspace<T> {
    /// Computes the mean loss's gradient for every weight that the batch touches.
    pub(crate) fn gradients(
        &mut self,
        network: &Network<T>,
        index: &PrefixIndex,
        batch: &Batch,
        executor: &Executor,
    ) -> Outcome {
        let shape = network.shape;
        self.sort(index, batch);
        let addresses = batch.addresses.len();
        let count = pieces(addresses);
        self.pieces.resize_with(count, Piece::default);
        self.transposed.take(network);
        self.x.resize(addresses * shape.inputs(), T::ZERO);
        for buffer in [&mut self.y, &mut self.dy] {
            buffer.resize(addresses * shape.dim, T::ZERO);
        }
        self.dz.resize(batch.samples(), T::ZERO);
        self.de.resize(batch.rows * shape.dim, T::ZERO);
        self.encode(network, executor);
        self.score(network, batch, executor);
        self.backward(network, batch, executor);
        let mut outcome = Outcome::default();
        for piece in &self.pieces {
            outcome.loss += piece.outcome.loss;
            outcome.correct += piece.outcome.correct;
            outcome.samples += piece.outcome.samples;
        }
        outcome
    }

    /// Looks up the addresses and sorts them by falling depth: most random addresses have only short prefixes in common
    /// with the data, and sorted, the long ones can be passed over in whole blocks.
    fn sort(&mut self, index: &PrefixIndex, batch: &Batch) {
        let levels = index.levels();
        let n = batch.addresses.len();
        self.unsorted_slots.resize(n * levels, ABSENT);
        self.unsorted_depths.clear();
        let mut counts = vec![0; levels + 1];
        for (address, slots) in batch.addresses.iter().zip(self.unsorted_slots.chunks_mut(levels)) {
            let depth = index.look_up(*address, slots);
            self.unsorted_depths.push(depth as u8);
            counts[depth] += 1;
        }
        // Where the addresses of each depth begin, deepest first.
        let mut next = vec![0; levels + 1];
        let mut start = 0;
        self.depths.resize(levels, 0);
        for depth in (0..=levels).rev() {
            next[depth] = start;
            start += counts[depth];
            if depth > 0 {
                self.depths[depth - 1] = start;
            }
        }
        self.slots.resize(n * levels, ABSENT);
        self.original.resize(n, 0);
        self.sorted.resize(n, 0);
        for (i, depth) in self.unsorted_depths.iter().enumerate() {
            let place = next[usize::from(*depth)];
            next[usize::from(*depth)] += 1;
            self.original[place] = i as u32;
            self.sorted[i] = place as u32;
            self.slots[place * levels..][..levels]
                .copy_from_slice(&self.unsorted_slots[i * levels..][..levels]);
        }
    }

    fn encode(&mut self, network: &Network<T>, executor: &Executor) {
        let shape = network.shape;
        let cuts = Cuts::new(self.original.len(), self.pieces.len());
        let work = cuts
            .split(&mut self.x, shape.inputs())
            .into_iter()
            .zip(cuts.split(&mut self.y, shape.dim))
            .zip(&mut self.pieces)
            .zip(cuts.ranges())
            .collect();
        let (slots, depths) = (&self.slots, &self.depths);
        executor.for_each(
            work,
            |(((x, y), piece), range): (((&mut [T], &mut [T]), &mut Piece<T>), _)| {
                let depths = reach(depths, &range);
                let slots = &slots[range.start * shape.levels..range.end * shape.levels];
                network.gather(slots, x);
                network.encode(slots, x, &depths, y, &mut piece.scratch);
            },
        );
    }

    /// Scores, loss, and the gradients of scores and entities, row by row.
    fn score(&mut self, network: &Network<T>, batch: &Batch, executor: &Executor) {
        let shape = network.shape;
        let per_row = 1 + batch.random + batch.shuffled;
        let samples = batch.samples() as f64;
        let cuts = Cuts::new(batch.rows, self.pieces.len());
        let work = cuts
            .split(&mut self.dz, per_row)
            .into_iter()
            .zip(cuts.split(&mut self.de, shape.dim))
            .zip(&mut self.pieces)
            .zip(cuts.ranges())
            .collect();
        let (sorted, y) = (&self.sorted, &self.y);
        executor.for_each(
            work,
            |(((dz, de), piece), range): (((&mut [T], &mut [T]), &mut Piece<T>), Range<usize>)| {
                let mut outcome = Outcome::default();
                for ((row, dz), de) in range.zip(dz.chunks_mut(per_row)).zip(de.chunks_mut(shape.dim)) {
                    let entity = network.entity(batch.entities[row]);
                    de.fill(T::ZERO);
                    for (sample, dz) in dz.iter_mut().enumerate() {
                        let address = sorted[address_of(batch, row, sample)] as usize;
                        let vector = &y[address * shape.dim..][..shape.dim];
                        let z = real::dot(entity, vector).to_f64();
                        let observed = sample == 0;
                        let label = if observed { 1.0 } else { 0.0 };
                        *dz = T::from_f64((real::sigmoid(z) - label) / samples);
                        real::add_scaled(de, *dz, vector);
                        outcome.loss += real::cross_entropy(z, observed);
                        outcome.correct += u64::from((z > 0.0) == observed);
                        outcome.samples += 1;
                    }
                }
                piece.outcome = outcome;
            },
        );
    }

    /// From the gradients of the scores to those of layers and prefix rows, address by address.
    fn backward(&mut self, network: &Network<T>, batch: &Batch, executor: &Executor) {
        let shape = network.shape;
        let per_row = 1 + batch.random + batch.shuffled;
        let cuts = Cuts::new(self.original.len(), self.pieces.len());
        let work = cuts
            .split(&mut self.x, shape.inputs())
            .into_iter()
            .zip(cuts.split(&mut self.dy, shape.dim))
            .zip(&mut self.pieces)
            .zip(cuts.ranges())
            .collect();
        let (original, depths, dz, transposed) = (&self.original, &self.depths, &self.dz, &self.transposed);
        executor.for_each(
            work,
            |(((x, dy), piece), range): (((&mut [T], &mut [T]), &mut Piece<T>), Range<usize>)| {
                for (address, dy) in original[range.clone()].iter().zip(dy.chunks_mut(shape.dim)) {
                    let address = *address as usize;
                    dy.fill(T::ZERO);
                    if address < batch.rows {
                        real::add_scaled(dy, dz[address * per_row], network.entity(batch.entities[address]));
                        for s in 0..batch.shuffled {
                            let row = batch.visitors[s * batch.rows + address] as usize;
                            let dz = dz[row * per_row + 1 + batch.random + s];
                            real::add_scaled(dy, dz, network.entity(batch.entities[row]));
                        }
                    } else {
                        let row = (address - batch.rows) / batch.random;
                        let r = (address - batch.rows) % batch.random;
                        real::add_scaled(dy, dz[row * per_row + 1 + r], network.entity(batch.entities[row]));
                    }
                }
                piece.dense.clear();
                piece.dense.resize(shape.dense(), T::ZERO);
                let depths = reach(depths, &range);
                network.backward(transposed, x, &depths, dy, &mut piece.dense, &mut piece.scratch);
            },
        );
        // In the order of the pieces.
        if let Some((first, rest)) = self.pieces.split_first_mut() {
            for piece in rest {
                real::add(&mut first.dense, &piece.dense);
            }
        }
    }

    /// The gradient of the layers.
    pub(crate) fn dense(&self) -> &[T] {
        &self.pieces[0].dense
    }

    /// Adds up the gradient of each entity in the batch.
    pub(crate) fn sum_entities(&self, shape: Shape, batch: &Batch, sums: &mut RowSums<T>) {
        sums.start(shape.dim);
        for (slot, de) in batch.entities.iter().zip(self.de.chunks(shape.dim)) {
            sums.add(*slot, de);
        }
    }

    /// Adds up the gradient of each row of one prefix table.
    pub(crate) fn sum_prefixes(&self, shape: Shape, level: usize, sums: &mut RowSums<T>) {
        let width = shape.prefix_width();
        // Without layers the vector's gradient is that of every row in the sum.
        let (source, stride, offset) = match shape.layers {
            0 => (&self.dy, shape.dim, 0),
            _ => (&self.x, shape.inputs(), level * width),
        };
        sums.start(width);
        let slots = self.slots.chunks(shape.levels).take(self.depths[level]);
        for (slots, gradient) in slots.zip(source.chunks(stride)) {
            if slots[level] != ABSENT {
                sums.add(slots[level], &gradient[offset..offset + width]);
            }
        }
    }
}

/// The place in `Batch::addresses` of a row's sample: the observed one, then R random, then S shuffled.
fn address_of(batch: &Batch, row: usize, sample: usize) -> usize {
    match sample.checked_sub(1 + batch.random) {
        Some(s) => batch.partners[s * batch.rows + row] as usize,
        None if sample == 0 => row,
        None => batch.rows + row * batch.random + sample - 1,
    }
}

/// What is left of the depths for the addresses in `range`.
fn reach(depths: &[usize], range: &Range<usize>) -> Vec<usize> {
    depths
        .iter()
        .map(|d| d.saturating_sub(range.start).min(range.len()))
        .collect()
}

/// Even cuts of some rows into pieces.
struct Cuts {
    rows: usize,
    pieces: usize,
}

impl Cuts {
    fn new(rows: usize, pieces: usize) -> Self {
        Self { rows, pieces }
    }

    fn ranges(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let (rows, pieces) = (self.rows, self.pieces);
        (0..pieces).map(move |i| rows * i / pieces..rows * (i + 1) / pieces)
    }

    fn split<'a, T>(&self, mut buffer: &'a mut [T], width: usize) -> Vec<&'a mut [T]> {
        let mut parts = Vec::with_capacity(self.pieces);
        for range in self.ranges() {
            let (part, rest) = buffer.split_at_mut(range.len() * width);
            parts.push(part);
            buffer = rest;
        }
        parts
    }
}

/// Gradients of the rows of one table, summed over a mini-batch, for the rows that occur in it.
#[derive(Debug)]
pub(crate) struct RowSums<T> {
    /// By slot: 1 + its place among the touched rows, or 0.
    places: Vec<u32>,
    touched: Vec<u32>,
    sums: Vec<T>,
    width: usize,
}

impl<T: Real> RowSums<T> {
    pub(crate) fn new(slots: usize) -> Self {
        Self {
            places: vec![0; slots],
            touched: Vec::new(),
            sums: Vec::new(),
            width: 0,
        }
    }

    fn start(&mut self, width: usize) {
        for slot in self.touched.drain(..) {
            self.places[slot as usize] = 0;
        }
        self.sums.clear();
        self.width = width;
    }

    fn add(&mut self, slot: u32, gradient: &[T]) {
        let place = &mut self.places[slot as usize];
        if *place == 0 {
            self.touched.push(slot);
            *place = self.touched.len() as u32;
            self.sums.extend_from_slice(gradient);
        } else {
            let start = (*place as usize - 1) * self.width;
            real::add(&mut self.sums[start..start + self.width], gradient);
        }
    }

    /// Slots with their sums, in the order of their first row.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (u32, &[T])> {
        self.touched.iter().copied().zip(self.sums.chunks(self.width))
    }
}

/// Weights, Adam's moments and buffers: everything that training carries from batch to batch.
pub(crate) struct Trainer<T> {
    schedule: Schedule,
    workspace: Workspace<T>,
    entities: Table<T>,
    prefixes: Vec<Table<T>>,
    dense: Moments<T>,
}

/// What a sparse table has beside its weights.
struct Table<T> {
    moments: Moments<T>,
    sums: RowSums<T>,
}

impl<T: Real> Table<T> {
    fn new(weights: usize, width: usize) -> Self {
        Self {
            moments: Moments::new(weights),
            sums: RowSums::new(weights / width),
        }
    }

    fn apply(&mut self, step: Step<T>, weights: &mut [T]) {
        for (slot, gradient) in self.sums.rows() {
            self.moments
                .apply(step, slot as usize * gradient.len(), weights, gradient);
        }
    }
}

impl<T: Real> Trainer<T> {
    pub(crate) fn new(network: &Network<T>, learning_rate: f64, weight_decay: f64) -> Self {
        let shape = network.shape;
        Self {
            schedule: Schedule::new(learning_rate, weight_decay),
            workspace: Workspace::default(),
            entities: Table::new(network.entities.len(), shape.dim),
            prefixes: network
                .prefixes
                .iter()
                .map(|p| Table::new(p.len(), shape.prefix_width()))
                .collect(),
            dense: Moments::new(network.dense.len()),
        }
    }

    /// Takes one step of Adam on the batch. Rows that are not in the batch are left as they are: no momentum, no decay.
    pub(crate) fn step(
        &mut self,
        network: &mut Network<T>,
        index: &PrefixIndex,
        batch: &Batch,
        executor: &Executor,
    ) -> Outcome {
        let outcome = self.workspace.gradients(network, index, batch, executor);
        let step = self.schedule.next();
        let (shape, workspace) = (network.shape, &self.workspace);
        // One piece per table, and one for the layers. Small batches are done before a second thread would wake up.
        let mut work: Vec<Update<'_, T>> = vec![Update::Entities(&mut self.entities, &mut network.entities)];
        for (level, (table, weights)) in self.prefixes.iter_mut().zip(&mut network.prefixes).enumerate() {
            work.push(Update::Prefixes(level, table, weights));
        }
        work.push(Update::Dense(&mut self.dense, &mut network.dense));
        let update = |update| match update {
            Update::Entities(table, weights) => {
                workspace.sum_entities(shape, batch, &mut table.sums);
                table.apply(step, weights);
            }
            Update::Prefixes(level, table, weights) => {
                workspace.sum_prefixes(shape, level, &mut table.sums);
                table.apply(step, weights);
            }
            Update::Dense(moments, weights) => moments.apply(step, 0, weights, workspace.dense()),
        };
        if pieces(batch.addresses.len()) > 1 {
            executor.for_each(work, update);
        } else {
            work.into_iter().for_each(update);
        }
        outcome
    }
}

/// What one piece of a step updates.
enum Update<'a, T> {
    Entities(&'a mut Table<T>, &'a mut Vec<T>),
    Prefixes(usize, &'a mut Table<T>, &'a mut Vec<T>),
    Dense(&'a mut Moments<T>, &'a mut Vec<T>),
}
