//! `cargo xtask release`: checks that a release can be made, and makes it when told to.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, bail};
use semver::Version;
use serde::Deserialize;

use crate::git::git;
use crate::index::Index;
use crate::{ci, graph, workspace};

/// Checks and packages every crate in the order of publishing; with --execute also commits, tags and publishes.
///
/// Without --execute nothing is changed: version, changelog and packages are tried in a clone. With it, a release that was interrupted
/// goes on when the same command is run again: what is done already (the commit, the tag, crates that are up) is not done twice.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// patch, minor, major, or a version; the version that the workspace has without it.
    #[arg(value_name = "patch|minor|major|VERSION")]
    bump: Option<Bump>,
    /// Check and package, change nothing. This is what happens without --execute too.
    #[arg(long, conflicts_with = "execute")]
    dry_run: bool,
    /// Commit, tag and publish.
    #[arg(long)]
    execute: bool,
    /// Do not build the packaged crates.
    #[arg(long)]
    no_verify: bool,
    /// Do not run what CI runs: it has run on this commit.
    #[arg(long)]
    skip_ci: bool,
    /// A registry of cargo's configuration instead of crates.io.
    #[arg(long, value_name = "NAME")]
    registry: Option<String>,
}

/// Which version comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Bump {
    Patch,
    Minor,
    Major,
    To(Version),
}

impl FromStr for Bump {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "patch" => Ok(Self::Patch),
            "minor" => Ok(Self::Minor),
            "major" => Ok(Self::Major),
            _ => match Version::parse(text) {
                Ok(version) if version.build.is_empty() => Ok(Self::To(version)),
                _ => Err("expected patch, minor, major or a version like 1.2.3".to_owned()),
            },
        }
    }
}

impl Bump {
    /// The version after `current`. A prerelease is followed by what it was before.
    fn after(&self, current: &Version) -> Result<Version, String> {
        let Version {
            major, minor, patch, ..
        } = *current;
        let released = current.pre.is_empty();
        Ok(match self {
            Self::Patch if !released => Version::new(major, minor, patch),
            Self::Patch => Version::new(major, minor, patch + 1),
            Self::Minor if !released && patch == 0 => Version::new(major, minor, 0),
            Self::Minor => Version::new(major, minor + 1, 0),
            Self::Major if !released && patch == 0 && minor == 0 => Version::new(major, 0, 0),
            Self::Major => Version::new(major + 1, 0, 0),
            Self::To(version) if version < current => {
                return Err(format!("{version} is before {current}, which the workspace has"));
            }
            Self::To(version) => version.clone(),
        })
    }
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
    let place = Place {
        root: workspace::root(),
        sleep: &std::thread::sleep,
        is_installed: &workspace::is_installed,
    };
    if !args.skip_ci {
        let missing = place.missing_tools(args);
        if !missing.is_empty() {
            bail!("not ready for a release:\n- {}", missing.join("\n- "));
        }
        println!("== what CI runs");
        ci::all(args.execute)?;
    }
    place.release(args, &mut std::io::stdout())
}

/// The workspace that is released.
struct Place<'a> {
    root: &'a Path,
    sleep: &'a dyn Fn(Duration),
    /// Whether a program is there.
    is_installed: &'a dyn Fn(&str) -> bool,
}

/// How often a crate is tried again when the registry asks for patience. A new crate may be published every ten minutes.
const MAX_WAITS: u32 = 24;

/// What a release changes in the tree.
const PREPARED: [&str; 3] = ["Cargo.toml", "Cargo.lock", CHANGELOG];

impl Place<'_> {
    fn release(&self, args: &Args, out: &mut dyn Write) -> anyhow::Result<()> {
        // What is committed, in a clone, where everything is tried first. It lies below the workspace, so that its configuration of
        // cargo holds.
        let target = self.root.join("target");
        std::fs::create_dir_all(&target).context("cannot make the target folder")?;
        let folder = tempfile::Builder::new()
            .prefix("release-")
            .tempdir_in(&target)
            .context("cannot make a temporary folder")?;
        let root = folder.path().join("clone");
        let clone = root.to_str().context("the workspace's path is not Unicode")?;
        self.git(&["clone", "--quiet", "--shared", ".", clone])?;
        let there = Place {
            root: &root,
            sleep: self.sleep,
            is_installed: self.is_installed,
        };

        let mut problems = Vec::new();
        // A release that was cut off between its files and its commit has left these files.
        let changes = self.git(&["status", "--porcelain"])?;
        let begun_here = args.execute
            && changes.lines().all(|line| {
                let name = line.trim_start().split_once(' ').map(|(_, name)| name.trim());
                name.is_some_and(|name| PREPARED.contains(&name))
            });
        if !begun_here && !changes.is_empty() {
            problems.push(format!("the tree is not clean:\n{changes}"));
        }
        let plan = plan(&there.metadata()?)
            .map_err(|found| problems.extend(found))
            .ok();
        let Some(plan) = plan else {
            bail!("not ready for a release:\n- {}", problems.join("\n- "));
        };
        let current = Version::parse(&plan.version)?;
        // The commit of a release that has begun: the same command goes on with it.
        let begun = self.git(&["log", "-1", "--format=%s"])? == subject(&current);
        let version = match &args.bump {
            None => current.clone(),
            Some(Bump::Patch | Bump::Minor | Bump::Major) if begun => current.clone(),
            Some(bump) => match bump.after(&current) {
                Ok(version) => version,
                Err(problem) => {
                    problems.push(problem);
                    current.clone()
                }
            },
        };
        problems.extend(self.wrong_place(&version)?);
        let changelog = std::fs::read_to_string(root.join(CHANGELOG))
            .with_context(|| format!("cannot read {CHANGELOG}"))?;
        let wanted = if version == current && section(&changelog, &plan.version).is_some() {
            plan.version.clone()
        } else {
            "Unreleased".to_owned()
        };
        if section(&changelog, &wanted).is_none() {
            problems.push(format!(
                "{CHANGELOG} has no section `## [{wanted}]` with something in it"
            ));
        }
        problems.extend(self.missing_tools(args));
        if !problems.is_empty() {
            bail!("not ready for a release:\n- {}", problems.join("\n- "));
        }
        match self.taken_names(args, &plan, begun.then_some(&version)) {
            Ok(taken) if taken.is_empty() => {}
            Ok(taken) => bail!("not ready for a release:\n- {}", taken.join("\n- ")),
            Err(error) if args.execute => return Err(error),
            Err(error) => writeln!(out, "names: not asked for: {error:#}")?,
        }

        writeln!(
            out,
            "release {version} of {} crates, in this order:",
            plan.crates.len()
        )?;
        for name in &plan.crates {
            let files = there.cargo(&["package", "--list", "--locked", "-p", name])?;
            writeln!(out, "  {name} ({} files)", files.lines().count())?;
        }
        let prepared = there.prepare(&current, &version)?;
        if prepared {
            writeln!(out, "{}", there.git(&["diff", "--stat"])?)?;
        }
        if !changes.is_empty() && !self.is_on_the_way_to(&there)? {
            bail!("not ready for a release:\n- the tree is not clean:\n{changes}");
        }
        there.rehearse(args, &plan, &target, out)?;
        if !args.execute {
            writeln!(
                out,
                "dry run: nothing was changed or published; `cargo xtask release{} --execute` does it",
                if version == current {
                    String::new()
                } else {
                    format!(" {version}")
                }
            )?;
            return Ok(());
        }
        if prepared {
            for name in PREPARED {
                let text = std::fs::read_to_string(root.join(name))
                    .with_context(|| format!("cannot read {name}"))?;
                write(&self.root.join(name), &text)?;
            }
            self.git(&["add", "--", PREPARED[0], PREPARED[1], PREPARED[2]])?;
            self.git(&["commit", "--quiet", "-m", &subject(&version)])?;
            writeln!(out, "committed {}", subject(&version))?;
        }
        if self.tag_is_here(&version)?.is_none() {
            let name = format!("v{version}");
            self.git(&["tag", "--annotate", "-m", &subject(&version), &name])?;
            writeln!(out, "tagged {name}")?;
        }
        for name in &plan.crates {
            self.publish(name, args, out)?;
        }
        writeln!(
            out,
            "published {version}; now push it: git push origin main v{version}"
        )?;
        Ok(())
    }

    /// The tools without which a release that is made would skip a check.
    fn missing_tools(&self, args: &Args) -> Vec<String> {
        if !args.execute {
            return Vec::new();
        }
        let mut missing: Vec<&str> = Vec::new();
        if !args.skip_ci {
            missing.extend(ci::missing(self.is_installed));
        }
        if self.last_release().is_some() && !(self.is_installed)(SEMVER_CHECKS) {
            missing.push(SEMVER_CHECKS);
        }
        let told = |tool| format!("{tool} is not installed (cargo install --locked {tool})");
        missing.into_iter().map(told).collect()
    }

    /// The tag of the release before this one.
    fn last_release(&self) -> Option<String> {
        self.git(&["describe", "--tags", "--abbrev=0", "--match", "v*", "HEAD^"])
            .ok()
    }

    /// The crates whose names are others' at the registry: it has versions of them that no tag of ours made. `begun` is the version
    /// of a release that has begun, whose tag may be missing yet.
    fn taken_names(&self, args: &Args, plan: &Plan, begun: Option<&Version>) -> anyhow::Result<Vec<String>> {
        let registry = args.registry.as_deref();
        let index = Index::find(self.root, registry).context("cannot ask for the crates' names")?;
        let tags = self.git(&["tag", "--list", "v*"])?;
        let mut ours: BTreeSet<String> = tags
            .lines()
            .filter_map(|tag| Some(tag.strip_prefix('v')?.to_owned()))
            .collect();
        ours.extend(begun.map(Version::to_string));
        let mut taken = Vec::new();
        for name in &plan.crates {
            // A registry takes names that differ in these characters alone for the same.
            for spelled in BTreeSet::from([name.clone(), name.replace('-', "_")]) {
                let versions = index
                    .versions(&spelled)
                    .with_context(|| format!("cannot ask for the name of the crate `{spelled}`"))?;
                let others: Vec<String> = versions
                    .into_iter()
                    .filter(|version| !ours.contains(version))
                    .collect();
                if !others.is_empty() {
                    taken.push(format!(
                        "the name `{spelled}` is taken: no tag here made its versions {}; publish `{name}` under another name \
                         (`package.name`, while `lib.name` keeps its name in code), or have its owners hand it over (cargo owner --list {spelled})",
                        others.join(", ")
                    ));
                }
            }
        }
        Ok(taken)
    }

    /// What is wrong with where the release would be made from.
    fn wrong_place(&self, version: &Version) -> anyhow::Result<Vec<String>> {
        let mut problems = Vec::new();
        let branch = self.git(&["rev-parse", "--abbrev-ref", "HEAD"])?;
        let tagged = self.tag_is_here(version)?;
        if branch != "main" && tagged != Some(true) {
            problems.push(format!(
                "releases are made from main or from the tag v{version}, not from {branch}"
            ));
        }
        if tagged == Some(false) {
            problems.push(format!("the tag v{version} is at another commit"));
        }
        // What is published cannot be taken back, so it has to be possible to push it.
        let origin = "refs/remotes/origin/main";
        if branch == "main"
            && self.git(&["rev-parse", "--quiet", "--verify", origin]).is_ok()
            && self
                .git(&["merge-base", "--is-ancestor", origin, "HEAD"])
                .is_err()
        {
            problems.push("main lacks commits of origin/main: pull them first".to_owned());
        }
        Ok(problems)
    }

    /// Whether each file of a release is here as it is committed, or as it is prepared `there`; on whatever day.
    fn is_on_the_way_to(&self, there: &Place<'_>) -> anyhow::Result<bool> {
        for name in PREPARED {
            let read = |root: &Path| {
                std::fs::read_to_string(root.join(name)).with_context(|| format!("cannot read {name}"))
            };
            let (here, prepared) = (read(self.root)?, read(there.root)?);
            let committed = self.git(&["show", &format!("HEAD:{name}")])?;
            if here.trim_end() != committed && undated(&here) != undated(&prepared) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Tries what a release does, up to the upload, on what is prepared here.
    fn rehearse(&self, args: &Args, plan: &Plan, target: &Path, out: &mut dyn Write) -> anyhow::Result<()> {
        match self.last_release() {
            None => writeln!(out, "semver: skipped, there is no release to compare with")?,
            Some(_) if !(self.is_installed)(SEMVER_CHECKS) => writeln!(
                out,
                "semver: skipped, {SEMVER_CHECKS} is not installed (cargo install --locked {SEMVER_CHECKS})"
            )?,
            Some(last) => {
                self.cargo_shown(&["semver-checks", "--workspace", "--baseline-rev", &last], target)?;
            }
        }
        // All at once: no crate of a new version can be built against neighbours that are not published yet, unless cargo
        // is told of all of them.
        let mut arguments = vec!["publish", "--dry-run", "--allow-dirty"];
        if args.no_verify {
            arguments.push("--no-verify");
        }
        if let Some(registry) = &args.registry {
            arguments.extend(["--registry", registry]);
        }
        for name in &plan.crates {
            arguments.extend(["-p", name]);
        }
        self.cargo_shown(&arguments, target)
    }

    /// Writes version and changelog of the release, unless they are written; whether there was something to write.
    fn prepare(&self, current: &Version, version: &Version) -> anyhow::Result<bool> {
        let mut changed = false;
        if current != version {
            let path = self.root.join("Cargo.toml");
            let manifest = std::fs::read_to_string(&path).context("cannot read Cargo.toml")?;
            write(&path, &with_version(&manifest, version)?)?;
            // The lock file names our own crates with their versions.
            self.cargo(&["update", "--workspace", "--offline"])?;
            changed = true;
        }
        let path = self.root.join(CHANGELOG);
        let changelog = std::fs::read_to_string(&path).with_context(|| format!("cannot read {CHANGELOG}"))?;
        if section(&changelog, &version.to_string()).is_none() {
            let date = jiff::Timestamp::now().strftime("%Y-%m-%d").to_string();
            write(&path, &with_section(&changelog, version, &date)?)?;
            changed = true;
        }
        Ok(changed)
    }

    /// Publishes a crate, unless it is up; waits when the registry asks for that.
    fn publish(&self, name: &str, args: &Args, out: &mut dyn Write) -> anyhow::Result<()> {
        let mut arguments = vec!["publish", "--locked", "-p", name];
        if args.no_verify {
            arguments.push("--no-verify");
        }
        if let Some(registry) = &args.registry {
            arguments.extend(["--registry", registry]);
        }
        for _ in 0..=MAX_WAITS {
            writeln!(out, "== publish {name}")?;
            let output = self
                .command(workspace::cargo().as_os_str(), &arguments)
                .stdout(Stdio::null())
                .output()
                .context("cannot start cargo")?;
            let errors = String::from_utf8_lossy(&output.stderr);
            if output.status.success() {
                return Ok(());
            }
            if is_up(&errors) {
                writeln!(out, "{name} is up already")?;
                return Ok(());
            }
            let Some(wait) = patience(&errors, jiff::Timestamp::now()) else {
                bail!(
                    "publishing {name} failed; what is up stays up, and the same command goes on from here:\n{}",
                    errors.trim()
                );
            };
            writeln!(
                out,
                "the registry asks for patience: {name} again in {} s",
                wait.as_secs()
            )?;
            (self.sleep)(wait);
        }
        bail!("the registry still asks for patience; the same command goes on with {name}")
    }

    /// Whether the tag of a version is at this commit; `None` when there is no such tag.
    fn tag_is_here(&self, version: &Version) -> anyhow::Result<Option<bool>> {
        let tag = format!("refs/tags/v{version}^{{commit}}");
        match self.git(&["rev-parse", "--quiet", "--verify", &tag]) {
            Ok(commit) => Ok(Some(commit == self.git(&["rev-parse", "HEAD"])?)),
            Err(_) => Ok(None),
        }
    }

    fn metadata(&self) -> anyhow::Result<Metadata> {
        let text = self.cargo(&["metadata", "--no-deps", "--format-version", "1"])?;
        serde_json::from_str(&text).context("cargo metadata printed something unknown")
    }

    fn git(&self, arguments: &[&str]) -> anyhow::Result<String> {
        git(self.root, arguments)
    }

    fn cargo(&self, arguments: &[&str]) -> anyhow::Result<String> {
        self.output(workspace::cargo().as_os_str(), arguments)
    }

    fn command(&self, program: &std::ffi::OsStr, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .current_dir(self.root)
            .stdin(Stdio::null());
        command
    }

    fn output(&self, program: &std::ffi::OsStr, arguments: &[&str]) -> anyhow::Result<String> {
        let output = self
            .command(program, arguments)
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
        let text = String::from_utf8(output.stdout)
            .with_context(|| format!("`{}` printed something that is not text", program.display()))?;
        Ok(text.trim_end().to_owned())
    }

    /// Runs cargo with its output on the terminal.
    fn cargo_shown(&self, arguments: &[&str], target: &Path) -> anyhow::Result<()> {
        let status = self
            .command(workspace::cargo().as_os_str(), arguments)
            .env("CARGO_TARGET_DIR", target)
            .status()
            .context("cannot start cargo")?;
        if !status.success() {
            bail!("`cargo {}` failed", arguments.join(" "));
        }
        Ok(())
    }
}

const CHANGELOG: &str = "CHANGELOG.md";
/// Compares public interfaces with those of the release before.
const SEMVER_CHECKS: &str = "cargo-semver-checks";

/// The subject of a release's commit.
fn subject(version: &Version) -> String {
    format!("Release {version}")
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| format!("cannot write `{}`", path.display()))
}

/// The workspace's manifest with another version, also where its crates ask for each other.
fn with_version(manifest: &str, version: &Version) -> anyhow::Result<String> {
    let mut document: toml_edit::DocumentMut = manifest.parse().context("Cargo.toml cannot be read")?;
    let text = version.to_string();
    let workspace = document
        .get_mut("workspace")
        .and_then(toml_edit::Item::as_table_like_mut)
        .context("Cargo.toml has no [workspace]")?;
    let own = workspace
        .get_mut("package")
        .and_then(|package| package.get_mut("version"))
        .context("Cargo.toml has no workspace.package.version")?;
    set(own, &text);
    if let Some(dependencies) = workspace
        .get_mut("dependencies")
        .and_then(toml_edit::Item::as_table_like_mut)
    {
        for (_, dependency) in dependencies.iter_mut() {
            if dependency.get("path").is_some()
                && let Some(of) = dependency.get_mut("version")
            {
                set(of, &text);
            }
        }
    }
    Ok(document.to_string())
}

/// Replaces a value and keeps what is around it.
fn set(item: &mut toml_edit::Item, text: &str) {
    if let Some(value) = item.as_value_mut() {
        let decor = value.decor().clone();
        *value = text.into();
        *value.decor_mut() = decor;
    }
}

/// The changelog in which what was unreleased is released, under a new and empty `Unreleased`.
fn with_section(changelog: &str, version: &Version, date: &str) -> anyhow::Result<String> {
    let heading = "## [Unreleased]\n";
    let (before, after) = changelog
        .split_once(heading)
        .with_context(|| format!("{CHANGELOG} has no section `## [Unreleased]`"))?;
    Ok(format!("{before}{heading}\n## [{version}] - {date}\n{after}"))
}

/// A changelog without the days of its releases.
fn undated(text: &str) -> String {
    let lines = text.lines().map(|line| match line.split_once("] - ") {
        Some((heading, _)) if heading.starts_with("## [") => heading,
        _ => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Whether cargo says that this version of a crate is in the registry.
fn is_up(errors: &str) -> bool {
    errors.contains("already exists on") || errors.contains("is already uploaded")
}

/// How long to wait when the registry has had enough for now: until the moment that it names, or a minute.
fn patience(errors: &str, now: jiff::Timestamp) -> Option<Duration> {
    if !errors.contains("status 429") && !errors.contains("Too Many Requests") {
        return None;
    }
    let named = errors.split_once("try again after ").and_then(|(_, rest)| {
        // `Tue, 28 Nov 2026 10:00:00 GMT`, and more after it.
        let end = rest.find("GMT")? + 3;
        let moment = jiff::fmt::rfc2822::parse(rest.get(..end)?).ok()?;
        let seconds = moment.timestamp().as_second() - now.as_second();
        u64::try_from(seconds.max(1)).ok()
    });
    // An hour at most: who waits longer wants to know.
    Some(Duration::from_secs(named.unwrap_or(60).min(3600)))
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
    let mut things: Vec<(&str, Vec<&str>)> = crates
        .iter()
        .map(|package| {
            let needs = package
                .dependencies
                .iter()
                .filter(|needed| !(needed.req == "*" && needed.kind.as_deref() == Some("dev")))
                .map(|needed| needed.name.as_str());
            (package.name.as_str(), needs.collect())
        })
        .collect();
    things.sort();
    match graph::in_order(&things) {
        Ok(places) => Ok(places
            .into_iter()
            .map(|place| things[place].0.to_owned())
            .collect()),
        Err(circle) => Err(format!(
            "these crates depend on each other in a circle: {}",
            circle.join(", ")
        )),
    }
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
        let place = Place {
            root: workspace::root(),
            sleep: &|_| {},
            is_installed: &|_| true,
        };
        let plan = plan(&place.metadata().unwrap()).unwrap();
        let place = |name: &str| plan.crates.iter().position(|known| known == name).unwrap();
        assert!(place("access-events") < place("ipinsights"));
        assert!(place("ipinsights") < place("ipinsights-client"));
        assert!(place("geodata-sample") < place("geodata"));
        assert!(place("pipeline") < place("pipeline-cli"));
        assert!(!plan.crates.contains(&"xtask".to_owned()));
        let changelog = std::fs::read_to_string(workspace::root().join("CHANGELOG.md")).unwrap();
        let told = [&plan.version, "Unreleased"]
            .iter()
            .any(|name| section(&changelog, name).is_some());
        assert!(
            told,
            "CHANGELOG.md says nothing of {} and nothing of what comes next",
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

    #[test]
    fn versions_follow_each_other() {
        for (current, bump, want) in [
            ("0.1.0", "patch", Ok("0.1.1")),
            ("0.1.9", "minor", Ok("0.2.0")),
            ("0.2.3", "major", Ok("1.0.0")),
            ("1.0.0-rc.1", "patch", Ok("1.0.0")),
            ("1.0.0-rc.1", "minor", Ok("1.0.0")),
            ("1.0.1-rc.1", "minor", Ok("1.1.0")),
            ("1.0.0-rc.1", "major", Ok("1.0.0")),
            ("0.1.0", "0.3.0-beta.1", Ok("0.3.0-beta.1")),
            ("0.1.0", "0.1.0", Ok("0.1.0")),
            (
                "0.2.0",
                "0.1.9",
                Err("0.1.9 is before 0.2.0, which the workspace has"),
            ),
        ] {
            let bump: Bump = bump.parse().unwrap();
            let next = bump.after(&Version::parse(current).unwrap());
            assert_eq!(
                next.map(|version| version.to_string()),
                want.map(str::to_owned).map_err(str::to_owned),
                "{current} {bump:?}"
            );
        }
        for text in ["1.2", "v1.2.3", "big", "1.2.3+build"] {
            assert!(text.parse::<Bump>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_registry_that_asks_for_patience_is_given_it() {
        let now = "2026-11-28T10:00:00Z".parse().unwrap();
        for (errors, want) in [
            (
                "the remote server responded with an error (status 429 Too Many Requests): You have published too many new crates. Please try again after Sat, 28 Nov 2026 10:08:20 GMT and see",
                Some(500),
            ),
            ("status 429 Too Many Requests", Some(60)),
            (
                "status 429, try again after Sat, 28 Nov 2026 09:00:00 GMT",
                Some(1),
            ),
            (
                "status 429, try again after Sun, 29 Nov 2026 09:00:00 GMT",
                Some(3600),
            ),
            ("Packaged 42 files, 429.1KiB; status 403 Forbidden", None),
        ] {
            assert_eq!(patience(errors, now).map(|wait| wait.as_secs()), want, "{errors}");
        }
        assert!(is_up("crate a@0.1.0 already exists on crates.io index"));
    }

    #[test]
    fn a_changelog_gets_the_section_of_its_release() {
        let version = Version::new(0, 2, 0);
        let text = with_section(
            "# C\n\n## [Unreleased]\n\n- new\n\n## [0.1.0]\n",
            &version,
            "2026-11-28",
        )
        .unwrap();
        assert_eq!(
            text,
            "# C\n\n## [Unreleased]\n\n## [0.2.0] - 2026-11-28\n\n- new\n\n## [0.1.0]\n"
        );
        assert!(with_section("# C\n", &version, "").is_err());
    }

    /// A workspace of two crates, of which `b` needs `a`, in a repository of its own.
    fn small_workspace() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let files = [
            (
                "Cargo.toml",
                "[workspace]\nmembers = [\"a\", \"b\"]\nresolver = \"3\"\n\n[workspace.package]\nversion = \"0.1.0\" # of all\nedition = \"2024\"\n\n[workspace.dependencies]\na = { path = \"a\", version = \"0.1.0\" }\n",
            ),
            (".gitignore", "target\n"),
            ("CHANGELOG.md", "# Changelog\n\n## [Unreleased]\n\n- all of it\n"),
            (
                "a/Cargo.toml",
                "[package]\nname = \"a\"\nversion.workspace = true\nedition.workspace = true\ndescription = \"d\"\nlicense = \"MIT\"\nreadme = \"README.md\"\n",
            ),
            ("a/README.md", "a\n"),
            ("a/src/lib.rs", ""),
            (
                "b/Cargo.toml",
                "[package]\nname = \"b\"\nversion.workspace = true\nedition.workspace = true\ndescription = \"d\"\nlicense = \"MIT\"\nreadme = \"README.md\"\n\n[dependencies]\na.workspace = true\n",
            ),
            ("b/README.md", "b\n"),
            ("b/src/lib.rs", "pub use a;\n"),
        ];
        for (name, text) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let place = Place {
            root: folder.path(),
            sleep: &|_| {},
            is_installed: &|_| true,
        };
        place.git(&["init", "--quiet", "--initial-branch=main"]).unwrap();
        for (name, value) in [
            ("user.name", "t"),
            ("user.email", "t@example.com"),
            ("commit.gpgsign", "false"),
        ] {
            place.git(&["config", name, value]).unwrap();
        }
        place.cargo(&["generate-lockfile", "--offline"]).unwrap();
        place.git(&["add", "--all"]).unwrap();
        place.git(&["commit", "--quiet", "-m", "all"]).unwrap();
        folder
    }

    #[test]
    fn a_release_is_prepared_once() {
        let folder = small_workspace();
        let place = Place {
            root: folder.path(),
            sleep: &|_| {},
            is_installed: &|_| true,
        };
        let (old, new) = (Version::new(0, 1, 0), Version::new(0, 2, 0));
        assert!(place.prepare(&old, &new).unwrap());
        assert!(!place.prepare(&new, &new).unwrap());
        let manifest = std::fs::read_to_string(folder.path().join("Cargo.toml")).unwrap();
        assert!(manifest.contains("version = \"0.2.0\" # of all"), "{manifest}");
        assert!(
            manifest.contains("a = { path = \"a\", version = \"0.2.0\" }"),
            "{manifest}"
        );
        let lock = std::fs::read_to_string(folder.path().join("Cargo.lock")).unwrap();
        assert_eq!(lock.matches("version = \"0.2.0\"").count(), 2, "{lock}");
        assert_eq!(plan(&place.metadata().unwrap()).unwrap().crates, ["a", "b"]);
    }

    fn arguments(list: &[&str]) -> Args {
        #[derive(Debug, clap::Parser)]
        struct Cli {
            #[command(flatten)]
            args: Args,
        }
        let cli: Cli = clap::Parser::parse_from(std::iter::once(&"release").chain(list));
        cli.args
    }

    #[test]
    fn what_stands_in_the_way_of_a_release_is_told_at_once() {
        let folder = small_workspace();
        let place = Place {
            root: folder.path(),
            sleep: &|_| {},
            is_installed: &|_| true,
        };
        place.git(&["checkout", "--quiet", "-b", "topic"]).unwrap();
        std::fs::write(folder.path().join("CHANGELOG.md"), "# Changelog\n").unwrap();
        place
            .git(&["commit", "--quiet", "-am", "nothing to tell"])
            .unwrap();
        std::fs::write(folder.path().join("a/README.md"), "changed\n").unwrap();
        let error = place
            .release(&arguments(&["minor", "--execute"]), &mut Vec::new())
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "not ready for a release:\n- the tree is not clean:\nM a/README.md\n- releases are made from main or from the tag \
             v0.2.0, not from topic\n- CHANGELOG.md has no section `## [Unreleased]` with something in it"
                .replace("\nM ", "\n M ")
        );
    }

    #[test]
    fn names_that_others_have_are_told_before_anything_is_published() {
        let folder = small_workspace();
        let place = Place {
            root: folder.path(),
            sleep: &|_| {},
            is_installed: &|_| true,
        };
        let registry = crate::registry::Registry::start(false).unwrap();
        registry.configure(folder.path()).unwrap();
        std::fs::write(folder.path().join(".gitignore"), "target\n.cargo\n").unwrap();
        place.git(&["commit", "--quiet", "-am", "ignore"]).unwrap();
        // Of one crate a version of ours and one of somebody else's, of the other a version alone that is like the one to come.
        place.git(&["tag", "v0.0.1"]).unwrap();
        for (name, version) in [("a", "0.0.1"), ("a", "7.0.0"), ("b", "0.2.0")] {
            registry.add(name, version);
        }
        let plan = plan(&place.metadata().unwrap()).unwrap();
        let names = ["--registry", "local", "--no-verify", "--skip-ci"];
        for execute in [false, true] {
            let mut list = names.to_vec();
            list.push("minor");
            list.extend(execute.then_some("--execute"));
            let error = place.release(&arguments(&list), &mut Vec::new()).unwrap_err();
            let cure = |name: &str| {
                format!(
                    "publish `{name}` under another name (`package.name`, while `lib.name` keeps its name in code), or have its owners \
                     hand it over (cargo owner --list {name})"
                )
            };
            assert_eq!(
                error.to_string(),
                format!(
                    "not ready for a release:\n- the name `a` is taken: no tag here made its versions 7.0.0; {}\n- the name `b` is taken: \
                     no tag here made its versions 0.2.0; {}",
                    cure("a"),
                    cure("b")
                )
            );
            assert_eq!(place.git(&["tag", "--list"]).unwrap(), "v0.0.1");
        }
        // Once a release has begun, its version is ours.
        let taken = place
            .taken_names(&arguments(&names), &plan, Some(&Version::new(0, 2, 0)))
            .unwrap();
        assert_eq!(taken.len(), 1, "{taken:?}");

        // Who cannot be asked keeps a release from being made, and a trial not from going on.
        let elsewhere = ["--registry", "nowhere", "--no-verify", "--skip-ci"];
        let mut list = elsewhere.to_vec();
        list.push("--execute");
        let error = place.release(&arguments(&list), &mut Vec::new()).unwrap_err();
        assert_eq!(error.to_string(), "cannot ask for the crates' names");
        let mut out = Vec::new();
        place.release(&arguments(&elsewhere), &mut out).unwrap_err();
        let out = String::from_utf8(out).unwrap();
        assert!(out.contains("names: not asked for: cannot ask for the crates' names: cargo's configuration has no registry `nowhere`"), "{out}");
    }

    #[test]
    fn no_check_of_a_release_that_is_made_is_skipped() {
        let folder = small_workspace();
        let place = Place {
            root: folder.path(),
            sleep: &|_| {},
            is_installed: &|_| false,
        };
        let problems = |list: &[&str]| place.missing_tools(&arguments(list));
        let deny = "cargo-deny is not installed (cargo install --locked cargo-deny)";
        let semver = "cargo-semver-checks is not installed (cargo install --locked cargo-semver-checks)";
        assert_eq!(problems(&["minor"]), Vec::<String>::new());
        assert_eq!(problems(&["minor", "--execute"]), [deny]);
        // There is nothing to compare a first release with.
        assert_eq!(
            problems(&["minor", "--execute", "--skip-ci"]),
            Vec::<String>::new()
        );
        place.git(&["tag", "v0.0.1"]).unwrap();
        place
            .git(&["commit", "--quiet", "--allow-empty", "-m", "more"])
            .unwrap();
        assert_eq!(problems(&["minor", "--execute"]), [deny, semver]);
        let error = place
            .release(&arguments(&["minor", "--execute", "--skip-ci"]), &mut Vec::new())
            .unwrap_err();
        assert_eq!(error.to_string(), format!("not ready for a release:\n- {semver}"));
        let all = Place {
            is_installed: &|_| true,
            ..place
        };
        assert_eq!(
            all.missing_tools(&arguments(&["minor", "--execute"])),
            Vec::<String>::new()
        );
    }

    #[test]
    fn an_interrupted_release_goes_on_where_it_was() {
        let folder = small_workspace();
        let waits = std::cell::RefCell::new(Vec::new());
        let sleep = |wait: Duration| waits.borrow_mut().push(wait.as_secs());
        let place = Place {
            root: folder.path(),
            sleep: &sleep,
            is_installed: &|_| true,
        };
        let registry = crate::registry::Registry::start(false).unwrap();
        registry.configure(folder.path()).unwrap();
        std::fs::write(folder.path().join(".gitignore"), "target\n.cargo\n").unwrap();
        place.git(&["commit", "--quiet", "-am", "ignore"]).unwrap();
        let release = |list: &[&str]| {
            let fixed = ["--registry", "local", "--no-verify"];
            let list: Vec<&str> = fixed.iter().chain(list).copied().collect();
            let mut out = Vec::new();
            let result = place.release(&arguments(&list), &mut out);
            (result, String::from_utf8(out).unwrap())
        };

        // What lies about in the tree is not taken for part of a release.
        std::fs::write(folder.path().join("CHANGELOG.md"), "# Other\n").unwrap();
        let (result, _) = release(&["minor", "--execute"]);
        let error = result.unwrap_err().to_string();
        assert!(error.contains("the tree is not clean"), "{error}");
        place.git(&["checkout", "--quiet", "CHANGELOG.md"]).unwrap();

        // Nothing changes without being told so.
        let head = place.git(&["rev-parse", "HEAD"]).unwrap();
        let (result, out) = release(&["minor"]);
        result.unwrap();
        assert!(out.contains("release 0.2.0 of 2 crates"), "{out}");
        assert!(
            out.contains("Cargo.toml") && out.contains("CHANGELOG.md"),
            "{out}"
        );
        assert_eq!(place.git(&["rev-parse", "HEAD"]).unwrap(), head);
        assert_eq!(place.git(&["status", "--porcelain"]).unwrap(), "");
        assert_eq!(registry.published(), []);

        // It stops with the second crate, whose package cannot be made.
        registry.refuse(2);
        let broken = "[package]\nname = \"b\"\nversion.workspace = true\nedition.workspace = true\ndescription = \"\"\nlicense = \"MIT\"\nreadme = \"README.md\"\n\n[dependencies]\na.workspace = true\n";
        let manifest = folder.path().join("b/Cargo.toml");
        let good = std::fs::read_to_string(&manifest).unwrap();
        // It is the registry that refuses it.
        std::fs::write(&manifest, broken.replace("\"\"", "\" \"")).unwrap();
        place
            .git(&["commit", "--quiet", "-am", "blank description"])
            .unwrap();
        // Cut off on another day, with one of its files written: it goes on from there.
        let manifest_of_all = folder.path().join("Cargo.toml");
        let text = std::fs::read_to_string(&manifest_of_all).unwrap();
        std::fs::write(
            &manifest_of_all,
            with_version(&text, &Version::new(0, 2, 0)).unwrap(),
        )
        .unwrap();
        let (result, out) = release(&["minor", "--execute"]);
        let error = result.unwrap_err().to_string();
        assert!(
            error.starts_with("publishing b failed; what is up stays up"),
            "{error}"
        );
        assert_eq!(waits.borrow().len(), 2, "{out}");
        assert_eq!(registry.published(), [("a".to_owned(), "0.2.0".to_owned())]);
        assert_eq!(place.git(&["log", "-1", "--format=%s"]).unwrap(), "Release 0.2.0");

        // Repaired within the release's commit, it goes on, and nothing is done twice.
        std::fs::write(&manifest, good).unwrap();
        place
            .git(&["commit", "--quiet", "--amend", "--no-edit", "-a"])
            .unwrap();
        place.git(&["tag", "--delete", "v0.2.0"]).unwrap();
        let (result, out) = release(&["minor", "--execute"]);
        result.unwrap();
        assert!(
            out.contains("a is up already") && !out.contains("committed"),
            "{out}"
        );
        let (result, out) = release(&["minor", "--execute"]);
        result.unwrap();
        assert!(
            out.contains("b is up already") && !out.contains("tagged"),
            "{out}"
        );
        let both =
            [("a", "0.2.0"), ("b", "0.2.0")].map(|(name, version)| (name.to_owned(), version.to_owned()));
        assert_eq!(registry.published(), both);
        assert_eq!(place.git(&["tag", "--list"]).unwrap(), "v0.2.0");
        // The package of b asks this registry for a.
        let changelog = std::fs::read_to_string(folder.path().join("CHANGELOG.md")).unwrap();
        assert!(section(&changelog, "0.2.0").is_some());
    }
}
