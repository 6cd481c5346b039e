//! Which entities a model was trained on, although it only knows them by hash.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};

use serde::{Deserialize, Serialize};

use crate::hash;
use crate::part::{Part, PartError, PartReader, PartWriter, check_format};

const FORMAT: &str = "ipinsights-entities";

/// The entities that training rows had, by 64-bit fingerprint.
///
/// A model hashes entities to the rows of its table, and several may share one. So the rows alone cannot tell whether an
/// entity was seen: with `num_entity_vectors` at twice the number of entities, as advised, about four of ten strangers would
/// pass for known. This set can.
///
/// **How sure it is.** An entity that was seen is always known. One that was not is taken for known with a probability of
/// `n / 2^64` for `n` entities: 5e-16 for ten thousand, 1.4e-11 for the 250 million that a model may have. The fingerprint
/// has no key: who may choose entity names at will can find two with the same one, after about 2^32 tries.
///
/// **What it costs.** Eight bytes an entity, where a vector of 128 numbers takes 512. A binary fuse filter would do with
/// 2.3 bytes at a false-positive rate of 1.5e-5, and a Bloom filter with 2.9 at the same, but neither can be counted or
/// joined with another one, and for six bytes in five hundred an alarm in 65,000 strangers would be missed.
///
/// ```
/// use ipinsights::KnownEntities;
///
/// let known = KnownEntities::from_names(["ana", "ben", "ana"]);
/// assert_eq!(known.len(), 2);
/// assert!(known.contains("ana") && !known.contains("mallory"));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KnownEntities {
    ascending: Vec<u64>, // INVARIANT: strictly ascending.
}

impl KnownEntities {
    /// The set of these entities; repetitions do not matter.
    pub fn from_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let mut collector = Collector::default();
        names.into_iter().for_each(|name| collector.add(name));
        collector.finish()
    }

    /// Whether the entity is one of them; see above for how sure a `true` is.
    pub fn contains(&self, entity: &str) -> bool {
        self.ascending
            .binary_search(&hash::entity_fingerprint(entity))
            .is_ok()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.ascending.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ascending.is_empty()
    }

    /// The entities of both.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let mut ascending = [&self.ascending[..], &other.ascending].concat();
        ascending.sort_unstable();
        ascending.dedup();
        Self { ascending }
    }

    /// The probability that an entity that is none of them is taken for one.
    pub fn false_positive_rate(&self) -> f64 {
        self.len() as f64 / 2f64.powi(64)
    }
}

/// Collects the entities of rows as they come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Collector {
    seen: HashSet<u64, BuildHasherDefault<Hashed>>,
}

impl Collector {
    pub(crate) fn add(&mut self, entity: &str) {
        self.seen.insert(hash::entity_fingerprint(entity));
    }

    pub(crate) fn finish(&self) -> KnownEntities {
        let mut ascending: Vec<u64> = self.seen.iter().copied().collect();
        ascending.sort_unstable();
        KnownEntities { ascending }
    }
}

/// Fingerprints are hashed already.
#[derive(Debug, Clone, Copy, Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes
            .iter()
            .for_each(|b| self.0 = self.0.rotate_left(8) ^ u64::from(*b));
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    format: String,
    format_version: u32,
    fingerprint: String,
}

/// How the 64 bits come from the name.
const FINGERPRINT: &str = "fnv1a64-fmix64";

impl Part for KnownEntities {
    const FILE: &'static str = "entities.safetensors";
    /// 250,000,000 entities, the most that a model may have, and a header.
    const MAX_BYTES: u64 = 250_000_000 * 8 + (64 << 10);

    fn to_bytes(&self) -> Result<Vec<u8>, PartError> {
        PartWriter::default()
            .list("fingerprints", self.ascending.iter().copied())
            .finish(&Description {
                format: FORMAT.to_owned(),
                format_version: 1,
                fingerprint: FINGERPRINT.to_owned(),
            })
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, PartError> {
        let (mut reader, description) = PartReader::new::<Description>(bytes)?;
        check_format(description.format, description.format_version, FORMAT)?;
        if description.fingerprint != FINGERPRINT {
            return Err(PartError::contents(format!(
                "fingerprint `{}`, this program reads `{FINGERPRINT}`",
                description.fingerprint
            )));
        }
        let ascending: Vec<u64> = reader.list("fingerprints", None)?.collect();
        reader.finish()?;
        if !ascending.is_sorted_by(|a, b| a < b) {
            return Err(PartError::contents("fingerprints do not ascend"));
        }
        Ok(Self { ascending })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_was_seen_is_known(names in prop::collection::vec("[a-c]{0,3}", 0..40), probe in "[a-c]{0,3}") {
            let known = KnownEntities::from_names(names.iter().map(String::as_str));
            prop_assert!(names.iter().all(|name| known.contains(name)));
            prop_assert_eq!(known.contains(&probe), names.contains(&probe));
            let (early, late) = names.split_at(names.len() / 2);
            let [early, late] = [early, late].map(|half| KnownEntities::from_names(half.iter().map(String::as_str)));
            prop_assert_eq!(&early.union(&late), &known);
            prop_assert_eq!(KnownEntities::from_bytes(&known.to_bytes().unwrap()).unwrap(), known);
        }
    }

    #[test]
    fn strangers_are_strangers() {
        let names: Vec<String> = (0..10_000).map(|i| format!("user_{i}")).collect();
        let known = KnownEntities::from_names(names.iter().map(String::as_str));
        assert_eq!(known.len(), 10_000);
        assert!((10_000..200_000).all(|i| !known.contains(&format!("user_{i}"))));
        assert!(known.false_positive_rate() < 1e-15);
    }

    #[test]
    fn a_set_that_does_not_ascend_is_refused() {
        for ascending in [vec![3, 2], vec![2, 2]] {
            let bytes = KnownEntities { ascending }.to_bytes().unwrap();
            let error = KnownEntities::from_bytes(&bytes).unwrap_err();
            assert_eq!(
                error.to_string(),
                "its contents do not fit together: fingerprints do not ascend"
            );
        }
    }
}
