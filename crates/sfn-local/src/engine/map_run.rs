//! Map runs: what a distributed Map state asks for.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;
use sfn_builder::checked::{self, Data, Dynamic, Machine, State};
use sha2::{Digest, Sha256};

use super::failure::runtime;
use super::fan::not_valid;
use super::thread::Thread;
use super::{Engine, Failure, Item};
use crate::data::context::Context;
use crate::data::{self, Compute, DataError, Parsed, Random, Scope, Variables};
use crate::execution::Execution;
use crate::handler::TaskFailure;
use crate::run::MapRunSettings;

/// The run of a distributed Map state: an item, or a batch of items, to a child execution.
pub struct MapRun<'m> {
    map_run_arn: String,
    pub(crate) execution: &'m Execution,
    pub(crate) state: &'m State,
    pub(crate) map: &'m checked::Map,
    /// Empty when an `ItemReader` reads them.
    pub(crate) items: Vec<Item>,
    pub(crate) shape: Shape,
    data: Value,
    variables: Arc<Variables>,
    started: Timestamp,
    redrive_count: u64,
    /// When the run was redriven: children that had not ended well before are redriven with it.
    pub(crate) redriven_at: Option<Timestamp>,
    /// How often it was.
    pub(crate) redrives: u64,
    entered_at: Timestamp,
    compute: Compute,
}

/// The settings of a map run, computed.
#[derive(Debug, Default)]
pub(crate) struct Shape {
    /// 0: as many as can be.
    pub(crate) max_concurrency: u64,
    pub(crate) tolerated_count: Option<u64>,
    pub(crate) tolerated_percentage: Option<f64>,
    /// The request of the `ItemReader`.
    pub(crate) reader: Option<Value>,
    pub(crate) max_items: Option<u64>,
    pub(crate) batch: Option<Batch>,
    /// The request of the `ResultWriter`.
    pub(crate) writer: Option<Value>,
}

impl Shape {
    pub(crate) fn settings(&self) -> MapRunSettings {
        MapRunSettings {
            max_concurrency: self.max_concurrency,
            tolerated_failure_count: self.tolerated_count,
            tolerated_failure_percentage: self.tolerated_percentage,
        }
    }
}

/// The settings of an `ItemBatcher`.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) max_items: Option<u64>,
    pub(crate) max_bytes: Option<u64>,
    pub(crate) input: Option<Value>,
}

impl std::fmt::Debug for MapRun<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MapRun")
            .field("map_run_arn", &self.map_run_arn)
            .finish_non_exhaustive()
    }
}

impl<'m> MapRun<'m> {
    /// Its ARN.
    #[must_use]
    pub fn map_run_arn(&self) -> &str {
        &self.map_run_arn
    }

    /// Goes on with a run that was begun before.
    pub(super) fn go_on(&mut self, map_run_arn: String, redrives: u64, now: Timestamp) {
        self.map_run_arn = map_run_arn;
        self.redrives = redrives;
        self.redriven_at = Some(now);
    }

    /// The machine that each child execution runs.
    #[must_use]
    pub fn processor(&self) -> &'m Machine {
        &self.map.processor
    }

    /// What the `ItemSelector` makes of an item.
    pub(crate) fn input_of(&mut self, item: Item) -> Result<Value, TaskFailure> {
        let Some(selector) = &self.map.item_selector else {
            return Ok(item.value);
        };
        let scope = Scope {
            data: &self.data,
            context: Context {
                execution: self.execution,
                started: self.started,
                redrive_count: self.redrive_count,
                state: &self.state.name,
                entered: self.entered_at,
                retry_count: None,
                item: Some(&item),
                token: None,
            },
            variables: &self.variables,
            result: None,
            error_output: None,
        };
        data::fill(selector, &scope, &mut self.compute).map_err(|error| {
            let (error, reason) = match error {
                DataError::Query { reason, .. } => ("States.QueryEvaluationError", reason),
                DataError::Path { path, field, input } => (
                    "States.Runtime",
                    format!(
                        "The JSONPath '{path}' specified for the field '{field}' could not be found in the input \
                         '{input}'"
                    ),
                ),
                DataError::Function { call, reason } => (
                    "States.IntrinsicFailure",
                    format!("The function '{call}' had the following error: {reason}"),
                ),
                _ => ("States.Runtime", "The ItemSelector could not be applied.".to_owned()),
            };
            TaskFailure::new(error, reason)
        })
    }

    /// The child execution for the `index`th input.
    pub(crate) fn child(&self, index: usize, input: Value) -> Execution {
        let (_, rest) = self.map_run_arn.split_once(":mapRun:").unwrap_or_default();
        // `machine/label:id`
        let (label, _) = rest.rsplit_once(':').unwrap_or((rest, ""));
        let machine = self
            .execution
            .state_machine_arn
            .rsplit_once(':')
            .unwrap_or_default()
            .0;
        let name = derived(&self.map_run_arn, &index.to_string());
        let machine_arn = format!("{machine}:{label}");
        Execution {
            arn: format!(
                "{}:{name}",
                machine_arn.replacen(":stateMachine:", ":execution:", 1)
            ),
            name,
            role_arn: self.execution.role_arn.clone(),
            state_machine_name: label.to_owned(),
            state_machine_arn: machine_arn,
            input,
            input_text: None,
            seed: self
                .execution
                .seed
                .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                .wrapping_add(index as u64 + 1),
        }
    }
}

/// A UUID that follows from what it is for.
fn derived(of: &str, what: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(of.as_bytes());
    hash.update([0]);
    hash.update(what.as_bytes());
    let digest = hash.finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    data::uuid(bytes)
}

impl<'m> Engine<'m> {
    pub(super) fn map_run(
        &mut self,
        thread: &Thread<'m>,
        state: &'m State,
        map: &'m checked::Map,
        data: Value,
        items: Vec<Item>,
        max_concurrency: u64,
    ) -> Result<MapRun<'m>, Failure> {
        let tolerated_count = self.count(
            thread,
            map.tolerated_failure_count.as_ref(),
            "ToleratedFailureCount",
            &data,
        )?;
        let tolerated_percentage =
            self.percentage(thread, map.tolerated_failure_percentage.as_ref(), &data)?;
        let mut shape = Shape {
            max_concurrency,
            tolerated_count,
            tolerated_percentage,
            ..Shape::default()
        };
        let parameters = match &state.data {
            Data::JsonPath(_) => "Parameters",
            Data::Jsonata(_) => "Arguments",
        };
        if let Some(reader) = &map.item_reader {
            shape.max_items = self.count(thread, reader.config.max_items.as_ref(), "MaxItems", &data)?;
            let request = self.template(thread, reader.parameters.as_ref(), data.clone())?;
            if !request.is_object() {
                let reason = format!("The {parameters} of the ItemReader must be an object.");
                return Err(runtime(thread, &reason));
            }
            shape.reader = Some(request);
        }
        if let Some(batcher) = &map.item_batcher {
            let input = match &batcher.batch_input {
                None => None,
                Some(template) => Some(self.template(thread, Some(template), data.clone())?),
            };
            shape.batch = Some(Batch {
                max_items: self.count(thread, batcher.max_items.as_ref(), "MaxItemsPerBatch", &data)?,
                max_bytes: self.count(
                    thread,
                    batcher.max_input_bytes.as_ref(),
                    "MaxInputBytesPerBatch",
                    &data,
                )?,
                input,
            });
        }
        if let Some(writer) = map
            .result_writer
            .as_ref()
            .filter(|writer| writer.resource.is_some())
        {
            shape.writer = Some(self.template(thread, writer.parameters.as_ref(), data.clone())?);
        }
        let execution = self.execution;
        let what = format!("{}#{}", state.name, self.next_task);
        let label = match &map.label {
            Some(label) => label.clone(),
            None => derived(&execution.state_machine_arn, &state.pointer),
        };
        let prefix = execution
            .state_machine_arn
            .replacen(":stateMachine:", ":mapRun:", 1);
        Ok(MapRun {
            map_run_arn: format!("{prefix}/{label}:{}", derived(&execution.arn, &what)),
            execution,
            state,
            map,
            items,
            shape,
            data,
            variables: Arc::clone(&thread.variables),
            started: self.started,
            redrive_count: self.redrives,
            redriven_at: None,
            redrives: 0,
            entered_at: thread.entered_at,
            compute: Compute {
                random: Random::new(execution.seed.wrapping_add(self.next_task)),
                now: self.now,
                parsed: Parsed::default(),
            },
        })
    }

    fn percentage(
        &mut self,
        thread: &Thread<'m>,
        percentage: Option<&'m Dynamic<f64>>,
        data: &Value,
    ) -> Result<Option<f64>, Failure> {
        const FIELD: &str = "ToleratedFailurePercentage";
        let expression = match percentage {
            None => return Ok(None),
            Some(Dynamic::Fixed(percentage)) => return Ok(Some(*percentage)),
            Some(Dynamic::Computed(expression)) => expression,
        };
        let value = self.setting(thread, expression, FIELD, data)?;
        match value.as_f64() {
            Some(percentage) if (0.0..=100.0).contains(&percentage) => Ok(Some(percentage)),
            Some(_) => Err(runtime(thread, &format!("{FIELD} must be between 0 and 100."))),
            None => Err(not_valid(thread, expression, FIELD, "float", &value)),
        }
    }
}
