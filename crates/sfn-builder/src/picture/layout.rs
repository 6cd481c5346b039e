//! A layered layout: every edge points down, but those that close a loop.
//!
//! The steps are Sugiyama's. (1) Edges that close a loop are turned round. (2) Each node gets a layer below all that lead
//! to it. (3) Edges over several layers get a bend in each, labels a node of their own. (4) Within a layer the order
//! is the one with the fewest crossings that sweeps by barycentre find. (5) Positions are the weighted least squares
//! fit to the neighbours that keeps order and distance (isotonic regression), so that long edges become straight.
//! Edges bend between the layers only; they never touch a box.

/// The distance between two layers.
const LAYER_GAP: f64 = 30.0;
/// The distance between two neighbours of a layer.
const NODE_GAP: f64 = 26.0;
/// The distance of an edge that passes by.
const BEND_GAP: f64 = 16.0;
/// How far apart edges leave a box at most.
const PORT_GAP: f64 = 26.0;

/// What is laid out.
pub(super) struct Graph {
    /// Width and height of every node.
    pub(super) sizes: Vec<(f64, f64)>,
    /// What connects them.
    pub(super) edges: Vec<Wire>,
    /// Where the picture begins.
    pub(super) root: usize,
}

/// A connection of two nodes.
pub(super) struct Wire {
    pub(super) from: usize,
    pub(super) to: usize,
    /// Width and height of the label.
    pub(super) label: Option<(f64, f64)>,
    /// How much it pulls at the boxes, 1.0 being normal.
    pub(super) pull: f64,
}

/// Where things go.
pub(super) struct Layout {
    pub(super) width: f64,
    pub(super) height: f64,
    /// The middle of every node.
    pub(super) nodes: Vec<(f64, f64)>,
    pub(super) edges: Vec<Route>,
}

/// Where an edge goes.
pub(super) struct Route {
    /// From the edge's source to its target: straight down or up inside each pair, a curve between two pairs.
    pub(super) legs: Vec<((f64, f64), (f64, f64))>,
    /// The middle of its label.
    pub(super) label: Option<(f64, f64)>,
}

/// A node of a layer: one of the graph's, or a bend of an edge.
struct Item {
    layer: usize,
    width: f64,
    height: f64,
    bend: bool,
    x: f64,
    /// The neighbours above, and how much the edge to each wants to be straight.
    up: Vec<(usize, f64)>,
    /// The same below.
    down: Vec<(usize, f64)>,
}

pub(super) fn layout(graph: &Graph) -> Layout {
    let reversed = loop_edges(graph);
    let layers_of = layers_of(graph, &reversed);

    // Items 0.. are the graph's nodes, bends follow.
    let mut items: Vec<Item> = graph
        .sizes
        .iter()
        .zip(&layers_of)
        .map(|(&(width, height), &layer)| Item {
            layer,
            width,
            height,
            bend: false,
            x: 0.0,
            up: Vec::new(),
            down: Vec::new(),
        })
        .collect();
    // Per edge the items from top to bottom, and which of them is the label's.
    let mut chains: Vec<(Vec<usize>, Option<usize>)> = Vec::new();
    for (
        edge,
        &Wire {
            from,
            to,
            label,
            pull,
        },
    ) in graph.edges.iter().enumerate()
    {
        let (top, bottom) = if reversed[edge] { (to, from) } else { (from, to) };
        if top == bottom {
            chains.push((vec![top], None));
            continue;
        }
        let (first, last) = (layers_of[top], layers_of[bottom]);
        // A label stands near the source: that is where one asks which way to go.
        let label_layer = if reversed[edge] { last - 1 } else { first + 1 };
        let mut chain = vec![top];
        let mut label_item = None;
        for layer in first + 1..last {
            let (width, height) = match label {
                Some(size) if layer == label_layer => {
                    label_item = Some(items.len());
                    size
                }
                _ => (0.0, 0.0),
            };
            chain.push(items.len());
            items.push(Item {
                layer,
                width,
                height,
                bend: true,
                x: 0.0,
                up: Vec::new(),
                down: Vec::new(),
            });
        }
        chain.push(bottom);
        for pair in chain.windows(2) {
            let stiffness = match (items[pair[0]].bend, items[pair[1]].bend) {
                // Long edges want to be straight, whatever they stand for.
                (true, true) => 8.0,
                (false, false) => 4.0 * pull,
                _ => 2.0 * pull,
            };
            items[pair[0]].down.push((pair[1], stiffness));
            items[pair[1]].up.push((pair[0], stiffness));
        }
        chains.push((chain, label_item));
    }

    let layers = order(graph.root, &mut items);
    place(&layers, &mut items);
    routes(graph, &reversed, &layers, &mut items, &chains)
}

/// The edges that lead back to a node from which their source was reached.
fn loop_edges(graph: &Graph) -> Vec<bool> {
    let mut leaving: Vec<Vec<usize>> = vec![Vec::new(); graph.sizes.len()];
    for (edge, &Wire { from, .. }) in graph.edges.iter().enumerate() {
        leaving[from].push(edge);
    }
    // People write states down in the order in which they think of them as following each other.
    for edges in &mut leaving {
        edges.sort_by_key(|&edge| graph.edges[edge].to);
    }
    let mut reversed = vec![false; graph.edges.len()];
    // 0 unseen, 1 on the way from the root, 2 done.
    let mut seen = vec![0_u8; graph.sizes.len()];
    let roots = std::iter::once(graph.root).chain(0..graph.sizes.len());
    for root in roots {
        if seen[root] != 0 {
            continue;
        }
        seen[root] = 1;
        let mut stack = vec![(root, 0)];
        while let Some((node, at)) = stack.last_mut() {
            let Some(&edge) = leaving[*node].get(*at) else {
                seen[*node] = 2;
                stack.pop();
                continue;
            };
            *at += 1;
            let to = graph.edges[edge].to;
            match seen[to] {
                0 => {
                    seen[to] = 1;
                    stack.push((to, 0));
                }
                1 => reversed[edge] = true,
                _ => {}
            }
        }
    }
    reversed
}

/// The longest way to every node, in layers; an edge with a label takes two.
fn layers_of(graph: &Graph, reversed: &[bool]) -> Vec<usize> {
    let nodes = graph.sizes.len();
    let mut leaving: Vec<Vec<(usize, usize)>> = vec![Vec::new(); nodes];
    let mut missing = vec![0_usize; nodes];
    for (edge, &Wire { from, to, label, .. }) in graph.edges.iter().enumerate() {
        let (top, bottom) = if reversed[edge] { (to, from) } else { (from, to) };
        if top != bottom {
            leaving[top].push((bottom, if label.is_some() { 2 } else { 1 }));
            missing[bottom] += 1;
        }
    }
    let mut layers = vec![0; nodes];
    let mut open: Vec<usize> = (0..nodes).filter(|&node| missing[node] == 0).collect();
    while let Some(node) = open.pop() {
        for &(below, length) in &leaving[node] {
            layers[below] = layers[below].max(layers[node] + length);
            missing[below] -= 1;
            if missing[below] == 0 {
                open.push(below);
            }
        }
    }
    layers
}

/// The items of every layer, from left to right.
fn order(root: usize, items: &mut [Item]) -> Vec<Vec<usize>> {
    let count = items.iter().map(|item| item.layer + 1).max().unwrap_or(0);
    let mut layers: Vec<Vec<usize>> = vec![Vec::new(); count];
    let mut seen = vec![false; items.len()];
    // What is found first stands left.
    for start in std::iter::once(root).chain(0..items.len()) {
        let mut stack = vec![start];
        while let Some(item) = stack.pop() {
            if !std::mem::replace(&mut seen[item], true) {
                layers[items[item].layer].push(item);
                stack.extend(items[item].down.iter().rev().map(|(below, _)| below));
            }
        }
    }

    let mut position = vec![0; items.len()];
    let number = |layers: &[Vec<usize>], position: &mut [usize]| {
        for layer in layers {
            for (at, &item) in layer.iter().enumerate() {
                position[item] = at;
            }
        }
    };
    number(&layers, &mut position);
    let mut best = (crossings(&layers, items, &position), layers.clone());
    // Beyond a few hundred states nobody follows single edges anyway.
    let sweeps = if items.len() > 4000 { 2 } else { 16 };
    for sweep in 0..sweeps {
        if best.0 == 0 {
            break;
        }
        let down = sweep % 2 == 0;
        let sequence: Vec<usize> = if down {
            (0..count).collect()
        } else {
            (0..count).rev().collect()
        };
        for layer in sequence {
            let mut keyed: Vec<(f64, usize)> = layers[layer]
                .iter()
                .map(|&item| {
                    let near = if down { &items[item].up } else { &items[item].down };
                    let sum: usize = near.iter().map(|&(near, _)| position[near]).sum();
                    #[expect(clippy::cast_precision_loss, reason = "positions are small")]
                    let key = if near.is_empty() {
                        position[item] as f64
                    } else {
                        sum as f64 / near.len() as f64
                    };
                    (key, item)
                })
                .collect();
            keyed.sort_by(|a, b| a.0.total_cmp(&b.0));
            layers[layer] = keyed.into_iter().map(|(_, item)| item).collect();
            for (at, &item) in layers[layer].iter().enumerate() {
                position[item] = at;
            }
        }
        let crossings = crossings(&layers, items, &position);
        if crossings < best.0 {
            best = (crossings, layers.clone());
        }
    }
    best.1
}

/// How often edges between neighbouring layers cross.
fn crossings(layers: &[Vec<usize>], items: &[Item], position: &[usize]) -> usize {
    let mut total = 0;
    for layer in layers {
        let mut ends: Vec<usize> = Vec::new();
        for &item in layer {
            let mut below: Vec<usize> = items[item]
                .down
                .iter()
                .map(|&(below, _)| position[below])
                .collect();
            below.sort_unstable();
            ends.extend(below);
        }
        // Inversions, counted with a Fenwick tree.
        let size = ends.iter().max().map_or(0, |max| max + 1);
        let mut tree = vec![0_usize; size + 1];
        for (seen, &end) in ends.iter().enumerate() {
            let mut not_right = 0;
            let mut at = end + 1;
            while at > 0 {
                not_right += tree[at];
                at &= at - 1;
            }
            total += seen - not_right;
            let mut at = end + 1;
            while at <= size {
                tree[at] += 1;
                at += at & at.wrapping_neg();
            }
        }
    }
    total
}

fn separation(a: &Item, b: &Item) -> f64 {
    let slim = |item: &Item| item.bend && item.width == 0.0;
    let gap = if slim(a) || slim(b) { BEND_GAP } else { NODE_GAP };
    f64::midpoint(a.width, b.width) + gap
}

fn place(layers: &[Vec<usize>], items: &mut [Item]) {
    for layer in layers {
        let mut x = 0.0;
        for (at, &item) in layer.iter().enumerate() {
            if at > 0 {
                x += separation(&items[layer[at - 1]], &items[item]);
            }
            items[item].x = x;
        }
    }
    // Long chains settle slowly; big pictures must not take seconds.
    let rounds = (200_000 / items.len().max(1)).clamp(6, 300);
    for round in 0..rounds {
        let down = round % 2 == 0;
        // First one side at a time, to spread quickly; then both, to settle.
        let both = round >= rounds / 8;
        let sequence: Vec<usize> = if down {
            (0..layers.len()).collect()
        } else {
            (0..layers.len()).rev().collect()
        };
        for layer in sequence {
            let wishes: Vec<(f64, f64)> = layers[layer]
                .iter()
                .map(|&item| {
                    let this = &items[item];
                    let up = this.up.iter().filter(|_| both || down);
                    let below = this.down.iter().filter(|_| both || !down);
                    let (mut sum, mut weight) = (0.0, 0.0);
                    for &(near, stiffness) in up.chain(below) {
                        sum += stiffness * items[near].x;
                        weight += stiffness;
                    }
                    if weight == 0.0 {
                        (this.x, 0.01)
                    } else {
                        (sum / weight, weight)
                    }
                })
                .collect();
            fit(&layers[layer], &wishes, items);
        }
    }
}

/// The positions nearest to the wishes that keep order and separation: pool adjacent violators.
fn fit(layer: &[usize], wishes: &[(f64, f64)], items: &mut [Item]) {
    // With the separations taken off, positions need only not decrease.
    let mut offset = 0.0;
    let mut offsets = Vec::with_capacity(layer.len());
    for (at, &item) in layer.iter().enumerate() {
        if at > 0 {
            offset += separation(&items[layer[at - 1]], &items[item]);
        }
        offsets.push(offset);
    }
    // Blocks of mean, weight and length.
    let mut blocks: Vec<(f64, f64, usize)> = Vec::new();
    for (&(wish, weight), offset) in wishes.iter().zip(&offsets) {
        let mut block = (wish - offset, weight, 1);
        while let Some(&(mean, other, length)) = blocks.last()
            && mean > block.0
        {
            blocks.pop();
            let weight = other + block.1;
            block = (
                (mean * other + block.0 * block.1) / weight,
                weight,
                length + block.2,
            );
        }
        blocks.push(block);
    }
    let positions = blocks
        .iter()
        .flat_map(|&(mean, _, length)| std::iter::repeat_n(mean, length));
    for ((&item, position), offset) in layer.iter().zip(positions).zip(&offsets) {
        items[item].x = position + offset;
    }
}

fn routes(
    graph: &Graph,
    reversed: &[bool],
    layers: &[Vec<usize>],
    items: &mut [Item],
    chains: &[(Vec<usize>, Option<usize>)],
) -> Layout {
    const MARGIN: f64 = 16.0;
    let left = items
        .iter()
        .map(|item| item.x - item.width / 2.0)
        .fold(f64::INFINITY, f64::min);
    let left = if left.is_finite() { left } else { 0.0 };
    for item in &mut *items {
        item.x += MARGIN - left;
    }
    let right = items
        .iter()
        .map(|item| item.x + item.width / 2.0)
        .fold(0.0, f64::max);

    // Top and bottom of every layer.
    let mut bands: Vec<(f64, f64)> = Vec::new();
    let mut y = MARGIN;
    for layer in layers {
        let height = layer.iter().map(|&item| items[item].height).fold(0.0, f64::max);
        bands.push((y, y + height));
        y += height + LAYER_GAP;
    }
    let height = bands.last().map_or(0.0, |band| band.1) + MARGIN;
    let middle = |item: &Item| f64::midpoint(bands[item.layer].0, bands[item.layer].1);

    // Where each edge touches its two nodes: side by side, in the order of where they come from.
    let mut ports: Vec<(f64, f64)> = chains
        .iter()
        .map(|(chain, _)| (items[chain[0]].x, items[chain[chain.len() - 1]].x))
        .collect();
    // Per node and side the neighbour's position, and the edge.
    let mut sides: Vec<[Vec<(f64, usize)>; 2]> = vec![[Vec::new(), Vec::new()]; graph.sizes.len()];
    for (edge, (chain, _)) in chains.iter().enumerate() {
        if let [first, second, ..] = chain[..]
            && let [.., before, last] = chain[..]
        {
            sides[first][0].push((items[second].x, edge));
            sides[last][1].push((items[before].x, edge));
        }
    }
    for (item, sides) in items.iter().zip(&mut sides) {
        for (side, touching) in sides.iter_mut().enumerate() {
            touching.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            #[expect(clippy::cast_precision_loss, reason = "a few edges")]
            let between = (touching.len().max(2) - 1) as f64;
            let gap = (item.width * 0.7 / between).min(PORT_GAP);
            for (at, &(_, edge)) in touching.iter().enumerate() {
                #[expect(clippy::cast_precision_loss, reason = "a few edges")]
                let x = item.x
                    + if touching.len() < 2 {
                        0.0
                    } else {
                        gap * (at as f64 - between / 2.0)
                    };
                if side == 0 {
                    ports[edge].0 = x;
                } else {
                    ports[edge].1 = x;
                }
            }
        }
    }

    let edges = chains
        .iter()
        .enumerate()
        .map(|(edge, (chain, label))| {
            let mut legs: Vec<((f64, f64), (f64, f64))> = Vec::new();
            for (at, &index) in chain.iter().enumerate() {
                let item = &items[index];
                let (top, bottom) = bands[item.layer];
                let half = item.height / 2.0;
                legs.push(if chain.len() == 1 {
                    ((item.x, middle(item)), (item.x, middle(item)))
                } else if at == 0 {
                    ((ports[edge].0, middle(item) + half), (ports[edge].0, bottom))
                } else if at == chain.len() - 1 {
                    ((ports[edge].1, top), (ports[edge].1, middle(item) - half))
                } else {
                    ((item.x, top), (item.x, bottom))
                });
            }
            if reversed[edge] {
                legs.reverse();
                legs.iter_mut()
                    .for_each(|leg| std::mem::swap(&mut leg.0, &mut leg.1));
            }
            Route {
                legs,
                label: label.map(|label| (items[label].x, middle(&items[label]))),
            }
        })
        .collect();
    let nodes = items
        .iter()
        .take(graph.sizes.len())
        .map(|item| (item.x, middle(item)))
        .collect();
    Layout {
        width: right + MARGIN,
        height,
        nodes,
        edges,
    }
}
