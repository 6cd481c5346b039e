//! The products of a mini-batch of the published test; items are multiplications and additions. `cargo bench -p ipinsights --bench
//! kernels`. What libraries make of the same products is in `compare-gemm`.

#![allow(
    dead_code,
    unused_imports,
    reason = "the engine uses more of its modules, and so do their tests"
)]

#[path = "../src/gemm.rs"]
mod gemm;
#[path = "../src/hash.rs"]
mod hash;
#[path = "../src/real.rs"]
mod real;
#[path = "../src/vector.rs"]
mod vector;

use divan::Bencher;
use divan::counter::ItemsCount;

use crate::gemm::Matrix;

fn main() {
    divan::main();
}

/// `m`, `n`, `k`, and whether the first matrix is turned round; 200 ranges of a level, and a group of 36 rows.
const SHAPES: [(usize, usize, usize, bool); 6] = [
    (200, 128, 32, false),
    (36, 80, 128, false),
    (36, 128, 72, false),
    (72, 128, 36, true),
    (32, 128, 200, true),
    (200, 32, 128, false),
];

#[divan::bench(args = 0..SHAPES.len())]
fn product(bencher: Bencher<'_, '_>, shape: usize) {
    let (m, n, k, turned) = SHAPES[shape];
    let numbers = |count: usize| (0..count).map(|i| (i % 101) as f32 / 101.0).collect::<Vec<_>>();
    let (a, b, mut c) = (numbers(m * k), numbers(k * n), vec![0.0; m * n]);
    let a = if turned {
        Matrix::transposed(&a, m)
    } else {
        Matrix::rows(&a, k)
    };
    bencher
        .counter(ItemsCount::new(2 * m * n * k))
        .bench_local(|| gemm::multiply([m, n, k], divan::black_box(a), (&b, n), (&mut c, n)));
}
