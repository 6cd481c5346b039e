//! What of the language this interpreter does not run.

use std::fmt;

use sfn_builder::StateMachine;
use sfn_builder::checked::{InputType, StateKind};

/// A machine that is valid, but has parts that cannot be run here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Unsupported {
    // INVARIANT: not empty.
    parts: Vec<UnsupportedPart>,
}

/// One part of a machine that cannot be run here.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnsupportedPart {
    /// Where it stands in the definition: a JSON pointer.
    pub pointer: String,
    /// What it is, with its verb: `states of type Parallel are`, to be followed by "not supported".
    pub what: String,
}

impl Unsupported {
    /// All of them; there is at least one.
    #[must_use]
    pub fn parts(&self) -> &[UnsupportedPart] {
        &self.parts
    }
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the machine cannot be run here:")?;
        for (index, part) in self.parts.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            write!(f, "{comma} {} not supported at {}", part.what, part.pointer)?;
        }
        Ok(())
    }
}

/// Whether [`run`](crate::run()) can run a machine. `run` refuses what this refuses, with an execution that fails at once.
///
/// # Errors
///
/// Every part that it cannot run.
pub fn check_supported(machine: &StateMachine) -> Result<(), Unsupported> {
    let mut parts = Vec::new();
    for state in machine.all_states() {
        let StateKind::Map(map) = &state.kind else {
            continue;
        };
        let input_type = map
            .item_reader
            .as_ref()
            .and_then(|reader| reader.config.input_type);
        let what = match input_type {
            Some(InputType::Manifest) => "MANIFEST",
            Some(InputType::Parquet) => "PARQUET",
            _ => continue,
        };
        parts.push(UnsupportedPart {
            pointer: format!("{}/ItemReader/ReaderConfig/InputType", state.pointer),
            what: format!("the input type {what} is"),
        });
    }
    if parts.is_empty() {
        Ok(())
    } else {
        Err(Unsupported { parts })
    }
}
