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
use ipinsights::{Hyperparameters, Model, TrainOptions};
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
            "levels": 2,
            "range_width": 32,
            "activation": "tanh"
          },
          "seed": "1",
          "counts": {
            "training_rows": 3,
            "trained_entity_vectors": 1,
            "ranges": 320,
            "weights": 10508
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
        output.weights F32 [64, 4]
        range.0.starts U32 [64]
        range.0.vectors F32 [64, 32]
        range.1.starts U32 [256]
        range.1.vectors F32 [256, 32]
    "#]]
    .assert_eq(&list.concat());
}

/// A tiny golden model: bytes that change between versions or machines are noticed.
#[test]
fn scores_of_a_golden_model() {
    let model = model();
    let scores =
        ["192.0.2.1", "192.0.77.1", "8.8.8.8"].map(|ip| model.score("ana", ip.parse().unwrap()).to_string());
    expect!["-0.5144137 -0.5144137 -0.66406775"].assert_eq(&scores.join(" "));
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
    check(
        &pack(vec![
            plain(DESCRIPTION, description),
            plain(TENSORS, tensors),
            plain("more", vec![1]),
        ]),
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
    expect!["`model.safetensors` in the model archive claims 43980 bytes, more than the limit of 1000"]
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
        |d| d["format_version"] = json!(1),
        expect![
            "the model archive has format `ipinsights-model` version 1, this program reads `ipinsights-model` version 2"
        ],
    );
    check_description(
        |d| d["format"] = json!("xgboost"),
        expect![
            "the model archive has format `xgboost` version 2, this program reads `ipinsights-model` version 2"
        ],
    );
    check_description(
        |d| d["format_version"] = json!("1"),
        expect![[
            r#"`model.json` in the model archive is malformed: invalid type: string "1", expected u32 at line 1 column 49"#
        ]],
    );
    check_description(
        |d| d["surprise"] = json!(1),
        expect![
            "`model.json` in the model archive is malformed: unknown field `surprise`, expected one of `format`, `format_version`, `hyperparameters`, `encoder`, `seed`, `counts` at line 1 column 539"
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
        expect!["tensor `hidden.0.weights` of the model archive is missing, expected F32 [64, 64]"],
    );
    check_description(
        |d| d["hyperparameters"]["num_ip_encoder_layers"] = json!("0"),
        expect!["tensor `range.0.vectors` of the model archive is F32 [64, 32], expected F32 [64, 4]"],
    );
    check_description(
        |d| d["hyperparameters"]["num_entity_vectors"] = json!("1"),
        expect!["tensor `entity.rows` of the model archive does not hold ascending row numbers below 1"],
    );
    check_description(
        |d| d["hyperparameters"]["epoch"] = json!("3"),
        expect!["the model archive's hyperparameter is `epoch`, this program reads the documented names"],
    );
    check_description(
        |d| d["encoder"]["activation"] = json!("relu"),
        expect!["the model archive's activation is `relu`, this program reads `tanh`"],
    );
    check_description(
        |d| d["encoder"]["range_width"] = json!(64),
        expect!["the model archive's range_width is 64, this program reads 32"],
    );
    check_description(
        |d| d["encoder"]["levels"] = json!(0),
        expect!["the model archive's levels is 0, this program reads 1 to 64"],
    );
    check_description(
        |d| d["encoder"]["levels"] = json!(1_000_000),
        expect!["the model archive's levels is 1000000, this program reads 1 to 64"],
    );
    check_description(
        |d| d["encoder"]["levels"] = json!(9),
        expect!["tensor `range.2.starts` of the model archive is missing, expected a list of u32"],
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
        expect!["tensor `(all)` of the model archive is 10 tensors, expected 9"],
    );
    check_tensors(
        |t| t.get_mut("output.bias").unwrap().0 = Dtype::U32,
        expect!["tensor `output.bias` of the model archive is U32 [4], expected F32 [4]"],
    );
    check_tensors(
        |t| t.get_mut("entity.vectors").unwrap().1 = vec![4, 1],
        expect!["tensor `entity.vectors` of the model archive is F32 [4, 1], expected F32 [1, 4]"],
    );
    let first_two = |rows: [u32; 2]| {
        move |t: &mut Tensors| {
            for (bytes, row) in t
                .get_mut("range.0.starts")
                .unwrap()
                .2
                .chunks_exact_mut(4)
                .zip(rows)
            {
                bytes.copy_from_slice(&row.to_le_bytes());
            }
        }
    };
    for rows in [[0, 0], [7, 6]] {
        check_tensors(
            first_two(rows),
            expect![
                "tensor `range.0.starts` of the model archive does not hold ascending row numbers below 4294967296"
            ],
        );
    }
    check_tensors(
        first_two([1, 2]),
        expect![
            "the ranges of tensor `range.0.starts` of the model archive do not begin with the first address"
        ],
    );
}

#[test]
fn weights_that_are_not_finite() {
    for weight in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for tensor in ["entity.vectors", "range.1.vectors", "output.weights"] {
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
