//! `ipinsights definition`: the state machine, printed or drawn.

use crate::cli::{DefinitionArgs, DefinitionForm};
use crate::commands::train;
use crate::output::Output;
use crate::target;

/// Rows of the default sample: what hyperparameters are advised for when no rows are at hand.
const ROWS: usize = 250;
/// Entities of the default sample.
const ENTITIES: usize = 5;

/// Runs the command.
pub fn run(args: DefinitionArgs, output: &Output) -> anyhow::Result<()> {
    let params = train::hyperparameters(&args.training, ROWS, ENTITIES)?;
    let settings = target::settings(args.target, &args.named.name, &args.account).check(params)?;
    let image = ipinsights_client::image_uri(&target::region_or_default(args.region.as_deref()))?;
    let machine = pipeline::definition::definition(&settings, &image)?;
    output.text(&match args.form {
        DefinitionForm::Asl => machine.to_json_string(),
        DefinitionForm::Svg => machine.to_svg(),
        DefinitionForm::Dot => machine.to_dot(),
        DefinitionForm::Mermaid => machine.to_mermaid(),
    })
}
