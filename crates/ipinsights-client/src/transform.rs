//! Batch transform jobs: a model over objects in S3, without an endpoint.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{BufRead, Read as _};
use std::num::NonZeroU32;

use aws_sdk_sagemaker::operation::describe_transform_job::DescribeTransformJobOutput;
use aws_sdk_sagemaker::types;
use ipinsights::inference::{
    InferenceError, MAX_BODY_BYTES, PredictionRecord, ResponseFormat, decode_response,
};
use serde_json::{Value, json};

use crate::names::{InstanceType, ModelName, S3Uri, TransformJobName};
use crate::training::as_i32;
use crate::wait::Seen;
use crate::{Client, Deadline, Error, tags};

/// What `CreateTransformJob` takes: which rows to score with which model, and where the scores go.
///
/// Rows are CSV, cut at line ends; scores come as JSON Lines, one for each row in the rows' order, in an object `<name>.out`
/// for each object of rows.
#[derive(Debug, Clone, PartialEq)]
pub struct TransformJob {
    /// The job's name.
    pub name: TransformJobName,
    /// The model.
    pub model: ModelName,
    /// The rows: a CSV object, or a prefix of several.
    pub input: S3Uri,
    /// The prefix under which the scores go.
    pub output: S3Uri,
    /// What to score on.
    pub instance_type: InstanceType,
    /// How many of them; each takes some of the objects.
    pub instance_count: NonZeroU32,
    /// Whether the scores come with the embeddings.
    pub verbose: bool,
    /// At most 50; see [`TrainingJobDraft::tag`](crate::TrainingJobDraft::tag).
    pub tags: BTreeMap<String, String>,
}

impl TransformJob {
    /// One `ml.m5.large`, scores without embeddings, and no tags.
    pub fn new(name: TransformJobName, model: ModelName, input: S3Uri, output: S3Uri) -> Self {
        Self {
            name,
            model,
            input,
            output,
            instance_type: InstanceType::m5_large(),
            instance_count: NonZeroU32::MIN,
            verbose: false,
            tags: BTreeMap::new(),
        }
    }

    fn response(&self) -> ResponseFormat {
        ResponseFormat::JSON_LINES.verbose(self.verbose)
    }

    /// The members of `CreateTransformJob` as the API names them: what [`Client::start_transform`] sends, for a state machine
    /// or the command line.
    pub fn to_parameters(&self) -> Value {
        let mut parameters = json!({
            "TransformJobName": self.name.as_str(),
            "ModelName": self.model.as_str(),
            "TransformInput": {
                "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": self.input.as_str()}},
                "ContentType": "text/csv",
                "SplitType": "Line",
            },
            "TransformOutput": {
                "S3OutputPath": self.output.as_str(),
                "Accept": self.response().to_string(),
                "AssembleWith": "Line",
            },
            "TransformResources": {
                "InstanceType": self.instance_type.as_str(),
                "InstanceCount": self.instance_count,
            },
        });
        tags::add_to(&mut parameters, &self.tags);
        parameters
    }

    /// Reads an object that the job wrote: a prediction for each row, in the rows' order, one line of it in memory at a time.
    ///
    /// ```
    /// # use ipinsights_client::TransformJob;
    /// # let job = TransformJob::new("t".parse()?, "m".parse()?, "s3://b/in".parse()?, "s3://b/out".parse()?);
    /// let object = &b"{\"dot_product\":1.5}\n{\"dot_product\":-2}\n"[..]; // or a file, or a body of S3
    /// let scores: Result<Vec<_>, _> = job.read_output(object).map(|p| Ok(p?.dot_product)).collect();
    /// # let scores: Result<Vec<f32>, ipinsights_client::Error> = scores;
    /// assert_eq!(scores?, [1.5, -2.0]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// An item is [`Error::Codec`] when the object is none of the job's, or was cut off, and [`Error::Output`] when it cannot be
    /// read; it is the last.
    pub fn read_output<R: BufRead>(&self, object: R) -> Predictions<R> {
        Predictions {
            object,
            format: self.response(),
            line: Vec::new(),
            read: 0,
            is_over: false,
        }
    }
}

/// The predictions of an object that a transform job wrote; see [`TransformJob::read_output`].
#[derive(Debug)]
pub struct Predictions<R> {
    object: R,
    format: ResponseFormat,
    line: Vec<u8>,
    read: u64,
    is_over: bool,
}

impl<R: BufRead> Iterator for Predictions<R> {
    type Item = Result<PredictionRecord, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let next = self.next_line().transpose();
        self.is_over = !matches!(next, Some(Ok(_)));
        next
    }
}

impl<R: BufRead> Predictions<R> {
    fn next_line(&mut self) -> Result<Option<PredictionRecord>, Error> {
        loop {
            self.line.clear();
            // No prediction is longer than the answer that it came in.
            let mut object = (&mut self.object).take(MAX_BODY_BYTES as u64 + 1);
            let length = object.read_until(b'\n', &mut self.line);
            let length = length.map_err(|source| Error::Output {
                read: self.read,
                source,
            })?;
            if length == 0 {
                return Ok(None);
            }
            let record = usize::try_from(self.read + 1).unwrap_or(usize::MAX);
            let decoded = match length > MAX_BODY_BYTES {
                true => Err(InferenceError::Record {
                    record,
                    reason: format!("the line is longer than {MAX_BODY_BYTES} bytes"),
                }),
                false => decode_response(self.format, &self.line),
            };
            // Of this line it is the first.
            let mut decoded = decoded.map_err(|error| match error {
                InferenceError::Record { reason, .. } => InferenceError::Record { record, reason },
                error => error,
            })?;
            // Lines without anything stand between the answers to two requests.
            if let Some(prediction) = decoded.pop() {
                self.read += 1;
                return Ok(Some(prediction));
            }
        }
    }
}

/// How a transform job is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TransformState {
    /// It is under way.
    InProgress,
    /// It has been asked to stop.
    Stopping,
    /// Every object is scored.
    Completed,
    /// It failed: some objects may be scored all the same.
    Failed {
        /// The service's reason.
        reason: String,
    },
    /// It was stopped.
    Stopped,
}

impl fmt::Display for TransformState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InProgress => "InProgress",
            Self::Stopping => "Stopping",
            Self::Completed => "Completed",
            Self::Failed { .. } => "Failed",
            Self::Stopped => "Stopped",
        })
    }
}

impl TransformState {
    fn from_answer(answer: &DescribeTransformJobOutput) -> Result<Self, Error> {
        match answer.transform_job_status().map(|status| status.as_str()) {
            Some("InProgress") => Ok(Self::InProgress),
            Some("Stopping") => Ok(Self::Stopping),
            Some("Completed") => Ok(Self::Completed),
            Some("Stopped") => Ok(Self::Stopped),
            Some("Failed") => Ok(Self::Failed {
                reason: answer
                    .failure_reason()
                    .unwrap_or("the service gives no reason")
                    .to_owned(),
            }),
            status => Err(Error::UnexpectedAnswer {
                operation: "DescribeTransformJob",
                problem: format!("status `{}`", status.unwrap_or_default()),
            }),
        }
    }
}

impl Client {
    /// Starts a transform job and gives its ARN.
    ///
    /// # Errors
    ///
    /// [`Error::AlreadyExists`] when a job of that name was ever started; [`Error::NotFound`] when there is no such model;
    /// [`Error::LimitExceeded`] when the account may not use that many instances of the type; [`Error::Invalid`] when there
    /// are no rows under the URI.
    pub async fn start_transform(&self, job: &TransformJob) -> Result<String, Error> {
        let source = types::TransformS3DataSource::builder()
            .s3_data_type(types::S3DataType::S3Prefix)
            .s3_uri(job.input.as_str())
            .build();
        let input = types::TransformInput::builder()
            .data_source(
                types::TransformDataSource::builder()
                    .s3_data_source(source)
                    .build(),
            )
            .content_type("text/csv")
            .split_type(types::SplitType::Line)
            .build();
        let output = types::TransformOutput::builder()
            .s3_output_path(job.output.as_str())
            .accept(job.response().to_string())
            .assemble_with(types::AssemblyType::Line)
            .build();
        let resources = types::TransformResources::builder()
            .instance_type(job.instance_type.as_str().into())
            .instance_count(as_i32(job.instance_count.get()))
            .build();
        let answer = self
            .sagemaker
            .create_transform_job()
            .transform_job_name(job.name.as_str())
            .model_name(job.model.as_str())
            .transform_input(input)
            .transform_output(output)
            .transform_resources(resources)
            .set_tags(tags::to_sdk(&job.tags))
            .send()
            .await
            .map_err(|error| Error::from_sdk("CreateTransformJob", error))?;
        Ok(answer.transform_job_arn.unwrap_or_default())
    }

    /// How a transform job is doing.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] when there is none of that name.
    pub async fn describe_transform(&self, job: &TransformJobName) -> Result<TransformState, Error> {
        let answer = self
            .sagemaker
            .describe_transform_job()
            .transform_job_name(job.as_str())
            .send()
            .await;
        let answer = answer.map_err(|error| Error::from_sdk("DescribeTransformJob", error))?;
        TransformState::from_answer(&answer)
    }

    /// Asks a transform job to stop.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] when there is none of that name; [`Error::Invalid`] when it is over already.
    pub async fn stop_transform(&self, job: &TransformJobName) -> Result<(), Error> {
        let answer = self
            .sagemaker
            .stop_transform_job()
            .transform_job_name(job.as_str())
            .send()
            .await;
        answer
            .map(drop)
            .map_err(|error| Error::from_sdk("StopTransformJob", error))
    }

    /// Waits until a transform job is done; `observer` sees how it is doing at every look.
    ///
    /// # Errors
    ///
    /// [`Error::JobFailed`] and [`Error::JobStopped`] when it ends otherwise, [`Error::Timeout`] when it does not end in time.
    /// Errors that pass, such as throttling, are borne for a while.
    pub async fn wait_for_transform(
        &self,
        job: &TransformJobName,
        deadline: Deadline,
        observer: &mut (dyn FnMut(&TransformState) + Send),
    ) -> Result<(), Error> {
        let what = format!("transform job `{job}`");
        let look = || self.describe_transform(job);
        let judge = |state: TransformState| {
            observer(&state);
            let last = state.to_string();
            let what = what.clone();
            match state {
                TransformState::Completed => Ok(Seen::Done(())),
                TransformState::Failed { reason } => Err(Error::JobFailed { what, reason }),
                TransformState::Stopped => Err(Error::JobStopped { what }),
                TransformState::InProgress | TransformState::Stopping => Ok(Seen::Pending(last, None)),
            }
        };
        deadline.until(what.clone(), look, judge).await
    }
}
