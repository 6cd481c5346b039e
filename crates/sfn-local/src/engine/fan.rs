//! Parallel and Map states: chains of states inside of a state.

use std::sync::Arc;

use serde_json::{Value, json};
use sfn_builder::checked::{self, Data, Dynamic, Items, Mode, State};
use sfn_builder::template::Expression;

use super::failure::{data_failure, query, runtime};
use super::fields::{missing, unexpected};
use super::thread::{Status, Thread};
use super::{Command, Engine, Failure, Item, ROOT, TaskId, ThreadId, type_of};
use crate::data;
use crate::execution::Outcome;
use crate::handler::TaskFailure;
use crate::history::{Event, Phase, StateType};

/// How many iterations of an inline Map state run at once at most.
const MAX_ITERATIONS: u64 = 40;
/// How often a map run is redriven at most.
const MAX_REDRIVES: u64 = 1000;

/// The chains inside a state.
pub(super) struct Fan {
    /// By branch or item; those that have ended well are gone.
    pub(super) children: Vec<Option<ThreadId>>,
    results: Vec<Option<Value>>,
    pub(super) running: usize,
    /// Items that were not started yet.
    pending: std::vec::IntoIter<Item>,
    limit: usize,
    /// What an `ItemSelector` refers to with `$`.
    data: Value,
}

impl Fan {
    fn new(limit: usize, items: Vec<Item>, data: Value) -> Self {
        Self {
            children: Vec::new(),
            results: Vec::new(),
            running: 0,
            pending: items.into_iter(),
            limit,
            data,
        }
    }

    fn add(&mut self, child: ThreadId) {
        self.children.push(Some(child));
        self.results.push(None);
        self.running += 1;
    }

    /// Whether every chain has ended well.
    pub(super) fn is_done(&self) -> bool {
        self.running == 0 && self.pending.len() == 0 && self.results.iter().all(Option::is_some)
    }
}

impl<'m> Engine<'m> {
    pub(super) fn parallel(
        &mut self,
        id: ThreadId,
        thread: &mut Thread<'m>,
        state: &'m State,
        parallel: &'m checked::Parallel,
    ) -> Result<(), Failure> {
        let input = self.arguments(thread, &state.data)?;
        let started = Event::StateStarted {
            state_type: StateType::Parallel,
            length: None,
        };
        let started = self.emit(&mut thread.previous, started);
        let mut fan = Fan::new(usize::MAX, Vec::new(), Value::Null);
        for (index, branch) in parallel.branches.iter().enumerate() {
            let mut child = Thread::new(branch, Some(id), index, started, input.clone());
            child.variables = Arc::clone(&thread.variables);
            child.item = thread.item.clone();
            fan.add(self.spawn(child));
        }
        thread.fan = Some(fan);
        thread.status = Status::Fan;
        Ok(())
    }

    pub(super) fn map(
        &mut self,
        id: ThreadId,
        thread: &mut Thread<'m>,
        state: &'m State,
        map: &'m checked::Map,
    ) -> Result<(), Failure> {
        let data = match &state.data {
            Data::JsonPath(data) => self.select(thread, &data.input_path, &thread.input)?,
            Data::Jsonata(_) => thread.input.clone(),
        };
        let items = match &map.item_reader {
            Some(_) => Vec::new(),
            None => self.items(thread, map, &data)?,
        };
        let redriven = thread.map_run.as_ref().filter(|_| thread.redriven);
        if redriven.is_some_and(|(_, redrives)| *redrives >= MAX_REDRIVES) {
            let reason = format!("The map run cannot be redriven more than {MAX_REDRIVES} times");
            return Err(runtime(thread, &reason));
        }
        let again = std::mem::take(&mut thread.redriven)
            .then(|| thread.map_run.take())
            .flatten();
        if again.is_none() {
            let started = Event::StateStarted {
                state_type: StateType::Map,
                length: Some(items.len() as u64),
            };
            self.emit(&mut thread.previous, started);
        }
        let limit = self.count(thread, Some(&map.max_concurrency), "MaxConcurrency", &data)?;
        if let Mode::Distributed(_) = map.mode {
            let mut run = self.map_run(thread, state, map, data, items, limit.unwrap_or(0))?;
            let task = TaskId(self.next_task);
            self.next_task += 1;
            self.flights.insert(task, id);
            let event = match again {
                None => {
                    let map_run_arn = run.map_run_arn().to_owned();
                    thread.map_run = Some((map_run_arn.clone(), 0));
                    Event::MapRunStarted { map_run_arn }
                }
                Some((map_run_arn, redrives)) => {
                    let redrive_count = redrives + 1;
                    run.go_on(map_run_arn.clone(), redrive_count, self.now);
                    thread.map_run = Some((map_run_arn.clone(), redrive_count));
                    Event::MapRunRedriven {
                        map_run_arn,
                        redrive_count,
                    }
                }
            };
            self.emit(&mut thread.previous, event);
            thread.status = Status::MapRun(task);
            self.commands.push(Command::MapRun {
                task,
                run: Box::new(run),
            });
            return Ok(());
        }
        let limit = match limit.unwrap_or(0) {
            0 => MAX_ITERATIONS,
            limit => limit.min(MAX_ITERATIONS),
        };
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        thread.fan = Some(Fan::new(limit, items, data));
        thread.status = Status::Fan;
        self.start_iterations(id, thread, thread.previous)?;
        self.end_fan(id, thread)
    }

    /// The items of a Map state.
    fn items(
        &mut self,
        thread: &Thread<'m>,
        map: &'m checked::Map,
        data: &Value,
    ) -> Result<Vec<Item>, Failure> {
        let value = match &map.items {
            Items::Input => data.clone(),
            Items::Path(path) => {
                let scope = self.scope(thread, data);
                let found = scope.get(path).map(std::borrow::Cow::into_owned);
                found.map_err(|not_found| {
                    runtime(thread, &format!("Invalid path '{path}' : {}", not_found.reason))
                })?
            }
            Items::Template(template) => {
                let value = self.template(thread, Some(template), data.clone())?;
                return match (value, template) {
                    (Value::Object(members), _) => Ok(members_of(members)),
                    (Value::Array(items), _) => Ok(numbered(items)),
                    (value, sfn_builder::template::Template::Computed { field, expression }) => {
                        Err(unexpected(thread, expression, field, "array", &value))
                    }
                    (value, _) => Err(not_an_array(thread, "Items", &value)),
                };
            }
            _ => Value::Null,
        };
        match value {
            Value::Array(items) => Ok(numbered(items)),
            Value::Object(members) if map.mode != Mode::Inline => Ok(members_of(members)),
            value
                if thread
                    .state
                    .is_some_and(|state| state.data.as_jsonata().is_some()) =>
            {
                Err(not_an_array(thread, "Items", &value))
            }
            value => Err(Failure {
                evaluation: None,
                ..not_an_array(thread, "ItemsPath", &value)
            }),
        }
    }

    /// `MaxConcurrency` and its kind.
    pub(super) fn count(
        &mut self,
        thread: &Thread<'m>,
        count: Option<&'m Dynamic<u64>>,
        field: &str,
        data: &Value,
    ) -> Result<Option<u64>, Failure> {
        let expression = match count {
            None => return Ok(None),
            Some(Dynamic::Fixed(count)) => return Ok(Some(*count)),
            Some(Dynamic::Computed(expression)) => expression,
        };
        let value = self.setting(thread, expression, field, data)?;
        match (value.as_u64(), value.as_i64()) {
            (Some(count), _) => Ok(Some(count)),
            (None, Some(_)) => Err(runtime(thread, &format!("{field} cannot be negative."))),
            (None, None) => Err(not_valid(thread, expression, field, "integer", &value)),
        }
    }

    pub(super) fn setting(
        &mut self,
        thread: &Thread<'m>,
        expression: &'m Expression,
        field: &str,
        data: &Value,
    ) -> Result<Value, Failure> {
        match expression {
            Expression::Path(path) => {
                let scope = self.scope(thread, data);
                let found = scope.get(path).map(std::borrow::Cow::into_owned);
                found.map_err(|_| missing(thread, &format!("{field}Path"), path))
            }
            expression => self.evaluate(thread, expression, field, data),
        }
    }

    /// Starts as many iterations as may run; the first of them follows the event `from`.
    fn start_iterations(&mut self, id: ThreadId, thread: &mut Thread<'m>, from: u64) -> Result<(), Failure> {
        let Some(state) = thread.state else { return Ok(()) };
        let checked::StateKind::Map(map) = &state.kind else {
            return Ok(());
        };
        let Some(mut fan) = thread.fan.take() else {
            return Ok(());
        };
        let mut done = Ok(());
        while fan.running < fan.limit {
            let Some(item) = fan.pending.next() else { break };
            let input = match &map.item_selector {
                None => Ok(item.value.clone()),
                Some(selector) => {
                    let mut scope = self.scope(thread, &fan.data);
                    scope.context.item = Some(&item);
                    data::fill(selector, &scope, &mut self.compute)
                        .map_err(|error| data_failure(thread, error))
                }
            };
            let input = match input {
                Ok(input) => input,
                Err(failure) => {
                    done = Err(failure);
                    break;
                }
            };
            let index = fan.children.len();
            let started = Event::MapIteration {
                phase: Phase::Started,
                name: state.name.clone(),
                index: index as u64,
            };
            let started = self.emit_beside(from, started);
            let mut child = Thread::new(&map.processor, Some(id), index, started, input);
            child.variables = Arc::clone(&thread.variables);
            child.item = Some(Arc::new(item));
            fan.add(self.spawn(child));
        }
        thread.fan = Some(fan);
        done
    }

    /// Completes the state if every chain inside it has ended.
    fn end_fan(&mut self, id: ThreadId, thread: &mut Thread<'m>) -> Result<(), Failure> {
        let (Some(fan), Some(state)) = (&mut thread.fan, thread.state) else {
            return Ok(());
        };
        if !fan.is_done() {
            return Ok(());
        }
        let results = fan.results.iter().flatten().cloned().collect();
        let state_type = type_of(state);
        self.emit_beside(thread.previous, Event::StateSucceeded { state_type });
        self.complete(id, thread, results)
    }

    /// A chain that has ended tells the state around it.
    pub(super) fn settle(&mut self, id: ThreadId) {
        if self.outcome.is_some() {
            return;
        }
        let Some(thread) = self.threads.get_mut(id).and_then(Option::as_mut) else {
            return;
        };
        let parent = thread.parent;
        match (&thread.status, parent) {
            (Status::Done(output), None) => {
                let output = output.clone();
                self.finish(Outcome::Succeeded { output });
            }
            (Status::Failed(failure), None) => {
                let Failure { error, cause, .. } = failure.clone();
                self.finish(Outcome::Failed { error, cause });
            }
            (Status::Done(_), Some(parent)) => {
                if let Some(child) = self.threads.get_mut(id).and_then(Option::take) {
                    self.free.push(id);
                    self.child_done(parent, *child);
                }
            }
            (Status::Failed(failure), Some(parent)) => {
                let failure = failure.clone();
                let (index, previous) = (thread.index, thread.previous);
                thread.status = Status::Stopped;
                self.child_failed(parent, index, previous, failure);
            }
            _ => {}
        }
    }

    fn child_done(&mut self, id: ThreadId, child: Thread<'m>) {
        let Some(mut thread) = self.threads.get_mut(id).and_then(Option::take) else {
            return;
        };
        let index = child.index;
        let waits = matches!(thread.status, Status::Fan);
        if let (true, Some(fan), Some(state), Status::Done(value)) =
            (waits, &mut thread.fan, thread.state, child.status)
        {
            fan.children[index] = None;
            fan.results[index] = Some(value);
            fan.running -= 1;
            thread.previous = child.previous;
            let mut done = Ok(());
            if type_of(state) == StateType::Map {
                let succeeded = Event::MapIteration {
                    phase: Phase::Succeeded,
                    name: state.name.clone(),
                    index: index as u64,
                };
                self.emit(&mut thread.previous, succeeded);
                // The next iteration follows the last event of the chain that has made room for it.
                done = self.start_iterations(id, &mut thread, child.previous);
            }
            if let Err(failure) = done.and_then(|()| self.end_fan(id, &mut thread)) {
                self.fail(id, &mut thread, failure);
            }
        }
        self.put_back(id, thread);
    }

    fn child_failed(&mut self, id: ThreadId, index: usize, previous: u64, failure: Failure) {
        let Some(mut thread) = self.threads.get_mut(id).and_then(Option::take) else {
            return;
        };
        if let (Status::Fan, Some(state)) = (&thread.status, thread.state) {
            let fatal = failure.is_fatal();
            let mut failure = Failure {
                evaluation: None,
                inner: !fatal,
                ..failure
            };
            // What ends the execution at once is all that its history says.
            self.stop_children(&mut thread, (!fatal).then_some(previous));
            if type_of(state) != StateType::Map {
                failure.alias.get_or_insert("States.BranchFailed");
            } else if !fatal {
                let failed = Event::MapIteration {
                    phase: Phase::Failed,
                    name: state.name.clone(),
                    index: index as u64,
                };
                self.emit_beside(previous, failed);
            }
            thread.previous = previous;
            self.fail(id, &mut thread, failure);
        }
        self.put_back(id, thread);
    }

    /// Stops every chain inside a state, in their order. What is told of them follows the event that cut them off; without one
    /// nothing is told.
    pub(super) fn stop_children(&mut self, thread: &mut Thread<'m>, cut_by: Option<u64>) {
        let Some(fan) = &mut thread.fan else { return };
        fan.running = 0;
        let children: Vec<ThreadId> = fan.children.iter().flatten().copied().collect();
        let map = thread
            .state
            .filter(|state| type_of(state) == StateType::Map)
            .map(|state| state.name.as_str());
        for child in children {
            self.stop(child, map, cut_by);
        }
    }

    fn stop(&mut self, id: ThreadId, map: Option<&str>, cut_by: Option<u64>) {
        let Some(mut thread) = self.threads.get_mut(id).and_then(Option::take) else {
            return;
        };
        if !matches!(thread.status, Status::Stopped | Status::Done(_)) {
            if let (Some(name), Some(cut_by)) = (map, cut_by) {
                let aborted = Event::MapIteration {
                    phase: Phase::Aborted,
                    name: name.to_owned(),
                    index: thread.index as u64,
                };
                self.emit_beside(cut_by, aborted);
            }
            self.stop_children(&mut thread, cut_by);
            if self.halt(&mut thread)
                && let (Some(state), Some(cut_by)) = (thread.state, cut_by)
            {
                let state_type = type_of(state);
                self.emit_beside(cut_by, Event::StateAborted { state_type });
            }
            thread.status = Status::Stopped;
        }
        if let Some(slot) = self.threads.get_mut(id) {
            *slot = Some(thread);
        }
    }

    /// Forgets the chains inside a state.
    pub(super) fn drop_children(&mut self, thread: &mut Thread<'m>) {
        let Some(fan) = thread.fan.take() else { return };
        for child in fan.children.into_iter().flatten() {
            if let Some(mut child_thread) = self.threads.get_mut(child).and_then(Option::take) {
                self.drop_children(&mut child_thread);
                self.halt(&mut child_thread);
                self.ready.retain(|ready| *ready != child);
                self.free.push(child);
            }
        }
    }

    pub(super) fn map_run_ended(&mut self, task: TaskId, result: Result<Value, TaskFailure>) {
        let Some(id) = self.flights.remove(&task) else {
            return;
        };
        let Some(mut thread) = self.threads.get_mut(id).and_then(Option::take) else {
            return;
        };
        thread.status = Status::Busy;
        let done = match result {
            Ok(value) => {
                let succeeded = Event::MapRunSucceeded {
                    result: value.to_string(),
                };
                self.emit(&mut thread.previous, succeeded);
                let state_type = StateType::Map;
                self.emit_beside(thread.previous, Event::StateSucceeded { state_type });
                self.complete(id, &mut thread, value)
            }
            Err(failure) => {
                let failure = Failure {
                    inner: true,
                    ..Failure::from(failure)
                };
                let failed = Event::MapRunFailed {
                    error: failure.error.clone().unwrap_or_default(),
                    cause: failure.cause.clone(),
                };
                self.emit(&mut thread.previous, failed);
                Err(failure)
            }
        };
        if let Err(failure) = done {
            self.fail(id, &mut thread, failure);
        }
        self.put_back(id, thread);
    }

    /// Goes on with an execution that has failed, timed out or was aborted, from the states that have not ended well. Their
    /// retriers count from the beginning. `false` when there is nothing to redrive.
    pub fn redrive(&mut self, now: jiff::Timestamp) -> bool {
        if self.aborted.take().is_none() && matches!(self.outcome, None | Some(Outcome::Succeeded { .. })) {
            return false;
        }
        self.set_now(now);
        self.outcome = None;
        self.redrives += 1;
        let event = Event::ExecutionRedriven {
            redrive_count: self.redrives,
        };
        let mut previous = self
            .threads
            .get(ROOT)
            .and_then(Option::as_ref)
            .map_or(0, |root| root.previous);
        self.emit(&mut previous, event);
        self.set_timeout();
        self.revive(ROOT, previous);
        true
    }

    fn revive(&mut self, id: ThreadId, previous: u64) {
        let Some(mut thread) = self.threads.get_mut(id).and_then(Option::take) else {
            return;
        };
        thread.previous = previous;
        thread.attempts.clear();
        thread.retry_count = 0;
        match thread.fan.as_mut().filter(|fan| !fan.is_done()) {
            Some(fan) => {
                let children: Vec<ThreadId> = fan.children.iter().flatten().copied().collect();
                fan.running = children.len();
                thread.status = Status::Fan;
                for child in children {
                    self.revive(child, previous);
                }
            }
            None => {
                self.drop_children(&mut thread);
                thread.redriven = thread.map_run.is_some();
                let next = match thread.state {
                    Some(_) => super::Next::Attempt,
                    None => super::Next::Start,
                };
                self.wake(id, &mut thread, next);
            }
        }
        if let Some(slot) = self.threads.get_mut(id) {
            *slot = Some(thread);
        }
    }
}

fn numbered(items: Vec<Value>) -> Vec<Item> {
    let number = |(index, value): (usize, Value)| Item {
        index: index as u64,
        key: None,
        value,
        source: None,
    };
    items.into_iter().enumerate().map(number).collect()
}

/// The members of an object as items.
pub(crate) fn members_of(members: serde_json::Map<String, Value>) -> Vec<Item> {
    let member = |(index, (key, value)): (usize, (String, Value))| Item {
        index: index as u64,
        value: json!({"Key": key, "Value": value}),
        key: Some(key),
        source: None,
    };
    members.into_iter().enumerate().map(member).collect()
}

fn not_an_array(thread: &Thread<'_>, field: &str, value: &Value) -> Failure {
    query(
        thread,
        field.to_owned(),
        &format!("Map state input must be an array but was: {value}"),
    )
}

/// A path leads to a value that its field cannot have.
pub(super) fn not_valid(
    thread: &Thread<'_>,
    expression: &Expression,
    field: &str,
    wanted: &str,
    value: &Value,
) -> Failure {
    let Expression::Path(path) = expression else {
        return unexpected(thread, expression, field, "number", value);
    };
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    runtime(
        thread,
        &format!("The {field}Path field refers to value \"{text}\" which is not a valid {wanted}: {path}"),
    )
}
