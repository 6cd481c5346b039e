//! Tags, which every resource takes.

use std::collections::BTreeMap;

use aws_sdk_sagemaker::types::Tag;
use serde_json::{Value, json};

/// All that is wrong with these tags.
pub(crate) fn problems(tags: &BTreeMap<String, String>) -> impl Iterator<Item = String> {
    let too_many = (tags.len() > 50).then(|| format!("at most 50 tags are allowed, got {}", tags.len()));
    let odd = tags
        .iter()
        .filter(|(key, value)| !(1..=128).contains(&key.chars().count()) || value.chars().count() > 256);
    let odd =
        odd.map(|(key, _)| format!("tag `{key}`: a key has 1 to 128 characters and a value at most 256"));
    too_many.into_iter().chain(odd)
}

/// Adds the member `Tags`, unless there are none.
pub(crate) fn add_to(parameters: &mut Value, tags: &BTreeMap<String, String>) {
    if !tags.is_empty() {
        let tags = tags
            .iter()
            .map(|(key, value)| json!({"Key": key, "Value": value}));
        parameters["Tags"] = tags.collect();
    }
}

pub(crate) fn to_sdk(tags: &BTreeMap<String, String>) -> Option<Vec<Tag>> {
    let tags: Vec<Tag> = tags
        .iter()
        .map(|(key, value)| Tag::builder().key(key).value(value).build())
        .collect();
    (!tags.is_empty()).then_some(tags)
}
