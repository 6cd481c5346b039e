//! Events of Lambda as requests of the router.

use axum::Router;
use axum::body::Body;
use axum::http::Uri;
use axum::http::uri::PathAndQuery;
use axum::response::Response;
use lambda_http::request::RequestContext;
use lambda_http::{RequestExt, tower::ServiceExt};

/// The invocation's id, for the log.
#[derive(Debug, Clone)]
pub(crate) struct RequestId(pub(crate) String);

/// Answers one event by the router: of a function URL, an HTTP API, a REST API or a load balancer.
///
/// The path is what the caller sent after the stage, which HTTP APIs leave in it and REST APIs do not; and after `base_path`, which
/// is what a custom domain maps to the API, such as `/scorer`.
pub async fn answer(app: Router, event: lambda_http::Request, base_path: Option<&str>) -> Response {
    let stage = match event.request_context_ref() {
        Some(RequestContext::ApiGatewayV2(context)) => context.stage.as_deref(),
        Some(RequestContext::ApiGatewayV1(context)) => context.stage.as_deref(),
        _ => None,
    };
    let path = path(event.raw_http_path(), stage, base_path).to_owned();
    let id = event
        .lambda_context_ref()
        .map(|context| RequestId(context.request_id.clone()));
    let mut request = event.map(|body| Body::from(body.to_vec()));
    if let Some(id) = id {
        request.extensions_mut().insert(id);
    }
    // What is no path of a URI is at none of ours.
    let target = PathAndQuery::try_from(path).map_or_else(|_| Uri::from_static("/"), Uri::from);
    *request.uri_mut() = target;
    match app.oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

/// The path without the stage and without what a custom domain puts before it.
fn path<'a>(path: &'a str, stage: Option<&str>, base_path: Option<&str>) -> &'a str {
    let base = base_path.map(|base| base.trim_matches('/'));
    let stage = stage.filter(|stage| *stage != "$default");
    let mut rest = path;
    for prefix in [base, stage]
        .into_iter()
        .flatten()
        .filter(|prefix| !prefix.is_empty())
    {
        let after = rest.strip_prefix('/').and_then(|rest| rest.strip_prefix(prefix));
        if let Some(after) = after.filter(|after| after.starts_with('/')) {
            rest = after;
        }
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stage_and_base_path_are_taken_off() {
        for (given, stage, base, want) in [
            ("/score", None, None, "/score"),
            ("/score", Some("$default"), None, "/score"),
            ("/prod/score", Some("prod"), None, "/score"),
            ("/score", Some("prod"), None, "/score"),
            ("/scorer/score", Some("prod"), Some("/scorer/"), "/score"),
            ("/scorer/prod/score", Some("prod"), Some("scorer"), "/score"),
            ("/scorer", Some("prod"), Some("scorer"), "/scorer"),
            ("/production/score", Some("prod"), None, "/production/score"),
            ("/score", Some("score"), None, "/score"),
            ("", None, Some("/"), ""),
        ] {
            assert_eq!(path(given, stage, base), want, "{given} {stage:?} {base:?}");
        }
    }
}
