//! The events that close the history of an execution that is stopped.

use std::collections::HashMap;

use jiff::Timestamp;

use super::{Event, HistoryEvent, Phase, StateType};

/// The events that end a history whose execution is stopped at `now`: the future of [`run`](crate::run) is dropped
/// first, then these are appended.
///
/// Every Task, Wait, Parallel and Map state that was under way gets its `…StateAborted`, the inner before the outer, and
/// every iteration its `MapIterationAborted`; `ExecutionAborted` comes last. An execution that has ended already gets
/// nothing.
#[must_use]
pub fn abort(
    history: &[HistoryEvent],
    now: Timestamp,
    error: Option<String>,
    cause: Option<String>,
) -> Vec<HistoryEvent> {
    if history.last().is_some_and(|event| event.event.is_final()) {
        return Vec::new();
    }
    let mut id = history.last().map_or(0, |event| event.id);
    let mut last = id;
    let mut appended = Vec::new();
    let mut append = |event: Event, previous: u64| {
        id += 1;
        appended.push(HistoryEvent {
            id,
            previous_event_id: if id <= 2 { 0 } else { previous },
            timestamp: now,
            event,
        });
        id
    };
    let open = Open::of(history);
    // A scope's id is the last event of its chain, which an aborted scope inside it moves on.
    let mut ends: HashMap<u64, u64> = HashMap::new();
    for scope in open.inner_first() {
        let previous = ends.get(&scope.start).copied().unwrap_or(scope.last);
        let event = match &scope.event {
            Event::StateEntered {
                state_type:
                    state_type @ (StateType::Task | StateType::Wait | StateType::Parallel | StateType::Map),
                ..
            } => Event::StateAborted {
                state_type: *state_type,
            },
            Event::MapIteration { name, index, .. } => Event::MapIteration {
                phase: Phase::Aborted,
                name: name.clone(),
                index: *index,
            },
            Event::MapRunStarted { .. } | Event::MapRunRedriven { .. } => Event::MapRunAborted,
            // States that take no time have no such event.
            _ => continue,
        };
        last = append(event, previous);
        if let Some(outer) = scope.outer {
            ends.insert(outer, last);
        }
    }
    append(Event::ExecutionAborted { error, cause }, last);
    appended
}

/// A state, an iteration or a map run that has begun.
struct Scope<'h> {
    event: &'h Event,
    /// The event with which it began.
    start: u64,
    /// The last event of its own chain.
    last: u64,
    /// What it is inside of, by its first event.
    outer: Option<u64>,
}

/// What has begun and not ended.
struct Open<'h> {
    scopes: Vec<Scope<'h>>,
}

impl<'h> Open<'h> {
    fn of(history: &'h [HistoryEvent]) -> Self {
        let mut open = Self { scopes: Vec::new() };
        // To which scope the chain belongs that an event ends.
        let mut scope_of: HashMap<u64, u64> = HashMap::new();
        for event in history {
            let inside = scope_of.get(&event.previous_event_id).copied();
            let now_in = match &event.event {
                Event::StateEntered { .. }
                | Event::MapIteration {
                    phase: Phase::Started,
                    ..
                }
                | Event::MapRunStarted { .. }
                | Event::MapRunRedriven { .. } => {
                    // The next iteration is said to follow the last event of the one before it.
                    let outer = match &event.event {
                        Event::MapIteration { name, .. } => open.map_of(inside, name),
                        _ => inside,
                    };
                    open.scopes.push(Scope {
                        event: &event.event,
                        start: event.id,
                        last: event.id,
                        outer,
                    });
                    Some(event.id)
                }
                Event::StateExited { name, .. } => open.close(inside, |event| {
                    matches!(event, Event::StateEntered { name: entered, .. } if entered == name)
                }),
                Event::MapIteration { name, index, .. } => open.close(inside, |event| {
                    matches!(event, Event::MapIteration { name: n, index: i, .. } if n == name && i == index)
                }),
                Event::MapRunSucceeded { .. } | Event::MapRunFailed { .. } | Event::MapRunAborted => {
                    open.close(inside, |event| {
                        matches!(event, Event::MapRunStarted { .. } | Event::MapRunRedriven { .. })
                    })
                }
                // Another attempt: what was inside the one before it is over.
                Event::StateStarted { state_type, .. } => {
                    let start = open.nearest(inside, |event| {
                        matches!(event, Event::StateEntered { state_type: entered, .. } if entered == state_type)
                    });
                    if let Some(start) = start {
                        open.clear(start);
                    }
                    start
                }
                Event::ExecutionRedriven { .. } => None,
                _ => inside,
            };
            if let Some(scope) = now_in {
                scope_of.insert(event.id, scope);
                if let Some(scope) = open.scopes.iter_mut().find(|open| open.start == scope) {
                    scope.last = event.id;
                }
            }
        }
        open
    }

    fn scope(&self, start: u64) -> Option<&Scope<'h>> {
        self.scopes.iter().rev().find(|scope| scope.start == start)
    }

    /// The innermost scope around a chain for whose first event `is` holds.
    fn nearest(&self, from: Option<u64>, is: impl Fn(&Event) -> bool) -> Option<u64> {
        let mut at = from;
        while let Some(scope) = at.and_then(|start| self.scope(start)) {
            if is(scope.event) {
                return Some(scope.start);
            }
            at = scope.outer;
        }
        None
    }

    fn map_of(&self, from: Option<u64>, name: &str) -> Option<u64> {
        self.nearest(
            from,
            |event| matches!(event, Event::StateEntered { name: entered, .. } if entered == name),
        )
    }

    /// Ends a scope and all inside it; gives what it was inside of.
    fn close(&mut self, from: Option<u64>, is: impl Fn(&Event) -> bool) -> Option<u64> {
        let start = self.nearest(from, is)?;
        let outer = self.scope(start).and_then(|scope| scope.outer);
        self.clear(start);
        self.scopes.retain(|scope| scope.start != start);
        outer
    }

    /// Ends all that is inside a scope.
    fn clear(&mut self, outer: u64) {
        let mut inside = vec![outer];
        while let Some(outer) = inside.pop() {
            inside.extend(
                self.scopes
                    .iter()
                    .filter(|scope| scope.outer == Some(outer))
                    .map(|scope| scope.start),
            );
            self.scopes.retain(|scope| scope.outer != Some(outer));
        }
    }

    /// Those that have nothing open inside them first; otherwise in the order in which they began.
    fn inner_first(&self) -> Vec<&Scope<'h>> {
        fn visit<'a, 'h>(open: &'a Open<'h>, outer: Option<u64>, found: &mut Vec<&'a Scope<'h>>) {
            for scope in open.scopes.iter().filter(|scope| scope.outer == outer) {
                visit(open, Some(scope.start), found);
                found.push(scope);
            }
        }
        let mut found = Vec::new();
        visit(self, None, &mut found);
        found
    }
}
