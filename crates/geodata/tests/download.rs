//! Downloads, against servers on this machine that behave and that do not.
#![cfg(feature = "download")]
#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use expect_test::{Expect, expect};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use geodata::download::{
    Age, CheckStatus, Checked, Draft, Edition, Error, Event, FetchStatus, Fetched, Fetcher, Keep, Limits,
};
use geodata::writer::Writer;
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use tar::{EntryType, Header};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use wiremock::http::Method;
use wiremock::matchers::{method, path, query_param};
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate};

const ACCOUNT: &str = "123456";
const KEY: &str = "Zq8Kf3_SECRETKEY_mmk";
/// What makes an address a secret by itself.
const SIGNATURE: &str = "SIGNED0123456789";
const RELEASED: &str = "Tue, 16 Jan 2024 14:29:17 GMT";
const LATER: &str = "Fri, 19 Jan 2024 14:29:17 GMT";

fn credentials() -> String {
    base64::engine::general_purpose::STANDARD.encode(format!("{ACCOUNT}:{KEY}"))
}

fn now() -> Timestamp {
    "2024-01-20T00:00:00Z".parse().unwrap()
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// A database without networks, which is small.
fn database(seed: u64) -> Vec<u8> {
    Writer::new("GeoLite2-Country")
        .build_epoch(1_705_400_000 + seed)
        .to_bytes()
        .unwrap()
}

/// An entry of an archive.
type Entry<'a> = (&'a str, EntryType, &'a [u8]);

fn tar_gz(entries: &[Entry]) -> Vec<u8> {
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (name, kind, bytes) in entries {
        let mut header = Header::new_ustar();
        header.set_entry_type(*kind);
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        // Not by `set_path`, which refuses what hostile archives have.
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        if matches!(kind, EntryType::Symlink | EntryType::Link) {
            header.set_link_name("target").unwrap();
        }
        header.set_cksum();
        tar.append(&header, *bytes).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap()
}

/// As MaxMind packs it.
fn archive(database: &[u8]) -> Vec<u8> {
    tar_gz(&[
        ("GeoLite2-Country_20240116/", EntryType::Directory, b""),
        (
            "GeoLite2-Country_20240116/COPYRIGHT.txt",
            EntryType::Regular,
            b"(c)",
        ),
        (
            "GeoLite2-Country_20240116/GeoLite2-Country.mmdb",
            EntryType::Regular,
            database,
        ),
        (
            "GeoLite2-Country_20240116/LICENSE.txt",
            EntryType::Regular,
            b"terms",
        ),
    ])
}

fn country() -> Edition {
    "GeoLite2-Country".parse().unwrap()
}

/// A fetcher, its folder, and what it waited and told.
struct Case {
    _root: TempDir,
    folder: PathBuf,
    fetcher: Fetcher,
    waits: Arc<Mutex<Vec<Duration>>>,
    events: Vec<Event>,
}

impl Case {
    fn new(host: &str) -> Self {
        Self::with(host, "", Limits::default())
    }

    fn with(host: &str, more: &str, limits: Limits) -> Self {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("a/b");
        let config = format!("AccountID {ACCOUNT}\nLicenseKey {KEY}\nEditionIDs GeoLite2-Country\n{more}");
        let settings = Draft::default()
            .folder(&folder)
            .host(host)
            .or(Draft::from_config(&config, Path::new("GeoIP.conf")))
            .check()
            .unwrap();
        let waits = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&waits);
        let fetcher = Fetcher::new(settings).limits(limits).sleep(move |time| {
            noted.lock().unwrap().push(time);
            async {}
        });
        Self {
            _root: root,
            folder,
            fetcher,
            waits,
            events: Vec::new(),
        }
    }

    fn keep(mut self, keep: Keep) -> Self {
        self.fetcher = self.fetcher.keep(keep);
        self
    }

    async fn try_fetch(&mut self, edition: &Edition) -> Result<Fetched, Error> {
        let result = self
            .fetcher
            .fetch(edition, now(), &mut |event| self.events.push(event))
            .await;
        hidden(&format!("{:?} {:?} {result:?}", self.events, self.fetcher));
        result
    }

    async fn fetch(&mut self) -> Fetched {
        self.try_fetch(&country()).await.unwrap()
    }

    async fn check(&mut self) -> Checked {
        self.fetcher
            .check(&country(), now(), &mut |event| self.events.push(event))
            .await
            .unwrap()
    }

    /// Fetches what must fail: says why, and has left nothing.
    async fn fails(&mut self, want: Expect) -> Error {
        let error = self.leaves_nothing().await;
        want.assert_eq(&chain(&error));
        error
    }

    /// The same where the words depend on something.
    async fn fails_with(&mut self, want: &str) {
        assert_eq!(chain(&self.leaves_nothing().await), want);
    }

    async fn leaves_nothing(&mut self) -> Error {
        let before = self.files();
        let error = self.try_fetch(&country()).await.unwrap_err();
        assert_eq!(self.files(), before, "something was left or changed");
        if before.is_empty() {
            assert!(!self.folder.parent().unwrap().exists(), "folders were left");
        }
        error
    }

    /// Fetches what does not come whole; in which words that is said is the client's matter.
    async fn breaks_off(&mut self) {
        let error = self.try_fetch(&country()).await.unwrap_err();
        let said = chain(&error);
        let want =
            "no complete answer came from `http://127.0.0.1:PORT`, asked twice <- error reading a body";
        assert!(said.starts_with(want), "{said}");
        assert!(!self.folder.exists());
    }

    fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let Ok(entries) = fs::read_dir(&self.folder) else {
            return BTreeMap::new();
        };
        entries
            .map(|entry| {
                let entry = entry.unwrap();
                (
                    entry.file_name().into_string().unwrap(),
                    fs::read(entry.path()).unwrap(),
                )
            })
            .collect()
    }

    fn names(&self) -> Vec<String> {
        self.files().into_keys().collect()
    }

    fn waits(&self) -> Vec<f64> {
        self.waits
            .lock()
            .unwrap()
            .iter()
            .map(Duration::as_secs_f64)
            .collect()
    }
}

/// An error as the command line tells it; in whatever form, no secret is in it.
fn chain(error: &Error) -> String {
    hidden(&format!("{error:?}"));
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(" <- ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    hidden(&text);
    // Ports differ from run to run.
    let mut plain = String::new();
    let mut rest = text.as_str();
    while let Some(at) = rest.find("127.0.0.1:") {
        let end = at + "127.0.0.1:".len();
        plain.push_str(&rest[..end]);
        plain.push_str("PORT");
        rest = rest[end..].trim_start_matches(|c: char| c.is_ascii_digit());
    }
    plain + rest
}

fn hidden(text: &str) {
    for secret in [KEY, &credentials(), SIGNATURE, "hunter2"] {
        assert!(!text.contains(secret), "`{secret}` is in {text}");
    }
}

/// A server that has one release of GeoLite2-Country.
async fn server(archive: &[u8]) -> MockServer {
    let server = MockServer::start().await;
    offer(&server, archive, RELEASED).await;
    server
}

async fn offer(server: &MockServer, archive: &[u8], released: &str) {
    offer_sum(server, &sha256(archive)).await;
    Mock::given(path("/geoip/databases/GeoLite2-Country/download"))
        .and(query_param("suffix", "tar.gz"))
        .respond_with(
            ResponseTemplate::new(200)
                .insert_header("last-modified", released)
                .insert_header("etag", format!("\"{}\"", &sha256(archive)[..8]).as_str())
                .set_body_bytes(archive),
        )
        .mount(server)
        .await;
}

async fn offer_sum(server: &MockServer, sum: &str) {
    Mock::given(method("GET"))
        .and(query_param("suffix", "tar.gz.sha256"))
        .respond_with(
            ResponseTemplate::new(200).set_body_string(format!("{sum}  GeoLite2-Country_20240116.tar.gz\n")),
        )
        .mount(server)
        .await;
}

/// What was asked for, shortly: `HEAD tar.gz`.
async fn requests(server: &MockServer) -> Vec<String> {
    let requests = server.received_requests().await.unwrap();
    let text = requests
        .iter()
        .map(|request| {
            let suffix = request.url.query().unwrap_or_default().replace("suffix=", "");
            format!("{} {suffix}", request.method)
        })
        .collect();
    server.reset().await;
    text
}

const WHOLE: [&str; 3] = ["HEAD tar.gz", "GET tar.gz.sha256", "GET tar.gz"];

#[tokio::test]
async fn a_database_is_fetched_once() {
    let (database, archive) = (database(1), archive(&database(1)));
    let server = server(&archive).await;
    let mut case = Case::new(&server.uri());
    let fetched = case.fetch().await;
    assert_eq!(fetched.status, FetchStatus::Downloaded);
    assert_eq!(fetched.path, case.folder.join("GeoLite2-Country.mmdb"));
    assert_eq!(fs::read(&fetched.path).unwrap(), database);
    assert_eq!(fetched.bytes, database.len() as u64);
    assert_eq!(fetched.sha256, sha256(&database));
    assert_eq!(fetched.archive_sha256, sha256(&archive));
    // By the database itself, not by the server.
    assert_eq!(fetched.released.unwrap().as_second(), 1_705_400_001);
    assert_eq!(
        case.names(),
        [".GeoLite2-Country.mmdb.fetched.json", "GeoLite2-Country.mmdb"]
    );
    for request in server.received_requests().await.unwrap() {
        let header = &request.headers["authorization"];
        assert_eq!(header, &format!("Basic {}", credentials()));
        assert_eq!(request.url.path(), "/geoip/databases/GeoLite2-Country/download");
        assert!(
            request.headers["user-agent"]
                .to_str()
                .unwrap()
                .starts_with("geodata/")
        );
    }
    assert_eq!(requests(&server).await, WHOLE);
    let note = String::from_utf8(case.files()[".GeoLite2-Country.mmdb.fetched.json"].clone()).unwrap();
    hidden(&note);

    // The release is the same: one request, which is no download.
    offer(&server, &archive, RELEASED).await;
    let before = case.files();
    let again = case.fetch().await;
    assert_eq!(again.status, FetchStatus::Unchanged);
    assert_eq!((again.sha256, again.path), (fetched.sha256, fetched.path));
    assert_eq!(requests(&server).await, ["HEAD tar.gz"]);
    assert_eq!(case.files(), before);
}

#[tokio::test]
async fn what_the_time_does_not_say_the_checksum_does() {
    let archive = archive(&database(1));
    let server = server(&archive).await;
    let mut case = Case::new(&server.uri());
    case.fetch().await;
    requests(&server).await;

    // Another time, the same content: it is noted, so that the next time needs no checksum.
    for asked in [&WHOLE[..2], &WHOLE[..1]] {
        offer(&server, &archive, LATER).await;
        assert_eq!(case.fetch().await.status, FetchStatus::Unchanged);
        assert_eq!(requests(&server).await, asked);
    }

    // A server that says no time, or does not know HEAD.
    for head in [
        ResponseTemplate::new(200),
        ResponseTemplate::new(405),
        ResponseTemplate::new(501),
    ] {
        Mock::given(method("HEAD"))
            .respond_with(head)
            .mount(&server)
            .await;
        offer(&server, &archive, LATER).await;
        assert_eq!(case.fetch().await.status, FetchStatus::Unchanged);
        assert_eq!(requests(&server).await, &WHOLE[..2]);
        assert_eq!(case.check_with_head(&server).await, CheckStatus::Unknown);
    }

    // The time is the same, and the content is not.
    offer(&server, &self::archive(&database(2)), LATER).await;
    assert_eq!(case.fetch().await.status, FetchStatus::Downloaded);
}

/// Of the download itself, storage may say another time and no `ETag`.
#[tokio::test]
async fn what_is_noted_is_what_the_next_head_is_compared_with() {
    let archive = archive(&database(1));
    let server = MockServer::start().await;
    let answer = |method_: &str, released: &str| {
        let answer = ResponseTemplate::new(200).insert_header("last-modified", released);
        Mock::given(method(method_))
            .and(query_param("suffix", "tar.gz"))
            .respond_with(answer.set_body_bytes(&archive[..]))
    };
    answer("GET", LATER).mount(&server).await;
    offer(&server, &archive, RELEASED).await;
    let mut case = Case::new(&server.uri());
    assert_eq!(case.fetch().await.status, FetchStatus::Downloaded);
    assert_eq!(requests(&server).await, WHOLE);
    answer("GET", LATER).mount(&server).await;
    offer(&server, &archive, RELEASED).await;
    assert_eq!(case.check().await.status, CheckStatus::Current);
    requests(&server).await;
    offer(&server, &archive, RELEASED).await;
    assert_eq!(case.fetch().await.status, FetchStatus::Unchanged);
    assert_eq!(requests(&server).await, ["HEAD tar.gz"]);
}

impl Case {
    async fn check_with_head(&mut self, server: &MockServer) -> CheckStatus {
        Mock::given(method("HEAD"))
            .respond_with(ResponseTemplate::new(200))
            .mount(server)
            .await;
        let status = self.check().await.status;
        server.reset().await;
        status
    }
}

#[tokio::test]
async fn a_new_release_takes_the_place_of_the_older_one() {
    let server = server(&archive(&database(1))).await;
    let mut case = Case::new(&server.uri());
    case.fetch().await;
    server.reset().await;
    offer(&server, &archive(&database(2)), LATER).await;
    let checked = case.check().await;
    assert_eq!(checked.status, CheckStatus::Outdated);
    assert_eq!(checked.latest.unwrap().to_string(), "2024-01-19T14:29:17Z");
    assert_eq!(checked.released.unwrap().as_second(), 1_705_400_001);
    assert_eq!(requests(&server).await, ["HEAD tar.gz"]);

    offer(&server, &archive(&database(2)), LATER).await;
    let fetched = case.fetch().await;
    assert_eq!(fetched.status, FetchStatus::Downloaded);
    assert_eq!(fs::read(fetched.path).unwrap(), database(2));
    assert_eq!(case.names().len(), 2);
    assert_eq!(case.check().await.status, CheckStatus::Current);
}

#[tokio::test]
async fn a_file_that_was_changed_or_came_from_elsewhere_is_fetched() {
    let server = server(&archive(&database(1))).await;
    let mut case = Case::new(&server.uri());
    assert_eq!(case.check().await.status, CheckStatus::Missing);
    assert!(!case.folder.exists(), "a look makes no folder");
    case.fetch().await;
    let file = case.folder.join("GeoLite2-Country.mmdb");
    let note = case.folder.join(".GeoLite2-Country.mmdb.fetched.json");
    // Of the same length, of another length, without its note, with a note that is none.
    let mut other = database(1);
    other[0] ^= 1;
    let unchanged = fs::read(&note).unwrap();
    for (bytes, noted, warned) in [
        (Some(other), &unchanged[..], false),
        (Some(vec![0; 7]), &unchanged, false),
        (None, b"", true),
        (None, b"{\"version\": 99}", true),
        (
            None,
            String::from_utf8_lossy(&unchanged)
                .replace("\"GeoLite2-Country\"", "\"GeoLite2-City\"")
                .as_bytes(),
            true,
        ),
    ] {
        if let Some(bytes) = bytes {
            fs::write(&file, bytes).unwrap();
        }
        fs::write(&note, noted).unwrap();
        case.events.clear();
        assert_eq!(case.check().await.status, CheckStatus::Unknown);
        assert_eq!(case.fetch().await.status, FetchStatus::Downloaded);
        assert_eq!(fs::read(&file).unwrap(), database(1));
        let told = case
            .events
            .iter()
            .any(|event| matches!(event, Event::Warning { .. }));
        assert_eq!(told, warned);
    }
    fs::remove_file(&note).unwrap();
    assert_eq!(case.fetch().await.status, FetchStatus::Downloaded);
    fs::remove_file(&file).unwrap();
    assert_eq!(case.check().await.status, CheckStatus::Missing);
    assert_eq!(case.fetch().await.status, FetchStatus::Downloaded);
}

#[tokio::test]
async fn an_archive_can_be_kept_and_is_known_by_its_checksum() {
    let archive = archive(&database(1));
    let server = server(&archive).await;
    let mut case = Case::new(&server.uri()).keep(Keep::Archive);
    let fetched = case.fetch().await;
    assert_eq!(fetched.path, case.folder.join("GeoLite2-Country.tar.gz"));
    assert_eq!(fs::read(&fetched.path).unwrap(), archive);
    assert_eq!(fetched.sha256, fetched.archive_sha256);
    assert_eq!(fetched.released.unwrap().to_string(), "2024-01-16T14:29:17Z");
    requests(&server).await;

    // Downloaded by another program: what it is can be told without a download.
    fs::remove_file(case.folder.join(".GeoLite2-Country.tar.gz.fetched.json")).unwrap();
    for asked in [&WHOLE[..2], &WHOLE[..1]] {
        offer(&server, &archive, RELEASED).await;
        assert_eq!(case.fetch().await.status, FetchStatus::Unchanged);
        assert_eq!(requests(&server).await, asked);
    }
}

#[tokio::test]
async fn a_csv_edition_is_kept_as_its_zip() {
    let server = MockServer::start().await;
    let edition: Edition = "GeoLite2-Country-CSV".parse().unwrap();
    let zip = b"PK\x03\x04 and so on";
    for (suffix, body) in [
        ("zip.sha256", sha256(zip).into_bytes()), // without a name, as well
        ("zip", zip.to_vec()),
    ] {
        Mock::given(path("/geoip/databases/GeoLite2-Country-CSV/download"))
            .and(query_param("suffix", suffix))
            .respond_with(ResponseTemplate::new(200).set_body_bytes(body))
            .mount(&server)
            .await;
    }
    let mut case = Case::new(&server.uri());
    let fetched = case.try_fetch(&edition).await.unwrap();
    assert_eq!(fetched.path, case.folder.join("GeoLite2-Country-CSV.zip"));
    assert_eq!(fs::read(&fetched.path).unwrap(), zip);
    assert_eq!(
        case.names(),
        [
            ".GeoLite2-Country-CSV.zip.fetched.json",
            "GeoLite2-Country-CSV.zip"
        ]
    );
    assert_eq!(requests(&server).await, ["HEAD zip", "GET zip.sha256", "GET zip"]);
}

/// What a status at one of the three requests leads to, and how often it is asked.
async fn status(place: usize, response: ResponseTemplate, asked: usize, want: Expect) {
    let server = MockServer::start().await;
    let suffix = if place == 1 { "tar.gz.sha256" } else { "tar.gz" };
    Mock::given(method(if place == 0 { "HEAD" } else { "GET" }))
        .and(query_param("suffix", suffix))
        .respond_with(response)
        .mount(&server)
        .await;
    offer(&server, &archive(&database(1)), RELEASED).await;
    let mut case = Case::new(&server.uri());
    case.fails(want).await;
    let expected: Vec<&str> = WHOLE[..place]
        .iter()
        .chain(std::iter::repeat_n(&WHOLE[place], asked))
        .copied()
        .collect();
    assert_eq!(requests(&server).await, expected);
    assert_eq!(case.waits().len(), asked - 1);
}

#[tokio::test]
async fn each_refusal_has_its_own_words() {
    for place in 0..3 {
        // A server that sends back what it got must not lead to the key being told.
        let answer = |status| {
            ResponseTemplate::new(status)
                .insert_header("www-authenticate", format!("Basic {}", credentials()).as_str())
                .set_body_string(format!("{KEY} {SIGNATURE}"))
        };
        status(place, answer(401), 1, expect!["`http://127.0.0.1:PORT` does not accept the account id and the license key (401); compare both with those in your account, and see that the key is active"]).await;
        status(place, answer(403), 1, expect!["`http://127.0.0.1:PORT` does not let this account download `GeoLite2-Country` (403); see in your account whether the edition is subscribed to, its licence accepted, and the key allowed to download"]).await;
        status(place, answer(404), 1, expect!["`http://127.0.0.1:PORT` has no `GeoLite2-Country` (404); see in your account which editions there are"]).await;
        status(
            place,
            answer(418),
            1,
            expect!["`http://127.0.0.1:PORT` answered with 418, which has no meaning here"],
        )
        .await;
        status(
            place,
            answer(204),
            1,
            expect!["`http://127.0.0.1:PORT` answered with 204, which has no meaning here"],
        )
        .await;
        status(place, answer(429), 5, expect!["`http://127.0.0.1:PORT` takes no more downloads for now (429); the limit is counted by the day: try again tomorrow"]).await;
        status(
            place,
            answer(500),
            5,
            expect!["`http://127.0.0.1:PORT` failed 5 times with 500; try again later"],
        )
        .await;
        status(
            place,
            answer(503),
            5,
            expect!["`http://127.0.0.1:PORT` failed 5 times with 503; try again later"],
        )
        .await;
    }
}

#[tokio::test]
async fn a_limit_is_waited_for_only_when_that_is_soon() {
    for (retry_after, asked, want) in [
        (
            "86400",
            1,
            expect!["`http://127.0.0.1:PORT` takes no more downloads for now (429); try again in 24 hours"],
        ),
        (
            "301",
            1,
            expect!["`http://127.0.0.1:PORT` takes no more downloads for now (429); try again in 6 minutes"],
        ),
        (
            "100",
            4,
            expect![
                "`http://127.0.0.1:PORT` takes no more downloads for now (429); try again in 100 seconds"
            ],
        ),
        // By the server's own clock.
        (
            "Sat, 20 Jan 2024 00:01:40 GMT",
            4,
            expect![
                "`http://127.0.0.1:PORT` takes no more downloads for now (429); try again in 100 seconds"
            ],
        ),
        (
            "Fri, 19 Jan 2024 00:00:00 GMT",
            5,
            expect!["`http://127.0.0.1:PORT` takes no more downloads for now (429); try again in 0 seconds"],
        ),
        (
            "soon",
            5,
            expect![
                "`http://127.0.0.1:PORT` takes no more downloads for now (429); the limit is counted by the day: try again tomorrow"
            ],
        ),
        (
            "99999999999999999999",
            5,
            expect![
                "`http://127.0.0.1:PORT` takes no more downloads for now (429); the limit is counted by the day: try again tomorrow"
            ],
        ),
    ] {
        let response = ResponseTemplate::new(429)
            .insert_header("date", "Sat, 20 Jan 2024 00:00:00 GMT")
            .insert_header("retry-after", retry_after);
        status(2, response, asked, want).await;
    }
}

/// Answers with these, one after the other, then with the last.
struct InTurn(Vec<ResponseTemplate>, AtomicUsize);

impl InTurn {
    fn new(responses: impl IntoIterator<Item = ResponseTemplate>) -> Self {
        Self(responses.into_iter().collect(), AtomicUsize::new(0))
    }
}

impl Respond for InTurn {
    fn respond(&self, _: &Request) -> ResponseTemplate {
        let turn = self.1.fetch_add(1, Ordering::Relaxed);
        self.0[turn.min(self.0.len() - 1)].clone()
    }
}

#[tokio::test]
async fn what_passes_is_waited_for_longer_each_time() {
    let archive = archive(&database(1));
    let mut all = Vec::new();
    for seed in [1, 1, 2] {
        let server = MockServer::start().await;
        let mut turns: Vec<_> = [500, 502, 504].map(ResponseTemplate::new).into();
        turns.push(ResponseTemplate::new(429).insert_header("retry-after", "7"));
        turns.push(ResponseTemplate::new(200).set_body_bytes(&archive[..]));
        Mock::given(method("GET"))
            .and(query_param("suffix", "tar.gz"))
            .respond_with(InTurn::new(turns))
            .mount(&server)
            .await;
        offer(&server, &archive, RELEASED).await;
        let mut case = Case::new(&server.uri());
        case.fetcher = case.fetcher.seed(seed);
        assert_eq!(case.fetch().await.status, FetchStatus::Downloaded);
        let waits = case.waits();
        assert_eq!(waits.len(), 4);
        for (wait, longest) in waits.iter().zip([1.0, 2.0, 4.0]) {
            assert!((longest / 2.0..=longest).contains(wait), "{waits:?}");
        }
        assert_eq!(waits[3], 7.0);
        let again = case
            .events
            .iter()
            .filter(|event| matches!(event, Event::Again { .. }));
        assert_eq!(again.count(), 4);
        all.push(waits);
    }
    assert_eq!(all[0], all[1], "by seed");
    assert_ne!(all[0], all[2]);
}

#[tokio::test]
async fn a_server_that_fails_says_when_it_is_back() {
    let archive = archive(&database(1));
    let server = MockServer::start().await;
    let turns = ["7", "Sat, 20 Jan 2024 00:00:11 GMT", "soon"].map(|when| {
        ResponseTemplate::new(503)
            .insert_header("date", "Sat, 20 Jan 2024 00:00:00 GMT")
            .insert_header("retry-after", when)
    });
    let last = ResponseTemplate::new(200).set_body_bytes(&archive[..]);
    Mock::given(method("GET"))
        .and(query_param("suffix", "tar.gz"))
        .respond_with(InTurn::new(turns.into_iter().chain([last])))
        .mount(&server)
        .await;
    offer(&server, &archive, RELEASED).await;
    let mut case = Case::new(&server.uri());
    assert_eq!(case.fetch().await.status, FetchStatus::Downloaded);
    let waits = case.waits();
    assert_eq!(waits[..2], [7.0, 11.0]);
    assert!((2.0..=4.0).contains(&waits[2]), "{waits:?}");
}

/// Longer than one wants to wait.
#[tokio::test]
async fn a_server_that_is_back_tomorrow_is_not_waited_for() {
    let server = MockServer::start().await;
    let mut case = Case::new(&server.uri());
    Mock::given(method("HEAD"))
        .respond_with(ResponseTemplate::new(503).insert_header("retry-after", "86400"))
        .mount(&server)
        .await;
    case.fails(expect![
        "`http://127.0.0.1:PORT` failed once with 503; try again later"
    ])
    .await;
    assert!(case.waits().is_empty());
}

#[tokio::test]
async fn retrying_can_be_switched_off() {
    let server = MockServer::start().await;
    let mut case = Case::with(&server.uri(), "RetryFor 0s\n", Limits::default());
    Mock::given(method("HEAD"))
        .respond_with(ResponseTemplate::new(503))
        .mount(&server)
        .await;
    case.fails(expect![
        "`http://127.0.0.1:PORT` failed once with 503; try again later"
    ])
    .await;
    assert!(case.waits().is_empty());
}

fn twice() -> Limits {
    let mut limits = Limits::default();
    limits.attempts = 2;
    limits
}

fn impatient() -> Limits {
    let mut limits = twice();
    limits.answer = Duration::from_millis(500);
    limits.idle = Duration::from_millis(500);
    limits
}

/// Where the machine is so busy that other answers take as long, the same is said.
#[tokio::test]
async fn silence_is_not_waited_for() {
    let archive = archive(&database(1));
    let announced = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", archive.len());
    let begun = [announced.as_bytes(), &archive[..archive.len() / 2]].concat();
    for answer in [Vec::new(), announced.clone().into_bytes(), begun] {
        let mut case = Case::with(&raw(sha256(&archive), answer, true).await, "", impatient());
        case.fails(expect![
            "no complete answer came from `http://127.0.0.1:PORT`, asked twice <- nothing came for 0.5 s"
        ])
        .await;
        assert!(!case.waits().is_empty());
    }
}

#[tokio::test]
async fn a_trickle_is_not_waited_for() {
    // A byte of the body each tenth of a second, for ever.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut heard = vec![0; 4096];
                let read = stream.read(&mut heard).await.unwrap();
                let head = heard[..read].starts_with(b"HEAD");
                let answer = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 1000\r\n\r\n";
                stream.write_all(answer).await.unwrap();
                while !head && stream.write_all(b"0").await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            });
        }
    });
    let mut limits = twice();
    limits.body = Duration::from_millis(600);
    let mut case = Case::with(&format!("http://{address}"), "", limits);
    case.fails(expect![
        "no complete answer came from `http://127.0.0.1:PORT`, asked twice <- it came too slowly"
    ])
    .await;
}

#[tokio::test]
async fn nobody_there_and_no_tls_are_said() {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let mut case = Case::with(&format!("http://{address}"), "", twice());
    let error = case.try_fetch(&country()).await.unwrap_err();
    assert!(
        matches!(error, Error::Unreachable { attempts: 2, .. }),
        "{error:?}"
    );
    assert!(
        chain(&error).to_lowercase().contains("refused"),
        "{}",
        chain(&error)
    );
    assert!(!case.folder.exists());

    // The key is not sent to who cannot show a certificate.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        let mut heard = Vec::new();
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut buffer = vec![0; 4096];
            let read = stream.read(&mut buffer).await.unwrap();
            heard.extend_from_slice(&buffer[..read]);
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                .await
                .unwrap();
        }
        heard
    });
    let mut case = Case::with(&format!("https://{address}"), "", twice());
    let error = case.try_fetch(&country()).await.unwrap_err();
    assert!(
        matches!(error, Error::Unreachable { attempts: 2, .. }),
        "{error:?}"
    );
    let said = chain(&error);
    // A machine without any root certificate says that.
    if !said.contains("root certificates") {
        let heard = server.await.unwrap();
        assert!(heard.len() > 100, "a TLS greeting");
        hidden(&String::from_utf8_lossy(&heard));
    }
}

/// A server that writes these bytes to whoever asks for the archive, and then closes or stays silent; everything else it answers as
/// it should.
async fn raw(sum: String, answer: Vec<u8>, stay: bool) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (sum, answer) = (sum.clone(), answer.clone());
            tokio::spawn(async move {
                let mut heard = Vec::new();
                while !heard.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    if stream.read(&mut byte).await.unwrap_or(0) == 0 {
                        return;
                    }
                    heard.push(byte[0]);
                }
                let heard = String::from_utf8(heard).unwrap();
                let reply = if heard.starts_with("HEAD") {
                    b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n".to_vec()
                } else if heard.contains("sha256") {
                    format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 64\r\n\r\n{sum}")
                        .into_bytes()
                } else {
                    answer
                };
                let _ = stream.write_all(&reply).await;
                let _ = stream.flush().await;
                if stay {
                    // Until the other side has enough of it.
                    let _ = stream.read(&mut [0]).await;
                }
            });
        }
    });
    format!("http://{address}")
}

#[tokio::test]
async fn a_body_that_breaks_off_leaves_nothing() {
    let archive = archive(&database(1));
    let half = &archive[..archive.len() / 2];
    let announced = [
        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", archive.len()).as_bytes(),
        half,
    ]
    .concat();
    let chunked = [
        format!(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n",
            half.len()
        )
        .as_bytes(),
        half,
        b"\r\n",
    ]
    .concat();
    let unannounced = [&b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n"[..], half].concat();
    let sum = sha256(&archive);

    let mut case = Case::with(&raw(sum.clone(), announced, false).await, "", twice());
    case.breaks_off().await;
    let mut case = Case::with(&raw(sum.clone(), chunked, false).await, "", twice());
    case.breaks_off().await;
    // The end of the connection is the end of the body: only the checksum can tell.
    let mut case = Case::with(&raw(sum, unannounced, false).await, "", twice());
    let error = case.try_fetch(&country()).await.unwrap_err();
    assert!(
        matches!(&error, Error::Checksum { found, .. } if *found == sha256(half)),
        "{error:?}"
    );
    assert!(!case.folder.exists());

    let mut case = Case::with(
        &raw(String::new(), b"no HTTP at all\r\n\r\n".to_vec(), false).await,
        "",
        twice(),
    );
    let error = case.try_fetch(&country()).await.unwrap_err();
    assert!(
        matches!(&error, Error::Unreachable { .. } | Error::NoChecksum { .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_download_that_is_dropped_takes_its_file_with_it() {
    let archive = archive(&database(1));
    let half = &archive[..archive.len() / 2];
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", archive.len());
    let answer = [head.as_bytes(), half].concat();
    let case = Case::new(&raw(sha256(&archive), answer, true).await);
    let edition = country();
    let (begun, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let folder = &case.folder;
    let mut on = |event| {
        if let Event::Received { .. } = event {
            begun.send(fs::read_dir(folder).unwrap().count()).unwrap();
        }
    };
    tokio::select! {
        _ = case.fetcher.fetch(&edition, now(), &mut on) => panic!("it cannot end"),
        files = seen.recv() => assert_eq!(files, Some(1), "the beginning of it"),
    }
    assert!(!folder.exists());
}

#[tokio::test]
async fn a_download_has_a_largest_size() {
    // How large an archive becomes is the business of whichever deflate there is.
    let archive = archive(&database(1));
    let [archive_bytes, database_bytes] = [archive.len() as u64, database(1).len() as u64];
    let largest = |archive_bytes, database_bytes| {
        let mut limits = Limits::default();
        (limits.archive_bytes, limits.database_bytes) = (archive_bytes, database_bytes);
        limits
    };
    let too_large = |bytes: u64| format!("`GeoLite2-Country` is larger than {bytes} bytes");
    let server = server(&archive).await;
    let limits = largest(archive_bytes - 1, database_bytes);
    let mut case = Case::with(&server.uri(), "", limits.clone());
    case.fails_with(&too_large(archive_bytes - 1)).await;
    // Unannounced.
    let answer = [&b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n"[..], &archive].concat();
    let mut case = Case::with(&raw(sha256(&archive), answer, false).await, "", limits);
    case.fails_with(&too_large(archive_bytes - 1)).await;

    let limits = largest(archive_bytes, database_bytes);
    Case::with(&server.uri(), "", limits).fetch().await;
    let limits = largest(archive_bytes, database_bytes - 1);
    let mut case = Case::with(&server.uri(), "", limits);
    case.fails_with(&too_large(database_bytes - 1)).await;
}

#[tokio::test]
async fn what_is_not_what_was_announced_is_refused() {
    let archive = archive(&database(1));
    let server = MockServer::start().await;
    offer_sum(&server, &"0".repeat(64)).await;
    offer(&server, &archive, RELEASED).await;
    let mut case = Case::new(&server.uri());
    let error = case.try_fetch(&country()).await.unwrap_err();
    assert_eq!(
        chain(&error),
        format!(
            "`GeoLite2-Country` arrived with SHA-256 {}, and {} was announced",
            sha256(&archive),
            "0".repeat(64)
        )
    );
    assert!(!case.folder.exists());

    // A release came between the checksum and the download: the checksum is asked for again.
    server.reset().await;
    let listed = |sum: String| ResponseTemplate::new(200).set_body_string(sum);
    Mock::given(query_param("suffix", "tar.gz.sha256"))
        .respond_with(InTurn::new([
            listed("0".repeat(64)),
            listed(sha256(&archive).to_uppercase()),
        ]))
        .mount(&server)
        .await;
    offer(&server, &archive, RELEASED).await;
    case.fetch().await;
    assert_eq!(
        requests(&server).await,
        [
            "HEAD tar.gz",
            "GET tar.gz.sha256",
            "GET tar.gz",
            "GET tar.gz.sha256"
        ]
    );

    let sum = sha256(&archive);
    for body in [
        String::new(),
        sum[1..].to_owned(),
        format!("{sum}0"),
        format!("{sum}  GeoLite2-City_20240116.tar.gz"),
        format!("{sum}  GeoLite2-Country_20240116.tar.gz more"),
        format!("g{}", &sum[1..]),
        "<html>".repeat(10_000),
    ] {
        server.reset().await;
        Mock::given(query_param("suffix", "tar.gz.sha256"))
            .respond_with(listed(body))
            .mount(&server)
            .await;
        offer(&server, &archive, RELEASED).await;
        let mut case = Case::new(&server.uri());
        case.fails(expect![
            "what `http://127.0.0.1:PORT` offers as the SHA-256 of `GeoLite2-Country` is none"
        ])
        .await;
    }
}

/// A server whose archive requests are answered by a redirection there.
async fn redirecting(to: &str, status: u16) -> MockServer {
    let server = MockServer::start().await;
    offer_sum(&server, &sha256(&archive(&database(1)))).await;
    Mock::given(query_param("suffix", "tar.gz"))
        .respond_with(ResponseTemplate::new(status).insert_header("location", to))
        .mount(&server)
        .await;
    server
}

#[tokio::test]
async fn the_key_does_not_go_where_a_download_is_redirected_to() {
    let archive = archive(&database(1));
    let storage = MockServer::start().await;
    Mock::given(path("/bucket/object"))
        .and(query_param("X-Amz-Signature", SIGNATURE))
        .respond_with(
            ResponseTemplate::new(200)
                .insert_header("last-modified", RELEASED)
                .set_body_bytes(&archive[..]),
        )
        .mount(&storage)
        .await;
    for status in [301, 302, 303, 307, 308] {
        let server = redirecting(
            &format!("{}/bucket/object?X-Amz-Signature={SIGNATURE}#x", storage.uri()),
            status,
        )
        .await;
        let mut case = Case::new(&server.uri());
        case.fetch().await;
        for request in server.received_requests().await.unwrap() {
            assert!(request.headers.contains_key("authorization"));
        }
        let asked = storage.received_requests().await.unwrap();
        let methods: Vec<_> = asked.iter().map(|request| request.method.clone()).collect();
        assert_eq!(methods, [Method::HEAD, Method::GET]);
        for request in &asked {
            assert!(
                !request.headers.contains_key("authorization"),
                "the key was sent on"
            );
            assert!(!format!("{request:?}").contains(KEY));
        }
        // The release that the storage told is known again.
        assert_eq!(case.fetch().await.status, FetchStatus::Unchanged);
        storage.reset().await;
        Mock::given(path("/bucket/object"))
            .respond_with(
                ResponseTemplate::new(200)
                    .insert_header("last-modified", RELEASED)
                    .set_body_bytes(&archive[..]),
            )
            .mount(&storage)
            .await;
    }
}

#[tokio::test]
async fn a_refusal_of_the_storage_is_no_refusal_of_the_key() {
    for status in [401, 403, 404] {
        let storage = MockServer::start().await;
        Mock::given(path("/object"))
            .respond_with(ResponseTemplate::new(status).set_body_string(SIGNATURE))
            .mount(&storage)
            .await;
        let server = redirecting(
            &format!("{}/object?X-Amz-Signature={SIGNATURE}", storage.uri()),
            302,
        )
        .await;
        let mut case = Case::new(&server.uri());
        let error = case.try_fetch(&country()).await.unwrap_err();
        let Error::ServerFailed {
            attempts: 5,
            status: told,
            ..
        } = error
        else {
            panic!("{error:?}");
        };
        assert_eq!(told, status);
        chain(&error);
        // Each time with a new address; that it refuses HEAD may be because the address was made for GET.
        let asked = [&WHOLE[..2], &["GET tar.gz"; 5]].concat();
        assert_eq!(requests(&server).await, asked);
    }
}

#[tokio::test]
async fn storage_may_refuse_head_alone() {
    let archive = archive(&database(1));
    for status in [401, 403, 404, 405] {
        let storage = MockServer::start().await;
        Mock::given(method("HEAD"))
            .respond_with(ResponseTemplate::new(status))
            .mount(&storage)
            .await;
        Mock::given(method("GET"))
            .respond_with(
                ResponseTemplate::new(200)
                    .insert_header("last-modified", RELEASED)
                    .set_body_bytes(&archive[..]),
            )
            .mount(&storage)
            .await;
        let server = redirecting(&format!("{}/object", storage.uri()), 302).await;
        let mut case = Case::new(&server.uri());
        assert_eq!(case.fetch().await.status, FetchStatus::Downloaded);
        // The checksum tells that it is the same.
        assert_eq!(case.fetch().await.status, FetchStatus::Unchanged);
        assert_eq!(requests(&server).await, [&WHOLE[..], &WHOLE[..2]].concat());
    }
}

#[tokio::test]
async fn a_redirection_that_is_not_safe_is_not_followed() {
    for (to, want) in [
        (
            "/again?suffix=tar.gz",
            expect!["`http://127.0.0.1:PORT` redirects again and again"],
        ),
        (
            "http://example.com/?SIGNED0123456789",
            expect!["`http://127.0.0.1:PORT` redirects to an address without TLS"],
        ),
        (
            "http://localhost/?SIGNED0123456789",
            expect!["`http://127.0.0.1:PORT` redirects to an address without TLS"],
        ),
        (
            "ftp://example.com/SIGNED0123456789",
            expect!["`http://127.0.0.1:PORT` redirects to something other than HTTP"],
        ),
        (
            "file:///etc/passwd",
            expect!["`http://127.0.0.1:PORT` redirects to an address that is none"],
        ),
        (
            "//example.com/SIGNED0123456789",
            expect!["`http://127.0.0.1:PORT` redirects to something other than HTTP"],
        ),
        (
            "https://user:SIGNED0123456789@example.com/",
            expect!["`http://127.0.0.1:PORT` redirects to an address with a password"],
        ),
        (
            "SIGNED0123456789",
            expect!["`http://127.0.0.1:PORT` redirects to something other than HTTP"],
        ),
        (
            "https://",
            expect!["`http://127.0.0.1:PORT` redirects to an address that is none"],
        ),
        (
            "",
            expect!["`http://127.0.0.1:PORT` redirects to an address that is none"],
        ),
    ] {
        let server = redirecting(to, 302).await;
        let mut case = Case::new(&server.uri());
        if to.starts_with('/') && !to.starts_with("//") {
            Mock::given(path("/again"))
                .respond_with(ResponseTemplate::new(302).insert_header("location", to))
                .mount(&server)
                .await;
        }
        case.fails(want).await;
    }
    let server = MockServer::start().await;
    Mock::given(method("HEAD"))
        .respond_with(ResponseTemplate::new(302))
        .mount(&server)
        .await;
    Case::new(&server.uri())
        .fails(expect![
            "`http://127.0.0.1:PORT` redirects without saying where to"
        ])
        .await;
}

/// Fetches this archive, which cannot be used.
async fn refused(archive: &[u8], want: Expect) {
    let server = server(archive).await;
    let mut case = Case::new(&server.uri());
    case.fails(want).await;
    // An older database stays as it is.
    fs::create_dir_all(&case.folder).unwrap();
    fs::write(case.folder.join("GeoLite2-Country.mmdb"), b"older").unwrap();
    let before = case.files();
    case.try_fetch(&country()).await.unwrap_err();
    assert_eq!(case.files(), before);
}

#[tokio::test]
async fn an_archive_that_is_not_as_maxmind_packs_it_is_refused() {
    let database = database(1);
    let file = EntryType::Regular;
    let good: Entry = ("f/GeoLite2-Country.mmdb", file, &database);
    let whole = tar_gz(&[good]);
    refused(
        &tar_gz(&[]),
        expect!["the archive of `GeoLite2-Country` cannot be used <- it has no `GeoLite2-Country.mmdb`"],
    )
    .await;
    refused(
        &tar_gz(&[("f/GeoLite2-City.mmdb", file, &database)]),
        expect!["the archive of `GeoLite2-Country` cannot be used <- it has no `GeoLite2-Country.mmdb`"],
    )
    .await;
    // In which words damage is told is the matter of who unpacks.
    let mut damaged = whole.clone();
    let checksum = damaged.len() - 8;
    damaged[checksum] ^= 1;
    for bytes in [
        b"<html>",
        &b""[..],
        &whole[..whole.len() / 2],
        &whole[..whole.len() - 4],
        &damaged,
    ] {
        let server = server(bytes).await;
        let mut case = Case::new(&server.uri());
        let error = case.try_fetch(&country()).await.unwrap_err();
        assert!(matches!(error, Error::Archive { .. }), "{error:?}");
        assert!(!case.folder.exists());
    }
    refused(
        &tar_gz(&[("../GeoLite2-Country.mmdb", file, &database)]),
        expect!["the archive of `GeoLite2-Country` cannot be used <- its entry `../GeoLite2-Country.mmdb` leaves its folder"],
    )
    .await;
    refused(
        &tar_gz(&[good, ("f/../../etc/cron.d/x", file, b"x")]),
        expect!["the archive of `GeoLite2-Country` cannot be used <- its entry `f/../../etc/cron.d/x` leaves its folder"],
    )
    .await;
    refused(
        &tar_gz(&[("/etc/GeoLite2-Country.mmdb", file, &database)]),
        expect!["the archive of `GeoLite2-Country` cannot be used <- its entry `/etc/GeoLite2-Country.mmdb` has an absolute name"],
    )
    .await;
    for kind in [
        EntryType::Symlink,
        EntryType::Link,
        EntryType::Fifo,
        EntryType::Char,
        EntryType::Block,
    ] {
        refused(
            &tar_gz(&[("f/GeoLite2-Country.mmdb", kind, b"")]),
            expect!["the archive of `GeoLite2-Country` cannot be used <- its entry `f/GeoLite2-Country.mmdb` is neither a file nor a folder"],
        )
        .await;
    }
    refused(
        &tar_gz(&[good, ("g/GeoLite2-Country.mmdb", file, &database)]),
        expect!["the archive of `GeoLite2-Country` cannot be used <- it has `GeoLite2-Country.mmdb` twice"],
    )
    .await;
    refused(
        &tar_gz(&[("f/GeoLite2-Country.mmdb", file, b"not a database")]),
        expect!["the archive of `GeoLite2-Country` cannot be used <- `GeoLite2-Country.mmdb` in it is not a MaxMind database"],
    )
    .await;
    let names: Vec<String> = (0..64).map(|number| format!("f/{number}")).collect();
    let mut many: Vec<Entry> = names.iter().map(|name| (name.as_str(), file, &b""[..])).collect();
    many.push(good);
    refused(
        &tar_gz(&many),
        expect!["the archive of `GeoLite2-Country` cannot be used <- it has more than 64 entries"],
    )
    .await;
    // A few kilobytes that unpack to more than any licence has, as a file and as a name.
    let zeros = vec![0; 17 << 20];
    refused(
        &tar_gz(&[("f/LICENSE.txt", file, &zeros), good]),
        expect!["the archive of `GeoLite2-Country` cannot be used <- it unpacks to more than MaxMind packs"],
    )
    .await;
    refused(
        &tar_gz(&[("././@LongLink", EntryType::GNULongName, &zeros), good]),
        expect!["the archive of `GeoLite2-Country` cannot be used <- it unpacks to more than MaxMind packs"],
    )
    .await;
    refused(
        &bomb(),
        expect!["the archive of `GeoLite2-Country` cannot be used <- it unpacks to more than MaxMind packs"],
    )
    .await;
}

/// The database, and then zeros for a long time.
fn bomb() -> Vec<u8> {
    let mut tar = Vec::new();
    GzDecoder::new(&archive(&database(1))[..])
        .read_to_end(&mut tar)
        .unwrap();
    tar.extend_from_slice(&vec![0; 17 << 20]);
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(&tar).unwrap();
    gzip.finish().unwrap()
}

#[tokio::test]
async fn what_is_kept_as_it_is_begins_as_it_should() {
    let server = server(b"<html>").await;
    let mut case = Case::new(&server.uri()).keep(Keep::Archive);
    case.fails(expect![
        "the archive of `GeoLite2-Country` cannot be used <- it is not a tar.gz file"
    ])
    .await;
}

#[tokio::test]
async fn a_place_that_cannot_be_written_to_costs_no_download() {
    let server = server(&archive(&database(1))).await;
    let mut case = Case::new(&server.uri());
    fs::create_dir_all(case.folder.join("GeoLite2-Country.mmdb")).unwrap();
    let error = case.try_fetch(&country()).await.unwrap_err();
    assert!(matches!(error, Error::Compare { .. }), "{error:?}");
    #[cfg(unix)]
    {
        // Opening it would wait for ever.
        let pipe = case.folder.join("GeoLite2-Country.mmdb");
        fs::remove_dir(&pipe).unwrap();
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.unwrap().success());
        let error = case.try_fetch(&country()).await.unwrap_err();
        assert!(chain(&error).ends_with("<- it is not a file"), "{error:?}");
        assert_eq!(case.fetcher.released(&country()), None);
    }
    assert!(requests(&server).await.is_empty());

    offer(&server, &archive(&database(1)), RELEASED).await;
    let mut case = Case::new(&server.uri());
    fs::write(case.folder.parent().unwrap(), b"a file").unwrap();
    let error = case.try_fetch(&country()).await.unwrap_err();
    assert!(
        matches!(error, Error::Write { .. } | Error::Compare { .. }),
        "{error:?}"
    );
    assert!(!requests(&server).await.contains(&"GET tar.gz".to_owned()));
}

#[tokio::test]
async fn a_server_cannot_get_the_key_written_down() {
    let archive = archive(&database(1));
    let server = MockServer::start().await;
    offer_sum(&server, &sha256(&archive)).await;
    Mock::given(query_param("suffix", "tar.gz"))
        .respond_with(
            ResponseTemplate::new(200)
                .insert_header("etag", format!("\"{}\"", credentials()).as_str())
                .insert_header("last-modified", format!("{RELEASED} ({KEY})").as_str())
                .insert_header(
                    "content-disposition",
                    format!("attachment; filename=../{KEY}").as_str(),
                )
                .set_body_bytes(&archive[..]),
        )
        .mount(&server)
        .await;
    let mut case = Case::new(&server.uri());
    case.fetch().await;
    for (name, bytes) in case.files() {
        hidden(&name);
        hidden(&String::from_utf8_lossy(&bytes));
    }
}

#[tokio::test]
async fn the_time_of_the_release_can_be_the_files() {
    let archive = archive(&database(1));
    let server = server(&archive).await;
    for (setting, preserved) in [("PreserveFileTimes 1\n", true), ("", false)] {
        let mut case = Case::with(&server.uri(), setting, Limits::default());
        let path = case.fetch().await.path;
        let modified: Timestamp = fs::metadata(path)
            .unwrap()
            .modified()
            .unwrap()
            .try_into()
            .unwrap();
        assert_eq!(modified == "2024-01-16T14:29:17Z".parse().unwrap(), preserved);
    }
}

#[tokio::test]
async fn a_proxy_is_asked_for_a_tunnel_and_told_nothing_else() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let proxy = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut heard = Vec::new();
        while !heard.ends_with(b"\r\n\r\n") {
            heard.push(stream.read_u8().await.unwrap());
        }
        stream
            .write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
            .await
            .unwrap();
        String::from_utf8(heard).unwrap()
    });
    let more = format!("Proxy {address}\nProxyUserPassword user:hunter2\nRetryFor 0s\n");
    let mut case = Case::with("download.maxmind.com", &more, twice());
    let error = case.try_fetch(&country()).await.unwrap_err();
    let said = chain(&error);
    if said.contains("root certificates") {
        return; // a machine without any
    }
    assert!(said.contains("proxy authorization required"), "{said}");
    let heard = proxy.await.unwrap();
    assert!(
        heard.starts_with("CONNECT download.maxmind.com:443 HTTP/1.1\r\n"),
        "{heard}"
    );
    let login = base64::engine::general_purpose::STANDARD.encode("user:hunter2");
    assert!(
        heard.contains(&format!("Proxy-Authorization: Basic {login}\r\n")),
        "{heard}"
    );
    assert!(!heard.contains(&credentials()));

    // What is on this machine is not asked through it.
    let server = server(&archive(&database(1))).await;
    let mut case = Case::with(&server.uri(), &more, Limits::default());
    case.fetch().await;
}

#[test]
fn an_age_is_counted_in_whole_days() {
    let released: Timestamp = "2024-01-16T14:00:00Z".parse().unwrap();
    for (now, days, over) in [
        ("2024-01-01T00:00:00Z", 0, false),
        ("2024-01-17T13:59:59Z", 0, false),
        ("2024-02-15T14:00:00Z", 30, false),
        ("2024-02-16T13:59:59Z", 30, false),
        ("2024-02-16T14:00:00Z", 31, true),
    ] {
        let age = Age::of(released, now.parse().unwrap());
        assert_eq!((age.days, age.is_over_limit()), (days, over), "{now}");
    }
}

#[tokio::test]
async fn the_release_in_the_folder_can_be_told_without_a_server() {
    let server = server(&archive(&database(1))).await;
    let mut case = Case::new(&server.uri());
    assert_eq!(case.fetcher.released(&country()), None);
    case.fetch().await;
    assert_eq!(
        case.fetcher.released(&country()).unwrap().as_second(),
        1_705_400_001
    );
    assert_eq!(
        case.fetcher.path(&country()),
        case.folder.join("GeoLite2-Country.mmdb")
    );
}

#[test]
fn futures_can_be_spawned() {
    fn send<T: Send>(_: T) {}
    let case = Case::new("http://127.0.0.1:1");
    send(case.fetcher.fetch(&country(), now(), &mut |_| {}));
    send(case.fetcher.check(&country(), now(), &mut |_| {}));
}
