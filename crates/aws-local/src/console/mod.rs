//! The console: what the server holds and does, as pages for people under `/console`.
//!
//! Pages are HTML made here; they change while someone looks, by server-sent events, and work without scripts by reloading.
//! What a page shows and does goes through the same operations as what clients send. Nothing is loaded from elsewhere.
//!
//! `/console` could be a bucket's name. Clients sign what they send to it, or send headers of their own kind; so a GET, HEAD
//! or POST under that path is for the console when it has none of these, and S3's otherwise, as is every other method. Who opens
//! the server's address itself in a browser is led to the console.

mod endpoints;
mod guard;
mod home;
mod jobs;
mod live;
mod machines;
mod multipart;
mod objects;
mod page;
mod picture;

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use s3s::Body;
use serde_json::Value;
use tokio::runtime::Handle;

pub(crate) use self::guard::Sessions;
use self::{
    guard::Site,
    page::{Problem, View},
};
use crate::{api::ApiError, dispatch, dispatch::App, server::Host, sts};

/// The largest form: an execution's input, each of whose bytes may take three.
const MAX_FORM: usize = 2 * 1024 * 1024;

/// Whether a request is for the console rather than for a bucket `console`.
pub(crate) fn wants<B>(request: &Request<B>) -> bool {
    let path = request.uri().path();
    let here = path == "/console" || path.starts_with("/console/") || is_at_the_door(request);
    let method = matches!(*request.method(), Method::GET | Method::HEAD | Method::POST);
    here && method && !is_from_client(request)
}

/// Whether someone has opened the server's address itself in a browser.
fn is_at_the_door<B>(request: &Request<B>) -> bool {
    let accepted = request
        .headers()
        .get(header::ACCEPT)
        .and_then(|v| v.to_str().ok());
    let page = accepted.is_some_and(|accepted| accepted.contains("text/html"));
    page && request.method() == Method::GET && request.uri().path_and_query().is_some_and(|p| p == "/")
}

/// Whether a request has what browsers do not send: a signature, or the headers of AWS clients; or names a bucket as host.
fn is_from_client<B>(request: &Request<B>) -> bool {
    let headers = request.headers();
    let of_client =
        |name: &str| name == "authorization" || name.starts_with("x-amz-") || name.starts_with("amz-sdk-");
    let query = request.uri().query().unwrap_or_default().to_ascii_lowercase();
    headers.keys().any(|name| of_client(name.as_str()))
        || dispatch::names_bucket(request)
        || query
            .split('&')
            .any(|pair| pair.starts_with("x-amz-") || pair.starts_with("awsaccesskeyid="))
}

/// What a page is made from.
#[derive(Clone)]
struct Desk {
    app: Arc<App>,
    /// The parameters of the address.
    query: Vec<(String, String)>,
    /// What a form has to carry.
    token: String,
    /// Where the browser believes to be: `http://127.0.0.1:4566`.
    url: String,
}

impl Desk {
    fn get(&self, name: &str) -> Option<&str> {
        value(&self.query, name)
    }

    /// A parameter that the page cannot do without.
    fn need(&self, name: &str) -> Result<&str, Problem> {
        let missing = || Problem::not_found(format!("The address lacks the parameter `{name}`."));
        self.get(name).ok_or_else(missing)
    }

    /// Calls an operation as a client would.
    async fn call(&self, operation: &str, input: Value) -> Result<Value, ApiError> {
        dispatch::operation(&self.app, operation, &input)
            .await
            .map(Option::unwrap_or_default)
    }
}

fn value<'a>(pairs: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let found = pairs.iter().find(|(n, _)| n == name);
    found
        .map(|(_, value)| value.as_str())
        .filter(|value| !value.is_empty())
}

/// The characters that stay as they are in a parameter.
const PARAMETER: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// An address of the console, such as `/console/object?bucket=data&key=a%2Fb`.
fn href(page: &str, parameters: &[(&str, &str)]) -> String {
    let mut address = if page.is_empty() {
        "/console".to_owned()
    } else {
        format!("/console/{page}")
    };
    for (at, (name, value)) in parameters.iter().enumerate() {
        address.push(if at == 0 { '?' } else { '&' });
        address.push_str(name);
        address.push('=');
        address.extend(utf8_percent_encode(value, PARAMETER));
    }
    address
}

/// Answers a request that [`wants`] has let through.
pub(crate) async fn answer(host: &Arc<Host>, request: Request<Incoming>) -> Response<Body> {
    let app = host.app();
    let refused = |site: Option<&Site>, problem: Problem| {
        let shown = site.map_or(page::Shown::Nothing, page::Shown::of);
        problem_page(site, shown, &problem)
    };
    let site = match Site::of(&request, &app) {
        Ok(site) => site,
        Err(reason) => return refused(None, Problem::forbidden(reason)),
    };
    match respond(host, app, &site, request).await {
        Ok(response) => response,
        Err(problem) => refused(Some(&site), problem),
    }
}

fn problem_page(site: Option<&Site>, shown: page::Shown<'_>, problem: &Problem) -> Response<Body> {
    let html = page::document(&problem.view(), shown, None);
    secure(
        site,
        answer_with(problem.status, "text/html; charset=utf-8", html),
    )
}

async fn respond(
    host: &Arc<Host>,
    app: Arc<App>,
    site: &Site,
    request: Request<Incoming>,
) -> Result<Response<Body>, Problem> {
    let (parts, body) = request.into_parts();
    let Some(path) = parts.uri.path().strip_prefix("/console") else {
        return Ok(secure(Some(site), redirect("/console")));
    };
    let path = path.trim_matches('/').to_owned();
    if let Some(name) = path.strip_prefix("assets/") {
        return asset(site, name, &parts.headers);
    }
    let post = parts.method == Method::POST;
    let sessions = &host.console;
    let mut form: Vec<(String, String)> = Vec::new();
    let mut upload = None;
    if post {
        match site.check_post(&parts.headers)? {
            // It is read when it is known who sends it.
            Some(boundary) if path == objects::UPLOAD => upload = Some(objects::form(body, &boundary)),
            Some(_) => return Err(Problem::not_found("There is no such form.")),
            None => match dispatch::read(body, MAX_FORM).await {
                Ok(read) => form.extend(sts::parameters(&String::from_utf8_lossy(&read))),
                Err(refusal) => return Ok(refusal),
            },
        }
    }
    if post && upload.is_none() {
        sessions.require_token(value(&form, "token").unwrap_or_default())?;
    }
    let back = parts.uri.path_and_query().map_or("/console", |p| p.as_str());
    let shown = page::Shown::of(site);
    // Where requests have to be signed, people have to sign in.
    if !app.keys.is_empty() {
        if let Some(reason) = site.no_sign_in() {
            return Err(Problem::forbidden(reason));
        }
        if path == "sign-in" && post {
            return sign_in(sessions, &app, site, &form).await;
        }
        if !sessions.is_signed_in(&parts.headers) {
            if path.starts_with("live/") {
                return Err(Problem::forbidden("You are signed out."));
            }
            let next = if post { "/console" } else { back };
            let view = home::sign_in(sessions.token(), next, None);
            let html = page::document(&view, page::Shown::Nothing, None);
            let response = answer_with(StatusCode::UNAUTHORIZED, HTML, html);
            return Ok(secure(Some(site), response));
        }
        if path == "sign-out" && post {
            sessions.sign_out(&parts.headers);
            let mut response = redirect("/console");
            response
                .headers_mut()
                .insert(header::SET_COOKIE, guard::no_cookie());
            return Ok(secure(Some(site), response));
        }
        // Who has signed in on their pages has nothing more to do there.
        if matches!(path.as_str(), "sign-in" | "sign-out") {
            return Ok(secure(Some(site), redirect("/console")));
        }
    }
    let desk = Desk {
        query: sts::parameters(parts.uri.query().unwrap_or_default()).collect(),
        token: sessions.token().to_owned(),
        url: site.url(),
        app,
    };
    if let Some(page) = path.strip_prefix("live/") {
        let stream = live::stream(host.clone(), desk, page.to_owned(), parts.headers)?;
        return Ok(secure(Some(site), stream));
    }
    if path == "download" {
        return objects::download(&desk).map(|response| secure(Some(site), response));
    }
    let view = if post {
        let outcome = match upload {
            Some(mut upload) => {
                sessions.require_token(&objects::token(&mut upload).await?)?;
                objects::upload(&desk, upload).await?
            }
            None => act(&desk, &path, &form).await?,
        };
        match outcome {
            Outcome::Go(to) => return Ok(secure(Some(site), redirect(&to))),
            Outcome::Show(view) => view,
        }
    } else {
        view_aside(&desk, &path).await?
    };
    // What came of a form is not repeated by looking again.
    let stream = (view.live && !post).then(|| {
        let page = if path.is_empty() { OVERVIEW } else { path.as_str() };
        let query = parts
            .uri
            .query()
            .map_or(String::new(), |query| format!("?{query}"));
        format!("/console/live/{page}{query}")
    });
    let signed_in = (!desk.app.keys.is_empty()).then_some(desk.token.as_str());
    let html = page::document(&view, shown.signed_in(signed_in), stream.as_deref());
    Ok(secure(Some(site), answer_with(view.status, HTML, html)))
}

/// The first page's other name.
const OVERVIEW: &str = "overview";

const HTML: &str = "text/html; charset=utf-8";

/// What comes of a form.
enum Outcome {
    /// To another page.
    Go(String),
    /// The page again, with what came of it, or what is wrong with it.
    Show(View),
}

/// A page, made where it keeps no other request waiting: a history of 25,000 events takes its time, and so does what a
/// model has to say of 200 pairs. What waits for something else is not for `make`.
async fn aside(
    desk: &Desk,
    make: impl AsyncFnOnce(Desk) -> Result<View, Problem> + Send + 'static,
) -> Result<View, Problem> {
    let (desk, runtime) = (desk.clone(), Handle::current());
    let made = tokio::task::spawn_blocking(move || runtime.block_on(make(desk)));
    made.await
        .unwrap_or_else(|_| Err(Problem::failed("The page could not be made.")))
}

/// A page by its path, made [`aside`].
async fn view_aside(desk: &Desk, path: &str) -> Result<View, Problem> {
    let path = path.to_owned();
    aside(desk, async move |desk| view(&desk, &path).await).await
}

/// A page by its path.
async fn view(desk: &Desk, path: &str) -> Result<View, Problem> {
    match path {
        "" | OVERVIEW => home::overview(desk).await,
        "connect" => Ok(home::connect(desk)),
        "machines" => machines::list(desk).await,
        "machine" => machines::machine(desk, None).await,
        "execution" => machines::execution(desk).await,
        "map-run" => machines::map_run(desk).await,
        "jobs" => jobs::list(desk).await,
        "training-job" => jobs::training(desk).await,
        "tuning-job" => jobs::tuning(desk).await,
        "transform-job" => jobs::transform(desk).await,
        "endpoints" => endpoints::list(desk).await,
        "endpoint" => endpoints::endpoint(desk, None).await,
        "buckets" => Ok(objects::buckets(desk, None)),
        "bucket" => objects::bucket(desk),
        "object" => objects::object(desk),
        _ => Err(Problem::not_found("There is no such page.".to_owned())),
    }
}

/// What a form asks for.
async fn act(desk: &Desk, path: &str, form: &[(String, String)]) -> Result<Outcome, Problem> {
    match path {
        "machine" => machines::start(desk, form).await,
        "execution" => machines::change(desk, form).await,
        "endpoint" => endpoints::invoke(desk, form).await,
        "buckets" => objects::create_bucket(desk, form),
        objects::DELETE_BUCKET => objects::delete_bucket(desk),
        "object" => objects::delete(desk),
        "training-job" => jobs::stop(desk, "StopTrainingJob", "TrainingJobName", path).await,
        "tuning-job" => {
            jobs::stop(
                desk,
                "StopHyperParameterTuningJob",
                "HyperParameterTuningJobName",
                path,
            )
            .await
        }
        "transform-job" => jobs::stop(desk, "StopTransformJob", "TransformJobName", path).await,
        _ => Err(Problem::not_found("There is no such form.".to_owned())),
    }
}

async fn sign_in(
    sessions: &Sessions,
    app: &App,
    site: &Site,
    form: &[(String, String)],
) -> Result<Response<Body>, Problem> {
    let said = |name| value(form, name).unwrap_or_default();
    // Nowhere but in the console: no address of another host begins so.
    let next = Some(said("next")).filter(|next| {
        let rest = next.strip_prefix("/console");
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?']))
    });
    let next = next.unwrap_or("/console");
    let response = match sessions
        .sign_in(&app.keys, said("id").trim(), said("secret").trim())
        .await
    {
        Some(cookie) => {
            let mut response = redirect(next);
            response.headers_mut().insert(header::SET_COOKIE, cookie);
            response
        }
        None => {
            let wrong = "No key of this server has that id and that secret.";
            let view = home::sign_in(sessions.token(), next, Some(wrong));
            let html = page::document(&view, page::Shown::Nothing, None);
            answer_with(StatusCode::FORBIDDEN, HTML, html)
        }
    };
    Ok(secure(Some(site), response))
}

fn redirect(to: &str) -> Response<Body> {
    let mut response = answer_with(StatusCode::SEE_OTHER, "text/plain; charset=utf-8", String::new());
    let to = HeaderValue::from_str(to).unwrap_or(HeaderValue::from_static("/console"));
    response.headers_mut().insert(header::LOCATION, to);
    response
}

fn answer_with(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Body::from(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Says to the browser what the answer may do: nothing but what the console has in it.
fn secure(site: Option<&Site>, mut response: Response<Body>) -> Response<Body> {
    let headers = response.headers_mut();
    let policy = Site::policy(site);
    headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        // Not `no-referrer`: then a browser does not say where a form comes from.
        ("referrer-policy", "same-origin"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// A file that is part of the binary.
fn asset(site: &Site, name: &str, asked: &http::HeaderMap) -> Result<Response<Body>, Problem> {
    let (content_type, text, tag) = match name {
        "console.css" => ("text/css; charset=utf-8", page::style(), page::tag(page::style())),
        "console.js" => (
            "text/javascript; charset=utf-8",
            page::SCRIPT,
            page::tag(page::SCRIPT),
        ),
        "icon.svg" => ("image/svg+xml", page::ICON, page::tag(page::ICON)),
        _ => return Err(Problem::not_found("There is no such file.".to_owned())),
    };
    let tag = HeaderValue::from_str(&tag).unwrap_or(HeaderValue::from_static("\"\""));
    let known = asked.get(header::IF_NONE_MATCH) == Some(&tag);
    let mut response = match known {
        true => answer_with(StatusCode::NOT_MODIFIED, content_type, ""),
        false => answer_with(StatusCode::OK, content_type, text),
    };
    let headers = response.headers_mut();
    headers.insert(header::ETAG, tag);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Ok(secure(Some(site), response))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(line: &str, headers: &[(&str, &str)]) -> Request<()> {
        let (method, uri) = line.split_once(' ').unwrap();
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap()
    }

    #[test]
    fn a_bucket_of_that_name_is_left_to_clients() {
        let host = ("host", "127.0.0.1:4566");
        for (line, headers, console) in [
            ("GET /console", &[host][..], true),
            ("HEAD /console/", &[host], true),
            ("POST /console/machine?arn=a", &[host], true),
            ("GET /console/key", &[host], true),
            ("GET /consoles", &[host], false),
            ("GET /", &[host], false),
            ("GET /", &[host, ("accept", "text/html,*/*;q=0.8")], true),
            (
                "GET /?list-type=2",
                &[host, ("accept", "text/html,*/*;q=0.8")],
                false,
            ),
            ("GET /data", &[host, ("accept", "text/html,*/*;q=0.8")], false),
            ("PUT /console", &[host], false),
            ("DELETE /console/key", &[host], false),
            (
                "GET /console",
                &[host, ("authorization", "AWS4-HMAC-SHA256 …")],
                false,
            ),
            (
                "GET /console/key",
                &[host, ("x-amz-content-sha256", "UNSIGNED-PAYLOAD")],
                false,
            ),
            // A client without a key, and an address that was signed beforehand.
            ("GET /console/key", &[host, ("amz-sdk-invocation-id", "1")], false),
            ("GET /console/key?X-Amz-Signature=0", &[host], false),
            ("GET /console/key?versionId=1&AWSAccessKeyId=a", &[host], false),
            // An object `console/key` of the bucket `data`.
            ("GET /console/key", &[("host", "data.localhost:4566")], false),
        ] {
            assert_eq!(wants(&request(line, headers)), console, "{line} {headers:?}");
        }
    }

    #[test]
    fn addresses() {
        assert_eq!(href("", &[]), "/console");
        assert_eq!(
            href("object", &[("bucket", "data"), ("key", "a/b?c&d=é\"<")]),
            "/console/object?bucket=data&key=a%2Fb%3Fc%26d%3D%C3%A9%22%3C"
        );
    }
}
