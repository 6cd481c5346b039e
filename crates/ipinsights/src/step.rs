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
        let work = cut(
            &mut self.x,
            shape.inputs(),
            &mut self.y,
            shape.dim,
            &mut self.pieces,
        );
        let (slots, depths) = (&self.slots, &self.depths);
        executor.for_each(
            work,
            |Part {
                 range,
                 a: x,
                 b: y,
                 piece,
             }| {
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
        let work = cut(&mut self.dz, per_row, &mut self.de, shape.dim, &mut self.pieces);
        let (sorted, y) = (&self.sorted, &self.y);
        executor.for_each(
            work,
            |Part {
                 range,
                 a: dz,
                 b: de,
                 piece,
             }| {
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
        let work = cut(
            &mut self.x,
            shape.inputs(),
            &mut self.dy,
            shape.dim,
            &mut self.pieces,
        );
        let (original, depths, dz, transposed) = (&self.original, &self.depths, &self.dz, &self.transposed);
        executor.for_each(
            work,
            |Part {
                 range,
                 a: x,
                 b: dy,
                 piece,
             }| {
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

/// What one piece works on: a range of rows or addresses, and their part of two buffers.
struct Part<'a, T> {
    range: Range<usize>,
    a: &'a mut [T],
    b: &'a mut [T],
    piece: &'a mut Piece<T>,
}

/// Cuts two buffers evenly among the pieces. `b` has `b_width` numbers for each row, `a` has `a_width`.
fn cut<'a, T>(
    mut a: &'a mut [T],
    a_width: usize,
    mut b: &'a mut [T],
    b_width: usize,
    pieces: &'a mut [Piece<T>],
) -> Vec<Part<'a, T>> {
    let (rows, count) = (b.len() / b_width, pieces.len());
    let mut parts = Vec::with_capacity(count);
    for (i, piece) in pieces.iter_mut().enumerate() {
        let range = rows * i / count..rows * (i + 1) / count;
        let (a_part, a_rest) = a.split_at_mut(range.len() * a_width);
        let (b_part, b_rest) = b.split_at_mut(range.len() * b_width);
        (a, b) = (a_rest, b_rest);
        parts.push(Part {
            range,
            a: a_part,
            b: b_part,
            piece,
        });
    }
    parts
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

    /// All that the next step needs beside the weights and its batch, for a checkpoint: numbers, and tensors by name.
    pub(crate) fn state(&mut self) -> (&mut [f64], Vec<(String, &mut [T])>) {
        let mut moments = vec![
            ("dense".to_owned(), &mut self.dense),
            ("entity".to_owned(), &mut self.entities.moments),
        ];
        for (level, table) in self.prefixes.iter_mut().enumerate() {
            moments.push((format!("prefix.{level}"), &mut table.moments));
        }
        let tensors = moments.into_iter().flat_map(|(name, Moments { first, second })| {
            [
                (format!("{name}.first"), &mut first[..]),
                (format!("{name}.second"), &mut second[..]),
            ]
        });
        (&mut self.schedule.powers, tensors.collect())
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
    Entities(&'a mut Table<T>, &'a mut [T]),
    Prefixes(usize, &'a mut Table<T>, &'a mut [T]),
    Dense(&'a mut Moments<T>, &'a mut [T]),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::Pair;
    use crate::encoder::Prefixes;
    use crate::hash;
    use crate::sampler::{self, Purpose};

    /// A small network with weights large enough to be far from linear, and a batch for it. Some addresses share
    /// prefixes, some entities occur twice.
    fn setup(layers: usize, random: usize, shuffled: usize) -> (Network<f64>, PrefixIndex, Batch) {
        let addresses = [
            0x0a00_0001,
            0x0a00_0101,
            0x0a10_0001,
            0xc0a8_0001,
            0xc0a8_0001,
            0x0a00_1001,
            0x5000_0000,
        ];
        let pairs: Vec<Pair> = addresses
            .iter()
            .zip([0, 1, 2, 0, 1, 3, 2])
            .map(|(address, entity)| Pair {
                entity,
                address: *address,
            })
            .collect();
        let prefixes = Prefixes {
            lengths: vec![2, 4, 8, 20],
            table_bits: 10,
            whole_bits: 2,
        };
        let index = PrefixIndex::of_addresses(prefixes, addresses.iter().copied());
        let shape = Shape {
            dim: 5,
            layers,
            levels: index.levels(),
        };
        let mut network = Network::new(shape, 1, &[3, 5, 8, 9], &index.rows);
        for (i, w) in weights(&mut network).enumerate() {
            *w = 0.7 * hash::initial(9, 9, i as u64);
        }
        let mut batch = Batch::default();
        batch.draw(
            &pairs,
            random,
            shuffled,
            &mut sampler::stream(1, Purpose::Negatives, 0),
        );
        (network, index, batch)
    }

    fn weights(network: &mut Network<f64>) -> impl Iterator<Item = &mut f64> {
        let Network {
            entities,
            prefixes,
            dense,
            ..
        } = network;
        entities
            .iter_mut()
            .chain(prefixes.iter_mut().flat_map(|p| p.iter_mut()))
            .chain(dense)
    }

    fn loss(network: &Network<f64>, index: &PrefixIndex, batch: &Batch) -> f64 {
        let outcome = Workspace::default().gradients(network, index, batch, &Executor::Here);
        assert_eq!(outcome.samples, batch.samples() as u64);
        outcome.loss / outcome.samples as f64
    }

    /// The gradient of every weight, in the order of `weights`.
    fn gradient(network: &Network<f64>, index: &PrefixIndex, batch: &Batch) -> Vec<f64> {
        let mut workspace = Workspace::default();
        workspace.gradients(network, index, batch, &Executor::Here);
        let shape = network.shape;
        let scatter = |sums: &RowSums<f64>, weights: usize| {
            let mut all = vec![0.0; weights];
            for (slot, gradient) in sums.rows() {
                all[slot as usize * gradient.len()..][..gradient.len()].copy_from_slice(gradient);
            }
            all
        };
        let mut sums = RowSums::new(network.entities.len() / shape.dim);
        workspace.sum_entities(shape, batch, &mut sums);
        let mut all = scatter(&sums, network.entities.len());
        for (level, values) in network.prefixes.iter().enumerate() {
            let mut sums = RowSums::new(values.len() / shape.prefix_width());
            workspace.sum_prefixes(shape, level, &mut sums);
            all.extend(scatter(&sums, values.len()));
        }
        all.extend(workspace.dense());
        all
    }

    /// The code that trains, in f64, against finite differences: every weight, or every 37th where there are many.
    fn check_gradient(layers: usize, random: usize, shuffled: usize) {
        let (mut network, index, batch) = setup(layers, random, shuffled);
        let gradient = gradient(&network, &index, &batch);
        let h = 1e-5;
        let mut largest = 0.0_f64;
        let every = if gradient.len() > 5_000 { 37 } else { 1 };
        for (i, got) in gradient.iter().enumerate().step_by(every) {
            let mut at = |offset: f64| {
                *weights(&mut network).nth(i).unwrap() += offset;
                let loss = loss(&network, &index, &batch);
                *weights(&mut network).nth(i).unwrap() -= offset;
                loss
            };
            let slope = (at(h) - at(-h)) / (2.0 * h);
            assert!(
                (slope - got).abs() < 1e-8 + 1e-6 * slope.abs(),
                "{layers} layers, R {random}, S {shuffled}, weight {i}: slope {slope}, gradient {got}"
            );
            largest = largest.max(slope.abs());
        }
        assert!(largest > 1e-3, "nothing to check: the largest slope is {largest}");
    }

    #[test]
    fn gradient_without_layers() {
        check_gradient(0, 1, 1);
        check_gradient(0, 3, 0);
    }

    #[test]
    fn gradient_with_one_layer() {
        check_gradient(1, 1, 1);
        check_gradient(1, 0, 2);
        check_gradient(1, 2, 0);
    }

    #[test]
    fn gradient_with_residual_layers() {
        check_gradient(2, 1, 1);
        check_gradient(4, 2, 1);
    }

    #[test]
    fn first_loss_is_ln_2() {
        for layers in [0, 1, 2, 100] {
            let (network, index, batch) = setup(layers, 5, 1);
            let fresh = Network::<f64>::new(network.shape, 1, &[3, 5, 8, 9], &index.rows);
            let loss = loss(&fresh, &index, &batch);
            // The service's own first batches lie between 0.69317 and 0.69348.
            assert!(
                (loss - std::f64::consts::LN_2).abs() < 1e-4,
                "{layers} layers: {loss}"
            );
        }
    }

    /// One row, one random negative, no layers, one prefix in common: every number by hand.
    #[test]
    fn loss_and_gradient_by_hand() {
        let prefixes = Prefixes {
            lengths: vec![1],
            table_bits: 1,
            whole_bits: 0,
        };
        let index = PrefixIndex::of_addresses(prefixes, [0].into_iter());
        let shape = Shape {
            dim: 2,
            layers: 0,
            levels: 1,
        };
        let network = Network {
            shape,
            entities: vec![1.0, 2.0].into(),
            prefixes: vec![vec![0.5, 0.25].into()],
            dense: vec![-1.0, 0.5],
        };
        // The second address has no row of its own: its vector is the bias.
        let batch = Batch {
            rows: 1,
            random: 1,
            entities: vec![0],
            addresses: vec![0, 1 << 31],
            ..Batch::default()
        };
        // Scores: (1, 2) (-0.5, 0.75) = 1 and (1, 2) (-1, 0.5) = 0.
        let want = ((-1.0_f64).exp().ln_1p() + 2.0_f64.ln()) / 2.0;
        assert!((loss(&network, &index, &batch) - want).abs() < 1e-15);
        let (down, up) = ((real::sigmoid(1.0) - 1.0) / 2.0, 0.25);
        let want = [
            // The entity: both vectors.
            down * -0.5 - up,
            down * 0.75 + up * 0.5,
            // The prefix: the observed sample alone. The bias: both.
            down,
            down * 2.0,
            down + up,
            (down + up) * 2.0,
        ];
        for (got, want) in gradient(&network, &index, &batch).iter().zip(want) {
            assert!((got - want).abs() < 1e-15, "{got} instead of {want}");
        }
        let outcome = Workspace::default().gradients(&network, &index, &batch, &Executor::Here);
        // A score of 0 is not above 0, which is right for a negative.
        assert_eq!(outcome.correct, 2);
    }

    #[test]
    fn pieces_do_not_change_the_sum() {
        // Enough addresses for several pieces, on one thread and on three.
        let pairs: Vec<Pair> = (0..400_u32)
            .map(|i| Pair {
                entity: i % 7,
                address: hash::mix(u64::from(i % 90)) as u32,
            })
            .collect();
        let index = PrefixIndex::of_addresses(Prefixes::default(), pairs.iter().map(|p| p.address));
        let shape = Shape {
            dim: 9,
            layers: 2,
            levels: index.levels(),
        };
        let mut batch = Batch::default();
        batch.draw(&pairs, 1, 1, &mut sampler::stream(1, Purpose::Negatives, 0));
        assert!(pieces(batch.addresses.len()) > 3);
        let train = |executor: &Executor| {
            let mut network = Network::<f32>::new(shape, 1, &[0, 1, 2, 3, 4, 5, 6], &index.rows);
            let mut trainer = Trainer::new(&network, 0.01, 0.001);
            let outcomes: Vec<Outcome> = (0..5)
                .map(|_| trainer.step(&mut network, &index, &batch, executor))
                .collect();
            (network, outcomes)
        };
        let alone = train(&Executor::Here);
        assert!(alone.1[4].loss < alone.1[0].loss);
        assert_eq!(alone, train(&Executor::new(3).unwrap()));
    }
}
