//! Executions under way: driven, written down, stopped, taken up again.

use std::{
    collections::{BTreeMap, HashMap, hash_map::Entry},
    future::{pending, poll_fn, ready},
    io,
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
    time::Duration,
};

use jiff::Timestamp;
use sfn_builder::StateMachine;
use sfn_local::{
    BoxFuture, Event, HistoryEvent, MapRunSettings, MapRunStatus, Observer, Outcome, Runner, TaskFailure,
};
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::{
    States,
    journal::{Counts, End, Execution, Journal, MapRun, RUNNING, Why, Write},
    tasks::Tasks,
};
use crate::time::{Seconds, seconds_of};

/// How an execution begins.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Begin {
    /// At its first state.
    New,
    /// Where its history ends; or, when it has been redriven and its history does not know, at the states that have not ended
    /// well.
    Again,
}

/// What is needed to stop an execution that runs, and to wait until it has ended.
#[derive(Default)]
pub(super) struct Control {
    stop: CancellationToken,
    ended: CancellationToken,
    /// The error and cause of whoever stops it.
    why: Mutex<Option<Why>>,
    /// Why the data folder cannot be used at the moment: for an execution and its child executions, which are written together.
    trouble: Arc<watch::Sender<Option<String>>>,
    /// Its machine has been deleted: it enters no other state.
    deleted: AtomicBool,
}

impl Control {
    /// The control of a child execution.
    fn of_child(&self) -> Self {
        Self {
            trouble: self.trouble.clone(),
            ..Self::default()
        }
    }

    /// Stops it; the first to do so says why.
    pub(super) fn stop(&self, error: Option<String>, cause: Option<String>) {
        self.why
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert((error, cause));
        self.stop.cancel();
    }

    /// Ends it before its next state.
    pub(super) fn machine_deleted(&self) {
        self.deleted.store(true, Ordering::Relaxed);
    }

    /// It has ended.
    pub(super) fn end(&self) {
        self.ended.cancel();
    }

    /// Until somebody stops it: the error and the cause.
    async fn stopped(&self) -> Why {
        self.stop.cancelled().await;
        self.why().unwrap_or_default()
    }

    fn why(&self) -> Option<Why> {
        self.why.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Until it has ended, and the database says so.
    pub(super) async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// The same, but for no longer than the data folder can be used: why it cannot.
    pub(super) async fn ended_or_trouble(&self) -> Result<(), String> {
        let mut trouble = self.trouble.subscribe();
        tokio::select! {
            biased;
            () = self.ended() => Ok(()),
            Ok(trouble) = trouble.wait_for(Option::is_some) => Err(trouble.clone().unwrap_or_default()),
        }
    }
}

/// Ends the waiting for an execution, whatever becomes of its future.
struct Ending {
    states: Arc<States>,
    arn: String,
    machine_arn: String,
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
        // What cannot be removed now is at the next start.
        let _ = self.states.finish_deletion(&self.machine_arn);
        self.control.end();
    }
}

/// The group of the log of what keeps executions from going on; each has a stream of its name.
const TROUBLE_LOG: &str = "/aws-local/states";
/// How long is waited before the data folder is tried again, at first and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

impl States {
    /// Drives an execution to its end, in the background; or fails it, for why it has no machine. Whoever finds it in the
    /// database finds its control: the caller has put it there before anyone could look.
    pub(super) fn spawn(
        self: &Arc<Self>,
        id: i64,
        execution: Execution,
        machine: Result<Arc<StateMachine>, String>,
        begin: Begin,
        control: Arc<Control>,
    ) {
        let ending = Ending {
            states: self.clone(),
            arn: execution.arn.clone(),
            machine_arn: execution.machine_arn.clone(),
            control: control.clone(),
        };
        let this = self.clone();
        let driven = async move {
            match machine {
                Ok(machine) => this.drive(id, execution, &machine, begin, &control).await,
                Err(reason) => this.give_up(id, execution, &reason, &control).await,
            }
            drop(ending);
        };
        self.tasks.spawn(self.clock.watch(Box::pin(driven)));
    }

    /// Does what needs the data folder, again and again until it can be done; `None` when the server stops before. The first
    /// error is in the log.
    async fn insist<R>(
        &self,
        arn: &str,
        control: &Control,
        mut act: impl FnMut() -> io::Result<R>,
    ) -> Option<R> {
        let mut pause = FIRST_PAUSE;
        loop {
            match act() {
                Ok(done) => {
                    control
                        .trouble
                        .send_if_modified(|trouble| trouble.take().is_some());
                    return Some(done);
                }
                Err(error) => {
                    let told = format!("the data folder cannot be used: {error}");
                    let line = format!("{arn} waits: {told}; it goes on when it can");
                    // Several parts of an execution may wait.
                    if control.trouble.send_replace(Some(told)).is_none() {
                        let stream = arn.rsplit(':').next().unwrap_or_default();
                        self.logs.add(TROUBLE_LOG, stream, line);
                    }
                }
            }
            let _hold = self.clock.hold();
            tokio::select! {
                () = self.stop.cancelled() => return None,
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// A history, as soon as it can be read; the error is that it cannot be understood.
    async fn history_of(
        &self,
        id: i64,
        arn: &str,
        control: &Control,
    ) -> Option<io::Result<Vec<HistoryEvent>>> {
        let read = || match self.journal.history(id) {
            Err(error) if not_understood(&error) => Ok(Err(error)),
            other => other.map(Ok),
        };
        self.insist(arn, control, read).await
    }

    /// The tasks of an execution that goes on from this history. Where it is one of a test case, its child executions, down to any
    /// depth, have had mocked answers too; children of type `EXPRESS` have no history, and those that cannot be read do not go on.
    async fn tasks_after(
        &self,
        mut tasks: Tasks,
        execution: &Execution,
        history: &[HistoryEvent],
        control: &Control,
    ) -> Option<Tasks> {
        tasks.count(history);
        if execution.test_case.is_some() {
            let rows = || self.journal.descendants(&execution.arn);
            for row in self.insist(&execution.arn, control, rows).await? {
                if let Ok(history) = self.history_of(row, &execution.arn, control).await? {
                    tasks.count(&history);
                }
            }
        }
        Some(tasks)
    }

    async fn drive(
        self: Arc<Self>,
        id: i64,
        mut execution: Execution,
        machine: &StateMachine,
        begin: Begin,
        control: &Arc<Control>,
    ) {
        let run = match self.run_of(&execution) {
            Ok(run) => run,
            Err(error) => {
                let reason = format!("its input is not JSON: {error}");
                return self.give_up(id, execution, &reason, control).await;
            }
        };
        let again = begin == Begin::Again;
        let history = match begin {
            Begin::New => None,
            Begin::Again => match self.history_of(id, &execution.arn, control).await {
                None => return,
                Some(Ok(history)) => Some(history),
                Some(Err(error)) => {
                    let reason = format!("its history cannot be read: {error}");
                    return self.give_up(id, execution, &reason, control).await;
                }
            },
        };
        let recorder = Arc::new(Recorder::new(
            self.clone(),
            execution.clone(),
            again,
            control.clone(),
        ));
        let mut handler = Tasks::of(&self, &execution, Some(recorder.clone()));
        if let Some(history) = &history {
            let counted = self.tasks_after(handler, &execution, history, control);
            match counted.await {
                Some(counted) => handler = counted,
                None => return,
            }
        }
        let runner = self.runner(&handler).with_observer(&*recorder);
        let redrives = execution.redrives;
        let mut record = |event: &HistoryEvent| recorder.add(Write::Event(id, event.clone()));
        let running = async {
            let Some(history) = history else {
                return Ok(runner.run(machine, &run, &mut record).await);
            };
            let is_redrive = |event: &&HistoryEvent| matches!(event.event, Event::ExecutionRedriven { .. });
            let went_on = if redrives > history.iter().filter(is_redrive).count() as u64 {
                runner.redrive(machine, &run, history, &mut record).await
            } else {
                runner.resume(machine, &run, history, &mut record).await.map(Some)
            };
            match went_on {
                Ok(Some(outcome)) => Ok(outcome),
                Ok(None) => Err("its history has no failure".to_owned()),
                Err(error) => Err(error.to_string()),
            }
        };
        let mut running = pin!(running);
        let outcome = loop {
            // What has happened in a turn is written before the next; the end, together with what it means for the record.
            let turns = poll_fn(|context| match running.as_mut().poll(context) {
                Poll::Ready(outcome) => Poll::Ready(Some(outcome)),
                Poll::Pending if recorder.flush().is_err() => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            });
            tokio::select! {
                biased;
                () = control.stop.cancelled() => {
                    self.abort(id, &mut execution, &recorder, control).await;
                    recorder.close();
                    return;
                }
                // Whoever starts a server on the folder again goes on with it.
                () = self.stop.cancelled() => {
                    let _ = recorder.flush();
                    recorder.close();
                    return;
                }
                turned = turns => match turned {
                    Some(outcome) => break outcome,
                    None if recorder.write_down().await => {}
                    None => return recorder.close(),
                },
            }
        };
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(reason) => return self.give_up(id, execution, &reason, control).await,
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
            Outcome::Aborted { error, cause } => {
                execution.status = "ABORTED".to_owned();
                (execution.error, execution.cause) = (error, cause);
            }
        }
        execution.stopped = Some(self.now());
        recorder.end(id, execution);
        recorder.write_down().await;
    }

    /// Fails an execution that cannot go on: its machine or its history is of a form that is no longer known.
    async fn give_up(&self, id: i64, mut execution: Execution, reason: &str, control: &Control) {
        let cause = format!("The execution cannot go on: {reason}");
        let (error, cause) = (Some("States.Runtime".to_owned()), Some(cause));
        let arn = execution.arn.clone();
        let now = self.clock.now();
        execution.status = "FAILED".to_owned();
        execution.stopped = Some(seconds_of(now));
        execution.error.clone_from(&error);
        execution.cause.clone_from(&cause);
        let write = || {
            let last = self.journal.last_event(id)?;
            let failed = HistoryEvent {
                id: last + 1,
                previous_event_id: last,
                timestamp: now,
                event: Event::ExecutionFailed {
                    error: error.clone(),
                    cause: cause.clone(),
                },
            };
            self.journal.write(&[
                Write::Event(id, failed),
                Write::TokensOver(arn.clone()),
                Write::RunsOver(arn.clone(), now),
                Write::Record(id, Box::new(execution.clone())),
            ])
        };
        self.insist(&arn, control, write).await;
    }

    async fn abort(&self, id: i64, execution: &mut Execution, recorder: &Recorder, control: &Control) {
        if !recorder.write_down().await {
            return;
        }
        let (error, cause) = control.why().unwrap_or_default();
        let now = self.clock.now();
        recorder.add(Write::Stopped(id, now, (error.clone(), cause.clone())));
        execution.status = "ABORTED".to_owned();
        execution.stopped = Some(seconds_of(now));
        (execution.error, execution.cause) = (error, cause);
        recorder.end(id, execution.clone());
        recorder.write_down().await;
    }

    /// Goes on with what a server before this one left running.
    pub(super) fn resume_executions(self: &Arc<Self>) -> io::Result<()> {
        let running = self.journal.running()?;
        // One may wait for another: all can be found before any runs.
        let found: Vec<_> = {
            let mut controls = self.controls();
            let found = running.into_iter().map(|(id, execution)| {
                let control = controls.entry(execution.arn.clone()).or_default().clone();
                (id, execution, control)
            });
            found.collect()
        };
        for (id, execution, control) in found {
            if self
                .machines
                .look(&execution.machine_arn, |machine| machine.deleting)
                == Some(true)
            {
                control.machine_deleted();
            }
            let machine = self
                .machine_of(&execution.revision)
                .map_err(|error| error.message);
            self.spawn(id, execution, machine, Begin::Again, control);
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
        // Definitions are large.
        let role = self
            .revisions
            .look(&execution.revision, |revision| revision.role_arn.clone());
        let mut run = sfn_local::Execution::new(&execution.machine_arn, &execution.name, input)
            .with_input_text(&execution.input)
            .with_seed(execution.seed);
        run.arn.clone_from(&execution.arn);
        if let Some(role) = role {
            run.role_arn = role;
        }
        Ok(run)
    }

    pub(super) fn map_run_settings(&self) -> std::sync::MutexGuard<'_, HashMap<String, MapRunSettings>> {
        self.map_run_settings
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
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
    control: Arc<Control>,
    inner: Mutex<Recorded>,
}

#[derive(Default)]
struct Recorded {
    writes: Vec<Write>,
    /// The execution is left as it is: what falls with it is not written.
    closed: bool,
    /// Child executions that run, by their ARNs, and their map runs.
    children: HashMap<String, String>,
    runs: HashMap<String, MapRun>,
    /// Those that run and whose counts are to be written.
    counted: BTreeMap<String, MapRun>,
    /// The map runs whose children have no histories.
    express: HashMap<String, bool>,
    /// When those of these children began that run.
    begun: HashMap<String, Timestamp>,
    /// With which child executions that run are stopped, by their ARNs, and with which map runs they end.
    controls: HashMap<String, (String, Arc<Control>)>,
    /// The controls of those whose end is to be written.
    over: Vec<String>,
    /// The map runs whose end is to be written.
    runs_over: Vec<String>,
    /// Tokens of tasks were handed out.
    has_tokens: bool,
    /// Who waits until the end of a call, by execution and number, is written.
    waiting: HashMap<(String, u64), oneshot::Sender<()>>,
    /// The same of ends that are to be written.
    told: Vec<oneshot::Sender<()>>,
}

impl Recorder {
    fn new(states: Arc<States>, execution: Execution, again: bool, control: Arc<Control>) -> Self {
        Self {
            states,
            execution,
            again,
            control,
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
    pub(super) fn flush(&self) -> io::Result<()> {
        let mut inner = self.lock();
        if inner.closed {
            return Ok(());
        }
        let journal: &Journal = &self.states.journal;
        let counted = std::mem::take(&mut inner.counted);
        inner
            .writes
            .extend(counted.into_values().map(|run| Write::MapRun(Box::new(run))));
        journal.write(&inner.writes)?;
        inner.writes.clear();
        for arn in std::mem::take(&mut inner.over) {
            if let Some((_, control)) = inner.controls.remove(&arn) {
                self.end_control(&arn, &control);
            }
        }
        if !inner.runs_over.is_empty() {
            let mut settings = self.states.map_run_settings();
            for arn in inner.runs_over.drain(..) {
                settings.remove(&arn);
            }
        }
        for told in inner.told.drain(..) {
            // Whoever asked may be gone.
            let _ = told.send(());
        }
        Ok(())
    }

    /// A task waits for this token.
    pub(super) fn token_opens(&self, token: &str) {
        let mut inner = self.lock();
        inner.has_tokens = true;
        let (token, execution) = (token.to_owned(), self.execution.arn.clone());
        inner.writes.push(Write::TokenOpens(token, execution));
    }

    /// Nothing waits for it any more.
    pub(super) fn token_closes(&self, token: &str) {
        self.add(Write::TokenCloses(token.to_owned()));
    }

    fn end_control(&self, arn: &str, control: &Arc<Control>) {
        self.states.controls().remove(arn);
        control.end();
    }

    /// Tells when the end of that call is in the database.
    pub(super) fn tell_when_written(&self, execution_arn: &str, number: u64, told: oneshot::Sender<()>) {
        let call = (execution_arn.to_owned(), number);
        self.lock().waiting.insert(call, told);
    }

    /// A child execution runs: it can be stopped.
    fn can_be_stopped(&self, inner: &mut Recorded, map_run_arn: &str, child: &str) {
        if !inner.controls.contains_key(child) {
            let control = Arc::new(self.control.of_child());
            self.states.controls().insert(child.to_owned(), control.clone());
            inner
                .controls
                .insert(child.to_owned(), (map_run_arn.to_owned(), control));
        }
    }

    /// Writes what has been added, as soon as that can be done; `false` when the server stops before.
    pub(super) async fn write_down(&self) -> bool {
        let arn = &self.execution.arn;
        let written = self.states.insist(arn, &self.control, || self.flush()).await;
        written.is_some()
    }

    /// From now on nothing is written.
    fn close(&self) {
        self.lock().closed = true;
    }

    /// Ends the execution, and its map runs and child executions with it.
    fn end(&self, id: i64, execution: Execution) {
        let mut inner = self.lock();
        inner.children.clear();
        let children: Vec<String> = inner.controls.keys().cloned().collect();
        inner.over.extend(children);
        let runs: Vec<String> = inner.runs.keys().cloned().collect();
        inner.runs_over.extend(runs);
        // Nothing of it is done again.
        if execution.status == "SUCCEEDED" && (self.again || inner.express.values().any(|express| *express)) {
            let forgotten = Write::ForgetExpressOf(execution.arn.clone());
            inner.writes.push(forgotten);
        }
        if self.again || inner.has_tokens {
            inner.writes.push(Write::TokensOver(execution.arn.clone()));
        }
        if self.again || !inner.runs.is_empty() {
            let over = Write::RunsOver(execution.arn.clone(), self.states.clock.now());
            inner.writes.push(over);
        }
        inner.writes.push(Write::Record(id, Box::new(execution)));
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

impl Drop for Recorder {
    fn drop(&mut self) {
        let inner = self.inner.get_mut().unwrap_or_else(PoisonError::into_inner);
        for (arn, (_, control)) in inner.controls.drain() {
            self.states.controls().remove(&arn);
            control.end();
        }
    }
}

impl Observer for Recorder {
    fn child_event(&self, map_run_arn: &str, child: &sfn_local::Execution, event: &HistoryEvent) {
        let mut inner = self.lock();
        let moment = seconds_of(event.timestamp);
        if inner.express.get(map_run_arn).copied().unwrap_or(false) {
            // How it ended is all that is kept.
            if event.id == 1 {
                inner.begun.insert(child.arn.clone(), event.timestamp);
            } else if event.event.is_final()
                && let Some(began) = inner.begun.remove(&child.arn)
            {
                let (map_run, child) = (map_run_arn.to_owned(), child.arn.clone());
                inner
                    .writes
                    .push(Write::ExpressChild(map_run, child, began, event.clone()));
            }
            return;
        }
        if event.id == 1 {
            let record = self.child(map_run_arn, child, moment);
            inner.writes.push(Write::ChildBegun(Box::new(record)));
            inner.children.insert(child.arn.clone(), map_run_arn.to_owned());
        } else if let Entry::Vacant(goes_on) = inner.children.entry(child.arn.clone()) {
            goes_on.insert(map_run_arn.to_owned());
            let redrive = match event.event {
                Event::ExecutionRedriven { redrive_count } => Some((redrive_count, moment)),
                _ => None,
            };
            inner.writes.push(Write::ChildGoesOn(child.arn.clone(), redrive));
        }
        self.can_be_stopped(&mut inner, map_run_arn, &child.arn);
        inner
            .writes
            .push(Write::ChildEvent(child.arn.clone(), event.clone()));
        let (status, output, error, cause) = match &event.event {
            Event::ExecutionSucceeded { output } => ("SUCCEEDED", Some(output.clone()), None, None),
            Event::ExecutionFailed { error, cause } => ("FAILED", None, error.clone(), cause.clone()),
            // Only the event names its error.
            Event::ExecutionTimedOut { cause, .. } => ("TIMED_OUT", None, None, cause.clone()),
            _ => return,
        };
        inner.children.remove(&child.arn);
        let end = End {
            status,
            stopped: moment,
            output,
            error,
            cause,
        };
        inner
            .writes
            .push(Write::ChildEnded(child.arn.clone(), Box::new(end)));
        inner.over.push(child.arn.clone());
    }

    fn child_stop(&self, map_run_arn: &str, child: &sfn_local::Execution) -> BoxFuture<'_, Why> {
        let mut inner = self.lock();
        if inner.express.get(map_run_arn).copied().unwrap_or(false) {
            return Box::pin(pending());
        }
        self.can_be_stopped(&mut inner, map_run_arn, &child.arn);
        let Some((_, control)) = inner.controls.get(&child.arn).cloned() else {
            return Box::pin(pending());
        };
        Box::pin(async move { control.stopped().await })
    }

    fn child_aborted(
        &self,
        _map_run_arn: &str,
        child: &sfn_local::Execution,
        error: Option<&str>,
        cause: Option<&str>,
    ) {
        let mut inner = self.lock();
        inner.children.remove(&child.arn);
        let why = (error.map(str::to_owned), cause.map(str::to_owned));
        let now = self.states.clock.now();
        inner
            .writes
            .push(Write::ChildStopped(child.arn.clone(), now, why));
        inner.over.push(child.arn.clone());
    }

    fn call_ended(&self, execution_arn: &str, number: u64) {
        let mut inner = self.lock();
        if inner.waiting.is_empty() {
            return;
        }
        if let Some(told) = inner.waiting.remove(&(execution_arn.to_owned(), number)) {
            inner.told.push(told);
        }
    }

    fn map_run(&self, execution_arn: &str, status: &MapRunStatus) {
        let mut inner = self.lock();
        if inner.closed {
            return;
        }
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
            written: status.written,
            pending_redrive: status.pending_redrive,
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
            redrives: 0,
            redriven: None,
            counts: Counts::default(),
            items: 0,
            updated: false,
        });
        run.status.clone_from(&status.status);
        run.counts = counts;
        run.items = status.items;
        run.redrives = status.redrives;
        run.redriven = status.redriven_at.map(seconds_of);
        // They may have been changed since the status was made.
        let changed = self.settings(arn);
        let settings = changed.unwrap_or(status.settings);
        run.updated = changed.is_some();
        run.max_concurrency = settings.max_concurrency;
        run.tolerated_failure_count = settings.tolerated_failure_count.unwrap_or(0);
        run.tolerated_failure_percentage = settings.tolerated_failure_percentage.unwrap_or(0.0);
        if status.status == RUNNING {
            // Counts are written once in a turn.
            let run = run.clone();
            inner.counted.insert(arn.clone(), run);
            return;
        }
        run.stopped = Some(self.states.now());
        let run = run.clone();
        inner.runs_over.push(arn.clone());
        inner.counted.remove(arn);
        inner.writes.push(Write::MapRun(Box::new(run)));
        // Nobody drives the children that have not ended any more.
        inner.children.retain(|_, run| run != arn);
        let of_run = |(child, (run, _)): (&String, &(String, _))| (run == arn).then(|| child.clone());
        let children: Vec<String> = inner.controls.iter().filter_map(of_run).collect();
        inner.over.extend(children);
        let now = self.states.clock.now();
        inner.writes.push(Write::ChildrenOver(arn.clone(), now));
        if status.status == "SUCCEEDED" {
            // Nothing of it is done again.
            inner.writes.push(Write::ForgetExpress(arn.clone()));
        }
    }

    fn child_history(
        &self,
        map_run_arn: &str,
        child: &sfn_local::Execution,
    ) -> BoxFuture<'_, io::Result<Vec<HistoryEvent>>> {
        if !self.again {
            return Box::pin(ready(Ok(Vec::new())));
        }
        let express = self.lock().express.get(map_run_arn).copied().unwrap_or(false);
        let (map_run_arn, arn) = (map_run_arn.to_owned(), child.arn.clone());
        Box::pin(async move {
            let journal = &self.states.journal;
            let read = || {
                let history = if express {
                    journal.express_child(&map_run_arn, &arn)
                } else {
                    journal
                        .row(&arn)
                        .and_then(|id| id.map_or_else(|| Ok(Vec::new()), |id| journal.history(id)))
                };
                match history {
                    Err(error) if not_understood(&error) => Ok(Err(error)),
                    other => other.map(Ok),
                }
            };
            match self.states.insist(&arn, &self.control, read).await {
                Some(history) => history,
                // The server stops, and with it the execution.
                None => pending().await,
            }
        })
    }

    fn children_to_redrive(
        &self,
        map_run_arn: &str,
        redrives: u64,
    ) -> BoxFuture<'_, io::Result<HashMap<String, String>>> {
        let arn = map_run_arn.to_owned();
        Box::pin(async move {
            let now = self.states.now();
            let read = || self.states.journal.children_to_redrive(&arn, redrives, now);
            match self.states.insist(&self.execution.arn, &self.control, read).await {
                Some(children) => Ok(children),
                // The server stops, and with it the execution.
                None => pending().await,
            }
        })
    }

    fn refuses_states(&self) -> Option<TaskFailure> {
        if !self.control.deleted.load(Ordering::Relaxed) {
            return None;
        }
        let machine = self.execution.machine_arn.rsplit(':').next().unwrap_or_default();
        let cause = format!("State machine {machine} has been deleted.");
        Some(TaskFailure::new("States.Runtime", cause))
    }

    fn settings(&self, map_run_arn: &str) -> Option<MapRunSettings> {
        self.states.map_run_settings().get(map_run_arn).copied()
    }

    fn settings_changed(&self, _map_run_arn: &str) -> BoxFuture<'_, ()> {
        // It is known from its creation on, before it is polled.
        Box::pin(self.states.map_runs_updated.notified())
    }
}

/// Whether what was read is damaged: to read it again is no use.
fn not_understood(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
    )
}
