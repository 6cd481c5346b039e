//! One mini-batch: scores, loss, gradients, and the step they lead to.
//!
//! A mini-batch has three parts. First each level of ranges is looked up, and what it says is computed once for each range
//! that occurs, however many addresses lie in it. Then come the scores, group by group, and back to the gradients of the
//! vectors of entities and addresses. Last, level by level again, the gradient of each range and of the layer's weights
//! for the level is computed, and Adam's step taken.
//!
//! Each part is cut into pieces whose number follows from the batch and the model alone. Each piece writes only what is its
//! own, and whatever crosses pieces is added up in their order, so one thread and many give the same bits.

use std::ops::Range;

use crate::adam::{Moments, Schedule, Step};
use crate::encoder::{NOTHING, RangeIndex};
use crate::executor::Executor;
use crate::gemm::{self, Matrix};
use crate::network::{Layer, Network, RANGE_WIDTH, Scratch, Shape};
use crate::real::{self, Real};
use crate::sampler::{Batch, Group};
use crate::vector::{self, Work};

/// Pieces of groups at most.
const MAX_PIECES: usize = 16;

/// Groups that go through residual layers at once, forth and back: as many as the service's tutorial has in a mini-batch. Their number bounds
/// the memory that activations take.
const GROUPS_AT_ONCE: usize = 4;

/// What training does differently where there are few addresses and where there are many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Regime {
    /// Most ranges are networks, and most networks hold a single training row.
    Few,
    /// Ranges hold many training rows each.
    Many,
}

impl Regime {
    /// How sure the model is meant to be of an observed row: its label is 1 less this. Without it the scores of an entity's
    /// own networks grow as long as training lasts, and with them, as a vector has only so many dimensions, the noise in the
    /// scores of all other networks. With it they end near `ln(1 / smoothing - 1)`: of many addresses 1.4; of few, whose
    /// training is over before scores grow, 2.2. Odds of other pairs, which are rarely observed, hardly change.
    fn smoothing(self) -> f64 {
        match self {
            Self::Few => 0.1,
            Self::Many => 0.2,
        }
    }

    /// The moments of a table of ranges. Of few addresses its rows share the second moment, where nothing but a sum comes after
    /// them: through residual layers the gradients of the first steps are too small for it.
    fn moments<T: Real>(self, shape: Shape, weights: usize) -> Moments<T> {
        match self {
            Self::Few if shape.is_sum() => Moments::shared(weights),
            _ => Moments::new(weights),
        }
    }
}

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
    /// By address: the piece of the address space that it lies in.
    pieces_of: Vec<u32>,
    levels: Vec<Level<T>>,
    /// By address, with residual layers: their input, then the gradient of its range rows.
    x: Vec<T>,
    /// By address: the gradient of its vector.
    dy: Vec<T>,
    /// By row: the gradient of its entity.
    de: Vec<T>,
    pieces: Vec<Piece<T>>,
    /// The gradient of the layers, or of the bias where the rest belongs to the levels.
    dense: Vec<T>,
}

/// What a mini-batch meets of one level.
#[derive(Debug, Default)]
struct Level<T> {
    met: Met,
    /// By place: what goes into the layers; and what it adds to an address's vector, where that is a sum.
    inputs: Vec<T>,
    vectors: Vec<T>,
    /// By place: the gradient of the vector, and of the range's row where that is another.
    gradient: Vec<T>,
    rows: Vec<T>,
    /// The layer's weights for the level turned round, and their gradient.
    turned: Vec<T>,
    dense: Vec<T>,
}

/// The ranges of a level that occur in a mini-batch.
#[derive(Debug, Default)]
struct Met {
    /// By slot: 1 + its place among those met, or 0.
    places: Vec<u32>,
    /// By place: the slot.
    slots: Vec<u32>,
    /// By address: the place of its range, or [`NOTHING`].
    of_address: Vec<u32>,
}

impl Met {
    fn look_up<T: Real>(&mut self, network: &Network<T>, index: &RangeIndex, level: usize, pieces: &[u32]) {
        self.places.resize(index.cuts()[level].table(), 0);
        for slot in self.slots.drain(..) {
            self.places[slot as usize] = 0;
        }
        self.of_address.clear();
        for piece in pieces {
            let slot = index.row(level, *piece);
            if slot == NOTHING {
                self.of_address.push(NOTHING);
                continue;
            }
            let place = &mut self.places[slot as usize];
            if *place == 0 {
                vector::prefetch(network.range(level, slot));
                self.slots.push(slot);
                *place = self.slots.len() as u32;
            }
            self.of_address.push(*place - 1);
        }
    }

    /// The part of an address in a list that has `width` numbers for each range.
    #[inline(always)]
    fn part(&self, address: usize, width: usize) -> Option<Range<usize>> {
        let place = self.of_address[address];
        (place != NOTHING).then(|| place as usize * width..(place as usize + 1) * width)
    }

    fn slots(&self) -> impl ExactSizeIterator<Item = u32> + '_ {
        self.slots.iter().copied()
    }
}

/// What one piece of groups has for itself.
#[derive(Debug, Default)]
struct Piece<T> {
    scratch: Scratch<T>,
    /// By address of a group: its vector; and the vectors turned round.
    y: Vec<T>,
    turned: Vec<T>,
    /// By row of a group: its entity's vector.
    e: Vec<T>,
    /// By row and address of a group: the score, then its gradient.
    z: Vec<T>,
    /// By address of a group: what it weighs as a negative; the loss; the right answers.
    weights: Vec<T>,
    loss: Vec<T>,
    correct: Vec<T>,
    /// The piece's part of the gradient of the bias, where the rest belongs to the levels.
    bias: Vec<T>,
    /// Loss and right answers of the piece.
    total: [f64; 2],
}

impl<T: Real> Workspace<T> {
    /// Computes the gradients of the vectors of entities and addresses, and with residual layers those of the layers, of
    /// the mean loss.
    fn gradients(
        &mut self,
        network: &Network<T>,
        index: &RangeIndex,
        batch: &Batch,
        smoothing: f64,
        executor: &Executor,
    ) -> Outcome {
        let shape = network.shape;
        self.pieces_of.clear();
        let pieces = batch.addresses.iter().map(|address| index.piece(*address));
        self.pieces_of.extend(pieces);
        self.levels.resize_with(shape.levels, Level::default);
        // The fine levels, whose ranges are many, first.
        let levels = self.levels.iter_mut().enumerate().rev();
        let look = levels.map(|(number, level)| Look {
            network,
            index,
            pieces: &self.pieces_of,
            number,
            level,
        });
        for_each(executor, batch, look.collect());
        let stride = if shape.is_sum() { 0 } else { shape.inputs() };
        self.x.resize(batch.addresses.len() * stride, T::ZERO);
        self.dy.resize(batch.addresses.len() * shape.dim, T::ZERO);
        self.de.resize(batch.rows * shape.dim, T::ZERO);
        self.dense.clear();
        self.dense
            .resize(if shape.is_sum() { shape.dim } else { shape.dense() }, T::ZERO);
        // Activations of all layers are kept for as many addresses as there are in some groups.
        let at_once = if shape.is_sum() {
            usize::MAX
        } else {
            GROUPS_AT_ONCE
        };
        let mut total = [0.0; 2];
        for groups in batch.groups.chunks(at_once) {
            self.group_gradients(network, batch, groups, smoothing, executor);
            // In the order of the pieces.
            for piece in &self.pieces {
                total = [total[0] + piece.total[0], total[1] + piece.total[1]];
                if shape.is_sum() {
                    real::add(&mut self.dense, &piece.bias);
                }
            }
            if !shape.is_sum() {
                let layers = Layer::parts(shape, &mut self.dense).map(|(layer, dense)| LayerGradient {
                    shape,
                    layer,
                    groups,
                    dy: &self.dy,
                    pieces: &self.pieces,
                    dense,
                });
                for_each(executor, batch, layers.collect());
            }
        }
        Outcome {
            loss: total[0],
            correct: total[1].round() as u64,
            samples: batch.samples() as u64,
        }
    }

    /// Computes the gradients of the vectors in these groups, which stand one after the other; with residual layers each group has a
    /// piece of its own, which keeps what the gradients of the layers are made of.
    fn group_gradients(
        &mut self,
        network: &Network<T>,
        batch: &Batch,
        groups: &[Group],
        smoothing: f64,
        executor: &Executor,
    ) {
        let shape = network.shape;
        let stride = if shape.is_sum() { 0 } else { shape.inputs() };
        let count = groups.len().clamp(1, MAX_PIECES);
        self.pieces.resize_with(count, Piece::default);
        let mut work = Vec::with_capacity(count);
        let start = groups
            .first()
            .map_or([0, 0], |group| [group.rows.start, group.addresses.start]);
        let [row, address] = start;
        let mut x = &mut self.x[address * stride..];
        let mut dy = &mut self.dy[address * shape.dim..];
        let mut de = &mut self.de[row * shape.dim..];
        for (i, piece) in self.pieces.iter_mut().enumerate() {
            let groups = &groups[groups.len() * i / count..groups.len() * (i + 1) / count];
            let addresses: usize = groups.iter().map(|group| group.addresses.len()).sum();
            let rows: usize = groups.iter().map(|group| group.rows.len()).sum();
            work.push(Part {
                network,
                batch,
                smoothing,
                levels: &self.levels,
                groups,
                x: take(&mut x, addresses * stride),
                dy: take(&mut dy, addresses * shape.dim),
                de: take(&mut de, rows * shape.dim),
                piece,
            });
        }
        for_each(executor, batch, work);
    }
}

/// On several threads where there is something for each to do: a small batch is done before a second one would wake up.
fn for_each<W: Work<Output = ()> + Send>(executor: &Executor, batch: &Batch, work: Vec<W>) {
    if batch.groups.len() > 1 {
        executor.for_each(work, vector::run);
    } else {
        work.into_iter().for_each(vector::run);
    }
}

/// Splits off the first `n`.
fn take<'a, T>(rest: &mut &'a mut [T], n: usize) -> &'a mut [T] {
    let (first, others) = std::mem::take(rest).split_at_mut(n);
    *rest = others;
    first
}

/// Looks up one level.
struct Look<'a, T: Real> {
    network: &'a Network<T>,
    index: &'a RangeIndex,
    pieces: &'a [u32],
    number: usize,
    level: &'a mut Level<T>,
}

impl<T: Real> Work for Look<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let (network, number) = (self.network, self.number);
        let Level {
            met, inputs, vectors, ..
        } = self.level;
        met.look_up(network, self.index, number, self.pieces);
        if network.shape.layers > 0 {
            network.inputs(number, met.slots(), inputs);
        }
        if network.shape.is_sum() {
            network.vectors(number, met.slots(), inputs, vectors);
        }
    }
}

/// The gradient of one of the layers, from some groups.
struct LayerGradient<'a, T: Real> {
    shape: Shape,
    layer: Layer,
    groups: &'a [Group],
    dy: &'a [T],
    /// One for each group.
    pieces: &'a [Piece<T>],
    /// The layer's part.
    dense: &'a mut [T],
}

impl<T: Real> Work for LayerGradient<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let dim = self.shape.dim;
        for (group, piece) in self.groups.iter().zip(self.pieces) {
            let dy = &self.dy[group.addresses.start * dim..group.addresses.end * dim];
            self.layer
                .differentiate(self.shape, dy, &piece.scratch, self.dense);
        }
    }
}

/// What one piece works on: some groups, and their part of the buffers.
struct Part<'a, T: Real> {
    network: &'a Network<T>,
    batch: &'a Batch,
    smoothing: f64,
    levels: &'a [Level<T>],
    groups: &'a [Group],
    x: &'a mut [T],
    dy: &'a mut [T],
    de: &'a mut [T],
    piece: &'a mut Piece<T>,
}

impl<T: Real> Work for Part<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(mut self) {
        let shape = self.network.shape;
        let stride = if shape.is_sum() { 0 } else { shape.inputs() };
        self.piece.total = [0.0; 2];
        self.piece.bias.clear();
        self.piece.bias.resize(shape.dim, T::ZERO);
        let groups = self.groups;
        for group in groups {
            let addresses = group.addresses.len();
            let x = take(&mut self.x, addresses * stride);
            let dy = take(&mut self.dy, addresses * shape.dim);
            let de = take(&mut self.de, group.rows.len() * shape.dim);
            self.encode(group, x);
            self.score(group, dy, de);
            if shape.is_sum() {
                for dy in dy.chunks_exact(shape.dim) {
                    real::add(&mut self.piece.bias, dy);
                }
            } else {
                self.network.backward(x, dy, &mut self.piece.scratch);
            }
        }
    }
}

impl<T: Real> Part<'_, T> {
    /// The vectors of the group's addresses.
    #[inline(always)]
    fn encode(&mut self, group: &Group, x: &mut [T]) {
        let (network, shape) = (self.network, self.network.shape);
        let Piece { y, scratch, .. } = &mut *self.piece;
        y.resize(group.addresses.len() * shape.dim, T::ZERO);
        if shape.is_sum() {
            let bias = &network.dense[shape.output_bias()];
            for (address, y) in group.addresses.clone().zip(y.chunks_exact_mut(shape.dim)) {
                let parts = self.levels.iter().filter_map(|level| {
                    let part = level.met.part(address, shape.dim)?;
                    Some(&level.vectors[part])
                });
                real::sum(y, bias, parts);
            }
            return;
        }
        for (address, x) in group.addresses.clone().zip(x.chunks_exact_mut(shape.inputs())) {
            for (level, x) in self.levels.iter().zip(x.chunks_exact_mut(RANGE_WIDTH)) {
                match level.met.part(address, RANGE_WIDTH) {
                    Some(part) => x.copy_from_slice(&level.inputs[part]),
                    None => x.fill(T::ZERO),
                }
            }
        }
        network.encode(x, y, scratch);
    }

    /// Scores every entity of the group at every address of it, and takes the gradients back to their vectors.
    #[inline(always)]
    fn score(&mut self, group: &Group, dy: &mut [T], de: &mut [T]) {
        let (network, batch, shape) = (self.network, self.batch, self.network.shape);
        let (rows, addresses) = (group.rows.len(), group.addresses.len());
        let Piece {
            y,
            turned,
            e,
            z,
            weights,
            loss,
            correct,
            total,
            ..
        } = &mut *self.piece;
        e.clear();
        for slot in &batch.entities[group.rows.clone()] {
            e.extend_from_slice(network.entity(*slot));
        }
        for e in e.chunks_exact_mut(shape.dim) {
            real::add(e, &network.common);
        }
        let columns = addresses.next_multiple_of(LANES);
        turned.resize(shape.dim * columns, T::ZERO);
        gemm::transpose([addresses, shape.dim], y, turned, columns);
        // Columns of no address; they weigh nothing.
        for turned in turned.chunks_exact_mut(columns) {
            turned[addresses..].fill(T::ZERO);
        }
        z.resize(rows * columns, T::ZERO);
        gemm::multiply(
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
        let smoothing = T::from_f64(self.smoothing);
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
            z[i] = (smoothing - miss) * scale;
        }
        for (loss, correct) in loss.iter().zip(&*correct) {
            *total = [total[0] + loss.to_f64(), total[1] + correct.to_f64()];
        }

        gemm::multiply(
            [rows, shape.dim, addresses],
            Matrix::rows(z, columns),
            (y, shape.dim),
            (de, shape.dim),
        );
        gemm::multiply(
            [addresses, shape.dim, rows],
            Matrix::transposed(z, columns),
            (e, shape.dim),
            (dy, shape.dim),
        );
    }
}

impl<T: Real> Level<T> {
    /// From the gradients by address to those of the level's ranges, and of the layer's weights for it where the layer
    /// comes right after.
    #[inline(always)]
    fn differentiate(&mut self, shape: Shape, number: usize, weights: &[T], x: &[T], dy: &[T]) {
        let Self {
            met,
            inputs,
            gradient,
            rows,
            turned,
            dense,
            ..
        } = self;
        let (source, stride, offset, width) = if shape.is_sum() {
            (dy, shape.dim, 0, shape.dim)
        } else {
            (x, shape.inputs(), number * RANGE_WIDTH, RANGE_WIDTH)
        };
        let (count, dim) = (met.slots.len(), shape.dim);
        gradient.clear();
        gradient.reserve(count * width);
        for (address, source) in source.chunks_exact(stride).enumerate() {
            let source = &source[offset..offset + width];
            match met.part(address, width) {
                // Ranges stand in the order in which they are met.
                Some(part) if part.start == gradient.len() => gradient.extend_from_slice(source),
                Some(part) => real::add(&mut gradient[part], source),
                None => {}
            }
        }
        if shape.layers != 1 {
            return;
        }
        dense.resize(RANGE_WIDTH * dim, T::ZERO);
        gemm::multiply(
            [RANGE_WIDTH, dim, count],
            Matrix::transposed(inputs, RANGE_WIDTH),
            (gradient, dim),
            (dense, dim),
        );
        turned.resize(RANGE_WIDTH * dim, T::ZERO);
        gemm::transpose([RANGE_WIDTH, dim], weights, turned, RANGE_WIDTH);
        rows.resize(count * RANGE_WIDTH, T::ZERO);
        gemm::multiply(
            [count, RANGE_WIDTH, dim],
            Matrix::rows(gradient, dim),
            (turned, RANGE_WIDTH),
            (rows, RANGE_WIDTH),
        );
        for (row, x) in rows.iter_mut().zip(inputs) {
            *row = *row * (T::ONE - *x * *x);
        }
    }

    /// By place, the gradient of the range's row.
    fn gradients(&self, shape: Shape) -> &[T] {
        if shape.layers == 1 {
            &self.rows
        } else {
            &self.gradient
        }
    }
}

/// The gradient of each entity in a mini-batch, and of what they have in common.
#[derive(Debug, Default)]
struct EntitySums<T> {
    /// By slot: 1 + its place among the touched rows, or 0.
    places: Vec<u32>,
    touched: Vec<u32>,
    sums: Vec<T>,
    common: Vec<T>,
}

impl<T: Real> EntitySums<T> {
    #[inline(always)]
    fn take(&mut self, dim: usize, entities: &[u32], de: &[T]) {
        for slot in self.touched.drain(..) {
            self.places[slot as usize] = 0;
        }
        self.sums.clear();
        self.common.clear();
        self.common.resize(dim, T::ZERO);
        for (slot, de) in entities.iter().zip(de.chunks_exact(dim)) {
            real::add(&mut self.common, de);
            let place = &mut self.places[*slot as usize];
            if *place == 0 {
                self.touched.push(*slot);
                *place = self.touched.len() as u32;
                self.sums.extend_from_slice(de);
            } else {
                let start = (*place as usize - 1) * dim;
                real::add(&mut self.sums[start..start + dim], de);
            }
        }
    }
}

/// Adam's moments and buffers: everything that training carries from batch to batch beside the weights.
pub(crate) struct Trainer<T> {
    schedule: Schedule,
    /// Labels of observed rows are 1 less this.
    smoothing: f64,
    workspace: Workspace<T>,
    entities: Moments<T>,
    sums: EntitySums<T>,
    common: Moments<T>,
    ranges: Vec<Moments<T>>,
    dense: Moments<T>,
}

impl<T: Real> Trainer<T> {
    pub(crate) fn new(network: &Network<T>, schedule: Schedule, regime: Regime) -> Self {
        let dim = network.shape.dim;
        Self {
            schedule,
            smoothing: regime.smoothing(),
            workspace: Workspace::default(),
            entities: Moments::new(network.entities.len()),
            sums: EntitySums {
                places: vec![0; network.entities.len() / dim],
                ..EntitySums::default()
            },
            common: Moments::new(dim),
            ranges: network
                .ranges
                .iter()
                .map(|table| regime.moments(network.shape, table.len()))
                .collect(),
            dense: Moments::new(network.dense.len()),
        }
    }

    /// All that the next step needs beside the weights and its batch, for a checkpoint: numbers, and tensors by name.
    pub(crate) fn state(&mut self) -> (&mut [f64], Vec<(String, &mut [T])>) {
        let mut moments = vec![
            ("dense".to_owned(), &mut self.dense),
            ("entity".to_owned(), &mut self.entities),
            ("common".to_owned(), &mut self.common),
        ];
        for (level, ranges) in self.ranges.iter_mut().enumerate() {
            moments.push((format!("range.{level}"), ranges));
        }
        let tensors = moments
            .into_iter()
            .flat_map(|(name, Moments { first, second, .. })| {
                [
                    (format!("{name}.first"), &mut first[..]),
                    (format!("{name}.second"), &mut second[..]),
                ]
            });
        (&mut self.schedule.standing, tensors.collect())
    }

    /// Takes one step of Adam on the batch. Rows that are not in the batch are left as they are: no momentum, no decay.
    pub(crate) fn step(
        &mut self,
        network: &mut Network<T>,
        index: &RangeIndex,
        batch: &Batch,
        executor: &Executor,
    ) -> Outcome {
        let outcome = self
            .workspace
            .gradients(network, index, batch, self.smoothing, executor);
        let step = self.schedule.next();
        let shape = network.shape;
        let Workspace {
            levels,
            x,
            dy,
            de,
            dense,
            ..
        } = &mut self.workspace;
        let (x, dy, de) = (&x[..], &dy[..], &de[..]);
        // With one layer its weights go with the levels; else all layers are one piece.
        let of_levels = if shape.layers == 1 {
            shape.output_weights().end
        } else {
            0
        };
        let (weights, rest_weights) = network.dense.split_at_mut(of_levels);
        let (first, rest_first) = self.dense.first.split_at_mut(of_levels);
        let (second, rest_second) = self.dense.second.split_at_mut(of_levels);
        let size = RANGE_WIDTH * shape.dim;
        let mut weights = weights.chunks_exact_mut(size);
        let mut first = first.chunks_exact_mut(size);
        let mut second = second.chunks_exact_mut(size);
        let mut work = Vec::with_capacity(shape.levels + 2);
        let tables = self.ranges.iter_mut().zip(&mut network.ranges);
        for (number, (level, (moments, table))) in levels.iter_mut().zip(tables).enumerate() {
            let layer = Dense {
                weights: weights.next().unwrap_or_default(),
                first: first.next().unwrap_or_default(),
                second: second.next().unwrap_or_default(),
            };
            work.push(Update::Level {
                shape,
                step,
                number,
                level,
                x,
                dy,
                moments,
                table,
                layer,
            });
        }
        // The fine levels, whose rows are many, first.
        work.reverse();
        work.push(Update::Entities {
            step,
            entities: &batch.entities,
            de,
            sums: &mut self.sums,
            moments: &mut self.entities,
            weights: &mut network.entities,
            common: (&mut self.common, &mut network.common),
        });
        work.push(Update::Dense {
            step,
            layers: Dense {
                weights: rest_weights,
                first: rest_first,
                second: rest_second,
            },
            gradient: dense,
        });
        for_each(executor, batch, work);
        outcome
    }
}

/// Weights of the layers with their moments.
struct Dense<'a, T> {
    weights: &'a mut [T],
    first: &'a mut [T],
    second: &'a mut [T],
}

/// One piece of a step.
enum Update<'a, T: Real> {
    Level {
        shape: Shape,
        step: Step<T>,
        number: usize,
        level: &'a mut Level<T>,
        x: &'a [T],
        dy: &'a [T],
        moments: &'a mut Moments<T>,
        table: &'a mut [T],
        /// Empty where the layers are not the level's.
        layer: Dense<'a, T>,
    },
    Entities {
        step: Step<T>,
        entities: &'a [u32],
        de: &'a [T],
        sums: &'a mut EntitySums<T>,
        moments: &'a mut Moments<T>,
        weights: &'a mut [T],
        common: (&'a mut Moments<T>, &'a mut [T]),
    },
    Dense {
        step: Step<T>,
        layers: Dense<'a, T>,
        gradient: &'a [T],
    },
}

impl<T: Real> Work for Update<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        match self {
            Update::Level {
                shape,
                step,
                number,
                level,
                x,
                dy,
                moments,
                table,
                layer,
            } => {
                level.differentiate(shape, number, layer.weights, x, dy);
                let (width, slots) = (shape.range_width(), &level.met.slots);
                moments.move_rows(step, width, table, slots, level.gradients(shape));
                step.apply(layer.weights, layer.first, layer.second, &level.dense);
            }
            Update::Entities {
                step,
                entities,
                de,
                sums,
                moments,
                weights,
                common,
            } => {
                let dim = common.1.len();
                sums.take(dim, entities, de);
                moments.move_rows(step, dim, weights, &sums.touched, &sums.sums);
                common.0.apply(step, common.1, &sums.common);
            }
            Update::Dense {
                step,
                layers,
                gradient,
            } => step.apply(layers.weights, layers.first, layers.second, gradient),
        }
    }
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::dataset::Pair;
    use crate::encoder::{AddressSample, Cut};
    use crate::hash;
    use crate::sampler::{self, Purpose};

    const SMOOTHING: f64 = 0.2;

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
        let cuts = [
            vec![0, 1 << 30, 1 << 31],
            vec![0, 0x0a00_0001, 0x0a00_1000, 0x5000_0000, 0xc0a8_0000],
            vec![0, 0x0a00_0100, 0x0a10_0000, 0xc0a8_0001],
        ];
        let mut cuts = cuts.map(Cut::new);
        // Two ranges that share a row, and one that has none.
        cuts[1].rows = vec![0, 1, 0, 2, 3];
        cuts[2].rows = vec![0, 1, NOTHING, 2];
        let index = RangeIndex::new(cuts.into());
        let shape = Shape {
            dim: 5,
            layers,
            levels: index.levels(),
        };
        let mut network = Network::new(shape, 1, &[3, 5, 8, 9], index.tables());
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
            .chain(ranges.iter_mut().flat_map(|table| table.iter_mut()))
            .chain(dense)
    }

    /// The vector of an address, written out once more.
    fn vector(network: &Network<f64>, index: &RangeIndex, address: u32) -> Vec<f64> {
        let shape = network.shape;
        let nothing = vec![0.0; shape.range_width()];
        let rows = network.ranges.iter().enumerate().map(|(level, table)| {
            let width = shape.range_width();
            match index.row(level, index.piece(address)) {
                NOTHING => &nothing[..],
                row => &table[row as usize * width..][..width],
            }
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
        workspace.gradients(network, index, batch, SMOOTHING, &Executor::Here);
        let shape = network.shape;
        let mut all = vec![0.0; network.entities.len()];
        let scatter = |all: &mut [f64], slot: u32, gradient: &[f64]| {
            all[slot as usize * gradient.len()..][..gradient.len()].copy_from_slice(gradient);
        };
        let mut sums = EntitySums {
            places: vec![0; network.entities.len() / shape.dim],
            ..EntitySums::default()
        };
        sums.take(shape.dim, &batch.entities, &workspace.de);
        for (slot, gradient) in sums.touched.iter().zip(sums.sums.chunks(shape.dim)) {
            scatter(&mut all, *slot, gradient);
        }
        all.extend(&sums.common);
        let Workspace { levels, x, dy, .. } = &mut workspace;
        let mut dense: Vec<f64> = Vec::new();
        for (number, (level, table)) in levels.iter_mut().zip(&network.ranges).enumerate() {
            let weights = match shape.layers {
                1 => &network.dense[shape.level_weights(number)],
                _ => &[],
            };
            level.differentiate(shape, number, weights, x, dy);
            let mut rows = vec![0.0; table.len()];
            let gradients = level.gradients(shape).chunks(shape.range_width());
            for (slot, gradient) in level.met.slots().zip(gradients) {
                scatter(&mut rows, slot, gradient);
            }
            all.extend(rows);
            dense.extend(&level.dense);
        }
        all.extend(dense);
        all.extend(&workspace.dense);
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
            let fresh = Network::<f64>::new(network.shape, 1, &[3, 5, 8, 9], index.tables());
            let outcome = Workspace::default().gradients(&fresh, &index, &batch, SMOOTHING, &Executor::Here);
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
            let outcome =
                Workspace::default().gradients(&network, &index, &batch, SMOOTHING, &Executor::Here);
            assert_eq!(outcome.samples, batch.samples() as u64);
            let got = outcome.loss / outcome.samples as f64;
            let want = loss(&network, &index, &batch, 0.0);
            assert!((got - want).abs() < 1e-12, "{got} instead of {want}");
        }
    }

    /// One row, one random negative, no layers, one range: every number by hand.
    #[test]
    fn loss_and_gradient_by_hand() {
        let index = RangeIndex::new(vec![Cut::new(vec![0, 1 << 31])]);
        let shape = Shape {
            dim: 2,
            layers: 0,
            levels: 1,
        };
        let network = Network {
            shape,
            entities: vec![0.75, 2.0].into(),
            common: vec![0.25, 0.0],
            ranges: vec![vec![0.5, 0.25, 0.0, 0.0].into()],
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
        let outcome = Workspace::default().gradients(&network, &index, &batch, SMOOTHING, &Executor::Here);
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
        let mut sample = AddressSample::new(1);
        pairs.iter().for_each(|pair| sample.add(pair.address));
        let index = sample.index();
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
        let train = |regime, executor: &Executor| {
            let mut network = Network::<f32>::new(shape, 1, &[0, 1, 2, 3, 4, 5, 6], index.tables());
            let mut trainer = Trainer::new(&network, Schedule::new(0.01, 0.001, 5), regime);
            let outcomes: Vec<Outcome> = (0..5)
                .map(|_| trainer.step(&mut network, &index, &batch, executor))
                .collect();
            (network, outcomes)
        };
        for regime in [Regime::Few, Regime::Many] {
            let alone = train(regime, &Executor::Here);
            assert!(alone.1[4].loss < alone.1[0].loss);
            for threads in [2, 3, 4] {
                let executor = Executor::new(threads).unwrap();
                assert_eq!(alone, train(regime, &executor), "{threads} threads, {regime:?}");
            }
        }
    }

    /// A step on every vector unit, down to the bits of every weight and moment.
    #[test]
    fn vector_units_do_not_change_a_bit() {
        let few_and_many = [Regime::Few, Regime::Many];
        for (layers, regime) in [0, 1, 3]
            .into_iter()
            .flat_map(|n| few_and_many.map(|regime| (n, regime)))
        {
            let (_, index, batch) = setup(layers, 5, 1);
            let shape = Shape {
                dim: 37,
                layers,
                levels: index.levels(),
            };
            let on = |unit| {
                let mut network = Network::<f32>::new(shape, 1, &[3, 5, 8, 9], index.tables());
                for (i, w) in network.entities.iter_mut().chain(&mut network.dense).enumerate() {
                    *w = hash::initial(9, 9, i as u64) as f32;
                }
                let mut trainer = Trainer::new(&network, Schedule::new(0.01, 0.001, 3), regime);
                let outcomes: Vec<Outcome> = vector::with_unit(unit, || {
                    (0..3)
                        .map(|_| trainer.step(&mut network, &index, &batch, &Executor::Here))
                        .collect()
                });
                let (numbers, tensors) = trainer.state();
                let tensors: Vec<Vec<f32>> = tensors.into_iter().map(|(_, t)| t.to_vec()).collect();
                (outcomes, network, numbers.to_vec(), tensors)
            };
            let portable = on(vector::Unit::Portable);
            for unit in vector::Unit::ALL {
                assert!(on(unit) == portable, "{unit:?}, {layers} layers, {regime:?}");
            }
        }
    }
}
