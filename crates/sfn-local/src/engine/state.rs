//! What states do, from their entry to their exit.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use sfn_builder::checked::{
    self, Catcher, Condition, Data, Dynamic, JsonataData, PathData, State, StateKind, Until, parse_timestamp,
};
use sfn_builder::template::Expression;

use super::failure::{limited, query, runtime, too_large};
use super::fields::{missing, unexpected};
use super::thread::{Next, Status, Thread};
use super::{Engine, Failure, ThreadId, TimerKind, later, type_of};
use crate::data::choice;
use crate::history::Event;

/// The longest that a Wait state waits, in seconds: about 24,855 days.
const MAX_WAIT: u64 = i32::MAX as u64;
/// The service's quota of what one state assigns, in bytes of JSON text.
const MAX_ASSIGNED: usize = 256 * 1024;

/// What a state assigns: names, and values.
pub(super) type Assigned = Vec<(String, Value)>;

impl<'m> Engine<'m> {
    /// Enters a chain's first state.
    pub(super) fn begin(&mut self, id: ThreadId, thread: &mut Thread<'m>) {
        let state = thread.machine.start();
        self.enter(id, thread, state);
    }

    pub(super) fn enter(&mut self, id: ThreadId, thread: &mut Thread<'m>, state: &'m State) {
        thread.state = Some(state);
        thread.attempts.clear();
        thread.map_run = None;
        thread.retry_count = 0;
        let input = thread
            .input_text
            .take()
            .unwrap_or_else(|| thread.input.to_string());
        let event = Event::StateEntered {
            state_type: type_of(state),
            name: state.name.clone(),
            input,
        };
        thread.entered = self.emit(&mut thread.previous, event);
        thread.entered_at = self.now;
        self.attempt(id, thread);
    }

    /// Does what the state does, for the first time or again.
    pub(super) fn attempt(&mut self, id: ThreadId, thread: &mut Thread<'m>) {
        let Some(state) = thread.state else { return };
        let done = match &state.kind {
            StateKind::Pass(pass) => self.pass(id, thread, state, pass),
            StateKind::Choice(choice) => self.choice(id, thread, state, choice),
            StateKind::Wait(wait) => self.wait(id, thread, state, wait),
            StateKind::Succeed => self.succeed(id, thread, state),
            StateKind::Fail(fail) => self.fail_state(thread, state, fail),
            StateKind::Task(task) => self.call(id, thread, state, task),
            StateKind::Parallel(parallel) => self.parallel(id, thread, state, parallel),
            StateKind::Map(map) => self.map(id, thread, state, map),
            // `StateKind` may grow; the checker lets nothing else through today.
            _ => Err(runtime(thread, "the type of the state is not supported")),
        };
        if let Err(failure) = done {
            self.fail(id, thread, failure);
        }
    }

    fn pass(
        &mut self,
        id: ThreadId,
        thread: &mut Thread<'m>,
        state: &'m State,
        pass: &'m checked::Pass,
    ) -> Result<(), Failure> {
        let next = pass.transition.next();
        match &state.data {
            Data::JsonPath(data) => {
                let selected = self.select(thread, &data.input_path, &thread.input)?;
                let effective = self.template(thread, data.parameters.as_ref(), selected)?;
                let result = pass.result.clone().unwrap_or(effective);
                let assigned = self.assign(thread, &state.assign, &result)?;
                let output = self.place(thread, &data.result_path, &thread.input, result)?;
                let output = self.select(thread, &data.output_path, &output)?;
                self.exit(id, thread, output, assigned, next)
            }
            Data::Jsonata(data) => self.jsonata_exit(id, thread, state, data, next),
        }
    }

    /// Leaves a JSONata state that has no result: by its `Assign` and `Output`.
    fn jsonata_exit(
        &mut self,
        id: ThreadId,
        thread: &mut Thread<'m>,
        state: &'m State,
        data: &'m JsonataData,
        next: Option<&'m str>,
    ) -> Result<(), Failure> {
        let assigned = self.assign(thread, &state.assign, &thread.input)?;
        let output = self.output(thread, data.output.as_ref(), None, None, &thread.input)?;
        self.exit(id, thread, output, assigned, next)
    }

    fn succeed(&mut self, id: ThreadId, thread: &mut Thread<'m>, state: &'m State) -> Result<(), Failure> {
        match &state.data {
            Data::JsonPath(data) => {
                let selected = self.select(thread, &data.input_path, &thread.input)?;
                let output = self.select(thread, &data.output_path, &selected)?;
                self.exit(id, thread, output, Vec::new(), None)
            }
            Data::Jsonata(data) => self.jsonata_exit(id, thread, state, data, None),
        }
    }

    fn choice(
        &mut self,
        id: ThreadId,
        thread: &mut Thread<'m>,
        state: &'m State,
        choice: &'m checked::Choice,
    ) -> Result<(), Failure> {
        let selected = match &state.data {
            Data::JsonPath(data) => self.select(thread, &data.input_path, &thread.input)?,
            Data::Jsonata(_) => Value::Null,
        };
        let mut chosen = None;
        for (index, rule) in choice.rules.iter().enumerate() {
            if self.holds(thread, &rule.condition, index, &selected)? {
                chosen = Some(rule);
                break;
            }
        }
        let (next, assign, output) = match chosen {
            Some(rule) => (Some(rule.next.as_str()), &rule.assign, rule.output.as_ref()),
            None => (choice.default.as_deref(), &state.assign, None),
        };
        let Some(next) = next else {
            // The specification calls it `States.NoChoiceMatched`; the service says `States.Runtime`, with these words.
            let reason = "Failed to transition out of the state. The state does not point to a next state.";
            return Err(runtime(thread, reason));
        };
        match &state.data {
            Data::JsonPath(data) => {
                let assigned = self.assign(thread, assign, &selected)?;
                let output = self.select(thread, &data.output_path, &selected)?;
                self.exit(id, thread, output, assigned, Some(next))
            }
            Data::Jsonata(data) => {
                let assigned = self.assign(thread, assign, &thread.input)?;
                let output = match chosen {
                    Some(_) => output,
                    None => data.output.as_ref(),
                };
                let output = self.output(thread, output, None, None, &thread.input)?;
                self.exit(id, thread, output, assigned, Some(next))
            }
        }
    }

    fn holds(
        &mut self,
        thread: &Thread<'m>,
        condition: &'m Condition,
        index: usize,
        data: &Value,
    ) -> Result<bool, Failure> {
        match condition {
            Condition::Fixed(holds) => Ok(*holds),
            Condition::Jsonata(expression) => {
                let field = format!("Choices[{index}]/Condition");
                let expression = Expression::Jsonata(expression.clone());
                let value = self.evaluate(thread, &expression, &field, &thread.input)?;
                value
                    .as_bool()
                    .ok_or_else(|| unexpected(thread, &expression, &field, "boolean", &value))
            }
            condition => {
                let scope = self.scope(thread, data);
                choice::holds(condition, scope).map_err(|choice::InvalidPath(path)| {
                    let reason = format!(
                        "Invalid path '{path}': The choice state's condition path references an invalid value."
                    );
                    runtime(thread, &reason)
                })
            }
        }
    }

    fn wait(
        &mut self,
        id: ThreadId,
        thread: &mut Thread<'m>,
        state: &'m State,
        wait: &'m checked::Wait,
    ) -> Result<(), Failure> {
        let selected = match &state.data {
            Data::JsonPath(data) => self.select(thread, &data.input_path, &thread.input)?,
            Data::Jsonata(_) => thread.input.clone(),
        };
        let duration = self.wait_duration(thread, wait, &selected)?;
        if duration.as_secs() > MAX_WAIT {
            return Err(runtime(thread, "Wait state delay is too long."));
        }
        let duration = self.scaled(duration);
        let timer = self.set_timer(id, TimerKind::Wait, later(self.now, duration));
        thread.status = Status::Waiting(timer);
        Ok(())
    }

    #[expect(clippy::float_cmp, reason = "the default is exactly 1")]
    fn scaled(&self, duration: Duration) -> Duration {
        if self.wait_scale == 1.0 {
            return duration;
        }
        Duration::try_from_secs_f64(duration.as_secs_f64() * self.wait_scale).unwrap_or(duration)
    }

    /// A Wait state is over.
    pub(super) fn waited(&mut self, id: ThreadId, thread: &mut Thread<'m>) {
        let Some(state) = thread.state else { return };
        let next = state.transition().and_then(checked::Transition::next);
        let done = match &state.data {
            Data::JsonPath(data) => {
                self.select(thread, &data.input_path, &thread.input)
                    .and_then(|selected| {
                        let assigned = self.assign(thread, &state.assign, &selected)?;
                        let output = self.select(thread, &data.output_path, &selected)?;
                        self.exit(id, thread, output, assigned, next)
                    })
            }
            Data::Jsonata(data) => self.jsonata_exit(id, thread, state, data, next),
        };
        if let Err(failure) = done {
            self.fail(id, thread, failure);
        }
    }

    fn wait_duration(
        &mut self,
        thread: &Thread<'m>,
        wait: &'m checked::Wait,
        input: &Value,
    ) -> Result<Duration, Failure> {
        let until = match &wait.until {
            Until::Seconds(Dynamic::Fixed(seconds)) => return Ok(Duration::from_secs(*seconds)),
            Until::Seconds(Dynamic::Computed(Expression::Path(path))) => {
                let scope = self.scope(thread, input);
                let value = scope
                    .get(path)
                    .map_err(|_| missing(thread, "SecondsPath", path))?;
                return match (value.as_u64(), value.as_i64()) {
                    (Some(seconds), _) => Ok(Duration::from_secs(seconds)),
                    (None, Some(seconds)) => {
                        let reason =
                            format!("The SecondsPath parameter cannot be negative: {path} == {seconds}");
                        Err(runtime(thread, &reason))
                    }
                    (None, None) => {
                        let reason = format!(
                            "The SecondsPath parameter must be a positive integer: {path} == {value}"
                        );
                        Err(runtime(thread, &reason))
                    }
                };
            }
            Until::Seconds(Dynamic::Computed(expression)) => {
                let value = self.evaluate(thread, expression, "Seconds", input)?;
                return match value.as_u64() {
                    Some(seconds) => Ok(Duration::from_secs(seconds)),
                    None => Err(unexpected(thread, expression, "Seconds", "number", &value)),
                };
            }
            Until::Timestamp(Dynamic::Fixed(timestamp)) => *timestamp,
            Until::Timestamp(Dynamic::Computed(Expression::Path(path))) => {
                let scope = self.scope(thread, input);
                let value = scope
                    .get(path)
                    .map_err(|_| missing(thread, "TimestampPath", path))?;
                timestamp(&value).ok_or_else(|| {
                    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                    runtime(
                        thread,
                        &format!(
                            "The TimestampPath parameter does not reference a valid ISO-8601 extended offset \
                             date-time format string: {path} == {text}"
                        ),
                    )
                })?
            }
            Until::Timestamp(Dynamic::Computed(expression)) => {
                let value = self.evaluate(thread, expression, "Timestamp", input)?;
                if !value.is_string() {
                    return Err(unexpected(thread, expression, "Timestamp", "string", &value));
                }
                timestamp(&value).ok_or_else(|| {
                    let text = value.as_str().unwrap_or_default();
                    let reason = format!(
                        "The Timestamp field does not contain a valid ISO-8601 extended offset date-time format \
                         string: {text}"
                    );
                    query(thread, "Timestamp".into(), &reason)
                })?
            }
            _ => return Err(runtime(thread, "the field of the Wait state is not supported")),
        };
        // A time that has passed already is not waited for.
        Ok(until
            .duration_since(self.now)
            .try_into()
            .unwrap_or(Duration::ZERO))
    }

    fn fail_state(
        &mut self,
        thread: &mut Thread<'m>,
        state: &'m State,
        fail: &'m checked::Fail,
    ) -> Result<(), Failure> {
        let suffix = if state.data.as_jsonata().is_some() {
            ""
        } else {
            "Path"
        };
        let error = self.fail_text(thread, &format!("Error{suffix}"), fail.error.as_ref())?;
        let cause = self.fail_text(thread, &format!("Cause{suffix}"), fail.cause.as_ref())?;
        thread.status = Status::Failed(Failure {
            error,
            cause,
            evaluation: None,
            alias: None,
            inner: false,
        });
        Ok(())
    }

    fn fail_text(
        &mut self,
        thread: &Thread<'m>,
        field: &str,
        text: Option<&'m Dynamic<String>>,
    ) -> Result<Option<String>, Failure> {
        let expression = match text {
            None => return Ok(None),
            Some(Dynamic::Fixed(text)) => return Ok(Some(text.clone())),
            Some(Dynamic::Computed(expression)) => expression,
        };
        match (
            self.evaluate(thread, expression, field, &thread.input)?,
            expression,
        ) {
            (Value::String(text), _) => Ok(Some(text)),
            (value, Expression::Jsonata(_)) => Err(unexpected(thread, expression, field, "string", &value)),
            _ => {
                let path = expression.as_str();
                let reason = format!("The {field} parameter must reference a string: {path}");
                Err(runtime(thread, &reason))
            }
        }
    }

    /// Leaves the state by a catcher.
    pub(super) fn caught(
        &mut self,
        id: ThreadId,
        thread: &mut Thread<'m>,
        state: &'m State,
        catcher: &'m Catcher,
        failure: &Failure,
    ) -> Result<(), Failure> {
        let mut error = json!({});
        if let Some(name) = &failure.error {
            error["Error"] = name.as_str().into();
        }
        if let Some(cause) = &failure.cause {
            error["Cause"] = cause.as_str().into();
        }
        let (assigned, output) = match &state.data {
            Data::JsonPath(_) => {
                let assigned = self.assign(thread, &catcher.assign, &error)?;
                let output = self.place(thread, &catcher.result_path, &thread.input, error)?;
                (assigned, output)
            }
            Data::Jsonata(_) => {
                let assigned = self.assign_of(thread, &catcher.assign, &thread.input, None, Some(&error))?;
                let output = self.output(thread, catcher.output.as_ref(), None, Some(&error), &error)?;
                (assigned, output)
            }
        };
        self.exit(id, thread, output, assigned, Some(&catcher.next))
    }

    /// From the result of a Task, Parallel or Map state to its exit.
    pub(super) fn complete(
        &mut self,
        id: ThreadId,
        thread: &mut Thread<'m>,
        result: Value,
    ) -> Result<(), Failure> {
        let Some(state) = thread.state else { return Ok(()) };
        let next = state.transition().and_then(checked::Transition::next);
        match &state.data {
            Data::JsonPath(data) => self.path_complete(id, thread, state, data, next, result),
            Data::Jsonata(data) => {
                let assigned = self.assign_of(thread, &state.assign, &thread.input, Some(&result), None)?;
                let output = self.output(thread, data.output.as_ref(), Some(&result), None, &result)?;
                self.exit(id, thread, output, assigned, next)
            }
        }
    }

    fn path_complete(
        &mut self,
        id: ThreadId,
        thread: &mut Thread<'m>,
        state: &'m State,
        data: &'m PathData,
        next: Option<&'m str>,
        result: Value,
    ) -> Result<(), Failure> {
        let result = self.template(thread, data.result_selector.as_ref(), result)?;
        let assigned = self.assign(thread, &state.assign, &result)?;
        let output = self.place(thread, &data.result_path, &thread.input, result)?;
        let output = self.select(thread, &data.output_path, &output)?;
        self.exit(id, thread, output, assigned, next)
    }

    fn exit(
        &mut self,
        id: ThreadId,
        thread: &mut Thread<'m>,
        output: Value,
        assigned: Assigned,
        next: Option<&'m str>,
    ) -> Result<(), Failure> {
        let Some(state) = thread.state else { return Ok(()) };
        let text = limited(&output, &state.name)?;
        let mut size = 0;
        let mut texts = Vec::with_capacity(assigned.len());
        for (name, value) in &assigned {
            let text = limited(value, &state.name)?;
            size += text.len();
            texts.push((name.clone(), text));
        }
        if size > MAX_ASSIGNED {
            return Err(too_large(&state.name));
        }
        let entered = match next {
            None => None,
            // The check has resolved every name.
            Some(name) => Some(
                thread
                    .machine
                    .state(name)
                    .ok_or_else(|| runtime(thread, &format!("there is no state `{name}`")))?,
            ),
        };
        let event = Event::StateExited {
            state_type: type_of(state),
            name: state.name.clone(),
            output: text.clone(),
            assigned: texts,
        };
        self.emit(&mut thread.previous, event);
        if !assigned.is_empty() {
            Arc::make_mut(&mut thread.variables).extend(assigned);
        }
        self.drop_children(thread);
        thread.token = None;
        match entered {
            None => thread.status = Status::Done(output),
            Some(state) => {
                thread.input = output;
                thread.input_text = Some(text);
                self.wake(id, thread, Next::Enter(state));
            }
        }
        Ok(())
    }
}

fn timestamp(value: &Value) -> Option<Timestamp> {
    value.as_str().and_then(parse_timestamp)
}
