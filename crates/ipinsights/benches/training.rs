//! An epoch on 100,000 rows of 10,000 users with the settings of the service's tutorial; items are rows. `cargo bench -p ipinsights
//! --bench training`.
#![expect(clippy::unwrap_used, reason = "a bench fails loudly")]

use std::ops::ControlFlow;

use access_events::AccessEvent;
use divan::Bencher;
use divan::counter::ItemsCount;
use ipinsights::{Dataset, Hyperparameters, TrainOptions};

const ROWS: u32 = 100_000;

fn main() {
    divan::main();
}

/// Two /24 networks to a user, and addresses enough for cuts that follow them.
fn rows() -> impl Iterator<Item = Result<AccessEvent, String>> {
    let mix = |i: u32| i.wrapping_mul(0x9e37_79b1);
    (0..ROWS).map(move |i| {
        let user = mix(i) % 10_000;
        let network = mix(user * 2 + i % 2) & 0xffff_ff00;
        Ok(AccessEvent::new(
            format!("user_{user}"),
            (network | (i % 256)).into(),
        ))
    })
}

#[divan::bench(args = [1, 2], sample_count = 10)]
fn epoch(bencher: Bencher<'_, '_>, threads: usize) {
    let params = Hyperparameters::draft(20_000)
        .vector_dim(128)
        .random_negative_sampling_rate(5)
        .shuffled_negative_sampling_rate(1)
        .mini_batch_size(1_000)
        .epochs(1)
        .check()
        .unwrap();
    let rows = Dataset::from_events(rows(), &params).unwrap();
    let options = TrainOptions { seed: 0, threads };
    bencher.counter(ItemsCount::new(rows.len())).bench_local(|| {
        ipinsights::train_dataset(&params, &rows, None, &options, &mut |_| ControlFlow::Continue(())).unwrap()
    });
}
