//! Making an engine again out of its history.

use jiff::Timestamp;
use serde_json::Value;
use sfn_builder::checked::Machine;

use super::thread::Status;
use super::{Engine, Progress, Signal, TaskId, ThreadId};
use crate::execution::Execution;
use crate::handler::TaskFailure;
use crate::history::{Event, HistoryEvent, Phase};

/// Why an execution cannot go on from a history.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResumeError {
    /// The history is not one of this machine with this execution.
    #[error(
        "the history is not that of this machine and execution: its event {id} does not follow from those before it"
    )]
    Mismatch {
        /// The event.
        id: u64,
    },
    /// The history has no end that one could go on from: the execution was aborted.
    #[error("the execution was aborted by event {id}: it cannot go on")]
    Aborted {
        /// The event.
        id: u64,
    },
}

impl<'m> Engine<'m> {
    /// The engine whose history this is. It repeats what it has done, without a command for what has ended, and stands where
    /// the history ends: [`take_commands`](Self::take_commands) gives the calls that were under way, which are made again.
    ///
    /// # Errors
    ///
    /// The history is another machine's, or was closed by an abort.
    pub fn resume(
        machine: &'m Machine,
        execution: &'m Execution,
        history: impl IntoIterator<Item = HistoryEvent>,
    ) -> Result<Self, ResumeError> {
        let engine = Self::replay(machine, execution, history)?;
        match engine.aborted {
            Some(id) => Err(ResumeError::Aborted { id }),
            None => Ok(engine),
        }
    }

    /// Like [`resume`](Self::resume), but an execution that was aborted can be redriven.
    pub(crate) fn replay(
        machine: &'m Machine,
        execution: &'m Execution,
        history: impl IntoIterator<Item = HistoryEvent>,
    ) -> Result<Self, ResumeError> {
        let mut engine = Self::new(machine, execution);
        engine.recorded = history.into_iter().collect();
        let Some(first) = engine.recorded.front() else {
            return Ok(engine);
        };
        engine.start(first.timestamp);
        loop {
            // A stop comes between two steps, whatever is ready.
            while engine.replaying() && (engine.skip_abort() || engine.advance_replay()) {}
            if let Some(id) = engine.mismatch {
                return Err(ResumeError::Mismatch { id });
            }
            let Some(front) = engine.recorded.front() else {
                break;
            };
            let (event, previous, id, at) = (
                front.event.clone(),
                front.previous_event_id,
                front.id,
                front.timestamp,
            );
            let length = engine.recorded.len();
            engine.infer(&event, previous, at);
            if engine.recorded.len() == length {
                return Err(ResumeError::Mismatch { id });
            }
        }
        engine.forget_ended();
        Ok(engine)
    }

    /// Takes the events that close the history of an execution that was stopped, when they are next.
    fn skip_abort(&mut self) -> bool {
        if self.outcome.is_some() || self.aborted.is_some() {
            return false;
        }
        let is_abort = |event: &Event| {
            matches!(
                event,
                Event::ExecutionAborted { .. }
                    | Event::StateAborted { .. }
                    | Event::MapRunAborted
                    | Event::MapIteration {
                        phase: Phase::Aborted,
                        ..
                    }
            )
        };
        let count = self
            .recorded
            .iter()
            .take_while(|event| is_abort(&event.event))
            .count();
        let closed = count
            .checked_sub(1)
            .and_then(|last| self.recorded.get(last))
            .is_some_and(|last| matches!(last.event, Event::ExecutionAborted { .. }));
        if !closed {
            return false;
        }
        let last = self.recorded.drain(..count).next_back();
        if let Some(last) = last {
            self.set_now(last.timestamp);
            self.last_id = last.id;
            self.stand_still(last.id);
            self.aborted = Some(last.id);
        }
        true
    }

    fn replaying(&self) -> bool {
        !self.recorded.is_empty() && self.mismatch.is_none()
    }

    /// A step that needs no signal; `false` when there is none.
    fn advance_replay(&mut self) -> bool {
        if self.ready.is_empty() || self.outcome.is_some() {
            return false;
        }
        self.drain(self.now, 1) == Progress::Ready
    }

    /// Does what has led to the event.
    fn infer(&mut self, event: &Event, previous: u64, at: Timestamp) {
        match event {
            Event::ExecutionRedriven { .. } => {
                self.redrive(at);
                return;
            }
            Event::ExecutionTimedOut { .. } => {
                self.timers.clear();
                self.timeout = Some(at);
                self.advance(at, 1);
                return;
            }
            _ => {}
        }
        let Some(id) = self.waiting_after(previous) else {
            return;
        };
        let Some(status) = self
            .threads
            .get(id)
            .and_then(Option::as_ref)
            .map(|thread| &thread.status)
        else {
            return;
        };
        match status {
            Status::Waiting(timer) | Status::Backoff(timer) => {
                let timer = *timer;
                self.set_now(at);
                if let Some(timer) = self.timers.remove(&timer) {
                    self.fire(timer);
                }
            }
            Status::Task(flight) => {
                let task = flight.task;
                self.infer_task(id, task, event, at);
            }
            Status::MapRun(task) => {
                let task = *task;
                let result = match event {
                    Event::MapRunSucceeded { result } => Ok(parse(result)),
                    Event::MapRunFailed { error, cause } => Err(failure(error, cause)),
                    _ => return,
                };
                self.signal(at, Signal::MapRunEnded { task, result });
            }
            _ => {}
        }
    }

    fn infer_task(&mut self, id: ThreadId, task: TaskId, event: &Event, at: Timestamp) {
        let signal = match event {
            Event::ActivityStarted { worker_name } => Signal::Started {
                task,
                worker: worker_name.clone(),
            },
            Event::TaskSubmitted { output, .. } => Signal::Submitted {
                task,
                output: parse(output),
            },
            Event::TaskSucceeded { output, .. }
            | Event::LambdaFunctionSucceeded { output }
            | Event::ActivitySucceeded { output } => Signal::Ended {
                task,
                result: Ok(parse(output)),
            },
            Event::TaskFailed { error, cause, .. }
            | Event::TaskSubmitFailed { error, cause, .. }
            | Event::LambdaFunctionFailed { error, cause }
            | Event::ActivityFailed { error, cause } => Signal::Ended {
                task,
                result: Err(failure(error, cause)),
            },
            Event::TaskTimedOut { .. }
            | Event::LambdaFunctionTimedOut { .. }
            | Event::ActivityTimedOut { .. } => {
                self.set_now(at);
                // Which of the two it was: the one that was due.
                let due = self
                    .timers
                    .iter()
                    .find(|(key, timer)| timer.thread == id && key.0 <= at)
                    .or_else(|| self.timers.iter().find(|(_, timer)| timer.thread == id))
                    .map(|(key, _)| *key);
                if let Some(timer) = due.and_then(|key| self.timers.remove(&key)) {
                    self.fire(timer);
                }
                return;
            }
            _ => return,
        };
        self.signal(at, signal);
    }

    /// The thread that waits, and whose next event follows this one.
    fn waiting_after(&self, previous: u64) -> Option<ThreadId> {
        self.threads.iter().position(|thread| {
            thread.as_ref().is_some_and(|thread| {
                thread.previous == previous
                    && matches!(
                        thread.status,
                        Status::Waiting(_) | Status::Backoff(_) | Status::Task(_) | Status::MapRun(_)
                    )
            })
        })
    }

    /// Keeps the commands for what is still under way.
    fn forget_ended(&mut self) {
        let flights = &self.flights;
        self.commands.retain(|command| match command {
            super::Command::Call { task, .. } | super::Command::MapRun { task, .. } => {
                flights.contains_key(task)
            }
            super::Command::Cancel { .. } => false,
        });
    }
}

fn parse(text: &str) -> Value {
    // A history's texts were values once; what cannot be read shows as a mismatch.
    serde_json::from_str(text).unwrap_or(Value::Null)
}

fn failure(error: &str, cause: &Option<String>) -> TaskFailure {
    TaskFailure::new(error, cause.clone().unwrap_or_default())
}
