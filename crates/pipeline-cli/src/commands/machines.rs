//! `ipinsights validate`, `graph` and `diff`: definitions of state machines from files.

use std::io::Read;
use std::path::Path;

use sfn_builder::{Diff, Execution, File, Report, Severity, StateMachine};

use crate::cli::{DiffArgs, GraphArgs, ValidateArgs};
use crate::exit::{ExitCode, Failure};
use crate::output::{Format, Output};

/// The largest file that is read: templates have at most 1 MB, so have definitions.
const MAX_BYTES: u64 = 64 << 20;

/// `ipinsights validate`: the findings of files.
pub fn validate(args: &ValidateArgs, output: &Output) -> anyhow::Result<()> {
    let mut report = Report::new();
    let mut unread = Vec::new();
    for path in &args.files {
        match read(path) {
            Ok(text) => report.add(name(path), File::read(&text).findings()),
            Err(error) => unread.push(error),
        }
    }
    match args.format {
        Format::Json => output.json(&report.to_json())?,
        Format::Sarif => output.json(&report.to_sarif())?,
        _ => {
            let (errors, warnings) = (report.count(Severity::Error), report.count(Severity::Warning));
            let files = args.files.len() - unread.len();
            let files = if files == 1 {
                "1 file".to_owned()
            } else {
                format!("{files} files")
            };
            output.text(&format!(
                "{}{files}: {errors} errors, {warnings} warnings",
                report.to_text()
            ))?;
        }
    }
    // A file that could not be read may hold anything.
    let mut unread = unread.into_iter();
    if let Some(error) = unread.next() {
        return Err(unread.fold(error, |error, next| error.context(format!("{next:#}"))));
    }
    match report.count(Severity::Error) {
        0 => Ok(()),
        errors => Err(Failure {
            code: ExitCode::Failure,
            ..Failure::usage(match errors {
                1 => "the service refuses a definition: 1 error".to_owned(),
                errors => format!("the service refuses a definition: {errors} errors"),
            })
        }
        .into()),
    }
}

/// `ipinsights graph`: a picture.
pub fn graph(args: &GraphArgs, output: &Output) -> anyhow::Result<()> {
    let machine = machine(&args.file, args.state_machine.as_deref())?;
    let execution = match &args.history {
        None => None,
        Some(path) => {
            let text = read(path)?;
            let history = serde_json::from_str(&text).map_err(|error| {
                let message = format!("`{}` is not JSON: {error}", path.display());
                unusable(message)
            })?;
            let execution = Execution::from_history(&history)
                .map_err(|error| unusable(format!("`{}`: {error}", path.display())))?;
            Some(execution)
        }
    };
    output.text(&match (args.format, &execution) {
        (Format::Dot, None) => machine.to_dot(),
        (Format::Dot, Some(execution)) => machine.to_dot_with(execution),
        (Format::Mermaid, None) => machine.to_mermaid(),
        (Format::Mermaid, Some(execution)) => machine.to_mermaid_with(execution),
        (_, None) => machine.to_svg(),
        (_, Some(execution)) => machine.to_svg_with(execution),
    })
}

/// `ipinsights diff`: what differs between two definitions.
pub fn diff(args: &DiffArgs, output: &Output) -> anyhow::Result<()> {
    let old = definition(&args.old, args.state_machine.as_deref())?;
    let new = definition(&args.new, args.state_machine.as_deref())?;
    let diff = Diff::between(&old.document, &new.document);
    if output.is_json() {
        return output.json(&diff.to_json());
    }
    output.text(&if diff.is_empty() {
        "no difference".to_owned()
    } else {
        diff.to_string()
    })
}

fn machine(path: &Path, wanted: Option<&str>) -> anyhow::Result<StateMachine> {
    let definition = definition(path, wanted)?;
    definition.document.check().map_err(|error| {
        let message = format!(
            "`{}`: {error}\n`ipinsights validate` says where in the file",
            path.display()
        );
        Failure {
            code: ExitCode::Failure,
            ..Failure::usage(message)
        }
        .into()
    })
}

pub(super) fn definition(path: &Path, wanted: Option<&str>) -> anyhow::Result<sfn_builder::FileDefinition> {
    let file = File::read(&read(path)?);
    let names: Vec<&str> = file
        .definitions()
        .iter()
        .filter_map(|definition| definition.name.as_deref())
        .collect();
    let found = match (wanted, file.definitions()) {
        (None, [only]) => Some(only),
        (None, _) => None,
        (Some(wanted), all) => all
            .iter()
            .find(|definition| definition.name.as_deref() == Some(wanted)),
    };
    if let Some(found) = found {
        return Ok(found.clone());
    }
    let path = path.display();
    let message = match (wanted, names.as_slice()) {
        (_, []) => match file.findings().first() {
            Some(finding) => format!("`{path}` holds no definition: {finding}"),
            None => format!("`{path}` holds no definition"),
        },
        (Some(wanted), names) => format!(
            "`{path}` has no state machine `{wanted}`; it has {}",
            names.join(", ")
        ),
        (None, names) => format!(
            "`{path}` has several state machines: say which with --state-machine ({})",
            names.join(", ")
        ),
    };
    Err(unusable(message).into())
}

pub(super) fn unusable(message: String) -> Failure {
    Failure {
        code: ExitCode::Failure,
        ..Failure::usage(message)
    }
}

fn name(path: &Path) -> String {
    if path == Path::new("-") {
        "<stdin>".to_owned()
    } else {
        path.display().to_string()
    }
}

/// A file, or stdin for `-`.
pub(super) fn read(path: &Path) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    let result = if path == Path::new("-") {
        std::io::stdin()
            .lock()
            .take(MAX_BYTES + 1)
            .read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes))
    };
    let name = name(path);
    // 2 is promised for what could not be read, whatever the reason.
    let failure = |message: String| Failure {
        code: ExitCode::Usage,
        ..Failure::usage(message)
    };
    if let Err(error) = result {
        return Err(failure(format!("cannot read `{name}`: {error}")).into());
    }
    if bytes.len() as u64 > MAX_BYTES {
        return Err(failure(format!(
            "`{name}` is larger than {MAX_BYTES} bytes: that is no definition"
        ))
        .into());
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(text),
        Err(error) => Err(failure(format!("`{name}` is not UTF-8: {error}")).into()),
    }
}
