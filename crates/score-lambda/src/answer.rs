//! What is asked and answered, as types: the documents of the API and their schemas are both made of these.

use std::net::Ipv4Addr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Cutoff;

/// Of the answer to `POST /score`. 1 refused a request with one invalid row.
pub(crate) const VERSION: u32 = 2;

/// Rows to be scored.
#[derive(Debug, JsonSchema)]
#[schemars(rename = "ScoreRequest", deny_unknown_fields)]
#[expect(
    dead_code,
    reason = "for its schema: rows are read one by one, so that one may be wrong"
)]
pub(crate) struct Request {
    /// At most 10,000.
    #[schemars(length(max = 10_000))]
    rows: Vec<RequestRow>,
}

/// One use of an entity from an address.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
#[schemars(rename = "Row")]
pub(crate) struct RequestRow {
    /// Who: an account, a device, a country.
    #[schemars(length(min = 1))]
    pub(crate) entity: String,
    /// From where: an IPv4 address in dotted form.
    #[schemars(extend("format" = "ipv4"))]
    pub(crate) ip: String,
}

/// Verdicts, one for each row of the request and in their order.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ScoreResponse")]
pub(crate) struct Response {
    /// Of this form of the answer: 2.
    pub(crate) version: u32,
    /// Where the line is drawn.
    pub(crate) threshold: Cutoff,
    /// Which end of the scores is which.
    pub(crate) score_direction: Direction,
    /// The rule of the verdicts. A score that is not a number is anomalous, too.
    pub(crate) anomalous_when: Rule,
    /// How many rows came to what.
    pub(crate) counts: Counts,
    /// One for each row of the request, in their order.
    pub(crate) verdicts: Vec<Entry>,
}

/// Which end of the scores is which.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Direction {
    /// A larger score is more normal, a smaller one more anomalous.
    LargerIsMoreNormal,
}

/// When a row is anomalous.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
pub(crate) enum Rule {
    /// It lies strictly below the line.
    #[serde(rename = "score < threshold.value")]
    Below,
}

/// How many rows came to what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct Counts {
    /// Rows of the request.
    pub rows: usize,
    /// Those with a verdict.
    pub scored: usize,
    /// Of those with a verdict, the anomalous ones.
    pub anomalous: usize,
    /// Those with an error in place of a verdict.
    pub failed: usize,
}

/// What became of a row: a verdict, or the reason why there is none.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum Entry {
    /// It was scored.
    Verdict(Verdict),
    /// It cannot be scored; the others are.
    Failed(Failed),
}

/// What is said of a row.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Verdict {
    /// As it came.
    pub(crate) entity: String,
    /// As it came.
    #[schemars(with = "String", extend("format" = "ipv4"))]
    pub(crate) ip: Ipv4Addr,
    /// Larger is more normal; null when the model has no number for it.
    pub(crate) score: Option<f32>,
    /// Whether the score lies below the threshold, or is no number.
    pub(crate) anomalous: bool,
}

/// A row that cannot be scored.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Failed {
    /// Why.
    pub(crate) error: RowError,
}

/// Why a row cannot be scored.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct RowError {
    /// For programs.
    pub(crate) code: RowCode,
    /// For people.
    pub(crate) message: String,
}

/// Kinds of errors of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RowCode {
    /// It is not of the form of a row.
    InvalidRow,
    /// Its entity is empty.
    EmptyEntity,
    /// Its address is none, or not IPv4.
    InvalidAddress,
    /// The model was not trained on its entity, so that a score says nothing. Only where the model itself is asked: an endpoint does
    /// not tell.
    UnknownEntity,
}

/// A refused request, in the form of RFC 9457.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Problem {
    /// Which problem: `urn:ipinsights:scorer:` and a name.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// The same for people, and the same for all requests with this problem.
    pub(crate) title: &'static str,
    /// The status of the answer.
    pub(crate) status: u16,
    /// What is wrong with this request.
    pub(crate) detail: String,
    /// Where no row can be scored: the first hundred of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) rows: Vec<RowProblem>,
}

/// A row that cannot be scored, in a request of which no row can.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct RowProblem {
    /// From zero, as the rows of the request are counted.
    pub(crate) row: usize,
    /// For programs.
    pub(crate) code: RowCode,
    /// For people.
    pub(crate) message: String,
}

/// The answer to `GET /healthz`.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Health {
    /// `ok`. It says that the program answers; the endpoint is not asked.
    pub(crate) status: &'static str,
}
