//! Hostile values, and what is not there.

use super::*;
use crate::Report;
use crate::report::RunKind;

fn hostile() -> Report {
    let evil = "<script>alert(1)</script>\"'&";
    Report {
        version: report::VERSION,
        kind: RunKind::Run,
        target: "local".to_owned(),
        region: "us-east-1".to_owned(),
        started: "2026-11-28T01:24:00.055Z".to_owned(),
        execution: report::Execution {
            arn: evil.to_owned(),
            status: "SUCCEEDED".to_owned(),
            state_machine: evil.to_owned(),
            states: vec![
                report::StateVisit {
                    name: "A".to_owned(),
                    seconds: 1.5,
                    caught: None,
                    failed: None,
                },
                report::StateVisit {
                    name: evil.to_owned(),
                    seconds: -1.0,
                    caught: Some("Sage.<Maker>".into()),
                    failed: None,
                },
                report::StateVisit {
                    name: "A".to_owned(),
                    seconds: f64::NAN,
                    caught: None,
                    failed: None,
                },
            ],
        },
        training: report::Training {
            job: evil.to_owned(),
            model_data: evil.to_owned(),
            hyperparameters: [(evil.to_owned(), evil.to_owned())].into(),
            metrics: [(evil.to_owned(), 0.5)].into(),
            curve: Vec::new(),
        },
        endpoint: report::Endpoint {
            name: evil.to_owned(),
            status: "InService".to_owned(),
            config: evil.to_owned(),
        },
        rows: vec![report::Row {
            entity: evil.to_owned(),
            ip: [1, 2, 3, 4].into(),
            score: -1.25,
            anomalous: true,
            unknown_entity: false,
            percentile: 0.031,
            reason: Some(evil.to_owned()),
        }],
        outliers: 1,
        outliers_flagged: 1,
        threshold: report::Threshold {
            value: -1.0,
            false_positive_rate: 0.05,
        },
        held_out: report::HeldOut {
            rows: 1,
            auc_vs_outliers: Some(0.75),
            flagged: 0,
            negative: 0,
            quantiles: vec![0.5; 7],
            entities: vec![report::EntityScores {
                entity: evil.to_owned(),
                rows: 1,
                median: 0.5,
                flagged: 0,
            }],
            entity_count: 1,
            lowest: Vec::new(),
        },
        control: None,
        evaluation: report::Evaluation {
            rows: 0,
            auc: None,
            flagged: 0,
            lowest: Vec::new(),
        },
        detection: None,
        verdict: evil.to_owned(),
        manifest: serde_json::json!({
            "database": {"attribution": evil, "database_type": evil},
            "countries": [{"name": evil}, 5, null],
            "skipped": [{"networks": 3, "reason": evil}, {"networks": 0, "reason": "none"}],
            "files": "not a list",
        }),
        record: None,
        pictures: Vec::new(),
        training_picture: None,
    }
}

fn machine() -> StateMachine {
    let text = r#"{"StartAt": "A", "States": {"A": {"Type": "Pass", "End": true}}}"#;
    text.parse().unwrap()
}

#[test]
fn values_are_escaped_and_what_is_not_there_is_no_panic() {
    let page = hostile().to_html(&machine());
    assert!(!page.contains("<script"), "{page}");
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
    assert!(page.contains("<td class=\"number\" data-label=\"held-out rows scoring lower\">3.1 %</td><td data-label=\"verdict\"><span class=\"flag\">anomalous"));
    assert!(page.contains("Left out: 3 networks"), "{page}");
    assert!(
        page.contains("failed with <span class=\"code\">Sage.&lt;Maker&gt;</span>, which was caught"),
        "{page}"
    );
    // Nothing to load: neither from elsewhere nor from beside the file.
    for link in ["http://", "https://", "src=\"/", "href=", "url("] {
        assert!(!page.contains(link), "{link}");
    }
}

#[test]
fn the_picture_of_the_machine_has_the_execution_in_it() {
    let page = hostile().to_html(&machine());
    let data = page.split_once("data:image/svg+xml;base64,").unwrap().1;
    let data = data.split_once('"').unwrap().0;
    let svg = base64::engine::general_purpose::STANDARD.decode(data).unwrap();
    let svg = String::from_utf8(svg).unwrap();
    assert_ne!(svg, machine().to_svg());
    assert!(svg.contains("1.5"), "{svg}");
}

/// Nothing of a hostile text is markup, and nothing is loaded.
fn assert_harmless(page: &str) {
    assert!(!page.contains("<script"), "{page}");
    for link in ["http://", "https://", "src=\"/", "href=", "url("] {
        assert!(!page.contains(link), "{link}");
    }
}

#[test]
fn own_rows_are_named_as_they_are() {
    let evil = "<script>alert(1)</script>\"'&";
    let row = |unknown_entity| report::Row {
        unknown_entity,
        anomalous: !unknown_entity,
        ..hostile().rows[0].clone()
    };
    let own = Report {
        rows: vec![row(true), row(false)],
        evaluation: report::Evaluation {
            rows: 150,
            auc: Some(0.9),
            flagged: 100,
            lowest: vec![row(false); 120],
        },
        manifest: serde_json::json!({
            "kind": "rows", "version": 1, "seed": 7, "held_out": 0.2, "evaluation": "exchanged", "entities": 3,
            "written_by": evil,
            "inputs": [{"part": "train", "path": evil, "rows": 9, "sha256": evil}, {"part": evil}, 5],
            "skipped": [
                {"part": "validation", "reason": "unknown-entity", "rows": 2},
                {"part": "evaluation", "reason": evil, "rows": 1},
            ],
            "files": [{"name": "train.csv", "rows": 7, "sha256": evil}, {"name": evil}],
        }),
        ..hostile()
    };
    let page = own.to_html(&machine());
    assert_harmless(&page);
    for shown in [
        "none: unknown entity",
        "20.0 % of the training rows were held out, by lot with seed 7",
        "Left out: 2 rows to hold out of entities that have no rows to train on.",
        "Held-out addresses that were given to other entities: the 100 with the lowest scores of 150",
        "rows to judge flagged",
    ] {
        assert!(page.contains(shown), "{shown} is not in {page}");
    }
    assert!(
        !page.contains("claims to be") && !page.contains("country"),
        "{page}"
    );
}

#[test]
fn a_failed_run_shows_where_it_failed() {
    let evil = "<script>alert(1)</script>\"'&";
    let failed = |name: &str, failed: Option<&str>| report::StateVisit {
        name: name.to_owned(),
        seconds: 2.0,
        caught: None,
        failed: failed.map(str::to_owned),
    };
    let mut run = report::FailedRun {
        version: report::VERSION,
        kind: report::FailedRunKind::FailedRun,
        target: "aws".to_owned(),
        region: "eu-west-1".to_owned(),
        started: "2026-11-28T01:24:00Z".to_owned(),
        seconds: 3.25,
        name: evil.to_owned(),
        failure: report::Failure {
            message: evil.to_owned(),
            because: vec![evil.to_owned()],
            state: Some("A".to_owned()),
            error: Some(evil.to_owned()),
            cause: Some(evil.to_owned()),
        },
        execution: Some(report::Execution {
            arn: evil.to_owned(),
            status: "FAILED".to_owned(),
            state_machine: evil.to_owned(),
            states: vec![failed("A", Some(evil))],
        }),
        job: evil.to_owned(),
        hyperparameters: [(evil.to_owned(), evil.to_owned())].into(),
        manifest: serde_json::Value::Null,
        record: report::Record::default(),
    };
    let page = run.to_html(&machine());
    assert_harmless(&page);
    assert!(page.contains("2026-11-28 01:24:00 UTC, aws, eu-west-1"), "{page}");
    assert!(page.contains("<details open>"), "{page}");

    let status = |execution: &report::Execution| done(execution).state("A").map(|run| run.status);
    let execution = run.execution.as_mut().unwrap();
    assert_eq!(status(execution), Some(StateStatus::Failed));
    execution.states = vec![failed("A", None), failed("A", Some("Aborted"))];
    assert_eq!(status(execution), Some(StateStatus::Aborted));
    run.execution = None;
    assert!(run.to_html(&machine()).contains("did not come to an execution"));
}
