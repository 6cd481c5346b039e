//! Why a pair has the score it has: as data, and as one plain sentence.
//!
//! A score is a dot product, which explains nothing. What an analyst wants to know is in the training rows: whether the entity
//! has used this network before, how often and when last, which of its networks the model finds most alike, and who usually
//! comes from here. The [`History`] answers that; the model only says which networks are alike.

use std::fmt::Write;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::Serialize;

use crate::Threshold;
#[cfg(feature = "engine")]
use crate::detector::Detector;
use crate::detector::Verdict;
use crate::history::{History, NetworkUser, Usage};
#[cfg(feature = "engine")]
use crate::model::Model;
use crate::outcome::{self, AddressOutcome, EntityOutcome, Outcomes};
use crate::score::Score;

/// Of an entity with more networks than this, only the most used are compared with the address.
#[cfg(feature = "engine")]
const MOST_COMPARED: usize = 1024;

/// What to look up for [`Model::explain`].
#[derive(Clone, Copy)]
pub struct ReasonOptions<'a> {
    /// The rows' history; the model's own when this is `None`, which is the default.
    pub history: Option<&'a History>,
    /// The country of an address, by whatever database the caller has; `None`, the default, for no countries.
    pub country: Option<&'a dyn Fn(Ipv4Addr) -> Option<String>>,
    /// How many of the entity's networks to name that are nearest to the address. Default 3.
    pub networks: usize,
    /// How many of the entities to name that usually come from the network. Default 3.
    pub entities: usize,
}

impl Default for ReasonOptions<'_> {
    fn default() -> Self {
        Self {
            history: None,
            country: None,
            networks: 3,
            entities: 3,
        }
    }
}

/// What can be said of a scored pair.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Reasons {
    /// Who.
    pub entity: String,
    /// From where.
    pub ip: Ipv4Addr,
    /// The country of the address, where a database was given that knows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
    /// Larger is more normal.
    pub score: Score,
    /// What is known of entity and address, whatever the score.
    pub outcomes: Outcomes,
    /// What the score is worth, where the model is calibrated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// What the training rows say, where their history was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub history: Option<HistoryReasons>,
    /// All of it in one sentence.
    pub sentence: String,
}

/// What the training rows say of a pair.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HistoryReasons {
    /// How often the entity occurs, and when last.
    pub entity: TimedCount,
    /// How the entity used the networks of the address: its /24, /16 and /8.
    pub used: [NetworkCount; 3],
    /// Of the entity's /24s, those that the model finds most like the address, nearest first.
    pub nearest: Vec<NearNetwork>,
    /// Who usually comes from here: from the /24, or, when nobody does, from the /16.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usual: Option<UsualEntities>,
}

/// A number of rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TimedCount {
    /// Rows.
    pub count: u64,
    /// The latest of them, as RFC 3339, where the rows had times.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<String>,
}

/// How a network was used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NetworkCount {
    /// The network.
    pub network: Ipv4Net,
    /// Rows.
    pub count: u64,
    /// The latest of them, as RFC 3339, where the rows had times.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<String>,
}

/// A network of the entity, and how like the address it is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NearNetwork {
    /// The network, a /24.
    pub network: Ipv4Net,
    /// The cosine of the angle between the embeddings of the address and of the network's first address, from -1 to 1.
    pub similarity: f32,
    /// The score of the entity at that address.
    pub score: Score,
    /// Rows of the entity there.
    pub count: u64,
    /// The latest of them, as RFC 3339, where the rows had times.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<String>,
    /// The country of that address, where a database was given that knows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
}

/// Who usually comes from a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UsualEntities {
    /// The network.
    pub network: Ipv4Net,
    /// Those with most rows there, most first.
    pub entities: Vec<EntityCount>,
    /// How many there are in all.
    pub total: usize,
    /// Whether all were counted; of the busiest networks, only a part of the uses is looked at.
    pub complete: bool,
}

/// An entity's rows at a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EntityCount {
    /// Who.
    pub entity: String,
    /// Rows.
    pub count: u64,
    /// The latest of them, as RFC 3339, where the rows had times.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<String>,
}

#[cfg(feature = "engine")]
impl Model {
    /// Says why a pair has its score.
    ///
    /// Takes some milliseconds at most, whatever the history: of an entity's networks the 1,024 most used are compared with
    /// the address, and of a network's uses 65,536 are looked at.
    ///
    /// ```
    /// # use std::ops::ControlFlow;
    /// # use access_events::AccessEvent;
    /// use ipinsights::{HistoryBuilder, ReasonOptions};
    /// # use ipinsights::{Hyperparameters, TrainOptions};
    ///
    /// let rows = [AccessEvent::new("ana", [8, 8, 8, 8].into())];
    /// # let params = Hyperparameters::draft(10).vector_dim(4).check()?;
    /// # let go_on = &mut |_: &_| ControlFlow::Continue(());
    /// # let model = ipinsights::train(&params, &rows, None, &TrainOptions::default(), go_on)?;
    /// let history = HistoryBuilder::of_events(&rows)?;
    /// let country = |_| Some("Atlantis".to_owned());
    /// let options = ReasonOptions { history: Some(&history), country: Some(&country), ..Default::default() };
    /// let reasons = model.explain("ana", [8, 8, 9, 9].into(), &options);
    /// assert!(reasons.sentence.starts_with("`ana` (1 row) was never seen at 8.8.9.0/24, but once in 8.8.0.0/16;"));
    /// assert!(reasons.sentence.contains("8.8.9.9 is in Atlantis"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn explain(&self, entity: &str, ip: Ipv4Addr, options: &ReasonOptions<'_>) -> Reasons {
        let prediction = self.predict(entity, ip);
        let country = |ip| options.country.and_then(|country| country(ip));
        let outcomes = Outcomes {
            entity: match self.knows_entity(entity) {
                true => EntityOutcome::Known,
                false => EntityOutcome::Unknown,
            },
            address: outcome::of_ipv4(ip),
        };
        let history = options.history.or(self.history());
        let history = history.map(|history| {
            let nearest = self.nearest(
                entity,
                &prediction.ip_embedding,
                history,
                options.networks,
                &country,
            );
            HistoryReasons::of(history, entity, ip, nearest, options.entities)
        });
        let mut reasons = Reasons {
            entity: entity.to_owned(),
            ip,
            country: country(ip),
            score: prediction.score,
            outcomes,
            verdict: self.detector().map(|d| d.verdict(prediction.score)),
            history,
            sentence: String::new(),
        };
        reasons.sentence = reasons.in_words(self.detector().map(Detector::threshold));
        reasons
    }

    fn nearest(
        &self,
        entity: &str,
        embedding: &[f32],
        history: &History,
        most: usize,
        country: &impl Fn(Ipv4Addr) -> Option<String>,
    ) -> Vec<NearNetwork> {
        let mut near: Vec<NearNetwork> = history
            .networks_of(entity, MOST_COMPARED)
            .into_iter()
            .map(|(network, usage)| {
                let there = self.predict(entity, network.network());
                NearNetwork {
                    network,
                    similarity: cosine(embedding, &there.ip_embedding),
                    score: there.score,
                    count: usage.count,
                    last: usage.last.map(|t| t.to_string()),
                    country: None,
                }
            })
            .collect();
        near.sort_by(|a, b| {
            b.similarity
                .total_cmp(&a.similarity)
                .then(a.network.cmp(&b.network))
        });
        near.truncate(most);
        for network in &mut near {
            network.country = country(network.network.network());
        }
        near
    }
}

impl History {
    /// Says what the training rows say of a pair that was scored elsewhere, such as through an endpoint: as [`Model::explain`](crate::Model::explain), without
    /// what only the model knows (the nearest networks, the percentile of the score).
    ///
    /// An entity without a row in the history counts as unknown. `country` is that of the address, where it is known.
    ///
    /// ```
    /// use access_events::AccessEvent;
    /// use ipinsights::{HistoryBuilder, Score, Threshold};
    ///
    /// let history = HistoryBuilder::of_events(&[AccessEvent::new("ana", [8, 8, 8, 8].into())])?;
    /// let held_out: Vec<Score> = (0..100).map(|i| Score::new(i as f32)).collect();
    /// let threshold = Threshold::calibrate(&held_out, 0.05)?;
    /// let reasons = history.explain("ana", [9, 9, 9, 9].into(), Score::new(-1.0), Some(&threshold), Some("Switzerland"));
    /// assert_eq!(
    ///     reasons.sentence,
    ///     "`ana` (1 row) was never seen at 9.9.9.0/24 nor anywhere else in 9.0.0.0/8; nobody was seen in 9.9.0.0/16; 9.9.9.9 is in \
    ///      Switzerland; score -1.00 is below the threshold 4.00 (5 % false alarms): anomalous."
    /// );
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn explain(
        &self,
        entity: &str,
        ip: Ipv4Addr,
        score: Score,
        threshold: Option<&Threshold>,
        country: Option<&str>,
    ) -> Reasons {
        let history = HistoryReasons::of(self, entity, ip, Vec::new(), ReasonOptions::default().entities);
        let mut reasons = Reasons {
            entity: entity.to_owned(),
            ip,
            country: country.map(str::to_owned),
            score,
            outcomes: Outcomes {
                entity: match history.entity.count {
                    0 => EntityOutcome::Unknown,
                    _ => EntityOutcome::Known,
                },
                address: outcome::of_ipv4(ip),
            },
            verdict: None,
            history: Some(history),
            sentence: String::new(),
        };
        reasons.sentence = reasons.in_words(threshold);
        reasons
    }
}

/// Nobody's usual network is `None`.
fn usual(history: &History, network: Ipv4Net, most: usize) -> Option<UsualEntities> {
    let users = history.entities_of(network, most);
    (users.total > 0).then(|| UsualEntities {
        network,
        entities: users.entities.into_iter().map(EntityCount::from).collect(),
        total: users.total,
        complete: users.complete,
    })
}

fn around(ip: Ipv4Addr, length: u8) -> Ipv4Net {
    Ipv4Net::new_assert(ip, length).trunc()
}

/// 0 where a vector is.
#[cfg(feature = "engine")]
fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let dot =
        |a: &[f32], b: &[f32]| -> f64 { a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum() };
    let norms = (dot(a, a) * dot(b, b)).sqrt();
    if norms > 0.0 {
        (dot(a, b) / norms) as f32
    } else {
        0.0
    }
}

impl From<Usage> for TimedCount {
    fn from(usage: Usage) -> Self {
        Self {
            count: usage.count,
            last: usage.last.map(|t| t.to_string()),
        }
    }
}

impl NetworkCount {
    fn new(network: Ipv4Net, usage: Usage) -> Self {
        Self {
            network,
            count: usage.count,
            last: usage.last.map(|t| t.to_string()),
        }
    }

    /// `3 times at 192.0.2.0/24, last on 2025-03-01`
    fn times(&self, preposition: &str) -> String {
        format!(
            "{} {preposition} {}{}",
            times(self.count),
            self.network,
            last_on(&self.last)
        )
    }
}

impl From<NetworkUser> for EntityCount {
    fn from(user: NetworkUser) -> Self {
        Self {
            entity: user.entity,
            count: user.usage.count,
            last: user.usage.last.map(|t| t.to_string()),
        }
    }
}

impl Reasons {
    fn in_words(&self, threshold: Option<&Threshold>) -> String {
        let mut clauses = Vec::new();
        clauses.push(self.of_entity());
        if let Some(history) = &self.history {
            clauses.extend(history.of_nearest());
            clauses.extend(history.of_others(&self.entity));
        }
        match self.outcomes.address {
            AddressOutcome::Private => clauses.push(format!("{} is a private address", self.ip)),
            AddressOutcome::Reserved => clauses.push(format!("{} is a reserved address", self.ip)),
            _ => {}
        }
        if let Some(country) = &self.country {
            clauses.push(format!("{} is in {country}", self.ip));
        }
        clauses.push(self.of_score(threshold));
        let mut sentence = clauses.join("; ");
        sentence.push('.');
        sentence
    }

    /// The entity and its use of the address's networks.
    fn of_entity(&self) -> String {
        let name = name(&self.entity);
        if self.outcomes.entity == EntityOutcome::Unknown {
            return format!("{name} was not in the training rows, so the score says nothing of it");
        }
        let Some(history) = &self.history else {
            return format!("{name} was in the training rows, of which no history was kept");
        };
        let [net24, net16, net8] = &history.used;
        let rows = rows(history.entity.count);
        if net24.count > 0 {
            return format!("{name} ({rows}) was seen {}", net24.times("at"));
        }
        let mut text = format!("{name} ({rows}) was never seen at {}", net24.network);
        let wider = [net16, net8].into_iter().find(|network| network.count > 0);
        let _ = match wider {
            Some(network) => write!(text, ", but {}", network.times("in")),
            None => write!(text, " nor anywhere else in {}", net8.network),
        };
        text
    }

    fn of_score(&self, threshold: Option<&Threshold>) -> String {
        let score = self.score.dot_product();
        match threshold {
            // No verdict where the sentence has just said that the score means nothing.
            Some(threshold) if self.outcomes.entity == EntityOutcome::Known => {
                let (side, verdict) = match threshold.is_anomalous(self.score) {
                    true => ("below", "anomalous"),
                    false => ("not below", "fits"),
                };
                format!(
                    "score {score:.2} is {side} the threshold {:.2} ({} % false alarms): {verdict}",
                    threshold.value().dot_product(),
                    threshold.false_positive_rate() * 100.0,
                )
            }
            _ => format!("score {score:.2} (larger is more normal)"),
        }
    }
}

impl HistoryReasons {
    fn of(history: &History, entity: &str, ip: Ipv4Addr, nearest: Vec<NearNetwork>, entities: usize) -> Self {
        Self {
            entity: history.total(entity).into(),
            used: [24, 16, 8].map(|length| {
                let network = around(ip, length);
                NetworkCount::new(network, history.usage(entity, network))
            }),
            nearest,
            usual: [24, 16]
                .into_iter()
                .find_map(|length| usual(history, around(ip, length), entities)),
        }
    }

    /// What the model finds most alike, unless the address is in it.
    fn of_nearest(&self) -> Option<String> {
        let nearest = self.nearest.first()?;
        if nearest.network == self.used[0].network {
            return None;
        }
        let country = nearest
            .country
            .as_ref()
            .map_or(String::new(), |c| format!(" in {c}"));
        Some(format!(
            "the nearest of its networks is {}{country} (similarity {:.2}, used {}{})",
            nearest.network,
            nearest.similarity,
            times(nearest.count),
            last_on(&nearest.last),
        ))
    }

    fn of_others(&self, entity: &str) -> Option<String> {
        let Some(usual) = &self.usual else {
            return Some(format!("nobody was seen in {}", self.used[1].network));
        };
        let others: Vec<&EntityCount> = usual.entities.iter().filter(|e| e.entity != entity).collect();
        if others.is_empty() {
            return (usual.total == 1).then(|| format!("nobody else was seen in {}", usual.network));
        }
        let named: Vec<String> = others
            .iter()
            .map(|e| format!("{} ({})", name(&e.entity), rows(e.count)))
            .collect();
        let own = usual.entities.len() - others.len();
        let more = usual.total - own - others.len();
        let more = match (more, usual.complete) {
            (0, true) => String::new(),
            (0, false) => " and others".to_owned(),
            (more, true) => format!(" and {more} more"),
            (more, false) => format!(" and {more} or more others"),
        };
        Some(format!(
            "{} is usual for {}{more}",
            usual.network,
            named.join(", ")
        ))
    }
}

/// In backticks, on one line, and no longer than a line.
fn name(entity: &str) -> String {
    let mut short: String = entity
        .chars()
        .take(60)
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect();
    if short.len() < entity.len() && entity.chars().nth(60).is_some() {
        short.push('…');
    }
    format!("`{short}`")
}

fn rows(count: u64) -> String {
    match count {
        1 => "1 row".to_owned(),
        count => format!("{count} rows"),
    }
}

fn times(count: u64) -> String {
    match count {
        1 => "once".to_owned(),
        count => format!("{count} times"),
    }
}

fn last_on(last: &Option<String>) -> String {
    // The day is the first ten characters of RFC 3339.
    match last.as_ref().and_then(|last| last.get(..10)) {
        Some(day) => format!(", last on {day}"),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests;
