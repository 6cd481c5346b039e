//! An order for things that depend on each other: crates of a release, builds of a batch.

/// The places of the things so that each comes after those it depends on; among those that could come next, the first in the list.
///
/// Names that nothing has are passed over. The error holds the names that are in a circle or behind one.
pub(crate) fn in_order<'a>(things: &[(&'a str, Vec<&'a str>)]) -> Result<Vec<usize>, Vec<&'a str>> {
    let mut order: Vec<usize> = Vec::new();
    while order.len() < things.len() {
        let done = |name: &str| match things.iter().position(|(known, _)| *known == name) {
            Some(place) => order.contains(&place),
            None => true,
        };
        let next = (0..things.len())
            .find(|place| !order.contains(place) && things[*place].1.iter().all(|name| done(name)));
        match next {
            Some(place) => order.push(place),
            None => {
                return Err((0..things.len())
                    .filter(|place| !order.contains(place))
                    .map(|place| things[place].0)
                    .collect());
            }
        }
    }
    Ok(order)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn builds_come_after_what_they_depend_on() {
        let builds = [("a", vec!["c"]), ("b", vec![]), ("c", vec!["b", "no-such"])];
        assert_eq!(in_order(&builds), Ok(vec![1, 2, 0]));
        let circle = [
            ("a", vec!["b"]),
            ("b", vec!["a"]),
            ("c", vec![]),
            ("d", vec!["d"]),
        ];
        assert_eq!(in_order(&circle), Err(vec!["a", "b", "d"]));
    }
}
