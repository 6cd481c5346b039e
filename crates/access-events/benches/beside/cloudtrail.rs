//! CloudTrail from gzip, beside `gzip -dc | jq -r` and Python.

use std::fs::File;
use std::io::{Read, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use access_events::format::CloudTrail;
use access_events::{Extract, Input, csv};
use flate2::Compression;
use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;

use crate::logs;
use crate::{SEED, best};

const FILES: u64 = 4;
const BYTES_OF_EACH: usize = 32 << 20;

/// The same job: users and sessions by the role's identifier, services left out. The addresses of users in these logs are all public.
const JQ: &str = r#".Records[]
    | select(.userIdentity.type != "AWSService" and (.sourceIPAddress | endswith(".amazonaws.com") | not))
    | "\(.userIdentity.principalId | sub(":.*"; "")),\(.sourceIPAddress)""#;
/// Without the cut at the colon, which takes a regular expression in jq.
const JQ_LEAST: &str = r#".Records[] | select(.userIdentity.type != "AWSService")
    | "\(.userIdentity.principalId),\(.sourceIPAddress)""#;
const PYTHON: &str = r#"
import gzip, json, sys
out = open(sys.argv[1], "w")
for name in sys.argv[2:]:
    for record in json.loads(gzip.open(name).read())["Records"]:
        who, address = record["userIdentity"], record["sourceIPAddress"]
        if who["type"] != "AWSService" and not address.endswith(".amazonaws.com"):
            out.write(who["principalId"].split(":")[0] + "," + address + "\n")
"#;

pub(crate) fn run(folder: &Path) {
    let mut files: Vec<PathBuf> = Vec::new();
    let [mut bytes, mut stored, mut records] = [0_usize; 3];
    for number in 0..FILES {
        let text = logs::cloudtrail(SEED + number, BYTES_OF_EACH);
        bytes += text.len();
        records += text.matches("\"eventVersion\"").count();
        let path = folder.join(format!("{number}.json.gz"));
        let mut encoder = GzEncoder::new(File::create(&path).unwrap(), Compression::default());
        encoder.write_all(text.as_bytes()).unwrap();
        stored += encoder.finish().unwrap().metadata().unwrap().len() as usize;
        files.push(path);
    }
    println!(
        "CloudTrail: {FILES} files, {} MB of JSON in {} MB of gzip, {records} records",
        bytes / 1_000_000,
        stored / 1_000_000
    );
    let speed = |seconds: f64| bytes as f64 / 1e6 / seconds;

    let inflate = best(|| {
        let mut buffer = vec![0; 64 * 1024];
        for path in &files {
            let file = std::io::BufReader::new(File::open(path).unwrap());
            let mut inflated = MultiGzDecoder::new(file);
            while inflated.read(&mut buffer).unwrap() > 0 {}
        }
    });
    line(
        "inflated, and nothing else",
        &format!("{:.0} MB/s of processor time", speed(inflate.cpu)),
    );

    let ours = folder.join("ours.csv");
    let extract = |threads: usize| {
        let mut writer = csv::Writer::new(File::create(&ours).unwrap());
        Extract::of(CloudTrail::new())
            .threads(NonZeroUsize::new(threads).unwrap())
            .run(files.iter().map(Input::file), |dated| {
                Ok(writer.write(&dated.event)?)
            })
            .unwrap();
        writer.finish().unwrap();
    };
    let one = best(|| extract(1));
    line(
        "access-events, one thread",
        &format!(
            "{:.0} MB/s of processor time, {:.0} MB/s",
            speed(one.cpu),
            speed(one.wall)
        ),
    );
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let all = best(|| extract(cores));
    line(
        &format!("access-events, {cores} threads"),
        &format!("{:.0} MB/s", speed(all.wall)),
    );

    let theirs = folder.join("theirs.csv");
    for (name, filter) in [("gzip -dc | jq -r", JQ), ("  and not cut at the colon", JQ_LEAST)] {
        if Command::new("jq").arg("--version").output().is_err() {
            line(name, "skipped: jq is not there (apt-get install jq)");
            continue;
        }
        let run = || {
            let mut gzip = Command::new("gzip")
                .arg("-dc")
                .args(&files)
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let status = Command::new("jq")
                .args(["-r", filter])
                .stdin(gzip.stdout.take().unwrap())
                .stdout(File::create(&theirs).unwrap())
                .status();
            assert!(gzip.wait().unwrap().success() && status.unwrap().success());
        };
        report(name, &best(run), &all, &one, bytes);
        if filter == JQ {
            compare(&ours, &theirs);
        }
    }
    let source = folder.join("program");
    std::fs::write(&source, PYTHON).unwrap();
    if Command::new("python3").arg("--version").output().is_err() {
        return line("python3", "skipped: it is not there");
    }
    let run = || {
        let mut command = Command::new("python3");
        let status = command.arg(&source).arg(&theirs).args(&files).status();
        assert!(status.unwrap().success());
    };
    report("python3, gzip and json", &best(run), &all, &one, bytes);
    compare(&ours, &theirs);
}

fn line(name: &str, figures: &str) {
    println!("  {name:<28} {figures}");
}

fn report(name: &str, times: &crate::Times, all: &crate::Times, one: &crate::Times, bytes: usize) {
    line(
        name,
        &format!(
            "{:.1} MB/s; {:.1} times as long as all threads, {:.1} times the processor time of one",
            bytes as f64 / 1e6 / times.wall,
            times.wall / all.wall,
            times.cpu / one.cpu,
        ),
    );
}

fn compare(ours: &Path, theirs: &Path) {
    let same = std::fs::read(ours).unwrap() == std::fs::read(theirs).unwrap();
    line("", if same { "the same pairs" } else { "OTHER PAIRS" });
}
