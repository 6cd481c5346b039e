//! The products of a mini-batch in several ways, each beside what one core can do at all.

#[path = "../../src/gemm.rs"]
#[allow(dead_code, reason = "the engine uses more of it")]
mod gemm;
mod peak;
#[path = "../../src/real.rs"]
#[allow(dead_code, reason = "the engine uses more of it")]
mod real;
#[path = "../../src/vector.rs"]
#[allow(dead_code, reason = "the engine uses more of it")]
mod vector;

use std::hint::black_box;
use std::time::{Duration, Instant};

use candle_core::{Device, Tensor};
use faer::{Accum, MatMut, MatRef, Par};

use crate::gemm::Matrix;

/// One product of a mini-batch of the published test: `vector_dim` 128, 32 numbers in a range's row, nine levels.
struct Shape {
    what: &'static str,
    /// `c` is `m` by `n`, and each of its elements a sum over `k`.
    m: usize,
    n: usize,
    k: usize,
    /// Whether `a` lies in memory as its transpose.
    turned: bool,
    /// How often a mini-batch has it.
    often: usize,
}

/// Addresses of a group, of which half are its rows'; columns of scores are rounded up to a multiple of 16. Of the 284
/// addresses of a mini-batch about 200 lie in a range of their own at each of the nine levels.
const SHAPES: [Shape; 6] = [
    Shape {
        what: "vectors of ranges",
        m: 200,
        n: 128,
        k: 32,
        turned: false,
        often: 9,
    },
    Shape {
        what: "scores of a group",
        m: 36,
        n: 80,
        k: 128,
        turned: false,
        often: 4,
    },
    Shape {
        what: "gradient of its entities",
        m: 36,
        n: 128,
        k: 72,
        turned: false,
        often: 4,
    },
    Shape {
        what: "gradient of its addresses",
        m: 72,
        n: 128,
        k: 36,
        turned: true,
        often: 4,
    },
    Shape {
        what: "gradient of the layer, a level",
        m: 32,
        n: 128,
        k: 200,
        turned: true,
        often: 9,
    },
    Shape {
        what: "gradient of ranges",
        m: 200,
        n: 32,
        k: 128,
        turned: false,
        often: 9,
    },
];

impl Shape {
    /// Multiplications and additions.
    fn operations(&self) -> f64 {
        2.0 * (self.m * self.n * self.k) as f64
    }

    /// From one row of `a` to the next, and from one column to the next.
    fn strides(&self) -> (usize, usize) {
        if self.turned { (1, self.m) } else { (self.k, 1) }
    }
}

/// `a`, `b` and room for `c`.
struct Operands {
    a: Vec<f32>,
    b: Vec<f32>,
    c: Vec<f32>,
}

impl Operands {
    fn new(shape: &Shape) -> Self {
        let numbers = |count: usize, salt: usize| {
            let number = |i: usize| ((i * 37 + salt) % 101) as f32 / 101.0 - 0.5;
            (0..count).map(number).collect::<Vec<f32>>()
        };
        Self {
            a: numbers(shape.m * shape.k, 1),
            b: numbers(shape.k * shape.n, 2),
            c: vec![0.0; shape.m * shape.n],
        }
    }
}

/// Computes `c = a b` on one thread.
type Way = fn(&Shape, &mut Operands);

const WAYS: [(&str, Way); 5] = [
    ("ours", ours),
    ("gemm", with_gemm),
    ("faer", with_faer),
    ("matrixmultiply", with_matrixmultiply),
    ("candle", with_candle),
];

fn ours(shape: &Shape, operands: &mut Operands) {
    let (row, column) = shape.strides();
    let a = Matrix {
        values: &operands.a,
        row,
        column,
    };
    let (b, c) = ((&operands.b[..], shape.n), (&mut operands.c[..], shape.n));
    gemm::multiply([shape.m, shape.n, shape.k], a, b, c);
}

#[expect(unsafe_code, reason = "the library takes pointers")]
fn with_gemm(shape: &Shape, operands: &mut Operands) {
    let Shape { m, n, k, .. } = *shape;
    let (row, column) = shape.strides();
    assert_eq!(
        [operands.a.len(), operands.b.len(), operands.c.len()],
        [m * k, k * n, m * n]
    );
    // SAFETY: the slices have exactly the elements that sizes and strides name.
    unsafe {
        ::gemm::gemm(
            m,
            n,
            k,
            operands.c.as_mut_ptr(),
            1,
            n as isize,
            false,
            operands.a.as_ptr(),
            column as isize,
            row as isize,
            operands.b.as_ptr(),
            1,
            n as isize,
            0.0,
            1.0,
            false,
            false,
            false,
            ::gemm::Parallelism::None,
        );
    }
}

fn with_faer(shape: &Shape, operands: &mut Operands) {
    let Shape { m, n, k, .. } = *shape;
    let a = if shape.turned {
        MatRef::from_column_major_slice(&operands.a, m, k)
    } else {
        MatRef::from_row_major_slice(&operands.a, m, k)
    };
    let b = MatRef::from_row_major_slice(&operands.b, k, n);
    let c = MatMut::from_row_major_slice_mut(&mut operands.c, m, n);
    faer::linalg::matmul::matmul(c, Accum::Replace, a, b, 1.0, Par::Seq);
}

#[expect(unsafe_code, reason = "the library takes pointers")]
fn with_matrixmultiply(shape: &Shape, operands: &mut Operands) {
    let Shape { m, n, k, .. } = *shape;
    let (row, column) = shape.strides();
    assert_eq!(
        [operands.a.len(), operands.b.len(), operands.c.len()],
        [m * k, k * n, m * n]
    );
    // SAFETY: the slices have exactly the elements that sizes and strides name.
    unsafe {
        matrixmultiply::sgemm(
            m,
            k,
            n,
            1.0,
            operands.a.as_ptr(),
            row as isize,
            column as isize,
            operands.b.as_ptr(),
            n as isize,
            1,
            0.0,
            operands.c.as_mut_ptr(),
            n as isize,
            1,
        );
    }
}

/// As a program on candle would: from tensors to a tensor. Only the product is timed by [`measure`], but its result is new
/// memory each time.
fn with_candle(shape: &Shape, operands: &mut Operands) {
    let c = candle_product(&candle_operands(shape, operands));
    operands.c = c.flatten_all().and_then(|c| c.to_vec1()).expect("floats");
}

fn candle_operands(shape: &Shape, operands: &Operands) -> [Tensor; 2] {
    let tensor = |values: &[f32], rows, columns| {
        Tensor::from_slice(values, (rows, columns), &Device::Cpu).expect("sizes fit")
    };
    let a = if shape.turned {
        tensor(&operands.a, shape.k, shape.m).t().expect("two dimensions")
    } else {
        tensor(&operands.a, shape.m, shape.k)
    };
    [a, tensor(&operands.b, shape.k, shape.n)]
}

fn candle_product([a, b]: &[Tensor; 2]) -> Tensor {
    a.matmul(b).expect("sizes fit")
}

/// Rounds of which the fastest counts, since others use the machine as well.
const ROUNDS: usize = 40;
const ROUND: Duration = Duration::from_millis(3);

/// Seconds that each way takes for one product, the ways by turns.
fn measure(shape: &Shape) -> [f64; WAYS.len()] {
    let mut operands = Operands::new(shape);
    let tensors = candle_operands(shape, &operands);
    let mut fastest = [f64::INFINITY; WAYS.len()];
    for _ in 0..ROUNDS {
        for ((name, way), fastest) in WAYS.iter().zip(&mut fastest) {
            let (start, mut times) = (Instant::now(), 0);
            while start.elapsed() < ROUND {
                for _ in 0..20 {
                    if *name == "candle" {
                        black_box(candle_product(&tensors));
                    } else {
                        way(shape, black_box(&mut operands));
                    }
                }
                times += 20;
            }
            *fastest = fastest.min(start.elapsed().as_secs_f64() / f64::from(times));
        }
    }
    fastest
}

/// How far apart the ways are, so that none is fast by being wrong.
fn check(shape: &Shape) {
    let results = WAYS.map(|(_, way)| {
        let mut operands = Operands::new(shape);
        way(shape, &mut operands);
        operands.c
    });
    for (result, (name, _)) in results.iter().zip(WAYS) {
        for (got, want) in result.iter().zip(&results[0]) {
            assert!(
                (got - want).abs() < 1e-4,
                "{}: {name}: {got} instead of {want}",
                shape.what
            );
        }
    }
}

fn main() {
    let (name, peak) = peak::operations_per_second();
    println!(
        "One core, {name}: {:.1} GFLOP/s of multiply-adds in registers.",
        peak / 1e9
    );
    let [one, two] = [1, 2].map(peak::bytes_read_per_second);
    println!(
        "Memory: {:.1} GB/s read by one thread, {:.1} by two.\n",
        one / 1e9,
        two / 1e9
    );
    let names = WAYS.map(|(name, _)| name).join(" | ");
    println!(
        "| product | m, n, k | {names} |\n| --- | --- |{}",
        " --- |".repeat(WAYS.len())
    );
    let cells = |rates: [f64; WAYS.len()]| {
        let cell = |rate: f64| format!("{:.1} ({:.0} %)", rate / 1e9, 100.0 * rate / peak);
        rates.map(cell).join(" | ")
    };
    let (mut operations, mut seconds) = (0.0, [0.0; WAYS.len()]);
    for shape in &SHAPES {
        check(shape);
        let measured = measure(shape);
        println!(
            "| {} | {}, {}, {}{} | {} |",
            shape.what,
            shape.m,
            shape.n,
            shape.k,
            if shape.turned { ", turned" } else { "" },
            cells(measured.map(|seconds| shape.operations() / seconds))
        );
        operations += shape.often as f64 * shape.operations();
        for (sum, seconds) in seconds.iter_mut().zip(measured) {
            *sum += shape.often as f64 * seconds;
        }
    }
    println!(
        "| all of a mini-batch | {:.1} MFLOP | {} |",
        operations / 1e6,
        cells(seconds.map(|seconds| operations / seconds))
    );
}
