//! `ipinsights verify report.json`: the run or the evaluation of a report, once more, and what is not the same.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use geodata::Manifest;
use jiff::Timestamp;
use pipeline::destroy::Logs;
use pipeline::evaluation::EvaluationRecord;
use pipeline::names::PipelineName;
use pipeline::report::{Difference, VERSION};
use pipeline::rows::{OwnManifest, OwnRows, Rows};
use pipeline::{EvaluationReport, Report, SettingsDraft};
use serde::Serialize;
use serde_json::Value;

use crate::cli::{Account, Common, Place, Reading, Source, Target, VerifyArgs};
use crate::commands::evaluate::{self, Sources};
use crate::commands::sample::{self, Other};
use crate::exit::Failure;
use crate::output::{Output, table};
use crate::progress::Progress;
use crate::signals::Signals;
use crate::target::{self, Opened};

/// The JSON answer.
#[derive(Debug, Serialize)]
struct Answer<'a> {
    version: u32,
    file: &'a Path,
    same: bool,
    /// JSON pointers into the report.
    differences: &'a [Difference],
}

/// Repeats what a report is of, and compares.
pub(super) async fn run(
    common: &Common,
    path: &Path,
    args: &VerifyArgs,
    output: &Output,
) -> anyhow::Result<()> {
    if args.language.is_some() || args.all {
        return Err(Failure::usage("--language and --all are for databases, not for a report").into());
    }
    let progress = Arc::new(Progress::new(common.quiet));
    let repeated = match read(path)? {
        Kind::Evaluation(before) => {
            if args.database.is_some() || args.target.is_some() || args.region.is_some() {
                return Err(Failure::usage(
                    "--database, --target and --region are for the report of a run; an evaluation has only its files",
                )
                .into());
            }
            evaluate_again(path, &before, &progress)?
        }
        Kind::Run(before) => run_again(path, &before, args, &progress).await?,
    };
    progress.finish();
    match repeated {
        Repeated::Other { differences, because } => {
            let mut failure = tell(path, &differences, output)?;
            failure.source = because.map(Into::into);
            Err(failure.into())
        }
        Repeated::Same(_) if output.is_json() => output.json(&Answer {
            version: 1,
            file: path,
            same: true,
            differences: &[],
        }),
        Repeated::Same(what) => output.text(&format!("the same: {what}")),
    }
}

/// What a repetition came to.
enum Repeated {
    /// The same; of what.
    Same(String),
    /// Something else.
    Other {
        differences: Vec<Difference>,
        because: Option<geodata::Error>,
    },
}

impl Repeated {
    fn of(differences: Vec<Difference>, what: impl FnOnce() -> String) -> Self {
        if differences.is_empty() {
            return Self::Same(what());
        }
        Self::Other {
            differences,
            because: None,
        }
    }
}

/// Evaluates the same files.
fn evaluate_again(path: &Path, before: &Value, progress: &Progress) -> anyhow::Result<Repeated> {
    let record: EvaluationRecord =
        serde_json::from_value(before["record"].clone()).map_err(|error| Failure {
            source: Some(error.into()),
            ..Failure::data(format!(
                "`{}` does not say which files it was made of",
                path.display()
            ))
        })?;
    let again = evaluate::evaluate(
        &Sources {
            model: Path::new(&record.model.path),
            normal: Path::new(&record.normal.path),
            anomalous: Path::new(&record.anomalous.path),
            history: record.history.as_ref().map(|file| Path::new(&file.path)),
        },
        progress,
    )
    .context("the files of an evaluation are looked for where they were, seen from the current folder")?;
    let differences = EvaluationReport::differences(before, &again)?;
    Ok(Repeated::of(differences, || {
        format!(
            "{} normal and {} anomalous rows, AUC {:.4}, the same figures",
            again.figures.normal, again.figures.anomalous, again.figures.auc
        )
    }))
}

/// Runs the same rows.
async fn run_again(
    path: &Path,
    before: &Report,
    args: &VerifyArgs,
    progress: &Arc<Progress>,
) -> anyhow::Result<Repeated> {
    let target = args.target.unwrap_or(Target::Local);
    let signals = Signals::listen();
    if before.target == Target::Aws.as_str() && target == Target::Local {
        return Err(Failure::usage(format!(
            "`{}` is of a run in the account, whose algorithm gives other scores than this one; repeat it there with --target aws",
            path.display()
        ))
        .into());
    }
    let unusable = |what: String| Failure::data(format!("`{}`: {what}", path.display()));
    let (draft, unknown) = ipinsights::Draft::from_map(&before.training.hyperparameters);
    if let Some(name) = unknown.first() {
        return Err(unusable(format!("there is no hyperparameter `{name}`")).into());
    }
    let params = draft.check().map_err(|error| unusable(error.to_string()))?;
    let rows = if before.manifest["kind"] == "rows" {
        own_rows_again(path, before, args)?
    } else {
        sample_again(before, args, progress)?
    };
    let rows = match rows {
        Ok(rows) => rows,
        Err(other) => return Ok(other),
    };

    let name = match target {
        // The services of a local repetition are its own: nobody's endpoint is updated.
        Target::Local => before.endpoint.name.clone(),
        Target::Aws => beside(&before.endpoint.name),
    };
    let settings = SettingsDraft {
        false_positive_rate: before.threshold.false_positive_rate,
        ..target::settings(target, &name, &Account::default())
    }
    .check(params)?;
    let folder = tempfile::tempdir()?;
    let place = Place {
        target,
        data_dir: Some(folder.path().join("data")),
        endpoint_url: None,
        region: Some(args.region.clone().unwrap_or_else(|| before.region.clone())),
    };
    let opened = Opened::open(&place, progress).await?;
    let told = Arc::clone(progress);
    let result = pipeline::run(
        &opened.clients,
        &settings,
        &rows,
        Timestamp::now(),
        signals.first(),
        &mut |event| told.pipeline(event),
    )
    .await;
    if target == Target::Aws && result.is_ok() {
        let teardown = pipeline::destroy(&opened.clients, settings.name(), Logs::Keep).await?;
        for left in teardown.left {
            progress.warn(&format!("{} `{}` is left: {}", left.kind, left.name, left.reason));
        }
    }
    opened.close().await;
    let again = result.map_err(|failed| failed.error)?;
    Ok(Repeated::of(before.differences(&again)?, || {
        format!(
            "{} scored rows, threshold {:.3}, the same model, the same figures",
            before.rows.len(),
            before.threshold.value
        )
    }))
}

/// The rows of a manifest, or what is not the same already.
type RowsAgain = Result<Rows, Repeated>;

/// Draws the sample of a report's manifest.
fn sample_again(before: &Report, args: &VerifyArgs, progress: &Progress) -> anyhow::Result<RowsAgain> {
    let manifest = Manifest::from_json(&serde_json::to_vec(&before.manifest)?)?;
    let source = Source {
        database: args.database.clone(),
        reading: Reading {
            country_source: Vec::new(),
            language: None,
        },
    };
    let Other { differences, because } = match sample::again(&manifest, &source, progress)? {
        Ok(sample) => return Ok(Ok(sample.into())),
        Err(other) => other,
    };
    let differences = differences
        .into_iter()
        .map(|difference| Difference {
            place: format!("/manifest: {}", difference.what),
            before: difference.manifest,
            now: difference.now,
        })
        .collect();
    Ok(Err(Repeated::Other { differences, because }))
}

/// Reads the files that were written beside a report of own rows.
fn own_rows_again(path: &Path, before: &Report, args: &VerifyArgs) -> anyhow::Result<RowsAgain> {
    if args.database.is_some() {
        return Err(Failure::usage(
            "--database is for the report of a sample; the rows of this one are the files beside it",
        )
        .into());
    }
    let manifest: OwnManifest = serde_json::from_value(before.manifest.clone()).map_err(|error| Failure {
        source: Some(error.into()),
        ..Failure::data(format!("the manifest in `{}` cannot be used", path.display()))
    })?;
    if manifest.version != OwnManifest::VERSION {
        return Err(Failure::data(format!(
            "the manifest in `{}` is of version {}, this program knows {}",
            path.display(),
            manifest.version,
            OwnManifest::VERSION
        ))
        .into());
    }
    let folder = path.parent().unwrap_or(Path::new("."));
    let again = OwnRows::again(&manifest, |name| -> anyhow::Result<Vec<u8>> {
        // What is not a name leads elsewhere.
        let is_name = Path::new(name).file_name().is_some_and(|file| file == name);
        if !is_name {
            return Err(
                Failure::data(format!("`{name}` in the manifest is no name of a file beside it")).into(),
            );
        }
        let file = folder.join(name);
        std::fs::read(&file).with_context(|| format!("`{}` cannot be read", file.display()))
    })?;
    Ok(again.map(Rows::from).map_err(|differences| Repeated::Other {
        differences,
        because: None,
    }))
}

/// The name of the pipeline that is made to repeat one of this name.
fn beside(name: &str) -> String {
    const ADDED: &str = "-verify";
    let most = PipelineName::LONGEST - ADDED.len();
    // Names are ASCII; what is not one is refused with the settings.
    let begun = name.get(..most).unwrap_or(name).trim_end_matches('-');
    format!("{begun}{ADDED}")
}

/// A report that can be repeated.
enum Kind {
    Run(Box<Report>),
    Evaluation(Value),
}

fn read(path: &Path) -> anyhow::Result<Kind> {
    let bytes = std::fs::read(path).map_err(|error| Failure {
        source: Some(error.into()),
        ..Failure::file(format!("`{}` cannot be read", path.display()))
    })?;
    let no_report = |error: serde_json::Error| Failure {
        source: Some(error.into()),
        ..Failure::data(format!(
            "`{}` is no report.json as `ipinsights run` and `ipinsights evaluate` write it",
            path.display()
        ))
    };
    let report: Value = serde_json::from_slice(&bytes).map_err(no_report)?;
    let known = |version: Option<u64>| match version {
        Some(version) if version != u64::from(VERSION) => Err(Failure::data(format!(
            "`{}` is a report of version {version}, this program knows {VERSION}",
            path.display(),
        ))),
        _ => Ok(()),
    };
    known(report["version"].as_u64())?;
    match report["kind"].as_str() {
        Some("evaluation") => Ok(Kind::Evaluation(report)),
        Some("failed-run") => Err(Failure::data(format!(
            "`{}` is of a run that failed: there is nothing to compare with",
            path.display()
        ))
        .into()),
        _ => Ok(Kind::Run(serde_json::from_slice(&bytes).map_err(no_report)?)),
    }
}

/// Prints what differs, and gives the failure that the command ends with.
fn tell(path: &Path, differences: &[Difference], output: &Output) -> anyhow::Result<Failure> {
    /// In the table; JSON has all.
    const MOST_SHOWN: usize = 20;

    if output.is_json() {
        output.json(&Answer {
            version: 1,
            file: path,
            same: false,
            differences,
        })?;
    } else {
        let mut lines = table(["differs", "in the report", "now"]);
        for difference in differences.iter().take(MOST_SHOWN) {
            lines.add_row([
                difference.place.clone(),
                sample::shown(&difference.before),
                sample::shown(&difference.now),
            ]);
        }
        let mut text = lines.trim_fmt();
        if let Some(more) = differences.len().checked_sub(MOST_SHOWN).filter(|more| *more > 0) {
            text += &format!("\nand {more} more (--format json has all)");
        }
        output.text(&text)?;
    }
    Ok(Failure::differs(format!(
        "what `{}` is of, repeated, is not the same in {}",
        path.display(),
        match differences.len() {
            1 => "one place".to_owned(),
            places => format!("{places} places"),
        }
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_repeats_has_a_name_of_its_own_that_is_allowed() {
        for (name, expected) in [
            ("fraud", "fraud-verify".to_owned()),
            (&"a".repeat(36), "a".repeat(29) + "-verify"),
            (&("a".repeat(28) + "-bcd"), "a".repeat(28) + "-verify"),
        ] {
            assert_eq!(beside(name), expected);
            assert!(beside(name).parse::<PipelineName>().is_ok());
        }
    }
}
