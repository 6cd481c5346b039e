//! `ipinsights sample`: rows from a country database.

use anyhow::Context;
use geodata::{Database, Sample, SampleSpec};

use crate::cli::{SampleArgs, Sampling, TestRows};
use crate::exit::Failure;
use crate::output::{Output, table};
use crate::progress::Progress;

/// Outliers of the published experiment, and the default.
const OUTLIERS: usize = 5;

/// Runs the command.
pub fn run(args: SampleArgs, output: &Output) -> anyhow::Result<()> {
    let progress = Progress::new(output.quiet);
    let sample = draw(&args.sampling, &progress)?;
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
    progress.now("sampling networks");
    let database = match &args.database {
        Some(path) => Database::open(path)?,
        None => Database::from_bytes(geodata_sample::DATABASE)?,
    };
    let published = args.test_rows == TestRows::Published;
    if published && args.outliers.is_some() {
        return Err(Failure::usage(
            "--outliers draws rows; with --test-rows published there are none to draw",
        )
        .into());
    }
    let spec = SampleSpec::default()
        .countries(&args.countries)
        .training_rows(args.per_country)
        .held_out_rows(args.held_out)
        .outlier_country(&args.outlier_country)
        .outliers(args.outliers.unwrap_or(OUTLIERS))
        .evaluation_outliers(args.evaluation_outliers);
    let mut sample = geodata::sample(&database, &spec.check()?, args.seed)?;
    if published {
        sample = sample.with_published_test_rows()?;
    }
    progress.done(
        "sampled",
        &format!(
            "{}: {} training rows, {} held out, {} outliers",
            database.metadata().database_type,
            sample.train.len(),
            sample.validation.len(),
            sample.test.len()
        ),
    );
    if args.database.is_none() {
        progress.done("data", geodata_sample::ATTRIBUTION);
    }
    Ok(sample)
}
