//! Checkpoints, warm start, early stop, and rows in files: what may not change the model, and what is refused.
#![cfg(feature = "engine")]
#![expect(
    clippy::unwrap_used,
    reason = "tests; the lint knows only test functions, not their helpers"
)]

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use access_events::AccessEvent;
use expect_test::{Expect, expect};
use ipinsights::{
    Checkpoints, Dataset, Draft, EarlyStop, Hyperparameters, Model, Progress, TrainError, TrainOptions,
    Trained, Training,
};
use proptest::prelude::*;
use safetensors::SafeTensors;
use serde_json::Value;

/// User `u` is seen in two networks of its own.
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
        .vector_dim(8)
        .mini_batch_size(30)
        .epochs(3)
        .learning_rate(0.01)
}

fn quiet(_: &Progress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn archive(model: &Model) -> Vec<u8> {
    let mut bytes = Vec::new();
    model.write_archive(&mut bytes).unwrap();
    bytes
}

fn chain(error: &dyn std::error::Error, folder: &Path) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text += &format!(": {cause}");
        source = cause.source();
    }
    text.replace(&format!("{}/", folder.display()), "")
}

/// Without the numbers and digests that follow from weights.
fn masked(text: &str) -> String {
    let mask = |word: &str| {
        let digest = word.len() == 8
            && word
                .bytes()
                .all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase());
        match word.len() > 1 && word.bytes().all(|b| b.is_ascii_digit()) {
            _ if digest => "DIGEST".to_owned(),
            true => "N".to_owned(),
            false => word.to_owned(),
        }
    };
    let words = text.split_inclusive(|c: char| !c.is_ascii_alphanumeric());
    words
        .map(|word| {
            let end = word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
            mask(end) + &word[end.len()..]
        })
        .collect()
}

/// What decides whether a run is the same run.
struct Setting {
    draft: Draft,
    rows: Vec<AccessEvent>,
    validation: Option<Vec<AccessEvent>>,
    seed: u64,
    early_stop: Option<EarlyStop>,
    warm_start: Option<Model>,
}

impl Setting {
    fn new() -> Self {
        Self {
            draft: small(),
            rows: users(5, 10),
            validation: Some(users(5, 4)),
            seed: 1,
            early_stop: None,
            warm_start: None,
        }
    }

    fn run(
        &self,
        checkpoints: Option<Checkpoints>,
        progress: &mut dyn FnMut(&Progress) -> ControlFlow<()>,
    ) -> Result<Trained, TrainError> {
        let params = self.draft.check().unwrap();
        let rows = Dataset::from_slice(&self.rows, &params);
        let validation = self.validation.as_ref().map(|v| Dataset::from_slice(v, &params));
        let mut training = Training::new(&params, &rows).options(TrainOptions {
            seed: self.seed,
            threads: 1,
        });
        if let Some(rows) = &validation {
            training = training.validation(rows);
        }
        if let Some(rule) = self.early_stop {
            training = training.early_stop(rule);
        }
        if let Some(model) = &self.warm_start {
            training = training.warm_start(model);
        }
        if let Some(checkpoints) = checkpoints {
            training = training.checkpoints(checkpoints);
        }
        training.run(progress)
    }

    /// Runs until `stop_after` pieces of news were heard.
    /// The model of a training that ends with this epoch, although more were meant.
    fn broken_off_after(&self, last: u32) -> Model {
        let params = self.draft.check().unwrap();
        let rows = Dataset::from_slice(&self.rows, &params);
        let validation = Dataset::from_slice(self.validation.as_ref().unwrap(), &params);
        let options = TrainOptions {
            seed: self.seed,
            threads: 1,
        };
        let training = Training::new(&params, &rows)
            .options(options)
            .validation(&validation)
            .keep_so_far(true);
        let trained = training.run(&mut |news| match news {
            Progress::Epoch { epoch, .. } if *epoch == last => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        });
        trained.unwrap().model
    }

    fn interrupted(&self, checkpoints: Checkpoints, stop_after: usize) -> Result<Trained, TrainError> {
        let mut heard = 0;
        self.run(Some(checkpoints), &mut |_| {
            heard += 1;
            match heard > stop_after {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        })
    }
}

#[test]
fn interrupted_anywhere_the_bytes_are_the_same() {
    let mut setting = Setting::new();
    for early_stop in [None, Some(EarlyStop::after(1).min_delta(0.01))] {
        setting.early_stop = early_stop;
        let whole = setting.run(None, &mut quiet).unwrap();
        for stop_after in 0..20 {
            let folder = tempfile::tempdir().unwrap();
            // The news that come and those of checkpoints: every place is an end sooner or later.
            let checkpoints = Checkpoints::in_folder(folder.path().join("new")).every_batches(2);
            let mut runs = 0;
            let resumed = loop {
                runs += 1;
                match setting.interrupted(checkpoints.clone(), stop_after.max(3)) {
                    Ok(trained) => break trained,
                    Err(error) => assert!(matches!(error, TrainError::Cancelled), "{error}"),
                }
                assert!(runs < 50, "it does not get on");
            };
            assert_eq!(
                archive(&resumed.model),
                archive(&whole.model),
                "after {stop_after}"
            );
            assert_eq!(resumed.best, whole.best);
            assert_eq!(
                (resumed.epochs, resumed.stopped_early),
                (whole.epochs, whole.stopped_early)
            );
        }
    }
}

#[test]
fn checkpoints_of_some_epochs_alone() {
    let setting = Setting::new();
    let whole = setting.run(None, &mut quiet).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut written = Vec::new();
    let checkpoints = Checkpoints::in_folder(folder.path()).every_epochs(2);
    setting
        .run(Some(checkpoints), &mut |news| {
            if let Progress::CheckpointWritten { epoch, batch } = news {
                written.push((*epoch, *batch));
            }
            ControlFlow::Continue(())
        })
        .unwrap();
    // After every other epoch, and after the last in any case.
    let mut expected: Vec<_> = (1..=whole.epochs).filter(|epoch| epoch % 2 == 0).collect();
    if whole.epochs % 2 == 1 {
        expected.push(whole.epochs);
    }
    assert_eq!(
        written,
        expected.into_iter().map(|epoch| (epoch, 0)).collect::<Vec<_>>()
    );
}

#[test]
fn what_is_told_goes_on_where_it_ended() {
    let setting = Setting::new();
    let mut whole = Vec::new();
    let keep = |news: &Progress, into: &mut Vec<String>| match news {
        Progress::Batch {
            epoch,
            batch,
            loss,
            accuracy,
            ..
        } => into.push(format!("{epoch}.{batch} {loss} {accuracy}")),
        Progress::Epoch {
            epoch,
            loss,
            discriminator_auc,
            ..
        } => into.push(format!("{epoch} {loss} {discriminator_auc:?}")),
        Progress::Resumed { epoch, batch } => into.push(format!("resumed {epoch}.{batch}")),
        _ => {}
    };
    setting
        .run(None, &mut |news| {
            keep(news, &mut whole);
            ControlFlow::Continue(())
        })
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let checkpoints = || Checkpoints::in_folder(folder.path());
    let mut parts = Vec::new();
    setting
        .run(Some(checkpoints()), &mut |news| {
            keep(news, &mut parts);
            match news {
                Progress::Batch {
                    epoch: 1, batch: 2, ..
                } => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            }
        })
        .unwrap_err();
    let told = parts.len();
    setting
        .run(Some(checkpoints()), &mut |news| {
            keep(news, &mut parts);
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(parts.remove(told), "resumed 1.3");
    assert_eq!(parts, whole);
}

#[test]
fn a_finished_training_is_not_done_again() {
    let setting = Setting::new();
    let folder = tempfile::tempdir().unwrap();
    let checkpoints = || Some(Checkpoints::in_folder(folder.path()));
    let first = setting.run(checkpoints(), &mut quiet).unwrap();
    let mut batches = 0;
    let again = setting
        .run(checkpoints(), &mut |news| {
            batches += usize::from(matches!(news, Progress::Batch { .. }));
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(batches, 0);
    assert_eq!(archive(&first.model), archive(&again.model));
    // Unless that is asked for.
    let anew = checkpoints().map(|c| c.resume(false));
    setting
        .run(anew, &mut |news| {
            batches += usize::from(matches!(news, Progress::Batch { .. }));
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(batches, 15);
    // And nothing but the checkpoint is left.
    let files: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(files, ["checkpoint.safetensors"]);
}

#[test]
fn the_checkpoint_of_another_training_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoints = || Checkpoints::in_folder(folder.path());
    Setting::new().interrupted(checkpoints(), 7).unwrap_err();
    let refused = |change: &dyn Fn(&mut Setting), want: Expect| {
        let mut setting = Setting::new();
        change(&mut setting);
        let error = setting.run(Some(checkpoints()), &mut quiet).unwrap_err();
        want.assert_eq(&masked(&chain(&error, folder.path())));
    };
    refused(
        &|s| s.draft = small().learning_rate(0.02),
        expect![[
            r#"`checkpoint.safetensors` is the checkpoint of another training: learning_rate is 0.N there and 0.N here; remove it to begin anew"#
        ]],
    );
    refused(
        &|s| s.seed = 2,
        expect![[
            r#"`checkpoint.safetensors` is the checkpoint of another training: the seed is 1 there and 2 here; remove it to begin anew"#
        ]],
    );
    refused(
        &|s| s.rows[7].ip = [1, 2, 3, 4].into(),
        expect![[
            r#"`checkpoint.safetensors` is the checkpoint of another training: the training data is N rows (DIGEST) there and N rows (DIGEST) here; remove it to begin anew"#
        ]],
    );
    refused(
        &|s| s.rows.swap(0, 1),
        expect![[
            r#"`checkpoint.safetensors` is the checkpoint of another training: the training data is N rows (DIGEST) there and N rows (DIGEST) here; remove it to begin anew"#
        ]],
    );
    refused(
        &|s| s.validation = None,
        expect![[
            r#"`checkpoint.safetensors` is the checkpoint of another training: the validation data is N rows (DIGEST) there and none here; remove it to begin anew"#
        ]],
    );
    refused(
        &|s| s.early_stop = Some(EarlyStop::after(2)),
        expect![[
            r#"`checkpoint.safetensors` is the checkpoint of another training: the early stop is none there and after 2 epochs within 0 here; remove it to begin anew"#
        ]],
    );
    refused(
        &|s| s.warm_start = Some(Setting::new().run(None, &mut quiet).unwrap().model),
        expect![[
            r#"`checkpoint.safetensors` is the checkpoint of another training: the model to begin with is none there and DIGEST here; remove it to begin anew"#
        ]],
    );
}

/// The note of a checkpoint and all its bytes.
fn note(bytes: &[u8]) -> Value {
    let (_, metadata) = SafeTensors::read_metadata(bytes).unwrap();
    serde_json::from_str(&metadata.metadata().as_ref().unwrap()["note"]).unwrap()
}

/// The same file with another note.
fn with_note(bytes: &[u8], change: &dyn Fn(&mut Value)) -> Vec<u8> {
    let mut note = note(bytes);
    change(&mut note);
    let tensors = SafeTensors::deserialize(bytes).unwrap();
    let info = Some([("note".to_owned(), note.to_string())].into());
    safetensors::serialize(tensors.tensors(), info).unwrap()
}

#[test]
fn what_is_no_checkpoint_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoints = || Checkpoints::in_folder(folder.path());
    let mut setting = Setting::new();
    setting.early_stop = Some(EarlyStop::after(9));
    setting.interrupted(checkpoints(), 12).unwrap_err();
    let path = checkpoints().path();
    let good = fs::read(&path).unwrap();
    let refusal = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        chain(
            &setting.run(Some(checkpoints()), &mut quiet).unwrap_err(),
            folder.path(),
        )
    };
    let check = |bytes: &[u8], want: Expect| want.assert_eq(&masked(&refusal(bytes)));
    check(
        b"",
        expect![[
            r#"`checkpoint.safetensors` cannot be resumed from: it ends early; remove it to begin anew"#
        ]],
    );
    check(
        b"entity,10.0.0.1\nentity,10.0.0.1\n",
        expect![[
            r#"`checkpoint.safetensors` cannot be resumed from: its header is malformed (a header of N bytes); remove it to begin anew"#
        ]],
    );
    check(
        &safetensors::serialize(Vec::<(String, safetensors::tensor::TensorView<'_>)>::new(), None).unwrap(),
        expect![[
            r#"`checkpoint.safetensors` cannot be resumed from: it is a file of tensors, but no checkpoint; remove it to begin anew"#
        ]],
    );
    check(
        &with_note(&good, &|note| note["format_version"] = 3.into()),
        expect![
            "`checkpoint.safetensors` cannot be resumed from: it has format `ipinsights-checkpoint` version 3, this program reads `ipinsights-checkpoint` version 2; remove it to begin anew"
        ],
    );
    check(
        &with_note(&good, &|note| note["more"] = 2.into()),
        expect![[
            r#"`checkpoint.safetensors` cannot be resumed from: its note is no description of a checkpoint (unknown field `more`, expected one of `format`, `format_version`, `identity`, `standing`, `crc32` at line 1 column N); remove it to begin anew"#
        ]],
    );
    check(
        &with_note(&good, &|note| note["standing"]["epoch"] = 77.into()),
        expect![[
            r#"`checkpoint.safetensors` cannot be resumed from: it stands at batch 5 of epoch N; remove it to begin anew"#
        ]],
    );
    check(
        &with_note(&good, &|note| note["standing"]["samples"] = 0.into()),
        expect![[
            r#"`checkpoint.safetensors` cannot be resumed from: it has 0 samples, N of them right; remove it to begin anew"#
        ]],
    );
    check(
        &with_note(&good, &|note| {
            note["standing"]["optimiser"] = Value::Array(Vec::new())
        }),
        expect![[
            r#"`checkpoint.safetensors` cannot be resumed from: its optimiser is of another kind; remove it to begin anew"#
        ]],
    );
    check(
        &with_note(&good, &|note| note["standing"]["best"]["epoch"] = 4.into()),
        expect![[
            r#"`checkpoint.safetensors` cannot be resumed from: its best epoch is none; remove it to begin anew"#
        ]],
    );
    check(
        &with_note(&good, &|note| note["standing"]["best"] = Value::Null),
        expect![
            "`checkpoint.safetensors` cannot be resumed from: tensor `best.common` does not belong there; remove it to begin anew"
        ],
    );
    let last = good.len() - 1;
    check(
        &good[..last],
        expect![[
            r#"`checkpoint.safetensors` cannot be resumed from: it ends early; remove it to begin anew"#
        ]],
    );
    check(
        &[&good[..], b"x"].concat(),
        expect![[
            r#"`checkpoint.safetensors` cannot be resumed from: its N bytes are more than its N of tensors; remove it to begin anew"#
        ]],
    );
    let mut damaged = good.clone();
    damaged[last - 1] ^= 1;
    check(
        &damaged,
        expect![[
            r#"`checkpoint.safetensors` cannot be resumed from: tensor `weights.range.7` is damaged; remove it to begin anew"#
        ]],
    );
    // Not damaged, but bad.
    let mut not_finite = good.clone();
    let n = not_finite.len();
    not_finite[n - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    let tensors = SafeTensors::deserialize(&not_finite).unwrap();
    let crc = crc32fast::hash(tensors.tensor("weights.range.7").unwrap().data());
    check(
        &with_note(&not_finite, &|note| note["crc32"]["weights.range.7"] = crc.into()),
        expect![[
            r#"`checkpoint.safetensors` cannot be resumed from: tensor `weights.range.7` holds a number that is not finite; remove it to begin anew"#
        ]],
    );
    // Every other damage, too, is an error or of no effect.
    fs::write(&path, &good).unwrap();
    let want = archive(&setting.run(Some(checkpoints()), &mut quiet).unwrap().model);
    for i in (0..good.len()).step_by(good.len() / 60) {
        let mut flipped = good.clone();
        flipped[i] ^= 1 << (i % 8);
        fs::write(&path, &flipped).unwrap();
        if let Ok(trained) = setting.run(Some(checkpoints()), &mut quiet) {
            assert_eq!(archive(&trained.model), want, "byte {i}");
        }
    }
}

#[test]
fn a_folder_that_cannot_be_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let error = Setting::new().run(Some(Checkpoints::in_folder(&file).resume(false)), &mut quiet);
    expect![[r#"the checkpoint `file/checkpoint.safetensors` cannot be written: File exists (os error 17)"#]]
        .assert_eq(&chain(&error.unwrap_err(), folder.path()));
}

#[test]
fn the_best_epoch_is_kept() {
    let mut setting = Setting::new();
    setting.draft = small().epochs(12).learning_rate(0.05);
    // Half of the rows teach what the validation rows deny, so the AUC rises and falls.
    let mut aucs = Vec::new();
    let mut run = |setting: &Setting| {
        aucs.clear();
        let trained = setting.run(None, &mut |news| {
            if let Progress::Epoch {
                discriminator_auc, ..
            } = news
            {
                aucs.push(discriminator_auc.unwrap());
            }
            ControlFlow::Continue(())
        });
        (trained.unwrap(), aucs.clone())
    };
    setting.validation = Some(users(9, 6));
    let (_, all) = run(&setting);
    let best = (0..all.len())
        .rev()
        .max_by(|a, b| all[*a].total_cmp(&all[*b]))
        .unwrap();
    assert!(0 < best && best + 2 < all.len(), "{all:?}");
    setting.early_stop = Some(EarlyStop::after(2));
    let (trained, heard) = run(&setting);
    // By hand: the first epoch after which two in a row are no better than the best before.
    let mut stop = all.len();
    let (mut top, mut waited) = (f64::MIN, 0);
    for (epoch, auc) in all.iter().enumerate() {
        waited = if *auc > top { 0 } else { waited + 1 };
        top = top.max(*auc);
        if waited == 2 {
            stop = epoch + 1;
            break;
        }
    }
    assert_eq!(heard, all[..stop]);
    assert_eq!(
        (trained.epochs as usize, trained.stopped_early),
        (stop, stop < all.len())
    );
    let best = trained.best.unwrap();
    assert_eq!(best.discriminator_auc, all[best.epoch as usize]);
    // Its weights are those of a training that is broken off there, and nothing else is.
    setting.early_stop = None;
    let ends_there = setting.broken_off_after(best.epoch);
    let events = users(5, 10);
    assert_eq!(
        trained.model.score_batch(&events),
        ends_there.score_batch(&events)
    );
}

#[test]
fn rules_that_make_no_sense() {
    let refused = |rule, validation: bool, want: Expect| {
        let mut setting = Setting::new();
        setting.early_stop = Some(rule);
        if !validation {
            setting.validation = None;
        }
        want.assert_eq(&setting.run(None, &mut quiet).unwrap_err().to_string());
    };
    refused(
        EarlyStop::after(0),
        true,
        expect![[r#"early stopping waits for at least 1 epoch, got 0"#]],
    );
    refused(
        EarlyStop::after(1).min_delta(f64::NAN),
        true,
        expect![[r#"the minimum delta of early stopping must lie in 0..=1, got NaN"#]],
    );
    refused(
        EarlyStop::after(1),
        false,
        expect![[r#"early stopping asks for validation rows, and there are none"#]],
    );
}

#[test]
fn a_warm_start_knows_what_the_model_knew() {
    let mut setting = Setting::new();
    setting.draft = small().epochs(15);
    let base = setting.run(None, &mut quiet).unwrap().model;
    // One new user in a new network, beside one who was there before.
    setting.rows = (0..20)
        .map(|i| match i % 2 {
            0 => AccessEvent::new("new", [203, 0, 113, i].into()),
            _ => AccessEvent::new("user_0", [10, 0, 0, i].into()),
        })
        .collect();
    setting.warm_start = Some(base.clone());
    let model = setting.run(None, &mut quiet).unwrap().model;
    assert!(model.knows_entity("new") && model.knows_entity("user_3"));
    assert_eq!(model.training_rows(), 70);
    assert_eq!(model.trained_entities(), 6);
    let (home, away) = ([203, 0, 113, 7].into(), [10, 0, 0, 7].into());
    assert!(model.score("new", home).dot_product() > 0.0 && model.score("new", away).dot_product() < 0.0);
    let home = users(5, 10);
    let kept = ipinsights::evaluation::auc(
        &model.score_batch(&home),
        &model.score_batch(
            &home
                .iter()
                .map(|e| AccessEvent::new(e.entity.clone(), [77, 1, 2, 3].into()))
                .collect::<Vec<_>>(),
        ),
    );
    assert!(kept.unwrap() > 0.9, "{kept:?}");
    // Of the same rows, the first epoch begins where the last ended.
    let mut again = Setting::new();
    again.warm_start = Some(base);
    let mut losses = Vec::new();
    again
        .run(None, &mut |news| {
            if let Progress::Epoch { loss, .. } = news {
                losses.push(*loss);
            }
            ControlFlow::Continue(())
        })
        .unwrap();
    assert!(losses[0] < 0.5, "{losses:?}");
}

#[test]
fn a_warm_start_from_a_model_of_another_form_is_refused() {
    let base = Setting::new().run(None, &mut quiet).unwrap().model;
    let refused = |draft: Draft, want: Expect| {
        let mut setting = Setting::new();
        setting.draft = draft;
        setting.warm_start = Some(base.clone());
        want.assert_eq(&setting.run(None, &mut quiet).unwrap_err().to_string());
    };
    refused(
        small().vector_dim(16),
        expect![[
            r#"training cannot begin with this model: its vector_dim is 8, but training runs with 16; it has to be the same"#
        ]],
    );
    refused(
        small().num_ip_encoder_layers(2),
        expect![[
            r#"training cannot begin with this model: its num_ip_encoder_layers is 1, but training runs with 2; it has to be the same"#
        ]],
    );
    refused(
        small().num_entity_vectors(7),
        expect![[
            r#"training cannot begin with this model: its num_entity_vectors is 1000, but training runs with 7; it has to be the same"#
        ]],
    );
}

fn results(rows: &[AccessEvent]) -> impl Iterator<Item = Result<AccessEvent, String>> {
    rows.iter().cloned().map(Ok)
}

#[test]
fn rows_in_a_file_are_the_same_rows() {
    let folder = tempfile::tempdir().unwrap();
    let params = small().check().unwrap();
    let rows = users(5, 300);
    let model = |rows: &Dataset| {
        archive(
            &Training::new(&params, rows)
                .validation(rows)
                .run(&mut quiet)
                .unwrap()
                .model,
        )
    };
    let want = model(&Dataset::from_slice(&rows, &params));
    let path = folder.path().join("rows");
    let written = Dataset::to_file(results(&rows), &params, &path).unwrap();
    assert_eq!(written.len(), 1_500);
    assert_eq!(fs::metadata(&path).unwrap().len(), 64 + 8 * 1_500);
    assert_eq!(model(&written), want);
    assert_eq!(model(&Dataset::open(&path).unwrap()), want);
    assert_eq!(
        model(&Dataset::spilling(results(&rows), &params, folder.path()).unwrap()),
        want
    );
    // A source that fails leaves no file.
    let broken = results(&rows).chain([Err("line 13".to_owned())]);
    let other = folder.path().join("other");
    let error = Dataset::to_file(broken, &params, &other).unwrap_err();
    assert_eq!(error.to_string(), "line 13");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn what_is_no_file_of_rows() {
    let folder = tempfile::tempdir().unwrap();
    let params = small().check().unwrap();
    let path = folder.path().join("rows");
    let rows = Dataset::to_file(results(&users(2, 3)), &params, &path).unwrap();
    assert!(!rows.is_empty() && rows.num_entity_vectors() == 1_000);
    let good = fs::read(&path).unwrap();
    let check = |change: &dyn Fn(&mut Vec<u8>), want: Expect| {
        let mut bytes = good.clone();
        change(&mut bytes);
        fs::write(&path, bytes).unwrap();
        want.assert_eq(&chain(&Dataset::open(&path).unwrap_err(), folder.path()));
    };
    check(
        &|b| b.clear(),
        expect![[r#"`rows` is no file of rows: it does not begin as one"#]],
    );
    check(
        &|b| b[0] = b'x',
        expect![[r#"`rows` is no file of rows: it does not begin as one"#]],
    );
    check(
        &|b| b[16] = 2,
        expect![[r#"`rows` is no file of rows: it has version 2, this program reads version 1"#]],
    );
    check(
        &|b| b[50] = 2,
        expect![[r#"`rows` is no file of rows: its header has something where nothing belongs"#]],
    );
    check(
        &|b| b[28] = 9,
        expect![[
            r#"`rows` is no file of rows: num_entity_vectors must lie in 1..=250000000, got 38654706664"#
        ]],
    );
    check(
        &|b| b[32] = 7,
        expect![[
            r#"`rows` is no file of rows: it claims 7 rows, which its 112 bytes are not; maybe it was cut off"#
        ]],
    );
    check(
        &|b| b[39] = 255,
        expect![[
            r#"`rows` is no file of rows: it claims 18374686479671623686 rows, which its 112 bytes are not; maybe it was cut off"#
        ]],
    );
    check(
        &|b| b.truncate(100),
        expect![[
            r#"`rows` is no file of rows: it claims 6 rows, which its 100 bytes are not; maybe it was cut off"#
        ]],
    );
    // An entity beyond the table is found when the rows are read.
    let mut bytes = good.clone();
    bytes[64..68].copy_from_slice(&1_000_u32.to_le_bytes());
    fs::write(&path, bytes).unwrap();
    let rows = Dataset::open(&path).unwrap();
    let error = Training::new(&params, &rows).run(&mut quiet).unwrap_err();
    expect![[
        r#"the train rows cannot be read from their file: row 1 names entity vector 1000, but there are 1000"#
    ]]
    .assert_eq(&chain(&error, folder.path()));
    fs::remove_file(&path).unwrap();
    expect![[r#"the rows cannot be read from `rows`: No such file or directory (os error 2)"#]]
        .assert_eq(&chain(&Dataset::open(&path).unwrap_err(), folder.path()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]

    #[test]
    fn resumed_on_another_number_of_threads_the_bytes_are_the_same(seed: u64, layers in 0..3_u32, stop in 1..20_usize) {
        let params = small().num_ip_encoder_layers(layers).mini_batch_size(900).epochs(2).check().unwrap();
        let rows = Dataset::from_slice(&users(20, 100), &params);
        let training = |threads| Training::new(&params, &rows).options(TrainOptions { seed, threads });
        let want = archive(&training(1).run(&mut quiet).unwrap().model);
        for (first, second) in [(1, 2), (4, 1), (2, 4)] {
            let folder = tempfile::tempdir().unwrap();
            let checkpoints = || Checkpoints::in_folder(folder.path());
            let mut heard = 0;
            let outcome = training(first).checkpoints(checkpoints()).run(&mut |_| {
                heard += 1;
                if heard > stop { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            let model = match outcome {
                Ok(trained) => trained.model,
                Err(_) => training(second).checkpoints(checkpoints()).run(&mut quiet).unwrap().model,
            };
            prop_assert_eq!(&archive(&model), &want);
        }
    }
}
