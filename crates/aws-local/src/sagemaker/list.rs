//! Listing: filters, order and pages, the same for every kind of resource.

use std::cmp::Ordering;

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{
    api::{ApiError, ApiResult, Check, TEXT},
    store::Collection,
    time::Seconds,
};

/// What lists go by, of one resource.
pub(super) struct Entry<'a> {
    pub(super) name: &'a str,
    pub(super) created: Seconds,
    pub(super) modified: Seconds,
    pub(super) status: &'a str,
}

/// A resource that there are lists of.
pub(super) trait Listed {
    fn entry(&self) -> Entry<'_>;
}

/// The key of the order, then the name, which is unique.
type Place<'a> = (Key<'a>, &'a str);

#[derive(Clone, PartialEq, PartialOrd)]
enum Key<'a> {
    Time(Seconds),
    Text(&'a str),
}

/// What of a list is asked for.
struct Wanted<'a> {
    /// In lower case.
    contains: String,
    status: Option<&'a str>,
    sort_by: &'a str,
    descending: bool,
    max: usize,
    token: Option<&'a str>,
    /// After one moment and before another.
    created: (Option<Seconds>, Option<Seconds>),
    modified: (Option<Seconds>, Option<Seconds>),
}

/// A page of `records` as the request wants it, under `member`; `statuses` are those it can ask for. Of all records
/// nothing is copied but what is on the page.
pub(super) fn page<T: Listed + Serialize + DeserializeOwned + Clone>(
    input: &Value,
    member: &str,
    statuses: &[&str],
    records: &Collection<T>,
    summary: impl Fn(T) -> Value,
) -> ApiResult<Value> {
    let wanted = Wanted::of_request(input, statuses)?;
    let (chosen, next) = records.look_at_all(|all| wanted.choose(all))?;
    let mut answer = json!({});
    answer[member] = chosen.into_iter().map(summary).collect();
    if let Some(next) = next {
        answer["NextToken"] = next.into();
    }
    Ok(answer)
}

impl<'a> Wanted<'a> {
    fn of_request(input: &'a Value, statuses: &[&str]) -> ApiResult<Self> {
        let mut check = Check::new(input);
        let contains = check.text("NameContains", TEXT).unwrap_or_default();
        let wanted = Self {
            contains: contains.to_lowercase(),
            // Not every list has it, and what a request has besides is not looked at.
            status: match statuses {
                [] => None,
                statuses => check.choice("StatusEquals", statuses),
            },
            sort_by: check
                .choice("SortBy", &["Name", "CreationTime", "Status"])
                .unwrap_or("CreationTime"),
            descending: check.choice("SortOrder", &["Ascending", "Descending"]) != Some("Ascending"),
            max: check.integer("MaxResults", 1, 100).unwrap_or(10) as usize,
            token: check.text("NextToken", TEXT),
            created: (
                check.amount("CreationTimeAfter"),
                check.amount("CreationTimeBefore"),
            ),
            modified: (
                check.amount("LastModifiedTimeAfter"),
                check.amount("LastModifiedTimeBefore"),
            ),
        };
        check.finish()?;
        Ok(wanted)
    }

    /// Copies of the records of the page, and the token of the next one.
    fn choose<'r, T: Listed + Clone + 'r>(
        &self,
        records: impl Iterator<Item = &'r T>,
    ) -> ApiResult<(Vec<T>, Option<String>)> {
        // A token is the place after an entry, not its number: entries that come or go do not shift it.
        let invalid = || ApiError::validation("Invalid NextToken");
        let last = self
            .token
            .map(|token| parse_token(token).ok_or_else(invalid))
            .transpose()?;
        let is_after = |place: &Place<'_>| {
            last.as_ref()
                .is_none_or(|last| self.order(place, last) == Ordering::Greater)
        };
        let mut found: Vec<_> = records
            .map(|record| (record.entry(), record))
            .filter(|(entry, _)| self.wants(entry))
            .map(|(entry, record)| (self.place(&entry), record))
            .filter(|(place, _)| is_after(place))
            .collect();
        let more = found.len() > self.max;
        if more {
            found.select_nth_unstable_by(self.max - 1, |(a, _), (b, _)| self.order(a, b));
            found.truncate(self.max);
        }
        found.sort_unstable_by(|(a, _), (b, _)| self.order(a, b));
        let next = found.last().filter(|_| more).map(|(place, _)| print_token(place));
        Ok((
            found.into_iter().map(|(_, record)| record.clone()).collect(),
            next,
        ))
    }

    fn wants(&self, entry: &Entry<'_>) -> bool {
        let within = |time: Seconds, (after, before): (Option<Seconds>, Option<Seconds>)| {
            after.is_none_or(|after| time > after) && before.is_none_or(|before| time < before)
        };
        self.status.is_none_or(|status| entry.status == status)
            && within(entry.created, self.created)
            && within(entry.modified, self.modified)
            && (self.contains.is_empty() || entry.name.to_lowercase().contains(&self.contains))
    }

    fn place<'r>(&self, entry: &Entry<'r>) -> Place<'r> {
        let key = match self.sort_by {
            "Name" => Key::Text(entry.name),
            "Status" => Key::Text(entry.status),
            _ => Key::Time(entry.created),
        };
        (key, entry.name)
    }

    fn order(&self, a: &Place<'_>, b: &Place<'_>) -> Ordering {
        let order = a.partial_cmp(b).unwrap_or(Ordering::Equal);
        if self.descending { order.reverse() } else { order }
    }
}

fn print_token((key, name): &Place<'_>) -> String {
    match key {
        Key::Time(time) => format!("t:{time}:{name}"),
        Key::Text(text) => format!("s:{text}:{name}"),
    }
}

fn parse_token(token: &str) -> Option<Place<'_>> {
    let (kind, rest) = token.split_once(':')?;
    let (key, name) = rest.rsplit_once(':')?;
    let key = match kind {
        "t" => Key::Time(key.parse().ok()?),
        "s" => Key::Text(key),
        _ => return None,
    };
    Some((key, name))
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::store::{Database, Shelf};

    /// Things with their times of creation and their statuses; three of them are as old as each other.
    const THINGS: [(&str, f64, &str); 5] = [
        ("b", 1.0, "X"),
        ("a", 1.0, "Y"),
        ("D", 2.5, "X"),
        ("c", 1.0, "Y"),
        ("e", 3.0, "Z"),
    ];

    #[derive(Clone, Debug, Serialize, Deserialize)]
    struct Thing {
        name: String,
        created: Seconds,
        status: String,
    }

    impl Listed for Thing {
        fn entry(&self) -> Entry<'_> {
            Entry {
                name: &self.name,
                created: self.created,
                modified: self.created,
                status: &self.status,
            }
        }
    }

    fn page_of(input: &Value) -> ApiResult<Value> {
        let folder = tempfile::tempdir().unwrap();
        let shelf = Shelf::new(Database::open(folder.path()).unwrap(), folder.path());
        let things: Collection<Thing> = Collection::open(shelf).unwrap();
        for (name, created, status) in THINGS {
            let thing = Thing {
                name: name.to_owned(),
                created,
                status: status.to_owned(),
            };
            things.insert_new(name, thing).unwrap().unwrap();
        }
        page(input, "Things", &["X", "Y", "Z"], &things, |thing| {
            thing.name.into()
        })
    }

    /// All pages of a request, one after the other.
    fn all(mut input: Value) -> Vec<String> {
        let mut seen = Vec::new();
        loop {
            let answer = page_of(&input).unwrap();
            seen.push(answer["Things"].to_string());
            match answer.get("NextToken") {
                Some(token) => input["NextToken"] = token.clone(),
                None => return seen,
            }
        }
    }

    #[test]
    fn pages_hold_everything_once() {
        assert_eq!(all(json!({})), [r#"["e","D","c","b","a"]"#]);
        assert_eq!(
            all(json!({"MaxResults": 2})),
            [r#"["e","D"]"#, r#"["c","b"]"#, r#"["a"]"#]
        );
        assert_eq!(
            all(json!({"MaxResults": 2, "SortBy": "Name", "SortOrder": "Ascending"})),
            [r#"["D","a"]"#, r#"["b","c"]"#, r#"["e"]"#]
        );
        assert_eq!(
            all(json!({"SortBy": "Status", "MaxResults": 3})),
            [r#"["e","c","a"]"#, r#"["b","D"]"#]
        );
    }

    #[test]
    fn filters() {
        assert_eq!(all(json!({"NameContains": "d"})), [r#"["D"]"#]);
        assert_eq!(all(json!({"StatusEquals": "Y"})), [r#"["c","a"]"#]);
        assert_eq!(
            all(json!({"CreationTimeAfter": 1.0, "CreationTimeBefore": 3.0})),
            [r#"["D"]"#]
        );
        assert!(page_of(&json!({"MaxResults": 101})).is_err());
        assert!(page_of(&json!({"NextToken": "?"})).is_err());
    }
}
