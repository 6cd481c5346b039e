//! The same code for several vector units, chosen when it runs; with `map.rs`, all that is unsafe in this crate.
//!
//! Work that runs through [`run`] is compiled three times on x86-64: for AVX-512, for AVX2, and for any processor. On other
//! processors there is one version, for what the target has for certain, which on AArch64 includes NEON. The products of
//! matrices, which no compiler finds vectors for, have kernels of their own for AVX-512, AVX2 and NEON. All give the same
//! bits, because nothing in the engine depends on the width of a vector: sums have a fixed order, and every multiply-add is
//! fused (where the processor has none, `f32::mul_add` computes the same in software).

use crate::gemm::Product;

/// A piece of work. `run` must be `#[inline(always)]`, and so must all it calls that is worth vector units: only what is
/// inlined is compiled for them.
pub(crate) trait Work {
    type Output;

    fn run(self) -> Self::Output;
}

/// A set of vector instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "aarch64")]
    Neon,
    Portable,
}

impl Unit {
    /// All that this kind of processor may have, the widest first.
    #[cfg(target_arch = "x86_64")]
    pub(crate) const ALL: [Self; 3] = [Self::Avx512, Self::Avx2, Self::Portable];
    #[cfg(target_arch = "aarch64")]
    pub(crate) const ALL: [Self; 2] = [Self::Neon, Self::Portable];
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    pub(crate) const ALL: [Self; 1] = [Self::Portable];

    /// Whether this processor has it.
    pub(crate) fn is_present(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => {
                std::arch::is_x86_feature_detected!("avx512f")
                    && std::arch::is_x86_feature_detected!("avx512vl")
                    && std::arch::is_x86_feature_detected!("avx512dq")
                    && std::arch::is_x86_feature_detected!("avx512bw")
                    && std::arch::is_x86_feature_detected!("fma")
            }
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => {
                std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma")
            }
            #[cfg(target_arch = "aarch64")]
            Self::Neon => std::arch::is_aarch64_feature_detected!("neon"),
            Self::Portable => true,
        }
    }

    /// The widest there is, or what a test has chosen.
    fn chosen() -> Self {
        #[cfg(test)]
        if let Some(unit) = CHOSEN.get() {
            return unit;
        }
        Self::ALL
            .into_iter()
            .find(|unit| unit.is_present())
            .unwrap_or(Self::Portable)
    }
}

/// Asks the processor to have these numbers at hand soon; without any other effect.
#[inline(always)]
pub(crate) fn prefetch<T>(numbers: &[T]) {
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    for line in numbers.chunks((64 / size_of::<T>().max(1)).max(1)) {
        #[expect(unsafe_code, reason = "an instruction that takes an address")]
        // SAFETY: prefetching neither reads nor writes, so any address will do; every x86-64 processor has SSE, and every
        // AArch64 processor the instruction.
        unsafe {
            #[cfg(target_arch = "x86_64")]
            std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(line.as_ptr().cast());
            #[cfg(target_arch = "aarch64")]
            std::arch::asm!("prfm pldl1keep, [{}]", in(reg) line.as_ptr(), options(nostack, readonly, preserves_flags));
        }
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = numbers;
}

/// Does the work with the widest vectors of this processor.
pub(crate) fn run<W: Work>(work: W) -> W::Output {
    run_on(Unit::chosen(), work)
}

#[cfg(test)]
thread_local! {
    static CHOSEN: std::cell::Cell<Option<Unit>> = const { std::cell::Cell::new(None) };
}

/// Does something with this unit for all work on this thread.
#[cfg(test)]
pub(crate) fn with_unit<R>(unit: Unit, something: impl FnOnce() -> R) -> R {
    CHOSEN.set(Some(unit));
    let result = something();
    CHOSEN.set(None);
    result
}

/// Does the work with the given unit, or portably where that is missing.
pub(crate) fn run_on<W: Work>(unit: Unit, work: W) -> W::Output {
    #[cfg(target_arch = "x86_64")]
    if unit.is_present() {
        #[expect(
            unsafe_code,
            reason = "calling code for processor features that were just found present"
        )]
        // SAFETY: the only requirement of a function with `target_feature` is that the processor has the features, and
        // `is_present` has just asked for exactly those.
        unsafe {
            match unit {
                Unit::Avx512 => return x86::avx512(work),
                Unit::Avx2 => return x86::avx2(work),
                Unit::Portable => {}
            }
        }
    }
    let _ = unit;
    work.run()
}

/// `c += a b`, or `c = a b`. The kernels keep a block of `c` in registers, which the compiler does not find by itself.
pub(crate) fn multiply(mut product: Product<'_, f32>) {
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    {
        let unit = Unit::chosen();
        if unit.is_present() {
            product.check();
            #[expect(
                unsafe_code,
                reason = "calling code for processor features that were just found present"
            )]
            // SAFETY: `is_present` has just found the features of the kernels, and `check` that all elements of the three
            // matrices lie in their slices.
            unsafe {
                match unit {
                    #[cfg(target_arch = "x86_64")]
                    Unit::Avx512 => return x86::multiply_avx512(&mut product),
                    #[cfg(target_arch = "x86_64")]
                    Unit::Avx2 => return x86::multiply_avx2(&mut product),
                    #[cfg(target_arch = "aarch64")]
                    Unit::Neon => return arm::multiply_neon(&mut product),
                    Unit::Portable => {}
                }
            }
        }
    }
    product.columns_from(0);
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
impl Product<'_, f32> {
    /// Whether every element of the three matrices lies in its slice.
    fn check(&self) {
        let fits = |rows: usize, row: usize, columns: usize, column: usize, length: usize| {
            let down = rows.checked_sub(1).and_then(|last| last.checked_mul(row));
            let across = columns.checked_sub(1).and_then(|last| last.checked_mul(column));
            let last = down.and_then(|down| across.and_then(|across| down.checked_add(across)));
            last.is_some_and(|last| last < length)
        };
        assert!(fits(
            self.m,
            self.a.row,
            self.k,
            self.a.column,
            self.a.values.len()
        ));
        assert!(fits(self.k, self.b_stride, self.n, 1, self.b.len()));
        assert!(fits(self.m, self.c_stride, self.n, 1, self.c.len()));
    }
}

/// A kernel: a block of `R` rows and as many columns as `$vectors` vectors hold.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! kernel {
    ($block:ident, $all:ident, $features:literal, $lanes:literal, $most:literal, $load:ident, $store:ident, $set1:ident,
     $zero:ident, $add:ident, $fmadd:ident) => {
        /// # Safety
        ///
        /// The block at `(i, j)`, of `R` rows and `V` vectors, must lie within the product, and all its elements in
        /// their slices.
        #[target_feature(enable = $features)]
        #[expect(unsafe_code, reason = "bounds are checked once for the whole product")]
        unsafe fn $block<const R: usize, const V: usize>(product: &mut Product<'_, f32>, i: usize, j: usize) {
            let mut sums = [[$zero(); V]; R];
            let (row, column) = (product.a.row, product.a.column);
            // SAFETY: `i + R <= m`, `j + V * lanes <= n` and `p < k`, so by the caller's promise every address below is
            // that of an element of its slice, and so are the elements of a vector after it.
            unsafe {
                let a = product.a.values.as_ptr().add(i * row);
                let b = product.b.as_ptr().add(j);
                for p in 0..product.k {
                    let b = b.add(p * product.b_stride);
                    let mut vectors = [$zero(); V];
                    for (v, vector) in vectors.iter_mut().enumerate() {
                        *vector = $load(b.add(v * $lanes));
                    }
                    for (r, sums) in sums.iter_mut().enumerate() {
                        let a = $set1(*a.add(r * row + p * column));
                        for (sum, vector) in sums.iter_mut().zip(vectors) {
                            *sum = $fmadd(a, vector, *sum);
                        }
                    }
                }
                for (r, sums) in sums.iter().enumerate() {
                    let c = product.c.as_mut_ptr().add((i + r) * product.c_stride + j);
                    for (v, sum) in sums.iter().enumerate() {
                        let c = c.add(v * $lanes);
                        $store(
                            c,
                            if product.add {
                                $add($load(c), *sum)
                            } else {
                                *sum
                            },
                        );
                    }
                }
            }
        }

        /// The whole product.
        ///
        /// # Safety
        ///
        /// All elements of the three matrices must lie in their slices.
        #[target_feature(enable = $features)]
        #[expect(unsafe_code, reason = "bounds are checked once for the whole product")]
        pub(super) unsafe fn $all(product: &mut Product<'_, f32>) {
            let mut j = 0;
            // Column panels outside: a panel of `b` stays in the first cache while all rows of `a` pass.
            while j + $lanes <= product.n {
                let two = j + 2 * $lanes <= product.n;
                let mut i = 0;
                while i < product.m {
                    let rows = product.m - i;
                    // SAFETY: the block has no more rows and columns than are left.
                    i += unsafe {
                        match (rows, two) {
                            ($most.., true) => {
                                $block::<$most, 2>(product, i, j);
                                $most
                            }
                            ($most.., false) => {
                                $block::<$most, 1>(product, i, j);
                                $most
                            }
                            (4.., true) => {
                                $block::<4, 2>(product, i, j);
                                4
                            }
                            (4.., false) => {
                                $block::<4, 1>(product, i, j);
                                4
                            }
                            (2.., true) => {
                                $block::<2, 2>(product, i, j);
                                2
                            }
                            (2.., false) => {
                                $block::<2, 1>(product, i, j);
                                2
                            }
                            (_, true) => {
                                $block::<1, 2>(product, i, j);
                                1
                            }
                            (_, false) => {
                                $block::<1, 1>(product, i, j);
                                1
                            }
                        }
                    };
                }
                j += if two { 2 * $lanes } else { $lanes };
            }
            // What is left fills no vector.
            product.columns_from(j);
        }
    };
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        _mm256_add_ps, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_set1_ps, _mm256_setzero_ps, _mm256_storeu_ps,
        _mm512_add_ps, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_set1_ps, _mm512_setzero_ps, _mm512_storeu_ps,
    };

    use super::{Product, Work};

    #[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,fma")]
    pub(super) fn avx512<W: Work>(work: W) -> W::Output {
        work.run()
    }

    #[target_feature(enable = "avx2,fma")]
    pub(super) fn avx2<W: Work>(work: W) -> W::Output {
        work.run()
    }

    kernel!(
        block_avx512,
        multiply_avx512,
        "avx512f,avx512vl,avx512dq,avx512bw,fma",
        16,
        12,
        _mm512_loadu_ps,
        _mm512_storeu_ps,
        _mm512_set1_ps,
        _mm512_setzero_ps,
        _mm512_add_ps,
        _mm512_fmadd_ps
    );
    kernel!(
        block_avx2,
        multiply_avx2,
        "avx2,fma",
        8,
        6,
        _mm256_loadu_ps,
        _mm256_storeu_ps,
        _mm256_set1_ps,
        _mm256_setzero_ps,
        _mm256_add_ps,
        _mm256_fmadd_ps
    );
}

#[cfg(target_arch = "aarch64")]
mod arm {
    use std::arch::aarch64::{float32x4_t, vaddq_f32, vdupq_n_f32, vfmaq_f32, vld1q_f32, vst1q_f32};

    use super::Product;

    #[target_feature(enable = "neon")]
    fn zero() -> float32x4_t {
        vdupq_n_f32(0.0)
    }

    /// `a b + sum`, rounded once.
    #[target_feature(enable = "neon")]
    fn multiply_add(a: float32x4_t, b: float32x4_t, sum: float32x4_t) -> float32x4_t {
        vfmaq_f32(sum, a, b)
    }

    // 24 of the 32 registers for sums.
    kernel!(
        block_neon,
        multiply_neon,
        "neon",
        4,
        12,
        vld1q_f32,
        vst1q_f32,
        vdupq_n_f32,
        zero,
        vaddq_f32,
        multiply_add
    );
}
