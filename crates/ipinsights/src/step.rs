//! One mini-batch: scores, loss, gradients, and the step they lead to.
//!
//! The work is cut into pieces whose number follows from the batch alone. Each piece writes only what is its own, and
//! whatever crosses pieces is added up in their order, so one thread and many give the same bits.

use crate::adam::{Moments, Schedule, Step};
use crate::encoder::RangeIndex;
use crate::executor::Executor;
use crate::gemm::{self, Matrix};
use crate::network::{Network, Scratch, Shape, Transposed};
use crate::real::{self, Real};
use crate::sampler::{Batch, Group};
use crate::vector::{self, Work};

/// Pieces at most. Each has its own sum of the layers' gradient, so their number bounds memory.
const MAX_PIECES: usize = 16;

/// How sure the model is meant to be of an observed row: its label is 1 less this. Without it the scores of an entity's
/// own networks grow as long as training lasts, and with them, as a vector has only so many dimensions, the noise in the
/// scores of all other networks. With it they end near `ln(1 / SMOOTHING - 1)`, 1.4. Odds of other pairs, which are rarely
/// observed, hardly change.
pub(crate) const SMOOTHING: f64 = 0.2;

/// Columns of a matrix of scores are rounded up to a multiple of this, the widest vector.
const LANES: usize = 16;

/// What came of a mini-batch, before its step.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Outcome {
    /// Cross-entropy against labels of 0 and 1, summed over samples.
    pub(crate) loss: f64,
    /// Samples whose score has the sign of their label; rounded, since negatives are weighted.
    pub(crate) correct: u64,
    pub(crate) samples: u64,
}

/// Buffers of a mini-batch, kept from one to the next.
#[derive(Debug, Default)]
pub(crate) struct Workspace<T> {
    /// By address: its slots, level by level.
    slots: Vec<u32>,
    /// By address: the input of the layers, then the gradient of its range rows; without layers that of its vector.
    x: Vec<T>,
    /// By row: the gradient of its entity.
    de: Vec<T>,
    transposed: Transposed<T>,
    pieces: Vec<Piece<T>>,
}

/// What one piece has for itself.
#[derive(Debug, Default)]
struct Piece<T> {
    scratch: Scratch<T>,
    /// By address of a group: its vector, and the gradient of it; and the vectors turned round.
    y: Vec<T>,
    dy: Vec<T>,
    turned: Vec<T>,
    /// By row of a group: its entity's vector.
    e: Vec<T>,
    /// By row and address of a group: the score, then its gradient.
    z: Vec<T>,
    /// By address of a group: what it weighs as a negative; the loss; the right answers.
    weights: Vec<T>,
    loss: Vec<T>,
    correct: Vec<T>,
    /// The piece's part of the gradient of the layers.
    dense: Vec<T>,
    /// Loss and right answers of the piece.
    total: [f64; 2],
}

/// Numbers for each address in `Workspace::x`.
fn stride(shape: Shape) -> usize {
    match shape.layers {
        0 => shape.dim,
        _ => shape.inputs(),
    }
}

impl<T: Real> Workspace<T> {
    /// Computes the mean loss's gradient for every weight that the batch touches.
    pub(crate) fn gradients(
        &mut self,
        network: &Network<T>,
        index: &RangeIndex,
        batch: &Batch,
        executor: &Executor,
    ) -> Outcome {
        let shape = network.shape;
        let count = batch.groups.len().clamp(1, MAX_PIECES);
        self.pieces.resize_with(count, Piece::default);
        vector::run(Turn {
            network,
            transposed: &mut self.transposed,
        });
        self.slots.resize(batch.addresses.len() * shape.levels, 0);
        self.x.resize(batch.addresses.len() * stride(shape), T::ZERO);
        self.de.resize(batch.rows * shape.dim, T::ZERO);
        let mut work = Vec::with_capacity(count);
        let (mut slots, mut x, mut de) = (&mut self.slots[..], &mut self.x[..], &mut self.de[..]);
        for (i, piece) in self.pieces.iter_mut().enumerate() {
            let groups = &batch.groups[batch.groups.len() * i / count..batch.groups.len() * (i + 1) / count];
            let addresses: usize = groups.iter().map(|group| group.addresses.len()).sum();
            let rows: usize = groups.iter().map(|group| group.rows.len()).sum();
            work.push(Part {
                network,
                index,
                batch,
                transposed: &self.transposed,
                groups,
                slots: take(&mut slots, addresses * shape.levels),
                x: take(&mut x, addresses * stride(shape)),
                de: take(&mut de, rows * shape.dim),
                piece,
            });
        }
        executor.for_each(work, vector::run);
        let mut total = [0.0; 2];
        for piece in &self.pieces {
            total = [total[0] + piece.total[0], total[1] + piece.total[1]];
        }
        // In the order of the pieces.
        if let Some((first, rest)) = self.pieces.split_first_mut() {
            for piece in rest {
                real::add(&mut first.dense, &piece.dense);
            }
        }
        Outcome {
            loss: total[0],
            correct: total[1].round() as u64,
            samples: batch.samples() as u64,
        }
    }

    /// The gradient of the layers.
    pub(crate) fn dense(&self) -> &[T] {
        &self.pieces[0].dense
    }

    /// Adds up the gradient of each entity in the batch, and that of what they have in common.
    #[inline(always)]
    pub(crate) fn sum_entities(
        &self,
        shape: Shape,
        batch: &Batch,
        sums: &mut RowSums<T>,
        common: &mut Vec<T>,
    ) {
        sums.start(shape.dim);
        common.clear();
        common.resize(shape.dim, T::ZERO);
        for (slot, de) in batch.entities.iter().zip(self.de.chunks_exact(shape.dim)) {
            sums.add(*slot, de);
            real::add(common, de);
        }
    }

    /// Adds up the gradient of each row of one range table.
    #[inline(always)]
    pub(crate) fn sum_ranges(&self, shape: Shape, level: usize, sums: &mut RowSums<T>) {
        let width = shape.range_width();
        // Without layers the vector's gradient is that of every row in the sum.
        let offset = if shape.layers == 0 { 0 } else { level * width };
        sums.start(width);
        let slots = self.slots.chunks_exact(shape.levels);
        for (slots, gradient) in slots.zip(self.x.chunks_exact(stride(shape))) {
            sums.add(slots[level], &gradient[offset..offset + width]);
        }
    }
}

/// Splits off the first `n`.
fn take<'a, T>(rest: &mut &'a mut [T], n: usize) -> &'a mut [T] {
    let (first, others) = std::mem::take(rest).split_at_mut(n);
    *rest = others;
    first
}

/// Turns the layers' weights round.
struct Turn<'a, T> {
    network: &'a Network<T>,
    transposed: &'a mut Transposed<T>,
}

impl<T: Real> Work for Turn<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        self.transposed.take(self.network);
    }
}

/// What one piece works on: some groups, and their part of the buffers.
struct Part<'a, T> {
    network: &'a Network<T>,
    index: &'a RangeIndex,
    batch: &'a Batch,
    transposed: &'a Transposed<T>,
    groups: &'a [Group],
    slots: &'a mut [u32],
    x: &'a mut [T],
    de: &'a mut [T],
    piece: &'a mut Piece<T>,
}

impl<T: Real> Work for Part<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(mut self) {
        let shape = self.network.shape;
        self.piece.total = [0.0; 2];
        self.piece.dense.clear();
        self.piece.dense.resize(shape.dense(), T::ZERO);
        let groups = self.groups;
        for group in groups {
            let addresses = group.addresses.len();
            let slots = take(&mut self.slots, addresses * shape.levels);
            let x = take(&mut self.x, addresses * stride(shape));
            let de = take(&mut self.de, group.rows.len() * shape.dim);
            self.group(group, slots, x, de);
        }
    }
}

impl<T: Real> Part<'_, T> {
    #[inline(always)]
    fn group(&mut self, group: &Group, slots: &mut [u32], x: &mut [T], de: &mut [T]) {
        let (network, batch, shape) = (self.network, self.batch, self.network.shape);
        let (rows, addresses) = (group.rows.len(), group.addresses.len());
        let Piece {
            scratch,
            y,
            dy,
            turned,
            e,
            z,
            weights,
            loss,
            correct,
            dense,
            total,
        } = &mut *self.piece;
        let of_group = &batch.addresses[group.addresses.clone()];
        for (address, slots) in of_group.iter().zip(slots.chunks_exact_mut(shape.levels)) {
            self.index.look_up(*address, slots);
        }
        y.resize(addresses * shape.dim, T::ZERO);
        network.gather(slots, x);
        network.encode(slots, x, y, scratch);
        e.clear();
        for slot in &batch.entities[group.rows.clone()] {
            e.extend(
                network
                    .entity(*slot)
                    .iter()
                    .zip(&network.common)
                    .map(|(e, c)| *e + *c),
            );
        }

        // Every entity of the group at every address of it.
        let columns = addresses.next_multiple_of(LANES);
        turned.clear();
        turned.resize(shape.dim * columns, T::ZERO);
        gemm::transpose([addresses, shape.dim], y, turned, columns);
        z.clear();
        z.resize(rows * columns, T::ZERO);
        gemm::multiply_add(
            [rows, columns, shape.dim],
            Matrix::rows(e, shape.dim),
            (turned, columns),
            (z, columns),
        );
        for buffer in [&mut *loss, &mut *correct, &mut *weights] {
            buffer.clear();
            buffer.resize(columns, T::ZERO);
        }
        let samples = batch.samples() as f64;
        let scale = T::from_f64(1.0 / samples);
        let random = addresses - rows;
        let random_weight = T::from_f64(batch.random as f64 / random.max(1) as f64);
        for (i, z) in z.chunks_exact_mut(columns).enumerate() {
            // What each address weighs: as a shuffled negative, as itself, as a random negative.
            let mut of_others = 0.0;
            for (j, weight) in batch.weights[group.rows.clone()].iter().enumerate() {
                of_others += if j == i { 0.0 } else { f64::from(*weight) };
            }
            let shuffled = if of_others > 0.0 {
                batch.shuffled as f64 / of_others
            } else {
                0.0
            };
            for (to, weight) in weights.iter_mut().zip(&batch.weights[group.rows.clone()]) {
                *to = T::from_f64(f64::from(*weight) * shuffled);
            }
            weights[i] = T::ZERO;
            weights[rows..addresses].fill(random_weight);
            let own = z[i];
            for (((z, weight), loss), correct) in
                z.iter_mut().zip(&*weights).zip(&mut *loss).zip(&mut *correct)
            {
                let [sigmoid, softplus] = z.logistic();
                *loss = weight.mul_add(softplus, *loss);
                *correct += if *z > T::ZERO { T::ZERO } else { *weight };
                *z = sigmoid * *weight * scale;
            }
            // The sigmoid of -z is 1 less that of z.
            let [miss, softplus] = (T::ZERO - own).logistic();
            loss[i] += softplus;
            correct[i] += if own > T::ZERO { T::ONE } else { T::ZERO };
            z[i] = (T::from_f64(SMOOTHING) - miss) * scale;
        }
        for (loss, correct) in loss.iter().zip(&*correct) {
            *total = [total[0] + loss.to_f64(), total[1] + correct.to_f64()];
        }

        de.fill(T::ZERO);
        gemm::multiply_add(
            [rows, shape.dim, addresses],
            Matrix::rows(z, columns),
            (y, shape.dim),
            (de, shape.dim),
        );
        dy.clear();
        dy.resize(addresses * shape.dim, T::ZERO);
        gemm::multiply_add(
            [addresses, shape.dim, rows],
            Matrix::transposed(z, columns),
            (e, shape.dim),
            (dy, shape.dim),
        );
        network.backward(self.transposed, x, dy, dense, scratch);
        if shape.layers == 0 {
            x.copy_from_slice(dy);
        }
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

    #[inline(always)]
    fn start(&mut self, width: usize) {
        for slot in self.touched.drain(..) {
            self.places[slot as usize] = 0;
        }
        self.sums.clear();
        self.width = width;
    }

    #[inline(always)]
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
        self.touched
            .iter()
            .copied()
            .zip(self.sums.chunks_exact(self.width))
    }
}

/// Adam's moments and buffers: everything that training carries from batch to batch beside the weights.
pub(crate) struct Trainer<T> {
    schedule: Schedule,
    workspace: Workspace<T>,
    entities: Table<T>,
    common: Moments<T>,
    common_gradient: Vec<T>,
    ranges: Vec<Table<T>>,
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

    #[inline(always)]
    fn apply(&mut self, step: Step<T>, weights: &mut [T]) {
        for (slot, gradient) in self.sums.rows() {
            self.moments
                .apply(step, slot as usize * gradient.len(), weights, gradient);
        }
    }
}

impl<T: Real> Trainer<T> {
    /// For a training of `steps` mini-batches.
    pub(crate) fn new(network: &Network<T>, learning_rate: f64, weight_decay: f64, steps: u64) -> Self {
        let shape = network.shape;
        Self {
            schedule: Schedule::new(learning_rate, weight_decay, steps),
            workspace: Workspace::default(),
            entities: Table::new(network.entities.len(), shape.dim),
            common: Moments::new(shape.dim),
            common_gradient: Vec::new(),
            ranges: network
                .ranges
                .iter()
                .map(|table| Table::new(table.len(), shape.range_width()))
                .collect(),
            dense: Moments::new(network.dense.len()),
        }
    }

    /// Takes one step of Adam on the batch. Rows that are not in the batch are left as they are: no momentum, no decay.
    pub(crate) fn step(
        &mut self,
        network: &mut Network<T>,
        index: &RangeIndex,
        batch: &Batch,
        executor: &Executor,
    ) -> Outcome {
        let outcome = self.workspace.gradients(network, index, batch, executor);
        let step = self.schedule.next();
        let (shape, workspace) = (network.shape, &self.workspace);
        let update = |target| Update {
            shape,
            workspace,
            batch,
            step,
            target,
        };
        // One piece per table, and one for the layers. Small batches are done before a second thread would wake up.
        let mut work = vec![update(Tables::Entities {
            table: &mut self.entities,
            weights: &mut network.entities,
            common: (&mut self.common, &mut network.common),
            common_gradient: &mut self.common_gradient,
        })];
        // The fine levels, whose rows are many, first.
        for (level, (table, weights)) in self.ranges.iter_mut().zip(&mut network.ranges).enumerate().rev() {
            work.push(update(Tables::Ranges(level, table, weights)));
        }
        work.push(update(Tables::Dense(&mut self.dense, &mut network.dense)));
        if batch.groups.len() > 1 {
            executor.for_each(work, vector::run);
        } else {
            work.into_iter().for_each(vector::run);
        }
        outcome
    }
}

/// One piece of a step.
struct Update<'a, T> {
    shape: Shape,
    workspace: &'a Workspace<T>,
    batch: &'a Batch,
    step: Step<T>,
    target: Tables<'a, T>,
}

/// What it updates.
enum Tables<'a, T> {
    Entities {
        table: &'a mut Table<T>,
        weights: &'a mut [T],
        common: (&'a mut Moments<T>, &'a mut [T]),
        common_gradient: &'a mut Vec<T>,
    },
    Ranges(usize, &'a mut Table<T>, &'a mut [T]),
    Dense(&'a mut Moments<T>, &'a mut [T]),
}

impl<T: Real> Work for Update<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let step = self.step;
        match self.target {
            Tables::Entities {
                table,
                weights,
                common,
                common_gradient,
            } => {
                self.workspace
                    .sum_entities(self.shape, self.batch, &mut table.sums, common_gradient);
                table.apply(step, weights);
                common.0.apply(step, 0, common.1, common_gradient);
            }
            Tables::Ranges(level, table, weights) => {
                self.workspace.sum_ranges(self.shape, level, &mut table.sums);
                table.apply(step, weights);
            }
            Tables::Dense(moments, weights) => moments.apply(step, 0, weights, self.workspace.dense()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use super::*;
    use crate::dataset::Pair;
    use crate::hash;
    use crate::sampler::{self, Purpose};

    /// A small network with weights large enough to be far from linear, and a batch for it. Some addresses share
    /// prefixes, some entities occur twice.
    fn setup(layers: usize, random: usize, shuffled: usize) -> (Network<f64>, RangeIndex, Batch) {
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
        let index = RangeIndex::new(vec![
            vec![0, 1 << 30, 1 << 31],
            vec![0, 0x0a00_0001, 0x0a00_1000, 0x5000_0000, 0xc0a8_0000],
            vec![0, 0x0a00_0100, 0x0a10_0000, 0xc0a8_0001],
        ]);
        let shape = Shape {
            dim: 5,
            layers,
            levels: index.levels(),
        };
        let mut network = Network::new(shape, 1, &[3, 5, 8, 9], index.starts().iter().map(Vec::len));
        for (i, w) in weights(&mut network).enumerate() {
            *w = 0.7 * hash::initial(9, 9, i as u64);
        }
        let mut batch = Batch::default();
        batch.draw(
            &pairs,
            &[2, 20, 3, 1],
            random,
            shuffled,
            &mut sampler::stream(1, Purpose::Negatives, 0),
        );
        (network, index, batch)
    }

    fn weights(network: &mut Network<f64>) -> impl Iterator<Item = &mut f64> {
        let Network {
            entities,
            common,
            ranges,
            dense,
            ..
        } = network;
        entities
            .iter_mut()
            .chain(common)
            .chain(ranges.iter_mut().flatten())
            .chain(dense)
    }

    /// The vector of an address, written out once more.
    fn vector(network: &Network<f64>, index: &RangeIndex, address: u32) -> Vec<f64> {
        let shape = network.shape;
        let mut slots = vec![0; shape.levels];
        index.look_up(address, &mut slots);
        let rows = slots.iter().zip(&network.ranges).map(|(slot, table)| {
            let width = shape.range_width();
            &table[*slot as usize * width..][..width]
        });
        let product = |h: &[f64], weights: Range<usize>, bias: Range<usize>| -> Vec<f64> {
            let mut out = network.dense[bias].to_vec();
            for (h, row) in h.iter().zip(network.dense[weights].chunks(out.len())) {
                out.iter_mut().zip(row).for_each(|(out, w)| *out += h * w);
            }
            out
        };
        if shape.layers == 0 {
            let mut sum = network.dense[shape.output_bias()].to_vec();
            rows.flat_map(|row| row.iter().enumerate())
                .for_each(|(i, w)| sum[i] += w);
            return sum;
        }
        let mut h: Vec<f64> = rows.flatten().map(|w| w.tanh()).collect();
        for layer in 0..shape.hidden() {
            let u = product(&h, shape.hidden_weights(layer), shape.hidden_bias(layer));
            let scale = 1.0 / (shape.hidden() as f64).sqrt();
            h.iter_mut().zip(u).for_each(|(h, u)| *h += scale * u.tanh());
        }
        product(&h, shape.output_weights(), shape.output_bias())
    }

    /// What training minimises, written out pair by pair; with labels that are `smoothing` less than sure.
    fn loss(network: &Network<f64>, index: &RangeIndex, batch: &Batch, smoothing: f64) -> f64 {
        let mut sum = 0.0;
        for group in &batch.groups {
            let rows = group.rows.len();
            let vectors: Vec<Vec<f64>> = batch.addresses[group.addresses.clone()]
                .iter()
                .map(|address| vector(network, index, *address))
                .collect();
            for i in 0..rows {
                let row = group.rows.start + i;
                let own = network.entity(batch.entities[row]).iter().zip(&network.common);
                let entity: Vec<f64> = own.map(|(own, common)| own + common).collect();
                let others: f64 = (0..rows)
                    .filter(|j| *j != i)
                    .map(|j| f64::from(batch.weights[group.rows.start + j]))
                    .sum();
                for (j, vector) in vectors.iter().enumerate() {
                    let z: f64 = entity.iter().zip(vector).map(|(e, v)| e * v).sum();
                    sum += if j == i {
                        (1.0 - smoothing) * real::cross_entropy(z, true)
                            + smoothing * real::cross_entropy(z, false)
                    } else if j < rows {
                        let weight = f64::from(batch.weights[group.rows.start + j]);
                        batch.shuffled as f64 * weight / others * real::cross_entropy(z, false)
                    } else {
                        batch.random as f64 / (vectors.len() - rows) as f64 * real::cross_entropy(z, false)
                    };
                }
            }
        }
        sum / batch.samples() as f64
    }

    /// The gradient of every weight, in the order of `weights`.
    fn gradient(network: &Network<f64>, index: &RangeIndex, batch: &Batch) -> Vec<f64> {
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
        let mut common = Vec::new();
        workspace.sum_entities(shape, batch, &mut sums, &mut common);
        let mut all = scatter(&sums, network.entities.len());
        all.extend(common);
        for (level, values) in network.ranges.iter().enumerate() {
            let mut sums = RowSums::new(values.len() / shape.range_width());
            workspace.sum_ranges(shape, level, &mut sums);
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
                let loss = loss(&network, &index, &batch, SMOOTHING);
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
            let fresh = Network::<f64>::new(
                network.shape,
                1,
                &[3, 5, 8, 9],
                index.starts().iter().map(Vec::len),
            );
            let outcome = Workspace::default().gradients(&fresh, &index, &batch, &Executor::Here);
            let loss = outcome.loss / outcome.samples as f64;
            // The service's own first batches lie between 0.69317 and 0.69348.
            assert!(
                (loss - std::f64::consts::LN_2).abs() < 1e-4,
                "{layers} layers: {loss}"
            );
        }
    }

    #[test]
    fn reported_loss_is_that_of_plain_labels() {
        for (layers, random, shuffled) in [(0, 1, 1), (1, 5, 2), (3, 0, 1), (1, 2, 0)] {
            let (network, index, batch) = setup(layers, random, shuffled);
            let outcome = Workspace::default().gradients(&network, &index, &batch, &Executor::Here);
            assert_eq!(outcome.samples, batch.samples() as u64);
            let got = outcome.loss / outcome.samples as f64;
            let want = loss(&network, &index, &batch, 0.0);
            assert!((got - want).abs() < 1e-12, "{got} instead of {want}");
        }
    }

    /// One row, one random negative, no layers, one range: every number by hand.
    #[test]
    fn loss_and_gradient_by_hand() {
        let index = RangeIndex::new(vec![vec![0, 1 << 31]]);
        let shape = Shape {
            dim: 2,
            layers: 0,
            levels: 1,
        };
        let network = Network {
            shape,
            entities: vec![0.75, 2.0],
            common: vec![0.25, 0.0],
            ranges: vec![vec![0.5, 0.25, 0.0, 0.0]],
            dense: vec![-1.0, 0.5],
        };
        let batch = Batch {
            rows: 1,
            random: 1,
            shuffled: 0,
            entities: vec![0],
            weights: vec![1.0],
            addresses: vec![0, 1 << 31],
            groups: vec![Group {
                rows: 0..1,
                addresses: 0..2,
            }],
        };
        // Scores: (1, 2) (-0.5, 0.75) = 1 and (1, 2) (-1, 0.5) = 0.
        let outcome = Workspace::default().gradients(&network, &index, &batch, &Executor::Here);
        let want = (-1.0_f64).exp().ln_1p() + 2.0_f64.ln();
        assert!((outcome.loss - want).abs() < 1e-15);
        // A score of 0 is not above 0, which is right for a negative.
        assert_eq!((outcome.correct, outcome.samples), (2, 2));
        let (down, up) = ((real::sigmoid(1.0) - 0.8) / 2.0, 0.25);
        let entity = [down * -0.5 - up, down * 0.75 + up * 0.5];
        let want = [
            // The entity: both vectors. What is common: the same.
            entity[0],
            entity[1],
            entity[0],
            entity[1],
            // The ranges: each its own sample. The bias: both.
            down,
            down * 2.0,
            up,
            up * 2.0,
            down + up,
            (down + up) * 2.0,
        ];
        for (got, want) in gradient(&network, &index, &batch).iter().zip(want) {
            assert!((got - want).abs() < 1e-15, "{got} instead of {want}");
        }
    }

    #[test]
    fn threads_do_not_change_the_sum() {
        // Enough rows for several pieces.
        let pairs: Vec<Pair> = (0..400_u32)
            .map(|i| Pair {
                entity: i % 7,
                address: hash::mix(u64::from(i % 90)) as u32,
            })
            .collect();
        let index = RangeIndex::of_addresses(pairs.iter().map(|p| p.address));
        let shape = Shape {
            dim: 9,
            layers: 2,
            levels: index.levels(),
        };
        let mut batch = Batch::default();
        batch.draw(
            &pairs,
            &[1; 7],
            1,
            1,
            &mut sampler::stream(1, Purpose::Negatives, 0),
        );
        assert!(batch.groups.len() > 3);
        let train = |executor: &Executor| {
            let mut network = Network::<f32>::new(
                shape,
                1,
                &[0, 1, 2, 3, 4, 5, 6],
                index.starts().iter().map(Vec::len),
            );
            let mut trainer = Trainer::new(&network, 0.01, 0.001, 5);
            let outcomes: Vec<Outcome> = (0..5)
                .map(|_| trainer.step(&mut network, &index, &batch, executor))
                .collect();
            (network, outcomes)
        };
        let alone = train(&Executor::Here);
        assert!(alone.1[4].loss < alone.1[0].loss);
        for threads in [2, 3, 4] {
            assert_eq!(
                alone,
                train(&Executor::new(threads).unwrap()),
                "{threads} threads"
            );
        }
    }

    /// Part of a step on every vector unit, down to the bits of every gradient.
    #[test]
    fn vector_units_do_not_change_a_bit() {
        for layers in [0, 1, 3] {
            let (_, index, batch) = setup(layers, 5, 1);
            let shape = Shape {
                dim: 37,
                layers,
                levels: index.levels(),
            };
            let mut network =
                Network::<f32>::new(shape, 1, &[3, 5, 8, 9], index.starts().iter().map(Vec::len));
            for (i, w) in network.entities.iter_mut().chain(&mut network.dense).enumerate() {
                *w = hash::initial(9, 9, i as u64) as f32;
            }
            let mut transposed = Transposed::default();
            transposed.take(&network);
            let on = |unit| {
                let mut piece = Piece::default();
                let addresses = batch.addresses.len();
                let mut slots = vec![0; addresses * shape.levels];
                let mut x = vec![0.0; addresses * stride(shape)];
                let mut de = vec![0.0; batch.rows * shape.dim];
                let part = Part {
                    network: &network,
                    index: &index,
                    batch: &batch,
                    transposed: &transposed,
                    groups: &batch.groups,
                    slots: &mut slots,
                    x: &mut x,
                    de: &mut de,
                    piece: &mut piece,
                };
                vector::run_on(unit, part);
                (x, de, piece.dense, piece.total)
            };
            let portable = on(vector::Unit::Portable);
            for unit in vector::Unit::ALL {
                assert!(on(unit) == portable, "{unit:?}, {layers} layers");
            }
        }
    }
}
