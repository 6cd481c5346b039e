//! A trained model.

use std::fmt;
use std::net::Ipv4Addr;

use access_events::AccessEvent;

use crate::dataset::Pair;
use crate::encoder::RangeIndex;
use crate::executor::Executor;
use crate::hash;
use crate::hyperparameters::Hyperparameters;
use crate::network::{self, Network, Scratch};
use crate::real;
use crate::score::{Prediction, Score};

/// Addresses that are encoded together.
const BLOCK: usize = 256;

/// A trained model: scores pairs, and writes itself to an archive.
///
/// Only the rows that training touched are in it. A pair's score does not depend on what else is scored with it.
// INVARIANT: all weights are finite and their number is what the rows and the network's shape ask for.
#[derive(Clone, PartialEq)]
pub struct Model {
    pub(crate) params: Hyperparameters,
    pub(crate) provenance: Provenance,
    /// Rows of the entity table that were trained, ascending; their places are the slots.
    pub(crate) entity_rows: Vec<u32>,
    pub(crate) index: RangeIndex,
    pub(crate) network: Network<f32>,
}

/// What a model remembers of its training.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Provenance {
    pub(crate) seed: u64,
    pub(crate) training_rows: u64,
}

impl Model {
    pub(crate) fn new(
        params: Hyperparameters,
        provenance: Provenance,
        entity_rows: Vec<u32>,
        index: RangeIndex,
        network: Network<f32>,
    ) -> Self {
        Self {
            params,
            provenance,
            entity_rows,
            index,
            network,
        }
    }

    /// The score of a pair; larger is more normal.
    ///
    /// Any entity has a score, also one that was never seen: its row of the table is then either untrained, and the score
    /// that of entities at large, or shared with another entity. [`Model::knows_entity`] tells the first case.
    pub fn score(&self, entity: &str, ip: Ipv4Addr) -> Score {
        let pair = [self.pair(entity, ip)];
        let mut score = [Score::new(0.0)];
        self.score_block(&pair, &mut score, &mut Buffers::default());
        score[0]
    }

    /// The scores of many pairs, in their order: the same as [`Model::score`] of each, on all cores.
    pub fn score_batch(&self, events: &[AccessEvent]) -> Vec<Score> {
        let pairs: Vec<Pair> = events.iter().map(|e| self.pair(&e.entity, e.ip)).collect();
        // A block takes about a millisecond; fewer of them are not worth a thread.
        let threads = if pairs.len() > 8 * BLOCK { 0 } else { 1 };
        let executor = Executor::new(threads).unwrap_or(Executor::Here);
        self.score_pairs(&pairs, &executor)
    }

    /// The score together with the two vectors it is the dot product of.
    pub fn predict(&self, entity: &str, ip: Ipv4Addr) -> Prediction {
        let pair = self.pair(entity, ip);
        let mut buffers = Buffers::default();
        self.encode(&[pair], &mut buffers);
        let mut entity_embedding = vec![0.0; self.vector_dim()];
        self.copy_entity(pair.entity, &mut entity_embedding);
        Prediction {
            score: Score::new(real::dot(&entity_embedding, &buffers.y)),
            ip_embedding: buffers.y,
            entity_embedding,
        }
    }

    /// Whether the entity's row of the table was trained. A `true` can be due to another entity with the same row.
    pub fn knows_entity(&self, entity: &str) -> bool {
        let row = hash::entity_row(entity, self.params.num_entity_vectors() as u32);
        self.entity_rows.binary_search(&row).is_ok()
    }

    /// Numbers in an embedding.
    pub fn vector_dim(&self) -> usize {
        self.network.shape.dim
    }

    /// What the model was trained with.
    pub fn hyperparameters(&self) -> &Hyperparameters {
        &self.params
    }

    /// The seed it was trained with.
    pub fn seed(&self) -> u64 {
        self.provenance.seed
    }

    /// How many rows it was trained on.
    pub fn training_rows(&self) -> u64 {
        self.provenance.training_rows
    }

    /// How many rows of the entity table were trained.
    pub fn trained_entities(&self) -> usize {
        self.entity_rows.len()
    }

    /// How many weights the model holds.
    pub fn weights(&self) -> usize {
        self.network.len()
    }

    /// The pair with its entity's row of the table.
    fn pair(&self, entity: &str, ip: Ipv4Addr) -> Pair {
        Pair {
            entity: hash::entity_row(entity, self.params.num_entity_vectors() as u32),
            address: ip.to_bits(),
        }
    }

    /// The scores of pairs whose entities are rows of the table.
    pub(crate) fn score_pairs(&self, pairs: &[Pair], executor: &Executor) -> Vec<Score> {
        let mut scores = vec![Score::new(0.0); pairs.len()];
        let work = pairs.chunks(BLOCK).zip(scores.chunks_mut(BLOCK)).collect();
        executor.for_each(work, |(pairs, scores)| {
            self.score_block(pairs, scores, &mut Buffers::default());
        });
        scores
    }

    fn score_block(&self, pairs: &[Pair], scores: &mut [Score], buffers: &mut Buffers) {
        self.encode(pairs, buffers);
        let mut entity = vec![0.0; self.vector_dim()];
        for ((pair, score), y) in pairs.iter().zip(scores).zip(buffers.y.chunks(self.vector_dim())) {
            self.copy_entity(pair.entity, &mut entity);
            *score = Score::new(real::dot(&entity, y));
        }
    }

    /// Puts the vectors of the pairs' addresses into `buffers.y`.
    fn encode(&self, pairs: &[Pair], buffers: &mut Buffers) {
        let shape = self.network.shape;
        buffers.slots.resize(pairs.len() * shape.levels, 0);
        buffers.x.resize(pairs.len() * shape.inputs(), 0.0);
        buffers.y.resize(pairs.len() * shape.dim, 0.0);
        for (pair, slots) in pairs.iter().zip(buffers.slots.chunks_mut(shape.levels)) {
            self.index.look_up(pair.address, slots);
        }
        let Buffers { slots, x, y, scratch } = buffers;
        self.network.gather(slots, x);
        self.network.encode(slots, x, y, scratch);
    }

    fn copy_entity(&self, row: u32, out: &mut [f32]) {
        match self.entity_rows.binary_search(&row) {
            Ok(slot) => out.copy_from_slice(self.network.entity(slot as u32)),
            Err(_) => network::initial_entity(self.provenance.seed, row, out),
        }
        real::add(out, &self.network.common);
    }
}

/// The sizes, not the weights: those are many.
impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Model")
            .field("hyperparameters", &self.params)
            .field("seed", &self.seed())
            .field("training_rows", &self.training_rows())
            .field("trained_entities", &self.trained_entities())
            .field("weights", &self.weights())
            .finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Buffers {
    slots: Vec<u32>,
    x: Vec<f32>,
    y: Vec<f32>,
    scratch: Scratch<f32>,
}
