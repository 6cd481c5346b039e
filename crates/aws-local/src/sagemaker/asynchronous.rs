//! Asynchronous endpoints: requests whose bodies and answers are objects of S3, and which wait in a queue.
//!
//! A request is a record until its answer is stored, so a server that is stopped or killed goes on with what was not answered.

use std::{
    collections::VecDeque,
    fs, io,
    num::NonZeroUsize,
    panic::{AssertUnwindSafe, catch_unwind},
    str::FromStr,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use ipinsights::inference::{self, InferenceError, RequestFormat, ResponseFormat};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::{
    SageMaker, endpoint_stream,
    rows::{MAX_DOCUMENT, MAX_REQUEST, RowError, Rows},
    work,
};
use crate::{
    api::{ApiError, ApiResult, Check, Form, KMS_KEY, S3_URI, TEXT},
    logs::endpoint_group,
    runtime,
    s3::{self, StoreError},
    time::{Seconds, millis, now},
};

/// Where the answers of an endpoint go, and how many requests are worked on at a time.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct AsyncSettings {
    /// What was asked for, as it was.
    request: Value,
    output: String,
    failures: Option<String>,
    most: usize,
}

/// A request that waits, or is being worked on.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Request {
    endpoint: String,
    input: String,
    output: String,
    failure: Option<String>,
    content_type: String,
    accept: Option<String>,
    variant: Option<String>,
    /// When it came, how long it may wait, and how long the model may take.
    asked: Seconds,
    wait: Seconds,
    limit: Seconds,
}

/// What an endpoint has to do.
#[derive(Default)]
pub(super) struct Queue {
    waiting: VecDeque<String>,
    /// How many threads work on it.
    working: usize,
}

/// What is told of a request that was taken.
pub(crate) struct Taken {
    pub(crate) id: String,
    pub(crate) output: String,
    pub(crate) failure: Option<String>,
}

/// What a request says, header by header.
pub(crate) struct Asked<'a> {
    pub(crate) input: Option<&'a str>,
    pub(crate) content_type: &'a str,
    pub(crate) accept: Option<&'a str>,
    pub(crate) variant: Option<&'a str>,
    pub(crate) id: Option<&'a str>,
    pub(crate) custom_attributes: Option<&'a str>,
    pub(crate) extension: Option<&'a str>,
    pub(crate) file_name: Option<&'a str>,
    pub(crate) wait: Option<&'a str>,
    pub(crate) limit: Option<&'a str>,
}

/// Why a request has no answer.
enum Unanswered {
    /// It cannot have one, for this reason, which is told where failures go.
    Refused(String),
    /// The data folder cannot be used at the moment: what is asked cannot be read, or there is no room for the answer.
    NotYet(io::Error),
}

impl From<StoreError> for Unanswered {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Io(error) => Self::NotYet(error),
            StoreError::NoSuchBucket => Self::Refused("the bucket does not exist".to_owned()),
            error => Self::Refused(format!("{error:?}")),
        }
    }
}

/// The most requests that an instance works on at a time where nothing is asked for.
const MOST: usize = 4;

impl AsyncSettings {
    /// Those of a configuration, if it is for an asynchronous endpoint.
    pub(super) fn of_request(check: &mut Check<'_>) -> ApiResult<Option<Self>> {
        const AT: &str = "AsyncInferenceConfig";
        let Some(request) = check.get(AT).cloned() else {
            return Ok(None);
        };
        const OUTPUT: &str = "AsyncInferenceConfig.OutputConfig";
        check.structure(OUTPUT);
        let at = |member: &str| format!("{OUTPUT}.{member}");
        for topic in ["NotificationConfig.SuccessTopic", "NotificationConfig.ErrorTopic"] {
            if check.get(&at(topic)).is_some() {
                return Err(ApiError::not_implemented(&at(topic)));
            }
        }
        check.text(&at("KmsKeyId"), KMS_KEY);
        let mut place = |member: &str| {
            let path = at(member);
            let url = check.text(&path, Form { max: 512, ..S3_URI }).map(str::to_owned);
            if let Some(url) = &url
                && s3::parse_url(url).is_none()
            {
                let constraint = "Member must be an address in S3, s3://bucket/prefix";
                check.problem(Some(url), &path, constraint);
            }
            url
        };
        let (output, failures) = (place("S3OutputPath"), place("S3FailurePath"));
        if output.is_none() {
            check.required(&at("S3OutputPath"), TEXT);
        }
        let most = check.integer(
            "AsyncInferenceConfig.ClientConfig.MaxConcurrentInvocationsPerInstance",
            1,
            1000,
        );
        Ok(Some(Self {
            request,
            output: output.unwrap_or_default(),
            failures,
            most: most.map_or(MOST, |most| most as usize),
        }))
    }

    /// As it is told back.
    pub(super) fn describe(&self) -> &Value {
        &self.request
    }

    /// What of it has no effect here.
    pub(super) fn without_effect(&self) -> Option<&'static str> {
        let key = self.request.pointer("/OutputConfig/KmsKeyId");
        key.and_then(Value::as_str)
            .filter(|key| !key.is_empty())
            .map(|_| "AsyncInferenceConfig.OutputConfig.KmsKeyId has no effect: answers are not encrypted.")
    }
}

/// An address under a prefix.
fn under(prefix: &str, rest: &str) -> String {
    format!("{}/{rest}", prefix.trim_end_matches('/'))
}

impl SageMaker {
    /// Takes a request to an asynchronous endpoint.
    pub(crate) fn invoke_async(self: &Arc<Self>, endpoint: &str, asked: &Asked<'_>) -> ApiResult<Taken> {
        let deployment = self.deployment(endpoint).ok_or_else(|| missing(endpoint))?;
        let settings = deployment.asynchronous.as_ref().ok_or_else(|| {
            invalid(format!(
                "Endpoint {endpoint} is not asynchronous: ask it with InvokeEndpoint, or give its configuration an AsyncInferenceConfig."
            ))
        })?;
        let input = asked.input.unwrap_or_default();
        if s3::parse_url(input).is_none_or(|(_, key)| key.is_empty()) || input.len() > 1024 {
            return Err(invalid(format!(
                "InputLocation has to be an object in S3, s3://bucket/key, not `{input}`."
            )));
        }
        let seconds = |name: &str, given: Option<&str>, least: u32, most: u32, otherwise: u32| {
            let number = match given {
                None => Some(otherwise),
                Some(text) => text.parse().ok().filter(|n| (least..=most).contains(n)),
            };
            number
                .map(Seconds::from)
                .ok_or_else(|| invalid(format!("{name} has to be {least} to {most} seconds.")))
        };
        let wait = seconds("RequestTTLSeconds", asked.wait, 60, 21_600, 21_600)?;
        let limit = seconds("InvocationTimeoutSeconds", asked.limit, 1, 3600, 900)?;
        if asked.id.is_some_and(|id| id.is_empty() || id.len() > 64) {
            return Err(invalid("InferenceId has to be 1 to 64 characters.".to_owned()));
        }
        for (name, part, most) in [
            ("S3OutputPathExtension", asked.extension, 512),
            ("Filename", asked.file_name, 255),
        ] {
            if part.is_some_and(|part| part.is_empty() || part.len() > most) {
                return Err(invalid(format!("{name} has to be 1 to {most} characters.")));
            }
        }
        if let Some(name) = asked.variant
            && deployment.variant(Some(name)).is_none()
        {
            return Err(invalid(format!(
                "Variant {name} of endpoint {endpoint} not found."
            )));
        }
        let own = Uuid::new_v4().to_string();
        // In the order in which they came.
        let number = format!("{:015}-{own}", millis(now()));
        let place = |prefix: &str, end: &str| {
            let folder = match asked.extension {
                Some(extension) => under(prefix, extension.trim_matches('/')),
                None => prefix.to_owned(),
            };
            match (asked.file_name, end) {
                (Some(name), ".out") => under(&folder, name),
                (name, end) => under(&folder, &format!("{}{end}", name.unwrap_or(&own))),
            }
        };
        let taken = Taken {
            id: asked.id.map_or_else(|| own.clone(), str::to_owned),
            output: place(&settings.output, ".out"),
            failure: settings
                .failures
                .as_deref()
                .map(|prefix| place(prefix, "-error.out")),
        };
        let request = Request {
            endpoint: endpoint.to_owned(),
            input: input.to_owned(),
            output: taken.output.clone(),
            failure: taken.failure.clone(),
            content_type: asked.content_type.to_owned(),
            accept: asked.accept.map(str::to_owned),
            variant: asked.variant.map(str::to_owned),
            asked: now(),
            wait,
            limit,
        };
        if self.requests.insert_new(&number, request.clone())?.is_err() {
            return Err(ApiError::new("InternalFailure", "two requests have one number"));
        }
        if asked.custom_attributes.is_some() {
            let text =
                "CustomAttributes has no effect: the model reads none, and an object has no place for it";
            self.log_request(&request, text);
        }
        self.line_up(endpoint, number, settings.most);
        Ok(taken)
    }

    /// Requests that a server before this one did not answer, in their order.
    pub(super) fn resume_requests(self: &Arc<Self>) {
        for (number, request) in self.requests.named() {
            let most = self.deployment(&request.endpoint);
            let most = most.and_then(|deployment| deployment.asynchronous.as_ref().map(|s| s.most));
            self.line_up(&request.endpoint, number, most.unwrap_or(1));
        }
    }

    /// Puts a request at the end of the queue, with a thread more if there may be one.
    fn line_up(self: &Arc<Self>, endpoint: &str, number: String, most: usize) {
        let mut queues = self.queues.lock().unwrap_or_else(|e| e.into_inner());
        let queue = queues.entry(endpoint.to_owned()).or_default();
        queue.waiting.push_back(number);
        if queue.working >= at_a_time(most) {
            return;
        }
        queue.working += 1;
        drop(queues);
        let (this, endpoint) = (self.clone(), endpoint.to_owned());
        self.spawn(move || {
            while let Some(number) = this.next_in_line(&endpoint) {
                // Whatever becomes of one request, the others are answered.
                if catch_unwind(AssertUnwindSafe(|| this.answer(&number))).is_err() {
                    this.end(&number, |request| this.refuse(request, "the model failed"));
                }
            }
        });
    }

    /// The next request of an endpoint; none where there is no more, or the server stops, and the thread is not needed.
    fn next_in_line(&self, endpoint: &str) -> Option<String> {
        let mut queues = self.queues.lock().unwrap_or_else(|e| e.into_inner());
        let queue = queues.get_mut(endpoint)?;
        let next = match self.stop.is_cancelled() {
            true => None,
            false => queue.waiting.pop_front(),
        };
        if next.is_none() {
            queue.working = queue.working.saturating_sub(1);
            if queue.working == 0 && queue.waiting.is_empty() {
                queues.remove(endpoint);
            }
        }
        next
    }

    /// Works on a request until its answer, or why there is none, is stored.
    fn answer(&self, number: &str) {
        self.end(number, |request| match self.score_request(request) {
            Ok(()) => Ok(()),
            Err(Unanswered::NotYet(error)) => Err(error),
            // Cut off in the middle: the next server goes on with it.
            Err(Unanswered::Refused(_)) if self.stop.is_cancelled() => Err(io::ErrorKind::Interrupted.into()),
            Err(Unanswered::Refused(reason)) => self.refuse(request, &reason),
        });
    }

    /// Ends a request by what `store` stores, as soon as there is room for it. Should the server stop before, the next one
    /// goes on with it.
    fn end(&self, number: &str, store: impl Fn(&Request) -> io::Result<()>) {
        let Some(request) = self.requests.get(number) else {
            return;
        };
        let (group, stream) = (endpoint_group(&request.endpoint), endpoint_stream(request.log()));
        let what = format!("The answer to {}", request.input);
        if self.until_saved(&group, &stream, &what, || store(&request)) {
            self.until_saved(&group, &stream, &what, || self.requests.remove(number).map(drop));
        }
    }

    /// Stores why there is no answer, where that is asked for.
    fn refuse(&self, request: &Request, reason: &str) -> io::Result<()> {
        let put = request.failure.as_deref().map_or(Ok(()), |url| {
            self.put(url, "text/plain", |to| {
                Ok(to.write_all(reason.as_bytes()).map_err(StoreError::Io)?)
            })
        });
        match put {
            Err(Unanswered::NotYet(error)) => return Err(error),
            Err(Unanswered::Refused(why)) => {
                self.log_request(request, &format!("its failure could not be stored: {why}"));
            }
            Ok(()) => {}
        }
        self.log_request(request, reason);
        Ok(())
    }

    fn log_request(&self, request: &Request, text: &str) {
        self.log_of_endpoint(
            &request.endpoint,
            request.log(),
            &format!("{}: {text}", request.input),
        );
    }

    /// Scores a request, unless it has waited for too long: in the queue, or for room for its answer.
    fn score_request(&self, request: &Request) -> Result<(), Unanswered> {
        let refused = |reason: String| Unanswered::Refused(reason);
        if now() - request.asked > request.wait {
            return Err(refused(format!(
                "the request waited longer than {} seconds",
                request.wait
            )));
        }
        let deployment = self.deployment(&request.endpoint);
        let deployment = deployment.ok_or_else(|| refused(missing(&request.endpoint).message))?;
        let variant = deployment
            .variant(request.variant.as_deref())
            .ok_or_else(|| refused("the variant is gone".to_owned()))?;
        let format = RequestFormat::from_str(&request.content_type).map_err(|_| {
            refused(format!(
                "content type `{}` is not supported",
                request.content_type
            ))
        })?;
        let response = ResponseFormat::from_accept(request.accept.as_deref())
            .map_err(|error| refused(error.to_string()))?;
        let unable = |error: InferenceError| refused(not_evaluated(&error));
        let mut rows = self.rows(&request.input, format)?;
        let deadline = Instant::now() + Duration::from_secs_f64(request.limit);
        let is_over = || self.stop.is_cancelled() || Instant::now() >= deadline;
        self.put(&request.output, response.content_type(), |to| {
            let mut failed = None;
            let events = (&mut rows).map_while(|row| row.map_err(|error| failed = Some(error)).ok());
            let predictions = events
                .enumerate()
                .take_while(|(row, _)| row % ROWS_BETWEEN != 0 || !is_over())
                .map(|(_, event)| runtime::prediction(&variant.model, response, &event));
            inference::write_response(response, predictions, to).map_err(|error| match error {
                InferenceError::Write { source } => Unanswered::NotYet(source),
                error => unable(error),
            })?;
            if let Some(error) = failed {
                return Err(unreadable(&request.input, error));
            }
            match is_over() {
                true => Err(refused(format!(
                    "the model took longer than {} seconds",
                    request.limit
                ))),
                false => Ok(()),
            }
        })
    }

    /// What a request is to score.
    fn rows(&self, url: &str, format: RequestFormat) -> Result<Rows<fs::File>, Unanswered> {
        let (bucket, key) = s3::parse_url(url).unwrap_or_default();
        let (object, file) = self.s3.open_object(bucket, key).map_err(|error| match error {
            StoreError::Io(error) => unreadable(url, RowError::Read(error)),
            _ => Unanswered::Refused(format!("there is no object at {url}")),
        })?;
        let (limit, advice) = match format {
            RequestFormat::Csv | RequestFormat::JsonLines => (
                MAX_REQUEST,
                "that a request may have; cut it into several requests",
            ),
            _ => (
                MAX_DOCUMENT,
                "that aws-local takes as one JSON document; send application/jsonlines or text/csv",
            ),
        };
        if object.size > limit {
            return Err(Unanswered::Refused(format!(
                "the object is larger than {limit} bytes, the most {advice}"
            )));
        }
        Rows::of(format, file).map_err(|error| unreadable(url, error))
    }

    /// Writes an object; it is there when all of it is.
    fn put(
        &self,
        url: &str,
        content_type: &str,
        write: impl FnOnce(&mut dyn io::Write) -> Result<(), Unanswered>,
    ) -> Result<(), Unanswered> {
        let (bucket, key) =
            s3::parse_url(url).ok_or_else(|| Unanswered::Refused(format!("{url} is no address in S3")))?;
        if self.s3.require_bucket(bucket).is_err() {
            return Err(Unanswered::Refused(format!("the bucket of {url} does not exist")));
        }
        self.s3.put_with(bucket, key, content_type, write).map(drop)
    }
}

impl Request {
    /// The variant in whose log it is told of.
    fn log(&self) -> &str {
        self.variant.as_deref().unwrap_or("data-log")
    }
}

/// How many requests are worked on at a time where so many may be: more than there are processors would be no faster, and a JSON
/// document takes as much memory as it is long.
fn at_a_time(most: usize) -> usize {
    most.min(thread::available_parallelism().map_or(1, NonZeroUsize::get))
}

/// Why an object has no further row, or cannot be read now.
fn unreadable(url: &str, error: RowError) -> Unanswered {
    match error {
        RowError::Read(error) => {
            let told = format!("{url} could not be read: {error}");
            match error.kind() {
                io::ErrorKind::NotFound => Unanswered::Refused(told),
                kind => Unanswered::NotYet(io::Error::new(kind, told)),
            }
        }
        RowError::Bad(error) => Unanswered::Refused(not_evaluated(&error)),
    }
}

/// As the algorithm says that it cannot score what it was sent.
fn not_evaluated(error: &InferenceError) -> String {
    format!("unable to evaluate payload provided: {}", work::chain(error))
}

/// How many rows are scored from one look at the clock to the next.
const ROWS_BETWEEN: usize = 1024;

fn invalid(message: String) -> ApiError {
    ApiError::new("ValidationError", message)
}

fn missing(endpoint: &str) -> ApiError {
    invalid(format!(
        "Endpoint {endpoint} of account {} not found.",
        crate::ACCOUNT
    ))
}
