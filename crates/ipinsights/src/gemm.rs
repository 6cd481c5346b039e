//! Products of the engine's small, row-major matrices.
//!
//! Every element is one chain of fused multiply-adds over `k` in ascending order, whatever the size of the other matrices
//! and whichever vector unit computes it, so one address scored alone and among a thousand gets the same bits. No library
//! promises that, and on the shapes of a mini-batch none is as fast (`compare-gemm`, figures in NOTES.md).

use crate::real::Real;

/// A matrix in a slice: the element `(i, j)` is at `i * row + j * column`.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a, T> {
    pub(crate) values: &'a [T],
    pub(crate) row: usize,
    pub(crate) column: usize,
}

impl<'a, T> Matrix<'a, T> {
    /// Rows that begin `stride` apart.
    #[inline(always)]
    pub(crate) fn rows(values: &'a [T], stride: usize) -> Self {
        Self {
            values,
            row: stride,
            column: 1,
        }
    }

    /// The transpose of a matrix whose rows begin `stride` apart.
    #[inline(always)]
    pub(crate) fn transposed(values: &'a [T], stride: usize) -> Self {
        Self {
            values,
            row: 1,
            column: stride,
        }
    }
}

/// `c += a b`, where `a` is `m` by `k`, `b` is `k` by `n` and the rows of `b` and `c` begin `b_stride` and `c_stride`
/// apart.
#[inline(always)]
pub(crate) fn multiply_add<T: Real>(
    sizes: [usize; 3],
    a: Matrix<'_, T>,
    b: (&[T], usize),
    c: (&mut [T], usize),
) {
    product(sizes, a, b, c, true);
}

/// `c = a b`, with the same arguments.
#[inline(always)]
pub(crate) fn multiply<T: Real>(sizes: [usize; 3], a: Matrix<'_, T>, b: (&[T], usize), c: (&mut [T], usize)) {
    product(sizes, a, b, c, false);
}

#[inline(always)]
fn product<T: Real>(
    [m, n, k]: [usize; 3],
    a: Matrix<'_, T>,
    (b, b_stride): (&[T], usize),
    (c, c_stride): (&mut [T], usize),
    add: bool,
) {
    if m > 0 && n > 0 && k > 0 {
        T::multiply(Product {
            m,
            n,
            k,
            a,
            b,
            b_stride,
            c,
            c_stride,
            add,
        });
    } else if !add && n > 0 {
        c.chunks_mut(c_stride).take(m).for_each(|c| c[..n].fill(T::ZERO));
    }
}

/// What [`multiply_add`] and [`multiply`] compute; nothing is empty.
pub(crate) struct Product<'a, T> {
    pub(crate) m: usize,
    pub(crate) n: usize,
    pub(crate) k: usize,
    pub(crate) a: Matrix<'a, T>,
    pub(crate) b: &'a [T],
    pub(crate) b_stride: usize,
    pub(crate) c: &'a mut [T],
    pub(crate) c_stride: usize,
    /// Whether what is in `c` counts.
    pub(crate) add: bool,
}

/// Columns that are computed together where there are no kernels for the processor's vectors.
const COLUMNS: usize = 32;

impl<T: Real> Product<'_, T> {
    /// The columns from `start` on, for any processor.
    #[inline(always)]
    pub(crate) fn columns_from(&mut self, start: usize) {
        for i in 0..self.m {
            let mut j = start;
            while j < self.n {
                let width = COLUMNS.min(self.n - j);
                let mut sums = [T::ZERO; COLUMNS];
                for p in 0..self.k {
                    let a = self.a.values[i * self.a.row + p * self.a.column];
                    let b = &self.b[p * self.b_stride + j..][..width];
                    for (sum, b) in sums.iter_mut().zip(b) {
                        *sum = a.mul_add(*b, *sum);
                    }
                }
                let c = &mut self.c[i * self.c_stride + j..][..width];
                for (c, sum) in c.iter_mut().zip(&sums) {
                    *c = if self.add { *c + *sum } else { *sum };
                }
                j += width;
            }
        }
    }
}

/// The transpose of the `rows` by `columns` matrix `a` without gaps; rows of `out` begin `stride` apart.
#[inline(always)]
pub(crate) fn transpose<T: Real>([rows, columns]: [usize; 2], a: &[T], out: &mut [T], stride: usize) {
    // Tiles, so that both sides are read and written in whole pieces of cache lines.
    const TILE: usize = 8;
    for i0 in (0..rows).step_by(TILE) {
        for j0 in (0..columns).step_by(TILE) {
            if i0 + TILE <= rows && j0 + TILE <= columns {
                let tile: [[T; TILE]; TILE] = std::array::from_fn(|i| {
                    let row = &a[(i0 + i) * columns + j0..][..TILE];
                    std::array::from_fn(|j| row[j])
                });
                for j in 0..TILE {
                    let column: [T; TILE] = std::array::from_fn(|i| tile[i][j]);
                    out[(j0 + j) * stride + i0..][..TILE].copy_from_slice(&column);
                }
                continue;
            }
            for i in i0..(i0 + TILE).min(rows) {
                for j in j0..(j0 + TILE).min(columns) {
                    out[j * stride + i] = a[i * columns + j];
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::vector::{self, Unit};

    fn matrix(rows: usize, stride: usize, salt: u64) -> Vec<f32> {
        (0..rows * stride)
            .map(|i| crate::hash::initial(salt, 0, i as u64) as f32)
            .collect()
    }

    #[test]
    fn slices_that_are_too_short_are_refused_on_every_unit() {
        // m, n and k are 13, 33 and 5, and in turn one number of a, b or c is missing.
        for unit in Unit::ALL {
            for missing in [[1, 0, 0], [0, 1, 0], [0, 0, 1]] {
                let refused = std::panic::catch_unwind(|| {
                    let (a, b) = (vec![1.0_f32; 13 * 5 - missing[0]], vec![1.0; 5 * 33 - missing[1]]);
                    let mut c = vec![0.0; 13 * 33 - missing[2]];
                    vector::with_unit(unit, || {
                        multiply([13, 33, 5], Matrix::rows(&a, 5), (&b, 33), (&mut c, 33));
                    });
                });
                assert!(refused.is_err(), "{unit:?}, {missing:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn is_the_sum_in_order_on_every_unit(
            m in 0..21_usize, n in 0..71_usize, k in 0..20_usize, gap in 0..3_usize, turned: bool, add: bool,
        ) {
            let (row, column) = if turned { (1, m + gap) } else { (k + gap, 1) };
            let a = matrix(m.max(k), m.max(k) + gap, 1);
            let b = matrix(k, n + gap, 2);
            let start = matrix(m, n + gap, 3);
            let mut want = start.clone();
            for i in 0..m {
                for j in 0..n {
                    let sum = (0..k).fold(0.0_f32, |sum, p| {
                        a[i * row + p * column].mul_add(b[p * (n + gap) + j], sum)
                    });
                    let at = &mut want[i * (n + gap) + j];
                    *at = if add { *at + sum } else { sum };
                }
            }
            for unit in Unit::ALL {
                let mut got = start.clone();
                let a = Matrix { values: &a, row, column };
                vector::with_unit(unit, || product([m, n, k], a, (&b, n + gap), (&mut got, n + gap), add));
                // To the bit.
                prop_assert_eq!(&got, &want, "{:?}", unit);
            }
        }

        #[test]
        fn transposed_twice_is_the_same(rows in 1..20_usize, columns in 1..20_usize, gap in 0..3_usize) {
            let a = matrix(rows, columns, 4);
            let mut once = vec![0.0; columns * (rows + gap)];
            transpose([rows, columns], &a, &mut once, rows + gap);
            prop_assert_eq!(once[(rows + gap) * (columns - 1)], a[columns - 1]);
            for i in 0..rows {
                for j in 0..columns {
                    prop_assert_eq!(once[j * (rows + gap) + i], a[i * columns + j]);
                }
            }
        }
    }
}
