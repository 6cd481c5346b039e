//! The same job beside jq, awk and Python, in one run: a log on disk becomes a file of pairs. Run with
//! `cargo bench -p access-events --bench beside`, or with `-- cloudtrail`, `flow` or `web` after it for one of the logs. Programs that
//! are not there are passed over. Processor time is told as well where the system has it, since other load does not count in it.
#![expect(clippy::print_stdout, reason = "its result is for who runs it")]
#![expect(clippy::unwrap_used, reason = "a benchmark fails loudly")]

mod cloudtrail;
#[path = "../support/line_logs.rs"]
mod line_logs;
#[allow(unreachable_pub, reason = "a file of several programs")]
#[path = "../support/logs.rs"]
mod logs;

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

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
    let names: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    let wanted = |name: &str| names.is_empty() || names.iter().any(|wanted| wanted == name);
    if wanted("cloudtrail") {
        cloudtrail::run(folder.path());
    }
    let web = || WebLog::new().request("GET /login_success").status(200);
    if wanted("flow") {
        beside(
            folder.path(),
            "flow log",
            &line_logs::flow_log(SEED, BYTES),
            &FlowLog::new,
            FLOW_AWK,
            FLOW_PYTHON,
        );
    }
    if wanted("web") {
        beside(
            folder.path(),
            "web log",
            &line_logs::web_log(SEED, BYTES),
            &web,
            WEB_AWK,
            WEB_PYTHON,
        );
    }
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
    let speed = |seconds: f64| text.len() as f64 / 1e6 / seconds;

    let own = best(|| {
        let mut writer = csv::Writer::new(File::create(&ours).unwrap());
        let extract = Extract::of(format());
        extract
            .run([Input::file(&log)], |dated| Ok(writer.write(&dated.event)?))
            .unwrap();
        writer.finish().unwrap();
    });
    println!("  access-events {:>8.0} MB/s", speed(own.wall));
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
        let theirs_took = best(|| assert!(run().unwrap().success()));
        let same = std::fs::read(&ours).unwrap() == std::fs::read(&theirs).unwrap();
        println!(
            "  {program:<13} {:>8.0} MB/s, {:.1} times slower; {}",
            speed(theirs_took.wall),
            theirs_took.wall / own.wall,
            if same { "the same pairs" } else { "OTHER PAIRS" },
        );
    }
}

/// Seconds that something took.
struct Times {
    wall: f64,
    /// Of the processor, in this process and in those that it has waited for.
    cpu: f64,
}

fn best(mut run: impl FnMut()) -> Times {
    let rounds: Vec<Times> = (0..RUNS).map(|_| timed(&mut run)).collect();
    let least = |time: fn(&Times) -> f64| rounds.iter().map(time).fold(f64::INFINITY, f64::min);
    Times {
        wall: least(|times| times.wall),
        cpu: least(|times| times.cpu),
    }
}

fn timed(run: impl FnOnce()) -> Times {
    let (start, cpu) = (Instant::now(), processor_time());
    run();
    let wall = start.elapsed().as_secs_f64();
    let cpu = match (cpu, processor_time()) {
        (Some(before), Some(after)) => after - before,
        _ => wall,
    };
    Times { wall, cpu }
}

/// What Linux tells of this process and its children, in steps of 10 ms: `proc_pid_stat(5)`, fields 14 to 17.
fn processor_time() -> Option<f64> {
    const TICKS: f64 = 100.0;
    let text = std::fs::read_to_string("/proc/self/stat").ok()?;
    let (_, fields) = text.rsplit_once(')')?;
    let ticks = fields.split_whitespace().skip(11).take(4);
    Some(ticks.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / TICKS)
}
