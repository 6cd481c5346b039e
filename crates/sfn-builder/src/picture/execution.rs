//! An execution's history, read for pictures: how far each state came, how often, and how long it took.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

/// How far a state came in an execution, for the colours of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum StateStatus {
    /// It ended well.
    Succeeded,
    /// The execution, or the state around it, ended before it did.
    Aborted,
    /// It failed, and a catcher took over.
    Caught,
    /// It is running.
    InProgress,
    /// It failed, and nothing caught it.
    Failed,
}

impl StateStatus {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Succeeded,
        Self::Caught,
        Self::Failed,
        Self::Aborted,
        Self::InProgress,
    ];

    /// The words of the service's console.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "Succeeded",
            Self::Aborted => "Aborted",
            Self::Caught => "Caught error",
            Self::InProgress => "In progress",
            Self::Failed => "Failed",
        }
    }
}

/// What one state did in an execution.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StateRun {
    /// Of a state that was entered several times (in a loop, or once for each item of a Map) the worst.
    pub status: StateStatus,
    /// How often it was entered.
    pub entered: u64,
    /// How often it was tried again by a retrier.
    pub retries: u64,
    /// The time spent in it, all of its entries together; `None` while it is running.
    pub duration: Option<Duration>,
}

impl StateRun {
    /// A state that was entered once.
    #[must_use]
    pub fn new(status: StateStatus) -> Self {
        Self {
            status,
            entered: 1,
            retries: 0,
            duration: None,
        }
    }
}

/// What the states of a machine did in an execution.
///
/// ```
/// use serde_json::json;
/// use sfn_builder::{Execution, StateStatus};
///
/// let history = json!({"events": [
///     {"id": 1, "previousEventId": 0, "type": "ExecutionStarted", "timestamp": 1.0},
///     {"id": 2, "previousEventId": 0, "type": "PassStateEntered", "timestamp": 1.5,
///      "stateEnteredEventDetails": {"name": "Prepare"}},
///     {"id": 3, "previousEventId": 2, "type": "PassStateExited", "timestamp": 2.0,
///      "stateExitedEventDetails": {"name": "Prepare"}},
/// ]});
/// let execution = Execution::from_history(&history)?;
/// let prepare = execution.state("Prepare").unwrap();
/// assert_eq!(prepare.status, StateStatus::Succeeded);
/// assert_eq!(prepare.duration.unwrap().as_millis(), 500);
/// # Ok::<(), sfn_builder::InvalidHistory>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Execution {
    states: HashMap<String, StateRun>,
}

/// Why a value is not an execution's history.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidHistory {
    /// It is not a list of events.
    #[error("a history is a list of events, or an object with such a list as `events`")]
    NotAList,
    /// An event lacks what each has.
    #[error("event {index} of the history has no usable `{field}`")]
    Event {
        /// Zero-based.
        index: usize,
        /// The member.
        field: &'static str,
    },
}

impl Execution {
    /// Nothing has run yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads the events of GetExecutionHistory: its whole answer, or the list in it; oldest or newest first.
    ///
    /// Times may be texts (RFC 3339, as the AWS CLI prints them) or seconds since 1970. Events of unknown types count for
    /// nothing but time.
    ///
    /// # Errors
    ///
    /// It is no list of events, or an event has no `id`, `type` or `timestamp`.
    pub fn from_history(history: &Value) -> Result<Self, InvalidHistory> {
        let list = history.as_array().or_else(|| history.get("events")?.as_array());
        let list = list.ok_or(InvalidHistory::NotAList)?;
        let mut events: Vec<Event<'_>> = list
            .iter()
            .enumerate()
            .map(|(index, event)| Event::read(index, event))
            .collect::<Result<_, _>>()?;
        events.sort_by_key(|event| event.id);
        let mut replay = Replay::default();
        for event in &events {
            replay.event(event);
        }
        Ok(replay.end())
    }

    /// What a state did; `None` when it was not entered.
    #[must_use]
    pub fn state(&self, name: &str) -> Option<&StateRun> {
        self.states.get(name)
    }

    /// Says what a state did, for those who know it from elsewhere.
    pub fn insert(&mut self, name: impl Into<String>, run: StateRun) {
        self.states.insert(name.into(), run);
    }

    /// Whether no state was entered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.states.is_empty()
    }
}

/// What is read of an event.
struct Event<'a> {
    id: u64,
    previous: u64,
    kind: &'a str,
    time: Timestamp,
    /// The state's name, where the event has one.
    name: Option<&'a str>,
}

impl<'a> Event<'a> {
    fn read(index: usize, event: &'a Value) -> Result<Self, InvalidHistory> {
        let missing = |field| InvalidHistory::Event { index, field };
        let details = event.as_object().ok_or(missing("type"))?;
        let name = details.iter().find_map(|(key, details)| {
            key.ends_with("EventDetails")
                .then(|| details.get("name")?.as_str())?
        });
        Ok(Self {
            id: event.get("id").and_then(Value::as_u64).ok_or(missing("id"))?,
            previous: event.get("previousEventId").and_then(Value::as_u64).unwrap_or(0),
            kind: event.get("type").and_then(Value::as_str).ok_or(missing("type"))?,
            time: event
                .get("timestamp")
                .and_then(time)
                .ok_or(missing("timestamp"))?,
            name,
        })
    }

    /// Whether something went wrong in a state.
    fn is_failure(&self) -> bool {
        (self.kind.ends_with("Failed") || self.kind.ends_with("TimedOut"))
            && !self.kind.starts_with("Execution")
    }

    /// Whether something is tried, for the first time or again.
    fn is_start(&self) -> bool {
        self.kind.ends_with("Scheduled") || matches!(self.kind, "MapStateStarted" | "ParallelStateStarted")
    }
}

fn time(value: &Value) -> Option<Timestamp> {
    match value {
        Value::String(text) => text.parse().ok(),
        #[expect(clippy::cast_possible_truncation, reason = "Timestamp judges the range")]
        Value::Number(seconds) => {
            Timestamp::from_millisecond((seconds.as_f64()? * 1000.0).round() as i64).ok()
        }
        _ => None,
    }
}

/// One time that a state was entered.
struct Visit {
    name: String,
    kind: String,
    parent: Option<usize>,
    entered: Timestamp,
    last: Timestamp,
    starts: u64,
    failed: bool,
    ended: Option<StateStatus>,
}

/// Follows the events: each belongs to the visit that the event before it belongs to, but for those that enter and leave.
#[derive(Default)]
struct Replay {
    visits: Vec<Visit>,
    of_event: HashMap<u64, usize>,
    /// When the execution ended.
    ended: Option<Timestamp>,
}

impl Replay {
    fn event(&mut self, event: &Event<'_>) {
        let before = self.of_event.get(&event.previous).copied();
        if let Some(kind) = event.kind.strip_suffix("StateEntered") {
            let parent = before.and_then(|before| match self.visits[before].ended {
                Some(_) => self.visits[before].parent,
                None => Some(before),
            });
            self.of_event.insert(event.id, self.visits.len());
            self.visits.push(Visit {
                name: event.name.unwrap_or_default().to_owned(),
                kind: kind.to_owned(),
                parent,
                entered: event.time,
                last: event.time,
                starts: 0,
                failed: kind == "Fail",
                ended: None,
            });
            return;
        }
        if event.kind.starts_with("Execution") {
            // A redriven execution goes on.
            self.ended =
                (!matches!(event.kind, "ExecutionStarted" | "ExecutionRedriven")).then_some(event.time);
            return;
        }
        let visit = match event.kind.strip_suffix("StateAborted") {
            Some(kind) => self.cut_off(kind, before),
            None => self.visit_of(event, before),
        };
        let Some(visit) = visit else {
            return;
        };
        self.of_event.insert(event.id, visit);
        let visit = &mut self.visits[visit];
        visit.last = event.time;
        if event.is_failure() {
            visit.failed = true;
        } else if event.is_start() {
            visit.starts += 1;
            visit.failed = false;
        } else if event.kind.ends_with("Succeeded") {
            visit.failed = false;
        } else if event.kind.ends_with("StateExited") {
            visit.ended = Some(if visit.failed {
                StateStatus::Caught
            } else {
                StateStatus::Succeeded
            });
        } else if event.kind.ends_with("StateAborted") {
            visit.ended = Some(StateStatus::Aborted);
        }
    }

    /// The visit that an event belongs to: that of the event before, or for what ends a branch or an iteration the state
    /// around it.
    fn visit_of(&self, event: &Event<'_>, before: Option<usize>) -> Option<usize> {
        let kind = ["MapIteration", "MapState", "MapRun", "ParallelState"]
            .into_iter()
            .find(|prefix| event.kind.starts_with(prefix))
            .map(|prefix| {
                if prefix == "ParallelState" {
                    "Parallel"
                } else {
                    "Map"
                }
            });
        let exits = event.kind.ends_with("StateExited");
        // A whole Map or Parallel that has failed may be tried again, or left through a catcher.
        let again = exits || event.is_start();
        let fits = |at: &usize| {
            let visit = &self.visits[*at];
            visit.ended.is_none()
                && kind.is_none_or(|kind| visit.kind == kind)
                && event
                    .name
                    .filter(|_| exits || kind.is_some())
                    .is_none_or(|name| visit.name == name)
                && (kind.is_none() || again || !visit.failed || event.kind.starts_with("MapIteration"))
        };
        let around = std::iter::successors(before, |at| self.visits[*at].parent).find(fits);
        // A history that was cut off at its beginning still tells names.
        around.or_else(|| {
            let name = event.name.filter(|_| exits)?;
            (0..self.visits.len())
                .rev()
                .find(|at| self.visits[*at].ended.is_none() && self.visits[*at].name == name)
        })
    }

    /// The visit of a state of that kind that was cut off: that of the event before, or, as the service tells it, one beside that
    /// which has failed there.
    fn cut_off(&self, kind: &str, before: Option<usize>) -> Option<usize> {
        let ancestors =
            |at: usize| std::iter::successors(self.visits[at].parent, |at| self.visits[*at].parent);
        let failed: Vec<usize> = before.into_iter().flat_map(ancestors).collect();
        let is_open = |at: usize| {
            let visit = &self.visits[at];
            visit.ended.is_none() && !visit.failed && visit.kind == kind
        };
        before.filter(|at| is_open(*at)).or_else(|| {
            failed.iter().find_map(|around| {
                let beside = |at: &usize| ancestors(*at).any(|outer| outer == *around);
                (0..self.visits.len()).find(|at| is_open(*at) && !failed.contains(at) && beside(at))
            })
        })
    }

    fn end(self) -> Execution {
        let mut execution = Execution::new();
        for at in 0..self.visits.len() {
            let visit = &self.visits[at];
            let around = std::iter::successors(visit.parent, |at| self.visits[*at].parent);
            let over = around
                .map(|at| &self.visits[at])
                .find(|around| around.ended.is_some());
            let over = over.map(|around| around.last).or(self.ended);
            let (status, until) = match (visit.ended, over) {
                (Some(status), _) => (status, Some(visit.last)),
                (None, _) if visit.failed && visit.kind == "Fail" => (StateStatus::Failed, Some(visit.last)),
                (None, Some(over)) if visit.failed => (StateStatus::Failed, Some(visit.last.min(over))),
                (None, Some(over)) => (StateStatus::Aborted, Some(over)),
                (None, None) => (StateStatus::InProgress, None),
            };
            let took = until.map(|until| {
                let took = until.duration_since(visit.entered);
                Duration::try_from(took).unwrap_or_default()
            });
            let retries = visit.starts.saturating_sub(1);
            match execution.states.get_mut(&visit.name) {
                None => {
                    let run = StateRun {
                        status,
                        entered: 1,
                        retries,
                        duration: took,
                    };
                    execution.states.insert(visit.name.clone(), run);
                }
                Some(run) => {
                    run.status = run.status.max(status);
                    run.entered += 1;
                    run.retries += retries;
                    run.duration = run.duration.zip(took).map(|(a, b)| a.saturating_add(b));
                }
            }
        }
        execution
    }
}

/// A duration in the largest units that fit.
pub(super) fn duration_text(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 if duration.as_millis() < 1000 => format!("{} ms", duration.as_millis()),
        0..60 => {
            let tenths = duration.subsec_millis() / 100;
            if tenths == 0 || seconds >= 10 {
                format!("{seconds} s")
            } else {
                format!("{seconds}.{tenths} s")
            }
        }
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}
