//! The model's weights, and what they make of an address.
//!
//! An address has one row in each of the prefix tables. With `num_ip_encoder_layers` of
//!
//! - 0, the rows are `vector_dim` wide, and their sum plus a bias is the address's vector;
//! - 1, the rows side by side, through tanh, go through one linear layer to `vector_dim`;
//! - n, n - 1 residual layers `h + tanh(h W + b) / sqrt(n - 1)` stand between the two. The identity in them carries the
//!   gradient through a hundred layers, and the factor keeps the sum from growing with their number.
//!
//! The score is the dot product with the entity's row: no bias, nothing after the last linear layer.

use std::ops::Range;

use crate::encoder::ABSENT;
use crate::gemm::{self, Matrix};
use crate::real::Real;
use crate::weights::{self, Weights};
use crate::{hash, real};

/// Width of a row of a prefix table, where there is a layer behind it.
pub(crate) const PREFIX_WIDTH: usize = 32;

/// Addresses that go through the layers together: their activations stay in the second cache.
pub(crate) const BLOCK: usize = 64;

/// The sizes that decide which weight is where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    /// `vector_dim`.
    pub(crate) dim: usize,
    /// `num_ip_encoder_layers`.
    pub(crate) layers: usize,
    /// Prefix lengths.
    pub(crate) levels: usize,
}

impl Shape {
    /// Numbers in a row of a prefix table.
    pub(crate) fn prefix_width(self) -> usize {
        if self.layers == 0 { self.dim } else { PREFIX_WIDTH }
    }

    /// Numbers that enter the first layer; 0 where there is none.
    pub(crate) fn inputs(self) -> usize {
        if self.layers == 0 {
            0
        } else {
            self.levels * PREFIX_WIDTH
        }
    }

    /// The residual layers.
    pub(crate) fn hidden(self) -> usize {
        self.layers.saturating_sub(1)
    }

    /// What a residual layer's tanh is multiplied by.
    fn hidden_scale<T: Real>(self) -> T {
        T::from_f64(1.0 / (self.hidden().max(1) as f64).sqrt())
    }

    /// The last layer's weights among the dense ones: `inputs` rows of `dim`.
    pub(crate) fn output_weights(self) -> Range<usize> {
        0..self.inputs() * self.dim
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
const PREFIX_BOUND: f64 = 0.01;

/// All weights. Tables hold the rows that there are, in ascending order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Network<T: Real> {
    pub(crate) shape: Shape,
    pub(crate) entities: Weights<T>,
    /// By level.
    pub(crate) prefixes: Vec<Weights<T>>,
    /// The layers, as [`Shape`] lays them out.
    pub(crate) dense: Vec<T>,
}

impl<T: Real> Network<T> {
    /// Untrained weights for the given rows.
    pub(crate) fn new(shape: Shape, seed: u64, entity_rows: &[u32], prefix_rows: &[Vec<u32>]) -> Self {
        let mut entities = vec![T::ZERO; entity_rows.len() * shape.dim];
        for (row, values) in entity_rows.iter().zip(entities.chunks_mut(shape.dim)) {
            initial_entity(seed, *row, values);
        }
        let width = shape.prefix_width();
        let prefixes = (1_u64..)
            .zip(prefix_rows)
            .map(|(table, rows)| {
                let mut values = vec![T::ZERO; rows.len() * width];
                for (row, values) in rows.iter().zip(values.chunks_mut(width)) {
                    fill(values, seed, table, u64::from(*row), PREFIX_BOUND);
                }
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
            prefixes,
            dense,
        }
    }

    /// The number of weights.
    pub(crate) fn len(&self) -> usize {
        self.entities.len() + self.prefixes.iter().map(|p| p.len()).sum::<usize>() + self.dense.len()
    }

    pub(crate) fn entity(&self, slot: u32) -> &[T] {
        &self.entities[slot as usize * self.shape.dim..][..self.shape.dim]
    }

    fn prefix(&self, level: usize, slot: u32) -> &[T] {
        let width = self.shape.prefix_width();
        &self.prefixes[level][slot as usize * width..][..width]
    }

    /// The input of the first layer for each address, whose slots come `levels` at a time. Does nothing without layers.
    pub(crate) fn gather(&self, slots: &[u32], x: &mut [T]) {
        let (levels, inputs) = (self.shape.levels, self.shape.inputs());
        if inputs == 0 {
            return;
        }
        for (slots, x) in slots.chunks(levels).zip(x.chunks_mut(inputs)) {
            for (level, (slot, x)) in slots.iter().zip(x.chunks_mut(PREFIX_WIDTH)).enumerate() {
                if *slot == ABSENT {
                    x.fill(T::ZERO);
                } else {
                    for (x, w) in x.iter_mut().zip(self.prefix(level, *slot)) {
                        *x = w.tanh();
                    }
                }
            }
        }
    }

    /// The vector of each address. `depths` holds, per level, how many addresses reach it, for addresses sorted by
    /// falling depth; what lies beyond is known to be zero and is passed over.
    pub(crate) fn encode(
        &self,
        slots: &[u32],
        x: &[T],
        depths: &[usize],
        y: &mut [T],
        scratch: &mut Scratch<T>,
    ) {
        let shape = self.shape;
        let rows = slots.len() / shape.levels;
        for y in y.chunks_mut(shape.dim) {
            y.copy_from_slice(&self.dense[shape.output_bias()]);
        }
        if shape.layers == 0 {
            for (slots, y) in slots.chunks(shape.levels).zip(y.chunks_mut(shape.dim)) {
                for (level, slot) in slots.iter().enumerate().filter(|(_, slot)| **slot != ABSENT) {
                    real::add(y, self.prefix(level, *slot));
                }
            }
            return;
        }
        let inputs = shape.inputs();
        for start in (0..rows).step_by(BLOCK) {
            let m = BLOCK.min(rows - start);
            let x = &x[start * inputs..(start + m) * inputs];
            let y = &mut y[start * shape.dim..(start + m) * shape.dim];
            if shape.hidden() == 0 {
                self.output(m, x, |level| depths[level].saturating_sub(start).min(m), y);
            } else {
                self.run_hidden(m, x, scratch);
                self.output(m, &scratch.states[shape.hidden() * m * inputs..], |_| m, y);
            }
        }
    }

    /// `y += h W`, the last layer, level by level.
    fn output(&self, m: usize, h: &[T], reach: impl Fn(usize) -> usize, y: &mut [T]) {
        let shape = self.shape;
        let w = &self.dense[shape.output_weights()];
        for level in 0..shape.levels {
            let column = level * PREFIX_WIDTH;
            gemm::multiply_add(
                [reach(level).min(m), shape.dim, PREFIX_WIDTH],
                Matrix {
                    values: &h[column..],
                    stride: shape.inputs(),
                },
                Matrix {
                    values: &w[column * shape.dim..],
                    stride: shape.dim,
                },
                y,
                shape.dim,
            );
        }
    }

    /// Fills `scratch.states` with the state before each residual layer and after the last, and `scratch.tanhs` with
    /// what the layers' tanh gave, for one block of `m` addresses.
    fn run_hidden(&self, m: usize, x: &[T], scratch: &mut Scratch<T>) {
        let shape = self.shape;
        let (inputs, scale) = (shape.inputs(), shape.hidden_scale::<T>());
        let n = m * inputs;
        scratch.states.resize((shape.hidden() + 1) * n, T::ZERO);
        scratch.tanhs.resize(shape.hidden() * n, T::ZERO);
        scratch.states[..n].copy_from_slice(x);
        for layer in 0..shape.hidden() {
            let (before, after) = scratch.states[layer * n..].split_at_mut(n);
            let u = &mut scratch.tanhs[layer * n..(layer + 1) * n];
            for u in u.chunks_mut(inputs) {
                u.copy_from_slice(&self.dense[shape.hidden_bias(layer)]);
            }
            let w = &self.dense[shape.hidden_weights(layer)];
            gemm::multiply_add(
                [m, inputs, inputs],
                Matrix {
                    values: before,
                    stride: inputs,
                },
                Matrix {
                    values: w,
                    stride: inputs,
                },
                u,
                inputs,
            );
            for ((after, before), u) in after[..n].iter_mut().zip(&*before).zip(u) {
                *u = u.tanh();
                *after = *before + scale * *u;
            }
        }
    }

    /// Backwards through the layers: from the gradient of the addresses' vectors to that of the layers, added to
    /// `dense`, and that of the prefix rows, which replaces `x`.
    pub(crate) fn backward(
        &self,
        transposed: &Transposed<T>,
        x: &mut [T],
        depths: &[usize],
        dy: &[T],
        dense: &mut [T],
        scratch: &mut Scratch<T>,
    ) {
        let shape = self.shape;
        let (dim, inputs) = (shape.dim, shape.inputs());
        for dy in dy.chunks(dim) {
            real::add(&mut dense[shape.output_bias()], dy);
        }
        if shape.layers == 0 {
            return;
        }
        let rows = dy.len() / dim;
        for start in (0..rows).step_by(BLOCK) {
            let m = BLOCK.min(rows - start);
            let n = m * inputs;
            let x = &mut x[start * inputs..(start + m) * inputs];
            let dy = &dy[start * dim..(start + m) * dim];
            let reach = |level: usize| match shape.hidden() {
                0 => depths[level].saturating_sub(start).min(m),
                _ => m,
            };
            if shape.hidden() > 0 {
                self.run_hidden(m, x, scratch);
            }
            let Scratch {
                states,
                tanhs,
                turned,
                dh,
                du,
            } = scratch;
            turned.resize(n.max(turned.len()), T::ZERO);
            dh.clear();
            dh.resize(n, T::ZERO);
            let last = if shape.hidden() == 0 {
                &*x
            } else {
                &states[shape.hidden() * n..]
            };
            gemm::transpose(
                m,
                inputs,
                Matrix {
                    values: last,
                    stride: inputs,
                },
                &mut turned[..n],
            );
            for level in 0..shape.levels {
                let (m_level, column) = (reach(level), level * PREFIX_WIDTH);
                gemm::multiply_add(
                    [PREFIX_WIDTH, dim, m_level],
                    Matrix {
                        values: &turned[column * m..],
                        stride: m,
                    },
                    Matrix {
                        values: dy,
                        stride: dim,
                    },
                    &mut dense[shape.output_weights()][column * dim..],
                    dim,
                );
                gemm::multiply_add(
                    [m_level, PREFIX_WIDTH, dim],
                    Matrix {
                        values: dy,
                        stride: dim,
                    },
                    Matrix {
                        values: &transposed.output[column..],
                        stride: inputs,
                    },
                    &mut dh[column..],
                    inputs,
                );
            }
            let scale = shape.hidden_scale::<T>();
            for layer in (0..shape.hidden()).rev() {
                du.clear();
                du.extend(
                    dh.iter()
                        .zip(&tanhs[layer * n..(layer + 1) * n])
                        .map(|(d, t)| scale * *d * (T::ONE - *t * *t)),
                );
                let state = Matrix {
                    values: &states[layer * n..(layer + 1) * n],
                    stride: inputs,
                };
                gemm::transpose(m, inputs, state, &mut turned[..n]);
                gemm::multiply_add(
                    [inputs, inputs, m],
                    Matrix {
                        values: turned,
                        stride: m,
                    },
                    Matrix {
                        values: du,
                        stride: inputs,
                    },
                    &mut dense[shape.hidden_weights(layer)],
                    inputs,
                );
                for du in du.chunks(inputs) {
                    real::add(&mut dense[shape.hidden_bias(layer)], du);
                }
                gemm::multiply_add(
                    [m, inputs, inputs],
                    Matrix {
                        values: du,
                        stride: inputs,
                    },
                    Matrix {
                        values: &transposed.hidden[layer],
                        stride: inputs,
                    },
                    dh,
                    inputs,
                );
            }
            for (x, d) in x.iter_mut().zip(dh) {
                *x = *d * (T::ONE - *x * *x);
            }
        }
    }
}

impl Network<f32> {
    /// Whether no weight is infinite or NaN.
    pub(crate) fn is_finite(&self) -> bool {
        let mut tables = self.prefixes.iter().chain([&self.entities]);
        tables.all(|values| weights::are_finite(values)) && weights::are_finite(&self.dense)
    }
}

/// The vector of an entity whose row training never touched.
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

/// Room for the activations of one block.
#[derive(Debug, Default)]
pub(crate) struct Scratch<T> {
    states: Vec<T>,
    tanhs: Vec<T>,
    turned: Vec<T>,
    dh: Vec<T>,
    du: Vec<T>,
}

/// The layers' weights turned round, for the way back; made once in a mini-batch.
#[derive(Debug, Default)]
pub(crate) struct Transposed<T> {
    output: Vec<T>,
    hidden: Vec<Vec<T>>,
}

impl<T: Real> Transposed<T> {
    pub(crate) fn take(&mut self, network: &Network<T>) {
        let shape = network.shape;
        let inputs = shape.inputs();
        let w = &network.dense[shape.output_weights()];
        self.output.resize(w.len(), T::ZERO);
        gemm::transpose(
            inputs,
            shape.dim,
            Matrix {
                values: w,
                stride: shape.dim,
            },
            &mut self.output,
        );
        self.hidden
            .resize_with(shape.hidden(), || vec![T::ZERO; inputs * inputs]);
        for (layer, out) in self.hidden.iter_mut().enumerate() {
            let w = &network.dense[shape.hidden_weights(layer)];
            gemm::transpose(
                inputs,
                inputs,
                Matrix {
                    values: w,
                    stride: inputs,
                },
                out,
            );
        }
    }
}
