//! What a checked machine consists of: every path and expression parsed, every number in range, every name resolved.
//!
//! These types are read, never built by hand; a [`StateMachine`](crate::StateMachine) hands them out. The whole machine,
//! each branch of a Parallel state and each item processor of a Map state are all a [`Machine`].

mod data;
mod map;

use jiff::Timestamp;
use serde_json::{Number, Value};

pub use self::data::{Assign, Data, Dynamic, JsonataData, PathData, Placement, QueryLanguage, Selection};
pub(crate) use self::data::{MAX_PAYLOAD, payload_size};
pub use self::map::{
    CsvDelimiter, CsvHeader, ExecutionType, InputType, ItemBatcher, ItemReader, Items, ManifestType, Map,
    Mode, OutputType, ReaderConfig, ReaderTransformation, ResultWriter, WriterConfig, WriterTransformation,
};
use crate::jsonata::Jsonata;
use crate::names::Names;
use crate::path::Path;
use crate::template::Template;

/// States and where they begin: a whole machine, a branch, or an item processor.
///
/// States Language, section "Top-level fields".
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Machine {
    /// Where it stands in the document: a JSON pointer such as `/States/Both/Branches/0`; empty for the whole machine.
    pub pointer: String,
    /// `Comment`.
    pub comment: Option<String>,
    /// `Version`; only the whole machine has one.
    pub version: Option<String>,
    /// `QueryLanguage`: that of each state that has none of its own.
    pub query_language: QueryLanguage,
    /// `TimeoutSeconds`; only the whole machine has one.
    pub timeout_seconds: Option<u64>,
    // INVARIANT: an index into `states`.
    start: usize,
    states: Vec<State>,
    // INVARIANT: of `states`.
    names: Names,
}

impl Machine {
    /// `names` are those of the states, in their order. `None` when there is no state of the name `start_at`.
    pub(crate) fn new(
        pointer: String,
        query_language: QueryLanguage,
        start_at: &str,
        states: Vec<State>,
        names: Names,
    ) -> Option<Self> {
        let mut machine = Self {
            pointer,
            comment: None,
            version: None,
            query_language,
            timeout_seconds: None,
            start: 0,
            states,
            names,
        };
        machine.start = machine.position(start_at)?;
        Some(machine)
    }

    /// The state in which it begins (`StartAt`).
    #[must_use]
    pub fn start(&self) -> &State {
        &self.states[self.start]
    }

    /// Its own states in the order in which the definition has them; not those of branches and item processors.
    #[must_use]
    pub fn states(&self) -> &[State] {
        &self.states
    }

    /// Its own state of this name.
    #[must_use]
    pub fn state(&self, name: &str) -> Option<&State> {
        self.position(name).map(|index| &self.states[index])
    }

    /// The index of its own state of this name in [`states`](Self::states).
    #[must_use]
    pub fn position(&self, name: &str) -> Option<usize> {
        self.names.find(name, |index| &self.states[index].name)
    }

    /// All states, those of branches and item processors after the state they belong to.
    #[must_use]
    pub fn all_states(&self) -> Vec<&State> {
        let mut all = Vec::new();
        self.collect(&mut all);
        all
    }

    fn collect<'a>(&'a self, all: &mut Vec<&'a State>) {
        for state in &self.states {
            all.push(state);
            for machine in state.machines() {
                machine.collect(all);
            }
        }
    }
}

/// A state.
///
/// States Language, section "State Types".
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct State {
    /// Its name; unique in the whole document.
    pub name: String,
    /// Where it stands in the document: a JSON pointer.
    pub pointer: String,
    /// `Comment`.
    pub comment: Option<String>,
    /// What it takes and what it hands on, in its query language.
    pub data: Data,
    /// `Assign`. Of a Choice state that which counts when no rule matches.
    pub assign: Assign,
    /// What it does.
    pub kind: StateKind,
}

impl State {
    /// Its query language: its own, or that of the machine.
    #[must_use]
    pub fn query_language(&self) -> QueryLanguage {
        match self.data {
            Data::JsonPath(_) => QueryLanguage::JsonPath,
            Data::Jsonata(_) => QueryLanguage::Jsonata,
        }
    }

    /// The names of the states that can follow, in the order in which the definition has them; repeats kept.
    #[must_use]
    pub fn successors(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        self.each_successor(&mut |name| names.push(name));
        names
    }

    pub(crate) fn each_successor<'a>(&'a self, visit: &mut impl FnMut(&'a str)) {
        if let Some(Transition::Next(next)) = self.transition() {
            visit(next);
        }
        self.catch().iter().for_each(|catcher| visit(&catcher.next));
        if let StateKind::Choice(choice) = &self.kind {
            choice.rules.iter().for_each(|rule| visit(&rule.next));
            choice.default.iter().for_each(|next| visit(next));
        }
    }

    /// The value of its `Type`.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        match self.kind {
            StateKind::Task(_) => "Task",
            StateKind::Parallel(_) => "Parallel",
            StateKind::Map(_) => "Map",
            StateKind::Pass(_) => "Pass",
            StateKind::Choice(_) => "Choice",
            StateKind::Wait(_) => "Wait",
            StateKind::Succeed => "Succeed",
            StateKind::Fail(_) => "Fail",
        }
    }

    /// `Next` or `End`; `None` for Choice, Succeed and Fail.
    #[must_use]
    pub fn transition(&self) -> Option<&Transition> {
        match &self.kind {
            StateKind::Task(task) => Some(&task.transition),
            StateKind::Parallel(parallel) => Some(&parallel.transition),
            StateKind::Map(map) => Some(&map.transition),
            StateKind::Pass(pass) => Some(&pass.transition),
            StateKind::Wait(wait) => Some(&wait.transition),
            StateKind::Choice(_) | StateKind::Succeed | StateKind::Fail(_) => None,
        }
    }

    /// `Retry`; empty for states that cannot have it.
    #[must_use]
    pub fn retry(&self) -> &[Retrier] {
        match &self.kind {
            StateKind::Task(task) => &task.retry,
            StateKind::Parallel(parallel) => &parallel.retry,
            StateKind::Map(map) => &map.retry,
            _ => &[],
        }
    }

    /// `Catch`; empty for states that cannot have it.
    #[must_use]
    pub fn catch(&self) -> &[Catcher] {
        match &self.kind {
            StateKind::Task(task) => &task.catch,
            StateKind::Parallel(parallel) => &parallel.catch,
            StateKind::Map(map) => &map.catch,
            _ => &[],
        }
    }

    /// The machines inside it: a Parallel state's branches, a Map state's item processor.
    #[must_use]
    pub fn machines(&self) -> &[Machine] {
        match &self.kind {
            StateKind::Parallel(parallel) => &parallel.branches,
            StateKind::Map(map) => std::slice::from_ref(&map.processor),
            _ => &[],
        }
    }
}

/// What a state does.
///
/// States Language, section "State Types".
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum StateKind {
    /// Calls something.
    Task(Box<Task>),
    /// Runs several machines side by side.
    Parallel(Parallel),
    /// Runs one machine for each of many items.
    Map(Box<Map>),
    /// Hands its input on, or a fixed result.
    Pass(Pass),
    /// Branches.
    Choice(Choice),
    /// Waits.
    Wait(Wait),
    /// Ends the machine well.
    Succeed,
    /// Ends the machine badly.
    Fail(Fail),
}

/// What comes after a state.
///
/// States Language, section "Transitions".
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transition {
    /// Another state of the same machine.
    Next(String),
    /// Nothing.
    End,
}

impl Transition {
    /// The next state's name.
    #[must_use]
    pub fn next(&self) -> Option<&str> {
        match self {
            Self::Next(name) => Some(name),
            Self::End => None,
        }
    }
}

/// A Task state.
///
/// States Language, section "Task State".
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Task {
    /// `Resource`.
    pub resource: Resource,
    /// `RoleArn` in `Credentials`: the role that is taken for the call.
    pub role_arn: Option<Dynamic<String>>,
    /// `TimeoutSeconds` or `TimeoutSecondsPath`, 1 to 99,999,999.
    pub timeout: Option<Dynamic<u64>>,
    /// `HeartbeatSeconds` or `HeartbeatSecondsPath`, 1 to 99,999,999 and less than the timeout.
    pub heartbeat: Option<Dynamic<u64>>,
    /// `Retry`.
    pub retry: Vec<Retrier>,
    /// `Catch`.
    pub catch: Vec<Catcher>,
    /// `Next` or `End`.
    pub transition: Transition,
}

/// What a Task calls.
///
/// States Language, section "Task State".
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Resource {
    /// The ARN.
    pub arn: String,
    /// What it means.
    pub integration: Integration,
}

/// The kinds of resources that can be called.
///
/// Developer guide, "Integrating services with Step Functions".
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Integration {
    /// A Lambda function by its own ARN.
    Lambda,
    /// An activity by its ARN: workers fetch the task.
    Activity,
    /// `arn:aws:states:::service:action[.pattern]`.
    Service {
        /// `sagemaker`, or for the generic integration `aws-sdk:sagemaker`: the history's `resourceType`.
        resource_type: String,
        /// `createTrainingJob.sync`: the history's `resource`.
        resource: String,
        /// `createTrainingJob`.
        action: String,
        /// What the state waits for.
        pattern: Pattern,
    },
}

/// What a service integration waits for.
///
/// Developer guide, "Discover service integration patterns in Step Functions".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Pattern {
    /// The answer to the request.
    RequestResponse,
    /// `.sync`: the end of the job.
    Sync,
    /// `.sync:2`: the end of the job; its output is JSON rather than a text.
    Sync2,
    /// `.waitForTaskToken`: that someone sends the token back.
    WaitForTaskToken,
}

impl Pattern {
    /// Whether the service waits for the job to end.
    #[must_use]
    pub fn is_sync(self) -> bool {
        matches!(self, Self::Sync | Self::Sync2)
    }
}

/// A Parallel state.
///
/// States Language, section "Parallel State".
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Parallel {
    /// `Branches`; there is at least one.
    pub branches: Vec<Machine>,
    /// `Retry`.
    pub retry: Vec<Retrier>,
    /// `Catch`.
    pub catch: Vec<Catcher>,
    /// `Next` or `End`.
    pub transition: Transition,
}

/// A Pass state.
///
/// States Language, section "Pass State".
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Pass {
    /// `Result`; JSONPath only.
    pub result: Option<Value>,
    /// `Next` or `End`.
    pub transition: Transition,
}

/// A Choice state.
///
/// States Language, section "Choice State".
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Choice {
    /// `Choices`: the first whose condition holds wins.
    pub rules: Vec<Rule>,
    /// `Default`.
    pub default: Option<String>,
}

/// One of a Choice state's `Choices`.
///
/// States Language, section "Choice State".
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Rule {
    /// When it holds.
    pub condition: Condition,
    /// Where it leads.
    pub next: String,
    /// `Comment`.
    pub comment: Option<String>,
    /// `Assign`: counts instead of the state's when the rule wins.
    pub assign: Assign,
    /// `Output`, JSONata only: counts instead of the state's when the rule wins.
    pub output: Option<Template>,
}

/// A condition of a Choice state.
///
/// States Language, section "Choice State".
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Condition {
    /// All hold.
    And(Vec<Condition>),
    /// One holds.
    Or(Vec<Condition>),
    /// It does not hold.
    Not(Box<Condition>),
    /// A test of one value.
    Test {
        /// `Variable`.
        variable: Path,
        /// What is asked of it.
        test: Test,
    },
    /// `Condition` of a JSONata state, fixed.
    Fixed(bool),
    /// `Condition` of a JSONata state.
    Jsonata(Jsonata),
}

/// A test of one value.
///
/// States Language, section "Choice State".
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Test {
    /// `StringEquals` and its kind.
    String(Relation, Operand<String>),
    /// `NumericEquals` and its kind.
    Numeric(Relation, Operand<Number>),
    /// `TimestampEquals` and its kind.
    Timestamp(Relation, Operand<Timestamp>),
    /// `BooleanEquals`.
    Boolean(Operand<bool>),
    /// `StringMatches`: `*` stands for any text, `\\*` for itself.
    Matches(String),
    /// `IsPresent`, `IsNull`, … with the answer that is wanted.
    Is(Property, bool),
}

/// How two values are compared.
///
/// States Language, section "Choice State".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Relation {
    /// `…Equals`.
    Equals,
    /// `…LessThan`.
    LessThan,
    /// `…GreaterThan`.
    GreaterThan,
    /// `…LessThanEquals`.
    LessThanEquals,
    /// `…GreaterThanEquals`.
    GreaterThanEquals,
}

impl Relation {
    /// Whether it holds for this ordering.
    #[must_use]
    pub fn holds(self, ordering: std::cmp::Ordering) -> bool {
        match self {
            Self::Equals => ordering.is_eq(),
            Self::LessThan => ordering.is_lt(),
            Self::GreaterThan => ordering.is_gt(),
            Self::LessThanEquals => ordering.is_le(),
            Self::GreaterThanEquals => ordering.is_ge(),
        }
    }
}

/// The right-hand side of a comparison.
///
/// States Language, section "Choice State".
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operand<T> {
    /// Fixed.
    Fixed(T),
    /// From the input, the context object or a variable (the `…Path` operators).
    Path(Path),
}

/// What an `Is…` operator asks.
///
/// States Language, section "Choice State".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Property {
    /// `IsPresent`.
    Present,
    /// `IsNull`.
    Null,
    /// `IsString`.
    String,
    /// `IsNumeric`.
    Numeric,
    /// `IsBoolean`.
    Boolean,
    /// `IsTimestamp`.
    Timestamp,
}

/// A Wait state.
///
/// States Language, section "Wait State".
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Wait {
    /// How long.
    pub until: Until,
    /// `Next` or `End`.
    pub transition: Transition,
}

/// How long a Wait state waits.
///
/// States Language, section "Wait State".
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Until {
    /// `Seconds` (0 to 99,999,999) or `SecondsPath`.
    Seconds(Dynamic<u64>),
    /// `Timestamp` or `TimestampPath`.
    Timestamp(Dynamic<Timestamp>),
}

/// A Fail state.
///
/// States Language, section "Fail State".
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Fail {
    /// `Error` or `ErrorPath`.
    pub error: Option<Dynamic<String>>,
    /// `Cause` or `CausePath`.
    pub cause: Option<Dynamic<String>>,
}

/// One of a state's `Retry`.
///
/// States Language, section "Retrying after error".
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Retrier {
    /// Which errors.
    pub error_equals: Vec<String>,
    /// `Comment`.
    pub comment: Option<String>,
    /// The first delay, in seconds; 1 to 99,999,999, by default 1.
    pub interval_seconds: u64,
    /// How often at most, up to 99,999,999; 0 means never, the default is 3.
    pub max_attempts: u64,
    /// By what each further delay grows; at least 1.0, by default 2.0.
    pub backoff_rate: f64,
    /// What no delay exceeds, in seconds: more than `interval_seconds`, less than 31,622,400.
    pub max_delay_seconds: Option<u64>,
    /// Whether a delay is drawn at random from zero to its full length (`JitterStrategy`).
    pub full_jitter: bool,
}

/// One of a state's `Catch`.
///
/// States Language, section "Fallback states".
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Catcher {
    /// Which errors.
    pub error_equals: Vec<String>,
    /// Where `{"Error": …, "Cause": …}` goes; JSONPath only.
    pub result_path: Placement,
    /// `Output`, JSONata only; without it the output is `{"Error": …, "Cause": …}`.
    pub output: Option<Template>,
    /// `Assign`.
    pub assign: Assign,
    /// Where it leads.
    pub next: String,
    /// `Comment`.
    pub comment: Option<String>,
}

/// Reads a timestamp in the profile of RFC 3339 that the language asks for: an upper-case `T` between date and time,
/// and an upper-case `Z` where there is no offset.
///
/// States Language, section "Timestamps".
#[must_use]
pub fn parse_timestamp(text: &str) -> Option<Timestamp> {
    let bytes = text.as_bytes();
    let digits = |range: std::ops::Range<usize>| {
        bytes
            .get(range)
            .is_some_and(|part| part.iter().all(u8::is_ascii_digit))
    };
    let shape =
        digits(0..4) && digits(5..7) && digits(8..10) && digits(11..13) && digits(14..16) && digits(17..19);
    let marks = bytes.get(4) == Some(&b'-')
        && bytes.get(7) == Some(&b'-')
        && bytes.get(10) == Some(&b'T')
        && bytes.get(13) == Some(&b':')
        && bytes.get(16) == Some(&b':');
    if !(shape && marks) {
        return None;
    }
    let mut zone = &text[19..];
    if let Some(fraction) = zone.strip_prefix('.') {
        let end = fraction.find(|c: char| !c.is_ascii_digit())?;
        if end == 0 {
            return None;
        }
        zone = &fraction[end..];
    }
    let zone = zone.as_bytes();
    let offset = zone.len() == 6
        && matches!(zone[0], b'+' | b'-')
        && zone[3] == b':'
        && [1, 2, 4, 5].iter().all(|&at| zone[at].is_ascii_digit());
    if zone != b"Z" && !offset {
        return None;
    }
    text.parse().ok()
}
