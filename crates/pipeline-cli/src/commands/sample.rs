//! `ipinsights sample`: rows from a country database.

use std::path::Path;

use anyhow::Context;
use geodata::{Difference, Manifest, Sample, SampleSpec};
use serde::Serialize;
use serde_json::Value;

use crate::cli::{DrawBy, RowAddress, SampleArgs, Sampling, Source, TestRows};
use crate::database;
use crate::exit::Failure;
use crate::output::{Output, table};
use crate::progress::Progress;

/// Outliers of the published experiment, and the default.
const OUTLIERS: usize = 5;

/// Runs the command.
pub fn run(args: SampleArgs, output: &Output) -> anyhow::Result<()> {
    let progress = Progress::late(output.quiet);
    let sample = match &args.from_manifest {
        Some(path) => repeat(path, &args.sampling.source, output, &progress)?,
        None => draw(&args.sampling, &progress)?,
    };
    let files = sample.write_to(&args.output)?;
    progress.finish();
    if output.is_json() {
        return output.json(&sample.manifest);
    }
    let mut lines = table(["file", "bytes"]);
    for file in &files {
        let bytes = std::fs::metadata(file)
            .with_context(|| format!("`{}`", file.display()))?
            .len();
        lines.add_row([file.display().to_string(), bytes.to_string()]);
    }
    output.text(&lines.trim_fmt())
}

/// Draws the sample that the arguments describe.
pub fn draw(args: &Sampling, progress: &Progress) -> anyhow::Result<Sample> {
    let published = args.test_rows == TestRows::Published;
    if published && args.outliers.is_some() {
        return Err(Failure::usage(
            "--outliers draws rows; with --test-rows published there are none to draw",
        )
        .into());
    }
    let spec = SampleSpec::default()
        .countries(&args.countries)
        .published_test_rows(published)
        .training_rows(args.per_country)
        .held_out_rows(args.held_out)
        .control_rows(args.control)
        .outlier_country(&args.outlier_country)
        .outliers(args.outliers.unwrap_or(OUTLIERS))
        .evaluation_outliers(args.evaluation_outliers)
        .draw_by(match args.by {
            DrawBy::Network => geodata::DrawBy::Network,
            DrawBy::Address => geodata::DrawBy::Address,
        })
        .row_address(match args.address {
            RowAddress::First => geodata::RowAddress::First,
            RowAddress::Random => geodata::RowAddress::Random,
        })
        .disjoint(args.disjoint)
        .allow_fewer(args.allow_fewer)
        .check()?;
    let database = database::open(&args.source, database::options(&args.source.reading), progress)?;
    let sample = geodata::sample_watched(&database, &spec, args.seed, &mut |walked| progress.walked(walked))?;
    told(&sample, &args.source, progress);
    Ok(sample)
}

/// What was drawn, and what is missing.
fn told(sample: &Sample, source: &Source, progress: &Progress) {
    let control = match sample.control.len() {
        0 => String::new(),
        rows => format!("{rows} control, "),
    };
    progress.done(
        "sampled",
        &format!(
            "{}: {} training rows, {} held out, {control}{} outliers",
            sample.manifest.database.database_type,
            sample.train.len(),
            sample.validation.len(),
            sample.test.len()
        ),
    );
    for short in &sample.manifest.shortages {
        progress.warn(&format!(
            "{} has {} of {} rows for {}",
            short.code, short.drawn, short.asked, short.part
        ));
    }
    if source.database.is_none() {
        progress.done("data", geodata_sample::ATTRIBUTION);
    }
}

/// A value in a column: hashes by their beginning.
pub(crate) fn shown(value: &Option<Value>) -> String {
    const LONGEST: usize = 16;

    match value {
        None => "-".to_owned(),
        Some(Value::String(text))
            if text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) =>
        {
            format!("{}…", &text[..LONGEST])
        }
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
    }
}

/// The answer where a sample is not the same.
#[derive(Debug, Serialize)]
struct Differences<'a> {
    version: u32,
    same: bool,
    differences: &'a [Difference],
}

/// A sample that is not the one of its manifest.
pub(crate) struct Other {
    /// What differs.
    pub(crate) differences: Vec<Difference>,
    /// Why it could not even be drawn.
    pub(crate) because: Option<geodata::Error>,
}

/// Draws the sample of a manifest again.
pub(crate) fn again(
    manifest: &Manifest,
    source: &Source,
    progress: &Progress,
) -> anyhow::Result<Result<Sample, Other>> {
    let database = database::open(source, manifest.open_options(), progress)?;
    let of_database = manifest.check_database(&database);
    let again = manifest.repeat_watched(&database, &mut |walked| progress.walked(walked));
    match again {
        Ok(sample) => {
            let differences = manifest.check(&sample.manifest);
            if differences.is_empty() {
                told(&sample, source, progress);
                return Ok(Ok(sample));
            }
            Ok(Err(Other {
                differences,
                because: None,
            }))
        }
        // From the same database it would have been drawn; the other database explains the error.
        Err(error) if !of_database.is_empty() => Ok(Err(Other {
            differences: of_database,
            because: Some(error),
        })),
        Err(error) => Err(error.into()),
    }
}

/// Draws it, or prints what differs.
fn repeat(path: &Path, source: &Source, output: &Output, progress: &Progress) -> anyhow::Result<Sample> {
    let manifest = Manifest::read(path)?;
    let (differences, because) = match again(&manifest, source, progress)? {
        Ok(sample) => return Ok(sample),
        Err(Other { differences, because }) => (differences, because),
    };
    progress.finish();
    if output.is_json() {
        output.json(&Differences {
            version: 1,
            same: false,
            differences: &differences,
        })?;
    } else {
        let mut lines = table(["differs", "in the manifest", "now"]);
        for difference in &differences {
            lines.add_row([
                difference.what.clone(),
                shown(&difference.manifest),
                shown(&difference.now),
            ]);
        }
        output.text(&lines.trim_fmt())?;
    }
    let mut failure = Failure::differs(format!(
        "the sample is not the one of `{}`; nothing was written",
        path.display()
    ));
    failure.source = because.map(Into::into);
    Err(failure.into())
}
