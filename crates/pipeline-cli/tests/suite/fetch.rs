//! `ipinsights fetch`, as a person or a timer starts it, against servers on this machine.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use expect_test::{Expect, expect};
use jiff::{Timestamp, ToSpan};
use serde_json::Value;
use wiremock::{Request, ResponseTemplate};

use crate::maxmind::{self, ACCOUNT, BASIC, KEY, MaxMind};
use crate::support::{interrupt, ipinsights};

/// A database that was built so many days ago.
fn database(days: i64) -> Vec<u8> {
    let built = Timestamp::now() - (days * 24 + 1).hours();
    geodata::writer::Writer::new("GeoLite2-Country")
        .build_epoch(built.as_second().unsigned_abs())
        .to_bytes()
        .unwrap()
}

fn program(folder: &Path, args: &[&str]) -> Command {
    ipinsights(folder, &[&["fetch"], args].concat())
}

/// With account and key, and without waiting for what fails.
fn fetch(host: &str, folder: &Path, args: &[&str]) -> Output {
    run(program(folder, args)
        .env("GEOIPUPDATE_ACCOUNT_ID", ACCOUNT)
        .env("GEOIPUPDATE_LICENSE_KEY", KEY)
        .env("GEOIPUPDATE_HOST", host)
        .env("GEOIPUPDATE_RETRY_FOR", "0s"))
}

/// Whatever it does, it keeps the key to itself.
fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    for text in [&output.stdout, &output.stderr] {
        let text = String::from_utf8_lossy(text);
        for secret in [KEY, BASIC, "hunter2", "X-Amz-Signature"] {
            assert!(!text.contains(secret), "`{secret}` is in {text}");
        }
    }
    output
}

fn said(output: &Output) -> String {
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    // Ports differ from run to run.
    let mut parts = text.split("127.0.0.1:");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        plain.push_str("127.0.0.1:PORT");
        plain.push_str(part.trim_start_matches(|c: char| c.is_ascii_digit()));
    }
    plain
}

fn json(output: &Output) -> Value {
    assert!(!output.stdout.is_empty(), "{}", said(output));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn files(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_database_is_fetched_once_and_told_as_a_table_and_as_a_document() {
    let database = database(3);
    let maxmind = MaxMind::start(&database);
    let folder = tempfile::tempdir().unwrap();
    let args = ["GeoLite2-Country", "GeoLite2-ASN-CSV", "--to", "geoip"];
    let first = fetch(&maxmind.uri(), folder.path(), &args);
    assert!(first.status.success(), "{}", said(&first));
    let table = String::from_utf8(first.stdout.clone()).unwrap();
    let cells: Vec<Vec<&str>> = table
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(cells[0][..4], ["edition", "status", "file", "bytes"]);
    assert_eq!(
        cells[1][..3],
        ["GeoLite2-Country", "downloaded", "geoip/GeoLite2-Country.mmdb"]
    );
    assert_eq!(cells[1][5], "3");
    assert_eq!(
        cells[2][..3],
        ["GeoLite2-ASN-CSV", "downloaded", "geoip/GeoLite2-ASN-CSV.zip"]
    );
    assert_eq!(cells[2][4], "2024-01-16");
    assert!(said(&first).contains("downloaded  geoip/GeoLite2-Country.mmdb"));
    assert!(
        said(&first).contains("`geoip/GeoLite2-ASN-CSV.zip` is"),
        "an old release is warned of: {}",
        said(&first)
    );
    assert_eq!(
        files(&folder.path().join("geoip")),
        [
            ".GeoLite2-ASN-CSV.zip.fetched.json",
            ".GeoLite2-Country.mmdb.fetched.json",
            "GeoLite2-ASN-CSV.zip",
            "GeoLite2-Country.mmdb",
        ]
    );
    assert_eq!(
        fs::read(folder.path().join("geoip/GeoLite2-Country.mmdb")).unwrap(),
        database
    );

    let mut args = args.to_vec();
    args.extend(["--format", "json", "--quiet"]);
    let again = fetch(&maxmind.uri(), folder.path(), &args);
    assert!(again.stderr.is_empty(), "{}", said(&again));
    let document = json(&again);
    assert_eq!(document["version"], 1);
    assert_eq!(document["host"], maxmind.uri());
    let country = &document["editions"][0];
    assert_eq!(country["edition"], "GeoLite2-Country");
    assert_eq!(country["status"], "unchanged");
    assert_eq!(country["bytes"], database.len());
    assert_eq!(country["sha256"], maxmind::sha256(&database));
    assert_eq!(
        country["archive_sha256"],
        maxmind::sha256(&maxmind::archive("GeoLite2-Country", &database))
    );
    assert_eq!(country["age_days"], 3);
    assert_eq!(country["over_licence_limit"], false);
    let asn = &document["editions"][1];
    assert_eq!(asn["released"], "2024-01-16T14:29:17Z");
    assert_eq!(asn["over_licence_limit"], true);
}

#[test]
fn a_check_downloads_nothing_and_ends_by_what_it_found() {
    let maxmind = MaxMind::start(&database(3));
    let folder = tempfile::tempdir().unwrap();
    let check = ["GeoLite2-Country", "GeoLite2-City", "--check", "--format", "json"];
    let missing = fetch(&maxmind.uri(), folder.path(), &check);
    assert_eq!(missing.status.code(), Some(13));
    expect![[r#"
        error: not known to be the latest: GeoLite2-Country, GeoLite2-City; `ipinsights fetch` without --check gets it
    "#]]
    .assert_eq(&said(&missing));
    assert_eq!(json(&missing)["editions"][0]["status"], "missing");
    assert_eq!(json(&missing)["editions"][0]["released"], Value::Null);
    assert_eq!(json(&missing)["editions"][0]["latest"], "2024-01-16T14:29:17Z");
    assert!(files(folder.path()).is_empty());

    assert!(fetch(&maxmind.uri(), folder.path(), &check[..2]).status.success());
    let current = fetch(&maxmind.uri(), folder.path(), &check);
    assert!(current.status.success(), "{}", said(&current));
    assert_eq!(json(&current)["editions"][1]["status"], "current");

    fs::write(folder.path().join("GeoLite2-City.mmdb"), b"changed").unwrap();
    let changed = fetch(&maxmind.uri(), folder.path(), &check[1..3]);
    assert_eq!(changed.status.code(), Some(13));
    let table = String::from_utf8_lossy(&changed.stdout).into_owned();
    assert!(table.contains("unknown"), "{table}");
}

#[test]
fn each_refusal_has_a_code_of_its_own() {
    for (status, code, want) in [
        (
            401,
            9,
            expect![[r#"
                error: `http://127.0.0.1:PORT` does not accept the account id and the license key (401); compare both with those in your account, and see that the key is active
            "#]],
        ),
        (
            403,
            10,
            expect![[r#"
                error: `http://127.0.0.1:PORT` does not let this account download `GeoLite2-Country` (403); see in your account whether the edition is subscribed to, its licence accepted, and the key allowed to download
            "#]],
        ),
        (
            404,
            2,
            expect![[r#"
                error: `http://127.0.0.1:PORT` has no `GeoLite2-Country` (404); see in your account which editions there are
            "#]],
        ),
        (
            429,
            11,
            expect![[r#"
                error: `http://127.0.0.1:PORT` takes no more downloads for now (429); try again in 24 hours
            "#]],
        ),
        (
            503,
            12,
            expect![[r#"
                error: `http://127.0.0.1:PORT` failed once with 503; try again later
            "#]],
        ),
        (
            302,
            1,
            expect![[r#"
                error: `http://127.0.0.1:PORT` redirects to an address without TLS
            "#]],
        ),
    ] {
        let maxmind = MaxMind::silent();
        // It sends back all that it got, and more that nobody should see.
        maxmind.mount(
            |_: &Request| true,
            move |request: &Request| {
                let told = request.headers["authorization"].to_str().unwrap();
                ResponseTemplate::new(status)
                    .insert_header("retry-after", "86400")
                    .insert_header("www-authenticate", told)
                    .insert_header("location", "http://storage.example/?X-Amz-Signature=1")
                    .set_body_string(format!("{told} {KEY}"))
            },
        );
        refuses(&maxmind, code, want);
    }
}

fn refuses(maxmind: &MaxMind, code: i32, want: Expect) {
    let folder = tempfile::tempdir().unwrap();
    let output = fetch(
        &maxmind.uri(),
        folder.path(),
        &["GeoLite2-Country", "--to", "a/b"],
    );
    want.assert_eq(&said(&output));
    assert_eq!(output.status.code(), Some(code));
    assert!(output.stdout.is_empty(), "a failed command has no result");
    assert!(files(folder.path()).is_empty());
}

fn asks_for_sum(request: &Request) -> bool {
    request.url.query().is_some_and(|query| query.ends_with("sha256"))
}

#[test]
fn data_files_and_silence_have_the_codes_that_they_have_elsewhere() {
    let maxmind = MaxMind::silent();
    let listed = "0".repeat(64);
    maxmind.mount(asks_for_sum, ResponseTemplate::new(200).set_body_string(&listed));
    maxmind.mount(
        |_: &Request| true,
        ResponseTemplate::new(200).set_body_string("<html>"),
    );
    refuses(
        &maxmind,
        3,
        expect![[r#"
            error: `GeoLite2-Country` arrived with SHA-256 b7d082ee12e91b756ea22e8513b8594eebcf5d39fab813da3cb55794dc888ad7, and 0000000000000000000000000000000000000000000000000000000000000000 was announced
        "#]],
    );

    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), b"").unwrap();
    let maxmind = MaxMind::start(&database(3));
    let output = fetch(
        &maxmind.uri(),
        folder.path(),
        &["GeoLite2-Country", "--to", "file/in"],
    );
    assert_eq!(output.status.code(), Some(7), "{}", said(&output));

    let free = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let nobody = format!("http://{}", free.local_addr().unwrap());
    drop(free);
    let output = fetch(&nobody, folder.path(), &["GeoLite2-Country"]);
    assert_eq!(output.status.code(), Some(8), "{}", said(&output));
    assert!(said(&output).contains("no complete answer came from"));
}

#[test]
fn an_archive_is_refused_with_its_reason() {
    let maxmind = MaxMind::silent();
    let archive = maxmind::archive("GeoLite2-City", b"");
    let sum = maxmind::sha256(&archive);
    maxmind.mount(asks_for_sum, ResponseTemplate::new(200).set_body_string(sum));
    maxmind.mount(
        |_: &Request| true,
        ResponseTemplate::new(200).set_body_bytes(archive),
    );
    refuses(
        &maxmind,
        3,
        expect![[r#"
            error: the archive of `GeoLite2-Country` cannot be used
              because: it has no `GeoLite2-Country.mmdb`
        "#]],
    );
}

#[test]
fn settings_are_told_when_they_are_missing_or_of_no_use() {
    let folder = tempfile::tempdir().unwrap();
    let bare = run(&mut program(folder.path(), &[]));
    assert_eq!(bare.status.code(), Some(2));
    expect![[r#"
        error: no account id: set `GEOIPUPDATE_ACCOUNT_ID`, or `AccountID` in a `GeoIP.conf`; no license key: set `GEOIPUPDATE_LICENSE_KEY` or `GEOIPUPDATE_LICENSE_KEY_FILE`, or `LicenseKey` in a `GeoIP.conf`; no edition to download: name one, such as `GeoLite2-Country`, or set `GEOIPUPDATE_EDITION_IDS`
    "#]]
    .assert_eq(&said(&bare));

    let misspelt = run(program(folder.path(), &["GeoLite2-Cuontry"])
        .env("MAXMIND_ACCOUNT_ID", KEY)
        .env("MAXMIND_LICENCE_KEY", KEY));
    assert_eq!(misspelt.status.code(), Some(2));
    expect![[r#"
           warning  `MAXMIND_LICENCE_KEY` is not known, and not used
        error: `MAXMIND_ACCOUNT_ID` is not an account id, which is a number; no license key: set `GEOIPUPDATE_LICENSE_KEY` or `GEOIPUPDATE_LICENSE_KEY_FILE`, or `LicenseKey` in a `GeoIP.conf`; the editions: `GeoLite2-Cuontry` is not an edition: did you mean `GeoLite2-Country`?
    "#]]
    .assert_eq(&said(&misspelt));

    let unsafe_host = fetch("http://download.maxmind.com", folder.path(), &["GeoLite2-City"]);
    assert_eq!(unsafe_host.status.code(), Some(2));
    let missing = fetch("http://127.0.0.1:1", folder.path(), &["--config", "GeoIP.conf"]);
    assert_eq!(missing.status.code(), Some(7));
    expect![[r#"
        error: could not read `GeoIP.conf`
          because: No such file or directory (os error 2)
    "#]]
    .assert_eq(&said(&missing));
}

#[test]
fn a_key_has_no_argument_and_no_place_in_the_help() {
    let folder = tempfile::tempdir().unwrap();
    let argument = format!("--license-key={KEY}");
    let output = fetch("http://127.0.0.1:1", folder.path(), &["GeoLite2-City", &argument]);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    let help = fetch("http://127.0.0.1:1", folder.path(), &["--help"]);
    assert!(help.status.success());
    assert!(String::from_utf8_lossy(&help.stdout).contains("GEOIPUPDATE_LICENSE_KEY"));
}

#[test]
fn everything_can_come_from_the_file() {
    let maxmind = MaxMind::start(&database(3));
    let folder = tempfile::tempdir().unwrap();
    let config = format!(
        "AccountID {ACCOUNT}\nLicenseKey {KEY}\nEditionIDs GeoLite2-Country GeoLite2-City\nDatabaseDirectory geoip\nHost {}\nLockFile x\n",
        maxmind.uri()
    );
    fs::write(folder.path().join("GeoIP.conf"), config).unwrap();
    let output = run(&mut program(folder.path(), &["--config", "GeoIP.conf"]));
    assert!(output.status.success(), "{}", said(&output));
    assert!(said(&output).contains("`LockFile` (line 6 of `GeoIP.conf`) is not used"));
    assert_eq!(files(&folder.path().join("geoip")).len(), 4);
    // The file is named by a variable, and an argument is stronger than what is in it.
    let named = run(program(
        folder.path(),
        &["GeoLite2-ASN", "--to", ".", "--archive", "--format", "json"],
    )
    .env("GEOIPUPDATE_CONF_FILE", "GeoIP.conf"));
    assert_eq!(json(&named)["editions"].as_array().unwrap().len(), 1);
    assert_eq!(json(&named)["editions"][0]["file"], "./GeoLite2-ASN.tar.gz");
    assert_eq!(json(&named)["notices"].as_array().unwrap().len(), 1);
}

#[test]
fn an_old_database_is_warned_of_also_when_there_is_no_newer_to_be_had() {
    let maxmind = MaxMind::start(&database(41));
    let folder = tempfile::tempdir().unwrap();
    let warning = "`./GeoLite2-Country.mmdb` is 41 days old; MaxMind's licence wants an outdated database replaced within 30";
    for args in [
        &["GeoLite2-Country"][..],
        &["GeoLite2-Country"],
        &["GeoLite2-Country", "--check"],
    ] {
        let output = fetch(&maxmind.uri(), folder.path(), args);
        assert!(output.status.success());
        assert!(said(&output).contains(warning), "{}", said(&output));
    }
    let maxmind = MaxMind::silent(); // 404
    let output = fetch(&maxmind.uri(), folder.path(), &["GeoLite2-Country"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains(warning), "{}", said(&output));
}

#[test]
fn editions_before_a_failure_are_complete_and_those_after_it_named() {
    let maxmind = MaxMind::silent();
    maxmind.mount(
        |request: &Request| request.url.path().contains("GeoLite2-City"),
        ResponseTemplate::new(403),
    );
    let database = database(3);
    let archive = maxmind::archive("GeoLite2-Country", &database);
    maxmind.mount(
        asks_for_sum,
        ResponseTemplate::new(200).set_body_string(maxmind::sha256(&archive)),
    );
    maxmind.mount(
        |_: &Request| true,
        ResponseTemplate::new(200).set_body_bytes(archive),
    );
    let folder = tempfile::tempdir().unwrap();
    let output = fetch(
        &maxmind.uri(),
        folder.path(),
        &["GeoLite2-Country", "GeoLite2-City", "GeoLite2-ASN"],
    );
    assert_eq!(output.status.code(), Some(10));
    expect![[r#"
        downloaded  ./GeoLite2-Country.mmdb
        error: `GeoLite2-City` could not be fetched; GeoLite2-ASN not tried
          because: `http://127.0.0.1:PORT` does not let this account download `GeoLite2-City` (403); see in your account whether the edition is subscribed to, its licence accepted, and the key allowed to download
    "#]]
    .assert_eq(&said(&output));
    assert_eq!(
        files(folder.path()),
        [".GeoLite2-Country.mmdb.fetched.json", "GeoLite2-Country.mmdb"]
    );
}

#[cfg(unix)]
#[test]
fn an_interrupted_download_leaves_nothing() {
    use std::io::{Read, Write};

    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let host = format!("http://{}", listener.local_addr().unwrap());
    let (begun, seen) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut heard = Vec::new();
            while !heard.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                heard.push(byte[0]);
            }
            let heard = String::from_utf8(heard).unwrap();
            let answer =
                |head: &str, body: &str| format!("HTTP/1.1 200 OK\r\nconnection: close\r\n{head}\r\n{body}");
            let text = if heard.starts_with("HEAD") {
                answer("", "")
            } else if heard.contains("sha256") {
                answer("content-length: 64\r\n", &"0".repeat(64))
            } else {
                answer("content-length: 1000\r\n", "the beginning")
            };
            stream.write_all(text.as_bytes()).unwrap();
            if heard.starts_with("GET") && !heard.contains("sha256") {
                // The rest never comes.
                begun.send(()).unwrap();
                std::mem::forget(stream);
            }
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let mut child = program(folder.path(), &["GeoLite2-Country", "--to", "geoip"])
        .env("GEOIPUPDATE_ACCOUNT_ID", ACCOUNT)
        .env("GEOIPUPDATE_LICENSE_KEY", KEY)
        .env("GEOIPUPDATE_HOST", &host)
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    if seen.recv_timeout(std::time::Duration::from_secs(60)).is_err() {
        let output = child.wait_with_output().unwrap();
        panic!("it never asked: {}", said(&output));
    }
    while !folder.path().join("geoip").is_dir() {
        std::thread::yield_now();
    }
    interrupt(&child);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let told: Vec<String> = BufReader::new(child.stderr.take().unwrap())
        .lines()
        .map(Result::unwrap)
        .collect();
    assert_eq!(told, ["error: interrupted; what was not complete is gone"]);
    assert!(files(folder.path()).is_empty());
}

/// A certificate for 127.0.0.1 by nobody but itself, and its key, made for these tests.
struct Identity {
    certificate: &'static str,
    key: &'static str,
}

const HOME: Identity = Identity {
    certificate: include_str!("maxmind/home.cert.pem"),
    key: include_str!("maxmind/home.key.pem"),
};
const STORAGE: Identity = Identity {
    certificate: include_str!("maxmind/storage.cert.pem"),
    key: include_str!("maxmind/storage.key.pem"),
};

/// A server with TLS.
struct Tls {
    address: std::net::SocketAddr,
    heard: std::sync::Arc<std::sync::Mutex<Vec<String>>>,
    _runtime: tokio::runtime::Runtime,
}

impl Tls {
    /// Answers what the function says.
    fn start(identity: &Identity, answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> Self {
        use std::sync::{Arc, Mutex};

        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        use tokio_rustls::TlsAcceptor;
        use tokio_rustls::rustls::pki_types::pem::PemObject;
        use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
        use tokio_rustls::rustls::{ServerConfig, crypto};

        let certificate = CertificateDer::from_pem_slice(identity.certificate.as_bytes()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind(("127.0.0.1", 0)))
            .unwrap();
        let address = listener.local_addr().unwrap();
        let heard: Arc<Mutex<Vec<String>>> = Arc::default();
        let noted = Arc::clone(&heard);
        runtime.spawn(async move {
            let acceptor = TlsAcceptor::from(Arc::new(config));
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    continue;
                };
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    match stream.read_u8().await {
                        Ok(byte) => head.push(byte),
                        Err(_) => break,
                    }
                }
                let head = String::from_utf8(head).unwrap();
                let bytes = answer(&head);
                noted.lock().unwrap().push(head);
                let _ = stream.write_all(&bytes).await;
                let _ = stream.shutdown().await;
            }
        });
        Self {
            address,
            heard,
            _runtime: runtime,
        }
    }

    fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }
}

fn http(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n");
    [head.as_bytes(), body].concat()
}

#[test]
fn over_tls_the_certificate_counts_and_the_key_stays_with_its_host() {
    let database = database(3);
    let archive = maxmind::archive("GeoLite2-Country", &database);
    let sum = maxmind::sha256(&archive);
    let storage = Tls::start(&STORAGE, move |head| {
        let body = if head.starts_with("HEAD") {
            &[][..]
        } else {
            &archive
        };
        http("200 OK", "last-modified: Tue, 16 Jan 2024 14:29:17 GMT\r\n", body)
    });
    let address = storage.address;
    let home = Tls::start(&HOME, move |head| {
        if head.contains("sha256") {
            http("200 OK", "", sum.as_bytes())
        } else {
            http(
                "302 Found",
                &format!("location: https://{address}/object?X-Amz-Signature=1\r\n"),
                b"",
            )
        }
    });
    let host = format!("https://{}", home.address);
    let folder = tempfile::tempdir().unwrap();
    let certificates = folder.path().join("certificates.pem");
    let with = |certificates_of: &[&Identity]| {
        let text: String = certificates_of
            .iter()
            .map(|identity| identity.certificate)
            .collect();
        fs::write(&certificates, text).unwrap();
        run(program(folder.path(), &["GeoLite2-Country", "--to", "geoip"])
            .env("SSL_CERT_FILE", &certificates)
            .env("MAXMIND_ACCOUNT_ID", ACCOUNT)
            .env("MAXMIND_LICENSE_KEY", KEY)
            .env("GEOIPUPDATE_HOST", &host)
            .env("GEOIPUPDATE_RETRY_FOR", "0s"))
    };

    // Nobody vouches for the host: it hears nothing.
    let output = with(&[&STORAGE]);
    assert_eq!(output.status.code(), Some(8), "{}", said(&output));
    assert!(
        said(&output).contains("invalid peer certificate"),
        "{}",
        said(&output)
    );
    assert!(home.heard().is_empty());
    // Nobody vouches for the storage.
    let output = with(&[&HOME]);
    assert_eq!(output.status.code(), Some(8), "{}", said(&output));
    assert!(storage.heard().is_empty());
    assert!(!folder.path().join("geoip").exists());

    let output = with(&[&HOME, &STORAGE]);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(
        fs::read(folder.path().join("geoip/GeoLite2-Country.mmdb")).unwrap(),
        database
    );
    let heard = home.heard();
    assert!(heard.iter().all(|head| head.contains(BASIC)), "{heard:?}");
    let heard = storage.heard();
    assert_eq!(heard.len(), 2);
    for head in heard {
        assert!(!head.to_lowercase().contains("authorization"), "{head}");
        assert!(head.contains("/object?X-Amz-Signature=1"), "{head}");
    }
}

#[test]
fn from_tls_there_is_no_way_to_an_address_without() {
    let maxmind = MaxMind::start(&database(3));
    let plain = maxmind.uri();
    let home = Tls::start(&HOME, move |_| {
        http("302 Found", &format!("location: {plain}/x\r\n"), b"")
    });
    let folder = tempfile::tempdir().unwrap();
    let certificates = folder.path().join("certificates.pem");
    fs::write(&certificates, HOME.certificate).unwrap();
    let output = run(program(folder.path(), &["GeoLite2-Country", "--to", "geoip"])
        .env("SSL_CERT_FILE", &certificates)
        .env("MAXMIND_ACCOUNT_ID", ACCOUNT)
        .env("MAXMIND_LICENSE_KEY", KEY)
        .env("GEOIPUPDATE_HOST", format!("https://{}", home.address)));
    assert_eq!(output.status.code(), Some(1));
    expect![[r#"
        error: `https://127.0.0.1:PORT` redirects to an address without TLS
    "#]]
    .assert_eq(&said(&output));
    if files(folder.path()) != ["certificates.pem"] {
        panic!("{:?}", files(folder.path()));
    }
}
