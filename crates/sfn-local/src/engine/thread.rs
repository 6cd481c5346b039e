//! One chain of states: the machine itself, a branch of a Parallel state, an iteration of a Map state.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;
use sfn_builder::checked::{Machine, State};

use super::fan::Fan;
use super::task::Flight;
use super::{Failure, Item, ThreadId, TimerKey};
use crate::data::Variables;

pub(super) struct Thread<'m> {
    pub(super) machine: &'m Machine,
    /// The thread of the state around it.
    pub(super) parent: Option<ThreadId>,
    /// Which branch or item of that state.
    pub(super) index: usize,
    /// The event that its next one follows.
    pub(super) previous: u64,
    /// Shared with the chains inside until one of them assigns.
    pub(super) variables: Arc<Variables>,
    /// Of an iteration and whatever is inside it.
    pub(super) item: Option<Arc<Item>>,
    pub(super) state: Option<&'m State>,
    /// The event with which the state was entered.
    pub(super) entered: u64,
    pub(super) entered_at: Timestamp,
    /// The state's input.
    pub(super) input: Value,
    /// The input as JSON text, when it is at hand.
    pub(super) input_text: Option<String>,
    /// For each retrier, how often it was used in this state.
    pub(super) attempts: Vec<u64>,
    pub(super) retry_count: u64,
    /// The token of the task under way.
    pub(super) token: Option<String>,
    /// The ARN of the state's map run, and how often it was redriven.
    pub(super) map_run: Option<(String, u64)>,
    /// The next attempt goes on with the map run.
    pub(super) redriven: bool,
    /// The chains inside the state.
    pub(super) fan: Option<Fan>,
    pub(super) status: Status<'m>,
}

#[derive(Default)]
pub(super) enum Status<'m> {
    /// In the middle of something.
    #[default]
    Busy,
    /// Will go on.
    Ready(Next<'m>),
    Waiting(TimerKey),
    Backoff(TimerKey),
    Task(Flight),
    /// Waits for the chains inside.
    Fan,
    /// Waits for a map run.
    MapRun(super::TaskId),
    /// The chain has ended well.
    Done(Value),
    /// The chain has failed.
    Failed(Failure),
    /// The chain was stopped, as another has failed; or its failure has been told.
    Stopped,
}

pub(super) enum Next<'m> {
    /// Enter the machine.
    Start,
    Enter(&'m State),
    /// Do again, or at last, what the state does.
    Attempt,
}

impl<'m> Thread<'m> {
    pub(super) fn new(
        machine: &'m Machine,
        parent: Option<ThreadId>,
        index: usize,
        previous: u64,
        input: Value,
    ) -> Self {
        Self {
            machine,
            parent,
            index,
            previous,
            variables: Arc::default(),
            item: None,
            state: None,
            entered: 0,
            entered_at: Timestamp::UNIX_EPOCH,
            input,
            input_text: None,
            attempts: Vec::new(),
            retry_count: 0,
            token: None,
            map_run: None,
            redriven: false,
            fan: None,
            status: Status::Ready(Next::Start),
        }
    }
}
