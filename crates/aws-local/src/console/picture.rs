//! Pictures in pages: state machines, and curves. Their style is in the pages' style sheet, since the pages allow no other.

use std::fmt::Write;

use maud::{Markup, PreEscaped, html};
use sfn_builder::{Execution, StateMachine};

/// What stands between the picture's own style, which the page does not allow, and the rest.
fn parts(svg: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = svg.split_once("<style>")?;
    let (style, after) = rest.split_once("</style>")?;
    Some((before, style, after))
}

/// The style of all pictures of machines.
pub(super) fn style() -> String {
    let text = r#"{"StartAt": "A", "States": {"A": {"Type": "Succeed"}}}"#;
    let svg = StateMachine::from_json(text).map(|machine| machine.to_svg());
    let svg = svg.unwrap_or_default();
    parts(&svg)
        .map(|(_, style, _)| style.to_owned())
        .unwrap_or_default()
}

/// A machine, and how far an execution has come in it.
pub(super) fn machine(machine: &StateMachine, execution: Option<&Execution>) -> Markup {
    let svg = match execution {
        Some(execution) => machine.to_svg_with(execution),
        None => machine.to_svg(),
    };
    // Names are escaped in it.
    let drawn = match parts(&svg) {
        Some((before, _, after)) => format!("{before}{after}"),
        None => String::new(),
    };
    let width = drawn
        .split_once(" width=\"")
        .and_then(|(_, rest)| rest.split('"').next());
    let width: f64 = width.and_then(|width| width.parse().ok()).unwrap_or(SLIM);
    let class = if width <= SLIM { "machine slim" } else { "machine" };
    html! { figure class=(class) { (PreEscaped(drawn)) } }
}

/// Up to this width a picture has room beside the table of its states.
const SLIM: f64 = 560.0;

const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 170.0;
/// Around the curve: for the numbers.
const LEFT: f64 = 56.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 26.0;

/// A curve over the numbers 1, 2, 3, …, with its values as a table for who does not see it.
pub(super) fn curve(id: &str, title: &str, step: &str, values: &[f64]) -> Markup {
    let shown: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
    let Some(last) = shown.last() else {
        return html! {};
    };
    let least = shown.iter().copied().fold(f64::INFINITY, f64::min);
    let most = shown.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    // A flat curve lies in the middle.
    let (low, high) = match most - least {
        0.0 => (least - 0.5, most + 0.5),
        range => (least - range * 0.05, most + range * 0.05),
    };
    let steps = (shown.len() - 1).max(1) as f64;
    let x =
        |at: usize| LEFT + (WIDTH - LEFT - RIGHT) * if shown.len() == 1 { 0.5 } else { at as f64 / steps };
    let y = |value: f64| TOP + (HEIGHT - TOP - BOTTOM) * (high - value) / (high - low);
    // As many points as there are pixels are enough.
    let stride = shown.len().div_ceil(WIDTH as usize).max(1);
    let mut path = String::new();
    for (at, value) in shown.iter().enumerate() {
        if at % stride == 0 || at + 1 == shown.len() {
            let command = if path.is_empty() { 'M' } else { 'L' };
            let _ = write!(path, "{command}{:.1} {:.1}", x(at), y(*value));
        }
    }
    let said = format!(
        "{title}: {} at the last of {}, between {} and {}.",
        number(*last),
        count(shown.len(), step),
        number(least),
        number(most)
    );
    html! {
        figure.curve {
            figcaption { span { (title) } strong { (number(*last)) } }
            svg viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img" aria-label=(said) {
                @for value in [least, most] {
                    line.grid x1=(LEFT) x2=(WIDTH - RIGHT) y1=(format!("{:.1}", y(value))) y2=(format!("{:.1}", y(value))) {}
                    @if value == least || most > least {
                        text.axis.end x=(LEFT - 8.0) y=(format!("{:.1}", y(value) + 4.0)) { (number(value)) }
                    }
                }
                path.line d=(path) {}
                circle.dot cx=(format!("{:.1}", x(shown.len() - 1))) cy=(format!("{:.1}", y(*last))) r="3.5" {}
                text.axis x=(LEFT) y=(HEIGHT - 8.0) { (step) " 1" }
                @if shown.len() > 1 {
                    text.axis.end x=(WIDTH - RIGHT) y=(HEIGHT - 8.0) { (shown.len()) }
                }
            }
            details id=(format!("values-{id}")) {
                summary { "Values" span.unseen { " of " (title) } }
                div.wide.low { table {
                    caption.unseen { (title) }
                    thead { tr { th.number scope="col" { (step) } th.number scope="col" { "value" } } }
                    tbody {
                        @for (at, value) in shown.iter().enumerate().take(MOST_VALUES) {
                            tr { td.number { (at + 1) } td.number { (number(*value)) } }
                        }
                    }
                } }
                @if shown.len() > MOST_VALUES { p.quiet { "The first " (MOST_VALUES) " of " (shown.len()) "." } }
            }
        }
    }
}

/// How many values a table lists.
const MOST_VALUES: usize = 1000;

fn count(number: usize, what: &str) -> String {
    match number {
        1 => format!("1 {what}"),
        n => format!("{n} {what}s"),
    }
}

/// With four digits, or as many as it has.
pub(super) fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100_000.0 => format!("{value:.0}"),
        size if size >= 100.0 => format!("{value:.1}"),
        size if size >= 10.0 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_machine_is_drawn_and_nothing_more() {
        let evil = "</title></svg><style>*{}</style><script>alert(1)</script>\"'&";
        let text = serde_json::json!({
            "Comment": evil,
            "StartAt": evil,
            "States": {evil: {"Type": "Pass", "Comment": evil, "End": true}},
        });
        let machine_ = StateMachine::from_json(&text.to_string()).unwrap();
        let drawn = machine(&machine_, Some(&Execution::new())).into_string();
        for tag in ["<style", "<script", "style=\"", "</svg><"] {
            assert!(
                !drawn.replace("</svg>\n</figure>", "").contains(tag),
                "{tag}: {drawn}"
            );
        }
        assert!(drawn.contains("&lt;script&gt;"), "{drawn}");
        assert!(style().contains(".sfn .succeeded"));
    }

    #[test]
    fn curves_of_few_and_odd_values() {
        assert_eq!(curve("a", "AUC", "epoch", &[]).into_string(), "");
        assert_eq!(curve("a", "AUC", "epoch", &[f64::NAN]).into_string(), "");
        for values in [&[0.5][..], &[0.5, 0.5], &[1.0, f64::NAN, -3.0]] {
            let drawn = curve("a", "AUC", "epoch", values).into_string();
            assert!(!drawn.contains("NaN") && !drawn.contains("inf"), "{drawn}");
        }
        let long: Vec<f64> = (0..100_000).map(f64::from).collect();
        assert!(curve("a", "loss", "batch", &long).into_string().len() < 100_000);
    }
}
