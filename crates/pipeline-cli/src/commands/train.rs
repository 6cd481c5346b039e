//! `ipinsights train`: a model from a CSV, here and now.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::BufReader;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

use anyhow::Context;
use ipinsights::log::{JobLog, Line};
use ipinsights::{
    Checkpoints, Dataset, EarlyStop, Hyperparameters, KnownEntities, Model, TrainError, TrainOptions,
    Training as Engine,
};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::cli::{LogStyle, TrainArgs, Training};
use crate::exit::{ExitCode, Failure};
use crate::files::{Draft, Rows};
use crate::output::Output;
use crate::progress::Progress;
use crate::signals::Signals;

/// Runs the command.
pub fn run(args: TrainArgs, output: &Output) -> anyhow::Result<()> {
    let signals = Signals::listen();
    let progress = Progress::new(output.quiet || args.log == LogStyle::Service);
    let mut service = (args.log == LogStyle::Service).then(|| Service::begin(&args.training));
    progress.now("reading rows");
    let archive = Draft::at(&args.output)?;
    let base = args.warm_start.as_deref().map(read_model).transpose()?;
    // Once for the numbers that the advice needs, once for the rows, which are kept in eight bytes each.
    let data = Rows::of(&args.data)?;
    let (rows, known) = count(&data)?;
    let entities = known.len();
    let params = match &base {
        Some(base) => warm(&args.training, rows, entities, base)?,
        None => hyperparameters(&args.training, rows, entities)?,
    };
    if let Some(service) = &mut service {
        service.configured(&params);
    }
    let train = Dataset::from_events(data.read()?, &params)?;
    let validation = match &args.validation {
        Some(path) => Some(Dataset::from_events(Rows::of(path)?.read()?, &params)?),
        None => None,
    };
    progress.done("read", &format!("{rows} rows, {entities} entities"));

    let began = Instant::now();
    let training = training(&args, &params, &train, validation.as_ref(), base.as_ref());
    let mut last = None;
    let trained = training.run(&mut |event| {
        match &mut service {
            Some(service) => service.news(event, &params),
            None => told(&progress, event),
        }
        if let ipinsights::Progress::Epoch {
            loss,
            accuracy,
            discriminator_auc,
            ..
        } = event
        {
            last = Some((*loss, *accuracy, *discriminator_auc));
        }
        if signals.came() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    let mut trained = match trained {
        Err(TrainError::Cancelled) => return Err(interrupted(args.checkpoints.as_deref()).into()),
        trained => trained?,
    };
    // The rows have lost their names by now; scoring is to tell who is a stranger all the same.
    trained.model.set_known_entities(Some(known));
    archive.fill(|file| Ok(trained.model.write_archive(file)?))?;
    if let Some(service) = &service {
        service.end();
    }
    progress.finish();

    let seconds = began.elapsed().as_secs_f64();
    // Nothing is told of epochs that a checkpoint had behind it.
    let auc = match trained.best {
        Some(best) if trained.stopped_early || args.early_stop.is_some() => Some(best.discriminator_auc),
        _ => last.and_then(|(_, _, auc)| auc),
    };
    if output.is_json() {
        return output.json(&serde_json::json!({
            "version": 1,
            "model": args.output,
            "rows": rows,
            "entities": entities,
            "hyperparameters": params.to_map(),
            "seed": args.seed,
            "epochs": trained.epochs,
            "stopped_early": trained.stopped_early,
            "loss": last.map(|(loss, _, _)| loss),
            "accuracy": last.map(|(_, accuracy, _)| accuracy),
            "validation_discriminator_auc": auc,
            "seconds": seconds,
        }));
    }
    let mut text = format!("{}: {rows} rows, {entities} entities", args.output.display());
    if let Some((loss, accuracy, _)) = last {
        text.push_str(&format!(", loss {loss:.4}, accuracy {accuracy:.4}"));
    }
    if let Some(auc) = auc {
        text.push_str(&format!(", validation AUC {auc:.4}"));
    }
    if trained.stopped_early {
        text.push_str(&format!(", stopped after {} epochs", trained.epochs));
    }
    output.text(&format!("{text}, {seconds:.1} s"))
}

/// What the arguments ask of the engine.
fn training<'a>(
    args: &TrainArgs,
    params: &'a Hyperparameters,
    train: &'a Dataset,
    validation: Option<&'a Dataset>,
    base: Option<&'a Model>,
) -> Engine<'a> {
    let mut training = Engine::new(params, train).options(TrainOptions {
        seed: args.seed,
        threads: args.threads,
    });
    if let Some(rows) = validation {
        training = training.validation(rows);
    }
    if let Some(model) = base {
        training = training.warm_start(model);
    }
    if let Some(epochs) = args.early_stop {
        training = training.early_stop(EarlyStop::after(epochs).min_delta(args.min_delta));
    }
    if let Some(folder) = &args.checkpoints {
        let checkpoints = Checkpoints::in_folder(folder)
            .every_batches(args.checkpoint_every.unwrap_or(0))
            .resume(!args.restart);
        training = training.checkpoints(checkpoints);
    }
    training
}

fn interrupted(checkpoints: Option<&Path>) -> Failure {
    let message = match checkpoints {
        Some(folder) => format!(
            "training was interrupted; the same command goes on from the checkpoint in `{}`",
            folder.display()
        ),
        None => "training was interrupted; with --checkpoints it could go on".to_owned(),
    };
    Failure {
        code: ExitCode::Interrupted,
        ..Failure::usage(message)
    }
}

/// News for people.
fn told(progress: &Progress, event: &ipinsights::Progress) {
    match event {
        ipinsights::Progress::Resumed { epoch, batch } => progress.done(
            "resumed",
            &format!("from the checkpoint, at epoch {}, batch {batch}", epoch + 1),
        ),
        ipinsights::Progress::StoppedEarly {
            epoch,
            best_epoch,
            discriminator_auc,
        } => progress.done(
            "stopped",
            &format!(
                "after epoch {}; epoch {} is the best, validation AUC {discriminator_auc:.4}",
                epoch + 1,
                best_epoch + 1
            ),
        ),
        event => progress.training(event),
    }
}

fn read_model(path: &Path) -> anyhow::Result<Model> {
    let file = File::open(path).with_context(|| format!("`{}` cannot be read", path.display()))?;
    Model::read_archive(BufReader::new(file)).with_context(|| format!("`{}` is not a model", path.display()))
}

/// The hyperparameters of a training that begins with a model: its shape is the model's.
fn warm(args: &Training, rows: usize, entities: usize, base: &Model) -> anyhow::Result<Hyperparameters> {
    let mut args = args.clone();
    let of_base = base.hyperparameters().to_map();
    for name in ["num_entity_vectors", "vector_dim", "num_ip_encoder_layers"] {
        // What was set by name is told by the engine, where it differs.
        if let Some(value) = of_base
            .get(name)
            .filter(|_| !args.hyperparameters.iter().any(|(n, _)| n == name))
        {
            args.hyperparameters.push((name.to_owned(), value.clone()));
        }
    }
    hyperparameters(&args, rows, entities)
}

/// The service's own log, on stderr.
struct Service {
    log: JobLog,
    given: BTreeMap<String, String>,
}

impl Service {
    fn begin(args: &Training) -> Self {
        let (log, lines) = JobLog::begin("algo-1", now());
        print(&lines);
        let given = args.hyperparameters.iter().cloned().collect();
        Self { log, given }
    }

    fn configured(&mut self, params: &Hyperparameters) {
        print(&self.log.configured(&self.given, &[], params, now()));
    }

    fn news(&mut self, event: &ipinsights::Progress, params: &Hyperparameters) {
        print(&self.log.news(event, params, now()));
    }

    fn end(&self) {
        print(&self.log.end(now()));
    }
}

/// Seconds since 1970.
fn now() -> f64 {
    Timestamp::now().as_duration().as_secs_f64()
}

fn print(lines: &[Line]) {
    let stamp = Timestamp::now()
        .to_zoned(TimeZone::UTC)
        .strftime("%m/%d/%Y %H:%M:%S")
        .to_string();
    for line in lines {
        eprintln!("{}", line.at(&stamp));
    }
}

/// The hyperparameters: the published experiment's or those advised for the rows, then what was set by name.
pub fn hyperparameters(args: &Training, rows: usize, entities: usize) -> anyhow::Result<Hyperparameters> {
    let base = if args.published_settings {
        // All else at its documented default.
        Hyperparameters::draft(10).vector_dim(128)
    } else {
        Hyperparameters::advise(rows as u64, entities as u64)
    };
    let mut map: BTreeMap<String, String> = base.check()?.to_map();
    for (name, value) in &args.hyperparameters {
        // The service ignores names it does not know; a typing error on a command line is better told.
        if map.insert(name.clone(), value.clone()).is_none() {
            let known: Vec<&str> = map
                .keys()
                .filter(|key| *key != name)
                .map(String::as_str)
                .collect();
            return Err(Failure::usage(format!(
                "there is no hyperparameter `{name}`: {}",
                known.join(", ")
            ))
            .into());
        }
    }
    Ok(ipinsights::Draft::from_map(&map).0.check()?)
}

/// Rows and distinct entities of a file.
pub fn count(rows: &Rows) -> anyhow::Result<(usize, KnownEntities)> {
    let mut number = 0;
    let mut entities = HashSet::new();
    for event in rows.read()? {
        let event = event?;
        number += 1;
        if !entities.contains(&event.entity) {
            entities.insert(event.entity);
        }
    }
    let known = KnownEntities::from_names(entities.iter().map(String::as_str));
    Ok((number, known))
}
