//! What a picture shows and where: cards of states, levels inside cards, edges between them. No word of SVG.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use super::execution::{Execution, StateRun, StateStatus, duration_text};
use super::layout::{self, Graph, Layout, Leg, Size, Wire};
use super::text;
use crate::checked::{Dynamic, Integration, Machine, Mode, State, StateKind, Until};
use crate::graph::{self, EdgeKind};

pub(super) const TITLE_SIZE: f64 = 13.0;
pub(super) const TITLE_LINE: f64 = 17.0;
pub(super) const SMALL_SIZE: f64 = 10.5;
pub(super) const SMALL_LINE: f64 = 14.0;
/// The longest line of a name, in characters.
const TITLE_CHARS: usize = 26;
/// The most lines of a name.
const TITLE_LINES: usize = 3;
/// The longest label of an edge or second line of a box, in characters.
const LABEL_CHARS: usize = 40;
/// What a loop from a state to itself needs beside the box, its label aside.
pub(super) const SELF_LOOP: f64 = 34.0;
/// The size of the marks for beginning and end.
const MARK: f64 = 18.0;
/// The room between the levels inside a box, and around them.
const INSET: f64 = 12.0;
/// The widest row of branches; more go into a further row.
const ROW: f64 = 1500.0;

/// Where a level is wider than this, or more edges than these run past one of its boxes, its longest edges are cut.
const WIDE: f64 = 1500.0;
const CROWD: usize = 4;
/// How many states further an edge may lead where edges are cut: the first of these that is enough.
const LONGEST: [usize; 3] = [16, 8, 4];
/// The height of a sign, and that with the gap to the next.
pub(super) const SIGN: f64 = 18.0;
const SIGN_ROW: f64 = 22.0;
/// What an edge to a sign has beside its label.
const SIGN_EDGE: f64 = 24.0;

/// A level with everything in its place; places count from its own left upper corner.
pub(super) struct Scene<'a> {
    pub(super) width: f64,
    pub(super) height: f64,
    pub(super) cards: Vec<Card<'a>>,
    pub(super) lines: Vec<Line>,
    pub(super) signs: Vec<Sign<'a>>,
    /// The middle of the mark at which it begins.
    pub(super) start: (f64, f64),
    /// The middle of the mark at which it ends well, if it can.
    pub(super) end: Option<(f64, f64)>,
}

impl Scene<'_> {
    /// Whether it has links, here or in a level inside a box.
    pub(super) fn has_signs(&self) -> bool {
        let mut inside = self.cards.iter().flat_map(|card| &card.inside);
        !self.signs.is_empty() || inside.any(|(_, _, scene)| scene.has_signs())
    }
}

/// A state's box.
pub(super) struct Card<'a> {
    pub(super) state: &'a State,
    pub(super) run: Option<&'a StateRun>,
    /// For the colour.
    pub(super) class: &'static str,
    /// The name, cut where it is too long.
    pub(super) lines: Vec<String>,
    /// What it does.
    pub(super) note: String,
    /// How it went.
    pub(super) outcome: Option<String>,
    pub(super) width: f64,
    pub(super) height: f64,
    /// How high the part above the inner levels is.
    pub(super) head: f64,
    /// Its middle.
    pub(super) at: (f64, f64),
    /// The levels inside it, and where they begin, counted from the box's left upper corner.
    pub(super) inside: Vec<(f64, f64, Scene<'a>)>,
}

/// An edge.
pub(super) struct Line {
    pub(super) kind: EdgeKind,
    /// Whole.
    pub(super) label: Option<String>,
    /// Whether an execution did not come to one of its ends.
    pub(super) idle: bool,
    pub(super) way: Way,
    /// The middle of the label.
    pub(super) label_at: Option<(f64, f64)>,
}

/// An edge that was cut: it ends beside its box, at a sign that names the state to which it leads.
pub(super) struct Sign<'a> {
    pub(super) source: &'a State,
    pub(super) target: &'a State,
    /// Whether that lies further up.
    pub(super) up: bool,
    pub(super) kind: EdgeKind,
    /// Whole.
    pub(super) label: Option<String>,
    pub(super) idle: bool,
    /// Where it leaves the box, to the right.
    pub(super) at: (f64, f64),
    /// How long the edge is.
    pub(super) length: f64,
    pub(super) width: f64,
}

/// Where an edge goes.
pub(super) enum Way {
    /// From box to box, and how it comes in: 1.0 is downwards, -1.0 upwards.
    Legs(Vec<Leg>, f64),
    /// Out of the right side of a box and back into it: the middle of that side.
    Own((f64, f64)),
}

impl Sign<'_> {
    /// What it says to those who do not see where it stands; no two of a box say the same.
    pub(super) fn in_words(&self) -> String {
        let (from, to) = (&self.source.name, &self.target.name);
        match &self.label {
            Some(label) => format!("From {from} to {to}: {label}"),
            None => format!("From {from} to {to}"),
        }
    }
}

/// The scene of a machine, a branch or an item processor.
pub(super) fn scene<'a>(machine: &'a Machine, execution: Option<&'a Execution>) -> Scene<'a> {
    let mut cards: Vec<Card<'a>> = machine
        .states()
        .iter()
        .map(|state| card(state, execution))
        .collect();
    let edges = merge(graph::edges(machine));
    let mut sizes: Vec<Size> = cards
        .iter()
        .map(|card| Size {
            width: card.width,
            height: card.height,
            aside: 0.0,
        })
        .collect();
    for edge in edges.iter().filter(|edge| edge.from == edge.to) {
        let label = edge.label.as_deref().map_or(0.0, |label| label_size(label).0);
        let aside = &mut sizes[edge.from].aside;
        *aside = aside.max(SELF_LOOP + label);
    }
    let mark = Size {
        width: MARK,
        height: MARK,
        aside: 0.0,
    };
    let start = sizes.len();
    sizes.push(mark);
    let first = machine.position(&machine.start().name).unwrap_or_default();
    let ends: Vec<usize> = (0..cards.len())
        .filter(|&at| graph::ends(cards[at].state))
        .collect();
    let end = (!ends.is_empty()).then_some(sizes.len());
    sizes.extend(end.map(|_| mark));

    let plain = |from, to| graph::Edge {
        from,
        to,
        kind: EdgeKind::Next,
        label: None,
    };
    let mut all = vec![plain(start, first)];
    all.extend(edges);
    all.extend(ends.iter().filter_map(|&from| Some(plain(from, end?))));
    let (loops, edges): (Vec<graph::Edge>, Vec<graph::Edge>) =
        all.into_iter().partition(|edge| edge.from == edge.to);
    let level = Level {
        sizes,
        edges,
        root: start,
        states: machine.states(),
    };
    let (placed, cut) = level.layout();

    for (at, card) in cards.iter_mut().enumerate() {
        card.at = placed.nodes[at];
        card.height = placed.heights[at];
    }
    let idle = |edge: &graph::Edge| {
        let ran = |at: usize| cards.get(at).is_none_or(|card| card.run.is_some());
        let came = execution.is_some_and(|execution| execution.state(&machine.start().name).is_some());
        execution.is_some() && !(came && ran(edge.from) && ran(edge.to))
    };
    let signs = level.signs(&cards, &cut, idle);
    let line = |edge: &graph::Edge, way, label_at| Line {
        kind: edge.kind,
        label: edge.label.clone(),
        idle: idle(edge),
        way,
        label_at,
    };
    let whole = level.edges.iter().zip(&cut).filter(|(_, cut)| !**cut);
    let mut lines: Vec<Line> = whole
        .zip(placed.edges)
        .map(|((edge, _), route)| line(edge, Way::Legs(route.legs, route.arrives), route.label))
        .collect();
    lines.extend(loops.iter().map(|edge| {
        let card = &cards[edge.from];
        let (x, y) = (card.at.0 + card.width / 2.0, card.at.1);
        let label = edge.label.as_deref();
        let label = label.map(|label| (x + SELF_LOOP + label_size(label).0 / 2.0 - 6.0, y));
        line(edge, Way::Own((x, y)), label)
    }));
    Scene {
        width: placed.width,
        height: placed.height,
        start: placed.nodes[start],
        end: end.map(|end| placed.nodes[end]),
        cards,
        lines,
        signs,
    }
}

/// What of a level is laid out: its states, the marks, and the edges from one to another.
struct Level<'a> {
    sizes: Vec<Size>,
    edges: Vec<graph::Edge>,
    root: usize,
    states: &'a [State],
}

impl<'a> Level<'a> {
    /// The layout, and which edges end at a sign.
    ///
    /// Many long edges beside each other make a picture wide, and nobody can follow one among twenty. So where they are too many
    /// the longest are cut, but for those that hold it together.
    fn layout(&self) -> (Layout, Vec<bool>) {
        let fits = |layout: &Layout| layout.width <= WIDE && layout.passing <= CROWD;
        let none = vec![false; self.edges.len()];
        let whole = layout::layout(&self.graph(&none));
        if fits(&whole) {
            return (whole, none);
        }
        // Along the definition: people write states down in the order in which they think of them.
        let lengths: Vec<usize> = self
            .edges
            .iter()
            .map(|edge| edge.from.abs_diff(edge.to))
            .collect();
        let needed = self.backbone(&lengths);
        // Where not even layers could be found, only short edges are a help.
        let tries = if whole.layered {
            &LONGEST[..]
        } else {
            &LONGEST[2..]
        };
        let mut best = (whole, none);
        for longest in tries {
            let cut: Vec<bool> = (0..self.edges.len())
                .map(|edge| lengths[edge] > *longest && !needed[edge])
                .collect();
            if cut == best.1 {
                continue;
            }
            let layout = layout::layout(&self.graph(&cut));
            if layout.passing < best.0.passing {
                best = (layout, cut);
            }
            if fits(&best.0) {
                break;
            }
        }
        best
    }

    fn graph(&self, cut: &[bool]) -> Graph {
        let mut sizes = self.sizes.clone();
        let mut rows = vec![0.0; sizes.len()];
        let mut edges = Vec::new();
        for (edge, cut) in self.edges.iter().zip(cut) {
            if *cut {
                let size = &mut sizes[edge.from];
                let width = sign_edge(edge) + sign_width(&self.states[edge.to].name);
                size.aside = size.aside.max(width);
                rows[edge.from] += SIGN_ROW;
                size.height = size.height.max(rows[edge.from]);
                continue;
            }
            edges.push(Wire {
                from: edge.from,
                to: edge.to,
                label: edge.label.as_deref().map(label_size),
                // What goes well makes the backbone of the picture.
                pull: match edge.kind {
                    EdgeKind::Next => 8.0,
                    EdgeKind::Rule | EdgeKind::Default => 4.0,
                    EdgeKind::Catch => 1.0,
                },
            });
        }
        Graph {
            sizes,
            edges,
            root: self.root,
        }
    }

    /// Which edges stay: a tree from the root that holds every node, at each step the shortest edge that leads to a new one;
    /// those to marks, which have no name; and those beside which there is a loop.
    fn backbone(&self, lengths: &[usize]) -> Vec<bool> {
        let stays = |edge: &graph::Edge| edge.to >= self.states.len() || self.sizes[edge.from].aside > 0.0;
        let mut needed: Vec<bool> = self.edges.iter().map(stays).collect();
        let mut out: Vec<Vec<usize>> = vec![Vec::new(); self.sizes.len()];
        for (at, edge) in self.edges.iter().enumerate() {
            out[edge.from].push(at);
        }
        let mut reached = vec![false; self.sizes.len()];
        let mut open = BinaryHeap::new();
        let mut next = Some(self.root);
        while let Some(node) = next {
            reached[node] = true;
            open.extend(out[node].iter().map(|&at| Reverse((lengths[at], at))));
            next = None;
            while let Some(Reverse((_, at))) = open.pop() {
                let to = self.edges[at].to;
                if !reached[to] {
                    needed[at] = true;
                    next = Some(to);
                    break;
                }
            }
        }
        needed
    }

    fn signs(&self, cards: &[Card<'a>], cut: &[bool], idle: impl Fn(&graph::Edge) -> bool) -> Vec<Sign<'a>> {
        let mut signs: Vec<Sign<'a>> = Vec::new();
        for (at, card) in cards.iter().enumerate() {
            let edges = self.edges.iter().zip(cut);
            let own: Vec<&graph::Edge> = edges
                .filter(|(edge, cut)| **cut && edge.from == at)
                .map(|(edge, _)| edge)
                .collect();
            #[expect(clippy::cast_precision_loss, reason = "a few edges")]
            let mut y = card.at.1 - SIGN_ROW * (own.len() as f64 - 1.0) / 2.0;
            for edge in own {
                let target = &self.states[edge.to];
                signs.push(Sign {
                    source: card.state,
                    target,
                    up: cards[edge.to].at.1 < card.at.1,
                    kind: edge.kind,
                    label: edge.label.clone(),
                    idle: idle(edge),
                    at: (card.at.0 + card.width / 2.0, y),
                    length: sign_edge(edge),
                    width: sign_width(&target.name),
                });
                y += SIGN_ROW;
            }
        }
        signs
    }
}

fn sign_edge(edge: &graph::Edge) -> f64 {
    SIGN_EDGE + edge.label.as_deref().map_or(0.0, |label| label_size(label).0)
}

/// What stands on a sign, an arrow aside.
pub(super) fn sign_text(name: &str) -> String {
    text::shorten(name, TITLE_CHARS)
}

fn sign_width(name: &str) -> f64 {
    text::width(&sign_text(name), SMALL_SIZE) + 28.0
}

/// What stands on an edge.
pub(super) fn label_text(label: &str) -> String {
    text::shorten(label, LABEL_CHARS)
}

/// The width and height of what stands on an edge.
pub(super) fn label_size(label: &str) -> (f64, f64) {
    (
        text::width(&label_text(label), SMALL_SIZE) + 8.0,
        SMALL_LINE + 2.0,
    )
}

/// Edges between the same two states become one, with both labels.
fn merge(edges: Vec<graph::Edge>) -> Vec<graph::Edge> {
    let mut merged: Vec<graph::Edge> = Vec::new();
    let mut known: HashMap<(usize, usize, bool), usize> = HashMap::new();
    for edge in edges {
        let key = (edge.from, edge.to, edge.kind == EdgeKind::Catch);
        match known.get(&key) {
            Some(&at) => {
                let first = &mut merged[at];
                if let (Some(label), Some(more)) = (&mut first.label, &edge.label)
                    && label != more
                {
                    label.push_str(" · ");
                    label.push_str(more);
                }
            }
            None => {
                known.insert(key, merged.len());
                merged.push(edge);
            }
        }
    }
    merged
}

fn card<'a>(state: &'a State, execution: Option<&'a Execution>) -> Card<'a> {
    let run = execution.and_then(|execution| execution.state(&state.name));
    let lines = text::wrap(&state.name, TITLE_CHARS, TITLE_LINES);
    let (class, note) = describe(state);
    let note = text::shorten(&note, LABEL_CHARS);
    let outcome = run.map(outcome);
    let widest = lines
        .iter()
        // Names are set bold.
        .map(|line| text::width(line, TITLE_SIZE) * 1.06)
        .chain([text::width(&note, SMALL_SIZE), 60.0])
        .chain(outcome.as_deref().map(|outcome| text::width(outcome, SMALL_SIZE)))
        .fold(0.0, f64::max);
    #[expect(clippy::cast_precision_loss, reason = "a few lines")]
    let head =
        lines.len() as f64 * TITLE_LINE + SMALL_LINE + 14.0 + outcome.as_ref().map_or(0.0, |_| SMALL_LINE);
    let mut inside = Vec::new();
    let (mut width, mut height) = (widest + 30.0, head);
    if !state.machines().is_empty() {
        let scenes: Vec<Scene<'a>> = state
            .machines()
            .iter()
            .map(|machine| scene(machine, execution))
            .collect();
        let (inner_width, inner_height, places) = rows(&scenes);
        let left = ((width - inner_width) / 2.0).max(0.0);
        width = width.max(inner_width);
        height += inner_height;
        inside = places
            .into_iter()
            .zip(scenes)
            .map(|((x, y), scene)| (x + left, y + head, scene))
            .collect();
    }
    Card {
        state,
        run,
        class,
        lines,
        note,
        outcome,
        width,
        height,
        head,
        at: (0.0, 0.0),
        inside,
    }
}

/// Levels side by side, in several rows where they are many: the size of all, and where each begins.
fn rows(scenes: &[Scene<'_>]) -> (f64, f64, Vec<(f64, f64)>) {
    let mut rows: Vec<Vec<usize>> = vec![Vec::new()];
    let mut x = INSET;
    for (at, scene) in scenes.iter().enumerate() {
        if x > INSET && x + scene.width > ROW {
            rows.push(Vec::new());
            x = INSET;
        }
        if let Some(row) = rows.last_mut() {
            row.push(at);
        }
        x += scene.width + INSET;
    }
    let across = |row: &[usize]| INSET + row.iter().map(|&at| scenes[at].width + INSET).sum::<f64>();
    let width = rows.iter().map(|row| across(row)).fold(0.0, f64::max);
    let mut places = vec![(0.0, 0.0); scenes.len()];
    let mut y = 0.0;
    for row in &rows {
        let mut x = (width - across(row)) / 2.0 + INSET;
        let mut height = 0.0_f64;
        for &at in row {
            places[at] = (x, y);
            x += scenes[at].width + INSET;
            height = height.max(scenes[at].height);
        }
        y += height + INSET;
    }
    (width, y, places)
}

/// Its class, and in a few words what it does.
fn describe(state: &State) -> (&'static str, String) {
    match &state.kind {
        StateKind::Task(task) => {
            let after = |part: &str| {
                let arn = task.resource.arn.as_str();
                arn.split(part).nth(1).unwrap_or(arn).to_owned()
            };
            let what = match &task.resource.integration {
                Integration::Service {
                    resource_type,
                    resource,
                    ..
                } => format!("{resource_type}:{resource}"),
                Integration::Lambda => format!("lambda:{}", after(":function:")),
                Integration::Activity => format!("activity:{}", after(":activity:")),
            };
            ("task", what)
        }
        StateKind::Parallel(parallel) => {
            let count = parallel.branches.len();
            let what = if count == 1 { "branch" } else { "branches" };
            ("group", format!("Parallel, {count} {what}"))
        }
        StateKind::Map(map) => match map.mode {
            Mode::Inline => ("group", "Map".to_owned()),
            Mode::Distributed(_) => ("group", "Distributed Map".to_owned()),
        },
        StateKind::Pass(_) => ("pass", "Pass".to_owned()),
        StateKind::Choice(_) => ("choice", "Choice".to_owned()),
        StateKind::Wait(wait) => {
            let until = match &wait.until {
                Until::Seconds(Dynamic::Fixed(seconds)) => format!("Wait {seconds} s"),
                Until::Seconds(Dynamic::Computed(expression)) => format!("Wait {} s", expression.as_str()),
                Until::Timestamp(Dynamic::Fixed(timestamp)) => format!("Wait until {timestamp}"),
                Until::Timestamp(Dynamic::Computed(expression)) => {
                    format!("Wait until {}", expression.as_str())
                }
            };
            ("wait", until)
        }
        StateKind::Succeed => ("succeed", "Succeed".to_owned()),
        StateKind::Fail(fail) => match &fail.error {
            Some(Dynamic::Fixed(error)) => ("fail", format!("Fail: {error}")),
            Some(Dynamic::Computed(expression)) => ("fail", format!("Fail: {}", expression.as_str())),
            None => ("fail", "Fail".to_owned()),
        },
    }
}

/// How it went, in one line.
pub(super) fn outcome(run: &StateRun) -> String {
    let mut outcome = match run.status {
        StateStatus::Succeeded => "✓",
        StateStatus::Caught => "↷ caught",
        StateStatus::Failed => "✗ failed",
        StateStatus::Aborted => "■ aborted",
        StateStatus::InProgress => "… in progress",
    }
    .to_owned();
    if let Some(duration) = run.duration {
        outcome.push(' ');
        outcome.push_str(&duration_text(duration));
    }
    if run.entered > 1 {
        outcome.push_str(&format!(" in {} runs", run.entered));
    }
    match run.retries {
        0 => {}
        1 => outcome.push_str(", 1 retry"),
        retries => outcome.push_str(&format!(", {retries} retries")),
    }
    outcome
}
