//! Whatever the builder can build checks clean, prints, and reads back as the same; no JSON makes the check panic.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use proptest::prelude::*;
use serde_json::{Value, json};
use sfn_builder::{
    Catch, Choice, Condition, Document, Pass, Retry, State, StateMachine, Succeed, Task, Wait,
};

/// A state that leads to one of `count` states, all named by number; the last of them is always a Succeed.
fn state(count: usize) -> impl Strategy<Value = State> {
    let next = move || {
        (0..=count).prop_map(move |target| {
            if target == count {
                "end".into()
            } else {
                format!("s{target}")
            }
        })
    };
    let path = prop_oneof![
        Just("$"),
        Just("$.a"),
        Just("$['b c'][0]"),
        Just("$$.Execution.Input['x']")
    ];
    let own_path = prop_oneof![Just("$"), Just("$.a.b"), Just("$['c']")];
    let task = (
        next(),
        path.clone(),
        own_path.clone(),
        any::<bool>(),
        1..1000_u64,
        1.0..4.0_f64,
        next(),
    )
        .prop_map(|(next, path, own, catch, seconds, rate, caught)| {
            let task = Task::create_training_job_sync()
                .input_path(path)
                .parameters(json!({"a.$": path, "list": [1, {"deep.$": "States.UUID()"}]}))
                .result_path(own)
                .timeout_seconds(seconds)
                .retry(
                    Retry::on(["E"])
                        .backoff_rate(rate)
                        .interval_seconds(seconds)
                        .max_delay_seconds(seconds + 1),
                )
                .next(next);
            if catch {
                task.catch(Catch::all(caught).result_path(own)).into()
            } else {
                State::from(task)
            }
        });
    let pass = (next(), any::<Option<bool>>(), any::<bool>()).prop_map(|(next, result, discard)| {
        let pass = Pass::new().next(next);
        let pass = match result {
            Some(result) => pass.result(json!({"x": result, "n": null})),
            None => pass,
        };
        State::from(if discard { pass.discard_result() } else { pass })
    });
    let choice = (next(), next(), path, any::<i32>(), ".{0,12}").prop_map(|(a, b, path, number, text)| {
        Choice::new()
            .when(
                Condition::all([
                    Condition::is_present(path, true),
                    Condition::string_equals(path, text),
                ]),
                a,
            )
            .when(
                Condition::not(Condition::numeric_less_than(path, number)),
                b.clone(),
            )
            .default(b)
            .into()
    });
    let wait =
        (next(), 0..100_000_000_u64).prop_map(|(next, seconds)| Wait::seconds(seconds).next(next).into());
    prop_oneof![task, pass, choice, wait]
}

fn machine() -> impl Strategy<Value = Vec<State>> {
    (1..8_usize).prop_flat_map(|count| proptest::collection::vec(state(count), count))
}

/// Only the states that the first leads to.
fn build(states: &[State]) -> StateMachine {
    let mut wanted = vec!["s0".to_owned()];
    let mut at = 0;
    while at < wanted.len() {
        if let Some(index) = wanted[at].strip_prefix('s') {
            let text = states[index.parse::<usize>().unwrap()].to_json().to_string();
            for target in (0..states.len())
                .map(|index| format!("s{index}"))
                .chain(["end".to_owned()])
            {
                let leads = text.contains(&format!("\"Next\":\"{target}\""))
                    || text.contains(&format!("\"Default\":\"{target}\""));
                if leads && !wanted.contains(&target) {
                    wanted.push(target);
                }
            }
        }
        at += 1;
    }
    // A machine that can only go round in circles is not valid: give it an end.
    let mut builder = StateMachine::builder("s0");
    if !wanted.contains(&"end".to_owned()) {
        builder = StateMachine::builder("first");
        builder = builder.state(
            "first",
            Choice::new()
                .when(Condition::is_null("$.x", true), "s0")
                .default("end"),
        );
        wanted.push("end".into());
    }
    for name in &wanted {
        builder = match name.strip_prefix('s') {
            Some(index) => builder.state(name, states[index.parse::<usize>().unwrap()].clone()),
            None => builder.state("end", Succeed::new()),
        };
    }
    builder.build().unwrap_or_else(|error| panic!("{error}"))
}

/// JSON with the words of the language in likely and unlikely places.
fn any_json() -> impl Strategy<Value = Value> {
    let word = prop_oneof![
        Just("StartAt"),
        Just("States"),
        Just("Type"),
        Just("Next"),
        Just("End"),
        Just("Choices"),
        Just("Catch"),
        Just("Retry"),
        Just("ErrorEquals"),
        Just("Parameters"),
        Just("a.$"),
        Just("Variable"),
        Just("And"),
        Just("StringEquals"),
        Just("Resource"),
        Just("Pass"),
        Just("Task"),
        Just("Choice"),
        Just("Wait"),
        Just("Fail"),
        Just("$.a[0]"),
        Just("$$"),
        Just("States.Format('{}')"),
        Just("arn:aws:states:::sagemaker:createModel.sync"),
        Just("Timestamp"),
        Just("QueryLanguage"),
        Just("JSONata"),
        Just("Parallel"),
        Just("Map"),
        Just("Branches"),
        Just("ItemProcessor"),
        Just("ProcessorConfig"),
        Just("Mode"),
        Just("DISTRIBUTED"),
        Just("ItemReader"),
        Just("ReaderConfig"),
        Just("Assign"),
        Just("Output"),
        Just("Arguments"),
        Just("Condition"),
        Just("{% $states.result %}"),
        Just("{% ( %}"),
        Just("$var.a[?(@.b)]"),
        Just("2026-01-31T12:00:00Z"),
        Just("é\u{0}"),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        word.clone().prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::vec((word.clone(), inner), 0..6).prop_map(|entries| Value::Object(
                entries.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()
            )),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_printed_reads_back_as_the_same(states in machine()) {
        let machine = build(&states);
        let again = StateMachine::from_json(&machine.to_json_string()).unwrap();
        prop_assert_eq!(&again, &machine);
        prop_assert_eq!(again.to_json_string(), machine.to_json_string());
    }

    #[test]
    fn every_valid_machine_can_be_drawn(states in machine()) {
        let machine = build(&states);
        prop_assert!(machine.to_dot().ends_with("}\n"), "not closed");
        prop_assert!(machine.to_mermaid().starts_with("flowchart TD"));
        let svg = machine.to_svg();
        prop_assert!(!svg.contains("NaN") && !svg.contains("inf"), "{}", svg);
    }

    #[test]
    fn any_json_has_findings_or_is_a_machine(value in any_json(), key in ".{0,5}") {
        let text = value.to_string();
        let document = Document::parse(&text).unwrap();
        prop_assert_eq!(document.to_string(), text);
        for finding in document.findings() {
            prop_assert!(finding.position.is_some(), "{}", finding);
        }
        let _ = document.check();
        let indented = format!("{value:#}");
        prop_assert_eq!(Document::parse(&indented).unwrap().into_value(), value.clone());
        let nested = json!({"StartAt": key, "States": {&key: value.clone(), "B": {"Type": "Task", "Retry": value.clone(), "Parameters": value.clone()},
            "C": {"Type": "Choice", "Choices": [value.clone()]},
            "D": {"Type": "Map", "ItemProcessor": value.clone(), "ItemReader": value.clone(), "Assign": value.clone()},
            "E": {"Type": "Parallel", "QueryLanguage": "JSONata", "Branches": [value.clone()], "Output": value.clone()},
            "F": {"Type": "Choice", "QueryLanguage": "JSONata", "Choices": [value]}}});
        if let Err(error) = StateMachine::from_json(&nested.to_string()) {
            prop_assert!(!error.findings().is_empty());
        }
    }

    /// Our reader and that of `serde_json` agree on what is JSON, and on what it means.
    #[test]
    fn any_text_is_json_or_a_finding(text in "[\\[\\]{}:,\"\\\\a-cu0-9eE+.tfn \n-]{0,24}") {
        let expected = serde_json::from_str::<Value>(&text);
        match Document::parse(&text) {
            Ok(document) => prop_assert_eq!(document.as_value(), &expected.unwrap()),
            Err(error) => {
                prop_assert!(expected.is_err(), "{}", text);
                prop_assert!(error.findings()[0].position.is_some());
            }
        }
    }

    #[test]
    fn any_text_is_jsonata_or_an_error(text in "[$.\\[\\](){}a-c0-9*?:=,'\"/|^@#%&~<>! +-]{0,24}") {
        let _ = sfn_builder::jsonata::Jsonata::parse(&format!("{{%{text}%}}"));
    }

    #[test]
    fn any_text_is_a_path_or_an_error(text in "[$.@\\[\\]'\"a-c0-9*:?(),<=>&|!/~\\\\ -]{0,20}") {
        if let Ok(path) = text.parse::<sfn_builder::Path>() {
            prop_assert_eq!(path.as_str(), &text);
            let canonical: Result<sfn_builder::Path, _> = path.canonical().parse();
            // A filter is shortened to `[?]`, which says nothing.
            let shortened = path.canonical().contains("[?]");
            prop_assert!(canonical.is_ok() || shortened, "{} from {}", path.canonical(), text);
        }
        let _ = sfn_builder::template::Expression::parse(&text);
        let _ = sfn_builder::template::Expression::parse(&format!("States.Format({text})"));
    }
}

#[test]
fn the_canonical_form_of_a_path_reads_back_as_the_same_path() {
    for (text, canonical) in [
        ("$", "$"),
        (
            "$$.Execution.Input['Job Name']",
            "$['Execution']['Input']['Job Name']",
        ),
        (
            r#"$["it's"].x[-1][1:][:2][*].*"#,
            r"$['it\'s']['x'][-1][1:][:2][*][*]",
        ),
        (r"$['a\\b']", r"$['a\\b']"),
    ] {
        let path: sfn_builder::Path = text.parse().unwrap();
        assert_eq!(path.canonical(), canonical);
        let again: sfn_builder::Path = path.canonical().parse().unwrap();
        assert_eq!(again.segments(), path.segments());
    }
}

proptest! {
    #[test]
    fn any_json_is_the_same_after_yaml(value in any_json()) {
        let yaml = Document::from(value.clone()).to_yaml_string();
        let again = Document::parse_yaml(&yaml).unwrap_or_else(|error| panic!("{error}\n{yaml}"));
        prop_assert_eq!(again.to_string(), value.to_string(), "{}", yaml);
    }
}
