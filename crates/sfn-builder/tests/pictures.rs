//! Pictures as text, and what must hold of every picture.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use std::collections::HashMap;

use expect_test::expect;
use serde_json::json;
use sfn_builder::{Catch, Choice, Condition, Fail, Pass, StateMachine, StateStatus, Succeed, Task, Wait};

fn machine() -> StateMachine {
    StateMachine::builder("Train \"it\" & <b>")
        .state(
            "Train \"it\" & <b>",
            Task::create_training_job_sync()
                .catch(Catch::on(["A", "B"], "Failed"))
                .next("Ready?"),
        )
        .state(
            "Ready?",
            Choice::new()
                .when(Condition::string_equals("$.Status", "#1|`x`"), "Done")
                .when(
                    Condition::any([
                        Condition::is_null("$.a", true),
                        Condition::numeric_greater_than("$.n", 2),
                    ]),
                    "Done",
                )
                .default("Pause"),
        )
        .state("Pause", Wait::seconds(30).next("Ready?"))
        .state("Done", Pass::new().end())
        .state("Failed", Fail::new().error("E"))
        .build()
        .unwrap()
}

#[test]
fn dot() {
    expect![[r##"
        digraph {
          "Train \"it\" & <b>" [shape=box]
          "Ready?" [shape=diamond]
          "Pause" [shape=ellipse]
          "Done" [shape=ellipse]
          "Failed" [shape=octagon]
          "Train \"it\" & <b>" -> "Ready?"
          "Train \"it\" & <b>" -> "Failed" [label="A, B", style=dashed]
          "Ready?" -> "Done" [label="$.Status = \"#1|`x`\""]
          "Ready?" -> "Done" [label="$.a is null or $.n > 2"]
          "Ready?" -> "Pause" [label="default"]
          "Pause" -> "Ready?"
        }
    "##]]
    .assert_eq(&machine().to_dot());
}

#[test]
fn mermaid() {
    expect![[r#"
        flowchart TD
          start((" ")) --> s0
          s0["Train #34;it#34; #38; #60;b#62;"]
          s1{"Ready?"}
          s2(["Pause"])
          s3("Done")
          s4{{"Failed"}}
          s0 --> s1
          s0 -.->|"A, B"| s4
          s1 -->|"$.Status = #34;#35;1#124;#96;x#96;#34;"| s3
          s1 -->|"$.a is null or $.n #62; 2"| s3
          s1 -->|"default"| s2
          s2 --> s1
    "#]]
    .assert_eq(&machine().to_mermaid());
}

/// `name="12.5"` of a tag.
fn attribute(tag: &str, name: &str) -> f64 {
    let start = tag.find(&format!(" {name}=\"")).unwrap() + name.len() + 3;
    tag[start..].split('"').next().unwrap().parse().unwrap()
}

struct Rect {
    left: f64,
    top: f64,
    right: f64,
    bottom: f64,
}

fn rects(svg: &str, class: &str) -> Vec<Rect> {
    svg.lines()
        .filter(|line| line.starts_with(&format!("<rect class=\"{class}\"")))
        .map(|line| {
            let (left, top) = (attribute(line, "x"), attribute(line, "y"));
            Rect {
                left,
                top,
                right: left + attribute(line, "width"),
                bottom: top + attribute(line, "height"),
            }
        })
        .collect()
}

fn overlap(a: &Rect, b: &Rect) -> bool {
    a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom
}

/// Boxes and labels keep apart, and inside the picture; no straight piece or bend of an edge lies in a box.
fn assert_readable(machine: &StateMachine) {
    let svg = machine.to_svg();
    let boxes = rects(&svg, "body");
    let labels = rects(&svg, "patch under");
    assert_eq!(boxes.len(), machine.states().len());
    let head = svg.lines().next().unwrap();
    let (width, height) = (attribute(head, "width"), attribute(head, "height"));
    let all: Vec<&Rect> = boxes.iter().chain(&labels).collect();
    for (at, a) in all.iter().enumerate() {
        assert!(
            a.left >= 0.0 && a.top >= 0.0 && a.right <= width && a.bottom <= height,
            "outside\n{svg}"
        );
        for b in &all[at + 1..] {
            assert!(!overlap(a, b), "two overlap\n{svg}");
        }
    }
    for line in svg.lines().filter(|line| line.starts_with("<path class=\"edge")) {
        let path = line.split(" d=\"").nth(1).unwrap().split('"').next().unwrap();
        for point in points(path) {
            for rect in &boxes {
                // A port touches the edge of its box.
                let inside = point.0 > rect.left + 1.0
                    && point.0 < rect.right - 1.0
                    && point.1 > rect.top + 1.0
                    && point.1 < rect.bottom - 1.0;
                assert!(!inside, "an edge runs through a box: {path}\n{svg}");
            }
        }
    }
}

/// Points along a path of `M`, `C` and `L`, close to each other.
fn points(path: &str) -> Vec<(f64, f64)> {
    let mut points = Vec::new();
    let mut at = (0.0, 0.0);
    let spaced: String = path
        .chars()
        .map(|c| {
            if c.is_ascii_alphabetic() {
                format!(" {c} ")
            } else {
                c.to_string()
            }
        })
        .collect();
    let mut words = spaced.split_whitespace();
    let number = |words: &mut std::str::SplitWhitespace<'_>| words.next().unwrap().parse::<f64>().unwrap();
    while let Some(command) = words.next() {
        match command {
            "M" => at = (number(&mut words), number(&mut words)),
            "L" => {
                let to = (number(&mut words), number(&mut words));
                points.extend(
                    (0..=20)
                        .map(|i| f64::from(i) / 20.0)
                        .map(|t| (at.0 + (to.0 - at.0) * t, at.1 + (to.1 - at.1) * t)),
                );
                at = to;
            }
            "C" => {
                let c: Vec<f64> = (0..6).map(|_| number(&mut words)).collect();
                points.extend((0..=20).map(|i| f64::from(i) / 20.0).map(|t| {
                    let u = 1.0 - t;
                    let mix = |a: f64, b: f64, c: f64, d: f64| {
                        u * u * u * a + 3.0 * u * u * t * b + 3.0 * u * t * t * c + t * t * t * d
                    };
                    (mix(at.0, c[0], c[2], c[4]), mix(at.1, c[1], c[3], c[5]))
                }));
                at = (c[4], c[5]);
            }
            other => panic!("{other}"),
        }
    }
    points
}

#[test]
fn an_svg_is_readable_and_escaped() {
    let machine = machine();
    assert_readable(&machine);
    let svg = machine.to_svg();
    assert!(svg.contains("Train &quot;it&quot; &amp; &lt;b&gt;"));
    assert!(!svg.contains("<b>"));
    assert!(svg.contains("prefers-color-scheme:dark"));
    assert!(
        !svg.contains("http://") || svg.matches("http://").count() == 1,
        "only the namespace names a host"
    );
}

#[test]
fn big_and_odd_machines_are_readable() {
    // Sixty states: a chain with a catcher each, shortcuts and loops back.
    let mut builder = StateMachine::builder("State 0");
    for at in 0..20 {
        let task =
            Task::aws_sdk("sagemaker", "describeEndpoint").catch(Catch::all("Failed").result_path("$.Error"));
        builder = builder
            .state(format!("State {at}"), task.next(format!("Choice {at}")))
            .state(
                format!("Choice {at}"),
                Choice::new()
                    .when(
                        Condition::string_equals("$.Status", "again"),
                        format!("State {}", at / 2),
                    )
                    .when(
                        Condition::string_equals("$.Status", "skip"),
                        format!("State {}", (at + 3).min(19)),
                    )
                    .when(Condition::string_equals("$.Status", "wait"), format!("Wait {at}"))
                    .default(if at < 19 {
                        format!("State {}", at + 1)
                    } else {
                        "Done".into()
                    }),
            )
            .state(
                format!("Wait {at}"),
                Wait::seconds(at).next(format!("State {at}")),
            );
    }
    let machine = builder
        .state("Done", Succeed::new())
        .state("Failed", Fail::new())
        .build()
        .unwrap();
    assert_readable(&machine);

    let long = "a name that goes on and on until it has as many characters as it may have, eighty";
    let odd = StateMachine::from_json(
        &json!({"StartAt": &long[..80], "States": {
            &long[..80]: {"Type": "Choice", "Choices": [{"Variable": "$.x", "IsNull": true, "Next": &long[..80]}], "Default": "日本語の状態"},
            "日本語の状態": {"Type": "Pass", "Next": "Averyveryverylongwordwithoutanyblankatallinit\u{1}"},
            "Averyveryverylongwordwithoutanyblankatallinit\u{1}": {"Type": "Succeed"}
        }})
        .to_string(),
    )
    .unwrap();
    assert_readable(&odd);
    assert!(!odd.to_svg().contains('\u{1}'));
}

#[test]
fn statuses_colour_their_states() {
    let statuses = HashMap::from([
        ("Train \"it\" & <b>".to_owned(), StateStatus::Caught),
        ("Failed".to_owned(), StateStatus::Failed),
        ("Pause".to_owned(), StateStatus::InProgress),
        ("Done".to_owned(), StateStatus::Succeeded),
        ("no such state".to_owned(), StateStatus::Succeeded),
    ]);
    let svg = machine().to_svg_with(&statuses);
    let groups: Vec<&str> = svg.lines().filter(|line| line.starts_with("<g ")).collect();
    assert_eq!(
        groups,
        [
            "<g class=\"box task caught\">",
            "<g class=\"box choice\">",
            "<g class=\"box wait in-progress\">",
            "<g class=\"box pass succeeded\">",
            "<g class=\"box fail failed\">",
        ]
    );
}

#[test]
fn the_same_machine_gives_the_same_picture() {
    assert_eq!(machine().to_svg(), machine().to_svg());
}
