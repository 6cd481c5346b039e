//! Products of the engine's small, row-major matrices.
//!
//! Every element is the sum over `k` in ascending order, whatever the size of the other matrices and whichever kernel
//! computes it, so one address scored alone and among a thousand gets the same bits.

use crate::real::Real;

/// Rows and columns of the block that is kept in registers.
const ROWS: usize = 4;
const COLUMNS: usize = 16;

/// A matrix in a slice: row `i` begins at `i * stride`.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a, T> {
    pub(crate) values: &'a [T],
    pub(crate) stride: usize,
}

/// `c += a b`, where `a` is `m` by `k`, `b` is `k` by `n` and the rows of `c` begin `c_stride` apart.
pub(crate) fn multiply_add<T: Real>(
    sizes: [usize; 3],
    a: Matrix<'_, T>,
    b: Matrix<'_, T>,
    c: &mut [T],
    c_stride: usize,
) {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        #[expect(
            unsafe_code,
            reason = "calling code for a processor feature that was just found present"
        )]
        // SAFETY: the only requirement of `avx2` is that the processor has AVX2.
        unsafe {
            avx2(sizes, a, b, c, c_stride);
        }
        return;
    }
    portable(sizes, a, b, c, c_stride);
}

/// The portable code, compiled for wider vectors. Without fused multiply-add, which rounds once instead of twice, so that
/// all processors give the same bits.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn avx2<T: Real>(sizes: [usize; 3], a: Matrix<'_, T>, b: Matrix<'_, T>, c: &mut [T], c_stride: usize) {
    portable(sizes, a, b, c, c_stride);
}

#[inline(always)]
fn portable<T: Real>(
    [m, n, k]: [usize; 3],
    a: Matrix<'_, T>,
    b: Matrix<'_, T>,
    c: &mut [T],
    c_stride: usize,
) {
    if m == 0 || n == 0 || k == 0 {
        return;
    }
    let whole = n - n % COLUMNS;
    // Column panels outside: a panel of `b` stays in the first cache while all rows of `a` pass.
    for j in (0..whole).step_by(COLUMNS) {
        let mut i = 0;
        while i + ROWS <= m {
            block::<T, ROWS>(i, j, k, a, b, c, c_stride);
            i += ROWS;
        }
        while i < m {
            block::<T, 1>(i, j, k, a, b, c, c_stride);
            i += 1;
        }
    }
    for i in 0..m {
        for j in whole..n {
            let mut sum = T::ZERO;
            for p in 0..k {
                sum += a.values[i * a.stride + p] * b.values[p * b.stride + j];
            }
            c[i * c_stride + j] += sum;
        }
    }
}

/// The `R` by [`COLUMNS`] block of `c` at `(i, j)`.
#[inline(always)]
fn block<T: Real, const R: usize>(
    i: usize,
    j: usize,
    k: usize,
    a: Matrix<'_, T>,
    b: Matrix<'_, T>,
    c: &mut [T],
    c_stride: usize,
) {
    let mut sums = [[T::ZERO; COLUMNS]; R];
    let a_rows: [&[T]; R] = std::array::from_fn(|r| &a.values[(i + r) * a.stride..][..k]);
    let b_rows = b.values[j..].chunks(b.stride);
    for (p, b_row) in b_rows.take(k).enumerate() {
        let Some(b_row) = b_row.first_chunk::<COLUMNS>() else {
            return;
        };
        for r in 0..R {
            let a = a_rows[r][p];
            for q in 0..COLUMNS {
                sums[r][q] += a * b_row[q];
            }
        }
    }
    for (r, sums) in sums.iter().enumerate() {
        let c = &mut c[(i + r) * c_stride + j..][..COLUMNS];
        for (c, sum) in c.iter_mut().zip(sums) {
            *c += *sum;
        }
    }
}

/// The transpose of the `rows` by `columns` matrix `a`, without gaps between its rows.
pub(crate) fn transpose<T: Real>(rows: usize, columns: usize, a: Matrix<'_, T>, out: &mut [T]) {
    // Tiles, so that both sides are read and written in whole pieces of cache lines.
    const TILE: usize = 8;
    for i0 in (0..rows).step_by(TILE) {
        for j0 in (0..columns).step_by(TILE) {
            if i0 + TILE <= rows && j0 + TILE <= columns {
                let tile: [[T; TILE]; TILE] = std::array::from_fn(|i| {
                    let row = &a.values[(i0 + i) * a.stride + j0..][..TILE];
                    std::array::from_fn(|j| row[j])
                });
                for j in 0..TILE {
                    let column: [T; TILE] = std::array::from_fn(|i| tile[i][j]);
                    out[(j0 + j) * rows + i0..][..TILE].copy_from_slice(&column);
                }
                continue;
            }
            for i in i0..(i0 + TILE).min(rows) {
                for j in j0..(j0 + TILE).min(columns) {
                    out[j * rows + i] = a.values[i * a.stride + j];
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matrix(rows: usize, stride: usize, salt: u64) -> Vec<f32> {
        (0..rows * stride)
            .map(|i| crate::hash::initial(salt, 0, i as u64) as f32)
            .collect()
    }

    proptest! {
        #[test]
        fn is_the_sum_in_order(m in 0..11_usize, n in 0..35_usize, k in 0..20_usize, gap in 0..3_usize) {
            let (a, b) = (matrix(m, k + gap, 1), matrix(k, n + gap, 2));
            let start = matrix(m, n + gap, 3);
            let mut got = start.clone();
            multiply_add(
                [m, n, k],
                Matrix { values: &a, stride: k + gap },
                Matrix { values: &b, stride: n + gap },
                &mut got,
                n + gap,
            );
            let mut want = start.clone();
            for i in 0..m {
                for j in 0..n {
                    let sum = (0..k).fold(0.0, |sum, p| sum + a[i * (k + gap) + p] * b[p * (n + gap) + j]);
                    want[i * (n + gap) + j] += sum;
                }
            }
            // To the bit, whichever kernel this processor takes.
            prop_assert_eq!(&got, &want);
            let mut got = start;
            portable(
                [m, n, k],
                Matrix { values: &a, stride: k + gap },
                Matrix { values: &b, stride: n + gap },
                &mut got,
                n + gap,
            );
            prop_assert_eq!(got, want);
        }

        #[test]
        fn transposed_twice_is_the_same(rows in 1..20_usize, columns in 1..20_usize) {
            let a = matrix(rows, columns, 4);
            let mut once = vec![0.0; a.len()];
            let mut twice = vec![0.0; a.len()];
            transpose(rows, columns, Matrix { values: &a, stride: columns }, &mut once);
            prop_assert_eq!(once[rows * (columns - 1)], a[columns - 1]);
            transpose(columns, rows, Matrix { values: &once, stride: rows }, &mut twice);
            prop_assert_eq!(twice, a);
        }
    }
}
