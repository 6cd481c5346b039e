//! Tags, by the name (ARN) of what they are on.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::SageMaker;
use crate::api::{ApiError, ApiResult, Check, Form, TEXT};

type Tags = BTreeMap<String, String>;

const MAX: usize = 50;
const KEY: Form = Form {
    pattern: "^([\\p{L}\\p{Z}\\p{N}_.:/=+\\-@]*)$",
    matches: |s| !s.is_empty(),
    max: 128,
};
const VALUE: Form = Form { max: 256, ..TEXT };
const ARN: Form = Form {
    pattern: "arn:.*",
    matches: |s| s.starts_with("arn:"),
    max: 256,
};

/// The tags of a request, checked.
pub(super) fn of_request(check: &mut Check<'_>) -> Tags {
    let count = check.list("Tags", 0, MAX).len();
    let mut tags = Tags::new();
    for i in 0..count {
        let key = check.required(&format!("Tags.{i}.Key"), KEY);
        let value = check.required(&format!("Tags.{i}.Value"), VALUE);
        tags.insert(key.to_owned(), value.to_owned());
    }
    tags
}

impl SageMaker {
    /// Puts a new resource's tags on it.
    pub(super) fn tag_new(&self, arn: &str, tags: Tags) -> ApiResult<()> {
        // A resource that had the name before may have had others.
        self.tags
            .change(arn, |_| Ok(Some(tags).filter(|tags| !tags.is_empty())))?
    }

    /// Takes all tags off.
    pub(super) fn untag(&self, arn: &str) -> ApiResult<()> {
        self.tags.remove(arn)?;
        Ok(())
    }

    pub(super) fn add_tags(&self, input: &Value) -> ApiResult<Value> {
        let mut check = Check::new(input);
        let arn = check.required("ResourceArn", ARN);
        check.list("Tags", 1, MAX);
        let new = of_request(&mut check);
        check.finish()?;
        let mut told = Vec::new();
        self.tags.change(arn, |there| {
            let mut tags = there.cloned().unwrap_or_default();
            tags.extend(new);
            if tags.len() > MAX {
                let message = format!("A resource can have at most {MAX} tags.");
                return Err(ApiError::validation(message));
            }
            told = printed(&tags);
            Ok(Some(tags))
        })??;
        Ok(json!({"Tags": told}))
    }

    pub(super) fn list_tags(&self, input: &Value) -> ApiResult<Value> {
        let mut check = Check::new(input);
        let arn = check.required("ResourceArn", ARN);
        check.finish()?;
        Ok(json!({"Tags": printed(&self.tags.get(arn).unwrap_or_default())}))
    }

    pub(super) fn delete_tags(&self, input: &Value) -> ApiResult<Value> {
        let mut check = Check::new(input);
        let arn = check.required("ResourceArn", ARN);
        let keys = check.list("TagKeys", 1, MAX);
        check.finish()?;
        self.tags.change(arn, |there| {
            let mut tags = there.cloned().unwrap_or_default();
            tags.retain(|key, _| !keys.iter().any(|k| k.as_str() == Some(key)));
            Ok::<_, ApiError>(Some(tags).filter(|tags| !tags.is_empty()))
        })??;
        Ok(json!({}))
    }
}

fn printed(tags: &Tags) -> Vec<Value> {
    tags.iter()
        .map(|(key, value)| json!({"Key": key, "Value": value}))
        .collect()
}
