//! Every command of the guide and of the front page is run, in the order in which a reader would, each file in a folder of its own.
//!
//! What needs an account (`--target aws`), and what stands in a block for a shell (`sh`), is only read by the program's parser; `serve` is
//! started, and stopped at the end; `score-server` is started; `fetch` meets a server on this machine that offers the built-in database under
//! every name.
//! Commands of other programs are not run; `cargo run` of this program is the program. Where a text shows what a command prints, that is
//! compared with what it does print (`stdout`, or both with `stderr` first): `…` stands for anything, and how long something took may differ.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::{CommandFactory, Parser};
use pipeline_cli::cli::Cli;

use crate::maxmind::{self, MaxMind};
use crate::support::Running;

/// The address that the texts write for a server that the reader started.
const WRITTEN_URL: &str = "http://127.0.0.1:4566";
/// Of `serve` and of `score-server`.
const WRITTEN_PORTS: [&str; 2] = ["4566", "8080"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A command of a text, and what the text shows of its output.
#[derive(Debug, PartialEq)]
struct Written {
    line: usize,
    command: String,
    shown: Vec<String>,
}

/// The commands of the ```console blocks: the lines after `$ `, or all lines of a block that has none of those.
fn commands(text: &str) -> Vec<Written> {
    let mut commands: Vec<Written> = Vec::new();
    let mut block: Option<Vec<(usize, &str)>> = None;
    for (index, line) in text.lines().enumerate() {
        match &mut block {
            None if line == "```console" => block = Some(Vec::new()),
            None => {}
            Some(lines) if line == "```" => {
                let prompted = lines.iter().any(|(_, line)| line.starts_with("$ "));
                for (line, text) in lines.drain(..) {
                    let command = text.strip_prefix("$ ");
                    match (command.or((!prompted).then_some(text)), commands.last_mut()) {
                        (Some(command), _) => commands.push(Written {
                            line,
                            command: command.to_owned(),
                            shown: Vec::new(),
                        }),
                        (None, Some(command)) => command.shown.push(text.to_owned()),
                        (None, None) => panic!("line {line}: output of which command?"),
                    }
                }
                block = None;
            }
            Some(lines) => lines.push((index + 1, line)),
        }
    }
    commands
}

/// A line as it is compared: without a time such as `0.3 s`, and without spaces at its end.
fn comparable(line: &str) -> String {
    let mut words: Vec<&str> = line.trim_end().split(' ').collect();
    for i in 1..words.len() {
        let unit = words[i].trim_end_matches([',', '.', ')', ':', ';']);
        let number = words[i - 1].trim_start_matches('(');
        if ["s", "ms", "min"].contains(&unit) && number.parse::<f64>().is_ok() {
            words[i - 1] = "";
        }
    }
    words.join(" ")
}

/// Whether a text with `…` for anything fits.
fn fits(shown: &str, printed: &str) -> bool {
    let mut parts = shown.split('…');
    let Some(mut rest) = parts.next().and_then(|first| printed.strip_prefix(first)) else {
        return false;
    };
    let mut parts = parts.peekable();
    while let Some(part) = parts.next() {
        let Some(at) = (if parts.peek().is_some() {
            rest.find(part)
        } else {
            rest.ends_with(part).then(|| rest.len() - part.len())
        }) else {
            return false;
        };
        rest = &rest[at + part.len()..];
    }
    rest.is_empty()
}

/// Whether a command printed what its text shows.
fn is_shown(shown: &[String], stderr: &str, stdout: &str) -> bool {
    let lines = |text: &str| -> String {
        let lines: Vec<String> = text.lines().map(comparable).collect();
        lines.join("\n")
    };
    let shown = lines(shown.join("\n").trim_end());
    fits(&shown, lines(stdout).trim_end()) || fits(&shown, lines(&format!("{stderr}{stdout}")).trim_end())
}

/// The words of a command line: quotes are all of the shell that the texts need.
fn words(command: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in command.chars() {
        match (quote, c) {
            (Some(end), c) if c == end => quote = None,
            (Some(_), c) => word.get_or_insert_default().push(c),
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, ' ') => words.extend(word.take()),
            // A comment.
            (None, '#') if word.is_none() => break,
            (None, '|' | '>' | '<' | ';' | '&' | '$' | '\\' | '`') => {
                panic!("`{c}` in `{command}`: write it without a shell")
            }
            (None, c) => word.get_or_insert_default().push(c),
        }
    }
    assert_eq!(quote, None, "`{command}`");
    words.extend(word);
    words
}

/// The arguments of a command that is this program, however it is written.
fn arguments(command: &str) -> Option<Vec<String>> {
    let rest = command
        .strip_prefix("ipinsights ")
        .or_else(|| command.strip_prefix("cargo run --release -p pipeline-cli -- "))?;
    Some(words(rest))
}

/// Why the program's parser does not take these arguments.
fn refusal(arguments: &[String]) -> Option<String> {
    let name = std::iter::once("ipinsights");
    let words = name.chain(arguments.iter().map(String::as_str));
    Cli::try_parse_from(words).err().map(|error| error.to_string())
}

/// The commands in the ```sh blocks, each with its line: lines that go on are joined, pipes and lists taken apart.
fn shell_commands(text: &str) -> Vec<(usize, String)> {
    let mut commands = Vec::new();
    let mut is_inside = false;
    let mut begun: Option<(usize, String)> = None;
    for (index, line) in text.lines().enumerate() {
        match line {
            "```sh" => is_inside = true,
            "```" => is_inside = false,
            line if is_inside => {
                let (number, mut whole) = begun.take().unwrap_or((index + 1, String::new()));
                whole += line.trim_end_matches('\\');
                if line.ends_with('\\') {
                    begun = Some((number, whole));
                } else {
                    commands.extend(simple(&whole).into_iter().map(|command| (number, command)));
                }
            }
            _ => {}
        }
    }
    commands
}

/// A line's commands: what stands between `|`, `;` and `&`, quotes aside.
fn simple(line: &str) -> Vec<String> {
    let mut commands = vec![String::new()];
    let mut quote = None;
    for c in line.chars() {
        match (quote, c) {
            (None, '|' | ';' | '&') => commands.push(String::new()),
            (_, c) => {
                quote = match quote {
                    None if matches!(c, '"' | '\'') => Some(c),
                    Some(end) if c == end => None,
                    other => other,
                };
                if let Some(command) = commands.last_mut() {
                    command.push(c);
                }
            }
        }
    }
    let trimmed = commands.iter().map(|command| command.trim().to_owned());
    trimmed.filter(|command| !command.is_empty()).collect()
}

/// A server that a text starts and leaves running.
struct Serving {
    _server: Running,
    url: String,
}

/// The program in this folder, without what the machine's own environment says of AWS.
fn program(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ipinsights"));
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let ours = ["AWS_", "IPINSIGHTS_", "GEOIPUPDATE_", "MAXMIND_"]
            .iter()
            .any(|prefix| text.starts_with(prefix));
        let published = [
            "REGION",
            "DATA_LOCATION",
            "ARTIFACT_LOCATION",
            "ESTIMATOR_ROLE",
            "WORKFLOW_EXECUTION_ROLE",
        ];
        if ours || published.contains(&&*text) {
            command.env_remove(&name);
        }
    }
    command.current_dir(folder).stdin(Stdio::null());
    command
}

fn serve(folder: &Path, arguments: &[String]) -> Serving {
    let mut arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.iter_mut().find(|word| WRITTEN_PORTS.contains(&**word)) {
        Some(port) => *port = "0",
        None => arguments.extend(["--port", "0"]),
    }
    let mut server = Running::unheard(program(folder).args(&arguments));
    let url = server.line();
    assert!(
        url.starts_with("http://127.0.0.1:"),
        "the first line of `{arguments:?}` is `{url}`"
    );
    Serving { _server: server, url }
}

/// Account and key for `fetch`: in a `GeoIP.conf` where the text has one, and otherwise in variables.
fn with_account(command: &mut Command, folder: &Path, arguments: &[String], maxmind: &MaxMind) {
    command.env("GEOIPUPDATE_HOST", maxmind.uri());
    if arguments.iter().any(|word| word == "--config") {
        let config = format!(
            "AccountID {}\nLicenseKey {}\nEditionIDs GeoLite2-Country\nDatabaseDirectory geoip\n",
            maxmind::ACCOUNT,
            maxmind::KEY
        );
        std::fs::write(folder.join("GeoIP.conf"), config).unwrap();
    } else {
        command
            .env("GEOIPUPDATE_ACCOUNT_ID", maxmind::ACCOUNT)
            .env("GEOIPUPDATE_LICENSE_KEY", maxmind::KEY);
    }
}

/// Runs the commands of one file: how many there were, and what is wrong.
fn follow(path: &Path, maxmind: &MaxMind) -> (usize, Vec<String>) {
    let text = std::fs::read_to_string(path).unwrap();
    let folder = tempfile::tempdir().unwrap();
    // What a clone has for the commands to read.
    for name in ["crates", "docs"] {
        std::os::unix::fs::symlink(root().join(name), folder.path().join(name)).unwrap();
    }
    let mut serving: Option<Serving> = None;
    let (mut followed, mut wrong) = (0, Vec::new());
    for Written { line, command, shown } in commands(&text) {
        let Some(mut arguments) = arguments(&command) else {
            continue;
        };
        followed += 1;
        let place = format!("{}:{line}: {command}", path.display());
        match arguments.first().map(String::as_str) {
            Some("serve") => {
                serving = Some(serve(folder.path(), &arguments));
                continue;
            }
            // Nothing in the texts asks it.
            Some("score-server") => {
                drop(serve(folder.path(), &arguments));
                continue;
            }
            _ => {}
        }
        if arguments.windows(2).any(|pair| pair == ["--target", "aws"]) {
            wrong.extend(refusal(&arguments).map(|why| format!("{place}\n{why}")));
            continue;
        }
        if let Some(serving) = &serving {
            for word in &mut arguments {
                *word = word.replace(WRITTEN_URL, &serving.url);
            }
        }
        let mut command = program(folder.path());
        if arguments.first().is_some_and(|word| word == "fetch") {
            with_account(&mut command, folder.path(), &arguments, maxmind);
        }
        let output = command.args(&arguments).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        let printed = String::from_utf8_lossy(&output.stdout);
        let why = if !output.status.success() {
            Some(output.status.to_string())
        } else if printed.is_empty() {
            Some("it printed nothing".to_owned())
        } else if !shown.is_empty() && !is_shown(&shown, &errors, &printed) {
            Some("this is not what the text shows".to_owned())
        } else {
            None
        };
        wrong.extend(why.map(|why| format!("{place}\n{why}\n{errors}{printed}")));
    }
    (followed, wrong)
}

/// The guide, the front page, and those of the crates.
fn texts() -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(root().join("docs/src"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.push(root().join("README.md"));
    let crates = std::fs::read_dir(root().join("crates")).unwrap();
    files.extend(crates.map(|entry| entry.unwrap().path().join("README.md")));
    files.sort();
    files
}

#[test]
fn every_command_for_a_shell_has_arguments_that_are_known() {
    let (mut read, mut wrong) = (0, Vec::new());
    for path in texts() {
        for (line, command) in shell_commands(&std::fs::read_to_string(&path).unwrap()) {
            let place = format!("{}:{line}: {command}", path.display());
            // Words after the name; a program without any is one, too.
            let Some(arguments) = arguments(&format!("{command} ")) else {
                assert!(
                    !command.starts_with("ipinsights"),
                    "{place}: how is this written?"
                );
                continue;
            };
            read += 1;
            wrong.extend(refusal(&arguments).map(|why| format!("{place}\n{why}")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(read >= 4, "only {read} commands: are they found at all?");
}

/// What a command that a sentence names has not: a subcommand, an option.
fn unknown_words(command: &str) -> Option<String> {
    let mut known = Cli::command();
    known.build();
    let mut is_named = false;
    for word in command.split_whitespace().skip(1) {
        if let Some(within) = known.find_subcommand(word) {
            known = within.clone();
            is_named = true;
        } else if !is_named && !word.starts_with('-') {
            return Some(format!("there is no command `{word}`"));
        } else if let Some(option) = word.strip_prefix("--") {
            let name = option.split('=').next().unwrap_or_default();
            if !known
                .get_arguments()
                .any(|argument| argument.get_long() == Some(name))
            {
                return Some(format!("`{}` has no `--{name}`", known.get_name()));
            }
        }
    }
    None
}

#[test]
fn commands_in_sentences_are_those_that_there_are() {
    let (mut read, mut wrong) = (0, Vec::new());
    let changes = root().join("CHANGELOG.md");
    for path in texts().into_iter().chain([changes]) {
        let text = std::fs::read_to_string(&path).unwrap();
        // Blocks aside, which are commands of their own.
        let sentences: String = text.split("```").step_by(2).collect();
        for span in sentences.split('`').skip(1).step_by(2) {
            if span.starts_with("ipinsights ") {
                read += 1;
                wrong.extend(unknown_words(span).map(|why| format!("{}: `{span}`: {why}", path.display())));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(read >= 50, "only {read} commands: are they found at all?");
    assert!(unknown_words("ipinsights states run --mock x").is_none());
    assert!(unknown_words("ipinsights runs").is_some() && unknown_words("ipinsights run --row x").is_some());
}

#[test]
fn commands_for_a_shell_are_found_and_taken_apart() {
    let text = "```sh\na b | ipinsights run \\\n  -q && c 'd | e'; f # g\n```\nipinsights out\n```console\nipinsights not\n```\n";
    let commands = shell_commands(text);
    let expected = ["a b", "ipinsights run   -q", "c 'd | e'", "f # g"];
    assert_eq!(
        commands
            .iter()
            .map(|(_, command)| command.as_str())
            .collect::<Vec<_>>(),
        expected
    );
    assert_eq!(commands[1].0, 2);
    assert!(refusal(&["run".to_owned()]).is_none());
    assert!(
        refusal(&["run".to_owned(), "--no-such".to_owned()])
            .unwrap()
            .contains("--no-such")
    );
    // All of the parser's rules hold, not only those of words.
    let together = ["run", "--rows", "a", "--countries", "US"].map(str::to_owned);
    assert!(refusal(&together).unwrap().contains("cannot be used with"));
}

#[test]
fn every_command_of_the_guide_works() {
    let files = texts();
    let maxmind = MaxMind::start(geodata_sample::DATABASE);
    let (followed, wrong): (Vec<usize>, Vec<Vec<String>>) = std::thread::scope(|scope| {
        let follow = |path| follow(path, &maxmind);
        let runs: Vec<_> = files
            .iter()
            .map(|path| scope.spawn(move || follow(path)))
            .collect();
        runs.into_iter().map(|run| run.join().unwrap()).unzip()
    });
    let (followed, wrong) = (followed.iter().sum::<usize>(), wrong.concat());
    assert!(
        wrong.is_empty(),
        "{} are wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(followed >= 15, "only {followed} commands: are they found at all?");
}

#[test]
fn every_reason_to_leave_something_out_is_explained() {
    let guide = std::fs::read_to_string(root().join("docs/src/logs.md")).unwrap();
    let mut reasons = vec!["repeat".to_owned(), "few-events".to_owned()];
    for file in ["report.rs", "address.rs"] {
        let source = std::fs::read_to_string(root().join("crates/access-events/src").join(file)).unwrap();
        reasons.extend(source.lines().filter_map(|line| {
            let (variant, name) = line.trim().split_once(" => \"")?;
            let name = name.strip_suffix("\",")?;
            variant.starts_with("Self::").then(|| name.to_owned())
        }));
    }
    assert!(reasons.len() >= 35, "only {reasons:?}: are they found at all?");
    let missing: Vec<_> = reasons
        .iter()
        .filter(|reason| !guide.contains(&format!("`{reason}`")))
        .collect();
    assert!(missing.is_empty(), "not in the guide: {missing:?}");
}

#[test]
fn commands_are_found_and_split() {
    let text = "a\n```console\n$ ipinsights run\noutput\n```\n```sh\nx\n```\n```console\ncargo test\nipinsights score 'a b,1.2.3.4'\n```\n";
    let found = commands(text);
    let lines: Vec<usize> = found.iter().map(|written| written.line).collect();
    assert_eq!(lines, [3, 10, 11]);
    assert_eq!(found[0].shown, ["output"]);
    assert_eq!(found[2].shown, [""; 0]);
    assert_eq!(arguments(&found[0].command).unwrap(), ["run"]);
    assert_eq!(arguments(&found[1].command), None);
    assert_eq!(arguments(&found[2].command).unwrap(), ["score", "a b,1.2.3.4"]);
    assert_eq!(arguments("ipinsights run a#b # c").unwrap(), ["run", "a#b"]);
    assert_eq!(
        arguments("cargo run --release -p pipeline-cli -- run").unwrap(),
        ["run"]
    );
}

#[test]
fn output_is_compared() {
    let is_shown = |shown: &[&str], stderr, stdout| {
        let shown: Vec<String> = shown.iter().map(|line| (*line).to_owned()).collect();
        is_shown(&shown, stderr, stdout)
    };
    assert!(is_shown(&["a 3.1 s", "b"], "", "a 0.2 s\nb\n"));
    assert!(is_shown(&["told", "b"], "told\n", "b\n"));
    assert!(is_shown(&["a", "…", "d"], "", "a\nb\nc\nd\n"));
    assert!(is_shown(&["a … c, (2.5 ms)", "…"], "", "a b c, (31 ms)\nd\n"));
    assert!(!is_shown(&["a"], "", "a\nb\n"));
    assert!(!is_shown(&["a 3.1"], "", "a 0.2\n"));
    assert!(!is_shown(&["a", "…", "e"], "", "a\nb\nc\nd\n"));
    assert!(!is_shown(&["…", "a"], "", "b\na\nc\n"));
}
