//! The Choice state and its conditions.

use serde_json::{Map, Value, json};

use super::State;
use crate::checked::QueryLanguage;

/// A Choice state: goes where the first condition that holds leads.
///
/// States Language, section "Choice State".
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub struct Choice(State);

shared!(Choice: data, assign);

impl Choice {
    /// A state without any rule yet.
    pub fn new() -> Self {
        Self(State::of_type("Choice")).set("Choices", json!([]))
    }

    /// Adds a rule: when this condition is the first that holds, the machine goes on to `next`.
    ///
    /// States Language, section "Choice State".
    pub fn when(self, condition: Condition, next: impl Into<String>) -> Self {
        self.rule(Rule::new(condition, next))
    }

    /// Adds a rule with more than a condition and a target.
    ///
    /// States Language, section "Choice State".
    pub fn rule(self, rule: Rule) -> Self {
        Self(self.0.append("Choices", rule.0))
    }

    /// Sets `Default`: where to go when no condition holds. Without it the execution fails then.
    ///
    /// States Language, section "Choice State".
    pub fn default(self, next: impl Into<String>) -> Self {
        self.set("Default", next.into())
    }
}

impl Default for Choice {
    fn default() -> Self {
        Self::new()
    }
}

/// A rule of a [`Choice`].
///
/// States Language, section "Choice State", "Choice Rules".
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub struct Rule(Map<String, Value>);

impl Rule {
    /// Goes on to `next` when the condition holds.
    pub fn new(condition: Condition, next: impl Into<String>) -> Self {
        let mut rule = condition.0;
        rule.insert("Next".into(), next.into().into());
        Self(rule)
    }

    /// Sets `Comment`.
    ///
    /// States Language, section "Choice State".
    pub fn comment(mut self, comment: impl Into<String>) -> Self {
        self.0.insert("Comment".into(), comment.into().into());
        self
    }

    /// Sets `Output` of a JSONata state's rule: what the next state gets.
    ///
    /// States Language, section "Input and Output Processing using JSONata".
    pub fn output(mut self, output: impl Into<Value>) -> Self {
        self.0.insert("Output".into(), output.into());
        self
    }

    /// Adds a variable to `Assign`, as the states' own `assign` does; what the state itself assigns does not count then.
    ///
    /// Developer guide, "Passing data between states with variables".
    pub fn assign(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        let entry = (name.into(), value.into());
        match self.0.get_mut("Assign") {
            Some(Value::Object(map)) => {
                map.insert(entry.0, entry.1);
            }
            _ => {
                self.0.insert("Assign".into(), Map::from_iter([entry]).into());
            }
        }
        self
    }
}

/// A condition of a [`Choice`].
///
/// States Language, section "Choice State", "Choice Rules".
///
/// ```
/// use sfn_builder::Condition;
///
/// let missing = Condition::string_matches("$.Error.Cause", "*Could not find*");
/// let both = Condition::all([Condition::is_present("$.Error", true), missing]);
/// ```
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub struct Condition(Map<String, Value>);

macro_rules! operators {
    ($($function:ident, $path_function:ident, $name:literal, $path_name:literal, $type:ty;)+) => {
        impl Condition {
            $(
                #[doc = concat!("`", $name, "`.")]
                pub fn $function(variable: impl Into<String>, value: impl Into<$type>) -> Self {
                    Self::test(variable, $name, value.into())
                }

                #[doc = concat!("`", $path_name, "`: the other value stands at a path.")]
                pub fn $path_function(variable: impl Into<String>, path: impl Into<String>) -> Self {
                    Self::test(variable, $path_name, path.into())
                }
            )+
        }
    };
}

operators! {
    string_equals, string_equals_path, "StringEquals", "StringEqualsPath", String;
    string_less_than, string_less_than_path, "StringLessThan", "StringLessThanPath", String;
    string_greater_than, string_greater_than_path, "StringGreaterThan", "StringGreaterThanPath", String;
    string_less_than_equals, string_less_than_equals_path, "StringLessThanEquals", "StringLessThanEqualsPath", String;
    string_greater_than_equals, string_greater_than_equals_path, "StringGreaterThanEquals", "StringGreaterThanEqualsPath", String;
    numeric_equals, numeric_equals_path, "NumericEquals", "NumericEqualsPath", Value;
    numeric_less_than, numeric_less_than_path, "NumericLessThan", "NumericLessThanPath", Value;
    numeric_greater_than, numeric_greater_than_path, "NumericGreaterThan", "NumericGreaterThanPath", Value;
    numeric_less_than_equals, numeric_less_than_equals_path, "NumericLessThanEquals", "NumericLessThanEqualsPath", Value;
    numeric_greater_than_equals, numeric_greater_than_equals_path, "NumericGreaterThanEquals", "NumericGreaterThanEqualsPath", Value;
    boolean_equals, boolean_equals_path, "BooleanEquals", "BooleanEqualsPath", bool;
    timestamp_equals, timestamp_equals_path, "TimestampEquals", "TimestampEqualsPath", String;
    timestamp_less_than, timestamp_less_than_path, "TimestampLessThan", "TimestampLessThanPath", String;
    timestamp_greater_than, timestamp_greater_than_path, "TimestampGreaterThan", "TimestampGreaterThanPath", String;
    timestamp_less_than_equals, timestamp_less_than_equals_path, "TimestampLessThanEquals", "TimestampLessThanEqualsPath", String;
    timestamp_greater_than_equals, timestamp_greater_than_equals_path, "TimestampGreaterThanEquals", "TimestampGreaterThanEqualsPath", String;
}

macro_rules! properties {
    ($($function:ident, $name:literal;)+) => {
        impl Condition {
            $(
                #[doc = concat!("`", $name, "`, with the answer that is wanted.")]
                pub fn $function(variable: impl Into<String>, wanted: bool) -> Self {
                    Self::test(variable, $name, wanted)
                }
            )+
        }
    };
}

properties! {
    is_present, "IsPresent";
    is_null, "IsNull";
    is_string, "IsString";
    is_numeric, "IsNumeric";
    is_boolean, "IsBoolean";
    is_timestamp, "IsTimestamp";
}

impl Condition {
    /// `Condition` of a JSONata state: an expression that yields a boolean; `{% %}` may be left out.
    ///
    /// States Language, section "Choice State".
    pub fn expression(text: impl Into<String>) -> Self {
        Self::nest("Condition", super::expression(text))
    }

    /// `Condition` of a JSONata state that always holds, or never.
    ///
    /// States Language, section "Choice State".
    pub fn fixed(holds: bool) -> Self {
        Self::nest("Condition", holds)
    }

    /// `StringMatches`: `*` stands for any text, `\\*` for itself.
    ///
    /// States Language, section "Choice State".
    pub fn string_matches(variable: impl Into<String>, pattern: impl Into<String>) -> Self {
        Self::test(variable, "StringMatches", pattern.into())
    }

    /// `And`: all of them hold.
    ///
    /// States Language, section "Choice State".
    pub fn all(conditions: impl IntoIterator<Item = Condition>) -> Self {
        Self::nest(
            "And",
            conditions
                .into_iter()
                .map(|condition| condition.0)
                .collect::<Vec<_>>(),
        )
    }

    /// `Or`: one of them holds.
    ///
    /// States Language, section "Choice State".
    pub fn any(conditions: impl IntoIterator<Item = Condition>) -> Self {
        Self::nest(
            "Or",
            conditions
                .into_iter()
                .map(|condition| condition.0)
                .collect::<Vec<_>>(),
        )
    }

    /// `Not`: it does not hold.
    #[expect(
        clippy::should_implement_trait,
        reason = "it takes its operand as an argument, as `all` and `any` do"
    )]
    pub fn not(condition: Condition) -> Self {
        Self::nest("Not", condition.0)
    }

    fn test(variable: impl Into<String>, operator: &str, value: impl Into<Value>) -> Self {
        // With the `Next` of a rule.
        let mut map = Map::with_capacity(3);
        map.insert("Variable".into(), variable.into().into());
        map.insert(operator.to_owned(), value.into());
        Self(map)
    }

    fn nest(operator: &str, inner: impl Into<Value>) -> Self {
        Self(Map::from_iter([(operator.to_owned(), inner.into())]))
    }
}
