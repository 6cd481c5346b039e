//! The numbers the engine computes with: `f32` to train and score, `f64` to check the very same code against finite
//! differences.
//!
//! Nothing here asks the platform's mathematics library, whose last bits differ between systems: `sqrt`, the four
//! operations and the fused multiply-add are exact by IEEE 754, the rest is built from them. So a seed gives the same
//! model everywhere. Nothing branches on a value either, so that loops over these functions become vector code.

use std::fmt::Debug;
use std::ops::{Add, AddAssign, Div, Mul, Sub};

use crate::gemm::Product;
use crate::vector;

/// A float.
pub(crate) trait Real:
    Copy
    + bytemuck::Pod
    + Debug
    + Default
    + PartialOrd
    + Send
    + Sync
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + AddAssign
    + 'static
{
    const ZERO: Self;
    const ONE: Self;

    fn from_f64(x: f64) -> Self;
    fn to_f64(self) -> f64;
    fn sqrt(self) -> Self;
    /// `self * a + b`, rounded once.
    fn mul_add(self, a: Self, b: Self) -> Self;
    fn tanh(self) -> Self;
    /// `c += a b`, or `c = a b`; every element is one chain of fused multiply-adds, whatever computes it.
    fn multiply(product: Product<'_, Self>);
    /// Of a score: the sigmoid, and `ln(1 + e^self)`, the cross-entropy of a negative. NaN stays NaN.
    fn logistic(self) -> [Self; 2];
}

impl Real for f32 {
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;

    #[inline(always)]
    fn from_f64(x: f64) -> Self {
        x as f32
    }

    #[inline(always)]
    fn to_f64(self) -> f64 {
        self.into()
    }

    #[inline(always)]
    fn sqrt(self) -> Self {
        self.sqrt()
    }

    #[inline(always)]
    fn mul_add(self, a: Self, b: Self) -> Self {
        self.mul_add(a, b)
    }

    /// A ratio of two polynomials, as in Eigen's `generic_fast_tanh`: within a few units in the last place.
    #[inline(always)]
    fn tanh(self) -> Self {
        // Beyond this the result is 1 to the last bit of an f32.
        const END: f32 = 7.905_311;
        let x = self.clamp(-END, END);
        let x2 = x * x;
        let p = (-2.760_768_5e-16_f32).mul_add(x2, 2.000_188e-13);
        let p = p.mul_add(x2, -8.604_672e-11);
        let p = p.mul_add(x2, 5.122_297e-8);
        let p = p.mul_add(x2, 1.485_722_4e-5);
        let p = p.mul_add(x2, 6.372_619_3e-4);
        let p = p.mul_add(x2, 4.893_524_6e-3);
        let q = 1.198_258_4e-6_f32.mul_add(x2, 1.185_347e-4);
        let q = q.mul_add(x2, 2.268_434_6e-3);
        let q = q.mul_add(x2, 4.893_525e-3);
        x * p / q
    }

    #[inline(always)]
    fn multiply(product: Product<'_, Self>) {
        vector::multiply(product);
    }

    #[inline(always)]
    fn logistic(self) -> [Self; 2] {
        let e = exp_of_negative_f32(-self.abs());
        let r = 1.0 / (1.0 + e);
        let sigmoid = if self < 0.0 { e * r } else { r };
        // ln(1 + e) = 2 artanh(t), by the series of artanh; t is at most 1/3.
        let t = e / (2.0 + e);
        let t2 = t * t;
        let s = (1.0_f32 / 13.0).mul_add(t2, 1.0 / 11.0);
        let s = s.mul_add(t2, 1.0 / 9.0);
        let s = s.mul_add(t2, 1.0 / 7.0);
        let s = s.mul_add(t2, 1.0 / 5.0);
        let s = s.mul_add(t2, 1.0 / 3.0);
        let s = s.mul_add(t2, 1.0);
        // Not `max`, which would drop a NaN.
        let above = if self < 0.0 { 0.0 } else { self };
        [sigmoid, (2.0 * t).mul_add(s, above)]
    }
}

/// e to the power of `x`, for `x` at most 0: within two units in the last place, and 2^-125.5 at least.
#[inline(always)]
fn exp_of_negative_f32(x: f32) -> f32 {
    let x = if x < -87.0 { -87.0 } else { x };
    // Added to 1.5 * 2^23, a small number is rounded to a whole one, which then stands in the lowest bits.
    let shifted = x.mul_add(std::f32::consts::LOG2_E, 12_582_912.0);
    let n = shifted - 12_582_912.0;
    // x = n ln 2 + r with |r| <= ln 2 / 2, ln 2 in two parts so that r loses nothing.
    let r = n.mul_add(-0.693_359_4, x);
    let r = n.mul_add(2.121_944_4e-4, r);
    // The coefficients of Cephes' `expf`.
    let p = 1.987_569_1e-4_f32.mul_add(r, 1.398_199_9e-3);
    let p = p.mul_add(r, 8.333_452e-3);
    let p = p.mul_add(r, 4.166_579_6e-2);
    let p = p.mul_add(r, 1.666_666_5e-1);
    let p = p.mul_add(r, 0.5);
    let e = p.mul_add(r * r, r) + 1.0;
    // 2^n has the exponent field n + 127.
    e * f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23))
}

impl Real for f64 {
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;

    #[inline(always)]
    fn from_f64(x: f64) -> Self {
        x
    }

    #[inline(always)]
    fn to_f64(self) -> f64 {
        self
    }

    #[inline(always)]
    fn sqrt(self) -> Self {
        self.sqrt()
    }

    #[inline(always)]
    fn mul_add(self, a: Self, b: Self) -> Self {
        self.mul_add(a, b)
    }

    #[inline(always)]
    fn tanh(self) -> Self {
        self.tanh()
    }

    fn multiply(mut product: Product<'_, Self>) {
        product.columns_from(0);
    }

    #[inline(always)]
    fn logistic(self) -> [Self; 2] {
        [sigmoid(self), cross_entropy(self, false)]
    }
}

/// e to the power of `x`, for `x` at most 0, to about 1e-15 of its size.
fn exp_of_negative(x: f64) -> f64 {
    // Smaller results round to nothing beside the 1 they are added to.
    if x < -700.0 {
        return 0.0;
    }
    // x = n ln 2 + r with |r| <= ln 2 / 2, ln 2 in two parts so that r loses nothing.
    let n = (x * std::f64::consts::LOG2_E).round();
    let r = (x - n * 0.693_147_180_369_123_8) - n * 1.908_214_929_270_587_7e-10;
    // The Taylor series, from its 13th term inwards.
    let mut sum = 1.0;
    for k in (1..=13).rev() {
        sum = 1.0 + sum * r / f64::from(k);
    }
    // 2^n has the exponent field n + 1023; n lies in -1010..=0.
    sum * f64::from_bits(((n as i64 + 1023) as u64) << 52)
}

/// The sigmoid of a score: the probability of "observed".
pub(crate) fn sigmoid(z: f64) -> f64 {
    let e = exp_of_negative(-z.abs());
    if z >= 0.0 { 1.0 / (1.0 + e) } else { e / (1.0 + e) }
}

/// The cross-entropy of a score against its label, in the form that neither overflows nor takes the logarithm of 0
/// (`max(z, 0) - z y + ln(1 + e^-|z|)`). Only reported, so it may use the platform's logarithm.
pub(crate) fn cross_entropy(z: f64, observed: bool) -> f64 {
    let z_if_wrong = if observed { -z } else { z };
    z_if_wrong.max(0.0) + exp_of_negative(-z.abs()).ln_1p()
}

/// The dot product, summed in sixteen interleaved parts whatever the machine's vectors are.
#[inline(always)]
pub(crate) fn dot<T: Real>(a: &[T], b: &[T]) -> T {
    debug_assert_eq!(a.len(), b.len());
    let mut lanes = [T::ZERO; 16];
    let (a16, a_rest) = a.as_chunks::<16>();
    let (b16, b_rest) = b.as_chunks::<16>();
    for (a, b) in a16.iter().zip(b16) {
        for i in 0..16 {
            lanes[i] = a[i].mul_add(b[i], lanes[i]);
        }
    }
    for (i, (a, b)) in a_rest.iter().zip(b_rest).enumerate() {
        lanes[i] = a.mul_add(*b, lanes[i]);
    }
    for width in [8, 4, 2, 1] {
        for i in 0..width {
            lanes[i] += lanes[i + width];
        }
    }
    lanes[0]
}

/// `y += x`.
#[inline(always)]
pub(crate) fn add<T: Real>(y: &mut [T], x: &[T]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y += *x;
    }
}

/// `y = start + part + part + …`, in this order; all are as long as `y`.
#[inline(always)]
pub(crate) fn sum<'a, T: Real>(y: &mut [T], start: &[T], parts: impl Iterator<Item = &'a [T]> + Clone) {
    /// As many sums as stay in registers.
    const BLOCK: usize = 64;
    let whole = y.len() - y.len() % BLOCK;
    for at in (0..whole).step_by(BLOCK) {
        let mut block = [T::ZERO; BLOCK];
        block.copy_from_slice(&start[at..at + BLOCK]);
        for part in parts.clone() {
            add(&mut block, &part[at..at + BLOCK]);
        }
        y[at..at + BLOCK].copy_from_slice(&block);
    }
    let y = &mut y[whole..];
    y.copy_from_slice(&start[whole..]);
    parts.for_each(|part| add(y, &part[whole..]));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sums_of_any_length_by_hand() {
        for length in [0, 1, 63, 64, 65, 200] {
            let part = |step: usize| (0..length).map(|i| (i * step) as f32).collect::<Vec<_>>();
            let (start, parts) = (part(1), [part(10), part(100)]);
            let mut y = vec![f32::NAN; length];
            sum(&mut y, &start, parts.iter().map(|part| &part[..]));
            assert_eq!(y, part(111));
            sum(&mut y, &start, std::iter::empty());
            assert_eq!(y, start);
        }
    }

    #[test]
    fn by_hand() {
        let ln2 = std::f64::consts::LN_2;
        assert_eq!(sigmoid(0.0), 0.5);
        assert_eq!(cross_entropy(0.0, true), ln2);
        assert_eq!(cross_entropy(0.0, false), ln2);
        // ln(1 + e^-2) and 2 more for the wrong label.
        assert!((cross_entropy(2.0, true) - 0.126_928_011_042_972_6).abs() < 1e-15);
        assert!((cross_entropy(2.0, false) - 2.126_928_011_042_972_6).abs() < 1e-15);
        assert_eq!(cross_entropy(1e30, true), 0.0);
        assert_eq!(cross_entropy(1e30, false), 1e30);
        assert_eq!(sigmoid(-1e30), 0.0);
        assert_eq!(sigmoid(1e30), 1.0);
        assert!(cross_entropy(f64::NAN, true).is_nan());
        assert!(f32::NAN.logistic().iter().all(|x| x.is_nan()));
        assert_eq!(f32::INFINITY.logistic(), [1.0, f32::INFINITY]);
        assert_eq!(dot(&[1.0_f32; 19], &[2.0; 19]), 38.0);
    }

    proptest! {
        #[test]
        fn exp_is_exp(x in -745.0..=0.0_f64) {
            let want = x.exp();
            prop_assert!((exp_of_negative(x) - want).abs() <= 4e-15 * want + 1e-300);
        }

        #[test]
        fn tanh_is_tanh(x in -12.0..12.0_f32) {
            let want = f64::from(x).tanh();
            prop_assert!((f64::from(Real::tanh(x)) - want).abs() <= 4e-7 * want.abs());
            let tiny = x * 1e-4;
            let want = f64::from(tiny).tanh();
            prop_assert!((f64::from(Real::tanh(tiny)) - want).abs() <= 4e-7 * want.abs());
        }

        #[test]
        fn logistic_is_the_sigmoid_and_its_integral(z in -100.0..100.0_f32) {
            let [sigmoid, softplus] = z.logistic();
            let [want_sigmoid, want_softplus] = f64::from(z).logistic();
            prop_assert!((f64::from(sigmoid) - want_sigmoid).abs() <= 3e-7 * want_sigmoid + 1e-37);
            prop_assert!((f64::from(softplus) - want_softplus).abs() <= 4e-7 * want_softplus + 1e-37);
        }

        #[test]
        fn gradient_is_the_slope_of_the_loss(z in -20.0..20.0_f64, observed: bool) {
            let slope = (cross_entropy(z + 1e-5, observed) - cross_entropy(z - 1e-5, observed)) / 2e-5;
            let label = if observed { 1.0 } else { 0.0 };
            prop_assert!((slope - (sigmoid(z) - label)).abs() < 1e-6);
        }
    }
}
