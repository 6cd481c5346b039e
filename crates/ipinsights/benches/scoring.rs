//! One pair, and batches of pairs, beside a plain loop over the same number of weights; and what a verdict and a reason cost on
//! top. `cargo bench -p ipinsights --bench scoring`.
#![expect(clippy::unwrap_used, reason = "a bench fails loudly")]

use std::hint::black_box;
use std::ops::ControlFlow;
use std::sync::OnceLock;

use access_events::AccessEvent;
use divan::Bencher;
use divan::counter::ItemsCount;
use ipinsights::evaluation::auc;
use ipinsights::{
    Detector, HistoryBuilder, Hyperparameters, KnownEntities, Model, OutcomePolicy, RawRow, ReasonOptions,
    Score, TrainOptions,
};

/// Inputs of the last layer and numbers in an embedding, at the tutorial's settings.
const INPUTS: usize = 8 * 32;
const DIM: usize = 128;
const BATCH: usize = 100_000;

fn main() {
    divan::main();
}

/// 2,000 users with 10 rows each, two networks to a user; trained for one epoch, since only the shape counts here.
fn rows() -> Vec<AccessEvent> {
    let mix = |i: u32| i.wrapping_mul(0x9e37_79b1);
    (0..20_000_u32)
        .map(|i| {
            let user = i % 2_000;
            let network = mix(user * 2 + i / 2_000 % 2) & 0xffff_ff00;
            AccessEvent::new(format!("user_{user}"), (network | (i % 251)).into())
        })
        .collect()
}

fn model() -> &'static Model {
    static MODEL: OnceLock<Model> = OnceLock::new();
    MODEL.get_or_init(|| {
        let rows = rows();
        let params = Hyperparameters::draft(20_000)
            .vector_dim(DIM as u32)
            .mini_batch_size(1_000)
            .epochs(1)
            .check()
            .unwrap();
        let go_on = &mut |_: &_| ControlFlow::Continue(());
        let mut model = ipinsights::train(&params, &rows, None, &TrainOptions::default(), go_on).unwrap();
        model.set_known_entities(Some(KnownEntities::from_names(
            rows.iter().map(|r| r.entity.as_str()),
        )));
        model.set_history(Some(HistoryBuilder::of_events(&rows).unwrap()));
        model.set_detector(Some(
            Detector::calibrate(&model.score_batch(&rows), 0.01).unwrap(),
        ));
        model
    })
}

fn batch() -> Vec<AccessEvent> {
    rows().into_iter().cycle().take(BATCH).collect()
}

#[divan::bench]
fn one_pair(bencher: Bencher<'_, '_>) {
    let model = model();
    let ip = [8, 8, 8, 8].into();
    bencher.bench_local(|| model.score(black_box("user_77"), black_box(ip)));
}

/// What the same weights cost in a plain loop: one layer, and the dot product.
#[divan::bench]
fn one_pair_plain_loop(bencher: Bencher<'_, '_>) {
    let plain = Plain::new();
    bencher.bench_local(|| plain.score(black_box(&plain.inputs), black_box(&plain.entity)));
}

#[divan::bench]
fn batch_of_100_000(bencher: Bencher<'_, '_>) {
    let (model, batch) = (model(), batch());
    bencher
        .counter(ItemsCount::new(BATCH))
        .bench_local(|| model.score_batch(black_box(&batch)));
}

#[divan::bench]
fn batch_of_100_000_plain_loop(bencher: Bencher<'_, '_>) {
    let plain = Plain::new();
    bencher.counter(ItemsCount::new(BATCH)).bench_local(|| {
        (0..BATCH)
            .map(|_| plain.score(black_box(&plain.inputs), black_box(&plain.entity)))
            .sum::<f32>()
    });
}

/// With outcomes, known entities and verdicts.
#[divan::bench]
fn judged_batch_of_100_000(bencher: Bencher<'_, '_>) {
    let (model, batch) = (model(), batch());
    let addresses: Vec<String> = batch.iter().map(|e| e.ip.to_string()).collect();
    let raw: Vec<RawRow<'_>> = batch
        .iter()
        .zip(&addresses)
        .map(|(event, address)| RawRow {
            entity: &event.entity,
            address,
        })
        .collect();
    bencher
        .counter(ItemsCount::new(BATCH))
        .bench_local(|| model.judge(black_box(&raw), &OutcomePolicy::default()).unwrap());
}

#[divan::bench]
fn one_explanation(bencher: Bencher<'_, '_>) {
    let model = model();
    let options = ReasonOptions::default();
    bencher.bench_local(|| model.explain(black_box("user_77"), black_box([8, 8, 8, 8].into()), &options));
}

#[divan::bench]
fn auc_of_200_000_scores(bencher: Bencher<'_, '_>) {
    let scores = |from: u32| -> Vec<Score> {
        (0..100_000_u32)
            .map(|i| Score::new((i.wrapping_mul(0x9e37_79b1) >> 8) as f32 + from as f32))
            .collect()
    };
    let (normal, anomalous) = (scores(1_000_000), scores(0));
    bencher.bench_local(|| auc(black_box(&normal), black_box(&anomalous)));
}

struct Plain {
    inputs: Vec<f32>,
    weights: Vec<f32>,
    entity: Vec<f32>,
}

impl Plain {
    fn new() -> Self {
        let numbers = |n: usize| (0..n).map(|i| ((i * 37 % 101) as f32 - 50.0) / 100.0).collect();
        Self {
            inputs: numbers(INPUTS),
            weights: numbers(INPUTS * DIM),
            entity: numbers(DIM),
        }
    }

    fn score(&self, inputs: &[f32], entity: &[f32]) -> f32 {
        let mut embedding = [0.0; DIM];
        for (input, weights) in inputs.iter().zip(self.weights.chunks_exact(DIM)) {
            let input = input.tanh();
            for (out, weight) in embedding.iter_mut().zip(weights) {
                *out += input * weight;
            }
        }
        embedding.iter().zip(entity).map(|(a, b)| a * b).sum()
    }
}
