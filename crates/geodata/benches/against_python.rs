//! The same file walked by this crate and by Python's `maxminddb` with its C extension, side by side:
//!
//! ```console
//! $ cargo bench -p geodata --bench against_python
//! ```
//!
//! It takes `$PYTHON` or `python3` as it is where that has `maxminddb`, or else installs it into a folder of its own; without
//! either it says why and prints this side alone. Times are of the processor where the system tells them, so that other load does
//! not count, and the best of several rounds on both sides.

#![expect(
    clippy::unwrap_used,
    reason = "a benchmark ends where its data cannot be made"
)]
#![expect(clippy::print_stdout, reason = "what a benchmark finds is what it prints")]

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use common::NETWORKS;
use geodata::{Database, SampleSpec};

const ROUNDS: usize = 7;

const SCRIPT: &str = r#"
import sys, time
import maxminddb
from maxminddb import extension
best_cpu = best_wall = float("inf")
for _ in range(int(sys.argv[2])):
    cpu, wall = time.process_time(), time.perf_counter()
    count = 0
    with maxminddb.open_database(sys.argv[1], maxminddb.MODE_MMAP_EXT) as reader:
        for network, record in reader:
            count += 1
    best_cpu = min(best_cpu, time.process_time() - cpu)
    best_wall = min(best_wall, time.perf_counter() - wall)
print(count, best_cpu, best_wall, maxminddb.__version__, sys.version.split()[0])
"#;

fn main() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("500k.mmdb");
    let bytes = common::mmdb(NETWORKS);
    std::fs::write(&path, &bytes).unwrap();
    println!(
        "{NETWORKS} networks, {:.1} MB, best of {ROUNDS} rounds",
        bytes.len() as f64 / 1e6
    );
    println!("{:44} {:>10} {:>10}", "", "CPU ms", "wall ms");

    let mut count = 0;
    let scan = best(|| {
        count = Database::open(&path)
            .unwrap()
            .networks()
            .filter(Result::is_ok)
            .count()
    });
    print("geodata: open and scan", &scan);
    assert_eq!(count, NETWORKS);
    let spec = SampleSpec::default().check().unwrap();
    let draw = best(|| {
        let sample = geodata::sample(&Database::open(&path).unwrap(), &spec, 42).unwrap();
        assert_eq!(sample.train.len(), 250);
    });
    print("geodata: open, scan and draw", &draw);
    let theirs = best(|| {
        let reader = maxminddb::Reader::open_readfile(&path).unwrap();
        let networks = reader.within("0.0.0.0/0".parse().unwrap(), Default::default());
        let offsets = networks
            .unwrap()
            .map(|found| found.unwrap().offset().unwrap_or(0));
        assert!(offsets.fold(0, usize::wrapping_add) > 0);
    });
    print("Rust maxminddb: open and walk, no record read", &theirs);

    match python(&path, folder.path()) {
        Ok((label, python)) => {
            print(&format!("{label}: open and walk"), &python);
            println!(
                "open and scan is {:.1} times as fast as Python",
                python.cpu / scan.cpu
            );
            println!(
                "open, scan and draw is {:.1} times as fast as Python",
                python.cpu / draw.cpu
            );
        }
        Err(reason) => println!("Python's side is skipped: {reason}"),
    }
}

struct Times {
    cpu: f64,
    wall: f64,
}

fn print(label: &str, times: &Times) {
    println!("{label:44} {:10.1} {:10.1}", times.cpu * 1e3, times.wall * 1e3);
}

fn best(mut run: impl FnMut()) -> Times {
    let mut best = Times {
        cpu: f64::INFINITY,
        wall: f64::INFINITY,
    };
    for _ in 0..ROUNDS {
        let (start, cpu) = (Instant::now(), cpu_time());
        run();
        let wall = start.elapsed();
        let cpu = match (cpu, cpu_time()) {
            (Some(before), Some(after)) => after - before,
            _ => wall,
        };
        best.cpu = best.cpu.min(cpu.as_secs_f64());
        best.wall = best.wall.min(wall.as_secs_f64());
    }
    best
}

/// What this thread has had of the processor.
fn cpu_time() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let nanoseconds = text.split_whitespace().next()?.parse().ok()?;
    Some(Duration::from_nanos(nanoseconds))
}

fn python(database: &Path, folder: &Path) -> Result<(String, Times), String> {
    let python = PathBuf::from(std::env::var_os("PYTHON").unwrap_or_else(|| "python3".into()));
    let has_it = run(Command::new(&python).args(["-c", "from maxminddb import extension"])).is_ok();
    let python = if has_it {
        python
    } else {
        let place = folder.join("venv");
        run(Command::new(&python).args(["-m", "venv"]).arg(&place))?;
        let python = place.join(if cfg!(windows) {
            "Scripts/python.exe"
        } else {
            "bin/python"
        });
        run(Command::new(&python).args(["-m", "pip", "install", "--quiet", "maxminddb"]))?;
        python
    };
    let rounds = ROUNDS.min(3).to_string();
    let output = run(Command::new(&python)
        .args(["-c", SCRIPT])
        .arg(database)
        .arg(rounds))?;
    let fields: Vec<&str> = output.split_whitespace().collect();
    let [count, cpu, wall, version, python] = fields[..] else {
        return Err(format!("it printed `{output}`"));
    };
    if count != NETWORKS.to_string() {
        return Err(format!("it found {count} networks"));
    }
    let seconds = |text: &str| text.parse::<f64>().map_err(|error| error.to_string());
    let times = Times {
        cpu: seconds(cpu)?,
        wall: seconds(wall)?,
    };
    Ok((format!("maxminddb {version}, Python {python}"), times))
}

fn run(command: &mut Command) -> Result<String, String> {
    let output = command
        .output()
        .map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        let errors = String::from_utf8_lossy(&output.stderr);
        let last = errors.lines().last().unwrap_or_default().to_owned();
        Err(format!("{}: {last}", command.get_program().to_string_lossy()))
    }
}
