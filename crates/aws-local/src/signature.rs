//! Signature Version 4, checked where the server was given keys: that a request comes from someone who has one of them, and
//! is what they sent.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, Method, Uri, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use sha2::{Digest, Sha256};

use crate::{s3::hex, time};

/// Keys by their id. Without any, every request is taken.
#[derive(Clone, Default)]
pub(crate) struct Keys(BTreeMap<String, String>);

/// Why a request is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It is not signed.
    Missing,
    UnknownKey,
    /// A header that means something is not part of what is signed.
    NotSigned(String),
    /// It was signed with another secret, or changed since.
    Mismatch,
    /// The clocks differ too much.
    Skewed,
    /// An address that was signed beforehand is no longer valid.
    Expired,
}

/// What is signed of a request, beside its body.
pub(crate) struct Head<'a> {
    pub(crate) method: &'a Method,
    pub(crate) uri: &'a Uri,
    pub(crate) headers: &'a HeaderMap,
}

/// How far a client's clock may be off.
const SKEW: Duration = Duration::from_secs(15 * 60);

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const UNSIGNED: &str = "UNSIGNED-PAYLOAD";
const PAYLOAD: &str = "x-amz-content-sha256";

/// What stays as it is in a signed text.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
/// The same in a path.
const IN_PATH: &AsciiSet = &UNRESERVED.remove(b'/');

impl Refusal {
    /// The code and message that S3 (and the services with XML) has for it, and those of the JSON services.
    pub(crate) fn told(&self, xml: bool) -> (&'static str, String) {
        let (code, message) = match self {
            Self::NotSigned(header) => {
                let code = if xml {
                    "AccessDenied"
                } else {
                    "InvalidSignatureException"
                };
                let message = format!(
                    "There were headers present in the request which were not signed: {header}. Sign host and every x-amz- \
                     header."
                );
                return (code, message);
            }
            Self::Missing if xml => ("AccessDenied", "Access Denied"),
            Self::Missing => (
                "MissingAuthenticationTokenException",
                "Missing Authentication Token",
            ),
            Self::UnknownKey if xml => (
                "InvalidAccessKeyId",
                "The AWS Access Key Id you provided does not exist in our records.",
            ),
            Self::UnknownKey => (
                "UnrecognizedClientException",
                "The security token included in the request is invalid.",
            ),
            Self::Mismatch => (
                if xml {
                    "SignatureDoesNotMatch"
                } else {
                    "InvalidSignatureException"
                },
                "The request signature we calculated does not match the signature you provided. Check your AWS Secret \
                 Access Key and signing method.",
            ),
            Self::Skewed => (
                if xml {
                    "RequestTimeTooSkewed"
                } else {
                    "InvalidSignatureException"
                },
                "The difference between the request time and the current time is too large.",
            ),
            Self::Expired => ("AccessDenied", "Request has expired"),
        };
        (code, message.to_owned())
    }
}

/// What a good signature leaves: that of the head, which chunks of the body are signed after, and the key for that.
pub(crate) struct Seal {
    key: Vec<u8>,
    scope: String,
    time: String,
    /// In hex, of what came last.
    signature: String,
}

impl Seal {
    /// That of the documentation's examples, after a head with that signature.
    #[cfg(test)]
    pub(crate) fn example(signature: &str) -> Self {
        let scope = "20130524/us-east-1/s3/aws4_request";
        let secret = b"AWS4wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_vec();
        let key = scope.split('/').fold(secret, |key, part| {
            let mac = mac(&key, part).map(|mac| mac.finalize().into_bytes().to_vec());
            mac.unwrap_or_default()
        });
        Self {
            key,
            scope: scope.to_owned(),
            time: "20130524T000000Z".to_owned(),
            signature: signature.to_owned(),
        }
    }

    /// Whether the next chunk of a body, with that digest in hex, bears the right signature.
    pub(crate) fn chunk(&mut self, digest: &str, signature: &str) -> bool {
        let empty = hex(Sha256::digest(b""));
        self.next(
            "AWS4-HMAC-SHA256-PAYLOAD",
            &format!("{empty}\n{digest}"),
            signature,
        )
    }

    /// Whether the trailers, one to a line, bear the right signature; they come after the last chunk.
    pub(crate) fn trailers(&mut self, trailers: &[u8], signature: &str) -> bool {
        self.next(
            "AWS4-HMAC-SHA256-TRAILER",
            &hex(Sha256::digest(trailers)),
            signature,
        )
    }

    fn next(&mut self, kind: &str, signed: &str, signature: &str) -> bool {
        let text = format!(
            "{kind}\n{}\n{}\n{}\n{signed}",
            self.time, self.scope, self.signature
        );
        signature.clone_into(&mut self.signature);
        is_signed(&self.key, &text, signature)
    }
}

/// A signature and what it says of itself.
struct Signature {
    key: String,
    /// `date/region/service/aws4_request`.
    scope: String,
    headers: String,
    time: String,
    signature: String,
    /// Seconds; of an address that was signed beforehand.
    expires: Option<u64>,
}

impl Keys {
    /// One more key.
    pub(crate) fn add(&mut self, id: String, secret: String) {
        self.0.insert(id, secret);
    }

    /// One of them, by its id.
    #[cfg(feature = "sdk")]
    pub(crate) fn any(&self) -> Option<(String, String)> {
        let (id, secret) = self.0.first_key_value()?;
        Some((id.clone(), secret.clone()))
    }

    /// Whether this is the secret of the key of that id, in constant time.
    #[cfg(feature = "console")]
    pub(crate) fn holds(&self, id: &str, secret: &str) -> bool {
        let known = self.0.get(id);
        // Digests under a key of their own, so that neither length nor contents show in the time it takes.
        let digest = |text: &str| mac(ALGORITHM.as_bytes(), text);
        let said = digest(secret).map(|mac| mac.finalize().into_bytes());
        let same = said.zip(digest(known.map_or("", String::as_str)));
        same.is_some_and(|(said, known)| known.verify_slice(&said).is_ok()) && known.is_some()
    }

    /// Whether requests have to be signed.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Holds a request against its signature. `body` is the whole body; without it, what the request says of it counts, and
    /// who reads the body has to hold it against that, with the seal where there are keys.
    pub(crate) fn verify(
        &self,
        head: &Head<'_>,
        body: Option<&[u8]>,
        now: SystemTime,
    ) -> Result<Option<Seal>, Refusal> {
        if self.is_empty() {
            return Ok(None);
        }
        let query = query(head.uri);
        let signed = Signature::of(head.headers, &query).ok_or(Refusal::Missing)?;
        let secret = self.0.get(&signed.key).ok_or(Refusal::UnknownKey)?;
        signed.require_covered(head.headers)?;
        if !signed.is_of_its_day() {
            return Err(Refusal::Mismatch);
        }
        let said = head.headers.get(PAYLOAD).and_then(|v| v.to_str().ok());
        let payload = match (body, said) {
            (Some(body), _) => hex(Sha256::digest(body)),
            (None, Some(said)) => said.to_owned(),
            (None, None) => UNSIGNED.to_owned(),
        };
        let canonical = canonical(head, &query, &signed, &payload).ok_or(Refusal::Mismatch)?;
        let text = format!(
            "{ALGORITHM}\n{}\n{}\n{}",
            signed.time,
            signed.scope,
            hex(Sha256::digest(canonical))
        );
        let mut key = format!("AWS4{secret}").into_bytes();
        for part in signed.scope.split('/') {
            key = mac(&key, part)
                .ok_or(Refusal::Mismatch)?
                .finalize()
                .into_bytes()
                .to_vec();
        }
        if !is_signed(&key, &text, &signed.signature) {
            return Err(Refusal::Mismatch);
        }
        let at = moment(&signed.time).ok_or(Refusal::Mismatch)?;
        match signed.expires {
            Some(seconds) if now > at + Duration::from_secs(seconds) => Err(Refusal::Expired),
            Some(_) if at > now + SKEW => Err(Refusal::Skewed),
            None if at > now + SKEW || now > at + SKEW => Err(Refusal::Skewed),
            _ => Ok(Some(Seal {
                key,
                scope: signed.scope,
                time: signed.time,
                signature: signed.signature,
            })),
        }
    }
}

impl Signature {
    /// Refuses a request of which someone could change what means something: who may be spoken to, and what the services
    /// read of its head.
    fn require_covered(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let names = headers.keys().map(|name| name.as_str());
        let meant = names.filter(|name| name.starts_with("x-amz-"));
        let is_signed = |name: &&str| self.headers.split(';').any(|signed| signed == *name);
        match std::iter::once("host").chain(meant).find(|name| !is_signed(name)) {
            Some(name) => Err(Refusal::NotSigned(name.to_owned())),
            None => Ok(()),
        }
    }

    /// Whether the scope is one, and of the day that it was signed on: a key for a day is good for no other.
    fn is_of_its_day(&self) -> bool {
        let parts: Vec<_> = self.scope.split('/').collect();
        let day = self.time.get(..8);
        matches!(parts[..], [date, _, _, "aws4_request"] if Some(date) == day)
    }

    /// In the header, or in the address.
    fn of(headers: &HeaderMap, query: &[(String, String)]) -> Option<Self> {
        let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
        if let Some(header) = text(header::AUTHORIZATION.as_str()) {
            let fields = header.trim().strip_prefix(ALGORITHM)?;
            let field = |name: &str| {
                let found = fields
                    .split(',')
                    .find_map(|f| f.trim().strip_prefix(name)?.strip_prefix('='));
                found.map(str::to_owned)
            };
            let (key, scope) = field("Credential")?.split_once('/').map(owned)?;
            return Some(Self {
                key,
                scope,
                headers: field("SignedHeaders")?,
                time: text("x-amz-date")?.to_owned(),
                signature: field("Signature")?,
                expires: None,
            });
        }
        let parameter = |name: &str| {
            let found = query.iter().find(|(n, _)| n == name)?;
            Some(percent_decode_str(&found.1).decode_utf8_lossy().into_owned())
        };
        if parameter("X-Amz-Algorithm")? != ALGORITHM {
            return None;
        }
        let (key, scope) = parameter("X-Amz-Credential")?.split_once('/').map(owned)?;
        Some(Self {
            key,
            scope,
            headers: parameter("X-Amz-SignedHeaders")?,
            time: parameter("X-Amz-Date")?,
            signature: parameter("X-Amz-Signature")?,
            // A week at the most.
            expires: Some(
                parameter("X-Amz-Expires")?
                    .parse()
                    .ok()
                    .filter(|s| *s <= 604_800)?,
            ),
        })
    }
}

fn owned((a, b): (&str, &str)) -> (String, String) {
    (a.to_owned(), b.to_owned())
}

/// The parameters of an address, encoded as signatures have them, in order.
fn query(uri: &Uri) -> Vec<(String, String)> {
    let again = |text: &str| {
        let bytes: Vec<u8> = percent_decode_str(text).collect();
        percent_encoding::percent_encode(&bytes, UNRESERVED).to_string()
    };
    let pairs = uri
        .query()
        .unwrap_or_default()
        .split('&')
        .filter(|pair| !pair.is_empty());
    let mut query: Vec<_> = pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (again(name), again(value)))
        .collect();
    query.sort();
    query
}

/// The text whose digest is signed; none if a signed header is missing.
fn canonical(
    head: &Head<'_>,
    query: &[(String, String)],
    signed: &Signature,
    payload: &str,
) -> Option<String> {
    // S3 signs paths as they are sent, the others encode them once more.
    let s3 = signed.scope.split('/').nth(2) == Some("s3");
    let path = match head.uri.path() {
        path if s3 => path.to_owned(),
        path => utf8_percent_encode(path, IN_PATH).to_string(),
    };
    let query: Vec<_> = query
        .iter()
        .filter(|(name, _)| name != "X-Amz-Signature")
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let mut headers = String::new();
    for name in signed.headers.split(';') {
        let values: Vec<_> = head
            .headers
            .get_all(name)
            .iter()
            .map(|v| {
                String::from_utf8_lossy(v.as_bytes())
                    .split_whitespace()
                    .collect::<Vec<_>>()
                    .join(" ")
            })
            .collect();
        if values.is_empty() {
            return None;
        }
        headers.push_str(&format!("{name}:{}\n", values.join(",")));
    }
    Some(format!(
        "{}\n{path}\n{}\n{headers}\n{}\n{payload}",
        head.method,
        query.join("&"),
        signed.headers
    ))
}

/// Whether a signature in hex is that of a text, found out in constant time.
fn is_signed(key: &[u8], text: &str, signature: &str) -> bool {
    let signature = unhex(signature);
    mac(key, text)
        .zip(signature)
        .is_some_and(|(mac, signature)| mac.verify_slice(&signature).is_ok())
}

fn mac(key: &[u8], text: &str) -> Option<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
    mac.update(text.as_bytes());
    Some(mac)
}

/// `20261120T085208Z`.
fn moment(text: &str) -> Option<SystemTime> {
    let time = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", text).ok()?;
    let time = time.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    Some(time::system_time(
        time.timestamp().as_millisecond() as f64 / 1000.0,
    ))
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |b: u8| (b as char).to_digit(16).map(|d| d as u8);
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| Some((digit(pair[0])? << 4) | digit(*pair.get(1)?)?))
        .collect()
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    /// The example of the documentation of S3: a ranged GET.
    fn example() -> (Keys, Request<()>) {
        let mut keys = Keys::default();
        keys.add(
            "AKIAIOSFODNN7EXAMPLE".to_owned(),
            "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned(),
        );
        let authorization = "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, \
                             SignedHeaders=host;range;x-amz-content-sha256;x-amz-date, \
                             Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41";
        let request = Request::get("/test.txt")
            .header("host", "examplebucket.s3.amazonaws.com")
            .header("range", "bytes=0-9")
            .header(
                PAYLOAD,
                "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            )
            .header("x-amz-date", "20130524T000000Z")
            .header("authorization", authorization)
            .body(())
            .unwrap();
        (keys, request)
    }

    fn verify(keys: &Keys, request: &Request<()>, body: Option<&[u8]>, after: u64) -> Result<(), Refusal> {
        let head = Head {
            method: request.method(),
            uri: request.uri(),
            headers: request.headers(),
        };
        let now = moment("20130524T000000Z").unwrap() + Duration::from_secs(after);
        keys.verify(&head, body, now).map(drop)
    }

    /// Signs an unsigned request for S3, as of the moment of the examples, over the headers of these names.
    fn sign(request: &mut Request<()>, scope: &str, names: &str) {
        let headers = request.headers_mut();
        headers.insert("host", "examplebucket.s3.amazonaws.com".parse().unwrap());
        headers.insert("x-amz-date", "20130524T000000Z".parse().unwrap());
        let signed = Signature {
            key: String::new(),
            scope: scope.to_owned(),
            headers: names.to_owned(),
            time: "20130524T000000Z".to_owned(),
            signature: String::new(),
            expires: None,
        };
        let head = Head {
            method: request.method(),
            uri: request.uri(),
            headers: request.headers(),
        };
        let canonical = canonical(&head, &query(request.uri()), &signed, UNSIGNED).unwrap();
        let digest = hex(Sha256::digest(canonical));
        let text = format!("{ALGORITHM}\n20130524T000000Z\n{scope}\n{digest}");
        let mut key = b"AWS4wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_vec();
        for part in scope.split('/') {
            key = mac(&key, part).unwrap().finalize().into_bytes().to_vec();
        }
        let signature = hex(mac(&key, &text).unwrap().finalize().into_bytes());
        let value = format!(
            "{ALGORITHM} Credential=AKIAIOSFODNN7EXAMPLE/{scope}, SignedHeaders={names}, Signature={signature}"
        );
        request
            .headers_mut()
            .insert("authorization", value.parse().unwrap());
    }

    /// What a header says can be changed by whoever passes it on, unless it is signed.
    #[test]
    fn every_header_that_means_something_is_signed() {
        let (keys, _) = example();
        let scope = "20130524/us-east-1/s3/aws4_request";
        let not_signed = |name: &str| Err(Refusal::NotSigned(name.to_owned()));
        for (names, outcome) in [
            ("host;x-amz-acl;x-amz-date", Ok(())),
            ("host;x-amz-date", not_signed("x-amz-acl")),
            ("host;x-amz-acl", not_signed("x-amz-date")),
            ("x-amz-acl;x-amz-date", not_signed("host")),
        ] {
            let mut request = Request::put("/a")
                .header("x-amz-acl", "private")
                .body(())
                .unwrap();
            request.headers_mut().insert("user-agent", "any".parse().unwrap());
            sign(&mut request, scope, names);
            assert_eq!(verify(&keys, &request, None, 0), outcome, "{names}");
        }
        let (code, message) = Refusal::NotSigned("x-amz-acl".to_owned()).told(true);
        assert_eq!(code, "AccessDenied");
        assert!(message.contains("not signed: x-amz-acl."), "{message}");
    }

    /// A key that was made for a day signs for that day, and a scope has four parts.
    #[test]
    fn a_scope_is_of_the_day_of_the_request() {
        let (keys, _) = example();
        for (scope, outcome) in [
            ("20130524/us-east-1/s3/aws4_request", Ok(())),
            ("20130523/us-east-1/s3/aws4_request", Err(Refusal::Mismatch)),
            ("20130524/us-east-1/s3/aws4_request/more", Err(Refusal::Mismatch)),
            ("20130524/us-east-1/s3", Err(Refusal::Mismatch)),
        ] {
            let mut request = Request::put("/a").body(()).unwrap();
            sign(&mut request, scope, "host;x-amz-date");
            assert_eq!(verify(&keys, &request, None, 0), outcome, "{scope}");
        }
    }

    #[test]
    fn the_documented_example_holds_and_nothing_else() {
        let (keys, request) = example();
        assert_eq!(verify(&keys, &request, None, 0), Ok(()));
        assert_eq!(verify(&keys, &request, Some(b""), 60), Ok(()));
        assert_eq!(verify(&keys, &request, Some(b"x"), 0), Err(Refusal::Mismatch));
        assert_eq!(verify(&keys, &request, None, 16 * 60), Err(Refusal::Skewed));
        assert_eq!(verify(&Keys::default(), &request, None, 0), Ok(()));
        for (name, value, refusal) in [
            ("range", "bytes=0-10", Refusal::Mismatch),
            ("x-amz-date", "20130524T000001Z", Refusal::Mismatch),
            ("authorization", "", Refusal::Missing),
            (
                "authorization",
                "AWS4-HMAC-SHA256 Credential=AKIA/20130524/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0",
                Refusal::UnknownKey,
            ),
        ] {
            let (_, mut request) = example();
            request.headers_mut().insert(name, value.parse().unwrap());
            assert_eq!(verify(&keys, &request, None, 0), Err(refusal), "{name}: {value}");
        }
    }

    /// The example of the documentation of S3: an address signed for a day.
    #[test]
    fn an_address_signed_beforehand() {
        let (keys, _) = example();
        let uri = "/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1\
                   %2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host\
                   &X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404";
        let request = Request::get(uri)
            .header("host", "examplebucket.s3.amazonaws.com")
            .body(())
            .unwrap();
        assert_eq!(verify(&keys, &request, None, 3600), Ok(()));
        assert_eq!(verify(&keys, &request, None, 86_401), Err(Refusal::Expired));
        let other =
            Request::get(uri.replacen("test", "rest", 1)).header("host", "examplebucket.s3.amazonaws.com");
        assert_eq!(
            verify(&keys, &other.body(()).unwrap(), None, 0),
            Err(Refusal::Mismatch)
        );
    }
}
