//! The program itself: what it prints and how it ends.
#![expect(clippy::unwrap_used, reason = "a helper of tests fails loudly")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};
use wiremock::matchers::{body_json, header, header_regex, method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

fn xtask() -> Command {
    Command::new(env!("CARGO_BIN_EXE_xtask"))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The names of the tasks in the help, which clap lists between two headings.
fn tasks(help: &str) -> Vec<String> {
    let (_, list) = help.split_once("Commands:\n").unwrap();
    list.lines()
        .take_while(|line| !line.is_empty())
        .filter_map(|line| {
            line.strip_prefix("  ")?
                .split_whitespace()
                .next()
                .map(str::to_owned)
        })
        .filter(|name| name.starts_with(|c: char| c.is_ascii_lowercase()) && name != "help")
        .collect()
}

fn help_of(folder: &Path, arguments: &[&str]) -> Output {
    // As wide as no line is, so that none is wrapped.
    xtask()
        .args(arguments)
        .env("COLUMNS", "1000")
        .current_dir(folder)
        .output()
        .unwrap()
}

#[test]
fn without_arguments_it_lists_the_tasks_of_the_readme() {
    let output = help_of(root(), &[]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(text(&output.stdout), "");
    let listed = tasks(&text(&output.stderr));
    let readme = std::fs::read_to_string(root().join("xtask/README.md")).unwrap();
    for task in &listed {
        assert!(
            readme.lines().any(|line| line.starts_with(&format!("| `{task}"))),
            "xtask/README.md says nothing of `{task}`"
        );
    }
    assert!(listed.len() > 10, "{listed:?}");

    let help = help_of(root(), &["--help"]);
    assert!(help.status.success());
    assert_eq!(tasks(&text(&help.stdout)), listed);
}

#[test]
fn every_task_explains_itself_from_any_folder() {
    let folder = root().join("crates");
    for task in tasks(&text(&help_of(&folder, &["--help"]).stdout)) {
        let output = help_of(&folder, &[&task, "--help"]);
        let help = text(&output.stdout);
        assert!(output.status.success(), "{task}: {}", text(&output.stderr));
        assert!(help.contains(&format!("Usage: cargo xtask {task}")), "{help}");
        // What it does comes first.
        assert!(!help.starts_with("Usage:"), "{help}");
    }
}

#[test]
fn a_task_runs_from_a_folder_below() {
    let lists: Vec<String> = [root().to_owned(), root().join("crates")]
        .iter()
        .map(|folder| {
            let output = help_of(folder, &["ci", "--list"]);
            assert!(output.status.success());
            text(&output.stdout)
        })
        .collect();
    assert!(
        lists[0].ends_with("test: cargo test --workspace\n"),
        "{}",
        lists[0]
    );
    assert_eq!(lists[0], lists[1]);
}

/// Whether a program is in a folder of `PATH`.
fn is_installed(program: &str) -> bool {
    std::env::split_paths(&std::env::var_os("PATH").unwrap()).any(|folder| folder.join(program).is_file())
}

fn git(folder: &Path, arguments: &[&str]) {
    let status = Command::new("git")
        .args(["-c", "user.name=t", "-c", "user.email=t@example.com"])
        .args(arguments)
        .current_dir(folder)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .status()
        .unwrap();
    assert!(status.success(), "git {arguments:?}");
}

/// A repository with this build specification.
fn repository(buildspec: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    git(folder.path(), &["init", "--quiet"]);
    std::fs::write(folder.path().join("buildspec.yml"), buildspec).unwrap();
    git(folder.path(), &["add", "--all"]);
    git(folder.path(), &["commit", "--quiet", "-m", "all"]);
    folder
}

#[test]
fn commands_see_the_region_of_the_profile() {
    if !is_installed("git") {
        println!("skipped: git is not installed");
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let config = place.path().join("config");
    std::fs::write(&config, "[profile builds]\nregion = eu-west-3\n").unwrap();
    let source = repository(
        "version: 0.2\nphases: {build: {commands: ['echo \"$AWS_REGION, $AWS_DEFAULT_REGION\"']}}\n",
    );
    let output = xtask()
        .arg("codebuild")
        .arg("--source")
        .arg(source.path())
        .arg("--output")
        .arg(place.path().join("builds"))
        .env("AWS_CONFIG_FILE", &config)
        .env("AWS_PROFILE", "builds")
        .env_remove("AWS_REGION")
        .env_remove("AWS_DEFAULT_REGION")
        .output()
        .unwrap();
    let log = text(&output.stdout);
    assert!(log.contains("\neu-west-3, eu-west-3\n"), "{log}");
}

const ASKS_THE_ACCOUNT: &str = r#"
version: 0.2
env:
  parameter-store: {LICENCE: /app/licence}
  secrets-manager:
    WHOLE: database
    PASSWORD: "database:password"
    OLD: "database:password:AWSPREVIOUS"
phases:
  build:
    commands:
      - echo "$LICENCE, $PASSWORD, $OLD, $WHOLE"
      - test "$LICENCE" = the-licence && test "$PASSWORD" = of-today && test "$OLD" = of-yesterday
      - test "$WHOLE" = '{"password":"of-today","user":"somebody"}'
"#;

/// Runs a build whose account is at this address.
fn build_at(uri: &str, source: &Path, output: &Path) -> Output {
    let mut command = xtask();
    for name in ["AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_SESSION_TOKEN"] {
        command.env_remove(name);
    }
    command
        .arg("codebuild")
        .arg("--source")
        .arg(source)
        .arg("--output")
        .arg(output)
        .env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
        .env("AWS_SECRET_ACCESS_KEY", "of-the-account")
        .env("AWS_REGION", "eu-west-1")
        .env("AWS_ENDPOINT_URL_SSM", uri)
        .env("AWS_ENDPOINT_URL_SECRETS_MANAGER", format!("{uri}/"))
        .output()
        .unwrap()
}

/// Answers one operation whose request has this body, to who has signed it for the service.
async fn answer(
    server: &MockServer,
    (service, operation): (&str, &str),
    body: Value,
    (status, answer): (u16, Value),
) {
    Mock::given(method("POST"))
        .and(path("/"))
        .and(header("x-amz-target", operation))
        .and(header("content-type", "application/x-amz-json-1.1"))
        .and(header_regex(
            "authorization",
            &format!(
                "^AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/[0-9]{{8}}/eu-west-1/{service}/aws4_request, "
            ),
        ))
        .and(body_json(body))
        .respond_with(ResponseTemplate::new(status).set_body_json(answer))
        .mount(server)
        .await;
}

const PARAMETERS: (&str, &str) = ("ssm", "AmazonSSM.GetParameters");
const SECRETS: (&str, &str) = ("secretsmanager", "secretsmanager.GetSecretValue");

#[tokio::test]
async fn parameters_and_secrets_are_asked_of_the_account() {
    if !is_installed("git") {
        println!("skipped: git is not installed");
        return;
    }
    let server = MockServer::start().await;
    answer(
        &server,
        PARAMETERS,
        json!({"Names": ["/app/licence"], "WithDecryption": true}),
        (
            200,
            json!({"Parameters": [{"Name": "/app/licence", "Value": "the-licence"}], "InvalidParameters": []}),
        ),
    )
    .await;
    for (body, password) in [
        (json!({"SecretId": "database"}), "of-today"),
        (
            json!({"SecretId": "database", "VersionStage": "AWSPREVIOUS"}),
            "of-yesterday",
        ),
    ] {
        let secret = json!({"password": password, "user": "somebody"}).to_string();
        let answered = (200, json!({"Name": "database", "SecretString": secret}));
        answer(&server, SECRETS, body, answered).await;
    }
    let (source, place) = (repository(ASKS_THE_ACCOUNT), tempfile::tempdir().unwrap());
    let output = build_at(&server.uri(), source.path(), place.path());
    let (log, errors) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{log}{errors}");
    assert!(log.contains("\n***, ***, ***, ***\n"), "{log}");
    for secret in ["the-licence", "of-yesterday", "somebody"] {
        // In the commands that are told of as well.
        assert!(!log.contains(secret), "{log}");
    }
}

#[tokio::test]
async fn what_the_account_has_not_or_refuses_is_named() {
    if !is_installed("git") {
        println!("skipped: git is not installed");
        return;
    }
    let licence = json!({"Names": ["/app/licence"], "WithDecryption": true});
    let database = json!({"SecretId": "database"});
    let found = json!({"Parameters": [{"Name": "/app/licence", "Value": "the-licence"}]});
    for (parameter, secret, want) in [
        (
            (
                200,
                json!({"Parameters": [], "InvalidParameters": ["/app/licence"]}),
            ),
            None,
            "error: eu-west-1 has no parameter `/app/licence`\n",
        ),
        (
            (400, json!({"__type": "AccessDeniedException", "message": "no"})),
            None,
            "error: cannot read the parameter `/app/licence` in eu-west-1: HTTP 400: {\"__type\":\"AccessDeniedException\",\"message\":\"no\"}\n",
        ),
        (
            (200, found.clone()),
            Some((400, json!({"__type": "ResourceNotFoundException"}))),
            "error: cannot read the secret `database` in eu-west-1: HTTP 400: {\"__type\":\"ResourceNotFoundException\"}\n",
        ),
        (
            (200, found),
            Some((200, json!({"SecretBinary": "AAAA"}))),
            "error: the secret `database` cannot be the value of a variable: it has a zero byte\n",
        ),
    ] {
        let server = MockServer::start().await;
        answer(&server, PARAMETERS, licence.clone(), parameter).await;
        if let Some(secret) = secret {
            answer(&server, SECRETS, database.clone(), secret).await;
        }
        let (source, place) = (repository(ASKS_THE_ACCOUNT), tempfile::tempdir().unwrap());
        let output = build_at(&server.uri(), source.path(), place.path());
        assert_eq!(text(&output.stderr), want);
        assert_eq!(output.status.code(), Some(2), "there was nothing to build");
        assert_eq!(text(&output.stdout), "", "nothing has run");
    }
}

/// Every file and folder below a folder.
#[cfg(unix)]
fn below(folder: &Path) -> Vec<PathBuf> {
    let entries = walkdir::WalkDir::new(folder).min_depth(1);
    entries
        .into_iter()
        .map(|entry| entry.unwrap().into_path())
        .collect()
}

/// Whether this process, and so every one that it starts, ignores a signal.
#[cfg(unix)]
fn is_ignored(signal: &str) -> bool {
    let number = ["HUP", "INT"].iter().position(|name| *name == signal);
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    // The bits count from SIGHUP.
    matches!((number, mask), (Some(number), Some(mask)) if mask >> number & 1 == 1)
}

#[cfg(unix)]
#[test]
fn a_build_that_is_ended_leaves_neither_files_nor_processes() {
    use std::io::{BufRead, BufReader, Read};
    use std::os::unix::fs::PermissionsExt;

    if !is_installed("git") {
        println!("skipped: git is not installed");
        return;
    }
    for (ignored, signal, status) in [
        ("", "TERM", 143),
        ("", "INT", 130),
        ("", "HUP", 129),
        // As `nohup` starts it.
        ("HUP", "TERM", 143),
    ] {
        // What a job in the background of a shell, or `nohup`, was started with is not ours to change.
        if is_ignored(signal) {
            println!("skipped: SIG{signal} is ignored here");
            continue;
        }
        let place = tempfile::tempdir().unwrap();
        let (temporary, pipe) = (place.path().join("tmp"), place.path().join("pipe"));
        std::fs::create_dir(&temporary).unwrap();
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        // Whoever reads the pipe waits for both of these, and for their end.
        let source = repository(&format!(
            "version: 0.2\nphases:\n  build:\n    commands:\n      - A=1\n      - exec 9>{}; sleep 600 & echo begun >&9; wait\n  post_build: {{commands: [echo never]}}\n",
            pipe.display()
        ));
        // The shell ignores the signal and becomes the program.
        let trap = format!(
            "{} exec \"$@\"",
            if ignored.is_empty() { "" } else { "trap '' HUP;" }
        );
        let mut child = Command::new("sh")
            .args([
                "-c",
                &trap,
                "sh",
                env!("CARGO_BIN_EXE_xtask"),
                "codebuild",
                "--source",
            ])
            .arg(source.path())
            .arg("--output")
            .arg(place.path().join("builds"))
            .args(["--env", "MY_TOKEN=hidden-away"])
            .env("TMPDIR", &temporary)
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        // Once a command is told of, what the command before left is taken over.
        let mut log = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        while !line.contains("Running command exec") {
            line.clear();
            assert!(log.read_line(&mut line).unwrap() > 0, "the log ended");
        }
        let mut reader = BufReader::new(std::fs::File::open(&pipe).unwrap());
        line.clear();
        reader.read_line(&mut line).unwrap();
        assert_eq!(line, "begun\n");

        let folders: Vec<PathBuf> = std::fs::read_dir(&temporary)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        assert_eq!(folders.len(), 2, "the clone and the shell's: {folders:?}");
        for folder in &folders {
            let mode = folder.metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o700, "{}", folder.display());
        }
        // No variables lie about while a command runs.
        for path in below(&temporary).iter().filter(|path| path.is_file()) {
            let bytes = std::fs::read(path).unwrap();
            assert!(
                !String::from_utf8_lossy(&bytes).contains("hidden-away"),
                "{}",
                path.display()
            );
        }

        for signal in [ignored, signal].iter().filter(|signal| !signal.is_empty()) {
            let killed = Command::new("sh")
                .args(["-c", &format!("kill -s {signal} {}", child.id())])
                .status();
            assert!(killed.unwrap().success());
        }
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(status), "{}", text(&output.stderr));
        assert_eq!(text(&output.stderr), format!("error: ended by SIG{signal}\n"));
        let mut rest = String::new();
        log.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "");
        // Both processes that hold the other end are gone.
        line.clear();
        assert_eq!(reader.read_line(&mut line).unwrap(), 0);
        assert_eq!(below(&temporary), Vec::<PathBuf>::new());
    }
}
