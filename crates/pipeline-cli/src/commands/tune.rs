//! `ipinsights tune`: a search for better hyperparameters, here and now.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::path::Path;

use comfy_table::Table;
use ipinsights::tuning::{
    Best, EngineError, EngineRunner, Fingerprint, Halving, Journal, News, Outcome, Range, Search, Settings,
    SpaceDraft, Status, Stopping, Strategy, Trial, TuneError, Tuned, documented_range, tune,
};
use ipinsights::{Dataset, Hyperparameters, KnownEntities, Model, TrainOptions};
use serde::Serialize;

use crate::cli::{TuneArgs, TuneStrategy};
use crate::commands::train;
use crate::exit::Failure;
use crate::files::{Draft, Rows};
use crate::output::{Output, table};
use crate::progress::Progress;

/// The JSON answer.
#[derive(Debug, Serialize)]
struct Answer<'a> {
    version: u32,
    model: &'a Path,
    journal: &'a Path,
    objective: &'static str,
    rows: usize,
    entities: usize,
    strategy: Strategy,
    seed: u64,
    parallel: u32,
    ranges: BTreeMap<&'static str, String>,
    best: Best,
    hyperparameters: &'a BTreeMap<String, String>,
    trials: &'a [Trial],
}

/// Rows that can be counted but not be read a second time.
#[derive(Debug)]
struct ReadError(anyhow::Error);

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the rows cannot be read again")
    }
}

impl std::error::Error for ReadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(self.0.as_ref())
    }
}

/// Runs the command.
pub fn run(args: TuneArgs, output: &Output) -> anyhow::Result<()> {
    let progress = Progress::new(output.quiet);
    progress.now("reading rows");
    // A place that cannot be written to is told at once.
    drop(Draft::at(&args.output)?);
    let (data, validation) = (Rows::of(&args.data)?, Rows::of(&args.validation)?);
    let counted = Counted::of(&data)?;
    let held_out = Counted::of(&validation)?;
    let base = train::hyperparameters(&args.training, counted.rows, counted.entities.len())?;
    let search = Search::new(space(&args.ranges)?.check(&base)?, settings(&args))?;
    progress.done(
        "read",
        &format!(
            "{} rows, {} entities; {} rows for validation",
            counted.rows,
            counted.entities.len(),
            held_out.rows
        ),
    );
    let mut journal = journal(&args, &search, &counted, &held_out, &progress)?;

    let settings = *search.settings();
    let ranges = search
        .space()
        .ranges()
        .map(|(name, range)| (name, range.to_string()))
        .collect();
    let load = |params: &Hyperparameters| -> Result<(Dataset, Dataset), ReadError> {
        let read = |rows: &Rows| Dataset::from_events(rows.read()?, params);
        Ok((
            read(&data).map_err(ReadError)?,
            read(&validation).map_err(ReadError)?,
        ))
    };
    // Each trial has its share of the threads.
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let threads = if args.threads == 0 { cores } else { args.threads };
    let side_by_side = threads.min(settings.parallel as usize).max(1);
    let runner = EngineRunner::new(
        load,
        TrainOptions {
            seed: args.seed,
            threads: (threads / side_by_side).max(1),
        },
    )
    .known_entities(counted.entities.clone());
    let mut teller = Teller {
        progress: &progress,
        planned: search.planned(),
        ended: HashSet::new(),
        best: None,
    };
    let mut unwritten = None;
    let tuned = tune(search, &runner, &mut journal, side_by_side, &mut |news| {
        teller.tell(&news);
        if let News::Best { model, .. } = news
            && let Err(error) = write(&args.output, model)
        {
            unwritten = Some(error);
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    });
    progress.finish();
    if let Some(error) = unwritten {
        return Err(error);
    }
    let tuned = tuned.map_err(told)?;
    let best = &tuned.trials[tuned.best.job.trial as usize];
    if output.is_json() {
        return output.json(&Answer {
            version: 1,
            model: &args.output,
            journal: &args.journal,
            objective: ipinsights::tuning::OBJECTIVE,
            rows: counted.rows,
            entities: counted.entities.len(),
            strategy: settings.strategy,
            seed: settings.seed,
            parallel: settings.parallel,
            ranges,
            best: tuned.best,
            hyperparameters: &best.hyperparameters,
            trials: &tuned.trials,
        });
    }
    let names: Vec<&str> = ranges.keys().copied().collect();
    output.text(&format!(
        "{}\n\n{}: trial {} after {} epochs, {} {:.5}",
        trials(&tuned, &names).trim_fmt(),
        args.output.display(),
        tuned.best.job.trial,
        tuned.best.job.epochs,
        ipinsights::tuning::OBJECTIVE,
        tuned.best.objective,
    ))
}

fn journal(
    args: &TuneArgs,
    search: &Search,
    counted: &Counted,
    held_out: &Counted,
    progress: &Progress,
) -> anyhow::Result<Journal> {
    let rows = format!(
        "train {}; validation {}",
        counted.fingerprint, held_out.fingerprint
    );
    if !args.resume {
        return Ok(Journal::create(&args.journal, search, &rows)?);
    }
    let journal = Journal::resume(&args.journal, search, &rows)?;
    if journal.was_cut() {
        progress.warn("the last line of the journal was cut off; its trial is done again");
    }
    progress.done("resuming", &format!("{} jobs are done already", journal.len()));
    Ok(journal)
}

fn write(path: &Path, model: &Model) -> anyhow::Result<()> {
    Draft::at(path)?.fill(|file| Ok(model.write_archive(file)?))
}

/// Errors with a code of their own come to the front.
fn told(error: TuneError<EngineError<ReadError>>) -> anyhow::Error {
    match error {
        TuneError::Journal(error) => error.into(),
        TuneError::NoModel { .. } => Failure::data(error.to_string()).into(),
        TuneError::Runner {
            source: EngineError::Rows(ReadError(error)),
            ..
        } => error,
        TuneError::Runner {
            source: EngineError::NoValidation,
            ..
        } => Failure::data(EngineError::<ReadError>::NoValidation.to_string()).into(),
        TuneError::Runner {
            source: EngineError::Train(error),
            ..
        } => error.into(),
        other => other.into(),
    }
}

/// What the arguments say of ranges.
fn space(ranges: &[String]) -> anyhow::Result<SpaceDraft> {
    if ranges.is_empty() {
        return Ok(SpaceDraft::documented(&["num_entity_vectors", "epochs"]));
    }
    ranges.iter().try_fold(SpaceDraft::new(), |draft, text| {
        let (name, range) = match text.split_once('=') {
            Some((name, range)) => (name.trim(), range.trim().parse::<Range>()?),
            // An unknown name is told by the check, among the others.
            None => (
                text.trim(),
                documented_range(text.trim()).unwrap_or(Range::between(0.0, 0.0)),
            ),
        };
        Ok(draft.range(name, range))
    })
}

fn settings(args: &TuneArgs) -> Settings {
    let trials = args.trials.unwrap_or(20);
    let halving = |asynchronous| {
        Strategy::Halving(Halving {
            trials,
            min_epochs: args.min_epochs,
            eta: args.eta,
            asynchronous,
        })
    };
    Settings {
        strategy: match args.strategy {
            TuneStrategy::Random => Strategy::Random { trials },
            TuneStrategy::Grid => Strategy::Grid,
            TuneStrategy::Halving => halving(false),
            TuneStrategy::AsyncHalving => halving(true),
            TuneStrategy::Bayesian => Strategy::Bayesian {
                trials,
                startup: args.startup.unwrap_or((trials / 3).clamp(2, 10)),
            },
        },
        seed: args.seed,
        parallel: args.parallel,
        stopping: if args.stop_hopeless {
            Stopping::Median
        } else {
            Stopping::Off
        },
    }
}

/// A first pass over a file.
struct Counted {
    rows: usize,
    entities: KnownEntities,
    fingerprint: Fingerprint,
}

impl Counted {
    fn of(rows: &Rows) -> anyhow::Result<Self> {
        let mut fingerprint = Fingerprint::default();
        let mut number = 0;
        let mut entities = HashSet::new();
        for event in rows.read()? {
            let event = event?;
            fingerprint.add(&event);
            number += 1;
            if !entities.contains(&event.entity) {
                entities.insert(event.entity);
            }
        }
        Ok(Self {
            rows: number,
            entities: KnownEntities::from_names(entities.iter().map(String::as_str)),
            fingerprint,
        })
    }
}

/// Tells a search's news.
struct Teller<'a> {
    progress: &'a Progress,
    planned: u32,
    ended: HashSet<u32>,
    best: Option<f64>,
}

impl Teller<'_> {
    fn tell(&mut self, news: &News<'_, Model>) {
        match news {
            News::Epoch {
                job,
                epochs,
                objective,
            } => self.progress.now(&format!(
                "trial {}: epoch {epochs}/{}, AUC {objective:.5}; {} of {} trials, best {}",
                job.trial,
                job.epochs,
                self.ended.len(),
                self.planned,
                self.best.map_or("-".to_owned(), |best| format!("{best:.5}"))
            )),
            News::Ended {
                job,
                outcome,
                recorded,
            } => {
                self.ended.insert(job.trial);
                if let Some(objective) = outcome.objective {
                    self.best = Some(self.best.map_or(objective, |best| best.max(objective)));
                }
                let how = if *recorded { "recorded" } else { "trial" };
                self.progress
                    .done(how, &format!("{}: {}", job.trial, became(outcome, job.epochs)));
            }
            News::Again(job) => self
                .progress
                .done("again", &format!("{}, whose model is not at hand", job.id)),
            _ => {}
        }
    }
}

fn became(outcome: &Outcome, epochs: u32) -> String {
    match (outcome.status, outcome.objective) {
        (Status::Stopped, Some(objective)) => {
            format!(
                "stopped after {} of {epochs} epochs, AUC {objective:.5}",
                outcome.curve.len()
            )
        }
        (_, Some(objective)) => format!("{epochs} epochs, AUC {objective:.5}, {:.1} s", outcome.seconds),
        (_, None) => format!(
            "failed: {}",
            outcome.failure.as_deref().unwrap_or("no reason was given")
        ),
    }
}

/// The best trial first; those without a model last.
fn trials(tuned: &Tuned<Model>, names: &[&str]) -> Table {
    let mut lines = table::<0>([]);
    // Long names in several lines, so that nine of them fit.
    let header = ["trial"].into_iter().chain(names.iter().copied());
    let header = header.chain(["epochs", "AUC", "status", "seconds"]);
    lines.set_header(header.map(|name| name.replace('_', "\n")).collect::<Vec<_>>());
    let mut ranked: Vec<&Trial> = tuned.trials.iter().collect();
    ranked.sort_by(|a, b| {
        let [a, b] = [a, b].map(|trial| {
            let best = trial.trial == tuned.best.job.trial;
            (best, trial.objective.unwrap_or(f64::NEG_INFINITY))
        });
        b.0.cmp(&a.0).then(b.1.total_cmp(&a.1))
    });
    for trial in ranked {
        let status = match trial.status {
            _ if trial.trial == tuned.best.job.trial => "best",
            Some(Status::Completed) => "",
            Some(Status::Stopped) => "stopped",
            Some(Status::Failed) | None => "failed",
        };
        let mut row = vec![trial.trial.to_string()];
        row.extend(
            names
                .iter()
                .map(|name| trial.hyperparameters.get(*name).cloned().unwrap_or_default()),
        );
        row.extend([
            trial.epochs.to_string(),
            trial.objective.map_or("-".to_owned(), |auc| format!("{auc:.5}")),
            status.to_owned(),
            format!("{:.1}", trial.seconds),
        ]);
        lines.add_row(row);
    }
    lines
}
