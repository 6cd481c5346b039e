//! `ipinsights train`: a model from a CSV, here and now.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

use access_events::AccessEvent;
use anyhow::Context;
use ipinsights::{Dataset, Draft, Hyperparameters, TrainOptions};

use crate::cli::{TrainArgs, Training};
use crate::exit::Failure;
use crate::output::Output;
use crate::progress::Progress;

/// Runs the command.
pub fn run(args: TrainArgs, output: &Output) -> anyhow::Result<()> {
    let progress = Progress::new(output.quiet);
    progress.now("reading rows");
    // Once for the numbers that the advice needs, once for the rows, which are kept in eight bytes each.
    let (rows, entities) = count(&args.data)?;
    let params = hyperparameters(&args.training, rows, entities)?;
    let train = dataset(&args.data, &params)?;
    let validation = args
        .validation
        .as_deref()
        .map(|path| dataset(path, &params))
        .transpose()?;
    progress.done("read", &format!("{rows} rows, {entities} entities"));

    let began = Instant::now();
    let options = TrainOptions {
        seed: args.seed,
        threads: args.threads,
    };
    let mut last = None;
    let model = ipinsights::train_dataset(&params, &train, validation.as_ref(), &options, &mut |event| {
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
    write_whole(&args.output, |file| Ok(model.write_archive(file)?))?;
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
    Ok(Draft::from_map(&map).0.check()?)
}

/// Opens a file of `entity,ip` rows.
fn open(path: &Path) -> anyhow::Result<access_events::csv::Reader<BufReader<File>>> {
    let file = File::open(path).with_context(|| format!("`{}` cannot be read", path.display()))?;
    Ok(access_events::csv::Reader::new(BufReader::new(file)))
}

/// Rows and distinct entities of a file.
fn count(path: &Path) -> anyhow::Result<(usize, usize)> {
    let mut rows = 0;
    let mut entities = HashSet::new();
    for event in open(path)? {
        let event = event.with_context(|| format!("in `{}`", path.display()))?;
        rows += 1;
        if !entities.contains(&event.entity) {
            entities.insert(event.entity);
        }
    }
    Ok((rows, entities.len()))
}

fn dataset(path: &Path, params: &Hyperparameters) -> anyhow::Result<Dataset> {
    Dataset::from_events(open(path)?, params).with_context(|| format!("in `{}`", path.display()))
}

/// Reads all rows of a file.
pub fn read(path: &Path) -> anyhow::Result<Vec<AccessEvent>> {
    open(path)?
        .collect::<Result<_, _>>()
        .with_context(|| format!("in `{}`", path.display()))
}

/// Writes a file that appears only when it is complete.
pub fn write_whole(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let context = || format!("`{}` cannot be written", path.display());
    let mut draft = tempfile::NamedTempFile::new_in(folder).with_context(context)?;
    let mut buffer = BufWriter::new(draft.as_file_mut());
    write(&mut buffer)?;
    buffer.flush().with_context(context)?;
    drop(buffer);
    draft
        .persist(path)
        .map_err(|error| error.error)
        .with_context(context)?;
    Ok(())
}
