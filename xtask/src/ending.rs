//! What has to end and what has to go when this process is told to end by a signal.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::workspace;

/// What there is to clean up. Whoever cleans up never gives the lock back, so that nothing begins and nothing is reported any more.
static BEGUN: Mutex<Begun> = Mutex::new(Begun {
    folders: Vec::new(),
    children: Vec::new(),
});

struct Begun {
    folders: Vec<PathBuf>,
    children: Vec<Target>,
}

fn begun() -> MutexGuard<'static, Begun> {
    BEGUN.lock().unwrap_or_else(|error| error.into_inner())
}

/// A temporary folder that nobody else on this machine can look into, and that goes with its owner or with a signal.
#[derive(Debug)]
pub(crate) struct Folder {
    /// `None` once it is removed.
    folder: Option<tempfile::TempDir>,
    path: PathBuf,
}

impl Folder {
    /// Makes a folder whose name begins with `prefix`.
    pub(crate) fn new(prefix: &str) -> anyhow::Result<Self> {
        Self::new_in(&std::env::temp_dir(), prefix)
    }

    /// The same in another folder than that of temporary files.
    pub(crate) fn new_in(place: &Path, prefix: &str) -> anyhow::Result<Self> {
        let mut builder = tempfile::Builder::new();
        builder.prefix(prefix);
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700));
        let mut begun = begun();
        let folder = builder
            .tempdir_in(place)
            .context("cannot make a temporary folder")?;
        let path = folder.path().to_owned();
        begun.folders.push(path.clone());
        Ok(Self {
            folder: Some(folder),
            path,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        self.folder.take();
        begun().folders.retain(|folder| *folder != self.path);
    }
}

/// What a signal is sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    Process(u32),
    /// A process and all that it started, unless they left its group.
    Group(u32),
}

impl Target {
    /// Sends a signal, `0` for none; whether there was anybody to send it to.
    fn send(self, signal: &str) -> bool {
        // The shell's own `kill`: the program of this name is not everywhere. A process that has just started may not be at the head
        // of its group yet.
        let (script, id) = match self {
            Self::Process(id) => ("kill -s \"$1\" -- \"$2\"", id),
            Self::Group(id) => ("kill -s \"$1\" -- \"-$2\" || kill -s \"$1\" -- \"$2\"", id),
        };
        Command::new("sh")
            .args(["-c", script, "kill", signal, &id.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    }
}

/// A child that a signal to this process ends, too, until this is dropped.
#[derive(Debug)]
pub(crate) struct Running(Target);

impl Running {
    /// Starts a process; it stays in the group of this one, so that it can ask at the terminal.
    pub(crate) fn process(command: &mut Command) -> std::io::Result<(Child, Self)> {
        Self::start(command, Target::Process)
    }

    /// Starts a command of [`apart`].
    pub(crate) fn group(command: &mut Command) -> std::io::Result<(Child, Self)> {
        Self::start(command, Target::Group)
    }

    fn start(command: &mut Command, target: fn(u32) -> Target) -> std::io::Result<(Child, Self)> {
        let mut begun = begun();
        let child = command.spawn()?;
        let target = target(child.id());
        begun.children.push(target);
        Ok((child, Self(target)))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        begun().children.retain(|child| *child != self.0);
    }
}

/// A command at the head of a group of its own, and without a terminal where there is `setsid`: out of the terminal's own group, a
/// question asked there would stop it for ever.
pub(crate) fn apart(program: &str) -> Command {
    if let Some(setsid) = workspace::find_program("setsid") {
        let mut command = Command::new(setsid);
        command.arg(program);
        return command;
    }
    let mut command = Command::new(program);
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    command
}

/// How long children have to end by themselves before they are killed.
const PATIENCE: Duration = Duration::from_secs(5);

/// Ends the children and removes the folders, whatever else this process is about to do. The lock stays taken.
fn clean_up() {
    let begun = begun();
    for child in &begun.children {
        child.send("TERM");
    }
    let started = Instant::now();
    while begun.children.iter().any(|child| child.send("0")) {
        if started.elapsed() > PATIENCE {
            for child in &begun.children {
                child.send("KILL");
            }
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    for folder in &begun.folders {
        // What is being copied there at this moment can come between listing and removing.
        if (0..3).all(|_| std::fs::remove_dir_all(folder).is_err()) && folder.exists() {
            eprintln!("error: `{}` is left behind", folder.display());
        }
    }
    std::mem::forget(begun);
}

/// From here on SIGHUP, SIGINT and SIGTERM clean up before they end this process, with the exit code that shells give: 128 and the
/// signal's number. Those that this process was started to ignore, as `nohup` has it, stay ignored.
#[cfg(unix)]
pub(crate) fn clean_up_on_signals() -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start a runtime")?;
    let ignored = ignored_signals();
    let (sender, mut received) = tokio::sync::mpsc::channel(1);
    for (name, kind) in [
        ("SIGHUP", SignalKind::hangup()),
        ("SIGINT", SignalKind::interrupt()),
        ("SIGTERM", SignalKind::terminate()),
    ] {
        let number = kind.as_raw_value();
        if ignored >> (number - 1) & 1 == 1 {
            continue;
        }
        let _entered = runtime.enter();
        let mut signals = signal(kind).with_context(|| format!("cannot listen to {name}"))?;
        let sender = sender.clone();
        runtime.spawn(async move {
            if signals.recv().await.is_some() {
                // The first one decides.
                let _ = sender.try_send((name, number));
            }
        });
    }
    std::thread::spawn(move || {
        // The sender here keeps this waiting although all signals may be ignored.
        let _sender = sender;
        if let Some((name, number)) = runtime.block_on(received.recv()) {
            eprintln!("error: ended by {name}");
            clean_up();
            std::process::exit(128 + number);
        }
    });
    Ok(())
}

/// The signals that this process ignores, from 1 at the lowest bit, where the system tells.
#[cfg(unix)]
fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0)
}

/// Only Unix has signals that can be waited for here.
#[cfg(not(unix))]
pub(crate) fn clean_up_on_signals() -> anyhow::Result<()> {
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_folder_is_its_owners_alone_and_goes() {
        let folder = Folder::new("xtask-test-").unwrap();
        let path = folder.path().to_owned();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        assert!(begun().folders.contains(&path));
        drop(folder);
        assert!(!path.exists());
        assert!(!begun().folders.contains(&path));
    }

    #[test]
    fn a_group_ends_with_its_first_process() {
        // It has to be at the head of its group before the group can be asked for.
        let mut command = apart("sh");
        command
            .args(["-c", "sleep 600 & echo; sleep 600"])
            .stdout(Stdio::piped());
        let (mut child, running) = Running::group(&mut command).unwrap();
        let target = running.0;
        assert_eq!(target, Target::Group(child.id()));
        let mut output = child.stdout.take().unwrap();
        std::io::Read::read_exact(&mut output, &mut [0]).unwrap();
        assert!(target.send("0"));
        assert!(target.send("KILL"));
        assert!(!child.wait().unwrap().success());
        // All that have the pipe are gone.
        assert_eq!(std::io::Read::read(&mut output, &mut [0]).unwrap(), 0);
        drop(running);
        assert!(!begun().children.contains(&target));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_command_apart_has_no_terminal() {
        if !workspace::is_installed("setsid") {
            println!("skipped: setsid is not installed");
            return;
        }
        // After the name: state, parent, group, session, terminal.
        let mut command = apart("sh");
        command
            .args(["-c", "sed 's/.*) //' /proc/$$/stat"])
            .stdout(Stdio::piped());
        let (child, _running) = Running::group(&mut command).unwrap();
        let id = child.id().to_string();
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let fields: Vec<&str> = text.split(' ').collect();
        assert_eq!(fields[2..5], [id.as_str(), &id, "0"], "{text}");
    }
}
