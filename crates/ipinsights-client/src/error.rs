//! What can go wrong, by what a caller can do about it.

use std::fmt;
use std::time::Duration;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_sagemakerruntime::operation::RequestId;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use ipinsights::inference::InferenceError;

/// Any error's cause.
pub type Source = Box<dyn std::error::Error + Send + Sync>;

/// Why the service did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No credentials were found: sign in, or set them.
    #[error("`{operation}` was not sent, because no credentials were found")]
    NoCredentials {
        /// The API's name of the operation.
        operation: &'static str,
        /// Where they were looked for.
        source: Source,
    },
    /// There are credentials, but the service does not take them: they have expired or are wrong.
    #[error("the credentials were refused: {0}")]
    CredentialsRefused(Box<Refusal>),
    /// The credentials are good, but do not permit this.
    #[error("access was denied: {0}")]
    AccessDenied(Box<Refusal>),
    /// Too many requests, and the client's retries are used up: try again later.
    #[error("throttled: {0}")]
    Throttled(Box<Refusal>),
    /// The service is out of order or still loading: try again later.
    #[error("the service is not available: {0}")]
    Unavailable(Box<Refusal>),
    /// The service could not be reached in time, or hung up; whether it got the request is not known.
    #[error("`{operation}` got no answer")]
    NotReached {
        /// The API's name of the operation.
        operation: &'static str,
        /// What the connection says.
        source: Source,
    },
    /// What the operation is about does not exist.
    #[error("not found: {0}")]
    NotFound(Box<Refusal>),
    /// Something of that name exists already: choose another name.
    #[error("exists already: {0}")]
    AlreadyExists(Box<Refusal>),
    /// It is busy with something else, or something else depends on it.
    #[error("in use: {0}")]
    InUse(Box<Refusal>),
    /// A quota of the account is used up: ask for more, or use less.
    #[error("over the quota: {0}")]
    LimitExceeded(Box<Refusal>),
    /// The service finds the request wrong.
    #[error("invalid request: {0}")]
    Invalid(Box<Refusal>),
    /// The endpoint's model could not score the request.
    #[error("the model behind `{endpoint}` answered {}{message}", status_of(*status))]
    Model {
        /// The endpoint that was asked.
        endpoint: String,
        /// The container's HTTP status.
        status: Option<u16>,
        /// What the container says.
        message: String,
        /// Where the container's log is.
        log_stream_arn: Option<String>,
        /// For the service's support.
        request_id: Option<String>,
    },
    /// Any other answer that is an error.
    #[error("{0}")]
    Service(Box<Refusal>),
    /// The request could not be made from the client's settings, such as a region that is missing.
    #[error("`{operation}` could not be sent")]
    NotSent {
        /// The API's name of the operation.
        operation: &'static str,
        /// What is wrong with the settings.
        source: Source,
    },
    /// The service's answer could not be read.
    #[error("the answer to `{operation}` could not be read")]
    UnreadableAnswer {
        /// The API's name of the operation.
        operation: &'static str,
        /// What is wrong with it.
        source: Source,
    },
    /// The service's answer lacks something it should have, or has something it should not.
    #[error("the answer to `{operation}` is not as documented: {problem}")]
    UnexpectedAnswer {
        /// The API's name of the operation.
        operation: &'static str,
        /// What is missing or odd.
        problem: String,
    },
    /// A training job ended as failed.
    #[error("training job `{job}` failed: {reason}")]
    TrainingFailed {
        /// The job.
        job: String,
        /// The service's reason.
        reason: String,
    },
    /// A training job was stopped, by someone or by its time limit.
    #[error("training job `{job}` was stopped ({secondary_status})")]
    TrainingStopped {
        /// The job.
        job: String,
        /// The service's detail: `Stopped`, `MaxRuntimeExceeded` or `MaxWaitTimeExceeded`.
        secondary_status: String,
    },
    /// A transform or tuning job ended as failed.
    #[error("{what} failed: {reason}")]
    JobFailed {
        /// The job: transform job `x`, tuning job `y`.
        what: String,
        /// The service's reason.
        reason: String,
    },
    /// A transform or tuning job was stopped.
    #[error("{what} was stopped")]
    JobStopped {
        /// The job: transform job `x`, tuning job `y`.
        what: String,
    },
    /// A tuning job does not fit together; nothing was sent.
    #[error("tuning job `{job}`: {}", problems.join("; "))]
    InvalidTuningJob {
        /// The job.
        job: String,
        /// One text for each problem; never empty.
        problems: Vec<String>,
    },
    /// A deployment is out of its bounds; nothing was sent.
    #[cfg(feature = "jobs")]
    #[error(transparent)]
    InvalidDeployment(#[from] crate::InvalidDeployment),
    /// A request to an asynchronous endpoint is out of its bounds; nothing was sent.
    #[error(transparent)]
    InvalidAsyncRequest(#[from] crate::InvalidAsyncRequest),
    /// An endpoint did not come up.
    #[error("endpoint `{endpoint}` is {status}: {reason}")]
    EndpointFailed {
        /// The endpoint.
        endpoint: String,
        /// `Failed`, `UpdateRollbackFailed` or `OutOfService`.
        status: String,
        /// The service's reason.
        reason: String,
    },
    /// An update failed, and the endpoint serves what it served before.
    #[error("endpoint `{endpoint}` was rolled back: it serves `{actual}`, not `{expected}`: {reason}")]
    RolledBack {
        /// The endpoint.
        endpoint: String,
        /// The configuration that was asked for.
        expected: String,
        /// The configuration that is in service.
        actual: String,
        /// The service's reason.
        reason: String,
    },
    /// It is left alone, because an endpoint that may need it could not be deleted.
    #[error("endpoint `{endpoint}` is still there and may need it")]
    EndpointStillThere {
        /// The endpoint.
        endpoint: String,
    },
    /// Waiting took too long; the job or endpoint goes on without us.
    #[error("{what} was still {last} after {}{}", in_words(*waited), reason_of(reason))]
    Timeout {
        /// What was waited for: training job `x`, endpoint `y`, the answer of endpoint `y`.
        what: String,
        /// Its last status.
        last: String,
        /// What the service says of it, or why an answer was asked for again, where there is more to say.
        reason: Option<String>,
        /// How long it was waited for.
        waited: Duration,
    },
    /// The output of a transform job could not be read on.
    #[error("the output of the transform job cannot be read after {read} predictions")]
    Output {
        /// How many predictions came before.
        read: u64,
        /// Why.
        source: std::io::Error,
    },
    /// A body of the endpoint could not be written or read.
    #[error(transparent)]
    Codec(#[from] InferenceError),
    /// A single event is too large to be sent, or its answer too large to come back.
    #[error(
        "event {event} is too large for a body of {} bytes",
        ipinsights::inference::MAX_BODY_BYTES
    )]
    EventTooLarge {
        /// One-based.
        event: usize,
    },
    /// The endpoint answered with another number of predictions than there were events.
    #[error("endpoint `{endpoint}` gave {received} predictions for {sent} events")]
    PredictionCount {
        /// The endpoint.
        endpoint: String,
        /// How many events the request had.
        sent: usize,
        /// How many predictions the answer has.
        received: usize,
    },
}

/// An error as the service answered it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The API's name of the operation.
    pub operation: &'static str,
    /// The error's code; for an answer that is not the service's, such as a proxy's, its HTTP status.
    pub code: String,
    /// The service's text; may be empty.
    pub message: String,
    /// The HTTP status.
    pub status: u16,
    /// For the service's support.
    pub request_id: Option<String>,
}

/// A quota of the account that a request goes beyond.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quota {
    /// Which: `ml.m5.large for training job usage`.
    pub name: String,
    /// How much there is.
    pub limit: u64,
    /// How much of it is in use.
    pub used: u64,
    /// How much more was asked for.
    pub asked: u64,
}

/// A member of a request that is not as it has to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidMember {
    /// Where, as the service writes it: `resourceConfig.instanceCount`, `inputDataConfig.1.member.channelName`.
    pub path: String,
    /// What was there; none where it is missing.
    pub value: Option<String>,
    /// What it has to be, in the service's words.
    pub constraint: String,
}

impl Refusal {
    /// The quota that was gone beyond, as far as the text tells it; see [`Error::LimitExceeded`].
    ///
    /// ```
    /// # use ipinsights_client::Refusal;
    /// # let refusal = Refusal {
    /// #     operation: "CreateEndpoint", code: "ResourceLimitExceeded".into(), status: 400, request_id: None,
    /// #     message: "The account-level service limit 'ml.m5.large for endpoint usage' is 4 Instances, with current \
    /// #               utilization of 3 Instances and a request delta of 2 Instances.".into(),
    /// # };
    /// let quota = refusal.quota().unwrap();
    /// assert_eq!(quota.name, "ml.m5.large for endpoint usage");
    /// assert_eq!((quota.limit, quota.used, quota.asked), (4, 3, 2));
    /// ```
    pub fn quota(&self) -> Option<Quota> {
        let (_, text) = self.message.split_once("service limit '")?;
        let (name, text) = text.split_once("' is ")?;
        let number = |text: &str| {
            let digits = text.split(|c: char| !c.is_ascii_digit()).next()?;
            digits.parse().ok()
        };
        let after = |words: &str| number(text.split_once(words)?.1);
        Some(Quota {
            name: name.to_owned(),
            limit: number(text)?,
            used: after("current utilization of ")?,
            asked: after("request delta of ")?,
        })
    }

    /// The members that the service finds wrong, as far as the text tells them; see [`Error::Invalid`].
    ///
    /// ```
    /// # use ipinsights_client::Refusal;
    /// # let refusal = Refusal {
    /// #     operation: "CreateModel", code: "ValidationException".into(), status: 400, request_id: None,
    /// #     message: "1 validation error detected: Value 'a_b' at 'modelName' failed to satisfy constraint: Member must \
    /// #               satisfy regular expression pattern: ^[a-z]+$".into(),
    /// # };
    /// assert_eq!(refusal.invalid_members()[0].path, "modelName");
    /// ```
    pub fn invalid_members(&self) -> Vec<InvalidMember> {
        const FAILED: &str = "' failed to satisfy constraint: ";
        let Some((_, mut rest)) = self.message.split_once(" detected: ") else {
            return Vec::new();
        };
        let mut members = Vec::new();
        while let Some((place, after)) = rest.split_once(FAILED) {
            let (constraint, next) = match after.find("; Value ") {
                Some(end) => (&after[..end], &after[end + 2..]),
                None => (after, ""),
            };
            rest = next;
            if let Some((value, path)) = place.rsplit_once(" at '") {
                let value = value.strip_prefix("Value ").unwrap_or(value);
                let quoted = value.strip_prefix('\'').and_then(|v| v.strip_suffix('\''));
                members.push(InvalidMember {
                    path: path.to_owned(),
                    value: quoted.map(str::to_owned),
                    constraint: constraint.trim().to_owned(),
                });
            }
        }
        members
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` answered {}", self.operation, self.code)?;
        if !self.message.is_empty() {
            write!(f, ": {}", self.message)?;
        }
        match &self.request_id {
            Some(id) => write!(f, " (request {id})"),
            None => Ok(()),
        }
    }
}

impl Error {
    /// Whether the same call may well succeed a little later.
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Throttled(_) | Self::Unavailable(_) | Self::NotReached { .. }
        )
    }

    /// What the service answered, where it is the service that refused.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::CredentialsRefused(refusal)
            | Self::AccessDenied(refusal)
            | Self::Throttled(refusal)
            | Self::Unavailable(refusal)
            | Self::NotFound(refusal)
            | Self::AlreadyExists(refusal)
            | Self::InUse(refusal)
            | Self::LimitExceeded(refusal)
            | Self::Invalid(refusal)
            | Self::Service(refusal) => Some(refusal),
            _ => None,
        }
    }

    /// Sorts an error of the SDK by what can be done about it; `operation` is the API's name of it.
    ///
    /// Public for callers that use other services beside this client, and want one kind of error from all of them.
    pub fn from_sdk<E>(operation: &'static str, error: SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        let request_id = error.request_id().map(str::to_owned);
        match error {
            SdkError::ServiceError(context) => {
                let status = context.raw().status().as_u16();
                let meta = context.err().meta();
                let code = meta
                    .code()
                    .map_or_else(|| format!("HTTP status {status}"), str::to_owned);
                let message = meta.message().unwrap_or_default().to_owned();
                Self::from_refusal(Refusal {
                    operation,
                    code,
                    message,
                    status,
                    request_id,
                })
            }
            SdkError::ResponseError(context) => {
                let status = context.raw().status();
                if status.is_success() {
                    let source = source_of(SdkError::ResponseError::<E, _>(context));
                    return match broke_off(source.as_ref()) {
                        true => Self::NotReached { operation, source },
                        false => Self::UnreadableAnswer { operation, source },
                    };
                }
                // An error page that is not the service's, such as a proxy's.
                let code = format!("HTTP status {}", status.as_u16());
                let message = String::new();
                Self::from_refusal(Refusal {
                    operation,
                    code,
                    message,
                    status: status.as_u16(),
                    request_id,
                })
            }
            error => {
                let is_construction = matches!(error, SdkError::ConstructionFailure(_));
                let source = source_of(error);
                if lacks_credentials(source.as_ref()) {
                    Self::NoCredentials { operation, source }
                } else if is_construction {
                    Self::NotSent { operation, source }
                } else {
                    Self::NotReached { operation, source }
                }
            }
        }
    }

    /// By code, since texts change; only where one code means many things does the text decide.
    fn from_refusal(refusal: Refusal) -> Self {
        // A namespace or a link may stand around the code.
        let code = refusal.code.rsplit('#').next().unwrap_or_default();
        let code = code.split(':').next().unwrap_or_default();
        let is_create = refusal.operation.starts_with("Create");
        let variant: fn(Box<Refusal>) -> Self = match code {
            "AccessDenied" | "AccessDeniedException" | "NotAuthorized" | "OptInRequired" => {
                Self::AccessDenied
            }
            "ExpiredToken"
            | "ExpiredTokenException"
            | "IncompleteSignature"
            | "InvalidClientTokenId"
            | "InvalidSignatureException"
            | "MissingAuthenticationToken"
            | "MissingAuthenticationTokenException"
            | "RequestExpired"
            | "SignatureDoesNotMatch"
            | "UnrecognizedClientException" => Self::CredentialsRefused,
            "RequestLimitExceeded"
            | "RequestThrottled"
            | "RequestThrottledException"
            | "SlowDown"
            | "Throttling"
            | "ThrottlingException"
            | "ThrottledException"
            | "TooManyRequestsException" => Self::Throttled,
            "InternalDependencyException"
            | "InternalFailure"
            | "InternalServerError"
            | "InternalServerException"
            | "ModelNotReadyException"
            | "ServiceUnavailable"
            | "ServiceUnavailableException" => Self::Unavailable,
            "ResourceNotFound" | "ResourceNotFoundException" => Self::NotFound,
            "ResourceInUse" | "ResourceInUseException" if is_create => Self::AlreadyExists,
            "ResourceInUse" | "ResourceInUseException" | "ConflictException" => Self::InUse,
            "ResourceLimitExceeded" | "LimitExceededException" => Self::LimitExceeded,
            "ValidationException" | "ValidationError" => match refusal.message.as_str() {
                // A missing job or endpoint has no code of its own, nor has a taken name.
                text if text.starts_with("Requested resource not found") => Self::NotFound,
                text if !is_create && text.starts_with("Could not find") => Self::NotFound,
                text if text.starts_with("Endpoint ") && text.contains(" not found") => Self::NotFound,
                text if text.starts_with("Cannot create already existing") => Self::AlreadyExists,
                _ => Self::Invalid,
            },
            _ => match refusal.status {
                403 => Self::AccessDenied,
                429 => Self::Throttled,
                500.. => Self::Unavailable,
                _ => Self::Service,
            },
        };
        variant(Box::new(refusal))
    }
}

/// The cause of an SDK error without the SDK's own layer, which says no more than our variant.
fn source_of<E>(error: SdkError<E, HttpResponse>) -> Source
where
    E: std::error::Error + Send + Sync + 'static,
{
    error.into_source().unwrap_or_else(|error| Box::new(error))
}

fn causes<'e>(
    error: &'e (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'e (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |error| error.source())
}

/// Whether an answer did not come to its end. What came whole and makes no sense has no error of the system among its causes.
fn broke_off(error: &(dyn std::error::Error + 'static)) -> bool {
    causes(error).any(|cause| cause.is::<std::io::Error>())
}

/// Whether there was nothing to sign a request with.
fn lacks_credentials(error: &(dyn std::error::Error + 'static)) -> bool {
    causes(error).any(|cause| {
        // Without any provider of credentials the SDK finds no way to sign; its error has no public type.
        cause.is::<CredentialsError>() || cause.to_string().contains("auth scheme")
    })
}

fn status_of(status: Option<u16>) -> String {
    status.map_or_else(String::new, |status| format!("{status}: "))
}

fn reason_of(reason: &Option<String>) -> String {
    reason
        .as_deref()
        .map_or_else(String::new, |reason| format!(": {reason}"))
}

fn in_words(duration: Duration) -> String {
    match duration.as_secs() {
        0 => format!("{} ms", duration.as_millis()),
        seconds @ 1..120 => format!("{seconds} s"),
        seconds => format!("{} min", seconds / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classify(operation: &'static str, status: u16, code: &str, message: &str) -> String {
        let refusal = Refusal {
            operation,
            code: code.to_owned(),
            message: message.to_owned(),
            status,
            request_id: None,
        };
        let debug = format!("{:?}", Error::from_refusal(refusal));
        debug.split('(').next().unwrap().to_owned()
    }

    #[test]
    fn refusals_are_sorted_by_code() {
        let arn = "arn:aws:sagemaker:us-east-1:123456789012:endpoint/e";
        let missing = format!(r#"Could not find endpoint "{arn}"."#);
        let taken = format!(r#"Cannot create already existing endpoint "{arn}"."#);
        let cases = [
            (
                "CreateEndpoint",
                400,
                "ResourceLimitExceeded",
                "The account-level …",
                "LimitExceeded",
            ),
            (
                "CreateTrainingJob",
                400,
                "ResourceInUse",
                "Training job names must …",
                "AlreadyExists",
            ),
            ("DeleteModel", 400, "ResourceInUse", "", "InUse"),
            ("DescribeTrainingJob", 400, "ResourceNotFound", "", "NotFound"),
            (
                "DescribeTrainingJob",
                400,
                "ValidationException",
                "Requested resource not found.",
                "NotFound",
            ),
            (
                "DescribeEndpoint",
                400,
                "ValidationException",
                &missing,
                "NotFound",
            ),
            (
                "CreateEndpoint",
                400,
                "ValidationException",
                &taken,
                "AlreadyExists",
            ),
            // The archive is missing, not the model.
            (
                "CreateModel",
                400,
                "ValidationException",
                "Could not find model data at s3://b/m.tar.gz.",
                "Invalid",
            ),
            (
                "CreateModel",
                400,
                "ValidationException",
                "1 validation error detected: …",
                "Invalid",
            ),
            (
                "InvokeEndpoint",
                400,
                "ValidationError",
                "Endpoint e of account 1 not found.",
                "NotFound",
            ),
            ("InvokeEndpoint", 429, "ModelNotReadyException", "", "Unavailable"),
            (
                "InvokeEndpoint",
                530,
                "InternalDependencyException",
                "",
                "Unavailable",
            ),
            (
                "DescribeModel",
                400,
                "ThrottlingException",
                "Rate exceeded",
                "Throttled",
            ),
            ("DescribeModel", 400, "AccessDeniedException", "", "AccessDenied"),
            (
                "DescribeModel",
                400,
                "com.amazonaws#AccessDeniedException:http://x/",
                "",
                "AccessDenied",
            ),
            (
                "DescribeModel",
                403,
                "ExpiredTokenException",
                "",
                "CredentialsRefused",
            ),
            (
                "DescribeModel",
                400,
                "UnrecognizedClientException",
                "",
                "CredentialsRefused",
            ),
            ("DescribeModel", 503, "HTTP status 503", "", "Unavailable"),
            ("DescribeModel", 429, "HTTP status 429", "", "Throttled"),
            ("DescribeModel", 418, "Teapot", "", "Service"),
        ];
        for (operation, status, code, message, want) in cases {
            assert_eq!(
                classify(operation, status, code, message),
                want,
                "{operation} {code} {message}"
            );
        }
    }

    #[test]
    fn what_a_refusal_is_about() {
        let refusal = |message: &str| Refusal {
            operation: "CreateTrainingJob",
            code: "ValidationException".to_owned(),
            message: message.to_owned(),
            status: 400,
            request_id: None,
        };
        let two = refusal(
            "2 validation errors detected: Value null at 'roleArn' failed to satisfy constraint: Member must not be null; Value \
             'it's at 'noon'' at 'inputDataConfig.1.member.channelName' failed to satisfy constraint: Member must satisfy \
             enum value set: [a; b]",
        );
        let member = |path: &str, value: Option<&str>, constraint: &str| InvalidMember {
            path: path.to_owned(),
            value: value.map(str::to_owned),
            constraint: constraint.to_owned(),
        };
        let channel = "inputDataConfig.1.member.channelName";
        let set = "Member must satisfy enum value set: [a; b]";
        assert_eq!(
            two.invalid_members(),
            [
                member("roleArn", None, "Member must not be null"),
                member(channel, Some("it's at 'noon'"), set)
            ]
        );
        assert_eq!(two.quota(), None);
        for other in [
            "",
            "Requested resource not found.",
            "1 validation error detected: ",
        ] {
            assert_eq!(refusal(other).invalid_members(), []);
            assert_eq!(refusal(other).quota(), None);
        }
    }

    #[test]
    fn messages() {
        let refusal = |request_id: Option<&str>| {
            Box::new(Refusal {
                operation: "CreateEndpoint",
                code: "ResourceLimitExceeded".to_owned(),
                message: "The limit is 0 Instances.".to_owned(),
                status: 400,
                request_id: request_id.map(str::to_owned),
            })
        };
        assert_eq!(
            Error::LimitExceeded(refusal(Some("r-1"))).to_string(),
            "over the quota: `CreateEndpoint` answered ResourceLimitExceeded: The limit is 0 Instances. (request r-1)"
        );
        let waited = |waited| {
            Error::Timeout {
                what: "endpoint `e`".to_owned(),
                last: "Creating".to_owned(),
                reason: None,
                waited,
            }
            .to_string()
        };
        assert_eq!(
            waited(Duration::from_millis(20)),
            "endpoint `e` was still Creating after 20 ms"
        );
        assert_eq!(
            waited(Duration::from_secs(90)),
            "endpoint `e` was still Creating after 90 s"
        );
        assert_eq!(
            waited(Duration::from_secs(3600)),
            "endpoint `e` was still Creating after 60 min"
        );
    }
}
