//! `ipinsights extract`, as a person or a script starts it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use expect_test::{Expect, expect};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;

use crate::support::{Running, interrupt, ipinsights, succeeded};

fn samples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../access-events/tests/samples")
}

/// A folder with the samples of each kind of log in it, as `samples`.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(samples(), folder.path().join("samples")).unwrap();
    folder
}

/// What is in a folder beside the samples.
fn files(folder: &Path) -> Vec<String> {
    let mut files: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "samples")
        .collect();
    files.sort();
    files
}

fn extract(folder: &Path, args: &[&str]) -> Command {
    ipinsights(folder, &[&["extract"], args].concat())
}

fn run(folder: &Path, args: &[&str]) -> Output {
    extract(folder, args).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// How long it took is no matter of a test.
fn timeless(text: &str) -> String {
    let lines = text.lines().map(|line| match line.rsplit_once(", ") {
        Some((before, seconds)) if seconds.ends_with(" s") => format!("{before}, 0.0 s\n"),
        _ => format!("{line}\n"),
    });
    lines.collect()
}

/// Pairs on stdout, then the summary on stderr.
fn check(args: &[&str], expected: Expect) {
    let folder = folder();
    let output = run(folder.path(), args);
    let code = output.status.code().unwrap();
    let told = timeless(text(&output.stderr));
    expected.assert_eq(&format!("{}--- {code}\n{told}", text(&output.stdout)));
    assert_eq!(files(folder.path()), [""; 0]);
}

#[test]
fn cloudtrail_is_known_by_its_first_bytes() {
    check(
        &["samples/cloudtrail/records.json"],
        expect![[r#"
        AROAIDPPEZS35WEXAMPLE,93.184.216.34
        AIDAJ45Q7YFFAREXAMPLE,8.8.4.4
        --- 0
        1 input (1 cloudtrail), 2.58 KiB, 0.0 s
        3 records, 2 pairs
         left out  why
                1  service-caller
    "#]],
    );
    check(
        &["samples/cloudtrail/records.json", "--principal", "full"],
        expect![[r#"
            AROAIDPPEZS35WEXAMPLE:alice@example.com,93.184.216.34
            AIDAJ45Q7YFFAREXAMPLE,8.8.4.4
            --- 0
            1 input (1 cloudtrail), 2.58 KiB, 0.0 s
            3 records, 2 pairs
             left out  why
                    1  service-caller
        "#]],
    );
}

#[test]
fn web_logs_by_request_and_status() {
    check(
        &[
            "samples/web-log/tutorial.log",
            "--from",
            "web",
            "--request-prefix",
            "GET /login_success",
            "--status",
            "200",
        ],
        expect![[r#"
            user_0,1.2.3.4
            user_1,1.2.3.8
            --- 0
            1 input (1 web), 786 B, 0.0 s
            5 records, 2 pairs
             left out  why
                    2  other-request
                    1  other-status
        "#]],
    );
}

#[test]
fn flow_logs_of_several_files() {
    check(
        &[
            "samples/flow-log/default-v2.log",
            "samples/flow-log/all-v5.log",
            "--from",
            "flow",
            "--entity",
            "interface-id",
            "--port",
            "22",
            "--port",
            "443",
        ],
        expect![[r#"
            eni-0a1b2c3d4e5f60718,93.184.216.34
            eni-0a1b2c3d4e5f60718,9.9.9.9
            eni-0a1b2c3d4e5f60718,52.213.180.42
            eni-0a1b2c3d4e5f60718,198.41.0.4
            --- 0
            2 inputs (2 flow), 2.35 KiB, 0.0 s
            13 records, 4 pairs
             left out  why
                    2  flow-outbound
                    1  flow-answer
                    1  flow-internal
                    1  flow-no-data
                    1  flow-rejected
                    1  flow-skip-data
                    1  ipv6-address
                    1  other-port
        "#]],
    );
}

#[test]
fn tables_and_json_by_their_fields() {
    check(
        &[
            "samples/csv/logins.csv",
            "--from",
            "csv",
            "--entity",
            "tenant",
            "--entity",
            "user",
            "--address",
            "client address",
            "--time",
            "time",
            "--separator",
            ":",
        ],
        expect![[r#"
            acme:alice,93.184.216.34
            "acme:Doe, ""Jane""",8.8.4.4
            --- 0
            1 input (1 csv), 196 B, 0.0 s
            3 records, 2 pairs
             left out  why
                    1  no-principal
        "#]],
    );
    check(
        &[
            "samples/json-lines/logins.jsonl",
            "--from",
            "jsonl",
            "--entity",
            "user.name",
            "--address",
            "client.addresses.0",
        ],
        expect![[r#"
            alice,93.184.216.34
            "Müller ""x""",8.8.4.4
            --- 0
            1 input (1 jsonl), 383 B, 0.0 s
            3 records, 2 pairs
             left out  why
                    1  no-address
        "#]],
    );
}

#[test]
fn what_is_malformed_stops_or_is_counted() {
    check(
        &["samples/hostile/web-log/lines.log", "--from", "web"],
        expect![[r#"
            --- 3
            error: `samples/hostile/web-log/lines.log`: record 1 (line 1): no time in brackets with a request after it; the common format is `host ident user [10/Oct/2000:13:55:36 -0700] "request" status size`; --on-error skip goes on without it
        "#]],
    );
    check(
        &[
            "samples/hostile/web-log/lines.log",
            "--from",
            "web",
            "--on-error",
            "skip",
        ],
        expect![[r#"
            "evil [10/Oct/2000:13:55:36 -0700] ""GET /login_success HTTP/1.0"" 200 1",93.184.216.34
            a\x0ab,93.184.216.34
            M\xfcller,93.184.216.34
            tail\,93.184.216.34
            --- 0
            1 input (1 web), 1.53 KiB, 0.0 s
            24 records, 4 pairs
            20 malformed records skipped:
              `samples/hostile/web-log/lines.log`: record 1 (line 1): no time in brackets with a request after it; the common format is `host ident user [10/Oct/2000:13:55:36 -0700] "request" status size`
              `samples/hostile/web-log/lines.log`: record 2 (line 2): no time in brackets with a request after it; the common format is `host ident user [10/Oct/2000:13:55:36 -0700] "request" status size`
              `samples/hostile/web-log/lines.log`: record 3 (line 3): the request's closing quote is missing
              `samples/hostile/web-log/lines.log`: record 4 (line 4): the request's closing quote is missing
              `samples/hostile/web-log/lines.log`: record 5 (line 5): no status of three digits after the request
              … and 15 more
        "#]],
    );
}

/// Web requests of one user each, on consecutive seconds from midnight on the first of January 2025.
fn requests(users: &[&str]) -> String {
    let line = |(second, user): (usize, &&str)| {
        format!(
            "8.8.{}.{} - {user} [01/Jan/2025:00:{:02}:{:02} +0000] \"GET / HTTP/1.1\" 200 1\n",
            second / 256,
            second % 256,
            second / 60,
            second % 60
        )
    };
    users.iter().enumerate().map(line).collect()
}

#[test]
fn a_split_by_time_trains_and_scores() {
    let folder = folder();
    let path = folder.path();
    let users: Vec<&str> = (0..600).map(|n| ["alice", "bob", "carol"][n % 3]).collect();
    std::fs::write(
        path.join("access.log"),
        requests(&users) + &requests(&["mallory"]),
    )
    .unwrap();
    let args = [
        "access.log",
        "--from",
        "web",
        "--train-until",
        "2025-01-01T00:08:20Z",
        "--output",
        "train.csv",
        "--later",
        "later.csv",
        "--shuffle",
        "7",
        "--min-events",
        "2",
        "--unique",
        "--summary",
        "summary.json",
        "--format",
        "json",
    ];
    let output = succeeded(run(path, &args));
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    let kept: Value = serde_json::from_slice(&std::fs::read(path.join("summary.json")).unwrap()).unwrap();
    assert_eq!(summary, kept);
    assert_eq!(summary["version"], 1);
    assert_eq!(summary["records"], 601);
    assert!(summary["uses"].is_u64(), "{summary}");
    assert_eq!(
        (&summary["pairs"], &summary["later_pairs"]),
        (&500.into(), &100.into())
    );
    assert_eq!(summary["dropped"], serde_json::json!({ "few-events": 1 }));
    assert_eq!(
        (&summary["output"], &summary["later_output"]),
        (&"train.csv".into(), &"later.csv".into())
    );
    let train = std::fs::read_to_string(path.join("train.csv")).unwrap();
    assert_eq!(train.lines().count(), 500);
    assert!(!train.contains("mallory"));
    let mut sorted: Vec<_> = train.lines().collect();
    sorted.sort_unstable();
    assert_ne!(train.lines().collect::<Vec<_>>(), sorted, "not shuffled");
    assert!(text(&output.stderr).is_empty(), "{}", text(&output.stderr));

    // The same again gives the same bytes, and replaces the files.
    let more = ["--threads", "1", "--memory", "1"];
    succeeded(run(path, &[&args[..], &more[..]].concat()));
    assert_eq!(std::fs::read_to_string(path.join("train.csv")).unwrap(), train);

    let ipinsights = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ipinsights"));
        succeeded(command.current_dir(path).args(args).output().unwrap())
    };
    let train = [
        "train",
        "--data",
        "train.csv",
        "--validation",
        "later.csv",
        "-p",
        "epochs=2",
    ];
    ipinsights(&train);
    let score = [
        "score",
        "--model",
        "model.tar.gz",
        "--input",
        "later.csv",
        "--format",
        "json",
    ];
    let scored: Value = serde_json::from_slice(&ipinsights(&score).stdout).unwrap();
    assert_eq!(scored["rows"].as_array().unwrap().len(), 100);
}

#[test]
fn with_a_file_for_the_pairs_the_summary_is_the_result() {
    let folder = folder();
    let path = folder.path();
    let args = [
        "samples/web-log/tutorial.log",
        "--from",
        "web",
        "--output",
        "pairs.csv",
    ];
    let output = succeeded(run(path, &args));
    expect![[r#"
        1 input (1 web), 786 B, 0.0 s
        5 records, 5 pairs to pairs.csv
    "#]]
    .assert_eq(&timeless(text(&output.stdout)));
    expect![[r#"
        user_0,1.2.3.4
        user_0,1.2.3.5
        user_1,1.2.3.6
        user_1,1.2.3.7
        user_1,1.2.3.8
    "#]]
    .assert_eq(&std::fs::read_to_string(path.join("pairs.csv")).unwrap());
    assert_eq!(files(path), ["pairs.csv"]);
}

#[test]
fn without_one_a_json_summary_is_alone_on_stderr() {
    let folder = folder();
    let args = ["samples/cloudtrail/records.json", "--format", "json"];
    let output = succeeded(run(folder.path(), &args));
    assert_eq!(text(&output.stdout).lines().count(), 2);
    let summary: Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(summary["pairs"], 2);
    assert_eq!(summary["output"], Value::Null);
    assert_eq!(summary["formats"], serde_json::json!({ "cloudtrail": 1 }));
    let quiet = ["samples/cloudtrail/records.json", "--quiet"];
    assert!(succeeded(run(folder.path(), &quiet)).stderr.is_empty());
}

#[test]
fn what_is_lost_is_said_to_whoever_wants_no_progress() {
    let folder = folder();
    let rows = "who,from\nana,20.1.2.3\nben,2001:db8::1\ncem\n";
    std::fs::write(folder.path().join("rows.csv"), rows).unwrap();
    let args = [
        "rows.csv",
        "--from",
        "csv",
        "--entity",
        "who",
        "--address",
        "from",
        "-q",
    ];
    let output = succeeded(run(folder.path(), &[&args[..], &["--on-error", "skip"]].concat()));
    assert_eq!(text(&output.stdout), "ana,20.1.2.3\n");
    let told = text(&output.stderr);
    for said in ["1  ipv6-address", "1 malformed record skipped"] {
        assert!(told.contains(said), "{said} is not in {told}");
    }
}

#[test]
fn a_list_from_an_editor_on_windows_is_a_list() {
    let folder = folder();
    let path = folder.path();
    std::fs::write(path.join("rows.csv"), "ana,20.1.2.3\nben,20.1.2.4\n").unwrap();
    std::fs::write(path.join("list"), "\u{feff}ben\r\n").unwrap();
    let args = [
        "rows.csv",
        "--from",
        "csv",
        "--no-header",
        "--entity",
        "1",
        "--address",
        "2",
        "--deny-entity",
        "@list",
    ];
    assert_eq!(text(&succeeded(run(path, &args)).stdout), "ana,20.1.2.3\n");
}

#[test]
fn a_folder_is_read_to_any_depth_and_a_damaged_file_is_told() {
    let folder = folder();
    let path = folder.path();
    let record = std::fs::read(samples().join("cloudtrail/records.json")).unwrap();
    let deep = path.join("AWSLogs/123456789012/CloudTrail/eu-central-1/2025/03/04");
    std::fs::create_dir_all(&deep).unwrap();
    std::fs::create_dir_all(path.join("AWSLogs/123456789012/CloudTrail-Digest")).unwrap();
    let packed = gzip(&record);
    std::fs::write(deep.join("a.json.gz"), &packed).unwrap();
    std::fs::write(deep.join("b.json.gz"), &packed[..packed.len() - 200]).unwrap();
    std::fs::write(deep.join(".c.json.gz"), b"?").unwrap();
    let digest = "123456789012_CloudTrail-Digest_eu-central-1_20250304T000000Z.json.gz";
    std::fs::write(
        path.join("AWSLogs/123456789012/CloudTrail-Digest").join(digest),
        b"?",
    )
    .unwrap();
    let output = succeeded(run(path, &["AWSLogs", "--from", "cloudtrail"]));
    let told = timeless(text(&output.stderr));
    for said in [
        "2 inputs (2 cloudtrail)",
        "digest-file (inputs)",
        "hidden-file (inputs)",
        "1 input not read to the end:",
        "b.json.gz` after record",
        "ends too early",
    ] {
        assert!(told.contains(said), "{said} is not in {told}");
    }
    assert!(text(&output.stdout).lines().count() >= 2);
}

#[test]
fn stdin_is_a_source() {
    let folder = folder();
    let mut child = extract(folder.path(), &["-", "--from", "web"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let log = gzip(requests(&["alice"]).as_bytes());
    child.stdin.take().unwrap().write_all(&log).unwrap();
    let output = succeeded(child.wait_with_output().unwrap());
    assert_eq!(text(&output.stdout), "alice,8.8.0.0\n");
}

#[test]
fn lists_of_networks_and_entities_may_be_files() {
    let folder = folder();
    let path = folder.path();
    std::fs::write(
        path.join("access.log"),
        requests(&["alice", "bob", "carol", "dave"]),
    )
    .unwrap();
    std::fs::write(path.join("networks"), "# ours\n8.8.0.0/30 # all\n\n").unwrap();
    std::fs::write(path.join("entities"), "bob\n\ncarol\n").unwrap();
    let args = [
        "access.log",
        "--from",
        "web",
        "--allow",
        "@networks",
        "--deny",
        "8.8.0.3",
        "--allow-entity",
        "@entities",
        "--allow-entity",
        "alice",
        "--deny-entity",
        "carol",
    ];
    let output = succeeded(run(path, &args));
    assert_eq!(text(&output.stdout), "alice,8.8.0.0\nbob,8.8.0.1\n");
}

#[test]
fn what_goes_wrong_has_a_code_and_a_cure_and_writes_nothing() {
    let folder = folder();
    let path = folder.path();
    std::fs::write(path.join("odd.log"), "what is this\n").unwrap();
    std::fs::write(
        path.join("six.log"),
        requests(&["alice"]).replace("8.8.0.0", "2001:db8::1"),
    )
    .unwrap();
    std::fs::write(path.join("none"), "\n").unwrap();
    std::fs::create_dir(path.join("empty")).unwrap();
    let log = "samples/web-log/tutorial.log";
    let cases: &[(&[&str], i32, &str)] = &[
        (&[], 2, "SOURCE"),
        (&["none.log"], 7, "`none.log` cannot be read"),
        (&["empty"], 7, "there is nothing to read in `empty`"),
        (&["odd.log"], 2, "say it by --from cloudtrail|"),
        (&["odd.log", "--from", "web"], 3, "--on-error skip goes on"),
        (
            &["six.log", "--from", "web", "--ipv6", "reject"],
            3,
            "--ipv6 skip leaves it out",
        ),
        (&["-", "-", "--from", "web"], 2, "only once"),
        (&[log, "--status", "200"], 2, "--status goes with --from web"),
        (
            &[log, "--from", "flow", "--status", "200"],
            2,
            "--status goes with --from web",
        ),
        (
            &[log, "--from", "web", "--time", "t"],
            2,
            "--from csv or --from jsonl",
        ),
        (&[log, "--from", "csv"], 2, "needs --entity and --address"),
        (
            &[log, "--from", "csv", "--entity", "0", "--address", "1"],
            2,
            "no column 0",
        ),
        (
            &[
                log,
                "--from",
                "csv",
                "--entity",
                "a",
                "--address",
                "1",
                "--no-header",
            ],
            2,
            "without a header",
        ),
        (
            &[
                log,
                "--from",
                "csv",
                "--entity",
                "a",
                "--address",
                "b",
                "--delimiter",
                "ab",
            ],
            2,
            "one ASCII character",
        ),
        (
            &[log, "--from", "jsonl", "--entity", "a..b", "--address", "c"],
            2,
            "`a..b` is no path",
        ),
        (&[log, "--from", "flow", "--entity", "user"], 2, "interface-id"),
        (&[log, "--from", "flow", "--columns", "srcadr"], 2, "`srcadr`"),
        (
            &[log, "--from", "web", "--principal", "who"],
            2,
            "role, full, user-name, arn",
        ),
        (
            &[log, "--from", "web", "--since", "yesterday"],
            2,
            "2025-03-01 (UTC)",
        ),
        (
            &[
                log,
                "--from",
                "web",
                "--since",
                "2025-03-02",
                "--until",
                "2025-03-01",
            ],
            2,
            "nothing lies in it",
        ),
        (&[log, "--from", "web", "--allow", "8.8.8.8/8"], 2, "`8.0.0.0/8`"),
        (
            &[log, "--from", "web", "--allow", "@gone"],
            7,
            "the list `gone` cannot be read",
        ),
        (
            &[log, "--from", "web", "--allow-entity", "@none"],
            2,
            "there is nothing in `@none`",
        ),
        (&[log, "--from", "web", "--memory", "0"], 2, "at least"),
        (
            &[log, "--from", "web", "--shuffle", "1", "--temp-dir", "gone"],
            2,
            "`gone`",
        ),
        (
            &[log, "--from", "web", "--train-until", "2025-01-01"],
            2,
            "--later",
        ),
        (
            &[log, "--from", "web", "--output", "a.csv", "--summary", "a.csv"],
            2,
            "`a.csv` is to be written twice",
        ),
        (
            &[log, "--from", "web", "--output", "a.csv", "--summary", "./a.csv"],
            2,
            "a.csv` is to be written twice",
        ),
        (
            &[
                log,
                "--from",
                "csv",
                "--entity",
                "1",
                "--address",
                "2",
                "--since",
                "2025-01-01",
            ],
            2,
            "need --time",
        ),
        (
            &[
                log,
                "--from",
                "jsonl",
                "--entity",
                "a",
                "--address",
                "b",
                "--train-until",
                "2025-01-01",
                "--later",
                "b.csv",
                "--output",
                "a.csv",
            ],
            2,
            "needs --time",
        ),
        (
            &[log, "--from", "web", "--threads", "99999999999999999999"],
            2,
            "from 0 to 1024",
        ),
        (&[log, "--from", "web", "--output", "gone/a.csv"], 7, "gone/a.csv"),
        (&["s3://ab/logs"], 2, "3 to 63"),
        (&["S3://logs/a"], 2, "it begins with s3://"),
        (&["s3://logs/a", "--target", "aws"], 4, "no AWS region"),
        (
            &["s3://logs/a", "--target", "aws", "--region", "eu-west-1"],
            4,
            "no AWS credentials",
        ),
        (
            &["s3://logs/a", "--endpoint-url", "http://127.0.0.1:1"],
            8,
            "no answer",
        ),
    ];
    let before = files(path);
    for (args, code, said) in cases {
        for output in [&["--output", "pairs.csv", "--summary", "summary.json"][..], &[]] {
            let twice = args.contains(&"--output") && !output.is_empty();
            if twice {
                continue;
            }
            let args = [*args, output].concat();
            let output = run(path, &args);
            let told = text(&output.stderr);
            assert_eq!(output.status.code(), Some(*code), "{args:?}: {told}");
            assert!(told.contains(said), "{args:?} does not say {said}: {told}");
            assert!(output.stdout.is_empty(), "{args:?}");
            assert_eq!(files(path), before, "{args:?} left something");
        }
    }
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let folder = folder();
    let path = folder.path();
    let users = vec!["alice"; 3_000];
    std::fs::write(path.join("access.log"), requests(&users).repeat(40)).unwrap();
    let mut child = extract(path, &["access.log", "--from", "web"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = String::new();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    stdout.read_line(&mut first).unwrap();
    drop(stdout);
    assert_eq!(first, "alice,8.8.0.0\n");
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert!(output.stderr.is_empty(), "{}", text(&output.stderr));
}

/// Waits for the end, but not for ever.
fn end(child: &mut Child) -> i32 {
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code().unwrap_or_else(|| panic!("{status}"));
        }
        assert!(began.elapsed() < Duration::from_secs(60), "it does not end");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn ctrl_c_leaves_nothing_half_written() {
    let folder = folder();
    let path = folder.path();
    std::fs::write(path.join("pairs.csv"), "an older file\n").unwrap();
    let args = [
        "-",
        "--from",
        "web",
        "--output",
        "pairs.csv",
        "--summary",
        "summary.json",
    ];
    let mut child = extract(path, &args)
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(requests(&["alice"; 3_000]).as_bytes()).unwrap();
    stdin.flush().unwrap();
    // The temporary files are there once it has begun, and stdin is left open.
    let began = Instant::now();
    while files(path).len() < 3 {
        assert!(began.elapsed() < Duration::from_secs(60), "it does not begin");
        std::thread::sleep(Duration::from_millis(20));
    }
    interrupt(&child);
    assert_eq!(end(&mut child), 130);
    drop(stdin);
    let mut told = String::new();
    child.stderr.take().unwrap().read_to_string(&mut told).unwrap();
    assert!(told.contains("interrupted"), "{told}");
    assert_eq!(files(path), ["pairs.csv"]);
    assert_eq!(
        std::fs::read_to_string(path.join("pairs.csv")).unwrap(),
        "an older file\n"
    );
}

/// The local services, with a bucket `trail`.
struct Services {
    server: Running,
    url: String,
}

impl Services {
    fn start(folder: &Path) -> Self {
        let mut server = Running::unheard(&mut ipinsights(folder, &["serve"]));
        let url = server.line();
        let services = Self { server, url };
        services.put("/trail", b"");
        services
    }

    /// A PUT, as plain as it can be: nobody looks at signatures here.
    fn put(&self, path: &str, body: &[u8]) {
        let host = self.url.strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(host).unwrap();
        let length = body.len();
        let head = format!(
            "PUT {path} HTTP/1.1\r\nhost: {host}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
}

#[test]
fn objects_of_s3_are_read_page_by_page() {
    const OBJECTS: usize = 1_203;
    let folder = folder();
    let path = folder.path();
    let services = Services::start(path);
    for number in 0..OBJECTS {
        let [_, _, c, d] = (number as u32).to_be_bytes();
        let record = format!(
            r#"{{"Records":[{{"eventVersion":"1.09","userIdentity":{{"type":"IAMUser","principalId":"AIDA{number:05}"}},"sourceIPAddress":"8.8.{c}.{d}"}}]}}"#
        );
        services.put(
            &format!("/trail/AWSLogs//day/{number:05}.json.gz"),
            &gzip(record.as_bytes()),
        );
    }
    services.put("/trail/AWSLogs//other/x.json", b"{}");
    let expected: String = (0..OBJECTS)
        .map(|number| format!("AIDA{number:05},8.8.{}.{}\n", number / 256, number % 256))
        .collect();

    let url = services.url.clone();
    let args = ["s3://trail/AWSLogs//day/", "--endpoint-url", &url];
    let output = succeeded(run(path, &args));
    assert_eq!(text(&output.stdout), expected);
    let told = text(&output.stderr);
    assert!(told.contains("1,203 inputs (1,203 cloudtrail)"), "{told}");

    let gone = run(path, &["s3://trail/nothing", "--endpoint-url", &url]);
    assert_eq!(gone.status.code(), Some(7));
    assert!(text(&gone.stderr).contains("there is nothing to read in `s3://trail/nothing`"));
    let gone = run(path, &["s3://nowhere/", "--endpoint-url", &url]);
    assert_eq!(gone.status.code(), Some(7));
    assert!(text(&gone.stderr).contains("--target aws reads from the account"));
    services.server.interrupted();

    // Without a server that runs, the local services are opened for the command, and files may come beside objects.
    let args = [
        "s3://trail/AWSLogs//day/00001.json.gz",
        "samples/cloudtrail/records.json",
    ];
    let output = succeeded(run(path, &args));
    assert_eq!(text(&output.stdout).lines().count(), 3);
    assert!(text(&output.stdout).starts_with("AIDA00001,8.8.0.1\n"));
}
