//! The same job beside awk and Python, in one run: a log on disk becomes a file of pairs. Run with
//! `cargo bench -p access-events --bench beside`; programs that are not there are passed over.
#![expect(clippy::print_stdout, reason = "its result is for who runs it")]
#![expect(clippy::unwrap_used, reason = "a benchmark fails loudly")]

#[path = "../support/line_logs.rs"]
mod line_logs;
#[allow(unreachable_pub, reason = "a file of several programs")]
#[path = "../support/logs.rs"]
mod logs;

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use access_events::format::{FlowLog, Format, WebLog};
use access_events::{Extract, Input, csv};

const SEED: u64 = 7;
const BYTES: usize = 128 << 20;
/// The best of so many runs counts, on every side.
const RUNS: usize = 3;

const FLOW_AWK: &str = r#"
function own(ip) { return ip ~ /^10\./ || ip ~ /^192\.168\./ || ip ~ /^172\.(1[6-9]|2[0-9]|3[01])\./ }
$13 == "ACCEPT" && $14 == "OK" && own($5) && !own($4) { print $3 "," $4 }
"#;
const FLOW_PYTHON: &str = r#"
import sys
def own(ip):
    return ip.startswith(("10.", "192.168.")) or ip.startswith("172.") and 16 <= int(ip.split(".")[1]) <= 31
out = open(sys.argv[2], "w")
with open(sys.argv[1]) as log:
    for line in log:
        f = line.split(" ")
        if f[12] == "ACCEPT" and f[13] == "OK\n" and own(f[4]) and not own(f[3]):
            out.write(f[2] + "," + f[3] + "\n")
"#;
const WEB_AWK: &str = r#"
$6 == "\"GET" && index($7, "/login_success") == 1 && $9 == 200 && $3 != "-" { print $3 "," $1 }
"#;
const WEB_PYTHON: &str = r#"
import re, sys
line_re = re.compile(r'(\S+) \S+ (\S+) \[[^\]]+\] "((?:[^"\\]|\\.)*)" (\d{3}) ')
out = open(sys.argv[2], "w")
with open(sys.argv[1]) as log:
    for line in log:
        m = line_re.match(line)
        ip, user, request, status = m.groups()
        if request.startswith("GET /login_success") and status == "200" and user != "-":
            out.write(user + "," + ip + "\n")
"#;

fn main() {
    // `cargo test --all-targets` starts benchmarks as well.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let web = || WebLog::new().request("GET /login_success").status(200);
    beside(
        folder.path(),
        "flow log",
        &line_logs::flow_log(SEED, BYTES),
        &FlowLog::new,
        FLOW_AWK,
        FLOW_PYTHON,
    );
    beside(
        folder.path(),
        "web log",
        &line_logs::web_log(SEED, BYTES),
        &web,
        WEB_AWK,
        WEB_PYTHON,
    );
}

fn beside<F: Format + 'static>(
    folder: &Path,
    name: &str,
    text: &str,
    format: &dyn Fn() -> F,
    awk: &str,
    python: &str,
) {
    let [log, ours, theirs] = ["log", "ours.csv", "theirs.csv"].map(|name| folder.join(name));
    File::create(&log).unwrap().write_all(text.as_bytes()).unwrap();
    let lines = text.lines().count();
    println!("{name}: {} MB, {lines} lines", text.len() / 1_000_000);
    let speed = |time: Duration| text.len() as f64 / 1e6 / time.as_secs_f64();

    let own = best(|| {
        let mut writer = csv::Writer::new(File::create(&ours).unwrap());
        let extract = Extract::of(format());
        extract
            .run([Input::file(&log)], |dated| Ok(writer.write(&dated.event)?))
            .unwrap();
        writer.finish().unwrap();
    });
    println!("  access-events {:>8.0} MB/s", speed(own));
    for (program, arguments) in [
        ("mawk", ["-f", awk]),
        ("gawk", ["-f", awk]),
        ("python3", ["", python]),
    ] {
        let source = folder.join("program");
        std::fs::write(&source, arguments[1]).unwrap();
        let run = || {
            let mut command = Command::new(program);
            command.args(arguments[..1].iter().filter(|argument| !argument.is_empty()));
            command.arg(&source).arg(&log);
            if program == "python3" {
                command.arg(&theirs);
            } else {
                command.stdout(File::create(&theirs).unwrap()).env("LC_ALL", "C");
            }
            command.status()
        };
        if Command::new(program).arg("--version").output().is_err() {
            println!("  {program:<13} not there");
            continue;
        }
        let time = best(|| assert!(run().unwrap().success()));
        let same = std::fs::read(&ours).unwrap() == std::fs::read(&theirs).unwrap();
        println!(
            "  {program:<13} {:>8.0} MB/s, {:.1} times slower; {}",
            speed(time),
            time.as_secs_f64() / own.as_secs_f64(),
            if same { "the same pairs" } else { "OTHER PAIRS" },
        );
    }
}

fn best(mut run: impl FnMut()) -> Duration {
    let time = || {
        let start = Instant::now();
        run();
        start.elapsed()
    };
    std::iter::repeat_with(time).take(RUNS).min().unwrap()
}
