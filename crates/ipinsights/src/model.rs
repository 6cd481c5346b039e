//! A trained model.

use std::fmt;
use std::net::Ipv4Addr;
use std::sync::OnceLock;

use access_events::AccessEvent;

use crate::dataset::Pair;
use crate::detector::{Detector, Judgement};
use crate::encoder::{NOTHING, RangeIndex};
use crate::entities::KnownEntities;
use crate::executor::Executor;
use crate::hash;
use crate::history::History;
use crate::hyperparameters::Hyperparameters;
use crate::network::{self, Network, RANGE_WIDTH, Scratch};
use crate::outcome::{self, Doubtful, EntityOutcome, OutcomePolicy, Outcomes, RawRow, Rejected};
use crate::real::{self, Real};
use crate::score::{Prediction, Score};
use crate::vector::{self, Work};

/// Addresses that are encoded together.
const BLOCK: usize = 256;

/// Of which the parts of a vector are asked for at once.
const AT_ONCE: usize = 16;

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
    pub(crate) parts: Parts,
    products: Products,
}

/// What each range adds to the vectors of its addresses, by level, where they are sums and there is a layer: its product with
/// the layer's weights, computed when a score is first asked for. A function of the weights, so it makes no model different.
#[derive(Default)]
struct Products(OnceLock<Vec<Vec<f32>>>);

/// So many numbers are kept at most for each weight of the model, or so many altogether (64 MiB) where that is more.
const PRODUCTS_PER_WEIGHT: usize = 16;
const LEAST_PRODUCTS: usize = 1 << 24;

fn are_kept(ranges: usize, dim: usize, weights: usize) -> bool {
    ranges.saturating_mul(dim) <= LEAST_PRODUCTS.max(PRODUCTS_PER_WEIGHT.saturating_mul(weights))
}

impl Clone for Products {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl PartialEq for Products {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// What goes with a model beside its weights; it has no influence on scores.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Parts {
    pub(crate) entities: Option<KnownEntities>,
    pub(crate) detector: Option<Detector>,
    pub(crate) history: Option<History>,
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
            parts: Parts::default(),
            products: Products::default(),
        }
    }

    /// The score of a pair; larger is more normal.
    ///
    /// Any entity has a score, also one that was never seen: its row of the table is then either untrained, and the score
    /// that of entities at large, or shared with another entity. [`Model::knows_entity`] tells the first case.
    ///
    /// The first score of a model takes some milliseconds more, in which what does not depend on the pair is computed.
    pub fn score(&self, entity: &str, ip: Ipv4Addr) -> Score {
        let pair = [self.pair(entity, ip)];
        let mut score = [Score::new(0.0)];
        self.score_block(&pair, &mut score, &mut Buffers::default());
        score[0]
    }

    /// The scores of many pairs, in their order: the same as [`Model::score`] of each, on all cores.
    pub fn score_batch(&self, events: &[AccessEvent]) -> Vec<Score> {
        let pairs: Vec<Pair> = events.iter().map(|e| self.pair(&e.entity, e.ip)).collect();
        self.score_in_parallel(&pairs)
    }

    fn score_in_parallel(&self, pairs: &[Pair]) -> Vec<Score> {
        // A block takes about a millisecond; fewer of them are not worth a thread.
        let threads = if pairs.len() > 8 * BLOCK { 0 } else { 1 };
        let executor = Executor::new(threads).unwrap_or(Executor::Here);
        self.score_pairs(pairs, &executor)
    }

    /// The score together with the two vectors it is the dot product of.
    pub fn predict(&self, entity: &str, ip: Ipv4Addr) -> Prediction {
        let pair = self.pair(entity, ip);
        let (mut score, mut buffers) = ([Score::new(0.0)], Buffers::default());
        self.score_block(&[pair], &mut score, &mut buffers);
        Prediction {
            score: score[0],
            ip_embedding: buffers.y,
            entity_embedding: buffers.entity,
        }
    }

    /// Whether the entity was in the training rows.
    ///
    /// The model asks the set of entities it was given by [`Model::set_known_entities`], which is as sure as
    /// [`KnownEntities`] says. Without one, this only tells whether the entity's row of the table was trained, and a `true`
    /// can be due to another entity with the same row.
    pub fn knows_entity(&self, entity: &str) -> bool {
        if let Some(known) = &self.parts.entities {
            return known.contains(entity);
        }
        let row = hash::entity_row(entity, self.params.num_entity_vectors() as u32);
        self.entity_rows.binary_search(&row).is_ok()
    }

    /// The set of entities the model was trained on, when it has one.
    pub fn known_entities(&self) -> Option<&KnownEntities> {
        self.parts.entities.as_ref()
    }

    /// Gives the model the set of entities it was trained on, or takes it away.
    pub fn set_known_entities(&mut self, entities: Option<KnownEntities>) {
        self.parts.entities = entities;
    }

    /// What turns the model's scores into verdicts, when it is calibrated.
    pub fn detector(&self) -> Option<&Detector> {
        self.parts.detector.as_ref()
    }

    /// Calibrates the model, or takes its calibration away. The weights stay as they are, and so do their bytes in the archive.
    pub fn set_detector(&mut self, detector: Option<Detector>) {
        self.parts.detector = detector;
    }

    /// What the training rows say of entities and networks, when it was kept; see [`Model::explain`].
    pub fn history(&self) -> Option<&History> {
        self.parts.history.as_ref()
    }

    /// Gives the model the history of its training rows, or takes it away.
    pub fn set_history(&mut self, history: Option<History>) {
        self.parts.history = history;
    }

    /// What is said of rows as they come, in their order: outcomes by policy, scores (on all cores), and verdicts where the
    /// model is calibrated.
    ///
    /// # Errors
    ///
    /// The first row that the policy rejects.
    ///
    /// ```
    /// # use std::ops::ControlFlow;
    /// # use access_events::AccessEvent;
    /// use ipinsights::{AddressOutcome, EntityOutcome, OutcomePolicy, RawRow};
    /// # use ipinsights::{Hyperparameters, TrainOptions};
    ///
    /// # let rows = [AccessEvent::new("ana", [8, 8, 8, 8].into())];
    /// # let params = Hyperparameters::draft(10).vector_dim(4).check()?;
    /// # let go_on = &mut |_: &_| ControlFlow::Continue(());
    /// # let model = ipinsights::train(&params, &rows, None, &TrainOptions::default(), go_on)?;
    /// let rows = [
    ///     RawRow { entity: "ana", address: "8.8.8.8" },
    ///     RawRow { entity: "mallory", address: "8.8.8.8" },
    ///     RawRow { entity: "ana", address: "2001:db8::1" },
    /// ];
    /// let judged = model.judge(&rows, &OutcomePolicy::default())?;
    /// assert!(judged[0].score.is_some() && judged[0].outcomes.is_ordinary());
    /// assert_eq!((judged[1].score, judged[1].outcomes.entity), (None, EntityOutcome::Unknown));
    /// assert_eq!((judged[2].score, judged[2].outcomes.address), (None, AddressOutcome::Ipv6));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn judge(&self, rows: &[RawRow<'_>], policy: &OutcomePolicy) -> Result<Vec<Judgement>, Rejected> {
        let mut judged = Vec::with_capacity(rows.len());
        let (mut places, mut pairs) = (Vec::new(), Vec::new());
        for (place, row) in rows.iter().enumerate() {
            let (address, ipv4) = outcome::classify(row.address);
            let entity = match self.knows_entity(row.entity) {
                true => EntityOutcome::Known,
                false => EntityOutcome::Unknown,
            };
            let outcomes = Outcomes { entity, address };
            match (policy.of(outcomes), ipv4) {
                (Doubtful::Reject, _) => {
                    return Err(Rejected {
                        row: place + 1,
                        entity: row.entity.to_owned(),
                        address: row.address.to_owned(),
                        outcomes,
                    });
                }
                (Doubtful::Score, Some(ip)) => {
                    places.push(place);
                    pairs.push(self.pair(row.entity, ip));
                }
                (Doubtful::Score, None) | (Doubtful::Withhold, _) => {}
            }
            judged.push(Judgement {
                outcomes,
                score: None,
                verdict: None,
            });
        }
        for (place, score) in places.into_iter().zip(self.score_in_parallel(&pairs)) {
            judged[place].score = Some(score);
            judged[place].verdict = self.parts.detector.as_ref().map(|d| d.verdict(score));
        }
        Ok(judged)
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
        vector::run(ScoreBlock {
            model: self,
            pairs,
            scores,
            buffers,
        });
    }

    /// Puts the vectors of the pairs' addresses into `buffers.y`.
    #[inline(always)]
    fn encode(&self, pairs: &[Pair], buffers: &mut Buffers) {
        let shape = self.network.shape;
        if shape.layers == 0 || self.has_products() {
            self.encode_by_sums(pairs, buffers);
        } else {
            self.encode_by_layers(pairs, buffers);
        }
    }

    /// What each range adds to a vector is there already.
    #[inline(always)]
    fn encode_by_sums(&self, pairs: &[Pair], buffers: &mut Buffers) {
        let (network, shape) = (&self.network, self.network.shape);
        let Buffers { slots, y, .. } = buffers;
        y.resize(pairs.len() * shape.dim, 0.0);
        let bias = &network.dense[shape.output_bias()];
        let products = self.products();
        let part = |level: usize, slot: u32| {
            let vectors = products.get(level).map_or(&network.ranges[level][..], |p| p);
            &vectors[slot as usize * shape.dim..][..shape.dim]
        };
        // The parts of a vector lie anywhere in memory, so those of some pairs are asked for at once.
        for (pairs, y) in pairs.chunks(AT_ONCE).zip(y.chunks_mut(AT_ONCE * shape.dim)) {
            slots.clear();
            for pair in pairs {
                let piece = self.index.piece(pair.address);
                for level in 0..shape.levels {
                    let slot = self.index.row(level, piece);
                    if slot != NOTHING {
                        vector::prefetch(part(level, slot));
                    }
                    slots.push(slot);
                }
            }
            for (slots, y) in slots
                .chunks_exact(shape.levels)
                .zip(y.chunks_exact_mut(shape.dim))
            {
                let known = slots.iter().enumerate().filter(|(_, slot)| **slot != NOTHING);
                real::sum(y, bias, known.map(|(level, slot)| part(level, *slot)));
            }
        }
    }

    /// Through the layers, as in training.
    #[inline(always)]
    fn encode_by_layers(&self, pairs: &[Pair], buffers: &mut Buffers) {
        let (network, shape) = (&self.network, self.network.shape);
        let Buffers { x, y, scratch, .. } = buffers;
        y.resize(pairs.len() * shape.dim, 0.0);
        x.clear();
        for pair in pairs {
            let piece = self.index.piece(pair.address);
            for level in 0..shape.levels {
                match self.index.row(level, piece) {
                    NOTHING => x.resize(x.len() + RANGE_WIDTH, 0.0),
                    slot => x.extend(network.range(level, slot).iter().map(|w| Real::tanh(*w))),
                }
            }
        }
        network.encode(x, y, scratch);
    }

    /// Whether what each range adds to a vector is kept: where there is one layer, and it takes no memory out of proportion to
    /// the weights, so that a small archive stays a small model.
    fn has_products(&self) -> bool {
        let (shape, ranges) = (self.network.shape, self.index.tables().sum());
        shape.layers == 1 && are_kept(ranges, shape.dim, self.network.len())
    }

    /// By level, what each range adds to a vector; nothing where that is its row.
    fn products(&self) -> &[Vec<f32>] {
        if self.network.shape.layers != 1 {
            return &[];
        }
        self.products.0.get_or_init(|| {
            let of_level = |(level, rows)| {
                let (mut inputs, mut vectors) = (Vec::new(), Vec::new());
                self.network.inputs(level, 0..rows, &mut inputs);
                self.network.vectors(level, 0..rows, &inputs, &mut vectors);
                vectors
            };
            let tables = self.index.tables().map(|rows| rows as u32);
            tables.enumerate().map(of_level).collect()
        })
    }

    /// Has to come after every change of weights, before the next score.
    pub(crate) fn weights_changed(&mut self) {
        self.products = Products::default();
    }

    #[inline(always)]
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

/// The scores of some pairs, one after the other; what is computed for the last one stays in the buffers.
struct ScoreBlock<'a> {
    model: &'a Model,
    pairs: &'a [Pair],
    scores: &'a mut [Score],
    buffers: &'a mut Buffers,
}

impl Work for ScoreBlock<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let (model, dim) = (self.model, self.model.vector_dim());
        model.encode(self.pairs, self.buffers);
        let Buffers { y, entity, .. } = self.buffers;
        entity.resize(dim, 0.0);
        for ((pair, score), y) in self.pairs.iter().zip(self.scores).zip(y.chunks_exact(dim)) {
            model.copy_entity(pair.entity, entity);
            *score = Score::new(real::dot(entity, y));
        }
    }
}

#[derive(Default)]
struct Buffers {
    slots: Vec<u32>,
    entity: Vec<f32>,
    x: Vec<f32>,
    y: Vec<f32>,
    scratch: Scratch<f32>,
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;

    use access_events::AccessEvent;

    use super::*;
    use crate::TrainOptions;

    #[test]
    fn products_in_proportion() {
        // A full set of ranges at the largest dimension is not kept for a model of a few megabytes.
        assert!(are_kept(1 << 17, 128, 0));
        assert!(!are_kept(1 << 17, 129, 0));
        assert!(are_kept(1 << 17, 256, 1 << 21));
        assert!(!are_kept(1 << 17, 4_096, 1 << 22));
        assert!(!are_kept(usize::MAX, 2, 1 << 40));
    }

    #[test]
    fn sums_are_what_the_layer_gives() {
        let address = |i: u32| Ipv4Addr::from(i.wrapping_mul(2_654_435_769));
        let rows: Vec<AccessEvent> = (0..200)
            .map(|i| AccessEvent::new(format!("e{}", i % 5), address(i)))
            .collect();
        let params = Hyperparameters::draft(100)
            .vector_dim(20)
            .learning_rate(0.05)
            .epochs(3)
            .check()
            .unwrap();
        let options = TrainOptions { seed: 1, threads: 1 };
        let mut go_on = |_: &_| ControlFlow::Continue(());
        let model = crate::train(&params, &rows, None, &options, &mut go_on).unwrap();
        let pairs: Vec<Pair> = (100..300)
            .map(|i| model.pair(&format!("e{}", i % 6), address(i)))
            .collect();
        let (mut sums, mut layers) = (Buffers::default(), Buffers::default());
        assert!(model.has_products());
        model.encode_by_sums(&pairs, &mut sums);
        model.encode_by_layers(&pairs, &mut layers);
        assert_eq!(sums.y.len(), 200 * 20);
        let largest = sums.y.iter().fold(0.0_f32, |largest, y| largest.max(y.abs()));
        assert!(largest > 0.1, "{largest}");
        for (sum, layer) in sums.y.iter().zip(&layers.y) {
            assert!((sum - layer).abs() <= 1e-5 * largest, "{sum} {layer}");
        }
    }
}
