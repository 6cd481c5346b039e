//! Which instance the service's documentation advises for training on a CPU.

use serde::Serialize;

/// An `ml.m5` instance, by size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[non_exhaustive]
pub enum Instance {
    /// 2 vCPUs, 8 GiB.
    #[serde(rename = "ml.m5.large")]
    Large,
    /// 4 vCPUs, 16 GiB.
    #[serde(rename = "ml.m5.xlarge")]
    Xlarge,
    /// 8 vCPUs, 32 GiB.
    #[serde(rename = "ml.m5.2xlarge")]
    Xlarge2,
    /// 16 vCPUs, 64 GiB.
    #[serde(rename = "ml.m5.4xlarge")]
    Xlarge4,
}

impl Instance {
    /// As the service names it, such as `ml.m5.large`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Large => "ml.m5.large",
            Self::Xlarge => "ml.m5.xlarge",
            Self::Xlarge2 => "ml.m5.2xlarge",
            Self::Xlarge4 => "ml.m5.4xlarge",
        }
    }
}

/// The columns of the documentation's table: `num_entity_vectors`.
const VECTORS: [u64; 8] = [
    10_000, 50_000, 100_000, 500_000, 1_000_000, 5_000_000, 10_000_000, 50_000_000,
];

/// Its rows: `vector_dim`, and the instance for each column; a row ends where the table has no advice.
const TABLE: [(u32, &[Instance]); 7] = {
    use Instance::{Large as L, Xlarge as X, Xlarge2 as X2, Xlarge4 as X4};
    [
        (32, &[L, L, L, L, L, X, X2, X4]),
        (64, &[L, L, L, L, L, X2, X2]),
        (128, &[L, L, L, L, L, X2, X4]),
        (256, &[L, L, L, L, X, X4]),
        (512, &[L, L, L, L, X2]),
        (1024, &[L, L, L, X, X4]),
        (2048, &[L, L, X, X]),
    ]
};

/// The instance that the service's documentation advises for training on a CPU, by the next larger row and column of its
/// table; `None` where it has none, for models near or beyond the service's limit of 8 GB.
///
/// It is the documentation's word, not a measurement of ours.
///
/// ```
/// use ipinsights::{Instance, advised_instance};
///
/// assert_eq!(advised_instance(128, 20_000), Some(Instance::Large));
/// assert_eq!(advised_instance(128, 1_000_001), Some(Instance::Xlarge2));
/// assert_eq!(advised_instance(4_096, 10_000), None);
/// ```
pub fn advised_instance(vector_dim: u32, num_entity_vectors: u64) -> Option<Instance> {
    let (_, row) = TABLE.iter().find(|(dim, _)| vector_dim <= *dim)?;
    let column = VECTORS
        .iter()
        .position(|vectors| num_entity_vectors <= *vectors)?;
    row.get(column).copied()
}

/// Bytes of the weights that the service's model has at least: one vector of 32-bit numbers for each row of the entity table.
pub const fn entity_table_bytes(vector_dim: u32, num_entity_vectors: u64) -> u64 {
    num_entity_vectors
        .saturating_mul(vector_dim as u64)
        .saturating_mul(4)
}

/// The service's limit on the size of a model, 8 GB.
pub const SERVICE_MODEL_LIMIT: u64 = 8_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    /// A model never asks for less than a smaller one.
    #[test]
    fn advice_grows_with_the_model() {
        let rank = |advice: Option<Instance>| advice.map_or(usize::MAX, |instance| instance as usize);
        for (i, (dim, _)) in TABLE.iter().enumerate() {
            for (j, vectors) in VECTORS.iter().enumerate() {
                let here = rank(advised_instance(*dim, *vectors));
                if let Some((smaller, _)) = i.checked_sub(1).and_then(|i| TABLE.get(i)) {
                    assert!(
                        rank(advised_instance(*smaller, *vectors)) <= here,
                        "{dim} {vectors}"
                    );
                }
                if let Some(fewer) = j.checked_sub(1).and_then(|j| VECTORS.get(j)) {
                    assert!(rank(advised_instance(*dim, *fewer)) <= here, "{dim} {vectors}");
                }
            }
        }
    }

    #[test]
    fn the_table_ends_where_the_documentation_does() {
        let advised = |dim| {
            VECTORS
                .iter()
                .filter(|v| advised_instance(dim, **v).is_some())
                .count()
        };
        assert_eq!(
            [32, 64, 128, 256, 512, 1024, 2048, 2049].map(advised),
            [8, 7, 7, 6, 5, 5, 4, 0]
        );
        assert_eq!(advised_instance(8, 50_000_001), None);
        assert_eq!(advised_instance(4, 1), Some(Instance::Large));
    }

    #[test]
    fn names_are_the_services() {
        for instance in [
            Instance::Large,
            Instance::Xlarge,
            Instance::Xlarge2,
            Instance::Xlarge4,
        ] {
            assert_eq!(serde_json::to_value(instance).unwrap(), instance.as_str());
        }
    }
}
