//! Starting the program, and what it says.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use serde_json::Value;

/// The program in a folder; nothing of the developer's own account or settings reaches it.
pub(crate) fn ipinsights(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ipinsights"));
    command
        .env_clear()
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .current_dir(folder)
        .args(args)
        .stdin(Stdio::null());
    command
}

pub(crate) fn output(folder: &Path, args: &[&str]) -> Output {
    ipinsights(folder, args).output().unwrap()
}

pub(crate) fn succeeded(output: Output) -> Output {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    output
}

/// What a command that succeeds prints.
pub(crate) fn text(folder: &Path, args: &[&str]) -> String {
    String::from_utf8(succeeded(output(folder, args)).stdout).unwrap()
}

/// The document that a command that succeeded printed.
pub(crate) fn json(output: &Output) -> Value {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Runs a command that must fail, and gives its code and what it said.
pub(crate) fn failure(folder: &Path, args: &[&str]) -> (i32, String) {
    let output = output(folder, args);
    assert!(!output.status.success(), "{args:?} succeeded");
    assert!(output.stdout.is_empty(), "a failed command has no result");
    let said = String::from_utf8(output.stderr).unwrap();
    (output.status.code().unwrap(), said)
}

/// Ana and ben, each in a network of their own: rows to train on and held-out ones, and a model.
pub(crate) fn ana_and_ben() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let rows = |hosts: std::ops::Range<u8>| -> String {
        hosts
            .map(|host| format!("ana,20.1.2.{host}\nben,90.7.7.{host}\n"))
            .collect()
    };
    std::fs::write(folder.path().join("train.csv"), rows(0..100)).unwrap();
    std::fs::write(folder.path().join("held-out.csv"), rows(100..200)).unwrap();
    text(
        folder.path(),
        &["train", "--data", "train.csv", "-p", "vector_dim=16"],
    );
    folder
}

/// By the held-out rows of [`ana_and_ben`], with the history of the others.
pub(crate) const CALIBRATE: [&str; 7] = [
    "calibrate",
    "--data",
    "held-out.csv",
    "--false-positive-rate",
    "0.05",
    "--history",
    "train.csv",
];

/// The same as [`ana_and_ben`], with a model that is calibrated and knows their history.
pub(crate) fn calibrated() -> tempfile::TempDir {
    let folder = ana_and_ben();
    text(folder.path(), &CALIBRATE);
    folder
}

/// Ctrl-C.
pub(crate) fn interrupt(child: &Child) {
    signal(child, "INT");
}

pub(crate) fn signal(child: &Child, name: &str) {
    let kill = Command::new("kill")
        .args([format!("-{name}"), child.id().to_string()])
        .status();
    assert!(kill.unwrap().success());
}

/// A command that runs until it is interrupted; killed where a test ends before that.
pub(crate) struct Running {
    pub(crate) child: Child,
    pub(crate) stdout: BufReader<ChildStdout>,
}

impl Running {
    /// What it says on stderr is kept for [`Self::interrupted`].
    pub(crate) fn start(command: &mut Command) -> Self {
        Self::with(command, Stdio::piped())
    }

    /// Nobody hears what it says on stderr.
    pub(crate) fn unheard(command: &mut Command) -> Self {
        Self::with(command, Stdio::null())
    }

    fn with(command: &mut Command, stderr: Stdio) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(stderr).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Self { child, stdout }
    }

    /// The next line that it prints.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Ends it as Ctrl-C does, which is no failure, and gives what it said on stderr.
    pub(crate) fn interrupted(mut self) -> String {
        interrupt(&self.child);
        let mut said = String::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            stderr.read_to_string(&mut said).unwrap();
        }
        assert!(self.child.wait().unwrap().success(), "{said}");
        said
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
