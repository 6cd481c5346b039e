//! How long reading, checking and building take, and how long npm's `asl-validator` takes for the same file:
//!
//! ```console
//! $ cargo bench -p sfn-builder
//! ```
//!
//! The figures beside the peer are of the processor, so that other load does not count.
//! The peer is installed into a folder of its own where there are `node` and `npm`, or taken from `$ASL_VALIDATOR` (the folder
//! of its package); without them this side is printed alone.

#![expect(clippy::print_stdout, reason = "its result is for who runs it")]
#![expect(clippy::unwrap_used, reason = "a benchmark fails loudly")]

#[allow(unreachable_pub, reason = "a file of several programs")]
mod large;

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use cpu_time::ThreadTime;
use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use serde_json::json;
use sfn_builder::service::lambda;
use sfn_builder::{Catch, Choice, Condition, Document, Fail, Pass, Retry, StateMachine, Succeed, Wait};

const STATES: usize = 5_000;
const ROUNDS: usize = 40;

fn main() {
    divan::main();
    if std::env::args().any(|argument| argument == "--bench") {
        beside();
    }
}

/// Text to JSON, with what its reader notes.
#[divan::bench]
fn parse(bencher: Bencher<'_, '_>) {
    let (text, _) = large::definition(STATES);
    bencher
        .counter(BytesCount::of_str(&text))
        .bench(|| Document::parse(&text).unwrap());
}

/// Text to a checked machine.
#[divan::bench]
fn parse_and_check(bencher: Bencher<'_, '_>) {
    let (text, states) = large::definition(STATES);
    bencher
        .counter(ItemsCount::new(states))
        .bench(|| StateMachine::from_json(&text).unwrap());
}

/// Text to findings with their places: every tenth state names one that does not exist.
#[divan::bench]
fn parse_and_find(bencher: Bencher<'_, '_>) {
    let (text, states) = large::definition(STATES);
    let text = text.replace("0\",\"ResultPath", "0\",\"ResultPaht");
    bencher
        .counter(ItemsCount::new(states))
        .bench(|| Document::parse(&text).unwrap().findings());
}

/// A machine of a thousand states, from the first setter to the checked machine.
#[divan::bench]
fn build(bencher: Bencher<'_, '_>) {
    bencher.counter(ItemsCount::new(1_000_usize)).bench(thousand);
}

fn thousand() -> StateMachine {
    let mut machine = StateMachine::builder("s0");
    for i in 0..998 {
        let next = format!("s{}", i + 1);
        let name = format!("s{i}");
        machine = match i % 5 {
            0 => machine.state(
                name,
                lambda::invoke()
                    .call()
                    .parameters(json!({ "FunctionName": "step", "Payload.$": "$" }))
                    .retry(Retry::all().max_attempts(2))
                    .catch(Catch::all("failed"))
                    .next(next),
            ),
            1 => machine.state(
                name,
                Choice::new()
                    .when(Condition::numeric_greater_than("$.n", i), next.clone())
                    .default(next),
            ),
            2 => machine.state(name, Wait::seconds(5).next(next)),
            3 => machine.state(
                name,
                Pass::new()
                    .result(json!({ "n": i }))
                    .result_path("$.r")
                    .next(next),
            ),
            _ => machine.state(name, Pass::new().input_path("$.r").next(next)),
        };
    }
    machine
        .state("s998", Succeed::new())
        .state("failed", Fail::new().error("Failed"))
        .build()
        .unwrap()
}

/// Runs the peer in one process for all rounds, so that starting `node` does not count.
const SCRIPT: &str = r#"
const fs = require("fs");
const validate = require(process.argv[2]);
const text = fs.readFileSync(process.argv[3], "utf8");
let best = Infinity, valid;
for (let round = 0; round < Number(process.argv[4]); round++) {
    const start = process.cpuUsage();
    valid = validate(JSON.parse(text), { checkPaths: true, checkArn: true }).isValid;
    best = Math.min(best, process.cpuUsage(start).user / 1e3);
}
console.log(best, valid, process.version);
"#;

fn beside() {
    let (text, states) = large::definition(STATES);
    let machine = StateMachine::from_json(&text).unwrap();
    assert_eq!(machine.all_states().len(), states);
    println!(
        "\n{states} states, {:.2} MB, best of {ROUNDS} rounds",
        text.len() as f64 / 1e6
    );
    let parse = best(|| Document::parse(&text).unwrap());
    let own = best(|| StateMachine::from_json(&text).unwrap());
    let build = best(thousand);
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    println!(
        "  sfn-builder    {:>9.2} ms, of which reading takes {:.2}",
        ms(own),
        ms(parse)
    );
    println!("                 {:>9.2} ms for building 1,000 states", ms(build));
    let folder = tempfile::tempdir().unwrap();
    let Some(package) = package(folder.path()) else {
        println!("  asl-validator  not there: it takes `node` and `npm`");
        return;
    };
    let [script, file] = ["run.js", "large.asl.json"].map(|name| folder.path().join(name));
    std::fs::write(&script, SCRIPT).unwrap();
    std::fs::write(&file, &text).unwrap();
    let run = Command::new("node")
        .arg(&script)
        .arg(&package)
        .arg(&file)
        .arg(ROUNDS.to_string())
        .output()
        .unwrap();
    let answer = String::from_utf8_lossy(&run.stdout);
    let words: Vec<&str> = answer.split_whitespace().collect();
    match words.as_slice() {
        [best, valid, version] => {
            let theirs: f64 = best.parse().unwrap();
            println!(
                "  asl-validator  {theirs:>9.2} ms, {:.0} times as long; node {version}, valid: {valid}",
                theirs / 1e3 / own.as_secs_f64()
            );
        }
        _ => println!(
            "  asl-validator  failed: {}",
            String::from_utf8_lossy(&run.stderr)
        ),
    }
}

/// The folder of the peer's package.
fn package(folder: &Path) -> Option<PathBuf> {
    if let Some(package) = std::env::var_os("ASL_VALIDATOR") {
        return Some(package.into());
    }
    Command::new("node").arg("--version").output().ok()?;
    let install = Command::new("npm")
        .args(["install", "--silent", "--no-audit", "--no-fund", "--prefix"])
        .arg(folder)
        .arg("asl-validator")
        .output()
        .ok()?;
    let package = folder.join("node_modules/asl-validator");
    (install.status.success() && package.is_dir()).then_some(package)
}

/// Of the processor, so that other load does not count.
fn best<T>(mut run: impl FnMut() -> T) -> Duration {
    let time = || {
        let start = ThreadTime::now();
        let made = run();
        let time = start.elapsed();
        drop(made);
        // glibc keeps small pieces that are freed, and joins them when a large one is asked for: not in the next round.
        drop(black_box(Vec::<u8>::with_capacity(1 << 16)));
        time
    };
    std::iter::repeat_with(time).take(ROUNDS).min().unwrap()
}
