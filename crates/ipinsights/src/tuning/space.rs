//! What is searched: a range for each hyperparameter that is tuned, and the values of all others.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::hyperparameters::{Draft, Hyperparameters, Problem};

/// Whether a hyperparameter is a whole number. SageMaker's tuning jobs have integer and continuous ranges for the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A whole number.
    Integer,
    /// Any number.
    Continuous,
}

/// The hyperparameters that can be tuned, each with the range that the service's documentation advises.
const TUNABLE: [(&str, Kind, f64, f64); 9] = [
    ("num_entity_vectors", Kind::Integer, 1e4, 1e6),
    ("vector_dim", Kind::Integer, 8.0, 256.0),
    ("epochs", Kind::Integer, 1.0, 100.0),
    ("learning_rate", Kind::Continuous, 1e-4, 0.1),
    ("mini_batch_size", Kind::Integer, 100.0, 50_000.0),
    ("num_ip_encoder_layers", Kind::Integer, 1.0, 10.0),
    ("random_negative_sampling_rate", Kind::Integer, 0.0, 10.0),
    ("shuffled_negative_sampling_rate", Kind::Integer, 0.0, 10.0),
    ("weight_decay", Kind::Continuous, 0.0, 1.0),
];

const RANDOM: &str = "random_negative_sampling_rate";
const SHUFFLED: &str = "shuffled_negative_sampling_rate";

fn tunable(name: &str) -> Option<&'static (&'static str, Kind, f64, f64)> {
    TUNABLE.iter().find(|(known, ..)| *known == name)
}

/// Whether a hyperparameter of this name is a whole number; `None` where there is none that can be tuned.
pub fn kind(name: &str) -> Option<Kind> {
    tunable(name).map(|(_, kind, ..)| *kind)
}

/// The range that the service's documentation advises to tune a hyperparameter over.
///
/// `None` for what is not in its table: `batch_metrics_publish_interval`, and names that are none.
///
/// ```
/// use ipinsights::tuning::{self, Range};
///
/// assert_eq!(tuning::documented_range("vector_dim"), Some(Range::between(8.0, 256.0)));
/// assert_eq!(tuning::documented_range("batch_metrics_publish_interval"), None);
/// ```
pub fn documented_range(name: &str) -> Option<Range> {
    tunable(name).map(|(_, _, min, max)| Range::between(*min, *max))
}

/// The names that [`documented_range`] knows, in the order of the documentation.
pub fn tunable_names() -> impl Iterator<Item = &'static str> {
    TUNABLE.iter().map(|(name, ..)| *name)
}

/// How a range is searched: what is as likely as the other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scaling {
    /// By the range: logarithmic where the greatest value is more than ten times the least; from 0, for what is no whole
    /// number, logarithmic above a millionth of the greatest value and linear below it; else linear.
    ///
    /// The service offers `Auto` too, and does not say how it chooses.
    #[default]
    Auto,
    /// Equal differences.
    Linear,
    /// Equal ratios. The least value must be above 0.
    Logarithmic,
    /// Equal ratios of the distance to 1, for values that matter near 1. The range must lie in 0 to below 1.
    ReverseLogarithmic,
}

/// The values of one hyperparameter that are tried.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Range {
    /// Every value from `min` to `max`, both included.
    Between {
        /// The least value.
        min: f64,
        /// The greatest value.
        max: f64,
        /// What is as likely as the other.
        scaling: Scaling,
    },
    /// One of these, each as likely as the other.
    Among {
        /// As SageMaker's map of hyperparameters would hold them.
        values: Vec<String>,
    },
}

impl Range {
    /// From `min` to `max`, scaled [automatically](Scaling::Auto).
    pub fn between(min: f64, max: f64) -> Self {
        let scaling = Scaling::Auto;
        Self::Between { min, max, scaling }
    }

    /// One of these.
    pub fn among(values: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let values = values.into_iter().map(Into::into).collect();
        Self::Among { values }
    }
}

/// Written as it is read: `8..256`, `0.0001..0.1:linear`, or `32|64|128`.
///
/// The scalings are `linear`, `log` and `reverse-log`; without one it is [`Scaling::Auto`].
impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Between { min, max, scaling } => {
                write!(f, "{min}..{max}")?;
                f.write_str(match scaling {
                    Scaling::Auto => "",
                    Scaling::Linear => ":linear",
                    Scaling::Logarithmic => ":log",
                    Scaling::ReverseLogarithmic => ":reverse-log",
                })
            }
            Self::Among { values } => f.write_str(&values.join("|")),
        }
    }
}

/// A text that is no [`Range`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no range: write 8..256, 0.0001..0.1:log (or :linear, :reverse-log), or 32|64|128")]
pub struct ParseRangeError(String);

impl FromStr for Range {
    type Err = ParseRangeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || ParseRangeError(text.to_owned());
        let Some((min, rest)) = text.split_once("..") else {
            let values: Vec<&str> = text.split('|').map(str::trim).collect();
            if values.iter().any(|value| value.is_empty()) {
                return Err(wrong());
            }
            return Ok(Self::among(values));
        };
        let (max, scaling) = match rest.split_once(':') {
            None => (rest, Scaling::Auto),
            Some((max, "linear")) => (max, Scaling::Linear),
            Some((max, "log")) => (max, Scaling::Logarithmic),
            Some((max, "reverse-log")) => (max, Scaling::ReverseLogarithmic),
            Some(_) => return Err(wrong()),
        };
        let number = |text: &str| text.trim().parse().map_err(|_| wrong());
        let (min, max) = (number(min)?, number(max)?);
        Ok(Self::Between { min, max, scaling })
    }
}

/// Ranges as somebody wrote them down: nothing is checked before [`SpaceDraft::check`].
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SpaceDraft {
    ranges: Vec<(String, Range)>,
}

impl SpaceDraft {
    /// Nothing to search yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Every hyperparameter of the documentation's table over its documented range, but for those named.
    ///
    /// `epochs` is often left out since successive halving has it as its budget, and `num_entity_vectors` since it follows
    /// from the number of entities.
    pub fn documented(without: &[&str]) -> Self {
        let names = tunable_names().filter(|name| !without.contains(name));
        let ranges = names.filter_map(|name| Some((name.to_owned(), documented_range(name)?)));
        Self {
            ranges: ranges.collect(),
        }
    }

    /// Tunes this hyperparameter over this range.
    #[must_use]
    pub fn range(mut self, name: &str, range: Range) -> Self {
        self.ranges.push((name.to_owned(), range));
        self
    }

    /// The checked space: these ranges, and the values of `base` for everything else.
    ///
    /// # Errors
    ///
    /// Every problem at once: no range at all; a name that cannot be tuned, or comes twice; an empty range, or one that
    /// leaves the hyperparameter's valid range or cannot be scaled as asked; negatives that may exceed their joint limit.
    pub fn check(&self, base: &Hyperparameters) -> Result<Space, InvalidSpace> {
        let mut problems = Vec::new();
        let mut dimensions: Vec<Dimension> = Vec::new();
        if self.ranges.is_empty() {
            problems.push(SpaceProblem::Empty);
        }
        for (name, range) in &self.ranges {
            let Some((known, kind, ..)) = tunable(name) else {
                problems.push(SpaceProblem::Name { name: name.clone() });
                continue;
            };
            if dimensions.iter().any(|d| d.name == *known) {
                problems.push(SpaceProblem::Twice { name: known });
                continue;
            }
            match Dimension::check(known, *kind, range, base) {
                Ok(dimension) => dimensions.push(dimension),
                Err(problem) => problems.push(problem),
            }
        }
        if problems.is_empty() {
            let space = Space {
                base: base.clone(),
                dimensions,
            };
            match space.negatives() {
                Ok(()) => return Ok(space),
                Err(problem) => problems.push(problem),
            }
        }
        Err(InvalidSpace { problems })
    }
}

/// The hyperparameters of `base`, some replaced by these texts.
fn replaced<'a>(
    base: &Hyperparameters,
    values: impl IntoIterator<Item = (&'a str, String)>,
) -> Result<Hyperparameters, Vec<Problem>> {
    let mut map = base.to_map();
    map.extend(values.into_iter().map(|(name, value)| (name.to_owned(), value)));
    Draft::from_map(&map)
        .0
        .check()
        .map_err(|invalid| invalid.problems().to_vec())
}

/// What is searched; it comes from [`SpaceDraft::check`] alone.
///
/// A point of it is a number from 0 to below 1 for each range, in the order in which they were given; [`Space::at`] makes
/// hyperparameters of it.
// INVARIANT: every point has valid hyperparameters.
#[derive(Debug, Clone, PartialEq)]
pub struct Space {
    base: Hyperparameters,
    dimensions: Vec<Dimension>,
}

/// One range.
#[derive(Debug, Clone, PartialEq)]
struct Dimension {
    name: &'static str,
    kind: Kind,
    range: Range,
    /// Never `Auto`.
    scale: Scale,
}

/// How a number from 0 to 1 becomes a value.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Scale {
    Linear,
    Logarithmic,
    /// Logarithmic of the value plus this, less this.
    FromZero(f64),
    ReverseLogarithmic,
    /// One of so many.
    Choice(usize),
}

impl Dimension {
    fn check(
        name: &'static str,
        kind: Kind,
        range: &Range,
        base: &Hyperparameters,
    ) -> Result<Self, SpaceProblem> {
        let values = match range {
            Range::Among { values } => values.clone(),
            Range::Between { min, max, .. } => {
                if !(min.is_finite() && max.is_finite() && min <= max) {
                    let range = range.clone();
                    return Err(SpaceProblem::Order { name, range });
                }
                vec![min.to_string(), max.to_string()]
            }
        };
        if values.is_empty() {
            return Err(SpaceProblem::NoValues { name });
        }
        for value in values {
            let problems = replaced(base, [(name, value)]).err().unwrap_or_default();
            // The joint rule of the negatives is looked at for the whole space.
            let own = |problem: &Problem| !matches!(problem, Problem::Negatives { .. });
            if let Some(problem) = problems.into_iter().find(own) {
                return Err(SpaceProblem::Value { problem });
            }
        }
        Ok(Self {
            name,
            kind,
            range: range.clone(),
            scale: Scale::of(name, kind, range)?,
        })
    }

    /// The value at a number from 0 to below 1, as text.
    fn value(&self, at: f64) -> String {
        let at = at.clamp(0.0, 1.0);
        let (min, max) = match &self.range {
            Range::Among { values } => {
                let index = (at * values.len() as f64) as usize;
                return values[index.min(values.len() - 1)].clone();
            }
            Range::Between { min, max, .. } => (*min, *max),
        };
        // A whole number stands for all numbers up to the next.
        let end = match self.kind {
            Kind::Integer => max + 1.0,
            Kind::Continuous => max,
        };
        let between = |low: f64, high: f64| low + at * (high - low);
        // `libm`'s functions are the same on every machine, so a seed means the same trials.
        let logarithmic = |low: f64, high: f64| libm::exp(between(libm::log(low), libm::log(high)));
        let value = match self.scale {
            Scale::Linear | Scale::Choice(_) => between(min, end),
            Scale::Logarithmic => logarithmic(min, end),
            // Exact at 0.
            Scale::FromZero(bend) => bend * libm::expm1(at * libm::log1p(end / bend)),
            Scale::ReverseLogarithmic => 1.0 - logarithmic(1.0 - min, 1.0 - end),
        };
        match self.kind {
            Kind::Integer => value.floor().clamp(min, max).to_string(),
            Kind::Continuous => readable(value).clamp(min, max).to_string(),
        }
    }
}

impl Dimension {
    /// Where a value is, from 0 to below 1; none where it is not of the range. [`Dimension::value`] there is the value.
    fn place(&self, text: &str) -> Option<f64> {
        let text = text.trim();
        let number = text.parse::<f64>().ok();
        let (min, max) = match &self.range {
            Range::Among { values } => {
                let is_it = |value: &&String| {
                    let value = value.trim();
                    value == text || (number.is_some() && value.parse::<f64>().ok() == number)
                };
                let index = values.iter().position(|value| is_it(&value))?;
                return Some((index as f64 + 0.5) / values.len() as f64);
            }
            Range::Between { min, max, .. } => (*min, *max),
        };
        let value = number.filter(|value| (min..=max).contains(value))?;
        // A whole number stands for all numbers up to the next.
        let (value, end) = match self.kind {
            Kind::Integer => (value + 0.5, max + 1.0),
            Kind::Continuous => (value, max),
        };
        let between = |low: f64, at: f64, high: f64| (at - low) / (high - low);
        let logarithmic =
            |low: f64, at: f64, high: f64| between(libm::log(low), libm::log(at), libm::log(high));
        let at = match self.scale {
            Scale::Linear | Scale::Choice(_) => between(min, value, end),
            Scale::Logarithmic => logarithmic(min, value, end),
            Scale::FromZero(bend) => libm::log1p(value / bend) / libm::log1p(end / bend),
            Scale::ReverseLogarithmic => logarithmic(1.0 - min, 1.0 - value, 1.0 - end),
        };
        // A range of one value is nowhere.
        Some(if at.is_finite() {
            at.clamp(0.0, 1.0 - f64::EPSILON)
        } else {
            0.0
        })
    }
}

/// Five significant digits: more make no difference to a model, and are hard to read.
fn readable(value: f64) -> f64 {
    format!("{value:.4e}").parse().unwrap_or(value)
}

impl Scale {
    fn of(name: &'static str, kind: Kind, range: &Range) -> Result<Self, SpaceProblem> {
        let (min, max, scaling) = match range {
            Range::Among { values } => return Ok(Self::Choice(values.len())),
            Range::Between { min, max, scaling } => (*min, *max, *scaling),
        };
        let unfit = |why| {
            let range = range.clone();
            Err(SpaceProblem::Scaling { name, range, why })
        };
        match scaling {
            Scaling::Auto if min > 0.0 && max > 10.0 * min => Ok(Self::Logarithmic),
            Scaling::Auto if min == 0.0 && max > 0.0 && kind == Kind::Continuous => {
                Ok(Self::FromZero(max * 1e-6))
            }
            Scaling::Auto | Scaling::Linear => Ok(Self::Linear),
            Scaling::Logarithmic if min > 0.0 => Ok(Self::Logarithmic),
            Scaling::Logarithmic => unfit("a logarithmic range begins above 0"),
            Scaling::ReverseLogarithmic if kind == Kind::Integer => {
                unfit("whole numbers have no reverse logarithmic scale")
            }
            Scaling::ReverseLogarithmic if max < 1.0 => Ok(Self::ReverseLogarithmic),
            Scaling::ReverseLogarithmic => unfit("a reverse logarithmic range lies in 0 to below 1"),
        }
    }
}

impl Space {
    /// How many hyperparameters are tuned.
    pub fn len(&self) -> usize {
        self.dimensions.len()
    }

    /// Never: there is no space without a range.
    pub fn is_empty(&self) -> bool {
        self.dimensions.is_empty()
    }

    /// What is tuned, and over which ranges.
    pub fn ranges(&self) -> impl Iterator<Item = (&'static str, &Range)> {
        self.dimensions.iter().map(|d| (d.name, &d.range))
    }

    /// Whether this hyperparameter is tuned.
    pub fn tunes(&self, name: &str) -> bool {
        self.dimensions.iter().any(|d| d.name == name)
    }

    /// The values of what is not tuned (and of what is, before it was).
    pub fn base(&self) -> &Hyperparameters {
        &self.base
    }

    /// The number of values of the range, where it is a list.
    #[cfg_attr(
        not(feature = "engine"),
        expect(dead_code, reason = "what models are asked with")
    )]
    pub(crate) fn choices(&self, dimension: usize) -> Option<usize> {
        match self.dimensions.get(dimension)?.scale {
            Scale::Choice(values) => Some(values),
            _ => None,
        }
    }

    /// The hyperparameters at a point. Numbers that are missing count as 0, and those outside 0 to 1 as the nearest of these.
    ///
    /// Where both kinds of negatives would be 0, which is not valid, there is the least number of shuffled ones that the
    /// ranges have above 0, or else of random ones.
    ///
    /// ```
    /// use ipinsights::Hyperparameters;
    /// use ipinsights::tuning::{Range, SpaceDraft};
    ///
    /// let base = Hyperparameters::draft(20_000).check()?;
    /// let space = SpaceDraft::new()
    ///     .range("vector_dim", Range::between(64.0, 1024.0))
    ///     .check(&base)?;
    /// assert_eq!(space.at(&[0.0]).vector_dim(), 64);
    /// assert_eq!(space.at(&[0.5]).vector_dim(), 256);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn at(&self, point: &[f64]) -> Hyperparameters {
        let numbers = point.iter().copied().chain(std::iter::repeat(0.0));
        let mut values: BTreeMap<&str, String> = self
            .dimensions
            .iter()
            .zip(numbers)
            .map(|(dimension, at)| (dimension.name, dimension.value(at)))
            .collect();
        let count = |values: &BTreeMap<&str, String>, name: &str, base: u32| {
            values
                .get(name)
                .map_or(base, |text| text.trim().parse().unwrap_or(base))
        };
        let random = count(&values, RANDOM, self.base.random_negative_sampling_rate());
        let shuffled = count(&values, SHUFFLED, self.base.shuffled_negative_sampling_rate());
        if random == 0
            && shuffled == 0
            && let Some((name, least)) = self.least_negatives()
        {
            values.insert(name, least.to_string());
        }
        // By the invariant there is no error.
        replaced(&self.base, values).unwrap_or_else(|_| self.base.clone())
    }

    /// The point of these values, by SageMaker's names; none where one of what is tuned is missing, or not of its range.
    ///
    /// ```
    /// use ipinsights::Hyperparameters;
    /// use ipinsights::tuning::{Range, SpaceDraft};
    ///
    /// let base = Hyperparameters::draft(20_000).check()?;
    /// let space = SpaceDraft::new().range("vector_dim", Range::between(64.0, 1024.0)).check(&base)?;
    /// let point = space.point(&space.at(&[0.5]).to_map()).unwrap();
    /// assert_eq!(space.at(&point).vector_dim(), 256);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn point(&self, values: &BTreeMap<String, String>) -> Option<Vec<f64>> {
        let place = |dimension: &Dimension| dimension.place(values.get(dimension.name)?);
        self.dimensions.iter().map(place).collect()
    }

    /// The values a count of negatives can have: its least, its least above 0, and its greatest.
    fn counts(&self, name: &str, base: u32) -> [u32; 3] {
        let Some(dimension) = self.dimensions.iter().find(|d| d.name == name) else {
            return [base; 3];
        };
        match &dimension.range {
            // Whole numbers of at most 500, by their own check.
            Range::Between { min, max, .. } => {
                [*min, min.max(max.min(1.0)), *max].map(|number| number as u32)
            }
            Range::Among { values } => {
                let mut counts: Vec<u32> = values
                    .iter()
                    .filter_map(|text| text.trim().parse().ok())
                    .collect();
                counts.sort_unstable();
                let least = counts.first().copied().unwrap_or(base);
                let above = counts.iter().copied().find(|count| *count > 0);
                [
                    least,
                    above.unwrap_or(least),
                    counts.last().copied().unwrap_or(base),
                ]
            }
        }
    }

    fn least_negatives(&self) -> Option<(&'static str, u32)> {
        let counts = [
            (SHUFFLED, self.base.shuffled_negative_sampling_rate()),
            (RANDOM, self.base.random_negative_sampling_rate()),
        ];
        let least = counts.map(|(name, base)| (name, self.counts(name, base)[1]));
        least.into_iter().find(|(_, least)| *least > 0)
    }

    /// Whether the ranges keep to the joint rule of the negatives, zeros aside.
    fn negatives(&self) -> Result<(), SpaceProblem> {
        const MOST: u32 = 500;
        let random = self.counts(RANDOM, self.base.random_negative_sampling_rate())[2];
        let shuffled = self.counts(SHUFFLED, self.base.shuffled_negative_sampling_rate())[2];
        if (1..=MOST).contains(&(random + shuffled)) {
            Ok(())
        } else {
            Err(SpaceProblem::Negatives { random, shuffled })
        }
    }
}

/// Why a [`SpaceDraft`] is no [`Space`]: every problem.
#[derive(Debug, Clone, PartialEq)]
pub struct InvalidSpace {
    problems: Vec<SpaceProblem>,
}

impl InvalidSpace {
    /// The problems, at least one.
    pub fn problems(&self) -> &[SpaceProblem] {
        &self.problems
    }
}

/// The problems, separated by `; `.
impl fmt::Display for InvalidSpace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.problems.iter().enumerate() {
            let separator = if i > 0 { "; " } else { "" };
            write!(f, "{separator}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for InvalidSpace {}

/// One thing that is wrong with a [`SpaceDraft`].
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SpaceProblem {
    /// No range.
    #[error("nothing is tuned: give a range")]
    Empty,
    /// No hyperparameter that can be tuned.
    #[error("`{name}` cannot be tuned: {}", tunable_names().collect::<Vec<_>>().join(", "))]
    Name {
        /// As given.
        name: String,
    },
    /// Two ranges for one hyperparameter.
    #[error("{name} has two ranges: give one")]
    Twice {
        /// The hyperparameter.
        name: &'static str,
    },
    /// A list of no values.
    #[error("{name} has an empty list of values")]
    NoValues {
        /// The hyperparameter.
        name: &'static str,
    },
    /// The least value is above the greatest, or one of them is not finite.
    #[error("the range {range} of {name} is empty: write the least value first")]
    Order {
        /// The hyperparameter.
        name: &'static str,
        /// As given.
        range: Range,
    },
    /// An end of the range, or a value of the list, is not valid.
    #[error("in its tuning range, {problem}")]
    Value {
        /// What the check of that value says.
        problem: Problem,
    },
    /// The range cannot be scaled as asked.
    #[error("the range {range} of {name} does not fit its scale: {why}")]
    Scaling {
        /// The hyperparameter.
        name: &'static str,
        /// As given.
        range: Range,
        /// The rule.
        why: &'static str,
    },
    /// The ranges allow more negatives than there may be, or none.
    #[error(
        "{RANDOM} + {SHUFFLED} must lie in 1..=500 everywhere in the ranges, but can be up to {random} + {shuffled}"
    )]
    Negatives {
        /// The greatest R.
        random: u32,
        /// The greatest S.
        shuffled: u32,
    },
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn base() -> Hyperparameters {
        Hyperparameters::draft(20_000).check().unwrap()
    }

    fn space(ranges: &[(&str, &str)]) -> Result<Space, InvalidSpace> {
        let draft = ranges.iter().fold(SpaceDraft::new(), |draft, (name, range)| {
            draft.range(name, range.parse().unwrap())
        });
        draft.check(&base())
    }

    #[test]
    fn scales_at_their_ends_and_in_the_middle() {
        for (name, range, want) in [
            ("vector_dim", "8..256", ["8", "45", "256"]),
            ("vector_dim", "8..256:linear", ["8", "132", "256"]),
            ("num_ip_encoder_layers", "1..10", ["1", "6", "10"]),
            ("learning_rate", "0.0001..0.1", ["0.0001", "0.0031623", "0.1"]),
            ("learning_rate", "0.1..0.9:reverse-log", ["0.1", "0.7", "0.9"]),
            ("weight_decay", "0..1", ["0", "0.000999", "1"]),
            ("weight_decay", "0..1:linear", ["0", "0.5", "1"]),
            ("mini_batch_size", "100|200|300", ["100", "200", "300"]),
            ("epochs", "5..5", ["5", "5", "5"]),
        ] {
            let space = space(&[(name, range)]).unwrap();
            let got = [0.0, 0.5, 1.0].map(|at| space.at(&[at]).to_map()[name].clone());
            assert_eq!(got, want, "{name} {range}");
        }
    }

    #[test]
    fn whole_numbers_are_equally_likely() {
        let space = space(&[("shuffled_negative_sampling_rate", "0..9")]).unwrap();
        for i in 0..100 {
            let at = (f64::from(i) + 0.5) / 100.0;
            assert_eq!(space.at(&[at]).shuffled_negative_sampling_rate(), i / 10);
        }
    }

    #[test]
    fn every_problem_is_reported() {
        let problems = |ranges: &[(&str, &str)]| space(ranges).unwrap_err().to_string();
        let text = [
            problems(&[]),
            problems(&[
                ("epoch", "1..2"),
                ("vector_dim", "8..2"),
                ("vector_dim", "8..9"),
                ("vector_dim", "8..9"),
            ]),
            problems(&[("vector_dim", "8.5..9"), ("learning_rate", "0..1")]),
            problems(&[
                ("weight_decay", "0..1:log"),
                ("learning_rate", "0.1..1:reverse-log"),
            ]),
            problems(&[("mini_batch_size", "100|many")]),
            problems(&[
                ("random_negative_sampling_rate", "0..300"),
                ("shuffled_negative_sampling_rate", "0..300"),
            ]),
            problems(&[
                ("random_negative_sampling_rate", "0"),
                ("shuffled_negative_sampling_rate", "0..0"),
            ]),
        ]
        .join("\n");
        expect_test::expect![[r#"
            nothing is tuned: give a range
            `epoch` cannot be tuned: num_entity_vectors, vector_dim, epochs, learning_rate, mini_batch_size, num_ip_encoder_layers, random_negative_sampling_rate, shuffled_negative_sampling_rate, weight_decay; the range 8..2 of vector_dim is empty: write the least value first; vector_dim has two ranges: give one
            in its tuning range, vector_dim must be a whole number, got `8.5`; in its tuning range, learning_rate must lie in 0.000001..=10, got 0
            the range 0..1:log of weight_decay does not fit its scale: a logarithmic range begins above 0; the range 0.1..1:reverse-log of learning_rate does not fit its scale: a reverse logarithmic range lies in 0 to below 1
            in its tuning range, mini_batch_size must be a whole number, got `many`
            random_negative_sampling_rate + shuffled_negative_sampling_rate must lie in 1..=500 everywhere in the ranges, but can be up to 300 + 300
            random_negative_sampling_rate + shuffled_negative_sampling_rate must lie in 1..=500 everywhere in the ranges, but can be up to 0 + 0"#]].assert_eq(&text);
    }

    #[test]
    fn no_negatives_at_all_become_the_fewest_there_may_be() {
        let zero = |ranges: &[(&str, &str)]| {
            let at = space(ranges).unwrap().at(&[0.0, 0.0]);
            [
                at.random_negative_sampling_rate(),
                at.shuffled_negative_sampling_rate(),
            ]
        };
        let both = [
            ("random_negative_sampling_rate", "0..10"),
            ("shuffled_negative_sampling_rate", "0..10"),
        ];
        assert_eq!(zero(&both), [0, 1]);
        let lists = [
            ("random_negative_sampling_rate", "0|5"),
            ("shuffled_negative_sampling_rate", "0"),
        ];
        assert_eq!(zero(&lists), [5, 0]);
    }

    #[test]
    fn texts_that_are_no_range_are_told() {
        for text in ["", "1..", "..2", "1..2:", "1..2:square", "a|", "x..y"] {
            let error = text.parse::<Range>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("`{text}` is no range")), "{error}");
        }
    }

    proptest! {
        #[test]
        fn every_point_of_the_documented_space_is_valid(point in prop::collection::vec(0.0..1.0, 9)) {
            let space = SpaceDraft::documented(&[]).check(&base()).unwrap();
            let at = space.at(&point);
            for (name, _, min, max) in TUNABLE {
                let value: f64 = at.to_map()[name].parse().unwrap();
                prop_assert!((min..=max).contains(&value), "{} {}", name, value);
            }
        }

        #[test]
        fn ranges_read_back_as_they_are_written(min in 0.0..1e6, width in 0.0..1e6, scaling in 0..4) {
            let scaling = [Scaling::Auto, Scaling::Linear, Scaling::Logarithmic, Scaling::ReverseLogarithmic]
                [scaling as usize];
            let range = Range::Between { min, max: min + width, scaling };
            prop_assert_eq!(range.to_string().parse::<Range>().unwrap(), range);
        }
    }
}
