//! Why a run, or its teardown, did not end well.

use aws_credential_types::provider::error::CredentialsError;

/// Why a run, or its teardown, did not end well.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting that has to be there is not.
    #[error("`{setting}` is not set: {cure}")]
    Missing {
        /// The setting, by the name of its variable.
        setting: &'static str,
        /// What to do.
        cure: String,
    },
    /// A setting has a value that cannot be used.
    #[error("`{value}` does not do for `{setting}`: {reason}")]
    Setting {
        /// The setting.
        setting: &'static str,
        /// Its value.
        value: String,
        /// What it should be.
        reason: String,
    },
    /// No region is configured.
    #[error("no AWS region is configured: pass --region, or set AWS_REGION (or REGION)")]
    NoRegion,
    /// No credentials could be had.
    #[error(
        "no AWS credentials were found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or sign in with \
         `aws sso login`; `--target local` needs none"
    )]
    NoCredentials {
        /// What the chain of providers said.
        source: CredentialsError,
    },
    /// An answer lacks what the API promises.
    #[error("{what}")]
    Unexpected {
        /// What was expected and what came.
        what: String,
    },
    /// A service refused, or could not be reached.
    #[error(transparent)]
    Client(#[from] ipinsights_client::Error),
    /// A text that should be the address of objects in S3 is none.
    #[error("`{text}` is no S3 address: {reason}")]
    S3Address {
        /// The text.
        text: String,
        /// What it should be.
        reason: &'static str,
    },
    /// There is no such bucket.
    #[error("there is no bucket `{bucket}`")]
    NoBucket {
        /// The bucket.
        bucket: String,
    },
    /// The bucket is in another region than the clients.
    #[error("bucket `{bucket}` is in `{region}`: pass --region {region}")]
    OtherRegion {
        /// The bucket.
        bucket: String,
        /// Where it is.
        region: String,
    },
    /// An object was listed, and is gone.
    #[error("`{uri}` was listed, and is gone")]
    ObjectGone {
        /// `s3://bucket/key`.
        uri: String,
    },
    /// An object is in a storage class that is not read at once.
    #[error("`{uri}` is archived: restore it first, or leave it out")]
    ObjectArchived {
        /// `s3://bucket/key`.
        uri: String,
    },
    /// An object was replaced while it was read.
    #[error("`{uri}` was replaced while it was read")]
    ObjectChanged {
        /// `s3://bucket/key`.
        uri: String,
    },
    /// An object's body does not come to its end, or does and is not what its checksum says.
    #[error("`{uri}` could not be read to its end: {received}{} bytes came", of(*size))]
    ObjectCut {
        /// `s3://bucket/key`.
        uri: String,
        /// Bytes that came.
        received: u64,
        /// Bytes that should, where the service said so.
        size: Option<u64>,
        /// What the connection says.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Any other refusal of S3, or no answer.
    #[error("`{uri}` could not be read")]
    S3 {
        /// `s3://bucket/key`, or the prefix of a listing.
        uri: String,
        /// What the service said.
        source: Box<ipinsights_client::Error>,
    },
    /// A text is no queue's address.
    #[error("`{text}` is no address of a queue: {reason}")]
    QueueAddress {
        /// The text.
        text: String,
        /// What an address is.
        reason: &'static str,
    },
    /// What a queue was asked for.
    #[error("the queue `{url}` did not do what it was asked for")]
    Queue {
        /// The queue's address.
        url: String,
        /// What the service said.
        source: Box<ipinsights_client::Error>,
    },
    /// A training job that the settings describe would not be accepted.
    #[error("the training job is not valid")]
    TrainingJob(#[from] ipinsights_client::InvalidTrainingJob),
    /// A name that a run derives breaks a rule of the service.
    #[error(transparent)]
    Name(#[from] ipinsights_client::ParseNameError),
    /// The state machine's definition does not hold together.
    #[error("the state machine's definition is not valid")]
    Definition(#[from] sfn_builder::InvalidDefinition),
    /// The execution ended, but not well.
    #[error("execution `{execution}` ended as {status} in state `{state}`: {reason}")]
    Execution {
        /// The execution's ARN.
        execution: String,
        /// `FAILED`, `TIMED_OUT` or `ABORTED`.
        status: String,
        /// The last state that was entered.
        state: String,
        /// The error's name and the cause, a training job's or endpoint's own reason where there is one.
        reason: String,
    },
    /// The execution did not end in time.
    #[error(
        "execution `{execution}` still runs after {seconds} s, in state `{state}`; it was stopped, and what it had made \
         deleted"
    )]
    Unfinished {
        /// The execution's ARN.
        execution: String,
        /// The last state that was entered.
        state: String,
        /// How long the run waited.
        seconds: u64,
    },
    /// The caller gave up.
    #[error("interrupted; the execution, if it had begun, was stopped, and what it had made deleted")]
    Interrupted,
    /// The threshold cannot be calibrated on so few rows.
    #[error("the threshold could not be calibrated")]
    Calibration(#[from] ipinsights::CalibrationError),
    /// Rows of one's own that make no run.
    #[error("{what}")]
    Rows {
        /// What is missing, and what to do.
        what: String,
    },
    /// A file of rows is not the CSV it should be.
    #[error("`{name}` is no file of rows")]
    RowFile {
        /// The file, without a folder.
        name: String,
        /// Why.
        source: access_events::Error,
    },
    /// The sample's rows could not be written as CSV.
    #[error("the sample could not be written")]
    Sample(#[from] geodata::Error),
    /// A document could not be written or read as JSON.
    #[error("{what} is not the JSON it should be")]
    Json {
        /// Which document.
        what: &'static str,
        /// Why.
        source: serde_json::Error,
    },
}

fn of(size: Option<u64>) -> String {
    size.map(|size| format!(" of {size}")).unwrap_or_default()
}
