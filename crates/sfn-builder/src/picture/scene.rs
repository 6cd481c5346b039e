//! What a picture shows and where: cards of states, levels inside cards, edges between them. No word of SVG.

use std::collections::HashMap;

use super::execution::{Execution, StateRun, StateStatus, duration_text};
use super::layout::{self, Graph, Leg, Size, Wire};
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

/// A level with everything in its place; places count from its own left upper corner.
pub(super) struct Scene<'a> {
    pub(super) width: f64,
    pub(super) height: f64,
    pub(super) cards: Vec<Card<'a>>,
    pub(super) lines: Vec<Line>,
    /// The middle of the mark at which it begins.
    pub(super) start: (f64, f64),
    /// The middle of the mark at which it ends well, if it can.
    pub(super) end: Option<(f64, f64)>,
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

/// Where an edge goes.
pub(super) enum Way {
    /// From box to box, and how it comes in: 1.0 is downwards, -1.0 upwards.
    Legs(Vec<Leg>, f64),
    /// Out of the right side of a box and back into it: the middle of that side.
    Own((f64, f64)),
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
    let wires = all
        .iter()
        .filter(|edge| edge.from != edge.to)
        .map(|edge| Wire {
            from: edge.from,
            to: edge.to,
            label: edge.label.as_deref().map(label_size),
            // What goes well makes the backbone of the picture.
            pull: match edge.kind {
                EdgeKind::Next => 8.0,
                EdgeKind::Rule | EdgeKind::Default => 4.0,
                EdgeKind::Catch => 1.0,
            },
        })
        .collect();
    let placed = layout::layout(&Graph {
        sizes,
        edges: wires,
        root: start,
    });

    for (card, at) in cards.iter_mut().zip(&placed.nodes) {
        card.at = *at;
    }
    let idle = |edge: &graph::Edge| {
        let ran = |at: usize| cards.get(at).is_none_or(|card| card.run.is_some());
        let came = execution.is_some_and(|execution| execution.state(&machine.start().name).is_some());
        execution.is_some() && !(came && ran(edge.from) && ran(edge.to))
    };
    let mut routes = placed.edges.into_iter();
    let lines = all
        .iter()
        .map(|edge| {
            let idle = idle(edge);
            let (way, label_at) = if edge.from == edge.to {
                let card = &cards[edge.from];
                let (x, y) = (card.at.0 + card.width / 2.0, card.at.1);
                let label = edge
                    .label
                    .as_deref()
                    .map(|label| x + SELF_LOOP + label_size(label).0 / 2.0 - 6.0);
                (Way::Own((x, y)), label.map(|x| (x, y)))
            } else {
                match routes.next() {
                    Some(route) => (Way::Legs(route.legs, route.arrives), route.label),
                    None => (Way::Legs(Vec::new(), 1.0), None),
                }
            };
            Line {
                kind: edge.kind,
                label: edge.label.clone(),
                idle,
                way,
                label_at,
            }
        })
        .collect();
    Scene {
        width: placed.width,
        height: placed.height,
        start: placed.nodes[start],
        end: end.map(|end| placed.nodes[end]),
        cards,
        lines,
    }
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
