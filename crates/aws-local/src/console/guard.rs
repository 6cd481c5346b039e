//! Who may look, and who may change something.
//!
//! Pages elsewhere cannot speak through the reader's browser: a request has to call the server by a name that no other
//! machine can have (a loopback name, or an address), and what changes something has to come from a page of this server, as
//! the browser says (`Origin`, `Sec-Fetch-Site`), and carry the token of this process. Where the server takes signed requests only, people sign
//! in with a key of it, over loopback only, because the secret goes over the wire as it is.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, HeaderValue, Request, header};
use sha2::Sha256;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use uuid::Uuid;

use super::{multipart, page::Problem};
use crate::{
    dispatch::{self, App, Callers},
    signature::Keys,
};

/// The server as the browser calls it.
pub(super) struct Site {
    /// Host and port, as in the request: nothing in it but what a host of this server can have.
    authority: String,
    loopback: bool,
}

impl Site {
    pub(super) fn of<B>(request: &Request<B>, app: &App) -> Result<Self, String> {
        dispatch::check_origin(request, Callers::of(app))?;
        // A page elsewhere may lead here, but not load anything: it could not read it, but would keep the server busy.
        let said = |name| request.headers().get(name).map(HeaderValue::as_bytes);
        let elsewhere = said("sec-fetch-site").is_some_and(|site| site != b"same-origin" && site != b"none");
        if elsewhere && said("sec-fetch-mode") != Some(b"navigate") {
            return Err("The console does not answer to pages from elsewhere.".to_owned());
        }
        let host = request.headers().get(header::HOST).and_then(|v| v.to_str().ok());
        let authority = host.unwrap_or_default().to_ascii_lowercase();
        match kind(&authority) {
            Some(loopback) => Ok(Self { authority, loopback }),
            None => Err(
                "The console answers to localhost and to addresses such as 127.0.0.1 only: a name could be made to point \
                 here by a web page elsewhere. Call it by its address."
                    .to_owned(),
            ),
        }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.authority)
    }

    pub(super) fn authority(&self) -> &str {
        &self.authority
    }

    /// Holds a form's request against where it says that it comes from; gives the boundary of one with files.
    pub(super) fn check_post(&self, headers: &HeaderMap) -> Result<Option<String>, Problem> {
        let text = |name: header::HeaderName| headers.get(name).and_then(|v| v.to_str().ok());
        let origin = text(header::ORIGIN).and_then(|origin| origin.split_once("://"));
        let own = origin.is_some_and(|(_, authority)| authority.eq_ignore_ascii_case(&self.authority));
        let fetched = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
        if !own || fetched.is_some_and(|site| site != b"same-origin") {
            return Err(Problem::forbidden(
                "The form was sent from a page that is not of this server, or the browser does not say from which.",
            ));
        }
        let form = text(header::CONTENT_TYPE).unwrap_or_default();
        if form.starts_with("application/x-www-form-urlencoded") {
            return Ok(None);
        }
        let boundary = multipart::boundary(form);
        boundary
            .map(Some)
            .ok_or_else(|| Problem::forbidden("The console takes forms only."))
    }

    /// Why nobody can sign in from here.
    pub(super) fn no_sign_in(&self) -> Option<String> {
        let port = self.authority.rsplit_once(':').map_or("80", |(_, port)| port);
        (!self.loopback).then(|| {
            format!(
                "This server takes signed requests only, and its console is signed in to with a secret, which would go over \
                 the network as it is. Come by loopback: `ssh -L {port}:127.0.0.1:{port} <this machine>`, then open \
                 http://127.0.0.1:{port}/console."
            )
        })
    }

    /// What pages may load and do.
    pub(super) fn policy(site: Option<&Self>) -> HeaderValue {
        // Objects of S3 are of the same origin, so it is the paths that count. A policy cannot hold an IPv6 address.
        let own = |path: &str| match site {
            Some(site) if !site.authority.starts_with('[') => format!("{}/console/{path}", site.authority),
            _ => "'self'".to_owned(),
        };
        let (assets, live, pages) = (own("assets/"), own("live/"), own(""));
        let policy = format!(
            "default-src 'none'; script-src {assets}; style-src {assets}; img-src {assets}; connect-src {live}; \
             form-action {pages}; base-uri 'none'; frame-ancestors 'none'"
        );
        HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
    }
}

/// Whether a host, with or without a port, is on loopback; none for a name that another could have.
fn kind(authority: &str) -> Option<bool> {
    let is_port = |p: &str| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit());
    let name = match authority.rsplit_once(':') {
        Some((name, port)) if is_port(port) => name,
        _ => authority,
    };
    if name == "localhost" {
        return Some(true);
    }
    let inner = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    let ip = match inner {
        Some(inner) => IpAddr::V6(inner.parse().ok()?),
        None => IpAddr::V4(name.parse().ok()?),
    };
    Some(ip.is_loopback())
}

/// How long someone stays signed in.
const SESSION: Duration = Duration::from_secs(12 * 60 * 60);
/// How many may be signed in at once; of more, the first have to sign in again.
const MOST: usize = 64;
/// How long a wrong secret takes; one is looked at after the other.
const WRONG: Duration = Duration::from_millis(500);

/// How many pages are told of changes at once; others have to be reloaded.
const STREAMS: usize = 64;

const COOKIE: &str = "aws-local-console";

/// Who is signed in, and the token that forms carry.
pub(crate) struct Sessions {
    token: String,
    open: Mutex<Vec<(String, Instant)>>,
    signing_in: tokio::sync::Mutex<()>,
    streams: Arc<Semaphore>,
}

impl Default for Sessions {
    fn default() -> Self {
        Self {
            token: random(),
            open: Mutex::default(),
            signing_in: tokio::sync::Mutex::default(),
            streams: Arc::new(Semaphore::new(STREAMS)),
        }
    }
}

impl Sessions {
    pub(super) fn token(&self) -> &str {
        &self.token
    }

    /// Refuses a form without the token of this process.
    pub(super) fn require_token(&self, said: &str) -> Result<(), Problem> {
        if same(&self.token, said) {
            return Ok(());
        }
        Err(Problem::forbidden(
            "The form is not one of this server's, or the server was started anew since. Go back, reload, and try again.",
        ))
    }

    /// Leave to tell the changes of a page, until it is dropped; none while too many are told.
    pub(super) fn stream(&self) -> Option<OwnedSemaphorePermit> {
        self.streams.clone().try_acquire_owned().ok()
    }

    /// The cookie of someone who knows a key.
    pub(super) async fn sign_in(&self, keys: &Keys, id: &str, secret: &str) -> Option<HeaderValue> {
        let _one_at_a_time = self.signing_in.lock().await;
        if !keys.holds(id, secret) {
            tokio::time::sleep(WRONG).await;
            return None;
        }
        let session = random();
        let cookie = format!(
            "{COOKIE}={session}; Path=/console; HttpOnly; SameSite=Strict; Max-Age={}",
            SESSION.as_secs()
        );
        let mut open = self.lock();
        open.retain(|(_, since)| since.elapsed() < SESSION);
        if open.len() >= MOST {
            open.remove(0);
        }
        open.push((session, Instant::now()));
        HeaderValue::try_from(cookie).ok()
    }

    pub(super) fn is_signed_in(&self, headers: &HeaderMap) -> bool {
        let said = cookie(headers).unwrap_or_default();
        let open = self.lock();
        open.iter()
            .any(|(session, since)| since.elapsed() < SESSION && same(session, &said))
    }

    pub(super) fn sign_out(&self, headers: &HeaderMap) {
        let said = cookie(headers).unwrap_or_default();
        self.lock().retain(|(session, _)| !same(session, &said));
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(String, Instant)>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What takes the cookie away.
pub(super) fn no_cookie() -> HeaderValue {
    HeaderValue::from_static("aws-local-console=; Path=/console; HttpOnly; SameSite=Strict; Max-Age=0")
}

fn cookie(headers: &HeaderMap) -> Option<String> {
    let cookies = headers.get_all(header::COOKIE).iter();
    let pairs = cookies.filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(';'));
    pairs
        .filter_map(|pair| pair.trim().split_once('='))
        .find_map(|(name, value)| (name == COOKIE).then(|| value.to_owned()))
}

/// 244 bits of the system's randomness.
fn random() -> String {
    format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple())
}

/// Whether two texts are the same, in constant time.
fn same(a: &str, b: &str) -> bool {
    let digest = |text: &str| {
        let mut mac = Hmac::<Sha256>::new_from_slice(b"console").ok()?;
        mac.update(text.as_bytes());
        Some(mac)
    };
    let said = digest(b).map(|mac| mac.finalize().into_bytes());
    said.zip(digest(a))
        .is_some_and(|(said, mac)| mac.verify_slice(&said).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_that_no_page_elsewhere_can_have() {
        for (host, expected) in [
            ("127.0.0.1:4566", Some(true)),
            ("127.0.0.1", Some(true)),
            ("localhost:1", Some(true)),
            ("[::1]:80", Some(true)),
            ("192.0.2.1:4566", Some(false)),
            ("[2001:db8::1]:4566", Some(false)),
            ("data.localhost:80", None),
            ("sync-localhost", None),
            ("evil.example:80", None),
            ("127.0.0.1.evil.example", None),
            ("127.0.0.1:x", None),
            ("127.0.0.1; script-src *", None),
            ("::1", None),
            ("", None),
        ] {
            assert_eq!(kind(host), expected, "{host}");
        }
    }

    #[tokio::test]
    async fn sessions_come_from_a_key_and_end() {
        let mut keys = Keys::default();
        keys.add("id".to_owned(), "secret".to_owned());
        for (id, secret) in [
            ("id", "Secret"),
            ("id", ""),
            ("", ""),
            ("other", "secret"),
            ("other", ""),
        ] {
            assert!(!keys.holds(id, secret), "{id} {secret}");
        }
        let sessions = Sessions::default();
        assert!(sessions.sign_in(&keys, "id", "secre").await.is_none());
        let cookie = sessions.sign_in(&keys, "id", "secret").await.unwrap();
        let cookie = cookie.to_str().unwrap();
        assert!(cookie.contains("; HttpOnly; SameSite=Strict"), "{cookie}");
        let mut headers = HeaderMap::new();
        assert!(!sessions.is_signed_in(&headers));
        let sent = format!("a=b; {}", cookie.split(';').next().unwrap());
        headers.insert(header::COOKIE, sent.parse().unwrap());
        assert!(sessions.is_signed_in(&headers));
        sessions.sign_out(&headers);
        assert!(!sessions.is_signed_in(&headers));
        assert!(sessions.require_token(sessions.token()).is_ok());
        assert!(sessions.require_token("").is_err());
    }
}
