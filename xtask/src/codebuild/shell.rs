//! One shell process per phase; variables and the working directory go on from command to command and phase to phase.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context;

use super::Log;
use super::buildspec::Shell;

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

    fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
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
/// the shell end with the process. A command that replaces the shell (`exec`) leaves the state of the command before it.
pub(crate) fn run(
    shell: Shell,
    commands: &[String],
    state: &mut State,
    log: &mut Log<'_>,
) -> anyhow::Result<Result<(), Failure>> {
    if commands.is_empty() {
        return Ok(Ok(()));
    }
    let folder = tempfile::Builder::new()
        .prefix("codebuild-shell-")
        .tempdir()
        .context("cannot make a temporary folder")?;
    let nonce = uuid::Uuid::new_v4().simple().to_string();
    write_scripts(folder.path(), &nonce, commands)?;

    let (reader, writer) = std::io::pipe().context("cannot make a pipe")?;
    let mut command = Command::new(shell.program());
    command
        .arg(folder.path().join("phase.sh"))
        .env_clear()
        .envs(&state.variables)
        .env("PWD", &state.folder)
        .current_dir(&state.folder)
        .stdin(Stdio::null())
        .stderr(writer.try_clone().context("cannot share a pipe")?)
        .stdout(writer);
    let mut child = command
        .spawn()
        .with_context(|| format!("cannot start the shell `{}`", shell.program()))?;
    drop(command); // Our ends of the pipe, so that the output ends with the shell.

    let mut reader = BufReader::new(reader);
    let mut current = 0;
    let mut line = Vec::new();
    loop {
        line.clear();
        if reader
            .read_until(b'\n', &mut line)
            .context("cannot read the shell's output")?
            == 0
        {
            break;
        }
        let text = String::from_utf8_lossy(&line);
        let text = text.strip_suffix('\n').unwrap_or(&text);
        // A command's output need not end with a line break, so a mark may follow it on the same line.
        let Some((before, mark)) = text.split_once(nonce.as_str()) else {
            log.output(text);
            continue;
        };
        if !before.is_empty() {
            log.output(before);
        }
        match mark.trim().split_once(' ') {
            Some(("start", index)) => {
                current = index.parse().unwrap_or(current);
                if let Some(command) = commands.get(current) {
                    log.note(&format!("Running command {}", command.trim_end()));
                }
            }
            Some(("done", index)) => {
                take_over(folder.path(), index, state)?;
                log.masker.learn(state.pairs());
            }
            // The trap of the shell's end. What a command left running may still hold the pipe: do not wait for it.
            _ => break,
        }
    }
    // A process left in the background must not die of a closed pipe; its output from here on belongs to no command.
    std::thread::spawn(move || std::io::copy(&mut reader, &mut std::io::sink()));
    let status = child.wait().context("cannot wait for the shell")?;
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

/// A text in which the shell has replaced variables and commands, as in `name-$(date +%F)-$AWS_REGION`.
///
/// `codebuild-hash-files FILE...`, which the service offers for keys of caches, is there: a hash of the files' contents.
pub(crate) fn expand(shell: Shell, text: &str, state: &State) -> anyhow::Result<String> {
    const HASH_FILES: &str = "#!/bin/sh\ncat -- \"$@\" | sha256sum | cut -d ' ' -f 1\n";
    let folder = tempfile::Builder::new()
        .prefix("codebuild-shell-")
        .tempdir()
        .context("cannot make a temporary folder")?;
    let program = folder.path().join("codebuild-hash-files");
    std::fs::write(&program, HASH_FILES)?;
    #[cfg(unix)]
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
    let mark = uuid::Uuid::new_v4().simple().to_string();
    let script = folder.path().join("expand.sh");
    std::fs::write(&script, format!("cat <<{mark}\n{text}\n{mark}\n"))?;
    let path = state.get("PATH").unwrap_or_default();
    let output = Command::new(shell.program())
        .arg(&script)
        .env_clear()
        .envs(&state.variables)
        .env("PATH", format!("{}:{path}", folder.path().display()))
        .current_dir(&state.folder)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start the shell `{}`", shell.program()))?;
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
fn write_scripts(folder: &Path, nonce: &str, commands: &[String]) -> anyhow::Result<()> {
    let quoted = quote(
        folder
            .to_str()
            .context("the temporary folder's path is not Unicode")?,
    );
    // The functions come before `set -a`, which would export them.
    let mut script = format!(
        "__codebuild_mark() {{ command printf '%s %s %s\\n' {nonce} \"$1\" \"$2\"; }}
__codebuild_save() {{ command -p env -0 >{quoted}/variables-\"$1\"; command pwd >{quoted}/folder-\"$1\"; }}
trap '__codebuild_status=$?; __codebuild_save end; __codebuild_mark end \"$__codebuild_status\"' EXIT
set -a
"
    );
    for (index, command) in commands.iter().enumerate() {
        let mut file = std::fs::File::create(folder.join(format!("{index}.sh")))?;
        writeln!(file, "{command}")?;
        script += &format!(
            "__codebuild_mark start {index}
. {quoted}/{index}.sh
__codebuild_status=$?
if [ \"$__codebuild_status\" -ne 0 ]; then exit \"$__codebuild_status\"; fi
__codebuild_save {index}
__codebuild_mark done {index}
"
        );
    }
    std::fs::write(folder.join("phase.sh"), script).context("cannot write the phase's script")
}

/// Reads what `__codebuild_save` wrote after a command, or at the end of the shell: nothing when a command replaced it.
///
/// Each time has its own files, because the shell goes on, and saves again, while we read.
fn take_over(folder: &Path, when: &str, state: &mut State) -> anyhow::Result<()> {
    let Ok(saved) = std::fs::read(folder.join(format!("variables-{when}"))) else {
        return Ok(());
    };
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
    let text = std::fs::read_to_string(folder.join(format!("folder-{when}")))
        .context("the working directory is not Unicode")?;
    state.folder = PathBuf::from(text.strip_suffix('\n').unwrap_or(&text));
    Ok(())
}

/// A text as one word of the shell.
fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}
