//! `ipinsights verify report.json`: the run of a report, once more, and what is not the same.

use std::path::Path;
use std::sync::Arc;

use geodata::Manifest;
use jiff::Timestamp;
use pipeline::names::PipelineName;
use pipeline::report::{Difference, VERSION};
use pipeline::{Report, SettingsDraft};
use serde::Serialize;

use crate::cli::{Account, Common, Place, Reading, Source, Target, VerifyArgs};
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

/// Repeats the run and compares.
pub(super) async fn run(
    common: &Common,
    path: &Path,
    args: &VerifyArgs,
    output: &Output,
) -> anyhow::Result<()> {
    if args.language.is_some() || args.all {
        return Err(Failure::usage("--language and --all are for databases, not for a report").into());
    }
    let target = args.target.unwrap_or(Target::Local);
    let signals = Signals::listen();
    let progress = Arc::new(Progress::new(common.quiet));
    let before = read(path)?;
    if before.target == Target::Aws.as_str() && target == Target::Local {
        return Err(Failure::usage(format!(
            "`{}` is of a run in the account, whose algorithm gives other scores than this one; repeat it there with --target aws",
            path.display()
        ))
        .into());
    }
    let unusable = |what: String| Failure::data(format!("`{}`: {what}", path.display()));
    let manifest = Manifest::from_json(&serde_json::to_vec(&before.manifest)?)?;
    let (draft, unknown) = ipinsights::Draft::from_map(&before.training.hyperparameters);
    if let Some(name) = unknown.first() {
        return Err(unusable(format!("there is no hyperparameter `{name}`")).into());
    }
    let params = draft.check().map_err(|error| unusable(error.to_string()))?;

    let source = Source {
        database: args.database.clone(),
        reading: Reading {
            country_source: Vec::new(),
            language: None,
        },
    };
    let sample = match sample::again(&manifest, &source, &progress)? {
        Ok(sample) => sample,
        Err(Other { differences, because }) => {
            let differences: Vec<Difference> = differences
                .into_iter()
                .map(|difference| Difference {
                    place: format!("/manifest: {}", difference.what),
                    before: difference.manifest,
                    now: difference.now,
                })
                .collect();
            progress.finish();
            let mut failure = tell(path, &differences, output)?;
            failure.source = because.map(Into::into);
            return Err(failure.into());
        }
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
    let opened = Opened::open(&place, &progress).await?;
    let told = Arc::clone(&progress);
    let result = pipeline::run(
        &opened.clients,
        &settings,
        &sample,
        Timestamp::now(),
        signals.first(),
        &mut |event| told.pipeline(event),
    )
    .await;
    if target == Target::Aws && result.is_ok() {
        let teardown = pipeline::destroy(&opened.clients, settings.name()).await?;
        for left in teardown.left {
            progress.warn(&format!("{} `{}` is left: {}", left.kind, left.name, left.reason));
        }
    }
    opened.close().await;
    let differences = before.differences(&result?)?;
    progress.finish();
    if differences.is_empty() {
        if output.is_json() {
            return output.json(&Answer {
                version: 1,
                file: path,
                same: true,
                differences: &[],
            });
        }
        return output.text(&format!(
            "the same: {} scored rows, threshold {:.3}, the same model, the same figures",
            before.rows.len(),
            before.threshold.value
        ));
    }
    Err(tell(path, &differences, output)?.into())
}

/// The name of the pipeline that is made to repeat one of this name.
fn beside(name: &str) -> String {
    const ADDED: &str = "-verify";
    let most = PipelineName::LONGEST - ADDED.len();
    // Names are ASCII; what is not one is refused with the settings.
    let begun = name.get(..most).unwrap_or(name).trim_end_matches('-');
    format!("{begun}{ADDED}")
}

fn read(path: &Path) -> anyhow::Result<Report> {
    let bytes = std::fs::read(path).map_err(|error| Failure {
        source: Some(error.into()),
        ..Failure::file(format!("`{}` cannot be read", path.display()))
    })?;
    let no_report = |error: serde_json::Error| Failure {
        source: Some(error.into()),
        ..Failure::data(format!(
            "`{}` is no report.json as `ipinsights run` writes it",
            path.display()
        ))
    };
    let report: Report = serde_json::from_slice(&bytes).map_err(no_report)?;
    if report.version != VERSION {
        return Err(Failure::data(format!(
            "`{}` is a report of version {}, this program knows {VERSION}",
            path.display(),
            report.version
        ))
        .into());
    }
    Ok(report)
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
        "the run of `{}`, repeated, is not the same in {} places",
        path.display(),
        differences.len()
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
