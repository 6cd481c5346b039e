//! Running the items of a distributed Map state in child executions.

use std::collections::{HashMap, VecDeque};

use futures::StreamExt;
use futures::future::{Either, select};
use futures::stream::FuturesUnordered;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use sfn_builder::checked::{ExecutionType, Mode, WriterTransformation};

use super::{MapRunStatus, Runner, STEPS, yield_now};
use crate::data::context::Item;
use crate::engine::{Engine, MapRun, Progress};
use crate::execution::{Execution, Outcome};
use crate::handler::TaskFailure;
use crate::history::Event;

/// How many child executions run at once at most: the service's quota.
const MAX_CHILDREN: usize = 10_000;
/// How many children are run in a row before others get their turn.
const TURN: usize = 256;

/// A child execution that is over.
pub(super) struct Child {
    pub(super) index: usize,
    pub(super) execution: Execution,
    pub(super) started: Timestamp,
    pub(super) stopped: Timestamp,
    pub(super) outcome: Outcome,
}

impl Runner<'_> {
    /// The result of a map run, or why it failed.
    pub(super) async fn run_map(&self, mut run: MapRun<'_>) -> Result<Value, TaskFailure> {
        let items = match &run.shape.reader {
            None => std::mem::take(&mut run.items),
            Some(_) => self.read_items(&run).await?,
        };
        let status = MapRunStatus {
            map_run_arn: run.map_run_arn().to_owned(),
            status: "RUNNING".to_owned(),
            items: items.len() as u64,
            express: run.map.mode == Mode::Distributed(ExecutionType::Express),
            settings: run.shape.settings(),
            redrives: run.redrives,
            redriven_at: run.redriven_at,
            ..MapRunStatus::default()
        };
        let inputs = inputs(&mut run, items)?;
        let mut told = Told {
            runner: *self,
            execution: run.execution,
            status,
            to_redrive: self.children_to_redrive(&run).await?,
        };
        told.status.total = inputs.len() as u64;
        told.status.pending_redrive = told.to_redrive.len() as u64;
        told.status.pending = told.status.total.saturating_sub(told.status.pending_redrive);
        told.tell();
        let children = self.run_children(&run, inputs, &mut told).await;
        let result = match children {
            Ok(children) => {
                let written = children.len() as u64;
                let result = self.result(&run, children).await;
                if result.is_ok() && run.shape.writer.is_some() {
                    told.status.written = written;
                }
                result
            }
            Err(failure) => Err(failure),
        };
        told.end(if result.is_ok() { "SUCCEEDED" } else { "FAILED" });
        result
    }

    /// The children that wait to be redriven; none when the run was not.
    async fn children_to_redrive(&self, run: &MapRun<'_>) -> Result<HashMap<String, String>, TaskFailure> {
        if run.redriven_at.is_none() {
            return Ok(HashMap::new());
        }
        let found = self
            .observer
            .children_to_redrive(run.map_run_arn(), run.redrives)
            .await;
        found.map_err(|error| {
            let cause = format!(
                "The child executions of {} cannot be read: {error}",
                run.map_run_arn()
            );
            TaskFailure::new("States.Runtime", cause)
        })
    }

    async fn run_children(
        &self,
        run: &MapRun<'_>,
        inputs: VecDeque<Value>,
        told: &mut Told<'_>,
    ) -> Result<Vec<Child>, TaskFailure> {
        let total = inputs.len();
        let mut inputs = inputs.into_iter().enumerate();
        let mut running = FuturesUnordered::new();
        let mut children: Vec<Option<Child>> = (0..total).map(|_| None).collect();
        let mut in_a_row = 0;
        // A child that was waited for has ended: the counts are to be told.
        let mut ended_late = false;
        // Asked for before the settings, so that no change is missed.
        let mut settings_changed = self.observer.settings_changed(run.map_run_arn());
        loop {
            let mut ended = None;
            let mut changed = std::mem::take(&mut ended_late);
            let status = &mut told.status;
            if let Some(settings) = self.observer.settings(run.map_run_arn()) {
                status.settings = settings;
            }
            if exceeded(status) {
                return Err(TaskFailure::new(
                    "States.ExceedToleratedFailureThreshold",
                    "The specified tolerated failure threshold was exceeded",
                ));
            }
            let limit = match usize::try_from(status.settings.max_concurrency) {
                Ok(0) | Err(_) => MAX_CHILDREN,
                Ok(limit) => limit.min(MAX_CHILDREN),
            };
            while running.len() < limit && ended.is_none() {
                let Some((index, input)) = inputs.next() else {
                    break;
                };
                let execution = run.child(index, input);
                let again = told.begins(&execution);
                let mut starting = Box::pin(self.run_child(run, index, execution, again));
                // Many a child needs no waiting, and no place among those that run.
                match futures::poll!(starting.as_mut()) {
                    std::task::Poll::Ready(child) => ended = Some(child),
                    std::task::Poll::Pending => {
                        told.status.running += 1;
                        running.push(starting);
                        changed = true;
                    }
                }
            }
            if changed {
                told.tell();
            }
            let child = match ended {
                Some(child) => {
                    in_a_row += 1;
                    if in_a_row % TURN == 0 {
                        told.tell();
                        yield_now().await;
                    }
                    child
                }
                None => match select(running.next(), &mut settings_changed).await {
                    Either::Left((Some(child), _)) => {
                        told.status.running -= 1;
                        ended_late = true;
                        child
                    }
                    Either::Left((None, _)) => break,
                    Either::Right(_) => {
                        settings_changed = self.observer.settings_changed(run.map_run_arn());
                        continue;
                    }
                },
            }?;
            let status = &mut told.status;
            match &child.outcome {
                Outcome::Succeeded { .. } => status.succeeded += 1,
                Outcome::Failed { .. } => status.failed += 1,
                Outcome::TimedOut { .. } => status.timed_out += 1,
                Outcome::Aborted { .. } => status.aborted += 1,
            }
            let index = child.index;
            children[index] = Some(child);
        }
        Ok(children.into_iter().flatten().collect())
    }

    /// Runs a child execution. One that has ended is run `again` only if it waits to be redriven.
    async fn run_child(
        &self,
        run: &MapRun<'_>,
        index: usize,
        execution: Execution,
        again: bool,
    ) -> Result<Child, TaskFailure> {
        let started = self.clock.now();
        let mut record = |event: &crate::HistoryEvent| {
            self.observer.child_event(run.map_run_arn(), &execution, event);
        };
        let history = self.observer.child_history(run.map_run_arn(), &execution).await;
        let history = history.map_err(|error| {
            let cause = format!(
                "The history of the child execution {} cannot be read: {error}",
                execution.arn
            );
            TaskFailure::new("States.Runtime", cause)
        })?;
        let first = history.first().map(|event| event.timestamp);
        let last = history.last().map(|event| event.timestamp);
        let express = run.map.mode == Mode::Distributed(ExecutionType::Express);
        // One that has ended since the last redrive is not done again.
        let ended = history.last().and_then(|last| outcome_of(&last.event));
        let again = again && run.redriven_at >= last;
        if let (Some(started), Some(stopped), Some(outcome), false) = (first, last, ended, again) {
            return Ok(Child {
                index,
                execution,
                started,
                stopped,
                outcome,
            });
        }
        let first = first.filter(|_| !express);
        // A history of another processor is not gone on with.
        let resumed = first.and_then(|_| Engine::replay(run.processor(), &execution, history).ok());
        let (mut engine, started, left) = match (resumed, first) {
            (Some(engine), Some(first)) => {
                let mut engine = engine.with_wait_scale(self.wait_scale);
                let left = engine.take_commands();
                if engine.outcome().is_some() || engine.is_aborted() {
                    engine.redrive(started);
                }
                (engine, first, left)
            }
            _ => {
                let mut engine = self.engine(run.processor(), &execution);
                engine.start(started);
                (engine, started, Vec::new())
            }
        };
        if let Some(failure) = self.observer.refuses_states() {
            engine.refuse_states(failure);
        }
        let outcome = match engine.drain(self.clock.now(), STEPS) {
            Progress::Ended => {
                engine.take_events().iter().for_each(&mut record);
                engine.into_outcome()
            }
            _ => {
                let stop = self.observer.child_stop(run.map_run_arn(), &execution);
                let driven = Box::pin(self.drive(&mut engine, left, &mut record));
                match select(driven, stop).await {
                    Either::Left((outcome, _)) => Some(outcome),
                    Either::Right(((error, cause), driven)) => {
                        drop(driven);
                        self.observer.child_aborted(
                            run.map_run_arn(),
                            &execution,
                            error.as_deref(),
                            cause.as_deref(),
                        );
                        Some(Outcome::Aborted { error, cause })
                    }
                }
            }
        };
        let outcome = outcome.unwrap_or(Outcome::Failed {
            error: None,
            cause: None,
        });
        Ok(Child {
            index,
            started,
            stopped: self.clock.now(),
            outcome,
            execution,
        })
    }

    /// The Map state's result.
    async fn result(&self, run: &MapRun<'_>, children: Vec<Child>) -> Result<Value, TaskFailure> {
        let writer = run.map.result_writer.as_ref();
        if let (Some(writer), Some(request)) = (writer, &run.shape.writer) {
            return self.write_results(run, writer, request, &children).await;
        }
        let config = writer.and_then(|writer| writer.config);
        let transformation = config.and_then(|config| config.transformation);
        Ok(shaped(
            children.iter(),
            transformation.unwrap_or(WriterTransformation::Compact),
        ))
    }
}

/// How far a map run is, for the observer. A run that is dropped before its end was aborted.
struct Told<'r> {
    runner: Runner<'r>,
    execution: &'r Execution,
    status: MapRunStatus,
    /// The children that wait to be redriven, and how they have ended before.
    to_redrive: HashMap<String, String>,
}

impl Told<'_> {
    fn tell(&self) {
        self.runner.observer.map_run(&self.execution.arn, &self.status);
    }

    /// A child is started; whether it waits to be redriven.
    fn begins(&mut self, child: &Execution) -> bool {
        let status = &mut self.status;
        let waits = self.to_redrive.remove(&child.arn).is_some();
        if waits {
            status.pending_redrive -= 1;
        } else {
            status.pending = status.pending.saturating_sub(1);
        }
        waits
    }

    /// The run is over. Children that run are stopped, those that have not begun stay pending, and those that were not redriven are
    /// what they were.
    fn end(&mut self, with: &str) {
        let status = &mut self.status;
        status.aborted += std::mem::take(&mut status.running);
        status.pending_redrive = 0;
        for before in self.to_redrive.drain().map(|(_, before)| before) {
            match before.as_str() {
                "TIMED_OUT" => status.timed_out += 1,
                "ABORTED" => status.aborted += 1,
                _ => status.failed += 1,
            }
        }
        status.status = with.to_owned();
        self.tell();
    }
}

impl Drop for Told<'_> {
    fn drop(&mut self) {
        if self.status.status == "RUNNING" {
            self.end("ABORTED");
        }
    }
}

/// Whether more children have failed than may.
fn exceeded(status: &MapRunStatus) -> bool {
    let failed = status.failed + status.timed_out;
    if failed == 0 {
        return false;
    }
    #[expect(clippy::cast_precision_loss, reason = "there are not 2^53 children")]
    let percentage = failed as f64 * 100.0 / status.total.max(1) as f64;
    let settings = status.settings;
    match (
        settings.tolerated_failure_count,
        settings.tolerated_failure_percentage,
    ) {
        (None, None) => true,
        (count, tolerated) => {
            count.is_some_and(|count| failed > count)
                || tolerated.is_some_and(|tolerated| percentage > tolerated)
        }
    }
}

/// The inputs of the child executions: items after the `ItemSelector`, in batches where the state says so.
fn inputs(run: &mut MapRun<'_>, items: Vec<Item>) -> Result<VecDeque<Value>, TaskFailure> {
    let mut selected = Vec::with_capacity(items.len());
    for item in items {
        selected.push(run.input_of(item)?);
    }
    let Some(batch) = &run.shape.batch else {
        return Ok(selected.into());
    };
    let max_items = batch
        .max_items
        .filter(|max| *max > 0)
        .and_then(|max| usize::try_from(max).ok())
        .unwrap_or(usize::MAX);
    let max_bytes = batch
        .max_bytes
        .filter(|max| *max > 0)
        .and_then(|max| usize::try_from(max).ok())
        .unwrap_or(usize::MAX);
    let whole = |items: Vec<Value>| {
        let mut input = Map::new();
        if let Some(shared) = &batch.input {
            input.insert("BatchInput".into(), shared.clone());
        }
        input.insert("Items".into(), items.into());
        Value::Object(input)
    };
    // Of a batch without items.
    let frame = whole(Vec::new()).to_string().len();
    let mut inputs = VecDeque::new();
    let mut open = Vec::new();
    let mut bytes = frame;
    for item in selected {
        let size = item.to_string().len() + 1;
        if !open.is_empty() && (open.len() >= max_items || bytes + size > max_bytes) {
            inputs.push_back(whole(std::mem::take(&mut open)));
            bytes = frame;
        }
        bytes += size;
        open.push(item);
    }
    if !open.is_empty() {
        inputs.push_back(whole(open));
    }
    Ok(inputs)
}

/// The results as a `WriterConfig` shapes them. Children that have failed, and were tolerated, are left out of outputs.
pub(super) fn shaped<'c>(
    children: impl Iterator<Item = &'c Child>,
    transformation: WriterTransformation,
) -> Value {
    let mut shaped = Vec::new();
    for child in children {
        match (transformation, &child.outcome) {
            (WriterTransformation::None, _) => shaped.push(described(child)),
            (
                WriterTransformation::Flatten,
                Outcome::Succeeded {
                    output: Value::Array(items),
                },
            ) => shaped.extend(items.iter().cloned()),
            (_, Outcome::Succeeded { output }) => shaped.push(output.clone()),
            _ => {}
        }
    }
    Value::Array(shaped)
}

/// A child execution as the service describes it in its results.
pub(super) fn described(child: &Child) -> Value {
    let execution = &child.execution;
    let mut described = json!({
        "ExecutionArn": execution.arn,
        "Input": execution.input.to_string(),
        "InputDetails": {"Included": true},
        "Name": execution.name,
        "RedriveCount": 0,
        "StartDate": moment(child.started),
        "StateMachineArn": execution.state_machine_arn,
        "Status": child.outcome.status(),
        "StopDate": moment(child.stopped),
    });
    match &child.outcome {
        Outcome::Succeeded { output } => {
            described["Output"] = output.to_string().into();
            described["OutputDetails"] = json!({"Included": true});
        }
        Outcome::Failed { error, cause }
        | Outcome::TimedOut { error, cause }
        | Outcome::Aborted { error, cause } => {
            for (member, text) in [("Error", error), ("Cause", cause)] {
                if let Some(text) = text {
                    described[member] = text.as_str().into();
                }
            }
        }
    }
    described
}

/// How an execution ended whose last event this is.
fn outcome_of(event: &Event) -> Option<Outcome> {
    Some(match event {
        Event::ExecutionSucceeded { output } => Outcome::Succeeded {
            output: serde_json::from_str(output).ok()?,
        },
        Event::ExecutionFailed { error, cause } => Outcome::Failed {
            error: error.clone(),
            cause: cause.clone(),
        },
        // Only the event names its error.
        Event::ExecutionTimedOut { cause, .. } => Outcome::TimedOut {
            error: None,
            cause: cause.clone(),
        },
        Event::ExecutionAborted { error, cause } => Outcome::Aborted {
            error: error.clone(),
            cause: cause.clone(),
        },
        _ => return None,
    })
}

fn moment(time: Timestamp) -> String {
    crate::data::context::moment(time)
}
