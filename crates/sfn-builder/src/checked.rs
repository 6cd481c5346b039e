//! What a checked machine consists of: every path parsed, every number in range, every name resolved.
//!
//! These types are read, never built by hand; a [`StateMachine`](crate::StateMachine) hands them out.

use jiff::Timestamp;
use serde_json::{Number, Value};

use crate::path::Path;
use crate::template::{Expression, Template};

/// A state.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct State {
    /// Its name.
    pub name: String,
    /// `Comment`.
    pub comment: Option<String>,
    /// `InputPath`; `$` when absent. Fail has none.
    pub input_path: Selection,
    /// `OutputPath`; `$` when absent. Fail has none.
    pub output_path: Selection,
    /// What it does.
    pub kind: StateKind,
}

impl State {
    /// The names of the states that can follow, in the order in which the definition has them; repeats kept.
    #[must_use]
    pub fn successors(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        match &self.kind {
            StateKind::Task(task) => {
                names.extend(task.transition.next());
                names.extend(task.catch.iter().map(|catcher| catcher.next.as_str()));
            }
            StateKind::Pass(pass) => names.extend(pass.transition.next()),
            StateKind::Wait(wait) => names.extend(wait.transition.next()),
            StateKind::Choice(choice) => {
                names.extend(choice.rules.iter().map(|rule| rule.next.as_str()));
                names.extend(choice.default.as_deref());
            }
            StateKind::Succeed | StateKind::Fail(_) => {}
        }
        names
    }

    /// The value of its `Type`.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        match self.kind {
            StateKind::Task(_) => "Task",
            StateKind::Pass(_) => "Pass",
            StateKind::Choice(_) => "Choice",
            StateKind::Wait(_) => "Wait",
            StateKind::Succeed => "Succeed",
            StateKind::Fail(_) => "Fail",
        }
    }
}

/// What a state does.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum StateKind {
    /// Calls something.
    Task(Box<Task>),
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

/// What `InputPath` or `OutputPath` selects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// `null`: nothing, that is `{}`.
    Nothing,
    /// What lies at the path.
    Path(Path),
}

/// Where `ResultPath` puts a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Placement {
    /// `null`: nowhere; the state's input stays as it is.
    Discard,
    /// At this reference path of the input; `$` replaces it.
    At(Path),
}

/// What comes after a state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transition {
    /// Another state.
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
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Task {
    /// `Resource`.
    pub resource: Resource,
    /// `Parameters`.
    pub parameters: Option<Template>,
    /// `ResultSelector`.
    pub result_selector: Option<Template>,
    /// `ResultPath`.
    pub result_path: Placement,
    /// `Retry`.
    pub retry: Vec<Retrier>,
    /// `Catch`.
    pub catch: Vec<Catcher>,
    /// `TimeoutSeconds` or `TimeoutSecondsPath`.
    pub timeout: Option<Seconds>,
    /// `HeartbeatSeconds` or `HeartbeatSecondsPath`.
    pub heartbeat: Option<Seconds>,
    /// `Next` or `End`.
    pub transition: Transition,
}

/// A number of seconds, fixed or from the input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seconds {
    /// Fixed.
    Fixed(u64),
    /// At a reference path.
    Path(Path),
}

/// What a Task calls.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Resource {
    /// The ARN.
    pub arn: String,
    /// What it means.
    pub integration: Integration,
}

/// The kinds of resources that can be called.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Integration {
    /// A Lambda function by its own ARN.
    Lambda,
    /// `arn:aws:states:::service:action[.sync]`.
    Service {
        /// `sagemaker`, or for the generic integration `aws-sdk:sagemaker`: the history's `resourceType`.
        resource_type: String,
        /// `createTrainingJob.sync`: the history's `resource`.
        resource: String,
        /// Whether the service waits for the job to end (`.sync`).
        sync: bool,
    },
}

/// A Pass state.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Pass {
    /// `Parameters`.
    pub parameters: Option<Template>,
    /// `Result`.
    pub result: Option<Value>,
    /// `ResultPath`.
    pub result_path: Placement,
    /// `Next` or `End`.
    pub transition: Transition,
}

/// A Choice state.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Choice {
    /// `Choices`: the first whose condition holds wins.
    pub rules: Vec<Rule>,
    /// `Default`.
    pub default: Option<String>,
}

/// One of a Choice state's `Choices`.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Rule {
    /// When it holds.
    pub condition: Condition,
    /// Where it leads.
    pub next: String,
    /// `Comment`.
    pub comment: Option<String>,
}

/// A condition of a Choice state.
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
}

/// A test of one value.
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operand<T> {
    /// Fixed.
    Fixed(T),
    /// From the input (the `…Path` operators).
    Path(Path),
}

/// What an `Is…` operator asks.
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
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Wait {
    /// How long.
    pub until: Until,
    /// `Next` or `End`.
    pub transition: Transition,
}

/// How long a Wait state waits.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Until {
    /// `Seconds` or `SecondsPath`.
    Seconds(Seconds),
    /// `Timestamp`.
    Timestamp(Timestamp),
    /// `TimestampPath`.
    TimestampPath(Path),
}

/// A Fail state.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Fail {
    /// `Error` or `ErrorPath`.
    pub error: Option<Text>,
    /// `Cause` or `CausePath`.
    pub cause: Option<Text>,
}

/// A text, fixed or from the input.
#[derive(Debug, Clone, PartialEq)]
pub enum Text {
    /// Fixed.
    Fixed(String),
    /// From a path or an intrinsic function.
    Computed(Expression),
}

/// One of a state's `Retry`.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Retrier {
    /// Which errors.
    pub error_equals: Vec<String>,
    /// The first delay, in seconds.
    pub interval_seconds: u64,
    /// How often at most; 0 means never.
    pub max_attempts: u64,
    /// By what each further delay grows.
    pub backoff_rate: f64,
    /// What no delay exceeds, in seconds.
    pub max_delay_seconds: Option<u64>,
    /// Whether a delay is drawn at random from zero to its full length.
    pub full_jitter: bool,
}

/// One of a state's `Catch`.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Catcher {
    /// Which errors.
    pub error_equals: Vec<String>,
    /// Where `{"Error": …, "Cause": …}` goes.
    pub result_path: Placement,
    /// Where it leads.
    pub next: String,
    /// `Comment`.
    pub comment: Option<String>,
}

/// Reads a timestamp in the profile of RFC 3339 that the language asks for: an upper-case `T` between date and time,
/// and an upper-case `Z` where there is no offset.
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
