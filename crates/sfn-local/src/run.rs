//! The interpreter.

use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{Either, poll_fn, select};
use jiff::Timestamp;
use serde_json::{Value, json};
use sfn_builder::StateMachine;
use sfn_builder::checked::{
    self, Catcher, Dynamic, Integration, PathData, Placement, Selection, StateKind, Task, Transition, Until,
    parse_timestamp,
};
use sfn_builder::template::{Expression, Template};

use crate::choice;
use crate::clock::Clock;
use crate::data::{self, FillError, Scope};
use crate::execution::{Execution, Outcome};
use crate::handler::{Submitted, TaskCall, TaskFailure, TaskHandler};
use crate::history::{Event, HistoryEvent, StateType, TaskDetails};
use crate::intrinsic::Random;
use crate::support::check_supported;

/// The service's quota of events in one history.
const MAX_EVENTS: u64 = 25_000;
/// The service's quota of a state's input or output, in bytes of JSON text.
const MAX_PAYLOAD: usize = 256 * 1024;
/// How deep a value may nest: as deep as `serde_json` reads. A state that wraps its input and leads to itself would
/// otherwise make values that overflow the stack long before they reach the quota of bytes.
const MAX_DEPTH: usize = 127;
/// The longest that a Wait state waits, in seconds: about 24,855 days.
const MAX_WAIT: u64 = i32::MAX as u64;

/// Runs a machine to its end.
///
/// Every event is handed to `history` as it happens; the last one says the same as the outcome. Dropping the future
/// stops the execution; [`abort`](crate::abort) then makes the events that close its history.
///
/// A machine that [`check_supported`] refuses fails at once, before its first state.
///
/// With the same machine, execution (seed included), answers of the handler and clock, everything happens again in the
/// same way.
pub async fn run(
    machine: &StateMachine,
    execution: &Execution,
    handler: &dyn TaskHandler,
    clock: &dyn Clock,
    history: &mut (dyn FnMut(&HistoryEvent) + Send),
) -> Outcome {
    let mut recorder = Recorder {
        clock,
        history,
        last_id: 0,
    };
    let ended = {
        let mut interpreter = Interpreter {
            machine,
            execution,
            handler,
            clock,
            recorder: &mut recorder,
            random: Random::new(execution.seed),
            context: Value::Null,
            entered: 0,
        };
        let states = pin!(interpreter.states());
        match machine.timeout_seconds() {
            None => states.await,
            Some(seconds) => match select(states, clock.sleep(Duration::from_secs(seconds))).await {
                Either::Left((ended, _)) => ended,
                Either::Right(((), _)) => Err(Stop::TimedOut),
            },
        }
    };
    let (outcome, event) = match ended {
        Ok(output) => {
            let event = Event::ExecutionSucceeded {
                output: output.to_string(),
            };
            (Outcome::Succeeded { output }, event)
        }
        Err(Stop::Failed { error, cause }) => {
            let event = Event::ExecutionFailed {
                error: error.clone(),
                cause: cause.clone(),
            };
            (Outcome::Failed { error, cause }, event)
        }
        Err(Stop::TimedOut) => (
            Outcome::TimedOut {
                error: None,
                cause: None,
            },
            Event::ExecutionTimedOut {
                error: None,
                cause: None,
            },
        ),
    };
    recorder.write(event);
    outcome
}

/// Numbers the events.
struct Recorder<'a> {
    clock: &'a dyn Clock,
    history: &'a mut (dyn FnMut(&HistoryEvent) + Send),
    last_id: u64,
}

impl Recorder<'_> {
    /// Writes an event, unless only the last one may still be written.
    fn record(&mut self, event: Event) -> Result<u64, Stop> {
        if self.last_id + 1 >= MAX_EVENTS {
            let cause = format!("The execution reached the maximum number of history events ({MAX_EVENTS}).");
            return Err(Stop::Failed {
                error: Some("States.Runtime".into()),
                cause: Some(cause),
            });
        }
        Ok(self.write(event))
    }

    fn write(&mut self, event: Event) -> u64 {
        let id = self.last_id + 1;
        // The first state's entry has no predecessor either: the service does not count `ExecutionStarted`.
        let previous_event_id = if id <= 2 { 0 } else { self.last_id };
        self.last_id = id;
        (self.history)(&HistoryEvent {
            id,
            previous_event_id,
            timestamp: self.clock.now(),
            event,
        });
        id
    }
}

/// Why an execution ends other than well.
enum Stop {
    Failed {
        error: Option<String>,
        cause: Option<String>,
    },
    TimedOut,
}

/// An error of a state, which `Retry` and `Catch` may see.
#[derive(Debug, Clone)]
struct Failure {
    error: String,
    cause: Option<String>,
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed {
            error: Some(failure.error),
            cause: failure.cause,
        }
    }
}

/// Where a state leads, and with what.
enum Flow<'m> {
    Next(&'m str, Value),
    End(Value),
}

impl<'m> Flow<'m> {
    fn of(transition: &'m Transition, output: Value) -> Self {
        match transition {
            Transition::Next(name) => Self::Next(name, output),
            Transition::End => Self::End(output),
        }
    }
}

struct Interpreter<'a, 'r> {
    machine: &'a StateMachine,
    execution: &'a Execution,
    handler: &'a dyn TaskHandler,
    clock: &'a dyn Clock,
    recorder: &'r mut Recorder<'a>,
    random: Random,
    /// `$$`.
    context: Value,
    /// The id of the event with which the present state was entered.
    entered: u64,
}

impl<'a> Interpreter<'a, '_> {
    async fn states(&mut self) -> Result<Value, Stop> {
        let execution = self.execution;
        self.context = json!({
            "Execution": {
                "Id": execution.arn,
                "Input": execution.input,
                "StartTime": moment(self.clock.now()),
                "Name": execution.name,
                "RoleArn": execution.role_arn,
                "RedriveCount": 0,
            },
            "StateMachine": { "Id": execution.state_machine_arn, "Name": execution.state_machine_name },
            "State": {},
        });
        let input = execution
            .input_text
            .clone()
            .unwrap_or_else(|| execution.input.to_string());
        self.recorder.record(Event::ExecutionStarted {
            input,
            role_arn: execution.role_arn.clone(),
        })?;
        if let Err(unsupported) = check_supported(self.machine) {
            return Err(Stop::Failed {
                error: Some("States.Runtime".into()),
                cause: Some(unsupported.to_string()),
            });
        }

        let mut state = self.machine.start();
        let mut input = execution.input.clone();
        loop {
            // A loop of states that never wait must not hold the thread.
            yield_now().await;
            match self.state(state, input).await? {
                Flow::End(output) => return Ok(output),
                Flow::Next(name, output) => {
                    input = output;
                    // The check has resolved every name.
                    state = match self.machine.state(name) {
                        Some(state) => state,
                        None => {
                            return Err(self.runtime(state, &format!("there is no state `{name}`")).into());
                        }
                    };
                }
            }
        }
    }

    async fn state(&mut self, state: &'a checked::State, input: Value) -> Result<Flow<'a>, Stop> {
        let state_type = type_of(state);
        let event = Event::StateEntered {
            state_type,
            name: state.name.clone(),
            input: input.to_string(),
        };
        self.entered = self.recorder.record(event)?;
        if let Value::Object(context) = &mut self.context {
            let now = moment(self.clock.now());
            context.insert(
                "State".into(),
                json!({ "EnteredTime": now, "Name": state.name, "RetryCount": 0 }),
            );
        }
        let flow = match &state.kind {
            StateKind::Task(task) => self.task(state, task, &input).await?,
            StateKind::Pass(pass) => {
                let output = self.pass(state, pass, &input)?;
                Flow::of(&pass.transition, output)
            }
            StateKind::Choice(choice) => self.choice(state, choice, &input)?,
            StateKind::Wait(wait) => {
                let output = self.wait(state, wait, &input).await?;
                Flow::of(&wait.transition, output)
            }
            StateKind::Succeed => {
                let data = self.data(state)?;
                let selected = self.select(state, &data.input_path, &input)?;
                Flow::End(self.select(state, &data.output_path, &selected)?)
            }
            StateKind::Fail(fail) => return Err(self.fail(state, fail, &input)),
            // `StateKind` may grow; the checker lets nothing else through today.
            _ => {
                return Err(self
                    .runtime(state, "the type of the state is not supported")
                    .into());
            }
        };
        let (Flow::Next(_, output) | Flow::End(output)) = &flow;
        let output = limited(output, &state.name)?;
        self.recorder.record(Event::StateExited {
            state_type,
            name: state.name.clone(),
            output,
        })?;
        Ok(flow)
    }

    fn pass(
        &mut self,
        state: &checked::State,
        pass: &checked::Pass,
        input: &Value,
    ) -> Result<Value, Failure> {
        let data = self.data(state)?;
        let selected = self.select(state, &data.input_path, input)?;
        let effective = self.template(state, data.parameters.as_ref(), selected)?;
        let result = pass.result.clone().unwrap_or(effective);
        let output = self.place(state, &data.result_path, input, result)?;
        self.select(state, &data.output_path, &output)
    }

    /// The path fields; `check_supported` has let no JSONata state through.
    fn data<'s>(&self, state: &'s checked::State) -> Result<&'s PathData, Failure> {
        let data = state.data.as_json_path();
        data.ok_or_else(|| self.runtime(state, "JSONata is not supported"))
    }

    fn choice(
        &mut self,
        state: &checked::State,
        choice: &'a checked::Choice,
        input: &Value,
    ) -> Result<Flow<'a>, Failure> {
        let data = self.data(state)?;
        let selected = self.select(state, &data.input_path, input)?;
        let scope = Scope {
            data: &selected,
            context: &self.context,
        };
        let mut next = None;
        for rule in &choice.rules {
            match choice::holds(&rule.condition, scope) {
                Ok(false) => {}
                Ok(true) => {
                    next = Some(rule.next.as_str());
                    break;
                }
                Err(choice::InvalidPath(path)) => {
                    let reason = format!(
                        "Invalid path '{path}': The choice state's condition path references an invalid value."
                    );
                    return Err(self.runtime(state, &reason));
                }
            }
        }
        let Some(next) = next.or(choice.default.as_deref()) else {
            // The specification calls it `States.NoChoiceMatched`; the service says `States.Runtime`, with these words.
            let reason = "Failed to transition out of the state. The state does not point to a next state.";
            return Err(self.runtime(state, reason));
        };
        let output = self.select(state, &data.output_path, &selected)?;
        Ok(Flow::Next(next, output))
    }

    async fn wait(
        &mut self,
        state: &checked::State,
        wait: &checked::Wait,
        input: &Value,
    ) -> Result<Value, Failure> {
        let data = self.data(state)?;
        let selected = self.select(state, &data.input_path, input)?;
        let duration = self.wait_duration(state, wait, &selected)?;
        if duration.as_secs() > MAX_WAIT {
            return Err(self.runtime(state, "Wait state delay is too long."));
        }
        if !duration.is_zero() {
            self.clock.sleep(duration).await;
        }
        self.select(state, &data.output_path, &selected)
    }

    fn wait_duration(
        &self,
        state: &checked::State,
        wait: &checked::Wait,
        input: &Value,
    ) -> Result<Duration, Failure> {
        let scope = Scope {
            data: input,
            context: &self.context,
        };
        let missing = |field: &str, path: &sfn_builder::Path| {
            self.runtime(
                state,
                &format!("The {field} parameter does not reference an input value: {path}"),
            )
        };
        let until = match &wait.until {
            Until::Seconds(Dynamic::Fixed(seconds)) => return Ok(Duration::from_secs(*seconds)),
            Until::Seconds(Dynamic::Computed(Expression::Path(path))) => {
                let value = scope.get(path).map_err(|_| missing("SecondsPath", path))?;
                return match (value.as_u64(), value.as_i64()) {
                    (Some(seconds), _) => Ok(Duration::from_secs(seconds)),
                    (None, Some(seconds)) => {
                        let reason =
                            format!("The SecondsPath parameter cannot be negative: {path} == {seconds}");
                        Err(self.runtime(state, &reason))
                    }
                    (None, None) => {
                        let reason = format!(
                            "The SecondsPath parameter must be a positive integer: {path} == {value}"
                        );
                        Err(self.runtime(state, &reason))
                    }
                };
            }
            Until::Timestamp(Dynamic::Fixed(timestamp)) => *timestamp,
            Until::Timestamp(Dynamic::Computed(Expression::Path(path))) => {
                let value = scope.get(path).map_err(|_| missing("TimestampPath", path))?;
                value.as_str().and_then(parse_timestamp).ok_or_else(|| {
                    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                    self.runtime(
                        state,
                        &format!(
                            "The TimestampPath parameter does not reference a valid ISO-8601 extended offset \
                             date-time format string: {path} == {text}"
                        ),
                    )
                })?
            }
            _ => return Err(self.runtime(state, "the field of the Wait state is not supported")),
        };
        // A time that has passed already is not waited for.
        Ok(until
            .duration_since(self.clock.now())
            .try_into()
            .unwrap_or(Duration::ZERO))
    }

    fn fail(&mut self, state: &checked::State, fail: &checked::Fail, input: &Value) -> Stop {
        let mut text = |field: &str, text: Option<&Dynamic<String>>| -> Result<Option<String>, Failure> {
            match text {
                None => Ok(None),
                Some(Dynamic::Fixed(text)) => Ok(Some(text.clone())),
                Some(Dynamic::Computed(expression)) => {
                    let scope = Scope {
                        data: input,
                        context: &self.context,
                    };
                    let value = data::evaluate(expression, field, scope, &mut self.random);
                    match value {
                        Ok(Value::String(text)) => Ok(Some(text)),
                        Ok(_) => {
                            let path = expression.as_str();
                            let reason = format!("The {field} parameter must reference a string: {path}");
                            Err(self.runtime(state, &reason))
                        }
                        Err(error) => Err(self.unfilled(state, error)),
                    }
                }
            }
        };
        let error = text("ErrorPath", fail.error.as_ref());
        let cause = text("CausePath", fail.cause.as_ref());
        match (error, cause) {
            (Ok(error), Ok(cause)) => Stop::Failed { error, cause },
            (Err(failure), _) | (_, Err(failure)) => failure.into(),
        }
    }

    async fn task(
        &mut self,
        state: &'a checked::State,
        task: &'a Task,
        input: &Value,
    ) -> Result<Flow<'a>, Stop> {
        let mut attempts = vec![0_u64; task.retry.len()];
        let mut retry_count = 0;
        loop {
            let failure = match self.attempt(state, task, input, retry_count).await? {
                Ok(output) => return Ok(Flow::of(&task.transition, output)),
                Err(failure) => failure,
            };
            if let Some(delay) = self.retry_delay(task, &failure, &mut attempts) {
                self.clock.sleep(delay).await;
                retry_count += 1;
                if let Some(count) = self.context.pointer_mut("/State/RetryCount") {
                    *count = retry_count.into();
                }
                continue;
            }
            let catcher = task
                .catch
                .iter()
                .find(|catcher| matches(&catcher.error_equals, &failure.error));
            return match catcher {
                Some(catcher) => self.caught(state, catcher, input, &failure),
                None => Err(failure.into()),
            };
        }
    }

    fn caught(
        &mut self,
        state: &checked::State,
        catcher: &'a Catcher,
        input: &Value,
        failure: &Failure,
    ) -> Result<Flow<'a>, Stop> {
        let mut output = json!({ "Error": failure.error });
        if let Some(cause) = &failure.cause {
            output["Cause"] = Value::String(cause.clone());
        }
        let output = self.place(state, &catcher.result_path, input, output)?;
        Ok(Flow::Next(&catcher.next, output))
    }

    /// How long to wait before the next attempt; `None` when there is none.
    fn retry_delay(&mut self, task: &Task, failure: &Failure, attempts: &mut [u64]) -> Option<Duration> {
        let index = task
            .retry
            .iter()
            .position(|retrier| matches(&retrier.error_equals, &failure.error))?;
        let retrier = &task.retry[index];
        let attempt = attempts[index];
        if attempt >= retrier.max_attempts {
            return None;
        }
        attempts[index] += 1;
        let exponent = i32::try_from(attempt).unwrap_or(i32::MAX);
        #[expect(clippy::cast_precision_loss, reason = "seconds are at most 99,999,999")]
        let (interval, longest) = (
            retrier.interval_seconds as f64,
            retrier.max_delay_seconds.unwrap_or(99_999_999) as f64,
        );
        // `min` also tames an infinite product.
        let delay = (interval * retrier.backoff_rate.powi(exponent)).min(longest);
        let delay = if retrier.full_jitter {
            delay * self.random.fraction()
        } else {
            delay
        };
        Some(Duration::from_secs_f64(delay))
    }

    /// One attempt at a task, from its input to its output.
    async fn attempt(
        &mut self,
        state: &checked::State,
        task: &Task,
        input: &Value,
        retry_count: u64,
    ) -> Result<Result<Value, Failure>, Stop> {
        let prepared = self.prepare(state, task, input);
        let (parameters, timeout, heartbeat) = match prepared {
            Ok(prepared) => prepared,
            Err(failure) => return Ok(Err(failure)),
        };
        let events = Events::of(&task.resource);
        self.recorder
            .record(events.scheduled(self.execution.region(), &parameters, timeout, heartbeat))?;
        self.recorder.record(events.started())?;

        let (submitted, mut submission) = Submitted::channel();
        let call = TaskCall {
            resource: task.resource.arn.clone(),
            parameters,
            state: state.name.clone(),
            execution_arn: self.execution.arn.clone(),
            state_machine_arn: self.execution.state_machine_arn.clone(),
            retry_count,
            timeout: timeout.map(Duration::from_secs),
            submitted: if events.sync() {
                submitted
            } else {
                Submitted::ignored()
            },
        };
        let mut working = self.handler.call(call);
        let mut ringing = timeout.map(|seconds| self.clock.sleep(Duration::from_secs(seconds)));
        let mut was_submitted = false;
        let recorder = &mut *self.recorder;
        let ended: Option<Result<Value, TaskFailure>> = poll_fn(|context| {
            let worked = working.as_mut().poll(context);
            // What the handler has just reported comes before what it has just returned.
            if events.sync()
                && !was_submitted
                && let Poll::Ready(Ok(output)) = submission.poll_unpin(context)
            {
                was_submitted = true;
                if let Err(stop) = recorder.record(events.submitted(&output)) {
                    return Poll::Ready(Err(stop));
                }
            }
            if let Poll::Ready(result) = worked {
                return Poll::Ready(Ok(Some(result)));
            }
            let rang = ringing
                .as_mut()
                .is_some_and(|ringing| ringing.poll_unpin(context).is_ready());
            if rang {
                Poll::Ready(Ok(None))
            } else {
                Poll::Pending
            }
        })
        .await?;
        drop(working);

        let failure = match ended {
            Some(Ok(result)) => match limited(&result, &task.resource.arn) {
                Ok(text) => {
                    self.recorder.record(events.succeeded(text))?;
                    return Ok(self.finish(state, input, result));
                }
                Err(failure) => failure,
            },
            Some(Err(TaskFailure { error, cause })) => Failure {
                error,
                cause: Some(cause),
            },
            None => {
                self.recorder.record(events.timed_out())?;
                return Ok(Err(Failure {
                    error: "States.Timeout".into(),
                    cause: None,
                }));
            }
        };
        let never_submitted = events.sync() && !was_submitted;
        self.recorder.record(events.failed(&failure, never_submitted))?;
        Ok(Err(failure))
    }

    /// A task's parameters, timeout and heartbeat.
    fn prepare(
        &mut self,
        state: &checked::State,
        task: &Task,
        input: &Value,
    ) -> Result<(Value, Option<u64>, Option<u64>), Failure> {
        let data = self.data(state)?;
        let selected = self.select(state, &data.input_path, input)?;
        let timeout = self.seconds(state, task.timeout.as_ref(), "TimeoutSecondsPath", &selected)?;
        let heartbeat = self.seconds(state, task.heartbeat.as_ref(), "HeartbeatSecondsPath", &selected)?;
        let parameters = self.template(state, data.parameters.as_ref(), selected)?;
        limited(&parameters, &state.name)?;
        Ok((parameters, timeout, heartbeat))
    }

    fn seconds(
        &self,
        state: &checked::State,
        seconds: Option<&Dynamic<u64>>,
        field: &str,
        input: &Value,
    ) -> Result<Option<u64>, Failure> {
        match seconds {
            None => Ok(None),
            Some(Dynamic::Fixed(seconds)) => Ok(Some(*seconds)),
            Some(Dynamic::Computed(Expression::Path(path))) => {
                let scope = Scope {
                    data: input,
                    context: &self.context,
                };
                let value = scope.get(path).map_err(|_| {
                    let reason = format!("The {field} parameter does not reference an input value: {path}");
                    self.runtime(state, &reason)
                })?;
                match value
                    .as_u64()
                    .filter(|seconds| (1..=99_999_999).contains(seconds))
                {
                    Some(seconds) => Ok(Some(seconds)),
                    None => {
                        let reason =
                            format!("The {field} parameter must be a positive integer: {path} == {value}");
                        Err(self.runtime(state, &reason))
                    }
                }
            }
            Some(Dynamic::Computed(_)) => Err(self.runtime(state, "JSONata is not supported")),
        }
    }

    /// From a task's result to its state's output.
    fn finish(&mut self, state: &checked::State, input: &Value, result: Value) -> Result<Value, Failure> {
        let data = self.data(state)?;
        let result = self.template(state, data.result_selector.as_ref(), result)?;
        let output = self.place(state, &data.result_path, input, result)?;
        self.select(state, &data.output_path, &output)
    }

    fn select(&self, state: &checked::State, selection: &Selection, input: &Value) -> Result<Value, Failure> {
        match selection {
            Selection::Nothing => Ok(json!({})),
            Selection::Path(path) => Scope {
                data: input,
                context: &self.context,
            }
            .get(path)
            .map_err(|not_found| {
                self.runtime(state, &format!("Invalid path '{path}' : {}", not_found.reason))
            }),
        }
    }

    fn template(
        &mut self,
        state: &checked::State,
        template: Option<&Template>,
        input: Value,
    ) -> Result<Value, Failure> {
        let Some(template) = template else {
            return Ok(input);
        };
        let scope = Scope {
            data: &input,
            context: &self.context,
        };
        data::fill(template, scope, &mut self.random).map_err(|error| self.unfilled(state, error))
    }

    fn place(
        &self,
        state: &checked::State,
        placement: &Placement,
        input: &Value,
        result: Value,
    ) -> Result<Value, Failure> {
        data::place(placement, input, result).map_err(|error| {
            let reason = format!("Unable to apply ReferencePath {} to input {input}", error.path);
            Failure {
                error: "States.ResultPathMatchFailure".into(),
                cause: Some(self.cause(state, &reason)),
            }
        })
    }

    fn unfilled(&self, state: &checked::State, error: FillError) -> Failure {
        match error {
            FillError::Path { path, field, input } => {
                let reason = format!(
                    "The JSONPath '{path}' specified for the field '{field}' could not be found in the input '{input}'"
                );
                self.runtime(state, &reason)
            }
            FillError::TooLarge => too_large(&state.name),
            FillError::NullInput => self.runtime(
                state,
                "Unable to apply Path transformation to null or empty input.",
            ),
            FillError::Function { call, reason } => {
                let reason = format!("The function '{call}' had the following error: {reason}");
                Failure {
                    error: "States.IntrinsicFailure".into(),
                    cause: Some(self.cause(state, &reason)),
                }
            }
        }
    }

    fn runtime(&self, state: &checked::State, reason: &str) -> Failure {
        Failure {
            error: "States.Runtime".into(),
            cause: Some(self.cause(state, reason)),
        }
    }

    fn cause(&self, state: &checked::State, reason: &str) -> String {
        let (name, entered) = (&state.name, self.entered);
        format!(
            "An error occurred while executing the state '{name}' (entered at the event id #{entered}). {reason}"
        )
    }
}

/// The events of one kind of resource.
enum Events {
    Lambda { arn: String },
    Service { task: TaskDetails, sync: bool },
}

impl Events {
    fn of(resource: &checked::Resource) -> Self {
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
                sync: pattern.is_sync(),
            },
            _ => Self::Lambda {
                arn: resource.arn.clone(),
            },
        }
    }

    fn sync(&self) -> bool {
        matches!(self, Self::Service { sync: true, .. })
    }

    fn scheduled(
        &self,
        region: &str,
        parameters: &Value,
        timeout_in_seconds: Option<u64>,
        heartbeat_in_seconds: Option<u64>,
    ) -> Event {
        match self {
            Self::Lambda { arn } => Event::LambdaFunctionScheduled {
                resource: arn.clone(),
                input: parameters.to_string(),
                timeout_in_seconds,
            },
            Self::Service { task, .. } => Event::TaskScheduled {
                task: task.clone(),
                region: region.to_owned(),
                parameters: parameters.to_string(),
                timeout_in_seconds,
                heartbeat_in_seconds,
            },
        }
    }

    fn started(&self) -> Event {
        match self {
            Self::Lambda { .. } => Event::LambdaFunctionStarted,
            Self::Service { task, .. } => Event::TaskStarted { task: task.clone() },
        }
    }

    fn submitted(&self, output: &Value) -> Event {
        let task = match self {
            Self::Service { task, .. } => task.clone(),
            Self::Lambda { arn } => TaskDetails {
                resource_type: "lambda".into(),
                resource: arn.clone(),
            },
        };
        Event::TaskSubmitted {
            task,
            output: output.to_string(),
        }
    }

    fn succeeded(&self, output: String) -> Event {
        match self {
            Self::Lambda { .. } => Event::LambdaFunctionSucceeded { output },
            Self::Service { task, .. } => Event::TaskSucceeded {
                task: task.clone(),
                output,
            },
        }
    }

    fn failed(&self, failure: &Failure, never_submitted: bool) -> Event {
        let (error, cause) = (failure.error.clone(), failure.cause.clone());
        match self {
            Self::Lambda { .. } => Event::LambdaFunctionFailed { error, cause },
            Self::Service { task, .. } if never_submitted => Event::TaskSubmitFailed {
                task: task.clone(),
                error,
                cause,
            },
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
            Self::Service { task, .. } => Event::TaskTimedOut {
                task: task.clone(),
                error,
                cause,
            },
        }
    }
}

/// Whether a list of error names covers an error.
fn matches(error_equals: &[String], error: &str) -> bool {
    // "Will always cause the execution to fail", says the developer guide, even when it is named.
    if error == "States.Runtime" {
        return false;
    }
    error_equals.iter().any(|name| match name.as_str() {
        "States.ALL" => error != "States.DataLimitExceeded",
        "States.TaskFailed" => !matches!(error, "States.Timeout" | "States.DataLimitExceeded"),
        name => name == error,
    })
}

/// A value's text, if it is not too long for the service, nor so deep that nobody could read it back.
fn limited(value: &Value, what: &str) -> Result<String, Failure> {
    if deeper_than(value, MAX_DEPTH) {
        let cause =
            format!("The state/task '{what}' returned a result that nests deeper than {MAX_DEPTH} levels.");
        return Err(Failure {
            error: "States.Runtime".into(),
            cause: Some(cause),
        });
    }
    let text = value.to_string();
    if text.len() <= MAX_PAYLOAD {
        return Ok(text);
    }
    Err(too_large(what))
}

fn too_large(what: &str) -> Failure {
    let cause = format!(
        "The state/task '{what}' returned a result with a size exceeding the maximum number of bytes service limit."
    );
    Failure {
        error: "States.DataLimitExceeded".into(),
        cause: Some(cause),
    }
}

fn deeper_than(value: &Value, levels: usize) -> bool {
    match value {
        Value::Array(items) => levels == 0 || items.iter().any(|item| deeper_than(item, levels - 1)),
        Value::Object(map) => levels == 0 || map.values().any(|item| deeper_than(item, levels - 1)),
        _ => false,
    }
}

fn type_of(state: &checked::State) -> StateType {
    match state.kind {
        StateKind::Task(_) => StateType::Task,
        StateKind::Choice(_) => StateType::Choice,
        StateKind::Wait(_) => StateType::Wait,
        StateKind::Succeed => StateType::Succeed,
        StateKind::Fail(_) => StateType::Fail,
        _ => StateType::Pass,
    }
}

/// A time as the context object prints it: UTC, with milliseconds.
fn moment(time: Timestamp) -> String {
    format!("{time:.3}")
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
