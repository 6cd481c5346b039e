//! Objects of S3, as tasks see them.

use std::{io::Read, ops::Bound};

use serde_json::{Value, json};
use sfn_local::TaskFailure;

use super::{Style, failure};
use crate::{
    api::ApiError,
    s3::{ObjectStore, Scan, StoreError},
    time::iso,
};

/// What tasks can do with objects.
pub(super) const ACTIONS: [&str; 5] = [
    "getObject",
    "putObject",
    "headObject",
    "deleteObject",
    "listObjectsV2",
];

/// What each of them takes.
fn taken(action: &str) -> &'static [&'static str] {
    match action {
        "putObject" => &["Bucket", "Key", "Body", "ContentType"],
        "listObjectsV2" => &["Bucket", "Prefix", "MaxKeys", "ContinuationToken", "StartAfter"],
        _ => &["Bucket", "Key"],
    }
}

/// The largest object that can become a task's result or an ItemReader's input.
const LARGEST: u64 = 1 << 30;

pub(super) fn call(
    store: &ObjectStore,
    style: Style,
    action: &str,
    parameters: &Value,
) -> Result<Value, TaskFailure> {
    let answered = act(store, action, parameters);
    answered.map_err(|error| {
        failure(
            if style == Style::Optimised {
                Style::Sdk
            } else {
                style
            },
            "S3",
            &error,
        )
    })
}

fn act(store: &ObjectStore, action: &str, parameters: &Value) -> Result<Value, ApiError> {
    let text = |member: &str| {
        parameters[member].as_str().ok_or_else(|| {
            ApiError::new(
                "S3Exception",
                format!("The parameter {member} is missing or no text."),
            )
        })
    };
    for member in parameters
        .as_object()
        .into_iter()
        .flat_map(|members| members.keys())
    {
        if !taken(action).contains(&member.as_str()) {
            let message = format!("The parameter {member} of s3:{action} is not implemented by aws-local.");
            return Err(ApiError::new("S3Exception", message));
        }
    }
    let bucket = text("Bucket")?;
    match action {
        "getObject" => {
            let (object, mut file) = store.open_object(bucket, text("Key")?).map_err(told)?;
            if object.size > LARGEST {
                let message = format!("The object has {} bytes; {LARGEST} can be read.", object.size);
                return Err(ApiError::new("S3Exception", message));
            }
            let mut body = Vec::new();
            file.read_to_end(&mut body)?;
            let mut answer = described(&object.e_tag, object.size, object.modified);
            answer["Body"] = String::from_utf8_lossy(&body).into();
            if let Some(content_type) = object.attributes.content_type {
                answer["ContentType"] = content_type.into();
            }
            Ok(answer)
        }
        "headObject" => {
            let object = store.object(bucket, text("Key")?).map_err(told)?;
            Ok(described(&object.e_tag, object.size, object.modified))
        }
        "putObject" => {
            let body = match &parameters["Body"] {
                Value::String(text) => text.clone(),
                Value::Null => String::new(),
                other => other.to_string(),
            };
            let content_type = parameters["ContentType"]
                .as_str()
                .unwrap_or("application/octet-stream");
            let object = store
                .put_with(bucket, text("Key")?, content_type, |sink| {
                    sink.write_all(body.as_bytes()).map_err(StoreError::Io)
                })
                .map_err(told)?;
            Ok(json!({"ETag": format!("\"{}\"", object.e_tag)}))
        }
        "deleteObject" => {
            store
                .delete(bucket, text("Key")?, &Default::default())
                .map_err(told)?;
            Ok(json!({}))
        }
        _ => {
            let prefix = parameters["Prefix"].as_str().unwrap_or_default();
            let most = parameters["MaxKeys"].as_u64().unwrap_or(1000).min(1000) as usize;
            let after = parameters["ContinuationToken"]
                .as_str()
                .or_else(|| parameters["StartAfter"].as_str());
            let from = after.map_or(Bound::Unbounded, |key| Bound::Excluded(key.to_owned()));
            let mut contents = Vec::new();
            let mut more = false;
            store
                .scan(bucket, prefix, from, |object| {
                    if contents.len() == most {
                        more = true;
                        return Scan::Stop;
                    }
                    contents.push(json!({
                        "Etag": format!("\"{}\"", object.e_tag),
                        "Key": object.key,
                        "LastModified": iso(object.modified),
                        "Size": object.size,
                        "StorageClass": "STANDARD",
                    }));
                    Scan::Next
                })
                .map_err(told)?;
            let last = contents.last().map(|object| object["Key"].clone());
            let mut answer = json!({
                "Contents": contents,
                "IsTruncated": more,
                "KeyCount": contents.len(),
                "MaxKeys": most,
                "Name": bucket,
                "Prefix": prefix,
            });
            if let Some(key) = last.filter(|_| more) {
                answer["NextContinuationToken"] = key;
            }
            Ok(answer)
        }
    }
}

fn described(e_tag: &str, size: u64, modified: f64) -> Value {
    json!({
        "AcceptRanges": "bytes",
        "ContentLength": size,
        "ETag": format!("\"{e_tag}\""),
        "LastModified": iso(modified),
        "Metadata": {},
    })
}

fn told(error: StoreError) -> ApiError {
    match error {
        StoreError::NoSuchBucket => {
            ApiError::new("NoSuchBucketException", "The specified bucket does not exist")
        }
        StoreError::NoSuchKey => ApiError::new("NoSuchKeyException", "The specified key does not exist."),
        StoreError::Io(error) => error.into(),
        other => ApiError::new("S3Exception", format!("{other:?}")),
    }
}
