//! `tune` and `advise`, as a person or a script starts them.

use std::fmt::Write;

use serde_json::Value;

use crate::support::{failure, json, output};

/// Three entities, each with a network of its own.
fn rows() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, from, to) in [("train.csv", 0, 40), ("validation.csv", 40, 60)] {
        let mut text = String::new();
        for i in from..to {
            for (entity, network) in [("ana", "192.0.2"), ("ben", "198.51.100"), ("cem", "203.0.113")] {
                writeln!(text, "{entity},{network}.{i}").unwrap();
            }
        }
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

/// A search that takes no time.
const TUNE: [&str; 16] = [
    "tune",
    "--data",
    "train.csv",
    "--validation",
    "validation.csv",
    "-r",
    "learning_rate",
    "-r",
    "vector_dim=8..16",
    "-p",
    "epochs=4",
    "--trials",
    "4",
    "--quiet",
    "--format",
    "json",
];

/// Without what depends on the clock.
fn timeless(mut answer: Value) -> Value {
    for trial in answer["trials"].as_array_mut().unwrap() {
        trial["seconds"] = Value::Null;
    }
    answer
}

#[test]
fn the_best_model_is_kept_and_a_second_run_is_the_same() {
    let first = rows();
    let answer = json(&output(first.path(), &TUNE));
    assert_eq!(answer["version"], 1);
    assert_eq!(answer["objective"], "validation:discriminator_auc");
    assert_eq!(
        answer["strategy"],
        serde_json::json!({"type": "random", "trials": 4})
    );
    let trials = answer["trials"].as_array().unwrap();
    assert_eq!(trials.len(), 4);
    let best = trials
        .iter()
        .map(|trial| trial["objective"].as_f64().unwrap())
        .fold(f64::NEG_INFINITY, f64::max);
    assert_eq!(answer["best"]["objective"], best);
    let number = answer["best"]["trial"].as_u64().unwrap() as usize;
    assert_eq!(answer["hyperparameters"], trials[number]["hyperparameters"]);

    // The model is that of the best trial: `train` makes the same.
    let mut args = vec![
        "train",
        "--data",
        "train.csv",
        "--output",
        "again.tar.gz",
        "--quiet",
    ];
    let settings: Vec<String> = answer["hyperparameters"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, value)| format!("{name}={}", value.as_str().unwrap()))
        .collect();
    for setting in &settings {
        args.extend(["-p", setting]);
    }
    assert!(output(first.path(), &args).status.success());
    let read = |name| std::fs::read(first.path().join(name)).unwrap();
    assert!(read("again.tar.gz") == read("model.tar.gz"), "another model");

    let second = rows();
    let mut threads = TUNE.to_vec();
    threads.extend(["--threads", "1"]);
    let again = json(&output(second.path(), &threads));
    assert_eq!(timeless(again), timeless(answer));
}

#[test]
fn a_search_is_resumed_and_may_grow() {
    let folder = rows();
    let first = json(&output(folder.path(), &TUNE));
    let (code, said) = failure(folder.path(), &TUNE);
    assert_eq!(code, 2);
    assert!(said.contains("the journal `tuning.jsonl` exists"), "{said}");

    // A crash in the middle of a line.
    let journal = folder.path().join("tuning.jsonl");
    let text = std::fs::read(&journal).unwrap();
    std::fs::write(&journal, &text[..text.len() - 20]).unwrap();
    let mut resume = TUNE.to_vec();
    resume.push("--resume");
    assert_eq!(
        timeless(json(&output(folder.path(), &resume))),
        timeless(first.clone())
    );

    let mut more = resume.clone();
    more[12] = "6";
    let more = json(&output(folder.path(), &more));
    assert_eq!(more["trials"].as_array().unwrap().len(), 6);
    for i in 0..4 {
        assert_eq!(more["trials"][i]["objective"], first["trials"][i]["objective"]);
    }

    let mut seed = resume.clone();
    seed.extend(["--seed", "1"]);
    let (code, said) = failure(folder.path(), &seed);
    assert_eq!(code, 2);
    assert!(said.contains("seed is 0 there and 1 here"), "{said}");

    std::fs::write(
        folder.path().join("train.csv"),
        "ana,192.0.2.1\nben,198.51.100.1\n",
    )
    .unwrap();
    let (code, said) = failure(folder.path(), &resume);
    assert_eq!(code, 2);
    assert!(said.contains("data is"), "{said}");
}

#[test]
fn halving_prints_a_table_with_the_best_first() {
    let folder = rows();
    let output = output(
        folder.path(),
        &[
            "tune",
            "--data",
            "train.csv",
            "--validation",
            "validation.csv",
            "--strategy",
            "halving",
            "--trials",
            "4",
            "--eta",
            "2",
            "-r",
            "learning_rate",
            "-p",
            "epochs=4",
            "-p",
            "vector_dim=8",
        ],
    );
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let lines: Vec<&str> = text.lines().collect();
    assert!(
        lines[0].contains("learning") && lines[1].contains("rate"),
        "{text}"
    );
    // Four trials, of which one is trained for all four epochs.
    let epochs: Vec<&str> = lines[2..6]
        .iter()
        .map(|line| line.split_whitespace().nth(2).unwrap())
        .collect();
    let mut sorted = epochs.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, ["1", "1", "2", "4"], "{text}");
    assert!(lines[2].contains("best"), "{text}");
    assert!(lines[7].starts_with("model.tar.gz: trial "), "{text}");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("120 rows, 3 entities; 60 rows for validation"),
        "{said}"
    );
}

#[test]
fn what_cannot_be_tuned_is_told() {
    let folder = rows();
    let tune = |more: &[&str]| {
        let mut args = vec!["tune", "--data", "train.csv", "--validation", "validation.csv"];
        args.extend(more);
        let (code, said) = failure(folder.path(), &args);
        assert!(!folder.path().join("tuning.jsonl").exists() && !folder.path().join("model.tar.gz").exists());
        (code, said)
    };
    for (args, want) in [
        (
            &["-r", "epoch=1..2"][..],
            "`epoch` cannot be tuned: num_entity_vectors, vector_dim,",
        ),
        (&["-r", "batch_metrics_publish_interval"], "cannot be tuned"),
        (
            &["-r", "vector_dim=2..8"],
            "in its tuning range, vector_dim must lie in 4..=4096, got 2",
        ),
        (&["-r", "vector_dim=8.."], "`8..` is no range"),
        (
            &["-r", "epochs", "--strategy", "halving"],
            "successive halving has epochs as its budget",
        ),
        (
            &["-r", "vector_dim", "--strategy", "grid"],
            "a grid needs lists of values",
        ),
        (&["--trials", "0"], "at least one trial"),
    ] {
        let (code, said) = tune(args);
        assert_eq!(code, 2, "{said}");
        assert!(said.contains(want), "{said}");
    }
}

#[test]
fn validation_rows_are_needed() {
    let folder = rows();
    std::fs::write(folder.path().join("validation.csv"), "").unwrap();
    let (code, said) = failure(folder.path(), &TUNE);
    assert_eq!(code, 3);
    assert!(said.contains("there are no validation rows"), "{said}");
}

#[test]
fn advice_comes_with_reasons() {
    let folder = rows();
    let answer = json(&output(
        folder.path(),
        &["advise", "train.csv", "--format", "json"],
    ));
    assert_eq!(answer["version"], 1);
    assert_eq!((&answer["rows"], &answer["entities"]), (&120.into(), &3.into()));
    assert_eq!(answer["instance"], "ml.m5.large");
    let values = answer["values"].as_array().unwrap();
    assert_eq!(values.len(), 10);
    assert_eq!(values[0]["name"], "num_entity_vectors");
    assert!(
        values[0]["reason"]
            .as_str()
            .unwrap()
            .contains("3 distinct entities")
    );

    // `train` takes the same where nothing else is said.
    let trained = json(&output(
        folder.path(),
        &["train", "--data", "train.csv", "--quiet", "--format", "json"],
    ));
    for value in values {
        let name = value["name"].as_str().unwrap();
        assert_eq!(trained["hyperparameters"][name], value["value"], "{name}");
    }

    let text = String::from_utf8(output(folder.path(), &["advise", "train.csv"]).stdout).unwrap();
    assert!(text.starts_with("120 rows, 3 entities: "), "{text}");
    assert!(text.contains("ml.m5.large"), "{text}");

    std::fs::write(folder.path().join("empty.csv"), "").unwrap();
    assert_eq!(failure(folder.path(), &["advise", "empty.csv"]).0, 3);
    assert_eq!(failure(folder.path(), &["advise", "missing.csv"]).0, 7);
}

/// Training that begins, ends and is told as the flags say.
#[test]
fn training_goes_on_from_a_checkpoint() {
    let folder = rows();
    let train = |model: &'static str, more: &[&str]| {
        let mut args = vec![
            "train",
            "--data",
            "train.csv",
            "--validation",
            "validation.csv",
            "--output",
            model,
            "-p",
            "epochs=3",
            "-p",
            "vector_dim=8",
            "--format",
            "json",
        ];
        args.extend(more);
        output(folder.path(), &args)
    };
    let read = |name| std::fs::read(folder.path().join(name)).unwrap();
    assert_eq!(json(&train("plain.tar.gz", &[]))["epochs"], 3);
    assert_eq!(
        json(&train("first.tar.gz", &["--checkpoints", "kept"]))["epochs"],
        3
    );
    let again = train("second.tar.gz", &["--checkpoints", "kept"]);
    assert!(String::from_utf8_lossy(&again.stderr).contains("from the checkpoint"));
    assert_eq!(json(&again)["loss"], Value::Null, "nothing was left to train");
    assert!(read("plain.tar.gz") == read("first.tar.gz") && read("first.tar.gz") == read("second.tar.gz"));

    let (code, said) = failure(
        folder.path(),
        &[
            "train",
            "--data",
            "train.csv",
            "--checkpoints",
            "kept",
            "-p",
            "epochs=4",
        ],
    );
    assert_eq!(code, 3);
    assert!(said.contains("is the checkpoint of another training"), "{said}");
    let anew = train(
        "third.tar.gz",
        &["--checkpoints", "kept", "--restart", "--seed", "1"],
    );
    assert_eq!(json(&anew)["epochs"], 3);

    // From a model: its shape is taken over.
    let warm = train("warm.tar.gz", &["--warm-start", "plain.tar.gz"]);
    assert_eq!(json(&warm)["hyperparameters"]["vector_dim"], "8");
    assert!(read("warm.tar.gz") != read("plain.tar.gz"));
}

#[test]
fn training_stops_early_and_speaks_as_the_service_does() {
    let folder = rows();
    let output = output(
        folder.path(),
        &[
            "train",
            "--data",
            "train.csv",
            "--validation",
            "validation.csv",
            "-p",
            "epochs=500",
            "-p",
            "vector_dim=8",
            "-p",
            "learning_rate=0.01",
            "--early-stop",
            "2",
            "--log",
            "service",
            "--format",
            "json",
        ],
    );
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let answer = json(&output);
    assert_eq!(answer["stopped_early"], true);
    assert!(answer["epochs"].as_u64().unwrap() < 500);
    for line in [
        "Docker entrypoint called with argument(s): train",
        "#quality_metric: host=algo-1, epoch=0, validation discriminator_auc <score>=",
        "#metrics {\"StartTime\":",
        "INFO 1] Final configuration: {",
    ] {
        assert!(said.contains(line), "{line} is not in {said}");
    }
    let (code, _) = failure(
        folder.path(),
        &["train", "--data", "train.csv", "--early-stop", "2"],
    );
    assert_eq!(code, 2);
}
