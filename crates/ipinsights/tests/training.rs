//! Training as its callers see it.
#![cfg(feature = "engine")]
#![expect(
    clippy::unwrap_used,
    reason = "tests; the lint knows only test functions, not their helpers"
)]

use std::ops::ControlFlow;

use access_events::AccessEvent;
use ipinsights::{
    Dataset, Draft, Hyperparameters, Model, Progress, TrainError, TrainOptions, Training, evaluation,
};
use proptest::prelude::*;

/// Users at home: user `u` is seen in two networks of its own.
fn users(count: u32, rows_each: u32) -> Vec<AccessEvent> {
    (0..count * rows_each)
        .map(|i| {
            let (user, row) = (i % count, i / count);
            let home = (10 + 7 * user + row % 2 * 90) << 24 | (user * 37 % 256) << 16;
            AccessEvent::new(format!("user_{user}"), (home | (row * 97 % 256)).into())
        })
        .collect()
}

fn small() -> Draft {
    Hyperparameters::draft(1_000)
        .vector_dim(16)
        .mini_batch_size(30)
        .epochs(3)
        .learning_rate(0.01)
}

fn quiet(_: &Progress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn train(draft: &Draft, rows: &[AccessEvent], options: &TrainOptions) -> Model {
    ipinsights::train(&draft.check().unwrap(), rows, None, options, &mut quiet).unwrap()
}

fn archive(model: &Model) -> Vec<u8> {
    let mut bytes = Vec::new();
    model.write_archive(&mut bytes).unwrap();
    bytes
}

#[test]
fn every_number_of_layers_learns() {
    let rows = users(10, 20);
    // Each user at the next user's addresses.
    let strangers: Vec<_> = rows
        .iter()
        .map(|e| {
            let user: u32 = e.entity["user_".len()..].parse().unwrap();
            AccessEvent::new(format!("user_{}", (user + 1) % 10), e.ip)
        })
        .collect();
    for (layers, rate, epochs, least_auc) in [
        (0, 0.01, 20, 0.99),
        (1, 0.01, 20, 0.99),
        (2, 0.003, 20, 0.99),
        (3, 0.003, 20, 0.95),
        (10, 0.001, 20, 0.95),
        (100, 0.001, 4, 0.65),
    ] {
        let params = small()
            .num_ip_encoder_layers(layers)
            .learning_rate(rate)
            .epochs(epochs)
            .check()
            .unwrap();
        let mut losses = Vec::new();
        let model = ipinsights::train(&params, &rows, None, &TrainOptions::default(), &mut |news| {
            if let Progress::Epoch { loss, .. } = news {
                losses.push(*loss);
            }
            ControlFlow::Continue(())
        })
        .unwrap();
        let auc = evaluation::auc(&model.score_batch(&rows), &model.score_batch(&strangers)).unwrap();
        assert!(
            losses[0] < 0.6932 && losses[epochs as usize - 1] < 0.9 * losses[0],
            "{layers} layers: {losses:?}"
        );
        assert!(auc > least_auc, "{layers} layers: AUC {auc}");
    }
}

#[test]
fn discriminator_auc_rises_and_does_not_touch_training() {
    let rows = users(10, 20);
    let validation = users(10, 7);
    let params = small().epochs(10).check().unwrap();
    let mut aucs = Vec::new();
    let with = ipinsights::train(
        &params,
        &rows,
        Some(&validation),
        &TrainOptions::default(),
        &mut |news| {
            if let Progress::Epoch {
                discriminator_auc, ..
            } = news
            {
                aucs.push(discriminator_auc.unwrap());
            }
            ControlFlow::Continue(())
        },
    )
    .unwrap();
    assert_eq!(aucs.len(), 10);
    assert!(
        aucs[9] > 0.99 && aucs.iter().all(|a| (0.0..=1.0).contains(a)),
        "{aucs:?}"
    );
    assert_eq!(
        archive(&with),
        archive(&train(&small().epochs(10), &rows, &TrainOptions::default()))
    );
}

#[test]
fn news_come_in_order() {
    let params = small().epochs(2).check().unwrap();
    let mut news = Vec::new();
    ipinsights::train(&params, &users(5, 10), None, &TrainOptions { seed: 0, threads: 1 }, &mut |progress| {
        news.push(match progress {
            Progress::Started { rows, entities, epochs, batches, threads, .. } => {
                format!("{rows} rows, {entities} entities, {epochs} epochs, {batches} batches, {threads} thread")
            }
            Progress::Batch { epoch, batch, .. } => format!("{epoch}.{batch}"),
            Progress::Epoch { epoch, epochs, discriminator_auc, .. } => {
                format!("{epoch} of {epochs}, {discriminator_auc:?}")
            }
            _ => "?".to_owned(),
        });
        ControlFlow::Continue(())
    })
    .unwrap();
    assert_eq!(
        news,
        [
            "50 rows, 5 entities, 2 epochs, 5 batches, 1 thread",
            "0.0",
            "0.1",
            "0.2",
            "0.3",
            "0.4",
            "0 of 2, None",
            "1.0",
            "1.1",
            "1.2",
            "1.3",
            "1.4",
            "1 of 2, None",
        ]
    );
}

#[test]
fn cancelled_at_any_batch() {
    let params = small().check().unwrap();
    for stop_after in [0, 1, 7, 20] {
        let mut heard = 0;
        let outcome = ipinsights::train(
            &params,
            &users(5, 20),
            None,
            &TrainOptions::default(),
            &mut |_| {
                heard += 1;
                if heard > stop_after {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            },
        );
        assert!(matches!(outcome, Err(TrainError::Cancelled)));
        assert_eq!(heard, stop_after + 1);
    }
}

#[test]
fn nothing_to_learn_from() {
    let params = small().check().unwrap();
    let outcome = ipinsights::train(&params, &[], None, &TrainOptions::default(), &mut quiet);
    assert_eq!(outcome.unwrap_err().to_string(), "there are no training rows");
}

#[test]
fn rows_of_another_table_are_refused() {
    let params = small().check().unwrap();
    let other = Hyperparameters::draft(7).check().unwrap();
    let (mine, theirs) = (
        Dataset::from_slice(&users(2, 2), &params),
        Dataset::from_slice(&users(2, 2), &other),
    );
    let outcome = ipinsights::train_dataset(
        &params,
        &mine,
        Some(&theirs),
        &TrainOptions::default(),
        &mut quiet,
    );
    assert_eq!(
        outcome.unwrap_err().to_string(),
        "the validation rows were read for num_entity_vectors 7, but training runs with 1000: \
         read them with the same hyperparameters"
    );
}

#[test]
fn one_row_and_few_rows_train() {
    for rows in 1..5 {
        for (size, random, shuffled) in [(1, 1, 0), (1, 0, 1), (10_000, 1, 1), (3, 2, 2)] {
            let draft = small()
                .mini_batch_size(size)
                .random_negative_sampling_rate(random)
                .shuffled_negative_sampling_rate(shuffled);
            let model = train(&draft, &users(rows, 1), &TrainOptions::default());
            assert_eq!(model.training_rows(), u64::from(rows));
        }
    }
}

#[test]
fn repetition_is_information() {
    let once = users(5, 4);
    let twice = [once.clone(), once.clone()].concat();
    let params = small().check().unwrap();
    assert_eq!(Dataset::from_slice(&twice, &params).len(), 40);
    assert_ne!(
        archive(&train(&small(), &once, &TrainOptions::default())),
        archive(&train(&small(), &twice, &TrainOptions::default()))
    );
}

#[test]
fn streamed_rows_are_the_same_rows() {
    let params = small().check().unwrap();
    let rows = users(4, 3);
    let streamed = Dataset::from_events(rows.iter().cloned().map(Ok::<_, String>), &params).unwrap();
    let slice = Dataset::from_slice(&rows, &params);
    let model = |rows| archive(&Training::new(&params, rows).run(&mut quiet).unwrap().model);
    assert_eq!(model(&streamed), model(&slice));
    let broken = rows.iter().cloned().map(Ok).chain([Err("line 13")]);
    assert_eq!(Dataset::from_events(broken, &params).unwrap_err(), "line 13");
}

/// What all entities have in common is all that is known of an unknown one: it has no network of its own.
#[test]
fn unknown_entities_have_no_network_of_their_own() {
    let model = train(&small().epochs(40), &users(5, 20), &TrainOptions::default());
    assert!(model.knows_entity("user_3") && !model.knows_entity("mallory"));
    let at_home = |entity| model.score(entity, [10, 0, 0, 1].into()).dot_product();
    let (user, stranger) = (at_home("user_0"), at_home("mallory"));
    assert!(user > 1.0 && stranger < user - 1.0, "{user} {stranger}");
    assert_eq!(
        stranger,
        model.score("mallory", [10, 0, 0, 2].into()).dot_product()
    );
}

#[test]
fn prediction_is_the_dot_product_of_its_vectors() {
    let rows = users(5, 20);
    let model = train(&small(), &rows, &TrainOptions::default());
    for event in rows
        .iter()
        .chain(&[AccessEvent::new("mallory", [9, 9, 9, 9].into())])
    {
        let prediction = model.predict(&event.entity, event.ip);
        assert_eq!(prediction.ip_embedding.len(), 16);
        assert_eq!(prediction.entity_embedding.len(), 16);
        let dot: f32 = prediction
            .ip_embedding
            .iter()
            .zip(&prediction.entity_embedding)
            .map(|(a, b)| a * b)
            .sum();
        assert!((dot - prediction.score.dot_product()).abs() < 1e-5);
        assert_eq!(prediction.score, model.score(&event.entity, event.ip));
    }
}

#[test]
fn models_can_be_shared_between_threads() {
    fn check<T: Send + Sync>() {}
    check::<Model>();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn same_seed_same_bytes_on_any_number_of_threads(seed: u64, layers in 0..3_u32, size in 100..3_000_u32) {
        let rows = users(20, 40);
        let draft = small().num_ip_encoder_layers(layers).mini_batch_size(size).random_negative_sampling_rate(3).epochs(2);
        let bytes = |threads| archive(&train(&draft, &rows, &TrainOptions { seed, threads }));
        let one = bytes(1);
        prop_assert_eq!(&one, &bytes(2));
        prop_assert_eq!(&one, &bytes(4));
        let other = TrainOptions { seed: seed ^ 1, threads: 1 };
        prop_assert_ne!(one, archive(&train(&draft, &rows, &other)));
    }

    #[test]
    fn a_score_does_not_depend_on_its_batch(
        seed: u64,
        layers in 0..3_u32,
        addresses in prop::collection::vec(any::<u32>(), 1..600),
    ) {
        let model = train(&small().num_ip_encoder_layers(layers), &users(7, 10), &TrainOptions { seed, threads: 1 });
        let mut events: Vec<AccessEvent> = (0_u32..)
            .zip(addresses)
            .map(|(i, ip)| AccessEvent::new(format!("user_{}", i % 9), ip.into()))
            .collect();
        events.extend(users(7, 10));
        let alone: Vec<_> = events.iter().map(|e| model.score(&e.entity, e.ip)).collect();
        prop_assert_eq!(&model.score_batch(&events), &alone);
        events.reverse();
        let mut backwards = model.score_batch(&events);
        backwards.reverse();
        prop_assert_eq!(backwards, alone);
    }

    #[test]
    fn model_round_trip(seed: u64, layers in 0..4_u32, dim in 4..40_u32) {
        let model = train(&small().num_ip_encoder_layers(layers).vector_dim(dim), &users(6, 8), &TrainOptions { seed, threads: 1 });
        let bytes = archive(&model);
        let read = Model::read_archive(&bytes[..]).unwrap();
        prop_assert_eq!(&archive(&read), &bytes);
        prop_assert_eq!(read.score_batch(&users(8, 3)), model.score_batch(&users(8, 3)));
        prop_assert_eq!(read, model);
    }
}
