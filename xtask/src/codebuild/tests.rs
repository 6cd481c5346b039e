//! Builds of repositories made for the purpose, each in a temporary folder.

use std::path::Path;
use std::process::Command;

use clap::Parser;
use expect_test::{Expect, expect};

use super::*;

/// Ends a test, saying so, where a program is missing that a machine with a Rust toolchain need not have.
macro_rules! needs {
    ($program:literal) => {
        if !workspace::is_installed($program) {
            println!("skipped: {} is not installed", $program);
            return;
        }
    };
}

#[derive(Debug, Parser)]
struct Cli {
    #[command(flatten)]
    args: Args,
}

fn git(folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .args([
            "-c",
            "user.name=t",
            "-c",
            "user.email=t@example.com",
            "-c",
            "init.defaultBranch=main",
        ])
        .args(arguments)
        .current_dir(folder)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "git {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A bare repository `project.git` whose branch main has this build specification.
struct Repository {
    folder: tempfile::TempDir,
}

impl Repository {
    fn new(buildspec: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        git(folder.path(), &["init", "--quiet", "work"]);
        let repository = Self { folder };
        repository.commit("buildspec.yml", buildspec);
        git(
            repository.folder.path(),
            &["init", "--quiet", "--bare", "project.git"],
        );
        git(&repository.work(), &["remote", "add", "origin", "../project.git"]);
        repository.push("main");
        repository
    }

    fn work(&self) -> PathBuf {
        self.folder.path().join("work")
    }

    fn bare(&self) -> PathBuf {
        self.folder.path().join("project.git")
    }

    fn commit(&self, file: &str, text: &str) -> String {
        std::fs::write(self.work().join(file), text).unwrap();
        git(&self.work(), &["add", "--all"]);
        git(&self.work(), &["commit", "--quiet", "-m", file]);
        git(&self.work(), &["rev-parse", "HEAD"])
    }

    fn push(&self, branch: &str) {
        git(
            &self.work(),
            &[
                "push",
                "--quiet",
                "--follow-tags",
                "origin",
                &format!("HEAD:refs/heads/{branch}"),
            ],
        );
    }

    fn try_build(&self, arguments: &[&str]) -> anyhow::Result<(Summary, String)> {
        let source = self.bare().to_str().unwrap().to_owned();
        let output = self.folder.path().join("builds").to_str().unwrap().to_owned();
        let fixed = ["codebuild", "--source", &source, "--output", &output];
        let cli = Cli::parse_from(fixed.iter().copied().chain(arguments.iter().copied()));
        let mut log = Vec::new();
        let summary = build(&cli.args, &mut log)?;
        Ok((summary, String::from_utf8(log).unwrap()))
    }

    fn build(&self, arguments: &[&str]) -> (Summary, String) {
        self.try_build(arguments).unwrap()
    }
}

/// What commands printed, and our own lines without time, ids, durations and paths.
fn redact(summary: &Summary, log: &str) -> String {
    let mut out = String::new();
    for line in log.lines() {
        let line = line
            .replace(&summary.build_id, "ID")
            .replace(&summary.resolved_source_version, "COMMIT");
        let line = line.replace(&summary.source, "SOURCE");
        let line = line.replace(summary.log.parent().unwrap().to_str().unwrap(), "OUTPUT");
        let line = match line.strip_prefix("[codebuild] ") {
            Some(note) => match note.get(24..) {
                Some(text) if text.ends_with(" s") => format!("> {} N s", text[..26].trim_end()),
                Some(text) => format!("> {text}"),
                None => line,
            },
            None => line,
        };
        out += line.trim_end();
        out += "\n";
    }
    out
}

/// Builds a specification and compares the log.
fn check(buildspec: &str, want: &Expect) -> Summary {
    let repository = Repository::new(buildspec);
    let (summary, log) = repository.build(&[]);
    want.assert_eq(&redact(&summary, &log));
    summary
}

fn phases(summary: &Summary) -> Vec<(&str, Status)> {
    summary
        .phases
        .iter()
        .map(|phase| (phase.phase_type, phase.phase_status))
        .collect()
}

#[test]
fn state_goes_on_from_command_to_command_and_from_phase_to_phase() {
    needs!("git");
    for shell in ["bash", "sh"]
        .into_iter()
        .filter(|shell| workspace::is_installed(shell))
    {
        let repository = Repository::new(&format!(
            r#"
version: 0.2
env:
  shell: {shell}
  variables: {{A: 1.10, B: ""}}
  exported-variables: [C, D, MISSING]
phases:
  install:
    commands:
      - C="two words"; mkdir sub; cd sub
      - echo "$C in $(basename "$PWD")"
  pre_build:
    commands:
      - echo "$C in $(basename "$PWD"), A=$A"
      - export D='line one
        line two'
  build:
    commands:
      - |
        for x in 1 2; do
          echo "x=$x"
        done
      - printf 'no line break'
      - echo "$CODEBUILD_BUILD_SUCCEEDING $CODEBUILD_BUILD_NUMBER $CODEBUILD_SOURCE_VERSION"
      - test "$CODEBUILD_SRC_DIR/sub" = "$PWD" && test "$CODEBUILD_RESOLVED_SOURCE_VERSION" = "$(git rev-parse HEAD)"
"#
        ));
        let (summary, log) = repository.build(&[]);
        assert_eq!(summary.status, Status::Succeeded, "{log}");
        expect![[r#"
            > Build ID (number 1) of SOURCE at COMMIT
            > Entering phase INSTALL
            > Running command C="two words"; mkdir sub; cd sub
            > Running command echo "$C in $(basename "$PWD")"
            two words in sub
            > Phase complete: INSTALL State: SUCCEEDED
            > Entering phase PRE_BUILD
            > Running command echo "$C in $(basename "$PWD"), A=$A"
            two words in sub, A=1.10
            > Running command export D='line one line two'
            > Phase complete: PRE_BUILD State: SUCCEEDED
            > Entering phase BUILD
            > Running command for x in 1 2; do
            >   echo "x=$x"
            > done
            x=1
            x=2
            > Running command printf 'no line break'
            no line break
            > Running command echo "$CODEBUILD_BUILD_SUCCEEDING $CODEBUILD_BUILD_NUMBER $CODEBUILD_SOURCE_VERSION"
            1 1 refs/heads/main
            > Running command test "$CODEBUILD_SRC_DIR/sub" = "$PWD" && test "$CODEBUILD_RESOLVED_SOURCE_VERSION" = "$(git rev-parse HEAD)"
            > Phase complete: BUILD State: SUCCEEDED
            > The exported variable MISSING is not set
            > DOWNLOAD_SOURCE  SUCCEEDED N s
            > INSTALL          SUCCEEDED N s
            > PRE_BUILD        SUCCEEDED N s
            > BUILD            SUCCEEDED N s
            > exported C=two words
            > exported D=line one line two
            > Build SUCCEEDED: ID
        "#]]
        .assert_eq(&redact(&summary, &log));
        assert_eq!(summary.build_number, 1);
        let (again, _) = repository.build(&["--ref", "main"]);
        assert_eq!((again.build_number, again.source_version.as_str()), (2, "main"));
    }
}

#[test]
fn a_failed_build_is_followed_by_post_build_and_nothing_else_of_its_phase() {
    needs!("git");
    let summary = check(
        r#"
version: 0.2
phases:
  build:
    commands: ["echo one", "(exit 3)", "echo never"]
    finally: ["echo finally $CODEBUILD_BUILD_SUCCEEDING"]
  post_build:
    commands: ["echo post $CODEBUILD_BUILD_SUCCEEDING"]
artifacts:
  files: [buildspec.yml]
"#,
        &expect![[r#"
            > Build ID (number 1) of SOURCE at COMMIT
            > Entering phase BUILD
            > Running command echo one
            one
            > Running command (exit 3)
            > Running command echo finally $CODEBUILD_BUILD_SUCCEEDING
            finally 0
            > Phase complete: BUILD State: FAILED
            > Error while executing command: (exit 3). Reason: exit status 3
            > Entering phase POST_BUILD
            > Running command echo post $CODEBUILD_BUILD_SUCCEEDING
            post 0
            > Phase complete: POST_BUILD State: SUCCEEDED
            > Entering phase UPLOAD_ARTIFACTS
            > Phase complete: UPLOAD_ARTIFACTS State: SUCCEEDED
            > DOWNLOAD_SOURCE  SUCCEEDED N s
            > BUILD            FAILED N s
            > POST_BUILD       SUCCEEDED N s
            > UPLOAD_ARTIFACTS SUCCEEDED N s
            > 1 artifacts in OUTPUT/artifacts
            > Build FAILED: ID
        "#]],
    );
    assert_eq!(summary.status, Status::Failed);
    assert_eq!(summary.artifacts, ["buildspec.yml"]);
}

#[test]
fn a_failed_install_ends_the_build() {
    needs!("git");
    for (key, want) in [("install", 1), ("pre_build", 1), ("build", 2)] {
        let text = format!(
            "version: 0.2\nphases:\n  {key}: {{commands: [exit 2]}}\n  post_build: {{commands: [true]}}\n"
        );
        let (summary, _) = Repository::new(&text).build(&[]);
        assert_eq!(phases(&summary).len(), 1 + want, "{key}");
        assert_eq!(summary.status, Status::Failed);
    }
}

#[test]
fn on_failure_decides_what_follows() {
    needs!("git");
    use Status::{Failed, Succeeded};
    let of = |on_failure: &str| {
        let text = format!(
            "version: 0.2\nphases:\n  pre_build: {{on-failure: {on_failure}, commands: [false]}}\n  build: {{on-failure: \
             {on_failure}, commands: [false]}}\n  post_build: {{commands: [true]}}\n"
        );
        Repository::new(&text).build(&[]).0
    };
    let summary = of("CONTINUE");
    assert_eq!(
        phases(&summary)[1..],
        [
            ("PRE_BUILD", Failed),
            ("BUILD", Failed),
            ("POST_BUILD", Succeeded)
        ]
    );
    assert_eq!(summary.status, Failed, "a build with a failed phase has failed");
    assert_eq!(phases(&of("ABORT"))[1..], [("PRE_BUILD", Failed)]);
}

#[test]
fn a_command_that_ends_the_shell_ends_its_phase() {
    needs!("git");
    for (command, status) in [
        ("exit 7", Some("exit status 7")),
        ("set -e; false", Some("exit status 1")),
        ("exit 0", None),
    ] {
        let text = format!(
            "version: 0.2\nphases:\n  build: {{commands: [\"X=1; {command}\"]}}\n  post_build: {{commands: [echo X=$X]}}\n"
        );
        let (summary, log) = Repository::new(&text).build(&[]);
        let message = summary.phases[1].message.as_deref();
        assert_eq!(message.is_none(), status.is_none(), "{command}: {message:?}");
        if let (Some(message), Some(status)) = (message, status) {
            assert!(message.ends_with(status), "{message}");
        }
        assert!(log.contains("\nX=1\n"), "the state is kept: {log}");
    }
}

#[test]
fn a_syntax_error_is_an_error_of_its_command() {
    needs!("git");
    let (summary, log) =
        Repository::new("version: 0.2\nphases:\n  build:\n    commands: [echo one, 'if then', echo never]\n")
            .build(&[]);
    assert_eq!(summary.status, Status::Failed);
    assert!(log.contains("\none\n") && !log.contains("\nnever\n"), "{log}");
    let message = summary.phases[1].message.as_deref().unwrap();
    assert!(
        message.starts_with("Error while executing command: if then. Reason: exit status"),
        "{message}"
    );
}

#[test]
fn a_process_in_the_background_does_not_hold_the_build() {
    needs!("git");
    let started = Instant::now();
    let (summary, _) =
        Repository::new("version: 0.2\nphases:\n  build:\n    commands: ['sleep 20 &', echo on]\n")
            .build(&[]);
    assert_eq!(summary.status, Status::Succeeded);
    assert!(started.elapsed().as_secs() < 15);
}

#[test]
fn secrets_are_not_printed_and_not_exported() {
    needs!("git");
    let repository = Repository::new(
        r#"
version: 0.2
env:
  variables: {DB_PASSWORD: hunter2-in-file}
  exported-variables: [DB_PASSWORD, GREETING]
phases:
  build:
    commands:
      - echo "password is $DB_PASSWORD, token is $MY_TOKEN"
      - LATER_SECRET=made-while-running
      - echo "later $LATER_SECRET"; echo "on stderr $MY_TOKEN" >&2
      - GREETING="hello $MY_TOKEN"
      - echo hunter2-in-file; exit 1
"#,
    );
    let (summary, log) = repository.build(&["--env", "MY_TOKEN=given-at-the-start"]);
    let json = serde_json::to_string(&summary).unwrap();
    let file = std::fs::read_to_string(&summary.log).unwrap();
    for text in [&log, &json, &file] {
        for secret in ["hunter2-in-file", "given-at-the-start"] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }
    assert!(
        log.contains("password is ***, token is ***")
            && log.contains("later ***")
            && log.contains("on stderr ***"),
        "{log}"
    );
    let exported: Vec<_> = summary
        .exported_variables
        .iter()
        .map(|e| (e.name.as_str(), e.value.as_str()))
        .collect();
    assert_eq!(exported, [("DB_PASSWORD", "***"), ("GREETING", "hello ***")]);
}

#[test]
fn a_build_is_of_the_commit_that_was_asked_for() {
    needs!("git");
    let spec = |text: &str| format!("version: 0.2\nphases: {{build: {{commands: [echo {text}]}}}}\n");
    let repository = Repository::new(&spec("first"));
    let first = git(&repository.work(), &["rev-parse", "HEAD"]);
    git(&repository.work(), &["tag", "-a", "-m", "t", "v1"]);
    let second = repository.commit("buildspec.yml", &spec("second"));
    repository.push("main");
    let third = repository.commit("buildspec.yml", &spec("third"));
    repository.push("topic/x");
    for (reference, commit, printed) in [
        (None, &second, "second"),
        (Some("main"), &second, "second"),
        (Some("topic/x"), &third, "third"),
        (Some("v1"), &first, "first"),
        (Some(first.as_str()), &first, "first"),
        (Some(&first[..10]), &first, "first"),
    ] {
        let arguments: Vec<&str> = reference
            .map(|reference| vec!["--ref", reference])
            .unwrap_or_default();
        let (summary, log) = repository.build(&arguments);
        assert_eq!(&summary.resolved_source_version, commit, "{reference:?}");
        assert!(log.contains(&format!("\n{printed}\n")), "{reference:?}: {log}");
    }
    let error = repository.try_build(&["--ref", "no-such"]).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("has no branch, tag or commit `no-such`"),
        "{error}"
    );
}

#[test]
fn nothing_runs_when_a_key_is_not_implemented() {
    needs!("git");
    let repository =
        Repository::new("version: 0.2\nphases: {build: {commands: [touch /tmp/never]}}\nreports: {}\n");
    let error = repository.try_build(&[]).unwrap_err();
    assert_eq!(
        format!("{error:#}"),
        "the build specification `buildspec.yml` cannot be run: line 3: `reports` is not implemented here"
    );
    let error = repository
        .try_build(&["--buildspec", "../buildspec.yml"])
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the build specification `../buildspec.yml` is not a path within the source"
    );
    let error = repository
        .try_build(&["--buildspec", "ci/other.yml"])
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot read the build specification `ci/other.yml` of this commit"
    );
}

#[test]
fn a_missing_artifact_fails_the_build() {
    needs!("git");
    let (summary, _) = Repository::new(
        "version: 0.2\nphases: {build: {commands: [true]}}\nartifacts: {files: [report.html]}\n",
    )
    .build(&[]);
    assert_eq!(summary.status, Status::Failed);
    assert_eq!(
        summary.phases.last().unwrap().message.as_deref(),
        Some("no matching artifact paths found for `report.html`")
    );
}

#[test]
fn the_workspace_has_a_build_specification_that_can_be_run() {
    let text = std::fs::read_to_string(workspace::root().join("buildspec.yml")).unwrap();
    let spec = buildspec::parse(&text).unwrap();
    let commands: Vec<&str> = spec
        .phases
        .iter()
        .flat_map(|phase| &phase.commands)
        .map(String::as_str)
        .collect();
    assert!(
        commands
            .iter()
            .any(|command| command.contains("cargo test --workspace")),
        "{commands:?}"
    );
    assert!(
        commands
            .iter()
            .any(|command| command.contains("-p pipeline-cli -- run")),
        "{commands:?}"
    );
}
