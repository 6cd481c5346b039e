//! SVG, with nothing from outside: colours by class, text escaped.

use std::fmt::Write as _;

use super::execution::{Execution, StateStatus};
use super::scene::{
    self, Card, Line, SELF_LOOP, SIGN, SMALL_LINE, SMALL_SIZE, Scene, Sign, TITLE_LINE, TITLE_SIZE, Way,
    label_size, label_text,
};
use super::text::{self, escape};
use crate::checked::State;
use crate::graph::EdgeKind;
use crate::machine::StateMachine;

const STYLE: &str = "\
.sfn{background:#fff;font-family:system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif}
.sfn .halo{fill:#fff}.sfn .body{fill:#fff;stroke:#7d8998;stroke-width:1.5}
.sfn .name{font-size:13px;font-weight:600;fill:#16191f;text-anchor:middle}
.sfn .note{font-size:10.5px;fill:#545b64;text-anchor:middle}
.sfn .outcome{font-size:10.5px;font-weight:600;fill:#16191f;text-anchor:middle}
.sfn .task>.body{stroke:#c7511f}.sfn .pass>.body{stroke:#687078}.sfn .choice>.body{stroke:#0972d3}
.sfn .wait>.body{stroke:#7d5fc9}.sfn .succeed>.body{stroke:#1d8102}.sfn .fail>.body{stroke:#d13212}
.sfn .group>.body{stroke:#56616e}
.sfn .group>.body,.sfn .group>.halo{fill:#f6f8fa}.sfn .group .group>.body,.sfn .group .group>.halo{fill:#eef1f5}
.sfn .level{fill:none;stroke:#a3aeba;stroke-dasharray:2 4}
.sfn .task>.bar{fill:#c7511f}.sfn .pass>.bar{fill:#687078}.sfn .choice>.bar{fill:#0972d3}
.sfn .wait>.bar{fill:#7d5fc9}.sfn .succeed>.bar{fill:#1d8102}.sfn .fail>.bar{fill:#d13212}
.sfn .group>.bar{fill:#56616e}
.sfn .succeeded>.body{fill:#dff3d8}.sfn .failed>.body{fill:#fbdbd5;stroke-width:2.5}
.sfn .caught>.body{fill:#fdeccb}.sfn .in-progress>.body{fill:#d6e9fb;stroke-dasharray:6 3}
.sfn .aborted>.body{fill:#e6e8eb}
.sfn .box.group.succeeded>.body,.sfn .box.group.succeeded>.halo{fill:#f1faee}.sfn .box.group.failed>.body,.sfn .box.group.failed>.halo{fill:#fef2f0}
.sfn .box.group.caught>.body,.sfn .box.group.caught>.halo{fill:#fef8ea}.sfn .box.group.in-progress>.body,.sfn .box.group.in-progress>.halo{fill:#eff7fe}
.sfn .body:target{stroke-width:4}
.sfn .idle>.body{stroke-opacity:.45}.sfn .idle>.bar{fill-opacity:.45}
.sfn .idle>.name,.sfn .idle>.note{fill-opacity:.85}
.sfn .edge{fill:none;stroke:#5f6b7a;stroke-width:1.4}
.sfn .edge.catch{stroke:#d13212;stroke-dasharray:5 4}
.sfn .head{fill:#5f6b7a}.sfn .head.catch{fill:#d13212}
.sfn .edge.idle{stroke-opacity:.4}.sfn .head.idle{fill-opacity:.4}
.sfn .patch{fill:#fff}
.sfn .label{font-size:10.5px;fill:#414d5c;text-anchor:middle}
.sfn .label.catch{fill:#b02a0d}.sfn .label.idle{fill-opacity:.8}
.sfn .sign{fill:#f2f4f7;stroke:#a3aeba}.sfn .sign.catch{fill:#fdf1ee;stroke:#e3a191}
.sfn .dot{fill:#414d5c}.sfn .ring{fill:none;stroke:#414d5c;stroke-width:1.5}
.sfn .key{font-size:10.5px;fill:#545b64}
@media (prefers-color-scheme:dark){
.sfn{background:#10161f}
.sfn .halo{fill:#10161f}.sfn .body{fill:#1b2530;stroke:#8d99a8}
.sfn .name,.sfn .outcome{fill:#eaeded}.sfn .note,.sfn .key{fill:#aab7b8}
.sfn .task>.body{stroke:#ff9d5c}.sfn .pass>.body{stroke:#95a5a6}.sfn .choice>.body{stroke:#5fb0ff}
.sfn .wait>.body{stroke:#b79cff}.sfn .succeed>.body{stroke:#67c94b}.sfn .fail>.body{stroke:#ff7a63}
.sfn .group>.body{stroke:#8d99a8}
.sfn .group>.body,.sfn .group>.halo{fill:#151d27}.sfn .group .group>.body,.sfn .group .group>.halo{fill:#1a232e}
.sfn .level{stroke:#4d5a69}
.sfn .task>.bar{fill:#ff9d5c}.sfn .pass>.bar{fill:#95a5a6}.sfn .choice>.bar{fill:#5fb0ff}
.sfn .wait>.bar{fill:#b79cff}.sfn .succeed>.bar{fill:#67c94b}.sfn .fail>.bar{fill:#ff7a63}
.sfn .group>.bar{fill:#8d99a8}
.sfn .succeeded>.body{fill:#1f3d1a}.sfn .failed>.body{fill:#4d1f19}.sfn .caught>.body{fill:#4a3a14}
.sfn .in-progress>.body{fill:#17324d}.sfn .aborted>.body{fill:#323b46}
.sfn .box.group.succeeded>.body,.sfn .box.group.succeeded>.halo{fill:#14231a}.sfn .box.group.failed>.body,.sfn .box.group.failed>.halo{fill:#2a1614}
.sfn .box.group.caught>.body,.sfn .box.group.caught>.halo{fill:#29210f}.sfn .box.group.in-progress>.body,.sfn .box.group.in-progress>.halo{fill:#11202f}
.sfn .edge{stroke:#9ba7b6}.sfn .edge.catch{stroke:#ff7a63}
.sfn .head{fill:#9ba7b6}.sfn .head.catch{fill:#ff7a63}
.sfn .patch{fill:#10161f}
.sfn .label{fill:#c6d0dc}.sfn .label.catch{fill:#ff9a87}
.sfn .sign{fill:#202b37;stroke:#5a6878}.sfn .sign.catch{fill:#33201d;stroke:#8a4a3e}
.sfn .dot{fill:#c6d0dc}.sfn .ring{stroke:#c6d0dc}
}
";

/// The height of the row that explains the colours.
const KEY: f64 = 30.0;

pub(super) fn render(machine: &StateMachine, execution: Option<&Execution>) -> String {
    let scene = scene::scene(machine, execution);
    let mut keys = Vec::new();
    if let Some(execution) = execution {
        let runs = || {
            machine
                .all_states()
                .into_iter()
                .map(|state| execution.state(&state.name))
        };
        let seen = |status| runs().any(|run| run.is_some_and(|run| run.status == status));
        keys.extend(
            StateStatus::ALL
                .into_iter()
                .filter(|status| seen(*status))
                .map(Some),
        );
        keys.extend(runs().any(|run| run.is_none()).then_some(None));
    }
    let keys_width: f64 = 16.0 + keys.iter().map(|status| key_width(*status)).sum::<f64>();
    let width = scene.width.max(keys_width).ceil();
    let height = (scene.height + if keys.is_empty() { 0.0 } else { KEY }).ceil();

    // What is one image for a screen reader has no links in it.
    let role = if scene.has_signs() { "group" } else { "img" };
    let mut svg = String::new();
    let _ = writeln!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" role=\"{role}\" class=\"sfn\">"
    );
    let title = machine.comment().unwrap_or("State machine");
    let _ = writeln!(svg, "<title>{}</title>", escape(title));
    let _ = writeln!(svg, "<desc>{}</desc>", escape(&description(machine, execution)));
    let _ = writeln!(svg, "<style>\n{STYLE}</style>");
    // The background is drawn: not every viewer knows `background`.
    let _ = writeln!(
        svg,
        "<rect class=\"patch\" width=\"{width}\" height=\"{height}\"/>"
    );
    draw_scene(
        &mut svg,
        &scene,
        (width - scene.width) / 2.0,
        0.0,
        execution.is_some(),
    );
    let mut x = 16.0;
    for status in keys {
        draw_key(&mut svg, status, (x, scene.height + 4.0));
        x += key_width(status);
    }
    svg.push_str("</svg>\n");
    svg
}

/// What who cannot see the picture is told.
fn description(machine: &StateMachine, execution: Option<&Execution>) -> String {
    let states = machine.all_states();
    let mut description = format!(
        "A state machine of {} states that begins with {}.",
        states.len(),
        machine.start().name
    );
    for state in &states {
        let _ = write!(description, " {} ({})", state.name, state.type_name());
        let run = execution.and_then(|execution| execution.state(&state.name));
        if let Some(run) = run {
            let _ = write!(description, ", {}", run.status.as_str().to_lowercase());
        }
        let mut next = state.successors();
        next.dedup();
        if next.is_empty() {
            description.push_str(" ends.");
        } else {
            let _ = write!(description, " leads to {}.", next.join(", "));
        }
    }
    description
}

fn class(status: StateStatus) -> &'static str {
    match status {
        StateStatus::InProgress => "in-progress",
        StateStatus::Succeeded => "succeeded",
        StateStatus::Failed => "failed",
        StateStatus::Caught => "caught",
        StateStatus::Aborted => "aborted",
    }
}

fn key_text(status: Option<StateStatus>) -> &'static str {
    status.map_or("Not entered", StateStatus::as_str)
}

fn key_width(status: Option<StateStatus>) -> f64 {
    22.0 + text::width(key_text(status), SMALL_SIZE) + 14.0
}

fn draw_key(svg: &mut String, status: Option<StateStatus>, (x, y): (f64, f64)) {
    let class = status.map_or("idle", class);
    let _ = writeln!(
        svg,
        "<g class=\"{class}\"><rect class=\"body\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"16\" height=\"12\" rx=\"3\"/></g>"
    );
    let _ = writeln!(
        svg,
        "<text class=\"key\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
        x + 22.0,
        y + 10.0,
        key_text(status)
    );
}

/// A level whose left upper corner is here.
fn draw_scene(svg: &mut String, scene: &Scene<'_>, x: f64, y: f64, ran: bool) {
    for line in &scene.lines {
        draw_edge(svg, line, (x, y));
    }
    let (cx, cy) = (scene.start.0 + x, scene.start.1 + y);
    let _ = writeln!(
        svg,
        "<circle class=\"dot\" cx=\"{cx:.1}\" cy=\"{cy:.1}\" r=\"8\"/>"
    );
    if let Some((cx, cy)) = scene.end {
        let (cx, cy) = (cx + x, cy + y);
        let _ = writeln!(
            svg,
            "<circle class=\"ring\" cx=\"{cx:.1}\" cy=\"{cy:.1}\" r=\"8\"/>"
        );
        let _ = writeln!(
            svg,
            "<circle class=\"dot\" cx=\"{cx:.1}\" cy=\"{cy:.1}\" r=\"4\"/>"
        );
    }
    for card in &scene.cards {
        draw_card(svg, card, (x, y), ran);
    }
    for sign in &scene.signs {
        draw_sign(svg, sign, (x, y));
    }
    // Over the edges, so that none strikes a label through.
    for line in &scene.lines {
        draw_label(svg, line, (x, y));
    }
}

fn draw_card(svg: &mut String, card: &Card<'_>, (x, y): (f64, f64), ran: bool) {
    let (x, y) = (card.at.0 + x, card.at.1 + y);
    let (width, height) = (card.width, card.height);
    let (left, top) = (x - width / 2.0, y - height / 2.0);
    let status = match card.run {
        Some(run) => format!(" {}", class(run.status)),
        None if ran => " idle".to_owned(),
        None => String::new(),
    };
    let _ = writeln!(svg, "<g class=\"box {}{status}\">", card.class);
    let mut tip = format!("{} ({})", card.state.name, card.state.type_name());
    if let Some(run) = card.run {
        let _ = write!(tip, ", {}", scene::outcome(run));
    }
    if let Some(comment) = &card.state.comment {
        let _ = write!(tip, ": {comment}");
    }
    let _ = writeln!(svg, "<title>{}</title>", escape(&tip));
    let _ = writeln!(
        svg,
        "<rect class=\"body\" x=\"{left:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" rx=\"6\" id=\"{}\"/>",
        card.state.anchor()
    );
    let _ = writeln!(
        svg,
        "<rect class=\"bar\" x=\"{:.1}\" y=\"{:.1}\" width=\"4\" height=\"{:.1}\" rx=\"2\"/>",
        left + 4.0,
        top + 6.0,
        card.head - 12.0
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
    if let Some(outcome) = &card.outcome {
        let _ = writeln!(
            svg,
            "<text class=\"outcome\" x=\"{x:.1}\" y=\"{:.1}\">{}</text>",
            baseline + SMALL_LINE,
            escape(outcome)
        );
    }
    for (inner_x, inner_y, scene) in &card.inside {
        let (inner_x, inner_y) = (left + inner_x, top + inner_y);
        if card.inside.len() > 1 {
            let _ = writeln!(
                svg,
                "<rect class=\"level\" x=\"{inner_x:.1}\" y=\"{inner_y:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"4\"/>",
                scene.width, scene.height
            );
        }
        draw_scene(svg, scene, inner_x, inner_y, ran);
    }
    svg.push_str("</g>\n");
}

impl State {
    /// The `id` of its box in the SVG pictures: its place in the document, in characters that every viewer takes. A picture
    /// that stands in a page can be linked into with it.
    #[must_use]
    pub fn anchor(&self) -> String {
        let mut anchor = String::from("sfn");
        for c in self.pointer.chars() {
            if c.is_ascii_alphanumeric() {
                anchor.push(c);
            } else {
                let _ = write!(anchor, "-{:x}-", u32::from(c));
            }
        }
        anchor
    }
}

fn draw_sign(svg: &mut String, sign: &Sign<'_>, (x, y): (f64, f64)) {
    let (x, y) = (sign.at.0 + x, sign.at.1 + y);
    let class = edge_class(sign.kind, sign.idle);
    let left = x + sign.length;
    let _ = writeln!(
        svg,
        "<path class=\"edge{class}\" d=\"M{x:.1} {y:.1}L{:.1} {y:.1}\"/>",
        left - 6.0
    );
    draw_head(svg, &class, (left, y), (1.0, 0.0));
    let name = &sign.target.name;
    let _ = writeln!(svg, "<a href=\"#{}\">", sign.target.anchor());
    let _ = writeln!(svg, "<title>{}</title>", escape(&sign.in_words()));
    let _ = writeln!(
        svg,
        "<rect class=\"sign{class}\" x=\"{left:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{SIGN:.1}\" rx=\"9\"/>",
        y - SIGN / 2.0,
        sign.width
    );
    let _ = writeln!(
        svg,
        "<text class=\"label{class}\" x=\"{:.1}\" y=\"{:.1}\">{} {}</text></a>",
        left + sign.width / 2.0,
        y + 3.7,
        if sign.up { '↑' } else { '↓' },
        escape(&scene::sign_text(name))
    );
    if let Some(label) = &sign.label {
        let middle = x + 4.0 + label_size(label).0 / 2.0;
        write_label(svg, &class, label, (middle, y));
    }
}

fn edge_class(kind: EdgeKind, idle: bool) -> String {
    let mut class = String::new();
    if kind == EdgeKind::Catch {
        class.push_str(" catch");
    }
    if idle {
        class.push_str(" idle");
    }
    class
}

fn draw_edge(svg: &mut String, line: &Line, (x, y): (f64, f64)) {
    let class = edge_class(line.kind, line.idle);
    let mut path = String::new();
    // Where the arrow's tip lies and which way it points: down, up (0, -1), or left into a box.
    let (tip, (dx, dy)) = match &line.way {
        Way::Own(at) => {
            let (x, y) = (at.0 + x, at.1 + y);
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
            ((x, y + 8.0), (-1.0, -0.2))
        }
        Way::Legs(legs, arrives) => {
            let Some(last) = legs.last() else {
                return;
            };
            let down = *arrives;
            let count = legs.len() - 1;
            let mut before = (0.0, 0.0);
            for (at, &(from, to)) in legs.iter().enumerate() {
                let (from, mut to) = ((from.0 + x, from.1 + y), (to.0 + x, to.1 + y));
                let mut enter = from;
                if at == count {
                    // The line stops short of the arrow's tip.
                    to.1 -= 6.0 * down;
                    if (from.1 - to.1) * down > 0.0 {
                        enter.1 = to.1;
                    }
                }
                if at == 0 {
                    let _ = write!(path, "M{:.1} {:.1}", from.0, from.1);
                } else {
                    let bend = (enter.1 - before.1) / 2.0;
                    let _ = write!(
                        path,
                        "C{:.1} {:.1} {:.1} {:.1} {:.1} {:.1}",
                        before.0,
                        before.1 + bend,
                        enter.0,
                        enter.1 - bend,
                        enter.0,
                        enter.1
                    );
                }
                if (to.1 - enter.1).abs() > 0.05 {
                    let _ = write!(path, "L{:.1} {:.1}", to.0, to.1);
                }
                before = to;
            }
            ((last.1.0 + x, last.1.1 + y), (0.0, down))
        }
    };
    let _ = write!(svg, "<path class=\"edge{class}\" d=\"{path}\">");
    if let Some(label) = &line.label {
        let _ = write!(svg, "<title>{}</title>", escape(label));
    }
    svg.push_str("</path>\n");
    draw_head(svg, &class, tip, (dx, dy));
}

/// An arrow's head: its tip, and which way it points.
fn draw_head(svg: &mut String, class: &str, tip: (f64, f64), (dx, dy): (f64, f64)) {
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
}

fn draw_label(svg: &mut String, line: &Line, (x, y): (f64, f64)) {
    if let (Some(label), Some(at)) = (&line.label, line.label_at) {
        let class = edge_class(line.kind, line.idle);
        write_label(svg, &class, label, (at.0 + x, at.1 + y));
    }
}

/// The middle of a label lies here.
fn write_label(svg: &mut String, class: &str, label: &str, (x, y): (f64, f64)) {
    let (width, height) = label_size(label);
    // A patch of background, so that its own edge does not strike the text through.
    let _ = writeln!(
        svg,
        "<rect class=\"halo under\" x=\"{:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"/>",
        x - width / 2.0,
        y - height / 2.0
    );
    let _ = write!(
        svg,
        "<text class=\"label{class}\" x=\"{x:.1}\" y=\"{:.1}\">{}",
        y + 3.7,
        escape(&label_text(label))
    );
    let _ = writeln!(svg, "<title>{}</title></text>", escape(label));
}

#[cfg(test)]
mod tests {
    use super::STYLE;

    /// What the last rule with this selector says of a property.
    fn value<'a>(style: &'a str, selector: &str, property: &str) -> Option<&'a str> {
        let rules = style.split('}').filter_map(|rule| rule.rsplit_once('{'));
        let of = rules.filter(|(selectors, _)| selectors.split(',').any(|one| one.trim() == selector));
        let declared = of
            .flat_map(|(_, body)| body.split(';'))
            .filter_map(|one| one.split_once(':'));
        declared
            .filter(|(name, _)| *name == property)
            .map(|(_, value)| value)
            .next_back()
    }

    fn channels(hex: &str) -> [f64; 3] {
        let hex = hex.trim_start_matches('#');
        let wide: String = if hex.len() == 3 {
            hex.chars().flat_map(|digit| [digit, digit]).collect()
        } else {
            hex.to_owned()
        };
        [0, 2, 4].map(|at| f64::from(u8::from_str_radix(&wide[at..at + 2], 16).unwrap()))
    }

    /// WCAG 2.2, relative luminance.
    fn luminance(channels: [f64; 3]) -> f64 {
        let linear = channels.map(|channel| {
            let share = channel / 255.0;
            if share <= 0.04045 {
                share / 12.92
            } else {
                ((share + 0.055) / 1.055).powf(2.4)
            }
        });
        0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    }

    #[test]
    fn what_an_execution_did_not_reach_can_still_be_read() {
        let (light, dark) = STYLE.split_once("@media").unwrap();
        let both = [
            light.to_owned(),
            format!("{light}}}{}", dark.split_once('{').unwrap().1),
        ];
        for style in &both {
            for (text, faded, paper) in [
                (".sfn .name", ".sfn .idle>.name", ".sfn .body"),
                (".sfn .note", ".sfn .idle>.note", ".sfn .body"),
                (".sfn .label", ".sfn .label.idle", ".sfn .patch"),
                (".sfn .label.catch", ".sfn .label.idle", ".sfn .patch"),
            ] {
                let colour = channels(value(style, text, "fill").unwrap());
                let paper = channels(value(style, paper, "fill").unwrap());
                let opacity: f64 = value(style, faded, "fill-opacity").unwrap().parse().unwrap();
                let seen = [0, 1, 2].map(|i| opacity * colour[i] + (1.0 - opacity) * paper[i]);
                let (a, b) = (luminance(seen), luminance(paper));
                let contrast = (a.max(b) + 0.05) / (a.min(b) + 0.05);
                assert!(contrast >= 4.5, "{text}: {contrast:.2}");
            }
        }
    }
}
