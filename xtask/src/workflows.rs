//! The workflows of `.github/workflows`, read and checked: permissions are said and small, actions are pinned, and nothing that
//! a stranger writes becomes a command.

use crate::workspace;
use crate::yaml::{self, Node, Value};

fn workflows() -> Vec<(String, Node)> {
    let mut workflows = Vec::new();
    for entry in std::fs::read_dir(workspace::root().join(".github/workflows")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        workflows.push((
            name.clone(),
            yaml::parse(&text).unwrap_or_else(|error| panic!("{name}: {error}")),
        ));
    }
    workflows.sort_by(|a, b| a.0.cmp(&b.0));
    workflows
}

fn get<'a>(node: &'a Node, key: &str) -> Option<&'a Node> {
    node.entries()?
        .iter()
        .find(|(known, _)| known == key)
        .map(|(_, value)| value)
}

/// Every value of a key, wherever it is.
fn all<'a>(node: &'a Node, key: &str, found: &mut Vec<&'a Node>) {
    match &node.value {
        Value::Scalar { .. } => {}
        Value::Sequence(items) => items.iter().for_each(|item| all(item, key, found)),
        Value::Mapping(entries) => {
            for (name, value) in entries {
                if name == key {
                    found.push(value);
                }
                all(value, key, found);
            }
        }
    }
}

#[test]
fn permissions_are_said_and_small() {
    let workflows = workflows();
    let names: Vec<&str> = workflows.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["ci.yml", "pipeline.yml", "release.yml"]);
    for (name, workflow) in &workflows {
        let top = get(workflow, "permissions").and_then(Node::entries).unwrap();
        assert!(
            matches!(top, [(key, value)] if key == "contents" && value.text() == Some("read")),
            "{name}: {top:?}"
        );
        let mut found = Vec::new();
        all(workflow, "permissions", &mut found);
        for permissions in found {
            for (key, value) in permissions.entries().unwrap() {
                let allowed =
                    matches!(
                        (key.as_str(), value.text()),
                        ("contents", Some("read")) | ("id-token", Some("write"))
                    ) || (name == "release.yml" && key == "contents" && value.text() == Some("write"));
                assert!(allowed, "{name}:{}: {key}", value.line);
            }
        }
        for (job, definition) in get(workflow, "jobs").and_then(Node::entries).unwrap() {
            assert!(
                get(definition, "timeout-minutes").is_some(),
                "{name}: the job {job} has no limit of time"
            );
        }
    }
}

#[test]
fn actions_are_pinned_by_commit_and_checkouts_leave_no_token() {
    for (name, workflow) in workflows() {
        let mut uses = Vec::new();
        all(&workflow, "uses", &mut uses);
        for action in uses {
            let text = action.text().unwrap();
            let version = text
                .split_once('@')
                .map(|(_, version)| version)
                .unwrap_or_default();
            let pinned = version.len() == 40 && version.bytes().all(|byte| byte.is_ascii_hexdigit());
            assert!(pinned, "{name}:{}: {text}", action.line);
        }
        let mut steps = Vec::new();
        all(&workflow, "steps", &mut steps);
        for step in steps.into_iter().filter_map(Node::items).flatten() {
            let checkout = get(step, "uses")
                .and_then(Node::text)
                .is_some_and(|text| text.starts_with("actions/checkout@"));
            if checkout {
                let keeps = get(step, "with")
                    .and_then(|with| get(with, "persist-credentials"))
                    .and_then(Node::text);
                assert_eq!(keeps, Some("false"), "{name}:{}", step.line);
            }
        }
    }
}

#[test]
fn commands_hold_no_expressions() {
    // `${{ … }}` in a command is text put into a shell before it is read: titles and branch names become commands.
    for (name, workflow) in workflows() {
        let mut runs = Vec::new();
        all(&workflow, "run", &mut runs);
        for run in runs {
            assert!(!run.text().unwrap().contains("${{"), "{name}:{}", run.line);
        }
    }
}

#[test]
fn ci_runs_what_everyone_runs() {
    let workflows = workflows();
    let commands = |wanted: &str| -> Vec<String> {
        let (_, workflow) = workflows.iter().find(|(name, _)| name == wanted).unwrap();
        let mut runs = Vec::new();
        all(workflow, "run", &mut runs);
        runs.into_iter()
            .map(|run| run.text().unwrap().trim().to_owned())
            .collect()
    };
    assert!(commands("ci.yml").contains(&".ci/run".to_owned()));
    let pipeline = commands("pipeline.yml");
    // In the account under the name that the stack's roles are good for.
    for target in ["local", "aws --name \"$PIPELINE_NAME\""] {
        let run = format!("cargo run --release -p pipeline-cli -- run --target {target} --report out");
        assert!(pipeline.contains(&run), "{pipeline:?}");
    }
    let release = commands("release.yml");
    let place = |command: &str| release.iter().position(|known| known == command).unwrap();
    let order = [
        ".ci/run",
        "cargo xtask release --dry-run --skip-ci",
        "cargo xtask release-rehearsal",
        "cargo xtask release --execute --skip-ci",
    ];
    assert!(order.map(place).is_sorted(), "{release:?}");
}
