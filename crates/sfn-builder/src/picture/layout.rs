//! Where the boxes of one level go: a layered layout, every edge pointing down but those that close a loop.
//!
//! The layout is `dugong`'s, a port of dagre, behind this module alone. What it does not do is done here: edges run straight
//! beside the boxes of a layer and bend between the layers only, so that none touches a box, and leave a box side by
//! side. No edge leaves a branch or an item processor, so a nested level is laid out by itself and is a large box here.

// Of the crates that lay out layered graphs, `rust-sugiyama` has neither edge routes nor labels, `layout-rs` draws by
// itself, `ascii-dag` counts in cells of a terminal, `elkrs` translates code under the EPL. `dagre` and `dugong` port the
// same original; this one is faster, answers with errors, and lets its caller bound the work.

use std::collections::{BTreeMap, HashMap, HashSet};

use dugong::graphlib::{Graph as Dagre, GraphOptions};
use dugong::{EdgeLabel, GraphLabel, NodeLabel, WorkControl, WorkError};

use super::straighten::{Item, Link, straighten};

/// The distance between a layer of boxes and one of labels.
const LAYER_GAP: f64 = 26.0;
/// The distance between two neighbours of a layer.
pub(super) const NODE_GAP: f64 = 28.0;
/// The distance of an edge that passes by.
pub(super) const BEND_GAP: f64 = 16.0;
/// How far apart edges leave a box at most.
const PORT_GAP: f64 = 26.0;
/// The room around the picture.
const MARGIN: f64 = 16.0;
/// The most steps that a layout may take, in the crate's own count: a second or two.
const BUDGET: usize = 60_000_000;
/// Beyond so many boxes the layers are found by the longest path: network simplex takes too long.
const SIMPLEX: usize = 300;

/// What is laid out.
pub(super) struct Graph {
    /// Every node's size.
    pub(super) sizes: Vec<Size>,
    /// What connects them; no node with itself.
    pub(super) edges: Vec<Wire>,
    /// Where it begins.
    pub(super) root: usize,
}

/// The size of a node.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    pub(super) width: f64,
    pub(super) height: f64,
    /// What is kept free to its right.
    pub(super) aside: f64,
}

/// A connection of two nodes.
pub(super) struct Wire {
    pub(super) from: usize,
    pub(super) to: usize,
    /// Width and height of the label.
    pub(super) label: Option<(f64, f64)>,
    /// How much it wants to be short.
    pub(super) pull: f64,
}

/// Where things go.
pub(super) struct Layout {
    pub(super) width: f64,
    pub(super) height: f64,
    /// The middle of every node.
    pub(super) nodes: Vec<(f64, f64)>,
    /// As high as they were to be.
    pub(super) heights: Vec<f64>,
    pub(super) edges: Vec<Route>,
    /// Whether it has layers; else it is a single column.
    pub(super) layered: bool,
    /// The most edges that run past the boxes of one layer.
    pub(super) passing: usize,
}

/// Where an edge goes.
pub(super) struct Route {
    /// From the edge's source to its target: straight down or up inside each pair, a curve between two pairs.
    pub(super) legs: Vec<Leg>,
    /// How it comes in: 1.0 is downwards, -1.0 upwards.
    pub(super) arrives: f64,
    /// The middle of its label.
    pub(super) label: Option<(f64, f64)>,
}

/// A straight piece of an edge.
pub(super) type Leg = ((f64, f64), (f64, f64));

/// Lays out a level; one that is too large for it, in a single column.
///
/// Which edges turn back depends on the order in which loops are looked for: that of the edges, or that of the states they
/// lead to, since people write states down in the order in which they think of them. The smaller picture wins.
pub(super) fn layout(graph: &Graph) -> Layout {
    let written: Vec<usize> = (0..graph.edges.len()).collect();
    let mut by_target = written.clone();
    by_target.sort_by_key(|&at| graph.edges[at].to);
    let area = |layout: &Layout| layout.width * layout.height;
    let first = layered(graph, &written);
    let second = (by_target != written)
        .then(|| layered(graph, &by_target))
        .flatten();
    match (first, second) {
        (Some(first), Some(second)) if area(&second) < area(&first) => second,
        (Some(first), _) => first,
        (None, Some(second)) => second,
        (None, None) => column(graph),
    }
}

/// `order` has every edge once.
fn layered(graph: &Graph, order: &[usize]) -> Option<Layout> {
    let mut dagre: Dagre<NodeLabel, EdgeLabel, GraphLabel> = Dagre::new(GraphOptions {
        multigraph: true,
        ..GraphOptions::default()
    });
    dagre.set_graph(GraphLabel {
        nodesep: NODE_GAP,
        edgesep: BEND_GAP,
        // Halved by the crate: every edge gets a layer for its label.
        ranksep: 2.0 * LAYER_GAP,
        marginx: MARGIN,
        marginy: MARGIN,
        ranker: (graph.sizes.len() > SIMPLEX).then(|| "longest-path".to_owned()),
        ..GraphLabel::default()
    });
    let node = |at: usize| format!("n{at}");
    // Loops are looked for from the first node on, along the edges in their order.
    let others = (0..graph.sizes.len()).filter(|&at| at != graph.root);
    for at in std::iter::once(graph.root).chain(others) {
        let size = &graph.sizes[at];
        dagre.set_node(
            node(at),
            NodeLabel {
                width: size.width + size.aside,
                height: size.height,
                ..NodeLabel::default()
            },
        );
    }
    let name = |edge: usize| format!("e{edge}");
    for &at in order {
        let wire = &graph.edges[at];
        let (width, height) = wire.label.unwrap_or_default();
        let label = EdgeLabel {
            width,
            height,
            weight: wire.pull,
            ..EdgeLabel::default()
        };
        dagre.set_edge_named(node(wire.from), node(wire.to), Some(name(at)), Some(label));
    }
    dugong::layout_controlled(&mut dagre, &mut Budget(BUDGET)).ok()?;

    let mut nodes: Vec<(f64, f64)> = (0..graph.sizes.len())
        .map(|at| {
            let node = dagre.node(&node(at))?;
            Some((node.x? - graph.sizes[at].aside / 2.0, node.y?))
        })
        .collect::<Option<_>>()?;
    let labels: Vec<&EdgeLabel> = graph
        .edges
        .iter()
        .enumerate()
        .map(|(at, wire)| dagre.edge(&node(wire.from), &node(wire.to), Some(&name(at))))
        .collect::<Option<_>>()?;

    // What has the same middle is of one layer, which is as high as the highest of it.
    let mut layers: BTreeMap<i64, f64> = BTreeMap::new();
    let mut reach = |y: f64, height: f64| {
        let half = layers.entry(key(y)).or_default();
        *half = half.max(height / 2.0);
    };
    for (size, (_, y)) in graph.sizes.iter().zip(&nodes) {
        reach(*y, size.height);
    }
    for (wire, label) in graph.edges.iter().zip(&labels) {
        if let (Some((_, height)), Some(y)) = (wire.label, label.y) {
            reach(y, height);
        }
    }
    let half = |y: f64| layers.get(&key(y)).copied().unwrap_or_default();

    let mut bends: Vec<Vec<(f64, f64)>> = labels
        .iter()
        .map(|label| {
            let points = label.points.get(1..label.points.len().saturating_sub(1));
            let points = points.unwrap_or_default().iter().map(|point| (point.x, point.y));
            // Where a layer is empty there is nothing to run past.
            points.filter(|&(_, y)| half(y) > 0.0).collect()
        })
        .collect();
    let mut places: Vec<Option<(f64, f64)>> = labels
        .iter()
        .zip(&graph.edges)
        .map(|(label, wire)| label.x.zip(label.y).filter(|_| wire.label.is_some()))
        .collect();
    let width = align(graph, &mut nodes, &mut bends, &mut places);
    let boxes: HashSet<i64> = nodes.iter().map(|node| key(node.1)).collect();
    let mut passing: HashMap<i64, usize> = HashMap::new();
    for (_, y) in bends.iter().flatten().filter(|(_, y)| boxes.contains(&key(*y))) {
        *passing.entry(key(*y)).or_default() += 1;
    }
    let ports = ports(graph, &nodes, &bends);
    let edges = graph
        .edges
        .iter()
        .enumerate()
        .map(|(at, wire)| {
            let (from, to) = (nodes[wire.from], nodes[wire.to]);
            let down = if from.1 <= to.1 { 1.0 } else { -1.0 };
            let (leave, arrive) = ports[at];
            let edge = |y: f64, height: f64, side: f64| y + side * down * height / 2.0;
            let mut legs = vec![(
                (leave, edge(from.1, graph.sizes[wire.from].height, 1.0)),
                (leave, edge(from.1, 2.0 * half(from.1), 1.0)),
            )];
            legs.extend(bends[at].iter().map(|&(x, y)| {
                let height = 2.0 * half(y);
                ((x, edge(y, height, -1.0)), (x, edge(y, height, 1.0)))
            }));
            legs.push((
                (arrive, edge(to.1, 2.0 * half(to.1), -1.0)),
                (arrive, edge(to.1, graph.sizes[wire.to].height, -1.0)),
            ));
            Route {
                legs,
                arrives: down,
                label: places[at],
            }
        })
        .collect();
    Some(Layout {
        width,
        height: dagre.graph().height,
        nodes,
        heights: graph.sizes.iter().map(|size| size.height).collect(),
        edges,
        layered: true,
        passing: passing.into_values().max().unwrap_or(0),
    })
}

/// Straightens what was laid out, and returns how wide it is then.
fn align(
    graph: &Graph,
    nodes: &mut [(f64, f64)],
    bends: &mut [Vec<(f64, f64)>],
    labels: &mut [Option<(f64, f64)>],
) -> f64 {
    let mut items: Vec<Item> = nodes
        .iter()
        .zip(&graph.sizes)
        .map(|(&(x, y), size)| Item {
            layer: key(y),
            x,
            left: size.width / 2.0,
            right: size.width / 2.0 + size.aside,
            is_box: true,
        })
        .collect();
    let mut links = Vec::new();
    for ((wire, bends), label) in graph.edges.iter().zip(&*bends).zip(&*labels) {
        let mut before = wire.from;
        for &(x, y) in bends {
            let labelled = label.is_some_and(|(_, of_label)| key(of_label) == key(y));
            let width = wire.label.filter(|_| labelled).map_or(0.0, |(width, _)| width);
            links.push(Link {
                from: before,
                to: items.len(),
                pull: wire.pull,
            });
            before = items.len();
            items.push(Item {
                layer: key(y),
                x,
                left: width / 2.0,
                right: width / 2.0,
                is_box: false,
            });
        }
        links.push(Link {
            from: before,
            to: wire.to,
            pull: wire.pull,
        });
    }
    straighten(&mut items, &links, graph.root);

    let lefts = items.iter().map(|item| item.x - item.left);
    let rights = items.iter().map(|item| item.x + item.right);
    let (least, most) = (
        lefts.fold(f64::INFINITY, f64::min),
        rights.fold(f64::NEG_INFINITY, f64::max),
    );
    let mut moved = items.iter().map(|item| item.x - least + MARGIN);
    for (node, x) in nodes.iter_mut().zip(moved.by_ref()) {
        node.0 = x;
    }
    for (bends, label) in bends.iter_mut().zip(labels) {
        for (bend, x) in bends.iter_mut().zip(moved.by_ref()) {
            bend.0 = x;
            if let Some(label) = label.as_mut().filter(|label| key(label.1) == key(bend.1)) {
                label.0 = x;
            }
        }
    }
    most - least + 2.0 * MARGIN
}

/// Layers are told apart by hundredths.
#[expect(clippy::cast_possible_truncation, reason = "pictures are smaller than 2^63")]
fn key(y: f64) -> i64 {
    (y * 100.0).round() as i64
}

/// Where each edge touches its two nodes: side by side, in the order of where they come from.
fn ports(graph: &Graph, nodes: &[(f64, f64)], bends: &[Vec<(f64, f64)>]) -> Vec<(f64, f64)> {
    let mut ports: Vec<(f64, f64)> = graph
        .edges
        .iter()
        .map(|wire| (nodes[wire.from].0, nodes[wire.to].0))
        .collect();
    // Per node and side (top, bottom) where its edges lead to, which they are, and whether they begin there.
    let mut sides: Vec<[Vec<(f64, usize, bool)>; 2]> = vec![[Vec::new(), Vec::new()]; graph.sizes.len()];
    for (at, wire) in graph.edges.iter().enumerate() {
        let (from, to) = (nodes[wire.from], nodes[wire.to]);
        let down = from.1 <= to.1;
        // Without a bend, both ends meet halfway.
        let halfway = f64::midpoint(from.0, to.0);
        let first = bends[at].first().map_or(halfway, |bend| bend.0);
        let last = bends[at].last().map_or(halfway, |bend| bend.0);
        sides[wire.from][usize::from(down)].push((first, at, true));
        sides[wire.to][usize::from(!down)].push((last, at, false));
    }
    for (node, sides) in sides.iter_mut().enumerate() {
        for touching in sides {
            touching.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            #[expect(clippy::cast_precision_loss, reason = "a few edges")]
            let between = (touching.len().max(2) - 1) as f64;
            let gap = (graph.sizes[node].width * 0.7 / between).min(PORT_GAP);
            let room = (graph.sizes[node].width / 2.0 - 14.0).max(0.0);
            let mut shift = 0.0;
            if let [(towards, ..)] = touching[..] {
                // A single edge goes straight where its box is wide enough.
                let off = towards - nodes[node].0;
                shift = if off.abs() <= room { off } else { 0.0 };
            }
            for (at, &(_, edge, begins)) in touching.iter().enumerate() {
                #[expect(clippy::cast_precision_loss, reason = "a few edges")]
                let x = nodes[node].0
                    + if touching.len() < 2 {
                        shift
                    } else {
                        gap * (at as f64 - between / 2.0)
                    };
                if begins {
                    ports[edge].0 = x;
                } else {
                    ports[edge].1 = x;
                }
            }
        }
    }
    ports
}

/// All boxes below each other, and every edge in a lane of its own beside them.
fn column(graph: &Graph) -> Layout {
    let widest = graph
        .sizes
        .iter()
        .map(|size| size.width + 2.0 * size.aside)
        .fold(0.0, f64::max);
    let middle = MARGIN + widest / 2.0;
    let gap = graph
        .edges
        .iter()
        .filter_map(|wire| wire.label)
        .fold(2.0 * LAYER_GAP, |gap, (_, height)| gap.max(height + LAYER_GAP));
    let mut y = MARGIN + gap;
    let mut nodes = Vec::new();
    for size in &graph.sizes {
        nodes.push((middle, y + size.height / 2.0));
        y += size.height + gap;
    }
    let mut lane = MARGIN + widest;
    let mut edges = Vec::new();
    for wire in &graph.edges {
        lane += BEND_GAP;
        let from = nodes[wire.from].1 + graph.sizes[wire.from].height / 2.0;
        let to = nodes[wire.to].1 - graph.sizes[wire.to].height / 2.0;
        let (leave, arrive) = (from + gap, to - gap);
        let x = wire.label.map_or(lane, |(width, _)| lane + width / 2.0);
        edges.push(Route {
            legs: vec![
                ((middle, from), (middle, from)),
                ((x, leave), (x, arrive)),
                ((middle, to), (middle, to)),
            ],
            arrives: 1.0,
            label: wire.label.map(|_| (x, f64::midpoint(leave, arrive))),
        });
        lane = wire.label.map_or(lane, |(width, _)| lane + width);
    }
    Layout {
        width: lane + MARGIN,
        height: y + MARGIN,
        nodes,
        heights: graph.sizes.iter().map(|size| size.height).collect(),
        edges,
        layered: false,
        passing: graph.edges.len(),
    }
}

/// The steps that are left.
struct Budget(usize);

impl WorkControl for Budget {
    fn charge(&mut self, units: usize) -> Result<(), WorkError> {
        self.0 = self.0.checked_sub(units).ok_or(WorkError::Interrupted)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(nodes: usize) -> Graph {
        Graph {
            sizes: vec![
                Size {
                    width: 100.0,
                    height: 40.0,
                    aside: 0.0
                };
                nodes
            ],
            edges: (1..nodes)
                .map(|to| Wire {
                    from: to - 1,
                    to,
                    label: Some((50.0, 16.0)),
                    pull: 1.0,
                })
                .chain([Wire {
                    from: nodes - 1,
                    to: 0,
                    label: None,
                    pull: 1.0,
                }])
                .collect(),
            root: 0,
        }
    }

    #[test]
    fn the_column_keeps_boxes_apart_and_edges_beside_them() {
        let graph = chain(5);
        let layout = column(&graph);
        for pair in layout.nodes.windows(2) {
            assert!(pair[1].1 - pair[0].1 > 40.0);
        }
        for route in &layout.edges {
            let [_, ((x, _), _), _] = route.legs[..] else {
                panic!("three legs")
            };
            assert!(x > MARGIN + 100.0 && x < layout.width);
        }
    }

    #[test]
    fn without_steps_left_there_is_an_error_and_no_panic() {
        let mut budget = Budget(10);
        assert_eq!(budget.charge(10), Ok(()));
        assert_eq!(budget.charge(1), Err(WorkError::Interrupted));
    }

    #[test]
    fn a_chain_goes_straight_down_and_back_up_beside_itself() {
        let layout = layered(&chain(3), &[0, 1, 2]).unwrap();
        assert!(layout.nodes[0].1 < layout.nodes[1].1 && layout.nodes[1].1 < layout.nodes[2].1);
        let back = layout.edges.last().unwrap();
        let (first, last) = (back.legs[0].0, back.legs[back.legs.len() - 1].1);
        assert!(first.1 > last.1, "{first:?} {last:?}");
    }
}
