//! The corpus: definitions in which the check finds nothing, and definitions with one defect each.
//!
//! `corpus/invalid.tsv` says what is wrong with each of `corpus/invalid`; `corpus/invalid.txt` has what is said of it,
//! `corpus/service.txt` what the service says, as far as that is known.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests"
)]

#[path = "../fuzz/uses.rs"]
mod uses;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use expect_test::expect_file;
use serde_json::json;
use sfn_builder::{Code, Document, Finding, StateMachine};

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus")
}

/// The definitions in a folder, by their names without `.asl.json`.
fn definitions(folder: &str) -> BTreeMap<String, String> {
    let files = fs::read_dir(corpus().join(folder)).unwrap();
    files
        .map(|file| {
            let path = file.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            let name = name.strip_suffix(".asl.json").expect("a definition").to_owned();
            (name, fs::read_to_string(path).unwrap())
        })
        .collect()
}

fn findings(text: &str) -> Vec<Finding> {
    match Document::parse(text) {
        Ok(document) => document.findings(),
        Err(error) => error.findings().to_vec(),
    }
}

/// What `invalid.tsv` says: code, pointer, line and column.
fn expected() -> BTreeMap<String, (String, String, u32, u32)> {
    let table = fs::read_to_string(corpus().join("invalid.tsv")).unwrap();
    let rows = table.lines().filter(|line| !line.starts_with('#'));
    rows.map(|row| {
        let fields: Vec<&str> = row.split('\t').collect();
        let [name, code, pointer, line, column] = fields.as_slice() else {
            panic!("five fields: {row}");
        };
        let place = (line.parse().unwrap(), column.parse().unwrap());
        let expected = (code.to_string(), pointer.to_string(), place.0, place.1);
        (name.to_string(), expected)
    })
    .collect()
}

#[test]
fn nothing_is_found_in_the_valid_ones_and_they_print_as_they_were_written() {
    let valid = definitions("valid");
    assert!(valid.len() >= 150, "{}", valid.len());
    let mut problems = String::new();
    for (name, text) in &valid {
        for finding in findings(text) {
            problems += &format!("{name}: {} {finding}\n", finding.code);
        }
        let Ok(machine) = StateMachine::from_json(text) else {
            continue;
        };
        assert_eq!(machine.to_json_string(), text.trim_end(), "{name}");
        let again = StateMachine::from_json(&machine.document().to_string()).unwrap();
        assert_eq!(again, machine, "{name}");
    }
    assert_eq!(problems, "");
}

#[test]
fn each_invalid_one_has_the_one_finding_that_the_table_says_at_its_place() {
    let (invalid, expected) = (definitions("invalid"), expected());
    assert!(invalid.len() >= 150, "{}", invalid.len());
    assert_eq!(
        invalid.keys().collect::<Vec<_>>(),
        expected.keys().collect::<Vec<_>>()
    );
    let (mut problems, mut said, mut by_service) = (String::new(), String::new(), String::new());
    for (name, text) in &invalid {
        let (code, pointer, line, column) = &expected[name];
        let found: Vec<String> = findings(text)
            .iter()
            .map(|finding| {
                let place = finding
                    .position
                    .map(|place| place.to_string())
                    .unwrap_or_default();
                format!("{} {} {place}", finding.code, finding.pointer)
            })
            .collect();
        let wanted = format!("{code} {pointer} {line}:{column}");
        if found != [wanted.as_str()] {
            problems += &format!("{name}: {wanted} is wanted, there is {found:#?}\n");
        }
        for finding in findings(text) {
            said += &format!("{name}: {} {finding}\n", finding.severity());
        }
        if let Err(error) = StateMachine::from_json(text) {
            by_service += &format!("{name}: {}\n", error.service_message());
        }
    }
    assert_eq!(problems, "");
    expect_file![corpus().join("invalid.txt")].assert_eq(&said);
    expect_file![corpus().join("service.txt")].assert_eq(&by_service);
}

#[test]
fn every_code_is_in_the_corpus() {
    // Of a megabyte, of a template or YAML, or only a build can find it: see the tests below, of files and of combinators.
    let elsewhere = [
        Code::InvalidYaml,
        Code::NoDefinition,
        Code::MissingSubstitution,
        Code::UnusedSubstitution,
        Code::TooLarge,
        Code::LargePayload,
        Code::UnknownInput,
        Code::MisplacedPlaceholder,
    ];
    let covered: BTreeSet<String> = expected().into_values().map(|(code, ..)| code).collect();
    for code in Code::ALL {
        assert_ne!(
            covered.contains(code.as_str()),
            elsewhere.contains(code),
            "{code}"
        );
    }
}

#[test]
fn what_is_too_large_is_said() {
    let of = |size: usize| json!({"StartAt": "A", "States": {"A": {"Type": "Pass", "Result": "r".repeat(size), "End": true}}});
    let codes = |size: usize| {
        let found = findings(&of(size).to_string());
        found.into_iter().map(|finding| finding.code).collect::<Vec<_>>()
    };
    assert_eq!(codes(200 * 1024), []);
    assert_eq!(codes(300 * 1024), [Code::LargePayload]);
    assert_eq!(codes(1 << 20), [Code::TooLarge, Code::LargePayload]);
}

/// The corpus is worth as much as what is in it.
#[test]
fn the_valid_ones_have_everything_of_the_language() {
    let all: String = definitions("valid").into_values().collect();
    let fields = [
        "Arguments Assign BackoffRate BatchInput Branches CSVDelimiter CSVHeaderLocation CSVHeaders Catch Cause CausePath",
        "Choices Comment Condition Credentials Default End Error ErrorEquals ErrorPath ExecutionType HeartbeatSeconds",
        "HeartbeatSecondsPath InputPath InputType IntervalSeconds ItemBatcher ItemProcessor ItemReader ItemSelector Items",
        "ItemsPath ItemsPointer JitterStrategy Label ManifestType MaxAttempts MaxConcurrency MaxConcurrencyPath",
        "MaxDelaySeconds MaxInputBytesPerBatch MaxInputBytesPerBatchPath MaxItems MaxItemsPath MaxItemsPerBatch",
        "MaxItemsPerBatchPath Mode Next Output OutputPath OutputType Parameters ProcessorConfig QueryLanguage ReaderConfig",
        "Resource Result ResultPath ResultSelector ResultWriter Retry RoleArn Seconds SecondsPath StartAt States Timestamp",
        "TimeoutSeconds TimeoutSecondsPath TimestampPath ToleratedFailureCount ToleratedFailureCountPath",
        "ToleratedFailurePercentage ToleratedFailurePercentagePath Transformation Type Variable Version WriterConfig",
        "And Or Not IsPresent IsNull IsString IsNumeric IsBoolean IsTimestamp StringMatches BooleanEquals BooleanEqualsPath",
    ];
    let mut fields: Vec<String> = fields
        .iter()
        .flat_map(|line| line.split(' '))
        .map(str::to_owned)
        .collect();
    for kind in ["String", "Numeric", "Timestamp"] {
        for relation in [
            "Equals",
            "LessThan",
            "GreaterThan",
            "LessThanEquals",
            "GreaterThanEquals",
        ] {
            fields.extend([format!("{kind}{relation}"), format!("{kind}{relation}Path")]);
        }
    }
    let values = [
        "Task Parallel Map Pass Choice Wait Succeed Fail JSONPath JSONata INLINE DISTRIBUTED STANDARD EXPRESS CSV JSON JSONL",
        "MANIFEST PARQUET S3_INVENTORY ATHENA_DATA LOAD_AND_FLATTEN COMMA PIPE SEMICOLON SPACE TAB FIRST_ROW GIVEN COMPACT",
        "FLATTEN FULL NONE",
    ];
    let values = values.iter().flat_map(|line| line.split(' '));
    let functions = [
        "Format StringToJson JsonToString Array ArrayPartition ArrayContains ArrayRange ArrayGetItem ArrayLength ArrayUnique",
        "Base64Encode Base64Decode Hash JsonMerge MathRandom MathAdd StringSplit UUID",
    ];
    let functions = functions.iter().flat_map(|line| line.split(' '));
    let missing: Vec<String> = fields
        .iter()
        .map(|field| format!("\"{field}\": "))
        .chain(values.map(|value| format!(": \"{value}\"")))
        .chain(functions.map(|function| format!("States.{function}(")))
        .filter(|part| !all.contains(part))
        .collect();
    assert_eq!(missing, Vec::<String>::new());
}

/// The fuzz targets' own functions, with the stable compiler.
#[test]
fn the_corpus_and_the_seeds_pass_through_what_is_fuzzed() {
    for folder in ["valid", "invalid"] {
        for text in definitions(folder).values() {
            uses::definition(text.as_bytes());
        }
    }
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds");
    let mut count = 0;
    for (folder, target) in [
        ("definition", uses::definition as fn(&[u8])),
        ("expression", uses::expression),
    ] {
        for file in fs::read_dir(seeds.join(folder)).unwrap() {
            target(&fs::read(file.unwrap().path()).unwrap());
            count += 1;
        }
    }
    assert!(count >= 9, "{count}");
}
