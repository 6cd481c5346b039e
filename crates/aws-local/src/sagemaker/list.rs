//! Listing: filters, order and pages, the same for every kind of resource.

use std::cmp::Ordering;

use serde_json::{Value, json};

use crate::{
    api::{ApiError, ApiResult, Check, TEXT},
    time::Seconds,
};

/// What lists go by, and what is printed of one resource.
pub(super) struct Entry<'a> {
    pub(super) name: String,
    pub(super) created: Seconds,
    pub(super) modified: Seconds,
    pub(super) status: String,
    /// Made for the page that it is on alone.
    pub(super) summary: Box<dyn FnOnce() -> Value + 'a>,
}

/// The key of the order, then the name, which is unique.
#[derive(Clone, PartialEq, PartialOrd)]
enum Key {
    Time(Seconds),
    Text(String),
}

/// A page of `entries` as the request wants it, under `member`; `statuses` are those it can ask for.
pub(super) fn page(
    input: &Value,
    member: &str,
    statuses: &[&str],
    entries: Vec<Entry<'_>>,
) -> ApiResult<Value> {
    let mut check = Check::new(input);
    let contains = check
        .text("NameContains", TEXT)
        .unwrap_or_default()
        .to_lowercase();
    // Not every list has it, and what a request has besides is not looked at.
    let status = match statuses {
        [] => None,
        statuses => check.choice("StatusEquals", statuses),
    };
    let sort_by = check
        .choice("SortBy", &["Name", "CreationTime", "Status"])
        .unwrap_or("CreationTime");
    let descending = check
        .choice("SortOrder", &["Ascending", "Descending"])
        .unwrap_or("Descending")
        == "Descending";
    let max = check.integer("MaxResults", 1, 100).unwrap_or(10) as usize;
    let token = check.text("NextToken", TEXT);
    let created = (
        check.amount("CreationTimeAfter"),
        check.amount("CreationTimeBefore"),
    );
    let modified = (
        check.amount("LastModifiedTimeAfter"),
        check.amount("LastModifiedTimeBefore"),
    );
    check.finish()?;

    let within = |time: Seconds, (after, before): (Option<f64>, Option<f64>)| {
        after.is_none_or(|after| time > after) && before.is_none_or(|before| time < before)
    };
    let key = |entry: &Entry<'_>| match sort_by {
        "Name" => (Key::Text(entry.name.clone()), entry.name.clone()),
        "Status" => (Key::Text(entry.status.clone()), entry.name.clone()),
        _ => (Key::Time(entry.created), entry.name.clone()),
    };
    let order = |a: &(Key, String), b: &(Key, String)| {
        let order = a.partial_cmp(b).unwrap_or(Ordering::Equal);
        if descending { order.reverse() } else { order }
    };
    let mut found: Vec<_> = entries
        .into_iter()
        .filter(|e| e.name.to_lowercase().contains(&contains) && status.is_none_or(|s| e.status == s))
        .filter(|e| within(e.created, created) && within(e.modified, modified))
        .map(|entry| (key(&entry), entry))
        .collect();
    found.sort_by(|(a, _), (b, _)| order(a, b));
    if let Some(token) = token {
        // A token is the place after an entry, not its number: entries that come or go do not shift it.
        let last = parse_token(token).ok_or_else(|| ApiError::validation("Invalid NextToken"))?;
        found.retain(|(key, _)| order(key, &last) == Ordering::Greater);
    }
    let more = found.len() > max;
    found.truncate(max);
    let next = found.last().filter(|_| more).map(|(key, _)| print_token(key));
    let summaries: Vec<_> = found.into_iter().map(|(_, entry)| (entry.summary)()).collect();
    let mut answer = json!({});
    answer[member] = summaries.into();
    if let Some(next) = next {
        answer["NextToken"] = next.into();
    }
    Ok(answer)
}

fn print_token((key, name): &(Key, String)) -> String {
    match key {
        Key::Time(time) => format!("t:{time}:{name}"),
        Key::Text(text) => format!("s:{text}:{name}"),
    }
}

fn parse_token(token: &str) -> Option<(Key, String)> {
    let (kind, rest) = token.split_once(':')?;
    let (key, name) = rest.rsplit_once(':')?;
    let key = match kind {
        "t" => Key::Time(key.parse().ok()?),
        "s" => Key::Text(key.to_owned()),
        _ => return None,
    };
    Some((key, name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries() -> Vec<Entry<'static>> {
        let entry = |name: &'static str, created: f64, status: &str| Entry {
            name: name.to_owned(),
            created,
            modified: created,
            status: status.to_owned(),
            summary: Box::new(move || name.into()),
        };
        // Three of them are as old as each other.
        vec![
            entry("b", 1.0, "X"),
            entry("a", 1.0, "Y"),
            entry("D", 2.5, "X"),
            entry("c", 1.0, "Y"),
            entry("e", 3.0, "Z"),
        ]
    }

    /// All pages of a request, one after the other.
    fn all(mut input: Value) -> Vec<String> {
        let mut seen = Vec::new();
        loop {
            let answer = page(&input, "Things", &["X", "Y", "Z"], entries()).unwrap();
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
        assert!(page(&json!({"MaxResults": 101}), "Things", &[], entries()).is_err());
        assert!(page(&json!({"NextToken": "?"}), "Things", &[], entries()).is_err());
    }
}
