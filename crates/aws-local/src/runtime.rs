//! SageMaker Runtime: InvokeEndpoint.

use std::{io, str::FromStr, sync::Arc};

use access_events::AccessEvent;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use ipinsights::{
    Model,
    inference::{self, InferenceError, PredictionRecord, RequestFormat, ResponseFormat},
};
use s3s::Body;
use serde_json::{Value, json};

use crate::{
    ACCOUNT,
    sagemaker::{Asked, Exchange, SageMaker},
};

/// The largest body of a request.
pub(crate) const MAX_BODY: usize = inference::MAX_BODY_BYTES;

/// Bodies up to this are scored where they arrive; larger ones would keep other requests waiting.
const SMALL: usize = 16 * 1024;

/// Answers a request to an endpoint.
pub(crate) async fn invoke(
    sagemaker: &Arc<SageMaker>,
    endpoint: &str,
    headers: &HeaderMap,
    body: &[u8],
) -> Response<Body> {
    if body.len() > MAX_BODY {
        return too_large(sagemaker, endpoint);
    }
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
    let Some(deployment) = sagemaker.deployment(endpoint) else {
        return validation(&format!("Endpoint {endpoint} of account {ACCOUNT} not found."));
    };
    if deployment.is_asynchronous() {
        return validation(&format!(
            "Endpoint {endpoint} is asynchronous: ask it with InvokeEndpointAsync."
        ));
    }
    for unsupported in [
        "x-amzn-sagemaker-target-model",
        "x-amzn-sagemaker-inference-component",
    ] {
        if headers.contains_key(unsupported) {
            return validation(&format!("{unsupported} is not implemented by aws-local."));
        }
    }
    if text("x-amzn-sagemaker-inference-id").is_some_and(|id| id.is_empty() || id.len() > 64) {
        return validation("InferenceId has to be 1 to 64 characters.");
    }
    let wanted = text("x-amzn-sagemaker-target-variant");
    let Some(variant) = deployment.variant(wanted) else {
        let wanted = wanted.unwrap_or_default();
        return validation(&format!(
            "Variant {wanted} of endpoint {endpoint} of account {ACCOUNT} not found."
        ));
    };
    let content_type = text("content-type").unwrap_or_default();
    let Ok(request_format) = RequestFormat::from_str(content_type) else {
        let message = format!("content type `{content_type}` is not supported");
        return model_error(sagemaker, endpoint, StatusCode::UNSUPPORTED_MEDIA_TYPE, &message);
    };
    let response_format = match ResponseFormat::from_accept(text("accept")) {
        Ok(format) => format,
        Err(error) => {
            return model_error(
                sagemaker,
                endpoint,
                StatusCode::NOT_ACCEPTABLE,
                &error.to_string(),
            );
        }
    };
    let scored = if body.len() <= SMALL {
        score(&variant.model, request_format, response_format, body)
    } else {
        let (model, body) = (variant.model.clone(), body.to_vec());
        let work = tokio::task::spawn_blocking(move || score(&model, request_format, response_format, &body));
        match work.await {
            Ok(scored) => scored,
            Err(_) => {
                return model_error(
                    sagemaker,
                    endpoint,
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "the model failed",
                );
            }
        }
    };
    let answer = match scored {
        Ok(Some(answer)) => answer,
        Ok(None) => return too_large(sagemaker, endpoint),
        Err(error) => {
            let message = format!("unable to evaluate payload provided: {}", chain(&error));
            sagemaker.log_of_endpoint(endpoint, &variant.name, &message);
            return model_error(sagemaker, endpoint, StatusCode::BAD_REQUEST, &message);
        }
    };
    if let Some(capture) = &deployment.capture {
        let exchange = Exchange {
            variant: &variant.name,
            content_type,
            body,
            answer_type: response_format.content_type(),
            answer: &answer,
            inference_id: text("x-amzn-sagemaker-inference-id"),
            custom_attributes: text("x-amzn-sagemaker-custom-attributes"),
        };
        sagemaker.capture(endpoint, capture, &exchange);
    }
    let mut response = Response::new(Body::from(answer));
    let answered = response.headers_mut();
    answered.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static(response_format.content_type()),
    );
    if let Ok(name) = HeaderValue::from_str(&variant.name) {
        answered.insert("x-amzn-invoked-production-variant", name);
    }
    if let Some(attributes) = headers.get("x-amzn-sagemaker-custom-attributes") {
        answered.insert("x-amzn-sagemaker-custom-attributes", attributes.clone());
    }
    response
}

/// Takes a request to an asynchronous endpoint.
pub(crate) fn invoke_async(
    sagemaker: &Arc<SageMaker>,
    endpoint: &str,
    headers: &HeaderMap,
    body: &[u8],
) -> Response<Body> {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
    if !body.is_empty() {
        return validation(
            "Body of InvokeEndpointAsync is not implemented by aws-local; give InputLocation.",
        );
    }
    let asked = Asked {
        input: text("x-amzn-sagemaker-inputlocation"),
        content_type: text("x-amzn-sagemaker-content-type").unwrap_or_default(),
        accept: text("x-amzn-sagemaker-accept"),
        variant: text("x-amzn-sagemaker-target-variant"),
        id: text("x-amzn-sagemaker-inference-id"),
        custom_attributes: text("x-amzn-sagemaker-custom-attributes"),
        extension: text("x-amzn-sagemaker-s3outputpathextension"),
        file_name: text("x-amzn-sagemaker-filename"),
        wait: text("x-amzn-sagemaker-requestttlseconds"),
        limit: text("x-amzn-sagemaker-invocationtimeoutseconds"),
    };
    let taken = match sagemaker.invoke_async(endpoint, &asked) {
        Ok(taken) => taken,
        Err(refusal) if refusal.status.is_client_error() => return validation(&refusal.message),
        Err(failure) => {
            let body = json!({"Message": failure.message, "message": failure.message});
            return error(failure.status, "InternalFailure", body);
        }
    };
    let mut response = Response::new(Body::from(json!({"InferenceId": taken.id}).to_string()));
    *response.status_mut() = StatusCode::ACCEPTED;
    let answered = response.headers_mut();
    answered.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    for (name, place) in [
        ("x-amzn-sagemaker-outputlocation", Some(taken.output)),
        ("x-amzn-sagemaker-failurelocation", taken.failure),
    ] {
        if let Some(place) = place.and_then(|place| HeaderValue::try_from(place).ok()) {
            answered.insert(name, place);
        }
    }
    response
}

/// What the service answers to a body over the limit, and where the answer would be.
pub(crate) fn too_large(sagemaker: &SageMaker, endpoint: &str) -> Response<Body> {
    if sagemaker.deployment(endpoint).is_none() {
        return validation(&format!("Endpoint {endpoint} of account {ACCOUNT} not found."));
    }
    let message = "Received client error (413) from primary and could not load the entire response body.";
    failed_model(
        sagemaker,
        endpoint,
        StatusCode::PAYLOAD_TOO_LARGE,
        message,
        message,
    )
}

/// Scores the rows of a body; none where the answer is larger than it may be.
fn score(
    model: &Model,
    request: RequestFormat,
    response: ResponseFormat,
    body: &[u8],
) -> Result<Option<Vec<u8>>, InferenceError> {
    let events = inference::decode_request(request, body)?;
    let mut answer = Answer {
        bytes: Vec::new(),
        is_full: false,
    };
    // Nothing is kept of a prediction that is told.
    let predictions = events.iter().map(|event| prediction(model, response, event));
    match inference::write_response(response, predictions, &mut answer) {
        Ok(()) => Ok(Some(answer.bytes)),
        Err(InferenceError::Write { .. }) if answer.is_full => Ok(None),
        Err(error) => Err(error),
    }
}

/// What the model says of an event, as far as it is to be told.
pub(crate) fn prediction(model: &Model, response: ResponseFormat, event: &AccessEvent) -> PredictionRecord {
    match response.verbose {
        true => model.predict(&event.entity, event.ip).into(),
        false => model.score(&event.entity, event.ip).into(),
    }
}

/// An answer that is no longer than it may be: with embeddings, that of a few megabytes of rows would be gigabytes.
struct Answer {
    bytes: Vec<u8>,
    is_full: bool,
}

impl io::Write for Answer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > MAX_BODY {
            self.is_full = true;
            return Err(io::Error::other("the answer is too large"));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The container's own refusal, wrapped as the service wraps it.
fn model_error(sagemaker: &SageMaker, endpoint: &str, status: StatusCode, original: &str) -> Response<Body> {
    let code = status.as_u16();
    let side = if status.is_server_error() {
        "server"
    } else {
        "client"
    };
    let region = sagemaker.region();
    let message = format!(
        "Received {side} error ({code}) from primary with message \"{original}\". See \
         https://{region}.console.aws.amazon.com/cloudwatch/home?region={region}#logEventViewer:group=\
         /aws/sagemaker/Endpoints/{endpoint} in account {ACCOUNT} for more information."
    );
    failed_model(sagemaker, endpoint, status, original, &message)
}

fn failed_model(
    sagemaker: &SageMaker,
    endpoint: &str,
    status: StatusCode,
    original: &str,
    message: &str,
) -> Response<Body> {
    let body = json!({
        "ErrorCode": "CLIENT_ERROR_FROM_MODEL",
        "LogStreamArn": format!(
            "arn:aws:logs:{}:{ACCOUNT}:log-group:/aws/sagemaker/Endpoints/{endpoint}", sagemaker.region()
        ),
        "Message": message,
        "OriginalMessage": original,
        "OriginalStatusCode": status.as_u16(),
    });
    error(StatusCode::FAILED_DEPENDENCY, "ModelError", body)
}

fn validation(message: &str) -> Response<Body> {
    error(
        StatusCode::BAD_REQUEST,
        "ValidationError",
        json!({"Message": message, "message": message}),
    )
}

/// The type goes into a header, where this protocol has it, and into the body for those who look there.
fn error(status: StatusCode, code: &'static str, mut body: Value) -> Response<Body> {
    body["code"] = code.into();
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert("x-amzn-errortype", HeaderValue::from_static(code));
    response
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
