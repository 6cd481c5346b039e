//! `ipinsights verify`: a whole database, and every defect of it; or a run, repeated.

use std::io::{BufWriter, Read, Write};
use std::path::Path;

use geodata::{Defect, OpenOptions, Verification};
use serde::Serialize;

use crate::cli::{Common, VerifyArgs};
use crate::commands::repeat;
use crate::exit::{ExitCode, Failure};
use crate::output::{Output, printable, table};
use crate::progress::Progress;

/// The JSON answer.
#[derive(Debug, Serialize)]
struct Answer<'a> {
    version: u32,
    file: Option<&'a Path>,
    sound: bool,
    found: &'a Verification,
}

/// Runs the command.
pub async fn run(common: &Common, args: VerifyArgs, output: &Output) -> anyhow::Result<()> {
    match &args.file {
        Some(path) if is_json(path) => repeat::run(common, path, &args, output).await,
        _ if args.database.is_some() || args.target.is_some() || args.region.is_some() => {
            Err(Failure::usage(
                "--database, --target and --region go with a report.json; a database has only FILE",
            )
            .into())
        }
        _ => database(&args, output),
    }
}

/// Databases are binary, archives or folders; what cannot be read is told by who tries to.
fn is_json(path: &Path) -> bool {
    let mut first = [0_u8; 64];
    // What is no file, such as a pipe, may have nothing to read for ever.
    if !path.is_file() {
        return false;
    }
    let read = std::fs::File::open(path).and_then(|mut file| file.read(&mut first));
    let begun = first.iter().take(read.unwrap_or(0));
    begun.copied().find(|byte| !byte.is_ascii_whitespace()) == Some(b'{')
}

fn database(args: &VerifyArgs, output: &Output) -> anyhow::Result<()> {
    let progress = Progress::late(output.quiet);
    let mut options = OpenOptions::default();
    if let Some(language) = &args.language {
        options = options.language(language);
    }
    let mut each = Each {
        out: BufWriter::new(std::io::stdout()),
        json: output.is_json(),
        file: args.file.as_deref(),
        told: 0,
        failure: None,
    };
    let mut tell = |defect: &Defect| {
        if args.all {
            each.tell(defect);
        }
    };
    let found = match &args.file {
        Some(path) => {
            progress.now(&format!("reading all of `{}`", path.display()));
            geodata::verify_each(path, &options, &mut tell)?
        }
        None => geodata::verify_bytes_each(geodata_sample::DATABASE, &options, &mut tell)?,
    };
    progress.finish();
    match (args.all, output.is_json()) {
        (true, _) => each.end(&found)?,
        (false, true) => output.json(&Answer {
            version: 1,
            file: args.file.as_deref(),
            sound: found.is_sound(),
            found: &found,
        })?,
        (false, false) => output.text(&(summary(&found) + &listed(&found)))?,
    }
    if found.is_sound() {
        return Ok(());
    }
    let name = args
        .file
        .as_ref()
        .map_or("the built-in sample".to_owned(), |path| {
            format!("`{}`", path.display())
        });
    Err(Failure {
        code: ExitCode::Failure,
        ..Failure::usage(format!(
            "{name} has {}; get it again",
            counted(found.defect_count, "defect")
        ))
    }
    .into())
}

/// Prints every defect as it is found, however many there are.
struct Each<'a, W: Write> {
    out: W,
    json: bool,
    file: Option<&'a Path>,
    told: u64,
    failure: Option<std::io::Error>,
}

impl<W: Write> Each<'_, W> {
    fn tell(&mut self, defect: &Defect) {
        if self.failure.is_none() {
            self.failure = self.write(defect).err();
        }
    }

    fn write(&mut self, defect: &Defect) -> std::io::Result<()> {
        let Defect { place, what, .. } = defect;
        if self.json {
            self.begin()?;
            let comma = if self.told == 0 { "" } else { "," };
            write!(self.out, "{comma}\n    {}", serde_json::to_string(defect)?)?;
        } else {
            writeln!(self.out, "{}: {}", printable(place), printable(what))?;
        }
        self.told += 1;
        Ok(())
    }

    fn begin(&mut self) -> std::io::Result<()> {
        if self.told == 0 {
            let file = serde_json::to_string(&self.file)?;
            write!(
                self.out,
                "{{\n  \"version\": 1,\n  \"file\": {file},\n  \"defects\": ["
            )?;
        }
        Ok(())
    }

    /// What is known at the end.
    fn end(mut self, found: &Verification) -> anyhow::Result<()> {
        if let Some(failure) = self.failure.take() {
            return Err(failure.into());
        }
        if self.json {
            self.begin()?;
            let sound = found.is_sound();
            // All of them stand above.
            let mut found = found.clone();
            found.defects.clear();
            let found = serde_json::to_string(&found)?;
            writeln!(
                self.out,
                "\n  ],\n  \"sound\": {sound},\n  \"found\": {found}\n}}"
            )?;
        } else {
            write!(self.out, "{}", printable(&summary(found)))?;
        }
        Ok(self.out.flush()?)
    }
}

/// What it is, how much is in it, and how much is wrong.
fn summary(found: &Verification) -> String {
    let kind = if found.database_type.is_empty() {
        "unknown type"
    } else {
        &found.database_type
    };
    let form = found.form.map_or(String::new(), |form| format!(", {form}"));
    let mut text = format!(
        "{kind}{form}: {}, {}, {}\n",
        counted(found.networks, "IPv4 network"),
        counted(found.ipv6_networks, "IPv6 network"),
        counted(found.defect_count, "defect"),
    );
    for note in &found.notes {
        text.push_str(&format!("note: {note}\n"));
    }
    text
}

/// The first defects, where there are any.
fn listed(found: &Verification) -> String {
    if found.is_sound() {
        return String::new();
    }
    let mut defects = table(["place", "defect"]);
    for Defect { place, what, .. } in &found.defects {
        defects.add_row([place, what]);
    }
    let mut text = format!("\n{}\n", defects.trim_fmt());
    let more = found.defect_count - found.defects.len() as u64;
    if more > 0 {
        text.push_str(&format!("and {more} more (--all tells every one)\n"));
    }
    text
}

fn counted(number: u64, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {what}{plural}", indicatif::HumanCount(number))
}
