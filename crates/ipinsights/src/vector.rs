//! The same code for several vector units, chosen when it runs.
//!
//! Work that runs through [`run`] is compiled three times on x86-64: for AVX-512, for AVX2, and for any processor. All
//! three give the same bits, because nothing in the engine depends on the width of a vector: sums have a fixed order, and
//! every multiply-add is fused (where the processor has none, `f32::mul_add` computes the same in software). On other
//! processors the one version is compiled for what the target has for certain, on AArch64 NEON with fused multiply-add.

/// A piece of work. `run` must be `#[inline(always)]`, and so must all it calls that is worth vector units: only what is
/// inlined is compiled for them.
pub(crate) trait Work {
    type Output;

    fn run(self) -> Self::Output;
}

/// A set of vector instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    not(target_arch = "x86_64"),
    expect(dead_code, reason = "there is one set, which is always there")
)]
pub(crate) enum Unit {
    Avx512,
    Avx2,
    Portable,
}

impl Unit {
    pub(crate) const ALL: [Self; 3] = [Self::Avx512, Self::Avx2, Self::Portable];

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
            #[cfg(not(target_arch = "x86_64"))]
            Self::Avx512 | Self::Avx2 => false,
            Self::Portable => true,
        }
    }

    /// The widest there is.
    fn widest() -> Self {
        Self::ALL
            .into_iter()
            .find(|unit| unit.is_present())
            .unwrap_or(Self::Portable)
    }
}

/// Does the work with the widest vectors of this processor.
pub(crate) fn run<W: Work>(work: W) -> W::Output {
    run_on(Unit::widest(), work)
}

/// Does the work with the given unit, or portably where that is missing.
pub(crate) fn run_on<W: Work>(unit: Unit, work: W) -> W::Output {
    #[cfg(target_arch = "x86_64")]
    if unit != Unit::Portable && unit.is_present() {
        #[expect(
            unsafe_code,
            reason = "calling code for processor features that were just found present"
        )]
        // SAFETY: the only requirement of a function with `target_feature` is that the processor has the features, and
        // `is_present` has just asked for exactly those.
        unsafe {
            return match unit {
                Unit::Avx512 => avx512(work),
                _ => avx2(work),
            };
        }
    }
    let _ = unit;
    work.run()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,fma")]
fn avx512<W: Work>(work: W) -> W::Output {
    work.run()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2<W: Work>(work: W) -> W::Output {
    work.run()
}
