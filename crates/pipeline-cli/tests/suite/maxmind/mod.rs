//! A server on this machine that offers databases as MaxMind does.

use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};
use wiremock::{Match, Mock, MockServer, Request, Respond, ResponseTemplate};

pub(crate) const ACCOUNT: &str = "123456";
pub(crate) const KEY: &str = "Zq8Kf3_SECRETKEY_mmk";
/// Both as basic authentication sends them.
pub(crate) const BASIC: &str = "MTIzNDU2OlpxOEtmM19TRUNSRVRLRVlfbW1r";
pub(crate) const RELEASED: &str = "Tue, 16 Jan 2024 14:29:17 GMT";

/// The server, and the threads that it runs on.
pub(crate) struct MaxMind {
    server: MockServer,
    runtime: tokio::runtime::Runtime,
}

impl MaxMind {
    /// Offers every edition: this database, or a zip that is none.
    pub(crate) fn start(database: &[u8]) -> Self {
        let maxmind = Self::silent();
        maxmind.mount(
            |_: &Request| true,
            Offer {
                database: database.to_vec(),
            },
        );
        maxmind
    }

    /// Offers nothing.
    pub(crate) fn silent() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let server = runtime.block_on(MockServer::start());
        Self { server, runtime }
    }

    /// Answers some requests in another way. What was mounted first is stronger.
    pub(crate) fn mount(&self, to: impl Match + 'static, with: impl Respond + 'static) {
        self.runtime
            .block_on(Mock::given(to).respond_with(with).mount(&self.server));
    }

    pub(crate) fn uri(&self) -> String {
        self.server.uri()
    }
}

struct Offer {
    database: Vec<u8>,
}

impl Respond for Offer {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        let told = request.headers.get("authorization");
        if told.is_none_or(|header| header != &format!("Basic {BASIC}")) {
            return ResponseTemplate::new(401);
        }
        let edition = request
            .url
            .path()
            .strip_prefix("/geoip/databases/")
            .and_then(|rest| rest.strip_suffix("/download"));
        let (Some(edition), Some(query)) = (edition, request.url.query()) else {
            return ResponseTemplate::new(404);
        };
        let body = if edition.ends_with("-CSV") {
            b"PK\x03\x04 and the rest".to_vec()
        } else {
            archive(edition, &self.database)
        };
        let answer = ResponseTemplate::new(200).insert_header("last-modified", RELEASED);
        if query.ends_with(".sha256") {
            let ending = if edition.ends_with("-CSV") {
                "zip"
            } else {
                "tar.gz"
            };
            return answer.set_body_string(format!("{}  {edition}_20240116.{ending}\n", sha256(&body)));
        }
        answer.set_body_bytes(body)
    }
}

/// As MaxMind packs it.
pub(crate) fn archive(edition: &str, database: &[u8]) -> Vec<u8> {
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (name, bytes) in [
        ("COPYRIGHT.txt", &b"(c)"[..]),
        (&format!("{edition}.mmdb"), database),
    ] {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, format!("{edition}_20240116/{name}"), bytes)
            .unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap()
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
