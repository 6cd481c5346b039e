//! The numbers of a table: in memory, or in a file that is mapped into it.

use std::ops::{Deref, DerefMut};

use bytemuck::Pod;

/// A list of numbers. Mapped ones move into memory when somebody writes to them.
#[derive(Debug, Clone)]
pub(crate) enum Weights<T> {
    Memory(Vec<T>),
    #[cfg(feature = "mmap")]
    Mapped(crate::map::Numbers),
}

impl<T: Pod> Deref for Weights<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match self {
            Self::Memory(values) => values,
            #[cfg(feature = "mmap")]
            Self::Mapped(numbers) => numbers.as_slice(),
        }
    }
}

impl<T: Pod> DerefMut for Weights<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        #[cfg(feature = "mmap")]
        if let Self::Mapped(numbers) = self {
            *self = Self::Memory(numbers.as_slice().to_vec());
        }
        match self {
            Self::Memory(values) => values,
            #[cfg(feature = "mmap")]
            Self::Mapped(_) => &mut [],
        }
    }
}

impl<T> From<Vec<T>> for Weights<T> {
    fn from(values: Vec<T>) -> Self {
        Self::Memory(values)
    }
}

impl<T: Pod + PartialEq> PartialEq for Weights<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

/// Whether no number is infinite or NaN.
pub(crate) fn are_finite(values: &[f32]) -> bool {
    // Without a branch for each, so that the compiler can take many at a time: a model is checked in the time that it
    // takes to read it.
    values.chunks(1 << 12).all(|values| {
        let largest = values.iter().map(|v| v.to_bits() & 0x7fff_ffff).fold(0, u32::max);
        largest < f32::INFINITY.to_bits()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bad_number_among_many_is_found() {
        let mut values = vec![f32::MAX; 10_000];
        assert!(are_finite(&values) && are_finite(&[]));
        for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for place in [0, 4_095, 4_096, 9_999] {
                values[place] = bad;
                assert!(!are_finite(&values), "{bad} at {place}");
                values[place] = -f32::MIN_POSITIVE;
            }
        }
    }
}
