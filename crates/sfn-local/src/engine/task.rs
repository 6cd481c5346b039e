//! Task states.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use sfn_builder::checked::{self, Dynamic, Integration, Pattern, Resource, State};
use sfn_builder::template::Expression;
use sha2::{Digest, Sha256};

use super::failure::{limited, runtime};
use super::fields::{missing, unexpected};
use super::thread::{Status, Thread};
use super::{Command, Engine, Failure, TaskId, ThreadId, TimerKey, TimerKind, later};
use crate::handler::{TaskFailure, TaskRequest};
use crate::history::{Event, TaskDetails};

/// A task under way.
pub(super) struct Flight {
    pub(super) task: TaskId,
    /// A worker has it.
    started: bool,
    submitted: bool,
    heartbeat: Option<Duration>,
    timeout_timer: Option<TimerKey>,
    heartbeat_timer: Option<TimerKey>,
}

impl<'m> Engine<'m> {
    pub(super) fn call(
        &mut self,
        id: ThreadId,
        thread: &mut Thread<'m>,
        state: &'m State,
        task: &'m checked::Task,
    ) -> Result<(), Failure> {
        let events = Events::of(&task.resource);
        thread.token = events.has_token().then(|| self.token(thread));
        let data = match &state.data {
            checked::Data::JsonPath(data) => self.select(thread, &data.input_path, &thread.input)?,
            checked::Data::Jsonata(_) => thread.input.clone(),
        };
        let timeout = self.seconds(thread, task.timeout.as_ref(), "TimeoutSeconds", &data)?;
        let heartbeat = self.seconds(thread, task.heartbeat.as_ref(), "HeartbeatSeconds", &data)?;
        let role_arn = self.role(thread, task.role_arn.as_ref(), &data)?;
        let parameters = self.arguments(thread, &state.data)?;
        let text = limited(&parameters, &state.name)?;
        let scheduled = events.scheduled(
            self.execution.region(),
            text,
            timeout,
            heartbeat,
            role_arn.as_deref(),
        );
        self.emit(&mut thread.previous, scheduled);
        if let Some(started) = events.started() {
            self.emit(&mut thread.previous, started);
        }
        let task_id = TaskId(self.next_task);
        self.next_task += 1;
        self.flights.insert(task_id, id);
        let timeout_duration = timeout.map(Duration::from_secs);
        let heartbeat = heartbeat
            .map(Duration::from_secs)
            .filter(|_| events.has_heartbeat());
        let mut flight = Flight {
            task: task_id,
            started: false,
            submitted: false,
            heartbeat,
            timeout_timer: timeout_duration
                .map(|duration| self.set_timer(id, TimerKind::Timeout, later(self.now, duration))),
            heartbeat_timer: None,
        };
        // A worker is waited for without heartbeats.
        if !matches!(events, Events::Activity { .. }) {
            self.rearm(id, &mut flight);
        }
        thread.status = Status::Task(flight);
        self.commands.push(Command::Call {
            task: task_id,
            request: Box::new(TaskRequest {
                resource: task.resource.arn.clone(),
                parameters,
                state: state.name.clone(),
                execution_arn: self.execution.arn.clone(),
                state_machine_arn: self.execution.state_machine_arn.clone(),
                retry_count: thread.retry_count,
                timeout: timeout_duration,
                heartbeat,
                token: thread.token.clone(),
                role_arn,
            }),
        });
        Ok(())
    }

    fn rearm(&mut self, id: ThreadId, flight: &mut Flight) {
        if let Some(timer) = flight.heartbeat_timer.take() {
            self.timers.remove(&timer);
        }
        if let Some(heartbeat) = flight.heartbeat {
            flight.heartbeat_timer =
                Some(self.set_timer(id, TimerKind::Heartbeat, later(self.now, heartbeat)));
        }
    }

    /// The token of the attempt that is about to be made: the same when the execution is resumed.
    fn token(&self, thread: &Thread<'m>) -> String {
        let mut hash = Sha256::new();
        hash.update(self.execution.arn.as_bytes());
        hash.update(self.execution.seed.to_le_bytes());
        hash.update(thread.entered.to_le_bytes());
        hash.update(self.next_task.to_le_bytes());
        BASE64_STANDARD.encode(hash.finalize())
    }

    fn seconds(
        &mut self,
        thread: &Thread<'m>,
        seconds: Option<&'m Dynamic<u64>>,
        field: &str,
        input: &Value,
    ) -> Result<Option<u64>, Failure> {
        let fits = |value: &Value| {
            value
                .as_u64()
                .filter(|seconds| (1..=99_999_999).contains(seconds))
        };
        match seconds {
            None => Ok(None),
            Some(Dynamic::Fixed(seconds)) => Ok(Some(*seconds)),
            Some(Dynamic::Computed(Expression::Path(path))) => {
                let field = format!("{field}Path");
                let scope = self.scope(thread, input);
                let value = scope.get(path).map_err(|_| missing(thread, &field, path))?;
                fits(&value).map(Some).ok_or_else(|| {
                    let reason =
                        format!("The {field} parameter must be a positive integer: {path} == {value}");
                    runtime(thread, &reason)
                })
            }
            Some(Dynamic::Computed(expression)) => {
                let value = self.evaluate(thread, expression, field, input)?;
                fits(&value)
                    .map(Some)
                    .ok_or_else(|| unexpected(thread, expression, field, "number", &value))
            }
        }
    }

    fn role(
        &mut self,
        thread: &Thread<'m>,
        role: Option<&'m Dynamic<String>>,
        input: &Value,
    ) -> Result<Option<String>, Failure> {
        match role {
            None => Ok(None),
            Some(Dynamic::Fixed(role)) => Ok(Some(role.clone())),
            Some(Dynamic::Computed(expression)) => {
                let field = match expression {
                    Expression::Jsonata(_) => "Credentials/RoleArn",
                    _ => "RoleArn.$",
                };
                match self.evaluate(thread, expression, field, input)? {
                    Value::String(role) => Ok(Some(role)),
                    value => Err(unexpected(thread, expression, field, "string", &value)),
                }
            }
        }
    }

    /// The thread whose task it is, taken out of the table, with what is known of the task.
    fn flight(&mut self, task: TaskId) -> Option<(ThreadId, Box<Thread<'m>>, Events)> {
        let id = *self.flights.get(&task)?;
        let thread = self.threads.get_mut(id)?.take()?;
        let resource = match thread.state.map(|state| &state.kind) {
            Some(checked::StateKind::Task(task)) => &task.resource,
            _ => {
                self.put_back(id, thread);
                return None;
            }
        };
        Some((id, thread, Events::of(resource)))
    }

    pub(super) fn task_started(&mut self, task: TaskId, worker_name: Option<String>) {
        let Some((id, mut thread, events)) = self.flight(task) else {
            return;
        };
        if let (Events::Activity { .. }, Status::Task(flight)) = (events, &mut thread.status) {
            // After a resumption it is told again.
            if !std::mem::replace(&mut flight.started, true) {
                self.emit(&mut thread.previous, Event::ActivityStarted { worker_name });
            }
            self.beat(id, &mut thread);
        }
        self.put_back(id, thread);
    }

    pub(super) fn task_heartbeat(&mut self, task: TaskId) {
        if let Some((id, mut thread, _)) = self.flight(task) {
            self.beat(id, &mut thread);
            self.put_back(id, thread);
        }
    }

    fn beat(&mut self, id: ThreadId, thread: &mut Thread<'m>) {
        if let Status::Task(flight) = &mut thread.status {
            self.rearm(id, flight);
        }
    }

    pub(super) fn task_submitted(&mut self, task: TaskId, output: &Value) {
        let Some((id, mut thread, events)) = self.flight(task) else {
            return;
        };
        if let (Some(event), Status::Task(flight)) = (events.submitted(output), &mut thread.status)
            && !flight.submitted
        {
            flight.submitted = true;
            self.emit(&mut thread.previous, event);
        }
        self.put_back(id, thread);
    }

    /// Takes a task off its thread; what it may still tell is not heard.
    fn land(&mut self, thread: &mut Thread<'m>) -> Option<Flight> {
        match std::mem::take(&mut thread.status) {
            Status::Task(flight) => {
                self.flights.remove(&flight.task);
                for timer in [flight.timeout_timer, flight.heartbeat_timer]
                    .into_iter()
                    .flatten()
                {
                    self.timers.remove(&timer);
                }
                Some(flight)
            }
            status => {
                thread.status = status;
                None
            }
        }
    }

    pub(super) fn task_ended(&mut self, task: TaskId, result: Result<Value, TaskFailure>) {
        let Some((id, mut thread, events)) = self.flight(task) else {
            return;
        };
        if let Some(flight) = self.land(&mut thread) {
            let result = result.map_err(Failure::from).and_then(|value| {
                let text = limited(&value, events.name())?;
                Ok((value, text))
            });
            let done = match result {
                Ok((value, text)) => {
                    self.emit(&mut thread.previous, events.succeeded(text));
                    self.complete(id, &mut thread, value)
                }
                Err(failure) => {
                    let event = events.failed(&failure, !flight.submitted);
                    self.emit(&mut thread.previous, event);
                    Err(failure)
                }
            };
            if let Err(failure) = done {
                self.fail(id, &mut thread, failure);
            }
        }
        self.put_back(id, thread);
    }

    pub(super) fn task_timed_out(&mut self, id: ThreadId, thread: &mut Thread<'m>, silent: bool) {
        let Some(checked::StateKind::Task(task)) = thread.state.map(|state| &state.kind) else {
            return;
        };
        let events = Events::of(&task.resource);
        let Some(flight) = self.land(thread) else { return };
        self.commands.push(Command::Cancel { task: flight.task });
        self.emit(&mut thread.previous, events.timed_out());
        // The history of a task that was silent for too long says `States.Timeout`, too.
        let failure = Failure {
            alias: silent.then_some("States.HeartbeatTimeout"),
            ..Failure::new("States.Timeout", None)
        };
        self.fail(id, thread, failure);
    }

    /// Stops what a thread waits for; `true` when its state has an event that says so.
    pub(super) fn halt(&mut self, thread: &mut Thread<'m>) -> bool {
        match &thread.status {
            Status::Waiting(timer) => {
                self.timers.remove(timer);
                true
            }
            Status::Backoff(timer) => {
                self.timers.remove(timer);
                true
            }
            Status::MapRun(task) => {
                self.flights.remove(task);
                self.commands.push(Command::Cancel { task: *task });
                true
            }
            Status::Task(_) => {
                if let Some(flight) = self.land(thread) {
                    self.commands.push(Command::Cancel { task: flight.task });
                }
                true
            }
            Status::Fan => true,
            _ => false,
        }
    }
}

/// The events of one kind of resource.
enum Events {
    Lambda { arn: String },
    Activity { arn: String },
    Service { task: TaskDetails, pattern: Pattern },
}

impl Events {
    fn of(resource: &Resource) -> Self {
        match &resource.integration {
            Integration::Service {
                resource_type,
                resource,
                pattern,
                ..
            } => Self::Service {
                task: TaskDetails {
                    resource_type: resource_type.clone(),
                    resource: resource.clone(),
                },
                pattern: *pattern,
            },
            Integration::Activity => Self::Activity {
                arn: resource.arn.clone(),
            },
            _ => Self::Lambda {
                arn: resource.arn.clone(),
            },
        }
    }

    fn has_token(&self) -> bool {
        matches!(
            self,
            Self::Activity { .. }
                | Self::Service {
                    pattern: Pattern::WaitForTaskToken,
                    ..
                }
        )
    }

    fn has_heartbeat(&self) -> bool {
        self.has_token()
    }

    /// What error texts call it.
    fn name(&self) -> &str {
        match self {
            Self::Lambda { arn } | Self::Activity { arn } => arn,
            Self::Service { task, .. } => &task.resource_type,
        }
    }

    fn scheduled(
        &self,
        region: &str,
        parameters: String,
        timeout_in_seconds: Option<u64>,
        heartbeat_in_seconds: Option<u64>,
        role_arn: Option<&str>,
    ) -> Event {
        let role_arn = role_arn.map(str::to_owned);
        match self {
            Self::Lambda { arn } => Event::LambdaFunctionScheduled {
                resource: arn.clone(),
                input: parameters,
                timeout_in_seconds,
                role_arn,
            },
            Self::Activity { arn } => Event::ActivityScheduled {
                resource: arn.clone(),
                input: parameters,
                timeout_in_seconds,
                heartbeat_in_seconds,
            },
            Self::Service { task, .. } => Event::TaskScheduled {
                task: task.clone(),
                region: region.to_owned(),
                parameters,
                timeout_in_seconds,
                heartbeat_in_seconds,
                role_arn,
            },
        }
    }

    /// An activity's task starts when a worker takes it.
    fn started(&self) -> Option<Event> {
        match self {
            Self::Lambda { .. } => Some(Event::LambdaFunctionStarted),
            Self::Activity { .. } => None,
            Self::Service { task, .. } => Some(Event::TaskStarted { task: task.clone() }),
        }
    }

    /// Only what is waited for is submitted.
    fn submitted(&self, output: &Value) -> Option<Event> {
        match self {
            Self::Service { task, pattern } if *pattern != Pattern::RequestResponse => {
                Some(Event::TaskSubmitted {
                    task: task.clone(),
                    output: output.to_string(),
                })
            }
            _ => None,
        }
    }

    fn succeeded(&self, output: String) -> Event {
        match self {
            Self::Lambda { .. } => Event::LambdaFunctionSucceeded { output },
            Self::Activity { .. } => Event::ActivitySucceeded { output },
            Self::Service { task, .. } => Event::TaskSucceeded {
                task: task.clone(),
                output,
            },
        }
    }

    fn failed(&self, failure: &Failure, never_submitted: bool) -> Event {
        let error = failure.error.clone().unwrap_or_default();
        let cause = failure.cause.clone();
        match self {
            Self::Lambda { .. } => Event::LambdaFunctionFailed { error, cause },
            Self::Activity { .. } => Event::ActivityFailed { error, cause },
            Self::Service { task, pattern } if never_submitted && pattern.is_sync() => {
                Event::TaskSubmitFailed {
                    task: task.clone(),
                    error,
                    cause,
                }
            }
            Self::Service { task, .. } => Event::TaskFailed {
                task: task.clone(),
                error,
                cause,
            },
        }
    }

    fn timed_out(&self) -> Event {
        let (error, cause) = ("States.Timeout".to_owned(), None);
        match self {
            Self::Lambda { .. } => Event::LambdaFunctionTimedOut { error, cause },
            Self::Activity { .. } => Event::ActivityTimedOut { error, cause },
            Self::Service { task, .. } => Event::TaskTimedOut {
                task: task.clone(),
                error,
                cause,
            },
        }
    }
}
