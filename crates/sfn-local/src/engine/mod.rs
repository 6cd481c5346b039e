//! The interpreter itself: a state machine that is told what happens outside, and says what is to be done there.
//!
//! An [`Engine`] does no I/O, knows no clock and does not wait. It is [started](Engine::start), [advanced](Engine::advance)
//! until it is blocked, and told by [signals](Signal) what became of the [commands](Command) that it gave. Whatever it
//! decides becomes an event of the history before it has any effect. So the history is the execution:
//! [`Engine::resume`] makes the same engine again out of a history that ends anywhere.
//!
//! [`run`](crate::run()) drives an engine with a handler and a clock.

mod failure;
mod fan;
mod fields;
mod map_run;
mod replay;
mod state;
mod task;
mod thread;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use sfn_builder::checked::{Machine, Retrier, State};

pub(crate) use self::failure::Failure;
use self::failure::matches;
pub(crate) use self::fan::members_of;
pub use self::map_run::MapRun;
pub use self::replay::ResumeError;
use self::thread::{Next, Status, Thread};
use crate::data::context::{Context, Item};
use crate::data::{Compute, Parsed, Random, Scope};
use crate::execution::{Execution, Outcome};
use crate::handler::{TaskFailure, TaskRequest};
use crate::history::{Event, HistoryEvent, StateType};

/// The service's quota of events in one history.
pub(crate) const MAX_EVENTS: u64 = 25_000;

/// Which task, or which map run, of an execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaskId(pub(crate) u64);

/// What has happened outside.
#[derive(Debug)]
#[non_exhaustive]
pub enum Signal {
    /// A worker has taken an activity's task.
    Started {
        /// Which.
        task: TaskId,
        /// The worker's name, if it gave one.
        worker: Option<String>,
    },
    /// A job was made, or a task token handed on.
    Submitted {
        /// Which.
        task: TaskId,
        /// The answer of the call.
        output: Value,
    },
    /// A task says that it is still at work.
    Heartbeat {
        /// Which.
        task: TaskId,
    },
    /// A task has ended.
    Ended {
        /// Which.
        task: TaskId,
        /// How.
        result: Result<Value, TaskFailure>,
    },
    /// A map run has ended.
    MapRunEnded {
        /// Which.
        task: TaskId,
        /// The Map state's result, or why it failed.
        result: Result<Value, TaskFailure>,
    },
}

/// What is to be done outside.
#[derive(Debug)]
#[non_exhaustive]
pub enum Command<'m> {
    /// Call a task's resource.
    Call {
        /// Which.
        task: TaskId,
        /// The call.
        request: Box<TaskRequest>,
    },
    /// Run the items of a distributed Map state.
    MapRun {
        /// Which.
        task: TaskId,
        /// The run.
        run: Box<MapRun<'m>>,
    },
    /// Nobody waits for a task or a map run any more.
    Cancel {
        /// Which.
        task: TaskId,
    },
}

/// What an engine can do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Go on at once.
    Ready,
    /// Nothing before its [deadline](Engine::deadline) or the next signal.
    Blocked,
    /// Nothing: the execution is over.
    Ended,
}

type ThreadId = usize;
type TimerKey = (Timestamp, u64);

#[derive(Debug, Clone, Copy)]
struct Timer {
    thread: ThreadId,
    kind: TimerKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TimerKind {
    /// A Wait state is over.
    Wait,
    /// It is time for the next attempt.
    Retry,
    /// A task has taken too long.
    Timeout,
    /// A task has been silent for too long.
    Heartbeat,
}

/// One execution.
pub struct Engine<'m> {
    machine: &'m Machine,
    execution: &'m Execution,
    now: Timestamp,
    started: Timestamp,
    redrives: u64,
    last_id: u64,
    threads: Vec<Option<Box<Thread<'m>>>>,
    free: Vec<ThreadId>,
    ready: VecDeque<ThreadId>,
    timers: BTreeMap<TimerKey, Timer>,
    next_timer: u64,
    timeout: Option<Timestamp>,
    /// Whose task each is.
    flights: HashMap<TaskId, ThreadId>,
    next_task: u64,
    compute: Compute,
    commands: Vec<Command<'m>>,
    events: Vec<HistoryEvent>,
    /// What is to be repeated before anything new happens.
    recorded: VecDeque<HistoryEvent>,
    /// The event at which the history turned out to be another machine's.
    mismatch: Option<u64>,
    outcome: Option<Outcome>,
    /// The event with which it was stopped.
    aborted: Option<u64>,
    wait_scale: f64,
    /// Why no other state is entered.
    refused: Option<TaskFailure>,
}

/// The first thread, that of the machine itself.
const ROOT: ThreadId = 0;

impl<'m> Engine<'m> {
    /// An execution that has not begun. The machine is a whole one, or the item processor of a distributed Map state.
    #[must_use]
    pub fn new(machine: &'m Machine, execution: &'m Execution) -> Self {
        Self {
            machine,
            execution,
            now: Timestamp::UNIX_EPOCH,
            started: Timestamp::UNIX_EPOCH,
            redrives: 0,
            last_id: 0,
            threads: Vec::new(),
            free: Vec::new(),
            ready: VecDeque::new(),
            timers: BTreeMap::new(),
            next_timer: 0,
            timeout: None,
            flights: HashMap::new(),
            next_task: 0,
            compute: Compute {
                random: Random::new(execution.seed),
                now: Timestamp::UNIX_EPOCH,
                parsed: Parsed::default(),
            },
            commands: Vec::new(),
            events: Vec::new(),
            recorded: VecDeque::new(),
            mismatch: None,
            outcome: None,
            aborted: None,
            wait_scale: 1.0,
            refused: None,
        }
    }

    /// Scales what Wait states wait, as `WAIT_TIME_SCALE` of the service's local version does: 0.01 makes an hour 36 seconds.
    /// 1 is the default; what is not a positive number counts as 0.
    #[must_use]
    pub fn with_wait_scale(mut self, scale: f64) -> Self {
        self.wait_scale = if scale.is_finite() { scale.max(0.0) } else { 0.0 };
        self
    }

    /// From now on no state is entered: a chain that comes to one ends the execution, which fails in this way.
    pub fn refuse_states(&mut self, failure: TaskFailure) {
        self.refused = Some(failure);
    }

    /// Begins.
    pub fn start(&mut self, now: Timestamp) {
        self.set_now(now);
        let input = self
            .execution
            .input_text
            .clone()
            .unwrap_or_else(|| self.execution.input.to_string());
        let mut previous = 0;
        self.emit(
            &mut previous,
            Event::ExecutionStarted {
                input,
                role_arn: self.execution.role_arn.clone(),
            },
        );
        self.started = self.now;
        self.set_timeout();
        // The first state's entry has no predecessor: the service does not count `ExecutionStarted`.
        let thread = Thread::new(self.machine, None, 0, 0, self.execution.input.clone());
        self.spawn(thread);
    }

    fn set_timeout(&mut self) {
        let seconds = self.machine.timeout_seconds;
        self.timeout = seconds.map(|seconds| later(self.now, Duration::from_secs(seconds)));
    }

    /// Goes on for at most so many steps, with what is due by now. A step is a state that is entered, or a moment that
    /// something has waited for.
    pub fn advance(&mut self, now: Timestamp, steps: usize) -> Progress {
        self.proceed(now, steps, true)
    }

    /// Goes on with what needs no waiting, as [`advance`](Self::advance) does: what comes of a signal is to be drained
    /// before the next signal is told.
    pub fn drain(&mut self, now: Timestamp, steps: usize) -> Progress {
        self.proceed(now, steps, false)
    }

    fn proceed(&mut self, now: Timestamp, steps: usize, timers: bool) -> Progress {
        self.set_now(now);
        for _ in 0..steps {
            if self.outcome.is_some() {
                return Progress::Ended;
            }
            if let Some(thread) = self.ready.pop_front() {
                self.step(thread);
            } else if !timers {
                return Progress::Blocked;
            } else if let Some(entry) = self.timers.first_entry().filter(|entry| entry.key().0 <= now) {
                let timer = entry.remove();
                self.fire(timer);
            } else if self.timeout.is_some_and(|timeout| timeout <= now) {
                self.finish(Outcome::TimedOut {
                    error: None,
                    cause: None,
                });
            } else {
                return Progress::Blocked;
            }
            self.keep_quota();
        }
        if self.outcome.is_some() {
            Progress::Ended
        } else {
            Progress::Ready
        }
    }

    /// Tells what has happened outside. What is not waited for any more is ignored.
    pub fn signal(&mut self, now: Timestamp, signal: Signal) {
        self.set_now(now);
        if self.outcome.is_some() {
            return;
        }
        match signal {
            Signal::Started { task, worker } => self.task_started(task, worker),
            Signal::Submitted { task, output } => self.task_submitted(task, &output),
            Signal::Heartbeat { task } => self.task_heartbeat(task),
            Signal::Ended { task, result } => self.task_ended(task, result),
            Signal::MapRunEnded { task, result } => self.map_run_ended(task, result),
        }
        self.keep_quota();
    }

    /// When it has to be advanced again, if no signal comes before.
    #[must_use]
    pub fn deadline(&self) -> Option<Timestamp> {
        let timer = self.timers.first_key_value().map(|(key, _)| key.0);
        match (timer, self.timeout) {
            (Some(timer), Some(timeout)) => Some(timer.min(timeout)),
            (timer, timeout) => timer.or(timeout),
        }
    }

    /// What is to be done outside, since this was last asked.
    pub fn take_commands(&mut self) -> Vec<Command<'m>> {
        std::mem::take(&mut self.commands)
    }

    /// What was added to the history, since this was last asked.
    pub fn take_events(&mut self) -> Vec<HistoryEvent> {
        std::mem::take(&mut self.events)
    }

    /// How it ended.
    #[must_use]
    pub fn outcome(&self) -> Option<&Outcome> {
        self.outcome.as_ref()
    }

    pub(crate) fn execution_arn(&self) -> &str {
        &self.execution.arn
    }

    /// Whether its history was closed by a stop.
    pub(crate) fn is_aborted(&self) -> bool {
        self.aborted.is_some()
    }

    /// Ends what cannot be run.
    pub(crate) fn refuse(&mut self, cause: String) {
        self.finish(Outcome::Failed {
            error: Some("States.Runtime".into()),
            cause: Some(cause),
        });
    }

    pub(crate) fn into_outcome(self) -> Option<Outcome> {
        self.outcome
    }

    fn set_now(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
        self.compute.now = self.now;
    }

    /// Writes an event that follows the event `previous`, and becomes it.
    fn emit(&mut self, previous: &mut u64, event: Event) -> u64 {
        let id = self.write(*previous, event);
        *previous = id;
        id
    }

    /// Writes an event that the next one of its chain does not follow.
    fn emit_beside(&mut self, previous: u64, event: Event) -> u64 {
        self.write(previous, event)
    }

    fn write(&mut self, previous: u64, event: Event) -> u64 {
        if self.last_id + 1 >= MAX_EVENTS && !event.is_final() {
            // `keep_quota` ends the execution before anything else happens.
            self.last_id = MAX_EVENTS - 1;
            return self.last_id;
        }
        let id = self.last_id + 1;
        self.last_id = id;
        if let Some(recorded) = self.recorded.pop_front() {
            if recorded.id != id || recorded.event.type_name() != event.type_name() {
                self.mismatch.get_or_insert(id);
            }
            self.set_now(recorded.timestamp);
            return id;
        }
        self.events.push(HistoryEvent {
            id,
            previous_event_id: previous,
            timestamp: self.now,
            event,
        });
        id
    }

    fn keep_quota(&mut self) {
        if self.last_id + 1 >= MAX_EVENTS && self.outcome.is_none() {
            let cause = format!("The execution reached the maximum number of history events ({MAX_EVENTS}).");
            self.finish(Outcome::Failed {
                error: Some("States.Runtime".into()),
                cause: Some(cause),
            });
        }
    }

    fn finish(&mut self, outcome: Outcome) {
        let event = match outcome.clone() {
            Outcome::Succeeded { output } => Event::ExecutionSucceeded {
                output: output.to_string(),
            },
            Outcome::Failed { error, cause } => Event::ExecutionFailed { error, cause },
            // The event alone names the error, and follows no other: so recordings show it.
            Outcome::TimedOut { error, cause } => Event::ExecutionTimedOut {
                error: error.or_else(|| Some("States.Timeout".to_owned())),
                cause,
            },
            Outcome::Aborted { error, cause } => Event::ExecutionAborted { error, cause },
        };
        let mut previous = match &outcome {
            Outcome::TimedOut { .. } => 0,
            _ => self
                .threads
                .get(ROOT)
                .and_then(Option::as_ref)
                .map_or(0, |root| root.previous),
        };
        self.emit(&mut previous, event);
        self.stand_still(previous);
        self.outcome = Some(outcome);
    }

    /// Stops all that is under way; a redrive would go on after the event `last`.
    fn stand_still(&mut self, last: u64) {
        if let Some(root) = self.threads.get_mut(ROOT).and_then(Option::as_mut) {
            root.previous = last;
        }
        let mut tasks: Vec<TaskId> = self.flights.drain().map(|(task, _)| task).collect();
        tasks.sort_unstable();
        self.commands
            .extend(tasks.into_iter().map(|task| Command::Cancel { task }));
        self.timers.clear();
        self.timeout = None;
        self.ready.clear();
    }

    fn spawn(&mut self, thread: Thread<'m>) -> ThreadId {
        let id = self.free.pop().unwrap_or_else(|| {
            self.threads.push(None);
            self.threads.len() - 1
        });
        self.threads[id] = Some(Box::new(thread));
        self.ready.push_back(id);
        id
    }

    /// Lets a thread go on with the next step.
    fn wake(&mut self, id: ThreadId, thread: &mut Thread<'m>, next: Next<'m>) {
        thread.status = Status::Ready(next);
        self.ready.push_back(id);
    }

    fn set_timer(&mut self, thread: ThreadId, kind: TimerKind, at: Timestamp) -> TimerKey {
        let key = (at, self.next_timer);
        self.next_timer += 1;
        self.timers.insert(key, Timer { thread, kind });
        key
    }

    fn step(&mut self, id: ThreadId) {
        let comes_to_a_state = self
            .threads
            .get(id)
            .and_then(Option::as_ref)
            .is_some_and(|thread| matches!(thread.status, Status::Ready(Next::Start | Next::Enter(_))));
        if comes_to_a_state && let Some(TaskFailure { error, cause }) = self.refusal() {
            return self.finish(Outcome::Failed {
                error: Some(error),
                cause: Some(cause),
            });
        }
        // The thread stands outside of the table while it works; nothing else is interested in it meanwhile.
        let Some(mut thread) = self.threads.get_mut(id).and_then(Option::take) else {
            return;
        };
        match std::mem::take(&mut thread.status) {
            Status::Ready(Next::Start) => self.begin(id, &mut thread),
            Status::Ready(Next::Enter(state)) => self.enter(id, &mut thread, state),
            Status::Ready(Next::Attempt) => self.attempt(id, &mut thread),
            // It was stopped meanwhile.
            other => thread.status = other,
        }
        self.put_back(id, thread);
    }

    /// Why no state is entered. In a history this is told by what comes instead.
    fn refusal(&self) -> Option<TaskFailure> {
        match self.recorded.front().map(|event| &event.event) {
            None => self.refused.clone(),
            Some(Event::ExecutionFailed { error, cause }) => Some(TaskFailure::new(
                error.clone().unwrap_or_default(),
                cause.clone().unwrap_or_default(),
            )),
            Some(_) => None,
        }
    }

    fn put_back(&mut self, id: ThreadId, thread: Box<Thread<'m>>) {
        if let Some(slot) = self.threads.get_mut(id) {
            *slot = Some(thread);
        }
        // A chain that has ended tells the state around it, now that the table is whole.
        self.settle(id);
    }

    fn fire(&mut self, timer: Timer) {
        let id = timer.thread;
        let Some(mut thread) = self.threads.get_mut(id).and_then(Option::take) else {
            return;
        };
        match timer.kind {
            TimerKind::Wait => self.waited(id, &mut thread),
            TimerKind::Retry => {
                thread.retry_count += 1;
                self.attempt(id, &mut thread);
            }
            TimerKind::Timeout | TimerKind::Heartbeat => {
                self.task_timed_out(id, &mut thread, timer.kind == TimerKind::Heartbeat);
            }
        }
        self.put_back(id, thread);
    }

    /// A state has failed: it is tried again, or caught, or its chain has failed.
    fn fail(&mut self, id: ThreadId, thread: &mut Thread<'m>, failure: Failure) {
        let Some(state) = thread.state else {
            thread.status = Status::Failed(failure);
            return;
        };
        let cut_by = (!failure.is_fatal()).then_some(thread.previous);
        self.stop_children(thread, cut_by);
        if let Some(location) = &failure.evaluation {
            let event = Event::EvaluationFailed {
                state: state.name.clone(),
                location: Some(location.clone()),
                error: failure.error.clone().unwrap_or_default(),
                cause: failure.cause.clone(),
            };
            self.emit(&mut thread.previous, event);
        }
        if let Some(delay) = self.retry_delay(state, thread, &failure) {
            self.drop_children(thread);
            let at = later(self.now, delay);
            let timer = self.set_timer(id, TimerKind::Retry, at);
            thread.status = Status::Backoff(timer);
            return;
        }
        let state_type = type_of(state);
        let own_runtime_error = !failure.inner && failure.is_fatal();
        if matches!(state_type, StateType::Parallel | StateType::Map) && !own_runtime_error {
            self.emit(&mut thread.previous, Event::StateFailed { state_type });
        }
        let catcher = state
            .catch()
            .iter()
            .find(|catcher| matches(&catcher.error_equals, &failure));
        if let Some(catcher) = catcher {
            self.drop_children(thread);
            if let Err(failure) = self.caught(id, thread, state, catcher, &failure) {
                thread.status = Status::Failed(failure);
            }
            return;
        }
        thread.status = Status::Failed(failure);
    }

    /// How long to wait before the next attempt; `None` when there is none.
    fn retry_delay(&mut self, state: &State, thread: &mut Thread<'m>, failure: &Failure) -> Option<Duration> {
        let retriers: &[Retrier] = state.retry();
        let index = retriers
            .iter()
            .position(|retrier| matches(&retrier.error_equals, failure))?;
        let retrier = &retriers[index];
        thread.attempts.resize(retriers.len(), 0);
        let attempt = thread.attempts[index];
        if attempt >= retrier.max_attempts {
            return None;
        }
        thread.attempts[index] += 1;
        let exponent = i32::try_from(attempt).unwrap_or(i32::MAX);
        #[expect(clippy::cast_precision_loss, reason = "seconds are at most 99,999,999")]
        let (interval, longest) = (
            retrier.interval_seconds as f64,
            retrier.max_delay_seconds.unwrap_or(99_999_999) as f64,
        );
        // `min` also tames an infinite power, before an interval of 0 makes of it what is no number.
        let delay = (interval * retrier.backoff_rate.powi(exponent).min(longest)).min(longest);
        let delay = if retrier.full_jitter {
            delay * self.compute.random.fraction()
        } else {
            delay
        };
        // To the millisecond, as times are told.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "from 0 to 10^11"
        )]
        Some(Duration::from_millis((delay * 1000.0).round() as u64))
    }

    /// What a thread's paths and expressions can refer to.
    fn scope<'a>(&self, thread: &'a Thread<'m>, data: &'a Value) -> Scope<'a>
    where
        'm: 'a,
    {
        Scope {
            data,
            context: Context {
                execution: self.execution,
                started: self.started,
                redrive_count: self.redrives,
                state: thread.state.map_or("", |state| &state.name),
                entered: thread.entered_at,
                retry_count: thread
                    .state
                    .filter(|state| type_of(state) == StateType::Task)
                    .map(|_| thread.retry_count),
                item: thread.item.as_deref(),
                token: thread.token.as_deref(),
            },
            variables: &thread.variables,
            result: None,
            error_output: None,
        }
    }
}

fn type_of(state: &State) -> StateType {
    use sfn_builder::checked::StateKind;
    match state.kind {
        StateKind::Task(_) => StateType::Task,
        StateKind::Parallel(_) => StateType::Parallel,
        StateKind::Map(_) => StateType::Map,
        StateKind::Choice(_) => StateType::Choice,
        StateKind::Wait(_) => StateType::Wait,
        StateKind::Succeed => StateType::Succeed,
        StateKind::Fail(_) => StateType::Fail,
        // `StateKind` may grow; the checker lets nothing else through today.
        _ => StateType::Pass,
    }
}

/// `start + duration`, or the end of time.
fn later(start: Timestamp, duration: Duration) -> Timestamp {
    SignedDuration::try_from(duration)
        .ok()
        .and_then(|duration| start.checked_add(duration).ok())
        .unwrap_or(Timestamp::MAX)
}
