//! The model's weights, and what they make of an address.
//!
//! An address lies in one range of each level, and each range has a row in its level's table. With `num_ip_encoder_layers` of
//!
//! - 0, the rows are `vector_dim` wide, and their sum plus a bias is the address's vector;
//! - 1, the rows side by side, through tanh, go through one linear layer to `vector_dim`;
//! - n, n - 1 residual layers `h + tanh(h W + b) / sqrt(n - 1)` stand between the two. The identity in them carries the
//!   gradient through a hundred layers, and the factor keeps the sum from growing with their number.
//!
//! An entity's vector is its own row plus one that all entities have in common: what is known of entities at large, from
//! which each one only has to learn how it differs. The score is the dot product of the two vectors: no bias, nothing after
//! the last linear layer.

use std::ops::Range;

use crate::gemm::{self, Matrix};
use crate::real::Real;
use crate::weights::{self, Weights};
use crate::{hash, real};

/// Width of a row of a range table, where there is a layer behind it.
pub(crate) const RANGE_WIDTH: usize = 32;

/// The sizes that decide which weight is where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    /// `vector_dim`.
    pub(crate) dim: usize,
    /// `num_ip_encoder_layers`.
    pub(crate) layers: usize,
    /// Cuts of the address space.
    pub(crate) levels: usize,
}

impl Shape {
    /// Numbers in a row of a range table.
    pub(crate) fn range_width(self) -> usize {
        if self.layers == 0 { self.dim } else { RANGE_WIDTH }
    }

    /// Numbers that enter the first layer; 0 where there is none.
    pub(crate) fn inputs(self) -> usize {
        if self.layers == 0 {
            0
        } else {
            self.levels * RANGE_WIDTH
        }
    }

    /// The residual layers.
    pub(crate) fn hidden(self) -> usize {
        self.layers.saturating_sub(1)
    }

    /// Whether the vector of an address is the sum of what each of its ranges adds: without residual layers. What a range
    /// adds is then computed once, however many addresses lie in it.
    pub(crate) fn is_sum(self) -> bool {
        self.layers <= 1
    }

    /// What a residual layer's tanh is multiplied by.
    fn hidden_scale<T: Real>(self) -> T {
        T::from_f64(1.0 / (self.hidden().max(1) as f64).sqrt())
    }

    /// The last layer's weights among the dense ones: `inputs` rows of `dim`.
    pub(crate) fn output_weights(self) -> Range<usize> {
        0..self.inputs() * self.dim
    }

    /// The part of the last layer's weights that a level's inputs meet, where they go straight into it.
    pub(crate) fn level_weights(self, level: usize) -> Range<usize> {
        let size = RANGE_WIDTH * self.dim;
        level * size..(level + 1) * size
    }

    pub(crate) fn output_bias(self) -> Range<usize> {
        let start = self.output_weights().end;
        start..start + self.dim
    }

    /// A residual layer's weights: `inputs` rows of `inputs`.
    pub(crate) fn hidden_weights(self, layer: usize) -> Range<usize> {
        let inputs = self.inputs();
        let start = self.output_bias().end + layer * (inputs * inputs + inputs);
        start..start + inputs * inputs
    }

    pub(crate) fn hidden_bias(self, layer: usize) -> Range<usize> {
        let start = self.hidden_weights(layer).end;
        start..start + self.inputs()
    }

    /// All weights of the layers.
    pub(crate) fn dense(self) -> usize {
        match self.hidden() {
            0 => self.output_bias().end,
            n => self.hidden_bias(n - 1).end,
        }
    }
}

/// Initial weights lie within these bounds: the first scores are almost 0 and the first loss is ln 2.
const ENTITY_BOUND: f64 = 0.01;
const RANGE_BOUND: f64 = 0.01;

/// All weights.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Network<T: Real> {
    pub(crate) shape: Shape,
    /// The rows of the entities that there are, in ascending order.
    pub(crate) entities: Weights<T>,
    /// What all entities have in common.
    pub(crate) common: Vec<T>,
    /// By level, a row for each range.
    pub(crate) ranges: Vec<Weights<T>>,
    /// The layers, as [`Shape`] lays them out.
    pub(crate) dense: Vec<T>,
}

impl<T: Real> Network<T> {
    /// Untrained weights for the given rows, and by level this many ranges.
    pub(crate) fn new(
        shape: Shape,
        seed: u64,
        entity_rows: &[u32],
        ranges: impl IntoIterator<Item = usize>,
    ) -> Self {
        let mut entities = vec![T::ZERO; entity_rows.len() * shape.dim];
        for (row, values) in entity_rows.iter().zip(entities.chunks_mut(shape.dim)) {
            initial_entity(seed, *row, values);
        }
        let ranges = (1_u64..)
            .zip(ranges)
            .map(|(table, count)| {
                let mut values = vec![T::ZERO; count * shape.range_width()];
                fill(&mut values, seed, table, 0, RANGE_BOUND);
                values.into()
            })
            .collect();
        let mut dense = vec![T::ZERO; shape.dense()];
        // Glorot's bound for the last layer, a tenth of it inside the residual layers, which then begin as almost nothing.
        let inputs = shape.inputs() as f64;
        let output = (6.0 / (inputs + shape.dim as f64)).sqrt();
        fill(&mut dense[shape.output_weights()], seed, 1_000, 0, output);
        for layer in 0..shape.hidden() {
            let bound = 0.1 * (3.0 / inputs).sqrt();
            fill(
                &mut dense[shape.hidden_weights(layer)],
                seed,
                1_001 + layer as u64,
                0,
                bound,
            );
        }
        Self {
            shape,
            entities: entities.into(),
            common: vec![T::ZERO; shape.dim],
            ranges,
            dense,
        }
    }

    /// The number of weights.
    pub(crate) fn len(&self) -> usize {
        let tables = self.ranges.iter().chain([&self.entities]);
        tables.map(|table| table.len()).sum::<usize>() + self.common.len() + self.dense.len()
    }

    /// The own row of an entity.
    #[inline(always)]
    pub(crate) fn entity(&self, slot: u32) -> &[T] {
        &self.entities[slot as usize * self.shape.dim..][..self.shape.dim]
    }

    #[inline(always)]
    pub(crate) fn range(&self, level: usize, slot: u32) -> &[T] {
        let width = self.shape.range_width();
        &self.ranges[level][slot as usize * width..][..width]
    }

    /// What goes into the first layer for these ranges of a level: their rows through tanh, one after the other.
    #[inline(always)]
    pub(crate) fn inputs(
        &self,
        level: usize,
        slots: impl ExactSizeIterator<Item = u32>,
        inputs: &mut Vec<T>,
    ) {
        inputs.resize(slots.len() * RANGE_WIDTH, T::ZERO);
        for (slot, input) in slots.zip(inputs.chunks_exact_mut(RANGE_WIDTH)) {
            for (x, w) in input.iter_mut().zip(self.range(level, slot)) {
                *x = w.tanh();
            }
        }
    }

    /// What these ranges of a level add to the vector of an address, where it is a sum: with one layer their
    /// [`inputs`](Self::inputs) times the layer's weights for the level, without layers their rows.
    #[inline(always)]
    pub(crate) fn vectors(
        &self,
        level: usize,
        slots: impl ExactSizeIterator<Item = u32>,
        inputs: &[T],
        vectors: &mut Vec<T>,
    ) {
        let dim = self.shape.dim;
        if self.shape.layers == 0 {
            vectors.clear();
            slots.for_each(|slot| vectors.extend_from_slice(self.range(level, slot)));
            return;
        }
        vectors.resize(slots.len() * dim, T::ZERO);
        gemm::multiply(
            [slots.len(), dim, RANGE_WIDTH],
            Matrix::rows(inputs, RANGE_WIDTH),
            (&self.dense[self.shape.level_weights(level)], dim),
            (vectors, dim),
        );
    }

    /// The vector of each address through residual layers; `x` holds the inputs of all its levels side by side.
    #[inline(always)]
    pub(crate) fn encode(&self, x: &[T], y: &mut [T], scratch: &mut Scratch<T>) {
        let shape = self.shape;
        let rows = y.len() / shape.dim;
        for y in y.chunks_exact_mut(shape.dim) {
            y.copy_from_slice(&self.dense[shape.output_bias()]);
        }
        self.run_hidden(rows, x, scratch);
        gemm::multiply_add(
            [rows, shape.dim, shape.inputs()],
            Matrix::rows(&scratch.states[shape.hidden() * x.len()..], shape.inputs()),
            (&self.dense[shape.output_weights()], shape.dim),
            (y, shape.dim),
        );
    }

    /// Fills `scratch.states` with the state before each residual layer and after the last, and `scratch.tanhs` with
    /// what the layers' tanh gave, for `m` addresses.
    #[inline(always)]
    fn run_hidden(&self, m: usize, x: &[T], scratch: &mut Scratch<T>) {
        let shape = self.shape;
        let (inputs, scale) = (shape.inputs(), shape.hidden_scale::<T>());
        let n = x.len();
        scratch.states.resize((shape.hidden() + 1) * n, T::ZERO);
        scratch.tanhs.resize(shape.hidden() * n, T::ZERO);
        scratch.states[..n].copy_from_slice(x);
        for layer in 0..shape.hidden() {
            let (before, after) = scratch.states[layer * n..].split_at_mut(n);
            let u = &mut scratch.tanhs[layer * n..(layer + 1) * n];
            for u in u.chunks_exact_mut(inputs) {
                u.copy_from_slice(&self.dense[shape.hidden_bias(layer)]);
            }
            gemm::multiply_add(
                [m, inputs, inputs],
                Matrix::rows(before, inputs),
                (&self.dense[shape.hidden_weights(layer)], inputs),
                (u, inputs),
            );
            for ((after, before), u) in after[..n].iter_mut().zip(&*before).zip(u) {
                *u = u.tanh();
                *after = scale.mul_add(*u, *before);
            }
        }
    }

    /// Backwards through residual layers: from the gradient of the addresses' vectors to that of the range rows, which replaces
    /// `x`. What [`Network::encode`] left in `scratch` is used, and the gradient of what went into each tanh is left there.
    #[inline(always)]
    pub(crate) fn backward(&self, x: &mut [T], dy: &[T], scratch: &mut Scratch<T>) {
        let shape = self.shape;
        let (dim, inputs) = (shape.dim, shape.inputs());
        let m = dy.len() / dim;
        let n = m * inputs;
        let Scratch {
            tanhs,
            turned,
            dh,
            turned_dh,
            ..
        } = scratch;
        // The transpose of a product is the product of the transposes the other way round, and there are fewer addresses to turn round
        // than weights.
        turned.resize(m * dim.max(inputs), T::ZERO);
        turned_dh.resize(n, T::ZERO);
        dh.resize(n, T::ZERO);
        gemm::transpose([m, dim], dy, turned, m);
        gemm::multiply(
            [inputs, m, dim],
            Matrix::rows(&self.dense[shape.output_weights()], dim),
            (turned, m),
            (turned_dh, m),
        );
        let scale = shape.hidden_scale::<T>();
        for layer in (0..shape.hidden()).rev() {
            gemm::transpose([inputs, m], turned_dh, dh, inputs);
            let du = &mut tanhs[layer * n..(layer + 1) * n];
            for (u, d) in du.iter_mut().zip(&*dh) {
                *u = scale * *d * (T::ONE - *u * *u);
            }
            gemm::transpose([m, inputs], du, turned, m);
            gemm::multiply_add(
                [inputs, m, inputs],
                Matrix::rows(&self.dense[shape.hidden_weights(layer)], inputs),
                (turned, m),
                (turned_dh, m),
            );
        }
        gemm::transpose([inputs, m], turned_dh, dh, inputs);
        for (x, d) in x.iter_mut().zip(dh) {
            *x = *d * (T::ONE - *x * *x);
        }
    }
}

/// One of the layers behind range rows, where there are residual ones.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Layer {
    /// The last one, which is linear.
    Output,
    /// A residual one, from the first on.
    Hidden(usize),
}

impl Layer {
    /// The layers, each with its part of `dense`: its weights, then its bias.
    pub(crate) fn parts<T>(shape: Shape, dense: &mut [T]) -> impl Iterator<Item = (Self, &mut [T])> {
        let (output, hidden) = dense.split_at_mut(shape.output_bias().end);
        let size = shape.inputs() * shape.inputs() + shape.inputs();
        let hidden = hidden.chunks_exact_mut(size).enumerate();
        std::iter::once((Self::Output, output))
            .chain(hidden.map(|(layer, dense)| (Self::Hidden(layer), dense)))
    }

    /// Adds the gradient of the layer to its part of `dense`, from what [`Network::backward`] left of some addresses with the gradient
    /// `dy` of their vectors.
    #[inline(always)]
    pub(crate) fn differentiate<T: Real>(
        self,
        shape: Shape,
        dy: &[T],
        scratch: &Scratch<T>,
        dense: &mut [T],
    ) {
        let inputs = shape.inputs();
        let m = dy.len() / shape.dim;
        let n = m * inputs;
        let (state, gradient, width) = match self {
            Self::Output => (shape.hidden(), dy, shape.dim),
            Self::Hidden(layer) => (layer, &scratch.tanhs[layer * n..(layer + 1) * n], inputs),
        };
        let (weights, bias) = dense.split_at_mut(inputs * width);
        gemm::multiply_add(
            [inputs, width, m],
            Matrix::transposed(&scratch.states[state * n..(state + 1) * n], inputs),
            (gradient, width),
            (weights, width),
        );
        for gradient in gradient.chunks_exact(width) {
            real::add(bias, gradient);
        }
    }
}

impl Network<f32> {
    /// Whether no weight is infinite or NaN.
    pub(crate) fn is_finite(&self) -> bool {
        let mut tables = self.ranges.iter().chain([&self.entities]);
        tables.all(|values| weights::are_finite(values))
            && weights::are_finite(&self.common)
            && weights::are_finite(&self.dense)
    }
}

/// The own row of an entity whose row training never touched.
pub(crate) fn initial_entity<T: Real>(seed: u64, row: u32, values: &mut [T]) {
    fill(values, seed, 0, u64::from(row), ENTITY_BOUND);
}

/// Initial values within `bound`, a function of seed, table and row alone.
fn fill<T: Real>(values: &mut [T], seed: u64, table: u64, row: u64, bound: f64) {
    let start = row * values.len() as u64;
    for (index, value) in (start..).zip(values) {
        *value = T::from_f64(bound * hash::initial(seed, table, index));
    }
}

/// Room for the activations of the addresses that go through the layers together.
#[derive(Debug, Default)]
pub(crate) struct Scratch<T> {
    /// The state before each residual layer and after the last.
    states: Vec<T>,
    /// By residual layer: what its tanh gave; on the way back, the gradient of what went into it.
    tanhs: Vec<T>,
    turned: Vec<T>,
    dh: Vec<T>,
    turned_dh: Vec<T>,
}
