//! What a core can do at most.

use std::hint::black_box;
use std::time::Instant;

const ROUNDS: usize = 10;

/// Chains of multiply-adds side by side: more than latency times units, fewer than registers.
const CHAINS: usize = 12;

const STEPS: usize = 1_000_000;

/// A loop of multiply-adds that never leaves the registers.
macro_rules! chains {
    ($name:ident, $architecture:ident, $features:literal, $set1:ident, $fmadd:expr, $first:ident) => {
        #[target_feature(enable = $features)]
        fn $name(x: f32) -> f32 {
            use std::arch::$architecture::*;
            let (a, b) = ($set1(x), $set1(1.0 - x));
            let mut sums = [$set1(x); CHAINS];
            for _ in 0..STEPS {
                for sum in &mut sums {
                    *sum = $fmadd(*sum, a, b);
                }
            }
            sums.map(|sum| $first(sum)).iter().sum()
        }
    };
}

#[cfg(target_arch = "x86_64")]
chains!(
    avx512,
    x86_64,
    "avx512f",
    _mm512_set1_ps,
    |sum, a, b| _mm512_fmadd_ps(sum, a, b),
    _mm512_cvtss_f32
);
#[cfg(target_arch = "x86_64")]
chains!(
    avx2,
    x86_64,
    "avx2,fma",
    _mm256_set1_ps,
    |sum, a, b| _mm256_fmadd_ps(sum, a, b),
    _mm256_cvtss_f32
);
#[cfg(target_arch = "aarch64")]
chains!(
    neon,
    aarch64,
    "neon",
    vdupq_n_f32,
    |sum, a, b| vfmaq_f32(b, sum, a),
    vaddvq_f32
);

/// The widest vectors there are, and multiplications and additions in a second of one core.
pub fn operations_per_second() -> (&'static str, f64) {
    let (name, lanes, run) = widest();
    let mut fastest = f64::INFINITY;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        black_box(run(black_box(0.999)));
        fastest = fastest.min(start.elapsed().as_secs_f64());
    }
    (name, (2 * lanes * CHAINS * STEPS) as f64 / fastest)
}

type Run = fn(f32) -> f32;

#[expect(
    unsafe_code,
    reason = "calling code for processor features that were just found present"
)]
fn widest() -> (&'static str, usize, Run) {
    // SAFETY: each function is called only where its features have been found.
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx512f") {
        return ("AVX-512", 16, |x| unsafe { avx512(x) });
    } else if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
        return ("AVX2", 8, |x| unsafe { avx2(x) });
    }
    #[cfg(target_arch = "aarch64")]
    if std::arch::is_aarch64_feature_detected!("neon") {
        return ("NEON", 4, |x| unsafe { neon(x) });
    }
    ("no vectors", 1, |x| {
        let mut sums = [x; CHAINS];
        for _ in 0..STEPS {
            for sum in &mut sums {
                *sum = sum.mul_add(x, 1.0 - x);
            }
        }
        sums.iter().sum()
    })
}

/// More than any cache holds, for each thread.
const NUMBERS: usize = 1 << 26;

/// Bytes that so many threads read from memory in a second, one after the other.
pub fn bytes_read_per_second(threads: usize) -> f64 {
    let numbers = vec![1_u64; NUMBERS];
    let mut fastest = f64::INFINITY;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        std::thread::scope(|scope| {
            for part in numbers.chunks(NUMBERS / threads) {
                scope.spawn(|| black_box(part.iter().fold(0_u64, |sum, n| sum.wrapping_add(*n))));
            }
        });
        fastest = fastest.min(start.elapsed().as_secs_f64());
    }
    (8 * NUMBERS) as f64 / fastest
}
