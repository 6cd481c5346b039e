//! Where things go within their layers: as straight above each other as their order allows.
//!
//! The layout algorithm aligns every box with the middle one of its neighbours, all of them being equal, and so a machine in
//! which each decision has a side way walks off to one side. Here the longest way down counts most.

use super::layout::{BEND_GAP, NODE_GAP};

/// How much more the longest way down counts than the others: so much that what they all push aside adds up to little.
const MAIN: f64 = 1000.0;
/// How often all layers are gone through, up and down, at most: less where they have many items.
const ROUNDS: usize = 60;
const PLACINGS: usize = 2_000_000;

/// A box, or the place where an edge passes by a layer.
pub(super) struct Item {
    /// Larger is further down.
    pub(super) layer: i64,
    /// Where its edges are, to the left and right of which it takes so much room.
    pub(super) x: f64,
    pub(super) left: f64,
    pub(super) right: f64,
    pub(super) is_box: bool,
}

/// A piece of an edge, between two items of different layers.
pub(super) struct Link {
    pub(super) from: usize,
    pub(super) to: usize,
    /// How much it wants to be straight.
    pub(super) pull: f64,
}

/// Moves the items within their layers, in which they keep their order and their distances. The longest way down from the
/// root is the straightest.
pub(super) fn straighten(items: &mut [Item], links: &[Link], root: usize) {
    let mut order: Vec<usize> = (0..items.len()).collect();
    order.sort_by(|&a, &b| {
        let (a, b) = (&items[a], &items[b]);
        a.layer.cmp(&b.layer).then(a.x.total_cmp(&b.x))
    });
    let layers: Vec<&[usize]> = order
        .chunk_by(|&a, &b| items[a].layer == items[b].layer)
        .collect();

    // The links of each item: up, and down, with the other end and how much it counts.
    let mut ways: Vec<[Vec<(usize, f64)>; 2]> = items.iter().map(|_| [Vec::new(), Vec::new()]).collect();
    for link in links {
        let (mut upper, mut lower) = (link.from, link.to);
        if items[upper].layer > items[lower].layer {
            (upper, lower) = (lower, upper);
        }
        // Long edges bend at their ends rather than in between.
        let bends = [upper, lower].iter().filter(|&&item| !items[item].is_box).count();
        let pull = link.pull * f64::from(1_u8 << bends);
        ways[upper][1].push((lower, pull));
        ways[lower][0].push((upper, pull));
    }
    // How long the longest way down from each is; of two through as many layers the one with more boxes is the longer.
    let mut below = vec![0_usize; items.len()];
    let through = |below: &[usize], item: usize| below[item] + 2 + usize::from(items[item].is_box);
    for &item in order.iter().rev() {
        let longest = ways[item][1]
            .iter()
            .map(|&(lower, _)| through(&below, lower))
            .max();
        below[item] = longest.unwrap_or(0);
    }
    // From the root alone: what hangs together too firmly as a whole would follow what it hangs on too slowly.
    let mut item = root;
    while let Some((lower, pull)) = ways[item][1]
        .iter_mut()
        .find(|(lower, _)| through(&below, *lower) == below[item])
    {
        *pull *= MAIN;
        let (lower, pull) = (*lower, *pull);
        if let Some(back) = ways[lower][0].iter_mut().find(|(upper, _)| *upper == item) {
            back.1 = pull;
        }
        item = lower;
    }

    for round in 0..ROUNDS.min(PLACINGS / items.len().max(1)).max(2) {
        // What is far off gets near first: each layer under the one above, then above the one below.
        let (down, up): (&[usize], &[usize]) = if round < 2 {
            (&[0], &[1])
        } else {
            (&[0, 1], &[0, 1])
        };
        for layer in &layers {
            place(items, layer, &ways, down);
        }
        for layer in layers.iter().rev() {
            place(items, layer, &ways, up);
        }
    }
}

/// Brings the items of a layer as near as can be to where their links want them: least squares under the order, by pooling
/// those that would come too close.
fn place(items: &mut [Item], layer: &[usize], ways: &[[Vec<(usize, f64)>; 2]], sides: &[usize]) {
    // What pooling needs: each item's place less the room that those before it take.
    let mut offsets = Vec::with_capacity(layer.len());
    let mut offset = 0.0;
    for (at, &item) in layer.iter().enumerate() {
        if at > 0 {
            offset += distance(&items[layer[at - 1]], &items[item]);
        }
        offsets.push(offset);
    }
    // Pools: the mean of what they want, how much that counts, and how many they are.
    let mut pools: Vec<(f64, f64, usize)> = Vec::new();
    for (&item, offset) in layer.iter().zip(&offsets) {
        let (mut sum, mut weight) = (0.0, 0.0);
        for &(other, pull) in sides.iter().flat_map(|&side| &ways[item][side]) {
            sum += pull * items[other].x;
            weight += pull;
        }
        if weight == 0.0 {
            // Nothing draws it: it stays where it is unless it is in the way.
            (sum, weight) = (items[item].x * 1e-3, 1e-3);
        }
        let mut pool = (sum / weight - offset, weight, 1);
        while let Some(before) = pools.pop_if(|before| before.0 > pool.0) {
            let weight = before.1 + pool.1;
            pool = (
                (before.0 * before.1 + pool.0 * pool.1) / weight,
                weight,
                before.2 + pool.2,
            );
        }
        pools.push(pool);
    }
    let mut places = layer.iter().zip(&offsets);
    for (mean, _, count) in pools {
        for (&item, offset) in places.by_ref().take(count) {
            items[item].x = mean + offset;
        }
    }
}

/// How far apart two neighbours are at least.
fn distance(a: &Item, b: &Item) -> f64 {
    let gap = |item: &Item| if item.is_box { NODE_GAP } else { BEND_GAP };
    a.right + b.left + (gap(a) + gap(b)) / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(layer: i64, x: f64, width: f64) -> Item {
        Item {
            layer,
            x,
            left: width / 2.0,
            right: width / 2.0,
            is_box: true,
        }
    }

    #[test]
    fn the_longest_way_is_straight_and_the_side_ways_are_beside_it() {
        // A staircase: each box leads to one beside and to one below, which lies to the right.
        let mut items = Vec::new();
        let mut links = Vec::new();
        let steps = [0.0, 50.0, 100.0, 150.0, 200.0];
        for (layer, x) in (0..).zip(steps) {
            items.push(item(layer, x, 40.0));
            items.push(item(layer, x - 100.0, 40.0));
        }
        for at in (0..items.len() - 2).step_by(2) {
            for to in [at + 3, at + 2] {
                links.push(Link {
                    from: at,
                    to,
                    pull: 1.0,
                });
            }
        }
        straighten(&mut items, &links, 0);
        for pair in items.chunks(2).collect::<Vec<_>>().windows(2) {
            if pair[1][0].layer == 4 {
                break; // Both lead nowhere.
            }
            assert!(
                (pair[0][0].x - pair[1][0].x).abs() < 10.0,
                "{} {}",
                pair[0][0].x,
                pair[1][0].x
            );
            assert!(pair[1][0].x - pair[1][1].x >= 40.0 + NODE_GAP - 1e-9);
        }
    }
}
