//! What answers of services hold: mocked results are held against it.
//!
//! The API references of the services, under "Response Syntax". Operations that are not here are not known.

use serde_json::{Map, Value};

/// A member of an answer.
struct Member {
    name: &'static str,
    kind: Kind,
    required: bool,
}

enum Kind {
    /// Moments and bytes are texts, too.
    Text,
    Number,
    /// Of objects with these members.
    List(&'static [Member]),
}

const fn member(name: &'static str, kind: Kind) -> Member {
    Member {
        name,
        kind,
        required: false,
    }
}

const fn text(name: &'static str) -> Member {
    member(name, Kind::Text)
}

const fn required(name: &'static str) -> Member {
    Member {
        required: true,
        ..text(name)
    }
}

/// By service and action, as Step Functions names them.
const ANSWERS: [(&str, &str, &[Member]); 14] = [
    (
        "states",
        "startExecution",
        &[required("ExecutionArn"), required("StartDate")],
    ),
    (
        "lambda",
        "invoke",
        &[
            member("StatusCode", Kind::Number),
            text("FunctionError"),
            text("LogResult"),
            text("Payload"),
            text("ExecutedVersion"),
        ],
    ),
    ("sns", "publish", &[text("MessageId"), text("SequenceNumber")]),
    ("sqs", "sendMessage", &[text("MessageId"), text("SequenceNumber")]),
    (
        "events",
        "putEvents",
        &[
            member("FailedEntryCount", Kind::Number),
            member(
                "Entries",
                Kind::List(&[text("EventId"), text("ErrorCode"), text("ErrorMessage")]),
            ),
        ],
    ),
    (
        "batch",
        "submitJob",
        &[text("JobArn"), required("JobName"), required("JobId")],
    ),
    ("glue", "startJobRun", &[text("JobRunId")]),
    ("sagemaker", "createTrainingJob", &[required("TrainingJobArn")]),
    ("sagemaker", "createTransformJob", &[required("TransformJobArn")]),
    (
        "sagemaker",
        "createHyperParameterTuningJob",
        &[required("HyperParameterTuningJobArn")],
    ),
    ("sagemaker", "createModel", &[required("ModelArn")]),
    (
        "sagemaker",
        "createEndpointConfig",
        &[required("EndpointConfigArn")],
    ),
    ("sagemaker", "createEndpoint", &[required("EndpointArn")]),
    ("sagemaker", "updateEndpoint", &[required("EndpointArn")]),
];

/// The answer of a call, which is what its Task yields.
pub(super) struct Answer(&'static [Member]);

impl Answer {
    /// That of a Task's resource; `None` for one that is not known. What is waited for yields something else.
    pub(super) fn of(resource: &str) -> Option<Self> {
        let (_, call) = resource.split_once(":states:::")?;
        let call = call.strip_prefix("aws-sdk:").unwrap_or(call);
        let (service, action) = call.split_once(':')?;
        let service = match service {
            "sfn" => "states",
            "eventbridge" => "events",
            service => service,
        };
        let found = ANSWERS
            .iter()
            .find(|(known, of, _)| *known == service && *of == action);
        found.map(|(_, _, members)| Self(members))
    }

    /// Whether a result could be the answer; otherwise what is wrong with it, in the service's words. With `all` nothing that is
    /// required may be missing. Members that are not known are let through.
    pub(super) fn check(&self, result: &Value, all: bool) -> Result<(), String> {
        match result {
            Value::Object(members) => check(self.0, members, all),
            _ => Err("Mocked result must be a JSON object.".to_owned()),
        }
    }
}

fn check(members: &[Member], result: &Map<String, Value>, all: bool) -> Result<(), String> {
    let wrong = |what: String| Err(format!("Mock result schema validation error: {what}"));
    for Member { name, kind, required } in members {
        match (result.get(*name), kind) {
            (None, _) if all && *required => return wrong(format!("Required field '{name}' is missing")),
            (None, _) | (Some(Value::String(_)), Kind::Text) => {}
            (Some(Value::Number(number)), Kind::Number) if !number.is_f64() => {}
            (Some(Value::Array(items)), Kind::List(inner)) => {
                for item in items {
                    match item {
                        Value::Object(item) => check(inner, item, all)?,
                        _ => return wrong(format!("Field '{name}' must be an object")),
                    }
                }
            }
            (Some(_), Kind::Text) => return wrong(format!("Field '{name}' must be a string")),
            (Some(_), Kind::Number) => return wrong(format!("Field '{name}' must be a number")),
            (Some(_), Kind::List(_)) => return wrong(format!("Field '{name}' must be an array")),
        }
    }
    Ok(())
}
