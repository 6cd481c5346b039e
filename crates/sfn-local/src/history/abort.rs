//! The event that closes the history of an execution that is stopped.

use jiff::Timestamp;

use super::{Event, HistoryEvent};

/// The events that end a history whose execution is stopped at `now`: the future of [`run`](crate::run) is dropped
/// first, then these are appended.
///
/// That is `ExecutionAborted` alone, which follows no other event: the service writes nothing about the states that were under
/// way. Recordings show it for Wait; that it is so inside of Parallel and Map states, too, is not proven. An execution that has
/// ended already gets nothing. Of `history` only the last event is looked at.
#[must_use]
pub fn abort(
    history: &[HistoryEvent],
    now: Timestamp,
    error: Option<String>,
    cause: Option<String>,
) -> Vec<HistoryEvent> {
    let last = history.last();
    if last.is_some_and(|event| event.event.is_final()) {
        return Vec::new();
    }
    vec![HistoryEvent {
        id: last.map_or(0, |event| event.id) + 1,
        previous_event_id: 0,
        timestamp: now,
        event: Event::ExecutionAborted { error, cause },
    }]
}
