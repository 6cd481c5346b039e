//! The ten documented hyperparameters: a draft that takes anything, and the checked set that training takes.
//!
//! SageMaker passes hyperparameters as a map of strings; [`Draft::from_map`] and [`Hyperparameters::to_map`] are that
//! map, in both directions.

use std::collections::BTreeMap;
use std::fmt;

/// The names in the order of the documentation.
const NAMES: [&str; 10] = [
    "num_entity_vectors",
    "vector_dim",
    "batch_metrics_publish_interval",
    "epochs",
    "learning_rate",
    "mini_batch_size",
    "num_ip_encoder_layers",
    "random_negative_sampling_rate",
    "shuffled_negative_sampling_rate",
    "weight_decay",
];

/// The service's container prints these at the top of every log.
const CONTAINER_DEFAULTS: [(&str, &str); NAMES.len()] = [
    ("num_entity_vectors", "100000"),
    ("vector_dim", "128"),
    ("batch_metrics_publish_interval", "1000"),
    ("epochs", "10"),
    ("learning_rate", "0.001"),
    ("mini_batch_size", "5000"),
    ("num_ip_encoder_layers", "1"),
    ("random_negative_sampling_rate", "1"),
    ("shuffled_negative_sampling_rate", "1"),
    ("weight_decay", "0.00001"),
];

/// R + S may not exceed this.
const MAX_NEGATIVES: u32 = 500;

/// Hyperparameters as somebody wrote them down: nothing is checked before [`Draft::check`].
///
/// What is not set has the documented default. Setters cannot fail; a value that is out of range, or text from
/// [`Draft::from_map`] that is no number, is reported by `check`, together with all the others.
///
/// ```
/// use ipinsights::Hyperparameters;
///
/// let problems = Hyperparameters::draft(0).epochs(0).check().unwrap_err();
/// assert_eq!(
///     problems.to_string(),
///     "num_entity_vectors must lie in 1..=250000000, got 0; epochs must be at least 1, got 0"
/// );
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Draft {
    /// Text by documented name: numbers set in code and text from a map take the same way.
    values: BTreeMap<&'static str, String>,
}

impl Draft {
    /// The draft in SageMaker's map of strings, and the names in it that are no hyperparameter.
    ///
    /// Unknown names are not fatal: a job with a misspelt name is known to run with the default instead, so the caller
    /// decides whether to warn or to stop. Names with a leading underscore (such as `_tuning_objective_metric`) are the
    /// service's own and are passed over.
    ///
    /// ```
    /// use ipinsights::Draft;
    ///
    /// let map = [("num_entity_vectors", "20000"), ("epoch", "5"), ("_log_level", "info")]
    ///     .map(|(name, value)| (name.to_owned(), value.to_owned()));
    /// let (draft, unknown) = Draft::from_map(&map.into());
    /// assert_eq!(unknown, ["epoch"]);
    /// assert_eq!(draft.check()?.epochs(), 10);
    /// # Ok::<(), ipinsights::InvalidHyperparameters>(())
    /// ```
    pub fn from_map(map: &BTreeMap<String, String>) -> (Self, Vec<String>) {
        let mut draft = Self::default();
        let mut unknown = Vec::new();
        for (name, value) in map {
            match NAMES.iter().find(|known| *known == name) {
                Some(known) => {
                    draft.values.insert(known, value.clone());
                }
                None if name.starts_with('_') => {}
                None => unknown.push(name.clone()),
            }
        }
        (draft, unknown)
    }

    /// The documented names, in the order of the documentation.
    pub(crate) fn names() -> impl Iterator<Item = &'static str> {
        NAMES.into_iter()
    }

    /// Rows of the entity table; about twice the number of distinct entities keeps hash collisions rare.
    ///
    /// Required. Valid: 1 to 250,000,000.
    #[must_use]
    pub fn num_entity_vectors(self, rows: u64) -> Self {
        self.set("num_entity_vectors", rows)
    }

    /// Fills in what is not set with the defaults of the service's own container, which differ from the documentation in
    /// three: `num_entity_vectors` 100,000 and `vector_dim` 128, which the documentation asks for, and `mini_batch_size`
    /// 5,000 where it says 10,000. A training job that names none of them gets these.
    ///
    /// ```
    /// use ipinsights::Draft;
    ///
    /// let params = Draft::default().or_container_defaults().check()?;
    /// assert_eq!((params.num_entity_vectors(), params.mini_batch_size()), (100_000, 5_000));
    /// # Ok::<(), ipinsights::InvalidHyperparameters>(())
    /// ```
    #[must_use]
    pub fn or_container_defaults(mut self) -> Self {
        for (name, value) in CONTAINER_DEFAULTS {
            self.values.entry(name).or_insert_with(|| value.to_owned());
        }
        self
    }

    /// Numbers in an embedding. Default 128. Valid: 4 to 4,096.
    #[must_use]
    pub fn vector_dim(self, dim: u32) -> Self {
        self.set("vector_dim", dim)
    }

    /// Batches between two reports of the batch metrics. Default 1,000. Valid: at least 1.
    #[must_use]
    pub fn batch_metrics_publish_interval(self, batches: u32) -> Self {
        self.set("batch_metrics_publish_interval", batches)
    }

    /// Passes over the training rows. Default 10. Valid: at least 1.
    #[must_use]
    pub fn epochs(self, epochs: u32) -> Self {
        self.set("epochs", epochs)
    }

    /// Adam's step size at the first mini-batch; from there it falls in a straight line to almost nothing at the last, so what
    /// the last ones do is settle. Default 0.001. Valid: 0.000001 to 10.
    #[must_use]
    pub fn learning_rate(self, rate: f64) -> Self {
        self.set("learning_rate", rate)
    }

    /// Samples in a mini-batch, negatives included, so it holds about `mini_batch_size / (1 + R + S)` observed rows.
    ///
    /// Default 10,000, as documented; the service's container has 5,000 in its own defaults file, see
    /// [`or_container_defaults`](Self::or_container_defaults). Valid: 1 to 500,000.
    #[must_use]
    pub fn mini_batch_size(self, samples: u32) -> Self {
        self.set("mini_batch_size", samples)
    }

    /// Fully connected layers of the address encoder. Default 1. Valid: 0 to 100.
    #[must_use]
    pub fn num_ip_encoder_layers(self, layers: u32) -> Self {
        self.set("num_ip_encoder_layers", layers)
    }

    /// R: random negatives per observed row, the same entity at a uniformly random address.
    ///
    /// Default 1. Valid: 0 to 500, and R + S from 1 to 500.
    #[must_use]
    pub fn random_negative_sampling_rate(self, rate: u32) -> Self {
        self.set("random_negative_sampling_rate", rate)
    }

    /// S: shuffled negatives per observed row, the entity of another row of the mini-batch at this row's address.
    ///
    /// Default 1. Valid: 0 to 500, and R + S from 1 to 500.
    #[must_use]
    pub fn shuffled_negative_sampling_rate(self, rate: u32) -> Self {
        self.set("shuffled_negative_sampling_rate", rate)
    }

    /// What each step takes off a weight that it moves, as a share of it, times the learning rate: decoupled weight decay
    /// (Loshchilov and Hutter, "Decoupled Weight Decay Regularization"). The service documents an L2 term of the loss; Adam
    /// divides such a term by the size of the gradient, which lets even the default outweigh what is known of rare rows.
    ///
    /// Default 0.00001. Valid: 0 to 10.
    #[must_use]
    pub fn weight_decay(self, factor: f64) -> Self {
        self.set("weight_decay", factor)
    }

    /// The checked set.
    ///
    /// # Errors
    ///
    /// Every problem at once: a required name that is missing, text that is no number, values out of range, and R + S out
    /// of its joint range.
    pub fn check(&self) -> Result<Hyperparameters, InvalidHyperparameters> {
        let mut reader = Reader {
            draft: self,
            problems: Vec::new(),
        };
        let checked = Hyperparameters {
            num_entity_vectors: reader.integer("num_entity_vectors", 1, 250_000_000, None),
            vector_dim: reader.integer("vector_dim", 4, 4_096, Some(128)),
            batch_metrics_publish_interval: reader.integer(
                "batch_metrics_publish_interval",
                1,
                u32::MAX,
                Some(1_000),
            ),
            epochs: reader.integer("epochs", 1, u32::MAX, Some(10)),
            learning_rate: reader.float("learning_rate", 1e-6, 10.0, 0.001),
            mini_batch_size: reader.integer(
                "mini_batch_size",
                1,
                500_000,
                Some(Hyperparameters::DOCUMENTED_MINI_BATCH_SIZE),
            ),
            num_ip_encoder_layers: reader.integer("num_ip_encoder_layers", 0, 100, Some(1)),
            random_negative_sampling_rate: reader.integer(
                "random_negative_sampling_rate",
                0,
                MAX_NEGATIVES,
                Some(1),
            ),
            shuffled_negative_sampling_rate: reader.integer(
                "shuffled_negative_sampling_rate",
                0,
                MAX_NEGATIVES,
                Some(1),
            ),
            weight_decay: reader.float("weight_decay", 0.0, 10.0, 0.00001),
        };
        let (random, shuffled) = (
            checked.random_negative_sampling_rate,
            checked.shuffled_negative_sampling_rate,
        );
        // Where one of the two is itself wrong, their sum says nothing more.
        let both_read = !reader
            .problems
            .iter()
            .any(|p| p.name().ends_with("negative_sampling_rate"));
        if both_read && !(1..=MAX_NEGATIVES).contains(&(random + shuffled)) {
            reader.problems.push(Problem::Negatives { random, shuffled });
        }
        if reader.problems.is_empty() {
            Ok(checked)
        } else {
            Err(InvalidHyperparameters {
                problems: reader.problems,
            })
        }
    }

    fn set(mut self, name: &'static str, value: impl fmt::Display) -> Self {
        self.values.insert(name, value.to_string());
        self
    }
}

/// Reads one value after the other and keeps the problems.
struct Reader<'a> {
    draft: &'a Draft,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    /// The value, or `min` next to a problem. `max` of `u32::MAX` stands for "no upper bound".
    fn integer(&mut self, name: &'static str, min: u32, max: u32, default: Option<u32>) -> u32 {
        let Some(text) = self.draft.values.get(name) else {
            if default.is_none() {
                self.problems.push(Problem::Missing { name });
            }
            return default.unwrap_or(min);
        };
        let text = text.trim();
        let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            self.problems.push(Problem::NotAnInteger {
                name,
                got: text.to_owned(),
            });
            return min;
        }
        // Digits that do not fit are out of range, whatever the range.
        match text.parse::<u32>() {
            Ok(value) if (min..=max).contains(&value) => value,
            _ => {
                self.problems.push(Problem::OutOfRange {
                    name,
                    min: min.to_string(),
                    max: (max != u32::MAX).then(|| max.to_string()),
                    got: text.to_owned(),
                });
                min
            }
        }
    }

    fn float(&mut self, name: &'static str, min: f64, max: f64, default: f64) -> f64 {
        let Some(text) = self.draft.values.get(name) else {
            return default;
        };
        let text = text.trim();
        match text.parse::<f64>() {
            Ok(value) if (min..=max).contains(&value) => value,
            Ok(_) => {
                self.problems.push(Problem::OutOfRange {
                    name,
                    min: min.to_string(),
                    max: Some(max.to_string()),
                    got: text.to_owned(),
                });
                default
            }
            Err(_) => {
                self.problems.push(Problem::NotANumber {
                    name,
                    got: text.to_owned(),
                });
                default
            }
        }
    }
}

/// Hyperparameters within their documented ranges; they come from [`Draft::check`] alone.
// INVARIANT: every value lies in its documented range, and 1 <= R + S <= 500.
#[derive(Debug, Clone, PartialEq)]
pub struct Hyperparameters {
    num_entity_vectors: u32,
    vector_dim: u32,
    batch_metrics_publish_interval: u32,
    epochs: u32,
    learning_rate: f64,
    mini_batch_size: u32,
    num_ip_encoder_layers: u32,
    random_negative_sampling_rate: u32,
    shuffled_negative_sampling_rate: u32,
    weight_decay: f64,
}

impl Hyperparameters {
    /// The default `mini_batch_size` of the documentation, and of a [`Draft`].
    pub const DOCUMENTED_MINI_BATCH_SIZE: u32 = 10_000;
    /// The default `mini_batch_size` in the service's container, and of [`Draft::or_container_defaults`].
    pub const CONTAINER_MINI_BATCH_SIZE: u32 = 5_000;

    /// The defaults of the service's container as a map of strings.
    pub fn container_defaults() -> BTreeMap<String, String> {
        CONTAINER_DEFAULTS
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into()
    }

    /// A draft with the one required value and the documented defaults.
    pub fn draft(num_entity_vectors: u64) -> Draft {
        Draft::default().num_entity_vectors(num_entity_vectors)
    }

    /// A draft that suits this many training rows and distinct entities; change what you know better.
    ///
    /// The documented defaults are for millions of rows: on 250 rows they end after ten steps, and the scores mean next to
    /// nothing. Measured on networks of five countries against those of a sixth (`examples/small_data.rs`; the crate's
    /// front page has the figures), and where there are ten entities or more on logins of 10 to 100 users (NOTES.md):
    ///
    /// | rows | entities | `num_ip_encoder_layers` | `mini_batch_size` | `learning_rate` | `epochs` |
    /// | --- | --- | --- | --- | --- | --- |
    /// | up to 500 | fewer than 10 | 0 | 20 | 0.0005 | 60 |
    /// | up to 5,000 | fewer than 10 | 0 | 50 | 0.0005 | 40 |
    /// | up to 50,000 | fewer than 10 | 0 | 500 | 0.001 | 30 |
    /// | up to 50,000 | more | 1 | 200 | 0.01 | 10 |
    /// | more | | 1 | 1,000 | 0.01 | 5 |
    ///
    /// The last line is what the service's tutorial uses for 2.1 million rows. `num_entity_vectors` is twice the entities,
    /// as the service advises, but at least 1,000: spare rows cost nothing and a few entities stay apart.
    pub fn advise(rows: u64, entities: u64) -> Draft {
        let draft = Self::draft(entities.saturating_mul(2).clamp(1_000, 250_000_000));
        let of_few_entities = draft.clone().num_ip_encoder_layers(0);
        match (rows, entities) {
            (..=500, ..10) => of_few_entities
                .mini_batch_size(20)
                .learning_rate(0.0005)
                .epochs(60),
            (..=5_000, ..10) => of_few_entities
                .mini_batch_size(50)
                .learning_rate(0.0005)
                .epochs(40),
            (..=50_000, ..10) => of_few_entities
                .mini_batch_size(500)
                .learning_rate(0.001)
                .epochs(30),
            (..=50_000, _) => draft.mini_batch_size(200).learning_rate(0.01).epochs(10),
            _ => draft.mini_batch_size(1_000).learning_rate(0.01).epochs(5),
        }
    }

    /// SageMaker's map of strings: all ten names. [`Draft::from_map`] reads it back to an equal set.
    pub fn to_map(&self) -> BTreeMap<String, String> {
        // An array of a fixed length, so that no name is forgotten.
        let values: [String; NAMES.len()] = [
            self.num_entity_vectors.to_string(),
            self.vector_dim.to_string(),
            self.batch_metrics_publish_interval.to_string(),
            self.epochs.to_string(),
            self.learning_rate.to_string(),
            self.mini_batch_size.to_string(),
            self.num_ip_encoder_layers.to_string(),
            self.random_negative_sampling_rate.to_string(),
            self.shuffled_negative_sampling_rate.to_string(),
            self.weight_decay.to_string(),
        ];
        NAMES.map(str::to_owned).into_iter().zip(values).collect()
    }

    /// The same values as a draft, to change some and check again.
    pub fn to_draft(&self) -> Draft {
        Draft::from_map(&self.to_map()).0
    }

    /// Rows of the entity table, 1 to 250,000,000.
    pub fn num_entity_vectors(&self) -> u64 {
        u64::from(self.num_entity_vectors)
    }

    /// Numbers in an embedding, 4 to 4,096 (default 128).
    pub fn vector_dim(&self) -> u32 {
        self.vector_dim
    }

    /// Batches between two reports of the batch metrics, at least 1 (default 1,000).
    pub fn batch_metrics_publish_interval(&self) -> u32 {
        self.batch_metrics_publish_interval
    }

    /// Passes over the training rows, at least 1 (default 10).
    pub fn epochs(&self) -> u32 {
        self.epochs
    }

    /// Adam's step size, 0.000001 to 10 (default 0.001).
    pub fn learning_rate(&self) -> f64 {
        self.learning_rate
    }

    /// Samples in a mini-batch, negatives included, 1 to 500,000 (default 10,000).
    pub fn mini_batch_size(&self) -> u32 {
        self.mini_batch_size
    }

    /// Fully connected layers of the address encoder, 0 to 100 (default 1).
    pub fn num_ip_encoder_layers(&self) -> u32 {
        self.num_ip_encoder_layers
    }

    /// R: random negatives per observed row, 0 to 500 (default 1).
    pub fn random_negative_sampling_rate(&self) -> u32 {
        self.random_negative_sampling_rate
    }

    /// S: shuffled negatives per observed row, 0 to 500 (default 1).
    pub fn shuffled_negative_sampling_rate(&self) -> u32 {
        self.shuffled_negative_sampling_rate
    }

    /// Decoupled weight decay, 0 to 10 (default 0.00001); see [`Draft::weight_decay`].
    pub fn weight_decay(&self) -> f64 {
        self.weight_decay
    }
}

/// Why a [`Draft`] is no set of [`Hyperparameters`]: every problem, in the order of the documentation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidHyperparameters {
    problems: Vec<Problem>,
}

impl InvalidHyperparameters {
    /// The problems, at least one.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

/// The problems, separated by `; `.
impl fmt::Display for InvalidHyperparameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.problems.iter().enumerate() {
            if i > 0 {
                f.write_str("; ")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for InvalidHyperparameters {}

/// One thing that is wrong with a [`Draft`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// A required value is not set.
    #[error("{name} is required (about twice the number of distinct entities)")]
    Missing {
        /// The hyperparameter.
        name: &'static str,
    },
    /// Text where a whole number belongs.
    #[error("{name} must be a whole number, got `{got}`")]
    NotAnInteger {
        /// The hyperparameter.
        name: &'static str,
        /// The text as given.
        got: String,
    },
    /// Text where a number belongs.
    #[error("{name} must be a number, got `{got}`")]
    NotANumber {
        /// The hyperparameter.
        name: &'static str,
        /// The text as given.
        got: String,
    },
    /// A number outside the documented range.
    #[error("{name} must {}, got {got}", range(min, max.as_deref()))]
    OutOfRange {
        /// The hyperparameter.
        name: &'static str,
        /// The least valid value.
        min: String,
        /// The greatest valid value, if there is one.
        max: Option<String>,
        /// The number as given.
        got: String,
    },
    /// R and S are each valid but their sum is not.
    #[error(
        "random_negative_sampling_rate + shuffled_negative_sampling_rate must lie in 1..={MAX_NEGATIVES}, \
         got {random} + {shuffled}"
    )]
    Negatives {
        /// R as given.
        random: u32,
        /// S as given.
        shuffled: u32,
    },
}

impl Problem {
    /// The hyperparameter; for [`Problem::Negatives`] the first of the two.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Missing { name }
            | Self::NotAnInteger { name, .. }
            | Self::NotANumber { name, .. }
            | Self::OutOfRange { name, .. } => name,
            Self::Negatives { .. } => "random_negative_sampling_rate",
        }
    }
}

fn range(min: &str, max: Option<&str>) -> String {
    match max {
        Some(max) => format!("lie in {min}..={max}"),
        None => format!("be at least {min}"),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use proptest::prelude::*;

    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    }

    fn check(pairs: &[(&str, &str)], want: Expect) {
        let (draft, unknown) = Draft::from_map(&map(pairs));
        let mut got = match draft.check() {
            Ok(checked) => format!("{:?}\n", checked.to_map()),
            Err(invalid) => invalid.problems().iter().map(|p| format!("{p}\n")).collect(),
        };
        if !unknown.is_empty() {
            got += &format!("unknown: {unknown:?}\n");
        }
        want.assert_eq(&got);
    }

    #[test]
    fn documented_defaults() {
        check(
            &[("num_entity_vectors", "10")],
            expect![[r#"
                {"batch_metrics_publish_interval": "1000", "epochs": "10", "learning_rate": "0.001", "mini_batch_size": "10000", "num_entity_vectors": "10", "num_ip_encoder_layers": "1", "random_negative_sampling_rate": "1", "shuffled_negative_sampling_rate": "1", "vector_dim": "128", "weight_decay": "0.00001"}
            "#]],
        );
    }

    #[test]
    fn every_problem_at_once() {
        check(
            &[
                ("vector_dim", "3"),
                ("batch_metrics_publish_interval", "0"),
                ("epochs", "-1"),
                ("learning_rate", "NaN"),
                ("mini_batch_size", "500001"),
                ("num_ip_encoder_layers", "101"),
                ("random_negative_sampling_rate", "501"),
                ("shuffled_negative_sampling_rate", "one"),
                ("weight_decay", "10.1"),
            ],
            expect![[r#"
                num_entity_vectors is required (about twice the number of distinct entities)
                vector_dim must lie in 4..=4096, got 3
                batch_metrics_publish_interval must be at least 1, got 0
                epochs must be at least 1, got -1
                learning_rate must lie in 0.000001..=10, got NaN
                mini_batch_size must lie in 1..=500000, got 500001
                num_ip_encoder_layers must lie in 0..=100, got 101
                random_negative_sampling_rate must lie in 0..=500, got 501
                shuffled_negative_sampling_rate must be a whole number, got `one`
                weight_decay must lie in 0..=10, got 10.1
            "#]],
        );
    }

    #[test]
    fn text_that_is_no_number() {
        check(
            &[
                ("num_entity_vectors", "99999999999999999999"),
                ("epochs", "1.5"),
                ("vector_dim", ""),
                ("learning_rate", "fast"),
            ],
            expect![[r#"
                num_entity_vectors must lie in 1..=250000000, got 99999999999999999999
                vector_dim must be a whole number, got ``
                epochs must be a whole number, got `1.5`
                learning_rate must be a number, got `fast`
            "#]],
        );
    }

    #[test]
    fn joint_rule_of_the_negatives() {
        let with = |r, s| {
            Hyperparameters::draft(10)
                .random_negative_sampling_rate(r)
                .shuffled_negative_sampling_rate(s)
                .check()
        };
        for (r, s, valid) in [
            (0, 0, false),
            (0, 1, true),
            (1, 0, true),
            (500, 0, true),
            (250, 250, true),
            (250, 251, false),
            (500, 500, false),
        ] {
            assert_eq!(with(r, s).is_ok(), valid, "R={r} S={s}");
        }
        assert_eq!(
            with(0, 0).unwrap_err().to_string(),
            "random_negative_sampling_rate + shuffled_negative_sampling_rate must lie in 1..=500, got 0 + 0"
        );
    }

    #[test]
    fn ends_of_the_ranges_are_valid() {
        let least = [
            ("num_entity_vectors", "1"),
            ("vector_dim", "4"),
            ("batch_metrics_publish_interval", "1"),
            ("epochs", "1"),
            ("learning_rate", "1e-6"),
            ("mini_batch_size", "1"),
            ("num_ip_encoder_layers", "0"),
            ("random_negative_sampling_rate", "0"),
            ("weight_decay", "0.0"),
        ];
        let greatest = [
            ("num_entity_vectors", "250000000"),
            ("vector_dim", "4096"),
            ("learning_rate", "10"),
            ("mini_batch_size", "500000"),
            ("num_ip_encoder_layers", "100"),
            ("random_negative_sampling_rate", "499"),
            ("weight_decay", " 10.0 "),
        ];
        for pairs in [&least[..], &greatest[..]] {
            let (draft, _) = Draft::from_map(&map(pairs));
            draft.check().unwrap();
        }
    }

    #[test]
    fn advice_is_always_valid() {
        for rows in [0, 1, 500, 501, 5_000, 5_001, u64::MAX] {
            for entities in [0, 1, 500, 501, 1_000_000, u64::MAX] {
                let params = Hyperparameters::advise(rows, entities).check().unwrap();
                assert!(params.num_entity_vectors() >= entities.saturating_mul(2).min(250_000_000));
            }
        }
    }

    #[test]
    fn unknown_names_are_reported_but_the_services_own_are_not() {
        check(
            &[
                ("num_entity_vectors", "10"),
                ("epoch", "3"),
                ("feature_dim", "2"),
                ("_tuning_objective_metric", "x"),
            ],
            expect![[r#"
                {"batch_metrics_publish_interval": "1000", "epochs": "10", "learning_rate": "0.001", "mini_batch_size": "10000", "num_entity_vectors": "10", "num_ip_encoder_layers": "1", "random_negative_sampling_rate": "1", "shuffled_negative_sampling_rate": "1", "vector_dim": "128", "weight_decay": "0.00001"}
                unknown: ["epoch", "feature_dim"]
            "#]],
        );
    }

    proptest! {
        #[test]
        fn map_round_trip(
            rows in 1u64..=250_000_000,
            dim in 4u32..=4096,
            interval in 1u32..,
            epochs in 1u32..,
            rate in 1e-6..=10.0,
            batch in 1u32..=500_000,
            layers in 0u32..=100,
            random in 0u32..=250,
            shuffled in 1u32..=250,
            decay in 0.0..=10.0,
        ) {
            let checked = Hyperparameters::draft(rows)
                .vector_dim(dim)
                .batch_metrics_publish_interval(interval)
                .epochs(epochs)
                .learning_rate(rate)
                .mini_batch_size(batch)
                .num_ip_encoder_layers(layers)
                .random_negative_sampling_rate(random)
                .shuffled_negative_sampling_rate(shuffled)
                .weight_decay(decay)
                .check();
            // `u32::MAX` stands for "no bound" and is itself valid.
            let checked = checked.unwrap();
            prop_assert_eq!(checked.learning_rate(), rate);
            let (draft, unknown) = Draft::from_map(&checked.to_map());
            prop_assert!(unknown.is_empty());
            prop_assert_eq!(draft.check().unwrap(), checked);
        }
    }
}
