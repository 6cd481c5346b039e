//! Executions under way: driven, written down, stopped, taken up again.

use std::{
    collections::HashMap,
    future::poll_fn,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    task::Poll,
};

use sfn_builder::StateMachine;
use sfn_local::{Event, HistoryEvent, MapRunSettings, MapRunStatus, Observer, Outcome, Runner};
use tokio_util::sync::CancellationToken;

use super::{
    States,
    journal::{Counts, Execution, Journal, MapRun, RUNNING, Write},
    tasks::Tasks,
};
use crate::time::{Seconds, seconds_of};

/// How an execution begins.
pub(super) enum Begin {
    /// At its first state.
    New,
    /// Where its history ends.
    Resumed,
    /// At the states that have not ended well.
    Redriven,
}

/// What is needed to stop an execution that runs, and to wait until it has ended.
#[derive(Default)]
pub(super) struct Control {
    stop: CancellationToken,
    ended: CancellationToken,
    /// The error and cause of whoever stops it.
    why: Mutex<Option<(Option<String>, Option<String>)>>,
}

impl Control {
    /// Stops it; the first to do so says why.
    pub(super) fn stop(&self, error: Option<String>, cause: Option<String>) {
        self.why
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert((error, cause));
        self.stop.cancel();
    }

    /// Until it has ended, and the database says so.
    pub(super) async fn ended(&self) {
        self.ended.cancelled().await;
    }
}

/// Ends the waiting for an execution, whatever becomes of its future.
struct Ending {
    states: Arc<States>,
    arn: String,
    control: Arc<Control>,
}

impl Drop for Ending {
    fn drop(&mut self) {
        let mut controls = self.states.controls();
        // A redrive may have begun already.
        if controls
            .get(&self.arn)
            .is_some_and(|control| Arc::ptr_eq(control, &self.control))
        {
            controls.remove(&self.arn);
        }
        drop(controls);
        self.control.ended.cancel();
    }
}

impl States {
    /// Drives an execution to its end, in the background.
    pub(super) fn spawn(
        self: &Arc<Self>,
        id: i64,
        execution: Execution,
        machine: Arc<StateMachine>,
        begin: Begin,
    ) -> Arc<Control> {
        let control = Arc::new(Control::default());
        self.controls().insert(execution.arn.clone(), control.clone());
        let ending = Ending {
            states: self.clone(),
            arn: execution.arn.clone(),
            control: control.clone(),
        };
        let this = self.clone();
        let driven = control.clone();
        self.tasks.spawn(async move {
            this.drive(id, execution, &machine, begin, &driven).await;
            drop(ending);
        });
        control
    }

    async fn drive(
        self: Arc<Self>,
        id: i64,
        mut execution: Execution,
        machine: &StateMachine,
        begin: Begin,
        control: &Control,
    ) {
        let Ok(run) = self.run_of(&execution) else {
            return; // its input is no JSON: the database was changed by others
        };
        let again = !matches!(begin, Begin::New);
        let recorder = Arc::new(Recorder::new(self.clone(), execution.clone(), again));
        let handler = Tasks::of(&self, &execution, Some(recorder.clone()), again);
        let runner = self.runner(&handler).with_observer(&*recorder);
        let mut record = |event: &HistoryEvent| recorder.add(Write::Event(id, event.clone()));
        let running = async {
            let history = match begin {
                Begin::New => return Some(Ok(runner.run(machine, &run, &mut record).await)),
                Begin::Resumed | Begin::Redriven => self.journal.history(id).ok()?,
            };
            let went_on = match begin {
                Begin::Redriven => runner.redrive(machine, &run, history, &mut record).await,
                _ => runner.resume(machine, &run, history, &mut record).await.map(Some),
            };
            Some(match went_on {
                Ok(Some(outcome)) => Ok(outcome),
                Ok(None) => Err("its history has no failure".to_owned()),
                Err(error) => Err(error.to_string()),
            })
        };
        let mut running = pin!(running);
        // What has happened in a turn is written before the next; the end, together with what it means for the record.
        let turns = poll_fn(|context| {
            let polled = running.as_mut().poll(context);
            if polled.is_pending() && recorder.flush().is_err() {
                return Poll::Ready(None);
            }
            polled
        });
        let outcome = tokio::select! {
            biased;
            () = control.stop.cancelled() => {
                let _ = recorder.flush();
                self.abort(id, &mut execution, &recorder, control);
                return;
            }
            // Whoever starts a server on the folder again goes on with it.
            () = self.stop.cancelled() => {
                let _ = recorder.flush();
                return;
            }
            outcome = turns => outcome,
        };
        // Without an outcome the database failed: the next start goes on from what it has.
        let outcome = match outcome {
            None => return,
            Some(Ok(outcome)) => outcome,
            Some(Err(reason)) => {
                self.give_up(id, execution, &reason);
                return;
            }
        };
        match outcome {
            Outcome::Succeeded { output } => {
                execution.status = "SUCCEEDED".to_owned();
                execution.output = Some(output.to_string());
            }
            Outcome::Failed { error, cause } => {
                execution.status = "FAILED".to_owned();
                (execution.error, execution.cause) = (error, cause);
            }
            Outcome::TimedOut { error, cause } => {
                execution.status = "TIMED_OUT".to_owned();
                (execution.error, execution.cause) = (error, cause);
            }
        }
        execution.stopped = Some(self.now());
        recorder.add(Write::Record(id, Box::new(execution)));
        let _ = recorder.flush();
    }

    /// Fails an execution that cannot go on: its machine or its history is of a form that is no longer known.
    fn give_up(&self, id: i64, mut execution: Execution, reason: &str) {
        let cause = format!("The execution cannot go on: {reason}");
        let (error, cause) = (Some("States.Runtime".to_owned()), Some(cause));
        // An error here is the database's: the next start tries again.
        let Ok(last) = self.journal.last_event(id) else {
            return;
        };
        let failed = HistoryEvent {
            id: last + 1,
            previous_event_id: last,
            timestamp: self.clock.now(),
            event: Event::ExecutionFailed {
                error: error.clone(),
                cause: cause.clone(),
            },
        };
        execution.status = "FAILED".to_owned();
        execution.stopped = Some(self.now());
        (execution.error, execution.cause) = (error, cause);
        let writes = [Write::Event(id, failed), Write::Record(id, Box::new(execution))];
        let _ = self.journal.write(&writes);
    }

    fn abort(&self, id: i64, execution: &mut Execution, recorder: &Recorder, control: &Control) {
        let why = control.why.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (error, cause) = why.unwrap_or_default();
        let Ok(history) = self.journal.history(id) else {
            return;
        };
        for event in sfn_local::abort(&history, self.clock.now(), error.clone(), cause.clone()) {
            recorder.add(Write::Event(id, event));
        }
        recorder.abort_children();
        execution.status = "ABORTED".to_owned();
        execution.stopped = Some(self.now());
        (execution.error, execution.cause) = (error, cause);
        recorder.add(Write::Record(id, Box::new(execution.clone())));
        let _ = recorder.flush();
    }

    /// Goes on with what a server before this one left running.
    pub(super) fn resume_executions(self: &Arc<Self>) -> std::io::Result<()> {
        for (id, execution) in self.journal.running()? {
            match self.machine_of(&execution.revision) {
                Ok(machine) => {
                    self.spawn(id, execution, machine, Begin::Resumed);
                }
                Err(error) => self.give_up(id, execution, &error.message),
            }
        }
        Ok(())
    }

    /// What executions run with.
    pub(super) fn runner<'a>(&'a self, handler: &'a Tasks) -> Runner<'a> {
        Runner::new(handler, &*self.clock).with_wait_scale(self.wait_scale)
    }

    /// An execution as the interpreter knows it.
    pub(super) fn run_of(&self, execution: &Execution) -> serde_json::Result<sfn_local::Execution> {
        let input = serde_json::from_str(&execution.input)?;
        let role = self
            .revision(&execution.revision)
            .map(|revision| revision.role_arn);
        let mut run = sfn_local::Execution::new(&execution.machine_arn, &execution.name, input)
            .with_input_text(&execution.input)
            .with_seed(execution.seed);
        run.arn.clone_from(&execution.arn);
        if let Some(role) = role {
            run.role_arn = role;
        }
        Ok(run)
    }

    pub(super) fn controls(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Control>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Collects what happens, and writes it in transactions.
pub(super) struct Recorder {
    states: Arc<States>,
    execution: Execution,
    /// The execution goes on: its child executions may have histories.
    again: bool,
    inner: Mutex<Recorded>,
}

#[derive(Default)]
struct Recorded {
    writes: Vec<Write>,
    /// Child executions that run.
    children: HashMap<String, Execution>,
    runs: HashMap<String, MapRun>,
    /// The map runs whose children have no histories.
    express: HashMap<String, bool>,
}

impl Recorder {
    fn new(states: Arc<States>, execution: Execution, again: bool) -> Self {
        Self {
            states,
            execution,
            again,
            inner: Mutex::default(),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Recorded> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, write: Write) {
        self.lock().writes.push(write);
    }

    /// Writes what has been added. After an error everything is still there to be written.
    pub(super) fn flush(&self) -> std::io::Result<()> {
        let mut inner = self.lock();
        let journal: &Journal = &self.states.journal;
        journal.write(&inner.writes)?;
        inner.writes.clear();
        Ok(())
    }

    /// Ends the map runs and child executions of an execution that is stopped.
    fn abort_children(&self) {
        let now = self.states.now();
        let mut inner = self.lock();
        let Recorded {
            writes,
            children,
            runs,
            ..
        } = &mut *inner;
        for (arn, mut child) in children.drain() {
            if let Ok(Some((id, _))) = self.states.journal.get(&arn)
                && let Ok(history) = self.states.journal.history(id)
            {
                for event in sfn_local::abort(&history, self.states.clock.now(), None, None) {
                    writes.push(Write::ChildEvent(arn.clone(), event));
                }
            }
            child.status = "ABORTED".to_owned();
            child.stopped = Some(now);
            writes.push(Write::Child(Box::new(child)));
        }
        for run in runs.values_mut().filter(|run| run.status == RUNNING) {
            run.status = "ABORTED".to_owned();
            run.stopped = Some(now);
            run.counts.aborted += run.counts.running + run.counts.pending;
            (run.counts.running, run.counts.pending) = (0, 0);
            writes.push(Write::MapRun(Box::new(run.clone())));
        }
    }

    /// The record of a child execution that begins.
    fn child(&self, map_run: &str, child: &sfn_local::Execution, started: Seconds) -> Execution {
        Execution {
            arn: child.arn.clone(),
            name: child.name.clone(),
            machine_arn: child.state_machine_arn.clone(),
            revision: self.execution.revision.clone(),
            version_arn: None,
            alias_arn: None,
            map_run_arn: Some(map_run.to_owned()),
            status: RUNNING.to_owned(),
            input: child.input.to_string(),
            output: None,
            error: None,
            cause: None,
            started,
            stopped: None,
            seed: child.seed,
            test_case: None,
            trace_header: None,
            redrives: 0,
            redriven: None,
            redrive_tokens: Vec::new(),
        }
    }
}

impl Observer for Recorder {
    fn child_event(&self, map_run_arn: &str, child: &sfn_local::Execution, event: &HistoryEvent) {
        let mut inner = self.lock();
        let moment = seconds_of(event.timestamp);
        if inner.express.get(map_run_arn).copied().unwrap_or(false) {
            return;
        }
        if event.id == 1 {
            let record = self.child(map_run_arn, child, moment);
            inner.writes.push(Write::ChildBegun(Box::new(record.clone())));
            inner.children.insert(child.arn.clone(), record);
        } else if !inner.children.contains_key(&child.arn)
            && let Ok(Some((_, mut record))) = self.states.journal.get(&child.arn)
        {
            // It goes on.
            record.status = RUNNING.to_owned();
            (record.stopped, record.error, record.cause) = (None, None, None);
            if let Event::ExecutionRedriven { redrive_count } = &event.event {
                record.redrives = *redrive_count;
                record.redriven = Some(moment);
            }
            inner.writes.push(Write::Child(Box::new(record.clone())));
            inner.children.insert(child.arn.clone(), record);
        }
        inner
            .writes
            .push(Write::ChildEvent(child.arn.clone(), event.clone()));
        let (status, output, error, cause) = match &event.event {
            Event::ExecutionSucceeded { output } => ("SUCCEEDED", Some(output.clone()), None, None),
            Event::ExecutionFailed { error, cause } => ("FAILED", None, error.clone(), cause.clone()),
            Event::ExecutionTimedOut { error, cause } => ("TIMED_OUT", None, error.clone(), cause.clone()),
            _ => return,
        };
        if let Some(mut record) = inner.children.remove(&child.arn) {
            record.status = status.to_owned();
            record.stopped = Some(moment);
            (record.output, record.error, record.cause) = (output, error, cause);
            inner.writes.push(Write::Child(Box::new(record)));
        }
    }

    fn map_run(&self, execution_arn: &str, status: &MapRunStatus) {
        let mut inner = self.lock();
        let arn = &status.map_run_arn;
        inner.express.insert(arn.clone(), status.express);
        let counts = Counts {
            total: status.total,
            pending: status.pending,
            running: status.running,
            succeeded: status.succeeded,
            failed: status.failed,
            timed_out: status.timed_out,
            aborted: status.aborted,
            written: 0,
        };
        let run = inner.runs.entry(arn.clone()).or_insert_with(|| MapRun {
            arn: arn.clone(),
            execution_arn: execution_arn.to_owned(),
            machine_arn: self.execution.machine_arn.clone(),
            status: RUNNING.to_owned(),
            started: self.states.now(),
            stopped: None,
            max_concurrency: 0,
            tolerated_failure_count: 0,
            tolerated_failure_percentage: 0.0,
            redrives: self.execution.redrives,
            redriven: self.execution.redriven,
            counts: Counts::default(),
            items: 0,
        });
        run.status.clone_from(&status.status);
        run.counts = counts;
        run.items = status.items;
        run.max_concurrency = status.settings.max_concurrency;
        run.tolerated_failure_count = status.settings.tolerated_failure_count.unwrap_or(0);
        run.tolerated_failure_percentage = status.settings.tolerated_failure_percentage.unwrap_or(0.0);
        if status.status != RUNNING {
            run.stopped = Some(self.states.now());
            self.states
                .map_run_settings
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .remove(arn);
        }
        let run = run.clone();
        inner.writes.push(Write::MapRun(Box::new(run)));
    }

    fn child_history(&self, _map_run_arn: &str, child: &sfn_local::Execution) -> Vec<HistoryEvent> {
        if !self.again {
            return Vec::new();
        }
        match self.states.journal.get(&child.arn) {
            Ok(Some((id, _))) => self.states.journal.history(id).unwrap_or_default(),
            _ => Vec::new(),
        }
    }

    fn settings(&self, map_run_arn: &str) -> Option<MapRunSettings> {
        self.states
            .map_run_settings
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(map_run_arn)
            .copied()
    }
}
