//! The rules of the house, checked by ordinary tests: which crate may know which, who prints, what every crate has.
#![expect(clippy::unwrap_used, reason = "a helper of tests fails loudly")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Who may depend on whom among our own crates: nothing else, and nothing missing. `(dev)` marks what only tests use.
///
/// The reasons are in ARCHITECTURE.md; a new arrow is a decision that changes both.
const ARROWS: &[(&str, &[&str])] = &[
    ("access-events", &[]),
    ("geodata-sample", &[]),
    ("geodata", &["access-events", "geodata-sample (dev)"]),
    ("ipinsights", &["access-events"]),
    ("ipinsights-container", &["access-events", "ipinsights"]),
    ("sfn-builder", &[]),
    ("sfn-local", &["sfn-builder"]),
    (
        "aws-local",
        &["access-events", "ipinsights", "sfn-builder", "sfn-local"],
    ),
    (
        "ipinsights-client",
        &["access-events", "aws-local (dev)", "ipinsights"],
    ),
    (
        "pipeline",
        &[
            "access-events",
            "aws-local (dev)",
            "geodata",
            "geodata-sample",
            "ipinsights",
            "ipinsights-client",
            "sfn-builder",
            "sfn-local (dev)",
        ],
    ),
    (
        "score-lambda",
        &["access-events", "ipinsights", "ipinsights-client"],
    ),
    (
        "pipeline-cli",
        &[
            "access-events",
            "aws-local",
            "geodata",
            "geodata-sample",
            "ipinsights",
            "ipinsights-client",
            "ipinsights-container",
            "pipeline",
            "score-lambda",
            "sfn-builder",
        ],
    ),
    (
        "xtask",
        &["access-events", "geodata", "geodata-sample", "ipinsights"],
    ),
];

/// Arrows that are allowed above and need not be there.
const OPTIONAL: &[(&str, &str)] = &[
    ("aws-local", "access-events"),
    ("pipeline-cli", "access-events"),
    ("pipeline-cli", "ipinsights"),
    ("pipeline-cli", "ipinsights-client"),
    ("score-lambda", "access-events"),
    ("pipeline", "geodata-sample"),
    ("pipeline", "aws-local"),
];

/// Crates that keep away from the network, async and the terminal: none of these may be among their dependencies.
const PURE: &[&str] = &[
    "access-events",
    "geodata",
    "geodata-sample",
    "ipinsights",
    "sfn-builder",
];
const IMPURE: &[&str] = &[
    "tokio",
    "hyper",
    "hyper-rustls",
    "hyper-util",
    "rustls",
    "ureq",
    "axum",
    "http",
    "reqwest",
    "clap",
    "indicatif",
    "futures",
];

/// The crates that may print.
const PRINTERS: &[&str] = &["pipeline-cli", "xtask"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

struct Package {
    name: String,
    folder: PathBuf,
    metadata: Value,
}

impl Package {
    fn dependencies(&self) -> impl Iterator<Item = (&str, &Value)> {
        let list = self.metadata["dependencies"].as_array().unwrap();
        list.iter()
            .map(|dependency| (dependency["name"].as_str().unwrap(), dependency))
    }
}

fn packages() -> Vec<Package> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    packages
        .iter()
        .map(|package| {
            let manifest = Path::new(package["manifest_path"].as_str().unwrap());
            Package {
                name: package["name"].as_str().unwrap().to_owned(),
                folder: manifest.parent().unwrap().to_owned(),
                metadata: package.clone(),
            }
        })
        .collect()
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

#[test]
fn our_crates_know_each_other_as_designed() {
    let packages = packages();
    let ours: BTreeSet<&str> = packages.iter().map(|package| package.name.as_str()).collect();
    let designed: BTreeSet<&str> = ARROWS.iter().map(|(name, _)| *name).collect();
    assert_eq!(
        ours, designed,
        "a crate came or went: say in ARROWS whom it may know"
    );

    let mut problems = Vec::new();
    for package in &packages {
        let mut found: BTreeMap<&str, bool> = BTreeMap::new(); // name -> only as dev-dependency
        // A crate may know itself: its tests with features that it does not have by default.
        let others = package
            .dependencies()
            .filter(|(name, _)| ours.contains(name) && *name != package.name);
        for (name, dependency) in others {
            let dev = dependency["kind"] == "dev";
            *found.entry(name).or_insert(true) &= dev;
        }
        let found: BTreeSet<String> = found
            .into_iter()
            .map(|(name, dev)| {
                if dev {
                    format!("{name} (dev)")
                } else {
                    name.to_owned()
                }
            })
            .collect();
        let (_, allowed) = ARROWS.iter().find(|(name, _)| *name == package.name).unwrap();
        let allowed: BTreeSet<String> = allowed.iter().map(|&name| name.to_owned()).collect();
        for arrow in found.difference(&allowed) {
            // A crate that may be used may also be used by tests alone.
            let name = arrow.trim_end_matches(" (dev)");
            if !allowed.contains(name) {
                problems.push(format!("{} must not depend on {arrow}", package.name));
            }
        }
        for arrow in allowed.difference(&found) {
            let name = arrow.trim_end_matches(" (dev)");
            if !OPTIONAL.contains(&(package.name.as_str(), name)) && !found.contains(&format!("{name} (dev)"))
            {
                problems.push(format!(
                    "{} no longer depends on {arrow}: take the arrow out",
                    package.name
                ));
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn a_client_brings_no_engine() {
    // `ipinsights-client` shares hyperparameters and inference formats; training and models stay out of it.
    let packages = packages();
    for name in ["ipinsights-client", "score-lambda"] {
        let package = packages.iter().find(|package| package.name == name).unwrap();
        let (_, dependency) = package
            .dependencies()
            .find(|(name, _)| *name == "ipinsights")
            .unwrap();
        assert_eq!(dependency["uses_default_features"], false, "{name}");
        assert_eq!(dependency["features"], Value::Array(Vec::new()), "{name}");
    }
}

#[test]
fn pure_crates_know_no_network_and_no_terminal() {
    let mut problems = Vec::new();
    for package in packages()
        .iter()
        .filter(|package| PURE.contains(&package.name.as_str()))
    {
        for (name, dependency) in package.dependencies() {
            let impure = IMPURE.contains(&name) || name.starts_with("aws-");
            if impure && dependency["kind"] != "dev" && dependency["optional"] == false {
                problems.push(format!("{} must not depend on {name}", package.name));
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn only_the_feature_download_of_geodata_knows_a_network() {
    let packages = packages();
    let package = packages.iter().find(|package| package.name == "geodata").unwrap();
    let features = package.metadata["features"].as_object().unwrap();
    assert!(
        !features
            .get("default")
            .is_some_and(|list| list.to_string().contains("download"))
    );
    let mut names = Vec::new();
    for (name, _) in package
        .dependencies()
        .filter(|(name, dependency)| IMPURE.contains(name) && dependency["kind"] != "dev")
    {
        let by: Vec<&str> = features
            .iter()
            .filter(|(_, list)| {
                let mut items = list.as_array().unwrap().iter().map(|item| item.as_str().unwrap());
                items.any(|item| item.trim_start_matches("dep:").split(['/', '?']).next() == Some(name))
            })
            .map(|(feature, _)| feature.as_str())
            .collect();
        assert_eq!(by, ["download"], "which features of geodata bring {name}");
        names.push(name.replace('-', "_"));
    }
    assert!(names.contains(&"hyper".to_owned()), "is it still so called?");
    let inside = package.folder.join("src/download");
    for file in rust_files(&package.folder.join("src")) {
        let text = std::fs::read_to_string(&file).unwrap();
        for name in &names {
            let used = text.contains(&format!("{name}::"));
            assert!(
                !used || file.starts_with(&inside),
                "{} uses {name}",
                file.display()
            );
        }
    }
}

#[test]
fn only_the_command_lines_print() {
    let mut problems = Vec::new();
    for package in packages()
        .iter()
        .filter(|package| !PRINTERS.contains(&package.name.as_str()))
    {
        for file in rust_files(&package.folder.join("src")) {
            let text = std::fs::read_to_string(&file).unwrap();
            for (number, line) in text.lines().enumerate() {
                let code = line.trim_start();
                let comment = code.starts_with("//");
                let prints = ["println!", "print!", "eprint!", "dbg!"]
                    .iter()
                    .any(|name| code.contains(name));
                if prints && !comment {
                    problems.push(format!("{}:{}: {}", file.display(), number + 1, line.trim()));
                }
            }
        }
    }
    assert!(
        problems.is_empty(),
        "only {PRINTERS:?} print:\n{}",
        problems.join("\n")
    );
}

#[test]
fn every_crate_has_what_a_crate_needs() {
    let mut problems = Vec::new();
    for package in packages() {
        let manifest = std::fs::read_to_string(package.folder.join("Cargo.toml")).unwrap();
        let name = &package.name;
        if !manifest.contains("[lints]\nworkspace = true") {
            problems.push(format!("{name}: `lints.workspace = true` is missing"));
        }
        for field in ["version", "edition", "rust-version"] {
            if !manifest.contains(&format!("{field}.workspace = true")) {
                problems.push(format!("{name}: `{field}.workspace = true` is missing"));
            }
        }
        for field in ["description", "license", "readme"] {
            if package.metadata[field].as_str().is_none_or(str::is_empty) {
                problems.push(format!("{name}: no `{field}`"));
            }
        }
        let is_published = package.metadata["publish"].is_null();
        for field in ["keywords", "categories"].into_iter().filter(|_| is_published) {
            let given = package.metadata[field].as_array().map_or(0, Vec::len);
            if !(1..=5).contains(&given) {
                problems.push(format!(
                    "{name}: `{field}` has {given} words, and the registry takes 1 to 5"
                ));
            }
        }
        // What tests and benchmarks need is not published.
        for part in ["/src", "/README.md"] {
            if is_published && !manifest.contains(&format!("\"{part}\"")) {
                problems.push(format!("{name}: `include` does not list {part}"));
            }
        }
        if manifest.contains("[features]")
            && !manifest.contains("[package.metadata.docs.rs]\nall-features = true")
        {
            problems.push(format!("{name}: docs.rs is not told to show all features"));
        }
        let readme = std::fs::read_to_string(package.folder.join("README.md")).unwrap_or_default();
        if !readme.starts_with(&format!("# {name}\n")) {
            problems.push(format!("{name}: README.md does not begin with `# {name}`"));
        }
        let library = package.folder.join("src/lib.rs");
        if library.is_file() {
            let text = std::fs::read_to_string(&library).unwrap();
            if !text.contains("include_str!(\"../README.md\")") {
                problems.push(format!("{name}: README.md is not the front page of the library"));
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn data_has_its_own_licence_and_code_has_ours() {
    for package in packages() {
        let licence = package.metadata["license"].as_str().unwrap();
        let want = if package.name == "geodata-sample" {
            "CC-BY-SA-4.0"
        } else {
            "MIT OR Apache-2.0"
        };
        assert_eq!(licence, want, "{}", package.name);
    }
}

#[test]
fn no_test_is_switched_off() {
    let mut problems = Vec::new();
    let this = root().join("xtask/tests/tidy.rs");
    for package in packages() {
        for file in rust_files(&package.folder)
            .into_iter()
            .filter(|file| *file != this)
        {
            let text = std::fs::read_to_string(&file).unwrap();
            if text.lines().any(|line| line.trim_start().starts_with("#[ignore")) {
                problems.push(file.display().to_string());
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}
