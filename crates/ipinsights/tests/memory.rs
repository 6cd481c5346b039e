//! What training takes at its peak, as the kernel counts it. One test: they would count each other's memory.
#![cfg(all(feature = "engine", target_os = "linux"))]
#![expect(
    clippy::unwrap_used,
    reason = "tests; the lint knows only test functions, not their helpers"
)]

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use access_events::AccessEvent;
use ipinsights::{Dataset, Draft, Hyperparameters, Progress, TrainOptions, Training};

const MIB: u64 = 1 << 20;

/// Rows of so many users, each at home in one /24 of 10.0.0.0/8.
fn rows(rows: u64, users: u64) -> impl Iterator<Item = Result<AccessEvent, String>> {
    (0..rows).map(move |i| {
        let user = i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let user = (user * users) >> 32;
        let address = (10 << 24) | ((user as u32 * 251 % 65_536) << 8) | (i % 256) as u32;
        Ok(AccessEvent::new(format!("user_{user}"), address.into()))
    })
}

fn status(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    let kib: u64 = line
        .trim_start_matches(':')
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap();
    kib * 1_024
}

/// How much more memory than before `work` takes at its peak.
fn peak_of<T>(work: impl FnOnce() -> T) -> (T, u64) {
    // Sets the peak to what is taken now.
    fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = status("VmRSS");
    let outcome = work();
    (outcome, status("VmHWM").saturating_sub(before))
}

/// Writes rows to a file, trains on it, and writes the archive to nowhere; returns the number of weights and the peak.
fn train(folder: &Path, draft: &Draft, number: u64, users: u64) -> (u64, u64) {
    let params = draft.check().unwrap();
    let path = folder.join(number.to_string());
    Dataset::to_file(rows(number, users), &params, &path).unwrap();
    peak_of(|| {
        let rows = Dataset::open(&path).unwrap();
        let mut number = 0;
        let training = Training::new(&params, &rows).options(TrainOptions { seed: 0, threads: 1 });
        let trained = training
            .run(&mut |news| {
                if let Progress::Started { weights, .. } = news {
                    number = *weights as u64;
                }
                ControlFlow::Continue(())
            })
            .unwrap();
        trained.model.write_archive(std::io::sink()).unwrap();
        number
    })
}

#[test]
fn memory_follows_the_weights_and_not_the_rows() {
    let folder = tempfile::tempdir().unwrap();
    let small = Hyperparameters::draft(100)
        .vector_dim(4)
        .num_ip_encoder_layers(0)
        .shuffled_negative_sampling_rate(0)
        .epochs(1);
    let (_, few) = train(folder.path(), &small, 1_100_000, 50);
    let (_, many) = train(folder.path(), &small, 3_000_000, 50);
    // Eight bytes for each of the rows that are more would be 14 MiB.
    assert!(many < few + 4 * MIB, "{few} bytes become {many}");

    let large = Hyperparameters::draft(100_000).mini_batch_size(2_000).epochs(1);
    let (weights, peak) = train(folder.path(), &large, 60_000, 40_000);
    // The weights and two moments of each.
    let state = 3 * 4 * weights;
    assert!(state > 40 * MIB);
    assert!(
        peak < state * 3 / 2 + 8 * MIB,
        "{peak} bytes for {state} of weights and moments"
    );
    assert!(peak > state / 2, "{peak} bytes cannot be the peak");

    // Residual layers: one gradient of them, and what at most 4 groups of 80 addresses leave in each, twice 8 ranges of 32 numbers.
    let (layers, inputs) = (40, 8 * 32);
    let deep = Hyperparameters::draft(100)
        .num_ip_encoder_layers(layers)
        .mini_batch_size(2_000)
        .epochs(1);
    let (weights, peak) = train(folder.path(), &deep, 3_000, 50);
    let state = 3 * 4 * weights;
    let activations = 4 * 80 * u64::from(layers) * 2 * inputs * 4;
    assert!(state > 20 * MIB);
    assert!(
        peak < state * 3 / 2 + activations + 8 * MIB,
        "{peak} bytes for {state} of weights and moments and {activations} of activations"
    );
}
