//! What a model archive looks like, and what is refused.
#![cfg(feature = "engine")]
#![expect(
    clippy::unwrap_used,
    reason = "tests; the lint knows only test functions, not their helpers"
)]

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{Read, Write};
use std::ops::ControlFlow;

use access_events::AccessEvent;
use expect_test::{Expect, expect};
use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use ipinsights::{
    ArchiveError, Detector, HistoryBuilder, Hyperparameters, KnownEntities, Model, Score, TrainOptions,
};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde_json::{Value, json};

const DESCRIPTION: &str = "model.json";
const TENSORS: &str = "model.safetensors";

fn model() -> Model {
    let params = Hyperparameters::draft(100)
        .vector_dim(4)
        .learning_rate(0.05)
        .epochs(20)
        .check()
        .unwrap();
    let rows =
        ["192.0.2.1", "192.0.2.9", "198.51.100.7"].map(|ip| AccessEvent::new("ana", ip.parse().unwrap()));
    let options = TrainOptions { seed: 1, threads: 1 };
    ipinsights::train(&params, &rows, None, &options, &mut |_| ControlFlow::Continue(())).unwrap()
}

fn archive() -> Vec<u8> {
    let mut bytes = Vec::new();
    model().write_archive(&mut bytes).unwrap();
    bytes
}

fn tar_of(archive: &[u8]) -> Vec<u8> {
    let mut tar = Vec::new();
    GzDecoder::new(archive).read_to_end(&mut tar).unwrap();
    tar
}

fn gzip(tar: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(tar).unwrap();
    gzip.finish().unwrap()
}

fn file(name: &str) -> Vec<u8> {
    let tar = tar_of(&archive());
    let mut tar = tar::Archive::new(&tar[..]);
    let mut entries = tar.entries().unwrap().map(Result::unwrap);
    let mut entry = entries.find(|e| e.path_bytes() == name.as_bytes()).unwrap();
    let mut content = Vec::new();
    entry.read_to_end(&mut content).unwrap();
    content
}

struct Entry<'a> {
    name: &'a str,
    kind: tar::EntryType,
    data: Vec<u8>,
}

fn plain(name: &str, data: Vec<u8>) -> Entry<'_> {
    Entry {
        name,
        kind: tar::EntryType::Regular,
        data,
    }
}

fn pack(entries: Vec<Entry<'_>>) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for Entry { name, kind, data } in entries {
        let mut header = tar::Header::new_ustar();
        // Names that `set_path` refuses to write, too.
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(kind);
        header.set_size(data.len() as u64);
        header.set_mode(0o644);
        if kind == tar::EntryType::Symlink {
            header.set_link_name("/etc/passwd").unwrap();
        }
        header.set_cksum();
        tar.append(&header, &data[..]).unwrap();
    }
    gzip(&tar.into_inner().unwrap())
}

/// The whole chain of causes, as a program prints it.
fn refusal(archive: &[u8]) -> String {
    let error = Model::read_archive(archive).unwrap_err();
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text += &format!(": {cause}");
        source = cause.source();
    }
    text
}

fn check(archive: &[u8], want: Expect) {
    want.assert_eq(&refusal(archive));
}

/// Reads an archive with a changed `model.json`.
fn check_description(change: impl Fn(&mut Value), want: Expect) {
    let mut description: Value = serde_json::from_slice(&file(DESCRIPTION)).unwrap();
    change(&mut description);
    let description = serde_json::to_vec(&description).unwrap();
    check(
        &pack(vec![
            plain(DESCRIPTION, description),
            plain(TENSORS, file(TENSORS)),
        ]),
        want,
    );
}

type Tensors = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

fn check_tensors(change: impl Fn(&mut Tensors), want: Expect) {
    check(&with_tensors(change), want);
}

/// An archive with changed tensors.
fn with_tensors(change: impl Fn(&mut Tensors)) -> Vec<u8> {
    let bytes = file(TENSORS);
    let mut tensors: Tensors = SafeTensors::deserialize(&bytes)
        .unwrap()
        .tensors()
        .into_iter()
        .map(|(name, t)| (name, (t.dtype(), t.shape().to_vec(), t.data().to_vec())))
        .collect();
    change(&mut tensors);
    let views = tensors
        .iter()
        .map(|(name, (dtype, shape, data))| (name, TensorView::new(*dtype, shape.clone(), data).unwrap()));
    let bytes = safetensors::serialize(views, None).unwrap();
    pack(vec![plain(DESCRIPTION, file(DESCRIPTION)), plain(TENSORS, bytes)])
}

#[test]
fn description_and_tensors() {
    expect![[r#"
        {
          "format": "ipinsights-model",
          "format_version": 2,
          "hyperparameters": {
            "batch_metrics_publish_interval": "1000",
            "epochs": "20",
            "learning_rate": "0.05",
            "mini_batch_size": "10000",
            "num_entity_vectors": "100",
            "num_ip_encoder_layers": "1",
            "random_negative_sampling_rate": "1",
            "shuffled_negative_sampling_rate": "1",
            "vector_dim": "4",
            "weight_decay": "0.00001"
          },
          "encoder": {
            "entity_hash": "fnv1a64-fmix64",
            "levels": 8,
            "range_width": 32,
            "activation": "tanh"
          },
          "seed": "1",
          "counts": {
            "training_rows": 3,
            "trained_entity_vectors": 1,
            "range_vectors": 458,
            "weights": 15692
          }
        }
    "#]]
    .assert_eq(&String::from_utf8(file(DESCRIPTION)).unwrap());
    let bytes = file(TENSORS);
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let mut list: Vec<String> = tensors
        .iter()
        .map(|(name, t)| format!("{name} {:?} {:?}\n", t.dtype(), t.shape()))
        .collect();
    list.sort();
    expect![[r#"
        entity.common F32 [4]
        entity.rows U32 [1]
        entity.vectors F32 [1, 4]
        output.bias F32 [4]
        output.weights F32 [256, 4]
        range.0.rows U32 [64]
        range.0.starts U32 [64]
        range.0.vectors F32 [64, 32]
        range.1.rows U32 [128]
        range.1.starts U32 [128]
        range.1.vectors F32 [128, 32]
        range.2.rows U32 [256]
        range.2.starts U32 [256]
        range.2.vectors F32 [256, 32]
        range.3.rows U32 [5]
        range.3.starts U32 [5]
        range.3.vectors F32 [2, 32]
        range.4.rows U32 [5]
        range.4.starts U32 [5]
        range.4.vectors F32 [2, 32]
        range.5.rows U32 [5]
        range.5.starts U32 [5]
        range.5.vectors F32 [2, 32]
        range.6.rows U32 [5]
        range.6.starts U32 [5]
        range.6.vectors F32 [2, 32]
        range.7.rows U32 [5]
        range.7.starts U32 [5]
        range.7.vectors F32 [2, 32]
    "#]]
    .assert_eq(&list.concat());
}

/// A tiny golden model: bytes that change between versions or machines are noticed.
#[test]
fn scores_of_a_golden_model() {
    let model = model();
    let scores =
        ["192.0.2.1", "192.0.77.1", "8.8.8.8"].map(|ip| model.score("ana", ip.parse().unwrap()).to_string());
    expect!["-0.12721217 -0.32787308 -0.41254056"].assert_eq(&scores.join(" "));
}

#[test]
fn the_same_model_has_the_same_bytes_and_no_time_in_them() {
    let bytes = archive();
    assert_eq!(bytes, archive());
    // The fixed header of gzip: method 8, no flags, time 0, level fast, system unknown.
    assert_eq!(bytes[..10], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 255]);
    let tar = tar_of(&bytes);
    let mut tar = tar::Archive::new(&tar[..]);
    for entry in tar.entries().unwrap() {
        let entry = entry.unwrap();
        let header = entry.header();
        let numbers = (
            header.mtime().unwrap(),
            header.uid().unwrap(),
            header.mode().unwrap(),
        );
        assert_eq!(numbers, (0, 0, 0o644));
    }
}

#[test]
fn every_truncation_is_refused() {
    let bytes = archive();
    for length in (0..bytes.len()).step_by(bytes.len() / 400) {
        Model::read_archive(&bytes[..length]).unwrap_err();
    }
    // And of what is inside.
    let tar = tar_of(&bytes);
    for length in (0..tar.len() - 2_000).step_by(tar.len() / 200) {
        Model::read_archive(&gzip(&tar[..length])[..]).unwrap_err();
    }
    check(
        &[],
        expect!["the model archive cannot be read: unexpected end of file"],
    );
    check(
        &bytes[..bytes.len() / 2],
        expect!["the model archive cannot be read: incomplete deflate stream"],
    );
    check(
        &bytes[..bytes.len() - 1],
        expect!["the model archive cannot be read: unexpected end of file"],
    );
}

#[test]
fn a_flipped_bit_is_refused_or_harmless() {
    let bytes = archive();
    let original = model();
    for i in (0..bytes.len()).step_by(bytes.len() / 300).chain(0..40) {
        let mut flipped = bytes.clone();
        flipped[i] ^= 1 << (i % 8);
        match Model::read_archive(&flipped[..]) {
            Err(_) => {}
            // The gzip header has fields, such as the time, that say nothing about the content.
            Ok(model) => assert!(i < 10 && model == original, "byte {i}"),
        }
    }
    // Without the checksum of gzip around it: never a panic, never a model of another size.
    let tar = tar_of(&bytes);
    for i in (0..3_500).chain((3_500..tar.len()).step_by(997)) {
        let mut flipped = tar.clone();
        flipped[i] ^= 1 << (i % 8);
        if let Ok(model) = Model::read_archive(&gzip(&flipped)[..]) {
            assert_eq!(model.weights(), original.weights(), "byte {i}");
        }
    }
}

#[test]
fn what_is_no_archive() {
    check(
        b"entity,10.0.0.1\n",
        expect!["the model archive cannot be read: invalid gzip header"],
    );
    check(
        &gzip(b""),
        expect!["the model archive has no `model.json`; maybe it is the archive of another algorithm"],
    );
    check(
        &gzip(&[b'x'; 2_000]),
        expect![
            "the model archive cannot be read: numeric field was not a number: xxxxxxxx when getting cksum for xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
        ],
    );
}

#[test]
fn other_files_and_places() {
    let (description, tensors) = (file(DESCRIPTION), file(TENSORS));
    check(
        &pack(vec![plain("../model.json", description.clone())]),
        expect!["entry 1 of the model archive is `../model.json`, expected `model.json`"],
    );
    check(
        &pack(vec![plain("/etc/cron.d/x", description.clone())]),
        expect!["entry 1 of the model archive is `/etc/cron.d/x`, expected `model.json`"],
    );
    check(
        &pack(vec![plain("model_algo-1", vec![1; 100])]),
        expect!["entry 1 of the model archive is `model_algo-1`, expected `model.json`"],
    );
    check(
        &pack(vec![
            plain(TENSORS, tensors.clone()),
            plain(DESCRIPTION, description.clone()),
        ]),
        expect!["entry 1 of the model archive is `model.safetensors`, expected `model.json`"],
    );
    check(
        &pack(vec![plain(DESCRIPTION, description.clone())]),
        expect!["the model archive has no `model.safetensors`; maybe it is the archive of another algorithm"],
    );
    check(
        &pack(vec![
            plain(DESCRIPTION, description.clone()),
            plain(DESCRIPTION, description.clone()),
        ]),
        expect!["entry 2 of the model archive is `model.json`, expected `model.safetensors`"],
    );
    for more in ["more", TENSORS] {
        check(
            &pack(vec![
                plain(DESCRIPTION, description.clone()),
                plain(TENSORS, tensors.clone()),
                plain(more, vec![1]),
            ]),
            expect!["the model archive goes on after its last file"],
        );
    }
}

fn files_of(archive: &[u8]) -> Vec<(String, Vec<u8>)> {
    let tar = tar_of(archive);
    let mut tar = tar::Archive::new(&tar[..]);
    let entries = tar.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let name = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        (name, content)
    });
    entries.collect()
}

/// A model with all that can go with it.
fn whole_model() -> Model {
    let mut model = model();
    let rows = [AccessEvent::new("ana", [192, 0, 2, 1].into())];
    model.set_known_entities(Some(KnownEntities::from_names(["ana"])));
    model.set_history(Some(HistoryBuilder::of_events(&rows).unwrap()));
    let held_out: Vec<Score> = (0..99_u8).map(|i| Score::new(f32::from(i))).collect();
    model.set_detector(Some(Detector::calibrate(&held_out, 0.1).unwrap()));
    model
}

#[test]
fn parts_are_read_as_they_were_written_in_any_selection() {
    let whole = whole_model();
    for selection in 0..8 {
        let mut model = whole.clone();
        if selection & 1 > 0 {
            model.set_known_entities(None);
        }
        if selection & 2 > 0 {
            model.set_detector(None);
        }
        if selection & 4 > 0 {
            model.set_history(None);
        }
        let mut bytes = Vec::new();
        model.write_archive(&mut bytes).unwrap();
        assert_eq!(Model::read_archive(&bytes[..]).unwrap(), model, "{selection}");
    }
}

#[test]
fn recalibration_leaves_all_other_bytes_alone() {
    let mut bytes = Vec::new();
    whole_model().write_archive(&mut bytes).unwrap();
    let mut model = Model::read_archive(&bytes[..]).unwrap();
    let stricter = model.detector().unwrap().with_rate(0.02).unwrap();
    model.set_detector(Some(stricter));
    let mut again = Vec::new();
    model.write_archive(&mut again).unwrap();
    let (before, after) = (files_of(&bytes), files_of(&again));
    let names: Vec<&str> = after.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        [
            DESCRIPTION,
            TENSORS,
            "entities.safetensors",
            "calibration.safetensors",
            "history.safetensors"
        ]
    );
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(before.0, after.0);
        assert_eq!(
            before.1 == after.1,
            before.0 != "calibration.safetensors",
            "{}",
            before.0
        );
    }
}

#[test]
fn broken_parts_are_refused_by_name() {
    let mut bytes = Vec::new();
    whole_model().write_archive(&mut bytes).unwrap();
    let files = files_of(&bytes);
    let with = |index: usize, name: &str, content: Vec<u8>| {
        let changed = files.iter().enumerate().map(|(i, file)| match i == index {
            true => plain(name, content.clone()),
            false => plain(&file.0, file.1.clone()),
        });
        pack(changed.collect())
    };
    check(
        &with(3, "calibration.safetensors", b"no".to_vec()),
        expect![
            "`calibration.safetensors` in the model archive is malformed: it is no file of tensors: header too small"
        ],
    );
    check(
        &with(4, "history.safetensors", files[2].1.clone()),
        expect![
            "`history.safetensors` in the model archive is malformed: its description is malformed: unknown field `fingerprint`, expected one of `format`, `format_version`, `prefix`, `times` at line 1 column 64"
        ],
    );
    // In another order, and twice.
    check(
        &with(2, "history.safetensors", files[4].1.clone()),
        expect!["the model archive goes on after its last file"],
    );
    check(
        &with(3, "entities.safetensors", files[2].1.clone()),
        expect!["the model archive goes on after its last file"],
    );
}

#[test]
fn only_plain_files() {
    for kind in [
        tar::EntryType::Symlink,
        tar::EntryType::Link,
        tar::EntryType::Directory,
        tar::EntryType::Fifo,
        tar::EntryType::Char,
        tar::EntryType::GNULongName,
        tar::EntryType::XHeader,
        tar::EntryType::GNUSparse,
    ] {
        let archive = pack(vec![Entry {
            name: DESCRIPTION,
            kind,
            data: Vec::new(),
        }]);
        assert_eq!(
            refusal(&archive),
            "entry 1 of the model archive is no plain file",
            "{kind:?}"
        );
    }
}

#[test]
fn claimed_sizes_are_checked_before_memory_is_taken() {
    let claim = |name: &str, size: u64, before: Vec<Entry<'_>>| {
        let mut tar = tar::Builder::new(Vec::new());
        for entry in before {
            let mut header = tar::Header::new_ustar();
            header.set_path(entry.name).unwrap();
            header.set_size(entry.data.len() as u64);
            header.set_cksum();
            tar.append(&header, &entry.data[..]).unwrap();
        }
        let mut header = tar::Header::new_ustar();
        header.set_path(name).unwrap();
        header.set_size(size);
        header.set_cksum();
        tar.append(&header, &[][..]).unwrap();
        gzip(&tar.into_inner().unwrap())
    };
    check(
        &claim(DESCRIPTION, 1 << 40, vec![]),
        expect!["`model.json` in the model archive claims 1099511627776 bytes, more than the limit of 65536"],
    );
    let description = || vec![plain(DESCRIPTION, file(DESCRIPTION))];
    check(
        &claim(TENSORS, 9 << 30, description()),
        expect![
            "`model.safetensors` in the model archive claims 9663676416 bytes, more than the limit of 8589934592"
        ],
    );
    // Within the limit, but nothing follows.
    check(
        &claim(TENSORS, 8 << 30, description()),
        expect!["the model archive cannot be read: unexpected end of file"],
    );
    let error = Model::read_archive_limited(&archive()[..], 1_000)
        .unwrap_err()
        .to_string();
    expect!["`model.safetensors` in the model archive claims 68724 bytes, more than the limit of 1000"]
        .assert_eq(&error);
    // A header of safetensors that claims more than there is.
    let mut tensors = file(TENSORS);
    tensors[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    check(
        &pack(vec![
            plain(DESCRIPTION, file(DESCRIPTION)),
            plain(TENSORS, tensors),
        ]),
        expect!["`model.safetensors` in the model archive is malformed: header too large"],
    );
}

#[test]
fn data_after_the_end() {
    let mut two = archive();
    two.extend(archive());
    check(&two, expect!["the model archive goes on after its last file"]);
    let mut tar = tar_of(&archive());
    tar.extend(b"more");
    check(
        &gzip(&tar),
        expect!["the model archive goes on after its last file"],
    );
    tar.truncate(tar.len() - 4);
    tar.resize(tar.len() + (2 << 20), 0);
    check(
        &gzip(&tar),
        expect!["the model archive goes on after its last file"],
    );
    // Other programs pad to whole records.
    tar.truncate(tar.len() - (2 << 20) + 10_240);
    assert_eq!(Model::read_archive(&gzip(&tar)[..]).unwrap(), model());
}

#[test]
fn descriptions_that_do_not_fit() {
    check_description(
        |d| d["format_version"] = json!(3),
        expect![
            "the model archive has format `ipinsights-model` version 3, this program reads `ipinsights-model` version 2: train the model again"
        ],
    );
    check_description(
        |d| d["format"] = json!("xgboost"),
        expect![
            "the model archive has format `xgboost` version 2, this program reads `ipinsights-model` version 2: train the model again"
        ],
    );
    check_description(
        |d| d["format_version"] = json!("2"),
        expect![[
            r#"`model.json` in the model archive is malformed: invalid type: string "2", expected u32 at line 1 column 49"#
        ]],
    );
    check_description(
        |d| d["surprise"] = json!(1),
        expect![
            "`model.json` in the model archive is malformed: unknown field `surprise`, expected one of `format`, `format_version`, `hyperparameters`, `encoder`, `seed`, `counts` at line 1 column 546"
        ],
    );
    check_description(
        |d| d["seed"] = json!("-1"),
        expect!["the model archive's seed is `-1`, this program reads a whole number below 2^64"],
    );
    check_description(
        |d| d["hyperparameters"]["vector_dim"] = json!("3"),
        expect!["the model archive has invalid hyperparameters: vector_dim must lie in 4..=4096, got 3"],
    );
    check_description(
        |d| d["hyperparameters"]["vector_dim"] = json!("5"),
        expect!["tensor `entity.vectors` of the model archive is F32 [1, 4], expected F32 [1, 5]"],
    );
    check_description(
        |d| d["hyperparameters"]["num_ip_encoder_layers"] = json!("2"),
        expect!["tensor `hidden.0.weights` of the model archive is missing, expected F32 [256, 256]"],
    );
    check_description(
        |d| d["hyperparameters"]["num_ip_encoder_layers"] = json!("0"),
        expect!["tensor `range.0.vectors` of the model archive is F32 [64, 32], expected F32 [64, 4]"],
    );
    check_description(
        |d| d["hyperparameters"]["num_entity_vectors"] = json!("1"),
        expect!["tensor `entity.rows` of the model archive does not hold ascending numbers below 1"],
    );
    check_description(
        |d| d["hyperparameters"]["epoch"] = json!("3"),
        expect!["the model archive's hyperparameter is `epoch`, this program reads the documented names"],
    );
    check_description(
        |d| d["counts"]["weights"] = json!(1),
        expect![[
            r#"the model archive's list of counts is {"training_rows":3,"trained_entity_vectors":1,"range_vectors":458,"weights":1}, this program reads {"training_rows":3,"trained_entity_vectors":1,"range_vectors":458,"weights":15692} of its tensors"#
        ]],
    );
    check_description(
        |d| d["encoder"]["activation"] = json!("relu"),
        expect!["the model archive's activation is `relu`, this program reads `tanh`"],
    );
    check_description(
        |d| d["encoder"]["range_width"] = json!(64),
        expect!["the model archive's range_width is 64, this program reads 32"],
    );
    for levels in [0, 1_000_000] {
        let want = format!("the model archive's number of levels is {levels}, this program reads 1 to 32");
        let mut description: Value = serde_json::from_slice(&file(DESCRIPTION)).unwrap();
        description["encoder"]["levels"] = json!(levels);
        let description = serde_json::to_vec(&description).unwrap();
        let packed = pack(vec![
            plain(DESCRIPTION, description),
            plain(TENSORS, file(TENSORS)),
        ]);
        assert_eq!(refusal(&packed), want);
    }
    check_description(
        |d| d["encoder"]["levels"] = json!(9),
        expect!["tensor `range.8.starts` of the model archive is missing, expected a list of u32"],
    );
    // What version 1 had, which this one does not read.
    check_description(
        |d| {
            d["format_version"] = json!(1);
            d["encoder"]["prefix_hash"] = json!("fibonacci32");
        },
        expect![
            "the model archive has format `ipinsights-model` version 1, this program reads `ipinsights-model` version 2: train the model again"
        ],
    );
}

#[test]
fn tensors_that_do_not_fit() {
    check_tensors(
        |t| drop(t.remove("output.bias")),
        expect!["tensor `output.bias` of the model archive is missing, expected F32 [4]"],
    );
    check_tensors(
        |t| {
            let bias = t["output.bias"].clone();
            t.insert("surprise".to_owned(), bias);
        },
        expect!["tensor `(all)` of the model archive is 30 tensors, expected 29"],
    );
    check_tensors(
        |t| t.get_mut("output.bias").unwrap().0 = Dtype::U32,
        expect!["tensor `output.bias` of the model archive is U32 [4], expected F32 [4]"],
    );
    check_tensors(
        |t| t.get_mut("entity.vectors").unwrap().1 = vec![4, 1],
        expect!["tensor `entity.vectors` of the model archive is F32 [4, 1], expected F32 [1, 4]"],
    );
    let first_two = |name: &'static str, numbers: [u32; 2]| {
        move |t: &mut Tensors| {
            let bytes = numbers.into_iter().flat_map(u32::to_le_bytes);
            for (to, byte) in t.get_mut(name).unwrap().2.iter_mut().zip(bytes) {
                *to = byte;
            }
        }
    };
    check_tensors(
        first_two("range.0.starts", [0, 0]),
        expect![
            "tensor `range.0.starts` of the model archive does not hold ascending numbers below 4294967296"
        ],
    );
    check_tensors(
        first_two("range.0.starts", [7, 6]),
        expect![
            "tensor `range.0.starts` of the model archive does not hold ascending numbers below 4294967296"
        ],
    );
    check_tensors(
        first_two("range.0.starts", [1, 2]),
        expect!["tensor `range.0.starts` of the model archive does not begin with the first address, 0"],
    );
    // Of 64 ranges, no row is beyond the 63rd; without the last one the table would have another size.
    check_tensors(
        first_two("range.0.rows", [0, 64]),
        expect![
            "tensor `range.0.rows` of the model archive holds a row that is not below 64, the number of its ranges"
        ],
    );
    check_tensors(
        first_two("range.7.rows", [u32::MAX, 4]),
        expect!["tensor `range.7.vectors` of the model archive is F32 [2, 32], expected F32 [5, 32]"],
    );
}

#[test]
fn weights_that_are_not_finite() {
    for weight in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for tensor in ["entity.vectors", "range.7.vectors", "output.weights"] {
            let archive = with_tensors(|t| {
                t.get_mut(tensor).unwrap().2[4..8].copy_from_slice(&weight.to_le_bytes());
            });
            let want = format!("tensor `{tensor}` of the model archive holds a weight that is not finite");
            assert_eq!(refusal(&archive), want);
        }
    }
}

#[test]
fn a_failing_writer_is_an_error() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let error = model().write_archive(Full).unwrap_err();
    assert_eq!(error.to_string(), "the model archive cannot be written");
}

type Reader = fn(&std::path::Path) -> Result<Model, ipinsights::ArchiveError>;

/// Every way to read a folder, with its name.
fn readers() -> Vec<(&'static str, Reader)> {
    vec![
        ("read", Model::read_folder),
        #[cfg(feature = "mmap")]
        ("mapped", Model::map_folder),
    ]
}

#[test]
fn a_folder_is_what_an_archive_unpacks_to() {
    let folder = tempfile::tempdir().unwrap();
    let (folder, model) = (folder.path().join("model"), model());
    model.write_folder(&folder).unwrap();
    assert_eq!(
        std::fs::read(folder.join(DESCRIPTION)).unwrap(),
        file(DESCRIPTION)
    );
    assert_eq!(std::fs::read(folder.join(TENSORS)).unwrap(), file(TENSORS));
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 2);
    for (how, read) in readers() {
        let read = read(&folder).unwrap();
        assert_eq!(read, model, "{how}");
        let mut bytes = Vec::new();
        read.write_archive(&mut bytes).unwrap();
        assert_eq!(bytes, archive(), "{how}");
        // A model that was read can be trained on, wherever its numbers are.
        let params = read.hyperparameters().clone();
        let rows = [AccessEvent::new("ben", [10, 0, 0, 1].into())];
        let rows = ipinsights::Dataset::from_slice(&rows, &params);
        let training = ipinsights::Training::new(&params, &rows).warm_start(&read);
        let trained = training.run(&mut |_| ControlFlow::Continue(())).unwrap();
        assert!(trained.model.knows_entity("ana") && trained.model.knows_entity("ben"));
    }
}

#[test]
fn what_goes_with_a_model_goes_into_its_folder_and_out_again() {
    let folder = tempfile::tempdir().unwrap();
    let whole = whole_model();
    whole.write_folder(folder.path()).unwrap();
    for (how, read) in readers() {
        assert_eq!(read(folder.path()).unwrap(), whole, "{how}");
    }
    // Nothing of it is left for a model that comes without.
    model().write_folder(folder.path()).unwrap();
    for (how, read) in readers() {
        assert_eq!(read(folder.path()).unwrap(), model(), "{how}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
}

#[test]
fn folders_that_hold_no_model() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    model().write_folder(folder).unwrap();
    let check = |want: Expect| {
        for (how, read) in readers() {
            let error = read(folder).unwrap_err();
            let text = match error.source() {
                Some(source) => format!("{error}: {source}"),
                None => error.to_string(),
            };
            assert_eq!(text, want.data, "{how}");
        }
    };
    let (description, tensors) = (folder.join(DESCRIPTION), folder.join(TENSORS));
    let good = std::fs::read(&tensors).unwrap();
    std::fs::write(&tensors, &good[..good.len() - 1]).unwrap();
    check(expect![
        "`model.safetensors` in the model archive is malformed: incomplete metadata, file not fully covered"
    ]);
    std::fs::write(&tensors, b"").unwrap();
    check(expect![
        "`model.safetensors` in the model archive is malformed: header too small"
    ]);
    let mut bad = good.clone();
    let end = bad.len();
    bad[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    std::fs::write(&tensors, &bad).unwrap();
    for (how, read) in readers() {
        let error = read(folder).unwrap_err();
        assert!(
            matches!(
                error,
                ipinsights::ArchiveError::Tensor { .. }
                    | ipinsights::ArchiveError::NotFinite { .. }
                    | ipinsights::ArchiveError::Rows { .. }
            ),
            "{how}: {error}"
        );
    }
    std::fs::remove_file(&tensors).unwrap();
    check(expect![
        "the model archive has no `model.safetensors`; maybe it is the archive of another algorithm"
    ]);
    std::fs::create_dir(&tensors).unwrap();
    check(expect!["`model.safetensors` of the model is no plain file"]);
    std::fs::remove_dir(&tensors).unwrap();
    #[cfg(unix)]
    {
        let elsewhere = tempfile::tempdir().unwrap();
        let target = elsewhere.path().join("x");
        std::fs::write(&target, &good).unwrap();
        std::os::unix::fs::symlink(&target, &tensors).unwrap();
        check(expect!["`model.safetensors` of the model is no plain file"]);
        std::fs::remove_file(&tensors).unwrap();
    }
    std::fs::write(&tensors, &good).unwrap();
    std::fs::write(&description, vec![b' '; 70_000]).unwrap();
    check(expect![
        "`model.json` in the model archive claims 70000 bytes, more than the limit of 65536"
    ]);
    std::fs::write(&description, b"{}").unwrap();
    check(expect![
        "`model.json` in the model archive is malformed: missing field `format` at line 1 column 2"
    ]);
    std::fs::remove_file(&description).unwrap();
    check(expect![
        "the model archive has no `model.json`; maybe it is the archive of another algorithm"
    ]);
}

/// The model is small, but an address is looked for among the ranges of all levels at once.
#[test]
fn what_ranges_take_in_memory_has_the_same_limit() {
    let params = Hyperparameters::draft(100)
        .vector_dim(4)
        .num_ip_encoder_layers(0)
        .epochs(1)
        .check()
        .unwrap();
    let rows: Vec<_> = (0..500_u32)
        .map(|i| AccessEvent::new("ana", (i << 23).into()))
        .collect();
    let options = TrainOptions { seed: 1, threads: 1 };
    let model =
        ipinsights::train(&params, &rows, None, &options, &mut |_| ControlFlow::Continue(())).unwrap();
    let mut archive = Vec::new();
    model.write_archive(&mut archive).unwrap();
    let read = |limit| Model::read_archive_limited(&archive[..], limit);
    let ArchiveError::TooLarge { size, .. } = read(0).unwrap_err() else {
        panic!("the tensors are larger than nothing");
    };
    let ArchiveError::TooManyRanges { bytes, limit } = read(size).unwrap_err() else {
        panic!("the ranges take more than {size} bytes");
    };
    assert_eq!(limit, size);
    assert!(bytes > size);
    assert!(read(bytes - 1).is_err());
    assert_eq!(read(bytes).unwrap(), model);
}
