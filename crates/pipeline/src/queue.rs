//! A queue of SQS that is told which objects have come into buckets.
//!
//! The messages are those of S3 itself, of EventBridge, and of CloudTrail, each as it comes or through a topic of SNS.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use ipinsights_client::Error as ClientError;
use percent_encoding::percent_decode_str;
use serde_json::Value;

use crate::{Clients, Connection, Error};

/// How many messages are asked for at a time: the most that the service gives.
const MESSAGES: i32 = 10;
/// The longest that the service waits for a message, in seconds.
const LONGEST_WAIT: u64 = 20;
/// For how long a message that is being dealt with is shown to nobody else, in seconds: reading a large object and scoring its
/// events takes a while.
const HIDDEN: i32 = 300;

/// The address of a queue: `https://sqs.REGION.amazonaws.com/ACCOUNT/NAME`, or `http://HOST:PORT/ACCOUNT/NAME` of a local server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueUrl {
    text: String,
    region: String,
    /// Of a local server, which then also has the objects.
    server: Option<String>,
}

impl QueueUrl {
    /// Where the queue is, and the objects that its messages tell of.
    pub fn connection(&self) -> Connection {
        match &self.server {
            Some(server) => Connection::to_url(server, &self.region),
            None => Connection {
                region: Some(self.region.clone()),
                ..Connection::default()
            },
        }
    }
}

impl fmt::Display for QueueUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for QueueUrl {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let refuse = |reason| Error::QueueAddress {
            text: text.to_owned(),
            reason,
        };
        let (scheme, rest) = text
            .split_once("://")
            .ok_or_else(|| refuse("it begins with https://, or with http:// on a local server"))?;
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        if path.split('/').filter(|part| !part.is_empty()).count() < 2 {
            return Err(refuse("account and name of the queue come after the host"));
        }
        let labels: Vec<&str> = host.split('.').collect();
        let (region, server) = match (scheme, labels.as_slice()) {
            (
                "https",
                ["sqs", region, "amazonaws", "com", ..] | [region, "queue", "amazonaws", "com", ..],
            ) => (*region, None),
            ("https", _) => return Err(refuse("its host is not sqs.REGION.amazonaws.com")),
            ("http", _) if host.is_empty() => return Err(refuse("it has no host")),
            ("http", ["sqs", region, ..]) => (*region, Some(format!("http://{host}"))),
            ("http", _) => ("us-east-1", Some(format!("http://{host}"))),
            _ => {
                return Err(refuse(
                    "it begins with https://, or with http:// on a local server",
                ));
            }
        };
        Ok(Self {
            text: text.to_owned(),
            region: region.to_owned(),
            server,
        })
    }
}

/// An object that has come into a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrived {
    /// The bucket.
    pub bucket: String,
    /// The key, as plain text.
    pub key: String,
}

/// What a message tells.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Told {
    /// These objects have come; none where it tells of something else that happens to buckets, such as an object that was deleted.
    Objects(Vec<Arrived>),
    /// It is not one of the messages that are known.
    Unknown,
}

impl Told {
    /// Reads a message.
    pub fn of(body: &str) -> Self {
        let Ok(message) = serde_json::from_str::<Value>(body) else {
            return Self::Unknown;
        };
        // A topic wraps what it was told.
        let inner = match (&message["Type"], &message["Message"]) {
            (Value::String(kind), Value::String(inner)) if kind == "Notification" => {
                serde_json::from_str(inner)
            }
            _ => Ok(message),
        };
        inner
            .ok()
            .and_then(|message| objects(&message))
            .map_or(Self::Unknown, Self::Objects)
    }
}

fn objects(message: &Value) -> Option<Vec<Arrived>> {
    if message["Event"] == "s3:TestEvent" {
        return Some(Vec::new());
    }
    if let Value::Array(records) = &message["Records"] {
        let of = |record: &Value| {
            if record["eventSource"] != "aws:s3" {
                return None;
            }
            let event = record["eventName"].as_str()?;
            let created = event.trim_start_matches("s3:").starts_with("ObjectCreated:");
            let arrived = created.then(|| {
                let key = record["s3"]["object"]["key"].as_str()?;
                // As a form is encoded.
                let key = key.replace('+', " ");
                let key = percent_decode_str(&key).decode_utf8().ok()?.into_owned();
                arrived(&record["s3"], key)
            });
            Some(arrived.map_or(Vec::new(), |arrived| vec![arrived]))
        };
        let found: Option<Vec<Vec<Option<Arrived>>>> = records.iter().map(of).collect();
        return found?.into_iter().flatten().collect();
    }
    if message["source"] == "aws.s3" {
        match message["detail-type"].as_str()? {
            "Object Created" => {}
            // Such as `Object Deleted`. A trail's own event of a call that stores an object is something else.
            kind if kind.starts_with("Object ") => return Some(Vec::new()),
            _ => return None,
        }
        let key = message["detail"]["object"]["key"].as_str()?;
        return arrived(&message["detail"], key.to_owned()).map(|one| vec![one]);
    }
    // CloudTrail's own, of a trail that has a topic.
    let bucket = message["s3Bucket"].as_str()?;
    let keys = message["s3ObjectKey"].as_array()?;
    let of = |key: &Value| {
        Some(Arrived {
            bucket: bucket.to_owned(),
            key: key.as_str()?.to_owned(),
        })
    };
    keys.iter().map(of).collect()
}

fn arrived(of: &Value, key: String) -> Option<Arrived> {
    Some(Arrived {
        bucket: of["bucket"]["name"].as_str()?.to_owned(),
        key,
    })
}

/// A message, hidden from others for a while.
#[derive(Debug, Clone)]
pub struct Notice {
    /// Its number in the queue.
    pub id: String,
    /// What it tells.
    pub told: Told,
    receipt: String,
}

/// A queue.
#[derive(Debug, Clone)]
pub struct Queue {
    sqs: aws_sdk_sqs::Client,
    url: QueueUrl,
}

impl Queue {
    /// The queue of this address.
    pub fn new(clients: &Clients, url: QueueUrl) -> Self {
        let sqs = clients.sqs.clone();
        Self { sqs, url }
    }

    /// The next messages, at most ten; none where none came within `wait`, of which the service takes 20 seconds at most.
    ///
    /// # Errors
    ///
    /// [`Error::Queue`]
    pub async fn receive(&self, wait: Duration) -> Result<Vec<Notice>, Error> {
        let wait = wait.as_secs().min(LONGEST_WAIT);
        let answer = self
            .sqs
            .receive_message()
            .queue_url(&self.url.text)
            .max_number_of_messages(MESSAGES)
            .visibility_timeout(HIDDEN)
            .wait_time_seconds(i32::try_from(wait).unwrap_or_default())
            .send()
            .await
            .map_err(|error| self.failed(ClientError::from_sdk("ReceiveMessage", error)))?;
        let notices = answer.messages.unwrap_or_default().into_iter().map(|message| {
            let missing = |what: &str| Error::Unexpected {
                what: format!("a message of `{}` has no {what}", self.url),
            };
            Ok(Notice {
                told: Told::of(&message.body.ok_or_else(|| missing("body"))?),
                receipt: message.receipt_handle.ok_or_else(|| missing("receipt"))?,
                id: message.message_id.ok_or_else(|| missing("id"))?,
            })
        });
        notices.collect()
    }

    /// Hides a message for five minutes from now on, for one that waited while others were dealt with.
    ///
    /// # Errors
    ///
    /// [`Error::Queue`]
    pub async fn hide(&self, notice: &Notice) -> Result<(), Error> {
        let request = self.sqs.change_message_visibility().queue_url(&self.url.text);
        let answer = request
            .receipt_handle(&notice.receipt)
            .visibility_timeout(HIDDEN)
            .send()
            .await;
        let failed = |error| self.failed(ClientError::from_sdk("ChangeMessageVisibility", error));
        answer.map(drop).map_err(failed)
    }

    /// Takes a message away, once it has been dealt with.
    ///
    /// # Errors
    ///
    /// [`Error::Queue`]
    pub async fn delete(&self, notice: &Notice) -> Result<(), Error> {
        let request = self.sqs.delete_message().queue_url(&self.url.text);
        let answer = request.receipt_handle(&notice.receipt).send().await;
        let failed = |error| self.failed(ClientError::from_sdk("DeleteMessage", error));
        answer.map(drop).map_err(failed)
    }

    fn failed(&self, source: ClientError) -> Error {
        Error::Queue {
            url: self.url.text.clone(),
            source: Box::new(source),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn addresses() {
        for (text, region, server) in [
            (
                "https://sqs.eu-west-1.amazonaws.com/111122223333/logs",
                "eu-west-1",
                None,
            ),
            (
                "https://sqs.cn-north-1.amazonaws.com.cn/111122223333/logs",
                "cn-north-1",
                None,
            ),
            (
                "https://eu-west-1.queue.amazonaws.com/111122223333/logs",
                "eu-west-1",
                None,
            ),
            (
                "http://127.0.0.1:4566/000000000000/logs",
                "us-east-1",
                Some("http://127.0.0.1:4566"),
            ),
            (
                "http://sqs.eu-west-1.localhost.localstack.cloud:4566/000000000000/logs",
                "eu-west-1",
                Some("http://sqs.eu-west-1.localhost.localstack.cloud:4566"),
            ),
        ] {
            let url: QueueUrl = text.parse().unwrap();
            assert_eq!(
                (url.region.as_str(), url.server.as_deref()),
                (region, server),
                "{text}"
            );
            assert_eq!(url.to_string(), text);
        }
        for (text, said) in [
            ("arn:aws:sqs:eu-west-1:1:logs", "begins with https://"),
            ("ftp://sqs.eu-west-1.amazonaws.com/1/logs", "begins with https://"),
            ("https://sqs.eu-west-1.amazonaws.com/logs", "account and name"),
            ("https://example.org/1/logs", "sqs.REGION.amazonaws.com"),
            ("http:///1/logs", "no host"),
        ] {
            let error = text.parse::<QueueUrl>().unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }

    fn told(body: &Value) -> Option<Vec<String>> {
        match Told::of(&body.to_string()) {
            Told::Objects(objects) => Some(
                objects
                    .into_iter()
                    .map(|object| format!("{}/{}", object.bucket, object.key))
                    .collect(),
            ),
            Told::Unknown => None,
        }
    }

    #[test]
    fn messages() {
        let record = |event: &str, key: &str| {
            json!({"eventSource": "aws:s3", "eventName": event,
                "s3": {"bucket": {"name": "logs"}, "object": {"key": key, "size": 7}}})
        };
        let of_s3 = json!({"Records": [
            record("ObjectCreated:Put", "a+b/%C3%A9%2B.json.gz"),
            record("ObjectRemoved:Delete", "gone"),
            record("ObjectCreated:CompleteMultipartUpload", "c"),
        ]});
        let objects = vec!["logs/a b/é+.json.gz".to_owned(), "logs/c".to_owned()];
        assert_eq!(told(&of_s3), Some(objects.clone()));
        let through_a_topic = json!({"Type": "Notification", "Message": of_s3.to_string()});
        assert_eq!(told(&through_a_topic), Some(objects));
        assert_eq!(
            told(&json!({"Service": "Amazon S3", "Event": "s3:TestEvent"})),
            Some(vec![])
        );
        let of_event_bridge = |kind: &str| {
            json!({"source": "aws.s3", "detail-type": kind,
                "detail": {"bucket": {"name": "logs"}, "object": {"key": "a+b", "size": 3}}})
        };
        let object = vec!["logs/a+b".to_owned()];
        assert_eq!(told(&of_event_bridge("Object Created")), Some(object));
        assert_eq!(told(&of_event_bridge("Object Deleted")), Some(vec![]));
        let of_cloudtrail = json!({"Type": "Notification",
            "Message": json!({"s3Bucket": "trail", "s3ObjectKey": ["a/b.json.gz", "a/c.json.gz"]}).to_string()});
        let objects = vec!["trail/a/b.json.gz".to_owned(), "trail/a/c.json.gz".to_owned()];
        assert_eq!(told(&of_cloudtrail), Some(objects));
        for unknown in [
            of_event_bridge("AWS API Call via CloudTrail"),
            json!({"Records": [{"eventSource": "aws:dynamodb", "eventName": "INSERT"}]}),
            json!({"Records": [record("ObjectCreated:Put", "%ff")]}),
            json!({"Type": "Notification", "Message": "Dear customer"}),
            json!([1]),
            json!({}),
        ] {
            assert_eq!(told(&unknown), None, "{unknown}");
        }
        assert_eq!(Told::of("{"), Told::Unknown);
    }
}
