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
fn a_folder_of_a_repository_stands_for_all_of_it() {
    needs!("git");
    let repository = Repository::new("version: 0.2\nphases: {build: {commands: [cat below/file]}}\n");
    let below = repository.work().join("below");
    std::fs::create_dir(&below).unwrap();
    let commit = repository.commit("below/file", "in a folder\n");
    let source = Source::Path(below);
    assert_eq!(source.project(), "work");
    assert_eq!(
        source.clone_url().unwrap(),
        repository.work().canonicalize().unwrap().to_str().unwrap()
    );
    let clone = repository.folder.path().join("clone");
    let checkout = source::checkout(&source, None, &clone).unwrap();
    assert_eq!(checkout.commit, commit);
    assert!(clone.join("below/file").is_file());
    assert!(!checkout.uncommitted);
    // A change elsewhere in the repository.
    std::fs::write(repository.work().join("buildspec.yml"), "").unwrap();
    std::fs::remove_dir_all(&clone).unwrap();
    assert!(source::checkout(&source, None, &clone).unwrap().uncommitted);
}

#[test]
fn both_variables_of_the_region_are_set() {
    let profile = Some("of-the-profile");
    for (region, default_region, source, profile, want) in [
        (None, None, None, None, ["us-east-1"; 2]),
        (None, None, None, profile, ["of-the-profile"; 2]),
        (
            None,
            Some(""),
            Some("of-the-source"),
            profile,
            ["of-the-source"; 2],
        ),
        (None, Some("b"), Some("of-the-source"), profile, ["b", "b"]),
        (Some("a"), None, None, profile, ["a", "a"]),
        (Some("a"), Some("b"), None, None, ["a", "b"]),
    ] {
        let mut state = State {
            variables: Default::default(),
            folder: PathBuf::new(),
        };
        for (name, value) in [("AWS_REGION", region), ("AWS_DEFAULT_REGION", default_region)] {
            if let Some(value) = value {
                state.set(name, value);
            }
        }
        set_region(&mut state, source, || Ok(profile.map(str::to_owned))).unwrap();
        let set = ["AWS_REGION", "AWS_DEFAULT_REGION"].map(|name| state.get(name).unwrap());
        assert_eq!(set, want);
    }
}

#[test]
fn nothing_runs_when_a_key_is_not_implemented() {
    needs!("git");
    let repository =
        Repository::new("version: 0.2\nphases: {build: {commands: [touch /tmp/never]}}\nsteps: {}\n");
    let error = repository.try_build(&[]).unwrap_err();
    assert_eq!(
        format!("{error:#}"),
        "the build specification `buildspec.yml` cannot be run: line 3: `steps` is not a key of buildspec 0.2"
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
fn a_retry_is_a_new_build_of_the_same_commit() {
    needs!("git");
    let counted = |on_failure: &str, counter: &Path| {
        format!(
            "version: 0.2\nphases:\n  build:\n    on-failure: {on_failure}\n    commands:\n      - echo x >>{counter}\n      - test $(wc -l <{counter}) -ge 3\n  post_build: {{commands: [echo after]}}\n",
            counter = counter.display()
        )
    };
    for (on_failure, builds, status) in [
        ("RETRY", 3, Status::Succeeded),
        ("RETRY-1", 2, Status::Failed),
        ("RETRY-exit status 1", 3, Status::Succeeded),
        ("RETRY-5-exit status 2", 1, Status::Failed),
        ("ABORT", 1, Status::Failed),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let counter = folder.path().join("counter");
        let repository = Repository::new(&counted(on_failure, &counter));
        let (summary, log) = repository.build(&[]);
        assert_eq!(summary.status, status, "{on_failure}: {log}");
        assert_eq!(
            (summary.build_number, summary.auto_retry_number),
            (builds, builds - 1)
        );
        assert_eq!(
            std::fs::read_to_string(&counter).unwrap().lines().count(),
            builds as usize
        );
        assert_eq!(
            log.matches("Running command echo after").count(),
            usize::from(status == Status::Succeeded)
        );
    }
}

#[test]
fn parameters_and_secrets_are_masked_whatever_they_are_called() {
    needs!("git");
    let repository = Repository::new(
        "version: 0.2
env:
  parameter-store: {GREETING: /greeting}
  secrets-manager: {WHO: 'people:first'}
phases:
  build:
    commands: ['echo \"$GREETING, $WHO\"', 'test \"$WHO\" = world-one']
",
    );
    let values = repository.folder.path().join("values.yml");
    std::fs::write(
        &values,
        "parameter-store: {/greeting: hello-value}\nsecrets-manager: {people: {first: world-one}}\n",
    )
    .unwrap();
    let (summary, log) = repository.build(&["--values", values.to_str().unwrap()]);
    assert_eq!(summary.status, Status::Succeeded, "{log}");
    assert!(log.contains("\n***, ***\n"), "{log}");
    for secret in ["hello-value", "world-one"] {
        assert_eq!(log.matches(secret).count(), 0, "{log}");
    }
}

#[test]
fn another_user_is_refused_and_ones_own_is_honoured() {
    needs!("git");
    let me = String::from_utf8(Command::new("id").arg("-un").output().unwrap().stdout).unwrap();
    let me = me.trim();
    let spec =
        |user: &str| format!("version: 0.2\nrun-as: {user}\nphases: {{build: {{commands: [true]}}}}\n");
    let (summary, _) = Repository::new(&spec(me)).build(&[]);
    assert_eq!(summary.status, Status::Succeeded);
    let error = Repository::new(&spec("somebody-else"))
        .try_build(&[])
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("line 2: `run-as: somebody-else` is not implemented here: commands run as {me}")
    );
}

#[test]
fn a_runtime_that_is_not_here_fails_the_install() {
    needs!("git");
    let (summary, _) = Repository::new(
        "version: 0.2\nphases:\n  install: {runtime-versions: {cobol: 1}, commands: [echo never]}\n  build: {commands: [true]}\n",
    )
    .build(&[]);
    assert_eq!(phases(&summary)[1..], [("INSTALL", Status::Failed)]);
    assert_eq!(
        summary.phases[1].message.as_deref(),
        Some("runtime-versions: `cobol` is not a runtime that is known here")
    );
}

#[test]
fn reports_and_secondary_artifacts_are_kept_and_named() {
    needs!("git");
    let repository = Repository::new(
        r#"
version: 0.2
phases:
  build:
    commands:
      - mkdir out
      - echo '<testsuite><testcase/><testcase><failure/></testcase></testsuite>' >out/junit.xml
      - NAME=two
      - echo a >out/a.txt; echo b >out/b.txt
reports:
  arn:aws:codebuild:eu-west-1:1:report-group/unit:
    base-directory: out
    files: ["*.xml"]
artifacts:
  files: [out/a.txt]
  name: all-$NAME-$(echo x)
  secondary-artifacts:
    second: {base-directory: out, files: ["*"], exclude-paths: "*.xml"}
"#,
    );
    let (summary, log) = repository.build(&[]);
    assert_eq!(summary.status, Status::Succeeded, "{log}");
    assert_eq!(summary.artifacts, ["out/a.txt"]);
    assert_eq!(summary.artifacts_name.as_deref(), Some("all-two-x"));
    assert_eq!(summary.secondary_artifacts[0].artifacts, ["a.txt", "b.txt"]);
    let output = summary.log.parent().unwrap();
    assert!(output.join("secondary-artifacts/second/b.txt").is_file());
    assert!(
        output
            .join("reports/arn_aws_codebuild_eu-west-1_1_report-group_unit/junit.xml")
            .is_file()
    );
    let tests = summary.reports[0].tests.unwrap();
    assert_eq!((tests.total, tests.succeeded, tests.failed), (2, 1, 1));
    assert!(log.contains("2 tests, 1 failed, 0 in error, 0 skipped"), "{log}");
}

#[test]
fn the_report_of_tests_that_fail_is_kept() {
    needs!("git");
    let (summary, log) = Repository::new(
        r#"
version: 0.2
phases:
  pre_build:
    commands:
      - echo '<testsuite><testcase><failure/></testcase></testsuite>' >junit.xml
      - exit 1
  build: {commands: [echo never]}
reports:
  tests: {files: [junit.xml]}
  none: {files: [missing.xml]}
artifacts: {files: [junit.xml]}
"#,
    )
    .build(&[]);
    assert_eq!(summary.reports[0].tests.unwrap().failed, 1, "{log}");
    assert!(summary.artifacts.is_empty(), "the build did not come to them");
    assert_eq!(
        summary.phases.last().unwrap().message.as_deref(),
        Some("the report `none` has no files: no matching artifact paths found for `missing.xml`")
    );
}

#[test]
fn a_missing_report_keeps_no_artifact_from_being_collected() {
    needs!("git");
    let (summary, _) = Repository::new(
        "version: 0.2\nphases: {build: {commands: [true]}}\nreports: {r: {files: [x.xml]}}\nartifacts: {files: [buildspec.yml]}\n",
    )
    .build(&[]);
    assert_eq!(summary.status, Status::Failed);
    assert_eq!(summary.artifacts, ["buildspec.yml"]);
}

#[test]
fn groups_of_reports_do_not_share_a_folder() {
    needs!("git");
    let (summary, _) = Repository::new(
        "version: 0.2\nphases: {build: {commands: ['echo \"<testsuite/>\" >x.xml']}}\nreports: {'a:b': {files: [x.xml]}, a_b: {files: [x.xml]}}\n",
    )
    .build(&[]);
    assert_eq!(
        summary.phases.last().unwrap().message.as_deref(),
        Some("the report group `a_b` would share the folder `a_b` with another")
    );
}

#[test]
fn names_and_keys_that_hold_a_secret_are_refused() {
    needs!("git");
    let repository = Repository::new(
        "version: 0.2
phases: {build: {commands: [mkdir deps, 'echo x >deps/x']}}
artifacts: {files: [deps/x], name: 'app-$DEPLOY_TOKEN'}
",
    );
    let (summary, log) = repository.build(&["--env", "DEPLOY_TOKEN=hidden-away"]);
    assert_eq!(summary.artifacts_name, None, "{log}");
    assert_eq!(
        summary.phases.last().unwrap().message.as_deref(),
        Some("`app-$DEPLOY_TOKEN` holds the value of a secret, and names are printed and written down")
    );
    repository.commit(
        "buildspec.yml",
        "version: 0.2
phases: {build: {commands: [mkdir deps, 'echo x >deps/x']}}
cache: {key: 'key-$DEPLOY_TOKEN', paths: [deps]}
",
    );
    repository.push("main");
    let (summary, log) = repository.build(&["--env", "DEPLOY_TOKEN=hidden-away"]);
    assert_eq!(summary.status, Status::Succeeded, "a cache is no condition");
    assert!(
        log.contains("Cache: not saved: `key-$DEPLOY_TOKEN` holds the value of a secret"),
        "{log}"
    );
    for entry in artifacts::entries_below(&repository.folder.path().join("builds")).unwrap() {
        let text = std::fs::read_to_string(entry.path).unwrap();
        assert!(!text.contains("hidden-away"), "{text}");
    }
}

#[test]
fn words_that_are_secrets_change_neither_our_notes_nor_results() {
    needs!("git");
    let repository = Repository::new(
        r#"
version: 0.2
env:
  variables: {PIN_TOKEN: "1", MODE_SECRET: "true", PORT_SECRET: "5432"}
  exported-variables: [COUNT]
phases:
  build:
    commands: ['COUNT=11', 'echo "$A_PASSWORD in $COUNT true 5432"']
artifacts: {files: [buildspec.yml], name: 'all-$COUNT'}
"#,
    );
    let (summary, log) = repository.build(&["--env", "A_PASSWORD=build"]);
    assert_eq!(summary.artifacts_name.as_deref(), Some("all-11"), "{log}");
    assert_eq!(summary.exported_variables[0].value, "11");
    expect![[r#"
        > Build ID (number 1) of SOURCE at COMMIT
        > MODE_SECRET is a word like `true`, which is not masked
        > PIN_TOKEN is too short to be masked
        > PORT_SECRET is a number of few digits, which is not masked
        > Entering phase BUILD
        > Running command COUNT=11
        > Running command echo "$A_PASSWORD in $COUNT true 5432"
        *** in 11 true 5432
        > Phase complete: BUILD State: SUCCEEDED
        > Entering phase UPLOAD_ARTIFACTS
        > Phase complete: UPLOAD_ARTIFACTS State: SUCCEEDED
        > DOWNLOAD_SOURCE  SUCCEEDED N s
        > BUILD            SUCCEEDED N s
        > UPLOAD_ARTIFACTS SUCCEEDED N s
        > exported COUNT=11
        > 1 artifacts in OUTPUT/artifacts
        > Build SUCCEEDED: ID
    "#]]
    .assert_eq(&redact(&summary, &log));
}

#[test]
fn messages_are_masked_where_they_quote_a_command() {
    needs!("git");
    let repository =
        Repository::new("version: 0.2\nphases: {build: {commands: ['test executing = \"\"']}}\n");
    let (summary, log) = repository.build(&["--env", "A_PASSWORD=executing"]);
    let want = "Error while executing command: test *** = \"\". Reason: exit status 1";
    assert_eq!(summary.phases[1].message.as_deref(), Some(want));
    assert!(log.contains(want), "{log}");
}

#[test]
fn commands_that_turn_their_output_elsewhere_are_still_told_apart() {
    needs!("git");
    for shell in ["bash", "sh"]
        .into_iter()
        .filter(|shell| workspace::is_installed(shell))
    {
        let repository = Repository::new(&format!(
            r#"
version: 0.2
env: {{shell: {shell}, exported-variables: [A, B]}}
phases:
  build:
    commands:
      - exec 3>&1 >out.txt 2>&1; A=1
      - echo into the file; B=2
      - test -s out.txt && echo seen >&3
      - exec 3>&- 4>other.txt
      - (exit 5)
  post_build:
    commands:
      - set -x; set -C; true
      - echo traced
"#
        ));
        let (summary, log) = repository.build(&[]);
        let log = redact(&summary, &log);
        assert_eq!(
            summary.phases[1].message.as_deref(),
            Some("Error while executing command: (exit 5). Reason: exit status 5"),
            "{log}"
        );
        let values: Vec<_> = summary
            .exported_variables
            .iter()
            .map(|e| e.value.as_str())
            .collect();
        assert_eq!(values, ["1", "2"], "{log}");
        assert!(
            log.contains(
                "> Running command test -s out.txt && echo seen >&3
seen
> Running command exec 3>&-"
            ),
            "{log}"
        );
        assert_eq!(
            log.matches(
                "Running command echo traced
"
            )
            .count(),
            1,
            "{log}"
        );
        assert!(
            log.contains(
                "+ echo traced
traced
"
            ),
            "{log}"
        );
    }
}

#[test]
fn a_trap_of_the_commands_own_and_a_shell_that_is_replaced_hold_no_build() {
    needs!("git");
    let folder = tempfile::tempdir().unwrap();
    // Who is left in the background holds the output open until somebody opens this pipe.
    let pipe = folder.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let wait = format!("cat {} &", pipe.display());
    for last in ["trap 'echo trapped' EXIT", "exec sh -c 'echo trapped'"] {
        let (summary, log) = Repository::new(&format!(
            "version: 0.2
phases:
  build:
    commands:
      - {wait:?}
      - {last:?}
"
        ))
        .build(&[]);
        assert_eq!(summary.status, Status::Succeeded, "{log}");
        assert!(
            log.contains(
                "
trapped
"
            ),
            "{log}"
        );
        assert!(!folder.path().join("ended").exists());
    }
    std::fs::write(folder.path().join("end"), "").unwrap();
}

#[test]
fn a_line_without_an_end_is_printed_in_parts() {
    needs!("git");
    // The secret stands where the line is cut.
    let (summary, log) = Repository::new(
        r#"
version: 0.2
phases:
  build:
    commands:
      - head -c 1048570 /dev/zero | tr '\0' x; printf '%s' "$A_TOKEN"; head -c 2000000 /dev/zero | tr '\0' y
      - echo after
"#,
    )
    .build(&["--env", "A_TOKEN=secret-value-in-the-way"]);
    assert_eq!(summary.status, Status::Succeeded, "{log}");
    assert!(!log.contains("secret-value") && !log.contains("in-the-way"));
    let lines: Vec<&str> = log.lines().collect();
    let longest = lines.iter().map(|line| line.len()).max().unwrap();
    assert!(longest <= 1 << 20, "{longest}");
    let whole: String = lines
        .iter()
        .filter(|line| !line.starts_with('['))
        .copied()
        .collect();
    assert_eq!(
        whole,
        format!("{}***{}after", "x".repeat(1_048_570), "y".repeat(2_000_000))
    );
}

#[test]
fn a_shell_that_cannot_start_fails_its_phase() {
    needs!("git");
    let repository = Repository::new(
        "version: 0.2\nphases:\n  build: {commands: [mkdir gone, cd gone, rmdir ../gone]}\n  post_build: {commands: [echo never]}\n",
    );
    let (summary, _) = repository.build(&[]);
    assert_eq!(
        phases(&summary)[1..],
        [("BUILD", Status::Succeeded), ("POST_BUILD", Status::Failed)]
    );
    assert!(summary.log.parent().unwrap().join(SUMMARY).is_file());
}

#[test]
fn a_build_of_a_batch_that_cannot_begin_has_failed_and_the_others_go_on() {
    needs!("git");
    let repository = Repository::new(
        "version: 0.2
batch:
  build-list:
    - {identifier: other_user, buildspec: user.yml, ignore-failure: true}
    - {identifier: good}
phases: {build: {commands: [true]}}
",
    );
    repository.commit(
        "user.yml",
        "version: 0.2\nrun-as: somebody-else\nphases: {build: {commands: [true]}}\n",
    );
    repository.push("main");
    let (summary, log) = batch(&repository);
    assert_eq!(summary.status, Status::Succeeded, "{log}");
    let json = serde_json::to_value(&summary).unwrap();
    assert_eq!(json["builds"][0]["status"], "FAILED");
    assert!(
        json["builds"][0]["message"]
            .as_str()
            .unwrap()
            .contains("somebody-else"),
        "{json}"
    );
    assert_eq!(json["builds"][1]["status"], "SUCCEEDED");
}

#[test]
fn a_cache_goes_from_build_to_build() {
    needs!("git");
    let repository = Repository::new(
        r#"
version: 0.2
phases:
  build:
    commands:
      - if [ -f deps/found ]; then echo hit; else mkdir deps; echo 1 >deps/found; fi
      - test -z "$FAIL"
cache:
  key: deps-$(codebuild-hash-files buildspec.yml)
  fallback-keys: [deps-]
  paths: ["deps/**/*", "/nowhere/**"]
"#,
    );
    let (failed, _) = repository.build(&["--env", "FAIL=1"]);
    assert_eq!(failed.status, Status::Failed);
    let (_, log) = repository.build(&[]);
    assert!(
        log.contains("Cache: nothing is there for `deps-") && log.contains("Cache: 1 files saved as `deps-"),
        "{log}"
    );
    assert!(log.contains("`/nowhere/**` is a folder of this machine"), "{log}");
    let (_, log) = repository.build(&[]);
    assert!(
        log.contains("Cache: 1 files restored") && log.contains("\nhit\n"),
        "{log}"
    );
    // Another key, of which the fallback key is the beginning.
    let spec = std::fs::read_to_string(repository.work().join("buildspec.yml")).unwrap();
    repository.commit("buildspec.yml", &format!("{spec}# changed\n"));
    repository.push("main");
    let (_, log) = repository.build(&[]);
    assert!(log.contains("\nhit\n"), "{log}");
}

fn batch(repository: &Repository) -> (batch::BatchSummary, String) {
    let source = repository.bare().to_str().unwrap().to_owned();
    let output = repository
        .folder
        .path()
        .join("builds")
        .to_str()
        .unwrap()
        .to_owned();
    let cli = Cli::parse_from(["codebuild", "--source", &source, "--output", &output, "--batch"]);
    let mut log = Vec::new();
    let summary = batch::run(&cli.args, &mut log).unwrap();
    (summary, String::from_utf8(log).unwrap())
}

#[test]
fn builds_of_a_batch_run_in_order_and_stop_for_those_they_need() {
    needs!("git");
    let spec = |fast_fail: bool| {
        format!(
            r#"
version: 0.2
batch:
  fast-fail: {fast_fail}
  build-graph:
    - {{identifier: last, depend-on: [good, bad]}}
    - {{identifier: good, env: {{variables: {{WORD: hello}}}}}}
    - {{identifier: bad, buildspec: bad.yml}}
    - {{identifier: soft, buildspec: bad.yml, ignore-failure: true}}
    - {{identifier: after, depend-on: [soft]}}
phases:
  build:
    commands: ['echo "$CODEBUILD_BATCH_BUILD_IDENTIFIER says $WORD"']
"#
        )
    };
    for (fast_fail, statuses) in [
        (
            false,
            [
                "good SUCCEEDED",
                "bad FAILED",
                "last STOPPED",
                "soft FAILED",
                "after SUCCEEDED",
            ],
        ),
        (
            true,
            [
                "good SUCCEEDED",
                "bad FAILED",
                "last STOPPED",
                "soft STOPPED",
                "after STOPPED",
            ],
        ),
    ] {
        let repository = Repository::new(&spec(fast_fail));
        repository.commit("bad.yml", "version: 0.2\nphases: {build: {commands: [exit 9]}}\n");
        repository.push("main");
        let (summary, log) = batch(&repository);
        assert_eq!(summary.status, Status::Failed);
        let json = serde_json::to_value(&summary).unwrap();
        let told: Vec<String> = json["builds"]
            .as_array()
            .unwrap()
            .iter()
            .map(|build| {
                format!(
                    "{} {}",
                    build["identifier"].as_str().unwrap(),
                    build["status"].as_str().unwrap()
                )
            })
            .collect();
        assert_eq!(told, statuses, "{log}");
        assert!(log.contains("\ngood says hello\n"), "{log}");
    }
}

#[test]
fn a_watched_branch_is_built_once_for_each_commit() {
    needs!("git");
    let repository = Repository::new("version: 0.2\nphases: {build: {commands: [echo one]}}\n");
    let watch = |builds: &str| {
        let source = repository.bare().to_str().unwrap().to_owned();
        let output = repository
            .folder
            .path()
            .join("builds")
            .to_str()
            .unwrap()
            .to_owned();
        let fixed = [
            "codebuild",
            "--source",
            &source,
            "--output",
            &output,
            "--watch",
            "--ref",
            "main",
        ];
        let cli = Cli::parse_from(fixed.into_iter().chain(["--interval", "0", "--builds", builds]));
        let mut log = Vec::new();
        watch::run(&cli.args, &mut log).unwrap();
        String::from_utf8(log).unwrap()
    };
    assert!(watch("1").contains("\none\n"));
    // Pushed while nobody watched, and one more while somebody does.
    repository.commit(
        "buildspec.yml",
        "version: 0.2\nphases: {build: {commands: [echo two]}}\n",
    );
    repository.push("main");
    std::thread::scope(|scope| {
        let watching = scope.spawn(|| watch("2"));
        let built = repository.folder.path().join("builds/2/summary.json");
        while !built.exists() {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        repository.commit(
            "buildspec.yml",
            "version: 0.2\nphases: {build: {commands: [echo three]}}\n",
        );
        repository.push("main");
        let log = watching.join().unwrap();
        assert!(
            !log.contains("\none\n") && log.contains("\ntwo\n") && log.contains("\nthree\n"),
            "{log}"
        );
    });
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
            .any(|command| command.contains("cargo nextest run --workspace")),
        "{commands:?}"
    );
    assert!(
        commands
            .iter()
            .any(|command| command.contains("-p pipeline-cli -- run")),
        "{commands:?}"
    );
}
