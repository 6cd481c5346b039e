//! At most so many alerts for an entity in a time.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// So many alerts in a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    alerts: u64,
    time: Duration,
}

impl Limit {
    /// Reads `5/10m`; `0/1h` would tell nothing and is refused.
    pub fn parse(text: &str) -> Result<Self, String> {
        let parse = || {
            let (alerts, time) = text.split_once('/')?;
            let alerts = alerts.trim().parse().ok().filter(|alerts| *alerts > 0)?;
            let time = time.trim();
            let (number, unit) = time.split_at_checked(time.len().checked_sub(1)?)?;
            let unit: u64 = match unit {
                "s" => 1,
                "m" => 60,
                "h" => 3600,
                _ => return None,
            };
            let number: u64 = if number.is_empty() {
                1
            } else {
                number.parse().ok()?
            };
            let seconds = number
                .checked_mul(unit)
                .filter(|seconds| (1..=31_536_000).contains(seconds))?;
            Some(Self {
                alerts,
                time: Duration::from_secs(seconds),
            })
        };
        parse().ok_or_else(|| "it takes N/TIME, such as 10/1h or 5/30m, with N of at least 1".to_owned())
    }
}

/// Counts alerts by entity.
#[derive(Debug)]
pub(super) struct Limiter {
    limit: Limit,
    entities: HashMap<String, Counted>,
    /// When what is over was thrown away last.
    tidied: Option<Instant>,
}

#[derive(Debug)]
struct Counted {
    since: Instant,
    alerts: u64,
    held_back: u64,
}

impl Limiter {
    pub(super) fn new(limit: Limit) -> Self {
        Self {
            limit,
            entities: HashMap::new(),
            tidied: None,
        }
    }

    /// Whether an alert may be written, and how many were held back before it.
    pub(super) fn admit(&mut self, entity: &str, now: Instant) -> Option<u64> {
        let Limit { alerts, time } = self.limit;
        // Entities come and go; those that have nothing to tell are forgotten.
        if self.tidied.is_none_or(|tidied| now - tidied >= time) {
            self.entities
                .retain(|_, counted| counted.held_back > 0 || now - counted.since < time);
            self.tidied = Some(now);
        }
        let counted = match self.entities.get_mut(entity) {
            Some(counted) => counted,
            None => self.entities.entry(entity.to_owned()).or_insert(Counted {
                since: now,
                alerts: 0,
                held_back: 0,
            }),
        };
        if now - counted.since >= time {
            counted.since = now;
            counted.alerts = 0;
        }
        if counted.alerts >= alerts {
            counted.held_back += 1;
            return None;
        }
        counted.alerts += 1;
        Some(std::mem::take(&mut counted.held_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read() {
        let limit = |alerts, seconds| {
            Ok(Limit {
                alerts,
                time: Duration::from_secs(seconds),
            })
        };
        assert_eq!(Limit::parse("10/1h"), limit(10, 3600));
        assert_eq!(Limit::parse("1/m"), limit(1, 60));
        assert_eq!(Limit::parse("5 / 90s"), limit(5, 90));
        for text in [
            "",
            "5",
            "0/1h",
            "5/0s",
            "5/1d",
            "-1/1h",
            "5/h1",
            "5/",
            "5/99999999999h",
            "5/é",
        ] {
            assert!(Limit::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_next_alert_says_what_was_held_back() {
        let mut limiter = Limiter::new(Limit::parse("2/10s").unwrap());
        let begin = Instant::now();
        let mut at = |seconds, entity| limiter.admit(entity, begin + Duration::from_secs(seconds));
        assert_eq!(
            [at(0, "a"), at(1, "a"), at(2, "a"), at(3, "a")],
            [Some(0), Some(0), None, None]
        );
        assert_eq!(at(3, "b"), Some(0));
        assert_eq!([at(10, "a"), at(11, "a"), at(12, "a")], [Some(2), Some(0), None]);
        assert_eq!(at(100, "a"), Some(1));
        // What is over is forgotten.
        at(200, "c");
        assert_eq!(limiter.entities.len(), 1);
    }
}
