//! Pictures as text, and what must hold of every picture.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use std::collections::HashSet;

use expect_test::expect;
use serde_json::json;
use sfn_builder::{
    Catch, Choice, Condition, Execution, Fail, Pass, StateMachine, StateRun, StateStatus, Succeed, Task, Wait,
};

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
          "Train \"it\" & <b>" -> "Failed" [label="A, B", style=dashed, color="#d13212"]
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

fn contains(outer: &Rect, inner: &Rect) -> bool {
    outer.left <= inner.left
        && inner.right <= outer.right
        && outer.top <= inner.top
        && inner.bottom <= outer.bottom
}

/// Boxes and labels keep apart or lie one in the other, all inside the picture; no edge runs through a box, or under a label
/// that is not its own.
fn assert_readable(svg: &str, states: usize) {
    let boxes = rects(svg, "body");
    let mut labels = rects(svg, "halo under");
    labels.extend(rects(svg, "sign"));
    labels.extend(rects(svg, "sign catch"));
    assert_eq!(boxes.len(), states);
    let head = svg.lines().next().unwrap();
    let (width, height) = (attribute(head, "width"), attribute(head, "height"));
    let all: Vec<&Rect> = boxes.iter().chain(&labels).collect();
    for (at, a) in all.iter().enumerate() {
        assert!(
            a.left >= 0.0 && a.top >= 0.0 && a.right <= width && a.bottom <= height,
            "outside\n{svg}"
        );
        for b in &all[at + 1..] {
            assert!(
                !overlap(a, b) || contains(a, b) || contains(b, a),
                "two overlap\n{svg}"
            );
        }
    }
    let mut edges = 0;
    for line in svg.lines().filter(|line| line.starts_with("<path class=\"edge")) {
        let path = line.split(" d=\"").nth(1).unwrap().split('"').next().unwrap();
        edges += 1;
        let points = points(path);
        assert!(
            points
                .iter()
                .all(|point| point.0 >= 0.0 && point.1 >= 0.0 && point.0 <= width && point.1 <= height)
        );
        for rect in &boxes {
            // A port touches the edge of its box.
            let inside = |point: &&(f64, f64)| {
                point.0 > rect.left + 1.0
                    && point.0 < rect.right - 1.0
                    && point.1 > rect.top + 1.0
                    && point.1 < rect.bottom - 1.0
            };
            let count = points.iter().filter(inside).count();
            assert!(
                count == 0 || count == points.len(),
                "an edge runs through a box: {path}\n{svg}"
            );
        }
    }
    assert!(edges >= states, "every state has an edge at least");
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
    let svg = machine.to_svg();
    assert_readable(&svg, 5);
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
    let svg = machine.to_svg();
    assert_readable(&svg, 62);
    // What would run past many layers ends at a sign, which leads to its state.
    assert!(attribute(&svg, "width") <= 1500.0, "{}", attribute(&svg, "width"));
    let links: Vec<&str> = svg.split("<a href=\"#").skip(1).collect();
    assert!(links.len() > 20, "{}", links.len());
    // A picture with links is no single image, and each link has a name of its own.
    assert!(svg.contains("role=\"group\""));
    let names: HashSet<&str> = links
        .iter()
        .map(|link| link.split("<title>").nth(1).unwrap().split('<').next().unwrap())
        .collect();
    assert_eq!(names.len(), links.len(), "{names:?}");
    assert!(names.iter().all(|name| name.starts_with("From ")), "{names:?}");
    for link in links {
        let target = link.split('"').next().unwrap();
        assert_eq!(svg.matches(&format!(" id=\"{target}\"")).count(), 1, "{target}");
    }

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
    assert_readable(&odd.to_svg(), 3);
    assert!(odd.to_svg().contains("role=\"img\""));
    assert!(!odd.to_svg().contains('\u{1}'));
}

/// Sixty states: Parallel with four branches, one of which holds a Map with a Choice that loops, then a Map over Parallel.
fn nested() -> StateMachine {
    let task = |next: serde_json::Value| {
        let mut state = json!({"Type": "Task", "Resource": "arn:aws:states:::lambda:invoke",
            "Catch": [{"ErrorEquals": ["States.ALL"], "Next": "x"}]});
        let map = state.as_object_mut().unwrap();
        map.remove("Catch");
        map.extend(next.as_object().unwrap().clone());
        state
    };
    let chain = |prefix: &str, length: usize| {
        let mut states = serde_json::Map::new();
        for at in 0..length {
            let next = if at + 1 < length {
                json!({"Next": format!("{prefix} {}", at + 1)})
            } else {
                json!({"End": true})
            };
            states.insert(format!("{prefix} {at}"), task(next));
        }
        json!({"StartAt": format!("{prefix} 0"), "States": states})
    };
    let mut poll = chain("Poll", 3);
    poll["States"]["Poll 2"] = json!({"Type": "Choice", "Default": "Poll 3", "Choices": [
        {"Variable": "$.status", "StringEquals": "RUNNING", "Next": "Poll 0"},
        {"Variable": "$.status", "StringEquals": "AGAIN", "Next": "Poll 2"}]});
    poll["States"]["Poll 3"] = json!({"Type": "Succeed"});
    let mut with_map = chain("Items", 2);
    with_map["States"]["Items 1"] =
        json!({"Type": "Map", "ItemsPath": "$.items", "ItemProcessor": poll, "End": true});
    let mut states = serde_json::Map::new();
    states.insert(
        "Fan out".into(),
        json!({"Type": "Parallel", "Next": "Each",
        "Branches": [chain("A", 9), with_map, chain("B", 12), chain("C", 4)],
        "Catch": [{"ErrorEquals": ["States.Timeout", "States.TaskFailed"], "Next": "Clean up"}]}),
    );
    states.insert("Each".into(), json!({"Type": "Map", "ItemProcessor": {
        "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"},
        "StartAt": "Both", "States": {"Both": {"Type": "Parallel", "End": true, "Branches": [chain("D", 8), chain("E", 10)]}}},
        "Catch": [{"ErrorEquals": ["States.ALL"], "Next": "Clean up"}], "Next": "Report"}));
    states.insert("Report".into(), task(json!({"End": true})));
    states.insert("Clean up".into(), task(json!({"Next": "Failed"})));
    states.insert(
        "Failed".into(),
        json!({"Type": "Fail", "Error": "Broken", "Cause": "see the log"}),
    );
    StateMachine::from_json(&json!({"Comment": "Nested", "StartAt": "Fan out", "States": states}).to_string())
        .unwrap()
}

#[test]
fn nested_levels_are_boxes_in_boxes() {
    let machine = nested();
    let states = machine.all_states().len();
    assert!(states >= 55, "{states}");
    assert_readable(&machine.to_svg(), states);
}

#[test]
fn nested_levels_are_clusters_and_subgraphs() {
    let machine = StateMachine::from_json(
        &json!({"StartAt": "Both", "States": {
            "Both": {"Type": "Parallel", "Next": "Each", "Branches": [
                {"StartAt": "Left", "States": {"Left": {"Type": "Pass", "End": true}}},
                {"StartAt": "Right", "States": {"Right": {"Type": "Fail"}}}]},
            "Each": {"Type": "Map", "End": true, "ItemProcessor":
                {"StartAt": "One", "States": {"One": {"Type": "Pass", "End": true}}}}
        }})
        .to_string(),
    )
    .unwrap();
    expect![[r#"
        digraph {
          compound=true
          subgraph "cluster_Both" {
            style=rounded
            "Both" [shape=box3d]
            subgraph "cluster_Both/0" {
              style=dotted
              "Left" [shape=ellipse]
            }
            "Both" -> "Left" [style=dotted]
            subgraph "cluster_Both/1" {
              style=dotted
              "Right" [shape=octagon]
            }
            "Both" -> "Right" [style=dotted]
          }
          subgraph "cluster_Each" {
            style=rounded
            "Each" [shape=box3d]
            "One" [shape=ellipse]
            "Each" -> "One" [style=dotted]
          }
          "Left" -> "Each" [ltail="cluster_Both", lhead="cluster_Each"]
        }
    "#]]
    .assert_eq(&machine.to_dot());
    expect![[r#"
        flowchart TD
          start((" ")) --> s0
          subgraph s0["Both"]
            subgraph s0b0[" "]
              start1((" ")) --> s1
              s1("Left")
            end
            subgraph s0b1[" "]
              start2((" ")) --> s2
              s2{{"Right"}}
            end
          end
          subgraph s3["Each"]
            start3((" ")) --> s4
            s4("One")
          end
          s0 --> s3
    "#]]
    .assert_eq(&machine.to_mermaid());
}

#[test]
fn an_execution_colours_the_states() {
    let run = |status, millis| {
        let mut run = StateRun::new(status);
        run.duration = Some(std::time::Duration::from_millis(millis));
        run
    };
    let mut execution = Execution::new();
    execution.insert("Train \"it\" & <b>", run(StateStatus::Caught, 75_000));
    execution.insert("Failed", run(StateStatus::Failed, 3));
    execution.insert("Pause", StateRun::new(StateStatus::InProgress));
    execution.insert("no such state", run(StateStatus::Succeeded, 0));
    let machine = machine();
    let svg = machine.to_svg_with(&execution);
    let groups: Vec<&str> = svg
        .lines()
        .filter(|line| line.starts_with("<g class=\"box"))
        .collect();
    assert_eq!(
        groups,
        [
            "<g class=\"box task caught\">",
            "<g class=\"box choice idle\">",
            "<g class=\"box wait in-progress\">",
            "<g class=\"box pass idle\">",
            "<g class=\"box fail failed\">",
        ]
    );
    let texts = |class: &str| -> Vec<String> {
        let start = format!("<text class=\"{class}\"");
        svg.lines()
            .filter(|line| line.starts_with(&start))
            .map(|line| {
                line.split('>')
                    .nth(1)
                    .unwrap()
                    .split('<')
                    .next()
                    .unwrap()
                    .to_owned()
            })
            .collect()
    };
    assert_eq!(
        texts("outcome"),
        ["↷ caught 1 min 15 s", "… in progress", "✗ failed 3 ms"]
    );
    assert_eq!(
        texts("key"),
        ["Caught error", "Failed", "In progress", "Not entered"]
    );
    assert!(
        machine
            .to_dot_with(&execution)
            .contains(r##"fillcolor="#fdeccb", label="Train \"it\" & <b>\n↷ caught 1 min 15 s""##)
    );
    let mermaid = machine.to_mermaid_with(&execution);
    assert!(
        mermaid.contains("classDef caught fill:#fdeccb,color:#16191f\n  class s0 caught\n"),
        "{mermaid}"
    );
}

#[test]
fn the_same_machine_gives_the_same_picture() {
    assert_eq!(machine().to_svg(), machine().to_svg());
}
