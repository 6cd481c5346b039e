//! Driving engines: tasks are called, time is waited for, map runs are run.

mod items;
mod map_run;
mod writer;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::StreamExt;
use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use futures::future::{BoxFuture, FutureExt, poll_fn};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use sfn_builder::StateMachine;
use sfn_builder::checked::Machine;

use crate::clock::Clock;
use crate::engine::{Command, Engine, Progress, Signal, TaskId};
use crate::execution::{Execution, Outcome};
use crate::handler::{TaskCall, TaskFailure, TaskHandler};
use crate::history::HistoryEvent;
use crate::support::check_supported;

/// How many steps are made before others get their turn.
const STEPS: usize = 64;

/// Where an execution's events go, as they happen.
pub type Record<'r> = dyn FnMut(&HistoryEvent) + Send + 'r;

/// Told of the executions and map runs that a distributed Map state starts.
pub trait Observer: Send + Sync {
    /// An event of a child execution; its first is `ExecutionStarted`.
    fn child_event(&self, map_run_arn: &str, child: &Execution, event: &HistoryEvent) {
        let _ = (map_run_arn, child, event);
    }

    /// The counts of a map run have changed.
    fn map_run(&self, execution_arn: &str, status: &MapRunStatus) {
        let _ = (execution_arn, status);
    }

    /// What a child execution has done before, when its map run goes on: it is resumed from there, or redriven when the map
    /// run was redriven after the child had failed and the child [waits for that](Self::children_to_redrive). Nothing, when it is to begin. Of a child of type `EXPRESS` the first and
    /// the last event are enough; without the last it begins anew. After an error the map run fails: nothing is known of what
    /// its child has done.
    fn child_history(
        &self,
        map_run_arn: &str,
        child: &Execution,
    ) -> BoxFuture<'_, io::Result<Vec<HistoryEvent>>> {
        let _ = (map_run_arn, child);
        std::future::ready(Ok(Vec::new())).boxed()
    }

    /// The child executions that wait to be redriven with their map run, which was redriven so often by now: by ARN the status with
    /// which each has ended before, `FAILED`, `TIMED_OUT` or `ABORTED`. Others that have ended stay what they are, and count as such. After
    /// an error the map run fails.
    fn children_to_redrive(
        &self,
        map_run_arn: &str,
        redrives: u64,
    ) -> BoxFuture<'_, io::Result<HashMap<String, String>>> {
        let _ = (map_run_arn, redrives);
        std::future::ready(Ok(HashMap::new())).boxed()
    }

    /// Until somebody stops this child execution: the error and cause that were given. Its map run goes on.
    fn child_stop(
        &self,
        map_run_arn: &str,
        child: &Execution,
    ) -> BoxFuture<'_, (Option<String>, Option<String>)> {
        let _ = (map_run_arn, child);
        std::future::pending().boxed()
    }

    /// A child execution was stopped: [`abort`](crate::abort) makes the events that close its history.
    fn child_aborted(&self, map_run_arn: &str, child: &Execution, error: Option<&str>, cause: Option<&str>) {
        let _ = (map_run_arn, child, error, cause);
    }

    /// What has become of a call is in the history: of the execution of that ARN, the one with that
    /// [number](TaskCall::number).
    fn call_ended(&self, execution_arn: &str, number: u64) {
        let _ = (execution_arn, number);
    }

    /// Why nothing enters another state: the execution, or child execution, that comes to one fails in this way.
    fn refuses_states(&self) -> Option<TaskFailure> {
        None
    }

    /// What a map run has to keep to from now on, when that has been changed since it began. It is asked for before a child
    /// execution is started, after one has ended, and when the settings [have changed](Self::settings_changed).
    fn settings(&self, map_run_arn: &str) -> Option<MapRunSettings> {
        let _ = map_run_arn;
        None
    }

    /// Until [`settings`](Self::settings) of a map run may say something else than when this was called.
    fn settings_changed(&self, map_run_arn: &str) -> BoxFuture<'_, ()> {
        let _ = map_run_arn;
        std::future::pending().boxed()
    }
}

/// What a map run has to keep to.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct MapRunSettings {
    /// How many child executions run at once at most; 0: as many as can be.
    pub max_concurrency: u64,
    /// How many child executions, or items in batches, may fail.
    pub tolerated_failure_count: Option<u64>,
    /// Which percentage of them may fail, 0 to 100.
    pub tolerated_failure_percentage: Option<f64>,
}

/// How far a map run is.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct MapRunStatus {
    /// Its ARN.
    pub map_run_arn: String,
    /// `RUNNING`, `SUCCEEDED`, `FAILED`, or `ABORTED` when nobody waits for it any more.
    pub status: String,
    /// Child executions, all.
    pub total: u64,
    /// Those that have not begun.
    pub pending: u64,
    /// Those that have not ended well before, and wait to be redriven.
    pub pending_redrive: u64,
    /// Those that run.
    pub running: u64,
    /// Those that have ended well.
    pub succeeded: u64,
    /// Those that have failed.
    pub failed: u64,
    /// Those that have timed out.
    pub timed_out: u64,
    /// Those that were stopped.
    pub aborted: u64,
    /// Those whose results the `ResultWriter` has written.
    pub written: u64,
    /// Items, which are more than executions when they come in batches.
    pub items: u64,
    /// Child executions of type `EXPRESS`, which have no history of their own.
    pub express: bool,
    /// How often it was redriven.
    pub redrives: u64,
    /// When it was last redriven.
    pub redriven_at: Option<Timestamp>,
    /// What it keeps to.
    pub settings: MapRunSettings,
}

/// Nobody is told.
struct Unobserved;

impl Observer for Unobserved {}

/// What executions run with.
#[derive(Clone, Copy)]
pub struct Runner<'a> {
    handler: &'a dyn TaskHandler,
    clock: &'a dyn Clock,
    observer: &'a dyn Observer,
    wait_scale: f64,
}

impl<'a> Runner<'a> {
    /// A runner whose tasks are done by this handler, in the time of this clock.
    #[must_use]
    pub fn new(handler: &'a dyn TaskHandler, clock: &'a dyn Clock) -> Self {
        Self {
            handler,
            clock,
            observer: &Unobserved,
            wait_scale: 1.0,
        }
    }

    /// Sets who is told of child executions and map runs.
    #[must_use]
    pub fn with_observer(mut self, observer: &'a dyn Observer) -> Self {
        self.observer = observer;
        self
    }

    /// Scales what Wait states wait: `WAIT_TIME_SCALE` of the service's local version. The default is 1.
    #[must_use]
    pub fn with_wait_scale(mut self, scale: f64) -> Self {
        self.wait_scale = scale;
        self
    }

    /// Runs a machine to its end; see [`run`](crate::run()).
    pub async fn run(
        &self,
        machine: &StateMachine,
        execution: &Execution,
        record: &mut Record<'_>,
    ) -> Outcome {
        if let Some(outcome) = self.refuse(machine, execution, record) {
            return outcome;
        }
        let mut engine = self.engine(machine, execution);
        engine.start(self.clock.now());
        self.drive(&mut engine, Vec::new(), record).await
    }

    /// Runs an execution on from where its history ends. `record` gets the events that follow.
    ///
    /// What has ended is not done again; a task that was under way is called again.
    ///
    /// # Errors
    ///
    /// The history is another machine's, or was closed by an abort.
    pub async fn resume(
        &self,
        machine: &StateMachine,
        execution: &Execution,
        history: Vec<HistoryEvent>,
        record: &mut Record<'_>,
    ) -> Result<Outcome, crate::engine::ResumeError> {
        if history.is_empty() {
            return Ok(self.run(machine, execution, record).await);
        }
        let mut engine = Engine::resume(machine, execution, history)?.with_wait_scale(self.wait_scale);
        let left = engine.take_commands();
        Ok(self.drive(&mut engine, left, record).await)
    }

    /// Runs an execution that has failed, timed out or was aborted on from the states that have not ended well. `record` gets the events
    /// that follow; `None` when the history is not that of such an execution.
    ///
    /// # Errors
    ///
    /// The history is another machine's.
    pub async fn redrive(
        &self,
        machine: &StateMachine,
        execution: &Execution,
        history: Vec<HistoryEvent>,
        record: &mut Record<'_>,
    ) -> Result<Option<Outcome>, crate::engine::ResumeError> {
        let mut engine = Engine::replay(machine, execution, history)?.with_wait_scale(self.wait_scale);
        let left = engine.take_commands();
        if !engine.redrive(self.clock.now()) {
            return Ok(None);
        }
        Ok(Some(self.drive(&mut engine, left, record).await))
    }

    fn engine<'m>(&self, machine: &'m Machine, execution: &'m Execution) -> Engine<'m> {
        Engine::new(machine, execution).with_wait_scale(self.wait_scale)
    }

    /// Ends at once what cannot be run.
    fn refuse(
        &self,
        machine: &StateMachine,
        execution: &Execution,
        record: &mut Record<'_>,
    ) -> Option<Outcome> {
        let unsupported = check_supported(machine).err()?;
        let mut engine = Engine::new(machine, execution);
        engine.start(self.clock.now());
        engine.refuse(unsupported.to_string());
        engine.take_events().iter().for_each(record);
        engine.into_outcome()
    }

    /// Drives an engine to its end, from what was left under way.
    async fn drive<'m>(
        &self,
        engine: &mut Engine<'m>,
        left: Vec<Command<'m>>,
        record: &mut Record<'_>,
    ) -> Outcome {
        let mut work = Work::new(*self);
        work.obey(left, true);
        loop {
            if let Some(failure) = self.observer.refuses_states() {
                engine.refuse_states(failure);
            }
            let told = work.tell(engine);
            let now = self.clock.now();
            let progress = if told || work.has_signals() {
                engine.drain(now, STEPS)
            } else {
                engine.advance(now, STEPS)
            };
            engine.take_events().iter().for_each(&mut *record);
            if let Some(TaskId(number)) = work.told.take() {
                self.observer.call_ended(engine.execution_arn(), number);
            }
            work.obey(engine.take_commands(), false);
            match progress {
                Progress::Ready => {
                    work.busy = true;
                    yield_now().await;
                }
                Progress::Blocked if told || work.has_signals() => work.busy = false,
                Progress::Blocked => {
                    work.busy = false;
                    work.wait(engine.deadline()).await;
                }
                Progress::Ended => break,
            }
        }
        engine.outcome().cloned().unwrap_or(Outcome::Failed {
            error: None,
            cause: None,
        })
    }
}

/// A task, or a map run, under way.
struct Flight<'f> {
    task: TaskId,
    future: BoxFuture<'f, Signal>,
}

/// What is under way outside of one engine.
struct Work<'a, 'm> {
    runner: Runner<'a>,
    flights: Vec<Flight<'m>>,
    signals: VecDeque<Signal>,
    /// Made when the first task is called.
    reports: Option<(UnboundedSender<Signal>, UnboundedReceiver<Signal>)>,
    sleep: Option<(Timestamp, BoxFuture<'static, ()>)>,
    /// What came of the last signal is not drained yet.
    busy: bool,
    /// The call whose end the engine was told last.
    told: Option<TaskId>,
}

impl<'a: 'm, 'm> Work<'a, 'm> {
    fn new(runner: Runner<'a>) -> Self {
        Self {
            runner,
            flights: Vec::new(),
            signals: VecDeque::new(),
            reports: None,
            sleep: None,
            busy: false,
            told: None,
        }
    }

    fn has_signals(&self) -> bool {
        !self.signals.is_empty()
    }

    /// Tells the engine the next signal, once it has drained the one before.
    fn tell(&mut self, engine: &mut Engine<'_>) -> bool {
        if self.busy {
            return false;
        }
        let Some(signal) = self.signals.pop_front() else {
            return false;
        };
        if let Signal::Ended { task, .. } = &signal {
            self.told = Some(*task);
        }
        engine.signal(self.runner.clock.now(), signal);
        true
    }

    fn obey(&mut self, commands: Vec<Command<'m>>, resumed: bool) {
        for command in commands {
            match command {
                Command::Call { task, request } => {
                    let (sender, _) = self.reports.get_or_insert_with(unbounded);
                    let mut call = TaskCall::new(*request, task, sender);
                    call.resumed = resumed;
                    let working = self.runner.handler.call(call);
                    let future = working.map(move |result| Signal::Ended { task, result }).boxed();
                    self.flights.push(Flight { task, future });
                }
                Command::MapRun { task, run } => {
                    let runner = self.runner;
                    let future = async move {
                        let result: Result<Value, TaskFailure> = runner.run_map(*run).await;
                        Signal::MapRunEnded { task, result }
                    };
                    self.flights.push(Flight {
                        task,
                        future: future.boxed(),
                    });
                }
                Command::Cancel { task } => self.flights.retain(|flight| flight.task != task),
            }
        }
    }

    /// Until something has happened, or the deadline.
    async fn wait(&mut self, deadline: Option<Timestamp>) {
        match deadline {
            Some(deadline) => {
                if self.sleep.as_ref().is_none_or(|(until, _)| *until != deadline) {
                    let duration = deadline.duration_since(self.runner.clock.now());
                    let duration = duration.max(SignedDuration::ZERO).unsigned_abs();
                    self.sleep = Some((deadline, self.runner.clock.sleep(duration)));
                }
            }
            None => self.sleep = None,
        }
        poll_fn(|context| self.poll(context)).await;
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut ended = Vec::new();
        self.flights
            .retain_mut(|flight| match Pin::new(&mut flight.future).poll(context) {
                Poll::Ready(signal) => {
                    ended.push(signal);
                    false
                }
                Poll::Pending => true,
            });
        // What a handler has just reported comes before what it has just returned.
        if let Some((_, reports)) = &mut self.reports {
            while let Poll::Ready(Some(signal)) = reports.poll_next_unpin(context) {
                self.signals.push_back(signal);
            }
        }
        self.signals.extend(ended);
        if !self.signals.is_empty() {
            return Poll::Ready(());
        }
        if let Some((_, sleep)) = &mut self.sleep
            && sleep.poll_unpin(context).is_ready()
        {
            self.sleep = None;
            return Poll::Ready(());
        }
        Poll::Pending
    }
}

/// Runs a machine to its end.
///
/// Every event is handed to `history` as it happens; the last one says the same as the outcome. Dropping the future
/// stops the execution; [`abort`](crate::abort) then makes the events that close its history.
///
/// A machine that [`check_supported`] refuses fails at once, before its first state.
///
/// With the same machine, execution (seed included), answers of the handler and clock, everything happens again in the
/// same way. [`Runner`] has more ways to run: observed, resumed, redriven.
pub async fn run(
    machine: &StateMachine,
    execution: &Execution,
    handler: &dyn TaskHandler,
    clock: &dyn Clock,
    history: &mut (dyn FnMut(&HistoryEvent) + Send),
) -> Outcome {
    Runner::new(handler, clock).run(machine, execution, history).await
}

/// Lets others run.
async fn yield_now() {
    let mut yielded = false;
    poll_fn(|context| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
