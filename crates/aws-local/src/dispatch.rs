//! Which service a request is for, and what every answer carries.

use std::{
    convert::Infallible,
    net::IpAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use percent_encoding::percent_decode_str;
use s3s::{Body, service::S3Service};
use serde_json::json;
use uuid::Uuid;

use crate::{
    ACCOUNT,
    api::{self, ApiError, ApiResult},
    logs::Logs,
    metrics, runtime, s3,
    sagemaker::SageMaker,
    server::Host,
    service::{Service, ServiceRequest, Services},
    signature::{Head, Keys, Refusal, Seal},
    states::States,
    sts,
};

/// Everything that answers.
pub(crate) struct App {
    pub(crate) s3: S3Service,
    /// The objects behind it.
    #[cfg_attr(
        not(feature = "console"),
        expect(dead_code, reason = "the console looks at them")
    )]
    pub(crate) objects: Arc<s3::ObjectStore>,
    pub(crate) sagemaker: Arc<SageMaker>,
    pub(crate) states: Arc<States>,
    pub(crate) logs: Arc<Logs>,
    /// Those that came along with the builder.
    pub(crate) services: Services,
    /// Those that requests have to be signed with; none for any.
    pub(crate) keys: Keys,
    /// Whether other machines may speak to it, and so by other names.
    pub(crate) remote: bool,
}

/// The largest request of a JSON service.
const MAX_JSON: usize = 10 * 1024 * 1024;
/// The largest form.
const MAX_FORM: usize = 64 * 1024;
/// The largest request of a service that came along.
const MAX_SERVICE: usize = 64 * 1024 * 1024;
/// How long a body that is read whole may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);

/// Answers a request, whatever it is.
pub(crate) async fn answer(
    host: Arc<Host>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let id = Uuid::new_v4().to_string();
    let app = host.app();
    let mut response = match (request.method(), request.uri().path()) {
        // No bucket is called so; a key of a bucket by name of host may be.
        (&Method::GET, "/_health") if !names_bucket(&request) => health(&app, &request),
        (&Method::POST, "/_reset") if !names_bucket(&request) => reset(&host, &app, &request).await,
        #[cfg(feature = "console")]
        _ if crate::console::wants(&request) => crate::console::answer(&host, request).await,
        _ => {
            let read = request.method() == Method::GET;
            let mut response = route(&app, request).await;
            if read {
                set_apart(response.headers_mut());
            }
            response
        }
    };
    if let Ok(id) = HeaderValue::from_str(&id) {
        let headers = response.headers_mut();
        headers.insert("x-amzn-requestid", id.clone());
        headers.insert("x-amz-request-id", id);
    }
    Ok(response)
}

/// Whatever an object holds, and whatever the request says that it is: as a page in a browser it is no page of this server, and
/// can ask nothing in its name. Its type is not guessed; which types browsers guess for, or show as pages, is theirs to say.
fn set_apart(headers: &mut HeaderMap) {
    let policy = HeaderValue::from_static("sandbox allow-scripts allow-forms allow-popups allow-downloads");
    headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
}

/// Whether the host that a request calls is a bucket.
pub(crate) fn names_bucket<B>(request: &Request<B>) -> bool {
    let named = request.headers().get(header::HOST).and_then(|v| v.to_str().ok());
    let host = request.uri().authority().map(|a| a.as_str()).or(named);
    host.is_some_and(|host| s3::bucket_of_host(host).is_some())
}

/// Whether it answers, for those who wait for it. It tells nothing that has to be asked for with a key.
fn health<B>(app: &App, request: &Request<B>) -> Response<Body> {
    if let Err(refusal) = check_origin(request, if app.remote { Callers::Any } else { Callers::Local }) {
        return text(StatusCode::FORBIDDEN, refusal);
    }
    let own = [
        "s3",
        "sagemaker",
        "sagemaker-runtime",
        "states",
        "logs",
        "cloudwatch",
        "sts",
        "iam",
    ];
    let brought = app.services.keys().map(String::as_str);
    let further = brought.filter(|name| !own.contains(name));
    let services: Vec<_> = own.into_iter().chain(further).collect();
    let body = json!({
        "status": "ok",
        "version": env!("CARGO_PKG_VERSION"),
        "region": app.sagemaker.region(),
        "services": services,
    });
    json_answer(&HeaderValue::from_static("application/json"), Ok(Some(body)))
}

/// Empties an ephemeral server.
async fn reset<B>(host: &Arc<Host>, app: &App, request: &Request<B>) -> Response<Body> {
    if let Err(refusal) = check_origin(request, Callers::of(app)) {
        return text(StatusCode::FORBIDDEN, refusal);
    }
    if let Err(refusal) = verify(app, request.method(), request.uri(), request.headers(), Some(b"")) {
        return refuse(&refusal, false);
    }
    match host.reset().await {
        Ok(true) => text(StatusCode::OK, ""),
        Ok(false) => text(
            StatusCode::CONFLICT,
            "only an ephemeral server can be reset: this one keeps its folder",
        ),
        Err(error) => text(
            StatusCode::INTERNAL_SERVER_ERROR,
            &format!("the server could not be reset: {error}"),
        ),
    }
}

/// Holds a request against its signature, where the server has keys.
fn verify(
    app: &App,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    body: Option<&[u8]>,
) -> Result<Option<Seal>, Refusal> {
    let head = Head { method, uri, headers };
    app.keys.verify(&head, body, SystemTime::now())
}

/// An error of S3.
fn s3_error(status: StatusCode, code: &str, message: &str) -> Response<Body> {
    let message = sts::escaped(message);
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    );
    let mut response = text(status, &body);
    let xml = HeaderValue::from_static("application/xml");
    response.headers_mut().insert(header::CONTENT_TYPE, xml);
    response
}

/// What is told to who may not.
fn refuse(refusal: &Refusal, xml: bool) -> Response<Body> {
    let (code, message) = refusal.told(xml);
    if xml {
        return s3_error(StatusCode::FORBIDDEN, code, &message);
    }
    let error = ApiError {
        status: StatusCode::FORBIDDEN,
        ..ApiError::new(code, message)
    };
    json_answer(
        &HeaderValue::from_static("application/x-amz-json-1.1"),
        Err(error),
    )
}

async fn route(app: &App, request: Request<Incoming>) -> Response<Body> {
    if let Err(refusal) = check_origin(&request, Callers::of(app)) {
        return text(StatusCode::FORBIDDEN, refusal);
    }
    let headers = request.headers();
    if let Some(service) = scope(headers).and_then(|name| app.services.get(name)) {
        let service = service.clone();
        return brought_along(app, &*service, request).await;
    }
    if let Some(target) = headers.get("x-amz-target").and_then(|v| v.to_str().ok()) {
        let target = target.to_owned();
        return json_service(app, &target, request).await;
    }
    if let Some(operation) = cbor_operation(&request) {
        let operation = operation.to_owned();
        return cbor_service(app, &operation, request).await;
    }
    let scope = scope(headers).unwrap_or_default();
    if request.method() == Method::POST && request.uri().path() == "/" && is_form(headers) {
        let (parts, body) = request.into_parts();
        return match read(body, MAX_FORM).await {
            Ok(form) => match verify(app, &parts.method, &parts.uri, &parts.headers, Some(&form)) {
                Ok(_) => xml(query(app, &String::from_utf8_lossy(&form))),
                Err(refusal) => {
                    let (code, message) = refusal.told(true);
                    xml(sts::error(code, &message))
                }
            },
            Err(refusal) => refusal,
        };
    }
    if request.method() == Method::POST
        && scope != "s3"
        && let Some((endpoint, queued)) = invoked_endpoint(request.uri().path())
    {
        let (parts, body) = request.into_parts();
        // One byte more than is allowed is enough to know, but a signature is of the whole.
        let limit = match app.keys.is_empty() {
            true => runtime::MAX_BODY + 1,
            false => MAX_JSON,
        };
        let body = match read(body, limit).await {
            Ok(body) => body,
            // What nobody has signed for learns nothing of endpoints.
            Err(refusal) if refusal.status() == StatusCode::PAYLOAD_TOO_LARGE && app.keys.is_empty() => {
                return runtime::too_large(&app.sagemaker, &endpoint);
            }
            Err(refusal) => return refusal,
        };
        if let Err(refusal) = verify(app, &parts.method, &parts.uri, &parts.headers, Some(&body)) {
            return refuse(&refusal, false);
        }
        if queued {
            return runtime::invoke_async(&app.sagemaker, &endpoint, &parts.headers, &body);
        }
        return runtime::invoke(&app.sagemaker, &endpoint, &parts.headers, &body).await;
    }
    if scope == "sagemaker" {
        let operation = format!("{} {}", request.method(), request.uri().path());
        let error = ApiError::unknown_operation("SageMaker Runtime", &operation);
        return json_answer(&HeaderValue::from_static("application/json"), Err(error));
    }
    let owner = headers.get("x-amz-expected-bucket-owner");
    if owner.is_some_and(|owner| owner != ACCOUNT) {
        return s3_error(StatusCode::FORBIDDEN, "AccessDenied", "Access Denied");
    }
    let seal = match verify(app, request.method(), request.uri(), request.headers(), None) {
        Ok(seal) => seal,
        Err(refusal) => return refuse(&refusal, true),
    };
    // The body is held against what the head says of it as it is read.
    let (request, verdict) = match s3::accept(request, seal) {
        Ok(accepted) => accepted,
        Err(refusal) => return s3_error(refusal.status(), refusal.code(), &refusal.to_string()),
    };
    let answered = app.s3.call(request).await;
    if let Some(refusal) = verdict.found() {
        return s3_error(refusal.status(), refusal.code(), &refusal.to_string());
    }
    match answered {
        Ok(response) => s3::explain(response).await,
        Err(_) => text(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the request could not be answered",
        ),
    }
}

async fn brought_along(app: &App, service: &dyn Service, request: Request<Incoming>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let body = match read(body, MAX_SERVICE).await {
        Ok(body) => body,
        Err(refusal) => return refusal,
    };
    match verify(app, &head.method, &head.uri, &head.headers, Some(&body)) {
        Ok(_) => {
            let request = ServiceRequest::new(&head, body.into());
            service.call(request).await.into_response()
        }
        Err(refusal) => refuse(&refusal, false),
    }
}

/// Services with forms for requests and XML for answers.
fn query(app: &App, form: &str) -> sts::XmlAnswer {
    let mut parameters: Vec<_> = sts::parameters(form).collect();
    if !parameters
        .iter()
        .any(|(name, value)| name == "Version" && value == metrics::VERSION)
    {
        return sts::answer(form);
    }
    let action = parameters.iter().position(|(name, _)| name == "Action");
    let action = action.map(|at| parameters.swap_remove(at).1).unwrap_or_default();
    let answer = metrics::from_form(parameters).and_then(|input| metrics::call(&app.logs, &action, &input));
    match answer {
        Ok(answer) => sts::XmlAnswer {
            status: StatusCode::OK,
            body: metrics::to_xml(&action, &answer, &Uuid::new_v4().to_string()),
        },
        Err(error) => sts::error(&error.code, &error.message),
    }
}

/// The operation of a request whose body is CBOR: `POST /service/<service>/operation/<operation>`.
fn cbor_operation<B>(request: &Request<B>) -> Option<&str> {
    request.headers().get("smithy-protocol")?;
    let path = request.uri().path().strip_prefix("/service/")?;
    let (service, operation) = path.split_once("/operation/")?;
    (request.method() == Method::POST && service == metrics::SERVICE).then_some(operation)
}

async fn cbor_service(app: &App, operation: &str, request: Request<Incoming>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let body = match read(body, MAX_JSON).await {
        Ok(body) => body,
        Err(refusal) => return refusal,
    };
    let result = match verify(app, &parts.method, &parts.uri, &parts.headers, Some(&body)) {
        Ok(_) => metrics::from_cbor(&body).and_then(|input| metrics::call(&app.logs, operation, &input)),
        Err(refusal) => {
            let (code, message) = refusal.told(false);
            Err(ApiError {
                status: StatusCode::FORBIDDEN,
                ..ApiError::new(code, message)
            })
        }
    };
    let (status, answer) = match result {
        Ok(answer) => (StatusCode::OK, answer),
        Err(error) => (error.status, error.body()),
    };
    let mut response = Response::new(Body::from(metrics::to_cbor(&answer)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/cbor"));
    headers.insert("smithy-protocol", HeaderValue::from_static("rpc-v2-cbor"));
    response
}

async fn json_service(app: &App, target: &str, request: Request<Incoming>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let json = HeaderValue::from_static("application/x-amz-json-1.1");
    let content_type = parts.headers.get(header::CONTENT_TYPE).cloned();
    // Forms that browsers send without asking first are not taken for JSON.
    let content_type = content_type
        .filter(|t| t.as_bytes().starts_with(b"application/x-amz-json-"))
        .unwrap_or(json);
    let result = match read(body, MAX_JSON).await {
        Ok(body) => match verify(app, &parts.method, &parts.uri, &parts.headers, Some(&body)) {
            Ok(_) => call(app, target, &body).await,
            Err(refusal) => return refuse(&refusal, false),
        },
        Err(refusal) => return refusal,
    };
    json_answer(&content_type, result)
}

fn json_answer(content_type: &HeaderValue, result: ApiResult) -> Response<Body> {
    let (status, body, error) = match result {
        Ok(body) => (
            StatusCode::OK,
            body.map(|b| b.to_string()).unwrap_or_default(),
            None,
        ),
        Err(error) => (error.status, error.body().to_string(), Some(error.code)),
    };
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, content_type.clone());
    if let Some(code) = error.and_then(|code| HeaderValue::try_from(code).ok()) {
        response.headers_mut().insert("x-amzn-errortype", code);
    }
    response
}

async fn call(app: &App, target: &str, body: &[u8]) -> ApiResult {
    operation(app, target, &api::parse(body)?).await
}

/// Calls an operation of a JSON service, named as its clients do.
pub(crate) async fn operation(app: &App, target: &str, input: &serde_json::Value) -> ApiResult {
    match target.split_once('.') {
        Some(("SageMaker", operation)) => app.sagemaker.call(operation, input),
        Some(("AWSStepFunctions", operation)) => app.states.call(operation, input).await,
        Some(("Logs_20140328", operation)) => app.logs.call(operation, input),
        Some((metrics::SERVICE, operation)) => metrics::call(&app.logs, operation, input).map(Some),
        Some((service, operation)) => Err(ApiError::unknown_operation(service, operation)),
        None => Err(ApiError::unknown_operation(target, "")),
    }
}

/// Reads a body whole, up to a limit.
pub(crate) async fn read(body: Incoming, limit: usize) -> Result<Bytes, Response<Body>> {
    let too_large = || text(StatusCode::PAYLOAD_TOO_LARGE, "the request is too large");
    // What is announced as too large is not waited for.
    if body.size_hint().lower() > limit as u64 {
        return Err(too_large());
    }
    match tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, limit).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => Err(text(StatusCode::BAD_REQUEST, "the request ended early")),
        Err(_) => Err(text(
            StatusCode::REQUEST_TIMEOUT,
            "the request took too long to arrive",
        )),
    }
}

/// By what a server may be called.
#[derive(Clone, Copy)]
pub(crate) enum Callers {
    /// Names and addresses of this machine for itself.
    Local,
    /// Those, and every address.
    ByAddress,
    Any,
}

impl Callers {
    /// Those that may do something. A page whose name was made to point here has no key.
    pub(crate) fn of(app: &App) -> Self {
        match (app.remote, app.keys.is_empty()) {
            (false, _) => Self::Local,
            (true, true) => Self::ByAddress,
            (true, false) => Self::Any,
        }
    }
}

/// Refuses what a web page elsewhere may have sent: a name that was made to point here, or a foreign origin.
pub(crate) fn check_origin<B>(request: &Request<B>, callers: Callers) -> Result<(), &'static str> {
    let host = request.headers().get(header::HOST).and_then(|v| v.to_str().ok());
    let named = [request.uri().authority().map(|a| a.as_str()), host];
    let is_known = |host: &str| match callers {
        Callers::Local => is_loopback(host),
        Callers::ByAddress => is_loopback(host) || is_address(host),
        Callers::Any => true,
    };
    let any = matches!(callers, Callers::Any);
    if !((any || named.iter().any(Option::is_some)) && named.into_iter().flatten().all(is_known)) {
        return Err(match callers {
            Callers::ByAddress => {
                "without keys this server answers to addresses, localhost and names under localhost only; give it keys \
                 (`--credentials`), or call it by its address"
            }
            _ => "this server answers to 127.0.0.1, localhost and names under localhost only",
        });
    }
    let origin = request
        .headers()
        .get(header::ORIGIN)
        .map(|v| v.to_str().unwrap_or("null"));
    // A page of this server, where it is called by an address.
    let is_own = |authority: &str| {
        let called = || {
            named
                .into_iter()
                .flatten()
                .any(|host| host.eq_ignore_ascii_case(authority))
        };
        matches!(callers, Callers::ByAddress) && is_address(authority) && called()
    };
    let foreign = origin.is_some_and(|origin| {
        let authority = origin.split_once("://").map(|(_, authority)| authority);
        !authority.is_some_and(|authority| is_loopback(authority) || is_own(authority))
    });
    if foreign {
        Err("this server does not answer to web pages from elsewhere")
    } else {
        Ok(())
    }
}

/// Whether a host, with or without a port, is this machine by name.
fn is_loopback(host: &str) -> bool {
    let port = |p: &str| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit());
    let name = match host.rsplit_once(':') {
        Some((name, p)) if port(p) => name,
        _ => host,
    };
    let name = name.to_ascii_lowercase();
    // StartSyncExecution and TestState put a word before the host.
    let name = name.strip_prefix("sync-").unwrap_or(&name);
    address(name).is_some_and(|ip| ip.is_loopback()) || name == "localhost" || name.ends_with(".localhost")
}

/// The address that a host is, where it is one and no name.
fn address(host: &str) -> Option<IpAddr> {
    match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(v6) => v6.parse().map(IpAddr::V6).ok(),
        None => host.parse().map(IpAddr::V4).ok(),
    }
}

/// Whether a host, with or without a port, is an address, which no one can make point elsewhere.
fn is_address(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    address(name.strip_prefix("sync-").unwrap_or(name)).is_some()
}

/// The service a signature is for.
fn scope(headers: &HeaderMap) -> Option<&str> {
    let authorization = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (_, credential) = authorization.split_once("Credential=")?;
    credential.split([',', ' ']).next()?.split('/').nth(3)
}

fn is_form(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|t| t.as_bytes().starts_with(b"application/x-www-form-urlencoded"))
}

/// The endpoint that is asked, and whether its answer goes to S3.
fn invoked_endpoint(path: &str) -> Option<(String, bool)> {
    let (name, operation) = path.strip_prefix("/endpoints/")?.split_once('/')?;
    let queued = match operation {
        "invocations" => false,
        "async-invocations" => true,
        _ => return None,
    };
    Some((percent_decode_str(name).decode_utf8_lossy().into_owned(), queued))
}

fn xml(answer: sts::XmlAnswer) -> Response<Body> {
    let mut response = text(answer.status, &answer.body);
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/xml"));
    response
}

fn text(status: StatusCode, body: &str) -> Response<Body> {
    let mut response = Response::new(Body::from(body.to_owned()));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_names_are_answered() {
        for (host, good) in [
            ("127.0.0.1:4566", true),
            ("127.0.0.1", true),
            ("127.0.0.2:4566", true),
            ("128.0.0.1", false),
            ("[::2]:80", false),
            ("localhost:1", true),
            ("LOCALHOST", true),
            ("[::1]:80", true),
            ("bucket.localhost:80", true),
            ("bucket.s3.localhost", true),
            ("sync-localhost:80", true),
            ("sync-127.0.0.1", true),
            ("sync-evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("evil.example:80", false),
            ("localhost.evil.example", false),
            ("notlocalhost", false),
            ("", false),
        ] {
            assert_eq!(is_loopback(host), good, "{host}");
        }
    }

    /// A header's name may hold what is markup in XML.
    #[tokio::test]
    async fn an_error_of_s3_is_well_formed() {
        let refusal = s3_error(StatusCode::FORBIDDEN, "AccessDenied", "not signed: x-amz-a&b <c>");
        let body = refusal.into_body().collect().await.unwrap().to_bytes();
        let body = String::from_utf8_lossy(&body);
        assert!(
            body.contains("<Message>not signed: x-amz-a&amp;b &lt;c&gt;</Message>"),
            "{body}"
        );
    }

    #[test]
    fn the_scope_of_a_signature() {
        let mut headers = HeaderMap::new();
        assert_eq!(scope(&headers), None);
        let value = "AWS4-HMAC-SHA256 Credential=a/20261120/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0";
        headers.insert(header::AUTHORIZATION, HeaderValue::from_static(value));
        assert_eq!(scope(&headers), Some("s3"));
    }
}
