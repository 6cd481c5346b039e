//! `cargo xtask scorer`: the scorer's program as Lambda takes it, one static file called `bootstrap`; how large it is, and how long
//! it takes from its start to its first answer, against a server that plays the Runtime API.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use clap::ValueEnum;
use serde_json::json;

use crate::workspace;

/// The largest program: what is larger takes longer to fetch and to load when a function starts.
const LARGEST: usize = 10_000_000;

/// How long an answer may take before it is given up.
const PATIENCE: Duration = Duration::from_secs(30);

/// Builds the scorer's program for Lambda, a static `bootstrap`, and measures its size and its cold start.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// For which processors.
    #[arg(long, value_enum, default_value = "x86-64")]
    architecture: Architecture,
    /// Folder for `bootstrap`; it is made if it is not there.
    #[arg(long, value_name = "DIR", default_value = "target/scorer")]
    to: PathBuf,
    /// How often it is started to measure; 0 for not at all.
    #[arg(long, value_name = "N", default_value_t = 20)]
    starts: usize,
    /// Measure this program instead of building one.
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
}

/// Of a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Architecture {
    #[value(name = "x86-64")]
    X8664,
    Arm64,
}

impl Architecture {
    fn target(self) -> &'static str {
        match self {
            Self::X8664 => "x86_64-unknown-linux-musl",
            Self::Arm64 => "aarch64-unknown-linux-musl",
        }
    }

    /// Whether this machine runs it.
    fn runs_here(self) -> bool {
        let arch = match self {
            Self::X8664 => "x86_64",
            Self::Arm64 => "aarch64",
        };
        std::env::consts::OS == "linux" && std::env::consts::ARCH == arch
    }
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let program = match &args.program {
        Some(program) => program.clone(),
        None => build(args)?,
    };
    let bytes = std::fs::read(&program).with_context(|| format!("`{}` cannot be read", program.display()))?;
    let packed = packed(&bytes)?;
    println!(
        "{}: {:.1} MB, {:.1} MB packed",
        program.display(),
        bytes.len() as f64 / 1e6,
        packed as f64 / 1e6
    );
    if args.program.is_none() {
        ensure!(
            is_static(&bytes)?,
            "it is not static: Lambda's systems need not have the libraries of this one"
        );
        ensure!(
            bytes.len() <= LARGEST,
            "it is larger than {} MB: what came in that is so large?",
            LARGEST / 1_000_000
        );
    }
    if args.starts == 0 {
        return Ok(());
    }
    if args.program.is_none() && !args.architecture.runs_here() {
        println!("not started: this machine has other processors");
        return Ok(());
    }
    let mut times = Vec::new();
    for _ in 0..args.starts {
        times.push(start(&program)?);
    }
    times.sort_unstable();
    println!(
        "from its start to its first answer, {} times: {:.1} ms at least, {:.1} ms in the middle, {:.1} ms at most",
        times.len(),
        milliseconds(times[0]),
        milliseconds(times[times.len() / 2]),
        milliseconds(times[times.len() - 1])
    );
    Ok(())
}

/// How many bytes a zip takes for a program.
fn packed(program: &[u8]) -> anyhow::Result<usize> {
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(program)?;
    Ok(encoder.finish()?.len())
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn build(args: &Args) -> anyhow::Result<PathBuf> {
    let target = args.architecture.target();
    let variable = format!("CC_{}", target.replace('-', "_"));
    let mut cargo = Command::new(workspace::cargo());
    // The little C that is in it needs nothing of the system's library: where there is no compiler for musl, the machine's own does.
    if std::env::var_os(&variable).is_none()
        && !workspace::is_installed("musl-gcc")
        && args.architecture.runs_here()
    {
        cargo.env(&variable, "cc");
    }
    let status = cargo
        .args([
            "build",
            "--profile",
            "scorer",
            "--locked",
            "--package",
            "score-lambda",
            "--bin",
            "score-lambda",
            "--target",
            target,
        ])
        .current_dir(workspace::root())
        .status()
        .context("cargo cannot be run")?;
    if !status.success() {
        bail!(
            "the build failed: it needs `rustup target add {target}` and a C compiler for that target, which {variable} names"
        );
    }
    let built = workspace::root()
        .join("target")
        .join(target)
        .join("scorer/score-lambda");
    let to = workspace::root().join(&args.to);
    std::fs::create_dir_all(&to).with_context(|| format!("`{}` cannot be made", to.display()))?;
    let program = to.join("bootstrap");
    std::fs::copy(&built, &program).with_context(|| format!("`{}` cannot be copied", built.display()))?;
    Ok(program)
}

/// Whether a program for 64 bits names no interpreter, which is what loads libraries.
fn is_static(program: &[u8]) -> anyhow::Result<bool> {
    const PT_INTERP: u32 = 3;
    let number = |at: usize, bytes: usize| -> anyhow::Result<u64> {
        let part = program.get(at..at + bytes).context("the program is cut off")?;
        Ok(part
            .iter()
            .rev()
            .fold(0, |number, byte| number << 8 | u64::from(*byte)))
    };
    ensure!(
        program.starts_with(b"\x7fELF\x02\x01"),
        "it is no program of Linux for 64 bits"
    );
    let (begin, size, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
    for header in 0..count {
        let at = usize::try_from(begin + header * size).context("the program is damaged")?;
        if number(at, 4)? == u64::from(PT_INTERP) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Ends with what it holds.
struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// How long a program takes to answer its first event.
fn start(program: &Path) -> anyhow::Result<Duration> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?.to_string();
    let (answered, answer): (Sender<Vec<u8>>, Receiver<Vec<u8>>) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answered = answered.clone();
            // A connection that ends is none of ours: the program has what it needs, or does not answer.
            std::thread::spawn(move || drop(serve(&stream, &answered)));
        }
    });
    let began = Instant::now();
    let child = Command::new(program)
        .env_clear()
        .envs([
            ("AWS_LAMBDA_RUNTIME_API", &*address),
            ("AWS_LAMBDA_FUNCTION_NAME", "scorer"),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256"),
            ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
            ("AWS_LAMBDA_LOG_GROUP_NAME", "scorer"),
            ("AWS_LAMBDA_LOG_STREAM_NAME", "stream"),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ACCESS_KEY_ID", "key"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
            ("ENDPOINT_NAME", "ipinsights"),
            ("THRESHOLD", "0"),
        ])
        .stdout(Stdio::null())
        .spawn()
        .with_context(|| format!("`{}` cannot be started", program.display()))?;
    let _started = Started(child);
    let body = answer
        .recv_timeout(PATIENCE)
        .context("the program did not answer its first event")?;
    let took = began.elapsed();
    let answer: serde_json::Value = serde_json::from_slice(&body).context("its answer is no JSON")?;
    ensure!(answer["statusCode"] == 200, "its answer is {answer}");
    Ok(took)
}

/// Plays the Runtime API on one connection: one event, then nothing more; what is answered is handed on.
fn serve(stream: &TcpStream, answered: &Sender<Vec<u8>>) -> anyhow::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut writer = stream;
    loop {
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            match line.trim_end() {
                "" => break,
                line => head.push(line.to_ascii_lowercase()),
            }
        }
        let request = head.first().context("no request")?.clone();
        if request.starts_with("get ") {
            let event = event().to_string();
            write!(
                writer,
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nlambda-runtime-aws-request-id: first\r\n\
                 lambda-runtime-deadline-ms: 9999999999999\r\n\
                 lambda-runtime-invoked-function-arn: arn:aws:lambda:us-east-1:111122223333:function:scorer\r\n\
                 content-length: {}\r\n\r\n{event}",
                event.len()
            )?;
            continue;
        }
        let body = body(&head, &mut reader)?;
        let _ = answered.send(body);
        write!(writer, "HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n")?;
    }
}

/// The body of a request, of a known length or in chunks.
fn body(head: &[String], reader: &mut impl BufRead) -> anyhow::Result<Vec<u8>> {
    let mut body = Vec::new();
    let length = head.iter().find_map(|line| line.strip_prefix("content-length:"));
    if let Some(length) = length {
        let length = length.trim().parse()?;
        reader.by_ref().take(length).read_to_end(&mut body)?;
        return Ok(body);
    }
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let length = u64::from_str_radix(line.trim(), 16).context("a chunk without a length")?;
        reader.by_ref().take(length).read_to_end(&mut body)?;
        reader.read_line(&mut line)?;
        if length == 0 {
            return Ok(body);
        }
    }
}

/// A request of a function URL that asks no endpoint.
fn event() -> serde_json::Value {
    json!({
        "version": "2.0", "routeKey": "$default", "rawPath": "/healthz", "rawQueryString": "", "headers": {"host": "h"},
        "requestContext": {
            "accountId": "1", "apiId": "a", "domainName": "d", "domainPrefix": "d",
            "http": {"method": "GET", "path": "/healthz", "protocol": "HTTP/1.1", "sourceIp": "192.0.2.7", "userAgent": "t"},
            "requestId": "r", "routeKey": "$default", "stage": "$default", "time": "t", "timeEpoch": 1
        },
        "isBase64Encoded": false
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A program with one header of this kind.
    fn program(kind: u8) -> Vec<u8> {
        let mut program = vec![0; 64 + 56];
        program[..6].copy_from_slice(b"\x7fELF\x02\x01");
        program[32] = 64;
        program[54] = 56;
        program[56] = 1;
        program[64] = kind;
        program
    }

    #[test]
    fn a_static_program_names_no_interpreter() {
        assert!(is_static(&program(1)).unwrap());
        assert!(!is_static(&program(3)).unwrap());
        assert!(is_static(&program(1)[..60]).is_err());
        assert!(is_static(b"#!/bin/sh\n").is_err());
    }

    #[test]
    fn bodies_come_whole_or_in_chunks() {
        let head = |line: &str| vec!["post / http/1.1".to_owned(), line.to_owned()];
        let whole = body(&head("content-length: 3"), &mut &b"abcd"[..]).unwrap();
        assert_eq!(whole, b"abc");
        let chunked = body(
            &head("transfer-encoding: chunked"),
            &mut &b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\nnext"[..],
        );
        assert_eq!(chunked.unwrap(), b"abc");
    }
}
