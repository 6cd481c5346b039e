//! What the training rows say of an entity and of a network: a compact index that explains scores, and never makes them.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::ops::Range;

use access_events::AccessEvent;
use ipnet::Ipv4Net;
use jiff::Timestamp;

use crate::part::{Part, PartError};

mod part;

/// How often, and when last, each entity used each /24, from rows with times or without.
///
/// It is optional: a model scores without it. It goes into the model's archive ([`Model::set_history`](crate::Model::set_history))
/// or into a file of its own ([`write`](Self::write), [`read`](Self::read)). Unlike the model it holds the entities' names, so
/// who may read it sees who came from where; the model alone does not tell.
///
/// A use (an entity at a /24) takes 8 bytes, 16 with times, and 4 more in memory; an entity takes its name and 8 bytes. The
/// limit is 256 MiB, which is 16 million uses with times.
///
/// ```
/// use ipinsights::HistoryBuilder;
///
/// let mut builder = HistoryBuilder::default();
/// for host in [1, 2, 2] {
///     builder.add("ana", [192, 0, 2, host].into(), Some("2025-03-01T12:00:00Z".parse()?))?;
/// }
/// builder.add("ben", [192, 0, 99, 1].into(), None)?;
/// let history = builder.finish();
///
/// let net16 = history.usage("ana", "192.0.0.0/16".parse()?);
/// assert_eq!(net16.count, 3);
/// assert_eq!(net16.last.map(|t| t.to_string()).as_deref(), Some("2025-03-01T12:00:00Z"));
/// assert_eq!(history.usage("ben", "192.0.2.0/24".parse()?).count, 0);
/// assert_eq!(history.entities_of("192.0.2.0/24".parse()?, 3).entities[0].entity, "ana");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
// INVARIANT: as checked by `History::new`.
pub struct History {
    /// Ascending.
    names: Vec<String>,
    /// Where each entity's uses begin, and where the last one's end.
    first_use: Vec<u32>,
    /// The upper 24 bits of the addresses, ascending within an entity.
    networks: Vec<u32>,
    counts: Vec<u32>,
    /// Empty when no row had a time.
    last: Vec<Option<Timestamp>>,
    /// All uses by network, then the most frequent first.
    by_network: Vec<u32>,
}

/// How an entity, or all of them, used a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Rows.
    pub count: u64,
    /// The latest row with a time.
    pub last: Option<Timestamp>,
}

/// An entity that used a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkUser {
    /// Who.
    pub entity: String,
    /// How.
    pub usage: Usage,
}

/// The entities that used a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkUsers {
    /// The most frequent, most rows first.
    pub entities: Vec<NetworkUser>,
    /// How many entities there are in all; of those looked at when not `complete`.
    pub total: usize,
    /// Whether all uses of the network were looked at. Of more than 65,536 only these are.
    pub complete: bool,
}

/// Why no history was built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HistoryError {
    /// The rows have too many different uses.
    #[error(
        "the history of these rows takes more than {limit} bytes; build it from fewer rows, such as the latest"
    )]
    TooLarge {
        /// What it may take, in bytes.
        limit: u64,
    },
    /// A name that no row can have.
    #[error("row {row} has an empty entity")]
    EmptyEntity {
        /// One-based.
        row: u64,
    },
}

/// The most uses of a network that are looked at to find who uses it.
const MOST_LOOKED_AT: usize = 1 << 16;

impl History {
    /// What a history may take in a file or archive, in bytes: 256 MiB.
    pub const MAX_BYTES: u64 = 256 << 20;

    /// Reads a file that [`write`](Self::write) wrote.
    ///
    /// # Errors
    ///
    /// Whatever `write` would not have written is refused.
    pub fn read(r: impl Read) -> Result<Self, PartError> {
        let mut bytes = Vec::new();
        r.take(Self::MAX_BYTES + 1)
            .read_to_end(&mut bytes)
            .map_err(|source| PartError::Io {
                action: "read",
                source,
            })?;
        if bytes.len() as u64 > Self::MAX_BYTES {
            return Err(PartError::TooLarge {
                bytes: bytes.len() as u64,
                limit: Self::MAX_BYTES,
            });
        }
        Self::from_bytes(&bytes)
    }

    /// Writes the history as a file: safetensors, with a JSON description. The same history gives the same bytes.
    ///
    /// # Errors
    ///
    /// When `w` fails.
    pub fn write(&self, mut w: impl Write) -> Result<(), PartError> {
        let bytes = self.to_bytes()?;
        let written = w.write_all(&bytes).and_then(|()| w.flush());
        written.map_err(|source| PartError::Io {
            action: "written",
            source,
        })
    }

    /// How many entities there are.
    pub fn entities(&self) -> usize {
        self.names.len()
    }

    /// How many uses there are: pairs of an entity and a /24.
    pub fn uses(&self) -> usize {
        self.networks.len()
    }

    /// Whether any row had a time.
    pub fn has_times(&self) -> bool {
        !self.last.is_empty()
    }

    /// How the entity used a network. Of a network longer than 24 bits, it is its /24 that is meant.
    pub fn usage(&self, entity: &str, network: Ipv4Net) -> Usage {
        let all = self.uses_of(entity);
        let (first, last) = range24(network);
        let networks = &self.networks[all.clone()];
        let from = all.start + networks.partition_point(|n| *n < first);
        let to = all.start + networks.partition_point(|n| *n <= last);
        self.sum(from..to)
    }

    /// How often and when last the entity occurs at all.
    pub fn total(&self, entity: &str) -> Usage {
        self.sum(self.uses_of(entity))
    }

    /// How many rows the entity has, of which times are not asked.
    pub fn activity(&self, entity: &str) -> u64 {
        let uses = self.uses_of(entity);
        self.counts[uses].iter().map(|c| u64::from(*c)).sum()
    }

    /// The entity's networks with their use, most rows first, at most `most` of them.
    pub fn networks_of(&self, entity: &str, most: usize) -> Vec<(Ipv4Net, Usage)> {
        let mut uses: Vec<usize> = self.uses_of(entity).collect();
        let by_count = |u: &usize| (std::cmp::Reverse(self.counts[*u]), self.networks[*u]);
        if uses.len() > most && most > 0 {
            uses.select_nth_unstable_by_key(most - 1, by_count);
        }
        uses.truncate(most);
        uses.sort_unstable_by_key(by_count);
        let network = |u: usize| (net24(self.networks[u]), self.sum(u..u + 1));
        uses.into_iter().map(network).collect()
    }

    /// The entities that used this network, the most frequent `most` of them. Of a network longer than 24 bits, it is its /24
    /// that is meant.
    pub fn entities_of(&self, network: Ipv4Net, most: usize) -> NetworkUsers {
        let (first, last) = range24(network);
        let at = |u: &u32| self.networks[*u as usize];
        let from = self.by_network.partition_point(|u| at(u) < first);
        let to = self.by_network.partition_point(|u| at(u) <= last);
        let looked_at = &self.by_network[from..to.min(from + MOST_LOOKED_AT)];
        let mut users: Vec<(usize, Usage)> = looked_at
            .iter()
            .map(|u| (self.entity_of(*u), self.sum(*u as usize..*u as usize + 1)))
            .collect();
        users.sort_by_key(|(entity, _)| *entity);
        users.dedup_by(|next, kept| {
            let same = next.0 == kept.0;
            if same {
                kept.1.count += next.1.count;
                kept.1.last = kept.1.last.max(next.1.last);
            }
            same
        });
        let total = users.len();
        users.sort_by_key(|(entity, usage)| (std::cmp::Reverse(usage.count), *entity));
        users.truncate(most);
        let user = |(entity, usage): (usize, Usage)| NetworkUser {
            entity: self.names[entity].clone(),
            usage,
        };
        NetworkUsers {
            entities: users.into_iter().map(user).collect(),
            total,
            complete: to - from <= MOST_LOOKED_AT,
        }
    }

    /// The places of the entity's uses; none for a stranger.
    fn uses_of(&self, entity: &str) -> Range<usize> {
        match self.names.binary_search_by(|name| name.as_str().cmp(entity)) {
            Ok(place) => self.first_use[place] as usize..self.first_use[place + 1] as usize,
            Err(_) => 0..0,
        }
    }

    /// Whose use it is.
    fn entity_of(&self, a_use: u32) -> usize {
        self.first_use.partition_point(|first| *first <= a_use) - 1
    }

    fn sum(&self, uses: Range<usize>) -> Usage {
        let last = match self.has_times() {
            true => self.last[uses.clone()].iter().copied().max().flatten(),
            false => None,
        };
        Usage {
            count: self.counts[uses].iter().map(|c| u64::from(*c)).sum(),
            last,
        }
    }

    /// Checks that everything fits together, and sorts by network.
    fn new(
        names: Vec<String>,
        first_use: Vec<u32>,
        networks: Vec<u32>,
        counts: Vec<u32>,
        last: Vec<Option<Timestamp>>,
    ) -> Result<Self, PartError> {
        let refuse = |problem: &str| Err(PartError::contents(problem));
        if names.iter().any(String::is_empty) || !names.is_sorted_by(|a, b| a < b) {
            return refuse("entities are empty or do not ascend");
        }
        let whole =
            first_use.first() == Some(&0) && first_use.last().map(|l| *l as usize) == Some(networks.len());
        if first_use.len() != names.len() + 1 || !whole || !first_use.is_sorted_by(|a, b| a < b) {
            return refuse("the places of the entities' uses do not ascend from 0 to the last");
        }
        if counts.len() != networks.len() || !(last.is_empty() || last.len() == networks.len()) {
            return refuse("uses have not as many counts and times");
        }
        let ascend = first_use
            .windows(2)
            .all(|w| networks[w[0] as usize..w[1] as usize].is_sorted_by(|a, b| a < b));
        if !ascend || networks.iter().any(|n| *n >= 1 << 24) {
            return refuse("an entity's networks do not ascend, or have more than 24 bits");
        }
        if counts.contains(&0) {
            return refuse("a use has no rows");
        }
        let by_network = by_network(&networks, &counts);
        Ok(Self {
            names,
            first_use,
            networks,
            counts,
            last,
            by_network,
        })
    }
}

/// The network of the upper 24 bits.
fn net24(bits: u32) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::from(bits << 8), 24)
}

/// The first and the last /24 of a network.
fn range24(network: Ipv4Net) -> (u32, u32) {
    (
        network.network().to_bits() >> 8,
        network.broadcast().to_bits() >> 8,
    )
}

/// Collects a [`History`] from rows as they come, in memory that the limit bounds.
#[derive(Debug)]
pub struct HistoryBuilder {
    limit: u64,
    /// What the file would take.
    bytes: u64,
    rows: u64,
    /// Each entity with its uses by network.
    entities: HashMap<String, HashMap<u32, (u32, Option<Timestamp>)>>,
    times: bool,
}

impl Default for HistoryBuilder {
    fn default() -> Self {
        Self::with_limit(History::MAX_BYTES)
    }
}

impl HistoryBuilder {
    /// A builder whose history takes at most so many bytes; at most [`History::MAX_BYTES`].
    pub fn with_limit(bytes: u64) -> Self {
        Self {
            limit: bytes.min(History::MAX_BYTES),
            // The header.
            bytes: 1 << 10,
            rows: 0,
            entities: HashMap::new(),
            times: false,
        }
    }

    /// Takes in a row: who, from where and, if it is known, when.
    ///
    /// # Errors
    ///
    /// When the history would take more than the limit. It can be finished without this row, but is not whole then.
    pub fn add(&mut self, entity: &str, ip: Ipv4Addr, time: Option<Timestamp>) -> Result<(), HistoryError> {
        self.rows += 1;
        if entity.is_empty() {
            return Err(HistoryError::EmptyEntity { row: self.rows });
        }
        let mut grown = self.bytes;
        if !self.entities.contains_key(entity) {
            grown += entity.len() as u64 + 8;
            if grown > self.limit {
                return Err(HistoryError::TooLarge { limit: self.limit });
            }
            self.entities.insert(entity.to_owned(), HashMap::new());
        }
        let Some(uses) = self.entities.get_mut(entity) else {
            return Ok(());
        };
        match uses.entry(ip.to_bits() >> 8) {
            Entry::Occupied(mut known) => {
                let (count, last) = known.get_mut();
                *count = count.saturating_add(1);
                *last = (*last).max(time);
            }
            Entry::Vacant(new) => {
                grown += 16;
                if grown > self.limit {
                    if uses.is_empty() {
                        self.entities.remove(entity);
                    }
                    return Err(HistoryError::TooLarge { limit: self.limit });
                }
                new.insert((1, time));
            }
        }
        self.times |= time.is_some();
        self.bytes = grown;
        Ok(())
    }

    /// The history of the rows so far.
    pub fn finish(self) -> History {
        let mut entities: Vec<_> = self.entities.into_iter().collect();
        entities.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        let mut history = History {
            names: Vec::with_capacity(entities.len()),
            first_use: vec![0],
            networks: Vec::new(),
            counts: Vec::new(),
            last: Vec::new(),
            by_network: Vec::new(),
        };
        for (name, uses) in entities {
            let mut uses: Vec<_> = uses.into_iter().collect();
            uses.sort_unstable_by_key(|(network, _)| *network);
            for (network, (count, last)) in uses {
                history.networks.push(network);
                history.counts.push(count);
                if self.times {
                    history.last.push(last);
                }
            }
            history.names.push(name);
            // Below 2^24 by the limit.
            history.first_use.push(history.networks.len() as u32);
        }
        history.by_network = by_network(&history.networks, &history.counts);
        history
    }

    /// The history of rows without times.
    ///
    /// # Errors
    ///
    /// As [`add`](Self::add).
    pub fn of_events<'a>(events: impl IntoIterator<Item = &'a AccessEvent>) -> Result<History, HistoryError> {
        let mut builder = Self::default();
        for event in events {
            builder.add(&event.entity, event.ip, None)?;
        }
        Ok(builder.finish())
    }
}

fn by_network(networks: &[u32], counts: &[u32]) -> Vec<u32> {
    let mut order: Vec<u32> = (0..networks.len() as u32).collect();
    order.sort_unstable_by_key(|u| {
        let place = *u as usize;
        (networks[place], std::cmp::Reverse(counts[place]), *u)
    });
    order
}

#[cfg(test)]
mod tests;
