//! The fixed, seedless functions that decide which row of the table an entity has, and the initial weights. They are part of
//! the model format: a change needs a new format version.

/// A bijection of 64 bits in which every input bit reaches every output bit (the finaliser of MurmurHash3).
pub(crate) fn mix(mut x: u64) -> u64 {
    x ^= x >> 33;
    x = x.wrapping_mul(0xff51_afd7_ed55_8ccd);
    x ^= x >> 33;
    x = x.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    x ^ (x >> 33)
}

/// What is kept of an entity's name: FNV-1a (64 bits) of its UTF-8 bytes, mixed by [`mix`].
pub(crate) fn entity_fingerprint(entity: &str) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in entity.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    mix(hash)
}

/// The row of an entity in a table of `rows` rows: its fingerprint, scaled to the table by the upper half of the product.
pub(crate) fn entity_row(entity: &str, rows: u32) -> u32 {
    ((u128::from(entity_fingerprint(entity)) * u128::from(rows)) >> 64) as u32
}

/// A number from -1 (inclusive) to 1 (exclusive), the same for the same arguments: initial weights are a function of
/// their place, so a row that training never touched need not be stored.
pub(crate) fn initial(seed: u64, table: u64, index: u64) -> f64 {
    let bits = mix(mix(seed ^ mix(table.wrapping_add(0x9e37_79b9_7f4a_7c15))).wrapping_add(index));
    // 53 bits are exact in an f64.
    (bits >> 11) as f64 * (2.0 / (1_u64 << 53) as f64) - 1.0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Golden values: a model written by one version must read the same in the next.
    #[test]
    fn rows_never_change() {
        let entity = ["", "United States", "user_1", "Zürich"].map(|e| entity_row(e, 250_000_000));
        expect_test::expect![[r#"
            [
                234192362,
                128066744,
                168012397,
                35835864,
            ]
        "#]]
        .assert_debug_eq(&entity);
    }

    #[test]
    fn rows_lie_in_their_table_and_spread() {
        let mut hits = [0; 7];
        for i in 0..7_000 {
            hits[entity_row(&format!("user_{i}"), 7) as usize] += 1;
        }
        assert!(hits.iter().all(|h| (900..1_100).contains(h)), "{hits:?}");
    }

    #[test]
    fn initial_values_are_uniform() {
        let values: Vec<f64> = (0..10_000).map(|i| initial(7, 3, i)).collect();
        let mean = values.iter().sum::<f64>() / 1e4;
        let variance = values.iter().map(|v| v * v).sum::<f64>() / 1e4;
        assert!(values.iter().all(|v| (-1.0..1.0).contains(v)));
        assert!(
            mean.abs() < 0.02 && (variance - 1.0 / 3.0).abs() < 0.01,
            "{mean} {variance}"
        );
        assert_ne!(initial(7, 3, 0), initial(7, 4, 0));
        assert_ne!(initial(7, 3, 0), initial(8, 3, 0));
    }
}
