//! One shell process per phase; variables and the working directory go on from command to command and phase to phase.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context;

use super::Log;
use super::buildspec::Shell;
use super::secrets::Masker;
use crate::ending::{Folder, Running, apart};

/// What one command leaves to the next.
#[derive(Debug, Clone)]
pub(crate) struct State {
    pub(crate) variables: BTreeMap<String, String>,
    pub(crate) folder: PathBuf,
}

impl State {
    /// The variables of this process that a build may see: all but those that only speak of this process.
    pub(crate) fn inherited(folder: PathBuf) -> Self {
        let variables = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .filter(|(name, _)| !speaks_of_this_process(name))
            .collect();
        Self { variables, folder }
    }

    /// The value of a variable, if it is set.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }

    pub(crate) fn set(&mut self, name: &str, value: impl Into<String>) {
        self.variables.insert(name.to_owned(), value.into());
    }

    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.variables
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// `cargo run` and rustup set these for the task itself; a cargo inside the build would take them for its own.
fn speaks_of_this_process(name: &str) -> bool {
    const OF_CARGO: &[&str] = &[
        "CARGO",
        "CARGO_CRATE_NAME",
        "CARGO_BIN_NAME",
        "CARGO_MANIFEST_DIR",
        "CARGO_MANIFEST_PATH",
        "CARGO_MANIFEST_LINKS",
        "CARGO_MAKEFLAGS",
        "CARGO_PRIMARY_PACKAGE",
        "CARGO_TARGET_TMPDIR",
        "LD_LIBRARY_PATH",
        "DYLD_FALLBACK_LIBRARY_PATH",
        "OUT_DIR",
        "RUSTUP_TOOLCHAIN",
        "RUST_RECURSION_COUNT",
        "NEXTEST",
        "OLDPWD",
        "SHLVL",
        "_",
    ];
    OF_CARGO.contains(&name)
        || ["CARGO_PKG_", "CARGO_BIN_EXE_", "CODEBUILD_", "GIT_", "NEXTEST_"]
            .iter()
            .any(|prefix| name.starts_with(prefix))
}

/// A command that ended with something else than success, which ends its list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) command: String,
    /// The exit status; `None` when a signal ended the shell.
    pub(crate) status: Option<i32>,
}

impl Failure {
    /// The reason in the service's words.
    pub(crate) fn reason(&self) -> String {
        match self.status {
            Some(status) => format!("exit status {status}"),
            None => "ended by a signal".to_owned(),
        }
    }
}

/// Runs commands in one shell process until one fails, and takes over the state that they leave.
///
/// Variables that a command assigns are exported, as in the service, so that a later phase sees them; functions and options of
/// the shell end with the process. A command that replaces the shell (`exec`), or ends it and has a trap of its own for that, leaves
/// the state of the command before it.
pub(crate) fn run(
    shell: Shell,
    commands: &[String],
    state: &mut State,
    log: &mut Log<'_>,
) -> anyhow::Result<Result<(), Failure>> {
    if commands.is_empty() {
        return Ok(Ok(()));
    }
    let folder = Folder::new("codebuild-shell-")?;
    let mut output = Output::new(folder.path())?;
    write_scripts(folder.path(), &output.mark, commands)?;

    let mut command = apart(shell.program());
    command
        .arg(folder.path().join("phase.sh"))
        .env_clear()
        .envs(&state.variables)
        .env("PWD", &state.folder)
        .current_dir(&state.folder)
        .stdin(Stdio::null())
        .stderr(output.writer()?)
        .stdout(output.writer()?);
    // The shell's end is a mark as well: what stands before it is what was printed until then. Processes that the shell left running
    // may hold the pipe for as long as they like.
    let (end, mut writer) = (format!("{} end\n", output.mark), output.writer()?);
    let (mut child, running) = Running::group(&mut command)
        .with_context(|| format!("cannot start the shell `{}`", shell.program()))?;
    drop(command); // Our ends of the pipe.
    let waiting = std::thread::spawn(move || {
        let status = child.wait();
        writer.write_all(end.as_bytes()).and(status)
    });

    let mut current = 0;
    loop {
        match output.next(&log.masker)? {
            Printed::Text(text) => log.output(&text),
            Printed::Mark(mark) => match mark.split_once(' ') {
                Some(("start", index)) => {
                    current = index.parse().unwrap_or(current);
                    if let Some(command) = commands.get(current) {
                        log.quote("Running command ", command.trim_end());
                    }
                }
                Some(("done", index)) => {
                    take_over(folder.path(), index, state)?;
                    log.masker.learn(state.pairs());
                }
                _ => break,
            },
        }
    }
    let status = match waiting.join() {
        Ok(status) => status.context("cannot wait for the shell")?,
        Err(_) => anyhow::bail!("waiting for the shell broke off"),
    };
    drop(running);
    output.discard();
    take_over(folder.path(), "end", state)?;
    log.masker.learn(state.pairs());
    if status.success() {
        return Ok(Ok(()));
    }
    let command = commands.get(current).cloned().unwrap_or_default();
    Ok(Err(Failure {
        command: command.trim_end().to_owned(),
        status: status.code(),
    }))
}

/// How many bytes of a line are kept at a time; a longer one is printed in parts.
const MAX_LINE_BYTES: usize = 1 << 20;

/// What commands print, and the marks between it. Both go through a pipe that has a name: a mark opens it anew, so that it comes
/// wherever the commands have turned their output, in its place among what they printed before, and no process inherits it.
struct Output {
    path: PathBuf,
    /// What no command prints, at the beginning of each mark.
    mark: String,
    reader: BufReader<File>,
    /// The pipe lasts as long as somebody may write to it.
    holder: File,
    /// What was read and is not given out yet.
    read: Vec<u8>,
}

/// A part of what was printed.
#[derive(Debug, PartialEq, Eq)]
enum Printed {
    /// A line without its end, or a part of a long one.
    Text(String),
    /// What a mark says.
    Mark(String),
}

impl Output {
    fn new(folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join("output");
        let made = Command::new("mkfifo")
            .args(["-m", "600"])
            .arg(&path)
            .status()
            .context("cannot start `mkfifo`, which makes the pipe for the commands' output")?;
        if !made.success() {
            anyhow::bail!("`mkfifo` could not make the pipe `{}`", path.display());
        }
        // For both at once, because a pipe opened for one waits for somebody who opens it for the other.
        let holder = File::options().read(true).write(true).open(&path);
        let holder = holder.context("cannot open the pipe for the commands' output")?;
        let reader = File::open(&path).context("cannot open the pipe for the commands' output")?;
        Ok(Self {
            path,
            mark: uuid::Uuid::new_v4().simple().to_string(),
            reader: BufReader::new(reader),
            holder,
            read: Vec::new(),
        })
    }

    fn writer(&self) -> anyhow::Result<File> {
        let writer = File::options().write(true).open(&self.path);
        writer.context("cannot open the pipe for the commands' output")
    }

    fn next(&mut self, masker: &Masker) -> anyhow::Result<Printed> {
        loop {
            if let Some(text) = self.line(masker) {
                // A command's output need not end with a line break, so a mark may follow it on the same line.
                let Some((before, mark)) = text.split_once(self.mark.as_str()) else {
                    return Ok(Printed::Text(text));
                };
                if before.is_empty() {
                    return Ok(Printed::Mark(mark.trim().to_owned()));
                }
                self.read
                    .splice(..0, format!("{}{mark}\n", self.mark).into_bytes());
                return Ok(Printed::Text(before.to_owned()));
            }
            // At least the rest of a mark.
            let room = self
                .most(masker)
                .saturating_sub(self.read.len())
                .max(self.mark.len());
            let reading = self
                .reader
                .by_ref()
                .take(room as u64)
                .read_until(b'\n', &mut self.read);
            if reading.context("cannot read the shell's output")? == 0 {
                anyhow::bail!("the shell's output broke off");
            }
        }
    }

    /// How much is read before a line is cut: so much that whatever begins in the part before the cut is seen as a whole.
    fn most(&self, masker: &Masker) -> usize {
        MAX_LINE_BYTES + masker.longest().max(self.mark.len()) + char::MAX.len_utf8()
    }

    /// The line that was read, or a part of it once it is too long.
    fn line(&mut self, masker: &Masker) -> Option<String> {
        if let Some(end) = self.read.iter().position(|&byte| byte == b'\n') {
            let rest = self.read.split_off(end + 1);
            let line = std::mem::replace(&mut self.read, rest);
            return Some(String::from_utf8_lossy(&line[..end]).into_owned());
        }
        let is_mark = |bytes: &[u8]| {
            bytes
                .windows(self.mark.len())
                .any(|part| part == self.mark.as_bytes())
        };
        if self.read.len() < self.most(masker) || is_mark(&self.read) {
            return None;
        }
        // A character of which not everything has come begins in the last three bytes.
        let whole = match self.read.utf8_chunks().last().map(|chunk| chunk.invalid().len()) {
            Some(cut_short) if cut_short < 4 => self.read.len() - cut_short,
            _ => self.read.len(),
        };
        let rest = self.read.split_off(whole);
        let mut text = String::from_utf8_lossy(&self.read).into_owned();
        let tail = text.split_off(masker.cut(&text, MAX_LINE_BYTES));
        self.read = tail.into_bytes();
        self.read.extend(rest);
        Some(text)
    }

    /// Lets processes that were left in the background print on, and not die of a closed pipe: what they print belongs to no command.
    fn discard(mut self) {
        drop(self.holder);
        std::thread::spawn(move || std::io::copy(&mut self.reader, &mut std::io::sink()));
    }
}

/// A text in which the shell has replaced variables and commands, as in `name-$(date +%F)-$AWS_REGION`.
///
/// `codebuild-hash-files FILE...`, which the service offers for keys of caches, is there: a hash of the files' contents.
pub(crate) fn expand(shell: Shell, text: &str, state: &State) -> anyhow::Result<String> {
    const HASH_FILES: &str = "#!/bin/sh\ncat -- \"$@\" | sha256sum | cut -d ' ' -f 1\n";
    let folder = Folder::new("codebuild-shell-")?;
    let program = folder.path().join("codebuild-hash-files");
    std::fs::write(&program, HASH_FILES)?;
    #[cfg(unix)]
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
    let mark = uuid::Uuid::new_v4().simple().to_string();
    let script = folder.path().join("expand.sh");
    std::fs::write(&script, format!("cat <<{mark}\n{text}\n{mark}\n"))?;
    let path = state.get("PATH").unwrap_or_default();
    let mut command = apart(shell.program());
    command
        .arg(&script)
        .env_clear()
        .envs(&state.variables)
        .env("PATH", format!("{}:{path}", folder.path().display()))
        .current_dir(&state.folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let (child, running) = Running::group(&mut command)
        .with_context(|| format!("cannot start the shell `{}`", shell.program()))?;
    let output = child.wait_with_output().context("cannot wait for the shell")?;
    drop(running);
    if !output.status.success() || !output.stderr.is_empty() {
        anyhow::bail!(
            "`{text}` cannot be evaluated: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    let text = String::from_utf8(output.stdout).context("a name is not Unicode")?;
    Ok(text.trim_end_matches('\n').to_owned())
}

/// One file per command, and one that reads them in turn: a syntax error then is an error of its command.
fn write_scripts(folder: &Path, mark: &str, commands: &[String]) -> anyhow::Result<()> {
    let quoted = quote(
        folder
            .to_str()
            .context("the temporary folder's path is not Unicode")?,
    );
    // The functions come before `set -a`, which would export them. A mark opens the pipe for both directions, which waits for nobody,
    // and is not traced by `set -x`: the trace would look like a mark.
    let mut script = format!(
        "__codebuild_mark() {{ command printf '%s %s %s\\n' {mark} \"$1\" \"$2\" 1<>{quoted}/output; }} 2>/dev/null
__codebuild_save() {{ command -p env -0 >|{quoted}/variables-\"$1\"; command pwd >|{quoted}/folder-\"$1\"; }}
trap '__codebuild_save end' EXIT
set -a
"
    );
    for (index, command) in commands.iter().enumerate() {
        let mut file = File::create(folder.join(format!("{index}.sh")))?;
        writeln!(file, "{command}")?;
        script += &format!(
            "__codebuild_mark start {index}
. {quoted}/{index}.sh
__codebuild_status=$?
if [ \"$__codebuild_status\" -ne 0 ]; then __codebuild_save end; exit \"$__codebuild_status\"; fi
__codebuild_save {index}
__codebuild_mark done {index}
"
        );
    }
    std::fs::write(folder.join("phase.sh"), script).context("cannot write the phase's script")
}

/// Reads what `__codebuild_save` wrote after a command, or at the end of the shell: nothing when a command replaced it.
///
/// Each time has its own files, because the shell goes on, and saves again, while we read. The variables hold secrets, so their file
/// goes as soon as it is read.
fn take_over(folder: &Path, when: &str, state: &mut State) -> anyhow::Result<()> {
    let (variables_of, folder_of) = (
        folder.join(format!("variables-{when}")),
        folder.join(format!("folder-{when}")),
    );
    let Ok(saved) = std::fs::read(&variables_of) else {
        return Ok(());
    };
    std::fs::remove_file(&variables_of).context("cannot remove what a command left")?;
    let mut variables = BTreeMap::new();
    for entry in saved.split(|&byte| byte == 0).filter(|entry| !entry.is_empty()) {
        let entry = String::from_utf8_lossy(entry);
        if let Some((name, value)) = entry.split_once('=')
            && super::buildspec::is_variable_name(name)
            && !name.starts_with("__codebuild_")
            && !["_", "SHLVL", "OLDPWD"].contains(&name)
        {
            variables.insert(name.to_owned(), value.to_owned());
        }
    }
    state.variables = variables;
    let text = std::fs::read_to_string(&folder_of).context("the working directory is not Unicode")?;
    state.folder = PathBuf::from(text.strip_suffix('\n').unwrap_or(&text));
    Ok(())
}

/// A text as one word of the shell.
fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}
