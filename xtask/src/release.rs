//! `cargo xtask release`: checks that a release can be made, and makes it when told to.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use anyhow::{Context, bail};
use serde::Deserialize;

use crate::workspace;

/// Checks and packages every crate in the order of publishing; publishes with --execute.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Check and package, publish nothing. This is what happens without --execute too.
    #[arg(long, conflicts_with = "execute")]
    dry_run: bool,
    /// Publish.
    #[arg(long)]
    execute: bool,
    /// In a dry run, do not build the packaged crates.
    #[arg(long, conflicts_with = "execute")]
    no_verify: bool,
}

/// What `cargo metadata --no-deps` says, as far as a release cares.
#[derive(Debug, Deserialize)]
pub(crate) struct Metadata {
    packages: Vec<Package>,
}

#[derive(Debug, Deserialize)]
struct Package {
    name: String,
    version: String,
    /// `None`: any registry. An empty list: none.
    publish: Option<Vec<String>>,
    description: Option<String>,
    license: Option<String>,
    readme: Option<String>,
    keywords: Vec<String>,
    dependencies: Vec<Dependency>,
}

#[derive(Debug, Deserialize)]
struct Dependency {
    name: String,
    /// The version requirement; `*` when only a path was given.
    req: String,
    /// `None` for a normal dependency.
    kind: Option<String>,
}

/// What a release publishes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    version: String,
    /// Each after everything that it depends on.
    crates: Vec<String>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let metadata = metadata()?;
    let mut problems = Vec::new();
    let changes = git(&["status", "--porcelain"])?;
    if !changes.is_empty() {
        problems.push(format!("the tree is not clean:\n{changes}"));
    }
    let plan = plan(&metadata).map_err(|found| problems.extend(found)).ok();
    if let Some(plan) = &plan {
        let changelog = std::fs::read_to_string(workspace::root().join("CHANGELOG.md"))
            .context("cannot read CHANGELOG.md")?;
        if section(&changelog, &plan.version).is_none() {
            problems.push(format!(
                "CHANGELOG.md has no section `## [{}]` with something in it",
                plan.version
            ));
        }
    }
    let Some(plan) = plan.filter(|_| problems.is_empty()) else {
        bail!("not ready for a release:\n- {}", problems.join("\n- "));
    };

    println!(
        "release {} of {} crates, in this order:",
        plan.version,
        plan.crates.len()
    );
    for name in &plan.crates {
        let files = output(
            workspace::cargo().as_os_str(),
            &["package", "--list", "--locked", "-p", name],
        )?;
        println!("  {name} ({} files)", files.lines().count());
    }
    if args.execute {
        for name in &plan.crates {
            println!("== publish {name}");
            cargo(&["publish", "--locked", "-p", name])?;
        }
        println!(
            "published {}; now tag it: git tag v{0} && git push origin v{0}",
            plan.version
        );
        return Ok(());
    }
    // All at once: no crate of a new version can be built against neighbours that are not published yet, unless cargo
    // is told of all of them.
    let mut arguments = vec!["publish", "--dry-run", "--locked"];
    if args.no_verify {
        arguments.push("--no-verify");
    }
    for name in &plan.crates {
        arguments.extend(["-p", name]);
    }
    cargo(&arguments)?;
    println!("dry run: nothing was published; `cargo xtask release --execute` does it");
    Ok(())
}

/// The order in which the crates are published, or everything that is in the way.
fn plan(metadata: &Metadata) -> Result<Plan, Vec<String>> {
    let mut problems = Vec::new();
    let ours: BTreeMap<&str, &Package> = metadata
        .packages
        .iter()
        .map(|package| (package.name.as_str(), package))
        .collect();
    let crates: Vec<&Package> = ours
        .values()
        .copied()
        .filter(|package| package.is_published())
        .collect();

    let versions: BTreeSet<&str> = crates.iter().map(|package| package.version.as_str()).collect();
    if versions.len() > 1 {
        for package in &crates {
            problems.push(format!(
                "versions differ: {} is {}",
                package.name, package.version
            ));
        }
    }
    for package in &crates {
        for (field, value) in [
            ("description", &package.description),
            ("license", &package.license),
            ("readme", &package.readme),
        ] {
            if value.as_deref().is_none_or(str::is_empty) {
                problems.push(format!("{} has no `{field}`", package.name));
            }
        }
        if package.keywords.len() > 5 || package.keywords.iter().any(|keyword| keyword.len() > 20) {
            problems.push(format!(
                "{} has more than 5 keywords, or one of more than 20 characters",
                package.name
            ));
        }
        for dependency in &package.dependencies {
            let Some(neighbour) = ours.get(dependency.name.as_str()) else {
                continue;
            };
            // cargo leaves out development dependencies without a version when it packages.
            if dependency.req == "*" && dependency.kind.as_deref() == Some("dev") {
                continue;
            }
            if !neighbour.is_published() {
                problems.push(format!(
                    "{} depends on {}, which is not published",
                    package.name, neighbour.name
                ));
            } else if dependency.req.trim_start_matches(['^', '=']) != neighbour.version {
                problems.push(format!(
                    "{} asks for {} {}, which is {}",
                    package.name, neighbour.name, dependency.req, neighbour.version
                ));
            }
        }
    }
    let order = order(&crates)
        .map_err(|cycle| problems.push(cycle))
        .unwrap_or_default();
    match versions.first() {
        Some(version) if problems.is_empty() => Ok(Plan {
            version: (*version).to_owned(),
            crates: order,
        }),
        None => Err(vec!["no crate is published".to_owned()]),
        Some(_) => Err(problems),
    }
}

impl Package {
    fn is_published(&self) -> bool {
        self.publish
            .as_ref()
            .is_none_or(|registries| !registries.is_empty())
    }
}

/// Names so that each comes after its dependencies; among those that could come next, the first by name.
fn order(crates: &[&Package]) -> Result<Vec<String>, String> {
    let names: BTreeSet<&str> = crates.iter().map(|package| package.name.as_str()).collect();
    let mut waiting: BTreeMap<&str, BTreeSet<&str>> = crates
        .iter()
        .map(|package| {
            let needs = package.dependencies.iter().filter(|dependency| {
                names.contains(dependency.name.as_str())
                    && !(dependency.req == "*" && dependency.kind.as_deref() == Some("dev"))
            });
            (
                package.name.as_str(),
                needs.map(|dependency| dependency.name.as_str()).collect(),
            )
        })
        .collect();
    let mut order: Vec<String> = Vec::new();
    while !waiting.is_empty() {
        let next = waiting
            .iter()
            .find(|(_, needs)| needs.iter().all(|name| !waiting.contains_key(name)));
        let Some((&name, _)) = next else {
            let names: Vec<&str> = waiting.into_keys().collect();
            return Err(format!(
                "these crates depend on each other in a circle: {}",
                names.join(", ")
            ));
        };
        waiting.remove(name);
        order.push(name.to_owned());
    }
    Ok(order)
}

/// What the changelog says of a version: the text below `## [VERSION]`, if there is any.
fn section<'a>(changelog: &'a str, version: &str) -> Option<&'a str> {
    let heading = format!("## [{version}]");
    // The first part is what stands before the first section.
    let mut sections = changelog.split("\n## ").skip(1);
    let text = sections.find_map(|section| {
        let (title, text) = section.split_once('\n').unwrap_or((section, ""));
        let title = format!("## {title}");
        (title == heading || title.starts_with(&format!("{heading} "))).then(|| text.trim())
    })?;
    (!text.is_empty()).then_some(text)
}

fn metadata() -> anyhow::Result<Metadata> {
    let text = output(
        workspace::cargo().as_os_str(),
        &["metadata", "--no-deps", "--format-version", "1"],
    )?;
    serde_json::from_str(&text).context("cargo metadata printed something unknown")
}

fn git(arguments: &[&str]) -> anyhow::Result<String> {
    output("git".as_ref(), arguments)
}

fn output(program: &std::ffi::OsStr, arguments: &[&str]) -> anyhow::Result<String> {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(workspace::root())
        .output()
        .with_context(|| format!("cannot start `{}`", program.display()))?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        bail!(
            "`{} {}` failed: {}",
            program.display(),
            arguments.join(" "),
            errors.trim()
        );
    }
    String::from_utf8(output.stdout)
        .with_context(|| format!("`{}` printed something that is not text", program.display()))
}

fn cargo(arguments: &[&str]) -> anyhow::Result<()> {
    let status = Command::new(workspace::cargo())
        .args(arguments)
        .current_dir(workspace::root())
        .status()
        .context("cannot start cargo")?;
    if !status.success() {
        bail!("`cargo {}` failed", arguments.join(" "));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn package(name: &str, dependencies: &[(&str, &str, Option<&str>)]) -> Value {
        let dependencies: Vec<Value> = dependencies
            .iter()
            .map(|(name, req, kind)| json!({"name": name, "req": req, "kind": kind}))
            .collect();
        json!({
            "name": name, "version": "0.1.0", "publish": null, "description": "d", "license": "MIT", "readme": "README.md",
            "keywords": [], "dependencies": dependencies,
        })
    }

    fn plan_of(packages: Vec<Value>) -> Result<Plan, Vec<String>> {
        plan(&serde_json::from_value(json!({"packages": packages})).unwrap())
    }

    #[test]
    fn crates_come_after_what_they_depend_on() {
        let mut task = package("task", &[("a", "*", None)]);
        task["publish"] = json!([]);
        let plan = plan_of(vec![
            package("a", &[("d", "^0.1.0", Some("dev")), ("serde", "^1", None)]),
            package("b", &[("c", "^0.1.0", None), ("a", "^0.1.0", Some("build"))]),
            package("c", &[("a", "^0.1.0", None)]),
            // Without a version it is not part of the package, so there is no circle.
            package("d", &[("b", "*", Some("dev"))]),
            task,
        ]);
        let crates = ["d", "a", "c", "b"].map(str::to_owned).to_vec();
        assert_eq!(
            plan,
            Ok(Plan {
                version: "0.1.0".to_owned(),
                crates
            })
        );
    }

    #[test]
    fn everything_in_the_way_is_named() {
        let mut private = package("private", &[]);
        private["publish"] = json!([]);
        let mut other = package("other", &[("private", "^0.1.0", None)]);
        other["version"] = json!("0.2.0");
        other["description"] = json!(null);
        other["keywords"] = json!(["a-keyword-of-more-than-twenty"]);
        let problems = plan_of(vec![
            private,
            other,
            package("x", &[("y", "^0.1.0", None), ("other", "*", None)]),
            package("y", &[("x", "^0.1.0", None)]),
        ]);
        let want = [
            "versions differ: other is 0.2.0",
            "versions differ: x is 0.1.0",
            "versions differ: y is 0.1.0",
            "other has no `description`",
            "other has more than 5 keywords, or one of more than 20 characters",
            "other depends on private, which is not published",
            "x asks for other *, which is 0.2.0",
            "these crates depend on each other in a circle: x, y",
        ];
        assert_eq!(problems.unwrap_err(), want);
        assert_eq!(plan_of(Vec::new()).unwrap_err(), ["no crate is published"]);
    }

    #[test]
    fn this_workspace_can_be_released() {
        let plan = plan(&metadata().unwrap()).unwrap();
        let place = |name: &str| plan.crates.iter().position(|known| known == name).unwrap();
        assert!(place("access-events") < place("ipinsights"));
        assert!(place("ipinsights") < place("ipinsights-client"));
        assert!(place("geodata-sample") < place("geodata"));
        assert!(place("pipeline") < place("pipeline-cli"));
        assert!(!plan.crates.contains(&"xtask".to_owned()));
        let changelog = std::fs::read_to_string(workspace::root().join("CHANGELOG.md")).unwrap();
        assert!(
            section(&changelog, &plan.version).is_some(),
            "CHANGELOG.md says nothing of {}",
            plan.version
        );
    }

    #[test]
    fn sections_are_found_by_their_version() {
        let changelog = "# Changelog\n\n## [Unreleased]\n\n## [0.2.0] - 2027-01-01\n\n- new\n\n### Fixed\n\n- old\n\n## [0.1.0]\n";
        for (version, want) in [
            ("0.2.0", Some("- new\n\n### Fixed\n\n- old")),
            ("0.1.0", None),
            ("Unreleased", None),
            ("0.2", None),
            ("0.3.0", None),
        ] {
            assert_eq!(section(changelog, version), want, "{version}");
        }
    }
}
