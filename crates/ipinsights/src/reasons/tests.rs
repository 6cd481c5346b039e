use std::ops::ControlFlow;

use access_events::AccessEvent;
use expect_test::{Expect, expect};

use super::*;
use crate::{Detector, HistoryBuilder, Hyperparameters, TrainOptions};

/// Ana at home in 20.1.2.0/24 and 20.1.3.0/24, Carl in 30.5.5.0/24, Ben and seven others in 90.0.0.0/24. Which of Ana's
/// networks is nearer to a strange address is for the weights to say, so sentences about those are Carl's.
fn rows() -> Vec<(AccessEvent, &'static str)> {
    let mut rows = Vec::new();
    for i in 0..40 {
        rows.push((
            AccessEvent::new("ana", [20, 1, 2, i].into()),
            "2025-03-01T08:00:00Z",
        ));
    }
    for i in 0..5 {
        rows.push((
            AccessEvent::new("ana", [20, 1, 3, i].into()),
            "2025-02-01T08:00:00Z",
        ));
        rows.push((
            AccessEvent::new("ben", [90, 0, 0, i].into()),
            "2025-03-02T23:59:59Z",
        ));
    }
    for i in 0..4 {
        rows.push((
            AccessEvent::new("carl", [30, 5, 5, i].into()),
            "2025-03-01T08:00:00Z",
        ));
    }
    for i in 0..7 {
        rows.push((
            AccessEvent::new(format!("guest_{i}"), [90, 0, 0, 9].into()),
            "2025-01-01T00:00:00Z",
        ));
    }
    rows
}

fn model() -> Model {
    let rows: Vec<AccessEvent> = rows().into_iter().map(|row| row.0).collect();
    let params = Hyperparameters::draft(1_000)
        .vector_dim(8)
        .mini_batch_size(20)
        .learning_rate(0.02)
        .epochs(30)
        .check()
        .unwrap();
    let go_on = &mut |_: &_| ControlFlow::Continue(());
    let mut model = crate::train(&params, &rows, None, &TrainOptions::default(), go_on).unwrap();
    let names = rows.iter().map(|row| row.entity.as_str());
    model.set_known_entities(Some(crate::KnownEntities::from_names(names)));
    model
}

fn history(times: bool) -> History {
    let mut builder = HistoryBuilder::default();
    for (event, time) in rows() {
        let time = times.then(|| time.parse().unwrap());
        builder.add(&event.entity, event.ip, time).unwrap();
    }
    builder.finish()
}

/// The sentence, with what depends on the weights taken out.
fn check(model: &Model, entity: &str, ip: [u8; 4], options: &ReasonOptions<'_>, want: Expect) {
    let reasons = model.explain(entity, ip.into(), options);
    let mut sentence = reasons
        .sentence
        .replace(&format!("score {:.2}", reasons.score.dot_product()), "score S");
    for network in reasons.history.iter().flat_map(|h| &h.nearest) {
        let similarity = format!("similarity {:.2}", network.similarity);
        sentence = sentence.replace(&similarity, "similarity C");
    }
    want.assert_eq(&sentence);
}

#[test]
fn sentences() {
    let mut model = model();
    let history = history(true);
    let country = |ip: Ipv4Addr| (ip.octets()[0] == 90).then(|| "Singapore".to_owned());
    let all = ReasonOptions {
        history: Some(&history),
        country: Some(&country),
        ..Default::default()
    };
    check(
        &model,
        "ana",
        [20, 1, 2, 200],
        &all,
        expect![
            "`ana` (45 rows) was seen 40 times at 20.1.2.0/24, last on 2025-03-01; nobody else was seen in 20.1.2.0/24; score S (larger is more normal)."
        ],
    );
    check(
        &model,
        "carl",
        [30, 5, 6, 9],
        &all,
        expect![
            "`carl` (4 rows) was never seen at 30.5.6.0/24, but 4 times in 30.5.0.0/16, last on 2025-03-01; the nearest of its networks is 30.5.5.0/24 (similarity C, used 4 times, last on 2025-03-01); nobody else was seen in 30.5.0.0/16; score S (larger is more normal)."
        ],
    );
    check(
        &model,
        "carl",
        [90, 0, 0, 1],
        &all,
        expect![
            "`carl` (4 rows) was never seen at 90.0.0.0/24 nor anywhere else in 90.0.0.0/8; the nearest of its networks is 30.5.5.0/24 (similarity C, used 4 times, last on 2025-03-01); 90.0.0.0/24 is usual for `ben` (5 rows), `guest_0` (1 row), `guest_1` (1 row) and 5 more; 90.0.0.1 is in Singapore; score S (larger is more normal)."
        ],
    );
    check(
        &model,
        "ben",
        [20, 9, 9, 9],
        &all,
        expect![
            "`ben` (5 rows) was never seen at 20.9.9.0/24 nor anywhere else in 20.0.0.0/8; the nearest of its networks is 90.0.0.0/24 in Singapore (similarity C, used 5 times, last on 2025-03-02); nobody was seen in 20.9.0.0/16; score S (larger is more normal)."
        ],
    );
    check(
        &model,
        "mallory",
        [10, 0, 0, 1],
        &all,
        expect![
            "`mallory` was not in the training rows, so the score says nothing of it; nobody was seen in 10.0.0.0/16; 10.0.0.1 is a private address; score S (larger is more normal)."
        ],
    );

    let held_out: Vec<Score> = (1..=99).map(|i| Score::new(i as f32 - 1000.0)).collect();
    model.set_detector(Some(Detector::calibrate(&held_out, 0.05).unwrap()));
    let none = ReasonOptions::default();
    // A verdict would contradict what the sentence begins with.
    check(
        &model,
        "mallory",
        [10, 0, 0, 1],
        &none,
        expect![
            "`mallory` was not in the training rows, so the score says nothing of it; 10.0.0.1 is a private address; score S (larger is more normal)."
        ],
    );
    check(
        &model,
        "ana",
        [20, 1, 2, 200],
        &none,
        expect![
            "`ana` was in the training rows, of which no history was kept; score S is not below the threshold -995.00 (5 % false alarms): fits."
        ],
    );
    let high: Vec<Score> = (1..=99).map(|i| Score::new(i as f32 + 1000.0)).collect();
    model.set_detector(Some(Detector::calibrate(&high, 0.05).unwrap()));
    // The model's own history is as good as a given one.
    model.set_history(Some(super::tests::history(false)));
    check(
        &model,
        "ana",
        [20, 1, 2, 200],
        &none,
        expect![
            "`ana` (45 rows) was seen 40 times at 20.1.2.0/24; nobody else was seen in 20.1.2.0/24; score S is below the threshold 1005.00 (5 % false alarms): anomalous."
        ],
    );
}

#[test]
fn reasons_are_data() {
    let model = model();
    let history = history(true);
    let options = ReasonOptions {
        history: Some(&history),
        networks: 1,
        entities: 1,
        ..Default::default()
    };
    let reasons = model.explain("carl", [90, 0, 0, 1].into(), &options);
    assert_eq!(reasons.score, model.score("carl", [90, 0, 0, 1].into()));
    let mut json = serde_json::to_value(&reasons).unwrap();
    for path in [
        "/score",
        "/history/nearest/0/similarity",
        "/history/nearest/0/score",
        "/sentence",
    ] {
        *json.pointer_mut(path).unwrap() = "…".into();
    }
    expect![[r#"
        {
          "entity": "carl",
          "ip": "90.0.0.1",
          "score": "…",
          "outcomes": {
            "entity": "known",
            "address": "public"
          },
          "history": {
            "entity": {
              "count": 4,
              "last": "2025-03-01T08:00:00Z"
            },
            "used": [
              {
                "network": "90.0.0.0/24",
                "count": 0
              },
              {
                "network": "90.0.0.0/16",
                "count": 0
              },
              {
                "network": "90.0.0.0/8",
                "count": 0
              }
            ],
            "nearest": [
              {
                "network": "30.5.5.0/24",
                "similarity": "…",
                "score": "…",
                "count": 4,
                "last": "2025-03-01T08:00:00Z"
              }
            ],
            "usual": {
              "network": "90.0.0.0/24",
              "entities": [
                {
                  "entity": "ben",
                  "count": 5,
                  "last": "2025-03-02T23:59:59Z"
                }
              ],
              "total": 8,
              "complete": true
            }
          },
          "sentence": "…"
        }"#]]
    .assert_eq(&serde_json::to_string_pretty(&json).unwrap());
}

#[test]
fn the_nearest_network_is_the_most_alike() {
    let model = model();
    let history = history(false);
    let options = ReasonOptions {
        history: Some(&history),
        ..Default::default()
    };
    // An address in one of the entity's own networks has the embedding of its first address, as long as no prefix is longer.
    let reasons = model.explain("ana", [20, 1, 3, 77].into(), &options);
    let near = &reasons.history.unwrap().nearest;
    assert_eq!(near[0].network.to_string(), "20.1.3.0/24");
    assert!(near[0].similarity > 0.99 && near[0].similarity >= near[1].similarity);
    assert!(near.len() == 2);
}

#[test]
fn names_are_shown_on_one_line_and_cut() {
    assert_eq!(name("a\nb"), "`a\u{fffd}b`");
    assert_eq!(name(&"ä".repeat(60)), format!("`{}`", "ä".repeat(60)));
    assert_eq!(name(&"ä".repeat(61)), format!("`{}…`", "ä".repeat(60)));
}

#[test]
fn vectors_of_nothing_are_alike_to_nothing() {
    assert_eq!(cosine(&[0.0, 0.0], &[1.0, 0.0]), 0.0);
    assert_eq!(cosine(&[2.0, 0.0], &[1.0, 0.0]), 1.0);
    assert_eq!(cosine(&[1.0, 0.0], &[0.0, -3.0]), 0.0);
    assert_eq!(cosine(&[1.0, 1.0], &[-3.0, -3.0]), -1.0);
}
