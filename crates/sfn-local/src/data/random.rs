//! Where an execution's randomness comes from.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Seeded, so that an execution can be run again.
#[derive(Clone)]
pub(crate) struct Random(ChaCha8Rng);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    /// A number from 0 (inclusive) to 1 (exclusive).
    #[expect(clippy::cast_precision_loss, reason = "53 bits are exact")]
    pub(crate) fn fraction(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A number from `first` (inclusive) to `end` (exclusive); `first` when there is none.
    pub(crate) fn between(&mut self, first: i64, end: i64) -> i64 {
        let span = i128::from(end) - i128::from(first);
        if span <= 0 {
            return first;
        }
        let drawn = (i128::from(self.0.next_u64()) * span) >> 64;
        i64::try_from(i128::from(first) + drawn).unwrap_or(first)
    }

    /// A UUID of version 4, variant 1 (RFC 9562, section 5.4).
    pub(crate) fn uuid(&mut self) -> String {
        let mut bytes = [0; 16];
        self.0.fill_bytes(&mut bytes);
        uuid(bytes)
    }
}

/// A UUID of version 4 of these bytes.
pub(crate) fn uuid(mut bytes: [u8; 16]) -> String {
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!(
        "{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    )
}
