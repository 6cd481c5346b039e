//! `ipinsights train`: a model from a CSV, here and now.

use std::collections::{BTreeMap, HashSet};
use std::ops::ControlFlow;
use std::time::Instant;

use ipinsights::{Dataset, Hyperparameters, KnownEntities, TrainOptions};

use crate::cli::{TrainArgs, Training};
use crate::exit::Failure;
use crate::files::{Draft, Rows};
use crate::output::Output;
use crate::progress::Progress;

/// Runs the command.
pub fn run(args: TrainArgs, output: &Output) -> anyhow::Result<()> {
    let progress = Progress::new(output.quiet);
    progress.now("reading rows");
    let archive = Draft::at(&args.output)?;
    // Once for the numbers that the advice needs, once for the rows, which are kept in eight bytes each.
    let data = Rows::of(&args.data)?;
    let (rows, known) = count(&data)?;
    let entities = known.len();
    let params = hyperparameters(&args.training, rows, entities)?;
    let train = Dataset::from_events(data.read()?, &params)?;
    let validation = match &args.validation {
        Some(path) => Some(Dataset::from_events(Rows::of(path)?.read()?, &params)?),
        None => None,
    };
    progress.done("read", &format!("{rows} rows, {entities} entities"));

    let began = Instant::now();
    let options = TrainOptions {
        seed: args.seed,
        threads: args.threads,
    };
    let mut last = None;
    let mut model =
        ipinsights::train_dataset(&params, &train, validation.as_ref(), &options, &mut |event| {
            progress.training(event);
            if let ipinsights::Progress::Epoch {
                loss,
                accuracy,
                discriminator_auc,
                ..
            } = event
            {
                last = Some((*loss, *accuracy, *discriminator_auc));
            }
            ControlFlow::Continue(())
        })?;
    // The rows have lost their names by now; scoring is to tell who is a stranger all the same.
    model.set_known_entities(Some(known));
    archive.fill(|file| Ok(model.write_archive(file)?))?;
    progress.finish();

    let seconds = began.elapsed().as_secs_f64();
    let (loss, accuracy, auc) = last.unwrap_or_default();
    if output.is_json() {
        return output.json(&serde_json::json!({
            "version": 1,
            "model": args.output,
            "rows": rows,
            "entities": entities,
            "hyperparameters": params.to_map(),
            "seed": args.seed,
            "loss": loss,
            "accuracy": accuracy,
            "validation_discriminator_auc": auc,
            "seconds": seconds,
        }));
    }
    let auc = auc
        .map(|auc| format!(", validation AUC {auc:.4}"))
        .unwrap_or_default();
    output.text(&format!(
        "{}: {rows} rows, {entities} entities, loss {loss:.4}, accuracy {accuracy:.4}{auc}, {seconds:.1} s",
        args.output.display(),
    ))
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
