//! The orders that rows are brought into.

use std::cmp::Ordering;

use super::sort::Row;

/// An order of rows in which no two are equal, since no two have the same place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// By entity, part, address and place.
    Entity,
    /// By part and place.
    Place,
}

impl Order {
    pub(super) fn compare(self, a: &Row<'_>, b: &Row<'_>) -> Ordering {
        match self {
            Self::Entity => (a.entity, a.part, a.ip, a.place).cmp(&(b.entity, b.part, b.ip, b.place)),
            Self::Place => (a.part, a.place).cmp(&(b.part, b.place)),
        }
    }
}

/// The place of the event with this number: the number itself, or one drawn from the seed.
///
/// The draws are those of SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014)
/// from a start that is mixed as well, so that neighbouring seeds are not shifted copies of each other. Every step is
/// one-to-one, so no two numbers get the same place, and the place does not depend on how the numbers are reached.
pub(super) fn place(seed: Option<u64>, number: u64) -> u64 {
    match seed {
        None => number,
        Some(seed) => {
            let start = mix(mix(seed.wrapping_add(GAMMA)) ^ 0x6a09_e667_f3bc_c909);
            mix(start.wrapping_add(number.wrapping_add(1).wrapping_mul(GAMMA)))
        }
    }
}

/// 2^64 divided by the golden ratio, made odd.
const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
