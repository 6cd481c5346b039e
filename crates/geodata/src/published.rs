use access_events::AccessEvent;

/// The five test rows of the published experiment: addresses from outside of the five countries that claim them.
///
/// The service scored them -0.302, -0.329, -0.399, -0.652 and -0.074, in this order.
pub fn published_test_rows() -> Vec<AccessEvent> {
    [
        ("Canada", [206, 190, 159, 0]),
        ("France", [188, 42, 252, 0]),
        ("Germany", [119, 81, 246, 136]),
        ("United Kingdom", [203, 116, 192, 0]),
        ("United States", [103, 14, 224, 0]),
    ]
    .map(|(entity, ip)| AccessEvent::new(entity, ip.into()))
    .to_vec()
}
