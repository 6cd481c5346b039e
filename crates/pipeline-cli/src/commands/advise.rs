//! `ipinsights advise`: hyperparameters by the size of the data.

use ipinsights::Advice;
use serde::Serialize;

use crate::cli::AdviseArgs;
use crate::commands::train;
use crate::exit::Failure;
use crate::files::Rows;
use crate::output::{Output, table};
use crate::progress::Progress;

/// The JSON answer.
#[derive(Debug, Serialize)]
struct Answer<'a> {
    version: u32,
    #[serde(flatten)]
    advice: &'a Advice,
}

/// Runs the command.
pub fn run(args: &AdviseArgs, output: &Output) -> anyhow::Result<()> {
    let progress = Progress::late(output.quiet);
    progress.now("counting rows and entities");
    let (rows, known) = train::count(&Rows::of(&args.data)?)?;
    let entities = known.len();
    progress.finish();
    if rows == 0 {
        return Err(Failure::data(format!("`{}` has no rows", args.data.display())).into());
    }
    let advice = Advice::for_rows(rows as u64, entities as u64)?;
    if output.is_json() {
        return output.json(&Answer {
            version: 1,
            advice: &advice,
        });
    }
    output.text(&text(&advice))
}

fn text(advice: &Advice) -> String {
    let mut values = table(["hyperparameter", "value", "default", "why"]);
    for value in &advice.values {
        values.add_row([
            value.name,
            &value.value,
            value.default.as_deref().unwrap_or("-"),
            value.reason.as_deref().unwrap_or(""),
        ]);
    }
    let instance = match advice.instance {
        Some(instance) => format!(
            "the service's documentation advises {} to train on a CPU",
            instance.as_str()
        ),
        None if advice.beyond_service => {
            "the service takes no model of this size (8 GB): lower vector_dim, or num_entity_vectors"
                .to_owned()
        }
        None => "the service's documentation has no advice for a model of this size".to_owned(),
    };
    format!(
        "{} rows, {} entities: {} steps of the optimiser, where the documented defaults have {}\n\n{}\n\non AWS, {instance}",
        advice.rows,
        advice.entities,
        advice.steps,
        advice.documented_steps,
        values.trim_fmt(),
    )
}
