//! SVG, with nothing from outside: colours by class, text escaped.

use std::collections::HashMap;
use std::fmt::Write as _;

use super::StateStatus;
use super::layout::{Graph, Layout, Route, Wire, layout};
use crate::checked::{Dynamic, Integration, Mode, State, StateKind, Until};
use crate::graph::{self, Edge, EdgeKind};
use crate::machine::StateMachine;

const TITLE_SIZE: f64 = 13.0;
const TITLE_LINE: f64 = 17.0;
const SMALL_SIZE: f64 = 10.5;
const SMALL_LINE: f64 = 14.0;
/// The longest line of a name, in characters.
const TITLE_CHARS: usize = 26;
/// The longest label of an edge or second line of a box, in characters.
const LABEL_CHARS: usize = 40;
/// What a loop from a state to itself needs beside the box.
const SELF_LOOP: f64 = 34.0;

const STYLE: &str = "\
.sfn{background:#fff;font-family:system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif}
.sfn .box rect{fill:#fff;stroke:#7d8998;stroke-width:1.5}
.sfn .name{font-size:13px;font-weight:600;fill:#16191f;text-anchor:middle}
.sfn .note{font-size:10.5px;fill:#545b64;text-anchor:middle}
.sfn .task rect{stroke:#c7511f}.sfn .pass rect{stroke:#687078}.sfn .choice rect{stroke:#0972d3}
.sfn .wait rect{stroke:#7d5fc9}.sfn .succeed rect{stroke:#1d8102}.sfn .fail rect{stroke:#d13212}
.sfn .bar{stroke:none!important}
.sfn .task .bar{fill:#c7511f}.sfn .pass .bar{fill:#687078}.sfn .choice .bar{fill:#0972d3}
.sfn .wait .bar{fill:#7d5fc9}.sfn .succeed .bar{fill:#1d8102}.sfn .fail .bar{fill:#d13212}
.sfn .succeeded .body{fill:#dff3d8}.sfn .failed .body{fill:#fbdbd5}.sfn .caught .body{fill:#fdeccb}
.sfn .in-progress .body{fill:#d6e9fb}
.sfn .in-progress .body{stroke-dasharray:6 3}
.sfn .edge{fill:none;stroke:#687078;stroke-width:1.4}
.sfn .edge.catch{stroke:#d13212;stroke-dasharray:5 4}
.sfn .head{fill:#687078}.sfn .head.catch{fill:#d13212}
.sfn .patch{fill:#fff}
.sfn .label{font-size:10.5px;fill:#414d5c;text-anchor:middle}
.sfn .label.catch{fill:#b02a0d}
.sfn .dot{fill:#414d5c}.sfn .ring{fill:none;stroke:#414d5c;stroke-width:1.5}
@media (prefers-color-scheme:dark){
.sfn{background:#10161f}
.sfn .box rect{fill:#1b2530;stroke:#8d99a8}
.sfn .name{fill:#eaeded}.sfn .note{fill:#aab7b8}
.sfn .task rect{stroke:#ff9d5c}.sfn .pass rect{stroke:#95a5a6}.sfn .choice rect{stroke:#5fb0ff}
.sfn .wait rect{stroke:#b79cff}.sfn .succeed rect{stroke:#67c94b}.sfn .fail rect{stroke:#ff7a63}
.sfn .task .bar{fill:#ff9d5c}.sfn .pass .bar{fill:#95a5a6}.sfn .choice .bar{fill:#5fb0ff}
.sfn .wait .bar{fill:#b79cff}.sfn .succeed .bar{fill:#67c94b}.sfn .fail .bar{fill:#ff7a63}
.sfn .succeeded .body{fill:#1f3d1a}.sfn .failed .body{fill:#4d1f19}.sfn .caught .body{fill:#4a3a14}
.sfn .in-progress .body{fill:#17324d}
.sfn .edge{stroke:#9ba7b6}.sfn .edge.catch{stroke:#ff7a63}
.sfn .head{fill:#9ba7b6}.sfn .head.catch{fill:#ff7a63}
.sfn .patch{fill:#10161f}
.sfn .label{fill:#c6d0dc}.sfn .label.catch{fill:#ff9a87}
.sfn .dot{fill:#c6d0dc}.sfn .ring{stroke:#c6d0dc}
}
";

/// What stands in a box.
struct Card {
    lines: Vec<String>,
    note: String,
    class: &'static str,
    width: f64,
    height: f64,
}

pub(super) fn render(machine: &StateMachine, statuses: &HashMap<String, StateStatus>) -> String {
    let mut edges = merge(graph::edges(machine));
    let loops: Vec<bool> = (0..machine.states().len())
        .map(|state| edges.iter().any(|edge| edge.from == state && edge.to == state))
        .collect();
    let cards: Vec<Card> = machine.states().iter().map(card).collect();
    let mut sizes: Vec<(f64, f64)> = cards
        .iter()
        .zip(&loops)
        .map(|(card, &own)| (card.width + if own { 2.0 * SELF_LOOP } else { 0.0 }, card.height))
        .collect();

    // Two marks more: where it begins, and where it ends well.
    let start = sizes.len();
    sizes.push((18.0, 18.0));
    let first = machine.position(&machine.start().name).unwrap_or_default();
    let plain = |from: usize, to: usize| Wire {
        from,
        to,
        label: None,
        pull: 1.0,
    };
    let mut wires: Vec<Wire> = vec![plain(start, first)];
    wires.extend(edges.iter().map(|edge| {
        // What goes well makes the backbone of the picture.
        let pull = match edge.kind {
            EdgeKind::Next => 1.0,
            EdgeKind::Rule => 0.6,
            EdgeKind::Default => 0.4,
            EdgeKind::Catch => 0.06,
        };
        Wire {
            from: edge.from,
            to: edge.to,
            label: edge.label.as_deref().map(label_size),
            pull,
        }
    }));
    edges.insert(
        0,
        Edge {
            from: start,
            to: first,
            kind: EdgeKind::Next,
            label: None,
        },
    );
    let ends: Vec<usize> = (0..machine.states().len())
        .filter(|&at| graph::ends(&machine.states()[at]))
        .collect();
    let end = sizes.len();
    if !ends.is_empty() {
        sizes.push((18.0, 18.0));
    }
    for from in ends {
        wires.push(plain(from, end));
        edges.push(Edge {
            from,
            to: end,
            kind: EdgeKind::Next,
            label: None,
        });
    }
    let layout = layout(&Graph {
        sizes,
        edges: wires,
        root: start,
    });

    let mut svg = String::new();
    let (width, height) = (layout.width.ceil(), layout.height.ceil());
    let _ = writeln!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" role=\"img\" class=\"sfn\">"
    );
    let title = machine.comment().unwrap_or("State machine");
    let _ = writeln!(svg, "<title>{}</title>", escape(title));
    let _ = writeln!(svg, "<style>\n{STYLE}</style>");
    // The background is drawn: not every viewer knows `background`.
    let _ = writeln!(
        svg,
        "<rect class=\"patch\" width=\"{width}\" height=\"{height}\"/>"
    );
    for (edge, route) in edges.iter().zip(&layout.edges) {
        draw_edge(&mut svg, edge, route, &cards);
    }
    draw_marks(&mut svg, &layout, start, end);
    for (at, card) in cards.iter().enumerate() {
        let state = &machine.states()[at];
        draw_card(
            &mut svg,
            state,
            card,
            layout.nodes[at],
            statuses.get(&state.name).copied(),
        );
    }
    svg.push_str("</svg>\n");
    svg
}

/// Edges between the same two states become one, with both labels.
fn merge(edges: Vec<Edge>) -> Vec<Edge> {
    let mut merged: Vec<Edge> = Vec::new();
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

fn card(state: &State) -> Card {
    let lines = wrap(&state.name, TITLE_CHARS);
    let (class, note) = match &state.kind {
        StateKind::Task(task) => {
            let what = match &task.resource.integration {
                Integration::Service {
                    resource_type,
                    resource,
                    ..
                } => format!("{resource_type}:{resource}"),
                Integration::Lambda => {
                    let name = task
                        .resource
                        .arn
                        .split(":function:")
                        .nth(1)
                        .unwrap_or(&task.resource.arn);
                    format!("lambda:{name}")
                }
                Integration::Activity => {
                    let name = task.resource.arn.split(":activity:").nth(1);
                    format!("activity:{}", name.unwrap_or(&task.resource.arn))
                }
            };
            ("task", what)
        }
        StateKind::Parallel(parallel) => {
            let count = parallel.branches.len();
            let what = if count == 1 { "branch" } else { "branches" };
            ("task", format!("Parallel, {count} {what}"))
        }
        StateKind::Map(map) => match map.mode {
            Mode::Inline => ("task", "Map".to_owned()),
            Mode::Distributed(_) => ("task", "Distributed Map".to_owned()),
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
    };
    let note = shorten(&note, LABEL_CHARS);
    let widest = lines
        .iter()
        .map(|line| text_width(line, TITLE_SIZE) * 1.06)
        .fold(0.0, f64::max);
    let width = widest.max(text_width(&note, SMALL_SIZE)).max(60.0) + 30.0;
    #[expect(clippy::cast_precision_loss, reason = "a few lines")]
    let height = lines.len() as f64 * TITLE_LINE + SMALL_LINE + 14.0;
    Card {
        lines,
        note,
        class,
        width,
        height,
    }
}

fn draw_card(svg: &mut String, state: &State, card: &Card, (x, y): (f64, f64), status: Option<StateStatus>) {
    let (left, top) = (x - card.width / 2.0, y - card.height / 2.0);
    let (word, status) = match status {
        None => ("", ""),
        Some(StateStatus::InProgress) => (", in progress", " in-progress"),
        Some(StateStatus::Succeeded) => (", succeeded", " succeeded"),
        Some(StateStatus::Failed) => (", failed", " failed"),
        Some(StateStatus::Caught) => (", caught", " caught"),
    };
    let _ = writeln!(svg, "<g class=\"box {}{status}\">", card.class);
    let comment = state
        .comment
        .as_deref()
        .map(|comment| format!(": {comment}"))
        .unwrap_or_default();
    let tip = format!("{} ({}{word}){comment}", state.name, state.type_name());
    let _ = writeln!(svg, "<title>{}</title>", escape(&tip));
    let (width, height) = (card.width, card.height);
    let _ = writeln!(
        svg,
        "<rect class=\"body\" x=\"{left:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" rx=\"6\"/>"
    );
    let _ = writeln!(
        svg,
        "<rect class=\"bar\" x=\"{:.1}\" y=\"{:.1}\" width=\"4\" height=\"{:.1}\" rx=\"2\"/>",
        left + 4.0,
        top + 6.0,
        height - 12.0
    );
    let mut baseline = top + 7.0 + TITLE_SIZE;
    for line in &card.lines {
        let _ = writeln!(
            svg,
            "<text class=\"name\" x=\"{x:.1}\" y=\"{baseline:.1}\">{}</text>",
            escape(line)
        );
        baseline += TITLE_LINE;
    }
    let baseline = baseline - TITLE_LINE + SMALL_LINE + 1.0;
    let _ = writeln!(
        svg,
        "<text class=\"note\" x=\"{x:.1}\" y=\"{baseline:.1}\">{}</text>",
        escape(&card.note)
    );
    svg.push_str("</g>\n");
}

fn draw_marks(svg: &mut String, layout: &Layout, start: usize, end: usize) {
    let (x, y) = layout.nodes[start];
    let _ = writeln!(svg, "<circle class=\"dot\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"8\"/>");
    if let Some(&(x, y)) = layout.nodes.get(end) {
        let _ = writeln!(
            svg,
            "<circle class=\"ring\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"8\"/>"
        );
        let _ = writeln!(svg, "<circle class=\"dot\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\"/>");
    }
}

fn draw_edge(svg: &mut String, edge: &Edge, route: &Route, cards: &[Card]) {
    let class = if edge.kind == EdgeKind::Catch {
        " catch"
    } else {
        ""
    };
    let mut path = String::new();
    let mut label_at = route.label;
    let tip: (f64, f64);
    // Which way the arrow points: down, up (1, -1), or left into a box.
    let direction: (f64, f64);
    if let [(middle, _)] = route.legs.as_slice() {
        let (x, y) = (middle.0 + cards[edge.from].width / 2.0, middle.1);
        let out = SELF_LOOP - 8.0;
        let _ = write!(
            path,
            "M{x:.1} {:.1}C{:.1} {:.1} {:.1} {:.1} {:.1} {:.1}",
            y - 9.0,
            x + out,
            y - 22.0,
            x + out,
            y + 22.0,
            x + 6.0,
            y + 9.0
        );
        tip = (x, y + 8.0);
        direction = (-1.0, -0.2);
        label_at = None;
    } else {
        let down = route.legs[0].0.1 <= route.legs[route.legs.len() - 1].1.1;
        direction = (0.0, if down { 1.0 } else { -1.0 });
        let last = route.legs.len() - 1;
        for (at, &(from, to)) in route.legs.iter().enumerate() {
            if at == 0 {
                let _ = write!(path, "M{:.1} {:.1}", from.0, from.1);
            } else {
                let before = route.legs[at - 1].1;
                let bend = (from.1 - before.1) / 2.0;
                // The curve stops short of the arrow's head where there is no straight piece before it.
                let _ = write!(
                    path,
                    "C{:.1} {:.1} {:.1} {:.1} {:.1} {:.1}",
                    before.0,
                    before.1 + bend,
                    from.0,
                    from.1 - bend,
                    from.0,
                    if at == last && from == to {
                        from.1 - 5.0 * direction.1
                    } else {
                        from.1
                    }
                );
            }
            if from != to {
                let end = if at == last {
                    to.1 - 5.0 * direction.1
                } else {
                    to.1
                };
                let _ = write!(path, "L{:.1} {end:.1}", to.0);
            }
        }
        tip = route.legs[last].1;
    }
    let _ = write!(svg, "<path class=\"edge{class}\" d=\"{path}\">");
    if let Some(label) = &edge.label {
        let _ = write!(svg, "<title>{}</title>", escape(label));
    }
    svg.push_str("</path>\n");

    let (dx, dy) = direction;
    let (bx, by) = (tip.0 - 8.0 * dx, tip.1 - 8.0 * dy);
    let _ = writeln!(
        svg,
        "<polygon class=\"head{class}\" points=\"{:.1},{:.1} {:.1},{:.1} {:.1},{:.1}\"/>",
        tip.0,
        tip.1,
        bx - 4.0 * dy,
        by + 4.0 * dx,
        bx + 4.0 * dy,
        by - 4.0 * dx
    );
    if let (Some(label), Some((x, y))) = (&edge.label, label_at) {
        let text = shorten(label, LABEL_CHARS);
        let (width, height) = label_size(label);
        // A patch of background, so that the edge does not strike the text through.
        let _ = writeln!(
            svg,
            "<rect class=\"patch under\" x=\"{:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"/>",
            x - width / 2.0,
            y - height / 2.0
        );
        let _ = writeln!(
            svg,
            "<text class=\"label{class}\" x=\"{x:.1}\" y=\"{:.1}\">{}</text>",
            y + 3.7,
            escape(&text)
        );
    }
}

fn label_size(label: &str) -> (f64, f64) {
    (
        text_width(&shorten(label, LABEL_CHARS), SMALL_SIZE) + 8.0,
        SMALL_LINE + 2.0,
    )
}

/// An estimate, on the wide side: the font is the viewer's.
fn text_width(text: &str, size: f64) -> f64 {
    let ems: f64 = text
        .chars()
        .map(|c| match c {
            'i' | 'j' | 'l' | 'I' | '.' | ',' | ':' | ';' | '\'' | '|' | '!' | ' ' => 0.34,
            'f' | 'r' | 't' | '(' | ')' | '[' | ']' | '-' | '"' | '/' => 0.43,
            'm' | 'w' | 'M' | 'W' | '@' | '%' => 0.95,
            c if c.is_ascii_uppercase() => 0.71,
            c if c.is_ascii() => 0.61,
            c if u32::from(c) >= 0x1100 => 1.05,
            _ => 0.68,
        })
        .sum();
    ems * size
}

/// Lines of at most so many characters, broken at blanks where there are some.
fn wrap(text: &str, limit: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let mut word: Vec<char> = word.chars().collect();
        if let Some(line) = lines.last_mut()
            && line.chars().count() + 1 + word.len() <= limit
        {
            line.push(' ');
            line.extend(word);
            continue;
        }
        while word.len() > limit {
            let rest = word.split_off(limit);
            lines.push(word.into_iter().collect());
            word = rest;
        }
        lines.push(word.into_iter().collect());
    }
    if lines.is_empty() {
        lines.push(String::new());
    }
    lines
}

fn shorten(text: &str, limit: usize) -> String {
    if text.chars().count() <= limit {
        return text.to_owned();
    }
    let start: String = text.chars().take(limit - 1).collect();
    format!("{}…", start.trim_end())
}

/// Text for XML; characters that XML cannot have become U+FFFD.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\t' | '\n' | '\r' => escaped.push(' '),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}
